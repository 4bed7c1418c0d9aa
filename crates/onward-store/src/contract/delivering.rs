//! Leases, lanes, attempts, acknowledgements, reading and lists.

use std::collections::BTreeSet;

use onward_core::DeliveryId;
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{
    AttemptEnd, AttemptOutcome, Changed, Claim, DeliveryQuery, DeliveryRecord, FoundTask, Intent, Lease, Resend,
    TaskQuery, Transition,
};

use super::{Shared, accept_new, acceptance, at, at_once, delivery, hold, log, ods, patient, row};

pub(super) async fn claim(store: &Shared, now: i64) -> Vec<Lease> {
    store.claim(Claim::due(at(now), at(now + 30), 100)).await.expect("claimable")
}

async fn ids_claimed(store: &Shared, now: i64) -> Vec<DeliveryId> {
    claim(store, now).await.iter().map(|lease| lease.delivery.id).collect()
}

pub(super) async fn end(store: &Shared, lease: &Lease, outcome: AttemptOutcome, now: i64) -> bool {
    let end = AttemptEnd {
        delivery: lease.delivery.id,
        token: lease.token,
        outcome,
        at: at(now),
        audit: vec![row(AuditWord::Disclose)],
    };
    store.complete(vec![end]).await.expect("committed")[0]
}

fn sent() -> AttemptOutcome {
    AttemptOutcome::Sent { state: DeliveryState::Sent, reference: Some("20261120-mesh".to_owned()) }
}

async fn read(store: &Shared, id: DeliveryId) -> DeliveryRecord {
    store.delivery(id).await.expect("readable").expect("there")
}

pub(crate) fn change(delivery: DeliveryId, expected_version: u64, state: DeliveryState) -> Transition {
    Transition {
        delivery,
        expected_version,
        state,
        code: Some("30001".to_owned()),
        reason: None,
        at: at(50),
        responses: Vec::new(),
        audit: vec![row(AuditWord::Acknowledge)],
    }
}

/// Somewhere out there.
fn pushed() -> Endpoint {
    Endpoint::Https { url: "https://practice.example/in".to_owned() }
}

pub(crate) async fn a_copy_is_leased_to_one(store: Shared) {
    let mut message = acceptance(1);
    message.deliveries[0].workflow = Some("TOC_FHIR_IP_DISCH".parse().expect("a workflow"));
    message.deliveries[0].endpoint = pushed();
    let id = accept_new(&store, message).await;
    assert!(store.claim(Claim::due(at(-1), at(30), 10)).await.expect("claimable").is_empty(), "not due yet");
    assert!(store.claim(Claim::due(at(0), at(30), 0)).await.expect("claimable").is_empty());

    let leases = claim(&store, 0).await;
    assert_eq!(leases.len(), 1);
    let lease = &leases[0];
    assert_eq!((lease.delivery.id, lease.attempt, lease.delivery.attempts), (id, 1, 1));
    assert_eq!((lease.delivery.state, lease.delivery.version), (DeliveryState::Queued, 1));
    let outgoing = lease.outgoing.as_ref().expect("it leaves");
    assert_eq!((outgoing.media_type.as_str(), &outgoing.body[..]), ("application/fhir+json", &b"what travels"[..]));
    assert_eq!(lease.workflow.as_ref().map(ToString::to_string).as_deref(), Some("TOC_FHIR_IP_DISCH"));
    assert!(claim(&store, 29).await.is_empty(), "leased");
    let is_leased = async |now: i64| store.is_leased(id, at(now)).await.expect("readable");
    assert!(is_leased(29).await);
    assert!(!is_leased(30).await, "it has run out");

    assert!(end(&store, lease, sent(), 5).await);
    assert!(!is_leased(5).await, "the attempt has ended");
    assert!(!store.is_leased(DeliveryId::random(), at(5)).await.expect("readable"));
    assert!(!end(&store, lease, sent(), 6).await, "an attempt ends once");
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.version, copy.attempts), (DeliveryState::Sent, 2, 1));
    assert_eq!((copy.changed, copy.next_attempt), (at(5), None));
    assert_eq!(copy.reference.as_deref(), Some("20261120-mesh"));
    let found = store.delivery_by_reference("20261120-mesh").await.expect("readable").expect("there");
    assert_eq!(found.id, id);
    assert_eq!(log(&store).await.len(), 2, "an end that does not count has no audit");
    let transfer = store.transfer(copy.transfer).await.expect("readable").expect("there");
    assert_eq!(transfer.changed, at(5), "a transfer changes with its copies");
}

pub(crate) async fn claims_at_once_never_share_a_copy(store: Shared) {
    for n in 0..60 {
        accept_new(&store, acceptance(n)).await;
    }
    let claims = at_once(&store, 12, |store, _| async move { store.claim(Claim::due(at(0), at(30), 7)).await }).await;
    let leased: Vec<_> = claims.into_iter().flat_map(|leases| leases.expect("claimable")).collect();
    assert_eq!(leased.len(), 60);
    assert_eq!(leased.iter().map(|lease| lease.delivery.id).collect::<BTreeSet<_>>().len(), 60);
    assert_eq!(leased.iter().map(|lease| lease.token).collect::<BTreeSet<_>>().len(), 60);
}

pub(crate) async fn what_is_about_to_be_sent_is_told_with_its_lease(store: Shared) {
    accept_new(&store, acceptance(1)).await;
    accept_new(&store, acceptance(2)).await;
    let before = log(&store).await.len();
    let intent = Intent::new(|lease| vec![AuditRow { delivery: Some(lease.delivery.id), ..row(AuditWord::Intend) }]);
    let leases = store.claim(Claim { intent, ..Claim::due(at(0), at(30), 10) }).await.expect("claimable");
    let told: Vec<_> = log(&store).await.split_off(before).into_iter().map(|entry| entry.columns.delivery).collect();
    let leased: Vec<_> = leases.iter().map(|lease| Some(lease.delivery.id.to_string())).collect();
    assert_eq!(leased.len(), 2);
    assert_eq!(told, leased);
    // What cannot be told is not leased either.
    let taken = row(AuditWord::Intend);
    store.audit(vec![taken.clone()]).await.expect("committed");
    let again = Claim { intent: Intent::new(move |_| vec![taken.clone()]), ..Claim::due(at(31), at(60), 10) };
    assert!(store.claim(again).await.is_err());
    assert_eq!(store.claim(Claim::due(at(31), at(60), 10)).await.expect("claimable").len(), 2, "free for the next");
}

pub(crate) async fn a_copy_of_which_nothing_can_be_told_hinders_no_other(store: Shared) {
    let first = accept_new(&store, acceptance(1)).await;
    let damaged = accept_new(&store, acceptance(2)).await;
    let last = accept_new(&store, acceptance(3)).await;
    let before = log(&store).await.len();
    let intent = Intent::new(move |lease| {
        assert_ne!(lease.delivery.id, damaged, "a fault of the program");
        vec![AuditRow { delivery: Some(lease.delivery.id), ..row(AuditWord::Intend) }]
    });
    let leases = store.claim(Claim { intent, ..Claim::due(at(0), at(30), 10) }).await.expect("claimable");
    let told: Vec<_> = leases.iter().map(|lease| (lease.delivery.id, lease.told)).collect();
    assert_eq!(told, [(first, true), (damaged, false), (last, true)]);
    let entries: Vec<_> = log(&store).await.split_off(before).into_iter().map(|entry| entry.columns.delivery).collect();
    assert_eq!(entries, [first, last].map(|id| Some(id.to_string())));
    // Its attempt ends as any other does, and the lane is free.
    let failed = AttemptOutcome::Failed { reason: "nothing has left".to_owned() };
    assert!(end(&store, &leases[1], failed, 1).await);
    assert_eq!(read(&store, damaged).await.state, DeliveryState::Failed);
}

pub(crate) async fn an_expired_lease_is_fenced_off(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let dead = claim(&store, 0).await.remove(0);
    let heir = claim(&store, 30).await.remove(0);
    assert_eq!((heir.delivery.id, heir.attempt), (id, 2));
    assert_ne!(heir.token, dead.token);
    assert!(!end(&store, &dead, AttemptOutcome::Failed { reason: "zombie".to_owned() }, 31).await);
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.version, copy.reason), (DeliveryState::Queued, 1, None));
    assert_eq!(log(&store).await.len(), 1);
    // In one call: the zombie's end does not hinder the heir's.
    let ends = [&dead, &heir].map(|lease| AttemptEnd {
        delivery: id,
        token: lease.token,
        outcome: sent(),
        at: at(32),
        audit: vec![row(AuditWord::Disclose)],
    });
    assert_eq!(store.complete(ends.to_vec()).await, Ok(vec![false, true]));
    assert!(!end(&store, &dead, sent(), 33).await);
    assert_eq!(read(&store, id).await.attempts, 2);
}

pub(crate) async fn a_late_end_counts_while_nobody_else_claimed(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let late = claim(&store, 0).await.remove(0);
    assert!(end(&store, &late, sent(), 600).await, "it was sent: sending it again would be worse");
    assert_eq!(read(&store, id).await.state, DeliveryState::Sent);
    assert!(claim(&store, 700).await.is_empty());
}

pub(crate) async fn a_retry_waits_for_its_moment(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let lease = claim(&store, 0).await.remove(0);
    let retry = AttemptOutcome::Retry { at: at(90), reason: "503".to_owned() };
    assert!(end(&store, &lease, retry, 2).await);
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.next_attempt), (DeliveryState::Queued, Some(at(90))));
    assert_eq!((copy.reason.as_deref(), copy.changed), (Some("503"), at(2)));
    assert!(claim(&store, 89).await.is_empty());
    let again = claim(&store, 90).await.remove(0);
    assert_eq!(again.attempt, 2);
    assert!(end(&store, &again, sent(), 91).await);
    let copy = read(&store, id).await;
    assert_eq!((copy.reason, copy.version), (None, 3));
}

pub(crate) async fn a_lane_keeps_its_order(store: Shared) {
    let mut ids = Vec::new();
    for n in 0..4 {
        let mut message = acceptance(n);
        message.transfer.patient = Some(patient(1));
        // The younger one claims to be older: order is that of commits, not of clocks.
        message.transfer.received = at(-i64::from(n));
        ids.push(accept_new(&store, message).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let now = 100 * i64::try_from(n).expect("few");
        let leases = claim(&store, now).await;
        assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [*id]);
        assert!(claim(&store, now + 1).await.is_empty(), "leased copies hold their lane too");
        let retry = AttemptOutcome::Retry { at: at(now + 50), reason: "429".to_owned() };
        assert!(end(&store, &leases[0], retry, now + 2).await);
        assert!(claim(&store, now + 49).await.is_empty(), "waiting copies hold their lane too");
        let leases = claim(&store, now + 50).await;
        assert_eq!(leases[0].delivery.id, *id);
        assert!(end(&store, &leases[0], sent(), now + 51).await);
    }
}

pub(crate) async fn other_lanes_flow(store: Shared) {
    let mut message = acceptance(1);
    message.deliveries.push(delivery(RecipientKind::PharmacyReferral, "FA123"));
    message.deliveries.push(delivery(RecipientKind::PharmacyNomination, "FA123"));
    accept_new(&store, message).await;
    let other_patient = acceptance(2);
    accept_new(&store, other_patient).await;
    for n in [3, 4] {
        let mut nameless = acceptance(n);
        nameless.transfer.patient = None;
        accept_new(&store, nameless).await;
    }
    assert_eq!(claim(&store, 0).await.len(), 6, "patient, recipient and kind make a lane, and so does a transfer");
}

pub(crate) async fn a_failed_copy_frees_its_lane_and_can_be_queued_again(store: Shared) {
    let first = accept_new(&store, acceptance(1)).await;
    let mut next = acceptance(2);
    next.transfer.patient = Some(patient(1));
    let second = accept_new(&store, next).await;
    assert_eq!(
        store.requeue(first, Resend::Replay.into(), "Ada Wells", "mended", at(1), vec![row(AuditWord::Release)]).await,
        Ok(false),
        "it is not failed"
    );
    let lease = claim(&store, 0).await.remove(0);
    assert!(end(&store, &lease, AttemptOutcome::Failed { reason: "410".to_owned() }, 1).await);
    let copy = read(&store, first).await;
    assert_eq!((copy.state, copy.next_attempt, copy.reason.as_deref()), (DeliveryState::Failed, None, Some("410")));
    assert_eq!(ids_claimed(&store, 2).await, [second]);

    assert_eq!(
        store.requeue(first, Resend::Replay.into(), "Ada Wells", "mended", at(40), vec![row(AuditWord::Release)]).await,
        Ok(true)
    );
    assert_eq!(
        store.requeue(first, Resend::Replay.into(), "Ada Wells", "mended", at(41), vec![row(AuditWord::Release)]).await,
        Ok(false)
    );
    assert_eq!(
        store
            .requeue(
                DeliveryId::random(),
                Resend::Replay.into(),
                "Ada Wells",
                "mended",
                at(41),
                vec![row(AuditWord::Release)]
            )
            .await,
        Ok(false)
    );
    let copy = read(&store, first).await;
    assert_eq!((copy.state, copy.version, copy.next_attempt), (DeliveryState::Queued, 3, Some(at(40))));
    assert_eq!(copy.replay.as_deref(), Some("mended"));
    assert_eq!(log(&store).await.len(), 4);
    assert_eq!(ids_claimed(&store, 40).await, [first], "the older one goes before the younger again");
}

pub(crate) async fn an_acknowledgement_may_overtake_the_end_of_its_attempt(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let lease = claim(&store, 0).await.remove(0);
    assert_eq!(store.transition(change(id, 1, DeliveryState::Accepted)).await, Ok(true));
    assert!(end(&store, &lease, sent(), 60).await, "the disclosure is audited all the same");
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.version), (DeliveryState::Accepted, 2), "and the state does not go back");
    assert_eq!(copy.reference.as_deref(), Some("20261120-mesh"));
    assert_eq!(log(&store).await.len(), 3);
    assert!(claim(&store, 100).await.is_empty());
}

pub(crate) async fn a_stale_version_changes_nothing(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let mut refusal = change(id, 1, DeliveryState::Rejected);
    refusal.reason = Some("not our resident".to_owned());
    assert_eq!(store.transition(refusal).await, Ok(true));
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.version, copy.changed), (DeliveryState::Rejected, 2, at(50)));
    assert_eq!((copy.code.as_deref(), copy.reason.as_deref()), (Some("30001"), Some("not our resident")));
    for stale in [0, 1, 3, u64::MAX] {
        let mut change = change(id, stale, DeliveryState::Accepted);
        change.responses = vec![delivery(RecipientKind::Sender, "RXH")];
        assert_eq!(store.transition(change).await, Ok(false), "{stale}");
    }
    assert_eq!(store.transition(change(DeliveryId::random(), 1, DeliveryState::Accepted)).await, Ok(false));
    assert_eq!(read(&store, id).await.version, 2);
    assert_eq!(log(&store).await.len(), 2);
    let transfer = store.transfer(copy.transfer).await.expect("readable").expect("there");
    assert_eq!(transfer.deliveries.len(), 1, "no responses either");
    let mut later = change(id, 2, DeliveryState::Withdrawn);
    later.code = None;
    assert_eq!(store.transition(later).await, Ok(true));
    assert_eq!(read(&store, id).await.code.as_deref(), Some("30001"), "the code last received stays");
}

pub(crate) async fn one_of_many_transitions_wins(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let outcomes = at_once(&store, 40, move |store, _| async move {
        store.transition(change(id, 1, DeliveryState::Received)).await.expect("committed")
    })
    .await;
    assert_eq!(outcomes.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(log(&store).await.len(), 2);
}

pub(crate) async fn responses_are_queued_once(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let mut infrastructure = delivery(RecipientKind::Sender, "RXH");
    infrastructure.correlation_id = Some("urn:response".to_owned());
    let business = delivery(RecipientKind::Sender, "RXH");
    let mut first = change(id, 1, DeliveryState::Received);
    first.responses = vec![infrastructure.clone()];
    let mut second = change(id, 2, DeliveryState::Accepted);
    infrastructure.body = b"changed".to_vec();
    second.responses = vec![infrastructure.clone(), business.clone()];
    assert_eq!(store.transition(first).await, Ok(true));
    assert_eq!(store.transition(second).await, Ok(true));
    let copy = read(&store, id).await;
    let transfer = store.transfer(copy.transfer).await.expect("readable").expect("there");
    assert_eq!(transfer.deliveries.len(), 3);
    let found = store.delivery_by_correlation("urn:response").await.expect("readable").expect("there");
    assert_eq!((found.id, found.transfer, found.body_bytes), (infrastructure.id, copy.transfer, 12));
    assert!(store.delivery_by_correlation("urn:none").await.expect("readable").is_none());
    // Responses of one transfer keep their order too.
    assert_eq!(ids_claimed(&store, 60).await, [infrastructure.id]);
}

pub(crate) async fn reading_is_recorded_with_the_bytes(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let lease = claim(&store, 0).await.remove(0);
    let inbox = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
    assert!(end(&store, &lease, inbox, 1).await);
    let before = log(&store).await.len();
    let unknown = store.open_rendition(DeliveryId::random(), at(2), None, vec![row(AuditWord::Read)]).await;
    assert!(unknown.expect("committed").is_none());
    assert_eq!(log(&store).await.len(), before, "nothing read, nothing recorded");

    let rendition = store.open_rendition(id, at(3), None, vec![row(AuditWord::Read)]).await.expect("committed");
    assert_eq!(rendition.expect("there").body, b"what travels");
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.version, copy.opened), (DeliveryState::Received, 3, Some(at(3))));
    store.open_rendition(id, at(9), None, vec![row(AuditWord::Read)]).await.expect("committed").expect("there");
    let copy = read(&store, id).await;
    assert_eq!((copy.version, copy.opened, copy.changed), (3, Some(at(3)), at(3)), "only the first changes it");
    assert_eq!(log(&store).await.len(), before + 2, "but each is recorded");
    // An audit row that cannot be written (its identifier is taken) gives no bytes away.
    let taken = row(AuditWord::Read);
    store.audit(vec![taken.clone()]).await.expect("committed");
    assert!(store.open_rendition(id, at(10), None, vec![taken]).await.is_err());
}

pub(crate) async fn an_inbox_is_read_before_the_dispatcher_comes_by(store: Shared) {
    let id = accept_new(&store, acceptance(1)).await;
    let mut by_mesh = acceptance(2);
    by_mesh.deliveries[0].endpoint = Endpoint::Mesh { mailbox: "X26ABC3".parse().expect("a mailbox"), workflow: None };
    let sent = accept_new(&store, by_mesh).await;
    let mut overtaken = acceptance(3);
    overtaken.deliveries[0].recipient = ods("VM9ZZ");
    let overtaken = accept_new(&store, overtaken).await;
    let leases = store.claim(Claim::due(at(0), at(30), 100)).await.expect("claimable");
    let lease = leases.iter().find(|lease| lease.delivery.id == overtaken).expect("leased");
    for id in [id, sent, overtaken] {
        assert!(store.open_rendition(id, at(1), None, vec![row(AuditWord::Read)]).await.expect("committed").is_some());
    }
    assert_eq!((read(&store, id).await.state, read(&store, id).await.next_attempt), (DeliveryState::Received, None));
    let copy = read(&store, sent).await;
    assert_eq!((copy.state, copy.opened), (DeliveryState::Queued, Some(at(1))), "MESH still sends it");
    let inbox = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
    assert!(end(&store, lease, inbox, 2).await);
    assert_eq!(read(&store, overtaken).await.state, DeliveryState::Received, "the dispatcher comes too late");
    assert_eq!(ids_claimed(&store, 60).await, [sent], "what was collected is not sent again");
}

pub(crate) async fn lists_are_filtered_and_paged(store: Shared) {
    for n in 0..10 {
        let mut message = acceptance(n);
        message.transfer.received = at(i64::from(n / 3));
        message.transfer.sender = ods(if n % 2 == 0 { "RXH" } else { "RYJ" });
        message.deliveries.push(delivery(RecipientKind::RegisteredPractice, "A82608"));
        message.deliveries.push(delivery(RecipientKind::Sender, if n % 2 == 0 { "RXH" } else { "RYJ" }));
        accept_new(&store, message).await;
    }
    let all = DeliveryQuery { limit: 100, include_responses: true, ..DeliveryQuery::default() };
    let everything = store.deliveries(all.clone()).await.expect("readable");
    assert_eq!(everything.len(), 30);
    assert!(everything.is_sorted_by_key(|copy| (copy.created, copy.id)));

    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = DeliveryQuery { after, limit: 7, ..all.clone() };
        let page = store.deliveries(page).await.expect("readable");
        let Some(last) = page.last() else { break };
        after = Some((last.created, last.id));
        paged.extend(page);
    }
    let ids = |copies: &[DeliveryRecord]| copies.iter().map(|copy| copy.id).collect::<Vec<_>>();
    assert_eq!(ids(&paged), ids(&everything));

    let count = async |query: DeliveryQuery| store.deliveries(query).await.expect("readable").len();
    let base = DeliveryQuery { limit: 100, ..DeliveryQuery::default() };
    assert_eq!(count(base.clone()).await, 20, "responses only when asked for");
    assert_eq!(count(DeliveryQuery { limit: 0, ..base.clone() }).await, 0);
    assert_eq!(count(DeliveryQuery { recipient: Some(ods("A82608")), ..base.clone() }).await, 10);
    assert_eq!(count(DeliveryQuery { sender: Some(ods("RYJ")), ..base.clone() }).await, 10);
    assert_eq!(count(DeliveryQuery { patient: Some(patient(3)), ..base.clone() }).await, 2);
    assert_eq!(count(DeliveryQuery { patient: Some(patient(77)), ..base.clone() }).await, 0);
    assert_eq!(count(DeliveryQuery { changed_since: Some(at(2)), ..base.clone() }).await, 8);
    let transfer = everything[0].transfer;
    assert_eq!(count(DeliveryQuery { transfer: Some(transfer), ..base.clone() }).await, 2);
    store.transition(change(everything[0].id, 1, DeliveryState::Rejected)).await.expect("committed");
    let states = vec![DeliveryState::Rejected, DeliveryState::Failed];
    let query = DeliveryQuery { states, include_responses: true, ..base };
    assert_eq!(ids(&store.deliveries(query).await.expect("readable")), [everything[0].id]);
}

pub(crate) async fn what_a_person_must_decide_about_is_listed_in_order(store: Shared) {
    let mut wanted = Vec::new();
    for n in 0..12 {
        let mut message = acceptance(n);
        message.transfer.received = at(i64::from(n / 3));
        let copy = accept_new(&store, message).await;
        let (state, code) = match n % 4 {
            0 => (DeliveryState::Failed, None),
            1 => (DeliveryState::Rejected, Some("20005")),
            2 => (DeliveryState::Rejected, Some("30003")),
            _ => (DeliveryState::Received, None),
        };
        let end = Transition { code: code.map(str::to_owned), ..change(copy, 1, state) };
        assert_eq!(store.transition(end).await, Ok(true));
        if n % 4 < 2 {
            wanted.push(copy);
        }
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = DeliveryQuery { dead: true, after, limit: 2, ..DeliveryQuery::default() };
        let page = store.deliveries(page).await.expect("readable");
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2 && after < Some((last.created, last.id)));
        after = Some((last.created, last.id));
        assert!(page.iter().all(|copy| copy.state == DeliveryState::Failed || copy.is_unprocessed()));
        found.extend(page.into_iter().map(|copy| copy.id));
    }
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "what a recipient's people declined is decided");
    let elsewhere = DeliveryQuery { dead: true, recipient: Some(ods("A82608")), limit: 9, ..DeliveryQuery::default() };
    assert_eq!(store.deliveries(elsewhere).await.expect("readable").len(), 0);
}

fn both() -> TaskQuery {
    TaskQuery { transfers: true, copies: true, limit: 100, ..TaskQuery::default() }
}

async fn places(store: &Shared, query: TaskQuery) -> Vec<uuid::Uuid> {
    let found = store.tasks(query.clone()).await.expect("readable");
    if query.after.is_none() && query.limit == 100 {
        assert_eq!(store.count_tasks(query).await, Ok(found.len() as u64), "the count is that of the list");
    }
    found.iter().map(|task| task.place().1).collect()
}

pub(crate) async fn tasks_of_transfers_and_copies_stand_in_one_list(store: Shared) {
    let mut transfers = Vec::new();
    for n in 0..10 {
        let mut message = acceptance(n);
        message.transfer.received = at(i64::from(n / 3));
        message.transfer.sender = ods(if n % 2 == 0 { "RXH" } else { "RYJ" });
        message.deliveries.push(delivery(RecipientKind::RegisteredPractice, "A82608"));
        message.deliveries.push(delivery(RecipientKind::Sender, "RXH"));
        transfers.push(message.transfer.id);
        accept_new(&store, message).await;
    }
    let everything = places(&store, both()).await;
    assert_eq!(everything.len(), 30, "responses to senders are nobody's Tasks");
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.tasks(TaskQuery { after, limit: 7, ..both() }).await.expect("readable");
        let Some(last) = page.last() else { break };
        after = Some(last.place());
        paged.extend(page.iter().map(|task| task.place().1));
    }
    assert_eq!(paged, everything);
    for (query, expected) in [
        (TaskQuery { limit: 0, ..both() }, 0),
        (TaskQuery { transfers: false, ..both() }, 20),
        (TaskQuery { copies: false, ..both() }, 10),
        (TaskQuery { transfers: false, copies: false, ..both() }, 0),
        (TaskQuery { sender: Some(ods("RYJ")), ..both() }, 15),
        (TaskQuery { recipient: Some(ods("A82608")), ..both() }, 10),
        (TaskQuery { kinds: vec![RecipientKind::CareHome], ..both() }, 10),
        (TaskQuery { transfer: Some(transfers[0]), ..both() }, 2),
        (TaskQuery { patient: Some(patient(3)), ..both() }, 3),
        (TaskQuery { patient: Some(patient(77)), ..both() }, 0),
    ] {
        assert_eq!(places(&store, query.clone()).await.len(), expected, "{query:?}");
    }
}

pub(crate) async fn a_transfer_is_found_by_the_status_that_it_shows(store: Shared) {
    use DeliveryState as S;
    let mixtures: [&[S]; 9] = [
        &[],
        &[S::Queued],
        &[S::Accepted, S::Completed],
        &[S::Accepted, S::Sent],
        &[S::Accepted, S::Rejected],
        &[S::Failed, S::Withdrawn],
        &[S::Withdrawn, S::Withdrawn],
        &[S::Withdrawn, S::InProgress],
        &[S::Received],
    ];
    for (n, states) in (0..).zip(mixtures) {
        for held in [false, true] {
            let mut message = acceptance(2 * n + u32::from(held));
            message.hold = held.then(hold);
            message.deliveries = states.iter().map(|_| delivery(RecipientKind::CareHome, "VM1AB")).collect();
            let ids: Vec<_> = message.deliveries.iter().map(|copy| copy.id).collect();
            message.deliveries.push(delivery(RecipientKind::Sender, "RXH"));
            accept_new(&store, message).await;
            for (id, state) in ids.into_iter().zip(states) {
                assert_eq!(store.transition(change(id, 1, *state)).await, Ok(true));
            }
        }
    }
    let transfers = TaskQuery { copies: false, ..both() };
    let all = store.tasks(transfers.clone()).await.expect("readable");
    let mut found = 0;
    for status in ["on-hold", "failed", "in-progress", "cancelled", "completed", "requested"] {
        let shown: Vec<_> = all
            .iter()
            .filter(|task| matches!(task, FoundTask::Transfer(transfer) if transfer.task_status() == status))
            .map(|task| task.place().1)
            .collect();
        found += shown.len();
        let query = TaskQuery { statuses: vec![status.to_owned()], ..transfers.clone() };
        assert_eq!(places(&store, query).await, shown, "{status}");
    }
    assert_eq!((found, all.len()), (18, 18));
    let copies = TaskQuery { transfers: false, statuses: vec!["on-hold".to_owned()], ..both() };
    assert!(places(&store, copies).await.is_empty(), "a copy is never on hold");
    let copies = TaskQuery { transfers: false, statuses: vec!["requested".to_owned()], ..both() };
    assert_eq!(places(&store, copies).await.len(), 4);
}

pub(crate) async fn tasks_are_found_by_when_they_changed(store: Shared) {
    let mut ids = Vec::new();
    for n in 0..3 {
        let mut message = acceptance(n);
        message.transfer.received = at(0);
        let transfer = message.transfer.id.0;
        let copy = accept_new(&store, message).await;
        let moved = Transition { at: at(10 * i64::from(n) + 10), ..change(copy, 1, DeliveryState::Received) };
        assert_eq!(store.transition(moved).await, Ok(true));
        ids.push([transfer, copy.0]);
    }
    let within = |from: Option<i64>, until: Option<i64>| Changed::Within { from: from.map(at), until: until.map(at) };
    for (changed, expected) in [
        (vec![within(Some(20), None)], vec![1, 2]),
        (vec![within(None, Some(20))], vec![0]),
        (vec![within(Some(11), None), within(None, Some(30))], vec![1]),
        (vec![Changed::Outside { from: at(20), until: at(21) }], vec![0, 2]),
        (vec![within(Some(31), None)], vec![]),
    ] {
        let found: BTreeSet<_> =
            places(&store, TaskQuery { changed: changed.clone(), ..both() }).await.into_iter().collect();
        let expected: BTreeSet<_> = expected.into_iter().flat_map(|n: usize| ids[n]).collect();
        assert_eq!(found, expected, "{changed:?}: a transfer changes with its copies");
    }
}
