//! The hospital's own list of discharges against what was received, delivered and read: what is missing is a person's work.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{Changed, DeliveryRecord, FoundTask, StoreError, TaskQuery, TransferRecord};
use onward_core::{NhsNumber, OdsCode, TransferId};

use crate::Gateway;

/// A message may come so long before the discharge that it is about.
const AHEAD: SignedDuration = SignedDuration::from_hours(48);
/// Transfers that are looked at for one discharge at most.
const TRANSFERS_MAX: u32 = 200;
/// Transfers read at once, where all of a time are.
const PAGE: u32 = 500;

/// One discharge of the list. Its time is a moment, or a whole day where the list tells no more.
#[derive(Clone)]
pub struct Discharge {
    /// Who was discharged.
    pub patient: NhsNumber,
    /// Not before this.
    pub from: Timestamp,
    /// Not after this.
    pub until: Timestamp,
}

/// How far the message about a discharge has come. The first that fits is told, and all but the last are work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing about it came.
    NotReceived,
    /// It waits for a decision.
    Held,
    /// A person ended it without sending anything.
    NotSent,
    /// The hospital took it back.
    Withdrawn,
    /// A copy failed for good.
    Failed,
    /// A copy has not left yet.
    NotDelivered,
    /// A recipient declined it.
    Declined,
    /// The home, or whoever receives where there is none, has not read it.
    NotRead,
    /// It was read.
    Read,
}

impl Progress {
    /// The word for lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReceived => "not-received",
            Self::Held => "held",
            Self::NotSent => "not-sent",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
            Self::NotDelivered => "not-delivered",
            Self::Declined => "declined",
            Self::NotRead => "not-read",
            Self::Read => "read",
        }
    }

    /// How far a transfer has come, and the recipients whose copies are why; for a hold, its reason and who decides.
    #[must_use]
    pub fn of(transfer: &TransferRecord) -> (Self, String) {
        if let Some(hold) = &transfer.hold {
            return (Self::Held, format!("{}: {}", hold.reason, hold.owner));
        }
        if transfer.not_sent.is_some() {
            return (Self::NotSent, String::new());
        }
        if transfer.ended.is_some() {
            return (Self::Withdrawn, String::new());
        }
        let reader = |copy: &&DeliveryRecord| copy.kind == RecipientKind::CareHome;
        let has_home = transfer.copies().any(|copy| reader(&copy));
        let unread = |copy: &DeliveryRecord| {
            let done = copy.opened.is_some() || copy.state.is_acknowledged() || copy.state == DeliveryState::Withdrawn;
            !done && (reader(&copy) || !has_home)
        };
        for (progress, fits) in [
            (
                Self::Failed,
                &(|copy: &DeliveryRecord| copy.state == DeliveryState::Failed) as &dyn Fn(&DeliveryRecord) -> bool,
            ),
            (Self::NotDelivered, &|copy: &DeliveryRecord| copy.state == DeliveryState::Queued),
            (Self::Declined, &|copy: &DeliveryRecord| copy.state == DeliveryState::Rejected),
            (Self::NotRead, &unread),
        ] {
            let whose: Vec<_> = transfer
                .copies()
                .filter(|copy| fits(copy))
                .map(|copy| format!("{} {}", copy.kind, copy.recipient))
                .collect();
            if !whose.is_empty() {
                return (progress, whose.join(", "));
            }
        }
        (Self::Read, String::new())
    }
}

/// What was found about a discharge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// How far it has come.
    pub progress: Progress,
    /// Whose copies are why; codes only.
    pub detail: String,
    /// The transfer.
    pub transfer: Option<TransferId>,
    /// When it came.
    pub received: Option<Timestamp>,
}

impl Reconciled {
    /// Nothing came.
    fn nothing() -> Self {
        Self { progress: Progress::NotReceived, detail: String::new(), transfer: None, received: None }
    }

    /// This came.
    fn of(transfer: &TransferRecord) -> Self {
        let (progress, detail) = Progress::of(transfer);
        Self { progress, detail, transfer: Some(transfer.id), received: Some(transfer.received) }
    }
}

/// One comparison. A transfer stands for one discharge.
pub struct Reconciliation<'g> {
    gateway: &'g Gateway,
    sender: OdsCode,
    within: SignedDuration,
    agent: Agent,
    used: BTreeSet<TransferId>,
}

impl Gateway {
    /// Begins to compare a list of this hospital's; a message may come so long after its discharge.
    #[must_use]
    pub fn reconcile(&self, sender: OdsCode, within: SignedDuration, agent: Agent) -> Reconciliation<'_> {
        Reconciliation { gateway: self, sender, within, agent, used: BTreeSet::new() }
    }
}

impl Reconciliation<'_> {
    /// What was found about these discharges, in their order. Each person about whom something is told is in the audit log before
    /// it is.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn find(&mut self, discharges: &[Discharge]) -> Result<Vec<Reconciled>, StoreError> {
        let mut found = Vec::with_capacity(discharges.len());
        let mut audit = Vec::new();
        for discharge in discharges {
            // That nothing came about somebody is told about them, too.
            let transfer = self.transfer_of(discharge).await?;
            self.used.extend(transfer.as_ref().map(|transfer| transfer.id));
            let one = transfer.as_ref().map_or_else(Reconciled::nothing, Reconciled::of);
            audit.push(self.row(&one, Some(discharge.patient.clone())));
            found.push(one);
        }
        if !audit.is_empty() {
            self.gateway.store.audit(audit).await?;
        }
        Ok(found)
    }

    fn row(&self, one: &Reconciled, patient: Option<NhsNumber>) -> AuditRow {
        self.gateway.journal.row(&AuditEntry {
            transfer: one.transfer,
            patient,
            ..self.entry(format!("a list of discharges was compared: {}", one.progress.as_str()))
        })
    }

    /// The hospital's transfers that came in this time and that no discharge of the list stands for; each is in the audit log before it is
    /// told.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn unlisted(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Reconciled>, StoreError> {
        let mut unlisted = Vec::new();
        let mut after = Some((from, uuid::Uuid::nil()));
        loop {
            let query = TaskQuery {
                transfers: true,
                sender: Some(self.sender.clone()),
                after,
                limit: PAGE,
                ..TaskQuery::default()
            };
            let page = self.gateway.store.tasks(query).await?;
            after = page.last().map(FoundTask::place);
            let last = page.len() < PAGE as usize || page.last().is_some_and(|task| task.place().0 > until);
            let mut audit = Vec::new();
            for task in page {
                let FoundTask::Transfer(transfer) = task else { continue };
                if transfer.received <= until && transfer.replaced_by.is_none() && !self.used.contains(&transfer.id) {
                    let one = Reconciled::of(&transfer);
                    audit.push(self.row(&one, transfer.patient));
                    unlisted.push(one);
                }
            }
            if !audit.is_empty() {
                self.gateway.store.audit(audit).await?;
            }
            if last {
                return Ok(unlisted);
            }
        }
    }

    /// Commits that the list was compared, and what came of it.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn conclude(&self, summary: &str) -> Result<(), StoreError> {
        let entry = self.entry(format!("a list of discharges of {} was compared: {summary}", self.sender));
        self.gateway.store.audit(vec![self.gateway.journal.row(&entry)]).await
    }

    fn entry(&self, detail: String) -> AuditEntry {
        AuditEntry::new(AuditWord::Query, self.gateway.clock.now(), self.agent.clone(), detail)
    }

    /// The newest version of the message that is nearest in time, and that no other discharge stands for.
    async fn transfer_of(&self, discharge: &Discharge) -> Result<Option<TransferRecord>, StoreError> {
        let earliest = discharge.from.checked_sub(AHEAD).unwrap_or(Timestamp::MIN);
        let latest = discharge.until.checked_add(self.within).unwrap_or(Timestamp::MAX);
        let query = TaskQuery {
            transfers: true,
            sender: Some(self.sender.clone()),
            patient: Some(discharge.patient.clone()),
            changed: vec![Changed::Within { from: Some(earliest), until: None }],
            limit: TRANSFERS_MAX,
            ..TaskQuery::default()
        };
        let away = |at: Timestamp| {
            let (before, after) = (discharge.from.duration_since(at), at.duration_since(discharge.until));
            before.max(after).max(SignedDuration::ZERO)
        };
        let candidates = self.gateway.store.tasks(query).await?.into_iter().filter_map(|task| match task {
            FoundTask::Transfer(transfer) => Some(*transfer),
            FoundTask::Copy(_) => None,
        });
        Ok(candidates
            .filter(|transfer| transfer.replaced_by.is_none() && !self.used.contains(&transfer.id))
            .filter_map(|transfer| {
                // A correction comes later than its first version: what the document says counts where it says something.
                let distance = match transfer.expected.map(away) {
                    Some(distance) if distance <= AHEAD => distance,
                    _ if (earliest..=latest).contains(&transfer.received) => away(transfer.received),
                    _ => return None,
                };
                Some((distance, transfer))
            })
            .min_by_key(|(distance, transfer)| (*distance, transfer.received))
            .map(|(_, transfer)| transfer))
    }
}
