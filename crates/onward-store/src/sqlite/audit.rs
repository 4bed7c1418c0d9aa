//! The audit log, its checkpoints, and the proof that something can be committed at all.

use jiff::Timestamp;
use onward_core::audit::{AuditRow, StoredCheckpoint};
use onward_core::store::StoredAudit;
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{Columns, micros, stored_count};
use super::failure::Failure;

/// Appends rows at the end of the log, within the caller's transaction. The position is taken from the log
/// itself and not from memory: commands of another process append to it too, and what is rolled back must
/// leave no gap.
pub(super) fn append(c: &Connection, rows: &[AuditRow]) -> Result<(), Failure> {
    let mut insert = c.prepare_cached(
        "INSERT INTO audit_log (position, id, recorded, word, transfer, delivery, organisation, patient, leaf, event)
         VALUES ((SELECT coalesce(max(position) + 1, 0) FROM audit_log), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for row in rows {
        insert.execute(params![
            row.id,
            micros(row.recorded),
            row.word.as_str(),
            row.transfer.map(|id| id.to_string()),
            row.delivery.map(|id| id.to_string()),
            row.organisation.as_ref().map(|ods| ods.as_str()),
            row.patient.as_ref().map(|number| number.expose()),
            row.leaf,
            row.event,
        ])?;
    }
    Ok(())
}

pub(super) fn entries(c: &Connection, from: u64, limit: u32) -> Result<Vec<StoredAudit>, Failure> {
    c.prepare_cached("SELECT position, leaf, event FROM audit_log WHERE position >= ? ORDER BY position LIMIT ?")?
        .query_and_then(params![stored_count(from), limit], |row| {
            let columns = Columns::of("audit_log", row);
            Ok(StoredAudit {
                index: columns.count("position")?,
                event: columns.get("event")?,
                leaf: columns.get("leaf")?,
            })
        })?
        .collect()
}

pub(super) fn put_checkpoint(c: &Connection, checkpoint: &StoredCheckpoint) -> Result<bool, Failure> {
    let size = stored_count(checkpoint.size);
    let stored = c
        .prepare_cached(
            "INSERT INTO checkpoints (size, note)
             SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE size >= ?1)",
        )?
        .execute(params![size, checkpoint.note])?;
    Ok(stored == 1)
}

pub(super) fn latest_checkpoint(c: &Connection) -> Result<Option<StoredCheckpoint>, Failure> {
    c.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")?
        .query_and_then([], |row| {
            let columns = Columns::of("checkpoints", row);
            Ok(StoredCheckpoint { size: columns.count("size")?, note: columns.get("note")? })
        })?
        .next()
        .transpose()
}

pub(super) fn commit_readiness(c: &Connection, now: Timestamp) -> Result<(), Failure> {
    c.prepare_cached("INSERT INTO readiness (id, checked) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET checked = ?1")?
        .execute([micros(now)])?;
    Ok(())
}

pub(super) fn read_readiness(c: &Connection) -> Result<(), Failure> {
    let checked: Option<i64> =
        c.prepare_cached("SELECT checked FROM readiness WHERE id = 1")?.query_row([], |row| row.get(0)).optional()?;
    checked.map(drop).ok_or_else(|| Failure::corrupt("readiness", "checked"))
}
