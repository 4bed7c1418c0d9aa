//! Real NHS files: nothing lost, nothing that R4 does not know, references as they were.

use std::path::{Path, PathBuf};

use onward_fhir::{Element, Release, Tree, read, write};

use super::{convert, silently_lost, strangers};
use crate::convert::NoteKind;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// Names of what is rightly lost from the real files: `fhir_comments` is how JSON of FHIR DSTU2 carried XML
/// comments; it is no element of STU3 and says nothing to a recipient.
const EXPECTED_LOSSES: &[&str] = &["fhir_comments"];

/// Files that are not FHIR, as published: a property name is missing (line 243).
const UNREADABLE: &[&str] = &["DCH-Referral-Bundle-Example-1.json"];

fn files(folder: &str) -> Vec<PathBuf> {
    let Ok(listed) = std::fs::read_dir(Path::new(SHARED).join(folder)) else {
        assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "{folder} is required and not there");
        eprintln!("SKIPPED: the NHS examples of {folder} are not on this machine");
        return Vec::new();
    };
    let mut found: Vec<_> = listed.map(|entry| entry.expect("a readable folder").path()).collect();
    found.sort();
    assert!(found.len() > 20, "{folder} holds its files");
    found
}

fn parse(path: &Path, text: &'static str) -> Option<Tree<'static>> {
    let limits = read::Limits::default();
    let tree = if path.extension().is_some_and(|ext| ext == "json") {
        read::json(text, &limits)
    } else {
        read::xml(text, &limits)
    };
    let known = UNREADABLE.iter().any(|name| path.ends_with(name));
    assert_eq!(tree.is_err(), known, "{}: {:?}", path.display(), tree.err());
    tree.ok()
}

fn texts<'t>(element: Element<'t, '_>, name: &str) -> Vec<&'t str> {
    let mut found: Vec<_> =
        element.descendants().filter(|each| each.name() == name).filter_map(Element::value).collect();
    found.sort_unstable();
    found
}

fn infoset(element: Element<'_, '_>) -> Vec<(String, Option<String>)> {
    let mut all: Vec<_> = element.descendants().map(|each| (each.path(), each.value().map(str::to_owned))).collect();
    all.sort();
    all
}

fn judge(path: &Path) -> Vec<String> {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let mut text = std::fs::read_to_string(path).expect("a readable file");
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    let Some(source) = parse(path, Box::leak(text.into_boxed_str())) else { return Vec::new() };
    let (target, notes) = convert(&source);
    let (from, to) = (source.root(), target.root());
    let mut broken = strangers(to);
    broken.extend(silently_lost(from, to, &notes));
    let lost = notes.every.iter().filter(|(kind, _)| *kind == NoteKind::Lost).map(|(_, id)| source.element(*id));
    let surprising = lost.filter(|element| !EXPECTED_LOSSES.contains(&element.name()));
    broken.extend(surprising.map(|element| format!("lost {}", element.path())));
    for kept in ["fullUrl", "reference", "div", "data"] {
        let before =
            if kept == "data" { [texts(from, "data"), texts(from, "content")].concat() } else { texts(from, kept) };
        let after = texts(to, kept);
        // QuestionnaireResponse.questionnaire is a canonical, not a reference, in R4.
        if !before.iter().all(|each| after.contains(each) || texts(to, "questionnaire").contains(each)) {
            broken.push(format!("{kept} differs"));
        }
    }
    let json = write::json(to, Release::R4);
    let xml = write::xml(to, Release::R4);
    broken.extend(json.losses.iter().chain(&xml.losses).map(|loss| format!("{}: {}", loss.path, loss.reason)));
    let limits = read::Limits::default();
    let from_json = read::json(&json.text, &limits).expect("our JSON is read");
    let from_xml = read::xml(&xml.text, &limits).expect("our XML is read");
    if infoset(from_json.root()) != infoset(from_xml.root()) {
        broken.push("JSON and XML of the R4 resource differ".to_owned());
    }
    broken.iter_mut().for_each(|each| *each = format!("{name}: {each}"));
    broken
}

fn all_hold(folder: &str) {
    let broken: Vec<String> = files(folder).iter().flat_map(|path| judge(path)).collect();
    assert!(broken.is_empty(), "{}:\n{}", broken.len(), broken[..broken.len().min(60)].join("\n"));
}

#[test]
fn itk3_examples_become_r4_without_loss() {
    all_hold("itk3-examples");
}

#[test]
fn stu3_pairs_become_r4_without_loss() {
    all_hold("stu3-pairs");
}
