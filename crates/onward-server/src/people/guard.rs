//! What stands before every page: where a form came from, whose session it is, and whether the role has the function.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use onward_core::UserId;
use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::people::{Session, User};
use onward_core::store::StoreError;
use url::Url;

use super::fresh::is_fresh;
use super::{Asked, SignedIn, cookie, page, unsent};
use crate::api::{Access, request_id};
use crate::app::App;
use crate::auth::table::person_may;
use crate::pages::trouble;

/// A session's use is noted this often, and not with every request.
const TOUCH: SignedDuration = SignedDuration::from_secs(30);
/// Longest address that a sign-in leads back to.
const NEXT_BYTES_MAX: usize = 512;
/// Everything a page loads is our own, and nothing runs that stands in it (trust.md §2).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                       font-src 'none'; object-src 'none'; connect-src 'self'; form-action 'self'; \
                                       base-uri 'none'; frame-ancestors 'none'";

/// What stands before one route of a page.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) access: Access,
    /// How many parts of the path lead to the page as it can be looked at.
    pub(crate) page: usize,
}

impl Door {
    /// The address of the page that a request is about: its own, or the one that its form stands on.
    fn page(&self, request: &Request) -> String {
        let uri = request.uri();
        match (reads(request), uri.path_and_query()) {
            (true, Some(whole)) => whole.as_str().to_owned(),
            _ => {
                let parts: Vec<&str> = uri.path().split('/').skip(1).take(self.page).collect();
                format!("/{}", parts.join("/"))
            }
        }
    }
}

fn reads(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The layer of a page's route.
pub(crate) async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let app = Arc::clone(&door.app);
    let asked = (request.headers().clone(), request.uri().path().to_owned());
    let (response, who) = match admit(&door, &mut request).await {
        Ok(who) => (next.run(request).await, who),
        Err(Refused::Here(who, response)) => (response, Some(who)),
        Err(Refused::Out(response)) => (response, None),
        Err(Refused::Unsent(whose)) => (unsent::signed_out(whose, request).await, None),
        Err(Refused::Stale(who)) => {
            let back = door.page(&request);
            let response = match crate::api::body::is_form(request.headers()) && !reads(&request) {
                true => unsent::stale(&who, request).await,
                false => to_sign_in(Some(&back), true),
            };
            (response, Some(who))
        }
    };
    secured(trouble::told(&app, response, &asked.0, &asked.1, who.as_ref()).await)
}

/// Why a request does not reach its page.
enum Refused {
    /// Somebody who is signed in may not.
    Here(SignedIn, Response),
    /// Nobody is signed in.
    Out(Response),
    /// What is asked for wants a sign-in that is fresher than this person's.
    Stale(SignedIn),
    /// Nobody is signed in any more, and a form was sent: by this person, as far as is known.
    Unsent(Option<UserId>),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Out(page::store(error))
    }
}

/// 404 for a page that no route has.
pub(super) async fn nowhere(app: &App, headers: &HeaderMap, path: &str) -> Response {
    let found = session(app, headers).await.ok().flatten();
    let now = app.gateway.clock().now();
    let asked = || Asked { page: "/".to_owned(), request_id: None };
    let who = found.map(|(session, user)| SignedIn::of(&session, user, &app.people, now, asked()));
    let missing = trouble::trouble(StatusCode::NOT_FOUND);
    secured(trouble::told(app, missing, headers, path, who.as_ref()).await)
}

/// With the headers that every page has.
pub(super) fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Who asks, where the page needs somebody and they may.
async fn admit(door: &Door, request: &mut Request) -> Result<Option<SignedIn>, Refused> {
    let (app, reads) = (&*door.app, reads(request));
    if !reads && !is_from_our_pages(request.headers(), &app.people.origin) {
        return Err(Refused::Out(page::cross_site()));
    }
    let function = match door.access {
        Access::Page(action) | Access::Fresh(action) => Some(action),
        Access::SignedIn => None,
        Access::Open | Access::Visitor | Access::Function(_) => return Ok(None),
    };
    let Some((session, user)) = session(app, request.headers()).await? else {
        // What an account's own forms hold, passwords among it, is not given back.
        if !reads && function.is_some() && crate::api::body::is_form(request.headers()) {
            return Err(Refused::Unsent(whose(app, request.headers()).await?));
        }
        let back = reads.then(|| request.uri().path_and_query()).flatten();
        return Err(Refused::Out(to_sign_in(back.map(|path| path.as_str()), false)));
    };
    let asked = Asked { page: door.page(request), request_id: request_id(request.headers()) };
    let signed_in = SignedIn::of(&session, user, &app.people, app.gateway.clock().now(), asked);
    if let Some(action) = function.filter(|action| !person_may(signed_in.role, *action)) {
        let detail = format!("role {} has no function {action:?}", signed_in.role);
        let entry = AuditEntry {
            success: false,
            request_id: signed_in.request_id.clone(),
            ..AuditEntry::new(AuditWord::Deny, app.gateway.clock().now(), signed_in.agent(), detail)
        };
        app.gateway.store().audit(vec![app.gateway.journal().row(&entry)]).await?;
        return Err(Refused::Here(signed_in, page::forbidden()));
    }
    if !reads && !unsent::is_by(request.uri(), signed_in.user) {
        return Err(Refused::Here(signed_in, page::anothers()));
    }
    if matches!(door.access, Access::Fresh(_)) && !is_fresh(&signed_in, app) {
        return Err(Refused::Stale(signed_in));
    }
    request.extensions_mut().insert(signed_in.clone());
    Ok(Some(signed_in))
}

/// Whose session it was that is over now, while the store still knows.
async fn whose(app: &App, headers: &HeaderMap) -> Result<Option<UserId>, StoreError> {
    let Some(hash) = cookie::hash_of(headers, cookie::SESSION) else { return Ok(None) };
    let found = app.gateway.store().session(&hash, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH).await?;
    Ok(found.map(|(_, user)| user.id))
}

/// The session of a request, if it is good; its use is noted.
///
/// # Errors
/// When the store cannot be used.
pub(super) async fn session(app: &App, headers: &HeaderMap) -> Result<Option<(Session, User)>, StoreError> {
    let Some(hash) = cookie::hash_of(headers, cookie::SESSION) else { return Ok(None) };
    let now = app.gateway.clock().now();
    let store = app.gateway.store();
    let (seen_since, authenticated_since) = app.people.good_since(now);
    let mut found = store.session(&hash, seen_since, authenticated_since).await?;
    if let Some((session, _)) = &mut found
        && now.duration_since(session.last_seen) > TOUCH
        && !is_a_scripts(headers)
    {
        store.touch_session(&hash, now).await?;
        session.last_seen = now;
    }
    Ok(found)
}

/// Whether a script of a page asks, and not a person: a board that stands on a screen keeps nobody signed in.
fn is_a_scripts(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|destination| destination == "empty")
}

/// Whether a request that changes something comes from our own pages (trust.md §6, row 110). Every browser since 2023 says so
/// by `Sec-Fetch-Site`; an older one by `Origin`. One that says neither is no browser that our pages are made for.
fn is_from_our_pages(headers: &HeaderMap, origin: &str) -> bool {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    match headers.contains_key("sec-fetch-site") {
        true => only("sec-fetch-site") == Some("same-origin"),
        false => only("origin") == Some(origin),
    }
}

/// To the sign-in, and from there back to this page of ours.
pub(super) fn to_sign_in(back: Option<&str>, again: bool) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(back) = back.and_then(local) {
        query.append_pair("next", back);
    }
    if again {
        query.append_pair("again", "1");
    }
    let query = query.finish();
    see_other(&if query.is_empty() { "/sign-in".to_owned() } else { format!("/sign-in?{query}") })
}

/// 303.
pub(super) fn see_other(target: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, target)]).into_response()
}

/// The address, when it is a page of ours: nobody's link leads elsewhere through the sign-in.
pub(super) fn local(address: &str) -> Option<&str> {
    let plain = address.len() <= NEXT_BYTES_MAX
        && address.starts_with('/')
        && !address.starts_with("//")
        && address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let base = Url::parse("https://here.invalid").expect("a URL");
    let stays = plain && base.join(address).is_ok_and(|url| url.origin() == base.origin());
    stays.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_our_own_pages_only() {
        for good in ["/", "/inbox?state=new&n=2", "/transfers/3f2b0c9e"] {
            assert_eq!(local(good), Some(good));
        }
        let bad =
            ["", "inbox", "//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/\n", "/\t/x", "/é"];
        for bad in bad {
            assert_eq!(local(bad), None, "{bad:?}");
        }
        assert_eq!(local(&format!("/{}", "a".repeat(NEXT_BYTES_MAX))), None);
        let answer = to_sign_in(Some("/inbox?a=1&b=2"), true);
        assert_eq!(answer.headers()["location"], "/sign-in?next=%2Finbox%3Fa%3D1%26b%3D2&again=1");
        assert_eq!(to_sign_in(Some("//evil.example"), false).headers()["location"], "/sign-in");
    }

    #[test]
    fn only_our_own_pages_change_anything() {
        let from = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            is_from_our_pages(&headers, "https://onward.example")
        };
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(from(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(from(&[("origin", "https://onward.example")]));
        for bad in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://onward.example")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null")],
            &[("origin", "http://onward.example")],
            &[("origin", "https://onward.example:444")],
            &[("origin", "https://onward.example"), ("origin", "https://evil.example")],
        ] {
            assert!(!from(bad), "{bad:?}");
        }
    }
}
