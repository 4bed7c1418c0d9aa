//! Rules of the sections: the headings that each guide demands, their codes, titles and text.

use std::collections::HashSet;

use onward_fhir::document::Section;
use onward_fhir::heading::{DocumentKind, Heading, Level};
use onward_fhir::{Document, Element, Release};

use crate::findings::Report;
use crate::{ITK_PAYLOAD, IssueCode, Severity, narrative};

/// The Emergency Care guide demands a distribution list, its profile (CareConnect-ITK-ECD-Composition-1) has no place
/// for one and the official example none: told, not refused.
fn guide_and_profile_disagree(heading: Heading, kind: DocumentKind) -> bool {
    kind == DocumentKind::EmergencyCareDischarge && heading == Heading::DistributionList
}

/// The two headings that CareConnect-ITK-EDIS-Composition-1 and its siblings have as 1..1; the guide demands more.
fn profile_enforces(heading: Heading) -> bool {
    matches!(heading, Heading::Allergies | Heading::PatientDemographics)
}

pub(crate) fn validate(document: &Document<'_, '_>, kind: DocumentKind, report: &mut Report) {
    headings(document, kind, report);
    let mut seen = HashSet::new();
    for section in &document.sections {
        if let Some(heading) = section.heading
            && !seen.insert(heading)
        {
            repeated(section, heading, document.release, report);
        }
        validate_section(section, 0, report);
    }
}

fn headings(document: &Document<'_, '_>, kind: DocumentKind, report: &mut Report) {
    for heading in Heading::mandatory(kind).filter(|heading| document.section(*heading).is_none()) {
        let text = format!(
            "The section \"{}\" is missing; the {} makes it mandatory. Add a section with code {} (SNOMED CT) or {} \
             (UKCore-RecordStandardHeadings) and its text; where nothing is known, the text says so.",
            heading.display(),
            kind.guide(),
            heading.snomed(),
            heading.record_standard()
        );
        if profile_enforces(heading) {
            let text = format!("{text} The profile enforces it too.");
            report.error("toc-profile-heading", IssueCode::Required, document.composition, ITK_PAYLOAD, text);
        } else if guide_and_profile_disagree(heading, kind) {
            let text = format!("{text} The profile does not enforce it.");
            report.warning("toc-heading-guide", IssueCode::Required, document.composition, text);
        } else {
            report.error("toc-mandatory-heading", IssueCode::Required, document.composition, ITK_PAYLOAD, text);
        }
    }
    let absent: Vec<&str> = Heading::ALL
        .iter()
        .copied()
        .filter(|heading| heading.level(kind) == Level::Required && document.section(*heading).is_none())
        .map(Heading::display)
        .collect();
    if !absent.is_empty() {
        report.add(
            Severity::Information,
            "toc-required-heading",
            IssueCode::Informational,
            document.composition,
            None,
            format!(
                "Sections that the guide requires where the sender holds the information, and that are absent: {}.",
                absent.join("; ")
            ),
        );
    }
    if document.sections.is_empty() {
        report.error(
            "composition-no-section",
            IssueCode::Required,
            document.composition,
            ITK_PAYLOAD,
            "The Composition has no section: there is nothing for people to read.",
        );
    }
}

fn repeated(section: &Section<'_, '_>, heading: Heading, release: Release, report: &mut Report) {
    let text = format!(
        "The heading \"{}\" stands twice; a reader may stop at the first. Put its content into one section.",
        heading.display()
    );
    match release {
        Release::Stu3 => {
            report.error("toc-heading-repeated", IssueCode::Structure, section.element, ITK_PAYLOAD, text);
        }
        Release::R4 => report.warning("toc-heading-repeated", IssueCode::Structure, section.element, text),
    }
}

fn validate_section(section: &Section<'_, '_>, depth: usize, report: &mut Report) {
    if depth == 0 {
        heading(section, report);
    }
    text(section, report);
    let wants_entry = matches!(section.heading, Some(Heading::PatientDemographics | Heading::GpPractice));
    if wants_entry && section.element.get("entry").is_none() {
        report.warning(
            "section-entry",
            IssueCode::Required,
            section.element,
            "This section must refer to its resource (Patient, or the practice's Organization) in section.entry.",
        );
    }
    for subsection in &section.subsections {
        validate_section(subsection, depth + 1, report);
    }
}

fn heading(section: &Section<'_, '_>, report: &mut Report) {
    let Some(heading) = section.heading else {
        report.warning(
            "section-heading-unknown",
            IssueCode::CodeInvalid,
            section.element.get("code").unwrap_or(section.element),
            "The section has no code of the PRSB headings (SNOMED CT or UKCore-RecordStandardHeadings): disclosure \
             policies cannot place it, so it is withheld from reduced copies. Give it its heading's code.",
        );
        return;
    };
    // Two official titles differ from the display of their code; both forms are met.
    let fits = section.title.is_some_and(|title| {
        let title = title.trim();
        title.eq_ignore_ascii_case(heading.title()) || title.eq_ignore_ascii_case(heading.display())
    });
    if !fits {
        report.warning(
            "section-title-mismatch",
            IssueCode::Value,
            section.element.get("title").unwrap_or(section.element),
            format!(
                "The code of the section is that of \"{}\", its title is not \"{}\". People read the title, systems the \
                 code: make them agree.",
                heading.display(),
                heading.title()
            ),
        );
    }
}

fn text(section: &Section<'_, '_>, report: &mut Report) {
    let holds_subsections = !section.subsections.is_empty();
    match section.text.and_then(Element::value) {
        None if holds_subsections => {}
        None => report.error(
            "section-text",
            IssueCode::Required,
            section.element,
            ITK_PAYLOAD,
            "The section has no text. Coded entries must be repeated in section.text.div: many recipients show nothing \
             else.",
        ),
        Some(div) if !narrative::has_content(div) && !holds_subsections => report.error(
            "section-text-empty",
            IssueCode::Required,
            section.text.unwrap_or(section.element),
            ITK_PAYLOAD,
            "The text of the section is empty. Say what is known, or that nothing is known.",
        ),
        Some(_) => {}
    }
}
