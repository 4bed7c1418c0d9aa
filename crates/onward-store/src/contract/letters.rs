//! A letter that several recipients get: it is kept once, and each reads the whole of it.

use onward_core::audit::AuditWord;
use onward_core::state::RecipientKind;
use onward_core::store::retention::BodyClass;
use onward_core::store::{Acceptance, Accepted, Claim, LegalHoldOrder, NewDelivery, StoredRendition};
use onward_core::{DeliveryId, TransferId};
use uuid::Uuid;

use super::lifecycle::PARTS;
use super::{Shared, acceptance, at, delivery, patient, row};

const MONTH: i64 = 202_003;

/// A letter in base64, always the same one.
pub(crate) fn letter() -> String {
    (0..60_000_usize).map(|n| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef+/0123456789"[n * n % 43])).collect()
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
    let (first, second) = (with_letter(1), with_letter(2));
    let mut expected = accepted(&store, first).await;
    expected.extend(accepted(&store, second).await);
    read(&store, &expected).await;
    let leases = store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    assert_eq!(leases.len(), expected.len());
    for lease in leases {
        let copy = expected.iter().find(|copy| copy.delivery == lease.delivery.id).expect("one of them");
        assert!(lease.rendition == *copy, "a leased copy is not as it was written");
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
    assert!(flaws.iter().all(|flaw| flaw.rule != PARTS), "{flaws:?}");
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
    let purged = store.purge_month(BodyClass::Renditions, MONTH, Vec::new()).await.expect("committed");
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
    let purged = store.purge_month(BodyClass::Renditions, MONTH, Vec::new()).await.expect("committed");
    assert_eq!((purged.removed, purged.kept), (6, 0));
    read(&store, &young).await;
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
