//! Extensions: CareConnect's become UK Core's where one with the same value exists, and those that R4 or
//! UK Core hang elsewhere move there. Any other is carried as it is.

use onward_fhir::{Element, Lexical};

use super::people;
use super::walk::{Converter, Types};

const CARE_CONNECT: [&str; 3] = [
    "https://fhir.hl7.org.uk/STU3/StructureDefinition/Extension-CareConnect-",
    "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-CareConnect-",
    "https://fhir.hl7.org.uk/StructureDefinition/Extension-CareConnect-",
];

/// Where UK Core's extensions stand.
pub(super) const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-";

/// CareConnect extensions with a UK Core one of the same meaning, and the `value[x]` that it takes; none for
/// one with parts.
const UK_CORE_NAMES: &[(&str, Option<&str>)] = &[
    ("ActualProblem", Some("valueReference")),
    ("AdmissionMethod", Some("valueCodeableConcept")),
    ("AllergyIntoleranceEnd", None),
    ("AnaestheticIssues", Some("valueCodeableConcept")),
    ("AnaestheticIssues", Some("valueReference")),
    ("CareSettingType", Some("valueCodeableConcept")),
    ("ClinicalSetting", Some("valueCodeableConcept")),
    ("ConditionEpisode", Some("valueCodeableConcept")),
    ("DeathNotificationStatus", None),
    ("DischargeMethod", Some("valueCodeableConcept")),
    ("EmergencyCareDischargeStatus", Some("valueCodeableConcept")),
    ("EthnicCategory", Some("valueCodeableConcept")),
    ("Evidence", Some("valueReference")),
    ("ListWarningCode", Some("valueCodeableConcept")),
    ("MainLocation", Some("valueReference")),
    ("MedicationChangeSummary", None),
    ("MedicationQuantityText", Some("valueString")),
    ("MedicationStatementLastIssueDate", Some("valueDateTime")),
    ("MedicationTradeFamily", Some("valueCodeableConcept")),
    ("NHSCommunication", None),
    ("NHSNumberVerificationStatus", Some("valueCodeableConcept")),
    ("NominatedPharmacy", Some("valueReference")),
    ("OutcomeOfAttendance", Some("valueCodeableConcept")),
    ("ParentPresent", Some("valueBoolean")),
    ("RelatedClinicalContent", Some("valueReference")),
    ("RelatedProblemHeader", None),
    ("ReligiousAffiliation", Some("valueCodeableConcept")),
    ("ResidentialStatus", Some("valueCodeableConcept")),
    ("TreatmentCategory", Some("valueCodeableConcept")),
    ("VaccinationProcedure", Some("valueCodeableConcept")),
];

/// UK Core's medication change codes, by CareConnect's.
const CHANGES: &[(&str, &str, &str)] = &[
    ("Continued", "continued", "Continued"),
    ("Added", "added", "Added"),
    ("Amended", "amended", "Amended"),
    ("On-hold", "on-hold", "On-hold"),
];
const CHANGE_STATUS: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-MedicationChangeStatus";

/// HL7's own that R4 named otherwise.
const HL7_RENAMED: &[(&str, &str)] = &[(
    "http://hl7.org/fhir/StructureDefinition/birthPlace",
    "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
)];
const HL7_ASSOCIATED_ENCOUNTER: &str = "http://hl7.org/fhir/StructureDefinition/encounter-associatedEncounter";

/// The name of a CareConnect extension, without its place and version: `CareSettingType`.
pub(super) fn care_connect_name<'t>(extension: Element<'t, '_>) -> Option<&'t str> {
    let url = extension.text("url")?;
    let name = CARE_CONNECT.iter().find_map(|prefix| url.strip_prefix(prefix))?;
    let name = ["GPC-", "ITK-", "DCH-"].iter().find_map(|owner| name.strip_prefix(owner)).unwrap_or(name);
    Some(name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-'))
}

/// The CareConnect extensions of this name on an element.
pub(super) fn of_name<'t, 's>(holder: Element<'t, 's>, name: &str) -> Vec<Element<'t, 's>> {
    holder.all("extension").filter(|extension| care_connect_name(*extension) == Some(name)).collect()
}

/// Converts an `extension` or `modifierExtension` of an element of `holder`.
pub(super) fn extension<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, holder: Types) {
    let name = care_connect_name(child).unwrap_or_default();
    let parent = child.parent().expect("an extension stands in an element");
    match (holder.stu3, name) {
        // Written by `people::hospitalization` and `clinical::complete`: UK Core hangs each on the other.
        ("Encounter", "AdmissionMethod") | ("Encounter.hospitalization", "DischargeMethod") => {}
        // Written by `clinical::allergy_status`.
        ("AllergyIntolerance", "AllergyIntoleranceEnd") if parent.text("clinicalStatus").is_some() => {}
        ("Patient", "NHSCommunication") if people::communication(c, child) => {}
        ("AllergyIntolerance", _) if is_associated_encounter(child) && parent.get("encounter").is_none() => {
            c.notes.mapped(child, "the associated encounter of an allergy is AllergyIntolerance.encounter in R4");
            let reference = child.get("valueReference").expect("checked");
            c.carry(reference, "encounter", Types::both("Reference"));
        }
        _ => write(c, child),
    }
}

fn is_associated_encounter(child: Element<'_, '_>) -> bool {
    let named = care_connect_name(child) == Some("AssociatedEncounter")
        || child.text("url").is_some_and(|url| {
            url == HL7_ASSOCIATED_ENCOUNTER || url.contains("StructureDefinition/Extension-ITK-AssociatedEncounter-")
        });
    let first =
        child.parent().and_then(|parent| parent.all("extension").find(|each| each.text("url") == child.text("url")));
    let plain = child.children().all(|part| matches!(part.name(), "url" | "valueReference"));
    named && plain && first == Some(child) && child.get("valueReference").is_some()
}

/// Writes an extension under the URL that it has in R4.
pub(super) fn write<'s>(c: &mut Converter<'s>, child: Element<'_, 's>) {
    let url = renamed(child);
    match &url {
        Some(to) => c.notes.mapped(child, format!("extension {} is {to}", child.text("url").unwrap_or_default())),
        None if care_connect_name(child).is_some() => {
            c.notes.kept(child, "a CareConnect extension that UK Core does not have is carried as it was");
        }
        None => {}
    }
    let change_summary = url.is_some() && care_connect_name(child) == Some("MedicationChangeSummary");
    c.out.open_same(child);
    for part in child.children() {
        match (part.name(), &url) {
            ("url", Some(to)) => c.out.leaf("url", to.clone()),
            ("url" | "id", _) => c.out.copy(part),
            _ if change_summary && part.text("url") == Some("status") => change_status(c, part),
            _ => c.child(part, Types::both("Extension")),
        }
    }
    c.out.close();
}

fn renamed(child: Element<'_, '_>) -> Option<String> {
    let url = child.text("url")?;
    if let Some((_, to)) = HL7_RENAMED.iter().find(|(from, _)| *from == url) {
        return Some((*to).to_owned());
    }
    let name = care_connect_name(child)?;
    let fits = |value: &Option<&str>| match value {
        Some(value) => child.get(value).is_some(),
        None => child.choice("value").is_none(),
    };
    let known = UK_CORE_NAMES.iter().any(|(known, value)| *known == name && fits(value));
    let readable = name != "MedicationChangeSummary" || change_of(child).is_some();
    (known && readable).then(|| format!("{UK_CORE}{name}"))
}

/// UK Core's row for the status of a change summary. A status that UK Core does not know leaves the whole
/// extension as the sender wrote it.
fn change_of(summary: Element<'_, '_>) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let code = summary.all("extension").find(|part| part.text("url") == Some("status"))?.text("valueCode")?;
    CHANGES.iter().find(|(from, ..)| from.eq_ignore_ascii_case(code))
}

/// The change status: a code in CareConnect, a Coding in UK Core.
fn change_status<'s>(c: &mut Converter<'s>, part: Element<'_, 's>) {
    let row = part.parent().and_then(change_of).expect("the summary was renamed because its status is known");
    c.notes.mapped(part, "the status of a medication change is a Coding in UK Core");
    c.out.open_shell("extension", part);
    for piece in part.children() {
        if piece.name() != "valueCode" {
            c.child(piece, Types::both("Extension"));
            continue;
        }
        c.out.open("valueCoding");
        c.out.leaf("system", CHANGE_STATUS);
        c.out.open("code");
        c.out.set_value(row.1, Lexical::String);
        c.children(piece, Types::both("code"));
        c.out.close();
        c.out.leaf("display", row.2);
        c.out.close();
    }
    c.out.close();
}
