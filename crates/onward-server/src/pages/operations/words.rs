//! Queues, causes and holds in plain words: what it means, and the one safe thing to do.

use jiff::SignedDuration;
use onward_core::Timestamp;
use onward_core::cause::Cause;
use onward_core::state::{DeliveryState, EndReason, HoldReason, RecipientKind};
use onward_core::store::{DeliveryRecord, Queue};

/// A queue's name and what it means.
pub(super) fn queue(queue: Queue) -> (&'static str, &'static str) {
    match queue {
        Queue::Waiting => ("Waiting", "The first attempt is still to come."),
        Queue::Retrying => ("Retrying", "An attempt failed. The next one comes by itself."),
        Queue::Failing => ("Failing", "Five attempts or more failed. The next one comes by itself."),
        Queue::Dead => ("Dead", "It failed, or was refused unread. No further attempt is made. A person decides."),
        Queue::Paused => ("Paused", "Nothing is sent until somebody resumes."),
    }
}

/// The colour of a queue's tag.
pub(super) fn colour(queue: Queue) -> &'static str {
    match queue {
        Queue::Waiting => "grey",
        Queue::Retrying => "yellow",
        Queue::Failing => "orange",
        Queue::Dead => "red",
        Queue::Paused => "purple",
    }
}

/// A cause, and what to do about it.
pub(super) fn cause(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::None => ("No attempt has failed", "Nothing to do."),
        Cause::NoAnswer => (
            "The recipient’s system does not answer",
            "Wait: it is tried again by itself. If it lasts, ring the recipient and tell them that a summary waits.",
        ),
        Cause::Busy => ("The recipient’s system asks us to wait", "Wait: it is tried again by itself."),
        Cause::PartnerFault => (
            "The recipient’s system fails",
            "Tell the recipient’s supplier. It is tried again by itself, under the same identifier.",
        ),
        Cause::Refused => (
            "The recipient’s system refuses it",
            "Ask the recipient why before you retry. The same message is refused again until they change something.",
        ),
        Cause::Trust => (
            "A certificate is not trusted",
            "Do not retry yet. Ask the recipient whether their certificate was renewed, and have it checked.",
        ),
        Cause::Credentials => (
            "Our sign-in to the recipient does not work",
            "Renew the token, password or certificate that we use there, then retry.",
        ),
        Cause::Blocked => (
            "Our own rules do not let it out",
            "The address is not on the list of hosts that we may reach. Check the recipient’s entry before you change the list.",
        ),
        Cause::Mesh => (
            "MESH did not take or not deliver it",
            "Look the code up in the MESH error table, mend the mailbox or workflow, then retry.",
        ),
        Cause::Setup => (
            "The way to this recipient is not set up",
            "Mend the recipient’s entry in the directory, or configure the transport, then retry.",
        ),
        Cause::Damaged => (
            "The stored copy is damaged",
            "Do not retry. Run “onward fsck” and ask the hospital to send the summary again.",
        ),
        Cause::Other => ("Another reason", "Read the text of the attempt."),
    }
}

/// Why a transfer is held, and what resolves it.
pub(super) fn hold(reason: HoldReason) -> (&'static str, &'static str) {
    match reason {
        HoldReason::NhsNumberMissing => (
            "The message has no NHS number",
            "Ask the ward for the traced number. End this one when they send it again.",
        ),
        HoldReason::NhsNumberInvalid => (
            "The NHS number cannot be right",
            "Its check digit does not fit. Ask the ward for the traced number. End this one when they send it again.",
        ),
        HoldReason::PatientNotFound => (
            "PDS does not know this NHS number",
            "Ask the ward to trace the person. End this one when they send it again.",
        ),
        HoldReason::DemographicsConflict => (
            "The message and PDS describe two people",
            "Show whom it is about and ring the ward: which is the right person? Nobody here may decide that.",
        ),
        HoldReason::RestrictedPatient => (
            "The person’s record is restricted",
            "Agree with the ward who may receive it, and name them when you let it go on. The address stays hidden.",
        ),
        HoldReason::Objection => (
            "The person objects to sharing",
            "Agree with the ward and the person who may receive it, and name them. Whoever the objection names never does.",
        ),
        HoldReason::SupersededNhsNumber => {
            ("PDS has another NHS number for this person", "Ask the ward to send it again under the new number.")
        }
        HoldReason::Deceased => (
            "The person has died",
            "Ring the ward and the home. Let it go on only if they still need it: it is then sent.",
        ),
        HoldReason::CareHomeMissing => {
            ("The message names no care home", "Ask the ward which home it is, then ask for it to be sent there.")
        }
        HoldReason::CareHomeUnknown => (
            "The care home is not in the directory",
            "Add or renew the home’s entry and let it go on, or name the right home.",
        ),
        HoldReason::CareHomeConflict => (
            "It is not certain which care home is meant",
            "Ask the ward which home it is, then ask for it to be sent there.",
        ),
        HoldReason::CoveringPracticeUnknown => (
            "The practice that covers the home is not known",
            "Mend the home’s entry in the directory, then let it go on.",
        ),
        HoldReason::PharmacyUnknown => (
            "The pharmacy that delivers to the home is not known",
            "Mend the home’s entry in the directory, then let it go on.",
        ),
        HoldReason::RegisteredPracticeConflict => (
            "The message and PDS name different GP practices",
            "Ask the ward or the practices whose patient it is, then name the practice.",
        ),
        HoldReason::RegisteredPracticeUnknown => {
            ("The person’s own GP practice is not known", "Ask the ward or the home, then name the practice.")
        }
        HoldReason::NotACareHomeDischarge => (
            "The discharge does not go to a care home",
            "Ask the ward. Let it go on only if the home that is named is right.",
        ),
        HoldReason::Replacement => (
            "It replaces a summary that has not come",
            "It goes on by itself when that comes. If the ward says that it never will, let it go on.",
        ),
        HoldReason::ConversionLoss => (
            "Something in it could not be carried over",
            "Read what was lost. Ask the hospital to send it again in another form, and end this one.",
        ),
        HoldReason::DisclosureGap => (
            "A recipient’s rules would cut out something safety-critical",
            "Have the disclosure policy looked at, then let it go on.",
        ),
        HoldReason::DirectoryUnavailable => (
            "PDS could not be asked",
            "It goes on by itself when PDS answers again. Let it go on to have it asked now.",
        ),
    }
}

/// A recipient's part in words.
pub(super) fn kind(kind: RecipientKind) -> &'static str {
    match kind {
        RecipientKind::CareHome => "Care home",
        RecipientKind::CoveringPractice => "Covering practice",
        RecipientKind::RegisteredPractice => "Registered practice",
        RecipientKind::PharmacyReferral => "Pharmacy referral",
        RecipientKind::PharmacyNomination => "Pharmacy nomination",
        RecipientKind::Sender => "Response to the hospital",
    }
}

/// How a copy stands, in words: how it ended rather than how far it came.
pub(super) fn standing(copy: &DeliveryRecord) -> &'static str {
    match copy.ended.map(|ended| ended.why) {
        Some(EndReason::Superseded) => "Replaced by a later version",
        Some(EndReason::Void) => "Null and void",
        Some(EndReason::Recalled) => "Recalled",
        Some(EndReason::Withdrawn | EndReason::LeftHome) => "Withdrawn",
        None if copy.closed => "Handed over in another way",
        None if copy.is_unprocessed() => "Not processed by the recipient’s system",
        None => state(copy.state),
    }
}

/// A copy's state in words.
fn state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "Not sent yet",
        DeliveryState::AwaitingCollection => "In the inbox, not opened",
        DeliveryState::Sent => "Handed over, not acknowledged",
        DeliveryState::Received => "Received",
        DeliveryState::Accepted => "Acknowledged",
        DeliveryState::InProgress => "In progress",
        DeliveryState::Completed => "Completed",
        DeliveryState::Rejected => "Refused by the recipient",
        DeliveryState::Failed => "Failed",
        DeliveryState::Withdrawn => "Taken back",
    }
}

/// How long ago, or until when: `less than a minute`, `12 minutes`, `3 hours`, `2 days`.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let span = to.duration_since(from).max(SignedDuration::ZERO);
    let told = |count: i64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    match span.as_secs() {
        0..60 => "less than a minute".to_owned(),
        60..3_600 => told(span.as_mins(), "minute"),
        3_600..172_800 => told(span.as_hours(), "hour"),
        _ => told(span.as_hours() / 24, "day"),
    }
}

/// The first part of an identifier: enough to tell rows apart by eye.
pub(super) fn short(id: impl std::fmt::Display) -> String {
    id.to_string().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_people_say_them() {
        let start = Timestamp::UNIX_EPOCH;
        for (seconds, words) in [
            (-5, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (3_599, "59 minutes"),
            (3_600, "1 hour"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(start, start + SignedDuration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn everything_has_words_of_its_own() {
        fn distinct<T: Copy>(all: &[T], words: impl Fn(T) -> &'static str) {
            let said: std::collections::BTreeSet<_> = all.iter().map(|each| words(*each)).collect();
            assert_eq!(said.len(), all.len());
        }
        distinct(Queue::ALL, |each| queue(each).0);
        distinct(Cause::ALL, |each| cause(each).0);
        distinct(HoldReason::ALL, |each| hold(each).0);
        distinct(RecipientKind::ALL, kind);
        distinct(DeliveryState::ALL, state);
    }
}
