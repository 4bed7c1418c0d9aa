//! What an information-governance lead finds in the audit log: only what concerns their own organisation, for a reason, and every
//! look is itself an entry.

use std::collections::BTreeSet;

use onward_core::audit::{AuditEntry, AuditQuery, AuditWord, Basis, FoundAudit};
use onward_core::store::{
    Approval, ApprovalKind, DeliveryQuery, FoundTask, Store, StoreError, SubjectTransfer, TaskQuery, Verdict,
};
use onward_core::{ApprovalId, DeliveryId, NhsNumber, OdsCode, Timestamp, TransferId};
use onward_ledger::{Checkpoint, Verified};
use serde::{Deserialize, Serialize};

use crate::Gateway;
use crate::attend::Attendant;
use crate::shown::Shown;
use crate::verify::{Misfit, walk};

/// Entries read at once.
const PAGE: u32 = 1_000;
/// Entries that one search looks through at most where it must read them all.
pub const LOOKED_THROUGH_MAX: usize = 50_000;
/// For so long an export can be granted and fetched.
const OPEN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Who asks, for whom, and why.
#[derive(Debug, Clone)]
pub struct Inquiry<'i> {
    /// The person.
    pub who: &'i Attendant,
    /// Which of their organisations.
    pub organisation: &'i OdsCode,
    /// Why; no patient data.
    pub reason: &'i str,
    /// What is asked, as it is kept with the look; no patient data.
    pub asked: String,
}

/// Who saw a person: the entries about them, and the lists on which they stood.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    /// Entries about the person, and lists that showed them, the newest first.
    pub entries: Vec<FoundAudit>,
    /// Places of those of them that are lists.
    pub lists: BTreeSet<u64>,
    /// There were more than were looked through.
    pub cut: bool,
}

/// In which form entries leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportForm {
    /// One AuditEvent a line.
    Ndjson,
    /// A table.
    Csv,
    /// Everything about one person, for that person.
    Sar,
}

/// What is to leave as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// In which form.
    pub form: ExportForm,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub until: Option<Timestamp>,
    /// About the person of this transfer; for subject access always. A request holds no number of a person.
    pub about: Option<TransferId>,
}

impl Export {
    /// What an approval is about; `None` when it is about something else.
    #[must_use]
    pub fn of(approval: &Approval) -> Option<Self> {
        let is_export = approval.kind == ApprovalKind::Export;
        serde_json::from_str(&approval.subject).ok().filter(|_| is_export)
    }
}

/// What an export holds.
#[derive(Debug, Clone)]
pub struct Exported {
    /// What was granted.
    pub export: Export,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// The entries, the oldest first.
    pub entries: Vec<FoundAudit>,
    /// For subject access: the entries about lists on which the person stood, the newest first.
    pub lists: Vec<FoundAudit>,
    /// For subject access: the messages and copies of the organisation.
    pub transfers: Vec<SubjectTransfer>,
    /// There were more entries than are exported at once.
    pub cut: bool,
}

impl Gateway {
    /// One page of entries of the person's organisation; the look is committed first.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn explore(
        &self,
        inquiry: &Inquiry<'_>,
        mut query: AuditQuery,
    ) -> Result<(Vec<FoundAudit>, bool), StoreError> {
        query.organisation = Some(inquiry.organisation.clone());
        let count = query.limit as usize;
        query.limit = query.limit.saturating_add(1);
        let patient = query.patient.clone();
        let mut found = self.store.search_audit(query).await?;
        let more = found.len() > count;
        found.truncate(count);
        self.note_inquiry(inquiry, patient).await?;
        Ok((found, more))
    }

    /// All entries that fit, the newest first, for counting; whether there were more than [`LOOKED_THROUGH_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn explore_all(
        &self,
        inquiry: &Inquiry<'_>,
        query: AuditQuery,
    ) -> Result<(Vec<FoundAudit>, bool), StoreError> {
        let patient = query.patient.clone();
        let query = AuditQuery { organisation: Some(inquiry.organisation.clone()), ..query };
        let found = self.all(query, |_| true).await?;
        self.note_inquiry(inquiry, patient).await?;
        Ok(found)
    }

    /// Who saw a person between two moments: also on which lists the person's copies stood.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn who_saw(
        &self,
        inquiry: &Inquiry<'_>,
        patient: &NhsNumber,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Sightings, StoreError> {
        let within = AuditQuery { from, until, ..everything(Some(inquiry.organisation.clone())) };
        let (mut entries, cut) =
            self.all(AuditQuery { patient: Some(patient.clone()), ..within.clone() }, |_| true).await?;
        let (lists, lists_cut) = lists_that_showed(self.store.as_ref(), patient, within).await?;
        let on_lists = lists.iter().map(|entry| entry.index).collect();
        entries.extend(lists);
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.recorded, entry.index)));
        self.note_inquiry(inquiry, Some(patient.clone())).await?;
        Ok(Sightings { entries, lists: on_lists, cut: cut || lists_cut })
    }

    /// Whatever fits and is wanted, looking through [`LOOKED_THROUGH_MAX`] entries at most.
    async fn all(
        &self,
        query: AuditQuery,
        wanted: impl Fn(&FoundAudit) -> bool + Send,
    ) -> Result<(Vec<FoundAudit>, bool), StoreError> {
        look_through(self.store.as_ref(), query, wanted).await
    }

    /// One entry of the person's organisation, at this place and moment; with `reveal` whom it is about is disclosed.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn one_entry(
        &self,
        inquiry: &Inquiry<'_>,
        index: u64,
        recorded: Timestamp,
        reveal: bool,
    ) -> Result<Option<FoundAudit>, StoreError> {
        let moment = AuditQuery {
            from: Some(recorded),
            until: recorded.checked_add(jiff::SignedDuration::from_micros(1)).ok(),
            ..everything(Some(inquiry.organisation.clone()))
        };
        let (found, _) = self.all(moment, |entry| entry.index == index).await?;
        let Some(entry) = found.into_iter().next() else { return Ok(None) };
        if reveal {
            let row = AuditEntry {
                patient: entry.patient.clone(),
                basis: Some(Basis::accountability()),
                request_id: inquiry.who.request_id.clone(),
                ..AuditEntry::new(
                    AuditWord::Reveal,
                    self.clock.now(),
                    self.agent_of(inquiry),
                    format!("whom entry {index} is about was shown: {}", inquiry.reason),
                )
            };
            self.store.audit(vec![self.journal.row(&row)]).await?;
        } else {
            self.note_inquiry(inquiry, None).await?;
        }
        Ok(Some(entry))
    }

    /// Recomputes the log, and keeps what came of it as an entry that [`Gateway::last_verification`] finds.
    ///
    /// # Errors
    /// When the store cannot be read or the look cannot be audited.
    pub async fn verify_for(
        &self,
        inquiry: &Inquiry<'_>,
        checkpoints: Vec<Checkpoint>,
    ) -> Result<Result<(Verified, u64), Misfit>, StoreError> {
        let outcome = walk(self.store.as_ref(), checkpoints, |_| ()).await?;
        let detail = match &outcome {
            Ok((verified, _)) => {
                format!("{VERIFIED}whole, {} entries, {} under a checkpoint", verified.size, verified.covered)
            }
            Err(misfit) => format!("{VERIFIED}broken at entry {}", misfit.index),
        };
        let entry = AuditEntry {
            success: outcome.is_ok(),
            request_id: inquiry.who.request_id.clone(),
            query: Some(inquiry.asked.clone()),
            ..AuditEntry::new(AuditWord::Query, self.clock.now(), self.agent_of(inquiry), detail)
        };
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        Ok(outcome)
    }

    /// What the last verification on a page came to, in words, whether it was whole, and when it was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_verification(
        &self,
        organisation: &OdsCode,
    ) -> Result<Option<(String, bool, Timestamp)>, StoreError> {
        let query = AuditQuery { words: vec![AuditWord::Query], ..everything(Some(organisation.clone())) };
        let (found, _) = self.all(query, |entry| told(entry).is_some_and(|told| told.starts_with(VERIFIED))).await?;
        Ok(found.first().and_then(|entry| {
            let words = told(entry)?.strip_prefix(VERIFIED)?.to_owned();
            let whole = words.starts_with("whole");
            Some((words, whole, entry.recorded))
        }))
    }

    /// Keeps the wish to export; another lead of the organisation must grant it. `false`: nothing is held about this person.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn ask_export(
        &self,
        inquiry: &Inquiry<'_>,
        mut export: Export,
        patient: Option<&NhsNumber>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if let Some(patient) = patient {
            let query = TaskQuery { transfers: true, patient: Some(patient.clone()), limit: 1, ..TaskQuery::default() };
            let found = self.store.tasks(query).await?;
            let Some(FoundTask::Transfer(transfer)) = found.first() else { return Ok(false) };
            export.about = Some(transfer.id);
        }
        let approval = Approval {
            id: ApprovalId::random(),
            kind: ApprovalKind::Export,
            subject: serde_json::to_string(&export).expect("words, moments and numbers are JSON"),
            organisation: inquiry.organisation.clone(),
            asked_by: inquiry.who.user.clone(),
            asked_name: inquiry.who.name.clone(),
            reason: inquiry.reason.to_owned(),
            asked: now,
            expires: now + OPEN,
            verdict: None,
        };
        let row = self.export_row(inquiry, AuditWord::Query, &export, patient.cloned(), "asked for");
        self.store.ask_approval(approval, vec![row]).await?;
        Ok(true)
    }

    /// The open wishes of an organisation.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn exports(&self, organisation: &OdsCode) -> Result<Vec<Approval>, StoreError> {
        self.store.approvals(ApprovalKind::Export, Some(organisation), self.clock.now()).await
    }

    /// The second person's word; `false` when it is not theirs to give.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn decide_export(
        &self,
        inquiry: &Inquiry<'_>,
        id: ApprovalId,
        granted: bool,
    ) -> Result<bool, StoreError> {
        let Some((_, export)) = self.export_of(inquiry, id).await? else { return Ok(false) };
        let word = if granted { "granted" } else { "refused" };
        let patient = self.person_of(&export).await?;
        let row = self.export_row(inquiry, AuditWord::Query, &export, patient, word);
        let who = inquiry.who;
        let verdict = Verdict { by: who.user.clone(), name: who.name.clone(), at: self.clock.now(), granted };
        self.store.decide_approval(id, verdict, vec![row]).await
    }

    async fn export_of(&self, inquiry: &Inquiry<'_>, id: ApprovalId) -> Result<Option<(Approval, Export)>, StoreError> {
        let found = self.store.approval(id).await?;
        let own = found
            .filter(|approval| approval.organisation == *inquiry.organisation && approval.expires > self.clock.now());
        Ok(own.and_then(|approval| Export::of(&approval).map(|export| (approval, export))))
    }

    /// What was granted, to be written as a file; `None` when it was not, or not to this organisation, or has expired. The
    /// disclosure is committed first.
    ///
    /// # Errors
    /// When the store cannot be read, or the disclosure cannot be audited: then nothing may leave.
    pub async fn fetch_export(&self, inquiry: &Inquiry<'_>, id: ApprovalId) -> Result<Option<Exported>, StoreError> {
        let Some((approval, export)) = self.export_of(inquiry, id).await? else { return Ok(None) };
        if !approval.verdict.as_ref().is_some_and(|verdict| verdict.granted) {
            return Ok(None);
        }
        let patient = self.person_of(&export).await?;
        if export.about.is_some() && patient.is_none() {
            // Erased since.
            return Ok(None);
        }
        let query = AuditQuery {
            from: export.from,
            until: export.until,
            patient: patient.clone(),
            ..everything(Some(inquiry.organisation.clone()))
        };
        let within = AuditQuery { patient: None, ..query.clone() };
        let (mut entries, cut) = self.all(query, |_| true).await?;
        entries.reverse();
        let (transfers, (lists, lists_cut)) = match (export.form, &patient) {
            (ExportForm::Sar, Some(patient)) => (
                self.record_of(inquiry.organisation, patient).await?,
                lists_that_showed(self.store.as_ref(), patient, within).await?,
            ),
            _ => Default::default(),
        };
        let word = if patient.is_some() { AuditWord::SubjectAccess } else { AuditWord::Query };
        let told = format!("fetched, {} entries and {} messages", entries.len(), transfers.len());
        self.store.audit(vec![self.export_row(inquiry, word, &export, patient.clone(), &told)]).await?;
        Ok(Some(Exported { export, patient, entries, lists, transfers, cut: cut || lists_cut }))
    }

    async fn person_of(&self, export: &Export) -> Result<Option<NhsNumber>, StoreError> {
        match export.about {
            Some(id) => Ok(self.store.transfer(id).await?.and_then(|transfer| transfer.patient)),
            None => Ok(None),
        }
    }

    /// What the organisation itself holds about a person: what it sent with all copies, and copies addressed to it.
    async fn record_of(&self, organisation: &OdsCode, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, StoreError> {
        let mut record = self.store.subject_record(patient).await?;
        for each in &mut record {
            if each.transfer.sender != *organisation {
                each.original = None;
                each.transfer.deliveries.retain(|copy| copy.recipient == *organisation && copy.is_readable());
                let own: BTreeSet<_> = each.transfer.deliveries.iter().map(|copy| copy.id).collect();
                each.renditions.retain(|rendition| own.contains(&rendition.delivery));
            }
        }
        record.retain(|each| each.transfer.sender == *organisation || !each.transfer.deliveries.is_empty());
        Ok(record)
    }

    fn export_row(
        &self,
        inquiry: &Inquiry<'_>,
        word: AuditWord,
        export: &Export,
        patient: Option<NhsNumber>,
        what: &str,
    ) -> onward_core::audit::AuditRow {
        let form = match export.form {
            ExportForm::Ndjson => "NDJSON",
            ExportForm::Csv => "CSV",
            ExportForm::Sar => "subject access",
        };
        self.journal.row(&AuditEntry {
            patient,
            request_id: inquiry.who.request_id.clone(),
            query: Some(inquiry.asked.clone()),
            basis: (word == AuditWord::SubjectAccess).then(|| match export.form {
                ExportForm::Sar => Basis::subject_access(),
                ExportForm::Ndjson | ExportForm::Csv => Basis::accountability(),
            }),
            ..AuditEntry::new(
                word,
                self.clock.now(),
                self.agent_of(inquiry),
                format!("export as {form} {what}: {}", inquiry.reason),
            )
        })
    }

    fn agent_of(&self, inquiry: &Inquiry<'_>) -> onward_core::audit::Agent {
        onward_core::audit::Agent { organisation: Some(inquiry.organisation.clone()), ..inquiry.who.agent.clone() }
    }

    async fn note_inquiry(&self, inquiry: &Inquiry<'_>, patient: Option<NhsNumber>) -> Result<(), StoreError> {
        let entry = AuditEntry {
            patient,
            request_id: inquiry.who.request_id.clone(),
            query: Some(inquiry.asked.clone()),
            ..AuditEntry::new(
                AuditWord::Query,
                self.clock.now(),
                self.agent_of(inquiry),
                format!("audit log searched: {}", inquiry.reason),
            )
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }
}

async fn look_through(
    store: &dyn Store,
    mut query: AuditQuery,
    wanted: impl Fn(&FoundAudit) -> bool + Send,
) -> Result<(Vec<FoundAudit>, bool), StoreError> {
    query.limit = PAGE;
    let (mut found, mut seen) = (Vec::new(), 0);
    loop {
        let page = store.search_audit(query.clone()).await?;
        query.after = page.last().map(|last| (last.recorded, last.index));
        let last = page.len() < PAGE as usize;
        seen += page.len();
        found.extend(page.into_iter().filter(&wanted));
        if last || seen >= LOOKED_THROUGH_MAX {
            return Ok((found, !last));
        }
    }
}

/// The entries about lists on which a person's copies or transfers stood, the newest first, and whether older ones were not looked
/// through. Such an entry names no person; it keeps what was shown ([`Shown`]).
///
/// # Errors
/// When the store cannot be read.
pub async fn lists_that_showed(
    store: &dyn Store,
    patient: &NhsNumber,
    mut within: AuditQuery,
) -> Result<(Vec<FoundAudit>, bool), StoreError> {
    let (mut about, mut first, mut after) = (BTreeSet::new(), None, None);
    loop {
        let query = DeliveryQuery { patient: Some(patient.clone()), after, limit: PAGE, ..DeliveryQuery::default() };
        let page = store.deliveries(query).await?;
        after = page.last().map(|last| (last.created, last.id));
        first = first.into_iter().chain(page.iter().map(|copy| copy.created)).min();
        about.extend(page.iter().map(|copy| copy.id.0));
        if page.len() < PAGE as usize {
            break;
        }
    }
    let mut after = None;
    loop {
        let query =
            TaskQuery { transfers: true, patient: Some(patient.clone()), after, limit: PAGE, ..TaskQuery::default() };
        let page = store.tasks(query).await?;
        after = page.last().map(FoundTask::place);
        let last = page.len() < PAGE as usize;
        for task in page {
            let FoundTask::Transfer(transfer) = task else { continue };
            first = first.into_iter().chain([transfer.received]).min();
            about.insert(transfer.id.0);
        }
        if last {
            break;
        }
    }
    if about.is_empty() {
        return Ok((Vec::new(), false));
    }
    // No list showed anything of a person before it came.
    within.from = within.from.max(first);
    within.words = vec![AuditWord::Query];
    let shows = |entry: &FoundAudit| {
        let Shown { copies, transfers } = Shown::on(entry);
        copies.iter().map(|id| id.0).chain(transfers.iter().map(|id| id.0)).any(|id| about.contains(&id))
    };
    look_through(store, within, shows).await
}

/// How a verification's entry begins.
const VERIFIED: &str = "audit log verified: ";

/// A query that finds everything of an organisation.
#[must_use]
pub fn everything(organisation: Option<OdsCode>) -> AuditQuery {
    AuditQuery {
        organisation,
        patient: None,
        agent: None,
        entity: None,
        from: None,
        until: None,
        words: Vec::new(),
        after: None,
        limit: PAGE,
    }
}

/// What an entry says, after its word.
fn told(entry: &FoundAudit) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(entry.event.as_deref()?).ok()?;
    let (_, detail) = event["outcomeDesc"].as_str()?.split_once(": ")?;
    Some(detail.to_owned())
}

/// The raw query that an entry keeps.
pub(crate) fn query_of(entry: &FoundAudit) -> Option<String> {
    use base64::Engine as _;
    let event: serde_json::Value = serde_json::from_slice(entry.event.as_deref()?).ok()?;
    let coded = event["entity"].as_array()?.iter().find_map(|entity| entity["query"].as_str())?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded).ok()?;
    String::from_utf8(bytes).ok()
}

/// The copies that a list showed, by the entry about it; none for any other entry.
#[must_use]
pub fn shown_on(entry: &FoundAudit) -> Vec<DeliveryId> {
    Shown::on(entry).copies
}
