//! The few fields of a PDS Patient that routing and holds need. Everything else in the answer is passed over.

use onward_core::OdsCode;
use onward_core::directory::{DirectoryError, PdsPatient, Sensitivity};
use serde::Deserialize;

const NOMINATED_PHARMACY: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Patient {
    resource_type: String,
    id: String,
    meta: Meta,
    #[serde(default)]
    name: Vec<HumanName>,
    birth_date: Option<String>,
    deceased_date_time: Option<String>,
    #[serde(default)]
    general_practitioner: Vec<Reference>,
    #[serde(default)]
    extension: Vec<Extension>,
}

#[derive(Deserialize)]
struct Meta {
    security: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    system: Option<String>,
    code: String,
}

#[derive(Deserialize)]
struct HumanName {
    #[serde(rename = "use")]
    usage: Option<String>,
    family: Option<String>,
    #[serde(default)]
    given: Vec<String>,
}

#[derive(Deserialize)]
struct Reference {
    identifier: Option<Identifier>,
}

#[derive(Deserialize)]
struct Identifier {
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extension {
    url: String,
    value_reference: Option<Reference>,
    #[serde(default)]
    extension: Vec<Extension>,
}

/// Reads the answer; `None` when the record is redacted.
pub(super) fn read(body: &[u8]) -> Result<Option<PdsPatient>, DirectoryError> {
    // The library's message would quote what it found; where it was found is enough.
    let patient: Patient = serde_json::from_slice(body)
        .map_err(|error| strange(&format!("not a PDS Patient at line {}, column {}", error.line(), error.column())))?;
    if patient.resource_type != "Patient" {
        return Err(strange("another resource than a Patient"));
    }
    let Some(sensitivity) = sensitivity(&patient.meta.security)? else { return Ok(None) };
    // The guide orders them so: the name in use, else the registered one.
    let name = ["usual", "official"]
        .iter()
        .find_map(|usage| patient.name.iter().find(|name| name.usage.as_deref() == Some(usage)));
    Ok(Some(PdsPatient {
        nhs_number: patient.id.parse().map_err(|_| strange("Patient.id is not an NHS number"))?,
        sensitivity,
        family: name.and_then(|name| name.family.clone()),
        given: name.map(|name| name.given.clone()).unwrap_or_default(),
        birth_date: patient.birth_date,
        deceased: patient.deceased_date_time,
        registered_practice: only(
            patient.general_practitioner.iter().map(|practice| ods(practice, "Patient.generalPractitioner")),
            "Patient.generalPractitioner",
        )?,
        nominated_pharmacy: only(
            patient.extension.iter().filter(|extension| extension.url == NOMINATED_PHARMACY).map(|extension| {
                match pharmacy(extension) {
                    Some(reference) => ods(reference, "the nominated pharmacy"),
                    None => Err(strange("the nominated pharmacy has no reference")),
                }
            }),
            "the nominated pharmacy",
        )?,
    }))
}

/// U, R or V; the strictest when there are several. `None` when redacted.
fn sensitivity(security: &[Coding]) -> Result<Option<Sensitivity>, DirectoryError> {
    let mut strictest: Option<Sensitivity> = None;
    let confidentiality = |coding: &&Coding| coding.system.as_deref().is_none_or(|system| system == CONFIDENTIALITY);
    for coding in security.iter().filter(confidentiality) {
        let told = match coding.code.as_str() {
            "U" => Sensitivity::Unrestricted,
            "R" => Sensitivity::Restricted,
            "V" => Sensitivity::VeryRestricted,
            "REDACTED" => return Ok(None),
            _ => return Err(strange("Patient.meta.security has an unknown code")),
        };
        strictest = strictest.into_iter().chain([told]).max_by_key(|sensitivity| *sensitivity as u8);
    }
    strictest.map(Some).ok_or_else(|| strange("Patient.meta.security does not tell the sensitivity"))
}

/// PDS keeps at most one practice and one nomination; with two there is nothing to choose by.
fn only<T: PartialEq>(
    mut found: impl Iterator<Item = Result<T, DirectoryError>>,
    what: &str,
) -> Result<Option<T>, DirectoryError> {
    let Some(first) = found.next().transpose()? else { return Ok(None) };
    for other in found {
        if other? != first {
            return Err(strange(&format!("{what} comes twice")));
        }
    }
    Ok(Some(first))
}

/// The reference of the extension, or of one nested in it.
fn pharmacy(extension: &Extension) -> Option<&Reference> {
    let nested = || extension.extension.iter().find_map(|inner| inner.value_reference.as_ref());
    extension.value_reference.as_ref().or_else(nested)
}

fn ods(reference: &Reference, what: &str) -> Result<OdsCode, DirectoryError> {
    let value = reference.identifier.as_ref().and_then(|identifier| identifier.value.as_deref());
    // The specification allows lower case (`^[A-Za-z0-9]{3,10}$`); ODS codes compare in upper case.
    let code = value.and_then(|value| value.to_ascii_uppercase().parse().ok());
    code.ok_or_else(|| strange(&format!("{what} has no ODS code")))
}

fn strange(reason: &str) -> DirectoryError {
    DirectoryError::Unintelligible(reason.to_owned())
}
