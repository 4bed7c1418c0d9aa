//! The hook for a terminology service: asked where the packages cannot tell, and only there.

use std::sync::{Arc, Mutex};

use super::tree;
use crate::conformance::Conformance;
use crate::terminology::{Asked, TerminologyService};
use crate::{Severity, Validator};

/// Answers alike, and writes down what it was asked.
struct Stub {
    answer: Option<bool>,
    asked: Mutex<Vec<String>>,
}

impl TerminologyService for Stub {
    fn is_member(&self, asked: &Asked<'_>) -> Option<bool> {
        let line = format!("{:?} {:?} {}", asked.value_set, asked.system, asked.code);
        self.asked.lock().expect("no panic").push(line);
        self.answer
    }
}

const PROFILE: &str = r#"{"resourceType":"StructureDefinition","url":"http://example.org/P","name":"P","status":"draft",
    "kind":"resource","abstract":false,"type":"Patient","derivation":"constraint",
    "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient","differential":{"element":[
    {"id":"Patient.maritalStatus","path":"Patient.maritalStatus",
     "binding":{"strength":"required","valueSet":"http://example.org/ours"}}]}}"#;

const PATIENT: &str = r#"{"resourceType":"Patient","gender":"male",
    "maritalStatus":{"coding":[{"system":"http://snomed.info/sct","code":"87915002"}]}}"#;

fn judged(answer: Option<bool>) -> (Vec<(Severity, String)>, Vec<String>) {
    let stub = Arc::new(Stub { answer, asked: Mutex::default() });
    let conformance = Conformance::core().with_resources([("p.json", PROFILE.as_bytes())]).expect("a definition");
    let validator = Validator::new(conformance).with_terminology_service(Arc::clone(&stub));
    let findings = validator.validate(&tree(PATIENT).expect("JSON"), &["http://example.org/P"]);
    let told =
        findings.iter().map(|each| (each.severity, each.rule.rsplit([' ', '#']).next().unwrap_or_default().to_owned()));
    let told = told.filter(|(_, rule)| rule.starts_with("binding") || rule.starts_with("code-")).collect();
    let asked = stub.asked.lock().expect("no panic").clone();
    (told, asked)
}

#[test]
fn it_decides_what_the_packages_cannot_tell() {
    let (told, asked) = judged(Some(true));
    assert_eq!(told, []);
    assert!(
        asked.contains(&r#"Some("http://example.org/ours") Some("http://snomed.info/sct") 87915002"#.to_owned()),
        "{asked:?}"
    );
    assert!(asked.contains(&r#"None Some("http://snomed.info/sct") 87915002"#.to_owned()), "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("male")), "what is known here is not asked: {asked:?}");
    let (told, _) = judged(Some(false));
    let errors: Vec<&str> =
        told.iter().filter(|(severity, _)| *severity == Severity::Error).map(|(_, rule)| rule.as_str()).collect();
    assert_eq!(errors, ["binding-required", "code-unknown"]);
}

#[test]
fn what_it_cannot_tell_stays_unevaluated() {
    let (told, asked) = judged(None);
    assert!(!asked.is_empty());
    assert!(!told.is_empty() && told.iter().all(|(severity, _)| *severity == Severity::Information), "{told:?}");
}
