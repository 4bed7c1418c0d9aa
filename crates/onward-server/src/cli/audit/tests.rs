use clap::Parser as _;
use onward_core::audit::StoredCheckpoint;
use onward_ledger::Tree;
use tempfile::TempDir;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

/// A gateway's folder whose log holds `entries` entries, with a signed checkpoint over all of them.
async fn place(entries: usize) -> (TempDir, SigningKey) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gateway.toml"), "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n")
        .expect("writable");
    let (config, store) = config(&folder).store().expect("a store");
    let desk = Desk::new(&config).expect("an organisation");
    for entry in 0..entries {
        store.audit(vec![desk.row(AuditWord::Configure, format!("entry {entry}"))]).await.expect("committed");
    }
    let key = SigningKey::generate("onward/R9Z").expect("a key");
    std::fs::write(folder.path().join("audit-signing.key"), key.to_secret_text().expect("text").as_bytes())
        .expect("writable");
    let mut tree = Tree::new();
    for entry in store.audit_entries(0, 1_000).await.expect("readable") {
        tree.push(entry.leaf);
    }
    let note = key.sign(&Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint")).expect("signed");
    store.put_checkpoint(StoredCheckpoint { size: tree.size(), note }).await.expect("committed");
    (folder, key)
}

fn config(folder: &TempDir) -> ConfigArgs {
    ConfigArgs { config: Some(folder.path().join("gateway.toml")) }
}

async fn audit(folder: &TempDir, arguments: &[&str]) -> (Result<Exit, Exit>, String) {
    let file = folder.path().join("gateway.toml");
    let config = ["--config", file.to_str().expect("UTF-8")];
    let cli = Cli::try_parse_from(["onward", "audit"].iter().chain(arguments).chain(&config)).expect("parses");
    let Command::Audit(command) = cli.command else { panic!("another command") };
    let (mut terminal, out, _) = capture::terminal();
    let outcome = run(&command, &mut terminal).await.map_err(|failure| failure.exit);
    terminal.finish().expect("written");
    (outcome, out.text())
}

#[tokio::test]
async fn a_whole_log_is_whole_and_says_what_that_cannot_show() {
    let (folder, _) = place(5).await;
    let (outcome, out) = audit(&folder, &["verify"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    assert!(out.starts_with("whole: 5 entries fit, 5 of them under 1 signed checkpoint"), "{out}");
    assert!(out.contains("witness"), "{out}");
    let (_, json) = audit(&folder, &["verify", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["whole"].as_bool(), json["entries"].as_u64()), (Some(true), Some(5)));
}

#[tokio::test]
async fn a_checkpoint_kept_elsewhere_shows_a_log_that_was_cut() {
    let (folder, key) = place(3).await;
    let mut tree = Tree::new();
    (0..4_u8).for_each(|leaf| {
        tree.push([leaf; 32]);
    });
    let note = key.sign(&Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint")).expect("signed");
    let file = folder.path().join("witnessed.txt");
    std::fs::write(&file, note).expect("writable");
    let (outcome, out) = audit(&folder, &["verify", "--json", "--checkpoint", file.to_str().expect("UTF-8")]).await;
    assert_eq!(outcome, Ok(Exit::No));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((json["whole"].as_bool(), json["entry"].as_u64()), (Some(false), Some(3)), "{out}");
}

#[tokio::test]
async fn a_checkpoint_of_another_key_is_a_mismatch() {
    let (folder, _) = place(2).await;
    let other = SigningKey::generate("onward/R9Z").expect("a key");
    let public = folder.path().join("other.pub");
    std::fs::write(&public, other.verifying_key().to_string()).expect("writable");
    let (outcome, out) = audit(&folder, &["verify", "--verifier", public.to_str().expect("UTF-8")]).await;
    assert_eq!(outcome, Ok(Exit::No), "{out}");
    assert!(out.contains("the stored checkpoint"), "{out}");
    std::fs::remove_file(folder.path().join("audit-signing.key")).expect("there");
    assert_eq!(audit(&folder, &["verify"]).await.0, Err(Exit::Usage), "without a key nothing is claimed");
}

#[tokio::test]
async fn an_export_is_complete_and_is_itself_the_last_entry() {
    let (folder, _) = place(3).await;
    let (outcome, out) = audit(&folder, &["export"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let events: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event["resourceType"] == "AuditEvent"));
    assert!(out.lines().last().is_some_and(|line| line.contains("export of the whole audit log")), "{out}");
}
