//! What needs somebody for another reason than that a person comes: what a recipient could not read or declined, a notice that nobody opens,
//! our own mailbox, and our own background work.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use onward_core::audit::Agent;
use onward_core::client::Role;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::Resend;
use onward_core::store::alerts::{AlertKind, Channel, Concern, NewAlert};
use onward_core::transport::{Mailbox, MeshMessage, Notifier, SendError, Telling};
use onward_core::{Clock as _, MeshMailboxId};
use onward_fhir::itk::ResponseCode;
use onward_gateway::accept::{AcceptError, Submission};
use onward_gateway::acknowledge::{Answer, Moved};
use onward_gateway::collect::Form;
use onward_gateway::holds::Decider;
use onward_gateway::lifecycle::Withdrawn;
use onward_gateway::operate::{BoardFilter, Resent};

use crate::arrival::{Bench, Turned, client, down};
use crate::lifecycle::Version;

/// Our mailbox, which is empty, or cannot be read, or has one message.
struct OwnMailbox {
    is_down: bool,
    waits: Option<Waits>,
}

/// What becomes of the collection of a message.
#[derive(Clone)]
enum Waits {
    /// It fails.
    Broken,
    /// It takes so many seconds.
    Slow(Arc<Turned>, i64),
}

#[async_trait]
impl Mailbox for OwnMailbox {
    async fn list(&self) -> Result<Vec<String>, SendError> {
        let ids = self.waits.iter().map(|_| "20261113-1".to_owned());
        if self.is_down { Err(down()) } else { Ok(ids.collect()) }
    }

    async fn fetch(&self, id: &str) -> Result<MeshMessage, SendError> {
        let Some(Waits::Slow(clock, seconds)) = &self.waits else { return Err(down()) };
        clock.later(*seconds);
        Ok(MeshMessage {
            id: id.to_owned(),
            from: None,
            workflow: "TOC_FHIR_IP_DISCH".to_owned(),
            message_type: "DATA".to_owned(),
            local_id: None,
            linked_message_id: None,
            status_code: None,
            body: "nobody's".into(),
        })
    }

    async fn recipient(&self, _: &str) -> Result<Option<MeshMailboxId>, SendError> {
        Ok(None)
    }

    async fn acknowledge(&self, _: &str) -> Result<(), SendError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_system_could_not_read_is_a_persons_task_and_what_a_home_declines_the_wards() {
    let bench = Bench::at("2026-11-13T12:00:00Z").await;
    let id = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = bench.care_home_copy(id).await;
    bench.turn("2026-11-13T12:30:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    assert_eq!(bench.addressed(), ["coordinator@home.example"], "it is unread");
    let home = client("rowan-house", "VMH01", Role::CareHome);
    let says = async |code: Option<u32>| {
        let version = bench.gateway.store().delivery(copy).await.expect("readable").expect("there").version;
        let code = code.map(|code| ResponseCode::of(code).expect("one of ITK3's"));
        let answer = Answer { state: DeliveryState::Rejected, code, reason: Some("no".to_owned()) };
        let moved = bench.gateway.move_task(&home, copy, version, answer, None).await;
        assert_eq!(moved, Ok(Moved::Done));
        // The gateway looks every ten seconds.
        bench.later(10);
        assert_eq!(bench.gateway.alert_once().await, Ok(1), "within a minute");
    };
    bench.later(1);
    says(Some(20009)).await;
    assert_eq!(bench.addressed(), ["coordinator@home.example", "operations@onward.example"]);
    let open = [AlertKind::UnreadBeforeArrival, AlertKind::NotProcessed].map(|kind| (kind, 1));
    assert_eq!(bench.open_alerts().await, open, "what a machine refused nobody has read");
    bench.turn("2026-11-13T13:00:00Z");
    assert_eq!(bench.gateway.alert_once().await, Ok(1), "the ladder goes on");
    assert_eq!(bench.addressed(), ["operations@onward.example"]);
    let agent = Agent::named("operator", None);
    let decider = Decider { agent, by: "Ada Wells", reason: "mended there", act: true, request_id: None };
    let found = bench.gateway.resendable(&BoardFilter::default()).await.expect("readable");
    assert_eq!(found.iter().map(|stuck| stuck.copy.id).collect::<Vec<_>>(), [copy], "it is on the board");
    assert_eq!(bench.gateway.resend(copy, Resend::Replay, &decider).await, Ok(Resent::Queued));
    bench.gateway.dispatch_due().await.expect("sent");
    // A person at the home says no: nothing is broken, and the ward must know before they send anybody.
    says(None).await;
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["ward@hospital.example"]);
    assert!(letters["ward@hospital.example"].contains("declined"), "{letters:?}");
    assert_eq!(bench.open_alerts().await, [(AlertKind::Declined, 1)]);
    assert_eq!(bench.gateway.resend(copy, Resend::Replay, &decider).await, Ok(Resent::Not), "it is decided");
}

#[tokio::test]
async fn what_a_practice_declines_its_ward_and_operations_hear() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let id = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let record = bench.transfer(id).await;
    let copy = record.copies().find(|copy| copy.kind == RecipientKind::CoveringPractice).expect("a copy");
    let practice = client("beck-lane", copy.recipient.as_str(), Role::Practice);
    let answer = Answer {
        state: DeliveryState::Rejected,
        code: Some(ResponseCode::of(30_022).expect("one of ITK3's")),
        reason: Some("the list is full".to_owned()),
    };
    let moved = bench.gateway.move_task(&practice, copy.id, copy.version, answer, None).await;
    assert_eq!(moved, Ok(Moved::Done));
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    assert_eq!(bench.open_alerts().await, [(AlertKind::CareDeclined, 1)]);
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["operations@onward.example", "ward@hospital.example"]);
    for letter in letters.values() {
        assert!(letter.contains("declined its part") && letter.contains(copy.recipient.as_str()), "{letter}");
        assert!(!letter.contains("the list is full"), "its own words may be about the person: {letter}");
    }
    // A node of an older version does not know such an alert, and clears it at each of its looks.
    let clear = async || {
        let kind = AlertKind::CareDeclined;
        assert_eq!(bench.gateway.store().clear_alert(kind, copy.id.0, bench.clock.now()).await, Ok(true));
    };
    clear().await;
    for wait in [10, 3_600 - 11] {
        bench.later(wait);
        assert_eq!(bench.gateway.alert_once().await, Ok(0));
        assert!(bench.addressed().is_empty(), "nobody is told of it every few seconds");
    }
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    assert_eq!(bench.addressed(), ["operations@onward.example", "ward@hospital.example"]);
}

#[tokio::test]
async fn a_notice_to_stop_that_nobody_opens_is_escalated() {
    let bench = Bench::at("2026-11-12T09:00:00Z").await;
    let id = bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = bench.care_home_copy(id).await;
    let home = client("rowan-house", "VMH01", Role::CareHome);
    bench.gateway.open(&home, copy, Form::Document, None).await.expect("audited").expect("read");
    let hospital = client("northmoor-epr", "R9Z", Role::Sender);
    let version = bench.gateway.transfer_version(&bench.transfer(id).await);
    let version = u64::try_from(version).expect("a version");
    let withdrawn = bench.gateway.withdraw(&hospital, id, version, Some("the wrong document"), None).await;
    assert_eq!(withdrawn, Ok(Withdrawn::Done));
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    // The person comes tomorrow; whoever has read the summary may be acting on it now.
    bench.later(30 * 60 - 1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["coordinator@home.example"]);
    let letter = &letters["coordinator@home.example"];
    assert!(
        letter.contains("not to be used any more") && letter.contains("https://gateway.test/transfers/"),
        "{letter}"
    );
    bench.later(30 * 60);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    assert_eq!(bench.addressed(), ["operations@onward.example"], "the home has no address: it is rung");
    bench.later(30 * 60);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    assert_eq!(bench.addressed(), ["ward@hospital.example"]);
    assert_eq!(bench.open_alerts().await, [1, 2, 3].map(|step| (AlertKind::NoticeUnread, step)));
    let alerts = bench.gateway.store().alerts().await.expect("readable");
    let notice = alerts[0].concern.delivery.expect("a notice");
    bench.gateway.open(&home, notice, Form::Document, None).await.expect("audited").expect("read");
    bench.gateway.alert_once().await.expect("looked");
    assert!(bench.open_alerts().await.is_empty(), "it is read");
}

/// A system that is told of everything.
struct Webhook(tokio::sync::mpsc::UnboundedSender<String>);

#[async_trait]
impl Notifier for Webhook {
    fn channel(&self) -> Channel {
        Channel::Webhook
    }

    async fn tell(&self, telling: &Telling) -> Result<(), SendError> {
        self.0.send(telling.text.clone()).expect("the test listens");
        Ok(())
    }
}

#[tokio::test]
async fn a_mail_server_that_hangs_delays_neither_a_look_nor_another_way_to_tell() {
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let bench = Bench::with_webhook("2026-11-13T09:00:00Z", Arc::new(Webhook(told))).await;
    bench.letters.hangs.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.partner(Some(SendError::Permanent { reason: "404".to_owned() }));
    bench.accept().await;
    bench.gateway.dispatch_due().await.expect("sent");
    let (letters, gateway) = (Arc::clone(&bench.letters), Arc::new(bench.gateway));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let telling = tokio::spawn(Arc::clone(&gateway).tell_until(stopped));
    let failed = "A discharge could not be delivered";
    assert_ne!(gateway.look_once().await, Ok(0));
    assert!(hears.recv().await.expect("told").contains(failed), "while the first letter hangs");
    // Something else fails meanwhile: it is raised and told, and the letter hangs still.
    let background = gateway.background();
    for _ in 0..3 {
        background.fell("dispatcher");
        background.begins("dispatcher");
    }
    assert_eq!(gateway.look_once().await, Ok(1), "a look waits for no telling");
    assert!(hears.recv().await.expect("told").contains("falls again and again"));
    assert!(letters.sent.lock().expect("whole").is_empty(), "no letter has gone");
    stop.send(true).expect("it listens");
    telling.abort();
}

#[tokio::test]
async fn background_work_that_falls_again_and_again_is_told_to_operations_until_it_stands() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let background = bench.gateway.background();
    let fall = |times: u32| {
        for _ in 0..times {
            background.fell("dispatcher");
            background.begins("dispatcher");
        }
    };
    fall(2);
    bench.later(60);
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "it stands");
    fall(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["operations@onward.example"]);
    let letter = &letters["operations@onward.example"];
    for told in [
        "falls again and again: dispatcher (3 times), and perhaps more since (/readyz of each node tells).",
        "2026-11-13T09:00:00Z",
    ] {
        assert!(letter.contains(told), "{told}: {letter}");
    }
    let open = bench.gateway.store().alerts().await.expect("readable");
    assert_eq!(open[0].concern.work.as_deref(), Some("dispatcher (3 times)"));
    bench.later(3_600 - 1);
    fall(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    bench.later(3_600 - 1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "it is told");
    assert_eq!(bench.open_alerts().await, [(AlertKind::BackgroundFallen, 1)]);
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert!(bench.open_alerts().await.is_empty(), "it has stood for an hour");
    fall(3);
    assert_eq!(bench.gateway.alert_once().await, Ok(1), "and falls once more");
    assert_eq!(bench.addressed(), ["operations@onward.example"]);
    // A node of an older version clears it at each of its looks.
    let (kind, nobody) = (AlertKind::BackgroundFallen, uuid::Uuid::nil());
    assert_eq!(bench.gateway.store().clear_alert(kind, nobody, bench.clock.now()).await, Ok(true));
    bench.later(3_600 - 1);
    fall(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "nobody is told of it every few seconds");
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1), "but within the hour");
}

#[tokio::test]
async fn that_background_work_fell_before_a_start_is_over_when_it_has_stood_for_an_hour() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let raised = async |before: i64| {
        let at = bench.clock.now() - SignedDuration::from_secs(before);
        let concern = Concern {
            kind: AlertKind::BackgroundFallen,
            step: 1,
            transfer: None,
            sender: "Y99900".parse().expect("a code"),
            delivery: None,
            recipient: None,
            hold: None,
            subscription: None,
            work: None,
            since: at,
        };
        let alert = NewAlert { id: uuid::Uuid::new_v4(), concern, at, notifications: Vec::new(), audit: Vec::new() };
        assert_eq!(bench.gateway.store().raise_alert(alert).await, Ok(true));
    };
    let is_open = async || {
        assert_eq!(bench.gateway.alert_once().await, Ok(0));
        !bench.open_alerts().await.is_empty()
    };
    raised(1).await;
    bench.later(3_600 - 1);
    assert!(is_open().await);
    bench.later(1);
    assert!(!is_open().await);
    // What is raised later is another node's: that knows when it is over.
    raised(0).await;
    bench.later(24 * 3_600 - 1);
    assert!(is_open().await);
    bench.later(1);
    assert!(!is_open().await, "that node may be gone");
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_read_is_told_to_operations_once() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let look = async |is_down: bool| bench.gateway.poll_mailbox(&OwnMailbox { is_down, waits: None }).await;
    let limit = bench.gateway.settings().alerts.mailbox.as_secs();
    assert_eq!(look(false).await, Ok(0));
    bench.later(limit - 1);
    assert_eq!(look(true).await, Err(down()));
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["operations@onward.example"]);
    let letter = &letters["operations@onward.example"];
    assert!(letter.contains("MESH mailbox cannot be read") && letter.contains("2026-11-13T09:00:00Z"), "{letter}");
    bench.later(limit);
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "it is told");
    assert_eq!(bench.open_alerts().await, [(AlertKind::MailboxUnreadable, 1)]);
    assert_eq!(look(false).await, Ok(0));
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert!(bench.open_alerts().await.is_empty(), "it can be read again");
    bench.later(limit);
    assert_eq!(bench.gateway.alert_once().await, Ok(1), "and once more it cannot");
    // A node of an older version clears it at each of its looks.
    let clear = async || {
        let (kind, nobody) = (AlertKind::MailboxUnreadable, uuid::Uuid::nil());
        assert_eq!(bench.gateway.store().clear_alert(kind, nobody, bench.clock.now()).await, Ok(true));
    };
    clear().await;
    bench.later(3_600 - 1);
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "nobody is told of it every few seconds");
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1), "but within the hour");
}

#[tokio::test]
async fn a_message_that_stays_in_the_mailbox_is_told_to_operations() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let look = async |waits| bench.gateway.poll_mailbox(&OwnMailbox { is_down: false, waits }).await;
    let limit = bench.gateway.settings().alerts.mailbox.as_secs();
    assert_eq!(look(Some(Waits::Broken)).await, Ok(0));
    bench.later(limit - 1);
    assert_eq!(look(Some(Waits::Broken)).await, Ok(0));
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    bench.later(1);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["operations@onward.example"]);
    let letter = &letters["operations@onward.example"];
    assert!(letter.contains("cannot be collected") && letter.contains("2026-11-13T09:00:00Z"), "{letter}");
    bench.later(60);
    assert_eq!(look(Some(Waits::Broken)).await, Ok(0));
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert_eq!(bench.open_alerts().await, [(AlertKind::MailboxUnreadable, 1)], "that it can be listed ends nothing");
    assert_eq!(look(None).await, Ok(0));
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert!(bench.open_alerts().await.is_empty(), "MESH does not have it any more");
}

#[tokio::test]
async fn a_mailbox_whose_look_takes_long_is_being_read() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let limit = bench.gateway.settings().alerts.mailbox.as_secs();
    let waits = Some(Waits::Slow(Arc::clone(&bench.clock), limit));
    assert_eq!(bench.gateway.poll_mailbox(&OwnMailbox { is_down: false, waits }).await, Ok(1));
    assert_eq!(bench.gateway.alert_once().await, Ok(0), "MESH answered a moment ago");
    bench.later(limit);
    assert_eq!(bench.gateway.alert_once().await, Ok(1));
}

/// The hospital's system has the refusal, and maybe nobody there looks: recipients act on what it knows to be out of date.
#[tokio::test]
async fn a_newer_version_that_is_refused_is_told_once_and_ends_with_the_next_or_by_a_person() {
    let bench = Bench::at("2026-11-13T12:00:00Z").await;
    let submit = async |ods: &str, text: String| {
        let submission = Submission {
            client: client("northmoor-epr", ods, Role::Sender),
            body: text.into_bytes().into(),
            media_type: "application/fhir+xml".to_owned(),
            request_id: None,
        };
        bench.gateway.accept(submission).await
    };
    let refused = async |ods: &str, text: String| match submit(ods, text).await {
        Err(AcceptError::Refused(refusal)) => refusal.word(),
        _ => "taken in, or a fault",
    };
    let about = async || {
        let alerts = bench.gateway.store().alerts().await.expect("readable");
        alerts.into_iter().map(|alert| (alert.concern.kind, alert.concern.transfer)).collect::<Vec<_>>()
    };
    let first = Version::first();
    let old = bench.accept_this(first.text.clone()).await;
    let broken = |version: &Version| {
        let text = version.text.replacen("<status value=\"final\"/>", "<status value=\"over\"/>", 1);
        assert_ne!(text, version.text, "the fixture has a status");
        text
    };
    // Neither a first version nor what somebody else sends says anything about it.
    assert_eq!(refused("R9Z", broken(&Version::first())).await, "not-valid");
    assert_eq!(refused("R9Y", first.next().text).await, "wrong-sender");
    assert_eq!(about().await, []);
    for _ in 0..3 {
        assert_eq!(refused("R9Z", broken(&first.next())).await, "not-valid");
    }
    assert_eq!(about().await, [(AlertKind::ReplacementRefused, Some(old))], "once");
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["operations@onward.example", "ward@hospital.example"]);
    assert!(letters.values().all(|text| text.contains(&old.to_string())), "{letters:?}");
    // The hospital mends it.
    let second = first.next();
    let new = bench.accept_this(second.text.clone()).await;
    assert_eq!(bench.gateway.alert_once().await, Ok(0));
    assert_eq!(about().await, []);
    // What comes again gets its first answer.
    assert!(submit("R9Z", second.text.clone()).await.is_ok_and(|receipt| receipt.duplicate));
    assert_eq!(about().await, []);
    // Another correction of the first one cannot be taken: the second is what is used.
    assert_eq!(refused("R9Z", first.next().text).await, "not-replaceable");
    assert_eq!(about().await, [(AlertKind::ReplacementRefused, Some(new))]);
    let agent = Agent::named("operator", None);
    let by = Decider { agent, by: "Ada Wells", reason: "the second one stands", act: true, request_id: None };
    assert_eq!(bench.gateway.end_outdated(old, &by).await, Ok(false));
    assert_eq!(bench.gateway.end_outdated(new, &by).await, Ok(true));
    assert_eq!(about().await, []);
    let entries = bench.gateway.store().audit_entries(0, 10_000).await.expect("readable");
    assert_eq!(entries.last().map(|entry| entry.columns.word.as_str()), Some("notify"), "who ended it is in the log");
}
