//! Response messages: what Onward writes passes, and each rule catches its mutation.

use onward_fhir::authored::{ItkResponse, itk3_response};
use onward_fhir::itk::RESPONSE_CODES;
use onward_fhir::itk::ResponseCode;
use onward_fhir::{Release, write};

use super::fixture::{judge, message, with};
use crate::Severity;

fn response(code: ResponseCode) -> String {
    let content = ItkResponse {
        id: "6f2a1c3e-0c1f-4f7a-9d3e-222222222222".to_owned(),
        original_header_id: "orig".to_owned(),
        code,
        sender_reference: None,
        sender_ods: "X26".to_owned(),
        sender_name: "Onward".to_owned(),
        source_endpoint: "X26OT001".to_owned(),
        timestamp: "2026-11-01T10:00:00+00:00".to_owned(),
    };
    write::xml(itk3_response(&content).root(), Release::Stu3).text
}

#[test]
fn every_response_that_onward_writes_passes() {
    for code in RESPONSE_CODES.iter().copied() {
        let findings = judge(&response(code));
        let worst = findings.worst();
        assert_eq!(worst, Some(Severity::Information), "{}: {findings:#?}", code.code);
        assert!(findings.by_rule("response-read").is_some());
    }
}

#[test]
fn every_mutation_of_a_response_is_caught() {
    let valid = response(ResponseCode::of(20013).expect("known"));
    let tag = |from: &str, to: &str| {
        let at = valid.find(from).unwrap_or_else(|| panic!("the response holds no {from}"));
        let end = at + valid[at..].find(to).expect("its end") + to.len();
        valid[at..end].to_owned()
    };
    let details = tag("<details><reference", "</details>");
    let whole = tag("<response>", "</response>");
    let issue = tag("<issue>", "</issue>");
    for (rule, from, to) in [
        ("response-missing", whole.as_str(), ""),
        ("response-identifier", "<identifier value=\"orig\"/>", ""),
        ("response-code", "<code value=\"ok\"/>", "<code value=\"fine\"/>"),
        ("response-details", details.as_str(), ""),
        ("response-one-issue", issue.as_str(), &issue.repeat(2)),
        ("response-code-unknown", "<code value=\"20013\"/>", "<code value=\"10006\"/>"),
    ] {
        assert!(valid.contains(from), "the response holds no {from}");
        let findings = judge(&valid.replacen(from, to, 1));
        assert_eq!(
            findings.by_rule(rule).map(|finding| finding.severity),
            Some(Severity::Error),
            "{rule}: {findings:#?}"
        );
    }
    let contradiction = judge(&valid.replacen("<code value=\"ok\"/>", "<code value=\"fatal-error\"/>", 1));
    assert_eq!(
        contradiction.by_rule("response-code-contradiction").map(|finding| finding.severity),
        Some(Severity::Warning)
    );
}

#[test]
fn empty_things_are_caught() {
    let empty = judge(&with("<period><start value=\"2026-10-20\"/>", "<length/><period><start value=\"2026-10-20\"/>"));
    assert!(empty.by_rule("element-empty").is_some_and(|finding| finding.severity == Severity::Error));
    let text = message();
    let (from, to) = (text.find("<section>").expect("there"), text.rfind("</section>").expect("there"));
    let none = judge(&format!("{}{}", &text[..from], &text[to + "</section>".len()..]));
    assert!(none.by_rule("composition-no-section").is_some_and(|finding| finding.severity == Severity::Error));
    let binary = "<Binary><id value=\"author\"/><contentType value=\"application/pdf\"/></Binary>";
    let bare = judge(&with("<Practitioner><id value=\"author\"/><active value=\"true\"/></Practitioner>", binary));
    assert!(bare.by_rule("attachment-empty").is_some_and(|finding| finding.itk_code == Some(20005)));
    let untyped = judge(&with(
        "<Practitioner><id value=\"author\"/><active value=\"true\"/></Practitioner>",
        "<Binary><id value=\"author\"/><content value=\"JVBERi0x\"/></Binary>",
    ));
    assert!(untyped.by_rule("attachment-media-type").is_some_and(|finding| finding.severity == Severity::Error));
}
