//! The hospital's own list of discharges against what was received, delivered and read: what is missing is a person's work.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{Changed, DeliveryRecord, FoundTask, StoreError, TaskQuery, TransferRecord};
use onward_core::{NhsNumber, OdsCode, TransferId};

use crate::Gateway;

/// A message may come so long before the discharge that it is about, and the discharge that its document tells be so far from it.
const AHEAD: SignedDuration = SignedDuration::from_hours(48);
/// Transfers read at once.
const PAGE: u32 = 500;

/// One discharge of the list. Its time is a moment, or a whole day where the list tells no more.
#[derive(Clone)]
pub struct Discharge {
    /// Who was discharged.
    pub patient: NhsNumber,
    /// Not before this.
    pub from: Timestamp,
    /// Not after this.
    pub until: Timestamp,
}

impl Discharge {
    /// How far a moment is from it.
    fn away(&self, at: Timestamp) -> SignedDuration {
        let (before, after) = (self.from.duration_since(at), at.duration_since(self.until));
        before.max(after).max(SignedDuration::ZERO)
    }

    /// How far a message is from it, which came then and whose document tells of a discharge then; `None`: it is about another one.
    fn distance(&self, received: Timestamp, told: Option<Timestamp>, within: SignedDuration) -> Option<SignedDuration> {
        // A correction comes later than its first version: what the document says counts where it says something.
        if let Some(told) = told {
            return Some(self.away(told)).filter(|distance| *distance <= AHEAD);
        }
        let earliest = self.from.checked_sub(AHEAD).unwrap_or(Timestamp::MIN);
        let latest = self.until.checked_add(within).unwrap_or(Timestamp::MAX);
        (earliest..=latest).contains(&received).then(|| self.away(received))
    }
}

/// How far the message about a discharge has come. The first that fits is told, and all but the last two are work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing about it came.
    NotReceived,
    /// It waits for a decision.
    Held,
    /// A person ended it without sending anything.
    NotSent,
    /// The hospital took it back, or every copy was taken back.
    Withdrawn,
    /// A copy failed for good.
    Failed,
    /// A copy has not left yet, or has been sent and nothing says that it arrived.
    NotDelivered,
    /// A recipient declined it.
    Declined,
    /// The home, or whoever receives where there is none, has not read it.
    NotRead,
    /// A copy did not arrive, and a person took care of it in another way: nobody's work any more.
    Closed,
    /// It was read.
    Read,
}

impl Progress {
    /// The word for lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReceived => "not-received",
            Self::Held => "held",
            Self::NotSent => "not-sent",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
            Self::NotDelivered => "not-delivered",
            Self::Declined => "declined",
            Self::NotRead => "not-read",
            Self::Closed => "closed",
            Self::Read => "read",
        }
    }

    /// How far a transfer has come, and the recipients whose copies are why; for a hold, its reason and who decides.
    #[must_use]
    pub fn of(transfer: &TransferRecord) -> (Self, String) {
        if let Some(hold) = &transfer.hold {
            return (Self::Held, format!("{}: {}", hold.reason, hold.owner));
        }
        if transfer.not_sent.is_some() {
            return (Self::NotSent, String::new());
        }
        if transfer.ended.is_some() {
            return (Self::Withdrawn, String::new());
        }
        // Whoever a copy was taken back from, or whose it was before a later one, is nobody's work.
        let copies = || transfer.copies().filter(|copy| copy.ended.is_none());
        if transfer.copies().next().is_some() && copies().next().is_none() {
            return (Self::Withdrawn, String::new());
        }
        let reader = |copy: &&DeliveryRecord| copy.kind == RecipientKind::CareHome;
        let has_home = copies().any(|copy| reader(&copy));
        let unread = |copy: &DeliveryRecord| {
            let done = copy.opened.is_some()
                || copy.closed
                || copy.state.is_acknowledged()
                || copy.state == DeliveryState::Withdrawn;
            !done && (reader(&copy) || !has_home)
        };
        for (progress, fits) in [
            (
                Self::Failed,
                &(|copy: &DeliveryRecord| copy.state == DeliveryState::Failed && !copy.closed)
                    as &dyn Fn(&DeliveryRecord) -> bool,
            ),
            (Self::NotDelivered, &|copy: &DeliveryRecord| copy.state == DeliveryState::Queued),
            (Self::Declined, &|copy: &DeliveryRecord| copy.state == DeliveryState::Rejected && !copy.closed),
            (Self::NotRead, &unread),
            // Last: that nobody has read it is told before that a practice's answer is missing.
            (Self::NotDelivered, &|copy: &DeliveryRecord| copy.state == DeliveryState::Sent && copy.opened.is_none()),
            (Self::Closed, &|copy: &DeliveryRecord| copy.closed),
        ] {
            let whose: Vec<_> =
                copies().filter(|copy| fits(copy)).map(|copy| format!("{} {}", copy.kind, copy.recipient)).collect();
            if !whose.is_empty() {
                return (progress, whose.join(", "));
            }
        }
        (Self::Read, String::new())
    }
}

/// What was found about a discharge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// How far it has come.
    pub progress: Progress,
    /// Whose copies are why; codes only.
    pub detail: String,
    /// The transfer.
    pub transfer: Option<TransferId>,
    /// When it came.
    pub received: Option<Timestamp>,
}

impl Reconciled {
    /// Nothing came.
    fn nothing() -> Self {
        Self { progress: Progress::NotReceived, detail: String::new(), transfer: None, received: None }
    }

    /// This came.
    fn of(transfer: &TransferRecord) -> Self {
        let (progress, detail) = Progress::of(transfer);
        Self { progress, detail, transfer: Some(transfer.id), received: Some(transfer.received) }
    }
}

/// One comparison. A transfer stands for one discharge.
pub struct Reconciliation<'g> {
    gateway: &'g Gateway,
    sender: OdsCode,
    within: SignedDuration,
    agent: Agent,
    used: BTreeSet<TransferId>,
}

impl Gateway {
    /// Begins to compare a list of this hospital's; a message may come so long after its discharge.
    #[must_use]
    pub fn reconcile(&self, sender: OdsCode, within: SignedDuration, agent: Agent) -> Reconciliation<'_> {
        Reconciliation { gateway: self, sender, within, agent, used: BTreeSet::new() }
    }
}

impl Reconciliation<'_> {
    /// What was found about these discharges, in their order; all discharges of one person are asked about together, so that each gets the
    /// message that is nearest to it. Each person about whom something is told is in the audit log before it is.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn find(&mut self, discharges: &[Discharge]) -> Result<Vec<Reconciled>, StoreError> {
        let mut people: BTreeMap<&NhsNumber, Vec<usize>> = BTreeMap::new();
        for (at, discharge) in discharges.iter().enumerate() {
            people.entry(&discharge.patient).or_default().push(at);
        }
        let mut found = vec![Reconciled::nothing(); discharges.len()];
        for (patient, rows) in people {
            let theirs: Vec<&Discharge> = rows.iter().map(|at| &discharges[*at]).collect();
            let messages = self.messages_about(patient, &theirs).await?;
            let when: Vec<_> = messages.iter().map(|transfer| (transfer.received, transfer.expected)).collect();
            for (at, message) in rows.into_iter().zip(matched(&theirs, &when, self.within)) {
                if let Some(message) = message {
                    self.used.insert(messages[message].id);
                    found[at] = Reconciled::of(&messages[message]);
                }
            }
        }
        // That nothing came about somebody is told about them, too.
        let audit: Vec<_> =
            found.iter().zip(discharges).map(|(one, about)| self.row(one, Some(about.patient.clone()))).collect();
        if !audit.is_empty() {
            self.gateway.store.audit(audit).await?;
        }
        Ok(found)
    }

    fn row(&self, one: &Reconciled, patient: Option<NhsNumber>) -> AuditRow {
        self.gateway.journal.row(&AuditEntry {
            transfer: one.transfer,
            patient,
            ..self.entry(format!("a list of discharges was compared: {}", one.progress.as_str()))
        })
    }

    /// The hospital's transfers that came in this time and that no discharge of the list stands for; each is in the audit log before it is
    /// told.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn unlisted(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Reconciled>, StoreError> {
        let mut unlisted = Vec::new();
        let mut after = Some((from, uuid::Uuid::nil()));
        loop {
            let query = TaskQuery {
                transfers: true,
                sender: Some(self.sender.clone()),
                after,
                limit: PAGE,
                ..TaskQuery::default()
            };
            let page = self.gateway.store.tasks(query).await?;
            after = page.last().map(FoundTask::place);
            let last = page.len() < PAGE as usize || page.last().is_some_and(|task| task.place().0 > until);
            let mut audit = Vec::new();
            for task in page {
                let FoundTask::Transfer(transfer) = task else { continue };
                if transfer.received <= until && transfer.replaced_by.is_none() && !self.used.contains(&transfer.id) {
                    let one = Reconciled::of(&transfer);
                    audit.push(self.row(&one, transfer.patient));
                    unlisted.push(one);
                }
            }
            if !audit.is_empty() {
                self.gateway.store.audit(audit).await?;
            }
            if last {
                return Ok(unlisted);
            }
        }
    }

    /// Commits that the list was compared, and what came of it.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn conclude(&self, summary: &str) -> Result<(), StoreError> {
        let entry = self.entry(format!("a list of discharges of {} was compared: {summary}", self.sender));
        self.gateway.store.audit(vec![self.gateway.journal.row(&entry)]).await
    }

    fn entry(&self, detail: String) -> AuditEntry {
        AuditEntry::new(AuditWord::Query, self.gateway.clock.now(), self.agent.clone(), detail)
    }

    /// The newest versions of the messages about a person that may be about one of these discharges, the oldest first.
    async fn messages_about(
        &self,
        patient: &NhsNumber,
        discharges: &[&Discharge],
    ) -> Result<Vec<TransferRecord>, StoreError> {
        let earliest = discharges.iter().map(|discharge| discharge.from).min().unwrap_or(Timestamp::MIN);
        let from = Some(earliest.checked_sub(AHEAD).unwrap_or(Timestamp::MIN));
        let (mut messages, mut after) = (Vec::new(), None);
        loop {
            let query = TaskQuery {
                transfers: true,
                sender: Some(self.sender.clone()),
                patient: Some(patient.clone()),
                changed: vec![Changed::Within { from, until: None }],
                after,
                limit: PAGE,
                ..TaskQuery::default()
            };
            let page = self.gateway.store.tasks(query).await?;
            after = page.last().map(FoundTask::place);
            let last = page.len() < PAGE as usize;
            for task in page {
                let FoundTask::Transfer(transfer) = task else { continue };
                if transfer.replaced_by.is_none() && !self.used.contains(&transfer.id) {
                    messages.push(*transfer);
                }
            }
            if last {
                return Ok(messages);
            }
        }
    }
}

/// For each discharge of one person the message that stands for it: the nearest pairs first, and each message for one discharge. Of a
/// message it is told when it came, and of which discharge its document tells.
fn matched(
    discharges: &[&Discharge],
    messages: &[(Timestamp, Option<Timestamp>)],
    within: SignedDuration,
) -> Vec<Option<usize>> {
    let mut pairs = Vec::new();
    for (row, discharge) in discharges.iter().enumerate() {
        for (message, (received, told)) in messages.iter().enumerate() {
            if let Some(distance) = discharge.distance(*received, *told, within) {
                pairs.push((distance, *received, message, row));
            }
        }
    }
    pairs.sort_unstable();
    let (mut matched, mut used) = (vec![None; discharges.len()], vec![false; messages.len()]);
    for (.., message, row) in pairs {
        if matched[row].is_none() && !used[message] {
            matched[row] = Some(message);
            used[message] = true;
        }
    }
    matched
}

#[cfg(test)]
mod tests {
    use onward_core::DeliveryId;
    use onward_core::directory::Endpoint;
    use onward_core::state::EndReason;
    use onward_core::store::{Ended, ReplyWanted};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a moment")
    }

    fn discharge(moment: &str) -> Discharge {
        Discharge { patient: "9990000018".parse().expect("a test number"), from: at(moment), until: at(moment) }
    }

    fn copy(kind: RecipientKind, recipient: &str, state: DeliveryState, why: Option<EndReason>) -> DeliveryRecord {
        DeliveryRecord {
            id: DeliveryId::random(),
            transfer: TransferId(uuid::Uuid::nil()),
            sender: "R9Z".parse().expect("a code"),
            patient: None,
            kind,
            recipient: recipient.parse().expect("a code"),
            recipient_name: String::new(),
            endpoint: Endpoint::Inbox {},
            state,
            version: 1,
            attempts: 1,
            next_attempt: None,
            reason: None,
            code: None,
            reference: None,
            correlation_id: None,
            body_bytes: 0,
            acknowledgement_awaited: true,
            basis: String::new(),
            created: at("2026-11-18T10:00:00Z"),
            changed: at("2026-11-18T10:00:00Z"),
            opened: None,
            erased: false,
            ended: why.map(|why| Ended { why, by: None }),
            notice: None,
            replay: None,
            closed: false,
        }
    }

    fn told(deliveries: Vec<DeliveryRecord>) -> (Progress, String) {
        Progress::of(&TransferRecord {
            id: TransferId(uuid::Uuid::nil()),
            sender: "R9Z".parse().expect("a code"),
            client_id: String::new(),
            message_id: String::new(),
            event: String::new(),
            received: at("2026-11-18T10:00:00Z"),
            expected: None,
            patient: None,
            care_home: None,
            reply: ReplyWanted {
                infrastructure: false,
                business: false,
                mailbox: None,
                header_id: String::new(),
                sender_reference: None,
                workflow: None,
            },
            hold: None,
            not_sent: None,
            version: 1,
            replaces: None,
            replaced_by: None,
            awaits: None,
            ended: None,
            changed: at("2026-11-18T10:00:00Z"),
            erased: false,
            deliveries,
        })
    }

    #[test]
    fn what_was_taken_back_is_nobodys_work_any_more() {
        use DeliveryState::{AwaitingCollection, Completed, Failed, InProgress, Rejected, Sent, Withdrawn};
        use RecipientKind::{CareHome, CoveringPractice};
        let recalled = Some(EndReason::Recalled);
        // Home A declined and is recalled, home B has not read.
        let declined = || copy(CareHome, "VMH01", Rejected, recalled);
        let unread = copy(CareHome, "VMH02", AwaitingCollection, None);
        assert_eq!(told(vec![declined(), unread]), (Progress::NotRead, "care-home VMH02".to_owned()));
        let failed = copy(CoveringPractice, "Y99001", Failed, recalled);
        let reads = || copy(CareHome, "VMH02", InProgress, None);
        assert_eq!(told(vec![declined(), failed, reads()]).0, Progress::Read);
        assert_eq!(told(vec![copy(CareHome, "VMH01", Withdrawn, recalled)]).0, Progress::Withdrawn, "nobody has it");
        // What a person took care of is told as that, after what is work.
        let closed = || DeliveryRecord { closed: true, ..copy(CoveringPractice, "Y99001", Failed, None) };
        let told_closed = told(vec![reads(), closed()]);
        assert_eq!(told_closed, (Progress::Closed, "covering-practice Y99001".to_owned()));
        let unread = copy(CareHome, "VMH01", AwaitingCollection, None);
        assert_eq!(told(vec![unread, closed()]).0, Progress::NotRead);
        let closed_home = DeliveryRecord { closed: true, ..copy(CareHome, "VMH01", Failed, None) };
        assert_eq!(told(vec![closed_home]).0, Progress::Closed);
        // Sent, and no word that it arrived.
        let sent = || copy(CoveringPractice, "Y99001", Sent, None);
        let expected = (Progress::NotDelivered, "covering-practice Y99001".to_owned());
        assert_eq!(told(vec![reads(), sent()]), expected);
        let waits = copy(CareHome, "VMH02", AwaitingCollection, None);
        assert_eq!(told(vec![waits, sent()]).0, Progress::NotRead, "the person comes to the home");
        assert_eq!(told(vec![reads(), copy(CoveringPractice, "Y99001", Completed, None)]).0, Progress::Read);
    }

    fn pairs(list: &[Discharge], messages: &[(&str, Option<&str>)]) -> Vec<Option<usize>> {
        let messages: Vec<_> = messages.iter().map(|(received, told)| (at(received), told.map(at))).collect();
        matched(&list.iter().collect::<Vec<_>>(), &messages, SignedDuration::from_hours(72))
    }

    #[test]
    fn a_message_whose_document_tells_of_another_discharge_does_not_stand_for_this_one() {
        let (first, second) = (discharge("2026-11-18T10:00:00Z"), discharge("2026-11-21T09:00:00Z"));
        // Nothing was sent after the first stay; the second's came three days later, within what a message may take.
        let sent = [("2026-11-21T08:00:00Z", Some("2026-11-21T09:00:00Z"))];
        assert_eq!(pairs(std::slice::from_ref(&first), &sent), [None]);
        assert_eq!(pairs(&[first.clone(), second.clone()], &sent), [None, Some(0)]);
        assert_eq!(pairs(&[second, first.clone()], &sent), [Some(0), None]);
        // A document that tells of none is taken by when it came.
        assert_eq!(pairs(std::slice::from_ref(&first), &[("2026-11-21T08:00:00Z", None)]), [Some(0)]);
        assert_eq!(pairs(std::slice::from_ref(&first), &[("2026-11-21T10:00:01Z", None)]), [None], "too late");
        // A correction weeks later is about the discharge that it names.
        assert_eq!(pairs(&[first], &[("2026-12-09T08:00:00Z", Some("2026-11-18T00:00:00Z"))]), [Some(0)]);
    }

    #[test]
    fn the_nearest_pairs_are_made_first_whatever_the_order_of_the_list() {
        let (early, late) = (discharge("2026-11-18T10:00:00Z"), discharge("2026-11-19T10:00:00Z"));
        let about_late = ("2026-11-19T09:00:00Z", Some("2026-11-19T09:30:00Z"));
        assert_eq!(
            pairs(&[early.clone(), late.clone()], &[about_late]),
            [None, Some(0)],
            "the first row takes nothing"
        );
        assert_eq!(pairs(&[late.clone(), early.clone()], &[about_late]), [Some(0), None]);
        let about_early = ("2026-11-20T09:00:00Z", Some("2026-11-18T12:00:00Z"));
        assert_eq!(pairs(&[early.clone(), late.clone()], &[about_late, about_early]), [Some(1), Some(0)]);
        assert_eq!(pairs(&[early.clone(), early.clone(), late], &[about_early]), [Some(0), None, None], "each once");
    }
}
