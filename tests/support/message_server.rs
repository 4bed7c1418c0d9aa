//! A practice's FHIR server that processes messages (R4 `MessageHeader/$process-message`): reads what is posted, keeps each message
//! once by its identifier, and answers with a response message, or as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use onward_fhir::Message;
use onward_fhir::read::{self, Limits};
use onward_server::listener::{self, Tls};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What it does with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Keeps it and says so in a response message.
    Takes,
    /// Keeps it, and the answer is lost on the way.
    TakesAndFails,
    /// Keeps nothing: `MessageHeader.response.code` of a response message.
    Responds(&'static str),
    /// Keeps nothing: an OperationOutcome with this ITK3 code under this status.
    Refuses(u16, &'static str),
    /// Answers about a message that is not the one it got.
    RespondsToAnother,
}

#[derive(Clone, Default)]
struct Kept {
    does: Arc<Mutex<Vec<Does>>>,
    /// Messages by `MessageHeader.id`, with how often each came.
    messages: Arc<Mutex<BTreeMap<String, usize>>>,
    keys: Arc<Mutex<Vec<String>>>,
    traceparents: watch::Sender<Vec<String>>,
}

/// The server; it ends with this value.
pub struct MessageServer {
    kept: Kept,
    _stop: watch::Sender<bool>,
}

impl MessageServer {
    /// Serves `/fhir/R4` there.
    #[must_use]
    pub fn start(bound: TcpListener, tls: Tls) -> Self {
        let kept = Kept::default();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().route("/fhir/R4/$process-message", post(process)).with_state(kept.clone());
        tokio::spawn(listener::serve(bound, Some(Arc::new(tls)), router, listener::Patience::default(), stopped));
        Self { kept, _stop: stop }
    }

    /// What it does with the next messages; then it takes them.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn does(&self, does: &[Does]) {
        *self.kept.does.lock().expect("whole") = does.iter().rev().copied().collect();
    }

    /// The messages that it keeps, by header, with how often each came.
    ///
    /// # Panics
    /// When a request panicked.
    #[must_use]
    pub fn messages(&self) -> BTreeMap<String, usize> {
        self.kept.messages.lock().expect("whole").clone()
    }

    /// `traceparent` of every request so far, empty where there was none.
    #[must_use]
    pub fn traceparents(&self) -> Vec<String> {
        self.kept.traceparents.borrow().clone()
    }

    /// The same, when there were so many requests.
    pub async fn asked(&self, times: usize) -> Vec<String> {
        let mut asked = self.kept.traceparents.subscribe();
        asked.wait_for(|all| all.len() >= times).await.expect("they are kept here").clone()
    }

    /// `Idempotency-Key` of every request so far.
    ///
    /// # Panics
    /// When a request panicked.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.kept.keys.lock().expect("whole").clone()
    }
}

async fn process(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    kept.traceparents.send_modify(|all| all.push(text("traceparent")));
    kept.keys.lock().expect("whole").push(text("idempotency-key"));
    let xml =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/fhir+xml"));
    let text = std::str::from_utf8(&body).expect("FHIR is UTF-8");
    let tree = if xml { read::xml(text, &Limits::default()) } else { read::json(text, &Limits::default()) };
    let tree = tree.expect("what is posted can be read");
    let message = Message::read(tree.root()).expect("a message Bundle is posted");
    let id = message.header_id.expect("a header has an id").to_owned();
    let does = kept.does.lock().expect("whole").pop().unwrap_or(Does::Takes);
    if matches!(does, Does::Takes | Does::TakesAndFails) {
        *kept.messages.lock().expect("whole").entry(id.clone()).or_default() += 1;
    }
    match does {
        Does::Takes => fhir(200, &response(&id, "ok")),
        Does::TakesAndFails => fhir(500, &json!({})),
        Does::Responds(code) => fhir(200, &response(&id, code)),
        Does::RespondsToAnother => fhir(200, &response("4f2b0c9e-0000-4000-8000-000000000000", "ok")),
        Does::Refuses(status, code) => fhir(status, &outcome(code)),
    }
}

fn fhir(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/fhir+json")], body.to_string()).into_response()
}

fn outcome(code: &str) -> Value {
    json!({ "resourceType": "OperationOutcome", "issue": [{
        "severity": "error", "code": "processing", "diagnostics": "Mrs Holroyd, 9990000018, is not registered here",
        "details": { "coding": [{ "system": "https://fhir.nhs.uk/STU3/CodeSystem/ITK-ResponseCodes-1", "code": code }] },
    }] })
}

/// R4 MessageHeader, section 2.4.3: the response names the request by its MessageHeader.id.
fn response(to: &str, code: &str) -> Value {
    json!({
        "resourceType": "Bundle", "type": "message", "timestamp": "2026-11-27T09:00:00Z",
        "entry": [{ "fullUrl": "urn:uuid:5f2b0c9e-0000-4000-8000-000000000001", "resource": {
            "resourceType": "MessageHeader", "id": "5f2b0c9e-0000-4000-8000-000000000001",
            "eventCoding": { "system": "https://fhir.nhs.uk/STU3/CodeSystem/ITK-MessageEvent-2", "code": "ITK008M" },
            "source": { "endpoint": "https://practice.example/fhir/R4" },
            "response": { "identifier": to, "code": code },
        } }],
    })
}
