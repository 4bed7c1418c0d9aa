//! The list that people of a care home start from: who is due to arrive, and what is new since they last looked.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{Arrival, ArrivalQuery, DeliveryRecord, StepKind, StoreError};
use onward_core::{DeliveryId, Timestamp};

use crate::attend::{Attendant, has_arrived};
use crate::shown::Shown;
use crate::{Gateway, checklist, leaving};

/// Looks that follow one another within this time are one: what is new stays marked while somebody works through the list.
const SPELL: SignedDuration = SignedDuration::from_mins(15);
/// Copies that are read at a time.
const PART: u32 = 500;

/// Which arrivals are listed.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Those alone that still need somebody.
    pub open_only: bool,
    /// Only those queued at or after this.
    pub since: Timestamp,
    /// No filter leaves anything out: only such a look counts as one, and tells what is new.
    pub whole: bool,
    /// At most so many of those that are wanted, the newest.
    pub limit: usize,
    /// What was asked for, as the log keeps it.
    pub asked: String,
}

/// What happened to a copy since somebody last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It came.
    New,
    /// Somebody else, or the hospital, changed how it stands.
    Changed,
}

/// A list with what is new on it.
#[derive(Debug)]
pub struct Listed {
    /// The lines, the newest first.
    pub arrivals: Vec<Arrival>,
    /// When the person last looked before; none: never.
    pub looked: Option<Timestamp>,
    /// What is new since then.
    pub news: BTreeMap<DeliveryId, News>,
}

/// How much is new, without what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewsCount {
    /// Copies that came.
    pub new: usize,
    /// Copies that others changed.
    pub changed: usize,
}

impl Gateway {
    /// The arrivals of the person's homes, as far as they are wanted, and the look itself audited with the copies that it shows.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn arrivals(
        &self,
        who: &Attendant,
        listing: Listing,
        wanted: impl Fn(&Arrival) -> bool + Send,
    ) -> Result<Listed, StoreError> {
        let Listing { open_only, since, whole, limit, asked } = listing;
        let query = ArrivalQuery { open_only, since, ..homes_of(who) };
        let arrivals = self.wanted(query, limit, wanted).await?;
        let copies = arrivals.iter().map(|arrival| arrival.copy.id).collect();
        let shown = Shown { copies, transfers: Vec::new() };
        let looked = self.note_arrivals(who, (&asked, whole), &shown).await?;
        let mut news = BTreeMap::new();
        if let Some(looked) = looked {
            for arrival in &arrivals {
                if let Some(what) = self.news_of(who, &arrival.copy, looked).await? {
                    news.insert(arrival.copy.id, what);
                }
            }
        }
        Ok(Listed { arrivals, looked, news })
    }

    /// How much came or changed since a page was shown. It names nobody and lists nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_news(&self, who: &Attendant, since: Timestamp) -> Result<NewsCount, StoreError> {
        let query = ArrivalQuery { changed_after: Some(since), ..homes_of(who) };
        let mut count = NewsCount::default();
        for arrival in self.store.arrivals(query).await? {
            match self.news_of(who, &arrival.copy, since).await? {
                Some(News::New) => count.new += 1,
                Some(News::Changed) => count.changed += 1,
                None => {}
            }
        }
        Ok(count)
    }

    /// Part by part, so that as many as fit are found, however many newer ones are not wanted.
    async fn wanted(
        &self,
        mut query: ArrivalQuery,
        limit: usize,
        wanted: impl Fn(&Arrival) -> bool + Send,
    ) -> Result<Vec<Arrival>, StoreError> {
        let mut listed = Vec::new();
        loop {
            let part = self.store.arrivals(query.clone()).await?;
            let whole = part.len() < query.limit as usize;
            query.after = part.last().map(|last| (last.copy.created, last.copy.id));
            for mut arrival in part {
                self.complete(&mut arrival).await?;
                // With an earlier version it was told that the person has left, and this one is acknowledged.
                let gone = query.open_only && arrival.left.is_some() && arrival.copy.state.is_acknowledged();
                if gone || !wanted(&arrival) {
                    continue;
                }
                listed.push(arrival);
                if listed.len() == limit {
                    return Ok(listed);
                }
            }
            if whole {
                return Ok(listed);
            }
        }
    }

    /// Adds what the store leaves out: of whom a notice speaks, and what was told with earlier versions.
    async fn complete(&self, arrival: &mut Arrival) -> Result<(), StoreError> {
        // Unless the home should not have known.
        if let Some(notice) = arrival.copy.notice.filter(|notice| notice.why != EndReason::Recalled) {
            arrival.card = self.store.card(notice.of).await?;
        }
        if arrival.continues {
            let steps = self.store.steps(arrival.copy.id).await?;
            arrival.settled = checklist::settled(&steps);
            arrival.arrived |= has_arrived(&steps);
            arrival.left = leaving::told_before(&steps).map(str::to_owned);
        }
        Ok(())
    }

    /// What a person did themselves is no news to them; what somebody else did before that is.
    async fn news_of(
        &self,
        who: &Attendant,
        copy: &DeliveryRecord,
        since: Timestamp,
    ) -> Result<Option<News>, StoreError> {
        if copy.created > since {
            return Ok(Some(News::New));
        }
        // On its way, or in the inbox and untouched: only we have moved it.
        let untouched = copy.ended.is_none()
            && matches!(copy.state, DeliveryState::Queued | DeliveryState::AwaitingCollection | DeliveryState::Sent);
        if copy.changed <= since || untouched {
            return Ok(None);
        }
        let steps = self.store.steps(copy.id).await?;
        let own = steps.iter().any(|step| step.at == copy.changed && step.user == who.user);
        // An opening changes nothing that the list shows; ticks and visits stand on a page of their own.
        let told = |kind| !matches!(kind, StepKind::Opened | StepKind::Checked | StepKind::Visited);
        let others = steps.iter().any(|step| step.at > since && step.user != who.user && told(step.kind));
        Ok((!own || others).then_some(News::Changed))
    }

    async fn note_arrivals(
        &self,
        who: &Attendant,
        (asked, whole): (&str, bool),
        shown: &Shown,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = self.clock.now();
        let row = |query| {
            let entry = AuditEntry {
                request_id: who.request_id.clone(),
                query: Some(query),
                ..AuditEntry::new(AuditWord::Query, now, who.agent.clone(), "list of arrivals")
            };
            self.journal.row(&entry)
        };
        let rows: Vec<_> = shown.queries(asked).into_iter().map(row).collect();
        match who.agent.user {
            Some(user) if whole => self.store.look(user, now, SPELL, rows).await,
            _ => self.store.audit(rows).await.map(|()| None),
        }
    }
}

fn homes_of(who: &Attendant) -> ArrivalQuery {
    ArrivalQuery {
        recipients: who.organisations.clone(),
        kind: RecipientKind::CareHome,
        open_only: false,
        since: Timestamp::MIN,
        changed_after: None,
        after: None,
        limit: PART,
    }
}
