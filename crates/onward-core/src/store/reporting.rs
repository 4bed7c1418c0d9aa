//! What is reported to commissioners: what came when, how long it took to each door, and what waited. Nothing in it tells who
//! anybody is.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::OdsCode;
use crate::state::{HoldReason, RecipientKind};

/// One transfer, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedTransfer {
    /// When it came.
    pub received: Timestamp,
    /// The hospital.
    pub sender: OdsCode,
    /// The home, where it is known.
    pub care_home: Option<OdsCode>,
    /// The event code: the pathway.
    pub event: String,
    /// Why it waited for a person, the first time.
    pub held: Option<HoldReason>,
    /// Its copies, without responses to the sender and notices.
    pub copies: Vec<ReportedCopy>,
}

/// One recipient's copy, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedCopy {
    /// As what.
    pub kind: RecipientKind,
    /// When it was at the recipient's door: in its inbox or mailbox, or taken by its system.
    pub delivered: Option<Timestamp>,
    /// When it was first opened or acknowledged.
    pub read: Option<Timestamp>,
    /// When the person arrived, as the home recorded it, else when they were expected.
    pub arrived: Option<Timestamp>,
}

/// What can be counted.
#[async_trait]
pub trait ReportStore: Send + Sync + 'static {
    /// Every transfer that came in this time, the oldest first.
    async fn reported(&self, from: Timestamp, until: Timestamp) -> Result<Vec<ReportedTransfer>, StoreError>;
}
