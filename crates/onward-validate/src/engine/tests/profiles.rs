//! Profiles without snapshot, each with an instance that fits and instances that do not.

use super::tree;
use crate::conformance::Conformance;
use crate::{Severity, Validator};

/// A profile of `type_name` with these elements.
fn profile(name: &str, type_name: &str, base: &str, elements: &str) -> String {
    format!(
        r#"{{"resourceType":"StructureDefinition","url":"http://example.org/{name}","name":"{name}","status":"draft",
        "kind":"resource","abstract":false,"type":"{type_name}","derivation":"constraint","baseDefinition":"{base}",
        "differential":{{"element":[{elements}]}}}}"#
    )
}

fn core(type_name: &str) -> String {
    format!("http://hl7.org/fhir/StructureDefinition/{type_name}")
}

fn validator(profiles: &[String]) -> Validator {
    let names: Vec<String> = (0..profiles.len()).map(|at| format!("{at}.json")).collect();
    let files = names.iter().zip(profiles).map(|(name, text)| (name.as_str(), text.as_bytes()));
    Validator::new(Conformance::core().with_resources(files).expect("readable definitions"))
}

/// The last words of the rules of all errors, without the profile.
fn errors(validator: &Validator, profile: &str, instance: &str) -> Vec<String> {
    let tree = tree(instance).expect("readable");
    let findings = validator.validate(&tree, &[&format!("http://example.org/{profile}")]);
    let rules = findings.iter().filter(|finding| finding.severity >= Severity::Error).map(|finding| &finding.rule);
    rules.map(|rule| rule.split_once('#').map_or(&**rule, |(_, rest)| rest).to_owned()).collect()
}

const NO: [&str; 0] = [];

fn patient(content: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{content}}}"#)
}

#[test]
fn slices_by_value_in_all_their_rules() {
    let sliced = |rules: &str| {
        format!(
            r#"{{"id":"Patient.identifier","path":"Patient.identifier","slicing":{{"discriminator":[{{"type":"value",
            "path":"system"}}],{rules}}}}},
            {{"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","min":1,"max":"1"}},
            {{"id":"Patient.identifier:a.system","path":"Patient.identifier.system","min":1,"fixedUri":"urn:a"}},
            {{"id":"Patient.identifier:b","path":"Patient.identifier","sliceName":"b"}},
            {{"id":"Patient.identifier:b.system","path":"Patient.identifier.system","min":1,"fixedUri":"urn:b"}},
            {{"id":"Patient.identifier:b.value","path":"Patient.identifier.value","min":1}}"#
        )
    };
    let of = |name: &str, rules: &str| profile(name, "Patient", &core("Patient"), &sliced(rules));
    let validator = validator(&[
        of("open", r#""rules":"open""#),
        of("closed", r#""rules":"closed""#),
        of("end", r#""rules":"openAtEnd""#),
        of("ordered", r#""ordered":true,"rules":"open""#),
    ]);
    let identifiers = |systems: &[&str]| {
        let each: Vec<String> =
            systems.iter().map(|system| format!(r#"{{"system":"urn:{system}","value":"1"}}"#)).collect();
        patient(&format!(r#""identifier":[{}]"#, each.join(",")))
    };
    for (name, systems, expected) in [
        ("open", &["a", "c", "b"][..], vec![]),
        ("open", &["c"], vec!["Patient.identifier:a min"]),
        ("open", &["a", "a"], vec!["Patient.identifier:a max"]),
        ("closed", &["a", "b"], vec![]),
        ("closed", &["a", "c"], vec!["Patient.identifier slicing-closed"]),
        ("end", &["a", "b", "c"], vec![]),
        ("end", &["a", "c", "b"], vec!["Patient.identifier slicing-order"]),
        ("ordered", &["a", "b"], vec![]),
        ("ordered", &["b", "a"], vec!["Patient.identifier slicing-order"]),
    ] {
        assert_eq!(errors(&validator, name, &identifiers(systems)), expected, "{name} {systems:?}");
    }
    // Of nothing, the mandatory slice is missing; in a slice, its own rules hold.
    assert_eq!(errors(&validator, "open", &patient(r#""active":true"#)), ["Patient.identifier:a min"]);
    let bare = patient(r#""identifier":[{"system":"urn:a"},{"system":"urn:b"}]"#);
    assert_eq!(errors(&validator, "open", &bare), ["Patient.identifier:b.value min"]);
}

#[test]
fn a_near_miss_says_what_differs() {
    let elements = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value",
        "path":"system"},{"type":"value","path":"use"}],"rules":"open"}},
        {"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","min":1},
        {"id":"Patient.identifier:a.system","path":"Patient.identifier.system","fixedUri":"urn:a"},
        {"id":"Patient.identifier:a.use","path":"Patient.identifier.use","fixedCode":"official"}"#;
    let validator = validator(&[profile("p", "Patient", &core("Patient"), elements)]);
    let text = patient(r#""identifier":[{"use":"official","system":"urn:b","value":"x"}]"#);
    let tree = tree(&text).expect("readable");
    let findings = validator.validate(&tree, &["http://example.org/p"]);
    let finding = findings.iter().find(|finding| finding.severity == Severity::Error).expect("an error");
    assert!(
        finding.diagnostics.contains("looks like it, but system differs: expected \"urn:a\""),
        "{}",
        finding.diagnostics
    );
}

#[test]
fn choices_by_type_and_their_short_names() {
    let short = r#"{"id":"Observation.valueQuantity","path":"Observation.valueQuantity","min":1},
        {"id":"Observation.valueQuantity.unit","path":"Observation.valueQuantity.unit","min":1}"#;
    let narrowed = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","type":[{"code":"string"}]}"#;
    let validator = validator(&[
        profile("short", "Observation", &core("Observation"), short),
        profile("narrowed", "Observation", &core("Observation"), narrowed),
    ]);
    let observation =
        |value: &str| format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}}{value}}}"#);
    let quantity = observation(r#","valueQuantity":{"value":1,"unit":"kg"}"#);
    assert_eq!(errors(&validator, "short", &quantity), NO);
    assert_eq!(errors(&validator, "short", &observation("")), ["Observation.value[x]:valueQuantity min"]);
    let unitless = observation(r#","valueQuantity":{"value":1}"#);
    assert_eq!(errors(&validator, "short", &unitless), ["Observation.value[x]:valueQuantity.unit min"]);
    assert_eq!(errors(&validator, "narrowed", &observation(r#","valueString":"x""#)), NO);
    assert_eq!(errors(&validator, "narrowed", &quantity), ["Observation.value[x] type"]);
}

#[test]
fn profiles_on_profiles_refine_inherited_slices() {
    let first = r#"{"id":"Patient.telecom","path":"Patient.telecom","slicing":{"discriminator":[{"type":"value","path":"system"}],
        "rules":"open"}},
        {"id":"Patient.telecom:phone","path":"Patient.telecom","sliceName":"phone"},
        {"id":"Patient.telecom:phone.system","path":"Patient.telecom.system","min":1,"fixedCode":"phone"}"#;
    // Nothing but the id tells that this is about the slice.
    let second = r#"{"id":"Patient.telecom:phone.value","path":"Patient.telecom.value","min":1},
        {"id":"Patient.telecom:phone/home","path":"Patient.telecom","sliceName":"phone/home","min":1},
        {"id":"Patient.telecom:phone/home.use","path":"Patient.telecom.use","min":1,"fixedCode":"home"},
        {"id":"Patient.telecom:phone","path":"Patient.telecom","sliceName":"phone","slicing":{"discriminator":[{"type":"value",
        "path":"use"}],"rules":"open"}}"#;
    let validator = validator(&[
        profile("first", "Patient", &core("Patient"), first),
        profile("second", "Patient", "http://example.org/first", second),
    ]);
    let home = patient(r#""telecom":[{"system":"phone","value":"1","use":"home"},{"system":"email"}]"#);
    assert_eq!(errors(&validator, "second", &home), NO);
    let work = patient(r#""telecom":[{"system":"phone","value":"1","use":"work"}]"#);
    assert_eq!(errors(&validator, "first", &work), NO);
    assert_eq!(errors(&validator, "second", &work), ["Patient.telecom:phone/home min"]);
    let empty = patient(r#""telecom":[{"system":"phone","use":"home"}]"#);
    assert_eq!(errors(&validator, "second", &empty), ["Patient.telecom:phone.value min"]);
}

#[test]
fn extensions_are_sliced_by_url_where_nobody_says_so() {
    let extension = r#"{"resourceType":"StructureDefinition","url":"http://example.org/ext","name":"E","status":"draft",
        "kind":"complex-type","abstract":false,"type":"Extension","derivation":"constraint",
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Extension","context":[{"type":"element","expression":"Patient"}],
        "differential":{"element":[{"id":"Extension.url","path":"Extension.url","fixedUri":"http://example.org/ext"},
        {"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"type":[{"code":"boolean"}]}]}}"#;
    let elements = r#"{"id":"Patient.extension:e","path":"Patient.extension","sliceName":"e","min":1,"max":"1","type":[{"code":"Extension",
        "profile":["http://example.org/ext"]}]}"#;
    let validator = validator(&[extension.to_owned(), profile("p", "Patient", &core("Patient"), elements)]);
    let extended = |value: &str| patient(&format!(r#""extension":[{{"url":"http://example.org/ext",{value}}}]"#));
    assert_eq!(errors(&validator, "p", &extended(r#""valueBoolean":true"#)), NO);
    assert_eq!(errors(&validator, "p", &extended(r#""valueString":"x""#)), ["Extension.value[x] type"]);
    assert_eq!(errors(&validator, "p", &patient(r#""active":true"#)), ["Patient.extension:e min"]);
    let misplaced = patient(
        r#""extension":[{"url":"http://example.org/ext","valueBoolean":true}],
        "name":[{"text":"x","extension":[{"url":"http://example.org/ext","valueBoolean":true}]}]"#,
    );
    assert_eq!(errors(&validator, "p", &misplaced), ["extension-context"]);
}

#[test]
fn content_references_and_exists() {
    let nested = r#"{"id":"Questionnaire.item","path":"Questionnaire.item","max":"1"},
        {"id":"Questionnaire.item.item","path":"Questionnaire.item.item","min":1},
        {"id":"Questionnaire.item.item.text","path":"Questionnaire.item.item.text","min":1}"#;
    let exists = r#"{"id":"Patient.contact","path":"Patient.contact","slicing":{"discriminator":[{"type":"exists","path":"name"}],
        "rules":"closed"}},
        {"id":"Patient.contact:named","path":"Patient.contact","sliceName":"named","min":1},
        {"id":"Patient.contact:named.name","path":"Patient.contact.name","min":1}"#;
    let validator = validator(&[
        profile("nested", "Questionnaire", &core("Questionnaire"), nested),
        profile("exists", "Patient", &core("Patient"), exists),
    ]);
    let question = |inner: &str| {
        format!(
            r#"{{"resourceType":"Questionnaire","status":"draft","item":[{{"linkId":"1","type":"group","text":"x","item":[{{
            "linkId":"2","type":"group"{inner},"item":[{{"linkId":"3","type":"string"}}]}}]}}]}}"#
        )
    };
    assert_eq!(errors(&validator, "nested", &question(r#","text":"x""#)), NO);
    assert_eq!(errors(&validator, "nested", &question("")), ["Questionnaire.item.item.text min"]);
    assert_eq!(errors(&validator, "exists", &patient(r#""contact":[{"name":{"text":"x"}}]"#)), NO);
    let nameless = patient(r#""contact":[{"gender":"male","telecom":[{"system":"phone","value":"1"}]}]"#);
    assert_eq!(
        errors(&validator, "exists", &nameless),
        ["Patient.contact slicing-closed", "Patient.contact:named min"]
    );
}

#[test]
fn what_cannot_be_laid_over_the_base_is_said() {
    let elements = r#"{"id":"Patient.nonsense","path":"Patient.nonsense","min":1}"#;
    let validator = validator(&[
        profile("odd", "Patient", &core("Patient"), elements),
        profile("orphan", "Patient", "http://example.org/nobody", elements),
        profile("loop", "Patient", "http://example.org/loop", elements),
    ]);
    let text = patient(r#""active":true"#);
    let tree = tree(&text).expect("readable");
    let odd = validator.validate(&tree, &["http://example.org/odd"]);
    assert!(odd.iter().any(|finding| finding.rule.ends_with("Patient.nonsense not-evaluated")), "{odd:?}");
    for name in ["orphan", "loop"] {
        assert_eq!(errors(&validator, name, &text), ["profile-unresolved"], "{name}");
    }
}

/// Extensions of FHIR stand where their contexts say, at any depth of elements that nest by reference.
#[test]
fn contexts_of_extensions() {
    let validator = validator(&[]);
    let judged = |text: &str| {
        let tree = tree(text).expect("readable");
        let findings = validator.validate(&tree, &[]);
        findings.by_rule("extension-context").map(|finding| finding.expression.clone())
    };
    let hidden =
        r#""extension":[{"url":"http://hl7.org/fhir/StructureDefinition/questionnaire-hidden","valueBoolean":true}]"#;
    let nested = format!(
        r#"{{"resourceType":"Questionnaire","status":"draft",HERE"item":[{{"linkId":"1","type":"group",{hidden},"item":[{{"linkId":"2",
        "type":"string",{hidden}}}]}}]}}"#
    );
    assert_eq!(judged(&nested.replace("HERE", "")), None);
    assert_eq!(judged(&nested.replace("HERE", &format!("{hidden},"))).as_deref(), Some("Questionnaire.extension[0]"));
    let absent = r#"{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}"#;
    let anywhere = patient(&format!(
        r#""_birthDate":{{"extension":[{absent}]}},"name":[{{"_family":{{"extension":[{absent}]}}}}]"#
    ));
    assert_eq!(judged(&anywhere), None);
    let part = r#"{"url":"http://hl7.org/fhir/StructureDefinition/iso21090-EN-qualifier","valueCode":"BR"}"#;
    let of_name = patient(&format!(r#""name":[{{"family":"x","_family":{{"extension":[{part}]}}}}]"#));
    assert_eq!(judged(&of_name), None);
    let of_address = patient(&format!(r#""address":[{{"city":"x","_city":{{"extension":[{part}]}}}}]"#));
    assert_eq!(judged(&of_address).as_deref(), Some("Patient.address.city.extension[0]"));
}

#[test]
fn ids_are_unique_where_references_name_them() {
    let rules = |text: &str| -> Vec<(Severity, String)> {
        let findings = Validator::core().validate(&tree(text).expect("readable"), &[]);
        let told = findings.iter().filter(|finding| finding.rule.ends_with("-duplicate"));
        told.map(|finding| (finding.severity, finding.rule.to_string())).collect()
    };
    let contained = |ids: [&str; 2]| {
        patient(&format!(
            r##""contained":[{{"resourceType":"Organization","id":"{}","name":"a"}},{{"resourceType":"Organization","id":"{}","name":"b"}}],
            "managingOrganization":{{"reference":"#{}"}},"generalPractitioner":[{{"reference":"#{}"}}]"##,
            ids[0], ids[1], ids[0], ids[1]
        ))
    };
    assert_eq!(rules(&contained(["a", "b"])), []);
    assert_eq!(rules(&contained(["a", "a"])), [(Severity::Error, "contained-id-duplicate".to_owned())]);
    let named = |ids: [&str; 2]| {
        patient(&format!(r#""name":[{{"id":"{}","family":"A"}},{{"id":"{}","family":"B"}}]"#, ids[0], ids[1]))
    };
    assert_eq!(rules(&named(["a", "b"])), []);
    assert_eq!(rules(&named(["a", "a"])), [(Severity::Warning, "element-id-duplicate".to_owned())]);
    let two = r#"{"resourceType":"Bundle","type":"collection","entry":[
        {"fullUrl":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520","resource":{"resourceType":"Patient","name":[{"id":"a","family":"A"}]}},
        {"fullUrl":"urn:uuid:c757873d-ec9a-4326-a141-556f43239521","resource":{"resourceType":"Patient","name":[{"id":"a","family":"A"}]}}]}"#;
    assert_eq!(rules(two), [], "each resource has its own");
}
