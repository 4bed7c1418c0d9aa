//! The directory held against ODS, once a day ([`crate::rounds`]). An organisation that ODS calls closed is marked in its entry, whatever the
//! entry's own time: nothing new is sent there before a person has looked.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::directory::{DirectoryEntry, OdsEnd, Organisation, Organisations};
use onward_core::store::alerts::{AlertKind, about_organisation};
use onward_core::store::{Store, StoreError};
use onward_core::transport::SendError;
use onward_core::{OdsCode, Timestamp};
use onward_transform::render::dates;
use tokio::sync::watch;

use crate::Gateway;
use crate::identify::expired;
use crate::rounds::{self, Daily, Known, Looked, Question};

/// A round marks so many entries that were not closed before, or one in [`MARKED_OF`] of all where that is more: organisations close one by
/// one, and what says that many have is more likely wrong.
const MARKED_MIN: usize = 3;
/// See [`MARKED_MIN`].
const MARKED_OF: usize = 20;
/// See [`Question::LEASE`].
const LEASE: &str = "ods";

/// ODS, and whom it is not asked about.
#[derive(Clone)]
pub struct Watched {
    /// It.
    pub ods: Arc<dyn Organisations>,
    /// Codes that ODS does not know, or has wrong, by a person's decision.
    pub except: BTreeSet<OdsCode>,
    /// How long after its start a process makes no round: [`rounds::REST`].
    pub rest: SignedDuration,
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

/// Asks a busy ODS again as it wishes, a few times.
///
/// # Errors
/// When it cannot be asked, or wishes for more time than a minute.
pub async fn patiently(ods: &dyn Organisations, code: &OdsCode) -> Result<Option<Organisation>, SendError> {
    rounds::patiently(|| ods.organisation(code)).await
}

/// How the daily look at ODS stands, and the codes of organisations of the directory that have closed.
///
/// # Errors
/// When the store cannot be read.
pub async fn told(store: &dyn Store, now: Timestamp) -> Result<(Daily, Vec<OdsCode>), StoreError> {
    let daily = rounds::daily(store, LEASE).await?;
    let today = dates::civil(now);
    let closed = store.directory().await?.into_iter().filter(|entry| entry.ended(today).is_some());
    Ok((daily, closed.map(|entry| entry.ods().clone()).collect()))
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

/// See [`crate::rounds`].
struct AgainstOds<'g> {
    gateway: &'g Gateway,
    watched: &'g Watched,
    /// Practices and pharmacies that a home needs which is used itself.
    named: BTreeSet<OdsCode>,
}

impl AgainstOds<'_> {
    /// Whether somebody's discharge needs this entry.
    fn is_needed(&self, entry: &DirectoryEntry) -> bool {
        matches!(entry, DirectoryEntry::CareHome(_)) || self.named.contains(entry.ods())
    }
}

impl Question for AgainstOds<'_> {
    const LEASE: &'static str = LEASE;
    const SERVICE: &'static str = "ODS";
    type Answer = Option<Organisation>;

    fn known(&self) -> &Mutex<Known> {
        &self.gateway.ods
    }

    fn rest(&self) -> SignedDuration {
        self.watched.rest
    }

    async fn lift(&self) -> Result<(), StoreError> {
        self.gateway.lift(Some(&self.watched.except)).await
    }

    fn begin(&mut self, entries: &[DirectoryEntry], now: Timestamp) -> usize {
        self.named = named_by_homes(entries, now);
        MARKED_MIN.max(entries.len() / MARKED_OF)
    }

    async fn is_about(&self, entry: &DirectoryEntry) -> Result<bool, StoreError> {
        let now = self.gateway.clock.now();
        if expired(entry.expires(), now) {
            // Nothing is sent there anyhow; what was said of it stays for the day on which somebody renews the entry.
            let about = about_organisation(entry.ods());
            self.gateway.store.clear_alert(AlertKind::OrganisationClosed, about, now).await?;
            return Ok(false);
        }
        let is_excepted = self.watched.except.contains(entry.ods());
        if is_excepted {
            self.gateway.mark(entry.clone(), None, self.is_needed(entry)).await?;
        }
        Ok(!is_excepted)
    }

    async fn ask(&self, entry: &DirectoryEntry) -> Result<Option<Organisation>, SendError> {
        patiently(self.watched.ods.as_ref(), entry.ods()).await
    }

    async fn hold_against(
        &self,
        entry: DirectoryEntry,
        found: Option<Organisation>,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        let needs_it = self.is_needed(&entry);
        self.gateway.hold_against_ods(entry, found.as_ref(), needs_it, left).await
    }
}

impl Gateway {
    /// How the directory stands to ODS; `None` where it is not held against it.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    #[must_use]
    pub fn organisations_standing(&self) -> Option<Standing> {
        self.organisations.as_ref()?;
        let rounds::Standing { looked, failing } = rounds::standing(&self.ods);
        Some(Standing { looked, failing, closed: self.ods_closed.load(Ordering::Relaxed) })
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
        let looked = self.look_by(&mut AgainstOds { gateway: self, watched, named: BTreeSet::new() }, pace, stop).await;
        let (_, closed) = told(self.store.as_ref(), self.clock.now()).await?;
        self.ods_closed.store(closed.len() as u64, Ordering::Relaxed);
        looked
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

    /// Marks an entry as ODS says, unless `left`, how many may be marked that were not closed before, is used up. What ODS does not know, or
    /// knows as something else, is told in the process log alone: it may be the directory that is wrong, and nothing says that the
    /// organisation is not there.
    async fn hold_against_ods(
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
        self.raise_own(AlertKind::OrganisationClosed, Some(code), now).await.map(drop)
    }
}
