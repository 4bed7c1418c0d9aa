//! A month's bytes go: what must stay is found from its own side and put aside, the partition is dropped, and what was put aside takes its
//! place. The longest part of it keeps nobody waiting; what decides is looked at once more under the locks that keep it so.

use std::time::Duration;

use deadpool_postgres::Client;
use onward_core::audit::AuditRow;
use onward_core::store::StoreError;
use onward_core::store::retention::{BodyClass, DueMonth, Purged};

use super::failure::Failure;
use super::work::Work;
use super::{DIALECT, PostgresStore, open, session};
use crate::columns::Columns;
use crate::retention::{due_month, table};

/// Counting and putting aside may take what no statement of the gateway may.
pub(super) const PATIENCE: &str = "SET LOCAL statement_timeout = '1h'";
/// Whoever comes behind a lock that is waited for waits as well: so long at most.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '1s'";
/// How often it is tried where somebody reads or writes the month, and how long apart.
const TRIES: u32 = 20;
const APART: Duration = Duration::from_secs(1);

/// Which months are asked for.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Before,
    Only,
}

/// Whom a body of a class belongs to.
fn owner(class: BodyClass) -> &'static str {
    match class {
        BodyClass::Messages => "transfer",
        BodyClass::Renditions => "delivery",
    }
}

/// The owners whose bodies must stay, as `id`: a legal hold, or somebody still has to do something with it. The same as
/// [`crate::retention::must_stay`] says of one row, from the side of what is rare, by indexes that are there.
fn stays(class: BodyClass) -> String {
    match class {
        BodyClass::Messages => {
            "SELECT t.id FROM legal_holds l JOIN transfers t ON t.patient = l.patient WHERE l.lifted IS NULL
             UNION SELECT transfer FROM holds WHERE closed IS NULL"
                .to_owned()
        }
        BodyClass::Renditions => {
            format!(
                "SELECT d.id FROM legal_holds l JOIN deliveries d ON d.patient = l.patient WHERE l.lifted IS NULL
                 UNION SELECT id FROM deliveries WHERE state = 'queued'
                 UNION SELECT id FROM deliveries WHERE state = 'failed' AND (closed IS NULL OR closed <> version)
                 UNION SELECT delivery FROM alerts WHERE kind = 'not-processed' AND cleared IS NULL AND delivery IS NOT NULL
                 UNION SELECT d.id FROM deliveries d WHERE {} AND d.state = 'awaiting-collection'",
                DIALECT.any_transport
            )
        }
    }
}

/// The months of a class before `$1`, or that one alone; rows of [`due_month`].
pub(super) fn months(class: BodyClass, which: Which) -> String {
    let is = match which {
        Which::Before => "<",
        Which::Only => "=",
    };
    let (table, owner, stays) = (table(class), owner(class), stays(class));
    format!(
        "SELECT a.month, a.n, coalesce(k.n, 0) AS kept
         FROM (SELECT month, count(*) AS n FROM {table} WHERE month {is} $1 GROUP BY month) a
         LEFT JOIN (SELECT b.month, count(*) AS n FROM ({stays}) s JOIN {table} b ON b.{owner} = s.id WHERE b.month {is} $1
             GROUP BY b.month) k ON k.month = a.month
         ORDER BY a.month"
    )
}

pub(super) async fn due(c: &Client, class: BodyClass, which: Which, month: i64) -> Result<Vec<DueMonth>, Failure> {
    let found = session::all(c, &months(class, which), &[&month]).await?;
    found.iter().map(|row| Ok(due_month(class, &Columns::of("bodies", row))?)).collect()
}

/// In a transaction of its own, and by no connection of the writers, because it may take long.
pub(super) async fn month(
    store: &PostgresStore,
    class: BodyClass,
    month: i64,
    audit: &[AuditRow],
) -> Result<Purged, StoreError> {
    let mut tries = 1;
    loop {
        match attempt(store, class, month, audit).await {
            Err(failure) if failure.is_passing() && tries < TRIES => tokio::time::sleep(APART).await,
            outcome => return outcome.map_err(|failure| StoreError::from(&failure)),
        }
        tries += 1;
    }
}

async fn attempt(store: &PostgresStore, class: BodyClass, month: i64, audit: &[AuditRow]) -> Result<Purged, Failure> {
    let mut work = Work::begin_aside(&store.shared).await?;
    match replace(work.client(), class, month).await {
        Ok(purged) => {
            work.audit(audit);
            work.commit().await?;
            if purged.dropped {
                store.shared.partitions.forget();
            }
            Ok(purged)
        }
        Err(failure) => {
            work.rollback().await;
            Err(failure)
        }
    }
}

/// The parts of the copies of a month, which go and stay with them.
struct Parts {
    partition: String,
    aside: String,
    put_aside: String,
    month: i64,
}

/// `None` for a class without parts, and for a month of before there were any.
async fn parts_of(c: &Client, class: BodyClass, month: i64) -> Result<Option<Parts>, Failure> {
    let partition = format!("rendition_parts_{month}");
    if class != BodyClass::Renditions || !open::has_table(c, &partition).await? {
        return Ok(None);
    }
    let aside = format!("{partition}_kept");
    let put_aside = format!(
        "INSERT INTO {aside} SELECT p.* FROM rendition_bodies_{month}_kept b JOIN deliveries d ON d.id = b.delivery
             CROSS JOIN LATERAL jsonb_array_elements_text(b.parts::jsonb) u(digest)
             JOIN {partition} p ON p.transfer = d.transfer AND p.digest = decode(u.digest, 'hex') ON CONFLICT DO NOTHING"
    );
    Ok(Some(Parts { partition, aside, put_aside, month }))
}

impl Parts {
    /// Behind the locks of the copies, as for whoever writes or reads one.
    fn lock(&self) -> String {
        let Self { partition, .. } = self;
        format!(
            "LOCK TABLE ONLY rendition_parts IN ACCESS EXCLUSIVE MODE; LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE;"
        )
    }

    /// Drops the month's parts, but for those of so many copies that were put aside.
    async fn replace(&self, c: &Client, copies: u64) -> Result<(), Failure> {
        let Self { partition, aside, month, .. } = self;
        if copies == 0 {
            return Ok(c.batch_execute(&format!("DROP TABLE {partition}; DROP TABLE {aside}")).await?);
        }
        c.batch_execute(&format!(
            "DROP TABLE {partition}; ALTER TABLE {aside} RENAME TO {partition};
             ALTER TABLE rendition_parts ATTACH PARTITION {partition} FOR VALUES IN ({month})"
        ))
        .await?;
        Ok(())
    }
}

async fn replace(c: &Client, class: BodyClass, month: i64) -> Result<Purged, Failure> {
    let (table, owner, stays) = (table(class), owner(class), stays(class));
    let (partition, aside) = (format!("{table}_{month}"), format!("{table}_{month}_kept"));
    // One run at a time: nobody else takes this lock.
    c.batch_execute(&format!("{PATIENCE}; {LOCK_WAIT}; LOCK TABLE retention_plans IN SHARE ROW EXCLUSIVE MODE"))
        .await?;
    let nothing = Purged { removed: 0, kept: 0, dropped: false, more: None };
    let found = due(c, class, Which::Only, month).await?;
    let Some(found) = found.into_iter().next() else { return Ok(nothing) };
    if found.due == 0 {
        return Ok(Purged { kept: found.kept, ..nothing });
    }
    let put_aside = format!(
        "INSERT INTO {aside} SELECT b.* FROM {partition} b JOIN ({stays}) s ON b.{owner} = s.id ON CONFLICT DO NOTHING"
    );
    c.batch_execute(&format!("CREATE TABLE {aside} (LIKE {partition} INCLUDING ALL); {put_aside}")).await?;
    let parts = parts_of(c, class, month).await?;
    if let Some(Parts { partition, aside, put_aside, .. }) = &parts {
        c.batch_execute(&format!("CREATE TABLE {aside} (LIKE {partition} INCLUDING ALL); {put_aside}")).await?;
    }
    // From here on nobody reads or writes the month, and whoever places a legal hold, opens a hold of a message or sends a copy again waits.
    // The bodies come first, as for whoever accepts.
    let holds = if class == BodyClass::Messages { "LOCK TABLE holds IN SHARE MODE;" } else { "" };
    c.batch_execute(&format!(
        "LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE; LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE;
         {}{holds} LOCK TABLE legal_holds IN SHARE MODE",
        parts.as_ref().map_or_else(String::new, Parts::lock)
    ))
    .await?;
    // What has been decided meanwhile; what was put aside and need not stay any more goes another time.
    c.batch_execute(&put_aside).await?;
    if let Some(parts) = &parts {
        c.batch_execute(&parts.put_aside).await?;
    }
    let kept = c.query_one(format!("SELECT count(*) AS n FROM {aside}").as_str(), &[]).await?;
    let kept: u64 = Columns::of("bodies", &kept).count("n")?;
    let place = if kept == 0 {
        format!("DROP TABLE {aside}")
    } else {
        format!(
            "ALTER TABLE {aside} RENAME TO {partition}; ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES IN ({month})"
        )
    };
    c.batch_execute(&format!("DROP TABLE {partition}; {place}")).await?;
    if let Some(parts) = parts {
        parts.replace(c, kept).await?;
    }
    Ok(Purged { removed: (found.due + found.kept).saturating_sub(kept), kept, dropped: kept == 0, more: None })
}
