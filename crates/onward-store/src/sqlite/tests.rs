//! The contract on SQLite, and what is SQLite's own: group commit, files, locks, damage.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use jiff::Timestamp;
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::alerts::AlertKind;
use onward_core::store::{
    Accepted, AttemptEnd, AttemptOutcome, Claim, DeliveryQuery, Flaw, Parked, Parking, Store, StoreError,
};
use onward_core::{Clock, DeliveryId};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::open::Purpose;
use super::{OpenError, SqliteStore};
use crate::contract::alerting::{alert, concerns};
use crate::contract::damaged::Damage;
use crate::contract::{Shared, accept_new, acceptance, at, keys, log, patient, row};

mod erasing;
mod injection;
mod letters;
mod plans;
mod power_cut;
mod sealing;
mod upgrading;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        at(0)
    }
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, keys(), Arc::new(FixedClock))
}

fn fresh() -> (TempDir, Arc<SqliteStore>) {
    let folder = TempDir::new().expect("a folder");
    let store = open(&folder.path().join("onward.db")).expect("opens");
    (folder, Arc::new(store))
}

async fn fresh_shared() -> Option<(TempDir, Shared)> {
    let (folder, store) = fresh();
    Some((folder, store))
}

mod contract {
    crate::contract::every_contract!(super::fresh_shared);
}

/// Runs SQL beside the store, as damage or a curious operator would.
fn tamper(folder: &TempDir, sql: &str) {
    let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
    connection.pragma_update(None, "foreign_keys", false).expect("set");
    connection.execute_batch(sql).expect("runs");
}

impl Damage for TempDir {
    fn damage(&self, sql: &str) {
        tamper(self, sql);
    }
}

/// Keeps the writer busy until the returned sender is used or dropped.
fn occupy(store: &Arc<SqliteStore>, tasks: &mut JoinSet<bool>) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let store = Arc::clone(store);
    tasks.spawn(async move {
        store
            .writer
            .run(move |_| {
                wait.recv().ok();
                Ok(())
            })
            .await
            .is_ok()
    });
    release
}

async fn until_waiting(store: &SqliteStore, count: usize) {
    while store.writer.waiting() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_operations_share_one_commit() {
    let (_folder, store) = fresh();
    let mut tasks = JoinSet::new();
    let release = occupy(&store, &mut tasks);
    // The writer must have taken the first operation before the others queue up.
    tokio::task::yield_now().await;
    until_waiting(&store, 0).await;
    for n in 0..100 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.accept(acceptance(n)).await == Ok(Accepted::New) });
    }
    until_waiting(&store, 100).await;
    assert_eq!(store.commit_counts().commits, 0);
    drop(release);
    assert!(tasks.join_all().await.into_iter().all(|done| done));
    let counts = store.commit_counts();
    assert_eq!((counts.commits, counts.operations), (3, 101), "1, then 64, then 36");
}

#[tokio::test]
async fn one_operation_fails_alone() {
    let (_folder, store) = fresh();
    let mut tasks = JoinSet::new();
    let release = occupy(&store, &mut tasks);
    tokio::task::yield_now().await;
    until_waiting(&store, 0).await;
    for n in 0..9 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            match n {
                3 => {
                    let mut broken = acceptance(n);
                    broken.deliveries.push(broken.deliveries[0].clone());
                    matches!(store.accept(broken).await, Err(StoreError::Unavailable(_)))
                }
                6 => {
                    let panic = store.write::<(), _>(|c| {
                        super::audit::append(c, &[row(AuditWord::Query)])?;
                        panic!("a defect")
                    });
                    matches!(panic.await, Err(StoreError::Unavailable(_)))
                }
                _ => store.accept(acceptance(n)).await == Ok(Accepted::New),
            }
        });
    }
    until_waiting(&store, 9).await;
    drop(release);
    assert!(tasks.join_all().await.into_iter().all(|as_expected| as_expected));
    let shared: Shared = store;
    assert_eq!(log(&shared).await.len(), 7, "neither the failed nor the panicked one left a row");
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_undo() {
    let (_folder, store) = fresh();
    let mut tasks = JoinSet::new();
    let release = occupy(&store, &mut tasks);
    tokio::task::yield_now().await;
    until_waiting(&store, 0).await;
    let gone = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.accept(acceptance(1)).await }
    });
    until_waiting(&store, 1).await;
    gone.abort();
    drop(release);
    tasks.join_all().await;
    let again = store.accept(acceptance(1)).await;
    assert!(matches!(again, Ok(Accepted::Repeat { .. })), "{again:?}");
}

/// What no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).expect("randomness");
    bytes
}

#[tokio::test]
async fn fault_007_a_full_disk_refuses_and_recovers() {
    let (_folder, store) = fresh();
    let first = acceptance(1);
    let id = first.transfer.id;
    assert_eq!(store.accept(first).await, Ok(Accepted::New));
    let pages = |limit: i64| {
        store.writer.run(move |c| {
            c.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))?;
            Ok(())
        })
    };
    pages(1).await.expect("set to what is used");
    let mut large = acceptance(2);
    large.transfer.body = noise(1 << 20);
    for _ in 0..3 {
        assert!(matches!(store.accept(large.clone()).await, Err(StoreError::Unavailable(_))));
    }
    assert!(store.transfer(id).await.expect("reads live").is_some());
    pages(1_000_000).await.expect("room again");
    assert_eq!(store.accept(large).await, Ok(Accepted::New));
    let shared: Shared = store;
    assert_eq!(log(&shared).await.len(), 2);
}

#[tokio::test]
async fn fault_014_a_second_server_is_refused() {
    let (folder, store) = fresh();
    let path = folder.path().join("onward.db");
    assert!(matches!(open(&path), Err(OpenError::InUse { .. })));
    // A command beside the server: each sees at once what the other commits.
    let command = SqliteStore::open_shared(&path, keys(), Arc::new(FixedClock)).expect("opens beside");
    let message = acceptance(1);
    let id = message.transfer.id;
    assert_eq!(command.accept(message).await, Ok(Accepted::New));
    assert!(store.transfer(id).await.expect("readable").is_some());
    assert_eq!(store.accept(acceptance(2)).await, Ok(Accepted::New));
    let shared: Shared = Arc::new(command);
    assert_eq!(log(&shared).await.len(), 2, "one dense log");
    drop(store);
    open(&path).map(drop).expect("the lock went with the server");
}

#[tokio::test]
async fn two_processes_writers_take_turns() {
    let (folder, store) = fresh();
    let command =
        SqliteStore::open_shared(&folder.path().join("onward.db"), keys(), Arc::new(FixedClock)).expect("opens");
    let stores = [store, Arc::new(command)];
    let mut tasks = JoinSet::new();
    for n in 0..80 {
        let store = Arc::clone(&stores[n as usize % 2]);
        tasks.spawn(async move { store.accept(acceptance(n)).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|outcome| outcome == Ok(Accepted::New)));
    let shared: Shared = stores[0].clone();
    assert_eq!(log(&shared).await.len(), 80);
}

#[tokio::test]
async fn a_restart_keeps_everything_and_ends_leases() {
    let (folder, store) = fresh();
    let path = folder.path().join("onward.db");
    let message = acceptance(1);
    let (transfer, body) = (message.transfer.id, message.transfer.body.clone());
    let shared: Shared = store;
    let id = accept_new(&shared, message).await;
    let dead = shared.claim(Claim::due(at(0), at(3600), 1)).await.expect("claimable").remove(0);
    let events: Vec<_> = log(&shared).await;
    drop(shared);

    let shared: Shared = Arc::new(open(&path).expect("opens again"));
    assert_eq!(shared.original(transfer).await.expect("readable").expect("there").body, body);
    assert_eq!(log(&shared).await, events);
    let end = AttemptEnd {
        delivery: id,
        token: dead.token,
        outcome: AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
        at: at(1),
        audit: Vec::new(),
    };
    assert_eq!(shared.complete(vec![end]).await, Ok(vec![false]));
    let heir = shared.claim(Claim::due(at(1), at(31), 1)).await.expect("claimable").remove(0);
    assert_eq!((heir.delivery.id, heir.attempt), (id, 2), "not held until the dead server's lease runs out");
}

#[test]
fn only_an_onward_database_is_opened() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);

    std::fs::write(at("text.db"), "this is no database, but long enough to have a header of sixteen bytes")
        .expect("written");
    assert!(matches!(open(&at("text.db")), Err(OpenError::Sqlite(_))));

    let other = Connection::open(at("other.db")).expect("opens");
    other.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1;").expect("runs");
    drop(other);
    let before = std::fs::read(at("other.db")).expect("readable");
    assert!(matches!(open(&at("other.db")), Err(OpenError::Foreign)));
    assert_eq!(std::fs::read(at("other.db")).expect("readable"), before, "left as it was");

    open(&at("newer.db")).map(drop).expect("opens");
    let newer = Connection::open(at("newer.db")).expect("opens");
    newer.execute_batch("PRAGMA user_version = 1000; UPDATE onward_programs SET oldest = 999").expect("set");
    drop(newer);
    for refused in [open(&at("newer.db")), SqliteStore::open_shared(&at("newer.db"), keys(), Arc::new(FixedClock))] {
        assert!(matches!(refused.map(drop), Err(OpenError::Newer { found: 1000, oldest: 999, .. })));
    }
    assert!(matches!(open(&at("no-such-folder/onward.db")), Err(OpenError::File { .. })));
}

#[test]
fn a_command_does_not_migrate_under_a_server() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    let server = super::open::lock(&path).expect("locks");
    let refused = SqliteStore::open_shared(&path, keys(), Arc::new(FixedClock)).map(drop);
    assert!(matches!(refused, Err(OpenError::InUse { .. })));
    drop(server);
    SqliteStore::open_shared(&path, keys(), Arc::new(FixedClock)).map(drop).expect("a command may come first");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = fresh();
    store.ready().await.expect("ready");
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").map(|file| file.expect("a file")).collect();
    assert!(files.len() >= 4, "database, log, index of the log, lock");
    for file in files {
        assert_eq!(file.metadata().expect("readable").permissions().mode() & 0o077, 0, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn durability_is_full() {
    let (_folder, store) = fresh();
    let settings = store.writer.run(|c| {
        let number = |name: &str| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let mode: String = c.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        Ok((mode, number("synchronous")?, number("foreign_keys")?, number("wal_autocheckpoint")?))
    });
    assert_eq!(settings.await, Ok(("wal".to_owned(), 2, 1, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_file_does_not_grow_without_end_though_somebody_always_reads() {
    const MEGABYTE: usize = 1 << 20;
    let (folder, store) = fresh();
    let log = || std::fs::metadata(folder.path().join("onward.db-wal")).expect("there").len();
    let database = folder.path().join("onward.db");
    let written = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&written);
    let reading = std::thread::spawn(move || {
        let readers = [(); 2].map(|()| super::open::connect(&database, Purpose::Read).expect("a reader"));
        let mut begun = None;
        while !until.load(Ordering::Relaxed) {
            for reader in &readers {
                // Before the other one ends.
                let transaction = reader.unchecked_transaction().expect("a snapshot");
                let count: i64 =
                    transaction.query_row("SELECT count(*) FROM transfers", [], |row| row.get(0)).expect("read");
                assert!(count >= 0);
                begun = Some(transaction);
            }
        }
        drop(begun);
    });
    let mut noise = vec![0; MEGABYTE];
    for n in 0..120 {
        let mut message = acceptance(n);
        // What does not compress.
        getrandom::fill(&mut noise).expect("random bytes");
        message.transfer.body.clone_from(&noise);
        assert_eq!(store.accept(message).await, Ok(Accepted::New));
        assert!(log() < 64 * MEGABYTE as u64, "{n} MB went through a log of {} bytes", log());
    }
    written.store(true, Ordering::Relaxed);
    reading.join().expect("it reads");
}

#[tokio::test]
async fn fault_010_what_is_unreadable_is_named_and_not_shown() {
    let (folder, store) = fresh();
    let message = acceptance(1);
    let (transfer, id) = (message.transfer.id, message.deliveries[0].id);
    let shared: Shared = store;
    accept_new(&shared, message).await;
    for (sql, place) in [
        ("UPDATE deliveries SET state = 'secret-word'", "deliveries.state"),
        ("UPDATE deliveries SET state = 'queued', endpoint = '{secret-word'", "deliveries.endpoint"),
        ("UPDATE deliveries SET endpoint = '{\"transport\":\"inbox\"}', version = -1", "deliveries.version"),
        ("UPDATE deliveries SET version = 1, patient = 'secret-word'", "deliveries.patient"),
        ("UPDATE deliveries SET patient = NULL, created = 9223372036854775807", "deliveries.created"),
    ] {
        tamper(&folder, sql);
        assert_eq!(shared.delivery(id).await.map(drop), Err(StoreError::Corrupt(place.to_owned())));
        assert!(matches!(shared.transfer(transfer).await, Err(StoreError::Corrupt(_))));
    }
    tamper(&folder, "UPDATE transfers SET reply = 'secret-word'; UPDATE audit_log SET leaf = x'00'");
    assert_eq!(shared.transfer(transfer).await.map(drop), Err(StoreError::Corrupt("transfers.reply".to_owned())));
    let entries = shared.audit_entries(0, 10).await;
    assert_eq!(entries, Err(StoreError::Corrupt("audit_log.leaf".to_owned())));
}

#[tokio::test]
async fn fault_031_an_unreadable_copy_parks_itself_only() {
    let (folder, store) = fresh();
    let shared: Shared = store;
    let poisoned = accept_new(&shared, acceptance(1)).await;
    let mut pushed = acceptance(2);
    pushed.deliveries[0].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
    let bodiless = accept_new(&shared, pushed).await;
    let healthy = accept_new(&shared, acceptance(3)).await;
    tamper(&folder, &format!("UPDATE deliveries SET workflow = '' WHERE id = '{poisoned}'"));
    tamper(&folder, &format!("DELETE FROM rendition_bodies WHERE delivery = '{bodiless}'"));
    let leases = shared.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [healthy]);
    for (id, place) in [(poisoned, "deliveries.workflow"), (bodiless, "rendition_bodies.delivery")] {
        let copy = shared.delivery(id).await.expect("readable").expect("there");
        assert_eq!(copy.state, DeliveryState::Failed);
        assert_eq!(copy.reason.as_deref(), Some(format!("unreadable in the store: {place}").as_str()));
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_and_not_served() {
    let (folder, store) = fresh();
    let path = folder.path().join("onward.db");
    let shared: Shared = store;
    for n in 0..20 {
        accept_new(&shared, acceptance(n)).await;
    }
    drop(shared);
    let mut bytes = std::fs::read(&path).expect("readable");
    // The first page stays, so that the file still opens; everything else is noise.
    for (n, byte) in bytes.iter_mut().enumerate().skip(4096) {
        *byte = u8::try_from(n * 31 % 251).expect("below 251");
    }
    std::fs::write(&path, bytes).expect("written");
    match open(&path) {
        Err(refused) => assert!(matches!(refused, OpenError::Sqlite(_)), "{refused}"),
        Ok(store) => {
            assert!(matches!(store.accept(acceptance(99)).await, Err(StoreError::Corrupt(_))));
            assert!(matches!(store.holds().await, Err(StoreError::Corrupt(_))));
        }
    }
}

#[tokio::test]
async fn every_version_and_attempt_is_kept() {
    let (folder, store) = fresh();
    let shared: Shared = store;
    accept_new(&shared, acceptance(1)).await;
    for (now, outcome) in [
        (0, AttemptOutcome::Retry { at: at(10), reason: "503".to_owned() }),
        (10, AttemptOutcome::Sent { state: DeliveryState::Sent, reference: Some("r".to_owned()) }),
    ] {
        let lease = shared.claim(Claim::due(at(now), at(now + 30), 1)).await.expect("claimable").remove(0);
        let end =
            AttemptEnd { delivery: lease.delivery.id, token: lease.token, outcome, at: at(now + 1), audit: Vec::new() };
        assert_eq!(shared.complete(vec![end]).await, Ok(vec![true]));
    }
    let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
    let lines = |sql: &str| {
        let mut statement = connection.prepare(sql).expect("prepares");
        let lines = statement.query_map([], |row| row.get::<_, String>(0)).expect("runs");
        lines.collect::<Result<Vec<_>, _>>().expect("readable")
    };
    let history = lines("SELECT version || state || coalesce(reason, '') FROM delivery_history ORDER BY version");
    assert_eq!(history, ["1queued", "2queued503", "3sent"]);
    let attempts = lines("SELECT attempt || outcome || (finished > started) FROM attempts ORDER BY attempt");
    assert_eq!(attempts, ["1retry1", "2sent1"]);
    assert_eq!(lines("SELECT integrity_check FROM pragma_integrity_check"), ["ok"]);
    assert!(lines("SELECT \"table\" FROM pragma_foreign_key_check").is_empty());
}

#[tokio::test]
async fn a_checkup_misses_what_the_log_names() {
    let (folder, store) = fresh();
    let store: Shared = store;
    for (damage, rules) in crate::contract::lifecycle::losses(&store).await {
        let before = store.checkup().await.expect("readable").flaws;
        tamper(&folder, &damage);
        let flaws = store.checkup().await.expect("readable").flaws;
        for rule in rules {
            let tells = |flaws: &[Flaw]| flaws.iter().any(|flaw| flaw.rule == rule);
            assert!(!tells(&before) && tells(&flaws), "{rule}: {before:?}, {flaws:?}");
        }
    }
}

#[tokio::test]
async fn entries_of_the_first_schema_are_found_after_the_upgrade() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    let connection = Connection::open(&path).expect("opens");
    connection.execute_batch(super::open::MIGRATIONS[0].sql).expect("runs");
    connection
        .execute_batch(
            "PRAGMA application_id = 0x4F4E5744; PRAGMA user_version = 1; PRAGMA foreign_keys = 0;
             INSERT INTO transfers (id, sender, client_id, message_id, event, received, reply, changed, body_sha256, response)
             VALUES ('5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10', 'RXH', 'ward', 'm', 'e', 0, '{}', 0, zeroblob(32), x'00');",
        )
        .expect("runs");
    let insert = "INSERT INTO audit_log (position, id, recorded, word, transfer, organisation, leaf, event)
         VALUES (?, ?, 7, 'read', '5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10', 'RYJ', zeroblob(32), ?)";
    let event: &[u8] = br#"{"agent":[{"name":"ward"}]}"#;
    connection.execute(insert, rusqlite::params![0, "a", event]).expect("runs");
    connection.execute(insert, rusqlite::params![1, "b", b"no JSON".as_slice()]).expect("runs");
    drop(connection);
    open(&path).map(drop).expect("is brought forward");
    let connection = Connection::open(&path).expect("opens");
    // What the previous binary goes on writing is found, too.
    connection.execute(insert, rusqlite::params![2, "c", event]).expect("runs");
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("readable");
    assert_eq!(count("SELECT count(*) FROM audit_log WHERE agent = 'ward'"), 1);
    for organisation in ["RXH", "RYJ"] {
        assert_eq!(count(&format!("SELECT count(*) FROM audit_parties WHERE organisation = '{organisation}'")), 3);
    }
}

/// Of PostgreSQL an identifier is one, or the row is not there.
#[tokio::test]
async fn a_copy_whose_identifier_is_damaged_is_set_aside_and_the_others_are_claimed() {
    let (folder, store) = fresh();
    let store: Shared = store;
    let copies = [accept_new(&store, acceptance(1)).await, accept_new(&store, acceptance(2)).await];
    tamper(&folder, &format!("UPDATE deliveries SET id = 'secret-word' WHERE id = '{}'", copies[0]));
    let rule = |parked: &Parked| vec![AuditRow { transfer: parked.transfer, ..row(AuditWord::DeliveryFailed) }];
    let before = log(&store).await.len();
    let parking = Parking::new(rule);
    let leases = store.claim(Claim { parking, ..Claim::due(at(0), at(30), 10) }).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [copies[1]]);
    let told = log(&store).await.split_off(before);
    assert!(told.len() == 1 && told[0].columns.transfer.is_some(), "by its transfer");
    let dead = DeliveryQuery { dead: true, limit: 10, ..DeliveryQuery::default() };
    let listed = store.deliveries(dead).await.expect("readable");
    let damaged: Vec<_> = listed.damaged.iter().map(|row| (row.id, row.place.as_str())).collect();
    assert_eq!((listed.rows.len(), damaged), (0, vec![(None, "deliveries.id")]), "it waits for a person");
    // Whoever runs the gateway is told once, of its transfer, until it stands failed no more.
    let concern = concerns(&store, 1).await.remove(0);
    let transfer = told[0].columns.transfer.as_deref().map(|id| id.parse().expect("an identifier"));
    assert_eq!((concern.kind, concern.delivery), (AlertKind::DeliveryFailed, None));
    assert_eq!(concern.transfer, transfer);
    assert_eq!(store.raise_alert(alert(&concern, 1, Vec::new())).await, Ok(true));
    for second in [2, 12] {
        assert_eq!(store.settle_alerts(at(second)).await, Ok(0));
        assert!(concerns(&store, second).await.is_empty());
    }
    tamper(&folder, "UPDATE deliveries SET state = 'completed' WHERE id = 'secret-word'");
    assert_eq!(store.settle_alerts(at(22)).await, Ok(1));
    assert!(store.claim(Claim::due(at(1), at(31), 10)).await.expect("claimable").is_empty());
}

#[tokio::test]
async fn a_store_opens_beside_a_data_key_whose_keys_name_is_damaged() {
    let (folder, store) = fresh();
    let shared: Shared = store;
    let (one, two) = (accept_new(&shared, acceptance(1)).await, accept_new(&shared, acceptance(2)).await);
    drop(shared);
    let person = format!("SELECT patient FROM deliveries WHERE id = '{one}'");
    tamper(&folder, &format!("UPDATE data_keys SET kek = 'firsu' WHERE patient = ({person})"));
    let store = open(&folder.path().join("onward.db")).expect("no key is missing");
    assert_eq!(store.delivery(one).await.map(drop), Err(StoreError::Corrupt("data_keys.kek".to_owned())));
    assert!(store.delivery(two).await.expect("readable").is_some());
}
