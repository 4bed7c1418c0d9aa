//! The person's own practice does not have them, or MESH finds none: PDS is asked again, once for a transfer. Where it names another practice
//! by now, that one gets the document by itself, from the kept original by the same walk; in all else a person acts, who reads what PDS said.

use bytes::Bytes;
use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::directory::{Asker, DirectoryEntry, DirectoryError, Endpoint, PdsPatient, Sensitivity};
use onward_core::state::{DeliveryState, EndReason, RecipientKind, TransportKind};
use onward_core::store::{
    ApprovalKind, DeliveryRecord, Ending, NewDelivery, Retrace, Retraced, StoreError, TransferRecord,
};
use onward_core::{NhsNumber, OdsCode, Timestamp, TransferId};
use tokio::sync::watch;

use crate::Gateway;
use crate::again::by_chance;
use crate::beforehand::{Beforehand, Pds};
use crate::decision::Decided;
use crate::identify::{Entries, current, is_no_practice};
use crate::leaving::left;
use crate::lifecycle::{TakenBack, told};
use crate::prepare::{PrepareError, Routing};
use crate::recall::{along, is_recalled, keeps_theirs};
use crate::redirect::Redirect;

/// For so long PDS is tried, since the copy came to nothing.
const WITHIN: SignedDuration = SignedDuration::from_hours(4);
/// What came to nothing longer ago is a person's already, who may be about it.
const SINCE: SignedDuration = SignedDuration::from_hours(24);
/// Copies that are looked at in one go.
const AT_ONCE: u32 = 50;
/// After so many in a row that PDS gives no answer about, it is left alone till the next look.
const IN_VAIN: usize = 3;
/// ITK3: known here, and recently deceased.
const DECEASED: &str = "30004";

/// Before what PDS said, in the reason of a copy.
const ASKED: &str = "; PDS was asked again: ";
/// Why the first practice's copy ends.
const REASON: &str = "PDS names another practice";
/// Of a copy that nobody has; whoever may have one is told what every recall tells.
const UNDELIVERED: &str = "it came to nobody, and another practice gets it by now";
/// Of one that was refused by MESH, by which no word about nobody in particular can follow it.
const REFUSED: &str = "the practice does not have the person and refused it, and another practice gets it by now";

/// Why a person must act all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NoAnswer,
    NoRecord,
    Superseded,
    Restricted,
    Deceased,
    HasLeft,
    NoPractice,
    Same,
    NotInDirectory,
    RecalledFrom,
    Decided,
    RoutedByMesh,
    HasEarlier,
    NotKept,
    Refused,
    Held,
    Differs,
}

impl Why {
    const ALL: [Self; 17] = [
        Self::NoAnswer,
        Self::NoRecord,
        Self::Superseded,
        Self::Restricted,
        Self::Deceased,
        Self::HasLeft,
        Self::NoPractice,
        Self::Same,
        Self::NotInDirectory,
        Self::RecalledFrom,
        Self::Decided,
        Self::RoutedByMesh,
        Self::HasEarlier,
        Self::NotKept,
        Self::Refused,
        Self::Held,
        Self::Differs,
    ];

    /// What PDS said, for whoever is to act. The hospital may read it, so that neither a death nor a protection is told.
    fn told(self) -> &'static str {
        match self {
            Self::NoAnswer => "it gave no answer",
            Self::NoRecord => "it has no record under this NHS number, or withholds it",
            Self::Superseded => "it answers with another NHS number",
            Self::Restricted | Self::Deceased | Self::HasLeft => {
                "nothing is sent by itself; ask the ward (the audit log tells why)"
            }
            Self::NoPractice => "it names no practice",
            Self::Same => "it names the same practice",
            Self::NotInDirectory => "it names another practice, of which the directory has no current entry",
            Self::RecalledFrom => "it names a practice from which this was recalled before",
            Self::Decided => "it names another practice, and a person has decided where this goes, or is about to",
            Self::RoutedByMesh => "it names another practice, which may be the one that MESH had found",
            Self::HasEarlier => "it names another practice, and this one got an earlier version",
            Self::NotKept => "it names another practice, and the message is not kept, or cannot be read",
            Self::Refused => "it names another practice, and the message would be refused now",
            Self::Held => "it names another practice, and the message would be held now",
            Self::Differs => "it names another practice, and more than this copy would change",
        }
    }

    /// The same for the log.
    fn logged(self) -> &'static str {
        match self {
            Self::Restricted => "it marks the record as sensitive",
            Self::Deceased => "the person is recorded as deceased",
            Self::HasLeft => "the home has told that the person has left",
            other => other.told(),
        }
    }
}

/// The same with the practice or the reason that it is about, for the log alone.
#[derive(Debug)]
struct Stays(Why, Option<String>);

impl From<Why> for Stays {
    fn from(why: Why) -> Self {
        Self(why, None)
    }
}

/// What PDS said when it was asked again, by the reason of a copy. Nothing that a recipient wrote is taken for it.
#[must_use]
pub fn said(reason: &str) -> Option<&'static str> {
    Why::ALL
        .into_iter()
        .map(Why::told)
        .find(|told| reason.strip_suffix(*told).is_some_and(|before| before.ends_with(ASKED)))
}

/// The reason of a copy as its recipient reads it: nothing of PDS is told to them.
pub(crate) fn without_pds(reason: &str) -> &str {
    match said(reason) {
        Some(told) => &reason[..reason.len() - told.len() - ASKED.len()],
        None => reason,
    }
}

/// What a look at one copy came to.
enum Looked {
    /// PDS gave an answer, or will not any more; whether another practice gets it.
    Done(bool),
    /// PDS gives no answer yet.
    Unanswered,
}

impl Gateway {
    /// One look at the copies because of which PDS is to be asked again; gives how many went on to another practice.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retrace(&self, stop: &watch::Receiver<bool>) -> Result<usize, StoreError> {
        let since = self.clock.now().checked_sub(SINCE).unwrap_or(Timestamp::MIN);
        let mut copies = self.store.to_retrace(since, AT_ONCE).await?;
        let first = usize::try_from(by_chance(copies.len() as u64)).unwrap_or_default();
        copies.rotate_left(first);
        let (mut sent, mut in_vain) = (0, 0);
        for copy in &copies {
            if *stop.borrow() || in_vain == IN_VAIN {
                break;
            }
            match self.retrace_copy(copy).await {
                Ok(Looked::Done(went_on)) => (sent, in_vain) = (sent + usize::from(went_on), 0),
                Ok(Looked::Unanswered) => in_vain += 1,
                // The others are looked at all the same.
                Err(error) => tracing::error!(%error, delivery = %copy.id, "PDS could not be asked again about a copy"),
            }
        }
        Ok(sent)
    }

    async fn retrace_copy(&self, copy: &DeliveryRecord) -> Result<Looked, StoreError> {
        let line = self.line_of(copy.transfer).await?;
        let newest = line.first().filter(|newest| newest.id == copy.transfer);
        // Who replaced it, or erased the person, meanwhile has made it needless.
        let (Some(transfer), Some(number)) = (newest, &copy.patient) else { return Ok(Looked::Done(false)) };
        let asked = self.asking(Some(transfer.id), None).by(&Asker::Gateway).again();
        let answer = match Pds::Asked(asked).patient(number, None).await? {
            Err(error) if self.clock.now() < copy.changed + WITHIN => {
                tracing::warn!(%error, delivery = %copy.id, "PDS gives no answer about a copy that came to nothing");
                return Ok(Looked::Unanswered);
            }
            answer => answer,
        };
        let (outcome, audit) = match self.follows(copy, transfer, &line, number, &answer).await {
            // A person's too, and PDS is not asked for ever about what cannot be read.
            Err(StoreError::Corrupt(_) | StoreError::Erased) => self.stays(copy, &Why::NotKept.into()),
            follows => follows?,
        };
        let sent = matches!(outcome, Retraced::Sent { .. });
        let (expected_version, at) = (copy.version, self.clock.now());
        let kept = match self.store.retrace(Retrace { delivery: copy.id, expected_version, outcome, at, audit }).await {
            // The next look takes it as it is by then.
            Err(StoreError::Overtaken) => false,
            kept => kept?,
        };
        if kept && sent {
            tracing::info!(delivery = %copy.id, "PDS names another practice, which gets the document");
            self.work.notify_one();
        }
        Ok(Looked::Done(kept && sent))
    }

    /// What follows from PDS's answer, with its audit.
    async fn follows(
        &self,
        copy: &DeliveryRecord,
        transfer: &TransferRecord,
        line: &[TransferRecord],
        number: &NhsNumber,
        answer: &Result<Option<PdsPatient>, DirectoryError>,
    ) -> Result<(Retraced, Vec<AuditRow>), StoreError> {
        let made = match self.practice_now(copy, line, number, answer).await? {
            Ok((practice, pds)) => self.copy_for(copy, transfer, number, practice, pds).await?,
            Err(stays) => Err(stays),
        };
        // Asked once more, as late as can be: whatever a home tells moves its own copy alone.
        let made = match made {
            Ok(_) if self.has_left(line).await? => Err(Why::HasLeft.into()),
            made => made,
        };
        match made {
            Ok(new) => self.moved(copy, new).await,
            Err(stays) => Ok(self.stays(copy, &stays)),
        }
    }

    /// The practice that PDS names by now, where what it says lets the document go there.
    async fn practice_now<'p>(
        &self,
        copy: &DeliveryRecord,
        line: &[TransferRecord],
        number: &NhsNumber,
        answer: &'p Result<Option<PdsPatient>, DirectoryError>,
    ) -> Result<Result<(OdsCode, &'p PdsPatient), Stays>, StoreError> {
        let pds = match answer {
            Err(_) => return Ok(Err(Why::NoAnswer.into())),
            Ok(None) => return Ok(Err(Why::NoRecord.into())),
            Ok(Some(pds)) => pds,
        };
        let copies = || line.iter().flat_map(TransferRecord::copies);
        if pds.nhs_number != *number {
            return Ok(Err(Why::Superseded.into()));
        }
        if pds.sensitivity != Sensitivity::Unrestricted {
            return Ok(Err(Why::Restricted.into()));
        }
        if pds.deceased.is_some() || copies().any(|copy| copy.code.as_deref() == Some(DECEASED)) {
            return Ok(Err(Why::Deceased.into()));
        }
        if self.has_left(line).await? {
            return Ok(Err(Why::HasLeft.into()));
        }
        let named = pds.registered_practice.as_ref().filter(|ods| !is_no_practice(ods.as_str()));
        let Some(ods) = named else { return Ok(Err(Why::NoPractice.into())) };
        if *ods == copy.recipient {
            return Ok(Err(Why::Same.into()));
        }
        if copies().any(|other| is_recalled(other) && other.recipient == *ods) {
            return Ok(Err(Stays(Why::RecalledFrom, Some(ods.to_string()))));
        }
        if self.practice_was_decided(copy.transfer).await? || self.is_to_be_redirected(copy.transfer).await? {
            return Ok(Err(Stays(Why::Decided, Some(ods.to_string()))));
        }
        // MESH looks a person up when the copy leaves: whose mailbox it found then may be this practice's.
        if copy.state == DeliveryState::Rejected && matches!(copy.endpoint, Endpoint::GpRouting { .. }) {
            return Ok(Err(Stays(Why::RoutedByMesh, Some(ods.to_string()))));
        }
        // It may have filed that while it had the person, rightly: how it is told is a person's.
        if along(line, copy.transfer, Some(copy.id)).iter().any(|earlier| earlier.id != copy.id) {
            return Ok(Err(Stays(Why::HasEarlier, Some(ods.to_string()))));
        }
        let entry = current(&Entries::of(self.store.as_ref()), ods, self.clock.now()).await?;
        if !matches!(entry, Ok(DirectoryEntry::Practice(_))) {
            return Ok(Err(Stays(Why::NotInDirectory, Some(ods.to_string()))));
        }
        Ok(Ok((ods.clone(), pds)))
    }

    /// Whether a home has told that the person is there no more. Who has died is among them.
    async fn has_left(&self, line: &[TransferRecord]) -> Result<bool, StoreError> {
        let copies = line.iter().flat_map(TransferRecord::copies);
        for home in copies.filter(|copy| copy.kind == RecipientKind::CareHome) {
            if left(&self.store.steps(home.id).await?).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a person has asked that the transfer, or a copy of it, goes elsewhere, whatever a second one says of it.
    async fn is_to_be_redirected(&self, transfer: TransferId) -> Result<bool, StoreError> {
        let asked = self.store.approvals(ApprovalKind::Redirect, None, self.clock.now()).await?;
        Ok(asked.iter().filter_map(Redirect::of).any(|redirect| redirect.transfer == transfer))
    }

    /// The copy for this practice, by the walk of every message; nothing else may follow from it.
    async fn copy_for(
        &self,
        failed: &DeliveryRecord,
        transfer: &TransferRecord,
        number: &NhsNumber,
        practice: OdsCode,
        pds: &PdsPatient,
    ) -> Result<Result<NewDelivery, Stays>, StoreError> {
        let original = self.store.original(transfer.id).await?;
        let client = self.store.client(&transfer.client_id).await?;
        let (Some(original), Some(client)) = (original, client) else { return Ok(Err(Why::NotKept.into())) };
        let decided = Decided { registered_practice: Some(practice.clone()), ..Decided::default() };
        let known = Beforehand::told(number.clone(), pds.clone());
        let answered = Pds::Answered(&known, self.asking(Some(transfer.id), None).by(&Asker::Gateway));
        let body = Bytes::from(original.body);
        let walked = self.walk(&client, &body, &original.media_type, transfer.id, &decided, answered).await;
        let routing = match walked {
            Ok(prepared) => prepared.routing,
            Err(PrepareError::Store(error)) => return Err(error),
            Err(PrepareError::Refused(_)) => return Ok(Err(Why::Refused.into())),
        };
        let (identified, copies) = match routing {
            Routing::Deliver { identified, copies } => (identified, copies),
            Routing::Hold { cause, .. } => return Ok(Err(Stays(Why::Held, Some(cause.reason.to_string())))),
        };
        let home = &identified.care_home.ods;
        let mut new: Vec<_> = copies.into_iter().map(|copy| copy.delivery).collect();
        // Who has a copy must be one who would get it now: a practice that covers the home, and has the person on its own list by now, would
        // not be asked to take them on for a while.
        let stays =
            |old: &DeliveryRecord| new.iter().any(|new| (new.kind, &new.recipient) == (old.kind, &old.recipient));
        let all_stay = transfer.copies().filter(|old| old.ended.is_none() && old.id != failed.id).all(stays);
        new.retain(|new| !keeps_theirs(transfer, home, new));
        let same_home = transfer.care_home.as_ref() == Some(home);
        Ok(match new.pop() {
            Some(copy)
                if all_stay
                    && same_home
                    && new.is_empty()
                    && (copy.kind, &copy.recipient) == (RecipientKind::RegisteredPractice, &practice) =>
            {
                Ok(copy)
            }
            _ => Err(Why::Differs.into()),
        })
    }

    /// The other practice gets its copy; the first one's ends as it does when a person reroutes.
    async fn moved(&self, copy: &DeliveryRecord, new: NewDelivery) -> Result<(Retraced, Vec<AuditRow>), StoreError> {
        let ending = match untold(copy) {
            Some(reason) => {
                let (why, reason) = (EndReason::Recalled, reason.to_owned());
                let went = Some(self.went(copy, why, &reason, &copy.endpoint).await?);
                Ending { delivery: copy.id, why, by: None, reason, seen: false, notice: None, went }
            }
            None => self.ending(copy, EndReason::Recalled, told(EndReason::Recalled, REASON)).await?,
        };
        let endings = vec![ending];
        let back = TakenBack { agent: Agent::gateway(), by: None, reason: REASON, request_id: None };
        let mut audit = vec![self.retraced_row(
            copy,
            true,
            &format!(
                "it names another practice, and the document goes from {} to {}; copies that name the person's own practice name the first",
                copy.recipient, new.recipient
            ),
        )];
        audit.extend(self.ending_rows(&endings, &[copy], &back));
        Ok((Retraced::Sent { endings, copy: Box::new(new) }, audit))
    }

    fn stays(&self, copy: &DeliveryRecord, Stays(why, about): &Stays) -> (Retraced, Vec<AuditRow>) {
        let reason = format!("{}{ASKED}{}", copy.reason.as_deref().unwrap_or("no reason given"), why.told());
        let about = about.as_ref().map(|about| format!(" ({about})")).unwrap_or_default();
        let row = self.retraced_row(copy, false, &format!("{}{about}; a person must act", why.logged()));
        (Retraced::Stays { reason }, vec![row])
    }

    /// Of the transfer, so that the first practice does not read who has the person now.
    fn retraced_row(&self, copy: &DeliveryRecord, success: bool, what: &str) -> AuditRow {
        let code = copy.code.as_deref().unwrap_or("none");
        let detail = format!("PDS was asked again about the registered practice (code {code}): {what}");
        self.journal.row(&AuditEntry {
            success,
            transfer: Some(copy.transfer),
            patient: copy.patient.clone(),
            ..AuditEntry::new(AuditWord::Release, self.clock.now(), Agent::gateway(), detail)
        })
    }
}

/// Why a copy ends without a word to its recipient; `None` where they are told.
fn untold(copy: &DeliveryRecord) -> Option<&'static str> {
    match copy.state {
        // MESH's word that it found nobody for the one attempt means that nobody has it.
        DeliveryState::Failed if copy.attempts == 1 && copy.opened.is_none() => Some(UNDELIVERED),
        // What a recall tells names nobody, and MESH has a workflow for letters about somebody alone.
        DeliveryState::Rejected if copy.endpoint.kind() == TransportKind::Mesh => Some(REFUSED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pds_said_is_told_to_people_here_and_to_no_recipient() {
        for why in Why::ALL {
            let reason = format!("30002 Patient not known here{ASKED}{}", why.told());
            assert_eq!(said(&reason), Some(why.told()));
            assert_eq!(without_pds(&reason), "30002 Patient not known here", "{why:?}");
            assert!(!why.told().contains("sensitive") && !why.told().contains("deceased"), "{why:?}");
        }
        let forged = format!("no{ASKED}Ada Wells has moved");
        assert_eq!((said(&forged), without_pds(&forged)), (None, forged.as_str()));
        assert_eq!((said("it names no practice"), without_pds("no")), (None, "no"));
        let protected = [Why::Restricted, Why::Deceased, Why::HasLeft].map(Why::told);
        assert!(protected.iter().all(|told| *told == protected[0]), "one text for what must not be told apart");
    }

    #[test]
    fn codes_for_no_practice_are_an_answer() {
        for code in ["V81999", "V81998", "V81997", "G9999998", "G9999981"] {
            assert!(is_no_practice(code), "{code}");
        }
        assert!(!is_no_practice("Y99002"));
    }
}
