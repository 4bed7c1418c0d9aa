//! The directory held against what a national service says of its organisations: every entry once a day, by one node for all, a question a
//! second and as slowly as the service wishes. What a service is asked, and what follows, is its [`Question`]'s. Where it cannot be asked
//! nothing changes but that it is told since when.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::directory::DirectoryEntry;
use onward_core::store::{Store, StoreError};
use onward_core::transport::SendError;
use onward_core::{OdsCode, Timestamp};
use tokio::sync::watch;

use crate::Gateway;
use crate::again::by_chance;

/// An entry is held against a service so often.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Shortest time between two looks whether it is time, seconds; as much again at most is added by chance.
const LOOK_SECONDS: u64 = 300;
/// Between two questions: ODS asks nobody for more than five a second, and nothing here is urgent.
pub const PACE: Duration = Duration::from_secs(1);
/// One node at a time asks; another takes over after this. It outlasts the longest wait between two entries.
const HELD: SignedDuration = SignedDuration::from_mins(10);
/// The longest wish of a busy service that is waited for; after a longer one the round goes on at a later look.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// Times that a busy service is asked the same in a row.
const TRIES: u32 = 4;
/// After so many in a row about whom a service says nothing of use, it is left alone till the next look.
const IN_VAIN: u32 = 3;
/// A process makes no round before it has run for so long: while nodes are replaced one by one, those of an earlier version may not know
/// what a round writes.
pub const REST: SignedDuration = SignedDuration::from_mins(30);

/// What a service is asked about the entries, and what follows.
pub(crate) trait Question: Send + Sync {
    /// Under this name the store keeps who asks, and the second in which the last whole round ended.
    const LEASE: &'static str;
    /// The service, for the log.
    const SERVICE: &'static str;
    /// What it says of an organisation.
    type Answer: Send;

    /// How this process stands to it.
    fn known(&self) -> &Mutex<Known>;
    /// How long after its start a process makes no round.
    fn rest(&self) -> SignedDuration;
    /// At every look: takes back what it has said of entries that it is not asked about any more.
    fn lift(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// A round goes through these entries; gives how many it may mark.
    fn begin(&mut self, entries: &[DirectoryEntry], now: Timestamp) -> usize;
    /// Whether it is to be asked about an entry; what follows where it is not.
    fn is_about(&self, entry: &DirectoryEntry) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Asks. May be given up at any moment.
    fn ask(&self, entry: &DirectoryEntry) -> impl Future<Output = Result<Self::Answer, SendError>> + Send;
    /// What follows from the answer; `left` is how many more the round may mark.
    fn hold_against(
        &self,
        entry: DirectoryEntry,
        answer: Self::Answer,
        left: &mut usize,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What this process knows of its rounds with one service.
#[derive(Debug)]
pub(crate) struct Known {
    /// When this process began.
    started: Timestamp,
    /// Who this process is to the others.
    holder: Option<u64>,
    /// A round that broke off.
    begun: Option<Begun>,
    /// How it stands.
    standing: Standing,
}

impl Known {
    /// Of a process that begins now.
    pub(crate) fn at(started: Timestamp) -> Mutex<Self> {
        Mutex::new(Self { started, holder: None, begun: None, standing: Standing::default() })
    }
}

/// A round that this process has begun.
#[derive(Debug, Clone)]
struct Begun {
    /// When the last whole one ended: another node that ends one since has made this one needless.
    last: u64,
    /// The code after which it goes on.
    after: Option<OdsCode>,
    /// Whether the service has answered at all.
    is_answered: bool,
    /// How many more entries it may mark.
    left: usize,
}

/// Questions in a row that came to nothing.
#[derive(Default)]
struct InVain {
    count: u32,
    /// The code before the first of them.
    before: Option<OdsCode>,
    /// Another time the answer may be another.
    is_passing: bool,
}

impl InVain {
    fn add(&mut self, before: Option<&OdsCode>, error: &SendError) {
        if self.count == 0 {
            self.before = before.cloned();
        }
        self.count += 1;
        self.is_passing |= !matches!(error, SendError::Permanent { .. });
    }
}

/// How the directory stands to a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// When the last whole round ended, whoever made it.
    pub looked: Option<Timestamp>,
    /// Since when the service cannot be asked, as far as this process has tried.
    pub failing: Option<Timestamp>,
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It is not time yet, or another node asks.
    NotNow,
    /// All entries were held against the service.
    Whole,
    /// The service could not be asked about one, or the gateway ends: it goes on from there.
    BrokenOff,
}

/// Asks a busy service again as it wishes, a few times.
///
/// # Errors
/// When it cannot be asked, or wishes for more time than a minute.
pub(crate) async fn patiently<T, A: Future<Output = Result<T, SendError>>>(
    ask: impl Fn() -> A,
) -> Result<T, SendError> {
    let mut tries = 1;
    loop {
        let answer = ask().await;
        let Err(SendError::Transient { retry_after_seconds: Some(wait), .. }) = &answer else { return answer };
        let wait = Duration::from_secs(*wait);
        if tries == TRIES || wait > WAIT_MAX {
            return answer;
        }
        tries += 1;
        tokio::time::sleep(wait).await;
    }
}

/// The wish of a busy service.
fn wish(error: &SendError) -> Duration {
    match error {
        SendError::Transient { retry_after_seconds: Some(wait), .. } => Duration::from_secs(*wait),
        _ => Duration::ZERO,
    }
}

/// When the gateway ends.
async fn stopped(stop: &watch::Receiver<bool>) {
    let _ = stop.clone().wait_for(|stop| *stop).await;
}

/// When the last whole round of this name ended.
async fn last(store: &dyn Store, lease: &str) -> Result<Option<Timestamp>, StoreError> {
    let rounds = store.forwarding().await?;
    Ok(rounds.into_iter().find(|(name, _)| name == lease).and_then(|(_, second)| moment(second)))
}

/// How the daily look at a service stands, whichever node makes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Daily {
    /// When the last whole one ended.
    pub looked: Option<Timestamp>,
    /// From when the next is due; a gateway that has just started rests first. None before the first, which is due at once.
    pub next: Option<Timestamp>,
}

/// How the daily look of this name stands.
pub(crate) async fn daily(store: &dyn Store, lease: &str) -> Result<Daily, StoreError> {
    let looked = last(store, lease).await?;
    Ok(Daily { looked, next: looked.and_then(|looked| looked.checked_add(EVERY).ok()) })
}

/// The end of a round; none where there was none.
pub(crate) fn moment(second: u64) -> Option<Timestamp> {
    i64::try_from(second).ok().filter(|second| *second > 0).and_then(|second| Timestamp::from_second(second).ok())
}

/// How a service stands to this process.
pub(crate) fn standing(known: &Mutex<Known>) -> Standing {
    locked(known).standing.clone()
}

async fn every_few_minutes<F: Future<Output = Result<Looked, StoreError>>>(
    stop: &watch::Receiver<bool>,
    service: &str,
    look: impl Fn() -> F,
) {
    loop {
        if let Err(error) = look().await {
            tracing::error!(%error, "the directory could not be held against {service}");
        }
        let wait = Duration::from_secs(LOOK_SECONDS + by_chance(LOOK_SECONDS));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(stop) => return,
        }
    }
}

fn locked(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().expect("nobody panics while holding it")
}

impl Gateway {
    /// Looks every few minutes whether it is time to hold the directory against ODS, until `stop` turns true.
    pub async fn watch_organisations_until(self: Arc<Self>, stop: watch::Receiver<bool>) {
        every_few_minutes(&stop, "ODS", || self.look_at_organisations(PACE, &stop)).await;
    }

    /// The same of MESH.
    pub async fn watch_mailboxes_until(self: Arc<Self>, stop: watch::Receiver<bool>) {
        every_few_minutes(&stop, "MESH", || self.look_at_mailboxes(PACE, &stop)).await;
    }

    /// One look: a round, `pace` apart, where the last whole one ended a day ago and no other node makes one.
    pub(crate) async fn look_by<Q: Question>(
        &self,
        question: &mut Q,
        pace: Duration,
        stop: &watch::Receiver<bool>,
    ) -> Result<Looked, StoreError> {
        let holder = *locked(question.known()).holder.get_or_insert_with(|| by_chance(u64::MAX));
        let now = self.clock.now();
        let taken = self.store.take_forwarding(Q::LEASE, holder, now, now + HELD, 0).await?;
        let has_rested = now.duration_since(locked(question.known()).started) >= question.rest();
        let is_due = |last| has_rested && moment(last).is_none_or(|last| now.duration_since(last) >= EVERY);
        let looked = match taken {
            Some(last) => match question.lift().await {
                Ok(()) if is_due(last) => self.round(question, (holder, last), pace, stop).await,
                lifted => lifted.map(|()| Looked::NotNow),
            },
            None => Ok(Looked::NotNow),
        };
        if taken.is_some() {
            // Whoever comes next need not wait until our time is over.
            let now = self.clock.now();
            self.store.take_forwarding(Q::LEASE, holder, now, now, 0).await?;
        }
        let last = last(self.store.as_ref(), Q::LEASE).await?;
        let standing = &mut locked(question.known()).standing;
        standing.looked = last;
        // Another node has made up for it.
        standing.failing =
            standing.failing.filter(|since| last.is_none_or(|last| last.as_second() < since.as_second()));
        looked
    }

    async fn round<Q: Question>(
        &self,
        question: &mut Q,
        (holder, last): (u64, u64),
        pace: Duration,
        stop: &watch::Receiver<bool>,
    ) -> Result<Looked, StoreError> {
        let mut entries = self.store.directory().await?;
        if entries.is_empty() {
            // What is imported next need not wait for a day.
            return Ok(Looked::NotNow);
        }
        entries.sort_by(|one, other| one.ods().cmp(other.ods()));
        let left = question.begin(&entries, self.clock.now());
        let begun = locked(question.known()).begun.clone().filter(|begun| begun.last == last);
        let mut begun = begun.unwrap_or(Begun { last, after: None, is_answered: false, left });
        if let Some(after) = &begun.after {
            entries.retain(|entry| entry.ods() > after);
        }
        let mut in_vain = InVain::default();
        for entry in entries {
            if !question.is_about(&entry).await? {
                continue;
            }
            let (code, now) = (entry.ods().clone(), self.clock.now());
            let ours = self.store.take_forwarding(Q::LEASE, holder, now, now + HELD, 0).await?.is_some();
            if *stop.borrow() || !ours {
                return Ok(Looked::BrokenOff);
            }
            let answer = tokio::select! {
                answer = question.ask(&entry) => answer,
                () = stopped(stop) => return Ok(Looked::BrokenOff),
            };
            let mut wait = pace;
            match answer {
                Ok(answer) => {
                    (in_vain, begun.is_answered) = (InVain::default(), true);
                    locked(question.known()).standing.failing = None;
                    question.hold_against(entry, answer, &mut begun.left).await?;
                }
                Err(error) => {
                    tracing::error!(%error, organisation = %code, "{} gave no answer: the entry stays as it is", Q::SERVICE);
                    locked(question.known()).standing.failing.get_or_insert(now);
                    // It may be about this one alone.
                    in_vain.add(begun.after.as_ref(), &error);
                    wait = wait.max(wish(&error));
                }
            }
            begun.after = Some(code);
            let is_over = in_vain.count == IN_VAIN || wait > WAIT_MAX.max(pace);
            if is_over && in_vain.is_passing {
                // It was about none of them: they are asked about again.
                begun.after = in_vain.before.take();
            }
            locked(question.known()).begun = Some(begun.clone());
            if is_over {
                return Ok(Looked::BrokenOff);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(stop) => return Ok(Looked::BrokenOff),
            }
        }
        locked(question.known()).begun = None;
        if !begun.is_answered {
            // Nobody was to be asked about, or nothing was answered: neither is a look at the service.
            return Ok(if begun.after.is_none() { Looked::NotNow } else { Looked::BrokenOff });
        }
        let second = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
        self.store.forwarded(Q::LEASE, holder, second).await?;
        Ok(Looked::Whole)
    }
}
