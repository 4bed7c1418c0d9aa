//! Leasing copies for attempts, and the ends of attempts. The order within a lane (patient or transfer, recipient, kind) is kept
//! here: a copy that is still queued holds back the younger ones of its lane, and commits order them.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{Client, Pool};
use jiff::Timestamp;
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::{
    AttemptEnd, AttemptOutcome, Claim, DeliveryRecord, GivenUp, Lease, Outgoing, Overdue, Parked, Placing, Renewal,
};
use onward_core::{DeliveryId, WorkflowId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::deliveries;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self, Given, Session};
use super::work::Work;
use super::{DIALECT, LeaseClock, directory};
use crate::columns::{Columns, Corrupt};
use crate::query;
use crate::rows::{self, DELIVERY};
use crate::sealing::{Keychain, Unread};
use crate::stored::{beginnings, json, micros, signed, stays, stored_count};

/// What may be sent: due at `$1` and leased by nobody then, at most `$2`, the longest due first. Rows that another node is about to lease are
/// passed over. For the endpoint `$3` only, for none of `$4`, and for none that begins as `$5` says.
pub(super) fn due_sql() -> String {
    waiting(
        "($3::text IS NULL OR d.endpoint = $3) AND d.endpoint <> ALL($4::text[])
         AND NOT EXISTS (SELECT 1 FROM unnest($5::text[]) AS hub(begins)
             WHERE left(lower(d.endpoint), length(hub.begins)) = hub.begins)",
    )
}

/// What may be placed into inboxes at `$1`, at most `$2`, in the same way, by an index of its own (`deliveries_placing`).
pub(super) fn placeable_sql() -> String {
    waiting("d.transport = 'inbox'")
}

fn waiting(which: &str) -> String {
    format!(
        "SELECT d.id, d.lease_until IS NOT NULL AS lapsed FROM deliveries d
         WHERE d.state = 'queued' AND d.next_attempt <= $1 AND (d.lease_until IS NULL OR d.lease_until <= $1) AND {which}
             AND NOT EXISTS (SELECT 1 FROM deliveries older
                 WHERE older.state = 'queued' AND older.lane = d.lane AND older.recipient = d.recipient
                     AND older.kind = d.kind AND older.sequence < d.sequence)
             AND NOT EXISTS (SELECT 1 FROM deliveries sending
                 WHERE sending.lease_until > $1 AND sending.lane = d.lane AND sending.recipient = d.recipient
                     AND sending.kind = d.kind AND sending.sequence < d.sequence)
             AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.recipient = d.recipient)
             AND NOT EXISTS (SELECT 1 FROM pauses WHERE recipient = '*')
         ORDER BY d.next_attempt, d.sequence LIMIT $2 FOR UPDATE OF d SKIP LOCKED"
    )
}

/// Now, by the clock by which leases run out and what waits becomes due.
pub(super) async fn lease_now(
    c: &Client,
    clock: LeaseClock,
    #[cfg_attr(not(test), expect(unused))] now: Timestamp,
) -> Result<i64, Failure> {
    match clock {
        LeaseClock::Database => database_now(c).await,
        #[cfg(test)]
        LeaseClock::Caller => Ok(micros(now)),
    }
}

/// Whether a lease of this copy runs.
pub(super) async fn is_leased(
    c: &Client,
    delivery: DeliveryId,
    now: Timestamp,
    clock: LeaseClock,
) -> Result<bool, Failure> {
    let now = lease_now(c, clock, now).await?;
    let leased = "SELECT 1 AS leased FROM deliveries WHERE id = $1 AND lease_until > $2";
    Ok(session::first(c, leased, &[&delivery.0, &now]).await?.is_some())
}

/// Leases what is due, writing each attempt before anything is sent. Leases run by the database's clock, and copies become due by it: a node
/// whose own clock is wrong neither takes others' leases early nor keeps its own too long, nor has it copies tried too early or too late
/// (trust.md §7, faults 19 to 21).
pub(super) async fn claim<'j>(work: &mut Work<'j>, claim: &'j Claim) -> Result<Vec<Lease>, Failure> {
    let c = work.client();
    let lease_now = lease_now(c, work.shared().lease_clock, claim.now).await?;
    // Endpoints are compared as they are stored.
    let only = claim.only.as_ref().map(json);
    let except: Vec<String> = claim.except.iter().map(json).collect();
    let full: Vec<String> = claim.full.iter().flat_map(beginnings).collect();
    let limit = i64::from(claim.limit);
    let given: [Given<'_>; 5] = [
        (&lease_now, Type::INT8),
        (&limit, Type::INT8),
        (&only, Type::TEXT),
        (&except, Type::TEXT_ARRAY),
        (&full, Type::TEXT_ARRAY),
    ];
    let due = due(work, &due_sql(), &given).await?;
    // Of an attempt that nobody ended nobody else has looked where the next one goes. What goes elsewhere is claimed as that.
    let lapsed: Vec<Uuid> = due.iter().filter(|(_, lapsed)| *lapsed).map(|(id, _)| *id).collect();
    let followed = if lapsed.is_empty() { Vec::new() } else { directory::follow(c, &lapsed).await? };
    let due: Vec<Uuid> = due.into_iter().map(|(id, _)| id).filter(|id| !followed.contains(id)).collect();
    if due.is_empty() {
        return Ok(Vec::new());
    }
    // Random rather than counted: no token of an earlier lease, or of a restored backup, can fit again.
    let tokens: Vec<u64> = due.iter().map(|_| Uuid::new_v4().as_u64_pair().0).collect();
    let lease_until = lease_now + micros(claim.lease_until) - micros(claim.now);
    let leased = session::all(
        c,
        &format!(
            "UPDATE deliveries SET lease_token = u.token, lease_until = $1,
                 attempts = CASE WHEN attempts < 9223372036854775807 THEN attempts + 1 ELSE attempts END
             FROM unnest($2::uuid[], $3::bigint[]) AS u(leased, token) WHERE id = u.leased RETURNING {DELIVERY}, month"
        ),
        &[&lease_until, &due, &tokens.iter().map(|token| signed(*token)).collect::<Vec<_>>()],
    )
    .await?;
    let mut outgoing = outgoing(c, &leased).await?;
    let copies = c.each(&leased, |row, keys| rows::leased(&Columns::of("deliveries", row), keys)).await?;
    let mut by_id = BTreeMap::new();
    for (row, copy) in leased.iter().zip(copies) {
        let id = Columns::of("deliveries", row).parsed::<DeliveryId>("id")?;
        by_id.insert(id.0, (id, copy));
    }
    let (mut leases, mut parked) = (Vec::with_capacity(due.len()), Vec::new());
    for (id, token) in due.iter().zip(tokens) {
        let Some((id, copy)) = by_id.remove(id) else { continue };
        match lease(copy, token, outgoing.remove(&id.0)) {
            Ok(lease) => leases.push(lease),
            Err(Unread::Corrupt(place)) => parked.push(park(c, id, &place, claim.now).await?),
            Err(Unread::Erased) => parked.push(park(c, id, "erased", claim.now).await?),
            Err(unread) => return Err(unread.into()),
        }
    }
    // An attempt that is written down already was made: then the copy's own count of them is damaged.
    let begun = session::all(
        c,
        "INSERT INTO attempts (delivery, attempt, started)
         SELECT delivery, attempt, $1 FROM unnest($2::uuid[], $3::bigint[]) AS u(delivery, attempt)
         ON CONFLICT DO NOTHING RETURNING delivery",
        &[
            &micros(claim.now),
            &leases.iter().map(|lease| lease.delivery.id.0).collect::<Vec<_>>(),
            &leases.iter().map(|lease| i64::from(lease.attempt)).collect::<Vec<_>>(),
        ],
    )
    .await?;
    if begun.len() < leases.len() {
        let begun: BTreeSet<Uuid> =
            begun.iter().map(|row| Columns::of("attempts", row).parsed("delivery")).collect::<Result<_, _>>()?;
        let (whole, damaged): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| begun.contains(&lease.delivery.id.0));
        leases = whole;
        for lease in damaged {
            parked.push(park(c, lease.delivery.id, "deliveries.attempts", claim.now).await?);
        }
    }
    for lease in &mut leases {
        match claim.intent.rows(lease) {
            Some(rows) => work.audit_own(rows),
            None => lease.told = false,
        }
    }
    for parked in &parked {
        work.audit_own(claim.parking.rows(parked).ok_or(Failure::Panicked)?);
    }
    Ok(leases)
}

/// Places what is due for recipients to collect: an attempt that begins and ends here, and one change of the copy's row.
pub(super) async fn place<'j>(work: &mut Work<'j>, placing: &'j Placing) -> Result<Vec<DeliveryRecord>, Failure> {
    let (c, now) = (work.client(), micros(placing.now));
    let lease_now = lease_now(c, work.shared().lease_clock, placing.now).await?;
    let limit = i64::from(placing.limit);
    let due = due(work, &placeable_sql(), &[(&lease_now, Type::INT8), (&limit, Type::INT8)]).await?;
    let due: Vec<Uuid> = due.into_iter().map(|(id, _)| id).collect();
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let found = session::all(c, &format!("SELECT {DELIVERY} FROM deliveries WHERE id = ANY($1)"), &[&due]).await?;
    let mut copies = BTreeMap::new();
    for copy in c.each(&found, |row, keys| rows::delivery(&Columns::of("deliveries", row), keys)).await? {
        match copy {
            Ok(copy) => drop(copies.insert(copy.id.0, copy)),
            Err(Unread::Corrupt(_) | Unread::Erased) => {}
            Err(unread) => return Err(unread.into()),
        }
    }
    // In the order in which they are due; those with a count of attempts that can go no further are left.
    let told = due.iter().filter_map(|id| copies.remove(id)).filter_map(|copy| {
        let attempt = copy.attempts.checked_add(1)?;
        Some((placing.told.rows(&copy)?, attempt, copy))
    });
    let told: Vec<_> = told.collect();
    // An attempt that is written down already was made: then the copy's own count of them is damaged.
    let begun = session::all(
        c,
        "INSERT INTO attempts (delivery, attempt, started, finished, outcome)
         SELECT delivery, attempt, $1, $1, 'sent' FROM unnest($2::uuid[], $3::bigint[]) AS u(delivery, attempt)
         ON CONFLICT DO NOTHING RETURNING delivery",
        &[
            &now,
            &told.iter().map(|(.., copy)| copy.id.0).collect::<Vec<_>>(),
            &told.iter().map(|(_, attempt, _)| i64::from(*attempt)).collect::<Vec<_>>(),
        ],
    )
    .await?;
    let begun: BTreeSet<Uuid> =
        begun.iter().map(|row| Columns::of("attempts", row).parsed("delivery")).collect::<Result<_, _>>()?;
    let mut placed = Vec::with_capacity(begun.len());
    for (rows, _, copy) in told {
        if begun.contains(&copy.id.0) {
            work.audit_own(rows);
            placed.push(copy);
        }
    }
    let ids: Vec<Uuid> = placed.iter().map(|copy| copy.id.0).collect();
    session::execute(
        work.client(),
        "UPDATE deliveries SET state = $1,
             version = coalesce((SELECT max(h.version) FROM delivery_history h WHERE h.delivery = deliveries.id), version) + 1,
             attempts = attempts + 1, next_attempt = NULL, reason = NULL, words = NULL, changed = $2, lease_token = NULL, lease_until = NULL WHERE id = ANY($3)",
        &[&DeliveryState::AwaitingCollection.as_str(), &now, &ids],
    )
    .await?;
    deliveries::keep_versions(work.client(), &ids, placing.now).await?;
    Ok(placed)
}

/// How a queue is gone through: from its beginning, by its index. The server takes the queue for as long as it was when the table was counted, which
/// is empty as a rule, and would sort all of a backlog for each claim. Until [`AS_EVER`], in this transaction.
const IN_ORDER: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";
const AS_EVER: &str = "SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT;
    SET LOCAL enable_sort TO DEFAULT; SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL enable_mergejoin TO DEFAULT;
    SET LOCAL jit TO DEFAULT";

/// Whether the server knows what [`IN_ORDER`] sets. An engine that does not has its own ways.
pub(super) async fn knows_order(pool: &Pool) -> Result<bool, Failure> {
    let session = Session::begin(pool, session::READ).await?;
    let sql = "SELECT count(*) AS known FROM pg_settings WHERE name IN
        ('enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'enable_hashjoin', 'enable_mergejoin', 'jit')";
    let known = session::first(session.client(), sql, &[]).await?;
    session.commit().await?;
    let known = known.ok_or_else(|| Failure::corrupt("pg_settings", "name"))?;
    Ok(Columns::of("pg_settings", &known).count::<i64>("known")? == 6)
}

/// What is due, by a statement and its parameters, each with whether somebody had it, and the lease ran out.
async fn due(work: &Work<'_>, sql: &str, params: &[Given<'_>]) -> Result<Vec<(Uuid, bool)>, Failure> {
    let due = in_order(work, sql, params).await?;
    let due = due.iter().map(|row| {
        let columns = Columns::of("deliveries", row);
        Ok((columns.parsed("id")?, columns.flag("lapsed")?))
    });
    due.collect()
}

/// Goes through a queue. One plan for all times would be that of an empty one.
pub(super) async fn in_order(work: &Work<'_>, sql: &str, params: &[Given<'_>]) -> Result<Vec<Row>, Failure> {
    let (c, in_order) = (work.client(), work.shared().in_order);
    if in_order {
        c.batch_execute(IN_ORDER).await?;
    }
    let found = session::planned(c, sql, params).await?;
    if in_order {
        c.batch_execute(AS_EVER).await?;
    }
    Ok(found)
}

/// Makes leases last longer whose token still is their copy's.
pub(super) async fn renew<'j>(work: &mut Work<'j>, renewal: &'j Renewal) -> Result<Vec<bool>, Failure> {
    let until = lease_now(work.client(), work.shared().lease_clock, renewal.now).await? + micros(renewal.lease_until)
        - micros(renewal.now);
    let ids: Vec<Uuid> = renewal.held.iter().map(|(id, _)| id.0).collect();
    let tokens: Vec<i64> = renewal.held.iter().map(|(_, token)| signed(*token)).collect();
    // In the order in which ends are locked.
    let renewed = session::all(
        work.client(),
        "WITH held AS (SELECT d.id FROM deliveries d JOIN unnest($2::uuid[], $3::bigint[]) AS u(held, token)
             ON d.id = u.held AND d.lease_token = u.token ORDER BY d.id FOR UPDATE OF d)
         UPDATE deliveries SET lease_until = $1 WHERE id IN (SELECT id FROM held) RETURNING id",
        &[&until, &ids, &tokens],
    )
    .await?;
    let renewed: BTreeSet<Uuid> =
        renewed.iter().map(|row| Columns::of("deliveries", row).parsed("id")).collect::<Result<_, _>>()?;
    Ok(ids.iter().map(|id| renewed.contains(id)).collect())
}

/// Now by the database's clock, microseconds.
pub(super) async fn database_now(c: &Client) -> Result<i64, Failure> {
    let row = session::first(c, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now", &[]).await?;
    let row = row.ok_or_else(|| Failure::corrupt("clock", "now"))?;
    Ok(Columns::of("clock", &row).count("now")?)
}

/// What leaves of leased copies. One that cannot be read is among them as such.
async fn outgoing(c: &Keyed, leased: &[Row]) -> Result<BTreeMap<Uuid, Result<Outgoing, Unread>>, Failure> {
    let (mut ids, mut months) = (Vec::new(), Vec::new());
    for row in leased {
        let columns = Columns::of("deliveries", row);
        if stays(&columns.get::<String>("endpoint")?) {
            continue;
        }
        ids.push(columns.parsed::<Uuid>("id")?);
        months.push(columns.count::<i64>("month")?);
    }
    months.sort_unstable();
    months.dedup();
    let bodies = session::all(
        c,
        "SELECT delivery, media_type, body FROM rendition_bodies WHERE delivery = ANY($1) AND month = ANY($2)",
        &[&ids, &months],
    )
    .await?;
    let read = |row: &Row, keys: &Keychain| {
        let columns = Columns::of("rendition_bodies", row);
        rows::outgoing(&columns, keys, columns.parsed("delivery")?)
    };
    let mut outgoing = BTreeMap::new();
    for (row, read) in bodies.iter().zip(c.each(&bodies, read).await?) {
        outgoing.insert(Columns::of("rendition_bodies", row).parsed::<Uuid>("delivery")?, read);
    }
    Ok(outgoing)
}

fn lease(
    copy: Result<(DeliveryRecord, Option<WorkflowId>), Unread>,
    token: u64,
    outgoing: Option<Result<Outgoing, Unread>>,
) -> Result<Lease, Unread> {
    let (delivery, workflow) = copy?;
    let outgoing = match delivery.endpoint {
        Endpoint::Inbox {} => None,
        _ => Some(outgoing.ok_or_else(|| Corrupt::at("rendition_bodies", "delivery"))??),
    };
    let attempt = delivery.attempts;
    Ok(Lease { delivery, outgoing, workflow, token, attempt, told: true })
}

/// Gives an unreadable copy to a person, so that it holds back its own lane only and not every claim. The attempt for which it was to be
/// leased is taken back: it was not made. A count that says less than is written down is mended, so that the copy can be sent again, and so is
/// its version.
async fn park(c: &Client, id: DeliveryId, place: &str, now: Timestamp) -> Result<Parked, Failure> {
    tracing::error!(delivery = %id, place, "a queued copy is unreadable and waits for a person");
    let reason = rows::unreadable(place);
    let row = session::first(
        c,
        "UPDATE deliveries SET state = 'failed',
             version = coalesce((SELECT max(h.version) FROM delivery_history h WHERE h.delivery = deliveries.id), version) + 1,
             attempts = greatest(attempts - 1, (SELECT max(a.attempt) FROM attempts a WHERE a.delivery = deliveries.id)), next_attempt = NULL,
             lease_token = NULL, lease_until = NULL, reason = $1, words = NULL, changed = $2 WHERE id = $3
         RETURNING transfer, recipient",
        &[&reason, &micros(now), &id.0],
    )
    .await?
    .ok_or_else(|| Failure::corrupt("deliveries", "id"))?;
    deliveries::keep_versions(c, &[id.0], now).await?;
    Ok(rows::parked(&Columns::of("deliveries", &row), Some(id), &reason))
}

/// A copy as its locked row says.
struct Held {
    token: Option<i64>,
    attempt: i64,
    queued: bool,
}

/// Ends attempts; `false`, with nothing written, where the token is no longer the copy's. Where the state has moved on meanwhile
/// (an acknowledgement was faster than we were), it stays where it is: the attempt, its reference and its audit are recorded all
/// the same, for the disclosure has happened.
pub(super) async fn complete<'j>(work: &mut Work<'j>, ends: &'j [AttemptEnd]) -> Result<Vec<bool>, Failure> {
    let mut held = lock(work.client(), ends).await?;
    let mut outcomes = Vec::with_capacity(ends.len());
    let mut kept = Vec::new();
    for end in ends {
        let copy = held.get_mut(&end.delivery.0).filter(|copy| copy.token == Some(signed(end.token)));
        outcomes.push(copy.is_some());
        if let Some(copy) = copy {
            // An attempt ends once.
            copy.token = None;
            kept.push((end, copy.attempt, copy.queued));
            work.audit(&end.audit);
        }
    }
    if !kept.is_empty() {
        finish(work.client(), work.shared().lease_clock, &kept).await?;
        let again =
            kept.iter().filter(|(end, _, queued)| *queued && matches!(end.outcome, AttemptOutcome::Retry { .. }));
        let again: Vec<Uuid> = again.map(|(end, ..)| end.delivery.0).collect();
        if !again.is_empty() {
            work.follow(again).await?;
        }
    }
    Ok(outcomes)
}

/// Locks the copies, always in one order.
async fn lock(c: &Client, ends: &[AttemptEnd]) -> Result<BTreeMap<Uuid, Held>, Failure> {
    let ids: Vec<Uuid> = ends.iter().map(|end| end.delivery.0).collect();
    let sql = "SELECT id, lease_token, attempts, state FROM deliveries WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let rows = session::all(c, sql, &[&ids]).await?;
    let mut held = BTreeMap::new();
    for row in &rows {
        let (id, counted, copy) = as_held(row)?;
        // Damage of one copy keeps nobody's end: the attempt was written down when it began.
        let attempt = match counted {
            Some(attempt) => attempt,
            None => latest_attempt(c, id).await?,
        };
        held.insert(id, Held { attempt, ..copy });
    }
    Ok(held)
}

/// A copy by its identifier, with its count of attempts as far as that can be read.
fn as_held(row: &Row) -> Result<(Uuid, Option<i64>, Held), Failure> {
    let columns = Columns::of("deliveries", row);
    let queued = columns.get::<String>("state")? == "queued";
    let token = row.try_get("lease_token").map_err(|_| Failure::corrupt("deliveries", "lease_token"))?;
    let counted = columns.count("attempts").ok().filter(|attempt| *attempt > 0);
    Ok((columns.parsed("id")?, counted, Held { token, attempt: 0, queued }))
}

async fn latest_attempt(c: &Client, delivery: Uuid) -> Result<i64, Failure> {
    let latest = "SELECT coalesce(max(attempt), 0) AS latest FROM attempts WHERE delivery = $1";
    let found = session::first(c, latest, &[&delivery]).await?;
    let found = found.ok_or_else(|| Failure::corrupt("attempts", "attempt"))?;
    Ok(Columns::of("attempts", &found).count("latest")?)
}

/// By how much the clock by which copies become due is ahead of the ends' own, microseconds; 0 where none of them asks for another attempt.
async fn lead(c: &Client, clock: LeaseClock, kept: &[(&AttemptEnd, i64, bool)]) -> Result<i64, Failure> {
    let again = kept.iter().filter(|(end, ..)| matches!(end.outcome, AttemptOutcome::Retry { .. }));
    let Some(latest) = again.map(|(end, ..)| end.at).max() else { return Ok(0) };
    Ok(lease_now(c, clock, latest).await? - micros(latest))
}

/// The versions follow the copies' histories, whatever the rows say: a damaged one would end this commit, and with it the attempts of others.
async fn finish(c: &Client, clock: LeaseClock, kept: &[(&AttemptEnd, i64, bool)]) -> Result<(), Failure> {
    let lead = lead(c, clock, kept).await?;
    let (mut states, mut next, mut reasons, mut references, mut words) = (vec![], vec![], vec![], vec![], vec![]);
    for (end, ..) in kept {
        let (word, state, at, reason, reference) = match &end.outcome {
            AttemptOutcome::Sent { state, reference } => ("sent", state.as_str(), None, None, reference.as_deref()),
            AttemptOutcome::Retry { at, reason } => {
                ("retry", "queued", Some(micros(*at) + lead), Some(reason.as_str()), None)
            }
            AttemptOutcome::Failed { reason } => ("failed", "failed", None, Some(reason.as_str()), None),
        };
        words.push(word);
        states.push(state);
        next.push(at);
        reasons.push(reason);
        references.push(reference);
    }
    let ids: Vec<Uuid> = kept.iter().map(|(end, ..)| end.delivery.0).collect();
    let at: Vec<i64> = kept.iter().map(|(end, ..)| micros(end.at)).collect();
    session::execute(
        c,
        "UPDATE deliveries SET lease_token = NULL, lease_until = NULL, reference = coalesce(u.reference, deliveries.reference),
             state = CASE WHEN u.queued THEN u.state ELSE deliveries.state END,
             version = CASE WHEN u.queued THEN coalesce(
                 (SELECT max(h.version) FROM delivery_history h WHERE h.delivery = deliveries.id), version) + 1 ELSE version END,
             next_attempt = CASE WHEN u.queued THEN u.next ELSE next_attempt END,
             reason = CASE WHEN u.queued THEN u.reason ELSE deliveries.reason END,
             words = CASE WHEN u.queued THEN NULL ELSE words END,
             changed = CASE WHEN u.queued THEN u.at ELSE changed END
         FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])
             AS u(ended, queued, state, next, reason, reference, at) WHERE id = u.ended",
        &[&ids, &kept.iter().map(|(.., queued)| *queued).collect::<Vec<_>>(), &states, &next, &reasons, &references, &at],
    )
    .await?;
    session::execute(
        c,
        "UPDATE attempts SET finished = u.at, outcome = u.word, reason = u.reason, reference = u.reference
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
             AS u(ended, number, at, word, reason, reference) WHERE delivery = u.ended AND attempt = u.number",
        &[&ids, &kept.iter().map(|(_, attempt, _)| *attempt).collect::<Vec<_>>(), &at, &words, &reasons, &references],
    )
    .await?;
    let moved: Vec<Uuid> = kept.iter().filter(|(.., queued)| *queued).map(|(end, ..)| end.delivery.0).collect();
    session::execute(
        c,
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason, words)
         SELECT id, version, state, changed, code, reason, words FROM deliveries WHERE id = ANY($1)",
        &[&moved],
    )
    .await?;
    Ok(())
}

/// Since when a copy waits to be sent.
pub(super) async fn queued_since(c: &Client, delivery: DeliveryId) -> Result<Option<Timestamp>, Failure> {
    let found = session::first(c, &query::queued_since(), &[&delivery.0]).await?;
    Ok(found.map(|row| Columns::of("delivery_history", &row).moment_opt("since")).transpose()?.flatten())
}

/// Copies for these endpoints that have waited so long.
pub(super) async fn overdue(
    c: &Client,
    endpoints: &[Endpoint],
    queued_before: Timestamp,
    limit: u32,
) -> Result<Vec<Overdue>, Failure> {
    // Endpoints are compared as they are stored.
    let endpoints: Vec<String> = endpoints.iter().map(json).collect();
    let sql = query::overdue(&DIALECT, "= ANY($2::text[])");
    let found = session::all(c, &sql, &[&micros(queued_before), &endpoints, &i64::from(limit)]).await?;
    Ok(found.iter().filter_map(|row| rows::alerts::readable(rows::overdue(&Columns::of("deliveries", row)))).collect())
}

/// Leaves a copy that waits to a person; `false`, with nothing written, where somebody is sending it or it has changed.
pub(super) async fn give_up<'j>(work: &mut Work<'j>, given_up: &'j GivenUp) -> Result<bool, Failure> {
    let GivenUp { delivery, expected_version, reason, at, audit } = given_up;
    let c = work.client();
    let lease_now = lease_now(c, work.shared().lease_clock, *at).await?;
    let version = stored_count(*expected_version);
    let changed =
        session::execute(c, query::GIVE_UP, &[reason, &micros(*at), &delivery.0, &version, &lease_now]).await?;
    if changed == 0 {
        return Ok(false);
    }
    deliveries::keep_versions(c, &[delivery.0], *at).await?;
    work.audit(audit);
    Ok(true)
}
