//! The registered practice's copy: the identical document, for information, in an envelope of ours.
//!
//! Where the source's syntax is the envelope's the sender's bytes are spliced in; the result is read back and must hold
//! the same document, else (a namespace prefix declared outside it, say) the document is written from the tree. By MESH
//! everything goes as XML, which ITK3 makes mandatory and JSON optional: practices' systems read nothing else there.

use std::ops::Range;

use onward_core::state::RecipientKind;
use onward_core::{DeliveryId, OdsCode, WorkflowId};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Builder, Document, DocumentKind, Element, Release, Tree, itk, systems, write};

use super::itk3::{Envelope, RecipientType, handling};
use super::parts::{B, coding, entry, extension, identifier, organisation, urn};
use super::{
    FHIR_JSON, FHIR_XML, Parties, RenderError, Rendered, dates, fits, goes_by_mesh, lossless, source_endpoint, workflow,
};
use crate::disclose::{Disclosed, Form, NewIds, Policy, ProjectError};

/// The sender's document as it came.
#[derive(Debug, Clone, Copy)]
pub struct Original<'t, 's> {
    /// The document Bundle, in the tree that was read from the sender's text.
    pub element: Element<'t, 's>,
    /// Its release.
    pub release: Release,
    /// Whether that text is XML; else it is JSON.
    pub is_xml: bool,
}

/// FHIR core extension by which an R4 sender asks for a response message.
const RESPONSE_REQUEST: &str = "http://hl7.org/fhir/StructureDefinition/messageheader-response-request";

/// The identical document for the person's own practice, for information.
///
/// # Errors
/// See [`RenderError`].
pub fn registered_practice(
    original: &Original<'_, '_>,
    policy: &Policy,
    parties: &Parties<'_>,
    delivery: DeliveryId,
) -> Result<Rendered, RenderError> {
    let wanted = RecipientKind::RegisteredPractice;
    if policy.recipient != wanted || policy.form != Form::Identical {
        return Err(RenderError::Policy { wanted, found: policy.recipient });
    }
    let practice = parties.registered_practice.ok_or(RenderError::NotNeeded("there is no registered practice"))?;
    let document = Document::read(original.element, original.release).map_err(|_| ProjectError::NotADocument)?;
    let kind = DocumentKind::of_event(parties.event).or(document.kind()).unwrap_or(DocumentKind::Discharge);
    let ids = NewIds::new(delivery, wanted, &practice.ods, parties.now);
    let envelope = Envelope {
        ids: &ids,
        parties,
        event: (kind.event(), event_display(kind)),
        definition: definition(kind),
        recipient_type: RecipientType::ForInformation,
        local: "None",
        receiver: Some(&practice.ods),
    };
    let (body, media_type) = match original.release {
        Release::Stu3 => (fits(stu3_message(original, &envelope)?)?, FHIR_XML),
        Release::R4 => {
            let xml = original.is_xml || goes_by_mesh(&practice.endpoint);
            let body = r4_message(original, xml, &envelope, &practice.ods, &practice.name)?;
            (fits(body)?, if xml { FHIR_XML } else { FHIR_JSON })
        }
    };
    Ok(Rendered {
        media_type: media_type.to_owned(),
        body,
        // The practice's own system renders the sender's document.
        html: None,
        card: None,
        document_id: document.document_id.unwrap_or_default().to_owned(),
        correlation_id: Some(envelope.header_id()),
        workflow: usual_workflow(kind),
        basis: parties.basis_of(policy),
        disclosed: vec![Disclosed {
            path: original.element.path(),
            rule: "document: identical, with every section and attachment".to_owned(),
        }],
        withheld: Vec::new(),
    })
}

/// The workflow by which such a document goes.
pub(super) fn usual_workflow(kind: DocumentKind) -> Option<WorkflowId> {
    itk_event(kind).and_then(|event| event.workflow).and_then(workflow)
}

fn itk_event(kind: DocumentKind) -> Option<itk::MessageEvent> {
    itk::EVENTS.iter().copied().find(|event| event.code == kind.event())
}

fn event_display(kind: DocumentKind) -> &'static str {
    itk_event(kind).map_or("ITK eDischarge", |event| event.display)
}

fn definition(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Discharge => "https://fhir.nhs.uk/STU3/MessageDefinition/ITK-eDischarge-MessageDefinition-4",
        DocumentKind::MentalHealthDischarge => {
            "https://fhir.nhs.uk/STU3/MessageDefinition/ITK-MH-eDischarge-MessageDefinition-4"
        }
        DocumentKind::EmergencyCareDischarge => {
            "https://fhir.nhs.uk/STU3/MessageDefinition/ITK-EC-eDischarge-MessageDefinition-4"
        }
        DocumentKind::OutpatientLetter => "https://fhir.nhs.uk/STU3/MessageDefinition/ITK-OPL-MessageDefinition-4",
    }
}

fn stu3_message<'t, 's>(original: &Original<'t, 's>, envelope: &Envelope<'_>) -> Result<Vec<u8>, RenderError> {
    let focus = focus(original, envelope.ids);
    let around = |document: Inside<'t, 's>| envelope.message(&focus, |b| document.entry(b, &focus));
    if original.is_xml
        && let Some(spliced) = spliced(original, envelope.ids, Release::Stu3, around)
    {
        return Ok(spliced);
    }
    lossless(write::xml(around(Inside::Whole(original.element)).root(), Release::Stu3))
}

fn r4_message<'t, 's>(
    original: &Original<'t, 's>,
    xml: bool,
    envelope: &Envelope<'_>,
    ods: &OdsCode,
    name: &str,
) -> Result<Vec<u8>, RenderError> {
    let focus = focus(original, envelope.ids);
    let around = |document: Inside<'t, 's>| r4_envelope(envelope, ods, name, &focus, document);
    if xml == original.is_xml
        && let Some(spliced) = spliced(original, envelope.ids, Release::R4, around)
    {
        return Ok(spliced);
    }
    let tree = around(Inside::Whole(original.element));
    lossless(if xml { write::xml(tree.root(), Release::R4) } else { write::json(tree.root(), Release::R4) })
}

fn r4_envelope<'t>(
    envelope: &Envelope<'_>,
    ods: &OdsCode,
    name: &str,
    focus: &str,
    document: Inside<'t, '_>,
) -> Tree<'t> {
    let parties = envelope.parties;
    let mut b: B = Builder::resource("Bundle");
    b.leaf("id", envelope.ids.derived("message-bundle").to_string());
    identifier(&mut b, systems::UUID, envelope.ids.derived("message").to_string());
    b.leaf("type", "message");
    b.leaf("timestamp", dates::instant(parties.now));
    entry(&mut b, &envelope.header_id(), "MessageHeader", |b| {
        // R4 has no word for "for information"; ITK3's extension says it to those who know it.
        handling(b, RecipientType::ForInformation, envelope.definition, &parties.transfer.to_string(), "None");
        extension(b, RESPONSE_REQUEST, |b| b.leaf("valueCode", "always"));
        match itk::message_event(systems::ITK_MESSAGE_EVENT, parties.event) {
            Some(event) => coding(b, "eventCoding", systems::ITK_MESSAGE_EVENT, event.code, event.display),
            None => coding(b, "eventCoding", systems::R4_MESSAGE_EVENT, "document", "Document"),
        }
        b.node("destination", |b| {
            b.leaf("endpoint", format!("urn:nhs-uk:addressing:ods:{ods}"));
            organisation(b, "receiver", ods, name);
        });
        organisation(b, "sender", parties.sender_ods, parties.sender_name);
        b.node("source", |b| b.leaf("endpoint", source_endpoint(parties)));
        b.node("focus", |b| b.leaf("reference", urn(focus)));
    });
    document.entry(&mut b, focus);
    b.finish()
}

/// What stands in the document's place while the envelope is written.
enum Inside<'t, 's> {
    Whole(Element<'t, 's>),
    /// A Bundle of nothing but this identifier, to be replaced by the sender's bytes.
    Marker(String),
}

impl<'t> Inside<'t, '_> {
    fn entry(self, b: &mut B<'t>, id: &str) {
        b.node("entry", |b| {
            b.leaf("fullUrl", urn(id));
            match self {
                Self::Whole(element) => b.copy_lent_as("resource", element),
                Self::Marker(marker) => {
                    b.child_resource("resource", "Bundle", |b| b.leaf("id", marker));
                }
            }
        });
    }
}

/// The document's entry is named by Bundle.id where that is a UUID, as in the official examples.
fn focus(original: &Original<'_, '_>, ids: &NewIds) -> String {
    let own = original.element.text("id").filter(|id| uuid::Uuid::parse_str(id).is_ok());
    own.map_or_else(|| ids.derived("focus").to_string(), str::to_owned)
}

/// The message with the sender's own bytes in it; `None` when they cannot stand there as they are.
fn spliced<'t, 's>(
    original: &Original<'t, 's>,
    ids: &NewIds,
    release: Release,
    around: impl FnOnce(Inside<'t, 's>) -> Tree<'t>,
) -> Option<Vec<u8>> {
    let source = original.element.tree().source().get(original.element.span())?;
    let marker = ids.derived("splice").to_string();
    let tree = around(Inside::Marker(marker.clone()));
    let (document, written, stand_in) = if original.is_xml {
        let written = write::xml(tree.root(), release);
        let stand_in = format!("<Bundle><id value=\"{marker}\"/></Bundle>");
        (xml_bundle(source)?, written, stand_in)
    } else {
        let written = write::json(tree.root(), release);
        let stand_in = format!("{{\"resourceType\":\"Bundle\",\"id\":\"{marker}\"}}");
        (json_object(source)?, written, stand_in)
    };
    let (before, after) = written.losses.is_empty().then(|| written.text.split_once(&stand_in))??;
    let text = [before, document, after].concat();
    let limits = Limits::default();
    let read = if original.is_xml { read::xml(&text, &limits) } else { read::json(&text, &limits) }.ok()?;
    let inside = read.root().all("entry").filter_map(|entry| entry.get("resource")).find(|each| each.is("Bundle"))?;
    same(inside, original.element).then(|| text.into_bytes())
}

/// `<Bundle …>…</Bundle>` of a text that may have a declaration, a `resource` tag or comments around it.
fn xml_bundle(text: &str) -> Option<&str> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let skipped = if trimmed.starts_with("<?") {
            trimmed.find("?>")? + 2
        } else if trimmed.starts_with("<!--") {
            trimmed.find("-->")? + 3
        } else if trimmed.starts_with("<resource") {
            trimmed.find('>')? + 1
        } else {
            break;
        };
        at += skipped;
    }
    let end = text.rfind("</Bundle")?;
    let close: Range<usize> = end..end + text[end..].find('>')? + 1;
    let whole = text.get(at..close.end)?;
    let opens = whole.strip_prefix("<Bundle")?.starts_with(|c: char| c == '>' || c.is_ascii_whitespace());
    opens.then_some(whole)
}

fn json_object(text: &str) -> Option<&str> {
    let text = text.trim();
    // The span of a member may begin at its key.
    let start = text.find('{')?;
    text.ends_with('}').then(|| &text[start..])
}

/// The same content in the same order, whatever the names of the two roots.
fn same(a: Element<'_, '_>, b: Element<'_, '_>) -> bool {
    a.value() == b.value()
        && a.resource_type() == b.resource_type()
        && a.children().count() == b.children().count()
        && a.children().zip(b.children()).all(|(a, b)| a.name() == b.name() && same(a, b))
}
