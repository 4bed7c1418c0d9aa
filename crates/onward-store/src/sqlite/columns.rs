//! A row of SQLite as [`Cells`].

use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::columns::Cells;

impl Cells for Row<'_> {
    fn text(&self, column: &str) -> Option<Option<String>> {
        cell(self, column)
    }

    fn bytes(&self, column: &str) -> Option<Option<Vec<u8>>> {
        cell(self, column)
    }

    fn number(&self, column: &str) -> Option<Option<i64>> {
        cell(self, column)
    }

    fn flag(&self, column: &str) -> Option<bool> {
        match cell(self, column)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

fn cell<T: FromSql>(row: &Row<'_>, column: &str) -> Option<T> {
    row.get(column).ok()
}
