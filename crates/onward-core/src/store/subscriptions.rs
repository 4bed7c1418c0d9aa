//! Who wants to be called when a Task changes (FHIR R4 Subscription, rest-hook), and which call is due. Nothing in it is about a
//! patient.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::StoreError;
use crate::audit::{AuditRow, AuditWord};
use crate::state::words;
use crate::{DeliveryId, OdsCode, TransferId};

words!(
    /// `Subscription.status`.
    SubscriptionStatus {
        /// It is called for the first time, or again, before anything is told.
        Requested = "requested",
        /// It is called when something changes.
        Active = "active",
        /// A call failed for good: its owner asks for it again.
        Error = "error",
        /// Its owner does not want it at present, or its time is over.
        Off = "off",
    }
);

/// Entries of the audit log with these words tell that a Task changed.
pub const CHANGING: [AuditWord; 8] = [
    AuditWord::Accept,
    AuditWord::Hold,
    AuditWord::Release,
    AuditWord::Withdraw,
    AuditWord::Disclose,
    AuditWord::DeliveryFailed,
    AuditWord::Read,
    AuditWord::Acknowledge,
];

/// One subscription. Its `Debug` leaves out the address, which its owner wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its identifier.
    pub id: Uuid,
    /// The client whose it is.
    pub client_id: String,
    /// Which Tasks, as a search.
    pub criteria: String,
    /// Where it is called.
    pub endpoint: String,
    /// Not called after this.
    pub ends: Option<Timestamp>,
    /// How it stands.
    pub status: SubscriptionStatus,
    /// Why the last call failed, or why somebody else than its owner turned it off; nothing of what the partner said.
    pub error: Option<String>,
    /// Grows with every change that its owner can see.
    pub version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Latest change that its owner can see.
    pub changed: Timestamp,
    /// What stands in the audit log before this place has been told.
    pub told: u64,
    /// Failed calls in a row.
    pub failures: u32,
    /// When the next call is due; none while nothing is to be told.
    pub next_call: Option<Timestamp>,
    /// When the first of the failed calls in a row ended.
    pub failing_since: Option<Timestamp>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// It was taken: everything before this place of the audit log is told, and the subscription is active.
    Told(u64),
    /// To be tried again.
    Again {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// Given up, with why: its owner must ask for it again.
    Failed(String),
}

/// The end of a call, to be committed with its audit.
#[derive(Debug, Clone)]
pub struct CallEnd {
    /// The subscription.
    pub id: Uuid,
    /// What [`SubscriptionStore::take_call`] gave.
    pub token: u64,
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: CallOutcome,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// Subscriptions and their calls.
#[async_trait]
pub trait SubscriptionStore: Send + Sync + 'static {
    /// Keeps a new one; `false`, with nothing written, when its client has `most` already.
    async fn add_subscription(
        &self,
        subscription: Subscription,
        most: u32,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// One of them.
    async fn subscription(&self, id: Uuid) -> Result<Option<Subscription>, StoreError>;
    /// Those of this client, or all, the oldest first.
    async fn subscriptions(&self, client: Option<&str>) -> Result<Vec<Subscription>, StoreError>;
    /// Those that are requested or active.
    async fn live_subscriptions(&self) -> Result<Vec<Subscription>, StoreError>;
    /// Changes one that still has the version that `subscription` bears; `false`, with nothing written, when it has not. It then
    /// has the next version, no failures, and a call that is under way changes nothing any more.
    async fn change_subscription(&self, subscription: Subscription, audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// Removes one; `false`, with nothing written, when it is not there.
    async fn remove_subscription(&self, id: Uuid, audit: Vec<AuditRow>) -> Result<bool, StoreError>;

    /// Takes the call of a live subscription that nobody else is making and of which no more was told than `told`; gives the
    /// fencing token. Nobody else gets it before `again`; whoever takes one and dies leaves it due then.
    async fn take_call(&self, id: Uuid, told: u64, now: Timestamp, again: Timestamp)
    -> Result<Option<u64>, StoreError>;
    /// Ends a call; `false`, with nothing written, when it is no longer the caller's.
    async fn end_call(&self, end: CallEnd) -> Result<bool, StoreError>;

    /// Nothing before `until` is to be told of a live subscription of which no more was told than `told`; `false`, with nothing
    /// written, when that is not so any more, or a call is due or under way. Nobody can see it, so it is not audited.
    async fn pass_over(&self, id: Uuid, told: u64, until: u64) -> Result<bool, StoreError>;

    /// Whose Tasks changed by entries `from` to `until` (excluded) of the audit log, as far as they are this organisation's
    /// entries: transfer and copy, each pair once.
    async fn changed_tasks(
        &self,
        organisation: &OdsCode,
        from: u64,
        until: u64,
    ) -> Result<Vec<(TransferId, Option<DeliveryId>)>, StoreError>;
}
