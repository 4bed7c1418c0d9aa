//! Where a careless conversion would hurt someone.

use onward_fhir::{Builder, Element, Tree};

use super::{convert, read};
use crate::convert::{NoteKind, TAKEN_EXTENSION, to_r4};

fn statement(status: &'static str, taken: Option<&'static str>) -> Tree<'static> {
    let mut b = Builder::resource("MedicationStatement");
    b.leaf("status", status);
    b.leaf_if("taken", taken);
    b.finish()
}

#[test]
fn taken_never_reaches_the_status() {
    for status in ["active", "completed", "entered-in-error", "intended", "stopped", "on-hold"] {
        for taken in [None, Some("y"), Some("n"), Some("unk"), Some("na")] {
            let source = statement(status, taken);
            let conversion = to_r4(source.root());
            let root = conversion.tree.root();
            assert_eq!(root.text("status"), Some(status), "{taken:?}");
            assert_eq!(root.all("status").count(), 1);
            assert!(root.get("taken").is_none());
            assert_eq!(root.extension(TAKEN_EXTENSION).and_then(|e| e.text("valueCode")), taken, "{status}");
            let warned = conversion.notes.iter().any(|note| note.explanation.contains("not taken"));
            assert_eq!(warned, taken == Some("n") && matches!(status, "active" | "completed"), "{status} {taken:?}");
            assert_eq!(conversion.losses().count(), 0);
        }
    }
}

#[test]
fn why_it_is_not_taken_never_becomes_why_it_is() {
    let source = read(
        r#"{"resourceType":"MedicationStatement","status":"stopped","taken":"n",
            "reasonNotTaken":[{"text":"bleeding"}],"reasonCode":[{"text":"atrial fibrillation"}]}"#,
    );
    let (target, _) = convert(&source);
    let notes = to_r4(source.root()).notes;
    let told =
        notes.iter().any(|note| note.path.contains("reasonNotTaken") && note.explanation.contains("not reasonCode"));
    assert!(told, "{notes:?}");
    let texts = |name: &str| -> Vec<_> { target.root().all(name).filter_map(|each| each.text("text")).collect() };
    assert_eq!(texts("reasonCode"), ["atrial fibrillation"]);
    assert_eq!(texts("statusReason"), ["bleeding"]);
}

#[test]
fn what_was_not_done_never_reads_as_done() {
    let cases = [
        ("Procedure", "notDone", "completed", "true", "not-done"),
        ("Procedure", "notDone", "suspended", "true", "not-done"),
        ("Procedure", "notDone", "entered-in-error", "true", "entered-in-error"),
        ("Procedure", "notDone", "completed", "false", "completed"),
        ("Procedure", "notDone", "aborted", "false", "stopped"),
        ("Procedure", "notDone", "suspended", "false", "on-hold"),
        ("Communication", "notDone", "completed", "true", "not-done"),
        ("MedicationAdministration", "notGiven", "completed", "true", "not-done"),
        ("MedicationAdministration", "notGiven", "completed", "false", "completed"),
        ("Immunization", "notGiven", "completed", "true", "not-done"),
        ("Immunization", "notGiven", "completed", "false", "completed"),
        ("MedicationDispense", "notDone", "completed", "true", "declined"),
        ("MedicationDispense", "notDone", "stopped", "true", "stopped"),
        ("MedicationDispense", "notDone", "entered-in-error", "true", "entered-in-error"),
        ("MedicationDispense", "notDone", "completed", "false", "completed"),
    ];
    for (resource, flag, status, value, expected) in cases {
        for flag_first in [true, false] {
            let mut b = Builder::resource(resource);
            if flag_first {
                b.leaf(flag, value);
            }
            b.leaf("status", status);
            if !flag_first {
                b.leaf(flag, value);
            }
            let source = b.finish();
            let (target, _) = convert(&source);
            let found: Vec<_> = target.root().all("status").filter_map(Element::value).collect();
            assert_eq!(found, [expected], "{resource} {status} {flag}={value}");
        }
    }
}

#[test]
fn not_done_without_a_status_gets_one() {
    let source = read(r#"{"resourceType":"Procedure","notDone":true}"#);
    assert_eq!(convert(&source).0.root().text("status"), Some("not-done"));
}

#[test]
fn an_unknown_verification_is_not_turned_into_a_known_one() {
    let source = read(r#"{"resourceType":"Condition","clinicalStatus":"active","verificationStatus":"unknown"}"#);
    let (target, _) = convert(&source);
    assert!(target.root().get("verificationStatus").is_none());
    let url = "http://hl7.org/fhir/3.0/StructureDefinition/extension-Condition.verificationStatus";
    assert_eq!(target.root().extension(url).and_then(|e| e.text("valueCode")), Some("unknown"));
}

#[test]
fn doses_and_decimals_stay_as_written() {
    let source = read(
        r#"{"resourceType":"MedicationStatement","status":"active","dosage":[{"text":"0.010 mg  at night",
            "doseQuantity":{"value":0.010,"unit":"mg"},"rateRange":{"low":{"value":1.50}}}]}"#,
    );
    let (target, _) = convert(&source);
    let dosage = target.root().get("dosage").expect("there");
    assert_eq!(dosage.text("text"), Some("0.010 mg  at night"));
    assert_eq!(dosage.all("doseAndRate").count(), 1);
    assert_eq!(dosage.text_at("doseAndRate.doseQuantity.value"), Some("0.010"));
    assert_eq!(dosage.text_at("doseAndRate.rateRange.low.value"), Some("1.50"));
}

#[test]
fn codes_that_the_new_system_does_not_have_stay_in_the_old_one() {
    let system = "https://fhir.hl7.org.uk/STU3/CodeSystem/CareConnect-DischargeMethod-1";
    for (code, expected) in [("1", "https://fhir.hl7.org.uk/CodeSystem/UKCore-DischargeMethodEngland"), ("2", system)] {
        let mut b = Builder::resource("Basic");
        b.node("code", |b| {
            b.node("coding", |b| {
                b.leaf("system", system);
                b.leaf("code", code);
            });
        });
        let source = b.finish();
        assert_eq!(convert(&source).0.root().text_at("code.coding.system"), Some(expected), "{code}");
    }
}

#[test]
fn hostile_shapes_do_not_panic_and_do_not_vanish() {
    for json in [
        r#"{"resourceType":"Nonsense","status":"active"}"#,
        r#"{"resourceType":"MessageHeader","receiver":{"reference":"urn:uuid:1"},"timestamp":"2026-01-01T00:00:00Z"}"#,
        r#"{"resourceType":"Bundle","type":"document","entry":[{}]}"#,
        r#"{"resourceType":"Composition","attester":[{"mode":[]}],"section":[{"code":{}}]}"#,
        r#"{"resourceType":"Encounter","hospitalization":{"unheard":"of"}}"#,
        r#"{"resourceType":"Patient","extension":[{"url":"https://fhir.hl7.org.uk/STU3/StructureDefinition/Extension-CareConnect-NHSCommunication-1"}]}"#,
        r#"{"resourceType":"MedicationStatement","extension":[{"url":"https://fhir.hl7.org.uk/STU3/StructureDefinition/Extension-CareConnect-MedicationChangeSummary-1","extension":[{"url":"status","valueCode":"Exploded"}]}]}"#,
        r#"{"resourceType":"Observation","related":[{"type":"has-member"},{"target":{"reference":"a"}}]}"#,
        r#"{"resourceType":"AllergyIntolerance","_clinicalStatus":{"extension":[{"url":"u","valueCode":"unknown"}]}}"#,
    ] {
        let Ok(source) = onward_fhir::read::json(json, &onward_fhir::read::Limits::default()) else { continue };
        let (target, notes) = convert(&source);
        let lost = super::silently_lost(source.root(), target.root(), &notes);
        assert_eq!(lost, Vec::<String>::new(), "{json}");
    }
}

#[test]
fn notes_fold_and_hold_no_content() {
    let source = read(
        r#"{"resourceType":"Bundle","type":"collection","entry":[
            {"resource":{"resourceType":"MedicationStatement","status":"stopped","taken":"unk","note":[{"text":"SECRET"}]}},
            {"resource":{"resourceType":"MedicationStatement","status":"stopped","taken":"unk"}},
            {"resource":{"resourceType":"Observation","comment":"SECRET","bogus":"SECRET"}}]}"#,
    );
    let conversion = to_r4(source.root());
    let taken: Vec<_> = conversion.notes.iter().filter(|note| note.path.ends_with("taken")).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].count, taken[0].kind), (2, NoteKind::Kept));
    assert_eq!(taken[0].path, "Bundle.entry[0].resource.taken");
    assert_eq!(
        conversion.losses().map(|note| note.path.as_str()).collect::<Vec<_>>(),
        ["Bundle.entry[2].resource.bogus"]
    );
    assert!(conversion.notes.iter().all(|note| !note.explanation.contains("SECRET")));
}
