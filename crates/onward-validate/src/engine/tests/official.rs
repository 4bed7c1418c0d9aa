//! The official HL7 validator cases: is there any error, and where.

use std::collections::BTreeMap;
use std::path::Path;

use super::{folder, locations, text, tree};
use crate::conformance::Conformance;
use crate::{Findings, Severity, Validator};

/// Verdicts that differ from the HL7 validator's, each with its reason.
const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "ab-list-slicing:base",
        "a link of the narrative to an anchor that is not there: FHIR has no rule on it, and a reader loses nothing but the link",
    ),
    (
        "choice-gender-coding-async-qr:base",
        "a display that is not the code's: a warning here, since Coding.display is for people (R4 §4.1.2) and the code is right",
    ),
    ("mr-covid-mr1:base", "a MeasureReport against its Measure: not compared, which is no part of a transfer of care"),
    (
        "obs-vs-1:base",
        "an extension whose definition nobody gave: R4 §2.4 lets senders use any; it is told as not checked, and no error",
    ),
    (
        "toplevel-maxvalueduration-fail:profile",
        "maxValueDuration counts from today, which a judgement must not depend on; told as not compared",
    ),
    ("vs-bad-ecl-us:base", "an expression in SNOMED CT's query language: not parsed"),
];

struct Case<'a> {
    id: &'a str,
    file: &'a str,
    profile: Option<&'a str>,
    supporting: Vec<&'a str>,
    valid: bool,
    scope: &'a str,
    first_error: &'a str,
}

fn cases(table: &str) -> impl Iterator<Item = Case<'_>> {
    table.lines().skip(1).map(|row| row.split('\t').collect::<Vec<_>>()).filter(|cells| cells[13] == "1").map(|cells| {
        Case {
            id: cells[0],
            file: cells[1],
            profile: (cells[4] == "profile").then_some(cells[5]),
            supporting: cells[6].split(';').filter(|each| !each.is_empty()).collect(),
            valid: cells[8] == "1",
            scope: cells[9],
            first_error: cells[12],
        }
    })
}

/// What we found; nothing when the text could not be read, which is an error at its own place.
fn judged(case: &Case<'_>, folder: &Path, core: &Validator) -> Option<Findings> {
    let names: Vec<&str> = case.supporting.iter().copied().chain(case.profile).collect();
    let texts: Vec<String> = names.iter().map(|name| text(&folder.join(name))).collect();
    let asked = case.profile.map(|_| {
        let own = texts.last().expect("the profile's text");
        let own = tree(own).expect("a readable profile");
        own.root().text("url").expect("a profile has a url").to_owned()
    });
    let validator;
    let validator = if texts.is_empty() {
        core
    } else {
        let files = names.iter().copied().zip(texts.iter().map(String::as_bytes));
        validator = Validator::new(Conformance::core().with_resources(files).expect("readable definitions"));
        &validator
    };
    let source = text(&folder.join(case.file));
    let tree = tree(source.trim_start_matches('\u{feff}')).ok()?;
    Some(validator.validate(&tree, &asked.as_deref().into_iter().collect::<Vec<_>>()))
}

/// The verdicts agree with the HL7 validator's as far as the issue "The validator" asks, every disagreement is on the list, and
/// what is on the list is a disagreement.
#[test]
fn official_cases() {
    let Some(folder) = folder("fhir-test-cases") else { return };
    let table = text(&folder.join("cases.tsv"));
    let core = Validator::new(Conformance::core());
    let mut scopes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut disagreements, mut told, mut located, mut lost) = (Vec::new(), 0, 0, Vec::new());
    for case in cases(&table) {
        let findings = judged(&case, &folder, &core);
        let is_valid = findings.as_ref().is_some_and(|findings| !findings.has_errors());
        let (agreed, all) = scopes.entry(case.scope).or_default();
        *all += 1;
        if is_valid != case.valid {
            disagreements.push(case.id);
            continue;
        }
        *agreed += 1;
        let (false, Some(findings)) = (is_valid, findings) else { continue };
        let Some(fits) = locations::is_told_by(case.first_error, &findings) else { continue };
        told += 1;
        located += usize::from(fits);
        if !fits {
            lost.push(case.id);
        }
    }
    let page = include_str!("../../../VERDICTS.md");
    let figures = scopes.iter().map(|(scope, (agreed, all))| format!("| {scope} | {agreed} | {all} |"));
    for line in figures.chain([format!("in {located} of the {told} agreed invalid cases")]) {
        assert!(page.contains(&line), "VERDICTS.md does not say {line:?}");
    }
    let (agreed, all) = scopes.values().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    println!("agreement {agreed} of {all}, by scope {scopes:?}; first error located {located} of {told}, not {lost:?}");
    disagreements.sort_unstable();
    let expected: Vec<&str> = DISAGREEMENTS.iter().map(|(id, _)| *id).collect();
    assert_eq!(disagreements, expected);
    let core = scopes["core"];
    assert!(core.0 * 100 >= core.1 * 97, "core {core:?}");
    assert!(agreed * 100 >= all * 95, "{agreed} of {all}");
    assert!(located * 100 >= told * 80, "{located} of {told}, not {lost:?}");
    // A heuristic that judged few would prove little.
    assert!(told >= 60, "{told}");
}

/// Every finding says a rule, a place and what is wrong.
#[test]
fn findings_are_complete() {
    let Some(folder) = folder("fhir-test-cases") else { return };
    let table = text(&folder.join("cases.tsv"));
    let core = Validator::new(Conformance::core());
    for case in cases(&table).filter(|case| case.supporting.is_empty() && case.profile.is_none()) {
        for finding in judged(&case, &folder, &core).iter().flatten() {
            assert!(!finding.rule.is_empty() && finding.diagnostics.len() > 15, "{}: {finding:?}", case.id);
            assert!(finding.line.is_some() && !finding.expression.is_empty(), "{}: {finding:?}", case.id);
            assert!(finding.severity < Severity::Fatal, "{}", case.id);
        }
    }
}
