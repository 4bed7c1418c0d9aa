use clap::Parser as _;
use onward_core::audit::{Agent, AuditEntry, AuditQuery, Basis, Lists, StoredCheckpoint};
use onward_core::client::Role;
use onward_gateway::explore::Found;
use onward_gateway::sent::{Taken, sent};
use onward_gateway::sightings::{Showed, shown_by};
use onward_ledger::{Checkpoint, Tree};
use tempfile::TempDir;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

/// A gateway's folder whose log holds `entries` entries, with a signed checkpoint over all of them.
async fn place(entries: usize) -> (TempDir, SigningKeys) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gateway.toml"), "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n")
        .expect("writable");
    crate::store_keys::add_key(&folder.path().join("store.key"), crate::cli::open::now()).expect("a key");
    let (config, store) = config(&folder).store().await.expect("a store");
    let desk = Desk::new(&config).expect("an organisation");
    for entry in 0..entries {
        store.audit(vec![desk.row(AuditWord::Configure, format!("entry {entry}"))]).await.expect("committed");
    }
    let key = SigningKeys::generate("onward/R9Z").expect("a key");
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
    assert_eq!(
        (json["whole"].as_bool(), json["entries"].as_u64()),
        (Some(true), Some(6)),
        "the first verification is an entry"
    );
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
    assert_eq!(json["logged"].as_bool(), Some(false), "{out}");
    let (_, store) = config(&folder).existing_store().await.expect("a store");
    assert_eq!(store.audit_size().await, Ok(3), "nothing stands where the cut is");
    let (_, said) = audit(&folder, &["verify", "--checkpoint", file.to_str().expect("UTF-8")]).await;
    assert!(said.contains("no entry of this verification was kept: the log has 3 entries and had 4"), "{said}");
    drop(store);
    let database = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    database
        .execute_batch("DELETE FROM audit_parties WHERE position = 2; DELETE FROM audit_log WHERE position = 2")
        .expect("runs");
    let (outcome, said) = audit(&folder, &["verify"]).await;
    assert!(outcome == Ok(Exit::No) && said.contains("the log has 2 entries and had 3"), "by the stored one: {said}");
}

/// A key or a file that somebody mistook says nothing of the log, and what was found before the log was cut back holds no longer.
#[tokio::test]
async fn others_are_told_only_what_was_said_of_this_log() {
    let (folder, _) = place(3).await;
    let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
    std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
    let people = include_str!("../../../../../config/examples/pds-stand-in.toml");
    std::fs::write(folder.path().join("people.toml"), people).expect("writable");
    let app = config(&folder).app().await.expect("wired");
    let others = async || app.gateway.last_verification_by_anybody().await.expect("readable").map(|(found, _)| found);
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    assert_eq!(others().await, Some(Found::Whole));
    let other = SigningKeys::generate("onward/R9Z").expect("a key");
    let public = folder.path().join("other.pub");
    std::fs::write(&public, other.verifying_keys().to_string()).expect("writable");
    let mistaken = ["verify", "--verifier", public.to_str().expect("UTF-8")];
    assert_eq!(audit(&folder, &mistaken).await.0, Ok(Exit::No));
    assert_eq!(others().await, None);
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    assert_eq!(others().await, Some(Found::Whole));
    let (store, note) = (app.gateway.store(), "of more than there is".to_owned());
    let size = store.audit_size().await.expect("readable") + 1;
    store.put_checkpoint(StoredCheckpoint { size, note }).await.expect("committed");
    assert_eq!(others().await, None, "cut back");
}

#[tokio::test]
async fn a_checkpoint_of_another_key_is_a_mismatch() {
    let (folder, _) = place(2).await;
    let other = SigningKeys::generate("onward/R9Z").expect("a key");
    let public = folder.path().join("other.pub");
    std::fs::write(&public, other.verifying_keys().to_string()).expect("writable");
    let (outcome, out) = audit(&folder, &["verify", "--verifier", public.to_str().expect("UTF-8")]).await;
    assert_eq!(outcome, Ok(Exit::No), "{out}");
    assert!(out.contains("the stored checkpoint"), "{out}");
    std::fs::remove_file(folder.path().join("audit-signing.key")).expect("there");
    assert_eq!(audit(&folder, &["verify"]).await.0, Err(Exit::Usage), "without a key nothing is claimed");
}

#[tokio::test]
async fn an_export_is_complete_and_its_entry_says_how_far_it_went() {
    let (folder, _) = place(3).await;
    let (outcome, out) = audit(&folder, &["export"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let events: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event["resourceType"] == "AuditEvent"));
    let (_, store) = config(&folder).existing_store().await.expect("a store");
    let exports = AuditQuery { lists: Some(Lists::Exports), limit: 9, ..AuditQuery::default() };
    let [told] = &store.search_audit(exports).await.expect("readable")[..] else { panic!("one export") };
    assert!(String::from_utf8_lossy(told.event.as_deref().expect("kept")).contains("export of the whole audit log"));
    let carried = Carried { organisation: None, from: None, until: None, before: 3 };
    assert_eq!(shown_by(told), Showed::Entries(carried));
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done), "what it carried stands beside it as in it");
}

/// Whoever has all of an export finds its end in the log.
#[tokio::test]
async fn without_the_entry_of_its_end_the_last_line_of_an_export_does_not_leave() {
    let (folder, _) = place(3).await;
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute_batch(
        "CREATE TRIGGER no_end BEFORE INSERT ON audit_log WHEN NEW.word = 'export'
         BEGIN SELECT RAISE(ABORT, 'no end'); END",
    )
    .expect("runs");
    let (outcome, out) = audit(&folder, &["export"]).await;
    assert!(outcome.is_err() && out.lines().count() == 2 && !out.contains("entry 2"), "{outcome:?}: {out}");
    let out = path(&folder, "log.ndjson");
    let files = || std::fs::read_dir(folder.path()).expect("readable").count();
    let before = files();
    assert!(audit(&folder, &["export", "--evidence", "--out", &out]).await.0.is_err());
    assert!(!std::path::Path::new(&out).exists() && files() == before, "nor a file that is not whole");
    file.execute_batch("DROP TRIGGER no_end").expect("runs");
    let (outcome, text) = audit(&folder, &["export"]).await;
    assert_eq!((outcome, text.lines().count()), (Ok(Exit::Done), 5), "{text}");

    // An entry that cannot be read stops it half way.
    file.execute_batch(
        "CREATE TABLE kept AS SELECT * FROM audit_log; UPDATE audit_log SET event = substr(event, 2) WHERE position = 3",
    )
    .expect("runs");
    assert!(audit(&folder, &["export", "--evidence", "--out", &out]).await.0.is_err());
    assert!(!std::path::Path::new(&out).exists() && files() == before);
    file.execute_batch("UPDATE audit_log SET event = (SELECT event FROM kept WHERE position = 3) WHERE position = 3")
        .expect("runs");
    assert_eq!(audit(&folder, &["export", "--evidence", "--out", &out]).await.0, Ok(Exit::Done), "the name is free");
    let written = std::fs::read_to_string(&out).expect("a file");
    assert!(written.lines().count() == 8 && files() == before + 1, "{written}");
}

/// A path of the folder, as an argument.
fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("UTF-8").to_owned()
}

/// An entry that leaves with its proof stands in the matrix of what was sent; a proof without it carries nothing.
#[tokio::test]
async fn an_entry_that_leaves_with_its_proof_is_told_from_its_bytes() {
    let (folder, _) = place(3).await;
    let (_, store) = config(&folder).existing_store().await.expect("a store");
    let evidence = async || {
        let found = sent(store.as_ref(), &[], (None, None), |_| ()).await.expect("readable");
        let mut taken = found.taken.into_iter().filter(|((taken, ..), _)| *taken == Taken::Evidence);
        taken.next().map(|(_, files)| (files.copies, files.elements.into_keys().collect::<Vec<_>>()))
    };
    let proof = path(&folder, "hash.tlog-proof");
    assert_eq!(audit(&folder, &["prove", "1", "--hash-only", "--out", &proof]).await.0, Ok(Exit::Done));
    assert_eq!(evidence().await, None);
    let proof = path(&folder, "entry.tlog-proof");
    assert_eq!(audit(&folder, &["prove", "1", "--out", &proof]).await.0, Ok(Exit::Done));
    let (files, elements) = evidence().await.expect("handed out");
    assert_eq!(files, 1);
    for element in ["what the log hashes", "envelope AuditEvent.recorded"] {
        assert!(elements.iter().any(|own| own == element), "{element}: {elements:?}");
    }
    let log = store.audit_entries(0, 1_000).await.expect("readable");
    let told = log.last().and_then(|entry| entry.event()).map(String::from_utf8_lossy).expect("an entry");
    let sha256 = crate::listener::sha256_hex(&std::fs::read(&proof).expect("written"));
    assert!(told.contains(&sha256) && told.contains("evidence from the log: proof of entry 1"), "{told}");
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
}

#[tokio::test]
async fn a_proof_of_every_entry_is_checked_without_the_log() {
    let (folder, _) = place(11).await;
    let public = path(&folder, "log.pub");
    assert_eq!(audit(&folder, &["key", "--out", &public]).await.0, Ok(Exit::Done));
    for entry in 0..11 {
        let proof = path(&folder, &format!("{entry}.tlog-proof"));
        assert_eq!(audit(&folder, &["prove", &entry.to_string(), "--out", &proof]).await.0, Ok(Exit::Done));
        let (outcome, out) = audit(&folder, &["check", &proof, "--verifier", &public, "--json"]).await;
        let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(outcome, Ok(Exit::Done), "{out}");
        assert_eq!((told["entry"].as_u64(), told["size"].as_u64()), (Some(entry), Some(11)));
        assert!(told["event"]["outcomeDesc"].as_str().is_some_and(|said| said.contains(&format!("entry {entry}"))));
    }
    assert_eq!(audit(&folder, &["prove", "0", "--out", &public]).await.0, Err(Exit::Fault), "nothing is overwritten");
    let (_, log) = audit(&folder, &["export"]).await;
    assert!(log.contains("proof of entry 7 under a checkpoint of 11"), "handing out an entry is audited");
}

#[tokio::test]
async fn a_proof_without_its_entry_names_nobody_and_needs_the_entry() {
    let (folder, _) = place(4).await;
    let (_, log) = audit(&folder, &["export", "--evidence"]).await;
    let line = log.lines().nth(2).expect("an entry");
    let (_, events) = audit(&folder, &["export"]).await;
    let event: serde_json::Value = serde_json::from_str(events.lines().nth(2).expect("an entry")).expect("JSON");
    let id = event["id"].as_str().expect("an id").to_owned();
    let proof = path(&folder, "bare.tlog-proof");
    assert_eq!(audit(&folder, &["prove", &id, "--hash-only", "--out", &proof]).await.0, Ok(Exit::Done));
    assert!(!std::fs::read_to_string(&proof).expect("readable").contains("extra"));
    assert_eq!(audit(&folder, &["check", &proof]).await.0, Ok(Exit::No), "no entry, nothing proven");
    let entry = path(&folder, "entry.json");
    std::fs::write(&entry, format!("{line}\n")).expect("writable");
    assert_eq!(audit(&folder, &["check", &proof, "--entry", &entry]).await.0, Ok(Exit::Done));
    std::fs::write(&entry, line.replace("entry 2", "entry 3")).expect("writable");
    let (outcome, out) = audit(&folder, &["check", &proof, "--entry", &entry]).await;
    assert_eq!(outcome, Ok(Exit::No));
    assert!(out.starts_with("not proven: "), "{out}");
}

#[tokio::test]
async fn what_no_checkpoint_covers_is_not_proven() {
    let (folder, key) = place(3).await;
    let (config, store) = config(&folder).existing_store().await.expect("a store");
    let desk = Desk::new(&config).expect("an organisation");
    store.audit(vec![desk.row(AuditWord::Configure, "after the checkpoint")]).await.expect("committed");
    assert_eq!(audit(&folder, &["prove", "3"]).await.0, Err(Exit::No));
    assert_eq!(audit(&folder, &["prove", "2b1d5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10"]).await.0, Err(Exit::No));
    let mut tree = Tree::new();
    (0..2_u8).for_each(|leaf| {
        tree.push([leaf; 32]);
    });
    let other = path(&folder, "another-history.txt");
    let note = key.sign(&Checkpoint::of_tree("onward/R9Z", &tree).expect("a checkpoint")).expect("signed");
    std::fs::write(&other, note).expect("writable");
    assert_eq!(audit(&folder, &["prove", "0", "--checkpoint", &other]).await.0, Err(Exit::No), "another history");
    let kept = path(&folder, "kept.txt");
    assert_eq!(audit(&folder, &["checkpoint", "--out", &kept]).await.0, Ok(Exit::Done));
    assert_eq!(audit(&folder, &["prove", "2", "--checkpoint", &kept]).await.0, Ok(Exit::Done));
}

#[tokio::test]
async fn who_saw_a_patient_is_told_from_the_oldest_and_is_itself_audited() {
    let (folder, _) = place(2).await;
    let (config, store) = config(&folder).existing_store().await.expect("a store");
    let desk = Desk::new(&config).expect("an organisation");
    let patient: onward_core::NhsNumber = "9990000018".parse().expect("a test number");
    let journal = onward_gateway::journal::Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
    let at = |second: i64| onward_core::Timestamp::from_second(1_795_000_000 + second).expect("in range");
    let home = Agent {
        role: Some(Role::CareHome.as_str()),
        ..Agent::named("rowan-house", Some("VMH01".parse().expect("a code")))
    };
    let about = |word, second, agent, recipient: Option<&str>| {
        journal.row(&AuditEntry {
            patient: Some(patient.clone()),
            delivery: Some(onward_core::DeliveryId::random()),
            recipient: recipient.map(|code| code.parse().expect("a code")),
            basis: Some(Basis::care("direct care")),
            ..AuditEntry::new(word, at(second), agent, "detail")
        })
    };
    let other = desk.row_about(AuditWord::Query, "somebody else", Some("9990000026".parse().expect("a test number")));
    let rows = vec![
        about(AuditWord::Read, 9, home, None),
        about(AuditWord::Disclose, 5, Agent::gateway(), Some("VMH02")),
        other,
    ];
    store.audit(rows).await.expect("committed");
    let (outcome, out) = audit(&folder, &["who", "--nhs-number", "999 000 0018", "--json"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<[&str; 5]> = rows
        .iter()
        .map(|row| ["who", "role", "organisation", "what", "basis"].map(|key| row[key].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(
        told,
        [
            ["VMH02", "-", "VMH02", "disclose", "direct care"],
            ["rowan-house", "care-home", "VMH01", "read", "direct care"],
        ]
    );
    assert!(!out.contains("9990000018"), "the answer does not repeat the number");
    let (_, table) = audit(&folder, &["who", "--nhs-number", "9990000018"]).await;
    assert!(table.starts_with("when") && table.contains("query") && table.contains("operator"), "{table}");
    let nobody = audit(&folder, &["who", "--nhs-number", "9990000034"]).await;
    assert_eq!(nobody.0, Ok(Exit::No));
    assert_eq!(audit(&folder, &["who", "--nhs-number", "9990000019"]).await.0, Err(Exit::Usage), "check digit");
}

#[tokio::test]
async fn who_saw_a_patient_on_a_list_is_told_too() {
    use crate::cli::hold::tests::{DISCHARGE, accepted};
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (store, journal) = (app.gateway.store(), app.gateway.journal());
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let list = |who: &str, shown: String| {
        journal.row(&AuditEntry {
            query: Some(format!("inbox?show=open&shown={shown}")),
            ..AuditEntry::new(AuditWord::Query, crate::cli::open::now(), Agent::named(who, None), "list of arrivals")
        })
    };
    let other = onward_core::DeliveryId::random();
    let shown = format!("{other},{}", transfer.deliveries[0].id);
    store.audit(vec![list("Pat Moore", shown), list("Sam Reed", other.to_string())]).await.expect("committed");
    let (outcome, out) = audit(&folder, &["who", "--nhs-number", "9990000018", "--json"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let lists: Vec<_> = rows.iter().filter(|row| row["what"] == "query, on a list").collect();
    assert!(lists.len() == 1 && lists[0]["who"] == "Pat Moore", "{out}");

    // Whoever has the log has what it says about everybody; who came later is not in it.
    assert_eq!(audit(&folder, &["export"]).await.0, Ok(Exit::Done));
    let late: onward_core::NhsNumber = "9990000026".parse().expect("a test number");
    let desk = crate::cli::open::Desk::new(&config(&folder).load().expect("right").config).expect("an organisation");
    store.audit(vec![desk.row_about(AuditWord::Read, "after the export", Some(late))]).await.expect("committed");
    for (number, exports) in [("9990000018", 1), ("9990000026", 0)] {
        let (_, out) = audit(&folder, &["who", "--nhs-number", number, "--json"]).await;
        assert_eq!(out.matches("query, in an export").count(), exports, "{number}: {out}");
    }
}

/// What stands beside an entry to be found by is judged: whoever can write the store could hide who looked.
#[tokio::test]
async fn a_list_that_is_hidden_from_who_asks_is_found_by_the_verifier() {
    let (folder, _) = place(2).await;
    let (_, store) = config(&folder).existing_store().await.expect("a store");
    let journal = onward_gateway::journal::Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
    let copy = onward_core::DeliveryId::random();
    let entry = AuditEntry {
        query: Some(format!("inbox?show=open&shown={copy}")),
        ..AuditEntry::new(AuditWord::Query, crate::cli::open::now(), Agent::named("Pat Moore", None), "list")
    };
    store.audit(vec![journal.row(&entry)]).await.expect("committed");
    drop(store);
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    for change in [
        "DELETE FROM audit_shown",
        "INSERT INTO audit_shown (subject, position) VALUES ('5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10', 2)",
        "UPDATE audit_shown SET subject = '*'",
    ] {
        file.execute_batch("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM audit_shown").expect("runs");
        file.execute_batch(change).expect("runs");
        let (outcome, out) = audit(&folder, &["verify"]).await;
        assert!(outcome == Ok(Exit::No) && out.contains("entry 2"), "{change}: {out}");
        let restore = "DELETE FROM audit_shown WHERE position <= (SELECT max(position) FROM kept);
                       INSERT INTO audit_shown SELECT * FROM kept";
        file.execute_batch(restore).expect("runs");
        assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    }
}

#[tokio::test]
async fn an_export_that_is_hidden_from_who_asks_for_it_is_found_by_the_verifier() {
    let (folder, _) = place(2).await;
    assert_eq!(audit(&folder, &["export"]).await.0, Ok(Exit::Done));
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    for half in [2, 3] {
        let take = "DELETE FROM audit_shown WHERE position = ? AND subject LIKE 'export/%' RETURNING subject";
        let subject: String = file.query_row(take, [half], |row| row.get(0)).expect("it names its export");
        let (outcome, out) = audit(&folder, &["verify"]).await;
        assert!(outcome == Ok(Exit::No) && out.contains(&format!("entry {half}")), "{out}");
        let put = "INSERT INTO audit_shown (subject, position) VALUES (?, ?)";
        file.execute(put, rusqlite::params![subject, half]).expect("runs");
        assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    }
}

/// An IG lead sees her organisation's entries by what they are filed under: that too is judged.
#[tokio::test]
async fn an_entry_that_is_hidden_from_an_organisation_is_found_by_the_verifier() {
    use crate::cli::hold::tests::{DISCHARGE, accepted};
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (store, journal) = (app.gateway.store(), app.gateway.journal());
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let read = journal.row(&AuditEntry {
        transfer: Some(receipt.transfer),
        delivery: Some(transfer.deliveries[0].id),
        ..AuditEntry::new(AuditWord::Read, crate::cli::open::now(), Agent::gateway(), "record")
    });
    store.audit(vec![read]).await.expect("committed");
    drop(app);
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    let keep = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM audit_parties";
    // What the verifications themselves are filed under stays.
    let restore = "DELETE FROM audit_parties WHERE organisation = 'ZZZ99' OR position <= (SELECT max(position) FROM kept); INSERT INTO audit_parties SELECT * FROM kept";
    // The sender, a recipient and an agent lose an entry; a stranger gains one; an entry is filed at another time.
    let (of_sender, of_recipient) = (
        "position IN (SELECT a.position FROM audit_log a JOIN transfers t ON t.id = a.transfer AND t.sender = audit_parties.organisation)",
        "position IN (SELECT a.position FROM audit_log a JOIN deliveries d ON d.id = a.delivery AND d.recipient = audit_parties.organisation)",
    );
    for change in [
        format!("DELETE FROM audit_parties WHERE {of_sender}"),
        format!("DELETE FROM audit_parties WHERE {of_recipient}"),
        "DELETE FROM audit_parties WHERE position IN (SELECT position FROM audit_log WHERE organisation IS NOT NULL)"
            .into(),
        "INSERT INTO audit_parties SELECT 'ZZZ99', recorded, position FROM audit_log".into(),
        "INSERT INTO audit_parties VALUES ('ZZZ99', 1, 1000000)".into(),
        "UPDATE audit_parties SET recorded = recorded + 1".into(),
    ] {
        file.execute_batch(keep).expect("runs");
        assert!(file.execute(&change, []).expect("runs") > 0, "{change}");
        let (outcome, out) = audit(&folder, &["verify"]).await;
        assert!(outcome == Ok(Exit::No) && out.contains("filed under other organisations"), "{change}: {out}");
        file.execute_batch(restore).expect("runs");
        assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    }
}

/// Whoever answers for the log sees that somebody looked, and what came of it.
#[tokio::test]
async fn a_verification_is_an_entry_whatever_it_comes_to() {
    let (folder, _) = place(3).await;
    let last = async || {
        let (_, store) = config(&folder).existing_store().await.expect("a store");
        let own = Some("R9Z".parse().expect("a code"));
        let query =
            AuditQuery { lists: Some(Lists::Verifications), limit: 9, organisation: own, ..AuditQuery::default() };
        let found = store.search_audit(query).await.expect("readable");
        let newest = found.iter().max_by_key(|entry| entry.index)?;
        let told = super::Told::read(newest.event.as_deref()?)?;
        Some((told.detail, told.success))
    };
    assert_eq!(last().await, None);
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::Done));
    let (words, whole) = last().await.expect("an entry");
    assert!(words.ends_with("audit log verified: whole, 3 entries, 3 under a checkpoint") && whole, "{words}");
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute_batch("UPDATE audit_log SET recorded = recorded + 1 WHERE position = 1").expect("runs");
    assert_eq!(audit(&folder, &["verify"]).await.0, Ok(Exit::No));
    let (words, whole) = last().await.expect("an entry");
    assert!(words.ends_with("audit log verified: broken at entry 1") && !whole, "{words}");
    file.execute_batch("CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'full'); END")
        .expect("runs");
    let (outcome, out) = audit(&folder, &["verify", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((outcome, json["logged"].as_bool()), (Ok(Exit::No), Some(false)), "the verdict stands: {out}");
}
