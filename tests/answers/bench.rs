//! A gateway whose mailbox, partners and PDS the test scripts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use onward_connect::stand_in::StandInDirectory;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::directory::{Asker, Demographics, Directory, DirectoryError, Likeness, Match, PdsPatient, Question};
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::DeliveryRecord;
use onward_core::transport::{Mailbox, MeshMessage, Outbound, SendError, Sent, Transport};
use onward_core::{Clock as _, DeliveryId, MeshMailboxId, NhsNumber, SystemClock, TransferId};
use onward_fhir::authored::{ItkResponse, itk3_response};
use onward_fhir::itk::{RESPONSE_CODES, ResponseCode};
use onward_fhir::{Release, write};
use onward_gateway::accept::Submission;
use onward_gateway::{Gateway, Parts, Settings};
use onward_server::app::{self, Tenure};
use onward_server::directory_import::{self, Format};
use onward_tests::balp;
use onward_tests::message::{self, fresh};
use onward_tests::world::load;

pub(crate) const PRACTICE: &str = "X26OT101";
pub(crate) const HOME: &str = "X26OT102";
pub(crate) const STRANGER: &str = "X26OT666";
pub(crate) const HOSPITAL: &str = "R9ZOT001";

/// MESH as a script: what each send comes to, what waits, what was sent and acknowledged.
#[derive(Default)]
pub(crate) struct Mesh {
    pub(crate) sends: Mutex<VecDeque<Result<Sent, SendError>>>,
    pub(crate) sent: Mutex<Vec<Outbound>>,
    pub(crate) waiting: Mutex<Vec<MeshMessage>>,
    /// Those of them that it cannot give whole.
    pub(crate) broken: Mutex<BTreeSet<String>>,
    /// Those of them that another gateway takes before we do.
    pub(crate) taken: Mutex<BTreeSet<String>>,
    /// Those of them at which our own code fails.
    pub(crate) fatal: Mutex<BTreeSet<String>>,
    /// How many downloads were asked for.
    pub(crate) fetched: Mutex<usize>,
    /// Where MESH says that it brought what it was asked to find a practice for.
    pub(crate) found: Mutex<Option<MeshMailboxId>>,
}

#[async_trait]
impl Transport for Mesh {
    fn kind(&self) -> TransportKind {
        TransportKind::Mesh
    }

    async fn send(&self, outbound: &Outbound) -> Result<Sent, SendError> {
        self.sent.lock().expect("whole").push(outbound.clone());
        let scripted = self.sends.lock().expect("whole").pop_front();
        scripted.unwrap_or_else(|| Ok(Sent::HandedOver { reference: Some(format!("M-{}", outbound.delivery)) }))
    }
}

#[async_trait]
impl Mailbox for Mesh {
    async fn list(&self) -> Result<Vec<String>, SendError> {
        Ok(self.waiting.lock().expect("whole").iter().map(|message| message.id.clone()).collect())
    }

    async fn fetch(&self, id: &str) -> Result<MeshMessage, SendError> {
        *self.fetched.lock().expect("whole") += 1;
        if self.taken.lock().expect("whole").contains(id) {
            self.waiting.lock().expect("whole").retain(|message| message.id != id);
        }
        let is_fatal = self.fatal.lock().expect("whole").contains(id);
        assert!(!is_fatal, "a fault of the program");
        if self.broken.lock().expect("whole").contains(id) {
            return Err(SendError::Permanent { reason: "not gzip".to_owned() });
        }
        let found = self.waiting.lock().expect("whole").iter().find(|message| message.id == id).cloned();
        found.ok_or(SendError::Permanent { reason: "gone".to_owned() })
    }

    async fn recipient(&self, _: &str) -> Result<Option<MeshMailboxId>, SendError> {
        Ok(self.found.lock().expect("whole").clone())
    }

    async fn acknowledge(&self, id: &str) -> Result<(), SendError> {
        self.waiting.lock().expect("whole").retain(|message| message.id != id);
        Ok(())
    }
}

/// PDS, which may be down.
pub(crate) struct Pds {
    pub(crate) people: StandInDirectory,
    /// What it says of everybody, in place of what it knows.
    pub(crate) says: Mutex<Option<Option<PdsPatient>>>,
    pub(crate) is_down: AtomicBool,
    /// No question leaves: there is no turn for it in time.
    pub(crate) has_no_turn: AtomicBool,
    /// For whom it was asked.
    pub(crate) askers: Mutex<Vec<Asker>>,
    pub(crate) asked: AtomicUsize,
}

#[async_trait]
impl Directory for Pds {
    async fn patient(&self, number: &NhsNumber, question: &Question) -> Result<Option<PdsPatient>, DirectoryError> {
        self.askers.lock().expect("whole").push(question.asker().clone());
        if self.has_no_turn.load(Ordering::SeqCst) {
            return Err(DirectoryError::Unavailable("PDS has no turn".to_owned()));
        }
        question.leaves();
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(DirectoryError::Unavailable("PDS answered 503".to_owned()));
        }
        let says = self.says.lock().expect("whole").clone();
        match says {
            Some(says) => Ok(says),
            None => self.people.patient(number, question).await,
        }
    }

    async fn find(
        &self,
        person: &Demographics,
        likeness: Likeness,
        question: &Question,
    ) -> Result<Match, DirectoryError> {
        self.people.find(person, likeness, question).await
    }
}

/// A gateway without listeners, moved by hand.
pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) pds: Arc<Pds>,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        let text = "[identity]\nods = \"Y99900\"\nname = \"Onward test gateway\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
        std::fs::write(&file, text).expect("written");
        std::fs::write(folder.path().join("people.toml"), include_str!("../../config/examples/pds-stand-in.toml"))
            .expect("written");
        onward_server::store_keys::add_key(&folder.path().join("store.key"), SystemClock.now()).expect("a key");
        let config = load(&file);
        let mesh = Arc::new(Mesh::default());
        let people = StandInDirectory::load(&folder.path().join("people.toml")).expect("people");
        let pds = Arc::new(Pds {
            people,
            says: Mutex::new(None),
            is_down: AtomicBool::new(false),
            has_no_turn: AtomicBool::new(false),
            askers: Mutex::default(),
            asked: AtomicUsize::new(0),
        });
        let gateway = Gateway::new(Parts {
            store: app::open_store(&config, Tenure::Server).await.expect("a store"),
            directory: Arc::clone(&pds) as Arc<dyn Directory>,
            organisations: None,
            mailboxes: None,
            transports: vec![Arc::clone(&mesh) as Arc<dyn Transport>],
            mailbox: None,
            notifiers: Vec::new(),
            hook: None,
            scanner: None,
            clock: Arc::new(SystemClock),
            policies: app::load_policies(&config).expect("policies"),
            routes: config.load_routes().expect("routes").routes,
            rules: config.load_rules().expect("rules"),
            profiles: config.load_profiles().expect("profiles"),
            settings: Settings {
                own_ods: "Y99900".parse().expect("an ODS code"),
                own_name: "Onward test gateway".to_owned(),
                own_mailbox: Some("X26OT900".parse().expect("a mailbox")),
                gp_routing: true,
                base_url: "https://gateway.test".to_owned(),
                body_bytes_max: 5_242_880,
                workers: 8,
                lease: jiff::SignedDuration::from_secs(30),
                retry: BTreeMap::new(),
                holds: BTreeMap::new(),
                alerts: app::alerting(&config),
                hooks: Vec::new(),
            },
        });
        let bench = Self { gateway, mesh, pds, folder };
        bench.import().await;
        bench
    }

    pub(crate) async fn import(&self) {
        let inbox = "name = \"Beck Lane Surgery\"\nendpoint = { transport = \"inbox\" }";
        let by_mesh = format!(
            "name = \"Beck Lane Surgery\"\nendpoint = {{ transport = \"mesh\", mailbox = \"{PRACTICE}\", workflow = \"GPCONNECT_SEND_DOCUMENT\" }}"
        );
        let text = include_str!("../support/directory.toml");
        assert!(text.contains(inbox));
        let text = text.replace(inbox, &by_mesh);
        let now = SystemClock.now();
        let import = directory_import::read(&text, Format::Toml, &BTreeMap::new(), now).expect("a directory");
        let store = self.gateway.store();
        store.import_directory(import.entries, "test", now, Vec::new().into()).await.expect("imported");
        store.put_client(hospital(), Vec::new()).await.expect("registered");
    }

    pub(crate) async fn accept(&self) -> TransferId {
        self.accept_text(fresh(message::EDISCHARGE_ITK3)).await
    }

    pub(crate) async fn accept_text(&self, text: String) -> TransferId {
        let submission = Submission {
            client: hospital(),
            body: text.into_bytes().into(),
            media_type: "application/fhir+xml".to_owned(),
            request_id: None,
        };
        self.gateway.accept(submission).await.expect("accepted").transfer
    }

    pub(crate) async fn practice_copy(&self, transfer: TransferId) -> DeliveryRecord {
        let record = self.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        record.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::CoveringPractice).expect("a copy")
    }

    pub(crate) async fn home_copy(&self, transfer: TransferId) -> DeliveryRecord {
        let record = self.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        record.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy")
    }

    /// Gives a home's copy a header to answer to, which our own renditions for homes do not have.
    pub(crate) fn give_header(&self, copy: DeliveryId) -> String {
        let store = rusqlite::Connection::open(self.folder.path().join("onward.db")).expect("opens");
        store.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
        let (header, copy) = (uuid::Uuid::new_v4().to_string(), copy.to_string());
        let given = store.execute("UPDATE deliveries SET correlation_id = ?1 WHERE id = ?2", [&header, &copy]);
        assert_eq!(given.expect("runs"), 1);
        header
    }

    /// The codes of the responses that went to the hospital since it was last asked.
    pub(crate) async fn hospital_hears(&self) -> BTreeSet<u32> {
        while self.gateway.dispatch_due().await.expect("sent") > 0 {}
        let sent = std::mem::take(&mut *self.mesh.sent.lock().expect("whole"));
        let responses = sent.iter().filter(|copy| copy.kind == RecipientKind::Sender);
        let code_of = |response: &Outbound| {
            let text = String::from_utf8_lossy(&response.body).into_owned();
            let code = RESPONSE_CODES.iter().find(|known| text.contains(&format!("<code value=\"{}\"/>", known.code)));
            code.unwrap_or_else(|| panic!("a code of ITK3: {text}")).code
        };
        responses.map(code_of).collect()
    }

    pub(crate) async fn arrives(&self, message: MeshMessage) {
        self.mesh.waiting.lock().expect("whole").push(message);
        let before = self.gateway.store().audit_size().await.expect("readable");
        self.gateway.poll_mailbox(self.mesh.as_ref()).await.expect("polled");
        balp::judge(self.gateway.store().as_ref(), before).await;
        assert!(self.mesh.waiting.lock().expect("whole").is_empty(), "what was dealt with is acknowledged");
    }

    /// It comes, and is left in the mailbox for whoever is to act, with these words in the log.
    pub(crate) async fn stays(&self, message: MeshMessage, why: &str) {
        let before = self.gateway.store().audit_size().await.expect("readable");
        let told = format!("{why} (MESH message {})", message.id);
        self.mesh.waiting.lock().expect("whole").push(message);
        self.gateway.poll_mailbox(self.mesh.as_ref()).await.expect("polled");
        balp::judge(self.gateway.store().as_ref(), before).await;
        assert_eq!(self.gateway.mailbox_standing().map(|standing| standing.staying), Some(1), "{why}");
        assert!(self.audited(&told).await, "{told}");
        assert_eq!(self.mesh.waiting.lock().expect("whole").drain(..).count(), 1, "it is not acknowledged");
    }

    /// What the hospital is answered about a transfer.
    pub(crate) async fn response(&self, transfer: TransferId) -> DeliveryRecord {
        let record = self.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        record.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::Sender).expect("a response")
    }

    pub(crate) async fn answers(&self, from: &str, original: &str, code: u32) {
        self.arrives(data(from, "GPCONNECT_SEND_DOCUMENT_ACK", response(original, code))).await;
    }

    pub(crate) async fn audited(&self, text: &str) -> bool {
        let entries = self.gateway.store().audit_entries(0, 10_000).await.expect("readable");
        entries.iter().any(|entry| String::from_utf8_lossy(entry.event().expect("kept")).contains(text))
    }
}

pub(crate) fn hospital() -> Client {
    Client {
        id: "northmoor-epr".to_owned(),
        ods: "R9Z".parse().expect("an ODS code"),
        role: Role::Sender,
        jwks: "{\"keys\":[]}".to_owned(),
        certificate_sha256: None,
        mesh_mailbox: Some(HOSPITAL.to_owned()),
        nhs_number_policy: NhsNumberPolicy::Refuse,
        disabled: false,
        under: None,
    }
}

pub(crate) fn data(from: &str, workflow: &str, body: String) -> MeshMessage {
    MeshMessage {
        id: uuid::Uuid::new_v4().to_string(),
        from: Some(from.parse().expect("a mailbox")),
        workflow: workflow.to_owned(),
        message_type: "DATA".to_owned(),
        local_id: None,
        linked_message_id: None,
        status_code: None,
        body: body.into_bytes().into(),
    }
}

pub(crate) fn report(linked: Option<String>, local_id: Option<String>) -> MeshMessage {
    MeshMessage {
        message_type: "REPORT".to_owned(),
        linked_message_id: linked,
        local_id,
        status_code: Some("14".to_owned()),
        ..data(PRACTICE, "GPCONNECT_SEND_DOCUMENT", String::new())
    }
}

pub(crate) fn response(original: &str, code: u32) -> String {
    let tree = itk3_response(&ItkResponse {
        id: uuid::Uuid::new_v4().to_string(),
        original_header_id: original.to_owned(),
        code: ResponseCode::of(code).expect("a code"),
        sender_reference: None,
        sender_ods: "Y99001".to_owned(),
        sender_name: "Beck Lane Surgery".to_owned(),
        source_endpoint: PRACTICE.to_owned(),
        timestamp: SystemClock.now().to_string(),
    });
    write::xml(tree.root(), Release::Stu3).text
}

pub(crate) fn correlation(copy: &DeliveryRecord) -> String {
    copy.correlation_id.clone().expect("a header to answer to")
}
