//! A typed view of an incoming message: its header, its ends, and the document it carries, over the tree.
//!
//! Reading a message is forgiving: only what is no message at all is refused. What is missing or mistyped is
//! `None` here and a finding in the validator. Nothing is guessed: a sender that the message does not name is `None`.

mod embedded;
mod ends;
mod handling;
mod response;

pub use crate::read::Format;
pub use embedded::{EmbeddedDocument, EmbeddedError, data_of, decode_base64};
pub use ends::{Endpoint, ods_of_reference};
pub use handling::{Handling, ResponseRequest};
pub use response::{Response, ResponseOutcome, outcome_code};

use crate::bundle::Bundle;
use crate::itk::{self, MessageEvent};
use crate::tree::{Element, Release};

/// Why a resource is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    /// The resource is not a Bundle.
    #[error("the resource is not a Bundle")]
    NotABundle,
    /// `Bundle.type` is not `message`.
    #[error("Bundle.type is not message")]
    BundleType,
    /// No entry is a MessageHeader.
    #[error("no entry of the Bundle is a MessageHeader")]
    NoHeader,
}

/// What the header's focus turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentPart<'t, 's> {
    /// A document Bundle inside the message (ITK3; R4 with a document Bundle).
    Nested(Element<'t, 's>),
    /// A DocumentReference whose attachment holds the document as bytes (R4 draft frameworks).
    Embedded {
        /// The DocumentReference.
        reference: Element<'t, 's>,
        /// The Binary, or the Attachment that carries the data itself.
        binary: Element<'t, 's>,
        /// Its media type, with parameters.
        media_type: Option<&'t str>,
    },
    /// The focus is absent or points to nothing in the message.
    Missing,
    /// The focus is another resource than a document.
    NotADocument(&'t str),
}

/// A message Bundle.
#[derive(Debug, Clone)]
pub struct Message<'t, 's> {
    /// The release that the message is written in.
    pub release: Release,
    /// The message Bundle.
    pub bundle: Bundle<'t, 's>,
    /// The MessageHeader: the first entry that is one.
    pub header: Element<'t, 's>,
    /// MessageHeader.id, else the UUID of its `fullUrl`: what responses refer to.
    pub header_id: Option<&'t str>,
    /// Bundle.identifier.value, else [`Message::header_id`]: what makes the message unique.
    pub message_id: Option<&'t str>,
    /// System and code of the event.
    pub event: Option<(&'t str, &'t str)>,
    /// ODS code of the sending organisation, where the message names one.
    pub sender_ods: Option<&'t str>,
    /// `source.endpoint`.
    pub source_endpoint: Option<Endpoint<'t>>,
    /// ODS codes of the organisations that the message names as recipients, in order, each once.
    pub destination_ods: Vec<&'t str>,
    /// Addresses that the message names as destinations, in order.
    pub destination_endpoints: Vec<Endpoint<'t>>,
    /// What the sender asks of the receiver.
    pub handling: Handling<'t, 's>,
    /// When it was made: MessageHeader.timestamp (STU3), Bundle.timestamp (R4).
    pub timestamp: Option<&'t str>,
    /// What it carries.
    pub document: DocumentPart<'t, 's>,
}

impl<'t, 's> Message<'t, 's> {
    /// Views a resource as a message.
    ///
    /// # Errors
    /// When it is not a Bundle, not of type `message`, or has no MessageHeader.
    pub fn read(root: Element<'t, 's>) -> Result<Self, NotAMessage> {
        let bundle = Bundle::new(root).ok_or(NotAMessage::NotABundle)?;
        if bundle.bundle_type() != Some("message") {
            return Err(NotAMessage::BundleType);
        }
        let header = bundle.of_type("MessageHeader").next().ok_or(NotAMessage::NoHeader)?;
        let release = release_of(root);
        let header_id = header.text("id").or_else(|| bundle.full_url(header).map(uuid_of));
        let (destination_ods, destination_endpoints) = ends::destinations(&bundle, header);
        Ok(Self {
            release,
            header_id,
            message_id: root.text_at("identifier.value").or(header_id),
            event: event(header),
            sender_ods: ends::sender(&bundle, header),
            source_endpoint: header.text_at("source.endpoint").map(Endpoint::of),
            destination_ods,
            destination_endpoints,
            handling: Handling::read(header),
            timestamp: header.text("timestamp").or_else(|| root.text("timestamp")),
            document: document(&bundle, header),
            bundle,
            header,
        })
    }

    /// The event's facts, when Onward knows it.
    #[must_use]
    pub fn known_event(&self) -> Option<MessageEvent> {
        let (system, code) = self.event?;
        itk::message_event(system, code)
    }

    /// True for a message that answers another one.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.header.get("response").is_some()
            || self.known_event().is_some_and(|event| event.code == itk::RESPONSE_EVENT)
    }

    /// The mailbox to which ITK3 responses go: `source.endpoint`, when it is a MESH mailbox.
    #[must_use]
    pub fn sender_mailbox(&self) -> Option<&'t str> {
        match self.source_endpoint? {
            Endpoint::Mailbox(mailbox) => Some(mailbox),
            Endpoint::Ods(_) | Endpoint::Other(_) => None,
        }
    }

    /// Whether the sender awaits an infrastructure response. ITK3 flags that cannot be read mean yes
    /// (guide, "response patterns"); R4 has its own request extension, and without one the reply suffices.
    #[must_use]
    pub fn wants_infrastructure_response(&self, positive: bool) -> bool {
        match self.release {
            Release::Stu3 => self.handling.infrastructure_ack.unwrap_or(true),
            Release::R4 => self.wants_r4_response(self.handling.infrastructure_ack, positive),
        }
    }

    /// Whether the sender awaits a business response; as [`Message::wants_infrastructure_response`].
    #[must_use]
    pub fn wants_business_response(&self, positive: bool) -> bool {
        match self.release {
            Release::Stu3 => self.handling.business_ack.unwrap_or(true),
            Release::R4 => self.wants_r4_response(self.handling.business_ack, positive),
        }
    }

    fn wants_r4_response(&self, flag: Option<bool>, positive: bool) -> bool {
        match self.handling.response_request {
            Some(ResponseRequest::Always) => true,
            Some(ResponseRequest::OnError) => !positive,
            Some(ResponseRequest::OnSuccess) => positive,
            Some(ResponseRequest::Never) => false,
            None => flag.unwrap_or(false),
        }
    }
}

/// The release that a resource is written in, by the evidence: names that only one release has, else the URLs
/// of profiles, extensions and code systems. Without evidence it is R4.
#[must_use]
pub fn release_of(root: Element<'_, '_>) -> Release {
    let mut stu3_urls = false;
    for element in root.descendants() {
        let resource = element.parent().and_then(Element::resource_type);
        match (resource, element.name()) {
            (Some("MessageHeader"), "eventCoding" | "eventUri" | "definition")
            | (Some("Encounter"), "reasonCode")
            | (Some("Binary"), "data") => return Release::R4,
            (Some("MessageHeader"), "event" | "receiver" | "timestamp")
            | (Some("Composition"), "class")
            | (Some("Encounter"), "incomingReferral")
            | (Some("MedicationStatement"), "taken")
            | (Some("AllergyIntolerance" | "Condition"), "assertedDate")
            | (Some("Binary"), "content") => return Release::Stu3,
            (_, "profile" | "url" | "system") => {
                stu3_urls |= element.value().is_some_and(|url| url.contains("/STU3/"));
            }
            _ => {}
        }
    }
    if stu3_urls { Release::Stu3 } else { Release::R4 }
}

/// The UUID of a `urn:uuid:` URL, else the URL's last part.
fn uuid_of(full_url: &str) -> &str {
    full_url.strip_prefix("urn:uuid:").unwrap_or_else(|| full_url.rsplit('/').next().unwrap_or(full_url))
}

fn event<'t>(header: Element<'t, '_>) -> Option<(&'t str, &'t str)> {
    let coding = header.get("eventCoding").or_else(|| header.get("event"))?;
    Some((coding.text("system").unwrap_or(""), coding.text("code")?))
}

/// The first focus that is a document, else what the first focus is.
fn document<'t, 's>(bundle: &Bundle<'t, 's>, header: Element<'t, 's>) -> DocumentPart<'t, 's> {
    let mut other = None;
    for focus in header.all("focus").filter_map(|reference| bundle.resolve(reference)) {
        match focus.resource_type() {
            Some("Bundle") => return DocumentPart::Nested(focus),
            Some("DocumentReference") => return embedded::part(bundle, focus),
            Some(resource_type) => other = other.or(Some(resource_type)),
            None => {}
        }
    }
    other.map_or(DocumentPart::Missing, DocumentPart::NotADocument)
}

#[cfg(test)]
mod shared_data_tests;
#[cfg(test)]
mod tests;
