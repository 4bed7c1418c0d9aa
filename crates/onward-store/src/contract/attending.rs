//! What people at a recipient do with a copy, and the list that they start from.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::DeliveryId;
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{ArrivalQuery, CheckOutcome, Ending, NewDelivery, Notice, Step, StepKind, Transition};

use super::{Shared, accept_new, acceptance, at, delivery, log, ods, row};

fn step(delivery: DeliveryId, kind: StepKind, user: &str, seconds: i64) -> Step {
    Step {
        delivery,
        kind,
        at: at(seconds),
        user: user.to_owned(),
        name: format!("The {user}"),
        item: None,
        outcome: None,
        text: None,
    }
}

fn checked(delivery: DeliveryId, item: &str, outcome: CheckOutcome, seconds: i64) -> Step {
    Step { item: Some(item.to_owned()), outcome: Some(outcome), ..step(delivery, StepKind::Checked, "nurse", seconds) }
}

fn arriving(recipients: &[&str]) -> ArrivalQuery {
    ArrivalQuery {
        recipients: recipients.iter().map(|code| ods(code)).collect(),
        kind: RecipientKind::CareHome,
        open_only: true,
        unprocessed: (at(0), vec!["30002".to_owned()]),
        since: at(-1),
        logged_from: None,
        after: None,
        limit: 100,
    }
}

fn acceptance_of(delivery: DeliveryId, expected_version: u64) -> Transition {
    Transition {
        delivery,
        expected_version,
        state: DeliveryState::Accepted,
        code: None,
        reason: None,
        at: at(2),
        responses: Vec::new(),
        audit: Vec::new(),
    }
}

pub(crate) async fn a_reader_is_kept_once(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    for (user, seconds) in [("nurse", 1), ("nurse", 2), ("manager", 3)] {
        let reader = step(id, StepKind::Opened, user, seconds);
        let opened = store.open_rendition(id, at(seconds), Some(reader), vec![row(AuditWord::Read)]).await;
        assert!(opened.expect("committed").is_some());
    }
    let kept = store.steps(id).await.expect("readable");
    assert_eq!(kept, [step(id, StepKind::Opened, "nurse", 1), step(id, StepKind::Opened, "manager", 3)]);
    assert!(store.steps(DeliveryId::random()).await.expect("readable").is_empty());
}

pub(crate) async fn a_step_and_its_change_are_one(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let before = log(&store).await.len();
    let taken = Step { text: Some("why?".to_owned()), ..step(id, StepKind::Acknowledged, "nurse", 2) };
    let version = store.delivery(id).await.expect("readable").expect("there").version;
    let stale = store.take_step(
        taken.clone(),
        Some(acceptance_of(id, version + 1)),
        Vec::new(),
        vec![row(AuditWord::Acknowledge)],
    );
    assert!(!stale.await.expect("committed"));
    assert_eq!((store.steps(id).await.expect("readable").len(), log(&store).await.len()), (0, before));
    let fits =
        store.take_step(taken.clone(), Some(acceptance_of(id, version)), Vec::new(), vec![row(AuditWord::Acknowledge)]);
    assert!(fits.await.expect("committed"));
    assert_eq!(store.delivery(id).await.expect("readable").expect("there").state, DeliveryState::Accepted);
    assert_eq!(store.steps(id).await.expect("readable"), [taken]);
    assert_eq!(log(&store).await.len(), before + 1);
}

pub(crate) async fn a_step_is_not_kept_without_its_audit(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let taken = row(AuditWord::Acknowledge);
    store.audit(vec![taken.clone()]).await.expect("committed");
    assert!(store.take_step(step(id, StepKind::Queried, "nurse", 1), None, Vec::new(), vec![taken]).await.is_err());
    assert!(store.steps(id).await.expect("readable").is_empty());
}

pub(crate) async fn a_step_tells_others_in_its_own_commit(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let notice = || NewDelivery {
        notice: Some(Notice { of: id, why: EndReason::LeftHome }),
        ..delivery(RecipientKind::CoveringPractice, "A82608")
    };
    let left = step(id, StepKind::Left, "nurse", 2);
    let copies = async || {
        let transfer = store.delivery(id).await.expect("readable").expect("there").transfer;
        store.transfer(transfer).await.expect("readable").expect("there")
    };
    let before = copies().await.deliveries.len();
    let stale = store.take_step(left.clone(), Some(acceptance_of(id, 9)), vec![notice()], Vec::new());
    assert!(!stale.await.expect("committed"));
    assert_eq!(copies().await.deliveries.len(), before, "no notice of what was not done");
    let (first, second) = (notice(), notice());
    let told = vec![first.clone(), second.clone()];
    assert!(store.take_step(left.clone(), None, told, vec![row(AuditWord::Acknowledge)]).await.expect("committed"));
    let transfer = copies().await;
    let told: Vec<_> = transfer.deliveries.iter().filter(|copy| copy.notice.is_some()).collect();
    let ids: BTreeSet<_> = told.iter().map(|copy| copy.id).collect();
    assert_eq!(ids, BTreeSet::from([first.id, second.id]));
    for copy in told {
        assert_eq!((copy.state, &copy.patient), (DeliveryState::Queued, &transfer.patient), "about the same person");
    }
    assert_eq!(transfer.copies().count(), before, "a notice is none of the transfer's copies");
    assert_eq!(store.steps(id).await.expect("readable"), [left]);
    let flaws = store.checkup().await.expect("readable").flaws;
    assert!(
        flaws.iter().all(|flaw| !flaw.rule.contains("notice")),
        "the copy that it tells of has not ended: {flaws:?}"
    );
}

pub(crate) async fn arrivals_are_the_homes_own(store: Shared) {
    let mut first = acceptance(1);
    first.deliveries[0].card = Some(b"first".to_vec());
    let first = accept_new(&store, first).await;
    let mut other_home = acceptance(2);
    other_home.deliveries[0].recipient = ods("VM9ZZ");
    let other_home = accept_new(&store, other_home).await;
    let mut practice = acceptance(3);
    practice.deliveries[0].kind = RecipientKind::CoveringPractice;
    accept_new(&store, practice).await;
    let ids = async |query: ArrivalQuery| {
        let found = store.arrivals(query).await.expect("readable");
        found.into_iter().map(|arrival| arrival.copy.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(arriving(&["VM1AB"])).await, [first]);
    assert_eq!(ids(arriving(&["VM1AB", "VM9ZZ"])).await.len(), 2);
    assert_eq!(ids(arriving(&["VM9ZZ"])).await, [other_home]);
    assert!(ids(arriving(&[])).await.is_empty());
    assert!(ids(ArrivalQuery { since: at(1), ..arriving(&["VM1AB"]) }).await.is_empty());
    let line = store.arrivals(arriving(&["VM1AB"])).await.expect("readable").remove(0);
    assert_eq!((line.expected, line.card.as_deref(), line.settled), (Some(at(7200)), Some(&b"first"[..]), 0));
    assert_eq!(store.card(first).await.expect("readable").as_deref(), Some(&b"first"[..]));
    assert!(store.card(DeliveryId::random()).await.expect("readable").is_none());
    // Who has left is no longer there, once the summary is acknowledged; a notice stays until somebody has confirmed it.
    let mut gone = acceptance(4);
    gone.deliveries[0].card = Some(b"gone".to_vec());
    let gone = accept_new(&store, gone).await;
    let told = Step { text: Some("To hospital".to_owned()), ..step(gone, StepKind::Left, "nurse", 2) };
    let mut notice = delivery(RecipientKind::CareHome, "VM1AB");
    notice.notice = Some(Notice { of: gone, why: EndReason::Withdrawn });
    let notice_id = notice.id;
    assert!(store.take_step(told, None, vec![notice], vec![row(AuditWord::Acknowledge)]).await.expect("committed"));
    assert_eq!(ids(arriving(&["VM1AB"])).await.len(), 3, "nobody has acknowledged the summary");
    let version = store.delivery(gone).await.expect("readable").expect("there").version;
    assert!(store.transition(acceptance_of(gone, version)).await.expect("committed"));
    let open = ids(arriving(&["VM1AB"])).await;
    assert_eq!(BTreeSet::from_iter(open), BTreeSet::from([first, notice_id]));
    let all = store.arrivals(ArrivalQuery { open_only: false, ..arriving(&["VM1AB"]) }).await.expect("readable");
    let left = |id| all.iter().find(|line| line.copy.id == id).expect("listed").left.as_deref();
    assert_eq!((all.len(), left(gone), left(first), left(notice_id)), (3, Some("To hospital"), None, None));
    let version = store.delivery(notice_id).await.expect("readable").expect("there").version;
    assert!(store.transition(acceptance_of(notice_id, version)).await.expect("committed"));
    assert_eq!(ids(arriving(&["VM1AB"])).await, [first]);
    // What was refused needs nobody any more.
    let refused = Transition { state: DeliveryState::Rejected, ..acceptance_of(first, 1) };
    assert!(store.transition(refused).await.expect("committed"));
    assert!(ids(arriving(&["VM1AB"])).await.is_empty());
    assert_eq!(ids(ArrivalQuery { open_only: false, ..arriving(&["VM1AB"]) }).await.len(), 3);
    // Unless it was a system that could not process it, for some time.
    for (number, code, listed) in [(5, "30002", false), (6, "10009", true)] {
        let id = accept_new(&store, acceptance(number)).await;
        let version = store.delivery(id).await.expect("readable").expect("there").version;
        let code = Some(code.to_owned());
        let refused = Transition { state: DeliveryState::Rejected, code, ..acceptance_of(id, version) };
        assert!(store.transition(refused).await.expect("committed"));
        assert_eq!(ids(arriving(&["VM1AB"])).await.contains(&id), listed);
        let later = ArrivalQuery { unprocessed: (at(3), Vec::new()), ..arriving(&["VM1AB"]) };
        assert!(ids(later).await.is_empty());
    }
}

/// Whatever the entries say of the time.
pub(crate) async fn an_arrival_knows_where_the_log_deals_with_it(store: Shared) {
    let ids = [accept_new(&store, acceptance(1)).await, accept_new(&store, acceptance(2)).await];
    let lines = async |logged_from| {
        let query = ArrivalQuery { logged_from, ..arriving(&["VM1AB"]) };
        let found = store.arrivals(query).await.expect("readable");
        found.into_iter().map(|line| (line.copy.id, line.logged)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(lines(None).await, BTreeMap::from(ids.map(|id| (id, None))), "only their transfers are dealt with");
    assert!(lines(Some(0)).await.is_empty());
    let before = store.audit_size().await.expect("readable");
    let entry = |id, seconds| AuditRow { delivery: Some(id), recorded: at(seconds), ..row(AuditWord::Acknowledge) };
    for rows in [vec![entry(ids[0], 900)], vec![entry(ids[1], 60), entry(ids[0], 30)]] {
        store.audit(rows).await.expect("committed");
    }
    let (one, other) = ((ids[0], Some((before, before + 2))), (ids[1], Some((before + 1, before + 1))));
    assert_eq!(lines(None).await, BTreeMap::from([one, other]));
    assert_eq!(lines(Some(before + 1)).await, BTreeMap::from([one, other]));
    assert_eq!(lines(Some(before + 2)).await, BTreeMap::from([one]));
    assert!(lines(Some(before + 3)).await.is_empty());
}

pub(crate) async fn arrivals_go_on_after_the_last(store: Shared) {
    let mut all = Vec::new();
    for n in 1..=5 {
        let mut next = acceptance(n);
        // Three of one moment, so that the cursor must tell them apart.
        next.transfer.received = at(i64::from(n.min(3)));
        all.push(accept_new(&store, next).await);
    }
    let whole = store.arrivals(arriving(&["VM1AB"])).await.expect("readable");
    assert_eq!(whole.len(), 5);
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let query = ArrivalQuery { after, limit: 2, ..arriving(&["VM1AB"]) };
        let part = store.arrivals(query).await.expect("readable");
        let Some(last) = part.last() else { break };
        after = Some((last.copy.created, last.copy.id));
        seen.extend(part.iter().map(|arrival| arrival.copy.id));
    }
    assert_eq!(seen, whole.iter().map(|arrival| arrival.copy.id).collect::<Vec<_>>());
    assert_eq!(BTreeSet::from_iter(seen), BTreeSet::from_iter(all));
}

pub(crate) async fn what_was_told_of_the_person_outlasts_the_version(store: Shared) {
    let first = acceptance(1);
    let ids = [accept_new(&store, first.clone()).await, DeliveryId::random(), DeliveryId::random()];
    let mut before = first;
    for (n, pair) in (2..).zip(ids.windows(2)) {
        let mut next = acceptance(n);
        next.transfer.version = before.transfer.version + 1;
        next.transfer.replaces = Some(before.transfer.id);
        next.deliveries[0].id = pair[1];
        let reason = "stop using it".to_owned();
        next.endings = vec![Ending {
            delivery: pair[0],
            why: EndReason::Superseded,
            by: Some(pair[1]),
            reason,
            seen: false,
            notice: None,
            went: None,
        }];
        let told = [
            step(pair[0], StepKind::Acknowledged, "nurse", 9),
            Step { text: Some("here".to_owned()), ..step(pair[0], StepKind::Arrived, "nurse", 8) },
            checked(pair[0], "identity", CheckOutcome::Done, 7),
        ];
        for told in told {
            assert!(
                store.take_step(told, None, Vec::new(), vec![row(AuditWord::Acknowledge)]).await.expect("committed")
            );
        }
        accept_new(&store, next.clone()).await;
        before = next;
    }
    let kinds = async |id| {
        let steps = store.steps(id).await.expect("readable");
        steps.into_iter().map(|step| (step.delivery, step.kind, step.text)).collect::<Vec<_>>()
    };
    let here = || Some("here".to_owned());
    let told = |id| [(id, StepKind::Arrived, here()), (id, StepKind::Checked, None)];
    assert_eq!(kinds(ids[2]).await, [told(ids[0]), told(ids[1])].concat(), "what was said of a document ends with it");
    let own = [&[(ids[1], StepKind::Acknowledged, None)][..], &told(ids[1])].concat();
    assert_eq!(kinds(ids[1]).await, [&told(ids[0])[..], &own].concat(), "the oldest version first");
    assert_eq!(kinds(ids[0]).await.len(), 3, "nothing of a later version");
    let all = store.arrivals(ArrivalQuery { open_only: false, ..arriving(&["VM1AB"]) }).await.expect("readable");
    for line in all {
        assert_eq!(line.continues, line.copy.id != ids[0]);
        assert!(!line.arrived, "no copy has come so far itself");
    }
}

pub(crate) async fn settled_items_follow_the_latest_word(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let settled = async || store.arrivals(arriving(&["VM1AB"])).await.expect("readable")[0].settled;
    for (item, outcome, count) in [
        ("identity", CheckOutcome::Done, 1),
        ("medicines", CheckOutcome::Problem, 1),
        ("equipment", CheckOutcome::NotApplicable, 2),
        ("identity", CheckOutcome::Done, 2),
        ("identity", CheckOutcome::Problem, 1),
        ("medicines", CheckOutcome::Done, 2),
    ] {
        let taken = store.take_step(checked(id, item, outcome, 1), None, Vec::new(), vec![row(AuditWord::Acknowledge)]);
        assert!(taken.await.expect("committed"));
        assert_eq!(settled().await, count, "{item} {outcome}");
    }
    assert_eq!(store.steps(id).await.expect("readable").len(), 6, "every word stays");
}
