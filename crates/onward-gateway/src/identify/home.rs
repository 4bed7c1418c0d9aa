//! Which home the person goes to: every place of the message that may name it must agree.

use std::collections::BTreeSet;

use onward_core::directory::{CareHome, DirectoryEntry};
use onward_core::state::HoldReason;
use onward_core::{OdsCode, Timestamp};
use onward_fhir::{Bundle, Element, systems, views};
use onward_transform::render::dates;

use super::{Entries, Stop, discharge_destination, document_practice, expired, hold};

/// A place of the message that names an organisation or a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The message header's receiver or destination. Practices stand here too.
    Header,
    /// `Encounter.hospitalization.destination`.
    Destination,
    /// `Encounter.location`, still ahead.
    Planned,
    /// `Encounter.location` that says neither ahead nor past: often the ward.
    Location,
    /// The distribution list. Everybody who gets the document stands here.
    DistributionList,
}

impl Place {
    /// A code that is not in the directory here may be another home: it is not passed over.
    fn is_firm(self) -> bool {
        matches!(self, Self::Header | Self::Destination | Self::Planned)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Header => "the message header",
            Self::Destination => "Encounter.hospitalization.destination",
            Self::Planned | Self::Location => "Encounter.location",
            Self::DistributionList => "the distribution list",
        }
    }
}

/// The home, found in the directory and in none but one place's word.
pub(super) async fn resolve(
    document: &Bundle<'_, '_>,
    message_destinations: &[OdsCode],
    entries: &Entries<'_>,
    now: Timestamp,
    evidence: &mut Vec<String>,
) -> Result<CareHome, Stop> {
    let practice = document.of_type("Patient").next().and_then(|patient| document_practice(document, patient));
    let mut candidates: Vec<(OdsCode, Place)> =
        message_destinations.iter().map(|ods| (ods.clone(), Place::Header)).collect();
    document_candidates(document, &mut candidates);
    let mut homes: Vec<CareHome> = Vec::new();
    let mut elsewhere: BTreeSet<(OdsCode, &'static str)> = BTreeSet::new();
    let mut unknown: BTreeSet<OdsCode> = BTreeSet::new();
    let mut said = BTreeSet::new();
    for (ods, place) in &candidates {
        match entries.entry(ods).await? {
            Some(DirectoryEntry::CareHome(home)) => {
                if said.insert((home.ods.clone(), place.name())) {
                    evidence.push(format!("{} names care home {}", place.name(), home.ods));
                }
                if homes.iter().all(|seen| seen.ods != home.ods) {
                    homes.push(home);
                }
            }
            // The header names practices and pharmacies too; a person does not move into one.
            Some(_) if *place == Place::Header => {}
            Some(_) if place.is_firm() => {
                elsewhere.insert((ods.clone(), place.name()));
            }
            Some(_) => {}
            None if practice.as_deref() == Some(ods.as_str()) => {}
            None => {
                unknown.insert(ods.clone());
                if place.is_firm() {
                    elsewhere.insert((ods.clone(), place.name()));
                }
            }
        }
    }
    decide(document, homes, &elsewhere, &unknown, now)
}

fn decide(
    document: &Bundle<'_, '_>,
    mut homes: Vec<CareHome>,
    elsewhere: &BTreeSet<(OdsCode, &'static str)>,
    unknown: &BTreeSet<OdsCode>,
    now: Timestamp,
) -> Result<CareHome, Stop> {
    let destination = discharge_destination(document);
    let to_care_home = destination.is_some_and(|code| systems::CARE_HOME_DESTINATIONS.contains(&code));
    match homes.len() {
        1 if !elsewhere.is_empty() => {
            let others: Vec<String> = elsewhere.iter().map(|(ods, place)| format!("{place} names {ods}")).collect();
            hold(
                HoldReason::CareHomeConflict,
                format!(
                    "{}, which is no care home of the directory; other places of the message name {}: ask the ward, and add \
                     the code to the directory when it is the same home's",
                    others.join(", "),
                    homes[0].ods
                ),
            )
        }
        1 if expired(homes[0].expires, now) => hold(
            HoldReason::CareHomeUnknown,
            format!(
                "the directory entry of {} expired on {}: have the home confirm it",
                homes[0].ods, homes[0].expires
            ),
        ),
        1 => match homes[0].ended(dates::civil(now)) {
            Some(end) => hold(
                HoldReason::CareHomeUnknown,
                format!("{} is {end}, says ODS: ask the ward which home it is", homes[0].ods),
            ),
            None => Ok(homes.remove(0)),
        },
        0 if !unknown.is_empty() && (to_care_home || destination.is_none()) => {
            let codes: Vec<&str> = unknown.iter().map(OdsCode::as_str).collect();
            hold(HoldReason::CareHomeUnknown, format!("none of {} is a care home in the directory", codes.join(", ")))
        }
        0 if to_care_home => hold(
            HoldReason::CareHomeMissing,
            "the discharge destination is a care home, but the message names none by ODS code",
        ),
        0 => hold(
            HoldReason::NotACareHomeDischarge,
            "the discharge destination is no care home and the message names none: no route applies",
        ),
        _ => {
            let codes: Vec<&str> = homes.iter().map(|home| home.ods.as_str()).collect();
            hold(HoldReason::CareHomeConflict, format!("different places of the message name {}", codes.join(" and ")))
        }
    }
}

/// ODS codes of the places where a document may name the home.
fn document_candidates(document: &Bundle<'_, '_>, found: &mut Vec<(OdsCode, Place)>) {
    for encounter in document.of_type("Encounter") {
        if let Some(destination) = encounter.at("hospitalization.destination") {
            push_code(document, destination, Place::Destination, found);
        }
        for location in encounter.all("location") {
            let place = match location.text("status") {
                // Where the person has been is not where they go.
                Some("completed") => continue,
                Some("planned" | "reserved") => Place::Planned,
                _ => Place::Location,
            };
            if let Some(reference) = location.get("location") {
                push_code(document, reference, place, found);
            }
        }
    }
    for section in document.first("Composition").into_iter().flat_map(|composition| composition.all("section")) {
        if section.get("code").is_some_and(is_distribution_list) {
            for entry in section.all("entry") {
                push_code(document, entry, Place::DistributionList, found);
            }
        }
    }
}

fn is_distribution_list(code: Element<'_, '_>) -> bool {
    views::codings(code).any(|coding| matches!(coding.code, Some("887261000000109" | "distribution-list")))
}

/// The ODS code of what a reference points to: its own; only where it has none, that of who manages or employs it. A
/// provider runs many homes: its code must not stand in for a site's that is unknown.
fn push_code(document: &Bundle<'_, '_>, reference: Element<'_, '_>, place: Place, found: &mut Vec<(OdsCode, Place)>) {
    let code = |holder: Element<'_, '_>| views::ods_code(holder).and_then(|code| code.parse().ok());
    let target = document.resolve(reference);
    let own = code(reference).or_else(|| target.and_then(code));
    let above = || {
        let link = ["managingOrganization", "organization"].into_iter().find_map(|link| target?.get(link))?;
        code(link).or_else(|| document.resolve(link).and_then(code))
    };
    if let Some(ods) = own.or_else(above) {
        found.push((ods, place));
    }
}
