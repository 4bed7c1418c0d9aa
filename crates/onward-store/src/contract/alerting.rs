//! What needs a person, and who is told.

use jiff::SignedDuration;
use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::cause::NOT_PROCESSED;
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::alerts::{
    AlertKind, Channel, Concern, Contacted, Deadlines, NewAlert, NewNotification, NotificationEnd, NotificationOutcome,
    NotificationState,
};
use onward_core::store::subscriptions::{CallEnd, CallOutcome};
use onward_core::store::{
    Acceptance, Accepted, AttemptEnd, AttemptOutcome, Claim, Pause, Queue, Resend, StuckQuery, Transition,
};
use uuid::Uuid;

use super::keeping::client;
use super::lifecycle::{ending, next_version, take_back};
use super::subscribing::subscription;
use super::{Shared, accept_new, acceptance, at, at_once, delivery, hold, log, ods, row};

/// Two hours before an arrival, ten minutes' grace, steps of half an hour; two hours for a receipt, a day for an
/// acknowledgement; homes are not told.
pub(crate) fn deadlines() -> Deadlines {
    Deadlines {
        unread_before_arrival: SignedDuration::from_hours(2),
        grace: SignedDuration::from_mins(10),
        step: SignedDuration::from_mins(30),
        receipt: SignedDuration::from_hours(2),
        acknowledgement: SignedDuration::from_hours(24),
        queued: SignedDuration::from_hours(24 * 20),
        tell_homes: false,
    }
}

pub(crate) async fn concerns(store: &Shared, now: i64) -> Vec<Concern> {
    store.concerns(at(now), deadlines()).await.expect("readable")
}

pub(super) async fn found(store: &Shared, now: i64) -> Vec<(AlertKind, u32)> {
    concerns(store, now).await.iter().map(|concern| (concern.kind, concern.step)).collect()
}

pub(super) async fn ends(store: &Shared, now: i64, outcome: AttemptOutcome) -> DeliveryId {
    let lease = store.claim(Claim::due(at(now), at(now + 30), 1)).await.expect("claimable").remove(0);
    let audit = vec![row(AuditWord::Disclose)];
    let end = AttemptEnd { delivery: lease.delivery.id, token: lease.token, outcome, at: at(now), audit };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    lease.delivery.id
}

pub(super) fn failed() -> AttemptOutcome {
    AttemptOutcome::Failed { reason: "the partner answered 410".to_owned() }
}

pub(super) fn sent(state: DeliveryState) -> AttemptOutcome {
    AttemptOutcome::Sent { state, reference: None }
}

pub(super) fn notification(contacted: Contacted) -> NewNotification {
    let address = "somebody@example.org".to_owned();
    NewNotification { id: Uuid::new_v4(), contacted, channel: Channel::Email, address }
}

pub(crate) fn alert(concern: &Concern, now: i64, notifications: Vec<NewNotification>) -> NewAlert {
    let audit = vec![row(AuditWord::Notify)];
    NewAlert { id: Uuid::new_v4(), concern: concern.clone(), at: at(now), notifications, audit }
}

/// A failed copy that was raised, with somebody to be told.
async fn raised(store: &Shared) -> (DeliveryId, Concern, NewNotification) {
    let id = accept_new(store, acceptance(1)).await;
    assert_eq!(ends(store, 5, failed()).await, id);
    let concern = concerns(store, 6).await.remove(0);
    let first = notification(Contacted::Operations);
    assert_eq!(store.raise_alert(alert(&concern, 6, vec![first.clone()])).await, Ok(true));
    (id, concern, first)
}

pub(crate) async fn a_subscription_that_is_given_up_needs_a_person(store: Shared) {
    store.put_client(client("rowan-house"), Vec::new()).await.expect("committed");
    let own = subscription("rowan-house");
    assert_eq!(store.add_subscription(own.clone(), 1, Vec::new()).await, Ok(true));
    assert!(concerns(&store, 1).await.is_empty(), "it is called");
    let token = store.take_call(own.id, 0, at(1), at(31)).await.expect("committed").expect("due");
    let outcome = CallOutcome::Failed("the partner answered 410".to_owned());
    let end = CallEnd { id: own.id, token, at: at(2), outcome, audit: Vec::new() };
    assert_eq!(store.end_call(end).await, Ok(true));
    let given_up = concerns(&store, 3).await;
    let [concern] = &given_up[..] else { panic!("one: {given_up:?}") };
    assert_eq!((concern.kind, concern.subscription), (AlertKind::SubscriptionFailed, Some(own.id)));
    assert_eq!((concern.subject(), concern.transfer, concern.since), (own.id, None, at(2)));
    let told = vec![notification(Contacted::Operations)];
    assert_eq!(store.raise_alert(alert(concern, 3, told)).await, Ok(true));
    assert_eq!(store.raise_alert(alert(concern, 3, Vec::new())).await, Ok(false), "once");
    assert!(concerns(&store, 4).await.is_empty());
    assert_eq!(store.alerts().await.expect("readable").iter().map(|open| &open.concern).collect::<Vec<_>>(), [concern]);
    assert_eq!(store.settle_alerts(at(5)).await, Ok(0), "it is so still");
    let due = store.take_notifications(at(5), at(60)).await.expect("taken");
    assert_eq!(due.iter().map(|due| &due.concern).collect::<Vec<_>>(), [concern]);
    // Its owner asks for it again, or takes it away.
    assert_eq!(store.remove_subscription(own.id, Vec::new()).await, Ok(true));
    assert_eq!(store.settle_alerts(at(6)).await, Ok(1));
    assert!(store.alerts().await.expect("readable").is_empty() && concerns(&store, 7).await.is_empty());
}

pub(crate) async fn an_organisation_that_has_closed_needs_a_person_until_it_is_said_to_stand(store: Shared) {
    let of = |kind: AlertKind, code: &str| Concern {
        kind,
        step: 1,
        transfer: None,
        sender: ods("Y99900"),
        delivery: None,
        recipient: Some(ods(code)),
        hold: None,
        subscription: None,
        work: None,
        since: at(1),
    };
    let closed = |code| of(AlertKind::OrganisationClosed, code);
    let (one, other) = (closed("Y99002"), closed("Y99003"));
    assert_ne!(one.subject(), other.subject());
    let elsewhere = of(AlertKind::MailboxChanged, "Y99002");
    for concern in [&one, &other, &elsewhere] {
        let told = vec![notification(Contacted::Operations)];
        assert_eq!(store.raise_alert(alert(concern, 2, told)).await, Ok(true));
        assert_eq!(store.raise_alert(alert(concern, 2, Vec::new())).await, Ok(false), "once");
    }
    assert_eq!(store.settle_alerts(at(3)).await, Ok(0), "no row says that it is over");
    let counts = store.alert_counts().await.expect("readable");
    assert!(counts.len() == 2 && counts.contains(&(AlertKind::OrganisationClosed, 2)), "{counts:?}");
    assert_eq!(store.clear_alert(elsewhere.kind, elsewhere.subject(), at(4)).await, Ok(true), "the other kind stands");
    assert_eq!(store.clear_alert(one.kind, one.subject(), at(4)).await, Ok(true));
    assert_eq!(store.clear_alert(one.kind, one.subject(), at(5)).await, Ok(false), "it is over already");
    let due = store.take_notifications(at(6), at(60)).await.expect("taken");
    assert_eq!(due.iter().map(|due| &due.concern).collect::<Vec<_>>(), [&other], "nobody is told of what is over");
    let open = store.alerts().await.expect("readable");
    assert_eq!(open.iter().map(|open| &open.concern).collect::<Vec<_>>(), [&other]);
    assert_eq!(store.raise_alert(alert(&one, 7, Vec::new())).await, Ok(true), "if it closes again, it is told again");
}

/// That a replacement of this message was refused.
pub(super) fn about(message: &Acceptance) -> Concern {
    Concern {
        kind: AlertKind::ReplacementRefused,
        step: 1,
        transfer: Some(message.transfer.id),
        sender: message.transfer.sender.clone(),
        delivery: None,
        recipient: None,
        hold: None,
        subscription: None,
        work: None,
        since: at(1),
    }
}

pub(crate) async fn that_a_replacement_was_refused_ends_with_what_it_was_to_replace(store: Shared) {
    let (first, withdrawn, settled) = (acceptance(1), acceptance(2), acceptance(3));
    for message in [&first, &withdrawn, &settled] {
        accept_new(&store, message.clone()).await;
        let told = vec![notification(Contacted::Operations)];
        assert_eq!(store.raise_alert(alert(&about(message), 2, told)).await, Ok(true));
        assert_eq!(store.raise_alert(alert(&about(message), 3, Vec::new())).await, Ok(false), "once while it is open");
    }
    assert_eq!(about(&first).subject(), first.transfer.id.0);
    assert_eq!(store.settle_alerts(at(4)).await, Ok(0), "all are in use");
    assert_eq!(store.alert_counts().await, Ok(vec![(AlertKind::ReplacementRefused, 3)]));
    // Another version takes its place, its sender withdraws it, a person says so.
    accept_new(&store, next_version(4, &first, &[first.deliveries[0].id])).await;
    assert_eq!(store.settle_alerts(at(5)).await, Ok(1));
    let ends = vec![ending(withdrawn.deliveries[0].id, EndReason::Withdrawn)];
    assert_eq!(store.take_back(take_back(&withdrawn, Some(EndReason::Withdrawn), ends)).await, Ok(true));
    assert_eq!(store.settle_alerts(at(61)).await, Ok(1));
    let kind = AlertKind::ReplacementRefused;
    assert_eq!(store.clear_alert(kind, settled.transfer.id.0, at(62)).await, Ok(true));
    assert!(store.take_notifications(at(63), at(100)).await.expect("taken").is_empty(), "what is over is not told");
    assert_eq!(store.raise_alert(alert(&about(&settled), 64, Vec::new())).await, Ok(true), "refused again, told again");
}

pub(crate) async fn what_needs_a_person_is_raised_once_and_cleared(store: Shared) {
    let mut fails = acceptance(1);
    fails.transfer.expected = Some(at(10_000_000));
    let id = accept_new(&store, fails).await;
    let mut waits = acceptance(2);
    waits.deliveries.clear();
    waits.transfer.expected = None;
    waits.hold = Some(hold());
    assert_eq!(store.accept(waits).await, Ok(Accepted::New));
    assert!(concerns(&store, 0).await.is_empty());
    ends(&store, 5, failed()).await;
    let copy = concerns(&store, 6).await;
    assert_eq!((copy.len(), copy[0].kind, copy[0].delivery), (1, AlertKind::DeliveryFailed, Some(id)));
    assert_eq!((copy[0].since, copy[0].recipient.clone(), copy[0].subject()), (at(5), Some(ods("VM1AB")), id.0));
    let before = log(&store).await.len();
    let told = || vec![notification(Contacted::Operations), notification(Contacted::Ward)];
    assert_eq!(store.raise_alert(alert(&copy[0], 6, told())).await, Ok(true));
    assert_eq!(store.raise_alert(alert(&copy[0], 6, told())).await, Ok(false), "once");
    assert_eq!(log(&store).await.len(), before + 1, "with its audit");
    assert!(concerns(&store, 7).await.is_empty());
    let open = store.alerts().await.expect("readable");
    assert_eq!((open.len(), &open[0].concern, open[0].raised), (1, &copy[0], at(6)));
    let whom: Vec<_> = open[0].told.iter().map(|told| (told.contacted, told.state)).collect();
    assert_eq!(whom, [Contacted::Operations, Contacted::Ward].map(|who| (who, NotificationState::Queued)));
    // The hold's time is over at 3600; nobody is there to be told.
    assert!(concerns(&store, 3600).await.is_empty());
    let held = concerns(&store, 3601).await;
    assert_eq!((held.len(), held[0].kind, held[0].since), (1, AlertKind::HoldOverdue, at(3600)));
    assert_eq!(held[0].hold.map(|id| id.0), Some(held[0].subject()));
    assert_eq!(store.raise_alert(alert(&held[0], 3601, Vec::new())).await, Ok(true));
    assert_eq!(store.alert_counts().await, Ok(vec![(AlertKind::DeliveryFailed, 1), (AlertKind::HoldOverdue, 1)]));
    assert_eq!(store.settle_alerts(at(3602)).await, Ok(0), "both are so still");
    assert_eq!(store.requeue(id, Resend::Retry.into(), "Ada Wells", "asked", at(3603), Vec::new()).await, Ok(true));
    assert_eq!(store.alert_counts().await, Ok(vec![(AlertKind::HoldOverdue, 1)]));
    assert!(store.take_notifications(at(3605), at(3700)).await.expect("taken").is_empty(), "what is over is not told");
    // When it is so again it is raised again, also before anybody has looked.
    ends(&store, 3606, failed()).await;
    let again = concerns(&store, 3606).await;
    assert_eq!(store.raise_alert(alert(&again[0], 3606, told())).await, Ok(true));
}

pub(crate) async fn one_of_many_nodes_raises_an_alert(store: Shared) {
    accept_new(&store, acceptance(1)).await;
    ends(&store, 5, failed()).await;
    let concern = concerns(&store, 6).await.remove(0);
    let before = log(&store).await.len();
    let raise = move |store: Shared, _| {
        let alert = alert(&concern, 6, vec![notification(Contacted::Operations)]);
        async move { store.raise_alert(alert).await.expect("committed") }
    };
    let wins = at_once(&store, 8, raise).await;
    assert_eq!(wins.iter().filter(|won| **won).count(), 1, "{wins:?}");
    assert_eq!(log(&store).await.len(), before + 1);
    let taken =
        at_once(
            &store,
            8,
            |store, _| async move { store.take_notifications(at(7), at(100)).await.expect("taken").len() },
        )
        .await;
    assert_eq!(taken.iter().sum::<usize>(), 1, "one node tells it: {taken:?}");
}

pub(crate) async fn what_waits_too_long_to_be_sent_is_told_once_for_each_recipient(store: Shared) {
    let day = 24 * 3600;
    let waits = async |now: i64| {
        let deadlines = Deadlines { queued: SignedDuration::from_hours(24), ..deadlines() };
        let mut found = store.concerns(at(now), deadlines).await.expect("readable");
        found.retain(|concern| concern.kind == AlertKind::QueuedTooLong);
        found
    };
    let copies =
        |found: &[Concern]| found.iter().filter_map(|each| Some((each.delivery?, each.since))).collect::<Vec<_>>();
    let mut ids = Vec::new();
    for (n, received, recipient) in [(1, 0, "VM1AB"), (2, 10, "VM1AB"), (3, 20, "VM9ZZ")] {
        let mut new = acceptance(n);
        new.transfer.expected = Some(at(10_000_000));
        new.transfer.received = at(received);
        new.deliveries = vec![delivery(RecipientKind::CareHome, recipient)];
        ids.push(accept_new(&store, new).await);
    }
    let [first, second, other] = ids[..] else { panic!("three: {ids:?}") };
    let pause = Pause { recipient: None, reason: "moving".into(), by: "Ada Wells".into(), since: at(1) };
    assert_eq!(store.pause(pause, Vec::new()).await, Ok(true));
    assert!(waits(day - 1).await.is_empty());
    let forgotten = waits(day + 20).await;
    assert_eq!(copies(&forgotten), [(first, at(0)), (other, at(20))], "of each recipient the longest");
    for concern in &forgotten {
        assert_eq!(store.raise_alert(alert(concern, day + 20, vec![])).await, Ok(true));
    }
    assert!(waits(day + 21).await.is_empty());
    assert_eq!(store.settle_alerts(at(day + 21)).await, Ok(0), "they wait still");
    assert_eq!(store.resume(None, Vec::new()).await, Ok(true));
    assert_eq!(ends(&store, day + 30, failed()).await, first);
    // The next of them is not told as well, and the first telling stays until none of them waits any more.
    assert_eq!(store.settle_alerts(at(day + 31)).await, Ok(0));
    assert!(waits(day + 31).await.is_empty());
    let again = || AttemptOutcome::Retry { at: at(9_000_000), reason: "busy".to_owned() };
    assert_eq!(ends(&store, day + 41, again()).await, second);
    assert!(waits(2 * day + 39).await.is_empty());
    assert_eq!(ends(&store, day + 43, sent(DeliveryState::Sent)).await, other);
    assert_eq!(store.settle_alerts(at(day + 44)).await, Ok(1), "the other recipient has its own");
    assert_eq!(
        store.requeue(second, Resend::Retry.into(), "Ada Wells", "asked", at(day + 45), Vec::new()).await,
        Ok(true)
    );
    assert_eq!(ends(&store, day + 46, sent(DeliveryState::Sent)).await, second);
    assert_eq!(store.settle_alerts(at(day + 47)).await, Ok(1));
    // What is sent again waits from then on.
    assert_eq!(
        store.requeue(first, Resend::Retry.into(), "Ada Wells", "asked", at(day + 50), Vec::new()).await,
        Ok(true)
    );
    assert!(waits(2 * day + 49).await.is_empty());
    assert_eq!(copies(&waits(2 * day + 50).await), [(first, at(day + 50))]);
    assert_eq!(ends(&store, day + 51, again()).await, first);
    assert_eq!(copies(&waits(2 * day + 51).await), [(first, at(day + 50))], "an attempt that fails is no end of it");
}

pub(crate) async fn answers_that_are_missing_are_a_concern(store: Shared) {
    let far = |n| {
        let mut acceptance = acceptance(n);
        acceptance.transfer.expected = Some(at(10_000_000));
        acceptance
    };
    accept_new(&store, far(1)).await;
    let id = ends(&store, 0, sent(DeliveryState::Sent)).await;
    assert!(found(&store, 7199).await.is_empty());
    assert_eq!(found(&store, 7200).await, [(AlertKind::ReceiptMissing, 1)]);
    let concern = concerns(&store, 7200).await.remove(0);
    assert_eq!(store.raise_alert(alert(&concern, 7200, vec![])).await, Ok(true));
    assert_eq!(store.requeue(id, Resend::Replay.into(), "Ada Wells", "asked", at(7300), Vec::new()).await, Ok(true));
    assert!(store.alerts().await.expect("readable").is_empty(), "it is sent anew");
    ends(&store, 7302, sent(DeliveryState::Received)).await;
    let day = 24 * 3600;
    assert!(found(&store, 7301 + day).await.is_empty());
    assert_eq!(found(&store, 7302 + day).await, [(AlertKind::AcknowledgementMissing, 1)]);
    // A response to the sender awaits nothing.
    let mut response = far(2);
    response.deliveries[0].acknowledgement_awaited = false;
    accept_new(&store, response).await;
    ends(&store, 7400, sent(DeliveryState::Sent)).await;
    assert_eq!(found(&store, 7402 + day).await, [(AlertKind::AcknowledgementMissing, 1)]);
}

/// The recipient's word, with this code.
async fn refused(store: &Shared, id: DeliveryId, code: Option<&str>, now: i64) {
    let version = store.delivery(id).await.expect("readable").expect("there").version;
    let change = Transition {
        delivery: id,
        expected_version: version,
        state: DeliveryState::Rejected,
        code: code.map(str::to_owned),
        reason: Some("their own words".to_owned()),
        at: at(now),
        responses: Vec::new(),
        audit: vec![row(AuditWord::Acknowledge)],
    };
    assert_eq!(store.transition(change).await, Ok(true));
}

pub(crate) async fn what_a_system_refuses_needs_a_person_and_what_a_home_declines_its_ward(store: Shared) {
    // Its home is called from 600 on, and has been.
    let id = accept_new(&store, acceptance(1)).await;
    ends(&store, 0, sent(DeliveryState::Sent)).await;
    let unread = concerns(&store, 600).await.remove(0);
    assert_eq!(store.raise_alert(alert(&unread, 600, vec![])).await, Ok(true));
    refused(&store, id, Some("20009"), 700).await;
    let refusal = concerns(&store, 701).await;
    let kinds: Vec<_> = refusal.iter().map(|concern| (concern.kind, concern.delivery, concern.since)).collect();
    assert_eq!(kinds, [(AlertKind::NotProcessed, Some(id), at(700))]);
    assert_eq!(store.settle_alerts(at(701)).await, Ok(0), "nobody has read it");
    assert!(store.backlog().await.expect("readable").is_empty(), "within a look");
    assert_eq!(store.raise_alert(alert(&refusal[0], 701, vec![])).await, Ok(true));
    assert!(found(&store, 702).await.is_empty());
    let board = async || {
        let backlog = store.backlog().await.expect("readable");
        backlog.into_iter().map(|group| (group.queue, group.reason, group.count)).collect::<Vec<_>>()
    };
    assert_eq!(board().await, [(Queue::Dead, Some(NOT_PROCESSED.to_owned()), 1)]);
    let asked = [
        (vec![Queue::Dead], None, 1),
        (Vec::new(), Some(vec![NOT_PROCESSED.to_owned()]), 1),
        (vec![Queue::Waiting], None, 0),
        (Vec::new(), Some(vec!["their own words".to_owned()]), 0),
    ];
    for (queues, reasons, count) in asked {
        let query = StuckQuery { queues, reasons, recipient: Some(ods("VM1AB")), limit: 10 };
        let stuck = store.stuck(query).await.expect("readable");
        assert_eq!(stuck.len(), count);
        assert!(stuck.iter().all(|stuck| stuck.copy.id == id && stuck.copy.is_unprocessed()));
    }
    // It is sent again as what failed is, and what was said of it is its history's.
    assert_eq!(
        store.requeue(id, Resend::Retry.into(), "Ada Wells", "mended there", at(710), Vec::new()).await,
        Ok(true)
    );
    let copy = store.delivery(id).await.expect("readable").expect("there");
    assert_eq!((copy.state, copy.code, copy.reason), (DeliveryState::Queued, None, None));
    assert_eq!(store.alert_counts().await, Ok(vec![(AlertKind::UnreadBeforeArrival, 1)]));
    assert_eq!(board().await, [(Queue::Waiting, None, 1)]);
    ends(&store, 712, sent(DeliveryState::Sent)).await;
    // What the home declines is its decision: the ladder is over, nothing is to be sent again, and the ward must know.
    refused(&store, id, Some("30002"), 720).await;
    assert_eq!(found(&store, 721).await, [(AlertKind::Declined, 1)]);
    assert_eq!(store.settle_alerts(at(721)).await, Ok(1));
    for how in [Resend::Retry, Resend::Replay] {
        assert_eq!(store.requeue(id, how.into(), "Ada Wells", "asked", at(722), Vec::new()).await, Ok(false), "{how}");
    }
    let declined = concerns(&store, 723).await.remove(0);
    assert_eq!(store.raise_alert(alert(&declined, 723, vec![])).await, Ok(true));
    assert!(board().await.is_empty());
    // By its page a home says no code; what a practice declines somebody else must do.
    let mut two = acceptance(2);
    two.transfer.expected = Some(at(10_000_000));
    two.deliveries.push(delivery(RecipientKind::CoveringPractice, "Y99001"));
    let practice = two.deliveries[1].id;
    let home = accept_new(&store, two).await;
    for _ in 0..2 {
        ends(&store, 730, sent(DeliveryState::Received)).await;
    }
    refused(&store, practice, Some("30022"), 740).await;
    assert_eq!(found(&store, 741).await, [(AlertKind::CareDeclined, 1)]);
    let elsewhere = concerns(&store, 741).await.remove(0);
    assert_eq!((elsewhere.delivery, elsewhere.recipient.clone()), (Some(practice), Some(ods("Y99001"))));
    assert_eq!(store.raise_alert(alert(&elsewhere, 741, vec![])).await, Ok(true));
    assert_eq!(store.settle_alerts(at(742)).await, Ok(0));
    refused(&store, home, None, 750).await;
    assert_eq!(found(&store, 751).await, [(AlertKind::Declined, 1)]);
    let month = 31 * 24 * 3600;
    assert_eq!(store.settle_alerts(at(month)).await, Ok(2), "by then it is history");
    let open = found(&store, month).await;
    assert!(open.iter().all(|(kind, _)| !matches!(kind, AlertKind::Declined | AlertKind::CareDeclined)), "{open:?}");
}

pub(crate) async fn what_no_row_tells_is_cleared_by_who_knows(store: Shared) {
    let concern = Concern {
        kind: AlertKind::MailboxUnreadable,
        step: 1,
        transfer: None,
        sender: ods("Y99900"),
        delivery: None,
        recipient: None,
        hold: None,
        subscription: None,
        work: None,
        since: at(0),
    };
    let clear = async |now: i64| store.clear_alert(AlertKind::MailboxUnreadable, Uuid::nil(), at(now)).await;
    assert_eq!(clear(1).await, Ok(false));
    let told = || vec![notification(Contacted::Operations)];
    assert_eq!(store.raise_alert(alert(&concern, 2, told())).await, Ok(true));
    assert_eq!(store.raise_alert(alert(&concern, 2, told())).await, Ok(false), "another node was faster");
    assert_eq!(store.settle_alerts(at(3)).await, Ok(0));
    assert_eq!(store.alerts().await.expect("readable")[0].concern, concern);
    assert_eq!(store.clear_alert(AlertKind::DeliveryFailed, Uuid::nil(), at(4)).await, Ok(false));
    assert_eq!(clear(4).await, Ok(true));
    assert!(store.alerts().await.expect("readable").is_empty());
    assert!(store.take_notifications(at(5), at(65)).await.expect("taken").is_empty(), "what is over is not told");
    // Of one that nobody is there to clear nobody hears for ever.
    assert_eq!(store.raise_alert(alert(&concern, 6, vec![])).await, Ok(true));
    assert_eq!(store.settle_alerts(at(31 * 24 * 3_600)).await, Ok(1));
}

pub(crate) async fn that_background_work_falls_ends_by_who_stands_again_or_after_a_day(store: Shared) {
    let kind = AlertKind::BackgroundFallen;
    let concern = Concern {
        kind,
        step: 1,
        transfer: None,
        sender: ods("Y99900"),
        delivery: None,
        recipient: None,
        hold: None,
        subscription: None,
        work: Some("dispatcher (3 times)".to_owned()),
        since: at(0),
    };
    assert_eq!(store.raise_alert(alert(&concern, 2, vec![])).await, Ok(true));
    assert_eq!(store.raise_alert(alert(&concern, 2, vec![])).await, Ok(false), "of all nodes one");
    assert_eq!(store.alerts().await.expect("readable")[0].concern, concern, "what falls is kept");
    assert_eq!(store.settle_alerts(at(3)).await, Ok(0));
    assert_eq!(store.clear_alert(AlertKind::MailboxUnreadable, Uuid::nil(), at(4)).await, Ok(false), "another matter");
    assert_eq!(store.clear_alert(kind, Uuid::nil(), at(4)).await, Ok(true));
    assert_eq!(store.raise_alert(alert(&concern, 5, vec![])).await, Ok(true));
    let day = 24 * 3_600;
    assert_eq!(store.settle_alerts(at(day + 4)).await, Ok(0));
    assert_eq!(store.settle_alerts(at(day + 5)).await, Ok(1), "its node may be gone");
}

pub(crate) async fn a_home_is_told_of_what_waits_where_that_is_asked_for(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let told = Deadlines { tell_homes: true, ..deadlines() };
    assert!(store.concerns(at(0), told).await.expect("readable").is_empty(), "nothing is there yet");
    ends(&store, 0, sent(DeliveryState::AwaitingCollection)).await;
    assert!(concerns(&store, 1).await.is_empty(), "not asked for");
    let waits = store.concerns(at(1), told).await.expect("readable").remove(0);
    assert_eq!((waits.kind, waits.delivery), (AlertKind::Arrived, Some(id)));
    assert_eq!(store.raise_alert(alert(&waits, 1, vec![notification(Contacted::Home)])).await, Ok(true));
    assert!(store.concerns(at(2), told).await.expect("readable").is_empty(), "once");
    assert!(store.open_rendition(id, at(3), None, vec![row(AuditWord::Read)]).await.expect("committed").is_some());
    assert_eq!(store.settle_alerts(at(4)).await, Ok(1));
}

pub(crate) async fn a_notification_is_due_until_it_has_ended(store: Shared) {
    let (_, concern, first) = raised(&store).await;
    assert!(store.take_notifications(at(5), at(65)).await.expect("taken").is_empty(), "not before its time");
    let taken = store.take_notifications(at(6), at(66)).await.expect("taken");
    assert_eq!((taken.len(), &taken[0].notification, &taken[0].concern), (1, &first, &concern));
    assert_eq!(taken[0].attempt, 1);
    assert!(store.take_notifications(at(65), at(125)).await.expect("taken").is_empty(), "somebody is sending it");
    // Whoever took it has died.
    let second = store.take_notifications(at(66), at(126)).await.expect("taken").remove(0);
    assert_eq!(second.attempt, 2);
    let end = |attempt, outcome, now| {
        let audit = vec![row(AuditWord::Notify)];
        store.end_notification(NotificationEnd { id: first.id, attempt, at: at(now), outcome, audit })
    };
    let entries = log(&store).await.len();
    assert_eq!(end(1, NotificationOutcome::Sent, 67).await, Ok(false), "the first is fenced off");
    assert_eq!(log(&store).await.len(), entries, "and says nothing");
    assert_eq!(end(2, NotificationOutcome::Again(at(200)), 68).await, Ok(true));
    assert_eq!(log(&store).await.len(), entries + 1);
    assert!(store.take_notifications(at(199), at(260)).await.expect("taken").is_empty());
    assert_eq!(store.take_notifications(at(200), at(260)).await.expect("taken")[0].attempt, 3);
    let instead = notification(Contacted::Ward);
    assert_eq!(end(3, NotificationOutcome::Failed(vec![instead.clone()]), 201).await, Ok(true));
    assert_eq!(end(3, NotificationOutcome::Sent, 202).await, Ok(false), "it has ended");
    let taken = store.take_notifications(at(202), at(300)).await.expect("taken");
    assert_eq!(taken.iter().map(|due| &due.notification).collect::<Vec<_>>(), [&instead]);
    let told = &store.alerts().await.expect("readable")[0].told;
    let states: Vec<_> = told.iter().map(|told| (told.contacted, told.state)).collect();
    assert_eq!(
        states,
        [(Contacted::Operations, NotificationState::Failed), (Contacted::Ward, NotificationState::Queued)]
    );
}
