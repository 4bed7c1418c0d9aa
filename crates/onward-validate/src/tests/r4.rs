//! R4 messages: around a Binary, and with a nested document. What Onward authors is valid by the same rules.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onward_fhir::authored::{self, IssueCode};
use onward_fhir::read::{self, Limits};

use super::fixture::{NHS_NUMBER, document, judge};
use crate::{Findings, Policy, Severity, validate_document, validate_message, validate_resource};

fn errors(findings: &Findings) -> Vec<&str> {
    findings.iter().filter(|finding| finding.severity >= Severity::Error).map(|finding| finding.rule.as_ref()).collect()
}

/// The R4 draft frameworks' message around a document.
fn around_binary(document: &str, subject: &str, media_type: &str) -> String {
    let data = STANDARD.encode(document);
    format!(
        r#"{{"resourceType":"Bundle","identifier":{{"system":"https://tools.ietf.org/html/rfc4122","value":"m"}},
"type":"message","timestamp":"2026-11-01T10:00:00Z","entry":[
{{"fullUrl":"urn:uuid:h","resource":{{"resourceType":"MessageHeader",
"eventCoding":{{"system":"https://fhir.nhs.uk/CodeSystem/message-event","code":"document"}},
"sender":{{"identifier":{{"system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"RR8"}}}},
"source":{{"endpoint":"urn:nhs-uk:addressing:ods:RR8"}},"focus":[{{"reference":"urn:uuid:r"}}]}}}},
{{"fullUrl":"urn:uuid:r","resource":{{"resourceType":"DocumentReference","status":"current",
"subject":{{"identifier":{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"{subject}"}}}},
"content":[{{"attachment":{{"contentType":"{media_type}","url":"urn:uuid:b"}}}}]}}}},
{{"fullUrl":"urn:uuid:b","resource":{{"resourceType":"Binary","contentType":"{media_type}","data":"{data}"}}}}]}}"#
    )
}

fn judge_json(text: &str) -> Findings {
    validate_message(&read::json(text, &Limits::default()).expect("FHIR JSON"), &Policy::default())
}

const FHIR_XML: &str = "application/fhir+xml; fhirVersion=3.0";

#[test]
fn a_document_inside_a_binary_is_judged_like_any() {
    let findings = judge_json(&around_binary(&document(), NHS_NUMBER, FHIR_XML));
    assert_eq!(errors(&findings), [] as [&str; 0], "{findings:#?}");
    assert_eq!(findings.count(Severity::Warning), 0, "{findings:#?}");
    let broken = document().replace("<status value=\"final\"/>", "");
    let findings = judge_json(&around_binary(&broken, NHS_NUMBER, FHIR_XML));
    let found = findings.by_rule("composition-required").expect("found");
    assert_eq!(found.expression, "Bundle.entry[2].resource", "a place in the sender's text");
    assert!(found.line.is_some());
    assert!(found.diagnostics.starts_with("In the embedded document at Bundle.entry[0].resource, line "));
}

#[test]
fn the_reference_around_it_is_about_the_same_person() {
    let other = judge_json(&around_binary(&document(), "9000000009", FHIR_XML));
    assert_eq!(errors(&other), ["subject-mismatch"], "another person's number");
    let none = judge_json(&around_binary(&document(), "9990000019", FHIR_XML));
    assert!(!none.has_errors());
    assert!(none.by_rule("document-reference-subject").is_some(), "nobody's number");
}

#[test]
fn what_cannot_be_taken_out_is_said() {
    let unreadable = judge_json(&around_binary("<Bundle", NHS_NUMBER, FHIR_XML));
    assert_eq!(errors(&unreadable), ["embedded-document"]);
    let as_pdf = judge_json(&around_binary(&document(), NHS_NUMBER, "application/pdf"));
    assert!(errors(&as_pdf).contains(&"embedded-document"), "{:?}", errors(&as_pdf));
    let other = judge_json(&around_binary("<Patient xmlns=\"http://hl7.org/fhir\"/>", NHS_NUMBER, FHIR_XML));
    assert!(errors(&other).contains(&"document-composition"));
    let release = judge_json(&around_binary(&document(), NHS_NUMBER, "application/fhir+xml; fhirVersion=4.0"));
    assert!(release.by_rule("embedded-document-release").is_some());
}

/// The fixture's document in an R4 message: release by the header, R4's own rules.
fn nested(timestamp: &str) -> String {
    let document =
        document().replacen("<type value=\"document\"/>", &format!("<type value=\"document\"/>{timestamp}"), 1);
    let document = document.replace("STU3/", "");
    format!(
        "<Bundle xmlns=\"http://hl7.org/fhir\"><identifier><value value=\"m\"/></identifier><type value=\"message\"/>\
         <entry><fullUrl value=\"urn:uuid:h\"/><resource><MessageHeader><eventCoding><system value=\"https://fhir.nhs.uk/\
         CodeSystem/message-event\"/><code value=\"document\"/></eventCoding><sender><identifier><system value=\"https://\
         fhir.nhs.uk/Id/ods-organization-code\"/><value value=\"RR8\"/></identifier></sender><source><endpoint value=\"\
         urn:nhs-uk:addressing:ods:RR8\"/></source><focus><reference value=\"urn:uuid:d\"/></focus></MessageHeader>\
         </resource></entry><entry><fullUrl value=\"urn:uuid:d\"/><resource>{document}</resource></entry></Bundle>"
    )
}

#[test]
fn a_nested_r4_document_needs_its_timestamp() {
    let stamped = judge(&nested("<timestamp value=\"2026-11-01T10:00:00Z\"/>"));
    assert_eq!(errors(&stamped), [] as [&str; 0], "{stamped:#?}");
    assert_eq!(errors(&judge(&nested(""))), ["document-timestamp"]);
}

/// A document by itself has the document's rules and none of the message's.
#[test]
fn a_document_alone() {
    let text = document();
    let tree = read::xml(&text, &Limits::default()).expect("FHIR XML");
    assert_eq!(errors(&validate_document(tree.root(), &Policy::default())), [] as [&str; 0]);
    assert_eq!(errors(&validate_resource(&tree)), [] as [&str; 0]);
    let text = text.replace("887161000000102", "1");
    let tree = read::xml(&text, &Limits::default()).expect("FHIR XML");
    assert_eq!(errors(&validate_resource(&tree)), ["toc-mandatory-heading"]);
}

/// Any FHIR is judged as FHIR: what Onward would not carry is no error there.
#[test]
fn any_resource_is_judged_as_fhir() {
    let judge = |text: &str| validate_resource(&read::json(text, &Limits::default()).expect("FHIR JSON"));
    let video = judge(
        r#"{"resourceType":"Media","status":"completed","content":{"contentType":"video/mp4","url":"https://example.org/v"}}"#,
    );
    assert_eq!(errors(&video), [] as [&str; 0]);
    assert!(video.by_rule("attachment-url").is_some_and(|finding| finding.severity == Severity::Warning));
    let wrong_size = judge(
        r#"{"resourceType":"Media","status":"completed","content":{"contentType":"text/plain","size":3,"data":"aGk="}}"#,
    );
    assert_eq!(errors(&wrong_size), ["attachment-size"]);
    let dangling = judge(
        r##"{"resourceType":"Encounter","status":"finished","class":{"code":"IMP"},"subject":{"reference":"#p"},"partOf":{"reference":"Encounter/elsewhere"}}"##,
    );
    assert_eq!(errors(&dangling), ["reference-contained"]);
    let foreign = judge(
        r#"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520","resource":{"resourceType":"MessageHeader",
"eventUri":"urn:x","source":{"endpoint":"urn:x"}}}]}"#,
    );
    assert_eq!(errors(&foreign), [] as [&str; 0], "a message of another kind is not judged as a transfer of care");
}

/// What Onward writes with the generated model has only elements, types and forms that FHIR R4 knows.
#[test]
fn what_onward_authors_is_valid() {
    let issue = authored::Issue {
        severity: Severity::Error,
        code: IssueCode::Required,
        expression: Some("Bundle".to_owned()),
        diagnostics: "x".to_owned(),
        itk_code: Some(20009),
    };
    let task = authored::TaskContent {
        id: "t".to_owned(),
        status: "requested".to_owned(),
        last_updated: Some("2026-11-01T10:00:00Z".to_owned()),
        nhs_number: Some(NHS_NUMBER.to_owned()),
        owner: Some(authored::Organisation { ods: "A82608".to_owned(), name: None }),
        restriction_period: Some((Some("2026-11-01".to_owned()), None)),
        output: vec![authored::Parameter {
            name: authored::Concept::coded("http://snomed.info/sct", "184047000", "Patient registration"),
            value: authored::ParameterValue::Time("2026-11-01".to_owned()),
        }],
        ..authored::TaskContent::default()
    };
    let task = authored::task(&task).expect("a Task");
    let audit = authored::AuditContent {
        id: "a".to_owned(),
        pattern: authored::AuditPattern::Disclosure,
        recorded: "2026-11-01T10:00:00Z".to_owned(),
        period: Some(("2026-11-01T10:00:00Z".to_owned(), "2026-11-01T10:00:01Z".to_owned())),
        outcome: authored::AuditOutcome::Success,
        outcome_description: Some("x".to_owned()),
        agents: vec![authored::AuditAgent {
            part: authored::AgentPart::Client,
            name: "x".to_owned(),
            organisation: Some("RR8".to_owned()),
            account: Some("ada, uid 1001, signed in".to_owned()),
            requestor: true,
            role: Some("sender".to_owned()),
            network: authored::Network::Machine("x".to_owned()),
            policy: vec!["urn:uuid:c757873d-ec9a-4326-a141-556f43239520".to_owned()],
        }],
        observer: "onward".to_owned(),
        observer_ods: None,
        nhs_number: Some(NHS_NUMBER.to_owned()),
        data: Some(authored::AuditData {
            what: authored::Touched::Reference("Task/t".to_owned()),
            details: vec![("sha256".to_owned(), "00".to_owned())],
        }),
        transfer: Some("Task/t".to_owned()),
        request_id: Some("r".to_owned()),
        query: Some("q".to_owned()),
        basis: Some((authored::AuditPurpose::Treatment, "b".to_owned())),
    };
    let capability = authored::CapabilityContent {
        version: "0".to_owned(),
        date: "2026-11-01".to_owned(),
        base_url: "https://example.org/fhir/R4".to_owned(),
    };
    let response = authored::ResponseContent {
        message_id: "c757873d-ec9a-4326-a141-556f43239523".to_owned(),
        header_id: "c757873d-ec9a-4326-a141-556f43239521".to_owned(),
        outcome_id: "c757873d-ec9a-4326-a141-556f43239522".to_owned(),
        original_header_id: "orig".to_owned(),
        ok: false,
        event: ("https://fhir.nhs.uk/CodeSystem/message-event".to_owned(), "document".to_owned()),
        issues: vec![issue.clone()],
        task: Some(("https://example.org/fhir/R4/Task/t".to_owned(), task.clone())),
        source_endpoint: "https://example.org".to_owned(),
        sender_ods: Some("X26".to_owned()),
        destination_ods: Some("RR8".to_owned()),
        timestamp: "2026-11-01T10:00:00Z".to_owned(),
    };
    let found = authored::SearchEntry { full_url: "https://example.org/Task/t".to_owned(), resource: task.clone() };
    for text in [
        authored::operation_outcome(&[issue]),
        task,
        authored::audit_event(&audit).expect("an AuditEvent"),
        authored::capability_statement(&capability).expect("a CapabilityStatement"),
        authored::response_message(&response).expect("a message"),
        authored::searchset(&[found], &[("self", "https://example.org/Task".to_owned())], Some(1)),
    ] {
        let tree = read::json(&text, &Limits::default()).expect("FHIR JSON");
        let findings = validate_resource(&tree);
        let structural: Vec<_> = findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Error && !finding.rule.starts_with("response-"))
            .collect();
        assert!(structural.is_empty(), "{structural:#?}");
    }
}
