//! Audit entries as they are stored: a clear header, which the log hashes, and content that can be erased.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The clear part of an entry, as one line of JSON. The leaf of the log is the hash of these bytes, so that every proof
/// holds when the content is gone: the header names the content by two hashes that tell nothing about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHeader {
    /// The AuditEvent's id.
    pub id: String,
    /// When.
    pub recorded: Timestamp,
    /// What happened.
    pub word: String,
    /// False when it was denied or failed.
    pub success: bool,
    /// The agent's name.
    pub agent: String,
    /// The agent's organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// To which transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// To which recipient's copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// The data key under which the content is sealed: a name that says nothing about the person.
    pub key: String,
    /// SHA-256, hexadecimal, of the content as it is stored, sealed.
    pub content: String,
    /// HMAC-SHA-256, hexadecimal, of the AuditEvent's bytes, under a random key that is sealed with them. Whoever is given
    /// event and key can check that this is the event; without the key no guess of it can be confirmed.
    pub commitment: String,
}

/// The content of an entry. Its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub enum AuditContent {
    /// It is there.
    Open {
        /// FHIR R4 AuditEvent, JSON.
        event: Vec<u8>,
        /// The key of the header's commitment; none in entries from before there were headers: their leaf is the hash of
        /// the event itself.
        opening: Option<[u8; 32]>,
    },
    /// The key under which it was sealed is destroyed.
    Erased,
}

impl AuditContent {
    /// The AuditEvent, unless it is gone.
    #[must_use]
    pub fn event(&self) -> Option<&[u8]> {
        match self {
            Self::Open { event, .. } => Some(event),
            Self::Erased => None,
        }
    }
}

impl fmt::Debug for AuditContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open(redacted)",
            Self::Erased => "Erased",
        })
    }
}

/// One stored audit entry. Its `Debug` tells the place only.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAudit {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The bytes that the log hashes: a header, or in entries from before there were headers the event itself. None when
    /// those bytes were the event and are gone: then the leaf alone stands for it.
    pub entry: Option<Vec<u8>>,
    /// What it says.
    pub content: AuditContent,
    /// Its leaf hash as stored.
    pub leaf: [u8; 32],
    /// What it is found by. The hash does not cover this: it must say what the header and the event say.
    pub columns: AuditColumns,
}

impl fmt::Debug for StoredAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAudit").field("index", &self.index).finish_non_exhaustive()
    }
}

impl StoredAudit {
    /// The AuditEvent, unless it is gone.
    #[must_use]
    pub fn event(&self) -> Option<&[u8]> {
        self.content.event()
    }
}

/// The columns beside a stored audit entry, as they are: a verifier judges them, so none is parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditColumns {
    /// The AuditEvent's id.
    pub id: String,
    /// When, to the microsecond.
    pub recorded: Timestamp,
    /// What happened.
    pub word: String,
    /// To which transfer.
    pub transfer: Option<String>,
    /// To which recipient's copy.
    pub delivery: Option<String>,
    /// The agent's name; none in entries of a binary before there was such a column.
    pub agent: Option<String>,
    /// The agent's organisation.
    pub organisation: Option<String>,
    /// About whom: the number that the keyed index stands for, or what stands there when it is no index of ours. None when
    /// the person is erased.
    pub patient: Option<String>,
    /// What a list showed (see [`crate::audit::AuditRow::shown`]), in no order; none in
    /// entries of a binary before there was such a table.
    pub shown: Option<Vec<String>>,
}

impl fmt::Debug for AuditColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditColumns").field("id", &self.id).field("word", &self.word).finish_non_exhaustive()
    }
}
