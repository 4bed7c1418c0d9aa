//! A small pool of read connections. Every read sees one snapshot and none is remembered: another
//! process may write the same database.

use std::sync::{Arc, Mutex, PoisonError};

use onward_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::failure::{Failure, abort_if_the_disk_failed, told};

/// Read connections.
pub(super) const READERS: usize = 4;

/// The pool.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let free = Arc::new(Semaphore::new(connections.len()));
        Self { idle: Arc::new(Mutex::new(connections)), free }
    }

    /// Runs the reads in one snapshot on a blocking thread.
    pub(super) async fn run<T, F>(&self, reads: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let permit = Arc::clone(&self.free)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Unavailable("the store is closing".to_owned()))?;
        let idle = Arc::clone(&self.idle);
        let read = tokio::task::spawn_blocking(move || {
            let reader = Borrowed::take(&idle);
            let outcome = snapshot(reader.connection(), reads);
            // The connection is back before the next permit is.
            drop(reader);
            drop(permit);
            outcome
        });
        match read.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(StoreError::from(&failure)),
            Err(_) => Err(StoreError::from(&Failure::Panicked)),
        }
    }
}

fn snapshot<T>(connection: &Connection, reads: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
    let outcome = connection.unchecked_transaction().map_err(Failure::Sql).and_then(|transaction| {
        reads(&transaction).and_then(|value| transaction.finish().map(|()| value).map_err(Failure::Sql))
    });
    if let Err(Failure::Sql(error)) = &outcome {
        abort_if_the_disk_failed(error);
        tracing::warn!(error = told(error), "a read of the store failed");
    }
    outcome
}

/// A connection that goes back to the pool even when a read panics.
struct Borrowed<'a> {
    connection: Option<Connection>,
    idle: &'a Mutex<Vec<Connection>>,
}

impl<'a> Borrowed<'a> {
    fn take(idle: &'a Mutex<Vec<Connection>>) -> Self {
        let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { connection, idle }
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a permit stands for an idle connection")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
