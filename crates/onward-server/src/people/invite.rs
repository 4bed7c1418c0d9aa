//! Making the link by which a person sets an account up.

use jiff::{SignedDuration, Timestamp};
use onward_core::people::Invitation;
use onward_core::store::StoreError;

use super::cookie::Token;

/// An invitation to store, and the path that its link leads to.
pub struct Invited {
    /// For the store.
    pub invitation: Invitation,
    /// Path of the link. Whoever has it becomes the account's owner: it is shown once and kept nowhere.
    pub path: String,
}

/// A new invitation, good for so long from now.
///
/// # Errors
/// When the machine gives no randomness.
pub fn invite(now: Timestamp, good_for: SignedDuration) -> Result<Invited, StoreError> {
    let token = Token::random()?;
    let expires = now.checked_add(good_for).unwrap_or(Timestamp::MAX);
    let invitation = Invitation { hash: token.hash(), expires };
    Ok(Invited { invitation, path: format!("/invitation/{}", token.text()) })
}
