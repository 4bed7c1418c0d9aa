//! FHIR date search parameters: a prefix and a date of some precision mean a range (R4 Search, section 3.1.1.4.6).

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// From (included) and until (excluded); both may be open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl Range {
    /// Reads one value, such as `2026-11`, `ge2026-11-01` or `lt2026-11-01T10:00:00Z`. Dates without a zone are UTC.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        let split = value.find(|c: char| c.is_ascii_digit())?;
        let (prefix, date) = value.split_at(split);
        let (start, end) = span(date)?;
        let (from, until) = match prefix {
            "" | "eq" => (Some(start), Some(end)),
            "ge" => (Some(start), None),
            "gt" | "sa" => (Some(end), None),
            "le" => (None, Some(end)),
            "lt" | "eb" => (None, Some(start)),
            _ => return None,
        };
        Some(Self { from, until })
    }

    /// What lies in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            from: self.from.into_iter().chain(other.from).max(),
            until: self.until.into_iter().chain(other.until).min(),
        }
    }
}

/// The first moment of a date of some precision, and the first one after it.
fn span(date: &str) -> Option<(Timestamp, Timestamp)> {
    let day = |date: Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let parts: Vec<&str> = date.split('-').collect();
    match (date.len(), parts.as_slice()) {
        (4, [year]) => {
            let year: i16 = year.parse().ok()?;
            Some((day(Date::new(year, 1, 1).ok()?)?, day(Date::new(year.checked_add(1)?, 1, 1).ok()?)?))
        }
        (7, [year, month]) => {
            let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
            Some((day(first)?, day(first.checked_add(1.month()).ok()?)?))
        }
        (10, [_, _, _]) => {
            let first: Date = date.parse().ok()?;
            Some((day(first)?, day(first.tomorrow().ok()?)?))
        }
        _ => {
            let start: Timestamp = date.parse().ok()?;
            let (_, time) = date.split_once('T')?;
            let precision = match time.contains('.') {
                true => SignedDuration::from_micros(1),
                false => SignedDuration::from_secs(1),
            };
            Some((start, start.checked_add(precision).ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: Option<&str>, until: Option<&str>) -> Range {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        Range { from: from.map(at), until: until.map(at) }
    }

    #[test]
    fn prefix_and_precision_make_a_range() {
        let day = ("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z");
        for (value, expected) in [
            ("2026", range(Some("2026-01-01T00:00:00Z"), Some("2027-01-01T00:00:00Z"))),
            ("2026-11", range(Some("2026-11-01T00:00:00Z"), Some("2026-12-01T00:00:00Z"))),
            ("2026-11-30", range(Some(day.0), Some(day.1))),
            ("eq2026-11-30", range(Some(day.0), Some(day.1))),
            ("ge2026-11-30", range(Some(day.0), None)),
            ("gt2026-11-30", range(Some(day.1), None)),
            ("le2026-11-30", range(None, Some(day.1))),
            ("lt2026-11-30", range(None, Some(day.0))),
            ("2026-11-30T10:00:00+01:00", range(Some("2026-11-30T09:00:00Z"), Some("2026-11-30T09:00:01Z"))),
            ("ge2026-11-30T10:00:00.5Z", range(Some("2026-11-30T10:00:00.5Z"), None)),
        ] {
            assert_eq!(Range::read(value), Some(expected), "{value}");
        }
        for value in ["", "ge", "ne2026", "26", "2026-13", "2026-02-30", "2026-11-30T10:00:00", "yesterday", "2026-1"] {
            assert_eq!(Range::read(value), None, "{value}");
        }
    }

    #[test]
    fn two_values_mean_both() {
        let read = |value| Range::read(value).expect("a range");
        let both = read("ge2026-11-01").and(read("lt2026-11-03"));
        assert_eq!(both, range(Some("2026-11-01T00:00:00Z"), Some("2026-11-03T00:00:00Z")));
        assert_eq!(both.and(read("ge2026-11-02")).from, read("2026-11-02").from);
    }
}
