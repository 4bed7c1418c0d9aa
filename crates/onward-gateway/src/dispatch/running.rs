//! Copies on their way. Each has its end committed when its own attempt ends, and its lease renewed while it lasts: a partner that takes
//! its time keeps the places of its own copies, and nobody else's; nor has MESH all of them, behind which each mailbox is an endpoint.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use onward_core::DeliveryId;
use onward_core::audit::AuditRow;
use onward_core::directory::{Endpoint, Hub};
use onward_core::store::{AttemptEnd, Claim, Lease, Renewal, StoreError};
use tokio::time::Instant;

use super::lasting::Lasts;
use crate::Gateway;

/// Ends that come this soon after one another share a commit.
const GATHER: Duration = Duration::from_millis(5);

/// The attempts of one dispatcher. While the store is asked, they go on.
pub(super) struct Running<'g> {
    gateway: &'g Gateway,
    attempts: Attempts<'g>,
    /// What is being sent, or has been and is not committed, by copy and token.
    held: BTreeMap<(DeliveryId, u64), Held>,
    /// Ended, and not committed yet.
    ended: Vec<Ended>,
    /// What is to be told of ends that came too late.
    late: Vec<AuditRow>,
    /// A commit of ends failed, and may have been kept all the same.
    doubtful: bool,
    renewed: Instant,
    leased_until: Timestamp,
}

type Attempts<'g> = FuturesUnordered<BoxFuture<'g, Ended>>;

struct Held {
    endpoint: Endpoint,
    probe: bool,
    lasts: Arc<Lasts>,
}

struct Ended {
    lease: Lease,
    end: AttemptEnd,
    /// Something was sent, or may have been.
    begun: bool,
}

impl Held {
    /// Where it takes a place. The inbox is our own: what is placed there ends at once.
    fn place(&self) -> Option<Hub> {
        self.endpoint.hub().filter(|_| !self.probe)
    }
}

impl<'g> Running<'g> {
    pub(super) fn of(gateway: &'g Gateway) -> Self {
        Self {
            gateway,
            attempts: FuturesUnordered::new(),
            held: BTreeMap::new(),
            ended: Vec::new(),
            late: Vec::new(),
            doubtful: false,
            renewed: Instant::now(),
            leased_until: gateway.clock.now(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.ended.is_empty() && self.late.is_empty()
    }

    /// Whether something has ended that is not committed.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Places what is collected, and begins what else is due, as far as there are places; the number of both. What is paused is read with
    /// every claim. Endpoints that do not answer are left out, but for one copy that probes, beside the places. No hub has all places.
    pub(super) async fn fill(&mut self) -> Result<usize, StoreError> {
        let gateway = self.gateway;
        // Before the store is asked: however long it takes, nobody else has what it gives before that.
        let (asked, now) = (Instant::now(), gateway.clock.now());
        let until = now + gateway.settings.lease;
        let due = |limit: usize| {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            Claim { intent: gateway.intent(), parking: gateway.parking(), ..Claim::due(now, until, limit) }
        };
        let places = places(gateway);
        let mut begun = self.meanwhile(gateway.place(now)).await?;
        let (taken, busiest, full) = taken(self.held.values().filter_map(Held::place), share(places));
        if taken < places {
            let except = gateway.breakers.open().into_iter().map(|open| open.endpoint).collect();
            let claim = Claim { except, full, ..due((places - taken).min(share(places) - busiest)) };
            let leases = self.meanwhile(gateway.store.claim(claim)).await?;
            begun += self.begin(leases, (asked, until), false);
        }
        for endpoint in gateway.breakers.take_probes(now) {
            let claim = Claim { only: Some(endpoint), ..due(1) };
            let leases = self.meanwhile(gateway.store.claim(claim)).await?;
            begun += self.begin(leases, (asked, until), true);
        }
        self.meanwhile(gateway.give_up_waiting(now)).await?;
        Ok(begun)
    }

    fn begin(&mut self, leases: Vec<Lease>, (asked, until): (Instant, Timestamp), probe: bool) -> usize {
        let count = leases.len();
        if self.held.is_empty() {
            (self.renewed, self.leased_until) = (asked, until);
        }
        for lease in leases {
            let lasts = Arc::new(Lasts::until(asked + self.length(), until));
            let held = Held { endpoint: lease.delivery.endpoint.clone(), probe, lasts: Arc::clone(&lasts) };
            self.held.insert((lease.delivery.id, lease.token), held);
            let gateway = self.gateway;
            self.attempts.push(Box::pin(async move {
                if lease.told && lease.outgoing.is_some() && lasts.is_over(gateway.clock.now()) {
                    let end = gateway.not_begun(&lease);
                    return Ended { lease, end, begun: false };
                }
                // A fault in one attempt is that copy's alone: the others go on, and their ends are committed.
                let attempt = match lease.told {
                    true => AssertUnwindSafe(gateway.attempt(&lease)).catch_unwind().await.ok(),
                    false => None,
                };
                let end = attempt.unwrap_or_else(|| gateway.broken_off(&lease));
                // From the inbox nothing has left, nor has what was not told.
                let begun = lease.told && lease.outgoing.is_some();
                Ended { lease, end, begun }
            }));
        }
        count
    }

    /// How long a lease lasts.
    fn length(&self) -> Duration {
        Duration::try_from(self.gateway.settings.lease).unwrap_or_default()
    }

    /// What the store answers; the attempts go on while it takes its time, or an answer that has come would be taken for none.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(end) = self.attempts.next() => self.ended.push(end),
            }
        }
    }

    /// Waits until an attempt ends; for ever when none is running.
    pub(super) async fn next_end(&mut self) {
        match self.attempts.next().await {
            Some(end) => self.ended.push(end),
            None => std::future::pending().await,
        }
    }

    /// Takes what ends about now as well.
    pub(super) async fn gather(&mut self) {
        while let Ok(Some(end)) = tokio::time::timeout(GATHER, self.attempts.next()).await {
            self.ended.push(end);
        }
    }

    /// Waits for all attempts.
    pub(super) async fn all(&mut self) {
        while let Some(end) = self.attempts.next().await {
            self.ended.push(end);
        }
    }

    /// Renews the leases when it is time: an attempt may take longer than one lease (a MESH message of many chunks). Leases run by the
    /// store's clock, which may jump; so it is time when a third of a lease has passed by either.
    pub(super) async fn renew(&mut self) -> Result<(), StoreError> {
        let (began, now, lease) = (Instant::now(), self.gateway.clock.now(), self.gateway.settings.lease);
        let third = self.length() / 3;
        if self.held.is_empty() || began < self.renewed + third && now + (lease - lease / 3) < self.leased_until {
            return Ok(());
        }
        let held: Vec<_> = self.held.keys().copied().collect();
        let renewal = Renewal { now, lease_until: now + lease, held: held.clone() };
        let kept = self.meanwhile(self.gateway.store.renew(renewal)).await?;
        for (key, kept) in held.into_iter().zip(kept) {
            let Some(held) = self.held.get(&key) else { continue };
            if kept {
                held.lasts.renewed((began, now), (began + self.length(), now + lease));
            } else {
                // What has begun may have arrived by now, and goes on: its end tells so.
                held.lasts.end();
                tracing::warn!(delivery = %key.0, "a copy that is being sent was leased by another worker");
            }
        }
        (self.renewed, self.leased_until) = (began, now + lease);
        Ok(())
    }

    /// Commits what has ended; the number. Where the store cannot, the ends stay here for the next try, and their leases are renewed.
    pub(super) async fn complete(&mut self) -> Result<usize, StoreError> {
        let ended = std::mem::take(&mut self.ended);
        let count = ended.len();
        if count > 0 {
            let ends = ended.iter().map(|ended| ended.end.clone()).collect();
            let kept = match self.meanwhile(self.gateway.store.complete(ends)).await {
                Ok(kept) => kept,
                Err(error) => {
                    self.doubtful = true;
                    self.ended.extend(ended);
                    return Err(error);
                }
            };
            let doubtful = std::mem::take(&mut self.doubtful);
            for (Ended { lease, end, begun }, kept) in ended.into_iter().zip(kept) {
                self.held.remove(&(lease.delivery.id, lease.token));
                if !kept {
                    tracing::warn!(delivery = %lease.delivery.id, "an attempt ended after its lease had passed to another worker");
                }
                if !kept && begun {
                    self.late.push(self.gateway.late_end(&lease, &end.outcome, doubtful));
                }
            }
        }
        if !self.late.is_empty() {
            let late = self.late.clone();
            self.meanwhile(self.gateway.store.audit(late)).await?;
            self.late.clear();
        }
        Ok(count)
    }
}

/// Copies that are sent side by side.
fn places(gateway: &Gateway) -> usize {
    usize::try_from(gateway.settings.workers).unwrap_or(usize::MAX).max(1)
}

/// The places that one hub may have: not all, where there are several.
fn share(places: usize) -> usize {
    if places < 2 { 1 } else { places - (places / 4).max(1) }
}

/// Places taken; by the busiest hub that may have more; and the hubs that may not.
fn taken(sending: impl Iterator<Item = Hub>, share: usize) -> (usize, usize, Vec<Hub>) {
    let mut by_hub = BTreeMap::<Hub, usize>::new();
    for hub in sending {
        *by_hub.entry(hub).or_default() += 1;
    }
    let taken = by_hub.values().sum();
    let (full, others): (Vec<_>, Vec<_>) = by_hub.into_iter().partition(|(_, count)| *count >= share);
    let busiest = others.iter().map(|(_, count)| *count).max().unwrap_or(0);
    (taken, busiest, full.into_iter().map(|(hub, _)| hub).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hub_has_all_places() {
        assert_eq!([1, 2, 3, 4, 8, 64].map(share), [1, 1, 2, 3, 6, 48]);
        let held = |endpoint, probe| {
            let lasts = Arc::new(Lasts::until(Instant::now(), Timestamp::UNIX_EPOCH));
            Held { endpoint, probe, lasts }
        };
        let push = |path: &str| held(Endpoint::Https { url: format!("https://one.example/{path}") }, false);
        let mailbox =
            |n: usize| Endpoint::Mesh { mailbox: format!("X26ABC{n}").parse().expect("a mailbox"), workflow: None };
        let mesh = (0..6).map(|n| held(mailbox(n), false));
        let mut sending: Vec<_> = [push("a"), push("b"), held(Endpoint::Inbox {}, false)].into();
        let taken = |sending: &[Held]| taken(sending.iter().filter_map(Held::place), 6);
        assert_eq!(taken(&[]), (0, 0, Vec::new()));
        assert_eq!(
            taken(&sending),
            (2, 2, Vec::new()),
            "six at most, and two are there; what goes into an inbox needs none"
        );
        sending.extend(mesh);
        assert_eq!(taken(&sending), (8, 2, vec![Hub::Mesh]), "six mailboxes, and one hub behind them");
        sending.push(held(Endpoint::GpRouting { workflow: None }, true));
        assert_eq!(taken(&sending), (8, 2, vec![Hub::Mesh]), "a probe takes no place");
    }
}
