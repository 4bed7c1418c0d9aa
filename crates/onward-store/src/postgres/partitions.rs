//! The partitions of the bodies, one a month. They are made before the first row of a month is written, outside of any
//! transaction that writes rows: making one waits for all of those.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::Pool;

use super::failure::Failure;
use super::session::{self, Session};
use super::writers::before_another;

const PARTITIONED: [&str; 3] = ["message_bodies", "rendition_bodies", "rendition_parts"];

/// The months whose partitions are known to be there.
#[derive(Default)]
pub(super) struct Partitions {
    known: Mutex<BTreeSet<i64>>,
}

impl Partitions {
    /// Refuses months that have no partition yet.
    pub(super) fn require(&self, months: &[i64]) -> Result<(), Failure> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: BTreeSet<i64> = months.iter().copied().filter(|month| !known.contains(month)).collect();
        if missing.is_empty() { Ok(()) } else { Err(Failure::NoPartition(missing.into_iter().collect())) }
    }

    /// Knows of none any more.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Makes the partitions that are missing. Several nodes may do so at once: they take turns at the schema's row. What
    /// passes is tried again.
    pub(super) async fn make(&self, pool: &Pool, months: &[i64]) -> Result<(), Failure> {
        for month in months {
            // A transaction for each table: holding one while waiting for the other could meet a reader that does the opposite.
            for table in PARTITIONED {
                let mut tries = 1;
                while let Err(failure) = make(pool, table, *month).await {
                    before_another(failure, tries).await?;
                    tries += 1;
                }
            }
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(*month);
        }
        Ok(())
    }
}

async fn make(pool: &Pool, table: &str, month: i64) -> Result<(), Failure> {
    let session = Session::begin(pool, session::WRITE).await?;
    let c = session.client();
    session::first(c, "SELECT version FROM onward_schema WHERE id = 1 FOR UPDATE", &[]).await?;
    c.batch_execute(&format!(
        "CREATE TABLE IF NOT EXISTS {table}_{month} PARTITION OF {table} FOR VALUES IN ({month})"
    ))
    .await?;
    session::execute(c, "INSERT INTO months (month) VALUES ($1) ON CONFLICT DO NOTHING", &[&month]).await?;
    session.commit().await
}
