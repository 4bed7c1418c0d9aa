//! Traces by the standard variables of OpenTelemetry: part of the caller's trace, passed on to whom is pushed to, and about nobody.

use std::time::Duration;

use onward_connect::http::Method;
use onward_tests::collector::{Collector, spans};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::message_server::MessageServer;
use onward_tests::process::Process;
use onward_tests::world::World;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Generous: the machine is busy with other tests.
const WAIT: Duration = Duration::from_secs(60);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name} of {}: {other:?}", span.name),
    }
}

async fn posted(hospital: &Session, traceparent: &str) {
    let headers = [
        ("content-type", "application/fhir+xml"),
        ("traceparent", traceparent),
        ("tracestate", "ward=Holroyd-9990000018"),
    ];
    let body = fresh(message::EDISCHARGE_ITK3);
    let reply = hospital.call(Method::POST, "fhir/R4/$process-message", &headers, body).await.expect("an answer");
    assert_eq!(reply.status, 200);
}

async fn until(collector: &Collector, so: impl Fn(&[Span]) -> bool) -> Vec<Span> {
    let waited = tokio::time::timeout(WAIT, collector.until(|exports| so(&spans(exports)))).await;
    let spans = collector.spans();
    assert!(waited.is_ok(), "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_caller_to_the_collector_and_the_partner_and_names_nobody() {
    let bound = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut world = World::start_with_message_server(bound.local_addr().expect("bound").port()).await;
    let server = MessageServer::start(bound, world.tls());
    let collector = Collector::start().await;
    // What passes by itself is tried again.
    collector.answer(&[503, 429]);
    let hospital = world.hospital().await;
    let endpoint = collector.endpoint();
    let process = Process::take_over_with(
        &mut world,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector"),
            ("OTEL_SERVICE_NAME", "northmoor-gateway"),
            ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        ],
    )
    .await;
    // A caller that does not trace is not traced by this sampler; one that traces is.
    posted(&hospital, &format!("00-{}-{PARENT}-00", TRACE.replace("0af", "fff"))).await;
    posted(&hospital, &format!("00-{TRACE}-{PARENT}-01")).await;
    let spans = until(&collector, |spans| spans.iter().any(|span| hex(&span.trace_id) == TRACE)).await;
    let [span] = spans.as_slice() else { panic!("one request was to be traced: {}", spans.len()) };
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((span.name.as_str(), span.kind), ("POST /fhir/R4/$process-message", 2), "a server's span");
    assert_eq!(attribute(span, "http.route"), "/fhir/R4/$process-message");
    assert_eq!(attribute(span, "http.response.status_code"), "200");
    assert_eq!(span.trace_state, "", "what callers write there is not carried on");
    let exports = collector.exports();
    assert_eq!(exports[0].headers["authorization"], "Bearer collector");
    assert_eq!(exports[0].headers["content-type"], "application/x-protobuf");
    let resource = exports[0].decoded().resource_spans[0].resource.clone().expect("a resource");
    let named = resource.attributes.iter().find(|attribute| attribute.key == "service.name").expect("named");
    assert!(format!("{named:?}").contains("northmoor-gateway"));
    // Attempts have no parent, so this sampler leaves them out, and says so to the partner.
    let told = tokio::time::timeout(WAIT, server.asked(4)).await.expect("two messages for two practices each");
    assert!(told.iter().all(|told| told.ends_with("-00")), "{told:?}");
    assert!(process.terminate().await);

    // Everything, and whom is pushed to is told which trace it is.
    let process = Process::take_over_with(&mut world, &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    posted(&hospital, "9990000018").await;
    let delivered = |spans: &[Span]| spans.iter().filter(|span| span.name == "deliver").count();
    let spans = until(&collector, |spans| delivered(spans) >= 5).await;
    let pushed: Vec<&Span> =
        spans.iter().filter(|span| span.name == "deliver" && attribute(span, "onward.transport") == "https").collect();
    let told = server.traceparents();
    for span in &pushed {
        let parent = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert!(told.contains(&parent), "{parent} of {told:?}");
        assert_eq!((attribute(span, "onward.outcome").as_str(), span.kind), ("received", 3), "a client's span");
    }
    assert!(pushed.len() >= 2, "both practices");
    assert!(process.terminate().await, "it exports what is left, and ends");
    for export in collector.exports() {
        let bytes = String::from_utf8_lossy(&export.plain()).into_owned();
        for canary in ["9990000018", "Holroyd", "1944", "Bramble", "Rowan House"] {
            assert!(!bytes.contains(canary), "{canary}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_not_listed_holds_nothing_up() {
    let mut world = World::start_reaching_loopback().await;
    let hospital = world.hospital().await;
    // Nobody listens there.
    let nobody = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let process = Process::take_over_with(&mut world, &nobody).await;
    for _ in 0..3 {
        posted(&hospital, &format!("00-{TRACE}-{PARENT}-01")).await;
    }
    process.logs("traces are not taken").await;
    assert!(process.terminate().await);
    // One that takes what comes and never answers keeps nobody from an orderly end, however long it may take by its variable.
    let collector = Collector::start().await;
    collector.fall_silent();
    let endpoint = collector.endpoint();
    let silent = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let process = Process::take_over_with(&mut world, &silent).await;
    posted(&hospital, &format!("00-{TRACE}-{PARENT}-01")).await;
    until(&collector, |spans| spans.iter().any(|span| hex(&span.trace_id) == TRACE)).await;
    assert_eq!(collector.exports()[0].headers["content-encoding"], "gzip");
    assert!(process.terminate().await, "within a minute, though ten were allowed for the export");
    // A host that is not on the egress list, and what cannot be heeded, are refused at the start.
    for (name, value, said) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example", "egress"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER"),
    ] {
        let said_so = Process::refused(&world, &[(name, value)]).await;
        assert!(said_so.contains(said), "{said_so}");
    }
}
