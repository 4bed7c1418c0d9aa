//! Recipients' copies: queueing, reading, and their changes of state.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::{
    DeliveryQuery, DeliveryRecord, Listed, NewDelivery, Outgoing, Step, StoredRendition, Transition,
};
use onward_core::{DeliveryId, TransferId};
use rusqlite::{Row, params, params_from_iter};

use super::failure::Failure;
use super::keyed::Keyed;
use super::open;
use super::{audit, closing, directory, steps};
use crate::columns::Columns;
use crate::query;
use crate::query::closing::STAYS;
use crate::rows::copies::{PackedCopy, have_parts, packed};
use crate::rows::{self, DELIVERY, Origin};
use crate::sealing::{KeyId, PartsOf, key_of_text};
use crate::stored::{json, micros, month, stored_count};

/// Queues copies, due at once; an identifier that is there already is an error. What they have in common is kept once.
pub(super) fn insert(c: &Keyed<'_>, origin: &Origin, copies: &[NewDelivery]) -> Result<(), Failure> {
    let of = PartsOf { transfer: origin.transfer, month: month(origin.created) };
    let may_part = have_parts(copies) && open::may_part(c)?;
    insert_packed(c, origin, copies, &packed(of, copies, c.keys().vault(), may_part))
}

/// The same of copies that were packed before.
pub(super) fn insert_packed(
    c: &Keyed<'_>,
    origin: &Origin,
    copies: &[NewDelivery],
    packed: &[PackedCopy],
) -> Result<(), Failure> {
    directory::stand(c, copies)?;
    if packed.iter().any(|packed| packed.parts.is_some()) {
        open::shut_out(c, open::PARTS_SINCE)?;
    }
    copies.iter().zip(packed).try_for_each(|(copy, packed)| queue(c, origin, copy, packed, ""))
}

/// Queues a copy unless its identifier is there already.
pub(super) fn insert_once(c: &Keyed<'_>, origin: &Origin, delivery: &NewDelivery) -> Result<(), Failure> {
    queue(c, origin, delivery, &PackedCopy::whole(delivery), "ON CONFLICT (id) DO NOTHING")
}

fn queue(
    c: &Keyed<'_>,
    origin: &Origin,
    delivery: &NewDelivery,
    packed: &PackedCopy,
    conflict: &str,
) -> Result<(), Failure> {
    let id = delivery.id.to_string();
    let transfer = origin.transfer.to_string();
    let key = c.key_of_transfer(origin.patient.as_ref(), origin.transfer, origin.created)?;
    let patient = c.keys().index(origin.patient.as_ref());
    let sealed = packed.sealed(c.keys(), key, delivery)?;
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
            origin.lane(c.keys()),
            origin.sender.as_str(),
            patient,
            delivery.kind.as_str(),
            delivery.recipient.as_str(),
            delivery.recipient_name,
            json(&delivery.endpoint),
            micros(origin.created),
            delivery.correlation_id,
            delivery.workflow.as_ref().map(|workflow| workflow.as_str()),
            packed.body_bytes,
            delivery.acknowledgement_awaited,
            delivery.basis,
            micros(origin.created),
            micros(origin.created),
            c.keys().seal_text(key, rows::of_copy("key", &id), "")?,
            delivery.notice.map(|notice| notice.of.to_string()),
            delivery.notice.map(|notice| notice.why.as_str()),
        ])?;
    if inserted == 0 {
        return Ok(());
    }
    c.prepare_cached("INSERT INTO disclosures (sequence, disclosure) VALUES (?, ?)")?
        .execute(params![c.last_insert_rowid(), sealed.disclosure])?;
    c.prepare_cached(
        "INSERT INTO rendition_bodies (delivery, month, media_type, body, html, card, parts) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id,
        month(origin.created),
        delivery.media_type,
        sealed.body,
        sealed.html,
        sealed.card,
        packed.parts
    ])?;
    for part in &sealed.new_parts {
        c.prepare_cached("INSERT OR IGNORE INTO rendition_parts (transfer, month, digest, body) VALUES (?, ?, ?, ?)")?
            .execute(params![transfer, part.of.month, part.digest, part.body])?;
    }
    keep_version(c, delivery.id, origin.created)
}

/// The data key of a copy: the one that its row names where its disclosure was once.
pub(super) fn key(c: &Keyed<'_>, delivery: &str) -> Result<KeyId, Failure> {
    let corrupt = || Failure::corrupt("deliveries", "disclosure");
    let disclosure = c
        .prepare_cached("SELECT disclosure FROM deliveries WHERE id = ?")?
        .query_and_then([delivery], |row| -> Result<String, Failure> {
            Ok(Columns::of("deliveries", row).get("disclosure")?)
        })?
        .next()
        .ok_or_else(corrupt)??;
    key_of_text(&disclosure).ok_or_else(corrupt)
}

/// Seals what people say of a copy into this column of it. About a person who was erased nothing is kept.
pub(super) fn put_words(c: &Keyed<'_>, column: &'static str, id: DeliveryId, text: &str) -> Result<(), Failure> {
    let id = id.to_string();
    let sealed = match c.seal_text(key(c, &id)?, rows::of_copy(column, &id), text) {
        Err(Failure::Erased) => return Ok(()),
        sealed => sealed?,
    };
    c.prepare_cached(&format!("UPDATE deliveries SET {column} = ? WHERE id = ?"))?.execute(params![sealed, id])?;
    Ok(())
}

/// Writes the delivery's present version into its history.
pub(super) fn keep_version(c: &Keyed<'_>, id: DeliveryId, at: Timestamp) -> Result<(), Failure> {
    c.prepare_cached(
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason, words)
         SELECT id, version, state, ?, code, reason, words FROM deliveries WHERE id = ?",
    )?
    .execute(params![micros(at), id.to_string()])?;
    Ok(())
}

/// The same of one whose identifier may be unreadable, by its place.
pub(super) fn keep_version_at(c: &Keyed<'_>, sequence: i64, at: Timestamp) -> Result<(), Failure> {
    c.prepare_cached(
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason, words)
         SELECT id, version, state, ?, code, reason, words FROM deliveries WHERE sequence = ?",
    )?
    .execute(params![micros(at), sequence])?;
    Ok(())
}

/// Changes the state when the version is the expected one. A lease stays: whoever is sending may still
/// record its attempt and its disclosure, though no longer the state.
pub(super) fn transition(c: &Keyed<'_>, change: &Transition) -> Result<bool, Failure> {
    let changed = c
        .prepare_cached(
            "UPDATE deliveries SET state = ?1, version = version + 1, code = coalesce(?2, code), reason = ?3, words = NULL,
                 changed = ?4, next_attempt = CASE ?1 WHEN 'queued' THEN ?4 END
             WHERE id = ?5 AND version = ?6 RETURNING transfer, sender, patient, erased",
        )?
        .query_and_then(
            params![
                change.state.as_str(),
                change.code,
                change.reason.as_ref().filter(|_| !rows::is_worded(change.state)),
                micros(change.at),
                change.delivery.to_string(),
                stored_count(change.expected_version),
            ],
            |row| -> Result<Origin, Failure> {
                let columns = Columns::of("deliveries", row);
                let transfer = columns.parsed("transfer")?;
                c.opened(|keys| Origin::of(&columns, keys, transfer, change.at))
            },
        )?
        .next()
        .transpose()?;
    let Some(origin) = changed else { return Ok(false) };
    if let Some(words) = change.reason.as_ref().filter(|_| rows::is_worded(change.state)) {
        put_words(c, "words", change.delivery, words)?;
    }
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
            "UPDATE deliveries SET opened = coalesce(opened, ?1), version = version + 1, changed = ?1, {STAYS},
                 next_attempt = CASE WHEN {COLLECTS} THEN NULL ELSE next_attempt END,
                 state = CASE WHEN {COLLECTS} THEN 'received' ELSE state END
             WHERE id = ?2 AND (opened IS NULL OR {COLLECTS})"
        ))?
        .execute(params![micros(at), id.to_string()])?;
    if first == 1 {
        keep_version(c, id, at)?;
        closing::carry(c, id)?;
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
            c.opened(|keys| rows::rendition(&Columns::of("rendition_bodies", row), keys, id))
        })?
        .next()
        .transpose()
}

/// What leaves of a copy.
pub(super) fn outgoing(c: &Keyed<'_>, id: DeliveryId) -> Result<Option<Outgoing>, Failure> {
    c.prepare_cached("SELECT media_type, body FROM rendition_bodies WHERE delivery = ?")?
        .query_and_then([id.to_string()], |row| {
            c.opened(|keys| rows::outgoing(&Columns::of("rendition_bodies", row), keys, id))
        })?
        .next()
        .transpose()
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

pub(super) fn list(c: &Keyed<'_>, wanted: &DeliveryQuery) -> Result<Listed<DeliveryRecord>, Failure> {
    let (sql, values) = query::deliveries(wanted, c.keys());
    c.listed(&sql, params_from_iter(values), ("deliveries", "id"), rows::delivery)
}

/// A row of [`DELIVERY`]'s columns.
pub(super) fn record(c: &Keyed<'_>, row: &Row<'_>) -> Result<DeliveryRecord, Failure> {
    c.opened(|keys| rows::delivery(&Columns::of("deliveries", row), keys))
}
