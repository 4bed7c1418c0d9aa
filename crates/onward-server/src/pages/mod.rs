//! Pages for people. Each has a view model of its own, made without HTTP; handlers ask the gateway and show what it releases.
//!
//! A page holds no rule about documents: a record's content is the page that the recipient was sent, taken apart. Nothing runs
//! or loads that is not ours, nothing about a person stands in an address or a title, and every page works without JavaScript.

pub mod assets;
mod audit;
mod checklist;
pub mod components;
mod deeds;
pub mod directory;
pub mod findings;
pub mod inbox;
mod leaving;
mod meanwhile;
mod operations;
mod record;
mod stopped;
pub(crate) mod trouble;

pub(crate) use self::audit::{Archives, Previews};

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use flate2::Compression;
use onward_core::people::Role;
use onward_core::store::{Approval, StoreError, Verdict};
use onward_core::{OdsCode, Timestamp};
use onward_gateway::attend::Attendant;
use onward_transform::render::dates;

use self::assets::{Assets, assets};
use self::trouble::{decided_before, trouble};
use crate::api::{Access, Route};
use crate::app::App;
use crate::auth::table::Action;
use crate::people::SignedIn;

/// Pages smaller than this go as they are.
const GZIP_BYTES_MIN: usize = 1_024;

/// The pages of people.
pub(crate) fn table() -> Vec<(Route, MethodRouter<Arc<App>>)> {
    use Action::{ListArrivals, MoveTask, ReadRendition};
    let route = |method, path, action, handler| (Route { method, path, access: Access::Page(action) }, handler);
    let mut table = vec![
        route("GET", "/inbox", ListArrivals, get(inbox::get)),
        route("GET", "/inbox/news", ListArrivals, get(inbox::news)),
        route("GET", "/transfers/{id}", ReadRendition, get(record::get)),
        route("GET", "/transfers/{id}/print", ReadRendition, get(record::print)),
        route("GET", "/transfers/{id}/pdf", ReadRendition, get(record::pdf)),
        route("GET", "/transfers/{id}/files/{number}", ReadRendition, get(record::file)),
        route("POST", "/transfers/{id}/acknowledge", MoveTask, post(deeds::acknowledge)),
        route("POST", "/transfers/{id}/arrive", MoveTask, post(deeds::arrive)),
        route("GET", "/transfers/{id}/query", MoveTask, get(deeds::query_form)),
        route("POST", "/transfers/{id}/query", MoveTask, post(deeds::query)),
        route("GET", "/transfers/{id}/decline", MoveTask, get(deeds::decline_form)),
        route("POST", "/transfers/{id}/decline", MoveTask, post(deeds::decline)),
        route("GET", "/transfers/{id}/checklist", MoveTask, get(checklist::get)),
        route("POST", "/transfers/{id}/checklist", MoveTask, post(checklist::post)),
        route("POST", "/transfers/{id}/finish", MoveTask, post(checklist::finish)),
        route("POST", "/transfers/{id}/visit", MoveTask, post(checklist::visit)),
        route("GET", "/transfers/{id}/leave", MoveTask, get(leaving::get)),
        route("POST", "/transfers/{id}/leave", MoveTask, post(leaving::post)),
    ];
    table.extend(operations::table());
    table.extend(audit::table());
    table.extend(directory::table());
    table
}

/// A page is asked for by `GET`: a `HEAD` would count as a reading and show nothing.
pub struct OnlyGet;

impl<S: Sync> FromRequestParts<S> for OnlyGet {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        if parts.method == Method::GET { Ok(Self) } else { Err(StatusCode::METHOD_NOT_ALLOWED) }
    }
}

/// What stands around every page.
#[derive(Clone)]
pub struct Shell {
    /// Addresses of style sheets, scripts and icon.
    pub assets: &'static Assets,
    /// Where the service's name leads to.
    pub home: &'static str,
    /// Who is signed in and for whom; empty for nobody.
    pub who: String,
    /// Where the log-out button posts to; empty for nobody.
    pub sign_out: &'static str,
    /// The line at the foot.
    pub footer: &'static str,
    /// When the sign-in ends; nothing for nobody.
    pub ends: Option<Ends>,
}

/// When a sign-in ends that is not used any more.
#[derive(Debug, Clone)]
pub struct Ends {
    /// In so many seconds.
    pub seconds: i64,
    /// The same as a time of day.
    pub at: String,
    /// Whether using it does not put it off.
    pub for_good: bool,
    /// Where a new sign-in leads to: this page as it can be looked at, which after a form is the form's.
    pub page: String,
}

impl Shell {
    /// Around a page for nobody in particular.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            assets: assets(),
            home: "/",
            who: String::new(),
            sign_out: "",
            footer: "Onward carries discharges from the ward to whoever cares next. It is not an NHS service.",
            ends: None,
        }
    }

    /// Around a page for somebody who is signed in.
    #[must_use]
    pub fn signed_in(name: &str, role: &str, organisations: &str) -> Self {
        let who = match organisations {
            "" => format!("{name}, {role}"),
            organisations => format!("{name}, {role}, for {organisations}"),
        };
        Self { who, sign_out: "/sign-out", ..Self::nobody() }
    }

    /// Around a page for this person, who acts for organisations that are called so.
    #[must_use]
    pub fn of(who: &SignedIn, organisations: &str) -> Self {
        let shell = Self::signed_in(&who.name, role_in_words(who.role), organisations);
        Self { home: first_page(who.role), ends: Some(who.ends.clone()), ..shell }
    }
}

/// The shell for somebody who is signed in, and the names of their organisations.
async fn shell(app: &App, who: &SignedIn) -> Result<(Shell, Vec<(OdsCode, String)>), StoreError> {
    let mut homes = Vec::with_capacity(who.organisations.len());
    for ods in &who.organisations {
        let entry = app.gateway.store().directory_entry(ods).await?;
        homes.push((ods.clone(), entry.map_or_else(|| ods.to_string(), |entry| entry.name().to_owned())));
    }
    let told = |(ods, name): &(OdsCode, String)| match name.as_str() == ods.as_str() {
        true => name.clone(),
        false => format!("{name} ({ods})"),
    };
    let named = homes.iter().map(told).collect::<Vec<_>>().join(" and ");
    Ok((Shell::of(who, &named), homes))
}

/// The page that somebody of this role starts from.
fn first_page(role: Role) -> &'static str {
    match role {
        Role::CareHomeUser => "/inbox",
        Role::Operator => "/operations",
        Role::InformationGovernance => "/audit",
        Role::WardCoordinator => "/directory",
    }
}

/// To another page of ours, after a form.
fn see_other(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to.to_owned())]).into_response()
}

/// A role in words.
#[must_use]
pub fn role_in_words(role: Role) -> &'static str {
    match role {
        Role::CareHomeUser => "care home",
        Role::WardCoordinator => "ward coordinator",
        Role::InformationGovernance => "information governance",
        Role::Operator => "operator",
    }
}

/// Who decided, how and when; without a full stop.
fn decided(verdict: &Verdict, now: Timestamp) -> String {
    let word = if verdict.granted { "Granted" } else { "Refused" };
    format!("{word} by {}, {}", verdict.name, dates::near_moment(verdict.at, now))
}

/// Why a person cannot decide on a request: it is decided, it is their own, or its time is over.
fn not_yours(asked: &Approval, me: &str, now: Timestamp, onward: Option<(String, &'static str)>) -> Response {
    let expires = dates::near_moment(asked.expires, now);
    let (told, next) = match &asked.verdict {
        Some(verdict) if onward.is_none() => (decided(verdict, now), "There is nothing to decide any more."),
        Some(verdict) => {
            (decided(verdict, now), "There is nothing to decide any more. Open the request to see what it asked for.")
        }
        None if asked.expires <= now => {
            (format!("Nobody decided. It expired {expires}"), "If it is still needed, ask for it anew.")
        }
        None if asked.asked_by == me => {
            (format!("You asked for it, {}", dates::near_moment(asked.asked, now)), "Somebody else must decide.")
        }
        None => (format!("It waits for a decision, {expires} at the latest"), "Open the request, and decide there."),
    };
    decided_before(StatusCode::CONFLICT, vec![told], next, onward)
}

/// A field of a form as it was sent, without surrounding space; empty when it is not there.
fn sent(form: &[u8], name: &str) -> String {
    let found = url::form_urlencoded::parse(form).find(|(key, _)| key == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn attendant(who: &SignedIn) -> Attendant {
    Attendant {
        user: who.user.to_string(),
        name: who.name.clone(),
        organisations: who.organisations.clone(),
        agent: who.agent(),
        request_id: who.request_id.clone(),
    }
}

/// A store that failed, logged here: nothing is shown.
pub(crate) fn store_failed(error: &StoreError) -> Response {
    tracing::error!(%error, "a page could not be shown");
    let status = match error {
        StoreError::Unavailable(_) | StoreError::Overtaken => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        StoreError::Erased => StatusCode::GONE,
    };
    let mut response = trouble(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    }
    response
}

/// A page as it goes out.
#[must_use]
pub fn page(headers: &HeaderMap, status: StatusCode, template: &impl Template) -> Response {
    let Some(html) = written(template) else {
        return (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "")
            .into_response();
    };
    let compressed = html.len() >= GZIP_BYTES_MIN && assets::takes_gzip(headers);
    let mut response = if compressed {
        // Nothing secret of ours stands in a page beside what somebody else chose, so that its length tells nothing.
        let body = assets::gzip(html.as_bytes(), Compression::fast());
        (status, [(header::CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        (status, html).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding, cookie"));
    response
}

/// A template's text, or nothing, logged here. Signs that turn the order of what follows round (UAX #9) could make a name or a dose read
/// as another, whoever wrote it: they are replaced.
pub(crate) fn written(template: &impl Template) -> Option<String> {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match template.render() {
        Ok(html) if html.contains(turns) => Some(html.replace(turns, "\u{fffd}")),
        Ok(html) => Some(html),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            None
        }
    }
}
