//! Why a copy has not left, told so that whoever is on call knows what to do.

use crate::state::words;

words!(
    /// The cause of a failed attempt, sorted by what a person can do about it.
    Cause {
        /// No attempt has failed.
        None = "none",
        /// Nobody answers at the partner's address, or not in time.
        NoAnswer = "no-answer",
        /// The partner asks to wait.
        Busy = "busy",
        /// The partner's system fails.
        PartnerFault = "partner-fault",
        /// The partner refuses this copy.
        Refused = "refused",
        /// One side does not trust the other's certificate.
        Trust = "trust",
        /// What we sign in to the partner with is wrong or missing.
        Credentials = "credentials",
        /// Our own rules do not let it out.
        Blocked = "blocked",
        /// MESH did not take or not deliver it.
        Mesh = "mesh",
        /// This gateway, or the recipient's entry, is not set up for it.
        Setup = "setup",
        /// The stored copy is damaged.
        Damaged = "damaged",
        /// Something else.
        Other = "other",
    }
);

/// What is said of a copy that its recipient's system did not process, in place of its own words, which may name the person.
pub const NOT_PROCESSED: &str = "the recipient refused the message itself";

/// Why a copy was given up that had no attempt of its own: others to the same endpoint had failed.
pub const ENDPOINT_SILENT: &str = "its endpoint does not answer";

impl Cause {
    /// The cause that a reason tells, as attempts keep it: our own texts, which hold no patient data.
    #[must_use]
    pub fn of(reason: Option<&str>) -> Self {
        let Some(reason) = reason else { return Self::None };
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        let answered = |codes: &[&str]| says(&["answered"]) && says(codes);
        if says(&["unreadable in the store"]) {
            Self::Damaged
        } else if says(&["no trust between"]) {
            Self::Trust
        } else if says(&["bearer token", "password, shared key", "handshake", " 401", " 403"]) {
            Self::Credentials
        } else if says(&["not sent: "]) {
            Self::Blocked
        } else if says(&[
            "transport is configured",
            "no MESH workflow",
            "is not an HTTPS address",
            "is not a URL",
            "is not a MESH",
        ]) {
            Self::Setup
        } else if says(&["MESH"]) {
            Self::Mesh
        } else if answered(&[" 429", " 503", " 408", " 425"]) {
            Self::Busy
        } else if answered(&[" 5"]) {
            Self::PartnerFault
        } else if answered(&[" 3", " 4"]) || says(&[NOT_PROCESSED]) {
            Self::Refused
        } else if says(&["no connection", "no whole answer", "larger than", ENDPOINT_SILENT]) {
            Self::NoAnswer
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, ENDPOINT_SILENT, NOT_PROCESSED};

    #[test]
    fn our_own_texts_are_sorted() {
        for (reason, cause) in [
            ("no connection: the partner's name does not resolve", Cause::NoAnswer),
            ("given up after 72 hours: not delivered, will be tried again: no connection: x", Cause::NoAnswer),
            ("outcome unknown, will be sent again under the same identifier: no whole answer: y", Cause::NoAnswer),
            ("not delivered, will be tried again: the partner answered 503", Cause::Busy),
            ("not delivered, will be tried again: the partner answered 429", Cause::Busy),
            (
                "outcome unknown, will be sent again under the same identifier: the partner answered 500",
                Cause::PartnerFault,
            ),
            ("the partner answered 410", Cause::Refused),
            (NOT_PROCESSED, Cause::Refused),
            (ENDPOINT_SILENT, Cause::NoAnswer),
            ("the partner answered 301, and redirects are not followed", Cause::Refused),
            ("the partner answered 401", Cause::Credentials),
            ("the file with the partner's bearer token cannot be used", Cause::Credentials),
            ("no trust between us and the partner: the partner's certificate expired", Cause::Trust),
            ("not sent: the host is not on the list", Cause::Blocked),
            ("no mesh transport is configured on this gateway", Cause::Setup),
            ("MESH report 14: not delivered", Cause::Mesh),
            ("unreadable in the store: deliveries.endpoint", Cause::Damaged),
            ("something new", Cause::Other),
        ] {
            assert_eq!(Cause::of(Some(reason)), cause, "{reason}");
        }
        assert_eq!(Cause::of(None), Cause::None);
    }
}
