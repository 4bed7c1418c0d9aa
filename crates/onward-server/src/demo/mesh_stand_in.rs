//! A stand-in for the MESH server, so that the neighbourhood needs no network: mailboxes over the published HTTP API
//! (`mesh-api.yaml` 2.0.0), strict about tokens, headers and addressees.
//!
//! It is not MESH: messages live in memory, it knows no patients (what is to find its practice by one is reported as EPL-153), and
//! messages are not tracked by local identifier. It refuses every request without a
//! fresh token of the mailbox in its path, messages to mailboxes that it does not have or by workflows that those do not take, parts that do not
//! fit together, and another's messages. What nobody collects within five days is reported to its sender.

mod kept;
mod lookup;
mod token;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use onward_connect::secret::Secret;
use onward_core::Clock;
use serde_json::{Value, json};

use kept::{CARRIED, Kept};
pub use lookup::Listing;
use token::Seen;

/// MESH takes 100 MB in one request.
const BODY_BYTES_MAX: usize = 100_000_000;
/// Identifiers in one listing.
const LIST_MAX: usize = 500;
/// Parts of one message.
const PARTS_MAX: usize = 1000;
/// What MESH says of a person whom it does not find.
const UNKNOWN_PERSON: [&str; 2] = ["EPL-153", "NHS Number not found"];
/// So begins an address by which MESH finds the practice of a person.
const BY_PERSON: &str = "GPPROVIDER_";

/// The mailboxes and what lies in them.
pub struct Exchange {
    passwords: BTreeMap<String, Secret>,
    shared_key: Secret,
    clock: Arc<dyn Clock>,
    seen: Seen,
    messages: Mutex<Vec<Kept>>,
    listings: Vec<Listing>,
}

impl Exchange {
    /// An exchange with these mailboxes (identifier and password) and this shared key of its environment.
    #[must_use]
    pub fn new(passwords: BTreeMap<String, Secret>, shared_key: Secret, clock: Arc<dyn Clock>) -> Self {
        let (seen, messages) = (Seen::default(), Mutex::default());
        Self { passwords, shared_key, clock, seen, messages, listings: Vec::new() }
    }

    /// The same with what its mailboxes take. One of which nothing is listed takes every workflow.
    #[must_use]
    pub fn with_listings(self, listings: Vec<Listing>) -> Self {
        Self { listings, ..self }
    }

    /// In how many parts a message travels; `None` where there is no such message.
    #[must_use]
    pub fn parts_of(&self, id: &str) -> Option<usize> {
        self.messages().iter().find(|kept| kept.id == id).map(Kept::total)
    }

    /// Reports to its sender that nobody collected a message; whether that was there to be collected.
    pub fn undelivered(&self, id: &str) -> bool {
        let mut messages = self.messages();
        let found = messages.iter().position(|kept| kept.id == id && kept.waits_in(&kept.to));
        found.map(|at| self.fail(&mut messages, at, Kept::uncollected())).is_some()
    }

    fn fail(&self, messages: &mut Vec<Kept>, at: usize, why: [&str; 2]) {
        let now = self.clock.now();
        messages[at].fail();
        let report = Kept::report(self.identifier(), &messages[at], now, why);
        messages.push(report);
    }

    fn identifier(&self) -> String {
        let unique = uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase();
        format!("{}_{unique}", self.clock.now().strftime("%Y%m%d%H%M%S"))
    }

    /// The messages, when those are reported that nobody has collected in their time.
    fn current(&self) -> MutexGuard<'_, Vec<Kept>> {
        let (mut messages, now) = (self.messages(), self.clock.now());
        while let Some(at) = messages.iter().position(|kept| kept.lapses(now)) {
            self.fail(&mut messages, at, Kept::uncollected());
        }
        messages
    }

    /// The mailbox does not take what goes by this workflow.
    fn declines(&self, mailbox: &str, workflow: &str) -> bool {
        let mut takes = self.listings.iter().filter(|listing| listing.mailbox.eq_ignore_ascii_case(mailbox)).peekable();
        takes.peek().is_some() && !takes.any(|listing| listing.workflow == workflow)
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
pub fn router(exchange: Arc<Exchange>) -> Router {
    Router::new()
        .route("/messageexchange/{mailbox}", post(handshake))
        .route("/messageexchange/{mailbox}/inbox", get(list))
        .route("/messageexchange/{mailbox}/count", get(count))
        .route("/messageexchange/{mailbox}/inbox/{id}", get(fetch))
        .route("/messageexchange/{mailbox}/inbox/{id}/{number}", get(fetch_part))
        .route("/messageexchange/{mailbox}/inbox/{id}/status/acknowledged", put(acknowledge))
        .route("/messageexchange/{mailbox}/outbox", post(send))
        .route("/messageexchange/{mailbox}/outbox/{id}/{number}", post(send_part))
        .route("/messageexchange/{mailbox}/outbox/tracking", get(tracking))
        .layer(middleware::from_fn_with_state(Arc::clone(&exchange), authenticate))
        .route("/messageexchange/endpointlookup/{ods}/{workflow}", get(lookup::endpoint))
        .route("/messageexchange/workflowsearch/{workflow}", get(lookup::workflow))
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
    let messages = exchange.current();
    let waiting: Vec<&str> = messages
        .iter()
        .skip(after.map_or(0, |after| messages.iter().position(|kept| kept.id == *after).map_or(0, |at| at + 1)))
        .filter(|kept| kept.waits_in(&mailbox))
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
    let messages = exchange.current();
    axum::Json(json!({ "count": messages.iter().filter(|kept| kept.waits_in(&mailbox)).count() })).into_response()
}

async fn fetch(State(exchange): State<Arc<Exchange>>, Path((mailbox, id)): Path<(String, String)>) -> Response {
    part_of(&exchange, &mailbox, &id, 1)
}

async fn fetch_part(
    State(exchange): State<Arc<Exchange>>,
    Path((mailbox, id, number)): Path<(String, String, String)>,
) -> Response {
    match number.parse() {
        Ok(number) => part_of(&exchange, &mailbox, &id, number),
        Err(_) => invalid("chunk_number", "must be a number"),
    }
}

fn part_of(exchange: &Exchange, mailbox: &str, id: &str, number: usize) -> Response {
    let messages = exchange.current();
    match addressed(&messages, mailbox, id) {
        Ok(at) => messages[at].part(number),
        Err(status) => status.into_response(),
    }
}

async fn acknowledge(State(exchange): State<Arc<Exchange>>, Path((mailbox, id)): Path<(String, String)>) -> Response {
    let now = exchange.clock.now();
    let mut messages = exchange.messages();
    match addressed(&messages, &mailbox, &id) {
        Ok(at) => {
            messages[at].acknowledge(now);
            axum::Json(json!({ "messageId": id })).into_response()
        }
        Err(status) => status.into_response(),
    }
}

/// Where the message of this mailbox lies; 403 for another's, as the NHS sandbox answers.
fn addressed(messages: &[Kept], mailbox: &str, id: &str) -> Result<usize, StatusCode> {
    let at = messages.iter().position(|kept| kept.id == id && kept.is_whole()).ok_or(StatusCode::NOT_FOUND)?;
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
    let Some(workflow) = said("mex-workflowid") else { return refused("06", "Mex-WorkflowID is missing") };
    if said("mex-messagetype").is_some_and(|kind| kind != "DATA") {
        return refused("11", "Mex-MessageType must be DATA");
    }
    let Some((1, total)) =
        said("mex-chunk-range").map_or(Some((1, 1)), kept::range).filter(|(_, total)| *total <= PARTS_MAX)
    else {
        return refused("06", "Mex-Chunk-Range of a first part is 1:n");
    };
    if has_other_encoding(&headers) {
        return unsupported_encoding(&headers);
    }
    if body.is_empty() {
        return refused("02", "the message has no data");
    }
    let by_person = to.starts_with(BY_PERSON);
    if !by_person && !exchange.passwords.contains_key(&to) {
        return refused("12", "the to-address is not registered");
    }
    if exchange.declines(&to, workflow) {
        return refused("17", "the workflow is not registered for the mailbox");
    }
    let id = exchange.identifier();
    let mut kept = Kept::first([id.clone(), mailbox.to_ascii_uppercase(), to], exchange.clock.now(), &headers, total);
    kept.put(1, &headers, body);
    let mut messages = exchange.messages();
    messages.push(kept);
    if by_person && total == 1 {
        let at = messages.len() - 1;
        exchange.fail(&mut messages, at, UNKNOWN_PERSON);
    }
    drop(messages);
    let answer = if second_version(&headers) { json!({ "message_id": id }) } else { json!({ "messageID": id }) };
    (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
}

/// A further part. MESH has the message when all are there, and takes none from then on.
async fn send_part(
    State(exchange): State<Arc<Exchange>>,
    Path((mailbox, id, number)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let refused = |code: &str, text: &str| mesh_error(&headers, StatusCode::EXPECTATION_FAILED, code, text);
    let Ok(number) = number.parse::<usize>() else { return invalid("chunk_number", "must be a number") };
    let mut messages = exchange.messages();
    let found = messages.iter().position(|kept| kept.id == id && kept.from.eq_ignore_ascii_case(&mailbox));
    let Some(at) = found else { return StatusCode::NOT_FOUND.into_response() };
    let kept = &mut messages[at];
    if kept.is_whole() {
        return StatusCode::LOCKED.into_response();
    }
    let range = headers.get("mex-chunk-range").and_then(|value| value.to_str().ok()).and_then(kept::range);
    if range != Some((number, kept.total())) || number < 2 {
        return refused("06", "Mex-Chunk-Range is not that of this part");
    }
    if has_other_encoding(&headers) {
        return unsupported_encoding(&headers);
    }
    if body.is_empty() {
        return refused("02", "the part has no data");
    }
    kept.put(number, &headers, body);
    if kept.is_whole() && kept.to.starts_with(BY_PERSON) {
        exchange.fail(&mut messages, at, UNKNOWN_PERSON);
    }
    let answer = if second_version(&headers) { json!({ "message_id": id }) } else { json!({ "messageID": id }) };
    (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
}

fn has_other_encoding(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING).filter(|value| !value.is_empty());
    encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"gzip"))
}

fn unsupported_encoding(headers: &HeaderMap) -> Response {
    mesh_error(headers, StatusCode::UNPROCESSABLE_ENTITY, "06", "gzip is the only Content-Encoding")
}

async fn tracking(
    State(exchange): State<Arc<Exchange>>,
    Path(mailbox): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let Some(id) = query.get("messageID") else { return invalid("messageID", "field required") };
    let messages = exchange.current();
    let kept = messages.iter().find(|kept| kept.id == *id && kept.from.eq_ignore_ascii_case(&mailbox));
    let Some(kept) = kept else { return StatusCode::NOT_FOUND.into_response() };
    let (status, success) = match (kept.acknowledged, kept.has_failed()) {
        (Some(_), _) => ("acknowledged", true),
        (None, true) => ("error", false),
        (None, false) => (if kept.is_whole() { "accepted" } else { "uploading" }, true),
    };
    let (local_id, workflow) = (kept.text("mex-localid"), kept.text("mex-workflowid"));
    let answer = if second_version(&headers) {
        json!({
            "message_id": id, "local_id": local_id, "workflow_id": workflow, "recipient": kept.to,
            "filename": kept.text("mex-filename"), "upload_timestamp": kept.sent, "status": status,
            "status_success": success, "status_code": if success { "00" } else { "14" },
            "status_timestamp": kept.acknowledged.unwrap_or(kept.sent),
        })
    } else {
        json!({
            "messageId": id, "dtsId": id, "localId": local_id, "workflowId": workflow, "recipient": kept.to,
            "fileSize": kept.bytes(), "status": status, "statusSuccess": if success { "SUCCESS" } else { "ERROR" },
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
