//! Who wants to be called, and which call is due.

use onward_core::audit::AuditWord;
use onward_core::state::DeliveryState;
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription, SubscriptionStatus};
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim};
use uuid::Uuid;

use super::{Shared, accept_new, acceptance, at, at_once, log, ods, row};

pub(crate) fn subscription(client: &str) -> Subscription {
    Subscription {
        id: Uuid::new_v4(),
        client_id: client.to_owned(),
        criteria: "Task?status=requested".to_owned(),
        endpoint: "https://home.example/hooks/tasks".to_owned(),
        ends: Some(at(1_000)),
        status: SubscriptionStatus::Requested,
        error: None,
        version: 1,
        created: at(0),
        changed: at(0),
        told: 0,
        failures: 0,
        next_call: Some(at(0)),
        failing_since: None,
    }
}

async fn added(store: &Shared, client: &str) -> Subscription {
    let new = subscription(client);
    assert_eq!(store.add_subscription(new.clone(), 20, vec![row(AuditWord::Configure)]).await, Ok(true));
    new
}

async fn read(store: &Shared, id: Uuid) -> Subscription {
    store.subscription(id).await.expect("readable").expect("there")
}

fn end(of: &Subscription, token: u64, now: i64, outcome: CallOutcome) -> CallEnd {
    CallEnd { id: of.id, token, at: at(now), outcome, audit: vec![row(AuditWord::Notify)] }
}

pub(crate) async fn subscriptions_are_kept_changed_and_removed(store: Shared) {
    let own = added(&store, "rowan-house").await;
    assert_eq!(read(&store, own.id).await, own, "what is kept reads back");
    let other = Subscription { ends: None, next_call: None, created: at(1), ..subscription("elm-court") };
    let before = log(&store).await.len();
    assert_eq!(store.add_subscription(other.clone(), 0, vec![row(AuditWord::Configure)]).await, Ok(false), "no room");
    assert_eq!(log(&store).await.len(), before, "and nothing is told");
    assert_eq!(store.add_subscription(other.clone(), 1, vec![row(AuditWord::Configure)]).await, Ok(true));
    assert_eq!(store.subscriptions(Some("elm-court")).await, Ok(vec![other.clone()]));
    assert_eq!(store.subscriptions(None).await, Ok(vec![own.clone(), other.clone()]));
    assert_eq!(store.subscription(Uuid::new_v4()).await, Ok(None));
    let off = Subscription { status: SubscriptionStatus::Off, changed: at(2), next_call: None, told: 7, ..own.clone() };
    assert_eq!(store.change_subscription(off.clone(), vec![row(AuditWord::Configure)]).await, Ok(true));
    assert_eq!(read(&store, own.id).await, Subscription { version: 2, ..off.clone() });
    let before = log(&store).await.len();
    assert_eq!(
        store.change_subscription(off, vec![row(AuditWord::Configure)]).await,
        Ok(false),
        "it has another version"
    );
    assert_eq!(log(&store).await.len(), before);
    assert_eq!(store.live_subscriptions().await, Ok(vec![other]), "what is off is not called");
    assert_eq!(store.remove_subscription(own.id, vec![row(AuditWord::Configure)]).await, Ok(true));
    assert_eq!(store.remove_subscription(own.id, vec![row(AuditWord::Configure)]).await, Ok(false));
    assert_eq!(log(&store).await.len(), before + 1, "once");
    assert_eq!(store.subscription(own.id).await, Ok(None));
}

pub(crate) async fn one_of_many_nodes_makes_a_call(store: Shared) {
    let own = added(&store, "rowan-house").await;
    let id = own.id;
    let take = move |store: Shared, _| async move { store.take_call(id, 0, at(1), at(31)).await.expect("committed") };
    let taken: Vec<u64> = at_once(&store, 8, take).await.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(store.take_call(id, 0, at(30), at(60)).await, Ok(None), "somebody makes it");
    // Whoever took it has died.
    let second = store.take_call(id, 0, at(31), at(61)).await.expect("committed").expect("due");
    let entries = log(&store).await.len();
    assert_eq!(
        store.end_call(end(&own, taken[0], 32, CallOutcome::Told(5))).await,
        Ok(false),
        "the first is fenced off"
    );
    assert_eq!(log(&store).await.len(), entries, "and says nothing");
    assert_eq!(store.end_call(end(&own, second, 33, CallOutcome::Told(5))).await, Ok(true));
    assert_eq!(log(&store).await.len(), entries + 1);
    let told = read(&store, id).await;
    assert_eq!((told.status, told.told, told.next_call, told.version), (SubscriptionStatus::Active, 5, None, 2));
    assert_eq!(store.take_call(id, 0, at(34), at(64)).await, Ok(None), "another node has told that");
    let third = store.take_call(id, 5, at(34), at(64)).await.expect("committed").expect("nobody makes it");
    assert_eq!(store.end_call(end(&own, third, 35, CallOutcome::Told(9))).await, Ok(true));
    assert_eq!(read(&store, id).await.version, 2, "nothing that its owner can see has changed");
}

pub(crate) async fn a_failing_call_is_tried_again_and_given_up(store: Shared) {
    let own = added(&store, "rowan-house").await;
    let again = |reason: &str, next| CallOutcome::Again { at: at(next), reason: reason.to_owned() };
    for (now, next, failures) in [(1, 10, 1), (10, 30, 2)] {
        let token = store.take_call(own.id, 0, at(now), at(now + 5)).await.expect("committed").expect("due");
        assert_eq!(store.end_call(end(&own, token, now, again("no connection", next))).await, Ok(true));
        let failing = read(&store, own.id).await;
        assert_eq!((failing.failures, failing.next_call), (failures, Some(at(next))));
        assert_eq!((failing.failing_since, failing.error.as_deref()), (Some(at(1)), Some("no connection")));
        assert_eq!(store.take_call(own.id, 0, at(next - 1), at(99)).await, Ok(None), "not before its time");
    }
    let token = store.take_call(own.id, 0, at(30), at(60)).await.expect("committed").expect("due");
    // Its owner changes it meanwhile: that call's end changes nothing any more.
    let asked = Subscription { version: 3, changed: at(31), next_call: Some(at(31)), ..own.clone() };
    assert_eq!(store.change_subscription(asked, Vec::new()).await, Ok(true));
    assert_eq!(store.end_call(end(&own, token, 32, CallOutcome::Failed("410".to_owned()))).await, Ok(false));
    assert_eq!(read(&store, own.id).await.failures, 0);
    let token = store.take_call(own.id, 0, at(33), at(60)).await.expect("committed").expect("due");
    assert_eq!(store.end_call(end(&own, token, 34, CallOutcome::Failed("410".to_owned()))).await, Ok(true));
    let failed = read(&store, own.id).await;
    assert_eq!((failed.status, failed.next_call), (SubscriptionStatus::Error, None));
    assert_eq!(failed.error.as_deref(), Some("410"));
    assert_eq!(store.take_call(own.id, 0, at(90), at(99)).await, Ok(None), "it is not called any more");
    assert_eq!(store.live_subscriptions().await, Ok(Vec::new()));
}

pub(crate) async fn what_concerns_nobody_is_passed_over(store: Shared) {
    let own = added(&store, "rowan-house").await;
    assert_eq!(store.pass_over(own.id, 0, 7).await, Ok(false), "a call is due");
    let token = store.take_call(own.id, 0, at(1), at(31)).await.expect("committed").expect("due");
    assert_eq!(store.end_call(end(&own, token, 2, CallOutcome::Told(3))).await, Ok(true));
    let (told, entries) = (read(&store, own.id).await, log(&store).await.len());
    assert_eq!(store.pass_over(own.id, 2, 9).await, Ok(false), "another node has told more");
    assert_eq!(store.pass_over(own.id, 3, 9).await, Ok(true));
    assert_eq!(read(&store, own.id).await, Subscription { told: 9, ..told }, "its owner sees nothing of it");
    assert_eq!(log(&store).await.len(), entries);
    assert_eq!(store.take_call(own.id, 3, at(4), at(34)).await, Ok(None), "who has not seen that looks again");
    assert!(store.take_call(own.id, 9, at(4), at(34)).await.expect("committed").is_some());
    assert_eq!(store.pass_over(own.id, 9, 20).await, Ok(false), "a call is under way");
    assert_eq!(store.pass_over(Uuid::new_v4(), 0, 1).await, Ok(false));
}

pub(crate) async fn what_changed_is_told_to_whose_it_is(store: Shared) {
    let mut sent = acceptance(1);
    let transfer = sent.transfer.id;
    sent.audit[0].transfer = Some(transfer);
    let copy = accept_new(&store, sent).await;
    let lease = store.claim(Claim::due(at(0), at(30), 1)).await.expect("claimable").remove(0);
    let told = |word| {
        let mut row = row(word);
        (row.transfer, row.delivery) = (Some(transfer), Some(copy));
        row
    };
    let outcome = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
    let audit = vec![told(AuditWord::Disclose)];
    let end = AttemptEnd { delivery: copy, token: lease.token, outcome, at: at(1), audit };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    // Looking at a Task changes nothing.
    store.audit(vec![told(AuditWord::ReadTask), told(AuditWord::Query)]).await.expect("committed");
    let size = store.audit_size().await.expect("readable");
    let changed = async |who: &str, from, until| {
        let mut found = store.changed_tasks(&ods(who), from, until).await.expect("readable");
        found.sort_by_key(|(_, copy)| copy.is_some());
        found
    };
    assert_eq!(changed("RXH", 0, size).await, [(transfer, None), (transfer, Some(copy))], "the sender's");
    assert_eq!(changed("VM1AB", 0, size).await, [(transfer, Some(copy))], "the recipient's");
    assert_eq!(changed("VM2CD", 0, size).await, [], "nobody else's");
    assert_eq!(changed("RXH", 1, size).await, [(transfer, Some(copy))]);
    assert_eq!(changed("RXH", 2, size).await, []);
    assert_eq!(changed("RXH", 0, 1).await, [(transfer, None)]);
}
