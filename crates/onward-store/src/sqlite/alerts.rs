//! What needs a person: found by what the rows say, raised once, cleared when it is over; and who is told.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::TransferId;
use onward_core::store::StoreError;
use onward_core::store::alerts::{
    Alert, AlertKind, AlertStore, Concern, Deadlines, DueNotification, NewAlert, NewNotification, NotificationEnd,
};
use rusqlite::{params, params_from_iter};
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{DIALECT, SqliteStore, audit};
use crate::columns::Columns;
use crate::query::alerts as query;
use crate::rows::alerts as rows;
use crate::stored::micros;

#[async_trait]
impl AlertStore for SqliteStore {
    async fn concerns(&self, now: Timestamp, deadlines: Deadlines) -> Result<Vec<Concern>, StoreError> {
        self.read(move |c| {
            let mut found = concerned(c, &query::concerns(&DIALECT), &query::bounds(now, &deadlines))?;
            found.extend(concerned(c, query::GIVEN_UP, &[query::history(now)])?);
            Ok(found)
        })
        .await
    }

    async fn raise_alert(&self, alert: NewAlert) -> Result<bool, StoreError> {
        self.write(move |c| raise(c, &alert)).await
    }

    async fn settle_alerts(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |c| {
            let at = [micros(now)];
            let standing = c.prepare_cached(query::SETTLE_STANDING)?.execute(at)?;
            c.prepare_cached(query::TOLD_ALL_THE_SAME)?.execute(at)?;
            let cleared = standing + c.prepare_cached(&query::settle())?.execute(at)?;
            if cleared > 0 {
                c.prepare_cached(query::DROP)?.execute([])?;
            }
            Ok(u64::try_from(cleared).unwrap_or(u64::MAX))
        })
        .await
    }

    async fn clear_alert(&self, kind: AlertKind, subject: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        self.write(move |c| {
            let (at, subject) = (micros(at), subject.to_string());
            let clear = |sql: &str| c.prepare_cached(sql)?.execute(params![at, kind.as_str(), subject]);
            if clear(query::CLEAR)? + clear(query::CLEAR_STANDING)? == 0 {
                return Ok(false);
            }
            c.prepare_cached(query::DROP)?.execute([])?;
            Ok(true)
        })
        .await
    }

    async fn take_notifications(&self, now: Timestamp, again: Timestamp) -> Result<Vec<DueNotification>, StoreError> {
        self.write(move |c| take(c, now, again)).await
    }

    async fn end_notification(&self, end: NotificationEnd) -> Result<bool, StoreError> {
        self.write(move |c| finish(c, &end)).await
    }

    async fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.read(|c| {
            let mut open = rows::Gathered::default();
            let mut statement = c.prepare_cached(&query::open())?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                open.add(&Columns::of("alerts", row))?;
            }
            Ok(open.done())
        })
        .await
    }

    async fn alert_counts(&self) -> Result<Vec<(AlertKind, u64)>, StoreError> {
        self.read(|c| {
            c.prepare_cached(&query::counts())?
                .query_and_then([], |row| Ok(rows::count(&Columns::of("alerts", row))?))?
                .collect()
        })
        .await
    }
}

fn concerned(c: &Keyed<'_>, sql: &str, bounds: &[i64]) -> Result<Vec<Concern>, Failure> {
    let mut statement = c.prepare_cached(sql)?;
    let mut found = statement.query(params_from_iter(bounds))?;
    let mut concerns = Vec::new();
    while let Some(row) = found.next()? {
        if let Some(concern) = rows::readable(rows::concern(&Columns::of("alerts", row)))
            && !is_told_by_its_transfer(c, &concern)?
        {
            concerns.push(concern);
        }
    }
    Ok(concerns)
}

/// Whether this is of a copy whose identifier cannot be read, and is told already: the statement compares what is stored there.
fn is_told_by_its_transfer(c: &Keyed<'_>, concern: &Concern) -> Result<bool, Failure> {
    if concern.kind != AlertKind::DeliveryFailed || concern.delivery.is_some() {
        return Ok(false);
    }
    let told = c
        .prepare_cached("SELECT 1 FROM alerts WHERE kind = ? AND subject = ? AND cleared IS NULL")?
        .exists(params![concern.kind.as_str(), concern.subject().to_string()])?;
    Ok(told)
}

fn raise(c: &Keyed<'_>, alert: &NewAlert) -> Result<bool, Failure> {
    let concern = &alert.concern;
    if rows::stands(concern.kind)
        && c.prepare_cached(&query::is_open())?.exists(params![
            concern.kind.as_str(),
            concern.subject().to_string(),
            concern.step
        ])?
    {
        return Ok(false);
    }
    let raised = c
        .prepare_cached(
            "INSERT INTO alerts (id, kind, subject, step, transfer, sender, delivery, recipient, hold, subscription, work, since, raised,
                 cleared)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            alert.id.to_string(),
            concern.kind.as_str(),
            concern.subject().to_string(),
            concern.step,
            concern.transfer.map(|id| id.to_string()),
            concern.sender.as_str(),
            concern.delivery.map(|id| id.to_string()),
            concern.recipient.as_ref().map(|ods| ods.as_str()),
            concern.hold.map(|id| id.to_string()),
            concern.subscription.map(|id| id.to_string()),
            concern.work,
            micros(concern.since),
            micros(alert.at),
            rows::cleared_at_first(concern.kind),
        ])?;
    if raised == 0 {
        return Ok(false);
    }
    queue(c, &alert.id.to_string(), &alert.notifications, alert.at)?;
    audit::append(c, &alert.audit)?;
    Ok(true)
}

/// Every alert of a transfer.
pub(super) fn about(c: &Keyed<'_>, transfer: TransferId) -> Result<Vec<Alert>, Failure> {
    let mut gathered = rows::Gathered::default();
    let mut statement = c.prepare_cached(&query::of_transfer())?;
    let mut found = statement.query([transfer.to_string()])?;
    while let Some(row) = found.next()? {
        gathered.add(&Columns::of("alerts", row))?;
    }
    Ok(gathered.done())
}

fn queue(c: &Keyed<'_>, alert: &str, notifications: &[NewNotification], at: Timestamp) -> Result<(), Failure> {
    let mut insert = c.prepare_cached(
        "INSERT INTO notifications (id, alert, contacted, channel, address, state, attempts, next_attempt)
         VALUES (?, ?, ?, ?, ?, 'queued', 0, ?)",
    )?;
    for new in notifications {
        let (contacted, channel) = (new.contacted.as_str(), new.channel.as_str());
        insert.execute(params![new.id.to_string(), alert, contacted, channel, new.address, micros(at)])?;
    }
    Ok(())
}

fn take(c: &Keyed<'_>, now: Timestamp, again: Timestamp) -> Result<Vec<DueNotification>, Failure> {
    let sql = format!(
        "SELECT n.id, n.contacted, n.channel, n.address, n.attempts + 1 AS attempt, {}
         FROM notifications n JOIN alerts a ON a.id = n.alert
         WHERE n.state = 'queued' AND n.next_attempt <= ? ORDER BY n.next_attempt, n.id LIMIT 200",
        query::CONCERN
    );
    let mut found = Vec::new();
    let mut statement = c.prepare_cached(&sql)?;
    let mut due = statement.query([micros(now)])?;
    while let Some(row) = due.next()? {
        found.extend(rows::readable(rows::due(&Columns::of("notifications", row))));
    }
    let mut taken =
        c.prepare_cached("UPDATE notifications SET attempts = attempts + 1, next_attempt = ? WHERE id = ?")?;
    for due in &found {
        taken.execute(params![micros(again), due.notification.id.to_string()])?;
    }
    Ok(found)
}

fn finish(c: &Keyed<'_>, end: &NotificationEnd) -> Result<bool, Failure> {
    let (state, again, instead) = rows::left_by(&end.outcome);
    let alert: Option<String> = c
        .prepare_cached(
            "UPDATE notifications SET state = ?, next_attempt = ? WHERE id = ? AND attempts = ? AND state = 'queued'
             RETURNING alert",
        )?
        .query_and_then(params![state.as_str(), again, end.id.to_string(), end.attempt], |row| row.get(0))?
        .next()
        .transpose()?;
    let Some(alert) = alert else { return Ok(false) };
    queue(c, &alert, instead, end.at)?;
    audit::append(c, &end.audit)?;
    Ok(true)
}
