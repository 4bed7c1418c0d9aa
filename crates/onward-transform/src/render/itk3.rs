//! The ITK3 message envelope (STU3): ITK-Message-Bundle-1 with ITK-MessageHeader-2 and its six handling extensions.

use onward_core::OdsCode;
use onward_fhir::systems;

use super::parts::{B, coding, entry, extension, identifier, profile, urn};
use super::{Parties, dates, source_endpoint};
use crate::disclose::NewIds;

pub(super) const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/";

/// For action or for information (ITK-RecipientType-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecipientType {
    ForAction,
    ForInformation,
}

impl RecipientType {
    fn coding(self, b: &mut B) {
        let (code, display) = match self {
            Self::ForAction => ("FA", "For Action"),
            Self::ForInformation => ("FI", "For Information"),
        };
        coding(b, "valueCoding", systems::ITK_RECIPIENT_TYPE, code, display);
    }
}

/// What distinguishes one of our messages from another.
pub(super) struct Envelope<'a> {
    pub(super) ids: &'a NewIds,
    pub(super) parties: &'a Parties<'a>,
    /// Event code and display.
    pub(super) event: (&'static str, &'static str),
    /// MessageDefinition URL.
    pub(super) definition: &'static str,
    pub(super) recipient_type: RecipientType,
    /// `LocalExtension`.
    pub(super) local: &'static str,
    /// `receiver`; absent in Send Document.
    pub(super) receiver: Option<&'a OdsCode>,
}

impl Envelope<'_> {
    /// MessageHeader.id: what acknowledgements name.
    pub(super) fn header_id(&self) -> String {
        self.ids.derived("message-header").to_string()
    }

    /// The message around a document: `document_entry` writes the entry, `focus` is its identifier.
    pub(super) fn message<'b>(&self, focus: &str, document_entry: impl FnOnce(&mut B<'b>)) -> onward_fhir::Tree<'b> {
        let (sender, receiver) = (self.id("sender"), self.id("receiver"));
        let mut b: B = onward_fhir::Builder::resource("Bundle");
        b.leaf("id", self.id("message-bundle"));
        profile(&mut b, &format!("{PROFILE}ITK-Message-Bundle-1"));
        identifier(&mut b, systems::UUID, self.id("message"));
        b.leaf("type", "message");
        entry(&mut b, &self.header_id(), "MessageHeader", |b| self.header(b, &sender, &receiver, focus));
        organisation(&mut b, &sender, self.parties.sender_ods);
        if let Some(ods) = self.receiver {
            organisation(&mut b, &receiver, ods);
        }
        document_entry(&mut b);
        b.finish()
    }

    fn id(&self, part: &str) -> String {
        self.ids.derived(part).to_string()
    }

    fn header(&self, b: &mut B, sender: &str, receiver: &str, focus: &str) {
        profile(b, &format!("{PROFILE}ITK-MessageHeader-2"));
        handling(b, self.recipient_type, self.definition, &self.parties.transfer.to_string(), self.local);
        coding(b, "event", systems::ITK_MESSAGE_EVENT, self.event.0, self.event.1);
        if self.receiver.is_some() {
            b.node("receiver", |b| b.leaf("reference", urn(receiver)));
        }
        b.node("sender", |b| b.leaf("reference", urn(sender)));
        b.leaf("timestamp", dates::instant(self.parties.now));
        b.node("source", |b| b.leaf("endpoint", source_endpoint(self.parties)));
        b.node("focus", |b| b.leaf("reference", urn(focus)));
    }
}

/// Extension-ITK-MessageHandling-2: all six are mandatory. We always ask for both acknowledgements: without them a
/// lost letter stays unknown.
pub(super) fn handling(
    b: &mut B,
    recipient_type: RecipientType,
    definition: &'static str,
    sender_reference: &str,
    local: &'static str,
) {
    extension(b, systems::ITK_MESSAGE_HANDLING, |b| {
        extension(b, "BusAckRequested", |b| b.leaf("valueBoolean", "true"));
        extension(b, "InfAckRequested", |b| b.leaf("valueBoolean", "true"));
        extension(b, "RecipientType", |b| recipient_type.coding(b));
        extension(b, "MessageDefinition", |b| b.node("valueReference", |b| b.leaf("reference", definition)));
        extension(b, "SenderReference", |b| b.leaf("valueString", sender_reference.to_owned()));
        extension(b, "LocalExtension", |b| b.leaf("valueString", local));
    });
}

fn organisation(b: &mut B, id: &str, ods: &OdsCode) {
    entry(b, id, "Organization", |b| {
        profile(b, &format!("{PROFILE}CareConnect-ITK-Header-Organization-1"));
        identifier(b, systems::ODS_ORGANISATION, ods.as_str());
    });
}
