use aws_lc_rs::hmac;
use axum::body::Body;
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
            ("POST", "/outbox"),
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
        (&[("mex-to", "GPPROVIDER_9990000018_19400203_Example")], "<a/>", 417, "12"),
        (&[("mex-to", "")], "<a/>", 417, "08"),
        (&[("mex-from", "Y99001OT1")], "<a/>", 417, "07"),
        (&[("mex-workflowid", "")], "<a/>", 417, "06"),
        (&[("mex-chunk-range", "1:2")], "<a/>", 417, "06"),
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
