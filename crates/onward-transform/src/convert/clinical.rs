//! Clinical resources: the rules that hang on more than one element, most of them because a status must not
//! come to say something else than it did.

use onward_fhir::Element;

use super::extensions::{self, of_name};
use super::people;
use super::rules::CodeMap;
use super::walk::{Converter, Types, url_of};

const ALLERGY_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
const CONDITION_VERIFICATION: &str = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
const CONSENT_SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";

/// `MedicationStatement.taken`, which R4 does not have. ITK3 senders write `unk` by default: it must never
/// reach the status, or every stopped medicine would come out as `unknown` (standards page §9).
pub(super) fn taken<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    c.keep(child, types);
    let status = child.parent().and_then(|statement| statement.text("status"));
    if child.value() == Some("n") && matches!(status, Some("active" | "completed")) {
        c.notes.kept(child, "recorded as not taken though active or completed: status unchanged, see the extension");
    }
}

/// `MedicationStatement.reasonNotTaken`. The conversion table (standards page §9) has `reasonCode` for it; it becomes
/// `statusReason` all the same. R4 defines `reasonCode` as "a reason for why the medication is being/was taken" and
/// `statusReason` as "captures the reason for the current state", with a value set of reasons for not taking it. Under
/// `reasonCode`, beside the true indication, "bleeding" would read as what an anticoagulant is given for.
pub(super) fn reason_not_taken<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    c.notes.mapped(
        child,
        "MedicationStatement.reasonNotTaken is MedicationStatement.statusReason in R4, not reasonCode, which says why a \
         medicine is taken",
    );
    c.place(child, "statusReason", types, types.r4);
}

/// Event statuses that R4 renamed (R4 event pattern).
const EVENT_STATUS: &CodeMap = &[("suspended", "on-hold", true), ("aborted", "stopped", true)];

/// `status` of an event that STU3 could mark as not done beside it.
pub(super) fn status<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let event = child.parent().expect("a status stands in its resource");
    if let (true, Some(code)) = (is_not_done(event), not_done_code(types.stu3, child.value())) {
        c.notes.mapped(child, format!("{} marked as not done has status `{code}` in R4", types.stu3));
        c.recoded(child, "status", code, true, types);
        return;
    }
    let renamed = matches!(types.stu3, "Procedure" | "Communication");
    c.coded(child, "status", if renamed { EVENT_STATUS } else { &[] }, types);
}

/// `notDone`, `notGiven`: part of the status in R4.
pub(super) fn not_done<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let event = child.parent().expect("a flag stands in its resource");
    match child.value() {
        Some("false") if !child.has_children() => {
            let name = child.name();
            c.notes.mapped(child, format!("{}.{name} `false` says no more than R4's status", types.stu3));
        }
        Some("true") => match not_done_code(types.stu3, event.text("status")) {
            None => c.keep(child, types),
            Some(code) => {
                c.moved(child, "status", types);
                if child.has_children() {
                    c.keep(child, types);
                }
                if event.get("status").is_none() {
                    c.out.leaf("status", code);
                }
            }
        },
        _ => c.keep(child, types),
    }
}

fn is_not_done(event: Element<'_, '_>) -> bool {
    event.text("notDone") == Some("true") || event.text("notGiven") == Some("true")
}

/// The R4 status of an event that was not done; none where the status already says that it does not count.
fn not_done_code(stu3_type: &str, status: Option<&str>) -> Option<&'static str> {
    match (stu3_type, status) {
        (_, Some("entered-in-error")) | ("MedicationDispense", Some("stopped")) => None,
        ("MedicationDispense", _) => Some("declined"),
        _ => Some("not-done"),
    }
}

/// `Medication.package`: R4 has one batch, on the Medication; the rest is kept.
pub(super) fn package<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let batch = child.get("batch");
    if let Some(batch) = batch {
        c.notes.mapped(batch, "Medication.package.batch is Medication.batch in R4");
        c.carry(batch, "batch", Types { stu3: "Medication.package.batch", r4: "Medication.batch" });
    }
    let rest: Vec<_> = child.children().filter(|part| Some(*part) != batch).collect();
    if rest.is_empty() {
        return;
    }
    c.notes.kept(child, "R4 has no Medication.package: kept as cross-version extension");
    c.kept_extension(&url_of(types, "package"), |c| {
        rest.into_iter().for_each(|part| c.keep_part(part, "Medication.package"));
    });
}

/// `AllergyIntolerance.clinicalStatus`, on which UK Core hangs the end of the allergy.
pub(super) fn allergy_status<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    c.moved(child, "clinicalStatus", types);
    let concept = c.concept(child, "clinicalStatus", ALLERGY_CLINICAL, child.value());
    let ends = child.parent().map(|allergy| of_name(allergy, "AllergyIntoleranceEnd")).unwrap_or_default();
    if child.value().is_some() {
        c.out.reopen(concept);
        ends.into_iter().for_each(|end| extensions::write(c, end));
        c.out.close();
    }
}

/// `Condition.verificationStatus`. R4 has no `unknown`: the status is then kept as an extension, not guessed.
pub(super) fn condition_verification<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    if child.value() == Some("unknown") {
        c.keep(child, types);
    } else {
        c.moved(child, "verificationStatus", types);
        c.concept(child, "verificationStatus", CONDITION_VERIFICATION, child.value());
    }
}

/// `Observation.related`: two of its types are elements in R4, the others are kept.
pub(super) fn related<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    let to = match child.text("type") {
        Some("has-member") => Some("hasMember"),
        Some("derived-from") => Some("derivedFrom"),
        _ => None,
    };
    let plain = child.children().all(|part| part.name() == "target" || (part.name() == "type" && !part.has_children()));
    match (to, child.get("target")) {
        (Some(to), Some(target)) if plain => {
            c.moved(child, to, types);
            c.carry(target, to, Types::both("Reference"));
        }
        _ => c.keep(child, types),
    }
}

/// `Immunization.explanation`: its parts are elements of the Immunization in R4.
pub(super) fn explanation<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    let types = Types { stu3: "Immunization.explanation", r4: "Immunization" };
    for part in child.children() {
        match part.name() {
            "id" => c.notes.lost(part, "the internal id of an element that R4 does not have"),
            _ => c.child(part, types),
        }
    }
}

/// `Immunization.vaccinationProtocol`: R4 demands the dose number.
pub(super) fn protocol<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    c.moved(child, "protocolApplied", types);
    c.out.open_shell("protocolApplied", child);
    c.children(child, Types { stu3: "Immunization.vaccinationProtocol", r4: "Immunization.protocolApplied" });
    if child.get("doseSequence").is_none() {
        c.absent("doseNumberString");
    }
    c.out.close();
}

/// `Questionnaire.item.enableWhen`: R4 names the operator, and asks how several conditions combine.
pub(super) fn enable_when<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, _: Types) {
    let mut siblings = child.parent().into_iter().flat_map(|item| item.all("enableWhen"));
    if siblings.next() == Some(child) && siblings.next().is_some() {
        c.out.leaf("enableBehavior", "any");
    }
    c.out.open_shell("enableWhen", child);
    c.children(child, Types::both("Questionnaire.item.enableWhen"));
    c.out.leaf("operator", if child.choice("answer").is_none() { "exists" } else { "=" });
    c.out.close();
}

/// `enableWhen.hasAnswer`: the answer of the operator `exists`, unless an answer is asked for too.
pub(super) fn has_answer<'s>(c: &mut Converter<'s>, child: Element<'_, 's>, types: Types) {
    if child.parent().and_then(|when| when.choice("answer")).is_some() {
        c.keep(child, types);
    } else {
        c.moved(child, "answerBoolean", types);
        c.carry(child, "answerBoolean", Types::both("boolean"));
    }
}

/// Elements that R4 demands and STU3 does not: type, R4 element, the STU3 element that fills it.
const DEMANDED: &[(&str, &str, &str)] = &[
    ("Encounter", "class", "class"),
    ("Immunization", "occurrenceDateTime", "date"),
    ("Media", "status", "-"),
    ("NutritionOrder", "intent", "-"),
    ("DeviceRequest", "intent", "-"),
];

/// What R4 asks of a clinical resource beyond the source's elements.
pub(super) fn complete<'s>(c: &mut Converter<'s>, source: Element<'_, 's>, types: Types) {
    for (_, element, filled_by) in DEMANDED.iter().filter(|(owner, ..)| *owner == types.stu3) {
        if source.get(filled_by).is_none() && source.get(element).is_none() {
            c.notes.mapped(source, format!("{}.{element}, which R4 demands, is not known", types.r4));
            c.absent(element);
        }
    }
    match types.stu3 {
        "Encounter" => people::complete_encounter(c, source),
        // STU3 modelled privacy consents only (STU3 Consent, scope and usage).
        "Consent" if source.get("scope").is_none() => c.out.node("scope", |b| {
            b.node("coding", |b| {
                b.leaf("system", CONSENT_SCOPE);
                b.leaf("code", "patient-privacy");
            });
        }),
        _ => {}
    }
}
