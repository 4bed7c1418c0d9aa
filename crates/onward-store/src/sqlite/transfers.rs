//! Accepting a message, reading a transfer back, and holds.

use jiff::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::{
    Acceptance, Accepted, Closure, HeldTransfer, HoldChange, NewHold, NewTransfer, OriginalMessage, Release,
    ReplyWanted, SubjectTransfer, TransferRecord,
};
use onward_core::{HoldId, NhsNumber, OdsCode, TransferId};
use rusqlite::{Row, params};

use super::audit;
use super::columns::{Columns, json, micros, micros_opt, month};
use super::deliveries::{self, Origin};
use super::failure::Failure;
use super::keyed::Keyed;
use crate::sealing::{KeyId, Place, key_of};

fn place<'r>(column: &'static str, row: &'r str) -> Place<'r> {
    Place::new("transfers", column, row)
}

/// The data key of a transfer: that of its response.
pub(super) fn key(c: &Keyed<'_>, transfer: &str) -> Result<KeyId, Failure> {
    let corrupt = || Failure::corrupt("transfers", "response");
    let response = c
        .prepare_cached("SELECT response FROM transfers WHERE id = ?")?
        .query_and_then([transfer], |row| Columns::of("transfers", row).get::<Vec<u8>>("response"))?
        .next()
        .ok_or_else(corrupt)??;
    key_of(&response).ok_or_else(corrupt)
}

/// The keys decide before anything is written: the message's two identifiers (20007), then the document's (20008).
pub(super) fn accept(c: &Keyed<'_>, acceptance: &Acceptance) -> Result<Accepted, Failure> {
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
fn earlier_message(c: &Keyed<'_>, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    let sha256 = c.vault().keyed(&transfer.body_sha256);
    c.prepare_cached(
        "SELECT id, body_sha256, response FROM transfers
         WHERE sender = ?1 AND (message_id = ?2 OR header_id = ?3) ORDER BY body_sha256 = ?4 DESC LIMIT 1",
    )?
    .query_and_then(params![transfer.sender.as_str(), transfer.message_id, header_id(transfer), sha256], |row| {
        let columns = Columns::of("transfers", row);
        if columns.get::<[u8; 32]>("body_sha256")? != sha256 {
            return Ok(Accepted::MessageIdReused);
        }
        let id: String = columns.get("id")?;
        let transfer = columns.parsed("id")?;
        match c.open(place("response", &id), &columns.get::<Vec<u8>>("response")?) {
            Ok(response) => Ok(Accepted::Repeat { transfer, response }),
            Err(Failure::Erased) => Ok(Accepted::Erased { transfer }),
            Err(failure) => Err(failure),
        }
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

fn insert(c: &Keyed<'_>, transfer: &NewTransfer) -> Result<(), Failure> {
    let id = transfer.id.to_string();
    let key = c.key_of_transfer(transfer.patient.as_ref(), transfer.id, transfer.received)?;
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
        c.index(transfer.patient.as_ref()),
        transfer.care_home.as_ref().map(OdsCode::as_str),
        c.seal_text(key, place("reply", &id), &json(&transfer.reply))?,
        micros(transfer.received),
        c.vault().keyed(&transfer.body_sha256),
        c.seal(key, place("response", &id), &transfer.response)?,
    ])?;
    let body = c.seal(key, Place::new("message_bodies", "body", &id), &transfer.body)?;
    c.prepare_cached("INSERT INTO message_bodies (transfer, month, media_type, body) VALUES (?, ?, ?, ?)")?
        .execute(params![id, month(transfer.received), transfer.media_type, body])?;
    Ok(())
}

fn insert_hold(c: &Keyed<'_>, transfer: &NewTransfer, hold: &NewHold) -> Result<(), Failure> {
    let (id, of) = (hold.id.to_string(), transfer.id.to_string());
    let key = key(c, &of)?;
    c.prepare_cached(
        "INSERT INTO holds (id, transfer, reason, detail, owner, due, opened, decided) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id,
        of,
        hold.reason.as_str(),
        c.seal_text(key, Place::new("holds", "detail", &id), &hold.detail)?,
        hold.owner,
        micros(hold.due),
        micros(transfer.received),
        c.seal_text(key, Place::new("holds", "decided", &id), "{}")?,
    ])?;
    Ok(())
}

pub(super) fn transfer(c: &Keyed<'_>, id: TransferId) -> Result<Option<TransferRecord>, Failure> {
    let found = c
        .prepare_cached(
            "SELECT id, sender, client_id, message_id, event, received, expected, patient, care_home, reply,
                 not_sent, changed, erased
             FROM transfers WHERE id = ?",
        )?
        .query_and_then([id.to_string()], |row| record(c, row))?
        .next()
        .transpose()?;
    let Some(mut record) = found else { return Ok(None) };
    record.hold = c
        .prepare_cached(
            "SELECT id AS hold, reason, detail, owner, due FROM holds
             WHERE transfer = ? AND closed IS NULL ORDER BY due, id LIMIT 1",
        )?
        .query_and_then([id.to_string()], |row| hold(c, row))?
        .next()
        .transpose()?;
    record.deliveries = deliveries::of_transfer(c, id)?;
    let latest = record.deliveries.iter().map(|delivery| delivery.changed).max();
    record.changed = latest.map_or(record.changed, |latest| latest.max(record.changed));
    Ok(Some(record))
}

fn record(c: &Keyed<'_>, row: &Row<'_>) -> Result<TransferRecord, Failure> {
    let columns = Columns::of("transfers", row);
    let id: String = columns.get("id")?;
    let (patient, erased) = c.patient("transfers", row)?;
    let reply = match c.open_text(place("reply", &id), &columns.get::<String>("reply")?) {
        Ok(reply) => serde_json::from_str(&reply).map_err(|_| Failure::corrupt("transfers", "reply"))?,
        Err(Failure::Erased) => nothing_wanted(),
        Err(failure) => return Err(failure),
    };
    let not_sent = columns.get::<Option<String>>("not_sent")?;
    let not_sent = not_sent.map(|reason| match c.open_text(place("not_sent", &id), &reason) {
        Err(Failure::Erased) => Ok(ERASED.to_owned()),
        other => other,
    });
    Ok(TransferRecord {
        id: columns.parsed("id")?,
        sender: columns.parsed("sender")?,
        client_id: columns.get("client_id")?,
        message_id: columns.get("message_id")?,
        event: columns.get("event")?,
        received: columns.moment("received")?,
        expected: columns.moment_opt("expected")?,
        patient,
        care_home: columns.parsed_opt("care_home")?,
        reply,
        hold: None,
        not_sent: not_sent.transpose()?,
        changed: columns.moment("changed")?,
        erased,
        deliveries: Vec::new(),
    })
}

/// What a sender wants to hear about a person that was erased.
fn nothing_wanted() -> ReplyWanted {
    ReplyWanted {
        infrastructure: false,
        business: false,
        mailbox: None,
        header_id: String::new(),
        sender_reference: None,
        workflow: None,
    }
}

pub(super) fn original(c: &Keyed<'_>, id: TransferId) -> Result<Option<OriginalMessage>, Failure> {
    c.prepare_cached("SELECT media_type, body FROM message_bodies WHERE transfer = ?")?
        .query_and_then([id.to_string()], |row| {
            let columns = Columns::of("message_bodies", row);
            let body =
                c.open(Place::new("message_bodies", "body", &id.to_string()), &columns.get::<Vec<u8>>("body")?)?;
            Ok(OriginalMessage { media_type: columns.get("media_type")?, body })
        })?
        .next()
        .transpose()
}

/// The transfers that are about this person, by the index of that name.
pub(super) const ABOUT: &str = "SELECT id FROM transfers WHERE patient = ?1 AND erased IS NULL ORDER BY received, id";
/// In place of a text that was erased.
const ERASED: &str = "erased";

pub(super) fn about(c: &Keyed<'_>, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, Failure> {
    let ids: Vec<TransferId> = c
        .prepare_cached(ABOUT)?
        .query_and_then([c.vault().index(patient)], |row| Columns::of("transfers", row).parsed("id"))?
        .collect::<Result<_, _>>()?;
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

fn hold(c: &Keyed<'_>, row: &Row<'_>) -> Result<NewHold, Failure> {
    let columns = Columns::of("holds", row);
    let id: String = columns.get("hold")?;
    Ok(NewHold {
        id: columns.parsed("hold")?,
        reason: columns.parsed("reason")?,
        detail: c.open_text(Place::new("holds", "detail", &id), &columns.get::<String>("detail")?)?,
        owner: columns.get("owner")?,
        due: columns.moment("due")?,
    })
}

pub(super) fn holds(c: &Keyed<'_>) -> Result<Vec<HeldTransfer>, Failure> {
    c.prepare_cached(
        "SELECT h.id AS hold, h.reason, h.detail, h.owner, h.due, h.decided, t.id, t.sender, t.received
         FROM holds h JOIN transfers t ON t.id = h.transfer
         WHERE h.closed IS NULL ORDER BY h.due, h.id",
    )?
    .query_and_then([], |row| {
        let columns = Columns::of("transfers", row);
        let id: String = columns.get("hold")?;
        Ok(HeldTransfer {
            hold: hold(c, row)?,
            transfer: columns.parsed("id")?,
            sender: columns.parsed("sender")?,
            received: columns.moment("received")?,
            decided: c.open_text(Place::new("holds", "decided", &id), &columns.get::<String>("decided")?)?,
        })
    })?
    .collect()
}

/// Closes an open hold and gives its transfer.
fn close(c: &Keyed<'_>, hold: HoldId, at: Timestamp) -> Result<Option<TransferId>, Failure> {
    c.prepare_cached("UPDATE holds SET closed = ? WHERE id = ? AND closed IS NULL RETURNING transfer")?
        .query_and_then(params![micros(at), hold.to_string()], |row| Columns::of("holds", row).parsed("transfer"))?
        .next()
        .transpose()
}

/// Marks the transfer as changed and gives what its further copies come from.
fn origin(c: &Keyed<'_>, transfer: TransferId, at: Timestamp) -> Result<Origin, Failure> {
    c.prepare_cached("UPDATE transfers SET changed = ? WHERE id = ? RETURNING sender, patient, erased")?
        .query_and_then(params![micros(at), transfer.to_string()], |row| {
            let columns = Columns::of("transfers", row);
            Ok::<_, Failure>(Origin {
                transfer,
                sender: columns.parsed("sender")?,
                patient: c.patient("transfers", row)?.0,
                created: at,
            })
        })?
        .next()
        .ok_or_else(|| Failure::corrupt("holds", "transfer"))?
}

pub(super) fn release_hold(c: &Keyed<'_>, release: &Release) -> Result<bool, Failure> {
    let Some(transfer) = close(c, release.hold, release.at)? else { return Ok(false) };
    // What was not known when it came may be known by now.
    if let Some(patient) = &release.patient {
        c.assign(transfer, patient, release.at)?;
    }
    c.prepare_cached(
        "UPDATE transfers SET patient = coalesce(?, patient), care_home = coalesce(?, care_home) WHERE id = ?",
    )?
    .execute(params![
        c.index(release.patient.as_ref()),
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

pub(super) fn change_hold(c: &Keyed<'_>, change: &HoldChange) -> Result<bool, Failure> {
    let hold = &change.hold;
    let id = hold.id.to_string();
    let transfer = c
        .prepare_cached("SELECT transfer FROM holds WHERE id = ? AND closed IS NULL")?
        .query_and_then([&id], |row| Columns::of("holds", row).parsed::<TransferId>("transfer"))?
        .next()
        .transpose()?;
    let Some(transfer) = transfer else { return Ok(false) };
    let key = key(c, &transfer.to_string())?;
    c.prepare_cached("UPDATE holds SET reason = ?, detail = ?, owner = ?, due = ?, decided = ? WHERE id = ?")?
        .execute(params![
            hold.reason.as_str(),
            c.seal_text(key, Place::new("holds", "detail", &id), &hold.detail)?,
            hold.owner,
            micros(hold.due),
            c.seal_text(key, Place::new("holds", "decided", &id), &change.decided)?,
            id
        ])?;
    origin(c, transfer, change.at)?;
    audit::append(c, &change.audit)?;
    Ok(true)
}

pub(super) fn close_hold(c: &Keyed<'_>, closure: &Closure) -> Result<bool, Failure> {
    let Some(transfer) = close(c, closure.hold, closure.at)? else { return Ok(false) };
    let origin = origin(c, transfer, closure.at)?;
    let id = transfer.to_string();
    let reason = c.seal_text(key(c, &id)?, place("not_sent", &id), &closure.reason)?;
    c.prepare_cached("UPDATE transfers SET not_sent = ? WHERE id = ?")?.execute(params![reason, id])?;
    for response in &closure.responses {
        deliveries::insert_once(c, &origin, response)?;
    }
    audit::append(c, &closure.audit)?;
    Ok(true)
}
