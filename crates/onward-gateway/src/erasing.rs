//! A person's data destroyed on the word of two leads of one organisation, and the orders that forbid it. Each act is an entry of
//! the same commit. Who runs the gateway has the same by `onward erase` and `onward legal-hold`, for whatever concerns several.

use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditRow, AuditWord, FoundAudit};
use onward_core::store::{
    ErasureConfirmation, ErasureGround, ErasureOutcome, ErasureRequest, LegalHold, LegalHoldOrder, Lifted,
    PendingErasure, StoreError, by_account, who_is_named,
};
use onward_core::{NhsNumber, OdsCode, Timestamp};
use uuid::Uuid;

use crate::Gateway;
use crate::attend::Attendant;
use crate::explore::{Inquiry, everything, told};
use crate::sightings::all;

/// What became of a wish to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedErasure {
    /// It is kept, and another lead must confirm it.
    Kept,
    /// The organisation neither sent nor was sent anything about this person.
    Nothing,
    /// It is not for this organisation alone to decide: another one sent something about this person, which the same key opens.
    NotAlone,
}

/// A request of the organisation that waits for another of its leads.
#[derive(Debug, Clone)]
pub struct OpenErasure {
    /// The request, and what it would destroy.
    pub pending: PendingErasure,
    /// The person's name who asked.
    pub by: String,
    patient: NhsNumber,
}

impl OpenErasure {
    /// Whether it can be confirmed no longer.
    #[must_use]
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        now >= self.pending.request.lapses()
    }

    /// Whether this account asked for it.
    #[must_use]
    pub fn asked_by(&self, account: &str) -> bool {
        is_account(&self.pending.request.by, account)
    }
}

/// An order of the organisation.
#[derive(Debug, Clone)]
pub struct OwnHold {
    /// The order.
    pub hold: LegalHold,
    /// The person's name who placed it.
    pub by: String,
}

impl OwnHold {
    /// Whether this account placed it.
    #[must_use]
    pub fn placed_by(&self, account: &str) -> bool {
        is_account(&self.hold.order.by, account)
    }
}

/// What became of a second person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The store has decided.
    Decided(ErasureOutcome),
    /// The number that was written is not that of the person whom the request is about.
    AnotherPerson,
}

/// How the entry of a request begins, by which it is found again.
#[must_use]
pub fn requested(id: Uuid) -> String {
    format!("erasure {id} requested by ")
}

/// What the log says of a request.
#[must_use]
pub fn request_told(request: &ErasureRequest) -> String {
    let lapses = request.lapses().strftime("%Y-%m-%dT%H:%MZ");
    format!("{}{}, open until {lapses}: {}, {}", requested(request.id), request.by, request.ground, request.reason)
}

/// What the log says of a second word that did not count.
#[must_use]
pub fn not_confirmed(request: Uuid, by: &str, why: &str) -> String {
    format!("erasure {request} not confirmed by {by}: {why}")
}

/// What the log says of a request that is taken back.
#[must_use]
pub fn refused(request: Uuid, by: &str, reason: &str) -> String {
    format!("erasure {request} refused by {by}: {reason}")
}

/// Why a second word did not count, as the log says it; none where it did, or where there was nothing to decide on.
#[must_use]
pub fn refusal(outcome: &ErasureOutcome) -> Option<&'static str> {
    match outcome {
        ErasureOutcome::Erased { .. } | ErasureOutcome::NoSuchRequest => None,
        ErasureOutcome::Lapsed => Some("the request has lapsed"),
        ErasureOutcome::SamePerson => Some("the same person asked for it"),
        ErasureOutcome::OthersToo => Some(NOT_ALONE),
        ErasureOutcome::OnLegalHold => Some("a legal hold forbids it"),
        ErasureOutcome::UnderWay { .. } => Some("something about the person is under way"),
        ErasureOutcome::KeysChanged => Some("something about the person came in meanwhile"),
    }
}

/// Said of everything that one organisation may not know of, for it reads these entries: what others sent, and whose hold stands.
const NOT_ALONE: &str = "not for one organisation alone to decide, or on legal hold";

/// What the log says of a request that nobody confirmed in time.
#[must_use]
pub fn lapsed(request: &ErasureRequest) -> String {
    format!("erasure {} has lapsed: nobody confirmed it within 14 days", request.id)
}

/// What the log says of an order.
#[must_use]
pub fn order_told(order: &LegalHoldOrder) -> String {
    format!("{}{}: {}", placed(order.id), order.by, order.reason)
}

/// What the log says of the end of an order.
#[must_use]
pub fn lift_told(id: Uuid, by: &str, reason: &str) -> String {
    format!("legal hold {id} lifted by {by}: {reason}")
}

/// What the log says when whoever placed an order wished to end it.
#[must_use]
pub fn not_lifted(id: Uuid, by: &str) -> String {
    format!("legal hold {id} not lifted by {by}: the same person placed it")
}

/// How the entry of an order begins, by which it is found again.
#[must_use]
pub fn placed(id: Uuid) -> String {
    format!("legal hold {id} placed by ")
}

/// What the log says of an erasure for ever: it names the person by pseudonym, and the keys, so that a verifier knows an erasure
/// from a theft of keys. `account` is the one that asked, where the request does not name it. Without the reason: nobody can take
/// words out of the log again; it is kept beside the request for as long as `[retention]` says.
#[must_use]
pub fn erased(pending: &PendingErasure, account: Option<&str>, by: &str) -> String {
    let PendingErasure { request, pseudonym, keys, .. } = pending;
    // The entry of the request is about the person, and goes with them.
    let account = account.map_or_else(String::new, |account| format!(" ({account})"));
    format!(
        "erasure {} of person {pseudonym}, requested by {}{account} and confirmed by {by}: {}; keys: {}",
        request.id,
        request.by,
        request.ground,
        keys.join(" ")
    )
}

/// What [`erased`], or a run of retention, says behind its identifier; `None` for every other sentence of this page.
pub(crate) fn done_in(told: &str) -> Option<&str> {
    [("erasure ", "of person "), ("retention plan ", "by ")].into_iter().find_map(|(begin, then)| {
        let (id, rest) = told.strip_prefix(begin)?.split_once(' ')?;
        id.parse::<Uuid>().ok()?;
        rest.strip_prefix(then)
    })
}

/// A signed-in person as requests and orders name them: the store refuses the second word of the account that asked, whatever the
/// name.
fn named(who: &Attendant) -> String {
    by_account(&who.name, &who.user)
}

fn is_account(by: &str, account: &str) -> bool {
    who_is_named(by).1 == Some(account)
}

fn name_in(by: &str) -> String {
    who_is_named(by).0.to_owned()
}

impl Gateway {
    /// Keeps the wish to erase a person of whom this organisation alone sent something.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn ask_erasure(
        &self,
        inquiry: &Inquiry<'_>,
        patient: &NhsNumber,
        ground: ErasureGround,
    ) -> Result<AskedErasure, StoreError> {
        let refused = if self.transfer_within(inquiry.organisation, patient).await?.is_none() {
            Some((AskedErasure::Nothing, "nothing is held here"))
        } else if self
            .store
            .subject_record(patient)
            .await?
            .iter()
            .any(|each| each.transfer.sender != *inquiry.organisation)
        {
            Some((AskedErasure::NotAlone, NOT_ALONE))
        } else {
            None
        };
        if let Some((refused, why)) = refused {
            let detail = format!("erasure asked for, {why}: {}", inquiry.reason);
            let row = self.row_of(inquiry, AuditWord::Erase, detail, Some(patient.clone()), false);
            self.store.audit(vec![row]).await?;
            return Ok(refused);
        }
        let request = ErasureRequest {
            id: Uuid::new_v4(),
            ground,
            reason: inquiry.reason.to_owned(),
            by: named(inquiry.who),
            at: self.clock.now(),
        };
        let detail = request_told(&request);
        let row = self.row_of(inquiry, AuditWord::Erase, detail, Some(patient.clone()), true);
        let kept = self.store.request_erasure(patient, request, vec![row]).await?;
        Ok(if kept { AskedErasure::Kept } else { AskedErasure::Nothing })
    }

    /// The requests of this organisation's leads that wait, and those that have lapsed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_erasures(&self, organisation: &OdsCode) -> Result<Vec<OpenErasure>, StoreError> {
        let pending = self.store.pending_erasures().await?;
        let entries =
            self.entries_of(organisation, AuditWord::Erase, pending.iter().map(|each| each.request.at)).await?;
        let own = |pending: PendingErasure| {
            let begin = requested(pending.request.id);
            let entry = entries.iter().find(|entry| told(entry).is_some_and(|detail| detail.starts_with(&begin)))?;
            let patient = entry.patient.clone()?;
            Some(OpenErasure { by: name_in(&pending.request.by), patient, pending })
        };
        Ok(pending.into_iter().filter_map(own).collect())
    }

    /// The second person's word: destroys the keys of the person, whose number they must know. `None`: the organisation has no such
    /// request.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn confirm_erasure(
        &self,
        inquiry: &Inquiry<'_>,
        id: Uuid,
        patient: &NhsNumber,
    ) -> Result<Option<Confirmed>, StoreError> {
        let open = self.open_erasures(inquiry.organisation).await?;
        let Some(OpenErasure { pending, patient: meant, .. }) =
            open.into_iter().find(|open| open.pending.request.id == id)
        else {
            return Ok(None);
        };
        if *patient != meant {
            let detail = not_confirmed(id, &inquiry.who.name, "another person was named");
            let row = self.row_of(inquiry, AuditWord::Erase, detail, Some(patient.clone()), false);
            self.store.audit(vec![row]).await?;
            return Ok(Some(Confirmed::AnotherPerson));
        }
        let by = named(inquiry.who);
        let confirmation = ErasureConfirmation {
            id,
            keys: pending.keys.clone(),
            only_from: Some(inquiry.organisation.clone()),
            at: self.clock.now(),
            audit: vec![self.row_of(inquiry, AuditWord::Erase, erased(&pending, None, &by), None, true)],
            by,
        };
        let outcome = self.store.confirm_erasure(confirmation).await?;
        if let Some(why) = refusal(&outcome) {
            let why = match outcome {
                ErasureOutcome::OthersToo | ErasureOutcome::OnLegalHold => NOT_ALONE,
                _ => why,
            };
            let detail = not_confirmed(id, &inquiry.who.name, why);
            self.store.audit(vec![self.row_of(inquiry, AuditWord::Erase, detail, Some(meant), false)]).await?;
        }
        Ok(Some(Confirmed::Decided(outcome)))
    }

    /// Tells, once, of each request that nobody confirmed in time.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub(crate) async fn tell_lapses(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let pending = self.store.pending_erasures().await?;
        for request in pending.iter().filter(|each| each.lapsed.is_none()).map(|each| &each.request) {
            if now < request.lapses() {
                continue;
            }
            // About whom it was, and whose, stands in the entry of its making, as far as that can be read.
            let asked = self.entry_about(AuditWord::Erase, request.at, &requested(request.id)).await?;
            let patient = asked.as_ref().and_then(|entry| entry.patient.clone());
            let organisation = asked.and_then(|entry| entry.organisation?.parse::<OdsCode>().ok());
            // By a transfer of theirs the leads of that organisation find it.
            let transfer = match (&organisation, &patient) {
                (Some(organisation), Some(patient)) => self.transfer_within(organisation, patient).await?,
                _ => None,
            };
            let entry = AuditEntry {
                patient,
                transfer,
                ..AuditEntry::new(AuditWord::Erase, now, Agent::gateway(), lapsed(request))
            };
            self.store.lapse_erasure(request.id, now, vec![self.journal.row(&entry)]).await?;
        }
        Ok(())
    }

    /// The first entry of this word, at or after this moment, that begins so.
    async fn entry_about(
        &self,
        word: AuditWord,
        from: Timestamp,
        begins: &str,
    ) -> Result<Option<FoundAudit>, StoreError> {
        let query = AuditQuery { from: Some(from), words: vec![word], ..everything(None) };
        let found = all(self.store.as_ref(), query).await?;
        Ok(found.into_iter().rev().find(|entry| told(entry).is_some_and(|detail| detail.starts_with(begins))))
    }

    /// Takes a request of the organisation back, on the word of the second lead or of the one who asked; `false`: there is none.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn refuse_erasure(&self, inquiry: &Inquiry<'_>, id: Uuid) -> Result<bool, StoreError> {
        let open = self.open_erasures(inquiry.organisation).await?;
        let Some(open) = open.into_iter().find(|open| open.pending.request.id == id) else { return Ok(false) };
        let detail = refused(id, &inquiry.who.name, inquiry.reason);
        let row = self.row_of(inquiry, AuditWord::Erase, detail, Some(open.patient), true);
        self.store.refuse_erasure(id, vec![row]).await
    }

    /// Forbids to erase a person of whom the organisation holds something; `false` where it does not.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn place_hold(&self, inquiry: &Inquiry<'_>, patient: &NhsNumber) -> Result<bool, StoreError> {
        if self.transfer_within(inquiry.organisation, patient).await?.is_none() {
            let detail = format!("legal hold asked for, nothing is held here: {}", inquiry.reason);
            let row = self.row_of(inquiry, AuditWord::Configure, detail, Some(patient.clone()), false);
            self.store.audit(vec![row]).await?;
            return Ok(false);
        }
        let order = LegalHoldOrder {
            id: Uuid::new_v4(),
            reason: inquiry.reason.to_owned(),
            by: named(inquiry.who),
            at: self.clock.now(),
        };
        let detail = order_told(&order);
        let row = self.row_of(inquiry, AuditWord::Configure, detail, Some(patient.clone()), true);
        self.store.place_legal_hold(patient, order, vec![row]).await?;
        Ok(true)
    }

    /// The orders of this organisation's leads that stand.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn own_holds(&self, organisation: &OdsCode) -> Result<Vec<OwnHold>, StoreError> {
        let holds: Vec<_> = self.store.legal_holds().await?.into_iter().filter(|hold| hold.lifted.is_none()).collect();
        let entries =
            self.entries_of(organisation, AuditWord::Configure, holds.iter().map(|hold| hold.order.at)).await?;
        let is_own = |hold: &LegalHold| {
            let begin = placed(hold.order.id);
            entries.iter().any(|entry| told(entry).is_some_and(|detail| detail.starts_with(&begin)))
        };
        let own = |hold: LegalHold| OwnHold { by: name_in(&hold.order.by), hold };
        Ok(holds.into_iter().filter(is_own).map(own).collect())
    }

    /// Ends an order of the organisation, by another lead than who placed it.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn lift_hold(&self, inquiry: &Inquiry<'_>, id: Uuid) -> Result<Lifted, StoreError> {
        let own = self.own_holds(inquiry.organisation).await?;
        if !own.iter().any(|own| own.hold.order.id == id) {
            return Ok(Lifted::NoSuchHold);
        }
        let by = named(inquiry.who);
        let detail = lift_told(id, &by, inquiry.reason);
        let row = self.row_of(inquiry, AuditWord::Configure, detail, None, true);
        let lifted = self.store.lift_legal_hold(id, &by, self.clock.now(), vec![row]).await?;
        if lifted == Lifted::SamePerson {
            let detail = not_lifted(id, &inquiry.who.name);
            self.store.audit(vec![self.row_of(inquiry, AuditWord::Configure, detail, None, false)]).await?;
        }
        Ok(lifted)
    }

    /// The organisation's entries of a kind since the first of these moments.
    async fn entries_of(
        &self,
        organisation: &OdsCode,
        word: AuditWord,
        since: impl Iterator<Item = Timestamp>,
    ) -> Result<Vec<FoundAudit>, StoreError> {
        let Some(from) = since.min() else { return Ok(Vec::new()) };
        let query = AuditQuery { from: Some(from), words: vec![word], ..everything(Some(organisation.clone())) };
        let found = all(self.store.as_ref(), query).await?;
        Ok(found.into_iter().filter(|entry| entry.organisation.as_deref() == Some(organisation.as_str())).collect())
    }

    fn row_of(
        &self,
        inquiry: &Inquiry<'_>,
        word: AuditWord,
        detail: String,
        patient: Option<NhsNumber>,
        success: bool,
    ) -> AuditRow {
        self.journal.row(&AuditEntry { success, patient, ..self.entry_of(inquiry, word, detail) })
    }
}
