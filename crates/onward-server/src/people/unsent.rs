//! A form that came when its sender was signed out already, or had signed in too long ago for what it asks. Nothing of it is done, and what
//! was written goes back in the answer, so that it is not lost. It is kept nowhere: not here, not in a cookie, not in an address. Whoever
//! signs in again, in another tab, sends it from there, if it is the same person.

use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use onward_core::UserId;

use super::{SignedIn, page};
use crate::api::body;
use crate::pages::Shell;
use crate::pages::components::Field;

/// Largest form that is given back; no field of ours takes more words.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// In the address that a form is sent to once more: whose it is.
const BY: &str = "by";
/// Fields that a person writes, and what each is called.
const WRITTEN: [(&str, &str); 3] =
    [("words", "What you wrote"), ("reason", "The reason that you gave"), ("agency", "Who else came")];

#[derive(Template)]
#[template(path = "people/unsent.html")]
struct Unsent {
    shell: Shell,
    /// Where it can be sent to again; empty when it is not known whose it is.
    action: String,
    written: Vec<Field>,
    others: Vec<(String, String)>,
    /// Somebody is signed in, not lately enough.
    stale: bool,
}

/// The answer to a form of this person, as far as they are known, who is signed out.
pub(super) async fn signed_out(whose: Option<UserId>, request: Request) -> Response {
    answer(whose, Shell::nobody(), false, request).await
}

/// The answer to a form of this person, whose sign-in is not fresh enough for it.
pub(super) async fn stale(who: &SignedIn, request: Request) -> Response {
    answer(Some(who.user), Shell::of(who, &who.codes()), true, request).await
}

async fn answer(whose: Option<UserId>, shell: Shell, stale: bool, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Ok(body) = body::read(request.into_body(), FORM_BYTES_MAX).await else { return page::bad_request() };
    let (mut written, mut others) = (Vec::new(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(&body) {
        match WRITTEN.iter().find(|(own, _)| *own == name) {
            Some((_, label)) if !value.trim().is_empty() => {
                let id = format!("written-{}", written.len() + 1);
                written.push(Field { id, value: value.into_owned(), ..Field::new(&name, label) });
            }
            _ => others.push((name.into_owned(), value.into_owned())),
        }
    }
    let action = whose.map(|user| format!("{path}?{BY}={user}")).unwrap_or_default();
    let template = Unsent { shell, action, written, others, stale };
    let mut response = page::of(StatusCode::UNAUTHORIZED, &template);
    // RFC 9110 §15.5.2 asks for one; no browser knows this scheme, so each shows the page.
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Page"));
    response
}

/// Whether a form that says whose it is is this person's. On a computer that several share, nobody sends another's words.
pub(super) fn is_by(uri: &Uri, user: UserId) -> bool {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.filter(|(name, _)| name == BY).all(|(_, value)| value == user.to_string())
}
