//! Patients, encounters and the people of a care plan.

use onward_fhir::Element;

use super::extensions::{self, of_name};
use super::walk::{Converter, Types};

const INTERPRETER_REQUIRED: &str = "http://hl7.org/fhir/StructureDefinition/patient-interpreterRequired";
const PROFICIENCY: &str = "http://hl7.org/fhir/StructureDefinition/patient-proficiency";
const ANIMAL: &str = "http://hl7.org/fhir/StructureDefinition/patient-animal";
const HUMAN_LANGUAGE: &str = "CareConnect-HumanLanguage";

/// `Patient.animal`: HL7's own extension in R4.
pub(super) fn animal<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    c.notes.mapped(child, "Patient.animal is the extension patient-animal in R4");
    c.kept_extension(ANIMAL, |c| {
        for part in child.children() {
            match part.name() {
                "extension" | "modifierExtension" => extensions::write(c, part),
                "id" => c.out.copy(part),
                name @ ("species" | "breed" | "genderStatus") => c.kept_extension(name, |c| {
                    c.carry(part, "valueCodeableConcept", Types::both("CodeableConcept"));
                }),
                _ => c.child(part, Types { stu3: "Patient.animal", r4: "Extension" }),
            }
        }
    });
}

/// CareConnect's NHSCommunication on a Patient: `Patient.communication` and HL7's interpreter extension.
/// False, with nothing written, when it has a part that would not fit.
pub(super) fn communication<'s>(c: &mut Converter<'s>, child: Element<'_, 's>) -> bool {
    let parts: Vec<_> = child.children().filter(|part| part.name() != "url").collect();
    let one = |url: &str| parts.iter().filter(|part| part.text("url") == Some(url)).count() == 1;
    if !one("language") || !parts.iter().all(|part| fits(*part)) {
        return false;
    }
    c.notes.mapped(child, "CareConnect's NHSCommunication is Patient.communication and patient-interpreterRequired");
    let value = |url: &str, name: &str| {
        parts.iter().filter(|part| part.text("url") == Some(url)).find_map(|part| part.get(name))
    };
    c.out.open("communication");
    if let Some(language) = value("language", "valueCodeableConcept") {
        write_language(c, language);
    }
    if let Some(preferred) = value("preferred", "valueBoolean") {
        c.carry(preferred, "preferred", Types::both("boolean"));
    }
    let abilities = [("communicationProficiency", "level"), ("modeOfCommunication", "type")];
    let has_ability = |part: &&Element<'_, 's>| abilities.iter().any(|(url, _)| part.text("url") == Some(url));
    if parts.iter().any(|part| has_ability(&part)) {
        c.kept_extension(PROFICIENCY, |c| {
            for (url, name) in abilities {
                for part in parts.iter().filter(|part| part.text("url") == Some(url)) {
                    let coding = part.at("valueCodeableConcept.coding").expect("checked by fits");
                    c.kept_extension(name, |c| c.carry(coding, "valueCoding", Types::both("Coding")));
                }
            }
        });
    }
    c.out.close();
    if let Some(required) = value("interpreterRequired", "valueBoolean") {
        c.kept_extension(INTERPRETER_REQUIRED, |c| c.carry(required, "valueBoolean", Types::both("boolean")));
    }
    true
}

/// True for a part of NHSCommunication that R4's elements can say in full.
fn fits(part: Element<'_, '_>) -> bool {
    let bare = |names: &[&str]| part.children().all(|child| child.name() == "url" || names.contains(&child.name()));
    let single = |url: &str| {
        let parent = part.parent().expect("a part stands in its extension");
        parent.all("extension").filter(|each| each.text("url") == Some(url)).count() == 1
    };
    match part.text("url") {
        Some("language") => bare(&["valueCodeableConcept"]) && part.get("valueCodeableConcept").is_some(),
        Some(url @ ("preferred" | "interpreterRequired")) => bare(&["valueBoolean"]) && single(url),
        Some(url @ ("communicationProficiency" | "modeOfCommunication")) => {
            let concept = part.get("valueCodeableConcept");
            let one_coding =
                concept.is_some_and(|concept| concept.children().count() == 1 && concept.get("coding").is_some());
            bare(&["valueCodeableConcept"]) && one_coding && (url == "modeOfCommunication" || single(url))
        }
        _ => false,
    }
}

/// The language, with the BCP 47 tag that R4 prefers beside CareConnect's code where the two are one.
fn write_language<'s>(c: &mut Converter<'s>, concept: Element<'_, 's>) {
    c.out.open_shell("language", concept);
    c.children(concept, Types::both("CodeableConcept"));
    let human = concept.all("coding").find(|coding| coding.text("system").is_some_and(|s| s.contains(HUMAN_LANGUAGE)));
    // Codes of two letters are ISO 639-1 and so BCP 47; the others (sign languages: q1 …) are CareConnect's own.
    let tag = human.and_then(|coding| coding.text("code"));
    if let Some(tag) = tag.filter(|tag| tag.len() == 2 && tag.chars().all(|c| c.is_ascii_lowercase())) {
        c.out.open("coding");
        c.out.leaf("system", "urn:ietf:bcp:47");
        c.out.leaf("code", tag.to_owned());
        c.out.close();
    }
    c.out.close();
}

/// `Encounter.hospitalization`: takes the admission method from the root, where one official example has
/// it, and gives the discharge method to the root (UK Core Encounter).
pub(super) fn hospitalization<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    let encounter = child.parent().expect("a hospitalization stands in its encounter");
    let admissions = of_name(encounter, "AdmissionMethod");
    let discharges = of_name(child, "DischargeMethod");
    if child.children().count() > discharges.len() || !admissions.is_empty() {
        c.out.open_shell("hospitalization", child);
        write_all(c, &admissions, "the admission method stands on Encounter.hospitalization in UK Core");
        c.children(child, Types::both("Encounter.hospitalization"));
        c.out.close();
    }
    write_all(c, &discharges, "the discharge method stands on the Encounter itself in UK Core");
}

/// What R4 asks of an Encounter beyond the source's elements.
pub(super) fn complete_encounter<'s>(c: &mut Converter<'s>, source: Element<'_, 's>) {
    let admissions = of_name(source, "AdmissionMethod");
    if source.get("hospitalization").is_none() && !admissions.is_empty() {
        c.out.open("hospitalization");
        write_all(c, &admissions, "the admission method stands on Encounter.hospitalization in UK Core");
        c.out.close();
    }
}

fn write_all<'s>(c: &mut Converter<'s>, moved: &[Element<'_, 's>], why: &'static str) {
    for extension in moved {
        c.notes.mapped(*extension, why);
        extensions::write(c, *extension);
    }
}

/// `CarePlan.author`: R4 has one; the others are contributors.
pub(super) fn care_plan_author<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    if child.parent().and_then(|plan| plan.get("author")) == Some(child) {
        c.carry(child, "author", Types::both("Reference"));
    } else {
        c.moved(child, "contributor", types);
        c.carry(child, "contributor", Types::both("Reference"));
    }
}
