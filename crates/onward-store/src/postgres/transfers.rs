//! Reading a transfer back, and holds.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::{
    Closure, HeldTransfer, HoldChange, HoldSeen, Listed, NewHold, OriginalMessage, Release, SubjectTransfer,
    TransferRecord,
};
use onward_core::{HoldId, NhsNumber, OdsCode, TransferId};
use tokio_postgres::Row;

use super::columns::numbered;
use super::failure::Failure;
use super::keyed::Keyed;
use super::work::Work;
use super::{alerts, deliveries, lifecycle, operations, session, steps};
use crate::columns::Columns;
use crate::rows::{self, CHANGES, EVERY_HOLD, HELD, Origin, TRANSFER};
use crate::sealing::{KeyId, Keychain, Unread, key_of};
use crate::stored::{micros, month};

pub(super) async fn transfer(c: &Keyed, id: TransferId) -> Result<Option<TransferRecord>, Failure> {
    let sql = format!("SELECT {TRANSFER} FROM transfers WHERE id = $1");
    let found = session::first(c, &sql, &[&id.0]).await?;
    let record = c.opened_one(found.as_ref(), |row, keys| rows::transfer(&Columns::of("transfers", row), keys)).await?;
    let Some(record) = record else { return Ok(None) };
    let hold = session::first(
        c,
        "SELECT id AS hold, reason, detail, owner, due FROM holds
         WHERE transfer = $1 AND closed IS NULL ORDER BY due, id LIMIT 1",
        &[&id.0],
    )
    .await?;
    let hold = c.opened_one(hold.as_ref(), |row, keys| rows::hold(&Columns::of("holds", row), keys)).await?;
    Ok(Some(rows::whole(record, hold, deliveries::of_transfer(c, id).await?)))
}

pub(super) async fn original(c: &Keyed, id: TransferId) -> Result<Option<OriginalMessage>, Failure> {
    let Some(row) = session::first(c, "SELECT received FROM transfers WHERE id = $1", &[&id.0]).await? else {
        return Ok(None);
    };
    let received = Columns::of("transfers", &row).moment("received")?;
    original_of(c, id, received).await
}

/// The month leads to the one partition.
async fn original_of(c: &Keyed, id: TransferId, received: Timestamp) -> Result<Option<OriginalMessage>, Failure> {
    let sql = "SELECT media_type, body FROM message_bodies WHERE transfer = $1 AND month = $2";
    let found = session::first(c, sql, &[&id.0, &month(received)]).await?;
    c.opened_one(found.as_ref(), |row, keys| rows::original(&Columns::of("message_bodies", row), keys, id)).await
}

/// The transfers that are about this person, by the index of that name.
pub(super) const ABOUT: &str = "SELECT id FROM transfers WHERE patient = $1 AND erased IS NULL ORDER BY received, id";

pub(super) async fn about(c: &Keyed, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, Failure> {
    let ids = session::all(c, ABOUT, &[&c.keys().vault().index(patient)]).await?;
    let mut found = Vec::with_capacity(ids.len());
    for row in &ids {
        let id = Columns::of("transfers", row).parsed("id")?;
        let transfer = transfer(c, id).await?.ok_or_else(|| Failure::corrupt("transfers", "id"))?;
        let mut renditions = Vec::new();
        for delivery in transfer.deliveries.iter().filter(|delivery| delivery.kind != RecipientKind::Sender) {
            renditions.extend(deliveries::rendition(c, delivery.id).await?);
        }
        let mut steps = Vec::new();
        for delivery in &transfer.deliveries {
            steps.extend(steps::of(c, delivery.id).await?);
        }
        found.push(SubjectTransfer {
            original: original_of(c, id, transfer.received).await?,
            transfer,
            renditions,
            changes: of_transfer(c, id, CHANGES, rows::copy_change).await?,
            steps,
            holds: of_transfer(c, id, EVERY_HOLD, rows::subject_hold).await?,
            approvals: operations::about(c, id).await?,
            alerts: alerts::about(c, id).await?,
        });
    }
    Ok(found)
}

async fn of_transfer<T>(
    c: &Keyed,
    id: TransferId,
    sql: &str,
    read: fn(&Columns<'_>, &Keychain) -> Result<T, Unread>,
) -> Result<Vec<T>, Failure> {
    let found = session::all(c, &numbered(sql), &[&id.0]).await?;
    c.opened(&found, |row, keys| read(&Columns::of("transfers", row), keys)).await
}

pub(super) async fn holds(c: &Keyed) -> Result<Listed<HeldTransfer>, Failure> {
    let held = session::all(c, &format!("{HELD} ORDER BY h.due, h.id"), &[]).await?;
    c.listed(&held, ("holds", "hold"), rows::held).await
}

pub(super) async fn open_hold(c: &Keyed, hold: HoldId) -> Result<Option<HeldTransfer>, Failure> {
    let held = session::all(c, &format!("{HELD} AND h.id = $1"), &[&hold.0]).await?;
    Ok(c.opened(&held, |row, keys| rows::held(&Columns::of("holds", row), keys)).await?.into_iter().next())
}

pub(super) async fn closed_hold(c: &Keyed, hold: HoldId) -> Result<Option<TransferId>, Failure> {
    let sql = "SELECT transfer FROM holds WHERE id = $1 AND closed IS NOT NULL";
    let found = session::first(c, sql, &[&hold.0]).await?;
    Ok(found.map(|row| Columns::of("holds", &row).parsed("transfer")).transpose()?)
}

/// The data key of a transfer, at hand: that of its response.
pub(super) async fn key(c: &Keyed, transfer: TransferId) -> Result<KeyId, Failure> {
    let corrupt = || Failure::corrupt("transfers", "response");
    let found = session::first(c, "SELECT response FROM transfers WHERE id = $1", &[&transfer.0]).await?;
    let response: Vec<u8> = Columns::of("transfers", &found.ok_or_else(corrupt)?).get("response")?;
    let key = key_of(&response).ok_or_else(corrupt)?;
    c.load(&[key]).await?;
    Ok(key)
}

/// Keeps a hold of a transfer that is there.
pub(super) async fn insert_hold(
    c: &Keyed,
    transfer: TransferId,
    hold: &NewHold,
    decided: &str,
    opened: Timestamp,
) -> Result<(), Failure> {
    let (key, id) = (key(c, transfer).await?, hold.id.to_string());
    session::execute(
        c,
        "INSERT INTO holds (id, transfer, reason, detail, owner, due, opened, decided)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            &hold.id.0,
            &transfer.0,
            &hold.reason.as_str(),
            &c.keys().seal_text(key, rows::of_hold("detail", &id), &hold.detail)?,
            &hold.owner,
            &micros(hold.due),
            &micros(opened),
            &c.keys().seal_text(key, rows::of_hold("decided", &id), decided)?,
        ],
    )
    .await?;
    Ok(())
}

/// The transfer of an open hold that is as it was seen, both locked: first the transfer ([`lifecycle::lock`]).
async fn open_as_seen(c: &Client, hold: HoldId, seen: &HoldSeen) -> Result<Option<TransferId>, Failure> {
    let of = "SELECT transfer FROM holds WHERE id = $1 AND closed IS NULL";
    let Some(row) = session::first(c, of, &[&hold.0]).await? else { return Ok(None) };
    let transfer = Columns::of("holds", &row).parsed("transfer")?;
    lifecycle::lock(c, transfer).await?;
    let sql = "SELECT decided = $2 AS is_seen FROM holds WHERE id = $1 AND closed IS NULL FOR UPDATE";
    let Some(row) = session::first(c, sql, &[&hold.0, &seen.mark()]).await? else { return Ok(None) };
    if Columns::of("holds", &row).flag("is_seen")? { Ok(Some(transfer)) } else { Err(Failure::Overtaken) }
}

/// Closes an open hold that is as it was seen, and gives its transfer.
async fn close(c: &Client, hold: HoldId, seen: &HoldSeen, at: Timestamp) -> Result<Option<TransferId>, Failure> {
    let transfer = open_as_seen(c, hold, seen).await?;
    if transfer.is_some() {
        session::execute(c, "UPDATE holds SET closed = $1 WHERE id = $2", &[&micros(at), &hold.0]).await?;
    }
    Ok(transfer)
}

/// Makes a held transfer the next version of what it replaces.
async fn join(
    c: &Keyed,
    transfer: TransferId,
    (predecessor, version): (TransferId, u32),
    at: Timestamp,
) -> Result<(), Failure> {
    lifecycle::succeed(c, transfer, predecessor, at).await?;
    let sql = "UPDATE transfers SET replaces = $1, version = $2 WHERE id = $3";
    session::execute(c, sql, &[&predecessor.0, &i64::from(version), &transfer.0]).await?;
    Ok(())
}

/// Marks the transfer as changed and gives what its further copies come from.
pub(super) async fn origin(c: &Keyed, transfer: TransferId, at: Timestamp) -> Result<Arc<Origin>, Failure> {
    let sql = "UPDATE transfers SET changed = $1 WHERE id = $2 RETURNING sender, patient, erased";
    let row = session::first(c, sql, &[&micros(at), &transfer.0]).await?;
    let read = |row: &Row, keys: &Keychain| Origin::of(&Columns::of("transfers", row), keys, transfer, at);
    let origin = c.opened_one(row.as_ref(), read).await?;
    Ok(Arc::new(origin.ok_or_else(|| Failure::corrupt("transfers", "id"))?))
}

pub(super) async fn release_hold<'j>(work: &mut Work<'j>, release: &'j Release) -> Result<bool, Failure> {
    let closed = close(work.client(), release.hold, &release.seen, release.at).await?;
    let Some(transfer) = closed else { return Ok(false) };
    if let Some(joins) = release.replaces {
        work.needs_every_copy()?;
        join(work.client(), transfer, joins, release.at).await?;
    } else if lifecycle::come_since(work.client(), transfer).await?.is_some() {
        return Err(Failure::Overtaken);
    }
    lifecycle::supersede(work, transfer, &release.endings, release.at).await?;
    if !release.taken_back.is_empty() {
        work.needs_every_copy()?;
    }
    lifecycle::end_copies(work, &release.taken_back, release.at).await?;
    // What was not known when it came may be known by now.
    if let Some(patient) = &release.patient {
        work.client().assign(transfer, patient, release.at).await?;
    }
    session::execute(
        work.client(),
        "UPDATE transfers SET patient = coalesce($1, patient), care_home = coalesce($2, care_home) WHERE id = $3",
        &[
            &work.client().keys().index(release.patient.as_ref()),
            &release.care_home.as_ref().map(OdsCode::as_str),
            &transfer.0,
        ],
    )
    .await?;
    let origin = origin(work.client(), transfer, release.at).await?;
    work.queue_together(&origin, &release.deliveries).await?;
    work.audit(&release.audit);
    Ok(true)
}

pub(super) async fn change_hold<'j>(work: &mut Work<'j>, change: &'j HoldChange) -> Result<bool, Failure> {
    let hold = &change.hold;
    let (c, id) = (work.client(), hold.id.to_string());
    let Some(transfer) = open_as_seen(c, hold.id, &change.seen).await? else { return Ok(false) };
    if let Some(joins) = change.joins {
        join(c, transfer, joins, change.at).await?;
    }
    let key = key(c, transfer).await?;
    session::execute(
        c,
        "UPDATE holds SET reason = $1, detail = $2, owner = $3, due = $4, decided = $5 WHERE id = $6",
        &[
            &hold.reason.as_str(),
            &c.keys().seal_text(key, rows::of_hold("detail", &id), &hold.detail)?,
            &hold.owner,
            &micros(hold.due),
            &c.keys().seal_text(key, rows::of_hold("decided", &id), &change.decided)?,
            &hold.id.0,
        ],
    )
    .await?;
    origin(work.client(), transfer, change.at).await?;
    work.audit(&change.audit);
    Ok(true)
}

pub(super) async fn close_hold<'j>(work: &mut Work<'j>, closure: &'j Closure) -> Result<bool, Failure> {
    let closed = close(work.client(), closure.hold, &closure.seen, closure.at).await?;
    let Some(transfer) = closed else { return Ok(false) };
    let origin = origin(work.client(), transfer, closure.at).await?;
    let (c, id) = (work.client(), transfer.to_string());
    let reason = c.keys().seal_text(key(c, transfer).await?, rows::of_transfer("not_sent", &id), &closure.reason)?;
    session::execute(c, "UPDATE transfers SET not_sent = $1 WHERE id = $2", &[&reason, &transfer.0]).await?;
    if let Some(voided) = &closure.voids {
        lifecycle::void(work, transfer, voided, closure.at).await?;
    }
    for response in &closure.responses {
        work.queue_once(&origin, response);
    }
    work.audit(&closure.audit);
    Ok(true)
}
