//! Whether everything adds up, by the rules of every engine and SQLite's own.

use onward_core::store::Checkup;
use rusqlite::Connection;

use super::failure::Failure;
use crate::checkup::{self, RULES, SIZES, TRANSFERS};
use crate::columns::Columns;

/// What only SQLite can tell of itself.
const OWN: [(&str, &str); 2] = [
    ("every row refers to rows that are there", "SELECT \"table\" AS flaw FROM pragma_foreign_key_check"),
    ("the file is whole", "SELECT 'see integrity_check' AS flaw FROM pragma_quick_check WHERE quick_check <> 'ok'"),
];

pub(super) fn run(c: &Connection) -> Result<Checkup, Failure> {
    let mut checkup = Checkup::default();
    each(c, TRANSFERS, |columns| Ok(checkup::place(&mut checkup, columns)?))?;
    let mut sizes = [0; 2];
    for (sql, size) in SIZES.iter().zip(&mut sizes) {
        each(c, sql, |columns| {
            *size = columns.count("n")?;
            Ok(())
        })?;
    }
    [checkup.copies, checkup.audit] = sizes;
    checkup::add_up(&mut checkup);
    for (rule, sql) in RULES.iter().chain(&OWN) {
        each(c, &checkup::counted(sql), |columns| Ok(checkup::judge(&mut checkup, rule, columns)?))?;
    }
    Ok(checkup)
}

fn each(c: &Connection, sql: &str, mut take: impl FnMut(&Columns<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut statement = c.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(&Columns::of("checkup", row))?;
    }
    Ok(())
}
