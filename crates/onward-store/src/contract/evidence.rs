//! What leaves the gateway to prove its audit log.

use std::sync::Arc;

use onward_core::audit::{AuditRow, AuditWord, StoredCheckpoint};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::evidence::{PolicyInForce, StoredCosignature};
use onward_core::store::reporting::{HeldThen, ReportedCopy};
use onward_core::store::{Accepted, AttemptEnd, AttemptOutcome, Claim, Contents, ErasureOutcome, Intent, StoreError};
use uuid::Uuid;

use super::erasing::{confirm, request, settled};
use super::{Shared, accept_new, acceptance, at, at_once, delivery, hold, patient, row};

fn cosignature(size: u64, witness: &str, line: &str) -> StoredCosignature {
    StoredCosignature { size, witness: witness.to_owned(), line: format!("\u{2014} {witness} {line}\n"), at: at(5) }
}

pub(crate) async fn cosignatures_are_kept_by_checkpoint_and_witness(store: Shared) {
    assert_eq!(store.latest_cosignatures().await, Ok(Vec::new()));
    assert!(store.put_cosignature(cosignature(3, "one", "AAAA")).await.is_err(), "of a checkpoint that is not there");
    for size in [3, 7] {
        let checkpoint = StoredCheckpoint { size, note: format!("note {size}\n") };
        assert_eq!(store.put_checkpoint(checkpoint).await, Ok(true));
    }
    for (size, witness, line) in [(7, "two", "BBBB"), (3, "one", "CCCC"), (3, "two", "DDDD"), (7, "two", "EEEE")] {
        store.put_cosignature(cosignature(size, witness, line)).await.expect("committed");
    }
    let latest = [cosignature(3, "one", "CCCC"), cosignature(7, "two", "EEEE")];
    assert_eq!(store.latest_cosignatures().await, Ok(latest.to_vec()), "the later of the same witness and checkpoint");
    let all = [latest[0].clone(), cosignature(3, "two", "DDDD"), latest[1].clone()];
    for (first, last, found) in
        [(0, u64::MAX, &all[..]), (3, 7, &all[..]), (0, 6, &all[..2]), (4, 7, &all[2..]), (4, 6, &[])]
    {
        assert_eq!(store.cosignatures(first, last).await, Ok(found.to_vec()), "{first} to {last}");
    }
}

pub(crate) async fn the_log_is_forwarded_by_one_at_a_time(store: Shared) {
    assert_eq!(store.audit_size().await, Ok(0));
    store.audit((0..3).map(|_| row(AuditWord::Query)).collect()).await.expect("committed");
    assert_eq!(store.audit_size().await, Ok(3));
    let takers = at_once(&store, 20, |store, n| async move {
        store.take_forwarding("siem", n as u64 + 1, at(0), at(10), 2).await.expect("committed").map(|from| (n, from))
    })
    .await;
    let taken: Vec<_> = takers.into_iter().flatten().collect();
    let [(winner, 2)] = taken[..] else { panic!("one of many takes it where it was told to begin: {taken:?}") };
    let winner = winner as u64 + 1;
    assert_eq!(store.forwarded("siem", winner + 1, 3).await, Ok(false), "not its own");
    assert_eq!(store.forwarded("siem", winner, 3).await, Ok(true));
    assert_eq!(store.take_forwarding("siem", winner, at(5), at(15), 0).await, Ok(Some(3)), "it goes on");
    assert_eq!(store.take_forwarding("siem", 99, at(14), at(24), 0).await, Ok(None));
    assert_eq!(store.take_forwarding("siem", 99, at(15), at(25), 0).await, Ok(Some(3)), "its time was over");
    assert_eq!(store.forwarded("siem", winner, 4).await, Ok(false), "it comes too late");
    assert_eq!(store.take_forwarding("archive", 7, at(0), at(10), 0).await, Ok(Some(0)), "each sink for itself");
    assert_eq!(store.forwarding().await, Ok(vec![("archive".to_owned(), 0), ("siem".to_owned(), 3)]));
}

pub(crate) async fn policies_are_kept_from_the_moment_that_they_are_in_force(store: Shared) {
    let policy = |kind, since, text: &str| PolicyInForce { kind, since: at(since), text: text.to_owned() };
    let (home, practice) = (RecipientKind::CareHome, RecipientKind::CoveringPractice);
    assert_eq!(store.policies_in_force().await, Ok(Vec::new()));
    let first = vec![policy(home, 5, "version = \"1\"\n"), policy(practice, 5, "version = \"1\"\n")];
    store.put_in_force(first.clone(), vec![row(AuditWord::Configure)]).await.expect("committed");
    let earlier = policy(home, 3, "version = \"0\"\n");
    for text in ["another node's, at the same moment", "version = \"1\"\n"] {
        let again = vec![earlier.clone(), policy(home, 5, text)];
        let kept = store.put_in_force(again, vec![row(AuditWord::Configure)]).await;
        assert_eq!(kept, Err(StoreError::Overtaken), "never silently one of two");
    }
    assert_eq!(
        (store.policies_in_force().await, store.audit_size().await),
        (Ok(first.clone()), Ok(1)),
        "nothing of it"
    );
    store.put_in_force(vec![earlier.clone()], vec![row(AuditWord::Configure)]).await.expect("committed");
    let expected = [vec![earlier], first].concat();
    assert_eq!(store.policies_in_force().await, Ok(expected.clone()));
    assert_eq!(store.audit_size().await, Ok(2));
    let twice = row(AuditWord::Configure);
    store.audit(vec![twice.clone()]).await.expect("committed");
    let refused = store.put_in_force(vec![policy(home, 9, "x")], vec![twice]).await;
    assert!(refused.is_err(), "its id is taken");
    assert_eq!(store.policies_in_force().await, Ok(expected), "no entry, no policy");
}

fn contents(number: u8) -> Arc<Contents> {
    Arc::new(Contents { sha256: [number; 32], names: format!("Patient.name\nsection {number}\n") })
}

pub(crate) async fn what_was_sent_is_kept_once_with_its_entry(store: Shared) {
    assert_eq!(store.contents(&[[1; 32]]).await, Ok(Vec::new()));
    let sent = |number| AuditRow { contents: Some(contents(number)), ..row(AuditWord::Disclose) };
    // Many at once that carry the same, in both orders.
    at_once(&store, 20, |store, n| async move {
        let pair = [1, 2].map(|number| if n % 2 == 0 { number } else { 3 - number });
        store
            .audit(pair.map(|number| AuditRow { contents: Some(contents(number)), ..row(AuditWord::Read) }).to_vec())
            .await
    })
    .await
    .into_iter()
    .for_each(|kept| kept.expect("committed"));
    store.audit(vec![sent(2), sent(3), row(AuditWord::Query)]).await.expect("committed");
    let mut found = store.contents(&[[3; 32], [1; 32], [9; 32], [2; 32]]).await.expect("readable");
    found.sort_by_key(|list| list.sha256);
    assert_eq!(found, [1, 2, 3].map(|number| (*contents(number)).clone()));
    assert_eq!(store.contents(&[]).await, Ok(Vec::new()));

    // With what a claim tells, and not without its entry.
    accept_new(&store, acceptance(1)).await;
    let intent = Intent::new(|_| vec![AuditRow { contents: Some(contents(4)), ..row(AuditWord::Intend) }]);
    store.claim(Claim { intent, ..Claim::due(at(0), at(30), 10) }).await.expect("claimable");
    assert_eq!(store.contents(&[[4; 32]]).await.map(|found| found.len()), Ok(1));
    let twice = row(AuditWord::Disclose);
    store.audit(vec![twice.clone()]).await.expect("committed");
    assert!(store.audit(vec![AuditRow { contents: Some(contents(5)), ..twice }]).await.is_err(), "its id is taken");
    assert_eq!(store.contents(&[[5; 32]]).await, Ok(Vec::new()), "no entry, no list");

    // A list is about nobody: it outlasts the entry that named it.
    settled(&store, 7).await;
    let read = AuditRow { patient: Some(patient(7)), contents: Some(contents(6)), ..row(AuditWord::Read) };
    store.audit(vec![read]).await.expect("committed");
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(7), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    confirm(&store, id, "Bea").await;
    assert_eq!(store.contents(&[[6; 32]]).await, Ok(vec![(*contents(6)).clone()]));
}

pub(crate) async fn what_came_is_reported_with_its_times(store: Shared) {
    let mut first = acceptance(1);
    first.transfer.expected = Some(at(7_200));
    first.deliveries.push(delivery(RecipientKind::Sender, "RXH"));
    accept_new(&store, first.clone()).await;
    let mut held = acceptance(2);
    held.deliveries.clear();
    held.hold = Some(hold());
    assert_eq!(store.accept(held.clone()).await, Ok(Accepted::New));
    let leases = store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    let home = leases.iter().find(|lease| lease.delivery.kind == RecipientKind::CareHome).expect("a copy for the home");
    let outcome = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
    let end = AttemptEnd { delivery: home.delivery.id, token: home.token, outcome, at: at(60), audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));

    let found = store.reported(at(0), at(1)).await.expect("readable");
    let with_copies = found.iter().find(|transfer| !transfer.copies.is_empty()).expect("the first");
    assert_eq!((found.len(), &with_copies.sender, with_copies.held), (2, &first.transfer.sender, None));
    let copy = |read| ReportedCopy {
        kind: RecipientKind::CareHome,
        delivered: Some(at(60)),
        read,
        arrived: None,
        expected: Some(at(7_200)),
    };
    assert_eq!(with_copies.copies, [copy(None)], "responses are not counted");
    let waits = found.iter().find(|transfer| transfer.copies.is_empty()).expect("the second");
    assert_eq!((waits.held, &waits.event), (held.hold.as_ref().map(|hold| hold.reason), &held.transfer.event));

    store.open_rendition(home.delivery.id, at(90), None, Vec::new()).await.expect("committed");
    let found = store.reported(at(0), at(1)).await.expect("readable");
    assert!(found.iter().any(|transfer| transfer.copies == [copy(Some(at(90)))]), "{found:?}");
    assert_eq!(store.reported(at(1), at(100)).await, Ok(Vec::new()), "the time is that of the message");
}

/// Whose data a stolen backup of a moment holds, also when they were erased since; who had been erased before is told apart.
pub(crate) async fn whoever_was_held_at_a_moment_is_counted(store: Shared) {
    settled(&store, 1).await;
    settled(&store, 2).await;
    let mut nameless = acceptance(3);
    nameless.transfer.patient = None;
    nameless.deliveries.clear();
    nameless.hold = Some(hold());
    assert_eq!(store.accept(nameless).await, Ok(Accepted::New));
    let earlier = at(0) - jiff::SignedDuration::from_secs(1);
    assert_eq!(store.held_at(earlier).await, Ok(HeldThen::default()), "nothing had come");
    let before = store.held_at(at(15)).await.expect("readable");
    assert_eq!((before.people.len(), before.nameless), (2, 1));
    let of = |held: &HeldThen, person: u32| {
        let found = held.people.iter().find(|each| each.number.as_ref() == Some(&patient(person)));
        found.map(|each| (each.readable, each.messages, each.copies, each.entries))
    };
    assert_eq!(of(&before, 1), Some((true, 1, 1, 1)));
    assert_eq!(of(&before, 1), of(&before, 2));
    // Whom somebody only asked about is told apart from whom something is held about.
    let asked = |word| AuditRow { patient: Some(patient(9)), ..row(word) };
    store.audit(AuditWord::QUESTIONS.map(asked).to_vec()).await.expect("committed");
    let only = |held: &HeldThen| held.people.iter().filter(|each| each.was_only_asked_about()).count();
    let held = store.held_at(at(15)).await.expect("readable");
    assert_eq!((of(&held, 9), only(&held)), (Some((true, 0, 0, 5)), 1));
    store.audit(vec![asked(AuditWord::DirectoryLookup)]).await.expect("committed");
    assert_eq!(only(&store.held_at(at(15)).await.expect("readable")), 0);

    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(1), request(id), Vec::new()).await, Ok(true));
    let outcome = confirm(&store, id, "Bea").await;
    assert!(matches!(outcome, ErasureOutcome::Erased { .. }), "{outcome:?}");
    for (moment, readable) in [(15, true), (25, false)] {
        let held = store.held_at(at(moment)).await.expect("readable");
        assert_eq!((held.people.len(), of(&held, 1)), (3, None), "nobody can name them");
        let erased = held.people.iter().find(|each| each.number.is_none()).expect("counted");
        assert_eq!((erased.readable, erased.messages), (readable, 1), "erased at 20, seen from {moment}");
        assert!(of(&held, 2).is_some_and(|(readable, ..)| readable));
    }
}
