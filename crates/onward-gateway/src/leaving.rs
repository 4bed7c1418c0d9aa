//! A person leaves the home: whoever got a copy for the stay is told, so that registrations, deliveries and visits end.

use std::collections::BTreeSet;

use jiff::civil::Date;
use onward_core::state::{Departure, EndReason, RecipientKind};
use onward_core::store::{DeliveryRecord, NewDelivery, Step, StepKind, StoreError, TransferRecord};
use onward_core::{NhsNumber, OdsCode, TransferId};
use onward_transform::render::dates;

use crate::Gateway;
use crate::lifecycle::Subject;

/// How [`told`] begins of somebody who did not leave alive.
const DIED: &str = "The person died";

/// Where somebody went, and when, in words; no name and no place.
pub(crate) fn told(to: Departure, on: Date) -> String {
    format!("{}, on {}", in_words(to), dates::fhir(&on.to_string()))
}

fn in_words(to: Departure) -> &'static str {
    match to {
        Departure::OwnHome => "To their own home",
        Departure::AnotherHome => "To another care home",
        Departure::Hospital => "To hospital",
        Departure::Elsewhere => "Elsewhere",
        Departure::Died => DIED,
    }
}

/// Where to, and what [`told`] said, without the home's own words after it; nothing where that was erased.
fn as_told(words: &str) -> Option<(Departure, &str)> {
    let to = Departure::ALL.iter().copied().find(|to| words.starts_with(in_words(*to)))?;
    Some((to, words.split(". ").next().unwrap_or(words)))
}

/// Who told that the person has left the home, if they have.
#[must_use]
pub fn left(steps: &[Step]) -> Option<&Step> {
    let moved = |step: &&Step| matches!(step.kind, StepKind::Left | StepKind::Arrived);
    // Whoever came again has not left.
    steps.iter().rev().find(moved).filter(|step| step.kind == StepKind::Left)
}

/// What was told when the person left the home, if they did; empty once that was erased.
#[must_use]
pub fn told_before(steps: &[Step]) -> Option<&str> {
    left(steps).map(|step| step.text.as_deref().unwrap_or_default())
}

/// Where to and when, of what [`told_before`] gives: without what the home wrote for the hospital. Nothing where that was erased.
#[must_use]
pub fn whither(told: &str) -> Option<&str> {
    as_told(told).map(|(_, words)| words)
}

/// In a few words what [`told`] begins with: `Left on 3 August 2026`, `Died on 3 August 2026`.
#[must_use]
pub fn in_short(told: &str) -> String {
    let word = if told.starts_with(DIED) { "Died" } else { "Left" };
    match told.split_once(", on ") {
        Some((_, rest)) => format!("{word} on {}", rest.split('.').next().unwrap_or(rest)),
        None => word.to_owned(),
    }
}

impl Gateway {
    /// A notice for each practice and pharmacy that got a copy of the same transfer, once each. Whose copy was taken back is
    /// not told about the person any further.
    pub(crate) async fn leaving_notices(
        &self,
        of_home: &DeliveryRecord,
        to: Departure,
        on: Date,
    ) -> Result<Vec<NewDelivery>, StoreError> {
        let Some(transfer) = self.store.transfer(of_home.transfer).await? else { return Ok(Vec::new()) };
        let reason = format!("{}. The care home {} told so.", told(to, on), of_home.recipient_name);
        let mut seen = BTreeSet::new();
        let mut notices = Vec::new();
        for copy in transfer.copies().filter(|copy| copy.kind != RecipientKind::CareHome && copy.ended.is_none()) {
            if seen.insert(&copy.recipient) {
                notices.push(self.notice(copy, EndReason::LeftHome, &reason, Some(to)).await?);
            }
        }
        Ok(notices)
    }

    /// The same for whoever gets a later version, where the home told with an earlier one that the person has left: their copy would ask
    /// them to care for a stay that is over. `copies` are those of the later version, of which none is in the store yet.
    pub(crate) async fn leaving_told_before(
        &self,
        transfer: TransferId,
        sender: &OdsCode,
        patient: Option<&NhsNumber>,
        earlier: &[TransferRecord],
        copies: &[NewDelivery],
    ) -> Result<Vec<NewDelivery>, StoreError> {
        // A corrected version may name another person, of whom nothing was told.
        let same_person = |copy: &DeliveryRecord| patient.is_some() && copy.patient.as_ref() == patient;
        let of_home =
            |copy: &&DeliveryRecord| copy.kind == RecipientKind::CareHome && copy.ended.is_none() && same_person(copy);
        let stays = copies.iter().filter(|copy| copy.kind == RecipientKind::CareHome);
        let stays: BTreeSet<&OdsCode> = stays.map(|copy| &copy.recipient).collect();
        let olds: Vec<_> = earlier.iter().flat_map(TransferRecord::copies).filter(of_home).collect();
        for old in olds.iter().filter(|old| stays.contains(&old.recipient)) {
            let mut steps = self.store.steps(old.id).await?;
            // The store gives those of all versions.
            steps.retain(|step| olds.iter().any(|old| old.id == step.delivery));
            let Some((to, reason)) = told_before(&steps).and_then(as_told) else { continue };
            let reason = format!("{reason}. The care home {} told so.", old.recipient_name);
            let mut seen = BTreeSet::new();
            let others = copies.iter().filter(|copy| copy.kind != RecipientKind::CareHome && copy.notice.is_none());
            return others
                .filter(|copy| seen.insert(&copy.recipient))
                .map(|copy| {
                    let subject = Subject::of_new(transfer, sender, patient, copy, self.clock.now());
                    self.notice_of(&subject, EndReason::LeftHome, &reason, Some(to))
                })
                .collect();
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use onward_core::DeliveryId;

    use super::*;

    #[test]
    fn whoever_came_again_has_not_left() {
        let step = |kind| Step {
            delivery: DeliveryId::random(),
            kind,
            at: onward_core::Timestamp::UNIX_EPOCH,
            user: String::new(),
            name: String::new(),
            item: None,
            outcome: None,
            text: Some("told".to_owned()),
        };
        let [arrived, left, again] = [StepKind::Arrived, StepKind::Left, StepKind::Arrived].map(step);
        assert_eq!(told_before(&[arrived.clone(), left.clone()]), Some("told"));
        assert_eq!(told_before(&[arrived, left, again]), None);
    }

    #[test]
    fn what_was_told_is_told_in_short() {
        let on = jiff::civil::date(2026, 8, 3);
        let words = format!("{}. She went, on foot. Thank you", told(Departure::OwnHome, on));
        assert_eq!(in_short(&words), "Left on 3 August 2026");
        assert_eq!(in_short(&told(Departure::Died, on)), "Died on 3 August 2026");
        assert_eq!(in_short(""), "Left", "erased");
        let plain = told(Departure::OwnHome, on);
        assert_eq!(as_told(&words), Some((Departure::OwnHome, plain.as_str())), "not what she wrote for the hospital");
        assert_eq!(as_told(&plain), Some((Departure::OwnHome, plain.as_str())));
        assert_eq!((whither(&words), whither("")), (Some(plain.as_str()), None));
        assert_eq!(as_told(""), None, "erased");
        for to in Departure::ALL {
            assert_eq!(as_told(&told(*to, on)).map(|told| told.0), Some(*to));
        }
    }
}
