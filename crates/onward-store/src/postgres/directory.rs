//! The directory of organisations: every import is a version, and all versions stay.

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::OdsCode;
use onward_core::audit::AuditRow;
use onward_core::directory::DirectoryEntry;
use onward_core::store::{ImportAudit, MovedAlong};
use tokio_postgres::Row;

use super::failure::Failure;
use super::work::Work;
use super::{dispatch, session};
use crate::columns::Columns;
use crate::stored::{json, micros, stored_count};
use crate::{query, rows};

/// Only the current entry of each code.
const CURRENT: &str =
    "FROM directory_entries e WHERE e.version = (SELECT max(version) FROM directory_entries WHERE ods = e.ods)";

/// Entries that become a version.
pub(super) struct Import {
    pub(super) entries: Vec<DirectoryEntry>,
    pub(super) source: String,
    pub(super) at: Timestamp,
}

/// A version of one entry, if that still stands as it was.
pub(super) struct Amendment {
    pub(super) was: DirectoryEntry,
    pub(super) import: Import,
    pub(super) audit: Vec<AuditRow>,
}

/// Keeps the directory as it is until the commit: whoever else changes it waits for this row.
async fn hold_still(c: &Client) -> Result<(), Failure> {
    session::first(c, "SELECT version FROM directory_head WHERE id = 1 FOR UPDATE", &[]).await?;
    Ok(())
}

pub(super) async fn amend<'j>(work: &mut Work<'j>, amendment: &'j Amendment) -> Result<bool, Failure> {
    hold_still(work.client()).await?;
    if entry(work.client(), amendment.was.ods()).await?.as_ref() != Some(&amendment.was) {
        return Ok(false);
    }
    keep(work.client(), &amendment.import).await?;
    work.audit(&amendment.audit);
    Ok(true)
}

pub(super) async fn import<'j>(
    work: &mut Work<'j>,
    (import, audit): &'j (Import, ImportAudit),
) -> Result<u64, Failure> {
    hold_still(work.client()).await?;
    let moved = move_along(work, import).await?;
    let version = keep(work.client(), import).await?;
    work.audit_own(audit.rows(&moved));
    Ok(version)
}

/// What is queued for an address that changes goes to the new one.
async fn move_along(work: &Work<'_>, import: &Import) -> Result<Vec<MovedAlong>, Failure> {
    let c = work.client();
    let now = dispatch::lease_now(c, work.shared().lease_clock, import.at).await?;
    let mut moved = Vec::new();
    for entry in &import.entries {
        let (ods, to) = (entry.ods(), entry.endpoint());
        let Some(former) = own(c, ods).await? else { continue };
        let from = former.endpoint();
        if from == to || !from.leads_on_to(to, true) {
            continue;
        }
        let by_person = !from.leads_on_to(to, false);
        let params: session::Params<'_> = &[&json(to), &ods.as_str(), &json(from), &now, &by_person];
        let copies = session::execute(c, query::resending::MOVE_ALONG, params).await?;
        if copies > 0 {
            let (recipient, from, to) = (ods.clone(), from.clone(), to.clone());
            moved.push(MovedAlong { recipient, from, to, copies });
        }
    }
    Ok(moved)
}

async fn keep(c: &Client, import: &Import) -> Result<u64, Failure> {
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
    u64::try_from(version).map_err(|_| Failure::corrupt("directory_head", "version"))
}

/// By the code itself, else by another code of a home. A code that two homes claim names neither:
/// whoever asks must not be given a guess.
pub(super) async fn entry(c: &Client, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    if let Some(own) = own(c, ods).await? {
        return Ok(Some(own));
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

async fn own(c: &Client, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    let own = session::first(c, &format!("SELECT e.entry {CURRENT} AND e.ods = $1"), &[&ods.as_str()]).await?;
    own.as_ref().map(read).transpose()
}

/// The entry as it stays until the commit.
pub(super) async fn entry_held_still(c: &Client, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    hold_still(c).await?;
    entry(c, ods).await
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
