//! What a message says of itself, read from it before anything is decided.

use onward_core::Timestamp;
use onward_core::client::Client;
use onward_core::store::ReplyWanted;
use onward_fhir::document::Replaces;
use onward_fhir::{Document, Message, Release};

/// What a message says of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// First key against repeats.
    pub message_id: String,
    /// Second key against repeats.
    pub document_id: Option<String>,
    /// The set that versions share.
    pub document_set_id: Option<String>,
    /// The date that it bears.
    pub dated: Option<Timestamp>,
    /// What it replaces: a document, or a set of them, by identifier.
    pub replaces: Option<String>,
    /// Event code.
    pub event: String,
    /// Release of the document.
    pub release: Release,
    /// What the sender wants to hear.
    pub reply: ReplyWanted,
    /// When the person is expected.
    pub expected: Option<Timestamp>,
    /// When the stay at the home is planned to end.
    pub stay_ends: Option<Timestamp>,
}

/// Reads them, for this client.
pub(crate) fn facts(
    message: &Message<'_, '_>,
    document: &Document<'_, '_>,
    client: &Client,
    release: Release,
) -> Facts {
    let event = message.known_event();
    let mailbox = message
        .sender_mailbox()
        .and_then(|mailbox| mailbox.parse().ok())
        // A message cannot direct answers to a mailbox that is not registered for its sender.
        .filter(|mailbox: &onward_core::MeshMailboxId| client.mesh_mailbox.as_deref() == Some(mailbox.as_str()))
        .or_else(|| client.mesh_mailbox.as_deref().and_then(|mailbox| mailbox.parse().ok()));
    let header_id = message.header_id.unwrap_or_default().to_owned();
    Facts {
        message_id: message.message_id.unwrap_or(&header_id).to_owned(),
        document_id: document.document_id.map(str::to_owned),
        document_set_id: document.set_id.map(str::to_owned),
        dated: dated(document),
        replaces: document.replaces.map(named),
        event: message.event.map_or_else(String::new, |(_, code)| code.to_owned()),
        release,
        reply: ReplyWanted {
            infrastructure: message.wants_infrastructure_response(true),
            business: message.wants_business_response(true),
            mailbox,
            header_id,
            sender_reference: message.handling.sender_reference.map(str::to_owned),
            workflow: event.and_then(|event| event.acknowledgement_workflow).and_then(|workflow| workflow.parse().ok()),
        },
        expected: expected(document),
        stay_ends: stay_ends(document),
    }
}

/// When the document was made: of an ITK3 document `Bundle.meta.lastUpdated`, of an R4 one `Bundle.timestamp`.
fn dated(document: &Document<'_, '_>) -> Option<Timestamp> {
    let bundle = document.bundle.element();
    let made = bundle.text("timestamp").or_else(|| bundle.text_at("meta.lastUpdated"));
    moment(made.or_else(|| document.composition.text("date"))?, false)
}

/// The identifier that it replaces; a reference's last part is the identifier of the document that it leads to.
pub(crate) fn named(replaces: Replaces<'_>) -> String {
    match replaces {
        Replaces::Identifier(value) => value,
        Replaces::Reference(reference) => reference.rsplit(['/', ':']).next().unwrap_or(reference),
        Replaces::Unnamed => "",
    }
    .to_owned()
}

/// The planned stay at the place that the person goes to (`Encounter.location` with status `planned`).
fn stay_ends(document: &Document<'_, '_>) -> Option<Timestamp> {
    let planned = document.encounter?.all("location").filter(|location| location.text("status") == Some("planned"));
    planned.filter_map(|location| moment(location.text_at("period.end")?, true)).max()
}

/// A FHIR dateTime as a moment; a date alone means that day in England, from its begin or to its end.
fn moment(text: &str, ends: bool) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let time = if ends { date.at(23, 59, 59, 0) } else { date.at(0, 0, 0, 0) };
    time.in_tz("Europe/London").ok().map(|moment| moment.timestamp())
}

/// The discharge is the best that a document tells about the arrival (`Encounter.period.end`).
fn expected(document: &Document<'_, '_>) -> Option<Timestamp> {
    moment(document.encounter?.text_at("period.end")?, false)
}
