//! The directory of organisations: every import is a version, and all versions stay.

use std::collections::BTreeMap;

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::OdsCode;
use onward_core::audit::AuditRow;
use onward_core::directory::DirectoryEntry;
use onward_core::store::{DirectoryReading, ImportAudit, MovedAlong, NewDelivery, StoreError};
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;
use super::work::Work;
use super::writers::before_another;
use super::{Shared, dispatch, elsewhere, session};
use crate::columns::Columns;
use crate::query::resending;
use crate::rows;
use crate::rows::addresses::{Change, Follows, follows, is_overtaken, received_at};
use crate::stored::{json, micros, stored_count};

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
    let version = keep(work.client(), &amendment.import).await?;
    work.directory_is(version);
    work.audit(&amendment.audit);
    Ok(true)
}

/// An import has a transaction of its own: it holds the places before what is queued goes along, so that nobody queues a copy for an address that
/// it takes away after it has looked. Whoever waits for them may hold copies, and so it waits for none.
pub(super) async fn import(shared: &Shared, import: &Import, audit: &ImportAudit) -> Result<u64, StoreError> {
    let mut tries = 1;
    loop {
        match attempt(shared, import, audit).await {
            Ok(version) => return Ok(version),
            // It may be there: who asks again makes another version.
            Err(Failure::CommitUnknown) => return Err((&Failure::CommitUnknown).into()),
            Err(failure) => before_another(failure, tries).await.map_err(|failure| StoreError::from(&failure))?,
        }
        tries += 1;
    }
}

async fn attempt(shared: &Shared, import: &Import, audit: &ImportAudit) -> Result<u64, Failure> {
    let mut work = Work::begin_aside(shared).await?;
    match bring_in(&mut work, import, audit).await {
        Ok(version) => work.commit().await.map(|()| version),
        Err(failure) => {
            work.rollback().await;
            Err(failure)
        }
    }
}

async fn bring_in(work: &mut Work<'_>, import: &Import, audit: &ImportAudit) -> Result<u64, Failure> {
    hold_still(work.client()).await?;
    let mut changes = Vec::new();
    for entry in &import.entries {
        changes.extend(own(work.client(), entry.ods()).await?.and_then(|former| Change::of(&former, entry)));
    }
    let version = keep(work.client(), import).await?;
    // What its entries are sealed with is at hand before the last lock.
    work.client().gateway().await?;
    work.directory_is(version);
    work.hold_places().await?;
    let moved = move_along(work, changes, import.at).await?;
    work.audit_own(audit.rows(&moved));
    u64::try_from(version).map_err(|_| Failure::corrupt("directory_head", "version"))
}

/// What waits for an address that changes goes to the new one, and how many. A copy that somebody holds is being leased, has just been sent
/// or ends: it follows when it is to be sent again.
const MOVE_ALONG: &str = "WITH found AS (SELECT d.id, d.attempts, c.former, c.present FROM
         unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::boolean[]) AS c(ods, former, present, goes_along, by_person)
         JOIN deliveries d ON d.recipient = c.ods AND d.endpoint = c.former
         WHERE d.state = 'queued' AND d.kind <> 'sender' AND d.notice_of IS NULL AND (d.lease_until IS NULL OR d.lease_until <= $6)
             AND c.goes_along AND (NOT c.by_person OR d.kind = 'registered-practice')
         FOR NO KEY UPDATE OF d SKIP LOCKED),
     formerly AS (INSERT INTO former_addresses (delivery, attempt, endpoint)
         SELECT id, attempts, former FROM found WHERE attempts > 0 ON CONFLICT DO NOTHING),
     marked AS (INSERT INTO readdressed (delivery)
         SELECT DISTINCT o.ended_by FROM found f JOIN deliveries o ON o.ended_by = f.id),
     moved AS (UPDATE deliveries d SET endpoint = f.present FROM found f WHERE d.id = f.id RETURNING d.recipient)
     SELECT recipient, count(*) AS copies FROM moved GROUP BY recipient";

/// What waits for a former address now: what follows when it is to be sent again, and what was made for another way of receiving.
const LEFT_BEHIND: &str =
    "SELECT recipient, count(*) FILTER (WHERE can_go) AS sending, count(*) FILTER (WHERE NOT can_go) AS stay FROM (
         SELECT d.recipient, c.goes_along AND (NOT c.by_person OR d.kind = 'registered-practice') AS can_go FROM
             unnest($1::text[], $2::text[], $3::boolean[], $4::boolean[]) AS c(ods, former, goes_along, by_person)
             JOIN deliveries d ON d.recipient = c.ods AND d.endpoint = c.former
             WHERE d.state = 'queued' AND d.kind <> 'sender' AND d.notice_of IS NULL
     ) waiting GROUP BY recipient";

async fn move_along(work: &Work<'_>, changes: Vec<Change>, at: Timestamp) -> Result<Vec<MovedAlong>, Failure> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let c = work.client();
    let now = dispatch::lease_now(c, work.shared().lease_clock, at).await?;
    let recipients: Vec<&str> = changes.iter().map(|change| change.recipient.as_str()).collect();
    let former: Vec<String> = changes.iter().map(|change| json(&change.from)).collect();
    let present: Vec<String> = changes.iter().map(|change| json(&change.to)).collect();
    let goes_along: Vec<bool> = changes.iter().map(Change::goes_along).collect();
    let by_person: Vec<bool> = changes.iter().map(Change::by_person).collect();
    let mut counts: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for row in session::all(c, MOVE_ALONG, &[&recipients, &former, &present, &goes_along, &by_person, &now]).await? {
        let columns = Columns::of("deliveries", &row);
        counts.entry(columns.get("recipient")?).or_default().0 = columns.count("copies")?;
    }
    for row in session::all(c, LEFT_BEHIND, &[&recipients, &former, &goes_along, &by_person]).await? {
        let columns = Columns::of("deliveries", &row);
        let count = counts.entry(columns.get("recipient")?).or_default();
        (count.1, count.2) = (columns.count("sending")?, columns.count("stay")?);
    }
    let came_to = |change: Change| {
        let (copies, sending, stay) = counts.get(change.recipient.as_str()).copied().unwrap_or_default();
        change.came_to(copies, sending, stay)
    };
    Ok(changes.into_iter().filter_map(came_to).collect())
}

/// Copies that wait to be sent again go where their recipient receives now, if it received before where they were to go and the new address takes
/// them; gives those. The caller holds them.
pub(super) async fn follow(c: &Client, copies: &[Uuid]) -> Result<Vec<Uuid>, Failure> {
    let mut followed = Vec::new();
    for row in session::all(c, &resending::with_entries("= ANY($1)"), &[&copies]).await? {
        let Some(Follows { recipient, from, to }) = follows(&Columns::of("deliveries", &row)) else { continue };
        let known = session::all(c, resending::ENTRIES, &[&recipient.as_str()]).await?;
        if !known.iter().any(|row| received_at(&Columns::of("directory_entries", row), &from)) {
            continue;
        }
        let id: Uuid = Columns::of("deliveries", &row).parsed("id")?;
        session::execute(c, resending::FORMERLY, &[&json(&from), &id]).await?;
        session::execute(c, resending::READDRESS, &[&json(&to), &id]).await?;
        elsewhere::mark_followed(c, id).await?;
        followed.push(id);
    }
    Ok(followed)
}

/// Refuses copies whose addresses were read before this version of the directory and are their recipients' no more.
pub(super) async fn stand(c: &Client, copies: &[&NewDelivery], version: i64) -> Result<(), Failure> {
    let recipients: Vec<&str> = copies.iter().map(|copy| copy.recipient.as_str()).collect();
    let found = session::all(c, &format!("SELECT e.entry {CURRENT} AND e.ods = ANY($1)"), &[&recipients]).await?;
    let entries = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let version = u64::try_from(version).map_err(|_| Failure::corrupt("log_head", "directory"))?;
    let entry = |copy: &NewDelivery| entries.iter().find(|entry| *entry.ods() == copy.recipient);
    match copies.iter().any(|copy| is_overtaken(copy, version, entry(copy))) {
        true => Err(Failure::Overtaken),
        false => Ok(()),
    }
}

/// The directory's version as new copies are held against it.
pub(super) async fn version(c: &Client) -> Result<i64, Failure> {
    let row = session::first(c, "SELECT directory FROM log_head WHERE id = 1", &[]).await?;
    let row = row.ok_or_else(|| Failure::corrupt("log_head", "id"))?;
    Ok(Columns::of("log_head", &row).count("directory")?)
}

async fn keep(c: &Client, import: &Import) -> Result<i64, Failure> {
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
    Ok(version)
}

/// The entry as it is read for copies that are to be made: with the version at which they are, in one snapshot.
pub(super) async fn reading(c: &Client, ods: &OdsCode) -> Result<DirectoryReading, Failure> {
    let sql = format!(
        "SELECT (SELECT directory FROM log_head WHERE id = 1) AS version, (SELECT e.entry {CURRENT} AND e.ods = $1) AS entry"
    );
    let row = session::first(c, &sql, &[&ods.as_str()]).await?.ok_or_else(|| Failure::corrupt("log_head", "id"))?;
    let version = Columns::of("log_head", &row).count("version")?;
    let own: Option<String> = Columns::of("directory_entries", &row).get("entry")?;
    let entry = match own {
        Some(_) => Some(read(&row)?),
        None => by_another_code(c, ods).await?,
    };
    Ok(DirectoryReading { entry, version })
}

/// By the code itself, else by another code of a home. A code that two homes claim names neither:
/// whoever asks must not be given a guess.
pub(super) async fn entry(c: &Client, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
    match own(c, ods).await? {
        Some(own) => Ok(Some(own)),
        None => by_another_code(c, ods).await,
    }
}

async fn by_another_code(c: &Client, ods: &OdsCode) -> Result<Option<DirectoryEntry>, Failure> {
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
