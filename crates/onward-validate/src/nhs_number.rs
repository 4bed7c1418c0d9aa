//! The NHS number's form and check digit (NHS Data Dictionary, NHS NUMBER).

/// Why a text is no NHS number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not ten digits.
    Shape,
    /// The modulus-11 check digit does not fit.
    CheckDigit,
}

/// Checks ten digits without spaces, as the FHIR identifier demands them.
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || !bytes.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Shape);
    }
    let sum: u32 = bytes[..9].iter().zip((2..=10).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let expected = (11 - sum % 11) % 11;
    if expected == u32::from(bytes[9] - b'0') { Ok(()) } else { Err(Fault::CheckDigit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        for valid in ["9000000009", "9912003888", "9658218881", "9476719931"] {
            assert_eq!(check(valid), Ok(()), "{valid}");
        }
        for invalid in ["1352465790", "1234567890", "9996668887", "9135246570", "9989453456", "9000000015"] {
            assert_eq!(check(invalid), Err(Fault::CheckDigit), "{invalid}");
        }
        for shape in ["", "999 000 0018", "99900000181", "999000001٣", "999000001X"] {
            assert_eq!(check(shape), Err(Fault::Shape), "{shape}");
        }
    }

    /// A sum that leaves 1 would need the check digit 10: no such number exists.
    #[test]
    fn exactly_one_last_digit_fits_or_none() {
        for stem in 999_000_000u32..999_002_000 {
            let fits = (0..10).filter(|last| check(&format!("{stem}{last}")).is_ok()).count();
            let sum: u32 = format!("{stem}").bytes().zip((2..=10u32).rev()).map(|(b, w)| u32::from(b - b'0') * w).sum();
            assert_eq!(fits, usize::from(sum % 11 != 1), "{stem}");
        }
    }
}
