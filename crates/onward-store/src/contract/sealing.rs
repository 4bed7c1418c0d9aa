//! What the tests of sealing share: messages that tell everything, and rings of keys.

use std::sync::Arc;

use onward_core::audit::{AuditRow, AuditWord};
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{
    Acceptance, Approval, ApprovalKind, AttemptEnd, AttemptOutcome, Claim, DeliveryRecord, Ending, LegalHoldOrder,
    Lifted, NewDelivery, Resend, StoreError, TakeBack,
};
use onward_core::{ApprovalId, DeliveryId, TransferId};
use uuid::Uuid;

use super::delivering::change;
use super::erasing::{WROTE, request};
use super::{Shared, accept_new, acceptance, at, delivery, log, ods, patient, row};
use crate::sealing::{KeyEncryption, KeyRing};

/// What must never stand in a file.
pub(crate) const CANARY: &str = "canary-of-a-person";

/// A message with something to be found in everything that could tell about a person.
pub(crate) fn telling(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.transfer.body = format!("<body>{CANARY}</body>").into_bytes();
    message.transfer.response = format!("response {CANARY}").into_bytes();
    message.transfer.reply.sender_reference = Some(CANARY.to_owned());
    let copy = delivery(RecipientKind::CareHome, "VM1AB");
    message.deliveries = vec![NewDelivery {
        body: CANARY.as_bytes().to_vec(),
        html: Some(format!("<p>{CANARY}</p>").into_bytes()),
        disclosure: format!("{{\"disclosed\":\"{CANARY}\"}}"),
        ..copy
    }];
    message.audit = vec![AuditRow {
        event: format!("{{\"about\":\"{CANARY}\"}}").into_bytes(),
        patient: message.transfer.patient.clone(),
        ..row(AuditWord::Accept)
    }];
    message
}

/// Where [`write_everything`] wrote.
pub(crate) struct Written {
    pub(crate) declined: TransferId,
    recalled: TransferId,
    replayed: TransferId,
    withdrawn: TransferId,
    approvals: [ApprovalId; 2],
}

async fn only_copy(store: &Shared, transfer: TransferId) -> DeliveryRecord {
    store.transfer(transfer).await.expect("readable").expect("there").deliveries.remove(0)
}

/// Has people give a reason about this person wherever they can, always the same.
pub(crate) async fn write_everything(store: &Shared, n: u32) -> Written {
    let (mut transfers, mut copies) = (Vec::new(), Vec::new());
    for part in 0..4 {
        let mut message = acceptance(n * 4 + part);
        message.transfer.patient = Some(patient(n));
        message.audit = vec![AuditRow { patient: message.transfer.patient.clone(), ..row(AuditWord::Accept) }];
        transfers.push(message.transfer.id);
        let copy = accept_new(store, message).await;
        // One after the other: they are in one lane.
        let lease = store.claim(Claim::due(at(0), at(60), 1)).await.expect("claimed").remove(0);
        assert_eq!(lease.delivery.id, copy);
        let state = if part == 2 { DeliveryState::Sent } else { DeliveryState::AwaitingCollection };
        end(store, copy, lease.token, state).await;
        copies.push(copy);
    }
    let [declined, recalled, replayed, withdrawn] = transfers.try_into().expect("four");
    let words = || WROTE.to_owned();
    let version = only_copy(store, declined).await.version;
    let mut refusal = change(copies[0], version, DeliveryState::Rejected);
    refusal.reason = Some(words());
    assert_eq!(store.transition(refusal).await, Ok(true));
    for (transfer, copy, whole, why) in [
        (recalled, copies[1], None, EndReason::Recalled),
        (withdrawn, copies[3], Some(EndReason::Withdrawn), EndReason::Withdrawn),
    ] {
        let endings =
            vec![Ending { delivery: copy, why, by: None, reason: words(), seen: false, notice: None, went: None }];
        let audit = vec![row(AuditWord::Withdraw)];
        let back = TakeBack { transfer, whole, joins: None, reason: words(), endings, hold: None, at: at(5), audit };
        assert_eq!(store.take_back(back).await, Ok(true));
    }
    assert_eq!(store.requeue(copies[2], Resend::Replay.into(), "Ada Wells", WROTE, at(6), Vec::new()).await, Ok(true));
    let lease = store.claim(Claim::due(at(6), at(60), 1)).await.expect("claimed").remove(0);
    end(store, copies[2], lease.token, DeliveryState::Sent).await;
    let approvals = [
        (ApprovalKind::Redirect, format!("{{\"transfer\":\"{declined}\",\"care_home\":\"VMH02\"}}")),
        (ApprovalKind::Export, format!("{{\"form\":\"sar\",\"about\":\"{declined}\"}}")),
    ]
    .map(|(kind, subject)| Approval {
        id: ApprovalId::random(),
        kind,
        subject,
        organisation: ods("R9Z"),
        asked_by: "ada".to_owned(),
        asked_name: "Ada Wells".to_owned(),
        reason: words(),
        asked: at(0),
        expires: at(600),
        verdict: None,
    });
    let ids = [approvals[0].id, approvals[1].id];
    for approval in approvals {
        store.ask_approval(approval, vec![row(AuditWord::Release)]).await.expect("committed");
    }
    Written { declined, recalled, replayed, withdrawn, approvals: ids }
}

async fn end(store: &Shared, delivery: DeliveryId, token: u64, state: DeliveryState) {
    let outcome = AttemptOutcome::Sent { state, reference: None };
    let end = AttemptEnd { delivery, token, outcome, at: at(1), audit: vec![row(AuditWord::Disclose)] };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
}

impl Written {
    /// What is read of it: every reason, in the order of the fields.
    pub(crate) async fn read(&self, store: &Shared) -> Vec<Option<String>> {
        let ended = async |id| store.transfer(id).await.expect("readable").expect("there").ended.map(|(_, why)| why);
        let mut found = vec![
            only_copy(store, self.declined).await.reason,
            only_copy(store, self.recalled).await.reason,
            only_copy(store, self.replayed).await.replay,
            only_copy(store, self.withdrawn).await.reason,
            ended(self.withdrawn).await,
        ];
        for id in self.approvals {
            found.push(store.approval(id).await.expect("readable").map(|approval| approval.reason));
        }
        found
    }
}

pub(crate) async fn reasons_are_read_until_the_person_is_erased(store: Shared) {
    let written = write_everything(&store, 1).await;
    assert_eq!(written.read(&store).await, vec![Some(WROTE.to_owned()); 7]);
    let order = LegalHoldOrder { id: Uuid::new_v4(), reason: "inquest".to_owned(), by: "Cy".to_owned(), at: at(7) };
    store.place_legal_hold(&patient(1), order.clone(), vec![row(AuditWord::Configure)]).await.expect("committed");
    assert_eq!(store.legal_holds().await.expect("readable")[0].order, order);
    assert_eq!(store.lift_legal_hold(order.id, "Dot", at(8), Vec::new()).await, Ok(Lifted::Yes));
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(1), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    assert_eq!(store.pending_erasures().await.expect("readable")[0].request, request(id));
    let entries = log(&store).await.len();
    super::erasing::confirm(&store, id, "Bea").await;
    assert_eq!(log(&store).await.len(), entries + 1);
    assert_eq!(written.read(&store).await, vec![Some("erased".to_owned()); 7]);
    // What is said of them afterwards is not kept.
    let copy = only_copy(&store, written.declined).await;
    let mut late = change(copy.id, copy.version, DeliveryState::Completed);
    late.reason = Some(WROTE.to_owned());
    assert_eq!(store.transition(late).await, Ok(true));
    assert_eq!(only_copy(&store, written.declined).await.reason, None);
}

pub(crate) async fn what_a_copy_withholds_is_read_until_the_person_is_erased(store: Shared) {
    let message = telling(1);
    let kept = message.deliveries[0].disclosure.clone();
    let copy = accept_new(&store, message).await;
    assert_eq!(store.disclosure(copy).await, Ok(Some(kept.clone())));
    assert_eq!(store.disclosure(DeliveryId::random()).await, Ok(None));
    let lease = store.claim(Claim::due(at(0), at(60), 1)).await.expect("claimed").remove(0);
    end(&store, copy, lease.token, DeliveryState::Completed).await;
    assert_eq!(store.disclosure(copy).await, Ok(Some(kept)), "whatever became of it");
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(1), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    super::erasing::confirm(&store, id, "Bea").await;
    assert_eq!(store.disclosure(copy).await, Err(StoreError::Erased));
}

/// The ring of this text.
pub(crate) fn ring(text: &str) -> Arc<dyn KeyEncryption> {
    Arc::new(KeyRing::from_text(text).expect("a ring"))
}

/// The text of a ring without its key `old`.
pub(crate) fn without_old(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("old = ")).map(|line| format!("{line}\n")).collect()
}
