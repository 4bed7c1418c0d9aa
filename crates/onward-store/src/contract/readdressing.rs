//! Where copies go after the directory was mended.

use std::sync::{Arc, Mutex};

use jiff::civil::date;
use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::directory::{DirectoryEntry, Endpoint, Pharmacy, Practice};
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{
    Acceptance, Accepted, Again, AttemptOutcome, Bulk, BulkStep, Claim, Ending, FormerAddress, ImportAudit, Lease,
    MovedAlong, NewBulk, NewDelivery, NewHold, Notice, Release, Resend, StoreError, TakeBack, Went, Whereto,
};
use onward_core::{BulkId, OdsCode};

use super::delivering::{claim, end};
use super::lifecycle::{ending, next_version, take_back};
use super::{Shared, accept_new, acceptance, at, delivery, hold, log, ods, patient, row, seen};

pub(crate) fn https(host: &str) -> Endpoint {
    Endpoint::Https { url: format!("https://{host}.example/in") }
}

fn mesh(mailbox: &str) -> Endpoint {
    Endpoint::Mesh { mailbox: mailbox.parse().expect("a mailbox"), workflow: None }
}

pub(crate) fn pharmacy(endpoint: Endpoint) -> DirectoryEntry {
    DirectoryEntry::Pharmacy(Pharmacy {
        ods: ods("FA123"),
        name: "Pharmacy".to_owned(),
        telephone: String::new(),
        postcode: String::new(),
        endpoint,
        expires: date(2027, 1, 31),
        ods_end: None,
    })
}

fn practice(endpoint: Endpoint) -> DirectoryEntry {
    DirectoryEntry::Practice(Practice {
        ods: ods("A82608"),
        name: "Practice".to_owned(),
        telephone: String::new(),
        postcode: String::new(),
        endpoint,
        expires: date(2027, 1, 31),
        ods_end: None,
    })
}

pub(crate) fn copy(kind: RecipientKind, recipient: &str, endpoint: Endpoint) -> NewDelivery {
    NewDelivery { endpoint, ..delivery(kind, recipient) }
}

/// Imports, and gives what went along; an entry of the log tells it.
pub(crate) async fn import(store: &Shared, entry: DirectoryEntry, second: i64) -> Vec<MovedAlong> {
    let before = log(store).await.len();
    let told: Arc<Mutex<Vec<MovedAlong>>> = Arc::default();
    let audit = {
        let told = Arc::clone(&told);
        ImportAudit::new(move |moved| {
            *told.lock().expect("nobody panicked") = moved.to_vec();
            std::iter::repeat_with(|| row(AuditWord::Configure)).take(1 + usize::from(!moved.is_empty())).collect()
        })
    };
    store.import_directory(vec![entry], "homes.csv", at(second), audit).await.expect("committed");
    let told = told.lock().expect("nobody panicked").clone();
    assert_eq!(log(store).await.len(), before + 1 + usize::from(!told.is_empty()));
    told
}

pub(crate) async fn goes_to(store: &Shared, copy: DeliveryId) -> Endpoint {
    store.delivery(copy).await.expect("readable").expect("there").endpoint
}

pub(crate) async fn what_is_sent_again_goes_where_its_recipient_receives_now(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let mut message = acceptance(1);
    message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https("old"))];
    let id = accept_new(&store, message).await;
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, AttemptOutcome::Failed { reason: "404".to_owned() }, 1).await);
    assert_eq!(import(&store, pharmacy(https("new")), 2).await, [], "what failed waits for a person");
    assert_eq!(goes_to(&store, id).await, https("old"));

    let entries = log(&store).await.len();
    let again = async |to: Whereto, second| {
        let (how, audit) = (Resend::Replay, vec![row(AuditWord::Release)]);
        store.requeue(id, Again { how, to }, "Ada Wells", "mended", at(second), audit).await
    };
    let to = |from: &str, to: &str| Whereto::Directory { from: https(from), to: https(to) };
    assert_eq!(again(to("old", "old"), 3).await, Err(StoreError::Overtaken), "the directory has changed since");
    assert_eq!(again(to("older", "new"), 3).await, Err(StoreError::Overtaken), "the copy goes elsewhere");
    let other_way = Whereto::OtherWay { from: https("old"), to: mesh("FA123OT1") };
    assert_eq!(again(other_way.clone(), 3).await, Ok(false));
    assert_eq!(store.delivery(id).await.expect("readable").expect("there").state, DeliveryState::Failed);
    assert_eq!(log(&store).await.len(), entries, "what is refused leaves nothing");
    assert_eq!(again(to("old", "new"), 4).await, Ok(true));
    assert_eq!(log(&store).await.len(), entries + 1);
    let lease = claim(&store, 5).await.remove(0);
    assert_eq!((lease.delivery.id, lease.delivery.endpoint.clone()), (id, https("new")));

    // So with one of many; what cannot go there is passed over.
    assert!(end(&store, &lease, AttemptOutcome::Failed { reason: "404".to_owned() }, 6).await);
    import(&store, pharmacy(https("newest")), 7).await;
    let bulk = NewBulk {
        id: BulkId::random(),
        how: Resend::Retry,
        filter: "recipient=FA123".to_owned(),
        reason: "mended".to_owned(),
        by: "Ada Wells".to_owned(),
        agent: "{}".to_owned(),
        at: at(8),
        copies: vec![id],
    };
    let asked = bulk.id;
    assert_eq!(store.start_bulk(bulk, Vec::new()).await, Ok(true));
    let one = async |bulk, to| store.resend_of_bulk(bulk, id, to, at(9), vec![row(AuditWord::Release)]).await;
    assert_eq!(one(asked, to("new", "old")).await, Err(StoreError::Overtaken));
    assert_eq!(store.bulk_pending(asked, 9).await, Ok(vec![id]), "it is looked at again");
    assert_eq!(one(asked, to("new", "newest")).await, Ok(BulkStep::Resent));
    assert_eq!(goes_to(&store, id).await, https("newest"));
    let lease = claim(&store, 10).await.remove(0);
    assert!(end(&store, &lease, AttemptOutcome::Failed { reason: "404".to_owned() }, 11).await);
    let bulk = NewBulk {
        id: BulkId::random(),
        how: Resend::Retry,
        filter: "recipient=FA123".to_owned(),
        reason: "mended".to_owned(),
        by: "Ada Wells".to_owned(),
        agent: "{}".to_owned(),
        at: at(12),
        copies: vec![id],
    };
    let asked = bulk.id;
    assert_eq!(store.start_bulk(bulk, Vec::new()).await, Ok(true));
    assert_eq!(one(asked, other_way).await, Ok(BulkStep::PassedOver));
    let passed = store.bulk(asked).await.expect("readable").map(|Bulk { passed_over, .. }| passed_over);
    assert_eq!(passed, Some(1));
}

pub(crate) async fn what_left_after_a_copy_that_is_sent_again_is_counted(store: Shared) {
    let mut ids = Vec::new();
    // Of one person: three to the same practice, one of another kind; and one of another person.
    for (n, kind, person) in [
        (1, RecipientKind::CoveringPractice, 1),
        (2, RecipientKind::CoveringPractice, 1),
        (3, RecipientKind::CoveringPractice, 1),
        (4, RecipientKind::RegisteredPractice, 1),
        (5, RecipientKind::CoveringPractice, 2),
    ] {
        let mut message = acceptance(n);
        message.transfer.patient = Some(patient(person));
        message.deliveries = vec![copy(kind, "A82608", mesh("A82608OT1"))];
        ids.push(accept_new(&store, message).await);
    }
    let sent = || AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let failed = || AttemptOutcome::Failed { reason: "404".to_owned() };
    let counts = async || {
        let mut counts = Vec::new();
        for id in &ids {
            counts.push(store.left_since(*id).await.expect("readable"));
        }
        counts
    };
    // The first of each lane, then the second, then the third: the lane keeps its order.
    for (second, expected) in [(0, [0, 0, 0, 0, 0]), (10, [1, 0, 0, 0, 0]), (20, [2, 1, 0, 0, 0])] {
        for lease in claim(&store, second).await {
            let outcome = if lease.delivery.id == ids[0] { failed() } else { sent() };
            assert!(end(&store, &lease, outcome, second + 1).await);
        }
        assert_eq!(counts().await, expected, "after {second} s");
    }
    assert_eq!(store.left_since(DeliveryId::random()).await, Ok(0), "there is none");
    let mut nameless = acceptance(6);
    nameless.transfer.patient = None;
    nameless.deliveries = vec![copy(RecipientKind::CoveringPractice, "A82608", mesh("A82608OT1"))];
    let alone = accept_new(&store, nameless).await;
    assert_eq!(store.left_since(alone).await, Ok(0), "a transfer about nobody who is known has a lane of its own");
}

pub(crate) async fn what_is_queued_goes_along_with_a_changed_address(store: Shared) {
    let moved = |from: Endpoint, to: Endpoint, (copies, sending, stay)| {
        let recipient = "FA123".parse::<OdsCode>().expect("a code");
        MovedAlong { recipient, from, to, copies, sending, stay }
    };
    assert_eq!(import(&store, pharmacy(https("old")), 0).await, []);
    // Of five persons, so that each has a lane.
    let mut ids = Vec::new();
    for (n, of) in [
        copy(RecipientKind::PharmacyReferral, "FA123", https("old")),
        copy(RecipientKind::PharmacyNomination, "FA123", https("old")),
        copy(RecipientKind::PharmacyReferral, "FA123", https("elsewhere")),
        copy(RecipientKind::PharmacyReferral, "FA124", https("old")),
        copy(RecipientKind::Sender, "FA123", https("old")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut message = acceptance(u32::try_from(n).expect("few") + 1);
        message.deliveries = vec![of];
        ids.push(accept_new(&store, message).await);
    }
    let addresses = async || {
        let mut addresses = Vec::new();
        for id in &ids {
            addresses.push(goes_to(&store, *id).await);
        }
        addresses
    };
    // The first is being sent; of the others, one waits for its next attempt.
    let leases = claim(&store, 0).await;
    for lease in leases.iter().filter(|lease| lease.delivery.id != ids[0]) {
        assert!(end(&store, lease, AttemptOutcome::Retry { at: at(500), reason: "503".to_owned() }, 1).await);
    }
    let went = import(&store, pharmacy(https("new")), 2).await;
    assert_eq!(went, [moved(https("old"), https("new"), (1, 1, 0))]);
    let expected = [https("old"), https("new"), https("elsewhere"), https("old"), https("old")];
    assert_eq!(addresses().await, expected, "what is being sent stays, and so do others' copies and our responses");
    assert_eq!(import(&store, pharmacy(https("new")), 3).await, [], "nothing changed");
    let stay = import(&store, pharmacy(mesh("FA123OT1")), 4).await;
    assert_eq!(stay, [moved(https("new"), mesh("FA123OT1"), (0, 0, 1))], "it was not made for that");
    assert_eq!(addresses().await, expected);
}

async fn read_at(store: &Shared) -> u64 {
    store.read_directory(&ods("FA123")).await.expect("readable").version
}

pub(crate) async fn what_was_read_before_an_import_is_not_queued_for_the_former_address(store: Shared) {
    assert_eq!(read_at(&store).await, 0);
    import(&store, pharmacy(https("old")), 0).await;
    let before = read_at(&store).await;
    let queued = |address: &str, directory| NewDelivery {
        directory: Some(directory),
        ..copy(RecipientKind::PharmacyReferral, "FA123", https(address))
    };
    let mut message = acceptance(1);
    message.deliveries = vec![queued("old", before)];
    let mut held = acceptance(2);
    held.deliveries.clear();
    let waits = hold().id;
    held.hold = Some(NewHold { id: waits, ..hold() });
    assert_eq!(store.accept(held).await, Ok(Accepted::New));
    let release = async |address: &str, directory| Release {
        hold: waits,
        seen: seen(&store, waits).await,
        patient: None,
        care_home: None,
        deliveries: vec![queued(address, directory)],
        endings: Vec::new(),
        taken_back: Vec::new(),
        replaces: None,
        at: at(3),
        audit: vec![row(AuditWord::Release)],
    };
    // An import that is about others changes nothing for it, and what is about another address is no reason either.
    import(&store, practice(mesh("A82608OT1")), 1).await;
    let mut other = acceptance(3);
    other.deliveries = vec![queued("old", before)];
    accept_new(&store, other).await;
    import(&store, pharmacy(https("new")), 2).await;
    let entries = log(&store).await.len();
    assert_eq!(store.accept(message.clone()).await, Err(StoreError::Overtaken));
    assert_eq!(store.release_hold(release("old", before).await).await, Err(StoreError::Overtaken));
    assert_eq!(log(&store).await.len(), entries, "what is refused leaves nothing");
    assert!(store.open_hold(waits).await.expect("readable").is_some());
    let now = read_at(&store).await;
    assert!(before < now);
    message.deliveries = vec![queued("new", now)];
    let id = accept_new(&store, message).await;
    assert_eq!(store.release_hold(release("new", now).await).await, Ok(true));
    assert_eq!(goes_to(&store, id).await, https("new"));
}

pub(crate) async fn what_is_being_sent_during_an_import_goes_to_the_new_address_when_it_is_tried_again(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let mut ids = Vec::new();
    for (n, address) in [(1, "old"), (2, "old"), (3, "old"), (4, "old"), (5, "elsewhere")] {
        let mut message = acceptance(n);
        message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https(address))];
        ids.push(accept_new(&store, message).await);
    }
    let leases = claim(&store, 0).await;
    assert_eq!(import(&store, pharmacy(https("new")), 1).await[0].sending, 4);
    let lease = |n: usize| leases.iter().find(|lease| lease.delivery.id == ids[n]).expect("leased");
    let again = || AttemptOutcome::Retry { at: at(5), reason: "503".to_owned() };
    assert!(end(&store, lease(0), again(), 2).await);
    assert!(end(&store, lease(1), AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None }, 2).await);
    assert!(end(&store, lease(4), again(), 2).await);
    assert_eq!(goes_to(&store, ids[0]).await, https("new"));
    assert_eq!(goes_to(&store, ids[1]).await, https("old"), "there it is");
    assert_eq!(goes_to(&store, ids[4]).await, https("elsewhere"), "its recipient never received there");
    // Two leases run out: nobody says what became of the attempts. The copies are claimed as what goes to the new address.
    let for_old = Claim { only: Some(https("old")), ..Claim::due(at(40), at(70), 100) };
    assert_eq!(store.claim(for_old).await.expect("claimable").len(), 0);
    let mut claimed = Vec::new();
    for lease in claim(&store, 41).await {
        claimed.push((lease.delivery.id, lease.delivery.endpoint.clone(), lease.attempt));
    }
    claimed.sort_by_key(|(id, ..)| ids.iter().position(|known| known == id));
    let expected = [(0, "new"), (2, "new"), (3, "new"), (4, "elsewhere")];
    assert_eq!(claimed, expected.map(|(n, address)| (ids[n], https(address), 2)));
    // By another way they do not go on.
    assert_eq!(import(&store, pharmacy(mesh("FA123OT1")), 42).await[0].stay, 3);
    let lease = claim(&store, 80).await.remove(0);
    assert!(end(&store, &lease, again(), 81).await);
    assert_ne!(goes_to(&store, lease.delivery.id).await, mesh("FA123OT1"));
    for (n, expected) in [(0, &[(1, "old")][..]), (1, &[]), (2, &[(1, "old")]), (4, &[])] {
        assert_eq!(went_before(&store, ids[n]).await, former(expected), "{n}");
    }
}

fn former(expected: &[(u32, &str)]) -> Vec<FormerAddress> {
    expected.iter().map(|(attempt, address)| FormerAddress { attempt: *attempt, endpoint: https(address) }).collect()
}

async fn went_before(store: &Shared, copy: DeliveryId) -> Vec<FormerAddress> {
    store.former_addresses(copy).await.expect("readable")
}

pub(crate) async fn every_address_that_may_have_a_copy_is_told_of_its_end(store: Shared) {
    import(&store, pharmacy(https("first")), 0).await;
    let mut message = acceptance(1);
    message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https("first"))];
    let transfer = message.transfer.id;
    let id = accept_new(&store, message).await;
    // Moved along before anything was sent: there nobody has it.
    import(&store, pharmacy(https("second")), 1).await;
    assert_eq!(went_before(&store, id).await, []);
    let lease = claim(&store, 2).await.remove(0);
    assert!(end(&store, &lease, AttemptOutcome::Retry { at: at(3), reason: "503".to_owned() }, 2).await);
    // Moved along, and once more before it is sent: what was sent went to the second.
    import(&store, pharmacy(https("third")), 3).await;
    import(&store, pharmacy(https("fourth")), 4).await;
    assert_eq!(went_before(&store, id).await, former(&[(1, "second")]));
    let lease = claim(&store, 5).await.remove(0);
    assert!(end(&store, &lease, AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None }, 6).await);
    import(&store, pharmacy(https("fifth")), 7).await;
    let to = Whereto::Directory { from: https("fourth"), to: https("fifth") };
    let again = Again { how: Resend::Replay, to };
    assert_eq!(
        store.requeue(id, again, "Ada Wells", "not there", at(8), vec![row(AuditWord::Release)]).await,
        Ok(true)
    );
    assert_eq!(went_before(&store, id).await, former(&[(1, "second"), (2, "fourth")]));

    let notice = |address: &str| NewDelivery {
        notice: Some(Notice { of: id, why: EndReason::Recalled }),
        ..copy(RecipientKind::PharmacyReferral, "FA123", https(address))
    };
    let recall = |attempted, former, notices| TakeBack {
        transfer,
        whole: None,
        joins: None,
        reason: "wrong patient".to_owned(),
        endings: vec![Ending {
            delivery: id,
            why: EndReason::Recalled,
            by: None,
            reason: "stop using it".to_owned(),
            seen: false,
            notice: Some(notice("fifth")),
            went: Some(Went { endpoint: https("fifth"), attempted, former, notices }),
        }],
        hold: None,
        at: at(20),
        audit: vec![row(AuditWord::Withdraw)],
    };
    let overtaken = recall(false, 1, vec![notice("second")]);
    assert_eq!(store.take_back(overtaken).await, Err(StoreError::Overtaken), "the fourth has it since");
    let lease = claim(&store, 9).await.remove(0);
    assert_eq!(lease.delivery.endpoint, https("fifth"));
    let both = || vec![notice("second"), notice("fourth")];
    assert_eq!(
        store.take_back(recall(false, 2, both())).await,
        Err(StoreError::Overtaken),
        "the fifth may have it since"
    );
    assert_eq!(store.take_back(recall(true, 2, both())).await, Ok(true));
    // The fifth is told after the attempt that runs, and keeps nobody else from being told.
    let told = |leases: Vec<Lease>| {
        let mut told: Vec<_> = leases.into_iter().map(|lease| lease.delivery.endpoint.told()).collect();
        told.sort();
        told
    };
    assert_eq!(told(claim(&store, 21).await), [https("fourth").told(), https("second").told()]);
    assert!(end(&store, &lease, AttemptOutcome::Failed { reason: "404".to_owned() }, 22).await);
    assert_eq!(told(claim(&store, 23).await), [https("fifth").told()]);
}

pub(crate) async fn an_address_to_which_a_copy_came_back_is_told_of_its_end(store: Shared) {
    import(&store, pharmacy(https("first")), 0).await;
    let mut message = acceptance(1);
    message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https("first"))];
    let id = accept_new(&store, message.clone()).await;
    let lease = claim(&store, 1).await.remove(0);
    assert!(end(&store, &lease, AttemptOutcome::Retry { at: at(500), reason: "no answer".to_owned() }, 2).await);
    // The answer was lost. A wrong address, mended before anything went there.
    for address in ["second", "first"] {
        import(&store, pharmacy(https(address)), 3).await;
    }
    assert_eq!((goes_to(&store, id).await, went_before(&store, id).await), (https("first"), former(&[(1, "first")])));
    let notice = NewDelivery {
        notice: Some(Notice { of: id, why: EndReason::Withdrawn }),
        ..copy(RecipientKind::PharmacyReferral, "FA123", https("first"))
    };
    let back = |attempted| {
        let went = Went { endpoint: https("first"), attempted, former: 1, notices: Vec::new() };
        let ending = Ending { notice: Some(notice.clone()), went: Some(went), ..ending(id, EndReason::Withdrawn) };
        take_back(&message, Some(EndReason::Withdrawn), vec![ending])
    };
    assert_eq!(store.take_back(back(false)).await, Err(StoreError::Overtaken));
    assert_eq!(store.take_back(back(true)).await, Ok(true));
    assert_eq!(claim(&store, 61).await[0].delivery.endpoint, https("first"));
}

/// The first version went to an address that is no more, the second to the present one.
pub(crate) async fn what_is_told_where_nobody_is_any_more_holds_up_nothing_of_the_recipients(store: Shared) {
    let of_somebody = |mut message: Acceptance, address: &str| {
        message.transfer.patient = Some(patient(1));
        message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https(address))];
        message
    };
    let sent = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None };
    let first = of_somebody(acceptance(1), "gone");
    let one = accept_new(&store, first.clone()).await;
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, sent.clone(), 1).await);
    let mut second = of_somebody(next_version(2, &first, &[one]), "here");
    let two = second.deliveries[0].id;
    let by = Some(two);
    second.endings = vec![Ending { by, ..ending(one, EndReason::Superseded) }];
    accept_new(&store, second.clone()).await;
    let lease = claim(&store, 2).await.remove(0);
    assert!(end(&store, &lease, sent, 3).await);
    let told = |of, address: &str| {
        let notice = NewDelivery {
            notice: Some(Notice { of, why: EndReason::Withdrawn }),
            ..copy(RecipientKind::PharmacyReferral, "FA123", https(address))
        };
        Ending { notice: Some(notice), ..ending(of, EndReason::Withdrawn) }
    };
    let endings = vec![told(two, "here"), told(one, "gone")];
    assert_eq!(store.take_back(take_back(&second, Some(EndReason::Withdrawn), endings)).await, Ok(true));
    let notices = claim(&store, 61).await;
    assert_eq!(notices.len(), 2, "neither waits for the other");
    for lease in &notices {
        let outcome = match lease.delivery.endpoint == https("gone") {
            true => AttemptOutcome::Retry { at: at(100_000), reason: "no answer".to_owned() },
            false => AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
        };
        assert!(end(&store, lease, outcome, 62).await);
    }
    let corrected = accept_new(&store, of_somebody(acceptance(3), "here")).await;
    let leases = claim(&store, 63).await;
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [corrected]);
}

pub(crate) async fn an_address_to_which_nothing_was_sent_is_told_nothing(store: Shared) {
    import(&store, pharmacy(https("old")), 0).await;
    let mut message = acceptance(1);
    message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https("old"))];
    let transfer = message.transfer.id;
    let id = accept_new(&store, message).await;
    let lease = claim(&store, 0).await.remove(0);
    import(&store, pharmacy(https("new")), 1).await;
    assert!(end(&store, &lease, AttemptOutcome::Retry { at: at(500), reason: "503".to_owned() }, 2).await);
    let notice = |address: &str| NewDelivery {
        notice: Some(Notice { of: id, why: EndReason::Withdrawn }),
        ..copy(RecipientKind::PharmacyReferral, "FA123", https(address))
    };
    let went = Went { endpoint: https("new"), attempted: false, former: 1, notices: vec![notice("old")] };
    let back = TakeBack {
        transfer,
        whole: Some(EndReason::Withdrawn),
        joins: None,
        reason: "wrong patient".to_owned(),
        endings: vec![Ending {
            delivery: id,
            why: EndReason::Withdrawn,
            by: None,
            reason: "stop using it".to_owned(),
            seen: false,
            notice: Some(notice("new")),
            went: Some(went),
        }],
        hold: None,
        at: at(20),
        audit: vec![row(AuditWord::Withdraw)],
    };
    assert_eq!(store.take_back(back).await, Ok(true));
    let told = claim(&store, 30).await;
    assert_eq!(told.iter().map(|lease| lease.delivery.endpoint.clone()).collect::<Vec<_>>(), [https("old")]);
}

pub(crate) async fn what_mesh_finds_by_the_person_is_only_their_own_practices(store: Shared) {
    import(&store, practice(mesh("A82608OT1")), 0).await;
    let mut message = acceptance(1);
    message.deliveries = vec![
        copy(RecipientKind::RegisteredPractice, "A82608", mesh("A82608OT1")),
        copy(RecipientKind::CoveringPractice, "A82608", mesh("A82608OT1")),
    ];
    let (own, covering) = (message.deliveries[0].id, message.deliveries[1].id);
    accept_new(&store, message).await;
    let mut next = acceptance(2);
    next.transfer.patient = Some(patient(1));
    let notice = Some(Notice { of: own, why: EndReason::LeftHome });
    next.deliveries =
        vec![NewDelivery { notice, ..copy(RecipientKind::RegisteredPractice, "A82608", mesh("A82608OT1")) }];
    let notice = accept_new(&store, next).await;
    let found = Endpoint::GpRouting { workflow: None };
    let went = import(&store, practice(found.clone()), 1).await;
    assert_eq!(went.iter().map(|moved| moved.copies).collect::<Vec<_>>(), [1]);
    assert_eq!(goes_to(&store, own).await, found);
    for stays in [covering, notice] {
        assert_eq!(goes_to(&store, stays).await, mesh("A82608OT1"));
    }
    // A mailbox that is named takes whatever went by MESH.
    import(&store, practice(mesh("A82608OT2")), 2).await;
    assert_eq!(goes_to(&store, own).await, mesh("A82608OT2"));
}
