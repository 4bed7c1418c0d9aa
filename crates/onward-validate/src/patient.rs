//! Rules of the person: one patient, an NHS number that can be one, every reference to the same person.

use onward_fhir::{Document, Element, systems, views};

use crate::findings::Report;
use crate::nhs_number::{self, Fault};
use crate::policy::{NhsNumberPolicy, Policy};
use crate::{ITK_PAYLOAD, IssueCode, Severity};

pub(crate) fn validate(document: &Document<'_, '_>, policy: &Policy, report: &mut Report) {
    let bundle = document.bundle.element();
    let patients: Vec<Element<'_, '_>> = bundle.descendants().filter(|element| element.is("Patient")).collect();
    let Some((first, more)) = patients.split_first() else {
        report.error(
            "patient-missing",
            IssueCode::Required,
            bundle,
            ITK_PAYLOAD,
            "The document has no Patient. Add the Patient that Composition.subject refers to.",
        );
        return;
    };
    for extra in more {
        report.error(
            "patient-one",
            IssueCode::Structure,
            *extra,
            ITK_PAYLOAD,
            "A document is about one person; this is another Patient. Remove it: two Patients may mean that two records \
             were mixed.",
        );
    }
    if more.is_empty() {
        if document.patient != Some(*first) && document.composition.get("subject").is_some() {
            report.error(
                "composition-subject",
                IssueCode::Invariant,
                document.composition.get("subject").unwrap_or(document.composition),
                ITK_PAYLOAD,
                "Composition.subject must refer to the Patient of this document; it does not. Check that the reference \
                 equals the Patient's fullUrl.",
            );
        }
        subjects(document, *first, report);
    }
    numbers(*first, policy, report);
    demographics(*first, report);
}

/// Every subject and patient is the one Patient.
fn subjects(document: &Document<'_, '_>, patient: Element<'_, '_>, report: &mut Report) {
    let number = views::nhs_number(patient);
    let about = |element: &Element<'_, '_>| matches!(element.name(), "subject" | "patient" | "beneficiary" | "for");
    for reference in document.bundle.element().descendants().filter(about) {
        let Some(parent) = reference.parent() else { continue };
        if parent.resource_type().is_none() {
            continue;
        }
        let other_number = views::nhs_number(reference).is_some_and(|said| number.is_some_and(|own| own != said));
        let elsewhere = match document.bundle.resolve(reference) {
            // Some resources may be about a group, device or place; `patient` never is.
            Some(target) => target != patient && (target.is("Patient") || reference.name() == "patient"),
            None => false,
        };
        if other_number || elsewhere {
            report.error(
                "subject-mismatch",
                IssueCode::Invariant,
                reference,
                ITK_PAYLOAD,
                "The resource is about another person or thing than the document's Patient. Find out which is right \
                 before sending again: content may belong to another person.",
            );
        }
    }
}

fn numbers(patient: Element<'_, '_>, policy: &Policy, report: &mut Report) {
    let identifiers: Vec<Element<'_, '_>> = patient
        .all("identifier")
        .filter(|identifier| identifier.text("system").is_some_and(systems::is_nhs_number))
        .collect();
    let values: Vec<&str> = identifiers.iter().filter_map(|identifier| identifier.text("value")).collect();
    if values.is_empty() {
        report.warning(
            "nhs-number-missing",
            IssueCode::Required,
            patient,
            "The Patient has no NHS number (system https://fhir.nhs.uk/Id/nhs-number): the person cannot be traced and \
             the message waits for someone. Send the number where one exists.",
        );
        return;
    }
    if values.iter().any(|value| *value != values[0]) {
        report.error(
            "nhs-number-two",
            IssueCode::Invariant,
            patient,
            ITK_PAYLOAD,
            "The Patient has two different NHS numbers. Send the one that is verified.",
        );
    }
    let severity = match policy.nhs_number {
        NhsNumberPolicy::Refuse => Severity::Error,
        NhsNumberPolicy::Hold => Severity::Warning,
    };
    for identifier in &identifiers {
        let Some(value) = identifier.get("value") else { continue };
        let (rule, text) = match nhs_number::check(value.value().unwrap_or_default()) {
            Ok(()) => continue,
            Err(Fault::Shape) => (
                "nhs-number-shape",
                "An NHS number has ten digits without spaces; this value has another form. Correct it at its source.",
            ),
            Err(Fault::CheckDigit) => (
                "nhs-number-check-digit",
                "The check digit of the NHS number does not fit (modulus 11): the number is mistyped or invented. Trace \
                 the person and correct the number at its source.",
            ),
        };
        report.add(severity, rule, IssueCode::Value, value, ITK_PAYLOAD, text.to_owned());
    }
    let verified = identifiers.iter().any(|identifier| {
        identifier
            .all("extension")
            .any(|extension| extension.text("url").is_some_and(|url| url.contains("NHSNumberVerificationStatus")))
    });
    if !verified {
        report.warning(
            "nhs-number-verification",
            IssueCode::Required,
            identifiers[0],
            "The NHS number does not say whether it is verified. Add the extension NHSNumberVerificationStatus to the \
             identifier.",
        );
    }
}

fn demographics(patient: Element<'_, '_>, report: &mut Report) {
    if views::human_name(patient).is_none() {
        report.warning(
            "patient-name",
            IssueCode::Required,
            patient,
            "The Patient has no name. Recipients check name and date of birth against the NHS number: add both.",
        );
    }
    if patient.get("birthDate").is_none() {
        report.warning(
            "patient-birth-date",
            IssueCode::Required,
            patient,
            "The Patient has no birthDate. Recipients check name and date of birth against the NHS number: add both.",
        );
    }
}
