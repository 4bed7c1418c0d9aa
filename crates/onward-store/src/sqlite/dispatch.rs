//! Leasing copies for attempts, and the ends of attempts. The order within a lane (patient or transfer,
//! recipient, kind) is kept here: a copy that is still queued, or that was taken back while somebody is sending it,
//! holds back the younger ones of its lane.

use jiff::{SignedDuration, Timestamp};
use onward_core::directory::Endpoint;
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim, Lease};
use onward_core::{DeliveryId, WorkflowId};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::audit;
use super::deliveries;
use super::failure::Failure;
use super::keyed::Keyed;
use crate::columns::Columns;
use crate::query::TRIED_SINCE;
use crate::stored::{json, micros, micros_of, signed};

/// What may be sent at `?1`, at most `?2`, the longest due first; for the endpoint `?3` only, and not for those of the list
/// `?4` (JSON).
pub(super) const DUE: &str = "SELECT d.id FROM deliveries d
     WHERE d.state = 'queued' AND d.next_attempt <= ?1 AND (d.lease_until IS NULL OR d.lease_until <= ?1)
         AND NOT EXISTS (SELECT 1 FROM deliveries older
             WHERE older.state = 'queued' AND older.lane = d.lane AND older.recipient = d.recipient
                 AND older.kind = d.kind AND older.sequence < d.sequence)
         AND NOT EXISTS (SELECT 1 FROM deliveries sending
             WHERE sending.lease_until > ?1 AND sending.lease_until IS NOT NULL AND sending.lane = d.lane
                 AND sending.recipient = d.recipient AND sending.kind = d.kind AND sending.sequence < d.sequence)
         AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.recipient IN (d.recipient, '*'))
         AND (?3 IS NULL OR d.endpoint = ?3)
         AND (?4 IS NULL OR d.endpoint NOT IN (SELECT value FROM json_each(?4)))
     ORDER BY d.next_attempt, d.sequence LIMIT ?2";

/// Ends the lease of every queued copy. Only for the sole server at its start: whoever held one is dead, and its token
/// completes nothing any more.
pub(super) fn end_all_leases(c: &Connection) -> rusqlite::Result<()> {
    c.execute(
        "UPDATE deliveries SET lease_token = NULL, lease_until = NULL WHERE state = 'queued' AND lease_token IS NOT NULL",
        [],
    )?;
    Ok(())
}

/// Leases what is due, writing each attempt before anything is sent.
pub(super) fn claim(c: &Keyed<'_>, claim: &Claim) -> Result<Vec<Lease>, Failure> {
    let Claim { now, lease_until, limit, except, only, intent } = claim;
    let (now, lease_until) = (*now, *lease_until);
    // Endpoints are compared as they are stored.
    let except = (!except.is_empty()).then(|| json(&except.iter().map(json::<Endpoint>).collect::<Vec<_>>()));
    let due = c
        .prepare_cached(DUE)?
        .query_and_then(params![micros(now), limit, only.as_ref().map(json), except], |row| {
            Ok(Columns::of("deliveries", row).parsed("id")?)
        })?
        .collect::<Result<Vec<DeliveryId>, Failure>>()?;
    let mut leases = Vec::with_capacity(due.len());
    for id in due {
        match lease(c, id, now, lease_until) {
            Ok(lease) => {
                audit::append(c, &intent.rows(&lease))?;
                leases.push(lease);
            }
            Err(Failure::Corrupt(place)) => park(c, id, &place, now)?,
            Err(Failure::Erased) => park(c, id, "erased", now)?,
            Err(failure) => return Err(failure),
        }
    }
    Ok(leases)
}

/// Gives an unreadable copy to a person, so that it holds back its own lane only and not every claim.
fn park(c: &Keyed<'_>, id: DeliveryId, place: &str, now: Timestamp) -> Result<(), Failure> {
    tracing::error!(delivery = %id, place, "a queued copy is unreadable and waits for a person");
    c.prepare_cached(
        "UPDATE deliveries SET state = 'failed', version = version + 1, next_attempt = NULL, lease_token = NULL,
             lease_until = NULL, reason = ?, changed = ? WHERE id = ?",
    )?
    .execute(params![format!("unreadable in the store: {place}"), micros(now), id.to_string()])?;
    deliveries::keep_version(c, id, now)
}

fn lease(c: &Keyed<'_>, id: DeliveryId, now: Timestamp, lease_until: Timestamp) -> Result<Lease, Failure> {
    let rendition = deliveries::rendition(c, id)?.ok_or_else(|| Failure::corrupt("rendition_bodies", "delivery"))?;
    // Random rather than counted: no token of an earlier lease, or of a restored backup, can fit again.
    let (token, _) = Uuid::new_v4().as_u64_pair();
    let workflow = c
        .prepare_cached(
            "UPDATE deliveries SET lease_token = ?, lease_until = ?, attempts = attempts + 1 WHERE id = ?
             RETURNING workflow",
        )?
        .query_and_then(params![signed(token), micros(lease_until), id.to_string()], |row| {
            Ok::<_, Failure>(Columns::of("deliveries", row).parsed_opt::<WorkflowId>("workflow")?)
        })?
        .next()
        .transpose()?
        .flatten();
    let delivery = deliveries::by_id(c, id)?.ok_or_else(|| Failure::corrupt("deliveries", "id"))?;
    let attempt = delivery.attempts;
    c.prepare_cached("INSERT INTO attempts (delivery, attempt, started) VALUES (?, ?, ?)")?.execute(params![
        id.to_string(),
        attempt,
        micros(now)
    ])?;
    Ok(Lease { delivery, rendition, workflow, token, attempt })
}

/// Ends an attempt; `false`, with nothing written, when the token is no longer the copy's. When the state
/// has moved on meanwhile (an acknowledgement was faster than we were), it stays where it is: the attempt,
/// its reference and its audit are recorded all the same, for the disclosure has happened.
pub(super) fn complete(c: &Keyed<'_>, end: &AttemptEnd) -> Result<bool, Failure> {
    let id = end.delivery.to_string();
    let held = c
        .prepare_cached(
            "UPDATE deliveries SET lease_token = NULL, lease_until = NULL WHERE id = ? AND lease_token = ?
             RETURNING attempts, state = 'queued' AS queued",
        )?
        .query_and_then(params![id, signed(end.token)], |row| {
            let columns = Columns::of("deliveries", row);
            Ok::<_, Failure>((columns.count::<u32>("attempts")?, columns.flag("queued")?))
        })?
        .next()
        .transpose()?;
    let Some((attempt, queued)) = held else { return Ok(false) };
    finish_attempt(c, end, attempt)?;
    if let AttemptOutcome::Sent { reference: Some(reference), .. } = &end.outcome {
        c.prepare_cached("UPDATE deliveries SET reference = ? WHERE id = ?")?.execute(params![reference, id])?;
    }
    if queued {
        move_on(c, end)?;
        deliveries::keep_version(c, end.delivery, end.at)?;
    }
    audit::append(c, &end.audit)?;
    Ok(true)
}

fn finish_attempt(c: &Keyed<'_>, end: &AttemptEnd, attempt: u32) -> Result<(), Failure> {
    let (outcome, reason, reference) = match &end.outcome {
        AttemptOutcome::Sent { reference, .. } => ("sent", None, reference.as_deref()),
        AttemptOutcome::Retry { reason, .. } => ("retry", Some(reason.as_str()), None),
        AttemptOutcome::Failed { reason } => ("failed", Some(reason.as_str()), None),
    };
    c.prepare_cached(
        "UPDATE attempts SET finished = ?, outcome = ?, reason = ?, reference = ? WHERE delivery = ? AND attempt = ?",
    )?
    .execute(params![micros(end.at), outcome, reason, reference, end.delivery.to_string(), attempt])?;
    Ok(())
}

fn move_on(c: &Keyed<'_>, end: &AttemptEnd) -> Result<(), Failure> {
    let (state, next_attempt, reason) = match &end.outcome {
        AttemptOutcome::Sent { state, .. } => (state.as_str(), None, None),
        AttemptOutcome::Retry { at, reason } => ("queued", Some(micros(*at)), Some(reason)),
        AttemptOutcome::Failed { reason } => ("failed", None, Some(reason)),
    };
    c.prepare_cached(
        "UPDATE deliveries SET state = ?, version = version + 1, next_attempt = ?, reason = ?, words = NULL, changed = ?
         WHERE id = ?",
    )?
    .execute(params![state, next_attempt, reason, micros(end.at), end.delivery.to_string()])?;
    Ok(())
}

/// Since when a copy is being tried.
pub(super) fn tried_since(
    c: &Connection,
    delivery: DeliveryId,
    pause: SignedDuration,
) -> Result<Option<Timestamp>, Failure> {
    c.prepare_cached(TRIED_SINCE)?
        .query_and_then(params![delivery.to_string(), micros_of(pause)], |row| {
            Ok(Columns::of("attempts", row).moment_opt("since")?)
        })?
        .next()
        .transpose()
        .map(Option::flatten)
}
