//! The package in `profiles/onward` holds together, and says what the code says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use onward_fhir::elements::{Table, table};
use onward_fhir::{DocumentKind, Element, Heading, Release, itk, systems};

use crate::conformance::*;

fn package() -> Conformance {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/onward"));
    Conformance::with_packages(&[path]).expect("our own package")
}

fn own(conformance: &Conformance, kind: Kind) -> impl Iterator<Item = &Source> {
    conformance.all(kind).filter(|source| *source.origin() != Origin::Core)
}

#[test]
fn it_is_whole() {
    let conformance = package();
    assert_eq!(conformance.notices(), []);
    let info = &conformance.packages()[0];
    assert_eq!((info.name.as_deref(), info.resources), (Some("onward.transfer-of-care"), 45));
    for source in [Kind::StructureDefinition, Kind::ValueSet, Kind::CodeSystem]
        .into_iter()
        .flat_map(|kind| own(&conformance, kind))
    {
        let Origin::Package { file, .. } = source.origin() else { panic!("{}", source.url()) };
        let tree = source.read().expect("read");
        let (id, resource_type) = (tree.root().text("id").expect("an id"), source.kind().resource_type());
        assert_eq!(source.url(), format!("https://onward.example/{resource_type}/{id}"));
        assert_eq!(**file, format!("{resource_type}-{id}.json"));
        assert_eq!(source.version(), info.version.as_deref(), "{id}");
        for element in tree.root().descendants() {
            let found = match element.name() {
                "baseDefinition" | "profile" | "targetProfile" => Kind::StructureDefinition,
                "valueSet" => Kind::ValueSet,
                _ => continue,
            };
            let canonical = element.value().expect("a URL");
            assert!(conformance.find(found, canonical).is_some(), "{id}: {canonical}");
        }
    }
    for source in own(&conformance, Kind::ValueSet) {
        let set = conformance.terminology().value_set(source.url()).expect("there");
        assert_eq!(set.unknown(), None, "{}", source.url());
    }
}

/// The type of the element at a path below a type; choices by their stem.
fn type_at<'t>(table: &'t Table, type_name: &str, path: &str) -> Option<&'t str> {
    let (mut at, mut known) = (table.type_def(type_name)?, None);
    for step in path.split('.') {
        let child = match step.strip_suffix("[x]") {
            Some(stem) => at.choice(stem).next()?,
            None => at.child(step)?,
        };
        known = Some(child.type_name);
        at = table.type_def(child.type_name)?;
    }
    known
}

#[test]
fn every_path_exists_and_every_slice_has_its_slicing() {
    let conformance = package();
    let r4 = table(Release::R4);
    for source in own(&conformance, Kind::StructureDefinition) {
        let tree = source.read().expect("read");
        let elements: Vec<Element<'_, '_>> = tree.root().at("differential").expect("one").all("element").collect();
        let mut ids = BTreeSet::new();
        for element in &elements[1..] {
            let (id, path) = (element.text("id").expect("an id"), element.text("path").expect("a path"));
            assert!(ids.insert(id), "{id} stands twice");
            let below = path.strip_prefix(&format!("{}.", source.type_name())).expect("a path of the type");
            assert!(type_at(r4, source.type_name(), below).is_some(), "{}: {path}", source.url());
            let without_slices: Vec<_> = id.split('.').map(|step| step.split(':').next().unwrap_or_default()).collect();
            assert_eq!(without_slices.join("."), path);
            if let Some(name) = element.text("sliceName") {
                assert!(id.ends_with(&format!(":{name}")), "{id}");
                let sliced =
                    elements.iter().find(|each| each.text("path") == Some(path) && each.get("slicing").is_some());
                assert!(sliced.is_some(), "{id} has no slicing");
            }
        }
    }
}

fn codes(conformance: &Conformance, value_set: &str, system: &str) -> BTreeSet<String> {
    let source =
        conformance.find(Kind::ValueSet, &format!("https://onward.example/ValueSet/{value_set}")).expect(value_set);
    let tree = source.read().expect("read");
    let compose = tree.root().get("compose").expect("one");
    let includes = compose.all("include").filter(|include| include.text("system") == Some(system));
    includes
        .flat_map(|include| include.all("concept"))
        .filter_map(|concept| concept.text("code"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_headings_are_those_of_the_code() {
    let conformance = package();
    let all = |of: fn(Heading) -> &'static str| Heading::ALL.iter().map(|heading| of(*heading).to_owned()).collect();
    let set = "record-standard-heading";
    let listed: BTreeSet<String> = codes(&conformance, set, systems::RECORD_STANDARD_HEADINGS);
    assert_eq!(listed, all(Heading::record_standard));
    assert_eq!(codes(&conformance, set, systems::SNOMED_CT), all(Heading::snomed));

    let url = "https://onward.example/StructureDefinition/transfer-composition";
    let tree = conformance.definition(url).expect("there").read().expect("read");
    let elements: Vec<_> = tree.root().at("differential").expect("one").all("element").collect();
    let mut demanded = BTreeSet::new();
    for slice in elements.iter().filter(|element| element.get("sliceName").is_some()) {
        assert_eq!((slice.text("min"), slice.text("max")), (Some("1"), Some("1")));
        let id = format!("{}.code", slice.text("id").expect("an id"));
        let code = elements.iter().find(|element| element.text("id") == Some(&id)).expect("its code");
        assert_eq!(code.text_at("patternCodeableConcept.coding.system"), Some(systems::RECORD_STANDARD_HEADINGS));
        demanded.insert(code.text_at("patternCodeableConcept.coding.code").expect("a code"));
    }
    assert_eq!(demanded, Heading::mandatory(DocumentKind::Discharge).map(Heading::record_standard).collect());
}

#[test]
fn the_events_are_those_of_the_code() {
    let conformance = package();
    let events = itk::EVENTS.iter().filter(|event| event.transfer_of_care).map(|event| event.code.to_owned());
    assert_eq!(codes(&conformance, "transfer-event", systems::ITK_MESSAGE_EVENT), events.collect());
    let ours = codes(&conformance, "transfer-event", systems::R4_MESSAGE_EVENT);
    assert_eq!(ours, BTreeSet::from(["document".to_owned()]));
}
