//! Our own MESH mailbox: responses move copies, reports raise alarms, discharges are taken in. A message is
//! acknowledged to MESH only after what it caused is durable. What cannot be collected (its content is not what its headers say, or is
//! past the bound) is never acknowledged: its sender could not tell that from a delivery, and MESH reports it to them after five days. Nor is
//! what is refused where its sender cannot be told so, or wants no answer. It is left alone for a while, told in the log, and counted for
//! whoever watches.

mod repeats;
pub(crate) mod report;
mod standing;
mod turns;
mod watching;

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt as _;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::{Client, Role};
use onward_core::directory::Endpoint;
use onward_core::scanning::NotScanned;
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::{ReplyWanted, StoreError};
use onward_core::transport::{LISTED_AT_ONCE, Mailbox, MeshMessage, Outbound, SendError};
use onward_core::{DeliveryId, MeshMailboxId};
use onward_fhir::Message;
use onward_fhir::message::Response;
use onward_fhir::read;
use tokio::sync::watch;

use crate::Gateway;
use crate::accept::{AcceptError, Submission};
use crate::acknowledge::{Answered, MeshResponse, Reported};
use crate::prepare::read_tree;
pub(crate) use standing::Looks;
pub use standing::Standing;
use turns::Turn;

/// A message at which this gateway itself failed: it may do so every time.
const BROKEN: &str = "a fault of this gateway broke its collection off";
/// So end the workflows of acknowledgements.
const ANSWERS: &str = "_ACK";
/// ITK3: the sender is not known here.
const NOT_TAKEN_FROM_YOU: u32 = 20003;
/// ITK3: the document came before.
const COME_BEFORE: u32 = 20008;

/// One message could not be dealt with now; it stays in the mailbox.
#[derive(Debug, thiserror::Error)]
enum Stay {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mesh(#[from] SendError),
    #[error(transparent)]
    NotScanned(#[from] NotScanned),
    #[error("the send that a report is about has not ended")]
    Running,
    #[error("{BROKEN}")]
    Broken,
    /// Somebody must be told what only a person can tell them.
    #[error("{0}")]
    Untold(String),
}

/// What one look came to.
struct Seen {
    /// Messages dealt with.
    done: usize,
    /// There may be more than were listed.
    more: bool,
}

impl Gateway {
    /// One look: deals with what waits, oldest first. A message that cannot be dealt with now does not hold up
    /// the others.
    ///
    /// # Errors
    /// When the mailbox cannot be listed.
    pub async fn poll_mailbox(&self, mailbox: &dyn Mailbox) -> Result<usize, SendError> {
        Ok(self.look_into(mailbox, None).await?.done)
    }

    /// How our mailbox stands to this process; nothing before it looked into it.
    #[must_use]
    pub fn mailbox_standing(&self) -> Option<Standing> {
        self.looks.standing()
    }

    /// The same, ended between two messages when the gateway ends or the turn has passed on.
    async fn look_into(
        &self,
        mailbox: &dyn Mailbox,
        mut turn: Option<(&mut Turn, &watch::Receiver<bool>)>,
    ) -> Result<Seen, SendError> {
        self.looks.begins(self.clock.now());
        let ids = mailbox.list().await?;
        self.looks.listed(&ids, self.clock.now());
        let (is_full, mut done) = (is_full(ids.len()), 0);
        for id in ids {
            if let Some((turn, stop)) = &mut turn {
                let is_stopped = *stop.borrow();
                if is_stopped || !self.keeps_turn(turn).await {
                    break;
                }
            }
            if self.looks.waits(&id, self.clock.now()) {
                continue;
            }
            // A fault in one message is that message's alone.
            let collected = AssertUnwindSafe(self.collect_one(mailbox, &id)).catch_unwind().await;
            match collected.unwrap_or(Err(Stay::Broken)) {
                Ok(()) => {
                    self.looks.left(&id);
                    done += 1;
                }
                Err(Stay::Running) => {
                    tracing::info!(mesh_message = id, "a MESH report waits for the end of the send that it is about");
                }
                Err(error) => self.keep(mailbox, &id, &error).await,
            }
        }
        // What stays is listed again each time: where nothing else was there, the next look has time.
        Ok(Seen { done, more: is_full && done > 0 })
    }

    async fn collect_one(&self, mailbox: &dyn Mailbox, id: &str) -> Result<(), Stay> {
        let message = mailbox.fetch(id).await?;
        self.looks.answered(self.clock.now());
        if message.message_type == "REPORT" {
            self.take_report(&message).await?;
        } else {
            self.take_data(mailbox, &message).await?;
        }
        mailbox.acknowledge(id).await?;
        Ok(())
    }

    /// A message could not be dealt with. Where another gateway took it meanwhile, MESH does not have it any more.
    async fn keep(&self, mailbox: &dyn Mailbox, id: &str, error: &Stay) {
        let for_good = match error {
            Stay::Mesh(SendError::Permanent { reason }) => Some(reason.as_str()),
            Stay::Broken => Some(BROKEN),
            Stay::Untold(why) => Some(why.as_str()),
            _ => None,
        };
        let is_first = self.looks.stays(id, for_good.is_some(), self.clock.now());
        if let Some(reason) = for_good.filter(|_| is_first) {
            if mailbox.list().await.is_ok_and(|ids| !ids.iter().any(|there| there == id)) {
                self.looks.left(id);
                return;
            }
            self.note_staying(id, reason).await;
        }
        tracing::error!(mesh_message = id, %error, "a MESH message stays in the mailbox");
    }

    /// MESH forgets a message that nobody collects: that there was one is in the log.
    async fn note_staying(&self, id: &str, why: &str) {
        let detail = format!("it stays in the mailbox: {why} (MESH message {id})");
        let entry = AuditEntry {
            success: false,
            ..AuditEntry::new(AuditWord::Deny, self.clock.now(), Agent::named("mesh", None), detail)
        };
        if let Err(error) = self.store.audit(vec![self.journal.row(&entry)]).await {
            tracing::error!(mesh_message = id, %error, "that a MESH message stays could not be written");
        }
    }

    async fn take_report(&self, message: &MeshMessage) -> Result<(), Stay> {
        let code = message.status_code.as_deref().unwrap_or("unknown");
        let local_id = message.local_id.as_deref().and_then(|id| id.parse().ok());
        match self.undelivered(message.linked_message_id.as_deref(), local_id, code).await? {
            Reported::Copy(_) => Ok(()),
            // Of a copy of ours that went again since: that is reported by itself.
            Reported::Unknown if is_of_answer(message) && !self.is_copy(local_id).await? => {
                Err(Stay::Untold(unanswered(code, message)))
            }
            Reported::Unknown => {
                self.note(message, &format!("MESH report {code} about a message that is not ours")).await
            }
            Reported::Running => Err(Stay::Running),
        }
    }

    async fn is_copy(&self, id: Option<DeliveryId>) -> Result<bool, StoreError> {
        Ok(match id {
            Some(id) => self.store.delivery(id).await?.is_some(),
            None => false,
        })
    }

    async fn take_data(&self, mailbox: &dyn Mailbox, message: &MeshMessage) -> Result<(), Stay> {
        let format = read::sniff(&message.body);
        let tree = format.ok_or(()).and_then(|format| read_tree(&message.body, format).map_err(|_| ()));
        let fhir = tree.as_ref().ok().and_then(|tree| Message::read(tree.root()).ok());
        if let Some(response) = fhir.as_ref().and_then(Response::read) {
            return self.take_response(mailbox, message, &response).await;
        }
        let media_type = match format {
            Some(read::Format::Json) => "application/fhir+json",
            _ => "application/fhir+xml",
        };
        let reply = fhir.as_ref().map(|fhir| ReplyWanted {
            // A negative is told when either level was asked for, or when the flags cannot be read.
            infrastructure: fhir.wants_infrastructure_response(false) || fhir.wants_business_response(false),
            business: false,
            mailbox: message.from.clone(),
            header_id: fhir.header_id.unwrap_or_default().to_owned(),
            sender_reference: fhir.handling.sender_reference.map(str::to_owned),
            workflow: fhir
                .known_event()
                .and_then(|event| event.acknowledgement_workflow)
                .and_then(|workflow| workflow.parse().ok()),
        });
        self.take_discharge(message, media_type, reply).await
    }

    /// The mailbox that MESH found for the copy that a response names.
    async fn found_by_mesh(&self, mailbox: &dyn Mailbox, header_id: &str) -> Result<Option<MeshMailboxId>, Stay> {
        let copy = self.store.delivery_by_correlation(header_id).await?;
        let copy = copy.filter(|copy| matches!(copy.endpoint, Endpoint::GpRouting { .. }));
        match copy.and_then(|copy| copy.reference) {
            Some(reference) => Ok(mailbox.recipient(&reference).await?),
            None => Ok(None),
        }
    }

    async fn take_response(
        &self,
        mailbox: &dyn Mailbox,
        message: &MeshMessage,
        response: &Response<'_>,
    ) -> Result<(), Stay> {
        let (Some(original_header_id), Some(code)) = (response.original_header_id, response.code) else {
            return self.note(message, "an ITK3 response without identifier or code").await;
        };
        let (positive, level) = (response.positive, response.level);
        let from = message.from.as_ref();
        let found = self.found_by_mesh(mailbox, original_header_id).await?;
        let found = found.as_ref();
        let response = MeshResponse { original_header_id, code, positive, level, from, found };
        match self.acknowledge_by_response(response).await? {
            Answered::Copy(_) => Ok(()),
            Answered::Unknown => {
                self.note(message, &format!("an ITK3 response {code} to a message that is not ours")).await
            }
            Answered::WrongMailbox => {
                self.note(message, &format!("an ITK3 response {code} from a mailbox that the copy was not sent to"))
                    .await
            }
        }
    }

    async fn take_discharge(
        &self,
        message: &MeshMessage,
        media_type: &str,
        reply: Option<ReplyWanted>,
    ) -> Result<(), Stay> {
        let Some(client) = self.client_of_mailbox(message.from.as_ref()).await? else {
            self.note(message, "a message from a mailbox that belongs to no registered sender").await?;
            return self.answer_refusal(message, reply, NOT_TAKEN_FROM_YOU).await;
        };
        let submission = Submission {
            client: client.clone(),
            body: Bytes::clone(&message.body),
            media_type: media_type.to_owned(),
            request_id: None,
        };
        match self.accept(submission).await {
            Ok(receipt) => {
                tracing::info!(transfer = %receipt.transfer, duplicate = receipt.duplicate, "taken in by MESH");
                if receipt.duplicate {
                    self.answer_again(&client, receipt.transfer).await?;
                }
                Ok(())
            }
            Err(AcceptError::Refused(refusal)) => {
                tracing::warn!(refusal = refusal.word(), "a message that came by MESH is refused");
                self.answer_refusal(message, reply, refusal.itk_code()).await
            }
            Err(AcceptError::Store(error)) => Err(error.into()),
            Err(AcceptError::NotScanned(error)) => Err(error.into()),
        }
    }

    async fn client_of_mailbox(&self, from: Option<&MeshMailboxId>) -> Result<Option<Client>, StoreError> {
        let Some(from) = from else { return Ok(None) };
        let clients = self.store.clients().await?;
        Ok(clients.into_iter().find(|client| {
            client.role == Role::Sender && !client.disabled && client.mesh_mailbox.as_deref() == Some(from.as_str())
        }))
    }

    /// A refused message has no transfer, so its response is sent at once. A crash before the mailbox is
    /// acknowledged sends it again under the same identifier. Where its sender hears nothing by it the message stays: operations is told,
    /// and MESH reports it to the sender.
    async fn answer_refusal(&self, message: &MeshMessage, reply: Option<ReplyWanted>, code: u32) -> Result<(), Stay> {
        // What comes on a workflow of acknowledgements is an answer, readable or not; answers are not answered.
        if message.workflow.ends_with(ANSWERS) {
            return Ok(());
        }
        let untold = |why: &str| Stay::Untold(format!("it is refused ({code}), and its sender is not told so: {why}"));
        // MESH always says who sent a message.
        let Some(mailbox) = message.from.clone() else { return Ok(()) };
        let transport = self.transport(TransportKind::Mesh);
        let transport = transport.ok_or_else(|| untold("nothing is sent by MESH here"))?;
        let reply = reply.unwrap_or(ReplyWanted {
            infrastructure: true,
            business: false,
            mailbox: Some(mailbox.clone()),
            header_id: String::new(),
            sender_reference: None,
            workflow: None,
        });
        if !reply.infrastructure {
            // What it carries is here already: nothing is lost that somebody must ring about.
            return if code == COME_BEFORE { Ok(()) } else { Err(untold("it asks for no acknowledgement")) };
        }
        let id = DeliveryId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, message.id.as_bytes()));
        let body = self.response_body(id, &reply, code).ok_or_else(|| untold("ITK3 has no such code"))?;
        let workflow = reply.workflow.clone().or_else(|| format!("{}{ANSWERS}", message.workflow).parse().ok());
        let sha256 = crate::sha256_hex(&body);
        let outbound = Outbound {
            delivery: id,
            attempt: 1,
            recipient: self.settings.own_ods.clone(),
            kind: RecipientKind::Sender,
            endpoint: Endpoint::Mesh { mailbox: mailbox.clone(), workflow: workflow.clone() },
            media_type: "application/fhir+xml".to_owned(),
            body: body.into(),
            workflow,
            replay: false,
            addressee: None,
        };
        match transport.send(&outbound).await {
            Ok(_) => {
                // By this whoever reads a report about it finds the message.
                let detail = format!("code {code} to mailbox {mailbox} as {id} (MESH message {})", message.id);
                let entry = AuditEntry {
                    content_sha256: Some(sha256),
                    ..AuditEntry::new(AuditWord::Respond, self.clock.now(), Agent::gateway(), detail)
                };
                Ok(self.store.audit(vec![self.journal.row(&entry)]).await?)
            }
            Err(SendError::Permanent { reason }) => Err(untold(&reason)),
            Err(error) => Err(error.into()),
        }
    }

    async fn note(&self, message: &MeshMessage, detail: &str) -> Result<(), Stay> {
        tracing::warn!(mesh_message = message.id, detail, "a MESH message without effect");
        let entry = AuditEntry {
            success: false,
            content_sha256: Some(crate::sha256_hex(&message.body)),
            ..AuditEntry::new(
                AuditWord::Deny,
                self.clock.now(),
                Agent::mailbox(message.from.as_ref()),
                format!("{detail} (MESH message {})", message.id),
            )
        };
        Ok(self.store.audit(vec![self.journal.row(&entry)]).await?)
    }
}

/// A listing that ends with a whole page may not be all that waits.
fn is_full(listed: usize) -> bool {
    listed > 0 && listed.is_multiple_of(LISTED_AT_ONCE)
}

/// A report about an answer of ours. One that is stored is found by its reference or identifier; any other told somebody of a refusal.
fn is_of_answer(report: &MeshMessage) -> bool {
    report.workflow.ends_with(ANSWERS)
}

/// Our identifier leads to the entry that names the message.
fn unanswered(code: &str, report: &MeshMessage) -> String {
    let why = report::words(code).unwrap_or("MESH could not deliver it");
    let id = report.local_id.as_deref().and_then(|id| id.parse::<uuid::Uuid>().ok());
    let which = id.map_or_else(String::new, |id| format!(" {id}"));
    format!("MESH report {code}: somebody whose message was refused has not had our answer{which}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_whole_pages_may_not_be_all() {
        assert_eq!([0, 1, 499, 500, 501, 10_000].map(is_full), [false, false, false, true, false, true]);
    }
}
