//! Refused sign-ins and tokens in the audit log, so that strangers cannot fill it: of each kind the first of every address is an entry
//! of its own, up to ten addresses a minute; what follows in that minute is counted, and becomes one entry at its end.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use tokio::sync::watch;

use crate::app::App;
use crate::listener::holder;

/// How long refusals of a kind are counted together.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Addresses whose first refusal of a kind is an entry of its own, within the window.
const ADDRESSES_MAX: usize = 10;
/// How often closed windows are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Refusals of the current minute, by what was refused and kind. Kinds are texts of ours, so there are few.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<Kind, Window>>);

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Token,
    SignIn,
}

impl What {
    fn refused(self) -> &'static str {
        match self {
            Self::Token => "token refused",
            Self::SignIn => "sign-in refused",
        }
    }
}

/// What was refused, and why.
type Kind = (What, String);

struct Window {
    opened: Timestamp,
    addresses: HashSet<IpAddr>,
    counted: u64,
}

/// Refusals that have no entry of their own.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    kind: Kind,
    since: Timestamp,
    number: u64,
}

impl Counted {
    fn told(&self) -> String {
        let Self { kind: (what, why), since, number } = self;
        format!("{} {number} more times since {since}: {why}", what.refused())
    }
}

impl Refusals {
    /// Takes a refusal in; true when it is to be an entry of its own.
    fn is_first(&self, kind: &Kind, address: IpAddr, now: Timestamp) -> bool {
        let mut windows = self.0.lock().expect("no holder of it panics");
        let fresh = || Window { opened: now, addresses: HashSet::new(), counted: 0 };
        let window = windows.entry(kind.clone()).or_insert_with(fresh);
        // What is counted must first be told, by whoever looks for closed windows.
        if now.duration_since(window.opened) >= WINDOW && window.counted == 0 {
            *window = fresh();
        }
        let address = holder(address);
        if !window.addresses.contains(&address) && window.addresses.len() < ADDRESSES_MAX {
            window.addresses.insert(address);
            return true;
        }
        window.counted += 1;
        false
    }

    /// Takes out what is counted: of the windows that are closed at this moment, or of all.
    fn take(&self, closed_at: Option<Timestamp>) -> Vec<Counted> {
        let mut windows = self.0.lock().expect("no holder of it panics");
        let mut taken = Vec::new();
        windows.retain(|kind, window| {
            if closed_at.is_some_and(|now| now.duration_since(window.opened) < WINDOW) {
                return true;
            }
            if window.counted > 0 {
                taken.push(Counted { kind: kind.clone(), since: window.opened, number: window.counted });
            }
            false
        });
        taken
    }

    /// Brings what could not be written back, so that it is written later.
    fn put_back(&self, counted: Vec<Counted>) {
        let mut windows = self.0.lock().expect("no holder of it panics");
        for Counted { kind, since, number } in counted {
            let window = Window { opened: since, addresses: HashSet::new(), counted: 0 };
            let window = windows.entry(kind).or_insert(window);
            window.opened = window.opened.min(since);
            window.counted += number;
        }
    }
}

/// Puts a refusal into the audit log, or counts it; `shown` is the name of the token that was refused, where one was
/// ([`onward_core::audit::under`]).
///
/// # Errors
/// When it is to be an entry of its own and cannot be written.
pub(super) async fn record(
    app: &App,
    kind: &str,
    shown: Option<String>,
    address: IpAddr,
    request_id: Option<String>,
) -> Result<(), onward_core::store::StoreError> {
    written(app, (What::Token, kind.to_owned()), shown, address, request_id).await
}

/// The same of a person whom an identity provider did not vouch for.
///
/// # Errors
/// As [`record`].
pub(crate) async fn record_sign_in(
    app: &App,
    kind: &str,
    address: IpAddr,
    request_id: Option<String>,
) -> Result<(), onward_core::store::StoreError> {
    written(app, (What::SignIn, kind.to_owned()), None, address, request_id).await
}

async fn written(
    app: &App,
    kind: Kind,
    shown: Option<String>,
    address: IpAddr,
    request_id: Option<String>,
) -> Result<(), onward_core::store::StoreError> {
    let now = app.gateway.clock().now();
    if !app.refusals.is_first(&kind, address, now) {
        return Ok(());
    }
    let (what, why) = kind;
    let detail = format!("{}: {why}", what.refused());
    let mut entry = AuditEntry { request_id, ..entry(now, detail) };
    entry.agent.under.extend(shown);
    app.gateway.store().audit(vec![app.gateway.journal().row(&entry)]).await
}

/// Writes what is counted whenever a window closes, until `stop` turns true, and then the rest.
pub(crate) async fn tell_until(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        let stopped = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let now = app.gateway.clock().now();
        tell(&app, (!stopped).then_some(now)).await;
        if stopped {
            return;
        }
    }
}

async fn tell(app: &App, closed_at: Option<Timestamp>) {
    let counted = app.refusals.take(closed_at);
    if counted.is_empty() {
        return;
    }
    let now = app.gateway.clock().now();
    let rows = counted.iter().map(|counted| {
        let text = counted.told();
        app.gateway.journal().row(&entry(now, text))
    });
    if let Err(error) = app.gateway.store().audit(rows.collect()).await {
        tracing::error!(%error, "counted refusals could not be audited; they are kept");
        app.refusals.put_back(counted);
    }
}

fn entry(now: Timestamp, detail: String) -> AuditEntry {
    let nobody = Agent::named("unauthenticated", None);
    AuditEntry { success: false, ..AuditEntry::new(AuditWord::Deny, now, nobody, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).expect("in range")
    }

    fn token(why: &str) -> Kind {
        (What::Token, why.to_owned())
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_first_of_each_kind_and_address_counts_alone_and_the_rest_together() {
        let refusals = Refusals::default();
        assert!(refusals.is_first(&token("exp has passed"), address(1), at(0)));
        assert!(refusals.is_first(&token("kid is missing"), address(1), at(1)), "another kind");
        assert!(refusals.is_first(&token("exp has passed"), address(2), at(1)), "another address");
        for _ in 0..10_000 {
            assert!(!refusals.is_first(&token("exp has passed"), address(1), at(2)));
        }
        assert!(refusals.take(Some(at(59))).is_empty(), "the minute is not over");
        let told = refusals.take(Some(at(60)));
        let expected = Counted { kind: token("exp has passed"), since: at(0), number: 10_000 };
        assert_eq!(told, [expected], "of the other kind there was but one");
        assert!(refusals.is_first(&token("exp has passed"), address(1), at(61)), "a new minute");
    }

    #[test]
    fn a_refused_sign_in_is_told_as_one() {
        let refusals = Refusals::default();
        let sign_in = (What::SignIn, "exp has passed".to_owned());
        for kind in [&token("exp has passed"), &sign_in] {
            assert!(refusals.is_first(kind, address(1), at(0)), "each is counted for itself");
            assert!(!refusals.is_first(kind, address(1), at(1)));
        }
        let told: Vec<String> = refusals.take(None).iter().map(Counted::told).collect();
        let since = at(0);
        assert_eq!(
            told,
            ["token", "sign-in"].map(|what| format!("{what} refused 1 more times since {since}: exp has passed"))
        );
    }

    #[test]
    fn many_addresses_are_few_entries() {
        let refusals = Refusals::default();
        let entries =
            (0..=255).filter(|last| refusals.is_first(&token("exp has passed"), address(*last), at(0))).count();
        assert_eq!(entries, ADDRESSES_MAX);
        assert_eq!(refusals.take(None)[0].number, 246);
    }

    #[test]
    fn what_is_counted_is_never_forgotten() {
        let refusals = Refusals::default();
        assert!(refusals.is_first(&token("exp has passed"), address(1), at(0)));
        assert!(!refusals.is_first(&token("exp has passed"), address(1), at(1)));
        // The window is over, and nobody has looked yet.
        assert!(!refusals.is_first(&token("exp has passed"), address(1), at(300)));
        let taken = refusals.take(Some(at(300)));
        assert_eq!(taken[0].number, 2);
        // The store failed; refusals go on meanwhile.
        assert!(refusals.is_first(&token("exp has passed"), address(1), at(301)));
        assert!(!refusals.is_first(&token("exp has passed"), address(1), at(302)));
        refusals.put_back(taken);
        assert_eq!(refusals.take(Some(at(303)))[0].number, 3);
        assert!(refusals.take(None).is_empty());
    }
}
