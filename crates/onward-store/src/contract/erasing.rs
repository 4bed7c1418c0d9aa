//! Erasure and legal holds.

use std::sync::Arc;

use onward_core::audit::{AuditQuery, AuditRow, AuditWord};
use onward_core::state::DeliveryState;
use onward_core::store::{
    Accepted, AuditContent, AuditHeader, ErasureConfirmation, ErasureGround, ErasureOutcome, ErasureRequest, KeyUsage,
    LegalHoldOrder, Lifted, StoreError,
};
use onward_core::{NhsNumber, TransferId};
use onward_ledger::{inclusion_proof, leaf_hash, root_of, verify_inclusion};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::delivering::change;
use super::sealing::telling;
use super::{Shared, accept_new, acceptance, at, at_once, hold, log, ods, patient, row, seen};

/// What a home may write when it declines.
pub(crate) const WROTE: &str = "Ms Canary went back to her daughter";

pub(crate) fn request(id: Uuid) -> ErasureRequest {
    ErasureRequest {
        id,
        ground: ErasureGround::WrongPerson,
        reason: "case 17".to_owned(),
        by: "Ada".to_owned(),
        at: at(10),
    }
}

/// Accepts a message about this person, audited as such, whose copy is sent; gives the transfer.
pub(crate) async fn settled(store: &Shared, n: u32) -> TransferId {
    let mut message = acceptance(n);
    message.audit = vec![AuditRow { patient: message.transfer.patient.clone(), ..row(AuditWord::Accept) }];
    let transfer = message.transfer.id;
    let copy = accept_new(store, message).await;
    assert!(store.open_rendition(copy, at(1), None, Vec::new()).await.expect("readable").is_some());
    transfer
}

pub(crate) async fn confirm(store: &Shared, id: Uuid, by: &str) -> ErasureOutcome {
    let pending = store.pending_erasures().await.expect("readable");
    let keys = pending.into_iter().find(|pending| pending.request.id == id).map(|pending| pending.keys);
    let confirmation = ErasureConfirmation {
        id,
        by: by.to_owned(),
        keys: keys.unwrap_or_default(),
        only_from: None,
        at: at(20),
        audit: vec![row(AuditWord::Erase)],
    };
    store.confirm_erasure(confirmation).await.expect("committed")
}

/// Accepts messages about this many people, with something to be found in each; gives the transfers.
pub(crate) async fn fill(store: &Shared, people: u32) -> Vec<(u32, TransferId)> {
    let mut tasks = JoinSet::new();
    for n in 0..people {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut message = telling(n);
            message.deliveries.clear();
            let transfer = message.transfer.id;
            assert_eq!(store.accept(message).await, Ok(Accepted::New));
            (n, transfer)
        });
    }
    tasks.join_all().await
}

/// Erases every `step`-th person, and checks that they are gone, that every leaf and proof stays, and that everybody else can be read.
pub(crate) async fn erase_every(
    store: &Shared,
    transfers: &[(u32, TransferId)],
    step: usize,
    remains: Option<&'static str>,
) {
    let before = log(store).await;
    for n in (0..transfers.len()).step_by(step) {
        let (id, person) = (Uuid::new_v4(), patient(u32::try_from(n).expect("few")));
        assert_eq!(store.request_erasure(&person, request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
        let outcome = confirm(store, id, "Bea").await;
        assert_eq!(outcome, ErasureOutcome::Erased { transfers: 1, entries: 1, remains }, "{n}");
    }
    let after = log(store).await;
    let leaves: Vec<_> = after.iter().map(|entry| entry.leaf).collect();
    let root = root_of(&leaves);
    let gone = after.iter().filter(|entry| entry.content == AuditContent::Erased).count();
    assert_eq!(gone, transfers.len().div_ceil(step));
    for (at, entry) in after.iter().enumerate() {
        let leaf = leaf_hash(entry.entry.as_deref().expect("a header"));
        if entry.content == AuditContent::Erased || at % 97 == 0 {
            let (index, size) = (at as u64, leaves.len() as u64);
            let path = inclusion_proof(&leaves, index, size).expect("in the log");
            assert_eq!(verify_inclusion(&leaf, index, size, &path, &root), Ok(()), "entry {at}");
        }
        assert_eq!(leaf, entry.leaf);
    }
    assert!(before.iter().zip(&after).all(|(old, new)| old.leaf == new.leaf));
    for &(n, transfer) in transfers {
        let original = store.original(transfer).await;
        match n as usize % step {
            0 => assert_eq!(original.map(drop), Err(StoreError::Erased), "{n}"),
            _ => assert!(original.expect("readable").is_some(), "{n}"),
        }
    }
}

async fn ask(store: &Shared, person: &NhsNumber) -> Uuid {
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(person, request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    id
}

fn about(person: &NhsNumber) -> AuditQuery {
    AuditQuery { patient: Some(person.clone()), limit: 10, ..AuditQuery::default() }
}

pub(crate) async fn an_erased_person_is_gone_and_others_stay(store: Shared) {
    let (gone, kept) = (settled(&store, 1).await, settled(&store, 2).await);
    for transfer in [gone, kept] {
        let copy = &store.transfer(transfer).await.expect("readable").expect("there").deliveries[0];
        let mut refusal = change(copy.id, copy.version, DeliveryState::Rejected);
        refusal.reason = Some(WROTE.to_owned());
        assert_eq!(store.transition(refusal).await, Ok(true));
    }
    let before = log(&store).await;
    let id = ask(&store, &patient(1)).await;
    let outcome = confirm(&store, id, "Bea").await;
    assert!(matches!(outcome, ErasureOutcome::Erased { transfers: 1, entries: 1, .. }), "{outcome:?}");
    assert_eq!(confirm(&store, id, "Bea").await, ErasureOutcome::NoSuchRequest, "once");

    assert_eq!(store.original(gone).await.map(drop), Err(StoreError::Erased));
    let record = store.transfer(gone).await.expect("readable").expect("a stub stays");
    assert!(record.erased && record.patient.is_none() && record.reply.header_id.is_empty());
    let copy = &record.deliveries[0];
    assert!(copy.erased && copy.patient.is_none());
    assert_eq!(copy.reason.as_deref(), Some("erased"), "what people wrote goes, too");
    let other = store.transfer(kept).await.expect("readable").expect("there");
    assert_eq!(other.deliveries[0].reason.as_deref(), Some(WROTE));
    assert_eq!(store.open_rendition(copy.id, at(30), None, Vec::new()).await.map(drop), Err(StoreError::Erased));
    assert!(store.subject_record(&patient(1)).await.expect("readable").is_empty());
    let found = store.search_audit(about(&patient(1))).await.expect("readable");
    assert!(found.iter().all(|entry| entry.event.is_none() && entry.patient.is_none()), "{found:?}");

    let after = log(&store).await;
    assert_eq!(after[0].content, AuditContent::Erased);
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((&old.entry, old.leaf), (&new.entry, new.leaf), "what the log hashes stays");
    }
    assert!(store.original(kept).await.expect("readable").is_some());
    assert_eq!(store.search_audit(about(&patient(2))).await.expect("readable")[0].patient, Some(patient(2)));

    // The same bytes again find nothing; another message about the same person is taken in under a new key.
    let again = settled(&store, 1 + 1000).await;
    let mut late = acceptance(3);
    late.transfer.patient = Some(patient(1));
    let late_transfer = late.transfer.id;
    accept_new(&store, late).await;
    assert!(store.original(again).await.expect("readable").is_some());
    assert_eq!(store.transfer(late_transfer).await.expect("readable").expect("there").patient, Some(patient(1)));
    assert!(store.transfer(gone).await.expect("readable").expect("there").patient.is_none(), "what is gone stays gone");
    let repeat = store.accept(acceptance(1)).await.expect("committed");
    assert!(matches!(repeat, Accepted::Erased { transfer } if transfer == gone), "{repeat:?}");
}

pub(crate) async fn an_erasure_needs_two_people_and_yields_to_a_legal_hold(store: Shared) {
    let person = patient(1);
    let nothing = store.request_erasure(&person, request(Uuid::new_v4()), vec![row(AuditWord::Erase)]).await;
    assert_eq!(nothing, Ok(false), "there is nothing about them");
    let transfer = settled(&store, 1).await;
    let id = ask(&store, &person).await;
    assert_eq!(confirm(&store, id, " ada ").await, ErasureOutcome::SamePerson);
    let order = LegalHoldOrder { id: Uuid::new_v4(), reason: "inquest".to_owned(), by: "Cy".to_owned(), at: at(11) };
    store.place_legal_hold(&person, order.clone(), vec![row(AuditWord::Configure)]).await.expect("committed");
    assert_eq!(confirm(&store, id, "Bea").await, ErasureOutcome::OnLegalHold);
    let holds = store.legal_holds().await.expect("readable");
    assert_eq!((&holds[0].order, holds[0].lifted), (&order, None));
    assert!(!holds[0].pseudonym.contains(person.expose()));
    let before = log(&store).await.len();
    let lift = async |by: &str| store.lift_legal_hold(order.id, by, at(12), vec![row(AuditWord::Configure)]).await;
    assert_eq!(lift(" cy ").await, Ok(Lifted::SamePerson));
    assert_eq!((log(&store).await.len(), store.legal_holds().await.expect("readable")[0].lifted), (before, None));
    assert_eq!(lift("Dot").await, Ok(Lifted::Yes));
    assert_eq!(lift("Dot").await, Ok(Lifted::NoSuchHold), "once");
    assert_eq!(log(&store).await.len(), before + 1);
    let by = |name, account| onward_core::store::by_account(name, account);
    let order = LegalHoldOrder { id: Uuid::new_v4(), by: by("Cy", "7"), ..order.clone() };
    store.place_legal_hold(&person, order.clone(), vec![row(AuditWord::Configure)]).await.expect("committed");
    let lift = async |by: &str| store.lift_legal_hold(order.id, by, at(12), vec![row(AuditWord::Configure)]).await;
    assert_eq!(lift(&by("Cy Young", "7")).await, Ok(Lifted::SamePerson), "one account is one person");
    assert_eq!(lift("cy").await, Ok(Lifted::SamePerson), "a name without an account may be that account's");
    assert_eq!(lift(&by("Cy", "8")).await, Ok(Lifted::Yes));

    let mut queued = acceptance(7);
    queued.transfer.patient = Some(person.clone());
    let mut held = acceptance(8);
    held.transfer.patient = Some(person.clone());
    held.deliveries.clear();
    held.hold = Some(hold());
    accept_new(&store, queued).await;
    store.accept(held).await.expect("committed");
    assert_eq!(confirm(&store, id, "Bea").await, ErasureOutcome::UnderWay { queued: 1, holds: 1 });
    let stale = ErasureConfirmation {
        id,
        by: "Bea".to_owned(),
        keys: Vec::new(),
        only_from: None,
        at: at(20),
        audit: Vec::new(),
    };
    assert!(matches!(store.confirm_erasure(stale.clone()).await, Ok(ErasureOutcome::UnderWay { .. })));
    let of_another = ErasureConfirmation { only_from: Some(ods("ZZZ99")), ..stale.clone() };
    assert_eq!(store.confirm_erasure(of_another).await, Ok(ErasureOutcome::OthersToo));
    assert!(store.original(transfer).await.expect("readable").is_some(), "nothing was erased");
    assert_eq!(store.pending_erasures().await.expect("readable").len(), 1);

    let lapses = request(id).lapses();
    let late = ErasureConfirmation { only_from: None, at: lapses, ..stale.clone() };
    assert_eq!(store.confirm_erasure(late).await, Ok(ErasureOutcome::Lapsed));
    let before = log(&store).await.len();
    let lapse = async |id, at| store.lapse_erasure(id, at, vec![row(AuditWord::Erase)]).await;
    let soon = lapses.checked_sub(jiff::SignedDuration::from_micros(1)).expect("a moment");
    assert_eq!(lapse(id, soon).await, Ok(false), "it can be confirmed");
    assert_eq!(lapse(Uuid::new_v4(), lapses).await, Ok(false), "no such request");
    let told = at_once(&store, 8, |store, _| async move {
        store.lapse_erasure(id, request(id).lapses(), vec![row(AuditWord::Erase)]).await.expect("committed")
    });
    assert_eq!(told.await.into_iter().filter(|told| *told).count(), 1, "by one node, once");
    assert_eq!(log(&store).await.len(), before + 1);
    assert_eq!(store.pending_erasures().await.expect("readable")[0].lapsed, Some(lapses));
    let before = log(&store).await.len();
    assert_eq!(store.refuse_erasure(Uuid::new_v4(), vec![row(AuditWord::Erase)]).await, Ok(false), "no such request");
    assert_eq!(log(&store).await.len(), before, "and nothing is written");
    assert_eq!(store.refuse_erasure(id, vec![row(AuditWord::Erase)]).await, Ok(true));
    assert_eq!(store.refuse_erasure(id, vec![row(AuditWord::Erase)]).await, Ok(false), "once");
    assert_eq!(log(&store).await.len(), before + 1);
    assert!(store.pending_erasures().await.expect("readable").is_empty());
    let after = ErasureConfirmation { only_from: None, ..stale };
    assert_eq!(store.confirm_erasure(after).await, Ok(ErasureOutcome::NoSuchRequest), "what was refused is not done");
}

pub(crate) async fn what_came_before_the_person_was_known_is_erased_with_them(store: Shared) {
    let mut nameless = acceptance(1);
    nameless.transfer.patient = None;
    nameless.deliveries.clear();
    nameless.hold = Some(hold());
    let (transfer, hold) = (nameless.transfer.id, nameless.hold.as_ref().expect("held").id);
    store.accept(nameless).await.expect("committed");
    let release = onward_core::store::Release {
        hold,
        seen: seen(&store, hold).await,
        patient: Some(patient(5)),
        care_home: None,
        deliveries: Vec::new(),
        replaces: None,
        endings: Vec::new(),
        taken_back: Vec::new(),
        at: at(5),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.release_hold(release).await, Ok(true));
    let id = ask(&store, &patient(5)).await;
    let outcome = confirm(&store, id, "Bea").await;
    assert!(matches!(outcome, ErasureOutcome::Erased { transfers: 1, .. }), "{outcome:?}");
    assert_eq!(store.original(transfer).await.map(drop), Err(StoreError::Erased));
}

pub(crate) async fn keys_are_counted_and_need_no_wrapping_anew(store: Shared) {
    accept_new(&store, acceptance(1)).await;
    let mut nameless = acceptance(2);
    nameless.transfer.patient = None;
    accept_new(&store, nameless).await;
    accept_new(&store, acceptance(1 + 1000)).await;
    // The index's, the gateway's, two people's and a transfer's.
    let usage = KeyUsage { id: "first".to_owned(), current: true, data_keys: 5 };
    assert_eq!(store.key_usage().await, Ok(vec![usage]));
    let before = log(&store).await.len();
    assert_eq!(store.rewrap_keys(10, vec![row(AuditWord::Configure)]).await, Ok(0));
    assert_eq!(log(&store).await.len(), before + 1, "the end is audited");
}

pub(crate) async fn entries_have_a_header(store: Shared) {
    let told = row(AuditWord::Query);
    store.audit(vec![told.clone()]).await.expect("committed");
    let entries = log(&store).await;
    let header: AuditHeader = serde_json::from_slice(entries[0].entry.as_deref().expect("kept")).expect("a header");
    assert_eq!((header.id, header.word.as_str(), header.success), (told.id, "query", true));
}
