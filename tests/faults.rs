//! The forty faults of the specification (`tests/faults.csv`): each has its test, or says what is not shown and why; and those that need
//! a whole gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::get;
use onward_connect::http::{HeaderMap, HeaderName, HeaderValue, Method};
use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::client::Role;
use onward_core::state::{DeliveryState, TransportKind};
use onward_core::store::{DeliveryQuery, DeliveryRecord, StoreError};
use onward_gateway::collect::Form;
use onward_server::api::edge;
use onward_server::listener;
use onward_tests::message::{self, fresh};
use onward_tests::pharmacy::{Answers, Pharmacy};
use onward_tests::postgres;
use onward_tests::process::Process;
use onward_tests::sources;
use onward_tests::world::{World, accepted, post_xml};
use tokio::sync::{Mutex, watch};

use crate::arrival::{Bench, client};
use crate::audit::refuse_audit;

#[test]
fn every_fault_has_a_test_that_exists_or_says_why_not() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut reader = csv::Reader::from_path(root.join("tests/faults.csv")).expect("the table");
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("as many columns as headings")).collect();
    assert_eq!(rows.len(), 40);
    for (number, row) in (1..).zip(&rows) {
        assert_eq!(row[0], number.to_string(), "numbered in order");
        assert!(!row[3].is_empty() || !row[4].is_empty(), "{number}: neither a test nor a reason");
        for name in row[3].split("; ").filter(|name| !name.is_empty()) {
            let (file, function) = name.split_once('#').unwrap_or_else(|| panic!("{number}: {name}"));
            assert!(sources::defines(file, function), "{number} names {name}, which is nowhere");
        }
    }
}

#[tokio::test]
async fn fault_025_one_lost_answer_in_five_makes_no_second_effect() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    *bench.partner.loses_one_in.lock().expect("whole") = Some(5);
    let mut transfers = Vec::new();
    for _ in 0..8 {
        transfers.push(bench.accept().await);
    }
    let queued = DeliveryQuery { states: vec![DeliveryState::Queued], limit: 1, ..DeliveryQuery::default() };
    while !bench.gateway.store().deliveries(queued.clone()).await.expect("readable").is_empty() {
        while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
        bench.later(60);
    }
    let mut effects: BTreeMap<_, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let came = bench.partner.came.lock().expect("whole").clone();
    for outbound in &came {
        effects.entry(outbound.delivery).or_default().insert(outbound.body.to_vec());
    }
    // Whoever keeps deliveries by their identifier has each once, and a repeat is the same to the byte.
    assert!(came.len() > effects.len(), "answers were lost: {} sends of {} copies", came.len(), effects.len());
    assert!(effects.values().all(|bodies| bodies.len() == 1));
    for id in transfers {
        let pushed = bench.transfer(id).await;
        for copy in pushed.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https) {
            assert_eq!(copy.state, DeliveryState::Received);
            assert!(effects.remove(&copy.id).is_some(), "it came");
        }
    }
    assert!(effects.is_empty(), "nothing else came");
}

async fn panics() -> StatusCode {
    panic!("a message that may quote 9990000018");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_039_a_panic_in_a_handler_is_answered_and_audited_and_the_others_live() {
    let world = World::start().await;
    let app = Arc::clone(&world.running.as_ref().expect("the gateway runs").app);
    // No route of ours panics on purpose: these stand behind the same layer as all of them.
    let router = Router::new()
        .route("/fhir/R4/panics", get(panics))
        .route("/fhir/R4/lives", get(async || "alive"))
        .layer(middleware::from_fn_with_state(app, edge::around));
    let bound = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base: url::Url = format!("https://{}", bound.local_addr().expect("bound")).parse().expect("a URL");
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(listener::serve(bound, Some(Arc::new(world.tls())), router, listener::Patience::default(), stopped));
    let http = world.http();
    let ask = async |path: &str, id: &'static str| {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-request-id"), HeaderValue::from_static(id))]);
        let answer = http.send(Method::GET, base.join(path).expect("a URL"), headers, "").await.expect("an answer");
        (answer.status().as_u16(), String::from_utf8(answer.bytes().await.expect("a body").to_vec()).expect("text"))
    };
    let ((status, text), others) = tokio::join!(ask("fhir/R4/panics", "broken"), async {
        [ask("fhir/R4/lives", "a").await, ask("fhir/R4/lives", "b").await]
    });
    assert_eq!(status, 500);
    assert!(text.contains("OperationOutcome") && !text.contains("9990000018"), "{text}");
    assert_eq!(others.map(|(status, text)| (status, text)), [(200, "alive".to_owned()), (200, "alive".to_owned())]);
    assert_eq!(ask("fhir/R4/lives", "after").await.0, 200);
    let log = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    let events = log.iter().filter_map(|entry| entry.event().map(|event| String::from_utf8_lossy(event).into_owned()));
    let told: Vec<String> = events.filter(|event| event.contains("fault of this gateway")).collect();
    assert_eq!(told.len(), 1, "audited once");
    assert!(told[0].contains("/fhir/R4/panics") && told[0].contains("broken") && !told[0].contains("9990000018"));
    refuse_audit(&world, true);
    assert_eq!(ask("fhir/R4/panics", "unaudited").await.0, 503, "what cannot be audited says so");
    refuse_audit(&world, false);
}

/// Turns one bit of what is stored there.
fn flip(bench: &Bench, table: &str, key: &str, id: &str) {
    let file = rusqlite::Connection::open(bench.folder.path().join("onward.db")).expect("opens");
    file.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
    let read = format!("SELECT body FROM {table} WHERE {key} = ?");
    let mut body: Vec<u8> = file.query_row(&read, [id], |row| row.get(0)).expect("it is there");
    let middle = body.len() / 2;
    body[middle] ^= 1;
    let write = format!("UPDATE {table} SET body = ? WHERE {key} = ?");
    assert_eq!(file.execute(&write, rusqlite::params![body, id]), Ok(1));
}

/// Of a copy before it is sent, of one that waits to be collected, and of what the hospital sent.
#[tokio::test]
async fn fault_010_a_bit_that_flips_in_a_message_is_found_parked_and_told_within_a_minute() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let id = bench.accept().await;
    let is_pushed = |copy: &&DeliveryRecord| copy.endpoint.kind() == TransportKind::Https;
    let pushed: Vec<_> = bench.transfer(id).await.copies().filter(is_pushed).map(|copy| copy.id).collect();
    let state = async |copy: DeliveryId| {
        let copy = bench.gateway.store().delivery(copy).await.expect("readable").expect("there");
        (copy.state, copy.reason)
    };
    let damaged = (DeliveryState::Failed, Some("unreadable in the store: rendition_bodies.body".to_owned()));
    let is_told = async || {
        // The gateway looks every ten seconds.
        bench.later(10);
        assert_eq!(bench.gateway.alert_once().await, Ok(1), "within a minute");
        let letters = bench.letters();
        let letter = letters.get("operations@onward.example").expect("who runs the gateway hears of it");
        assert!(letter.contains("A discharge could not be delivered."), "{letter}");
    };
    flip(&bench, "rendition_bodies", "delivery", &pushed[0].to_string());
    bench.gateway.dispatch_due().await.expect("sent");
    assert_eq!(state(pushed[0]).await, damaged);
    assert_eq!(state(pushed[1]).await.0, DeliveryState::Received, "the others flow");
    let came: Vec<_> = bench.partner.came.lock().expect("whole").iter().map(|outbound| outbound.delivery).collect();
    assert_eq!(came, [pushed[1]], "nothing of it leaves");
    is_told().await;

    let waiting = bench.care_home_copy(id).await;
    assert_eq!(state(waiting).await.0, DeliveryState::AwaitingCollection);
    flip(&bench, "rendition_bodies", "delivery", &waiting.to_string());
    let home = client("rowan-house", "VMH01", Role::CareHome);
    for form in [Form::Document, Form::Page] {
        let opened = bench.gateway.open(&home, waiting, form, None).await;
        assert!(matches!(opened, Err(StoreError::Corrupt(_))), "nobody is shown anything of it");
    }
    assert_eq!(state(waiting).await, damaged);
    is_told().await;

    // Whoever has subscribed to its Task is called: for entries with that word.
    let entries = bench.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let failed = entries.iter().filter(|entry| entry.columns.word == "delivery-failed");
    let failed: Vec<_> = failed.map(|entry| (entry.columns.delivery.clone(), entry.columns.transfer.clone())).collect();
    assert_eq!(failed, [pushed[0], waiting].map(|copy| (Some(copy.to_string()), Some(id.to_string()))));
    let checkup = bench.gateway.store().checkup().await.expect("readable");
    assert!(checkup.flaws.is_empty(), "{:?}", checkup.flaws);

    flip(&bench, "message_bodies", "transfer", &id.to_string());
    let original = bench.gateway.store().original(id).await.map(drop);
    assert_eq!(original, Err(StoreError::Corrupt("message_bodies.body".to_owned())));
}

/// The database keeps every connection of the gateway busy: somebody holds what each request looks up first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_016_who_comes_while_no_connection_is_free_gets_503_with_when_to_come_again_and_later_an_answer() {
    const AT_ONCE: usize = 24;
    let Some(cluster) = postgres::shared() else { return };
    let database = cluster.database();
    let mut world = World::start_on_postgres(&database).await;
    let hospital = Arc::new(world.hospital().await);
    let (status, ..) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "signed in, and everything is well");
    let process = Process::take_over(&mut world).await;
    cluster.tamper(&database, "CREATE TABLE let_go (at_last BIGINT)");
    let holding = std::thread::spawn({
        let database = database.clone();
        let holds = "DO $$ BEGIN
             LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE;
             WHILE NOT EXISTS (SELECT 1 FROM let_go) LOOP PERFORM pg_sleep(0.01); END LOOP;
         END $$";
        move || cluster.tamper(&database, holds)
    });
    let is_held = "SELECT count(*) FROM pg_locks WHERE relation = 'tokens'::regclass AND granted AND mode = 'AccessExclusiveLock'";
    while cluster.tamper(&database, is_held) != ["1"] {
        tokio::task::yield_now().await;
    }
    // More than twice as many as there are connections that read: some wait until those in front of them have given up.
    let mut posting = tokio::task::JoinSet::new();
    let bodies: Vec<String> = (0..AT_ONCE).map(|_| fresh(message::EDISCHARGE_ITK3)).collect();
    for body in bodies.clone() {
        let hospital = Arc::clone(&hospital);
        posting.spawn(async move { post_xml(&hospital, body).await });
    }
    for (status, response, reply) in posting.join_all().await {
        assert_eq!(status, 503, "{response}");
        let after = reply.headers["retry-after"].to_str().expect("text").parse::<u32>();
        assert!(after.is_ok_and(|seconds| (1..=60).contains(&seconds)), "{:?}", reply.headers);
    }
    process.logs("every connection to PostgreSQL is busy").await;
    cluster.tamper(&database, "INSERT INTO let_go VALUES (1)");
    holding.join().expect("it has let go");
    let mut places = BTreeSet::new();
    for body in bodies {
        places.insert(accepted(&hospital, body).await.to_string());
    }
    assert_eq!(places.len(), AT_ONCE);
    assert!(process.terminate().await);
    world.restart().await;
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let taken = log.iter().filter(|entry| entry.columns.word == AuditWord::Accept.as_str()).count();
    assert_eq!(taken, AT_ONCE + 1, "what was refused left nothing");
}

/// A hospital's journal: what it posted, and where that is if it was told.
type Journal = Vec<(String, Option<String>)>;

/// Under load, with attempts in flight: the pharmacy has what it was sent and answers when the gateway has been told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_035_a_gateway_that_is_told_to_stop_finishes_what_it_began() {
    let mut world = World::start_reaching_loopback().await;
    let pharmacy = Pharmacy::start(&world, Answers::Hangs).await;
    let hospital = Arc::new(world.hospital().await);
    let mut process = Process::take_over(&mut world).await;
    let journal = Arc::new(Mutex::new(Journal::new()));
    let mut posting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (hospital, journal) = (Arc::clone(&hospital), Arc::clone(&journal));
        posting.spawn(async move {
            let headers = [("content-type", "application/fhir+xml")];
            loop {
                let body = fresh(message::EDISCHARGE_ITK3);
                let reply = hospital.call(Method::POST, "fhir/R4/$process-message", &headers, body.clone()).await;
                let place = reply.ok().map(|reply| {
                    assert_eq!(reply.status, 200, "whatever is answered is an answer");
                    reply.headers["location"].to_str().expect("text").to_owned()
                });
                let is_gone = place.is_none();
                journal.lock().await.push((body, place));
                // It takes nothing any more.
                if is_gone {
                    return;
                }
            }
        });
    }
    // A referral and a nomination; the others are of the same person and wait for these.
    while journal.lock().await.len() < 8 || pharmacy.came().len() < 2 {
        tokio::task::yield_now().await;
    }
    let in_flight: Vec<String> = pharmacy.came().into_iter().map(|came| came.delivery).collect();
    process.tell_to_stop();
    process.logs("stopping: open requests and attempts finish first").await;
    pharmacy.does(Answers::Takes);
    assert!(process.stopped().await, "it ends by itself, and well");
    // It says so of what it has to break off after 30 seconds.
    assert!(!process.log().contains("stopped before everything had finished"), "{}", process.log());
    posting.join_all().await;

    world.restart().await;
    let store = Arc::clone(world.gateway().store());
    for id in &in_flight {
        let copy = store.delivery(id.parse().expect("an identifier")).await.expect("readable").expect("there");
        assert_eq!((copy.state, copy.attempts), (DeliveryState::Received, 1), "its end is kept");
    }
    let journal = std::mem::take(&mut *journal.lock().await);
    let (posted, mut places) = (journal.len(), BTreeSet::new());
    let mut unanswered = 0;
    for (body, told) in journal {
        // Whatever was answered is there, and is what it was; what was not is taken now, or was.
        let (status, response, reply) = post_xml(&hospital, body).await;
        assert_eq!(status, 200, "{response}");
        let place = reply.headers["location"].to_str().expect("text").to_owned();
        assert!(told.as_ref().is_none_or(|told| *told == place), "{told:?} is lost: {place}");
        unanswered += usize::from(told.is_none());
        places.insert(place);
    }
    assert_eq!((places.len(), unanswered), (posted, 4), "one transfer a message; each client was left once");
    let queued = DeliveryQuery { states: vec![DeliveryState::Queued], limit: 1, ..DeliveryQuery::default() };
    while !store.deliveries(queued.clone()).await.expect("readable").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(pharmacy.came().len(), 2 * posted, "two copies of each");
    assert_eq!(pharmacy.has().len(), 2 * posted, "and each came once");
    let log = store.audit_entries(0, 1_000_000).await.expect("readable");
    let taken = log.iter().filter(|entry| entry.columns.word == AuditWord::Accept.as_str()).count();
    assert_eq!(taken, posted);
}
