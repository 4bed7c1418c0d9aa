//! The one writer: a thread that owns the write connection and shares each sync among the operations
//! that wait (group commit). It answers nobody before the commit, and never repeats a commit or a sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use onward_core::store::StoreError;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::failure::{Consequence, Failure, abort_if_the_disk_failed, consequence, told};
use super::open::BUSY_TIMEOUT;

/// Most operations in one transaction.
const BATCH_MAX: usize = 64;
/// Operations that may wait; beyond this, callers wait for a place.
const QUEUE_MAX: usize = 256;
/// Pages in the log that are not yet in the database, from which on they are carried over: 16 MB. Pages that every commit changes are carried
/// once for many of them.
const CHECKPOINT_PAGES: i64 = 4000;
/// Pages in the log from which on it is begun anew: 32 MB. It is only when nobody reads from it, and while there is always a reader SQLite never finds
/// such a moment by itself.
const LOG_PAGES: i64 = 2 * CHECKPOINT_PAGES;
/// How long commits wait for readers who are to leave the log. Most read for a few milliseconds; for those who take longer the log grows.
const READERS_LEAVE: Duration = Duration::from_millis(100);

/// How much was committed, for metrics and for the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitCounts {
    /// Transactions committed.
    pub commits: u64,
    /// Operations that succeeded in them.
    pub operations: u64,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    operations: AtomicU64,
}

/// The queue to the writer thread, which ends when this is dropped and the queue is empty.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Operation>>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(&connection, waiting, &counted))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counters })
    }

    /// Runs the operation in a transaction of the writer and answers once it is durable. An operation
    /// that fails leaves nothing behind. Dropping the future does not stop an operation that is queued.
    pub(super) async fn run<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Job { operation: Some(operation), outcome: None, answer });
        let queue = self.queue.as_ref().expect("the queue lives until drop");
        queue.send(job).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Operations that the writer has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// What was committed so far.
    pub(super) fn counts(&self) -> CommitCounts {
        CommitCounts {
            commits: self.counters.commits.load(Ordering::Relaxed),
            operations: self.counters.operations.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the store's writer has ended".to_owned())
}

/// A queued operation, its type erased.
trait Operation: Send {
    /// Does the work inside the current savepoint; keeps the outcome.
    fn run(&mut self, connection: &Connection) -> Result<(), Failure>;
    /// Tells the caller: the outcome when the batch is durable, else why it is not.
    fn answer(self: Box<Self>, batch: Result<(), StoreError>);
}

struct Job<T, F> {
    operation: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Operation for Job<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), Failure> {
        let operation = self.operation.take().expect("an operation runs once");
        let outcome = catch_unwind(AssertUnwindSafe(|| operation(connection))).unwrap_or(Err(Failure::Panicked));
        match outcome {
            Ok(value) => {
                self.outcome = Some(Ok(value));
                Ok(())
            }
            Err(failure) => {
                self.outcome = Some(Err(StoreError::from(&failure)));
                Err(failure)
            }
        }
    }

    fn answer(self: Box<Self>, batch: Result<(), StoreError>) {
        let answer = match (batch, self.outcome) {
            // Its own failure is told rather than the batch's.
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => Err(ended()),
        };
        // The caller may have gone; what is committed stays committed.
        drop(self.answer.send(answer));
    }
}

fn serve(connection: &Connection, mut waiting: mpsc::Receiver<Box<dyn Operation>>, counters: &Counters) {
    let mut log = Log { begun_anew_at: LOG_PAGES };
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            match waiting.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let outcome = commit(connection, &mut batch, counters);
        if let Err(error) = &outcome {
            tracing::error!(%error, operations = batch.len(), "a batch was not committed");
        }
        for operation in batch {
            operation.answer(outcome.clone());
        }
        log.carry_over(connection);
    }
}

/// One transaction over the batch, each operation in its own savepoint.
fn commit(connection: &Connection, batch: &mut [Box<dyn Operation>], counters: &Counters) -> Result<(), StoreError> {
    step(connection, "BEGIN IMMEDIATE")?;
    let mut succeeded = 0;
    for operation in batch {
        step(connection, "SAVEPOINT operation")?;
        match operation.run(connection) {
            Ok(()) => succeeded += 1,
            Err(failure) => {
                damage(connection, &failure)?;
                step(connection, "ROLLBACK TO operation")?;
            }
        }
        step(connection, "RELEASE operation")?;
    }
    step(connection, "COMMIT")?;
    counters.commits.fetch_add(1, Ordering::Relaxed);
    counters.operations.fetch_add(succeeded, Ordering::Relaxed);
    Ok(())
}

/// Whether an operation's failure is also the batch's: the disk failed, the file is damaged, or SQLite
/// has rolled the whole transaction back by itself (full disk).
fn damage(connection: &Connection, failure: &Failure) -> Result<(), StoreError> {
    if let Failure::Sql(error) = failure {
        abort_if_the_disk_failed(error);
        if consequence(error) == Consequence::Quarantine || connection.is_autocommit() {
            roll_back(connection);
            return Err(StoreError::from(failure));
        }
    }
    Ok(())
}

fn step(connection: &Connection, statement: &str) -> Result<(), StoreError> {
    let done = connection.prepare_cached(statement).and_then(|mut statement| statement.execute([]));
    done.map(drop).map_err(|error| {
        abort_if_the_disk_failed(&error);
        roll_back(connection);
        StoreError::from(&Failure::Sql(error))
    })
}

fn roll_back(connection: &Connection) {
    if connection.is_autocommit() {
        return;
    }
    if let Err(error) = connection.execute_batch("ROLLBACK") {
        // A transaction that can neither commit nor roll back would swallow every later operation.
        tracing::error!(error = told(&error), "a transaction can be neither committed nor rolled back; aborting");
        std::process::abort();
    }
}

/// The log, as its writer sees it.
struct Log {
    /// Pages from which on it is begun anew.
    begun_anew_at: i64,
}

impl Log {
    /// Carries the log over into the database, outside of any caller's wait. SQLite's own automatic
    /// checkpoint is off because it ignores errors.
    fn carry_over(&mut self, connection: &Connection) {
        if let Err(error) = self.try_to_carry_over(connection) {
            abort_if_the_disk_failed(&error);
            if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
                tracing::warn!(error = told(&error), "the log could not be carried over into the database");
            }
        }
    }

    fn try_to_carry_over(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Checkpoint { log, carried, .. } = checkpoint(connection, "NOOP")?;
        if log < LOG_PAGES {
            self.begun_anew_at = LOG_PAGES;
        }
        if log - carried < CHECKPOINT_PAGES {
            return Ok(());
        }
        checkpoint(connection, "PASSIVE")?;
        if log < self.begun_anew_at {
            return Ok(());
        }
        connection.busy_timeout(READERS_LEAVE)?;
        let done = checkpoint(connection, "RESTART");
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if done?.busy {
            // Somebody reads for long, and commits do not wait for them each time.
            self.begun_anew_at = log + LOG_PAGES;
        }
        Ok(())
    }
}

/// What SQLite tells of a checkpoint.
struct Checkpoint {
    /// Readers kept it from what was asked.
    busy: bool,
    /// Pages in the log.
    log: i64,
    /// Those of them that are in the database.
    carried: i64,
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Checkpoint> {
    connection
        .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| Ok(Checkpoint { busy: row.get(0)?, log: row.get(1)?, carried: row.get(2)? }))
}
