//! The validator judges audit events by the profiles of our package (`profiles/onward`), which say of each pattern that we write
//! what IHE Basic Audit Log Patterns 1.1.4 (R4) demands, and what we promise beyond it.

use std::path::PathBuf;
use std::sync::LazyLock;

use onward_core::store::{Store, StoredAudit};
use onward_fhir::read::{self, Limits};
use onward_validate::conformance::Conformance;
use onward_validate::{Severity, Validator};
use serde_json::Value;

const CLAIM: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
const OWN: &str = "https://onward.example/StructureDefinition/";

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let package = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../profiles/onward"));
    Validator::new(Conformance::with_packages(&[package]).expect("our own package"))
});

/// The profile of IHE that the event claims, without its common beginning.
#[must_use]
pub fn profile(event: &Value) -> Option<&str> {
    event["meta"]["profile"][0].as_str()?.strip_prefix(CLAIM)
}

/// The profile of ours that an event has to conform to: the counterpart of what it claims, or that of its type.
#[must_use]
pub fn counterpart(event: &Value) -> &'static str {
    match (profile(event), event["type"]["code"].as_str()) {
        (Some("Create"), _) => "audit-create",
        (Some("PatientCreate"), _) => "audit-patient-create",
        (Some("Read"), _) => "audit-read",
        (Some("PatientRead"), _) => "audit-patient-read",
        (Some("Update"), _) => "audit-update",
        (Some("PatientUpdate"), _) => "audit-patient-update",
        (Some("Query"), _) => "audit-query",
        (Some("PatientQuery"), _) => "audit-patient-query",
        (Some("PrivacyDisclosure.Source"), _) => "audit-disclosure",
        (None, Some("110113")) => "audit-denial",
        (None, Some("110114")) => "audit-authentication",
        (None, Some("110100")) => "audit-activity",
        (None, Some("110106")) => "audit-transmission",
        (None, Some("rest")) => "audit-failure",
        _ => "audit-event",
    }
}

/// The NHS number of whom the event is about.
#[must_use]
pub fn patient(event: &Value) -> Option<&str> {
    let mut entities = event["entity"].as_array()?.iter();
    entities.find(|entity| entity["role"]["code"] == "1")?["what"]["identifier"]["value"].as_str()
}

/// Everything about the event that its profile, or R4, does not allow. Empty when it is right.
#[must_use]
pub fn problems(event: &Value) -> Vec<String> {
    let mut problems = judged_by(event, counterpart(event));
    if counterpart(event) == "audit-event" {
        problems.push("its claim and its type are none that are known".to_owned());
    }
    problems
}

/// What is wrong with the event under this profile of ours, by its short name. A rule of ours that was not evaluated is wrong too.
#[must_use]
pub fn judged_by(event: &Value, profile: &str) -> Vec<String> {
    let text = event.to_string();
    let tree = match read::json(&text, &Limits::default()) {
        Ok(tree) => tree,
        Err(error) => return vec![error.to_string()],
    };
    let findings = VALIDATOR.validate(&tree, &[&format!("{OWN}{profile}")]);
    let grave = findings.iter().filter(|finding| {
        finding.severity >= Severity::Error
            || (finding.rule.starts_with(OWN) && finding.rule.ends_with("not-evaluated"))
    });
    grave.map(|finding| format!("{} {} [{}]", finding.expression, finding.diagnostics, finding.rule)).collect()
}

/// Judges the entries of a log from this place on, and gives where it ends.
///
/// # Panics
/// When an event is not what its profile allows, or an entry has none: nobody was erased here, so it was lost.
pub async fn judge(store: &dyn Store, from: u64) -> u64 {
    let entries = store.audit_entries(from, 100_000).await.expect("readable");
    for entry in &entries {
        assert_conforms(entry.event().unwrap_or_else(|| panic!("entry {} says nothing", entry.index)));
    }
    entries.last().map_or(from, |last| last.index + 1)
}

/// Judges what an erasure has left of a log, and gives how many events were judged and how many are gone.
///
/// # Panics
/// When an event is not what its profile allows.
pub async fn judge_what_is_left(store: &dyn Store) -> (usize, usize) {
    let entries = store.audit_entries(0, 100_000).await.expect("readable");
    let judged = entries.iter().filter_map(StoredAudit::event).map(assert_conforms).count();
    (judged, entries.len() - judged)
}

fn assert_conforms(event: &[u8]) {
    let event: Value = serde_json::from_slice(event).expect("JSON");
    let problems = problems(&event);
    assert!(problems.is_empty(), "{problems:#?} in {event:#}");
}
