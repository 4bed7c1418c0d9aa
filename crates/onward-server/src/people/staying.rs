//! `/session`: until when somebody is signed in, and a way to put that off that leaves what they write alone.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{SignedIn, cookie, guard, page};
use crate::app::App;
use crate::pages::{OnlyGet, Shell};

#[derive(Template)]
#[template(path = "people/staying.html")]
struct Staying {
    shell: Shell,
}

/// A person's look is a use of the session, as any page is; a script's is none, and tells it how much time is left.
pub(super) async fn get(who: SignedIn, _: OnlyGet) -> Response {
    page::of(StatusCode::OK, &Staying { shell: Shell::of(&who, &who.codes()) })
}

/// Puts the end off. Without JavaScript the answer opens in another tab.
pub(super) async fn post(State(app): State<Arc<App>>, _: SignedIn, headers: HeaderMap) -> Response {
    let Some(hash) = cookie::hash_of(&headers, cookie::SESSION) else { return guard::see_other("/sign-in") };
    match app.gateway.store().touch_session(&hash, app.gateway.clock().now()).await {
        Ok(()) => guard::see_other("/session"),
        Err(error) => page::store(error),
    }
}
