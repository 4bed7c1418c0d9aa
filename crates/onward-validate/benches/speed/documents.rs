//! Discharge documents of a wanted size, made up of the resources that such documents are full of.

use serde_json::{Value, json};

const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/UKCore-";

/// A discharge document of about so many bytes, written without white space, as senders do.
pub(super) fn document(target: usize, uk_core: bool) -> String {
    let mut entries = vec![entry(0, composition(), uk_core), entry(1, patient(), uk_core)];
    let mut number = 2;
    let mut length: usize = entries.iter().map(|entry| entry.to_string().len() + 1).sum();
    while length < target {
        for made in [observation(number), condition(number + 1), medication(number + 2)] {
            let made = entry(number, made, uk_core);
            length += made.to_string().len() + 1;
            entries.push(made);
            number += 1;
        }
    }
    let bundle = json!({
        "resourceType": "Bundle", "type": "document", "timestamp": "2026-11-01T10:00:00Z",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"},
        "entry": entries
    });
    bundle.to_string()
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
