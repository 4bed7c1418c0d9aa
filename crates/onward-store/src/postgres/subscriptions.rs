//! Who wants to be called when a Task changes.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::StoreError;
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription, SubscriptionStore};
use onward_core::{DeliveryId, OdsCode, TransferId};
use uuid::Uuid;

use super::PostgresStore;
use super::dispatch::lease_now;
use super::failure::Failure;
use super::session::{self, Params};
use super::work::Work;
use crate::columns::Columns;
use crate::query::subscriptions as query;
use crate::rows::subscriptions as rows;
use crate::stored::{micros, micros_opt, stored_count};

/// Whose call is taken: identifier, what was told, now, and when it is due again.
type Taking = (String, i64, Timestamp, Timestamp);
/// Whose entries are passed over: identifier, what was told, and until where.
type Passing = (String, i64, i64);
/// Whose changes: organisation, from and until.
type Span = (String, i64, i64);

#[async_trait]
impl SubscriptionStore for PostgresStore {
    async fn add_subscription(
        &self,
        subscription: Subscription,
        most: u32,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        self.writers
            .run((subscription, most, audit), |work, (new, most, rows)| add(work, new, *most, rows).boxed())
            .await
    }

    async fn subscription(&self, id: Uuid) -> Result<Option<Subscription>, StoreError> {
        self.read(id.to_string(), |c, id| one(c, id).boxed()).await
    }

    async fn subscriptions(&self, client: Option<&str>) -> Result<Vec<Subscription>, StoreError> {
        self.read(client.map(str::to_owned), |c, client| listed(c, client.as_deref()).boxed()).await
    }

    async fn live_subscriptions(&self) -> Result<Vec<Subscription>, StoreError> {
        self.read((), |c, ()| live(c).boxed()).await
    }

    async fn change_subscription(&self, subscription: Subscription, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((subscription, audit), |work, (new, rows)| change(work, new, rows).boxed()).await
    }

    async fn remove_subscription(&self, id: Uuid, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((id.to_string(), audit), |work, (id, rows)| remove(work, id, rows).boxed()).await
    }

    async fn take_call(
        &self,
        id: Uuid,
        told: u64,
        now: Timestamp,
        again: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let taking: Taking = (id.to_string(), stored_count(told), now, again);
        self.writers.run(taking, |work, taking| take(work, taking).boxed()).await
    }

    async fn end_call(&self, end: CallEnd) -> Result<bool, StoreError> {
        self.writers.run(end, |work, end| finish(work, end).boxed()).await
    }

    async fn pass_over(&self, id: Uuid, told: u64, until: u64) -> Result<bool, StoreError> {
        let passing: Passing = (id.to_string(), stored_count(told), stored_count(until));
        self.writers.run(passing, |work, passing| pass(work, passing).boxed()).await
    }

    async fn changed_tasks(
        &self,
        organisation: &OdsCode,
        from: u64,
        until: u64,
    ) -> Result<Vec<(TransferId, Option<DeliveryId>)>, StoreError> {
        let span: Span = (organisation.to_string(), stored_count(from), stored_count(until));
        self.read(span, |c, span| changed(c, span).boxed()).await
    }
}

async fn found(c: &Client, sql: &str, params: Params<'_>) -> Result<Vec<Subscription>, Failure> {
    let found = session::all(c, sql, params).await?;
    found.iter().map(|row| Ok(rows::subscription(&Columns::of("subscriptions", row))?)).collect()
}

async fn one(c: &Client, id: &str) -> Result<Option<Subscription>, Failure> {
    Ok(found(c, &query::one(), &[&id]).await?.pop())
}

async fn listed(c: &Client, client: Option<&str>) -> Result<Vec<Subscription>, Failure> {
    match client {
        Some(client) => found(c, &query::of_client(), &[&client]).await,
        None => found(c, &query::all(), &[]).await,
    }
}

async fn live(c: &Client) -> Result<Vec<Subscription>, Failure> {
    found(c, &query::live(), &[]).await
}

/// Does it and audits it; `false` when there was no such row.
async fn audited<'j>(
    work: &mut Work<'j>,
    sql: &str,
    params: Params<'_>,
    rows: &'j [AuditRow],
) -> Result<bool, Failure> {
    let changed = session::execute(work.client(), sql, params).await? == 1;
    if changed {
        work.audit(rows);
    }
    Ok(changed)
}

/// When the next call is due by the database's clock, as it was said by the clock that says when it was changed.
async fn next_call(work: &Work<'_>, new: &Subscription) -> Result<Option<i64>, Failure> {
    let Some(next) = new.next_call else { return Ok(None) };
    let now = lease_now(work.client(), work.shared().lease_clock, new.changed).await?;
    Ok(Some(now + micros(next) - micros(new.changed)))
}

async fn add<'j>(work: &mut Work<'j>, new: &'j Subscription, most: u32, rows: &'j [AuditRow]) -> Result<bool, Failure> {
    let next_call = next_call(work, new).await?;
    let params: Params<'_> = &[
        &new.id.to_string(),
        &new.client_id,
        &new.criteria,
        &new.endpoint,
        &micros_opt(new.ends),
        &new.status.as_str(),
        &stored_count(new.version),
        &micros(new.created),
        &micros(new.changed),
        &stored_count(new.told),
        &next_call,
        &i64::from(most),
    ];
    audited(work, query::ADD, params, rows).await
}

async fn change<'j>(work: &mut Work<'j>, new: &'j Subscription, rows: &'j [AuditRow]) -> Result<bool, Failure> {
    let next_call = next_call(work, new).await?;
    let params: Params<'_> = &[
        &new.criteria,
        &new.endpoint,
        &micros_opt(new.ends),
        &new.status.as_str(),
        &new.error,
        &micros(new.changed),
        &stored_count(new.told),
        &next_call,
        &new.id.to_string(),
        &stored_count(new.version),
    ];
    audited(work, query::CHANGE, params, rows).await
}

async fn remove<'j>(work: &mut Work<'j>, id: &'j String, rows: &'j [AuditRow]) -> Result<bool, Failure> {
    audited(work, query::REMOVE, &[id], rows).await
}

async fn take<'j>(work: &mut Work<'j>, (id, told, now, again): &'j Taking) -> Result<Option<u64>, Failure> {
    // By the database's clock, as copies are leased.
    let lease_now = lease_now(work.client(), work.shared().lease_clock, *now).await?;
    let again = lease_now + micros(*again) - micros(*now);
    let row = session::first(work.client(), query::TAKE, &[&again, id, told, &lease_now]).await?;
    row.map(|row| Ok(Columns::of("subscriptions", &row).count("taken")?)).transpose()
}

async fn pass<'j>(work: &mut Work<'j>, (id, told, until): &'j Passing) -> Result<bool, Failure> {
    Ok(session::execute(work.client(), query::PASS, &[until, id, told]).await? == 1)
}

async fn finish<'j>(work: &mut Work<'j>, end: &'j CallEnd) -> Result<bool, Failure> {
    let (at, id, token) = (micros(end.at), end.id.to_string(), stored_count(end.token));
    match &end.outcome {
        CallOutcome::Told(told) => {
            audited(work, query::TOLD, &[&at, &stored_count(*told), &id, &token], &end.audit).await
        }
        CallOutcome::Again { at: next, reason } => {
            let next = lease_now(work.client(), work.shared().lease_clock, end.at).await? + micros(*next) - at;
            audited(work, query::AGAIN, &[&at, reason, &next, &id, &token], &end.audit).await
        }
        CallOutcome::Failed(reason) => audited(work, query::FAILED, &[&at, reason, &id, &token], &end.audit).await,
    }
}

async fn changed(
    c: &Client,
    (organisation, from, until): &Span,
) -> Result<Vec<(TransferId, Option<DeliveryId>)>, Failure> {
    let found = session::all(c, query::CHANGED_TASKS, &[from, until, organisation]).await?;
    found.iter().map(|row| Ok(rows::changed(&Columns::of("audit_log", row))?)).collect()
}
