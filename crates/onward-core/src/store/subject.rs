//! Everything that is kept about one person, for subject access.

use std::fmt;

use jiff::Timestamp;

use super::alerts::Alert;
use super::{Approval, NewHold, OriginalMessage, Step, StoredRendition, TransferRecord};
use crate::DeliveryId;
use crate::state::DeliveryState;

/// One transfer about a person, with everything that was kept of it. Its `Debug` names the transfer only.
#[derive(Clone)]
pub struct SubjectTransfer {
    /// The transfer and its copies.
    pub transfer: TransferRecord,
    /// The sender's bytes, while they are kept.
    pub original: Option<OriginalMessage>,
    /// What went to each recipient, while it is kept; responses to the sender carry nothing about a person.
    pub renditions: Vec<StoredRendition>,
    /// How the copies' states changed, by copy, the oldest first.
    pub changes: Vec<CopyChange>,
    /// What people at the recipients did with the copies, by copy, the oldest first.
    pub steps: Vec<Step>,
    /// Every wait for a person, the oldest first, those that are over included.
    pub holds: Vec<SubjectHold>,
    /// What two people were to decide about it, the oldest first, while that is kept.
    pub approvals: Vec<Approval>,
    /// What needed a person, and who was told; those that are over included.
    pub alerts: Vec<Alert>,
}

impl fmt::Debug for SubjectTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectTransfer").field("transfer", &self.transfer.id).finish_non_exhaustive()
    }
}

/// A state that a copy came to. Its `Debug` leaves out what people wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct CopyChange {
    /// Which copy.
    pub delivery: DeliveryId,
    /// Its version from then on.
    pub version: u64,
    /// Its state from then on.
    pub state: DeliveryState,
    /// When.
    pub at: Timestamp,
    /// The acknowledgement code that came.
    pub code: Option<String>,
    /// Why, in a person's or a system's words.
    pub reason: Option<String>,
}

impl fmt::Debug for CopyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyChange")
            .field("delivery", &self.delivery)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A wait for a person, with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectHold {
    /// The wait, for the reason that it had last.
    pub hold: NewHold,
    /// Since when.
    pub opened: Timestamp,
    /// When it ended.
    pub closed: Option<Timestamp>,
    /// What people decided (JSON).
    pub decided: String,
}
