//! What people have sent again: each replay of a copy, and many copies by one decision.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{NewDelivery, Resend, StoreError};
use crate::audit::AuditRow;
use crate::directory::Endpoint;
use crate::state::words;
use crate::{BulkId, DeliveryId, OdsCode, ReplayId};

/// One replay of a copy; it stays. Its `Debug` leaves out why, which a person wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its own identifier.
    pub id: ReplayId,
    /// The copy that it repeats.
    pub delivery: DeliveryId,
    /// When it was queued.
    pub at: Timestamp,
    /// Who decided it, by name.
    pub by: String,
    /// Why; none once the person was erased.
    pub reason: Option<String>,
    /// How often the copy had been tried before.
    pub attempts_before: u32,
    /// The decision that it belongs to, where that was about many copies.
    pub bulk: Option<BulkId>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("id", &self.id).field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// That a person took care of a copy in another way. Its `Debug` leaves out why, which a person wrote.
#[derive(Clone)]
pub struct CloseCopy {
    /// The copy.
    pub delivery: DeliveryId,
    /// Its version as the person saw it: what has failed anew since is another failure.
    pub expected_version: u64,
    /// Who, by name.
    pub by: String,
    /// How and why; no patient data.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

impl fmt::Debug for CloseCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseCopy").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// That a copy which failed, or was not processed, was taken care of in another way: read out, or sent by other means. It stays, also when
/// the copy is sent again later. Its `Debug` leaves out why, which a person wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct ClosedCopy {
    /// The copy.
    pub delivery: DeliveryId,
    /// The copy's version since then; while that is its present one, it is closed. It goes along with a copy that is opened.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Who took care of it, by name.
    pub by: String,
    /// How and why; none once the person was erased.
    pub reason: Option<String>,
}

impl fmt::Debug for ClosedCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedCopy")
            .field("delivery", &self.delivery)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Where a copy was sent before it was given another address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerAddress {
    /// The last attempt that went there; the first is the one after those to the address before.
    pub attempt: u32,
    /// The address.
    pub endpoint: Endpoint,
}

/// How a copy is sent again, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// How.
    pub how: Resend,
    /// Where to.
    pub to: Whereto,
}

impl From<Resend> for Again {
    fn from(how: Resend) -> Self {
        Self { how, to: Whereto::Stored }
    }
}

/// Where a copy that is sent again goes. What names the directory's address is for the copy and the directory as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereto {
    /// Where it is stored to go: the directory says nothing of it.
    Stored,
    /// Where its recipient receives now.
    Directory {
        /// The address that is stored with the copy.
        from: Endpoint,
        /// The directory's; often the same.
        to: Endpoint,
    },
    /// Nowhere: its recipient receives now in a way for which it was not made.
    OtherWay {
        /// The address that is stored with the copy.
        from: Endpoint,
        /// The directory's.
        to: Endpoint,
    },
}

impl Whereto {
    /// The address, if it is another than the copy's.
    #[must_use]
    pub fn new_address(&self) -> Option<&Endpoint> {
        match self {
            Self::Directory { from, to } if from != to => Some(to),
            _ => None,
        }
    }
}

/// What became of queued copies when the address of their recipient changed. Notices are not among them: they are for whoever has what they
/// are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAlong {
    /// Whose.
    pub recipient: OdsCode,
    /// Where they were to go.
    pub from: Endpoint,
    /// Where their recipient receives now.
    pub to: Endpoint,
    /// How many go there.
    pub copies: u64,
    /// How many are being sent to the former address just then, and go to the new one if that comes to nothing.
    pub sending: u64,
    /// How many stay with the former address: they were made for another way of receiving.
    pub stay: u64,
}

/// A copy that took the place of earlier ones, of which somebody may have one where it does not go and was not told: it was given another address
/// since, or comes after one that did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readdressed {
    /// Its place among what is to be looked at.
    pub mark: u64,
    /// The copy.
    pub copy: DeliveryId,
}

/// A notice to an address where the copy that took the place of an earlier one does not go.
#[derive(Debug, Clone)]
pub struct NoticeElsewhere {
    /// It, with the earlier copy that it is about.
    pub notice: NewDelivery,
    /// Whether it says about whom that is: only where that copy is known to have arrived.
    pub named: bool,
}

/// What is told where a copy that took the place of earlier ones does not go.
#[derive(Debug, Clone)]
pub struct ToldElsewhere {
    /// The place of the copy among what is to be looked at.
    pub mark: u64,
    /// The notices; none where nobody needs one.
    pub notices: Vec<NoticeElsewhere>,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

type ImportRule = dyn Fn(&[MovedAlong]) -> Vec<AuditRow> + Send + Sync;

/// The audit rows of an import of the directory: made in its commit, because only that knows what became of queued copies.
pub struct ImportAudit(Box<ImportRule>);

impl ImportAudit {
    /// Rows by this rule, which may be asked more than once.
    pub fn new(rule: impl Fn(&[MovedAlong]) -> Vec<AuditRow> + Send + Sync + 'static) -> Self {
        Self(Box::new(rule))
    }

    /// The rows, with what became of queued copies where an address changed.
    #[must_use]
    pub fn rows(&self, moved: &[MovedAlong]) -> Vec<AuditRow> {
        (self.0)(moved)
    }
}

impl From<Vec<AuditRow>> for ImportAudit {
    fn from(rows: Vec<AuditRow>) -> Self {
        Self::new(move |_| rows.clone())
    }
}

words!(
    /// How far a decision about many copies has come.
    BulkState {
        /// Copies are still to be queued again.
        Running = "running",
        /// All were looked at.
        Finished = "finished",
        /// A person has stopped it; what was queued before stays so.
        Cancelled = "cancelled",
    }
);

/// Many copies that one person decides to have sent again.
#[derive(Debug, Clone)]
pub struct NewBulk {
    /// Its identifier, made when the question was shown: whoever answers twice has answered once.
    pub id: BulkId,
    /// How.
    pub how: Resend,
    /// Which copies were asked for, as a query; no patient data.
    pub filter: String,
    /// Why; no patient data.
    pub reason: String,
    /// Who decided it, by name.
    pub by: String,
    /// The same as audit names them (JSON of whoever asked).
    pub agent: String,
    /// When.
    pub at: Timestamp,
    /// The copies as they were shown.
    pub copies: Vec<DeliveryId>,
}

/// The same as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// Its identifier.
    pub id: BulkId,
    /// How.
    pub how: Resend,
    /// Which copies were asked for, as a query.
    pub filter: String,
    /// Why.
    pub reason: String,
    /// Who decided it, by name.
    pub by: String,
    /// The same as audit names them (JSON of whoever asked).
    pub agent: String,
    /// When.
    pub at: Timestamp,
    /// How far it has come.
    pub state: BulkState,
    /// When it finished or was stopped.
    pub ended: Option<Timestamp>,
    /// How many copies it is about.
    pub total: u64,
    /// How many were queued again.
    pub resent: u64,
    /// How many could not be any more: they left, ended or were sent again meanwhile.
    pub passed_over: u64,
}

/// What one copy of many came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkStep {
    /// It is queued again.
    Resent,
    /// It could not be sent again any more.
    PassedOver,
    /// Nothing was done: somebody else did it, or the whole was stopped.
    Overtaken,
}

/// Decisions to send again.
#[async_trait]
pub trait ResendStore: Send + Sync + 'static {
    /// The replays of a copy, the oldest first.
    async fn replays(&self, delivery: DeliveryId) -> Result<Vec<Replay>, StoreError>;
    /// One of them.
    async fn replay(&self, id: ReplayId) -> Result<Option<Replay>, StoreError>;
    /// Closes a copy that is dead ([`super::DeliveryRecord::is_dead`]): a person took care of it in another way. `false`, with nothing written,
    /// when it is not, or its version is no longer the expected one. Its state stays what it was, and its version grows; it may still be sent
    /// again as a replay. The alerts about it are over.
    async fn close_copy(&self, close: CloseCopy) -> Result<bool, StoreError>;
    /// Where a copy was sent before it was given another address, the oldest first. What programs gave another address that did not keep this is not
    /// among them.
    async fn former_addresses(&self, delivery: DeliveryId) -> Result<Vec<FormerAddress>, StoreError>;
    /// Whether an attempt to send a copy to the address that it has now ended with it being there.
    async fn has_arrived(&self, delivery: DeliveryId) -> Result<bool, StoreError>;
    /// Copies that took the place of earlier ones, of which somebody may have one elsewhere and was not told, by their marks, those after `after`;
    /// at most `limit`.
    async fn readdressed(&self, after: u64, limit: u32) -> Result<Vec<Readdressed>, StoreError>;
    /// Queues these notices, and forgets the mark. `false`, with nothing written, when somebody did so before.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] when a copy that a notice is about is just being sent to where the notice goes, so that nobody knows yet whether it
    /// arrives; when it is not superseded any more, for whoever ended it otherwise told of that; when a notice there says so of that copy already;
    /// or when the person whom the notice names was erased.
    async fn tell_elsewhere(&self, told: ToldElsewhere) -> Result<bool, StoreError>;
    /// When and by whom a copy was closed, the oldest first.
    async fn closed_copies(&self, delivery: DeliveryId) -> Result<Vec<ClosedCopy>, StoreError>;
    /// How many younger copies of its lane (same person, or transfer; recipient; kind), notices left aside, have left since for their recipient:
    /// sent again, it comes after them.
    async fn left_since(&self, delivery: DeliveryId) -> Result<u64, StoreError>;

    /// Keeps a decision about many copies; `false`, with nothing written, when it is there already. What ended more than 90 days
    /// before is forgotten.
    async fn start_bulk(&self, bulk: NewBulk, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// One of them.
    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError>;
    /// Those that run, and those that ended at or after `since`; the newest first.
    async fn bulks(&self, since: Timestamp) -> Result<Vec<Bulk>, StoreError>;
    /// Copies that one which runs has still to look at, at most `limit`.
    async fn bulk_pending(&self, id: BulkId, limit: u32) -> Result<Vec<DeliveryId>, StoreError>;
    /// Queues one copy of many again, as [`super::Store::requeue`] does, and notes what came of it, in one transaction; the last one
    /// ends the whole. The audit rows are those of a copy that is queued again. What cannot go where its recipient receives now
    /// is passed over.
    async fn resend_of_bulk(
        &self,
        id: BulkId,
        delivery: DeliveryId,
        to: Whereto,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<BulkStep, StoreError>;
    /// Stops one that runs; `false` when it does not run.
    async fn cancel_bulk(&self, id: BulkId, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
}
