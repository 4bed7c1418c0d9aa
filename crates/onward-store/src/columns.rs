//! Columns of either engine's rows to core types. What cannot be read back is [`Corrupt`], named by table and column.

use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::stored::from_micros;

/// What is stored is not what was written; names `table.column`, never the value.
#[derive(Debug)]
pub(crate) struct Corrupt(pub(crate) String);

impl Corrupt {
    pub(crate) fn at(table: &str, column: &str) -> Self {
        Self(format!("{table}.{column}"))
    }
}

/// A row of an engine, by column names. The outer `None` means that the column holds nothing of that type.
pub(crate) trait Cells {
    fn text(&self, column: &str) -> Option<Option<String>>;
    fn bytes(&self, column: &str) -> Option<Option<Vec<u8>>>;
    fn number(&self, column: &str) -> Option<Option<i64>>;
    fn flag(&self, column: &str) -> Option<bool>;
}

/// A value that is read as it is.
pub(crate) trait Cell: Sized {
    fn of(row: &dyn Cells, column: &str) -> Option<Self>;
}

impl Cell for Option<String> {
    fn of(row: &dyn Cells, column: &str) -> Option<Self> {
        row.text(column)
    }
}

impl Cell for String {
    fn of(row: &dyn Cells, column: &str) -> Option<Self> {
        row.text(column)?
    }
}

impl Cell for Option<Vec<u8>> {
    fn of(row: &dyn Cells, column: &str) -> Option<Self> {
        row.bytes(column)
    }
}

impl Cell for Vec<u8> {
    fn of(row: &dyn Cells, column: &str) -> Option<Self> {
        row.bytes(column)?
    }
}

impl Cell for [u8; 32] {
    fn of(row: &dyn Cells, column: &str) -> Option<Self> {
        row.bytes(column)??.try_into().ok()
    }
}

/// One row of a named table.
pub(crate) struct Columns<'a> {
    row: &'a dyn Cells,
    table: &'static str,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(table: &'static str, row: &'a dyn Cells) -> Self {
        Self { row, table }
    }

    /// Its table.
    pub(crate) fn table(&self) -> &'static str {
        self.table
    }

    /// The column as it is.
    pub(crate) fn get<T: Cell>(&self, column: &'static str) -> Result<T, Corrupt> {
        T::of(self.row, column).ok_or_else(|| self.corrupt(column))
    }

    /// The column as a word or identifier.
    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, Corrupt> {
        self.get::<String>(column)?.parse().map_err(|_| self.corrupt(column))
    }

    /// The same where it may be NULL.
    pub(crate) fn parsed_opt<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Corrupt> {
        self.get::<Option<String>>(column)?.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    /// The column as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Corrupt> {
        serde_json::from_str(&self.get::<String>(column)?).map_err(|_| self.corrupt(column))
    }

    /// The column as a moment.
    pub(crate) fn moment(&self, column: &'static str) -> Result<Timestamp, Corrupt> {
        self.moment_opt(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// The same where it may be NULL.
    pub(crate) fn moment_opt(&self, column: &'static str) -> Result<Option<Timestamp>, Corrupt> {
        let micros = self.row.number(column).ok_or_else(|| self.corrupt(column))?;
        micros.map(|micros| from_micros(micros).ok_or_else(|| self.corrupt(column))).transpose()
    }

    /// The column as a number that is never negative.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Corrupt> {
        let number = self.row.number(column).flatten().ok_or_else(|| self.corrupt(column))?;
        T::try_from(number).map_err(|_| self.corrupt(column))
    }

    /// The same, where there may be none.
    pub(crate) fn count_opt<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, Corrupt> {
        let number = self.row.number(column).ok_or_else(|| self.corrupt(column))?;
        number.map(|number| T::try_from(number).map_err(|_| self.corrupt(column))).transpose()
    }

    /// The column as a yes or no.
    pub(crate) fn flag(&self, column: &'static str) -> Result<bool, Corrupt> {
        self.row.flag(column).ok_or_else(|| self.corrupt(column))
    }

    /// That the column is not what was written.
    pub(crate) fn corrupt(&self, column: &str) -> Corrupt {
        Corrupt::at(self.table, column)
    }
}
