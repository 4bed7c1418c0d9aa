//! Recipients' copies: queueing, reading, and their changes of state.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::{DeliveryQuery, DeliveryRecord, NewDelivery, Resend, Step, StoredRendition, Transition};
use onward_core::{DeliveryId, NhsNumber, TransferId};
use rusqlite::{Connection, Row, params, params_from_iter};

use super::failure::Failure;
use super::{audit, steps};
use crate::columns::Columns;
use crate::query::{self, REPLAYABLE};
use crate::rows::{self, DELIVERY, Origin};
use crate::stored::{json, micros, month, stored_count};

/// Queues a copy, due at once; an identifier that is there already is an error.
pub(super) fn insert(c: &Connection, origin: &Origin, delivery: &NewDelivery) -> Result<(), Failure> {
    queue(c, origin, delivery, "").map(drop)
}

/// Queues a copy unless its identifier is there already.
pub(super) fn insert_once(c: &Connection, origin: &Origin, delivery: &NewDelivery) -> Result<(), Failure> {
    queue(c, origin, delivery, "ON CONFLICT (id) DO NOTHING").map(drop)
}

fn queue(c: &Connection, origin: &Origin, delivery: &NewDelivery, conflict: &str) -> Result<bool, Failure> {
    let id = delivery.id.to_string();
    let transfer = origin.transfer.to_string();
    let patient = origin.patient.as_ref().map(NhsNumber::expose);
    let inserted = c
        .prepare_cached(&format!(
            "INSERT INTO deliveries (id, transfer, lane, sender, patient, kind, recipient, recipient_name, endpoint,
                 state, version, attempts, next_attempt, correlation_id, workflow, body_bytes,
                 acknowledgement_awaited, basis, created, changed, disclosure, notice_of, notice_why)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', 1, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {conflict}"
        ))?
        .execute(params![
            id,
            transfer,
            origin.lane(),
            origin.sender.as_str(),
            patient,
            delivery.kind.as_str(),
            delivery.recipient.as_str(),
            delivery.recipient_name,
            json(&delivery.endpoint),
            micros(origin.created),
            delivery.correlation_id,
            delivery.workflow.as_ref().map(|workflow| workflow.as_str()),
            stored_count(delivery.body.len() as u64),
            delivery.acknowledgement_awaited,
            delivery.basis,
            micros(origin.created),
            micros(origin.created),
            delivery.disclosure,
            delivery.notice.map(|notice| notice.of.to_string()),
            delivery.notice.map(|notice| notice.why.as_str()),
        ])?;
    if inserted == 0 {
        return Ok(false);
    }
    c.prepare_cached(
        "INSERT INTO rendition_bodies (delivery, month, media_type, body, html, card) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id,
        month(origin.created),
        delivery.media_type,
        delivery.body,
        delivery.html,
        delivery.card
    ])?;
    keep_version(c, delivery.id, origin.created)?;
    Ok(true)
}

/// Writes the delivery's present version into its history.
pub(super) fn keep_version(c: &Connection, id: DeliveryId, at: Timestamp) -> Result<(), Failure> {
    c.prepare_cached(
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason)
         SELECT id, version, state, ?, code, reason FROM deliveries WHERE id = ?",
    )?
    .execute(params![micros(at), id.to_string()])?;
    Ok(())
}

/// Changes the state when the version is the expected one. A lease stays: whoever is sending may still
/// record its attempt and its disclosure, though no longer the state.
pub(super) fn transition(c: &Connection, change: &Transition) -> Result<bool, Failure> {
    let changed = c
        .prepare_cached(
            "UPDATE deliveries SET state = ?1, version = version + 1, code = coalesce(?2, code), reason = ?3,
                 changed = ?4, next_attempt = CASE ?1 WHEN 'queued' THEN ?4 END
             WHERE id = ?5 AND version = ?6 RETURNING transfer, sender, patient",
        )?
        .query_and_then(
            params![
                change.state.as_str(),
                change.code,
                change.reason,
                micros(change.at),
                change.delivery.to_string(),
                stored_count(change.expected_version),
            ],
            |row| -> Result<Origin, Failure> {
                let columns = Columns::of("deliveries", row);
                Ok(Origin::of(&columns, columns.parsed("transfer")?, change.at)?)
            },
        )?
        .next()
        .transpose()?;
    let Some(origin) = changed else { return Ok(false) };
    keep_version(c, change.delivery, change.at)?;
    for response in &change.responses {
        insert_once(c, &origin, response)?;
    }
    audit::append(c, &change.audit)?;
    Ok(true)
}

/// Reads the bytes and records the reading, in the order in which a failure gives no bytes away.
pub(super) fn open_rendition(
    c: &Connection,
    id: DeliveryId,
    at: Timestamp,
    reader: Option<&Step>,
    audit: &[AuditRow],
) -> Result<Option<StoredRendition>, Failure> {
    // Taken back between the caller's look and now: no bytes. What a later version replaced stays readable.
    let taken_back = c
        .prepare_cached("SELECT 1 FROM deliveries WHERE id = ? AND ended IS NOT NULL AND ended <> 'superseded'")?
        .exists([id.to_string()])?;
    let Some(rendition) = rendition(c, id)?.filter(|_| !taken_back) else { return Ok(None) };
    // Reading collects what waits in the inbox, also before the dispatcher has come by; other transports still send.
    const COLLECTS: &str = "(state = 'awaiting-collection'
        OR state = 'queued' AND json_extract(endpoint, '$.transport') = 'inbox')";
    let first = c
        .prepare_cached(&format!(
            "UPDATE deliveries SET opened = coalesce(opened, ?1), version = version + 1, changed = ?1,
                 next_attempt = CASE WHEN {COLLECTS} THEN NULL ELSE next_attempt END,
                 state = CASE WHEN {COLLECTS} THEN 'received' ELSE state END
             WHERE id = ?2 AND (opened IS NULL OR {COLLECTS})"
        ))?
        .execute(params![micros(at), id.to_string()])?;
    if first == 1 {
        keep_version(c, id, at)?;
    }
    if let Some(reader) = reader {
        steps::opened(c, reader)?;
    }
    audit::append(c, audit)?;
    Ok(Some(rendition))
}

pub(super) fn rendition(c: &Connection, id: DeliveryId) -> Result<Option<StoredRendition>, Failure> {
    c.prepare_cached("SELECT media_type, body, html FROM rendition_bodies WHERE delivery = ?")?
        .query_and_then([id.to_string()], |row| Ok(rows::rendition(&Columns::of("rendition_bodies", row), id)?))?
        .next()
        .transpose()
}

pub(super) fn requeue(
    c: &Connection,
    id: DeliveryId,
    how: Resend,
    why: &str,
    at: Timestamp,
    audit: &[AuditRow],
) -> Result<bool, Failure> {
    let queued = c
        .prepare_cached(&format!(
            "UPDATE deliveries SET state = 'queued', version = version + 1, next_attempt = ?1, changed = ?1,
                 replay = CASE WHEN ?4 THEN ?3 ELSE replay END
             WHERE id = ?2 AND CASE WHEN ?4 THEN {REPLAYABLE} ELSE state = 'failed' OR state = 'queued' AND next_attempt > ?1 END"
        ))?
        .execute(params![micros(at), id.to_string(), why, how == Resend::Replay])?;
    if queued == 0 {
        return Ok(false);
    }
    keep_version(c, id, at)?;
    audit::append(c, audit)?;
    Ok(true)
}

pub(super) fn by_id(c: &Connection, id: DeliveryId) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "id = ?", &id.to_string())
}

pub(super) fn by_correlation(c: &Connection, correlation_id: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "correlation_id = ? ORDER BY sequence DESC LIMIT 1", correlation_id)
}

pub(super) fn by_reference(c: &Connection, reference: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "reference = ? ORDER BY sequence DESC LIMIT 1", reference)
}

fn one(c: &Connection, condition: &str, value: &str) -> Result<Option<DeliveryRecord>, Failure> {
    c.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE {condition}"))?
        .query_and_then([value], record)?
        .next()
        .transpose()
}

pub(super) fn of_transfer(c: &Connection, id: TransferId) -> Result<Vec<DeliveryRecord>, Failure> {
    c.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE transfer = ? ORDER BY created, id"))?
        .query_and_then([id.to_string()], record)?
        .collect()
}

pub(super) fn list(c: &Connection, wanted: &DeliveryQuery) -> Result<Vec<DeliveryRecord>, Failure> {
    let (conditions, values) = query::deliveries(wanted);
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE {conditions} ORDER BY created, id LIMIT ?");
    let values = values.into_iter().chain([query::Value::from(wanted.limit)]);
    c.prepare_cached(&sql)?.query_and_then(params_from_iter(values), record)?.collect()
}

/// A row of [`DELIVERY`]'s columns.
fn record(row: &Row<'_>) -> Result<DeliveryRecord, Failure> {
    Ok(rows::delivery(&Columns::of("deliveries", row))?)
}
