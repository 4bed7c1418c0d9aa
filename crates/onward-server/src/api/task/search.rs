//! `GET Task?…` and `POST Task/_search`: a recipient's inbox; a sender's transfers with their copies.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use onward_core::client::Role;
use onward_core::store::{Changed, FoundTask, TaskQuery};
use onward_core::{NhsNumber, OdsCode, Timestamp};
use onward_fhir::systems;
use onward_gateway::tasks::{Page, STATUSES};
use serde_json::{Value, json};

use crate::api::date::Range;
use crate::api::edge::FHIR_JSON;
use crate::app::App;
use crate::auth::Caller;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;

/// Tasks on one page when `_count` does not say.
const COUNT: u32 = 50;
/// The most that `_count` may ask for.
const COUNT_MAX: u32 = 200;

const UNDERSTOOD: &str = "understood are owner, status, part-of, patient (owner:identifier and patient:identifier as well), \
                          _lastUpdated, _count and _format";

/// `GET Task?…`.
pub async fn get(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let caller = match crate::api::allowed(&app, &headers, &connection, Action::SearchTasks).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    match crate::api::search::addressed(&app, raw) {
        Ok(search) => answer(&app, &caller, &search).await,
        Err(outcome) => outcome.into_response(),
    }
}

/// `POST Task/_search` with a form.
pub async fn post(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match crate::api::allowed(&app, &headers, &connection, Action::SearchTasks).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    match crate::api::search::posted(&app, &headers, raw, body).await {
        Ok(search) => answer(&app, &caller, &search).await,
        Err(outcome) => outcome.into_response(),
    }
}

async fn answer(app: &App, caller: &Caller, raw: &str) -> Response {
    let search = match Search::read(app, caller, raw) {
        Ok(search) => search,
        Err(text) => return outcome::bad_request(&text).into_response(),
    };
    let asked = format!("Task?{raw}");
    match app.gateway.list(&caller.client, search.query.clone(), &asked, caller.request_id.as_deref()).await {
        Ok(page) => ([(header::CONTENT_TYPE, FHIR_JSON)], searchset(app, caller, &page, &search)).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// What was asked for.
struct Search {
    query: TaskQuery,
    /// The parameters for our links, in the order in which they came; never one that names a person.
    given: Vec<(String, String)>,
    /// Where this page began, as it stands in our link to it.
    cursor: Option<String>,
}

impl Search {
    fn read(app: &App, caller: &Caller, raw: &str) -> Result<Self, String> {
        let query =
            TaskQuery { transfers: caller.role() == Role::Sender, copies: true, limit: COUNT, ..TaskQuery::default() };
        let mut search = Self { query, given: Vec::new(), cursor: None };
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            search.take(app, caller, &name, &value)?;
        }
        Ok(search)
    }

    /// Takes in one parameter. The search parameters that are not understood are refused, not ignored; repeating one
    /// means all of it (R4 Search, section 3.1.1.4.5), which only dates can make sense of.
    fn take(&mut self, app: &App, caller: &Caller, name: &str, value: &str) -> Result<(), String> {
        let query = &mut self.query;
        let once = |taken: bool| if taken { Err(format!("{name} may be given once")) } else { Ok(()) };
        let mut shown = value.to_owned();
        let mut shown_as = name;
        match name {
            "owner" | "owner:identifier" => {
                once(query.recipient.is_some() || !query.copies)?;
                let code: OdsCode = identifier(value, systems::is_ods)
                    .and_then(|code| code.parse().ok())
                    .ok_or_else(|| format!("{name} takes an ODS code, or {}|CODE", systems::ODS_ORGANISATION))?;
                // The transfer's own Task is ours, a copy's is its recipient's.
                query.transfers &= code == app.gateway.settings().own_ods;
                query.recipient = (!query.transfers).then_some(code);
                query.copies &= !query.transfers;
            }
            "status" => {
                once(!query.statuses.is_empty())?;
                query.statuses = value.split(',').map(str::to_owned).collect();
                if query.statuses.iter().any(|status| !STATUSES.contains(&status.as_str())) {
                    return Err(format!("status takes {}, or several with commas between", STATUSES.join(", ")));
                }
            }
            "part-of" => {
                once(query.transfer.is_some())?;
                let own = format!("{}/fhir/R4/", app.gateway.settings().base_url);
                let reference = value.strip_prefix(&own).unwrap_or(value);
                let id = reference.strip_prefix("Task/").unwrap_or(reference).parse();
                query.transfer = Some(id.map_err(|_| "part-of takes Task/ID of a transfer".to_owned())?);
                query.transfers = false;
            }
            "patient" | "patient:identifier" => {
                once(query.patient.is_some())?;
                let number: NhsNumber = identifier(value, systems::is_nhs_number)
                    .and_then(|number| number.parse().ok())
                    .ok_or_else(|| format!("{name} takes a valid NHS number, or {}|NUMBER", systems::NHS_NUMBER))?;
                // No URL that we make names a person (ARCHITECTURE.md, Invariants).
                shown = app.seal.seal(&caller.client.id, number.expose()).ok_or("the link cannot be made")?;
                shown_as = "_patient";
                query.patient = Some(number);
            }
            "_patient" => {
                once(query.patient.is_some())?;
                let number = app.seal.open(&caller.client.id, value).and_then(|number| number.parse().ok());
                query.patient = Some(number.ok_or("this link has expired: search anew")?);
            }
            "_lastUpdated" => query.changed.push(changed(value)?),
            "_count" => {
                let count: u32 = value.parse().map_err(|_| "_count takes a whole number".to_owned())?;
                query.limit = count.min(COUNT_MAX);
                shown = query.limit.to_string();
            }
            "_cursor" => {
                once(query.after.is_some())?;
                let (created, id) = value.split_once('_').ok_or("the cursor is not one of ours")?;
                let created = created.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
                let id = id.parse().ok();
                query.after = Some(created.zip(id).ok_or("the cursor is not one of ours")?);
                self.cursor = Some(value.to_owned());
                return Ok(());
            }
            // Heeded by the edge, for every answer.
            "_format" => {}
            _ => return Err(UNDERSTOOD.to_owned()),
        }
        self.given.push((shown_as.to_owned(), shown));
        Ok(())
    }

    fn link(&self, base: &str, cursor: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.given);
        if let Some(cursor) = cursor {
            query.append_pair("_cursor", cursor);
        }
        match query.finish() {
            none if none.is_empty() => format!("{base}/fhir/R4/Task"),
            query => format!("{base}/fhir/R4/Task?{query}"),
        }
    }
}

/// The value of `VALUE` or `SYSTEM|VALUE`, when the system is one of the right ones.
fn identifier(token: &str, fits: impl Fn(&str) -> bool) -> Option<&str> {
    match token.rsplit_once('|') {
        None => Some(token),
        Some((system, value)) => fits(system).then_some(value),
    }
}

/// A date search parameter (R4 Search, section 3.1.1.4.6). What a Task has is a moment, so a range of it has no width.
fn changed(value: &str) -> Result<Changed, String> {
    let wrong = || {
        "_lastUpdated takes a date or an instant, with eq, ne, lt, gt, le, ge, sa or eb before it, such as ge2026-11-01; \
         two of them make a period"
            .to_owned()
    };
    if let Some(date) = value.strip_prefix("ne") {
        let range = Range::read(&format!("eq{date}")).ok_or_else(wrong)?;
        let (from, until) = range.from.zip(range.until).ok_or_else(wrong)?;
        return Ok(Changed::Outside { from, until });
    }
    let Range { from, until } = Range::read(value).ok_or_else(wrong)?;
    Ok(Changed::Within { from, until })
}

fn searchset(app: &App, caller: &Caller, page: &Page, search: &Search) -> String {
    let base = &app.gateway.settings().base_url;
    let mut links = vec![json!({ "relation": "self", "url": search.link(base, search.cursor.as_deref()) })];
    if let Some((created, id)) = page.next {
        let cursor = format!("{}_{id}", created.as_microsecond());
        links.push(json!({ "relation": "next", "url": search.link(base, Some(&cursor)) }));
    }
    let entry = |found: &FoundTask| {
        let task = match found {
            FoundTask::Transfer(transfer) => app.gateway.transfer_task(transfer, &caller.client),
            // What people did with a copy is told by its own Task alone.
            FoundTask::Copy(copy) => app.gateway.delivery_task(copy, &[], &[], &caller.client),
        };
        let task: Value = serde_json::from_str(&task).expect("our own Task is JSON");
        json!({
            "fullUrl": format!("{base}/fhir/R4/Task/{}", found.place().1),
            "resource": task,
            "search": { "mode": "match" },
        })
    };
    let entries: Vec<Value> = page.tasks.iter().map(entry).collect();
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset" });
    if let Some(total) = page.total {
        bundle["total"] = total.into();
    }
    bundle["link"] = links.into();
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    bundle.to_string()
}
