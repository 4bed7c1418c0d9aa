//! PDS is asked again where the person's own practice did not get its copy, or does not have them: once for a transfer.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{DeliveryRecord, Ending, NewDelivery, StoreError};
use crate::DeliveryId;
use crate::audit::AuditRow;

/// What becomes of a copy now that PDS was asked again.
#[derive(Debug, Clone)]
pub struct Retrace {
    /// The copy.
    pub delivery: DeliveryId,
    /// The version that the caller saw.
    pub expected_version: u64,
    /// What becomes of it.
    pub outcome: Retraced,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// See [`Retrace`].
#[derive(Debug, Clone)]
pub enum Retraced {
    /// It stays as it is: a person must act.
    Stays {
        /// Why it came to nothing, with what PDS said; no patient data.
        reason: String,
    },
    /// PDS names another practice, which gets a copy of its own.
    Sent {
        /// The end of this copy.
        endings: Vec<Ending>,
        /// The other practice's copy.
        copy: Box<NewDelivery>,
    },
}

/// Copies about which PDS is asked again.
#[async_trait]
pub trait RetraceStore: Send + Sync + 'static {
    /// Copies that ask for it ([`DeliveryRecord::asks_for_retrace`]) and changed at or after `since`, the longest ago first, at most
    /// `limit`. None of a transfer about which it was done before, that waits in a hold, has ended or was replaced, or about nobody.
    async fn to_retrace(&self, since: Timestamp, limit: u32) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// Keeps that PDS was asked again about the transfer of a copy, with what follows; `false`, with nothing written, where
    /// [`RetraceStore::to_retrace`] would not give the copy any more, or its version is another one.
    async fn retrace(&self, retrace: Retrace) -> Result<bool, StoreError>;
}
