//! What goes when its time is over, and what stays.

use jiff::Timestamp;
use onward_core::TransferId;
use onward_core::audit::AuditWord;
use onward_core::people::User;
use onward_core::state::DeliveryState;
use onward_core::store::alerts::{AlertKind, Channel, Concern, Contacted, NewAlert, NewNotification};
use onward_core::store::retention::{BodyClass, DueMonth, RetentionPlan, RowClass, Schedule};
use onward_core::store::subscriptions::{Subscription, SubscriptionStatus};
use onward_core::store::{
    Acceptance, Accepted, AttemptEnd, AttemptOutcome, Claim, Closure, LegalHoldOrder, Lifted, Resend, StoreError,
    Transition,
};
use uuid::Uuid;

use super::erasing::settled;
use super::keeping::pharmacy;
use super::people::user;
use super::subscribing::subscription;
use super::{Shared, accept_new, acceptance, at, hold, log, ods, patient, row, seen};

const MONTH: i64 = 202_003;

/// A message of long ago.
fn old(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.transfer.received = "2020-03-31T23:59:59Z".parse().expect("a moment");
    message
}

async fn place_hold(store: &Shared, n: u32) -> Uuid {
    let order = LegalHoldOrder { id: Uuid::new_v4(), reason: "inquest".to_owned(), by: "Cy".to_owned(), at: at(2) };
    let id = order.id;
    store.place_legal_hold(&patient(n), order, vec![row(AuditWord::Configure)]).await.expect("committed");
    id
}

async fn is_there(store: &Shared, transfer: TransferId) -> bool {
    store.original(transfer).await.expect("readable").is_some()
}

pub(crate) async fn a_month_goes_but_for_what_must_stay(store: Shared) {
    let (gone, on_hold, mut held, waiting) = (old(1), old(2), old(3), old(4));
    held.deliveries.clear();
    held.hold = Some(hold());
    let [first, second, third, fourth] = [&gone, &on_hold, &held, &waiting].map(|message| message.transfer.id);
    let held_by = held.hold.as_ref().expect("held").id;
    for message in [gone, on_hold] {
        let copy = accept_new(&store, message).await;
        store.open_rendition(copy, at(1), None, Vec::new()).await.expect("readable").expect("there");
    }
    assert_eq!(store.accept(held).await, Ok(Accepted::New));
    let queued = accept_new(&store, waiting).await;
    let young = acceptance(5);
    let fifth = young.transfer.id;
    accept_new(&store, young).await;
    let legal = place_hold(&store, 2).await;
    assert_eq!(store.oldest_bodies().await, Ok(vec![(BodyClass::Messages, MONTH), (BodyClass::Renditions, MONTH)]));

    let schedule =
        Schedule { messages_before: Some(MONTH + 1), renditions_before: Some(MONTH + 1), ..Schedule::default() };
    let due = store.retention_due(&schedule).await.expect("readable");
    let month = |class, due, kept| DueMonth { class, month: MONTH, due, kept };
    assert_eq!(due.months, [month(BodyClass::Messages, 2, 2), month(BodyClass::Renditions, 1, 2)]);
    let not_yet = Schedule { messages_before: Some(MONTH), ..Schedule::default() };
    assert!(store.retention_due(&not_yet).await.expect("readable").is_empty(), "the month itself is not over");
    for class in BodyClass::ALL {
        let purged = store.purge_month(*class, MONTH, 0, vec![row(AuditWord::Erase)]).await.expect("committed");
        assert_eq!(purged.kept, 2, "{class}");
        assert!(!purged.dropped);
        let again = store.purge_month(*class, MONTH, 0, Vec::new()).await.expect("committed");
        assert_eq!((again.removed, again.kept), (0, 2), "a second run does nothing more: {class}");
    }
    let left = [first, second, third, fourth, fifth];
    let mut there = Vec::new();
    for transfer in left {
        there.push(is_there(&store, transfer).await);
    }
    assert_eq!(there, [false, true, true, false, true], "a legal hold and an open hold keep, and what is young stays");
    assert!(store.rendition(queued).await.expect("readable").is_some(), "what waits to be sent stays");
    assert!(store.transfer(first).await.expect("readable").is_some(), "the record of it stays");

    // Now nothing must stay any more.
    assert_eq!(store.lift_legal_hold(legal, "Dot", at(3), Vec::new()).await, Ok(Lifted::Yes));
    let closure = Closure {
        hold: held_by,
        seen: seen(&store, held_by).await,
        reason: "duplicate".to_owned(),
        responses: Vec::new(),
        voids: None,
        at: at(3),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.close_hold(closure).await, Ok(true));
    store.open_rendition(queued, at(3), None, Vec::new()).await.expect("readable").expect("there");
    for class in BodyClass::ALL {
        let purged = store.purge_month(*class, MONTH, 0, vec![row(AuditWord::Erase)]).await.expect("committed");
        assert_eq!((purged.removed, purged.kept), (2, 0), "{class}");
    }
    assert!(store.retention_due(&schedule).await.expect("readable").is_empty());
    assert!(store.oldest_bodies().await.expect("readable").iter().all(|(_, month)| *month > MONTH));
    assert!(is_there(&store, fifth).await);
}

pub(crate) async fn what_has_lost_its_content_is_not_sent_again(store: Shared) {
    let copy = accept_new(&store, old(1)).await;
    let lease = store.claim(Claim::due(at(0), at(30), 1)).await.expect("claimable").remove(0);
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let end = AttemptEnd { delivery: copy, token: lease.token, outcome, at: at(1), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    let again = async |second: i64| {
        store
            .requeue(copy, Resend::Replay.into(), "Ada Wells", "asked", at(second), vec![row(AuditWord::Release)])
            .await
    };
    let purge =
        async || store.purge_month(BodyClass::Renditions, MONTH, 0, Vec::new()).await.map(|purged| purged.removed);
    assert_eq!(again(2).await, Ok(true));
    assert_eq!(purge().await, Ok(0), "it waits to be sent");
    let lease = store.claim(Claim::due(at(2), at(30), 1)).await.expect("claimable").remove(0);
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let end = AttemptEnd { delivery: copy, token: lease.token, outcome, at: at(3), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    assert_eq!(purge().await, Ok(1));
    let entries = log(&store).await.len();
    assert_eq!(again(4).await, Ok(false), "there is nothing to send");
    assert_eq!(log(&store).await.len(), entries);
}

pub(crate) async fn what_a_system_could_not_process_stays_until_it_is_settled(store: Shared) {
    let copy = accept_new(&store, old(1)).await;
    let lease = store.claim(Claim::due(at(0), at(30), 1)).await.expect("claimable").remove(0);
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let end = AttemptEnd { delivery: copy, token: lease.token, outcome, at: at(1), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    let version = store.delivery(copy).await.expect("readable").expect("there").version;
    let refusal = Transition {
        code: Some("20009".to_owned()),
        ..super::delivering::change(copy, version, DeliveryState::Rejected)
    };
    assert_eq!(store.transition(refusal).await, Ok(true));
    let record = store.delivery(copy).await.expect("readable").expect("there");
    let concern = Concern {
        kind: AlertKind::NotProcessed,
        step: 1,
        transfer: Some(record.transfer),
        sender: record.sender.clone(),
        delivery: Some(copy),
        recipient: Some(record.recipient.clone()),
        hold: None,
        subscription: None,
        work: None,
        since: at(50),
    };
    let audit = vec![row(AuditWord::Notify)];
    let alert = NewAlert { id: Uuid::new_v4(), concern, at: at(60), notifications: Vec::new(), audit };
    assert_eq!(store.raise_alert(alert).await, Ok(true));
    let purge = async || {
        let purged = store.purge_month(BodyClass::Renditions, MONTH, 0, Vec::new()).await.expect("committed");
        (purged.removed, purged.kept)
    };
    assert_eq!(purge().await, (0, 1), "somebody may send it again");
    assert!(store.rendition(copy).await.expect("readable").is_some());
    // It is sent again, and this time it was understood.
    assert_eq!(
        store.requeue(copy, Resend::Retry.into(), "Ada Wells", "mended there", at(70), Vec::new()).await,
        Ok(true)
    );
    let lease = store.claim(Claim::due(at(70), at(100), 1)).await.expect("claimable").remove(0);
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let end = AttemptEnd { delivery: copy, token: lease.token, outcome, at: at(71), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    assert_eq!(purge().await, (1, 0));
}

pub(crate) async fn people_go_when_nothing_was_recorded_about_them_since(store: Shared) {
    let (kept, gone) = (settled(&store, 1).await, settled(&store, 2).await);
    accept_new(&store, acceptance(3)).await;
    place_hold(&store, 1).await;
    let by = |before: Timestamp| Schedule { people_before: Some(before), ..Schedule::default() };
    assert!(store.retention_due(&by(at(-10))).await.expect("readable").is_empty(), "too early");
    let due = store.retention_due(&by(at(1_000))).await.expect("readable");
    assert_eq!((due.people.len(), due.people_kept), (1, 1), "one is under a legal hold, of one a copy still waits");
    let before = log(&store).await;
    let mut stale = due.people.clone();
    stale[0].keys.clear();
    let refused = store.purge_people(stale, at(1_000), at(1_001), vec![row(AuditWord::Erase)]).await;
    assert_eq!(refused, Err(StoreError::Overtaken), "other keys than were planned");
    store.purge_people(due.people.clone(), at(1_000), at(1_001), vec![row(AuditWord::Erase)]).await.expect("committed");
    assert_eq!(store.original(gone).await.map(drop), Err(StoreError::Erased));
    assert!(is_there(&store, kept).await);
    let after = log(&store).await;
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().zip(&after).all(|(old, new)| (&old.entry, old.leaf) == (&new.entry, new.leaf)));
    let again = store.purge_people(due.people, at(1_000), at(1_001), vec![row(AuditWord::Erase)]).await;
    assert_eq!(again, Err(StoreError::Overtaken), "once");
    assert!(store.retention_due(&by(at(1_000))).await.expect("readable").is_empty());
}

pub(crate) async fn rows_go_when_they_are_over(store: Shared) {
    let due = async |before: i64| {
        let rows_before = RowClass::ALL.iter().map(|class| (*class, at(before))).collect();
        let due = store.retention_due(&Schedule { rows_before, ..Schedule::default() }).await.expect("readable");
        due.rows.into_iter().map(|rows| (rows.due, rows.kept)).collect::<Vec<_>>()
    };
    assert_eq!(due(1_000).await, vec![(0, 0); RowClass::ALL.len()], "in the order of the classes: nothing is there");
    // Two alerts that are over, one about somebody under a legal hold, and one that is open.
    for n in 1..4 {
        let (message, open) = (acceptance(n), n == 3);
        let (transfer, sender) = (message.transfer.id, message.transfer.sender.clone());
        let copy = accept_new(&store, message).await;
        if !open {
            store.open_rendition(copy, at(1), None, Vec::new()).await.expect("readable").expect("there");
        }
        let kind = AlertKind::UnreadBeforeArrival;
        let (delivery, recipient) = (Some(copy), Some(ods("VM1AB")));
        let transfer = Some(transfer);
        let (hold, subscription, since) = (None, None, at(0));
        let work = None;
        let concern = Concern { kind, step: 1, transfer, sender, delivery, recipient, hold, subscription, work, since };
        let told = NewNotification {
            id: Uuid::new_v4(),
            contacted: Contacted::Home,
            channel: Channel::Email,
            address: "home@example.org".to_owned(),
        };
        let alert = NewAlert { id: Uuid::new_v4(), concern, at: at(0), notifications: vec![told], audit: Vec::new() };
        assert_eq!(store.raise_alert(alert).await, Ok(true));
    }
    assert_eq!(store.settle_alerts(at(2)).await, Ok(2));
    let legal = place_hold(&store, 1).await;
    // A directory of which one entry was replaced, and one that is alone.
    for (names, second) in [(["Old", "Alone"].as_slice(), 10), (&["New"], 20)] {
        let codes = ["FZZ01", "FZZ02"];
        let entries = names.iter().zip(codes).map(|(name, code)| pharmacy(code, name)).collect();
        store.import_directory(entries, "test", at(second), Vec::new().into()).await.expect("imported");
    }
    let directory = store.directory().await.expect("readable");
    // An account that is disabled, and one that is not.
    for (email, disabled) in [("gone@example.org", true), ("ada@example.org", false)] {
        assert_eq!(store.put_user(User { disabled, ..user(email) }, None, Vec::new()).await, Ok(true));
    }
    // A subscription that was given up, one that is off since later, and one that is called.
    let (given_up, off) = (SubscriptionStatus::Error, SubscriptionStatus::Off);
    for (status, changed) in [(given_up, 12), (off, 16), (SubscriptionStatus::Active, 12)] {
        let own = Subscription { status, changed: at(changed), next_call: None, ..subscription("rowan-house") };
        assert_eq!(store.add_subscription(own, 3, Vec::new()).await, Ok(true));
    }
    assert_eq!(due(15).await, [(1, 1), (0, 0), (1, 0), (0, 0), (1, 0)], "not before its successor came");
    assert_eq!(due(1_000).await, [(1, 1), (1, 0), (1, 0), (0, 0), (2, 0)]);
    assert_eq!(store.lift_legal_hold(legal, "Dot", at(30), Vec::new()).await, Ok(Lifted::Yes));
    assert_eq!(due(1_000).await, [(2, 0), (1, 0), (1, 0), (1, 0), (2, 0)]);
    let entries = log(&store).await.len();
    for class in RowClass::ALL {
        let purged = store.purge_rows(*class, at(1_000), vec![row(AuditWord::Erase)]).await.expect("committed");
        assert!(purged.removed > 0 && purged.kept == 0, "{class}");
    }
    assert_eq!(log(&store).await.len(), entries + RowClass::ALL.len());
    assert_eq!(due(1_000).await, vec![(0, 0); RowClass::ALL.len()], "a second time there is nothing");
    assert_eq!(store.alerts().await.expect("readable").len(), 1, "what is open stays");
    assert_eq!(store.directory().await.expect("readable"), directory, "what is in force stays");
    let users = store.users().await.expect("readable");
    assert_eq!(users.iter().map(|user| user.disabled).collect::<Vec<_>>(), [false]);
    assert!(store.legal_holds().await.expect("readable").is_empty());
    let called = store.subscriptions(None).await.expect("readable");
    assert_eq!(called.iter().map(|own| own.status).collect::<Vec<_>>(), [SubscriptionStatus::Active]);
}

pub(crate) async fn a_plan_is_carried_out_once(store: Shared) {
    let plan = RetentionPlan { id: Uuid::new_v4(), made: at(0), due: "{}".to_owned(), certificate: None };
    let id = plan.id;
    store.put_retention_plan(plan.clone(), vec![row(AuditWord::Configure)]).await.expect("committed");
    assert_eq!(store.retention_plan(id).await, Ok(Some(plan)));
    assert_eq!(store.retention_plan(Uuid::new_v4()).await, Ok(None));
    assert_eq!(store.finish_retention_plan(id, "signed", vec![row(AuditWord::Configure)]).await, Ok(true));
    assert_eq!(store.finish_retention_plan(id, "other", vec![row(AuditWord::Configure)]).await, Ok(false));
    let kept = store.retention_plan(id).await.expect("readable").expect("there");
    assert_eq!(kept.certificate.as_deref(), Some("signed"));
    assert_eq!(log(&store).await.len(), 2);
}
