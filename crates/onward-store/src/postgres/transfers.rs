//! Reading a transfer back, and holds.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::{
    Closure, HeldTransfer, HoldChange, OriginalMessage, Release, SubjectTransfer, TransferRecord,
};
use onward_core::{HoldId, NhsNumber, OdsCode, TransferId};

use super::deliveries;
use super::failure::Failure;
use super::session;
use super::work::Work;
use crate::columns::Columns;
use crate::rows::{self, HELD, Origin, TRANSFER};
use crate::stored::{micros, month};

pub(super) async fn transfer(c: &Client, id: TransferId) -> Result<Option<TransferRecord>, Failure> {
    let sql = format!("SELECT {TRANSFER} FROM transfers WHERE id = $1");
    let Some(row) = session::first(c, &sql, &[&id.0]).await? else { return Ok(None) };
    let record = rows::transfer(&Columns::of("transfers", &row))?;
    let hold = session::first(
        c,
        "SELECT id AS hold, reason, detail, owner, due FROM holds
         WHERE transfer = $1 AND closed IS NULL ORDER BY due, id LIMIT 1",
        &[&id.0],
    )
    .await?;
    let hold = hold.map(|row| rows::hold(&Columns::of("holds", &row))).transpose()?;
    Ok(Some(rows::whole(record, hold, deliveries::of_transfer(c, id).await?)))
}

pub(super) async fn original(c: &Client, id: TransferId) -> Result<Option<OriginalMessage>, Failure> {
    let Some(row) = session::first(c, "SELECT received FROM transfers WHERE id = $1", &[&id.0]).await? else {
        return Ok(None);
    };
    let received = Columns::of("transfers", &row).moment("received")?;
    original_of(c, id, received).await
}

/// The month leads to the one partition.
async fn original_of(c: &Client, id: TransferId, received: Timestamp) -> Result<Option<OriginalMessage>, Failure> {
    let sql = "SELECT media_type, body FROM message_bodies WHERE transfer = $1 AND month = $2";
    let found = session::first(c, sql, &[&id.0, &month(received)]).await?;
    found.map(|row| Ok(rows::original(&Columns::of("message_bodies", &row))?)).transpose()
}

/// The transfers that are about this person, by the index of that name.
pub(super) const ABOUT: &str = "SELECT id FROM transfers WHERE patient = $1 ORDER BY received, id";

pub(super) async fn about(c: &Client, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, Failure> {
    let ids = session::all(c, ABOUT, &[&patient.expose()]).await?;
    let mut found = Vec::with_capacity(ids.len());
    for row in &ids {
        let id = Columns::of("transfers", row).parsed("id")?;
        let transfer = transfer(c, id).await?.ok_or_else(|| Failure::corrupt("transfers", "id"))?;
        let mut renditions = Vec::new();
        for delivery in transfer.deliveries.iter().filter(|delivery| delivery.kind != RecipientKind::Sender) {
            renditions.extend(deliveries::rendition(c, delivery.id).await?);
        }
        found.push(SubjectTransfer { original: original_of(c, id, transfer.received).await?, transfer, renditions });
    }
    Ok(found)
}

pub(super) async fn holds(c: &Client) -> Result<Vec<HeldTransfer>, Failure> {
    let held = session::all(c, HELD, &[]).await?;
    held.iter().map(|row| Ok(rows::held(&Columns::of("holds", row))?)).collect()
}

/// Closes an open hold and gives its transfer.
async fn close(c: &Client, hold: HoldId, at: Timestamp) -> Result<Option<TransferId>, Failure> {
    let sql = "UPDATE holds SET closed = $1 WHERE id = $2 AND closed IS NULL RETURNING transfer";
    let closed = session::first(c, sql, &[&micros(at), &hold.0]).await?;
    closed.map(|row| Ok(Columns::of("holds", &row).parsed("transfer")?)).transpose()
}

/// Marks the transfer as changed and gives what its further copies come from.
async fn origin(c: &Client, transfer: TransferId, at: Timestamp) -> Result<Arc<Origin>, Failure> {
    let sql = "UPDATE transfers SET changed = $1 WHERE id = $2 RETURNING sender, patient";
    let row = session::first(c, sql, &[&micros(at), &transfer.0]).await?;
    let row = row.ok_or_else(|| Failure::corrupt("holds", "transfer"))?;
    Ok(Arc::new(Origin::of(&Columns::of("transfers", &row), transfer, at)?))
}

pub(super) async fn release_hold<'j>(work: &mut Work<'j>, release: &'j Release) -> Result<bool, Failure> {
    let Some(transfer) = close(work.client(), release.hold, release.at).await? else { return Ok(false) };
    // What was not known when it came may be known by now.
    session::execute(
        work.client(),
        "UPDATE transfers SET patient = coalesce($1, patient), care_home = coalesce($2, care_home) WHERE id = $3",
        &[
            &release.patient.as_ref().map(NhsNumber::expose),
            &release.care_home.as_ref().map(OdsCode::as_str),
            &transfer.0,
        ],
    )
    .await?;
    let origin = origin(work.client(), transfer, release.at).await?;
    for delivery in &release.deliveries {
        work.queue(&origin, delivery);
    }
    work.audit(&release.audit);
    Ok(true)
}

pub(super) async fn change_hold<'j>(work: &mut Work<'j>, change: &'j HoldChange) -> Result<bool, Failure> {
    let hold = &change.hold;
    let changed = session::first(
        work.client(),
        "UPDATE holds SET reason = $1, detail = $2, owner = $3, due = $4, decided = $5 WHERE id = $6 AND closed IS NULL
         RETURNING transfer",
        &[&hold.reason.as_str(), &hold.detail, &hold.owner, &micros(hold.due), &change.decided, &hold.id.0],
    )
    .await?;
    let Some(row) = changed else { return Ok(false) };
    let transfer = Columns::of("holds", &row).parsed("transfer")?;
    origin(work.client(), transfer, change.at).await?;
    work.audit(&change.audit);
    Ok(true)
}

pub(super) async fn close_hold<'j>(work: &mut Work<'j>, closure: &'j Closure) -> Result<bool, Failure> {
    let Some(transfer) = close(work.client(), closure.hold, closure.at).await? else { return Ok(false) };
    let origin = origin(work.client(), transfer, closure.at).await?;
    let sql = "UPDATE transfers SET not_sent = $1 WHERE id = $2";
    session::execute(work.client(), sql, &[&closure.reason, &transfer.0]).await?;
    for response in &closure.responses {
        work.queue_once(&origin, response);
    }
    work.audit(&closure.audit);
    Ok(true)
}
