//! Witnesses of the audit log: a partner's keeps what it has seen, so that a log that was cut back, replaced or forked is
//! found out; and checkpoints lie where the operator cannot change them.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use onward_core::audit::AuditWord;
use onward_ledger::{CosigningKey, SigningKeys, VerifyingKeys};
use onward_server::cli::Exit;
use onward_server::listener;
use onward_server::witnessing::witness::{self, Witness};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::monitoring::operations;
use crate::proof::{onward, python, refused, verify, write};

/// A witness of a world's log, on loopback, that has the log's public key alone; it ends with this value.
struct Partner {
    _stop: watch::Sender<bool>,
    key_file: String,
}

/// A world whose log a partner witnesses, and which writes its checkpoints into a folder as well.
async fn witnessed() -> (World, Partner, tempfile::TempDir) {
    let key = CosigningKey::generate("witness.example/w1").expect("a key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let kept = tempfile::tempdir().expect("a folder");
    let audit = format!(
        "[audit]\ncheckpoint_seconds = 1\nship_seconds = 1\ncheckpoint_folder = \"{}\"\n\
         [[audit.witness]]\nurl = \"https://{address}\"\nkey = \"{}\"\n",
        kept.path().display(),
        key.witness_key()
    );
    let world = World::start_reaching_loopback_with(&audit).await;
    let key_file = write(world.folder(), "witness.pub", key.witness_key().to_string());
    let witness = Witness::open(key, vec![log_key(&world)], &world.folder().join("seen.txt")).expect("opens");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener::serve(
        listener,
        Some(Arc::new(world.tls())),
        witness::router(Arc::new(witness)),
        listener::Patience::default(),
        stopped,
    ));
    (world, Partner { _stop: stop, key_file }, kept)
}

fn log_key(world: &World) -> VerifyingKeys {
    let secret = std::fs::read_to_string(world.folder().join("audit-signing.key")).expect("there");
    SigningKeys::from_secret_text(&secret).expect("a key").verifying_keys().clone()
}

async fn discharge(hospital: &Session) {
    let (status, response, _) = post_xml(hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
}

/// Entries that the witness has cosigned.
async fn cosigned(world: &World) -> u64 {
    world.gateway().store().latest_cosignatures().await.expect("readable").first().map_or(0, |kept| kept.size)
}

/// Waits until everything that the log holds now is cosigned; how much that is.
async fn until_cosigned(world: &World) -> u64 {
    let entries = world.gateway().store().audit_size().await.expect("readable");
    loop {
        let cosigned = cosigned(world).await;
        if cosigned >= entries {
            return cosigned;
        }
        tokio::task::yield_now().await;
    }
}

async fn until_it_is_told(world: &World, line: &str) {
    while !operations(world, "metrics").await.1.lines().any(|own| own == line) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_cosigns_what_grows_and_everybody_can_check_it() {
    let (world, partner, kept) = witnessed().await;
    let hospital = world.hospital().await;
    discharge(&hospital).await;
    let first = until_cosigned(&world).await;
    discharge(&hospital).await;
    assert!(until_cosigned(&world).await > first, "it grows out of what was seen");
    until_it_is_told(&world, "onward_audit_witness_mismatch{witness=\"witness.example/w1\"} 0").await;
    let folder = world.folder().to_owned();
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (public, proof) = (path("log.pub"), path("proof"));
    assert_eq!(onward(&world, &["key", "--out", &public]).await, Exit::Done);
    assert_eq!(onward(&world, &["verify", "--ask-witnesses"]).await, Exit::Done);
    assert_eq!(onward(&world, &["prove", "0", "--out", &proof]).await, Exit::Done);
    let check = ["check", &proof, "--verifier", &public, "--witness", &partner.key_file];
    assert_eq!(onward(&world, &check).await, Exit::Done);
    let stranger = CosigningKey::generate("witness.example/w1").expect("a key").witness_key().to_string();
    let stranger = write(&folder, "stranger.pub", stranger);
    let check = ["check", &proof, "--verifier", &public, "--witness", &stranger];
    assert_eq!(onward(&world, &check).await, Exit::No, "whoever names a witness wants its word");

    let shipped = loop {
        let files = std::fs::read_dir(kept.path()).expect("readable").map(|file| file.expect("a file").path());
        if let Some(file) = files.filter(|file| file.extension().is_some_and(|end| end == "txt")).max() {
            break std::fs::read_to_string(file).expect("readable");
        }
        tokio::task::yield_now().await;
    };
    assert!(log_key(&world).open(&shipped).is_ok(), "{shipped}");
    let checkpoint = write(&folder, "shipped.txt", &shipped);
    assert_eq!(onward(&world, &["verify", "--checkpoint", &checkpoint]).await, Exit::Done);

    if !python() {
        return;
    }
    let word = ["proof", "--key", &public, "--witness", &partner.key_file, &proof];
    let (code, said) = verify(&word);
    assert!(code == 0 && said.contains("cosigned by witness.example/w1 at "), "{said}");
    refused(&["proof", "--key", &public, "--witness", &stranger, &proof], "another witness of that name");
    let text = std::fs::read_to_string(&proof).expect("readable");
    let last = text.trim_end().rfind('\n').expect("lines") + 1;
    assert!(text[last..].starts_with("\u{2014} witness.example/w1 "), "{text}");
    for at in (last + 30..text.len() - 4).step_by(7) {
        let other = if &text[at..=at] == "A" { "B" } else { "A" };
        let changed = write(&folder, "changed", format!("{}{other}{}", &text[..at], &text[at + 1..]));
        let check = ["proof", "--key", &public, "--witness", &partner.key_file, &changed];
        refused(&check, &format!("byte {at} of the cosignature"));
        let check = ["check", &changed, "--verifier", &public, "--witness", &partner.key_file];
        assert_eq!(onward(&world, &check).await, Exit::No, "ours: byte {at} of the cosignature");
    }
}

/// Fault 12: an old database is put back. The log alone is whole, and signed; the witness has seen more.
#[tokio::test(flavor = "multi_thread")]
async fn fault_012_a_database_that_was_rolled_back_raises_the_alarm() {
    let (mut world, _partner, kept) = witnessed().await;
    let hospital = world.hospital().await;
    discharge(&hospital).await;
    until_cosigned(&world).await;
    world.stop().await;
    let database = world.folder().join("onward.db");
    let old = std::fs::read(&database).expect("readable");
    world.restart().await;
    discharge(&hospital).await;
    let seen = until_cosigned(&world).await;
    world.stop().await;

    for name in ["onward.db-wal", "onward.db-shm"] {
        let _ = std::fs::remove_file(world.folder().join(name));
    }
    std::fs::write(&database, old).expect("written");
    assert_eq!(onward(&world, &["verify"]).await, Exit::Done, "by itself a shorter log is whole");
    assert_eq!(onward(&world, &["verify", "--ask-witnesses"]).await, Exit::No, "the witness knows better");
    let newest = std::fs::read_dir(kept.path()).expect("readable").map(|file| file.expect("a file").path()).max();
    let newest = newest.expect("shipped").to_str().expect("UTF-8").to_owned();
    assert_eq!(onward(&world, &["verify", "--checkpoint", &newest]).await, Exit::No, "so does the folder");

    world.restart().await;
    until_it_is_told(&world, "onward_audit_witness_mismatch{witness=\"witness.example/w1\"} 1").await;
    let alarms = |entries: Vec<onward_core::store::StoredAudit>| {
        entries.into_iter().filter(|entry| entry.columns.word == AuditWord::Alarm.as_str()).collect::<Vec<_>>()
    };
    let store = Arc::clone(world.gateway().store());
    let found = loop {
        let found = alarms(store.audit_entries(0, 10_000).await.expect("readable"));
        if !found.is_empty() {
            break found;
        }
        tokio::task::yield_now().await;
    };
    let event = String::from_utf8_lossy(found[0].event().expect("kept")).into_owned();
    assert!(event.contains(&format!("it has seen {seen} entries")) && event.contains("was cut back"), "{event}");

    // Grown past what was seen, it is another history all the same, and never cosigned.
    let hospital = world.client("southmoor-epr", "R9Y", onward_core::client::Role::Sender).await;
    while store.latest_checkpoint().await.expect("readable").is_none_or(|newest| newest.size <= seen) {
        let _ = hospital.get("fhir/R4/Task").await.expect("an answer");
    }
    assert!(cosigned(&world).await < seen);
    assert_eq!(onward(&world, &["verify", "--ask-witnesses"]).await, Exit::No);
    let again = alarms(store.audit_entries(0, 10_000).await.expect("readable"));
    assert_eq!(again.len(), 1, "one alarm for one incident");
}

/// Fault 13, at the witness: of two histories of one size that come at the same moment, one is cosigned.
#[tokio::test(flavor = "multi_thread")]
async fn fault_013_of_two_sequencers_one_is_cosigned() {
    let log = SigningKeys::generate("onward/R9Z").expect("a key");
    let folder = tempfile::tempdir().expect("a folder");
    let key = CosigningKey::generate("witness.example/w1").expect("a key");
    let seen = folder.path().join("seen.txt");
    let witness = Arc::new(Witness::open(key, vec![log.verifying_keys().clone()], &seen).expect("opens"));
    let mut asking = tokio::task::JoinSet::new();
    for history in 0..16_u8 {
        let mut tree = onward_ledger::Tree::new();
        tree.push([history; 32]);
        let checkpoint = onward_ledger::Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint");
        let note = log.sign(&checkpoint).expect("signed");
        let body = onward_ledger::Submission { old: 0, proof: Vec::new(), note }.to_text();
        let witness = Arc::clone(&witness);
        asking.spawn_blocking(move || witness.add_checkpoint(&body, 1_795_000_000));
    }
    let answers = asking.join_all().await;
    let cosigned = answers.iter().filter(|answer| matches!(answer, witness::Answer::Cosigned(_))).count();
    assert_eq!(cosigned, 1, "{answers:?}");
    assert!(answers.iter().filter(|answer| **answer == witness::Answer::Conflict(1)).count() == 15, "{answers:?}");
}

/// A place that is asked to keep checkpoints, and does what it is told to.
#[derive(Default)]
struct Place {
    /// Its answer; 0 is 204.
    status: AtomicU16,
    asked: AtomicUsize,
    taken: Mutex<Vec<String>>,
}

impl Place {
    fn serve(self: &Arc<Self>, world: &World, listener: TcpListener) -> watch::Sender<bool> {
        let place = Arc::clone(self);
        let take = move |headers: HeaderMap, body: String| async move {
            let status = StatusCode::from_u16(place.status.load(Ordering::SeqCst)).unwrap_or(StatusCode::NO_CONTENT);
            if status.is_success() {
                assert!(headers[CONTENT_TYPE].to_str().expect("text").starts_with("text/plain"));
                place.taken.lock().expect("whole").push(body);
            }
            place.asked.fetch_add(1, Ordering::SeqCst);
            // Where a redirect is followed, this is where it leads.
            (status, [(LOCATION, "/keep")])
        };
        let routes = Router::new().route("/keep", post(take));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listener::serve(
            listener,
            Some(Arc::new(world.tls())),
            routes,
            listener::Patience::default(),
            stopped,
        ));
        stop
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("whole").clone()
    }

    /// Entries under the largest checkpoint that it has, which is the newest.
    fn holds(&self, key: &VerifyingKeys) -> u64 {
        let sizes: Vec<u64> = self.taken().iter().map(|note| key.open(note).expect("signed by the log").size).collect();
        assert!(sizes.is_sorted(), "none comes after a larger one: {sizes:?}");
        sizes.last().copied().unwrap_or_default()
    }

    /// Waits until it has everything that the log holds now.
    async fn until_it_has_all(&self, world: &World) -> u64 {
        let (entries, key) = (world.gateway().store().audit_size().await.expect("readable"), log_key(world));
        while self.holds(&key) < entries {
            tokio::task::yield_now().await;
        }
        self.holds(&key)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_every_newest_checkpoint_whatever_it_answered_before() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let audit = format!(
        "[audit]\ncheckpoint_seconds = 1\nship_seconds = 1\ncheckpoint_url = \"https://{address}/keep\"\n[delivery]\nconnect_seconds = 1\n"
    );
    let mut world = World::start_reaching_loopback_with(&audit).await;
    let place = Arc::new(Place::default());
    // Refusals: what is not taken is not counted, and nobody else waits.
    place.status.store(503, Ordering::SeqCst);
    let stop = place.serve(&world, listener);
    let hospital = world.hospital().await;
    for status in [503, 403, 307] {
        place.status.store(status, Ordering::SeqCst);
        discharge(&hospital).await;
        let before = place.asked();
        while place.asked() < before + 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(place.taken(), Vec::<String>::new(), "{status}");
        until_it_is_told(&world, "onward_audit_shipped_entries{to=\"url\"} 0").await;
    }
    place.status.store(0, Ordering::SeqCst);
    let first = place.until_it_has_all(&world).await;
    until_it_is_told(&world, &format!("onward_audit_shipped_entries{{to=\"url\"}} {first}")).await;

    // An outage: the hospital does not notice, and the place has the newest when it is back.
    drop(stop);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    discharge(&hospital).await;
    let entries = world.gateway().store().audit_size().await.expect("readable");
    while world.gateway().store().latest_checkpoint().await.expect("readable").is_none_or(|own| own.size < entries) {
        tokio::task::yield_now().await;
    }
    assert_eq!(place.holds(&log_key(&world)), first, "nothing comes to who is not there");
    let stop = place.serve(&world, TcpListener::bind(address).await.expect("the port is free again"));
    let second = place.until_it_has_all(&world).await;
    assert!(second > first);

    // A restart: nothing that was signed is missing at the place in the end.
    world.restart().await;
    discharge(&hospital).await;
    assert!(place.until_it_has_all(&world).await > second);
    world.stop().await;
    drop(stop);
    let kept = write(world.folder(), "kept.txt", place.taken().last().expect("one"));
    assert_eq!(onward(&world, &["verify", "--checkpoint", &kept]).await, Exit::Done, "it convicts nobody");
    let count = place.taken().len();
    assert!(count < place.asked(), "refusals were asked again, {count} of {}", place.asked());
}
