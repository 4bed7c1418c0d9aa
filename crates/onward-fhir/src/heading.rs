//! The PRSB headings of NHS transfer-of-care documents: one table for both releases and all four documents.
//!
//! Levels come from the implementation guides ("explore headings" of ITK3 eDischarge, Mental Health eDischarge,
//! Emergency Care eDischarge and Outpatient Letter), not from the profiles: the profiles enforce two headings,
//! the eDischarge guide demands six.

use crate::systems;
use crate::tree::Element;
use crate::views;

/// Which transfer-of-care document it is; each guide demands other headings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// ITK3 eDischarge (ITK003D): inpatient discharge summary.
    Discharge,
    /// ITK3 Mental Health eDischarge (ITK004D).
    MentalHealthDischarge,
    /// ITK3 Emergency Care eDischarge (ITK005D).
    EmergencyCareDischarge,
    /// ITK3 Outpatient Letter (ITK006D).
    OutpatientLetter,
}

impl DocumentKind {
    /// The title of the guide, for findings.
    #[must_use]
    pub fn guide(self) -> &'static str {
        match self {
            Self::Discharge => "ITK3 eDischarge guide",
            Self::MentalHealthDischarge => "ITK3 Mental Health eDischarge guide",
            Self::EmergencyCareDischarge => "ITK3 Emergency Care eDischarge guide",
            Self::OutpatientLetter => "ITK3 Outpatient Letter guide",
        }
    }

    /// The ITK3 message event that carries this document.
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            Self::Discharge => "ITK003D",
            Self::MentalHealthDischarge => "ITK004D",
            Self::EmergencyCareDischarge => "ITK005D",
            Self::OutpatientLetter => "ITK006D",
        }
    }

    /// The document that an ITK3 message event carries.
    #[must_use]
    pub fn of_event(code: &str) -> Option<Self> {
        [Self::Discharge, Self::MentalHealthDischarge, Self::EmergencyCareDischarge, Self::OutpatientLetter]
            .into_iter()
            .find(|kind| kind.event() == code)
    }
}

/// How strongly a guide asks for a heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The guide does not list the heading for this document.
    Unlisted,
    /// May be sent.
    Optional,
    /// Must be sent when the sender holds the information.
    Required,
    /// Must be sent.
    Mandatory,
}

use Level::{Mandatory as M, Optional as O, Required as R, Unlisted as U};

macro_rules! headings {
    ($($variant:ident: $snomed:literal, $display:literal, $title:literal, $record:literal,
        [$edis:ident $mh:ident $ec:ident $opl:ident];)+) => {
        /// A heading under which a section stands. Declared in the order in which the PRSB standard lists them
        /// for people to read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Heading {
            $(#[doc = $display] $variant),+
        }

        impl Heading {
            /// Every heading, in reading order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// SNOMED CT concept: the section code of STU3 documents.
            #[must_use]
            pub fn snomed(self) -> &'static str {
                match self { $(Self::$variant => $snomed),+ }
            }

            /// The display that the profiles fix for the SNOMED CT code.
            #[must_use]
            pub fn display(self) -> &'static str {
                match self { $(Self::$variant => $display),+ }
            }

            /// The section title that the STU3 profiles fix; it differs from the display for two headings.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// Code in UKCore-RecordStandardHeadings: the section code of R4 documents.
            #[must_use]
            pub fn record_standard(self) -> &'static str {
                match self { $(Self::$variant => $record),+ }
            }

            fn levels(self) -> [Level; 4] {
                match self { $(Self::$variant => [$edis, $mh, $ec, $opl]),+ }
            }
        }
    };
}

headings! {
    PatientDemographics: "886731000000109", "Patient demographics", "Patient demographics", "patient-demographics", [M M M M];
    GpPractice: "886711000000101", "GP practice", "GP practice", "general-practitioner-practice", [M M O M];
    ReferrerDetails: "1052891000000108", "Referrer details", "Referrer details", "referrer-details", [R R O R];
    SocialContext: "887051000000101", "Social context", "Social context", "social-context", [O O U O];
    IndividualRequirements: "1078911000000106", "Individual requirements", "Individual requirements", "individual-requirements", [R R U R];
    ParticipationInResearch: "886751000000102", "Participation in research", "Participation in research", "participation-in-research", [O R O R];
    AdmissionDetails: "886781000000108", "Admission details", "Admission details", "admission-details", [R R U U];
    AttendanceDetails: "1077881000000105", "Attendance details", "Attendance details", "attendance-details", [U U O M];
    DischargeDetails: "886811000000106", "Discharge details", "Discharge details", "discharge-details", [R R M U];
    PresentingComplaints: "886891000000102", "Presenting complaints or issues", "Presenting complaints or issues", "presenting-complaints-or-issues", [U U O U];
    Diagnoses: "887161000000102", "Diagnoses", "Diagnoses", "diagnoses", [M M M R];
    Procedures: "887171000000109", "Procedures", "Procedures", "procedures", [O O M R];
    ClinicalSummary: "887181000000106", "Clinical summary", "Clinical summary", "clinical-summary", [M M U M];
    ClinicalNarrative: "1077901000000108", "Clinical narrative", "Clinical narrative", "clinical-narrative", [U U M U];
    History: "717121000000105", "History", "History", "history", [U U U R];
    FamilyHistory: "887111000000104", "Family history", "Family history", "family-history", [U O U O];
    ProblemsAndIssues: "887151000000100", "Problems and issues", "Problems and issues", "problems-and-issues", [U U U R];
    ReviewOfSystems: "887121000000105", "Review of systems", "Clinical review of systems", "review-of-systems", [U U U O];
    ExaminationFindings: "715851000000102", "Examination findings", "Examination finding", "examination-findings", [U U U O];
    AssessmentScales: "887141000000103", "Assessment scales", "Assessment scales", "assessment-scales", [O R U O];
    InvestigationResults: "1082101000000102", "Investigation results", "Investigation results", "investigation-results", [O O U O];
    ClinicalRiskFactors: "886821000000100", "Relevant clinical risk factors", "Relevant clinical risk factors", "relevant-clinical-risk-factors", [U U U O];
    LegalInformation: "886961000000102", "Legal information", "Legal information", "legal-information", [R R O R];
    SafetyAlerts: "886931000000107", "Safety alerts", "Safety alerts", "safety-alerts", [R R O R];
    Safeguarding: "1077911000000105", "Safeguarding", "Safeguarding", "safeguarding", [U U O U];
    Medications: "933361000000108", "Medications and medical devices", "Medications and medical devices", "medications-and-medical-devices", [O O M O];
    Allergies: "886921000000105", "Allergies and adverse reactions", "Allergies and adverse reactions", "allergies-and-adverse-reaction", [M M M M];
    PatientConcerns: "1052941000000107", "Patient and carer concerns, expectations and wishes", "Patient and carer concerns, expectations and wishes", "patient-and-carer-concerns-expectations-and-wishes", [R O U O];
    InformationGiven: "1052951000000105", "Information and advice given", "Information and advice given", "information-and-advice-given", [R R O R];
    PlanAndActions: "887201000000105", "Plan and requested actions", "Plan and requested actions", "plan-and-requested-actions", [R R O R];
    ContactForInformation: "1077931000000102", "Contact for further information", "Contact for further information", "contact-for-further-information", [U U M U];
    PersonCompleting: "887231000000104", "Person completing record", "Person completing record", "person-completing-record", [M M M M];
    SeniorClinician: "1078901000000109", "Senior reviewing clinician", "Senior reviewing clinician", "senior-reviewing-clinician", [U U O U];
    DistributionList: "887261000000109", "Distribution list", "Distribution list", "distribution-list", [R R M R];
}

impl Heading {
    /// What the guide of a document says about this heading.
    #[must_use]
    pub fn level(self, kind: DocumentKind) -> Level {
        let [discharge, mental_health, emergency, outpatient] = self.levels();
        match kind {
            DocumentKind::Discharge => discharge,
            DocumentKind::MentalHealthDischarge => mental_health,
            DocumentKind::EmergencyCareDischarge => emergency,
            DocumentKind::OutpatientLetter => outpatient,
        }
    }

    /// The headings that a guide demands.
    pub fn mandatory(kind: DocumentKind) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |heading| heading.level(kind) == Level::Mandatory)
    }

    /// The heading of a code in SNOMED CT or in the record standard headings of UK Core.
    #[must_use]
    pub fn of_code(system: &str, code: &str) -> Option<Self> {
        let field = match system {
            systems::SNOMED_CT => Self::snomed,
            systems::RECORD_STANDARD_HEADINGS => Self::record_standard,
            _ => return None,
        };
        Self::ALL.iter().copied().find(|heading| field(*heading) == code)
    }

    /// The heading of a `section.code`, by whichever of its codings is known.
    #[must_use]
    pub fn of_concept(concept: Element<'_, '_>) -> Option<Self> {
        views::codings(concept).find_map(|coding| Self::of_code(coding.system?, coding.code?))
    }

    /// The heading named in a policy or query by its record-standard code.
    #[must_use]
    pub fn of_record_standard(code: &str) -> Option<Self> {
        Self::of_code(systems::RECORD_STANDARD_HEADINGS, code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_discharge_guide_demands_six() {
        let six: Vec<_> = Heading::mandatory(DocumentKind::Discharge).map(Heading::display).collect();
        assert_eq!(
            six,
            [
                "Patient demographics",
                "GP practice",
                "Diagnoses",
                "Clinical summary",
                "Allergies and adverse reactions",
                "Person completing record",
            ]
        );
    }

    #[test]
    fn both_codings_find_the_heading_and_are_unique() {
        let mut seen = HashSet::new();
        for heading in Heading::ALL.iter().copied() {
            assert_eq!(Heading::of_code(systems::SNOMED_CT, heading.snomed()), Some(heading));
            assert_eq!(Heading::of_record_standard(heading.record_standard()), Some(heading));
            assert!(seen.insert(heading.snomed()) && seen.insert(heading.record_standard()), "{}", heading.display());
        }
        assert_eq!(Heading::of_code("http://example.org", "886711000000101"), None);
    }

    /// The record-standard codes exist in UK Core's code system.
    #[test]
    fn record_standard_codes_exist() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/data/uk-core/codesystems/CodeSystem-UKCore-RecordStandardHeadings.xml"
        );
        let Ok(text) = std::fs::read_to_string(path) else {
            assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
            eprintln!("SKIPPED: shared UK Core data is absent");
            return;
        };
        for heading in Heading::ALL {
            assert!(text.contains(&format!("\"{}\"", heading.record_standard())), "{}", heading.record_standard());
        }
    }
}
