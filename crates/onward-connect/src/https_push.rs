//! Pushes a copy to a partner's HTTPS endpoint, and calls those who subscribed.
//!
//! It refuses to follow redirects and to repeat a request: the dispatcher does that, under the same delivery
//! identifier, which the partner sees as `Idempotency-Key`. The partner's body is never kept; what a FHIR
//! server answers to `$process-message` is brought back to be understood.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use onward_core::Clock;
use onward_core::directory::Endpoint;
use onward_core::state::TransportKind;
use onward_core::transport::{Answered, Call, Hook, Outbound, SendError, Sent, Transport};
use url::Url;

use crate::http::{Answer, HeaderMap, HeaderName, HeaderValue, HttpClient, Method, StatusCode, header};
use crate::secret::Secret;
use crate::webhook;

/// The partner's key against repeats, as the IETF draft names it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The delivery.
const ONWARD_DELIVERY: HeaderName = HeaderName::from_static("onward-delivery");
/// The attempt, from 1.
const ONWARD_ATTEMPT: HeaderName = HeaderName::from_static("onward-attempt");
/// `true` when a person had it sent again although it may have arrived.
const ONWARD_REPLAY: HeaderName = HeaderName::from_static("onward-replay");
/// The subscription that a call is about.
const ONWARD_SUBSCRIPTION: HeaderName = HeaderName::from_static("onward-subscription");
/// Set by a partner that has the delivery already.
const ONWARD_DUPLICATE: &str = "onward-duplicate";
/// The same for every attempt of one delivery, as the NHS API platform asks of repeats.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A partner's reference is kept up to this.
const REFERENCE_CHARACTERS_MAX: usize = 200;

/// Settings of the push.
#[derive(Debug, Clone, Default)]
pub struct HttpsPushConfig {
    /// Files that hold the bearer token, by host (lower case, without port). Read at every send, so that a rotated
    /// token needs no restart.
    pub bearer_token_files: BTreeMap<String, PathBuf>,
    /// Files with the keys that sign what goes to a host (Standard Webhooks), by host; read at every send. Two while a key
    /// is changed.
    pub signing_key_files: BTreeMap<String, Vec<PathBuf>>,
    /// Tells which trace this is part of (W3C Trace Context), where anything is traced.
    pub traceparent: Option<fn() -> Option<String>>,
}

/// The push transport.
pub struct HttpsPush {
    http: HttpClient,
    config: HttpsPushConfig,
    clock: Arc<dyn Clock>,
}

impl HttpsPush {
    /// A push over this client.
    #[must_use]
    pub fn new(http: HttpClient, config: HttpsPushConfig, clock: Arc<dyn Clock>) -> Self {
        Self { http, config, clock }
    }

    async fn headers(&self, outbound: &Outbound, url: &Url) -> Result<HeaderMap, SendError> {
        let delivery = HeaderValue::from_str(&outbound.delivery.to_string()).expect("a UUID is visible ASCII");
        let media_type = HeaderValue::from_str(&outbound.media_type).map_err(|_| permanent("media type is not one"))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(IDEMPOTENCY_KEY, delivery.clone());
        headers.insert(ONWARD_DELIVERY, delivery.clone());
        headers.insert(X_REQUEST_ID, delivery);
        headers.insert(ONWARD_ATTEMPT, HeaderValue::from(outbound.attempt));
        if outbound.replay {
            headers.insert(ONWARD_REPLAY, HeaderValue::from_static("true"));
        }
        self.authorise(&mut headers, url, &outbound.delivery.to_string(), &outbound.body).await?;
        Ok(headers)
    }

    /// What the host asks for (its token, and signatures), and which trace this is part of.
    async fn authorise(&self, headers: &mut HeaderMap, url: &Url, id: &str, body: &[u8]) -> Result<(), SendError> {
        if let Some(file) = url.host_str().and_then(|host| self.config.bearer_token_files.get(host)) {
            let file = file.clone();
            let token = tokio::task::spawn_blocking(move || Secret::from_file(&file))
                .await
                .map_err(|_| unreadable_token())?
                .map_err(|_| unreadable_token())?;
            let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
            let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| unreadable_token())?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let trace = self.config.traceparent.and_then(|tell| tell());
        if let Some(trace) = trace.and_then(|trace| HeaderValue::from_str(&trace).ok()) {
            headers.insert(TRACEPARENT, trace);
        }
        if let Some(files) = url.host_str().and_then(|host| self.config.signing_key_files.get(host)) {
            webhook::sign(headers, files.clone(), id, self.clock.as_ref(), body).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Transport for HttpsPush {
    fn kind(&self) -> TransportKind {
        TransportKind::Https
    }

    async fn send(&self, outbound: &Outbound) -> Result<Sent, SendError> {
        let (url, is_operation) = match &outbound.endpoint {
            Endpoint::Https { url } => (url.clone(), false),
            Endpoint::ProcessMessage { url } => (format!("{}/$process-message", url.trim_end_matches('/')), true),
            _ => return Err(permanent("the endpoint is not an HTTPS address")),
        };
        let url = Url::parse(&url).map_err(|_| permanent("the endpoint's address is not a URL"))?;
        let mut headers = self.headers(outbound, &url).await?;
        if is_operation {
            headers.insert(header::ACCEPT, headers[header::CONTENT_TYPE].clone());
        }
        let answer = self
            .http
            .send(Method::POST, url, headers, outbound.body.clone())
            .await
            .map_err(crate::http::HttpFault::of_send)?;
        if is_operation && is_answer(answer.status()) {
            return Ok(Sent::Answered(answered(answer, self.clock.as_ref()).await));
        }
        let outcome = outcome(&answer, self.clock.as_ref());
        // Reading a small rest lets the connection be used again; what it says, or whether it ends, changes nothing.
        if outcome.is_ok() {
            let _ = answer.bytes().await;
        }
        outcome
    }
}

#[async_trait]
impl Hook for HttpsPush {
    /// R4 Subscription, rest-hook without payload: a POST with an empty body. What was said to one address is never said to
    /// another. Of the statuses 410 alone ends it, as of a webhook: any other may pass when a token, a route or a server is mended.
    async fn call(&self, call: &Call) -> Result<(), SendError> {
        let url = Url::parse(&call.address).map_err(|_| permanent("the subscription's address is not a URL"))?;
        let id = call.id.to_string();
        let link = format!("<{}>; rel=\"related\"", call.link);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (IDEMPOTENCY_KEY, &id),
            (X_REQUEST_ID, &id),
            (ONWARD_SUBSCRIPTION, &call.subscription.to_string()),
            (header::LINK, &link),
        ] {
            let value = HeaderValue::from_str(value).map_err(|_| permanent("the link is not visible text"))?;
            headers.insert(name, value);
        }
        headers.insert(ONWARD_ATTEMPT, HeaderValue::from(call.attempt));
        self.authorise(&mut headers, &url, &id, b"").await?;
        let answer = self
            .http
            .send(Method::POST, url, headers, Bytes::new())
            .await
            .map_err(crate::http::HttpFault::of_repeatable)?;
        outcome(&answer, self.clock.as_ref()).map_err(|error| match error {
            SendError::Permanent { reason } if answer.status() != StatusCode::GONE => {
                let retry_after_seconds = answer.retry_after_seconds(self.clock.now());
                SendError::Transient { reason, retry_after_seconds }
            }
            error => error,
        })?;
        // Read, so that the connection can be used again; what it says changes nothing.
        let _ = answer.bytes().await;
        Ok(())
    }
}

/// Statuses whose body says what became of a message.
fn is_answer(status: StatusCode) -> bool {
    status.is_success()
        || matches!(status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY)
}

/// The answer with its body. One that breaks off or is too long says no more than its status: that the message was taken stays so.
async fn answered(answer: Answer, clock: &dyn Clock) -> Answered {
    Answered {
        status: answer.status().as_u16(),
        retry_after_seconds: answer.retry_after_seconds(clock.now()),
        body: answer.bytes().await.unwrap_or_default(),
    }
}

/// What the partner's status means. Past the body every 5xx but 503 leaves open whether the copy was taken.
fn outcome(answer: &Answer, clock: &dyn Clock) -> Result<Sent, SendError> {
    let status = answer.status();
    let reference = answer.header(header::LOCATION.as_str()).and_then(short_reference);
    match status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(Sent::Received { reference }),
        status if status.is_success() => Ok(Sent::HandedOver { reference }),
        StatusCode::CONFLICT if answer.header(ONWARD_DUPLICATE) == Some("true") => Ok(Sent::Received { reference }),
        // Else, by the Idempotency-Key draft, the first request under the key is still being processed: ours, which we gave up waiting for.
        StatusCode::CONFLICT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY => Err(SendError::Transient {
            reason: format!("the partner answered {}", status.as_u16()),
            retry_after_seconds: answer.retry_after_seconds(clock.now()),
        }),
        status if status.is_server_error() => {
            Err(SendError::Unknown { reason: format!("the partner answered {}", status.as_u16()) })
        }
        status if status.is_redirection() => {
            Err(permanent(&format!("the partner answered {}, and redirects are not followed", status.as_u16())))
        }
        status => Err(permanent(&format!("the partner answered {}", status.as_u16()))),
    }
}

fn short_reference(text: &str) -> Option<String> {
    let fits = (1..=REFERENCE_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

fn permanent(reason: &str) -> SendError {
    SendError::Permanent { reason: reason.to_owned() }
}

/// Nothing was sent; the next attempt reads the file again.
fn unreadable_token() -> SendError {
    SendError::Transient {
        reason: "the file with the partner's bearer token cannot be used".to_owned(),
        retry_after_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use onward_core::state::RecipientKind;
    use onward_core::{DeliveryId, SystemClock};

    use super::*;
    use crate::http::HttpConfig;
    use crate::loopback::{Partner, Reply, loopback_config};

    fn outbound(url: &str) -> Outbound {
        Outbound {
            delivery: DeliveryId::random(),
            attempt: 3,
            recipient: "VN6C2".parse().expect("a code"),
            kind: RecipientKind::CareHome,
            endpoint: Endpoint::Https { url: url.to_owned() },
            media_type: "application/fhir+json".to_owned(),
            body: Bytes::from_static(b"{\"resourceType\":\"Bundle\"}"),
            workflow: None,
            replay: false,
            addressee: None,
        }
    }

    fn push(config: &HttpConfig, tokens: HttpsPushConfig) -> HttpsPush {
        HttpsPush::new(HttpClient::new(config).expect("a client"), tokens, Arc::new(SystemClock))
    }

    async fn answered(reply: Reply) -> Result<Sent, SendError> {
        let partner = Partner::start(vec![reply]).await;
        let sent =
            push(&partner.config(), HttpsPushConfig::default()).send(&outbound(partner.url("/in").as_str())).await;
        assert_eq!(partner.seen().len(), 1, "one request per attempt");
        sent
    }

    #[tokio::test]
    async fn what_is_pushed_is_signed_by_every_key_in_force() {
        let partner = Partner::start(vec![Reply::new("200 OK", &[], b"")]).await;
        let folder = tempfile::tempdir().expect("folder");
        let [new, old] = ["new", "old"].map(|name| folder.path().join(name));
        std::fs::write(&new, "whsk_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").expect("written");
        std::fs::write(&old, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("written");
        let files = vec![new.clone(), old];
        let config = HttpsPushConfig {
            signing_key_files: [("127.0.0.1".to_owned(), files)].into(),
            ..HttpsPushConfig::default()
        };
        let push = push(&loopback_config(), config);
        let outbound = outbound(partner.url("/in").as_str());
        assert!(push.send(&outbound).await.is_ok());
        std::fs::write(&new, "no key").expect("written");
        assert!(matches!(push.send(&outbound).await, Err(SendError::Transient { .. })), "nothing goes unsigned");
        let seen = partner.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("webhook-id"), Some(outbound.delivery.to_string().as_str()));
        let schemes: Vec<_> = seen[0]
            .header("webhook-signature")
            .expect("signed")
            .split(' ')
            .map(|each| each.split_once(',').expect("a scheme").0)
            .collect();
        assert_eq!(schemes, ["v1a", "v1"], "one for each key");
    }

    #[tokio::test]
    async fn the_partner_sees_the_rendition_and_the_delivery() {
        let partner = Partner::start(vec![Reply::new("201 Created", &["Location: /Bundle/7"], b"thanks")]).await;
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "first\n").expect("written");
        let tokens = HttpsPushConfig {
            bearer_token_files: [("127.0.0.1".to_owned(), file.clone())].into(),
            ..HttpsPushConfig::default()
        };
        let push = push(&loopback_config(), tokens);
        let mut outbound = outbound(partner.url("/in?x=1").as_str());
        assert_eq!(push.send(&outbound).await, Ok(Sent::Received { reference: Some("/Bundle/7".to_owned()) }));
        std::fs::write(&file, "second").expect("written");
        outbound.attempt = 4;
        outbound.replay = true;
        assert!(push.send(&outbound).await.is_ok());
        std::fs::remove_file(&file).expect("removed");
        assert!(matches!(push.send(&outbound).await, Err(SendError::Transient { .. })));

        let seen = partner.seen();
        assert_eq!(seen.len(), 2, "without its token nothing is sent");
        let delivery = outbound.delivery.to_string();
        assert_eq!(seen[0].header("onward-replay"), None);
        assert_eq!(seen[1].header("onward-replay"), Some("true"), "a repeat says that it is one");
        for (request, (attempt, token)) in seen.iter().zip([("3", "Bearer first"), ("4", "Bearer second")]) {
            assert_eq!(request.line, "POST /in?x=1 HTTP/1.1");
            assert_eq!(request.body, outbound.body);
            for (name, value) in [
                ("content-type", "application/fhir+json"),
                ("idempotency-key", &delivery),
                ("onward-delivery", &delivery),
                ("x-request-id", &delivery),
                ("onward-attempt", attempt),
                ("authorization", token),
            ] {
                assert_eq!(request.header(name), Some(value), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn statuses_say_whose_turn_it_is() {
        let reference = || Some("urn:uuid:1".to_owned());
        let location = ["Location: urn:uuid:1"];
        for status in ["200 OK", "201 Created"] {
            let sent = answered(Reply::new(status, &location, b"{}")).await;
            assert_eq!(sent, Ok(Sent::Received { reference: reference() }), "{status}");
        }
        let sent = answered(Reply::new("202 Accepted", &location, b"")).await;
        assert_eq!(sent, Ok(Sent::HandedOver { reference: reference() }));
        let again = answered(Reply::new("409 Conflict", &["Onward-Duplicate: true"], b"")).await;
        assert_eq!(again, Ok(Sent::Received { reference: None }));
        for status in [
            "301 x", "302 x", "303 x", "307 x", "308 x", "400 x", "401 x", "403 x", "404 x", "410 x", "413 x", "415 x",
            "422 x",
        ] {
            let sent = answered(Reply::new(status, &["Location: http://127.0.0.1:9/inside"], b"")).await;
            assert!(matches!(sent, Err(SendError::Permanent { .. })), "{status}: {sent:?}");
        }
        for status in ["500 x", "501 x", "502 x", "504 x", "599 x"] {
            let sent = answered(Reply::new(status, &[], b"")).await;
            assert!(matches!(sent, Err(SendError::Unknown { .. })), "{status}: {sent:?}");
        }
        for (status, headers, expected) in [
            ("429 x", vec!["Retry-After: 17"], Some(17)),
            ("503 x", vec!["Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"], Some(0)),
            ("503 x", vec!["Retry-After: never"], None),
            ("408 x", vec![], None),
            ("409 x", vec!["Retry-After: 5"], Some(5)),
            ("409 x", vec!["Onward-Duplicate: false"], None),
        ] {
            match answered(Reply::new(status, &headers, b"")).await {
                Err(SendError::Transient { retry_after_seconds, .. }) => assert_eq!(retry_after_seconds, expected),
                other => panic!("{status}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_fhir_server_gets_the_message_at_its_operation_and_its_answer_is_brought_back() {
        let body = br#"{"resourceType":"OperationOutcome"}"#;
        let replies = ["200 OK", "409 x", "422 x", "503 x", "404 x", "302 x"];
        let partner = Partner::start(replies.map(|status| Reply::new(status, &["Location: /x"], body)).to_vec()).await;
        let push = push(&partner.config(), HttpsPushConfig::default());
        // With and without a slash at the end of the base.
        for (base, expected) in [("/fhir/R4", 200), ("/fhir/R4/", 409), ("/fhir/R4", 422)] {
            let endpoint = Endpoint::ProcessMessage { url: partner.url(base).to_string() };
            let sent = push.send(&Outbound { endpoint, ..outbound("") }).await;
            match sent {
                Ok(Sent::Answered(answered)) => {
                    assert_eq!((answered.status, &answered.body[..]), (expected, &body[..]))
                }
                other => panic!("{other:?}"),
            }
        }
        let endpoint = Endpoint::ProcessMessage { url: partner.url("/fhir/R4").to_string() };
        let outbound = Outbound { endpoint, ..outbound("") };
        assert!(matches!(push.send(&outbound).await, Err(SendError::Transient { .. })), "503");
        assert!(matches!(push.send(&outbound).await, Err(SendError::Permanent { .. })), "404");
        assert!(matches!(push.send(&outbound).await, Err(SendError::Permanent { .. })), "302 is not followed");
        for seen in partner.seen() {
            assert_eq!(seen.line, "POST /fhir/R4/$process-message HTTP/1.1");
            assert_eq!(seen.header("accept"), Some("application/fhir+json"));
        }
    }

    #[tokio::test]
    async fn only_410_ends_a_subscription_by_its_status() {
        for (status, ends) in [
            ("301 x", false),
            ("302 x", false),
            ("401 x", false),
            ("403 x", false),
            ("404 x", false),
            ("409 x", false),
            ("422 x", false),
            ("429 x", false),
            ("500 x", false),
            ("410 x", true),
        ] {
            let partner = Partner::start(vec![Reply::new(status, &["Retry-After: 7", "Location: /x"], b"")]).await;
            let call = Call {
                id: uuid::Uuid::from_u128(1),
                subscription: uuid::Uuid::from_u128(2),
                attempt: 1,
                address: partner.url("/hook").to_string(),
                link: "https://gateway.example/fhir/R4/Task?owner=VMH01".to_owned(),
            };
            let called = push(&partner.config(), HttpsPushConfig::default()).call(&call).await;
            match called {
                Err(SendError::Permanent { reason }) if ends => assert!(reason.contains("410"), "{reason}"),
                Err(SendError::Transient { retry_after_seconds, .. }) if !ends => {
                    assert_eq!(retry_after_seconds, Some(7), "{status}");
                }
                Err(SendError::Unknown { .. }) if status == "500 x" => {}
                other => panic!("{status}: {other:?}"),
            }
            assert_eq!(partner.seen().len(), 1, "nothing follows");
        }
        let elsewhere = Call {
            id: uuid::Uuid::from_u128(1),
            subscription: uuid::Uuid::from_u128(2),
            attempt: 1,
            address: "https://unlisted.example/".to_owned(),
            link: "https://gateway.example/fhir/R4/Task?owner=VMH01".to_owned(),
        };
        let called = push(&loopback_config(), HttpsPushConfig::default()).call(&elsewhere).await;
        assert!(matches!(called, Err(SendError::Permanent { .. })), "the egress rules forbid it: {called:?}");
    }

    #[tokio::test]
    async fn hostile_answers_do_not_become_text() {
        let body = b"NHS 9990000018 of the partner's stack trace";
        for status in ["400 x", "500 x", "503 x"] {
            let error = answered(Reply::new(status, &[], body)).await.expect_err("refused");
            assert!(!error.to_string().contains("9990000018") && !error.to_string().contains("trace"));
        }
        let long = format!("Location: /{}", "a".repeat(300));
        for location in [long.as_str(), "Location: /a b", "Location: /\u{e9}"] {
            let sent = answered(Reply::new("200 OK", &[location], b"")).await;
            assert_eq!(sent, Ok(Sent::Received { reference: None }));
        }
    }

    #[tokio::test]
    async fn fault_024_a_hanging_partner_leaves_the_outcome_open() {
        let sent = answered(Reply::Hang).await;
        assert!(matches!(sent, Err(SendError::Unknown { .. })), "{sent:?}");
    }

    #[tokio::test]
    async fn a_taken_copy_stays_taken_whatever_follows_the_status() {
        // A body past the bound, a body that never ends, a body that breaks off.
        let config = HttpConfig { response_bytes_max: 8, ..loopback_config() };
        for reply in [
            Reply::new("200 OK", &[], &[b'x'; 100_000]),
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec()),
            Reply::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec()),
        ] {
            let partner = Partner::start(vec![reply]).await;
            let sent = push(&config, HttpsPushConfig::default()).send(&outbound(partner.url("/").as_str())).await;
            assert_eq!(sent, Ok(Sent::Received { reference: None }));
        }
    }

    #[tokio::test]
    async fn addresses_that_are_not_allowed_are_held() {
        for url in ["not a URL", "http://partner.example/", "https://unlisted.example/", "https://169.254.169.254/"] {
            let sent = push(&loopback_config(), HttpsPushConfig::default()).send(&outbound(url)).await;
            assert!(matches!(sent, Err(SendError::Permanent { .. })), "{url}: {sent:?}");
        }
        let inbox = Outbound { endpoint: Endpoint::Inbox {}, ..outbound("") };
        let sent = push(&loopback_config(), HttpsPushConfig::default()).send(&inbox).await;
        assert!(matches!(sent, Err(SendError::Permanent { .. })));
    }
}
