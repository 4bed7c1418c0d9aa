//! What people have sent again: each replay of a copy, and many copies by one decision.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::directory::Endpoint;
use onward_core::store::{
    Bulk, BulkStep, CloseCopy, ClosedCopy, FormerAddress, NewBulk, Readdressed, Replay, Resend, ResendStore,
    StoreError, ToldElsewhere, Whereto,
};
use onward_core::{BulkId, DeliveryId, OdsCode, ReplayId};
use uuid::Uuid;

use super::dispatch::lease_now;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self, Params};
use super::work::Work;
use super::{DIALECT, PostgresStore, deliveries, directory, elsewhere};
use crate::columns::Columns;
use crate::query;
use crate::rows::REPLAYED;
use crate::rows::addresses::{FORMER, former};
use crate::rows::resending::{
    self as rows, BULK, CLOSED, KEPT, OUTCOMES, REPLAY, Requeue, closure_row, of_bulk, of_closure, of_replay,
};
use crate::stored::{json, micros, stored_count};

#[async_trait]
impl ResendStore for PostgresStore {
    async fn replays(&self, delivery: DeliveryId) -> Result<Vec<Replay>, StoreError> {
        self.read(delivery, |c, delivery| replays(c, "delivery = $1 ORDER BY at, id", delivery.0).boxed()).await
    }

    async fn replay(&self, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        self.read(id, |c, id| async move { Ok(replays(c, "id = $1", id.0).await?.into_iter().next()) }.boxed()).await
    }

    async fn close_copy(&self, close: CloseCopy) -> Result<bool, StoreError> {
        self.writers.run(close, |work, close| self::close(work, close).boxed()).await
    }

    async fn former_addresses(&self, delivery: DeliveryId) -> Result<Vec<FormerAddress>, StoreError> {
        self.read(delivery, |c, delivery| former_addresses(c, *delivery).boxed()).await
    }

    async fn has_arrived(&self, delivery: DeliveryId) -> Result<bool, StoreError> {
        self.read(delivery, |c, delivery| elsewhere::has_arrived(c, *delivery).boxed()).await
    }

    async fn readdressed(&self, after: u64, limit: u32) -> Result<Vec<Readdressed>, StoreError> {
        self.read((after, limit), |c, (after, limit)| elsewhere::marked(c, *after, *limit).boxed()).await
    }

    async fn tell_elsewhere(&self, told: ToldElsewhere) -> Result<bool, StoreError> {
        self.writers.run(told, |work, told| elsewhere::tell(work, told).boxed()).await
    }

    async fn closed_copies(&self, delivery: DeliveryId) -> Result<Vec<ClosedCopy>, StoreError> {
        self.read(delivery, |c, delivery| closed_copies(c, *delivery).boxed()).await
    }

    async fn left_since(&self, delivery: DeliveryId) -> Result<u64, StoreError> {
        self.read(delivery, |c, delivery| left_since(c, *delivery).boxed()).await
    }

    async fn start_bulk(&self, bulk: NewBulk, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((bulk, audit), |work, (bulk, audit)| start(work, bulk, audit).boxed()).await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.read(id, |c, id| async move { Ok(bulks(c, "b.id = $1", &[&id.0]).await?.into_iter().next()) }.boxed())
            .await
    }

    async fn bulks(&self, since: Timestamp) -> Result<Vec<Bulk>, StoreError> {
        self.read(micros(since), |c, since| recent(c, *since).boxed()).await
    }

    async fn bulk_pending(&self, id: BulkId, limit: u32) -> Result<Vec<DeliveryId>, StoreError> {
        self.read((id, limit), |c, (id, limit)| pending(c, *id, *limit).boxed()).await
    }

    async fn resend_of_bulk(
        &self,
        id: BulkId,
        delivery: DeliveryId,
        to: Whereto,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<BulkStep, StoreError> {
        self.writers.run(One { id, delivery, to, at, audit }, |work, one| step(work, one).boxed()).await
    }

    async fn cancel_bulk(&self, id: BulkId, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((id, at, audit), |work, (id, at, audit)| cancel(work, *id, *at, audit).boxed()).await
    }
}

/// Queues a copy again, due at once; a replay is kept beside it. One of many was decided on because it had failed: if it has left or waits
/// by now, nothing is to be done. Nor is anything without its content: asking for it also waits for retention that is dropping the month.
pub(super) async fn requeue<'j>(
    work: &mut Work<'j>,
    again: Requeue<'_>,
    audit: &'j [AuditRow],
) -> Result<bool, Failure> {
    let c = work.client();
    let due = lease_now(c, work.shared().lease_clock, again.at).await?;
    if let Whereto::OtherWay { .. } = again.to {
        return Ok(false);
    }
    if let Whereto::Directory { from, to } = again.to {
        stands(c, again.delivery, from, to).await?;
    }
    let new_address = again.to.new_address().map(json);
    let queued = session::execute(
        c,
        &query::resending::requeue(&DIALECT),
        &[
            &micros(again.at),
            &again.delivery.0,
            &REPLAYED,
            &(again.how == Resend::Replay),
            &again.bulk.is_some(),
            &due,
            &new_address,
        ],
    )
    .await?;
    if queued == 0 {
        return Ok(false);
    }
    if let Whereto::Directory { from, to } = again.to
        && from != to
    {
        session::execute(c, query::resending::FORMERLY, &[&json(from), &again.delivery.0]).await?;
        elsewhere::mark(c, again.delivery.0).await?;
    }
    if again.how == Resend::Replay {
        deliveries::put_words(c, "replay_words", again.delivery, again.why).await?;
        keep(c, &again).await?;
    }
    deliveries::keep_versions(c, &[again.delivery.0], again.at).await?;
    if session::execute(c, query::alerts::RESENT, &[&micros(again.at), &again.delivery.0]).await? > 0 {
        session::execute(c, query::alerts::DROP, &[]).await?;
    }
    work.audit(audit);
    Ok(true)
}

async fn former_addresses(c: &Keyed, delivery: DeliveryId) -> Result<Vec<FormerAddress>, Failure> {
    let found = session::all(c, FORMER, &[&delivery.0]).await?;
    found.iter().map(|row| Ok(former(&Columns::of("former_addresses", row))?)).collect()
}

/// Refuses when the copy's address, or the directory's of its recipient, is another than was read; both stay as they are until the commit.
async fn stands(c: &Keyed, delivery: DeliveryId, from: &Endpoint, to: &Endpoint) -> Result<(), Failure> {
    let Some(found) = session::first(c, query::resending::ADDRESS, &[&delivery.0]).await? else { return Ok(()) };
    let recipient: OdsCode = Columns::of("deliveries", &found).parsed("recipient")?;
    let entry = directory::entry_held_still(c, &recipient).await?;
    // Read again, behind the directory: what is queued goes along when that changes.
    let Some(found) = session::first(c, query::resending::ADDRESS, &[&delivery.0]).await? else { return Ok(()) };
    let stored: String = Columns::of("deliveries", &found).get("endpoint")?;
    let as_read = stored == json(from) && entry.is_some_and(|entry| entry.endpoint() == to);
    if as_read { Ok(()) } else { Err(Failure::Overtaken) }
}

async fn keep(c: &Keyed, again: &Requeue<'_>) -> Result<(), Failure> {
    let id = ReplayId::random();
    let key = deliveries::key(c, again.delivery).await;
    let sealed = key.and_then(|key| Ok(c.keys().seal_text(key, of_replay(&id.to_string()), again.why)?));
    let words = match sealed {
        Err(Failure::Erased) => None,
        sealed => Some(sealed?),
    };
    session::execute(
        c,
        "INSERT INTO replays (id, delivery, at, name, words, attempts_before, bulk)
         SELECT $1, id, $2, $3, $4, attempts, $5 FROM deliveries WHERE id = $6",
        &[&id.0, &micros(again.at), &again.by, &words, &again.bulk.map(|bulk| bulk.0), &again.delivery.0],
    )
    .await?;
    Ok(())
}

/// Notes that a person took care of a copy in another way.
async fn close<'j>(work: &mut Work<'j>, close: &'j CloseCopy) -> Result<bool, Failure> {
    let c = work.client();
    let at = micros(close.at);
    let found = session::first(
        c,
        &query::resending::close(&DIALECT),
        &[&at, &close.delivery.0, &stored_count(close.expected_version)],
    )
    .await?;
    let Some(found) = found else { return Ok(false) };
    let version = Columns::of("deliveries", &found).count("version")?;
    let row = closure_row(&close.delivery.to_string(), version);
    let key = deliveries::key(c, close.delivery).await;
    let sealed = key.and_then(|key| Ok(c.keys().seal_text(key, of_closure(&row), &close.reason)?));
    let words = match sealed {
        Err(Failure::Erased) => None,
        sealed => Some(sealed?),
    };
    session::execute(
        c,
        "INSERT INTO closures (delivery, version, at, name, words) VALUES ($1, $2, $3, $4, $5)",
        &[&close.delivery.0, &stored_count(version), &at, &close.by, &words],
    )
    .await?;
    deliveries::keep_versions(c, &[close.delivery.0], close.at).await?;
    if session::execute(c, query::alerts::CLOSED, &[&at, &close.delivery.0]).await? > 0 {
        session::execute(c, query::alerts::DROP, &[]).await?;
    }
    work.audit(&close.audit);
    Ok(true)
}

async fn closed_copies(c: &Keyed, delivery: DeliveryId) -> Result<Vec<ClosedCopy>, Failure> {
    let sql = format!("SELECT {CLOSED} FROM closures WHERE delivery = $1 ORDER BY version");
    let found = session::all(c, &sql, &[&delivery.0]).await?;
    c.opened(&found, |row, keys| rows::closed(&Columns::of("closures", row), keys)).await
}

async fn replays(c: &Keyed, condition: &str, id: Uuid) -> Result<Vec<Replay>, Failure> {
    let found = session::all(c, &format!("SELECT {REPLAY} FROM replays WHERE {condition}"), &[&id]).await?;
    c.opened(&found, |row, keys| rows::replay(&Columns::of("replays", row), keys)).await
}

async fn left_since(c: &Keyed, delivery: DeliveryId) -> Result<u64, Failure> {
    let counted = session::first(c, &query::resending::left_since(), &[&delivery.0]).await?;
    let count: i64 = counted.map_or(Ok(0), |row| Columns::of("deliveries", &row).count("n"))?;
    u64::try_from(count).map_err(|_| Failure::corrupt("deliveries", "sequence"))
}

async fn bulks(c: &Keyed, condition: &str, params: Params<'_>) -> Result<Vec<Bulk>, Failure> {
    let found = session::all(c, &format!("SELECT {BULK} FROM bulks b WHERE {condition}"), params).await?;
    c.opened(&found, |row, keys| rows::bulk(&Columns::of("bulks", row), keys)).await
}

async fn recent(c: &Keyed, since: i64) -> Result<Vec<Bulk>, Failure> {
    bulks(c, "b.ended IS NULL OR b.ended >= $1 ORDER BY b.at DESC, b.id", &[&since]).await
}

async fn pending(c: &Keyed, id: BulkId, limit: u32) -> Result<Vec<DeliveryId>, Failure> {
    let found = session::all(
        c,
        "SELECT c.delivery FROM bulk_copies c JOIN bulks b ON b.id = c.bulk
         WHERE c.bulk = $1 AND c.outcome IS NULL AND b.state = 'running' ORDER BY c.place LIMIT $2",
        &[&id.0, &i64::from(limit)],
    )
    .await?;
    found.iter().map(|row| Ok(Columns::of("bulk_copies", row).parsed("delivery")?)).collect()
}

async fn start<'j>(work: &mut Work<'j>, bulk: &'j NewBulk, audit: &'j [AuditRow]) -> Result<bool, Failure> {
    let c = work.client();
    let forgotten = bulk.at.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    session::execute(c, "DELETE FROM bulks WHERE ended < $1", &[&micros(forgotten)]).await?;
    let key = c.gateway().await?;
    let words = c.keys().seal_text(key, of_bulk(&bulk.id.to_string()), &bulk.reason)?;
    let started = session::execute(
        c,
        "INSERT INTO bulks (id, how, filter, words, name, agent, at, state) VALUES ($1, $2, $3, $4, $5, $6, $7, 'running')
         ON CONFLICT (id) DO NOTHING",
        &[&bulk.id.0, &bulk.how.as_str(), &bulk.filter, &words, &bulk.by, &bulk.agent, &micros(bulk.at)],
    )
    .await?;
    if started == 0 {
        return Ok(false);
    }
    let copies: Vec<Uuid> = bulk.copies.iter().map(|copy| copy.0).collect();
    session::execute(
        c,
        "INSERT INTO bulk_copies (bulk, delivery, place)
         SELECT $1, t.delivery, t.place FROM unnest($2::uuid[]) WITH ORDINALITY AS t (delivery, place)",
        &[&bulk.id.0, &copies],
    )
    .await?;
    end(c, bulk.id, bulk.at).await?;
    work.audit(audit);
    Ok(true)
}

/// One copy of many.
struct One {
    id: BulkId,
    delivery: DeliveryId,
    to: Whereto,
    at: Timestamp,
    audit: Vec<AuditRow>,
}

async fn step<'j>(work: &mut Work<'j>, one: &'j One) -> Result<BulkStep, Failure> {
    // The row is held, so that of several nodes one looks at a copy, and none after it was stopped.
    let running = "SELECT id FROM bulks WHERE id = $1 AND state = 'running' FOR UPDATE";
    if session::first(work.client(), running, &[&one.id.0]).await?.is_none() {
        return Ok(BulkStep::Overtaken);
    }
    let pending = "b.id = $1
        AND EXISTS (SELECT 1 FROM bulk_copies c WHERE c.bulk = b.id AND c.delivery = $2 AND c.outcome IS NULL)";
    let found = bulks(work.client(), pending, &[&one.id.0, &one.delivery.0]).await?;
    let Some(found) = found.into_iter().next() else { return Ok(BulkStep::Overtaken) };
    let again = Requeue {
        delivery: one.delivery,
        how: found.how,
        to: &one.to,
        by: &found.by,
        why: &found.reason,
        at: one.at,
        bulk: Some(one.id),
    };
    let resent = requeue(work, again, &one.audit).await?;
    let [yes, no] = OUTCOMES;
    let outcome = if resent { yes } else { no };
    let sql = "UPDATE bulk_copies SET outcome = $1 WHERE bulk = $2 AND delivery = $3";
    session::execute(work.client(), sql, &[&outcome, &one.id.0, &one.delivery.0]).await?;
    end(work.client(), one.id, one.at).await?;
    Ok(if resent { BulkStep::Resent } else { BulkStep::PassedOver })
}

/// Ends a decision of which nothing is left to do.
async fn end(c: &Keyed, bulk: BulkId, at: Timestamp) -> Result<(), Failure> {
    session::execute(
        c,
        "UPDATE bulks SET state = 'finished', ended = $1 WHERE id = $2 AND state = 'running'
             AND NOT EXISTS (SELECT 1 FROM bulk_copies WHERE bulk = $2 AND outcome IS NULL)",
        &[&micros(at), &bulk.0],
    )
    .await?;
    Ok(())
}

async fn cancel<'j>(work: &mut Work<'j>, id: BulkId, at: Timestamp, audit: &'j [AuditRow]) -> Result<bool, Failure> {
    let sql = "UPDATE bulks SET state = 'cancelled', ended = $1 WHERE id = $2 AND state = 'running'";
    let stopped = session::execute(work.client(), sql, &[&micros(at), &id.0]).await?;
    if stopped == 1 {
        work.audit(audit);
    }
    Ok(stopped == 1)
}
