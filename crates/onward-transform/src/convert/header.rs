//! Bundles, message headers and compositions: what the envelope says.

use onward_fhir::{Bundle, Element, systems, views};
use uuid::Uuid;

use super::walk::{Converter, Types};

/// `Meta.profile`: an R4 resource must not claim to follow an STU3 profile.
pub(super) fn profile<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    c.notes.mapped(child, "claims of STU3 profiles are not repeated by the R4 resources");
}

/// `Reference.reference`, unchanged; a type that R4 renamed is told, since only `fullUrl` leads there now.
pub(super) fn reference<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let renamed = |value: &str| value.contains("ReferralRequest/") || value.contains("ProcedureRequest/");
    if child.value().is_some_and(renamed) {
        c.notes.mapped(child, "a reference keeps the STU3 name of a type that is ServiceRequest in R4");
    }
    c.place(child, "reference", types, types.r4);
}

/// `MessageHeader.receiver`: R4 has one for each destination.
pub(super) fn receiver<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    c.moved(child, "destination.receiver", types);
    let header = child.parent().expect("a receiver stands in its header");
    if header.get("destination").is_some() {
        return;
    }
    c.out.open("destination");
    c.carry(child, "receiver", Types::both("Reference"));
    match receiver_ods_code(header, child) {
        Some(code) => c.out.leaf("endpoint", format!("urn:nhs-uk:addressing:ods:{code}")),
        None => c.absent("endpoint"),
    }
    c.out.close();
}

/// `MessageHeader.destination`, with the receiver where there is one.
pub(super) fn destination<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    c.out.open_shell("destination", child);
    c.children(child, Types::both("MessageHeader.destination"));
    if let Some(receiver) = child.parent().and_then(|header| header.get("receiver")) {
        c.carry(receiver, "receiver", Types::both("Reference"));
    }
    c.out.close();
}

/// The ODS code of the organisation that a message is for, found within its Bundle.
fn receiver_ods_code(header: Element<'_, '_>, receiver: Element<'_, '_>) -> Option<String> {
    let bundle = Bundle::new(enclosing_bundle(header)?)?;
    let mut found = bundle.resolve(receiver)?;
    if let Some(organisation) = found.get("organization") {
        found = bundle.resolve(organisation)?;
    }
    let code = views::ods_code(found)?;
    code.chars().all(|c| c.is_ascii_alphanumeric()).then(|| code.to_owned())
}

fn enclosing_bundle<'t, 's>(resource: Element<'t, 's>) -> Option<Element<'t, 's>> {
    resource.parent()?.parent().filter(|bundle| bundle.is("Bundle"))
}

/// `MessageHeader.timestamp`: R4 has it on the Bundle.
pub(super) fn timestamp<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let header = child.parent().expect("a timestamp stands in its header");
    let on_bundle = !c.is_root(header) && enclosing_bundle(header).is_some_and(|bundle| leads(header, bundle));
    if on_bundle {
        c.notes.mapped(child, "MessageHeader.timestamp is Bundle.timestamp in R4");
    } else {
        c.keep(child, types);
    }
}

fn leads(header: Element<'_, '_>, bundle: Element<'_, '_>) -> bool {
    let free = bundle.get("timestamp").is_none();
    free && bundle.text("type") == Some("message") && bundle.at("entry.resource").is_some_and(|first| first == header)
}

/// `Composition.attester`: one mode each in R4, so an attester with several modes is written once for each.
pub(super) fn attester<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    let types = Types::both("Composition.attester");
    if child.all("mode").nth(1).is_none() {
        c.carry(child, "attester", types);
        return;
    }
    c.notes.mapped(child, "an attester with several modes is one attester for each in R4");
    for mode in child.all("mode") {
        c.out.open("attester");
        c.carry(mode, "mode", Types::both("code"));
        child.children().filter(|part| part.name() != "mode").for_each(|part| c.child(part, types));
        c.out.close();
    }
}

/// What R4 asks of a Bundle beyond its own elements (bdl-9, bdl-10; MessageHeader.timestamp).
pub(super) fn complete<'s>(c: &mut Converter<'s>, source: Element<'_, 's>, types: Types) {
    if types.stu3 != "Bundle" || source.get("timestamp").is_some() {
        return;
    }
    match source.text("type") {
        Some("message") => {
            let header = source.at("entry.resource").filter(|first| first.is("MessageHeader"));
            if let Some(timestamp) = header.and_then(|header| header.get("timestamp")) {
                c.carry(timestamp, "timestamp", Types::both("instant"));
            }
        }
        Some("document") => {
            document_timestamp(c, source);
            document_identifier(c, source);
        }
        _ => {}
    }
}

/// ITK3 documents carry their date in `meta.lastUpdated`; else the authoring date, when it is an instant.
fn document_timestamp<'s>(c: &mut Converter<'s>, source: Element<'_, 's>) {
    let authored = source.at("entry.resource").filter(|first| first.is("Composition"));
    let date = authored.and_then(|composition| composition.get("date"));
    let instant = date.filter(|date| date.value().is_some_and(is_instant));
    match source.at("meta.lastUpdated").or(instant) {
        Some(found) => {
            c.notes.mapped(found, "Bundle.timestamp, which R4 asks of a document, is this date");
            c.out.leaf("timestamp", found.value().unwrap_or_default().to_owned());
        }
        None => c.notes.mapped(source, "the document has no instant for Bundle.timestamp, which R4 asks for"),
    }
}

fn document_identifier<'s>(c: &mut Converter<'s>, source: Element<'_, 's>) {
    let id = source.get("id").filter(|id| id.value().is_some_and(|id| Uuid::parse_str(id).is_ok()));
    if let (None, Some(id)) = (source.get("identifier"), id) {
        c.notes.mapped(id, "Bundle.identifier, which R4 asks of a document, is the Bundle's id");
        c.out.open("identifier");
        c.out.leaf("system", systems::UUID);
        c.out.leaf("value", id.value().unwrap_or_default().to_owned());
        c.out.close();
    }
}

/// True for a dateTime with seconds and zone, as `instant` demands.
fn is_instant(text: &str) -> bool {
    let Some((_, time)) = text.split_once('T') else { return false };
    let zone = time.find(['Z', '+', '-']);
    zone.is_some_and(|at| at >= "00:00:00".len())
}
