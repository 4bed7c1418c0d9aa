//! Rules of the message as a whole: size, shape, which parts it has.

use std::collections::HashMap;

use onward_fhir::message::{DocumentPart, Message, NotAMessage};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Document, Element, NodeId, Release, Tree, message as fhir_message};

use crate::findings::Report;
use crate::policy::Policy;
use crate::{
    ITK_HEADER, ITK_PAYLOAD, ITK_UNREADABLE, IssueCode, Scope, carried, content, document, header, references,
    response, shown, structure,
};

/// ITK response: larger than 5 MB.
const ITK_TOO_LARGE: Option<u32> = Some(20015);

/// Size first: nothing else is looked at when it does not fit.
pub(crate) fn fits(tree: &Tree<'_>, policy: &Policy, report: &mut Report) -> bool {
    let (bytes, bytes_max) = (tree.source().len(), policy.bytes_max);
    if bytes > bytes_max {
        report.error(
            "message-too-large",
            IssueCode::TooLong,
            tree.root(),
            ITK_TOO_LARGE,
            format!(
                "A message may have {bytes_max} bytes, this one has {bytes}. Send fewer or smaller attachments (images \
                 at lower resolution, PDF instead of TIFF)."
            ),
        );
        return false;
    }
    entries_fit(tree.root(), policy, report)
}

pub(crate) fn entries_fit(root: Element<'_, '_>, policy: &Policy, report: &mut Report) -> bool {
    let in_bundle = |element: &Element<'_, '_>| {
        element.name() == "entry" && element.parent().is_some_and(|parent| parent.is("Bundle"))
    };
    let (entries, entries_max) = (root.descendants().filter(in_bundle).count(), policy.entries_max);
    if entries > entries_max {
        report.error(
            "message-too-many-entries",
            IssueCode::TooLong,
            root,
            ITK_TOO_LARGE,
            format!("A message may have {entries_max} entries, this one has {entries}. Send one document per message."),
        );
    }
    entries <= entries_max && contained_fit(root, report)
}

/// References to contained resources are looked up one by one; their number is bounded so that none can be made to wait.
const CONTAINED_MAX: usize = 256;

fn contained_fit(root: Element<'_, '_>, report: &mut Report) -> bool {
    let mut counts: HashMap<NodeId, usize> = HashMap::new();
    for contained in root.descendants().filter(|element| element.name() == "contained") {
        let Some(holder) = contained.parent() else { continue };
        let count = counts.entry(holder.id()).or_default();
        *count += 1;
        if *count > CONTAINED_MAX {
            report.error(
                "too-many-contained",
                IssueCode::TooLong,
                holder,
                ITK_TOO_LARGE,
                format!("A resource may contain {CONTAINED_MAX} others; this one contains more. Make them entries."),
            );
            return false;
        }
    }
    true
}

pub(crate) fn validate(root: Element<'_, '_>, policy: &Policy, report: &mut Report) {
    let message = match Message::read(root) {
        Ok(message) => message,
        Err(reason) => {
            not_a_message(root, reason, report);
            let release = fhir_message::release_of(root);
            structure::validate(root, release, Scope::Carried, report);
            content(root, Scope::Carried, report);
            return;
        }
    };
    shape(&message, report);
    header::validate(&message, report);
    if message.is_response() {
        response::validate(&message, report);
    } else {
        payload(&message, policy, report);
    }
    carried(root, message.release, policy, report);
    references::validate_message(&message, report);
    content(root, Scope::Carried, report);
}

fn not_a_message(root: Element<'_, '_>, reason: NotAMessage, report: &mut Report) {
    let (rule, text) = match reason {
        NotAMessage::NotABundle => (
            "message-is-bundle",
            "Expected a Bundle of type message whose first entry is a MessageHeader; found another resource. Wrap the \
             document in a message Bundle.",
        ),
        NotAMessage::BundleType => (
            "message-type",
            "Expected Bundle.type message. If this is a document, put it into a message Bundle behind a MessageHeader \
             that names it as focus.",
        ),
        NotAMessage::NoHeader => (
            "message-header-missing",
            "A message needs a MessageHeader as its first entry; none was found. Add one that names event, sender, \
             source and focus.",
        ),
    };
    report.error(rule, IssueCode::Structure, root, ITK_UNREADABLE, text);
}

fn shape(message: &Message<'_, '_>, report: &mut Report) {
    let root = message.bundle.element();
    if message.bundle.first("MessageHeader").is_none() {
        report.error(
            "message-header-first",
            IssueCode::Structure,
            message.header,
            ITK_HEADER,
            "The first entry of a message must be its MessageHeader (bdl-12); it stands later. Move it to the front.",
        );
    }
    for extra in message.bundle.of_type("MessageHeader").skip(1) {
        report.error(
            "message-one-header",
            IssueCode::Structure,
            extra,
            ITK_HEADER,
            "A message has one MessageHeader; this is another one. Send one message per Bundle.",
        );
    }
    for entry in root.all("entry").filter(|entry| entry.get("resource").is_none()) {
        report.error(
            "message-entry-resource",
            IssueCode::Required,
            entry,
            ITK_HEADER,
            "Every entry of a message carries a resource; this one has none. Remove the entry or add its resource.",
        );
    }
    identifier(message, root, report);
    if message.release == Release::R4 {
        r4_prohibited(root, report);
    }
}

/// What the rule file says of STU3 messages holds for the R4 form too: it is ignored, and told.
fn r4_prohibited(root: Element<'_, '_>, report: &mut Report) {
    let entries = root.all("entry").flat_map(Element::children);
    let bundle = root.children().filter(|child| matches!(child.name(), "total" | "link" | "signature"));
    for found in bundle.chain(entries.filter(|child| matches!(child.name(), "search" | "request" | "response"))) {
        report.warning(
            "message-prohibited-element",
            IssueCode::Structure,
            found,
            format!("A message has no {} here; it is ignored. Leave it out.", found.name()),
        );
    }
}

/// The identifier under which repeats are recognised.
fn identifier(message: &Message<'_, '_>, root: Element<'_, '_>, report: &mut Report) {
    if root.text_at("identifier.value").is_some() {
        return;
    }
    let text = "Bundle.identifier.value is missing. Give every message its own UUID (system \
                https://tools.ietf.org/html/rfc4122) and repeat it when the same message is sent again.";
    match message.release {
        Release::R4 if message.header_id.is_some() => {
            let text = format!("{text} For now the MessageHeader's id serves.");
            report.warning("message-identifier", IssueCode::Required, root, text);
        }
        _ => report.error("message-identifier", IssueCode::Required, root, ITK_HEADER, text),
    }
}

/// The document, wherever it lies.
fn payload(message: &Message<'_, '_>, policy: &Policy, report: &mut Report) {
    match message.document {
        DocumentPart::Nested(bundle) => match Document::read(bundle, message.release) {
            Ok(read) => document::validate(&read, Some(message), policy, report),
            Err(reason) => document::not_a_document(bundle, reason, report),
        },
        DocumentPart::Embedded { reference, binary, .. } => {
            embedded(message, reference, binary, policy, report);
        }
        DocumentPart::Missing => {
            let at = message.header.get("focus").unwrap_or(message.header);
            report.error(
                "header-focus",
                IssueCode::Required,
                at,
                ITK_HEADER,
                "MessageHeader.focus must point to the document: a Bundle of type document in this message, or a \
                 DocumentReference whose attachment.url is a Binary of this message. Nothing of the kind is there. \
                 Check that the reference equals the entry's fullUrl.",
            );
        }
        DocumentPart::NotADocument(resource_type) => {
            let at = message.header.get("focus").unwrap_or(message.header);
            report.error(
                "header-focus-document",
                IssueCode::NotSupported,
                at,
                ITK_HEADER,
                format!(
                    "MessageHeader.focus must lead to a document Bundle or a DocumentReference; it leads to {}. Onward \
                     takes transfer-of-care documents only.",
                    shown::name(resource_type)
                ),
            );
        }
    }
}

fn embedded(
    message: &Message<'_, '_>,
    reference: Element<'_, '_>,
    binary: Element<'_, '_>,
    policy: &Policy,
    report: &mut Report,
) {
    let decoded = match message.embedded_document() {
        Ok(decoded) => decoded,
        Err(reason) => {
            let text = format!(
                "{reason}. The Binary that carries the document needs contentType application/fhir+xml or \
                 application/fhir+json (with fhirVersion=3.0 or 4.0) and the document in base64."
            );
            report.error("embedded-document", IssueCode::Value, binary, ITK_PAYLOAD, text);
            return;
        }
    };
    let tree = match read::bytes(&decoded.bytes, decoded.format, &Limits::default()) {
        Ok(tree) => tree,
        Err(reason) => {
            let text = format!("The embedded document cannot be read: {reason}.");
            report.error("embedded-document", IssueCode::Structure, binary, ITK_PAYLOAD, text);
            return;
        }
    };
    let root = tree.root();
    let told = fhir_message::release_of(root);
    let release = decoded.release.unwrap_or(told);
    report.enter(binary);
    if entries_fit(root, policy, report) {
        if release != told {
            report.warning(
                "embedded-document-release",
                IssueCode::Value,
                root,
                "The media type names one FHIR release (fhirVersion), the content is written in another. Correct the \
                 parameter.",
            );
        }
        match Document::read(root, release) {
            Ok(read) => {
                document::validate(&read, Some(message), policy, report);
                document::agrees_with_reference(&read, reference, report);
            }
            Err(reason) => document::not_a_document(root, reason, report),
        }
        carried(root, release, policy, report);
        references::validate_document(root, report);
        content(root, Scope::Carried, report);
    }
    report.leave();
}
