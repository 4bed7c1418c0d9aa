//! `GET /fhir/R4/Bundle/{id}`: a recipient reads its copy.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use onward_gateway::collect::{self, Made, Opened, Unmade};

use super::accept::{self, Form};
use crate::app::App;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;

/// Releases the copy in the form that `Accept` asks for.
pub async fn get(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET {
        // A HEAD would count as a reading and show nothing.
        return outcome::method_not_allowed().into_response();
    }
    let caller = match super::allowed(&app, &headers, &connection, Action::ReadRendition).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(id) = id.parse() else { return outcome::not_found().into_response() };
    let Some(chosen) = accept::choose(&headers, query.as_deref(), &[Form::Json, Form::Xml, Form::Html, Form::Pdf])
    else {
        return outcome::not_acceptable(
            "Accept: application/fhir+json, application/fhir+xml, text/html or application/pdf",
        )
        .into_response();
    };
    let form = match chosen.form {
        Form::Html => collect::Form::Page,
        Form::Pdf => collect::Form::Pdf,
        Form::Json if chosen.named => collect::Form::Json,
        Form::Xml if chosen.named => collect::Form::Xml,
        _ => collect::Form::Document,
    };
    let opened = match app.gateway.open(&caller.client, id, form, caller.request_id.as_deref()).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return outcome::not_found().into_response(),
        Err(error) => return outcome::store(&error).into_response(),
    };
    let Opened { made, superseded } = opened;
    let mut response = match made {
        Ok(made) => released(made),
        Err(Unmade::NoPage) => {
            outcome::not_acceptable("this copy has no page for people; ask for FHIR").into_response()
        }
        Err(Unmade::Loss(kind, media_type)) => outcome::not_acceptable(&format!(
            "this copy cannot be written as {kind} without loss; ask for {media_type}"
        ))
        .into_response(),
        Err(Unmade::NotDrawn) => outcome::fault().into_response(),
    };
    if let Some(superseded) = superseded {
        // RFC 5829: the link to the version that took the place of this one.
        let by = superseded.by.map_or_else(|| "none".to_owned(), |by| by.to_string());
        let headers = response.headers_mut();
        headers.insert("onward-superseded-by", HeaderValue::from_str(&by).expect("a UUID or a word"));
        if superseded.by.is_some() {
            let link = format!("<{by}>; rel=\"successor-version\"");
            headers.insert(header::LINK, HeaderValue::from_str(&link).expect("a UUID is visible ASCII"));
        }
    }
    response
}

/// What was released. A page runs nothing and fetches nothing; the name of a file says nothing about anybody.
pub(crate) fn released(made: Made) -> Response {
    let more = match made.media_type.as_str() {
        page if page.starts_with("text/html") => Some((header::CONTENT_SECURITY_POLICY, PAGE_POLICY)),
        "application/pdf" => Some((header::CONTENT_DISPOSITION, "inline; filename=\"discharge-summary.pdf\"")),
        _ => None,
    };
    let mut response = ([(header::CONTENT_TYPE, made.media_type)], made.bytes).into_response();
    if let Some((name, value)) = more {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; object-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
