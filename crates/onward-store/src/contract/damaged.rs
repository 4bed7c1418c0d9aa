//! What an engine does with rows that are not what was written: each test damages some behind the store's back.

use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::{Acceptance, Claim, Parked, Parking};
use onward_core::{DeliveryId, TransferId};

use super::{Shared, accept_new, acceptance, at, log, ods, row};

/// The database of a store, reached beside it. What is run is the same on every engine.
pub(crate) trait Damage {
    /// Runs a statement, as a failing disk or a curious operator would.
    fn damage(&self, sql: &str);
}

/// A message whose acceptance is told of it, so that `fsck` finds it.
fn told(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.audit = vec![AuditRow { transfer: Some(message.transfer.id), ..row(AuditWord::Accept) }];
    message
}

/// Which rules `fsck` finds broken.
async fn broken(store: &Shared) -> Vec<&'static str> {
    store.checkup().await.expect("readable").flaws.into_iter().map(|flaw| flaw.rule).collect()
}

pub(crate) async fn what_cannot_be_read_is_parked_with_its_audit_and_makes_no_attempt(
    store: Shared,
    database: &impl Damage,
) {
    let push = |n: u32| {
        let mut message = told(n);
        message.deliveries[0].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
        message
    };
    let mut ids: Vec<(TransferId, DeliveryId)> = Vec::new();
    for n in 0..4 {
        let message = push(n);
        ids.push((message.transfer.id, accept_new(&store, message).await));
    }
    let [workflow, endpoint, body, healthy] = [ids[0], ids[1], ids[2], ids[3]];
    database.damage(&format!("UPDATE deliveries SET workflow = '' WHERE id = '{}'", workflow.1));
    database.damage(&format!("UPDATE deliveries SET endpoint = 'secret-word' WHERE id = '{}'", endpoint.1));
    let other = format!("SELECT body FROM rendition_bodies WHERE delivery = '{}'", healthy.1);
    database.damage(&format!("UPDATE rendition_bodies SET body = ({other}) WHERE delivery = '{}'", body.1));
    let rule = |parked: &Parked| {
        let (transfer, delivery) = (parked.transfer, Some(parked.delivery));
        vec![AuditRow { transfer, delivery, success: false, ..row(AuditWord::DeliveryFailed) }]
    };
    let before = log(&store).await.len();
    let claim = Claim { parking: Parking::new(rule), ..Claim::due(at(0), at(30), 10) };
    let leases = store.claim(claim).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [healthy.1]);
    let told: Vec<_> = log(&store).await.split_off(before).into_iter().map(|entry| entry.columns.delivery).collect();
    assert_eq!(told, [workflow, endpoint, body].map(|(_, copy)| Some(copy.to_string())));
    let size = store.audit_size().await.expect("readable");
    for who in ["RXH", "VM1AB"] {
        let changed = store.changed_tasks(&ods(who), before as u64, size).await.expect("readable");
        for (transfer, copy) in [workflow, endpoint, body] {
            assert!(changed.contains(&(transfer, Some(copy))), "{who} is called for it");
        }
    }
    for (copy, place) in [(workflow.1, "deliveries.workflow"), (body.1, "rendition_bodies.body")] {
        let copy = store.delivery(copy).await.expect("readable").expect("there");
        let reason = format!("unreadable in the store: {place}");
        assert_eq!((copy.state, copy.reason, copy.attempts), (DeliveryState::Failed, Some(reason), 0));
    }
    assert_eq!(broken(&store).await, [""; 0]);
}
