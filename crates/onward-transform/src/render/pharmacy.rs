//! The pharmacy's two copies: the Discharge Medicines Service referral, and the request to become the nominated
//! pharmacy.
//!
//! No national hospital-to-pharmacy FHIR interface exists (standards.md §10.19), so the referral is an R4 message
//! whose focus is a ServiceRequest. The nomination is a request to a person: PDS lets only a health worker's session
//! change it, and only with the patient's consent. Which pharmacy is nominated now is not told: to ask for that consent
//! nobody needs it.
//!
//! A document without medicines makes no referral. It is not held for that: the heading is optional in the eDischarge
//! guide, and to hold it would keep the home and the practices waiting for a list that does not exist; their pages say
//! that the hospital sent none and that this does not mean that there are none.

use onward_core::DeliveryId;
use onward_core::state::RecipientKind;
use onward_fhir::{Builder, Element, Heading, Tree, systems};

use super::parts::{
    B, coding, copy_free, copy_free_and, entry, entry_of, extension, identifier, organisation, patient_reference,
    profile, reference, urn, words,
};
use super::registration::{Stay, temporary_address};
use super::summary::Summary;
use super::{Parties, Prepared, RenderError, Rendered, dates, html, r4_json, source_endpoint};
use crate::disclose::{Added, Gap, Policy};

const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/UKCore-";
const RESPONSE_REQUEST: &str = "http://hl7.org/fhir/StructureDefinition/messageheader-response-request";

/// The Discharge Medicines Service referral.
///
/// # Errors
/// See [`RenderError`].
pub fn pharmacy_referral(
    document: &Tree<'_>,
    policy: &Policy,
    parties: &Parties<'_>,
    delivery: DeliveryId,
) -> Result<Rendered, RenderError> {
    let pharmacy = parties.delivering_pharmacy;
    let kind = RecipientKind::PharmacyReferral;
    let prepared = Prepared::new(document, policy, kind, &pharmacy.ods, parties, delivery)?;
    prepared.without_gaps(is_critical_for_pharmacy)?;
    let summary = Summary::new(&prepared, parties)?;
    if !summary.medicines.are_told() {
        // Medicines are the referral (standards.md §10.19): one without them would count as sent and help nobody.
        prepared.without_gaps(|gap| gap.heading == Heading::Medications)?;
        return Err(RenderError::NoMedicines);
    }
    let page = html::pharmacy_referral(&prepared, &summary, parties)?;
    let header = prepared.ids.derived("message-header").to_string();
    let body = r4_json(&referral_message(&prepared, &summary, parties, &header)?)?;
    let mut rendered = prepared.rendered(body, page);
    rendered.correlation_id = Some(header);
    Ok(rendered)
}

/// What the minimum set of the service is made of; other entries under the same headings are not part of it.
fn is_critical_for_pharmacy(gap: &Gap) -> bool {
    let of_list = matches!(gap.heading, Heading::Medications | Heading::Allergies);
    of_list
        && gap
            .resource_type
            .as_deref()
            .is_none_or(|name| name.starts_with("Medication") || matches!(name, "AllergyIntolerance" | "List"))
}

fn referral_message<'p>(
    prepared: &'p Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
    header: &str,
) -> Result<Tree<'p>, RenderError> {
    let patient = prepared.patient()?;
    let (pharmacy, covering) = (parties.delivering_pharmacy, parties.covering_practice);
    let stay: Stay = (html::stay_start(parties), html::stay_end(summary, parties));
    let id = |part: &str| prepared.ids.derived(part).to_string();
    let (request, person, document) = (id("service-request"), id("patient"), prepared.ids.document().to_string());
    let mut b: B = Builder::resource("Bundle");
    b.leaf("id", prepared.ids.bundle_id().to_string());
    identifier(&mut b, systems::UUID, id("message"));
    b.leaf("type", "message");
    b.leaf("timestamp", dates::instant(parties.now));
    entry(&mut b, header, "MessageHeader", |b| {
        extension(b, RESPONSE_REQUEST, |b| b.leaf("valueCode", "always"));
        coding(b, "eventCoding", systems::R4_MESSAGE_EVENT, "document", "Document");
        b.node("destination", |b| {
            b.leaf("endpoint", format!("urn:nhs-uk:addressing:ods:{}", pharmacy.ods));
            organisation(b, "receiver", &pharmacy.ods, &pharmacy.name);
        });
        organisation(b, "sender", parties.sender_ods, parties.sender_name);
        b.node("source", |b| b.leaf("endpoint", source_endpoint(parties)));
        reference(b, "focus", &request);
        reference(b, "focus", &document);
    });
    entry(&mut b, &request, "ServiceRequest", |b| {
        profile(b, &format!("{UK_CORE}ServiceRequest"));
        identifier(b, systems::UUID, request.as_str());
        b.node("requisition", |b| {
            b.leaf("system", systems::UUID);
            b.leaf("value", parties.transfer.to_string());
        });
        b.leaf("status", "active");
        b.leaf("intent", "order");
        words(b, "code", "NHS Discharge Medicines Service");
        patient_reference(b, "subject", &person, patient);
        b.leaf("authoredOn", dates::instant(parties.now));
        organisation(b, "requester", parties.sender_ods, parties.sender_name);
        organisation(b, "performer", &pharmacy.ods, &pharmacy.name);
        let reason = match summary.medicines.any_changed() {
            true => "Medicines changed during a hospital stay; discharge to a care home",
            false => "Discharge from hospital to a care home: medicines to be checked",
        };
        words(b, "reasonCode", reason);
        b.node("supportingInfo", |b| b.leaf("reference", urn(&document)));
        note(b, &format!("Referrer: {}", referrer(summary, parties)));
        note(b, &care_home_in_words(parties));
        if prepared.adds(Added::CoveringPractice) {
            let (name, ods, telephone) = (&covering.name, &covering.ods, &covering.telephone);
            note(b, &format!("Practice covering the care home: {name} ({ods}) {telephone}"));
        }
    });
    entry(&mut b, &person, "Patient", |b| {
        profile(b, &format!("{UK_CORE}Patient"));
        // Beside the person's own: where the medicines are to be delivered for the stay.
        copy_free_and(b, patient, &PERSON, "address", |b| temporary_address(b, parties, &stay, true));
        if let Some(registered) = parties.registered_practice.filter(|_| prepared.adds(Added::RegisteredPractice)) {
            organisation(b, "generalPractitioner", &registered.ods, &registered.name);
        }
    });
    entry_of(&mut b, &document, prepared.projection.tree.root());
    Ok(b.finish())
}

/// The Patient as the request carries it; the document has what else the policy names.
const PERSON: [&str; 9] = [
    "identifier",
    "active",
    "name",
    "telecom",
    "gender",
    "birthDate",
    "deceasedBoolean",
    "deceasedDateTime",
    "address",
];

fn note(b: &mut B, text: &str) {
    b.node("note", |b| b.leaf("text", text.trim().to_owned()));
}

/// Where the person is to be found.
fn care_home_in_words(parties: &Parties<'_>) -> String {
    let home = parties.care_home;
    let place = [home.name.as_str()].into_iter().chain(home.address.iter().map(String::as_str));
    let lines: Vec<&str> = place
        .chain([home.postcode.as_str(), home.contact.telephone.as_str()])
        .filter(|line| !line.is_empty())
        .collect();
    format!("Care home: {}", lines.join(", "))
}

/// Name and telephone of the referring hospital; what it did not send is said.
fn referrer(summary: &Summary, parties: &Parties<'_>) -> String {
    let telephones = match summary.origin.telephones.as_slice() {
        [] => "telephone not sent".to_owned(),
        lines => lines.join("; "),
    };
    format!("{} ({}), {telephones}", parties.sender_name, parties.sender_ods)
}

/// The request to become the nominated pharmacy: a Task for a person at the pharmacy.
///
/// # Errors
/// [`RenderError::NotNeeded`] when it is the nominated pharmacy already; else see [`RenderError`].
pub fn pharmacy_nomination(
    document: &Tree<'_>,
    policy: &Policy,
    parties: &Parties<'_>,
    delivery: DeliveryId,
) -> Result<Rendered, RenderError> {
    let pharmacy = parties.delivering_pharmacy;
    if parties.nominated_pharmacy == Some(&pharmacy.ods) {
        return Err(RenderError::NotNeeded("the delivering pharmacy is the nominated one"));
    }
    let kind = RecipientKind::PharmacyNomination;
    let prepared = Prepared::new(document, policy, kind, &pharmacy.ods, parties, delivery)?;
    let summary = Summary::new(&prepared, parties)?;
    let page = html::pharmacy_nomination(&prepared, &summary, parties)?;
    let patient = prepared.patient()?;
    let body = r4_json(&nomination_bundle(&prepared, patient, parties))?;
    let id = prepared.ids.derived("collection").to_string();
    let mut rendered = prepared.rendered(body, page);
    // No document travels: the request itself is what is identified.
    rendered.document_id = id;
    Ok(rendered)
}

fn nomination_bundle(prepared: &Prepared<'_>, patient: Element<'_, '_>, parties: &Parties<'_>) -> Tree<'static> {
    let pharmacy = parties.delivering_pharmacy;
    let id = |part: &str| prepared.ids.derived(part).to_string();
    let (task, person) = (id("task"), id("patient"));
    let mut b: B = Builder::resource("Bundle");
    b.leaf("id", prepared.ids.bundle_id().to_string());
    identifier(&mut b, systems::UUID, id("collection"));
    b.leaf("type", "collection");
    b.leaf("timestamp", dates::instant(parties.now));
    entry(&mut b, &task, "Task", |b| {
        profile(b, &format!("{UK_CORE}Task"));
        identifier(b, systems::UUID, task.as_str());
        b.node("groupIdentifier", |b| {
            b.leaf("system", systems::UUID);
            b.leaf("value", parties.transfer.to_string());
        });
        b.leaf("status", "requested");
        b.leaf("intent", "proposal");
        words(b, "code", "Set the nominated pharmacy, with the patient's consent");
        reference(b, "focus", &person);
        patient_reference(b, "for", &person, patient);
        b.leaf("authoredOn", dates::instant(parties.now));
        organisation(b, "requester", parties.sender_ods, parties.sender_name);
        organisation(b, "owner", &pharmacy.ods, &pharmacy.name);
        words(b, "reasonCode", "The patient moves to a care home to which this pharmacy delivers");
        note(b, "Nothing may be changed without the consent of the patient or of whoever may decide for them.");
        if prepared.adds(Added::CareHome) {
            note(b, &care_home_in_words(parties));
        }
        b.node("input", |b| {
            words(b, "type", "Pharmacy to be nominated");
            organisation(b, "valueReference", &pharmacy.ods, &pharmacy.name);
        });
    });
    entry(&mut b, &person, "Patient", |b| {
        profile(b, &format!("{UK_CORE}Patient"));
        copy_free(b, patient, &PERSON);
    });
    b.finish()
}
