//! Leasing copies for attempts, and the ends of attempts. The order within a lane (patient or transfer,
//! recipient, kind) is kept here: a copy that is still queued, or that was taken back while somebody is sending it,
//! holds back the younger ones of its lane.

use jiff::Timestamp;
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::{
    AttemptEnd, AttemptOutcome, Claim, DeliveryRecord, GivenUp, Lease, Overdue, Parking, Placing, Renewal,
};
use onward_core::{DeliveryId, WorkflowId};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::DIALECT;
use super::audit;
use super::deliveries;
use super::directory;
use super::failure::Failure;
use super::keyed::Keyed;
use crate::columns::{Columns, Corrupt};
use crate::query;
use crate::rows::{self, DELIVERY};
use crate::stored::{beginnings, json, micros, signed, stored_count};

/// What may be sent at `?1`, at most `?2`, the longest due first, while not everybody is paused; for the endpoint `?3` only, and not for those of the list
/// `?4` (JSON), nor for those that begin as the list `?5` says (JSON).
pub(super) fn due_sql() -> String {
    waiting(
        "",
        "(?3 IS NULL OR d.endpoint = ?3)
         AND (?4 IS NULL OR d.endpoint NOT IN (SELECT value FROM json_each(?4)))
         AND (?5 IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(?5) hub
             WHERE substr(lower(d.endpoint), 1, length(hub.value)) = hub.value))",
    )
}

/// What may be placed into inboxes at `?1`, at most `?2`, in the same way; by an index of its own, or each look walks all that waits for others.
pub(super) fn placeable_sql() -> String {
    waiting(
        "INDEXED BY deliveries_placing",
        "CASE WHEN json_valid(d.endpoint) THEN json_extract(d.endpoint, '$.transport') END = 'inbox'",
    )
}

fn waiting(by: &str, which: &str) -> String {
    format!(
        "SELECT d.sequence, d.id, d.lease_until IS NOT NULL AS lapsed FROM deliveries d {by}
         WHERE d.state = 'queued' AND d.next_attempt <= ?1 AND (d.lease_until IS NULL OR d.lease_until <= ?1) AND {which}
             AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.recipient = d.recipient)
             AND NOT EXISTS (SELECT 1 FROM deliveries older
                 WHERE older.state = 'queued' AND older.lane = d.lane AND older.recipient = d.recipient
                     AND older.kind = d.kind AND older.sequence < d.sequence)
             AND NOT EXISTS (SELECT 1 FROM deliveries sending
                 WHERE sending.lease_until > ?1 AND sending.lease_until IS NOT NULL AND sending.lane = d.lane
                     AND sending.recipient = d.recipient AND sending.kind = d.kind AND sending.sequence < d.sequence)
         ORDER BY d.next_attempt, d.sequence LIMIT ?2"
    )
}

/// Ends the lease of every queued copy. Only for the sole server at its start: whoever held one is dead, and its token
/// completes nothing any more. That it was leased stays to be seen: no lease has the token that it has then.
pub(super) fn end_all_leases(c: &Connection) -> rusqlite::Result<()> {
    c.execute(
        "UPDATE deliveries SET lease_token = 0, lease_until = 0 WHERE state = 'queued' AND lease_token IS NOT NULL",
        [],
    )?;
    Ok(())
}

/// Whether a lease of this copy runs.
pub(super) fn is_leased(c: &Connection, id: DeliveryId, now: Timestamp) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM deliveries WHERE id = ? AND lease_until > ?")?
        .exists(params![id.to_string(), micros(now)])
}

/// Leases what is due, writing each attempt before anything is sent.
pub(super) fn claim(c: &Keyed<'_>, claim: &Claim) -> Result<Vec<Lease>, Failure> {
    let Claim { now, lease_until, limit, except, full, only, intent, parking } = claim;
    let (now, lease_until) = (*now, *lease_until);
    // Endpoints are compared as they are stored.
    let except = (!except.is_empty()).then(|| json(&except.iter().map(json::<Endpoint>).collect::<Vec<_>>()));
    let full = (!full.is_empty()).then(|| json(&full.iter().flat_map(beginnings).collect::<Vec<_>>()));
    let due = due(c, &due_sql(), params![micros(now), limit, only.as_ref().map(json), except, full])?;
    let mut leases = Vec::with_capacity(due.len());
    for Due { sequence, id, lapsed } in due {
        // Of an attempt that nobody ended nobody else has looked where the next one goes. What goes elsewhere is claimed as that.
        if let (Ok(id), true) = (&id, lapsed)
            && directory::follow(c, *id)?
        {
            continue;
        }
        let leased = match &id {
            Ok(id) => lease(c, *id, now, lease_until),
            Err(Corrupt(place)) => Err(Failure::Corrupt(place.clone())),
        };
        let park = |place: &str| park(c, sequence, id.as_ref().ok().copied(), place, now, parking);
        match leased {
            Ok(mut lease) => {
                match intent.rows(&lease) {
                    Some(rows) => audit::append(c, &rows)?,
                    None => lease.told = false,
                }
                leases.push(lease);
            }
            Err(Failure::Corrupt(place)) => park(&place)?,
            Err(Failure::Erased) => park("erased")?,
            Err(failure) => return Err(failure),
        }
    }
    Ok(leases)
}

/// Places what is due for recipients to collect: an attempt that begins and ends here, and one change of the copy's row.
pub(super) fn place(c: &Keyed<'_>, placing: &Placing) -> Result<Vec<DeliveryRecord>, Failure> {
    let Placing { now, limit, told } = placing;
    let mut placed = Vec::new();
    for Due { id, .. } in due(c, &placeable_sql(), params![micros(*now), limit])? {
        let Ok(id) = id else { continue };
        let copy = match leased(c, id) {
            Ok((copy, _)) => copy,
            Err(Failure::Corrupt(_) | Failure::Erased) => continue,
            Err(failure) => return Err(failure),
        };
        if let (Some(attempt), Some(rows)) = (copy.attempts.checked_add(1), told.rows(&copy))
            && placed_at(c, id, attempt, *now)?
        {
            deliveries::keep_version(c, id, *now)?;
            audit::append(c, &rows)?;
            placed.push(copy);
        }
    }
    Ok(placed)
}

/// `false`, with nothing written, where that attempt is written down already: the copy's own count of them is damaged.
fn placed_at(c: &Keyed<'_>, id: DeliveryId, attempt: u32, now: Timestamp) -> Result<bool, Failure> {
    let (id, now) = (id.to_string(), micros(now));
    let begun = c
        .prepare_cached(
            "INSERT INTO attempts (delivery, attempt, started, finished, outcome) VALUES (?, ?, ?, ?, 'sent') ON CONFLICT DO NOTHING",
        )?
        .execute(params![id, attempt, now, now])?;
    if begun == 1 {
        c.prepare_cached(
            "UPDATE deliveries SET state = ?,
                 version = coalesce((SELECT max(h.version) FROM delivery_history h WHERE h.delivery = deliveries.id), version) + 1,
                 attempts = ?, next_attempt = NULL, reason = NULL, words = NULL, changed = ?, lease_token = NULL, lease_until = NULL WHERE id = ?",
        )?
        .execute(params![DeliveryState::AwaitingCollection.as_str(), attempt, now, id])?;
    }
    Ok(begun == 1)
}

/// What is due, by a statement and its parameters.
fn due(c: &Keyed<'_>, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Due>, Failure> {
    // Asked once: a backlog that waits for the end of a pause is not walked each time that it grows.
    if c.prepare_cached("SELECT 1 FROM pauses WHERE recipient = ?")?.exists([rows::EVERYBODY])? {
        return Ok(Vec::new());
    }
    c.prepare_cached(sql)?
        .query_and_then(params, |row| {
            let columns = Columns::of("deliveries", row);
            // One that cannot be read keeps nobody from the others.
            Ok(Due { sequence: columns.count("sequence")?, id: columns.parsed("id"), lapsed: columns.flag("lapsed")? })
        })?
        .collect()
}

/// A due copy by its place.
struct Due {
    sequence: i64,
    /// As far as it can be read.
    id: Result<DeliveryId, Corrupt>,
    /// Somebody had it, and the lease ran out.
    lapsed: bool,
}

/// Gives an unreadable copy to a person, so that it holds back its own lane only and not every claim. A count of attempts that says less than is
/// written down is mended, so that the copy can be sent again, and so is its version.
fn park(
    c: &Keyed<'_>,
    sequence: i64,
    id: Option<DeliveryId>,
    place: &str,
    now: Timestamp,
    parking: &Parking,
) -> Result<(), Failure> {
    let told = id.map(|id| id.to_string());
    tracing::error!(delivery = told, sequence, place, "a queued copy is unreadable and waits for a person");
    let reason = rows::unreadable(place);
    let parked = c
        .prepare_cached(
            "UPDATE deliveries SET state = 'failed', next_attempt = NULL, lease_token = NULL,
                 version = coalesce((SELECT max(h.version) FROM delivery_history h WHERE h.delivery = deliveries.id), version) + 1,
                 attempts = max(attempts, coalesce((SELECT max(a.attempt) FROM attempts a WHERE a.delivery = deliveries.id), 0)),
                 lease_until = NULL, reason = ?, words = NULL, changed = ? WHERE sequence = ? RETURNING transfer, recipient",
        )?
        .query_and_then(params![reason, micros(now), sequence], |row| {
            Ok::<_, Failure>(rows::parked(&Columns::of("deliveries", row), id, &reason))
        })?
        .next()
        .ok_or_else(|| Failure::corrupt("deliveries", "id"))??;
    deliveries::keep_version_at(c, sequence, now)?;
    audit::append(c, &parking.rows(&parked).ok_or(Failure::Panicked)?)
}

/// Everything is read before anything is written: a copy that turns out to be unreadable has made no attempt.
fn lease(c: &Keyed<'_>, id: DeliveryId, now: Timestamp, lease_until: Timestamp) -> Result<Lease, Failure> {
    let (delivery, workflow) = leased(c, id)?;
    let outgoing = match delivery.endpoint {
        Endpoint::Inbox {} => None,
        _ => Some(deliveries::outgoing(c, id)?.ok_or_else(|| Failure::corrupt("rendition_bodies", "delivery"))?),
    };
    let attempt = delivery.attempts.checked_add(1).ok_or_else(|| Failure::corrupt("deliveries", "attempts"))?;
    // Random rather than counted: no token of an earlier lease, or of a restored backup, can fit again.
    let (token, _) = Uuid::new_v4().as_u64_pair();
    // An attempt that is written down already was made: then the copy's own count of them is damaged.
    let begun = c
        .prepare_cached("INSERT INTO attempts (delivery, attempt, started) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![id.to_string(), attempt, micros(now)])?;
    if begun == 0 {
        return Err(Failure::corrupt("deliveries", "attempts"));
    }
    c.prepare_cached("UPDATE deliveries SET lease_token = ?, lease_until = ?, attempts = ? WHERE id = ?")?
        .execute(params![signed(token), micros(lease_until), attempt, id.to_string()])?;
    let delivery = DeliveryRecord { attempts: attempt, ..delivery };
    Ok(Lease { delivery, outgoing, workflow, token, attempt, told: true })
}

/// A copy that is due, and the workflow by which it goes.
fn leased(c: &Keyed<'_>, id: DeliveryId) -> Result<(DeliveryRecord, Option<WorkflowId>), Failure> {
    c.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE id = ?"))?
        .query_and_then([id.to_string()], |row| c.opened(|keys| rows::leased(&Columns::of("deliveries", row), keys)))?
        .next()
        .ok_or_else(|| Failure::corrupt("deliveries", "id"))?
}

/// Makes leases last longer whose token still is their copy's.
pub(super) fn renew(c: &Keyed<'_>, renewal: &Renewal) -> Result<Vec<bool>, Failure> {
    let mut renew = c.prepare_cached("UPDATE deliveries SET lease_until = ? WHERE id = ? AND lease_token = ?")?;
    let until = micros(renewal.lease_until);
    let renewed =
        |(id, token): &(DeliveryId, u64)| Ok(renew.execute(params![until, id.to_string(), signed(*token)])? == 1);
    renewal.held.iter().map(renewed).collect()
}

/// Ends an attempt; `false`, with nothing written, when the token is no longer the copy's. When the state
/// has moved on meanwhile (an acknowledgement was faster than we were), it stays where it is: the attempt,
/// its reference and its audit are recorded all the same, for the disclosure has happened.
pub(super) fn complete(c: &Keyed<'_>, end: &AttemptEnd) -> Result<bool, Failure> {
    let held = c
        .prepare_cached("SELECT attempts, state = 'queued' AS queued FROM deliveries WHERE id = ? AND lease_token = ?")?
        .query_and_then(params![end.delivery.to_string(), signed(end.token)], |row| {
            let columns = Columns::of("deliveries", row);
            Ok::<_, Failure>((columns.count::<u32>("attempts"), columns.flag("queued")?))
        })?
        .next()
        .transpose()?;
    let Some((attempt, queued)) = held else { return Ok(false) };
    // Damage of one copy keeps nobody's end: the attempt was written down when it began.
    let attempt = match attempt {
        Ok(attempt) if attempt > 0 => attempt,
        _ => latest_attempt(c, end.delivery)?,
    };
    finish_attempt(c, end, attempt)?;
    if queued {
        move_on(c, end)?;
        deliveries::keep_version(c, end.delivery, end.at)?;
        if let AttemptOutcome::Retry { .. } = end.outcome {
            directory::follow(c, end.delivery)?;
        }
    } else {
        c.prepare_cached(
            "UPDATE deliveries SET lease_token = NULL, lease_until = NULL, reference = coalesce(?, reference)
             WHERE id = ?",
        )?
        .execute(params![reference(end), end.delivery.to_string()])?;
    }
    audit::append(c, &end.audit)?;
    Ok(true)
}

fn latest_attempt(c: &Keyed<'_>, delivery: DeliveryId) -> Result<u32, Failure> {
    let latest = "SELECT coalesce(max(attempt), 0) FROM attempts WHERE delivery = ?";
    Ok(c.prepare_cached(latest)?.query_row([delivery.to_string()], |row| row.get(0))?)
}

/// The partner's reference, where it gave one.
fn reference(end: &AttemptEnd) -> Option<&str> {
    match &end.outcome {
        AttemptOutcome::Sent { reference, .. } => reference.as_deref(),
        AttemptOutcome::Retry { .. } | AttemptOutcome::Failed { .. } => None,
    }
}

fn finish_attempt(c: &Keyed<'_>, end: &AttemptEnd, attempt: u32) -> Result<(), Failure> {
    let (outcome, reason) = match &end.outcome {
        AttemptOutcome::Sent { .. } => ("sent", None),
        AttemptOutcome::Retry { reason, .. } => ("retry", Some(reason.as_str())),
        AttemptOutcome::Failed { reason } => ("failed", Some(reason.as_str())),
    };
    c.prepare_cached(
        "UPDATE attempts SET finished = ?, outcome = ?, reason = ?, reference = ? WHERE delivery = ? AND attempt = ?",
    )?
    .execute(params![micros(end.at), outcome, reason, reference(end), end.delivery.to_string(), attempt])?;
    Ok(())
}

/// Ends the lease and moves the state, in one change of the row: each writes all of it. The version follows the copy's history, whatever the row
/// says: a damaged one would end this commit, and with it the attempts of others.
fn move_on(c: &Keyed<'_>, end: &AttemptEnd) -> Result<(), Failure> {
    let (state, next_attempt, reason) = match &end.outcome {
        AttemptOutcome::Sent { state, .. } => (state.as_str(), None, None),
        AttemptOutcome::Retry { at, reason } => ("queued", Some(micros(*at)), Some(reason)),
        AttemptOutcome::Failed { reason } => ("failed", None, Some(reason)),
    };
    c.prepare_cached(
        "UPDATE deliveries SET state = ?, next_attempt = ?, reason = ?, words = NULL, changed = ?,
             version = coalesce((SELECT max(h.version) FROM delivery_history h WHERE h.delivery = deliveries.id), version) + 1,
             lease_token = NULL, lease_until = NULL, reference = coalesce(?, reference)
         WHERE id = ?",
    )?
    .execute(params![state, next_attempt, reason, micros(end.at), reference(end), end.delivery.to_string()])?;
    Ok(())
}

/// Since when a copy waits to be sent.
pub(super) fn queued_since(c: &Connection, delivery: DeliveryId) -> Result<Option<Timestamp>, Failure> {
    c.prepare_cached(&query::queued_since())?
        .query_and_then([delivery.to_string()], |row| Ok(Columns::of("delivery_history", row).moment_opt("since")?))?
        .next()
        .transpose()
        .map(Option::flatten)
}

/// Copies for these endpoints that have waited so long.
pub(super) fn overdue(
    c: &Connection,
    endpoints: &[Endpoint],
    queued_before: Timestamp,
    limit: u32,
) -> Result<Vec<Overdue>, Failure> {
    // Endpoints are compared as they are stored.
    let endpoints = json(&endpoints.iter().map(json).collect::<Vec<_>>());
    let mut statement = c.prepare_cached(&query::overdue(&DIALECT, "IN (SELECT value FROM json_each($2))"))?;
    let mut found = statement.query(params![micros(queued_before), endpoints, limit])?;
    let mut overdue = Vec::new();
    while let Some(row) = found.next()? {
        overdue.extend(rows::alerts::readable(rows::overdue(&Columns::of("deliveries", row))));
    }
    Ok(overdue)
}

/// Leaves a copy that waits to a person; `false`, with nothing written, where somebody is sending it or it has changed.
pub(super) fn give_up(c: &Keyed<'_>, given_up: &GivenUp) -> Result<bool, Failure> {
    let GivenUp { delivery, expected_version, reason, at, audit } = given_up;
    let (at_micros, id) = (micros(*at), delivery.to_string());
    let version = stored_count(*expected_version);
    if c.prepare_cached(query::GIVE_UP)?.execute(params![reason, at_micros, id, version, at_micros])? == 0 {
        return Ok(false);
    }
    deliveries::keep_version(c, *delivery, *at)?;
    audit::append(c, audit)?;
    Ok(true)
}
