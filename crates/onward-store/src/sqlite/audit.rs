//! The audit log, its checkpoints, and the proof that something can be committed at all.

use jiff::Timestamp;
use onward_core::audit::{AuditQuery, AuditRow, FoundAudit, StoredCheckpoint};
use onward_core::store::StoredAudit;
use rusqlite::{OptionalExtension, Row, params, params_from_iter};

use super::DIALECT;
use super::failure::Failure;
use super::keyed::Keyed;
use crate::columns::Columns;
use crate::query;
use crate::rows::{self, AUDIT};
use crate::sealing::sealed_entry;
use crate::stored::{json, micros, stored_count};

/// Appends rows at the end of the log, within the caller's transaction. The position is taken from the log
/// itself and not from memory: commands of another process append to it too, and what is rolled back must
/// leave no gap.
pub(super) fn append(c: &Keyed<'_>, rows: &[AuditRow]) -> Result<(), Failure> {
    let mut insert = c.prepare_cached(
        "INSERT INTO audit_log
             (position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, entry, event, shown)
         VALUES ((SELECT coalesce(max(position) + 1, 0) FROM audit_log), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         RETURNING position",
    )?;
    let mut show = c.prepare_cached("INSERT OR IGNORE INTO audit_shown (subject, position) VALUES (?, ?)")?;
    let mut keep = c.prepare_cached("INSERT OR IGNORE INTO contents (sha256, names) VALUES (?, ?)")?;
    for row in rows {
        if let Some(contents) = &row.contents {
            keep.execute(params![contents.sha256, contents.names])?;
        }
        // What concerns no person is sealed as well: nobody need judge which queries and reasons are harmless.
        let key = match &row.patient {
            Some(patient) => c.key_of_person(patient, row.recorded)?,
            None => c.keys().vault().gateway(),
        };
        let sealed = c.opened(|keys| sealed_entry(keys, key, row))?;
        let values = params![
            row.id,
            micros(row.recorded),
            row.word.as_str(),
            row.transfer.map(|id| id.to_string()),
            row.delivery.map(|id| id.to_string()),
            row.agent,
            row.organisation.as_ref().map(|ods| ods.as_str()),
            c.keys().index(row.patient.as_ref()),
            sealed.leaf,
            sealed.entry,
            sealed.content,
            stored_count(row.shown.len() as u64),
        ];
        let position: i64 = insert.query_row(values, |row| row.get(0))?;
        for subject in &row.shown {
            show.execute(params![subject, position])?;
        }
    }
    Ok(())
}

pub(super) fn entries(c: &Keyed<'_>, from: u64, limit: u32) -> Result<Vec<StoredAudit>, Failure> {
    c.prepare_cached(&format!("SELECT {AUDIT} FROM audit_log WHERE position >= ? ORDER BY position LIMIT ?"))?
        .query_and_then(params![stored_count(from), limit], |row| {
            c.opened(|keys| rows::audit(&Columns::of("audit_log", row), keys))
        })?
        .collect()
}

pub(super) fn leaves(c: &Keyed<'_>, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, Failure> {
    c.prepare_cached("SELECT leaf FROM audit_log WHERE position >= ? ORDER BY position LIMIT ?")?
        .query_and_then(params![stored_count(from), limit], |row| Ok(Columns::of("audit_log", row).get("leaf")?))?
        .collect()
}

pub(super) fn misfiled(c: &Keyed<'_>) -> Result<Option<u64>, Failure> {
    let sql = query::misfiled_audit(&DIALECT);
    let first = c.query_row(&sql, [], |row| Ok(Columns::of("audit_log", row).count("position"))).optional()?;
    Ok(first.transpose()?)
}

pub(super) fn search(c: &Keyed<'_>, wanted: &AuditQuery) -> Result<Vec<FoundAudit>, Failure> {
    let (sql, values) = query::audit(wanted, c.keys(), &DIALECT);
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            c.opened(|keys| rows::found_audit(&Columns::of("audit_log", row), keys))
        })?
        .collect()
}

pub(super) fn put_checkpoint(c: &Keyed<'_>, checkpoint: &StoredCheckpoint) -> Result<bool, Failure> {
    let size = stored_count(checkpoint.size);
    let stored = c
        .prepare_cached(
            "INSERT INTO checkpoints (size, note)
             SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE size >= ?1)",
        )?
        .execute(params![size, checkpoint.note])?;
    Ok(stored == 1)
}

pub(super) fn checkpoints(c: &Keyed<'_>, after: Option<u64>, limit: u32) -> Result<Vec<StoredCheckpoint>, Failure> {
    let after = after.map_or(i64::MIN, stored_count);
    c.prepare_cached(query::CHECKPOINTS)?.query_and_then(params![after, limit], checkpoint)?.collect()
}

pub(super) fn checkpoints_of(c: &Keyed<'_>, sizes: &[u64]) -> Result<Vec<StoredCheckpoint>, Failure> {
    let sizes: Vec<i64> = sizes.iter().copied().map(stored_count).collect();
    c.prepare_cached(
        "SELECT size, note FROM checkpoints WHERE size IN (SELECT value FROM json_each(?1)) ORDER BY size",
    )?
    .query_and_then([json(&sizes)], checkpoint)?
    .collect()
}

fn checkpoint(row: &Row<'_>) -> Result<StoredCheckpoint, Failure> {
    Ok(rows::checkpoint(&Columns::of("checkpoints", row))?)
}

pub(super) fn latest_checkpoint(c: &Keyed<'_>) -> Result<Option<StoredCheckpoint>, Failure> {
    c.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")?
        .query_and_then([], checkpoint)?
        .next()
        .transpose()
}

pub(super) fn commit_readiness(c: &Keyed<'_>, now: Timestamp) -> Result<(), Failure> {
    c.prepare_cached("INSERT INTO readiness (id, checked) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET checked = ?1")?
        .execute([micros(now)])?;
    Ok(())
}

pub(super) fn read_readiness(c: &Keyed<'_>) -> Result<(), Failure> {
    let checked: Option<i64> =
        c.prepare_cached("SELECT checked FROM readiness WHERE id = 1")?.query_row([], |row| row.get(0)).optional()?;
    checked.map(drop).ok_or_else(|| Failure::corrupt("readiness", "checked"))
}
