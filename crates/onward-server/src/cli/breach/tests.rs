use clap::Parser as _;
use onward_core::audit::{Agent, AuditRow};
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_gateway::journal::Journal;
use tempfile::TempDir;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command as Any};

fn ods(code: &str) -> OdsCode {
    code.parse().expect("an ODS code")
}

fn at(minute: i64) -> Timestamp {
    "2026-11-18T09:00:00Z".parse::<Timestamp>().expect("a moment") + jiff::SignedDuration::from_mins(minute)
}

/// Something that somebody did about a person, so many minutes after nine.
fn row(word: AuditWord, minute: i64, agent: Agent, patient: &str, recipient: Option<&str>) -> AuditRow {
    Journal::new(&ods("R9Z"), "https://gateway.example").row(&AuditEntry {
        patient: Some(patient.parse().expect("a test number")),
        delivery: Some(onward_core::DeliveryId::random()),
        recipient: recipient.map(ods),
        ..AuditEntry::new(word, at(minute), agent, "detail")
    })
}

async fn place() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n";
    std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
    let key = onward_ledger::SigningKeys::generate("onward/R9Z").expect("a key");
    let secret = key.to_secret_text().expect("text");
    std::fs::write(folder.path().join("audit-signing.key"), secret.as_bytes()).expect("writable");
    crate::store_keys::add_key(&folder.path().join("store.key"), now()).expect("a key");
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.store().await.expect("a store");
    let home = || Agent { role: Some("care-home"), ..Agent::named("rowan-house", Some(ods("VMH01"))) };
    let rows = vec![
        row(AuditWord::Read, -1, home(), "9990000026", None),
        row(AuditWord::Read, 5, home(), "9990000018", None),
        row(AuditWord::Read, 9, home(), "9990000018", None),
        row(AuditWord::ReadTask, 10, Agent::named("=cmd()", Some(ods("R9Y"))), "9990000034", None),
        row(AuditWord::Intend, 11, Agent::gateway(), "9990000042", Some("VMH01")),
        row(AuditWord::Accept, 12, Agent::named("ward", Some(ods("R9Z"))), "9990000026", None),
        row(AuditWord::Read, 60, home(), "9990000026", None),
    ];
    store.audit(rows).await.expect("committed");
    let client = Client {
        id: "rowan-house".to_owned(),
        ods: ods("VMH01"),
        role: Role::CareHome,
        jwks: "{\"keys\":[]}".to_owned(),
        certificate_sha256: None,
        mesh_mailbox: None,
        nhs_number_policy: NhsNumberPolicy::Hold,
        disabled: true,
        under: None,
    };
    let entry = AuditEntry::new(
        AuditWord::Configure,
        at(30),
        Agent::operator(&ods("R9Z"), None),
        "client rowan-house disabled",
    );
    let disabled = Journal::new(&ods("R9Z"), "https://gateway.example").row(&entry);
    store.put_client(client, vec![disabled]).await.expect("committed");
    folder
}

async fn breach(folder: &TempDir, arguments: &[&str]) -> (Result<Exit, Exit>, String) {
    let file = folder.path().join("gateway.toml");
    let config = ["--config", file.to_str().expect("UTF-8")];
    let cli = Cli::try_parse_from(["onward", "breach"].iter().chain(arguments).chain(&config)).expect("parses");
    let Any::Breach(command) = cli.command else { panic!("another command") };
    let (mut terminal, out, _) = capture::terminal();
    let outcome = run(&command, &mut terminal).await.map_err(|failure| failure.exit);
    terminal.finish().expect("written");
    (outcome, out.text())
}

const WINDOW: [&str; 7] =
    ["pack", "--from", "2026-11-18T09:00:00Z", "--to", "2026-11-18T10:00:00Z", "--reason", "key published"];

#[tokio::test]
async fn a_pack_says_whose_records_who_when_what_was_done_and_what_is_open() {
    let folder = place().await;
    let out = folder.path().join("pack");
    let path = out.to_str().expect("UTF-8");
    let arguments = [&WINDOW[..], &["--recipient", "VMH01", "--out", path, "--json"]].concat();
    let (outcome, told) = breach(&folder, &arguments).await;
    assert_eq!(outcome, Ok(Exit::Done), "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((told["people"].as_u64(), told["exposures"].as_u64()), (Some(2), Some(3)), "{told}");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("there");
    let people = read("people.csv");
    let lines: Vec<&str> = people.lines().collect();
    assert_eq!(lines.len(), 3, "{people}");
    assert_eq!(lines[1], "9990000018,2,2026-11-18T09:05:00Z,2026-11-18T09:09:00Z,VMH01");
    assert!(lines[2].starts_with("9990000042,1,"), "what was begun and never ended may have arrived: {people}");
    assert!(read("exposures.csv").contains("rowan-house,care-home,VMH01,9990000018"));
    assert!(read("actions.csv").contains("client rowan-house disabled"), "containment");
    let page = read("index.html");
    for words in ["Records of <b>2</b> people", "key published", "Art 33(3)(c)", "72 hours", "the organisation VMH01"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("9990000018"), "the page itself names nobody");
    assert_eq!(breach(&folder, &["check", path]).await.0, Ok(Exit::Done));

    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let log = store.audit_entries(0, 1_000).await.expect("readable");
    let about: Vec<_> = log[8..].iter().map(|entry| entry.columns.patient.as_deref()).collect();
    assert_eq!(about, [None, Some("9990000018"), Some("9990000042")], "the pack is told to everybody in it");

    std::fs::write(out.join("people.csv"), people.replace("9990000018", "9990000069")).expect("writable");
    let (outcome, told) = breach(&folder, &["check", path]).await;
    assert!(outcome == Ok(Exit::No) && told.contains("people.csv was changed"), "{told}");
}

#[tokio::test]
async fn a_pack_is_narrowed_to_a_client_and_empty_ones_are_not_written() {
    let folder = place().await;
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (client, all, none) = (path("client"), path("all"), path("none"));
    let pack = |further: &[&str]| [&WINDOW[..], further].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let by = |arguments: Vec<String>| {
        let folder = &folder;
        async move { breach(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    assert_eq!(by(pack(&["--client", "rowan-house", "--out", &client])).await.0, Ok(Exit::Done));
    let people = std::fs::read_to_string(folder.path().join("client/people.csv")).expect("there");
    assert!(people.contains("9990000018") && !people.contains("9990000042"), "{people}");
    assert_eq!(by(pack(&["--out", &all])).await.0, Ok(Exit::Done));
    let exposures = std::fs::read_to_string(folder.path().join("all/exposures.csv")).expect("there");
    assert!(exposures.contains(",'=cmd(),"), "no spreadsheet computes it: {exposures}");
    assert_eq!(by(pack(&["--recipient", "VMH09", "--out", &none])).await.0, Err(Exit::No));
    assert_eq!(by(pack(&["--client", "nobody", "--out", &none])).await.0, Err(Exit::No));
    assert_eq!(
        by(pack(&["--client", "rowan-house", "--out", &client])).await.0,
        Err(Exit::Usage),
        "nothing is overwritten"
    );
    assert!(!folder.path().join("none").exists());
}

/// Whoever looked at a list saw everybody who stood on it.
#[tokio::test]
async fn a_list_exposes_everybody_who_stood_on_it() {
    use crate::cli::hold::tests::{DISCHARGE, accepted};
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (store, journal) = (app.gateway.store(), app.gateway.journal());
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let person = transfer.patient.expect("traced");
    let key = onward_ledger::SigningKeys::generate("onward/R9Z").expect("a key").to_secret_text().expect("text");
    std::fs::write(folder.path().join("audit-signing.key"), key.as_bytes()).expect("writable");
    let shown = format!("{},{}", transfer.deliveries[0].id, onward_core::DeliveryId::random());
    let reader = Agent::named("Pat Moore", Some(ods("VMH01")));
    let entry = AuditEntry {
        query: Some(format!("inbox?show=open&shown={shown}")),
        ..AuditEntry::new(AuditWord::Query, now(), reader, "list of arrivals")
    };
    store.audit(vec![journal.row(&entry)]).await.expect("committed");
    let out = folder.path().join("pack");
    let (from, to) = (now() - jiff::SignedDuration::from_hours(1), now() + jiff::SignedDuration::from_hours(1));
    let (from, to) = (from.to_string(), to.to_string());
    let path = out.to_str().expect("UTF-8");
    let arguments = ["pack", "--from", &from, "--to", &to, "--reason", "x", "--recipient", "VMH01", "--out", path];
    let (outcome, told) = breach(&folder, &arguments).await;
    assert_eq!(outcome, Ok(Exit::Done), "{told}");
    let exposures = std::fs::read_to_string(out.join("exposures.csv")).expect("there");
    assert_eq!(exposures.matches("Pat Moore").count(), 1, "the other copy is nobody's: {exposures}");
    let row = exposures.lines().find(|line| line.contains("Pat Moore")).expect("a row");
    assert!(row.contains(person.expose()) && row.contains(&transfer.deliveries[0].id.to_string()), "{row}");
}
