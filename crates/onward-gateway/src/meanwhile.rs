//! What was done with a copy since somebody's page of it was made. Nothing hangs on a clock: a step that was planned before the look
//! and committed after it is news, and so is what another gateway commits whose clock is late.

use std::fmt;
use std::str::FromStr;

use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::state::DeliveryState;
use onward_core::store::{Step, StoreError};
use onward_core::{DeliveryId, Timestamp};
use serde_json::Value;

use crate::Gateway;
use crate::explore::{everything, told};
use crate::journal::USER_URN;
use crate::sightings::all;

/// How far a page tells what was done with a copy. It counts what was committed: whatever is committed later lies beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Entries of the audit log before anything of the page was read.
    log: u64,
    /// Steps with this copy that the page knew.
    own: usize,
    /// Steps with the copies whose place it took that the page knew.
    earlier: usize,
}

/// A text that is no [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no mark of a page")]
pub struct NoMark;

/// A move of a copy by a system of its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The client's name, or its mailbox.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// To which state.
    pub state: DeliveryState,
    /// The ITK3 response code that came with it.
    pub code: Option<String>,
}

impl Mark {
    pub(crate) fn new(log: u64, copy: DeliveryId, steps: &[Step]) -> Self {
        let own = steps.iter().filter(|step| step.delivery == copy).count();
        Self { log, own, earlier: steps.len() - own }
    }

    /// Those of a copy's steps that its page did not know. A copy's steps are kept in the order of their commits, and none is taken out.
    pub fn beyond(self, copy: DeliveryId, steps: &[Step]) -> impl Iterator<Item = &Step> {
        let (mut own, mut earlier) = (self.own, self.earlier);
        steps.iter().filter(move |step| {
            let known = if step.delivery == copy { &mut own } else { &mut earlier };
            let is_known = *known > 0;
            *known = known.saturating_sub(1);
            !is_known
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.log, self.own, self.earlier)
    }
}

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NoMark);
        let (log, own, earlier) = (next()?, next()?, next()?);
        let mark = Self {
            log: log.parse().map_err(|_| NoMark)?,
            own: own.parse().map_err(|_| NoMark)?,
            earlier: earlier.parse().map_err(|_| NoMark)?,
        };
        // What we did not write ourselves is none.
        if mark.to_string() == text { Ok(mark) } else { Err(NoMark) }
    }
}

impl Gateway {
    /// What systems of the recipient did with its copy since a page of it was made, the oldest first. Whoever is shown it has had the
    /// look at the copy audited.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn moved_since(&self, copy: DeliveryId, mark: Mark) -> Result<Vec<Moved>, StoreError> {
        let query =
            AuditQuery { entity: Some(copy.to_string()), words: vec![AuditWord::Acknowledge], ..everything(None) };
        let mut found = all(self.store.as_ref(), query).await?;
        found.retain(|entry| entry.index >= mark.log && entry.delivery == Some(copy));
        found.sort_by_key(|entry| entry.index);
        Ok(found.iter().filter_map(moved).collect())
    }
}

/// The account of the person who acted, if one did.
pub(crate) fn account(event: &Value) -> Option<&str> {
    event["agent"][0]["altId"].as_str()?.strip_prefix(USER_URN)
}

/// The move that an entry tells of, if no person made it: what people do is a step.
pub(crate) fn moved(entry: &FoundAudit) -> Option<Moved> {
    let event: Value = serde_json::from_slice(entry.event.as_deref()?).ok()?;
    if account(&event).is_some() {
        return None;
    }
    // As `transition_for` words it; a late response that changed nothing is worded otherwise.
    let detail = told(entry)?;
    let (state, before) = detail.split_once(" from ")?;
    let is_state = |text: &str| text.parse::<DeliveryState>().ok();
    let (before, code) = before.split_once(", code ").map_or((before, None), |(before, code)| (before, Some(code)));
    is_state(before)?;
    let code = code.map(str::to_owned);
    Some(Moved { by: entry.agent.clone()?, at: entry.recorded, state: is_state(state)?, code })
}

#[cfg(test)]
mod tests {
    use onward_core::audit::{Agent, AuditEntry};
    use onward_core::store::StepKind;

    use super::*;
    use crate::journal::Journal;

    fn step(delivery: DeliveryId, kind: StepKind, second: i64) -> Step {
        Step {
            delivery,
            kind,
            at: Timestamp::from_second(second).expect("a moment"),
            user: "u".to_owned(),
            name: "n".to_owned(),
            item: None,
            outcome: None,
            text: None,
        }
    }

    #[test]
    fn what_was_planned_before_and_committed_after_lies_beyond() {
        let (copy, old) = (DeliveryId::random(), DeliveryId::random());
        let seen = [step(old, StepKind::Arrived, 5), step(copy, StepKind::Opened, 20)];
        let mark = Mark::new(7, copy, &seen);
        assert_eq!(mark.to_string(), "7.1.1");
        assert_eq!(mark.beyond(copy, &seen).count(), 0);
        // Both were planned before the opening, and committed after it.
        let [arrived, opened] = seen;
        let later = [arrived, step(old, StepKind::Left, 6), opened, step(copy, StepKind::Acknowledged, 10)];
        let news: Vec<_> = mark.beyond(copy, &later).map(|step| step.kind).collect();
        assert_eq!(news, [StepKind::Left, StepKind::Acknowledged]);
    }

    #[test]
    fn a_mark_is_read_as_it_is_written_and_in_no_other_way() {
        let mark = Mark { log: 412, own: 3, earlier: 0 };
        assert_eq!(mark.to_string().parse(), Ok(mark));
        for text in ["", "17", "1.2", "1.2.3.4", "+1.2.3", "01.2.3", "1.2.-3", "1.2.x", "99999999999999999999999.0.0"] {
            assert_eq!(text.parse::<Mark>(), Err(NoMark), "{text}");
        }
    }

    #[test]
    fn a_move_is_told_of_a_system_and_of_no_person() {
        let journal = Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
        let told = |agent: &Agent, detail: &str| {
            let copy = DeliveryId::random();
            let entry = AuditEntry {
                delivery: Some(copy),
                ..AuditEntry::new(AuditWord::Acknowledge, Timestamp::UNIX_EPOCH, agent.clone(), detail)
            };
            let row = journal.row(&entry);
            moved(&FoundAudit {
                index: 3,
                recorded: row.recorded,
                word: row.word,
                agent: Some(row.agent),
                organisation: None,
                delivery: Some(copy),
                patient: None,
                pseudonym: None,
                event: Some(row.event),
            })
            .map(|moved| (moved.by, moved.state, moved.code))
        };
        let system = Agent::named("rowan-ecr", None);
        let by = |state, code: Option<&str>| Some(("rowan-ecr".to_owned(), state, code.map(str::to_owned)));
        assert_eq!(told(&system, "accepted from received"), by(DeliveryState::Accepted, None));
        assert_eq!(told(&system, "rejected from received, code 30022"), by(DeliveryState::Rejected, Some("30022")));
        let late = "code 30001 came when the copy was already completed; nothing changed";
        for nothing in [late, "queried", "checked identity done", "accepted from Leeds"] {
            assert_eq!(told(&system, nothing), None, "{nothing}");
        }
        let person = Agent { user: Some(onward_core::UserId::random()), ..system };
        assert_eq!(told(&person, "accepted from received"), None);
    }
}
