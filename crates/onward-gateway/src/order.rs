//! Versions that come in another order than they were written, or at once, and replacements that cannot be processed.
//!
//! What comes before its predecessor waits in a hold and is joined with it when that comes. What comes after its replacement, when that
//! waits no longer, goes to nobody: it would stand above what replaced it. A replacement that cannot be processed makes both versions
//! null and void (20014).

use std::sync::PoisonError;

use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::state::EndReason;
use onward_core::store::{DeliveryRecord, Ending, HoldChange, Late, StoreError, TransferRecord, Voided, Waiting};
use onward_core::{NhsNumber, OdsCode, Timestamp, TransferId};

use crate::Gateway;
use crate::holds::Decider;
use crate::lifecycle::{Heir, TakenBack};

/// Why a document is void that comes after its replacement.
const NOT_PROCESSED: &str = "what replaces it came before it and could not be processed";

impl Gateway {
    /// What is null and void because this replacement cannot be processed, with the audit rows of that: the versions before it, also
    /// where the nearest has come since and the two were not joined.
    pub(crate) async fn voided(
        &self,
        replacement: &TransferRecord,
        decider: &Decider<'_>,
    ) -> Result<(Voided, Vec<AuditRow>), StoreError> {
        let reason = "a replacement could not be processed";
        let back =
            TakenBack { agent: decider.agent.clone(), by: Some(decider.by), reason, request_id: decider.request_id };
        let joins = self.store.come_since(replacement.id).await?;
        let earlier = self.versions_before(replacement.replaces.or(joins)).await?;
        let (endings, audit) = self.ends_of(&earlier.iter().collect::<Vec<_>>(), EndReason::Void, &back).await?;
        Ok((Voided { joins, reason: reason.to_owned(), endings }, audit))
    }

    /// What became of a document with these names and this date before it came, where it was replaced before; with the ends of the
    /// versions before it and the audit rows of that.
    pub(crate) async fn come_late(
        &self,
        transfer: TransferId,
        (sender, patient): (&OdsCode, Option<&NhsNumber>),
        (named, dated): (&[String], Option<Timestamp>),
        earlier: &[TransferRecord],
    ) -> Result<Option<(Late, Vec<Ending>, Vec<AuditRow>)>, StoreError> {
        let before: Vec<TransferId> = earlier.iter().map(|record| record.id).collect();
        let Some(by) = self.store.successor(sender, named, dated, &before).await? else { return Ok(None) };
        let mut next = Some(by);
        let mut later = Vec::new();
        while let Some(id) = next {
            let Some(record) = self.store.transfer(id).await? else { return Err(StoreError::Overtaken) };
            next = record.replaced_by;
            later.push(record);
        }
        let Some(newest) = later.last() else { return Err(StoreError::Overtaken) };
        let sent = newest.copies().next().is_some();
        // While the newest is held, the one that was sent before it is what is used.
        let used = later.iter().rev().find(|record| record.copies().next().is_some());
        let (why, reason) = match (&newest.ended, &newest.not_sent) {
            (Some((EndReason::Withdrawn, _)), _) => {
                (EndReason::Withdrawn, "what replaces it came before it and was withdrawn by the hospital")
            }
            (Some((EndReason::Void, _)), _) => (EndReason::Void, NOT_PROCESSED),
            (None, Some(_)) if !sent => (EndReason::Void, NOT_PROCESSED),
            _ => (EndReason::Superseded, "what replaces it came before it: this version goes to nobody"),
        };
        let earlier_stay = newest.ended.is_none() && newest.hold.is_some() && used.is_none();
        let back = TakenBack { agent: Agent::gateway(), by: None, reason, request_id: None };
        let mut audit = vec![self.whole_row(transfer, patient, why, &back)];
        let endings = if earlier_stay {
            Vec::new()
        } else if why == EndReason::Superseded {
            let used = used.unwrap_or(newest);
            let heirs: Vec<Heir<'_>> = used.copies().filter(|copy| copy.ended.is_none()).map(Heir::from).collect();
            let endings = self.superseding(earlier, used.version, &heirs).await?;
            let copies: Vec<&DeliveryRecord> = earlier.iter().flat_map(TransferRecord::copies).collect();
            audit.extend(self.ending_rows(&endings, &copies, &back));
            endings
        } else {
            let (endings, rows) = self.ends_of(&earlier.iter().collect::<Vec<_>>(), why, &back).await?;
            audit.extend(rows);
            endings
        };
        Ok(Some((Late { by, why, reason: reason.to_owned(), earlier_stay }, endings, audit)))
    }

    /// Lets replacements go on that waited for this transfer's document. What cannot be done now is left to the person
    /// who has the hold.
    pub(crate) async fn join_waiting(&self, sender: &OdsCode, named: &[String]) {
        let waiting = match self.store.waiting(sender, named).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "replacements that wait for this document could not be looked for");
                return;
            }
        };
        for waiting in waiting {
            self.join_one(waiting).await;
        }
    }

    /// Lets a replacement go on that was just taken in, if what it replaces has come while it was.
    pub(crate) async fn join_if_come(&self, waiting: Waiting) {
        match self.store.come_since(waiting.transfer).await {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.join_one(waiting).await;
            }
            Err(error) => tracing::error!(%error, "what a replacement waits for could not be looked for"),
        }
    }

    /// Lets replacements go on whose document has come without that anybody joined the two: they came at once to two nodes, or whoever
    /// was to do it has died. Once each by this process: what holds them still is for a person.
    pub(crate) async fn join_left_over(&self) -> Result<(), StoreError> {
        let waiting = self.store.waiting_in_vain().await?;
        let tried = || self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried().retain(|hold| waiting.iter().any(|waiting| waiting.hold == *hold));
        for waiting in waiting {
            let is_new = tried().insert(waiting.hold);
            if is_new && !self.join_one(waiting).await {
                tried().remove(&waiting.hold);
            }
        }
        Ok(())
    }

    /// Joins what waits for one of these versions though it has come; whether there was any. Nothing goes on by that: each stays in its
    /// hold, which a recall can then speak to.
    pub(crate) async fn join_held(&self, line: &[TransferRecord], back: &TakenBack<'_>) -> Result<bool, StoreError> {
        let mut any = false;
        for waiting in self.store.waiting_in_vain().await? {
            let come = self.store.come_since(waiting.transfer).await?;
            let Some(before) = line.iter().find(|version| Some(version.id) == come) else { continue };
            let Some(held) = self.store.open_hold(waiting.hold).await? else { continue };
            let entry = AuditEntry {
                transfer: Some(waiting.transfer),
                patient: before.patient.clone(),
                request_id: back.request_id.map(str::to_owned),
                ..AuditEntry::new(
                    AuditWord::Hold,
                    self.clock.now(),
                    back.agent.clone(),
                    format!("{}: what it replaces has come, and is recalled", held.hold.reason),
                )
            };
            let change = HoldChange {
                hold: held.hold,
                seen: held.seen,
                joins: Some((before.id, before.version + 1)),
                decided: held.decided,
                at: self.clock.now(),
                audit: vec![self.journal.row(&entry)],
            };
            any |= self.store.change_hold(change).await?;
        }
        Ok(any)
    }

    /// Whether that was looked at, whatever came of it.
    async fn join_one(&self, waiting: Waiting) -> bool {
        match self.join(waiting.hold).await {
            Ok(released) => {
                tracing::info!(transfer = %waiting.transfer, released, "what it replaces has come");
                true
            }
            Err(error) => {
                tracing::error!(transfer = %waiting.transfer, %error, "a replacement could not be joined");
                false
            }
        }
    }
}
