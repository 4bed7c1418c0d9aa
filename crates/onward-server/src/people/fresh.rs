//! Re-authentication: what is grave wants a person who was recognised minutes ago.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use jiff::SignedDuration;

use super::{SignedIn, guard};
use crate::app::App;

/// How long a sign-in is fresh (trust.md §8: five minutes).
const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// Whether the person was recognised so lately.
pub(super) fn is_fresh(signed_in: &SignedIn, app: &App) -> bool {
    app.gateway.clock().now().duration_since(signed_in.authenticated_at) <= FRESH
}

/// A person who signed in at most five minutes ago; anybody else is sent to do so again and comes back. For exports,
/// erasure and the like.
#[derive(Debug, Clone)]
pub struct Fresh(pub SignedIn);

impl FromRequestParts<Arc<App>> for Fresh {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let signed_in = SignedIn::from_request_parts(parts, app).await?;
        if is_fresh(&signed_in, app) {
            return Ok(Self(signed_in));
        }
        let back = (parts.method == Method::GET).then(|| parts.uri.path_and_query()).flatten();
        Err(guard::to_sign_in(back.map(|path| path.as_str()), true))
    }
}
