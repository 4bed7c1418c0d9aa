//! What a list shows of a copy: whom it is about and what to look at first. It says nothing that the copy does not.

use std::fmt;

use onward_fhir::Heading;
use serde::{Deserialize, Serialize};

use super::summary::{AllergyState, Summary};
use super::{Parties, html};

/// One copy as a line of a list. Its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// `SURNAME, Given (Title)`.
    pub name: String,
    /// Date of birth in words.
    pub born: String,
    /// Age in words when the copy was made; empty where the date is not whole.
    pub age: String,
    /// Gender in words.
    pub gender: String,
    /// In groups of 3, 3 and 4.
    pub nhs_number: String,
    /// What to know about the number; empty when it is verified.
    pub nhs_number_note: String,
    /// When they died; empty while they live.
    pub died: String,
    /// Name of the hospital.
    pub hospital: String,
    /// Ward; empty where the hospital names none.
    pub ward: String,
    /// Nobody said when the person comes: the moment of the discharge stands in.
    pub arrival_unknown: bool,
    /// It replaces an earlier one.
    pub replaces: bool,
    /// Allergies, alerts, decisions about treatment: never empty.
    pub check_first: Vec<String>,
    /// Who can be rung about the hospital stay.
    pub telephones: Vec<String>,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Card(redacted)")
    }
}

impl Card {
    pub(super) fn new(summary: &Summary, parties: &Parties<'_>) -> Self {
        let person = &summary.person;
        Self {
            name: person.name.clone(),
            born: person.born.clone(),
            age: person.age.clone(),
            gender: person.gender.to_owned(),
            nhs_number: person.nhs_number.clone(),
            nhs_number_note: person.nhs_number_note.to_owned(),
            died: person.died.clone(),
            hospital: parties.sender_name.to_owned(),
            ward: summary.origin.ward.clone(),
            arrival_unknown: parties.expected.is_some_and(|expected| {
                html::is_discharge(summary.origin.discharged_as_sent.as_deref().unwrap_or_default(), expected)
            }),
            replaces: summary.origin.replaces,
            check_first: check_first(summary),
            telephones: summary.origin.telephones.clone(),
        }
    }

    /// As the store keeps it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        html::without_turns(serde_json::to_string(self).expect("texts and flags always serialise")).into_bytes()
    }

    /// As the store kept it; `None` for what is none.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

fn check_first(summary: &Summary) -> Vec<String> {
    let allergies = &summary.allergies;
    let mut lines = vec![match allergies.state {
        AllergyState::Known => {
            let substances: Vec<&str> = allergies.list.iter().map(|allergy| allergy.substance.as_str()).collect();
            format!("Known allergies: {}", substances.join(", "))
        }
        state => state.words().to_owned(),
    }];
    let said = |heading| {
        let section = summary.section(heading);
        !section.html.is_empty() || !section.entries.is_empty()
    };
    lines.extend(summary.alerts.iter().map(|alert| format!("Alert: {alert}")));
    if summary.alerts.is_empty() && said(Heading::SafetyAlerts) {
        lines.push("Safety alerts: read them in the summary".to_owned());
    }
    // What was decided stands in text, which nobody here may put into a word.
    lines.push(match said(Heading::LegalInformation) {
        true => "Decisions about treatment: read them in the summary".to_owned(),
        false => "Resuscitation decision not sent".to_owned(),
    });
    lines
}
