//! Whatever comes: an answer, in bounded time and length.

use onward_fhir::Builder;
use proptest::prelude::*;

use super::tree;
use crate::conformance::Conformance;
use crate::engine::Session;
use crate::fhirpath;
use crate::{Severity, Validator};

fn validator() -> &'static Validator {
    static CORE: std::sync::LazyLock<Validator> = std::sync::LazyLock::new(|| Validator::new(Conformance::core()));
    &CORE
}

const PATIENT: &str = r##"{"resourceType":"Patient","id":"a","contained":[{"resourceType":"Organization","id":"o","name":"x"}],
"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthPlace","valueAddress":{"city":"x"}}],
"identifier":[{"system":"urn:oid:1.2.3","value":"1"}],"name":[{"family":"x","given":["y",null],"_given":[null,{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}]}],
"birthDate":"1980-02-03","_birthDate":{"id":"b"},"managingOrganization":{"reference":"#o"},"multipleBirthInteger":2,
"contact":[{"name":{"text":"x"},"period":{"start":"2020-01-01","end":"2021-01-01"}}]}"##;

#[test]
fn the_sample_is_valid() {
    let tree = tree(PATIENT).expect("readable");
    let findings = validator().validate(&tree, &[]);
    assert!(!findings.has_errors(), "{findings:?}");
}

/// A resource within a resource within a resource: deep, and told once.
#[test]
fn deep_nesting_ends() {
    fn nest(builder: &mut Builder<'_>, depth: usize) {
        builder.node("extension", |builder| {
            builder.leaf("url", "http://example.org/x");
            if depth > 0 {
                nest(builder, depth - 1);
            }
        });
    }
    let mut builder = Builder::resource("Basic");
    nest(&mut builder, 400);
    let findings = validator().validate(&builder.finish(), &[]);
    assert!(findings.has_errors());
}

/// Many errors are counted, not listed.
#[test]
fn a_flood_of_errors_is_a_short_answer() {
    let mut builder = Builder::resource("Patient");
    for _ in 0..20_000 {
        builder.leaf("birthDate", "x");
        builder.leaf("nonsense", "x");
    }
    let findings = validator().validate(&builder.finish(), &[]);
    assert!(findings.has_errors() && findings.len() < 200, "{}", findings.len());
}

/// An unknown profile is said, asked for or declared.
#[test]
fn an_unknown_profile_is_said() {
    let tree = tree(r#"{"resourceType":"Basic","meta":{"profile":["http://example.org/no"]},"code":{"text":"x"}}"#)
        .expect("readable");
    let declared = validator().validate(&tree, &[]);
    assert_eq!(declared.by_rule("profile-unresolved").map(|finding| finding.severity), Some(Severity::Warning));
    let asked = validator().validate(&tree, &["http://example.org/other"]);
    assert!(asked.has_errors());
}

/// A judgement that runs out of steps, its own or FHIRPath's, is no pass.
#[test]
fn a_spent_budget_is_an_error() {
    let tree = tree(PATIENT).expect("readable");
    for (steps, path_steps) in [(5, u64::MAX), (u64::MAX, 50)] {
        let mut session = Session::new(validator(), &tree);
        (session.steps_left, session.paths) = (steps, fhirpath::Session::new(path_steps));
        session.root(tree.root(), &[]);
        let findings = session.report.finish(tree.source());
        assert_eq!(
            findings.by_rule("step-budget").map(|finding| finding.severity),
            Some(Severity::Error),
            "{findings:?}"
        );
    }
}

/// URLs, versions and names that documents make up leave nothing behind: a gateway judges for months.
#[test]
fn made_up_names_leave_nothing_behind() {
    let validator = Validator::new(Conformance::core());
    let judged = |round: usize| {
        let patient = format!(
            r#"{{"resourceType":"Patient","meta":{{"profile":["http://hl7.org/fhir/StructureDefinition/Patient|{round}"]}},
            "extension":[{{"url":"http://example.org/{round}","valueString":"x"}},
            {{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthPlace|{round}","valueAddress":{{"city":"x"}}}}]}}"#
        );
        let definition = format!(
            r#"{{"resourceType":"StructureDefinition","url":"http://example.org/{round}","name":"X","status":"draft","kind":"resource",
            "abstract":false,"type":"Basic","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Basic","derivation":"constraint",
            "differential":{{"element":[{{"id":"Basic.made{round}","path":"Basic.made{round}","min":1,"constraint":[{{"key":"x",
            "severity":"error","human":"x","expression":"made{round}.exists()"}}]}}]}}}}"#
        );
        for text in [patient, definition] {
            let tree = tree(&text).expect("readable");
            assert!(!validator.validate(&tree, &[]).is_empty());
        }
        assert_eq!(validator.names.element(&format!("made{round}")), None);
        (
            validator.plan_ids.read().expect("no thread has panicked").len(),
            validator.plans.count(),
            validator.invariants.count(),
        )
    };
    let first = judged(0);
    for round in 1..20 {
        assert_eq!(judged(round), first, "round {round}");
    }
}

/// Twice the document is about twice the work: what is asked of all contained resources is not asked again for each of them.
#[test]
fn work_grows_with_the_document_not_its_square() {
    let spent = |count: usize| {
        let mut builder = Builder::resource("Patient");
        for at in 0..count {
            builder.child_resource("contained", "Organization", |organization| {
                organization.leaf("id", format!("o{at}"));
                organization.leaf("name", "x");
            });
        }
        for at in 0..count {
            builder.node("generalPractitioner", |reference| reference.leaf("reference", format!("#o{at}")));
        }
        let tree = builder.finish();
        let mut session = Session::new(validator(), &tree);
        let before = (session.steps_left, session.paths.steps_left());
        session.root(tree.root(), &[]);
        (before.0 - session.steps_left, before.1 - session.paths.steps_left())
    };
    let (small, large) = (spent(200), spent(400));
    assert!(large.0 < small.0 * 5 / 2 && large.1 < small.1 * 5 / 2, "{small:?} {large:?}");
}

/// XML has an order, JSON has none.
#[test]
fn order_is_of_xml() {
    let xml = |inner: &str| format!("<Patient xmlns=\"http://hl7.org/fhir\">{inner}</Patient>");
    let rules = |text: &str| {
        let tree = tree(text).expect("readable");
        let findings = validator().validate(&tree, &[]);
        findings.by_rule("xml-order").map(|finding| finding.expression.clone())
    };
    assert_eq!(rules(&xml("<active value=\"true\"/><gender value=\"male\"/>")), None);
    assert_eq!(rules(&xml("<gender value=\"male\"/><active value=\"true\"/>")).as_deref(), Some("Patient.active"));
    assert_eq!(rules(r#"{"gender":"male","resourceType":"Patient","active":true}"#), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Bytes changed anywhere: refused or judged, never a panic.
    #[test]
    fn changed_bytes(changes in proptest::collection::vec((0..PATIENT.len(), any::<u8>()), 1..6)) {
        let mut bytes = PATIENT.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Ok(tree) = tree(text)
        {
            let _ = validator().validate(&tree, &["http://hl7.org/fhir/StructureDefinition/Patient"]);
        }
    }

    /// Trees that no reader would make.
    #[test]
    fn random_trees(steps in proptest::collection::vec((0..12_usize, 0..6_usize, any::<bool>()), 1..80)) {
        let names = ["extension", "url", "valueQuantity", "contained", "entry", "resource", "fullUrl", "reference", "identifier",
            "text", "item", "valueReference"];
        let types = ["Bundle", "Patient", "Observation", "Questionnaire", "Nonsense", "Parameters"];
        let mut builder = Builder::resource("Bundle");
        let mut open = 0;
        for (name, kind, close) in steps {
            builder.open(names[name]);
            open += 1;
            match name {
                3 | 5 => builder.set_resource_type(types[kind]),
                1 | 6 | 7 => builder.set_value(["#", "Patient/1", "urn:uuid:x", "", "http://a/b/c", "#a"][kind], onward_fhir::Lexical::Untold),
                _ => {}
            }
            if close {
                builder.close();
                open -= 1;
            }
        }
        for _ in 0..open {
            builder.close();
        }
        let _ = validator().validate(&builder.finish(), &[]);
    }
}
