//! `POST /fhir/R4/$process-message`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onward_fhir::Release;
use onward_fhir::message::release_of;
use onward_fhir::read::{self, Limits};
use onward_gateway::accept::{AcceptError, Submission};
use serde::Deserialize;

use super::edge::FHIR_JSON;
use crate::app::App;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;

/// `async` and `response-url` of FHIR's operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    #[serde(default)]
    r#async: bool,
    #[serde(rename = "response-url")]
    response_url: Option<String>,
    #[serde(rename = "_format")]
    _format: Option<String>,
}

/// Takes in one message and answers after the durable commit.
pub async fn post(
    State(app): State<Arc<App>>,
    connection: Connection,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match super::allowed(&app, &headers, &connection, Action::Submit).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(Query(parameters)) = parameters else {
        return outcome::bad_request("the query may hold async=true or async=false").into_response();
    };
    if parameters.response_url.is_some() {
        return outcome::bad_request(
            "response-url is not supported: follow the Task in Location, or register a MESH mailbox for responses",
        )
        .into_response();
    }
    let media_type = match media_type(&headers) {
        Ok(media_type) => media_type,
        Err(response) => return *response,
    };
    let (body, place) = match super::message_in_place(&app, &headers, body).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    if let Some(outcome) = wrong_release(&headers, &media_type, &body) {
        return outcome.into_response();
    }
    let submission = Submission { client: caller.client, body, media_type, request_id: caller.request_id };
    match app.gateway.accept_from(submission, place).await {
        Ok(receipt) => {
            let task = format!("{}/fhir/R4/Task/{}", app.gateway.settings().base_url, receipt.transfer);
            let status = if parameters.r#async { StatusCode::ACCEPTED } else { StatusCode::OK };
            let mut response = if parameters.r#async {
                status.into_response()
            } else {
                (status, [(header::CONTENT_TYPE, FHIR_JSON)], receipt.response).into_response()
            };
            let place = HeaderValue::from_str(&task).unwrap_or_else(|_| HeaderValue::from_static(""));
            if parameters.r#async {
                response.headers_mut().insert(header::CONTENT_LOCATION, place.clone());
            }
            response.headers_mut().insert(header::LOCATION, place);
            if receipt.duplicate {
                response.headers_mut().insert("onward-duplicate", HeaderValue::from_static("true"));
            }
            response
        }
        Err(AcceptError::Refused(refusal)) => outcome::refusal(&refusal).into_response(),
        Err(AcceptError::Store(error)) => outcome::store(&error).into_response(),
        Err(AcceptError::NotScanned(error)) => outcome::not_scanned(&error).into_response(),
    }
}

/// 415 when `Content-Type` claims another FHIR release (`fhirVersion`, R4 HTTP, section 3.1.0.1.12) than the content is
/// written in: what a system means by a release it should know.
fn wrong_release(headers: &HeaderMap, media_type: &str, body: &[u8]) -> Option<outcome::Outcome> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let claimed = value.split(';').skip(1).find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("fhirVersion").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    let text = std::str::from_utf8(body).ok()?;
    let tree = match media_type {
        FHIR_JSON => read::json(text, &Limits::default()),
        _ => read::xml(text, &Limits::default()),
    }
    .ok()?;
    let (found, name) = match release_of(tree.root()) {
        Release::R4 => ("4.0", "R4"),
        Release::Stu3 => ("3.0", "STU3"),
    };
    (claimed != found).then(|| {
        outcome::unsupported_media_type(&format!(
            "Content-Type says fhirVersion={}, the content is {name}: send fhirVersion={found}, or leave it out",
            if matches!(claimed.as_str(), "3.0" | "4.0") { claimed.as_str() } else { "another release" }
        ))
    })
}

/// The media type without parameters; JSON or XML of FHIR, in UTF-8, plain or in gzip once.
pub(super) fn media_type(headers: &HeaderMap) -> Result<String, Box<Response>> {
    let unsupported = |text: &str| Box::new(outcome::unsupported_media_type(text).into_response());
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return Err(unsupported("Content-Type is missing: application/fhir+xml or application/fhir+json"));
    };
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| part.to_ascii_lowercase().strip_prefix("charset=").map(str::to_owned));
    if charset.is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
        return Err(unsupported("the body must be in UTF-8"));
    }
    let codings: Vec<&[u8]> = headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    if !codings.is_empty() && !matches!(codings[..], [only] if only.eq_ignore_ascii_case(b"gzip")) {
        return Err(Box::new(outcome::unsupported_content_coding().into_response()));
    }
    match kind.as_str() {
        "application/fhir+xml" | "application/xml" | "text/xml" => Ok("application/fhir+xml".to_owned()),
        "application/fhir+json" | "application/json" => Ok("application/fhir+json".to_owned()),
        _ => Err(unsupported("Content-Type must be application/fhir+xml or application/fhir+json")),
    }
}
