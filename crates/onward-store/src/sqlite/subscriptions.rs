//! Who wants to be called when a Task changes.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::StoreError;
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription, SubscriptionStore};
use onward_core::{DeliveryId, OdsCode, TransferId};
use rusqlite::{Params, params};
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{SqliteStore, audit};
use crate::columns::Columns;
use crate::query::subscriptions as query;
use crate::rows::subscriptions as rows;
use crate::stored::{micros, micros_opt, stored_count};

#[async_trait]
impl SubscriptionStore for SqliteStore {
    async fn add_subscription(
        &self,
        subscription: Subscription,
        most: u32,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        self.write(move |c| add(c, &subscription, most, &audit)).await
    }

    async fn subscription(&self, id: Uuid) -> Result<Option<Subscription>, StoreError> {
        self.read(move |c| Ok(found(c, &query::one(), [id.to_string()])?.pop())).await
    }

    async fn subscriptions(&self, client: Option<&str>) -> Result<Vec<Subscription>, StoreError> {
        let client = client.map(str::to_owned);
        self.read(move |c| match client {
            Some(client) => found(c, &query::of_client(), [client]),
            None => found(c, &query::all(), []),
        })
        .await
    }

    async fn live_subscriptions(&self) -> Result<Vec<Subscription>, StoreError> {
        self.read(|c| found(c, &query::live(), [])).await
    }

    async fn change_subscription(&self, subscription: Subscription, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| change(c, &subscription, &audit)).await
    }

    async fn remove_subscription(&self, id: Uuid, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| {
            let removed = c.prepare_cached(query::REMOVE)?.execute([id.to_string()])?;
            audited(c, removed, &audit)
        })
        .await
    }

    async fn take_call(
        &self,
        id: Uuid,
        told: u64,
        now: Timestamp,
        again: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        self.write(move |c| {
            c.prepare_cached(query::TAKE)?
                .query_and_then(params![micros(again), id.to_string(), stored_count(told), micros(now)], |row| {
                    Ok(Columns::of("subscriptions", row).count("taken")?)
                })?
                .next()
                .transpose()
        })
        .await
    }

    async fn end_call(&self, end: CallEnd) -> Result<bool, StoreError> {
        self.write(move |c| finish(c, &end)).await
    }

    async fn pass_over(&self, id: Uuid, told: u64, until: u64) -> Result<bool, StoreError> {
        self.write(move |c| {
            let params = params![stored_count(until), id.to_string(), stored_count(told)];
            Ok(c.prepare_cached(query::PASS)?.execute(params)? == 1)
        })
        .await
    }

    async fn changed_tasks(
        &self,
        organisation: &OdsCode,
        from: u64,
        until: u64,
    ) -> Result<Vec<(TransferId, Option<DeliveryId>)>, StoreError> {
        let organisation = organisation.clone();
        self.read(move |c| {
            c.prepare_cached(query::CHANGED_TASKS)?
                .query_and_then(params![stored_count(from), stored_count(until), organisation.as_str()], |row| {
                    Ok(rows::changed(&Columns::of("audit_log", row))?)
                })?
                .collect()
        })
        .await
    }
}

fn found(c: &Keyed<'_>, sql: &str, params: impl Params) -> Result<Vec<Subscription>, Failure> {
    c.prepare_cached(sql)?
        .query_and_then(params, |row| Ok(rows::subscription(&Columns::of("subscriptions", row))?))?
        .collect()
}

/// Audits what changed one row; `false` when there was none.
fn audited(c: &Keyed<'_>, changed: usize, rows: &[AuditRow]) -> Result<bool, Failure> {
    if changed == 1 {
        audit::append(c, rows)?;
    }
    Ok(changed == 1)
}

fn add(c: &Keyed<'_>, new: &Subscription, most: u32, audit: &[AuditRow]) -> Result<bool, Failure> {
    let added = c.prepare_cached(query::ADD)?.execute(params![
        new.id.to_string(),
        new.client_id,
        new.criteria,
        new.endpoint,
        micros_opt(new.ends),
        new.status.as_str(),
        stored_count(new.version),
        micros(new.created),
        micros(new.changed),
        stored_count(new.told),
        micros_opt(new.next_call),
        most,
    ])?;
    audited(c, added, audit)
}

fn change(c: &Keyed<'_>, new: &Subscription, audit: &[AuditRow]) -> Result<bool, Failure> {
    let changed = c.prepare_cached(query::CHANGE)?.execute(params![
        new.criteria,
        new.endpoint,
        micros_opt(new.ends),
        new.status.as_str(),
        new.error,
        micros(new.changed),
        stored_count(new.told),
        micros_opt(new.next_call),
        new.id.to_string(),
        stored_count(new.version),
    ])?;
    audited(c, changed, audit)
}

fn finish(c: &Keyed<'_>, end: &CallEnd) -> Result<bool, Failure> {
    let (at, id, token) = (micros(end.at), end.id.to_string(), stored_count(end.token));
    let ended = match &end.outcome {
        CallOutcome::Told(told) => {
            c.prepare_cached(query::TOLD)?.execute(params![at, stored_count(*told), id, token])?
        }
        CallOutcome::Again { at: next, reason } => {
            c.prepare_cached(query::AGAIN)?.execute(params![at, reason, micros(*next), id, token])?
        }
        CallOutcome::Failed(reason) => c.prepare_cached(query::FAILED)?.execute(params![at, reason, id, token])?,
    };
    audited(c, ended, &end.audit)
}
