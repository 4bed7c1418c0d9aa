//! Many failed copies are sent again by one decision: it is kept with the copies that were shown, and carried out one after the other,
//! by whichever node is there. A node that dies leaves the rest to the next look.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::people::Role;
use onward_core::store::{Bulk, BulkState, BulkStep, NewBulk, Resend, StoreError, Whereto};
use onward_core::{BulkId, DeliveryId, OdsCode, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Gateway;
use crate::holds::Decider;
use crate::operate::BoardFilter;

/// How often decisions are looked for that another node left behind.
const EVERY: Duration = Duration::from_secs(10);
/// Copies that are read at a time.
const PART: u32 = 50;
/// For so long the board shows a decision that has ended.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);

/// What became of asking for many copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It is kept, or was before.
    Kept,
    /// No failed copy fits the filter.
    Nothing,
    /// Other copies fit than were shown: nothing was kept.
    Others,
}

/// A person as a decision keeps them, so that audit names them when it is carried out.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    organisation: Option<OdsCode>,
    role: Option<String>,
    user: Option<UserId>,
    account: Option<String>,
    under: Vec<String>,
}

impl Kept {
    fn of(agent: &Agent) -> Self {
        Self {
            name: agent.name.clone(),
            organisation: agent.organisation.clone(),
            role: agent.role.map(str::to_owned),
            user: agent.user,
            account: agent.account.clone(),
            under: agent.under.clone(),
        }
    }

    fn agent(self) -> Agent {
        Agent {
            name: self.name,
            organisation: self.organisation,
            role: self.role.and_then(|role| Role::from_str(&role).ok()).map(Role::as_str),
            user: self.user,
            account: self.account,
            under: self.under,
        }
    }
}

/// Says which copies these are, in whatever order: SHA-256 of their sorted identifiers, as hexadecimal digits. As many others have
/// another one.
#[must_use]
pub fn seal_of(copies: &[DeliveryId]) -> String {
    let mut sorted = copies.to_vec();
    sorted.sort_unstable();
    let told: Vec<u8> = sorted.iter().flat_map(|id| *id.0.as_bytes()).collect();
    crate::sha256_hex(&told)
}

impl Gateway {
    /// Keeps the decision to send again all failed copies that fit the filter, if they are those that were `shown` ([`seal_of`]).
    /// Without a filter it is about nothing.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn start_bulk(
        &self,
        id: BulkId,
        how: Resend,
        filter: &BoardFilter,
        shown: &str,
        decider: &Decider<'_>,
    ) -> Result<Started, StoreError> {
        if filter.recipient.is_none() && filter.cause.is_none() {
            return Ok(Started::Nothing);
        }
        if self.store.bulk(id).await?.is_some() {
            return Ok(Started::Kept);
        }
        let copies: Vec<DeliveryId> = self.resendable(filter).await?.iter().map(|stuck| stuck.copy.id).collect();
        if copies.is_empty() {
            return Ok(Started::Nothing);
        }
        if seal_of(&copies) != shown {
            return Ok(Started::Others);
        }
        let count = copies.len();
        let row = self.configured(decider, format!("{how} of {count} copies, {} ({id}), decided by", filter.told()));
        let bulk = NewBulk {
            id,
            how,
            filter: filter.told(),
            reason: decider.reason.to_owned(),
            by: decider.by.to_owned(),
            agent: serde_json::to_string(&Kept::of(&decider.agent)).expect("texts and codes are JSON"),
            at: self.clock.now(),
            copies,
        };
        self.store.start_bulk(bulk, vec![row]).await?;
        self.bulks.notify_one();
        Ok(Started::Kept)
    }

    /// Stops one that runs; `false` when it does not run.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn cancel_bulk(&self, id: BulkId, decider: &Decider<'_>) -> Result<bool, StoreError> {
        let row = self.configured(decider, format!("sending many copies again ({id}) stopped by"));
        self.store.cancel_bulk(id, self.clock.now(), vec![row]).await
    }

    /// Those that run, and those that ended within a day; the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn recent_bulks(&self) -> Result<Vec<Bulk>, StoreError> {
        let since = self.clock.now().checked_sub(SHOWN).unwrap_or(jiff::Timestamp::MIN);
        self.store.bulks(since).await
    }

    /// Carries out decisions about many copies until `stop` turns true.
    pub async fn resend_many_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(error) = self.resend_many(&stop).await {
                tracing::error!(%error, "copies that are to be sent again could not be queued");
            }
            tokio::select! {
                () = self.bulks.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Looks once for what is left to do, and does it.
    async fn resend_many(&self, stop: &watch::Receiver<bool>) -> Result<(), StoreError> {
        let running = self.store.bulks(jiff::Timestamp::MAX).await?;
        let mut first_error = None;
        for bulk in running.iter().filter(|bulk| bulk.state == BulkState::Running) {
            loop {
                let mut done = 0_usize;
                let pending = self.store.bulk_pending(bulk.id, PART).await?;
                if pending.is_empty() {
                    break;
                }
                for delivery in pending {
                    if *stop.borrow() {
                        return Ok(());
                    }
                    // One that cannot be read keeps none of the others waiting.
                    match self.resend_one_of(bulk, delivery).await {
                        Ok(()) => done += 1,
                        Err(error) => first_error = first_error.or(Some(error)),
                    }
                }
                if done == 0 {
                    break;
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn resend_one_of(&self, bulk: &Bulk, delivery: DeliveryId) -> Result<(), StoreError> {
        let at = self.clock.now();
        let record = self.store.delivery(delivery).await?;
        let agent = serde_json::from_str::<Kept>(&bulk.agent).map_or_else(|_| Agent::gateway(), Kept::agent);
        let state = record.as_ref().map(|record| record.state.to_string()).unwrap_or_default();
        let to = match &record {
            Some(record) => self.whereto(record).await?,
            None => Whereto::Stored,
        };
        let beside = match &record {
            Some(record) => self.told_of_resending(record, &to).await?,
            None => String::new(),
        };
        let entry = AuditEntry {
            transfer: record.as_ref().map(|record| record.transfer),
            delivery: Some(delivery),
            recipient: record.as_ref().map(|record| record.recipient.clone()),
            patient: record.and_then(|record| record.patient),
            ..AuditEntry::new(
                AuditWord::Release,
                at,
                agent,
                format!("{} of a {state} copy{beside}, one of {} ({}): {}", bulk.how, bulk.total, bulk.id, bulk.reason),
            )
        };
        // What is overtaken stays pending, and is looked at again.
        let step = self.store.resend_of_bulk(bulk.id, delivery, to, at, vec![self.journal.row(&entry)]).await?;
        if step == BulkStep::Resent {
            self.work.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_these_copies_in_whatever_order() {
        let [a, b, c] = [DeliveryId::random(), DeliveryId::random(), DeliveryId::random()];
        assert_eq!(seal_of(&[a, b]), seal_of(&[b, a]));
        let others = [seal_of(&[a, b]), seal_of(&[a, c]), seal_of(&[a]), seal_of(&[a, b, c]), seal_of(&[])];
        let distinct: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }
}
