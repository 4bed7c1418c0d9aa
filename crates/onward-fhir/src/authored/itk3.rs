//! The ITK3 response message (STU3, event ITK008M): infrastructure and business acknowledgements to hospitals that
//! speak ITK3. It carries no patient data: code and display only.

use uuid::Uuid;

use crate::itk::{self, ResponseCode};
use crate::systems;
use crate::tree::{Builder, Tree};

/// What an ITK3 response says.
#[derive(Debug, Clone)]
pub struct ItkResponse {
    /// MessageHeader.id; the other identifiers of the message follow from it.
    pub id: String,
    /// MessageHeader.id of the message that is answered; empty when it could not be read.
    pub original_header_id: String,
    /// The code.
    pub code: ResponseCode,
    /// The sender's `SenderReference`, given back.
    pub sender_reference: Option<String>,
    /// Our ODS code.
    pub sender_ods: String,
    /// Our name.
    pub sender_name: String,
    /// Our mailbox.
    pub source_endpoint: String,
    /// An instant.
    pub timestamp: String,
}

/// What the official example gives as identifier where the message could not be read (ITK-Response-10009).
const UNREADABLE: &str = "UNREADABLE-IN-ORIGINAL-MESSAGE";

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/";

/// An ITK3 response message, to be written as STU3 XML.
#[must_use]
pub fn itk3_response(content: &ItkResponse) -> Tree<'static> {
    let namespace =
        Uuid::parse_str(&content.id).unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_URL, content.id.as_bytes()));
    let derived = |part: &str| Uuid::new_v5(&namespace, part.as_bytes()).to_string();
    let (organisation, outcome) = (derived("organisation"), derived("outcome"));
    let mut b: Builder<'static> = Builder::resource("Bundle");
    b.leaf("id", derived("bundle"));
    profile(&mut b, "ITK-Message-Bundle-1");
    b.node("identifier", |b| {
        b.leaf("system", systems::UUID);
        b.leaf("value", derived("message"));
    });
    b.leaf("type", "message");
    entry(&mut b, &content.id, "MessageHeader", |b| header(b, content, &organisation, &outcome));
    entry(&mut b, &organisation, "Organization", |b| {
        profile(b, "CareConnect-ITK-Header-Organization-1");
        b.node("identifier", |b| {
            b.leaf("system", systems::ODS_ORGANISATION);
            b.leaf("value", content.sender_ods.clone());
        });
        b.leaf("name", content.sender_name.clone());
    });
    entry(&mut b, &outcome, "OperationOutcome", |b| {
        profile(b, "ITK-Response-OperationOutcome-1");
        b.node("issue", |b| {
            b.leaf("severity", content.code.severity());
            b.leaf("code", content.code.issue_code);
            b.node("details", |b| {
                coding(b, "coding", systems::ITK_RESPONSE_CODES, content.code.code.to_string(), content.code.display);
            });
        });
    });
    b.finish()
}

fn header(b: &mut Builder<'static>, content: &ItkResponse, organisation: &str, outcome: &str) {
    profile(b, "ITK-MessageHeader-2");
    extension(b, systems::ITK_MESSAGE_HANDLING, |b| {
        // A response to a response would never end: neither acknowledgement is asked for.
        extension(b, "BusAckRequested", |b| b.leaf("valueBoolean", "false"));
        extension(b, "InfAckRequested", |b| b.leaf("valueBoolean", "false"));
        extension(b, "RecipientType", |b| {
            coding(b, "valueCoding", systems::ITK_RECIPIENT_TYPE, "FA".to_owned(), "For Action");
        });
        extension(b, "MessageDefinition", |b| {
            b.node("valueReference", |b| {
                b.leaf("reference", "https://fhir.nhs.uk/STU3/MessageDefinition/ITK-Response-MessageDefinition-1");
            });
        });
        extension(b, "SenderReference", |b| {
            b.leaf("valueString", content.sender_reference.clone().unwrap_or_else(|| "None".to_owned()));
        });
        extension(b, "LocalExtension", |b| b.leaf("valueString", "None"));
    });
    coding(b, "event", systems::ITK_MESSAGE_EVENT, itk::RESPONSE_EVENT.to_owned(), "ITK Response");
    b.node("sender", |b| b.leaf("reference", format!("urn:uuid:{organisation}")));
    b.leaf("timestamp", content.timestamp.clone());
    b.node("source", |b| b.leaf("endpoint", content.source_endpoint.clone()));
    b.node("response", |b| {
        let original = if content.original_header_id.is_empty() { UNREADABLE } else { &content.original_header_id };
        b.leaf("identifier", original.to_owned());
        b.leaf("code", content.code.response_code());
        b.node("details", |b| b.leaf("reference", format!("urn:uuid:{outcome}")));
    });
}

fn profile(b: &mut Builder<'static>, name: &str) {
    b.node("meta", |b| b.leaf("profile", format!("{PROFILE}{name}")));
}

fn extension(b: &mut Builder<'static>, url: &'static str, fill: impl FnOnce(&mut Builder<'static>)) {
    b.node("extension", |b| {
        b.leaf("url", url);
        fill(b);
    });
}

fn coding(b: &mut Builder<'static>, name: &'static str, system: &'static str, code: String, display: &'static str) {
    b.node(name, |b| {
        b.leaf("system", system);
        b.leaf("code", code);
        b.leaf("display", display);
    });
}

fn entry(b: &mut Builder<'static>, id: &str, resource_type: &'static str, fill: impl FnOnce(&mut Builder<'static>)) {
    b.node("entry", |b| {
        b.leaf("fullUrl", format!("urn:uuid:{id}"));
        b.child_resource("resource", resource_type, |b| {
            b.leaf("id", id.to_owned());
            fill(b);
        });
    });
}
