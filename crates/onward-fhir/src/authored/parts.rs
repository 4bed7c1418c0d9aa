//! The data types that every authored resource is made of.

use fhir_sdk::r4b::types::{CodeableConcept, Coding, Identifier, Meta, Period, Reference};
use fhir_sdk::{DateTime, Instant};

use super::AuthorError;
use crate::systems;

pub(super) fn coding(system: &str, code: &str, display: Option<&str>) -> Coding {
    let mut coding = Coding::builder().build().expect("a Coding has no mandatory element");
    coding.system = Some(system.to_owned());
    coding.code = Some(code.to_owned());
    coding.display = display.map(str::to_owned);
    coding
}

pub(super) fn concept(codings: Vec<Coding>, text: Option<&str>) -> CodeableConcept {
    let mut concept = CodeableConcept::builder().build().expect("a CodeableConcept has no mandatory element");
    concept.coding = codings.into_iter().map(Some).collect();
    concept.text = text.map(str::to_owned);
    concept
}

pub(super) fn identifier(system: &str, value: &str) -> Identifier {
    let mut identifier = Identifier::builder().build().expect("an Identifier has no mandatory element");
    identifier.system = Some(system.to_owned());
    identifier.value = Some(value.to_owned());
    identifier
}

fn empty_reference() -> Reference {
    Reference::builder().build().expect("a Reference has no mandatory element")
}

pub(super) fn reference(to: &str) -> Reference {
    let mut reference = empty_reference();
    reference.reference = Some(to.to_owned());
    reference
}

pub(super) fn displayed(display: &str) -> Reference {
    let mut reference = empty_reference();
    reference.display = Some(display.to_owned());
    reference
}

/// An organisation by its ODS code.
pub(super) fn organisation(ods: &str, name: Option<&str>) -> Reference {
    let mut reference = empty_reference();
    reference.r#type = Some("Organization".to_owned());
    reference.identifier = Some(identifier(systems::ODS_ORGANISATION, ods));
    reference.display = name.map(str::to_owned);
    reference
}

/// A patient by NHS number only: no name, no link.
pub(super) fn patient(nhs_number: &str) -> Reference {
    let mut reference = empty_reference();
    reference.r#type = Some("Patient".to_owned());
    reference.identifier = Some(identifier(systems::NHS_NUMBER, nhs_number));
    reference
}

pub(super) fn meta(version: Option<&str>, last_updated: Option<Instant>, profile: Option<&str>) -> Meta {
    let mut meta = Meta::builder().build().expect("a Meta has no mandatory element");
    meta.version_id = version.map(str::to_owned);
    meta.last_updated = last_updated;
    meta.profile = profile.into_iter().map(|profile| Some(profile.to_owned())).collect();
    meta
}

pub(super) fn period(start: Option<DateTime>, end: Option<DateTime>) -> Period {
    let mut period = Period::builder().build().expect("a Period has no mandatory element");
    period.start = start;
    period.end = end;
    period
}

pub(super) fn instant(text: &str, element: &'static str) -> Result<Instant, AuthorError> {
    text.parse().map_err(|_| AuthorError::Time(element))
}

pub(super) fn date_time(text: &str, element: &'static str) -> Result<DateTime, AuthorError> {
    text.parse().map_err(|_| AuthorError::Time(element))
}

pub(super) fn optional<T>(
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, AuthorError>,
) -> Result<Option<T>, AuthorError> {
    text.map(read).transpose()
}

/// Something that has an identifier and no system of its own, such as a request.
pub(super) fn logical(value: &str) -> Reference {
    let mut reference = empty_reference();
    let mut identifier = Identifier::builder().build().expect("an Identifier has no mandatory element");
    identifier.value = Some(value.to_owned());
    reference.identifier = Some(identifier);
    reference
}
