//! Pages as answers: a template, a status, and for errors the plain words.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use onward_core::store::StoreError;

use super::throttle;
use crate::pages::trouble::{Trouble, trouble};
use crate::pages::{store_failed, written};

/// A template with its status.
pub(super) fn of(status: StatusCode, template: &impl Template) -> Response {
    match written(template) {
        Some(text) => (status, Html(text)).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, Html("")).into_response(),
    }
}

fn message(status: StatusCode, title: &'static str, text: &'static str) -> Response {
    Trouble::new(title, text).answer(status)
}

/// 403: the role has no such function.
pub(super) fn forbidden() -> Response {
    trouble(StatusCode::FORBIDDEN)
}

/// 409: somebody else wrote it, who was signed in here before.
pub(super) fn anothers() -> Response {
    let text = "What was sent was written by somebody else, who was signed in here before. Nothing was sent, so that it does not \
                go out under your name. They can send it when they have signed in.";
    message(StatusCode::CONFLICT, "Somebody else wrote this", text)
}

/// 403: the form came from elsewhere.
pub(super) fn cross_site() -> Response {
    let text = "What was sent did not come from a page of this service, so nothing was done. Go back to the page and try \
                again; if that does not help, your browser may be too old.";
    message(StatusCode::FORBIDDEN, "Nothing was done", text)
}

/// 404.
pub(super) fn not_found() -> Response {
    trouble(StatusCode::NOT_FOUND)
}

/// 404: an invitation that does not work.
pub(super) fn no_invitation() -> Response {
    let text = "The link has been used, is too old, or is not complete. Ask whoever sent it for a new one.";
    message(StatusCode::NOT_FOUND, "This invitation does not work", text)
}

/// 429: too many sign-ins are begun from one address.
pub(super) fn too_many_begun() -> Response {
    message(StatusCode::TOO_MANY_REQUESTS, "Too many sign-ins at once", throttle::NETWORK_CROWDED)
}

/// 401: whoever comes back from an identity provider is not whom we sent there, or comes too late.
pub(super) fn not_this_browser() -> Response {
    let text = "This sign-in was begun in another browser, was finished before, or took too long. Begin again.";
    let mut response = message(StatusCode::UNAUTHORIZED, "The sign-in could not be finished", text);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Page"));
    response
}

/// 403: the identity provider did not vouch for somebody who has an account here.
pub(super) fn not_vouched() -> Response {
    let text = "There is no account here for the person that you signed in as, or the sign-in there was not strong enough. \
                Ask whoever runs this service for an invitation link.";
    message(StatusCode::FORBIDDEN, "You cannot sign in this way", text)
}

/// 503: the identity provider cannot be used.
pub(super) fn provider_unreachable() -> Response {
    let text = "The service that you would sign in with does not answer as it should. Try again in a few minutes, or sign in \
                another way.";
    let mut response = message(StatusCode::SERVICE_UNAVAILABLE, "Sorry, there is a problem", text);
    response.headers_mut().insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static("60"));
    response
}

/// 400.
pub(super) fn bad_request() -> Response {
    let text = "What was sent cannot be read. Go back and try again.";
    message(StatusCode::BAD_REQUEST, "Something was missing", text)
}

/// 500.
pub(super) fn fault() -> Response {
    let text = "Something went wrong here. Nothing was shown. Try again, or tell whoever runs this service.";
    message(StatusCode::INTERNAL_SERVER_ERROR, "Sorry, there is a problem", text)
}

/// 503 where nothing can be recorded, so that nothing is shown; 410 for what was erased, 500 for what cannot be read.
pub(super) fn store(error: StoreError) -> Response {
    store_failed(&error)
}
