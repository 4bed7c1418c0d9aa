//! The official files: what becomes of each, and why.

use std::path::{Path, PathBuf};

use onward_fhir::read::{self, Limits};

use super::fixture::wrap_document;
use crate::{Findings, NhsNumberPolicy, Policy, Severity, validate_message};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

fn folder(name: &str) -> Option<PathBuf> {
    let path = Path::new(DATA).join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
    eprintln!("SKIPPED: {name} of the shared data is absent");
    None
}

fn judged(text: &str, policy: &Policy) -> Findings {
    let tree = match text.trim_start().starts_with('{') {
        true => read::json(text, &Limits::default()),
        false => read::xml(text, &Limits::default()),
    };
    validate_message(&tree.expect("readable FHIR"), policy)
}

fn rules(findings: &Findings, severity: Severity) -> Vec<&str> {
    let mut rules: Vec<_> =
        findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.rule.as_ref()).collect();
    rules.dedup();
    rules
}

/// What becomes of a file under a sender's policy "hold".
struct Row {
    file: &'static str,
    /// The event that wraps a bare document; empty for whole messages.
    event: &'static str,
    errors: &'static [&'static str],
    warnings: &'static [&'static str],
    /// Why.
    reason: &'static str,
}

const fn row(
    file: &'static str,
    event: &'static str,
    errors: &'static [&'static str],
    warnings: &'static [&'static str],
    reason: &'static str,
) -> Row {
    Row { file, event, errors, warnings, reason }
}

const INVALID_NUMBER: &[&str] = &["nhs-number-check-digit"];
const INVALID_NUMBER_AND_ALLERGY: &[&str] = &["nhs-number-check-digit", "itk3-allergy"];
const NO_MESSAGE: &str = "a resource alone is no message";

const TABLE: &[Row] = &[
    row("itk3-examples/ITK-EDIS-Example-1.xml", "ITK003D", &[], INVALID_NUMBER, "held: its NHS number is invented"),
    row(
        "itk3-examples/ITK-EC-Document-Bundle-1-Example-1.xml",
        "ITK005D",
        &[],
        &["toc-heading-guide", "nhs-number-check-digit", "itk3-allergy"],
        "held: number invented; has no distribution list, which guide demands and profile has no place for; its allergy \
         has no assertedDate",
    ),
    row(
        "itk3-examples/ITK-MH-Document-Bundle-Example-1.xml",
        "ITK004D",
        &[],
        INVALID_NUMBER,
        "held: its NHS number is invented",
    ),
    row(
        "itk3-examples/ITK-OPL-Document-Bundle-1-Example-1.xml",
        "ITK006D",
        &[],
        INVALID_NUMBER_AND_ALLERGY,
        "held: its NHS number is invented; its allergy has no assertedDate",
    ),
    row(
        "itk3-examples/ITK-OPL-Document-Bundle-1-Example-2.xml",
        "ITK006D",
        &[],
        &["itk3-allergy"],
        "accepted; its allergy has no assertedDate",
    ),
    row(
        "itk3-examples/ITK-OPL-Document-Bundle-1-Example-3.xml",
        "ITK006D",
        &[],
        INVALID_NUMBER_AND_ALLERGY,
        "held: its NHS number is invented; its allergy has no assertedDate",
    ),
    row(
        "itk3-examples/ITK-SendPayload-Payload-Removed-Example-1.xml",
        "",
        &["document-composition"],
        &["itk3-message-definition-stale", "header-sender-organisation"],
        "refused: the payload was removed",
    ),
    row(
        "itk3-examples/ITK-EMS-PDSBirthNotification-MessageBundle-Example-1.xml",
        "",
        &["header-event-not-taken", "document-composition", "reference-external"],
        &["itk3-header-prohibited"],
        "refused: a birth notification",
    ),
    row(
        "r4-examples/document-message-TOC.json",
        "",
        &[],
        &["nhs-number-check-digit", "document-reference-subject"],
        "held: both NHS numbers are invented, and they differ",
    ),
    row(
        "r4-examples/Bundle-message-encounter.json",
        "",
        &["header-event-unknown", "header-focus-document"],
        &[],
        "refused: an encounter event",
    ),
    row(
        "r4-examples/Bundle-message-patient.json",
        "",
        &["header-event-unknown", "header-focus-document"],
        &[],
        "refused: a patient event",
    ),
    row(
        "r4-examples/bars-process-message.json",
        "",
        &["header-event-unknown", "header-focus-document"],
        &["message-identifier", "header-sender-organisation"],
        "refused: a booking request",
    ),
    row("r4-examples/Encounter-ADT_A03-final.json", "", &["message-is-bundle"], &[], NO_MESSAGE),
    row("r4-examples/Task-registerPatient-accepted.json", "", &["message-is-bundle"], &[], NO_MESSAGE),
    row("r4-examples/Task-registerPatient-ownerChange.json", "", &["message-is-bundle"], &[], NO_MESSAGE),
    row("r4-examples/Task-registerPatient-requested.json", "", &["message-is-bundle"], &[], NO_MESSAGE),
];

#[test]
fn every_official_file_has_its_outcome() {
    if folder("itk3-examples").is_none() || folder("r4-examples").is_none() {
        return;
    }
    let hold = Policy { nhs_number: NhsNumberPolicy::Hold, ..Policy::default() };
    for row in TABLE {
        let text = std::fs::read_to_string(Path::new(DATA).join(row.file)).expect("readable");
        let text = if row.event.is_empty() { text } else { wrap_document(&text, row.event) };
        let findings = judged(&text, &hold);
        let why = format!("{} ({})", row.file, row.reason);
        assert_eq!(rules(&findings, Severity::Error), row.errors, "{why}");
        assert_eq!(rules(&findings, Severity::Warning), row.warnings, "{why}");
        let refused = judged(&text, &Policy::default());
        let invented = row.warnings.contains(&"nhs-number-check-digit");
        assert_eq!(refused.has_errors(), invented || !row.errors.is_empty(), "refused under policy refuse: {why}");
        assert!(refused.iter().all(|finding| !finding.diagnostics.is_empty() && !finding.expression.is_empty()));
    }
}

/// No official file is left out of the table, but for the responses, which have their own test.
#[test]
fn the_table_is_whole() {
    for name in ["itk3-examples", "r4-examples"] {
        let Some(folder) = folder(name) else { return };
        for entry in std::fs::read_dir(folder).expect("readable") {
            let file = format!("{name}/{}", entry.expect("entry").file_name().to_string_lossy());
            let listed = TABLE.iter().any(|row| row.file == file) || file.contains("ITK-Response-");
            assert!(listed, "{file} has no row");
        }
    }
}

/// Responses pass, but for one whose header lacks the handling extension.
#[test]
fn official_responses_pass() {
    let Some(folder) = folder("itk3-examples") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if !name.starts_with("ITK-Response-") {
            continue;
        }
        seen += 1;
        let findings = judged(&std::fs::read_to_string(&path).expect("readable"), &Policy::default());
        let expected: &[&str] =
            if name == "ITK-Response-20009-Example-2.xml" { &["itk3-header-handling"] } else { &[] };
        assert_eq!(rules(&findings, Severity::Error), expected, "{name}");
        let contradicts = findings.by_rule("response-code-contradiction").is_some();
        assert_eq!(contradicts, name.contains("20015"), "{name}: the example of 20015 says ok");
    }
    assert_eq!(seen, 24);
}

/// Valid FHIR is not condemned; the few exceptions are truly wrong.
#[test]
fn uk_core_and_stu3_examples_are_not_condemned() {
    let mut condemned = Vec::new();
    for name in ["uk-core-examples", "stu3-pairs"] {
        let Some(folder) = folder(name) else { return };
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("entry").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let limits = Limits::default();
            let xml = text.trim_start().starts_with('<');
            let Ok(tree) = (if xml { read::xml(&text, &limits) } else { read::json(&text, &limits) }) else { continue };
            for finding in &crate::validate_resource(&tree) {
                if finding.severity >= Severity::Error {
                    let file = path.file_name().expect("a file").to_string_lossy().into_owned();
                    condemned.push((file, finding.rule.clone().into_owned()));
                }
            }
        }
    }
    condemned.sort();
    condemned.dedup();
    let expected = [
        // Numbers as strings; a code with a space at its end.
        ("DCH-BirthDetails-Bundle-Example-1.json", "primitive-form"),
        ("DCH-BirthDetails-Bundle-Example-1.xml", "primitive-form"),
        // A code with a space at its end (its JSON twin is not readable JSON).
        ("DCH-Referral-Bundle-Example-1.xml", "primitive-form"),
        // One extension with two values.
        (
            "Extension-UKCore-ConditionEpisode-Example.xml",
            "http://hl7.org/fhir/StructureDefinition/Extension#Extension.value[x] max",
        ),
    ];
    let condemned: Vec<(&str, &str)> = condemned.iter().map(|(file, rule)| (file.as_str(), rule.as_str())).collect();
    assert_eq!(condemned, expected);
}
