//! The rule file: what it demands, what it may change, and what nobody may.

use super::fixture::{judge, judge_by, message, with};
use crate::Severity::{Error, Warning};
use crate::{BUILT_IN_RULES, Policy, RuleBook};

/// A policy by the built-in file with these lines behind it, for one sender.
fn policy(lines: &str, sender: &str) -> Policy {
    let book = RuleBook::parse(&format!("{BUILT_IN_RULES}\n{lines}")).expect("a rule file");
    Policy { levels: book.levels_for(sender), rules: book.into(), ..Policy::default() }
}

#[test]
fn the_built_in_file_changes_no_level() {
    let book = RuleBook::parse(BUILT_IN_RULES).expect("a rule file");
    assert_eq!(book, *RuleBook::built_in());
    assert_eq!(book.levels_for("R9Z"), crate::Levels::default());
}

#[test]
fn a_sender_is_let_off_what_only_the_guide_demands() {
    let lacking = with("value=\"887161000000102\"", "value=\"1\"");
    let eased = policy("[senders.R9Z]\ntoc-mandatory-heading = \"warn\"", "R9Z");
    let finding =
        |policy: &Policy| judge_by(&lacking, policy).by_rule("toc-mandatory-heading").cloned().expect("found");
    assert_eq!(finding(&eased).severity, Warning);
    assert!(!judge_by(&lacking, &eased).has_errors());
    let other = policy("[senders.R9Z]\ntoc-mandatory-heading = \"warn\"", "RY6");
    assert_eq!(finding(&other).severity, Error, "another sender is not");
}

#[test]
fn a_warning_can_become_a_refusal_with_its_response_code() {
    let strict = policy("[senders.R9Z]\ncomposition-custodian = \"refuse\"\nheader-event-display = \"refuse\"", "R9Z");
    let lacking = with("<custodian><reference value=\"urn:uuid:trust\"/></custodian>", "");
    let found = judge_by(&lacking, &strict);
    assert_eq!(found.by_rule("composition-custodian").map(|f| (f.severity, f.itk_code)), Some((Error, Some(20009))));
    let lacking = with("<display value=\"Event\"/>", "");
    let found = judge_by(&lacking, &strict);
    assert_eq!(found.by_rule("header-event-display").map(|f| (f.severity, f.itk_code)), Some((Error, Some(20006))));
}

#[test]
fn a_file_that_cannot_be_meant_is_refused() {
    for (lines, problem) in [
        ("[senders.R9Z]\ntoc-profile-heading = \"warn\"", "toc-profile-heading"),
        ("[senders.R9Z]\nnhs-number-check-digit = \"warn\"", "nhs-number-check-digit"),
        ("[senders.R9Z]\ntoc-mandatory-heading = \"off\"", "unknown variant"),
        (
            "[[rule]]\nid = \"x\"\nclause = \"y\"\nresource = \"List\"\nrequired = [\"mod\"]\nlevel = \"warn\"\nitk_code = 20009",
            "List.mod",
        ),
        (
            "[[rule]]\nid = \"itk3-list\"\nclause = \"y\"\nresource = \"List\"\nlevel = \"warn\"\nitk_code = 20009",
            "twice",
        ),
    ] {
        let error = RuleBook::parse(&format!("{BUILT_IN_RULES}\n{lines}")).expect_err(lines).to_string();
        assert!(error.contains(problem), "{error}");
    }
}

/// Rule, what stands in the fixture, what it becomes.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    (
        "itk3-encounter",
        "<status value=\"finished\"/>",
        "<status value=\"finished\"/><class><code value=\"IMP\"/></class>",
    ),
    ("document-prohibited-element", "<type value=\"document\"/>", "<type value=\"document\"/><total value=\"1\"/>"),
];

#[test]
fn profile_rules_catch_their_deviation() {
    for (rule, from, to) in DEVIATIONS {
        let text = with(from, to);
        let found = judge(&text);
        assert_eq!(found.by_rule(rule).map(|finding| finding.severity), Some(Warning), "{rule}");
    }
    assert!(judge(&message()).iter().all(|finding| !finding.rule.starts_with("itk3-")));
}

/// Each kind of demand, on a List in the fixture's document.
#[test]
fn lists_are_held_against_their_profile() {
    let list = |inside: &str| {
        with(
            "<type value=\"document\"/>",
            &format!(
                "<type value=\"document\"/><entry><fullUrl value=\"urn:uuid:l\"/><resource><List>{inside}</List></resource></entry>"
            ),
        )
    };
    let code =
        "<code><coding><system value=\"http://snomed.info/sct\"/><code value=\"1102411000000102\"/></coding></code>";
    let subject = "<subject><reference value=\"urn:uuid:patient\"/></subject>";
    let identifier = "<identifier><value value=\"1\"/></identifier>";
    let told = |text: &str| -> Vec<String> {
        judge(text).iter().filter(|f| f.rule == "itk3-list").map(|f| f.diagnostics.clone()).collect()
    };
    let good = format!("{identifier}<status value=\"current\"/><mode value=\"snapshot\"/>{code}{subject}");
    assert_eq!(told(&list(&good)), [] as [&str; 0]);
    for (inside, part) in [
        (good.replace(identifier, ""), "demands identifier"),
        (good.replace(identifier, &identifier.repeat(2)), "allows identifier once"),
        (good.replace("snapshot", "working"), "demands snapshot in mode; found \"working\""),
        (good.replace("snomed.info/sct", "example.org"), "in code.coding.system"),
        (format!("{good}<note><text value=\"x\"/></note>"), "does not allow note"),
    ] {
        let told = told(&list(&inside));
        assert!(told.len() == 1 && told[0].contains(part), "{part}: {told:?}");
    }
    let dispensed = good.replace("1102411000000102", "163541000000107").replace(identifier, "");
    assert_eq!(told(&list(&dispensed)), [] as [&str; 0], "a list with a profile of its own");
}
