//! Everything that is kept about one person.

use jiff::SignedDuration;
use onward_core::ApprovalId;
use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, HoldReason};
use onward_core::store::alerts::{AlertKind, Channel, Concern, Contacted, NewAlert, NewNotification};
use onward_core::store::{Accepted, Approval, ApprovalKind, CheckOutcome, HoldChange, NewHold, Step, StepKind};
use uuid::Uuid;

use super::delivering::change;
use super::{Shared, accept_new, acceptance, at, hold, ods, patient, row, seen};

pub(crate) async fn what_people_wrote_and_decided_is_part_of_the_record(store: Shared) {
    let first = acceptance(1);
    let transfer = first.transfer.id;
    let copy = accept_new(&store, first).await;
    let other = acceptance(2);
    let foreign = other.transfer.id;
    accept_new(&store, other).await;
    let mut held = acceptance(3);
    held.transfer.patient = Some(patient(1));
    held.transfer.received = at(9);
    held.deliveries.clear();
    let (waits, opened) = (hold(), held.transfer.id);
    held.hold = Some(waits.clone());
    assert_eq!(store.accept(held).await, Ok(Accepted::New));
    let later = NewHold { reason: HoldReason::CareHomeUnknown, detail: "which home?".to_owned(), ..waits };
    let audit = vec![row(AuditWord::Release)];
    let is_seen = seen(&store, later.id).await;
    let changed = HoldChange {
        hold: later.clone(),
        seen: is_seen,
        joins: None,
        decided: "{\"note\":1}".to_owned(),
        at: at(10),
        audit,
    };
    assert_eq!(store.change_hold(changed).await, Ok(true));

    let step = Step {
        delivery: copy,
        kind: StepKind::Checked,
        at: at(2),
        user: "nurse".to_owned(),
        name: "The nurse".to_owned(),
        item: Some("medicines".to_owned()),
        outcome: Some(CheckOutcome::Problem),
        text: Some("no insulin came".to_owned()),
    };
    let audit = vec![row(AuditWord::Acknowledge)];
    assert_eq!(store.take_step(step.clone(), None, Vec::new(), audit).await, Ok(true));
    let mut refusal = change(copy, 1, DeliveryState::Rejected);
    refusal.reason = Some("not our resident".to_owned());
    assert_eq!(store.transition(refusal).await, Ok(true));
    for (about, reason) in [(transfer, "the other home"), (foreign, "somebody else")] {
        let approval = Approval {
            id: ApprovalId::random(),
            kind: ApprovalKind::Redirect,
            subject: format!("{{\"transfer\":\"{about}\",\"care_home\":\"VM2AB\"}}"),
            organisation: ods("RXH"),
            asked_by: "ada".to_owned(),
            asked_name: "Ada".to_owned(),
            reason: reason.to_owned(),
            asked: at(3),
            expires: at(3) + SignedDuration::from_hours(24),
            verdict: None,
        };
        store.ask_approval(approval, vec![row(AuditWord::Release)]).await.expect("committed");
    }
    let concern = Concern {
        kind: AlertKind::Arrived,
        step: 1,
        transfer: Some(transfer),
        sender: ods("RXH"),
        delivery: Some(copy),
        recipient: Some(ods("VM1AB")),
        hold: None,
        subscription: None,
        work: None,
        since: at(0),
    };
    let address = "nurse@rowan.example".to_owned();
    let notification =
        NewNotification { id: Uuid::new_v4(), contacted: Contacted::Home, channel: Channel::Email, address };
    let audit = vec![row(AuditWord::Notify)];
    let alert = NewAlert { id: Uuid::new_v4(), concern, at: at(1), notifications: vec![notification], audit };
    assert_eq!(store.raise_alert(alert).await, Ok(true));
    store.settle_alerts(at(9)).await.expect("committed");

    let [sent, waiting] = &store.subject_record(&patient(1)).await.expect("readable")[..] else { panic!("two") };
    assert_eq!((sent.transfer.id, waiting.transfer.id), (transfer, opened));
    assert_eq!(sent.steps, [step]);
    let changes: Vec<_> = sent.changes.iter().map(|each| (each.state, each.reason.as_deref())).collect();
    assert_eq!(changes, [(DeliveryState::Queued, None), (DeliveryState::Rejected, Some("not our resident"))]);
    let reasons: Vec<_> = sent.approvals.iter().map(|each| each.reason.as_str()).collect();
    assert_eq!(reasons, ["the other home"], "and nobody else's");
    let told: Vec<_> = sent.alerts.iter().map(|each| (each.concern.kind, each.told.len())).collect();
    assert_eq!(told, [(AlertKind::Arrived, 1)], "also when it is over");
    assert!(sent.holds.is_empty() && waiting.steps.is_empty() && waiting.approvals.is_empty());
    let [only] = &waiting.holds[..] else { panic!("one hold") };
    assert_eq!((&only.hold, only.opened, only.closed, only.decided.as_str()), (&later, at(9), None, "{\"note\":1}"));
}
