//! Copies because of which PDS is asked again, and what follows: once for a transfer.

use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::{Acceptance, Retrace, Retraced, Transition};

use super::delivering::change;
use super::lifecycle::{all, ending, https, next_version, notice, read, status_of, take_back};
use super::{Shared, accept_new, acceptance, at, delivery, hold, log, row};

/// A message with a copy for the registered practice, beside those of these kinds.
fn to_practice(n: u32, others: &[RecipientKind]) -> (Acceptance, DeliveryId) {
    let mut message = acceptance(n);
    message.deliveries = others.iter().map(|kind| delivery(*kind, "VM1AB")).collect();
    let mut copy = delivery(RecipientKind::RegisteredPractice, "A82608");
    copy.endpoint = https();
    let id = copy.id;
    message.deliveries.insert(0, copy);
    (message, id)
}

async fn comes_to(store: &Shared, copy: DeliveryId, state: DeliveryState, code: Option<&str>) {
    let (code, reason) = (code.map(str::to_owned), Some("why".to_owned()));
    let moved = Transition { code, reason, ..change(copy, read(store, copy).await.version, state) };
    assert_eq!(store.transition(moved).await, Ok(true));
}

async fn waiting(store: &Shared) -> Vec<DeliveryId> {
    store.to_retrace(at(0), 1_000).await.expect("readable").iter().map(|copy| copy.id).collect()
}

fn stays(copy: DeliveryId, expected_version: u64) -> Retrace {
    let outcome = Retraced::Stays { reason: "why; the same practice".to_owned() };
    Retrace { delivery: copy, expected_version, outcome, at: at(60), audit: vec![row(AuditWord::Release)] }
}

pub(crate) async fn what_asks_for_a_retrace_is_found(store: Shared) {
    use DeliveryState::{Accepted, Failed, Queued, Received, Rejected};
    let mut asks = 0;
    let codes = [None, Some("14"), Some("EPL-150"), Some("EPL-151"), Some("EPL-154"), Some("30002"), Some("30003")];
    let mut n = 0;
    for state in [Queued, Received, Accepted, Rejected, Failed] {
        for code in codes.into_iter().chain([Some("30022"), Some("20015")]) {
            n += 1;
            let (message, practice) = to_practice(n, &[RecipientKind::CoveringPractice]);
            let covering = message.deliveries[1].id;
            accept_new(&store, message).await;
            comes_to(&store, practice, state, code).await;
            comes_to(&store, covering, state, code).await;
            for copy in [practice, covering] {
                let found = store.to_retrace(at(50), 1_000).await.expect("readable");
                let found = found.iter().any(|found| found.id == copy);
                assert_eq!(found, read(&store, copy).await.asks_for_retrace(), "{state} {code:?}");
                asks += usize::from(found);
            }
        }
    }
    assert_eq!(asks, 5);
    assert_eq!(store.to_retrace(at(0), 2).await.expect("readable").len(), 2);
    assert!(store.to_retrace(at(51), 9).await.expect("readable").is_empty(), "longer ago");
}

pub(crate) async fn a_retrace_that_changes_nothing_is_noted_once(store: Shared) {
    for (n, state, code) in [(1, DeliveryState::Failed, "EPL-151"), (2, DeliveryState::Rejected, "30002")] {
        let (mut message, copy) = to_practice(n, &[]);
        let mut second = delivery(RecipientKind::RegisteredPractice, "A82609");
        second.endpoint = https();
        message.deliveries.push(second.clone());
        accept_new(&store, message.clone()).await;
        for copy in [copy, second.id] {
            comes_to(&store, copy, state, Some(code)).await;
        }
        assert_eq!(waiting(&store).await.len(), 2);
        let (before, entries) = (read(&store, copy).await, log(&store).await.len());
        assert_eq!(store.retrace(stays(copy, before.version + 1)).await, Ok(false), "another version");
        assert_eq!(log(&store).await.len(), entries);
        assert_eq!(store.retrace(stays(copy, before.version)).await, Ok(true));
        let now = read(&store, copy).await;
        assert_eq!((now.state, now.version, now.changed), (state, before.version + 1, at(60)));
        assert_eq!((now.reason.as_deref(), now.code.as_deref()), (Some("why; the same practice"), Some(code)));
        assert_eq!(log(&store).await.len(), entries + 1);
        assert!(waiting(&store).await.is_empty(), "once for the transfer");
        let other = read(&store, second.id).await.version;
        assert_eq!(store.retrace(stays(second.id, other)).await, Ok(false));
        assert_eq!((read(&store, second.id).await.version, log(&store).await.len()), (other, entries + 1));
        assert_eq!(status_of(&store, &message).await, "failed", "a person must act");
    }
}

pub(crate) async fn a_retrace_sends_to_another_practice_once(store: Shared) {
    let (message, old) = to_practice(1, &[RecipientKind::CareHome]);
    accept_new(&store, message.clone()).await;
    comes_to(&store, old, DeliveryState::Rejected, Some("30003")).await;
    let version = read(&store, old).await.version;
    let sent = || {
        let mut copy = delivery(RecipientKind::RegisteredPractice, "A82610");
        copy.endpoint = https();
        let notice = Some(notice(old, EndReason::Recalled));
        let mut end = ending(old, EndReason::Recalled);
        end.notice = notice;
        let outcome = Retraced::Sent { endings: vec![end], copy: Box::new(copy) };
        Retrace { outcome, ..stays(old, version) }
    };
    let (one, other) = tokio::join!(store.retrace(sent()), store.retrace(sent()));
    let kept = [one.expect("committed"), other.expect("committed")];
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 1, "of two looks at once: {kept:?}");
    let now = read(&store, old).await;
    assert_eq!((now.state, now.ended.map(|ended| ended.why)), (DeliveryState::Rejected, Some(EndReason::Recalled)));
    let copies = all(&store).await;
    let new: Vec<_> = copies.iter().filter(|copy| copy.recipient.as_str() == "A82610").collect();
    assert!(matches!(new.as_slice(), [new] if new.state == DeliveryState::Queued && new.patient.is_some()));
    assert_eq!(copies.iter().filter(|copy| copy.notice.is_some()).count(), 1, "whoever has the first is told");
    assert_eq!(status_of(&store, &message).await, "in-progress", "nobody needs to act about what was refused");
    comes_to(&store, message.deliveries[1].id, DeliveryState::Completed, None).await;
    comes_to(&store, new[0].id, DeliveryState::Accepted, None).await;
    assert_eq!(status_of(&store, &message).await, "completed", "another practice has it in place of the first");
    comes_to(&store, new[0].id, DeliveryState::Rejected, Some("30002")).await;
    assert!(waiting(&store).await.is_empty(), "a second refusal is a person's");
}

pub(crate) async fn what_has_moved_on_is_not_retraced(store: Shared) {
    let mut refused = Vec::new();
    for n in 1..=3 {
        let (mut message, copy) = to_practice(n, &[RecipientKind::CareHome]);
        message.transfer.document_set_id = Some(format!("set-{n}"));
        accept_new(&store, message.clone()).await;
        comes_to(&store, copy, DeliveryState::Rejected, Some("30002")).await;
        refused.push((message, copy));
    }
    let looked: Vec<_> = store.to_retrace(at(0), 9).await.expect("readable");
    assert_eq!(looked.len(), 3);
    // One is replaced, one withdrawn, and of one another copy is recalled, so that it waits in a hold.
    let (first, copy) = &refused[0];
    let home = first.deliveries[1].id;
    accept_new(&store, next_version(4, first, &[*copy, home])).await;
    let (second, copy) = &refused[1];
    let endings = [*copy, second.deliveries[1].id].map(|copy| ending(copy, EndReason::Withdrawn));
    assert_eq!(store.take_back(take_back(second, Some(EndReason::Withdrawn), endings.to_vec())).await, Ok(true));
    let (third, _) = &refused[2];
    let recalled = vec![ending(third.deliveries[1].id, EndReason::Recalled)];
    let mut back = take_back(third, None, recalled);
    back.hold = Some((hold(), "{}".to_owned()));
    assert_eq!(store.take_back(back).await, Ok(true));
    assert!(waiting(&store).await.is_empty());
    let entries = log(&store).await.len();
    for copy in looked {
        assert_eq!(store.retrace(stays(copy.id, copy.version)).await, Ok(false));
        assert_eq!(store.retrace(stays(copy.id, read(&store, copy.id).await.version)).await, Ok(false));
    }
    assert_eq!(log(&store).await.len(), entries);
}
