//! The list that people of a care home start from: who is due to arrive, and what is new since they last looked. What is new follows
//! from the order of commits, which the audit log has, and from no clock: nodes may tell the time differently, and what was planned
//! before a look may be committed after it. Clocks tell only which looks are one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use onward_core::audit::{AuditEntry, AuditQuery, AuditWord, FoundAudit};
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{Arrival, ArrivalQuery, StepKind, StoreError};
use onward_core::{DeliveryId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::answer::refusals_of_people;
use crate::attend::{Attendant, has_arrived};
use crate::explore::{everything, told};
use crate::meanwhile::{account, moved};
use crate::shown::Shown;
use crate::sightings::{Showed, all, parameter, query_of, shown_by};
use crate::{Gateway, checklist, leaving};

/// Looks that follow one another within this time are one: what is new stays marked while somebody works through the list.
const SPELL: SignedDuration = SignedDuration::from_mins(15);
/// So long whatever the home's own system could not process stays among those that need somebody.
const UNPROCESSED: SignedDuration = SignedDuration::from_hours(72);
/// Copies that are read at a time.
const PART: u32 = 500;
/// What the entry of a look at a whole list calls the size that the log had before the list was read.
const LOG: &str = "log";

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
    /// It came: nothing was written about it before.
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
    /// How many entries the audit log had before anything of this was read: what is news to whoever reads it stands after them.
    pub log: u64,
}

/// What somebody knew of a list after a look at it.
#[derive(Debug, Default)]
struct Known {
    /// Entries that the log had.
    log: u64,
    /// What stood on it.
    shown: BTreeSet<Uuid>,
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
        let log = self.store.audit_size().await?;
        let unprocessed = (self.clock.now() - UNPROCESSED, refusals_of_people());
        let query = ArrivalQuery { open_only, unprocessed, since, ..homes_of(who) };
        let arrivals = self.wanted(query, limit, wanted).await?;
        let copies = arrivals.iter().map(|arrival| arrival.copy.id).collect();
        let shown = Shown { copies, transfers: Vec::new() };
        let asked = if whole { format!("{asked}&{LOG}={log}") } else { asked };
        let looked = self.note_arrivals(who, (&asked, whole), &shown).await?;
        let mut news = BTreeMap::new();
        if let Some(looked) = looked {
            let known = self.known_after(who, looked).await?;
            for arrival in &arrivals {
                if let Some(what) = self.news_of(who, arrival, &known).await? {
                    news.insert(arrival.copy.id, what);
                }
            }
        }
        Ok(Listed { arrivals, looked, news, log })
    }

    /// How much came or changed since a page was shown that tells with how many entries of the log it was made ([`Listed::log`]). It
    /// names nobody and lists nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_news(&self, who: &Attendant, log: u64) -> Result<NewsCount, StoreError> {
        let query = ArrivalQuery { logged_from: Some(log), ..homes_of(who) };
        let known = Known { log, ..Known::default() };
        let mut count = NewsCount::default();
        for arrival in self.store.arrivals(query).await? {
            match self.news_of(who, &arrival, &known).await? {
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

    /// What the person's look of that moment told. Where there is none (they acted for another organisation then), nothing was known.
    async fn known_after(&self, who: &Attendant, looked: Timestamp) -> Result<Known, StoreError> {
        let looks = AuditQuery {
            words: vec![AuditWord::Query],
            from: Some(looked),
            until: looked.checked_add(SignedDuration::from_micros(1)).ok(),
            ..everything(who.agent.organisation.clone())
        };
        let found = all(self.store.as_ref(), looks).await?;
        let known = found.iter().filter_map(|entry| Some((entry.index, known_by(entry, &who.user)?)));
        Ok(known.max_by_key(|(index, _)| *index).map(|(_, known)| known).unwrap_or_default())
    }

    /// What a person did themselves is no news to them; what somebody else did before that is.
    async fn news_of(&self, who: &Attendant, arrival: &Arrival, known: &Known) -> Result<Option<News>, StoreError> {
        let copy = &arrival.copy;
        let is_later = |place: u64| place >= known.log;
        if arrival.logged.is_none_or(|(first, _)| is_later(first)) && !known.shown.contains(&copy.id.0) {
            return Ok(Some(News::New));
        }
        // On its way, or in the inbox and untouched: only we have moved it.
        let untouched = copy.ended.is_none()
            && matches!(copy.state, DeliveryState::Queued | DeliveryState::AwaitingCollection | DeliveryState::Sent);
        if untouched || !arrival.logged.is_some_and(|(_, last)| is_later(last)) {
            return Ok(None);
        }
        let changes = AuditQuery {
            entity: Some(copy.id.to_string()),
            words: vec![AuditWord::Acknowledge, AuditWord::Withdraw, AuditWord::DeliveryFailed],
            ..everything(None)
        };
        let found = all(self.store.as_ref(), changes).await?;
        let changed = |entry: &FoundAudit| {
            entry.delivery == Some(copy.id) && is_later(entry.index) && is_change_by_others(entry, &who.user)
        };
        Ok(found.iter().any(changed).then_some(News::Changed))
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
        unprocessed: (Timestamp::MAX, Vec::new()),
        since: Timestamp::MIN,
        logged_from: None,
        after: None,
        limit: PART,
    }
}

/// What an entry says that this account knew after a look at a whole list; `None` where it is of another kind or by somebody else.
fn known_by(entry: &FoundAudit, user: &str) -> Option<Known> {
    let event: Value = serde_json::from_slice(entry.event.as_deref()?).ok()?;
    let query = query_of(&event)?;
    if account(&event) != Some(user) || !query.starts_with("inbox?") || parameter(&query, "status").is_some() {
        return None;
    }
    let shown = match shown_by(entry) {
        Showed::OnList { subjects, .. } => subjects.into_iter().collect(),
        Showed::Nothing | Showed::Entries(_) => BTreeSet::new(),
    };
    // An earlier program kept no size: what was committed before this entry is taken for known.
    let log = parameter(&query, LOG).and_then(|log| log.parse().ok()).unwrap_or(entry.index);
    Some(Known { log, shown })
}

/// Whether an entry tells that somebody else than this account changed how the list shows the copy.
fn is_change_by_others(entry: &FoundAudit, user: &str) -> bool {
    if entry.word != AuditWord::Acknowledge {
        return true;
    }
    if let Some(moved) = moved(entry) {
        // That a system has it, as the list had it anyway.
        return moved.state != DeliveryState::Received;
    }
    let Some(event) = entry.event.as_deref().and_then(|event| serde_json::from_slice::<Value>(event).ok()) else {
        return false;
    };
    // Ticks and visits stand on a page of their own. As `attend` words them.
    let aside = [StepKind::Checked, StepKind::Visited];
    let is_aside = told(entry).is_some_and(|detail| aside.iter().any(|kind| detail.starts_with(kind.as_str())));
    account(&event).is_some_and(|account| account != user) && !is_aside
}

#[cfg(test)]
mod tests {
    use onward_core::UserId;
    use onward_core::audit::Agent;

    use super::*;
    use crate::journal::Journal;

    /// As the store gives an entry of this word and detail back; of a look with this raw query.
    fn found(agent: &Agent, word: AuditWord, detail: &str, query: Option<&str>) -> FoundAudit {
        let journal = Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
        let entry = AuditEntry {
            query: query.map(str::to_owned),
            ..AuditEntry::new(word, Timestamp::UNIX_EPOCH, agent.clone(), detail)
        };
        let row = journal.row(&entry);
        FoundAudit {
            index: 40,
            recorded: row.recorded,
            word,
            agent: Some(row.agent),
            organisation: None,
            delivery: None,
            patient: None,
            pseudonym: None,
            event: Some(row.event),
        }
    }

    fn person(user: UserId) -> Agent {
        Agent { user: Some(user), ..Agent::named("Pat Moore", None) }
    }

    #[test]
    fn what_others_did_to_what_the_list_shows_is_a_change() {
        use AuditWord::{Acknowledge, DeliveryFailed, Withdraw};
        let (own, other) = (UserId::random(), UserId::random());
        let (own_agent, colleague) = (person(own), person(other));
        let (system, mesh) = (Agent::named("rowan-house", None), Agent::named("mesh:X26ABC3", None));
        for (agent, word, detail, changed) in [
            (&colleague, Acknowledge, "accepted from received", true),
            (&own_agent, Acknowledge, "accepted from received", false),
            (&colleague, Acknowledge, "left", true),
            (&own_agent, Acknowledge, "left", false),
            (&colleague, Acknowledge, "queried", true),
            (&colleague, Acknowledge, "checked identity done", false),
            (&colleague, Acknowledge, "visited", false),
            (&system, Acknowledge, "accepted from received", true),
            (&mesh, Acknowledge, "rejected from sent, code 30003", true),
            (&mesh, Acknowledge, "received from sent, code 20013", false),
            (&mesh, Acknowledge, "code 30001 came when the copy was already accepted; nothing changed", false),
            (&Agent::named("northmoor-epr", None), Withdraw, "withdrawn: the wrong person", true),
            (&Agent::gateway(), Withdraw, "superseded: stop using it", true),
            (&Agent::gateway(), DeliveryFailed, "the partner answered 410", true),
        ] {
            let entry = found(agent, word, detail, None);
            assert_eq!(is_change_by_others(&entry, &own.to_string()), changed, "{}: {detail}", agent.name);
        }
        let erased = FoundAudit { event: None, ..found(&colleague, Acknowledge, "accepted from received", None) };
        assert!(!is_change_by_others(&erased, &own.to_string()), "nobody can tell any more");
    }

    #[test]
    fn a_look_at_a_whole_list_tells_what_was_known() {
        let (own, copy) = (UserId::random(), DeliveryId::random());
        let known = |agent: &Agent, query: &str| {
            let entry = found(agent, AuditWord::Query, "list of arrivals", Some(query));
            known_by(&entry, &own.to_string()).map(|known| (known.log, known.shown.contains(&copy.0)))
        };
        let query = |parameters: &str| format!("inbox?show=open{parameters}&shown={copy}");
        assert_eq!(known(&person(own), &query("&log=37")), Some((37, true)));
        assert_eq!(known(&person(own), "inbox?show=all&log=37&shown="), Some((37, false)));
        assert_eq!(known(&person(own), &query("")), Some((40, true)), "of an earlier program");
        assert_eq!(known(&person(own), &query("&status=arrived")), None, "a filter left others out");
        assert_eq!(known(&person(own), &format!("operations?shown={copy}")), None);
        assert_eq!(known(&person(UserId::random()), &query("&log=37")), None, "somebody else's");
    }
}
