//! What stands around every request: identifiers mirrored, answers in the form asked for, no store in caches,
//! one log line without patient data, and a panic that stays with its own request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use onward_fhir::message::release_of;
use onward_fhir::read::{self, Limits};
use onward_fhir::write;
use onward_gateway::journal::asked_from;
use tracing::Instrument as _;

use super::accept::{self, Form};
use crate::app::App;
use crate::listener::Peer;
use crate::outcome::{self, Outcome};
use crate::traces;

/// The route of a recipient's copy.
const COPY: &str = "/fhir/R4/Bundle/{id}";
/// The route whose findings are a page, too.
const FINDINGS: &str = "/fhir/R4/Bundle/$validate";
/// Longest path and query.
const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Names and values of all headers.
const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// What an answer that is no page may do in a browser.
pub(crate) const NOTHING_RUNS: &str =
    "default-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// FHIR JSON, R4.
pub const FHIR_JSON: &str = "application/fhir+json";
/// FHIR XML, R4.
pub const FHIR_XML: &str = "application/fhir+xml";

/// The layer.
pub async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let request = super::body::lingering(request);
    let started = std::time::Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let request_id = super::request_id(request.headers());
    let span = traces::request(&method, &route, request.headers());
    let mirrored: Vec<_> = ["x-request-id", "x-correlation-id"]
        .into_iter()
        .filter_map(|name| request.headers().get(name).map(|value| (name, value.clone())))
        .collect();
    let plain = mirrored.iter().all(|(_, value)| super::plain_token(value).is_some());
    // A copy has pages for people too: it chooses for itself. Everything else that is FHIR is JSON or XML.
    let chooses = route == COPY || !route.starts_with("/fhir/");
    let offered: &[Form] = if route == FINDINGS { &accept::FINDINGS } else { &accept::FINDINGS[..2] };
    let chosen = accept::choose(request.headers(), request.uri().query(), offered);
    let wants_xml = chosen.is_some_and(|chosen| chosen.form == Form::Xml);
    let mut response = if let Err(outcome) = check_head(&request, &app.public_host) {
        outcome.into_response()
    } else if chosen.is_none() && !chooses {
        // Before anything is done: whoever cannot read the answer must not take the deed for undone.
        outcome::not_acceptable("Accept, or _format: application/fhir+json or application/fhir+xml").into_response()
    } else if plain {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        // Inside what is spawned: a scope around it would not reach it.
        let handling = async move {
            match peer {
                Some(peer) => asked_from(peer, next.run(request)).await,
                None => next.run(request).await,
            }
        };
        // A panic in a handler is answered and logged; the other requests of the connection live on.
        match tokio::spawn(handling.instrument(span.clone())).await {
            Ok(response) => response,
            Err(error) => {
                // Not the error's text: a panic's message may hold what was being read.
                tracing::error!(panicked = error.is_panic(), route, "a handler failed");
                match app.gateway.note_fault(&route, request_id.as_deref()).await {
                    Ok(()) => outcome::fault().into_response(),
                    Err(error) => outcome::store(&error).into_response(),
                }
            }
        }
    } else {
        outcome::bad_request("X-Request-ID and X-Correlation-ID take 1 to 128 letters, digits, '.', '_', ':' or '-'")
            .into_response()
    };
    let status = response.status();
    traces::answered(&span, status);
    let as_text =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if as_text && (status.is_client_error() || status.is_server_error()) {
        response = outcome::of_status(status).into_response();
    }
    if wants_xml && response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == FHIR_JSON) {
        response = as_xml(response).await;
    }
    let headers = response.headers_mut();
    if plain {
        for (name, value) in mirrored {
            headers.insert(name, value);
        }
    }
    for_browsers(headers);
    // Any word may stand where the method does.
    let method = traces::method(&method);
    tracing::info!(
        method,
        route,
        status = response.status().as_u16(),
        micros = started.elapsed().as_micros() as u64,
        "request"
    );
    response
}

/// What a browser or a cache must know of every answer: nothing is kept, nothing is guessed, nothing runs. A page that
/// needs more than nothing has set its own policy.
fn for_browsers(headers: &mut HeaderMap) {
    let put = HeaderValue::from_static;
    // Only what is the same for everybody for good has said otherwise.
    headers.entry(header::CACHE_CONTROL).or_insert(put("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, put("nosniff"));
    headers.insert(header::REFERRER_POLICY, put("no-referrer"));
    headers.insert(header::STRICT_TRANSPORT_SECURITY, put("max-age=31536000; includeSubDomains"));
    headers.insert("cross-origin-resource-policy", put("same-origin"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(put(NOTHING_RUNS));
    // FHIR is UTF-8 always; who reads XML by its media type alone must be told (RFC 7303, section 3).
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == FHIR_XML) {
        headers.insert(header::CONTENT_TYPE, put("application/fhir+xml; charset=utf-8"));
    }
}

/// Which host, how long, and no token where logs would keep it; before anything is looked up or read.
fn check_head(request: &Request, public_host: &str) -> Result<(), Outcome> {
    let (uri, headers) = (request.uri(), request.headers());
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
        return Err(outcome::target_too_long());
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(outcome::headers_too_large());
    }
    // hyper goes by the last of several (RFC 9112 §6.1); whoever stands before us may have gone by another.
    let codings: Vec<&[u8]> = headers.get_all(header::TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    if !codings.is_empty() && !matches!(codings[..], [only] if only.eq_ignore_ascii_case(b"chunked")) {
        return Err(outcome::bad_request("Transfer-Encoding is chunked, named once"));
    }
    let mut named: Vec<&str> = uri.authority().map(Authority::as_str).into_iter().collect();
    for value in headers.get_all(header::HOST) {
        named.push(value.to_str().map_err(|_| outcome::bad_request("Host is not a host"))?);
    }
    if named.is_empty() || headers.get_all(header::HOST).iter().count() > 1 {
        return Err(outcome::bad_request("a request names its host once"));
    }
    for host in named {
        // The port is not compared: forwarders change it.
        let host: Authority = host.parse().map_err(|_| outcome::bad_request("Host is not a host"))?;
        if !host.host().eq_ignore_ascii_case(public_host) {
            return Err(outcome::misdirected());
        }
    }
    let query = uri.query().unwrap_or_default().as_bytes();
    if url::form_urlencoded::parse(query).any(|(name, _)| name == "access_token") {
        return Err(outcome::bad_request("an access token belongs into Authorization, never into the URL"));
    }
    Ok(())
}

async fn as_xml(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else { return outcome::fault().into_response() };
    let Some(xml) = xml_of(&bytes) else { return Response::from_parts(parts, Body::from(bytes)) };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_XML));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(xml))
}

/// FHIR JSON as XML; `None` when it cannot be carried whole.
#[must_use]
pub fn xml_of(json: &[u8]) -> Option<String> {
    let tree = read::json(std::str::from_utf8(json).ok()?, &Limits::default()).ok()?;
    let written = write::xml(tree.root(), release_of(tree.root()));
    written.losses.is_empty().then_some(written.text)
}
