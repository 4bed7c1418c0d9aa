//! `Task`: the transfer's and one per recipient. Senders follow, recipients move.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onward_core::client::Role;
use onward_core::state::DeliveryState;
use onward_core::store::{DeliveryQuery, StoreError};
use onward_core::{DeliveryId, NhsNumber, Timestamp, TransferId};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Tree, views};
use onward_gateway::acknowledge::Moved;
use onward_gateway::collect::{Standing, standing};
use onward_gateway::tasks::Page;
use serde::Deserialize;

use super::edge::{FHIR_JSON, FHIR_XML};
use crate::app::App;
use crate::auth::Caller;
use crate::auth::table::Action;
use crate::listener::ClientCertificate;
use crate::outcome;

/// Tasks on one page when `_count` does not say.
const COUNT: u32 = 50;
/// The most that `_count` may ask for.
const COUNT_MAX: u32 = 200;

/// `GET Task/{id}`: of a transfer or of a copy.
pub async fn get(
    State(app): State<Arc<App>>,
    certificate: Option<Extension<ClientCertificate>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, certificate, Action::ReadTask).await {
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
    patient: Option<NhsNumber>,
    json: String,
    version: u64,
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
            json: app.gateway.transfer_task(&transfer),
            version: app.gateway.transfer_version(&transfer),
            patient: transfer.patient,
        }));
    }
    if let Ok(id) = id.parse::<DeliveryId>()
        && let Some(record) = store.delivery(id).await?
    {
        if standing(&caller.client, &record) == Standing::None {
            let (transfer, detail) = (Some(record.transfer), "Task of another organisation");
            app.gateway.deny(&caller.client, transfer, Some(id), detail, caller.request_id.as_deref()).await?;
            return Ok(None);
        }
        return Ok(Some(Found {
            task: (Some(record.transfer), Some(id)),
            json: app.gateway.delivery_task(&record),
            version: record.version,
            patient: record.patient,
        }));
    }
    Ok(None)
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

/// The search parameters that are understood; another one is refused, not ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    owner: Option<String>,
    status: Option<String>,
    #[serde(rename = "part-of")]
    part_of: Option<String>,
    patient: Option<String>,
    #[serde(rename = "_lastUpdated")]
    last_updated: Option<String>,
    #[serde(rename = "_count")]
    count: Option<u32>,
    #[serde(rename = "_cursor")]
    cursor: Option<String>,
    #[serde(rename = "_format")]
    _format: Option<String>,
}

/// `GET Task?…`: copies addressed to the caller's organisation, or sent by it.
pub async fn search(
    State(app): State<Arc<App>>,
    certificate: Option<Extension<ClientCertificate>>,
    search: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, certificate, Action::ReadTask).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(Query(search)) = search else {
        return outcome::bad_request("understood are owner, status, part-of, patient, _lastUpdated=ge…, _count")
            .into_response();
    };
    let query = match query(&caller, &search) {
        Ok(query) => query,
        Err(text) => return outcome::bad_request(text).into_response(),
    };
    let count = query.limit;
    match app.gateway.list(&caller.client, query, caller.request_id.as_deref()).await {
        Ok(page) => ([(header::CONTENT_TYPE, FHIR_JSON)], searchset(&app, &page, count, &search)).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

fn query(caller: &Caller, search: &Search) -> Result<DeliveryQuery, &'static str> {
    let limit = search.count.unwrap_or(COUNT).clamp(1, COUNT_MAX);
    let mut query = DeliveryQuery { limit, ..DeliveryQuery::default() };
    let mut foreign = false;
    match caller.role() {
        Role::CareHome | Role::Practice | Role::Pharmacy => query.recipient = Some(caller.ods().clone()),
        Role::Sender | Role::InformationGovernance => query.sender = Some(caller.ods().clone()),
        Role::Operator => {}
    }
    if let Some(owner) = &search.owner {
        let code = owner.rsplit(['|', '/']).next().unwrap_or_default();
        let code = code.parse().map_err(|_| "owner takes an ODS code")?;
        if query.recipient.as_ref().is_some_and(|own| *own != code) {
            foreign = true;
        } else {
            query.recipient = Some(code);
        }
    }
    if let Some(status) = &search.status {
        for word in status.split(',') {
            let before = query.states.len();
            query.states.extend(DeliveryState::ALL.iter().filter(|state| state.task_status() == word));
            if query.states.len() == before {
                return Err(
                    "status takes requested, received, accepted, in-progress, completed, rejected, failed, cancelled",
                );
            }
        }
    }
    if let Some(part_of) = &search.part_of {
        let id = part_of.rsplit('/').next().unwrap_or_default();
        query.transfer = Some(id.parse().map_err(|_| "part-of takes the transfer's Task")?);
    }
    if let Some(patient) = &search.patient {
        let number = patient.rsplit('|').next().unwrap_or_default();
        query.patient = Some(number.parse().map_err(|_| "patient takes an NHS number with a valid check digit")?);
    }
    if let Some(since) = &search.last_updated {
        let since = since.strip_prefix("ge").ok_or("_lastUpdated takes ge and an instant")?;
        query.changed_since = Some(since.parse().map_err(|_| "_lastUpdated takes ge and an instant")?);
    }
    if let Some(cursor) = &search.cursor {
        let (created, id) = cursor.split_once('_').ok_or("the cursor is not one of ours")?;
        let created = created.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let id = id.parse().ok();
        query.after = Some(created.zip(id).ok_or("the cursor is not one of ours")?);
    }
    if foreign {
        // Somebody else's inbox is empty to this caller: it does not even learn whether it exists.
        query.changed_since = Some(Timestamp::MAX);
    }
    Ok(query)
}

fn searchset(app: &App, page: &Page, count: u32, search: &Search) -> String {
    let base = &app.gateway.settings().base_url;
    let mut links = Vec::new();
    if let Some((created, id)) = page.next {
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        let given = [
            ("owner", &search.owner),
            ("status", &search.status),
            ("part-of", &search.part_of),
            ("patient", &search.patient),
            ("_lastUpdated", &search.last_updated),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                next.append_pair(name, value);
            }
        }
        next.append_pair("_count", &count.to_string());
        next.append_pair("_cursor", &format!("{}_{id}", created.as_microsecond()));
        links.push(serde_json::json!({ "relation": "next", "url": format!("{base}/fhir/R4/Task?{}", next.finish()) }));
    }
    let entries: Vec<serde_json::Value> = page
        .records
        .iter()
        .map(|record| {
            let task: serde_json::Value =
                serde_json::from_str(&app.gateway.delivery_task(record)).expect("our own Task is JSON");
            serde_json::json!({
                "fullUrl": format!("{base}/fhir/R4/Task/{}", record.id),
                "resource": task,
                "search": { "mode": "match" },
            })
        })
        .collect();
    let mut bundle = serde_json::json!({ "resourceType": "Bundle", "type": "searchset" });
    if !links.is_empty() {
        bundle["link"] = links.into();
    }
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    bundle.to_string()
}

/// `PUT Task/{id}`: a recipient moves its own Task; `If-Match` is mandatory.
pub async fn put(
    State(app): State<Arc<App>>,
    certificate: Option<Extension<ClientCertificate>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match super::allowed(&app, &headers, certificate, Action::MoveTask).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(delivery) = id.parse::<DeliveryId>() else { return outcome::not_found().into_response() };
    let Some(tag) = headers.get(header::IF_MATCH) else { return outcome::precondition_required().into_response() };
    let Some(version) = tag.to_str().ok().and_then(version) else {
        return outcome::bad_request("If-Match takes W/\"version\"").into_response();
    };
    let body = match super::message_body(&app, &headers, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let wanted = match Wanted::read(&headers, &body, &id) {
        Ok(wanted) => wanted,
        Err(response) => return *response,
    };
    let request_id = caller.request_id.as_deref();
    let moved = app.gateway.move_task(&caller.client, delivery, version, wanted.state, wanted.reason, request_id).await;
    match moved {
        Ok(Moved::Done) => match find(&app, &caller, &id).await {
            Ok(Some(found)) => found.tagged(),
            Ok(None) => outcome::not_found().into_response(),
            Err(error) => outcome::store(&error).into_response(),
        },
        Ok(Moved::NotFound) => outcome::not_found().into_response(),
        Ok(Moved::VersionChanged { current }) => outcome::version_changed(current).into_response(),
        Ok(Moved::NotAllowed { from }) => outcome::transition_not_allowed(from.task_status()).into_response(),
        Ok(Moved::ReasonMissing) => {
            outcome::unprocessable("Task.statusReason", "a rejection needs statusReason.text or a coding")
                .into_response()
        }
        Err(error) => outcome::store(&error).into_response(),
    }
}

fn version(tag: &str) -> Option<u64> {
    tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// What a recipient may change: status and its reason. Everything else of the Task is ours.
struct Wanted {
    state: DeliveryState,
    reason: Option<String>,
}

impl Wanted {
    fn read(headers: &HeaderMap, body: &[u8], id: &str) -> Result<Self, Box<Response>> {
        let media_type = super::process_message::media_type(headers)?;
        let bad = |text: &str| Box::new(outcome::bad_request(text).into_response());
        let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
        let tree: Tree<'_> = if media_type == FHIR_XML {
            read::xml(text, &Limits::default())
        } else {
            read::json(text, &Limits::default())
        }
        .map_err(|error| bad(&error.to_string()))?;
        let task = tree.root();
        if !task.is("Task") || task.text("id").is_some_and(|own| own != id) {
            return Err(bad("the body must be the Task of this URL"));
        }
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
        let reason =
            task.get("statusReason").and_then(views::concept_text).map(|text| text.chars().take(500).collect());
        Ok(Self { state, reason })
    }
}
