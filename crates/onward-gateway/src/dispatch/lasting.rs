//! Until when a leased copy is known to be ours alone. A machine that sleeps, or that is not given the processor for long, wakes with leases
//! that have run out: by then another worker may have the copy, or somebody may have taken it back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

/// By this machine's own time, which may stand still while it sleeps, and by the clock, which may be set: the earlier counts.
pub(super) struct Lasts(Mutex<Option<(Instant, Timestamp)>>);

impl Lasts {
    /// A lease that lasts so long.
    pub(super) fn until(instant: Instant, clock: Timestamp) -> Self {
        Self(Mutex::new(Some((instant, clock))))
    }

    /// Whether nothing may begin under it any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        is_over(*self.lock(), (Instant::now(), now))
    }

    /// It was renewed, as was asked at a moment. One that was over by then stays so: in between the copy was nobody's.
    pub(super) fn renewed(&self, asked: (Instant, Timestamp), until: (Instant, Timestamp)) {
        let mut lasts = self.lock();
        *lasts = (!is_over(*lasts, asked)).then_some(until);
    }

    /// The copy is another worker's.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(lasts: Option<(Instant, Timestamp)>, (instant, clock): (Instant, Timestamp)) -> bool {
    lasts.is_none_or(|until| until.0 <= instant || until.1 <= clock)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_lease_is_over_by_whichever_time_is_later() {
        let (start, second) = (Timestamp::UNIX_EPOCH, SignedDuration::from_secs(1));
        let hour = Duration::from_secs(3600);
        let lasts = Lasts::until(Instant::now() + hour, start + second);
        assert!(
            !lasts.is_over(start) && lasts.is_over(start + second),
            "the machine slept, and its own time stood still"
        );
        assert!(Lasts::until(Instant::now(), start + second).is_over(start), "the clock was set back");
        let asked = (Instant::now(), start);
        lasts.renewed(asked, (Instant::now() + hour, start + second * 2));
        assert!(!lasts.is_over(start + second));
        lasts.renewed((Instant::now(), start + second * 2), (Instant::now() + hour, start + second * 9));
        assert!(lasts.is_over(start + second * 3), "in between somebody may have taken it back");
        let lasts = Lasts::until(Instant::now() + hour, start + second);
        lasts.end();
        assert!(lasts.is_over(start), "another worker has it");
        lasts.renewed(asked, (Instant::now() + hour, start + second));
        assert!(lasts.is_over(start));
    }
}
