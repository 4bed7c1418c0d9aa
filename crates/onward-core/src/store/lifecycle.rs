//! What becomes of transfers after they were accepted: later versions, copies that are taken back, pauses.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeliveryRecord, Lease, NewDelivery, NewHold};
use crate::audit::AuditRow;
use crate::directory::{Endpoint, Hub};
use crate::state::EndReason;
use crate::{DeliveryId, HoldId, NhsNumber, OdsCode, TransferId};

/// A transfer that a later document names as the one it replaces. Its `Debug` names the transfer only.
#[derive(Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// The transfer.
    pub transfer: TransferId,
    /// Its place among the versions of its document, from 1.
    pub version: u32,
    /// The date that its document bears.
    pub dated: Option<Timestamp>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// The transfer that replaced it.
    pub replaced_by: Option<TransferId>,
}

impl fmt::Debug for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predecessor").field("transfer", &self.transfer).finish_non_exhaustive()
    }
}

/// The end of one copy that is still its recipient's.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The copy.
    pub delivery: DeliveryId,
    /// Why.
    pub why: EndReason,
    /// The same recipient's copy of the version that takes its place.
    pub by: Option<DeliveryId>,
    /// What the recipient is told; no patient data.
    pub reason: String,
    /// The recipient's people have seen it on a list, which says whom it is about.
    pub seen: bool,
    /// The notice to queue if the copy, or its content, may have reached the recipient, or was `seen`. Of the copies that end in one commit it is that
    /// of the first for each recipient, kind and address: whoever got several versions is told once.
    pub notice: Option<NewDelivery>,
    /// Where the copy went; none where nobody is told of it.
    pub went: Option<Went>,
}

impl Ending {
    /// Whether the copy's own address is this one, as far as anybody has read it.
    #[must_use]
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.went.as_ref().is_some_and(|went| went.endpoint == *endpoint)
    }
}

/// Where a copy that ends went, as it was read: the end is refused ([`super::StoreError::Overtaken`]) where that has changed since.
#[derive(Debug, Clone)]
pub struct Went {
    /// Its address.
    pub endpoint: Endpoint,
    /// Whether there was an attempt to send it there.
    pub attempted: bool,
    /// How many addresses it had before ([`super::ResendStore::former_addresses`]).
    pub former: usize,
    /// The notices to addresses besides that of [`Ending::notice`], to which it was sent and where it may be. They wait for nothing else that goes to
    /// the recipient.
    pub notices: Vec<NewDelivery>,
}

/// What becomes of a transfer that comes after what replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The transfer that replaces it: that was delivered, closed, withdrawn, or replaced itself.
    pub by: TransferId,
    /// How it ends.
    pub why: EndReason,
    /// What its sender is told; no patient data.
    pub reason: String,
    /// The newest version is held: those before this one stay in use until it goes on.
    pub earlier_stay: bool,
}

/// The versions before a replacement that cannot be processed, which are null and void with it.
#[derive(Debug, Clone)]
pub struct Voided {
    /// The nearest of them, where that had not come before the replacement and has come since.
    pub joins: Option<TransferId>,
    /// Why; no patient data.
    pub reason: String,
    /// The ends of all their copies that can still be read.
    pub endings: Vec<Ending>,
}

/// Copies that are taken back, or a whole transfer.
#[derive(Debug, Clone)]
pub struct TakeBack {
    /// The transfer.
    pub transfer: TransferId,
    /// The transfer itself ends, with its hold and every version before it, and `endings` are all copies of them that can still be
    /// read; else only those listed end.
    pub whole: Option<EndReason>,
    /// Where all of it ends: the transfer that it replaces, where that came after it and the two were not joined.
    pub joins: Option<TransferId>,
    /// Why; no patient data.
    pub reason: String,
    /// The copies.
    pub endings: Vec<Ending>,
    /// The hold that lets a person send it to the right place, with what has been decided (JSON).
    pub hold: Option<(NewHold, String)>,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A copy that tells of another copy's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The copy that ended.
    pub of: DeliveryId,
    /// Why.
    pub why: EndReason,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub why: EndReason,
    /// The same recipient's copy of the version that took its place.
    pub by: Option<DeliveryId>,
}

/// What may be leased.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The present moment.
    pub now: Timestamp,
    /// Until when a leased copy is the claimer's.
    pub lease_until: Timestamp,
    /// At most so many.
    pub limit: u32,
    /// Nothing for these endpoints: they do not answer at present.
    pub except: Vec<Endpoint>,
    /// Nothing for any endpoint behind these: there is no place for it.
    pub full: Vec<Hub>,
    /// Only for this endpoint.
    pub only: Option<Endpoint>,
    /// What is audited of each lease, in the transaction that leases: before a byte can leave.
    pub intent: Intent,
    /// What is audited of each due copy that cannot be read and is left to a person instead of being leased, in the same transaction. It tells
    /// something of every one ([`Telling::or`]): none is left to a person without an entry.
    pub parking: Parking,
}

/// A due copy that cannot be read, as far as it can: never any of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// It; none where its identifier is what cannot be read.
    pub delivery: Option<DeliveryId>,
    /// Its transfer.
    pub transfer: Option<TransferId>,
    /// Its recipient.
    pub recipient: Option<OdsCode>,
    /// Why, as its record tells: the place by table and column, never what stands there.
    pub reason: String,
}

/// The audit rows that say what a lease is about to be used for.
pub type Intent = Telling<Lease>;
/// The audit rows that say that a copy is left to a person.
pub type Parking = Telling<Parked>;

type Rule<T> = dyn Fn(&T) -> Vec<AuditRow> + Send + Sync;

/// The audit rows of what happens to a copy within a claim.
pub struct Telling<T> {
    rule: Arc<Rule<T>>,
    otherwise: Option<Arc<Rule<T>>>,
}

impl<T> Telling<T> {
    /// Rows by this rule.
    pub fn new(rule: impl Fn(&T) -> Vec<AuditRow> + Send + Sync + 'static) -> Self {
        Self { rule: Arc::new(rule), otherwise: None }
    }

    /// Where the rule panics, rows by this one, which says less.
    #[must_use]
    pub fn or(self, otherwise: impl Fn(&T) -> Vec<AuditRow> + Send + Sync + 'static) -> Self {
        Self { otherwise: Some(Arc::new(otherwise)), ..self }
    }

    /// For what sends nothing about a person.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| Vec::new())
    }

    /// The rows of this copy; `None` where every rule panics. It reads what is stored of one copy, and that must not end the claim of the
    /// others, which would be claimed together with it again and again.
    #[must_use]
    pub fn rows(&self, copy: &T) -> Option<Vec<AuditRow>> {
        let by = |rule: &Arc<Rule<T>>| catch_unwind(AssertUnwindSafe(|| rule(copy))).ok();
        by(&self.rule).or_else(|| self.otherwise.as_ref().and_then(by))
    }
}

impl<T> Clone for Telling<T> {
    fn clone(&self) -> Self {
        Self { rule: Arc::clone(&self.rule), otherwise: self.otherwise.clone() }
    }
}

impl<T> fmt::Debug for Telling<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telling")
    }
}

impl Claim {
    /// Whatever is due, with nothing audited of it: for what sends nothing.
    #[must_use]
    pub fn due(now: Timestamp, lease_until: Timestamp, limit: u32) -> Self {
        let (except, full) = (Vec::new(), Vec::new());
        let (intent, parking) = (Intent::none(), Parking::none());
        Self { now, lease_until, limit, except, full, only: None, intent, parking }
    }
}

/// What may be placed into inboxes.
#[derive(Debug, Clone)]
pub struct Placing {
    /// The present moment.
    pub now: Timestamp,
    /// At most so many.
    pub limit: u32,
    /// What is audited of each copy that is placed, in the transaction that places it.
    pub told: Telling<DeliveryRecord>,
}

/// Leases that are to last longer, for their copies are still being sent.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The present moment.
    pub now: Timestamp,
    /// Until when they are their holder's now.
    pub lease_until: Timestamp,
    /// The copies, with the tokens of their leases.
    pub held: Vec<(DeliveryId, u64)>,
}

/// A copy that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// It.
    pub delivery: DeliveryId,
    /// Its recipient.
    pub recipient: OdsCode,
    /// Since when.
    pub queued: Timestamp,
}

/// A copy that is left to a person although nobody has just tried to send it.
#[derive(Debug, Clone)]
pub struct GivenUp {
    /// It.
    pub delivery: DeliveryId,
    /// Its version.
    pub expected_version: u64,
    /// Why; no patient data.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A recipient, or everybody, to whom nothing is sent until a person says so. Nothing is discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The recipient; none means everybody.
    pub recipient: Option<OdsCode>,
    /// Why; no patient data.
    pub reason: String,
    /// Who paused it, by name.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// A held transfer that waits for the version that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its hold.
    pub hold: HoldId,
    /// The transfer.
    pub transfer: TransferId,
}

/// What does not add up in the store, and where. Texts name identifiers of ours and columns, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// The rule that is broken.
    pub rule: &'static str,
    /// How many rows break it.
    pub count: u64,
    /// The first of them.
    pub example: String,
}

/// The whole store, counted and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// Messages that were accepted, as the audit log tells it: what the rows of transfers are held against.
    pub accepted: u64,
    /// Transfers whose every copy left, or was placed for its recipient.
    pub delivered: u64,
    /// Transfers with a copy that waits for its turn or its next attempt.
    pub pending: u64,
    /// Transfers that wait for a person: held, or with a copy that is dead ([`super::DeliveryRecord::is_dead`]).
    pub parked: u64,
    /// Transfers that were ended: withdrawn, replaced, or closed without being sent; and those with a copy that did not arrive and that a
    /// person has closed, where nothing waits any more.
    pub ended: u64,
    /// Copies.
    pub copies: u64,
    /// Audit entries.
    pub audit: u64,
    /// What is wrong; empty when everything adds up.
    pub flaws: Vec<Flaw>,
}
