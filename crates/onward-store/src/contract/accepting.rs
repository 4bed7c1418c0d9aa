//! Accepting messages, and holds.

use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, HoldReason, RecipientKind};
use onward_core::store::{Accepted, Closure, DeliveryQuery, HoldChange, NewDelivery, NewHold, Release, StoreError};
use onward_core::{DeliveryId, HoldId, TransferId};

use super::{Shared, accept_new, acceptance, at, at_once, delivery, hold, log, ods, patient, row, seen};

pub(crate) async fn what_is_accepted_reads_back(store: Shared) {
    let mut message = acceptance(1);
    message.deliveries.push(delivery(RecipientKind::CoveringPractice, "A82608"));
    let sent = message.clone();
    accept_new(&store, message).await;

    let transfer = store.transfer(sent.transfer.id).await.expect("readable").expect("there");
    assert_eq!((&transfer.sender, &transfer.client_id), (&sent.transfer.sender, &sent.transfer.client_id));
    assert_eq!((&transfer.message_id, &transfer.event), (&sent.transfer.message_id, &sent.transfer.event));
    assert_eq!((transfer.received, transfer.expected), (at(0), Some(at(7200))));
    assert_eq!((&transfer.patient, &transfer.care_home), (&sent.transfer.patient, &sent.transfer.care_home));
    assert_eq!((&transfer.reply, transfer.changed), (&sent.transfer.reply, at(0)));
    assert!(transfer.hold.is_none());
    assert_eq!(transfer.deliveries.len(), 2);

    let copy = store.delivery(sent.deliveries[0].id).await.expect("readable").expect("there");
    assert_eq!((copy.state, copy.version, copy.attempts), (DeliveryState::Queued, 1, 0));
    assert_eq!((copy.next_attempt, copy.created, copy.opened), (Some(at(0)), at(0), None));
    assert_eq!((copy.body_bytes, copy.acknowledgement_awaited), (12, true));
    assert_eq!((copy.transfer, &copy.sender), (sent.transfer.id, &sent.transfer.sender));
    assert_eq!((&copy.endpoint, &copy.patient), (&sent.deliveries[0].endpoint, &sent.transfer.patient));

    let original = store.original(sent.transfer.id).await.expect("readable").expect("there");
    assert_eq!((original.media_type, original.body), (sent.transfer.media_type, sent.transfer.body));
    assert_eq!(log(&store).await[0].event(), Some(sent.audit[0].event.as_slice()));

    assert!(store.transfer(TransferId::random()).await.expect("readable").is_none());
    assert!(store.original(TransferId::random()).await.expect("readable").is_none());
    assert!(store.delivery(DeliveryId::random()).await.expect("readable").is_none());
}

pub(crate) async fn a_repeat_gets_the_first_answer(store: Shared) {
    let first = acceptance(1);
    accept_new(&store, first.clone()).await;
    let mut again = acceptance(1);
    again.transfer.response = b"another answer".to_vec();
    let repeat_row = again.audit_if_repeat.event.clone();
    let unseen = again.transfer.id;
    let expected = Accepted::Repeat { transfer: first.transfer.id, response: first.transfer.response };
    assert_eq!(store.accept(again).await, Ok(expected));
    assert!(store.transfer(unseen).await.expect("readable").is_none());
    let entries = log(&store).await;
    assert_eq!(entries.len(), 2, "the rows of the acceptance itself are not committed for a repeat");
    assert_eq!(entries[1].event(), Some(repeat_row.as_slice()));
}

pub(crate) async fn an_identifier_is_not_used_for_other_bytes(store: Shared) {
    accept_new(&store, acceptance(1)).await;
    let mut other = acceptance(1);
    other.transfer.body_sha256 = [99; 32];
    other.transfer.document_id = Some("another document".to_owned());
    let conflict_row = other.audit_if_conflict.event.clone();
    assert_eq!(store.accept(other).await, Ok(Accepted::MessageIdReused));
    assert_eq!(log(&store).await[1].event(), Some(conflict_row.as_slice()));
    let mut same_header = acceptance(2);
    same_header.transfer.reply.header_id = "header-1".to_owned();
    assert_eq!(store.accept(same_header).await, Ok(Accepted::MessageIdReused), "responses could not be told apart");
    let mut elsewhere = acceptance(1);
    elsewhere.transfer.sender = ods("RYJ");
    assert_eq!(store.accept(elsewhere).await, Ok(Accepted::New), "identifiers belong to their sender");
    assert_eq!(log(&store).await.len(), 4);
    for n in [5, 6] {
        let mut without = acceptance(n);
        without.transfer.reply.header_id = String::new();
        assert_eq!(store.accept(without).await, Ok(Accepted::New), "no identifier repeats nothing");
    }
}

pub(crate) async fn a_document_is_accepted_once_for_each_sender(store: Shared) {
    let first = acceptance(1);
    accept_new(&store, first.clone()).await;
    let mut wrapped_anew = acceptance(2);
    wrapped_anew.transfer.document_id.clone_from(&first.transfer.document_id);
    let conflict_row = wrapped_anew.audit_if_conflict.event.clone();
    assert_eq!(store.accept(wrapped_anew).await, Ok(Accepted::DocumentRepeated { transfer: first.transfer.id }));
    assert_eq!(log(&store).await[1].event(), Some(conflict_row.as_slice()));
    for n in [3, 4] {
        let mut without = acceptance(n);
        without.transfer.document_id = None;
        assert_eq!(store.accept(without).await, Ok(Accepted::New), "no identifier repeats nothing");
    }
}

pub(crate) async fn identical_messages_at_once_make_one_transfer(store: Shared) {
    let outcomes = at_once(&store, 50, |store, _| async move { store.accept(acceptance(1)).await }).await;
    let new = outcomes.iter().filter(|outcome| **outcome == Ok(Accepted::New)).count();
    assert_eq!(new, 1);
    let repeats = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Accepted::Repeat { .. }))).count();
    assert_eq!(repeats, 49);
    let all = DeliveryQuery { limit: 100, ..DeliveryQuery::default() };
    assert_eq!(store.deliveries(all).await.expect("readable").len(), 1);
    assert_eq!(log(&store).await.len(), 50);
}

pub(crate) async fn messages_at_once_keep_the_log_dense(store: Shared) {
    let outcomes = at_once(&store, 200, |store, n| async move {
        let mut message = acceptance(n);
        // Every tenth must fail, and may take no place in the log.
        if n % 10 == 0 {
            message.deliveries.push(message.deliveries[0].clone());
        }
        message.audit.push(row(AuditWord::Disclose));
        store.accept(message).await.is_ok()
    })
    .await;
    assert_eq!(outcomes.iter().filter(|accepted| **accepted).count(), 180);
    assert_eq!(log(&store).await.len(), 360);
}

pub(crate) async fn what_fails_leaves_nothing(store: Shared) {
    let mut message = acceptance(1);
    let twice = message.deliveries[0].clone();
    message.deliveries.push(twice);
    let retried = message.clone();
    assert!(matches!(store.accept(message).await, Err(StoreError::Unavailable(_))));
    assert!(store.transfer(retried.transfer.id).await.expect("readable").is_none());
    assert!(store.original(retried.transfer.id).await.expect("readable").is_none());
    assert!(store.delivery(retried.deliveries[0].id).await.expect("readable").is_none());
    assert!(log(&store).await.is_empty());
    let mut corrected = retried;
    corrected.deliveries.pop();
    assert_eq!(store.accept(corrected).await, Ok(Accepted::New));
}

pub(crate) async fn a_hold_is_released_once(store: Shared) {
    let mut message = acceptance(1);
    message.deliveries.clear();
    message.hold = Some(hold());
    let mut urgent = acceptance(2);
    urgent.deliveries.clear();
    urgent.hold = Some(onward_core::store::NewHold { due: at(60), ..hold() });
    let (transfer, held) = (message.transfer.id, message.hold.clone().expect("set"));
    let urgent_hold = urgent.hold.clone().expect("set");
    for message in [message, urgent] {
        assert_eq!(store.accept(message).await, Ok(Accepted::New));
    }

    let holds = store.holds().await.expect("readable");
    assert_eq!(holds.iter().map(|h| h.hold.clone()).collect::<Vec<_>>(), [urgent_hold, held.clone()]);
    assert_eq!((holds[1].transfer, holds[1].received), (transfer, at(0)));
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!(read.hold, Some(held.clone()));

    let released = delivery(RecipientKind::CareHome, "VM1AB");
    let id = released.id;
    assert_eq!(store.closed_hold(held.id).await, Ok(None), "it is open");
    assert_eq!(store.release_hold(release(&store, held.id, vec![released], 30).await).await, Ok(true));
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!((read.hold, read.changed), (None, at(30)));
    let copy = &read.deliveries[0];
    assert_eq!((copy.id, copy.created, copy.patient.clone()), (id, at(30), read.patient));

    let again = vec![delivery(RecipientKind::CareHome, "VM1AB")];
    assert_eq!(store.release_hold(release(&store, held.id, again, 40).await).await, Ok(false));
    assert_eq!(store.closed_hold(held.id).await, Ok(Some(transfer)));
    let unknown = onward_core::HoldId::random();
    assert_eq!(store.release_hold(release(&store, unknown, Vec::new(), 40).await).await, Ok(false));
    assert_eq!(store.closed_hold(unknown).await, Ok(None));
    assert_eq!(store.holds().await.expect("readable").len(), 1);
    assert_eq!(log(&store).await.len(), 3);
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!(read.deliveries.len(), 1);
}

pub(crate) async fn everything_about_a_person_is_read_without_opening_it(store: Shared) {
    let mut first = acceptance(1);
    first.deliveries.push(delivery(RecipientKind::Sender, "RXH"));
    let mut second = acceptance(2);
    second.transfer.patient.clone_from(&first.transfer.patient);
    second.transfer.received = at(9);
    let person = first.transfer.patient.clone().expect("a patient");
    accept_new(&store, second.clone()).await;
    let copy = accept_new(&store, first.clone()).await;
    accept_new(&store, acceptance(3)).await;
    let found = store.subject_record(&person).await.expect("readable");
    let ids: Vec<_> = found.iter().map(|each| each.transfer.id).collect();
    assert_eq!(ids, [first.transfer.id, second.transfer.id], "the oldest first, and nobody else's");
    assert_eq!(found[0].original.as_ref().expect("kept").body, first.transfer.body);
    assert_eq!(found[0].renditions.len(), 1, "a response to the sender is not about a person");
    assert_eq!(found[0].renditions[0].body, first.deliveries[0].body);
    let untouched = store.delivery(copy).await.expect("readable").expect("there");
    assert_eq!((untouched.state, untouched.opened, untouched.version), (DeliveryState::Queued, None, 1));
}

async fn release(store: &Shared, hold: HoldId, deliveries: Vec<NewDelivery>, now: i64) -> Release {
    let audit = vec![row(AuditWord::Release)];
    Release {
        hold,
        seen: seen(store, hold).await,
        patient: None,
        care_home: None,
        deliveries,
        endings: Vec::new(),
        taken_back: Vec::new(),
        replaces: None,
        at: at(now),
        audit,
    }
}

/// A held transfer without a known person.
async fn held(store: &Shared) -> (TransferId, NewHold) {
    let mut message = acceptance(1);
    message.deliveries.clear();
    message.transfer.patient = None;
    message.transfer.care_home = None;
    message.hold = Some(hold());
    let ids = (message.transfer.id, message.hold.clone().expect("set"));
    assert_eq!(store.accept(message).await, Ok(Accepted::New));
    ids
}

pub(crate) async fn a_hold_changes_with_its_reason(store: Shared) {
    let (transfer, first) = held(&store).await;
    assert_eq!(store.holds().await.expect("readable")[0].decided, "{}");
    let alone = store.open_hold(first.id).await.expect("readable").expect("open");
    assert_eq!((alone.hold, alone.transfer, alone.decided.as_str()), (first.clone(), transfer, "{}"));
    assert!(store.open_hold(HoldId::random()).await.expect("readable").is_none());
    let next = NewHold {
        reason: HoldReason::Replacement,
        detail: "it replaces another".to_owned(),
        owner: "ward".to_owned(),
        due: at(9000),
        ..first.clone()
    };
    let is_seen = alone.seen;
    let change = |id| HoldChange {
        hold: NewHold { id, ..next.clone() },
        seen: is_seen.clone(),
        joins: None,
        decided: "{\"care_home\":\"VM1AB\"}".to_owned(),
        at: at(50),
        audit: vec![row(AuditWord::Hold)],
    };
    assert_eq!(store.change_hold(change(first.id)).await, Ok(true));
    let holds = store.holds().await.expect("readable");
    assert_eq!((holds.len(), &holds[0].hold, holds[0].decided.as_str()), (1, &next, "{\"care_home\":\"VM1AB\"}"));
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!((read.hold, read.changed), (Some(next.clone()), at(50)));
    assert_eq!(store.change_hold(change(HoldId::random())).await, Ok(false));
    let released = Release {
        patient: Some(patient(7)),
        care_home: Some(ods("VM1AB")),
        ..release(&store, first.id, vec![delivery(RecipientKind::CareHome, "VM1AB")], 60).await
    };
    assert_eq!(store.release_hold(released).await, Ok(true));
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!((read.patient, read.care_home), (Some(patient(7)), Some(ods("VM1AB"))), "what is known by now");
    assert_eq!(read.deliveries[0].patient, Some(patient(7)));
    assert_eq!(store.change_hold(change(first.id)).await, Ok(false), "it is closed");
    assert_eq!(log(&store).await.len(), 3);
}

pub(crate) async fn a_closed_transfer_is_not_sent(store: Shared) {
    let (transfer, hold) = held(&store).await;
    let response = delivery(RecipientKind::Sender, "RXH");
    let closure = Closure {
        hold: hold.id,
        seen: seen(&store, hold.id).await,
        reason: "the person has died".to_owned(),
        responses: vec![response.clone()],
        voids: None,
        at: at(70),
        audit: vec![row(AuditWord::Release)],
    };
    assert_eq!(store.close_hold(closure.clone()).await, Ok(true));
    assert_eq!(store.close_hold(closure).await, Ok(false));
    assert_eq!(store.closed_hold(hold.id).await, Ok(Some(transfer)));
    assert!(store.open_hold(hold.id).await.expect("readable").is_none());
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!((read.hold.as_ref(), read.task_status(), read.changed), (None, "failed", at(70)));
    assert_eq!(read.not_sent.as_deref(), Some("the person has died"));
    assert_eq!(read.deliveries.iter().map(|copy| copy.id).collect::<Vec<_>>(), [response.id]);
    let failed = onward_core::store::TaskQuery {
        transfers: true,
        statuses: vec!["failed".to_owned()],
        limit: 9,
        ..Default::default()
    };
    assert_eq!(store.tasks(failed).await.expect("readable").len(), 1, "it is found by that status");
    assert!(store.holds().await.expect("readable").is_empty());
    assert_eq!(log(&store).await.len(), 2);
}
