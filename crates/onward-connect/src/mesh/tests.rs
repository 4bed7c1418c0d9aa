use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use onward_core::state::RecipientKind;
use onward_core::transport::Addressee;
use onward_core::{DeliveryId, SystemClock};

use super::*;
use crate::http::HttpConfig;
use crate::loopback::{Partner, Reply, Seen, loopback_config};

fn ok() -> Reply {
    Reply::new("200 OK", &[], b"")
}

/// Reads its seconds from a number that the test turns.
struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).expect("in range")
    }
}

fn config(partner: &Partner) -> MeshConfig {
    MeshConfig::new(
        partner.url("/"),
        "X26ABC1".parse().expect("a mailbox"),
        Secret::new("password".to_owned()),
        Secret::new("TestKey".to_owned()),
    )
}

fn client_by(partner: &Partner, http: &HttpConfig) -> MeshClient {
    MeshClient::new(config(partner), HttpClient::new(http).expect("a client"), Arc::new(SystemClock))
}

fn client_with(partner: &Partner, config: MeshConfig) -> MeshClient {
    MeshClient::new(config, HttpClient::new(&partner.config()).expect("a client"), Arc::new(SystemClock))
}

fn client(partner: &Partner) -> MeshClient {
    client_with(partner, config(partner))
}

fn outbound() -> Outbound {
    Outbound {
        delivery: DeliveryId::random(),
        attempt: 1,
        recipient: "A82608".parse().expect("a code"),
        kind: RecipientKind::RegisteredPractice,
        endpoint: Endpoint::Mesh { mailbox: "X26ABC2".parse().expect("a mailbox"), workflow: None },
        media_type: "application/fhir+xml; fhirVersion=3.0".to_owned(),
        body: Bytes::from_static(b"<Bundle/>"),
        workflow: Some("TOC_FHIR_IP_DISCH".parse().expect("a workflow")),
        replay: false,
        addressee: None,
    }
}

async fn sent(reply: Reply) -> Result<Sent, SendError> {
    let partner = Partner::start(vec![ok(), reply]).await;
    let sent = client(&partner).send(&outbound()).await;
    assert_eq!(partner.seen().len(), 2, "a handshake and one send");
    sent
}

#[tokio::test]
async fn a_send_shakes_hands_and_carries_the_headers() {
    let partner = Partner::start(vec![ok(), Reply::new("202 Accepted", &[], br#"{"message_id":"2026_AB"}"#)]).await;
    let outbound = outbound();
    let sent = client(&partner).send(&outbound).await;
    assert_eq!(sent, Ok(Sent::HandedOver { reference: Some("2026_AB".to_owned()) }));
    let [handshake, send] = <[Seen; 2]>::try_from(partner.seen()).expect("two requests");
    assert_eq!(handshake.line, "POST /messageexchange/X26ABC1 HTTP/1.1");
    for name in ["mex-clientversion", "mex-osname", "mex-osversion", "authorization"] {
        assert!(handshake.header(name).is_some(), "{name}");
    }
    assert_eq!(send.line, "POST /messageexchange/X26ABC1/outbox HTTP/1.1");
    assert_eq!(send.body, outbound.body);
    let delivery = outbound.delivery.to_string();
    for (name, value) in [
        ("accept", "application/vnd.mesh.v2+json"),
        ("mex-from", "X26ABC1"),
        ("mex-to", "X26ABC2"),
        ("mex-workflowid", "TOC_FHIR_IP_DISCH"),
        ("mex-localid", &delivery),
        ("mex-filename", &format!("{delivery}.xml")),
        ("mex-messagetype", "DATA"),
        ("mex-subject", "Onward delivery"),
        ("content-type", "application/fhir+xml; fhirVersion=3.0"),
    ] {
        assert_eq!(send.header(name), Some(value), "{name}");
    }
    assert_eq!(send.header("content-encoding"), None);
    assert_ne!(handshake.header("authorization"), send.header("authorization"), "a token is good for one request");
}

#[tokio::test]
async fn the_handshake_is_daily() {
    let partner = Partner::start(vec![ok()]).await;
    let clock = Arc::new(Turned(AtomicI64::new(1_800_000_000)));
    let http = HttpClient::new(&loopback_config()).expect("a client");
    let client = MeshClient::new(config(&partner), http, Arc::clone(&clock) as Arc<dyn Clock>);
    for (hours, requests) in [(0, 2), (0, 3), (22, 4), (24, 6), (25, 7)] {
        clock.0.store(1_800_000_000 + hours * 3600, Ordering::Relaxed);
        client.acknowledge("A1").await.expect("acknowledged");
        assert_eq!(partner.seen().len(), requests, "after {hours} h");
    }
}

#[tokio::test]
async fn a_failed_handshake_sends_nothing() {
    for reply in [
        Reply::new("401 x", &[], b""),
        Reply::new("403 Forbidden", &[], b"{}"),
        Reply::new("404 x", &[], b"{}"),
        Reply::new("200 OK", &[], br#"{"errorCode":"07","errorDescription":"x"}"#),
        Reply::new("500 x", &[], b""),
        Reply::Hang,
    ] {
        let partner = Partner::start(vec![reply]).await;
        let error = client(&partner).send(&outbound()).await.expect_err("no handshake");
        assert!(matches!(error, SendError::Transient { .. }), "no copy's fault: {error:?}");
        assert_eq!(partner.seen().len(), 1);
    }
}

#[tokio::test]
async fn answers_to_a_send() {
    let handed = |id: Option<&str>| Ok(Sent::HandedOver { reference: id.map(str::to_owned) });
    assert_eq!(sent(Reply::new("202 x", &[], br#"{"messageID":"2026_V1"}"#)).await, handed(Some("2026_V1")));
    // Taken is taken, even when the reference is unusable.
    for body in [&b""[..], b"<html>", br#"{"message_id":"../../x"}"#] {
        assert_eq!(sent(Reply::new("202 x", &[], body)).await, handed(None));
    }
    let unregistered = br#"{"message_id":"","detail":[{"event":"SEND","code":"12","msg":"Unregistered to address"}]}"#;
    match sent(Reply::new("417 x", &[], unregistered)).await {
        Err(SendError::Permanent { reason }) => assert!(reason.contains("not registered"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let hostile = br#"{"errorCode":"NHS 9990000018","errorDescription":"NHS 9990000018"}"#;
    for status in ["400 x", "404 x", "413 x", "417 x", "422 x", "302 x"] {
        match sent(Reply::new(status, &[], hostile)).await {
            Err(SendError::Permanent { reason }) => assert!(!reason.contains("999"), "{status}: {reason}"),
            other => panic!("{status}: {other:?}"),
        }
    }
    for status in ["429 x", "503 x"] {
        match sent(Reply::new(status, &["Retry-After: 9"], b"")).await {
            Err(SendError::Transient { retry_after_seconds, .. }) => assert_eq!(retry_after_seconds, Some(9)),
            other => panic!("{status}: {other:?}"),
        }
    }
    for reply in [Reply::new("500 x", &[], b""), Reply::new("502 x", &[], b""), Reply::Hang, Reply::Close] {
        let sent = sent(reply).await;
        assert!(matches!(sent, Err(SendError::Unknown { .. })), "{sent:?}");
    }
}

#[tokio::test]
async fn unsendable_copies_do_not_reach_the_wire() {
    let partner = Partner::start(vec![ok()]).await;
    let client = client_with(&partner, MeshConfig { chunk_bytes: 1, ..config(&partner) });
    let small = || Outbound { body: Bytes::from_static(b"<a/>"), ..outbound() };
    for copy in [
        Outbound { body: vec![b'x'; 1_001].into(), ..outbound() },
        Outbound { body: Bytes::new(), ..outbound() },
        Outbound { workflow: None, ..small() },
        Outbound { endpoint: Endpoint::Inbox {}, ..small() },
    ] {
        assert!(matches!(client.send(&copy).await, Err(SendError::Permanent { .. })));
    }
    assert!(partner.seen().is_empty());
    let injected = Outbound { media_type: "a/b\r\nmex-to: EVIL".to_owned(), ..small() };
    assert!(matches!(client.send(&injected).await, Err(SendError::Permanent { .. })));
}

#[tokio::test]
async fn bodies_are_compressed_when_configured() {
    let partner = Partner::start(vec![ok(), Reply::new("202 x", &[], br#"{"message_id":"A1"}"#)]).await;
    let outbound = outbound();
    client_with(&partner, MeshConfig { compress: true, ..config(&partner) }).send(&outbound).await.expect("sent");
    let seen = partner.seen();
    assert_eq!(seen[1].header("content-encoding"), Some("gzip"));
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&seen[1].body[..]), &mut plain).expect("gzip");
    assert_eq!(plain, outbound.body);
}

#[tokio::test]
async fn mesh_finds_a_practice_by_the_person_in_either_form_of_the_date() {
    let person = |family: &str| Addressee {
        nhs_number: "9990000018".parse().expect("a number"),
        born: "1944-03-08".parse().expect("a date"),
        family: family.to_owned(),
    };
    let routed = |addressee| Outbound { endpoint: Endpoint::GpRouting { workflow: None }, addressee, ..outbound() };
    for (date, expected) in [
        (GpRoutingDate::YearFirst, "GPPROVIDER_9990000018_19440308_O'Hara Smith"),
        (GpRoutingDate::DayFirst, "GPPROVIDER_9990000018_08031944_O'Hara Smith"),
    ] {
        let partner = Partner::start(vec![ok(), Reply::new(TAKEN.0, &[], TAKEN.1.as_bytes())]).await;
        let client = client_with(&partner, MeshConfig { gp_routing_date: date, ..config(&partner) });
        client.send(&routed(Some(person(" O'Hara Smith ")))).await.expect("sent");
        let seen = partner.seen();
        assert_eq!(seen[1].header("mex-to"), Some(expected));
        for name in ["mex-localid", "mex-filename", "mex-subject"] {
            assert!(!seen[1].header(name).expect("there").contains("9990000018"), "{name} names nobody");
        }
    }
    // What cannot stand there is a person's task, and its reason names nobody.
    let partner = Partner::start(vec![ok()]).await;
    let long = "x".repeat(90);
    for family in ["", " ", "Müller", "a_b", "a\r\nmex-from: EVIL", long.as_str()] {
        match client(&partner).send(&routed(Some(person(family)))).await {
            Err(SendError::Permanent { reason }) => assert!(!reason.contains("999000"), "{reason}"),
            other => panic!("{family:?}: {other:?}"),
        }
    }
    assert!(matches!(client(&partner).send(&routed(None)).await, Err(SendError::Permanent { .. })));
    assert!(partner.seen().is_empty(), "nothing reaches the wire");
}

#[tokio::test]
async fn mesh_says_where_a_message_went() {
    for (body, expected) in [
        (r#"{"message_id":"A1","recipient":"X26ABC3"}"#, Some("X26ABC3")),
        (r#"{"message_id":"A1","recipient":"GPPROVIDER_9990000018_19440308_X"}"#, None),
        (r#"{"message_id":"A1"}"#, None),
    ] {
        let partner = Partner::start(vec![ok(), Reply::new("200 OK", &[], body.as_bytes())]).await;
        let told = client(&partner).recipient("A1").await.expect("an answer");
        assert_eq!(told.as_ref().map(MeshMailboxId::as_str), expected);
    }
}

/// Sends ten bytes in chunks of four, to a partner that shakes hands and then answers so.
async fn sent_in_chunks(compress: bool, replies: &[(&str, &str)]) -> (Result<Sent, SendError>, Vec<Seen>) {
    let replies = replies.iter().map(|(status, body)| Reply::new(status, &[], body.as_bytes()));
    let partner = Partner::start([vec![ok()], replies.collect()].concat()).await;
    let outbound = Outbound { body: Bytes::from_static(b"0123456789"), ..outbound() };
    let sent = client_with(&partner, MeshConfig { compress, chunk_bytes: 4, ..config(&partner) }).send(&outbound).await;
    (sent, partner.seen())
}

const TAKEN: (&str, &str) = ("202 Accepted", r#"{"message_id":"A1"}"#);

#[tokio::test]
async fn what_is_too_long_for_one_request_goes_in_chunks() {
    for compress in [false, true] {
        let (sent, seen) = sent_in_chunks(compress, &[TAKEN, ("202 x", ""), ("202 x", "")]).await;
        assert_eq!(sent, Ok(Sent::HandedOver { reference: Some("A1".to_owned()) }));
        assert_eq!(seen.len(), 4);
        for ((chunk, number), bytes) in seen[1..].iter().zip(1..).zip(["0123", "4567", "89"]) {
            let rest = if number == 1 { String::new() } else { format!("/A1/{number}") };
            assert_eq!(chunk.line, format!("POST /messageexchange/X26ABC1/outbox{rest} HTTP/1.1"));
            assert_eq!(chunk.header("mex-chunk-range"), Some(format!("{number}:3").as_str()));
            assert_eq!(chunk.header("content-encoding"), compress.then_some("gzip"));
            assert_eq!(chunk.header("mex-to").is_some(), number == 1, "MESH knows the rest from the first");
            let mut plain = Vec::new();
            if compress {
                let mut decoder = flate2::read::GzDecoder::new(&chunk.body[..]);
                std::io::Read::read_to_end(&mut decoder, &mut plain).expect("each chunk is gzip on its own");
            } else {
                plain.clone_from(&chunk.body);
            }
            assert_eq!(plain, bytes.as_bytes());
        }
        let mut tokens: Vec<_> = seen.iter().map(|each| each.header("authorization")).collect();
        tokens.dedup();
        assert_eq!(tokens.len(), 4, "a token is good for one request");
    }
}

#[tokio::test]
async fn a_chunk_whose_fate_is_unknown_is_sent_once_more_and_a_broken_message_is_no_message() {
    let is_transient = |sent: &Result<Sent, SendError>| matches!(sent, Err(SendError::Transient { .. }));
    let is_unknown = |sent: &Result<Sent, SendError>| matches!(sent, Err(SendError::Unknown { .. }));
    let is_permanent = |sent: &Result<Sent, SendError>| matches!(sent, Err(SendError::Permanent { .. }));
    // A chunk in the middle: the same bytes under the same number.
    let (sent, seen) = sent_in_chunks(false, &[TAKEN, ("500 x", ""), ("202 x", ""), ("202 x", "")]).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!((&seen[2].line, &seen[2].body), (&seen[3].line, &seen[3].body));
    // It stays away: nothing was delivered, and the whole may be sent anew.
    let (sent, seen) = sent_in_chunks(false, &[TAKEN, ("500 x", ""), ("502 x", "")]).await;
    assert!(is_transient(&sent) && seen.len() == 4, "{sent:?}");
    // The last one: MESH says that the message is whole, so it had come.
    let (sent, _) = sent_in_chunks(false, &[TAKEN, ("202 x", ""), ("500 x", ""), ("423 Locked", "")]).await;
    assert_eq!(sent, Ok(Sent::HandedOver { reference: Some("A1".to_owned()) }));
    let (sent, _) = sent_in_chunks(false, &[TAKEN, ("202 x", ""), ("500 x", ""), ("500 x", "")]).await;
    assert!(is_unknown(&sent), "{sent:?}");
    // Locked without a request of ours before it is no success.
    let (sent, _) = sent_in_chunks(false, &[TAKEN, ("423 Locked", "")]).await;
    assert!(is_permanent(&sent), "{sent:?}");
    // The first one is never repeated by itself; without its identifier there is no second.
    for first in [("500 x", ""), ("202 x", "no JSON")] {
        let (sent, seen) = sent_in_chunks(false, &[first]).await;
        assert!(seen.len() == 2 && (is_transient(&sent) || is_unknown(&sent)), "{sent:?}");
    }
    let (sent, seen) = sent_in_chunks(false, &[TAKEN, ("429 x", "")]).await;
    assert!(is_transient(&sent) && seen.len() == 3, "{sent:?}");
}

async fn fetched(replies: Vec<Reply>) -> Result<MeshMessage, SendError> {
    let partner = Partner::start([vec![ok()], replies].concat()).await;
    client_with(&partner, MeshConfig { message_bytes_max: 1000, ..config(&partner) }).fetch("2026_AB").await
}

async fn gz(bytes: &'static [u8]) -> Vec<u8> {
    download::gzip(Bytes::from_static(bytes)).await.expect("packed").to_vec()
}

#[tokio::test]
async fn a_message_is_taken_with_its_headers() {
    let headers =
        ["Mex-From: X26ABC2", "Mex-WorkflowID: TOC_FHIR_IP_DISCH_ACK", "Mex-MessageType: DATA", "Mex-LocalID: theirs"];
    let message = fetched(vec![Reply::new("200 OK", &headers, b"<Bundle/>")]).await.expect("a message");
    assert_eq!(message.id, "2026_AB");
    assert_eq!(message.from.map(|mailbox| mailbox.to_string()).as_deref(), Some("X26ABC2"));
    assert_eq!(message.workflow, "TOC_FHIR_IP_DISCH_ACK");
    assert_eq!((message.message_type.as_str(), message.local_id.as_deref()), ("DATA", Some("theirs")));
    assert_eq!((message.linked_message_id, message.status_code), (None, None));
    assert_eq!(message.body, "<Bundle/>");
}

#[tokio::test]
async fn a_report_names_the_message_that_it_is_about() {
    let headers = [
        "Mex-MessageType: REPORT",
        "Mex-WorkflowID: TOC_FHIR_IP_DISCH",
        "Mex-LinkedMsgID: 2026_SENT",
        "Mex-LocalID: ours",
        "Mex-StatusCode: 14",
    ];
    let report = fetched(vec![Reply::new("200 OK", &headers, b"")]).await.expect("a report");
    assert_eq!(report.message_type, "REPORT");
    assert_eq!(report.linked_message_id.as_deref(), Some("2026_SENT"));
    assert_eq!((report.local_id.as_deref(), report.status_code.as_deref()), (Some("ours"), Some("14")));
    assert!(report.body.is_empty() && report.from.is_none());
}

#[tokio::test]
async fn chunks_are_joined_and_decompressed_one_by_one() {
    let message = fetched(vec![
        Reply::new("206 x", &["Mex-Chunk-Range: 1:3", "Content-Encoding: gzip"], &gz(b"one ").await),
        Reply::new("206 x", &["Mex-Chunk-Range: 2:3"], b"two "),
        Reply::new("200 x", &["Mex-Chunk-Range: 3:3", "Content-Encoding: gzip"], &gz(b"three").await),
    ])
    .await
    .expect("a message");
    assert_eq!(message.body, "one two three");
}

#[tokio::test]
async fn messages_that_do_not_fit_are_refused() {
    let bomb = download::gzip(vec![b'x'; 1001].into()).await.expect("packed").to_vec();
    let halves = |second: &[&str], status: &str| {
        vec![Reply::new("206 x", &["Mex-Chunk-Range: 1:2"], b"a"), Reply::new(status, second, b"b")]
    };
    for (case, replies) in [
        ("bomb", vec![Reply::new("200 x", &["Content-Encoding: gzip"], &bomb)]),
        ("not gzip", vec![Reply::new("200 x", &["Content-Encoding: gzip"], b"plain")]),
        ("deflate", vec![Reply::new("200 x", &["Content-Encoding: deflate"], b"x")]),
        ("double gzip", vec![Reply::new("200 x", &["Content-Encoding: gzip, gzip"], b"x")]),
        ("too large", vec![Reply::new("200 x", &[], &[b'x'; 1001])]),
        ("no range", vec![Reply::new("206 x", &[], b"x")]),
        ("range from 2", vec![Reply::new("206 x", &["Mex-Chunk-Range: 2:2"], b"x")]),
        ("many chunks", vec![Reply::new("206 x", &["Mex-Chunk-Range: 1:4000000000"], b"x")]),
        ("range of nonsense", vec![Reply::new("206 x", &["Mex-Chunk-Range: one:two"], b"x")]),
        ("another total", halves(&["Mex-Chunk-Range: 2:3"], "206 x")),
        ("last is partial", halves(&["Mex-Chunk-Range: 2:2"], "206 x")),
        (
            "chunks past the bound",
            vec![
                Reply::new("206 x", &["Mex-Chunk-Range: 1:2"], &[b'x'; 600]),
                Reply::new("200 x", &["Mex-Chunk-Range: 2:2"], &[b'x'; 600]),
            ],
        ),
        ("gone", vec![Reply::new("410 x", &[], b"")]),
        ("absent", vec![Reply::new("404 x", &[], b"")]),
        ("second chunk absent", halves(&[], "404 x")),
    ] {
        let fetched = fetched(replies).await;
        assert!(matches!(fetched, Err(SendError::Permanent { .. })), "{case}: {fetched:?}");
    }
    for reply in [Reply::new("500 x", &[], b""), Reply::Close, Reply::new("503 x", &[], b"")] {
        assert!(matches!(fetched(vec![reply]).await, Err(SendError::Transient { .. })));
    }
}

#[tokio::test]
async fn the_listing_skips_what_is_no_identifier() {
    let listing = br#"{"messages":["2026_A","../outbox","2026_B","a b",""],"links":{"self":"/x"}}"#;
    let partner = Partner::start(vec![ok(), Reply::new("200 OK", &[], listing)]).await;
    assert_eq!(client(&partner).list().await, Ok(vec!["2026_A".to_owned(), "2026_B".to_owned()]));
    assert_eq!(partner.seen()[1].line, "GET /messageexchange/X26ABC1/inbox?max_results=500 HTTP/1.1");
    let partner = Partner::start(vec![ok(), Reply::new("200 OK", &[], b"[]")]).await;
    assert!(matches!(client(&partner).list().await, Err(SendError::Permanent { .. })));
}

/// Its password was changed at MESH, or a certificate ran out: what waits goes when that is mended.
#[tokio::test]
async fn trouble_of_the_gateway_itself_ends_no_copy() {
    for status in ["401 x", "403 x"] {
        let error = sent(Reply::new(status, &["Retry-After: 9"], b"{}")).await.expect_err("refused");
        match error {
            SendError::Transient { reason, retry_after_seconds } => {
                assert!(reason.contains("password") && retry_after_seconds == Some(9), "{reason}");
            }
            other => panic!("{status}: {other:?}"),
        }
        let partner = Partner::start(vec![ok(), Reply::new(status, &[], b"")]).await;
        let listed = client(&partner).list().await;
        assert!(matches!(listed, Err(SendError::Transient { .. })), "{listed:?}");
    }
    for meaning in [of_send, of_repeatable] {
        assert!(matches!(meaning(HttpFault::Trust("the certificate expired")), SendError::Transient { .. }));
    }
    assert!(matches!(of_repeatable(HttpFault::TooLarge { bytes_max: 1 }), SendError::Permanent { .. }));
    let mut elsewhere = config(&Partner::start(vec![ok()]).await);
    elsewhere.base_url = Url::parse("https://mesh.example/").expect("a URL");
    let http = HttpClient::new(&loopback_config()).expect("a client");
    let forbidden = MeshClient::new(elsewhere, http, Arc::new(SystemClock)).send(&outbound()).await;
    assert!(matches!(forbidden, Err(SendError::Transient { .. })), "[egress] does not have it: {forbidden:?}");
}

#[tokio::test]
async fn a_long_listing_is_read_page_by_page() {
    let page = |ids: &str, next: &str| {
        Reply::new("200 OK", &[], format!(r#"{{"messages":[{ids}],"links":{{"self":"/x"{next}}}}}"#).as_bytes())
    };
    let next =
        r#","next":"https://elsewhere.example/messageexchange/X/inbox?max_results=1&continue_from=eyJwayI6%3D%3D""#;
    let partner = Partner::start(vec![ok(), page("\"2026_A\"", next), page("\"2026_B\"", "")]).await;
    assert_eq!(client(&partner).list().await, Ok(vec!["2026_A".to_owned(), "2026_B".to_owned()]));
    let seen = partner.seen();
    assert_eq!(seen.len(), 3, "and nobody else is asked");
    let line = "GET /messageexchange/X26ABC1/inbox?max_results=500&continue_from=eyJwayI6%3D%3D HTTP/1.1";
    assert_eq!(seen[2].line, line);
    // A list that leads back to itself ends.
    let partner = Partner::start(vec![ok(), page("\"2026_A\"", next), page("\"2026_B\"", next)]).await;
    assert_eq!(client(&partner).list().await.map(|ids| ids.len()), Ok(2));
}

#[tokio::test]
async fn a_large_message_may_take_longer_than_a_send() {
    let partner = Partner::start(vec![ok(), Reply::Hang]).await;
    let slow = HttpConfig { total_timeout: Duration::from_millis(50), ..partner.config() };
    let quick = HttpConfig { total_timeout: Duration::from_secs(600), ..partner.config() };
    let client = client_by(&partner, &quick).with_downloads(HttpClient::new(&slow).expect("a client"));
    assert!(matches!(client.fetch("2026_A").await, Err(SendError::Transient { .. })), "by the downloads' own timeout");
}

#[tokio::test]
async fn hostile_identifiers_never_become_paths() {
    let partner = Partner::start(vec![ok()]).await;
    let client = client(&partner);
    client.handshake().await.expect("shaken");
    for id in ["", "..", "a/b", "a%2fb", "a?b", "a\r\nb", &"a".repeat(101)] {
        assert!(client.fetch(id).await.is_err());
        assert!(client.acknowledge(id).await.is_err());
        assert!(client.tracking(id).await.is_err());
    }
    assert_eq!(partner.seen().len(), 1);
}

#[tokio::test]
async fn both_versions_of_tracking_are_read() {
    let second =
        br#"{"message_id":"2026_A","local_id":"l","recipient":"X2612345","status":"accepted","status_code":"14"}"#;
    let first = br#"{"messageId":"2026_A","localId":"l","recipient":"X2612345","status":"accepted","statusCode":"14"}"#;
    let partner = Partner::start(vec![ok(), Reply::new("200 OK", &[], second), Reply::new("200 OK", &[], first)]).await;
    let client = client(&partner);
    let tracked = client.tracking("2026_A").await.expect("read").expect("known");
    assert_eq!((tracked.local_id.as_deref(), tracked.status_code.as_deref()), (Some("l"), Some("14")));
    assert_eq!(client.tracking("2026_A").await, Ok(Some(tracked)), "version 1");
}

#[test]
fn file_names_follow_the_media_type() {
    for (media_type, expected) in [
        ("application/fhir+json", "json"),
        ("application/json; charset=utf-8", "json"),
        ("text/xml", "xml"),
        ("application/pdf", "dat"),
        ("", "dat"),
        ("application/pdf; note=+xml", "dat"),
    ] {
        assert_eq!(extension(media_type), expected, "{media_type}");
    }
}

#[tokio::test]
async fn mailboxes_are_found_by_organisation_and_workflow() {
    let second = br#"{"results":[{"mailbox_id":"X2612345","mailbox_name":"Beck Lane"},{"mailbox_id":"X2612346","mailbox_name":"Other"}]}"#;
    let first =
        br#"{"query_id":"1","results":[{"endpoint_type":"MESH","description":"Beck Lane","address":"X2612345"}]}"#;
    let replies = vec![
        ok(),
        Reply::new("200 OK", &[], second),
        Reply::new("200 OK", &[], first),
        Reply::new("404 Not Found", &[], b"{}"),
        Reply::new("200 OK", &[], br#"{"results":[{"mailbox_id":"../outbox","mailbox_name":""}]}"#),
        Reply::new("503 Busy", &[], b""),
    ];
    let partner = Partner::start(replies).await;
    let client = client(&partner);
    let (ods, workflow) = ("Y99001".parse().expect("a code"), "TOC_FHIR_IP_DISCH".parse().expect("a workflow"));
    let names =
        |found: Vec<FoundMailbox>| found.into_iter().map(|each| each.mailbox_id.to_string()).collect::<Vec<_>>();
    assert_eq!(client.lookup(&ods, &workflow).await.map(names), Ok(vec!["X2612345".to_owned(), "X2612346".to_owned()]));
    assert_eq!(client.lookup(&ods, &workflow).await.map(names), Ok(vec!["X2612345".to_owned()]), "version 1");
    assert_eq!(client.lookup(&ods, &workflow).await, Ok(Vec::new()), "nowhere");
    assert!(
        matches!(client.lookup(&ods, &workflow).await, Err(SendError::Permanent { .. })),
        "what is no mailbox is none"
    );
    assert!(matches!(client.lookup(&ods, &workflow).await, Err(SendError::Transient { .. })));
    let line = &partner.seen()[1].line;
    assert_eq!(line, "GET /messageexchange/endpointlookup/Y99001/TOC_FHIR_IP_DISCH HTTP/1.1");
}
