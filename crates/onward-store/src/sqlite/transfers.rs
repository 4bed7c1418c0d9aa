//! Accepting a message, reading a transfer back, and holds.

use jiff::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::{
    Accepted, Closure, HeldTransfer, HoldChange, HoldSeen, Listed, NewHold, NewTransfer, OriginalMessage, Release,
    SubjectTransfer, TransferRecord,
};
use onward_core::{HoldId, NhsNumber, OdsCode, TransferId};
use rusqlite::params;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{alerts, audit, deliveries, lifecycle, operations, steps};
use crate::columns::Columns;
use crate::rows::copies::PackedAcceptance;
use crate::rows::{self, CHANGES, EVERY_HOLD, HELD, Origin, TRANSFER};
use crate::sealing::{KeyId, Keychain, Packed, Unread, key_of};
use crate::stored::{json, micros, micros_opt, month};

/// The data key of a transfer: that of its response.
pub(super) fn key(c: &Keyed<'_>, transfer: &str) -> Result<KeyId, Failure> {
    let corrupt = || Failure::corrupt("transfers", "response");
    let response = c
        .prepare_cached("SELECT response FROM transfers WHERE id = ?")?
        .query_and_then([transfer], |row| -> Result<Vec<u8>, Failure> {
            Ok(Columns::of("transfers", row).get("response")?)
        })?
        .next()
        .ok_or_else(corrupt)??;
    key_of(&response).ok_or_else(corrupt)
}

/// The keys decide before anything is written: the message's two identifiers (20007), then the document's (20008).
pub(super) fn accept(c: &Keyed<'_>, packed: &PackedAcceptance) -> Result<Accepted, Failure> {
    let acceptance = &packed.acceptance;
    let transfer = &acceptance.transfer;
    let earlier = match earlier_message(c, transfer)? {
        Some(earlier) => Some(earlier),
        None => earlier_document(c, transfer)?,
    };
    if let Some(earlier) = earlier {
        let row = match &earlier {
            Accepted::Repeat { .. } => &acceptance.audit_if_repeat,
            _ => &acceptance.audit_if_conflict,
        };
        audit::append(c, std::slice::from_ref(row))?;
        return Ok(earlier);
    }
    insert(c, transfer, &packed.body)?;
    if let Some(predecessor) = transfer.replaces
        && !lifecycle::succeed(c, transfer.id, predecessor, transfer.received)?
    {
        return Err(Failure::Overtaken);
    }
    lifecycle::in_order(c, acceptance)?;
    if let Some(late) = &acceptance.late {
        lifecycle::come_late(c, transfer.id, late, &acceptance.endings, transfer.received)?;
    } else if acceptance.hold.is_none()
        && !lifecycle::supersede(c, transfer.id, &acceptance.endings, transfer.received)?
    {
        return Err(Failure::Overtaken);
    }
    let origin = Origin {
        transfer: transfer.id,
        sender: transfer.sender.clone(),
        patient: transfer.patient.clone(),
        created: transfer.received,
        behind: None,
    };
    deliveries::insert_packed(c, &origin, &acceptance.deliveries, &packed.copies)?;
    if let Some(hold) = &acceptance.hold {
        insert_hold(c, transfer.id, hold, "{}", transfer.received)?;
    }
    audit::append(c, &acceptance.audit)?;
    // What was audited before it was taken in, that PDS was asked, is its sender's as well.
    c.prepare_cached(
        "INSERT OR IGNORE INTO audit_parties (organisation, recorded, position)
         SELECT ?, recorded, position FROM audit_log WHERE transfer = ?",
    )?
    .execute(params![transfer.sender.as_str(), transfer.id.to_string()])?;
    Ok(Accepted::New)
}

/// The identifier of the message Bundle and that of its header are each used once by a sender (ITK3: a message is a
/// duplicate by either): responses refer to the header.
fn earlier_message(c: &Keyed<'_>, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    let sha256 = c.keys().vault().keyed(&transfer.body_sha256);
    c.prepare_cached(
        "SELECT id, body_sha256, response FROM transfers
         WHERE sender = ?1 AND (message_id = ?2 OR header_id = ?3) ORDER BY body_sha256 = ?4 DESC LIMIT 1",
    )?
    .query_and_then(params![transfer.sender.as_str(), transfer.message_id, header_id(transfer), sha256], |row| {
        c.opened(|keys| rows::earlier(&Columns::of("transfers", row), keys, &sha256))
    })?
    .next()
    .transpose()
}

fn header_id(transfer: &NewTransfer) -> Option<&str> {
    Some(transfer.reply.header_id.as_str()).filter(|id| !id.is_empty())
}

fn earlier_document(c: &Keyed<'_>, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    let Some(document_id) = &transfer.document_id else { return Ok(None) };
    c.prepare_cached("SELECT id FROM transfers WHERE sender = ? AND document_id = ?")?
        .query_and_then(params![transfer.sender.as_str(), document_id], |row| {
            Ok(Accepted::DocumentRepeated { transfer: Columns::of("transfers", row).parsed("id")? })
        })?
        .next()
        .transpose()
}

fn insert(c: &Keyed<'_>, transfer: &NewTransfer, body: &Packed) -> Result<(), Failure> {
    let id = transfer.id.to_string();
    let key = c.key_of_transfer(transfer.patient.as_ref(), transfer.id, transfer.received)?;
    c.prepare_cached(
        "INSERT INTO transfers (id, sender, client_id, message_id, header_id, document_id, document_set_id, event,
             received, expected, patient, care_home, reply, changed, body_sha256, response, version, dated, replaces,
             awaits)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id,
        transfer.sender.as_str(),
        transfer.client_id,
        transfer.message_id,
        header_id(transfer),
        transfer.document_id,
        transfer.document_set_id,
        transfer.event,
        micros(transfer.received),
        micros_opt(transfer.expected),
        c.keys().index(transfer.patient.as_ref()),
        transfer.care_home.as_ref().map(OdsCode::as_str),
        c.seal_text(key, rows::of_transfer("reply", &id), &json(&transfer.reply))?,
        micros(transfer.received),
        c.keys().vault().keyed(&transfer.body_sha256),
        c.seal(key, rows::of_transfer("response", &id), &transfer.response)?,
        transfer.version,
        micros_opt(transfer.dated),
        transfer.replaces.map(|id| id.to_string()),
        transfer.awaits,
    ])?;
    let body = c.keys().seal_packed(key, rows::of_message(&id), body)?;
    c.prepare_cached("INSERT INTO message_bodies (transfer, month, media_type, body) VALUES (?, ?, ?, ?)")?
        .execute(params![id, month(transfer.received), transfer.media_type, body])?;
    Ok(())
}

pub(super) fn insert_hold(
    c: &Keyed<'_>,
    transfer: TransferId,
    hold: &NewHold,
    decided: &str,
    opened: Timestamp,
) -> Result<(), Failure> {
    let (id, transfer) = (hold.id.to_string(), transfer.to_string());
    let key = key(c, &transfer)?;
    c.prepare_cached(
        "INSERT INTO holds (id, transfer, reason, detail, owner, due, opened, decided) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id,
        transfer,
        hold.reason.as_str(),
        c.seal_text(key, rows::of_hold("detail", &id), &hold.detail)?,
        hold.owner,
        micros(hold.due),
        micros(opened),
        c.seal_text(key, rows::of_hold("decided", &id), decided)?,
    ])?;
    Ok(())
}

pub(super) fn transfer(c: &Keyed<'_>, id: TransferId) -> Result<Option<TransferRecord>, Failure> {
    let found = c
        .prepare_cached(&format!("SELECT {TRANSFER} FROM transfers WHERE id = ?"))?
        .query_and_then([id.to_string()], |row| -> Result<TransferRecord, Failure> {
            c.opened(|keys| rows::transfer(&Columns::of("transfers", row), keys))
        })?
        .next()
        .transpose()?;
    let Some(record) = found else { return Ok(None) };
    let hold = c
        .prepare_cached(
            "SELECT id AS hold, reason, detail, owner, due FROM holds
             WHERE transfer = ? AND closed IS NULL ORDER BY due, id LIMIT 1",
        )?
        .query_and_then([id.to_string()], |row| -> Result<NewHold, Failure> {
            c.opened(|keys| rows::hold(&Columns::of("holds", row), keys))
        })?
        .next()
        .transpose()?;
    Ok(Some(rows::whole(record, hold, deliveries::of_transfer(c, id)?)))
}

pub(super) fn original(c: &Keyed<'_>, id: TransferId) -> Result<Option<OriginalMessage>, Failure> {
    c.prepare_cached("SELECT media_type, body FROM message_bodies WHERE transfer = ?")?
        .query_and_then([id.to_string()], |row| {
            c.opened(|keys| rows::original(&Columns::of("message_bodies", row), keys, id))
        })?
        .next()
        .transpose()
}

/// The transfers that are about this person, by the index of that name.
pub(super) const ABOUT: &str = "SELECT id FROM transfers WHERE patient = ?1 AND erased IS NULL ORDER BY received, id";

pub(super) fn about(c: &Keyed<'_>, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, Failure> {
    let ids: Vec<TransferId> = c
        .prepare_cached(ABOUT)?
        .query_and_then([c.keys().vault().index(patient)], |row| Ok(Columns::of("transfers", row).parsed("id")?))?
        .collect::<Result<_, Failure>>()?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let transfer = transfer(c, id)?.ok_or_else(|| Failure::corrupt("transfers", "id"))?;
        let mut renditions = Vec::new();
        for delivery in transfer.deliveries.iter().filter(|delivery| delivery.kind != RecipientKind::Sender) {
            renditions.extend(deliveries::rendition(c, delivery.id)?);
        }
        let mut steps = Vec::new();
        for delivery in &transfer.deliveries {
            steps.extend(steps::of(c, delivery.id)?);
        }
        found.push(SubjectTransfer {
            original: original(c, id)?,
            transfer,
            renditions,
            changes: of_transfer(c, id, CHANGES, rows::copy_change)?,
            steps,
            holds: of_transfer(c, id, EVERY_HOLD, rows::subject_hold)?,
            approvals: operations::about(c, id)?,
            alerts: alerts::about(c, id)?,
        });
    }
    Ok(found)
}

fn of_transfer<T>(
    c: &Keyed<'_>,
    id: TransferId,
    sql: &str,
    read: fn(&Columns<'_>, &Keychain) -> Result<T, Unread>,
) -> Result<Vec<T>, Failure> {
    c.prepare_cached(sql)?
        .query_and_then([id.to_string()], |row| c.opened(|keys| read(&Columns::of("transfers", row), keys)))?
        .collect()
}

pub(super) fn holds(c: &Keyed<'_>) -> Result<Listed<HeldTransfer>, Failure> {
    c.listed(&format!("{HELD} ORDER BY h.due, h.id"), [], ("holds", "hold"), rows::held)
}

pub(super) fn open_hold(c: &Keyed<'_>, hold: HoldId) -> Result<Option<HeldTransfer>, Failure> {
    c.prepare_cached(&format!("{HELD} AND h.id = ?"))?
        .query_and_then([hold.to_string()], |row| c.opened(|keys| rows::held(&Columns::of("holds", row), keys)))?
        .next()
        .transpose()
}

pub(super) fn closed_hold(c: &Keyed<'_>, hold: HoldId) -> Result<Option<TransferId>, Failure> {
    c.prepare_cached("SELECT transfer FROM holds WHERE id = ? AND closed IS NOT NULL")?
        .query_and_then([hold.to_string()], |row| Ok(Columns::of("holds", row).parsed("transfer")?))?
        .next()
        .transpose()
}

/// The transfer of an open hold that is as it was seen.
fn open_as_seen(c: &Keyed<'_>, hold: HoldId, seen: &HoldSeen) -> Result<Option<TransferId>, Failure> {
    let found = c
        .prepare_cached("SELECT transfer, decided = ?2 AS is_seen FROM holds WHERE id = ?1 AND closed IS NULL")?
        .query_and_then(params![hold.to_string(), seen.mark()], |row| {
            let columns = Columns::of("holds", row);
            Ok::<(TransferId, bool), Failure>((columns.parsed("transfer")?, columns.flag("is_seen")?))
        })?
        .next()
        .transpose()?;
    match found {
        Some((_, false)) => Err(Failure::Overtaken),
        found => Ok(found.map(|(transfer, _)| transfer)),
    }
}

/// Closes an open hold that is as it was seen, and gives its transfer.
fn close(c: &Keyed<'_>, hold: HoldId, seen: &HoldSeen, at: Timestamp) -> Result<Option<TransferId>, Failure> {
    let transfer = open_as_seen(c, hold, seen)?;
    if transfer.is_some() {
        c.prepare_cached("UPDATE holds SET closed = ? WHERE id = ?")?.execute(params![micros(at), hold.to_string()])?;
    }
    Ok(transfer)
}

/// Makes a held transfer the next version of what it replaces.
fn join(
    c: &Keyed<'_>,
    transfer: TransferId,
    (predecessor, version): (TransferId, u32),
    at: Timestamp,
) -> Result<(), Failure> {
    if !lifecycle::succeed(c, transfer, predecessor, at)? {
        return Err(Failure::Overtaken);
    }
    c.prepare_cached("UPDATE transfers SET replaces = ?, version = ? WHERE id = ?")?.execute(params![
        predecessor.to_string(),
        version,
        transfer.to_string()
    ])?;
    Ok(())
}

/// Marks the transfer as changed and gives what its further copies come from.
pub(super) fn origin(c: &Keyed<'_>, transfer: TransferId, at: Timestamp) -> Result<Origin, Failure> {
    c.prepare_cached("UPDATE transfers SET changed = ? WHERE id = ? RETURNING sender, patient, erased")?
        .query_and_then(params![micros(at), transfer.to_string()], |row| {
            c.opened(|keys| Origin::of(&Columns::of("transfers", row), keys, transfer, at))
        })?
        .next()
        .ok_or_else(|| Failure::corrupt("transfers", "id"))?
}

pub(super) fn release_hold(c: &Keyed<'_>, release: &Release) -> Result<bool, Failure> {
    let Some(transfer) = close(c, release.hold, &release.seen, release.at)? else { return Ok(false) };
    if let Some(joins) = release.replaces {
        join(c, transfer, joins, release.at)?;
    } else if lifecycle::come_since(c, transfer)?.is_some() {
        return Err(Failure::Overtaken);
    }
    if !lifecycle::supersede(c, transfer, &release.endings, release.at)? {
        return Err(Failure::Overtaken);
    }
    lifecycle::end_copies(c, &release.taken_back, release.at)?;
    // What was not known when it came may be known by now.
    if let Some(patient) = &release.patient {
        c.assign(transfer, patient, release.at)?;
    }
    c.prepare_cached(
        "UPDATE transfers SET patient = coalesce(?, patient), care_home = coalesce(?, care_home) WHERE id = ?",
    )?
    .execute(params![
        c.keys().index(release.patient.as_ref()),
        release.care_home.as_ref().map(OdsCode::as_str),
        transfer.to_string()
    ])?;
    let origin = origin(c, transfer, release.at)?;
    deliveries::insert(c, &origin, &release.deliveries)?;
    audit::append(c, &release.audit)?;
    Ok(true)
}

pub(super) fn change_hold(c: &Keyed<'_>, change: &HoldChange) -> Result<bool, Failure> {
    let hold = &change.hold;
    let id = hold.id.to_string();
    let Some(transfer) = open_as_seen(c, hold.id, &change.seen)? else { return Ok(false) };
    if let Some(joins) = change.joins {
        join(c, transfer, joins, change.at)?;
    }
    let key = key(c, &transfer.to_string())?;
    c.prepare_cached("UPDATE holds SET reason = ?, detail = ?, owner = ?, due = ?, decided = ? WHERE id = ?")?
        .execute(params![
            hold.reason.as_str(),
            c.seal_text(key, rows::of_hold("detail", &id), &hold.detail)?,
            hold.owner,
            micros(hold.due),
            c.seal_text(key, rows::of_hold("decided", &id), &change.decided)?,
            id
        ])?;
    origin(c, transfer, change.at)?;
    audit::append(c, &change.audit)?;
    Ok(true)
}

pub(super) fn close_hold(c: &Keyed<'_>, closure: &Closure) -> Result<bool, Failure> {
    let Some(transfer) = close(c, closure.hold, &closure.seen, closure.at)? else { return Ok(false) };
    let origin = origin(c, transfer, closure.at)?;
    let id = transfer.to_string();
    let reason = c.seal_text(key(c, &id)?, rows::of_transfer("not_sent", &id), &closure.reason)?;
    c.prepare_cached("UPDATE transfers SET not_sent = ? WHERE id = ?")?.execute(params![reason, id])?;
    if let Some(voided) = &closure.voids {
        lifecycle::void(c, transfer, voided, closure.at)?;
    }
    for response in &closure.responses {
        deliveries::insert_once(c, &origin, response)?;
    }
    audit::append(c, &closure.audit)?;
    Ok(true)
}
