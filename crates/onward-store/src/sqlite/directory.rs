//! The directory of organisations: every import is a version, and all versions stay.

use jiff::Timestamp;
use onward_core::OdsCode;
use onward_core::audit::AuditRow;
use onward_core::directory::DirectoryEntry;
use onward_core::store::{ImportAudit, MovedAlong};
use rusqlite::{Row, params};

use super::audit;
use super::failure::Failure;
use super::keyed::Keyed;
use crate::columns::Columns;
use crate::stored::{json, micros, stored_count};
use crate::{query, rows};

/// Only the current entry of each code.
const CURRENT: &str =
    "FROM directory_entries e WHERE e.version = (SELECT max(version) FROM directory_entries WHERE ods = e.ods)";

pub(super) fn import(
    c: &Keyed<'_>,
    entries: &[DirectoryEntry],
    source: &str,
    at: Timestamp,
    audit: &ImportAudit,
) -> Result<u64, Failure> {
    let moved = move_along(c, entries, at)?;
    let version = keep(c, entries, source, at)?;
    audit::append(c, &audit.rows(&moved))?;
    Ok(version)
}

/// What is queued for an address that changes goes to the new one.
fn move_along(c: &Keyed<'_>, entries: &[DirectoryEntry], at: Timestamp) -> Result<Vec<MovedAlong>, Failure> {
    let mut moved = Vec::new();
    for entry in entries {
        let (ods, to) = (entry.ods(), entry.endpoint());
        let Some(former) = own(c, ods)? else { continue };
        let from = former.endpoint();
        if from == to || !from.leads_on_to(to, true) {
            continue;
        }
        let by_person = !from.leads_on_to(to, false);
        let copies = c.prepare_cached(query::resending::MOVE_ALONG)?.execute(params![
            json(to),
            ods.as_str(),
            json(from),
            micros(at),
            by_person
        ])?;
        if copies > 0 {
            let (recipient, from, to) = (ods.clone(), from.clone(), to.clone());
            moved.push(MovedAlong { recipient, from, to, copies: copies as u64 });
        }
    }
    Ok(moved)
}

fn keep(c: &Keyed<'_>, entries: &[DirectoryEntry], source: &str, at: Timestamp) -> Result<u64, Failure> {
    let version: i64 = c
        .prepare_cached("SELECT coalesce(max(version), 0) + 1 FROM directory_versions")?
        .query_row([], |row| row.get(0))?;
    c.prepare_cached("INSERT INTO directory_versions (version, source, at, entries) VALUES (?, ?, ?, ?)")?
        .execute(params![version, source, micros(at), stored_count(entries.len() as u64)])?;
    let mut insert =
        c.prepare_cached("INSERT INTO directory_entries (ods, version, kind, entry) VALUES (?, ?, ?, ?)")?;
    let mut also =
        c.prepare_cached("INSERT INTO directory_codes (code, ods, version) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?;
    for entry in entries {
        insert.execute(params![entry.ods().as_str(), version, entry.kind(), json(entry)])?;
        if let DirectoryEntry::CareHome(home) = entry {
            for code in &home.other_ods {
                also.execute(params![code.as_str(), home.ods.as_str(), version])?;
            }
        }
    }
    u64::try_from(version).map_err(|_| Failure::corrupt("directory_versions", "version"))
}

/// A version of one entry, if that still stands as it was.
pub(super) fn amend(
    c: &Keyed<'_>,
    was: &DirectoryEntry,
    entry: &DirectoryEntry,
    source: &str,
    at: Timestamp,
    audit: &[AuditRow],
) -> Result<bool, Failure> {
    if self::entry(c, was.ods())?.as_ref() != Some(was) {
        return Ok(false);
    }
    keep(c, std::slice::from_ref(entry), source, at)?;
    audit::append(c, audit)?;
    Ok(true)
}

/// By the code itself, else by another code of a home. A code that two homes claim names neither:
/// whoever asks must not be given a guess.
pub(super) fn entry(c: &Keyed<'_>, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    if let Some(own) = own(c, ods)? {
        return Ok(Some(own));
    }
    let mut claimed = c
        .prepare_cached(&format!(
            "SELECT e.entry {CURRENT} AND EXISTS (SELECT 1 FROM directory_codes
                 WHERE code = ? AND ods = e.ods AND version = e.version) LIMIT 2"
        ))?
        .query_and_then([ods.as_str()], read)?
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(if claimed.len() == 1 { claimed.pop() } else { None })
}

fn own(c: &Keyed<'_>, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    c.prepare_cached(&format!("SELECT e.entry {CURRENT} AND e.ods = ?"))?
        .query_and_then([ods.as_str()], read)?
        .next()
        .transpose()
}

pub(super) fn all(c: &Keyed<'_>) -> Result<Vec<DirectoryEntry>, Failure> {
    c.prepare_cached(&format!("SELECT e.entry {CURRENT} ORDER BY e.kind, e.ods"))?.query_and_then([], read)?.collect()
}

fn read(row: &Row<'_>) -> Result<DirectoryEntry, Failure> {
    Ok(rows::directory_entry(&Columns::of("directory_entries", row))?)
}
