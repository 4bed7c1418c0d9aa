//! A typed view of a document Bundle, in either release: its Composition, its patient, its sections under the
//! PRSB headings, its attachments.
//!
//! Like the message view it refuses only what is no document; gaps are `None` and findings elsewhere.

use crate::bundle::Bundle;
use crate::heading::{DocumentKind, Heading};
use crate::message::{data_of, ods_of_reference};
use crate::systems;
use crate::tree::{Element, Release};
use crate::views;

/// Why a resource is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotADocument {
    /// The resource is not a Bundle.
    #[error("the resource is not a Bundle")]
    NotABundle,
    /// No entry is a Composition.
    #[error("no entry of the Bundle is a Composition")]
    NoComposition,
}

/// One section with its subsections.
#[derive(Debug, Clone)]
pub struct Section<'t, 's> {
    /// `Composition.section`.
    pub element: Element<'t, 's>,
    /// Its title.
    pub title: Option<&'t str>,
    /// The PRSB heading of its code.
    pub heading: Option<Heading>,
    /// The narrative: XHTML as written.
    pub text: Option<Element<'t, 's>>,
    /// The resources that its entries lead to; what does not resolve is left out here and a finding elsewhere.
    pub entries: Vec<Element<'t, 's>>,
    /// Sections inside it.
    pub subsections: Vec<Section<'t, 's>>,
}

/// Something attached: a Binary, or an Attachment of a DocumentReference or other resource.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'t, 's> {
    /// The Binary resource or the Attachment element.
    pub element: Element<'t, 's>,
    /// Media type.
    pub media_type: Option<&'t str>,
    /// Base64 data.
    pub data: Option<Element<'t, 's>>,
    /// Where the data is said to lie instead.
    pub url: Option<&'t str>,
    /// Title for people.
    pub title: Option<&'t str>,
}

/// What a document replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces<'t> {
    /// `targetIdentifier.value`: the set identifier of the predecessor.
    Identifier(&'t str),
    /// `targetReference.reference`.
    Reference(&'t str),
    /// `relatesTo` names no target.
    Unnamed,
}

/// A document Bundle.
#[derive(Debug, Clone)]
pub struct Document<'t, 's> {
    /// The release that it is written in.
    pub release: Release,
    /// The Bundle.
    pub bundle: Bundle<'t, 's>,
    /// The Composition: the first entry that is one.
    pub composition: Element<'t, 's>,
    /// This very document: Bundle.identifier.value, else Bundle.id.
    pub document_id: Option<&'t str>,
    /// The set of its versions: Composition.identifier.value.
    pub set_id: Option<&'t str>,
    /// What it replaces.
    pub replaces: Option<Replaces<'t>>,
    /// The patient that the Composition's subject leads to.
    pub patient: Option<Element<'t, 's>>,
    /// The Encounter of the Composition, else the only one of the Bundle.
    pub encounter: Option<Element<'t, 's>>,
    /// The sections in the order of the document.
    pub sections: Vec<Section<'t, 's>>,
}

/// Sections nest at most so deep in this view; FHIR documents of the NHS do not nest them at all.
const SECTION_DEPTH_MAX: usize = 8;

impl<'t, 's> Document<'t, 's> {
    /// Views a Bundle as a document written in `release`.
    ///
    /// # Errors
    /// When it is not a Bundle or has no Composition.
    pub fn read(element: Element<'t, 's>, release: Release) -> Result<Self, NotADocument> {
        let bundle = Bundle::new(element).ok_or(NotADocument::NotABundle)?;
        let composition = bundle.of_type("Composition").next().ok_or(NotADocument::NoComposition)?;
        let patient = composition
            .get("subject")
            .and_then(|subject| bundle.resolve(subject))
            .filter(|resource| resource.is("Patient"));
        Ok(Self {
            release,
            document_id: element.text_at("identifier.value").or_else(|| element.text("id")),
            set_id: composition.text_at("identifier.value"),
            replaces: replaces(composition),
            patient,
            encounter: encounter(&bundle, composition),
            sections: sections(&bundle, composition, 0),
            bundle,
            composition,
        })
    }

    /// Which guide it follows, by its own evidence: the Composition's profile, else its type. `None` when it does
    /// not tell.
    #[must_use]
    pub fn kind(&self) -> Option<DocumentKind> {
        self.kind_by_profile().or_else(|| match self.type_code()? {
            "373942005" => Some(DocumentKind::Discharge),
            "823681000000100" => Some(DocumentKind::OutpatientLetter),
            _ => None,
        })
    }

    /// Which guide the Composition's declared ITK3 profile belongs to.
    #[must_use]
    pub fn kind_by_profile(&self) -> Option<DocumentKind> {
        let profiles = self.composition.get("meta").into_iter().flat_map(|meta| meta.all("profile"));
        profiles.filter_map(Element::value).find_map(|profile| {
            let name = profile.rsplit('/').next().unwrap_or(profile);
            let part = |text: &str| name.contains(text);
            match () {
                () if part("-EDIS-") => Some(DocumentKind::Discharge),
                () if part("-MH-") => Some(DocumentKind::MentalHealthDischarge),
                () if part("-ECD-") || part("-EC-") => Some(DocumentKind::EmergencyCareDischarge),
                () if part("-OPL-") => Some(DocumentKind::OutpatientLetter),
                () => None,
            }
        })
    }

    /// SNOMED CT code of the document's type (373942005 discharge summary).
    #[must_use]
    pub fn type_code(&self) -> Option<&'t str> {
        views::code_in(self.composition.get("type")?, systems::SNOMED_CT)
    }

    /// The first section under a heading.
    #[must_use]
    pub fn section(&self, heading: Heading) -> Option<&Section<'t, 's>> {
        self.sections.iter().find(|section| section.heading == Some(heading))
    }

    /// ODS code of the custodian: the organisation that keeps the record.
    #[must_use]
    pub fn custodian_ods(&self) -> Option<&'t str> {
        ods_of_reference(&self.bundle, self.composition.get("custodian")?)
    }

    /// Everything attached, in document order: Binary resources and Attachment elements.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment<'t, 's>> {
        attachments(self.bundle.element())
    }
}

/// Whether this is something attached: a Binary, or an Attachment element.
#[must_use]
pub fn is_attached(element: Element<'_, '_>) -> bool {
    if element.is("Binary") {
        return true;
    }
    let name = element.name();
    let named = name == "photo" || name == "attachment" || name.ends_with("Attachment");
    let media = name == "content" && element.parent().is_some_and(|parent| parent.is("Media"));
    (named || media) && element.has_children()
}

/// Everything attached below an element, in order.
#[must_use]
pub fn attachments<'t, 's>(below: Element<'t, 's>) -> Vec<Attachment<'t, 's>> {
    below
        .descendants()
        .filter(|element| is_attached(*element))
        .map(|element| Attachment {
            element,
            media_type: element.text("contentType"),
            data: data_of(element),
            url: element.text("url").filter(|_| !element.is("Binary")),
            title: element.text("title"),
        })
        .collect()
}

fn replaces<'t>(composition: Element<'t, '_>) -> Option<Replaces<'t>> {
    let relation = composition.all("relatesTo").find(|relation| relation.text("code") == Some("replaces"))?;
    if let Some(value) = relation.text_at("targetIdentifier.value") {
        return Some(Replaces::Identifier(value));
    }
    Some(relation.text_at("targetReference.reference").map_or(Replaces::Unnamed, Replaces::Reference))
}

fn encounter<'t, 's>(bundle: &Bundle<'t, 's>, composition: Element<'t, 's>) -> Option<Element<'t, 's>> {
    let named = composition
        .get("encounter")
        .and_then(|reference| bundle.resolve(reference))
        .filter(|resource| resource.is("Encounter"));
    named.or_else(|| {
        let mut encounters = bundle.of_type("Encounter");
        encounters.next().filter(|_| encounters.next().is_none())
    })
}

fn sections<'t, 's>(bundle: &Bundle<'t, 's>, holder: Element<'t, 's>, depth: usize) -> Vec<Section<'t, 's>> {
    if depth >= SECTION_DEPTH_MAX {
        return Vec::new();
    }
    holder
        .all("section")
        .map(|element| Section {
            element,
            title: element.text("title"),
            heading: element.get("code").and_then(Heading::of_concept),
            text: element.at("text.div"),
            entries: element.all("entry").filter_map(|entry| bundle.resolve(entry)).collect(),
            subsections: sections(bundle, element, depth + 1),
        })
        .collect()
}
