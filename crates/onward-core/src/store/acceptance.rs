//! What is taken in with a message, in one commit, and what comes of it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ending, Late, Notice};
use crate::audit::AuditRow;
use crate::directory::Endpoint;
use crate::state::{HoldReason, RecipientKind};
use crate::{DeliveryId, HoldId, MeshMailboxId, NhsNumber, OdsCode, TransferId, WorkflowId};

/// Which responses the sender asked for, and where they go (ITK3 MessageHandling).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyWanted {
    /// `InfAckRequested`.
    pub infrastructure: bool,
    /// `BusAckRequested`.
    pub business: bool,
    /// The sender's mailbox, when one is known.
    pub mailbox: Option<MeshMailboxId>,
    /// `MessageHeader.id` of the message: `response.identifier` of every response. A sender uses it once.
    pub header_id: String,
    /// `SenderReference`, to be given back.
    pub sender_reference: Option<String>,
    /// The workflow of the response (`TOC_FHIR_IP_DISCH_ACK`).
    pub workflow: Option<WorkflowId>,
}

/// A message that is about to become a transfer. Its `Debug` names the transfer only.
#[derive(Clone)]
pub struct NewTransfer {
    /// Its identifier.
    pub id: TransferId,
    /// The organisation that sent it.
    pub sender: OdsCode,
    /// The client that posted it, or `mesh:<mailbox>`.
    pub client_id: String,
    /// The message's own identifier (Bundle.identifier, else MessageHeader.id): with `reply.header_id` the first key
    /// against repeats (20007).
    pub message_id: String,
    /// The document's own identifier (Bundle.identifier or id of the document): second key (20008).
    pub document_id: Option<String>,
    /// Composition.identifier, the set that versions of a document share.
    pub document_set_id: Option<String>,
    /// The date that the document bears.
    pub dated: Option<Timestamp>,
    /// Its place among the versions of its document, from 1.
    pub version: u32,
    /// The transfer that it replaces.
    pub replaces: Option<TransferId>,
    /// The document that it replaces, where that has not come before it. It is kept, so that what comes late is known.
    pub awaits: Option<String>,
    /// The event code, such as `ITK003D` or `document`.
    pub event: String,
    /// When it came.
    pub received: Timestamp,
    /// When the person is expected at the home.
    pub expected: Option<Timestamp>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// The home, when it is known.
    pub care_home: Option<OdsCode>,
    /// What the sender wants to hear.
    pub reply: ReplyWanted,
    /// Media type of `body`.
    pub media_type: String,
    /// The sender's bytes, unchanged: the legal record.
    pub body: Vec<u8>,
    /// SHA-256 of `body`.
    pub body_sha256: [u8; 32],
    /// The response message (FHIR JSON) that this message and every repeat of it gets.
    pub response: Vec<u8>,
}

impl fmt::Debug for NewTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTransfer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One recipient's copy that is about to be queued. Its `Debug` names the delivery only.
#[derive(Clone)]
pub struct NewDelivery {
    /// Its identifier.
    pub id: DeliveryId,
    /// As what.
    pub kind: RecipientKind,
    /// To whom.
    pub recipient: OdsCode,
    /// The recipient's name, for people.
    pub recipient_name: String,
    /// Where.
    pub endpoint: Endpoint,
    /// The version of the directory in which `endpoint` was read, or an earlier one ([`super::DirectoryReading`]); none where the address
    /// is no entry's. Where the directory has moved on since and the recipient receives at another address, the commit is refused
    /// ([`super::StoreError::Overtaken`]).
    pub directory: Option<u64>,
    /// Media type of `body`.
    pub media_type: String,
    /// What travels.
    pub body: Vec<u8>,
    /// The same for people, where there is such a form (simple HTML, complete page).
    pub html: Option<Vec<u8>>,
    /// What a list shows of it, so that a list need not read the copies themselves.
    pub card: Option<Vec<u8>>,
    /// The identifier that the partner's acknowledgement names (our MessageHeader.id).
    pub correlation_id: Option<String>,
    /// MESH workflow.
    pub workflow: Option<WorkflowId>,
    /// Lawful basis and policy version of the disclosure.
    pub basis: String,
    /// What was disclosed and withheld and by which rule (JSON).
    pub disclosure: String,
    /// True when a business acknowledgement is awaited; responses to the sender have none.
    pub acknowledgement_awaited: bool,
    /// It tells that another copy ended.
    pub notice: Option<Notice>,
}

impl fmt::Debug for NewDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDelivery").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHold {
    /// Its identifier.
    pub id: HoldId,
    /// Why.
    pub reason: HoldReason,
    /// What was seen, without patient data.
    pub detail: String,
    /// Who must decide: a team or role.
    pub owner: String,
    /// By when.
    pub due: Timestamp,
}

/// Everything that accepting a message commits.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The transfer.
    pub transfer: NewTransfer,
    /// The copies; empty when held.
    pub deliveries: Vec<NewDelivery>,
    /// The hold, if any.
    pub hold: Option<NewHold>,
    /// What replaces it came before it, and waits for it no longer: it is kept as ended, without copies and without a hold.
    pub late: Option<Late>,
    /// Unless it is held: the ends of all copies of the versions before it.
    pub endings: Vec<Ending>,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
    /// The audit row to commit instead when the message turns out to be a repeat.
    pub audit_if_repeat: AuditRow,
    /// The audit row to commit instead when its identifier, or its document's, was used before for something else.
    pub audit_if_conflict: AuditRow,
    /// What is let go of when its contents are packed.
    pub held: Held,
}

/// Something that a store lets go of when it has packed the contents of a message, which then take less memory: room for others.
#[derive(Clone, Default)]
pub struct Held(Option<Arc<dyn Send + Sync>>);

impl Held {
    /// Holds this until then.
    #[must_use]
    pub fn until_packed(what: impl Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(what)))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0.is_some()).finish()
    }
}

/// What accepting came to. Its `Debug` leaves the answer out, which names the person.
#[derive(Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Committed.
    New,
    /// The same message (same sender, same identifier, same bytes) was accepted before; its first answer.
    Repeat {
        /// The first transfer.
        transfer: TransferId,
        /// The first answer.
        response: Vec<u8>,
    },
    /// The identifier of the message or of its header was used before for other bytes (20007; HTTP 409).
    MessageIdReused,
    /// The same message was accepted before, and its person was erased since: there is no answer any more.
    Erased {
        /// The first transfer.
        transfer: TransferId,
    },
    /// Another message carried the same document before (20008; HTTP 409).
    DocumentRepeated {
        /// The transfer that carried it.
        transfer: TransferId,
    },
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("New"),
            Self::Repeat { transfer, .. } => {
                f.debug_struct("Repeat").field("transfer", transfer).finish_non_exhaustive()
            }
            Self::Erased { transfer } => f.debug_struct("Erased").field("transfer", transfer).finish(),
            Self::MessageIdReused => f.write_str("MessageIdReused"),
            Self::DocumentRepeated { transfer } => {
                f.debug_struct("DocumentRepeated").field("transfer", transfer).finish()
            }
        }
    }
}
