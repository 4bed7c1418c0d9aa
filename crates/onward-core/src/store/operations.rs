//! What the store does for those who keep the gateway running: what has not left and why, and what two people decide together.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{DeliveryRecord, Listed, StoreError};
use crate::audit::AuditRow;
use crate::state::words;
use crate::{ApprovalId, OdsCode};

words!(
    /// Where a copy waits that has not left.
    Queue {
        /// Its first attempt is still to come.
        Waiting = "waiting",
        /// A few attempts failed; the next one comes by itself.
        Retrying = "retrying",
        /// Many attempts failed; the next one comes by itself.
        Failing = "failing",
        /// It failed, or its recipient's system did not process it, and nobody has closed it: it needs a person.
        Dead = "dead",
        /// Its recipient, or everybody, is paused.
        Paused = "paused",
    }
);

impl Queue {
    /// From so many attempts on a copy is failing and no longer retrying.
    pub const FAILING_ATTEMPTS: u32 = 5;
}

words!(
    /// How a copy is sent again by a person.
    Resend {
        /// The same message once more, at once: of a copy that failed, that was not processed, or that waits for its next attempt.
        Retry = "retry",
        /// Although it may have arrived: of a copy that failed, that was not processed, or that was handed over and never
        /// acknowledged, as every response to a sender. Whoever gets it is told that it is a repeat.
        Replay = "replay",
    }
);

/// Copies that have not left, and those that their recipients' systems did not process, counted by queue, recipient and cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Where they wait.
    pub queue: Queue,
    /// To whom.
    pub recipient: OdsCode,
    /// The recipient's name.
    pub recipient_name: String,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
    /// When the oldest of them was queued.
    pub oldest: Timestamp,
}

/// Which copies that have not left, or were not processed, to list. The oldest come first.
#[derive(Debug, Clone, Default)]
pub struct StuckQuery {
    /// Only in one of these queues; empty means all.
    pub queues: Vec<Queue>,
    /// Only to this organisation.
    pub recipient: Option<OdsCode>,
    /// Only those whose last attempt failed with one of these texts; `None` takes all.
    pub reasons: Option<Vec<String>>,
    /// At most so many.
    pub limit: u32,
}

/// A copy that has not left, or was not processed.
#[derive(Debug, Clone)]
pub struct Stuck {
    /// The copy.
    pub copy: DeliveryRecord,
    /// Where it waits.
    pub queue: Queue,
    /// When its first failed attempt ended.
    pub first_failed: Option<Timestamp>,
}

words!(
    /// What two people decide together.
    ApprovalKind {
        /// A transfer goes to another party.
        Redirect = "redirect",
        /// Audit entries, or everything about a person, leave the gateway as a file.
        Export = "export",
    }
);

/// What one person has asked for and another is to decide. Its `Debug` leaves out what it is about, which may name a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its identifier.
    pub id: ApprovalId,
    /// What it is.
    pub kind: ApprovalKind,
    /// What exactly (JSON of whoever asked).
    pub subject: String,
    /// The organisation that the asking person acts for.
    pub organisation: OdsCode,
    /// The account that asked.
    pub asked_by: String,
    /// Its person's name.
    pub asked_name: String,
    /// Why; no patient data.
    pub reason: String,
    /// When.
    pub asked: Timestamp,
    /// Not decided after this, and not used.
    pub expires: Timestamp,
    /// What the second person decided.
    pub verdict: Option<Verdict>,
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approval").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What the second person decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The account; never the one that asked.
    pub by: String,
    /// Its person's name.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Yes or no.
    pub granted: bool,
}

/// Queues and decisions of operators and information-governance leads.
#[async_trait]
pub trait OperationsStore: Send + Sync + 'static {
    /// Everything that has not left, and what was not processed as far as an alert is open about it, counted. A group whose recipient or
    /// cause cannot be read is told in the log only; its copies are among [`Self::stuck`].
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;
    /// Copies of which [`Self::backlog`] counts, the oldest first.
    async fn stuck(&self, query: StuckQuery) -> Result<Listed<Stuck>, StoreError>;

    /// Keeps what one person asks for. What expired more than 90 days before is forgotten.
    async fn ask_approval(&self, approval: Approval, audit: Vec<AuditRow>) -> Result<(), StoreError>;
    /// One of them.
    async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError>;
    /// Those of this kind, and of this organisation where one is named, that have not expired at `now`, the newest first.
    async fn approvals(
        &self,
        kind: ApprovalKind,
        organisation: Option<&OdsCode>,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError>;
    /// Keeps the second person's decision; `false`, with nothing written, when it was decided before, has expired, or is
    /// the same person's.
    async fn decide_approval(&self, id: ApprovalId, verdict: Verdict, audit: Vec<AuditRow>)
    -> Result<bool, StoreError>;
}
