//! A transfer goes to another party: one operator asks, another decides, and only then is anything recalled or sent.

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::directory::DirectoryEntry;
use onward_core::store::{Approval, ApprovalKind, DeliveryRecord, StoreError, TransferRecord, Verdict};
use onward_core::{ApprovalId, DeliveryId, HoldId, OdsCode, TransferId};
use serde::{Deserialize, Serialize};

use crate::Gateway;
use crate::attend::Attendant;
use crate::holds::{Choice, Decider, Released};
use crate::lifecycle::TakenBack;
use crate::recall::would_be_left;

/// For so long a second person can decide.
const OPEN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// What was granted is carried out at once; so long after, whatever was about to do it does not do it any more.
const BROKE_OFF: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// What is to go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The transfer.
    pub transfer: TransferId,
    /// The copy that is taken back first; none where the transfer waits in a hold.
    pub delivery: Option<DeliveryId>,
    /// The home that the person goes to.
    pub care_home: Option<OdsCode>,
    /// The person's own practice.
    pub registered_practice: Option<OdsCode>,
}

impl Redirect {
    /// What an approval is about; `None` when it is about something else.
    #[must_use]
    pub fn of(approval: &Approval) -> Option<Self> {
        let is_redirect = approval.kind == ApprovalKind::Redirect;
        serde_json::from_str(&approval.subject).ok().filter(|_| is_redirect)
    }

    /// The new party, as `care home VMH02`.
    #[must_use]
    pub fn to(&self) -> String {
        let home = self.care_home.as_ref().map(|ods| format!("care home {ods}"));
        let practice = self.registered_practice.as_ref().map(|ods| format!("registered practice {ods}"));
        home.into_iter().chain(practice).collect::<Vec<_>>().join(" and ")
    }
}

/// What became of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A second person can decide now.
    Kept(ApprovalId),
    /// There is no such transfer or copy, or nothing of it can be redirected.
    NotFound,
    /// The directory does not know this party.
    UnknownParty(OdsCode),
}

/// What became of the second person's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirected {
    /// Refused; nothing was changed.
    Refused,
    /// Granted, and this came of it.
    Granted(Released),
    /// There is no such open request, or it is one's own.
    NotYours,
}

/// What a second person must see before deciding; whom it is about is not among it.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Who asked, when and why, and what came of it.
    pub approval: Approval,
    /// What is to go where.
    pub redirect: Redirect,
    /// The transfer with its copies.
    pub transfer: TransferRecord,
    /// The copies that are taken back as well, because they follow from the home that it went to.
    pub also: Vec<DeliveryRecord>,
    /// The new parties: code, and name where the directory has one.
    pub parties: Vec<(OdsCode, String)>,
}

impl Wish {
    /// The copy that is taken back first, where there is one.
    #[must_use]
    pub fn copy(&self) -> Option<&DeliveryRecord> {
        self.transfer.copies().find(|copy| Some(copy.id) == self.redirect.delivery)
    }
}

impl Gateway {
    /// What a request asks for, and the look audited; `None`: there is no such request.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn look_at_wish(&self, who: &Attendant, id: ApprovalId) -> Result<Option<Wish>, StoreError> {
        let Some(approval) = self.store.approval(id).await? else { return Ok(None) };
        let Some(redirect) = Redirect::of(&approval) else { return Ok(None) };
        let Some(transfer) = self.store.transfer(redirect.transfer).await? else { return Ok(None) };
        let (mut parties, mut also) = (Vec::new(), Vec::new());
        for party in redirect.care_home.iter().chain(&redirect.registered_practice) {
            let entry = self.store.directory_entry(party).await?;
            if let Some(DirectoryEntry::CareHome(home)) =
                entry.as_ref().filter(|_| redirect.care_home.as_ref() == Some(party))
            {
                also = would_be_left(&transfer, home, redirect.delivery);
            }
            parties.push((party.clone(), entry.map(|entry| entry.name().to_owned()).unwrap_or_default()));
        }
        self.note_look(who, redirect.transfer, redirect.delivery, transfer.patient.clone()).await?;
        Ok(Some(Wish { approval, redirect, transfer, also, parties }))
    }

    /// Keeps the wish to send a transfer to another party.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn ask_redirect(&self, who: &Attendant, redirect: &Redirect, reason: &str) -> Result<Asked, StoreError> {
        let Some(transfer) = self.store.transfer(redirect.transfer).await? else { return Ok(Asked::NotFound) };
        let there = match redirect.delivery {
            Some(id) => transfer.copies().any(|copy| copy.id == id && copy.ended.is_none()),
            None => transfer.hold.is_some(),
        };
        if !there || redirect.to().is_empty() {
            return Ok(Asked::NotFound);
        }
        for party in redirect.care_home.iter().chain(&redirect.registered_practice) {
            if self.store.directory_entry(party).await?.is_none() {
                return Ok(Asked::UnknownParty(party.clone()));
            }
        }
        let now = self.clock.now();
        let approval = Approval {
            id: ApprovalId::random(),
            kind: ApprovalKind::Redirect,
            subject: serde_json::to_string(redirect).expect("codes and identifiers are JSON"),
            organisation: self.settings.own_ods.clone(),
            asked_by: who.user.clone(),
            asked_name: who.name.clone(),
            reason: reason.to_owned(),
            asked: now,
            expires: now + OPEN,
            verdict: None,
        };
        let id = approval.id;
        let detail = format!("redirect to {} asked for: {reason}", redirect.to());
        let row = self.journal.row(&AuditEntry {
            transfer: Some(redirect.transfer),
            delivery: redirect.delivery,
            patient: transfer.patient,
            request_id: who.request_id.clone(),
            ..AuditEntry::new(AuditWord::Release, now, who.agent.clone(), detail)
        });
        self.store.ask_approval(approval, vec![row]).await?;
        Ok(Asked::Kept(id))
    }

    /// The second person decides; granted, the copy is recalled where there is one, and the transfer goes to the new party.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn decide_redirect(
        &self,
        who: &Attendant,
        id: ApprovalId,
        granted: bool,
    ) -> Result<Redirected, StoreError> {
        let Some(approval) = self.store.approval(id).await? else { return Ok(Redirected::NotYours) };
        let Some(redirect) = Redirect::of(&approval) else { return Ok(Redirected::NotYours) };
        let now = self.clock.now();
        let verdict = Verdict { by: who.user.clone(), name: who.name.clone(), at: now, granted };
        let word = if granted { "granted" } else { "refused" };
        let detail =
            format!("redirect to {} {word}, asked for by {}: {}", redirect.to(), approval.asked_name, approval.reason);
        let row = self.journal.row(&AuditEntry {
            transfer: Some(redirect.transfer),
            delivery: redirect.delivery,
            patient: self.store.transfer(redirect.transfer).await?.and_then(|transfer| transfer.patient),
            request_id: who.request_id.clone(),
            ..AuditEntry::new(AuditWord::Release, now, who.agent.clone(), detail)
        });
        if !self.store.decide_approval(id, verdict, vec![row]).await? {
            return Ok(Redirected::NotYours);
        }
        if !granted {
            return Ok(Redirected::Refused);
        }
        let by = format!("{} and {}", approval.asked_name, who.name);
        let request_id = who.request_id.as_deref();
        let decider = Decider { agent: who.agent.clone(), by: &by, reason: &approval.reason, act: true, request_id };
        Ok(Redirected::Granted(self.carry_out(redirect, &decider).await?))
    }

    /// Takes the copy back where there is one, and sends the transfer to the new party.
    async fn carry_out(&self, redirect: Redirect, decider: &Decider<'_>) -> Result<Released, StoreError> {
        let Redirect { transfer, delivery, care_home, registered_practice } = redirect;
        if let Some(delivery) = delivery {
            let back = TakenBack {
                agent: decider.agent.clone(),
                by: Some(decider.by),
                reason: decider.reason,
                request_id: decider.request_id,
            };
            self.recall(transfer, Some(delivery), &back, true).await?;
        }
        let Some(hold) = self.hold_of(transfer).await? else { return Ok(Released::NotFound) };
        self.release(hold, Choice::Reroute { care_home, registered_practice }, decider).await
    }

    /// Carries out what was granted where the node that was about to do it died before it took the copy back. Where it died later, the
    /// transfer waits in a hold, as after every recall.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(crate) async fn carry_out_granted(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for approval in self.store.approvals(ApprovalKind::Redirect, None, now).await? {
            let granted = approval.verdict.as_ref().filter(|verdict| verdict.granted && verdict.at + BROKE_OFF <= now);
            let (Some(verdict), Some(redirect)) = (granted, Redirect::of(&approval)) else { continue };
            let Some(delivery) = redirect.delivery else { continue };
            if self.store.delivery(delivery).await?.is_none_or(|copy| copy.ended.is_some()) {
                continue;
            }
            let by = format!("{} and {}", approval.asked_name, verdict.name);
            let decider =
                Decider { agent: Agent::gateway(), by: &by, reason: &approval.reason, act: true, request_id: None };
            if let Err(error) = self.carry_out(redirect, &decider).await {
                tracing::error!(%error, "a granted redirect could not be carried out");
            }
        }
        Ok(())
    }

    /// The hold in which a transfer waits, or its newest version.
    async fn hold_of(&self, transfer: TransferId) -> Result<Option<HoldId>, StoreError> {
        let line = self.line_of(transfer).await?;
        Ok(line.first().and_then(|newest| newest.hold.as_ref()).map(|hold| hold.id))
    }
}
