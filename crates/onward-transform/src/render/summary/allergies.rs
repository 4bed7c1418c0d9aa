//! Allergies in four states that are never merged: known, none known, not recorded, unavailable. Never blank.

use onward_fhir::{Document, Element, Heading, views};

use crate::render::dates;

/// SNOMED CT: no known allergy; no known drug allergy; no known food allergy (ITK3 eDischarge guide).
const NONE_KNOWN: &str = "716186003";
const NEGATIONS: [&str; 3] = [NONE_KNOWN, "409137002", "429625007"];
/// Transfer-degraded drug and non-drug allergy: the sender has one and could not send it as a code.
const DEGRADED: [&str; 2] = ["196461000000101", "196471000000108"];

/// The four states of the NHS common user interface guidance on allergies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::render) enum AllergyState {
    Known,
    NoneKnown,
    NotRecorded,
    Unavailable,
}

impl AllergyState {
    pub(in crate::render) fn words(self) -> &'static str {
        match self {
            Self::Known => "Known allergies",
            Self::NoneKnown => "No known allergies",
            Self::NotRecorded => "Allergies not recorded",
            Self::Unavailable => "Allergies unavailable",
        }
    }
}

/// One allergy as shown.
#[derive(Debug)]
pub(in crate::render) struct AllergyView {
    pub(in crate::render) substance: String,
    pub(in crate::render) reaction: String,
    pub(in crate::render) detail: String,
}

/// The allergies of a document.
pub(in crate::render) struct Allergies {
    pub(in crate::render) state: AllergyState,
    pub(in crate::render) list: Vec<AllergyView>,
    /// What the reader must know beside the state.
    pub(in crate::render) notes: Vec<String>,
    /// The section's narrative, safe HTML.
    pub(in crate::render) html: String,
}

impl Allergies {
    /// `html` is the section's narrative, as [`super::narrative_of`] gives it. `absent` says why there is no section; empty when there is.
    /// `partly`: something that the hospital sent under the heading is not in this copy.
    pub(super) fn new(document: &Document<'_, '_>, html: String, absent: &'static str, partly: bool) -> Self {
        let mut list = Vec::new();
        let mut notes = Vec::new();
        let (mut none_known, mut degraded) = (false, false);
        for allergy in document.bundle.of_type("AllergyIntolerance") {
            let codes: Vec<&str> =
                allergy.get("code").into_iter().flat_map(views::codings).filter_map(|coding| coding.code).collect();
            let has = |known: &[&str]| codes.iter().any(|code| known.contains(code));
            let text = allergy.get("code").and_then(views::concept_text).unwrap_or("Substance not named").to_owned();
            match verification(allergy) {
                "entered-in-error" => notes.push(format!("Entered in error by the hospital: {text}")),
                "refuted" => notes.push(format!("Ruled out by the hospital: {text}")),
                _ if has(&NEGATIONS) => {
                    none_known |= has(&[NONE_KNOWN]);
                    notes.push(text);
                }
                status => {
                    degraded |= has(&DEGRADED);
                    list.push(view(allergy, text, status));
                }
            }
        }
        if degraded {
            notes.push("The hospital holds an allergy that it could not send as a code: read its own text, and ring the ward if that does not name the substance.".to_owned());
        }
        if none_known && !list.is_empty() {
            notes.push("The hospital sent both an allergy and \"no known allergies\": treat the allergy as real and ring the ward.".to_owned());
        }
        if partly {
            notes.push(super::PARTLY_INCLUDED.to_owned());
        }
        let reason = empty_reason(document);
        let state = if !list.is_empty() {
            AllergyState::Known
        } else if partly {
            AllergyState::Unavailable
        } else if none_known || reason == Some("nilknown") {
            AllergyState::NoneKnown
        } else if matches!(reason, Some("no-content-recorded" | "notasked" | "notstarted")) {
            AllergyState::NotRecorded
        } else {
            AllergyState::Unavailable
        };
        if state == AllergyState::Unavailable {
            notes.push(unavailable(absent, &html, &notes));
        }
        Self { state, list, notes, html }
    }
}

/// The sentence that keeps "unavailable" from being read as "none".
fn unavailable(absent: &'static str, html: &str, notes: &[String]) -> String {
    let why = match (absent, html.is_empty()) {
        ("", false) if notes.is_empty() => "The hospital sent text only: read it below.",
        ("", false) => "The codes do not settle it: read the hospital's text below.",
        ("", true) => "The hospital sent the heading without content.",
        (absent, _) => absent,
    };
    format!("{why} Do not take this to mean that there are none: ask the hospital or the practice.")
}

fn verification<'t>(allergy: Element<'t, '_>) -> &'t str {
    allergy
        .get("verificationStatus")
        .and_then(|status| views::codings(status).find_map(|coding| coding.code))
        .unwrap_or_default()
}

/// `List.emptyReason` of the allergy list, or of the section.
fn empty_reason<'t>(document: &Document<'t, '_>) -> Option<&'t str> {
    let section = document.section(Heading::Allergies)?;
    let lists = section.entries.iter().filter(|entry| entry.is("List"));
    let holders = lists.map(|list| list.get("emptyReason")).chain([section.element.get("emptyReason")]);
    holders.flatten().find_map(|reason| views::codings(reason).find_map(|coding| coding.code))
}

fn view(allergy: Element<'_, '_>, substance: String, status: &str) -> AllergyView {
    let manifestations: Vec<&str> = allergy
        .all("reaction")
        .flat_map(|reaction| {
            reaction.all("manifestation").filter_map(views::concept_text).chain(reaction.text("description"))
        })
        .collect();
    let severities: Vec<&str> = allergy.all("reaction").filter_map(|reaction| reaction.text("severity")).collect();
    let clinical = allergy
        .get("clinicalStatus")
        .and_then(|status| views::codings(status).find_map(|coding| coding.code))
        .filter(|code| *code != "active")
        .map(|code| format!("status: {code}"));
    let mut detail: Vec<String> = Vec::new();
    detail.extend(severities.first().map(|severity| format!("severity: {severity}")));
    detail.extend(allergy.text("criticality").map(|criticality| format!("criticality: {criticality}")));
    detail.extend((status == "unconfirmed").then(|| "not confirmed".to_owned()));
    detail.extend(clinical);
    detail.extend(allergy.text("recordedDate").map(|date| format!("recorded {}", dates::fhir(date))));
    detail.extend(allergy.all("note").filter_map(|note| note.text("text")).map(str::to_owned));
    AllergyView { substance, reaction: manifestations.join(", "), detail: detail.join("; ") }
}
