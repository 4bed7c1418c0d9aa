//! Quantities: FHIRPath's own (`4 'mg'`, `7 days`) and FHIR's `Quantity` read as one (FHIR R4 §2.24, FHIRPath §2.1.23).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use super::decimal::Decimal;
use super::ucum;

/// A calendar duration's word (FHIRPath §2.1.23.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// `year`
    Year,
    /// `month`
    Month,
    /// `week`
    Week,
    /// `day`
    Day,
    /// `hour`
    Hour,
    /// `minute`
    Minute,
    /// `second`
    Second,
    /// `millisecond`
    Millisecond,
}

impl CalendarUnit {
    /// The unit of a word, singular or plural.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word.strip_suffix('s').unwrap_or(word) {
            "year" => Self::Year,
            "month" => Self::Month,
            "week" => Self::Week,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "second" => Self::Second,
            "millisecond" => Self::Millisecond,
            _ => return None,
        })
    }

    /// The unit of an exact UCUM code: `a` and `mo` are averages, not a calendar's.
    pub(super) fn of_ucum(code: &str) -> Option<Self> {
        Some(match code {
            "wk" => Self::Week,
            "d" => Self::Day,
            "h" => Self::Hour,
            "min" => Self::Minute,
            "s" => Self::Second,
            "ms" => Self::Millisecond,
            _ => return None,
        })
    }

    /// The UCUM code of the same length; for year and month only equivalent (§6.1.2).
    fn ucum(self) -> &'static str {
        match self {
            Self::Year => "a",
            Self::Month => "mo",
            Self::Week => "wk",
            Self::Day => "d",
            Self::Hour => "h",
            Self::Minute => "min",
            Self::Second => "s",
            Self::Millisecond => "ms",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Millisecond => "millisecond",
        }
    }

    pub(super) fn nanoseconds(self) -> Option<i128> {
        let seconds: i128 = match self {
            Self::Year | Self::Month => return None,
            Self::Week => 604_800,
            Self::Day => 86_400,
            Self::Hour => 3600,
            Self::Minute => 60,
            Self::Second => 1,
            Self::Millisecond => return Some(1_000_000),
        };
        Some(seconds * 1_000_000_000)
    }
}

/// What a quantity counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit<'t> {
    /// A calendar's word: `7 days`.
    Calendar(CalendarUnit),
    /// A UCUM code: `4 'mg'`; `1` for a bare number.
    Ucum(Cow<'t, str>),
    /// Of another code system, or told in words only: comparable with the very same only.
    Other {
        /// `Quantity.system`, when there is one.
        system: Option<&'t str>,
        /// `Quantity.code`, else `Quantity.unit`.
        code: Option<&'t str>,
    },
}

/// A number of units.
#[derive(Debug, Clone)]
pub struct Quantity<'t> {
    /// How many.
    pub value: Decimal,
    /// Of what.
    pub unit: Unit<'t>,
}

impl<'t> Quantity<'t> {
    /// A bare number as a quantity.
    #[must_use]
    pub fn of_number(value: Decimal) -> Self {
        Self { value, unit: Unit::Ucum(Cow::Borrowed("1")) }
    }

    /// Reads `5`, `5 'mg'` or `5 days` (FHIRPath §5.5.6).
    #[must_use]
    pub fn parse(text: &str) -> Option<Quantity<'static>> {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))).unwrap_or(text.len());
        let value = Decimal::parse(&text[..end])?;
        let unit = text[end..].trim_start();
        if unit.is_empty() {
            return Some(Quantity::of_number(value));
        }
        if let Some(code) = unit.strip_prefix('\'') {
            let code = code.strip_suffix('\'').filter(|code| !code.is_empty() && !code.contains('\''))?;
            return Some(Quantity { value, unit: Unit::Ucum(Cow::Owned(code.to_owned())) });
        }
        Some(Quantity { value, unit: Unit::Calendar(CalendarUnit::of_word(unit)?) })
    }

    /// The two values in one unit; `None` when the units do not allow it.
    fn in_one_unit(&self, other: &Self, calendar_is_average: bool) -> Option<(Decimal, Decimal)> {
        if self.unit == other.unit {
            return Some((self.value, other.value));
        }
        let is_long = |unit: &Unit<'_>| matches!(unit, Unit::Calendar(CalendarUnit::Year | CalendarUnit::Month));
        if !calendar_is_average && is_long(&self.unit) | is_long(&other.unit) {
            return match (&self.unit, &other.unit) {
                (Unit::Calendar(CalendarUnit::Year), Unit::Calendar(CalendarUnit::Month)) => {
                    Some((self.value.checked_mul(Decimal::from(12))?, other.value))
                }
                (Unit::Calendar(CalendarUnit::Month), Unit::Calendar(CalendarUnit::Year)) => {
                    Some((self.value, other.value.checked_mul(Decimal::from(12))?))
                }
                _ => None,
            };
        }
        let (left, right) = (ucum::Unit::parse(self.ucum()?)?, ucum::Unit::parse(other.ucum()?)?);
        if !left.is_comparable(&right) {
            return None;
        }
        // Cross-multiplied by what is not 1 only, so that no places are made up.
        let scaled = |value: Decimal, factor: Decimal| {
            if factor == Decimal::from(1) { Some(value) } else { value.checked_mul(factor) }
        };
        let left_value = scaled(scaled(self.value, left.numerator)?, right.denominator)?;
        let right_value = scaled(scaled(other.value, right.numerator)?, left.denominator)?;
        Some((left_value, right_value))
    }

    /// Its unit as UCUM, when it has one.
    #[must_use]
    pub fn ucum(&self) -> Option<&str> {
        match &self.unit {
            Unit::Calendar(unit) => Some(unit.ucum()),
            Unit::Ucum(code) => Some(code),
            Unit::Other { .. } => None,
        }
    }

    /// The calendar unit that it moves a date by; a quoted word (`1 'month'`) is that word.
    pub(super) fn calendar_unit(&self) -> Option<CalendarUnit> {
        match &self.unit {
            Unit::Calendar(unit) => Some(*unit),
            Unit::Ucum(code) => CalendarUnit::of_ucum(code).or_else(|| CalendarUnit::of_word(code)),
            Unit::Other { .. } => None,
        }
    }

    /// Order by value; `None` when the units do not allow it.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        self.in_one_unit(other, false).map(|(left, right)| left.cmp(&right))
    }

    /// `=`: `None` where one is a calendar's year or month and the other an average; false for other dimensions (§6.1.1).
    #[must_use]
    pub fn equals(&self, other: &Self) -> Option<bool> {
        match self.in_one_unit(other, false) {
            Some((left, right)) => Some(left == right),
            None if self.in_one_unit(other, true).is_some() => None,
            None => Some(false),
        }
    }

    /// `~`: to the fewer places of the two (§6.1.2).
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.in_one_unit(other, true).is_some_and(|(left, right)| are_equivalent(left, right))
    }

    /// True when `comparable()` holds.
    #[must_use]
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.in_one_unit(other, false).is_some()
    }

    /// The product or quotient, its unit put together.
    pub(super) fn combine(&self, other: &Self, divide: bool) -> Option<Quantity<'t>> {
        let value = if divide { self.value.checked_div(other.value)? } else { self.value.checked_mul(other.value)? };
        let (left, right) = (self.ucum()?, other.ucum()?);
        let unit = match (divide, left, right) {
            (_, left, "1") => left.to_owned(),
            (false, "1", right) => right.to_owned(),
            (true, left, right) => format!("{left}/({right})"),
            (false, left, right) => format!("{left}.{right}"),
        };
        Some(Quantity { value, unit: Unit::Ucum(Cow::Owned(unit)) })
    }
}

/// Equal when both are rounded to the fewer places of the two.
pub(super) fn are_equivalent(left: Decimal, right: Decimal) -> bool {
    let places = left.without_trailing_zeros().scale().min(right.without_trailing_zeros().scale());
    left.round(places) == right.round(places)
}

impl fmt::Display for Quantity<'_> {
    /// As a literal: `4 'mg'`, `7 days`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unit {
            Unit::Calendar(unit) => {
                let plural = if self.value == Decimal::from(1) { "" } else { "s" };
                write!(f, "{} {}{plural}", self.value, unit.word())
            }
            Unit::Ucum(code) => write!(f, "{} '{code}'", self.value),
            Unit::Other { code: Some(code), .. } => write!(f, "{} '{code}'", self.value),
            Unit::Other { code: None, .. } => write!(f, "{}", self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity<'static> {
        Quantity::parse(text).expect("a quantity")
    }

    #[test]
    fn compares_in_one_unit() {
        assert_eq!(quantity("4.0 'g'").equals(&quantity("4000 'mg'")), Some(true));
        assert_eq!(quantity("7 days").equals(&quantity("1 week")), Some(true));
        assert_eq!(quantity("1 year").equals(&quantity("12 months")), Some(true));
        assert_eq!(quantity("1 year").equals(&quantity("1 'a'")), None);
        assert_eq!(quantity("1 'cm'").equals(&quantity("1 's'")), Some(false));
        assert_eq!(quantity("1 '[in_i]'").compare(&quantity("2.54 'cm'")), Some(Ordering::Equal));
        assert_eq!(quantity("1 'mg'").compare(&quantity("1 'nonsense'")), None);
        assert!(quantity("4 'g'").is_equivalent(&quantity("4040 'mg'")));
    }

    #[test]
    fn reads_what_the_literal_grammar_allows() {
        for text in ["1 wk", "1 'wk", "a", "1 ''", "1 'a'b'", "", "1.a"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
        assert_eq!(quantity("-1.50 'mg'").to_string(), "-1.50 'mg'");
        assert_eq!(quantity("2 week").to_string(), "2 weeks");
    }
}
