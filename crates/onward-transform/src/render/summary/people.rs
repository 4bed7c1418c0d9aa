//! The person's banner, and names of others.

use onward_core::{NhsNumber, Timestamp};
use onward_fhir::{Bundle, Element, systems, views};

use crate::render::dates;

/// The person, as the banner and the referral show them.
pub(in crate::render) struct Person {
    /// `SURNAME, Given (Title)`.
    pub(in crate::render) name: String,
    pub(in crate::render) born: String,
    pub(in crate::render) age: String,
    pub(in crate::render) gender: &'static str,
    /// In groups of 3, 3 and 4.
    pub(in crate::render) nhs_number: String,
    /// What to know about the number; empty when it is verified.
    pub(in crate::render) nhs_number_note: &'static str,
    pub(in crate::render) hospital_numbers: Vec<String>,
    pub(in crate::render) addresses: Vec<String>,
    pub(in crate::render) telephones: Vec<String>,
    pub(in crate::render) contacts: Vec<String>,
    pub(in crate::render) languages: Vec<String>,
    /// When they died; empty while they live.
    pub(in crate::render) died: String,
}

impl Person {
    pub(in crate::render) fn new(patient: Element<'_, '_>, bundle: &Bundle<'_, '_>, at: Timestamp) -> Self {
        let birth = patient.text("birthDate");
        let death = patient.text("deceasedDateTime");
        let on = death.and_then(dates::date_of_fhir).unwrap_or_else(|| dates::date_of(at));
        let age = birth.and_then(|birth| dates::age(birth, on)).map(|years| age_in_words(years, death.is_some()));
        let died = match (death, patient.text("deceasedBoolean")) {
            (Some(death), _) => format!("Died {}", dates::fhir(death)),
            (None, Some("true")) => "Died, date not stated".to_owned(),
            _ => String::new(),
        };
        Self {
            name: banner_name(patient),
            born: birth.map_or_else(|| "Date of birth not recorded".to_owned(), dates::fhir),
            age: age.unwrap_or_default(),
            gender: gender(patient.text("gender")),
            nhs_number: views::nhs_number(patient).map(nhs_number_spaced).unwrap_or_default(),
            nhs_number_note: verification(patient),
            hospital_numbers: hospital_numbers(patient),
            addresses: patient.all("address").map(address).filter(|line| !line.is_empty()).collect(),
            telephones: views::telecoms(patient, "phone").map(str::to_owned).collect(),
            contacts: contacts(patient, bundle),
            languages: languages(patient),
            died,
        }
    }
}

/// `SURNAME, Given (Title)` (NHS common user interface, patient banner).
fn banner_name(patient: Element<'_, '_>) -> String {
    let Some(name) = views::official_name(patient) else { return "Name not recorded".to_owned() };
    let Some(family) = name.text("family") else {
        return name.text("text").unwrap_or("Name not recorded").to_owned();
    };
    let joined = |part: &str| name.all(part).filter_map(Element::value).collect::<Vec<_>>().join(" ");
    let (given, title) = (joined("given"), joined("prefix"));
    let mut banner = family.to_uppercase();
    if !given.is_empty() {
        banner = format!("{banner}, {given}");
    }
    if title.is_empty() { banner } else { format!("{banner} ({title})") }
}

/// `999 000 0018`; what is no valid number is shown as written, never grouped as if it were.
pub(in crate::render) fn nhs_number_spaced(text: &str) -> String {
    match text.parse::<NhsNumber>() {
        Ok(number) => {
            let digits = number.expose();
            format!("{} {} {}", &digits[..3], &digits[3..6], &digits[6..])
        }
        Err(_) => text.to_owned(),
    }
}

fn age_in_words(years: i16, dead: bool) -> String {
    match (years, dead) {
        (years, true) => format!("aged {years} at death"),
        (0, false) => "under 1 year".to_owned(),
        (1, false) => "1 year".to_owned(),
        (years, false) => format!("{years} years"),
    }
}

fn gender(code: Option<&str>) -> &'static str {
    match code {
        Some("male") => "Male",
        Some("female") => "Female",
        Some("other") => "Other",
        Some(_) => "Not known",
        None => "Not recorded",
    }
}

/// UKCore-NHSNumberVerificationStatus: 01 is "present and verified".
fn verification(patient: Element<'_, '_>) -> &'static str {
    let identifier = patient.all("identifier").find(|each| each.text("system").is_some_and(systems::is_nhs_number));
    let status = identifier
        .into_iter()
        .flat_map(|identifier| identifier.all("extension"))
        .find(|extension| extension.text("url").is_some_and(|url| url.contains("NHSNumberVerificationStatus")))
        .and_then(|extension| views::codings(extension.choice("value")?).find_map(|coding| coding.code));
    match status {
        Some("01") => "",
        Some(_) => "The hospital has not verified this NHS number.",
        None => "The hospital does not say whether this NHS number is verified.",
    }
}

fn hospital_numbers(patient: Element<'_, '_>) -> Vec<String> {
    patient
        .all("identifier")
        .filter(|each| !each.text("system").is_some_and(systems::is_nhs_number))
        .filter_map(|each| each.text("value"))
        .map(str::to_owned)
        .collect()
}

fn address(address: Element<'_, '_>) -> String {
    let lines = match views::address_lines(address) {
        lines if lines.is_empty() => address.text("text").map(str::to_owned).into_iter().collect(),
        lines => lines,
    };
    let text = lines.join(", ");
    match address.text("use") {
        Some("temp") if !text.is_empty() => format!("{text} (temporary)"),
        Some("old") if !text.is_empty() => format!("{text} (no longer used)"),
        _ => text,
    }
}

/// Next of kin and others: of the Patient itself, and RelatedPerson resources.
fn contacts(patient: Element<'_, '_>, bundle: &Bundle<'_, '_>) -> Vec<String> {
    let line = |holder: Element<'_, '_>| {
        let name = holder.get("name").and_then(whole_name);
        let relation = holder.get("relationship").and_then(views::concept_text).map(str::to_owned);
        let telephones: Vec<_> = views::telecoms(holder, "phone").map(str::to_owned).collect();
        let parts: Vec<String> = name.into_iter().chain(relation).chain(telephones).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    };
    let mut lines: Vec<String> = Vec::new();
    for said in patient.all("contact").chain(bundle.of_type("RelatedPerson")).filter_map(line) {
        if !lines.contains(&said) {
            lines.push(said);
        }
    }
    lines
}

fn whole_name(name: Element<'_, '_>) -> Option<String> {
    if let Some(text) = name.text("text") {
        return Some(text.to_owned());
    }
    let parts = ["prefix", "given", "family"].into_iter().flat_map(|part| name.all(part).filter_map(Element::value));
    let joined = parts.collect::<Vec<_>>().join(" ");
    (!joined.is_empty()).then_some(joined)
}

fn languages(patient: Element<'_, '_>) -> Vec<String> {
    let mut lines: Vec<String> = patient
        .all("communication")
        .filter_map(|each| each.get("language").and_then(views::concept_text))
        .map(str::to_owned)
        .collect();
    let interpreter = patient
        .all("extension")
        .find(|extension| extension.text("url").is_some_and(|url| url.ends_with("interpreterRequired")))
        .and_then(|extension| extension.text("valueBoolean"));
    if interpreter == Some("true") {
        lines.push("interpreter needed".to_owned());
    }
    lines
}

/// A person, role, organisation or place in words.
pub(super) fn named(bundle: &Bundle<'_, '_>, resource: Element<'_, '_>) -> Option<String> {
    match resource.resource_type()? {
        "Organization" | "Location" | "HealthcareService" => resource.text("name").map(str::to_owned),
        "PractitionerRole" => {
            let of = |name: &str| named(bundle, bundle.resolve(resource.get(name)?)?);
            let role = resource.get("code").and_then(views::concept_text).map(str::to_owned);
            let parts: Vec<String> = of("practitioner").into_iter().chain(role).chain(of("organization")).collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
        _ => views::human_name(resource),
    }
}
