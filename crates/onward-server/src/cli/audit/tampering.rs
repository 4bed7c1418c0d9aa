//! Random changes of a store file by somebody who can write it but does not have the signing key: `audit verify` finds each,
//! and names the first entry that is, or may be, wrong.

use std::path::Path;

use clap::Parser as _;
use onward_core::audit::{Agent, AuditEntry, StoredCheckpoint};
use onward_core::{DeliveryId, OdsCode, TransferId};
use onward_gateway::journal::Journal;
use onward_ledger::{Tree, leaf_hash};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::*;
use crate::cli::open::now;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

/// Entries in the log, of which the last few are under no checkpoint.
const ENTRIES: u64 = 64;
/// A checkpoint after every so many.
const EVERY: u64 = 10;
/// Entries under a checkpoint.
const COVERED: u64 = 60;
/// Kinds of changes.
const KINDS: u64 = 15;
/// Changes of each kind.
const ROUNDS: u64 = 40;

/// Repeatable randomness (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// A gateway's folder with its log as it should be, and a checkpoint of all covered entries kept elsewhere.
struct Place {
    folder: TempDir,
    whole: Vec<u8>,
    kept: String,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n";
        std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
        let key = SigningKey::generate("onward/R9Z").expect("a key");
        let secret = key.to_secret_text().expect("text");
        std::fs::write(folder.path().join("audit-signing.key"), secret.as_bytes()).expect("writable");
        crate::store_keys::add_key(&folder.path().join("store.key"), now()).expect("a key");
        let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
        let (_, store) = config.store().await.expect("a store");
        let journal = Journal::new(&ods("R9Z"), "https://gateway.example");
        let mut tree = Tree::new();
        for number in 0..ENTRIES {
            store.audit(vec![journal.row(&entry(number))]).await.expect("committed");
            tree.push(store.audit_leaves(number, 1).await.expect("readable")[0]);
            if tree.size().is_multiple_of(EVERY) {
                let note = key.sign(&Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint")).expect("signed");
                store.put_checkpoint(StoredCheckpoint { size: tree.size(), note }).await.expect("committed");
            }
        }
        let kept = store.latest_checkpoint().await.expect("readable").expect("there").note;
        drop(store);
        let whole = std::fs::read(folder.path().join("onward.db")).expect("readable");
        assert!(!folder.path().join("onward.db-wal").exists(), "everything is in the one file");
        Self { folder, whole, kept }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The store as it was, then changed.
    fn changed(&self, change: impl FnOnce(&Connection)) {
        for name in ["onward.db-wal", "onward.db-shm"] {
            let _ = std::fs::remove_file(self.folder.path().join(name));
        }
        std::fs::write(self.folder.path().join("onward.db"), &self.whole).expect("writable");
        let connection = Connection::open(Path::new(&self.path("onward.db"))).expect("opens");
        change(&connection);
    }

    /// How `audit verify` ends, and the entry that it names.
    async fn verify(&self, arguments: &[&str]) -> (Exit, Option<u64>, String) {
        let config = self.path("gateway.toml");
        let words = [&["onward", "audit", "verify", "--json", "--config", &config], arguments].concat();
        let Command::Audit(command) = Cli::try_parse_from(words).expect("parses").command else { panic!("another") };
        let (mut terminal, out, _) = capture::terminal();
        let exit = run(&command, &mut terminal).await.map_err(|failure| failure.error).expect("no fault");
        terminal.finish().expect("written");
        let told: serde_json::Value = serde_json::from_str(&out.text()).expect("JSON");
        (exit, told["entry"].as_u64(), out.text())
    }
}

fn ods(code: &str) -> OdsCode {
    code.parse().expect("an ODS code")
}

/// Entries of every shape, each with something in each column.
fn entry(number: u64) -> AuditEntry {
    let word = AuditWord::ALL[usize::try_from(number).expect("small") % AuditWord::ALL.len()];
    let sends =
        matches!(word, AuditWord::Disclose | AuditWord::AttemptFailed | AuditWord::DeliveryFailed | AuditWord::Respond);
    let agent = if sends { Agent::gateway() } else { Agent::named("ward-system", Some(ods("R9Z"))) };
    let touches = word != AuditWord::Query;
    AuditEntry {
        transfer: touches.then(TransferId::random),
        delivery: (touches && word != AuditWord::DirectoryLookup && word != AuditWord::SubjectAccess)
            .then(DeliveryId::random),
        recipient: Some(ods("VMH01")),
        patient: Some("9990000018".parse().expect("a test number")),
        ..AuditEntry::new(word, now(), agent, format!("entry {number}"))
    }
}

/// SQLite's integers are signed.
fn sql(number: u64) -> i64 {
    i64::try_from(number).expect("small")
}

fn event(connection: &Connection, at: u64) -> Vec<u8> {
    connection.query_row("SELECT event FROM audit_log WHERE position = ?", [sql(at)], |row| row.get(0)).expect("there")
}

fn header(connection: &Connection, at: u64) -> String {
    let entry = "SELECT CAST(entry AS TEXT) FROM audit_log WHERE position = ?";
    connection.query_row(entry, [sql(at)], |row| row.get(0)).expect("there")
}

fn leaf(connection: &Connection, at: u64) -> Vec<u8> {
    connection.query_row("SELECT leaf FROM audit_log WHERE position = ?", [sql(at)], |row| row.get(0)).expect("there")
}

fn set(connection: &Connection, column: &str, at: u64, value: impl rusqlite::ToSql) {
    let change = format!("UPDATE audit_log SET {column} = ? WHERE position = ?");
    assert_eq!(connection.execute(&change, params![value, sql(at)]).expect("runs"), 1);
}

/// Moves every entry from `from` on by `by` places.
fn shift(connection: &Connection, from: u64, by: i64) {
    let aside = "UPDATE audit_log SET position = -position - 1 WHERE position >= ?";
    connection.execute(aside, [sql(from)]).expect("runs");
    connection.execute("UPDATE audit_log SET position = -position - 1 + ? WHERE position < 0", [by]).expect("runs");
}

/// The first entry after the last checkpoint before `at`: what a consistent rewrite can be narrowed down to.
fn narrowed(at: u64) -> u64 {
    at / EVERY * EVERY
}

fn exchange(connection: &Connection, first: u64, second: u64) {
    for (from, to) in [(first, 1_000_000), (second, first), (1_000_000, second)] {
        connection.execute("UPDATE audit_log SET position = ? WHERE position = ?", [sql(to), sql(from)]).expect("runs");
    }
}

/// One change of this kind; the entry that must be named.
fn tamper(kind: u64, dice: &mut Dice, connection: &Connection) -> u64 {
    let at = dice.below(COVERED);
    let other = (at + 1 + dice.below(COVERED - 1)) % COVERED;
    match kind {
        0 => {
            let at = dice.below(ENTRIES);
            let mut bytes = event(connection, at);
            let place = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
            bytes[place] ^= 1 << dice.below(8);
            set(connection, "event", at, bytes);
            at
        }
        1 => {
            let at = dice.below(ENTRIES);
            let mut bytes = leaf(connection, at);
            bytes[usize::try_from(dice.below(32)).expect("small")] ^= 1 << dice.below(8);
            set(connection, "leaf", at, bytes);
            at
        }
        2 => {
            let at = dice.below(ENTRIES);
            let columns = ["id", "word", "transfer", "delivery", "agent", "organisation", "patient"];
            let column = columns[usize::try_from(dice.below(7)).expect("small")];
            set(connection, column, at, format!("other {}", dice.below(1 << 40)));
            at
        }
        3 => {
            let at = dice.below(ENTRIES);
            let change = "UPDATE audit_log SET recorded = recorded + ? WHERE position = ?";
            connection.execute(change, [sql(1 + dice.below(1 << 40)), sql(at)]).expect("runs");
            at
        }
        4 => {
            connection.execute("DELETE FROM audit_log WHERE position = ?", [sql(at)]).expect("runs");
            at
        }
        5 => {
            let (one, two) = (event(connection, at), event(connection, other));
            set(connection, "event", at, two);
            set(connection, "event", other, one);
            at.min(other)
        }
        // From here on, what was changed agrees with itself: only the signatures tell.
        6 => {
            connection.execute("DELETE FROM audit_log WHERE position = ?", [sql(at)]).expect("runs");
            shift(connection, at + 1, -1);
            narrowed(at)
        }
        7 => {
            exchange(connection, at, other);
            narrowed(at.min(other))
        }
        8 => {
            let text = header(connection, at).replace("\"success\":true", "\"success\":false");
            set(connection, "entry", at, text.as_bytes());
            set(connection, "leaf", at, leaf_hash(text.as_bytes()));
            narrowed(at)
        }
        9 => {
            shift(connection, at, 1);
            let copied = other + u64::from(other >= at);
            let id: String = connection
                .query_row("SELECT id FROM audit_log WHERE position = ?", [sql(copied)], |row| row.get(0))
                .expect("there");
            let text = header(connection, copied).replace(&id, "forged");
            let copy = "INSERT INTO audit_log
                     (position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, entry, event)
                 SELECT ?1, 'forged', recorded, word, transfer, delivery, agent, organisation, patient, ?3, ?4, event
                 FROM audit_log WHERE position = ?2";
            let values = params![sql(at), sql(copied), leaf_hash(text.as_bytes()), text.as_bytes()];
            connection.execute(copy, values).expect("runs");
            // The sealed event opens under its own id only, which needs no signature to be seen.
            at
        }
        10 => {
            connection.execute("DELETE FROM audit_log WHERE position >= ?", [sql(at)]).expect("runs");
            at
        }
        11 => {
            let at = dice.below(ENTRIES);
            let mut bytes = header(connection, at).into_bytes();
            let place = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
            bytes[place] ^= 1 << dice.below(8);
            set(connection, "entry", at, bytes);
            at
        }
        12 => {
            let change = "UPDATE data_keys SET wrapped = randomblob(60) WHERE kind = 'person'";
            assert_eq!(connection.execute(change, []).expect("runs"), 1, "all entries are about one person");
            0
        }
        13 => {
            let change = "UPDATE data_keys SET wrapped = NULL, number = NULL, destroyed = 1 WHERE kind = 'person'";
            assert_eq!(connection.execute(change, []).expect("runs"), 1, "no erasure of the log's names this key");
            0
        }
        _ => {
            set(connection, "leaf", at, b"short".as_slice());
            at
        }
    }
}

#[tokio::test]
async fn every_change_is_found_and_its_first_entry_named() {
    let place = Place::new().await;
    place.changed(|_| {});
    let (exit, _, out) = place.verify(&[]).await;
    assert_eq!(exit, Exit::Done, "{out}");
    let mut found = 0;
    for kind in 0..KINDS {
        for round in 0..ROUNDS {
            let mut dice = Dice(kind * 1_000 + round);
            let mut expected = 0;
            place.changed(|connection| expected = tamper(kind, &mut dice, connection));
            let (exit, named, out) = place.verify(&[]).await;
            assert_eq!((exit, named), (Exit::No, Some(expected)), "change {kind}, round {round}: {out}");
            found += 1;
        }
    }
    assert_eq!(found, KINDS * ROUNDS);
}

/// Whoever cuts the log back together with its checkpoints leaves a shorter whole log. The output says that it cannot tell,
/// and a checkpoint kept elsewhere does.
#[tokio::test]
async fn a_cut_with_its_checkpoints_is_seen_only_by_a_checkpoint_kept_elsewhere() {
    let place = Place::new().await;
    let kept = place.path("kept-elsewhere.txt");
    std::fs::write(&kept, &place.kept).expect("writable");
    for round in 0..ROUNDS {
        let at = Dice(round).below(COVERED);
        place.changed(|connection| {
            connection.execute("DELETE FROM audit_log WHERE position >= ?", [sql(at)]).expect("runs");
            connection.execute("DELETE FROM checkpoints WHERE size > ?", [sql(at)]).expect("runs");
        });
        let (exit, _, out) = place.verify(&[]).await;
        assert_eq!(exit, Exit::Done, "nobody can tell: {out}");
        assert!(out.contains("witness") && out.contains("\"kept_elsewhere\":0"), "and that is said: {out}");
        let (exit, named, out) = place.verify(&["--checkpoint", &kept]).await;
        assert_eq!((exit, named), (Exit::No, Some(at)), "{out}");
    }
    place.changed(|_| {});
    assert_eq!(place.verify(&["--checkpoint", &kept]).await.0, Exit::Done);
}

#[tokio::test]
async fn a_checkpoint_that_was_altered_is_named() {
    let place = Place::new().await;
    place.changed(|connection| {
        let sql = "UPDATE checkpoints SET note = replace(note, 'onward/R9Z', 'onward/R9Y') WHERE size = 30";
        assert_eq!(connection.execute(sql, []).expect("runs"), 1);
    });
    let (exit, named, out) = place.verify(&[]).await;
    assert_eq!((exit, named), (Exit::No, None));
    assert!(out.contains("the stored checkpoint of 30"), "{out}");
}
