//! Time-based one-time codes (RFC 6238): SHA-1, six digits, thirty seconds, which every authenticator app knows.

use aws_lc_rs::hmac;
use jiff::Timestamp;

/// Seconds of one step.
const STEP_SECONDS: i64 = 30;
/// Bytes of a key (RFC 4226 §4 recommends 160 bits).
pub(super) const SECRET_BYTES: usize = 20;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step whose code this is: the present one, or that before or after it (RFC 6238 §5.2).
pub(super) fn step_of(secret: &[u8], code: &str, now: Timestamp) -> Option<u64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let present = step_at(now);
    let mut found = None;
    // All three are compared, so that the time does not tell which.
    for step in present.saturating_sub(1)..=present + 1 {
        if aws_lc_rs::constant_time::verify_slices_are_equal(code_of(secret, step).as_bytes(), code.as_bytes()).is_ok()
        {
            found = Some(step);
        }
    }
    found
}

/// The code of a key (RFC 4648 base 32) at a moment; none when the text is no key.
#[must_use]
pub fn code_at(secret: &str, at: Timestamp) -> Option<String> {
    Some(code_of(&from_base32(secret)?, step_at(at)))
}

fn step_at(at: Timestamp) -> u64 {
    u64::try_from(at.as_second() / STEP_SECONDS).unwrap_or_default()
}

fn code_of(secret: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    // RFC 4226 §5.3: the last four bits say where the 31 bits stand.
    let at = usize::from(tag[tag.len() - 1] & 0x0f);
    let bits = u32::from_be_bytes([tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]]);
    format!("{:06}", bits % 1_000_000)
}

/// The key as people and apps read it.
pub(super) fn to_base32(bytes: &[u8]) -> String {
    let bit = |n: usize| bytes.get(n / 8).map_or(0, |byte| usize::from(byte >> (7 - n % 8) & 1));
    let letters = (bytes.len() * 8).div_ceil(5);
    (0..letters).map(|letter| char::from(BASE32[(0..5).fold(0, |value, n| value << 1 | bit(letter * 5 + n))])).collect()
}

/// Reads it back, with the spaces that people write.
pub(super) fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bits = 0_u32;
    let mut have = 0;
    let mut bytes = Vec::new();
    for letter in text.bytes().filter(|letter| *letter != b' ') {
        let value = BASE32.iter().position(|each| *each == letter.to_ascii_uppercase())?;
        bits = bits << 5 | u32::try_from(value).ok()?;
        have += 5;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have & 0xff).to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// RFC 6238, appendix B, the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(&to_base32(secret), at(second)).as_deref(), Some(code), "{second}");
        }
    }

    #[test]
    fn a_code_is_good_for_its_neighbours_only() {
        let secret = [7; SECRET_BYTES];
        let now = at(1_800_000_000);
        let code = |steps: i64| code_of(&secret, step_at(at(1_800_000_000 + steps * STEP_SECONDS)));
        assert_eq!(step_of(&secret, &code(0), now), Some(60_000_000));
        assert_eq!(step_of(&secret, &code(-1), now), Some(59_999_999));
        assert_eq!(step_of(&secret, &code(1), now), Some(60_000_001));
        let spaced = format!("{} {}", &code(0)[..3], &code(0)[3..]);
        assert_eq!(step_of(&secret, &spaced, now), Some(60_000_000), "as apps show it");
        for wrong in [code(-2), code(2), String::new(), "12345".to_owned(), format!("{}0", code(0))] {
            assert_eq!(step_of(&secret, &wrong, now), None, "{wrong}");
        }
    }

    /// RFC 4648 §10.
    #[test]
    fn base_32_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(to_base32(bytes.as_bytes()), text);
            assert_eq!(from_base32(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(from_base32("mzxw 6ytb"), Some(b"fooba".to_vec()));
        assert_eq!(from_base32("M1"), None);
    }
}
