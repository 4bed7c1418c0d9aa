//! Recipients' copies: queueing, reading, and their changes of state.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{DeliveryQuery, DeliveryRecord, NewDelivery, Step, StoredRendition, Transition};
use onward_core::{DeliveryId, NhsNumber, OdsCode, TransferId};
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::columns::{Columns, json, micros, month, stored_count};
use super::failure::Failure;
use super::keyed::Keyed;
use super::{audit, steps};
use crate::sealing::{KeyId, Place, key_of_text};

pub(super) const DELIVERY: &str = "id, transfer, sender, patient, kind, recipient, recipient_name, endpoint, state, version, \
    attempts, next_attempt, reason, code, reference, correlation_id, workflow, body_bytes, acknowledgement_awaited, \
    basis, created, changed, opened, erased";

/// Where a copy comes from.
pub(super) struct Origin {
    pub(super) transfer: TransferId,
    pub(super) sender: OdsCode,
    pub(super) patient: Option<NhsNumber>,
    pub(super) created: Timestamp,
}

/// Queues a copy, due at once; an identifier that is there already is an error.
pub(super) fn insert(c: &Keyed<'_>, origin: &Origin, delivery: &NewDelivery) -> Result<(), Failure> {
    queue(c, origin, delivery, "").map(drop)
}

/// Queues a copy unless its identifier is there already.
pub(super) fn insert_once(c: &Keyed<'_>, origin: &Origin, delivery: &NewDelivery) -> Result<(), Failure> {
    queue(c, origin, delivery, "ON CONFLICT (id) DO NOTHING").map(drop)
}

fn queue(c: &Keyed<'_>, origin: &Origin, delivery: &NewDelivery, conflict: &str) -> Result<bool, Failure> {
    let id = delivery.id.to_string();
    let transfer = origin.transfer.to_string();
    let key = c.key_of_transfer(origin.patient.as_ref(), origin.transfer, origin.created)?;
    let patient = c.index(origin.patient.as_ref());
    let inserted = c
        .prepare_cached(&format!(
            "INSERT INTO deliveries (id, transfer, lane, sender, patient, kind, recipient, recipient_name, endpoint,
                 state, version, attempts, next_attempt, correlation_id, workflow, body_bytes,
                 acknowledgement_awaited, basis, created, changed, disclosure)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', 1, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?) {conflict}"
        ))?
        .execute(params![
            id,
            transfer,
            patient.as_ref().unwrap_or(&transfer),
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
            c.seal_text(key, Place::new("deliveries", "disclosure", &id), &delivery.disclosure)?,
        ])?;
    if inserted == 0 {
        return Ok(false);
    }
    let body = c.seal(key, place("body", &id), &delivery.body)?;
    let html = delivery.html.as_ref().map(|html| c.seal(key, place("html", &id), html)).transpose()?;
    let card = delivery.card.as_ref().map(|card| c.seal(key, place("card", &id), card)).transpose()?;
    c.prepare_cached(
        "INSERT INTO rendition_bodies (delivery, month, media_type, body, html, card) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![id, month(origin.created), delivery.media_type, body, html, card])?;
    keep_version(c, delivery.id, origin.created)?;
    Ok(true)
}

pub(super) fn place<'r>(column: &'static str, row: &'r str) -> Place<'r> {
    Place::new("rendition_bodies", column, row)
}

/// The data key of a copy: that of its disclosure.
pub(super) fn key(c: &Keyed<'_>, delivery: &str) -> Result<KeyId, Failure> {
    let corrupt = || Failure::corrupt("deliveries", "disclosure");
    let disclosure = c
        .prepare_cached("SELECT disclosure FROM deliveries WHERE id = ?")?
        .query_and_then([delivery], |row| Columns::of("deliveries", row).get::<String>("disclosure"))?
        .next()
        .ok_or_else(corrupt)??;
    key_of_text(&disclosure).ok_or_else(corrupt)
}

/// Writes the delivery's present version into its history.
pub(super) fn keep_version(c: &Keyed<'_>, id: DeliveryId, at: Timestamp) -> Result<(), Failure> {
    c.prepare_cached(
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason)
         SELECT id, version, state, ?, code, reason FROM deliveries WHERE id = ?",
    )?
    .execute(params![micros(at), id.to_string()])?;
    Ok(())
}

/// Changes the state when the version is the expected one. A lease stays: whoever is sending may still
/// record its attempt and its disclosure, though no longer the state.
pub(super) fn transition(c: &Keyed<'_>, change: &Transition) -> Result<bool, Failure> {
    let changed = c
        .prepare_cached(
            "UPDATE deliveries SET state = ?1, version = version + 1, code = coalesce(?2, code), reason = ?3,
                 changed = ?4, next_attempt = CASE ?1 WHEN 'queued' THEN ?4 END
             WHERE id = ?5 AND version = ?6 RETURNING transfer, sender, patient, erased",
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
            |row| {
                let columns = Columns::of("deliveries", row);
                Ok::<_, Failure>(Origin {
                    transfer: columns.parsed("transfer")?,
                    sender: columns.parsed("sender")?,
                    patient: c.patient("deliveries", row)?.0,
                    created: change.at,
                })
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
    c: &Keyed<'_>,
    id: DeliveryId,
    at: Timestamp,
    reader: Option<&Step>,
    audit: &[AuditRow],
) -> Result<Option<StoredRendition>, Failure> {
    let Some(rendition) = rendition(c, id)? else { return Ok(None) };
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

pub(super) fn rendition(c: &Keyed<'_>, id: DeliveryId) -> Result<Option<StoredRendition>, Failure> {
    c.prepare_cached("SELECT media_type, body, html FROM rendition_bodies WHERE delivery = ?")?
        .query_and_then([id.to_string()], |row| {
            let columns = Columns::of("rendition_bodies", row);
            let row = id.to_string();
            let html = columns.get::<Option<Vec<u8>>>("html")?;
            Ok(StoredRendition {
                delivery: id,
                media_type: columns.get("media_type")?,
                body: c.open(place("body", &row), &columns.get::<Vec<u8>>("body")?)?,
                html: html.map(|html| c.open(place("html", &row), &html)).transpose()?,
            })
        })?
        .next()
        .transpose()
}

pub(super) fn requeue(c: &Keyed<'_>, id: DeliveryId, at: Timestamp, audit: &[AuditRow]) -> Result<bool, Failure> {
    let queued = c
        .prepare_cached(
            "UPDATE deliveries SET state = 'queued', version = version + 1, next_attempt = ?1, changed = ?1
             WHERE id = ?2 AND state = 'failed'",
        )?
        .execute(params![micros(at), id.to_string()])?;
    if queued == 0 {
        return Ok(false);
    }
    keep_version(c, id, at)?;
    audit::append(c, audit)?;
    Ok(true)
}

pub(super) fn by_id(c: &Keyed<'_>, id: DeliveryId) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "id = ?", &id.to_string())
}

pub(super) fn by_correlation(c: &Keyed<'_>, correlation_id: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "correlation_id = ? ORDER BY sequence DESC LIMIT 1", correlation_id)
}

pub(super) fn by_reference(c: &Keyed<'_>, reference: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "reference = ? ORDER BY sequence DESC LIMIT 1", reference)
}

fn one(c: &Keyed<'_>, condition: &str, value: &str) -> Result<Option<DeliveryRecord>, Failure> {
    c.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE {condition}"))?
        .query_and_then([value], |row| record(c, row))?
        .next()
        .transpose()
}

pub(super) fn of_transfer(c: &Keyed<'_>, id: TransferId) -> Result<Vec<DeliveryRecord>, Failure> {
    c.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE transfer = ? ORDER BY created, id"))?
        .query_and_then([id.to_string()], |row| record(c, row))?
        .collect()
}

pub(super) fn list(c: &Keyed<'_>, query: &DeliveryQuery) -> Result<Vec<DeliveryRecord>, Failure> {
    let (conditions, values) = conditions(query, c.index(query.patient.as_ref()));
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE {conditions} ORDER BY created, id LIMIT ?");
    let values = values.into_iter().chain([Value::from(query.limit)]);
    c.prepare_cached(&sql)?.query_and_then(params_from_iter(values), |row| record(c, row))?.collect()
}

/// The query as SQL with its parameters; only fixed texts become SQL. `patient` is the index of the query's person.
pub(super) fn conditions(query: &DeliveryQuery, patient: Option<String>) -> (String, Vec<Value>) {
    let mut conditions = vec!["1"];
    let mut values: Vec<Value> = Vec::new();
    let states;
    let mut text = |condition, value: Option<String>| {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value.into());
        }
    };
    text("recipient = ?", query.recipient.as_ref().map(ToString::to_string));
    text("sender = ?", query.sender.as_ref().map(ToString::to_string));
    text("transfer = ?", query.transfer.as_ref().map(ToString::to_string));
    text("patient = ?", patient);
    text("kind <> ?", (!query.include_responses).then(|| RecipientKind::Sender.as_str().to_owned()));
    if let Some(since) = query.changed_since {
        conditions.push("changed >= ?");
        values.push(micros(since).into());
    }
    if let Some((created, id)) = query.after {
        conditions.push("(created, id) > (?, ?)");
        values.extend([micros(created).into(), id.to_string().into()]);
    }
    if !query.states.is_empty() {
        states = format!("state IN ({})", vec!["?"; query.states.len()].join(", "));
        conditions.push(&states);
        values.extend(query.states.iter().map(|state| Value::from(state.as_str().to_owned())));
    }
    (conditions.join(" AND "), values)
}

/// A row of [`DELIVERY`]'s columns.
pub(super) fn record(c: &Keyed<'_>, row: &Row<'_>) -> Result<DeliveryRecord, Failure> {
    let columns = Columns::of("deliveries", row);
    let (patient, erased) = c.patient("deliveries", row)?;
    Ok(DeliveryRecord {
        id: columns.parsed("id")?,
        transfer: columns.parsed("transfer")?,
        sender: columns.parsed("sender")?,
        patient,
        kind: columns.parsed("kind")?,
        recipient: columns.parsed("recipient")?,
        recipient_name: columns.get("recipient_name")?,
        endpoint: columns.json("endpoint")?,
        state: columns.parsed::<DeliveryState>("state")?,
        version: columns.count("version")?,
        attempts: columns.count("attempts")?,
        next_attempt: columns.moment_opt("next_attempt")?,
        reason: columns.get("reason")?,
        code: columns.get("code")?,
        reference: columns.get("reference")?,
        correlation_id: columns.get("correlation_id")?,
        body_bytes: columns.count("body_bytes")?,
        acknowledgement_awaited: columns.flag("acknowledgement_awaited")?,
        basis: columns.get("basis")?,
        created: columns.moment("created")?,
        changed: columns.moment("changed")?,
        opened: columns.moment_opt("opened")?,
        erased,
    })
}
