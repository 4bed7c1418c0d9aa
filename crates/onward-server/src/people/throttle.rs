//! How many sign-ins may fail. Nobody can lock somebody else out: what strangers do elsewhere does not count against a
//! browser that the account has signed in from, and little against other addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

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

/// Sign-ins with a passkey or at an identity provider that one address may begin in [`MINUTE`]: a hospital's whole staff may
/// share one, and each is a row that anybody can have us write.
const BEGUN_MAX: u32 = 120;
/// How long sign-ins that were begun are counted together.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// What people read whose address has had its share.
pub(super) const NETWORK_CROWDED: &str = "Many people are signing in from your network. Try again in a minute.";
/// What people read when too many wait for their turn with a password.
pub(super) const CROWDED: &str = "Many people are signing in. Try again in a minute.";

/// Sign-ins that were begun lately, by address. Failures do not count here: who will sign in is not known yet, so that a browser that
/// the account has signed in from could not be told from strangers behind the same address.
#[derive(Debug, Default)]
pub(super) struct Beginnings(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    since: Timestamp,
    by_address: HashMap<IpAddr, u32>,
}

impl Beginnings {
    /// Counts one more from this address; `false` when it has had its share.
    pub(super) fn begin(&self, address: IpAddr, now: Timestamp) -> bool {
        let mut lately = self.0.lock().expect("no holder of it panics");
        if now.duration_since(lately.since).abs() >= MINUTE {
            // The addresses of a minute that is over are forgotten, so that strangers cannot fill the memory.
            *lately = Lately { since: now, by_address: HashMap::new() };
        }
        let begun = lately.by_address.entry(holder(address)).or_default();
        let allowed = *begun < BEGUN_MAX;
        *begun += u32::from(allowed);
        allowed
    }
}

/// After how long an address may begin sign-ins again, seconds.
pub(super) fn begin_after_seconds() -> i64 {
    MINUTE.as_secs()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_begins_its_share_of_sign_ins_a_minute() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).expect("in range");
        let beginnings = Beginnings::default();
        for _ in 0..BEGUN_MAX {
            assert!(beginnings.begin(address("2001:db8::1"), at(0)));
        }
        assert!(!beginnings.begin(address("2001:db8::2"), at(59)), "whoever has one address has the /64");
        assert!(beginnings.begin(address("192.0.2.1"), at(59)), "others have theirs");
        assert!(beginnings.begin(address("2001:db8::1"), at(60)));
        assert!(beginnings.begin(address("2001:db8::1"), at(-60)), "a clock that was set back");
        assert_eq!(beginnings.0.lock().expect("whole").by_address.len(), 1, "what is over is forgotten");
    }
}
