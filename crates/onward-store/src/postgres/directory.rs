//! The directory of organisations: every import is a version, and all versions stay.

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::OdsCode;
use onward_core::audit::AuditRow;
use onward_core::directory::DirectoryEntry;
use tokio_postgres::Row;

use super::failure::Failure;
use super::session;
use super::work::Work;
use crate::columns::Columns;
use crate::rows;
use crate::stored::{json, micros, stored_count};

/// Only the current entry of each code.
const CURRENT: &str =
    "FROM directory_entries e WHERE e.version = (SELECT max(version) FROM directory_entries WHERE ods = e.ods)";

/// Entries that become a version.
pub(super) struct Import {
    pub(super) entries: Vec<DirectoryEntry>,
    pub(super) source: String,
    pub(super) at: Timestamp,
    pub(super) audit: Vec<AuditRow>,
}

/// A version of one entry, if that still stands as it was.
pub(super) struct Amendment {
    pub(super) was: DirectoryEntry,
    pub(super) import: Import,
}

pub(super) async fn amend<'j>(work: &mut Work<'j>, amendment: &'j Amendment) -> Result<bool, Failure> {
    // Whoever else changes the directory waits for this row, so that what is read after it stays true until the commit.
    session::first(work.client(), "SELECT version FROM directory_head WHERE id = 1 FOR UPDATE", &[]).await?;
    if entry(work.client(), amendment.was.ods()).await?.as_ref() != Some(&amendment.was) {
        return Ok(false);
    }
    import(work, &amendment.import).await?;
    Ok(true)
}

pub(super) async fn import<'j>(work: &mut Work<'j>, import: &'j Import) -> Result<u64, Failure> {
    let c = work.client();
    let sql = "UPDATE directory_head SET version = version + 1 WHERE id = 1 RETURNING version";
    let row = session::first(c, sql, &[]).await?.ok_or_else(|| Failure::corrupt("directory_head", "id"))?;
    let version: i64 = Columns::of("directory_head", &row).count("version")?;
    let entries = &import.entries;
    session::execute(
        c,
        "INSERT INTO directory_versions (version, source, at, entries) VALUES ($1, $2, $3, $4)",
        &[&version, &import.source, &micros(import.at), &stored_count(entries.len() as u64)],
    )
    .await?;
    session::execute(
        c,
        "INSERT INTO directory_entries (ods, version, kind, entry)
         SELECT ods, $1, kind, entry FROM unnest($2::text[], $3::text[], $4::text[]) AS u(ods, kind, entry)",
        &[
            &version,
            &entries.iter().map(|entry| entry.ods().as_str()).collect::<Vec<_>>(),
            &entries.iter().map(DirectoryEntry::kind).collect::<Vec<_>>(),
            &entries.iter().map(json).collect::<Vec<_>>(),
        ],
    )
    .await?;
    let (mut codes, mut homes) = (Vec::new(), Vec::new());
    for entry in entries {
        if let DirectoryEntry::CareHome(home) = entry {
            codes.extend(home.other_ods.iter().map(OdsCode::as_str));
            homes.extend(home.other_ods.iter().map(|_| home.ods.as_str()));
        }
    }
    session::execute(
        c,
        "INSERT INTO directory_codes (code, ods, version)
         SELECT code, ods, $1 FROM unnest($2::text[], $3::text[]) AS u(code, ods) ON CONFLICT DO NOTHING",
        &[&version, &codes, &homes],
    )
    .await?;
    work.audit(&import.audit);
    u64::try_from(version).map_err(|_| Failure::corrupt("directory_head", "version"))
}

/// By the code itself, else by another code of a home. A code that two homes claim names neither:
/// whoever asks must not be given a guess.
pub(super) async fn entry(c: &Client, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    let own = session::first(c, &format!("SELECT e.entry {CURRENT} AND e.ods = $1"), &[&ods.as_str()]).await?;
    if let Some(row) = own {
        return read(&row).map(Some);
    }
    let claimed = session::all(
        c,
        &format!(
            "SELECT e.entry {CURRENT} AND EXISTS (SELECT 1 FROM directory_codes
                 WHERE code = $1 AND ods = e.ods AND version = e.version) LIMIT 2"
        ),
        &[&ods.as_str()],
    )
    .await?;
    match claimed.as_slice() {
        [row] => read(row).map(Some),
        _ => Ok(None),
    }
}

pub(super) async fn all(c: &Client) -> Result<Vec<DirectoryEntry>, Failure> {
    let rows = session::all(c, &format!("SELECT e.entry {CURRENT}"), &[]).await?;
    let mut entries = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    // Here, because databases differ in the order of texts.
    entries.sort_by(|a, b| (a.kind(), a.ods()).cmp(&(b.kind(), b.ods())));
    Ok(entries)
}

fn read(row: &Row) -> Result<DirectoryEntry, Failure> {
    Ok(rows::directory_entry(&Columns::of("directory_entries", row))?)
}
