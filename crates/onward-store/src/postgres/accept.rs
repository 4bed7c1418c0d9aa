//! Accepting messages, a batch at a time.

use std::sync::Arc;

use onward_core::OdsCode;
use onward_core::store::{Acceptance, Accepted, NewTransfer};
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::{Keyed, Whose};
use super::lifecycle;
use super::session;
use super::transfers;
use super::work::Work;
use crate::columns::Columns;
use crate::rows::copies::PackedAcceptance;
use crate::rows::{self, Origin};
use crate::sealing::{KeyId, Keychain};
use crate::stored::{json, micros, micros_opt, month};

/// The keys decide by insertion: what finds its place taken is a repeat (20007, 20008) of what took it, also when both came at
/// once to two nodes. The outcomes are in the order of the acceptances.
pub(super) async fn all<'j>(work: &mut Work<'j>, messages: &[&'j PackedAcceptance]) -> Result<Vec<Accepted>, Failure> {
    let Some(first) = messages.first() else { return Ok(Vec::new()) };
    let unknown = without_repeats(work, messages).await?;
    let transfers = unknown.iter().map(|message| &message.acceptance.transfer);
    let whose: Vec<Whose<'_>> = transfers.map(|t| Whose::of(t.patient.as_ref(), t.id)).collect();
    let at = first.acceptance.transfer.received;
    let mut new: Vec<Sealed<'_>> = Vec::with_capacity(unknown.len());
    for (message, key) in unknown.into_iter().zip(work.client().keys_of(&whose, at).await?) {
        new.push(sealed(work.client(), message, key)?);
    }
    let inserted = insert(work, &mut new).await?;
    new.retain(|sealed| inserted.contains(&sealed.acceptance.transfer.id.0));
    keep_bodies(work, &new).await?;
    for Sealed { acceptance, .. } in &new {
        if let Some(hold) = &acceptance.hold {
            let transfer = &acceptance.transfer;
            transfers::insert_hold(work.client(), transfer.id, hold, "{}", transfer.received).await?;
        }
    }
    let is_new = |acceptance: &Acceptance| inserted.contains(&acceptance.transfer.id.0);
    let accepted: Vec<&Acceptance> = new.iter().map(|sealed| sealed.acceptance).collect();
    let any_successor = lifecycle::lock_successors(work.client(), &accepted).await?;
    let mut outcomes = Vec::with_capacity(messages.len());
    for message in messages {
        let acceptance = &message.acceptance;
        if is_new(acceptance) {
            replace(work, acceptance, any_successor).await?;
            queue(work, message);
            outcomes.push(Accepted::New);
        } else {
            outcomes.push(earlier(work, acceptance).await?);
        }
    }
    Ok(outcomes)
}

/// An acceptance and what is sealed of it.
struct Sealed<'j> {
    acceptance: &'j Acceptance,
    reply: String,
    response: Vec<u8>,
    body: Vec<u8>,
}

fn sealed<'j>(c: &Keyed, message: &'j PackedAcceptance, key: KeyId) -> Result<Sealed<'j>, Failure> {
    let acceptance = &message.acceptance;
    let (transfer, keys) = (&acceptance.transfer, c.keys());
    let id = transfer.id.to_string();
    Ok(Sealed {
        acceptance,
        reply: keys.seal_text(key, rows::of_transfer("reply", &id), &json(&transfer.reply))?,
        response: keys.seal(key, rows::of_transfer("response", &id), &transfer.response)?,
        body: keys.seal_packed(key, rows::of_message(&id), &message.body)?,
    })
}

/// Those that are not known to be repeats. A repeat must not leave a new key of somebody who was erased; two who come at once are told
/// apart by insertion.
async fn without_repeats<'j>(
    work: &Work<'_>,
    messages: &[&'j PackedAcceptance],
) -> Result<Vec<&'j PackedAcceptance>, Failure> {
    let acceptances: Vec<&Acceptance> = messages.iter().map(|message| &message.acceptance).collect();
    let each =
        |value: fn(&NewTransfer) -> Option<&str>| acceptances.iter().map(|a| value(&a.transfer)).collect::<Vec<_>>();
    let known: Vec<Uuid> = session::all(
        work.client(),
        "SELECT u.id FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
             AS u(id, sender, message_id, header_id, document_id)
         WHERE EXISTS (SELECT 1 FROM transfers t WHERE t.sender = u.sender AND t.message_id = u.message_id)
             OR EXISTS (SELECT 1 FROM transfers t WHERE t.sender = u.sender AND t.header_id = u.header_id)
             OR EXISTS (SELECT 1 FROM transfers t WHERE t.sender = u.sender AND t.document_id = u.document_id)",
        &[
            &acceptances.iter().map(|a| a.transfer.id.0).collect::<Vec<_>>(),
            &each(|transfer| Some(transfer.sender.as_str())),
            &each(|transfer| Some(&transfer.message_id)),
            &each(header_id),
            &each(|transfer| transfer.document_id.as_deref()),
        ],
    )
    .await?
    .iter()
    .map(|row| Columns::of("transfers", row).parsed("id"))
    .collect::<Result<_, _>>()?;
    let is_unknown = |message: &&PackedAcceptance| !known.contains(&message.acceptance.transfer.id.0);
    Ok(messages.iter().copied().filter(is_unknown).collect())
}

/// A later version takes the place of what it replaces; one that comes after what replaces it ends.
async fn replace<'j>(work: &mut Work<'j>, acceptance: &'j Acceptance, any_successor: bool) -> Result<(), Failure> {
    let transfer = &acceptance.transfer;
    if let Some(predecessor) = transfer.replaces {
        work.needs_every_copy()?;
        lifecycle::succeed(work.client(), transfer.id, predecessor, transfer.received).await?;
    }
    lifecycle::in_order(work.client(), acceptance, any_successor).await?;
    if let Some(late) = &acceptance.late {
        lifecycle::come_late(work, transfer.id, late, &acceptance.endings, transfer.received).await?;
    } else if transfer.replaces.is_some() && acceptance.hold.is_none() {
        lifecycle::supersede(work, transfer.id, &acceptance.endings, transfer.received).await?;
    }
    Ok(())
}

fn queue<'j>(work: &mut Work<'j>, message: &'j PackedAcceptance) {
    let acceptance = &message.acceptance;
    let transfer = &acceptance.transfer;
    let origin = Arc::new(Origin {
        transfer: transfer.id,
        sender: transfer.sender.clone(),
        patient: transfer.patient.clone(),
        created: transfer.received,
        behind: None,
    });
    work.queue_packed(&origin, message);
    work.audit(&acceptance.audit);
    work.count(1, usize::from(acceptance.hold.is_some()));
}

fn header_id(transfer: &NewTransfer) -> Option<&str> {
    Some(transfer.reply.header_id.as_str()).filter(|id| !id.is_empty())
}

/// Inserts the transfers whose keys are free, and gives their identifiers. One order of all inserts, so that two batches with the
/// same messages do not wait for each other.
async fn insert(work: &Work<'_>, sealed: &mut [Sealed<'_>]) -> Result<Vec<Uuid>, Failure> {
    if sealed.is_empty() {
        return Ok(Vec::new());
    }
    sealed.sort_by_key(|sealed| (&sealed.acceptance.transfer.sender, &sealed.acceptance.transfer.message_id));
    let transfers: Vec<&NewTransfer> = sealed.iter().map(|sealed| &sealed.acceptance.transfer).collect();
    let keys = work.client().keys();
    let received: Vec<i64> = transfers.iter().map(|transfer| micros(transfer.received)).collect();
    session::all(
        work.client(),
        "INSERT INTO transfers (id, sender, client_id, message_id, header_id, document_id, document_set_id, event,
             received, expected, patient, care_home, reply, changed, body_sha256, response, version, dated, replaces, awaits)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
             $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bytea[], $16::bytea[],
             $17::bigint[], $18::bigint[], $19::uuid[], $20::text[])
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
            &transfers.iter().map(|transfer| keys.index(transfer.patient.as_ref())).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.care_home.as_ref().map(OdsCode::as_str)).collect::<Vec<_>>(),
            &sealed.iter().map(|sealed| sealed.reply.as_str()).collect::<Vec<_>>(),
            &received,
            &transfers.iter().map(|transfer| keys.vault().keyed(&transfer.body_sha256).to_vec()).collect::<Vec<_>>(),
            &sealed.iter().map(|sealed| sealed.response.as_slice()).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| i64::from(transfer.version)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| micros_opt(transfer.dated)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.replaces.map(|id| id.0)).collect::<Vec<_>>(),
            &transfers.iter().map(|transfer| transfer.awaits.as_deref()).collect::<Vec<_>>(),
        ],
    )
    .await?
    .iter()
    .map(|row| Ok(Columns::of("transfers", row).parsed("id")?))
    .collect()
}

async fn keep_bodies(work: &Work<'_>, accepted: &[Sealed<'_>]) -> Result<(), Failure> {
    if accepted.is_empty() {
        return Ok(());
    }
    let months: Vec<i64> = accepted.iter().map(|sealed| month(sealed.acceptance.transfer.received)).collect();
    work.shared().partitions.require(&months)?;
    session::execute(
        work.client(),
        "INSERT INTO message_bodies (transfer, month, media_type, body)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[])",
        &[
            &accepted.iter().map(|sealed| sealed.acceptance.transfer.id.0).collect::<Vec<_>>(),
            &months,
            &accepted.iter().map(|sealed| sealed.acceptance.transfer.media_type.as_str()).collect::<Vec<_>>(),
            &accepted.iter().map(|sealed| sealed.body.as_slice()).collect::<Vec<_>>(),
        ],
    )
    .await?;
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
    let sha256 = work.client().keys().vault().keyed(&transfer.body_sha256);
    let found = session::first(
        work.client(),
        "SELECT id, body_sha256, response FROM transfers
         WHERE sender = $1 AND (message_id = $2 OR header_id = $3) ORDER BY (body_sha256 = $4) DESC LIMIT 1",
        &[&transfer.sender.as_str(), &transfer.message_id, &header_id(transfer), &sha256.as_slice()],
    )
    .await?;
    let read = |row: &Row, keys: &Keychain| rows::earlier(&Columns::of("transfers", row), keys, &sha256);
    work.client().opened_one(found.as_ref(), read).await
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
