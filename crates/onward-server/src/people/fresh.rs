//! Re-authentication: what is grave wants a person who was recognised minutes ago.

use jiff::SignedDuration;

use super::SignedIn;
use crate::app::App;

/// How long a sign-in is fresh (trust.md §8: five minutes).
const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// Whether the person was recognised so lately.
pub(super) fn is_fresh(signed_in: &SignedIn, app: &App) -> bool {
    app.gateway.clock().now().duration_since(signed_in.authenticated_at) <= FRESH
}
