//! Audit entries: sealed for the log, and opened with every hash checked.

use aws_lc_rs::{constant_time, digest, hmac};
use onward_core::audit::AuditRow;
use onward_core::store::{AuditContent, AuditHeader};
use onward_ledger::{Hash, leaf_hash};

use super::KeyFault;
use super::cipher::{DataKey, KeyId, fresh, key_of};
use super::keychain::{Keychain, Unread};
use crate::rows::of_event;

/// Length of the key of a commitment.
const OPENING: usize = 32;

/// What is stored of an audit row.
pub(crate) struct Sealed {
    /// The header, one line of JSON.
    pub(crate) entry: Vec<u8>,
    /// The sealed content.
    pub(crate) content: Vec<u8>,
    /// The hash of the entry.
    pub(crate) leaf: Hash,
}

/// Seals the event and makes the entry that the log hashes.
pub(crate) fn sealed_entry(keys: &Keychain, id: KeyId, row: &AuditRow) -> Result<Sealed, Unread> {
    let opening = fresh()?;
    let content = keys.seal(id, of_event(&row.id), &[opening.as_slice(), &row.event].concat())?;
    let header = AuditHeader {
        id: row.id.clone(),
        recorded: row.recorded,
        word: row.word.as_str().to_owned(),
        success: row.success,
        agent: row.agent.clone(),
        organisation: row.organisation.as_ref().map(ToString::to_string),
        transfer: row.transfer.map(|id| id.to_string()),
        delivery: row.delivery.map(|id| id.to_string()),
        key: id.to_string(),
        content: sha256(&content),
        commitment: hex::encode(commitment(opening.as_slice(), &row.event)),
    };
    let entry = serde_json::to_vec(&header).expect("texts and booleans are JSON");
    let leaf = leaf_hash(&entry);
    Ok(Sealed { entry, content, leaf })
}

/// The content of an entry; `key` is `None` when it is destroyed. Entries from before there were headers have none.
pub(crate) fn opened(
    key: Option<&DataKey>,
    id: &str,
    header: Option<&[u8]>,
    content: &[u8],
) -> Result<AuditContent, KeyFault> {
    let Some(header) = header else {
        let event = key.map(|key| key.open(of_event(id), content)).transpose()?;
        return Ok(event.map_or(AuditContent::Erased, |event| AuditContent::Open { event, opening: None }));
    };
    let header: AuditHeader = serde_json::from_slice(header).map_err(|_| KeyFault::DoesNotOpen)?;
    let named = key_of(content).is_some_and(|key| key.to_string() == header.key);
    if !named || sha256(content) != header.content {
        return Err(KeyFault::DoesNotOpen);
    }
    let Some(key) = key else { return Ok(AuditContent::Erased) };
    let mut opening = key.open(of_event(id), content)?;
    if opening.len() < OPENING {
        return Err(KeyFault::DoesNotOpen);
    }
    let event = opening.split_off(OPENING);
    let tag = hex::decode(&header.commitment).map_err(|_| KeyFault::DoesNotOpen)?;
    constant_time::verify_slices_are_equal(&commitment(&opening, &event), &tag).map_err(|_| KeyFault::DoesNotOpen)?;
    let opening = opening.try_into().expect("split at that length");
    Ok(AuditContent::Open { event, opening: Some(opening) })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn commitment(opening: &[u8], event: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, opening), event);
    tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}
