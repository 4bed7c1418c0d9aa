//! Accepting a message, reading a transfer back, and holds.

use jiff::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::{
    Acceptance, Accepted, Closure, HeldTransfer, HoldChange, NewHold, NewTransfer, OriginalMessage, Release,
    SubjectTransfer, TransferRecord,
};
use onward_core::{HoldId, NhsNumber, OdsCode, TransferId};
use rusqlite::{Connection, params};

use super::audit;
use super::deliveries;
use super::failure::Failure;
use crate::columns::Columns;
use crate::rows::{self, HELD, Origin, TRANSFER};
use crate::stored::{json, micros, micros_opt, month};

/// The keys decide before anything is written: the message's two identifiers (20007), then the document's (20008).
pub(super) fn accept(c: &Connection, acceptance: &Acceptance) -> Result<Accepted, Failure> {
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
    insert(c, transfer)?;
    let origin = Origin {
        transfer: transfer.id,
        sender: transfer.sender.clone(),
        patient: transfer.patient.clone(),
        created: transfer.received,
    };
    for delivery in &acceptance.deliveries {
        deliveries::insert(c, &origin, delivery)?;
    }
    if let Some(hold) = &acceptance.hold {
        insert_hold(c, transfer, hold)?;
    }
    audit::append(c, &acceptance.audit)?;
    Ok(Accepted::New)
}

/// The identifier of the message Bundle and that of its header are each used once by a sender (ITK3: a message is a
/// duplicate by either): responses refer to the header.
fn earlier_message(c: &Connection, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    c.prepare_cached(
        "SELECT id, body_sha256, response FROM transfers
         WHERE sender = ?1 AND (message_id = ?2 OR header_id = ?3) ORDER BY body_sha256 = ?4 DESC LIMIT 1",
    )?
    .query_and_then(
        params![transfer.sender.as_str(), transfer.message_id, header_id(transfer), transfer.body_sha256],
        |row| {
            let columns = Columns::of("transfers", row);
            if columns.get::<[u8; 32]>("body_sha256")? != transfer.body_sha256 {
                return Ok(Accepted::MessageIdReused);
            }
            Ok(Accepted::Repeat { transfer: columns.parsed("id")?, response: columns.get("response")? })
        },
    )?
    .next()
    .transpose()
}

fn header_id(transfer: &NewTransfer) -> Option<&str> {
    Some(transfer.reply.header_id.as_str()).filter(|id| !id.is_empty())
}

fn earlier_document(c: &Connection, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    let Some(document_id) = &transfer.document_id else { return Ok(None) };
    c.prepare_cached("SELECT id FROM transfers WHERE sender = ? AND document_id = ?")?
        .query_and_then(params![transfer.sender.as_str(), document_id], |row| {
            Ok(Accepted::DocumentRepeated { transfer: Columns::of("transfers", row).parsed("id")? })
        })?
        .next()
        .transpose()
}

fn insert(c: &Connection, transfer: &NewTransfer) -> Result<(), Failure> {
    let id = transfer.id.to_string();
    c.prepare_cached(
        "INSERT INTO transfers (id, sender, client_id, message_id, header_id, document_id, document_set_id, event,
             received, expected, patient, care_home, reply, changed, body_sha256, response)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        transfer.patient.as_ref().map(NhsNumber::expose),
        transfer.care_home.as_ref().map(OdsCode::as_str),
        json(&transfer.reply),
        micros(transfer.received),
        transfer.body_sha256,
        transfer.response,
    ])?;
    c.prepare_cached("INSERT INTO message_bodies (transfer, month, media_type, body) VALUES (?, ?, ?, ?)")?
        .execute(params![id, month(transfer.received), transfer.media_type, transfer.body])?;
    Ok(())
}

fn insert_hold(c: &Connection, transfer: &NewTransfer, hold: &NewHold) -> Result<(), Failure> {
    c.prepare_cached(
        "INSERT INTO holds (id, transfer, reason, detail, owner, due, opened) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        hold.id.to_string(),
        transfer.id.to_string(),
        hold.reason.as_str(),
        hold.detail,
        hold.owner,
        micros(hold.due),
        micros(transfer.received),
    ])?;
    Ok(())
}

pub(super) fn transfer(c: &Connection, id: TransferId) -> Result<Option<TransferRecord>, Failure> {
    let found = c
        .prepare_cached(&format!("SELECT {TRANSFER} FROM transfers WHERE id = ?"))?
        .query_and_then([id.to_string()], |row| -> Result<TransferRecord, Failure> {
            Ok(rows::transfer(&Columns::of("transfers", row))?)
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
            Ok(rows::hold(&Columns::of("holds", row))?)
        })?
        .next()
        .transpose()?;
    Ok(Some(rows::whole(record, hold, deliveries::of_transfer(c, id)?)))
}

pub(super) fn original(c: &Connection, id: TransferId) -> Result<Option<OriginalMessage>, Failure> {
    c.prepare_cached("SELECT media_type, body FROM message_bodies WHERE transfer = ?")?
        .query_and_then([id.to_string()], |row| Ok(rows::original(&Columns::of("message_bodies", row))?))?
        .next()
        .transpose()
}

/// The transfers that are about this person, by the index of that name.
pub(super) const ABOUT: &str = "SELECT id FROM transfers WHERE patient = ?1 ORDER BY received, id";

pub(super) fn about(c: &Connection, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, Failure> {
    let ids: Vec<TransferId> = c
        .prepare_cached(ABOUT)?
        .query_and_then([patient.expose()], |row| Ok(Columns::of("transfers", row).parsed("id")?))?
        .collect::<Result<_, Failure>>()?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let transfer = transfer(c, id)?.ok_or_else(|| Failure::corrupt("transfers", "id"))?;
        let mut renditions = Vec::new();
        for delivery in transfer.deliveries.iter().filter(|delivery| delivery.kind != RecipientKind::Sender) {
            renditions.extend(deliveries::rendition(c, delivery.id)?);
        }
        found.push(SubjectTransfer { original: original(c, id)?, transfer, renditions });
    }
    Ok(found)
}

pub(super) fn holds(c: &Connection) -> Result<Vec<HeldTransfer>, Failure> {
    c.prepare_cached(HELD)?.query_and_then([], |row| Ok(rows::held(&Columns::of("holds", row))?))?.collect()
}

/// Closes an open hold and gives its transfer.
fn close(c: &Connection, hold: HoldId, at: Timestamp) -> Result<Option<TransferId>, Failure> {
    c.prepare_cached("UPDATE holds SET closed = ? WHERE id = ? AND closed IS NULL RETURNING transfer")?
        .query_and_then(params![micros(at), hold.to_string()], |row| Ok(Columns::of("holds", row).parsed("transfer")?))?
        .next()
        .transpose()
}

/// Marks the transfer as changed and gives what its further copies come from.
fn origin(c: &Connection, transfer: TransferId, at: Timestamp) -> Result<Origin, Failure> {
    c.prepare_cached("UPDATE transfers SET changed = ? WHERE id = ? RETURNING sender, patient")?
        .query_and_then(params![micros(at), transfer.to_string()], |row| {
            Ok::<_, Failure>(Origin::of(&Columns::of("transfers", row), transfer, at)?)
        })?
        .next()
        .ok_or_else(|| Failure::corrupt("holds", "transfer"))?
}

pub(super) fn release_hold(c: &Connection, release: &Release) -> Result<bool, Failure> {
    let Some(transfer) = close(c, release.hold, release.at)? else { return Ok(false) };
    // What was not known when it came may be known by now.
    c.prepare_cached(
        "UPDATE transfers SET patient = coalesce(?, patient), care_home = coalesce(?, care_home) WHERE id = ?",
    )?
    .execute(params![
        release.patient.as_ref().map(NhsNumber::expose),
        release.care_home.as_ref().map(OdsCode::as_str),
        transfer.to_string()
    ])?;
    let origin = origin(c, transfer, release.at)?;
    for delivery in &release.deliveries {
        deliveries::insert(c, &origin, delivery)?;
    }
    audit::append(c, &release.audit)?;
    Ok(true)
}

pub(super) fn change_hold(c: &Connection, change: &HoldChange) -> Result<bool, Failure> {
    let hold = &change.hold;
    let transfer = c
        .prepare_cached(
            "UPDATE holds SET reason = ?, detail = ?, owner = ?, due = ?, decided = ? WHERE id = ? AND closed IS NULL
             RETURNING transfer",
        )?
        .query_and_then(
            params![
                hold.reason.as_str(),
                hold.detail,
                hold.owner,
                micros(hold.due),
                change.decided,
                hold.id.to_string()
            ],
            |row| Ok::<_, Failure>(Columns::of("holds", row).parsed::<TransferId>("transfer")?),
        )?
        .next()
        .transpose()?;
    let Some(transfer) = transfer else { return Ok(false) };
    origin(c, transfer, change.at)?;
    audit::append(c, &change.audit)?;
    Ok(true)
}

pub(super) fn close_hold(c: &Connection, closure: &Closure) -> Result<bool, Failure> {
    let Some(transfer) = close(c, closure.hold, closure.at)? else { return Ok(false) };
    let origin = origin(c, transfer, closure.at)?;
    c.prepare_cached("UPDATE transfers SET not_sent = ? WHERE id = ?")?
        .execute(params![closure.reason, transfer.to_string()])?;
    for response in &closure.responses {
        deliveries::insert_once(c, &origin, response)?;
    }
    audit::append(c, &closure.audit)?;
    Ok(true)
}
