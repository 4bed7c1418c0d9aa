//! The shared language of Onward: identifiers, states, retry rules, audit words and the ports
//! that the store, the network clients and the directory implement.
//!
//! This crate refuses to do I/O and knows no FHIR: it compiles in seconds and everything may lean on it.

pub mod audit;
pub mod cause;
pub mod client;
pub mod clock;
pub mod directory;
pub mod identifiers;
pub mod people;
pub mod retry;
pub mod scanning;
pub mod state;
pub mod store;
pub mod transport;

/// Target of the `tracing` spans that are told as traces. They name nobody.
pub const TRACES: &str = "onward::traces";

pub use clock::{Clock, SystemClock};
pub use identifiers::{
    ApprovalId, BulkId, DeliveryId, HoldId, MeshMailboxId, NhsNumber, OdsCode, ReplayId, SessionId, TransferId, UserId,
    WorkflowId,
};
pub use jiff::Timestamp;
