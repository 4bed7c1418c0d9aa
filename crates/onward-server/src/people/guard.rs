//! What stands before every page: where a form came from, whose session it is, and whether the role has the function.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use jiff::SignedDuration;
use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::people::{Session, User};
use onward_core::store::StoreError;
use url::Url;

use super::{SignedIn, cookie, page};
use crate::api::{Access, request_id};
use crate::app::App;
use crate::auth::table::person_may;
use crate::pages::addressed;

/// A session's use is noted this often, and not with every request.
const TOUCH: SignedDuration = SignedDuration::from_secs(30);
/// Longest address that a sign-in leads back to.
const NEXT_BYTES_MAX: usize = 512;
/// Everything a page loads is our own, and nothing runs that stands in it (trust.md §2).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                       font-src 'none'; object-src 'none'; connect-src 'self'; form-action 'self'; \
                                       base-uri 'none'; frame-ancestors 'none'";

/// The layer of a page's route.
pub(crate) async fn guard(State((app, access)): State<(Arc<App>, Access)>, request: Request, next: Next) -> Response {
    secured(match admit(&app, access, request).await {
        Ok(request) => {
            let who = request.extensions().get::<SignedIn>().cloned();
            let response = next.run(request).await;
            match who {
                Some(who) => addressed(&app, &who, response).await,
                None => response,
            }
        }
        Err(response) => response,
    })
}

/// With the headers that every page has.
pub(super) fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

async fn admit(app: &App, access: Access, mut request: Request) -> Result<Request, Response> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !is_from_our_pages(request.headers(), &app.people.origin) {
        return Err(page::cross_site());
    }
    let function = match access {
        Access::Page(action) => Some(action),
        Access::SignedIn => None,
        Access::Open | Access::Visitor | Access::Function(_) => return Ok(request),
    };
    let Some((session, user)) = session(app, request.headers()).await.map_err(page::store)? else {
        let back = reads.then(|| request.uri().path_and_query()).flatten();
        return Err(to_sign_in(back.map(|path| path.as_str()), false));
    };
    let signed_in = SignedIn::of(&session, user, request_id(request.headers()));
    if let Some(action) = function.filter(|action| !person_may(signed_in.role, *action)) {
        let detail = format!("role {} has no function {action:?}", signed_in.role);
        let entry = AuditEntry {
            success: false,
            request_id: signed_in.request_id.clone(),
            ..AuditEntry::new(AuditWord::Deny, app.gateway.clock().now(), signed_in.agent(), detail)
        };
        app.gateway.store().audit(vec![app.gateway.journal().row(&entry)]).await.map_err(page::store)?;
        return Err(addressed(app, &signed_in, page::forbidden()).await);
    }
    request.extensions_mut().insert(signed_in);
    Ok(request)
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
    let found = store.session(&hash, seen_since, authenticated_since).await?;
    if let Some((session, _)) = &found
        && now.duration_since(session.last_seen) > TOUCH
        && !is_a_scripts(headers)
    {
        store.touch_session(&hash, now).await?;
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
