//! What a person decided about a held transfer. A decision takes the place of a step that could not be resolved, and
//! of nothing else: it never makes two people one, a wrong NHS number right, or a refused document good. A number that the document does not
//! have is taken from a person only where PDS, searched without it, finds that number's record and no other.

use std::collections::BTreeSet;

use onward_core::OdsCode;
use onward_core::state::{HoldReason, RecipientKind};
use serde::{Deserialize, Serialize};

/// Everything that was decided about one transfer so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decided {
    /// The home, where the message names none, an unknown one, or several.
    pub care_home: Option<OdsCode>,
    /// The person's practice, where document and PDS do not agree on one.
    pub registered_practice: Option<OdsCode>,
    /// Reasons for which it is sent all the same.
    pub sent_all_the_same: BTreeSet<HoldReason>,
    /// Who may receive about a person who is restricted or objects, as agreed with the ward for those of these two reasons that stand in
    /// `sent_all_the_same`: an agreement about one answers no other that nobody has seen.
    pub agreed_recipients: BTreeSet<RecipientKind>,
    /// Organisations from which it was recalled: whatever names them is wrong.
    pub recalled: BTreeSet<OdsCode>,
}

/// A decision that is not for a person to make, told in words for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotDecidable(pub String);

impl Decided {
    /// Reasons that say which home is meant, or that none is.
    const HOME: [HoldReason; 4] = [
        HoldReason::CareHomeMissing,
        HoldReason::CareHomeUnknown,
        HoldReason::CareHomeConflict,
        HoldReason::NotACareHomeDischarge,
    ];
    /// Reasons that say which practice is the person's.
    const PRACTICE: [HoldReason; 2] = [HoldReason::RegisteredPracticeConflict, HoldReason::RegisteredPracticeUnknown];
    /// Reasons for which a person may say: send it all the same.
    const ALL_THE_SAME: [HoldReason; 3] =
        [HoldReason::NotACareHomeDischarge, HoldReason::Replacement, HoldReason::Deceased];
    /// Reasons that an agreement with the ward answers.
    const AGREED: [HoldReason; 2] = [HoldReason::RestrictedPatient, HoldReason::Objection];
    /// Who may receive about a restricted person. Whoever would be found by looking the person up never is.
    const ABOUT_RESTRICTED: [RecipientKind; 3] =
        [RecipientKind::CareHome, RecipientKind::CoveringPractice, RecipientKind::PharmacyReferral];
    /// Who may receive about a person who objects to sharing.
    const DESPITE_OBJECTION: [RecipientKind; 5] = [
        RecipientKind::CareHome,
        RecipientKind::CoveringPractice,
        RecipientKind::RegisteredPractice,
        RecipientKind::PharmacyReferral,
        RecipientKind::PharmacyNomination,
    ];

    /// The kinds that can be agreed with the ward for a transfer that is held for this reason; none: there is nothing to agree on.
    #[must_use]
    pub fn agreeable(reason: HoldReason) -> &'static [RecipientKind] {
        match reason {
            HoldReason::RestrictedPatient => &Self::ABOUT_RESTRICTED,
            HoldReason::Objection => &Self::DESPITE_OBJECTION,
            _ => &[],
        }
    }

    /// Who may receive, as was agreed for this reason.
    #[must_use]
    pub fn agreed(&self, reason: HoldReason) -> BTreeSet<RecipientKind> {
        if !self.sends_despite(reason) {
            return BTreeSet::new();
        }
        let agreeable = Self::agreeable(reason);
        self.agreed_recipients.iter().copied().filter(|kind| agreeable.contains(kind)).collect()
    }

    /// Another agreement about the same reason takes the place of the last; beside one about the other reason, those receive who are agreed
    /// for both, and where that is nobody the other is asked again.
    fn agree(&mut self, reason: HoldReason, agreed: &BTreeSet<RecipientKind>) {
        let others = Self::AGREED.into_iter().filter(|other| *other != reason && self.sends_despite(*other));
        let others: Vec<HoldReason> = others.collect();
        let for_all: BTreeSet<RecipientKind> = match others.is_empty() {
            true => agreed.clone(),
            false => self.agreed_recipients.intersection(agreed).copied().collect(),
        };
        if for_all.is_empty() {
            self.sent_all_the_same.retain(|reason| !others.contains(reason));
            self.agreed_recipients.clone_from(agreed);
        } else {
            self.agreed_recipients = for_all;
        }
        self.sent_all_the_same.insert(reason);
    }

    /// Adds the decision to release a transfer that is held for this reason.
    ///
    /// # Errors
    /// When recipients are named that cannot be agreed on for this reason.
    pub fn release(&mut self, reason: HoldReason, agreed: &BTreeSet<RecipientKind>) -> Result<(), NotDecidable> {
        let agreeable = Self::agreeable(reason);
        if !agreed.is_empty() && agreeable.is_empty() {
            return Err(NotDecidable(format!(
                "the transfer is held for {reason}: there are no recipients to agree on"
            )));
        }
        if let Some(kind) = agreed.iter().find(|kind| !agreeable.contains(kind)) {
            let kinds: Vec<&str> = agreeable.iter().map(|kind| kind.as_str()).collect();
            let why = match reason {
                HoldReason::RestrictedPatient => {
                    " is found by looking the person up, which a restricted record forbids"
                }
                _ => " receives nothing about a person",
            };
            return Err(NotDecidable(format!("{kind}{why}: recipients that can be agreed are {}", kinds.join(", "))));
        }
        if !agreed.is_empty() {
            self.agree(reason, agreed);
        }
        if Self::ALL_THE_SAME.contains(&reason) {
            self.sent_all_the_same.insert(reason);
        }
        Ok(())
    }

    /// Adds the parties that a person names for a transfer that is held for this reason.
    ///
    /// # Errors
    /// When the reason is not about parties, or the party that it is about is not named.
    pub fn reroute(
        &mut self,
        reason: HoldReason,
        care_home: Option<OdsCode>,
        registered_practice: Option<OdsCode>,
    ) -> Result<(), NotDecidable> {
        let missing = match reason {
            reason if Self::HOME.contains(&reason) => care_home.is_none().then_some("--care-home"),
            reason if Self::PRACTICE.contains(&reason) => {
                registered_practice.is_none().then_some("--registered-practice")
            }
            _ => {
                return Err(NotDecidable(format!(
                    "the transfer is held for {reason}, which naming a party does not answer: mend the cause and release \
                     it, or close it"
                )));
            }
        };
        if let Some(option) = missing {
            return Err(NotDecidable(format!("the transfer is held for {reason}: name the party by {option}")));
        }
        if reason == HoldReason::NotACareHomeDischarge {
            self.sent_all_the_same.insert(reason);
        }
        self.care_home = care_home.or(self.care_home.take());
        self.registered_practice = registered_practice.or(self.registered_practice.take());
        Ok(())
    }

    /// It was recalled from these organisations: none of them gets it again, not by an earlier decision either.
    pub fn recalled_from<'c>(&mut self, codes: impl IntoIterator<Item = &'c OdsCode>) {
        for code in codes {
            for party in [&mut self.care_home, &mut self.registered_practice] {
                if party.as_ref() == Some(code) {
                    *party = None;
                }
            }
            self.recalled.insert(code.clone());
        }
    }

    /// The home that was decided on, where the message's own word came to this reason.
    #[must_use]
    pub fn home_instead_of(&self, reason: HoldReason) -> Option<&OdsCode> {
        self.care_home.as_ref().filter(|_| Self::HOME.contains(&reason))
    }

    /// The practice that was decided on, where document and PDS came to this reason.
    #[must_use]
    pub fn practice_instead_of(&self, reason: HoldReason) -> Option<&OdsCode> {
        self.registered_practice.as_ref().filter(|_| Self::PRACTICE.contains(&reason))
    }

    /// Whether it is sent although this reason is there.
    #[must_use]
    pub fn sends_despite(&self, reason: HoldReason) -> bool {
        self.sent_all_the_same.contains(&reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_decides_only_what_is_theirs_to_decide() {
        let home: OdsCode = "VMH01".parse().expect("a code");
        for reason in HoldReason::ALL.iter().copied() {
            let mut decided = Decided::default();
            let named = decided.reroute(reason, Some(home.clone()), Some(home.clone()));
            let about_parties = Decided::HOME.contains(&reason) || Decided::PRACTICE.contains(&reason);
            assert_eq!(named.is_ok(), about_parties, "{reason}");
            assert_eq!(decided == Decided::default(), !about_parties, "{reason}: nothing is kept of what is refused");
            assert!(Decided::default().reroute(reason, None, None).is_err(), "{reason}");
            let mut decided = Decided::default();
            decided.release(reason, &BTreeSet::new()).expect("may be looked at again");
            let sends =
                matches!(reason, HoldReason::NotACareHomeDischarge | HoldReason::Replacement | HoldReason::Deceased);
            assert_eq!(decided.sends_despite(reason), sends, "{reason}");
            let agreed = BTreeSet::from([RecipientKind::CareHome]);
            let agreed = Decided::default().release(reason, &agreed);
            assert_eq!(agreed.is_ok(), !Decided::agreeable(reason).is_empty(), "{reason}");
        }
        for kind in [RecipientKind::RegisteredPractice, RecipientKind::PharmacyNomination, RecipientKind::Sender] {
            let agreed = Decided::default().release(HoldReason::RestrictedPatient, &BTreeSet::from([kind]));
            assert!(agreed.is_err(), "{kind}");
            let agreed = Decided::default().release(HoldReason::Objection, &BTreeSet::from([kind]));
            assert_eq!(agreed.is_ok(), kind != RecipientKind::Sender, "{kind}");
        }
    }

    #[test]
    fn an_agreement_answers_the_reason_that_was_seen() {
        use HoldReason::{Objection, RestrictedPatient};
        use RecipientKind::{CareHome, CoveringPractice, PharmacyReferral};
        type Agreements<'a> = &'a [(HoldReason, &'a [RecipientKind])];
        let after = |agreements: Agreements<'_>| {
            let mut decided = Decided::default();
            for (reason, kinds) in agreements {
                decided.release(*reason, &kinds.iter().copied().collect()).expect("agreeable");
            }
            [RestrictedPatient, Objection].map(|reason| decided.agreed(reason).into_iter().collect::<Vec<_>>())
        };
        let nobody: Vec<RecipientKind> = Vec::new();
        assert_eq!(after(&[(RestrictedPatient, &[CareHome])]), [vec![CareHome], nobody.clone()]);
        assert_eq!(after(&[(Objection, &[CareHome])]), [nobody.clone(), vec![CareHome]]);
        let again: Agreements<'_> = &[(Objection, &[CareHome]), (Objection, &[PharmacyReferral])];
        assert_eq!(after(again), [nobody.clone(), vec![PharmacyReferral]], "the same reason anew");
        let wider: Agreements<'_> = &[(RestrictedPatient, &[CareHome]), (Objection, &[CareHome, CoveringPractice])];
        assert_eq!(after(wider), [vec![CareHome], vec![CareHome]], "who is agreed for both");
        let apart: Agreements<'_> = &[(RestrictedPatient, &[CareHome]), (Objection, &[CoveringPractice])];
        assert_eq!(
            after(apart),
            [nobody, vec![CoveringPractice]],
            "nobody is agreed for both: the first is asked again"
        );
        // What was kept before agreements told their reason answers none.
        let before: Decided = serde_json::from_str(r#"{"agreed_recipients":["care-home"]}"#).expect("reads");
        assert!([RestrictedPatient, Objection].iter().all(|reason| before.agreed(*reason).is_empty()));
    }
}
