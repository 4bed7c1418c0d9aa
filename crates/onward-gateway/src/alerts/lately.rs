//! What this process raised lately of the kinds that an older version running beside it does not know: that clears them at each of its looks,
//! and nobody is to be told of the same every few seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use onward_core::store::alerts::{AlertKind, Concern};
use uuid::Uuid;

/// The same is raised again after this.
pub(crate) const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// It remembers so many; of more it forgets the oldest.
const REMEMBERED_MAX: usize = 10_000;

/// Kind, subject and step of what was raised, with the moment.
#[derive(Default)]
pub(crate) struct Lately(Mutex<BTreeMap<(AlertKind, Uuid, u32), Timestamp>>);

impl Lately {
    /// Whether this was raised within the hour.
    pub(super) fn knows(&self, concern: &Concern, now: Timestamp) -> bool {
        let key = key(concern);
        self.with(|raised| raised.get(&key).is_some_and(|at| now.duration_since(*at) < AGAIN))
    }

    /// It is raised, by this node or another. Of the mailbox no row tells, and it has its own clock (`mailbox/standing.rs`);
    /// that a replacement was refused no look finds, and no older version clears (`STANDS` in the store).
    pub(super) fn raised(&self, concern: &Concern, now: Timestamp) {
        use AlertKind::{BackgroundFallen, CareDeclined, MailboxChanged, NoticeUnread, OrganisationClosed};
        if !matches!(concern.kind, BackgroundFallen | CareDeclined | NoticeUnread | OrganisationClosed | MailboxChanged)
        {
            return;
        }
        self.with(|raised| {
            raised.retain(|_, at| now.duration_since(*at) < AGAIN);
            if raised.len() >= REMEMBERED_MAX {
                let oldest = raised.iter().min_by_key(|(_, at)| **at).map(|(key, _)| *key);
                oldest.map(|key| raised.remove(&key));
            }
            raised.insert(key(concern), now);
        });
    }

    /// It is over, as this process knows: if it is so again, it is told again, however soon.
    pub(crate) fn over(&self, kind: AlertKind, subject: Uuid) {
        self.with(|raised| raised.retain(|(of, about, _), _| (*of, *about) != (kind, subject)));
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<(AlertKind, Uuid, u32), Timestamp>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn key(concern: &Concern) -> (AlertKind, Uuid, u32) {
    (concern.kind, concern.subject(), concern.step)
}

#[cfg(test)]
mod tests {
    use onward_core::DeliveryId;

    use super::*;

    fn concern(kind: AlertKind, copy: u128, step: u32) -> Concern {
        Concern {
            kind,
            step,
            transfer: None,
            sender: "R9Z".parse().expect("a code"),
            delivery: Some(DeliveryId(Uuid::from_u128(copy))),
            recipient: None,
            hold: None,
            subscription: None,
            work: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_same_is_known_for_an_hour() {
        let (lately, start) = (Lately::default(), Timestamp::UNIX_EPOCH);
        let one = concern(AlertKind::NoticeUnread, 1, 1);
        assert!(!lately.knows(&one, start));
        lately.raised(&one, start);
        let hour = start + AGAIN;
        assert!(lately.knows(&one, hour - SignedDuration::from_secs(1)) && !lately.knows(&one, hour));
        for other in [concern(AlertKind::NoticeUnread, 2, 1), concern(AlertKind::NoticeUnread, 1, 2)] {
            assert!(!lately.knows(&other, start));
        }
        lately.over(AlertKind::NoticeUnread, Uuid::from_u128(2));
        assert!(lately.knows(&one, start), "another is over");
        lately.over(AlertKind::NoticeUnread, Uuid::from_u128(1));
        assert!(!lately.knows(&one, start));
        // What every version knows is told whenever it is so.
        let failed = concern(AlertKind::DeliveryFailed, 1, 1);
        lately.raised(&failed, start);
        assert!(!lately.knows(&failed, start));
    }

    #[test]
    fn what_it_remembers_is_bounded_and_the_oldest_goes() {
        let (lately, start) = (Lately::default(), Timestamp::UNIX_EPOCH);
        let of = |copy: usize| concern(AlertKind::CareDeclined, copy as u128, 1);
        for copy in 0..=REMEMBERED_MAX {
            lately.raised(&of(copy), start + SignedDuration::from_micros(i64::try_from(copy).expect("in range")));
        }
        let now = start + SignedDuration::from_secs(1);
        assert_eq!(lately.with(|raised| raised.len()), REMEMBERED_MAX);
        assert!(!lately.knows(&of(0), now) && lately.knows(&of(1), now) && lately.knows(&of(REMEMBERED_MAX), now));
        lately.raised(&of(0), now + AGAIN);
        assert_eq!(lately.with(|raised| raised.len()), 1, "what is older than the hour is dropped");
    }
}
