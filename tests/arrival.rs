//! The clock of arrivals: an unread discharge reaches somebody before the person does, a poison message parks itself alone,
//! and nobody is told twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onward_connect::stand_in::StandInDirectory;
use onward_core::audit::Agent;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::directory::{DirectoryEntry, Hub};
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::alerts::{AlertKind, Channel};
use onward_core::store::{Resend, TransferRecord};
use onward_core::transport::{
    InboxTransport, Mailbox, MeshMessage, Notifier, Outbound, SendError, Sent, Telling, Transport,
};
use onward_core::{Clock, HoldId, MeshMailboxId, SystemClock, TransferId};
use onward_fhir::itk::ResponseCode;
use onward_gateway::accept::Submission;
use onward_gateway::acknowledge::{Answer, Moved};
use onward_gateway::alerts::Alerting;
use onward_gateway::collect::Form;
use onward_gateway::holds::{Decider, Released};
use onward_gateway::lifecycle::Withdrawn;
use onward_gateway::operate::BoardFilter;
use onward_gateway::{Gateway, Parts, Settings};
use onward_server::app::{self, Tenure};
use onward_server::directory_import::{self, Format};
use onward_tests::leaks::canaries_in;
use onward_tests::message::{self, fresh};
use onward_tests::world::load;

/// A clock that the test turns.
pub(crate) struct Turned(Mutex<Timestamp>);

impl Turned {
    pub(crate) fn later(&self, seconds: i64) {
        *self.0.lock().expect("whole") += SignedDuration::from_secs(seconds);
    }
}

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("whole")
    }
}

/// E-mails that would have gone.
#[derive(Default)]
struct Letters {
    sent: Mutex<Vec<(String, String)>>,
    refuses: Mutex<Option<SendError>>,
}

#[async_trait]
impl Notifier for Letters {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    async fn tell(&self, telling: &Telling) -> Result<(), SendError> {
        if let Some(error) = self.refuses.lock().expect("whole").clone() {
            return Err(error);
        }
        let Telling { address, subject, text, .. } = telling;
        self.sent.lock().expect("whole").push((address.clone(), format!("{subject}\n{text}")));
        Ok(())
    }
}

/// A partner that answers by a script that the test changes, and keeps what came.
#[derive(Default)]
pub(crate) struct Partner {
    fails: Mutex<Option<SendError>>,
    /// Of so many it takes one and its answer is lost.
    pub(crate) loses_one_in: Mutex<Option<usize>>,
    pub(crate) came: Mutex<Vec<Outbound>>,
    /// Here it is our own code that fails.
    pub(crate) panics_for: Mutex<Option<RecipientKind>>,
    /// It answers when this has turned true.
    pub(crate) answers: Mutex<Option<tokio::sync::watch::Receiver<bool>>>,
    /// Only what goes to this host waits for that.
    pub(crate) hangs_at: Mutex<Option<&'static str>>,
}

#[async_trait]
impl Transport for Partner {
    fn kind(&self) -> TransportKind {
        TransportKind::Https
    }

    async fn send(&self, outbound: &Outbound) -> Result<Sent, SendError> {
        let count = {
            let mut came = self.came.lock().expect("whole");
            came.push(outbound.clone());
            came.len()
        };
        let panics_for = *self.panics_for.lock().expect("whole");
        assert_ne!(panics_for, Some(outbound.kind), "a fault of the program");
        let hangs_at = *self.hangs_at.lock().expect("whole");
        let hangs = hangs_at.is_none_or(|host| outbound.endpoint.hub() == Some(Hub::Host(host.to_owned())));
        let answers = self.answers.lock().expect("whole").clone().filter(|_| hangs);
        if let Some(mut answers) = answers {
            answers.wait_for(|now| *now).await.expect("the test lets it answer");
        }
        if self.loses_one_in.lock().expect("whole").is_some_and(|one_in| count % one_in == 0) {
            return Err(SendError::Unknown { reason: "no whole answer: the connection ended".to_owned() });
        }
        match &*self.fails.lock().expect("whole") {
            Some(error) => Err(error.clone()),
            None => Ok(Sent::Received { reference: None }),
        }
    }
}

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

/// How long a copy is its dispatcher's, seconds of the clock that the test turns; renewed every third of it by the real one.
pub(crate) const LEASE: i64 = 3;

pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    pub(crate) clock: Arc<Turned>,
    letters: Arc<Letters>,
    pub(crate) partner: Arc<Partner>,
    pub(crate) folder: tempfile::TempDir,
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a moment")
}

pub(crate) fn client(id: &str, ods: &str, role: Role) -> Client {
    Client {
        id: id.to_owned(),
        ods: ods.parse().expect("a code"),
        role,
        jwks: r#"{"keys":[]}"#.to_owned(),
        certificate_sha256: None,
        mesh_mailbox: None,
        nhs_number_policy: NhsNumberPolicy::Refuse,
        disabled: false,
        under: None,
    }
}

impl Bench {
    /// The pharmacy is reached by HTTPS, everybody else collects; the discharge of the fixture is at 14:30.
    pub(crate) async fn at(now: &str) -> Self {
        Self::made(now, false, 8).await
    }

    /// It sends so many copies side by side; both practices are behind one host.
    pub(crate) async fn with_one_host_for_practices(now: &str, workers: u32) -> Self {
        let bench = Self::made(now, false, workers).await;
        let mut text = Self::directory();
        for (name, path) in [("Beck Lane Surgery", "beck"), ("Hillside Medical Practice", "hillside")] {
            let at = |endpoint: &str| format!("name = \"{name}\"\nendpoint = {{ {endpoint} }}");
            let inbox = at("transport = \"inbox\"");
            assert!(text.contains(&inbox), "{name} is in the directory");
            let url = format!("transport = \"https\", url = \"https://practices.example/{path}\"");
            text = text.replace(&inbox, &at(&url));
        }
        bench.import(&text).await;
        bench
    }

    async fn made(now: &str, tell_homes: bool, workers: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        let text = "[identity]\nods = \"Y99900\"\nname = \"Onward test gateway\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
        std::fs::write(&file, text).expect("written");
        let people = include_str!("../config/examples/pds-stand-in.toml");
        std::fs::write(folder.path().join("people.toml"), people).expect("written");
        onward_server::store_keys::add_key(&folder.path().join("store.key"), SystemClock.now()).expect("a key");
        let mut config = load(&file);
        config.alerts.tell_homes = tell_homes;
        let clock = Arc::new(Turned(Mutex::new(at(now))));
        let (letters, partner) = (Arc::new(Letters::default()), Arc::new(Partner::default()));
        let as_clock = || Arc::clone(&clock) as Arc<dyn Clock>;
        let gateway = Gateway::new(Parts {
            store: app::open_store(&config, Tenure::Server).await.expect("a store"),
            directory: Arc::new(StandInDirectory::load(&folder.path().join("people.toml")).expect("people")),
            organisations: None,
            mailboxes: None,
            transports: vec![Arc::new(InboxTransport), Arc::clone(&partner) as Arc<dyn Transport>],
            mailbox: None,
            notifiers: vec![Arc::clone(&letters) as Arc<dyn Notifier>],
            hook: None,
            scanner: None,
            clock: as_clock(),
            policies: app::load_policies(&config).expect("policies"),
            routes: config.load_routes().expect("routes").routes,
            rules: config.load_rules().expect("rules"),
            profiles: config.load_profiles().expect("profiles"),
            settings: Settings {
                own_ods: "Y99900".parse().expect("an ODS code"),
                own_name: "Onward test gateway".to_owned(),
                own_mailbox: None,
                gp_routing: false,
                base_url: "https://gateway.test".to_owned(),
                body_bytes_max: 5_242_880,
                workers,
                lease: SignedDuration::from_secs(LEASE),
                retry: BTreeMap::new(),
                holds: BTreeMap::new(),
                alerts: Alerting {
                    operations: "operations@onward.example".to_owned(),
                    wards: [("R9Z".parse().expect("a code"), "ward@hospital.example".to_owned())].into(),
                    ..app::alerting(&config)
                },
                hooks: Vec::new(),
            },
        });
        let bench = Self { gateway, clock, letters, partner, folder };
        bench.import(&Self::directory()).await;
        bench
    }

    fn directory() -> String {
        let text = include_str!("support/directory.toml");
        let coordinator = "telephone = \"01632 960103\"";
        let pharmacy = "ods = \"FZZ01\"";
        assert!(text.contains(coordinator) && text.contains(pharmacy));
        let text = text.replace(coordinator, &format!("{coordinator}, email = \"coordinator@home.example\""));
        let (before, after) = text.split_once(pharmacy).expect("the pharmacy");
        let https = "endpoint = { transport = \"https\", url = \"https://pharmacy.example/in\" }";
        let after = after.replacen("endpoint = { transport = \"inbox\" }", https, 1);
        format!("{before}{pharmacy}{after}")
    }

    async fn import(&self, text: &str) {
        let now = self.clock.now();
        let import = directory_import::read(text, Format::Toml, &BTreeMap::new(), now).expect("a directory");
        let store = self.gateway.store();
        store.import_directory(import.entries, "test", now, Vec::new()).await.expect("imported");
        store.put_client(client("northmoor-epr", "R9Z", Role::Sender), Vec::new()).await.expect("registered");
    }

    pub(crate) async fn accept(&self) -> TransferId {
        self.accept_this(fresh(message::EDISCHARGE_ITK3)).await
    }

    async fn accept_this(&self, body: String) -> TransferId {
        let submission = Submission {
            client: client("northmoor-epr", "R9Z", Role::Sender),
            body: body.into_bytes().into(),
            media_type: "application/fhir+xml".to_owned(),
            request_id: None,
        };
        self.gateway.accept(submission).await.expect("accepted").transfer
    }

    /// Another hand in the database.
    fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.folder.path().join("onward.db")).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
        connection.execute_batch(sql).expect("runs");
    }

    /// The hold of a new message whose home the directory does not know.
    async fn held(&self) -> HoldId {
        let body = fresh(message::EDISCHARGE_ITK3).replace("VMH01", "VMH99");
        let id = self.accept_this(body).await;
        self.transfer(id).await.hold.expect("held").id
    }

    fn turn(&self, to: &str) {
        *self.clock.0.lock().expect("whole") = at(to);
    }

    pub(crate) fn later(&self, seconds: i64) {
        self.clock.later(seconds);
    }

    /// What was sent since the last look, by address.
    pub(crate) fn letters(&self) -> BTreeMap<String, String> {
        let letters = std::mem::take(&mut *self.letters.sent.lock().expect("whole"));
        for (_, text) in &letters {
            assert!(canaries_in("letter", text).is_empty(), "no patient data by e-mail: {text}");
        }
        let count = letters.len();
        let by_address: BTreeMap<_, _> = letters.into_iter().collect();
        assert_eq!(by_address.len(), count, "what goes to one address goes as one");
        by_address
    }

    fn addressed(&self) -> Vec<String> {
        self.letters().into_keys().collect()
    }

    fn mail(&self, fault: Option<SendError>) {
        *self.letters.refuses.lock().expect("whole") = fault;
    }

    fn partner(&self, fault: Option<SendError>) {
        *self.partner.fails.lock().expect("whole") = fault;
    }

    pub(crate) async fn care_home_copy(&self, id: TransferId) -> onward_core::DeliveryId {
        self.transfer(id).await.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id
    }

    pub(crate) async fn transfer(&self, id: TransferId) -> TransferRecord {
        self.gateway.store().transfer(id).await.expect("readable").expect("there")
    }

    async fn open_alerts(&self) -> Vec<(AlertKind, u32)> {
        let alerts = self.gateway.store().alerts().await.expect("readable");
        alerts.iter().map(|alert| (alert.concern.kind, alert.concern.step)).collect()
    }
}

fn down() -> SendError {
    SendError::Transient { reason: "down".to_owned(), retry_after_seconds: None }
}

fn refused(status: u16) -> SendError {
    SendError::Permanent { reason: format!("the partner answered {status}") }
}

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
            .requeue(copy.id, Resend::Retry, "Ada Wells", "mended at the pharmacy", bench.clock.now(), Vec::new())
            .await;
        assert_eq!(again, Ok(true));
    }
    bench.gateway.dispatch_due().await.expect("sent");
    bench.gateway.alert_once().await.expect("looked");
    assert!(bench.open_alerts().await.is_empty(), "it has left: nothing is open any more");
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
    assert_eq!(bench.gateway.resend(copy, Resend::Replay, &decider).await, Ok(true));
    bench.gateway.dispatch_due().await.expect("sent");
    // A person at the home says no: nothing is broken, and the ward must know before they send anybody.
    says(None).await;
    let letters = bench.letters();
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["ward@hospital.example"]);
    assert!(letters["ward@hospital.example"].contains("declined"), "{letters:?}");
    assert_eq!(bench.open_alerts().await, [(AlertKind::Declined, 1)]);
    assert_eq!(bench.gateway.resend(copy, Resend::Replay, &decider).await, Ok(false), "it is decided");
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
    assert!(bench.gateway.store().holds().await.is_err(), "the list cannot be read");
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
    assert_eq!(bench.gateway.pause(None, &decider).await, Ok(true));
    let id = bench.accept().await;
    bench.later(25 * 3_600);
    bench.gateway.alert_once().await.expect("looked");
    let open = bench.open_alerts().await;
    assert!(open.contains(&(AlertKind::QueuedTooLong, 1)), "a pause that was forgotten: {open:?}");
    bench.later(75 * 3_600);
    assert_eq!(bench.gateway.resume(None, &decider).await, Ok(true));
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
    store.import_directory(vec![DirectoryEntry::CareHome(home)], "test", now, Vec::new()).await.expect("imported");
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
