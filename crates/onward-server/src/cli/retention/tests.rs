use clap::Parser as _;
use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::store::Lifted;
use onward_core::{Timestamp, TransferId};
use onward_gateway::journal::Journal;
use onward_ledger::SigningKeys;
use tempfile::TempDir;

use crate::cli::terminal::capture;
use crate::cli::{Cli, Exit};

const PERSON: &str = "9990000018";
const HELD: &str = "9990000026";

/// A gateway's folder whose log has an old entry about each of two people, one under a legal hold.
async fn place() -> (TempDir, SigningKeys) {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n[retention]\nmessages_days = 30\npeople_days = 30\n\
                decisions_days = 30\n";
    std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
    crate::store_keys::add_key(&folder.path().join("store.key"), crate::cli::open::now()).expect("a key");
    let key = SigningKeys::generate("onward/R9Z").expect("a key");
    let secret = key.to_secret_text().expect("text");
    std::fs::write(folder.path().join("audit-signing.key"), secret.as_bytes()).expect("writable");
    let config = crate::cli::open::ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.store().await.expect("a store");
    let own = "R9Z".parse().expect("a code");
    let journal = Journal::new(&own, "https://gateway.example");
    for number in [PERSON, HELD] {
        let patient = number.parse().expect("a test number");
        let agent = crate::cli::open::operator(&own);
        let entry = AuditEntry {
            patient: Some(patient),
            transfer: Some(TransferId::random()),
            ..AuditEntry::new(AuditWord::Accept, Timestamp::UNIX_EPOCH, agent, "in")
        };
        store.audit(vec![journal.row(&entry)]).await.expect("committed");
    }
    let held = HELD.parse().expect("a test number");
    let order = onward_core::store::LegalHoldOrder {
        id: uuid::Uuid::new_v4(),
        reason: "inquest".to_owned(),
        by: "Cy".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    store.place_legal_hold(&held, order.clone(), Vec::new()).await.expect("committed");
    // One that was lifted long ago.
    let over = onward_core::store::LegalHoldOrder { id: uuid::Uuid::new_v4(), ..order };
    store.place_legal_hold(&held, over.clone(), Vec::new()).await.expect("committed");
    assert_eq!(store.lift_legal_hold(over.id, "Dot", Timestamp::UNIX_EPOCH, Vec::new()).await, Ok(Lifted::Yes));
    (folder, key)
}

async fn onward(folder: &TempDir, line: &str) -> (Exit, String) {
    let config = folder.path().join("gateway.toml").display().to_string();
    let words = ["onward"].into_iter().chain(line.split_whitespace()).chain(["--config", &config]);
    let cli = Cli::try_parse_from(words).expect("parses");
    let (mut terminal, out, err) = capture::terminal();
    let exit = cli.run_on(None, &mut terminal).await;
    (exit, out.text() + &err.text())
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).expect("JSON")
}

#[tokio::test]
async fn a_plan_comes_before_the_run_and_is_carried_out_once() {
    let (folder, key) = place().await;
    let nobody = uuid::Uuid::new_v4();
    let (exit, said) = onward(&folder, &format!("retention run {nobody} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("no such plan"), "{said}");
    let (exit, said) = onward(&folder, "retention plan --json").await;
    assert_eq!(exit, Exit::Done, "{said}");
    let plan = json(&said);
    assert_eq!((plan["people"].as_u64(), plan["people_kept"].as_u64()), (Some(1), Some(1)), "{said}");
    assert_eq!(plan["rows"], serde_json::json!([{ "class": "decisions", "due": 1, "kept": 0 }]));
    let id = plan["plan"].as_str().expect("an identifier").to_owned();
    let (exit, said) = onward(&folder, &format!("retention run {id} --by Bea")).await;
    assert!(exit == Exit::No && said.contains("--yes"), "{said}");
    let (exit, said) = onward(&folder, &format!("retention certificate {id}")).await;
    assert!(exit == Exit::No, "{said}");

    let out = folder.path().join("certificate.txt");
    let (exit, said) = onward(&folder, &format!("retention run {id} --by Bea --yes --out {}", out.display())).await;
    assert_eq!(exit, Exit::Done, "{said}");
    let note = std::fs::read_to_string(&out).expect("written");
    let text = key.verifying_keys().verified_text(&note).expect("signed by the log's key");
    assert!(
        text.contains("carried out by Bea") && text.contains("people 1: 1 keys destroyed, 1 people kept"),
        "{text}"
    );
    assert!(text.contains("decisions: 1 removed, 0 kept"), "{text}");
    for number in [PERSON, HELD] {
        assert!(!note.contains(number), "no patient data");
    }
    let (_, kept) = onward(&folder, &format!("retention certificate {id}")).await;
    assert_eq!(kept, note);

    let (exit, said) = onward(&folder, &format!("retention run {id} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("was carried out"), "{said}");
    let (exit, said) = onward(&folder, "retention plan --json").await;
    assert_eq!((exit, json(&said)["people"].as_u64()), (Exit::Done, Some(0)), "nothing more: {said}");
    let (exit, said) = onward(&folder, "audit verify --json").await;
    assert_eq!((exit, json(&said)["erased"].as_u64()), (Exit::Done, Some(1)), "the log explains what is gone: {said}");
    let (_, said) = onward(&folder, "audit export").await;
    assert!(said.contains(&format!("retention plan {id} carried out by Bea")), "every run is audited: {said}");
}

#[tokio::test]
async fn a_plan_that_is_not_what_is_due_any_more_is_refused() {
    let (folder, _) = place().await;
    let (_, said) = onward(&folder, "retention plan --json").await;
    let id = json(&said)["plan"].as_str().expect("an identifier").to_owned();
    // Asking about the person is a record about them: their time begins anew.
    assert_eq!(onward(&folder, &format!("audit who --nhs-number {PERSON}")).await.0, Exit::Done);
    let (exit, said) = onward(&folder, &format!("retention run {id} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("not what was planned"), "{said}");
    let text = std::fs::read_to_string(folder.path().join("gateway.toml")).expect("readable");
    std::fs::write(folder.path().join("gateway.toml"), text.replace("_days = 30", "_days = 0")).expect("writable");
    let (exit, said) = onward(&folder, "retention plan").await;
    assert!(exit == Exit::No && said.contains("people_days"), "{said}");
}

#[tokio::test]
async fn a_run_that_stops_midway_is_certified_with_what_it_removed_and_why_it_stopped() {
    use super::{Desk, RetentionCommand, Work, schedule};
    let (folder, key) = place().await;
    let (_, said) = onward(&folder, "retention plan --json").await;
    let id = json(&said)["plan"].as_str().expect("an identifier").to_owned();
    let config = crate::cli::open::ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (config, store) = config.existing_store().await.expect("a store");
    let plan = store.retention_plan(id.parse().expect("a UUID")).await.expect("readable").expect("kept");
    let schedule = schedule(&config.retention, plan.made);
    let due = store.retention_due(&schedule).await.expect("readable");
    // After the run has looked at what is due, and before it comes to the person.
    assert_eq!(onward(&folder, &format!("audit who --nhs-number {PERSON}")).await.0, Exit::Done);
    let words = ["onward", "retention", "run", &id, "--by", "Bea", "--yes"];
    let Ok(Cli { command: crate::cli::Command::Retention(RetentionCommand::Run(command)), .. }) =
        Cli::try_parse_from(words)
    else {
        panic!("another command")
    };
    let desk = Desk::new(&config).expect("an organisation");
    let work = Work { store: store.as_ref(), desk: &desk, command: &command, schedule: &schedule, due: &due };
    let (mut terminal, out, _) = capture::terminal();
    let failure = work.carried_out(&plan, &key, &mut terminal).await.expect_err("it stops");
    terminal.finish().expect("written");
    assert_eq!(failure.exit, Exit::No);
    let said = format!("{:#}", failure.error);
    assert!(said.contains("stopped midway") && said.contains("make a new plan for the rest"), "{said}");

    let (exit, note) = onward(&folder, &format!("retention certificate {id}")).await;
    assert_eq!((exit, &note), (Exit::Done, &out.text()), "what was printed is kept");
    let text = key.verifying_keys().verified_text(&note).expect("signed by the log's key");
    for line in
        ["decisions: 1 removed, 0 kept", "people 0: 0 keys destroyed", "stopped because something about a person"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, said) = onward(&folder, "audit export").await;
    assert!(said.contains(&format!("retention plan {id} begun by Bea and stopped because")), "{said}");
    let (exit, said) = onward(&folder, &format!("retention run {id} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("begun and stopped"), "{said}");

    // Nothing was removed: nothing to certify, and the failure is told as it is.
    let (_, said) = onward(&folder, "retention plan --json").await;
    let id = json(&said)["plan"].as_str().expect("an identifier").to_owned();
    let plan = store.retention_plan(id.parse().expect("a UUID")).await.expect("readable").expect("kept");
    let due = super::Due { rows: Vec::new(), ..due.clone() };
    let work = Work { due: &due, ..work };
    let failure = work.carried_out(&plan, &key, &mut terminal).await.expect_err("it stops");
    assert!(!format!("{:#}", failure.error).contains("midway"), "{:#}", failure.error);
    assert_eq!(onward(&folder, &format!("retention certificate {id}")).await.0, Exit::No);
}

/// What was removed is certified, also where the store can keep nothing any more.
#[tokio::test]
async fn a_certificate_that_cannot_be_kept_is_handed_out() {
    let (folder, key) = place().await;
    let (_, said) = onward(&folder, "retention plan --json").await;
    let id = json(&said)["plan"].as_str().expect("an identifier").to_owned();
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    let full = "CREATE TRIGGER full BEFORE UPDATE ON retention_plans BEGIN SELECT RAISE(ABORT, 'full'); END";
    file.execute_batch(full).expect("runs");
    let out = folder.path().join("certificate.txt");
    let (exit, said) = onward(&folder, &format!("retention run {id} --by Bea --yes --out {}", out.display())).await;
    assert!(exit == Exit::Fault && said.contains("keep the certificate that was printed"), "{said}");
    let note = std::fs::read_to_string(&out).expect("written");
    let text = key.verifying_keys().verified_text(&note).expect("signed by the log's key");
    assert!(text.contains("people 1: 1 keys destroyed"), "{text}");
    assert_eq!(onward(&folder, &format!("retention certificate {id}")).await.0, Exit::No, "it was not kept");
}
