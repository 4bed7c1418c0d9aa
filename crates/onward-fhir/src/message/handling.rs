//! What the sender asks of the receiver: ITK3's handling extension, and R4's request for a response.

use crate::tree::Element;

/// Beginning of the ITK3 handling extension's URL, without its version.
const ITK_HANDLING: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-ITK-MessageHandling-";
/// R4's extension of MessageHeader (FHIR core, `messageheader-response-request`).
const RESPONSE_REQUEST: &str = "http://hl7.org/fhir/StructureDefinition/messageheader-response-request";

/// When an R4 sender wants a response message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseRequest {
    /// Whatever the outcome.
    Always,
    /// Only when it failed.
    OnError,
    /// Only when it succeeded.
    OnSuccess,
    /// Not at all.
    Never,
}

/// The handling of a message as its sender asks for it. What cannot be read is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Handling<'t, 's> {
    /// The ITK3 extension itself.
    pub extension: Option<Element<'t, 's>>,
    /// `BusAckRequested`.
    pub business_ack: Option<bool>,
    /// `InfAckRequested`.
    pub infrastructure_ack: Option<bool>,
    /// `RecipientType`: `FA` for action, `FI` for information.
    pub recipient_type: Option<&'t str>,
    /// `MessageDefinition`, or R4 `MessageHeader.definition`.
    pub message_definition: Option<&'t str>,
    /// `SenderReference`, to be returned; `None` also for the default text `None`.
    pub sender_reference: Option<&'t str>,
    /// `LocalExtension`; `None` also for the default text `None`.
    pub local_extension: Option<&'t str>,
    /// R4's request for a response.
    pub response_request: Option<ResponseRequest>,
}

impl<'t, 's> Handling<'t, 's> {
    pub(super) fn read(header: Element<'t, 's>) -> Self {
        let extension = header
            .all("extension")
            .find(|extension| extension.text("url").is_some_and(|url| url.starts_with(ITK_HANDLING)));
        let part = |url: &str| extension.and_then(|extension| extension.extension(url));
        let flag = |url: &str| match part(url)?.text("valueBoolean")? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        let said = |url: &str| {
            part(url)?.text("valueString").filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("none"))
        };
        Self {
            extension,
            business_ack: flag("BusAckRequested"),
            infrastructure_ack: flag("InfAckRequested"),
            recipient_type: part("RecipientType").and_then(|part| part.text_at("valueCoding.code")),
            message_definition: part("MessageDefinition")
                .and_then(|part| part.text_at("valueReference.reference"))
                .or_else(|| header.text("definition")),
            sender_reference: said("SenderReference"),
            local_extension: said("LocalExtension"),
            response_request: response_request(header),
        }
    }
}

fn response_request(header: Element<'_, '_>) -> Option<ResponseRequest> {
    match header.extension(RESPONSE_REQUEST)?.text("valueCode")? {
        "always" => Some(ResponseRequest::Always),
        "on-error" => Some(ResponseRequest::OnError),
        "on-success" => Some(ResponseRequest::OnSuccess),
        "never" => Some(ResponseRequest::Never),
        _ => None,
    }
}
