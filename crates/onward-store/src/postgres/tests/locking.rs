//! The order of locks: of two nodes that decide about one transfer one waits for the other, and none is ended as a deadlock.

use onward_core::state::{EndReason, RecipientKind};
use onward_core::store::{
    Closure, Ending, HoldChange, Late, NewDelivery, Notice, Release, Step, StepKind, TakeBack, Transition,
};

use super::passing::{others, until_waiting};
use super::*;
use crate::contract::lifecycle::{next_version, sent_out, take_back, told};
use crate::contract::versions::{as_the_first, waiting_for_the_first};
use crate::contract::{delivery, hold, seen};

/// Takes back the whole transfer, whose copies nobody has, or these copies alone.
fn taking_back(transfer: TransferId, whole: Option<EndReason>, copies: &[DeliveryId]) -> TakeBack {
    let reason = "wrong patient".to_owned();
    let ending = |&delivery| Ending {
        delivery,
        why: EndReason::Recalled,
        by: None,
        reason: reason.clone(),
        seen: false,
        notice: None,
        went: None,
    };
    let endings = copies.iter().map(ending).collect();
    TakeBack {
        transfer,
        whole,
        joins: None,
        reason,
        endings,
        hold: None,
        at: at(60),
        audit: vec![row(AuditWord::Withdraw)],
    }
}

/// A connection of somebody else that holds what this statement locks, however long.
pub(super) async fn holding(store: &PostgresStore, locks: &str) -> deadpool_postgres::Client {
    let gate = store.shared.writes.get().await.expect("a connection");
    let held = format!("SET idle_in_transaction_session_timeout = 0; BEGIN; {locks}");
    gate.batch_execute(&held).await.expect("held");
    gate
}

pub(super) fn deadlocks(cluster: &Cluster, url: &str) -> usize {
    let database = url.rsplit('/').next().expect("a name");
    cluster.log().matches(&format!("{database}:ERROR:  deadlock detected")).count()
}

#[tokio::test]
async fn a_decision_and_a_withdrawal_wait_for_the_transfer_and_hold_nothing_meanwhile() {
    let Some((cluster, url, [decides, withdraws])) = two_nodes().await else { return };
    let others = others(&url).await;
    for n in 0..3 {
        let mut message = acceptance(n);
        message.deliveries.clear();
        let waits = hold();
        message.hold = Some(waits.clone());
        let transfer = message.transfer.id;
        assert_eq!(decides.accept(message).await, Ok(Accepted::New));
        let is_seen = seen(&decides, waits.id).await;
        let gate = holding(&others, &format!("SELECT 1 FROM transfers WHERE id = '{transfer}' FOR UPDATE")).await;
        let is_free =
            || cluster.tamper(&url, &format!("SELECT 1 FROM holds WHERE id = '{}' FOR UPDATE NOWAIT", waits.id));
        let (node, held) = (Arc::clone(&decides), waits.clone());
        let decided = tokio::spawn(async move {
            match n {
                0 => {
                    let audit = vec![row(AuditWord::Hold)];
                    let decided = "{}".to_owned();
                    node.change_hold(HoldChange { hold: held, seen: is_seen, joins: None, decided, at: at(5), audit })
                        .await
                }
                1 => {
                    let release = Release {
                        hold: held.id,
                        seen: is_seen,
                        patient: None,
                        care_home: None,
                        deliveries: vec![delivery(RecipientKind::CareHome, "VM1AB")],
                        endings: Vec::new(),
                        taken_back: Vec::new(),
                        replaces: None,
                        at: at(5),
                        audit: vec![row(AuditWord::Release)],
                    };
                    node.release_hold(release).await
                }
                _ => {
                    let closure = Closure {
                        hold: held.id,
                        seen: is_seen,
                        reason: "sent twice".to_owned(),
                        responses: Vec::new(),
                        voids: None,
                        at: at(5),
                        audit: vec![row(AuditWord::Release)],
                    };
                    node.close_hold(closure).await
                }
            }
        });
        until_waiting(cluster, &url, 1).await;
        assert_eq!(is_free(), ["1"]);
        let node = Arc::clone(&withdraws);
        let back = taking_back(transfer, Some(EndReason::Withdrawn), &[]);
        let withdrawn = tokio::spawn(async move { node.take_back(back).await });
        until_waiting(cluster, &url, 2).await;
        assert_eq!(is_free(), ["1"]);
        gate.batch_execute("COMMIT").await.expect("released");
        let came_to = (decided.await.expect("it ran"), withdrawn.await.expect("it ran"));
        // Whichever comes first; what was released meanwhile is not withdrawn unseen.
        let fits = matches!(came_to, (Ok(true), Ok(true) | Err(StoreError::Overtaken)) | (Ok(false), Ok(true)));
        assert!(fits, "{n}: {came_to:?}");
    }
    assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
}

#[tokio::test]
async fn a_step_that_others_are_told_of_waits_for_the_transfer_before_it_holds_its_copy() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    let message = acceptance(1);
    let transfer = message.transfer.id;
    let copy = accept_new(&store, message).await;
    let others = others(&url).await;
    let gate = holding(&others, &format!("SELECT 1 FROM transfers WHERE id = '{transfer}' FOR UPDATE")).await;
    let step = Step {
        delivery: copy,
        kind: StepKind::Left,
        at: at(5),
        user: "nurse".to_owned(),
        name: "The nurse".to_owned(),
        item: None,
        outcome: None,
        text: None,
    };
    let notice = Some(Notice { of: copy, why: EndReason::LeftHome });
    let notice = NewDelivery { notice, ..delivery(RecipientKind::CoveringPractice, "Y99001") };
    let node = Arc::clone(&store);
    let taken =
        tokio::spawn(async move { node.take_step(step, None, vec![notice], vec![row(AuditWord::Acknowledge)]).await });
    until_waiting(cluster, &url, 1).await;
    let is_free = cluster.tamper(&url, &format!("SELECT 1 FROM deliveries WHERE id = '{copy}' FOR UPDATE NOWAIT"));
    assert_eq!(is_free, ["1"]);
    gate.batch_execute("COMMIT").await.expect("released");
    assert_eq!(taken.await.expect("it ran"), Ok(true));
    assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
}

#[tokio::test]
async fn an_answer_is_queued_while_another_copy_of_its_transfer_is_taken_back() {
    let Some((cluster, url, [answers, recalls])) = two_nodes().await else { return };
    let mut message = acceptance(1);
    message.deliveries.push(delivery(RecipientKind::CoveringPractice, "Y99001"));
    let (transfer, practice) = (message.transfer.id, message.deliveries[1].id);
    let home = accept_new(&answers, message).await;
    let others = others(&url).await;
    let gate = holding(&others, &format!("SELECT 1 FROM deliveries WHERE id = '{practice}' FOR UPDATE")).await;
    let back = taking_back(transfer, None, &[practice]);
    let recalled = tokio::spawn(async move { recalls.take_back(back).await });
    until_waiting(cluster, &url, 1).await;
    // A copy that is added names its transfer, and holds that in this way.
    let shared = cluster.tamper(&url, &format!("SELECT 1 FROM transfers WHERE id = '{transfer}' FOR KEY SHARE NOWAIT"));
    assert_eq!(shared, ["1"]);
    let answer = Transition {
        delivery: home,
        expected_version: 1,
        state: DeliveryState::Accepted,
        code: None,
        reason: None,
        at: at(5),
        responses: vec![delivery(RecipientKind::Sender, "RXH")],
        audit: vec![row(AuditWord::Acknowledge)],
    };
    assert_eq!(answers.transition(answer).await, Ok(true));
    gate.batch_execute("COMMIT").await.expect("released");
    assert_eq!(recalled.await.expect("it ran"), Ok(true));
    assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
}

#[tokio::test]
async fn a_withdrawal_waits_for_the_earlier_version_before_it_holds_its_copy() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    let first = sent_out(1);
    let copy = accept_new(&store, first.clone()).await;
    // It waits for a decision, and the first is used meanwhile.
    let mut second = next_version(2, &first, &[]);
    second.deliveries.clear();
    second.hold = Some(hold());
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let others = others(&url).await;
    let of_first = format!("SELECT 1 FROM transfers WHERE id = '{}' FOR NO KEY UPDATE", first.transfer.id);
    let gate = holding(&others, &of_first).await;
    let back = take_back(&second, Some(EndReason::Withdrawn), told(&[copy], EndReason::Withdrawn));
    let node = Arc::clone(&store);
    let withdrawn = tokio::spawn(async move { node.take_back(back).await });
    until_waiting(cluster, &url, 1).await;
    let is_free = cluster.tamper(&url, &format!("SELECT 1 FROM deliveries WHERE id = '{copy}' FOR UPDATE NOWAIT"));
    assert_eq!(is_free, ["1"]);
    gate.batch_execute("COMMIT").await.expect("released");
    assert_eq!(withdrawn.await.expect("it ran"), Ok(true));
    assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
}

/// A recall names copies in an order of its own, and whoever sends or ends several copies holds them by identifier.
#[tokio::test]
async fn copies_that_are_taken_back_are_held_by_identifier_however_they_are_named() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    let mut message = acceptance(1);
    message.deliveries.push(delivery(RecipientKind::CoveringPractice, "Y99001"));
    let transfer = message.transfer.id;
    let mut copies: Vec<_> = message.deliveries.iter().map(|copy| copy.id).collect();
    copies.sort_by_key(|copy| std::cmp::Reverse(copy.0));
    accept_new(&store, message).await;
    let [last, first] = copies[..] else { panic!("two copies") };
    let others = others(&url).await;
    let gate = holding(&others, &format!("SELECT 1 FROM deliveries WHERE id = '{first}' FOR UPDATE")).await;
    let node = Arc::clone(&store);
    let recalled = tokio::spawn(async move { node.take_back(taking_back(transfer, None, &copies)).await });
    until_waiting(cluster, &url, 1).await;
    let is_free = cluster.tamper(&url, &format!("SELECT 1 FROM deliveries WHERE id = '{last}' FOR UPDATE NOWAIT"));
    assert_eq!(is_free, ["1"]);
    gate.batch_execute("COMMIT").await.expect("released");
    assert_eq!(recalled.await.expect("it ran"), Ok(true));
    assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
}

#[tokio::test]
async fn what_comes_after_its_replacement_waits_for_the_newest_version_before_it_holds_another() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    // It came before what it replaces, was sent as the first, and is replaced itself.
    let second = waiting_for_the_first();
    assert_eq!(store.accept(second.clone()).await, Ok(Accepted::New));
    let copy = delivery(RecipientKind::CareHome, "VM1AB");
    assert_eq!(store.release_hold(as_the_first(&store, &second, &copy).await).await, Ok(true));
    let third = next_version(3, &second, &[copy.id]);
    assert_eq!(store.accept(third.clone()).await, Ok(Accepted::New));
    let [by, newest] = [&second, &third].map(|message| message.transfer.id);
    let mut first = sent_out(1);
    first.transfer.dated = Some(at(-500));
    first.deliveries.clear();
    let reason = "it comes late".to_owned();
    first.late = Some(Late { by, why: EndReason::Superseded, reason, earlier_stay: false });
    let others = others(&url).await;
    let gate = holding(&others, &format!("SELECT 1 FROM transfers WHERE id = '{newest}' FOR NO KEY UPDATE")).await;
    let node = Arc::clone(&store);
    let late = tokio::spawn(async move { node.accept(first).await });
    until_waiting(cluster, &url, 1).await;
    let is_free = cluster.tamper(&url, &format!("SELECT 1 FROM transfers WHERE id = '{by}' FOR NO KEY UPDATE NOWAIT"));
    assert_eq!(is_free, ["1"]);
    gate.batch_execute("COMMIT").await.expect("released");
    assert_eq!(late.await.expect("it ran"), Ok(Accepted::New));
    let newest = store.transfer(newest).await.expect("readable").expect("there");
    assert_eq!(newest.version, 3);
    assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
}
