//! The ITK3 codes by which the hospital hears what became of its message (CodeSystem ITK-ResponseCodes-1; "Response Codes" and "FHIR
//! Receiver Requirements" of the messaging guide).
//!
//! The infrastructure response is ours: it says that the message was taken in. ITK3 foresees that it "may still fail after further
//! processing and result in another response if the business acknowledgement request flag" was set (20013). So what the
//! home refuses, technically too, and what a person ends, is told in place of the business answer, where one was asked for, with the code
//! that fits. Of a copy that never reached the home operators are told, who send it again, and the hospital's Task.

use onward_core::state::{DeliveryState, HoldReason, REFUSALS_OF_PEOPLE};
use onward_fhir::itk::{self, Level, ResponseCode};

/// The infrastructure response to a message that was taken in: ITK3 "Success".
pub(crate) const TAKEN_IN: (Level, u32) = (Level::Infrastructure, 20013);
/// The hospital's response when a person ends a held replacement: ITK3 "Unable to Process Replacement Document". That it was taken in was
/// not told while it was held.
pub(crate) const NOT_REPLACED: (Level, u32) = (Level::Infrastructure, 20014);
/// The same for whoever asked for a business response alone, who hears it as one.
pub(crate) fn not_replaced(infrastructure: bool) -> (Level, u32) {
    if infrastructure { NOT_REPLACED } else { (Level::Business, NOT_REPLACED.1) }
}
/// ITK3 "Handling Specification Error": the one code that its table of response codes calls generic.
const GENERIC: u32 = 10001;
/// "Patient known here".
const KNOWN: u32 = 30001;
/// "Patient not known here", that is, not among the patients of the receiving system (FHIR-RR-02).
const NOT_KNOWN: u32 = 30002;

/// The code that tells the hospital what the home answered. The home's own says more than ours: a business code that says the same, or
/// whichever it refuses with, for "could not be read" or "too large" tell nothing of the person. A refusal with a code that ITK3 does not
/// know, or with one that says yes, gets the generic one. What a home refuses without a code, by its page or by `Task.status`, is the
/// person: who is not taken in is not known there, and of the negatives that answer a request for a business response (30001 to
/// 30004) the other, 30003, tells of somebody who was there.
pub(crate) fn code_for_sender(state: DeliveryState, code: Option<&str>) -> u32 {
    let own = code.map(itk::response_code);
    if state != DeliveryState::Rejected {
        let fits = |own: &ResponseCode| own.level == Level::Business && own.positive;
        return own.flatten().filter(fits).map_or(KNOWN, |own| own.code);
    }
    match own {
        None => NOT_KNOWN,
        Some(own) => own.filter(|own| !own.positive).map_or(GENERIC, |own| own.code),
    }
}

/// Whether a copy with this code that was refused was refused because of the person: with a business code of ITK3 or with none, or by
/// somebody after a system had said that it has the message. Any other code says that a message was not processed, or not taken.
#[must_use]
pub fn refuses_the_person(code: Option<&str>) -> bool {
    code.is_none_or(|code| REFUSALS_OF_PEOPLE.contains(&code))
}

/// The codes of which [`refuses_the_person`] is true.
pub(crate) fn refusals_of_people() -> Vec<String> {
    REFUSALS_OF_PEOPLE.iter().map(ToString::to_string).collect()
}

/// What the hospital that asked for a business response hears when a person ends a transfer that was held for this reason.
pub(crate) fn code_of_closed(reason: HoldReason) -> u32 {
    use HoldReason as R;
    match reason {
        // Somebody whose identifiers were not found (FHIR-RR-02).
        R::NhsNumberMissing
        | R::NhsNumberInvalid
        | R::PatientNotFound
        | R::DemographicsConflict
        | R::SupersededNhsNumber => NOT_KNOWN,
        // Nor may a code tell that PDS protects somebody, or repeat an objection: as of anybody whose record nobody got.
        R::RestrictedPatient | R::Objection => NOT_KNOWN,
        // "Patient no longer at this clinical setting", which ITK3 lets follow 30004; that one says yes, and that the document was taken.
        R::Deceased => 30003,
        // "The Recipient Organisation identified in the Payload is not supported by this End Point" (FHIR-RR-01).
        R::CareHomeUnknown
        | R::CoveringPracticeUnknown
        | R::PharmacyUnknown
        | R::RegisteredPracticeUnknown
        | R::NotACareHomeDischarge => 20010,
        // "Payload content validation has failed".
        R::CareHomeMissing | R::CareHomeConflict | R::RegisteredPracticeConflict | R::ConversionLoss => 20009,
        R::Replacement => NOT_REPLACED.1,
        // Ours, and no code tells of it.
        R::DisclosureGap | R::DirectoryUnavailable => GENERIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hospital_hears_what_the_home_answered() {
        use DeliveryState::{Accepted, Completed, InProgress, Rejected};
        for (state, own, told) in [
            (Accepted, None, 30001),
            (InProgress, None, 30001),
            (Completed, Some("30004"), 30004),
            (Accepted, Some("20013"), 30001),
            (Accepted, Some("30019"), 30019),
            (Accepted, Some("30099"), 30001),
            (Rejected, None, 30002),
            (Rejected, Some("30003"), 30003),
            (Rejected, Some("30022"), 30022),
            // What is technical says nothing of the person.
            (Rejected, Some("10001"), 10001),
            (Rejected, Some("10009"), 10009),
            (Rejected, Some("20002"), 20002),
            (Rejected, Some("20015"), 20015),
            // Nor does what nobody knows, or what contradicts itself.
            (Rejected, Some("30099"), 10001),
            (Rejected, Some("many"), 10001),
            (Rejected, Some("20013"), 10001),
            (Rejected, Some("30001"), 10001),
        ] {
            assert_eq!(code_for_sender(state, own), told, "{state} {own:?}");
        }
    }

    #[test]
    fn only_an_answer_about_the_person_refuses_the_person() {
        for (code, refuses) in [
            (None, true),
            (Some("30002"), true),
            (Some("30022"), true),
            (Some("20013"), true),
            (Some("10001"), false),
            (Some("20015"), false),
            (Some("30099"), false),
            (Some("many"), false),
        ] {
            assert_eq!(refuses_the_person(code), refuses, "{code:?}");
        }
        let about = |known: &&ResponseCode| known.level == Level::Business || known.positive;
        let known: Vec<_> = itk::RESPONSE_CODES.iter().filter(about).map(|known| known.code.to_string()).collect();
        assert_eq!(REFUSALS_OF_PEOPLE, known);
    }

    #[test]
    fn what_a_person_closes_is_answered_by_a_negative_that_fits() {
        for reason in HoldReason::ALL {
            let code = ResponseCode::of(code_of_closed(*reason)).expect("one of ITK3's");
            assert!(!code.positive, "{reason}");
            let identifies = ["nhs-number", "patient-not-found", "demographics"];
            if identifies.iter().any(|begins| reason.as_str().starts_with(begins)) {
                assert_eq!(code.code, NOT_KNOWN, "{reason}");
            }
        }
        let protected = [HoldReason::RestrictedPatient, HoldReason::Objection, HoldReason::PatientNotFound];
        assert_eq!(protected.map(code_of_closed), [NOT_KNOWN; 3], "no code tells who is protected");
    }
}
