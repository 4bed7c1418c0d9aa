//! What a person is searched by whose NHS number is not known.

use std::fmt;

use jiff::civil::Date;

use crate::state::words;

words!(
    /// Administrative gender, by which PDS can be searched (FHIR R4 `administrative-gender`).
    Gender {
        /// Male.
        Male = "male",
        /// Female.
        Female = "female",
        /// Other.
        Other = "other",
        /// Unknown.
        Unknown = "unknown",
    }
);

/// How close what is found must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// Every part agrees as it is held now (PDS `_exact-match`).
    Exact,
    /// Parts that sound alike, or were once so, agree too (PDS `_fuzzy-match`).
    Alike,
}

/// Family name, given name and date of birth, and what tells apart people who share them. Prints redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Demographics {
    family: String,
    given: String,
    birth_date: Date,
    gender: Option<Gender>,
    postcode: Option<String>,
}

impl Demographics {
    /// Longest name that PDS takes, characters.
    const NAME_MAX: usize = 35;

    /// `None` where a part is missing, longer than PDS takes, or has what PDS would read as a wildcard: what stands in a message must not
    /// widen a search.
    #[must_use]
    pub fn new(family: &str, given: &str, birth_date: Date) -> Option<Self> {
        let name = |text: &str| {
            let text = text.trim();
            let fits = !text.is_empty() && text.chars().count() <= Self::NAME_MAX;
            let plain = !text.chars().any(|letter| letter == '*' || letter.is_control());
            (fits && plain).then(|| text.to_owned())
        };
        Some(Self { family: name(family)?, given: name(given)?, birth_date, gender: None, postcode: None })
    }

    /// The same, told apart by gender and postcode; a postcode that is none is left out. PDS finds nobody who is restricted by a postcode.
    #[must_use]
    pub fn narrowed(mut self, gender: Option<Gender>, postcode: Option<&str>) -> Self {
        let is_postcode = |text: &&str| {
            let marks = text.bytes().filter(u8::is_ascii_alphanumeric).count();
            (5..=7).contains(&marks) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ')
        };
        self.gender = gender;
        self.postcode = postcode.map(str::trim).filter(is_postcode).map(str::to_owned);
        self
    }

    /// Without what tells apart.
    #[must_use]
    pub fn broad(&self) -> Self {
        Self { gender: None, postcode: None, ..self.clone() }
    }

    /// Family name.
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// First given name.
    #[must_use]
    pub fn given(&self) -> &str {
        &self.given
    }

    /// Date of birth.
    #[must_use]
    pub fn birth_date(&self) -> Date {
        self.birth_date
    }

    /// Gender, where it is to tell apart.
    #[must_use]
    pub fn gender(&self) -> Option<Gender> {
        self.gender
    }

    /// Postcode, where it is to tell apart.
    #[must_use]
    pub fn postcode(&self) -> Option<&str> {
        self.postcode.as_deref()
    }
}

impl fmt::Debug for Demographics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Demographics(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const BORN: Date = date(1944, 3, 8);

    #[test]
    fn nothing_that_a_message_says_widens_a_search() {
        let whole = Demographics::new(" Holroyd ", "Margaret Ellen", BORN).expect("whole");
        assert_eq!((whole.family(), whole.given()), ("Holroyd", "Margaret Ellen"));
        let long = "x".repeat(36);
        for name in ["", " ", "Ho*", "*", "Hol\u{0}royd", long.as_str()] {
            assert_eq!(Demographics::new(name, "Margaret", BORN), None, "{name:?}");
            assert_eq!(Demographics::new("Holroyd", name, BORN), None, "{name:?}");
        }
        assert!(Demographics::new(&"é".repeat(35), "Margaret", BORN).is_some(), "letters count, not bytes");
        for (postcode, kept) in [
            ("LS1 6AE", true),
            (" ls16ae ", true),
            ("M1 1AE", true),
            ("LS*", false),
            ("", false),
            ("LS1 6AE XX", false),
        ] {
            let narrowed = whole.clone().narrowed(Some(Gender::Female), Some(postcode));
            assert_eq!(narrowed.postcode().is_some(), kept, "{postcode}");
            assert_eq!(narrowed.broad(), whole);
        }
    }

    #[test]
    fn it_prints_nothing_of_the_person() {
        let person = Demographics::new("Holroyd", "Margaret", BORN).expect("whole").narrowed(None, Some("LS1 6AE"));
        assert_eq!(format!("{person:?}"), "Demographics(redacted)");
    }
}
