//! The words in which people say why: kept with what they decide, some of them for good.

use onward_core::NhsNumber;

/// Characters of a reason at most.
pub(crate) const REASON_MAX: usize = 500;

/// Whether ten digits of a text, whatever stands between them, are an NHS number.
pub(crate) fn names_a_number(text: &str) -> bool {
    let digits: Vec<char> = text.chars().filter(|c| !matches!(c, ' ' | '-' | '\u{a0}' | '.')).collect();
    digits
        .split(|c| !c.is_ascii_digit())
        .any(|run| run.windows(10).any(|ten| ten.iter().collect::<String>().parse::<NhsNumber>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::names_a_number;

    #[test]
    fn a_number_is_found_however_it_is_written() {
        for text in [
            "9990000018",
            "for 999 000 0018, please",
            "see 999-000-0018.",
            "x999.000.0018x",
            "x9990000018y",
            "1 9990000018",
        ] {
            assert!(names_a_number(text), "{text}");
        }
        for text in ["", "case 17", "9990000019", "the ward rang at 01632 960103", "version 2 of 3", "999 000 001"] {
            assert!(!names_a_number(text), "{text}");
        }
    }
}
