//! Placing copies into inboxes.

use onward_core::DeliveryId;
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::{Claim, DeliveryRecord, Pause, Placing, Telling};

use super::delivering::change;
use super::lifecycle::with_its_row;
use super::{Shared, accept_new, acceptance, at, log, patient, row};

pub(super) async fn placed_by(store: &Shared, now: i64, limit: u32, told: Telling<DeliveryRecord>) -> Vec<DeliveryId> {
    let placed = store.place(Placing { now: at(now), limit, told }).await.expect("placeable");
    placed.iter().map(|copy| copy.id).collect()
}

async fn place(store: &Shared, now: i64, limit: u32) -> Vec<DeliveryId> {
    placed_by(store, now, limit, Telling::new(rule)).await
}

pub(super) fn rule(copy: &DeliveryRecord) -> Vec<AuditRow> {
    vec![AuditRow { transfer: Some(copy.transfer), delivery: Some(copy.id), ..row(AuditWord::Disclose) }]
}

async fn read(store: &Shared, id: DeliveryId) -> DeliveryRecord {
    store.delivery(id).await.expect("readable").expect("there")
}

pub(super) async fn ids_claimed(store: &Shared, now: i64) -> Vec<DeliveryId> {
    let leases = store.claim(Claim::due(at(now), at(now + 30), 100)).await.expect("claimable");
    leases.iter().map(|lease| lease.delivery.id).collect()
}

/// Of the same person's: one lane.
async fn accept_of(store: &Shared, n: u32, endpoint: Endpoint) -> DeliveryId {
    let mut message = acceptance(n);
    message.transfer.patient = Some(patient(1));
    message.deliveries[0].endpoint = endpoint;
    accept_new(store, message).await
}

pub(crate) async fn what_is_collected_is_placed_at_once_in_the_order_in_which_it_is_due(store: Shared) {
    let mut collected = Vec::new();
    for n in 0..5 {
        collected.push(accept_new(&store, with_its_row(acceptance(n))).await);
    }
    let mut message = with_its_row(acceptance(5));
    message.deliveries[0].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
    let pushed = accept_new(&store, message).await;
    assert!(place(&store, -1, 10).await.is_empty(), "not due yet");
    assert!(place(&store, 0, 0).await.is_empty());
    let before = log(&store).await.len();
    assert_eq!(place(&store, 1, 3).await, collected[..3], "no more than the limit");
    let told: Vec<_> =
        log(&store).await.split_off(before).into_iter().filter_map(|entry| entry.columns.delivery).collect();
    assert_eq!(told, collected[..3].iter().map(ToString::to_string).collect::<Vec<_>>());
    let copy = read(&store, collected[0]).await;
    assert_eq!(
        (copy.state, copy.version, copy.attempts, copy.changed),
        (DeliveryState::AwaitingCollection, 2, 1, at(1))
    );
    assert_eq!(store.is_leased(collected[0], at(1)).await, Ok(false));
    assert_eq!(place(&store, 2, 10).await, collected[3..], "nothing that leaves");
    assert!(place(&store, 3, 10).await.is_empty(), "once");
    assert_eq!(ids_claimed(&store, 3).await, [pushed]);
    let broken: Vec<_> = store.checkup().await.expect("readable").flaws.into_iter().map(|flaw| flaw.rule).collect();
    assert_eq!(broken, [""; 0]);
    assert_eq!(store.transition(change(collected[0], 2, DeliveryState::Received)).await, Ok(true));
}

pub(crate) async fn placing_keeps_lanes_pauses_and_leases(store: Shared) {
    let practice = Endpoint::Https { url: "https://practice.example/in".to_owned() };
    let older = accept_of(&store, 0, practice).await;
    let younger = accept_of(&store, 1, Endpoint::Inbox {}).await;
    assert!(place(&store, 1, 10).await.is_empty(), "an older one of its lane is queued");
    assert_eq!(ids_claimed(&store, 1).await, [older]);
    assert!(place(&store, 2, 10).await.is_empty(), "and is being sent");
    assert_eq!(store.transition(change(older, 1, DeliveryState::Rejected)).await, Ok(true));
    assert!(place(&store, 3, 10).await.is_empty(), "which may go on, whatever was said of it");
    let recipient = read(&store, younger).await.recipient;
    let pause =
        |recipient| Pause { recipient, reason: "a fault".to_owned(), by: "Ada Wells".to_owned(), since: at(40) };
    for recipient in [Some(recipient), None] {
        assert_eq!(store.pause(pause(recipient.clone()), Vec::new()).await, Ok(true));
        assert!(place(&store, 40, 10).await.is_empty(), "paused");
        assert_eq!(store.resume(recipient.as_ref(), Vec::new()).await, Ok(true));
    }
    assert_eq!(ids_claimed(&store, 41).await, [younger]);
    assert!(place(&store, 42, 10).await.is_empty(), "leased");
    assert_eq!(place(&store, 80, 10).await, [younger], "the lease has run out");
    assert_eq!((read(&store, younger).await.attempts, store.is_leased(younger, at(80)).await), (2, Ok(false)));
}

pub(crate) async fn placing_at_once_places_each_once(store: Shared) {
    for n in 0..20 {
        accept_new(&store, acceptance(n)).await;
    }
    let mut placed: Vec<DeliveryId> = super::at_once(&store, 8, |store, _| async move { place(&store, 0, 5).await })
        .await
        .into_iter()
        .flatten()
        .collect();
    while placed.len() < 20 {
        let more = place(&store, 0, 5).await;
        assert!(!more.is_empty(), "what another one has locked is there afterwards");
        placed.extend(more);
    }
    let count = placed.len();
    placed.sort();
    placed.dedup();
    assert_eq!((count, placed.len()), (20, 20));
    for id in placed {
        assert_eq!(read(&store, id).await.attempts, 1);
    }
}
