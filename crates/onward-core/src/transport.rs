//! The port through which a copy leaves, and whose fault it is when it does not.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::directory::Endpoint;
use crate::state::{RecipientKind, TransportKind};
use crate::store::alerts::Channel;
use crate::{DeliveryId, MeshMailboxId, NhsNumber, OdsCode, WorkflowId};

/// One copy on its way out. Its `Debug` names the delivery only.
#[derive(Clone)]
pub struct Outbound {
    /// The delivery; the same in every attempt, and the partner's key against repeats.
    pub delivery: DeliveryId,
    /// Attempt number, from 1.
    pub attempt: u32,
    /// To whom.
    pub recipient: OdsCode,
    /// As what.
    pub kind: RecipientKind,
    /// Where.
    pub endpoint: Endpoint,
    /// Media type of `body`.
    pub media_type: String,
    /// The rendition.
    pub body: Bytes,
    /// MESH workflow, where the endpoint sets none.
    pub workflow: Option<WorkflowId>,
    /// A person had it sent again although it may have arrived: the partner is told.
    pub replay: bool,
    /// By whom MESH finds the recipient, where the endpoint leaves that to it.
    pub addressee: Option<Addressee>,
}

/// The person by whom MESH finds a practice. Its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Addressee {
    /// NHS number.
    pub nhs_number: NhsNumber,
    /// Date of birth.
    pub born: jiff::civil::Date,
    /// Family name.
    pub family: String,
}

impl fmt::Debug for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Addressee(redacted)")
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("delivery", &self.delivery)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// What became of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Nothing to send: the recipient collects it.
    AwaitingCollection,
    /// The partner's system or network took it; acknowledgements follow.
    HandedOver {
        /// The partner's own reference (MESH message id).
        reference: Option<String>,
    },
    /// The partner answered at once that it has it.
    Received {
        /// The partner's own reference.
        reference: Option<String>,
    },
    /// A FHIR server answered: what became of the message stands in its answer.
    Answered(Answered),
}

/// What a FHIR server answered to a message. Its `Debug` names the status only: the body may be about the patient.
#[derive(Clone, PartialEq, Eq)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// The partner's wish.
    pub retry_after_seconds: Option<u64>,
    /// The body.
    pub body: Bytes,
}

impl Answered {
    /// The status says that the message was taken.
    #[must_use]
    pub fn taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why a send did not succeed. Texts never carry the partner's body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It did not arrive; trying again may help.
    #[error("not delivered, will be tried again: {reason}")]
    Transient {
        /// What was seen.
        reason: String,
        /// The partner's wish.
        retry_after_seconds: Option<u64>,
    },
    /// It did not arrive and will not without a person.
    #[error("not deliverable: {reason}")]
    Permanent {
        /// What was seen.
        reason: String,
    },
    /// It may have arrived; the resend carries the same delivery identifier.
    #[error("outcome unknown, will be sent again under the same identifier: {reason}")]
    Unknown {
        /// What was seen.
        reason: String,
    },
}

/// A way out.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Which way this is.
    fn kind(&self) -> TransportKind;

    /// Sends one copy. May be called again for the same delivery.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn send(&self, outbound: &Outbound) -> Result<Sent, SendError>;
}

/// What a person, or the system of one, is told. It names no patient. Its `Debug` names the telling only.
#[derive(Clone)]
pub struct Telling {
    /// The same in every attempt: the receiver's key against repeats.
    pub id: uuid::Uuid,
    /// E-mail address, or URL.
    pub address: String,
    /// Subject of an e-mail.
    pub subject: String,
    /// Text of an e-mail.
    pub text: String,
    /// The same for systems, JSON.
    pub event: String,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A way to tell somebody that they must look.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Which way this is.
    fn channel(&self) -> Channel;

    /// Tells it once. May be called again for the same telling.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn tell(&self, telling: &Telling) -> Result<(), SendError>;
}

/// A call to whoever subscribed: something that fits has changed. It carries nothing about anybody. Its `Debug` names the call
/// only.
#[derive(Clone)]
pub struct Call {
    /// The same in every attempt: the receiver's key against repeats.
    pub id: uuid::Uuid,
    /// The subscription.
    pub subscription: uuid::Uuid,
    /// Attempt number, from 1.
    pub attempt: u32,
    /// Absolute URL that is called.
    pub address: String,
    /// Absolute URL of the search that shows what there is.
    pub link: String,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).field("subscription", &self.subscription).finish_non_exhaustive()
    }
}

/// The way to call whoever subscribed (FHIR R4 rest-hook without payload).
#[async_trait]
pub trait Hook: Send + Sync + 'static {
    /// Calls once. May be called again for the same call.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn call(&self, call: &Call) -> Result<(), SendError>;
}

/// A message that waits in our own MESH mailbox.
#[derive(Clone)]
pub struct MeshMessage {
    /// MESH message identifier.
    pub id: String,
    /// `Mex-From`.
    pub from: Option<MeshMailboxId>,
    /// `Mex-WorkflowID`.
    pub workflow: String,
    /// `Mex-MessageType`: `DATA` or `REPORT`.
    pub message_type: String,
    /// `Mex-LocalID`, which of a report is the sender's own.
    pub local_id: Option<String>,
    /// `Mex-LinkedMsgID` of a report: the message it is about.
    pub linked_message_id: Option<String>,
    /// `Mex-StatusCode` of a report.
    pub status_code: Option<String>,
    /// Decompressed body.
    pub body: Bytes,
}

impl fmt::Debug for MeshMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshMessage").field("id", &self.id).field("workflow", &self.workflow).finish_non_exhaustive()
    }
}

/// So many identifiers MESH lists at once.
pub const LISTED_AT_ONCE: usize = 500;

/// Our own mailbox: what has come, and that it may go.
#[async_trait]
pub trait Mailbox: Send + Sync + 'static {
    /// Identifiers of the messages that wait, oldest first; where that are whole pages of [`LISTED_AT_ONCE`], there may be more.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn list(&self) -> Result<Vec<String>, SendError>;
    /// One message, whole.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn fetch(&self, id: &str) -> Result<MeshMessage, SendError>;
    /// Tells MESH that the message is durably ours. Only after the commit.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn acknowledge(&self, id: &str) -> Result<(), SendError>;
    /// The mailbox that a message of ours went to; `None` where MESH does not say.
    ///
    /// # Errors
    /// See [`SendError`].
    async fn recipient(&self, id: &str) -> Result<Option<MeshMailboxId>, SendError>;
}

/// What MESH knows of the mailboxes of others.
#[async_trait]
pub trait Mailboxes: Send + Sync + 'static {
    /// The mailboxes in which an organisation takes a workflow; none where it takes it nowhere.
    ///
    /// # Errors
    /// See [`SendError`]; never unknown.
    async fn taking(&self, ods: &OdsCode, workflow: &WorkflowId) -> Result<Vec<MeshMailboxId>, SendError>;
}
