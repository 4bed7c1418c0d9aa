//! What goes when its time is over: rows are removed and their pages zeroed, keys are destroyed.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::StoreError;
use onward_core::store::retention::{
    BodyClass, Due, DuePerson, DueRows, Purged, RetentionPlan, RetentionStore, RowClass, Schedule,
};
use rusqlite::params;
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{SqliteStore, audit, erasures};
use crate::columns::Columns;
use crate::retention::{self, PEOPLE};
use crate::stored::{json, micros, stored_count};

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn retention_due(&self, schedule: &Schedule) -> Result<Due, StoreError> {
        let schedule = schedule.clone();
        self.read(move |c| due(c, &schedule)).await
    }

    async fn put_retention_plan(&self, plan: RetentionPlan, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.write(move |c| {
            c.prepare_cached("INSERT INTO retention_plans (id, made, due) VALUES (?, ?, ?)")?.execute(params![
                plan.id.to_string(),
                micros(plan.made),
                plan.due
            ])?;
            audit::append(c, &audit)
        })
        .await
    }

    async fn retention_plan(&self, id: Uuid) -> Result<Option<RetentionPlan>, StoreError> {
        self.read(move |c| {
            c.prepare_cached("SELECT id, made, due, certificate FROM retention_plans WHERE id = ?")?
                .query_and_then([id.to_string()], |row| Ok(retention::plan(&Columns::of("retention_plans", row))?))?
                .next()
                .transpose()
        })
        .await
    }

    async fn purge_month(
        &self,
        class: BodyClass,
        month: i64,
        after: u64,
        audit: Vec<AuditRow>,
    ) -> Result<Purged, StoreError> {
        let purged = self.write(move |c| purge_month(c, class, month, after, &audit)).await;
        // Also where it stops midway: what went before is gone.
        if !purged.as_ref().is_ok_and(|purged| purged.more.is_some()) {
            self.cut_log().await;
        }
        purged
    }

    async fn purge_rows(&self, class: RowClass, before: Timestamp, audit: Vec<AuditRow>) -> Result<Purged, StoreError> {
        let purged = self.write(move |c| purge_rows(c, class, before, &audit)).await?;
        self.cut_log().await;
        Ok(purged)
    }

    async fn purge_people(
        &self,
        people: Vec<DuePerson>,
        before: Timestamp,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError> {
        self.write(move |c| purge_people(c, &people, before, at, &audit)).await?;
        self.cut_log().await;
        Ok(())
    }

    async fn finish_retention_plan(
        &self,
        id: Uuid,
        certificate: &str,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let certificate = certificate.to_owned();
        self.write(move |c| {
            let finished = c
                .prepare_cached("UPDATE retention_plans SET certificate = ? WHERE id = ? AND certificate IS NULL")?
                .execute(params![certificate, id.to_string()])?;
            if finished == 1 {
                audit::append(c, &audit)?;
            }
            Ok(finished == 1)
        })
        .await
    }

    async fn oldest_bodies(&self) -> Result<Vec<(BodyClass, i64)>, StoreError> {
        self.read(|c| {
            let mut found = Vec::new();
            for class in BodyClass::ALL {
                let sql = format!("SELECT min(month) FROM {}", retention::table(*class));
                let month: Option<i64> = c.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
                found.extend(month.map(|month| (*class, month)));
            }
            Ok(found)
        })
        .await
    }
}

fn due(c: &Keyed<'_>, schedule: &Schedule) -> Result<Due, Failure> {
    let mut due = Due::default();
    let cuts = [(BodyClass::Messages, schedule.messages_before), (BodyClass::Renditions, schedule.renditions_before)];
    for (class, before) in cuts {
        let Some(before) = before else { continue };
        let mut months = c.prepare_cached(&retention::months(class))?;
        for month in months.query_and_then([before], |row| {
            Ok::<_, Failure>(retention::due_month(class, &Columns::of("bodies", row))?)
        })? {
            due.months.push(month?);
        }
    }
    if let Some(before) = schedule.people_before {
        let held = people(c, before, &mut due.people)?;
        due.people_kept = stored_count(held.len() as u64).unsigned_abs();
    }
    for (class, before) in &schedule.rows_before {
        due.rows.push(due_rows(c, *class, *before)?);
    }
    Ok(due)
}

fn due_rows(c: &Keyed<'_>, class: RowClass, before: Timestamp) -> Result<DueRows, Failure> {
    let mut due = DueRows { class, due: 0, kept: 0 };
    for sql in retention::counted_rows(class) {
        let mut counted = c.prepare_cached(&sql)?;
        let mut rows = counted.query([micros(before)])?;
        while let Some(row) = rows.next()? {
            retention::add_rows(&mut due, &Columns::of("rows", row))?;
        }
    }
    Ok(due)
}

fn purge_rows(c: &Keyed<'_>, class: RowClass, before: Timestamp, rows: &[AuditRow]) -> Result<Purged, Failure> {
    let due = due_rows(c, class, before)?;
    for sql in retention::removed_rows(class, super::DIALECT.account) {
        c.prepare_cached(&sql)?.execute([micros(before)])?;
    }
    audit::append(c, rows)?;
    Ok(Purged { removed: due.due, kept: due.kept, dropped: false, more: None })
}

/// Adds the people who are due, and gives those whom a hold keeps.
fn people(c: &Keyed<'_>, before: Timestamp, due: &mut Vec<DuePerson>) -> Result<Vec<DuePerson>, Failure> {
    let mut held = Vec::new();
    let mut statement = c.prepare_cached(PEOPLE)?;
    let mut rows = statement.query([micros(before); 4])?;
    while let Some(row) = rows.next()? {
        retention::add_key(due, &mut held, &Columns::of("data_keys", row))?;
    }
    Ok(held)
}

/// Rows of a month that are looked at in one transaction. Each page that one leaves is zeroed, through the log: a month's worth at once would fill it,
/// and keep everybody else from writing meanwhile.
const PART: u32 = 64;

/// Removes what may go of a month `?`, of the rows after `?` and up to `?`, and gives whose they were.
fn removal(class: BodyClass) -> String {
    let (table, stays) = (retention::table(class), retention::must_stay(class));
    let whose = match class {
        BodyClass::Messages => "transfer",
        BodyClass::Renditions => "delivery",
    };
    format!(
        "DELETE FROM {table} AS b WHERE b.month = ? AND b.rowid > ? AND b.rowid <= ? AND NOT {stays} RETURNING {whose}"
    )
}

/// Removes the parts of a month `?` that no copy has any more.
const PARTS_OF_NOBODY: &str = "DELETE FROM rendition_parts AS p WHERE p.month = ? AND NOT EXISTS (
    SELECT 1 FROM deliveries d JOIN rendition_bodies b ON b.delivery = d.id JOIN json_each(b.parts) u
    WHERE d.transfer = p.transfer AND b.month = p.month AND unhex(u.value) = p.digest)";
/// Of them those of the transfers of copies `?` (JSON).
const OF_THESE: &str =
    "AND p.transfer IN (SELECT transfer FROM deliveries WHERE id IN (SELECT value FROM json_each(?)))";

fn purge_month(c: &Keyed<'_>, class: BodyClass, month: i64, after: u64, rows: &[AuditRow]) -> Result<Purged, Failure> {
    let table = retention::table(class);
    let part = format!(
        "SELECT count(*), max(rowid) FROM (SELECT rowid FROM {table} WHERE month = ? AND rowid > ? ORDER BY rowid LIMIT ?)"
    );
    let after = stored_count(after);
    let (looked_at, last): (u32, Option<i64>) =
        c.prepare_cached(&part)?.query_row(params![month, after, PART], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let last = last.unwrap_or(after);
    let mut removal = c.prepare_cached(&removal(class))?;
    let gone = removal.query_and_then(params![month, after, last], |row| row.get(0))?;
    let gone = gone.collect::<Result<Vec<String>, rusqlite::Error>>()?;
    let is_last = looked_at < PART;
    if class == BodyClass::Renditions {
        match is_last {
            true => c.prepare_cached(PARTS_OF_NOBODY)?.execute([month])?,
            false => {
                c.prepare_cached(&format!("{PARTS_OF_NOBODY} {OF_THESE}"))?.execute(params![month, json(&gone)])?
            }
        };
    }
    audit::append(c, rows)?;
    let removed = gone.len() as u64;
    if !is_last {
        return Ok(Purged { removed, kept: 0, dropped: false, more: Some(last.unsigned_abs()) });
    }
    let left = format!("SELECT count(*) FROM {table} WHERE month = ?");
    let kept: i64 = c.prepare_cached(&left)?.query_row([month], |row| row.get(0))?;
    Ok(Purged { removed, kept: kept.unsigned_abs(), dropped: false, more: None })
}

fn purge_people(
    c: &Keyed<'_>,
    wanted: &[DuePerson],
    before: Timestamp,
    at: Timestamp,
    rows: &[AuditRow],
) -> Result<(), Failure> {
    let mut due = Vec::new();
    people(c, before, &mut due)?;
    if !wanted.iter().all(|person| due.contains(person)) {
        return Err(Failure::Overtaken);
    }
    for person in wanted {
        erasures::destroy(c, &person.pseudonym, at)?;
    }
    audit::append(c, rows)
}
