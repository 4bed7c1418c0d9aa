//! The `NHSMESH` token as a server judges it (`mesh-api.yaml`, MESH Authorization header): five parts, the mailbox
//! of the path, a time within two hours, the right hash, and never twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use onward_connect::secret::Secret;

/// A token is good for this long before and after its time.
const WINDOW: SignedDuration = SignedDuration::from_hours(2);
/// Longest nonce that is remembered.
const NONCE_CHARACTERS_MAX: usize = 100;

/// Why a token is not taken. The caller is only told that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the scheme is not NHSMESH")]
    Scheme,
    #[error("the token has not five parts")]
    Parts,
    #[error("the token is another mailbox's")]
    Mailbox,
    #[error("the nonce is not 1 to 100 visible characters")]
    Nonce,
    #[error("the nonce count is not a number")]
    Count,
    #[error("the time is not yyyyMMddHHmm")]
    Time,
    #[error("the time is more than two hours off")]
    Window,
    #[error("the hash does not fit")]
    Hash,
    #[error("the token was used before")]
    Used,
}

/// Tokens seen, by hash input: mailbox, nonce, count.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<(String, String, String), Timestamp>>);

impl Seen {
    /// Judges the value of an `Authorization` header, and remembers a good token.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub(super) fn admit(
        &self,
        header: &str,
        mailbox: &str,
        password: &str,
        shared_key: &str,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let text = header.strip_prefix("NHSMESH ").ok_or(TokenError::Scheme)?;
        let parts: Vec<&str> = text.split(':').collect();
        let [named, nonce, count, time, hash] = parts.as_slice() else { return Err(TokenError::Parts) };
        if *named != mailbox {
            return Err(TokenError::Mailbox);
        }
        if !(1..=NONCE_CHARACTERS_MAX).contains(&nonce.len()) || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Nonce);
        }
        if !(1..=10).contains(&count.len()) || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TokenError::Count);
        }
        let made = instant(time).ok_or(TokenError::Time)?;
        // The minute is all that the token tells; within it the clocks may differ by the seconds.
        if now.duration_since(made).abs() > WINDOW + SignedDuration::from_mins(1) {
            return Err(TokenError::Window);
        }
        let signed = Secret::new(format!("{mailbox}:{nonce}:{count}:{password}:{time}"));
        let given = hex::decode(hash).map_err(|_| TokenError::Hash)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, shared_key.as_bytes());
        hmac::verify(&key, signed.expose().as_bytes(), &given).map_err(|_| TokenError::Hash)?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Past twice the window a token fails by its time; then it need not be remembered.
        seen.retain(|_, at| now.duration_since(*at) <= WINDOW * 2);
        let token = (mailbox.to_owned(), (*nonce).to_owned(), (*count).to_owned());
        if seen.insert(token, now).is_some() {
            return Err(TokenError::Used);
        }
        Ok(())
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = DateTime::strptime("%Y%m%d%H%M", digits.then_some(text)?).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-31T12:05:59Z";
    /// The vector of standards.md §3.
    const VECTOR: &str = "NHSMESH X26ABC1:75d4c5d0-7e6c-4f04-9f3b-6a0a7a1a2b3c:0:202601311205:\
                          9cdb2c38224a9bc6c5fa9b3c3fadecdc38b9673726fe992467ab6471e294588a";

    fn judged(header: &str, now: &str) -> Result<(), TokenError> {
        Seen::default().admit(header, "X26ABC1", "password", "TestKey", now.parse().expect("a time"))
    }

    #[test]
    fn the_published_vector_is_taken_once() {
        let seen = Seen::default();
        let now = NOW.parse().expect("a time");
        let admit = |mailbox: &str| seen.admit(VECTOR, mailbox, "password", "TestKey", now);
        assert_eq!(admit("X26ABC2"), Err(TokenError::Mailbox), "a refused token is not used up");
        assert_eq!(admit("X26ABC1"), Ok(()));
        assert_eq!(admit("X26ABC1"), Err(TokenError::Used));
    }

    #[test]
    fn two_hours_either_way() {
        for (now, expected) in [
            ("2026-01-31T10:05:00Z", Ok(())),
            ("2026-01-31T14:05:59Z", Ok(())),
            ("2026-01-31T10:03:00Z", Err(TokenError::Window)),
            ("2026-01-31T14:07:00Z", Err(TokenError::Window)),
            ("2027-01-31T12:05:00Z", Err(TokenError::Window)),
        ] {
            assert_eq!(judged(VECTOR, now), expected, "{now}");
        }
    }

    #[test]
    fn every_part_counts() {
        for (from, to, expected) in [
            ("NHSMESH ", "NHSMESH", TokenError::Scheme),
            ("NHSMESH ", "Bearer ", TokenError::Scheme),
            (":202601311205:", ":2026:0131:1205:", TokenError::Parts),
            ("75d4c5d0-7e6c-4f04-9f3b-6a0a7a1a2b3c", "", TokenError::Nonce),
            ("75d4c5d0-7e6c-4f04-9f3b-6a0a7a1a2b3c", "75d4c5d0-7e6c-4f04-9f3b-6a0a7a1a2b3d", TokenError::Hash),
            (":0:", ":x:", TokenError::Count),
            (":0:", "::", TokenError::Count),
            (":0:", ":1:", TokenError::Hash),
            ("202601311205", "202601311206", TokenError::Hash),
            ("202601311205", "202613311205", TokenError::Time),
            ("202601311205", "+20260131120", TokenError::Time),
            ("588a", "588b", TokenError::Hash),
            ("588a", "", TokenError::Hash),
            ("588a", "zz8a", TokenError::Hash),
        ] {
            let header = VECTOR.replacen(from, to, 1);
            assert_ne!(header, VECTOR, "{from}");
            assert_eq!(judged(&header, NOW), Err(expected), "{from} -> {to}");
        }
        let upper = VECTOR.to_ascii_uppercase().replace("75D4C5D0-7E6C-4F04-9F3B-6A0A7A1A2B3C", &VECTOR[16..52]);
        assert_eq!(judged(&upper, NOW), Ok(()), "hexadecimal has no case");
    }

    #[test]
    fn passwords_and_keys_count() {
        let now = NOW.parse().expect("a time");
        let judge = |password, key| Seen::default().admit(VECTOR, "X26ABC1", password, key, now);
        assert_eq!(judge("password ", "TestKey"), Err(TokenError::Hash));
        assert_eq!(judge("password", "testKey"), Err(TokenError::Hash));
    }
}
