//! A connection with an open transaction. It goes back to the pool when the transaction has ended for certain, and is closed
//! otherwise: whoever gets a connection finds it clean.

use deadpool_postgres::{Client, Pool};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::failure::Failure;

/// A parameter and its type.
pub(super) type Given<'p> = (&'p (dyn ToSql + Sync), Type);
/// The parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// READ COMMITTED by name: the server's own default may be another, and the locks of the writers are made for this one.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Every statement of a read sees the same snapshot.
pub(super) const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One transaction.
pub(super) struct Session {
    client: Option<Client>,
}

impl Session {
    pub(super) async fn begin(pool: &Pool, begin: &str) -> Result<Self, Failure> {
        let session = Self { client: Some(pool.get().await?) };
        session.client().batch_execute(begin).await?;
        Ok(session)
    }

    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("a session holds its connection until its transaction has ended")
    }

    /// Commits. Without an answer of the server nobody knows what became of it.
    pub(super) async fn commit(mut self) -> Result<(), Failure> {
        match self.client().batch_execute("COMMIT").await.map_err(Failure::Sql) {
            Ok(()) => {
                drop(self.client.take());
                Ok(())
            }
            Err(failure) if failure.is_connection() => Err(Failure::CommitUnknown),
            Err(failure) => {
                self.rollback().await;
                Err(failure)
            }
        }
    }

    pub(super) async fn rollback(mut self) {
        if self.client().batch_execute("ROLLBACK").await.is_ok() {
            drop(self.client.take());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Outside of the pool it closes, and the server rolls back.
            drop(Client::take(client));
        }
    }
}

pub(super) async fn all(c: &Client, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Failure> {
    let statement = c.prepare_cached(sql).await?;
    Ok(c.query(&statement, params).await?)
}

/// The same by a plan that is made for this once.
pub(super) async fn planned(c: &Client, sql: &str, params: &[Given<'_>]) -> Result<Vec<Row>, Failure> {
    Ok(c.query_typed(sql, params).await?)
}

pub(super) async fn first(c: &Client, sql: &str, params: Params<'_>) -> Result<Option<Row>, Failure> {
    Ok(all(c, sql, params).await?.into_iter().next())
}

/// Runs a statement and gives the number of rows that it changed.
pub(super) async fn execute(c: &Client, sql: &str, params: Params<'_>) -> Result<u64, Failure> {
    let statement = c.prepare_cached(sql).await?;
    Ok(c.execute(&statement, params).await?)
}
