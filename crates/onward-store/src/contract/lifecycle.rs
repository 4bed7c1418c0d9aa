//! Copies and transfers that are taken back, holds that change meanwhile, pauses, and the check of it all.

use std::collections::BTreeSet;

use onward_core::DeliveryId;
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::{Endpoint, Hub};
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{
    Acceptance, Accepted, AttemptEnd, AttemptOutcome, Checkup, Claim, Closure, DeliveryQuery, DeliveryRecord, Ended,
    Ending, HoldChange, HoldSeen, Lease, NewDelivery, Notice, Pause, Release, StoreError, TakeBack, TaskQuery,
    TransferRecord, Transition,
};

use super::delivering::change;
use super::{Shared, accept_new, acceptance, at, delivery, hold, log, ods, patient, row, seen};
use crate::checkup::MISSED_PARTS;

pub(super) fn https() -> Endpoint {
    Endpoint::Https { url: "https://partner.example/in".to_owned() }
}

/// A message about patient 1 whose copy goes out by HTTPS.
pub(crate) fn sent_out(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.transfer.patient = Some(patient(1));
    message.transfer.document_set_id = Some("one set".to_owned());
    message.deliveries[0].endpoint = https();
    message
}

pub(super) fn ending(of: DeliveryId, why: EndReason) -> Ending {
    Ending { delivery: of, why, by: None, reason: "stop using it".to_owned(), seen: false, notice: None, went: None }
}

pub(super) fn notice(of: DeliveryId, why: EndReason) -> NewDelivery {
    let kind = RecipientKind::CareHome;
    NewDelivery { endpoint: https(), notice: Some(Notice { of, why }), ..delivery(kind, "VM1AB") }
}

/// Version `n` of the document, which ends these copies.
pub(crate) fn next_version(n: u32, before: &Acceptance, ends: &[DeliveryId]) -> Acceptance {
    let mut message = sent_out(n);
    message.transfer.version = before.transfer.version + 1;
    message.transfer.replaces = Some(before.transfer.id);
    let by = message.deliveries.first().map(|copy| copy.id);
    message.endings = ends.iter().map(|of| Ending { by, ..ending(*of, EndReason::Superseded) }).collect();
    message
}

pub(crate) fn take_back(message: &Acceptance, whole: Option<EndReason>, endings: Vec<Ending>) -> TakeBack {
    TakeBack {
        transfer: message.transfer.id,
        whole,
        joins: None,
        reason: "wrong patient".to_owned(),
        endings,
        hold: None,
        at: at(60),
        audit: vec![row(AuditWord::Withdraw)],
    }
}

pub(super) async fn claim(store: &Shared, now: i64) -> Vec<Lease> {
    store.claim(Claim::due(at(now), at(now + 30), 100)).await.expect("claimable")
}

pub(super) async fn end(store: &Shared, lease: &Lease, now: i64) -> bool {
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let audit = vec![row(AuditWord::Disclose)];
    let end = AttemptEnd { delivery: lease.delivery.id, token: lease.token, outcome, at: at(now), audit };
    store.complete(vec![end]).await.expect("committed")[0]
}

pub(super) async fn read(store: &Shared, id: DeliveryId) -> DeliveryRecord {
    store.delivery(id).await.expect("readable").expect("there")
}

pub(super) async fn all(store: &Shared) -> Vec<DeliveryRecord> {
    store.deliveries(DeliveryQuery { limit: 100, ..DeliveryQuery::default() }).await.expect("readable").rows
}

pub(super) async fn status_of(store: &Shared, message: &Acceptance) -> &'static str {
    let transfer = store.transfer(message.transfer.id).await.expect("readable").expect("there");
    let status = transfer.task_status();
    let query = TaskQuery { transfers: true, statuses: vec![status.to_owned()], limit: 100, ..TaskQuery::default() };
    let found = store.tasks(query).await.expect("readable");
    assert!(found.iter().any(|task| task.place().1 == transfer.id.0), "found by the status that it shows: {status}");
    status
}

pub(super) async fn transfer(store: &Shared, message: &Acceptance) -> TransferRecord {
    store.transfer(message.transfer.id).await.expect("readable").expect("there")
}

pub(crate) async fn what_may_have_left_gets_a_notice(store: Shared) {
    let mut first = sent_out(1);
    let untried = delivery(RecipientKind::CoveringPractice, "A82608");
    let mut inbox = delivery(RecipientKind::PharmacyReferral, "FA123");
    inbox.endpoint = Endpoint::Inbox {};
    let mut opened = delivery(RecipientKind::PharmacyNomination, "FA123");
    opened.endpoint = Endpoint::Inbox {};
    let mut refused = delivery(RecipientKind::RegisteredPractice, "A82609");
    refused.endpoint = https();
    // Two homes have it in their inboxes, unopened: one has accepted its Task, the other has seen whom it is about on its list.
    let accepted = delivery(RecipientKind::CareHome, "VM2AB");
    let listed = delivery(RecipientKind::CareHome, "VM3AB");
    first.deliveries.extend([untried, inbox, opened.clone(), refused, accepted.clone(), listed.clone()]);
    accept_new(&store, first.clone()).await;
    // Everything but the practice's copy was claimed; nobody knows what became of it.
    for lease in claim(&store, 0).await {
        if lease.delivery.kind == RecipientKind::CoveringPractice {
            continue;
        }
        if matches!(lease.delivery.endpoint, Endpoint::Inbox {}) {
            let outcome = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
            let audit = vec![row(AuditWord::Disclose)];
            let end = AttemptEnd { delivery: lease.delivery.id, token: lease.token, outcome, at: at(1), audit };
            assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
        }
    }
    store.open_rendition(opened.id, at(2), None, vec![row(AuditWord::Read)]).await.expect("committed").expect("there");
    let version = read(&store, accepted.id).await.version;
    assert_eq!(store.transition(change(accepted.id, version, DeliveryState::Accepted)).await, Ok(true));
    let endings = first.deliveries.iter().map(|copy| Ending {
        seen: copy.id == listed.id,
        notice: Some(NewDelivery {
            kind: copy.kind,
            recipient: copy.recipient.clone(),
            ..notice(copy.id, EndReason::Withdrawn)
        }),
        ..ending(copy.id, EndReason::Withdrawn)
    });
    let whole = take_back(&first, Some(EndReason::Withdrawn), endings.collect());
    assert_eq!(store.take_back(whole.clone()).await, Ok(true));
    let entries = log(&store).await.len();
    let mut told: Vec<_> = all(&store).await.into_iter().filter_map(|copy| copy.notice.map(|_| copy.kind)).collect();
    told.sort_unstable();
    let home = RecipientKind::CareHome;
    let kinds = [home, home, home, RecipientKind::RegisteredPractice, RecipientKind::PharmacyNomination];
    assert_eq!(told, kinds, "whoever may have it, or knows whom it is about; not what nobody opened in the inbox");
    assert_eq!(status_of(&store, &first).await, "cancelled");
    assert_eq!(store.take_back(TakeBack { endings: Vec::new(), ..whole }).await, Ok(false), "once");
    assert_eq!(log(&store).await.len(), entries);
    let gone = store.open_rendition(opened.id, at(61), None, vec![row(AuditWord::Read)]).await.expect("readable");
    assert!(gone.is_none(), "what was withdrawn is not read any more");
    // The notice waits behind what is still being sent to the same recipient.
    let others = [ods("FA123"), ods("VM2AB"), ods("VM3AB")];
    assert!(claim(&store, 29).await.iter().all(|lease| others.contains(&lease.delivery.recipient)));
    assert_eq!(claim(&store, 90).await.len(), 5);
}

pub(crate) async fn a_withdrawn_transfer_takes_its_earlier_versions_along(store: Shared) {
    let first = sent_out(1);
    let old = accept_new(&store, first.clone()).await;
    let second = next_version(2, &first, &[old]);
    let new = accept_new(&store, second.clone()).await;
    let whole =
        |copies: &[DeliveryId]| take_back(&second, Some(EndReason::Withdrawn), told(copies, EndReason::Withdrawn));
    assert_eq!(store.take_back(whole(&[new])).await, Err(StoreError::Overtaken), "the first is read as well");
    assert_eq!(store.take_back(whole(&[new, old])).await, Ok(true));
    for id in [old, new] {
        let copy = read(&store, id).await;
        assert_eq!(copy.ended.map(|ended| ended.why), Some(EndReason::Withdrawn));
        assert!(!copy.is_readable());
    }
    assert!(claim(&store, 100).await.is_empty(), "what never left is cancelled");
}

/// The ends of these copies of the home, each with its notice.
pub(crate) fn told(copies: &[DeliveryId], why: EndReason) -> Vec<Ending> {
    copies.iter().map(|of| Ending { notice: Some(notice(*of, why)), ..ending(*of, why) }).collect()
}

/// Which copies the notices tell of.
pub(super) async fn notices(store: &Shared) -> Vec<DeliveryId> {
    all(store).await.into_iter().filter_map(|copy| Some(copy.notice?.of)).collect()
}

pub(crate) async fn whoever_has_an_earlier_version_is_told_of_a_withdrawal(store: Shared) {
    let mut first = sent_out(1);
    let mut inbox = delivery(RecipientKind::PharmacyReferral, "FA123");
    inbox.endpoint = Endpoint::Inbox {};
    first.deliveries.push(inbox.clone());
    let sent = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await.into_iter().find(|lease| lease.delivery.id == sent).expect("claimed");
    assert!(end(&store, &lease, 1).await);
    store.open_rendition(inbox.id, at(1), None, vec![row(AuditWord::Read)]).await.expect("committed").expect("there");
    let mut second = next_version(2, &first, &[sent, inbox.id]);
    let mut unopened = delivery(RecipientKind::PharmacyReferral, "FA123");
    unopened.endpoint = Endpoint::Inbox {};
    second.deliveries.push(unopened.clone());
    let queued = accept_new(&store, second.clone()).await;
    let mut endings = told(&[queued, sent], EndReason::Withdrawn);
    for of in [unopened.id, inbox.id] {
        let notice = NewDelivery {
            kind: RecipientKind::PharmacyReferral,
            recipient: ods("FA123"),
            ..notice(of, EndReason::Withdrawn)
        };
        endings.push(Ending { notice: Some(notice), ..ending(of, EndReason::Withdrawn) });
    }
    assert_eq!(store.take_back(take_back(&second, Some(EndReason::Withdrawn), endings)).await, Ok(true));
    let mut of = notices(&store).await;
    of.sort_unstable();
    let mut had = [sent, inbox.id];
    had.sort_unstable();
    assert_eq!(of, had, "of the version that each of them has");
    let checkup = store.checkup().await.expect("readable");
    assert_eq!(checkup.flaws.iter().filter(|flaw| flaw.rule.contains("notice")).count(), 0, "{:?}", checkup.flaws);

    // Who has both is told once, of the newer one.
    let mut third = sent_out(3);
    third.transfer.patient = Some(patient(2));
    let old = accept_new(&store, third.clone()).await;
    let mut fourth = next_version(4, &third, &[old]);
    fourth.transfer.patient = Some(patient(2));
    for lease in claim(&store, 100).await.iter().filter(|lease| lease.delivery.id == old) {
        assert!(end(&store, lease, 101).await);
    }
    let new = accept_new(&store, fourth.clone()).await;
    for lease in claim(&store, 140).await.iter().filter(|lease| lease.delivery.id == new) {
        assert!(end(&store, lease, 141).await);
    }
    assert!(read(&store, old).await.attempts > 0 && read(&store, new).await.attempts > 0, "both left");
    let whole = take_back(&fourth, Some(EndReason::Withdrawn), told(&[new, old], EndReason::Withdrawn));
    assert_eq!(store.take_back(whole).await, Ok(true));
    let of = notices(&store).await;
    assert!(of.contains(&new) && !of.contains(&old), "{of:?}");
}

pub(crate) async fn a_withdrawn_replacement_that_was_held_leaves_nobody_with_the_earlier_one(store: Shared) {
    let first = sent_out(1);
    let used = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, 1).await);
    let mut second = next_version(2, &first, &[]);
    second.deliveries.clear();
    second.hold = Some(hold());
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let whole = take_back(&second, Some(EndReason::Withdrawn), Vec::new());
    assert_eq!(store.take_back(whole.clone()).await, Err(StoreError::Overtaken), "the home still uses the first");
    assert_eq!(status_of(&store, &second).await, "on-hold", "nothing is kept of that");
    let whole = TakeBack { endings: told(&[used], EndReason::Withdrawn), ..whole };
    assert_eq!(store.take_back(whole).await, Ok(true));
    assert_eq!(read(&store, used).await.ended, Some(Ended { why: EndReason::Withdrawn, by: None }));
    for version in [&first, &second] {
        let transfer = store.transfer(version.transfer.id).await.expect("readable").expect("there");
        assert_eq!(transfer.ended.map(|(why, _)| why), Some(EndReason::Withdrawn));
        assert_eq!(status_of(&store, version).await, "cancelled");
    }
    assert_eq!(notices(&store).await, [used]);
    assert!(store.holds().await.expect("readable").is_empty());
}

pub(crate) async fn whoever_does_not_get_the_next_version_is_told_of_what_they_have(store: Shared) {
    let first = sent_out(1);
    let sent = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, 1).await);
    let second = next_version(2, &first, &[sent]);
    let queued = accept_new(&store, second.clone()).await;
    // The third goes to another home; the second never left.
    let mut third = next_version(3, &second, &[]);
    third.deliveries[0].recipient = ods("VM2CD");
    third.endings = told(&[queued, sent], EndReason::Withdrawn);
    accept_new(&store, third).await;
    assert_eq!(notices(&store).await, [sent]);
    for id in [sent, queued] {
        assert_eq!(read(&store, id).await.ended.map(|ended| ended.why), Some(EndReason::Withdrawn));
    }
}

pub(crate) async fn a_recalled_copy_tells_nothing_any_more(store: Shared) {
    let mut first = sent_out(1);
    first.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
    let wrong = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await;
    let lease = lease.iter().find(|lease| lease.delivery.id == wrong).expect("claimed");
    assert!(end(&store, lease, 1).await);
    let recall = || Ending { notice: Some(notice(wrong, EndReason::Recalled)), ..ending(wrong, EndReason::Recalled) };
    let waits = hold();
    let back = TakeBack {
        hold: Some((waits.clone(), "{\"recalled\":[]}".to_owned())),
        ..take_back(&first, None, vec![recall()])
    };
    assert_eq!(store.take_back(back).await, Ok(true));
    let held = store.holds().await.expect("readable");
    assert_eq!((held.len(), &held[0].hold, held[0].decided.as_str()), (1, &waits, "{\"recalled\":[]}"));
    assert_eq!(store.take_back(take_back(&first, None, vec![recall()])).await, Ok(false), "once");
    let told = all(&store).await.into_iter().find(|copy| copy.notice.is_some()).expect("told");
    assert_eq!((told.patient, told.recipient), (None, ods("VM1AB")), "not about whom it was");
    assert_eq!(read(&store, first.deliveries[1].id).await.ended, None, "the others keep theirs");
    let query = TaskQuery { copies: true, limit: 100, ..TaskQuery::default() };
    let found = |without_recalled: bool| {
        let (store, query) = (&store, TaskQuery { without_recalled, ..query.clone() });
        async move { store.count_tasks(query).await.expect("readable") }
    };
    assert_eq!((found(false).await, found(true).await), (3, 2), "to its recipient there is no such Task");
    assert_eq!(status_of(&store, &first).await, "on-hold", "until it goes to the right place");
}

pub(crate) async fn only_the_newest_is_held_to_be_rerouted_and_once(store: Shared) {
    let first = sent_out(1);
    let old = accept_new(&store, first.clone()).await;
    let mut second = next_version(2, &first, &[old]);
    second.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
    let new = accept_new(&store, second.clone()).await;
    let recall = |of: &Acceptance, copy: DeliveryId| TakeBack {
        hold: Some((hold(), "{}".to_owned())),
        ..take_back(of, None, vec![ending(copy, EndReason::Recalled)])
    };
    assert_eq!(
        store.take_back(recall(&first, old)).await,
        Err(StoreError::Overtaken),
        "a newer one was accepted beside"
    );
    assert_eq!(read(&store, old).await.ended.map(|ended| ended.why), Some(EndReason::Superseded));
    assert!(store.holds().await.expect("readable").is_empty(), "nothing is left of that");
    assert_eq!(store.take_back(recall(&second, new)).await, Ok(true));
    let practice = second.deliveries[1].id;
    assert_eq!(store.take_back(recall(&second, practice)).await, Err(StoreError::Overtaken), "it waits in one already");
    assert_eq!((read(&store, practice).await.ended, store.holds().await.expect("readable").len()), (None, 1));
    let under_it = TakeBack { hold: None, ..recall(&second, practice) };
    assert_eq!(store.take_back(under_it).await, Ok(true), "what that hold remembers needs no second");
    let mut third = sent_out(3);
    third.transfer.document_set_id = Some("another set".to_owned());
    let copy = accept_new(&store, third.clone()).await;
    let whole = take_back(&third, Some(EndReason::Withdrawn), vec![ending(copy, EndReason::Withdrawn)]);
    assert_eq!(store.take_back(whole).await, Ok(true));
    assert_eq!(store.take_back(recall(&third, copy)).await, Err(StoreError::Overtaken), "it was withdrawn beside");
}

pub(crate) async fn what_others_have_of_a_recalled_version_is_used_until_the_next_is_sent(store: Shared) {
    let mut first = with_its_row(sent_out(1));
    first.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
    let home = accept_new(&store, first.clone()).await;
    let practice = first.deliveries[1].id;
    let recall = TakeBack {
        hold: Some((hold(), "{}".to_owned())),
        ..take_back(&first, None, vec![ending(home, EndReason::Recalled)])
    };
    assert_eq!(store.take_back(recall).await, Ok(true));
    let mut second = with_its_row(next_version(2, &first, &[]));
    let sent = std::mem::take(&mut second.deliveries);
    let waits = hold();
    second.hold = Some(waits.clone());
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let transfer = async |of: &Acceptance| store.transfer(of.transfer.id).await.expect("readable").expect("there");
    let old = transfer(&first).await;
    assert_eq!((old.hold, old.ended, old.replaced_by), (None, None, Some(second.transfer.id)));
    assert_eq!(store.checkup().await.expect("readable").flaws, vec![]);
    let release = Release {
        hold: waits.id,
        seen: seen(&store, waits.id).await,
        patient: None,
        care_home: None,
        deliveries: sent,
        endings: vec![ending(practice, EndReason::Superseded)],
        taken_back: Vec::new(),
        replaces: None,
        at: at(70),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.release_hold(release).await, Ok(true));
    assert_eq!(transfer(&first).await.ended.map(|(why, _)| why), Some(EndReason::Superseded));
    assert_eq!(store.checkup().await.expect("readable").flaws, vec![]);
}

pub(crate) async fn a_release_takes_back_what_went_elsewhere(store: Shared) {
    let mut message = sent_out(1);
    message.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
    let home = accept_new(&store, message.clone()).await;
    let practice = message.deliveries[1].id;
    let lease = claim(&store, 0).await;
    let lease = lease.iter().find(|lease| lease.delivery.id == home).expect("claimed");
    assert!(end(&store, lease, 1).await, "it left");
    let waits = hold();
    let back = TakeBack {
        hold: Some((waits.clone(), "{}".to_owned())),
        ..take_back(&message, None, vec![ending(practice, EndReason::Recalled)])
    };
    assert_eq!(store.take_back(back).await, Ok(true));
    let right = delivery(RecipientKind::CareHome, "VM2CD");
    let told = Ending { notice: Some(notice(home, EndReason::Recalled)), ..ending(home, EndReason::Recalled) };
    let release = Release {
        hold: waits.id,
        seen: seen(&store, waits.id).await,
        patient: None,
        care_home: Some(ods("VM2CD")),
        deliveries: vec![right.clone()],
        endings: Vec::new(),
        taken_back: vec![told, ending(practice, EndReason::Recalled)],
        replaces: None,
        at: at(70),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.release_hold(release.clone()).await, Ok(true), "what had ended already is in nobody's way");
    assert_eq!(store.release_hold(release).await, Ok(false), "it is closed");
    let old = read(&store, home).await;
    assert_eq!(old.ended, Some(Ended { why: EndReason::Recalled, by: None }));
    assert!(!old.is_readable());
    assert_eq!(read(&store, right.id).await.ended, None);
    let notices: Vec<_> = all(&store).await.into_iter().filter(|copy| copy.notice.is_some()).collect();
    assert_eq!(notices.len(), 1, "who had it is told, once");
    assert_eq!((notices[0].patient.clone(), notices[0].recipient.clone()), (None, ods("VM1AB")));
}

pub(crate) async fn a_pause_holds_back_and_discards_nothing(store: Shared) {
    accept_new(&store, acceptance(1)).await;
    let mut other = acceptance(2);
    other.deliveries[0].recipient = ods("VM2CD");
    accept_new(&store, other).await;
    let pause = |recipient: Option<&str>| Pause {
        recipient: recipient.map(ods),
        reason: "the home moves".to_owned(),
        by: "Ada Wells".to_owned(),
        since: at(0),
    };
    let rows = || vec![row(AuditWord::Configure)];
    assert_eq!(store.pause(pause(Some("VM1AB")), rows()).await, Ok(true));
    assert_eq!(store.pause(pause(Some("VM1AB")), rows()).await, Ok(false), "it is paused already");
    let claimed = claim(&store, 1).await;
    assert_eq!(claimed.iter().map(|lease| lease.delivery.recipient.clone()).collect::<Vec<_>>(), [ods("VM2CD")]);
    assert_eq!(store.pause(pause(None), rows()).await, Ok(true));
    assert!(claim(&store, 40).await.is_empty(), "nobody gets anything");
    assert_eq!(store.pauses().await, Ok(vec![pause(None), pause(Some("VM1AB"))]));
    assert_eq!(store.resume(None, rows()).await, Ok(true));
    assert_eq!(store.resume(None, rows()).await, Ok(false));
    assert_eq!(store.resume(Some(&ods("VM1AB")), rows()).await, Ok(true));
    assert_eq!(claim(&store, 80).await.len(), 2, "nothing was lost");
    assert_eq!(log(&store).await.len(), 6, "each change once");
}

pub(crate) async fn claims_leave_out_endpoints(store: Shared) {
    let first = accept_new(&store, sent_out(1)).await;
    let mut other = acceptance(2);
    other.deliveries[0].endpoint = Endpoint::Https { url: "https://other.example/in".to_owned() };
    let second = accept_new(&store, other).await;
    let claim = |except: Vec<Endpoint>, only: Option<Endpoint>, now: i64| {
        let store = &store;
        async move {
            let claim = Claim { except, only, ..Claim::due(at(now), at(now + 30), 100) };
            store.claim(claim).await.expect("claimable").iter().map(|lease| lease.delivery.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(claim(vec![https(), Endpoint::Inbox {}], None, 0).await, [second]);
    assert_eq!(claim(vec![], Some(Endpoint::Inbox {}), 31).await, []);
    assert_eq!(claim(vec![], Some(https()), 31).await, [first]);
    assert_eq!(read(&store, first).await.attempts, 1, "what is left out has no attempt");
    // Behind a hub that is full is whatever stands there, and no name that begins alike.
    let mut mailboxes = Vec::new();
    for (n, endpoint) in [
        (3, Endpoint::Mesh { mailbox: "X26ABC1".parse().expect("a mailbox"), workflow: None }),
        (4, Endpoint::Mesh { mailbox: "X26ABC2".parse().expect("a mailbox"), workflow: "TOC_FHIR".parse().ok() }),
        (5, Endpoint::GpRouting { workflow: None }),
    ] {
        let mut by_mesh = acceptance(n);
        by_mesh.deliveries[0].endpoint = endpoint;
        mailboxes.push(accept_new(&store, by_mesh).await);
    }
    let mut alike = acceptance(6);
    alike.deliveries[0].endpoint = Endpoint::ProcessMessage { url: "https://other.example.org/fhir".to_owned() };
    let alike = accept_new(&store, alike).await;
    let behind = |full: Vec<Hub>, now: i64| {
        let store = &store;
        async move {
            let claim = Claim { full, ..Claim::due(at(now), at(now + 30), 100) };
            store.claim(claim).await.expect("claimable").iter().map(|lease| lease.delivery.id).collect::<BTreeSet<_>>()
        }
    };
    let other = Hub::Host("other.example".to_owned());
    assert_eq!(behind(vec![Hub::Mesh, other.clone()], 100).await, [first, alike].into());
    let all: BTreeSet<_> = mailboxes.into_iter().chain([first, alike]).collect();
    assert_eq!(behind(vec![other], 200).await, all);
}

pub(crate) async fn a_checkup_accounts_for_every_transfer(store: Shared) {
    let empty = store.checkup().await.expect("readable");
    assert_eq!((empty.accepted, empty.flaws.len()), (0, 0));
    let delivered = with_its_row(sent_out(1));
    let id = accept_new(&store, delivered).await;
    let lease = claim(&store, 0).await.remove(0);
    let mut disclosed = row(AuditWord::Disclose);
    disclosed.delivery = Some(id);
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let end = AttemptEnd { delivery: id, token: lease.token, outcome, at: at(1), audit: vec![disclosed] };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    let mut held = with_its_row(acceptance(2));
    held.deliveries.clear();
    held.hold = Some(hold());
    assert_eq!(store.accept(held).await, Ok(Accepted::New));
    let old = with_its_row(acceptance(3));
    let of = accept_new(&store, old.clone()).await;
    let mut new = with_its_row(acceptance(4));
    new.transfer.replaces = Some(old.transfer.id);
    new.transfer.version = 2;
    new.endings = vec![ending(of, EndReason::Superseded)];
    accept_new(&store, new).await;
    let checkup = store.checkup().await.expect("readable");
    assert_eq!(checkup.flaws, []);
    let places = |checkup: &Checkup| (checkup.delivered, checkup.pending, checkup.parked, checkup.ended);
    assert_eq!((checkup.accepted, places(&checkup)), (4, (1, 1, 1, 1)));
    assert_eq!((checkup.copies, checkup.audit), (3, 5));
    // A system that refuses a person has decided; one that could not process a message has not, and nobody there has it.
    for (version, code, expected) in [(2, "30003", (1, 1, 1, 1)), (3, "20005", (0, 1, 2, 1))] {
        let refused = Transition {
            code: Some(code.to_owned()),
            audit: vec![AuditRow { delivery: Some(id), ..row(AuditWord::Acknowledge) }],
            ..change(id, version, DeliveryState::Rejected)
        };
        assert_eq!(store.transition(refused).await, Ok(true));
        let checkup = store.checkup().await.expect("readable");
        assert_eq!((checkup.flaws.len(), places(&checkup)), (0, expected), "{code}");
    }
    // An acceptance without its row in the log is told.
    accept_new(&store, acceptance(5)).await;
    let flaws = store.checkup().await.expect("readable").flaws;
    assert_eq!(
        flaws.iter().map(|flaw| (flaw.rule, flaw.count)).collect::<Vec<_>>(),
        [("accepted = delivered + pending + parked + ended", 1), ("every acceptance is in the audit log", 1)]
    );
}

/// A message whose acceptance is told of it, so that `fsck` finds it.
pub(super) fn with_its_row(mut message: Acceptance) -> Acceptance {
    message.audit[0].transfer = Some(message.transfer.id);
    message
}

/// Fills the store, and gives damage to it as SQL, each with the rules of a checkup that must tell it afterwards. No row that is left
/// contradicts another.
pub(crate) async fn losses(store: &Shared) -> Vec<(String, Vec<&'static str>)> {
    let letter = with_its_row(super::letters::with_letter(3));
    assert_eq!(store.accept(letter).await, Ok(Accepted::New));
    let mut copies = Vec::new();
    for n in 1..3 {
        let mut message = with_its_row(acceptance(n));
        if n == 1 {
            message.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
        }
        let transfer = message.transfer.id;
        let copy = accept_new(store, message).await;
        let mut read = row(AuditWord::Read);
        read.delivery = Some(copy);
        store.open_rendition(copy, at(1), None, vec![read]).await.expect("committed").expect("there");
        copies.push((transfer, copy));
    }
    assert_eq!(store.checkup().await.expect("readable").flaws, []);
    let without_copy = |copy| {
        let children = ["attempts", "delivery_history", "rendition_bodies"];
        let children = children.map(|table| format!("DELETE FROM {table} WHERE delivery = '{copy}';"));
        format!("{} DELETE FROM deliveries WHERE id = '{copy}';", children.concat())
    };
    let without_transfer = |(transfer, copy)| {
        let own = format!(
            "DELETE FROM message_bodies WHERE transfer = '{transfer}'; DELETE FROM transfers WHERE id = '{transfer}'"
        );
        format!("{}{own}", without_copy(copy))
    };
    let adds_up = "accepted = delivered + pending + parked + ended";
    vec![
        ("DELETE FROM rendition_parts".to_owned(), vec![MISSED_PARTS]),
        (without_copy(copies[0].1), vec!["every copy that left by the audit log is there"]),
        (without_transfer(copies[1]), vec!["every acceptance of the audit log has its transfer", adds_up]),
    ]
}

pub(crate) async fn a_decision_about_another_state_of_a_hold_is_overtaken(store: Shared) {
    let mut message = sent_out(1);
    message.deliveries.clear();
    let waits = hold();
    message.hold = Some(waits.clone());
    assert_eq!(store.accept(message.clone()).await, Ok(Accepted::New));
    let before = seen(&store, waits.id).await;
    let change = |seen: &HoldSeen| HoldChange {
        hold: waits.clone(),
        seen: seen.clone(),
        joins: None,
        decided: "{}".to_owned(),
        at: at(5),
        audit: vec![row(AuditWord::Hold)],
    };
    let release = |seen: &HoldSeen| Release {
        hold: waits.id,
        seen: seen.clone(),
        patient: None,
        care_home: None,
        deliveries: vec![delivery(RecipientKind::CareHome, "VM1AB")],
        endings: Vec::new(),
        taken_back: Vec::new(),
        replaces: None,
        at: at(6),
        audit: vec![row(AuditWord::Release)],
    };
    let closure = |seen: &HoldSeen| Closure {
        hold: waits.id,
        seen: seen.clone(),
        reason: "sent twice".to_owned(),
        responses: Vec::new(),
        voids: None,
        at: at(6),
        audit: vec![row(AuditWord::Release)],
    };
    // Even where nothing else is said than before: it is another decision.
    assert_eq!(store.change_hold(change(&before)).await, Ok(true));
    assert_eq!(store.change_hold(change(&before)).await, Err(StoreError::Overtaken));
    assert_eq!(store.release_hold(release(&before)).await, Err(StoreError::Overtaken));
    assert_eq!(store.close_hold(closure(&before)).await, Err(StoreError::Overtaken));
    assert_eq!(status_of(&store, &message).await, "on-hold");
    assert_eq!(log(&store).await.len(), 2, "what was overtaken left nothing");
    let now = seen(&store, waits.id).await;
    assert_eq!(store.release_hold(release(&now)).await, Ok(true));
    assert_eq!(store.close_hold(closure(&now)).await, Ok(false), "it is closed");
}
