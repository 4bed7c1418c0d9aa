//! When to try again. The jitter comes from the delivery's identifier, so that tests need no random seam.

use jiff::{SignedDuration, Timestamp};

use crate::DeliveryId;

/// How often an endpoint of one class is tried, and when that becomes a person's task; nothing is ever dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The first window of jitter; it doubles with every attempt.
    pub first: SignedDuration,
    /// The longest window.
    pub longest: SignedDuration,
    /// A partner's `Retry-After` is honoured up to this.
    pub retry_after_longest: SignedDuration,
    /// After this the delivery waits for a person.
    pub give_up_after: SignedDuration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: SignedDuration::from_secs(5),
            longest: SignedDuration::from_mins(30),
            retry_after_longest: SignedDuration::from_hours(1),
            give_up_after: SignedDuration::from_hours(72),
        }
    }
}

impl Schedule {
    /// The moment of the next attempt after attempt number `attempt` (from 1) failed at `now`: full jitter over an
    /// exponential window, never earlier than a capped `Retry-After`.
    #[must_use]
    pub fn next_attempt(
        &self,
        delivery: DeliveryId,
        attempt: u32,
        now: Timestamp,
        retry_after: Option<SignedDuration>,
    ) -> Timestamp {
        let seconds = |duration: SignedDuration| u64::try_from(duration.as_secs()).unwrap_or(0).max(1);
        let doubled = seconds(self.first).saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let window = doubled.min(seconds(self.longest));
        let jitter = SignedDuration::from_secs(i64::try_from(1 + fraction(delivery, attempt) % window).unwrap_or(1));
        let asked = self.capped(retry_after).unwrap_or(SignedDuration::ZERO);
        now + jitter.max(asked)
    }

    /// What a partner asked for, up to the cap.
    #[must_use]
    pub fn capped(&self, retry_after: Option<SignedDuration>) -> Option<SignedDuration> {
        retry_after.map(|asked| asked.min(self.retry_after_longest))
    }
}

/// A well-mixed number from identifier and attempt (the finaliser of SplitMix64).
fn fraction(delivery: DeliveryId, attempt: u32) -> u64 {
    let (high, low) = delivery.0.as_u64_pair();
    let mut x = high ^ low.rotate_left(32) ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_in_their_window_and_spread() {
        let now = Timestamp::UNIX_EPOCH;
        let schedule = Schedule::default();
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..200u128 {
            let delivery = DeliveryId(uuid::Uuid::from_u128(n * 7919));
            for attempt in 1..40 {
                let delay = schedule.next_attempt(delivery, attempt, now, None).as_second();
                let window = (5 << (attempt - 1).min(16)).min(30 * 60);
                assert!((1..=window).contains(&delay), "{attempt}: {delay}");
            }
            seen.insert(schedule.next_attempt(delivery, 8, now, None).as_second());
        }
        assert!(seen.len() > 100, "jitter spreads: {}", seen.len());
    }

    #[test]
    fn fault_026_retry_after_is_honoured_and_capped() {
        let delivery = DeliveryId(uuid::Uuid::from_u128(1));
        let now = Timestamp::UNIX_EPOCH;
        let asked =
            |seconds| Schedule::default().next_attempt(delivery, 1, now, Some(SignedDuration::from_secs(seconds)));
        assert_eq!(asked(120).as_second(), 120);
        assert_eq!(asked(i64::MAX).as_second(), 3600);
        let patient = Schedule { retry_after_longest: SignedDuration::from_hours(6), ..Schedule::default() };
        let asked = patient.next_attempt(delivery, 1, now, Some(SignedDuration::from_hours(5)));
        assert_eq!(asked.as_second(), 5 * 3600);
    }
}
