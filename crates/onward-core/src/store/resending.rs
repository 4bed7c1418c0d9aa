//! What people have sent again: each replay of a copy, and many copies by one decision.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Resend, StoreError};
use crate::audit::AuditRow;
use crate::state::words;
use crate::{BulkId, DeliveryId, ReplayId};

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
    /// ends the whole. The audit rows are those of a copy that is queued again.
    async fn resend_of_bulk(
        &self,
        id: BulkId,
        delivery: DeliveryId,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<BulkStep, StoreError>;
    /// Stops one that runs; `false` when it does not run.
    async fn cancel_bulk(&self, id: BulkId, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
}
