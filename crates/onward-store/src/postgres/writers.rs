//! The writers: a few tasks, each with a connection at a time, that share each commit among the operations that wait. What passes
//! (a deadlock, a connection that was closed) is tried again a few times; what is an operation's own fault fails it alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use onward_core::store::{Accepted, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::failure::Failure;
use super::work::Work;
use super::{Shared, accept};
use crate::rows::copies::PackedAcceptance;

/// Writers, each with a connection while it works.
pub(super) const WRITERS: usize = 4;
/// Most operations in one transaction.
const BATCH_MAX: usize = 64;
/// Most bytes of content in one transaction, roughly.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Operations that may wait.
const QUEUE_MAX: usize = 256;
/// How long a caller waits for a place among them (trust.md §7, fault 16).
const PLACE_WAIT: Duration = Duration::from_secs(5);
/// How often an operation is tried in all.
const TRIES: u32 = 5;

/// What an operation does inside the transaction, with its input.
pub(super) type Step<I, T> = for<'t, 'j> fn(&'t mut Work<'j>, &'j I) -> BoxFuture<'t, Result<T, Failure>>;

/// The way to the writers, which end when this is dropped and nothing waits.
pub(super) struct Writers {
    queue: mpsc::Sender<Job>,
}

impl Writers {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..WRITERS {
            tokio::spawn(serve(Arc::clone(shared), Arc::clone(&waiting)));
        }
        Self { queue }
    }

    /// Runs the operation and answers once it is durable. Dropping the future does not stop an operation that is queued.
    pub(super) async fn run<I, T>(&self, input: I, step: Step<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let operation = Ordered { input, step, outcome: std::sync::Mutex::new(None), answer };
        self.send(Job::Other(Box::new(operation))).await?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Accepts a message, together with others that wait.
    pub(super) async fn accept(&self, message: PackedAcceptance) -> Result<Accepted, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Accept(Box::new((message, answer)))).await?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        self.queue.send_timeout(job, PLACE_WAIT).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => {
                StoreError::Unavailable("too many operations wait for PostgreSQL".to_owned())
            }
            mpsc::error::SendTimeoutError::Closed(_) => ended(),
        })
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the store's writers have ended".to_owned())
}

enum Job {
    Accept(Box<(PackedAcceptance, oneshot::Sender<Result<Accepted, StoreError>>)>),
    Other(Box<dyn Operation>),
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Accept(job) => job.0.bytes(),
            Self::Other(_) => 0,
        }
    }
}

/// An operation, its types erased.
trait Operation: Send + Sync {
    /// Does the work and keeps the outcome.
    fn run<'t, 'j>(&'j self, work: &'t mut Work<'j>) -> BoxFuture<'t, Result<(), Failure>>
    where
        'j: 't;
    /// Tells the caller: the outcome when it is durable, else why it is not.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Ordered<I, T> {
    input: I,
    step: Step<I, T>,
    outcome: std::sync::Mutex<Option<T>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<I: Send + Sync, T: Send> Operation for Ordered<I, T> {
    fn run<'t, 'j>(&'j self, work: &'t mut Work<'j>) -> BoxFuture<'t, Result<(), Failure>>
    where
        'j: 't,
    {
        async move {
            let value = (self.step)(work, &self.input).await?;
            *self.outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
            Ok(())
        }
        .boxed()
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = self.outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let answer = committed.and_then(|()| outcome.ok_or_else(ended));
        // The caller may have gone; what is committed stays committed.
        drop(self.answer.send(answer));
    }
}

async fn serve(shared: Arc<Shared>, waiting: Arc<Mutex<mpsc::Receiver<Job>>>) {
    loop {
        let batch = {
            let mut waiting = waiting.lock().await;
            let Some(first) = waiting.recv().await else { return };
            let mut bytes = first.bytes();
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(next) = waiting.try_recv() else { break };
                bytes += next.bytes();
                batch.push(next);
            }
            batch
        };
        perform(&shared, batch).await;
    }
}

/// Commits the batch as one, or each of its operations alone when one of them spoils it.
async fn perform(shared: &Shared, batch: Vec<Job>) {
    match persist(shared, &batch).await {
        Ok(accepted) => answer(batch, &accepted),
        Err(failure) if batch.len() == 1 || !failure.is_own() => refuse(batch, &failure),
        Err(_) => {
            for job in batch {
                let alone = [job];
                let outcome = persist(shared, &alone).await;
                match outcome {
                    Ok(accepted) => answer(alone, &accepted),
                    Err(failure) => refuse(alone, &failure),
                }
            }
        }
    }
}

fn answer(jobs: impl IntoIterator<Item = Job>, accepted: &[Accepted]) {
    let mut accepted = accepted.iter();
    for job in jobs {
        match job {
            Job::Accept(job) => drop(job.1.send(accepted.next().cloned().ok_or_else(ended))),
            Job::Other(operation) => operation.answer(Ok(())),
        }
    }
}

fn refuse(jobs: impl IntoIterator<Item = Job>, failure: &Failure) {
    let error = StoreError::from(failure);
    let mut count = 0;
    for job in jobs {
        count += 1;
        match job {
            Job::Accept(job) => drop(job.1.send(Err(error.clone()))),
            Job::Other(operation) => operation.answer(Err(error.clone())),
        }
    }
    tracing::error!(%error, operations = count, "not committed");
}

/// Runs the jobs in one transaction, again where that can help. Gives what accepting came to, in order.
async fn persist(shared: &Shared, jobs: &[Job]) -> Result<Vec<Accepted>, Failure> {
    let mut tries = 1;
    loop {
        let failure = match attempt(shared, jobs).await {
            Ok(accepted) => return Ok(accepted),
            Err(failure) => failure,
        };
        if tries == TRIES {
            return Err(failure);
        }
        match &failure {
            Failure::NoPartition(months) => shared.partitions.make(&shared.reads, months).await?,
            _ if failure.lacks_partition() => shared.partitions.forget(),
            _ if failure.is_passing() => tokio::time::sleep(pause(tries)).await,
            // Once: the pool may have held connections that a restart of PostgreSQL closed.
            _ if failure.is_connection() && tries == 1 => {}
            _ => return Err(failure),
        }
        tries += 1;
    }
}

/// Waits, after so many tries, until what may be done any number of times is worth another; gives the failure back where no other can help.
pub(super) async fn before_another(failure: Failure, tries: u32) -> Result<(), Failure> {
    match &failure {
        _ if tries >= TRIES => Err(failure),
        _ if failure.is_passing() => {
            tokio::time::sleep(pause(tries)).await;
            Ok(())
        }
        // Once, as above.
        Failure::CommitUnknown if tries == 1 => Ok(()),
        _ if failure.is_connection() && tries == 1 => Ok(()),
        _ => Err(failure),
    }
}

/// Up to 20 ms, doubled by every try.
fn pause(tries: u32) -> Duration {
    let mut random = [0; 1];
    // Without randomness the writers only meet again more often.
    if getrandom::fill(&mut random).is_err() {
        random = [255];
    }
    Duration::from_millis((20 << tries) * u64::from(random[0]) / 255)
}

async fn attempt(shared: &Shared, jobs: &[Job]) -> Result<Vec<Accepted>, Failure> {
    let mut work = Work::begin(shared).await?;
    let ran = AssertUnwindSafe(run(&mut work, jobs)).catch_unwind().await;
    match ran.unwrap_or(Err(Failure::Panicked)) {
        Ok(accepted) => work.commit().await.map(|()| accepted),
        Err(failure) => {
            work.rollback().await;
            Err(failure)
        }
    }
}

async fn run<'j>(work: &mut Work<'j>, jobs: &'j [Job]) -> Result<Vec<Accepted>, Failure> {
    let mut messages = Vec::new();
    for job in jobs {
        match job {
            Job::Accept(job) => messages.push(&job.0),
            Job::Other(operation) => operation.run(work).await?,
        }
    }
    accept::all(work, &messages).await
}
