//! What has not left, sending again, and what two people decide together.

use jiff::Timestamp;
use onward_core::audit::AuditWord;
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::{
    Approval, ApprovalKind, AttemptEnd, AttemptOutcome, BulkState, BulkStep, Claim, GivenUp, NewBulk, Pause, Queue,
    Resend, StuckQuery, Verdict, Whereto,
};
use onward_core::{ApprovalId, BulkId, DeliveryId, ReplayId};

use super::{Shared, accept_new, acceptance, at, log, ods, row};

/// One attempt at this moment with this outcome; whether there was one to make.
async fn attempt(store: &Shared, second: i64, outcome: AttemptOutcome) -> bool {
    let leases = store.claim(Claim::due(at(second), at(second + 60), 1)).await.expect("claimed");
    let Some(lease) = leases.first() else { return false };
    let end = AttemptEnd {
        delivery: lease.delivery.id,
        token: lease.token,
        outcome,
        at: at(second + 1),
        audit: vec![row(AuditWord::AttemptFailed)],
    };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    true
}

fn retry(seconds: i64, reason: &str) -> AttemptOutcome {
    AttemptOutcome::Retry { at: at(seconds), reason: reason.to_owned() }
}

fn sent() -> AttemptOutcome {
    AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None }
}

async fn queue_of(store: &Shared) -> Vec<(Queue, Option<String>, u64, Timestamp)> {
    let backlog = store.backlog().await.expect("readable");
    backlog.into_iter().map(|group| (group.queue, group.reason, group.count, group.oldest)).collect()
}

pub(crate) async fn what_has_not_left_is_counted_by_cause(store: Shared) {
    assert!(queue_of(&store).await.is_empty());
    let id = accept_new(&store, acceptance(1)).await;
    assert_eq!(queue_of(&store).await, [(Queue::Waiting, None, 1, at(0))]);
    for n in 0..Queue::FAILING_ATTEMPTS {
        let expected = if n == 0 { Queue::Waiting } else { Queue::Retrying };
        assert_eq!(queue_of(&store).await[0].0, expected, "after {n} attempts");
        assert!(attempt(&store, i64::from(n) * 100, retry(i64::from(n) * 100 + 100, "busy")).await);
    }
    assert_eq!(queue_of(&store).await, [(Queue::Failing, Some("busy".to_owned()), 1, at(0))]);
    let stuck = store.stuck(StuckQuery { limit: 10, ..StuckQuery::default() }).await.expect("readable");
    assert_eq!((stuck.len(), stuck[0].copy.id, stuck[0].queue), (1, id, Queue::Failing));
    assert_eq!(stuck[0].first_failed, Some(at(1)), "the first failure, not the last");
    let pause = |recipient| Pause { recipient, reason: "moving".into(), by: "Ada Wells".into(), since: at(1) };
    assert_eq!(store.pause(pause(Some(ods("VM1AB"))), Vec::new()).await, Ok(true));
    assert_eq!(queue_of(&store).await[0].0, Queue::Paused);
    assert_eq!(store.resume(Some(&ods("VM1AB")), Vec::new()).await, Ok(true));
    assert_eq!(store.pause(pause(None), Vec::new()).await, Ok(true));
    assert_eq!(queue_of(&store).await[0].0, Queue::Paused);
    assert_eq!(store.resume(None, Vec::new()).await, Ok(true));
    assert!(attempt(&store, 1_000, AttemptOutcome::Failed { reason: "410".to_owned() }).await);
    assert_eq!(queue_of(&store).await, [(Queue::Dead, Some("410".to_owned()), 1, at(0))]);
    // Other recipients and causes are other groups; the filters find each.
    let mut other = acceptance(2);
    other.deliveries[0].recipient = ods("VM9ZZ");
    let other = accept_new(&store, other).await;
    assert_eq!(queue_of(&store).await.len(), 2);
    let found = async |query: StuckQuery| {
        let stuck = store.stuck(StuckQuery { limit: 10, ..query }).await.expect("readable");
        stuck.into_iter().map(|stuck| stuck.copy.id).collect::<Vec<_>>()
    };
    assert_eq!(found(StuckQuery { queues: vec![Queue::Dead], ..StuckQuery::default() }).await, [id]);
    assert_eq!(found(StuckQuery { recipient: Some(ods("VM9ZZ")), ..StuckQuery::default() }).await, [other]);
    assert_eq!(found(StuckQuery { reasons: Some(vec!["410".to_owned()]), ..StuckQuery::default() }).await, [id]);
    assert!(found(StuckQuery { reasons: Some(Vec::new()), ..StuckQuery::default() }).await.is_empty());
    assert_eq!(found(StuckQuery::default()).await.len(), 2);
}

pub(crate) async fn a_copy_waits_since_a_person_sent_it_and_is_given_up_unsent(store: Shared) {
    let days = |days: i64| days * 24 * 3_600;
    let id = accept_new(&store, acceptance(1)).await;
    let since = async || store.queued_since(id).await;
    assert_eq!(since().await, Ok(Some(at(0))));
    // However far apart its attempts are; and what was sent waits no longer.
    for (second, outcome, began) in [
        (0, retry(days(2), "busy"), Some(0)),
        (days(2), retry(days(4), "busy"), Some(0)),
        (days(4), AttemptOutcome::Failed { reason: "410".to_owned() }, None),
    ] {
        assert!(attempt(&store, second, outcome).await);
        assert_eq!(since().await, Ok(began.map(at)), "after {second}");
    }
    let again = days(4) + 100;
    assert_eq!(store.requeue(id, Resend::Retry.into(), "Ada Wells", "mended", at(again), Vec::new()).await, Ok(true));
    assert!(attempt(&store, again, retry(again + 10, "busy")).await);
    assert_eq!(since().await, Ok(Some(at(again))));
    assert_eq!(store.queued_since(DeliveryId::random()).await, Ok(None));

    let mut other = acceptance(2);
    other.deliveries[0].endpoint = Endpoint::Https { url: "https://other.example/in".to_owned() };
    let elsewhere = other.deliveries[0].endpoint.clone();
    let mut later = acceptance(3);
    later.transfer.received = at(50);
    later.deliveries[0].recipient = ods("VM9ZZ");
    let (other, later) = (accept_new(&store, other).await, accept_new(&store, later).await);
    let overdue = async |endpoints: &[&Endpoint], before: i64, limit: u32| {
        let endpoints = endpoints.iter().copied().cloned().collect();
        let found = store.overdue(endpoints, at(before), limit).await.expect("readable");
        found.into_iter().map(|each| (each.delivery, each.recipient, each.queued)).collect::<Vec<_>>()
    };
    let (inbox, home) = (&Endpoint::Inbox {}, ods("VM1AB"));
    assert!(overdue(&[], again, 9).await.is_empty());
    assert!(overdue(&[inbox], 49, 9).await.is_empty(), "the first has been sent again since");
    let waiting = |id, recipient: &str, queued| (id, ods(recipient), at(queued));
    assert_eq!(overdue(&[inbox], 50, 9).await, [waiting(later, "VM9ZZ", 50)]);
    let all = [waiting(other, "VM1AB", 0), waiting(later, "VM9ZZ", 50), waiting(id, "VM1AB", again)];
    assert_eq!(overdue(&[inbox, &elsewhere], again, 9).await, all);
    assert_eq!(overdue(&[inbox, &elsewhere], again, 1).await, all[..1]);
    let pause = Pause { recipient: Some(home), reason: "moving".into(), by: "Ada Wells".into(), since: at(again) };
    assert_eq!(store.pause(pause, Vec::new()).await, Ok(true));
    assert_eq!(overdue(&[inbox, &elsewhere], again, 9).await, all[1..2], "a pause is nobody's failure");

    let version = store.delivery(later).await.expect("readable").expect("there").version;
    let give_up = async |expected_version: u64, now: i64| {
        let reason = "given up after 72 hours".to_owned();
        let audit = vec![row(AuditWord::DeliveryFailed)];
        store.give_up(GivenUp { delivery: later, expected_version, reason, at: at(now), audit }).await
    };
    let entries = log(&store).await.len();
    let lease = store.claim(Claim::due(at(again), at(again + 30), 1)).await.expect("claimable").remove(0);
    assert_eq!(lease.delivery.id, later);
    assert_eq!(give_up(version, again + 29).await, Ok(false), "somebody is sending it");
    assert_eq!(give_up(version + 1, again + 31).await, Ok(false));
    assert_eq!(log(&store).await.len(), entries);
    assert_eq!(give_up(version, again + 31).await, Ok(true));
    assert_eq!(log(&store).await.len(), entries + 1);
    let copy = store.delivery(later).await.expect("readable").expect("there");
    assert_eq!((copy.state, copy.reason.as_deref()), (DeliveryState::Failed, Some("given up after 72 hours")));
    assert_eq!((copy.version, copy.next_attempt, copy.attempts), (version + 1, None, 1));
    let end =
        AttemptEnd { delivery: later, token: lease.token, outcome: sent(), at: at(again + 32), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![false]), "its lease is over");
    assert_eq!(give_up(version + 1, again + 40).await, Ok(false), "it waits no longer");
    assert_eq!(
        store.requeue(later, Resend::Retry.into(), "Ada Wells", "asked", at(again + 50), Vec::new()).await,
        Ok(true)
    );
}

pub(crate) async fn a_retry_is_the_same_and_a_replay_is_labelled(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let again = async |how: Resend, second| {
        store.requeue(id, how.into(), "Ada Wells", "asked", at(second), vec![row(AuditWord::Release)]).await
    };
    assert_eq!(again(Resend::Retry, 0).await, Ok(false), "it is due anyhow");
    assert_eq!(again(Resend::Replay, 0).await, Ok(false), "it has not been sent");
    assert!(attempt(&store, 0, retry(1_000, "busy")).await);
    assert!(!attempt(&store, 10, sent()).await, "it waits");
    let entries = log(&store).await.len();
    assert_eq!(again(Resend::Retry, 10).await, Ok(true));
    assert_eq!(log(&store).await.len(), entries + 1);
    let copy = store.delivery(id).await.expect("readable").expect("there");
    assert_eq!((copy.replay, copy.next_attempt), (None, Some(at(10))), "a retry is no repeat");
    assert!(attempt(&store, 10, sent()).await);
    assert_eq!(again(Resend::Retry, 20).await, Ok(false), "it has left");
    assert_eq!(again(Resend::Replay, 20).await, Ok(true));
    let copy = store.delivery(id).await.expect("readable").expect("there");
    assert_eq!((copy.state, copy.replay.as_deref()), (DeliveryState::Queued, Some("asked")));
    let replays = store.replays(id).await.expect("readable");
    let [replay] = &replays[..] else { panic!("a retry is none: {replays:?}") };
    assert_eq!((replay.delivery, replay.at, replay.attempts_before, replay.bulk), (id, at(20), 2, None));
    assert_eq!((replay.by.as_str(), replay.reason.as_deref()), ("Ada Wells", Some("asked")));
    assert_eq!(store.replay(replay.id).await.expect("readable").as_ref(), Some(replay));
    assert_eq!(store.replay(ReplayId::random()).await, Ok(None));
    assert!(attempt(&store, 20, AttemptOutcome::Sent { state: DeliveryState::Received, reference: None }).await);
    assert_eq!(again(Resend::Replay, 30).await, Ok(false), "it has arrived");
}

fn asked(kind: ApprovalKind, organisation: &str) -> Approval {
    Approval {
        id: ApprovalId::random(),
        kind,
        subject: "{\"to\":\"VMH02\"}".to_owned(),
        organisation: ods(organisation),
        asked_by: "ada".to_owned(),
        asked_name: "Ada Wells".to_owned(),
        reason: "ward confirms".to_owned(),
        asked: at(0),
        expires: at(600),
        verdict: None,
    }
}

pub(crate) async fn two_people_decide_together(store: Shared) {
    let first = asked(ApprovalKind::Redirect, "Y99900");
    store.ask_approval(first.clone(), vec![row(AuditWord::Release)]).await.expect("committed");
    store.ask_approval(asked(ApprovalKind::Export, "R9Z"), Vec::new()).await.expect("committed");
    assert_eq!(store.approval(first.id).await.expect("readable"), Some(first.clone()));
    assert_eq!(store.approval(ApprovalId::random()).await, Ok(None));
    let found = store.approvals(ApprovalKind::Redirect, None, at(1)).await.expect("readable");
    assert_eq!(found, std::slice::from_ref(&first));
    let of = async |ods: &str, second| {
        let ods = super::ods(ods);
        store.approvals(ApprovalKind::Export, Some(&ods), at(second)).await.expect("readable").len()
    };
    assert_eq!((of("R9Z", 1).await, of("R9Y", 1).await, of("R9Z", 600).await), (1, 0, 0));
    let verdict = |by: &str, second| Verdict { by: by.to_owned(), name: by.to_owned(), at: at(second), granted: true };
    let entries = log(&store).await.len();
    let decide = async |by, second| {
        store.decide_approval(first.id, verdict(by, second), vec![row(AuditWord::Release)]).await.expect("committed")
    };
    assert!(!decide("ada", 1).await, "nobody grants what they ask for");
    assert!(!decide("ben", 600).await, "it has expired");
    assert_eq!(log(&store).await.len(), entries);
    let first = &first;
    let won = super::at_once(&store, 8, |store, n| {
        let (id, verdict) = (first.id, verdict(&format!("person {n}"), 5));
        async move { store.decide_approval(id, verdict, vec![row(AuditWord::Release)]).await.expect("committed") }
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "one of many decisions counts");
    assert_eq!(log(&store).await.len(), entries + 1);
    let kept = store.approval(first.id).await.expect("readable").expect("there");
    assert!(kept.verdict.is_some_and(|verdict| verdict.granted && verdict.at == at(5)));
}

/// Copies that failed, each to a recipient of its own.
async fn failed(store: &Shared, count: u32) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for n in 1..=count {
        ids.push(accept_new(store, acceptance(n)).await);
        assert!(attempt(store, i64::from(n), AttemptOutcome::Failed { reason: "410".to_owned() }).await);
    }
    ids
}

fn bulk(how: Resend, copies: &[DeliveryId]) -> NewBulk {
    NewBulk {
        id: BulkId::random(),
        how,
        filter: "cause=gone".to_owned(),
        reason: "their server is back".to_owned(),
        by: "Ada Wells".to_owned(),
        agent: "{}".to_owned(),
        at: at(100),
        copies: copies.to_vec(),
    }
}

pub(crate) async fn many_copies_are_sent_again_by_one_decision(store: Shared) {
    let ids = failed(&store, 4).await;
    let asked = bulk(Resend::Replay, &ids[..3]);
    let entries = log(&store).await.len();
    let start = async || store.start_bulk(asked.clone(), vec![row(AuditWord::Configure)]).await;
    assert_eq!(start().await, Ok(true));
    assert_eq!(start().await, Ok(false), "pressed twice, decided once");
    assert_eq!(log(&store).await.len(), entries + 1);
    let now = async || store.bulk(asked.id).await.expect("readable").expect("there");
    assert_eq!((now().await.reason.as_str(), now().await.how), ("their server is back", Resend::Replay));
    assert_eq!(store.bulk_pending(asked.id, 10).await.expect("readable"), ids[..3], "in the order in which they stood");
    assert_eq!(store.bulk_pending(asked.id, 2).await.expect("readable"), ids[..2]);
    // One of them was sent again for itself meanwhile.
    assert_eq!(store.requeue(ids[1], Resend::Retry.into(), "Ben", "mended", at(101), Vec::new()).await, Ok(true));
    let one = async |copy, second| {
        store
            .resend_of_bulk(asked.id, copy, Whereto::Stored, at(second), vec![row(AuditWord::Release)])
            .await
            .expect("committed")
    };
    let first = ids[0];
    let steps = super::at_once(&store, 8, |store, _| async move {
        store
            .resend_of_bulk(asked_id(&store).await, first, Whereto::Stored, at(102), vec![row(AuditWord::Release)])
            .await
            .expect("committed")
    })
    .await;
    assert_eq!(
        steps.iter().filter(|step| **step == BulkStep::Resent).count(),
        1,
        "of many nodes one does it: {steps:?}"
    );
    assert_eq!(log(&store).await.len(), entries + 2);
    assert_eq!(one(ids[1], 103).await, BulkStep::PassedOver);
    assert_eq!(one(ids[3], 103).await, BulkStep::Overtaken, "it was not asked for");
    let counted = async || {
        let now = now().await;
        (now.state, now.total, now.resent, now.passed_over, now.ended)
    };
    assert_eq!(counted().await, (BulkState::Running, 3, 1, 1, None));
    assert_eq!(store.bulk_pending(asked.id, 10).await.expect("readable"), ids[2..3], "that is what a restart finds");
    assert_eq!(one(ids[2], 104).await, BulkStep::Resent);
    assert_eq!(counted().await, (BulkState::Finished, 3, 2, 1, Some(at(104))));
    assert_eq!(one(ids[2], 105).await, BulkStep::Overtaken);
    let replays = store.replays(ids[2]).await.expect("readable");
    assert_eq!(replays.iter().map(|replay| (replay.bulk, replay.at)).collect::<Vec<_>>(), [(Some(asked.id), at(104))]);
    assert_eq!(store.cancel_bulk(asked.id, at(106), Vec::new()).await, Ok(false), "it has finished");

    let stopped = bulk(Resend::Retry, &ids[3..]);
    assert_eq!(store.start_bulk(stopped.clone(), Vec::new()).await, Ok(true));
    let listed = async |second| {
        let found = store.bulks(at(second)).await.expect("readable");
        found.into_iter().map(|bulk| bulk.state).collect::<Vec<_>>()
    };
    assert_eq!(listed(105).await, [BulkState::Running], "what ended before is left out");
    assert_eq!(listed(104).await.len(), 2);
    assert_eq!(store.cancel_bulk(stopped.id, at(107), vec![row(AuditWord::Configure)]).await, Ok(true));
    assert!(store.bulk_pending(stopped.id, 10).await.expect("readable").is_empty());
    let late = store.resend_of_bulk(stopped.id, ids[3], Whereto::Stored, at(108), vec![row(AuditWord::Release)]).await;
    assert_eq!(late, Ok(BulkStep::Overtaken));
    assert_eq!(store.delivery(ids[3]).await.expect("readable").expect("there").state, DeliveryState::Failed);
    let empty = bulk(Resend::Retry, &[]);
    assert_eq!(store.start_bulk(empty.clone(), Vec::new()).await, Ok(true));
    assert_eq!(store.bulk(empty.id).await.expect("readable").map(|bulk| bulk.state), Some(BulkState::Finished));
}

/// The one decision that there is.
async fn asked_id(store: &Shared) -> BulkId {
    store.bulks(at(0)).await.expect("readable")[0].id
}
