//! Whether everything adds up, by the rules of every engine and SQLite's own.

use onward_core::store::{Checkup, Flaw};
use rusqlite::Connection;

use super::failure::Failure;
use crate::checkup::{self, RULES, SIZES};
use crate::columns::Columns;

/// What only SQLite can tell of itself, and what it says in its own words.
const OWN: [(&str, &str); 4] = [
    ("every row refers to rows that are there", "SELECT \"table\" AS flaw FROM pragma_foreign_key_check"),
    (
        checkup::MISSED_PARTS,
        "SELECT b.delivery AS flaw FROM rendition_bodies b JOIN deliveries d ON d.id = b.delivery JOIN json_each(b.parts) u
             LEFT JOIN rendition_parts p ON p.transfer = d.transfer AND p.month = b.month AND p.digest = unhex(u.value)
             WHERE b.parts IS NOT NULL AND p.digest IS NULL",
    ),
    (
        checkup::SPARE_PARTS,
        "SELECT p.transfer AS flaw FROM rendition_parts p LEFT JOIN (
                 SELECT d.transfer, b.month, unhex(u.value) AS digest
                 FROM rendition_bodies b JOIN deliveries d ON d.id = b.delivery JOIN json_each(b.parts) u
                 WHERE b.parts IS NOT NULL) c
             ON c.transfer = p.transfer AND c.month = p.month AND c.digest = p.digest WHERE c.digest IS NULL",
    ),
    ("the file is whole", "SELECT 'see integrity_check' AS flaw FROM pragma_quick_check WHERE quick_check <> 'ok'"),
];

/// By the rules of every engine, in one snapshot.
pub(super) fn run(c: &Connection) -> Result<Checkup, Failure> {
    let mut checkup = Checkup::default();
    each(c, &checkup::transfers(), |columns| Ok(checkup::place(&mut checkup, columns)?))?;
    let mut sizes = [0; SIZES.len()];
    for (sql, size) in SIZES.iter().zip(&mut sizes) {
        each(c, sql, |columns| {
            *size = columns.count("n")?;
            Ok(())
        })?;
    }
    [checkup.accepted, checkup.copies, checkup.audit] = sizes;
    checkup::add_up(&mut checkup);
    judge(c, RULES, &mut checkup)?;
    Ok(checkup)
}

/// What SQLite finds broken of itself. It reads the whole file, and may do so beside the other rules: none of it depends on theirs.
pub(super) fn own(c: &Connection) -> Result<Vec<Flaw>, Failure> {
    let mut checkup = Checkup::default();
    judge(c, &OWN, &mut checkup)?;
    Ok(checkup.flaws)
}

fn judge(c: &Connection, rules: &[(&'static str, &str)], checkup: &mut Checkup) -> Result<(), Failure> {
    for (rule, sql) in rules {
        each(c, &checkup::counted(sql), |columns| Ok(checkup::judge(checkup, rule, columns)?))?;
    }
    Ok(())
}

fn each(c: &Connection, sql: &str, mut take: impl FnMut(&Columns<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut statement = c.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(&Columns::of("checkup", row))?;
    }
    Ok(())
}
