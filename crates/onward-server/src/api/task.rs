//! `Task`: the transfer's and one per recipient. Senders follow, recipients move.

pub mod search;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onward_core::client::Role;
use onward_core::state::{DeliveryState, EndReason};
use onward_core::store::{DeliveryRecord, StoreError};
use onward_core::{DeliveryId, NhsNumber, ReplayId, TransferId};
use onward_fhir::itk::{self, ResponseCode};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Element, Tree, views};
use onward_gateway::acknowledge::{Answer, Moved};
use onward_gateway::collect::{Standing, standing};
use onward_gateway::lifecycle::Withdrawn;

use super::edge::{FHIR_JSON, FHIR_XML};
use crate::app::App;
use crate::auth::Caller;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;

/// `GET Task/{id}`: of a transfer, of a copy or of a repeat.
pub async fn get(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::ReadTask).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let found = match find(&app, &caller, &id).await {
        Ok(Some(found)) => found,
        Ok(None) => return outcome::not_found().into_response(),
        Err(error) => return outcome::store(&error).into_response(),
    };
    let request_id = caller.request_id.as_deref();
    match app.gateway.note_task_read(&caller.client, found.task, found.patient.clone(), request_id).await {
        Ok(()) => found.tagged(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// A Task that the caller may see.
struct Found {
    task: (Option<TransferId>, Option<DeliveryId>),
    /// It is that of a repeat, and the copy's is the one that is moved.
    is_repeat: bool,
    patient: Option<NhsNumber>,
    json: String,
    version: String,
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<Option<Found>, StoreError> {
    let store = app.gateway.store();
    if let Ok(id) = id.parse::<TransferId>()
        && let Some(transfer) = store.transfer(id).await?
    {
        let own =
            matches!(caller.role(), Role::Sender | Role::InformationGovernance) && transfer.sender == *caller.ods();
        if !own && caller.role() != Role::Operator {
            let detail = "Task of another organisation's transfer";
            app.gateway.deny(&caller.client, Some(id), None, detail, caller.request_id.as_deref()).await?;
            return Ok(None);
        }
        return Ok(Some(Found {
            task: (Some(id), None),
            is_repeat: false,
            json: app.gateway.transfer_task(&transfer, &caller.client),
            version: app.gateway.transfer_version(&transfer).to_string(),
            patient: transfer.patient,
        }));
    }
    if let Ok(delivery) = id.parse::<DeliveryId>()
        && let Some(record) = store.delivery(delivery).await?
    {
        if !may_see(app, caller, &record).await? {
            return Ok(None);
        }
        let (steps, replays) = (store.steps(delivery).await?, store.replays(delivery).await?);
        return Ok(Some(Found {
            task: (Some(record.transfer), Some(delivery)),
            is_repeat: false,
            json: app.gateway.delivery_task(&record, &steps, &replays, &caller.client),
            version: record.version.to_string(),
            patient: record.patient,
        }));
    }
    if let Ok(id) = id.parse::<ReplayId>()
        && let Some(repeat) = store.replay(id).await?
        && let Some(record) = store.delivery(repeat.delivery).await?
        && may_see(app, caller, &record).await?
    {
        let all = store.replays(repeat.delivery).await?;
        return Ok(Some(Found {
            task: (Some(record.transfer), Some(record.id)),
            is_repeat: true,
            json: app.gateway.repeat_task(&repeat, &all, &record, &caller.client),
            version: record.version.to_string(),
            patient: record.patient,
        }));
    }
    Ok(None)
}

/// Whether the Task of a copy is the caller's to see; who asks for another's is audited.
async fn may_see(app: &App, caller: &Caller, record: &DeliveryRecord) -> Result<bool, StoreError> {
    let standing = standing(&caller.client, record);
    let recalled = record.ended.is_some_and(|ended| ended.why == EndReason::Recalled);
    if standing == Standing::None || standing == Standing::Recipient && recalled {
        let (transfer, detail) = (Some(record.transfer), "Task of another organisation");
        app.gateway.deny(&caller.client, transfer, Some(record.id), detail, caller.request_id.as_deref()).await?;
        return Ok(false);
    }
    Ok(true)
}

impl Found {
    fn tagged(self) -> Response {
        let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, FHIR_JSON)], self.json).into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{}\"", self.version)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// `PUT Task/{id}`: a recipient moves its own Task, a sender cancels that of its transfer; `If-Match` is mandatory.
pub async fn put(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::MoveTask).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(delivery) = id.parse::<DeliveryId>() else { return outcome::not_found().into_response() };
    let version = match super::if_match(&headers, "Task") {
        Ok(version) => version,
        Err(response) => return *response,
    };
    let body = match super::message_body(&app, &headers, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    if caller.role() == Role::Sender {
        return withdraw(&app, &caller, &id, version, &headers, &body).await;
    }
    let found = match find(&app, &caller, &id).await {
        Ok(Some(found)) => found,
        Ok(None) => return outcome::not_found().into_response(),
        Err(error) => return outcome::store(&error).into_response(),
    };
    if found.is_repeat {
        let text = "this is the Task of a repeat: move that of the copy which it repeats (input)";
        return outcome::unprocessable("Task", text).into_response();
    }
    let answer = match answer(&headers, &body, &id) {
        Ok(answer) => answer,
        Err(response) => return *response,
    };
    if let Some(element) = changed_element(&headers, &body, &found.json) {
        let text = "this element is not the recipient's to change: send it as it was read, or leave it out";
        return outcome::unprocessable(&format!("Task.{element}"), text).into_response();
    }
    let request_id = caller.request_id.as_deref();
    let moved = app.gateway.move_task(&caller.client, delivery, version, answer, request_id).await;
    match moved {
        Ok(Moved::Done) => match find(&app, &caller, &id).await {
            Ok(Some(found)) => found.tagged(),
            Ok(None) => outcome::not_found().into_response(),
            Err(error) => outcome::store(&error).into_response(),
        },
        Ok(Moved::NotFound) => outcome::not_found().into_response(),
        Ok(Moved::VersionChanged { current }) => outcome::version_changed("Task", current).into_response(),
        Ok(Moved::NotAllowed { from }) => outcome::transition_not_allowed(from.task_status()).into_response(),
        Ok(Moved::ReasonMissing) => {
            outcome::unprocessable("Task.statusReason", "a rejection needs statusReason.text or a coding")
                .into_response()
        }
        Ok(Moved::CodeContradicts { code }) => {
            let text = format!("the code {} ({}) does not go with this status", code.code, code.display);
            outcome::unprocessable("Task.statusReason.coding", &text).into_response()
        }
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// A sender's `PUT`: of its own transfer, to cancel it.
async fn withdraw(app: &App, caller: &Caller, id: &str, version: u64, headers: &HeaderMap, body: &[u8]) -> Response {
    let found = match find(app, caller, id).await {
        Ok(Some(found)) => found,
        Ok(None) => return outcome::not_found().into_response(),
        Err(error) => return outcome::store(&error).into_response(),
    };
    let (Some(transfer), None) = found.task else {
        let detail = "a sender moves the Task of its transfer, recipients move those of their copies";
        let denied =
            app.gateway.deny(&caller.client, found.task.0, found.task.1, detail, caller.request_id.as_deref()).await;
        return match denied {
            Ok(()) => outcome::forbidden(detail).into_response(),
            Err(error) => outcome::store(&error).into_response(),
        };
    };
    let tree = match read_task(headers, body, id) {
        Ok(tree) => tree,
        Err(response) => return *response,
    };
    if tree.root().text("status") != Some("cancelled") {
        let text = "a sender sets cancelled, which withdraws the transfer";
        return outcome::unprocessable("Task.status", text).into_response();
    }
    if let Some(element) = changed_element(headers, body, &found.json) {
        let text = "this element is not the sender's to change: send it as it was read, or leave it out";
        return outcome::unprocessable(&format!("Task.{element}"), text).into_response();
    }
    let reason = tree.root().get("statusReason").and_then(views::concept_text);
    let reason: Option<String> = reason.map(|text| text.chars().take(500).collect());
    let request_id = caller.request_id.as_deref();
    match app.gateway.withdraw(&caller.client, transfer, version, reason.as_deref(), request_id).await {
        Ok(Withdrawn::Done) => match find(app, caller, id).await {
            Ok(Some(found)) => found.tagged(),
            Ok(None) => outcome::not_found().into_response(),
            Err(error) => outcome::store(&error).into_response(),
        },
        Ok(Withdrawn::NotFound) => outcome::not_found().into_response(),
        Ok(Withdrawn::VersionChanged { current }) => outcome::version_changed("Task", current).into_response(),
        Ok(Withdrawn::Ended(why)) => {
            let text = format!("the transfer has ended already: {why}");
            outcome::unprocessable("Task.status", &text).into_response()
        }
        Ok(Withdrawn::ReasonMissing) => {
            let text = "a withdrawal needs statusReason.text, which recipients are told; no patient data";
            outcome::unprocessable("Task.statusReason", text).into_response()
        }
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// What a Task says and its recipient cannot change.
const FIXED: [&str; 8] = ["identifier", "partOf", "intent", "code", "focus", "for", "requester", "owner"];

/// The first fixed element that the body gives another value than the Task has. A part that is left out changes nothing.
fn changed_element(headers: &HeaderMap, body: &[u8], ours: &str) -> Option<&'static str> {
    let ours = read::json(ours, &Limits::default()).ok()?;
    let text = std::str::from_utf8(body).ok()?;
    let given = match super::process_message::media_type(headers).ok()?.as_str() {
        FHIR_XML => read::xml(text, &Limits::default()),
        _ => read::json(text, &Limits::default()),
    }
    .ok()?;
    let (given, ours) = (given.root(), ours.root());
    FIXED.into_iter().find(|name| {
        let mut own = ours.all(name);
        given.all(name).any(|given| own.next().is_none_or(|own| !says_no_more(given, own)))
    })
}

/// Whether every value in `given` stands at the same place in `ours`.
fn says_no_more(given: Element<'_, '_>, ours: Element<'_, '_>) -> bool {
    if given.value().is_some() && given.value() != ours.value() {
        return false;
    }
    let mut names: Vec<&str> = given.children().map(Element::name).collect();
    names.dedup();
    names.into_iter().all(|name| {
        let mut own = ours.all(name);
        given.all(name).all(|given| own.next().is_some_and(|own| says_no_more(given, own)))
    })
}

/// The body as the Task of this URL.
fn read_task<'b>(headers: &HeaderMap, body: &'b [u8], id: &str) -> Result<Tree<'b>, Box<Response>> {
    let media_type = super::process_message::media_type(headers)?;
    let bad = |text: &str| Box::new(outcome::bad_request(text).into_response());
    let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
    let tree: Tree<'_> =
        if media_type == FHIR_XML { read::xml(text, &Limits::default()) } else { read::json(text, &Limits::default()) }
            .map_err(|error| bad(&error.to_string()))?;
    let task = tree.root();
    if !task.is("Task") || task.text("id").is_some_and(|own| own != id) {
        return Err(bad("the body must be the Task of this URL"));
    }
    Ok(tree)
}

/// What a recipient may change: status and its reason. Everything else of the Task is ours.
fn answer(headers: &HeaderMap, body: &[u8], id: &str) -> Result<Answer, Box<Response>> {
    let tree = read_task(headers, body, id)?;
    let task = tree.root();
    let unprocessable = |text: &str| Box::new(outcome::unprocessable("Task.status", text).into_response());
    let state = match task.text("status") {
        Some("received") => DeliveryState::Received,
        Some("accepted") => DeliveryState::Accepted,
        Some("in-progress") => DeliveryState::InProgress,
        Some("completed") => DeliveryState::Completed,
        Some("rejected") => DeliveryState::Rejected,
        _ => {
            return Err(unprocessable("a recipient sets received, accepted, in-progress, completed or rejected"));
        }
    };
    let reason = task.get("statusReason");
    let code = reason.and_then(response_code).transpose().map_err(|()| {
        let text = "statusReason has a code that ITK-ResponseCodes-1 does not have";
        Box::new(outcome::unprocessable("Task.statusReason.coding", text).into_response())
    })?;
    let words = reason.and_then(|reason| reason.text("text")).map(|text| text.chars().take(500).collect());
    let said = || code.map(|code| format!("{} {}", code.code, code.display));
    let other = || reason.and_then(views::concept_text).map(|text| text.chars().take(500).collect());
    let reason = words.or_else(said).or_else(other);
    Ok(Answer { state, code, reason })
}

/// The ITK3 response code among the codings; an error when one of its system is none of its codes.
fn response_code(reason: Element<'_, '_>) -> Option<Result<ResponseCode, ()>> {
    let coding = views::codings(reason).find(|coding| coding.system.is_some_and(itk::is_response_system))?;
    Some(coding.code.and_then(itk::response_code).ok_or(()))
}
