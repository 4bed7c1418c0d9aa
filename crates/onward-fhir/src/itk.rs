//! The tables of NHS Interoperability Toolkit 3: message events with their MESH workflows, and response codes.
//!
//! Facts only; what to do about them is the validator's and the gateway's.

use crate::systems;

/// One message event (CodeSystem ITK-MessageEvent-2 v2.8.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageEvent {
    /// Code, such as `ITK003D`.
    pub code: &'static str,
    /// Display.
    pub display: &'static str,
    /// MESH workflow identifier, where one is published.
    pub workflow: Option<&'static str>,
    /// MESH workflow identifier of the acknowledgements.
    pub acknowledgement_workflow: Option<&'static str>,
    /// A transfer-of-care document that Onward takes in.
    pub transfer_of_care: bool,
}

const fn event(
    code: &'static str,
    display: &'static str,
    workflows: Option<(&'static str, &'static str)>,
    transfer_of_care: bool,
) -> MessageEvent {
    let (workflow, acknowledgement_workflow) = match workflows {
        Some((workflow, acknowledgement)) => (Some(workflow), Some(acknowledgement)),
        None => (None, None),
    };
    MessageEvent { code, display, workflow, acknowledgement_workflow, transfer_of_care }
}

/// The event of response messages.
pub const RESPONSE_EVENT: &str = "ITK008M";
/// The event of GP Connect Send Document.
pub const SEND_DOCUMENT_EVENT: &str = "ITK007C";

/// All ITK3 events.
pub const EVENTS: &[MessageEvent] = &[
    event("ITK003D", "ITK eDischarge", Some(("TOC_FHIR_IP_DISCH", "TOC_FHIR_IP_DISCH_ACK")), true),
    event("ITK004D", "ITK Mental Health eDischarge", Some(("TOC_FHIR_MH_DISCH", "TOC_FHIR_MH_DISCH_ACK")), true),
    event("ITK005D", "ITK Emergency Care eDischarge", Some(("TOC_FHIR_EC_DISCH", "TOC_FHIR_EC_DISCH_ACK")), true),
    event("ITK006D", "ITK Outpatient Letter", Some(("TOC_FHIR_OP_ATTEN", "TOC_FHIR_OP_ATTEN_ACK")), true),
    event(
        SEND_DOCUMENT_EVENT,
        "ITK GP Connect Send Document",
        Some(("GPFED_CONSULT_REPORT", "GPFED_CONSULT_REPORT_ACK")),
        false,
    ),
    event(RESPONSE_EVENT, "ITK Response", None, false),
    event("ITK009D", "ITK Digital Medicine Immunization Document", None, false),
    event("ITK010D", "ITK Digital Medicine Emergency Supply Document", None, false),
    event("ITK011M", "ITK Events Management Service", None, false),
    event("ITK012M", "ITK National Pathology", None, false),
    event("ITK013D", "ITK Digital Medicine Minor Illness Document", None, false),
    event("ITK014M", "ITK Update Record", Some(("GPCONNECT_UPDATE_RECORD", "GPCONNECT_UPDATE_RECORD_ACK")), false),
];

/// The R4 draft frameworks' event "document": a DocumentReference or document Bundle is the focus.
pub const R4_DOCUMENT: MessageEvent = event("document", "Document", None, true);

/// The event of a header's `event` or `eventCoding`, in ITK3 or in the R4 draft frameworks. ITK3 codes may stand in
/// an R4 header too.
#[must_use]
pub fn message_event(system: &str, code: &str) -> Option<MessageEvent> {
    match system {
        systems::ITK_MESSAGE_EVENT | "https://fhir.nhs.uk/STU3/CodeSystem/ITK-MessageEvent-1" => {
            EVENTS.iter().copied().find(|event| event.code == code)
        }
        systems::R4_MESSAGE_EVENT if code == R4_DOCUMENT.code => Some(R4_DOCUMENT),
        _ => None,
    }
}

/// The event that a MESH workflow carries (`…_ACK` workflows carry responses to it).
#[must_use]
pub fn workflow_event(workflow: &str) -> Option<MessageEvent> {
    EVENTS
        .iter()
        .copied()
        .find(|event| event.workflow == Some(workflow) || event.acknowledgement_workflow == Some(workflow))
}

/// Who answers: the receiving system's infrastructure, or the organisation's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Codes 1xxxx and 2xxxx, asked for by `InfAckRequested`.
    Infrastructure,
    /// Codes 3xxxx, asked for by `BusAckRequested`.
    Business,
}

/// One response code (CodeSystem ITK-ResponseCodes-1 v1.5.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode {
    /// The code, 10001 to 30025.
    pub code: u32,
    /// Display.
    pub display: &'static str,
    /// The answer is yes. Every negative is final.
    pub positive: bool,
    /// Who answers with it.
    pub level: Level,
    /// `OperationOutcome.issue.code` that the guide allows for it; the first of them where there are several.
    pub issue_code: &'static str,
}

impl ResponseCode {
    /// The response code of a number.
    #[must_use]
    pub fn of(code: u32) -> Option<Self> {
        RESPONSE_CODES.iter().copied().find(|known| known.code == code)
    }

    /// `MessageHeader.response.code`.
    #[must_use]
    pub fn response_code(self) -> &'static str {
        if self.positive { "ok" } else { "fatal-error" }
    }

    /// `OperationOutcome.issue.severity`.
    #[must_use]
    pub fn severity(self) -> &'static str {
        if self.positive { "information" } else { "fatal" }
    }
}

const fn yes(code: u32, display: &'static str) -> ResponseCode {
    ResponseCode { code, display, positive: true, level: level(code), issue_code: "informational" }
}

const fn level(code: u32) -> Level {
    if code < 30_000 { Level::Infrastructure } else { Level::Business }
}

const fn no(code: u32, display: &'static str, issue_code: &'static str) -> ResponseCode {
    ResponseCode { code, display, positive: false, level: level(code), issue_code }
}

/// All response codes. The guide tells the polarity of 1xxxx, 2xxxx and 30001–30004; of the later ones those are
/// positive whose display says that what was asked is taken on or done. 30020 (pending, ring the practice) is not:
/// a person must act.
pub const RESPONSE_CODES: &[ResponseCode] = &[
    no(10001, "Handling Specification Error", "processing"),
    no(10002, "Infrastructure Level Response Value - Processing Error", "processing"),
    no(10003, "Business Level Response Value - Processing Error", "processing"),
    no(10004, "Message Definition Value - Processing Error", "processing"),
    no(10005, "Message Definition Version Value - Processing Error", "processing"),
    no(10007, "Sender Reference Value - Processing Error", "processing"),
    no(10008, "Handling Specification Business Rule Error", "processing"),
    no(10009, "Unreadable message received", "processing"),
    no(10010, "Recipient Type - Processing Error", "processing"),
    no(20001, "Unrecognised Recipient Person", "not-found"),
    no(20002, "Unrecognised Recipient Organisation", "not-found"),
    no(20003, "Unrecognised Sender", "not-found"),
    no(20004, "Non-Approved file type received as an attachment", "security"),
    no(20005, "Unsupported file type received as an attachment", "security"),
    no(20006, "ITK header validation failure", "invalid"),
    no(20007, "Duplicate Message received", "duplicate"),
    no(20008, "Duplicate Document received", "duplicate"),
    no(20009, "Payload validation failure", "structure"),
    no(20010, "Unrecognised Payload Recipient Organisation", "not-found"),
    no(20011, "Unrecognised Payload Recipient Person", "not-found"),
    no(20012, "Unauthorised Sender", "security"),
    yes(20013, "Success"),
    no(20014, "Unable to Process Replacement Document", "processing"),
    no(20015, "Message too large", "processing"),
    yes(30001, "Patient known here. (e.g. Patient is registered here)"),
    no(30002, "Patient not known here. (aka 'patient record not present in system')", "not-found"),
    no(30003, "Patient no longer at this clinical setting", "business-rule"),
    yes(
        30004,
        "Patient known here and recently deceased (i.e. patient record current in GP practice system at time of \
         patient’s death and deduction subsequently occurred for this reason)",
    ),
    yes(30005, "Referral open"),
    yes(30006, "Referral completed"),
    no(30007, "Referral escalated back to GP", "business-rule"),
    no(30008, "Signposting to GP (non-urgent)", "business-rule"),
    no(30009, "Clinical escalation to UTC/111/GPOOH", "business-rule"),
    no(30010, "Clinical escalation to A&E or 999", "business-rule"),
    no(30011, "Advised to go elsewhere/self-referral", "business-rule"),
    no(30012, "Unable to contact the patient", "business-rule"),
    no(30013, "Closure (service not needed)", "business-rule"),
    no(30014, "Closure (service not accepted)", "business-rule"),
    no(30015, "Closure (duplicate referral)", "business-rule"),
    yes(30016, "Referral accepted"),
    no(30017, "Referral rejected", "business-rule"),
    no(30018, "Did Not Attend", "business-rule"),
    yes(30019, "GP Registration - Application accepted"),
    no(30020, "GP Registration - Application pending (contact practice)", "business-rule"),
    no(30021, "GP Registration - Application rejected (patient already registered)", "business-rule"),
    no(30022, "GP Registration - Application rejected (at capacity)", "business-rule"),
    no(30023, "GP Registration - Application rejected (out of boundary)", "business-rule"),
    no(30024, "GP Registration - Application rejected (Previously removed from this practice)", "business-rule"),
    no(30025, "GP Registration - Application rejected (Previously removed from another practice)", "business-rule"),
];

/// The response code as it stands in a Coding.
#[must_use]
pub fn response_code(code: &str) -> Option<ResponseCode> {
    ResponseCode::of(code.parse().ok()?)
}

/// True for the system of ITK response codes, in STU3 and in UK Core.
#[must_use]
pub fn is_response_system(system: &str) -> bool {
    matches!(system, systems::ITK_RESPONSE_CODES | "https://fhir.hl7.org.uk/CodeSystem/UKCore-ITKResponseCode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_and_levelled() {
        assert!(RESPONSE_CODES.is_sorted_by_key(|known| known.code));
        assert_eq!(RESPONSE_CODES.len(), 49);
        assert_eq!(ResponseCode::of(10006), None, "there is no 10006");
        assert_eq!(response_code("20013").map(|known| known.level), Some(Level::Infrastructure));
        assert_eq!(response_code("30002").map(ResponseCode::response_code), Some("fatal-error"));
        assert_eq!(response_code("30002 "), None);
    }

    #[test]
    fn events_by_system() {
        let discharge = message_event(systems::ITK_MESSAGE_EVENT, "ITK003D").expect("known");
        assert_eq!(discharge.acknowledgement_workflow, Some("TOC_FHIR_IP_DISCH_ACK"));
        assert!(message_event(systems::R4_MESSAGE_EVENT, "document").is_some_and(|event| event.transfer_of_care));
        assert!(message_event(systems::R4_MESSAGE_EVENT, "ITK003D").is_none());
        assert!(message_event("http://example.org", "ITK003D").is_none());
        assert_eq!(workflow_event("TOC_FHIR_EC_DISCH_ACK").map(|event| event.code), Some("ITK005D"));
        assert_eq!(EVENTS.iter().filter(|event| event.transfer_of_care).count(), 4);
    }

    /// Codes and displays are those of the published code systems.
    #[test]
    fn tables_are_the_published_ones() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/itk3-definitions/CodeSystems/");
        let Ok(codes) = std::fs::read_to_string(format!("{folder}CodeSystem-ITK-ResponseCodes-1.xml")) else {
            assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
            eprintln!("SKIPPED: shared ITK3 definitions are absent");
            return;
        };
        let events = std::fs::read_to_string(format!("{folder}CodeSystem-ITK-MessageEvent-2.xml")).expect("beside it");
        let published = |text: &str| -> Vec<(String, String)> {
            text.split("<concept>")
                .skip(1)
                .map(|concept| {
                    let value = |tag: &str| {
                        let at = concept.find(&format!("<{tag} value=\"")).expect("tag") + tag.len() + 9;
                        concept[at..].split('"').next().expect("value").replace("&amp;", "&")
                    };
                    (value("code"), value("display"))
                })
                .collect()
        };
        let ours: Vec<_> = RESPONSE_CODES.iter().map(|c| (c.code.to_string(), c.display.to_owned())).collect();
        assert_eq!(ours, published(&codes));
        let mut ours: Vec<_> = EVENTS.iter().map(|e| (e.code.to_owned(), e.display.to_owned())).collect();
        let mut theirs = published(&events);
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }
}
