//! What nobody opens, or waits for a decision, when the person comes: who is told, step by step.

use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::alerts::{AlertKind, Concern};
use onward_core::store::{
    Accepted, AttemptEnd, Claim, Closure, Ending, HoldChange, NewDelivery, NewHold, Notice, TakeBack,
};

use super::alerting::{alert, concerns, ends, failed, found, sent};
use super::lifecycle::{ending, https, take_back};
use super::{Shared, accept_new, acceptance, at, delivery, hold, row, seen};

pub(crate) async fn an_unread_copy_climbs_its_ladder(store: Shared) {
    // Expected at 7200, so that it must be read from the start; but ten minutes are given.
    let id = accept_new(&store, acceptance(1)).await;
    ends(&store, 0, sent(DeliveryState::AwaitingCollection)).await;
    assert!(found(&store, 599).await.is_empty());
    let unread = |steps: &[u32]| steps.iter().map(|step| (AlertKind::UnreadBeforeArrival, *step)).collect::<Vec<_>>();
    assert_eq!(found(&store, 600).await, unread(&[1]));
    let first = concerns(&store, 600).await.remove(0);
    assert_eq!((first.since, first.delivery), (at(600), Some(id)));
    assert_eq!(store.raise_alert(alert(&first, 600, vec![])).await, Ok(true));
    assert!(found(&store, 2399).await.is_empty());
    assert_eq!(found(&store, 2400).await, unread(&[2]));
    // A node that was away finds what is due at once.
    assert_eq!(found(&store, 4200).await, unread(&[2, 3]));
    assert_eq!(found(&store, 50_000).await, unread(&[2, 3]), "the ladder has three steps");
    assert_eq!(store.settle_alerts(at(5000)).await, Ok(0));
    let read = store.open_rendition(id, at(5001), None, vec![row(AuditWord::Read)]).await;
    assert!(read.expect("committed").is_some());
    assert_eq!(store.settle_alerts(at(5002)).await, Ok(1));
    assert!(found(&store, 5002).await.is_empty());
    // Expected later: two hours before it; expected at no known time: at once.
    let (mut later, mut unknown) = (acceptance(2), acceptance(3));
    later.transfer.expected = Some(at(20_000));
    unknown.transfer.expected = None;
    accept_new(&store, later).await;
    assert!(found(&store, 12_799).await.is_empty());
    assert_eq!(found(&store, 12_800).await, unread(&[1]));
    accept_new(&store, unknown).await;
    assert_eq!(found(&store, 600).await, unread(&[1]));
    let month = 31 * 24 * 3600;
    assert!(found(&store, month).await.is_empty(), "what has been so for a month is history");
}

pub(crate) async fn an_arrival_long_after_its_message_is_not_forgotten(store: Shared) {
    let day = 24 * 3_600;
    for (n, days) in (1_u32..).zip([1, 6, 7, 8, 29, 31, 60, 400]) {
        let mut message = acceptance(n);
        message.transfer.expected = Some(at(days * day));
        let id = accept_new(&store, message).await;
        ends(&store, 0, sent(DeliveryState::AwaitingCollection)).await;
        let steps = async |now: i64| {
            let mut found = concerns(&store, now).await;
            found.retain(|each| each.kind == AlertKind::UnreadBeforeArrival && each.delivery == Some(id));
            assert!(found.iter().all(|each| each.since == at(days * day - 7_200)), "{found:?}");
            found.iter().map(|each| each.step).collect::<Vec<_>>()
        };
        let due = days * day - 7_200;
        assert!(steps(due - 1).await.is_empty(), "{days} days");
        assert_eq!(steps(due).await, [1], "{days} days");
        // What is told once a look has found it is found for a month, whenever the message came.
        for later in [3_600, 8 * day, 29 * day, 30 * day - 1] {
            assert_eq!(steps(due + later).await, [1, 2, 3], "{days} days, {later} seconds later");
        }
        assert!(steps(due + 30 * day).await.is_empty(), "{days} days: it is history");
    }
}

pub(crate) async fn what_is_held_when_the_person_comes_climbs_its_ladder(store: Shared) {
    let held = async |n, expected: Option<i64>| {
        let mut held = acceptance(n);
        held.deliveries.clear();
        held.transfer.expected = expected.map(at);
        let hold = NewHold { due: at(9_000_000), ..hold() };
        held.hold = Some(hold.clone());
        assert_eq!(store.accept(held).await, Ok(Accepted::New));
        hold
    };
    // Two hours before 20,000; of somebody who is expected at no known time the hold's own time tells.
    let (first, _) = (held(1, Some(20_000)).await, held(2, None).await);
    assert_eq!(
        store.holds().await.expect("readable").iter().filter_map(|held| held.expected).collect::<Vec<_>>(),
        [at(20_000)]
    );
    assert!(found(&store, 12_799).await.is_empty());
    let ladder = |steps: &[u32]| steps.iter().map(|step| (AlertKind::HeldBeforeArrival, *step)).collect::<Vec<_>>();
    assert_eq!(found(&store, 12_800).await, ladder(&[1]));
    let concern = concerns(&store, 12_800).await.remove(0);
    assert_eq!((concern.hold, concern.since, concern.delivery), (Some(first.id), at(12_800), None));
    assert_eq!(store.raise_alert(alert(&concern, 12_800, vec![])).await, Ok(true));
    assert_eq!(found(&store, 12_800 + 3_600).await, ladder(&[2, 3]));
    assert_eq!(store.settle_alerts(at(12_900)).await, Ok(0), "it is held");
    // It is put off for another reason, and that clock goes on.
    let change = HoldChange {
        hold: NewHold { due: at(9_500_000), ..first.clone() },
        seen: seen(&store, first.id).await,
        joins: None,
        decided: "{}".to_owned(),
        at: at(12_950),
        audit: vec![row(AuditWord::Hold)],
    };
    assert_eq!(store.change_hold(change).await, Ok(true));
    assert_eq!(store.settle_alerts(at(12_960)).await, Ok(0));
    let closure = Closure {
        hold: first.id,
        seen: seen(&store, first.id).await,
        reason: "sent again".to_owned(),
        responses: Vec::new(),
        voids: None,
        at: at(13_000),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.close_hold(closure).await, Ok(true));
    assert_eq!(store.settle_alerts(at(13_001)).await, Ok(1));
    assert!(found(&store, 13_001).await.is_empty());
    // Expected sooner than that when it came: nobody is called before the grace is over.
    let third = held(3, Some(3_600)).await;
    assert!(found(&store, 599).await.is_empty());
    assert_eq!(found(&store, 600).await, ladder(&[1]));
    let closure = Closure {
        hold: third.id,
        seen: seen(&store, third.id).await,
        reason: "sent again".to_owned(),
        responses: Vec::new(),
        voids: None,
        at: at(13_100),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.close_hold(closure).await, Ok(true));
    // A hold about somebody else's copy is nothing to the arrival while the home has its own.
    let mut sent = acceptance(4);
    sent.transfer.expected = Some(at(20_000));
    sent.deliveries.push(delivery(RecipientKind::CoveringPractice, "Y99001"));
    let (home, practice) = (sent.deliveries[0].id, sent.deliveries[1].id);
    accept_new(&store, sent.clone()).await;
    store.open_rendition(home, at(1), None, vec![row(AuditWord::Read)]).await.expect("committed").expect("there");
    let waits = NewHold { due: at(9_000_000), ..hold() };
    let recall = |copy: DeliveryId, hold: Option<NewHold>| TakeBack {
        hold: hold.map(|hold| (hold, "{}".to_owned())),
        ..take_back(&sent, None, vec![ending(copy, EndReason::Recalled)])
    };
    assert_eq!(store.take_back(recall(practice, Some(waits))).await, Ok(true));
    assert!(found(&store, 13_200).await.is_empty());
    assert_eq!(store.take_back(recall(home, None)).await, Ok(true));
    assert_eq!(found(&store, 13_200).await, ladder(&[1]), "now nothing is there for whoever comes");
}

pub(crate) async fn a_notice_to_stop_that_nobody_opens_climbs_its_ladder(store: Shared) {
    use EndReason::{LeftHome, Recalled, Withdrawn};
    use RecipientKind::{CareHome, CoveringPractice, PharmacyReferral, RegisteredPractice};
    let whom = [
        (CareHome, "VM1AB", Withdrawn, DeliveryState::Received),
        (CoveringPractice, "Y99001", Recalled, DeliveryState::AwaitingCollection),
        // It was sent, and its receipt is awaited; and what asks for nothing is no notice to stop.
        (RegisteredPractice, "Y99002", Withdrawn, DeliveryState::Sent),
        (PharmacyReferral, "FZZ01", LeftHome, DeliveryState::AwaitingCollection),
    ];
    // Nobody is expected for long: who has acted on it may not wait for that.
    let mut new = acceptance(1);
    new.transfer.expected = Some(at(10_000_000));
    // By HTTPS: what lies in an inbox unopened has not left, and its end is told to nobody.
    let copy = |kind, recipient| NewDelivery { endpoint: https(), ..delivery(kind, recipient) };
    new.deliveries = whom.iter().map(|(kind, recipient, ..)| copy(*kind, recipient)).collect();
    accept_new(&store, new.clone()).await;
    for _ in whom {
        ends(&store, 0, sent(DeliveryState::Received)).await;
    }
    let mut notices = Vec::new();
    let endings = new.deliveries.iter().zip(whom).map(|(copy, (kind, recipient, why, _))| {
        let notice = NewDelivery { notice: Some(Notice { of: copy.id, why }), ..delivery(kind, recipient) };
        notices.push(notice.id);
        let reason = "wrong patient".to_owned();
        Ending { delivery: copy.id, why: Withdrawn, by: None, reason, seen: false, notice: Some(notice), went: None }
    });
    let back = TakeBack {
        transfer: new.transfer.id,
        whole: Some(Withdrawn),
        joins: None,
        reason: "wrong patient".to_owned(),
        endings: endings.collect(),
        hold: None,
        at: at(60),
        audit: vec![row(AuditWord::Withdraw)],
    };
    assert_eq!(store.take_back(back).await, Ok(true));
    for _ in whom {
        let lease = store.claim(Claim::due(at(61), at(91), 1)).await.expect("claimable").remove(0);
        let of = whom.iter().find(|(kind, ..)| *kind == lease.delivery.kind).expect("one of them");
        let (outcome, audit) = (sent(of.3), Vec::new());
        let end = AttemptEnd { delivery: lease.delivery.id, token: lease.token, outcome, at: at(61), audit };
        assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    }
    let (home, practice) = (notices[0], notices[1]);
    // A home has the grace, a practice the time of an acknowledgement: it is closed at night.
    let (grace, day) = (660, 24 * 3_600 + 60);
    let unread = async |now: i64| {
        let mut found = concerns(&store, now).await;
        found.retain(|each| each.kind == AlertKind::NoticeUnread);
        let due = |each: &Concern| if each.delivery == Some(home) { at(grace) } else { at(day) };
        assert!(found.iter().all(|each| each.since == due(each)), "{found:?}");
        let mut steps: Vec<_> = found.iter().filter_map(|each| Some((each.step, each.delivery?))).collect();
        steps.sort_by_key(|(step, copy)| (*step, notices.iter().position(|notice| notice == copy)));
        (found, steps)
    };
    assert!(unread(grace - 1).await.1.is_empty());
    assert_eq!(unread(grace).await.1, [(1, home)]);
    assert_eq!(unread(grace + 1_800).await.1, [(1, home), (2, home)]);
    let whole = [(1, home), (2, home), (3, home)];
    assert_eq!(unread(day - 1).await.1, whole);
    assert_eq!(unread(day).await.1, [(1, home), (1, practice), (2, home), (3, home)]);
    let elsewhere = [(1, home), (1, practice), (2, home), (3, home)];
    assert_eq!(unread(2 * day).await.1, elsewhere, "nobody above a practice is called");
    let month = 30 * 24 * 3_600;
    assert_eq!(unread(month + day - 1).await.1, [(1, practice)], "each is told for a month");
    assert!(unread(month + day).await.1.is_empty(), "both are history");
    for concern in unread(day).await.0 {
        assert_eq!(store.raise_alert(alert(&concern, day, vec![])).await, Ok(true));
    }
    assert!(unread(day + 1).await.1.is_empty());
    assert_eq!(store.settle_alerts(at(day + 1)).await, Ok(0), "nobody has opened either");
    for (copy, over) in [(practice, 1), (home, 3)] {
        let read = store.open_rendition(copy, at(day + 2), None, vec![row(AuditWord::Read)]).await;
        assert!(read.expect("committed").is_some());
        assert_eq!(store.settle_alerts(at(day + 3)).await, Ok(over));
        assert!(unread(day + 4).await.1.is_empty(), "it is read");
    }
}

/// One for a practice that waits to be sent, or failed for good.
pub(crate) async fn a_notice_to_stop_that_has_not_left_is_a_concern_until_it_fails(store: Shared) {
    let mut new = acceptance(1);
    new.transfer.expected = Some(at(10_000_000));
    let practice = RecipientKind::CoveringPractice;
    new.deliveries = vec![NewDelivery { endpoint: https(), ..delivery(practice, "Y99001") }];
    let first = accept_new(&store, new.clone()).await;
    ends(&store, 0, sent(DeliveryState::Received)).await;
    let why = EndReason::Withdrawn;
    let notice =
        NewDelivery { notice: Some(Notice { of: first, why }), endpoint: https(), ..delivery(practice, "Y99001") };
    let told = notice.id;
    let reason = "wrong patient".to_owned();
    let back = TakeBack {
        transfer: new.transfer.id,
        whole: Some(why),
        joins: None,
        reason: reason.clone(),
        endings: vec![Ending { delivery: first, why, by: None, reason, seen: false, notice: Some(notice), went: None }],
        hold: None,
        at: at(60),
        audit: vec![row(AuditWord::Withdraw)],
    };
    assert_eq!(store.take_back(back).await, Ok(true));
    let day = 24 * 3_600 + 60;
    assert!(found(&store, day - 1).await.is_empty());
    let unread = concerns(&store, day).await;
    let kinds: Vec<_> = unread.iter().map(|each| (each.kind, each.step, each.delivery)).collect();
    assert_eq!(kinds, [(AlertKind::NoticeUnread, 1, Some(told))]);
    assert_eq!(store.raise_alert(alert(&unread[0], day, vec![])).await, Ok(true));
    assert_eq!(store.settle_alerts(at(day + 1)).await, Ok(0));
    assert_eq!(ends(&store, day + 1, failed()).await, told);
    assert_eq!(store.settle_alerts(at(day + 2)).await, Ok(1), "that it failed is told as that");
    assert_eq!(found(&store, day + 2).await, [(AlertKind::DeliveryFailed, 1)]);
}
