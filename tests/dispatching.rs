//! Sending copies side by side: who takes time keeps one place and its lease, and nobody else waits.

use std::sync::Arc;

use jiff::SignedDuration;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::alerts::AlertKind;
use onward_core::store::{Claim, DeliveryRecord, Resend, Store};
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
    assert_eq!(taken.len(), 2, "nothing that was sent is committed yet, and its leases have run out");
    answer.send(true).expect("the partner listens");
    asleep.await.expect("it ends").expect("the store is well");
    assert_eq!(
        in_state(&copies(gateway.store().as_ref(), transfer).await, DeliveryState::Queued),
        2,
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

#[tokio::test]
async fn a_machine_that_slept_after_it_claimed_a_copy_does_not_send_it() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let transfer = bench.accept().await;
    bench.clock.sleep_once_beside(LEASE);
    bench.gateway.dispatch_due().await.expect("the store is well");
    assert!(bench.partner.came.lock().expect("whole").is_empty(), "by now somebody may have taken it back");
    let waiting = copies(bench.gateway.store().as_ref(), transfer).await;
    assert_eq!(
        in_state(&waiting, DeliveryState::Queued),
        2,
        "the pharmacy's; from the inboxes nothing leaves by itself"
    );
    let why = waiting.iter().filter_map(|copy| copy.reason.as_deref()).collect::<Vec<_>>();
    assert!(why.len() == 2 && why.iter().all(|why| why.contains("nothing of it has left")), "{why:?}");
    let entries = bench.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let words: Vec<_> = entries.iter().map(|entry| entry.columns.word.as_str()).collect();
    assert_eq!(words.iter().filter(|word| **word == "attempt-failed").count(), 2, "{words:?}");
    bench.gateway.dispatch_due().await.expect("the store is well");
    assert_eq!(bench.partner.came.lock().expect("whole").len(), 2, "they are claimed anew");
}

#[tokio::test]
async fn a_fault_of_ours_in_one_attempt_is_that_copys_alone() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    *bench.partner.panics_for.lock().expect("whole") = Some(RecipientKind::PharmacyReferral);
    let transfer = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("the store is well");
    let copies = copies(bench.gateway.store().as_ref(), transfer).await;
    let failed: Vec<_> = copies.iter().filter(|copy| copy.state == DeliveryState::Failed).collect();
    assert_eq!(failed.iter().map(|copy| copy.kind).collect::<Vec<_>>(), [RecipientKind::PharmacyReferral]);
    let why = failed[0].reason.as_deref().unwrap_or_default();
    assert!(why.contains("a fault of this gateway") && why.contains("may have arrived"), "{why}");
    let places = (in_state(&copies, DeliveryState::Received), in_state(&copies, DeliveryState::AwaitingCollection));
    assert_eq!(places, (1, 3), "the others are sent, and their ends are kept");
    bench.gateway.alert_once().await.expect("looked");
    assert_eq!(bench.gateway.store().alert_counts().await, Ok(vec![(AlertKind::DeliveryFailed, 1)]));
    *bench.partner.panics_for.lock().expect("whole") = None;
    let now = bench.clock.now();
    let again =
        bench.gateway.store().requeue(failed[0].id, Resend::Retry.into(), "Ada Wells", "mended", now, Vec::new()).await;
    assert_eq!(again, Ok(true));
    bench.gateway.dispatch_due().await.expect("the store is well");
    let copies = self::copies(bench.gateway.store().as_ref(), transfer).await;
    assert_eq!(in_state(&copies, DeliveryState::Received), 2);
}

#[tokio::test]
async fn a_copy_of_which_nothing_can_be_told_is_not_sent_and_the_others_are() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let transfer = bench.accept().await;
    // What would leave is told within the claim, where the store writes.
    let mut copies = Vec::new();
    for (attempt, state) in
        [DeliveryState::Queued, DeliveryState::Queued, DeliveryState::Failed].into_iter().enumerate()
    {
        bench.clock.break_once_beside();
        bench.gateway.dispatch_due().await.expect("the claim is well");
        copies = self::copies(bench.gateway.store().as_ref(), transfer).await;
        let untold: Vec<_> = copies.iter().filter(|copy| copy.reason.is_some()).collect();
        assert_eq!(untold.iter().map(|copy| copy.state).collect::<Vec<_>>(), [state], "{copies:?}");
        let why = untold[0].reason.as_deref().unwrap_or_default();
        assert!(why.contains("a fault of this gateway") && why.contains("nothing of it has left"), "{why}");
        assert_eq!(why.contains("an earlier one may have arrived"), attempt > 0, "{why}");
        bench.clock.later(3_600);
    }
    let failed: Vec<_> = copies.iter().filter(|copy| copy.state == DeliveryState::Failed).collect();
    let places = (in_state(&copies, DeliveryState::Received), in_state(&copies, DeliveryState::AwaitingCollection));
    assert_eq!(places, (1, 3), "the others are sent");
    let came: Vec<_> = bench.partner.came.lock().expect("whole").iter().map(|outbound| outbound.delivery).collect();
    assert!(came.len() == 1 && came[0] != failed[0].id, "what is not told does not leave: {came:?}");
    let (id, now) = (failed[0].id, bench.clock.now());
    let entries = bench.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let of_it = entries.iter().filter(|entry| entry.columns.delivery.as_deref() == Some(id.to_string().as_str()));
    let words: Vec<_> = of_it.map(|entry| entry.columns.word.clone()).collect();
    assert!(
        words.iter().any(|word| word == "delivery-failed") && !words.iter().any(|word| word == "intend"),
        "{words:?}"
    );
    let again = bench.gateway.store().requeue(id, Resend::Retry.into(), "Ada Wells", "mended", now, Vec::new()).await;
    assert_eq!(again, Ok(true));
    bench.gateway.dispatch_due().await.expect("the store is well");
    assert_eq!(in_state(&self::copies(bench.gateway.store().as_ref(), transfer).await, DeliveryState::Received), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hangs_has_not_all_places_whatever_the_addresses_behind_it() {
    let bench = Bench::with_one_host_for_practices("2026-11-13T09:00:00Z", 2).await;
    let (answer, answers) = watch::channel(false);
    *bench.partner.answers.lock().expect("whole") = Some(answers);
    *bench.partner.hangs_at.lock().expect("whole") = Some("practices.example");
    let transfer = bench.accept().await;
    let Bench { gateway, partner, folder: _folder, .. } = bench;
    let gateway = Arc::new(gateway);
    let (stop, stopped) = watch::channel(false);
    let dispatching = tokio::spawn(Arc::clone(&gateway).dispatch_until(stopped));
    let came = || partner.came.lock().expect("whole").iter().map(|outbound| outbound.kind).collect::<Vec<_>>();
    // Of two places the host has one: the practices come first, and the second of them waits.
    while came().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(came()[..2], [RecipientKind::CoveringPractice, RecipientKind::PharmacyReferral]);
    let state = async |kind: RecipientKind| {
        let copies = copies(gateway.store().as_ref(), transfer).await;
        copies.iter().find(|copy| copy.kind == kind).expect("a copy").state
    };
    while state(RecipientKind::PharmacyReferral).await != DeliveryState::Received {
        tokio::task::yield_now().await;
    }
    assert_eq!(state(RecipientKind::RegisteredPractice).await, DeliveryState::Queued);
    answer.send(true).expect("the partner listens");
    while state(RecipientKind::RegisteredPractice).await != DeliveryState::Received {
        tokio::task::yield_now().await;
    }
    stop.send(true).expect("it listens");
    dispatching.await.expect("it ends");
}
