//! A gateway with a clock, letters and a partner that the test turns, reads and scripts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onward_connect::stand_in::StandInDirectory;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::directory::Hub;
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::TransferRecord;
use onward_core::store::alerts::{AlertKind, Channel};
use onward_core::transport::{Notifier, Outbound, SendError, Sent, Telling, Transport};
use onward_core::{Clock, HoldId, SystemClock, TransferId};
use onward_gateway::accept::Submission;
use onward_gateway::alerts::Alerting;
use onward_gateway::{Gateway, Parts, Settings};
use onward_server::app::{self, Tenure};
use onward_server::directory_import::{self, Format};
use onward_tests::leaks::canaries_in;
use onward_tests::message::{self, fresh};
use onward_tests::world::load;

/// A clock that the test turns.
pub(crate) struct Turned {
    pub(crate) now: Mutex<Timestamp>,
    /// Whoever asks next from another thread than this finds it broken.
    pub(crate) breaks_beside: Mutex<Option<ThreadId>>,
    /// After such an answer it jumps so many seconds.
    pub(crate) sleeps_beside: Mutex<Option<(ThreadId, i64)>>,
}

impl Turned {
    pub(crate) fn later(&self, seconds: i64) {
        *self.now.lock().expect("whole") += SignedDuration::from_secs(seconds);
    }

    /// Breaks once, for whoever asks from another thread than this one: of a test in one thread, the embedded store's writer.
    pub(crate) fn break_once_beside(&self) {
        *self.breaks_beside.lock().expect("whole") = Some(std::thread::current().id());
    }

    /// The machine sleeps so long, once, when somebody has asked from another thread: while the embedded store writes.
    pub(crate) fn sleep_once_beside(&self, seconds: i64) {
        *self.sleeps_beside.lock().expect("whole") = Some((std::thread::current().id(), seconds));
    }
}

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        let here = std::thread::current().id();
        let broken = self.breaks_beside.lock().expect("whole").take_if(|own| *own != here);
        assert_eq!(broken, None, "a fault of the program");
        let now = *self.now.lock().expect("whole");
        if let Some((_, seconds)) = self.sleeps_beside.lock().expect("whole").take_if(|(own, _)| *own != here) {
            self.later(seconds);
        }
        now
    }
}

/// E-mails that would have gone.
#[derive(Default)]
pub(crate) struct Letters {
    pub(crate) sent: Mutex<Vec<(String, String)>>,
    pub(crate) refuses: Mutex<Option<SendError>>,
    /// The mail server takes the connection and says nothing more.
    pub(crate) hangs: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Notifier for Letters {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    async fn tell(&self, telling: &Telling) -> Result<(), SendError> {
        if self.hangs.load(std::sync::atomic::Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
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
    pub(crate) fails: Mutex<Option<SendError>>,
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

/// How long a copy is its dispatcher's, seconds of the clock that the test turns; renewed every third of it by the real one.
pub(crate) const LEASE: i64 = 3;

pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    pub(crate) clock: Arc<Turned>,
    pub(crate) letters: Arc<Letters>,
    pub(crate) partner: Arc<Partner>,
    pub(crate) folder: tempfile::TempDir,
}

pub(super) fn at(text: &str) -> Timestamp {
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

    pub(crate) async fn made(now: &str, tell_homes: bool, workers: u32) -> Self {
        Self::wired(now, tell_homes, workers, None).await
    }

    /// Another system is told of everything besides.
    pub(crate) async fn with_webhook(now: &str, webhook: Arc<dyn Notifier>) -> Self {
        Self::wired(now, false, 8, Some(webhook)).await
    }

    async fn wired(now: &str, tell_homes: bool, workers: u32, webhook: Option<Arc<dyn Notifier>>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        let text = "[identity]\nods = \"Y99900\"\nname = \"Onward test gateway\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
        std::fs::write(&file, text).expect("written");
        let people = include_str!("../../config/examples/pds-stand-in.toml");
        std::fs::write(folder.path().join("people.toml"), people).expect("written");
        onward_server::store_keys::add_key(&folder.path().join("store.key"), SystemClock.now()).expect("a key");
        let mut config = load(&file);
        config.alerts.tell_homes = tell_homes;
        let clock = Arc::new(Turned {
            now: Mutex::new(at(now)),
            breaks_beside: Mutex::default(),
            sleeps_beside: Mutex::default(),
        });
        let (letters, partner) = (Arc::new(Letters::default()), Arc::new(Partner::default()));
        let as_clock = || Arc::clone(&clock) as Arc<dyn Clock>;
        let gateway = Gateway::new(Parts {
            store: app::open_store(&config, Tenure::Server).await.expect("a store"),
            directory: Arc::new(StandInDirectory::load(&folder.path().join("people.toml")).expect("people")),
            organisations: None,
            mailboxes: None,
            transports: vec![Arc::clone(&partner) as Arc<dyn Transport>],
            mailbox: None,
            notifiers: [Arc::clone(&letters) as Arc<dyn Notifier>].into_iter().chain(webhook).collect(),
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
                    webhook: "https://rota.example/alerts".to_owned(),
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

    pub(crate) fn directory() -> String {
        let text = include_str!("../support/directory.toml");
        let coordinator = "telephone = \"01632 960103\"";
        let pharmacy = "ods = \"FZZ01\"";
        assert!(text.contains(coordinator) && text.contains(pharmacy));
        let text = text.replace(coordinator, &format!("{coordinator}, email = \"coordinator@home.example\""));
        let (before, after) = text.split_once(pharmacy).expect("the pharmacy");
        let https = "endpoint = { transport = \"https\", url = \"https://pharmacy.example/in\" }";
        let after = after.replacen("endpoint = { transport = \"inbox\" }", https, 1);
        format!("{before}{pharmacy}{after}")
    }

    pub(crate) async fn import(&self, text: &str) {
        let now = self.clock.now();
        let import = directory_import::read(text, Format::Toml, &BTreeMap::new(), now).expect("a directory");
        let store = self.gateway.store();
        store.import_directory(import.entries, "test", now, Vec::new().into()).await.expect("imported");
        store.put_client(client("northmoor-epr", "R9Z", Role::Sender), Vec::new()).await.expect("registered");
    }

    pub(crate) async fn accept(&self) -> TransferId {
        self.accept_this(fresh(message::EDISCHARGE_ITK3)).await
    }

    pub(crate) async fn accept_this(&self, body: String) -> TransferId {
        let submission = Submission {
            client: client("northmoor-epr", "R9Z", Role::Sender),
            body: body.into_bytes().into(),
            media_type: "application/fhir+xml".to_owned(),
            request_id: None,
        };
        self.gateway.accept(submission).await.expect("accepted").transfer
    }

    /// Another hand in the database.
    pub(crate) fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.folder.path().join("onward.db")).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
        connection.execute_batch(sql).expect("runs");
    }

    /// The hold of a new message whose home the directory does not know.
    pub(crate) async fn held(&self) -> HoldId {
        let body = fresh(message::EDISCHARGE_ITK3).replace("VMH01", "VMH99");
        let id = self.accept_this(body).await;
        self.transfer(id).await.hold.expect("held").id
    }

    pub(crate) fn turn(&self, to: &str) {
        *self.clock.now.lock().expect("whole") = at(to);
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

    pub(crate) fn addressed(&self) -> Vec<String> {
        self.letters().into_keys().collect()
    }

    pub(crate) fn mail(&self, fault: Option<SendError>) {
        *self.letters.refuses.lock().expect("whole") = fault;
    }

    pub(crate) fn partner(&self, fault: Option<SendError>) {
        *self.partner.fails.lock().expect("whole") = fault;
    }

    pub(crate) async fn care_home_copy(&self, id: TransferId) -> onward_core::DeliveryId {
        self.transfer(id).await.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id
    }

    pub(crate) async fn transfer(&self, id: TransferId) -> TransferRecord {
        self.gateway.store().transfer(id).await.expect("readable").expect("there")
    }

    pub(crate) async fn open_alerts(&self) -> Vec<(AlertKind, u32)> {
        let alerts = self.gateway.store().alerts().await.expect("readable");
        alerts.iter().map(|alert| (alert.concern.kind, alert.concern.step)).collect()
    }
}

pub(crate) fn down() -> SendError {
    SendError::Transient { reason: "down".to_owned(), retry_after_seconds: None }
}

pub(crate) fn refused(status: u16) -> SendError {
    SendError::Permanent { reason: format!("the partner answered {status}") }
}
