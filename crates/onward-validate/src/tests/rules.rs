//! Each rule catches its mutation, at its place, and only errors refuse.

use super::fixture::{NARRATIVE, NHS_NUMBER, document, judge, judge_by, message, with, wrap_document};
use crate::Severity::{Error, Information, Warning};
use crate::{Findings, NhsNumberPolicy, Policy, Severity};
use onward_fhir::authored::{Issue, IssueCode};
use onward_fhir::read::{self, Limits};

fn rules(findings: &Findings) -> Vec<(&str, Severity)> {
    findings
        .iter()
        .filter(|finding| finding.severity > Information)
        .map(|finding| (finding.rule.as_ref(), finding.severity))
        .collect()
}

#[test]
fn the_valid_message_passes_without_a_warning() {
    let findings = judge(&message());
    assert_eq!(rules(&findings), [], "{findings:#?}");
    assert!(findings.by_rule("not-evaluated").is_some(), "what is not evaluated is said");
    assert_eq!(findings.worst(), Some(Information));
    assert_eq!(findings.itk_code(), None);
}

/// Rule, severity, text of the fixture, what it becomes. The rule is found, no other error with it.
const MUTATIONS: &[(&str, Severity, &str, &str)] = &[
    ("message-type", Error, "<type value=\"message\"/>", "<type value=\"collection\"/>"),
    (
        "message-entry-resource",
        Error,
        "<type value=\"message\"/>",
        "<type value=\"message\"/><entry><fullUrl value=\"urn:uuid:e\"/></entry>",
    ),
    ("message-identifier", Error, "<value value=\"message-1\"/>", ""),
    (
        "message-prohibited-element",
        Warning,
        "<type value=\"message\"/>",
        "<type value=\"message\"/><total value=\"3\"/>",
    ),
    ("header-event", Error, "<code value=\"ITK003D\"/>", ""),
    ("header-event-unknown", Error, "value=\"ITK003D\"", "value=\"ITK999X\""),
    ("header-event-not-taken", Error, "value=\"ITK003D\"", "value=\"ITK012M\""),
    ("header-event-display", Warning, "<display value=\"Event\"/>", ""),
    ("itk3-header-handling", Error, "Extension-ITK-MessageHandling-2", "Extension-Other-1"),
    (
        "itk3-handling-business-ack",
        Error,
        "url=\"BusAckRequested\"><valueBoolean",
        "url=\"BusAckRequested\"><valueString",
    ),
    ("itk3-handling-infrastructure-ack", Error, "url=\"InfAckRequested\"", "url=\"InfAck\""),
    ("itk3-handling-recipient-type", Error, "<code value=\"FA\"/>", "<code value=\"FX\"/>"),
    ("itk3-handling-message-definition", Error, "url=\"MessageDefinition\"", "url=\"Definition\""),
    (
        "itk3-handling-sender-reference",
        Error,
        "url=\"SenderReference\"><valueString value=\"None\"/>",
        "url=\"SenderReference\"><valueBoolean value=\"true\"/>",
    ),
    ("itk3-handling-local-extension", Error, "url=\"LocalExtension\"", "url=\"SenderReference2\""),
    ("itk3-message-definition-stale", Warning, "ITK-eDischarge-MessageDefinition-4", "ITK-EDIS-MessageDefinition-1"),
    (
        "itk3-header-prohibited",
        Warning,
        "<timestamp",
        "<author><reference value=\"urn:uuid:sender\"/></author><timestamp",
    ),
    ("header-sender", Error, "<sender><reference value=\"urn:uuid:sender\"/></sender>", ""),
    ("header-sender-organisation", Warning, "https://fhir.nhs.uk/Id/ods-organization-code", "https://example.org/code"),
    ("header-source-endpoint", Error, "<endpoint value=\"RY6HC001\"/>", "<name value=\"x\"/>"),
    ("header-timestamp", Error, "<timestamp value=\"2026-11-01T10:01:00+00:00\"/>", ""),
    (
        "header-focus",
        Error,
        "<focus><reference value=\"urn:uuid:payload\"/></focus>",
        "<focus><reference value=\"urn:uuid:none\"/></focus>",
    ),
    (
        "header-focus-document",
        Error,
        "<focus><reference value=\"urn:uuid:payload\"/></focus>",
        "<focus><reference value=\"urn:uuid:sender\"/></focus>",
    ),
    ("header-one-focus", Warning, "</focus>", "</focus><focus><reference value=\"urn:uuid:payload\"/></focus>"),
    ("document-type", Error, "<type value=\"document\"/>", "<type value=\"collection\"/>"),
    ("document-identifier", Error, "<value value=\"document-1\"/>", ""),
    (
        "document-entry-resource",
        Error,
        "<type value=\"document\"/>",
        "<type value=\"document\"/><entry><fullUrl value=\"urn:uuid:e\"/></entry>",
    ),
    ("composition-required", Error, "<title value=\"Cardiology Discharge Summary\"/>", ""),
    ("composition-required", Error, "<date value=\"2026-11-01T10:00:00Z\"/>", ""),
    ("composition-required", Error, "<author><reference value=\"urn:uuid:author\"/></author>", ""),
    ("composition-required", Error, "<status value=\"final\"/>", ""),
    ("composition-status", Error, "<status value=\"final\"/>", "<status value=\"preliminary\"/>"),
    ("composition-identifier", Error, "<value value=\"set-1\"/>", ""),
    ("composition-custodian", Warning, "<custodian><reference value=\"urn:uuid:trust\"/></custodian>", ""),
    ("composition-care-setting", Warning, "Extension-CareConnect-CareSettingType-1", "Extension-Other-1"),
    ("composition-type", Warning, "value=\"373942005\"", "value=\"823681000000100\""),
    ("composition-prohibited", Warning, "<custodian>", "<confidentiality value=\"N\"/><custodian>"),
    (
        "composition-relates-to",
        Warning,
        "<section>",
        "<relatesTo><code value=\"appends\"/><targetIdentifier><value value=\"p\"/></targetIdentifier></relatesTo><section>",
    ),
    ("document-replacement-target", Error, "<section>", "<relatesTo><code value=\"replaces\"/></relatesTo><section>"),
    ("event-document-mismatch", Warning, "value=\"ITK003D\"", "value=\"ITK006D\""),
    ("toc-mandatory-heading", Error, "value=\"887161000000102\"", "value=\"1\""),
    (
        "section-heading-unknown",
        Warning,
        "</section>",
        "</section><section><title value=\"X\"/><text><status value=\"generated\"/><div xmlns=\"http://www.w3.org/1999/xhtml\">x</div></text></section>",
    ),
    ("section-title-mismatch", Warning, "<title value=\"Diagnoses\"/>", "<title value=\"Medicines\"/>"),
    (
        "section-text",
        Error,
        "<text><status value=\"generated\"/><div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Words.</p></div></text>",
        "",
    ),
    ("section-text-empty", Error, NARRATIVE, "<p> &#160; </p>"),
    ("section-prohibited", Warning, "</section>", "<mode value=\"working\"/></section>"),
    ("section-entry", Warning, "<entry><reference value=\"urn:uuid:practice\"/></entry>", ""),
    ("encounter-discharge-time", Warning, "<end value=\"2026-11-01T09:30:00+00:00\"/>", ""),
    (
        "composition-subject",
        Error,
        "<subject><reference value=\"urn:uuid:patient\"/>",
        "<subject><reference value=\"urn:uuid:trust\"/>",
    ),
    ("nhs-number-shape", Error, NHS_NUMBER, "999 000 0018"),
    ("nhs-number-check-digit", Error, NHS_NUMBER, "9990000019"),
    ("nhs-number-missing", Warning, "https://fhir.nhs.uk/Id/nhs-number", "https://example.org/number"),
    ("nhs-number-verification", Warning, "NHSNumberVerificationStatus-1", "Other-1"),
    (
        "nhs-number-two",
        Error,
        "<name><use value=\"official\"/>",
        "<identifier><system value=\"https://fhir.nhs.uk/Id/nhs-number\"/><value value=\"9000000009\"/></identifier><name><use value=\"official\"/>",
    ),
    ("patient-name", Warning, "<name><use value=\"official\"/><family value=\"Testpatient\"/></name>", ""),
    ("patient-birth-date", Warning, "<birthDate value=\"1940-01-02\"/>", ""),
    (
        "subject-mismatch",
        Error,
        "<status value=\"finished\"/><subject><reference value=\"urn:uuid:patient\"/>",
        "<status value=\"finished\"/><subject><identifier><system value=\"https://fhir.nhs.uk/Id/nhs-number\"/><value value=\"9000000009\"/></identifier>",
    ),
    (
        "subject-mismatch",
        Error,
        "</subject>",
        "<identifier><system value=\"https://fhir.nhs.uk/Id/nhs-number\"/><value value=\"9000000009\"/></identifier></subject>",
    ),
    (
        "reference-unresolved",
        Error,
        "<author><reference value=\"urn:uuid:author\"/>",
        "<author><reference value=\"urn:uuid:nobody\"/>",
    ),
    (
        "reference-external",
        Error,
        "<author><reference value=\"urn:uuid:author\"/>",
        "<author><reference value=\"http://169.254.169.254/latest\"/>",
    ),
    (
        "reference-contained",
        Error,
        "<author><reference value=\"urn:uuid:author\"/>",
        "<author><reference value=\"#nobody\"/>",
    ),
    ("full-url-duplicate", Error, "<fullUrl value=\"urn:uuid:trust\"/>", "<fullUrl value=\"urn:uuid:author\"/>"),
    ("resource-id-duplicate", Error, "<id value=\"trust\"/>", "<id value=\"practice\"/>"),
    ("full-url-missing", Warning, "<entry><fullUrl value=\"urn:uuid:header\"/>", "<entry>"),
    (
        "nested-bundle",
        Error,
        "<Practitioner><id value=\"author\"/><active value=\"true\"/></Practitioner>",
        "<Bundle><type value=\"collection\"/></Bundle>",
    ),
    (
        "contained-nested",
        Error,
        "<active value=\"true\"/>",
        "<contained><Organization><id value=\"a\"/><contained><Organization><id value=\"b\"/><active value=\"true\"/></Organization></contained></Organization></contained><active value=\"true\"/>",
    ),
    (
        "contained-id",
        Error,
        "<active value=\"true\"/>",
        "<contained><Organization><active value=\"true\"/></Organization></contained><active value=\"true\"/>",
    ),
    (
        "contained-loop",
        Error,
        "<active value=\"true\"/>",
        "<contained><Organization><id value=\"a\"/><partOf><reference value=\"#b\"/></partOf></Organization></contained><contained><Organization><id value=\"b\"/><partOf><reference value=\"#a\"/></partOf></Organization></contained><active value=\"true\"/>",
    ),
    ("id-form", Error, "<id value=\"encounter\"/>", "<id value=\"enc ounter\"/>"),
    ("date-implausible", Error, "1940-01-02", "9999-12-31"),
    ("date-implausible", Error, "1940-01-02", "0001-01-01"),
    ("date-form", Error, "1940-01-02", "02/01/1940"),
    ("primitive-form", Error, "<active value=\"true\"/>", "<active value=\"TRUE\"/>"),
    ("element-unknown", Error, "<birthDate", "<dateOfBirth value=\"x\"/><birthDate"),
    (
        "element-repeated",
        Error,
        "<birthDate value=\"1940-01-02\"/>",
        "<birthDate value=\"1940-01-02\"/><birthDate value=\"1940-01-03\"/>",
    ),
    (
        "choice-repeated",
        Error,
        "<birthDate value=\"1940-01-02\"/>",
        "<birthDate value=\"1940-01-02\"/><deceasedBoolean value=\"true\"/><deceasedDateTime value=\"2026-01-01\"/>",
    ),
    (
        "resource-type-unknown",
        Error,
        "<Practitioner><id value=\"author\"/><active value=\"true\"/></Practitioner>",
        "<Wizard><id value=\"author\"/></Wizard>",
    ),
    ("identifier-invisible", Error, "value=\"set-1\"", "value=\"set\u{200b}-1\""),
    ("identifier-invisible", Error, "value=\"set-1\"", "value=\"\u{202e}set-1\""),
    (
        "modifier-extension",
        Error,
        "<active value=\"true\"/>",
        "<modifierExtension url=\"https://example.org/not\"><valueBoolean value=\"true\"/></modifierExtension><active value=\"true\"/>",
    ),
    (
        "implicit-rules",
        Warning,
        "<id value=\"author\"/>",
        "<id value=\"author\"/><implicitRules value=\"https://example.org/rules\"/>",
    ),
    ("narrative-element", Warning, NARRATIVE, "<font>x</font>"),
];

#[test]
fn every_mutation_is_caught_by_its_rule() {
    for (rule, severity, from, to) in MUTATIONS {
        let findings = judge(&with(from, to));
        let found = findings.by_rule(rule).unwrap_or_else(|| panic!("{rule} missed {to}: {:?}", rules(&findings)));
        assert_eq!(found.severity, *severity, "{rule}");
        assert!(found.line.is_some() && found.column.is_some(), "{rule} has no place in the text");
        assert!(found.expression.starts_with("Bundle"), "{rule}: {}", found.expression);
        assert_eq!(findings.has_errors(), *severity == Error, "{rule}: {:?}", rules(&findings));
        if *severity == Error {
            assert!(findings.itk_code().is_some(), "{rule} gives no ITK code");
        }
    }
}

#[test]
fn parts_of_the_handling_extension_have_their_own_response_codes() {
    for (part, code) in [
        ("BusAckRequested", 10003),
        ("InfAckRequested", 10002),
        ("RecipientType", 10010),
        ("MessageDefinition", 10004),
        ("SenderReference", 10007),
        ("LocalExtension", 10001),
    ] {
        let findings = judge(&with(&format!("url=\"{part}\""), "url=\"Gone\""));
        assert_eq!(findings.itk_code(), Some(code), "{part}");
        assert_eq!(findings.count(Error), 1, "{part}: {:?}", rules(&findings));
    }
}

#[test]
fn a_sender_reference_is_not_longer_than_255() {
    let long = "x".repeat(256);
    let of = |text: &str| {
        judge(&with(
            "url=\"SenderReference\"><valueString value=\"None\"/>",
            &format!("url=\"SenderReference\"><valueString value=\"{text}\"/>"),
        ))
    };
    assert!(of(&long).by_rule("itk3-handling-sender-reference").is_some());
    assert!(of(&long[1..]).by_rule("itk3-handling-sender-reference").is_none());
}

#[test]
fn each_mandatory_heading_is_missed_by_its_name() {
    use onward_fhir::heading::{DocumentKind, Heading};
    for heading in Heading::mandatory(DocumentKind::Discharge) {
        let findings = judge(&with(&format!("value=\"{}\"", heading.snomed()), "value=\"1\""));
        let enforced = matches!(heading, Heading::Allergies | Heading::PatientDemographics);
        let rule = if enforced { "toc-profile-heading" } else { "toc-mandatory-heading" };
        let missing: Vec<_> = findings.iter().filter(|finding| finding.rule == rule).collect();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].diagnostics.contains(heading.display()), "{}", missing[0].diagnostics);
        assert_eq!(missing[0].itk_code, Some(20009));
    }
}

#[test]
fn the_policy_decides_between_refusal_and_hold() {
    let hold = Policy { nhs_number: NhsNumberPolicy::Hold, ..Policy::default() };
    for (value, rule) in [("9990000019", "nhs-number-check-digit"), ("999000001", "nhs-number-shape")] {
        let findings = judge_by(&with(NHS_NUMBER, value), &hold);
        assert!(!findings.has_errors(), "{:?}", rules(&findings));
        assert_eq!(findings.by_rule(rule).map(|finding| finding.severity), Some(Warning));
    }
}

#[test]
fn sizes_are_looked_at_first() {
    let small = Policy { bytes_max: 1000, ..Policy::default() };
    let findings = judge_by(&message(), &small);
    assert_eq!(rules(&findings), [("message-too-large", Error)]);
    assert_eq!(findings.itk_code(), Some(20015));
    let few = Policy { entries_max: 8, ..Policy::default() };
    assert_eq!(rules(&judge_by(&message(), &few)), [("message-too-many-entries", Error)]);
    let enough = Policy { entries_max: 9, ..Policy::default() };
    assert_eq!(rules(&judge_by(&message(), &enough)), []);
}

#[test]
fn the_header_comes_first_and_alone() {
    let text = message();
    let at = text.find("<entry><fullUrl value=\"urn:uuid:header\"/>").expect("there");
    let end = text.find("<entry><fullUrl value=\"urn:uuid:sender\"/>").expect("there");
    let header = &text[at..end];
    let moved = text.replacen(header, "", 1).replacen(
        "</Bundle></resource></entry>",
        &format!("</Bundle></resource></entry>{header}"),
        1,
    );
    assert_eq!(rules(&judge(&moved)), [("message-header-first", Error)]);
    let twice = text.replacen(
        header,
        &format!(
            "{header}{}",
            header.replace("urn:uuid:header", "urn:uuid:header2").replace("value=\"header\"", "value=\"header2\"")
        ),
        1,
    );
    assert_eq!(rules(&judge(&twice)), [("message-one-header", Error)]);
    let none = text.replacen(header, "", 1);
    assert_eq!(judge(&none).itk_code(), Some(10009));
}

#[test]
fn the_composition_comes_first_and_alone() {
    let text = message();
    let at = text.find("<entry><fullUrl value=\"urn:uuid:composition\"/>").expect("there");
    let end = text.find("<entry><fullUrl value=\"urn:uuid:patient\"/>").expect("there");
    let composition = text[at..end].to_owned();
    let moved = text.replacen(&composition, "", 1).replacen(
        "</Bundle></resource>",
        &format!("{composition}</Bundle></resource>"),
        1,
    );
    assert_eq!(rules(&judge(&moved)), [("document-composition-first", Error)]);
    let other = composition.replace("urn:uuid:composition", "urn:uuid:c2").replace("<id value=\"composition\"/>", "");
    let twice = text.replacen(&composition, &format!("{composition}{other}"), 1);
    assert_eq!(rules(&judge(&twice)), [("document-one-composition", Error)]);
    assert_eq!(rules(&judge(&text.replacen(&composition, "", 1))), [("document-composition", Error)]);
}

#[test]
fn two_patients_are_refused() {
    let other =
        "<entry><fullUrl value=\"urn:uuid:p2\"/><resource><Patient><id value=\"p2\"/></Patient></resource></entry>";
    let at = "<entry><fullUrl value=\"urn:uuid:practice\"/>";
    let findings = judge(&with(at, &format!("{other}{at}")));
    assert_eq!(rules(&findings), [("patient-one", Error)]);
    let none = judge(&message().replace("Patient>", "Group>"));
    assert!(none.by_rule("patient-missing").is_some_and(|finding| finding.severity == Error));
}

#[test]
fn a_document_without_encounter_is_told() {
    let findings = judge(&message().replace("Encounter>", "EpisodeOfCare>"));
    assert_eq!(findings.by_rule("encounter-missing").map(|finding| finding.severity), Some(Warning));
}

#[test]
fn a_heading_may_stand_once() {
    let text = message();
    let at = text.find("<section>").expect("there");
    let end = text.find("</section>").expect("there") + "</section>".len();
    let twice = text.replacen(&text[at..end], &text[at..end].repeat(2), 1);
    assert_eq!(rules(&judge(&twice)), [("toc-heading-repeated", Error)]);
}

#[test]
fn a_replacement_is_noted() {
    let relation = "<relatesTo><code value=\"replaces\"/><targetIdentifier><system value=\"https://tools.ietf.org/html/rfc4122\"/>\
                    <value value=\"set-0\"/></targetIdentifier></relatesTo><section>";
    let findings = judge(&with("<section>", relation));
    assert_eq!(rules(&findings), []);
    assert!(findings.by_rule("document-replacement").is_some());
}

#[test]
fn sibling_documents_are_judged_by_their_own_guide() {
    let emergency = wrap_document(&document().replace("ITK-EDIS-Composition", "ITK-ECD-Composition"), "ITK005D");
    let findings = judge(&emergency);
    let missing: Vec<_> = findings
        .iter()
        .filter(|finding| finding.rule == "toc-mandatory-heading")
        .filter_map(|finding| finding.diagnostics.split('"').nth(1))
        .collect();
    let expected = [
        "Discharge details",
        "Procedures",
        "Clinical narrative",
        "Medications and medical devices",
        "Contact for further information",
    ];
    assert_eq!(missing, expected);
    assert_eq!(findings.by_rule("toc-heading-guide").map(|finding| finding.severity), Some(Warning));
    let mental = wrap_document(&document().replace("ITK-EDIS-Composition", "ITK-MH-Composition"), "ITK004D");
    assert_eq!(rules(&judge(&mental)), []);
}

#[test]
fn places_are_lines_and_columns_of_the_senders_text() {
    let text = with(NHS_NUMBER, "9990000019");
    let findings = judge(&text);
    let found = findings.by_rule("nhs-number-check-digit").expect("found");
    let offset = text.find("<value value=\"9990000019\"").expect("there");
    assert_eq!((found.line, found.column).clone(), {
        let (line, column) = onward_fhir::tree::line_column(&text, offset);
        (Some(line), Some(column))
    });
    assert_eq!(found.expression, "Bundle.entry[2].resource.entry[1].resource.identifier[0].value");
    let issue = Issue::from(found);
    assert_eq!((issue.severity, issue.code), (Error, IssueCode::Value));
    assert!(issue.diagnostics.ends_with("[nhs-number-check-digit]") && issue.diagnostics.contains("(line "));
}

/// No finding repeats what may identify a person, whatever the fault.
#[test]
fn findings_carry_no_patient_data() {
    let secrets = [NHS_NUMBER, "Testpatient", "1940-01-02", "9990000019", "9000000009"];
    for (_, _, from, to) in MUTATIONS {
        let text = with(from, to);
        for finding in &judge(&text) {
            for secret in secrets {
                assert!(!finding.diagnostics.contains(secret), "{}: {}", finding.rule, finding.diagnostics);
            }
        }
    }
    for (from, to) in [
        ("value=\"ITK003D\"", "value=\"Testpatient\""),
        ("value=\"ITK003D\"", "value=\"9990000018\""),
        ("<status value=\"final\"/>", "<status value=\"Testpatient\"/>"),
        ("<title value=\"Diagnoses\"/>", "<title value=\"Testpatient\"/>"),
        ("value=\"373942005\"", "value=\"9990000018\""),
        (
            "<author><reference value=\"urn:uuid:author\"/>",
            "<author><reference value=\"https://x/Testpatient/9990000018\"/>",
        ),
    ] {
        for finding in &judge(&with(from, to)) {
            assert!(!finding.diagnostics.contains("Testpatient"), "{}", finding.diagnostics);
            assert!(!finding.diagnostics.contains("9990000018"), "{}", finding.diagnostics);
        }
    }
}

#[test]
fn json_kinds_are_checked() {
    let text = r#"{"resourceType":"Patient","active":"true","multipleBirthInteger":2,"birthDate":1940}"#;
    let tree = read::json(text, &Limits::default()).expect("FHIR JSON");
    let findings = crate::validate_resource(&tree);
    let forms: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == Error)
        .map(|finding| finding.expression.as_str())
        .collect();
    assert_eq!(forms, ["Patient.active", "Patient.birthDate"]);
}
