//! Fault 37: an upgrade is killed, and resumes. Within a step nothing of it is in the file before its commit, so that a kill at any of its
//! statements is a kill before the commit's first write; what a kill leaves is what was written until then.

use std::path::Path;

use onward_core::store::Schema;

use super::super::open::{self, CLOSED_SINCE, MIGRATIONS, RECORDED};
use super::injection::{EVERY, adds_up, can_watch, folder};
use super::power_cut::{Disk, Event, Machine, run};
use super::*;
use crate::schema::{Migration, assert_in_order};

/// A message of the first program.
const OLD: &str = "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10";

/// What the first program left, in the clear, as it was then.
fn first_schema(path: &Path) {
    let connection = Connection::open(path).expect("opens");
    connection.execute_batch(MIGRATIONS[0].sql).expect("runs");
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = 0x4F4E5744; PRAGMA user_version = 1;
             INSERT INTO transfers (id, sender, client_id, message_id, event, received, reply, not_sent, changed, body_sha256, response)
             VALUES ('{OLD}', 'RXH', 'ward', 'message-of-then', 'e', 0, '{{}}', 'sent by fax', 0, zeroblob(32), x'00');
             INSERT INTO message_bodies (transfer, month, media_type, body)
             VALUES ('{OLD}', 197001, 'application/fhir+xml', CAST('<as it came/>' AS BLOB));
             INSERT INTO audit_log (position, id, recorded, word, transfer, organisation, leaf, event)
             VALUES (0, 'a', 0, 'accept', '{OLD}', 'RXH', zeroblob(32), CAST('{{}}' AS BLOB));"
        ))
        .expect("runs");
}

#[tokio::test]
async fn fault_037_an_upgrade_that_is_killed_resumes() {
    if !can_watch() {
        return;
    }
    let ran = folder();
    let database = ran.path().join("onward.db");
    first_schema(&database);
    let mut machine = Machine::default();
    machine.disks.insert(database.clone(), Disk::of(std::fs::read(&database).expect("readable")));
    let events = run(ran.path(), "FULL");
    let stride = if std::env::var_os(EVERY).is_some() { 1 } else { 60 };
    let (mut writes, mut kills) = (0, 0);
    for event in events {
        writes += usize::from(matches!(event, Event::Write { .. }));
        let is_tried = matches!(event, Event::Sync { .. }) || writes % stride == 0;
        machine.goes_on(ran.path(), event);
        if !machine.acknowledged.is_empty() {
            break;
        }
        if !is_tried {
            continue;
        }
        kills += 1;
        let place = machine.after_cut(ran.path(), |_, disk| Some(disk.after_cut(|_| true)));
        assert_eq!(adds_up(place.path(), &[]).await, Ok(()), "killed after {writes} writes");
        let keys = injection::keys_of(place.path());
        let store = SqliteStore::open(&place.path().join("onward.db"), keys, Arc::new(FixedClock)).expect("opens");
        let old = store.original(OLD.parse().expect("an identifier")).await.expect("readable").expect("there");
        assert_eq!(old.body, b"<as it came/>", "killed after {writes} writes");
        assert_eq!(store.accept(acceptance(1)).await, Ok(Accepted::New));
    }
    let steps = MIGRATIONS.len();
    assert!(kills > steps && machine.acknowledged.len() == 1, "{kills} kills in {steps} steps");
}

#[test]
fn the_steps_tell_who_can_serve_on_them() {
    assert_in_order(MIGRATIONS);
}

/// The program that takes these steps comes to this file.
fn bring(path: &Path, steps: &[Migration]) -> Result<(), OpenError> {
    let mut connection = Connection::open(path).expect("opens");
    connection.pragma_update(None, "foreign_keys", true).expect("set");
    open::migrate(&mut connection, steps, &keys(), at(0))
}

/// What a later program knows: these steps after this program's own, each with the oldest program that can serve on it.
fn later(steps: &[(&'static str, usize)]) -> Vec<Migration> {
    let later = steps.iter().map(|(sql, oldest)| Migration::new(sql, *oldest));
    MIGRATIONS.iter().copied().chain(later).collect()
}

/// The version, and the oldest program.
fn recorded(path: &Path) -> [usize; 2] {
    let connection = Connection::open(path).expect("opens");
    ["SELECT user_version FROM pragma_user_version", "SELECT oldest FROM onward_programs"]
        .map(|sql| number(&connection, sql))
}

fn number(connection: &Connection, sql: &str) -> usize {
    let number: i64 = connection.query_row(sql, [], |row| row.get(0)).expect("readable");
    usize::try_from(number).expect("in range")
}

/// A program that is one step older than the file opens it and serves, where the step lets it, and is refused where it does not.
#[tokio::test]
async fn fault_037_a_program_starts_on_a_newer_schema_that_lets_it_serve_and_on_no_other() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    let store = super::open(&path).expect("opens");
    assert_eq!(store.accept(acceptance(1)).await, Ok(Accepted::New));
    drop(store);
    let known = MIGRATIONS.len();
    let adds = "ALTER TABLE deliveries ADD COLUMN of_the_next INTEGER; CREATE TABLE of_the_next (id INTEGER) STRICT;";
    bring(&path, &later(&[(adds, known)])).expect("brought forward");
    let store: Shared = Arc::new(super::open(&path).expect("opens"));
    let command = SqliteStore::open_shared(&path, keys(), Arc::new(FixedClock)).expect("opens beside");
    let schema = Schema { stored: known + 1, known, oldest_program: Some(known), waits_for: CLOSED_SINCE };
    assert_eq!((store.schema().await, command.schema().await), (Ok(schema), Ok(schema)));
    accept_new(&store, acceptance(2)).await;
    assert_eq!(store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable").len(), 2);
    drop((store, command));
    assert_eq!(recorded(&path), [known + 1, known], "nothing is taken back");

    bring(&path, &later(&[(adds, known), ("CREATE TABLE of_that_after (id INTEGER) STRICT;", known + 1)]))
        .expect("brought forward");
    for refused in [super::open(&path), SqliteStore::open_shared(&path, keys(), Arc::new(FixedClock))] {
        let refused = refused.map(drop).expect_err("newer");
        assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
        for told in [
            format!("schema version {}", known + 2),
            format!("knows version {} at least", known + 1),
            format!("versions up to {known}: use the newer program, or go back with the backup"),
        ] {
            assert!(refused.to_string().contains(&told), "{refused}");
        }
    }
}

#[tokio::test]
async fn the_oldest_program_is_recorded_from_the_step_on_that_makes_room_for_it() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    bring(&path, &MIGRATIONS[..RECORDED]).expect("made");
    let connection = Connection::open(&path).expect("opens");
    assert_eq!(number(&connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'onward_programs'"), 0);
    assert_eq!(number(&connection, "SELECT user_version FROM pragma_user_version"), RECORDED);
    let store = super::open(&path).expect("is brought forward");
    assert_eq!(recorded(&path), [MIGRATIONS.len(), CLOSED_SINCE], "nobody has used it yet");
    assert_eq!(store.accept(acceptance(1)).await, Ok(Accepted::New));
    drop(store);
    // A later program's file that does not tell lets nobody serve who does not know it.
    let found = MIGRATIONS.len() + 1;
    let newer = format!("DELETE FROM onward_programs; PRAGMA user_version = {found}");
    connection.execute_batch(&newer).expect("runs");
    let refused = super::open(&path).map(drop);
    assert!(matches!(refused, Err(OpenError::Newer { oldest, .. }) if oldest == found), "{refused:?}");
}

#[test]
fn a_step_that_fails_changes_neither_the_version_nor_the_oldest_program() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    super::open(&path).map(drop).expect("opens");
    let before = recorded(&path);
    let found = MIGRATIONS.len() + 1;
    // It fails at its commit, when both were written.
    let fails = "CREATE TABLE named (id INTEGER PRIMARY KEY) STRICT;
         CREATE TABLE names (named INTEGER REFERENCES named (id) DEFERRABLE INITIALLY DEFERRED) STRICT;
         INSERT INTO names VALUES (1);";
    let failed = bring(&path, &later(&[(fails, found)]));
    assert!(matches!(failed, Err(OpenError::Sqlite(_))), "{failed:?}");
    assert_eq!(recorded(&path), before);
    bring(&path, &later(&[("CREATE TABLE named (id INTEGER PRIMARY KEY) STRICT;", found)])).expect("brought forward");
    assert_eq!(recorded(&path), [found, found]);
}
