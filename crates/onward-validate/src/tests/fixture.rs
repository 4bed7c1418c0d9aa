//! The smallest ITK3 eDischarge message that passes without an error or a warning, as XML text to be mutated.

use onward_fhir::heading::{DocumentKind, Heading};
use onward_fhir::read::{self, Limits};

use crate::{Findings, Policy, validate_message};

pub(crate) const NHS_NUMBER: &str = "9990000018";

fn entry(id: &str, resource: &str) -> String {
    format!("<entry><fullUrl value=\"urn:uuid:{id}\"/><resource>{resource}</resource></entry>\n")
}

fn section(heading: Heading) -> String {
    let target = match heading {
        Heading::PatientDemographics => "<entry><reference value=\"urn:uuid:patient\"/></entry>",
        Heading::GpPractice => "<entry><reference value=\"urn:uuid:practice\"/></entry>",
        _ => "",
    };
    format!(
        "<section><title value=\"{}\"/><code><coding><system value=\"http://snomed.info/sct\"/><code value=\"{}\"/>\
         <display value=\"{}\"/></coding></code><text><status value=\"generated\"/>\
         <div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Words.</p></div></text>{target}</section>\n",
        heading.title(),
        heading.snomed(),
        heading.display()
    )
}

pub(crate) const NARRATIVE: &str = "<p>Words.</p>";

/// A document Bundle with the mandatory headings of an eDischarge.
pub(crate) fn document() -> String {
    let sections: String = Heading::mandatory(DocumentKind::Discharge).map(section).collect();
    let care_setting = "<extension url=\"https://fhir.hl7.org.uk/STU3/StructureDefinition/Extension-CareConnect-\
                        CareSettingType-1\"><valueCodeableConcept><text value=\"Cardiology\"/></valueCodeableConcept>\
                        </extension>";
    let composition = format!(
        "<Composition><id value=\"composition\"/><meta><profile value=\"https://fhir.nhs.uk/STU3/StructureDefinition/\
         CareConnect-ITK-EDIS-Composition-1\"/></meta>{care_setting}<identifier><system value=\"https://tools.ietf.org/\
         html/rfc4122\"/><value value=\"set-1\"/></identifier><status value=\"final\"/><type><coding><system value=\"http:\
         //snomed.info/sct\"/><code value=\"373942005\"/></coding></type><subject><reference value=\"urn:uuid:patient\"/>\
         </subject><encounter><reference value=\"urn:uuid:encounter\"/></encounter><date value=\"2026-11-01T10:00:00Z\"/>\
         <author><reference value=\"urn:uuid:author\"/></author><title value=\"Cardiology Discharge Summary\"/><custodian>\
         <reference value=\"urn:uuid:trust\"/></custodian>{sections}</Composition>"
    );
    let verification = "<extension url=\"https://fhir.hl7.org.uk/STU3/StructureDefinition/Extension-CareConnect-\
                        NHSNumberVerificationStatus-1\"><valueCodeableConcept><text value=\"verified\"/>\
                        </valueCodeableConcept></extension>";
    let patient = format!(
        "<Patient><id value=\"patient\"/><identifier>{verification}<system value=\"https://fhir.nhs.uk/Id/nhs-number\"/>\
         <value value=\"{NHS_NUMBER}\"/></identifier><name><use value=\"official\"/><family value=\"Testpatient\"/></name>\
         <birthDate value=\"1940-01-02\"/></Patient>"
    );
    let encounter = "<Encounter><id value=\"encounter\"/><status value=\"finished\"/><subject><reference value=\"urn:uuid:\
                     patient\"/></subject><period><start value=\"2026-10-20\"/><end value=\"2026-11-01T09:30:00+00:00\"/>\
                     </period></Encounter>";
    let practice = "<Organization><id value=\"practice\"/><name value=\"Practice\"/></Organization>";
    let trust = "<Organization><id value=\"trust\"/><name value=\"Trust\"/></Organization>";
    let author = "<Practitioner><id value=\"author\"/><active value=\"true\"/></Practitioner>";
    let entries = [
        entry("composition", &composition),
        entry("patient", &patient),
        entry("encounter", encounter),
        entry("practice", practice),
        entry("trust", trust),
        entry("author", author),
    ];
    format!(
        "<Bundle xmlns=\"http://hl7.org/fhir\"><id value=\"document\"/><identifier><system value=\"https://tools.ietf.org/\
         html/rfc4122\"/><value value=\"document-1\"/></identifier><type value=\"document\"/>\n{}</Bundle>",
        entries.concat()
    )
}

/// The handling extension, both acknowledgements wanted.
fn handling(definition: &str) -> String {
    format!(
        "<extension url=\"https://fhir.nhs.uk/STU3/StructureDefinition/Extension-ITK-MessageHandling-2\">\
         <extension url=\"BusAckRequested\"><valueBoolean value=\"true\"/></extension>\
         <extension url=\"InfAckRequested\"><valueBoolean value=\"true\"/></extension>\
         <extension url=\"RecipientType\"><valueCoding><system value=\"https://fhir.nhs.uk/STU3/CodeSystem/\
         ITK-RecipientType-1\"/><code value=\"FA\"/></valueCoding></extension>\
         <extension url=\"MessageDefinition\"><valueReference><reference value=\"https://fhir.nhs.uk/STU3/\
         MessageDefinition/{definition}\"/></valueReference></extension>\
         <extension url=\"SenderReference\"><valueString value=\"None\"/></extension>\
         <extension url=\"LocalExtension\"><valueString value=\"None\"/></extension></extension>"
    )
}

/// Wraps a document Bundle into a message, as ITK-SendPayload-Payload-Removed-Example-1 shows, with a sending
/// organisation.
pub(crate) fn wrap_document(document: &str, event: &str) -> String {
    let start = document.find("<Bundle").expect("a Bundle");
    let definition = match event {
        "ITK003D" => "ITK-eDischarge-MessageDefinition-4",
        "ITK004D" => "ITK-MH-eDischarge-MessageDefinition-4",
        "ITK005D" => "ITK-EC-eDischarge-MessageDefinition-4",
        _ => "ITK-OPL-MessageDefinition-4",
    };
    let header = format!(
        "<MessageHeader><id value=\"header\"/>{}<event><system value=\"https://fhir.nhs.uk/STU3/CodeSystem/\
         ITK-MessageEvent-2\"/><code value=\"{event}\"/><display value=\"Event\"/></event><sender><reference value=\"\
         urn:uuid:sender\"/></sender><timestamp value=\"2026-11-01T10:01:00+00:00\"/><source><endpoint value=\"RY6HC001\"/>\
         </source><focus><reference value=\"urn:uuid:payload\"/></focus></MessageHeader>",
        handling(definition)
    );
    let sender = "<Organization><id value=\"sender\"/><identifier><system value=\"https://fhir.nhs.uk/Id/\
                  ods-organization-code\"/><value value=\"RY6\"/></identifier></Organization>";
    format!(
        "<Bundle xmlns=\"http://hl7.org/fhir\"><id value=\"message\"/><identifier><system value=\"https://tools.ietf.org/html/\
         rfc4122\"/><value value=\"message-1\"/></identifier><type value=\"message\"/>\n{}{}{}</Bundle>",
        entry("header", &header),
        entry("sender", sender),
        entry("payload", &document[start..])
    )
}

pub(crate) fn message() -> String {
    wrap_document(&document(), "ITK003D")
}

/// The message with one text replaced by another; the text must be there.
pub(crate) fn with(from: &str, to: &str) -> String {
    let message = message();
    assert!(message.contains(from), "the fixture holds no {from}");
    message.replacen(from, to, 1)
}

pub(crate) fn judge(xml: &str) -> Findings {
    judge_by(xml, &Policy::default())
}

pub(crate) fn judge_by(xml: &str, policy: &Policy) -> Findings {
    let tree = read::xml(xml, &Limits::default()).expect("well-formed FHIR XML");
    validate_message(&tree, policy)
}
