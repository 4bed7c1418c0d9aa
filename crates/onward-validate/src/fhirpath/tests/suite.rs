//! HL7's FHIRPath suite for R4, each test of it.

use std::collections::{BTreeMap, HashMap};

use onward_fhir::{Element, NodeId};
use regex::Regex;

use super::*;
use crate::fhirpath::Node;

/// The tests that we do not pass, and why.
const MISSES: &[(&str, &str)] = &[];

/// Knows the profiles of FHIR itself by their names.
struct Profiles;

impl Host for Profiles {
    fn conforms_to(&self, profile: &str, element: Element<'_, '_>, _: Option<&str>) -> Option<bool> {
        let name = profile.strip_prefix("http://hl7.org/fhir/StructureDefinition/")?;
        Some(element.is(name))
    }

    fn resolve(&self, reference: &str, from: Element<'_, '_>) -> Option<NodeId> {
        Alone.resolve(reference, from)
    }
}

struct Case {
    name: String,
    input: String,
    predicate: bool,
    expression: String,
    invalid: bool,
    outputs: Vec<(Option<String>, String)>,
    ordered: bool,
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

fn cases(suite: &str) -> Vec<Case> {
    let pattern = |text: &str| Regex::new(text).expect("a pattern");
    let suite = pattern("(?s)<!--.*?-->").replace_all(suite, "");
    let attribute = |attributes: &str, name: &str| {
        let mut words = attributes.split('"');
        while let (Some(before), Some(value)) = (words.next(), words.next()) {
            if before.trim() == format!("{name}=") {
                return Some(unescaped(value));
            }
        }
        None
    };
    let expression = pattern("(?s)<expression([^>]*)>(.*?)</expression>");
    let output = pattern("(?s)<output([^>]*)>(.*?)</output>");
    pattern("(?s)<test\\s([^>]*)>(.*?)</test>")
        .captures_iter(&suite)
        .map(|test| {
            let found = expression.captures(&test[2]).expect("a test has an expression");
            Case {
                name: attribute(&test[1], "name").expect("a test has a name"),
                input: attribute(&test[1], "inputfile").unwrap_or_else(|| "patient-example.xml".into()),
                predicate: attribute(&test[1], "predicate").as_deref() == Some("true"),
                ordered: attribute(&test[1], "ordered").as_deref() != Some("false"),
                expression: unescaped(&found[2]),
                invalid: attribute(&found[1], "invalid").is_some(),
                outputs: output
                    .captures_iter(&test[2])
                    .map(|output| (attribute(&output[1], "type"), unescaped(output[2].trim())))
                    .collect(),
            }
        })
        .collect()
}

/// What became of a case, where it is not what the suite wants.
fn miss(case: &Case, tree: &Tree<'_>) -> Option<String> {
    let expression = match Expression::compile(&case.expression) {
        Ok(expression) => expression,
        Err(_) if case.invalid => return None,
        Err(error) => return Some(format!("does not compile: {error}")),
    };
    let context = context(tree).with_host(&Profiles);
    let misuses = expression.check(tree.root().name(), Release::R4);
    match (misuses.is_empty(), case.invalid) {
        (false, true) => return None,
        (false, false) => return Some(format!("is condemned: {misuses:?}")),
        (true, _) => {}
    }
    if case.predicate {
        let wanted = case.outputs[0].1 == "true";
        return (expression.holds(&context) != Ok(wanted)).then(|| "the predicate is another".into());
    }
    let items = match (expression.evaluate(&context), case.invalid) {
        (Err(_), true) => return None,
        (Ok(_), true) => return Some("is invalid, and was evaluated".into()),
        (Err(error), false) => return Some(error.to_string()),
        (Ok(items), false) => items,
    };
    let mut found: Vec<_> = items.iter().map(shown).collect();
    let mut wanted: Vec<_> = case
        .outputs
        .iter()
        .enumerate()
        .map(|(at, (type_name, text))| {
            let text = text.strip_prefix("@T").or_else(|| text.strip_prefix('@')).unwrap_or(text);
            // Zero has no sign here.
            let text = if text == "-0.0" { "0.0" } else { text };
            let type_name = type_name.clone().or_else(|| found.get(at).map(|(name, _)| name.clone()));
            (type_name.unwrap_or_default(), text.to_owned())
        })
        .collect();
    if !case.ordered {
        found.sort();
        wanted.sort();
    }
    (found != wanted).then(|| format!("wanted {wanted:?}, found {found:?}"))
}

/// Type and text as the suite writes them.
fn shown(item: &Item<'_>) -> (String, String) {
    let type_name = item.type_name();
    let type_name = match item {
        Item::Node(Node { .. }) | Item::Quantity(_) => type_name.to_owned(),
        _ => type_name[..1].to_lowercase() + &type_name[1..],
    };
    (type_name, item.to_text().unwrap_or_default().into_owned())
}

#[test]
fn official_suite() {
    let Some(folder) = folder("fhir-test-cases/r4") else { return };
    let suite = std::fs::read_to_string(folder.join("fhirpath/tests-fhir-r4.xml")).expect("the suite");
    let cases = cases(&suite);
    assert_eq!(cases.len(), 935, "tests of the suite");
    let mut inputs = HashMap::new();
    for case in &cases {
        inputs.entry(&case.input).or_insert_with(|| {
            let text = std::fs::read_to_string(folder.join("examples").join(&case.input)).expect("an input");
            read(&text).into_owned()
        });
    }
    let misses: BTreeMap<&str, String> =
        cases.iter().filter_map(|case| Some((case.name.as_str(), miss(case, &inputs[&case.input])?))).collect();
    let (passed, all) = (cases.len() - misses.len(), cases.len());
    crate::engine::tests::page_says(&format!("FHIRPath: {passed} of the {all} tests of the official R4 suite pass"));
    let listed: BTreeMap<&str, &str> = MISSES.iter().copied().collect();
    let new: Vec<_> = misses.iter().filter(|(name, _)| !listed.contains_key(*name)).collect();
    assert!(new.is_empty(), "{} tests fail that are not listed: {new:#?}", new.len());
    let mended: Vec<_> = listed.keys().filter(|name| !misses.contains_key(*name)).collect();
    assert!(mended.is_empty(), "these pass and are listed as misses: {mended:?}");
}
