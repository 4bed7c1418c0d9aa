//! Random changes of a store file by somebody who can write it, and cannot or can sign as the gateway: what `audit verify` finds
//! by itself, and what it finds with a witness's last checkpoint. `ONWARD_TAMPERING_CHANGES=10000` makes the long run whose
//! figures stand in SECURITY.md; they are printed with `--nocapture`.

use std::path::Path;

use clap::Parser as _;
use onward_core::audit::{Agent, AuditEntry, StoredCheckpoint};
use onward_core::store::evidence::StoredCosignature;
use onward_core::{DeliveryId, OdsCode, TransferId};
use onward_gateway::journal::Journal;
use onward_ledger::{Checkpoint, CosigningKey, Tree, leaf_hash, with_cosignatures};
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
/// Kinds of change.
const KINDS: u64 = 19;
/// Those among them that the log itself shows.
const SHOWN: u64 = 15;
/// Changes in all, unless the environment says otherwise.
const CHANGES: u64 = 247;

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

/// A gateway's folder with its log as it should be, and the checkpoint of all covered entries that a witness has cosigned.
struct Place {
    folder: TempDir,
    whole: Vec<u8>,
    /// The whole file as it was at each checkpoint.
    backups: Vec<Vec<u8>>,
    key: SigningKeys,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n";
        std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
        let key = SigningKeys::generate("onward/R9Z").expect("a key");
        let secret = key.to_secret_text().expect("text");
        std::fs::write(folder.path().join("audit-signing.key"), secret.as_bytes()).expect("writable");
        crate::store_keys::add_key(&folder.path().join("store.key"), now()).expect("a key");
        let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
        let (_, store) = config.store().await.expect("a store");
        let journal = Journal::new(&ods("R9Z"), "https://gateway.example");
        let witness = CosigningKey::generate("witness.example/w1").expect("a key");
        std::fs::write(folder.path().join("witness.pub"), witness.witness_key().to_string()).expect("writable");
        let (mut tree, mut backups, mut kept) = (Tree::new(), Vec::new(), String::new());
        for number in 0..ENTRIES {
            store.audit(vec![journal.row(&entry(number))]).await.expect("committed");
            tree.push(store.audit_leaves(number, 1).await.expect("readable")[0]);
            if tree.size().is_multiple_of(EVERY) {
                let checkpoint = Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint");
                let note = key.sign(&checkpoint).expect("signed");
                let line = witness.cosign(&checkpoint, 1_795_000_000 + number).expect("cosigned");
                kept = with_cosignatures(&note, [line.as_str()]);
                let size = tree.size();
                store.put_checkpoint(StoredCheckpoint { size, note }).await.expect("committed");
                let witness = witness.witness_key().name().to_owned();
                store.put_cosignature(StoredCosignature { size, witness, line, at: now() }).await.expect("committed");
                let copy = folder.path().join(format!("backup-{size}.db"));
                let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
                connection.execute("VACUUM INTO ?", [copy.to_str().expect("UTF-8")]).expect("copied");
                backups.push(std::fs::read(copy).expect("readable"));
            }
        }
        std::fs::write(folder.path().join("kept-elsewhere.txt"), kept).expect("writable");
        drop(store);
        let whole = std::fs::read(folder.path().join("onward.db")).expect("readable");
        assert!(!folder.path().join("onward.db-wal").exists(), "everything is in the one file");
        Self { folder, whole, backups, key }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The store as it was, then changed.
    fn changed(&self, change: impl FnOnce(&Connection)) {
        self.replaced(&self.whole, change);
    }

    /// This file in place of the store, then changed.
    fn replaced(&self, file: &[u8], change: impl FnOnce(&Connection)) {
        for name in ["onward.db-wal", "onward.db-shm"] {
            let _ = std::fs::remove_file(self.folder.path().join(name));
        }
        std::fs::write(self.folder.path().join("onward.db"), file).expect("writable");
        self.edited(change);
    }

    /// Further entries, made by somebody who knows how and has the keys as well.
    async fn append(&self, count: u64) {
        let config = ConfigArgs { config: Some(self.folder.path().join("gateway.toml")) };
        let (_, store) = config.store().await.expect("a store");
        let journal = Journal::new(&ods("R9Z"), "https://gateway.example");
        for number in 0..count {
            let agent = Agent::named("ward-system", Some(ods("R9Z")));
            let entry = AuditEntry::new(AuditWord::Configure, now(), agent, format!("another {number}"));
            store.audit(vec![journal.row(&entry)]).await.expect("committed");
        }
    }

    /// The store as it is.
    fn file(&self) -> Vec<u8> {
        self.edited(|connection| connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("runs"));
        std::fs::read(self.path("onward.db")).expect("readable")
    }

    /// The store as it is, changed.
    fn edited(&self, change: impl FnOnce(&Connection)) {
        let connection = Connection::open(Path::new(&self.path("onward.db"))).expect("opens");
        connection.pragma_update(None, "foreign_keys", false).expect("set");
        change(&connection);
    }

    /// How `audit verify` ends with the checkpoint that the witness has cosigned.
    async fn verify_with_witness(&self) -> (Exit, Option<u64>, String) {
        let (kept, key) = (self.path("kept-elsewhere.txt"), self.path("witness.pub"));
        self.verify(&["--checkpoint", &kept, "--witness", &key]).await
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
    let sends = matches!(
        word,
        AuditWord::Intend
            | AuditWord::Disclose
            | AuditWord::AttemptFailed
            | AuditWord::DeliveryFailed
            | AuditWord::Respond
    );
    let agent = if sends { Agent::gateway() } else { Agent::named("ward-system", Some(ods("R9Z"))) };
    let touches = word != AuditWord::Query;
    AuditEntry {
        transfer: touches.then(TransferId::random),
        delivery: (touches
            && !matches!(word, AuditWord::DirectoryLookup | AuditWord::SubjectAccess | AuditWord::Export))
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

/// Cuts the log back to `at` entries, together with everything that vouches for more.
fn cut(connection: &Connection, at: u64) {
    for change in [
        "DELETE FROM audit_log WHERE position >= ?",
        "DELETE FROM audit_parties WHERE position >= ?",
        "DELETE FROM checkpoints WHERE size > ?",
        "DELETE FROM cosignatures WHERE size > ?",
    ] {
        connection.execute(change, [sql(at)]).expect("runs");
    }
}

/// Leaves a log that is whole by itself: what only a witness's checkpoint tells. The entry that must be named, where the
/// signatures in the store still are the gateway's.
async fn replace_history(place: &Place, kind: u64, dice: &mut Dice) -> Option<u64> {
    let at = dice.below(COVERED);
    match kind {
        // Cut back.
        15 => {
            place.changed(|connection| cut(connection, at));
            Some(at)
        }
        // An older copy of the whole file put back.
        16 => {
            let number = usize::try_from(dice.below(COVERED / EVERY - 1)).expect("small");
            place.replaced(&place.backups[number], |_| {});
            Some((number as u64 + 1) * EVERY)
        }
        // Cut back, and grown again by other entries.
        17 => {
            place.changed(|connection| cut(connection, at));
            place.append(ENTRIES - at).await;
            Some(narrowed(at))
        }
        // Rewritten by somebody who has the signing key as well, every checkpoint included.
        _ => {
            place.changed(|_| {});
            place.append(1).await;
            place.edited(|connection| {
                connection.execute("DELETE FROM audit_log WHERE position = ?", [sql(at)]).expect("runs");
                let moved = "UPDATE audit_log SET position = ? WHERE position = ?";
                connection.execute(moved, [sql(at), sql(ENTRIES)]).expect("runs");
                connection
                    .execute_batch(
                        "DELETE FROM audit_parties; INSERT INTO audit_parties (organisation, recorded, position)
                         SELECT organisation, recorded, position FROM audit_log WHERE organisation IS NOT NULL",
                    )
                    .expect("runs");
                connection.execute("DELETE FROM cosignatures WHERE size > ?", [sql(at)]).expect("runs");
                let mut tree = Tree::new();
                for number in 0..COVERED {
                    tree.push(leaf(connection, number).try_into().expect("a leaf"));
                    if tree.size().is_multiple_of(EVERY) {
                        let checkpoint = Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint");
                        let note = place.key.sign(&checkpoint).expect("signed");
                        let change = "UPDATE checkpoints SET note = ? WHERE size = ?";
                        connection.execute(change, params![note, sql(tree.size())]).expect("runs");
                    }
                }
            });
            None
        }
    }
}

#[tokio::test]
async fn every_change_is_found_and_its_first_entry_named() {
    let changes = std::env::var_os("ONWARD_TAMPERING_CHANGES");
    let changes = changes.and_then(|count| count.to_str()?.parse().ok()).unwrap_or(CHANGES);
    let place = Place::new().await;
    place.changed(|_| {});
    for (exit, _, out) in [place.verify(&[]).await, place.verify_with_witness().await] {
        assert_eq!(exit, Exit::Done, "{out}");
    }
    let (mut alone, mut witnessed) = ([0_u64; KINDS as usize], [0_u64; KINDS as usize]);
    for change in 0..changes {
        let (kind, mut dice) = (change % KINDS, Dice(change));
        let mut expected = None;
        match kind {
            0..SHOWN => place.changed(|connection| expected = Some(tamper(kind, &mut dice, connection))),
            _ => expected = replace_history(&place, kind, &mut dice).await,
        }
        let counted = usize::try_from(kind).expect("small");
        let changed = place.file();
        let (exit, named, out) = place.verify(&[]).await;
        alone[counted] += u64::from(exit == Exit::No);
        if kind < SHOWN {
            assert_eq!((exit, named), (Exit::No, expected), "change {change} of kind {kind}: {out}");
        } else {
            assert_eq!(exit, Exit::Done, "nobody can tell: {out}");
            assert!(
                out.contains("\"kept_elsewhere\":0") && out.contains("not proven") || out.contains("cut back"),
                "and that is said: {out}"
            );
        }
        // Without the entry of the first verification, which moves the end of a log that was cut.
        place.replaced(&changed, |_| {});
        let (exit, named, out) = place.verify_with_witness().await;
        assert_eq!(exit, Exit::No, "change {change} of kind {kind}, with a witness: {out}");
        assert!(expected.is_none() || named == expected, "change {change} of kind {kind}, with a witness: {out}");
        witnessed[counted] += 1;
    }
    println!("{changes} changes; found alone, by kind: {alone:?} = {}", alone.iter().sum::<u64>());
    println!("found with a witness, by kind: {witnessed:?} = {}", witnessed.iter().sum::<u64>());
    assert_eq!(witnessed.iter().sum::<u64>(), changes);
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
