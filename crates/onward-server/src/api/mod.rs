//! The FHIR edge: one module a resource, and what every request shares.

pub mod accept;
pub mod audit_event;
pub mod body;
pub mod bundle;
pub mod date;
pub mod directory;
pub mod dry_run;
pub mod edge;
pub mod metadata;
pub mod process_message;
mod search;
pub mod subscription;
pub mod task;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use onward_gateway::Place;

use crate::app::App;
use crate::auth::table::{Action, may};
use crate::auth::{Caller, token};
use crate::listener::Connection;
use crate::{outcome, pages, people};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it tells nothing about anybody, or is the sign-in itself.
    Open,
    /// A token of a client whose role has this function.
    Function(Action),
    /// A page that needs no sign-in; what it sends comes from our own pages.
    Visitor,
    /// A person who is signed in, whatever the role.
    SignedIn,
    /// A person who is signed in and whose role has this function.
    Page(Action),
    /// The same for what is grave: a person who signed in within the last five minutes.
    Fresh(Action),
}

/// One method of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path, with `{id}` where an identifier stands.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
}

/// Every public route: the router is made of this table, and the authorization tests walk it.
#[must_use]
pub fn routes() -> Vec<Route> {
    table().into_iter().map(|(route, _)| route).collect()
}

fn table() -> Vec<(Route, MethodRouter<Arc<App>>)> {
    use Access::{Function, Open};
    let route = |method, path, access, handler| (Route { method, path, access }, handler);
    let mut table = vec![
        route("POST", "/fhir/R4/$process-message", Function(Action::Submit), post(process_message::post)),
        route("POST", "/fhir/R4/$explain", Function(Action::DryRun), post(dry_run::explain)),
        route("POST", "/fhir/R4/Bundle/$validate", Function(Action::DryRun), post(dry_run::validate)),
        route("GET", "/fhir/R4/Bundle/{id}", Function(Action::ReadRendition), get(bundle::get)),
        route("GET", "/fhir/R4/Task", Function(Action::SearchTasks), get(task::search::get)),
        route("POST", "/fhir/R4/Task/_search", Function(Action::SearchTasks), post(task::search::post)),
        route("GET", "/fhir/R4/Task/{id}", Function(Action::ReadTask), get(task::get)),
        route("PUT", "/fhir/R4/Task/{id}", Function(Action::MoveTask), put(task::put)),
        route("GET", "/fhir/R4/AuditEvent", Function(Action::SearchAudit), get(audit_event::get)),
        route("POST", "/fhir/R4/AuditEvent/_search", Function(Action::SearchAudit), post(audit_event::post)),
        route("GET", "/fhir/R4/HealthcareService", Function(Action::SearchDirectory), get(directory::services)),
        route("GET", "/fhir/R4/HealthcareService/{id}", Function(Action::SearchDirectory), get(directory::service)),
        route("GET", "/fhir/R4/Location", Function(Action::SearchPlaces), get(directory::locations)),
        route("GET", "/fhir/R4/Location/{id}", Function(Action::SearchPlaces), get(directory::one_location)),
        route("POST", "/fhir/R4/Subscription", Function(Action::CreateSubscription), post(subscription::create)),
        route("GET", "/fhir/R4/Subscription", Function(Action::SearchSubscriptions), get(subscription::search)),
        route("GET", "/fhir/R4/Subscription/{id}", Function(Action::ReadSubscription), get(subscription::get)),
        route("PUT", "/fhir/R4/Subscription/{id}", Function(Action::ChangeSubscription), put(subscription::put)),
        route(
            "DELETE",
            "/fhir/R4/Subscription/{id}",
            Function(Action::DeleteSubscription),
            delete(subscription::delete),
        ),
        route("GET", "/fhir/R4/metadata", Open, get(metadata::capability)),
        route("GET", "/.well-known/smart-configuration", Open, get(metadata::smart)),
        route("GET", "/.well-known/jwks.json", Open, get(metadata::jwks)),
        route("POST", "/oauth2/token", Open, post(token::issue)),
        route("GET", "/assets/{name}", Open, get(pages::assets::get)),
    ];
    table.extend(people::table());
    table.extend(pages::table());
    table
}

/// The public routes.
pub fn router(app: &Arc<App>) -> Router {
    let table = table();
    let looked_at: Vec<&str> =
        table.iter().filter(|(route, _)| route.method == "GET").map(|(route, _)| route.path).collect();
    table
        .into_iter()
        .map(|(route, handler)| (route, guarded(app, route, &looked_at, handler)))
        .fold(Router::new(), |router, (route, handler)| match route.path.contains('$') {
            // The same name as clients write it that encode every sign: `%24` is `$` (RFC 3986, section 6.2.2.2).
            true => router.route(&route.path.replace('$', "%24"), handler.clone()).route(route.path, handler),
            false => router.route(route.path, handler),
        })
        .fallback(|State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri| async move {
            match people::wants_page(&headers) {
                true => people::not_found(&app, &headers, uri.path()).await,
                false => outcome::not_found().into_response(),
            }
        })
        .method_not_allowed_fallback(|| async { outcome::method_not_allowed().into_response() })
        .layer(middleware::from_fn_with_state(Arc::clone(app), edge::around))
        .with_state(Arc::clone(app))
}

/// Behind its session and its function, where the route is a page.
fn guarded(
    app: &Arc<App>,
    route: Route,
    looked_at: &[&str],
    handler: MethodRouter<Arc<App>>,
) -> MethodRouter<Arc<App>> {
    match route.access {
        Access::Open | Access::Function(_) => handler,
        Access::Visitor | Access::SignedIn | Access::Page(_) | Access::Fresh(_) => {
            let door =
                people::Door { app: Arc::clone(app), access: route.access, page: page_of(route.path, looked_at) };
            handler.route_layer(middleware::from_fn_with_state(door, people::guard))
        }
    }
}

/// How many parts of this path lead to a page that can be looked at: the path itself, or the nearest above it.
fn page_of(path: &str, looked_at: &[&str]) -> usize {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_one = |count: &usize| looked_at.contains(&format!("/{}", parts[..*count].join("/")).as_str());
    (0..=parts.len()).rev().find(is_one).unwrap_or_default()
}

/// The version that `If-Match: W/"version"` names; a change of this kind of resource must name one.
fn if_match(headers: &HeaderMap, kind: &str) -> Result<u64, Box<Response>> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Err(Box::new(outcome::precondition_required(kind).into_response()));
    };
    let number = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    let wrong = || Box::new(outcome::bad_request("If-Match takes W/\"version\"").into_response());
    tag.to_str().ok().and_then(number).ok_or_else(wrong)
}

/// `X-Request-ID`, when it is a plain short token.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    plain_token(headers.get("x-request-id")?)
}

/// A header value of 1 to 128 letters, digits, `.`, `_`, `:` and `-`.
fn plain_token(value: &axum::http::HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    ((1..=128).contains(&text.len()) && text.chars().all(plain)).then(|| text.to_owned())
}

/// The body of a message, of the size that is accepted, both as it comes and without its compression.
async fn message_body(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
    Ok(message_in_place(app, headers, body).await?.0)
}

/// The same, with the place where a large one waits for its turn.
async fn message_in_place(app: &App, headers: &HeaderMap, body: Body) -> Result<(Bytes, Place), Response> {
    let (body, place) = body::read_message(body, &app.gateway).await.map_err(IntoResponse::into_response)?;
    if headers.contains_key(header::CONTENT_ENCODING) {
        let inflated = body::inflate(&body, app.gateway.settings().body_bytes_max);
        return Ok((inflated.map_err(IntoResponse::into_response)?, place));
    }
    Ok((body, place))
}

/// The caller, when its role has the function.
async fn allowed(app: &App, headers: &HeaderMap, connection: &Connection, action: Action) -> Result<Caller, Response> {
    let caller = token::caller(app, headers, connection).await?;
    let (detail, answer) = match (may(caller.role(), action), caller.token_covers(action)) {
        (true, true) => return Ok(caller),
        (true, false) => (format!("the token's scopes do not cover {action:?}"), outcome::insufficient_scope()),
        (false, _) => (
            format!("role {} has no function {action:?}", caller.role()),
            outcome::forbidden("the client's role does not have this function"),
        ),
    };
    app.gateway
        .deny(&caller.client, None, None, &detail, caller.request_id.as_deref())
        .await
        .map_err(|error| outcome::store(&error).into_response())?;
    Err(answer.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_belongs_to_a_page_that_can_be_looked_at() {
        let routes = routes();
        let looked_at: Vec<&str> =
            routes.iter().filter(|route| route.method == "GET").map(|route| route.path).collect();
        for (form, page) in [
            ("/transfers/{id}/query", "/transfers/{id}/query"),
            ("/transfers/{id}/acknowledge", "/transfers/{id}"),
            ("/operations/deliveries/{id}/reveal", "/operations/deliveries/{id}"),
            ("/audit/search", "/audit"),
            ("/audit/exports/{id}/reveal", "/audit/exports/{id}"),
            ("/audit/rights/erasures/{id}", "/audit/rights"),
            ("/sign-out", "/"),
        ] {
            assert!(routes.iter().any(|route| (route.method, route.path) == ("POST", form)), "{form}");
            let parts: Vec<&str> = form.split('/').skip(1).take(page_of(form, &looked_at)).collect();
            assert_eq!(format!("/{}", parts.join("/")), page, "{form}");
        }
    }
}
