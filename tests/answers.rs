//! Answers that come by MESH: whose they must be, when they may come, and what they do to a copy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use onward_connect::stand_in::StandInDirectory;
use onward_core::audit::Agent;
use onward_core::cause::Cause;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::directory::{
    Demographics, Directory, DirectoryEntry, DirectoryError, Endpoint, Likeness, Match, PdsPatient,
};
use onward_core::state::{DeliveryState, HoldReason, RecipientKind, TransportKind};
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim, DeliveryRecord, FoundTask, TaskQuery};
use onward_core::transport::{InboxTransport, Mailbox, MeshMessage, Outbound, SendError, Sent, Transport};
use onward_core::{Clock, DeliveryId, MeshMailboxId, NhsNumber, SystemClock, TransferId, UserId};
use onward_fhir::authored::{ItkResponse, itk3_response};
use onward_fhir::itk::{RESPONSE_CODES, ResponseCode};
use onward_fhir::{Release, write};
use onward_gateway::accept::Submission;
use onward_gateway::acknowledge::{Answer, Moved};
use onward_gateway::attend::{Attendant, Deed, Outcome};
use onward_gateway::collect::Form;
use onward_gateway::{Gateway, Parts, Settings};
use onward_server::app::{self, Tenure};
use onward_server::directory_import::{self, Format};
use onward_tests::balp;
use onward_tests::message::{self, fresh};
use onward_tests::world::load;

const PRACTICE: &str = "X26OT101";
const HOME: &str = "X26OT102";
const STRANGER: &str = "X26OT666";
const HOSPITAL: &str = "R9ZOT001";

/// MESH as a script: what each send comes to, what waits, what was sent and acknowledged.
#[derive(Default)]
struct Mesh {
    sends: Mutex<VecDeque<Result<Sent, SendError>>>,
    sent: Mutex<Vec<Outbound>>,
    waiting: Mutex<Vec<MeshMessage>>,
    /// Those of them that it cannot give whole.
    broken: Mutex<BTreeSet<String>>,
    /// Those of them that another gateway takes before we do.
    taken: Mutex<BTreeSet<String>>,
    /// Those of them at which our own code fails.
    fatal: Mutex<BTreeSet<String>>,
    /// How many downloads were asked for.
    fetched: Mutex<usize>,
    /// Where MESH says that it brought what it was asked to find a practice for.
    found: Mutex<Option<MeshMailboxId>>,
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
struct Pds {
    people: StandInDirectory,
    is_down: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl Directory for Pds {
    async fn patient(&self, number: &NhsNumber) -> Result<Option<PdsPatient>, DirectoryError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(DirectoryError::Unavailable("PDS answered 503".to_owned()));
        }
        self.people.patient(number).await
    }

    async fn find(&self, person: &Demographics, likeness: Likeness) -> Result<Match, DirectoryError> {
        self.people.find(person, likeness).await
    }
}

/// A gateway without listeners, moved by hand.
struct Bench {
    gateway: Gateway,
    mesh: Arc<Mesh>,
    pds: Arc<Pds>,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        let text = "[identity]\nods = \"Y99900\"\nname = \"Onward test gateway\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
        std::fs::write(&file, text).expect("written");
        std::fs::write(folder.path().join("people.toml"), include_str!("../config/examples/pds-stand-in.toml"))
            .expect("written");
        onward_server::store_keys::add_key(&folder.path().join("store.key"), SystemClock.now()).expect("a key");
        let config = load(&file);
        let mesh = Arc::new(Mesh::default());
        let people = StandInDirectory::load(&folder.path().join("people.toml")).expect("people");
        let pds = Arc::new(Pds { people, is_down: AtomicBool::new(false), asked: AtomicUsize::new(0) });
        let gateway = Gateway::new(Parts {
            store: app::open_store(&config, Tenure::Server).await.expect("a store"),
            directory: Arc::clone(&pds) as Arc<dyn Directory>,
            organisations: None,
            mailboxes: None,
            transports: vec![Arc::new(InboxTransport), Arc::clone(&mesh) as Arc<dyn Transport>],
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

    async fn import(&self) {
        let inbox = "name = \"Beck Lane Surgery\"\nendpoint = { transport = \"inbox\" }";
        let by_mesh = format!(
            "name = \"Beck Lane Surgery\"\nendpoint = {{ transport = \"mesh\", mailbox = \"{PRACTICE}\", workflow = \"GPCONNECT_SEND_DOCUMENT\" }}"
        );
        let text = include_str!("support/directory.toml");
        assert!(text.contains(inbox));
        let text = text.replace(inbox, &by_mesh);
        let now = SystemClock.now();
        let import = directory_import::read(&text, Format::Toml, &BTreeMap::new(), now).expect("a directory");
        let store = self.gateway.store();
        store.import_directory(import.entries, "test", now, Vec::new()).await.expect("imported");
        store.put_client(hospital(), Vec::new()).await.expect("registered");
    }

    async fn accept(&self) -> TransferId {
        let submission = Submission {
            client: hospital(),
            body: fresh(message::EDISCHARGE_ITK3).into_bytes().into(),
            media_type: "application/fhir+xml".to_owned(),
            request_id: None,
        };
        self.gateway.accept(submission).await.expect("accepted").transfer
    }

    async fn practice_copy(&self, transfer: TransferId) -> DeliveryRecord {
        let record = self.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        record.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::CoveringPractice).expect("a copy")
    }

    async fn home_copy(&self, transfer: TransferId) -> DeliveryRecord {
        let record = self.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        record.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy")
    }

    /// Gives a home's copy a header to answer to, which our own renditions for homes do not have.
    fn give_header(&self, copy: DeliveryId) -> String {
        let store = rusqlite::Connection::open(self.folder.path().join("onward.db")).expect("opens");
        store.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
        let (header, copy) = (uuid::Uuid::new_v4().to_string(), copy.to_string());
        let given = store.execute("UPDATE deliveries SET correlation_id = ?1 WHERE id = ?2", [&header, &copy]);
        assert_eq!(given.expect("runs"), 1);
        header
    }

    /// The codes of the responses that went to the hospital since it was last asked.
    async fn hospital_hears(&self) -> BTreeSet<u32> {
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

    async fn arrives(&self, message: MeshMessage) {
        self.mesh.waiting.lock().expect("whole").push(message);
        let before = self.gateway.store().audit_size().await.expect("readable");
        self.gateway.poll_mailbox(self.mesh.as_ref()).await.expect("polled");
        balp::judge(self.gateway.store().as_ref(), before).await;
        assert!(self.mesh.waiting.lock().expect("whole").is_empty(), "what was dealt with is acknowledged");
    }

    async fn answers(&self, from: &str, original: &str, code: u32) {
        self.arrives(data(from, "GPCONNECT_SEND_DOCUMENT_ACK", response(original, code))).await;
    }

    async fn audited(&self, text: &str) -> bool {
        let entries = self.gateway.store().audit_entries(0, 10_000).await.expect("readable");
        entries.iter().any(|entry| String::from_utf8_lossy(entry.event().expect("kept")).contains(text))
    }
}

fn hospital() -> Client {
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

fn data(from: &str, workflow: &str, body: String) -> MeshMessage {
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

fn report(linked: Option<String>, local_id: Option<String>) -> MeshMessage {
    MeshMessage {
        message_type: "REPORT".to_owned(),
        linked_message_id: linked,
        local_id,
        status_code: Some("14".to_owned()),
        ..data(PRACTICE, "GPCONNECT_SEND_DOCUMENT", String::new())
    }
}

fn response(original: &str, code: u32) -> String {
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

fn correlation(copy: &DeliveryRecord) -> String {
    copy.correlation_id.clone().expect("a header to answer to")
}

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
async fn a_report_finds_its_copy_even_when_the_reference_was_lost() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let lost = std::iter::repeat_n(Ok(Sent::HandedOver { reference: None }), 16);
    bench.mesh.sends.lock().expect("whole").extend(lost);
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = bench.practice_copy(transfer).await;
    bench.arrives(report(Some("M-unknown".to_owned()), Some(copy.id.to_string()))).await;
    let now = bench.practice_copy(transfer).await;
    assert_eq!((now.state, now.code.as_deref()), (DeliveryState::Failed, Some("14")));
    // It had arrived after all, and the practice says so.
    bench.answers(PRACTICE, &correlation(&copy), 30019).await;
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Accepted);
}

/// GP auto-routing fails after MESH has taken the message: whoever is to act reads what is wrong, and no patient data.
#[tokio::test]
async fn a_report_says_what_is_wrong_and_what_to_do() {
    for (code, words) in [
        ("14", "nobody collected it"),
        ("EPL-150", "more than one mailbox"),
        ("EPL-151", "no mailbox that takes this workflow"),
        ("EPL-152", "NHS number in the copy for none"),
        ("EPL-153", "does not find the NHS number"),
        ("EPL-154", "name or date of birth"),
        ("EPL-199", "not delivered"),
    ] {
        let bench = Bench::new().await;
        let transfer = bench.accept().await;
        bench.gateway.dispatch_due().await.expect("sent");
        let copy = bench.practice_copy(transfer).await;
        let told = MeshMessage { status_code: Some(code.to_owned()), ..report(copy.reference.clone(), None) };
        bench.arrives(told).await;
        let now = bench.practice_copy(transfer).await;
        assert_eq!((now.state, now.code.as_deref()), (DeliveryState::Failed, Some(code)));
        let reason = now.reason.expect("a reason");
        assert!(
            reason.starts_with(&format!("MESH report {code}: not delivered")) && reason.contains(words),
            "{reason}"
        );
        assert_eq!(Cause::of(Some(&reason)), Cause::Mesh, "{reason}");
        assert!(!reason.contains("9990000018") && !reason.contains("Holroyd"));
    }
}

#[tokio::test]
async fn a_report_that_comes_before_our_send_is_committed_waits_for_it() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let now = SystemClock.now();
    let store = bench.gateway.store();
    let leases = store.claim(Claim::due(now, now + jiff::SignedDuration::from_secs(600), 16)).await.expect("claimed");
    let copy = bench.practice_copy(transfer).await;
    let reported = report(Some("M-early".to_owned()), Some(copy.id.to_string()));
    bench.mesh.waiting.lock().expect("whole").push(reported);
    assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled"), 0);
    assert_eq!(bench.mesh.waiting.lock().expect("whole").len(), 1, "MESH keeps it");
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Queued);
    let lease = leases.iter().find(|lease| lease.delivery.id == copy.id).expect("leased");
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: Some("M-early".to_owned()) };
    let end = AttemptEnd { delivery: copy.id, token: lease.token, outcome, at: now, audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled"), 1);
    assert!(bench.mesh.waiting.lock().expect("whole").is_empty());
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Failed);
}

/// What MESH cannot give us whole is neither acknowledged nor fetched again and again, and somebody can see that it is there.
#[tokio::test]
async fn what_cannot_be_collected_stays_and_is_told() {
    let bench = Bench::new().await;
    assert_eq!(bench.gateway.mailbox_standing(), None, "nobody has looked");
    let broken = data(HOSPITAL, "TOC_FHIR_IP_DISCH", String::new());
    bench.mesh.broken.lock().expect("whole").insert(broken.id.clone());
    let whole = data(HOSPITAL, "TOC_FHIR_IP_DISCH", fresh(message::EDISCHARGE_ITK3));
    bench.mesh.waiting.lock().expect("whole").extend([broken.clone(), whole]);
    for (look, collected) in [1, 0, 0].into_iter().enumerate() {
        assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled"), collected, "look {look}");
        let standing = bench.gateway.mailbox_standing().expect("looked");
        assert_eq!(standing.staying, 1, "look {look}");
    }
    assert_eq!(*bench.mesh.fetched.lock().expect("whole"), 2, "each once: the broken one not at every look");
    let left: Vec<_> = bench.mesh.waiting.lock().expect("whole").iter().map(|left| left.id.clone()).collect();
    assert_eq!(left.as_slice(), std::slice::from_ref(&broken.id));
    assert!(bench.audited(&format!("it stays in the mailbox: not gzip (MESH message {})", broken.id)).await);
    bench.mesh.waiting.lock().expect("whole").clear();
    bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled");
    assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(0), "MESH has deleted it");
    // Another gateway was faster.
    let taken = data(HOSPITAL, "TOC_FHIR_IP_DISCH", String::new());
    bench.mesh.taken.lock().expect("whole").insert(taken.id.clone());
    bench.mesh.waiting.lock().expect("whole").push(taken.clone());
    bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled");
    assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(0));
    assert!(!bench.audited(&taken.id).await);
    // A message at which our own code fails stays as well, and holds up nobody else's.
    let fatal = data(HOSPITAL, "TOC_FHIR_IP_DISCH", String::new());
    bench.mesh.fatal.lock().expect("whole").insert(fatal.id.clone());
    let whole = data(HOSPITAL, "TOC_FHIR_IP_DISCH", fresh(message::EDISCHARGE_ITK3));
    bench.mesh.waiting.lock().expect("whole").extend([fatal.clone(), whole]);
    for collected in [1, 0] {
        assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await, Ok(collected));
        assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(1));
    }
    let told = format!("a fault of this gateway broke its collection off (MESH message {})", fatal.id);
    assert!(bench.audited(&told).await);
}

#[tokio::test]
async fn a_report_that_changes_nothing_is_in_the_log() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let unknown = Err(SendError::Unknown { reason: "no whole answer".to_owned() });
    bench.mesh.sends.lock().expect("whole").extend(std::iter::repeat_n(unknown, 16));
    bench.gateway.dispatch_due().await.expect("tried");
    bench.mesh.sends.lock().expect("whole").clear();
    let copy = bench.practice_copy(transfer).await;
    assert_eq!((copy.state, copy.attempts), (DeliveryState::Queued, 1), "of unknown outcome");
    bench.arrives(report(None, Some(copy.id.to_string()))).await;
    assert_eq!(bench.practice_copy(transfer).await.version, copy.version);
    assert!(bench.audited("came when the copy was already queued").await);
    bench.answers(PRACTICE, &correlation(&copy), 30019).await;
    bench.arrives(report(None, Some(copy.id.to_string()))).await;
    assert!(bench.audited("came when the copy was already accepted").await);
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
    bench.arrives(data(STRANGER, "TOC_FHIR_IP_DISCH", unasked)).await;
    assert!(bench.mesh.sent.lock().expect("whole").is_empty(), "fire and forget");
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
