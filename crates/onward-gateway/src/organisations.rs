//! The directory held against ODS, every entry once a day, by one node for all. An organisation that ODS calls closed is marked in its entry,
//! whatever the entry's own time: nothing new is sent there before a person has looked. Where ODS cannot be asked nothing changes but that
//! it is told since when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::directory::{DirectoryEntry, OdsEnd, Organisation, Organisations};
use onward_core::store::alerts::{AlertKind, Concern, about_organisation};
use onward_core::store::{Store, StoreError};
use onward_core::transport::SendError;
use onward_core::{OdsCode, Timestamp};
use onward_transform::render::dates;
use tokio::sync::watch;

use crate::Gateway;
use crate::again::by_chance;
use crate::identify::expired;

/// An entry is held against ODS so often.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Shortest time between two looks whether it is time, seconds; as much again at most is added by chance.
const LOOK_SECONDS: u64 = 300;
/// Between two questions: ODS asks nobody for more than five a second, and nothing here is urgent.
pub const PACE: Duration = Duration::from_secs(1);
/// One node at a time asks; another takes over after this. It outlasts the longest wait between two questions.
const HELD: SignedDuration = SignedDuration::from_mins(10);
/// The longest wish of a busy ODS that is waited for; after a longer one the round goes on at a later look.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Times that a busy ODS is asked about one organisation in a row.
const TRIES: u32 = 4;
/// After so many in a row about whom ODS says nothing of use, it is left alone till the next look.
const IN_VAIN: u32 = 3;
/// A process makes no round before it has run for so long: while nodes are replaced one by one, those of an earlier version cannot read an
/// entry that is marked.
pub const REST: SignedDuration = SignedDuration::from_mins(30);
/// A round marks so many entries that were not closed before, or one in [`MARKED_OF`] of all where that is more: organisations close one by
/// one, and what says that many have is more likely wrong.
const MARKED_MIN: usize = 3;
/// See [`MARKED_MIN`].
const MARKED_OF: usize = 20;
/// Under this name the store keeps who asks, and the second in which the last whole round ended.
const LEASE: &str = "ods";

/// ODS, and whom it is not asked about.
#[derive(Clone)]
pub struct Watched {
    /// It.
    pub ods: Arc<dyn Organisations>,
    /// Codes that ODS does not know, or has wrong, by a person's decision.
    pub except: BTreeSet<OdsCode>,
    /// How long after its start a process makes no round: [`REST`].
    pub rest: SignedDuration,
}

/// What this process knows of it.
#[derive(Debug)]
pub struct Known {
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
    pub(crate) fn at(started: Timestamp) -> Self {
        Self { started, holder: None, begun: None, standing: Standing::default() }
    }
}

/// A round that this process has begun.
#[derive(Debug, Clone)]
struct Begun {
    /// When the last whole one ended: another node that ends one since has made this one needless.
    last: u64,
    /// The code after which it goes on.
    after: Option<OdsCode>,
    /// Whether ODS has answered at all.
    is_answered: bool,
    /// How many more entries it may mark that were not closed before.
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

/// How the directory stands to ODS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// When the last whole round ended, whoever made it.
    pub looked: Option<Timestamp>,
    /// Since when ODS cannot be asked, as far as this process has tried.
    pub failing: Option<Timestamp>,
    /// Entries whose organisation has closed.
    pub closed: u64,
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It is not time yet, or another node asks.
    NotNow,
    /// All entries were held against ODS.
    Whole,
    /// ODS could not be asked about one, or the gateway ends: it goes on from there.
    BrokenOff,
}

/// Asks a busy ODS again as it wishes, a few times.
///
/// # Errors
/// When it cannot be asked, or wishes for more time than a minute.
pub async fn patiently(ods: &dyn Organisations, code: &OdsCode) -> Result<Option<Organisation>, SendError> {
    let mut tries = 1;
    loop {
        let answer = ods.organisation(code).await;
        let Err(SendError::Transient { retry_after_seconds: Some(wait), .. }) = &answer else { return answer };
        let wait = Duration::from_secs(*wait);
        if tries == TRIES || wait > WAIT_MAX {
            return answer;
        }
        tries += 1;
        tokio::time::sleep(wait).await;
    }
}

/// The wish of a busy ODS.
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

/// When the directory was last held against ODS whole, and the codes of organisations in it that have closed.
///
/// # Errors
/// When the store cannot be read.
pub async fn told(store: &dyn Store, now: Timestamp) -> Result<(Option<Timestamp>, Vec<OdsCode>), StoreError> {
    let rounds = store.forwarding().await?;
    let looked = rounds.into_iter().find(|(name, _)| name == LEASE).and_then(|(_, second)| moment(second));
    let today = dates::civil(now);
    let closed = store.directory().await?.into_iter().filter(|entry| entry.ended(today).is_some());
    Ok((looked, closed.map(|entry| entry.ods().clone()).collect()))
}

/// Practices and pharmacies that a home needs which is used itself.
fn named_by_homes(entries: &[DirectoryEntry], now: Timestamp) -> BTreeSet<OdsCode> {
    let homes = entries.iter().filter_map(|entry| match entry {
        DirectoryEntry::CareHome(home) => Some(home),
        _ => None,
    });
    let used = homes.filter(|home| !expired(home.expires, now) && home.ended(dates::civil(now)).is_none());
    used.flat_map(|home| [home.covering_practice.clone(), home.delivering_pharmacy.clone()]).collect()
}

/// The end of a round; none where there was none.
fn moment(second: u64) -> Option<Timestamp> {
    i64::try_from(second).ok().filter(|second| *second > 0).and_then(|second| Timestamp::from_second(second).ok())
}

impl Gateway {
    /// Looks every few minutes whether it is time, until `stop` turns true.
    pub async fn watch_organisations_until(self: Arc<Self>, stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.look_at_organisations(PACE, &stop).await {
                tracing::error!(%error, "the directory could not be held against ODS");
            }
            let wait = Duration::from_secs(LOOK_SECONDS + by_chance(LOOK_SECONDS));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(&stop) => return,
            }
        }
    }

    /// How the directory stands to ODS; `None` where it is not held against it.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    #[must_use]
    pub fn organisations_standing(&self) -> Option<Standing> {
        self.organisations.as_ref()?;
        Some(self.ods.lock().expect("nobody panics while holding it").standing.clone())
    }

    /// One look: a round, `pace` apart, where the last whole one ended a day ago and no other node makes one. Marks that a person has taken
    /// back, by naming the code or by not having ODS asked, are lifted at every look.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    pub async fn look_at_organisations(
        &self,
        pace: Duration,
        stop: &watch::Receiver<bool>,
    ) -> Result<Looked, StoreError> {
        let Some(watched) = &self.organisations else {
            self.lift(None).await?;
            return Ok(Looked::NotNow);
        };
        let holder = *self.known().holder.get_or_insert_with(|| by_chance(u64::MAX));
        let now = self.clock.now();
        let taken = self.store.take_forwarding(LEASE, holder, now, now + HELD, 0).await?;
        let has_rested = now.duration_since(self.known().started) >= watched.rest;
        let is_due = |last| has_rested && moment(last).is_none_or(|last| now.duration_since(last) >= EVERY);
        let looked = match taken {
            Some(last) => match self.lift(Some(&watched.except)).await {
                Ok(()) if is_due(last) => self.round(watched, (holder, last), pace, stop).await,
                lifted => lifted.map(|()| Looked::NotNow),
            },
            None => Ok(Looked::NotNow),
        };
        if taken.is_some() {
            // Whoever comes next need not wait until our time is over.
            let now = self.clock.now();
            self.store.take_forwarding(LEASE, holder, now, now, 0).await?;
        }
        let (last, closed) = told(self.store.as_ref(), self.clock.now()).await?;
        let standing = &mut self.known().standing;
        standing.looked = last;
        standing.closed = closed.len() as u64;
        // Another node has made up for it.
        standing.failing =
            standing.failing.filter(|since| last.is_none_or(|last| last.as_second() < since.as_second()));
        looked
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.ods.lock().expect("nobody panics while holding it")
    }

    /// Takes back the marks of these codes; all where there are none. The alert goes first: without the mark nobody would look for it.
    async fn lift(&self, except: Option<&BTreeSet<OdsCode>>) -> Result<(), StoreError> {
        for entry in self.store.directory().await? {
            if entry.ods_end().is_some() && except.is_none_or(|except| except.contains(entry.ods())) {
                let now = self.clock.now();
                self.store.clear_alert(AlertKind::OrganisationClosed, about_organisation(entry.ods()), now).await?;
                self.mark(entry, None, false).await?;
            }
        }
        Ok(())
    }

    async fn round(
        &self,
        Watched { ods, except, .. }: &Watched,
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
        let named = named_by_homes(&entries, self.clock.now());
        let begun = self.known().begun.clone().filter(|begun| begun.last == last);
        let left = MARKED_MIN.max(entries.len() / MARKED_OF);
        let mut begun = begun.unwrap_or(Begun { last, after: None, is_answered: false, left });
        if let Some(after) = &begun.after {
            entries.retain(|entry| entry.ods() > after);
        }
        let mut in_vain = InVain::default();
        for entry in entries {
            let (code, now) = (entry.ods().clone(), self.clock.now());
            let needs_it = matches!(entry, DirectoryEntry::CareHome(_)) || named.contains(&code);
            if expired(entry.expires(), now) {
                // Nothing is sent there anyhow; what was said of it stays for the day on which somebody renews the entry.
                self.store.clear_alert(AlertKind::OrganisationClosed, about_organisation(&code), now).await?;
                continue;
            }
            if except.contains(&code) {
                self.mark(entry, None, needs_it).await?;
                continue;
            }
            let ours = self.store.take_forwarding(LEASE, holder, now, now + HELD, 0).await?.is_some();
            if *stop.borrow() || !ours {
                return Ok(Looked::BrokenOff);
            }
            let answer = tokio::select! {
                answer = patiently(ods.as_ref(), &code) => answer,
                () = stopped(stop) => return Ok(Looked::BrokenOff),
            };
            let mut wait = pace;
            match answer {
                Ok(found) => {
                    (in_vain, begun.is_answered) = (InVain::default(), true);
                    self.known().standing.failing = None;
                    self.hold_against(entry, found.as_ref(), needs_it, &mut begun.left).await?;
                }
                Err(error) => {
                    tracing::error!(%error, organisation = %code, "ODS gave no answer: the entry stays as it is");
                    self.known().standing.failing.get_or_insert(now);
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
            self.known().begun = Some(begun.clone());
            if is_over {
                return Ok(Looked::BrokenOff);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(stop) => return Ok(Looked::BrokenOff),
            }
        }
        self.known().begun = None;
        if !begun.is_answered {
            // Nobody was to be asked about, or nothing was answered: neither is a look at ODS.
            return Ok(if begun.after.is_none() { Looked::NotNow } else { Looked::BrokenOff });
        }
        let second = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
        self.store.forwarded(LEASE, holder, second).await?;
        Ok(Looked::Whole)
    }

    /// Marks an entry as ODS says, unless `left`, how many may be marked that were not closed before, is used up. What ODS does not know, or
    /// knows as something else, is told in the process log alone: it may be the directory that is wrong, and nothing says that the
    /// organisation is not there.
    async fn hold_against(
        &self,
        entry: DirectoryEntry,
        found: Option<&Organisation>,
        needs_it: bool,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        let Some(found) = found else {
            tracing::warn!(organisation = %entry.ods(), "not known to ODS: mend the code in the directory");
            return Ok(());
        };
        let today = dates::civil(self.clock.now());
        let mut end = found.end(today);
        // Of one that is inactive without a date the day on which that was first seen stays.
        if let (Some(end), Some(before), false) = (&mut end, entry.ods_end(), found.active) {
            end.last_day = end.last_day.min(before.last_day);
        }
        if end.is_some() && entry.ods_end() != end.as_ref() && entry.ended(today).is_none() {
            let Some(one_less) = left.checked_sub(1) else {
                tracing::error!(
                    organisation = %entry.ods(),
                    "ODS calls more organisations closed than one round takes its word for: this one is not marked. See `onward directory \
                     current`; what is wrong goes into [ods] except, what is right is marked in the rounds that follow"
                );
                return Ok(());
            };
            *left = one_less;
        }
        self.mark(entry, end, needs_it).await
    }

    /// Keeps what ODS says in the entry, as a version of the directory, and tells operations where nothing is sent there any more and
    /// somebody's discharge needs it. What was changed meanwhile is looked at in the next round.
    async fn mark(&self, entry: DirectoryEntry, end: Option<OdsEnd>, needs_it: bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        let code = entry.ods().clone();
        let marked = entry.clone().with_ods_end(end);
        if marked != entry {
            let detail = match marked.ods_end() {
                Some(end) => format!("directory entry {code}: to ODS it is {end}"),
                None => format!("directory entry {code}: it is not held to be closed any more"),
            };
            let row = self.journal.row(&AuditEntry::new(AuditWord::Configure, now, Agent::gateway(), detail));
            if !self.store.amend_directory(entry, marked.clone(), "ODS", now, vec![row]).await? {
                return Ok(());
            }
        }
        if !needs_it || marked.ended(dates::civil(now)).is_none() {
            self.store.clear_alert(AlertKind::OrganisationClosed, about_organisation(&code), now).await?;
            return Ok(());
        }
        let concern = Concern {
            kind: AlertKind::OrganisationClosed,
            step: 1,
            transfer: None,
            sender: self.settings.own_ods.clone(),
            delivery: None,
            recipient: Some(code),
            hold: None,
            subscription: None,
            since: now,
        };
        self.raise(concern).await?;
        Ok(())
    }
}
