//! Fault 37: an upgrade is killed, and resumes. Within a step nothing of it is in the file before its commit, so that a kill at any of its
//! statements is a kill before the commit's first write; what a kill leaves is what was written until then.

use std::path::Path;

use super::injection::{EVERY, adds_up, can_watch, folder};
use super::power_cut::{Disk, Event, Machine, run};
use super::*;

/// A message of the first program.
const OLD: &str = "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10";

/// What the first program left, in the clear, as it was then.
fn first_schema(path: &Path) {
    let connection = Connection::open(path).expect("opens");
    connection.execute_batch(super::super::open::MIGRATIONS[0]).expect("runs");
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
    let steps = super::super::open::MIGRATIONS.len();
    assert!(kills > steps && machine.acknowledged.len() == 1, "{kills} kills in {steps} steps");
}
