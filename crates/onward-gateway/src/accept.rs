//! One message becomes one transfer: prepared, then committed with its copies and its audit before the reply.

use std::collections::BTreeSet;

use bytes::Bytes;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Client;
use onward_core::directory::Endpoint;
use onward_core::scanning::NotScanned;
use onward_core::state::{EndReason, RecipientKind};
use onward_core::store::{Acceptance, Accepted, Held, NewHold, NewTransfer, StoreError, TransferRecord, Waiting};
use onward_core::{HoldId, TransferId};
use onward_fhir::authored::Severity;

use crate::Gateway;
use crate::answer::{TAKEN_IN, not_replaced};
use crate::beforehand::Pds;
use crate::decision::Decided;
use crate::lifecycle::{Heir, TRIES, TakenBack};
use crate::outdated::Refused;
use crate::prepare::{PrepareError, Prepared, Routing};
use crate::refusal::Refusal;
use crate::room::{Place, Room};

/// One posted or collected message. It has no `Debug`: that would show the body.
#[derive(Clone)]
pub struct Submission {
    /// Who sends it.
    pub client: Client,
    /// The bytes as they came.
    pub body: Bytes,
    /// Their media type.
    pub media_type: String,
    /// `X-Request-ID`.
    pub request_id: Option<String>,
}

/// An accepted message. Its `Debug` leaves the answer out, which names the person.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transfer.
    pub transfer: TransferId,
    /// The response message, FHIR JSON.
    pub response: Vec<u8>,
    /// It had been accepted before.
    pub duplicate: bool,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("transfer", &self.transfer).finish_non_exhaustive()
    }
}

/// Why there is no transfer.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The sender's or the message's fault; audited.
    #[error(transparent)]
    Refused(Refusal),
    /// Ours: nothing could be made durable.
    #[error(transparent)]
    Store(StoreError),
    /// Ours: nobody looked through the attachments, so nothing was taken in.
    #[error(transparent)]
    NotScanned(#[from] NotScanned),
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Gateway {
    /// Takes in one message. The receipt is returned after the durable commit.
    ///
    /// # Errors
    /// See [`AcceptError`]; a refusal has been audited when it is returned.
    pub async fn accept(&self, submission: Submission) -> Result<Receipt, AcceptError> {
        self.accept_from(submission, Place::default()).await
    }

    /// The same of a message whose body waits in this place, which it leaves when it has its turn.
    ///
    /// # Errors
    /// As [`Gateway::accept`].
    pub async fn accept_from(&self, submission: Submission, mut place: Place) -> Result<Receipt, AcceptError> {
        for _ in 1..TRIES {
            match self.try_to_accept(&submission, &mut place).await {
                // What it replaces, or a recipient's address, moved on between the look and the commit.
                Err(AcceptError::Store(StoreError::Overtaken)) => {}
                outcome => return outcome,
            }
        }
        self.try_to_accept(&submission, &mut place).await
    }

    /// Everything that accepting a message does but what is committed: to measure it, on a stand-in for PDS, which is asked without an
    /// entry.
    ///
    /// # Errors
    /// See [`AcceptError`]; a refusal has been audited when it is returned.
    pub async fn acceptance_of(&self, submission: &Submission) -> Result<Acceptance, AcceptError> {
        self.acceptance_with(submission, TransferId::random(), Pds::Untold(self.directory.as_ref())).await
    }

    /// What accepting a message commits, with PDS asked in this way; the scanner is asked here unless it was before.
    async fn acceptance_with(
        &self,
        submission: &Submission,
        transfer: TransferId,
        pds: Pds<'_>,
    ) -> Result<Acceptance, AcceptError> {
        let Submission { client, body, media_type, .. } = submission;
        let prepared = match self.walk(client, body, media_type, transfer, &Decided::default(), pds).await {
            Ok(prepared) => prepared,
            Err(PrepareError::Store(error)) => return Err(error.into()),
            Err(PrepareError::Refused(refusal)) => return Err(self.refuse(submission, refusal).await?),
        };
        if !matches!(pds, Pds::Answered(..)) {
            self.refuse_malware(submission, &prepared.to_scan.0).await?;
        }
        Ok(self.acceptance(submission, prepared, transfer).await?)
    }

    async fn try_to_accept(&self, submission: &Submission, place: &mut Place) -> Result<Receipt, AcceptError> {
        let (bytes, transfer) = (submission.body.len(), TransferId::random());
        let asking = self.asking(Some(transfer), submission.request_id.as_deref());
        let beforehand = match Room::is_needed_for(bytes) {
            true => Some(self.beforehand(submission, transfer, place).await?),
            false => None,
        };
        let pds = beforehand.as_ref().map_or(Pds::Asked(asking), |known| Pds::Answered(known, asking));
        // Most of it until what was made of the message is packed, the rest until the commit.
        let mut room = self.room.enter(bytes).await?;
        let mut acceptance = self.acceptance_with(submission, transfer, pds).await?;
        let NewTransfer { document_id, document_set_id, response, .. } = &acceptance.transfer;
        let response = response.clone();
        for copy in acceptance.deliveries.iter().filter(|copy| copy.endpoint != Endpoint::Inbox {}) {
            // Read here, so that no transaction waits for it when the copy leaves. What is collected is read when it is, in the form that is asked for.
            self.reader.read_ahead(&copy.media_type, &copy.body);
        }
        let named: Vec<String> = document_id.iter().chain(document_set_id).cloned().collect();
        let waits = acceptance.hold.as_ref().filter(|_| acceptance.transfer.awaits.is_some());
        let waits = waits.map(|hold| Waiting { hold: hold.id, transfer });
        let late = acceptance.late.is_some();
        acceptance.held = room.as_mut().and_then(Room::until_packed).map_or_else(Held::default, Held::until_packed);
        let accepted = self.store.accept(acceptance).await;
        drop(room);
        match accepted? {
            Accepted::New => {
                self.work.notify_one();
                if !late {
                    self.join_waiting(&submission.client.ods, &named).await;
                }
                if let Some(waiting) = waits {
                    self.join_if_come(waiting).await;
                }
                Ok(Receipt { transfer, response, duplicate: false })
            }
            Accepted::Repeat { transfer, response } => Ok(Receipt { transfer, response, duplicate: true }),
            Accepted::Erased { .. } => Err(AcceptError::Store(StoreError::Erased)),
            Accepted::MessageIdReused => {
                let Refused { replaces, .. } = Refused::read(&submission.body, &submission.media_type);
                self.tell_outdated(&submission.client.ods, replaces).await;
                Err(AcceptError::Refused(Refusal::MessageIdReused))
            }
            Accepted::DocumentRepeated { .. } => Err(AcceptError::Refused(Refusal::DocumentRepeated)),
        }
    }

    pub(crate) async fn refuse(&self, submission: &Submission, refusal: Refusal) -> Result<AcceptError, StoreError> {
        let detail = match &refusal {
            Refusal::NotValid(findings) => {
                let errors = findings.iter().filter(|finding| finding.severity >= Severity::Error);
                let rules: BTreeSet<&str> = errors.map(|finding| finding.rule.as_ref()).collect();
                format!("{}: {}", refusal.word(), rules.into_iter().collect::<Vec<_>>().join(", "))
            }
            Refusal::Malware { number, name } => format!("{}: {name} in attachment {number}", refusal.word()),
            _ => refusal.word().to_owned(),
        };
        let Refused { message_id, patient, replaces } = match &refusal {
            // Too much to look at once more.
            Refusal::TooLarge(_) => Refused::default(),
            _ => Refused::read(&submission.body, &submission.media_type),
        };
        let message = message_id.map_or_else(String::new, |id| format!("message {id}, "));
        let hash = crate::sha256(&submission.body);
        let mut entry = self.entry((submission, &hash), AuditWord::Refuse, false, None, format!("{message}{detail}"));
        entry.patient = patient;
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        self.tell_outdated(&submission.client.ods, replaces).await;
        Ok(AcceptError::Refused(refusal))
    }

    async fn acceptance(
        &self,
        submission: &Submission,
        prepared: Prepared,
        id: TransferId,
    ) -> Result<Acceptance, StoreError> {
        let now = self.clock.now();
        // Once: a body may have megabytes.
        let hash = crate::sha256(&submission.body);
        let hashed = (submission, &hash);
        let version = prepared.version();
        let awaits = prepared.awaits().map(str::to_owned);
        let replaces = prepared.predecessor.as_ref().map(|predecessor| predecessor.transfer);
        let earlier = self.versions_before(replaces).await?;
        let (patient, care_home, mut deliveries, mut hold) = match prepared.routing {
            Routing::Deliver { identified, copies } => {
                let deliveries: Vec<_> = copies.into_iter().map(|copy| copy.delivery).collect();
                (Some(identified.patient), Some(identified.care_home.ods), deliveries, None)
            }
            Routing::Hold { patient, care_home, cause, .. } => {
                let (owner, due) = self.settings.hold_until(cause.reason, prepared.facts.expected, now);
                let hold = NewHold { id: HoldId::random(), reason: cause.reason, detail: cause.detail, owner, due };
                (patient, care_home, Vec::new(), Some(hold))
            }
        };
        let facts = prepared.facts;
        let sender = &submission.client.ods;
        let named: Vec<String> = facts.document_id.iter().chain(&facts.document_set_id).cloned().collect();
        let place = (named.as_slice(), facts.dated);
        let come_late = self.come_late(id, (sender, patient.as_ref()), place, &earlier).await?;
        let (late, endings, ending_rows) = match (come_late, hold.is_some()) {
            (Some((late, endings, rows)), _) => {
                deliveries.clear();
                hold = None;
                (Some(late), endings, rows)
            }
            (None, true) => (None, Vec::new(), Vec::new()),
            (None, false) => {
                let copies: Vec<Heir<'_>> = deliveries.iter().map(Heir::from).collect();
                let endings = self.superseding(&earlier, version, &copies).await?;
                let back = TakenBack { agent: Agent::gateway(), by: None, reason: "", request_id: None };
                let copies: Vec<_> = earlier.iter().flat_map(TransferRecord::copies).collect();
                let rows = self.ending_rows(&endings, &copies, &back);
                (None, endings, rows)
            }
        };
        let notices = self.leaving_told_before(id, sender, patient.as_ref(), &earlier, &deliveries).await?;
        // Whether a replacement can be processed is not known while it waits for a person: 20013 would be final.
        if hold.is_none() || facts.replaces.is_none() {
            let void = late.as_ref().is_some_and(|late| late.why == EndReason::Void);
            let answer = if void { not_replaced(facts.reply.infrastructure) } else { TAKEN_IN };
            deliveries.extend(self.response_to_sender(id, sender, &facts.reply, answer));
        }
        let detail = format!(
            "event {}, {} copies, route \"{}\"{}{}",
            facts.event,
            deliveries.iter().filter(|delivery| delivery.kind != RecipientKind::Sender).count(),
            prepared.route,
            hold.as_ref().map(|hold| format!(", held: {}", hold.reason)).unwrap_or_default(),
            late.as_ref().map(|late| format!(", it came late: {}", late.why)).unwrap_or_default()
        );
        deliveries.extend(notices);
        let mut accepted = self.entry(hashed, AuditWord::Accept, true, Some(id), detail);
        accepted.patient.clone_from(&patient);
        let mut audit = vec![self.journal.row(&accepted)];
        if let Some(hold) = &hold {
            let mut held =
                self.entry(hashed, AuditWord::Hold, true, Some(id), format!("{}: {}", hold.reason, hold.detail));
            held.agent = Agent::gateway();
            held.patient.clone_from(&patient);
            audit.push(self.journal.row(&held));
        }
        let detail = format!("message {} came again and got its first answer", facts.message_id);
        audit.extend(ending_rows);
        let mut repeat = self.entry(hashed, AuditWord::Duplicate, true, None, detail);
        repeat.patient.clone_from(&patient);
        let detail = format!("message {}: its identifier or its document's was used before", facts.message_id);
        let mut conflict = self.entry(hashed, AuditWord::Refuse, false, None, detail);
        conflict.patient.clone_from(&patient);
        let mut transfer = NewTransfer {
            id,
            sender: submission.client.ods.clone(),
            client_id: submission.client.id.clone(),
            message_id: facts.message_id,
            document_id: facts.document_id,
            document_set_id: facts.document_set_id,
            dated: facts.dated,
            version,
            replaces,
            awaits,
            event: facts.event,
            received: now,
            expected: facts.expected,
            patient,
            care_home,
            reply: facts.reply,
            media_type: submission.media_type.clone(),
            body: submission.body.to_vec(),
            body_sha256: hash,
            response: Vec::new(),
        };
        transfer.response = self.receipt_message(&transfer, hold.as_ref(), late.as_ref(), &prepared.findings);
        let (audit_if_repeat, audit_if_conflict) = (self.journal.row(&repeat), self.journal.row(&conflict));
        let held = Held::default();
        Ok(Acceptance { transfer, deliveries, hold, late, endings, audit, audit_if_repeat, audit_if_conflict, held })
    }

    fn entry(
        &self,
        (submission, hash): (&Submission, &[u8; 32]),
        word: AuditWord,
        success: bool,
        transfer: Option<TransferId>,
        detail: String,
    ) -> AuditEntry {
        AuditEntry {
            success,
            transfer,
            content_sha256: Some(hex::encode(hash)),
            request_id: submission.request_id.clone(),
            ..AuditEntry::new(word, self.clock.now(), Agent::client(&submission.client), detail)
        }
    }
}
