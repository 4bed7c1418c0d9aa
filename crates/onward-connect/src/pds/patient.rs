//! The few fields of a PDS Patient that routing and holds need. Everything else in the answer is passed over, and so is what was true
//! once: PDS keeps the practice with which somebody was registered.

use jiff::Timestamp;
use jiff::civil::Date;
use onward_core::OdsCode;
use onward_core::directory::{DirectoryError, PdsName, PdsPatient, Sensitivity};
use serde::Deserialize;

const NOMINATED_PHARMACY: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy";
const REMOVAL: &str = "https://fhir.nhs.uk/StructureDefinition/Extension-PDS-RemovalFromRegistration";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

/// As PDS writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Patient {
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
    period: Option<Period>,
}

/// From the first moment of its start to the last of its end; what is absent is open.
#[derive(Deserialize)]
struct Period {
    start: Option<String>,
    end: Option<String>,
}

#[derive(Deserialize)]
struct Reference {
    identifier: Option<Identifier>,
}

#[derive(Deserialize)]
struct Identifier {
    value: Option<String>,
    period: Option<Period>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extension {
    url: String,
    value_reference: Option<Reference>,
    value_period: Option<Period>,
    #[serde(default)]
    extension: Vec<Extension>,
}

/// Reads the answer as it holds on this day of London; `None` when the record is redacted.
pub(super) fn read(body: &[u8], today: Date) -> Result<Option<PdsPatient>, DirectoryError> {
    // The library's message would quote what it found; where it was found is enough.
    let patient: Patient = serde_json::from_slice(body)
        .map_err(|error| strange(&format!("not a PDS Patient at line {}, column {}", error.line(), error.column())))?;
    told(patient, today)
}

/// What a Patient tells on this day of London; `None` when the record is redacted.
pub(super) fn told(patient: Patient, today: Date) -> Result<Option<PdsPatient>, DirectoryError> {
    if patient.resource_type != "Patient" {
        return Err(strange("another resource than a Patient"));
    }
    let Some(sensitivity) = sensitivity(&patient.meta.security)? else { return Ok(None) };
    // The guide orders them so: the name in use, else the registered one.
    let first = ["usual", "official"]
        .iter()
        .find_map(|usage| patient.name.iter().position(|name| name.usage.as_deref() == Some(usage)));
    let mut also = Vec::new();
    for (_, name) in patient.name.iter().enumerate().filter(|(place, _)| Some(*place) != first) {
        // What somebody was once called is another's name by now.
        let former = matches!(name.usage.as_deref(), Some("old" | "maiden"));
        if !former && covers(name.period.as_ref(), today, "Patient.name")? {
            also.push(PdsName { family: name.family.clone(), given: name.given.clone() });
        }
    }
    let name = first.map(|place| &patient.name[place]);
    Ok(Some(PdsPatient {
        nhs_number: patient.id.parse().map_err(|_| strange("Patient.id is not an NHS number"))?,
        sensitivity,
        family: name.and_then(|name| name.family.clone()),
        given: name.map(|name| name.given.clone()).unwrap_or_default(),
        also,
        registered_practice: practice(&patient, today)?,
        nominated_pharmacy: nominated(&patient.extension, today)?,
        birth_date: patient.birth_date,
        deceased: patient.deceased_date_time,
    }))
}

/// The practice with which the person is registered today; none once they were removed from its list, or the registration ended.
fn practice(patient: &Patient, today: Date) -> Result<Option<OdsCode>, DirectoryError> {
    const WHAT: &str = "Patient.generalPractitioner";
    for removal in patient.extension.iter().filter(|extension| extension.url == REMOVAL) {
        let mut told = removal.extension.iter().filter(|inner| inner.url == "effectiveTime");
        // One that does not say since when is taken for in force: the practice is asked after, not told.
        if covers(told.find_map(|inner| inner.value_period.as_ref()), today, "the removal from registration")? {
            return Ok(None);
        }
    }
    let mut current = Vec::new();
    for reference in &patient.general_practitioner {
        let period = reference.identifier.as_ref().and_then(|identifier| identifier.period.as_ref());
        if covers(period, today, WHAT)? {
            current.push(ods(reference, WHAT));
        }
    }
    only(current.into_iter(), WHAT)
}

/// The pharmacy that is nominated today.
fn nominated(extensions: &[Extension], today: Date) -> Result<Option<OdsCode>, DirectoryError> {
    const WHAT: &str = "the nominated pharmacy";
    let mut current = Vec::new();
    for extension in extensions.iter().filter(|extension| extension.url == NOMINATED_PHARMACY) {
        let reference = pharmacy(extension);
        let within = reference.and_then(|reference| reference.identifier.as_ref()?.period.as_ref());
        let beside = extension.extension.iter().find_map(|inner| inner.value_period.as_ref());
        if covers(within, today, WHAT)? && covers(beside, today, WHAT)? {
            let missing = || strange("the nominated pharmacy has no reference");
            current.push(reference.ok_or_else(missing).and_then(|reference| ods(reference, WHAT)));
        }
    }
    only(current.into_iter(), WHAT)
}

/// Whether a period holds on this day. Its first and last days belong to it.
fn covers(period: Option<&Period>, today: Date, what: &str) -> Result<bool, DirectoryError> {
    let Some(period) = period else { return Ok(true) };
    let bound = |text: &Option<String>, last| match text.as_deref() {
        None => Ok(None),
        Some(text) => {
            day(text, last).map(Some).ok_or_else(|| strange(&format!("the period of {what} has an unreadable bound")))
        }
    };
    let (start, end) = (bound(&period.start, false)?, bound(&period.end, true)?);
    Ok(start.is_none_or(|start| start <= today) && end.is_none_or(|end| today <= end))
}

/// The day of a FHIR date or dateTime in London; of a month or a year its first or last.
fn day(text: &str, last: bool) -> Option<Date> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return at.in_tz("Europe/London").ok().map(|moment| moment.date());
    }
    let whole = match (text.len(), last) {
        (4, false) => format!("{text}-01-01"),
        (4, true) => format!("{text}-12-31"),
        (7, _) => format!("{text}-01"),
        _ => text.to_owned(),
    };
    let day: Date = whole.parse().ok()?;
    Some(if text.len() == 7 && last { day.last_of_month() } else { day })
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

pub(super) fn strange(reason: &str) -> DirectoryError {
    DirectoryError::Unintelligible(reason.to_owned())
}
