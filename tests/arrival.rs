//! The clock of arrivals: an unread discharge reaches somebody before the person does, a poison message parks itself alone,
//! and nobody is told twice.

mod bench;

use onward_core::audit::Agent;
use onward_core::client::Role;
use onward_core::directory::DirectoryEntry;
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::alerts::AlertKind;
use onward_core::store::{Resend, TransferRecord};
use onward_core::transport::SendError;
use onward_core::{Clock as _, TransferId};
use onward_gateway::collect::Form;
use onward_gateway::holds::{Decider, Released};
use onward_gateway::operate::Pausing;

pub(crate) use self::bench::{Bench, LEASE, Turned, client, down};
use self::bench::{at, refused};

#[tokio::test]
async fn an_unread_discharge_is_escalated_step_by_step_until_somebody_reads_it() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let id = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    bench.turn("2026-11-13T12:29:59Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "more than two hours before the discharge");
    bench.turn("2026-11-13T12:30:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let copy = bench.care_home_copy(id).await;
    let first = bench.letters();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["coordinator@home.example"]);
    assert!(first["coordinator@home.example"].contains(&format!("https://gateway.test/transfers/{copy}")), "{first:?}");
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert!(bench.addressed().is_empty(), "nobody is told twice");
    bench.turn("2026-11-13T13:00:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let second = bench.letters();
    // The home has no address of its own: whoever runs the gateway rings it.
    assert_eq!(second.keys().collect::<Vec<_>>(), ["operations@onward.example"]);
    assert!(second["operations@onward.example"].contains("Ring Duty manager 01632 960101"), "{second:?}");
    // The mail server is down when it is the ward's turn; the ward hears it all the same.
    bench.mail(Some(down()));
    bench.turn("2026-11-13T13:30:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    bench.mail(None);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert!(bench.addressed().is_empty(), "not before its time");
    bench.later(61);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    let third = bench.letters();
    assert_eq!(third.keys().collect::<Vec<_>>(), ["ward@hospital.example"]);
    assert!(!third["ward@hospital.example"].contains("https://"), "a ward has no account here: {third:?}");
    assert_eq!(bench.open_alerts().await, [1, 2, 3].map(|step| (AlertKind::UnreadBeforeArrival, step)));
    bench.turn("2026-11-13T16:00:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "the ladder has three steps");
    let home = client("rowan-house", "VMH01", Role::CareHome);
    bench.gateway.open(&home, copy, Form::Document, None).await.expect("audited").expect("read");
    bench.gateway.alert_once().await.expect("looked");
    assert!(bench.open_alerts().await.is_empty(), "it is read: nothing is open any more");
    let entries = bench.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let told: Vec<_> = entries.iter().filter(|entry| entry.columns.word == "notify").collect();
    assert_eq!(told.len(), 7, "three raised, three told, one attempt that failed");
    let person = Some("9990000018");
    assert!(told.iter().all(|entry| entry.columns.patient.as_deref() == person), "the log knows whom no letter names");
}

#[tokio::test]
async fn fault_031_a_poison_message_parks_itself_alone_and_a_person_hears_of_it() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    bench.partner(Some(refused(422)));
    let poison = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    bench.partner(None);
    let good = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let states = |transfer: &TransferRecord| {
        let pharmacy = transfer.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https);
        pharmacy.map(|copy| copy.state).collect::<Vec<_>>()
    };
    assert_eq!(states(&bench.transfer(poison).await), [DeliveryState::Failed; 2]);
    assert_eq!(states(&bench.transfer(good).await), [DeliveryState::Received; 2], "others flow");
    let home = bench.transfer(poison).await;
    let home = home.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").state;
    assert_eq!(home, DeliveryState::AwaitingCollection, "the home has its own");
    // The gateway looks every ten seconds.
    bench.later(10);
    assert_eq!(bench.gateway.alert_once().await, Ok(2), "within a minute");
    let letters = bench.letters();
    let letter = &letters["operations@onward.example"];
    assert_eq!(
        (letters.len(), letter.matches("A discharge could not be delivered.").count()),
        (1, 2),
        "one letter: {letter}"
    );
    assert!(letter.contains("https://gateway.test/operations") && letter.contains("FZZ01"), "{letter}");
    for copy in bench.transfer(poison).await.copies().filter(|copy| copy.state == DeliveryState::Failed) {
        let store = bench.gateway.store();
        let again = store
            .requeue(
                copy.id,
                Resend::Retry.into(),
                "Ada Wells",
                "mended at the pharmacy",
                bench.clock.now(),
                Vec::new(),
            )
            .await;
        assert_eq!(again, Ok(true));
    }
    bench.gateway.dispatch_due().await.expect("sent");
    bench.gateway.alert_once().await.expect("looked");
    assert!(bench.open_alerts().await.is_empty(), "it has left: nothing is open any more");
}

#[tokio::test]
async fn what_is_damaged_silences_nobody_and_blocks_no_decision_about_others() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    bench.partner(Some(refused(422)));
    let damaged = bench.accept().await;
    let whole = bench.accept().await;
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    bench.tamper(&format!("UPDATE transfers SET reply = 'damaged' WHERE id = '{damaged}'"));
    assert!(bench.gateway.store().transfer(damaged).await.is_err(), "it cannot be read");
    bench.later(10);
    assert_eq!(bench.gateway.alert_once().await, Ok(4), "two copies each");
    let letters = bench.letters();
    let letter = &letters["operations@onward.example"];
    assert!(letter.contains(&damaged.to_string()) && letter.contains(&whole.to_string()), "{letter}");
    let entries = bench.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let told = |id: TransferId| {
        let own = entries.iter().filter(move |entry| entry.columns.transfer.as_deref() == Some(&id.to_string()));
        own.filter(|entry| entry.columns.word == "notify")
            .map(|entry| entry.columns.patient.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(told(damaged), vec![None; 4], "raised and told, without whom it is about");
    assert_eq!(told(whole), vec![Some("9990000018".to_owned()); 4]);
    // A concern that itself cannot be read is left out alone.
    bench.partner(None);
    let (bad, good) = (bench.accept().await, bench.accept().await);
    let homes = [bench.care_home_copy(bad).await, bench.care_home_copy(good).await];
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    bench.tamper(&format!("UPDATE deliveries SET sender = '' WHERE id = '{}'", homes[0]));
    bench.turn("2026-11-13T12:30:00Z");
    bench.gateway.alert_once().await.expect("looked");
    let alerts = bench.gateway.store().alerts().await.expect("readable");
    let unread: Vec<_> = alerts.iter().filter(|alert| alert.concern.kind == AlertKind::UnreadBeforeArrival).collect();
    assert!(unread.iter().any(|alert| alert.concern.delivery == Some(homes[1])), "the others are raised");
    assert!(unread.iter().all(|alert| alert.concern.delivery != Some(homes[0])));
    // Of two holds one is damaged: the other is decided.
    let holds = [bench.held().await, bench.held().await];
    bench.tamper(&format!("UPDATE holds SET due = 9223372036854775807 WHERE id = '{}'", holds[0]));
    let listed = bench.gateway.store().holds().await.expect("readable");
    assert_eq!(listed.iter().map(|held| held.hold.id).collect::<Vec<_>>(), [holds[1]], "the list goes on without it");
    assert_eq!(
        listed.damaged.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!("{} (holds.due)", holds[0])]
    );
    let agent = Agent::named("operator", None);
    let decider = Decider { agent, by: "Ada Wells", reason: "asked the ward", act: true, request_id: None };
    let closed = bench.gateway.close(holds[1], &decider).await.expect("decided");
    assert!(matches!(closed, Released::Closed { .. }), "{closed:?}");
}

#[tokio::test]
async fn what_is_held_reaches_the_ward_before_the_person_leaves() {
    let bench = Bench::at("2026-11-13T11:00:00Z").await;
    // Expected at 14:30: it must be decided two hours before, whatever its kind is given.
    let hold = bench.held().await;
    let held = bench.gateway.store().open_hold(hold).await.expect("readable").expect("open");
    assert_eq!(held.hold.due, at("2026-11-13T12:30:00Z"));
    bench.turn("2026-11-13T12:29:59Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    bench.turn("2026-11-13T12:30:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["ward@hospital.example"]);
    assert!(letters["ward@hospital.example"].contains("waits for a decision"), "{letters:?}");
    bench.turn("2026-11-13T12:30:01Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    assert_eq!(bench.addressed(), ["operations@onward.example"], "whoever owns the hold");
    bench.turn("2026-11-13T13:30:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(2));
    assert_eq!(bench.addressed(), ["operations@onward.example", "ward@hospital.example"]);
    let ladder = bench.open_alerts().await;
    assert_eq!(ladder.iter().filter(|(kind, _)| *kind == AlertKind::HeldBeforeArrival).count(), 3);
    // What comes when the person is there already is given the grace.
    bench.turn("2026-11-13T16:00:00Z");
    let late = bench.held().await;
    let late = bench.gateway.store().open_hold(late).await.expect("readable").expect("open");
    assert_eq!(late.hold.due, at("2026-11-13T16:30:00Z"));
}

#[tokio::test]
async fn what_a_pause_held_back_is_not_given_up_at_its_first_failure() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let agent = Agent::named("operator", None);
    let decider = Decider { agent, by: "Ada Wells", reason: "moving", act: true, request_id: None };
    assert_eq!(bench.gateway.pause(None, &decider).await, Ok(Pausing::Done(None)));
    let id = bench.accept().await;
    bench.later(25 * 3_600);
    bench.gateway.alert_once().await.expect("looked");
    let open = bench.open_alerts().await;
    assert!(open.contains(&(AlertKind::QueuedTooLong, 1)), "a pause that was forgotten: {open:?}");
    bench.later(75 * 3_600);
    assert_eq!(bench.gateway.resume(None, &decider).await, Ok(Pausing::Done(None)));
    bench.partner(Some(down()));
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    let pharmacy = async || {
        let record = bench.transfer(id).await;
        let copies = record.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https);
        copies.map(|copy| (copy.state, copy.reason.clone().unwrap_or_default())).collect::<Vec<_>>()
    };
    assert!(pharmacy().await.iter().all(|(state, _)| *state == DeliveryState::Queued), "its time begins now");
    let given_up = |copies: &[(DeliveryState, String)]| {
        copies.iter().any(|(state, why)| *state == DeliveryState::Failed && why.contains("given up after 72 hours"))
    };
    let mut hours = 0;
    while !given_up(&pharmacy().await) && hours < 200 {
        bench.later(3_600);
        bench.gateway.dispatch_due().await.expect("sent");
        hours += 1;
    }
    assert!((72..200).contains(&hours), "{hours}");
}

/// Some are probed, others wait behind them, and the partner always asks for an hour: none of that puts off the moment.
#[tokio::test]
async fn what_waits_for_an_endpoint_that_does_not_answer_is_a_persons_task_in_time() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    bench.partner(Some(SendError::Transient { reason: "busy".to_owned(), retry_after_seconds: Some(3_600) }));
    let mut transfers = Vec::new();
    for _ in 0..4 {
        transfers.push(bench.accept().await);
    }
    let states = async || {
        let mut states = Vec::new();
        for transfer in &transfers {
            let record = bench.transfer(*transfer).await;
            states.extend(
                record.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https).map(|copy| copy.state),
            );
        }
        states
    };
    let mut hours = 0;
    while states().await.contains(&DeliveryState::Queued) && hours < 100 {
        bench.gateway.dispatch_due().await.expect("sent");
        assert!(hours >= 72 || states().await.iter().all(|state| *state == DeliveryState::Queued), "{hours}");
        bench.later(3_600);
        hours += 1;
    }
    // A look at what waits, and the hour that the partner asked for.
    assert!((72..=75).contains(&hours), "{hours}");
    assert_eq!(states().await, [DeliveryState::Failed; 8], "two for the pharmacy of each");
    let came: Vec<_> = bench.partner.came.lock().expect("whole").iter().map(|outbound| outbound.delivery).collect();
    let unsent = bench.transfer(transfers[3]).await;
    let unsent: Vec<_> = unsent.copies().filter(|copy| copy.state == DeliveryState::Failed).collect();
    assert!(unsent.iter().all(|copy| !came.contains(&copy.id) && copy.attempts == 0), "those behind were never tried");
    let told: Vec<_> = unsent.iter().filter_map(|copy| copy.reason.as_deref()).collect();
    assert_eq!(told, ["given up after 72 hours: its endpoint does not answer"; 2]);
    let entries = bench.gateway.store().audit_entries(0, 10_000).await.expect("readable");
    let failed = entries.iter().filter(|entry| entry.columns.word == "delivery-failed");
    assert_eq!(failed.count(), 8, "each with its entry");
    bench.gateway.alert_once().await.expect("looked");
    let open = bench.open_alerts().await;
    assert_eq!(open.iter().filter(|(kind, _)| *kind == AlertKind::DeliveryFailed).count(), 8);
}

#[tokio::test]
async fn fault_030_a_recipient_that_is_gone_is_a_persons_task() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    bench.partner(Some(refused(410)));
    bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    bench.later(10);
    bench.gateway.alert_once().await.expect("looked");
    assert_eq!(bench.open_alerts().await, [(AlertKind::DeliveryFailed, 1); 2]);
}

#[tokio::test]
async fn an_address_that_takes_nothing_is_somebody_elses_business() {
    let bench = Bench::at("2026-11-13T12:00:00Z").await;
    bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    bench.turn("2026-11-13T12:30:00Z");
    bench.mail(Some(SendError::Permanent { reason: "the mail server answered 550".to_owned() }));
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    bench.mail(None);
    bench.later(10);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert_eq!(bench.addressed(), ["operations@onward.example"], "the coordinator's address takes nothing");
    bench.later(10);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert!(bench.addressed().is_empty());
}

#[tokio::test]
async fn a_home_is_told_by_a_link_that_something_waits() {
    let bench = Bench::made("2026-11-13T09:00:00Z", true, 8).await;
    let entry = bench.gateway.store().directory_entry(&"VMH01".parse().expect("a code")).await.expect("readable");
    let Some(DirectoryEntry::CareHome(mut home)) = entry else { panic!("a home") };
    home.contact.email = "duty@home.example".to_owned();
    let (store, now) = (bench.gateway.store(), bench.clock.now());
    store
        .import_directory(vec![DirectoryEntry::CareHome(home)], "test", now, Vec::new().into())
        .await
        .expect("imported");
    let ids = [bench.accept().await, bench.accept().await];
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    assert_eq!(bench.gateway.alert_once().await, Ok(2));
    let letters = bench.letters();
    let letter = &letters["duty@home.example"];
    assert_eq!(letters.len(), 1, "one letter");
    for id in ids {
        let copy = bench.care_home_copy(id).await;
        assert!(letter.contains(&format!("https://gateway.test/transfers/{copy}")), "{letter}");
        assert!(!letter.contains("R9Z") && !letter.contains(&id.to_string()), "a link only: {letter}");
    }
    let open: Vec<_> = bench.open_alerts().await.into_iter().filter(|(kind, _)| kind.is_trouble()).collect();
    assert!(open.is_empty(), "an arrival is no trouble: {open:?}");
}

#[tokio::test]
async fn answers_that_are_missing_are_told() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let id = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = bench.care_home_copy(id).await;
    let home = client("rowan-house", "VMH01", Role::CareHome);
    bench.gateway.open(&home, copy, Form::Document, None).await.expect("audited").expect("read");
    bench.later(48 * 3_600 - 1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    bench.later(1);
    let copies = bench.transfer(id).await.copies().count();
    assert_eq!(bench.gateway.alert_once().await, Ok(copies), "nobody has acknowledged anything");
    assert!(bench.open_alerts().await.iter().all(|alert| *alert == (AlertKind::AcknowledgementMissing, 1)));
    assert_eq!(bench.addressed(), ["operations@onward.example"]);
}
