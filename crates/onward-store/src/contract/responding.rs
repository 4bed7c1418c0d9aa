//! What a sender is answered: handed over and done with, until MESH says that nobody has it or the message comes again.

use onward_core::DeliveryId;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim, DeliveryRecord, Resend, Transition};

use super::{Shared, accept_new, acceptance, at, delivery};

async fn read(store: &Shared, id: DeliveryId) -> DeliveryRecord {
    store.delivery(id).await.expect("readable").expect("there")
}

/// Hands it over in the second `now`; what the attempt was labelled with.
async fn handed_over(store: &Shared, now: i64) -> Option<String> {
    let mut leases = store.claim(Claim::due(at(now), at(now + 30), 1)).await.expect("claimable");
    let lease = leases.pop().expect("it is due");
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Completed, reference: Some(format!("M-{now}")) };
    let (delivery, token) = (lease.delivery.id, lease.token);
    let end = AttemptEnd { delivery, token, outcome, at: at(now), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    lease.delivery.replay
}

pub(crate) async fn a_response_that_was_handed_over_can_fail_and_goes_again(store: Shared) {
    let mut message = acceptance(1);
    message.deliveries = vec![delivery(RecipientKind::Sender, "RXH")];
    let id = accept_new(&store, message).await;
    let again = async |how: Resend, second| {
        store.requeue(id, how.into(), "ward-system", "it came again", at(second), Vec::new()).await
    };
    assert_eq!(again(Resend::Replay, 0).await, Ok(false), "it goes by itself");
    assert_eq!(handed_over(&store, 1).await, None);
    assert_eq!(again(Resend::Retry, 2).await, Ok(false), "it has left");
    assert_eq!(again(Resend::Replay, 2).await, Ok(true), "whoever got none is told again");
    assert_eq!(again(Resend::Replay, 2).await, Ok(false), "once");
    assert_eq!(handed_over(&store, 3).await.as_deref(), Some("it came again"));
    let undelivered = Transition {
        delivery: id,
        expected_version: read(&store, id).await.version,
        state: DeliveryState::Failed,
        code: Some("14".to_owned()),
        reason: Some("MESH report 14: not delivered".to_owned()),
        at: at(4),
        responses: Vec::new(),
        audit: Vec::new(),
    };
    assert_eq!(store.transition(undelivered).await, Ok(true));
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.reason.as_deref()), (DeliveryState::Failed, Some("MESH report 14: not delivered")));
    assert_eq!(again(Resend::Retry, 5).await, Ok(true));
    handed_over(&store, 6).await;
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.reference.as_deref()), (DeliveryState::Completed, Some("M-6")));
    assert_eq!(store.replays(id).await.expect("readable").len(), 1, "a retry is none");
}
