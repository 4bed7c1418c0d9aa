//! The calls: leased, tried again with jitter, left alone where nobody answers, and committed with their audit.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Client;
use onward_core::directory::Endpoint;
use onward_core::state::TransportKind;
use onward_core::store::StoreError;
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription, SubscriptionStatus};
use onward_core::transport::{Call, SendError};
use onward_core::{DeliveryId, Timestamp, TransferId};
use tokio::sync::watch;
use uuid::Uuid;

use super::Criteria;
use crate::Gateway;
use crate::dispatch::retry_after;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Entries of the audit log that are looked through at once.
const ENTRIES: u64 = 2_000;

/// A call that is due.
struct Due {
    subscription: Subscription,
    /// What is told with it: the audit log before this place.
    until: u64,
}

impl Gateway {
    /// Calls whoever subscribed, until `stop` turns true.
    pub async fn call_subscribers_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(error) = self.call_subscribers().await {
                tracing::error!(%error, "subscribers could not be called");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// One look: ends what is over, and makes the calls that are due. Gives how many were made.
    ///
    /// # Errors
    /// When the store cannot be read or commit; what was taken is then due again after its lease.
    pub async fn call_subscribers(&self) -> Result<usize, StoreError> {
        let live = self.store.live_subscriptions().await?;
        if live.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let probes = self.hook_breakers.take_probes(now);
        let open = self.hook_breakers.open();
        let size = self.store.audit_size().await?;
        let mut due = Vec::new();
        for subscription in live {
            let endpoint = endpoint(&subscription);
            let alone = open.iter().any(|open| open.endpoint == endpoint) && !probes.contains(&endpoint);
            if subscription.ends.is_some_and(|ends| ends <= now) {
                self.end_of_time(subscription, now).await?;
            } else if !alone && self.is_due(&subscription, size, now).await? {
                due.push(Due { subscription, until: size });
            }
        }
        let side_by_side = usize::try_from(self.settings.workers).unwrap_or(1).max(1);
        let calls = futures_util::stream::iter(due).map(|due| self.call(due)).buffer_unordered(side_by_side);
        let made: Vec<Result<bool, StoreError>> = calls.collect().await;
        made.into_iter().try_fold(0, |count, made| Ok(count + usize::from(made?)))
    }

    async fn end_of_time(&self, subscription: Subscription, now: Timestamp) -> Result<(), StoreError> {
        let detail = format!("subscription {}: its time is over", subscription.id);
        let entry = AuditEntry::new(AuditWord::Configure, now, Agent::gateway(), detail);
        let off = Subscription { status: SubscriptionStatus::Off, changed: now, next_call: None, ..subscription };
        // When it is `false` its owner has just changed it: the next look judges it anew.
        self.store.change_subscription(off, vec![self.journal.row(&entry)]).await?;
        Ok(())
    }

    /// Whether there is something to tell now: a first call, one that failed, or a change that fits.
    async fn is_due(&self, subscription: &Subscription, size: u64, now: Timestamp) -> Result<bool, StoreError> {
        if let Some(at) = subscription.next_call {
            return Ok(at <= now);
        }
        let Some(client) = self.store.client(&subscription.client_id).await?.filter(|client| !client.disabled) else {
            return Ok(false);
        };
        let Ok(criteria) = Criteria::read(&subscription.criteria) else { return Ok(false) };
        let mut from = subscription.told.max(self.looked(subscription.id));
        while from < size {
            let until = size.min(from.saturating_add(ENTRIES));
            for (transfer, copy) in self.store.changed_tasks(&client.ods, from, until).await? {
                if self.fits(&criteria, &client, transfer, copy).await? {
                    return Ok(true);
                }
            }
            from = until;
            self.note_looked(subscription.id, until);
        }
        Ok(false)
    }

    async fn fits(
        &self,
        criteria: &Criteria,
        client: &Client,
        transfer: TransferId,
        copy: Option<DeliveryId>,
    ) -> Result<bool, StoreError> {
        if let Some(copy) = copy
            && self.store.delivery(copy).await?.is_some_and(|copy| criteria.fit_copy(&copy, client))
        {
            return Ok(true);
        }
        // How a transfer stands follows from its copies.
        let own_ods = &self.settings.own_ods;
        let transfer = self.store.transfer(transfer).await?;
        Ok(transfer.is_some_and(|transfer| {
            criteria.fit_transfer(&transfer, client, own_ods)
                // Accepting makes the copies, and names the transfer alone.
                || copy.is_none() && transfer.deliveries.iter().any(|copy| criteria.fit_copy(copy, client))
        }))
    }

    async fn call(&self, due: Due) -> Result<bool, StoreError> {
        let Due { subscription, until } = due;
        let now = self.clock.now();
        let again = now + self.settings.lease;
        let Some(token) = self.store.take_call(subscription.id, subscription.told, now, again).await? else {
            return Ok(false);
        };
        let (outcome, detail) = self.made(&subscription, until).await?;
        let success = matches!(outcome, CallOutcome::Told(_));
        let entry =
            AuditEntry { success, ..AuditEntry::new(AuditWord::Notify, self.clock.now(), Agent::gateway(), detail) };
        if let CallOutcome::Failed(reason) = &outcome {
            tracing::error!(subscription = %subscription.id, reason, "a subscription is given up; its owner must ask anew");
        }
        let audit = vec![self.journal.row(&entry)];
        let end = CallEnd { id: subscription.id, token, at: self.clock.now(), outcome, audit };
        if !self.store.end_call(end).await? {
            tracing::warn!(subscription = %subscription.id, "a call ended after it had passed to another node or was changed");
        }
        Ok(true)
    }

    /// Makes the call, and tells what became of it.
    async fn made(&self, subscription: &Subscription, until: u64) -> Result<(CallOutcome, String), StoreError> {
        let what = format!("subscription {} called", subscription.id);
        let failed = |reason: String| (CallOutcome::Failed(reason.clone()), format!("{what}: {reason}"));
        let client = self.store.client(&subscription.client_id).await?.filter(|client| !client.disabled);
        let Some(client) = client else { return Ok(failed("its client may not sign in any more".to_owned())) };
        if !self.may_call(&client.ods, &subscription.endpoint) {
            return Ok(failed("its address is not in [delivery] hooks any more".to_owned()));
        }
        let Some(hook) = &self.hook else { return Ok(failed("this gateway has no way to call".to_owned())) };
        let base = &self.settings.base_url;
        let call = Call {
            // The same until it is taken: what it tells begins at the same place.
            id: Uuid::new_v5(&subscription.id, &subscription.told.to_be_bytes()),
            subscription: subscription.id,
            attempt: subscription.failures.saturating_add(1),
            address: subscription.endpoint.clone(),
            link: format!("{base}/fhir/R4/{}", subscription.criteria),
        };
        let endpoint = endpoint(subscription);
        let schedule = self.settings.schedule(TransportKind::Https);
        Ok(match hook.call(&call).await {
            Ok(()) => {
                self.hook_breakers.answered(&endpoint);
                (CallOutcome::Told(until), what)
            }
            Err(SendError::Permanent { reason }) => {
                self.hook_breakers.answered(&endpoint);
                failed(reason)
            }
            Err(error) => {
                let (now, reason) = (self.clock.now(), error.to_string());
                let wait = retry_after(&error);
                self.hook_breakers.failed(&endpoint, now, schedule.capped(wait));
                let since = subscription.failing_since.unwrap_or(now);
                if now.duration_since(since) > schedule.give_up_after {
                    let hours = schedule.give_up_after.as_hours();
                    return Ok(failed(format!("given up after {hours} hours: {reason}")));
                }
                let at = schedule.next_attempt(DeliveryId(subscription.id), call.attempt, now, wait);
                let detail = format!("{what}: {reason}");
                (CallOutcome::Again { at, reason }, detail)
            }
        })
    }

    fn looked(&self, id: Uuid) -> u64 {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or(0)
    }

    fn note_looked(&self, id: Uuid, until: u64) {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, until);
    }
}

fn endpoint(subscription: &Subscription) -> Endpoint {
    Endpoint::Https { url: subscription.endpoint.clone() }
}
