//! Accepting messages, a batch at a time.

use std::sync::Arc;

use onward_core::store::{Acceptance, Accepted, NewTransfer};
use onward_core::{NhsNumber, OdsCode};
use uuid::Uuid;

use super::failure::Failure;
use super::session;
use super::work::Work;
use crate::columns::Columns;
use crate::rows::Origin;
use crate::stored::{json, micros, micros_opt, month};

/// The keys decide by insertion: what finds its place taken is a repeat (20007, 20008) of what took it, also when both came at
/// once to two nodes. The outcomes are in the order of the acceptances.
pub(super) async fn all<'j>(work: &mut Work<'j>, acceptances: &[&'j Acceptance]) -> Result<Vec<Accepted>, Failure> {
    if acceptances.is_empty() {
        return Ok(Vec::new());
    }
    let new = insert(work, acceptances).await?;
    let is_new = |acceptance: &Acceptance| new.contains(&acceptance.transfer.id.0);
    let accepted: Vec<&Acceptance> = acceptances.iter().copied().filter(|acceptance| is_new(acceptance)).collect();
    keep_bodies(work, &accepted).await?;
    keep_holds(work, &accepted).await?;
    let mut outcomes = Vec::with_capacity(acceptances.len());
    for acceptance in acceptances {
        if is_new(acceptance) {
            queue(work, acceptance);
            outcomes.push(Accepted::New);
        } else {
            outcomes.push(earlier(work, acceptance).await?);
        }
    }
    Ok(outcomes)
}

fn queue<'j>(work: &mut Work<'j>, acceptance: &'j Acceptance) {
    let transfer = &acceptance.transfer;
    let origin = Arc::new(Origin {
        transfer: transfer.id,
        sender: transfer.sender.clone(),
        patient: transfer.patient.clone(),
        created: transfer.received,
    });
    for delivery in &acceptance.deliveries {
        work.queue(&origin, delivery);
    }
    work.audit(&acceptance.audit);
    work.count(1, usize::from(acceptance.hold.is_some()));
}

fn header_id(transfer: &NewTransfer) -> Option<&str> {
    Some(transfer.reply.header_id.as_str()).filter(|id| !id.is_empty())
}

/// Inserts the transfers whose keys are free, and gives their identifiers. One order of all inserts, so that two batches with the
/// same messages do not wait for each other.
async fn insert(work: &Work<'_>, acceptances: &[&Acceptance]) -> Result<Vec<Uuid>, Failure> {
    let mut transfers: Vec<&NewTransfer> = acceptances.iter().map(|acceptance| &acceptance.transfer).collect();
    transfers.sort_by_key(|transfer| (&transfer.sender, &transfer.message_id));
    let received: Vec<i64> = transfers.iter().map(|transfer| micros(transfer.received)).collect();
    session::all(
        work.client(),
        "INSERT INTO transfers (id, sender, client_id, message_id, header_id, document_id, document_set_id, event,
             received, expected, patient, care_home, reply, changed, body_sha256, response)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
             $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bytea[], $16::bytea[])
         ON CONFLICT DO NOTHING RETURNING id",
        &[
            &transfers.iter().map(|transfer| transfer.id.0).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.sender.as_str()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.client_id.as_str()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.message_id.as_str()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| header_id(transfer)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.document_id.as_deref()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.document_set_id.as_deref()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.event.as_str()).collect::<Vec<_>>(),
            &received,
            &transfers.iter().map(|transfer| micros_opt(transfer.expected)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.patient.as_ref().map(NhsNumber::expose)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.care_home.as_ref().map(OdsCode::as_str)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| json(&transfer.reply)).collect::<Vec<_>>(),
            &received,
            &transfers.iter().map(|transfer| transfer.body_sha256.as_slice()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.response.as_slice()).collect::<Vec<_>>(),
        ],
    )
    .await?
    .iter()
    .map(|row| Ok(Columns::of("transfers", row).parsed("id")?))
    .collect()
}

async fn keep_bodies(work: &Work<'_>, accepted: &[&Acceptance]) -> Result<(), Failure> {
    if accepted.is_empty() {
        return Ok(());
    }
    let months: Vec<i64> = accepted.iter().map(|acceptance| month(acceptance.transfer.received)).collect();
    work.shared().partitions.require(&months)?;
    session::execute(
        work.client(),
        "INSERT INTO message_bodies (transfer, month, media_type, body)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[])",
        &[
            &accepted.iter().map(|acceptance| acceptance.transfer.id.0).collect::<Vec<_>>(),
            &months,
            &accepted.iter().map(|acceptance| acceptance.transfer.media_type.as_str()).collect::<Vec<_>>(),
            &accepted.iter().map(|acceptance| acceptance.transfer.body.as_slice()).collect::<Vec<_>>(),
        ],
    )
    .await?;
    Ok(())
}

async fn keep_holds(work: &Work<'_>, accepted: &[&Acceptance]) -> Result<(), Failure> {
    for acceptance in accepted {
        let Some(hold) = &acceptance.hold else { continue };
        session::execute(
            work.client(),
            "INSERT INTO holds (id, transfer, reason, detail, owner, due, opened) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &hold.id.0,
                &acceptance.transfer.id.0,
                &hold.reason.as_str(),
                &hold.detail,
                &hold.owner,
                &micros(hold.due),
                &micros(acceptance.transfer.received),
            ],
        )
        .await?;
    }
    Ok(())
}

/// What took the place of a message that was not inserted: another one with its identifiers (20007), else with its document's
/// (20008). A statement of its own sees what was committed while the insert waited.
async fn earlier<'j>(work: &mut Work<'j>, acceptance: &'j Acceptance) -> Result<Accepted, Failure> {
    let transfer = &acceptance.transfer;
    let earlier = match earlier_message(work, transfer).await? {
        Some(earlier) => Some(earlier),
        None => earlier_document(work, transfer).await?,
    };
    let earlier = earlier.ok_or_else(|| Failure::corrupt("transfers", "id"))?;
    let row = match &earlier {
        Accepted::Repeat { .. } => &acceptance.audit_if_repeat,
        _ => &acceptance.audit_if_conflict,
    };
    work.audit(std::slice::from_ref(row));
    Ok(earlier)
}

async fn earlier_message(work: &Work<'_>, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    let found = session::first(
        work.client(),
        "SELECT id, body_sha256, response FROM transfers
         WHERE sender = $1 AND (message_id = $2 OR header_id = $3) ORDER BY (body_sha256 = $4) DESC LIMIT 1",
        &[&transfer.sender.as_str(), &transfer.message_id, &header_id(transfer), &transfer.body_sha256.as_slice()],
    )
    .await?;
    let Some(row) = found else { return Ok(None) };
    let columns = Columns::of("transfers", &row);
    if columns.get::<[u8; 32]>("body_sha256")? != transfer.body_sha256 {
        return Ok(Some(Accepted::MessageIdReused));
    }
    Ok(Some(Accepted::Repeat { transfer: columns.parsed("id")?, response: columns.get("response")? }))
}

async fn earlier_document(work: &Work<'_>, transfer: &NewTransfer) -> Result<Option<Accepted>, Failure> {
    let Some(document_id) = &transfer.document_id else { return Ok(None) };
    let found = session::first(
        work.client(),
        "SELECT id FROM transfers WHERE sender = $1 AND document_id = $2",
        &[&transfer.sender.as_str(), document_id],
    )
    .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(Accepted::DocumentRepeated { transfer: Columns::of("transfers", &row).parsed("id")? }))
}
