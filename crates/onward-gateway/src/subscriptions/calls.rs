//! The calls: leased, tried again with jitter, left alone where nobody answers, and committed with their audit.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Client;
use onward_core::directory::Endpoint;
use onward_core::state::TransportKind;
use onward_core::store::StoreError;
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription};
use onward_core::transport::{Call, SendError};
use onward_core::{DeliveryId, Timestamp, TransferId};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Criteria, HookAddress, turned_off};
use crate::Gateway;
use crate::dispatch::retry_after;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Entries of the audit log that are looked through at once.
const ENTRIES: u64 = 2_000;
/// Entries that are looked through for one subscription in one look: after a restart much may lie behind, and others wait.
const ENTRIES_OF_ONE_LOOK: u64 = 10 * ENTRIES;
/// After so many entries that concern nobody the store keeps that they need not be looked through again.
const ENTRIES_PASSED: u64 = 5 * ENTRIES;
/// Calls of one client that are under way at once. There is no bound for all of them together: whoever hangs would fill it, and
/// others would wait.
const CALLS_OF_ONE_CLIENT: usize = 4;

/// Why the subscriptions of a client that is disabled or not there are not called.
const CLIENT_GONE: &str = "its client may not sign in any more";

/// Whose calls are under way: the client of each subscription.
type Busy = BTreeMap<Uuid, String>;

/// A call that is due.
struct Due {
    subscription: Subscription,
    /// What is told with it: the audit log before this place.
    until: u64,
}

/// What one look goes by, and has found so far.
struct Look {
    now: Timestamp,
    size: u64,
    /// Places that do not answer at present.
    open: Vec<Endpoint>,
    /// Those of them where one call may try.
    probes: Vec<Endpoint>,
    /// Calls of each client.
    shares: BTreeMap<String, usize>,
    due: Vec<Due>,
}

impl Gateway {
    /// Calls whoever subscribed, until `stop` turns true; calls that are under way then are waited for. Nobody waits for the calls of
    /// another client.
    pub async fn call_subscribers_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut under_way = FuturesUnordered::new();
        let mut busy = Busy::new();
        while !*stop.borrow() {
            match self.look(&busy).await {
                Ok(due) => {
                    for due in due {
                        busy.insert(due.subscription.id, due.subscription.client_id.clone());
                        under_way.push(self.call(due));
                    }
                }
                Err(error) => tracing::error!(%error, "subscribers could not be called"),
            }
            let mut pause = std::pin::pin!(tokio::time::sleep(EVERY));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    _ = stop.wait_for(|stop| *stop) => break,
                    Some((id, made)) = under_way.next(), if !under_way.is_empty() => {
                        busy.remove(&id);
                        note(id, &made);
                    }
                }
            }
        }
        while let Some((id, made)) = under_way.next().await {
            note(id, &made);
        }
    }

    /// One look, and the calls that it finds due, to their end. Gives how many were made.
    ///
    /// # Errors
    /// When the store cannot be read or commit; what was taken is then due again after its lease.
    pub async fn call_subscribers(&self) -> Result<usize, StoreError> {
        let due = self.look(&Busy::new()).await?;
        let calls: FuturesUnordered<_> = due.into_iter().map(|due| self.call(due)).collect();
        let made: Vec<_> = calls.collect().await;
        made.into_iter().try_fold(0, |count, (_, made)| Ok(count + usize::from(made?)))
    }

    /// Ends what is over, and finds the calls that are due beside those under way.
    async fn look(&self, busy: &Busy) -> Result<Vec<Due>, StoreError> {
        let mut live = self.store.live_subscriptions().await?;
        self.forget_all_but(&live);
        if live.is_empty() {
            return Ok(Vec::new());
        }
        // Those that fail least get their client's share first, and probe: one that never answers stands in nobody's way.
        live.sort_by_key(|each| each.failures);
        let now = self.clock.now();
        let mut look = Look {
            now,
            size: self.store.audit_size().await?,
            probes: self.hook_breakers.take_probes(now),
            open: self.hook_breakers.open().into_iter().map(|open| open.endpoint).collect(),
            shares: BTreeMap::new(),
            due: Vec::new(),
        };
        for client in busy.values() {
            *look.shares.entry(client.clone()).or_default() += 1;
        }
        for subscription in live.into_iter().filter(|each| !busy.contains_key(&each.id)) {
            let id = subscription.id;
            match self.find_due(subscription, &mut look).await {
                Ok(()) => {}
                // The store is gone for all of them.
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => tracing::error!(subscription = %id, %error, "it cannot be told whether a call is due"),
            }
        }
        Ok(look.due)
    }

    async fn find_due(&self, subscription: Subscription, look: &mut Look) -> Result<(), StoreError> {
        if subscription.ends.is_some_and(|ends| ends <= look.now) {
            return self.turn_off(subscription, look.now, "its time is over", None).await;
        }
        let Some(client) = self.caller(&subscription).await? else {
            return self.turn_off(subscription, look.now, CLIENT_GONE, Some(CLIENT_GONE)).await;
        };
        if look.shares.get(&subscription.client_id).is_some_and(|calls| *calls >= CALLS_OF_ONE_CLIENT) {
            return Ok(());
        }
        let place = self.hook_address(&client.ods, &subscription.endpoint).map(place);
        let shut = place.filter(|place| look.open.contains(place));
        if shut.as_ref().is_some_and(|place| !look.probes.contains(place)) {
            return Ok(());
        }
        if self.is_due(&subscription, &client, look.size, look.now).await? {
            look.probes.retain(|probe| Some(probe) != shut.as_ref());
            *look.shares.entry(subscription.client_id.clone()).or_default() += 1;
            look.due.push(Due { subscription, until: look.size });
        }
        Ok(())
    }

    async fn turn_off(
        &self,
        subscription: Subscription,
        now: Timestamp,
        what: &str,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let detail = format!("subscription {}: {what}", subscription.id);
        let entry = AuditEntry::new(AuditWord::Configure, now, Agent::gateway(), detail);
        let off = turned_off(subscription, now, error);
        // When it is `false` its owner has just changed it: the next look judges it anew.
        self.store.change_subscription(off, vec![self.journal.row(&entry)]).await?;
        Ok(())
    }

    /// Whether there is something to tell now: a first call, one that failed, or a change that fits.
    async fn is_due(
        &self,
        subscription: &Subscription,
        client: &Client,
        size: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Some(at) = subscription.next_call {
            return Ok(at <= now);
        }
        let Ok(criteria) = Criteria::read(&subscription.criteria) else { return Ok(false) };
        let mut from = subscription.told.max(self.looked(subscription.id));
        let end = size.min(from.saturating_add(ENTRIES_OF_ONE_LOOK));
        while from < end {
            let until = end.min(from.saturating_add(ENTRIES));
            for (transfer, copy) in self.store.changed_tasks(&client.ods, from, until).await? {
                match self.fits(&criteria, client, transfer, copy).await {
                    Ok(false) => {}
                    Ok(true) => return Ok(true),
                    // Whoever is called asks, and sees what can be read; to be silent could hide an arrival.
                    Err(error @ StoreError::Corrupt(_)) => {
                        tracing::error!(subscription = %subscription.id, %transfer, %error, "a change that cannot be read is told");
                        return Ok(true);
                    }
                    Err(error) => return Err(error),
                }
            }
            from = until;
            self.note_looked(subscription.id, until);
        }
        if from.saturating_sub(subscription.told) >= ENTRIES_PASSED {
            // When it is `false` another node has told or passed over more.
            self.store.pass_over(subscription.id, subscription.told, from).await?;
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

    async fn call(&self, due: Due) -> (Uuid, Result<bool, StoreError>) {
        (due.subscription.id, self.call_one(due).await)
    }

    async fn call_one(&self, due: Due) -> Result<bool, StoreError> {
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

    /// Whose it is, while they may have it.
    async fn caller(&self, of: &Subscription) -> Result<Option<Client>, StoreError> {
        Ok(self.store.client(&of.client_id).await?.filter(|client| !client.disabled))
    }

    /// Makes the call, and tells what became of it.
    async fn made(&self, subscription: &Subscription, until: u64) -> Result<(CallOutcome, String), StoreError> {
        let what = format!("subscription {} called", subscription.id);
        let failed = |reason: String| (CallOutcome::Failed(reason.clone()), format!("{what}: {reason}"));
        let Some(client) = self.caller(subscription).await? else { return Ok(failed(CLIENT_GONE.to_owned())) };
        let Some(place) = self.hook_address(&client.ods, &subscription.endpoint).map(place) else {
            return Ok(failed("its address is not in [delivery] hooks any more".to_owned()));
        };
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
        let schedule = self.settings.schedule(TransportKind::Https);
        Ok(match hook.call(&call).await {
            Ok(()) => {
                self.hook_breakers.answered(&place);
                (CallOutcome::Told(until), what)
            }
            Err(SendError::Permanent { reason }) => {
                self.hook_breakers.answered(&place);
                failed(reason)
            }
            Err(error) => {
                let (now, reason) = (self.clock.now(), error.to_string());
                let wait = retry_after(&error);
                self.hook_breakers.failed(&place, now, schedule.capped(wait));
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

    /// Forgets how far it has looked for subscriptions that are not called any more, and what did not answer for them alone.
    fn forget_all_but(&self, live: &[Subscription]) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|id, _| live.iter().any(|own| own.id == *id));
        drop(looked);
        let named = |hook: &&HookAddress| live.iter().any(|own| own.endpoint.starts_with(&hook.prefix));
        let used: Vec<Endpoint> = self.settings.hooks.iter().filter(named).map(place).collect();
        self.hook_breakers.keep(|endpoint| used.contains(endpoint));
    }

    fn looked(&self, id: Uuid) -> u64 {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or(0)
    }

    fn note_looked(&self, id: Uuid, until: u64) {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, until);
    }
}

/// What does not answer as one: all that one organisation has at an address of the configuration, however many paths its clients
/// name there; another organisation's calls to the same host do not suffer from it.
fn place(hook: &HookAddress) -> Endpoint {
    Endpoint::Https { url: hook.prefix.clone() }
}

fn note(id: Uuid, made: &Result<bool, StoreError>) {
    if let Err(error) = made {
        tracing::error!(subscription = %id, %error, "a subscriber could not be called");
    }
}
