//! What an information-governance lead finds in the audit log: only what concerns their own organisation, for a reason, and every
//! look is itself an entry.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord, Basis, FoundAudit, Lists};
use onward_core::store::{Approval, ApprovalKind, FoundTask, Store, StoreError, SubjectTransfer, TaskQuery, Verdict};
use onward_core::{ApprovalId, NhsNumber, OdsCode, Timestamp, TransferId};
use onward_ledger::{Checkpoint, Verified};
use serde::{Deserialize, Serialize};

use crate::Gateway;
use crate::attend::Attendant;
use crate::sightings::{Carried, Sighting, all, sightings};
use crate::verify::{self, Misfit, VERIFIED, walk};

pub mod preview;

/// Entries read at once.
const PAGE: u32 = 1_000;
/// Entries that are counted at most for the charts of disclosures.
pub const COUNTED_MAX: usize = 50_000;
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
    /// Entries about the person, and lists and exports that showed them, the newest first.
    pub entries: Vec<FoundAudit>,
    /// Places of those of them that are lists or exports.
    pub among_others: BTreeMap<u64, Sighting>,
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
    /// Which entries leave; [`Gateway::exported_page`] reads them.
    pub carried: Carried,
}

/// What the log and the store hold about one person.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The entries about the person, the oldest first.
    pub entries: Vec<FoundAudit>,
    /// The entries about lists on which the person stood and exports that carried something about them, the oldest first.
    pub among_others: Vec<(FoundAudit, Sighting)>,
    /// The messages and copies.
    pub transfers: Vec<SubjectTransfer>,
}

/// Everything about a person; of one organisation, what concerns it.
///
/// # Errors
/// When the store cannot be read.
pub async fn held_about(
    store: &dyn Store,
    patient: &NhsNumber,
    organisation: Option<&OdsCode>,
) -> Result<Held, StoreError> {
    let within = everything(organisation.cloned());
    let mut entries = all(store, AuditQuery { patient: Some(patient.clone()), ..within.clone() }).await?;
    entries.reverse();
    let mut among_others = sightings(store, patient, &within).await?;
    among_others.reverse();
    let mut transfers = store.subject_record(patient).await?;
    if let Some(organisation) = organisation {
        confine(&mut transfers, organisation);
    }
    Ok(Held { entries, among_others, transfers })
}

/// What the organisation itself holds: what it sent with all copies, and copies addressed to it.
fn confine(transfers: &mut Vec<SubjectTransfer>, organisation: &OdsCode) {
    for each in transfers.iter_mut().filter(|each| each.transfer.sender != *organisation) {
        each.original = None;
        each.transfer.deliveries.retain(|copy| copy.recipient == *organisation && copy.is_readable());
        let own: BTreeSet<_> = each.transfer.deliveries.iter().map(|copy| copy.id).collect();
        each.renditions.retain(|rendition| own.contains(&rendition.delivery));
        each.changes.retain(|change| own.contains(&change.delivery));
        each.steps.retain(|step| own.contains(&step.delivery));
        each.alerts.retain(|alert| alert.concern.delivery.is_some_and(|id| own.contains(&id)));
        // These are the sender's, and those of whoever runs the gateway.
        each.holds.clear();
        each.approvals.retain(|approval| approval.organisation == *organisation);
    }
    transfers.retain(|each| each.transfer.sender == *organisation || !each.transfer.deliveries.is_empty());
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

    /// All entries that fit, the newest first, for counting; whether there were more than [`COUNTED_MAX`].
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
        let found = self.newest(query).await?;
        self.note_inquiry(inquiry, patient).await?;
        Ok(found)
    }

    /// Who saw a person between two moments: also on which lists the person's copies stood, and which exports carried entries about
    /// them.
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
        let store = self.store.as_ref();
        let mut entries = all(store, AuditQuery { patient: Some(patient.clone()), ..within.clone() }).await?;
        let among_others = sightings(store, patient, &within).await?;
        let places = among_others.iter().map(|(entry, sighting)| (entry.index, *sighting)).collect();
        entries.extend(among_others.into_iter().map(|(entry, _)| entry));
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.recorded, entry.index)));
        self.note_inquiry(inquiry, Some(patient.clone())).await?;
        Ok(Sightings { entries, among_others: places })
    }

    /// The newest entries that fit, [`COUNTED_MAX`] at most, and whether there were more.
    async fn newest(&self, mut query: AuditQuery) -> Result<(Vec<FoundAudit>, bool), StoreError> {
        query.limit = PAGE;
        let mut found = Vec::new();
        loop {
            let page = self.store.search_audit(query.clone()).await?;
            query.after = page.last().map(|last| (last.recorded, last.index));
            let last = page.len() < PAGE as usize;
            found.extend(page);
            if last || found.len() >= COUNTED_MAX {
                return Ok((found, !last));
            }
        }
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
        let found = all(self.store.as_ref(), moment).await?;
        let Some(entry) = found.into_iter().find(|entry| entry.index == index) else { return Ok(None) };
        if reveal {
            let detail = format!("whom entry {index} is about was shown: {}", inquiry.reason);
            let row = AuditEntry {
                patient: entry.patient.clone(),
                basis: Some(Basis::accountability()),
                ..self.entry_of(inquiry, AuditWord::Reveal, detail)
            };
            self.store.audit(vec![self.journal.row(&row)]).await?;
        } else {
            self.note_inquiry(inquiry, None).await?;
        }
        Ok(Some(entry))
    }

    /// Recomputes the log, and keeps what came of it as an entry that [`Gateway::last_verification`] finds, unless the log was cut
    /// back. Checkpoints come with
    /// good signatures; `None` where nothing could check them; a misfit where one of them has no good signature.
    ///
    /// # Errors
    /// When the store cannot be read or the look cannot be audited.
    pub async fn verify_for(
        &self,
        inquiry: &Inquiry<'_>,
        checkpoints: Result<Option<Vec<Checkpoint>>, Misfit>,
    ) -> Result<Result<(Verified, u64), Misfit>, StoreError> {
        let signed = !matches!(checkpoints, Ok(None));
        let furthest = checkpoints.iter().flatten().flatten().map(|checkpoint| checkpoint.size).max().unwrap_or(0);
        let mut outcome = match checkpoints {
            Ok(checkpoints) => walk(self.store.as_ref(), checkpoints.unwrap_or_default(), |_| ()).await?,
            Err(misfit) => Err(misfit),
        };
        let held = self.store.audit_size().await?;
        match &mut outcome {
            Err(misfit) if verify::is_cut_back(furthest, held) => misfit.why.push_str(verify::NOT_KEPT_IN_A_CUT),
            _ => {
                let told = outcome.as_ref().map(|(verified, _)| verified).map_err(Misfit::told);
                let told = told.as_ref().copied().map_err(String::as_str);
                let agent = self.entry_of(inquiry, AuditWord::Query, String::new()).agent;
                let entry = AuditEntry {
                    request_id: inquiry.who.request_id.clone(),
                    ..verify::entry(agent, self.clock.now(), told, signed)
                };
                self.store.audit(vec![self.journal.row(&entry)]).await?;
            }
        }
        Ok(outcome)
    }

    /// What the last verification, on a page or on the command line, came to, in words, whether it was whole, and when it was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_verification(
        &self,
        organisation: &OdsCode,
    ) -> Result<Option<(String, bool, Timestamp)>, StoreError> {
        let verifications = Some(Lists::Verifications);
        let query = AuditQuery { lists: verifications, limit: 1, ..everything(Some(organisation.clone())) };
        let found = self.store.search_audit(query).await?;
        Ok(found.first().and_then(|entry| {
            let words = told(entry)?.strip_prefix(VERIFIED)?.to_owned();
            let whole = words.starts_with("whole");
            Some((words, whole, entry.recorded))
        }))
    }

    /// Keeps the wish to export; another lead of the organisation must grant it. `false`: the organisation neither sent nor
    /// was sent anything about this person, whatever others hold; that it was asked is an entry all the same.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn ask_export(
        &self,
        inquiry: &Inquiry<'_>,
        mut export: Export,
        patient: Option<&NhsNumber>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if let Some(patient) = patient {
            export.about = self.transfer_within(inquiry.organisation, patient).await?;
            if export.about.is_none() {
                let told = "asked for, nothing is held here";
                let row = self.export_row(inquiry, AuditWord::Query, &export, Some(patient.clone()), told);
                self.store.audit(vec![row]).await?;
                return Ok(false);
            }
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

    /// A transfer about this person that the organisation sent or was sent a copy of.
    pub(crate) async fn transfer_within(
        &self,
        organisation: &OdsCode,
        patient: &NhsNumber,
    ) -> Result<Option<TransferId>, StoreError> {
        let about = TaskQuery { patient: Some(patient.clone()), limit: 1, ..TaskQuery::default() };
        let own = Some(organisation.clone());
        for query in [
            TaskQuery { transfers: true, sender: own.clone(), ..about.clone() },
            TaskQuery { copies: true, recipient: own.clone(), ..about },
        ] {
            match self.store.tasks(query).await?.first() {
                Some(FoundTask::Transfer(transfer)) => return Ok(Some(transfer.id)),
                Some(FoundTask::Copy(copy)) => return Ok(Some(copy.transfer)),
                None => {}
            }
        }
        Ok(None)
    }

    /// The open wishes of an organisation.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn exports(&self, organisation: &OdsCode) -> Result<Vec<Approval>, StoreError> {
        self.store.approvals(ApprovalKind::Export, Some(organisation), self.clock.now()).await
    }

    /// What an open request asks for, and the look audited; `None`: the organisation has no such request.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn look_at_export(
        &self,
        inquiry: &Inquiry<'_>,
        id: ApprovalId,
    ) -> Result<Option<(Approval, Export)>, StoreError> {
        let Some(found) = self.export_of(inquiry, id).await? else { return Ok(None) };
        let patient = self.person_of(&found.1).await?;
        self.note_inquiry(inquiry, patient).await?;
        Ok(Some(found))
    }

    /// Whom an open request is about, for whoever decides on it; `None`: about nobody in particular, or the organisation has no such
    /// request. The disclosure is committed first.
    ///
    /// # Errors
    /// When the store cannot be read, or the disclosure cannot be audited: then nothing may be shown.
    pub async fn reveal_export(&self, inquiry: &Inquiry<'_>, id: ApprovalId) -> Result<Option<NhsNumber>, StoreError> {
        let Some((_, export)) = self.export_of(inquiry, id).await? else { return Ok(None) };
        let Some(patient) = self.person_of(&export).await? else { return Ok(None) };
        let detail = format!("whom a request for an export is about was shown: {}", inquiry.reason);
        let row = AuditEntry {
            patient: Some(patient.clone()),
            transfer: export.about,
            basis: Some(Basis::accountability()),
            ..self.entry_of(inquiry, AuditWord::Reveal, detail)
        };
        self.store.audit(vec![self.journal.row(&row)]).await?;
        Ok(Some(patient))
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
        let carried = Carried {
            organisation: Some(inquiry.organisation.clone()),
            from: export.from,
            until: export.until,
            before: self.store.audit_size().await?,
        };
        let (word, asked) = match &patient {
            Some(_) => (AuditWord::SubjectAccess, inquiry.asked.clone()),
            // It names nobody. Whoever asks about a person is told of it by what it carried.
            None => (AuditWord::Query, format!("{}?{}", inquiry.asked, carried.told())),
        };
        let told = format!("fetched, of the first {} entries of the log", carried.before);
        let inquiry = Inquiry { asked, ..inquiry.clone() };
        self.store.audit(vec![self.export_row(&inquiry, word, &export, patient.clone(), &told)]).await?;
        Ok(Some(Exported { export, patient, carried }))
    }

    /// One page of what was granted and audited, the newest entries first, and where the next one begins.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn exported_page(
        &self,
        exported: &Exported,
        after: Option<(Timestamp, u64)>,
    ) -> Result<(Vec<FoundAudit>, Option<(Timestamp, u64)>), StoreError> {
        exported.carried.page(self.store.as_ref(), exported.patient.as_ref(), after).await
    }

    /// What subject access hands out, of what was granted and audited.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn exported_record(&self, exported: &Exported) -> Result<Held, StoreError> {
        match &exported.patient {
            Some(patient) => held_about(self.store.as_ref(), patient, exported.carried.organisation.as_ref()).await,
            None => Ok(Held::default()),
        }
    }

    async fn person_of(&self, export: &Export) -> Result<Option<NhsNumber>, StoreError> {
        match export.about {
            Some(id) => Ok(self.store.transfer(id).await?.and_then(|transfer| transfer.patient)),
            None => Ok(None),
        }
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
        let detail = format!("export as {form} {what}: {}", inquiry.reason);
        self.journal.row(&AuditEntry {
            patient,
            query: Some(inquiry.asked.clone()),
            basis: (word == AuditWord::SubjectAccess).then(|| match export.form {
                ExportForm::Sar => Basis::subject_access(),
                ExportForm::Ndjson | ExportForm::Csv => Basis::accountability(),
            }),
            ..self.entry_of(inquiry, word, detail)
        })
    }

    async fn note_inquiry(&self, inquiry: &Inquiry<'_>, patient: Option<NhsNumber>) -> Result<(), StoreError> {
        let detail = format!("audit log searched: {}", inquiry.reason);
        let entry = AuditEntry {
            patient,
            query: Some(inquiry.asked.clone()),
            ..self.entry_of(inquiry, AuditWord::Query, detail)
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    /// An entry of what the person does for the organisation that they ask for.
    pub(crate) fn entry_of(&self, inquiry: &Inquiry<'_>, word: AuditWord, detail: String) -> AuditEntry {
        let agent = Agent { organisation: Some(inquiry.organisation.clone()), ..inquiry.who.agent.clone() };
        AuditEntry {
            request_id: inquiry.who.request_id.clone(),
            ..AuditEntry::new(word, self.clock.now(), agent, detail)
        }
    }
}

/// A query that finds everything of an organisation.
#[must_use]
pub fn everything(organisation: Option<OdsCode>) -> AuditQuery {
    AuditQuery { organisation, limit: PAGE, ..AuditQuery::default() }
}

/// What an entry says, after its word.
pub(crate) fn told(entry: &FoundAudit) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(entry.event.as_deref()?).ok()?;
    let (_, detail) = event["outcomeDesc"].as_str()?.split_once(": ")?;
    Some(detail.to_owned())
}
