//! Dates, date-times and times with the precision they were written with (FHIRPath §2.1.20–22, §6.6.7).

mod read;

use std::cmp::Ordering;
use std::fmt;

/// Which of the three it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemporalKind {
    /// `@2015-02`
    Date,
    /// `@2015-02-04T14:34`
    DateTime,
    /// `@T14:34`
    Time,
}

/// How far it is told. Seconds and their fraction are one precision (§6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// Year.
    Year,
    /// Month.
    Month,
    /// Day.
    Day,
    /// Hour.
    Hour,
    /// Minute.
    Minute,
    /// Second, with or without a fraction.
    Second,
}

/// A date, date-time or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporal {
    pub(super) kind: TemporalKind,
    pub(super) precision: Precision,
    pub(super) year: i16,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) nanosecond: u32,
    pub(super) fraction_digits: u8,
    /// Minutes east of UTC.
    pub(super) offset: Option<i16>,
}

const NANOSECONDS: i64 = 1_000_000_000;
const SECONDS_OF_DAY: i64 = 86_400;
/// The widest offsets in use: what a time without one may mean.
const OFFSET_MAX_SECONDS: i64 = 14 * 3600;

impl Temporal {
    /// Which of the three it is.
    #[must_use]
    pub fn kind(&self) -> TemporalKind {
        self.kind
    }

    /// The date of a date-time; a date as it is.
    #[must_use]
    pub fn to_date(self) -> Option<Self> {
        (self.kind != TemporalKind::Time).then(|| Self {
            precision: self.precision.min(Precision::Day),
            hour: 0,
            minute: 0,
            second: 0,
            nanosecond: 0,
            fraction_digits: 0,
            offset: None,
            kind: TemporalKind::Date,
            ..self
        })
    }

    /// A date as a date-time of the same precision.
    #[must_use]
    pub fn to_date_time(self) -> Option<Self> {
        (self.kind != TemporalKind::Time).then_some(Self { kind: TemporalKind::DateTime, ..self })
    }

    /// The time of day of a date-time that has one.
    #[must_use]
    pub fn to_time(self) -> Option<Self> {
        (self.precision >= Precision::Hour).then_some(Self {
            kind: TemporalKind::Time,
            year: 1,
            month: 1,
            day: 1,
            offset: None,
            ..self
        })
    }

    /// Digits of its precision, as `precision()` counts them: `2014` has 4, `T10:30` 4, a whole date-time 17.
    #[must_use]
    pub fn digits(&self) -> u8 {
        let from_year = match self.precision {
            Precision::Year => 4,
            Precision::Month => 6,
            Precision::Day => 8,
            Precision::Hour => 10,
            Precision::Minute => 12,
            Precision::Second => 14 + self.fraction_digits,
        };
        if self.kind == TemporalKind::Time { from_year - 8 } else { from_year }
    }

    /// Days since 1970-01-01.
    fn days(&self) -> i64 {
        days_from_civil(i64::from(self.year), i64::from(self.month), i64::from(self.day))
    }

    /// Seconds since the epoch of the clock face, the offset left aside.
    fn clock_seconds(&self) -> i64 {
        let of_day = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        self.days() * SECONDS_OF_DAY + of_day
    }

    fn instant(&self) -> (i64, u32) {
        (self.clock_seconds() - i64::from(self.offset.unwrap_or(0)) * 60, self.nanosecond)
    }

    /// Order by value where the precisions allow to tell (§6.2); `None` where they do not.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if (self.kind == TemporalKind::Time) != (other.kind == TemporalKind::Time) {
            return None;
        }
        let to_minutes = self.precision >= Precision::Minute && other.precision >= Precision::Minute;
        let (left, right) = match (self.offset, other.offset) {
            (Some(_), Some(_)) if to_minutes => (self.at_offset_zero(), other.at_offset_zero()),
            (Some(_), None) | (None, Some(_)) if to_minutes => return self.compare_without_offset(other),
            _ => (*self, *other),
        };
        let parts = |each: &Self| {
            let second = i64::from(each.second) * NANOSECONDS + i64::from(each.nanosecond);
            let whole = [each.year.into(), each.month.into(), each.day.into(), each.hour.into(), each.minute.into()];
            let [year, month, day, hour, minute]: [i64; 5] = whole;
            [year, month, day, hour, minute, second]
        };
        let shared = left.precision.min(right.precision) as usize + 1;
        match parts(&left)[..shared].cmp(&parts(&right)[..shared]) {
            Ordering::Equal if left.precision != right.precision => None,
            order => Some(order),
        }
    }

    /// One of the two has no offset: certain only when further apart than any offset can move it.
    fn compare_without_offset(&self, other: &Self) -> Option<Ordering> {
        let (left, right) = (self.instant(), other.instant());
        ((left.0 - right.0).abs() > OFFSET_MAX_SECONDS).then(|| left.cmp(&right))
    }

    fn at_offset_zero(self) -> Self {
        let (seconds, _) = self.instant();
        self.with_clock_seconds(seconds).map_or(self, |moved| Self { offset: Some(0), ..moved })
    }

    fn with_clock_seconds(self, seconds: i64) -> Option<Self> {
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_OF_DAY));
        let of_day = seconds.rem_euclid(SECONDS_OF_DAY);
        let small = |value: i64| u8::try_from(value).ok();
        // Year 0 is reached only by moving 0001-01-01 to UTC; it orders rightly.
        let year = i16::try_from(year).ok().filter(|year| (0..=10_000).contains(year))?;
        Some(Self {
            year,
            month: small(month)?,
            day: small(day)?,
            hour: small(of_day / 3600)?,
            minute: small(of_day / 60 % 60)?,
            second: small(of_day % 60)?,
            ..self
        })
    }

    /// Moves by whole months, to the last day of a shorter month (§6.6.7); `None` outside the years 1 to 9999.
    pub(super) fn add_months(self, months: i64) -> Option<Self> {
        let months = if self.precision == Precision::Year { months / 12 * 12 } else { months };
        let total = (i64::from(self.year) * 12 + i64::from(self.month) - 1).checked_add(months)?;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
        let year = i16::try_from(year).ok().filter(|year| (1..=9999).contains(year))?;
        let month = u8::try_from(month).ok()?;
        Some(Self { year, month, day: self.day.min(days_in_month(year, month)), ..self })
    }

    /// Moves by an exact time, cut to what its precision can show; a time of day runs round the clock.
    pub(super) fn add_nanoseconds(self, nanoseconds: i128) -> Option<Self> {
        let unit: i128 = match self.precision {
            Precision::Year => return self.add_months(i64::try_from(nanoseconds / (DAY * 365)).ok()?.checked_mul(12)?),
            Precision::Month => return self.add_months(i64::try_from(nanoseconds / (DAY * 30)).ok()?),
            Precision::Day => DAY,
            Precision::Hour => DAY / 24,
            Precision::Minute => DAY / 1440,
            Precision::Second => 1,
        };
        let nanoseconds = nanoseconds / unit * unit;
        let now = i128::from(self.clock_seconds()) * i128::from(NANOSECONDS) + i128::from(self.nanosecond);
        let mut moved = now.checked_add(nanoseconds)?;
        if self.kind == TemporalKind::Time {
            let midnight = i128::from(self.days()) * DAY;
            moved = midnight + (moved - midnight).rem_euclid(DAY);
        }
        let seconds = i64::try_from(moved.div_euclid(i128::from(NANOSECONDS))).ok()?;
        let nanosecond = u32::try_from(moved.rem_euclid(i128::from(NANOSECONDS))).ok()?;
        let made = self.with_clock_seconds(seconds).filter(|made| (1..=9999).contains(&made.year))?;
        Some(Self { nanosecond, fraction_digits: made.fraction_digits.max(digits_needed(nanosecond)), ..made })
    }

    /// The earliest (or latest) moment that it can mean, told to `digits` digits; `None` for digits that no precision has.
    pub(super) fn boundary(self, digits: u8, latest: bool) -> Option<Self> {
        let time_shift = if self.kind == TemporalKind::Time { 8 } else { 0 };
        let (precision, fraction_digits) = match digits.saturating_add(time_shift) {
            4 => (Precision::Year, 0),
            6 => (Precision::Month, 0),
            8 => (Precision::Day, 0),
            10 => (Precision::Hour, 0),
            12 => (Precision::Minute, 0),
            14 => (Precision::Second, 0),
            17 => (Precision::Second, 3),
            _ => return None,
        };
        if self.kind == TemporalKind::Time && precision <= Precision::Day
            || self.kind == TemporalKind::Date && precision > Precision::Day
        {
            return None;
        }
        let mut made = Self { precision, fraction_digits, ..self };
        if latest {
            if self.precision < Precision::Month {
                made.month = 12;
            }
            if self.precision < Precision::Day {
                made.day = days_in_month(made.year, made.month);
            }
            if self.precision < Precision::Hour {
                (made.hour, made.minute) = (23, 59);
            }
            // An hour alone is not FHIR; it is read as that hour's first minute, as the HL7 validator does.
            if self.precision < Precision::Second {
                (made.second, made.nanosecond) = (59, 999_000_000);
            } else if self.fraction_digits == 0 {
                made.nanosecond = 999_000_000;
            }
        }
        if self.kind == TemporalKind::DateTime && precision >= Precision::Minute && self.offset.is_none() {
            made.offset = Some(if latest { -12 * 60 } else { 14 * 60 });
        }
        if precision < Precision::Minute {
            made.offset = None;
        }
        Some(made)
    }
}

const DAY: i128 = SECONDS_OF_DAY as i128 * NANOSECONDS as i128;

/// Digits of the fraction without which the value would not be told, of milliseconds at least.
fn digits_needed(nanosecond: u32) -> u8 {
    match nanosecond {
        0 => 0,
        n if n % 1_000_000 == 0 => 3,
        n if n % 1000 == 0 => 6,
        _ => 9,
    }
}

impl fmt::Display for Temporal {
    /// As FHIR writes it, without `@`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != TemporalKind::Time {
            write!(f, "{:04}", self.year)?;
            if self.precision >= Precision::Month {
                write!(f, "-{:02}", self.month)?;
            }
            if self.precision >= Precision::Day {
                write!(f, "-{:02}", self.day)?;
            }
            if self.precision >= Precision::Hour {
                f.write_str("T")?;
            }
        }
        if self.precision >= Precision::Hour {
            write!(f, "{:02}", self.hour)?;
        }
        if self.precision >= Precision::Minute {
            write!(f, ":{:02}", self.minute)?;
        }
        if self.precision >= Precision::Second {
            write!(f, ":{:02}", self.second)?;
            if self.fraction_digits > 0 {
                let digits = format!("{:09}", self.nanosecond);
                write!(f, ".{}", digits.get(..usize::from(self.fraction_digits)).unwrap_or_default())?;
            }
        }
        match self.offset {
            None => Ok(()),
            Some(0) => f.write_str("Z"),
            Some(offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
            }
        }
    }
}

fn is_leap(year: i16) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar, counted in years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Temporal {
        Temporal::date_time(text).expect("a date-time")
    }

    #[test]
    fn reads_and_writes_with_its_precision() {
        for text in ["2015", "2015-02", "2016-02-29", "2015-02-04T14", "2015-02-04T14:34:28.120+10:00"] {
            assert_eq!(at(text).to_string(), text);
        }
        for text in ["", "15", "2015-13", "2015-02-30", "2015-02T14", "2015-02-04T24:00", "2015-02-04T10:00+1", "0000"]
        {
            assert!(Temporal::date_time(text).is_none(), "{text}");
        }
        assert!(Temporal::time("14:34:28Z").is_none() && Temporal::date("2015-02-04T").is_none());
    }

    #[test]
    fn compares_as_far_as_told() {
        assert_eq!(at("2018-03").compare(&at("2018-03-01")), None);
        assert_eq!(at("2018-03").compare(&at("2018-04-01")), Some(Ordering::Less));
        assert_eq!(at("2018-03-01T10:30:00").compare(&at("2018-03-01T10:30:00.0")), Some(Ordering::Equal));
        let (west, east) = (at("2017-11-05T01:30:00.0-04:00"), at("2017-11-05T00:30:00.0-05:00"));
        assert_eq!(west.compare(&east), Some(Ordering::Equal));
        assert_eq!(at("2012-04-15T15:00:00Z").compare(&at("2012-04-15T10:00:00")), None);
        assert_eq!(at("2012-04-15T15:00:00Z").compare(&at("2012-04-17T10:00:00")), Some(Ordering::Less));
        assert_eq!(at("0001-01-01T00:00:00+14:00").compare(&at("0001-01-01T00:00:00Z")), Some(Ordering::Less));
    }

    #[test]
    fn moves_along_the_calendar() {
        let day = Temporal::date("2020-01-31").expect("a date");
        assert_eq!(day.add_months(1).expect("in range").to_string(), "2020-02-29");
        assert_eq!(day.add_nanoseconds(DAY * 30).expect("in range").to_string(), "2020-03-01");
        assert_eq!(day.add_months(-12 * 2020), None);
        let time = Temporal::time("23:30").expect("a time");
        assert_eq!(time.add_nanoseconds(DAY / 24).expect("round the clock").to_string(), "00:30");
        for days in [-719_162, -1, 0, 59, 11_016, 2_932_896] {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
