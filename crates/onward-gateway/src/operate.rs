//! What those who keep the gateway running see and do: what has not left and why, sending again, pauses, and who a copy is
//! about when that must be known. Lists name nobody; a name is shown for a reason, and that is a disclosure.

use std::collections::BTreeMap;

use onward_core::audit::{AuditEntry, AuditQuery, AuditRow, AuditWord, Basis};
use onward_core::cause::Cause;
use onward_core::directory::Endpoint;
use onward_core::state::RecipientKind;
use onward_core::store::{
    Again, Approval, ApprovalKind, Backlog, Bulk, CloseCopy, Damaged, DeliveryQuery, DeliveryRecord, HeldTransfer,
    OriginalMessage, Pause, Queue, Resend, StoreError, Stuck, StuckQuery, Whereto,
};
use onward_core::{DeliveryId, NhsNumber, OdsCode, Timestamp, TransferId};
use onward_fhir::views;

use crate::Gateway;
use crate::attend::Attendant;
use crate::holds::Decider;
use crate::prepare::{format_of, read_tree};
use crate::redirect::Redirect;
use crate::shown::Shown;

/// Copies that one decision sends again at most.
pub const BULK_MAX: u32 = 500;

/// How often what is to be sent again is read when its address changes meanwhile.
const LOOKS: u32 = 5;

/// After the name of whom it concerns, how an entry tells that a pause began.
pub(crate) const PAUSED: &str = "paused by";
/// The same, that it ended.
pub(crate) const RESUMED: &str = "resumed by";

/// How an entry tells that a person took care of a copy in another way.
pub(crate) const CLOSED_COPY: &str = "handed over otherwise by ";

/// What the board shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardFilter {
    /// Only this queue.
    pub queue: Option<Queue>,
    /// Only to this organisation.
    pub recipient: Option<OdsCode>,
    /// Only for this cause.
    pub cause: Option<Cause>,
}

/// So many, and since when the oldest of them waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// When the oldest of them was queued, or came.
    pub oldest: Timestamp,
}

impl Tally {
    fn add(&mut self, count: u64, oldest: Timestamp) {
        self.count += count;
        self.oldest = self.oldest.min(oldest);
    }
}

/// What became of sending a copy again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resent {
    /// It is queued.
    Queued,
    /// There is none, or it cannot be sent again so any more.
    Not,
    /// Its recipient receives now in a way for which it was not made ([`crate::readdressing::other_way`]).
    OtherWay {
        /// The recipient.
        recipient: OdsCode,
        /// The address that it was made for.
        from: Endpoint,
        /// The recipient's now.
        to: Endpoint,
    },
}

/// What became of closing a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// It is closed.
    Done,
    /// There is none, it waits for nobody's decision, or it has changed since it was seen.
    Not,
    /// An upgrade is not finished: a program of before may serve, which knows of no closed copies.
    Unfinished,
}

impl Closing {
    /// Why nothing can be closed while an upgrade is not finished.
    pub const UNFINISHED: &str = "an upgrade is not finished, and a program of before may serve that knows of no closed deliveries: first \
        `onward migrate --finish`";
}

/// What became of pausing a recipient or everybody, or of ending that; with whom it is about, by the code that their copies carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pausing {
    /// It is done.
    Done(Option<OdsCode>),
    /// It was so already.
    Already(Option<OdsCode>),
    /// Nobody is known by this code, and nothing was done.
    Unknown,
}

/// How the queues stand.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Those of the queues that are not empty.
    pub queues: BTreeMap<Queue, Tally>,
    /// Transfers that wait for a person.
    pub held: Option<Tally>,
    /// How many of them have waited too long.
    pub held_overdue: u64,
}

/// The operator's board.
#[derive(Debug)]
pub struct Board {
    /// The queues, whatever the filter.
    pub totals: Totals,
    /// What waits for each recipient: code, name.
    pub recipients: BTreeMap<(OdsCode, String), Tally>,
    /// What waits for each cause.
    pub causes: BTreeMap<Cause, Tally>,
    /// Transfers that wait for a person, the most urgent first.
    pub holds: Vec<HeldTransfer>,
    /// What is paused.
    pub pauses: Vec<Pause>,
    /// Decisions about many copies that run, or ended within a day.
    pub bulks: Vec<Bulk>,
    /// What one operator has asked for and another is to decide.
    pub approvals: Vec<Approval>,
    /// The copies that fit the filter, the oldest first.
    pub rows: Vec<Stuck>,
    /// What is held and cannot be read.
    pub damaged_holds: Vec<Damaged>,
    /// Copies that fit the filter and cannot be read.
    pub damaged_rows: Vec<Damaged>,
    /// When something was last sent or placed for its recipient; looked for only when nothing waits.
    pub last_disclosed: Option<Timestamp>,
}

/// Whom something is about.
#[derive(Clone)]
pub struct Revealed {
    /// Name as the hospital sent it.
    pub name: Option<String>,
    /// Date of birth as the hospital sent it.
    pub born: Option<String>,
    /// NHS number as the hospital sent it, also one whose check digit is wrong.
    pub number_as_sent: Option<String>,
    /// The number under which the person was traced.
    pub patient: Option<NhsNumber>,
}

impl std::fmt::Debug for Revealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Revealed(redacted)")
    }
}

/// What hides a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// A copy.
    Delivery(DeliveryId),
    /// A transfer.
    Transfer(TransferId),
}

impl Gateway {
    /// How the queues stand. It names nobody and lists nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        Ok(totals(&self.store.backlog().await?, &self.store.holds().await?, self.clock.now()))
    }

    /// The board, and the look itself audited.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn board(&self, who: &Attendant, filter: &BoardFilter, limit: u32) -> Result<Board, StoreError> {
        let backlog = self.store.backlog().await?;
        let holds = self.store.holds().await?;
        let stuck = self.store.stuck(stuck_query(filter, &backlog, limit)).await?;
        let now = self.clock.now();
        let last_disclosed = match backlog.is_empty() {
            true => self.last_disclosed().await?,
            false => None,
        };
        let board = Board {
            totals: totals(&backlog, &holds, now),
            recipients: tallies(&backlog, |group| (group.recipient.clone(), group.recipient_name.clone())),
            causes: tallies(&backlog, |group| Cause::of(group.reason.as_deref())),
            holds: holds.rows,
            damaged_holds: holds.damaged,
            pauses: self.store.pauses().await?,
            bulks: self.recent_bulks().await?,
            approvals: self.store.approvals(ApprovalKind::Redirect, None, now).await?,
            rows: stuck.rows,
            damaged_rows: stuck.damaged,
            last_disclosed,
        };
        let held = board.holds.iter().map(|held| held.transfer);
        let asked = board.approvals.iter().filter_map(Redirect::of).map(|redirect| redirect.transfer);
        let shown = Shown {
            copies: board.rows.iter().map(|row| row.copy.id).chain(copies_of(&board.damaged_rows)).collect(),
            transfers: held.chain(asked).collect(),
        };
        self.note_listed(who, &format!("operations?{}", filter.told()), &shown, "operator's board").await?;
        Ok(board)
    }

    /// Audits that a list was looked at, with what stood on it. It names nobody, and who stood on it is found by what the entry
    /// keeps: an entry for each of them would be many for one look.
    ///
    /// # Errors
    /// When the look cannot be audited: then nothing may be shown.
    pub(crate) async fn note_listed(
        &self,
        who: &Attendant,
        asked: &str,
        shown: &Shown,
        detail: &str,
    ) -> Result<(), StoreError> {
        let rows = shown.queries(asked).into_iter().map(|query| {
            let entry = AuditEntry {
                request_id: who.request_id.clone(),
                query: Some(query),
                ..AuditEntry::new(AuditWord::Query, self.clock.now(), who.agent.clone(), detail)
            };
            self.journal.row(&entry)
        });
        self.store.audit(rows.collect()).await
    }

    /// Audits a look at one copy or transfer. The view shows no identity, and yet the entry names the person: what happens to their
    /// summary, and why, is data about them, whoever knows the transfer knows whose it is, and whoever asks who saw them must hear of it.
    pub(crate) async fn note_look(
        &self,
        who: &Attendant,
        transfer: TransferId,
        delivery: Option<DeliveryId>,
        patient: Option<NhsNumber>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            transfer: Some(transfer),
            delivery,
            patient,
            request_id: who.request_id.clone(),
            ..AuditEntry::new(AuditWord::ReadTask, self.clock.now(), who.agent.clone(), "operator's board")
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    /// One copy as operators see it, without whom it is about, and the look audited; `None`: there is none.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn look_at_delivery(
        &self,
        who: &Attendant,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        let Some(copy) = self.store.delivery(id).await? else { return Ok(None) };
        self.note_look(who, copy.transfer, Some(id), copy.patient.clone()).await?;
        Ok(Some(copy))
    }

    /// Audits that an operator looks at the hold of a transfer, or at what became of it, which tells without whom it is about.
    ///
    /// # Errors
    /// When the look cannot be audited: then nothing may be shown.
    pub async fn look_at_hold(&self, who: &Attendant, transfer: TransferId) -> Result<(), StoreError> {
        let patient = self.store.transfer(transfer).await?.and_then(|record| record.patient);
        self.note_look(who, transfer, None, patient).await
    }

    async fn last_disclosed(&self) -> Result<Option<Timestamp>, StoreError> {
        let query = AuditQuery { words: vec![AuditWord::Disclose], limit: 1, ..AuditQuery::default() };
        Ok(self.store.search_audit(query).await?.first().map(|entry| entry.recorded))
    }

    /// Sends a copy again under its own identifier, to where its recipient receives now.
    ///
    /// # Errors
    /// When the store cannot commit, or what it rests on changed again and again.
    pub async fn resend(&self, delivery: DeliveryId, how: Resend, decider: &Decider<'_>) -> Result<Resent, StoreError> {
        let mut last = StoreError::Overtaken;
        for _ in 0..LOOKS {
            match self.resend_as_read(delivery, how, decider).await {
                Err(StoreError::Overtaken) => last = StoreError::Overtaken,
                done => return done,
            }
        }
        Err(last)
    }

    async fn resend_as_read(
        &self,
        delivery: DeliveryId,
        how: Resend,
        decider: &Decider<'_>,
    ) -> Result<Resent, StoreError> {
        let Some(record) = self.store.delivery(delivery).await? else { return Ok(Resent::Not) };
        let to = self.whereto(&record).await?;
        if let Whereto::OtherWay { from, to } = to {
            return Ok(Resent::OtherWay { recipient: record.recipient, from, to });
        }
        let at = self.clock.now();
        let beside = self.told_of_resending(&record, &to).await?;
        let detail = format!("{how} of a {} copy{beside}: {}", record.state, decider.reason);
        let rows = vec![self.decided_of(record, decider, at, detail)];
        let requeued = self.store.requeue(delivery, Again { how, to }, decider.by, decider.reason, at, rows).await?;
        self.work.notify_one();
        Ok(if requeued { Resent::Queued } else { Resent::Not })
    }

    /// Closes a copy that failed, or was not processed, because a person took care of it in another way. The hospital sees in its Task that it
    /// did not arrive electronically. `seen` is the copy's version as that person saw it.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn close_copy(
        &self,
        delivery: DeliveryId,
        seen: u64,
        decider: &Decider<'_>,
    ) -> Result<Closing, StoreError> {
        let found = self.store.delivery(delivery).await?;
        let Some(record) = found.filter(|copy| copy.is_dead() && copy.version == seen) else { return Ok(Closing::Not) };
        // A program of before would raise the alerts about it anew at every look.
        if !self.store.schema().await?.is_finished() {
            return Ok(Closing::Unfinished);
        }
        let at = self.clock.now();
        let detail = format!("{CLOSED_COPY}{}, a {} copy: {}", decider.by, record.state, decider.reason);
        let audit = vec![self.decided_of(record, decider, at, detail)];
        let (by, reason) = (decider.by.to_owned(), decider.reason.to_owned());
        let closed =
            self.store.close_copy(CloseCopy { delivery, expected_version: seen, by, reason, at, audit }).await?;
        Ok(if closed { Closing::Done } else { Closing::Not })
    }

    fn decided_of(&self, copy: DeliveryRecord, decider: &Decider<'_>, at: Timestamp, detail: String) -> AuditRow {
        self.journal.row(&AuditEntry {
            transfer: Some(copy.transfer),
            delivery: Some(copy.id),
            recipient: Some(copy.recipient),
            // A response to the sender carries nothing about a person.
            patient: copy.patient.filter(|_| copy.kind != RecipientKind::Sender),
            request_id: decider.request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::Release, at, decider.agent.clone(), detail)
        })
    }

    /// The copies that [`Gateway::start_bulk`] would send again: those that failed and fit the filter, at most [`BULK_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resendable(&self, filter: &BoardFilter) -> Result<Vec<Stuck>, StoreError> {
        let filter = BoardFilter { queue: Some(Queue::Dead), ..filter.clone() };
        let backlog = self.store.backlog().await?;
        Ok(self.store.stuck(stuck_query(&filter, &backlog, BULK_MAX)).await?.rows)
    }

    /// Pauses a recipient, or everybody.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn pause(&self, asked: Option<&OdsCode>, decider: &Decider<'_>) -> Result<Pausing, StoreError> {
        let recipient = match asked {
            Some(code) => match self.recipient_with(code).await? {
                Some(ods) => Some(ods),
                None => return Ok(Pausing::Unknown),
            },
            None => None,
        };
        let row = self.configured(decider, format!("{} {PAUSED}", named(recipient.as_ref())));
        let (reason, by) = (decider.reason.to_owned(), decider.by.to_owned());
        let pause = Pause { recipient: recipient.clone(), reason, by, since: self.clock.now() };
        let done = self.store.pause(pause, vec![row]).await?;
        Ok(if done { Pausing::Done(recipient) } else { Pausing::Already(recipient) })
    }

    /// Ends a pause. One that is there ends by the code that it names, also where nobody has that.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn resume(&self, asked: Option<&OdsCode>, decider: &Decider<'_>) -> Result<Pausing, StoreError> {
        let named_so = self.store.pauses().await?.iter().any(|pause| pause.recipient.as_ref() == asked);
        let recipient = match asked {
            Some(code) if !named_so => match self.recipient_with(code).await? {
                Some(ods) => Some(ods),
                None => return Ok(Pausing::Unknown),
            },
            asked => asked.cloned(),
        };
        let row = self.configured(decider, format!("{} {RESUMED}", named(recipient.as_ref())));
        let ended = self.store.resume(recipient.as_ref(), vec![row]).await?;
        self.work.notify_one();
        Ok(if ended { Pausing::Done(recipient) } else { Pausing::Already(recipient) })
    }

    /// Whom a code means, by the code that copies to them carry: a home has others besides. `None`: neither the directory nor any copy
    /// knows it, or two homes claim it.
    async fn recipient_with(&self, code: &OdsCode) -> Result<Option<OdsCode>, StoreError> {
        if let Some(entry) = self.store.directory_entry(code).await? {
            return Ok(Some(entry.ods().clone()));
        }
        let query = DeliveryQuery {
            recipient: Some(code.clone()),
            include_responses: true,
            limit: 1,
            ..DeliveryQuery::default()
        };
        Ok((!self.store.deliveries(query).await?.rows.is_empty()).then(|| code.clone()))
    }

    pub(crate) fn configured(&self, decider: &Decider<'_>, what: String) -> AuditRow {
        let detail = format!("{what} {}: {}", decider.by, decider.reason);
        self.journal.row(&AuditEntry {
            request_id: decider.request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::Configure, self.clock.now(), decider.agent.clone(), detail)
        })
    }

    /// Whom a copy or transfer is about; `None`: there is no such thing. The disclosure is audited with its reason first.
    ///
    /// # Errors
    /// When the store cannot be read, or the disclosure cannot be audited: then nothing may be shown.
    pub async fn reveal(&self, who: &Attendant, what: Hidden, reason: &str) -> Result<Option<Revealed>, StoreError> {
        let (transfer, delivery) = match what {
            Hidden::Transfer(id) => (id, None),
            Hidden::Delivery(id) => match self.store.delivery(id).await? {
                Some(copy) => (copy.transfer, Some(copy)),
                None => return Ok(None),
            },
        };
        let Some(record) = self.store.transfer(transfer).await? else { return Ok(None) };
        let original = self.store.original(transfer).await?;
        let revealed = Revealed::of(original.as_ref(), record.patient.clone());
        let entry = AuditEntry {
            transfer: Some(transfer),
            delivery: delivery.map(|copy| copy.id),
            // A number that is none has no place in the log.
            patient: record.patient.or_else(|| revealed.number_as_sent.as_deref()?.parse().ok()),
            basis: Some(Basis::operation()),
            request_id: who.request_id.clone(),
            ..AuditEntry::new(
                AuditWord::Reveal,
                self.clock.now(),
                who.agent.clone(),
                format!("whom it is about was shown: {reason}"),
            )
        };
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        Ok(Some(revealed))
    }
}

impl Revealed {
    fn of(original: Option<&OriginalMessage>, patient: Option<NhsNumber>) -> Self {
        let nobody = Self { name: None, born: None, number_as_sent: None, patient: patient.clone() };
        let Some(original) = original else { return nobody };
        let Ok(tree) = read_tree(&original.body, format_of(&original.media_type)) else { return nobody };
        let Some(person) = tree.root().descendants().find(|element| element.is("Patient")) else { return nobody };
        Self {
            name: views::human_name(person),
            born: person.text("birthDate").map(str::to_owned),
            number_as_sent: views::nhs_number(person).map(str::to_owned),
            patient,
        }
    }
}

impl BoardFilter {
    /// As a query.
    #[must_use]
    pub fn told(&self) -> String {
        let queue = self.queue.map(|queue| ("queue", queue.to_string()));
        let recipient = self.recipient.as_ref().map(|ods| ("recipient", ods.to_string()));
        let cause = self.cause.map(|cause| ("cause", cause.to_string()));
        let parts = queue.into_iter().chain(recipient).chain(cause);
        parts.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

/// Which copies these are, as far as they can be named.
pub fn copies_of(damaged: &[Damaged]) -> impl Iterator<Item = DeliveryId> {
    damaged.iter().filter_map(|row| row.id).map(DeliveryId)
}

pub(crate) fn named(recipient: Option<&OdsCode>) -> String {
    recipient.map_or_else(|| "everybody".to_owned(), ToString::to_string)
}

fn totals(backlog: &[Backlog], holds: &[HeldTransfer], now: Timestamp) -> Totals {
    let oldest = holds.iter().map(|held| held.received).min();
    Totals {
        queues: tallies(backlog, |group| group.queue),
        held: oldest.map(|oldest| Tally { count: holds.len() as u64, oldest }),
        held_overdue: holds.iter().filter(|held| held.hold.due < now).count() as u64,
    }
}

fn tallies<K: Ord>(backlog: &[Backlog], key: impl Fn(&Backlog) -> K) -> BTreeMap<K, Tally> {
    let mut tallies: BTreeMap<K, Tally> = BTreeMap::new();
    for group in backlog {
        let tally = tallies.entry(key(group)).or_insert(Tally { count: 0, oldest: group.oldest });
        tally.add(group.count, group.oldest);
    }
    tallies
}

/// The store compares texts; which of them tell a cause, the backlog says.
fn stuck_query(filter: &BoardFilter, backlog: &[Backlog], limit: u32) -> StuckQuery {
    let reasons = filter.cause.filter(|cause| *cause != Cause::None).map(|cause| {
        let told = backlog.iter().filter_map(|group| group.reason.as_ref());
        let mut reasons: Vec<String> = told.filter(|reason| Cause::of(Some(reason)) == cause).cloned().collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    });
    let queues = match (filter.queue, filter.cause) {
        (Some(queue), _) => vec![queue],
        (None, Some(Cause::None)) => vec![Queue::Waiting],
        (None, _) => Vec::new(),
    };
    StuckQuery { queues, recipient: filter.recipient.clone(), reasons, limit }
}
