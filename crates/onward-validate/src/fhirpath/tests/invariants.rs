//! Invariants of FHIR R4 as published, each with what keeps it and what breaks it.

use super::*;
use crate::fhirpath::Misuse;

/// Key, expression, what keeps it, what breaks it. The expression is that of FHIR 4.0.1.
const INVARIANTS: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "dom-2",
        "contained.contained.empty()",
        &[r##"{"resourceType":"Patient","contained":[{"resourceType":"Location","id":"l"}]}"##],
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Location","contained":[{"resourceType":"Location"}]}]}"##,
        ],
    ),
    (
        "dom-3",
        "contained.where((('#'+id in (%resource.descendants().reference | %resource.descendants().as(canonical) | \
         %resource.descendants().as(uri) | %resource.descendants().as(url))) or descendants().where(reference = \
         '#').exists() or descendants().where(as(canonical) = '#').exists() or descendants().where(as(canonical) = \
         '#').exists()).not()).trace('unmatched', id).empty()",
        &[
            r##"{"resourceType":"Patient"}"##,
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o"}],"managingOrganization":{"reference":"#o"}}"##,
            r##"{"resourceType":"Condition","contained":[{"resourceType":"Provenance","target":[{"reference":"#"}]}]}"##,
            r##"{"resourceType":"CarePlan","contained":[{"resourceType":"PlanDefinition","id":"p"}],"instantiatesCanonical":["#p"]}"##,
        ],
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o"}],"managingOrganization":{"reference":"#p"}}"##,
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o"},{"resourceType":"Organization","id":"p"}],"managingOrganization":{"reference":"#p"}}"##,
        ],
    ),
    (
        "dom-4",
        "contained.meta.versionId.empty() and contained.meta.lastUpdated.empty()",
        &[r##"{"resourceType":"Patient","meta":{"versionId":"1"},"contained":[{"resourceType":"Location"}]}"##],
        &[r##"{"resourceType":"Patient","contained":[{"resourceType":"Location","meta":{"versionId":"1"}}]}"##],
    ),
    (
        "dom-5",
        "contained.meta.security.empty()",
        &[r##"{"resourceType":"Patient","contained":[{"resourceType":"Location"}]}"##],
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Location","meta":{"security":[{"code":"R"}]}}]}"##,
        ],
    ),
    (
        "dom-6",
        "text.`div`.exists()",
        &[r##"{"resourceType":"Patient","text":{"status":"generated","div":"<div>a</div>"}}"##],
        &[r##"{"resourceType":"Patient"}"##],
    ),
    (
        "bdl-1",
        "total.empty() or (type = 'searchset') or (type = 'history')",
        &[r##"{"resourceType":"Bundle","type":"searchset","total":1}"##],
        &[r##"{"resourceType":"Bundle","type":"message","total":1}"##],
    ),
    (
        "bdl-3",
        "entry.all(request.exists() = (%resource.type = 'batch' or %resource.type = 'transaction' or %resource.type = \
         'history'))",
        &[
            r##"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET"}}]}"##,
            r##"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:a"}]}"##,
        ],
        &[
            r##"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET"}},{"fullUrl":"urn:a"}]}"##,
            r##"{"resourceType":"Bundle","type":"message","entry":[{"request":{"method":"GET"}}]}"##,
        ],
    ),
    (
        "bdl-7",
        "(type = 'history') or entry.where(fullUrl.exists()).select(fullUrl&resource.meta.versionId).isDistinct()",
        &[
            r##"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:b"},{"id":"x"}]}"##,
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:a","resource":{"resourceType":"Patient","meta":{"versionId":"1"}}},{"fullUrl":"urn:a","resource":{"resourceType":"Patient","meta":{"versionId":"2"}}}]}"##,
            r##"{"resourceType":"Bundle","type":"history","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:a"}]}"##,
        ],
        &[r##"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:a"}]}"##],
    ),
    (
        "bdl-9",
        "type = 'document' implies (identifier.system.exists() and identifier.value.exists())",
        &[
            r##"{"resourceType":"Bundle","type":"document","identifier":{"system":"urn:a","value":"b"}}"##,
            r##"{"resourceType":"Bundle","type":"message"}"##,
        ],
        &[r##"{"resourceType":"Bundle","type":"document","identifier":{"system":"urn:a"}}"##],
    ),
    (
        "bdl-10",
        "type = 'document' implies (timestamp.hasValue())",
        &[r##"{"resourceType":"Bundle","type":"document","timestamp":"2026-11-26T13:00:00Z"}"##],
        &[
            r##"{"resourceType":"Bundle","type":"document","_timestamp":{"extension":[{"url":"urn:a","valueCode":"b"}]}}"##,
            r##"{"resourceType":"Bundle","type":"document"}"##,
        ],
    ),
    (
        "bdl-11",
        "type = 'document' implies entry.first().resource.is(Composition)",
        &[r##"{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Composition"}}]}"##],
        &[r##"{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Patient"}}]}"##],
    ),
    (
        "bdl-12",
        "type = 'message' implies entry.first().resource.is(MessageHeader)",
        &[r##"{"resourceType":"Bundle","type":"message","entry":[{"resource":{"resourceType":"MessageHeader"}}]}"##],
        &[r##"{"resourceType":"Bundle","type":"message","entry":[{"resource":{"resourceType":"Composition"}}]}"##],
    ),
    (
        "obs-6",
        "dataAbsentReason.empty() or value.empty()",
        &[
            r##"{"resourceType":"Observation","valueString":"a"}"##,
            r##"{"resourceType":"Observation","dataAbsentReason":{"text":"a"}}"##,
        ],
        &[r##"{"resourceType":"Observation","valueString":"a","dataAbsentReason":{"text":"a"}}"##],
    ),
    (
        "obs-7",
        "value.empty() or component.code.where(coding.intersect(%resource.code.coding).exists()).empty()",
        &[
            r##"{"resourceType":"Observation","code":{"coding":[{"code":"a"}]},"valueString":"a","component":[{"code":{"coding":[{"code":"b"}]}}]}"##,
        ],
        &[
            r##"{"resourceType":"Observation","code":{"coding":[{"system":"urn:s","code":"a"}]},"valueString":"a","component":[{"code":{"coding":[{"code":"b"},{"system":"urn:s","code":"a"}]}}]}"##,
        ],
    ),
    (
        "que-2",
        "descendants().linkId.isDistinct()",
        &[r##"{"resourceType":"Questionnaire","item":[{"linkId":"a","item":[{"linkId":"b"}]}]}"##],
        &[r##"{"resourceType":"Questionnaire","item":[{"linkId":"a","item":[{"linkId":"a"}]}]}"##],
    ),
    (
        "csd-1",
        "concept.code.combine($this.descendants().concept.code).isDistinct()",
        &[r##"{"resourceType":"CodeSystem","concept":[{"code":"a","concept":[{"code":"b"}]}]}"##],
        &[r##"{"resourceType":"CodeSystem","concept":[{"code":"a","concept":[{"code":"b"},{"code":"a"}]}]}"##],
    ),
    (
        "mea-0",
        "name.matches('[A-Z]([A-Za-z0-9_]){0,254}')",
        &[r##"{"resourceType":"Measure","name":"Good_1"}"##],
        &[r##"{"resourceType":"Measure","name":"bad"}"##, r##"{"resourceType":"Measure"}"##],
    ),
];

#[test]
fn of_resources() {
    for (key, expression, good, bad) in INVARIANTS {
        for resource in *good {
            assert!(holds(expression, resource), "{key} is kept by {resource}");
        }
        for resource in *bad {
            assert!(!holds(expression, resource), "{key} is broken by {resource}");
        }
    }
}

/// Path to the element, its type, key, expression, a Patient or Observation and whether it holds there.
#[test]
fn of_elements() {
    let patient = r##"{"resourceType":"Patient","id":"a",
        "contained":[{"resourceType":"Organization","id":"o"},{"resourceType":"Practitioner","id":"p",
            "extension":[{"url":"urn:r","valueReference":{"reference":"#o"}}]}],
        "_active":{"extension":[{"url":"urn:x","valueCode":"y"}]},
        "name":[{"family":"A"}],
        "photo":[{"data":"AAAA"}],
        "telecom":[{"value":"1"},{"system":"phone","value":"1"}],
        "contact":[{"gender":"male"},{"organization":{"reference":"#o"}}],
        "identifier":[{"period":{"start":"2020-01-01","end":"2020-01-02"}},{"period":{"start":"2020-01-02","end":"2020-01-01"}},
            {"period":{"start":"2020-01-01"}},{"period":{"start":"2020-01-01","end":"2020"}}],
        "generalPractitioner":[{"reference":"#p"},{"reference":"#q"},{"reference":"Practitioner/q"},{"display":"x"}],
        "extension":[{"url":"urn:a","valueCode":"b"},{"url":"urn:a"},{"url":"urn:a","valueCode":"b","extension":[{"url":"urn:c","valueCode":"d"}]},
            {"url":"urn:q","valueRange":{"low":{"value":1,"code":"kg","system":"http://unitsofmeasure.org"},
                "high":{"value":900,"code":"g","system":"http://unitsofmeasure.org"}}},
            {"url":"urn:q","valueRange":{"low":{"value":1,"unit":"kg"},"high":{"value":1.0,"unit":"kg"}}},
            {"url":"urn:s","valueAge":{"value":82,"code":"a","system":"http://unitsofmeasure.org"}},
            {"url":"urn:s","valueAge":{"value":0,"code":"a","system":"http://unitsofmeasure.org"}},
            {"url":"urn:t","valueQuantity":{"value":1,"code":"kg"}}]}"##;
    let tree = read(patient);
    let ele_1 = "hasValue() or (children().count() > id.count())";
    let ext_1 = "extension.exists() != value.exists()";
    let ref_1 = "reference.startsWith('#').not() or (reference.substring(1).trace('url') in \
                 %rootResource.contained.id.trace('ids'))";
    let per_1 = "start.hasValue().not() or end.hasValue().not() or (start <= end)";
    let rng_2 = "low.empty() or high.empty() or (low <= high)";
    let age_1 = "(code.exists() or value.empty()) and (system.empty() or system = %ucum) and (value.empty() or \
                 value.hasValue().not() or value > 0)";
    let rows: &[(&str, &str, &str, &[bool])] = &[
        ("Patient.active", "boolean", ele_1, &[true]),
        ("Patient.id", "id", ele_1, &[true]),
        ("Patient.name", "HumanName", ele_1, &[true]),
        ("Patient.extension", "Extension", ext_1, &[true, false, false, true, true, true, true, true]),
        (
            "Patient.contact",
            "Patient.contact",
            "name.exists() or telecom.exists() or address.exists() or organization.exists()",
            &[false, true],
        ),
        ("Patient.identifier.period", "Period", per_1, &[true, false, true, false]),
        ("Patient.photo", "Attachment", "data.empty() or contentType.exists()", &[false]),
        ("Patient.telecom", "ContactPoint", "value.empty() or system.exists()", &[false, true]),
        ("Patient.generalPractitioner", "Reference", ref_1, &[true, false, true, false]),
        ("Patient.contained.extension.value.ofType(Reference)", "Reference", ref_1, &[true]),
        ("Patient.extension.value.ofType(Range)", "Range", rng_2, &[false, true]),
        ("Patient.extension.value.ofType(Age)", "Age", age_1, &[true, false]),
        (
            "Patient.extension.value.ofType(Quantity)",
            "Quantity",
            "code.empty() or system.exists()",
            &[true, true, false],
        ),
    ];
    for (path, type_name, invariant, wanted) in rows {
        let place = compiled(path);
        let found = place.evaluate(&context(&tree)).expect("places");
        let invariant = compiled(invariant);
        let held: Vec<bool> = found
            .iter()
            .map(|item| {
                let node = item.node().expect("an element");
                let context = Context::new(node.element, type_name, Release::R4);
                invariant.holds(&context).expect("a judgement")
            })
            .collect();
        assert_eq!(&held, wanted, "{path}: {}", invariant.source());
    }
}

#[test]
fn what_was_published_wrong_is_corrected() {
    let published = [
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids'))",
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in %resource.contained.id.trace('ids'))",
    ];
    let patient = r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o"}],"generalPractitioner":[
        {"reference":"#o"},{"reference":"#p"},{"reference":"#"},{"display":"x"},{"reference":"Organization/p"}]}"##;
    let tree = read(patient);
    for published in published {
        let ref_1 = Expression::compile_invariant(published).expect("compiles");
        let session = Session::new(10_000);
        let held: Vec<bool> = tree
            .root()
            .all("generalPractitioner")
            .map(|each| ref_1.holds_in(&Context::new(each, "Reference", Release::R4), &session).expect("a judgement"))
            .collect();
        assert_eq!(held, [true, false, true, true, true]);
    }
    let unchanged = Expression::compile_invariant("name.exists()").expect("compiles");
    assert_eq!(unchanged.source(), "name.exists()");
}

#[test]
fn names_are_checked_against_types() {
    let misuses = |source: &str, type_name: &str| compiled(source).check(type_name, Release::R4);
    for (source, type_name) in [
        ("name.given.exists() and Patient.contact.name.family.empty()", "Patient"),
        ("value.ofType(Quantity).code = 'kg' or value.start.exists()", "Observation"),
        ("entry.resource.anything.exists()", "Bundle"),
        ("descendants().where(reference = '#').exists() and children().anything", "Patient"),
        ("extension('urn:x').value.as(CodeableConcept).coding.code", "Patient"),
        ("name.where(use = 'official').select(given | family).first() = $this.id", "Patient"),
        ("period.start <= period.end", "Patient.identifier"),
        ("low.value <= high.value", "Range"),
        ("value.exists()", "SimpleQuantity"),
        ("anything", "Unheard"),
    ] {
        assert_eq!(misuses(source, type_name), [], "{source}");
    }
    let unknown = |name: &str, of| vec![Misuse::UnknownName { name: name.into(), of }];
    assert_eq!(misuses("nmae.empty()", "Patient"), unknown("nmae", "Patient"));
    assert_eq!(misuses("name.all(givn.exists())", "Patient"), unknown("givn", "HumanName"));
    assert_eq!(misuses("contact.where(name.exists()).telecomm", "Patient"), unknown("telecomm", "Patient.contact"));
    assert_eq!(misuses("value.ofType(Period).unit", "Observation"), unknown("unit", "Period"));
    assert_eq!(misuses("Encounter.status", "Patient"), unknown("Encounter", "Patient"));
    assert!(matches!(&misuses("valueQuantity.code", "Observation")[..], [Misuse::ChoiceAsWritten { .. }]));
    assert_eq!(misuses("children()[0]", "Patient"), [Misuse::Unordered { function: "[]" }]);
}

#[test]
fn what_is_published_compiles() {
    let mut seen = std::collections::HashSet::new();
    for name in ["uk-core", "itk3-definitions", "fhir-test-cases/validator"] {
        let Some(folder) = folder(name) else { continue };
        let mut open = vec![folder];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            if !text.contains("constraint") {
                continue;
            }
            let tree = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => read::json(&text, &Limits::default()),
                Some("xml") => read::xml(&text, &Limits::default()),
                _ => continue,
            };
            // The validator's cases hold files that are wrong on purpose.
            let Ok(tree) = tree else { continue };
            for constraint in tree.root().descendants().filter(|element| element.name() == "constraint") {
                let Some(expression) = constraint.text("expression") else { continue };
                if seen.insert(expression.to_owned()) {
                    Expression::compile_invariant(expression)
                        .unwrap_or_else(|error| panic!("{}: {expression}: {error}", path.display()));
                }
            }
        }
        assert!(!seen.is_empty(), "{name} has invariants");
    }
}

#[test]
fn a_session_shares_what_is_of_the_resource() {
    let contained: Vec<String> =
        (0..300).map(|at| format!(r##"{{"resourceType":"Organization","id":"o{at}"}}"##)).collect();
    let references: Vec<String> = (0..300).map(|at| format!(r##"{{"reference":"#o{at}"}}"##)).collect();
    let text = format!(
        r##"{{"resourceType":"Patient","contained":[{}],"generalPractitioner":[{}]}}"##,
        contained.join(","),
        references.join(",")
    );
    let tree = read(&text);
    let ref_1 = Expression::compile_invariant(
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in \
         %rootResource.contained.id.trace('ids'))",
    )
    .expect("compiles");
    let spent = |count: usize| {
        let session = Session::new(1_000_000);
        for reference in tree.root().all("generalPractitioner").take(count) {
            assert_eq!(ref_1.holds_in(&Context::new(reference, "Reference", Release::R4), &session), Ok(true));
        }
        1_000_000 - session.steps_left()
    };
    let (one, all) = (spent(1), spent(300));
    assert!(all - one < 299 * 30, "each further reference is looked up, not searched: {one} and {all} steps");
    let exhausted = Session::new(50);
    let reference = tree.root().get("generalPractitioner").expect("there");
    let context = Context::new(reference, "Reference", Release::R4);
    assert!(matches!(ref_1.holds_in(&context, &exhausted), Err(EvaluationError::TooMuch(_))));
}

/// What depends on more than the resource is not shared with its other elements.
#[test]
fn a_session_confuses_no_elements() {
    let tree = read(
        r##"{"resourceType":"Bundle","type":"collection","entry":[
            {"resource":{"resourceType":"Patient","id":"a","gender":"male","name":[{"family":"A"},{"family":"B"}]}},
            {"resource":{"resourceType":"Patient","id":"b","gender":"female","name":[{"family":"B"}]}}]}"##,
    );
    let expressions = [
        "%context.family",
        "%resource.id",
        "%resource.name.where(family = %context.family).count()",
        "%x",
        "%resource.name.where(family = %x).count()",
        "name.select(%resource.gender)",
    ];
    let expressions: Vec<Expression> = expressions.into_iter().map(compiled).collect();
    let session = Session::new(1_000_000);
    for entry in tree.root().all("entry") {
        let patient = entry.get("resource").expect("there");
        for name in patient.all("name") {
            for expression in &expressions {
                for x in ["A", "B"] {
                    let context = Context::new(name, "HumanName", Release::R4).with_variable("x", Item::from(x));
                    let texts = |items: Vec<Item<'_>>| -> Vec<String> {
                        items.iter().map(|item| item.to_text().unwrap_or_default().into_owned()).collect()
                    };
                    let alone = texts(expression.evaluate(&context).expect("items"));
                    let shared = texts(expression.evaluate_in(&context, &session).expect("items"));
                    assert_eq!(alone, shared, "{}", expression.source());
                }
            }
        }
    }
}
