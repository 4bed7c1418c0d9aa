//! When to try again. The jitter comes from the delivery's identifier, so that tests need no random seam.

use jiff::{SignedDuration, Timestamp};

use crate::DeliveryId;

/// First delay; it doubles with every attempt.
const BASE_SECONDS: u64 = 5;
/// Longest delay between two attempts.
const CAP_SECONDS: u64 = 30 * 60;
/// A partner's `Retry-After` is honoured up to this.
const RETRY_AFTER_CAP_SECONDS: u64 = 60 * 60;
/// After this the delivery becomes a person's task; it is never dropped.
pub const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// The moment of the next attempt after attempt number `attempt` (from 1) failed at `now`:
/// full jitter over an exponential window, never earlier than a capped `Retry-After`.
#[must_use]
pub fn next_attempt(delivery: DeliveryId, attempt: u32, now: Timestamp, retry_after_seconds: Option<u64>) -> Timestamp {
    let window = BASE_SECONDS.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(CAP_SECONDS);
    let jitter = 1 + fraction(delivery, attempt) % window;
    let seconds = jitter.max(retry_after_seconds.unwrap_or(0).min(RETRY_AFTER_CAP_SECONDS));
    now + SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 4))
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
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..200u128 {
            let delivery = DeliveryId(uuid::Uuid::from_u128(n * 7919));
            for attempt in 1..40 {
                let delay = next_attempt(delivery, attempt, now, None).as_second();
                assert!((1..=30 * 60).contains(&delay));
            }
            seen.insert(next_attempt(delivery, 8, now, None).as_second());
        }
        assert!(seen.len() > 100, "jitter spreads: {}", seen.len());
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        let delivery = DeliveryId(uuid::Uuid::from_u128(1));
        let now = Timestamp::UNIX_EPOCH;
        assert!(next_attempt(delivery, 1, now, Some(120)).as_second() >= 120);
        assert_eq!(next_attempt(delivery, 1, now, Some(u64::MAX)).as_second(), 3600);
    }
}
