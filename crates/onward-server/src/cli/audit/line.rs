//! One entry as others are given it: a line of JSON with what the log hashes and, where it was not erased, the event that it
//! stands for. `verify.py` reads the same lines.

use aws_lc_rs::{constant_time, hmac};
use onward_core::store::{AuditContent, AuditHeader, StoredAudit};
use onward_ledger::{Hash, leaf_hash};
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;

/// The line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// The bytes that the log hashes, as text: a header, or in an entry from before there were headers the event itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    /// Their hash, hexadecimal, where only that is left of an old entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
    /// The event to which the header commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// The key of that commitment, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opening: Option<String>,
}

impl Line {
    /// The line of a stored entry.
    pub(super) fn of(stored: &StoredAudit) -> Result<Self, Failure> {
        let text = |bytes: &[u8]| {
            let unreadable = || Failure::no(format!("entry {} is no text: run `onward audit verify`", stored.index));
            String::from_utf8(bytes.to_vec()).map_err(|_| unreadable())
        };
        let entry = stored.entry.as_deref().map(text).transpose()?;
        let (event, opening) = match &stored.content {
            AuditContent::Open { event, opening: Some(opening) } => (Some(text(event)?), Some(hex::encode(opening))),
            AuditContent::Open { opening: None, .. } | AuditContent::Erased => (None, None),
        };
        let leaf = entry.is_none().then(|| hex::encode(stored.leaf));
        Ok(Self { entry, leaf, event, opening })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts are JSON")
    }

    /// Reads a line.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        serde_json::from_slice(bytes).map_err(|_| "the entry is no line of `onward audit export --evidence`".to_owned())
    }

    /// The leaf that must stand in the log, when the event is the one to which the entry commits.
    pub(super) fn leaf(&self) -> Result<Hash, String> {
        let entry = self.entry.as_deref().ok_or("only a hash is left of the entry: there is nothing to prove")?;
        match (&self.event, &self.opening) {
            (None, None) => {}
            (Some(event), Some(opening)) if is_committed(entry, event, opening) => {}
            _ => return Err("the event is not the one to which the entry commits".to_owned()),
        }
        Ok(leaf_hash(entry.as_bytes()))
    }

    /// The event, as JSON.
    pub(super) fn event(&self) -> Option<&str> {
        self.event.as_deref().or(self.entry.as_deref().filter(|entry| header(entry).is_none()))
    }
}

fn header(entry: &str) -> Option<AuditHeader> {
    serde_json::from_str(entry).ok()
}

fn is_committed(entry: &str, event: &str, opening: &str) -> bool {
    let (Some(header), Ok(opening)) = (header(entry), hex::decode(opening)) else { return false };
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &opening), event.as_bytes());
    hex::decode(header.commitment).is_ok_and(|said| constant_time::verify_slices_are_equal(tag.as_ref(), &said).is_ok())
}
