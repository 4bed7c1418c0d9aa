//! What needs a person: found by what the rows say, raised once, cleared when it is over; and who is told.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::TransferId;
use onward_core::store::StoreError;
use onward_core::store::alerts::{
    Alert, AlertKind, AlertStore, Concern, Deadlines, DueNotification, NewAlert, NewNotification, NotificationEnd,
};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::dispatch::lease_now;
use super::failure::Failure;
use super::work::Work;
use super::{DIALECT, PostgresStore, session};
use crate::columns::Columns;
use crate::query::alerts as query;
use crate::rows::alerts as rows;
use crate::stored::micros;

#[async_trait]
impl AlertStore for PostgresStore {
    async fn concerns(&self, now: Timestamp, deadlines: Deadlines) -> Result<Vec<Concern>, StoreError> {
        self.read((now, deadlines), |c, (now, deadlines)| concerns(c, *now, deadlines).boxed()).await
    }

    async fn raise_alert(&self, alert: NewAlert) -> Result<bool, StoreError> {
        self.writers.run(alert, |work, alert| raise(work, alert).boxed()).await
    }

    async fn settle_alerts(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.writers.run(now, |work, now| settle(work, *now).boxed()).await
    }

    async fn clear_alert(&self, kind: AlertKind, subject: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        let asked = (kind, subject, at);
        self.writers.run(asked, |work, (kind, subject, at)| clear(work, *kind, *subject, *at).boxed()).await
    }

    async fn take_notifications(&self, now: Timestamp, again: Timestamp) -> Result<Vec<DueNotification>, StoreError> {
        self.writers.run((now, again), |work, (now, again)| take(work, *now, *again).boxed()).await
    }

    async fn end_notification(&self, end: NotificationEnd) -> Result<bool, StoreError> {
        self.writers.run(end, |work, end| finish(work, end).boxed()).await
    }

    async fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.read((), |c, ()| open(c).boxed()).await
    }

    async fn alert_counts(&self) -> Result<Vec<(AlertKind, u64)>, StoreError> {
        self.read((), |c, ()| counts(c).boxed()).await
    }
}

async fn concerns(c: &Client, now: Timestamp, deadlines: &Deadlines) -> Result<Vec<Concern>, Failure> {
    let bounds = query::bounds(now, deadlines);
    let params: Vec<&(dyn ToSql + Sync)> = bounds.iter().map(|bound| bound as _).collect();
    let mut found = session::all(c, &query::concerns(&DIALECT), &params).await?;
    found.extend(session::all(c, query::GIVEN_UP, &[&query::history(now)]).await?);
    Ok(found.iter().filter_map(|row| rows::readable(rows::concern(&Columns::of("alerts", row)))).collect())
}

async fn raise<'j>(work: &mut Work<'j>, alert: &'j NewAlert) -> Result<bool, Failure> {
    let concern = &alert.concern;
    if rows::stands(concern.kind) {
        // Two nodes wait for each other: the second finds what the first has raised.
        let lock = "SELECT id FROM transfers WHERE id = $1 FOR UPDATE";
        session::first(work.client(), lock, &[&concern.transfer.map(|id| id.0)]).await?;
        let about = (concern.kind.as_str(), concern.subject(), i64::from(concern.step));
        if session::first(work.client(), &query::is_open(), &[&about.0, &about.1, &about.2]).await?.is_some() {
            return Ok(false);
        }
    }
    let raised = session::execute(
        work.client(),
        "INSERT INTO alerts (id, kind, subject, step, transfer, sender, delivery, recipient, hold, subscription, work, since, raised, cleared)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
        &[
            &alert.id,
            &concern.kind.as_str(),
            &concern.subject(),
            &i64::from(concern.step),
            &concern.transfer.map(|id| id.0),
            &concern.sender.as_str(),
            &concern.delivery.map(|id| id.0),
            &concern.recipient.as_ref().map(|ods| ods.as_str()),
            &concern.hold.map(|id| id.0),
            &concern.subscription.map(|id| id.to_string()),
            &concern.work,
            &micros(concern.since),
            &micros(alert.at),
            &rows::cleared_at_first(concern.kind),
        ],
    )
    .await?;
    if raised == 0 {
        return Ok(false);
    }
    queue(work, alert.id, &alert.notifications, alert.at).await?;
    work.audit(&alert.audit);
    Ok(true)
}

/// Due at once, by the clock by which they are taken.
async fn queue(work: &Work<'_>, alert: Uuid, notifications: &[NewNotification], at: Timestamp) -> Result<(), Failure> {
    if notifications.is_empty() {
        return Ok(());
    }
    let due = lease_now(work.client(), work.shared().lease_clock, at).await?;
    for new in notifications {
        session::execute(
            work.client(),
            "INSERT INTO notifications (id, alert, contacted, channel, address, state, attempts, next_attempt)
             VALUES ($1, $2, $3, $4, $5, 'queued', 0, $6)",
            &[&new.id, &alert, &new.contacted.as_str(), &new.channel.as_str(), &new.address, &due],
        )
        .await?;
    }
    Ok(())
}

async fn settle(work: &mut Work<'_>, now: Timestamp) -> Result<u64, Failure> {
    let at = micros(now);
    let standing = session::execute(work.client(), query::SETTLE_STANDING, &[&at]).await?;
    let due = lease_now(work.client(), work.shared().lease_clock, now).await?;
    session::execute(work.client(), query::TOLD_ALL_THE_SAME, &[&due]).await?;
    let cleared = standing + session::execute(work.client(), &query::settle(), &[&at]).await?;
    if cleared > 0 {
        session::execute(work.client(), query::DROP, &[]).await?;
    }
    Ok(cleared)
}

async fn clear(work: &mut Work<'_>, kind: AlertKind, subject: Uuid, at: Timestamp) -> Result<bool, Failure> {
    let mut cleared = 0;
    for clear in [query::CLEAR, query::CLEAR_STANDING] {
        cleared += session::execute(work.client(), clear, &[&micros(at), &kind.as_str(), &subject]).await?;
    }
    if cleared > 0 {
        session::execute(work.client(), query::DROP, &[]).await?;
    }
    Ok(cleared > 0)
}

/// By the database's clock, as copies are leased.
async fn take(work: &mut Work<'_>, now: Timestamp, again: Timestamp) -> Result<Vec<DueNotification>, Failure> {
    let lease_now = lease_now(work.client(), work.shared().lease_clock, now).await?;
    let again = lease_now + micros(again) - micros(now);
    let sql = format!(
        "WITH due AS (SELECT id FROM notifications WHERE state = 'queued' AND next_attempt <= $1
             ORDER BY next_attempt, id LIMIT 200 FOR UPDATE SKIP LOCKED)
         UPDATE notifications n SET attempts = n.attempts + 1, next_attempt = $2
         FROM due, alerts a WHERE n.id = due.id AND a.id = n.alert
         RETURNING n.id, n.contacted, n.channel, n.address, n.attempts AS attempt, {}",
        query::CONCERN
    );
    let found = session::all(work.client(), &sql, &[&lease_now, &again]).await?;
    Ok(found.iter().filter_map(|row| rows::readable(rows::due(&Columns::of("notifications", row)))).collect())
}

async fn finish<'j>(work: &mut Work<'j>, end: &'j NotificationEnd) -> Result<bool, Failure> {
    let (state, again, instead) = rows::left_by(&end.outcome);
    let again = match again {
        Some(again) => {
            Some(lease_now(work.client(), work.shared().lease_clock, end.at).await? + again - micros(end.at))
        }
        None => None,
    };
    let ended = session::first(
        work.client(),
        "UPDATE notifications SET state = $1, next_attempt = $2 WHERE id = $3 AND attempts = $4 AND state = 'queued'
         RETURNING alert",
        &[&state.as_str(), &again, &end.id, &i64::from(end.attempt)],
    )
    .await?;
    let Some(row) = ended else { return Ok(false) };
    let alert = Columns::of("notifications", &row).parsed("alert")?;
    queue(work, alert, instead, end.at).await?;
    work.audit(&end.audit);
    Ok(true)
}

async fn open(c: &Client) -> Result<Vec<Alert>, Failure> {
    let mut open = rows::Gathered::default();
    for row in session::all(c, &query::open(), &[]).await? {
        open.add(&Columns::of("alerts", &row))?;
    }
    Ok(open.done())
}

/// Every alert of a transfer.
pub(super) async fn about(c: &Client, transfer: TransferId) -> Result<Vec<Alert>, Failure> {
    let mut gathered = rows::Gathered::default();
    for row in session::all(c, &query::of_transfer(), &[&transfer.0]).await? {
        gathered.add(&Columns::of("alerts", &row))?;
    }
    Ok(gathered.done())
}

async fn counts(c: &Client) -> Result<Vec<(AlertKind, u64)>, Failure> {
    let found = session::all(c, &query::counts(), &[]).await?;
    found.iter().map(|row| Ok(rows::count(&Columns::of("alerts", row))?)).collect()
}
