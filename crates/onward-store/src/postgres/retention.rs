//! What goes when its time is over: months of bodies by their partitions, rows, keys.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::StoreError;
use onward_core::store::retention::{
    BodyClass, Due, DuePerson, DueRows, Purged, RetentionPlan, RetentionStore, RowClass, Schedule,
};
use uuid::Uuid;

use super::columns::numbered;
use super::failure::Failure;
use super::session;
use super::work::Work;
use super::{PostgresStore, erasures, purge};
use crate::columns::Columns;
use crate::retention::{self, PEOPLE};
use crate::stored::{micros, stored_count};

/// People whose keys go.
struct Gone {
    people: Vec<DuePerson>,
    before: Timestamp,
    at: Timestamp,
    audit: Vec<AuditRow>,
}

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn retention_due(&self, schedule: &Schedule) -> Result<Due, StoreError> {
        self.read(schedule.clone(), |c, schedule| due(c, schedule).boxed()).await
    }

    async fn put_retention_plan(&self, plan: RetentionPlan, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.writers.run((plan, audit), |work, input| put_plan(work, input).boxed()).await
    }

    async fn retention_plan(&self, id: Uuid) -> Result<Option<RetentionPlan>, StoreError> {
        self.read(id, |c, id| plan(c, *id).boxed()).await
    }

    async fn purge_month(
        &self,
        class: BodyClass,
        month: i64,
        _after: u64,
        audit: Vec<AuditRow>,
    ) -> Result<Purged, StoreError> {
        purge::month(self, class, month, &audit).await
    }

    async fn purge_rows(&self, class: RowClass, before: Timestamp, audit: Vec<AuditRow>) -> Result<Purged, StoreError> {
        self.writers.run((class, before, audit), |work, input| purge_rows(work, input).boxed()).await
    }

    async fn purge_people(
        &self,
        people: Vec<DuePerson>,
        before: Timestamp,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError> {
        let gone = Gone { people, before, at, audit };
        self.writers.run(gone, |work, gone| purge_people(work, gone).boxed()).await?;
        // The keys are destroyed and that is durable; old rows stay in the table's file until it is written anew.
        match erasures::clear_table(&self.shared.reads).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Unavailable(
                "the keys are destroyed, but the file of the table data_keys keeps them, wrapped, while somebody reads the \
                 database as it was: run VACUUM FULL data_keys later"
                    .to_owned(),
            )),
            Err(failure) => Err(StoreError::from(&failure)),
        }
    }

    async fn finish_retention_plan(
        &self,
        id: Uuid,
        certificate: &str,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let input = (id, certificate.to_owned(), audit);
        self.writers.run(input, |work, input| finish(work, input).boxed()).await
    }

    async fn oldest_bodies(&self) -> Result<Vec<(BodyClass, i64)>, StoreError> {
        self.read((), |c, ()| oldest(c).boxed()).await
    }
}

async fn put_plan<'j>(work: &mut Work<'j>, (plan, audit): &'j (RetentionPlan, Vec<AuditRow>)) -> Result<(), Failure> {
    let sql = "INSERT INTO retention_plans (id, made, due) VALUES ($1, $2, $3)";
    session::execute(work.client(), sql, &[&plan.id, &micros(plan.made), &plan.due]).await?;
    work.audit(audit);
    Ok(())
}

async fn plan(c: &Client, id: Uuid) -> Result<Option<RetentionPlan>, Failure> {
    let sql = "SELECT id, made, due, certificate FROM retention_plans WHERE id = $1";
    let found = session::first(c, sql, &[&id]).await?;
    found.map(|row| Ok(retention::plan(&Columns::of("retention_plans", &row))?)).transpose()
}

async fn finish<'j>(
    work: &mut Work<'j>,
    (id, certificate, audit): &'j (Uuid, String, Vec<AuditRow>),
) -> Result<bool, Failure> {
    let sql = "UPDATE retention_plans SET certificate = $1 WHERE id = $2 AND certificate IS NULL";
    let finished = session::execute(work.client(), sql, &[certificate, id]).await?;
    if finished == 1 {
        work.audit(audit);
    }
    Ok(finished == 1)
}

async fn due(c: &Client, schedule: &Schedule) -> Result<Due, Failure> {
    c.batch_execute(purge::PATIENCE).await?;
    let mut due = Due::default();
    let cuts = [(BodyClass::Messages, schedule.messages_before), (BodyClass::Renditions, schedule.renditions_before)];
    for (class, before) in cuts {
        let Some(before) = before else { continue };
        due.months.extend(purge::due(c, class, purge::Which::Before, before).await?);
    }
    if let Some(before) = schedule.people_before {
        let held = people(c, before, &mut due.people).await?;
        due.people_kept = stored_count(held.len() as u64).unsigned_abs();
    }
    for (class, before) in &schedule.rows_before {
        due.rows.push(due_rows(c, *class, *before).await?);
    }
    Ok(due)
}

async fn due_rows(c: &Client, class: RowClass, before: Timestamp) -> Result<DueRows, Failure> {
    let mut due = DueRows { class, due: 0, kept: 0 };
    for sql in retention::counted_rows(class) {
        for row in session::all(c, &numbered(&sql), &[&micros(before)]).await? {
            retention::add_rows(&mut due, &Columns::of("rows", &row))?;
        }
    }
    Ok(due)
}

async fn purge_rows<'j>(
    work: &mut Work<'j>,
    (class, before, audit): &'j (RowClass, Timestamp, Vec<AuditRow>),
) -> Result<Purged, Failure> {
    work.needs_every_copy()?;
    let due = due_rows(work.client(), *class, *before).await?;
    for sql in retention::removed_rows(*class, super::DIALECT.account) {
        session::execute(work.client(), &numbered(&sql), &[&micros(*before)]).await?;
    }
    work.audit(audit);
    Ok(Purged { removed: due.due, kept: due.kept, dropped: false, more: None })
}

/// Adds the people who are due, and gives those whom a hold keeps.
async fn people(c: &Client, before: Timestamp, due: &mut Vec<DuePerson>) -> Result<Vec<DuePerson>, Failure> {
    let (mut held, before) = (Vec::new(), micros(before));
    for row in session::all(c, &numbered(PEOPLE), &[&before, &before, &before, &before]).await? {
        retention::add_key(due, &mut held, &Columns::of("data_keys", &row))?;
    }
    Ok(held)
}

async fn purge_people<'j>(work: &mut Work<'j>, gone: &'j Gone) -> Result<(), Failure> {
    work.needs_every_copy()?;
    let c = work.client();
    let pseudonyms: Vec<&str> = gone.people.iter().map(|person| person.pseudonym.as_str()).collect();
    // With the keys locked, nobody can seal anything more under them.
    let lock = "SELECT id FROM data_keys WHERE patient = ANY($1) AND wrapped IS NOT NULL ORDER BY id FOR UPDATE";
    session::all(c, lock, &[&pseudonyms]).await?;
    let mut due = Vec::new();
    people(c, gone.before, &mut due).await?;
    if !gone.people.iter().all(|person| due.contains(person)) {
        return Err(Failure::Overtaken);
    }
    for person in &gone.people {
        erasures::destroy(c, &person.pseudonym, gone.at).await?;
    }
    work.audit(&gone.audit);
    Ok(())
}

async fn oldest(c: &Client) -> Result<Vec<(BodyClass, i64)>, Failure> {
    let mut found = Vec::new();
    for class in BodyClass::ALL {
        // The months are few, and each leads to its partition.
        let sql = format!(
            "SELECT m.month FROM months m WHERE EXISTS (SELECT 1 FROM {} b WHERE b.month = m.month) ORDER BY m.month LIMIT 1",
            retention::table(*class)
        );
        for row in session::all(c, &sql, &[]).await? {
            found.push((*class, Columns::of("months", &row).count("month")?));
        }
    }
    Ok(found)
}
