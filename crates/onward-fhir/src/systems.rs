//! The identifier systems, code systems and codes of NHS transfer-of-care messages, with the aliases that are met.

/// NHS number.
pub const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
/// ODS organisation code.
pub const ODS_ORGANISATION: &str = "https://fhir.nhs.uk/Id/ods-organization-code";
/// ODS site code.
pub const ODS_SITE: &str = "https://fhir.nhs.uk/Id/ods-site-code";
/// Location identifiers of the Care Quality Commission: its own pages, since no NHS system of identifiers has them.
pub const CQC_LOCATION: &str = "https://www.cqc.org.uk/location";
/// UUIDs as identifiers.
pub const UUID: &str = "https://tools.ietf.org/html/rfc4122";
/// SNOMED CT.
pub const SNOMED_CT: &str = "http://snomed.info/sct";
/// ITK3 message events.
pub const ITK_MESSAGE_EVENT: &str = "https://fhir.nhs.uk/STU3/CodeSystem/ITK-MessageEvent-2";
/// ITK3 response codes.
pub const ITK_RESPONSE_CODES: &str = "https://fhir.nhs.uk/STU3/CodeSystem/ITK-ResponseCodes-1";
/// ITK3 recipient types (`FA`, `FI`).
pub const ITK_RECIPIENT_TYPE: &str = "https://fhir.nhs.uk/STU3/CodeSystem/ITK-RecipientType-1";
/// ITK3 message handling extension.
pub const ITK_MESSAGE_HANDLING: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-ITK-MessageHandling-2";
/// Message events of the R4 draft frameworks.
pub const R4_MESSAGE_EVENT: &str = "https://fhir.nhs.uk/CodeSystem/message-event";
/// UK Core record standard headings: R4 section codes.
pub const RECORD_STANDARD_HEADINGS: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-RecordStandardHeadings";
/// UK Core discharge destinations (England).
pub const DISCHARGE_DESTINATION: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-DischargeDestinationEngland";
/// CareConnect discharge destinations (STU3).
pub const DISCHARGE_DESTINATION_STU3: &str =
    "https://fhir.hl7.org.uk/STU3/CodeSystem/CareConnect-DischargeDestination-1";

/// True for the NHS number's system and its aliases.
#[must_use]
pub fn is_nhs_number(system: &str) -> bool {
    matches!(
        system,
        NHS_NUMBER
            | "https://fhir.nhs.net/Id/nhs-number"
            | "http://fhir.nhs.net/Id/nhs-number"
            | "urn:oid:2.16.840.1.113883.2.1.4.1"
    )
}

/// True for ODS organisation and site codes and their aliases.
#[must_use]
pub fn is_ods(system: &str) -> bool {
    matches!(
        system,
        ODS_ORGANISATION
            | ODS_SITE
            | "https://fhir.nhs.uk/Id/ods-organisation-code"
            | "https://fhir.nhs.net/Id/ods-organization-code"
            | "http://fhir.nhs.net/Id/ods-organization-code"
            | "https://fhir.nhs.net/Id/ods-site-code"
            | "urn:oid:2.16.840.1.113883.2.1.4.3"
    )
}

/// Discharge destinations that are care homes: 54 NHS, 65 local authority residential, 85 non-NHS.
pub const CARE_HOME_DESTINATIONS: [&str; 3] = ["54", "65", "85"];
