//! The pages: one complete HTML file each, no script, nothing loaded from elsewhere, every text escaped by the
//! template and every narrative filtered before. No patient data in the title: browsers keep titles.

use askama::Template;
use onward_core::OdsCode;
use onward_core::directory::{CareHome, Contact};
use onward_fhir::Heading;

use super::summary::{Change, FileView, SectionView, Summary};
use super::{Parties, Prepared, RenderError, dates};
use crate::disclose::Added;

/// What every page says of the copy itself.
struct Page<'a> {
    recipient: &'a str,
    sender_name: &'a str,
    sender_ods: &'a OdsCode,
    own_name: &'a str,
    made: String,
    basis: &'a str,
    document_id: String,
    withheld: usize,
    /// Headings of which something is withheld, by their titles.
    left_out: Vec<&'static str>,
}

impl<'a> Page<'a> {
    fn new(prepared: &'a Prepared<'_>, parties: &Parties<'a>, recipient: &'a str) -> Self {
        Self {
            recipient,
            sender_name: parties.sender_name,
            sender_ods: parties.sender_ods,
            own_name: parties.own_name,
            made: dates::moment(parties.now),
            basis: &prepared.basis,
            document_id: prepared.ids.document().to_string(),
            withheld: prepared.projection.withheld.len(),
            left_out: Vec::new(),
        }
    }

    /// Names what is left out, so that the reader can ask for it. Not safeguarding: that there is a concern is itself
    /// what the policy keeps back.
    fn with_left_out(mut self, prepared: &Prepared<'_>) -> Self {
        let mut headings = prepared.projection.withheld_headings.clone();
        headings.retain(|heading| *heading != Heading::Safeguarding);
        for heading in headings {
            if !self.left_out.contains(&heading.title()) {
                self.left_out.push(heading.title());
            }
        }
        self
    }
}

/// Whether this is the moment of discharge, as it was sent.
pub(super) fn is_discharge(sent: &str, expected: onward_core::Timestamp) -> bool {
    match sent.parse::<onward_core::Timestamp>() {
        Ok(discharged) => discharged == expected,
        Err(_) => dates::date_of_fhir(sent) == Some(dates::date_of(expected)),
    }
}

/// When the person comes. The discharge stands in where the hospital tells nothing else; it is not called arrival.
fn arrival(summary: &Summary, parties: &Parties<'_>) -> String {
    let origin = &summary.origin;
    let sent = origin.discharged_as_sent.as_deref().unwrap_or_default();
    let expected = parties.expected.filter(|expected| !is_discharge(sent, *expected));
    let mut text = match expected {
        Some(expected) => format!("Expected {}.", dates::moment(expected)),
        None => "Time of arrival not given.".to_owned(),
    };
    if !origin.discharged.is_empty() {
        let from = if origin.ward.is_empty() { "hospital" } else { &origin.ward };
        text.push_str(&format!(" Discharged from {from} {}.", origin.discharged));
    }
    if !origin.admitted.is_empty() {
        text.push_str(&format!(" Admitted {}.", origin.admitted));
    }
    text
}

struct ContactLine {
    when: String,
    whom: String,
    telephone: String,
}

#[derive(Template)]
#[template(path = "care_home.html")]
struct CareHomePage<'a> {
    summary: &'a Summary,
    page: Page<'a>,
    arrival: String,
    alerts: SectionView,
    warnings: Vec<SectionView>,
    legal: SectionView,
    plan: Vec<SectionView>,
    advice: Vec<SectionView>,
    contacts: Vec<ContactLine>,
    needs: Vec<SectionView>,
    others: Vec<SectionView>,
    attachments_withheld: bool,
}

/// Headings that warn beside the safety alerts.
const WARNINGS: [Heading; 2] = [Heading::Safeguarding, Heading::ClinicalRiskFactors];
/// Headings shown above the plan: what warns, and what was decided about treatment.
const ALERTS: [Heading; 4] =
    [Heading::SafetyAlerts, Heading::LegalInformation, Heading::Safeguarding, Heading::ClinicalRiskFactors];

/// What a nurse needs to know before the first night: hearing aids, mobility, continence, diet. It stands before what the
/// hospital's administration wrote.
const NEEDS: [Heading; 1] = [Heading::IndividualRequirements];

pub(super) fn care_home(
    prepared: &Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
) -> Result<String, RenderError> {
    let shown: Vec<Heading> =
        [Heading::Medications, Heading::Allergies, Heading::PlanAndActions, Heading::InformationGiven]
            .into_iter()
            .chain(ALERTS)
            .chain(NEEDS)
            .collect();
    let attachments_withheld =
        prepared.projection.withheld.iter().any(|withheld| withheld.rule.starts_with("attachments"));
    written(&CareHomePage {
        arrival: arrival(summary, parties),
        alerts: summary.section(Heading::SafetyAlerts),
        warnings: summary.present(&WARNINGS),
        legal: summary.section(Heading::LegalInformation),
        plan: vec![summary.section(Heading::PlanAndActions)],
        advice: summary.present(&[Heading::InformationGiven]),
        contacts: contacts(prepared, summary, parties),
        needs: summary.present(&NEEDS),
        others: summary.others(&shown),
        attachments_withheld,
        page: Page::new(prepared, parties, &parties.care_home.name).with_left_out(prepared),
        summary,
    })
}

/// By the hour: who answers now, who answers at night, who knows the person.
fn contacts(prepared: &Prepared<'_>, summary: &Summary, parties: &Parties<'_>) -> Vec<ContactLine> {
    let (home, practice) = (parties.care_home, parties.covering_practice);
    let known = |telephone: &str| {
        if telephone.trim().is_empty() { "Not in the directory".to_owned() } else { telephone.to_owned() }
    };
    let line = |when: &str, whom: String, telephone: String| ContactLine { when: when.to_owned(), whom, telephone };
    let mut lines = vec![line("Life in danger", "Ambulance".to_owned(), "999".to_owned())];
    if prepared.adds(Added::CoveringPractice) {
        let whom = format!("{} (covers the home)", practice.name);
        lines.push(line("In the practice's hours", whom, known(&practice.telephone)));
    }
    lines.push(line("Out of hours", "NHS 111".to_owned(), "111".to_owned()));
    let contact = |contact: &Contact, role: &str| {
        let hours = if contact.hours.is_empty() { "Hours not in the directory" } else { &contact.hours };
        let whom = if contact.name.is_empty() { role.to_owned() } else { format!("{role}: {}", contact.name) };
        line(hours, whom, known(&contact.telephone))
    };
    if prepared.adds(Added::Contacts) {
        lines.push(contact(&home.geriatric_on_call, "Geriatric on call"));
    }
    if prepared.adds(Added::Contacts) && !home.coordinator.telephone.is_empty() {
        lines.push(contact(&home.coordinator, "Discharge coordinator"));
    }
    if summary.origin.telephones.is_empty() {
        lines.push(line(
            "About the hospital stay",
            parties.sender_name.to_owned(),
            "Not sent by the hospital".to_owned(),
        ));
    }
    for telephone in &summary.origin.telephones {
        let (whom, number) = telephone.rsplit_once(": ").unwrap_or(("", telephone));
        lines.push(line("About the hospital stay", whom.to_owned(), number.to_owned()));
    }
    if prepared.adds(Added::DeliveringPharmacy) {
        let pharmacy = parties.delivering_pharmacy;
        lines.push(line("Medicines supply", pharmacy.name.clone(), known(&pharmacy.telephone)));
    }
    lines
}

/// What the registration says beside the person: the stay and who has the person now.
struct Registration {
    starts: String,
    ends: String,
    registered: String,
}

impl Registration {
    fn new(prepared: &Prepared<'_>, summary: &Summary, parties: &Parties<'_>) -> Self {
        Self {
            starts: parties.expected.map(|_| dates::day_of_fhir(&stay_start(parties))).unwrap_or_default(),
            ends: stay_end(summary, parties).as_deref().map(dates::day_of_fhir).unwrap_or_default(),
            registered: registered(prepared, parties),
        }
    }
}

#[derive(Template)]
#[template(path = "registration.html")]
struct RegistrationPage<'a> {
    summary: &'a Summary,
    page: Page<'a>,
    home: &'a CareHome,
    stay: Registration,
}

pub(super) fn registration(
    prepared: &Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
) -> Result<String, RenderError> {
    written(&RegistrationPage {
        page: Page::new(prepared, parties, &parties.covering_practice.name),
        home: parties.care_home,
        stay: Registration::new(prepared, summary, parties),
        summary,
    })
}

/// Stands where a policy does not let something be told.
const NOT_TOLD: &str = "Not included in this copy";

fn registered(prepared: &Prepared<'_>, parties: &Parties<'_>) -> String {
    match parties.registered_practice {
        _ if !prepared.adds(Added::RegisteredPractice) => NOT_TOLD.to_owned(),
        Some(practice) => format!("{} ({})", practice.name, practice.ods),
        None => "None".to_owned(),
    }
}

/// The sections of the practice's summary, in its order.
struct PracticeSections {
    arrival: String,
    plan: Vec<SectionView>,
    alerts: Vec<SectionView>,
    others: Vec<SectionView>,
    /// Whether the page hands out the attached files; by MESH they travel beside it.
    files: bool,
}

impl PracticeSections {
    fn new(summary: &Summary, parties: &Parties<'_>, files: bool) -> Self {
        let shown: Vec<Heading> =
            [Heading::Medications, Heading::Allergies, Heading::PlanAndActions].into_iter().chain(ALERTS).collect();
        Self {
            arrival: arrival(summary, parties),
            plan: vec![summary.section(Heading::PlanAndActions)],
            alerts: ALERTS.iter().flat_map(|heading| summary.present(&[*heading])).collect(),
            others: summary.others(&shown),
            files,
        }
    }
}

#[derive(Template)]
#[template(path = "practice_summary.html")]
struct PracticeSummaryPage<'a> {
    summary: &'a Summary,
    page: Page<'a>,
    home: &'a CareHome,
    sections: PracticeSections,
}

/// The summary for the covering practice: what it is asked to do comes first.
pub(super) fn practice_summary(
    prepared: &Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
) -> Result<String, RenderError> {
    written(&PracticeSummaryPage {
        page: Page::new(prepared, parties, &parties.covering_practice.name).with_left_out(prepared),
        home: parties.care_home,
        sections: PracticeSections::new(summary, parties, false),
        summary,
    })
}

#[derive(Template)]
#[template(path = "practice.html")]
struct PracticePage<'a> {
    summary: &'a Summary,
    page: Page<'a>,
    home: &'a CareHome,
    stay: Registration,
    sections: PracticeSections,
}

/// Request and summary on one page, for a practice that reads it in a browser.
pub(super) fn practice(
    prepared: &Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
) -> Result<String, RenderError> {
    written(&PracticePage {
        page: Page::new(prepared, parties, &parties.covering_practice.name).with_left_out(prepared),
        home: parties.care_home,
        stay: Registration::new(prepared, summary, parties),
        sections: PracticeSections::new(summary, parties, true),
        summary,
    })
}

#[derive(Template)]
#[template(path = "pharmacy_referral.html")]
struct ReferralPage<'a> {
    summary: &'a Summary,
    page: Page<'a>,
    home: &'a CareHome,
    registered: String,
    covering: String,
    others: Vec<SectionView>,
}

pub(super) fn pharmacy_referral(
    prepared: &Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
) -> Result<String, RenderError> {
    let covering = parties.covering_practice;
    let page = ReferralPage {
        page: Page::new(prepared, parties, &parties.delivering_pharmacy.name),
        home: parties.care_home,
        registered: registered(prepared, parties),
        covering: match prepared.adds(Added::CoveringPractice) {
            true => format!("{} ({}) {}", covering.name, covering.ods, covering.telephone),
            false => NOT_TOLD.to_owned(),
        },
        others: summary.present(&[Heading::InformationGiven, Heading::PlanAndActions, Heading::Diagnoses]),
        summary,
    };
    written(&page)
}

#[derive(Template)]
#[template(path = "pharmacy_nomination.html")]
struct NominationPage<'a> {
    summary: &'a Summary,
    page: Page<'a>,
    home: Option<&'a CareHome>,
    pharmacy: &'a OdsCode,
}

pub(super) fn pharmacy_nomination(
    prepared: &Prepared<'_>,
    summary: &Summary,
    parties: &Parties<'_>,
) -> Result<String, RenderError> {
    written(&NominationPage {
        page: Page::new(prepared, parties, &parties.delivering_pharmacy.name),
        home: prepared.adds(Added::CareHome).then_some(parties.care_home),
        pharmacy: &parties.delivering_pharmacy.ods,
        summary,
    })
}

fn written(page: &impl Template) -> Result<String, RenderError> {
    page.render().map(without_turns).map_err(|error| RenderError::Page(error.to_string()))
}

/// Without the signs that turn the order of others round: a name that carries one would be read as another, and so would
/// what stands behind it.
pub(super) fn without_turns(text: String) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // Each is three bytes that begin with 0xe2. Few pages have one, and a page may carry a file of a megabyte.
    let mut candidates = memchr::memchr_iter(0xe2, text.as_bytes()).filter_map(|at| text[at..].chars().next());
    if candidates.any(turns) { text.chars().filter(|c| !turns(*c)).collect() } else { text }
}

/// When the stay begins: the expected arrival, else now.
pub(super) fn stay_start(parties: &Parties<'_>) -> String {
    dates::instant(parties.expected.unwrap_or(parties.now))
}

/// When the stay ends, where somebody has said so.
pub(super) fn stay_end(summary: &Summary, parties: &Parties<'_>) -> Option<String> {
    parties.stay_ends.map(dates::instant).or_else(|| summary.origin.stay_ends.clone())
}
