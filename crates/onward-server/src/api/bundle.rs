//! `GET /fhir/R4/Bundle/{id}`: a recipient reads its copy.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use onward_gateway::collect::{self, Opened};
use onward_transform::render::{self, dates};

use super::accept::{self, Form};
use super::edge::{self, FHIR_JSON, FHIR_XML};
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
    let released = match chosen.form {
        Form::Html | Form::Pdf => collect::Form::Page,
        _ => collect::Form::Document,
    };
    let opened = match app.gateway.open(&caller.client, id, released, caller.request_id.as_deref()).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return outcome::not_found().into_response(),
        Err(error) => return outcome::store(&error).into_response(),
    };
    let Opened { rendition, superseded } = opened;
    let html = match &superseded {
        Some(superseded) => rendition.html.map(|html| render::marked(&html, &superseded.reason)),
        None => rendition.html,
    };
    let no_page = || outcome::not_acceptable("this copy has no page for people; ask for FHIR").into_response();
    let mut response = match chosen.form {
        Form::Html => html.map_or_else(no_page, page),
        Form::Pdf => match html {
            Some(html) => {
                let made = dates::moment(app.gateway.clock().now());
                pdf(html, format!("Made {made} for {}.", caller.client.id)).await
            }
            None => no_page(),
        },
        form => fhir(rendition.media_type, rendition.body, chosen.named.then_some(form)),
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

/// The copy as it is, or in the form that was named, when that carries it whole.
fn fhir(media_type: String, body: Vec<u8>, named: Option<Form>) -> Response {
    let (kind, other) = match (named, media_type.starts_with(FHIR_JSON)) {
        (Some(Form::Xml), true) => (FHIR_XML, edge::xml_of(&body)),
        (Some(Form::Json), false) => (FHIR_JSON, edge::json_of(&body)),
        _ => return ([(header::CONTENT_TYPE, media_type)], body).into_response(),
    };
    match other {
        Some(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        None => outcome::not_acceptable(&format!(
            "this copy cannot be written as {kind} without loss; ask for {media_type}"
        ))
        .into_response(),
    }
}

/// The page as PDF. Drawing takes a while: not on the thread that serves the connection.
pub(crate) async fn pdf(html: Vec<u8>, foot: String) -> Response {
    let drawn = tokio::task::spawn_blocking(move || {
        let page = std::str::from_utf8(&html).map_err(|error| error.to_string())?;
        onward_transform::pdf::of_page(page, &foot).map_err(|error| error.to_string())
    });
    match drawn.await {
        Ok(Ok(bytes)) => {
            let mut response = ([(header::CONTENT_TYPE, "application/pdf")], bytes).into_response();
            // The name of the file says nothing about anybody.
            let named = HeaderValue::from_static("inline; filename=\"discharge-summary.pdf\"");
            response.headers_mut().insert(header::CONTENT_DISPOSITION, named);
            response
        }
        Ok(Err(error)) => {
            tracing::error!(error, "a page could not be written as PDF");
            outcome::fault().into_response()
        }
        Err(_) => outcome::fault().into_response(),
    }
}

/// A page that runs nothing and fetches nothing.
fn page(html: Vec<u8>) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; object-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
