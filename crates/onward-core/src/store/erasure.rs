//! The erasure of a person, which two people decide, and legal holds, which stop it.

use jiff::{SignedDuration, Timestamp};

use crate::OdsCode;
use crate::audit::AuditRow;
use crate::state::words;

words!(
    /// Why health records may be erased although the right to erasure does not reach records that care under professional
    /// secrecy needs (UK GDPR Article 17(3)(c) with 9(2)(h)).
    ErasureGround {
        /// Their retention is over and nobody needs them (Article 17(1)(a)).
        RetentionEnded = "retention-ended",
        /// They were filed under this number by mistake and are not this person's (Article 17(1)(d) with 5(1)(d)).
        WrongPerson = "wrong-person",
        /// They should never have been processed here (Article 17(1)(d)).
        UnlawfulProcessing = "unlawful-processing",
        /// A law or court demands it (Article 17(1)(e)).
        LegalObligation = "legal-obligation",
    }
);

/// A request to erase a person, which somebody else must confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRequest {
    /// Its identifier.
    pub id: uuid::Uuid,
    /// On which ground.
    pub ground: ErasureGround,
    /// Why, in words; no patient data.
    pub reason: String,
    /// Who asks.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl ErasureRequest {
    /// For so long a request can be confirmed: a second word that comes later is about what the first did not see.
    pub const OPEN: SignedDuration = SignedDuration::from_hours(14 * 24);

    /// When it lapses.
    #[must_use]
    pub fn lapses(&self) -> Timestamp {
        self.at.saturating_add(Self::OPEN).expect("a duration of hours has no calendar")
    }
}

/// A request that waits, with what it would destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingErasure {
    /// The request.
    pub request: ErasureRequest,
    /// The person, by the keyed hash under which the store finds them.
    pub pseudonym: String,
    /// The data keys of the person, by name.
    pub keys: Vec<String>,
    /// When it was told that nobody confirmed it in time ([`super::Store::lapse_erasure`]).
    pub lapsed: Option<Timestamp>,
}

/// What a confirmation decides.
#[derive(Debug, Clone)]
pub struct ErasureConfirmation {
    /// The request.
    pub id: uuid::Uuid,
    /// Who confirms: somebody else than who asked.
    pub by: String,
    /// The keys that the audit row names: others are not destroyed.
    pub keys: Vec<String>,
    /// Only while nobody else than this organisation sent anything about the person: one organisation's word does not destroy
    /// another's records. None: whoever runs the gateway answers for all of them.
    pub only_from: Option<OdsCode>,
    /// When.
    pub at: Timestamp,
    /// The audit rows; they name the person by pseudonym only.
    pub audit: Vec<AuditRow>,
}

/// What a confirmation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureOutcome {
    /// The keys are destroyed.
    Erased {
        /// Transfers of which nothing can be read any more.
        transfers: u64,
        /// Audit entries of which only the header is left.
        entries: u64,
        /// Where the destroyed keys, wrapped, may still stand, and what to do about it; none: in no file of the database.
        remains: Option<&'static str>,
    },
    /// There is no such request, or it was done.
    NoSuchRequest,
    /// It was not confirmed in time.
    Lapsed,
    /// Whoever asked cannot confirm.
    SamePerson,
    /// Other organisations sent something about the person.
    OthersToo,
    /// A legal hold forbids it.
    OnLegalHold,
    /// Something about the person is still on its way or waits for a decision.
    UnderWay {
        /// Copies and responses that are not sent yet.
        queued: u64,
        /// Holds that are open.
        holds: u64,
    },
    /// The person has other keys by now: look again.
    KeysChanged,
}

/// An order to keep everything about a person, whatever erasure says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegalHoldOrder {
    /// Its identifier.
    pub id: uuid::Uuid,
    /// Why; no patient data.
    pub reason: String,
    /// Who places it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What became of the wish to lift a legal hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifted {
    /// It is lifted.
    Yes,
    /// Whoever placed it does not lift it: two people decide that something may be erased again.
    SamePerson,
    /// There is no such order, or it was lifted.
    NoSuchHold,
}

/// How requests and orders name a person who is signed in.
#[must_use]
pub fn by_account(name: &str, account: &str) -> String {
    format!("{name}{ACCOUNT}{account})")
}

/// Name and account of one who is named so. The command line knows no accounts, and takes no name that reads like one.
#[must_use]
pub fn who_is_named(by: &str) -> (&str, Option<&str>) {
    let named = by.strip_suffix(')').and_then(|by| by.rsplit_once(ACCOUNT));
    named.map_or((by, None), |(name, account)| (name, Some(account)))
}

/// Whether two that are named so count as one person: one account has one, and without two accounts one name has.
#[must_use]
pub fn are_one_person(first: &str, second: &str) -> bool {
    match (who_is_named(first), who_is_named(second)) {
        ((_, Some(first)), (_, Some(second))) => first == second,
        ((first, _), (second, _)) => first.trim().to_lowercase() == second.trim().to_lowercase(),
    }
}

const ACCOUNT: &str = " (account ";

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegalHold {
    /// The order.
    pub order: LegalHoldOrder,
    /// The person, by the keyed hash under which the store finds them.
    pub pseudonym: String,
    /// When it was lifted.
    pub lifted: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_person_is_another_account_or_else_another_name() {
        let (ada, renamed, other) = (by_account("Ada", "17"), by_account("Ada Wells", "17"), by_account("Ada", "18"));
        assert_eq!(who_is_named(&ada), ("Ada", Some("17")));
        assert_eq!(who_is_named("Ada (ward 7)"), ("Ada (ward 7)", None));
        for (first, second, one) in [
            (&*ada, &*ada, true),
            (&ada, &renamed, true),
            (&ada, &other, false),
            (&ada, " ADA ", true),
            ("Ada Wells", &renamed, true),
            (&ada, "Bea", false),
            ("Ada", " ada", true),
            ("Ada", "Bea", false),
        ] {
            assert_eq!(are_one_person(first, second), one, "{first} {second}");
            assert_eq!(are_one_person(second, first), one, "{second} {first}");
        }
    }
}
