//! How our own mailbox stands: when it could be read last, and what cannot be collected. Kept by each process for itself: MESH keeps the
//! messages, and says with every listing which are still there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;
use onward_core::Timestamp;

use super::watching::AGAIN;

/// A message that cannot be collected is tried again after so long, and then after twice as long each time.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// But never later than this: MESH deletes what is not collected within five days.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// How our mailbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When it was listed last; the moment of the first look where it never was.
    pub listed: Timestamp,
    /// Messages in it that could not be collected.
    pub staying: u64,
}

/// What this process knows of our mailbox.
#[derive(Default)]
pub(crate) struct Looks(Mutex<State>);

#[derive(Default)]
struct State {
    listed: Option<Timestamp>,
    /// When this process last told that it cannot be listed; nothing since it could.
    told: Option<Timestamp>,
    staying: BTreeMap<String, Staying>,
}

struct Staying {
    next: Timestamp,
    wait: SignedDuration,
}

impl Looks {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        self.with(|state| {
            Some(Standing { listed: state.listed?, staying: u64::try_from(state.staying.len()).unwrap_or(u64::MAX) })
        })
    }

    /// A look begins.
    pub(super) fn begins(&self, now: Timestamp) {
        self.with(|state| {
            state.listed.get_or_insert(now);
        });
    }

    /// It was listed: what is no longer there does not stay.
    pub(super) fn listed(&self, ids: &[String], now: Timestamp) {
        let there: BTreeSet<&String> = ids.iter().collect();
        self.with(|state| {
            state.listed = Some(now);
            state.told = None;
            state.staying.retain(|id, _| there.contains(id));
        });
    }

    /// Whether it is time to tell that it cannot be listed.
    pub(super) fn may_tell(&self, now: Timestamp) -> bool {
        self.with(|state| state.told.is_none_or(|told| now.duration_since(told) >= AGAIN))
    }

    /// That was told.
    pub(super) fn told(&self, now: Timestamp) {
        self.with(|state| state.told = Some(now));
    }

    /// Whether a message is left alone for now.
    pub(super) fn waits(&self, id: &str, now: Timestamp) -> bool {
        self.with(|state| state.staying.get(id).is_some_and(|staying| now < staying.next))
    }

    /// It was dealt with.
    pub(super) fn left(&self, id: &str) {
        self.with(|state| state.staying.remove(id));
    }

    /// It could not be dealt with: the next look tries again, or, where that will not help, one that is later each time. Whether this is
    /// the first time that it will not help.
    pub(super) fn stays(&self, id: &str, for_good: bool, now: Timestamp) -> bool {
        self.with(|state| {
            let free = Staying { next: now, wait: SignedDuration::ZERO };
            let staying = state.staying.entry(id.to_owned()).or_insert(free);
            if !for_good {
                return false;
            }
            let is_first = staying.wait.is_zero();
            staying.wait = (staying.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            staying.next = now + staying.wait;
            is_first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_not_help_is_tried_more_and_more_rarely() {
        let (looks, start) = (Looks::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(looks.standing(), None);
        looks.begins(start);
        assert!(!looks.stays("a", false, start), "it may help the next time");
        assert!(!looks.waits("a", start));
        let mut now = start;
        for (turn, minutes) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            assert_eq!(looks.stays("a", true, now), turn == 0);
            let due = now + SignedDuration::from_mins(minutes);
            assert!(looks.waits("a", due - SignedDuration::from_secs(1)) && !looks.waits("a", due), "{minutes}");
            now = due;
        }
        looks.stays("b", false, now);
        assert_eq!(looks.standing(), Some(Standing { listed: start, staying: 2 }));
        looks.listed(&["a".to_owned(), "c".to_owned()], now);
        assert_eq!(looks.standing(), Some(Standing { listed: now, staying: 1 }), "MESH does not have it any more");
        looks.left("a");
        assert!(!looks.waits("a", now));
        assert!(looks.may_tell(now));
        looks.told(now);
        assert!(!looks.may_tell(now + AGAIN - SignedDuration::from_secs(1)) && looks.may_tell(now + AGAIN));
        looks.listed(&[], now);
        assert!(looks.may_tell(now), "it could be read meanwhile");
        assert_eq!(looks.standing().map(|standing| standing.staying), Some(0));
    }
}
