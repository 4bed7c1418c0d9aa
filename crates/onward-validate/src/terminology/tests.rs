mod composed;

use super::*;

const HL7: &str = "http://hl7.org/fhir/ValueSet/";

fn yes(answer: &Membership) -> Option<&str> {
    match answer {
        Membership::Yes { display } => Some(display.as_deref().unwrap_or("")),
        _ => None,
    }
}

fn is_unknown(answer: &Membership) -> bool {
    matches!(answer, Membership::Unknown { .. })
}

#[test]
fn value_sets_of_the_core() {
    let conformance = Conformance::core();
    let ask = |set: &str, system: Option<&str>, code: &str| {
        conformance.terminology().member(&format!("{HL7}{set}"), system, code, None)
    };
    let gender = Some("http://hl7.org/fhir/administrative-gender");
    assert_eq!(yes(&ask("administrative-gender", gender, "female")), Some("Female"));
    assert_eq!(yes(&ask("administrative-gender|4.0.1", None, "other")), Some("Other"));
    assert_eq!(ask("administrative-gender", gender, "Female"), Membership::No);
    assert_eq!(ask("administrative-gender", Some("http://snomed.info/sct"), "female"), Membership::No);
    assert_eq!(ask("administrative-gender", gender, ""), Membership::No);
    assert_eq!(yes(&ask("observation-status", None, "final")), Some("Final"));
    // Below `amended` in the hierarchy.
    assert_eq!(yes(&ask("observation-status", None, "corrected")), Some("Corrected"));
    assert_eq!(ask("observation-status", None, "finished"), Membership::No);
    let ucum = Some("http://unitsofmeasure.org");
    assert!(ask("age-units", ucum, "wk").is_yes());
    assert_eq!(ask("age-units", ucum, "kg"), Membership::No);
    assert!(ask("units-of-time", ucum, "min").is_yes());
    assert!(ask("ucum-units", ucum, "mg/dL").is_yes());
    assert_eq!(ask("ucum-units", ucum, "mmHg"), Membership::No);
    // Union of data types and resource types, and `Type`, `Any`.
    for code in ["Patient", "HumanName", "string", "Any", "Resource"] {
        assert!(ask("all-types", None, code).is_yes(), "{code}");
    }
    assert_eq!(ask("all-types", None, "Patients"), Membership::No);
    assert_eq!(ask("resource-types", None, "HumanName"), Membership::No);
    assert!(ask("mimetypes", None, "application/pdf").is_yes());
    assert_eq!(ask("mimetypes", None, "pdf"), Membership::No);
    assert!(ask("languages", None, "en-GB").is_yes());
    assert!(ask("all-languages", None, "cy").is_yes());
    assert!(ask("currencies", None, "GBP").is_yes());
    assert_eq!(ask("currencies", None, "QQQ"), Membership::No);
    assert!(ask("iso3166-1-2", Some("urn:iso:std:iso:3166"), "GB").is_yes());
    assert!(ask("iso3166-1-N", None, "826").is_yes() && ask("iso3166-1-3", None, "TWN").is_yes());
    assert_eq!(ask("iso3166-1-N", None, "GB"), Membership::No);
    assert_eq!(ask("iso3166-1-3", None, "XYZ"), Membership::No);
    assert!(ask("timezones", None, "Europe/London").is_yes());
    for bad in ["Europe/Becksworth", "BST", "europe/london"] {
        assert_eq!(ask("timezones", None, bad), Membership::No, "{bad}");
    }
    assert!(is_unknown(&ask("no-such-set", None, "x")));
}

#[test]
fn hierarchies_of_the_core() {
    let conformance = Conformance::core();
    let ask = |code: &str| {
        let set = "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode";
        conformance.terminology().member(set, Some("http://terminology.hl7.org/CodeSystem/v3-ActCode"), code, None)
    };
    assert_eq!(yes(&ask("AMB")), Some("ambulatory"));
    assert!(ask("ACUTE").is_yes(), "an inpatient encounter of two levels below");
    assert_eq!(ask("ABORTED"), Membership::No);
}

#[test]
fn what_is_not_here_is_unknown() {
    let conformance = Conformance::core();
    let terminology = conformance.terminology();
    let sct = Some("http://snomed.info/sct");
    assert!(is_unknown(&terminology.member(&format!("{HL7}condition-code"), sct, "386661006", None)));
    assert_eq!(
        terminology.member(&format!("{HL7}condition-code"), Some("http://loinc.org"), "1-8", None),
        Membership::No
    );
    assert!(is_unknown(&terminology.lookup("http://loinc.org", "1-8", None)));
    assert!(is_unknown(&terminology.lookup("http://example.org/none", "a", None)));
    assert!(terminology.lookup("http://hl7.org/fhir/administrative-gender", "male", None).is_yes());
}

#[test]
fn required_bindings_that_can_be_told() {
    let conformance = Conformance::core();
    let terminology = conformance.terminology();
    let mut sets = std::collections::BTreeSet::new();
    for source in conformance.all(Kind::StructureDefinition) {
        let tree = source.read().expect("the core is read");
        for binding in tree.root().descendants().filter(|element| element.name() == "binding") {
            if binding.text("strength") == Some("required") {
                sets.extend(binding.text("valueSet").map(str::to_owned));
            }
        }
    }
    let open: Vec<_> = sets
        .iter()
        .filter_map(|set| match terminology.value_set(set) {
            None => Some(format!("{set}: not here")),
            Some(found) => found.unknown().map(|reason| format!("{set}: {reason}")),
        })
        .collect();
    let expected = [
        "http://hl7.org/fhir/ValueSet/characteristic-combination|5.0.0: not here",
        "http://loinc.org/vs/LL379-9|4.0.1: not here",
    ];
    assert_eq!(open, expected);
    assert_eq!(sets.len(), 258);
}
