//! The person's own practice does not have them, or MESH finds none: PDS is asked again, once for a transfer.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use onward_core::audit::Agent;
use onward_core::client::{Client, Role};
use onward_core::directory::{
    Asker, Directory as _, DirectoryEntry, Endpoint, PdsPatient, Practice, Question, Sensitivity,
};
use onward_core::state::{DeliveryState, EndReason, HoldReason, RecipientKind};
use onward_core::store::alerts::AlertKind;
use onward_core::store::{DeliveryRecord, Step, StepKind, TransferRecord};
use onward_core::transport::MeshMessage;
use onward_core::{Clock as _, NhsNumber, SystemClock, TransferId};
use onward_gateway::holds::{Choice, Decider, Released};
use onward_gateway::redirect::{Asked, Redirect};
use onward_tests::balp;

use crate::answers::bench::{Bench, PRACTICE, correlation, hospital, report};
use crate::lifecycle::Version;
use crate::recalls::operator;

const NUMBER: &str = "9990000018";
/// The practice that PDS names by now, and its mailbox.
const OTHER: (&str, &str) = ("Y99003", "X26OT103");
/// What is said of whom PDS protects, or who has died or left: nobody can tell which.
const ASK_THE_WARD: &str = "nothing is sent by itself; ask the ward (the audit log tells why)";

/// A bench whose directory knows the other practice, and of the registered one no longer: MESH finds that.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    let (store, now) = (bench.gateway.store(), SystemClock.now());
    let known = store.directory_entry(&"Y99002".parse().expect("a code")).await.expect("readable");
    let Some(DirectoryEntry::Practice(known)) = known else { panic!("Hillside is in the directory") };
    let (ods, mailbox) = (OTHER.0.parse().expect("a code"), OTHER.1.parse().expect("a mailbox"));
    let endpoint = Endpoint::Mesh { mailbox, workflow: None };
    let other = Practice { ods, name: "Millgate Surgery".to_owned(), endpoint, ..known.clone() };
    let gone = Practice { expires: jiff::civil::date(2020, 1, 1), ..known.clone() };
    let was = DirectoryEntry::Practice(known);
    assert_eq!(store.amend_directory(was, DirectoryEntry::Practice(gone), "test", now, Vec::new()).await, Ok(true));
    store
        .import_directory(vec![DirectoryEntry::Practice(other)], "test", now, Vec::new().into())
        .await
        .expect("imported");
    bench
}

/// The registered practice is reached so from now on.
async fn reached(bench: &Bench, endpoint: Endpoint) {
    let (store, now) = (bench.gateway.store(), SystemClock.now());
    let known = store.directory_entry(&"Y99002".parse().expect("a code")).await.expect("readable");
    let Some(DirectoryEntry::Practice(known)) = known else { panic!("Hillside is in the directory") };
    let there = Practice { endpoint, expires: jiff::civil::date(2099, 12, 31), ..known.clone() };
    let was = DirectoryEntry::Practice(known);
    assert_eq!(store.amend_directory(was, DirectoryEntry::Practice(there), "test", now, Vec::new()).await, Ok(true));
}

/// What PDS said, on the one copy for a registered practice that there is.
async fn said(bench: &Bench, transfer: TransferId) -> &'static str {
    let copies = to_registered(bench, transfer).await;
    let [copy] = copies.as_slice() else { panic!("nothing new: {copies:?}") };
    assert!(copy.ended.is_none());
    copy.reason.as_deref().and_then(onward_gateway::retrace::said).expect("it tells")
}

/// The same, with a copy that was sent to the registered practice.
async fn sent() -> (Bench, TransferId) {
    let bench = bench().await;
    let transfer = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copies = to_registered(&bench, transfer).await;
    assert!(matches!(copies.as_slice(), [copy] if copy.state == DeliveryState::Sent), "{copies:?}");
    (bench, transfer)
}

async fn record(bench: &Bench, transfer: TransferId) -> TransferRecord {
    bench.gateway.store().transfer(transfer).await.expect("readable").expect("there")
}

/// The copies for registered practices, the oldest first.
async fn to_registered(bench: &Bench, transfer: TransferId) -> Vec<DeliveryRecord> {
    let record = record(bench, transfer).await;
    let mut copies: Vec<_> =
        record.copies().filter(|copy| copy.kind == RecipientKind::RegisteredPractice).cloned().collect();
    copies.sort_by_key(|copy| copy.ended.is_none());
    copies
}

/// What PDS says from now on: the person with this changed.
async fn says(bench: &Bench, change: impl FnOnce(&mut PdsPatient)) {
    let number: NhsNumber = NUMBER.parse().expect("a number");
    let known = bench.pds.people.patient(&number, &Question::of(Asker::Gateway)).await;
    let mut person = known.expect("it answers").expect("a person");
    change(&mut person);
    *bench.pds.says.lock().expect("whole") = Some(Some(person));
}

async fn says_other(bench: &Bench) {
    says(bench, |person| person.registered_practice = Some(OTHER.0.parse().expect("a code"))).await;
}

async fn reported(bench: &Bench, transfer: TransferId, code: &str) -> DeliveryRecord {
    let copy = to_registered(bench, transfer).await.pop().expect("a copy");
    let told = MeshMessage { status_code: Some(code.to_owned()), ..report(copy.reference.clone(), None) };
    bench.arrives(told).await;
    to_registered(bench, transfer).await.pop().expect("a copy")
}

/// One look, with what it wrote judged; how many went on.
async fn look(bench: &Bench) -> usize {
    let (_end, stop) = tokio::sync::watch::channel(false);
    let before = bench.gateway.store().audit_size().await.expect("readable");
    let sent = bench.gateway.retrace(&stop).await.expect("looked");
    balp::judge(bench.gateway.store().as_ref(), before).await;
    sent
}

fn asked(bench: &Bench) -> usize {
    bench.pds.asked.load(Ordering::SeqCst)
}

/// How often a registered practice's copy has left for this mailbox.
fn left_for(bench: &Bench, mailbox: &str) -> usize {
    let sent = bench.mesh.sent.lock().expect("whole");
    let to = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Mesh { mailbox: to, .. } if to.as_str() == mailbox);
    sent.iter().filter(|out| out.kind == RecipientKind::RegisteredPractice && to(&out.endpoint)).count()
}

#[tokio::test]
async fn who_moved_to_another_practice_is_sent_there_once_when_mesh_finds_none() {
    let (bench, transfer) = sent().await;
    let failed = reported(&bench, transfer, "EPL-151").await;
    assert_eq!(failed.state, DeliveryState::Failed);
    bench.gateway.alert_once().await.expect("looked");
    let failures = async || {
        bench.gateway.alert_once().await.expect("looked");
        let open = bench.gateway.store().alerts().await.expect("readable");
        open.iter().filter(|alert| alert.concern.kind == AlertKind::DeliveryFailed).count()
    };
    assert_eq!(failures().await, 1);
    says_other(&bench).await;
    let before = asked(&bench);
    assert_eq!((look(&bench).await, look(&bench).await), (1, 0));
    assert_eq!(asked(&bench), before + 1, "once");
    bench.gateway.dispatch_due().await.expect("sent");
    bench.gateway.dispatch_due().await.expect("sent");
    assert_eq!(left_for(&bench, OTHER.1), 1);
    let copies = to_registered(&bench, transfer).await;
    let [new, old] = copies.as_slice() else { panic!("two copies: {copies:?}") };
    let (new, old) = if new.ended.is_none() { (new, old) } else { (old, new) };
    assert_eq!((new.recipient.as_str(), new.state), (OTHER.0, DeliveryState::Sent));
    assert!(new.id != old.id && new.correlation_id != old.correlation_id, "a document of its own");
    assert_eq!((old.state, old.ended.map(|ended| ended.why)), (DeliveryState::Withdrawn, Some(EndReason::Recalled)));
    assert_eq!(old.code.as_deref(), Some("EPL-151"));
    let whole = record(&bench, transfer).await;
    assert!(whole.deliveries.iter().all(|copy| copy.notice.is_none()), "nobody has the first: nobody is told");
    assert_eq!((whole.task_status(), whole.hold.is_none()), ("in-progress", true));
    assert_eq!(failures().await, 0, "nobody needs to act any more");
    for told in [
        "PDS was asked again about the registered practice (code EPL-151)",
        "the document goes from Y99002 to Y99003",
        "recalled: it came to nobody",
    ] {
        assert!(bench.audited(told).await, "{told}");
    }
    assert_eq!(bench.gateway.store().checkup().await.expect("counted").flaws, []);
}

#[tokio::test]
async fn what_pds_says_else_is_a_persons_and_nothing_is_sent() {
    type Change = fn(&mut PdsPatient);
    let other = || Some(OTHER.0.parse().expect("a code"));
    let cases: [(Change, &str, &str); 9] = [
        (|_| {}, "it names the same practice", "it names the same practice"),
        (|person| person.registered_practice = None, "it names no practice", "it names no practice"),
        (|person| person.registered_practice = "V81999".parse().ok(), "it names no practice", "it names no practice"),
        (|person| person.registered_practice = "G9999981".parse().ok(), "it names no practice", "it names no practice"),
        (
            |person| person.registered_practice = "Y99009".parse().ok(),
            "it names another practice, of which the directory has no current entry",
            "(Y99009)",
        ),
        (
            |person| person.nhs_number = "9990000069".parse().expect("a number"),
            "it answers with another NHS number",
            "it answers with another NHS number",
        ),
        (|person| person.sensitivity = Sensitivity::Restricted, ASK_THE_WARD, "it marks the record as sensitive"),
        (|person| person.deceased = Some("2026-11-01".to_owned()), ASK_THE_WARD, "the person is recorded as deceased"),
        (
            |person| person.family = Some("Booth".to_owned()),
            "it names another practice, and the message would be held now",
            "(demographics-conflict)",
        ),
    ];
    for (change, told, logged) in cases {
        let (bench, transfer) = sent().await;
        let failed = reported(&bench, transfer, "EPL-153").await;
        says(&bench, |person| {
            let before = person.registered_practice.clone();
            person.registered_practice = other();
            change(person);
            // The first case is that nothing has changed.
            if told == "it names the same practice" {
                person.registered_practice = before;
            }
        })
        .await;
        assert_eq!(look(&bench).await, 0, "{told}");
        let stays = to_registered(&bench, transfer).await;
        let [stays] = stays.as_slice() else { panic!("nothing new: {stays:?}") };
        assert_eq!((stays.state, stays.ended.is_none()), (DeliveryState::Failed, true));
        let (before, now) = (failed.reason.expect("a reason"), stays.reason.clone().expect("a reason"));
        assert_eq!(now, format!("{before}; PDS was asked again: {told}"));
        assert!(bench.audited(logged).await, "{logged}");
        let before = asked(&bench);
        says_other(&bench).await;
        assert_eq!((look(&bench).await, asked(&bench)), (0, before), "not a second time");
        bench.gateway.dispatch_due().await.expect("sent");
        assert_eq!(left_for(&bench, OTHER.1), 0);
        assert_eq!(bench.gateway.store().checkup().await.expect("counted").flaws, []);
    }
}

#[tokio::test]
async fn what_a_practice_refuses_for_want_of_the_person_goes_to_the_one_that_pds_names() {
    let bench = bench().await;
    let own = "Y99002OT1";
    reached(&bench, Endpoint::Mesh { mailbox: own.parse().expect("a mailbox"), workflow: None }).await;
    let transfer = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = to_registered(&bench, transfer).await.pop().expect("a copy");
    bench.answers(own, &correlation(&copy), 30003).await;
    says_other(&bench).await;
    // Two nodes look at once.
    let (_end, stop) = tokio::sync::watch::channel(false);
    let (one, other) = tokio::join!(bench.gateway.retrace(&stop), bench.gateway.retrace(&stop));
    assert_eq!(one.expect("looked") + other.expect("looked"), 1);
    let whole = record(&bench, transfer).await;
    let refused = whole.copies().find(|found| found.id == copy.id).expect("it stays");
    assert_eq!((refused.state, refused.code.as_deref()), (DeliveryState::Rejected, Some("30003")), "as it was");
    assert_eq!(refused.ended.map(|ended| ended.why), Some(EndReason::Recalled));
    assert!(whole.deliveries.iter().all(|copy| copy.notice.is_none()), "by MESH nothing can follow that names nobody");
    assert!(bench.audited("recalled: the practice does not have the person and refused it").await);
    bench.gateway.dispatch_due().await.expect("sent");
    assert_eq!(left_for(&bench, OTHER.1), 1);
    // It does not have the person either: that is a person's.
    let second = to_registered(&bench, transfer).await.into_iter().find(|copy| copy.ended.is_none()).expect("new");
    bench.answers(OTHER.1, &correlation(&second), 30002).await;
    let before = asked(&bench);
    assert_eq!((look(&bench).await, asked(&bench)), (0, before));
    let second = to_registered(&bench, transfer).await.into_iter().find(|copy| copy.ended.is_none()).expect("there");
    assert_eq!((second.state, second.code.as_deref()), (DeliveryState::Rejected, Some("30002")));
    bench.gateway.alert_once().await.expect("looked");
    let open = bench.gateway.store().alerts().await.expect("readable");
    assert!(open.iter().any(|alert| alert.concern.delivery == Some(second.id)), "somebody is told");
    assert_eq!(record(&bench, transfer).await.task_status(), "failed");
    assert_eq!(bench.gateway.store().checkup().await.expect("counted").flaws, []);
}

#[tokio::test]
async fn pds_that_is_down_is_asked_at_a_later_look_and_others_practices_are_not_its_business() {
    let (bench, transfer) = sent().await;
    let covering = bench.practice_copy(transfer).await;
    bench.answers(PRACTICE, &correlation(&covering), 30002).await;
    let before = asked(&bench);
    says_other(&bench).await;
    assert_eq!((look(&bench).await, asked(&bench)), (0, before), "nobody looks up who covers a home");
    let failed = reported(&bench, transfer, "EPL-150").await;
    bench.pds.is_down.store(true, Ordering::SeqCst);
    assert_eq!((look(&bench).await, asked(&bench)), (0, before + 1));
    let now = to_registered(&bench, transfer).await.pop().expect("a copy");
    assert_eq!((now.version, now.reason), (failed.version, failed.reason), "nothing is decided");
    bench.pds.is_down.store(false, Ordering::SeqCst);
    assert_eq!(look(&bench).await, 1);
}

#[tokio::test]
async fn about_whom_the_home_has_told_that_they_left_nothing_is_sent() {
    let (bench, transfer) = sent().await;
    let home = bench.home_copy(transfer).await;
    let step = Step {
        delivery: home.id,
        kind: StepKind::Left,
        at: SystemClock.now(),
        user: "user".to_owned(),
        name: "Ada Wells".to_owned(),
        item: None,
        outcome: None,
        text: Some("The person died, on 3 August 2026".to_owned()),
    };
    assert_eq!(bench.gateway.store().take_step(step, None, Vec::new(), Vec::new()).await, Ok(true));
    reported(&bench, transfer, "EPL-151").await;
    says_other(&bench).await;
    assert_eq!(look(&bench).await, 0);
    let now = to_registered(&bench, transfer).await;
    let [now] = now.as_slice() else { panic!("nothing new: {now:?}") };
    assert!(now.reason.as_deref().is_some_and(|reason| reason.ends_with(ASK_THE_WARD)));
    assert!(bench.audited("the home has told that the person has left").await);
}

#[tokio::test]
async fn a_practice_that_a_person_decided_on_is_a_persons() {
    let bench = bench().await;
    says_other(&bench).await;
    let transfer = bench.accept().await;
    let hold = record(&bench, transfer).await.hold.expect("document and PDS differ");
    assert_eq!(hold.reason, HoldReason::RegisteredPracticeConflict);
    let beck_lane = Some("Y99001".parse().expect("a code"));
    let choice = Choice::Reroute { care_home: None, registered_practice: beck_lane };
    let agent = Agent::named("ada", None);
    let decider = Decider { agent, by: "Ada Wells", reason: "the ward says so", act: true, request_id: None };
    assert!(matches!(bench.gateway.release(hold.id, choice, &decider).await, Ok(Released::Queued(_))));
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = to_registered(&bench, transfer).await.pop().expect("a copy");
    bench.answers(PRACTICE, &correlation(&copy), 30002).await;
    assert_eq!(look(&bench).await, 0);
    let now = to_registered(&bench, transfer).await;
    let [now] = now.as_slice() else { panic!("nothing new: {now:?}") };
    let said = now.reason.as_deref().and_then(onward_gateway::retrace::said);
    assert_eq!(said, Some("it names another practice, and a person has decided where this goes, or is about to"));
    // The practice reads its own answer, and nothing of PDS.
    let practice = Client { role: Role::Practice, ods: "Y99001".parse().expect("a code"), ..hospital() };
    let shown = |client: &Client| bench.gateway.delivery_task(now, &[], &[], client);
    assert!(shown(&practice).contains("30002 Patient not known here") && !shown(&practice).contains("PDS"));
    assert!(shown(&hospital()).contains("PDS was asked again"));
}

#[tokio::test]
async fn a_practice_that_covers_the_home_and_has_the_person_by_now_is_a_persons() {
    let (bench, transfer) = sent().await;
    reported(&bench, transfer, "EPL-151").await;
    // It has been asked to take the person on for a while.
    let covering = bench.practice_copy(transfer).await.recipient;
    says(&bench, |person| person.registered_practice = Some(covering)).await;
    assert_eq!(look(&bench).await, 0);
    assert_eq!(said(&bench, transfer).await, "it names another practice, and more than this copy would change");
}

#[tokio::test]
async fn what_somebody_has_asked_to_go_elsewhere_is_a_persons() {
    let (bench, transfer) = sent().await;
    let failed = reported(&bench, transfer, "EPL-151").await;
    let redirect = Redirect {
        transfer,
        delivery: Some(failed.id),
        care_home: None,
        registered_practice: Some("Y99001".parse().expect("a code")),
    };
    let asked = bench.gateway.ask_redirect(&operator("ada"), &redirect, "the ward says so").await.expect("kept");
    assert!(matches!(asked, Asked::Kept(_)), "{asked:?}");
    says_other(&bench).await;
    assert_eq!(look(&bench).await, 0);
    let decides = "it names another practice, and a person has decided where this goes, or is about to";
    assert_eq!(said(&bench, transfer).await, decides);
}

#[tokio::test]
async fn whom_mesh_had_found_is_not_asked_a_second_time() {
    let (bench, transfer) = sent().await;
    let copy = to_registered(&bench, transfer).await.pop().expect("a copy");
    assert!(matches!(copy.endpoint, Endpoint::GpRouting { .. }));
    *bench.mesh.found.lock().expect("whole") = Some(OTHER.1.parse().expect("a mailbox"));
    bench.answers(OTHER.1, &correlation(&copy), 30002).await;
    says_other(&bench).await;
    assert_eq!(look(&bench).await, 0);
    assert_eq!(said(&bench, transfer).await, "it names another practice, which may be the one that MESH had found");
}

#[tokio::test]
async fn who_has_an_earlier_version_hears_of_the_next_from_a_person() {
    let bench = bench().await;
    let first = Version::first();
    bench.accept_text(first.text.clone()).await;
    bench.gateway.dispatch_due().await.expect("sent");
    let second = bench.accept_text(first.next().text).await;
    bench.gateway.dispatch_due().await.expect("sent");
    reported(&bench, second, "EPL-151").await;
    says_other(&bench).await;
    assert_eq!(look(&bench).await, 0);
    assert_eq!(said(&bench, second).await, "it names another practice, and this one got an earlier version");
}

#[tokio::test]
async fn the_log_tells_why_pds_was_asked_again() {
    let (bench, transfer) = sent().await;
    reported(&bench, transfer, "EPL-151").await;
    says_other(&bench).await;
    assert_eq!(look(&bench).await, 1);
    let why = "PDS asked again about the person: their own practice does not have them, or MESH finds none";
    assert!(bench.audited(why).await);
}

/// What is in the log of questions that had no turn: first that PDS is asked, then that it was not.
#[tokio::test]
async fn that_pds_is_not_asked_after_all_is_told_and_a_question_says_for_whom_it_is() {
    let bench = bench().await;
    let not_asked = "PDS was not asked after all: the question never left";
    let last = || bench.pds.askers.lock().expect("whole").last().cloned();
    bench.pds.has_no_turn.store(true, Ordering::SeqCst);
    let transfer = bench.accept().await;
    assert_eq!(last(), Some(Asker::Client(hospital().id)));
    assert!(bench.audited(not_asked).await);
    let held = bench.gateway.store().holds().await.expect("readable").remove(0);
    assert_eq!((held.transfer, held.hold.reason), (transfer, HoldReason::DirectoryUnavailable));
    let stop = tokio::sync::watch::Sender::new(false);
    assert_eq!(bench.gateway.ask_again(&stop.subscribe()).await, Ok(0));
    assert_eq!(last(), Some(Asker::Gateway), "nobody waits for it");
    let decider = Decider {
        agent: Agent::named("operator", None),
        by: "Ada Wells",
        reason: "the ward rang",
        act: true,
        request_id: None,
    };
    let choice = Choice::Release { agreed_recipients: BTreeSet::new() };
    let released = bench.gateway.release(held.hold.id, choice, &decider).await.expect("decided");
    assert!(matches!(released, Released::StillHeld(_)), "{released:?}");
    assert_eq!(last(), Some(Asker::Person));

    let (bench, transfer) = sent().await;
    assert!(!bench.audited(not_asked).await, "each question left");
    reported(&bench, transfer, "EPL-151").await;
    bench.pds.has_no_turn.store(true, Ordering::SeqCst);
    assert_eq!(look(&bench).await, 0);
    let last = bench.pds.askers.lock().expect("whole").last().cloned();
    assert_eq!((last, bench.audited(not_asked).await), (Some(Asker::Gateway), true));
}
