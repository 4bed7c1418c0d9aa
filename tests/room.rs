//! Large messages that come at once have a bound together, those that are with the scanner one of their own, and a PDS that is slow holds
//! nobody up but those whom it is asked about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use onward_connect::stand_in::StandInDirectory;
use onward_core::audit::{AuditQuery, AuditWord};
use onward_core::client::Client;
use onward_core::directory::{Demographics, Directory, DirectoryError, Likeness, Match, PdsPatient, Question};
use onward_core::scanning::{NotScanned, Scanned, Scanner};
use onward_core::{NhsNumber, SystemClock};
use onward_gateway::accept::{AcceptError, Receipt, Submission};
use onward_gateway::{Gateway, Parts};
use onward_server::app::{self, Tenure};
use onward_tests::message::{self, fresh, with_attached};
use onward_tests::world::{World, load, post_xml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Kilobytes of large messages that are taken in at once.
const BOUND: u64 = 4_000;
/// Those that find PDS slow; two of them fit.
const SLOW: usize = 3;

/// PDS that keeps the first questions until it is told to answer.
struct SlowPds {
    people: StandInDirectory,
    asked: watch::Sender<usize>,
    patience: AtomicUsize,
    gate: Semaphore,
}

impl SlowPds {
    /// Knows a world's people; it keeps so many questions.
    fn load(world: &World, patience: usize) -> Arc<Self> {
        Arc::new(Self {
            people: StandInDirectory::load(&world.folder().join("people.toml")).expect("people"),
            asked: watch::Sender::new(0),
            patience: AtomicUsize::new(patience),
            gate: Semaphore::new(0),
        })
    }
}

#[async_trait]
impl Directory for SlowPds {
    async fn patient(&self, number: &NhsNumber, question: &Question) -> Result<Option<PdsPatient>, DirectoryError> {
        question.leaves();
        self.asked.send_modify(|asked| *asked += 1);
        let first = self.patience.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if first.is_ok() {
            self.gate.acquire().await.expect("it is never closed").forget();
        }
        self.people.patient(number, question).await
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

/// A scanner that keeps every question until it is told to answer.
struct SlowScanner {
    asked: watch::Sender<usize>,
    gate: Semaphore,
}

#[async_trait]
impl Scanner for SlowScanner {
    async fn scan(&self, _: Bytes) -> Result<Scanned, NotScanned> {
        self.asked.send_modify(|asked| *asked += 1);
        let _ = self.gate.acquire().await.expect("it is never closed");
        Ok(Scanned::Clean)
    }
}

/// A gateway without listeners on a world's store.
async fn gateway(
    world: &mut World,
    directory: Arc<SlowPds>,
    scanner: Option<Arc<dyn Scanner>>,
) -> (Arc<Gateway>, Client) {
    world.hospital().await;
    let hospital = world.gateway().store().client("northmoor-epr").await.expect("readable").expect("registered");
    let settings = world.gateway().settings().clone();
    world.stop().await;
    let config = load(&world.config_file);
    let gateway = Gateway::new(Parts {
        store: app::open_store(&config, Tenure::Server).await.expect("a store"),
        directory,
        organisations: None,
        mailboxes: None,
        transports: Vec::new(),
        mailbox: None,
        notifiers: Vec::new(),
        hook: None,
        scanner,
        clock: Arc::new(SystemClock),
        policies: app::load_policies(&config).expect("policies"),
        routes: config.load_routes().expect("routes").routes,
        rules: config.load_rules().expect("rules"),
        profiles: config.load_profiles().expect("profiles"),
        settings,
    });
    (Arc::new(gateway), hospital)
}

/// A message of about 1.9 MB.
fn large(client: &Client) -> Submission {
    let body = with_attached(&"x".repeat(1_350_000));
    assert!((1_800_000..1_980_000).contains(&body.len()), "{} bytes", body.len());
    Submission {
        client: client.clone(),
        body: Bytes::from(body),
        media_type: "application/fhir+xml".to_owned(),
        request_id: None,
    }
}

async fn accept(gateway: Arc<Gateway>, submission: Submission) -> Result<Receipt, AcceptError> {
    gateway.accept(submission).await
}

/// How often the log says that PDS was asked; each entry names the person.
async fn lookups(gateway: &Gateway) -> usize {
    let entries = gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let told = entries.iter().filter(|entry| entry.columns.word == AuditWord::DirectoryLookup.as_str());
    let named = told.inspect(|entry| {
        let event = String::from_utf8_lossy(entry.event().expect("kept"));
        assert!(event.contains("https://fhir.nhs.uk/Id/nhs-number"), "an entry without the person");
    });
    named.count()
}

/// Fails the test where something waits for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), future).await;
    done.unwrap_or_else(|_| panic!("{what} waits for ever"))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_have_a_bound_and_do_not_wait_for_each_others_pds() {
    let mut world = World::start().await;
    let pds = SlowPds::load(&world, SLOW);
    let (gateway, hospital) = gateway(&mut world, Arc::clone(&pds), None).await;

    // All of them ask, more than fit: none takes room from another meanwhile.
    let mut waiting = JoinSet::new();
    for _ in 0..SLOW {
        waiting.spawn(accept(Arc::clone(&gateway), large(&hospital)));
    }
    let mut asked = pds.asked.subscribe();
    soon("a large message behind a slow PDS", asked.wait_for(|asked| *asked == SLOW)).await.expect("it goes on");
    assert_eq!(gateway.large_kilobytes(), 0, "whoever waits for PDS has given its room back");
    assert_eq!(lookups(&gateway).await, SLOW, "each question is in the log before its answer");
    let other = soon("a message behind others' PDS", accept(Arc::clone(&gateway), large(&hospital))).await;
    assert!(!other.expect("accepted").duplicate);
    assert!(waiting.try_join_next().is_none(), "the others still wait for PDS");
    assert_eq!(*asked.borrow(), SLOW + 1, "PDS is asked once about each");
    assert_eq!(lookups(&gateway).await, SLOW + 1, "and the acceptance does not tell it again");

    // Nothing can be committed, so that those whose copies are made stay where they are.
    let lock = rusqlite::Connection::open(world.folder().join("onward.db")).expect("the store");
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    pds.gate.add_permits(SLOW);
    let mut highest = 0;
    soon("two large messages for room", async {
        while highest < BOUND / 2 + 1 {
            highest = highest.max(gateway.large_kilobytes());
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10_000 {
        highest = highest.max(gateway.large_kilobytes());
        tokio::task::yield_now().await;
    }
    assert!(highest <= BOUND, "{highest} kB at once");
    assert!(waiting.try_join_next().is_none(), "nothing is committed yet");
    lock.execute_batch("ROLLBACK").expect("unlocked");
    while let Some(done) = soon("a large message for its commit", waiting.join_next()).await {
        done.expect("it ends").expect("accepted");
    }
    assert_eq!(gateway.large_kilobytes(), 0, "all room is given back");
    assert_eq!(*asked.borrow(), SLOW + 1, "the answer is not asked for again");
    assert_eq!(lookups(&gateway).await, SLOW + 1, "nor told again");
}

/// What many senders send at once stays with them: nothing more of a large message is read than a small one has, until there is a place.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_is_not_read_before_it_has_a_place_and_small_ones_need_none() {
    let world = World::start().await;
    let hospital = Arc::new(world.hospital().await);
    let everything = world.gateway().place_for(50_000_000).await.expect("free");
    let post = |body: String| {
        let hospital = Arc::clone(&hospital);
        async move { post_xml(&hospital, body).await.0 }
    };
    let waiting = tokio::spawn(post(with_attached(&"x".repeat(1_350_000))));
    for _ in 0..3 {
        assert_eq!(post(fresh(message::EDISCHARGE_ITK3)).await, 200);
    }
    assert!(!waiting.is_finished(), "it waits");
    drop(everything);
    assert_eq!(soon("a large message with a place", waiting).await.expect("it ends"), 200);
}

/// A sender that stops in the middle has its place for some seconds, and not for the minute that it may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_keeps_no_others_from_being_read() {
    let world = World::start().await;
    let token = world.hospital().await.token().await.expect("signed in");
    let body = with_attached(&"x".repeat(1_350_000));
    let mut slow = world.wire().connect().await.expect("connected");
    let head = format!(
        "POST /fhir/R4/$process-message HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/fhir+xml\r\ncontent-length: {}\r\n\r\n",
        world.port(),
        body.len()
    );
    slow.write_all(head.as_bytes()).await.expect("written");
    slow.write_all(&body.as_bytes()[..300_000]).await.expect("written");
    let taken = async || tokio::time::timeout(Duration::ZERO, world.gateway().place_for(50_000_000)).await.is_err();
    soon("a slow sender for its place", async {
        while !taken().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let everything = soon("others", world.gateway().place_for(50_000_000)).await;
    assert!(everything.is_ok(), "it has lost its place, though it may still go on");
    slow.write_all(&body.as_bytes()[300_000..]).await.expect("written");
    let mut answer = [0; 12];
    soon("its answer", slow.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200", "it needs none any more");
}

/// The answer may be of no use: no room, a refusal, a store that is down. The question was asked all the same, each time that the message
/// comes, and without its entry it is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_to_pds_is_in_the_log_though_nothing_is_taken_in_afterwards() {
    let mut world = World::start().await;
    let pds = SlowPds::load(&world, 1);
    let (gateway, hospital) = gateway(&mut world, Arc::clone(&pds), None).await;
    let submission = large(&hospital);
    let waiting = tokio::spawn(accept(Arc::clone(&gateway), submission.clone()));
    let mut asked = pds.asked.subscribe();
    soon("a large message", asked.wait_for(|asked| *asked == 1)).await.expect("it goes on");

    let lock = rusqlite::Connection::open(world.folder().join("onward.db")).expect("the store");
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    pds.gate.add_permits(1);
    let lost = soon("a message that cannot be committed", waiting).await.expect("it ends");
    assert!(matches!(lost, Err(AcceptError::Store(_))), "503: come again");
    let again = soon("a question that cannot be logged", gateway.accept(submission.clone())).await;
    assert!(matches!(again, Err(AcceptError::Store(_))), "503: come again");
    assert_eq!(*asked.borrow(), 1, "PDS is not asked where the log cannot tell so");
    lock.execute_batch("ROLLBACK").expect("unlocked");
    assert_eq!(lookups(&gateway).await, 1, "of the message whose answer was lost");

    assert!(!gateway.accept(submission).await.expect("accepted").duplicate);
    assert_eq!((*asked.borrow(), lookups(&gateway).await), (2, 2), "one entry for each question");
}

/// So it is with a small one: who is killed while PDS is asked has told, and where the log cannot tell so PDS is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_messages_question_is_in_the_log_before_it_is_asked() {
    let mut world = World::start().await;
    let pds = SlowPds::load(&world, 1);
    let (gateway, hospital) = gateway(&mut world, Arc::clone(&pds), None).await;
    let body = Bytes::from(fresh(message::EDISCHARGE_ITK3));
    let submission = Submission { body, ..large(&hospital) };
    let waiting = tokio::spawn(accept(Arc::clone(&gateway), submission.clone()));
    let mut asked = pds.asked.subscribe();
    soon("a small message", asked.wait_for(|asked| *asked == 1)).await.expect("it goes on");
    waiting.abort();
    assert!(waiting.await.is_err_and(|error| error.is_cancelled()), "it waited for PDS");
    assert_eq!(lookups(&gateway).await, 1, "of a message that nobody knows");

    let lock = rusqlite::Connection::open(world.folder().join("onward.db")).expect("the store");
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let again = soon("a question that cannot be logged", gateway.accept(submission.clone())).await;
    assert!(matches!(again, Err(AcceptError::Store(_))), "503: come again");
    assert_eq!(*asked.borrow(), 1, "PDS is not asked where the log cannot tell so");
    lock.execute_batch("ROLLBACK").expect("unlocked");
    assert!(!gateway.accept(submission.clone()).await.expect("accepted").duplicate);
    assert!(gateway.accept(submission).await.expect("answered").duplicate);
    assert_eq!((*asked.borrow(), lookups(&gateway).await), (3, 3), "one entry for each question");
    // The hospital finds that of the message that was taken in among its own.
    let own = AuditQuery {
        organisation: Some(hospital.ods.clone()),
        words: vec![AuditWord::DirectoryLookup],
        limit: 9,
        ..AuditQuery::default()
    };
    assert_eq!(gateway.store().search_audit(own).await.expect("readable").len(), 1);
    assert_eq!(gateway.store().misfiled_audit().await, Ok(None));
}

/// What is decoded of a message stays in memory as long as the scanner has it: it is counted there, against the bound of those that are with
/// the scanner (how a room keeps its bound, its own tests show), and no longer in the room of those that are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_is_counted_while_the_scanner_has_its_attachments() {
    let mut world = World::start().await;
    let pds = SlowPds::load(&world, 0);
    let scanner = Arc::new(SlowScanner { asked: watch::Sender::new(0), gate: Semaphore::new(0) });
    let (gateway, hospital) = gateway(&mut world, pds, Some(Arc::clone(&scanner) as Arc<dyn Scanner>)).await;
    let message = large(&hospital);
    let kilobytes = (message.body.len() / 1000) as u64;
    let waiting = tokio::spawn(accept(Arc::clone(&gateway), message));
    let mut asked = scanner.asked.subscribe();
    soon("a large message before a slow scanner", asked.wait_for(|asked| *asked == 1)).await.expect("it goes on");
    assert_eq!((gateway.scanning_kilobytes(), gateway.large_kilobytes()), (kilobytes, 0));
    scanner.gate.add_permits(1);
    assert!(!soon("its commit", waiting).await.expect("it ends").expect("accepted").duplicate);
    assert_eq!(*asked.borrow(), 1, "it was looked through once");
    assert_eq!((gateway.scanning_kilobytes(), gateway.large_kilobytes()), (0, 0), "all room is given back");
}
