//! What a stored AuditEvent says, read back from its bytes for people.

use onward_core::NhsNumber;
use serde_json::Value;

/// The AuditEvent's id.
pub(super) fn id(event: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(event).ok()?;
    event["id"].as_str().map(str::to_owned)
}

/// The person that it is about.
pub(super) fn patient(event: &[u8]) -> Option<NhsNumber> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let entities = event["entity"].as_array()?;
    let patient = entities.iter().find(|entity| entity["role"]["code"] == "1")?;
    patient["what"]["identifier"]["value"].as_str()?.parse().ok()
}
