//! Acknowledgements move a copy's Task and travel back to the hospital.
//!
//! A recipient acknowledges by `PUT Task` or by an ITK3 response message. The hospital always sees the Task;
//! when it asked for them it also gets at most one infrastructure and one business response (ITK3: one
//! code each, every negative final). The business response is the care home's answer: the home is the one
//! recipient that the message itself addresses.

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Client;
use onward_core::directory::Endpoint;
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::{DeliveryRecord, NewDelivery, ReplyWanted, StoreError, Transition};
use onward_core::{DeliveryId, MeshMailboxId, OdsCode, TransferId};
use onward_fhir::itk::{Level, ResponseCode};
use onward_fhir::{Release, authored, write};

use crate::Gateway;
use crate::answer::code_for_sender;
use crate::collect::{Standing, standing};
use crate::mailbox::report;

/// What became of a recipient's `PUT Task`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// Done.
    Done,
    /// No such Task for this client.
    NotFound,
    /// The Task has another version now.
    VersionChanged {
        /// The version that it has.
        current: u64,
    },
    /// The step is not allowed from the present state.
    NotAllowed {
        /// The present state.
        from: DeliveryState,
    },
    /// A rejection needs a reason.
    ReasonMissing,
    /// The ITK3 code says the opposite of the state.
    CodeContradicts {
        /// The code.
        code: ResponseCode,
    },
}

/// What a recipient says of its copy by `PUT Task`.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `Task.status`.
    pub state: DeliveryState,
    /// The ITK3 response code of `Task.statusReason`, such as 30022 (registration refused: at capacity).
    pub code: Option<ResponseCode>,
    /// `Task.statusReason` in words.
    pub reason: Option<String>,
}

/// An ITK3 response as it came by MESH.
#[derive(Debug, Clone, Copy)]
pub struct MeshResponse<'a> {
    /// `response.identifier`: our MessageHeader.id.
    pub original_header_id: &'a str,
    /// ITK3 response code.
    pub code: u32,
    /// The answer is yes.
    pub positive: bool,
    /// Who answers.
    pub level: Option<Level>,
    /// The mailbox that it came from.
    pub from: Option<&'a MeshMailboxId>,
    /// The mailbox that MESH found for the message that it answers, where that was left to MESH.
    pub found: Option<&'a MeshMailboxId>,
}

/// What became of an ITK3 response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It is about this copy; whether that moved is in its audit.
    Copy(DeliveryId),
    /// It names no copy of ours.
    Unknown,
    /// It does not come from the mailbox that the copy was sent to: nothing changed.
    WrongMailbox,
}

/// What became of a report that MESH could not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It is about this copy; whether that moved is in its audit.
    Copy(DeliveryId),
    /// It names no copy of ours.
    Unknown,
    /// The send that it may be about has not ended here: what it means is not known yet, and nothing is written.
    Running,
}

/// One acknowledgement, however it came.
pub(crate) struct Acknowledgement<'a> {
    pub(crate) state: DeliveryState,
    pub(crate) code: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) agent: Agent,
    pub(crate) request_id: Option<&'a str>,
}

impl Gateway {
    /// A recipient moves its Task.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn move_task(
        &self,
        client: &Client,
        id: DeliveryId,
        expected_version: u64,
        answer: Answer,
        request_id: Option<&str>,
    ) -> Result<Moved, StoreError> {
        let Answer { state, code, reason } = answer;
        let Some(record) = self.store.delivery(id).await? else { return Ok(Moved::NotFound) };
        if standing(client, &record) != Standing::Recipient || !record.is_readable() {
            self.deny(client, Some(record.transfer), Some(id), "Task of another organisation", request_id).await?;
            return Ok(Moved::NotFound);
        }
        if record.version != expected_version {
            return Ok(Moved::VersionChanged { current: record.version });
        }
        if !may_move(&record, state) || is_early(&record, state) {
            return Ok(Moved::NotAllowed { from: record.state });
        }
        if state == DeliveryState::Rejected && reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            return Ok(Moved::ReasonMissing);
        }
        if let Some(code) = code
            && (state == DeliveryState::Rejected && code.positive || state.is_acknowledged() && !code.positive)
        {
            return Ok(Moved::CodeContradicts { code });
        }
        let code = code.map(|code| code.code.to_string());
        let agent = Agent::client(client);
        let acknowledgement = Acknowledgement { state, code, reason, agent, request_id };
        if self.apply(&record, acknowledgement).await? {
            Ok(Moved::Done)
        } else {
            let current = self.store.delivery(id).await?.map_or(expected_version, |record| record.version);
            Ok(Moved::VersionChanged { current })
        }
    }

    /// Applies an ITK3 response to the copy that it names, if it comes from the mailbox that the copy went to: an
    /// identifier can be guessed or passed on, a mailbox is what MESH vouches for.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn acknowledge_by_response(&self, response: MeshResponse<'_>) -> Result<Answered, StoreError> {
        let from = Agent::mailbox(response.from);
        loop {
            let found = self.store.delivery_by_correlation(response.original_header_id).await?;
            let Some(record) = found else { return Ok(Answered::Unknown) };
            if !response.from.is_some_and(|from| is_endpoint(&record, from, response.found)) {
                return Ok(Answered::WrongMailbox);
            }
            let code = response.code.to_string();
            // 20007: our resend found the first copy there, which is what was wanted.
            let state = match (response.positive || response.code == 20007, response.level) {
                (false, _) => DeliveryState::Rejected,
                (true, Some(Level::Business)) => DeliveryState::Accepted,
                (true, _) => DeliveryState::Received,
            };
            if !may_move(&record, state) {
                self.note_late(&record, &format!("code {code}"), from).await?;
                return Ok(Answered::Copy(record.id));
            }
            let display = ResponseCode::of(response.code).map_or("unknown code", |known| known.display);
            let reason = (state == DeliveryState::Rejected).then(|| format!("{code} {display}"));
            let acknowledgement =
                Acknowledgement { state, code: Some(code), reason, agent: from.clone(), request_id: None };
            // Somebody else moved the copy in between: look again and decide anew.
            if self.apply(&record, acknowledgement).await? {
                return Ok(Answered::Copy(record.id));
            }
        }
    }

    /// The network tells that a copy will not be collected or delivered (MESH report): a person must act. What it changes nothing
    /// about is told in the log all the same: MESH keeps no report that was acknowledged.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn undelivered(
        &self,
        reference: Option<&str>,
        local_id: Option<DeliveryId>,
        code: &str,
    ) -> Result<Reported, StoreError> {
        let reason = match report::words(code) {
            Some(words) => format!("MESH report {code}: not delivered: {words}"),
            None => format!("MESH report {code}: not delivered"),
        };
        loop {
            let mut found = match reference {
                Some(reference) => self.store.delivery_by_reference(reference).await?,
                None => None,
            };
            if let (None, Some(id)) = (&found, local_id) {
                // MESH's answer to our send was lost with its reference: our own identifier is in the report too.
                // One that is queued may be on its way again, with the reference of an earlier time.
                let ours =
                    |record: &DeliveryRecord| record.reference.is_none() || record.state == DeliveryState::Queued;
                found = self.store.delivery(id).await?.filter(ours);
            }
            let Some(record) = found else { return Ok(Reported::Unknown) };
            if record.state == DeliveryState::Queued {
                if self.store.is_leased(record.id, self.clock.now()).await? {
                    return Ok(Reported::Running);
                }
                // It may have ended between the two looks.
                if self.store.delivery(record.id).await?.is_some_and(|now| now.version != record.version) {
                    continue;
                }
            }
            // A response awaits nothing, and is completed by its hand-over; that it was handed over is all that is known.
            let handed_over = match record.kind {
                RecipientKind::Sender => DeliveryState::Completed,
                _ => DeliveryState::Sent,
            };
            if record.state != handed_over {
                tracing::warn!(delivery = %record.id, code, state = %record.state, "MESH could not deliver; nothing changed");
                self.note_late(&record, &reason, Agent::named("mesh", None)).await?;
                return Ok(Reported::Copy(record.id));
            }
            tracing::error!(delivery = %record.id, code, "MESH could not deliver; a person must act");
            let acknowledgement = Acknowledgement {
                state: DeliveryState::Failed,
                code: Some(code.to_owned()),
                reason: Some(reason.clone()),
                agent: Agent::named("mesh", None),
                request_id: None,
            };
            if self.apply(&record, acknowledgement).await? {
                return Ok(Reported::Copy(record.id));
            }
        }
    }

    async fn apply(&self, record: &DeliveryRecord, acknowledgement: Acknowledgement<'_>) -> Result<bool, StoreError> {
        let transition = self.transition_for(record, acknowledgement).await?;
        let kept = self.store.transition(transition).await?;
        self.work.notify_one();
        Ok(kept)
    }

    /// The change that an acknowledgement makes, with the responses to the sender that follow from it and its audit.
    pub(crate) async fn transition_for(
        &self,
        record: &DeliveryRecord,
        acknowledgement: Acknowledgement<'_>,
    ) -> Result<Transition, StoreError> {
        let at = self.clock.now();
        let mut responses = Vec::new();
        if record.kind == RecipientKind::CareHome
            && record.notice.is_none()
            && matches!(
                acknowledgement.state,
                DeliveryState::Accepted
                    | DeliveryState::InProgress
                    | DeliveryState::Completed
                    | DeliveryState::Rejected
            )
            && let Some(transfer) = self.store.transfer(record.transfer).await?
        {
            let code = code_for_sender(acknowledgement.state, acknowledgement.code.as_deref());
            let answer = (Level::Business, code);
            responses.extend(self.response_to_sender(transfer.id, &transfer.sender, &transfer.reply, answer));
        }
        let entry = AuditEntry {
            success: acknowledgement.state != DeliveryState::Failed,
            transfer: Some(record.transfer),
            delivery: Some(record.id),
            recipient: Some(record.recipient.clone()),
            patient: record.patient.clone(),
            request_id: acknowledgement.request_id.map(str::to_owned),
            ..AuditEntry::new(
                AuditWord::Acknowledge,
                at,
                acknowledgement.agent,
                format!(
                    "{} from {}{}",
                    acknowledgement.state,
                    record.state,
                    acknowledgement.code.as_deref().map(|code| format!(", code {code}")).unwrap_or_default()
                ),
            )
        };
        Ok(Transition {
            delivery: record.id,
            expected_version: record.version,
            state: acknowledgement.state,
            code: acknowledgement.code,
            reason: acknowledgement.reason,
            at,
            responses,
            audit: vec![self.journal.row(&entry)],
        })
    }

    async fn note_late(&self, record: &DeliveryRecord, what: &str, agent: Agent) -> Result<(), StoreError> {
        let entry = AuditEntry {
            transfer: Some(record.transfer),
            delivery: Some(record.id),
            recipient: Some(record.recipient.clone()),
            patient: record.patient.clone(),
            ..AuditEntry::new(
                AuditWord::Acknowledge,
                self.clock.now(),
                agent,
                format!("{what} came when the copy was already {}; nothing changed", record.state),
            )
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    /// The ITK3 response with this code, as a copy to the sender's mailbox, when the sender asked for a response of this level.
    /// Its identifier follows from transfer and level, so that there is at most one of each.
    pub(crate) fn response_to_sender(
        &self,
        transfer: TransferId,
        sender: &OdsCode,
        reply: &ReplyWanted,
        (level, code): (Level, u32),
    ) -> Option<NewDelivery> {
        let business = level == Level::Business;
        let wanted = if business { reply.business } else { reply.infrastructure };
        let mailbox = reply.mailbox.clone().filter(|_| wanted)?;
        let level: &[u8] = if business { b"business" } else { b"infrastructure" };
        let id = DeliveryId(uuid::Uuid::new_v5(&transfer.0, level));
        Some(NewDelivery {
            id,
            kind: RecipientKind::Sender,
            recipient: sender.clone(),
            recipient_name: "the sending hospital".to_owned(),
            endpoint: Endpoint::Mesh { mailbox, workflow: reply.workflow.clone() },
            directory: None,
            media_type: "application/fhir+xml".to_owned(),
            body: self.response_body(id, reply, code)?,
            html: None,
            card: None,
            correlation_id: None,
            workflow: reply.workflow.clone(),
            basis: "acknowledgement, carries no patient data".to_owned(),
            disclosure: "{}".to_owned(),
            acknowledgement_awaited: false,
            notice: None,
        })
    }

    /// An ITK3 response message (STU3 XML) with this code; `None` for a code that ITK3 does not know.
    pub(crate) fn response_body(&self, id: DeliveryId, reply: &ReplyWanted, code: u32) -> Option<Vec<u8>> {
        let content = authored::ItkResponse {
            id: id.to_string(),
            original_header_id: reply.header_id.clone(),
            code: ResponseCode::of(code)?,
            sender_reference: reply.sender_reference.clone(),
            sender_ods: self.settings.own_ods.to_string(),
            sender_name: self.settings.own_name.clone(),
            source_endpoint: self.settings.own_mailbox.as_ref().map_or_else(String::new, ToString::to_string),
            timestamp: self.clock.now().to_string(),
        };
        let tree = authored::itk3_response(&content);
        Some(write::xml(tree.root(), Release::Stu3).text.into_bytes())
    }
}

/// Whether the recipient's word can move the copy to `to`. A copy that was sent may be answered before we know that it
/// arrived (the answer overtook our commit, or the outcome of the attempt is unknown) or after we gave it up. One for the
/// inbox is there as soon as it is committed.
pub(crate) fn may_move(record: &DeliveryRecord, to: DeliveryState) -> bool {
    let inbox = record.endpoint.kind() == TransportKind::Inbox;
    let sent = record.attempts > 0 && !inbox;
    match record.state {
        DeliveryState::Queued if inbox => DeliveryState::AwaitingCollection.may_become(to),
        DeliveryState::Queued | DeliveryState::Failed => sent && DeliveryState::Sent.may_become(to),
        state => state.may_become(to),
    }
}

/// Whether a home would take over a person who has not arrived: neither its page nor its system can.
pub(crate) fn is_early(record: &DeliveryRecord, to: DeliveryState) -> bool {
    record.kind == RecipientKind::CareHome
        && record.notice.is_none()
        && to == DeliveryState::Completed
        && !matches!(record.state, DeliveryState::InProgress | DeliveryState::Completed)
}

fn is_endpoint(record: &DeliveryRecord, mailbox: &MeshMailboxId, found: Option<&MeshMailboxId>) -> bool {
    match &record.endpoint {
        Endpoint::Mesh { mailbox: sent_to, .. } => sent_to == mailbox,
        Endpoint::GpRouting { .. } => found == Some(mailbox),
        _ => false,
    }
}
