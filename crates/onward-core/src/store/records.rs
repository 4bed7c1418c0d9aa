//! What the store gives back: transfers, copies, bodies and figures.

use std::fmt;

use jiff::Timestamp;

use super::{Ended, NewHold, Notice, ReplyWanted};
use crate::cause::Cause;
use crate::directory::{DirectoryEntry, Endpoint};
use crate::state::{
    DeliveryState, EndReason, NOT_REGISTERED, REFUSALS_OF_PEOPLE, RecipientKind, TransportKind, UNFOUND,
};
use crate::{DeliveryId, NhsNumber, OdsCode, TransferId};

/// A transfer as read back, without bodies.
#[derive(Debug, Clone)]
pub struct TransferRecord {
    /// Its identifier.
    pub id: TransferId,
    /// Who sent it.
    pub sender: OdsCode,
    /// The client that posted it.
    pub client_id: String,
    /// The message's own identifier.
    pub message_id: String,
    /// The event code.
    pub event: String,
    /// When it came.
    pub received: Timestamp,
    /// When the person is expected.
    pub expected: Option<Timestamp>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// The home.
    pub care_home: Option<OdsCode>,
    /// What the sender wants to hear.
    pub reply: ReplyWanted,
    /// Its open hold, if any.
    pub hold: Option<NewHold>,
    /// Why a person ended it without sending anything.
    pub not_sent: Option<String>,
    /// Its place among the versions of its document, from 1.
    pub version: u32,
    /// The transfer that it replaces.
    pub replaces: Option<TransferId>,
    /// The transfer that came to replace it.
    pub replaced_by: Option<TransferId>,
    /// The document that it replaces, where that had not come before it.
    pub awaits: Option<String>,
    /// How the whole transfer ended, and why.
    pub ended: Option<(EndReason, String)>,
    /// Latest change of the transfer or one of its copies.
    pub changed: Timestamp,
    /// The person was erased: nothing that could tell about them is left.
    pub erased: bool,
    /// Its copies, responses to the sender included.
    pub deliveries: Vec<DeliveryRecord>,
}

impl TransferRecord {
    /// Its recipients' copies, without responses to the sender and notices.
    pub fn copies(&self) -> impl Iterator<Item = &DeliveryRecord> {
        self.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender && copy.notice.is_none())
    }

    /// The FHIR R4 `Task.status` of the transfer. It follows from its copies: what needs a person is told first.
    #[must_use]
    pub fn task_status(&self) -> &'static str {
        let copies = || self.copies();
        // Refused, and ended since: nobody needs to act about it any more.
        let is_over = |copy: &DeliveryRecord| copy.state == DeliveryState::Rejected && copy.ended.is_some();
        let any = |state: DeliveryState| copies().any(|copy| copy.state == state && !is_over(copy));
        // Somebody else has it in this recipient's place.
        let went_elsewhere = |copy: &DeliveryRecord| {
            copy.ended.is_some() && copies().any(|other| other.kind == copy.kind && other.ended.is_none())
        };
        if self.ended.is_some() {
            "cancelled"
        } else if self.hold.is_some() {
            "on-hold"
        } else if self.not_sent.is_some() || any(DeliveryState::Failed) || any(DeliveryState::Rejected) {
            "failed"
        } else if copies().next().is_none() {
            "in-progress"
        } else if copies().all(|copy| copy.state == DeliveryState::Withdrawn || is_over(copy)) {
            "cancelled"
        } else if copies().all(|copy| copy.state.is_acknowledged() || went_elsewhere(copy)) {
            "completed"
        } else {
            "in-progress"
        }
    }
}

/// A copy as read back, without bodies.
#[derive(Debug, Clone)]
pub struct DeliveryRecord {
    /// Its identifier.
    pub id: DeliveryId,
    /// Its transfer.
    pub transfer: TransferId,
    /// The transfer's sender.
    pub sender: OdsCode,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// As what.
    pub kind: RecipientKind,
    /// To whom.
    pub recipient: OdsCode,
    /// The recipient's name.
    pub recipient_name: String,
    /// Where.
    pub endpoint: Endpoint,
    /// How far.
    pub state: DeliveryState,
    /// Grows with every change; the Task's version.
    pub version: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// Next attempt, while queued.
    pub next_attempt: Option<Timestamp>,
    /// Why the last attempt failed, or why the recipient refused; no patient data.
    pub reason: Option<String>,
    /// The acknowledgement code last received (20013, 30001 …).
    pub code: Option<String>,
    /// The partner's reference (MESH message id).
    pub reference: Option<String>,
    /// The identifier that acknowledgements name.
    pub correlation_id: Option<String>,
    /// Size of what travels, in bytes.
    pub body_bytes: u64,
    /// True when a business acknowledgement is awaited.
    pub acknowledgement_awaited: bool,
    /// Lawful basis and policy version of the disclosure.
    pub basis: String,
    /// When it was queued.
    pub created: Timestamp,
    /// Latest change.
    pub changed: Timestamp,
    /// When the recipient first opened it.
    pub opened: Option<Timestamp>,
    /// The person was erased: nothing that could tell about them is left.
    pub erased: bool,
    /// How it ended before its time.
    pub ended: Option<Ended>,
    /// It tells that another copy ended.
    pub notice: Option<Notice>,
    /// Why a person had it sent again.
    pub replay: Option<String>,
    /// It failed, or was not processed, and a person has taken care of it in another way since
    /// ([`super::ResendStore::close_copy`]). Whatever changes it later ends that, but that it is opened.
    pub closed: bool,
}

impl DeliveryRecord {
    /// Whether its recipient may still read it. What a later version took the place of stays readable, marked.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.ended.is_none_or(|ended| ended.why == EndReason::Superseded)
    }

    /// Whether its recipient's system refused the message itself, and not the person: nobody there has it. As what failed, it
    /// needs a person and may be sent again.
    #[must_use]
    pub fn is_unprocessed(&self) -> bool {
        self.state == DeliveryState::Rejected
            && self.ended.is_none()
            && self.code.as_deref().is_some_and(|code| !REFUSALS_OF_PEOPLE.contains(&code))
    }

    /// Whether a person must decide about it: it failed, or was not processed, and nobody has taken care of it in another way.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        (self.state == DeliveryState::Failed || self.is_unprocessed()) && !self.closed
    }

    /// Whether PDS may know better where the person is registered: MESH finds no practice for them, or their own practice answers that it
    /// does not have them.
    #[must_use]
    pub fn asks_for_retrace(&self) -> bool {
        let codes = match self.state {
            DeliveryState::Failed => UNFOUND,
            DeliveryState::Rejected => NOT_REGISTERED,
            _ => return false,
        };
        self.kind == RecipientKind::RegisteredPractice
            && self.notice.is_none()
            && self.ended.is_none()
            && !self.closed
            && self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Why it has not come to anybody.
    #[must_use]
    pub fn cause(&self) -> Cause {
        if self.is_unprocessed() { Cause::Refused } else { Cause::of(self.reason.as_deref()) }
    }
}

/// What a recipient may read. Its `Debug` names the delivery only.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRendition {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Media type of `body`.
    pub media_type: String,
    /// What travels.
    pub body: Vec<u8>,
    /// The same for people.
    pub html: Option<Vec<u8>>,
}

impl fmt::Debug for StoredRendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRendition").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// A Task that was found.
#[derive(Debug, Clone)]
pub enum FoundTask {
    /// Of a transfer.
    Transfer(Box<TransferRecord>),
    /// Of one recipient's copy.
    Copy(Box<DeliveryRecord>),
}

impl FoundTask {
    /// Its place in the order of lists.
    #[must_use]
    pub fn place(&self) -> (Timestamp, uuid::Uuid) {
        match self {
            Self::Transfer(transfer) => (transfer.received, transfer.id.0),
            Self::Copy(copy) => (copy.created, copy.id.0),
        }
    }

    /// About whom.
    #[must_use]
    pub fn patient(&self) -> Option<&NhsNumber> {
        match self {
            Self::Transfer(transfer) => transfer.patient.as_ref(),
            Self::Copy(copy) => copy.patient.as_ref(),
        }
    }
}

/// A held transfer, for lists.
#[derive(Debug, Clone)]
pub struct HeldTransfer {
    /// The hold.
    pub hold: NewHold,
    /// The transfer.
    pub transfer: TransferId,
    /// Who sent it.
    pub sender: OdsCode,
    /// When it came.
    pub received: Timestamp,
    /// When the person is expected.
    pub expected: Option<Timestamp>,
    /// What people have decided about it so far (JSON).
    pub decided: String,
    /// The state that this is.
    pub seen: HoldSeen,
}

/// The state of a hold that somebody looked at, by the store's own mark of it: no two states of a hold have the same. What is decided
/// about another state than the present one is [`StoreError::Overtaken`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldSeen(String);

impl HoldSeen {
    /// By its mark.
    #[must_use]
    pub fn new(mark: String) -> Self {
        Self(mark)
    }

    /// The mark.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.0
    }
}

/// An entry of the directory as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryReading {
    /// The entry; none where no organisation has the code.
    pub entry: Option<DirectoryEntry>,
    /// The directory's version at that moment, or an earlier one; 0 before the first.
    pub version: u64,
}

/// The sender's bytes as kept. Its `Debug` is redacted.
#[derive(Clone)]
pub struct OriginalMessage {
    /// Media type.
    pub media_type: String,
    /// The bytes.
    pub body: Vec<u8>,
}

impl fmt::Debug for OriginalMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginalMessage(redacted)")
    }
}

/// The store's schema and this program's. Versions count an engine's own steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The version that is stored.
    pub stored: usize,
    /// The newest version that this program knows.
    pub known: usize,
    /// The oldest program that can serve on what is stored, by the newest version that it knows; none where no program has told.
    pub oldest_program: Option<usize>,
    /// The version that the oldest program must know before anything is stored that earlier ones cannot read.
    pub waits_for: usize,
}

/// What finishing an upgrade came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Earlier programs are shut out from now on.
    Done,
    /// They were already; nothing is changed.
    Already,
    /// A newer program brought the schema further than this one knows: nothing is changed.
    Newer,
    /// A program serves that would be shut out, or may be one: nothing is changed. It is one that this engine can tell, there may be others.
    Served,
}

impl Schema {
    /// Whether a newer program has brought it further than this one knows.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.stored > self.known
    }

    /// Whether every program that may serve on it can read all that this one writes. Until then it writes nothing else.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.oldest_program.is_some_and(|oldest| oldest >= self.waits_for)
    }

    /// Whether this program may serve on it, once it has taken the steps that it knows.
    #[must_use]
    pub fn lets_serve(&self) -> bool {
        !self.is_newer() || self.oldest_program.is_some_and(|oldest| oldest <= self.known)
    }
}

/// How the gateway stands, counted. Nothing in it tells who anybody is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages accepted so far.
    pub accepted: u64,
    /// Refusals so far, those that a person asked to be refused again included.
    pub refused: u64,
    /// Holds so far.
    pub held: u64,
    /// Open holds.
    pub holds_open: u64,
    /// Open holds whose time is over.
    pub holds_overdue: u64,
    /// Copies and responses by state and transport; of those that failed, the ones that nobody has closed.
    pub deliveries: Vec<DeliveryFigure>,
    /// Copies that did not arrive and that a person has closed, having taken care of them in another way.
    pub closed: u64,
    /// Of each kind of recipient that has any, when the oldest copy was queued that left or arrived, changed within 30 days, and that
    /// nobody has opened or acknowledged; in no order.
    pub unread: Vec<(RecipientKind, Timestamp)>,
}

/// The copies in one state, of one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFigure {
    /// How far.
    pub state: DeliveryState,
    /// How they travel.
    pub transport: TransportKind,
    /// How many.
    pub count: u64,
    /// When the oldest of them was queued.
    pub oldest: Timestamp,
}
