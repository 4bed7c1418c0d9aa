//! The covering practice's copy: please register this person temporarily, and here is the summary.
//!
//! By MESH it is what today's GP systems take in: GP Connect Send Document, an ITK3 message with the two pages as
//! attachments. Elsewhere it is an R4 Bundle of Task, Patient and document. GP Connect's own registration operation is
//! for federated appointments and is not used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::DeliveryId;
use onward_core::state::RecipientKind;
use onward_fhir::{Builder, Document, Element, Release, Tree, itk, systems, views};

use super::itk3::{Envelope, PROFILE, RecipientType};
use super::parts::{
    B, concept, copy_free_and, entry, entry_of, extension, identifier, organisation, patient_reference, profile,
    reference, urn, words,
};
use super::summary::Summary;
use super::{
    FHIR_XML, Parties, Prepared, RenderError, Rendered, dates, html, is_critical_for_care, r4_json, stu3_xml,
    takes_messages, workflow,
};
use crate::disclose::{Added, Policy};

/// SNOMED CT "Patient registration": the Task of the R4 draft frameworks (Task-registerPatient).
const PATIENT_REGISTRATION: (&str, &str) = ("184047000", "Patient registration");
/// GP Connect registration types; `T` is temporary.
const REGISTRATION_TYPE: &str = "https://fhir.nhs.uk/STU3/CodeSystem/CareConnect-RegistrationType-1";
pub(super) const ADDRESS_KEY: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-AddressKey";
const ADDRESS_KEY_TYPE: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-AddressKeyType";
const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/UKCore-";
pub(super) const CARE_CONNECT: &str = "https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-";
/// Send Document, "Current approved codes" of Composition.type: the other is a report of an encounter of the practice.
pub(crate) const REMOTE_CORRESPONDENCE: (&str, &str) =
    ("149701000000109", "Remote health correspondence (record artifact)");
pub(super) const SEND_DOCUMENT: &str =
    "https://fhir.nhs.uk/STU3/MessageDefinition/ITK-GPConnectSendDocument-MessageDefinition-1";
pub(super) const SEND_DOCUMENT_WORKFLOW: &str = "GPCONNECT_SEND_DOCUMENT";

/// What a practice needs of the Patient to register (GP Connect register patient: names, birth date, gender,
/// addresses, telecoms, language).
const REGISTRATION_ELEMENTS: [&str; 11] = [
    "identifier",
    "active",
    "name",
    "telecom",
    "gender",
    "birthDate",
    "deceasedBoolean",
    "deceasedDateTime",
    "address",
    "communication",
    "extension",
];

/// The request for temporary registration with the summary, for the practice near the home.
///
/// # Errors
/// See [`RenderError`].
pub fn covering_practice(
    document: &Tree<'_>,
    policy: &Policy,
    parties: &Parties<'_>,
    delivery: DeliveryId,
) -> Result<Rendered, RenderError> {
    let practice = parties.covering_practice;
    let kind = RecipientKind::CoveringPractice;
    let prepared = Prepared::new(document, policy, kind, &practice.ods, parties, delivery)?;
    prepared.without_gaps(is_critical_for_care)?;
    let summary = Summary::new(&prepared, parties)?;
    let stay = (html::stay_start(parties), html::stay_end(&summary, parties));
    let page = html::practice(&prepared, &summary, parties)?;
    if !takes_messages(&practice.endpoint) {
        let body = r4_json(&request_bundle(&prepared, &stay, parties)?)?;
        return Ok(prepared.rendered(body, page));
    }
    let registration = html::registration(&prepared, &summary, parties)?;
    let letter = html::practice_summary(&prepared, &summary, parties)?;
    let envelope = Envelope {
        ids: &prepared.ids,
        parties,
        event: (itk::SEND_DOCUMENT_EVENT, "ITK GP Connect Send Document"),
        definition: SEND_DOCUMENT,
        recipient_type: RecipientType::ForAction,
        local: "NONE",
        receiver: None,
    };
    let attached = |title: &str, html: &str| Attached {
        title: title.to_owned(),
        media_type: "text/html".to_owned(),
        base64: BASE64.encode(html),
    };
    let mut attachments =
        vec![attached("Request for temporary registration", &registration), attached("Discharge summary", &letter)];
    attachments.extend(of_the_hospital(&prepared));
    let mut told = *parties;
    if !prepared.adds(Added::RegisteredPractice) {
        told.registered_practice = None;
    }
    let envelope = Envelope { parties: &told, ..envelope };
    let label = confidentiality(prepared.projection.tree.root());
    let message = send_document(&envelope, prepared.patient()?, &stay, label, &attachments);
    let (body, correlation) = (stu3_xml(&message)?, envelope.header_id());
    let mut rendered = prepared.rendered(body, page);
    rendered.media_type = FHIR_XML.to_owned();
    rendered.correlation_id = Some(correlation);
    rendered.workflow = workflow(SEND_DOCUMENT_WORKFLOW);
    Ok(rendered)
}

/// One attachment of Send Document.
struct Attached {
    title: String,
    media_type: String,
    base64: String,
}

/// What the hospital attached and the policy lets go: the letter is no replacement for it.
fn of_the_hospital(prepared: &Prepared<'_>) -> Vec<Attached> {
    let root = prepared.projection.tree.root();
    let Ok(document) = Document::read(root, Release::R4) else { return Vec::new() };
    let with_data = document.attachments().into_iter().filter_map(|attachment| {
        let base64 = attachment.data.and_then(Element::value)?.to_owned();
        Some((attachment.title, attachment.media_type?.to_owned(), base64))
    });
    with_data
        .enumerate()
        .map(|(at, (title, media_type, base64))| {
            let title = title.map_or_else(|| format!("Attachment {} of the hospital", at + 1), str::to_owned);
            Attached { title, media_type, base64 }
        })
        .collect()
}

/// Start and end of the stay, FHIR dates or dateTimes.
pub(super) type Stay = (String, Option<String>);

/// Task, Patient with the temporary address, document: an R4 collection.
fn request_bundle<'p>(prepared: &'p Prepared<'_>, stay: &Stay, parties: &Parties<'_>) -> Result<Tree<'p>, RenderError> {
    let patient = prepared.patient()?;
    let registered = parties.registered_practice.filter(|_| prepared.adds(Added::RegisteredPractice));
    let id = |part: &str| prepared.ids.derived(part).to_string();
    let (task, person, document) = (id("task"), id("patient"), prepared.ids.document().to_string());
    let mut b: B = Builder::resource("Bundle");
    b.leaf("id", prepared.ids.bundle_id().to_string());
    identifier(&mut b, systems::UUID, id("collection"));
    b.leaf("type", "collection");
    b.leaf("timestamp", dates::instant(parties.now));
    entry(&mut b, &task, "Task", |b| registration_task(b, [&task, &person, &document], patient, stay, parties));
    entry(&mut b, &person, "Patient", |b| {
        profile(b, &format!("{UK_CORE}Patient"));
        copy_free_and(b, patient, &REGISTRATION_ELEMENTS, "address", |b| temporary_address(b, parties, stay, true));
        if let Some(registered) = registered {
            organisation(b, "generalPractitioner", &registered.ods, &registered.name);
        }
    });
    entry_of(&mut b, &document, prepared.projection.tree.root());
    Ok(b.finish())
}

fn registration_task(
    b: &mut B,
    [id, person, document]: [&str; 3],
    patient: Element<'_, '_>,
    stay: &Stay,
    parties: &Parties<'_>,
) {
    let practice = parties.covering_practice;
    profile(b, &format!("{UK_CORE}Task"));
    identifier(b, systems::UUID, id);
    b.node("groupIdentifier", |b| {
        b.leaf("system", systems::UUID);
        b.leaf("value", parties.transfer.to_string());
    });
    b.leaf("status", "requested");
    b.leaf("intent", "order");
    concept(b, "code", systems::SNOMED_CT, PATIENT_REGISTRATION.0, PATIENT_REGISTRATION.1);
    reference(b, "focus", person);
    patient_reference(b, "for", person, patient);
    b.leaf("authoredOn", dates::instant(parties.now));
    organisation(b, "requester", parties.sender_ods, parties.sender_name);
    organisation(b, "owner", &practice.ods, &practice.name);
    words(b, "reasonCode", "Temporary registration for the stay in a care home after discharge from hospital");
    b.node("restriction", |b| {
        b.node("period", |b| {
            b.leaf("start", stay.0.clone());
            b.leaf_if("end", stay.1.clone());
        });
    });
    b.node("input", |b| {
        words(b, "type", "Type of registration");
        concept(b, "valueCodeableConcept", REGISTRATION_TYPE, "T", "Temporary");
    });
    b.node("input", |b| {
        words(b, "type", "Discharge summary");
        b.node("valueReference", |b| b.leaf("reference", urn(document)));
    });
}

/// The home as `temp` address for the stay; with its UPRN in R4, for which STU3 has no extension.
pub(super) fn temporary_address(b: &mut B, parties: &Parties<'_>, stay: &Stay, with_uprn: bool) {
    let home = parties.care_home;
    b.node("address", |b| {
        if with_uprn {
            extension(b, ADDRESS_KEY, |b| {
                extension(b, "type", |b| {
                    concept(b, "valueCodeableConcept", ADDRESS_KEY_TYPE, "UPRN", "Unique Property Reference Number")
                });
                extension(b, "value", |b| b.leaf("valueString", home.uprn.clone()));
            });
        }
        b.leaf("use", "temp");
        b.leaf("line", home.name.clone());
        for line in &home.address {
            b.leaf("line", line.clone());
        }
        b.leaf("postalCode", home.postcode.clone());
        b.node("period", |b| {
            b.leaf("start", stay.0.clone());
            b.leaf_if("end", stay.1.clone());
        });
    });
}

/// v3-Confidentiality from the least to the most protected.
const CONFIDENTIALITY: [&str; 6] = ["U", "L", "M", "N", "R", "V"];

/// The highest label that stands anywhere in the document (R4 §6.1.1, the high-water mark), never a lower one than the
/// sender's; "normal" where there is none.
fn confidentiality(document: Element<'_, '_>) -> &'static str {
    let is_confidentiality = |system: Option<&str>| system.is_some_and(|system| system.ends_with("v3-Confidentiality"));
    let labels = document
        .descendants()
        .filter(|each| each.name() == "security")
        .filter_map(|label| is_confidentiality(label.text("system")).then(|| label.text("code")).flatten());
    let compositions = document.descendants().filter(|each| each.is("Composition"));
    let own = compositions.filter_map(|composition| composition.text("confidentiality"));
    let ranks = labels.chain(own).filter_map(|code| CONFIDENTIALITY.iter().position(|known| *known == code));
    ranks.max().map_or("N", |rank| CONFIDENTIALITY[rank])
}

/// GP Connect Send Document (STU3): one section for each attachment, the primary one first.
fn send_document<'a>(
    envelope: &Envelope<'_>,
    patient: Element<'_, '_>,
    stay: &Stay,
    confidentiality: &'static str,
    attachments: &'a [Attached],
) -> Tree<'a> {
    let (ids, parties) = (envelope.ids, envelope.parties);
    let id = |part: &str| ids.derived(part).to_string();
    let (document, composition, person) = (id("send-document"), id("composition"), id("patient"));
    let (hospital, practice) = (id("hospital"), id("practice"));
    let binary = |at: usize| id(&format!("attachment-{at}"));
    envelope.message(&document, |b| {
        entry(b, &document, "Bundle", |b| {
            profile(b, &format!("{PROFILE}ITK-Document-Bundle-1"));
            identifier(b, systems::UUID, ids.document().to_string());
            b.leaf("type", "document");
            entry(b, &composition, "Composition", |b| {
                profile(b, &format!("{CARE_CONNECT}Composition-1"));
                identifier(b, systems::UUID, id("composition-identifier"));
                b.leaf("status", "final");
                concept(b, "type", systems::SNOMED_CT, REMOTE_CORRESPONDENCE.0, REMOTE_CORRESPONDENCE.1);
                reference(b, "subject", &person);
                b.leaf("date", dates::instant(parties.now));
                reference(b, "author", &hospital);
                b.leaf(
                    "title",
                    attachments.first().map_or_else(|| "Discharge summary".to_owned(), |first| first.title.clone()),
                );
                b.leaf("confidentiality", confidentiality.to_owned());
                reference(b, "custodian", &hospital);
                for (at, attached) in attachments.iter().enumerate() {
                    b.node("section", |b| {
                        b.leaf("title", attached.title.clone());
                        reference(b, "entry", &binary(at));
                    });
                }
            });
            entry(b, &person, "Patient", |b| stu3_patient(b, patient, stay, parties, &practice));
            entry(b, &hospital, "Organization", |b| {
                profile(b, &format!("{CARE_CONNECT}Organization-1"));
                identifier(b, systems::ODS_ORGANISATION, parties.sender_ods.as_str());
                b.leaf("name", parties.sender_name.to_owned());
            });
            if let Some(registered) = parties.registered_practice {
                entry(b, &practice, "Organization", |b| {
                    profile(b, &format!("{CARE_CONNECT}Organization-1"));
                    identifier(b, systems::ODS_ORGANISATION, registered.ods.as_str());
                    b.leaf("name", registered.name.clone());
                });
            }
            for (at, attached) in attachments.iter().enumerate() {
                entry(b, &binary(at), "Binary", |b| {
                    profile(b, &format!("{PROFILE}ITK-Attachment-Binary-1"));
                    b.leaf("contentType", attached.media_type.as_str());
                    b.leaf("content", attached.base64.as_str());
                });
            }
        });
    })
}

/// The projected Patient as CareConnect-Patient-1; the data types used are the same in STU3 and R4.
fn stu3_patient(b: &mut B, patient: Element<'_, '_>, stay: &Stay, parties: &Parties<'_>, practice: &str) {
    profile(b, &format!("{CARE_CONNECT}Patient-1"));
    let number = patient.all("identifier").find(|each| each.text("system").is_some_and(systems::is_nhs_number));
    b.node("identifier", |b| {
        if let Some((code, display)) = number.and_then(verification) {
            extension(
                b,
                "https://fhir.hl7.org.uk/STU3/StructureDefinition/Extension-CareConnect-NHSNumberVerificationStatus-1",
                |b| {
                    let system = "https://fhir.hl7.org.uk/STU3/CodeSystem/CareConnect-NHSNumberVerificationStatus-1";
                    concept(b, "valueCodeableConcept", system, &code, &display);
                },
            );
        }
        b.leaf("system", systems::NHS_NUMBER);
        b.leaf_if("value", number.and_then(|each| each.text("value")).map(str::to_owned));
    });
    for name in ["name", "telecom", "gender", "birthDate", "deceasedBoolean", "deceasedDateTime", "address"] {
        for child in patient.all(name) {
            without_extensions(b, child);
        }
    }
    temporary_address(b, parties, stay, false);
    if parties.registered_practice.is_some() {
        reference(b, "generalPractitioner", practice);
    }
}

fn verification(identifier: Element<'_, '_>) -> Option<(String, String)> {
    let extension = identifier
        .all("extension")
        .find(|extension| extension.text("url").is_some_and(|url| url.contains("NHSNumberVerificationStatus")))?;
    let coding = views::codings(extension.choice("value")?).next()?;
    Some((coding.code?.to_owned(), coding.display.unwrap_or_default().to_owned()))
}

/// R4's extensions mean nothing in STU3.
fn without_extensions(b: &mut B, element: Element<'_, '_>) {
    b.open_same_owned(element);
    for child in element.children().filter(|child| child.name() != "extension") {
        without_extensions(b, child);
    }
    b.close();
}
