//! How our own mailbox stands: when it could be read last, and what cannot be collected. Kept by the process whose turn it is to read it, for
//! itself: MESH keeps the messages, and says with every listing which are still there. The others know when it was listed last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;
use onward_core::Timestamp;

use crate::alerts::AGAIN;

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
    /// When MESH answered last, to a listing or with a message: a look that finds many lists long before its end.
    answered: Option<Timestamp>,
    /// When this process last told that a person must look; nothing since that was over.
    told: Option<Timestamp>,
    staying: BTreeMap<String, Staying>,
}

struct Staying {
    since: Timestamp,
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

    /// It is another node's turn, or was: of what stays that one knows.
    pub(super) fn of_another(&self, listed: Option<Timestamp>) {
        self.with(|state| *state = State { listed: listed.max(state.listed), told: state.told, ..State::default() });
    }

    /// It was listed: what is no longer there does not stay.
    pub(super) fn listed(&self, ids: &[String], now: Timestamp) {
        let there: BTreeSet<&String> = ids.iter().collect();
        self.with(|state| {
            state.listed = Some(now);
            state.answered = Some(now);
            state.staying.retain(|id, _| there.contains(id));
        });
    }

    /// MESH gave one of its messages.
    pub(super) fn answered(&self, now: Timestamp) {
        self.with(|state| state.answered = Some(now));
    }

    /// Since when a person must look, where that is `limit` ago or longer: MESH has not answered, since the first look where it never did, or
    /// a message stays. Where nobody must, the next time is told whenever that is.
    pub(super) fn stuck_since(&self, now: Timestamp, limit: SignedDuration) -> Option<Timestamp> {
        self.with(|state| {
            let oldest = state.staying.values().map(|staying| staying.since).min();
            let heard = state.answered.or(state.listed);
            let since = heard.into_iter().chain(oldest).filter(|since| now.duration_since(*since) >= limit).min();
            if since.is_none() {
                state.told = None;
            }
            since
        })
    }

    /// Whether MESH has answered this process within `limit` and no message stays, so that it knows better than another that told. A process
    /// that has just begun does not, nor one that cannot collect a message yet.
    pub(super) fn is_well(&self, now: Timestamp, limit: SignedDuration) -> bool {
        self.with(|state| {
            state.answered.is_some_and(|answered| now.duration_since(answered) < limit) && state.staying.is_empty()
        })
    }

    /// Whether it is time to tell it: not yet where it was told within the hour, as it may be cleared meanwhile by a node that can read it, or
    /// of an older version.
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
            let free = Staying { since: now, next: now, wait: SignedDuration::ZERO };
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
        assert!(!looks.may_tell(now), "it is told till it is over");
        assert_eq!(looks.stuck_since(now, AGAIN), None);
        assert!(looks.may_tell(now), "it could be read meanwhile");
        assert_eq!(looks.standing().map(|standing| standing.staying), Some(0));
    }

    #[test]
    fn what_stays_or_is_not_answered_for_too_long_is_stuck() {
        let (looks, start, limit) = (Looks::default(), Timestamp::UNIX_EPOCH, SignedDuration::from_mins(30));
        let after = |minutes| start + SignedDuration::from_mins(minutes);
        assert_eq!(looks.stuck_since(after(30), limit), None, "without a mailbox nothing is");
        looks.begins(start);
        assert!(!looks.is_well(start, limit), "it was never listed");
        assert_eq!((looks.stuck_since(after(29), limit), looks.stuck_since(after(30), limit)), (None, Some(start)));
        looks.listed(&["a".to_owned()], after(30));
        assert!(looks.stuck_since(after(59), limit).is_none() && looks.is_well(after(59), limit));
        looks.answered(after(59));
        assert_eq!(looks.stuck_since(after(80), limit), None, "the look still goes on");
        looks.stays("a", false, after(80));
        assert_eq!(looks.stuck_since(after(81), limit), None);
        assert!(!looks.is_well(after(81), limit), "another may have waited longer for it");
        looks.stays("a", true, after(90));
        looks.listed(&["a".to_owned()], after(110));
        assert_eq!(looks.stuck_since(after(109), limit), None);
        assert_eq!(looks.stuck_since(after(110), limit), Some(after(80)), "since it stays");
        looks.left("a");
        assert!(looks.stuck_since(after(110), limit).is_none() && looks.is_well(after(110), limit));
    }

    #[test]
    fn whoever_has_not_the_turn_knows_when_it_was_listed_and_of_nothing_that_stays() {
        let (looks, start, limit) = (Looks::default(), Timestamp::UNIX_EPOCH, SignedDuration::from_mins(30));
        let after = |minutes| start + SignedDuration::from_mins(minutes);
        looks.of_another(None);
        assert!(looks.standing().is_none() && looks.stuck_since(after(60), limit).is_none(), "nobody has looked");
        looks.begins(start);
        looks.listed(&["a".to_owned()], start);
        looks.stays("a", true, start);
        // The turn passed on.
        looks.of_another(Some(after(5)));
        assert_eq!(looks.standing(), Some(Standing { listed: after(5), staying: 0 }));
        assert!(!looks.is_well(after(5), limit), "that is the other's to tell");
        assert_eq!(looks.stuck_since(after(34), limit), None);
        assert_eq!(looks.stuck_since(after(35), limit), Some(after(5)), "no node could list it since");
        looks.of_another(Some(after(35)));
        assert_eq!(looks.stuck_since(after(60), limit), None);
        // And comes back.
        looks.begins(after(60));
        looks.listed(&[], after(60));
        assert!(looks.is_well(after(60), limit));
    }
}
