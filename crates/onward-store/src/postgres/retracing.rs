//! PDS was asked again: what follows for the copy because of which it was.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::TransferId;
use onward_core::state::DeliveryState;
use onward_core::store::{DeliveryRecord, Retrace, RetraceStore, Retraced, StoreError};

use super::failure::Failure;
use super::keyed::Keyed;
use super::work::Work;
use super::{PostgresStore, deliveries, lifecycle, session, transfers};
use crate::columns::Columns;
use crate::query::retracing as query;
use crate::rows;
use crate::stored::{micros, stored_count};

#[async_trait]
impl RetraceStore for PostgresStore {
    async fn to_retrace(&self, since: Timestamp, limit: u32) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.read((since, limit), |c, (since, limit)| waiting(c, *since, *limit).boxed()).await
    }

    async fn retrace(&self, retrace: Retrace) -> Result<bool, StoreError> {
        self.writers.run(retrace, |work, retrace| note(work, retrace).boxed()).await
    }
}

async fn waiting(c: &Keyed, since: Timestamp, limit: u32) -> Result<Vec<DeliveryRecord>, Failure> {
    let found = session::all(c, &query::waiting(), &[&micros(since), &i64::from(limit)]).await?;
    c.opened(&found, deliveries::record).await
}

async fn note<'j>(work: &mut Work<'j>, retrace: &'j Retrace) -> Result<bool, Failure> {
    work.needs_every_copy()?;
    let (id, version, at) = (retrace.delivery, stored_count(retrace.expected_version), micros(retrace.at));
    // Whoever moves the copy meanwhile is waited for, in the order of locks.
    let of = "SELECT transfer FROM deliveries WHERE id = $1";
    let Some(row) = session::first(work.client(), of, &[&id.0]).await? else { return Ok(false) };
    let transfer: TransferId = Columns::of("deliveries", &row).parsed("transfer")?;
    lifecycle::lock(work.client(), transfer).await?;
    let unmoved = "SELECT id FROM deliveries WHERE id = $1 AND version = $2 FOR UPDATE";
    if session::first(work.client(), unmoved, &[&id.0, &version]).await?.is_none()
        || session::first(work.client(), &query::note(), &[&at, &id.0, &version]).await?.is_none()
    {
        return Ok(false);
    }
    match &retrace.outcome {
        Retraced::Stays { reason } => {
            let changed = session::first(work.client(), query::STAYS, &[&at, reason, &id.0]).await?;
            let changed = changed.ok_or_else(|| Failure::corrupt("deliveries", "id"))?;
            let state: DeliveryState = Columns::of("deliveries", &changed).parsed("state")?;
            if rows::is_worded(state) {
                deliveries::put_words(work.client(), "words", id, reason).await?;
            }
            deliveries::keep_versions(work.client(), &[id.0], retrace.at).await?;
        }
        Retraced::Sent { endings, copy } => {
            lifecycle::end_copies(work, endings, retrace.at).await?;
            let origin = transfers::origin(work.client(), transfer, retrace.at).await?;
            work.queue_together(&origin, std::slice::from_ref(copy)).await?;
        }
    }
    work.audit(&retrace.audit);
    Ok(true)
}
