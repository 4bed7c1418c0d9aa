//! Code systems and section headings that have another name in R4. A system is renamed only where the code
//! is known to exist in the new one; any other coding stays as the sender wrote it.

use onward_fhir::{Element, systems};

use super::walk::{Converter, Types};

/// The codes of a UK Core code system that a CareConnect coding may become.
enum Codes {
    /// Those listed.
    These(&'static [&'static str]),
    /// Every code, the two systems being the same list.
    Any,
}

const UK_CORE: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-";
const HL7: &str = "http://terminology.hl7.org/CodeSystem/";

/// Where the CareConnect code systems stand, with the spellings met in real messages.
const CARE_CONNECT: [&str; 6] = [
    "https://fhir.hl7.org.uk/STU3/CodeSystem/CareConnect-",
    "https://fhir.hl7.org.uk/STU3/ValueSet/CareConnect-",
    "https://fhir.hl7.org.uk/STU3/CareConnect-",
    "https://fhir.hl7.org.uk/CareConnect-",
    "https://fhir.nhs.uk/STU3/CodeSystem/CareConnect-",
    "https://fhir.nhs.uk/STU3/ValueSet/CareConnect-",
];

/// CareConnect name, system in R4, codes. The first row that has the code counts.
const CARE_CONNECT_SYSTEMS: &[(&str, &str, &str, Codes)] = &[
    (
        "AdmissionMethod",
        UK_CORE,
        "AdmissionMethodEngland",
        Codes::These(&[
            "11", "12", "13", "21", "22", "23", "24", "25", "2A", "2B", "2C", "2D", "28", "31", "32", "81", "82", "83",
            "98", "99",
        ]),
    ),
    (
        "DischargeDestination",
        UK_CORE,
        "DischargeDestinationEngland",
        Codes::These(&[
            "19", "29", "30", "37", "38", "48", "49", "50", "51", "52", "53", "54", "65", "66", "79", "84", "85", "87",
            "88", "98", "99",
        ]),
    ),
    // Not code 2, "by himself or a relative", which England split into 6 and 7.
    ("DischargeMethod", UK_CORE, "DischargeMethodEngland", Codes::These(&["1", "3", "4", "5", "8", "9"])),
    (
        "SourceOfAdmission",
        UK_CORE,
        "SourceOfAdmissionEngland",
        Codes::These(&["19", "29", "39", "49", "51", "52", "53", "54", "65", "66", "79", "85", "87", "88", "98", "99"]),
    ),
    (
        "EthnicCategory",
        UK_CORE,
        "EthnicCategoryEngland",
        Codes::These(&["A", "B", "C", "D", "E", "F", "G", "H", "J", "K", "L", "M", "N", "P", "R", "S", "Z", "99"]),
    ),
    (
        "NHSNumberVerificationStatus",
        UK_CORE,
        "NHSNumberVerificationStatusEngland",
        Codes::These(&["01", "02", "03", "04", "05", "06", "07", "08"]),
    ),
    ("OutcomeOfAttendance", UK_CORE, "OutcomeOfAttendanceEngland", Codes::These(&["1", "2", "3"])),
    ("ConditionCategory", UK_CORE, "ConditionCategory", Codes::These(&["presenting-complaint", "co-morbidity"])),
    ("ConditionCategory", HL7, "condition-category", Codes::These(&["problem-list-item", "encounter-diagnosis"])),
    ("ListEmptyReasonCode", UK_CORE, "ListEmptyReasonCode", Codes::These(&["no-content-recorded"])),
    ("ResidentialStatus", UK_CORE, "ResidentialStatus", Codes::These(&["H", "O"])),
    ("DeathNotificationStatus", UK_CORE, "DeathNotificationStatus", Codes::These(&["1", "2", "U"])),
    ("LanguageAbilityProficiency", UK_CORE, "LanguageAbilityProficiency", Codes::These(&["E", "F", "G", "P"])),
    (
        "LanguageAbilityMode",
        UK_CORE,
        "LanguageAbilityMode",
        Codes::These(&["ESGN", "ESP", "EWR", "RSGN", "RSP", "RWR"]),
    ),
    ("HumanLanguage", UK_CORE, "HumanLanguage", Codes::Any),
    ("SDSJobRoleName", UK_CORE, "SDSJobRoleName", Codes::Any),
];

/// Code systems of HL7's own value sets that R4 moved to terminology.hl7.org under the same name.
const HL7_MOVED: &[&str] = &[
    "admit-source",
    "allerg-intol-substance-exp-risk",
    "communication-category",
    "composition-altcode-kind",
    "condition-category",
    "consentcategorycodes",
    "contactentity-type",
    "data-absent-reason",
    "diagnosis-role",
    "diet",
    "discharge-disposition",
    "encounter-special-arrangements",
    "encounter-type",
    "endpoint-connection-type",
    "endpoint-payload-type",
    "episodeofcare-type",
    "flag-category",
    "goal-category",
    "goal-priority",
    "list-empty-reason",
    "list-order",
    "location-physical-type",
    "medication-admin-category",
    "medication-statement-category",
    "object-role",
    "observation-category",
    "operation-outcome",
    "organization-type",
    "participant-type",
    "practitioner-role",
    "reason-medication-given",
    "referencerange-meaning",
    "service-category",
    "service-type",
    "substance-category",
];

/// The same for those that changed their name.
const HL7_RENAMED: &[(&str, &str)] = &[
    ("medication-dispense-category", "medicationdispense-category"),
    ("medication-request-category", "medicationrequest-category"),
    ("history-not-done-reason", "history-absent-reason"),
    ("v3-ActEncounterCode", "v3-ActCode"),
    ("v3/ActEncounterCode", "v3-ActCode"),
];

/// The SNOMED section codes of the ITK3 documents and their UK Core heading (standards page §1).
const HEADINGS: &[(&str, &str, &str)] = &[
    ("1052891000000108", "referrer-details", "Referrer details"),
    (
        "1052941000000107",
        "patient-and-carer-concerns-expectations-and-wishes",
        "Patient and carer concerns, expectations and wishes",
    ),
    ("1052951000000105", "information-and-advice-given", "Information and advice given"),
    ("1077881000000105", "attendance-details", "Attendance details"),
    ("1077901000000108", "clinical-narrative", "Clinical narrative"),
    ("1077911000000105", "safeguarding", "Safeguarding"),
    ("1077931000000102", "contact-for-further-information", "Contact for further information"),
    ("1078901000000109", "senior-reviewing-clinician", "Senior reviewing clinician"),
    ("1078911000000106", "individual-requirements", "Individual requirements"),
    ("1082101000000102", "investigation-results", "Investigation results"),
    ("715851000000102", "examination-findings", "Examination findings"),
    ("717121000000105", "history", "History"),
    ("886711000000101", "general-practitioner-practice", "General practitioner practice"),
    ("886731000000109", "patient-demographics", "Patient demographics"),
    ("886751000000102", "participation-in-research", "Participation in research"),
    ("886781000000108", "admission-details", "Admission details"),
    ("886811000000106", "discharge-details", "Discharge details"),
    ("886821000000100", "relevant-clinical-risk-factors", "Relevant clinical risk factors"),
    ("886891000000102", "presenting-complaints-or-issues", "Presenting complaints or issues"),
    ("886921000000105", "allergies-and-adverse-reaction", "Allergies and adverse reaction"),
    ("886931000000107", "safety-alerts", "Safety alerts"),
    ("886961000000102", "legal-information", "Legal information"),
    ("887051000000101", "social-context", "Social context"),
    ("887111000000104", "family-history", "Family history"),
    ("887121000000105", "review-of-systems", "Review of systems"),
    ("887141000000103", "assessment-scales", "Assessment scales"),
    ("887151000000100", "problems-and-issues", "Problems and issues"),
    ("887161000000102", "diagnoses", "Diagnoses"),
    ("887171000000109", "procedures", "Procedures"),
    ("887181000000106", "clinical-summary", "Clinical summary"),
    ("887201000000105", "plan-and-requested-actions", "Plan and requested actions"),
    ("887231000000104", "person-completing-record", "Person completing record"),
    ("887261000000109", "distribution-list", "Distribution list"),
    ("933361000000108", "medications-and-medical-devices", "Medications and medical devices"),
];

/// The R4 name of a code system, where this code exists there too.
pub(super) fn system_in_r4(system: &str, code: Option<&str>) -> Option<String> {
    if let Some(name) = CARE_CONNECT.iter().find_map(|prefix| system.strip_prefix(prefix)) {
        return care_connect(name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-'), code?);
    }
    let name = system.strip_prefix("http://hl7.org/fhir/")?;
    if let Some((_, renamed)) = HL7_RENAMED.iter().find(|(from, _)| *from == name) {
        return Some(format!("{HL7}{renamed}"));
    }
    if HL7_MOVED.contains(&name) {
        return Some(format!("{HL7}{name}"));
    }
    let (family, table) = name.split_once('/')?;
    let plain = !table.is_empty() && table.chars().all(|c| c.is_ascii_alphanumeric());
    (matches!(family, "v2" | "v3") && plain).then(|| format!("{HL7}{family}-{table}"))
}

fn care_connect(name: &str, code: &str) -> Option<String> {
    CARE_CONNECT_SYSTEMS.iter().find_map(|(from, base, to, codes)| {
        let known = match codes {
            Codes::These(listed) => listed.contains(&code),
            Codes::Any => true,
        };
        (*from == name && known).then(|| format!("{base}{to}"))
    })
}

/// `Coding.system`.
pub(super) fn system<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let code = child.parent().and_then(|coding| coding.text("code"));
    let care_connect = |system: &str| CARE_CONNECT.iter().any(|prefix| system.starts_with(prefix));
    match child.value().and_then(|system| system_in_r4(system, code)) {
        None => {
            if child.value().is_some_and(care_connect) {
                c.notes.kept(child, "a CareConnect code that has no counterpart in R4 stays in its own system");
            }
            c.place(child, "system", types, types.r4);
        }
        Some(renamed) => {
            c.notes.mapped(child, format!("code system {} is {renamed} in R4", child.value().unwrap_or_default()));
            c.out.open("system");
            c.out.set_value(renamed, child.lexical());
            c.children(child, Types::both("uri"));
            c.out.close();
        }
    }
}

/// `Composition.section.code`: the SNOMED coding stays, UK Core's heading stands beside it.
pub(super) fn section_code<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    c.out.open_shell("code", child);
    c.children(child, Types::both("CodeableConcept"));
    let already = onward_fhir::views::code_in(child, systems::RECORD_STANDARD_HEADINGS).is_some();
    let snomed = onward_fhir::views::code_in(child, systems::SNOMED_CT);
    let heading = snomed.and_then(|code| HEADINGS.iter().find(|(from, ..)| *from == code));
    if let (Some((_, code, display)), false) = (heading, already) {
        c.notes.mapped(child, "section codes also carry UK Core's record standard heading");
        c.out.node("coding", |b| {
            b.leaf("system", systems::RECORD_STANDARD_HEADINGS);
            b.leaf("code", *code);
            b.leaf("display", *display);
        });
    }
    c.out.close();
}
