//! The directory of organisations: every import is a version, and all versions stay.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::directory::DirectoryEntry;
use onward_core::store::{DirectoryReading, ImportAudit, MovedAlong, NewDelivery};
use onward_core::{DeliveryId, OdsCode};
use rusqlite::{Row, params};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{audit, elsewhere};
use crate::columns::Columns;
use crate::query::resending;
use crate::rows;
use crate::rows::addresses::{Change, Follows, follows, is_overtaken, received_at};
use crate::stored::{json, micros, stored_count};

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

/// To `?1` go the copies that wait for the recipient `?2` at the address `?3` and that nobody has leased at `?4`. Where MESH finds the new
/// address by the person (`?5`), only what tells of the person to their own practice goes.
const MOVE_ALONG: &str = "UPDATE deliveries SET endpoint = ?1
     WHERE recipient = ?2 AND endpoint = ?3 AND state = 'queued' AND kind <> 'sender' AND notice_of IS NULL
         AND (lease_until IS NULL OR lease_until <= ?4) AND (NOT ?5 OR kind = 'registered-practice') RETURNING id";

/// What waits for the recipient `?1` at the address `?2` now: what follows when it is to be sent again, and what was made for another way of
/// receiving. Whether any can go along is `?3`, and whether MESH finds the new address by the person `?4`.
const LEFT_BEHIND: &str =
    "SELECT count(CASE WHEN can_go THEN 1 END) AS sending, count(CASE WHEN NOT can_go THEN 1 END) AS stay FROM (
         SELECT ?3 AND (NOT ?4 OR kind = 'registered-practice') AS can_go FROM deliveries
             WHERE recipient = ?1 AND endpoint = ?2 AND state = 'queued' AND kind <> 'sender' AND notice_of IS NULL
     ) waiting";

/// What waits for an address that changes goes to the new one.
fn move_along(c: &Keyed<'_>, entries: &[DirectoryEntry], at: Timestamp) -> Result<Vec<MovedAlong>, Failure> {
    let mut moved = Vec::new();
    for entry in entries {
        let Some(change) = own(c, entry.ods())?.and_then(|former| Change::of(&former, entry)) else { continue };
        let (goes_along, by_person) = (change.goes_along(), change.by_person());
        let (recipient, from, to) = (change.recipient.as_str(), json(&change.from), json(&change.to));
        let mut copies = 0;
        if goes_along {
            let along: Vec<String> = c
                .prepare_cached(MOVE_ALONG)?
                .query_and_then(params![to, recipient, from, micros(at), by_person], |row| row.get("id"))?
                .collect::<Result<_, rusqlite::Error>>()?;
            for id in &along {
                c.prepare_cached(resending::FORMERLY)?.execute(params![from, id])?;
                elsewhere::mark(c, id)?;
            }
            copies = along.len() as u64;
        }
        let (sending, stay) =
            c.prepare_cached(LEFT_BEHIND)?.query_row(params![recipient, from, goes_along, by_person], |row| {
                Ok((row.get::<_, i64>("sending")?, row.get::<_, i64>("stay")?))
            })?;
        moved.extend(change.came_to(copies, sending.unsigned_abs(), stay.unsigned_abs()));
    }
    Ok(moved)
}

/// A copy that waits to be sent again goes where its recipient receives now, if it received before where the copy was to go and the new address
/// takes it; whether it does.
pub(super) fn follow(c: &Keyed<'_>, copy: DeliveryId) -> Result<bool, Failure> {
    let id = copy.to_string();
    let found = c
        .prepare_cached(&resending::with_entries("= $1"))?
        .query_and_then([&id], |row| Ok::<_, Failure>(follows(&Columns::of("deliveries", row))))?
        .next()
        .transpose()?
        .flatten();
    let Some(Follows { recipient, from, to }) = found else { return Ok(false) };
    let received_there = c
        .prepare_cached(resending::ENTRIES)?
        .query_and_then([recipient.as_str()], |row| {
            Ok::<_, Failure>(received_at(&Columns::of("directory_entries", row), &from))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    if !received_there.contains(&true) {
        return Ok(false);
    }
    c.prepare_cached(resending::FORMERLY)?.execute(params![json(&from), id])?;
    c.prepare_cached(resending::READDRESS)?.execute(params![json(&to), id])?;
    elsewhere::mark_followed(c, &id)?;
    Ok(true)
}

/// Refuses copies whose addresses were read before the present version of the directory and are their recipients' no more.
pub(super) fn stand(c: &Keyed<'_>, copies: &[NewDelivery]) -> Result<(), Failure> {
    let Some(read) = copies.iter().filter_map(|copy| copy.directory).min() else { return Ok(()) };
    let version = version(c)?;
    if read >= version {
        return Ok(());
    }
    for copy in copies {
        if is_overtaken(copy, version, own(c, &copy.recipient)?.as_ref()) {
            return Err(Failure::Overtaken);
        }
    }
    Ok(())
}

fn version(c: &Keyed<'_>) -> Result<u64, Failure> {
    let version: i64 = c
        .prepare_cached("SELECT coalesce(max(version), 0) FROM directory_versions")?
        .query_row([], |row| row.get(0))?;
    u64::try_from(version).map_err(|_| Failure::corrupt("directory_versions", "version"))
}

/// The entry as it is read for copies that are to be made, with a version at which it is not older.
pub(super) fn reading(c: &Keyed<'_>, ods: &OdsCode) -> Result<DirectoryReading, Failure> {
    // First: what comes in between makes the entry newer.
    let version = version(c)?;
    Ok(DirectoryReading { entry: entry(c, ods)?, version })
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
