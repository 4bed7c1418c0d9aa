//! How fast PDS is asked, and when not at all.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// However long PDS asks for, it is asked again after this.
const REST_MAX: Duration = Duration::from_secs(3600);

/// The questions of one process take turns, so far apart that no second has more of them than PDS allows; and none goes before PDS, which was
/// busy, wants to be asked again.
pub(super) struct Pace {
    between: Duration,
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    /// The next one that is free.
    next: Option<Instant>,
    /// PDS rests until then.
    rests: Option<Instant>,
}

impl Pace {
    /// At most so many questions a second.
    pub(super) fn of(per_second: u32) -> Self {
        Self { between: Duration::from_secs(1) / per_second.max(1), turns: Mutex::default() }
    }

    /// The turn of a question that comes at `now`; none is taken where it would wait for longer than `patience`.
    pub(super) fn turn(&self, now: Instant, patience: Duration) -> Option<Instant> {
        let mut turns = self.turns();
        let at = [turns.next, turns.rests].into_iter().flatten().fold(now, Instant::max);
        (at.duration_since(now) <= patience).then(|| {
            turns.next = Some(at + self.between);
            at
        })
    }

    /// PDS does not want to be asked at `now`.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.turns().rests.is_some_and(|until| until > now)
    }

    /// PDS asks at `now` for so much time. What it asked for before holds as well.
    pub(super) fn rest(&self, now: Instant, wish: Duration) {
        let mut turns = self.turns();
        turns.rests = turns.rests.max(Some(now + wish.min(REST_MAX)));
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn no_second_has_more_questions_than_it_may_and_idle_time_is_not_saved_up() {
        let (pace, start) = (Pace::of(5), Instant::now());
        let turns =
            |now: Instant| (0..12).map(|_| pace.turn(now, millis(60_000)).expect("patient")).collect::<Vec<_>>();
        for now in [start, start + millis(600_000)] {
            let at: Vec<_> = turns(now).iter().map(|at| at.duration_since(now).as_millis()).collect();
            assert_eq!(at, (0..12).map(|n| n * 200).collect::<Vec<u128>>());
        }
        assert_eq!(Pace::of(0).between, millis(1000), "never none at all");
    }

    #[test]
    fn who_cannot_wait_for_a_turn_takes_none() {
        let (pace, now) = (Pace::of(2), Instant::now());
        assert_eq!(pace.turn(now, Duration::ZERO), Some(now));
        assert_eq!(pace.turn(now, millis(499)), None);
        assert_eq!(pace.turn(now, millis(500)), Some(now + millis(500)), "it is free still");
    }

    #[test]
    fn what_pds_asked_for_of_one_question_holds_for_all_and_an_hour_at_most() {
        let (pace, now) = (Pace::of(10), Instant::now());
        pace.rest(now, millis(5_000));
        pace.rest(now, millis(1_000));
        assert_eq!(pace.turn(now, millis(4_999)), None);
        assert_eq!(pace.turn(now, millis(5_000)), Some(now + millis(5_000)));
        assert_eq!(pace.turn(now, millis(6_000)), Some(now + millis(5_100)), "not all at once then");
        assert!(pace.rests(now + millis(4_999)) && !pace.rests(now + millis(5_000)));
        pace.rest(now, Duration::MAX);
        assert!(pace.rests(now + REST_MAX - millis(1)) && !pace.rests(now + REST_MAX));
    }
}
