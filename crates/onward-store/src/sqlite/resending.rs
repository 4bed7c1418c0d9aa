//! What people have sent again: each replay of a copy, and many copies by one decision.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::directory::Endpoint;
use onward_core::store::{
    Bulk, BulkStep, CloseCopy, ClosedCopy, FormerAddress, NewBulk, Readdressed, Replay, Resend, ResendStore,
    StoreError, ToldElsewhere, Whereto,
};
use onward_core::{BulkId, DeliveryId, OdsCode, ReplayId};
use rusqlite::{Params, params};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{DIALECT, SqliteStore, audit, deliveries, directory, elsewhere};
use crate::columns::Columns;
use crate::query;
use crate::rows::REPLAYED;
use crate::rows::addresses::{FORMER, former};
use crate::rows::resending::{
    self as rows, BULK, CLOSED, KEPT, OUTCOMES, REPLAY, Requeue, closure_row, of_bulk, of_closure, of_replay,
};
use crate::stored::{json, micros, stored_count};

#[async_trait]
impl ResendStore for SqliteStore {
    async fn replays(&self, delivery: DeliveryId) -> Result<Vec<Replay>, StoreError> {
        self.read(move |c| replays(c, "delivery = ? ORDER BY at, id", [delivery.to_string()])).await
    }

    async fn replay(&self, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        self.read(move |c| Ok(replays(c, "id = ?", [id.to_string()])?.into_iter().next())).await
    }

    async fn close_copy(&self, close: CloseCopy) -> Result<bool, StoreError> {
        self.write(move |c| self::close(c, &close)).await
    }

    async fn former_addresses(&self, delivery: DeliveryId) -> Result<Vec<FormerAddress>, StoreError> {
        self.read(move |c| {
            c.prepare_cached(FORMER)?
                .query_and_then([delivery.to_string()], |row| Ok(former(&Columns::of("former_addresses", row))?))?
                .collect()
        })
        .await
    }

    async fn has_arrived(&self, delivery: DeliveryId) -> Result<bool, StoreError> {
        self.read(move |c| elsewhere::has_arrived(c, delivery)).await
    }

    async fn readdressed(&self, after: u64, limit: u32) -> Result<Vec<Readdressed>, StoreError> {
        self.read(move |c| elsewhere::marked(c, after, limit)).await
    }

    async fn tell_elsewhere(&self, told: ToldElsewhere) -> Result<bool, StoreError> {
        self.write(move |c| elsewhere::tell(c, &told)).await
    }

    async fn closed_copies(&self, delivery: DeliveryId) -> Result<Vec<ClosedCopy>, StoreError> {
        self.read(move |c| {
            c.prepare_cached(&format!("SELECT {CLOSED} FROM closures WHERE delivery = ? ORDER BY version"))?
                .query_and_then([delivery.to_string()], |row| {
                    c.opened(|keys| rows::closed(&Columns::of("closures", row), keys))
                })?
                .collect()
        })
        .await
    }

    async fn left_since(&self, delivery: DeliveryId) -> Result<u64, StoreError> {
        self.read(move |c| {
            let count: i64 = c
                .prepare_cached(&query::resending::left_since())?
                .query_row([delivery.to_string()], |row| row.get(0))?;
            u64::try_from(count).map_err(|_| Failure::corrupt("deliveries", "sequence"))
        })
        .await
    }

    async fn start_bulk(&self, bulk: NewBulk, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| start(c, &bulk, &audit)).await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.read(move |c| Ok(bulks(c, "b.id = ?", [id.to_string()])?.into_iter().next())).await
    }

    async fn bulks(&self, since: Timestamp) -> Result<Vec<Bulk>, StoreError> {
        let condition = "b.ended IS NULL OR b.ended >= ? ORDER BY b.at DESC, b.id";
        self.read(move |c| bulks(c, condition, [micros(since)])).await
    }

    async fn bulk_pending(&self, id: BulkId, limit: u32) -> Result<Vec<DeliveryId>, StoreError> {
        self.read(move |c| {
            c.prepare_cached(
                "SELECT c.delivery FROM bulk_copies c JOIN bulks b ON b.id = c.bulk
                 WHERE c.bulk = ? AND c.outcome IS NULL AND b.state = 'running' ORDER BY c.place LIMIT ?",
            )?
            .query_and_then(params![id.to_string(), limit], |row| {
                Ok(Columns::of("bulk_copies", row).parsed("delivery")?)
            })?
            .collect()
        })
        .await
    }

    async fn resend_of_bulk(
        &self,
        id: BulkId,
        delivery: DeliveryId,
        to: Whereto,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<BulkStep, StoreError> {
        self.write(move |c| step(c, id, delivery, &to, at, &audit)).await
    }

    async fn cancel_bulk(&self, id: BulkId, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| {
            let stopped = c
                .prepare_cached("UPDATE bulks SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'running'")?
                .execute(params![micros(at), id.to_string()])?;
            if stopped == 1 {
                audit::append(c, &audit)?;
            }
            Ok(stopped == 1)
        })
        .await
    }
}

/// Queues a copy again, due at once; a replay is kept beside it. One of many was decided on because it had failed: if it has left or waits
/// by now, nothing is to be done. Nor is anything without its content.
pub(super) fn requeue(c: &Keyed<'_>, again: &Requeue<'_>, audit: &[AuditRow]) -> Result<bool, Failure> {
    let id = again.delivery.to_string();
    if let Whereto::OtherWay { .. } = again.to {
        return Ok(false);
    }
    if let Whereto::Directory { from, to } = again.to {
        stands(c, &id, from, to)?;
    }
    let queued = c.prepare_cached(&query::resending::requeue(&DIALECT))?.execute(params![
        micros(again.at),
        id,
        REPLAYED,
        again.how == Resend::Replay,
        again.bulk.is_some(),
        micros(again.at),
        again.to.new_address().map(json)
    ])?;
    if queued == 0 {
        return Ok(false);
    }
    if let Whereto::Directory { from, to } = again.to
        && from != to
    {
        c.prepare_cached(query::resending::FORMERLY)?.execute(params![json(from), id])?;
        elsewhere::mark(c, &id)?;
    }
    if again.how == Resend::Replay {
        deliveries::put_words(c, "replay_words", again.delivery, again.why)?;
        let replay = ReplayId::random().to_string();
        let words = match c.seal_text(deliveries::key(c, &id)?, of_replay(&replay), again.why) {
            Err(Failure::Erased) => None,
            sealed => Some(sealed?),
        };
        c.prepare_cached(
            "INSERT INTO replays (id, delivery, at, name, words, attempts_before, bulk)
             SELECT ?1, id, ?2, ?3, ?4, attempts, ?5 FROM deliveries WHERE id = ?6",
        )?
        .execute(params![
            replay,
            micros(again.at),
            again.by,
            words,
            again.bulk.map(|bulk| bulk.to_string()),
            id
        ])?;
    }
    deliveries::keep_version(c, again.delivery, again.at)?;
    if c.prepare_cached(query::alerts::RESENT)?.execute(params![micros(again.at), id])? > 0 {
        c.prepare_cached(query::alerts::DROP)?.execute([])?;
    }
    audit::append(c, audit)?;
    Ok(true)
}

/// Notes that a person took care of a copy in another way.
fn close(c: &Keyed<'_>, close: &CloseCopy) -> Result<bool, Failure> {
    let id = close.delivery.to_string();
    let version = c
        .prepare_cached(&query::resending::close(&DIALECT))?
        .query_and_then(params![micros(close.at), id, stored_count(close.expected_version)], |row| {
            Ok::<_, Failure>(Columns::of("deliveries", row).count("version")?)
        })?
        .next()
        .transpose()?;
    let Some(version) = version else { return Ok(false) };
    let row = closure_row(&id, version);
    let words = match c.seal_text(deliveries::key(c, &id)?, of_closure(&row), &close.reason) {
        Err(Failure::Erased) => None,
        sealed => Some(sealed?),
    };
    c.prepare_cached("INSERT INTO closures (delivery, version, at, name, words) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![id, stored_count(version), micros(close.at), close.by, words])?;
    deliveries::keep_version(c, close.delivery, close.at)?;
    if c.prepare_cached(query::alerts::CLOSED)?.execute(params![micros(close.at), id])? > 0 {
        c.prepare_cached(query::alerts::DROP)?.execute([])?;
    }
    audit::append(c, &close.audit)?;
    Ok(true)
}

/// Refuses when the copy's address, or the directory's of its recipient, is another than was read.
fn stands(c: &Keyed<'_>, id: &str, from: &Endpoint, to: &Endpoint) -> Result<(), Failure> {
    let found = c
        .prepare_cached(query::resending::ADDRESS)?
        .query_and_then([id], |row| {
            let columns = Columns::of("deliveries", row);
            Ok::<_, Failure>((columns.parsed::<OdsCode>("recipient")?, columns.get::<String>("endpoint")?))
        })?
        .next()
        .transpose()?;
    let Some((recipient, stored)) = found else { return Ok(()) };
    let entry = directory::entry(c, &recipient)?;
    let as_read = stored == json(from) && entry.is_some_and(|entry| entry.endpoint() == to);
    if as_read { Ok(()) } else { Err(Failure::Overtaken) }
}

fn replays(c: &Keyed<'_>, condition: &str, values: impl Params) -> Result<Vec<Replay>, Failure> {
    c.prepare_cached(&format!("SELECT {REPLAY} FROM replays WHERE {condition}"))?
        .query_and_then(values, |row| c.opened(|keys| rows::replay(&Columns::of("replays", row), keys)))?
        .collect()
}

fn bulks(c: &Keyed<'_>, condition: &str, values: impl Params) -> Result<Vec<Bulk>, Failure> {
    c.prepare_cached(&format!("SELECT {BULK} FROM bulks b WHERE {condition}"))?
        .query_and_then(values, |row| c.opened(|keys| rows::bulk(&Columns::of("bulks", row), keys)))?
        .collect()
}

fn start(c: &Keyed<'_>, bulk: &NewBulk, audit: &[AuditRow]) -> Result<bool, Failure> {
    let id = bulk.id.to_string();
    let forgotten = bulk.at.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    c.prepare_cached("DELETE FROM bulks WHERE ended < ?")?.execute([micros(forgotten)])?;
    let words = c.seal_text(c.keys().vault().gateway(), of_bulk(&id), &bulk.reason)?;
    let started = c
        .prepare_cached(
            "INSERT INTO bulks (id, how, filter, words, name, agent, at, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'running')
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![id, bulk.how.as_str(), bulk.filter, words, bulk.by, bulk.agent, micros(bulk.at)])?;
    if started == 0 {
        return Ok(false);
    }
    for (place, copy) in bulk.copies.iter().enumerate() {
        c.prepare_cached("INSERT INTO bulk_copies (bulk, delivery, place) VALUES (?, ?, ?)")?.execute(params![
            id,
            copy.to_string(),
            stored_count(place as u64)
        ])?;
    }
    end(c, &id, bulk.at)?;
    audit::append(c, audit)?;
    Ok(true)
}

fn step(
    c: &Keyed<'_>,
    id: BulkId,
    delivery: DeliveryId,
    to: &Whereto,
    at: Timestamp,
    audit: &[AuditRow],
) -> Result<BulkStep, Failure> {
    let (bulk, copy) = (id.to_string(), delivery.to_string());
    let pending = "b.id = ? AND b.state = 'running'
        AND EXISTS (SELECT 1 FROM bulk_copies c WHERE c.bulk = b.id AND c.delivery = ? AND c.outcome IS NULL)";
    let Some(found) = bulks(c, pending, params![bulk, copy])?.into_iter().next() else {
        return Ok(BulkStep::Overtaken);
    };
    let again = Requeue { delivery, how: found.how, to, by: &found.by, why: &found.reason, at, bulk: Some(id) };
    let resent = requeue(c, &again, audit)?;
    let [yes, no] = OUTCOMES;
    c.prepare_cached("UPDATE bulk_copies SET outcome = ? WHERE bulk = ? AND delivery = ?")?.execute(params![
        if resent { yes } else { no },
        bulk,
        copy
    ])?;
    end(c, &bulk, at)?;
    Ok(if resent { BulkStep::Resent } else { BulkStep::PassedOver })
}

/// Ends a decision of which nothing is left to do.
fn end(c: &Keyed<'_>, bulk: &str, at: Timestamp) -> Result<(), Failure> {
    c.prepare_cached(
        "UPDATE bulks SET state = 'finished', ended = ?1 WHERE id = ?2 AND state = 'running'
             AND NOT EXISTS (SELECT 1 FROM bulk_copies WHERE bulk = ?2 AND outcome IS NULL)",
    )?
    .execute(params![micros(at), bulk])?;
    Ok(())
}
