//! Core types to and from columns. What cannot be read back is [`Failure::Corrupt`], named by table and column.

use std::str::FromStr;

use jiff::{Timestamp, tz::TimeZone};
use rusqlite::Row;
use rusqlite::types::FromSql;
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// A moment as stored: microseconds since 1970, which hold every `Timestamp`.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The moment of [`micros`]. `Timestamp::from_microsecond` would refuse the last second that exists.
fn from_micros(micros: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).ok()?;
    Timestamp::new(micros.div_euclid(1_000_000), nanos).ok()
}

/// The same for a moment that may be missing.
pub(super) fn micros_opt(at: Option<Timestamp>) -> Option<i64> {
    at.map(micros)
}

/// The month (UTC) by which bodies are retained: year * 100 + month.
pub(super) fn month(at: Timestamp) -> i64 {
    let date = at.to_zoned(TimeZone::UTC).date();
    i64::from(date.year()) * 100 + i64::from(date.month())
}

/// A token as stored: SQLite's integers are signed, and every bit is kept.
pub(super) fn signed(token: u64) -> i64 {
    i64::from_ne_bytes(token.to_ne_bytes())
}

/// One row of a named table.
pub(super) struct Columns<'a> {
    row: &'a Row<'a>,
    table: &'static str,
}

impl<'a> Columns<'a> {
    pub(super) fn of(table: &'static str, row: &'a Row<'a>) -> Self {
        Self { row, table }
    }

    /// The column as it is.
    pub(super) fn get<T: FromSql>(&self, column: &'static str) -> Result<T, Failure> {
        self.row.get(column).map_err(|_| Failure::corrupt(self.table, column))
    }

    /// The column as a word or identifier.
    pub(super) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, Failure> {
        self.get::<String>(column)?.parse().map_err(|_| Failure::corrupt(self.table, column))
    }

    /// The same where it may be NULL.
    pub(super) fn parsed_opt<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Failure> {
        self.get::<Option<String>>(column)?
            .map(|text| text.parse().map_err(|_| Failure::corrupt(self.table, column)))
            .transpose()
    }

    /// The column as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Failure> {
        serde_json::from_str(&self.get::<String>(column)?).map_err(|_| Failure::corrupt(self.table, column))
    }

    /// The column as a moment.
    pub(super) fn moment(&self, column: &'static str) -> Result<Timestamp, Failure> {
        self.moment_opt(column)?.ok_or_else(|| Failure::corrupt(self.table, column))
    }

    /// The same where it may be NULL.
    pub(super) fn moment_opt(&self, column: &'static str) -> Result<Option<Timestamp>, Failure> {
        self.get::<Option<i64>>(column)?
            .map(|micros| from_micros(micros).ok_or_else(|| Failure::corrupt(self.table, column)))
            .transpose()
    }

    /// The column as a number that is never negative.
    pub(super) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Failure> {
        T::try_from(self.get::<i64>(column)?).map_err(|_| Failure::corrupt(self.table, column))
    }

    /// The column as a yes or no.
    pub(super) fn flag(&self, column: &'static str) -> Result<bool, Failure> {
        match self.get::<i64>(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Failure::corrupt(self.table, column)),
        }
    }
}

/// Our own structures always write: they have no maps with odd keys and no failing serializers.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own structure serializes")
}

/// A count or size as stored.
pub(super) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_survives_to_the_microsecond() {
        for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let back = from_micros(micros(at)).expect("in range");
            assert!(at.duration_since(back).abs() < jiff::SignedDuration::from_micros(1), "{at}");
        }
    }

    #[test]
    fn months_turn_at_midnight_utc() {
        let before: Timestamp = "2026-12-31T23:59:59.999999Z".parse().expect("moment");
        assert_eq!(month(before), 202_612);
        assert_eq!(month(before + jiff::SignedDuration::from_micros(1)), 202_701);
    }
}
