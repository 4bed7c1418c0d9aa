//! The readers: a few threads, each with a connection of its own. Every read sees one snapshot and none is remembered: another
//! process may write the same database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use onward_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::failure::{Failure, abort_if_the_disk_failed, told};

/// Read connections.
pub(super) const READERS: usize = 4;
/// Reads that may wait; beyond this, callers wait for a place.
const QUEUE_MAX: usize = 256;

/// A queued read, its type erased.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The queue to the threads, which end when this is dropped. They are our own: of the runtime's pool each read would take one more while the thread of the
/// one before is not back yet, and each keeps memory for good.
pub(super) struct Readers {
    queue: Option<mpsc::Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts a thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |connection| {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new().name("store-reader".to_owned()).spawn(move || serve(&connection, &waiting))
        };
        let threads = connections.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { queue: Some(queue), threads })
    }

    /// Runs the reads in one snapshot. Those of a caller that has gone are left out.
    pub(super) async fn run<T, F>(&self, reads: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let read = move |connection: &Connection| {
            if answer.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| snapshot(connection, reads)));
            // The caller may have gone by now.
            drop(answer.send(outcome.unwrap_or(Err(Failure::Panicked))));
        };
        let queue = self.queue.as_ref().expect("the queue lives until drop");
        queue.send(Box::new(read)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?.map_err(|failure| StoreError::from(&failure))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store's readers had panicked");
            }
        }
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the store's readers have ended".to_owned())
}

fn serve(connection: &Connection, waiting: &Mutex<mpsc::Receiver<Read>>) {
    // Whoever waits for the next read holds the lock, and gives it back before it reads.
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    while let Some(read) = next() {
        read(connection);
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
