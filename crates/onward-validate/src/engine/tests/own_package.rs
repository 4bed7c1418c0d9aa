//! Our own package: its definitions are valid FHIR, our fixtures conform to them, and what breaks them is told.

use std::path::PathBuf;

use super::{text, tree};
use crate::conformance::{Conformance, Kind, Origin};
use crate::{Findings, Severity, Validator};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
const MESSAGE: &str = "https://onward.example/StructureDefinition/transfer-message";

fn conformance() -> Conformance {
    Conformance::with_packages(&[PathBuf::from(format!("{ROOT}profiles/onward"))]).expect("our own package")
}

fn message(name: &str) -> String {
    text(&PathBuf::from(format!("{ROOT}fixtures/messages/{name}.json")))
}

fn errors(findings: &Findings) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding.severity >= Severity::Error);
    errors.map(|finding| format!("{} {}", finding.expression, finding.diagnostics)).collect()
}

#[test]
fn its_definitions_are_valid() {
    let conformance = conformance();
    let validator = Validator::new(self::conformance());
    let mut judged = 0;
    for kind in [Kind::StructureDefinition, Kind::ValueSet, Kind::CodeSystem] {
        for source in conformance.all(kind).filter(|source| *source.origin() != Origin::Core) {
            let tree = source.read().expect("read");
            let found = errors(&validator.validate(&tree, &[]));
            assert!(found.is_empty(), "{}: {found:#?}", source.url());
            judged += 1;
        }
    }
    assert_eq!(judged, conformance.packages()[0].resources);
}

#[test]
fn our_messages_conform() {
    let validator = Validator::new(conformance());
    for name in ["edischarge-r4", "documentreference-r4"] {
        let source = message(name);
        let found = errors(&validator.validate(&tree(&source).expect("FHIR"), &[MESSAGE]));
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn what_breaks_a_message_is_told() {
    let validator = Validator::new(conformance());
    let source = message("edischarge-r4");
    let composition = "Bundle.entry[1].resource.entry[0].resource";
    for (from, to, at, told) in [
        ("\"diagnoses\"", "\"procedures\"", composition, "slice diagnoses"),
        ("\"patient-demographics\"", "\"social-context\"", composition, "slice patientDemographics"),
        ("\"373942005\"", "\"371531000\"", &format!("{composition}.type"), "373942005"),
        ("\"code\": \"document\"", "\"code\": \"documents\"", "Bundle.entry[0].resource.eventCoding", "transfer-event"),
        (
            "\"value\": \"R9Z\"",
            "\"id\": \"R9Z\"",
            "Bundle.entry[0].resource.sender.identifier",
            "sender.identifier.value",
        ),
        ("\"timestamp\":", "\"language\": \"en\", \"implicitRules\":", "Bundle", "timestamp"),
        (
            "urn:uuid:0310b644-8c00-59f3-bf84-7c95727a6d3c",
            "urn:uuid:0310b644-8c00-59f3-bf84-7c95727a6d3d",
            "Bundle",
            "onw-msg-2",
        ),
    ] {
        assert!(source.contains(from), "{from}");
        let broken = source.replacen(from, to, 1);
        let found = errors(&validator.validate(&tree(&broken).expect("FHIR"), &[MESSAGE]));
        assert!(found.iter().any(|error| error.starts_with(at) && error.contains(told)), "{from}: {found:#?}");
    }
}
