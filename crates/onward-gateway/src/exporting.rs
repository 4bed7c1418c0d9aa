//! Files of an organisation's part of the log, and of what it holds about one person: asked for by one lead, granted by another.

pub mod preview;

use std::sync::Arc;

use jiff::civil::Date;
use onward_core::audit::{AuditEntry, AuditWord, Basis, FoundAudit};
use onward_core::store::{Approval, ApprovalKind, Contents, StoreError, Verdict};
use onward_core::{ApprovalId, NhsNumber, OdsCode, Timestamp, TransferId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Gateway;
use crate::explore::Inquiry;
use crate::held::{ANOTHER_PERSON, Held, Identified, held_about};
use crate::made::{Half, Made};
use crate::sightings::Carried;

/// For so long an export can be granted and fetched.
const OPEN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

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
    /// For subject access, how the person was identified when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identified: Option<Identified>,
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
    /// This time that it leaves: the same request may be fetched again.
    id: Uuid,
    /// The entry about it, without what its bytes carry.
    entry: AuditEntry,
}

/// The second person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'shown> {
    /// It may be fetched.
    Granted {
        /// What they were shown before, for the entry: nothing of a patient.
        shown: &'shown str,
    },
    /// It may not.
    Refused,
}

/// What became of a wish to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedExport {
    /// It is kept, and another lead must grant it.
    Kept,
    /// The organisation neither sent nor was sent anything about this person.
    Nothing,
    /// The date of birth is not the one that is held.
    AnotherPerson,
}

impl Gateway {
    /// Keeps the wish to export; another lead of the organisation must grant it. Nothing is kept where the organisation neither sent nor
    /// was sent anything about this person, whatever others hold, nor, for subject access, where another date of birth is held; that
    /// it was asked is an entry all the same.
    ///
    /// # Errors
    /// When the store cannot be read or cannot commit.
    pub async fn ask_export(
        &self,
        inquiry: &Inquiry<'_>,
        mut export: Export,
        patient: Option<&NhsNumber>,
        born: Option<Date>,
    ) -> Result<AskedExport, StoreError> {
        let now = self.clock.now();
        if let Some(patient) = patient {
            let not_kept = async |told: &str, asked| {
                let entry = self.export_entry(inquiry, AuditWord::Query, &export, Some(patient.clone()), told);
                let entry = AuditEntry { success: false, ..entry };
                self.store.audit(vec![self.journal.row(&entry)]).await?;
                Ok(asked)
            };
            let about = self.transfer_within(inquiry.organisation, patient).await?;
            if about.is_none() {
                return not_kept("asked for, nothing is held here", AskedExport::Nothing).await;
            }
            let identified = match export.form {
                ExportForm::Sar => {
                    let held = held_about(self.store.as_ref(), patient, Some(inquiry.organisation)).await?;
                    match held.identified(born) {
                        None => return not_kept(ANOTHER_PERSON, AskedExport::AnotherPerson).await,
                        identified => identified,
                    }
                }
                ExportForm::Ndjson | ExportForm::Csv => None,
            };
            (export.about, export.identified) = (about, identified);
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
        let row =
            self.journal.row(&self.export_entry(inquiry, AuditWord::Query, &export, patient.cloned(), "asked for"));
        self.store.ask_approval(approval, vec![row]).await?;
        Ok(AskedExport::Kept)
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
        word: Word<'_>,
    ) -> Result<bool, StoreError> {
        let Some((_, export)) = self.export_of(inquiry, id).await? else { return Ok(false) };
        let (granted, told) = match word {
            Word::Granted { shown } => (true, format!("granted, {shown}")),
            Word::Refused => (false, "refused".to_owned()),
        };
        let patient = self.person_of(&export).await?;
        let row = self.journal.row(&self.export_entry(inquiry, AuditWord::Query, &export, patient, &told));
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

    /// What was granted, to be made into a file; `None` when it was not, or not to this organisation, or has expired. Nothing may leave
    /// before [`Gateway::begin_export`] has committed it, or [`Gateway::release_export`] where the file is made as a whole.
    ///
    /// # Errors
    /// When the store cannot be read.
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
        let own = Uuid::new_v4();
        let (word, asked) = match &patient {
            Some(_) => (AuditWord::SubjectAccess, inquiry.asked.clone()),
            // It names nobody. Whoever asks about a person is told of it by what it carried.
            None => (AuditWord::Query, format!("{}?{}", inquiry.asked, carried.told_of(own))),
        };
        let told = format!("fetched, of the first {} entries of the log", carried.before);
        let inquiry = Inquiry { asked, ..inquiry.clone() };
        let entry = self.export_entry(&inquiry, word, &export, patient.clone(), &told);
        Ok(Some(Exported { export, patient, carried, id: own, entry }))
    }

    /// Commits that a file begins to leave, which is read while it leaves.
    ///
    /// # Errors
    /// When the disclosure cannot be audited: then nothing may leave.
    pub async fn begin_export(&self, exported: &Exported) -> Result<(), StoreError> {
        let detail = Half::Beginning(exported.id).told(&exported.entry.detail);
        self.store.audit(vec![self.journal.row(&AuditEntry { detail, ..exported.entry.clone() })]).await
    }

    /// Commits that all of such a file was read, with what its bytes were and carried. The last of them leave after this alone, so that
    /// nobody has all of a file whose end the log does not tell.
    ///
    /// # Errors
    /// When it cannot be audited, or the person was erased while it left: then what has not left must not.
    pub async fn end_export(&self, exported: &Exported, made: Made) -> Result<(), StoreError> {
        if exported.patient.is_some() && self.person_of(&exported.export).await?.is_none() {
            return Err(StoreError::Erased);
        }
        let (sha256, contents) = made.finish();
        let entry = AuditEntry {
            word: AuditWord::Export,
            recorded: self.clock.now(),
            query: None,
            basis: Some(Basis::accountability()),
            content_sha256: Some(sha256),
            contents: Some(contents),
            detail: Half::End(exported.id).told(&exported.entry.detail),
            ..exported.entry.clone()
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    /// Commits that a file leaves that was made as a whole, with the digest that names it and what it carries.
    ///
    /// # Errors
    /// When the disclosure cannot be audited: then nothing may leave.
    pub async fn release_export(
        &self,
        exported: &Exported,
        sha256: String,
        contents: Arc<Contents>,
    ) -> Result<(), StoreError> {
        let (content_sha256, contents) = (Some(sha256), Some(contents));
        let entry = AuditEntry { content_sha256, contents, ..exported.entry.clone() };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    /// One page of what was granted, the newest entries first, and where the next one begins.
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

    /// What subject access hands out, of what was granted.
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

    fn export_entry(
        &self,
        inquiry: &Inquiry<'_>,
        word: AuditWord,
        export: &Export,
        patient: Option<NhsNumber>,
        what: &str,
    ) -> AuditEntry {
        let form = match export.form {
            ExportForm::Ndjson => "NDJSON",
            ExportForm::Csv => "CSV",
            ExportForm::Sar => "subject access",
        };
        let detail = format!("export as {form} {what}: {}", inquiry.reason);
        AuditEntry {
            patient,
            query: Some(inquiry.asked.clone()),
            basis: (word == AuditWord::SubjectAccess).then(|| match export.form {
                ExportForm::Sar => Basis::subject_access(),
                ExportForm::Ndjson | ExportForm::Csv => Basis::accountability(),
            }),
            ..self.entry_of(inquiry, word, detail)
        }
    }
}
