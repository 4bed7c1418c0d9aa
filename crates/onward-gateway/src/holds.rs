//! A person decides: held transfers are looked at again with what has been mended since, failed copies are sent
//! again. Every decision names who decided and why.

use bytes::Bytes;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::store::StoreError;
use onward_core::{DeliveryId, HoldId};

use crate::Gateway;
use crate::identify::HoldCause;
use crate::prepare::{PrepareError, Routing};

/// What became of releasing a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// The copies are queued.
    Queued(Vec<DeliveryId>),
    /// No such open hold.
    NotFound,
    /// The reason is still there, or another one is: nothing was queued.
    StillHeld(HoldCause),
    /// The message would be refused now.
    Refused(String),
}

impl Gateway {
    /// Walks a held message again from its stored bytes, and queues its copies if nothing holds it any more.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn release(&self, hold: HoldId, agent: Agent, reason: &str) -> Result<Released, StoreError> {
        let Some(held) = self.store.holds().await?.into_iter().find(|held| held.hold.id == hold) else {
            return Ok(Released::NotFound);
        };
        let transfer = self.store.transfer(held.transfer).await?;
        let original = self.store.original(held.transfer).await?;
        let (Some(transfer), Some(original)) = (transfer, original) else { return Ok(Released::NotFound) };
        let client = match self.store.client(&transfer.client_id).await? {
            Some(client) => client,
            None => return Ok(Released::Refused("the sender's client is no longer registered".to_owned())),
        };
        let body = Bytes::from(original.body);
        let prepared = match self.prepare(&client, &body, &original.media_type, held.transfer).await {
            Ok(prepared) => prepared,
            Err(PrepareError::Store(error)) => return Err(error),
            Err(PrepareError::Refused(refusal)) => return Ok(Released::Refused(refusal.to_string())),
        };
        let (patient, copies) = match prepared.routing {
            Routing::Hold { cause, .. } => return Ok(Released::StillHeld(cause)),
            Routing::Deliver { identified, copies } => (identified.patient, copies),
        };
        let at = self.clock.now();
        let entry = AuditEntry {
            transfer: Some(held.transfer),
            patient: Some(patient),
            ..AuditEntry::new(
                AuditWord::Release,
                at,
                agent,
                format!("{} released, {} copies: {reason}", held.hold.reason, copies.len()),
            )
        };
        let deliveries: Vec<_> = copies.into_iter().map(|copy| copy.delivery).collect();
        let ids = deliveries.iter().map(|delivery| delivery.id).collect();
        let released = self.store.release_hold(hold, deliveries, at, vec![self.journal.row(&entry)]).await?;
        self.work.notify_one();
        Ok(if released { Released::Queued(ids) } else { Released::NotFound })
    }

    /// Sends a failed copy again under its own identifier; `false` when it is not failed.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn replay(&self, delivery: DeliveryId, agent: Agent, reason: &str) -> Result<bool, StoreError> {
        let Some(record) = self.store.delivery(delivery).await? else { return Ok(false) };
        let at = self.clock.now();
        let entry = AuditEntry {
            transfer: Some(record.transfer),
            delivery: Some(delivery),
            recipient: Some(record.recipient),
            patient: record.patient,
            ..AuditEntry::new(AuditWord::Release, at, agent, format!("replay of a failed copy: {reason}"))
        };
        let requeued = self.store.requeue(delivery, at, vec![self.journal.row(&entry)]).await?;
        self.work.notify_one();
        Ok(requeued)
    }
}
