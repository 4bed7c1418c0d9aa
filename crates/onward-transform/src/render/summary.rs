//! What a page says of a document: plain words taken from the projected resources, nothing computed, nothing guessed,
//! and words also for what is missing.

mod allergies;
mod dosage;
mod medicines;
mod people;

use onward_core::directory::CareHome;
use onward_fhir::{Bundle, Document, DocumentKind, Element, Heading, Release, views};

pub(super) use allergies::{Allergies, AllergyState};
pub(super) use medicines::{Change, Medicines};
pub(super) use people::{Person, nhs_number_spaced};

use super::{Parties, Prepared, RenderError, dates, narrative};

/// A section as shown.
pub(super) struct SectionView {
    /// The sender's title, else the heading's.
    pub(super) title: String,
    /// Safe HTML of the narrative.
    pub(super) html: String,
    /// The entries in words, where there is no narrative.
    pub(super) entries: Vec<String>,
    /// Why there is nothing, when there is nothing.
    pub(super) note: &'static str,
}

/// Something attached.
pub(super) struct AttachmentView {
    pub(super) title: String,
    pub(super) kind: String,
    pub(super) file: FileView,
}

/// How a reader of the page gets at a file.
pub(super) enum FileView {
    /// From the page itself, which then needs no server: a `data:` URL, and a name to save it under.
    Here { data: String, name: String },
    /// Not from the page, for this reason.
    Elsewhere(&'static str),
}

/// Browsers do not follow longer links: Chromium's bound is 2 MiB.
const LINK_BYTES_MAX: usize = 2_000_000;

/// The hospital's side of the document.
pub(super) struct Origin {
    pub(super) title: String,
    pub(super) written: String,
    pub(super) authors: Vec<String>,
    pub(super) custodian: String,
    pub(super) admitted: String,
    pub(super) discharged: String,
    /// `Encounter.period.end` as sent.
    pub(super) discharged_as_sent: Option<String>,
    pub(super) ward: String,
    /// Telephone numbers of authors, wards and organisations of the hospital, each with its owner.
    pub(super) telephones: Vec<String>,
    /// This document replaces an earlier one.
    pub(super) replaces: bool,
    /// Identifier of the hospital's own document.
    pub(super) original: String,
    /// When the stay in the home ends, as the Encounter plans it: a FHIR date or dateTime.
    pub(super) stay_ends: Option<String>,
}

/// Everything that the pages show of a document.
pub(super) struct Summary {
    pub(super) person: Person,
    pub(super) origin: Origin,
    pub(super) medicines: Medicines,
    pub(super) allergies: Allergies,
    pub(super) alerts: Vec<String>,
    pub(super) attachments: Vec<AttachmentView>,
    sections: Vec<(Option<Heading>, SectionView)>,
    withheld: Vec<Heading>,
    kind: DocumentKind,
}

const NOT_SENT: &str = "Not sent by the hospital.";
const NOT_INCLUDED: &str = "Sent by the hospital, not included in this copy.";
/// Stands where a reader would take what is shown for the whole.
const PARTLY_INCLUDED: &str =
    "Not all that the hospital sent under this heading is in this copy. Ask the hospital before you rely on it.";

impl Summary {
    pub(super) fn new(prepared: &Prepared<'_>, parties: &Parties<'_>) -> Result<Self, RenderError> {
        let at = parties.now;
        let patient = prepared.patient()?;
        let tree = &prepared.projection.tree;
        let document = Document::read(tree.root(), Release::R4).map_err(|_| RenderError::NoPatient)?;
        let withheld = prepared.projection.withheld_headings.clone();
        let partly = |heading: Heading| {
            document.section(heading).is_some() && prepared.projection.gaps.iter().any(|gap| gap.heading == heading)
        };
        // Each once, though those of medicines and allergies stand at the head of a page too.
        let narratives: Vec<String> = document.sections.iter().map(narrative_of).collect();
        let html = |heading: Heading| {
            let at = document.sections.iter().position(|section| section.heading == Some(heading));
            at.map(|at| narratives[at].clone()).unwrap_or_default()
        };
        Ok(Self {
            person: Person::new(patient, &document.bundle, at),
            origin: origin(&document, parties.care_home),
            medicines: Medicines::new(
                &document,
                html(Heading::Medications),
                state_note(&document, &withheld, Heading::Medications),
                partly(Heading::Medications),
            ),
            allergies: Allergies::new(
                &document,
                html(Heading::Allergies),
                state_note(&document, &withheld, Heading::Allergies),
                partly(Heading::Allergies),
            ),
            alerts: document.bundle.of_type("Flag").filter_map(alert).collect(),
            attachments: document.attachments().iter().enumerate().map(|(at, each)| attachment(at + 1, each)).collect(),
            sections: document
                .sections
                .iter()
                .zip(narratives)
                .map(|(section, html)| {
                    let mut view = view(section, html);
                    if section.heading.is_some_and(partly) {
                        view.note = PARTLY_INCLUDED;
                    }
                    (section.heading, view)
                })
                .collect(),
            kind: kind(&document, parties.event),
            withheld,
        })
    }

    /// The section under a heading; one that is absent says why.
    pub(super) fn section(&self, heading: Heading) -> SectionView {
        let found = self.sections.iter().find(|(of, _)| *of == Some(heading)).map(|(_, view)| view);
        match found {
            Some(view) => view.clone(),
            None => self.absent(heading),
        }
    }

    fn absent(&self, heading: Heading) -> SectionView {
        let note = if self.withheld.contains(&heading) { NOT_INCLUDED } else { NOT_SENT };
        SectionView { title: heading.title().to_owned(), html: String::new(), entries: Vec::new(), note }
    }

    /// The sections under these headings that are there.
    pub(super) fn present(&self, headings: &[Heading]) -> Vec<SectionView> {
        let wanted = |of: &Option<Heading>| of.is_some_and(|of| headings.contains(&of));
        self.sections.iter().filter(|(of, _)| wanted(of)).map(|(_, view)| view.clone()).collect()
    }

    /// The other sections, with the mandatory ones that are absent, in the order in which the PRSB standard lists its
    /// headings for people to read (senders sort them by the alphabet); after them those under no known heading.
    pub(super) fn others(&self, shown: &[Heading]) -> Vec<SectionView> {
        let is_shown = |of: &Option<Heading>| of.is_some_and(|of| shown.contains(&of));
        let there = self.sections.iter().filter(|(of, _)| !is_shown(of)).map(|(of, view)| (*of, view.clone()));
        let absent =
            |heading: &Heading| !shown.contains(heading) && !self.sections.iter().any(|(of, _)| *of == Some(*heading));
        let missing = Heading::mandatory(self.kind).filter(absent).map(|heading| (Some(heading), self.absent(heading)));
        let mut views: Vec<_> = there.chain(missing).collect();
        views.sort_by_key(|(of, _)| (of.is_none(), *of));
        views.into_iter().map(|(_, view)| view).collect()
    }
}

impl Clone for SectionView {
    fn clone(&self) -> Self {
        Self { title: self.title.clone(), html: self.html.clone(), entries: self.entries.clone(), note: self.note }
    }
}

/// Which guide's headings the reader may expect: as the message's event says, else the document; headings that only the
/// emergency care guide has tell it apart, for its documents have the type of any discharge summary.
fn kind(document: &Document<'_, '_>, event: &str) -> DocumentKind {
    let of_emergency_care = |section: &onward_fhir::document::Section<'_, '_>| {
        matches!(section.heading, Some(Heading::ClinicalNarrative | Heading::PresentingComplaints))
    };
    DocumentKind::of_event(event)
        .or_else(|| document.kind_by_profile())
        .or_else(|| document.sections.iter().any(of_emergency_care).then_some(DocumentKind::EmergencyCareDischarge))
        .or_else(|| document.kind())
        .unwrap_or(DocumentKind::Discharge)
}

/// Why there is nothing under a heading; empty when its section is there.
fn state_note(document: &Document<'_, '_>, withheld: &[Heading], heading: Heading) -> &'static str {
    match document.section(heading) {
        Some(_) => "",
        None if withheld.contains(&heading) => NOT_INCLUDED,
        None => NOT_SENT,
    }
}

/// The narrative of a section as safe HTML; empty where nobody would read anything in it.
fn narrative_of(section: &onward_fhir::document::Section<'_, '_>) -> String {
    let html = section.text.and_then(Element::value).map(narrative::safe_html);
    html.filter(|html| !narrative::is_blank(html)).unwrap_or_default()
}

fn view(section: &onward_fhir::document::Section<'_, '_>, mut html: String) -> SectionView {
    let title = section.title.map(str::to_owned).or(section.heading.map(|heading| heading.title().to_owned()));
    for below in section.subsections.iter().map(|below| view(below, narrative_of(below))) {
        html.push_str(&format!("<h4>{}</h4>{}", narrative::escaped(&below.title), below.html));
        for entry in below.entries {
            html.push_str(&format!("<p>{}</p>", narrative::escaped(&entry)));
        }
    }
    let entries: Vec<String> = match html.is_empty() {
        true => section.entries.iter().filter_map(|entry| in_words(*entry)).collect(),
        false => Vec::new(),
    };
    let note = match (html.is_empty() && entries.is_empty(), section.entries.is_empty()) {
        (false, _) => "",
        (true, true) => "The hospital sent this heading without text.",
        (true, false) => "The hospital sent codes without text: they are in the electronic document.",
    };
    SectionView { title: title.unwrap_or_else(|| "Section without a title".to_owned()), html, entries, note }
}

/// A coded entry in words.
fn in_words(entry: Element<'_, '_>) -> Option<String> {
    let code = ["code", "vaccineCode", "medicationCodeableConcept", "type"]
        .into_iter()
        .find_map(|name| entry.get(name).and_then(views::concept_text));
    let when = ["recordedDate", "performedDateTime", "effectiveDateTime", "onsetDateTime"]
        .into_iter()
        .find_map(|name| entry.text(name));
    let Some(code) = code else {
        return views::human_name(entry).or_else(|| entry.text("name").map(str::to_owned));
    };
    let value = value_in_words(entry).map(|value| format!(": {value}")).unwrap_or_default();
    let when = when.map(|when| format!(", {}", dates::fhir(when))).unwrap_or_default();
    Some(format!("{code}{value}{when}{}", negation(entry)))
}

fn value_in_words(entry: Element<'_, '_>) -> Option<String> {
    let value = entry.choice("value")?;
    let quantity = || {
        let unit = value.text("unit").or(value.text("code"));
        let parts = [value.text("comparator"), value.text("value"), unit].into_iter().flatten().collect::<Vec<_>>();
        (!parts.is_empty()).then(|| parts.join(" "))
    };
    value.value().or_else(|| views::concept_text(value)).map(str::to_owned).or_else(quantity)
}

/// What turns an entry into its opposite must never be lost on the way to words.
fn negation(entry: Element<'_, '_>) -> &'static str {
    let verification = entry
        .get("verificationStatus")
        .and_then(|status| views::codings(status).find_map(|coding| coding.code))
        .unwrap_or_default();
    match (entry.text("status").unwrap_or_default(), verification) {
        ("entered-in-error", _) | (_, "entered-in-error") => " (entered in error)",
        ("not-done", _) => " (not done)",
        ("cancelled" | "revoked", _) => " (cancelled)",
        (_, "refuted") => " (ruled out)",
        _ => "",
    }
}

fn alert(flag: Element<'_, '_>) -> Option<String> {
    let text = flag.get("code").and_then(views::concept_text)?;
    let status = match flag.text("status") {
        Some("active") => "",
        Some("inactive") => " (no longer active)",
        Some("entered-in-error") => " (entered in error)",
        _ => " (status not stated)",
    };
    Some(format!("{text}{status}"))
}

fn attachment(number: usize, attachment: &onward_fhir::document::Attachment<'_, '_>) -> AttachmentView {
    // Four characters of base64 hold three bytes.
    let bytes = attachment.data.and_then(Element::value).map_or(0, |data| data.len() / 4 * 3);
    let media_type = attachment.media_type.unwrap_or("type not stated");
    AttachmentView {
        title: attachment.title.unwrap_or("Attachment").to_owned(),
        kind: format!("{}, about {} kB", media_in_words(media_type), bytes.div_ceil(1000)),
        file: file(number, media_type, attachment.data.and_then(Element::value).unwrap_or_default()),
    }
}

/// Not web pages and XML: opened from a disk they could run what somebody wrote into them.
fn file(number: usize, media_type: &str, base64: &str) -> FileView {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let ending = match essence {
        "application/pdf" => "pdf",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/rtf" | "text/rtf" => "rtf",
        "text/plain" => "txt",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/tiff" => "tiff",
        _ => return FileView::Elsewhere("a file of this type is not handed out here"),
    };
    let mut data = format!("data:{essence};base64,");
    let head = data.len();
    data.reserve(base64.len());
    // White space is below every letter of base64, and most have none.
    if base64.bytes().fold(u8::MAX, u8::min) > b' ' {
        data.push_str(base64);
    } else {
        base64.split_ascii_whitespace().for_each(|line| data.push_str(line));
    }
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    // Every byte is looked at, here and above, so that they are looked at many at a time.
    let all_are = data.as_bytes()[head..].iter().fold(true, |all, byte| all & is_base64(*byte));
    if data.len() == head || !all_are {
        return FileView::Elsewhere("the hospital did not send the file itself");
    }
    if data.len() > LINK_BYTES_MAX {
        return FileView::Elsewhere("the file is too large for this page");
    }
    // The sender's title stays out of the name: names of files end up in lists and histories.
    FileView::Here { data, name: format!("attachment-{number}.{ending}") }
}

/// What a file is, for people; a type that is not among those that receivers take is shown as written.
fn media_in_words(media_type: &str) -> &str {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/pdf" => "PDF",
        "application/msword" | "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => {
            "Word document"
        }
        "application/rtf" | "text/rtf" => "formatted text",
        "text/html" => "web page",
        "text/plain" => "text",
        "text/xml" | "application/xml" => "data file (XML)",
        "image/jpeg" | "image/png" | "image/tiff" => "picture",
        _ => media_type,
    }
}

fn origin(document: &Document<'_, '_>, home: &CareHome) -> Origin {
    let (bundle, composition) = (&document.bundle, document.composition);
    let encounter = document.encounter;
    let relation = |code: &'static str| composition.all("relatesTo").find(|each| each.text("code") == Some(code));
    let named = |element: Element<'_, '_>| {
        let target = bundle.resolve(element);
        target.and_then(|target| people::named(bundle, target)).or_else(|| element.text("display").map(str::to_owned))
    };
    let date = |path: &str| encounter.and_then(|encounter| encounter.text_at(path)).map(dates::fhir);
    let wards = wards(bundle, encounter, home);
    Origin {
        title: composition.text("title").unwrap_or("Discharge summary").to_owned(),
        written: composition.text("date").map_or_else(|| "date not stated".to_owned(), dates::fhir),
        authors: composition.all("author").filter_map(named).collect(),
        custodian: composition.get("custodian").and_then(named).unwrap_or_default(),
        admitted: date("period.start").unwrap_or_default(),
        discharged: date("period.end").unwrap_or_default(),
        discharged_as_sent: encounter.and_then(|encounter| encounter.text_at("period.end")).map(str::to_owned),
        ward: wards.last().and_then(|ward| people::named(bundle, *ward)).unwrap_or_default(),
        telephones: telephones(bundle, composition, encounter, &wards),
        replaces: relation("replaces").is_some(),
        original: relation("transforms")
            .and_then(|relation| relation.text_at("targetIdentifier.value"))
            .unwrap_or_default()
            .to_owned(),
        stay_ends: stay_ends(bundle, encounter, home),
    }
}

fn stay_ends(bundle: &Bundle<'_, '_>, encounter: Option<Element<'_, '_>>, home: &CareHome) -> Option<String> {
    let mut stays = encounter?.all("location");
    let stay = stays.find(|stay| {
        stay.get("location").and_then(|place| bundle.resolve(place)).is_some_and(|place| is_home(place, home))
    })?;
    stay.text_at("period.end").map(str::to_owned)
}

fn is_home(place: Element<'_, '_>, home: &CareHome) -> bool {
    let ods = views::ods_code(place);
    ods.is_some_and(|ods| home.ods.as_str() == ods || home.other_ods.iter().any(|other| other.as_str() == ods))
        || place.text("name").is_some_and(|name| name.eq_ignore_ascii_case(&home.name))
}

/// The places of the stay, in order; the home itself may stand among them as the place of discharge.
fn wards<'t, 's>(bundle: &Bundle<'t, 's>, encounter: Option<Element<'t, 's>>, home: &CareHome) -> Vec<Element<'t, 's>> {
    let stays = encounter.into_iter().flat_map(|encounter| encounter.all("location"));
    stays
        .filter(|stay| !matches!(stay.text("status"), Some("planned" | "reserved")))
        .filter_map(|stay| bundle.resolve(stay.get("location")?))
        .filter(|place| !is_home(*place, home))
        .collect()
}

/// Whom to ring at the hospital: the people and places that the document itself names as its own.
fn telephones(
    bundle: &Bundle<'_, '_>,
    composition: Element<'_, '_>,
    encounter: Option<Element<'_, '_>>,
    wards: &[Element<'_, '_>],
) -> Vec<String> {
    let of_composition = composition.children().filter(|child| matches!(child.name(), "author" | "custodian"));
    let of_encounter = encounter.into_iter().flat_map(|encounter| {
        let people = encounter.all("participant").filter_map(|participant| participant.get("individual"));
        people.chain(encounter.get("serviceProvider"))
    });
    let named = of_composition.chain(of_encounter).filter_map(|reference| bundle.resolve(reference));
    let mut lines = Vec::new();
    for target in wards.iter().copied().chain(named) {
        let owner = people::named(bundle, target).unwrap_or_else(|| "The hospital".to_owned());
        let organisation = target.get("organization").and_then(|reference| bundle.resolve(reference));
        for holder in [Some(target), organisation].into_iter().flatten() {
            for telephone in views::telecoms(holder, "phone") {
                let line = format!("{owner}: {telephone}");
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
    }
    lines
}
