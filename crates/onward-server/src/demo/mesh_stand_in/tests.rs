use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::HeaderValue;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::mesh::{MeshClient, MeshConfig};
use onward_core::directory::Endpoint;
use onward_core::state::RecipientKind;
use onward_core::transport::{Mailbox, Outbound, SendError, Sent, Transport};
use onward_core::{DeliveryId, SystemClock};
use tower::ServiceExt as _;

use super::*;

const KEY: &str = "a shared key";

fn exchange() -> Arc<Exchange> {
    let secret = |text: &str| Secret::new(text.to_owned());
    let passwords = [("ONWOT001".to_owned(), secret("one")), ("Y99001OT1".to_owned(), secret("two"))];
    Arc::new(Exchange::new(passwords.into(), secret(KEY), Arc::new(SystemClock)))
}

fn token(mailbox: &str, password: &str) -> String {
    let nonce = uuid::Uuid::new_v4();
    let time = SystemClock.now().strftime("%Y%m%d%H%M").to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let hash = hmac::sign(&key, format!("{mailbox}:{nonce}:0:{password}:{time}").as_bytes());
    format!("NHSMESH {mailbox}:{nonce}:0:{time}:{}", hex::encode(hash))
}

/// One request with a good token of `ONWOT001`; a header given here replaces the usual one, an empty one drops it.
async fn ask(
    exchange: &Arc<Exchange>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (StatusCode, Value) {
    let authorization = token("ONWOT001", "one");
    let mut usual = vec![
        ("authorization", authorization.as_str()),
        ("mex-to", "Y99001OT1"),
        ("mex-workflowid", "TOC_FHIR_IP_DISCH"),
        ("mex-localid", "ours-1"),
    ];
    usual.retain(|(name, _)| !headers.iter().any(|(given, _)| given == name));
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in usual.into_iter().chain(headers.iter().copied()).filter(|(_, value)| !value.is_empty()) {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body)).expect("a request");
    let response = router(Arc::clone(exchange)).oneshot(request).await.expect("an answer");
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

const OUTBOX: &str = "/messageexchange/ONWOT001/outbox";

#[tokio::test]
async fn no_route_answers_without_a_fresh_token_of_its_mailbox() {
    let exchange = exchange();
    let (status, sent) = ask(&exchange, "POST", OUTBOX, &[], "<a/>").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let id = sent["messageID"].as_str().expect("version 1 without Accept").to_owned();
    let used = token("ONWOT001", "one");
    assert_eq!(
        ask(&exchange, "GET", "/messageexchange/ONWOT001/inbox", &[("authorization", &used)], "").await.0,
        StatusCode::OK
    );
    let (wrong, other) = (token("ONWOT001", "two"), token("Y99001OT1", "two"));
    for authorization in ["", "NHSMESH x", "Bearer x", wrong.as_str(), other.as_str(), used.as_str()] {
        for (method, path) in [
            ("POST", ""),
            ("GET", "/inbox"),
            ("GET", "/count"),
            ("GET", &format!("/inbox/{id}")),
            ("PUT", &format!("/inbox/{id}/status/acknowledged")),
            ("GET", &format!("/inbox/{id}/1")),
            ("POST", "/outbox"),
            ("POST", &format!("/outbox/{id}/2")),
            ("GET", &format!("/outbox/tracking?messageID={id}")),
        ] {
            let path = format!("/messageexchange/ONWOT001{path}");
            let (status, body) = ask(&exchange, method, &path, &[("authorization", authorization)], "<a/>").await;
            assert_eq!((status, body), (StatusCode::FORBIDDEN, Value::Null), "{method} {path} {authorization}");
        }
    }
    assert_eq!(ask(&exchange, "GET", "/messageexchange/NOSUCH01/inbox", &[], "").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_cannot_be_sent_says_why() {
    let exchange = exchange();
    let long = "x".repeat(301);
    for (headers, body, status, code) in [
        (&[("mex-to", "Y99009OT9")][..], "<a/>", 417, "12"),
        (&[("mex-to", "")], "<a/>", 417, "08"),
        (&[("mex-from", "Y99001OT1")], "<a/>", 417, "07"),
        (&[("mex-workflowid", "")], "<a/>", 417, "06"),
        (&[("mex-chunk-range", "2:2")], "<a/>", 417, "06"),
        (&[("mex-chunk-range", "1:0")], "<a/>", 417, "06"),
        (&[("mex-chunk-range", "1:1001")], "<a/>", 417, "06"),
        (&[("mex-chunk-range", "whole")], "<a/>", 417, "06"),
        (&[("mex-messagetype", "REPORT")], "<a/>", 417, "11"),
        (&[], "", 417, "02"),
        (&[("content-encoding", "br")], "<a/>", 422, "06"),
    ] {
        let (got, body_of) = ask(&exchange, "POST", OUTBOX, headers, body).await;
        assert_eq!((got.as_u16(), body_of["errorCode"].as_str()), (status, Some(code)), "{headers:?}");
        let accept = [headers, &[("accept", "application/vnd.mesh.v2+json")]].concat();
        let (_, body_of) = ask(&exchange, "POST", OUTBOX, &accept, body).await;
        assert_eq!(body_of["detail"][0]["code"].as_str(), Some(code), "{headers:?}");
    }
    assert_eq!(ask(&exchange, "POST", OUTBOX, &[("mex-localid", &long)], "<a/>").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&exchange, "POST", "/messageexchange/ONWOT001", &[], "").await.0, StatusCode::BAD_REQUEST);
    let list = "/messageexchange/ONWOT001/inbox?max_results=501";
    assert_eq!(ask(&exchange, "GET", list, &[], "").await.0, StatusCode::BAD_REQUEST);
    assert!(exchange.messages().is_empty());
}

#[tokio::test]
async fn a_message_is_its_recipients_until_acknowledged() {
    let exchange = exchange();
    let (_, sent) = ask(&exchange, "POST", OUTBOX, &[("accept", "application/vnd.mesh.v2+json")], "<a/>").await;
    let id = sent["message_id"].as_str().expect("version 2").to_owned();
    let (sender, recipient) =
        (format!("/messageexchange/ONWOT001/inbox/{id}"), format!("/messageexchange/Y99001OT1/inbox/{id}"));
    assert_eq!(ask(&exchange, "GET", &sender, &[], "").await.0, StatusCode::FORBIDDEN);
    let acknowledged = format!("{sender}/status/acknowledged");
    assert_eq!(ask(&exchange, "PUT", &acknowledged, &[], "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&exchange, "GET", "/messageexchange/ONWOT001/inbox/NONE", &[], "").await.0, StatusCode::NOT_FOUND);
    let as_recipient = async |method: &str, path: &str| {
        let authorization = token("Y99001OT1", "two");
        ask(&exchange, method, path, &[("authorization", authorization.as_str())], "").await
    };
    assert_eq!(as_recipient("GET", "/messageexchange/Y99001OT1/count").await.1["count"], 1);
    assert_eq!(as_recipient("GET", &recipient).await.0, StatusCode::OK);
    assert_eq!(as_recipient("GET", &recipient).await.0, StatusCode::OK, "reading does not take it away");
    let acknowledged = format!("{recipient}/status/acknowledged");
    for _ in 0..2 {
        assert_eq!(as_recipient("PUT", &acknowledged).await.0, StatusCode::OK);
    }
    assert_eq!(as_recipient("GET", &recipient).await.0, StatusCode::GONE);
    let theirs = format!("/messageexchange/Y99001OT1/outbox/tracking?messageID={id}");
    assert_eq!(as_recipient("GET", &theirs).await.0, StatusCode::NOT_FOUND, "only the sender tracks");
}

#[tokio::test]
async fn a_long_inbox_comes_in_pages() {
    let exchange = exchange();
    for _ in 0..5 {
        ask(&exchange, "POST", OUTBOX, &[("mex-to", "ONWOT001")], "<a/>").await;
    }
    ask(&exchange, "POST", OUTBOX, &[("mex-to", "ONWOT001"), ("mex-workflowid", "OTHER")], "<a/>").await;
    let mut path = "/messageexchange/ONWOT001/inbox?max_results=2".to_owned();
    let mut ids = Vec::new();
    loop {
        let (_, page) = ask(&exchange, "GET", &path, &[], "").await;
        ids.extend(page["messages"].as_array().expect("a list").clone());
        match page["links"]["next"].as_str() {
            Some(next) => next.clone_into(&mut path),
            None => break,
        }
    }
    let all: Vec<Value> = exchange.messages().iter().map(|kept| kept.id.clone().into()).collect();
    assert_eq!(ids, all, "every message once, oldest first");
    let (_, page) = ask(&exchange, "GET", "/messageexchange/ONWOT001/inbox?workflow_filter=OTHER", &[], "").await;
    assert_eq!(page["messages"], json!([all[5]]));
}

/// What a mailbox of the recipient gets for this path.
async fn as_recipient(exchange: &Arc<Exchange>, method: &str, path: &str) -> Response {
    let path = format!("/messageexchange/Y99001OT1{path}");
    let request = Request::builder().method(method).uri(path).header("authorization", token("Y99001OT1", "two"));
    router(Arc::clone(exchange)).oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer")
}

#[tokio::test]
async fn a_message_in_parts_is_there_when_all_are_and_each_comes_as_it_was_sent() {
    let exchange = exchange();
    let (status, sent) = ask(&exchange, "POST", OUTBOX, &[("mex-chunk-range", "1:3")], "one").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let id = sent["messageID"].as_str().expect("an identifier").to_owned();
    let part = async |number: &str, range: &str, body: &'static str| {
        ask(&exchange, "POST", &format!("{OUTBOX}/{id}/{number}"), &[("mex-chunk-range", range)], body).await.0.as_u16()
    };
    for (number, range, body, status) in [
        ("2", "3:3", "two", 417),
        ("2", "2:4", "two", 417),
        ("2", "", "two", 417),
        ("4", "4:3", "four", 417),
        ("1", "1:3", "one", 417),
        ("2", "2:3", "", 417),
        ("x", "2:3", "two", 400),
        ("2", "2:3", "two", 202),
        ("2", "2:3", "two again", 202),
    ] {
        assert_eq!(part(number, range, body).await, status, "{number} of {range}");
    }
    let other = format!("{OUTBOX}/NONE/2");
    assert_eq!(ask(&exchange, "POST", &other, &[("mex-chunk-range", "2:2")], "two").await.0, StatusCode::NOT_FOUND);
    assert_eq!(as_recipient(&exchange, "GET", &format!("/inbox/{id}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(part("3", "3:3", "three").await, 202);
    assert_eq!(part("3", "3:3", "three").await, 423, "it is whole");
    let parts = [("", 206, "1:3", "one"), ("/2", 206, "2:3", "two again"), ("/3", 200, "3:3", "three")];
    for (beneath, status, range, body) in parts {
        let got = as_recipient(&exchange, "GET", &format!("/inbox/{id}{beneath}")).await;
        assert_eq!(
            (got.status().as_u16(), &got.headers()["mex-chunk-range"]),
            (status, &HeaderValue::from_static(range))
        );
        let bytes = axum::body::to_bytes(got.into_body(), 100).await.expect("a body");
        assert_eq!(bytes, body);
    }
    assert_eq!(as_recipient(&exchange, "GET", &format!("/inbox/{id}/4")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_nobody_got_is_reported_to_its_sender() {
    let exchange = exchange();
    let (_, sent) = ask(&exchange, "POST", OUTBOX, &[], "<a/>").await;
    let id = sent["messageID"].as_str().expect("an identifier");
    assert!(exchange.undelivered(id) && !exchange.undelivered(id));
    assert_eq!(as_recipient(&exchange, "GET", &format!("/inbox/{id}")).await.status(), StatusCode::GONE);
    // The person is nobody whom it knows.
    let by_person = ("mex-to", "GPPROVIDER_9990000018_19400203_Example");
    assert_eq!(ask(&exchange, "POST", OUTBOX, &[by_person], "<a/>").await.0, StatusCode::ACCEPTED);
    let (_, list) = ask(&exchange, "GET", "/messageexchange/ONWOT001/inbox", &[], "").await;
    let reports = list["messages"].as_array().expect("a list");
    assert_eq!(reports.len(), 2);
    for (report, code) in reports.iter().zip(["14", "EPL-153"]) {
        let path = format!("/messageexchange/ONWOT001/inbox/{}", report.as_str().expect("an identifier"));
        let request = Request::builder().uri(path).header("authorization", token("ONWOT001", "one"));
        let request = request.body(Body::empty()).expect("a request");
        let got = router(Arc::clone(&exchange)).oneshot(request).await.expect("an answer");
        assert_eq!(got.status(), StatusCode::OK);
        let told = |name: &str| got.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(told("mex-messagetype").as_deref(), Some("REPORT"));
        assert_eq!(told("mex-statuscode").as_deref(), Some(code));
        assert_eq!(told("mex-statussuccess").as_deref(), Some("ERROR"));
        assert_eq!(told("mex-localid").as_deref(), Some("ours-1"));
        assert_eq!(told("mex-linkedmsgid").as_deref() == Some(id), code == "14");
        let bytes = axum::body::to_bytes(got.into_body(), 100).await.expect("a body");
        assert!(bytes.is_empty());
    }
}

struct Turned(Mutex<jiff::Timestamp>);

impl Clock for Turned {
    fn now(&self) -> jiff::Timestamp {
        *self.0.lock().expect("whole")
    }
}

#[tokio::test]
async fn what_nobody_collects_in_five_days_is_gone_and_reported() {
    let secret = |text: &str| Secret::new(text.to_owned());
    let passwords = [("ONWOT001".to_owned(), secret("one")), ("Y99001OT1".to_owned(), secret("two"))];
    let clock = Arc::new(Turned(Mutex::new(SystemClock.now())));
    let as_clock: Arc<dyn Clock> = Arc::<Turned>::clone(&clock);
    let exchange = Arc::new(Exchange::new(passwords.into(), secret(KEY), as_clock));
    ask(&exchange, "POST", OUTBOX, &[], "<a/>").await;
    let waiting = |mailbox: &str| exchange.current().iter().filter(|kept| kept.waits_in(mailbox)).count();
    for (hours, here, there) in [(119, 1, 0), (120, 0, 1), (500, 0, 1)] {
        *clock.0.lock().expect("whole") = SystemClock.now() + jiff::SignedDuration::from_hours(hours);
        assert_eq!((waiting("Y99001OT1"), waiting("ONWOT001")), (here, there), "after {hours} hours");
    }
}

#[tokio::test]
async fn a_mailbox_is_found_by_what_it_takes_and_takes_nothing_else() {
    let listing = |ods: &str, workflow: &str| Listing {
        ods: ods.to_owned(),
        workflow: workflow.to_owned(),
        mailbox: "Y99001OT1".to_owned(),
    };
    let passwords = [
        ("ONWOT001".to_owned(), Secret::new("one".to_owned())),
        ("Y99001OT1".to_owned(), Secret::new("two".to_owned())),
    ];
    let exchange = Exchange::new(passwords.into(), Secret::new(KEY.to_owned()), Arc::new(SystemClock));
    let exchange = Arc::new(exchange.with_listings(vec![listing("Y99001", "TOC_FHIR_IP_DISCH")]));
    for (path, count) in [
        ("endpointlookup/y99001/TOC_FHIR_IP_DISCH", 1),
        ("endpointlookup/Y99001/OTHER", 0),
        ("endpointlookup/Y99002/TOC_FHIR_IP_DISCH", 0),
        ("workflowsearch/TOC_FHIR_IP_DISCH", 1),
        ("workflowsearch/OTHER", 0),
    ] {
        let path = format!("/messageexchange/{path}");
        let (status, first) = ask(&exchange, "GET", &path, &[], "").await;
        let (_, second) = ask(&exchange, "GET", &path, &[("accept", "application/vnd.mesh.v2+json")], "").await;
        let mailboxes = |body: &Value, name: &str| -> Vec<Value> {
            body["results"].as_array().expect("a list").iter().map(|found| found[name].clone()).collect()
        };
        let expected = vec![json!("Y99001OT1"); count];
        assert_eq!((status, mailboxes(&first, "address")), (StatusCode::OK, expected.clone()), "{path}");
        assert_eq!(mailboxes(&second, "mailbox_id"), expected, "{path}");
    }
    assert_eq!(ask(&exchange, "POST", OUTBOX, &[], "<a/>").await.0, StatusCode::ACCEPTED);
    let (status, refused) = ask(&exchange, "POST", OUTBOX, &[("mex-workflowid", "OTHER")], "<a/>").await;
    assert_eq!((status.as_u16(), refused["errorCode"].as_str()), (417, Some("17")));
}

fn client(port: u16, mailbox: &str, password: &str) -> MeshClient {
    let http = HttpClient::new(&HttpConfig {
        egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
        allow_plain_loopback: true,
        ..HttpConfig::default()
    });
    let secret = |text: &str| Secret::new(text.to_owned());
    let url = format!("http://127.0.0.1:{port}/").parse().expect("a URL");
    let config = MeshConfig::new(url, mailbox.parse().expect("a mailbox"), secret(password), secret(KEY));
    MeshClient::new(config, http.expect("a client"), Arc::new(SystemClock))
}

#[tokio::test]
async fn our_client_sends_collects_acknowledges_and_tracks() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let server = tokio::spawn(crate::listener::serve(
        listener,
        None,
        router(exchange()),
        crate::listener::Patience::default(),
        stopped,
    ));
    let (onward, practice) = (client(port, "ONWOT001", "one"), client(port, "Y99001OT1", "two"));
    let outbound = Outbound {
        delivery: DeliveryId::random(),
        attempt: 1,
        recipient: "Y99001".parse().expect("a code"),
        kind: RecipientKind::CoveringPractice,
        endpoint: Endpoint::Mesh { mailbox: "Y99001OT1".parse().expect("a mailbox"), workflow: None },
        media_type: "application/fhir+xml".to_owned(),
        body: Bytes::from_static(b"<Bundle/>"),
        workflow: Some("GPCONNECT_SEND_DOCUMENT".parse().expect("a workflow")),
        replay: false,
        addressee: None,
    };
    let Ok(Sent::HandedOver { reference: Some(id) }) = onward.send(&outbound).await else { panic!("not sent") };
    assert_eq!(practice.list().await, Ok(vec![id.clone()]));
    let message = practice.fetch(&id).await.expect("fetched");
    assert_eq!(message.body, outbound.body);
    assert_eq!(message.from.map(String::from).as_deref(), Some("ONWOT001"));
    assert_eq!(message.local_id, Some(outbound.delivery.to_string()));
    assert_eq!((message.workflow.as_str(), message.message_type.as_str()), ("GPCONNECT_SEND_DOCUMENT", "DATA"));
    practice.acknowledge(&id).await.expect("acknowledged");
    assert_eq!(practice.list().await, Ok(vec![]));
    let tracked = onward.tracking(&id).await.expect("an answer").expect("known");
    assert_eq!(tracked.status.as_deref(), Some("acknowledged"));
    let refused = client(port, "Y99001OT1", "one").handshake().await;
    assert!(matches!(refused, Err(SendError::Transient { .. })), "{refused:?}");
    stop.send(true).expect("it runs");
    // Open keep-alive connections of the clients would hold the drain.
    drop((onward, practice));
    server.abort();
}
