//! Answers that come by MESH: whose they must be, when they may come, and what they do to a copy.

pub(crate) mod bench;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use onward_core::audit::Agent;
use onward_core::client::{Client, Role};
use onward_core::directory::{DirectoryEntry, Endpoint};
use onward_core::state::{DeliveryState, HoldReason, RecipientKind};
use onward_core::store::{FoundTask, TaskQuery};
use onward_core::transport::SendError;
use onward_core::{Clock as _, SystemClock, UserId};
use onward_fhir::itk::ResponseCode;
use onward_gateway::acknowledge::{Answer, Moved};
use onward_gateway::attend::{Attendant, Deed, Outcome};
use onward_gateway::collect::Form;
use onward_tests::message::{self, fresh};

use self::bench::{Bench, HOME, HOSPITAL, PRACTICE, STRANGER, correlation, data, hospital, response};

/// Nobody has to notice that PDS answers again, and a PDS that is down is not asked about everybody who waits.
#[tokio::test]
async fn what_waits_for_pds_goes_on_by_itself_when_it_answers() {
    let bench = Bench::new().await;
    let (_end, stop) = tokio::sync::watch::channel(false);
    bench.pds.is_down.store(true, Ordering::SeqCst);
    let mut transfers = Vec::new();
    for _ in 0..5 {
        transfers.push(bench.accept().await);
    }
    let held = async || bench.gateway.store().holds().await.expect("readable");
    assert!(held().await.iter().all(|held| held.hold.reason == HoldReason::DirectoryUnavailable));
    let before = bench.pds.asked.load(Ordering::SeqCst);
    assert_eq!(bench.gateway.ask_again(&stop).await, Ok(0));
    assert_eq!(bench.pds.asked.load(Ordering::SeqCst), before + 3);
    assert_eq!(held().await.len(), 5);
    bench.pds.is_down.store(false, Ordering::SeqCst);
    assert_eq!(bench.gateway.ask_again(&stop).await, Ok(5));
    assert!(held().await.is_empty());
    for transfer in transfers {
        assert_eq!(bench.home_copy(transfer).await.kind, RecipientKind::CareHome);
    }
    assert!(bench.audited("directory-unavailable released").await);
    assert_eq!(bench.gateway.ask_again(&stop).await, Ok(0));
}

#[tokio::test]
async fn only_the_mailbox_that_has_the_copy_can_answer_for_it() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = bench.practice_copy(transfer).await;
    assert_eq!(copy.state, DeliveryState::Sent);
    for (from, code) in [(STRANGER, 30021), (STRANGER, 30019), (HOSPITAL, 20013)] {
        bench.answers(from, &correlation(&copy), code).await;
        let now = bench.practice_copy(transfer).await;
        assert_eq!((now.state, now.version), (DeliveryState::Sent, copy.version), "{from} moves nothing");
    }
    assert!(bench.audited("from a mailbox that the copy was not sent to").await);
    bench.answers(PRACTICE, &correlation(&copy), 20013).await;
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Received);
}

/// The registered practice has no entry: MESH is told the person, and only the mailbox that it found can answer.
#[tokio::test]
async fn a_practice_that_only_mesh_knows_gets_its_copy_and_answers_for_it() {
    let bench = Bench::new().await;
    let store = bench.gateway.store();
    let other = "Y99002".parse().expect("a code");
    let Some(DirectoryEntry::Practice(mut entry)) = store.directory_entry(&other).await.expect("readable") else {
        panic!("Hillside is in the directory")
    };
    let was = DirectoryEntry::Practice(entry.clone());
    entry.expires = jiff::civil::date(2020, 1, 1);
    let gone = DirectoryEntry::Practice(entry);
    assert_eq!(store.amend_directory(was, gone, "test", SystemClock.now(), Vec::new()).await, Ok(true));
    let transfer = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = async || {
        let record = bench.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        record.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::RegisteredPractice).expect("a copy")
    };
    let sent = copy().await;
    assert_eq!((sent.state, sent.recipient.as_str()), (DeliveryState::Sent, "Y99002"));
    assert_eq!(sent.endpoint, Endpoint::GpRouting { workflow: None });
    let addressee = bench.mesh.sent.lock().expect("whole").iter().find(|sent| sent.addressee.is_some()).cloned();
    let outbound = addressee.expect("MESH is told whom to look for");
    assert_eq!((outbound.delivery, outbound.workflow.is_some()), (sent.id, true));
    let person = outbound.addressee.expect("the person");
    assert_eq!((person.nhs_number.expose(), person.family.as_str()), ("9990000018", "Holroyd"));
    for found in [None, Some(PRACTICE.parse().expect("a mailbox"))] {
        *bench.mesh.found.lock().expect("whole") = found;
        bench.answers(STRANGER, &correlation(&sent), 20013).await;
        assert_eq!(copy().await.state, DeliveryState::Sent, "a stranger moves nothing");
    }
    bench.answers(PRACTICE, &correlation(&sent), 20013).await;
    assert_eq!(copy().await.state, DeliveryState::Received);
}

#[tokio::test]
async fn a_registration_has_seven_outcomes() {
    let bench = Bench::new().await;
    for code in 30019..=30025 {
        let transfer = bench.accept().await;
        bench.gateway.dispatch_due().await.expect("sent");
        let copy = bench.practice_copy(transfer).await;
        assert_eq!(copy.state, DeliveryState::Sent);
        bench.answers(PRACTICE, &correlation(&copy), 20013).await;
        bench.answers(PRACTICE, &correlation(&copy), code).await;
        let answered = bench.practice_copy(transfer).await;
        let expected = if code == 30019 { DeliveryState::Accepted } else { DeliveryState::Rejected };
        assert_eq!((answered.state, answered.code.as_deref()), (expected, Some(code.to_string().as_str())));
        assert_eq!(answered.reason.is_some(), code != 30019, "{code} tells why");
        // One answer of a level is final.
        let other = if code == 30019 { 30021 } else { 30019 };
        bench.answers(PRACTICE, &correlation(&copy), other).await;
        assert_eq!(bench.practice_copy(transfer).await.state, expected, "{other} after {code}");
    }
}

/// The partner has the copy although our attempt ended in the dark: its one answer must not be lost.
#[tokio::test]
async fn an_answer_to_an_attempt_of_unknown_outcome_counts_and_ends_the_resending() {
    let bench = Bench::new().await;
    let unknown = SendError::Unknown { reason: "no whole answer".to_owned() };
    bench.mesh.sends.lock().expect("whole").push_back(Err(unknown.clone()));
    let transfer = bench.accept().await;
    // The practice's copy may not be the first to be sent: every send of this round ends in the dark.
    bench.mesh.sends.lock().expect("whole").extend(std::iter::repeat_n(Err(unknown), 15));
    bench.gateway.dispatch_due().await.expect("tried");
    bench.mesh.sends.lock().expect("whole").clear();
    let copy = bench.practice_copy(transfer).await;
    assert_eq!((copy.state, copy.attempts), (DeliveryState::Queued, 1));
    bench.answers(PRACTICE, &correlation(&copy), 30019).await;
    let answered = bench.practice_copy(transfer).await;
    assert_eq!((answered.state, answered.next_attempt), (DeliveryState::Accepted, None));
}

#[tokio::test]
async fn nobody_answers_for_what_was_never_sent() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let copy = bench.practice_copy(transfer).await;
    bench.answers(PRACTICE, &correlation(&copy), 30019).await;
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Queued);
}

#[tokio::test]
async fn a_refused_message_gets_one_negative_answer_and_only_when_one_was_asked_for() {
    let bench = Bench::new().await;
    let silent = |text: &str| {
        text.replace(
            "<extension url=\"BusAckRequested\">\n      <valueBoolean value=\"true\"/>",
            "<extension url=\"BusAckRequested\">\n      <valueBoolean value=\"false\"/>",
        )
        .replace(
            "<extension url=\"InfAckRequested\">\n      <valueBoolean value=\"true\"/>",
            "<extension url=\"InfAckRequested\">\n      <valueBoolean value=\"false\"/>",
        )
    };
    let asked = fresh(message::EDISCHARGE_ITK3);
    let unasked = silent(&asked);
    assert_ne!(asked, unasked, "the fixture has the flags");
    bench
        .stays(
            data(STRANGER, "TOC_FHIR_IP_DISCH", unasked),
            "its sender is not told so: it asks for no acknowledgement",
        )
        .await;
    assert!(bench.mesh.sent.lock().expect("whole").is_empty(), "fire and forget, so that a person must tell them");
    bench.arrives(data(STRANGER, "TOC_FHIR_IP_DISCH", asked)).await;
    bench.arrives(data(STRANGER, "TOC_FHIR_IP_DISCH", "not FHIR".to_owned())).await;
    let sent = bench.mesh.sent.lock().expect("whole");
    assert_eq!(sent.len(), 2);
    for answer in sent.iter() {
        assert!(String::from_utf8_lossy(&answer.body).contains("20003"));
        let to = &answer.endpoint;
        assert!(matches!(to, onward_core::directory::Endpoint::Mesh { mailbox, .. } if mailbox.as_str() == STRANGER));
    }
}

/// ITK3: the hospital hears at most one infrastructure and one business answer, whatever its recipients do.
#[tokio::test]
async fn the_hospital_hears_each_level_once() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let store = bench.gateway.store();
    let record = store.transfer(transfer).await.expect("readable").expect("there");
    let home = record.deliveries.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy");
    let client = Client { ods: home.recipient.clone(), role: Role::CareHome, id: "home".to_owned(), ..hospital() };
    let steps = [DeliveryState::Received, DeliveryState::Accepted, DeliveryState::InProgress, DeliveryState::Completed];
    for (version, state) in (home.version..).zip(steps) {
        let moved = bench.gateway.move_task(&client, home.id, version, said(state, None), None).await.expect("moved");
        assert_eq!(moved, onward_gateway::acknowledge::Moved::Done, "{state}");
    }
    bench.answers(PRACTICE, &correlation(&bench.practice_copy(transfer).await), 30022).await;
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    let sent = bench.mesh.sent.lock().expect("whole");
    let heard: Vec<String> = sent
        .iter()
        .filter(|outbound| outbound.kind == RecipientKind::Sender)
        .map(|outbound| String::from_utf8_lossy(&outbound.body).into_owned())
        .collect();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard.iter().filter(|body| body.contains("\"20013\"")).count(), 1);
    assert_eq!(heard.iter().filter(|body| body.contains("\"30001\"")).count(), 1);
}

/// No dispatcher runs here: whatever the home is shown it can read and answer at once.
#[tokio::test]
async fn a_copy_that_is_listed_can_be_read_and_accepted_before_it_is_dispatched() {
    let bench = Bench::new().await;
    let home = Client {
        id: "rowan-house".to_owned(),
        ods: "VMH01".parse().expect("a code"),
        role: Role::CareHome,
        ..hospital()
    };
    for read_first in [true, false] {
        let transfer = bench.accept().await;
        let query = TaskQuery { copies: true, transfer: Some(transfer), limit: 10, ..TaskQuery::default() };
        let page = bench.gateway.list(&home, query, "Task?", None).await.expect("listed");
        let [FoundTask::Copy(copy)] = page.tasks.as_slice() else { panic!("its one copy") };
        assert_eq!(copy.state, DeliveryState::Queued);
        let mut version = copy.version;
        if read_first {
            assert!(bench.gateway.open(&home, copy.id, Form::Document, None).await.expect("audited").is_some());
            let record = bench.gateway.store().delivery(copy.id).await.expect("readable").expect("there");
            assert_eq!(record.state, DeliveryState::Received);
            version = record.version;
        }
        let moved = bench.gateway.move_task(&home, copy.id, version, said(DeliveryState::Accepted, None), None).await;
        assert_eq!(moved, Ok(Moved::Done));
        bench.gateway.dispatch_due().await.expect("the others are sent");
        let record = bench.gateway.store().delivery(copy.id).await.expect("readable").expect("there");
        assert_eq!(record.state, DeliveryState::Accepted);
    }
}

fn said(state: DeliveryState, code: Option<u32>) -> Answer {
    Answer { state, code: code.and_then(ResponseCode::of), reason: code.map(|code| code.to_string()) }
}

/// Whoever has no MESH answers with the same codes by `PUT Task`.
#[tokio::test]
async fn a_registrations_outcome_is_kept_and_shown_when_it_comes_by_task() {
    let bench = Bench::new().await;
    let practice = Client {
        id: "beck-lane".to_owned(),
        ods: "Y99001".parse().expect("a code"),
        role: Role::Practice,
        ..hospital()
    };
    for (code, state) in (30019..=30025)
        .map(|code| (code, if code == 30019 { DeliveryState::Accepted } else { DeliveryState::Rejected }))
    {
        let transfer = bench.accept().await;
        bench.gateway.dispatch_due().await.expect("sent");
        let copy = bench.practice_copy(transfer).await;
        let opposite = if state == DeliveryState::Accepted { DeliveryState::Rejected } else { DeliveryState::Accepted };
        let contradicted =
            bench.gateway.move_task(&practice, copy.id, copy.version, said(opposite, Some(code)), None).await;
        assert!(matches!(contradicted, Ok(Moved::CodeContradicts { .. })), "{code}");
        let moved = bench.gateway.move_task(&practice, copy.id, copy.version, said(state, Some(code)), None).await;
        assert_eq!(moved, Ok(Moved::Done), "{code}");
        let copy = bench.practice_copy(transfer).await;
        assert_eq!((copy.state, copy.code.as_deref()), (state, Some(code.to_string().as_str())));
        let task: serde_json::Value =
            serde_json::from_str(&bench.gateway.delivery_task(&copy, &[], &[], &hospital())).expect("JSON");
        for place in ["statusReason", "businessStatus"] {
            let coding = &task[place]["coding"][0];
            assert_eq!(coding["system"], "https://fhir.nhs.uk/STU3/CodeSystem/ITK-ResponseCodes-1", "{place}");
            assert_eq!(coding["code"], code.to_string(), "{place}");
        }
    }
}

/// ITK3 has one answer of a home, whichever way it came. What is technical says nothing of the person.
#[tokio::test]
async fn what_the_home_answered_is_what_the_hospital_hears() {
    let bench = Bench::new().await;
    let home = Client {
        id: "rowan-house".to_owned(),
        ods: "VMH01".parse().expect("a code"),
        role: Role::CareHome,
        ..hospital()
    };
    let heard = |expected: u32| BTreeSet::from([20013, expected]);
    for (code, expected) in
        [(None, 30002), (Some(30003), 30003), (Some(30022), 30022), (Some(10001), 10001), (Some(20015), 20015)]
    {
        let copy = bench.home_copy(bench.accept().await).await;
        let mut answer = said(DeliveryState::Rejected, code);
        answer.reason = Some("not ours".to_owned());
        let moved = bench.gateway.move_task(&home, copy.id, copy.version, answer, None).await;
        assert_eq!(moved, Ok(Moved::Done));
        assert_eq!(bench.hospital_hears().await, heard(expected), "by Task: {code:?}");
    }
    let person = Attendant {
        user: UserId::random().to_string(),
        name: "Pat Moore".to_owned(),
        organisations: vec![home.ods.clone()],
        agent: Agent::named("Pat Moore", Some(home.ods.clone())),
        request_id: None,
    };
    let copy = bench.home_copy(bench.accept().await).await;
    let declined = Deed::Decline { reason: "no bed".to_owned() };
    assert_eq!(bench.gateway.attend(&person, copy.id, declined).await, Ok(Outcome::Done));
    assert_eq!(bench.hospital_hears().await, heard(30002), "by the page");

    let store = bench.gateway.store();
    let Some(DirectoryEntry::CareHome(mut entry)) = store.directory_entry(&home.ods).await.expect("readable") else {
        panic!("the home is in the directory")
    };
    let was = DirectoryEntry::CareHome(entry.clone());
    entry.endpoint = Endpoint::Mesh { mailbox: HOME.parse().expect("a mailbox"), workflow: None };
    let by_mesh = DirectoryEntry::CareHome(entry);
    assert_eq!(store.amend_directory(was, by_mesh, "test", SystemClock.now(), Vec::new()).await, Ok(true));
    for (code, expected) in [("30003", 30003), ("10009", 10009), ("20002", 20002), ("30099", 10001)] {
        let transfer = bench.accept().await;
        while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
        let copy = bench.home_copy(transfer).await;
        assert_eq!(copy.state, DeliveryState::Sent);
        let answer = response(&bench.give_header(copy.id), 30003).replace("30003", code);
        bench.arrives(data(HOME, "TOC_FHIR_IP_DISCH_ACK", answer)).await;
        assert_eq!(bench.home_copy(transfer).await.state, DeliveryState::Rejected);
        assert_eq!(bench.hospital_hears().await, heard(expected), "by MESH: {code}");
    }
}
