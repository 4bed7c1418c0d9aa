//! Messages built node by node, in the three shapes that come in, and their deformities.

use super::*;
use crate::read::Format;
use crate::tree::{Builder, Tree};

const ITK_HANDLING: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-ITK-MessageHandling-2";

fn part(b: &mut Builder<'static>, url: &'static str, fill: impl FnOnce(&mut Builder<'static>)) {
    b.node("extension", |b| {
        b.leaf("url", url);
        fill(b);
    });
}

fn entry(
    b: &mut Builder<'static>,
    full_url: &'static str,
    resource_type: &'static str,
    fill: impl FnOnce(&mut Builder<'static>),
) {
    b.node("entry", |b| {
        b.leaf("fullUrl", full_url);
        b.child_resource("resource", resource_type, fill);
    });
}

fn reference(b: &mut Builder<'static>, name: &'static str, to: &'static str) {
    b.node(name, |b| b.leaf("reference", to));
}

fn identifier(b: &mut Builder<'static>, system: &'static str, value: &'static str) {
    b.node("identifier", |b| {
        b.leaf("system", system);
        b.leaf("value", value);
    });
}

/// An ITK3 message whose header is filled by the caller.
fn itk(header: impl FnOnce(&mut Builder<'static>)) -> Tree<'static> {
    let mut b = Builder::resource("Bundle");
    b.leaf("id", "b");
    identifier(&mut b, crate::systems::UUID, "message-1");
    b.leaf("type", "message");
    entry(&mut b, "urn:uuid:h", "MessageHeader", |b| {
        part(b, ITK_HANDLING, |b| {
            part(b, "BusAckRequested", |b| b.leaf("valueBoolean", "true"));
            part(b, "InfAckRequested", |b| b.leaf("valueBoolean", "yes"));
            part(b, "RecipientType", |b| b.node("valueCoding", |b| b.leaf("code", "FI")));
            part(b, "SenderReference", |b| b.leaf("valueString", "ref-7"));
            part(b, "LocalExtension", |b| b.leaf("valueString", "None"));
        });
        b.node("event", |b| {
            b.leaf("system", crate::systems::ITK_MESSAGE_EVENT);
            b.leaf("code", "ITK003D");
        });
        header(b);
    });
    entry(&mut b, "urn:uuid:role", "PractitionerRole", |b| {
        reference(b, "practitioner", "urn:uuid:person");
        reference(b, "organization", "urn:uuid:trust");
    });
    entry(&mut b, "urn:uuid:person", "Practitioner", |_| {});
    entry(&mut b, "urn:uuid:trust", "Organization", |b| identifier(b, crate::systems::ODS_ORGANISATION, "RY6"));
    entry(&mut b, "urn:uuid:practice", "Organization", |b| identifier(b, crate::systems::ODS_SITE, "A82608"));
    entry(&mut b, "urn:uuid:doc", "Bundle", |b| b.leaf("type", "document"));
    b.finish()
}

#[test]
fn reads_an_itk3_message() {
    let tree = itk(|b| {
        reference(b, "receiver", "urn:uuid:practice");
        reference(b, "sender", "urn:uuid:trust");
        b.leaf("timestamp", "2026-11-01T10:00:00+00:00");
        b.node("source", |b| b.leaf("endpoint", "RY6HC001"));
        reference(b, "focus", "urn:uuid:doc");
    });
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.release, Release::Stu3);
    assert_eq!(message.header_id, Some("h"), "from the fullUrl");
    assert_eq!(message.message_id, Some("message-1"));
    assert!(message.known_event().is_some_and(|event| event.transfer_of_care));
    assert_eq!(message.sender_ods, Some("RY6"));
    assert_eq!(message.destination_ods, ["A82608"]);
    assert_eq!(message.sender_mailbox(), Some("RY6HC001"));
    assert_eq!(message.timestamp, Some("2026-11-01T10:00:00+00:00"));
    assert_eq!(message.handling.business_ack, Some(true));
    assert_eq!(message.handling.infrastructure_ack, None, "unreadable");
    assert!(message.wants_infrastructure_response(true), "unreadable flags are answered");
    assert_eq!(message.handling.recipient_type, Some("FI"));
    assert_eq!(message.handling.sender_reference, Some("ref-7"));
    assert_eq!(message.handling.local_extension, None);
    assert!(matches!(message.document, DocumentPart::Nested(bundle) if bundle.text("type") == Some("document")));
    assert!(!message.is_response());
}

#[test]
fn a_sending_practitioner_leads_to_the_organisation_by_the_role() {
    for sender in ["urn:uuid:person", "urn:uuid:role"] {
        let tree = itk(|b| reference(b, "sender", sender));
        assert_eq!(Message::read(tree.root()).expect("a message").sender_ods, Some("RY6"), "{sender}");
    }
    let by_directory = itk(|b| reference(b, "sender", "https://directory.spineservices.nhs.uk/STU3/Organization/X26"));
    assert_eq!(Message::read(by_directory.root()).expect("a message").sender_ods, Some("X26"));
    let elsewhere = itk(|b| reference(b, "sender", "https://example.org/STU3/Organization/X26"));
    assert_eq!(Message::read(elsewhere.root()).expect("a message").sender_ods, None, "not the directory");
    let mailbox = itk(|b| b.node("source", |b| b.leaf("endpoint", "RY6HC001")));
    assert_eq!(Message::read(mailbox.root()).expect("a message").sender_ods, None, "a mailbox is no ODS code");
}

#[test]
fn an_organisation_that_points_to_itself_ends() {
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "message");
    entry(&mut b, "urn:uuid:h", "MessageHeader", |b| reference(b, "sender", "urn:uuid:r"));
    entry(&mut b, "urn:uuid:r", "PractitionerRole", |b| reference(b, "organization", "urn:uuid:r"));
    let tree = b.finish();
    assert_eq!(Message::read(tree.root()).expect("a message").sender_ods, None);
}

/// The R4 draft frameworks' message: DocumentReference, Binary, STU3 inside.
fn r4(fhir_version: &'static str, data: &'static str, url: &'static str) -> Tree<'static> {
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "message");
    b.leaf("timestamp", "2026-11-01T10:00:00Z");
    entry(&mut b, "urn:uuid:h", "MessageHeader", |b| {
        part(b, "http://hl7.org/fhir/StructureDefinition/messageheader-response-request", |b| {
            b.leaf("valueCode", "on-error");
        });
        b.node("eventCoding", |b| {
            b.leaf("system", crate::systems::R4_MESSAGE_EVENT);
            b.leaf("code", "document");
        });
        b.node("destination", |b| {
            b.leaf("endpoint", "urn:nhs-uk:addressing:ods:A82608");
            b.node("receiver", |b| identifier(b, crate::systems::ODS_ORGANISATION, "A82608"));
        });
        b.node("destination", |b| b.leaf("endpoint", "urn:nhs-uk:addressing:mesh:X26OT001"));
        b.node("sender", |b| identifier(b, crate::systems::ODS_ORGANISATION, "RR8"));
        b.node("source", |b| b.leaf("endpoint", "urn:nhs-uk:addressing:ods:RR8"));
        reference(b, "focus", "urn:uuid:ref");
    });
    entry(&mut b, "urn:uuid:ref", "DocumentReference", |b| {
        b.node("content", |b| {
            b.node("attachment", |b| {
                b.leaf("contentType", fhir_version);
                b.leaf("url", url);
            });
        });
    });
    entry(&mut b, "urn:uuid:bin", "Binary", |b| b.leaf("data", data));
    b.finish()
}

#[test]
fn reads_an_r4_message_around_a_binary() {
    let tree = r4("application/fhir+xml; fhirVersion=3.0", "PEJ1bmRsZS8+", "urn:uuid:bin");
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.release, Release::R4);
    assert_eq!(message.message_id, Some("h"), "no identifier: the header's id");
    assert_eq!(message.sender_ods, Some("RR8"));
    assert_eq!(message.destination_ods, ["A82608"], "named twice, listed once");
    assert_eq!(message.destination_endpoints, [Endpoint::Ods("A82608"), Endpoint::Mailbox("X26OT001")]);
    assert_eq!(message.sender_mailbox(), None);
    assert!(message.wants_business_response(false) && !message.wants_business_response(true));
    let document = message.embedded_document().expect("decodes");
    assert_eq!((document.format, document.release), (Format::Xml, Some(Release::Stu3)));
    assert_eq!(document.bytes, b"<Bundle/>");
    assert!(!format!("{document:?}").contains("Bundle/"), "content stays out of Debug");
}

#[test]
fn says_why_an_embedded_document_is_not_to_be_had() {
    let error = |media_type, data, url| {
        let tree = r4(media_type, data, url);
        Message::read(tree.root()).expect("a message").embedded_document().expect_err("not to be had")
    };
    let fhir = "application/fhir+json";
    assert_eq!(error(fhir, "***", "urn:uuid:bin"), EmbeddedError::NotBase64);
    assert_eq!(error("application/pdf", "AAAA", "urn:uuid:bin"), EmbeddedError::MediaType);
    assert_eq!(error(fhir, "AAAA", "http://169.254.169.254/"), EmbeddedError::NotEmbedded);
    assert_eq!(error(fhir, "AAAA", "urn:uuid:h"), EmbeddedError::NotEmbedded, "not a Binary");
}

#[test]
fn refuses_what_is_no_message() {
    let read = |tree: &Tree<'_>| Message::read(tree.root()).map(|_| ()).expect_err("no message");
    assert_eq!(read(&Builder::resource("Patient").finish()), NotAMessage::NotABundle);
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "document");
    assert_eq!(read(&b.finish()), NotAMessage::BundleType);
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "message");
    assert_eq!(read(&b.finish()), NotAMessage::NoHeader);
}

#[test]
fn a_focus_that_is_no_document_says_what_it_is() {
    let missing = itk(|b| reference(b, "focus", "urn:uuid:nowhere"));
    assert_eq!(Message::read(missing.root()).expect("a message").document, DocumentPart::Missing);
    let other = itk(|b| reference(b, "focus", "urn:uuid:trust"));
    assert_eq!(Message::read(other.root()).expect("a message").document, DocumentPart::NotADocument("Organization"));
}

#[test]
fn response_polarity_follows_the_code_before_the_word() {
    let tree = {
        let mut b = Builder::resource("Bundle");
        b.leaf("type", "message");
        entry(&mut b, "urn:uuid:h", "MessageHeader", |b| {
            b.node("response", |b| {
                b.leaf("identifier", "orig");
                b.leaf("code", "ok");
                reference(b, "details", "urn:uuid:oo");
            });
        });
        entry(&mut b, "urn:uuid:oo", "OperationOutcome", |b| {
            b.node("issue", |b| {
                b.node("details", |b| {
                    b.node("coding", |b| {
                        b.leaf("system", crate::systems::ITK_RESPONSE_CODES);
                        b.leaf("code", "20015");
                    });
                });
            });
        });
        b.finish()
    };
    let message = Message::read(tree.root()).expect("a message");
    assert!(message.is_response());
    let response = Response::read(&message).expect("a response");
    assert_eq!(response.original_header_id, Some("orig"));
    assert_eq!((response.code, response.positive), (Some(20015), false));
    assert_eq!(response.display, Some("Message too large"));
    assert_eq!(response.outcome, Some(ResponseOutcome::Ok));
}
