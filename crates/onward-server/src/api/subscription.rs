//! `Subscription` (FHIR R4, rest-hook): a client asks to be called when a Task that it can see changes. A call carries nothing, so
//! that whoever gets it asks for its Tasks with its own token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onward_core::Timestamp;
use onward_core::store::subscriptions::{Subscription, SubscriptionStatus};
use onward_fhir::authored::{SearchEntry, searchset};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Element, Tree};
use onward_gateway::subscriptions::{Changed, NotTaken, Wanted};
use url::Url;
use uuid::Uuid;

use super::edge::{FHIR_JSON, FHIR_XML};
use crate::app::App;
use crate::auth::Caller;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome::{self, Outcome};
use crate::reasons::names_a_number;

/// Longest `Subscription.reason`, characters.
const REASON_CHARACTERS_MAX: usize = 256;
/// Longest `Subscription.channel.endpoint`, bytes.
const ENDPOINT_BYTES_MAX: usize = 500;
/// What is read of a Subscription, or is ours to say. Everything else is refused rather than lost.
const ELEMENTS: [&str; 8] = ["id", "meta", "status", "end", "reason", "criteria", "error", "channel"];

/// `POST Subscription`.
pub async fn create(State(app): State<Arc<App>>, connection: Connection, headers: HeaderMap, body: Body) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::CreateSubscription).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let wanted = match wanted(&app, &headers, body, None).await {
        Ok(wanted) => wanted,
        Err(response) => return *response,
    };
    match app.gateway.subscribe(&caller.client, wanted, caller.request_id.as_deref()).await {
        Ok(Ok(made)) => {
            let mut response = shown(&app, &made, StatusCode::CREATED);
            let place = format!("{}/fhir/R4/Subscription/{}", app.gateway.settings().base_url, made.id);
            if let Ok(place) = HeaderValue::from_str(&place) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response
        }
        Ok(Err(reason)) => not_taken(&reason).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// `GET Subscription?…`: the client's own.
pub async fn search(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::SearchSubscriptions).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let raw = query.unwrap_or_default();
    let statuses = match statuses(&raw) {
        Ok(statuses) => statuses,
        Err(text) => return outcome::bad_request(text).into_response(),
    };
    let asked = format!("Subscription?{raw}");
    match app.gateway.list_subscriptions(&caller.client, asked, caller.request_id.as_deref()).await {
        Ok(mut own) => {
            own.retain(|each| statuses.is_empty() || statuses.contains(&each.status));
            ([(header::CONTENT_TYPE, FHIR_JSON)], bundle(&app, &raw, &own)).into_response()
        }
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// `GET Subscription/{id}`.
pub async fn get(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::ReadSubscription).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(id) = id.parse::<Uuid>() else { return outcome::not_found().into_response() };
    match app.gateway.read_subscription(&caller.client, id, caller.request_id.as_deref()).await {
        Ok(Some(own)) => shown(&app, &own, StatusCode::OK),
        Ok(None) => outcome::not_found().into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// `PUT Subscription/{id}`: its owner changes it, asks for it anew or turns it off; `If-Match` is mandatory.
pub async fn put(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::ChangeSubscription).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(id) = id.parse::<Uuid>() else { return outcome::not_found().into_response() };
    let version = match super::if_match(&headers, "Subscription") {
        Ok(version) => version,
        Err(response) => return *response,
    };
    change(&app, &caller, id, version, &headers, body).await
}

async fn change(app: &App, caller: &Caller, id: Uuid, version: u64, headers: &HeaderMap, body: Body) -> Response {
    let wanted = match wanted(app, headers, body, Some(id)).await {
        Ok(wanted) => wanted,
        Err(response) => return *response,
    };
    let request_id = caller.request_id.as_deref();
    match app.gateway.change_subscription(&caller.client, id, version, wanted, request_id).await {
        Ok(Changed::Done(own)) => shown(app, &own, StatusCode::OK),
        Ok(Changed::NotFound) => outcome::not_found().into_response(),
        Ok(Changed::VersionChanged(current)) => outcome::version_changed("Subscription", current).into_response(),
        Ok(Changed::NotTaken(reason)) => not_taken(&reason).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// `DELETE Subscription/{id}`.
pub async fn delete(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::DeleteSubscription).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(id) = id.parse::<Uuid>() else { return outcome::not_found().into_response() };
    match app.gateway.unsubscribe(&caller.client, id, caller.request_id.as_deref()).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => outcome::not_found().into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

fn shown(app: &App, own: &Subscription, status: StatusCode) -> Response {
    let body = app.gateway.subscription_resource(own);
    let mut response = (status, [(header::CONTENT_TYPE, FHIR_JSON)], body).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{}\"", own.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn bundle(app: &App, raw: &str, own: &[Subscription]) -> String {
    let base = format!("{}/fhir/R4/Subscription", app.gateway.settings().base_url);
    let entry = |each: &Subscription| SearchEntry {
        full_url: format!("{base}/{}", each.id),
        resource: app.gateway.subscription_resource(each),
    };
    let entries: Vec<SearchEntry> = own.iter().map(entry).collect();
    let own_link = if raw.is_empty() { base.clone() } else { format!("{base}?{raw}") };
    searchset(&entries, &[("self", own_link)], Some(entries.len() as u64))
}

/// The statuses that are asked for; none means all.
fn statuses(raw: &str) -> Result<Vec<SubscriptionStatus>, &'static str> {
    let mut statuses = Vec::new();
    for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
        match name.as_ref() {
            "status" if statuses.is_empty() => {
                let read: Result<Vec<_>, _> = value.split(',').map(str::parse).collect();
                statuses = read.map_err(|_| "status takes requested, active, error and off")?;
            }
            "_format" => {}
            _ => return Err("understood are status and _format"),
        }
    }
    Ok(statuses)
}

fn not_taken(reason: &NotTaken) -> Outcome {
    let expression = match reason {
        NotTaken::Criteria(_) => "Subscription.criteria",
        NotTaken::Address => "Subscription.channel.endpoint",
        NotTaken::Ended => "Subscription.end",
        NotTaken::TooMany => "Subscription",
    };
    outcome::unprocessable(expression, &reason.to_string())
}

type Refused = Box<Response>;

fn refused(expression: &str, text: &str) -> Refused {
    Box::new(outcome::unprocessable(expression, text).into_response())
}

/// The body as what its client asks for.
async fn wanted(app: &App, headers: &HeaderMap, body: Body, id: Option<Uuid>) -> Result<Wanted, Refused> {
    let media_type = super::process_message::media_type(headers)?;
    let body = super::message_body(app, headers, body).await.map_err(Box::new)?;
    let bad = |text: &str| Box::new(outcome::bad_request(text).into_response());
    let text = std::str::from_utf8(&body).map_err(|_| bad("the body is not UTF-8"))?;
    let tree: Tree<'_> =
        if media_type == FHIR_XML { read::xml(text, &Limits::default()) } else { read::json(text, &Limits::default()) }
            .map_err(|error| bad(&error.to_string()))?;
    let root = tree.root();
    let other = |id: Uuid| root.text("id").is_some_and(|own| own != id.to_string());
    if !root.is("Subscription") || id.is_some_and(other) {
        return Err(bad("the body must be a Subscription, and that of this URL where it has an id"));
    }
    if let Some(odd) = root.children().find(|child| !ELEMENTS.contains(&child.name())) {
        return Err(refused("Subscription", &format!("{} is not kept here: leave it out", known_name(odd))));
    }
    let off = match root.text("status") {
        Some("requested") => false,
        Some("off") => true,
        _ => return Err(refused("Subscription.status", "a client sends requested or off")),
    };
    let reason = root.text("reason").map(str::trim).filter(|text| !text.is_empty());
    let reason = reason.filter(|text| text.chars().count() <= REASON_CHARACTERS_MAX);
    if reason.is_none_or(names_a_number) {
        let text = format!("say what it is for, in up to {REASON_CHARACTERS_MAX} characters; nothing about a patient");
        return Err(refused("Subscription.reason", &text));
    }
    let ends = root.text("end").map(str::parse::<Timestamp>).transpose();
    let ends = ends.map_err(|_| refused("Subscription.end", "an instant is needed, such as 2026-11-30T12:00:00Z"))?;
    let channel = root.get("channel").ok_or_else(|| refused("Subscription.channel", "a channel is needed"))?;
    Ok(Wanted {
        criteria: root.text("criteria").unwrap_or_default().to_owned(),
        endpoint: endpoint_of(channel)?,
        ends,
        off,
    })
}

/// The address of a rest-hook without payload.
fn endpoint_of(channel: Element<'_, '_>) -> Result<String, Refused> {
    if channel.text("type") != Some("rest-hook") {
        return Err(refused("Subscription.channel.type", "rest-hook is the one channel that is offered"));
    }
    for child in channel.children() {
        match child.name() {
            "type" | "endpoint" => {}
            "payload" => {
                let text = "a notification carries nothing: leave payload out, and ask for Tasks when you are called";
                return Err(refused("Subscription.channel.payload", text));
            }
            "header" => {
                let text =
                    "headers are not kept: whoever runs the gateway sets what your host asks for ([delivery] push)";
                return Err(refused("Subscription.channel.header", text));
            }
            _ => {
                let text = format!("{} is not kept here: leave it out", known_name(child));
                return Err(refused("Subscription.channel", &text));
            }
        }
    }
    let wrong = || {
        let text = format!(
            "an https address without credentials, query and fragment is needed, of up to {ENDPOINT_BYTES_MAX} bytes"
        );
        refused("Subscription.channel.endpoint", &text)
    };
    let url = channel.text("endpoint").and_then(|text| Url::parse(text).ok()).ok_or_else(wrong)?;
    let plain = url.query().is_none() && url.fragment().is_none();
    let right = url.scheme() == "https" && plain && url.username().is_empty() && url.password().is_none();
    if path_names_a_number(url.path()) {
        let text = "the address must not name a patient: it holds a valid NHS number";
        return Err(refused("Subscription.channel.endpoint", text));
    }
    let url = url.to_string();
    if right && url.len() <= ENDPOINT_BYTES_MAX { Ok(url) } else { Err(wrong()) }
}

/// Whether an NHS number stands in the path, percent-encoded or divided by slashes as well.
fn path_names_a_number(path: &str) -> bool {
    let decoded: Vec<String> =
        url::form_urlencoded::parse(path.as_bytes()).map(|(name, value)| format!("{name} {value}")).collect();
    names_a_number(&decoded.join(" ").replace('/', " "))
}

/// The name of an element that R4 knows of a Subscription; what a stranger made up is not repeated.
fn known_name(element: Element<'_, '_>) -> &'static str {
    const KNOWN: [&str; 8] =
        ["implicitRules", "language", "text", "contained", "extension", "modifierExtension", "contact", "id"];
    KNOWN.into_iter().find(|known| *known == element.name()).unwrap_or("one of the elements")
}
