//! The hazard log (`tests/hazards.csv`, DCB0129): every hazard has its causes, controls and evidence, and the tests that it names are
//! there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use onward_tests::sources;

/// Severity by likelihood, as NHS England's clinical risk management standards rate a risk from 1 to 5.
const RATINGS: [&str; 5] = ["1", "2", "3", "4", "5"];
const COLUMNS: [&str; 9] = [
    "number",
    "hazard",
    "effect",
    "causes",
    "initial",
    "controls",
    "tests",
    "residual",
    "for the deploying organisation",
];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn log() -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(root().join("tests/hazards.csv")).expect("the hazard log");
    let headings: Vec<String> = reader.headers().expect("headings").iter().map(str::to_owned).collect();
    assert_eq!(headings, COLUMNS);
    reader.records().map(|record| record.expect("as many columns as headings")).collect()
}

#[test]
fn every_hazard_has_causes_controls_and_what_is_left() {
    let log = log();
    assert!(log.len() >= 27, "{} hazards", log.len());
    for (at, hazard) in log.iter().enumerate() {
        assert_eq!(&hazard[0], format!("H{}", at + 1), "numbered in order");
        assert!(hazard.iter().all(|cell| !cell.trim().is_empty()), "{}: a cell is empty", &hazard[0]);
        let (initial, residual) = (&hazard[4], &hazard[7]);
        assert!(RATINGS.contains(&initial) && RATINGS.contains(&residual), "{}: ratings", &hazard[0]);
        assert!(residual <= initial, "{}: a control does not make it worse", &hazard[0]);
    }
}

/// Whether the attributes right above the function make it a test.
fn is_test(content: &str, function: &str) -> bool {
    let Some((above, _)) = content.split_once(&format!("fn {function}(")) else { return false };
    // The last line is the function's own, up to its `fn`.
    let above = above.lines().rev().skip(usize::from(!above.ends_with('\n')));
    let own = above.take_while(|line| ["#[", "///", "//"].iter().any(|begin| line.trim_start().starts_with(begin)));
    own.into_iter()
        .any(|line| line.trim_start().starts_with("#[test]") || line.trim_start().starts_with("#[tokio::test"))
}

/// Whether the contract of the store runs it on both engines.
fn is_contract(file: &str, function: &str) -> bool {
    let contract = std::fs::read_to_string(root().join("crates/onward-store/src/contract.rs")).expect("the contract");
    file.starts_with("crates/onward-store/src/contract/") && contract.contains(&format!("            {function},\n"))
}

#[test]
fn what_is_no_test_is_no_evidence() {
    let content = "#[test]\nfn one() {}\n\n/// Words.\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn two() {}\n\nfn three() {}\n\n// #[test]\nfn four() {}\n";
    assert_eq!(
        ["one", "two", "three", "four", "five"].map(|name| is_test(content, name)),
        [true, true, false, false, false]
    );
    let contract = "crates/onward-store/src/contract/erasing.rs";
    assert!(is_contract(contract, "an_erasure_needs_two_people_and_yields_to_a_legal_hold"));
    assert!(
        !is_contract(contract, "settled")
            && !is_contract("tests/erasing.rs", "an_erased_person_is_gone_and_others_stay")
    );
}

/// A test is named `FILE#FUNCTION`; a mention of the name elsewhere proves nothing.
#[test]
fn every_test_that_a_control_names_exists() {
    for hazard in log() {
        for name in hazard[6].split("; ") {
            let (file, function) = name.split_once('#').unwrap_or_else(|| panic!("{}: {name}", &hazard[0]));
            let content = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            assert!(sources::defines(file, function), "{} names {name}, which is nowhere", &hazard[0]);
            let runs = is_test(&content, function) || is_contract(file, function);
            assert!(runs, "{}: {name} is no test that runs", &hazard[0]);
        }
    }
}

/// Each fault of the specification that a test covers is evidence for some hazard.
#[test]
fn tests_of_faults_are_evidence_of_a_hazard() {
    let named: BTreeSet<String> = log().iter().map(|hazard| hazard[6].to_owned()).collect();
    let named = named.into_iter().collect::<Vec<_>>().join("; ");
    let mut missing = Vec::new();
    let files = std::fs::read_dir(root().join("tests")).expect("a folder").map(|file| file.expect("a file").path());
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let content = std::fs::read_to_string(&file).expect("readable");
        let is_fault = |line: &&str| line.starts_with("async fn fault") || line.starts_with("fn fault");
        for line in content.lines().filter(is_fault) {
            let name = line.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).expect("a name").to_owned();
            if !named.contains(&format!("#{name}")) {
                missing.push(format!("{}#{name}", relative(&file)));
            }
        }
    }
    assert!(missing.is_empty(), "no hazard names {missing:?}");
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
