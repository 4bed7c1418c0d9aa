//! The views over the official files.

use std::path::{Path, PathBuf};

use super::*;
use crate::document::Document;
use crate::heading::{DocumentKind, Heading};
use crate::itk::{Level, ResponseCode};
use crate::read::{self, Format, Limits};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

fn folder(name: &str) -> Option<PathBuf> {
    let path = Path::new(DATA).join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
    eprintln!("SKIPPED: {name} of the shared data is absent");
    None
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).expect("readable")
}

/// Every ITK-Response-{code}-Example: the code is the file's, polarity, level and issue code the table's.
#[test]
fn every_official_response_is_understood() {
    let Some(folder) = folder("itk3-examples") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("readable") {
        let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
        let Some(code) = name.strip_prefix("ITK-Response-").and_then(|rest| rest.get(..5)) else { continue };
        let code: u32 = code.parse().expect("a code");
        seen += 1;
        let text = text(&folder, &name);
        let tree = read::xml(&text, &Limits::default()).expect("FHIR XML");
        let message = Message::read(tree.root()).expect("a message");
        assert_eq!(message.release, Release::Stu3, "{name}");
        assert_eq!(message.known_event().map(|event| event.code), Some(itk::RESPONSE_EVENT), "{name}");
        let response = Response::read(&message).expect("a response");
        let known = ResponseCode::of(code).expect("in the table");
        assert_eq!(response.code, Some(code), "{name}");
        assert_eq!(response.display, Some(known.display), "{name}");
        assert_eq!(response.positive, matches!(code, 20013 | 30001 | 30004), "{name}");
        let level = if code < 30_000 { Level::Infrastructure } else { Level::Business };
        assert_eq!(response.level, Some(level), "{name}");
        assert!(response.original_header_id.is_some(), "{name}");
        let issue = message.bundle.of_type("OperationOutcome").next().and_then(|outcome| outcome.get("issue"));
        let issue = issue.expect("an issue");
        assert_eq!(issue.text("severity"), Some(known.severity()), "{name}");
        assert_eq!(issue.text("code"), Some(known.issue_code), "{name}");
        // The example of 20015, "Message too large", says ok: the one contradiction among the official files.
        let said = message.header.text_at("response.code");
        assert_eq!(said, Some(if code == 20015 { "ok" } else { known.response_code() }), "{name}");
    }
    assert_eq!(seen, 24);
}

#[test]
fn the_official_shell_is_read() {
    let Some(folder) = folder("itk3-examples") else { return };
    let text = text(&folder, "ITK-SendPayload-Payload-Removed-Example-1.xml");
    let tree = read::xml(&text, &Limits::default()).expect("FHIR XML");
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.header_id, Some("a4409d7c-b613-477c-b623-87e60406c2f0"));
    assert_eq!(message.message_id, Some("a3940bf5-b82e-4c4f-9477-9bbe6861d634"));
    assert_eq!(message.sender_ods, None, "the sender is a practitioner without organisation");
    assert_eq!(message.destination_ods, ["RY6"]);
    assert_eq!(message.sender_mailbox(), Some("NOROT003"));
    assert_eq!(message.handling.recipient_type, Some("FA"));
    assert_eq!(message.handling.sender_reference, None);
    assert!(message.wants_business_response(true) && message.wants_infrastructure_response(false));
    assert!(matches!(message.document, DocumentPart::Nested(bundle) if bundle.get("entry").is_none()));
}

#[test]
fn every_official_document_is_viewed() {
    let Some(folder) = folder("itk3-examples") else { return };
    for (file, kind, sections, attached) in [
        ("ITK-EDIS-Example-1.xml", DocumentKind::Discharge, 19, 1),
        ("ITK-EC-Document-Bundle-1-Example-1.xml", DocumentKind::EmergencyCareDischarge, 16, 0),
        ("ITK-MH-Document-Bundle-Example-1.xml", DocumentKind::MentalHealthDischarge, 22, 0),
        ("ITK-OPL-Document-Bundle-1-Example-1.xml", DocumentKind::OutpatientLetter, 16, 0),
        ("ITK-OPL-Document-Bundle-1-Example-2.xml", DocumentKind::OutpatientLetter, 19, 0),
        ("ITK-OPL-Document-Bundle-1-Example-3.xml", DocumentKind::OutpatientLetter, 13, 0),
    ] {
        let text = text(&folder, file);
        let tree = read::xml(&text, &Limits::default()).expect("FHIR XML");
        assert_eq!(release_of(tree.root()), Release::Stu3, "{file}");
        let document = Document::read(tree.root(), Release::Stu3).expect("a document");
        assert_eq!(document.kind(), Some(kind), "{file}");
        assert!(document.patient.is_some_and(|patient| patient.is("Patient")), "{file}");
        assert!(document.encounter.is_some() && document.set_id.is_some() && document.document_id.is_some(), "{file}");
        assert_eq!(document.replaces, None, "{file}");
        assert_eq!(document.sections.len(), sections, "{file}");
        assert!(document.sections.iter().all(|section| section.heading.is_some() && section.text.is_some()), "{file}");
        let demographics = document.section(Heading::PatientDemographics).expect("mandatory");
        assert!(demographics.entries.iter().any(|entry| entry.is("Patient")), "{file}");
        assert_eq!(document.attachments().len(), attached, "{file}");
        // The custodian of this letter is a department without a code.
        assert_eq!(document.custodian_ods().is_some(), file != "ITK-OPL-Document-Bundle-1-Example-1.xml", "{file}");
    }
}

#[test]
fn the_official_r4_message_gives_up_its_document() {
    let Some(folder) = folder("r4-examples") else { return };
    let text = text(&folder, "document-message-TOC.json");
    let tree = read::json(&text, &Limits::default()).expect("FHIR JSON");
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.release, Release::R4);
    assert_eq!(message.header_id, Some("ea7221b8-3cc0-4b11-bc95-585b056b5428"));
    assert_eq!(message.sender_ods, Some("RR8"));
    assert_eq!(message.destination_ods, ["GP123456", "GP0001"]);
    assert_eq!(message.timestamp, Some("2018-07-12T10:30:16+00:00"));
    let embedded = message.embedded_document().expect("a document");
    assert_eq!((embedded.format, embedded.release), (Format::Xml, Some(Release::Stu3)));
    let inner = read::bytes(&embedded.bytes, embedded.format, &Limits::default()).expect("FHIR XML");
    let document = Document::read(inner.root(), Release::Stu3).expect("a document");
    assert_eq!(document.kind(), Some(DocumentKind::Discharge));
}
