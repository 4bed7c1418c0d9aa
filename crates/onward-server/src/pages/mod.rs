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
mod operations;
mod record;
mod stopped;

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use flate2::Compression;
use onward_core::people::Role;
use onward_core::store::StoreError;
use onward_core::{DeliveryId, OdsCode};
use onward_gateway::attend::Attendant;

use self::assets::{Assets, assets};
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
    let shell = Shell::signed_in(&who.name, role_in_words(who.role), &named);
    Ok((Shell { home: first_page(who.role), ..shell }, homes))
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
fn store_failed(headers: &HeaderMap, error: &StoreError) -> Response {
    tracing::error!(%error, "a page could not be shown");
    let status = match error {
        StoreError::Unavailable(_) | StoreError::Overtaken => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        StoreError::Erased => StatusCode::GONE,
    };
    let mut response = trouble(headers, status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    }
    response
}

#[derive(Template, Clone)]
#[template(path = "trouble.html")]
struct TroublePage {
    shell: Shell,
    title: &'static str,
    lines: &'static [&'static str],
    /// Where to go on, and what stands there.
    onward: (String, &'static str),
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

/// Nothing can be shown, for a reason that says nothing about anybody.
#[must_use]
pub fn trouble(headers: &HeaderMap, status: StatusCode) -> Response {
    let (title, lines): (_, &'static [_]) = match status {
        StatusCode::NOT_FOUND => (
            "Page not found",
            &[
                "There is no such page, or it is not addressed to your organisation. A summary that the hospital has taken back is not shown any more.",
            ],
        ),
        StatusCode::GONE => {
            ("This summary was erased", &["What was here about a person was erased, and nobody can read it any more."])
        }
        StatusCode::FORBIDDEN => ("You cannot see this page", &["Your account does not have this function."]),
        StatusCode::CONFLICT => (
            "This cannot be done any more",
            &[
                "Somebody may have done something else with this summary in the meantime. Open it again to see how it stands.",
            ],
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "Nothing can be shown at the moment",
            &[
                "Onward cannot write down who looks at a record, so it shows none. Nothing is lost. Try again in a minute.",
                "If a person is about to arrive, ring the ward that they come from. Summaries that you have printed still hold unless the ward says otherwise.",
            ],
        ),
        _ => {
            ("Something went wrong", &["Try again in a minute. If it happens again, tell whoever runs Onward for you."])
        }
    };
    let onward = ("/".to_owned(), "Go to the start page");
    faceless(headers, status, TroublePage { shell: Shell::nobody(), title, lines, onward })
}

/// A page that its handler made without knowing for whom; [`addressed`] puts them into its header.
#[derive(Clone)]
pub(crate) struct Faceless(Arc<dyn Fn(Shell) -> Option<String> + Send + Sync>);

impl Faceless {
    /// One that this makes.
    pub(crate) fn new(written: impl Fn(Shell) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(written))
    }
}

fn faceless(headers: &HeaderMap, status: StatusCode, template: TroublePage) -> Response {
    let mut response = page(headers, status, &template);
    let again = move |shell| written(&TroublePage { shell, ..template.clone() });
    response.extensions_mut().insert(Faceless::new(again));
    response
}

/// The answer, with person, role and organisation in its header where it is a page that knows of nobody: a shared computer shows
/// whose session it has on errors, too. Where the directory cannot be read it stays as it was.
pub(crate) async fn addressed(app: &App, who: &SignedIn, mut response: Response) -> Response {
    let Some(Faceless(again)) = response.extensions_mut().remove::<Faceless>() else { return response };
    let Ok((shell, _)) = shell(app, who).await else { return response };
    let Some(html) = again(shell) else { return response };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, html.into())
}

/// What somebody did with a summary that has ended came too late: nothing was kept of it. `copy` is what they go on with, `replaced`
/// whether that took the place of theirs.
fn too_late(headers: &HeaderMap, copy: DeliveryId, replaced: bool) -> Response {
    let (lines, words): (&'static [_], _) = match replaced {
        true => (
            &[
                "The summary has been replaced in the meantime. Nothing was kept of what you sent, and nobody was told. Do it on the summary that replaces it.",
            ],
            "Open the summary that replaces it",
        ),
        false => (
            &["The summary is not to be used any more. Nothing was kept of what you sent, and nobody was told."],
            "See why",
        ),
    };
    let onward = (format!("/transfers/{copy}"), words);
    let template = TroublePage { shell: Shell::nobody(), title: "This was not recorded", lines, onward };
    faceless(headers, StatusCode::CONFLICT, template)
}
