//! How many sign-ins may fail. Nobody can lock somebody else out: what strangers do elsewhere does not count against a
//! browser that the account has signed in from, and little against other addresses.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use onward_core::people::User;
use onward_core::store::StoreError;
use onward_core::store::people::FailedAttempt;

use super::sha256;
use crate::app::App;
use crate::listener::holder;

/// How far back failed sign-ins count.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// How long they are kept.
pub(super) const KEEP: SignedDuration = SignedDuration::from_hours(24);
/// On one account from one address or known browser.
const PAIR_MAX: u64 = 5;
/// From one address: a home's whole staff may share one.
const ADDRESS_MAX: u64 = 50;
/// On one account from everywhere, by browsers that it has not signed in from.
const ACCOUNT_MAX: u64 = 100;
/// With the right password and a wrong code. Only whoever knows the password can use this up.
const SECOND_FACTOR_MAX: u64 = 10;

/// One try to sign in, as it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    account: [u8; 32],
    origin: [u8; 32],
    known: bool,
}

impl Attempt {
    /// By this browser, from this address, on the account with this e-mail address, whether there is one or not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn new(
        app: &App,
        email: &str,
        user: Option<&User>,
        device: Option<[u8; 32]>,
        address: IpAddr,
    ) -> Result<Self, StoreError> {
        let store = app.gateway.store();
        let now = app.gateway.clock().now();
        // Asked for accounts that do not exist too: it must not take less time.
        let id = user.map_or(onward_core::UserId(uuid::Uuid::nil()), |user| user.id);
        let device = device.unwrap_or_default();
        let known = store.knows_device(id, &device, now).await?;
        let origin = if known { device } else { sha256(holder(address).to_string().as_bytes()) };
        Ok(Self { account: sha256(email.as_bytes()), origin, known })
    }

    /// Whether it may be made now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn allowed(&self, app: &App) -> Result<bool, StoreError> {
        let since = app.gateway.clock().now().checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
        let failed = app.gateway.store().failures(&self.account, &self.origin, since).await?;
        Ok(failed.pair < PAIR_MAX
            && (self.known
                || failed.address < ADDRESS_MAX
                    && failed.account < ACCOUNT_MAX
                    && failed.second_factor < SECOND_FACTOR_MAX))
    }

    /// Whether its address, or known browser, may try anything now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn address_allowed(&self, app: &App) -> Result<bool, StoreError> {
        let since = app.gateway.clock().now().checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
        let failed = app.gateway.store().failures(&self.account, &self.origin, since).await?;
        Ok(failed.address < ADDRESS_MAX)
    }

    /// That it failed.
    pub(super) fn failed(&self, second_factor: bool, at: Timestamp) -> FailedAttempt {
        FailedAttempt { account: self.account, address: self.origin, second_factor, at }
    }
}

/// When to try again, seconds.
pub(super) fn retry_after_seconds() -> i64 {
    WINDOW.as_secs()
}
