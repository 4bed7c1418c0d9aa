//! Several gateways on one PostgreSQL: the walk across them, and what happens when one dies, one sleeps, and the database restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onward_connect::egress::EgressHost;
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, HttpConfig, Method};
use onward_core::client::Role;
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::{DeliveryQuery, StoredAudit};
use onward_ledger::leaf_hash;
use onward_server::serve::Running;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::pharmacy::{Answers, Came, Pharmacy};
use onward_tests::postgres::{self, Cluster};
use onward_tests::signer::form;
use onward_tests::world::{World, accepted, load, post_xml};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::restart::{Server, spawn};

/// Messages posted to the three.
const MESSAGES: usize = 30;
/// Posted side by side.
const AT_ONCE: usize = 6;

/// A client that gives up soon: whoever does not answer is asked again elsewhere, with the same bytes.
fn impatient(world: &World) -> HttpClient {
    HttpClient::new(&HttpConfig {
        egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
        extra_roots_pem: std::fs::read(world.folder().join("ca.pem")).expect("readable"),
        total_timeout: Duration::from_secs(5),
        ..HttpConfig::default()
    })
    .expect("a client")
}

/// One message until somebody has it: the place of its transfer.
async fn post_anywhere(http: &HttpClient, nodes: &[Url], hospital: &Session, body: Vec<u8>, first: usize) -> String {
    for turn in first.. {
        // Signing in needs the database, too.
        let Ok(token) = hospital.token().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"));
        headers.insert("content-type", HeaderValue::from_static("application/fhir+xml"));
        let url = nodes[turn % nodes.len()].join("fhir/R4/$process-message").expect("a URL");
        match http.send(Method::POST, url, headers, body.clone()).await {
            Ok(answer) if answer.status() == 200 => {
                return answer.headers()["location"].to_str().expect("text").to_owned();
            }
            Ok(answer) if answer.status() == 408 || answer.status().is_server_error() => {}
            Ok(answer) => panic!("{}", answer.status()),
            // Dead, asleep, or the database is away.
            Err(_) => tokio::task::yield_now().await,
        }
    }
    unreachable!("the turns do not end")
}

fn signal(server: &Server, name: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &server.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

async fn log(world: &World) -> Vec<StoredAudit> {
    let entries = world.gateway().store().audit_entries(0, 1_000_000).await.expect("readable");
    assert!(entries.iter().enumerate().all(|(n, entry)| entry.index == n as u64), "positions have no gaps");
    assert!(
        entries.iter().all(|entry| leaf_hash(entry.entry.as_deref().expect("a header")) == entry.leaf),
        "every entry is as hashed"
    );
    entries
}

/// The places in the log of the entries of this word, by copy.
fn places(log: &[StoredAudit], word: &str) -> BTreeMap<String, Vec<u64>> {
    let mut places = BTreeMap::<_, Vec<u64>>::new();
    for entry in log.iter().filter(|entry| entry.columns.word == word) {
        places.entry(entry.columns.delivery.clone().unwrap_or_default()).or_default().push(entry.index);
    }
    places
}

async fn until_nothing_is_queued(world: &World) {
    let query = DeliveryQuery {
        states: vec![DeliveryState::Queued],
        include_responses: true,
        limit: 1,
        ..DeliveryQuery::default()
    };
    while !world.gateway().store().deliveries(query.clone()).await.expect("readable").is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Faults 4, 15, 19 and 20: three gateways under load, one killed, one stopped for a while, the database restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn faults_015_019_020_three_gateways_lose_nothing_and_keep_the_order() {
    let Some(cluster) = Cluster::start("") else { return };
    let world = World::start_on_postgres(&cluster.database()).await;
    let hospital = Arc::new(world.hospital().await);
    let (second, third) = (world.node("second"), world.node("third"));
    let nodes = Arc::new(vec![world.base().clone(), second.1, third.1]);
    let (asleep, mut dead) = (spawn(&second.0), spawn(&third.0));
    let http = impatient(&world);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut posting = tokio::task::JoinSet::new();
    for n in 0..MESSAGES {
        let (http, nodes, hospital) = (http.clone(), Arc::clone(&nodes), Arc::clone(&hospital));
        let (acknowledged, room) = (Arc::clone(&acknowledged), Arc::clone(&room));
        posting.spawn(async move {
            let _place = room.acquire().await.expect("it stays open");
            let place = post_anywhere(&http, &nodes, &hospital, fresh(message::EDISCHARGE_ITK3).into(), n).await;
            acknowledged.lock().await.push(place);
        });
    }
    for step in 1..=4 {
        while acknowledged.lock().await.len() < step * MESSAGES / 5 {
            posting.join_next().await.expect("messages are left").expect("posted");
        }
        match step {
            1 => dead.kill(),
            2 => signal(&asleep, "STOP"),
            3 => cluster.restart(),
            _ => signal(&asleep, "CONT"),
        }
    }
    while let Some(posted) = posting.join_next().await {
        posted.expect("posted");
    }
    until_nothing_is_queued(&world).await;
    let acknowledged = acknowledged.lock().await;
    check(&world, &acknowledged).await;
}

async fn check(world: &World, acknowledged: &[String]) {
    let store = world.gateway().store();
    let mut copies = Vec::new();
    for place in acknowledged {
        let id = place.rsplit('/').next().expect("an id").parse().expect("an id");
        let transfer = store.transfer(id).await.expect("readable").expect("what was acknowledged is there");
        copies.extend(transfer.deliveries);
    }
    copies.retain(|copy| copy.kind != RecipientKind::Sender);
    assert_eq!(copies.len(), 5 * MESSAGES, "nothing lost, nothing twice");
    let log = log(world).await;
    let accepted: BTreeMap<_, _> = log
        .iter()
        .filter(|entry| entry.columns.word == "accept")
        .map(|entry| (entry.columns.transfer.clone().expect("of a transfer"), entry.index))
        .collect();
    assert_eq!(accepted.len(), MESSAGES, "one transfer a message");
    let disclosed = places(&log, "disclose");
    let mut lanes = BTreeMap::<_, Vec<(u64, u64)>>::new();
    for copy in &copies {
        let left = &disclosed[&copy.id.to_string()];
        assert_eq!(left.len(), 1, "every copy left once in effect");
        let lane =
            (copy.kind, copy.recipient.clone(), copy.patient.as_ref().map(|patient| patient.expose().to_owned()));
        lanes.entry(lane).or_default().push((accepted[&copy.transfer.to_string()], left[0]));
    }
    for lane in lanes.values_mut() {
        lane.sort_unstable();
        assert!(lane.is_sorted_by_key(|(_, left)| *left), "what was accepted first left first: {lane:?}");
    }
    let attempts: u32 = copies.iter().map(|copy| copy.attempts).sum();
    let checkpoints = store.checkpoints(None, u32::MAX).await.expect("readable").len();
    println!(
        "{MESSAGES} messages, {} copies in {} lanes, {attempts} attempts, {} audit entries, {checkpoints} checkpoints",
        copies.len(),
        lanes.len(),
        log.len()
    );
}

/// Fault 20: a node sleeps while the pharmacy has its copy and has not answered. Another sends the copy when its lease has passed, under the
/// same identifier; what the sleeper finds when it wakes is told, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_020_a_node_that_sleeps_past_its_lease_changes_nothing_when_it_wakes() {
    let Some(cluster) = postgres::shared() else { return };
    // Which node calls, its token tells: the file is another for each.
    let (own, others) = ("store-password", "sleepers-token");
    let world = World::start_on_postgres_reaching_loopback(&cluster.database(), own).await;
    std::fs::write(world.folder().join(others), "the sleeper's").expect("written");
    let pharmacy = Pharmacy::start(&world, Answers::Hangs).await;
    let hospital = world.hospital().await;
    let (file, _) = world.node("second");
    let text = std::fs::read_to_string(&file).expect("readable");
    let push = |file: &str| format!("bearer_token_file = \"{file}\"");
    assert!(text.contains(&push(own)));
    std::fs::write(&file, text.replace(&push(own), &push(others))).expect("written");
    let sleeper = spawn(&file);
    let transfer = accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let store = world.gateway().store();
    let read = async |held: &str| {
        store.delivery(held.parse().expect("an identifier")).await.expect("readable").expect("there")
    };
    let is_sleepers = |came: &Came| came.authorization == "Bearer the sleeper's";
    // An attempt that is not answered ends after two seconds and is another node's as likely as not: it is stopped within one of its own.
    let mut seen = 0;
    let (held, stopped) = loop {
        let came = pharmacy.until(|came| came.iter().skip(seen).any(is_sleepers)).await;
        signal(&sleeper, "STOP");
        let stopped = Instant::now();
        let held = came.iter().rev().find(|came| is_sleepers(came)).expect("one").delivery.clone();
        let now = read(&held).await;
        let of_it: Vec<_> = pharmacy.came().into_iter().filter(|came| came.delivery == held).collect();
        // Every attempt that ends leaves a version.
        let is_under_way = now.state == DeliveryState::Queued && now.version == u64::from(now.attempts);
        if is_under_way && of_it.len() == now.attempts as usize && of_it.last().is_some_and(is_sleepers) {
            break (held, stopped);
        }
        signal(&sleeper, "CONT");
        seen = came.len();
    };
    pharmacy.does(Answers::Takes);
    // The lease has three seconds.
    while read(&held).await.state != DeliveryState::Received {
        tokio::task::yield_now().await;
    }
    println!("taken over {} ms after its node stopped", stopped.elapsed().as_millis());
    let taken = read(&held).await;
    let late = "it ended after its lease had passed to another worker";
    assert_eq!(world.logged(late).await, 0);
    signal(&sleeper, "CONT");
    while world.logged(late).await == 0 {
        tokio::task::yield_now().await;
    }
    until_nothing_is_queued(&world).await;
    let now = read(&held).await;
    assert_eq!((now.state, now.version, now.attempts), (taken.state, taken.version, taken.attempts), "nothing changed");
    let copies = store.transfer(transfer).await.expect("readable").expect("there").deliveries;
    let pushed = copies.iter().filter(|copy| copy.endpoint.kind() == TransportKind::Https).count();
    assert_eq!((pushed, pharmacy.has().len()), (2, 2), "one effect of each");
    assert_eq!(store.checkup().await.expect("readable").flaws, []);
}

async fn second_gateway(file: &Path) -> Running {
    Running::start(&load(file), None).await.expect("a second gateway starts beside the first")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_assertions_to_two_gateways_give_one_token() {
    let Some(cluster) = postgres::shared() else { return };
    let world = World::start_on_postgres(&cluster.database()).await;
    let signer = world.signer("northmoor-epr", "R9Z", Role::Sender, None).await;
    let (file, other) = world.node("second");
    let running = second_gateway(&file).await;
    let assertion = signer.right();
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..100 {
        let base = if n % 2 == 0 { world.base() } else { &other };
        let (http, url, body) = (world.http(), base.join("oauth2/token").expect("a URL"), form(&assertion));
        asked.spawn(async move {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
            http.send(Method::POST, url, headers, body).await.expect("an answer").status().as_u16()
        });
    }
    let statuses = asked.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 400)), "{statuses:?}");
    running.stop().await;
}

/// Posted to one gateway, delivered by either, read and accepted at the other, seen by the hospital at the first.
#[tokio::test(flavor = "multi_thread")]
async fn the_walk_crosses_gateways() {
    let Some(cluster) = postgres::shared() else { return };
    let world = World::start_on_postgres(&cluster.database()).await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let (file, other) = world.node("second");
    let running = second_gateway(&file).await;
    let (status, _, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200);
    let location = reply.headers["location"].to_str().expect("text").to_owned();
    until_nothing_is_queued(&world).await;
    let token = home.token().await.expect("signed in");
    let call = async |method: Method, path: String, tag: Option<String>, body: String| {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"));
        headers.insert("content-type", HeaderValue::from_static("application/fhir+json"));
        if let Some(tag) = tag {
            headers.insert("if-match", HeaderValue::from_str(&tag).expect("a header"));
        }
        let answer =
            world.http().send(method, other.join(&path).expect("a URL"), headers, body).await.expect("an answer");
        let (status, tag) = (answer.status().as_u16(), answer.headers().get("etag").cloned());
        let json: serde_json::Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        (status, tag.map(|tag| tag.to_str().expect("text").to_owned()), json)
    };
    let (_, _, list) = call(Method::GET, "fhir/R4/Task?owner=VMH01".to_owned(), None, String::new()).await;
    let id = list["entry"][0]["resource"]["id"].as_str().expect("its copy").to_owned();
    let (status, _, document) = call(Method::GET, format!("fhir/R4/Bundle/{id}"), None, String::new()).await;
    assert_eq!((status, &document["type"]), (200, &"document".into()));
    let (_, tag, mut task) = call(Method::GET, format!("fhir/R4/Task/{id}"), None, String::new()).await;
    assert_eq!(task["status"], "received", "opening it was told");
    task["status"] = "accepted".into();
    let (status, ..) = call(Method::PUT, format!("fhir/R4/Task/{id}"), tag, task.to_string()).await;
    assert_eq!(status, 200);
    let path = location.strip_prefix(world.base().as_str()).expect("on this server");
    let transfer = hospital.get(path).await.expect("an answer").json().expect("JSON");
    assert_eq!(transfer["output"].as_array().expect("one per copy").len(), 5);
    let copy = hospital.get(&format!("fhir/R4/Task/{id}")).await.expect("an answer").json().expect("JSON");
    assert_eq!(copy["status"], "accepted");
    running.stop().await;
    assert!(log(&world).await.len() >= 5);
}
