//! `GET /fhir/R4/Bundle/{id}`: a recipient reads its copy.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};

use super::edge;
use crate::app::App;
use crate::auth::table::Action;
use crate::listener::ClientCertificate;
use crate::outcome;

/// Releases the copy in the form that `Accept` asks for.
pub async fn get(
    State(app): State<Arc<App>>,
    certificate: Option<Extension<ClientCertificate>>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET {
        // A HEAD would count as a reading and show nothing.
        return outcome::method_not_allowed().into_response();
    }
    let caller = match super::allowed(&app, &headers, certificate, Action::ReadRendition).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(id) = id.parse() else { return outcome::not_found().into_response() };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let Some(form) = Form::of(accept) else {
        return outcome::not_acceptable("Accept: application/fhir+json, application/fhir+xml or text/html")
            .into_response();
    };
    let rendition = match app.gateway.open(&caller.client, id, caller.request_id.as_deref()).await {
        Ok(Some(rendition)) => rendition,
        Ok(None) => return outcome::not_found().into_response(),
        Err(error) => return outcome::store(&error).into_response(),
    };
    match form {
        Form::Html => match rendition.html {
            Some(html) => page(html),
            None => outcome::not_acceptable("this copy has no page for people; ask for FHIR").into_response(),
        },
        Form::Fhir { xml } => fhir(rendition.media_type, rendition.body, xml),
    }
}

enum Form {
    Html,
    Fhir { xml: Option<bool> },
}

impl Form {
    fn of(accept: &str) -> Option<Self> {
        accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim()).find_map(|kind| match kind {
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            edge::FHIR_XML | "application/xml" | "text/xml" => Some(Self::Fhir { xml: Some(true) }),
            edge::FHIR_JSON | "application/json" => Some(Self::Fhir { xml: Some(false) }),
            "*/*" | "application/*" => Some(Self::Fhir { xml: None }),
            _ => None,
        })
    }
}

fn fhir(media_type: String, body: Vec<u8>, xml: Option<bool>) -> Response {
    let is_json = media_type.starts_with(edge::FHIR_JSON);
    if is_json && xml == Some(true) {
        return match edge::xml_of(&Bytes::from(body)) {
            Some(text) => ([(header::CONTENT_TYPE, edge::FHIR_XML)], text).into_response(),
            None => {
                outcome::not_acceptable("this copy cannot be written as XML without loss; ask for JSON").into_response()
            }
        };
    }
    ([(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// A page that runs nothing and fetches nothing.
fn page(html: Vec<u8>) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
