//! The notice that a copy is no longer to be used, or that the person has left the home. It names the copy and nothing clinical.
//! To whoever should not have had the copy it does not say whom it was about.
//!
//! A practice's system takes in by MESH what is a document: there it is GP Connect Send Document with one page. ITK3 has
//! no message that cancels another one. Elsewhere it is an R4 Bundle with one cancelled Task.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::directory::Endpoint;
use onward_core::state::{Departure, EndReason, RecipientKind};
use onward_core::{DeliveryId, MeshMailboxId, NhsNumber, OdsCode, Timestamp, TransferId};
use onward_fhir::{Builder, Element, Tree, itk, systems};

use super::itk3::{PROFILE, RecipientType, handling};
use super::parts::{B, coding, concept, entry, entry_alone, identifier, organisation, profile, reference, urn, words};
use super::registration::{CARE_CONNECT, REMOTE_CORRESPONDENCE, SEND_DOCUMENT, SEND_DOCUMENT_WORKFLOW};
use super::summary::nhs_number_spaced;
use super::{FHIR_JSON, FHIR_XML, RenderError, Rendered, dates, r4_json, stu3_xml, takes_messages, workflow};
use crate::disclose::NewIds;

/// Code system of what Onward's Tasks are for.
const TASK_CODES: &str = "https://onward.example/CodeSystem/task";

/// What a notice says.
#[derive(Debug, Clone, Copy)]
pub struct NoticeParts<'a> {
    /// The transfer of the copy.
    pub transfer: TransferId,
    /// The copy.
    pub of: DeliveryId,
    /// When the copy was queued.
    pub sent: Timestamp,
    /// Why it ended.
    pub why: EndReason,
    /// The same in words.
    pub reason: &'a str,
    /// Where the person went who left the home.
    pub departure: Option<Departure>,
    /// As what the recipient had it.
    pub kind: RecipientKind,
    /// Who had it.
    pub recipient: &'a OdsCode,
    /// The recipient's name.
    pub recipient_name: &'a str,
    /// How the recipient receives.
    pub endpoint: &'a Endpoint,
    /// About whom; never told in a recall.
    pub nhs_number: Option<&'a NhsNumber>,
    /// The Patient of the copy, STU3, where it went by MESH to a practice.
    pub patient: Option<Element<'a, 'a>>,
    /// The hospital.
    pub sender_ods: &'a OdsCode,
    /// The organisation that runs the gateway.
    pub own_ods: &'a OdsCode,
    /// The gateway's mailbox.
    pub own_mailbox: Option<&'a MeshMailboxId>,
    /// Now.
    pub now: Timestamp,
}

impl NoticeParts<'_> {
    fn nhs_number(&self) -> Option<&NhsNumber> {
        self.nhs_number.filter(|_| self.why != EndReason::Recalled)
    }
}

#[derive(Template)]
#[template(path = "notice.html")]
struct NoticePage<'a> {
    title: &'static str,
    heading: &'a str,
    reason: &'a str,
    what: &'a str,
    recipient: &'a str,
    sent: String,
    document_id: String,
    nhs_number: String,
    sender_name: &'a str,
    sender_ods: &'a OdsCode,
    steps: Vec<&'a str>,
}

/// The notice for the recipient of a copy.
///
/// # Errors
/// See [`RenderError`].
pub fn notice(parts: &NoticeParts<'_>, delivery: DeliveryId) -> Result<Rendered, RenderError> {
    let ids = NewIds::new(delivery, parts.kind, parts.recipient, parts.now);
    let page = page(parts)?;
    let to_practice = matches!(parts.kind, RecipientKind::CoveringPractice | RecipientKind::RegisteredPractice);
    let mesh_patient = parts.patient.filter(|_| to_practice && takes_messages(parts.endpoint));
    let mut rendered = Rendered {
        media_type: FHIR_JSON.to_owned(),
        body: Vec::new(),
        html: None,
        document_id: ids.derived("collection").to_string(),
        correlation_id: None,
        workflow: None,
        card: None,
        basis: match parts.why {
            EndReason::LeftHome => {
                "notice that the person has left the care home that they were discharged to".to_owned()
            }
            _ => "notice that an earlier disclosure is no longer to be used".to_owned(),
        },
        disclosed: Vec::new(),
        withheld: Vec::new(),
    };
    if let Some(patient) = mesh_patient {
        rendered.body = stu3_xml(&message(parts, &ids, patient, &page))?;
        rendered.media_type = FHIR_XML.to_owned();
        rendered.document_id = ids.document().to_string();
        rendered.correlation_id = Some(ids.derived("message-header").to_string());
        rendered.workflow = workflow(SEND_DOCUMENT_WORKFLOW);
    } else {
        rendered.body = r4_json(&bundle(parts, &ids))?;
    }
    rendered.html = Some(page.into_bytes());
    Ok(rendered)
}

fn page(parts: &NoticeParts<'_>) -> Result<String, RenderError> {
    let steps = if parts.why == EndReason::LeftHome {
        steps_of_leaving(parts)
    } else if parts.why == EndReason::Recalled {
        vec![
            "Do not read the document any further, and do not pass it on.",
            "Delete every copy of it: downloads, prints, and what was filed in a record.",
            "Confirm that you have done so. You will be asked who has seen it.",
        ]
    } else {
        vec![
            "Do not act on the document any more. If you have acted on it already, ring the hospital now.",
            "Mark it in the person's record as not to be used, and take prints away.",
            "Confirm that you have done so.",
        ]
    };
    let page = NoticePage {
        title: title(parts.why),
        heading: heading(parts.why),
        reason: parts.reason,
        what: what(parts.kind),
        recipient: parts.recipient_name,
        sent: dates::moment(parts.sent),
        document_id: copy_ids(parts).document().to_string(),
        nhs_number: parts.nhs_number().map(|number| nhs_number_spaced(number.expose())).unwrap_or_default(),
        sender_name: "The sending hospital",
        sender_ods: parts.sender_ods,
        steps,
    };
    page.render().map_err(|error| RenderError::Page(error.to_string()))
}

fn heading(why: EndReason) -> &'static str {
    match why {
        EndReason::Superseded => "A later version has replaced it",
        EndReason::Withdrawn => "The hospital has withdrawn it",
        EndReason::Void => "It is null and void",
        EndReason::Recalled => "It was sent to you by mistake",
        EndReason::LeftHome => "The stay that you were asked to care for has ended",
    }
}

fn title(why: EndReason) -> &'static str {
    match why {
        EndReason::LeftHome => "The person has left the care home",
        _ => "Stop using an earlier document",
    }
}

/// What each does when the stay is over. Nobody is asked to plan anything with somebody who has died.
fn steps_of_leaving(parts: &NoticeParts<'_>) -> Vec<&'static str> {
    let died = parts.departure == Some(Departure::Died);
    let mut steps = match parts.kind {
        RecipientKind::CoveringPractice => {
            vec!["End the temporary registration.", "Send what you wrote during the stay to the registered practice."]
        }
        RecipientKind::RegisteredPractice if died => vec!["Cancel what was planned with the person."],
        RecipientKind::RegisteredPractice => {
            vec!["Plan the next contact: the covering practice's care ends with the stay."]
        }
        _ if died => vec!["Deliver nothing more for this person, and cancel what is being made up."],
        _ => vec![
            "Deliver nothing more for this person to the care home.",
            "Ask the person where their medicines go now, before you cancel what is being made up.",
        ],
    };
    steps.push("Confirm that you have read this.");
    steps
}

fn what(kind: RecipientKind) -> &'static str {
    match kind {
        RecipientKind::CareHome => "Discharge summary for the care home",
        RecipientKind::CoveringPractice => "Request for temporary registration, with the discharge summary",
        RecipientKind::RegisteredPractice => "Discharge document for the registered practice",
        RecipientKind::PharmacyReferral => "Discharge Medicines Service referral",
        RecipientKind::PharmacyNomination => "Request to become the nominated pharmacy",
        RecipientKind::Sender => "Response",
    }
}

/// The identifiers of the copy that ended.
fn copy_ids(parts: &NoticeParts<'_>) -> NewIds {
    NewIds::new(parts.of, parts.kind, parts.recipient, parts.sent)
}

fn bundle(parts: &NoticeParts<'_>, ids: &NewIds) -> Tree<'static> {
    let task = ids.derived("task").to_string();
    let mut b: B = Builder::resource("Bundle");
    b.leaf("id", ids.bundle_id().to_string());
    identifier(&mut b, systems::UUID, ids.derived("collection").to_string());
    b.leaf("type", "collection");
    b.leaf("timestamp", dates::instant(parts.now));
    entry(&mut b, &task, "Task", |b| {
        // The Task of the copy that ended, as its recipient knows it.
        identifier(b, systems::UUID, parts.of.to_string());
        b.node("groupIdentifier", |b| {
            b.leaf("system", systems::UUID);
            b.leaf("value", parts.transfer.to_string());
        });
        b.leaf("status", if parts.why == EndReason::LeftHome { "completed" } else { "cancelled" });
        words(b, "statusReason", parts.reason);
        words(b, "businessStatus", parts.why.as_str());
        b.leaf("intent", "order");
        concept(b, "code", TASK_CODES, parts.kind.as_str(), what(parts.kind));
        b.node("focus", |b| {
            b.leaf("type", "Bundle");
            identifier(b, systems::UUID, copy_ids(parts).document().to_string());
        });
        if let Some(number) = parts.nhs_number() {
            b.node("for", |b| {
                b.leaf("type", "Patient");
                identifier(b, systems::NHS_NUMBER, number.expose().to_owned());
            });
        }
        b.leaf("authoredOn", dates::instant(parts.sent));
        b.leaf("lastModified", dates::instant(parts.now));
        organisation(b, "requester", parts.sender_ods, parts.sender_ods.as_str());
        organisation(b, "owner", parts.recipient, parts.recipient_name);
    });
    b.finish()
}

/// GP Connect Send Document (STU3) with the page as its one attachment.
fn message(parts: &NoticeParts<'_>, ids: &NewIds, patient: Element<'_, '_>, page: &str) -> Tree<'static> {
    let id = |part: &str| ids.derived(part).to_string();
    let (header, sender, document) = (id("message-header"), id("sender"), id("send-document"));
    let (composition, person, binary) = (id("composition"), id("patient"), id("attachment-0"));
    let mut b: B = Builder::resource("Bundle");
    b.leaf("id", id("message-bundle"));
    profile(&mut b, &format!("{PROFILE}ITK-Message-Bundle-1"));
    identifier(&mut b, systems::UUID, id("message"));
    b.leaf("type", "message");
    entry(&mut b, &header, "MessageHeader", |b| {
        profile(b, &format!("{PROFILE}ITK-MessageHeader-2"));
        handling(b, RecipientType::ForAction, SEND_DOCUMENT, &parts.transfer.to_string(), "NONE");
        coding(b, "event", systems::ITK_MESSAGE_EVENT, itk::SEND_DOCUMENT_EVENT, "ITK GP Connect Send Document");
        b.node("sender", |b| b.leaf("reference", urn(&sender)));
        b.leaf("timestamp", dates::instant(parts.now));
        let mailbox = parts.own_mailbox.map(MeshMailboxId::to_string);
        let place = mailbox.unwrap_or_else(|| format!("urn:nhs-uk:addressing:ods:{}", parts.own_ods));
        b.node("source", |b| b.leaf("endpoint", place));
        b.node("focus", |b| b.leaf("reference", urn(&document)));
    });
    let hospital = |b: &mut B, of: &str| {
        profile(b, of);
        identifier(b, systems::ODS_ORGANISATION, parts.sender_ods.as_str());
    };
    entry(&mut b, &sender, "Organization", |b| {
        hospital(b, &format!("{PROFILE}CareConnect-ITK-Header-Organization-1"));
    });
    let author = id("hospital");
    entry(&mut b, &document, "Bundle", |b| {
        profile(b, &format!("{PROFILE}ITK-Document-Bundle-1"));
        identifier(b, systems::UUID, ids.document().to_string());
        b.leaf("type", "document");
        entry(b, &composition, "Composition", |b| {
            profile(b, &format!("{CARE_CONNECT}Composition-1"));
            identifier(b, systems::UUID, id("composition-identifier"));
            b.leaf("status", "final");
            concept(b, "type", systems::SNOMED_CT, REMOTE_CORRESPONDENCE.0, REMOTE_CORRESPONDENCE.1);
            reference(b, "subject", &person);
            b.leaf("date", dates::instant(parts.now));
            reference(b, "author", &author);
            b.leaf("title", title(parts.why));
            b.leaf("confidentiality", "N");
            reference(b, "custodian", &author);
            // The registered practice has the hospital's own document, which nobody else may replace.
            if parts.kind == RecipientKind::CoveringPractice && parts.why != EndReason::LeftHome {
                b.node("relatesTo", |b| {
                    b.leaf("code", "replaces");
                    // Composition.identifier of the copy, as it was written there.
                    let replaced = copy_ids(parts).derived("composition-identifier").to_string();
                    b.node("targetIdentifier", |b| {
                        b.leaf("system", systems::UUID);
                        b.leaf("value", replaced);
                    });
                });
            }
            b.node("section", |b| {
                b.leaf("title", title(parts.why));
                reference(b, "entry", &binary);
            });
        });
        // Its practice is an entry of the copy that ended, and of nothing here.
        entry_alone(b, &person, patient);
        entry(b, &author, "Organization", |b| hospital(b, &format!("{CARE_CONNECT}Organization-1")));
        entry(b, &binary, "Binary", |b| {
            profile(b, &format!("{PROFILE}ITK-Attachment-Binary-1"));
            b.leaf("contentType", "text/html");
            b.leaf("content", BASE64.encode(page));
        });
    });
    b.finish()
}

/// The page of a copy with the mark that a later version has taken its place. Every page of ours has one `<main>`.
#[must_use]
pub fn marked(html: &[u8], reason: &str) -> Vec<u8> {
    let escaped = reason.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let banner = format!("<div class=\"stop\" role=\"alert\"><h2>Stop using this version</h2><p>{escaped}</p></div>\n");
    let place = html.windows(7).position(|window| window == b"<main>\n").map(|at| at + 7);
    let (before, after) = html.split_at(place.unwrap_or(0));
    [before, banner.as_bytes(), after].concat()
}

#[cfg(test)]
mod tests {
    use onward_fhir::read::{self, Limits};

    use super::*;

    /// A copy's Patient refers to the practice beside it, which a notice does not have.
    #[test]
    fn a_notice_by_mesh_is_closed_in_itself() {
        let text = "<Patient xmlns=\"http://hl7.org/fhir\"><identifier><system value=\"https://fhir.nhs.uk/Id/nhs-number\"/>\
                    <value value=\"9990000018\"/></identifier><generalPractitioner>\
                    <reference value=\"urn:uuid:3f2b0c9e-0000-4000-8000-000000000000\"/></generalPractitioner></Patient>";
        let patient = read::xml(text, &Limits::default()).expect("readable");
        let (recipient, own) = ("Y99001".parse().expect("a code"), "Y99900".parse().expect("a code"));
        let endpoint = Endpoint::Mesh { mailbox: "Y99001OT1".parse().expect("a mailbox"), workflow: None };
        for why in [EndReason::LeftHome, EndReason::Superseded, EndReason::Withdrawn] {
            let parts = NoticeParts {
                transfer: TransferId::random(),
                of: DeliveryId::random(),
                sent: Timestamp::UNIX_EPOCH,
                why,
                reason: "so it is",
                departure: None,
                kind: RecipientKind::CoveringPractice,
                recipient: &recipient,
                recipient_name: "Beck Lane Surgery",
                endpoint: &endpoint,
                nhs_number: None,
                patient: Some(patient.root()),
                sender_ods: &own,
                own_ods: &own,
                own_mailbox: None,
                now: Timestamp::UNIX_EPOCH,
            };
            let rendered = notice(&parts, DeliveryId::random()).expect("every reference leads somewhere");
            let body = String::from_utf8(rendered.body).expect("UTF-8");
            assert!(body.contains("9990000018") && !body.contains("generalPractitioner"), "{why}: {body}");
        }
    }
}
