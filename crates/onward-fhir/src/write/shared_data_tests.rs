//! Round trips of the real files in `shared/data`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

use crate::read::{self, Limits};
use crate::tree::{Element, Release, Tree};
use crate::write;

fn shared(folder: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(folder);
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "{folder} of the shared data is missing");
    eprintln!("SKIPPED: {folder} of the shared data is missing");
    None
}

fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let Some(root) = shared(folder) else { return Vec::new() };
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(&root).expect("below").to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    found.sort();
    found
}

/// The infoset of an XML text, by quick-xml alone: elements, attributes, text of narrative; no comments.
fn infoset(text: &str) -> Vec<String> {
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    let mut found = Vec::new();
    let mut in_narrative = 0;
    let mut run = String::new();
    loop {
        let (namespace, event) = reader.read_resolved_event().expect("well-formed");
        let xhtml = matches!(namespace, ResolveResult::Bound(bound) if bound.as_ref().ends_with("xhtml"));
        match &event {
            Event::Text(text) => run.push_str(&text.xml10_content()),
            Event::CData(text) => run.push_str(&text.xml10_content()),
            Event::GeneralRef(name) => match name.resolve_char_ref().expect("known") {
                Some(character) => run.push(character),
                None => {
                    run.push_str(quick_xml::escape::resolve_predefined_entity(&name.xml10_content()).expect("known"))
                }
            },
            Event::Comment(_) | Event::Decl(_) => {}
            Event::Start(_) | Event::End(_) | Event::Empty(_) | Event::Eof => {
                if in_narrative > 0 || !run.trim().is_empty() {
                    found.push(format!("text {run}"));
                }
                run.clear();
            }
            Event::DocType(_) | Event::PI(_) => panic!("not expected"),
        }
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let mut line = format!("open {} {}", if xhtml { "xhtml" } else { "fhir" }, tag.local_name().as_ref());
                let mut attributes = BTreeMap::new();
                for attribute in tag.attributes() {
                    let attribute = attribute.expect("well-formed");
                    let name = attribute.key.as_ref().to_owned();
                    if !name.starts_with("xmlns") && !name.ends_with("chemaLocation") {
                        let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).expect("resolves");
                        attributes.insert(name, value.into_owned());
                    }
                }
                line.push_str(&format!(" {attributes:?}"));
                found.push(line);
                if matches!(event, Event::Start(_)) {
                    in_narrative += usize::from(xhtml);
                } else {
                    found.push("close".to_owned());
                }
            }
            Event::End(_) => {
                found.push("close".to_owned());
                in_narrative -= usize::from(xhtml);
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

/// Where two lists first differ.
fn difference(left: &[String], right: &[String]) -> Option<String> {
    if left == right {
        return None;
    }
    let at = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    let near =
        |side: &[String]| side.get(at).map_or_else(|| "nothing".to_owned(), |line| line.chars().take(300).collect());
    Some(format!("item {at}: {:?} against {:?}", near(left), near(right)))
}

/// XML to JSON to XML: what was lost, if anything.
fn xml_json_xml(text: &str, release: Release) -> Result<(), String> {
    let limits = Limits::default();
    let first = read::xml(text, &limits).map_err(|error| format!("xml: {error}"))?;
    let json = write::json(first.root(), release);
    if let Some(loss) = json.losses.first() {
        return Err(format!("to JSON: {} {} ({} losses)", loss.path, loss.reason, json.losses.len()));
    }
    let second = read::json(&json.text, &limits).map_err(|error| format!("json: {error}"))?;
    let xml = write::xml(second.root(), release);
    if let Some(loss) = xml.losses.first() {
        return Err(format!("to XML: {} {} ({} losses)", loss.path, loss.reason, xml.losses.len()));
    }
    difference(&infoset(text), &infoset(&xml.text)).map_or(Ok(()), Err)
}

/// Runs a check over files and compares what fails with what is known to fail.
fn check(found: &[(String, String)], known: &[(&str, &str)], run: impl Fn(&str, &str) -> Result<(), String>) {
    let mut wrong = Vec::new();
    for (name, text) in found {
        let expected = known.iter().find(|(known, _)| known == name).map(|(_, reason)| *reason);
        match (run(name, text), expected) {
            (Ok(()), None) => {}
            (Err(reason), Some(expected)) if reason.contains(expected) => {}
            (outcome, expected) => wrong.push(format!("{name}: {outcome:?}, expected {expected:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), found.len(), wrong.join("\n"));
    for (name, _) in known {
        assert!(found.is_empty() || found.iter().any(|(file, _)| file == name), "{name} is not there");
    }
    eprintln!("{} files, {} with a known defect", found.len(), known.len());
}

#[test]
fn uk_core_examples_survive_json() {
    check(&files("uk-core-examples", "xml"), &[], |_, text| xml_json_xml(text, Release::R4));
}

#[test]
fn uk_core_definitions_survive_json() {
    let known = [
        // A stray "c" stands behind a display.
        ("codesystems/CodeSystem-UKCore-EthnicCategoryScotland.xml", "line 37, column 41: text outside of narrative"),
    ];
    check(&files("uk-core", "xml"), &known, |_, text| xml_json_xml(text, Release::R4));
}

#[test]
fn itk3_examples_survive_json() {
    check(&files("itk3-examples", "xml"), &[], |_, text| xml_json_xml(text, Release::Stu3));
}

#[test]
fn itk3_definitions_survive_json() {
    check(&files("itk3-definitions", "xml"), &[], |_, text| xml_json_xml(text, Release::Stu3));
}

/// Every value and resource with its place: what two trees must share, whatever the order of names.
fn facts(tree: &Tree<'_>) -> Vec<String> {
    fn walk(element: Element<'_, '_>, path: &str, out: &mut Vec<String>) {
        if element.value().is_some() || element.resource_type().is_some() {
            let value = element
                .value()
                .map(|value| if element.name() == "div" { infoset(value).join("\n") } else { value.to_owned() });
            out.push(format!("{path} {:?} {value:?}", element.resource_type()));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for child in element.children() {
            let count = counts.entry(child.name()).or_default();
            walk(child, &format!("{path}.{}[{count}]", child.name()), out);
            *count += 1;
        }
    }
    let mut found = Vec::new();
    walk(tree.root(), tree.root().name(), &mut found);
    found.sort();
    found
}

fn only_in(here: &Tree<'_>, there: &Tree<'_>) -> Vec<String> {
    let there = facts(there);
    facts(here).into_iter().filter(|fact| there.binary_search(fact).is_err()).collect()
}

fn same_facts(here: &Tree<'_>, there: &Tree<'_>) -> Result<(), String> {
    difference(&facts(here), &facts(there)).map_or(Ok(()), Err)
}

/// The pairs whose JSON lacks the `id` of every resource in an entry, and has `fhir_comments` (of DSTU2) for
/// the comments of the XML.
const PAIRS_WITHOUT_IDS: [&str; 17] = [
    "AdditionalDemographics",
    "AdmissionDetails",
    "AllergiesAndAdverseReactions",
    "AssessmentScales",
    "DevelopmentalSkills",
    "EarlyYearsProgress",
    "EducationalHistory",
    "ExaminationFindings",
    "IndividualRequirements",
    "MedicationAdministration",
    "MedicationStatement",
    "NewbornHearing",
    "Observation",
    "ParentGuardianorPersonalComment",
    "ProblemList",
    "SafetyAlerts",
    "SocialContextHousehold",
];

#[test]
fn stu3_pairs_agree() {
    let known = [
        (
            "DCH-BirthDetails-Bundle-Example-1.xml",
            // The JSON has "1" where FHIR demands 1.
            "resource.multipleBirthInteger stood as another JSON type than its own",
        ),
        (
            "DCH-ProfessionalContact-Professional-Bundle-Example-1.xml",
            // The XML has PractitionerRole.code before organization, against FHIR's order.
            "\"open fhir code {}\" against \"open fhir organization {}\"",
        ),
        // The JSON lacks a property name before a value.
        ("DCH-Referral-Bundle-Example-1.xml", "json: line 243, column 11: expected a property name"),
    ];
    check(&files("stu3-pairs", "xml"), &known, |name, text| {
        let limits = Limits::default();
        let pair = shared("stu3-pairs").expect("there").join(name).with_extension("json");
        let pair = std::fs::read_to_string(pair).map_err(|error| format!("no pair: {error}"))?;
        let from_xml = read::xml(text, &limits).map_err(|error| format!("xml: {error}"))?;
        let from_json = read::json(&pair, &limits).map_err(|error| format!("json: {error}"))?;
        xml_json_xml(text, Release::Stu3)?;
        let json = write::json(from_xml.root(), Release::Stu3);
        let converted = read::json(&json.text, &limits).map_err(|error| format!("json again: {error}"))?;
        let xml = write::xml(from_json.root(), Release::Stu3);
        let back = read::xml(&xml.text, &limits).map_err(|error| format!("xml again: {error}"))?;
        same_facts(&back, &from_json)?;
        if PAIRS_WITHOUT_IDS.iter().any(|stem| name.starts_with(&format!("DCH-{stem}-"))) {
            let lost = only_in(&converted, &from_json);
            let added = only_in(&from_json, &converted);
            assert!(
                !lost.is_empty() && lost.iter().all(|fact| fact.contains("].resource[0].id[0] None")),
                "{name}: {lost:?}"
            );
            assert!(added.iter().all(|fact| fact.contains(".fhir_comments[")), "{name}: {added:?}");
            return Ok(());
        }
        same_facts(&converted, &from_json)?;
        if let Some(loss) = xml.losses.first() {
            return Err(format!("to XML: {} {}", loss.path, loss.reason));
        }
        difference(&infoset(text), &infoset(&xml.text)).map_or(Ok(()), Err)
    });
}

/// The numbers of a JSON text as written.
fn number_lexemes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut in_string, mut escaped, mut number) = (false, false, String::new());
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if matches!(character, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')
            && (!number.is_empty() || !character.is_alphabetic())
        {
            number.push(character);
        } else if !number.is_empty() {
            found.push(std::mem::take(&mut number));
        }
        in_string = character == '"';
    }
    found.sort();
    found
}

/// JSON to JSON, and through XML to JSON where that claims to lose nothing.
fn json_json(text: &str, release: Release) -> Result<(), String> {
    let limits = Limits::default();
    let before: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("serde: {error}"))?;
    let tree = read::json(text, &limits).map_err(|error| format!("json: {error}"))?;
    for written in [write::json(tree.root(), release), write::json_pretty(tree.root(), release)] {
        if let Some(loss) = written.losses.first() {
            return Err(format!("to JSON: {} {}", loss.path, loss.reason));
        }
        let after: serde_json::Value =
            serde_json::from_str(&written.text).map_err(|error| format!("serde: {error}"))?;
        if before != after {
            return Err("the values differ".to_owned());
        }
        if number_lexemes(text) != number_lexemes(&written.text) {
            return Err("the numbers differ".to_owned());
        }
    }
    let xml = write::xml(tree.root(), release);
    let back = read::xml(&xml.text, &limits).map_err(|error| format!("xml again: {error}"))?;
    if xml.losses.is_empty() {
        same_facts(&tree, &back)?;
        let json = write::json(back.root(), release);
        let after: serde_json::Value = serde_json::from_str(&json.text).map_err(|error| format!("serde: {error}"))?;
        if json.losses.is_empty() && before != after {
            return Err("the values differ after XML".to_owned());
        }
    }
    Ok(())
}

#[test]
fn r4_examples_keep_everything() {
    check(&files("r4-examples", "json"), &[], |_, text| json_json(text, Release::R4));
}

#[test]
fn fhir_test_cases_keep_everything() {
    let known = [
        // `_given` is shorter than `given`: written with the null that makes them equally long.
        ("r4/examples/patient-name-extensions.json", "the values differ"),
        // One value where FHIR has an array (the Java validator: "must be a JSON Array"): written as an array.
        ("validator/cs-meta-profile.json", "the values differ"),
        ("validator/synthea.json", "the values differ"),
        // Refused, as the Java validator does.
        ("validator/bad-json-close-1.json", "expected `,` or `}`"),
        ("validator/bad-json-close-2.json", "expected `,` or `}`"),
        ("validator/bad-json-close-3.json", "expected `,` or `]`"),
        ("validator/empty-array.json", "an empty array"),
        ("validator/patient-hs-1.json", "null in given without content"),
        // XML in a file named JSON.
        ("validator/xml-bad-entities.json", "expected value at line 1 column 1"),
    ];
    check(&files("fhir-test-cases", "json"), &known, |_, text| json_json(text, Release::R4));
}
