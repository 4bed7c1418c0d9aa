//! A stand-in for the MESH server, so that the neighbourhood needs no network: mailboxes over the published HTTP API
//! (`mesh-api.yaml` 2.0.0), strict about tokens, headers and addressees.
//!
//! It is not MESH: messages live in memory, travel whole (no chunks), never expire and make no reports; there is no
//! endpoint look-up, and a workflow is not checked against what a mailbox may do. It refuses every request without a
//! fresh token of the mailbox in its path, messages to mailboxes that it does not have, and another's messages.

mod token;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use onward_connect::secret::Secret;
use onward_core::{Clock, Timestamp};
use serde_json::{Value, json};

use token::Seen;

/// MESH takes 100 MB in one request.
const BODY_BYTES_MAX: usize = 100_000_000;
/// Identifiers in one listing.
const LIST_MAX: usize = 500;
/// Headers that travel with a message, with their greatest length.
const CARRIED: [(&str, usize); 5] = [
    ("mex-workflowid", 300),
    ("mex-subject", 500),
    ("mex-localid", 300),
    ("mex-filename", 300),
    ("mex-content-checksum", 100),
];

/// The mailboxes and what lies in them.
pub(super) struct Exchange {
    passwords: BTreeMap<String, Secret>,
    shared_key: Secret,
    clock: Arc<dyn Clock>,
    seen: Seen,
    messages: Mutex<Vec<Kept>>,
}

/// One message, from sending on.
struct Kept {
    id: String,
    from: String,
    to: String,
    carried: Vec<(&'static str, HeaderValue)>,
    content: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    sent: Timestamp,
    acknowledged: Option<Timestamp>,
}

impl Kept {
    fn text(&self, name: &str) -> &str {
        let value = self.carried.iter().find(|(carried, _)| *carried == name).map(|(_, value)| value);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Exchange {
    /// An exchange with these mailboxes (identifier and password) and this shared key of its environment.
    #[must_use]
    pub(super) fn new(passwords: BTreeMap<String, Secret>, shared_key: Secret, clock: Arc<dyn Clock>) -> Self {
        Self { passwords, shared_key, clock, seen: Seen::default(), messages: Mutex::new(Vec::new()) }
    }

    fn messages(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, mailbox: &str, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let (Ok(text), Some(password)) = (value.to_str(), self.passwords.get(mailbox)) else { return false };
        let judged = self.seen.admit(text, mailbox, password.expose(), self.shared_key.expose(), self.clock.now());
        if let Err(error) = &judged {
            tracing::debug!(mailbox, %error, "the MESH stand-in refuses a token");
        }
        judged.is_ok()
    }
}

/// The API under `/messageexchange`.
pub(super) fn router(exchange: Arc<Exchange>) -> Router {
    Router::new()
        .route("/messageexchange/{mailbox}", post(handshake))
        .route("/messageexchange/{mailbox}/inbox", get(list))
        .route("/messageexchange/{mailbox}/count", get(count))
        .route("/messageexchange/{mailbox}/inbox/{id}", get(fetch))
        .route("/messageexchange/{mailbox}/inbox/{id}/status/acknowledged", put(acknowledge))
        .route("/messageexchange/{mailbox}/outbox", post(send))
        .route("/messageexchange/{mailbox}/outbox/tracking", get(tracking))
        .layer(middleware::from_fn_with_state(Arc::clone(&exchange), authenticate))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(exchange)
}

/// Before every route: no handler runs without a good token of the path's mailbox.
async fn authenticate(
    State(exchange): State<Arc<Exchange>>,
    Path(path): Path<HashMap<String, String>>,
    request: Request,
    next: Next,
) -> Response {
    let mailbox = path.get("mailbox").map(|mailbox| mailbox.to_ascii_uppercase()).unwrap_or_default();
    if !exchange.admits(&mailbox, request.headers()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

async fn handshake(Path(mailbox): Path<String>, headers: HeaderMap) -> Response {
    let missing =
        ["mex-clientversion", "mex-osname", "mex-osversion"].into_iter().find(|name| !headers.contains_key(*name));
    match missing {
        Some(name) => invalid(name, "field required"),
        None => axum::Json(json!({ "mailboxId": mailbox })).into_response(),
    }
}

async fn list(
    State(exchange): State<Arc<Exchange>>,
    Path(mailbox): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let max = match query.get("max_results").map(|text| text.parse::<usize>()) {
        None => LIST_MAX,
        Some(Ok(max)) if (1..=LIST_MAX).contains(&max) => max,
        Some(_) => return invalid("max_results", "must be a number from 1 to 500"),
    };
    let (workflow, after) = (query.get("workflow_filter"), query.get("continue_from"));
    let messages = exchange.messages();
    let waiting: Vec<&str> = messages
        .iter()
        .skip(after.map_or(0, |after| messages.iter().position(|kept| kept.id == *after).map_or(0, |at| at + 1)))
        .filter(|kept| kept.to.eq_ignore_ascii_case(&mailbox) && kept.acknowledged.is_none())
        .filter(|kept| workflow.is_none_or(|workflow| kept.text("mex-workflowid") == workflow))
        .map(|kept| kept.id.as_str())
        .collect();
    let page = &waiting[..waiting.len().min(max)];
    let mut body = json!({ "messages": page, "approx_inbox_count": waiting.len() });
    if let Some(last) = page.last().filter(|_| waiting.len() > max) {
        let next = format!("/messageexchange/{mailbox}/inbox?max_results={max}&continue_from={last}");
        body["links"] = json!({ "next": next });
    }
    axum::Json(body).into_response()
}

async fn count(State(exchange): State<Arc<Exchange>>, Path(mailbox): Path<String>) -> Response {
    let messages = exchange.messages();
    let waits = |kept: &&Kept| kept.to.eq_ignore_ascii_case(&mailbox) && kept.acknowledged.is_none();
    axum::Json(json!({ "count": messages.iter().filter(waits).count() })).into_response()
}

async fn fetch(State(exchange): State<Arc<Exchange>>, Path((mailbox, id)): Path<(String, String)>) -> Response {
    let messages = exchange.messages();
    let kept = match addressed(&messages, &mailbox, &id) {
        Ok(at) => &messages[at],
        Err(status) => return status.into_response(),
    };
    if kept.acknowledged.is_some() {
        return StatusCode::GONE.into_response();
    }
    let mut response = kept.body.clone().into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in &kept.carried {
        headers.insert(*name, value.clone());
    }
    headers.extend(kept.content.iter().cloned());
    for (name, value) in [
        ("mex-messageid", kept.id.as_str()),
        ("mex-from", &kept.from),
        ("mex-to", &kept.to),
        ("mex-messagetype", "DATA"),
        ("mex-statuscode", "00"),
        ("mex-statusevent", "TRANSFER"),
        ("mex-statussuccess", "SUCCESS"),
        ("mex-statustimestamp", &kept.sent.strftime("%Y%m%d%H%M%S").to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn acknowledge(State(exchange): State<Arc<Exchange>>, Path((mailbox, id)): Path<(String, String)>) -> Response {
    let now = exchange.clock.now();
    let mut messages = exchange.messages();
    match addressed(&messages, &mailbox, &id) {
        Ok(at) => {
            let kept = &mut messages[at];
            kept.acknowledged.get_or_insert(now);
            // The sender still tracks it; what it said is the recipient's alone from now on.
            kept.body = Bytes::new();
            axum::Json(json!({ "messageId": id })).into_response()
        }
        Err(status) => status.into_response(),
    }
}

/// Where the message of this mailbox lies; 403 for another's, as the NHS sandbox answers.
fn addressed(messages: &[Kept], mailbox: &str, id: &str) -> Result<usize, StatusCode> {
    let at = messages.iter().position(|kept| kept.id == id).ok_or(StatusCode::NOT_FOUND)?;
    if messages[at].to.eq_ignore_ascii_case(mailbox) { Ok(at) } else { Err(StatusCode::FORBIDDEN) }
}

async fn send(
    State(exchange): State<Arc<Exchange>>,
    Path(mailbox): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let refused = |code: &str, text: &str| mesh_error(&headers, StatusCode::EXPECTATION_FAILED, code, text);
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    if let Some((name, _)) =
        CARRIED.iter().find(|(name, max)| headers.get(*name).is_some_and(|value| value.len() > *max))
    {
        return invalid(name, "is too long");
    }
    if said("mex-from").is_some_and(|from| !from.eq_ignore_ascii_case(&mailbox)) {
        return refused("07", "the from-address is not the mailbox that signed in");
    }
    let Some(to) = said("mex-to").filter(|to| to.len() <= 100).map(str::to_ascii_uppercase) else {
        return refused("08", "Mex-To is missing or too long");
    };
    if said("mex-workflowid").is_none() {
        return refused("06", "Mex-WorkflowID is missing");
    }
    if said("mex-messagetype").is_some_and(|kind| kind != "DATA") {
        return refused("11", "Mex-MessageType must be DATA");
    }
    if said("mex-chunk-range").is_some_and(|range| range != "1:1") {
        return refused("06", "this stand-in takes whole messages only");
    }
    if said("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("gzip")) {
        return mesh_error(&headers, StatusCode::UNPROCESSABLE_ENTITY, "06", "gzip is the only Content-Encoding");
    }
    if body.is_empty() {
        return refused("02", "the message has no data");
    }
    if !exchange.passwords.contains_key(&to) {
        return refused("12", "the to-address is not registered");
    }
    let now = exchange.clock.now();
    let unique = uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase();
    let id = format!("{}_{unique}", now.strftime("%Y%m%d%H%M%S"));
    let carried = CARRIED.iter().filter_map(|(name, _)| Some((*name, headers.get(*name)?.clone()))).collect();
    let content = [header::CONTENT_TYPE, header::CONTENT_ENCODING]
        .into_iter()
        .filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)))
        .collect();
    let from = mailbox.to_ascii_uppercase();
    exchange.messages().push(Kept { id: id.clone(), from, to, carried, content, body, sent: now, acknowledged: None });
    let answer = if second_version(&headers) { json!({ "message_id": id }) } else { json!({ "messageID": id }) };
    (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
}

async fn tracking(
    State(exchange): State<Arc<Exchange>>,
    Path(mailbox): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let Some(id) = query.get("messageID") else { return invalid("messageID", "field required") };
    let messages = exchange.messages();
    let kept = messages.iter().find(|kept| kept.id == *id && kept.from.eq_ignore_ascii_case(&mailbox));
    let Some(kept) = kept else { return StatusCode::NOT_FOUND.into_response() };
    let status = if kept.acknowledged.is_some() { "acknowledged" } else { "accepted" };
    let (local_id, workflow) = (kept.text("mex-localid"), kept.text("mex-workflowid"));
    let answer = if second_version(&headers) {
        json!({
            "message_id": id, "local_id": local_id, "workflow_id": workflow, "recipient": kept.to,
            "filename": kept.text("mex-filename"), "upload_timestamp": kept.sent, "status": status,
            "status_success": true, "status_code": "00",
            "status_timestamp": kept.acknowledged.unwrap_or(kept.sent),
        })
    } else {
        json!({
            "messageId": id, "dtsId": id, "localId": local_id, "workflowId": workflow, "recipient": kept.to,
            "fileSize": kept.body.len(), "status": status, "statusSuccess": "SUCCESS",
        })
    };
    axum::Json(answer).into_response()
}

fn second_version(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|value| value == "application/vnd.mesh.v2+json")
}

/// 400 as the specification's HTTPValidationError.
fn invalid(what: &str, text: &str) -> Response {
    let body = json!({ "detail": [{ "loc": [what], "msg": text, "type": "value_error" }] });
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}

/// The specification's MeshError, in the version that was asked for.
fn mesh_error(headers: &HeaderMap, status: StatusCode, code: &str, text: &str) -> Response {
    let body: Value = if second_version(headers) {
        json!({ "message_id": "", "internal_id": "", "detail": [{ "event": "SEND", "code": code, "msg": text }] })
    } else {
        json!({ "messageID": "", "errorEvent": "SEND", "errorCode": code, "errorDescription": text })
    };
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests;
