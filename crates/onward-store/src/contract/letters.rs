//! A letter that several recipients get: it is kept once, and each reads the whole of it.

use onward_core::audit::AuditWord;
use onward_core::directory::Endpoint;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::retention::BodyClass;
use onward_core::store::{
    Acceptance, Accepted, AttemptEnd, AttemptOutcome, Claim, LegalHoldOrder, NewDelivery, Release, StoredRendition,
};
use onward_core::{DeliveryId, TransferId};
use uuid::Uuid;

use super::erasing::request;
use super::{Shared, acceptance, at, delivery, hold, patient, row, seen};
use crate::checkup::{MISSED_PARTS, SPARE_PARTS};

const MONTH: i64 = 202_003;

/// A letter in base64, always the same one; nothing in it repeats.
pub(crate) fn letter() -> String {
    letter_of(60_000, 1)
}

/// Another one.
fn letter_of(length: usize, seed: u64) -> String {
    let mut state = seed;
    let mut next = || {
        // Knuth's multiplier; the upper bits look like chance.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize])
    };
    (0..length).map(|_| next()).collect()
}

/// A message of whose three copies two have the letter, in the document and in the page.
pub(crate) fn with_letter(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    let copy = |kind, recipient| NewDelivery {
        body: format!("{{\"for\":\"{recipient}\",\"data\":\"{}\"}}", letter()).into_bytes(),
        html: Some(format!("<a href=\"data:application/pdf;base64,{}\">{n}</a>", letter()).into_bytes()),
        ..delivery(kind, recipient)
    };
    message.deliveries = vec![
        copy(RecipientKind::CareHome, "VM1AB"),
        copy(RecipientKind::CoveringPractice, "A82608"),
        delivery(RecipientKind::PharmacyReferral, "FA001"),
    ];
    message
}

/// The same, of long ago.
fn old(n: u32) -> Acceptance {
    let mut message = with_letter(n);
    message.transfer.received = "2020-03-31T23:59:59Z".parse().expect("a moment");
    message
}

/// Takes a message in, and gives its copies as they must be read.
pub(crate) async fn accepted(store: &Shared, message: Acceptance) -> Vec<StoredRendition> {
    let copies = message.deliveries.iter().map(|copy| StoredRendition {
        delivery: copy.id,
        media_type: copy.media_type.clone(),
        body: copy.body.clone(),
        html: copy.html.clone(),
    });
    let copies = copies.collect();
    assert_eq!(store.accept(message).await, Ok(Accepted::New));
    copies
}

/// Whether these copies read as they must.
pub(crate) async fn read(store: &Shared, copies: &[StoredRendition]) {
    for copy in copies {
        let found = store.rendition(copy.delivery).await.expect("readable").expect("there");
        assert!(found == *copy, "a copy is not read as it was written");
    }
}

pub(crate) async fn a_letter_is_read_whole_in_every_copy(store: Shared) {
    let [first, second] = [1, 2].map(|n| {
        let mut message = with_letter(n);
        message.deliveries[1].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
        message
    });
    let mut expected = accepted(&store, first).await;
    expected.extend(accepted(&store, second).await);
    read(&store, &expected).await;
    let leases = store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    assert_eq!(leases.len(), expected.len());
    for lease in leases {
        let copy = expected.iter().find(|copy| copy.delivery == lease.delivery.id).expect("one of them");
        let leaves = lease.outgoing.map(|outgoing| (outgoing.media_type, outgoing.body.to_vec()));
        let is_pushed = lease.delivery.kind == RecipientKind::CoveringPractice;
        let written = is_pushed.then(|| (copy.media_type.clone(), copy.body.clone()));
        assert!(leaves == written, "what leaves is what was written");
        assert_eq!(lease.delivery.body_bytes, copy.body.len() as u64, "the size is that of what travels");
    }
    let record = store.subject_record(&patient(1)).await.expect("readable").remove(0);
    assert_eq!(record.renditions.len(), 3);
    for rendition in record.renditions {
        assert!(expected.contains(&rendition));
    }
    let opened = store.open_rendition(expected[0].delivery, at(1), None, vec![row(AuditWord::Read)]).await;
    assert!(opened.expect("committed").as_ref() == Some(&expected[0]));
    no_part_is_missed(&store).await;
}

async fn no_part_is_missed(store: &Shared) {
    let flaws = store.checkup().await.expect("readable").flaws;
    assert!(flaws.iter().all(|flaw| ![MISSED_PARTS, SPARE_PARTS].contains(&flaw.rule)), "{flaws:?}");
}

async fn open(store: &Shared, copies: &[DeliveryId]) {
    for copy in copies {
        store.open_rendition(*copy, at(1), None, Vec::new()).await.expect("readable").expect("there");
    }
}

pub(crate) async fn a_letter_stays_as_long_as_a_copy_of_it(store: Shared) {
    let (gone, stays, young) = (old(1), old(2), with_letter(3));
    let gone = accepted(&store, gone).await;
    let stays = accepted(&store, stays).await;
    let young = accepted(&store, young).await;
    let ids = |copies: &[StoredRendition]| copies.iter().map(|copy| copy.delivery).collect::<Vec<_>>();
    open(&store, &[ids(&gone), ids(&stays)].concat()).await;
    let order = LegalHoldOrder { id: Uuid::new_v4(), reason: "inquest".to_owned(), by: "Cy".to_owned(), at: at(2) };
    let hold = order.id;
    store.place_legal_hold(&patient(2), order, vec![row(AuditWord::Configure)]).await.expect("committed");
    let purged = store.purge_month(BodyClass::Renditions, MONTH, 0, Vec::new()).await.expect("committed");
    assert_eq!((purged.removed, purged.kept), (3, 3));
    for copy in &gone {
        assert!(store.rendition(copy.delivery).await.expect("readable").is_none());
    }
    read(&store, &[stays.clone(), young.clone()].concat()).await;
    no_part_is_missed(&store).await;
    // A copy of that month that is made later has its parts as well.
    let later = accepted(&store, old(4)).await;
    read(&store, &[stays, young.clone(), later.clone()].concat()).await;
    store.lift_legal_hold(hold, "Dot", at(3), Vec::new()).await.expect("committed");
    open(&store, &ids(&later)).await;
    let purged = store.purge_month(BodyClass::Renditions, MONTH, 0, Vec::new()).await.expect("committed");
    assert_eq!((purged.removed, purged.kept), (6, 0));
    read(&store, &young).await;
    no_part_is_missed(&store).await;
}

pub(crate) async fn a_long_month_goes_with_its_letters(store: Shared) {
    const MESSAGES: u32 = 30;
    /// Of them the first, with more copies than go in a part.
    const HELD: u32 = 25;
    for n in 1..=MESSAGES {
        let copies = accepted(&store, old(n)).await;
        open(&store, &copies.iter().map(|copy| copy.delivery).collect::<Vec<_>>()).await;
    }
    let young = accepted(&store, with_letter(MESSAGES + 1)).await;
    for n in 1..=HELD {
        let order = LegalHoldOrder { id: Uuid::new_v4(), reason: "inquest".to_owned(), by: "Cy".to_owned(), at: at(2) };
        store.place_legal_hold(&patient(n), order, vec![row(AuditWord::Configure)]).await.expect("committed");
    }
    let (stay, go) = (u64::from(HELD), u64::from(MESSAGES - HELD));
    for (class, copies) in [(BodyClass::Messages, 1), (BodyClass::Renditions, 3)] {
        let (mut removed, mut after) = (0, Some(0));
        while let Some(place) = after {
            let purged = store.purge_month(class, MONTH, place, Vec::new()).await.expect("committed");
            (removed, after) = (removed + purged.removed, purged.more);
            no_part_is_missed(&store).await;
            assert!(removed <= go * copies, "it comes to an end: {class}");
            if after.is_none() {
                assert_eq!((removed, purged.kept), (go * copies, stay * copies), "{class}");
            }
        }
    }
    read(&store, &young).await;
}

/// A part stays for the copies that have it, and for no other.
pub(crate) async fn each_letter_goes_with_the_last_copy_that_has_it(store: Shared) {
    let mut message = old(1);
    let own = |n| format!("{{\"data\":\"{}\"}}", letter_of(20_000, n)).into_bytes();
    // The home has its own letter; the practice that, and one of its own; the pharmacy the practice's.
    message.deliveries[0].html = None;
    message.deliveries[0].body = own(7);
    message.deliveries[1].html = Some(own(7));
    message.deliveries[1].body = own(8);
    message.deliveries[2].body = own(8);
    let copies = accepted(&store, message).await;
    read(&store, &copies).await;
    // The home's waits.
    open(&store, &[copies[1].delivery, copies[2].delivery]).await;
    let purged = store.purge_month(BodyClass::Renditions, MONTH, 0, Vec::new()).await.expect("committed");
    assert_eq!((purged.removed, purged.kept), (2, 1));
    read(&store, &copies[..1]).await;
    no_part_is_missed(&store).await;
}

pub(crate) async fn a_letter_is_erased_with_its_person(store: Shared) {
    let (gone, stays) = (accepted(&store, with_letter(1)).await, accepted(&store, with_letter(2)).await);
    let leases = store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    for lease in leases {
        let outcome = AttemptOutcome::Sent { state: DeliveryState::Received, reference: None };
        let (delivery, token) = (lease.delivery.id, lease.token);
        let end = AttemptEnd { delivery, token, outcome, at: at(1), audit: vec![row(AuditWord::Disclose)] };
        assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    }
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(1), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    super::erasing::confirm(&store, id, "Bea").await;
    for copy in &gone {
        let read = store.rendition(copy.delivery).await;
        assert!(!matches!(read, Ok(Some(_))), "an erased person's copy is read");
    }
    read(&store, &stays).await;
}

pub(crate) async fn a_released_copy_finds_its_letter_there(store: Shared) {
    let mut message = with_letter(1);
    let mut later = std::mem::take(&mut message.deliveries);
    let first = later.remove(0);
    let waits = hold();
    let (hold_id, transfer) = (waits.id, message.transfer.id);
    message.hold = Some(waits);
    let mut expected = accepted(&store, message).await;
    let release = |deliveries: Vec<NewDelivery>, seen| Release {
        hold: hold_id,
        seen,
        patient: None,
        care_home: None,
        replaces: None,
        deliveries,
        endings: Vec::new(),
        taken_back: Vec::new(),
        at: at(1),
        audit: vec![row(AuditWord::Release)],
    };
    later.insert(0, first);
    expected.extend(later.iter().map(|copy| StoredRendition {
        delivery: copy.id,
        media_type: copy.media_type.clone(),
        body: copy.body.clone(),
        html: copy.html.clone(),
    }));
    let seen = seen(&store, hold_id).await;
    assert_eq!(store.release_hold(release(later, seen)).await, Ok(true));
    read(&store, &expected).await;
    assert_eq!(store.transfer(transfer).await.expect("readable").expect("there").deliveries.len(), 3);
    no_part_is_missed(&store).await;
}

/// Fills the store with two people's letters; gives the transfers and one copy of each.
pub(crate) async fn two(store: &Shared) -> [(TransferId, DeliveryId); 2] {
    let messages = [with_letter(1), with_letter(2)];
    let ids = messages.each_ref().map(|message| (message.transfer.id, message.deliveries[0].id));
    for message in messages {
        read(store, &accepted(store, message).await).await;
    }
    ids
}
