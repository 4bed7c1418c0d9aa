//! Sending copies side by side: who takes time keeps one place and its lease, and nobody else waits.

use std::sync::Arc;

use jiff::SignedDuration;
use onward_core::state::DeliveryState;
use onward_core::store::{Claim, DeliveryRecord, Store};
use onward_core::{Clock as _, TransferId};
use tokio::sync::watch;

use crate::arrival::{Bench, LEASE};

async fn copies(store: &dyn Store, transfer: TransferId) -> Vec<DeliveryRecord> {
    store.transfer(transfer).await.expect("readable").expect("it is there").deliveries
}

fn in_state(copies: &[DeliveryRecord], state: DeliveryState) -> usize {
    copies.iter().filter(|copy| copy.state == state).count()
}

/// The earliest end of a lease, microseconds.
fn leased_until(bench: &std::path::Path) -> i64 {
    let file = rusqlite::Connection::open(bench.join("onward.db")).expect("opens");
    file.query_row("SELECT min(lease_until) FROM deliveries WHERE lease_token IS NOT NULL", [], |row| row.get(0))
        .expect("something is being sent")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_takes_its_time_keeps_its_lease_and_nobody_waits_for_it() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let (answer, answers) = watch::channel(false);
    *bench.partner.answers.lock().expect("whole") = Some(answers);
    let mut transfers = Vec::new();
    for _ in 0..6 {
        transfers.push(bench.accept().await);
    }
    let Bench { gateway, clock, partner, folder, .. } = bench;
    let gateway = Arc::new(gateway);
    let (stop, stopped) = watch::channel(false);
    let dispatching = tokio::spawn(Arc::clone(&gateway).dispatch_until(stopped));
    for transfer in &transfers {
        // Three collect from their inboxes.
        while in_state(&copies(gateway.store().as_ref(), *transfer).await, DeliveryState::AwaitingCollection) < 3 {
            tokio::task::yield_now().await;
        }
    }
    let waiting = partner.came.lock().expect("whole").len();
    assert_eq!(waiting, 2, "of the pharmacy's the first of each kind, for the later ones are the same person's");

    let began = leased_until(folder.path());
    clock.later(LEASE - 1);
    while leased_until(folder.path()) == began {
        tokio::task::yield_now().await;
    }
    // The first leases have run out by now; theirs have not.
    clock.later(LEASE - 1);
    let now = clock.now();
    let stolen =
        gateway.store().claim(Claim::due(now, now + SignedDuration::from_secs(LEASE), 100)).await.expect("read");
    let came: Vec<_> = partner.came.lock().expect("whole").iter().map(|outbound| outbound.delivery).collect();
    assert!(stolen.iter().all(|lease| !came.contains(&lease.delivery.id)), "what is being sent is nobody else's");

    answer.send(true).expect("the partner listens");
    for id in came {
        while gateway.store().delivery(id).await.expect("readable").expect("it is there").state
            != DeliveryState::Received
        {
            tokio::task::yield_now().await;
        }
    }
    stop.send(true).expect("it listens");
    dispatching.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_ends_too_late_is_told_and_changes_nothing() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let (answer, answers) = watch::channel(false);
    *bench.partner.answers.lock().expect("whole") = Some(answers);
    let transfer = bench.accept().await;
    let Bench { gateway, clock, partner, folder: _folder, .. } = bench;
    let gateway = Arc::new(gateway);
    // One round renews nothing, as a node that was asleep has renewed nothing.
    let asleep = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.dispatch_due().await }
    });
    while partner.came.lock().expect("whole").len() < 2 {
        tokio::task::yield_now().await;
    }
    clock.later(LEASE + 1);
    let now = clock.now();
    let taken =
        gateway.store().claim(Claim::due(now, now + SignedDuration::from_secs(LEASE), 100)).await.expect("read");
    assert_eq!(taken.len(), 5, "nothing of the round is committed yet, and all its leases have run out");
    answer.send(true).expect("the partner listens");
    asleep.await.expect("it ends").expect("the store is well");
    assert_eq!(
        in_state(&copies(gateway.store().as_ref(), transfer).await, DeliveryState::Queued),
        5,
        "they are the other's"
    );
    let entries = gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let late: Vec<String> = entries
        .iter()
        .filter_map(|entry| String::from_utf8(entry.event()?.to_vec()).ok())
        .filter(|event| event.contains("it ended after its lease had passed to another worker"))
        .collect();
    assert_eq!(late.len(), 2, "the pharmacy's; from the inboxes nothing has left");
    assert!(late.iter().any(|event| event.contains("disclose: attempt 1; partner's reference none")), "{late:#?}");
}
