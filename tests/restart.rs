//! Nothing acknowledged is lost: not by an orderly restart, not by SIGKILL.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};

use onward_core::client::Role;
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::{BulkState, DeliveryQuery, Queue, StuckQuery};
use onward_core::{DeliveryId, people};
use onward_tests::browser;
use onward_tests::message::{self, fresh};
use onward_tests::pharmacy::{Answers, Came, Pharmacy};
use onward_tests::world::{World, load, post_xml};

/// Set in the child: the configuration that it serves.
const CHILD: &str = "ONWARD_TEST_SERVE";
/// Messages posted side by side.
const AT_ONCE: usize = 200;

/// Messages posted in all, and times that the server is killed on the way: `ONWARD_RESTART_MESSAGES=10000 ONWARD_RESTART_KILLS=200`
/// takes a while.
fn extent() -> (usize, usize) {
    let set = |name: &str, usual: usize| match std::env::var_os(name) {
        None => usual,
        Some(text) => text.to_str().and_then(|text| text.parse().ok()).expect("a number"),
    };
    (set("ONWARD_RESTART_MESSAGES", 200), set("ONWARD_RESTART_KILLS", 6))
}

/// Not a test of its own: the process that `a_killed_server…` starts and kills. Does nothing without its variable.
#[test]
fn serve_for_a_parent() {
    let Some(config) = std::env::var_os(CHILD) else { return };
    let config = load(std::path::Path::new(&config));
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let running = onward_server::serve::Running::start(&config, None).await.expect("it starts");
        println!("serving {}", running.address);
        std::future::pending::<()>().await;
    });
}

/// A server process that ends with the test, whatever becomes of it.
pub(crate) struct Server(Child);

impl Server {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(&mut self) {
        // SIGKILL; an error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Serves this configuration from a process of its own.
pub(crate) fn spawn(config_file: &std::path::Path) -> Server {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "restart::serve_for_a_parent", "--nocapture", "--test-threads=1"])
        .env(CHILD, config_file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.expect("a line").contains("serving ")), "the child serves");
    Server(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_server_has_every_message_that_it_acknowledged_once() {
    let mut world = World::start_reaching_loopback().await;
    let pharmacy = Pharmacy::start(&world, Answers::Takes).await;
    let hospital = std::sync::Arc::new(world.hospital().await);
    let home = world.care_home().await;
    world.stop().await;
    let mut child = spawn(&world.config_file);
    let acknowledged = std::sync::Arc::new(tokio::sync::Mutex::new(BTreeMap::<String, String>::new()));
    let (messages, kills) = extent();
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut posting = tokio::task::JoinSet::new();
    for n in 0..messages {
        let (hospital, acknowledged) = (std::sync::Arc::clone(&hospital), std::sync::Arc::clone(&acknowledged));
        let room = std::sync::Arc::clone(&room);
        posting.spawn(async move {
            let _place = room.acquire().await.expect("it stays open");
            let body = fresh(message::EDISCHARGE_ITK3);
            loop {
                let headers = [("content-type", "application/fhir+xml")];
                let sent = hospital
                    .call(onward_connect::http::Method::POST, "fhir/R4/$process-message", &headers, body.clone())
                    .await;
                match sent {
                    Ok(reply) if reply.status == 200 => {
                        let place = reply.headers["location"].to_str().expect("text").to_owned();
                        acknowledged.lock().await.insert(format!("{n}"), place);
                        return;
                    }
                    // Too many for this hospital's share: it waits as long as it is told, and posts the same bytes again.
                    Ok(reply) if reply.status == 429 => {
                        let wait = reply.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
                        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
                    }
                    // Busy, dead or dying: the hospital posts the same bytes again.
                    Ok(reply) if reply.status == 408 || reply.status.is_server_error() => {}
                    Ok(reply) => panic!("{}: {}", reply.status, String::from_utf8_lossy(&reply.body)),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
    }
    for kill in 1..=kills {
        let enough = kill * messages / (kills + 2);
        while acknowledged.lock().await.len() < enough {
            posting.join_next().await.expect("messages are left").expect("posted");
        }
        child.kill();
        child = spawn(&world.config_file);
    }
    while let Some(posted) = posting.join_next().await {
        posted.expect("posted");
    }
    child.kill();
    world.restart().await;

    let acknowledged = acknowledged.lock().await;
    assert_eq!(acknowledged.len(), messages);
    let store = world.gateway().store();
    let mut pushed = std::collections::BTreeSet::new();
    for place in acknowledged.values() {
        let id = place.rsplit('/').next().expect("an id").parse().expect("an id");
        let transfer = store.transfer(id).await.expect("readable").expect("an acknowledged message is there");
        let of_pharmacy = transfer.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https);
        pushed.extend(of_pharmacy.map(|copy| copy.id.to_string()));
        let mut kinds: Vec<_> =
            transfer.deliveries.iter().map(|copy| copy.kind).filter(|kind| *kind != RecipientKind::Sender).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 5);
        assert_eq!(transfer.deliveries.iter().filter(|copy| copy.kind == RecipientKind::CareHome).count(), 1);
    }
    let places: std::collections::BTreeSet<_> = acknowledged.values().collect();
    assert_eq!(places.len(), messages, "one transfer a message");
    // Every copy gets to its inbox exactly once in effect.
    loop {
        let query = DeliveryQuery { states: vec![DeliveryState::Queued], limit: 10, ..DeliveryQuery::default() };
        if store.deliveries(query).await.expect("readable").is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut arrived = std::collections::BTreeSet::new();
    let mut path = Some("fhir/R4/Task?_count=200".to_owned());
    while let Some(page) = path.take() {
        let bundle = home.get(&page).await.expect("an answer").json().expect("JSON");
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            assert!(arrived.insert(entry["resource"]["id"].as_str().expect("an id").to_owned()));
        }
        let next = bundle["link"].as_array().into_iter().flatten().find(|link| link["relation"] == "next");
        path = next
            .and_then(|link| link["url"].as_str())
            .and_then(|url| url.strip_prefix(world.base().as_str()))
            .map(str::to_owned);
    }
    assert_eq!(arrived.len(), messages, "as many arrivals as acknowledged messages");
    // Its system hangs up on bytes that it does not know under an identifier that it knows.
    let has: std::collections::BTreeSet<_> = pharmacy.has().into_keys().collect();
    assert_eq!((pushed.len(), has == pushed), (2 * messages, true), "what was pushed, and nothing else");
    all_is_told(&world, &places, &pushed).await;
}

/// That the store adds up, that the log is whole, and that each acceptance and each delivery is told in it once.
async fn all_is_told(
    world: &World,
    places: &std::collections::BTreeSet<&String>,
    pushed: &std::collections::BTreeSet<String>,
) {
    let store = world.gateway().store();
    assert_eq!(store.checkup().await.expect("readable").flaws, []);
    let (mut accepted, mut delivered) = (Vec::new(), Vec::new());
    let mut next = 0;
    loop {
        let page = store.audit_entries(next, 1_000).await.expect("readable");
        for entry in &page {
            assert_eq!(
                (entry.index, onward_ledger::leaf_hash(entry.entry.as_deref().expect("a header"))),
                (next, entry.leaf)
            );
            next += 1;
            match entry.columns.word.as_str() {
                "accept" => accepted.extend(entry.columns.transfer.clone()),
                "disclose" => delivered.extend(entry.columns.delivery.clone().filter(|copy| pushed.contains(copy))),
                _ => {}
            }
        }
        if page.is_empty() {
            break;
        }
    }
    accepted.sort_unstable();
    delivered.sort_unstable();
    let mut expected: Vec<_> = places.iter().filter_map(|place| place.rsplit('/').next()).map(str::to_owned).collect();
    expected.sort_unstable();
    assert!(accepted == expected, "each message's acceptance is told once, and no other");
    assert!(delivered.iter().eq(pushed), "each copy's delivery is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_keeps_repeats_tokens_and_states() {
    let mut world = World::start().await;
    let hospital = world.client("northmoor-epr", "R9Z", Role::Sender).await;
    let body = fresh(message::EDISCHARGE_ITK3);
    let (status, first, _) = post_xml(&hospital, body.clone()).await;
    assert_eq!(status, 200);
    world.restart().await;
    let (status, again, reply) = post_xml(&hospital, body).await;
    assert_eq!((status, reply.headers["onward-duplicate"].to_str().expect("text")), (200, "true"));
    assert_eq!(first, again);
}

/// Fault 3, as audit sees it: what is about to leave is told before it does, so that a node that is killed while it sends has
/// said what it sent, about whom and to whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_003_a_node_that_is_killed_while_it_sends_has_told_what() {
    let mut world = World::start_reaching_loopback().await;
    let pharmacy = Pharmacy::start(&world, Answers::Hangs).await;
    let hospital = world.hospital().await;
    world.stop().await;
    let mut child = spawn(&world.config_file);
    let (status, _, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200);
    let first = pharmacy.until(|came| !came.is_empty()).await.remove(0);
    child.kill();

    pharmacy.does(Answers::Takes);
    world.restart().await;
    // Two copies go to this pharmacy.
    let times = |came: &[Came]| came.iter().filter(|came| came.delivery == first.delivery).count();
    let came = pharmacy.until(|came| times(came) == 2).await;
    assert!(
        came.iter().filter(|came| came.delivery == first.delivery).all(|came| came.body == first.body),
        "the same bytes"
    );
    let entries = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    let hash = onward_server::listener::sha256_hex(&first.body);
    let told: Vec<serde_json::Value> = entries
        .iter()
        .filter(|entry| entry.columns.word == "intend")
        .map(|entry| serde_json::from_slice(entry.event().expect("nobody was erased")).expect("JSON"))
        .collect();
    let first = told.iter().find(|event| event.to_string().contains(&hash)).expect("what was sent was told before");
    assert_eq!(first["agent"][1]["who"]["identifier"]["value"], "FZZ01", "{first:#}");
    assert!(first["entity"].as_array().into_iter().flatten().any(|entity| entity["role"]["code"] == "1"), "{first:#}");
    assert!(
        first["outcomeDesc"].as_str().is_some_and(|said| said.starts_with("intend: attempt 1 by https")),
        "{first:#}"
    );
}

/// A decision about many copies that a kill interrupts is carried on by the next process, and nothing of it is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_decision_about_many_copies_survives_a_kill() {
    const COPIES: usize = 60;
    let mut world = World::start_with_broken_partners().await;
    let ada = browser::person(&world, "ada@onward.example", people::Role::Operator, &["Y99900"]).await;
    let hospital = world.hospital().await;
    for _ in 0..COPIES {
        assert_eq!(post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await.0, 200);
    }
    let dead = || StuckQuery { queues: vec![Queue::Dead], limit: 1_000, ..StuckQuery::default() };
    let copies: Vec<DeliveryId> = loop {
        let stuck = world.gateway().store().stuck(dead()).await.expect("readable");
        if stuck.len() == COPIES {
            break stuck.iter().map(|stuck| stuck.copy.id).collect();
        }
        tokio::task::yield_now().await;
    };
    world.stop().await;
    let mut child = spawn(&world.config_file);
    let asked = ada.browser.get("/operations/retry?cause=blocked").await;
    let field = |name: &str| asked.field(name).unwrap_or_else(|| panic!("{name}: {}", asked.text)).to_owned();
    let (seal, bulk) = (field("copies"), field("bulk"));
    let form = [("filter", "cause=blocked"), ("copies", &seal), ("bulk", &bulk), ("how", "replay"), ("reason", "back")];
    // The server comes no further than this many: the statement that tells of the next one takes longer than any test, so the kill meets it
    // in the middle of that copy's transaction, however fast or slow the machine is.
    const DONE: i64 = 5;
    let beside = rusqlite::Connection::open(world.folder().join("onward.db")).expect("opens");
    beside.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
    let slow = format!(
        "CREATE TRIGGER slow AFTER UPDATE OF outcome ON bulk_copies
         WHEN (SELECT count(*) FROM bulk_copies WHERE outcome IS NOT NULL) > {DONE}
         BEGIN
           SELECT count(*) FROM (WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000000) SELECT n FROM c);
         END"
    );
    beside.execute_batch(&slow).expect("made");
    assert_eq!(ada.browser.post("/operations/retry", &form).await.status, 303);
    let done = || {
        let count = "SELECT count(*) FROM bulk_copies WHERE outcome IS NOT NULL";
        beside.query_row(count, [], |row| row.get::<_, i64>(0)).expect("readable")
    };
    while done() < DONE {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill();
    assert_eq!(done(), DONE, "of {COPIES} were queued when it was killed");
    beside.execute_batch("DROP TRIGGER slow").expect("gone");
    drop(beside);

    world.restart().await;
    let store = world.gateway().store();
    let ended = loop {
        let found = store.bulk(bulk.parse().expect("an id")).await.expect("readable").expect("the decision is kept");
        if found.state != BulkState::Running {
            break found;
        }
        tokio::task::yield_now().await;
    };
    let counts = (ended.state, ended.total, ended.resent, ended.passed_over);
    assert_eq!(counts, (BulkState::Finished, COPIES as u64, COPIES as u64, 0));
    let entries = store.audit_entries(0, 100_000).await.expect("readable");
    let told = |copy: &DeliveryId| {
        let (own, many) = (copy.to_string(), format!("one of {COPIES} ({bulk})"));
        let events = entries.iter().filter(|entry| entry.columns.word == "release");
        let events = events.map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned());
        events.filter(|event| event.contains(&own) && event.contains(&many) && event.contains("Person ada")).count()
    };
    for copy in &copies {
        assert_eq!(store.replays(*copy).await.expect("readable").len(), 1, "sent again once");
        assert_eq!(told(copy), 1, "and told once, with whoever decided it");
    }
}
