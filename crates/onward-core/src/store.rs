//! The store port. A method is one business transaction, never one table; the audit rows of an effect
//! are committed with it or the effect does not happen.

mod acceptance;
pub mod alerts;
mod contents;
mod erasure;
pub mod evidence;
mod keys;
mod lifecycle;
mod listed;
mod log;
mod operations;
pub mod people;
mod records;
pub mod reporting;
mod resending;
pub mod retention;
mod retracing;
mod steps;
mod subject;
pub mod subscriptions;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::audit::{AuditQuery, AuditRow, FoundAudit, StoredCheckpoint};
use crate::client::{Client, Token};
use crate::directory::{DirectoryEntry, Endpoint};
use crate::state::{DeliveryState, RecipientKind};
use crate::{DeliveryId, HoldId, NhsNumber, OdsCode, TransferId, WorkflowId};

pub use acceptance::{Acceptance, Accepted, Held, NewDelivery, NewHold, NewTransfer, ReplyWanted};
pub use contents::Contents;
pub use erasure::{
    ErasureConfirmation, ErasureGround, ErasureOutcome, ErasureRequest, LegalHold, LegalHoldOrder, Lifted,
    PendingErasure, are_one_person, by_account, who_is_named,
};
pub use keys::KeyUsage;
pub use lifecycle::{
    Checkup, Claim, Ended, Ending, Flaw, GivenUp, Intent, Late, Notice, Overdue, Parked, Parking, Pause, Placing,
    Predecessor, Renewal, TakeBack, Telling, Voided, Waiting, Went,
};
pub use listed::{Damaged, Listed};
pub use log::{AuditColumns, AuditContent, AuditHeader, StoredAudit};
pub use operations::{Approval, ApprovalKind, Backlog, OperationsStore, Queue, Resend, Stuck, StuckQuery, Verdict};
pub use records::{
    DeliveryFigure, DeliveryRecord, DirectoryReading, Figures, Finish, FoundTask, HeldTransfer, HoldSeen,
    OriginalMessage, Schema, StoredRendition, TransferRecord,
};
pub use resending::{
    Again, Bulk, BulkState, BulkStep, CloseCopy, ClosedCopy, FormerAddress, ImportAudit, MovedAlong, NewBulk,
    NoticeElsewhere, Readdressed, Replay, ResendStore, ToldElsewhere, Whereto,
};
pub use retracing::{Retrace, RetraceStore, Retraced};
pub use steps::{Arrival, ArrivalQuery, CheckOutcome, Step, StepKind};
pub use subject::{CopyChange, SubjectHold, SubjectTransfer};

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

/// The bytes of a copy that leaves. Its `Debug` shows sizes only.
#[derive(Clone)]
pub struct Outgoing {
    /// Media type of `body`.
    pub media_type: String,
    /// What travels.
    pub body: Bytes,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// A copy leased for one attempt.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The copy.
    pub delivery: DeliveryRecord,
    /// What travels; none where nothing does, because the recipient collects it.
    pub outgoing: Option<Outgoing>,
    /// MESH workflow.
    pub workflow: Option<WorkflowId>,
    /// Fencing token: only its holder can complete the attempt.
    pub token: u64,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// What the claim's intent says of it is committed. False where saying it failed by a fault of the program: it must not be sent.
    pub told: bool,
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
    /// Only copies that a person must decide about ([`DeliveryRecord::is_dead`]).
    pub dead: bool,
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

/// What the release of a hold came to.
#[derive(Debug, Clone)]
pub struct Release {
    /// The hold.
    pub hold: HoldId,
    /// As it was when this was decided.
    pub seen: HoldSeen,
    /// About whom, as far as it is known now.
    pub patient: Option<NhsNumber>,
    /// The home, as far as it is known now.
    pub care_home: Option<OdsCode>,
    /// The copies to queue.
    pub deliveries: Vec<NewDelivery>,
    /// The ends of all copies of the versions before it.
    pub endings: Vec<Ending>,
    /// The ends of copies that went where it does not go any more, its own ones among them.
    pub taken_back: Vec<Ending>,
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
    /// As it was when this was decided.
    pub seen: HoldSeen,
    /// The transfer that it replaces, and its own place among the versions, where that came after it.
    pub joins: Option<(TransferId, u32)>,
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
    /// As it was when this was decided.
    pub seen: HoldSeen,
    /// Why it is not sent; no patient data.
    pub reason: String,
    /// Responses to the sender (inserted once each, by their identifier).
    pub responses: Vec<NewDelivery>,
    /// Of a replacement that was never sent: the versions before it end as well.
    pub voids: Option<Voided>,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// The durable memory of the gateway.
#[async_trait]
pub trait Store:
    people::PeopleStore
    + evidence::EvidenceStore
    + reporting::ReportStore
    + OperationsStore
    + ResendStore
    + RetraceStore
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
    /// is committed with it; one of which it fails to say anything is leased untold, and the others are not hindered. One that cannot be
    /// read fails, for a person: that is no attempt, and what the claim's parking says of it is committed with it.
    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError>;

    /// Places copies that are due for their recipients to collect, by the order and the pauses of [`Store::claim`]: nothing of them leaves, so
    /// that each one's attempt begins and ends in this transaction, and nobody leases it. Gives them as they were. One that cannot be read, or of
    /// which there is nothing to tell because every rule panics, is left to the next claim.
    async fn place(&self, placing: Placing) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Makes leases last longer; `false` where the token is no longer the copy's (fenced off), or the copy's attempt has ended.
    async fn renew(&self, renewal: Renewal) -> Result<Vec<bool>, StoreError>;

    /// Commits the ends of attempts; `false` where the token is no longer the copy's (fenced off).
    async fn complete(&self, ends: Vec<AttemptEnd>) -> Result<Vec<bool>, StoreError>;

    /// Since when a copy waits to be sent: since it was made, or sent again by a person after it had left or failed; attempts that are
    /// tried again change nothing. `None` where it does not wait, or is not there.
    async fn queued_since(&self, delivery: DeliveryId) -> Result<Option<Timestamp>, StoreError>;

    /// Copies for these endpoints that have waited to be sent since `queued_before` or longer, at most `limit`, the longest first; none of a
    /// recipient that is paused now.
    async fn overdue(
        &self,
        endpoints: Vec<Endpoint>,
        queued_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError>;

    /// Leaves a copy that waits to a person, without an attempt; `false`, with nothing written, where somebody is sending it or its version is
    /// no longer the expected one.
    async fn give_up(&self, given_up: GivenUp) -> Result<bool, StoreError>;

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
    /// What people at the recipient did with a copy, the oldest first, after what they told of the person
    /// ([`StepKind::is_about_the_person`]) with the copies whose place it took.
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
    /// Whether an attempt of this copy runs: somebody leased it, and the lease has neither ended nor run out.
    async fn is_leased(&self, delivery: DeliveryId, now: Timestamp) -> Result<bool, StoreError>;
    /// Copies in (created, id) order.
    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<DeliveryRecord>, StoreError>;
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
    /// The held transfers, of whomever, that wait for their document alone, which has come.
    async fn waiting_in_vain(&self) -> Result<Vec<Waiting>, StoreError>;
    /// What a transfer that came before its predecessor could be joined with: that has come, and nothing else replaced it.
    async fn come_since(&self, transfer: TransferId) -> Result<Option<TransferId>, StoreError>;
    /// The transfer of this sender, other than `except`, that replaces a document, or a set, with one of these identifiers, and does not
    /// wait for it any more: it was delivered, closed, withdrawn, or replaced itself. None replaces what bears a later date.
    async fn successor(
        &self,
        sender: &OdsCode,
        named: &[String],
        dated: Option<Timestamp>,
        except: &[TransferId],
    ) -> Result<Option<TransferId>, StoreError>;
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
    async fn holds(&self) -> Result<Listed<HeldTransfer>, StoreError>;
    /// This one; `None` when it is closed, and where there is none.
    async fn open_hold(&self, hold: HoldId) -> Result<Option<HeldTransfer>, StoreError>;
    /// The transfer that waited in this hold, which is closed; `None` for one that is open, and where there is none.
    async fn closed_hold(&self, hold: HoldId) -> Result<Option<TransferId>, StoreError>;
    /// Closes a hold and queues the copies decided on; `false` when it was closed already. [`StoreError::Overtaken`], as with the two
    /// below, when it is not as it was seen any more.
    async fn release_hold(&self, release: Release) -> Result<bool, StoreError>;
    /// Changes an open hold; `false` when it was closed already.
    async fn change_hold(&self, change: HoldChange) -> Result<bool, StoreError>;
    /// Closes a hold and ends its transfer without copies; `false` when it was closed already.
    async fn close_hold(&self, closure: Closure) -> Result<bool, StoreError>;
    /// Queues a copy again, due at once, with who decided it and why; `false` when its state is none from which it can be sent again
    /// so, or its recipient receives in another way by now. [`StoreError::Overtaken`] when its address, or the directory's, is not as it was
    /// read any more. A replay is kept beside the copy ([`ResendStore::replays`]). The alerts about what it was queued for are over.
    async fn requeue(
        &self,
        delivery: DeliveryId,
        again: Again,
        by: &str,
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
    /// Takes note of an assertion's `jti` (kept until `jti_expires`) and stores the token; `false` when the `jti` was seen,
    /// [`StoreError::Overtaken`] when what the token rests on of `client`, as the assertion was checked against, has changed.
    async fn redeem_assertion(
        &self,
        jti: &str,
        jti_expires: Timestamp,
        token: Token,
        client: Client,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// Takes note that another issuer's token was used, until `expires`; `false`, with nothing written, when it was before.
    async fn note_first_use(
        &self,
        issuer: &str,
        jti: &str,
        expires: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// The token with this hash and its client, unless expired at `now` or the client is disabled.
    async fn token(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<(Token, Client)>, StoreError>;

    /// Replaces or adds directory entries as one version; returns its number. Where one receives at another address than before, what is
    /// queued for it, leased by nobody and stored with the former address goes along, as far as it can leave for the new one as it is
    /// ([`crate::directory::Endpoint::leads_on_to`]); responses to senders do not. What is being sent just then goes along when that attempt
    /// ends with another to come, or when its lease runs out.
    async fn import_directory(
        &self,
        entries: Vec<DirectoryEntry>,
        source: &str,
        at: Timestamp,
        audit: ImportAudit,
    ) -> Result<u64, StoreError>;
    /// Puts an entry in the place of one that still stands as it was, as a version of its own; `false`, and nothing is kept,
    /// when somebody else has changed it meanwhile. It is for what an organisation is and can do: no queued copy goes along.
    async fn amend_directory(
        &self,
        was: DirectoryEntry,
        entry: DirectoryEntry,
        source: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// The entry with this ODS code (for a home, also by its other codes), expired or not.
    async fn directory_entry(&self, ods: &OdsCode) -> Result<Option<DirectoryEntry>, StoreError> {
        Ok(self.read_directory(ods).await?.entry)
    }
    /// The same with what tells whether the directory has changed since.
    async fn read_directory(&self, ods: &OdsCode) -> Result<DirectoryReading, StoreError>;
    /// All entries by kind and code.
    async fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError>;

    /// The leaf hashes of entries from `from`, at most `limit`, in log order.
    async fn audit_leaves(&self, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, StoreError>;
    /// Audit entries from `from`, at most `limit`, in log order.
    async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<StoredAudit>, StoreError>;
    /// The first entry that an organisation which it belongs to (the agent's, the sender's, the recipient's) does not find, or
    /// that one finds which it does not belong to, as far as its transfer and its copy are still there to tell whose it is.
    async fn misfiled_audit(&self) -> Result<Option<u64>, StoreError>;
    /// Audit entries that fit, the newest first.
    async fn search_audit(&self, query: AuditQuery) -> Result<Vec<FoundAudit>, StoreError>;
    /// Stores a checkpoint unless one of the same or greater size is there.
    async fn put_checkpoint(&self, checkpoint: StoredCheckpoint) -> Result<bool, StoreError>;
    /// Checkpoints of more than `after` entries, without it from the very first, at most `limit`, the smallest first: there are years of
    /// them.
    async fn checkpoints(&self, after: Option<u64>, limit: u32) -> Result<Vec<StoredCheckpoint>, StoreError>;
    /// The checkpoints of these sizes, as far as there are any, the smallest first.
    async fn checkpoints_of(&self, sizes: Vec<u64>) -> Result<Vec<StoredCheckpoint>, StoreError>;
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
    /// The requests that wait for somebody else, and those that have lapsed.
    async fn pending_erasures(&self) -> Result<Vec<PendingErasure>, StoreError>;
    /// Keeps that a request lapsed, once; `false`, with nothing written, when that was kept, when it can still be confirmed at `at`, or
    /// when there is none.
    async fn lapse_erasure(&self, id: uuid::Uuid, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// Takes a request that waits, or has lapsed, back; `false` when there is none. What it was stays in the log.
    async fn refuse_erasure(&self, id: uuid::Uuid, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// Destroys the person's keys, so that nothing that was sealed under them can be read, unless something forbids it.
    async fn confirm_erasure(&self, confirmation: ErasureConfirmation) -> Result<ErasureOutcome, StoreError>;
    /// Forbids to erase a person.
    async fn place_legal_hold(
        &self,
        patient: &NhsNumber,
        order: LegalHoldOrder,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError>;
    /// Ends a legal hold, on the word of somebody else than who placed it ([`are_one_person`]). Nothing is written unless it is lifted.
    async fn lift_legal_hold(
        &self,
        id: uuid::Uuid,
        by: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<Lifted, StoreError>;
    /// All legal holds, the lifted ones included.
    async fn legal_holds(&self) -> Result<Vec<LegalHold>, StoreError>;

    /// How things stand at `now`, cheap enough to be asked for every few seconds.
    async fn figures(&self, now: Timestamp) -> Result<Figures, StoreError>;

    /// Which schema it has by now: a node of a newer program may have brought it forward since this one began.
    async fn schema(&self) -> Result<Schema, StoreError>;

    /// Shuts out the programs that cannot read what waits for it ([`Schema::waits_for`]): nodes write that from then on. The rows are written
    /// where this changes anything.
    async fn finish_upgrade(&self, audit: Vec<AuditRow>) -> Result<Finish, StoreError>;

    /// Proves that the store answers and can commit.
    async fn ready(&self) -> Result<(), StoreError>;
}
