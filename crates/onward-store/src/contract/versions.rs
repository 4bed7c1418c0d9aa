//! Later versions of a document, in whatever order they come.

use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, EndReason, HoldReason, RecipientKind};
use onward_core::store::{
    Acceptance, Accepted, Claim, Closure, Ended, Ending, Flaw, HoldChange, Late, NewDelivery, NewHold, NewTransfer,
    Release, Resend, StoreError, TakeBack, Voided,
};
use onward_core::{DeliveryId, TransferId};

use super::lifecycle::{
    claim, end, ending, next_version, notices, read, sent_out, status_of, take_back, told, transfer,
};
use super::{Shared, accept_new, at, delivery, hold, log, ods, patient, row, seen};

pub(crate) async fn a_later_version_ends_the_earlier_copies(store: Shared) {
    let first = sent_out(1);
    let old = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, 1).await);
    let second = next_version(2, &first, &[old]);
    let new = accept_new(&store, second.clone()).await;
    let copy = read(&store, old).await;
    assert_eq!((copy.state, copy.version, copy.next_attempt), (DeliveryState::Withdrawn, 3, None));
    assert_eq!(copy.ended, Some(Ended { why: EndReason::Superseded, by: Some(new) }));
    assert_eq!((copy.reason.as_deref(), copy.is_readable()), (Some("stop using it"), true));
    let rendition = store.open_rendition(old, at(2), None, vec![row(AuditWord::Read)]).await.expect("committed");
    assert_eq!(rendition.expect("still readable").body, b"what travels");
    let transfer = store.transfer(first.transfer.id).await.expect("readable").expect("there");
    assert_eq!((transfer.replaced_by, transfer.version), (Some(second.transfer.id), 1));
    assert_eq!(transfer.ended.map(|(why, _)| why), Some(EndReason::Superseded));
    let transfer = store.transfer(second.transfer.id).await.expect("readable").expect("there");
    assert_eq!((transfer.replaces, transfer.version), (Some(first.transfer.id), 2));
    assert_eq!(status_of(&store, &first).await, "cancelled");
    assert_eq!(status_of(&store, &second).await, "in-progress");
    assert_eq!(
        store.requeue(old, Resend::Replay.into(), "Ada Wells", "again", at(3), Vec::new()).await,
        Ok(false),
        "nobody sends it again"
    );
    // A third version ends the second only: the first has ended.
    let third = next_version(3, &second, &[new]);
    accept_new(&store, third).await;
    assert_eq!(read(&store, old).await.ended, Some(Ended { why: EndReason::Superseded, by: Some(new) }));
}

pub(crate) async fn a_later_version_never_overtakes_what_is_being_sent(store: Shared) {
    let first = sent_out(1);
    let old = accept_new(&store, first.clone()).await;
    let sending = claim(&store, 0).await.remove(0);
    let second = next_version(2, &first, &[old]);
    let new = accept_new(&store, second).await;
    assert!(claim(&store, 1).await.is_empty(), "the first is on its way");
    assert!(end(&store, &sending, 5).await, "its attempt and disclosure are recorded all the same");
    assert_eq!(read(&store, old).await.state, DeliveryState::Withdrawn, "and its end stands");
    assert_eq!(log(&store).await.len(), 3);
    assert_eq!(claim(&store, 6).await[0].delivery.id, new);

    // Whoever was sending has died: its lease ends, and the second goes.
    let first = sent_out(11);
    let lost = accept_new(&store, first.clone()).await;
    let third = next_version(12, &first, &[lost]);
    let heir = third.deliveries[0].id;
    let leased = store.claim(Claim::due(at(40), at(70), 1)).await.expect("claimable");
    assert_eq!(leased.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [new], "the lane's oldest");
    assert!(end(&store, &leased[0], 41).await);
    assert_eq!(claim(&store, 42).await[0].delivery.id, lost);
    accept_new(&store, third).await;
    assert!(claim(&store, 71).await.is_empty());
    assert_eq!(claim(&store, 72).await[0].delivery.id, heir);
}

pub(crate) async fn a_version_has_one_successor(store: Shared) {
    let first = sent_out(1);
    let old = accept_new(&store, first.clone()).await;
    let second = next_version(2, &first, &[old]);
    let new = accept_new(&store, second.clone()).await;
    let rival = next_version(3, &first, &[]);
    assert_eq!(store.accept(rival.clone()).await, Err(StoreError::Overtaken));
    assert!(store.transfer(rival.transfer.id).await.expect("readable").is_none(), "nothing is left of it");
    assert_eq!(log(&store).await.len(), 2);
    let third = next_version(3, &second, &[new]);
    assert_eq!(store.accept(third).await, Ok(Accepted::New), "what failed has used up no identifier");
}

pub(crate) async fn every_earlier_copy_must_be_accounted_for(store: Shared) {
    let mut first = sent_out(1);
    first.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
    accept_new(&store, first.clone()).await;
    let one = next_version(2, &first, &[first.deliveries[0].id]);
    assert_eq!(store.accept(one).await, Err(StoreError::Overtaken), "the practice would keep the old one");
    let copies: Vec<_> = first.deliveries.iter().map(|copy| copy.id).collect();
    let both = next_version(2, &first, &copies);
    assert_eq!(store.accept(both.clone()).await, Ok(Accepted::New));
    let whole = take_back(&both, Some(EndReason::Withdrawn), Vec::new());
    assert_eq!(store.take_back(whole).await, Err(StoreError::Overtaken));
    assert_eq!(read(&store, both.deliveries[0].id).await.ended, None);
}

pub(crate) async fn a_predecessor_is_found_by_document_or_set(store: Shared) {
    let mut first = sent_out(1);
    first.transfer.dated = Some(at(-500));
    let old = accept_new(&store, first.clone()).await;
    let find = |named: &'static str| {
        let store = &store;
        async move { store.predecessor(&ods("RXH"), named, TransferId::random()).await.expect("readable") }
    };
    let found = find("document-1").await.expect("by its document");
    assert_eq!((found.transfer, found.version, found.dated), (first.transfer.id, 1, Some(at(-500))));
    assert_eq!((found.patient, found.replaced_by), (Some(patient(1)), None));
    assert_eq!(find("one set").await.expect("by its set").transfer, first.transfer.id);
    let second = next_version(2, &first, &[old]);
    accept_new(&store, second.clone()).await;
    assert_eq!(find("one set").await.expect("by its set").transfer, second.transfer.id, "the newest of the set");
    assert_eq!(find("document-1").await.expect("there").replaced_by, Some(second.transfer.id));
    assert_eq!(find("document-9").await, None);
    let not_itself = store.predecessor(&ods("RXH"), "one set", second.transfer.id).await.expect("readable");
    assert_eq!(not_itself.expect("there").transfer, first.transfer.id);
    assert_eq!(
        store.predecessor(&ods("RYJ"), "document-1", TransferId::random()).await,
        Ok(None),
        "identifiers belong to their sender"
    );
}

pub(crate) async fn what_waits_for_its_predecessor_is_found_and_joined(store: Shared) {
    let mut second = sent_out(2);
    second.deliveries.clear();
    second.transfer.awaits = Some("document-1".to_owned());
    let waits = hold();
    second.hold = Some(waits.clone());
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let named = ["set-9".to_owned(), "document-1".to_owned()];
    let waiting = store.waiting(&ods("RXH"), &named).await.expect("readable");
    assert_eq!((waiting.len(), waiting[0].hold, waiting[0].transfer), (1, waits.id, second.transfer.id));
    assert!(store.waiting(&ods("RYJ"), &named).await.expect("readable").is_empty());
    let first = sent_out(1);
    let old = accept_new(&store, first.clone()).await;
    let copy = delivery(RecipientKind::CareHome, "VM1AB");
    let is_seen = seen(&store, waits.id).await;
    let release = |endings: Vec<Ending>| Release {
        hold: waits.id,
        seen: is_seen.clone(),
        patient: None,
        care_home: None,
        deliveries: vec![copy.clone()],
        endings,
        taken_back: Vec::new(),
        replaces: Some((first.transfer.id, 2)),
        at: at(20),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.release_hold(release(Vec::new())).await, Err(StoreError::Overtaken));
    assert_eq!(store.holds().await.expect("readable").len(), 1, "the hold is still open");
    let ends = vec![Ending { by: Some(copy.id), ..ending(old, EndReason::Superseded) }];
    assert_eq!(store.release_hold(release(ends.clone())).await, Ok(true));
    assert_eq!(store.release_hold(release(ends)).await, Ok(false), "it is closed");
    let transfer = store.transfer(second.transfer.id).await.expect("readable").expect("there");
    assert_eq!((transfer.replaces, transfer.version), (Some(first.transfer.id), 2));
    assert_eq!(read(&store, old).await.state, DeliveryState::Withdrawn);
    assert!(store.waiting(&ods("RXH"), &named).await.expect("readable").is_empty());
}

/// Version 2 of document 1, which waits for that.
pub(crate) fn waiting_for_the_first() -> Acceptance {
    let mut second = sent_out(2);
    second.transfer.document_set_id = Some("set 2".to_owned());
    second.transfer.awaits = Some("document-1".to_owned());
    second.transfer.dated = Some(at(-100));
    second.deliveries.clear();
    second.hold = Some(NewHold { reason: HoldReason::Replacement, ..hold() });
    second
}

/// Releases what waits as the first of its document, with this copy.
pub(crate) async fn as_the_first(store: &Shared, waiting: &Acceptance, copy: &NewDelivery) -> Release {
    let hold = waiting.hold.as_ref().expect("held").id;
    Release {
        hold,
        seen: seen(store, hold).await,
        patient: None,
        care_home: None,
        deliveries: vec![copy.clone()],
        endings: Vec::new(),
        taken_back: Vec::new(),
        replaces: None,
        at: at(20),
        audit: vec![row(AuditWord::Release)],
    }
}

async fn flaws_of_versions(store: &Shared) -> Vec<Flaw> {
    let flaws = store.checkup().await.expect("readable").flaws;
    flaws.into_iter().filter(|flaw| flaw.rule.starts_with("versions") || flaw.rule.starts_with("an ended")).collect()
}

pub(crate) async fn what_comes_after_its_replacement_is_kept_as_ended(store: Shared) {
    let named = ["document-1".to_owned()];
    let successor = |dated: Option<i64>, except: Vec<TransferId>| {
        let (store, named) = (&store, &named);
        async move { store.successor(&ods("RXH"), named, dated.map(at), &except).await.expect("readable") }
    };
    let second = waiting_for_the_first();
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    assert_eq!(successor(None, Vec::new()).await, None, "it waits");
    let copy = delivery(RecipientKind::CareHome, "VM1AB");
    assert_eq!(store.release_hold(as_the_first(&store, &second, &copy).await).await, Ok(true));
    let by = second.transfer.id;
    assert_eq!(transfer(&store, &second).await.awaits.as_deref(), Some("document-1"), "it is kept");
    assert_eq!(successor(None, Vec::new()).await, Some(by));
    assert_eq!(successor(Some(-100), Vec::new()).await, Some(by));
    assert_eq!(successor(Some(-99), Vec::new()).await, None, "what is newer was not replaced");
    assert_eq!(successor(None, vec![by]).await, None);
    // Whatever is sent of it would stand above what replaced it.
    let mut first = sent_out(1);
    first.transfer.dated = Some(at(-500));
    assert_eq!(store.accept(first.clone()).await, Err(StoreError::Overtaken));
    first.deliveries.clear();
    first.late = Some(Late { by, why: EndReason::Superseded, reason: "it comes late".to_owned(), earlier_stay: false });
    assert_eq!(store.accept(first.clone()).await, Ok(Accepted::New));
    let late = transfer(&store, &first).await;
    assert_eq!((late.replaced_by, late.version, late.hold, late.deliveries.len()), (Some(by), 1, None, 0));
    assert_eq!(late.ended, Some((EndReason::Superseded, "it comes late".to_owned())));
    let newer = transfer(&store, &second).await;
    assert_eq!((newer.replaces, newer.version, newer.ended), (Some(first.transfer.id), 2, None));
    assert_eq!(read(&store, copy.id).await.ended, None, "it stays in use");
    assert_eq!(status_of(&store, &first).await, "cancelled");
    assert_eq!(successor(None, Vec::new()).await, None, "it has its predecessor");
    assert_eq!(flaws_of_versions(&store).await, []);

    // What came before the late one ends with it, and later versions are counted anew.
    let mut zeroth = sent_out(10);
    zeroth.transfer.document_set_id = Some("another set".to_owned());
    let used = accept_new(&store, zeroth.clone()).await;
    let mut middle = next_version(11, &zeroth, &[]);
    middle.transfer.document_set_id = Some("another set".to_owned());
    let mut last = waiting_for_the_first();
    last.transfer = NewTransfer { awaits: Some("document-11".to_owned()), ..sent_out(12).transfer };
    last.transfer.document_set_id = Some("last set".to_owned());
    assert_eq!(store.accept(last.clone()).await, Ok(Accepted::New));
    let heir = delivery(RecipientKind::CareHome, "VM1AB");
    assert_eq!(store.release_hold(as_the_first(&store, &last, &heir).await).await, Ok(true));
    middle.deliveries.clear();
    middle.late = Some(Late { by: last.transfer.id, ..first.late.clone().expect("late") });
    assert_eq!(store.accept(middle.clone()).await, Err(StoreError::Overtaken), "the home still uses the earliest");
    middle.endings = vec![Ending { by: Some(heir.id), ..ending(used, EndReason::Superseded) }];
    assert_eq!(store.accept(middle).await, Ok(Accepted::New));
    assert_eq!(read(&store, used).await.ended, Some(Ended { why: EndReason::Superseded, by: Some(heir.id) }));
    assert_eq!(transfer(&store, &last).await.version, 3);
    assert_eq!(flaws_of_versions(&store).await, []);
}

pub(crate) async fn a_replacement_is_joined_with_what_came_meanwhile(store: Shared) {
    let second = waiting_for_the_first();
    let first = sent_out(1);
    accept_new(&store, first.clone()).await;
    assert_eq!(store.accept(second.clone()).await, Err(StoreError::Overtaken), "it has come while that was prepared");

    // Both came at once to two nodes: as if the first were not there yet.
    let mut other = waiting_for_the_first();
    other.transfer = NewTransfer { awaits: Some("document-3".to_owned()), ..sent_out(4).transfer };
    other.transfer.document_set_id = Some("set 4".to_owned());
    assert_eq!(store.accept(other.clone()).await, Ok(Accepted::New));
    assert_eq!(store.come_since(other.transfer.id).await, Ok(None));
    assert_eq!(store.waiting_in_vain().await, Ok(Vec::new()));
    let mut third = sent_out(3);
    third.transfer.document_set_id = Some("set 3".to_owned());
    accept_new(&store, third.clone()).await;
    assert_eq!(store.come_since(other.transfer.id).await, Ok(Some(third.transfer.id)));
    let left = store.waiting_in_vain().await.expect("readable");
    assert_eq!(left.iter().map(|waiting| waiting.transfer).collect::<Vec<_>>(), [other.transfer.id]);
    let copy = delivery(RecipientKind::CareHome, "VM1AB");
    assert_eq!(
        store.release_hold(as_the_first(&store, &other, &copy).await).await,
        Err(StoreError::Overtaken),
        "not as the first"
    );
    let ends = vec![Ending { by: Some(copy.id), ..ending(third.deliveries[0].id, EndReason::Superseded) }];
    let joined =
        Release { replaces: Some((third.transfer.id, 2)), endings: ends, ..as_the_first(&store, &other, &copy).await };
    assert_eq!(store.release_hold(joined).await, Ok(true));
    assert_eq!(store.waiting_in_vain().await, Ok(Vec::new()));
    assert_eq!(flaws_of_versions(&store).await, []);
}

pub(crate) async fn what_a_closed_replacement_replaces_is_void_in_the_same_commit(store: Shared) {
    let second = waiting_for_the_first();
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let first = sent_out(1);
    let used = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, 1).await);
    let voids = |joins: Option<TransferId>, copies: &[DeliveryId]| {
        Some(Voided { joins, reason: "not processed".to_owned(), endings: told(copies, EndReason::Void) })
    };
    let waits = second.hold.as_ref().expect("held").id;
    let is_seen = seen(&store, waits).await;
    let closure = |voids: Option<Voided>| Closure {
        hold: waits,
        seen: is_seen.clone(),
        reason: "sent twice".to_owned(),
        responses: Vec::new(),
        voids,
        at: at(30),
        audit: vec![row(AuditWord::Release)],
    };
    let joins = Some(first.transfer.id);
    for incomplete in [voids(None, &[used]), voids(joins, &[])] {
        assert_eq!(store.close_hold(closure(incomplete)).await, Err(StoreError::Overtaken));
        assert_eq!((read(&store, used).await.ended, status_of(&store, &second).await), (None, "on-hold"));
    }
    assert_eq!(store.close_hold(closure(voids(joins, &[used]))).await, Ok(true));
    assert_eq!(read(&store, used).await.ended.map(|ended| ended.why), Some(EndReason::Void));
    assert_eq!(transfer(&store, &first).await.ended, Some((EndReason::Void, "not processed".to_owned())));
    assert_eq!(transfer(&store, &second).await.replaces, joins);
    assert_eq!(notices(&store).await, [used]);
    assert_eq!(flaws_of_versions(&store).await, []);
    // What comes after a replacement that was closed is no first version either.
    let third = Acceptance {
        transfer: NewTransfer { awaits: Some("document-4".to_owned()), ..sent_out(3).transfer },
        ..waiting_for_the_first()
    };
    assert_eq!(store.accept(third.clone()).await, Ok(Accepted::New));
    let hold = third.hold.as_ref().expect("held").id;
    let closure = Closure { hold, seen: seen(&store, hold).await, ..closure(voids(None, &[])) };
    assert_eq!(store.close_hold(closure).await, Ok(true));
    let named = ["document-4".to_owned()];
    assert_eq!(store.successor(&ods("RXH"), &named, None, &[]).await, Ok(Some(third.transfer.id)));
}

pub(crate) async fn an_earlier_version_that_is_held_is_overtaken(store: Shared) {
    let mut first = sent_out(1);
    first.deliveries.clear();
    first.hold = Some(hold());
    assert_eq!(store.accept(first.clone()).await, Ok(Accepted::New));
    let mut second = next_version(2, &first, &[]);
    second.deliveries.clear();
    second.hold = Some(hold());
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New), "a version can be held itself");
    let holds = store.holds().await.expect("readable");
    assert_eq!(holds.iter().map(|held| held.transfer).collect::<Vec<_>>(), [second.transfer.id]);
    assert_eq!(status_of(&store, &first).await, "cancelled");
    assert_eq!(status_of(&store, &second).await, "on-hold");
    // One that was delivered stays in use until its successor can be.
    let third = sent_out(3);
    let used = accept_new(&store, third.clone()).await;
    let mut fourth = next_version(4, &third, &[]);
    fourth.deliveries.clear();
    fourth.hold = Some(hold());
    assert_eq!(store.accept(fourth).await, Ok(Accepted::New));
    assert_eq!(read(&store, used).await.ended, None);
}

/// What waits for the first, held for something else than that.
fn held_for_something_else() -> Acceptance {
    let second = waiting_for_the_first();
    Acceptance { hold: Some(NewHold { reason: HoldReason::CareHomeUnknown, ..hold() }), ..second }
}

pub(crate) async fn a_replacement_that_stays_held_is_joined_all_the_same(store: Shared) {
    let second = held_for_something_else();
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let first = sent_out(1);
    let used = accept_new(&store, first.clone()).await;
    let left = store.waiting_in_vain().await.expect("readable");
    assert_eq!(left.iter().map(|waiting| waiting.transfer).collect::<Vec<_>>(), [second.transfer.id]);
    let waits = second.hold.clone().expect("held");
    let change = HoldChange {
        seen: seen(&store, waits.id).await,
        hold: waits,
        joins: Some((first.transfer.id, 2)),
        decided: "{}".to_owned(),
        at: at(20),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.change_hold(change).await, Ok(true));
    assert_eq!(store.waiting_in_vain().await, Ok(Vec::new()));
    let (before, after) = (transfer(&store, &first).await, transfer(&store, &second).await);
    assert_eq!((before.replaced_by, before.ended), (Some(second.transfer.id), None));
    assert_eq!((after.replaces, after.version), (Some(first.transfer.id), 2));
    assert_eq!(status_of(&store, &second).await, "on-hold");
    assert_eq!(read(&store, used).await.ended, None, "it is used until the next can go on");
    assert_eq!(flaws_of_versions(&store).await, []);
    let rival = next_version(3, &first, &[used]);
    assert_eq!(store.accept(rival).await, Err(StoreError::Overtaken), "it has its successor");
    let whole = take_back(&second, Some(EndReason::Withdrawn), told(&[used], EndReason::Withdrawn));
    assert_eq!(store.take_back(whole).await, Ok(true));
    assert_eq!(transfer(&store, &first).await.ended.map(|(why, _)| why), Some(EndReason::Withdrawn));
    assert_eq!(read(&store, used).await.ended.map(|ended| ended.why), Some(EndReason::Withdrawn));
}

pub(crate) async fn what_is_withdrawn_before_it_was_joined_takes_the_earlier_one_along(store: Shared) {
    let second = held_for_something_else();
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let first = sent_out(1);
    let used = accept_new(&store, first.clone()).await;
    let whole = take_back(&second, Some(EndReason::Withdrawn), Vec::new());
    assert_eq!(store.take_back(whole.clone()).await, Err(StoreError::Overtaken), "the first has come");
    assert_eq!(status_of(&store, &second).await, "on-hold", "nothing is kept of that");
    let joins = Some(first.transfer.id);
    let whole = TakeBack { joins, endings: told(&[used], EndReason::Withdrawn), ..whole };
    assert_eq!(store.take_back(whole).await, Ok(true));
    for version in [&first, &second] {
        assert_eq!(transfer(&store, version).await.ended.map(|(why, _)| why), Some(EndReason::Withdrawn));
    }
    assert_eq!(transfer(&store, &second).await.replaces, joins);
    assert!(!read(&store, used).await.is_readable());
    assert!(store.holds().await.expect("readable").is_empty());
    assert_eq!(flaws_of_versions(&store).await, []);
}
