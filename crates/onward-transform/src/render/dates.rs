//! Dates and times as people in British care read them: `3 August 2026`, `15:30`, always Europe/London.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use onward_core::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn london() -> TimeZone {
    // The time zone database is compiled in (jiff's tzdb-bundle-always).
    TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC)
}

fn day(date: Date) -> String {
    let month = MONTHS[usize::from(date.month().unsigned_abs()).saturating_sub(1) % 12];
    format!("{} {month} {}", date.day(), date.year())
}

/// `3 August 2026 at 15:30`.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    let local = at.to_zoned(london());
    format!("{} at {:02}:{:02}", day(local.date()), local.hour(), local.minute())
}

/// `15:30`.
#[must_use]
pub fn time_of_day(at: Timestamp) -> String {
    let local = at.to_zoned(london());
    format!("{:02}:{:02}", local.hour(), local.minute())
}

/// `today at 15:30`, `tomorrow at 09:00`, else as [`moment`]; both days are London's.
#[must_use]
pub fn near_moment(at: Timestamp, now: Timestamp) -> String {
    let (date, today) = (date_of(at), date_of(now));
    let day = match () {
        () if date == today => "today",
        () if today.tomorrow().is_ok_and(|tomorrow| date == tomorrow) => "tomorrow",
        () if today.yesterday().is_ok_and(|yesterday| date == yesterday) => "yesterday",
        () => return moment(at),
    };
    format!("{day} at {}", time_of_day(at))
}

/// A FHIR date or dateTime as precise as it is (`2026`, `2026-08`, `2026-08-03`, `2026-08-03T14:30:00Z`); what is none
/// of these is shown as written.
#[must_use]
pub fn fhir(text: &str) -> String {
    if let Ok(at) = text.parse::<Timestamp>() {
        return moment(at);
    }
    if let Ok(date) = text.parse::<Date>() {
        return day(date);
    }
    let month = text.split_once('-').and_then(|(year, month)| {
        let number: usize = month.parse().ok()?;
        let name = MONTHS.get(number.checked_sub(1)?)?;
        (year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit())).then(|| format!("{name} {year}"))
    });
    month.unwrap_or_else(|| text.to_owned())
}

/// The day alone of a FHIR date or dateTime, in London; what is neither is shown by [`fhir`].
pub(super) fn day_of_fhir(text: &str) -> String {
    date_of_fhir(text).map_or_else(|| fhir(text), day)
}

/// Whole years from a full date of birth to a day; `None` for partial or impossible dates.
pub(super) fn age(born: &str, on: Date) -> Option<i16> {
    let born: Date = born.parse().ok()?;
    if born > on {
        return None;
    }
    let before_birthday = (on.month(), on.day()) < (born.month(), born.day());
    Some(on.year() - born.year() - i16::from(before_birthday))
}

/// The day of a moment in London.
pub(super) fn date_of(at: Timestamp) -> Date {
    at.to_zoned(london()).date()
}

/// The day of a FHIR date or dateTime.
pub(super) fn date_of_fhir(text: &str) -> Option<Date> {
    text.parse::<Timestamp>().map(date_of).or_else(|_| text.parse::<Date>()).ok()
}

/// The day of a moment in London, in words.
#[must_use]
pub fn day_of(at: Timestamp) -> String {
    day(date_of(at))
}

/// The day of a moment in London.
#[must_use]
pub fn civil(at: Timestamp) -> Date {
    date_of(at)
}

/// The first moment of a day in London, and that of the next.
#[must_use]
pub fn bounds(date: Date) -> Option<(Timestamp, Timestamp)> {
    let start = |date: Date| date.to_zoned(london()).ok().map(|zoned| zoned.timestamp());
    Some((start(date)?, start(date.tomorrow().ok()?)?))
}

/// Whether a moment is outside Monday to Friday, 08:00 to 18:00, in London. Bank holidays are not known.
#[must_use]
pub fn is_out_of_hours(at: Timestamp) -> bool {
    use jiff::civil::Weekday::{Saturday, Sunday};
    let local = at.to_zoned(london());
    matches!(local.weekday(), Saturday | Sunday) || !(8..18).contains(&local.hour())
}

/// A moment as FHIR instant, in UTC, to the millisecond.
pub(super) fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_summer_time() {
        assert_eq!(fhir("2026-08-03T14:30:00Z"), "3 August 2026 at 15:30");
        assert_eq!(fhir("2026-01-31T23:59:00+00:00"), "31 January 2026 at 23:59");
        assert_eq!(fhir("2026-06-30T23:30:00Z"), "1 July 2026 at 00:30", "midnight in London, not in UTC");
        assert_eq!(fhir("2026-08-03"), "3 August 2026");
        assert_eq!(fhir("2026-08"), "August 2026");
        assert_eq!(fhir("2026"), "2026");
        assert_eq!(day_of_fhir("2026-12-11T23:59:59.000Z"), "11 December 2026");
        assert_eq!(day_of_fhir("2026-06-30T23:30:00Z"), "1 July 2026");
        assert_eq!(day_of_fhir("2026-12"), "December 2026");
        for odd in ["", "2026-13", "yesterday", "26-08"] {
            assert_eq!(fhir(odd), odd);
        }
    }

    #[test]
    fn near_days_are_named() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        let now = at("2026-10-24T22:30:00Z");
        for (moment, words) in [
            ("2026-10-24T09:05:00Z", "today at 10:05"),
            ("2026-10-24T23:30:00Z", "tomorrow at 00:30"),
            ("2026-10-25T23:30:00Z", "tomorrow at 23:30"),
            ("2026-10-23T12:00:00Z", "yesterday at 13:00"),
            ("2026-10-26T12:00:00Z", "26 October 2026 at 12:00"),
        ] {
            assert_eq!(near_moment(at(moment), now), words, "{moment}");
        }
    }

    #[test]
    fn days_and_hours_are_londons() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        let (start, end) = bounds("2026-03-29".parse().expect("a date")).expect("a day");
        assert_eq!((start, end), (at("2026-03-29T00:00:00Z"), at("2026-03-29T23:00:00Z")), "a day of 23 hours");
        assert_eq!(day_of(at("2026-06-30T23:30:00Z")), "1 July 2026");
        for (moment, out) in [
            ("2026-11-26T07:59:59Z", true),
            ("2026-11-26T08:00:00Z", false),
            ("2026-11-26T17:59:59Z", false),
            ("2026-11-26T18:00:00Z", true),
            ("2026-07-01T07:30:00Z", false),
            ("2026-11-28T12:00:00Z", true),
        ] {
            assert_eq!(is_out_of_hours(at(moment)), out, "{moment}");
        }
    }

    #[test]
    fn ages() {
        let on: Date = "2026-08-03".parse().expect("a date");
        assert_eq!(age("1941-08-03", on), Some(85));
        assert_eq!(age("1941-08-04", on), Some(84));
        assert_eq!(age("2026-08-04", on), None, "born tomorrow is a mistake, not an age");
        assert_eq!(age("1941", on), None);
    }
}
