//! Copies that went to somebody whom they are not for. They are taken back along the whole line of versions, and the newest
//! waits in a hold that knows whom it must not go to again.

use onward_core::audit::{AuditEntry, AuditRow, AuditWord};
use onward_core::directory::CareHome;
use onward_core::state::{EndReason, HoldReason, RecipientKind};
use onward_core::store::{
    DeliveryRecord, Ending, HoldChange, NewDelivery, NewHold, StoreError, TakeBack, TransferRecord,
};
use onward_core::{DeliveryId, HoldId, OdsCode, TransferId};

use crate::Gateway;
use crate::decision::Decided;
use crate::lifecycle::{TRIES, TakenBack, may_have_it, told};

/// Reasons for which a recall holds.
const OF_A_RECALL: [HoldReason; 4] = [
    HoldReason::CareHomeConflict,
    HoldReason::RegisteredPracticeConflict,
    HoldReason::CoveringPracticeUnknown,
    HoldReason::PharmacyUnknown,
];

/// Copies that go to whom they go to because of the home.
const FOLLOWS_FROM_HOME: [RecipientKind; 4] = [
    RecipientKind::CareHome,
    RecipientKind::CoveringPractice,
    RecipientKind::PharmacyReferral,
    RecipientKind::PharmacyNomination,
];
/// Those of them that say where the person lives: for another home they are written anew.
const NAMES_HOME: [RecipientKind; 3] =
    [RecipientKind::CareHome, RecipientKind::CoveringPractice, RecipientKind::PharmacyReferral];

/// A copy that was, or would be, recalled.
#[derive(Debug, Clone)]
pub struct RecalledCopy {
    /// The copy as it was before.
    pub copy: DeliveryRecord,
    /// Its recipient gets a notice: it may have it, or have read it or seen it on a list.
    pub told: bool,
}

/// The copies of a transfer, or one of them, and after these what the same recipients have of other versions, in the order of the line.
#[must_use]
pub fn along(line: &[TransferRecord], transfer: TransferId, only: Option<DeliveryId>) -> Vec<&DeliveryRecord> {
    let named = line.iter().filter(|version| version.id == transfer).flat_map(TransferRecord::copies);
    let named: Vec<_> = named.filter(|copy| only.is_none_or(|only| only == copy.id)).collect();
    let same = |copy: &&DeliveryRecord| {
        named.iter().any(|named| (named.kind, &named.recipient) == (copy.kind, &copy.recipient))
    };
    let others = line.iter().filter(|version| version.id != transfer).flat_map(TransferRecord::copies);
    let others: Vec<_> = others.filter(same).collect();
    named.into_iter().chain(others).collect()
}

/// Whether a transfer went to another home before.
fn has_moved(transfer: &TransferRecord, home: &OdsCode) -> bool {
    transfer.care_home.as_ref().is_some_and(|before| before != home)
}

/// Whether a recipient has what a new copy would be for, so that it is not sent.
pub(crate) fn keeps_theirs(transfer: &TransferRecord, home: &OdsCode, new: &NewDelivery) -> bool {
    let anew = has_moved(transfer, home) && NAMES_HOME.contains(&new.kind);
    let same = |old: &DeliveryRecord| (old.kind, &old.recipient) == (new.kind, &new.recipient);
    !anew && transfer.copies().any(|old| old.ended.is_none() && same(old))
}

/// The copies besides `copy` that would be taken back if the person went to this home, as far as its directory entry tells.
pub(crate) fn would_be_left(
    transfer: &TransferRecord,
    home: &CareHome,
    copy: Option<DeliveryId>,
) -> Vec<DeliveryRecord> {
    if !has_moved(transfer, &home.ods) {
        return Vec::new();
    }
    let goes_to = |kind: RecipientKind| match kind {
        RecipientKind::CareHome => Some(&home.ods),
        RecipientKind::CoveringPractice => Some(&home.covering_practice),
        RecipientKind::PharmacyReferral | RecipientKind::PharmacyNomination => Some(&home.delivering_pharmacy),
        RecipientKind::RegisteredPractice | RecipientKind::Sender => None,
    };
    let left = |old: &&DeliveryRecord| {
        Some(old.id) != copy && old.ended.is_none() && goes_to(old.kind).is_some_and(|ods| *ods != old.recipient)
    };
    transfer.copies().filter(left).cloned().collect()
}

pub(crate) fn is_recalled(copy: &DeliveryRecord) -> bool {
    copy.ended.is_some_and(|ended| ended.why == EndReason::Recalled)
}

impl Gateway {
    /// All versions of a transfer's document, the newest first; none: there is no such transfer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn line_of(&self, transfer: TransferId) -> Result<Vec<TransferRecord>, StoreError> {
        let Some(record) = self.store.transfer(transfer).await? else { return Ok(Vec::new()) };
        let (mut next, mut before) = (record.replaced_by, record.replaces);
        let mut line = vec![record];
        let strange = |line: &[TransferRecord], id: TransferId| line.iter().all(|version| version.id != id);
        while let Some(id) = next.filter(|id| strange(&line, *id)) {
            let Some(record) = self.store.transfer(id).await? else { break };
            next = record.replaced_by;
            line.insert(0, record);
        }
        while let Some(id) = before.filter(|id| strange(&line, *id)) {
            let Some(record) = self.store.transfer(id).await? else { break };
            before = record.replaces;
            line.push(record);
        }
        Ok(line)
    }

    /// Recalls copies that went to somebody whom they are not for, with what the same recipients have of other versions: they are
    /// unreadable from the commit on, and whoever may have one is told. Without `act` it only shows what would be recalled.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn recall(
        &self,
        transfer: TransferId,
        only: Option<DeliveryId>,
        back: &TakenBack<'_>,
        act: bool,
    ) -> Result<Vec<RecalledCopy>, StoreError> {
        for _ in 0..TRIES {
            match self.try_to_recall(transfer, only, back, act).await {
                // Its hold changed between the look and the commit.
                Err(StoreError::Overtaken) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Overtaken)
    }

    async fn try_to_recall(
        &self,
        transfer: TransferId,
        only: Option<DeliveryId>,
        back: &TakenBack<'_>,
        act: bool,
    ) -> Result<Vec<RecalledCopy>, StoreError> {
        let mut line = self.line_of(transfer).await?;
        if act && self.join_held(&line, back).await? {
            line = self.line_of(transfer).await?;
        }
        let mut chosen = along(&line, transfer, only);
        chosen.retain(|copy| !is_recalled(copy));
        let mut recalled = Vec::new();
        for copy in &chosen {
            let told = may_have_it(copy) || self.was_seen(copy).await?;
            recalled.push(RecalledCopy { copy: (*copy).clone(), told });
        }
        let Some(newest) = line.first().filter(|_| act && !chosen.is_empty()) else { return Ok(recalled) };
        let mut endings = Vec::new();
        for copy in &chosen {
            endings.push(self.ending(copy, EndReason::Recalled, told(EndReason::Recalled, back.reason)).await?);
        }
        let hold = match &newest.hold {
            // First the hold knows it: nothing can go there again however this ends.
            Some(hold) => {
                if !self.remember(newest, hold, &chosen, back).await? {
                    return Err(StoreError::Overtaken);
                }
                None
            }
            // What was closed without copies, and told as such, stays closed.
            None if newest.ended.is_some() || newest.not_sent.is_some() && newest.copies().next().is_none() => None,
            None => Some(self.hold_to_reroute(&line, &chosen)),
        };
        let take_back = TakeBack {
            transfer: newest.id,
            whole: None,
            joins: None,
            reason: back.reason.to_owned(),
            audit: self.ending_rows(&endings, &chosen, back),
            endings,
            hold,
            at: self.clock.now(),
        };
        let done = self.store.take_back(take_back).await?;
        self.work.notify_one();
        Ok(if done { recalled } else { Vec::new() })
    }

    /// What was decided about a transfer that replaces this one, and whom a version before it was recalled from: what names them again,
    /// document or directory, is as wrong. Whom a person decided on since, and who was sent it again since, is not among them.
    pub(crate) async fn heeding_recalls(
        &self,
        decided: &Decided,
        replaces: Option<TransferId>,
    ) -> Result<Decided, StoreError> {
        let earlier = self.versions_before(replaces).await?;
        // Who had it because of a home that was wrong may be right for another one.
        let follows = |of: &TransferRecord, copy: &DeliveryRecord| {
            !matches!(copy.kind, RecipientKind::CareHome | RecipientKind::RegisteredPractice)
                && of.copies().any(|other| other.kind == RecipientKind::CareHome && is_recalled(other))
        };
        let copies = || earlier.iter().flat_map(|of| of.copies().map(move |copy| (of, copy)));
        let has_it = |recalled: &DeliveryRecord| {
            copies().any(|(_, copy)| copy.recipient == recalled.recipient && copy.is_readable())
        };
        let mut heeding = decided.clone();
        let recalled = copies().filter(|(of, copy)| is_recalled(copy) && !follows(of, copy) && !has_it(copy));
        let recalled = recalled.map(|(_, copy)| &copy.recipient);
        let decided_on = [&decided.care_home, &decided.registered_practice];
        heeding.recalled.extend(recalled.filter(|ods| !decided_on.contains(&&Some((*ods).clone()))).cloned());
        Ok(heeding)
    }

    /// The ends of what follows from the home that a transfer went to before, now that it goes to another one. Who gets such a copy again is
    /// to use that; nobody else is to use theirs, of any version. Both are told.
    pub(crate) async fn left_behind(
        &self,
        transfer: &TransferRecord,
        earlier: &[TransferRecord],
        home: &OdsCode,
        deliveries: &[NewDelivery],
    ) -> Result<Vec<Ending>, StoreError> {
        let mut endings = Vec::new();
        let old = transfer.copies().filter(|old| old.ended.is_none() && FOLLOWS_FROM_HOME.contains(&old.kind));
        for old in old.filter(|_| has_moved(transfer, home)) {
            match deliveries.iter().find(|new| (new.kind, &new.recipient) == (old.kind, &old.recipient)) {
                // The new copy is no later version of the document: it does not say that it takes the place of this one.
                Some(new) if NAMES_HOME.contains(&old.kind) => {
                    let reason = "sent again for another care home: stop using this one".to_owned();
                    let ending = self.ending(old, EndReason::Superseded, reason).await?;
                    endings.push(Ending { by: Some(new.id), ..ending });
                }
                Some(_) => {}
                None => {
                    let same = |copy: &&DeliveryRecord| (copy.kind, &copy.recipient) == (old.kind, &old.recipient);
                    let before = earlier.iter().flat_map(TransferRecord::copies).filter(same);
                    for copy in std::iter::once(old).chain(before.filter(|copy| !is_recalled(copy))) {
                        let why = EndReason::Recalled;
                        endings.push(self.ending(copy, why, told(why, "another care home")).await?);
                    }
                }
            }
        }
        Ok(endings)
    }

    /// The hold by which a person sends a recalled transfer to the right place. What was recalled before from homes and practices that a
    /// person can name stays so.
    fn hold_to_reroute(&self, line: &[TransferRecord], recalled: &[&DeliveryRecord]) -> (NewHold, String) {
        let named = |copy: &&DeliveryRecord| {
            is_recalled(copy) && matches!(copy.kind, RecipientKind::CareHome | RecipientKind::RegisteredPractice)
        };
        let mut decided = Decided::default();
        let before = line.iter().flat_map(TransferRecord::copies).filter(named);
        decided.recalled_from(before.chain(recalled.iter().copied()).map(|copy| &copy.recipient));
        let reason = asked_for(recalled);
        let expected = line.first().and_then(|transfer| transfer.expected);
        let (owner, due) = self.settings.hold_until(reason, expected, self.clock.now());
        let hold = NewHold { id: HoldId::random(), reason, detail: detail(&decided), owner, due };
        (hold, serde_json::to_string(&decided).expect("codes and words are JSON"))
    }

    /// Keeps with an open hold whom it was recalled from meanwhile; `false` when the hold is closed.
    async fn remember(
        &self,
        transfer: &TransferRecord,
        hold: &NewHold,
        recalled: &[&DeliveryRecord],
        back: &TakenBack<'_>,
    ) -> Result<bool, StoreError> {
        let Some(held) = self.store.open_hold(hold.id).await? else { return Ok(false) };
        let mut decided: Decided =
            serde_json::from_str(&held.decided).map_err(|_| StoreError::Corrupt("holds.decided".to_owned()))?;
        decided.recalled_from(recalled.iter().map(|copy| &copy.recipient));
        let mut hold = held.hold;
        // What it is held for besides is found again by the next walk.
        if OF_A_RECALL.contains(&hold.reason) {
            let asked = asked_for(recalled);
            if asked != hold.reason && OF_A_RECALL[..2].contains(&asked) {
                let (owner, due) = self.settings.hold_until(asked, transfer.expected, self.clock.now());
                hold = NewHold { reason: asked, owner, due, ..hold };
            }
            hold.detail = detail(&decided);
        }
        let audit = vec![self.remembered_row(transfer, &hold, back)];
        let decided = serde_json::to_string(&decided).expect("codes and words are JSON");
        let (seen, at) = (held.seen, self.clock.now());
        self.store.change_hold(HoldChange { hold, seen, joins: None, decided, at, audit }).await
    }

    fn remembered_row(&self, transfer: &TransferRecord, hold: &NewHold, back: &TakenBack<'_>) -> AuditRow {
        self.journal.row(&AuditEntry {
            transfer: Some(transfer.id),
            patient: transfer.patient.clone(),
            request_id: back.request_id.map(str::to_owned),
            ..AuditEntry::new(
                AuditWord::Hold,
                self.clock.now(),
                back.agent.clone(),
                format!("{}: {}", hold.reason, hold.detail),
            )
        })
    }
}

/// What a person is asked for: the party that the others follow from.
fn asked_for(recalled: &[&DeliveryRecord]) -> HoldReason {
    let any = |kind: RecipientKind| recalled.iter().any(|copy| copy.kind == kind);
    if any(RecipientKind::CareHome) {
        HoldReason::CareHomeConflict
    } else if any(RecipientKind::RegisteredPractice) {
        HoldReason::RegisteredPracticeConflict
    } else if any(RecipientKind::CoveringPractice) {
        HoldReason::CoveringPracticeUnknown
    } else {
        HoldReason::PharmacyUnknown
    }
}

fn detail(decided: &Decided) -> String {
    let codes: Vec<&str> = decided.recalled.iter().map(OdsCode::as_str).collect();
    format!("recalled from {}: name the right party, or close it", codes.join(", "))
}
