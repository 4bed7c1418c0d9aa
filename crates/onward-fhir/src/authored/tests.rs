//! What the authored resources say, read back as plain JSON.

use serde_json::Value;

use super::*;
use crate::itk::{RESPONSE_CODES, ResponseCode};
use crate::message::{Message, Response};
use crate::tree::Element;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// FHIR JSON has no nulls, empty objects, empty arrays or empty strings.
fn assert_nothing_is_empty(value: &Value, at: &str) {
    match value {
        Value::Null => panic!("null at {at}"),
        Value::String(text) => assert!(!text.is_empty(), "empty string at {at}"),
        Value::Array(items) => {
            assert!(!items.is_empty(), "empty array at {at}");
            for item in items {
                assert_nothing_is_empty(item, at);
            }
        }
        Value::Object(fields) => {
            assert!(!fields.is_empty(), "empty object at {at}");
            for (name, field) in fields {
                assert_nothing_is_empty(field, &format!("{at}.{name}"));
            }
        }
        _ => {}
    }
}

#[test]
fn outcome_carries_every_code() {
    for severity in Severity::ALL {
        for code in IssueCode::ALL {
            let issue = Issue {
                severity: *severity,
                code: *code,
                expression: Some("Bundle.type".to_owned()),
                diagnostics: "say \"message\"".to_owned(),
                itk_code: Some(20009),
            };
            let outcome = json(&operation_outcome(&[issue]));
            assert_nothing_is_empty(&outcome, "OperationOutcome");
            let issue = &outcome["issue"][0];
            assert_eq!(outcome["resourceType"], "OperationOutcome");
            assert_eq!((&issue["severity"], &issue["code"]), (&severity.as_str().into(), &code.as_str().into()));
            assert_eq!(issue["details"]["coding"][0]["code"], "20009");
            assert_eq!(issue["details"]["coding"][0]["display"], "Payload validation failure");
            assert_eq!(issue["expression"][0], "Bundle.type");
            assert_eq!(issue["diagnostics"], "say \"message\"");
        }
    }
}

#[test]
fn an_outcome_without_issues_says_so() {
    let outcome = json(&operation_outcome(&[]));
    assert_eq!(outcome["issue"][0]["severity"], "information");
    assert!(outcome["issue"][0].get("expression").is_none());
}

fn registration() -> TaskContent {
    TaskContent {
        id: "0b1".to_owned(),
        version: Some("3".to_owned()),
        last_updated: Some("2026-11-01T10:00:00.123Z".to_owned()),
        status: "requested".to_owned(),
        code: Some(Concept::coded(crate::systems::SNOMED_CT, "184047000", "Patient registration")),
        status_reason: Some(Concept::text("practice list is full")),
        focus: Some("Bundle/0b1".to_owned()),
        nhs_number: Some("9990000018".to_owned()),
        requester: Some(Organisation { ods: "RY6".to_owned(), name: None }),
        owner: Some(Organisation { ods: "A82608".to_owned(), name: Some("Covering practice".to_owned()) }),
        part_of: vec!["Task/0a0".to_owned()],
        authored_on: Some("2026-11-01".to_owned()),
        restriction_period: Some((Some("2026-11-02".to_owned()), Some("2026-12-01".to_owned()))),
        input: vec![Parameter {
            name: Concept::text("temporary address"),
            value: ParameterValue::Text("as in the summary".to_owned()),
        }],
        output: vec![Parameter {
            name: Concept::text("rendition"),
            value: ParameterValue::Reference("Bundle/0b1".to_owned()),
        }],
        ..TaskContent::default()
    }
}

#[test]
fn task_says_what_it_was_given() {
    let task = json(&task(&registration()).expect("a Task"));
    assert_nothing_is_empty(&task, "Task");
    assert_eq!(task["resourceType"], "Task");
    assert_eq!(task["intent"], "order");
    assert_eq!(task["meta"]["lastUpdated"], "2026-11-01T10:00:00.123Z", "the instant as given");
    assert_eq!(task["code"]["coding"][0]["code"], "184047000");
    assert_eq!(task["for"]["identifier"]["value"], "9990000018");
    assert!(task["for"].get("display").is_none(), "no name");
    assert_eq!(task["restriction"]["period"]["end"], "2026-12-01");
    assert_eq!(task["owner"]["identifier"]["system"], crate::systems::ODS_ORGANISATION);
    assert_eq!(task["partOf"][0]["reference"], "Task/0a0");
    assert_eq!(task["input"][0]["valueString"], "as in the summary");
    assert_eq!(task["output"][0]["valueReference"]["reference"], "Bundle/0b1");
}

#[test]
fn task_refuses_what_fhir_does_not_allow() {
    let with = |change: fn(&mut TaskContent)| {
        let mut content = registration();
        change(&mut content);
        task(&content)
    };
    assert_eq!(with(|c| c.status = "delivered".to_owned()), Err(AuthorError::Code("Task.status")));
    assert_eq!(with(|c| c.intent = "directive".to_owned()), Err(AuthorError::Code("Task.intent")));
    assert_eq!(with(|c| c.authored_on = Some("yesterday".to_owned())), Err(AuthorError::Time("Task.authoredOn")));
    assert_eq!(
        with(|c| c.last_updated = Some("2026-11-01".to_owned())),
        Err(AuthorError::Time("Task.meta.lastUpdated")),
        "an instant has a time"
    );
}

fn audit(pattern: AuditPattern) -> AuditContent {
    AuditContent {
        id: "a1".to_owned(),
        pattern,
        recorded: "2026-11-01T10:00:00Z".to_owned(),
        period: None,
        outcome: AuditOutcome::Success,
        outcome_description: None,
        agents: vec![
            AuditAgent {
                part: AgentPart::Client,
                name: "home-system".to_owned(),
                organisation: Some("VN6C2".to_owned()),
                account: Some("ada, uid 1001, signed in".to_owned()),
                requestor: true,
                role: Some("care-home".to_owned()),
                network: Network::Machine("home-system".to_owned()),
                policy: vec!["urn:uuid:jti".to_owned()],
            },
            AuditAgent {
                part: AgentPart::Server,
                name: "onward".to_owned(),
                organisation: None,
                account: None,
                requestor: false,
                role: None,
                network: Network::Uri("https://gateway.example".to_owned()),
                policy: Vec::new(),
            },
        ],
        observer: "onward".to_owned(),
        observer_ods: Some("X26".to_owned()),
        nhs_number: Some("9990000018".to_owned()),
        data: Some(AuditData {
            what: Touched::Reference("Bundle/b1".to_owned()),
            details: vec![("sha256".to_owned(), "00ff".to_owned())],
        }),
        transfer: Some("Task/t1".to_owned()),
        request_id: Some("c1ab3fba".to_owned()),
        query: None,
        basis: None,
    }
}

/// trust.md §4: type, action and the two DICOM roles of each pattern.
#[test]
fn audit_events_have_the_shapes_of_balp() {
    let roles = |event: &Value| {
        let role = |at: usize| event["agent"][at]["type"]["coding"][0]["code"].as_str().map(str::to_owned);
        (role(0).expect("client"), role(1).expect("server"))
    };
    let both = |client: &str, server: &str| (client.to_owned(), server.to_owned());
    for (pattern, kind, subtype, action, expected) in [
        (AuditPattern::Create, "rest", "create", "C", both("110153", "110152")),
        (AuditPattern::Read, "rest", "read", "R", both("110152", "110153")),
        (AuditPattern::Query, "rest", "search", "E", both("110153", "110152")),
        (AuditPattern::Update, "rest", "update", "U", both("110153", "110152")),
        (AuditPattern::Disclosure, "110106", "disclose", "R", both("110153", "110152")),
        (AuditPattern::Denial, "110113", "", "E", both("110153", "110152")),
        (AuditPattern::Authentication, "110114", "110122", "E", both("110153", "110152")),
        (AuditPattern::Activity, "110100", "", "E", both("110153", "110152")),
    ] {
        let event = json(&audit_event(&audit(pattern)).expect("an AuditEvent"));
        assert_nothing_is_empty(&event, "AuditEvent");
        assert_eq!(event["type"]["code"], kind, "{pattern:?}");
        assert_eq!(event["subtype"][0]["code"].as_str().unwrap_or(""), subtype, "{pattern:?}");
        let codes: Vec<&str> = [kind, subtype].into_iter().filter(|code| !code.is_empty()).collect();
        assert_eq!(type_codes(pattern), codes, "{pattern:?}");
        assert_eq!(event["action"], action, "{pattern:?}");
        assert_eq!(event["outcome"], "0", "{pattern:?}");
        assert_eq!(roles(&event), expected, "{pattern:?}");
        assert_eq!(event["agent"][0]["network"], serde_json::json!({ "address": "home-system", "type": "1" }));
        assert_eq!(event["agent"][1]["network"]["type"], "5");
        assert_eq!(event["agent"][0]["altId"], "ada, uid 1001, signed in");
        assert_eq!(event["agent"][0]["role"][0]["coding"][0]["code"], "care-home");
    }
}

/// BALP: "failures are recorded differently"; a disclosure is about a patient; a query holds the raw query.
#[test]
fn a_profile_is_claimed_only_where_it_holds() {
    let claimed = |content: &AuditContent| !json(&audit_event(content).expect("an AuditEvent"))["meta"].is_null();
    for pattern in [AuditPattern::Create, AuditPattern::Read, AuditPattern::Update] {
        let content = audit(pattern);
        assert!(claimed(&content), "{pattern:?}");
        assert!(!claimed(&AuditContent { outcome: AuditOutcome::MinorFailure, ..content.clone() }), "{pattern:?}");
        assert!(!claimed(&AuditContent { data: None, ..content }), "{pattern:?}");
    }
    assert!(!claimed(&audit(AuditPattern::Query)), "without its query");
    let disclosure = audit(AuditPattern::Disclosure);
    assert!(claimed(&disclosure));
    assert!(claimed(&AuditContent { outcome: AuditOutcome::SeriousFailure, ..disclosure.clone() }));
    assert!(!claimed(&AuditContent { nhs_number: None, ..disclosure }));
    for pattern in [AuditPattern::Denial, AuditPattern::Authentication, AuditPattern::Activity] {
        assert!(!claimed(&audit(pattern)), "{pattern:?}");
    }
}

#[test]
fn audit_entities_name_patient_data_and_request() {
    let mut content = audit(AuditPattern::Query);
    content.query = Some("Task?owner=VN6C2".to_owned());
    content.basis = Some((AuditPurpose::PatientRequest, "subject access".to_owned()));
    let event = json(&audit_event(&content).expect("an AuditEvent"));
    assert_eq!(event["purposeOfEvent"][0]["text"], "subject access");
    assert_eq!(event["purposeOfEvent"][0]["coding"][0]["code"], "PATRQT");
    let entities = event["entity"].as_array().expect("entities");
    let kinds: Vec<_> = entities.iter().map(|entity| entity["type"]["code"].as_str().expect("code")).collect();
    assert_eq!(kinds, ["1", "2", "Task", "2", "XrequestId"]);
    assert_eq!(entities[0]["what"]["identifier"]["value"], "9990000018");
    assert_eq!(entities[1]["detail"][0]["valueString"], "00ff");
    assert_eq!(entities[2]["what"]["reference"], "Task/t1");
    assert_eq!(entities[3]["query"], "VGFzaz9vd25lcj1WTjZDMg==");
    assert_eq!(entities[4]["what"]["identifier"]["value"], "c1ab3fba");
    assert_eq!(
        event["meta"]["profile"][0],
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientQuery"
    );
    content.recorded = "now".to_owned();
    assert_eq!(audit_event(&content), Err(AuthorError::Time("AuditEvent.recorded")));
}

#[test]
fn response_message_is_header_outcome_task() {
    let content = ResponseContent {
        message_id: "m1".to_owned(),
        header_id: "h1".to_owned(),
        outcome_id: "o1".to_owned(),
        original_header_id: "orig".to_owned(),
        ok: true,
        event: (crate::systems::R4_MESSAGE_EVENT.to_owned(), "document".to_owned()),
        issues: Vec::new(),
        task: Some(("https://gateway.example/fhir/R4/Task/0b1".to_owned(), task(&registration()).expect("a Task"))),
        source_endpoint: "https://gateway.example/fhir/R4/$process-message".to_owned(),
        sender_ods: None,
        destination_ods: Some("RY6".to_owned()),
        timestamp: "2026-11-01T10:00:00Z".to_owned(),
    };
    let message = json(&response_message(&content).expect("a message"));
    assert_nothing_is_empty(&message, "Bundle");
    let types: Vec<_> = message["entry"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["resource"]["resourceType"].as_str().expect("a type"))
        .collect();
    assert_eq!(types, ["MessageHeader", "OperationOutcome", "Task"]);
    let header = &message["entry"][0]["resource"];
    assert_eq!(header["response"]["identifier"], "orig");
    assert_eq!(header["response"]["code"], "ok");
    assert_eq!(header["response"]["details"]["reference"], message["entry"][1]["fullUrl"]);
    assert_eq!(header["focus"][0]["reference"], message["entry"][2]["fullUrl"]);
    assert_eq!(header["eventCoding"]["code"], "document");
    assert_eq!(header["destination"][0]["endpoint"], "urn:nhs-uk:addressing:ods:RY6");
    let refused = ResponseContent { ok: false, task: None, timestamp: "?".to_owned(), ..content };
    assert_eq!(response_message(&refused), Err(AuthorError::Time("Bundle.timestamp")));
}

#[test]
fn searchset_escapes_and_leaves_out_what_is_empty() {
    let empty = json(&searchset(&[], &[], Some(0)));
    assert_nothing_is_empty(&empty, "Bundle");
    assert_eq!(empty["total"], 0);
    let one = SearchEntry {
        full_url: "https://x/\"Task\"/1".to_owned(),
        resource: r#"{"resourceType":"Task","id":"1"}"#.to_owned(),
    };
    let found = json(&searchset(&[one], &[("next", "https://x/Task?after=\\".to_owned())], None));
    assert_eq!(found["entry"][0]["search"]["mode"], "match");
    assert_eq!(found["link"][0]["url"], "https://x/Task?after=\\");
    assert!(found.get("total").is_none());
}

#[test]
fn capability_statement_is_of_r4() {
    let content = CapabilityContent {
        version: "0.1.0".to_owned(),
        date: "2026-11-01".to_owned(),
        base_url: "https://gateway.example/fhir/R4".to_owned(),
    };
    let statement = json(&capability_statement(&content).expect("a statement"));
    assert_nothing_is_empty(&statement, "CapabilityStatement");
    assert_eq!(statement["fhirVersion"], "4.0.1");
    assert_eq!(statement["rest"][0]["resource"][0]["type"], "Task");
    assert_eq!(statement["rest"][0]["operation"][0]["name"], "process-message");
}

fn itk3(code: ResponseCode, original: &str) -> ItkResponse {
    ItkResponse {
        id: "6f2a1c3e-0c1f-4f7a-9d3e-111111111111".to_owned(),
        original_header_id: original.to_owned(),
        code,
        sender_reference: Some("ref-7".to_owned()),
        sender_ods: "X26".to_owned(),
        sender_name: "Onward".to_owned(),
        source_endpoint: "X26OT001".to_owned(),
        timestamp: "2026-11-01T10:00:00+00:00".to_owned(),
    }
}

/// Every code makes a message that our own reader understands as it was meant.
#[test]
fn itk3_responses_read_back() {
    for code in RESPONSE_CODES.iter().copied() {
        let tree = itk3_response(&itk3(code, "orig"));
        let message = Message::read(tree.root()).expect("a message");
        assert_eq!(message.known_event().map(|event| event.code), Some("ITK008M"));
        assert_eq!(message.header_id, Some("6f2a1c3e-0c1f-4f7a-9d3e-111111111111"));
        assert_ne!(message.message_id, message.header_id);
        assert_eq!(message.sender_ods, Some("X26"));
        assert_eq!(message.handling.business_ack, Some(false));
        assert_eq!(message.handling.infrastructure_ack, Some(false));
        assert_eq!(message.handling.sender_reference, Some("ref-7"));
        let response = Response::read(&message).expect("a response");
        assert_eq!(response.original_header_id, Some("orig"));
        assert_eq!((response.code, response.positive), (Some(code.code), code.positive));
        assert_eq!(response.level, Some(code.level));
        let outcome = message.bundle.of_type("OperationOutcome").next().expect("there");
        assert_eq!(outcome.all("issue").count(), 1);
        let details = message.header.at("response.details").and_then(|details| message.bundle.resolve(details));
        assert_eq!(details.and_then(Element::resource_type), Some("OperationOutcome"));
    }
}

#[test]
fn an_unreadable_message_is_answered_as_the_example_does() {
    let tree = itk3_response(&itk3(ResponseCode::of(10009).expect("known"), ""));
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(
        Response::read(&message).and_then(|response| response.original_header_id),
        Some("UNREADABLE-IN-ORIGINAL-MESSAGE")
    );
}
