//! The store port. A method is one business transaction, never one table; the audit rows of an effect
//! are committed with it or the effect does not happen.

pub mod alerts;
mod erasure;
pub mod evidence;
mod keys;
mod lifecycle;
mod log;
mod operations;
pub mod people;
pub mod reporting;
pub mod retention;
mod steps;
pub mod subscriptions;

use std::fmt;

pub use lifecycle::{Checkup, Claim, Ended, Ending, Flaw, Intent, Notice, Pause, Predecessor, TakeBack, Waiting};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{AuditQuery, AuditRow, FoundAudit, StoredCheckpoint};
use crate::client::{Client, Token};
use crate::directory::{DirectoryEntry, Endpoint};
use crate::state::{DeliveryState, EndReason, HoldReason, RecipientKind, TransportKind};
use crate::{DeliveryId, HoldId, MeshMailboxId, NhsNumber, OdsCode, TransferId, WorkflowId};

pub use erasure::{
    ErasureConfirmation, ErasureGround, ErasureOutcome, ErasureRequest, LegalHold, LegalHoldOrder, PendingErasure,
};
pub use keys::KeyUsage;
pub use log::{AuditColumns, AuditContent, AuditHeader, StoredAudit};
pub use operations::{Approval, ApprovalKind, Backlog, OperationsStore, Queue, Resend, Stuck, StuckQuery, Verdict};
pub use steps::{Arrival, ArrivalQuery, CheckOutcome, Step, StepKind};

/// The store did not do it. Texts never carry patient data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing can be made durable now; the caller answers 503.
    #[error("the store cannot commit: {0}")]
    Unavailable(String),
    /// What is stored is not what was written.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The person was erased, and with them what was asked for.
    #[error("the content was erased")]
    Erased,
    /// What the change rests on has changed meanwhile, and nothing was committed: read it again.
    #[error("what this rests on changed meanwhile")]
    Overtaken,
}

/// Which responses the sender asked for, and where they go (ITK3 MessageHandling).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyWanted {
    /// `InfAckRequested`.
    pub infrastructure: bool,
    /// `BusAckRequested`.
    pub business: bool,
    /// The sender's mailbox, when one is known.
    pub mailbox: Option<MeshMailboxId>,
    /// `MessageHeader.id` of the message: `response.identifier` of every response. A sender uses it once.
    pub header_id: String,
    /// `SenderReference`, to be given back.
    pub sender_reference: Option<String>,
    /// The workflow of the response (`TOC_FHIR_IP_DISCH_ACK`).
    pub workflow: Option<WorkflowId>,
}

/// A message that is about to become a transfer. Its `Debug` names the transfer only.
#[derive(Clone)]
pub struct NewTransfer {
    /// Its identifier.
    pub id: TransferId,
    /// The organisation that sent it.
    pub sender: OdsCode,
    /// The client that posted it, or `mesh:<mailbox>`.
    pub client_id: String,
    /// The message's own identifier (Bundle.identifier, else MessageHeader.id): with `reply.header_id` the first key
    /// against repeats (20007).
    pub message_id: String,
    /// The document's own identifier (Bundle.identifier or id of the document): second key (20008).
    pub document_id: Option<String>,
    /// Composition.identifier, the set that versions of a document share.
    pub document_set_id: Option<String>,
    /// The date that the document bears.
    pub dated: Option<Timestamp>,
    /// Its place among the versions of its document, from 1.
    pub version: u32,
    /// The transfer that it replaces.
    pub replaces: Option<TransferId>,
    /// The document that it replaces, while that has not come.
    pub awaits: Option<String>,
    /// The event code, such as `ITK003D` or `document`.
    pub event: String,
    /// When it came.
    pub received: Timestamp,
    /// When the person is expected at the home.
    pub expected: Option<Timestamp>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// The home, when it is known.
    pub care_home: Option<OdsCode>,
    /// What the sender wants to hear.
    pub reply: ReplyWanted,
    /// Media type of `body`.
    pub media_type: String,
    /// The sender's bytes, unchanged: the legal record.
    pub body: Vec<u8>,
    /// SHA-256 of `body`.
    pub body_sha256: [u8; 32],
    /// The response message (FHIR JSON) that this message and every repeat of it gets.
    pub response: Vec<u8>,
}

impl fmt::Debug for NewTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTransfer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One recipient's copy that is about to be queued. Its `Debug` names the delivery only.
#[derive(Clone)]
pub struct NewDelivery {
    /// Its identifier.
    pub id: DeliveryId,
    /// As what.
    pub kind: RecipientKind,
    /// To whom.
    pub recipient: OdsCode,
    /// The recipient's name, for people.
    pub recipient_name: String,
    /// Where.
    pub endpoint: Endpoint,
    /// Media type of `body`.
    pub media_type: String,
    /// What travels.
    pub body: Vec<u8>,
    /// The same for people, where there is such a form (simple HTML, complete page).
    pub html: Option<Vec<u8>>,
    /// What a list shows of it, so that a list need not read the copies themselves.
    pub card: Option<Vec<u8>>,
    /// The identifier that the partner's acknowledgement names (our MessageHeader.id).
    pub correlation_id: Option<String>,
    /// MESH workflow.
    pub workflow: Option<WorkflowId>,
    /// Lawful basis and policy version of the disclosure.
    pub basis: String,
    /// What was disclosed and withheld and by which rule (JSON).
    pub disclosure: String,
    /// True when a business acknowledgement is awaited; responses to the sender have none.
    pub acknowledgement_awaited: bool,
    /// It tells that another copy ended.
    pub notice: Option<Notice>,
}

impl fmt::Debug for NewDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDelivery").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHold {
    /// Its identifier.
    pub id: HoldId,
    /// Why.
    pub reason: HoldReason,
    /// What was seen, without patient data.
    pub detail: String,
    /// Who must decide: a team or role.
    pub owner: String,
    /// By when.
    pub due: Timestamp,
}

/// Everything that accepting a message commits.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The transfer.
    pub transfer: NewTransfer,
    /// The copies; empty when held.
    pub deliveries: Vec<NewDelivery>,
    /// The hold, if any.
    pub hold: Option<NewHold>,
    /// Unless it is held: the ends of all copies of the versions before it.
    pub endings: Vec<Ending>,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
    /// The audit row to commit instead when the message turns out to be a repeat.
    pub audit_if_repeat: AuditRow,
    /// The audit row to commit instead when its identifier, or its document's, was used before for something else.
    pub audit_if_conflict: AuditRow,
}

/// What accepting came to. Its `Debug` leaves the answer out, which names the person.
#[derive(Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Committed.
    New,
    /// The same message (same sender, same identifier, same bytes) was accepted before; its first answer.
    Repeat {
        /// The first transfer.
        transfer: TransferId,
        /// The first answer.
        response: Vec<u8>,
    },
    /// The identifier of the message or of its header was used before for other bytes (20007; HTTP 409).
    MessageIdReused,
    /// The same message was accepted before, and its person was erased since: there is no answer any more.
    Erased {
        /// The first transfer.
        transfer: TransferId,
    },
    /// Another message carried the same document before (20008; HTTP 409).
    DocumentRepeated {
        /// The transfer that carried it.
        transfer: TransferId,
    },
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("New"),
            Self::Repeat { transfer, .. } => {
                f.debug_struct("Repeat").field("transfer", transfer).finish_non_exhaustive()
            }
            Self::Erased { transfer } => f.debug_struct("Erased").field("transfer", transfer).finish(),
            Self::MessageIdReused => f.write_str("MessageIdReused"),
            Self::DocumentRepeated { transfer } => {
                f.debug_struct("DocumentRepeated").field("transfer", transfer).finish()
            }
        }
    }
}

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
    /// The document that it replaces, while that has not come.
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
        let any = |state: DeliveryState| copies().any(|copy| copy.state == state);
        if self.ended.is_some() {
            "cancelled"
        } else if self.hold.is_some() {
            "on-hold"
        } else if self.not_sent.is_some() || any(DeliveryState::Failed) || any(DeliveryState::Rejected) {
            "failed"
        } else if copies().next().is_none() {
            "in-progress"
        } else if copies().all(|copy| copy.state == DeliveryState::Withdrawn) {
            "cancelled"
        } else if copies().all(|copy| copy.state.is_acknowledged()) {
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
}

impl DeliveryRecord {
    /// Whether its recipient may still read it. What a later version took the place of stays readable, marked.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.ended.is_none_or(|ended| ended.why == EndReason::Superseded)
    }
}

/// What a recipient may read. Its `Debug` names the delivery only.
#[derive(Clone)]
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

/// A copy leased for one attempt.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The copy.
    pub delivery: DeliveryRecord,
    /// What travels.
    pub rendition: StoredRendition,
    /// MESH workflow.
    pub workflow: Option<WorkflowId>,
    /// Fencing token: only its holder can complete the attempt.
    pub token: u64,
    /// This attempt's number, from 1.
    pub attempt: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub enum AttemptOutcome {
    /// It left; the copy moves to `state`.
    Sent {
        /// `AwaitingCollection`, `Sent` or `Received`.
        state: DeliveryState,
        /// The partner's reference.
        reference: Option<String>,
    },
    /// It did not; next attempt at `at`.
    Retry {
        /// When.
        at: Timestamp,
        /// Why, without patient data.
        reason: String,
    },
    /// It needs a person.
    Failed {
        /// Why, without patient data.
        reason: String,
    },
}

/// The end of an attempt, to be committed with its audit.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// The copy.
    pub delivery: DeliveryId,
    /// The lease's token.
    pub token: u64,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A change of a copy's state by an acknowledgement or by the recipient.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The copy.
    pub delivery: DeliveryId,
    /// The version that the caller saw; another one means that somebody was faster.
    pub expected_version: u64,
    /// The new state.
    pub state: DeliveryState,
    /// The acknowledgement code.
    pub code: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Responses to the sender that follow from it (inserted once each, by their identifier).
    pub responses: Vec<NewDelivery>,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryQuery {
    /// Only copies to this organisation.
    pub recipient: Option<OdsCode>,
    /// Only copies of transfers that this organisation sent.
    pub sender: Option<OdsCode>,
    /// Only copies in one of these states; empty means all.
    pub states: Vec<DeliveryState>,
    /// Only copies of this transfer.
    pub transfer: Option<TransferId>,
    /// Only copies about this person.
    pub patient: Option<NhsNumber>,
    /// Only copies changed at or after this.
    pub changed_since: Option<Timestamp>,
    /// Responses to senders too.
    pub include_responses: bool,
    /// Cursor: only copies after this one in (created, id) order.
    pub after: Option<(Timestamp, DeliveryId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which Tasks to find: of transfers, of recipients' copies, or of both.
#[derive(Debug, Clone, Default)]
pub struct TaskQuery {
    /// Tasks of transfers.
    pub transfers: bool,
    /// Tasks of copies; never of responses to senders.
    pub copies: bool,
    /// Only of transfers that this organisation sent.
    pub sender: Option<OdsCode>,
    /// Only copies to this organisation.
    pub recipient: Option<OdsCode>,
    /// Only copies of these kinds; empty means all.
    pub kinds: Vec<RecipientKind>,
    /// Only with one of these FHIR `Task.status` codes; empty means all.
    pub statuses: Vec<String>,
    /// Only copies of this transfer.
    pub transfer: Option<TransferId>,
    /// No copies that were recalled: their recipient should not have had them.
    pub without_recalled: bool,
    /// Only about this person.
    pub patient: Option<NhsNumber>,
    /// Latest change, all of them.
    pub changed: Vec<Changed>,
    /// Cursor: only Tasks after this one in (created, id) order.
    pub after: Option<(Timestamp, uuid::Uuid)>,
    /// At most so many.
    pub limit: u32,
}

/// When the latest change must have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// From (included) until (excluded).
    Within {
        /// At or after.
        from: Option<Timestamp>,
        /// Before.
        until: Option<Timestamp>,
    },
    /// Before `from`, or at or after `until`.
    Outside {
        /// Before.
        from: Timestamp,
        /// At or after.
        until: Timestamp,
    },
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
    /// What people have decided about it so far (JSON).
    pub decided: String,
}

/// What the release of a hold came to.
#[derive(Debug, Clone)]
pub struct Release {
    /// The hold.
    pub hold: HoldId,
    /// About whom, as far as it is known now.
    pub patient: Option<NhsNumber>,
    /// The home, as far as it is known now.
    pub care_home: Option<OdsCode>,
    /// The copies to queue.
    pub deliveries: Vec<NewDelivery>,
    /// The ends of all copies of the versions before it.
    pub endings: Vec<Ending>,
    /// The transfer that it replaces, and its own place among the versions, where that was not known when it came.
    pub replaces: Option<(TransferId, u32)>,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A hold that stays, for the same reason or another.
#[derive(Debug, Clone)]
pub struct HoldChange {
    /// The hold as it is from now on, under its own identifier.
    pub hold: NewHold,
    /// What people have decided so far (JSON).
    pub decided: String,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// The end of a held transfer that is not sent.
#[derive(Debug, Clone)]
pub struct Closure {
    /// The hold.
    pub hold: HoldId,
    /// Why it is not sent; no patient data.
    pub reason: String,
    /// Responses to the sender (inserted once each, by their identifier).
    pub responses: Vec<NewDelivery>,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
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

/// One transfer about a person, with everything that was kept of it. Its `Debug` names the transfer only.
#[derive(Clone)]
pub struct SubjectTransfer {
    /// The transfer and its copies.
    pub transfer: TransferRecord,
    /// The sender's bytes, while they are kept.
    pub original: Option<OriginalMessage>,
    /// What went to each recipient, while it is kept; responses to the sender carry nothing about a person.
    pub renditions: Vec<StoredRendition>,
}

impl fmt::Debug for SubjectTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectTransfer").field("transfer", &self.transfer.id).finish_non_exhaustive()
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
    /// Copies and responses by state and transport.
    pub deliveries: Vec<DeliveryFigure>,
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

/// The durable memory of the gateway.
#[async_trait]
pub trait Store:
    people::PeopleStore
    + evidence::EvidenceStore
    + reporting::ReportStore
    + OperationsStore
    + retention::RetentionStore
    + alerts::AlertStore
    + subscriptions::SubscriptionStore
{
    /// Commits a message with its copies, hold and audit, or finds that it is a repeat.
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError>;

    /// Commits audit rows that belong to no other effect (refusals, denials, queries, sign-ins).
    async fn audit(&self, rows: Vec<AuditRow>) -> Result<(), StoreError>;

    /// Leases queued copies that are due, in the order of their lane (patient or transfer, recipient, kind): a copy that
    /// is queued, or that somebody is still sending, holds back the younger ones. Nothing is leased for a paused recipient.
    /// An expired lease may be claimed anew; its old token then completes nothing. What the claim's intent says of each lease
    /// is committed with it.
    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError>;

    /// Commits the ends of attempts; `false` where the token is no longer the copy's (fenced off).
    async fn complete(&self, ends: Vec<AttemptEnd>) -> Result<Vec<bool>, StoreError>;

    /// Commits a change of state; `false` when the version is no longer the expected one.
    async fn transition(&self, transition: Transition) -> Result<bool, StoreError>;

    /// Reads a copy and commits that it was read (first reading sets `opened` and, from
    /// `AwaitingCollection` and for an inbox also from `Queued`, the state `Received`) in one transaction: no audit,
    /// no bytes; and none of a copy that was taken back. A person who reads is kept as a step, once for each account.
    async fn open_rendition(
        &self,
        delivery: DeliveryId,
        at: Timestamp,
        reader: Option<Step>,
        audit: Vec<AuditRow>,
    ) -> Result<Option<StoredRendition>, StoreError>;

    /// Keeps what a person at the recipient did, with the change of state and the notices to others that follow from it;
    /// `false`, with nothing written, when the version is no longer the one that the change expects.
    async fn take_step(
        &self,
        step: Step,
        transition: Option<Transition>,
        notices: Vec<NewDelivery>,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// What people at the recipient did with a copy, the oldest first.
    async fn steps(&self, delivery: DeliveryId) -> Result<Vec<Step>, StoreError>;
    /// The list that people at a recipient start from, the newest copies first.
    async fn arrivals(&self, query: ArrivalQuery) -> Result<Vec<Arrival>, StoreError>;
    /// What a list shows of one copy.
    async fn card(&self, delivery: DeliveryId) -> Result<Option<Vec<u8>>, StoreError>;

    /// One transfer.
    async fn transfer(&self, id: TransferId) -> Result<Option<TransferRecord>, StoreError>;
    /// One copy.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError>;
    /// The copy whose acknowledgements carry this identifier.
    async fn delivery_by_correlation(&self, correlation_id: &str) -> Result<Option<DeliveryRecord>, StoreError>;
    /// The copy that the transport knows under this reference (MESH message id).
    async fn delivery_by_reference(&self, reference: &str) -> Result<Option<DeliveryRecord>, StoreError>;
    /// Copies in (created, id) order.
    async fn deliveries(&self, query: DeliveryQuery) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// Tasks of transfers and copies in (created, id) order.
    async fn tasks(&self, query: TaskQuery) -> Result<Vec<FoundTask>, StoreError>;
    /// How many Tasks there are, whatever cursor and limit say.
    async fn count_tasks(&self, query: TaskQuery) -> Result<u64, StoreError>;
    /// What travels of a copy. For the gateway itself: reading it this way opens nothing.
    async fn rendition(&self, delivery: DeliveryId) -> Result<Option<StoredRendition>, StoreError>;
    /// The transfer of this sender, other than `except`, whose document, or newest document of whose set, has this
    /// identifier.
    async fn predecessor(
        &self,
        sender: &OdsCode,
        named: &str,
        except: TransferId,
    ) -> Result<Option<Predecessor>, StoreError>;
    /// Held transfers of this sender that wait for a document, or a set, with one of these identifiers.
    async fn waiting(&self, sender: &OdsCode, for_any: &[String]) -> Result<Vec<Waiting>, StoreError>;
    /// Takes copies back; `false` when they, or the transfer, had ended already. A copy that cannot have left is only
    /// cancelled; else its notice is queued.
    async fn take_back(&self, take_back: TakeBack) -> Result<bool, StoreError>;

    /// Pauses a recipient, or everybody; `false` when it is paused already.
    async fn pause(&self, pause: Pause, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// Ends a pause; `false` when there is none.
    async fn resume(&self, recipient: Option<&OdsCode>, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// All pauses, that of everybody first.
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
    /// Counts everything and checks every rule that the rows must keep among themselves, in one snapshot.
    async fn checkup(&self) -> Result<Checkup, StoreError>;

    /// The sender's bytes.
    async fn original(&self, id: TransferId) -> Result<Option<OriginalMessage>, StoreError>;

    /// Everything about one person, the oldest transfer first, in one snapshot. For subject access: reading it this way
    /// opens no copy; the caller commits its audit before it shows anything.
    async fn subject_record(&self, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, StoreError>;

    /// Open holds, the most urgent first.
    async fn holds(&self) -> Result<Vec<HeldTransfer>, StoreError>;
    /// Closes a hold and queues the copies decided on; `false` when it was closed already.
    async fn release_hold(&self, release: Release) -> Result<bool, StoreError>;
    /// Changes an open hold; `false` when it was closed already.
    async fn change_hold(&self, change: HoldChange) -> Result<bool, StoreError>;
    /// Closes a hold and ends its transfer without copies; `false` when it was closed already.
    async fn close_hold(&self, closure: Closure) -> Result<bool, StoreError>;
    /// Queues a copy again, due at once, with why; `false` when its state is none from which it can be sent again so.
    async fn requeue(
        &self,
        delivery: DeliveryId,
        how: Resend,
        why: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;

    /// Adds or replaces a client.
    async fn put_client(&self, client: Client, audit: Vec<AuditRow>) -> Result<(), StoreError>;
    /// One client, disabled or not.
    async fn client(&self, id: &str) -> Result<Option<Client>, StoreError>;
    /// All clients by id.
    async fn clients(&self) -> Result<Vec<Client>, StoreError>;
    /// Takes note of an assertion's `jti` (kept until `jti_expires`) and stores the token; `false` when the `jti` was seen.
    async fn redeem_assertion(
        &self,
        jti: &str,
        jti_expires: Timestamp,
        token: Token,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// The token with this hash and its client, unless expired at `now` or the client is disabled.
    async fn token(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<(Token, Client)>, StoreError>;

    /// Replaces or adds directory entries as one version; returns its number.
    async fn import_directory(
        &self,
        entries: Vec<DirectoryEntry>,
        source: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<u64, StoreError>;
    /// Puts an entry in the place of one that still stands as it was, as a version of its own; `false`, and nothing is kept,
    /// when somebody else has changed it meanwhile.
    async fn amend_directory(
        &self,
        was: DirectoryEntry,
        entry: DirectoryEntry,
        source: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// The entry with this ODS code (for a home, also by its other codes), expired or not.
    async fn directory_entry(&self, ods: &OdsCode) -> Result<Option<DirectoryEntry>, StoreError>;
    /// All entries by kind and code.
    async fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError>;

    /// The leaf hashes of entries from `from`, at most `limit`, in log order.
    async fn audit_leaves(&self, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, StoreError>;
    /// Audit entries from `from`, at most `limit`, in log order.
    async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<StoredAudit>, StoreError>;
    /// Audit entries that fit, the newest first.
    async fn search_audit(&self, query: AuditQuery) -> Result<Vec<FoundAudit>, StoreError>;
    /// Stores a checkpoint unless one of the same or greater size is there.
    async fn put_checkpoint(&self, checkpoint: StoredCheckpoint) -> Result<bool, StoreError>;
    /// All checkpoints, the smallest first.
    async fn checkpoints(&self) -> Result<Vec<StoredCheckpoint>, StoreError>;
    /// The newest checkpoint.
    async fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError>;

    /// How many data keys each key-encryption key wraps, by its name.
    async fn key_usage(&self) -> Result<Vec<KeyUsage>, StoreError>;
    /// Wraps up to `limit` data keys anew that another key than the current one wraps; gives how many. With 0 nothing is
    /// left to do, and the audit rows are committed.
    async fn rewrap_keys(&self, limit: u32, audit: Vec<AuditRow>) -> Result<u64, StoreError>;

    /// Keeps a request to erase a person; `false`, with nothing written, when there is nothing about them.
    async fn request_erasure(
        &self,
        patient: &NhsNumber,
        request: ErasureRequest,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// The requests that wait for somebody else.
    async fn pending_erasures(&self) -> Result<Vec<PendingErasure>, StoreError>;
    /// Destroys the person's keys, so that nothing that was sealed under them can be read, unless something forbids it.
    async fn confirm_erasure(&self, confirmation: ErasureConfirmation) -> Result<ErasureOutcome, StoreError>;
    /// Forbids to erase a person.
    async fn place_legal_hold(
        &self,
        patient: &NhsNumber,
        order: LegalHoldOrder,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError>;
    /// Ends a legal hold; `false` when there is none or it has ended.
    async fn lift_legal_hold(
        &self,
        id: uuid::Uuid,
        by: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// All legal holds, the lifted ones included.
    async fn legal_holds(&self) -> Result<Vec<LegalHold>, StoreError>;

    /// How things stand at `now`, cheap enough to be asked for every few seconds.
    async fn figures(&self, now: Timestamp) -> Result<Figures, StoreError>;

    /// Proves that the store answers and can commit.
    async fn ready(&self) -> Result<(), StoreError>;
}
