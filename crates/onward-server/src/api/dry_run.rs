//! `$validate` and `$explain`: nothing is stored but the audit entry.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

use super::accept::{self, Form};
use super::edge::FHIR_JSON;
use crate::app::App;
use crate::auth::Caller;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;
use crate::pages::findings::{Page, Report};

/// Findings about a message or any Bundle.
pub async fn validate(
    State(app): State<Arc<App>>,
    connection: Connection,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (caller, media_type, body) = match received(&app, &connection, &headers, body).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    match app.gateway.validate(&caller.client, &body, &media_type, caller.request_id.as_deref()).await {
        Ok(Ok(findings)) if wants_page(&headers, uri.query()) => {
            Report::new(vec![Page::new("The message", &findings, &body)]).answer(&headers)
        }
        Ok(Ok(findings)) => ([(header::CONTENT_TYPE, FHIR_JSON)], outcome::of_findings(&findings)).into_response(),
        Ok(Err(refusal)) => outcome::refusal(&refusal).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// An OperationOutcome is the answer, unless a page is asked for by name.
fn wants_page(headers: &HeaderMap, query: Option<&str>) -> bool {
    accept::choose(headers, query, &accept::FINDINGS).is_some_and(|chosen| chosen.form == Form::Html)
}

/// What would happen to a message.
pub async fn explain(State(app): State<Arc<App>>, connection: Connection, headers: HeaderMap, body: Body) -> Response {
    let (caller, media_type, body) = match received(&app, &connection, &headers, body).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    match app
        .gateway
        .explain_for(caller.agent(), &caller.client, &body, &media_type, caller.request_id.as_deref())
        .await
    {
        Ok(explanation) => axum::Json(explanation).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// Who asks, and about which bytes; else the response to give instead.
async fn received(
    app: &App,
    connection: &Connection,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Caller, String, Bytes), Response> {
    let caller = super::allowed(app, headers, connection, Action::DryRun).await?;
    let media_type = super::process_message::media_type(headers).map_err(|response| *response)?;
    Ok((caller, media_type, super::message_body(app, headers, body).await?))
}
