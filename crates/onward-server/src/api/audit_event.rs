//! `GET AuditEvent` and `POST AuditEvent/_search`: an information-governance lead finds the audit entries of the own
//! organisation. By `POST` no NHS number need stand in a URL; the links to further pages never hold one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use onward_core::audit::{AuditQuery, AuditWord};
use onward_core::{DeliveryId, NhsNumber, Timestamp};
use onward_fhir::authored::{SearchEntry, searchset};
use onward_gateway::audit_search::AuditPage;
use onward_gateway::journal::words_of_type;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::date::Range;
use super::edge::FHIR_JSON;
use crate::app::App;
use crate::auth::Caller;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;

/// Entries on one page when `_count` does not say.
const COUNT: u32 = 50;
/// The most that `_count` may ask for.
const COUNT_MAX: u32 = 200;

const UNDERSTOOD: &str = "understood are patient, agent, entity, export, date, type, _count and _cursor";

/// Where a page begins, and what was asked for: sealed in its link, so that no NHS number stands in a URL that we make.
#[derive(Serialize, Deserialize)]
struct Cursor {
    /// The search as it first came.
    search: String,
    /// When the last entry of the page before was recorded.
    recorded: Timestamp,
    /// Its index.
    index: u64,
}

/// `GET AuditEvent?…`
pub async fn get(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::SearchAudit).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    match super::search::addressed(&app, query) {
        Ok(search) => answer(&app, &caller, &search).await,
        Err(outcome) => outcome.into_response(),
    }
}

/// `POST AuditEvent/_search` with a form.
pub async fn post(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::SearchAudit).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    match super::search::posted(&app, &headers, query, body).await {
        Ok(search) => answer(&app, &caller, &search).await,
        Err(outcome) => outcome.into_response(),
    }
}

async fn answer(app: &App, caller: &Caller, asked: &str) -> Response {
    let search = match Search::read(app, caller, asked) {
        Ok(search) => search,
        Err(text) => return outcome::bad_request(text).into_response(),
    };
    let raw = format!("AuditEvent?{asked}");
    let request_id = caller.request_id.as_deref();
    match app.gateway.search_audit(&caller.client, search.query, search.export, &raw, request_id).await {
        Ok(page) => match bundle(app, caller, &search.origin, &page) {
            Some(bundle) => ([(header::CONTENT_TYPE, FHIR_JSON)], bundle).into_response(),
            None => outcome::fault().into_response(),
        },
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// What is searched for, and the text that says so on the next page.
struct Search {
    query: AuditQuery,
    /// By its identifier: all of its entries stand on one page.
    export: Option<Uuid>,
    origin: String,
}

impl Search {
    fn read(app: &App, caller: &Caller, asked: &str) -> Result<Self, &'static str> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(asked.as_bytes()).into_owned().collect();
        if let [(name, text)] = pairs.as_slice()
            && name == "_cursor"
        {
            let cursor = app.seal.open(&caller.client.id, text);
            let cursor = cursor.and_then(|cursor| serde_json::from_str::<Cursor>(&cursor).ok());
            let cursor = cursor.ok_or("the cursor is not one of this client's, or too old: search again")?;
            let (query, export) = read_parameters(&cursor.search)?;
            let after = Some((cursor.recorded, cursor.index));
            return Ok(Self { query: AuditQuery { after, ..query }, export, origin: cursor.search });
        }
        let (query, export) = read_parameters(asked)?;
        Ok(Self { query, export, origin: asked.to_owned() })
    }
}

fn read_parameters(asked: &str) -> Result<(AuditQuery, Option<Uuid>), &'static str> {
    let mut export = None;
    let mut query = AuditQuery { limit: COUNT, ..AuditQuery::default() };
    let mut range = Range::default();
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(asked.as_bytes()) {
        // A range takes two dates; anything else that is given twice has no meaning that we keep.
        if name != "date" && seen.iter().any(|before| *before == name) {
            return Err("a parameter is given twice");
        }
        match &*name {
            "patient" | "patient:identifier" => query.patient = Some(patient(&value)?),
            "agent" | "agent:identifier" => query.agent = Some(agent(&value)?),
            "entity" => query.entity = Some(entity(&value)?),
            "export" => export = Some(value.parse().map_err(|_| "export takes the identifier of an export, a UUID")?),
            "date" => {
                let read = Range::read(&value);
                range = range.and(read.ok_or("date takes a date or an instant, after eq, ge, gt, le, lt or nothing")?);
            }
            "type" => query.words = words(&value)?,
            "_count" => {
                let count: u32 = value.parse().map_err(|_| "_count takes a number")?;
                query.limit = count.clamp(1, COUNT_MAX);
            }
            "_format" => {}
            _ => return Err(UNDERSTOOD),
        }
        seen.push(name.into_owned());
    }
    (query.from, query.until) = (range.from, range.until);
    Ok((query, export))
}

/// By identifier, `system|value` or the bare number.
fn patient(value: &str) -> Result<NhsNumber, &'static str> {
    const EXPECTED: &str = "patient takes an NHS number with a valid check digit: https://fhir.nhs.uk/Id/nhs-number|…";
    let (system, number) = value.split_once('|').unwrap_or((onward_fhir::systems::NHS_NUMBER, value));
    if system != onward_fhir::systems::NHS_NUMBER {
        return Err(EXPECTED);
    }
    number.parse().map_err(|_| EXPECTED)
}

/// A client's identifier, or an organisation's ODS code, with or without its system.
fn agent(value: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "agent takes a client id or https://fhir.nhs.uk/Id/ods-organization-code|CODE";
    let (system, name) = value.split_once('|').unwrap_or((onward_fhir::systems::ODS_ORGANISATION, value));
    if system != onward_fhir::systems::ODS_ORGANISATION || name.is_empty() {
        return Err(EXPECTED);
    }
    Ok(name.to_owned())
}

/// The Task of a transfer or copy, or a copy's Bundle.
fn entity(value: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "entity takes Task/ID or Bundle/ID";
    let id = match value.rsplit_once('/') {
        Some((kind, id)) if kind.ends_with("Task") || kind.ends_with("Bundle") => id,
        None => value,
        Some(_) => return Err(EXPECTED),
    };
    // Transfers and copies share the form of their identifiers.
    id.parse::<DeliveryId>().map(|id| id.to_string()).map_err(|_| EXPECTED)
}

/// Codes of `AuditEvent.type` or `subtype`, with or without their system.
fn words(value: &str) -> Result<Vec<AuditWord>, &'static str> {
    let mut found = Vec::new();
    for token in value.split(',') {
        let words = words_of_type(token.rsplit('|').next().unwrap_or_default());
        if words.is_empty() {
            return Err("type takes rest, 110106, 110113, 110114, 110100 or a subtype's code");
        }
        found.extend(words);
    }
    Ok(found)
}

fn bundle(app: &App, caller: &Caller, origin: &str, page: &AuditPage) -> Option<String> {
    let base = format!("{}/fhir/R4/AuditEvent", app.gateway.settings().base_url);
    // What was understood, but for the person.
    let mut own = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(origin.as_bytes()) {
        if !name.starts_with("patient") {
            own.append_pair(&name, &value);
        }
    }
    let own = own.finish();
    let own = if own.is_empty() { base.clone() } else { format!("{base}?{own}") };
    let mut links = vec![("self", own)];
    if let Some((recorded, index)) = page.next {
        let cursor = Cursor { search: origin.to_owned(), recorded, index };
        let cursor = serde_json::to_string(&cursor).ok()?;
        links.push(("next", format!("{base}?_cursor={}", app.seal.seal(&caller.client.id, &cursor)?)));
    }
    let mut entries = Vec::new();
    // An entry about an erased person has nothing to show.
    for event in page.entries.iter().filter_map(|found| found.event.as_deref()) {
        let resource = String::from_utf8(event.to_vec()).ok()?;
        let event: serde_json::Value = serde_json::from_str(&resource).ok()?;
        let full_url = format!("urn:uuid:{}", event["id"].as_str()?);
        entries.push(SearchEntry { full_url, resource });
    }
    Some(searchset(&entries, &links, None))
}
