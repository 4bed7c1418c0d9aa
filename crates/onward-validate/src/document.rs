//! Rules of the document Bundle and its Composition (ITK-Document-Bundle-1, CareConnect-ITK-…-Composition-1, R4
//! bdl-9 to bdl-11).

use onward_fhir::document::{NotADocument, Replaces};
use onward_fhir::heading::DocumentKind;
use onward_fhir::message::Message;
use onward_fhir::{Document, Element, Release, views};

use crate::findings::Report;
use crate::policy::Policy;
use crate::{ITK_PAYLOAD, IssueCode, Severity, header, nhs_number, patient, sections, shown};

pub(crate) fn not_a_document(bundle: Element<'_, '_>, reason: NotADocument, report: &mut Report) {
    let text = match reason {
        NotADocument::NotABundle => "Expected a Bundle of type document; found another resource.",
        NotADocument::NoComposition if bundle.get("entry").is_none() => {
            "The document Bundle is empty. Put the document into it: a Composition first, then every resource that it \
             refers to."
        }
        NotADocument::NoComposition => {
            "A document needs a Composition as its first entry; none was found. Onward takes structured documents: an \
             attachment alone is not one."
        }
    };
    report.error("document-composition", IssueCode::Required, bundle, ITK_PAYLOAD, text);
}

/// All rules of a document but those that hold for every element.
pub(crate) fn validate(
    document: &Document<'_, '_>,
    message: Option<&Message<'_, '_>>,
    policy: &Policy,
    report: &mut Report,
) {
    let kind = header::announced_kind(message, document, report);
    bundle(document, report);
    composition(document, report);
    relates_to(document, report);
    sections::validate(document, kind, report);
    patient::validate(document, policy, report);
    encounter(document, kind, report);
}

fn bundle(document: &Document<'_, '_>, report: &mut Report) {
    let bundle = document.bundle.element();
    if document.bundle.bundle_type() != Some("document") {
        report.error(
            "document-type",
            IssueCode::Value,
            bundle.get("type").unwrap_or(bundle),
            ITK_PAYLOAD,
            "The payload must be a Bundle of type document. Set Bundle.type.",
        );
    }
    if bundle.text_at("identifier.value").is_none() {
        report.error(
            "document-identifier",
            IssueCode::Required,
            bundle,
            ITK_PAYLOAD,
            "Bundle.identifier (system and value) of the document is missing: without it a repeat cannot be recognised. \
             Give each document its own UUID.",
        );
    }
    if document.release == Release::R4 && bundle.text("timestamp").is_none() {
        report.error(
            "document-timestamp",
            IssueCode::Required,
            bundle,
            ITK_PAYLOAD,
            "An R4 document needs Bundle.timestamp (bdl-10): the instant at which it was assembled.",
        );
    }
    if document.bundle.first("Composition").is_none() {
        report.error(
            "document-composition-first",
            IssueCode::Structure,
            document.composition,
            ITK_PAYLOAD,
            "The first entry of a document must be its Composition (bdl-11); it stands later. Move it to the front.",
        );
    }
    for extra in document.bundle.of_type("Composition").skip(1) {
        report.error(
            "document-one-composition",
            IssueCode::Structure,
            extra,
            ITK_PAYLOAD,
            "A document has one Composition; this is another one. Send one document per message.",
        );
    }
    for entry in bundle.all("entry").filter(|entry| entry.get("resource").is_none()) {
        report.error(
            "document-entry-resource",
            IssueCode::Required,
            entry,
            ITK_PAYLOAD,
            "Every entry of a document carries a resource; this one has none. Remove the entry or add its resource.",
        );
    }
}

fn composition(document: &Document<'_, '_>, report: &mut Report) {
    let composition = document.composition;
    for (name, meaning) in [
        ("status", "final, or amended for a corrected document"),
        ("type", "SNOMED CT 373942005 Discharge summary, or the type of a sibling document"),
        ("subject", "a reference to the Patient of this document"),
        ("author", "a reference to who wrote it"),
        ("title", "care setting and document type, for people"),
        ("date", "when it was written, with offset"),
    ] {
        if composition.get(name).is_none() {
            report.error(
                "composition-required",
                IssueCode::Required,
                composition,
                ITK_PAYLOAD,
                format!("Composition.{name} is missing. Expected: {meaning}."),
            );
        }
    }
    match composition.text("status") {
        None | Some("final" | "amended") => {}
        Some(status) => report.error(
            "composition-status",
            IssueCode::BusinessRule,
            composition.get("status").unwrap_or(composition),
            ITK_PAYLOAD,
            format!(
                "Only finished documents are carried: Composition.status must be final or amended, found {}. Send the \
                 document when it is signed off.",
                shown::code(status)
            ),
        ),
    }
    if document.set_id.is_none() {
        let text = "Composition.identifier (system and value) is missing: a later version could not say what it replaces. \
                    Give the set of versions a UUID.";
        match document.release {
            Release::Stu3 => {
                report.error("composition-identifier", IssueCode::Required, composition, ITK_PAYLOAD, text)
            }
            Release::R4 => report.warning("composition-identifier", IssueCode::Required, composition, text),
        }
    }
    if composition.get("custodian").is_none() {
        report.warning(
            "composition-custodian",
            IssueCode::Required,
            composition,
            "Composition.custodian is missing: recipients cannot tell which organisation keeps the record.",
        );
    }
    let care_setting = composition
        .all("extension")
        .any(|extension| extension.text("url").is_some_and(|url| url.to_ascii_lowercase().contains("caresettingtype")));
    if !care_setting {
        report.warning(
            "composition-care-setting",
            IssueCode::Required,
            composition,
            "The extension CareSettingType (exactly one) is missing from the Composition. Add the clinical specialty of \
             the stay.",
        );
    }
}

fn relates_to(document: &Document<'_, '_>, report: &mut Report) {
    for relation in document.composition.all("relatesTo") {
        if relation.text("code") != Some("replaces") {
            report.warning(
                "composition-relates-to",
                IssueCode::NotSupported,
                relation,
                "Only relatesTo with code replaces is understood; this one changes nothing.",
            );
        }
    }
    match document.replaces {
        None => {}
        Some(Replaces::Identifier(_)) => report.add(
            Severity::Information,
            "document-replacement",
            IssueCode::Informational,
            document.composition.get("relatesTo").unwrap_or(document.composition),
            None,
            "The document replaces an earlier one, named by its Composition.identifier.".to_owned(),
        ),
        Some(Replaces::Reference(_) | Replaces::Unnamed) => report.error(
            "document-replacement-target",
            IssueCode::Required,
            document.composition.get("relatesTo").unwrap_or(document.composition),
            Some(20014),
            "A replacement must name the Composition.identifier of its immediate predecessor in \
             relatesTo.targetIdentifier; it does not.",
        ),
    }
}

fn encounter(document: &Document<'_, '_>, kind: DocumentKind, report: &mut Report) {
    let Some(encounter) = document.encounter else {
        report.warning(
            "encounter-missing",
            IssueCode::Required,
            document.composition,
            "The document has no Encounter that Composition.encounter points to: recipients see neither admission nor \
             discharge. Add it.",
        );
        return;
    };
    if kind != DocumentKind::OutpatientLetter && encounter.text_at("period.end").is_none() {
        report.warning(
            "encounter-discharge-time",
            IssueCode::Required,
            encounter,
            "Encounter.period.end, the time of discharge, is missing. The guide demands it; recipients plan by it.",
        );
    }
}

/// The DocumentReference around an embedded document speaks of the same person. A number that cannot be anyone's is
/// told; another person's is refused.
pub(crate) fn agrees_with_reference(document: &Document<'_, '_>, reference: Element<'_, '_>, report: &mut Report) {
    let outside = reference.get("subject").and_then(views::nhs_number);
    let inside = document.patient.and_then(views::nhs_number);
    let (Some(outside), Some(inside)) = (outside, inside) else { return };
    if outside == inside {
        return;
    }
    if nhs_number::check(outside).is_err() {
        report.warning(
            "document-reference-subject",
            IssueCode::Value,
            document.composition,
            "The NHS number of DocumentReference.subject is none (its form or check digit does not fit) and differs from the \
             one in the document. The document's is used; correct the DocumentReference.",
        );
    } else {
        report.error(
            "subject-mismatch",
            IssueCode::Invariant,
            document.composition,
            ITK_PAYLOAD,
            "The NHS number of DocumentReference.subject differs from the one in the embedded document. Find out which is \
             right before sending again: the document may belong to another person.",
        );
    }
}
