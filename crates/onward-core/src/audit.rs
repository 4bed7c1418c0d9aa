//! What is audited: the words, and the row that the store commits in the transaction of the effect.

use jiff::Timestamp;

use crate::state::words;
use crate::{DeliveryId, MeshMailboxId, NhsNumber, OdsCode, TransferId};

words!(
    /// What happened.
    AuditWord {
        /// A message was accepted.
        Accept = "accept",
        /// The same message came again and got its first answer.
        Duplicate = "duplicate",
        /// A message was refused with findings.
        Refuse = "refuse",
        /// A transfer waits for a person.
        Hold = "hold",
        /// A person decided about a held transfer or a failed copy.
        Release = "release",
        /// PDS was asked about a person.
        DirectoryLookup = "directory-lookup",
        /// A copy was sent to a recipient: disclosure.
        Disclose = "disclose",
        /// A recipient opened its copy: disclosure.
        Read = "read",
        /// An attempt to send failed.
        AttemptFailed = "attempt-failed",
        /// A delivery waits for a person.
        DeliveryFailed = "delivery-failed",
        /// A recipient acknowledged or refused.
        Acknowledge = "acknowledge",
        /// A list of tasks or audit events was queried.
        Query = "query",
        /// A token was issued.
        SignIn = "sign-in",
        /// A sign-in, token or action was denied.
        Deny = "deny",
        /// Clients, directory or configuration changed.
        Configure = "configure",
        /// A validation or dry run was asked for.
        DryRun = "dry-run",
    }
);

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Client identifier, `onward` for the gateway itself, or `operator` for the command line.
    pub name: String,
    /// The organisation that the agent acts for.
    pub organisation: Option<OdsCode>,
}

impl Agent {
    /// The gateway itself.
    #[must_use]
    pub fn gateway() -> Self {
        Self { name: "onward".to_owned(), organisation: None }
    }

    /// A MESH mailbox, `unknown` where a message names none.
    #[must_use]
    pub fn mailbox(mailbox: Option<&MeshMailboxId>) -> Self {
        Self { name: format!("mesh:{}", mailbox.map_or("unknown", MeshMailboxId::as_str)), organisation: None }
    }
}

/// One thing that happened, before it is written as a FHIR AuditEvent.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// What happened.
    pub word: AuditWord,
    /// When.
    pub recorded: Timestamp,
    /// False when it was denied or failed.
    pub success: bool,
    /// Who.
    pub agent: Agent,
    /// To which transfer.
    pub transfer: Option<TransferId>,
    /// To which recipient's copy.
    pub delivery: Option<DeliveryId>,
    /// The organisation that received something, where something was disclosed.
    pub recipient: Option<OdsCode>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// Lawful basis and policy, where something was disclosed.
    pub basis: Option<String>,
    /// SHA-256, hexadecimal, of the bytes disclosed.
    pub content_sha256: Option<String>,
    /// `X-Request-ID`, where there was a request.
    pub request_id: Option<String>,
    /// Reason, codes; never patient data.
    pub detail: String,
}

/// An audit entry as stored: the AuditEvent's bytes, its leaf hash, and the columns it is found by.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// The AuditEvent's id, a UUID.
    pub id: String,
    /// When.
    pub recorded: Timestamp,
    /// What happened.
    pub word: AuditWord,
    /// To which transfer.
    pub transfer: Option<TransferId>,
    /// To which recipient's copy.
    pub delivery: Option<DeliveryId>,
    /// The organisation of the agent.
    pub organisation: Option<OdsCode>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// FHIR R4 AuditEvent, JSON, exactly as hashed.
    pub event: Vec<u8>,
    /// Leaf hash of `event` (RFC 6962 §2.1): SHA-256 of 0x00 and the bytes.
    pub leaf: [u8; 32],
}

/// A signed statement of the log's size and root (C2SP tlog-checkpoint).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Number of entries covered.
    pub size: u64,
    /// The checkpoint note, signature included.
    pub note: String,
}
