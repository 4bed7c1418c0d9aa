//! The audit log, its checkpoints, and the proof that something can be committed at all.

use jiff::Timestamp;
use onward_core::audit::{AuditQuery, AuditRow, FoundAudit, StoredCheckpoint};
use onward_core::store::{AuditColumns, AuditContent, StoredAudit};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::columns::{Columns, micros, stored_count};
use super::failure::Failure;
use super::keyed::Keyed;
use crate::sealing::{self, Place, key_of, sealed_entry};

/// Appends rows at the end of the log, within the caller's transaction. The position is taken from the log
/// itself and not from memory: commands of another process append to it too, and what is rolled back must
/// leave no gap.
pub(super) fn append(c: &Keyed<'_>, rows: &[AuditRow]) -> Result<(), Failure> {
    let mut insert = c.prepare_cached(
        "INSERT INTO audit_log
             (position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, entry, event)
         VALUES ((SELECT coalesce(max(position) + 1, 0) FROM audit_log), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for row in rows {
        // What concerns no person is sealed as well: nobody need judge which queries and reasons are harmless.
        let id = match &row.patient {
            Some(patient) => c.key_of_person(patient, row.recorded)?,
            None => c.vault().gateway(),
        };
        let key = c.key(id)?.ok_or(Failure::Erased)?;
        let sealed = sealed_entry(&key, id, row)?;
        insert.execute(params![
            row.id,
            micros(row.recorded),
            row.word.as_str(),
            row.transfer.map(|id| id.to_string()),
            row.delivery.map(|id| id.to_string()),
            row.agent,
            row.organisation.as_ref().map(|ods| ods.as_str()),
            c.index(row.patient.as_ref()),
            sealed.leaf,
            sealed.entry,
            sealed.content,
        ])?;
    }
    Ok(())
}

/// Where an AuditEvent is sealed.
pub(super) fn content(id: &str) -> Place<'_> {
    Place::new("audit_log", "event", id)
}

pub(super) fn leaves(c: &Connection, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, Failure> {
    c.prepare_cached("SELECT leaf FROM audit_log WHERE position >= ? ORDER BY position LIMIT ?")?
        .query_and_then(params![stored_count(from), limit], |row| Columns::of("audit_log", row).get("leaf"))?
        .collect()
}

/// The content of a row, with every hash that the header has of it checked.
fn opened(c: &Keyed<'_>, row: &Row<'_>) -> Result<AuditContent, Failure> {
    let columns = Columns::of("audit_log", row);
    let corrupt = || Failure::corrupt("audit_log", "event");
    let sealed: Vec<u8> = columns.get("event")?;
    let key = c.key(key_of(&sealed).ok_or_else(corrupt)?)?;
    let header: Option<Vec<u8>> = columns.get("entry")?;
    let id: String = columns.get("id")?;
    sealing::opened(key.as_deref(), &id, header.as_deref(), &sealed).map_err(|_| corrupt())
}

pub(super) fn entries(c: &Keyed<'_>, from: u64, limit: u32) -> Result<Vec<StoredAudit>, Failure> {
    c.prepare_cached(
        "SELECT position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, entry, event
         FROM audit_log WHERE position >= ? ORDER BY position LIMIT ?",
    )?
    .query_and_then(params![stored_count(from), limit], |row| {
        let columns = Columns::of("audit_log", row);
        let content = opened(c, row)?;
        let patient = match (columns.get::<Option<String>>("patient")?, &content) {
            (Some(index), AuditContent::Open { .. }) => match c.person("audit_log", &index) {
                Ok(person) => person.map(|number| number.expose().to_owned()),
                Err(Failure::Corrupt(_)) => Some(index),
                Err(failure) => return Err(failure),
            },
            _ => None,
        };
        let entry = columns.get::<Option<Vec<u8>>>("entry")?;
        Ok(StoredAudit {
            index: columns.count("position")?,
            entry: entry.or_else(|| content.event().map(<[u8]>::to_vec)),
            content,
            leaf: columns.get("leaf")?,
            columns: AuditColumns {
                id: columns.get("id")?,
                recorded: columns.moment("recorded")?,
                word: columns.get("word")?,
                transfer: columns.get("transfer")?,
                delivery: columns.get("delivery")?,
                agent: columns.get("agent")?,
                organisation: columns.get("organisation")?,
                patient,
            },
        })
    })?
    .collect()
}

pub(super) fn search(c: &Keyed<'_>, query: &AuditQuery) -> Result<Vec<FoundAudit>, Failure> {
    let (sql, values) = search_sql(query, c.index(query.patient.as_ref()));
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            let columns = Columns::of("audit_log", row);
            let event = match opened(c, row)? {
                AuditContent::Open { event, .. } => Some(event),
                AuditContent::Erased => None,
            };
            let index = columns.get::<Option<String>>("patient")?.filter(|_| event.is_some());
            Ok(FoundAudit {
                index: columns.count("position")?,
                recorded: columns.moment("recorded")?,
                word: columns.parsed("word")?,
                patient: index.map(|index| c.person("audit_log", &index)).transpose()?.flatten(),
                event,
            })
        })?
        .collect()
}

/// The query as SQL with its parameters; only fixed texts become SQL. Whoever asks about a person or a transfer is led
/// by their few entries and not by the many of an organisation; else the organisation's entries are walked in order. `patient` is
/// the index of the query's person.
pub(super) fn search_sql(query: &AuditQuery, patient: Option<String>) -> (String, Vec<Value>) {
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
    if let Some(index) = patient {
        conditions.push("a.patient = ?".to_owned());
        values.push(index.into());
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
        "SELECT a.position, a.id, a.recorded, a.word, a.patient, a.entry, a.event FROM {from} WHERE {conditions}
         ORDER BY {order}.recorded DESC, {order}.position DESC LIMIT ?"
    );
    (sql, values)
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

pub(super) fn checkpoints(c: &Keyed<'_>) -> Result<Vec<StoredCheckpoint>, Failure> {
    c.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size")?.query_and_then([], checkpoint)?.collect()
}

fn checkpoint(row: &Row<'_>) -> Result<StoredCheckpoint, Failure> {
    let columns = Columns::of("checkpoints", row);
    Ok(StoredCheckpoint { size: columns.count("size")?, note: columns.get("note")? })
}

pub(super) fn latest_checkpoint(c: &Keyed<'_>) -> Result<Option<StoredCheckpoint>, Failure> {
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
