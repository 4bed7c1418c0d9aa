//! How long a judgement takes beside a plain parse of the same bytes, in one run: the ratio holds where the clock of a busy machine
//! does not.
//!
//! `cargo run --release -p onward-validate --example speed [PACKAGE]`: with a package (UK Core), the documents declare its profiles.
//! With `SPEED_DOCUMENTS=FOLDER` the documents are written there too, for `peers/run` to give to other validators.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use onward_fhir::read::{self, Limits};
use onward_validate::conformance::Conformance;
use onward_validate::{Severity, Validator};
use serde_json::{Value, json};

const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/UKCore-";

fn main() {
    let package = std::env::args().nth(1).map(PathBuf::from);
    let started = Instant::now();
    let conformance = match &package {
        Some(path) => Conformance::with_packages(std::slice::from_ref(path)).expect("a package"),
        None => Conformance::core(),
    };
    let validator = Validator::new(conformance);
    println!("definitions known after {:?}", started.elapsed());
    for (target, rounds) in [(5_000, 400), (60_000, 60), (500_000, 8)] {
        let text = document(target, package.is_some());
        if let Some(folder) = std::env::var_os("SPEED_DOCUMENTS") {
            std::fs::write(PathBuf::from(folder).join(format!("{target}.json")), &text).expect("a folder to write to");
        }
        let first = Instant::now();
        let findings = judge(&validator, &text);
        let cold = first.elapsed();
        let (mut parse, mut judged) = (Duration::MAX, Duration::MAX);
        // The best of many rounds, each measure in turn: a neighbour's burst hits both.
        for _ in 0..rounds {
            let at = Instant::now();
            let value: Value = serde_json::from_str(&text).expect("JSON");
            parse = parse.min(at.elapsed());
            drop(value);
            let at = Instant::now();
            let _ = judge(&validator, &text);
            judged = judged.min(at.elapsed());
        }
        println!(
            "{:>7} bytes: parse {parse:?}, read and judge {judged:?}, ratio {:.1}, first {cold:?}, {findings} errors",
            text.len(),
            judged.as_secs_f64() / parse.as_secs_f64()
        );
    }
}

fn judge(validator: &Validator, text: &str) -> usize {
    let tree = read::json(text, &Limits::default()).expect("FHIR JSON");
    validator.validate(&tree, &[]).count(Severity::Error)
}

/// A discharge document of about so many bytes.
fn document(target: usize, uk_core: bool) -> String {
    let mut entries = vec![entry(0, composition(), uk_core), entry(1, patient(), uk_core)];
    let mut number = 2;
    while serde_json::to_string_pretty(&entries).expect("JSON").len() < target {
        for made in [observation(number), condition(number + 1), medication(number + 2)] {
            entries.push(entry(number, made, uk_core));
            number += 1;
        }
    }
    let bundle = json!({
        "resourceType": "Bundle", "type": "document", "timestamp": "2026-11-01T10:00:00Z",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"},
        "entry": entries
    });
    serde_json::to_string_pretty(&bundle).expect("JSON")
}

fn url(number: usize) -> String {
    format!("urn:uuid:c757873d-ec9a-4326-a141-{number:012}")
}

fn entry(number: usize, mut resource: Value, uk_core: bool) -> Value {
    resource["id"] = json!(format!("r{number}"));
    resource["text"] = json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Entry <b>{number}</b></p></div>")});
    if uk_core {
        let kind = resource["resourceType"].as_str().expect("a type").to_owned();
        resource["meta"] = json!({"profile": [format!("{UK_CORE}{kind}")]});
    }
    json!({"fullUrl": url(number), "resource": resource})
}

fn composition() -> Value {
    json!({
        "resourceType": "Composition", "status": "final", "date": "2026-11-01T10:00:00Z", "title": "Discharge summary",
        "type": {"coding": [{"system": "http://snomed.info/sct", "code": "373942005", "display": "Discharge summary"}]},
        "subject": {"reference": url(1)}, "author": [{"display": "Ward 7"}],
        "section": [{"title": "Findings", "code": {"text": "Findings"}, "entry": [{"reference": url(2)}, {"reference": url(3)}]}]
    })
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient", "active": true, "gender": "female", "birthDate": "1944-03-01",
        "identifier": [{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000018"}],
        "name": [{"use": "official", "family": "Example", "given": ["Ada", "May"]}],
        "address": [{"use": "home", "line": ["1 Example Street"], "city": "Exampleton", "postalCode": "EX1 1EX"}],
        "telecom": [{"system": "phone", "value": "0000 000000", "use": "home"}]
    })
}

fn observation(number: usize) -> Value {
    json!({
        "resourceType": "Observation", "status": "final", "subject": {"reference": url(1)},
        "effectiveDateTime": "2026-10-30T09:00:00Z", "performer": [{"display": "Nurse on duty"}],
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs",
            "display": "Vital Signs"}]}],
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "60621009", "display": "Body mass index"}]},
        "valueQuantity": {"value": number, "unit": "kg/m2", "system": "http://unitsofmeasure.org", "code": "kg/m2"},
        "referenceRange": [{"low": {"value": 18.5, "unit": "kg/m2"}, "high": {"value": 25, "unit": "kg/m2"}}]
    })
}

fn condition(number: usize) -> Value {
    json!({
        "resourceType": "Condition", "subject": {"reference": url(1)}, "recordedDate": "2026-10-30",
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
            "code": "confirmed"}]},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-category",
            "code": "encounter-diagnosis", "display": "Encounter Diagnosis"}]}],
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "233604007", "display": "Pneumonia"}]},
        "note": [{"text": format!("Seen on the ward round, note {number}; better since the antibiotics, walks with a frame.")}]
    })
}

fn medication(number: usize) -> Value {
    json!({
        "resourceType": "MedicationStatement", "status": "active", "subject": {"reference": url(1)},
        "medicationCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "39113311000001107",
            "display": "Amoxicillin 500mg capsules"}]},
        "effectivePeriod": {"start": "2026-10-28", "end": "2026-11-04"},
        "dosage": [{"text": format!("One capsule three times a day ({number})"), "timing": {"repeat": {"frequency": 3, "period": 1,
            "periodUnit": "d"}}, "route": {"coding": [{"system": "http://snomed.info/sct", "code": "26643006", "display": "Oral route"}]},
            "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "capsule"}}]}]
    })
}
