//! Rules of the MessageHeader: ITK-MessageHeader-2, its handling extension, and R4's header.

use onward_fhir::heading::DocumentKind;
use onward_fhir::message::Message;
use onward_fhir::{Element, Release};

use crate::findings::Report;
use crate::{ITK_HEADER, IssueCode, Severity, shown};

pub(crate) fn validate(message: &Message<'_, '_>, report: &mut Report) {
    event(message, report);
    if message.release == Release::Stu3 {
        handling(message, report);
    }
    sender(message, report);
    source(message.header, report);
    if message.release == Release::Stu3 && message.header.text("timestamp").is_none() {
        report.error(
            "header-timestamp",
            IssueCode::Required,
            message.header,
            ITK_HEADER,
            "MessageHeader.timestamp is missing. Give the instant at which the message was made, with its offset.",
        );
    }
    if message.header.all("focus").nth(1).is_some() {
        report.warning(
            "header-one-focus",
            IssueCode::BusinessRule,
            message.header,
            "A transfer-of-care message carries one document; MessageHeader.focus names several. Only the first document \
             is carried on. Send one message per document.",
        );
    }
}

/// True for a message that claims to be ITK3's or a document of the R4 frameworks, rightly or not.
pub(crate) fn is_ours(message: &Message<'_, '_>) -> bool {
    message.known_event().is_some()
        || message.handling.extension.is_some()
        || message.event.is_some_and(|(system, _)| system.contains("/ITK-MessageEvent-"))
}

fn event(message: &Message<'_, '_>, report: &mut Report) {
    let header = message.header;
    let Some((_, code)) = message.event else {
        report.error(
            "header-event",
            IssueCode::Required,
            header,
            ITK_HEADER,
            "MessageHeader needs an event: event (STU3) or eventCoding (R4) with system and code, for example ITK003D \
             ITK eDischarge of https://fhir.nhs.uk/STU3/CodeSystem/ITK-MessageEvent-2.",
        );
        return;
    };
    let at = header.get("eventCoding").or_else(|| header.get("event")).unwrap_or(header);
    match message.known_event() {
        None => report.error(
            "header-event-unknown",
            IssueCode::NotSupported,
            at,
            ITK_HEADER,
            format!(
                "The event is not known: found {} in its system. Expected ITK003D, ITK004D, ITK005D or ITK006D of \
                 https://fhir.nhs.uk/STU3/CodeSystem/ITK-MessageEvent-2, or document of \
                 https://fhir.nhs.uk/CodeSystem/message-event. Check system and code.",
                shown::code(code)
            ),
        ),
        Some(event) if !event.transfer_of_care && !message.is_response() => report.error(
            "header-event-not-taken",
            IssueCode::NotSupported,
            at,
            ITK_HEADER,
            format!(
                "{} ({}) is not a transfer-of-care document. Onward takes ITK003D, ITK004D, ITK005D, ITK006D and the R4 \
                 event document.",
                event.code, event.display
            ),
        ),
        Some(_) => {
            if at.text("display").is_none() && message.release == Release::Stu3 {
                report.warning(
                    "header-event-display",
                    IssueCode::Required,
                    at,
                    "ITK-MessageHeader-2 demands event.display beside the code. Add the display of the code system.",
                );
            }
        }
    }
}

/// One part of the handling extension.
struct Part {
    url: &'static str,
    rule: &'static str,
    itk_code: u32,
    expected: &'static str,
    fits: fn(Element<'_, '_>) -> bool,
}

/// All six are mandatory (Extension-ITK-MessageHandling-2, each 1..1).
const PARTS: [Part; 6] = [
    Part {
        url: "BusAckRequested",
        rule: "itk3-handling-business-ack",
        itk_code: 10003,
        expected: "valueBoolean true or false: whether a business response (3xxxx) is wanted",
        fits: is_boolean,
    },
    Part {
        url: "InfAckRequested",
        rule: "itk3-handling-infrastructure-ack",
        itk_code: 10002,
        expected: "valueBoolean true or false: whether an infrastructure response (1xxxx, 2xxxx) is wanted",
        fits: is_boolean,
    },
    Part {
        url: "RecipientType",
        rule: "itk3-handling-recipient-type",
        itk_code: 10010,
        expected: "valueCoding FA (for action) or FI (for information) of ITK-RecipientType-1",
        fits: |part| matches!(part.text_at("valueCoding.code"), Some("FA" | "FI")),
    },
    Part {
        url: "MessageDefinition",
        rule: "itk3-handling-message-definition",
        itk_code: 10004,
        expected: "valueReference with the URL of the MessageDefinition",
        fits: |part| part.text_at("valueReference.reference").is_some_and(|url| !url.is_empty()),
    },
    Part {
        url: "SenderReference",
        rule: "itk3-handling-sender-reference",
        itk_code: 10007,
        expected: "valueString of 1 to 255 characters, or None",
        fits: |part| part.text("valueString").is_some_and(|text| (1..=255).contains(&text.chars().count())),
    },
    Part {
        url: "LocalExtension",
        rule: "itk3-handling-local-extension",
        itk_code: 10001,
        expected: "valueString, or None",
        fits: |part| part.text("valueString").is_some_and(|text| !text.is_empty()),
    },
];

fn is_boolean(part: Element<'_, '_>) -> bool {
    matches!(part.text("valueBoolean"), Some("true" | "false"))
}

fn handling(message: &Message<'_, '_>, report: &mut Report) {
    let Some(extension) = message.handling.extension else {
        report.error(
            "itk3-header-handling",
            IssueCode::Required,
            message.header,
            Some(10001),
            "ITK-MessageHeader-2 demands the extension \
             https://fhir.nhs.uk/STU3/StructureDefinition/Extension-ITK-MessageHandling-2 with its six parts \
             (BusAckRequested, InfAckRequested, RecipientType, MessageDefinition, SenderReference, LocalExtension). Add \
             it to the MessageHeader.",
        );
        return;
    };
    for part in &PARTS {
        let mut found = extension.all("extension").filter(|each| each.text("url") == Some(part.url));
        let (at, what) = match (found.next(), found.next()) {
            (None, _) => (extension, "it is missing"),
            (Some(_), Some(again)) => (again, "it stands there twice"),
            (Some(one), None) if !(part.fits)(one) => (one, "its value is missing or of another type"),
            (Some(_), None) => continue,
        };
        let code = if what == "it is missing" { IssueCode::Required } else { IssueCode::Value };
        report.error(
            part.rule,
            code,
            at,
            Some(part.itk_code),
            format!("The handling extension needs {} exactly once with {}; {what}.", part.url, part.expected),
        );
    }
    message_definition(message, report);
}

/// Real senders carry stale values: told, not refused.
fn message_definition(message: &Message<'_, '_>, report: &mut Report) {
    let Some(url) = message.handling.message_definition else { return };
    let Some(event) = message.known_event() else { return };
    let current = match event.code {
        "ITK003D" => "ITK-eDischarge-MessageDefinition-4",
        "ITK004D" => "ITK-MH-eDischarge-MessageDefinition-4",
        "ITK005D" => "ITK-EC-eDischarge-MessageDefinition-4",
        "ITK006D" => "ITK-OPL-MessageDefinition-4",
        "ITK008M" => "ITK-Response-MessageDefinition-1",
        _ => return,
    };
    let current = format!("https://fhir.nhs.uk/STU3/MessageDefinition/{current}");
    if url != current {
        report.warning(
            "itk3-message-definition-stale",
            IssueCode::Value,
            message.handling.extension.unwrap_or(message.header),
            format!("MessageDefinition is not the current one for {}: expected {current}. Update it.", event.code),
        );
    }
}

fn sender(message: &Message<'_, '_>, report: &mut Report) {
    let header = message.header;
    if header.get("sender").is_none() {
        let text = "MessageHeader.sender is missing. Name the sending organisation: a reference to its Organization in \
                    the message (ITK3), or its ODS code as identifier (R4).";
        match message.release {
            Release::Stu3 => report.error("header-sender", IssueCode::Required, header, ITK_HEADER, text),
            Release::R4 => report.warning("header-sender", IssueCode::Required, header, text),
        }
        return;
    }
    if message.sender_ods.is_none() {
        report.warning(
            "header-sender-organisation",
            IssueCode::NotFound,
            header.get("sender").unwrap_or(header),
            "The sender leads to no organisation with an ODS code, so the signed-in client's organisation is taken. Let \
             sender point to an Organization (or a PractitionerRole with one) that has an identifier of \
             https://fhir.nhs.uk/Id/ods-organization-code.",
        );
    }
}

fn source(header: Element<'_, '_>, report: &mut Report) {
    if header.text_at("source.endpoint").is_none_or(|endpoint| endpoint.trim().is_empty()) {
        report.error(
            "header-source-endpoint",
            IssueCode::Required,
            header.get("source").unwrap_or(header),
            ITK_HEADER,
            "MessageHeader.source.endpoint is missing. Give the sender's address: its MESH mailbox (ITK3), or \
             urn:nhs-uk:addressing:ods:{code} (R4).",
        );
    }
}

/// The document that the event announces, and whether the document agrees.
pub(crate) fn announced_kind(
    message: Option<&Message<'_, '_>>,
    document: &onward_fhir::Document<'_, '_>,
    report: &mut Report,
) -> DocumentKind {
    let announced = message.and_then(Message::known_event).and_then(|event| DocumentKind::of_event(event.code));
    let declared = document.kind_by_profile();
    let kind = declared.or(announced).or_else(|| document.kind()).unwrap_or(DocumentKind::Discharge);
    let expected_type = match kind {
        DocumentKind::OutpatientLetter => "823681000000100",
        _ => "373942005",
    };
    if let (Some(announced), Some(declared)) = (announced, declared)
        && announced != declared
    {
        report.warning(
            "event-document-mismatch",
            IssueCode::BusinessRule,
            document.composition,
            format!(
                "The event {} announces a document of the {}, the Composition declares a profile of the {}. It was \
                 judged by its profile; correct the event to {} or the profile.",
                announced.event(),
                announced.guide(),
                declared.guide(),
                declared.event()
            ),
        );
    }
    match document.type_code() {
        Some(code) if code != expected_type => report.warning(
            "composition-type",
            IssueCode::CodeInvalid,
            document.composition.get("type").unwrap_or(document.composition),
            format!(
                "Composition.type in SNOMED CT is {} where the {} uses {expected_type}. Correct the type or the event.",
                shown::code(code),
                kind.guide()
            ),
        ),
        _ => {}
    }
    report.add(
        Severity::Information,
        "judged-by",
        IssueCode::Informational,
        document.composition,
        None,
        format!("The document was judged by the headings of the {}.", kind.guide()),
    );
    kind
}
