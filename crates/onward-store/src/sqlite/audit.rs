//! The audit log, its checkpoints, and the proof that something can be committed at all.

use jiff::Timestamp;
use onward_core::audit::{AuditQuery, AuditRow, FoundAudit, StoredCheckpoint};
use onward_core::store::{AuditColumns, StoredAudit};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::columns::{Columns, micros, stored_count};
use super::failure::Failure;

/// Appends rows at the end of the log, within the caller's transaction. The position is taken from the log
/// itself and not from memory: commands of another process append to it too, and what is rolled back must
/// leave no gap.
pub(super) fn append(c: &Connection, rows: &[AuditRow]) -> Result<(), Failure> {
    let mut insert = c.prepare_cached(
        "INSERT INTO audit_log (position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, event)
         VALUES ((SELECT coalesce(max(position) + 1, 0) FROM audit_log), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for row in rows {
        insert.execute(params![
            row.id,
            micros(row.recorded),
            row.word.as_str(),
            row.transfer.map(|id| id.to_string()),
            row.delivery.map(|id| id.to_string()),
            row.agent,
            row.organisation.as_ref().map(|ods| ods.as_str()),
            row.patient.as_ref().map(|number| number.expose()),
            row.leaf,
            row.event,
        ])?;
    }
    Ok(())
}

pub(super) fn entries(c: &Connection, from: u64, limit: u32) -> Result<Vec<StoredAudit>, Failure> {
    c.prepare_cached(
        "SELECT position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, event
         FROM audit_log WHERE position >= ? ORDER BY position LIMIT ?",
    )?
    .query_and_then(params![stored_count(from), limit], |row| {
        let columns = Columns::of("audit_log", row);
        Ok(StoredAudit {
            index: columns.count("position")?,
            event: columns.get("event")?,
            leaf: columns.get("leaf")?,
            columns: AuditColumns {
                id: columns.get("id")?,
                recorded: columns.moment("recorded")?,
                word: columns.get("word")?,
                transfer: columns.get("transfer")?,
                delivery: columns.get("delivery")?,
                agent: columns.get("agent")?,
                organisation: columns.get("organisation")?,
                patient: columns.get("patient")?,
            },
        })
    })?
    .collect()
}

pub(super) fn search(c: &Connection, query: &AuditQuery) -> Result<Vec<FoundAudit>, Failure> {
    let (sql, values) = search_sql(query);
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            let columns = Columns::of("audit_log", row);
            Ok(FoundAudit {
                index: columns.count("position")?,
                recorded: columns.moment("recorded")?,
                word: columns.parsed("word")?,
                patient: columns.parsed_opt("patient")?,
                event: columns.get("event")?,
            })
        })?
        .collect()
}

/// The query as SQL with its parameters; only fixed texts become SQL. Whoever asks about a person or a transfer is led
/// by their few entries and not by the many of an organisation; else the organisation's entries are walked in order.
pub(super) fn search_sql(query: &AuditQuery) -> (String, Vec<Value>) {
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let led_by_entry = query.patient.is_some() || query.entity.is_some();
    let (from, order) = match &query.organisation {
        Some(organisation) => {
            values.push(organisation.as_str().to_owned().into());
            if led_by_entry {
                conditions.push(
                    "EXISTS (SELECT 1 FROM audit_parties p WHERE p.organisation = ? AND p.recorded = a.recorded
                     AND p.position = a.position)"
                        .to_owned(),
                );
                ("audit_log a", "a")
            } else {
                conditions.push("p.organisation = ?".to_owned());
                ("audit_parties p CROSS JOIN audit_log a ON a.position = p.position", "p")
            }
        }
        None => ("audit_log a", "a"),
    };
    if let Some(patient) = &query.patient {
        conditions.push("a.patient = ?".to_owned());
        values.push(patient.expose().to_owned().into());
    }
    if let Some(entity) = &query.entity {
        conditions.push("(a.transfer = ? OR a.delivery = ?)".to_owned());
        values.extend([entity.clone().into(), entity.clone().into()]);
    }
    if let Some(agent) = &query.agent {
        conditions.push("(a.agent = ? OR a.organisation = ?)".to_owned());
        values.extend([agent.clone().into(), agent.clone().into()]);
    }
    if let Some(from) = query.from {
        conditions.push(format!("{order}.recorded >= ?"));
        values.push(micros(from).into());
    }
    if let Some(until) = query.until {
        conditions.push(format!("{order}.recorded < ?"));
        values.push(micros(until).into());
    }
    if !query.words.is_empty() {
        conditions.push(format!("a.word IN ({})", vec!["?"; query.words.len()].join(", ")));
        values.extend(query.words.iter().map(|word| Value::from(word.as_str().to_owned())));
    }
    if let Some((recorded, index)) = query.after {
        conditions.push(format!("({order}.recorded, {order}.position) < (?, ?)"));
        values.extend([micros(recorded).into(), stored_count(index).into()]);
    }
    values.push(query.limit.into());
    let conditions = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
    let sql = format!(
        "SELECT a.position, a.recorded, a.word, a.patient, a.event FROM {from} WHERE {conditions}
         ORDER BY {order}.recorded DESC, {order}.position DESC LIMIT ?"
    );
    (sql, values)
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

pub(super) fn checkpoints(c: &Connection) -> Result<Vec<StoredCheckpoint>, Failure> {
    c.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size")?.query_and_then([], checkpoint)?.collect()
}

fn checkpoint(row: &Row<'_>) -> Result<StoredCheckpoint, Failure> {
    let columns = Columns::of("checkpoints", row);
    Ok(StoredCheckpoint { size: columns.count("size")?, note: columns.get("note")? })
}

pub(super) fn latest_checkpoint(c: &Connection) -> Result<Option<StoredCheckpoint>, Failure> {
    c.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")?
        .query_and_then([], checkpoint)?
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
