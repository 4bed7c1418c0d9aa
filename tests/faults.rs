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
use onward_core::state::{DeliveryState, TransportKind};
use onward_core::store::DeliveryQuery;
use onward_server::api::edge;
use onward_server::listener;
use onward_tests::message::{self, fresh};
use onward_tests::process::Process;
use onward_tests::sources;
use onward_tests::world::{World, post_xml};
use tokio::sync::{Mutex, watch};

use crate::arrival::Bench;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_035_a_gateway_that_is_told_to_stop_finishes_what_it_began() {
    let mut world = World::start().await;
    let hospital = Arc::new(world.hospital().await);
    let process = Process::take_over(&mut world).await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut posting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (hospital, acknowledged) = (Arc::clone(&hospital), Arc::clone(&acknowledged));
        posting.spawn(async move {
            let headers = [("content-type", "application/fhir+xml")];
            loop {
                let body = fresh(message::EDISCHARGE_ITK3);
                let reply =
                    hospital.call(onward_connect::http::Method::POST, "fhir/R4/$process-message", &headers, body).await;
                // Gone: it takes nothing any more.
                let Ok(reply) = reply else { return };
                assert_eq!(reply.status, 200, "whatever is answered is an answer");
                acknowledged.lock().await.push(reply.headers["location"].to_str().expect("text").to_owned());
            }
        });
    }
    while acknowledged.lock().await.len() < 8 {
        tokio::task::yield_now().await;
    }
    assert!(process.terminate().await, "it ends by itself, and well");
    posting.join_all().await;
    world.restart().await;
    for place in acknowledged.lock().await.iter() {
        let id = place.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an identifier");
        assert!(world.gateway().store().transfer(id).await.expect("readable").is_some(), "{place} is lost");
    }
    let (status, response, _) = post_xml(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
}
