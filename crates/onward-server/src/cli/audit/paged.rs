//! More checkpoints than are read at once: what does not fit is named, also where one page ends and the next begins.

use clap::Parser as _;
use onward_ledger::{Checkpoint, Tree};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

/// Entries, each with a checkpoint after it; a thousand are read at once.
const ENTRIES: u64 = 2_010;

struct Place {
    folder: TempDir,
    keys: SigningKeys,
    file: Connection,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n";
        std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
        crate::store_keys::add_key(&folder.path().join("store.key"), now()).expect("a key");
        let keys = SigningKeys::generate("onward/R9Z").expect("a key");
        std::fs::write(folder.path().join("audit-signing.key"), keys.to_secret_text().expect("text").as_bytes())
            .expect("writable");
        let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
        let (config, store) = config.store().await.expect("a store");
        let desk = Desk::new(&config).expect("an organisation");
        let entry = || AuditEntry::new(AuditWord::Query, now(), desk.operator(), "looked");
        store.audit((0..ENTRIES).map(|_| desk.row_of(&entry())).collect()).await.expect("committed");
        let mut file = Connection::open(folder.path().join("onward.db")).expect("opens");
        let (mut tree, made) = (Tree::new(), file.transaction().expect("begins"));
        for from in (0..ENTRIES).step_by(1_000) {
            for leaf in store.audit_leaves(from, 1_000).await.expect("readable") {
                tree.push(leaf);
                let note = keys.sign(&Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint")).expect("signed");
                let size = i64::try_from(tree.size()).expect("small");
                made.execute("INSERT INTO checkpoints (size, note) VALUES (?, ?)", params![size, note]).expect("runs");
            }
        }
        made.commit().expect("committed");
        drop(store);
        Self { folder, keys, file }
    }

    async fn store(&self) -> std::sync::Arc<dyn Store> {
        ConfigArgs { config: Some(self.folder.path().join("gateway.toml")) }.existing_store().await.expect("a store").1
    }

    async fn verify(&self) -> (Result<Exit, Exit>, serde_json::Value) {
        let file = self.folder.path().join("gateway.toml");
        let arguments = ["onward", "audit", "verify", "--json", "--config", file.to_str().expect("UTF-8")];
        let Command::Audit(command) = Cli::try_parse_from(arguments).expect("parses").command else {
            panic!("another command")
        };
        let (mut terminal, out, _) = capture::terminal();
        let outcome = run(&command, &mut terminal).await.map_err(|failure| failure.exit);
        terminal.finish().expect("written");
        (outcome, serde_json::from_str(&out.text()).expect("JSON"))
    }

    /// What stood in place of the checkpoint's note.
    fn put(&self, size: u64, note: &str) -> String {
        let size = i64::try_from(size).expect("small");
        let was = self.file.query_row("SELECT note FROM checkpoints WHERE size = ?", [size], |row| row.get(0));
        self.file.execute("UPDATE checkpoints SET note = ? WHERE size = ?", params![note, size]).expect("runs");
        was.expect("a checkpoint")
    }

    /// A checkpoint of another history of so many entries, with a good signature.
    fn of_another_history(&self, size: u64) -> String {
        let mut tree = Tree::new();
        (0..size).for_each(|_| {
            tree.push([7; 32]);
        });
        self.keys.sign(&Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint")).expect("signed")
    }
}

#[tokio::test]
async fn a_fault_is_named_on_every_page_of_checkpoints_and_between_them() {
    let place = Place::new().await;
    let (outcome, told) = place.verify().await;
    assert_eq!(outcome, Ok(Exit::Done), "{told}");
    assert_eq!((told["covered"].as_u64(), told["checkpoints"].as_u64()), (Some(ENTRIES), Some(ENTRIES)), "{told}");
    for size in [1, 1_000, 1_001, 2_000, 2_001, ENTRIES] {
        let was = place.put(size, &place.of_another_history(size));
        let (outcome, told) = place.verify().await;
        let expected =
            format!("entry {}: it, or one before entry {size}, was rewritten together with its leaf hash", size - 1);
        assert_eq!((outcome, told["entry"].as_u64()), (Ok(Exit::No), Some(size - 1)), "{told}");
        assert_eq!(told["mismatch"].as_str(), Some(&*expected));
        let unsigned = was.replace("onward/R9Z", "onward/R9Y");
        place.put(size, &unsigned);
        let (outcome, told) = place.verify().await;
        let mismatch = told["mismatch"].as_str().expect("a text");
        assert!(
            outcome == Ok(Exit::No) && mismatch.starts_with(&format!("the stored checkpoint of {size}: ")),
            "{told}"
        );
        place.put(size, &was);
    }
    // In another one's place on another page, each says what it says.
    let (first, last) = (place.put(5, ""), place.put(ENTRIES, ""));
    place.put(5, &last);
    place.put(ENTRIES, &first);
    let (outcome, told) = place.verify().await;
    assert_eq!(outcome, Ok(Exit::Done), "{told}");
    assert_eq!((told["covered"].as_u64(), told["checkpoints"].as_u64()), (Some(ENTRIES), Some(ENTRIES)), "{told}");
    place.put(5, &first);
    place.put(ENTRIES, &last);
    for held in [2_000, 1_000] {
        let held_sql = i64::from(held);
        for table in ["audit_parties", "audit_shown", "audit_log"] {
            place.file.execute(&format!("DELETE FROM {table} WHERE position >= ?"), [held_sql]).expect("runs");
        }
        let (outcome, told) = place.verify().await;
        let expected = format!("entry {held}: the log ends here, but a checkpoint covers {ENTRIES} entries");
        assert_eq!((outcome, told["mismatch"].as_str()), (Ok(Exit::No), Some(&*expected)), "{told}");
        assert_eq!(told["logged"].as_bool(), Some(false), "{told}");
    }
}

#[tokio::test]
async fn what_happens_to_a_checkpoint_after_its_signature_was_checked_is_found() {
    let place = Place::new().await;
    let store = place.store().await;
    let walked = async || {
        let checked = Signed::stored(store.as_ref(), place.keys.verifying_keys(), |_| Ok(())).await;
        let checked = checked.expect("readable").expect("signed");
        assert_eq!((checked.count() as u64, checked.furthest()), (ENTRIES, ENTRIES));
        checked
    };
    const CHANGED: &str = "the stored checkpoints were changed while the log was compared with them";
    let checked = walked().await;
    let was = place.put(1_001, &place.of_another_history(1_002));
    let misfit = walk(store.as_ref(), checked, |_| ()).await.expect("readable").expect_err("a misfit");
    assert_eq!(misfit.why, CHANGED);
    place.put(1_001, &was);
    let checked = walked().await;
    place.put(1_001, &was.replace("onward/R9Z", "onward/R9Y"));
    let misfit = walk(store.as_ref(), checked, |_| ()).await.expect("readable").expect_err("a misfit");
    assert!(misfit.index == 1_000 && misfit.why.starts_with("the stored checkpoint of 1001 entries: "), "{misfit:?}");
    place.put(1_001, &was);
    let checked = walked().await;
    place.file.execute("DELETE FROM checkpoints WHERE size = 1000", []).expect("runs");
    let misfit = walk(store.as_ref(), checked, |_| ()).await.expect("readable").expect_err("a misfit");
    assert_eq!(misfit.why, CHANGED);
}
