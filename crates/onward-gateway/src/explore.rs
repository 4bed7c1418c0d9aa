//! What an information-governance lead finds in the audit log: only what concerns their own organisation, for a reason, and every
//! look is itself an entry.

use std::collections::BTreeMap;

use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord, Basis, FoundAudit, Lists};
use onward_core::store::{FoundTask, StoreError, TaskQuery};
use onward_core::{NhsNumber, OdsCode, Timestamp, TransferId};
use onward_ledger::Verified;
use uuid::Uuid;

use crate::Gateway;
use crate::attend::Attendant;
use crate::made::halves;
use crate::sightings::{Sighting, all, sightings};
use crate::verify::{self, ANOTHER_LOG, BROKEN, Misfit, Signed, VERIFIED, walk};

/// Entries read at once.
const PAGE: u32 = 1_000;
/// Entries that are counted at most for the charts of disclosures.
pub const COUNTED_MAX: usize = 50_000;
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

/// What a verification of the log came to, as far as it is everybody's to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Whole, under a checkpoint.
    Whole,
    /// Whole in itself; no checkpoint was checked.
    Unsigned,
    /// Not whole.
    Broken,
}

impl Found {
    /// `None` where the words tell nothing of the log: a checkpoint that was given may be another's, and the key to check it with, too.
    fn of(words: &str) -> Option<Self> {
        match words {
            _ if words.starts_with("whole in itself") => Some(Self::Unsigned),
            _ if words.starts_with("whole") => Some(Self::Whole),
            _ if words.starts_with(BROKEN) || words == ANOTHER_LOG => Some(Self::Broken),
            _ => None,
        }
    }
}

impl Gateway {
    /// One page of entries of the person's organisation, or of an export all those that name it; the look is committed first.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn explore(
        &self,
        inquiry: &Inquiry<'_>,
        mut query: AuditQuery,
        export: Option<Uuid>,
    ) -> Result<(Vec<FoundAudit>, bool), StoreError> {
        query.organisation = Some(inquiry.organisation.clone());
        let count = query.limit as usize;
        query.limit = query.limit.saturating_add(1);
        let patient = query.patient.clone();
        let (found, more) = match export {
            Some(id) => (halves(self.store.as_ref(), &query, id).await?, false),
            None => {
                let mut found = self.store.search_audit(query).await?;
                let more = found.len() > count;
                found.truncate(count);
                (found, more)
            }
        };
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

    /// What the copy that an entry is about discloses and withholds, each element with the rule, as it is kept with the copy (JSON). For the lead
    /// of who sent it, and of this gateway: what a recipient is not to see its own lead is not told of. `None` for others.
    ///
    /// # Errors
    /// When the store cannot be read; [`StoreError::Corrupt`] where it is damaged, and [`StoreError::Erased`] where the person was erased.
    pub async fn disclosure_of(
        &self,
        entry: &FoundAudit,
        organisation: &OdsCode,
    ) -> Result<Option<String>, StoreError> {
        let Some(id) = entry.delivery else { return Ok(None) };
        let copy = match self.store.delivery(id).await {
            // Whose it is cannot be told.
            Err(StoreError::Corrupt(_)) => None,
            copy => copy?,
        };
        let Some(copy) = copy else { return Ok(None) };
        match [&copy.sender, &self.settings.own_ods].contains(&organisation) {
            true => self.store.disclosure(id).await,
            false => Ok(None),
        }
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
        checkpoints: Result<Option<Signed<'_>>, Misfit>,
    ) -> Result<Result<(Verified, u64), Misfit>, StoreError> {
        let signed = !matches!(checkpoints, Ok(None));
        let furthest = checkpoints.iter().flatten().map(Signed::furthest).max().unwrap_or(0);
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

    /// When anybody last verified the log, whoever they act for, on a page or on the command line, and what it came to: the log is
    /// everybody's. Who it was, how much there is, and where it does not fit are not told; nothing is, where it came to nothing about the
    /// log, or where entries are missing by now that the newest stored checkpoint tells of.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_verification_by_anybody(&self) -> Result<Option<(Found, Timestamp)>, StoreError> {
        let known = self.store.latest_checkpoint().await?.map_or(0, |stored| stored.size);
        if verify::is_cut_back(known, self.store.audit_size().await?) {
            // What stands in it came to that of another log.
            return Ok(None);
        }
        let query = AuditQuery { lists: Some(Lists::Verifications), limit: 1, ..everything(None) };
        let found = self.store.search_audit(query).await?;
        Ok(found.first().and_then(|entry| Some((Found::of(told(entry)?.strip_prefix(VERIFIED)?)?, entry.recorded))))
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

    pub(crate) async fn note_inquiry(
        &self,
        inquiry: &Inquiry<'_>,
        patient: Option<NhsNumber>,
    ) -> Result<(), StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_verification_says_of_the_log_is_told_to_everybody() {
        for (words, found) in [
            ("whole, 3 entries, 3 under a checkpoint", Some(Found::Whole)),
            ("whole in itself, 3 entries, but no checkpoint was checked", Some(Found::Unsigned)),
            (Misfit { index: 1, why: "w".to_owned() }.told().as_str(), Some(Found::Broken)),
            (ANOTHER_LOG, Some(Found::Broken)),
            ("a checkpoint has no good signature", None),
            ("", None),
        ] {
            assert_eq!(Found::of(words), found, "{words}");
        }
    }
}
