//! Typed looks at common FHIR data types over the tree.

use crate::systems;
use crate::tree::Element;

/// The codings of a CodeableConcept, or the Coding itself.
pub fn codings<'t, 's>(concept: Element<'t, 's>) -> impl Iterator<Item = Coding<'t>> {
    let own = concept.get("code").is_some_and(|code| code.value().is_some());
    own.then_some(concept).into_iter().chain(concept.all("coding")).map(|coding| Coding {
        system: coding.text("system"),
        code: coding.text("code"),
        display: coding.text("display"),
    })
}

/// One coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding<'t> {
    /// `Coding.system`.
    pub system: Option<&'t str>,
    /// `Coding.code`.
    pub code: Option<&'t str>,
    /// `Coding.display`.
    pub display: Option<&'t str>,
}

/// The code that a concept carries in a system.
#[must_use]
pub fn code_in<'t>(concept: Element<'t, '_>, system: &str) -> Option<&'t str> {
    codings(concept).find(|coding| coding.system == Some(system)).and_then(|coding| coding.code)
}

/// What a person should read of a concept: its text, else a display, else a code.
#[must_use]
pub fn concept_text<'t>(concept: Element<'t, '_>) -> Option<&'t str> {
    concept
        .text("text")
        .or_else(|| codings(concept).find_map(|coding| coding.display))
        .or_else(|| codings(concept).find_map(|coding| coding.code))
}

/// The value of the first `identifier` whose system fits (of a resource, or of a logical reference).
#[must_use]
pub fn identifier_where<'t>(holder: Element<'t, '_>, fits: impl Fn(&str) -> bool) -> Option<&'t str> {
    holder
        .all("identifier")
        .find(|identifier| identifier.text("system").is_some_and(&fits))
        .and_then(|identifier| identifier.text("value"))
}

/// The NHS number as written, valid or not.
#[must_use]
pub fn nhs_number<'t>(holder: Element<'t, '_>) -> Option<&'t str> {
    identifier_where(holder, systems::is_nhs_number)
}

/// The ODS code as written.
#[must_use]
pub fn ods_code<'t>(holder: Element<'t, '_>) -> Option<&'t str> {
    identifier_where(holder, systems::is_ods)
}

/// The name to show: official first, else the first; prefix, given, family.
#[must_use]
pub fn human_name(person: Element<'_, '_>) -> Option<String> {
    let name = official_name(person)?;
    if let Some(text) = name.text("text") {
        return Some(text.to_owned());
    }
    let parts: Vec<&str> =
        ["prefix", "given", "family"].into_iter().flat_map(|part| name.all(part).filter_map(Element::value)).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The `HumanName` that identifies: `official`, else `usual`, else the first.
#[must_use]
pub fn official_name<'t, 's>(person: Element<'t, 's>) -> Option<Element<'t, 's>> {
    let by_use = |wanted: &str| person.all("name").find(|name| name.text("use") == Some(wanted));
    by_use("official").or_else(|| by_use("usual")).or_else(|| person.get("name"))
}

/// Address lines for display: lines, city, district, postcode.
#[must_use]
pub fn address_lines(address: Element<'_, '_>) -> Vec<String> {
    ["line", "city", "district", "postalCode"]
        .into_iter()
        .flat_map(|part| address.all(part).filter_map(Element::value))
        .map(str::to_owned)
        .collect()
}

/// Telecom values of one system (`phone`, `email`).
pub fn telecoms<'t, 's>(holder: Element<'t, 's>, system: &str) -> impl Iterator<Item = &'t str> {
    holder
        .all("telecom")
        .filter(move |telecom| telecom.text("system") == Some(system))
        .filter_map(|telecom| telecom.text("value"))
}
