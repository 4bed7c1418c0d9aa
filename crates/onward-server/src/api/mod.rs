//! The FHIR edge: one module a resource, and what every request shares.

pub mod accept;
pub mod body;
pub mod bundle;
pub mod date;
pub mod dry_run;
pub mod edge;
pub mod metadata;
pub mod process_message;
pub mod task;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::http::HeaderMap;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::auth::table::{Action, may};
use crate::auth::{Caller, token};
use crate::listener::ClientCertificate;
use crate::outcome;

/// The public routes.
pub fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/fhir/R4/$process-message", post(process_message::post))
        .route("/fhir/R4/$explain", post(dry_run::explain))
        .route("/fhir/R4/Bundle/$validate", post(dry_run::validate))
        // The same names as clients write them that encode every sign: `%24` is `$` (RFC 3986, section 6.2.2.2).
        .route("/fhir/R4/%24process-message", post(process_message::post))
        .route("/fhir/R4/%24explain", post(dry_run::explain))
        .route("/fhir/R4/Bundle/%24validate", post(dry_run::validate))
        .route("/fhir/R4/Bundle/{id}", get(bundle::get))
        .route("/fhir/R4/Task", get(task::search::get))
        .route("/fhir/R4/Task/{id}", get(task::get).put(task::put))
        .route("/fhir/R4/metadata", get(metadata::capability))
        .route("/.well-known/smart-configuration", get(metadata::smart))
        .route("/.well-known/jwks.json", get(metadata::jwks))
        .route("/oauth2/token", post(token::issue))
        .fallback(|| async { outcome::not_found().into_response() })
        .method_not_allowed_fallback(|| async { outcome::method_not_allowed().into_response() })
        .layer(middleware::from_fn_with_state(Arc::clone(app), edge::around))
        .with_state(Arc::clone(app))
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

/// The body of a message, of the size that is accepted.
async fn message_body(app: &App, body: Body) -> Result<Bytes, Response> {
    body::read(body, app.gateway.settings().body_bytes_max).await.map_err(IntoResponse::into_response)
}

/// The caller, when its role has the function.
async fn allowed(
    app: &App,
    headers: &HeaderMap,
    certificate: Option<Extension<ClientCertificate>>,
    action: Action,
) -> Result<Caller, Response> {
    let caller = token::caller(app, headers, certificate.as_ref().map(|Extension(certificate)| certificate)).await?;
    if may(caller.role(), action) {
        return Ok(caller);
    }
    let detail = format!("role {} has no function {action:?}", caller.role());
    app.gateway
        .deny(&caller.client, None, None, &detail, caller.request_id.as_deref())
        .await
        .map_err(|error| outcome::store(&error).into_response())?;
    Err(outcome::forbidden("the client's role does not have this function").into_response())
}
