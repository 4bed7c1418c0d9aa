//! The medicines: what was stopped, started and changed first, and why; text verbatim, never recomputed.

use onward_fhir::{Bundle, Document, Element, views};

use super::dosage::{self, quantity};
use crate::convert::TAKEN_EXTENSION;
use crate::render::dates;

/// Codes of the lists that an eDischarge has (build_medication_list of the ITK3 guide).
const ACTIVE_LIST: &str = "1102411000000102";
const DISCONTINUED_LIST: &str = "1102191000000100";

/// What happened to a medicine in hospital. The order is the order on the page: what is dangerous to miss comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::render) enum Change {
    Stopped,
    Started,
    Changed,
    OnHold,
    NotStated,
    Continued,
}

impl Change {
    pub(in crate::render) fn words(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Started => "New",
            Self::Changed => "Changed",
            Self::OnHold => "ON HOLD",
            Self::NotStated => "Change not stated",
            Self::Continued => "Continued",
        }
    }

    /// What stands before any dose of a medicine that must not be given now: a bare dose reads as an order to give it.
    pub(in crate::render) fn not_now(self) -> &'static str {
        match self {
            Self::Stopped => "Not to be taken",
            Self::OnHold => "Not to be taken while on hold",
            Self::Started | Self::Changed | Self::NotStated | Self::Continued => "",
        }
    }
}

/// One medicine.
#[derive(Debug)]
pub(in crate::render) struct Medicine {
    pub(in crate::render) change: Change,
    pub(in crate::render) name: String,
    pub(in crate::render) form: String,
    pub(in crate::render) strength: String,
    /// Dose, frequency and instructions as the hospital wrote them.
    pub(in crate::render) dose: Vec<String>,
    pub(in crate::render) route: String,
    pub(in crate::render) duration: String,
    /// What the medicine is for.
    pub(in crate::render) indication: String,
    /// What was changed and why.
    pub(in crate::render) why: Vec<String>,
    /// What the reader must settle before giving it.
    pub(in crate::render) warning: &'static str,
}

/// All medicines of a document.
pub(in crate::render) struct Medicines {
    /// In the order of [`Change`], else of the document.
    pub(in crate::render) list: Vec<Medicine>,
    /// What the hospital supplied.
    pub(in crate::render) supplied: Vec<String>,
    /// The section's narrative, safe HTML.
    pub(in crate::render) html: String,
    /// Why there is no section; empty when there is.
    pub(in crate::render) note: &'static str,
    /// Something that the hospital sent under the heading is not in this copy.
    pub(in crate::render) partly: bool,
}

impl Medicines {
    /// Whether the stay changed anything, as far as the hospital says so.
    pub(in crate::render) fn any_changed(&self) -> bool {
        self.list.iter().any(|medicine| !matches!(medicine.change, Change::Continued | Change::NotStated))
    }

    /// Whether there is any medicine, as entry or in the hospital's own words.
    pub(in crate::render) fn are_told(&self) -> bool {
        !self.list.is_empty() || !self.supplied.is_empty() || !self.html.is_empty()
    }

    /// `html` is the section's narrative, as [`super::narrative_of`] gives it.
    pub(super) fn new(document: &Document<'_, '_>, html: String, note: &'static str, partly: bool) -> Self {
        let bundle = &document.bundle;
        let statements = ["MedicationStatement", "MedicationRequest"].into_iter().flat_map(|t| bundle.of_type(t));
        let mut list: Vec<Medicine> = statements.map(|statement| medicine(bundle, statement)).collect();
        list.sort_by_key(|medicine| medicine.change);
        Self {
            list,
            supplied: bundle.of_type("MedicationDispense").map(|dispense| supplied(bundle, dispense)).collect(),
            html,
            note,
            partly,
        }
    }
}

fn medicine(bundle: &Bundle<'_, '_>, statement: Element<'_, '_>) -> Medicine {
    let medication = statement.get("medicationReference").and_then(|reference| bundle.resolve(reference));
    let summary = statement
        .all("extension")
        .find(|extension| extension.text("url").is_some_and(|url| url.contains("MedicationChangeSummary")));
    let (change, warning) = change(statement, summary, on_lists(bundle, statement));
    let dosages: Vec<_> = statement.all("dosage").chain(statement.all("dosageInstruction")).collect();
    Medicine {
        change,
        warning,
        name: name(bundle, statement),
        form: medication.and_then(|each| each.get("form")).and_then(views::concept_text).unwrap_or_default().to_owned(),
        strength: medication.map(strength).unwrap_or_default(),
        dose: doses(&dosages),
        route: distinct(dosages.iter().filter_map(|dosage| route(*dosage))).join("; "),
        duration: match dosages.as_slice() {
            [only] => bounds(*only).unwrap_or_default(),
            _ => String::new(),
        },
        indication: indication(bundle, statement),
        why: why(statement, summary, change),
    }
}

fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut told = Vec::new();
    for text in texts {
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told
}

/// The dosages in order; of several, each with how long it lasts: a reducing course has one length for each step.
fn doses(dosages: &[Element<'_, '_>]) -> Vec<String> {
    let several = dosages.len() > 1;
    let of_one = |dosage: &Element<'_, '_>| {
        let mut lines = dose(*dosage);
        lines.extend(bounds(*dosage).filter(|_| several).map(|lasts| format!("For how long: {lasts}")));
        lines
    };
    dosages.iter().flat_map(of_one).collect()
}

/// Route, and the place on the body where one is given: one drop is for one eye.
fn route(dosage: Element<'_, '_>) -> Option<String> {
    let part = |name: &str| dosage.get(name).and_then(views::concept_text);
    match (part("route"), part("site")) {
        (Some(route), Some(site)) => Some(format!("{route}, {site}")),
        (route, site) => route.or(site).map(str::to_owned),
    }
}

fn name(bundle: &Bundle<'_, '_>, statement: Element<'_, '_>) -> String {
    let reference = statement.get("medicationReference");
    let concept = statement
        .get("medicationCodeableConcept")
        .or_else(|| reference.and_then(|reference| bundle.resolve(reference)).and_then(|each| each.get("code")));
    concept
        .and_then(views::concept_text)
        .or_else(|| reference?.text("display"))
        .unwrap_or("Medicine not named: read the hospital's text below")
        .to_owned()
}

/// Whether the statement stands in an active list and in a discontinued one.
fn on_lists(bundle: &Bundle<'_, '_>, statement: Element<'_, '_>) -> (bool, bool) {
    let mut on = (false, false);
    for list in bundle.of_type("List") {
        let items = list.all("entry").filter(|entry| {
            entry.get("item").and_then(|item| bundle.resolve(item)).is_some_and(|item| item == statement)
        });
        for entry in items {
            let codes = || list.get("code").into_iter().flat_map(views::codings).filter_map(|coding| coding.code);
            let deleted = entry.text("deleted") == Some("true");
            on.1 |= deleted || codes().any(|code| code == DISCONTINUED_LIST);
            on.0 |= !deleted && codes().any(|code| code == ACTIVE_LIST);
        }
    }
    on
}

/// What happened, from the status, the list and the change summary. Where they disagree the safer reading is shown
/// and the reader is told to ask.
fn change(
    statement: Element<'_, '_>,
    summary: Option<Element<'_, '_>>,
    (active, discontinued): (bool, bool),
) -> (Change, &'static str) {
    const DISAGREE: &str =
        "The hospital's list and this entry disagree on whether it is stopped. Ring the ward before giving it.";
    let status = statement.text("status").unwrap_or_default();
    // A request that is completed was carried out (R4 MedicationRequest.status): that ends no treatment.
    let fulfilled = statement.is("MedicationRequest") && status == "completed";
    let ended = !fulfilled && matches!(status, "stopped" | "completed" | "not-taken" | "cancelled");
    if status == "entered-in-error" {
        return (Change::Stopped, "Entered in error: do not give it on the strength of this entry.");
    }
    if statement.text("doNotPerform") == Some("true") {
        return (Change::Stopped, "The hospital says: do not give.");
    }
    if ended || discontinued {
        let agree = !(active || (discontinued && status == "active"));
        return (Change::Stopped, if agree { "" } else { DISAGREE });
    }
    let said = summary
        .and_then(|summary| summary.all("extension").find(|part| part.text("url") == Some("status")))
        .and_then(|part| part.choice("value"))
        .and_then(|value| {
            value
                .value()
                .or_else(|| views::codings(value).find_map(|coding| coding.code))
                .or_else(|| views::concept_text(value))
        })
        .unwrap_or_default()
        .to_ascii_lowercase();
    let change = match said.as_str() {
        "added" => Change::Started,
        "amended" => Change::Changed,
        "continued" => Change::Continued,
        "on-hold" => Change::OnHold,
        _ => Change::NotStated,
    };
    match status {
        "on-hold" => (Change::OnHold, ""),
        "active" | "intended" if not_taken(statement) => (change, NOT_TAKEN),
        "active" | "intended" => (change, ""),
        _ if fulfilled => {
            (change, "The order is complete; whether the medicine goes on is not said. Ask before giving it.")
        }
        _ => (change, "The hospital does not say whether it is being taken. Ask before giving it."),
    }
}

const NOT_TAKEN: &str =
    "The hospital lists it as active and also records that the person does not take it. Ask before giving it.";

/// STU3 `MedicationStatement.taken` = `n`, which R4 has no element for.
fn not_taken(statement: Element<'_, '_>) -> bool {
    statement.extension(TAKEN_EXTENSION).and_then(|taken| taken.text("valueCode")) == Some("n")
}

fn strength(medication: Element<'_, '_>) -> String {
    let parts = medication.all("ingredient").filter_map(|ingredient| {
        let strength = ingredient.get("strength")?;
        let (numerator, denominator) = (strength.get("numerator")?, strength.get("denominator"));
        let denominator = denominator.map(quantity).filter(|text| text != "1" && !text.is_empty());
        Some(denominator.map_or_else(|| quantity(numerator), |per| format!("{} per {per}", quantity(numerator))))
    });
    parts.collect::<Vec<_>>().join(" + ")
}

fn dose(dosage: Element<'_, '_>) -> Vec<String> {
    let mut lines: Vec<String> = dosage.text("text").map(str::to_owned).into_iter().collect();
    if lines.is_empty() {
        lines.extend(dosage::in_words(dosage));
    }
    if dosage.text("asNeededBoolean") == Some("true") && !lines.iter().any(|line| line.contains("needed")) {
        lines.push("When needed".to_owned());
    }
    lines.extend(
        dosage.get("asNeededCodeableConcept").and_then(views::concept_text).map(|why| format!("When needed: {why}")),
    );
    lines.extend(dosage.all("additionalInstruction").filter_map(views::concept_text).map(str::to_owned));
    lines.extend(dosage.text("patientInstruction").map(str::to_owned));
    lines
}

fn bounds(dosage: Element<'_, '_>) -> Option<String> {
    let repeat = dosage.at("timing.repeat")?;
    if let Some(duration) = repeat.get("boundsDuration") {
        return Some(quantity(duration));
    }
    let period = repeat.get("boundsPeriod")?;
    let [start, end] = ["start", "end"].map(|name| period.text(name).map(dates::fhir));
    match (start, end) {
        (Some(start), Some(end)) => Some(format!("{start} to {end}")),
        (None, Some(end)) => Some(format!("until {end}")),
        (Some(start), None) => Some(format!("from {start}")),
        (None, None) => None,
    }
}

fn indication(bundle: &Bundle<'_, '_>, statement: Element<'_, '_>) -> String {
    let coded = statement.all("reasonCode").filter_map(views::concept_text);
    let referred = statement
        .all("reasonReference")
        .filter_map(|reference| bundle.resolve(reference)?.get("code").and_then(views::concept_text));
    coded.chain(referred).collect::<Vec<_>>().join("; ")
}

/// Why, what exactly, when: from the change summary (UKCore-MedicationChangeSummary), the status reason and the notes.
fn why(statement: Element<'_, '_>, summary: Option<Element<'_, '_>>, change: Change) -> Vec<String> {
    let part = |url: &str| {
        let part = summary?.all("extension").find(|part| part.text("url") == Some(url))?;
        part.choice("value")
    };
    let said = |value: Element<'_, '_>| value.value().or_else(|| views::concept_text(value)).map(str::to_owned);
    let mut lines = Vec::new();
    lines.extend(part("indicationForChange").and_then(said));
    lines.extend(part("detailsOfAmendment").and_then(said));
    lines.extend(statement.all("statusReason").filter_map(views::concept_text).map(str::to_owned));
    lines.extend(statement.all("note").filter_map(|note| note.text("text")).map(str::to_owned));
    lines.extend(part("dateChanged").and_then(Element::value).map(|date| format!("Changed {}", dates::fhir(date))));
    if change == Change::Stopped {
        let ended = statement.text_at("effectivePeriod.end").map(dates::fhir);
        lines.extend(ended.map(|date| format!("Stopped {date}")));
        lines.extend((statement.text("status") == Some("completed")).then(|| "The course is complete".to_owned()));
    }
    // Senders repeat the change summary in the note.
    distinct(lines.into_iter())
}

fn supplied(bundle: &Bundle<'_, '_>, dispense: Element<'_, '_>) -> String {
    let amount = dispense.get("quantity").map(quantity).filter(|text| !text.is_empty());
    let days = dispense.get("daysSupply").map(quantity).filter(|text| !text.is_empty());
    let text = dispense
        .descendants()
        .find(|each| {
            each.name() == "extension" && each.text("url").is_some_and(|url| url.contains("MedicationQuantityText"))
        })
        .and_then(|extension| extension.text("valueString"))
        .map(str::to_owned);
    let parts: Vec<String> = [Some(name(bundle, dispense)), amount.or(text), days.map(|days| format!("for {days}"))]
        .into_iter()
        .flatten()
        .collect();
    parts.join(", ")
}
