use clap::Parser as _;
use onward_core::audit::{Agent, AuditRow};
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::store::evidence::PolicyInForce;
use onward_gateway::journal::Journal;
use onward_gateway::sightings::Carried;
use onward_gateway::starts::{Named, Start};
use tempfile::TempDir;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command as Any};

mod exports;

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
    let summary = std::fs::read_to_string(out.join("summary.json")).expect("there");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    let kinds = summary["categories_of_data"].as_array().expect("kinds");
    assert_eq!(kinds.len(), 1, "a list shows a line, and no copy: {summary:#}");
    let data = kinds[0]["data"].to_string();
    assert!(data.contains("date of birth") && !data.contains("section"), "{data}");
}

/// Destroys a person's keys.
pub(in crate::cli) async fn erase(folder: &TempDir, patient: &str) {
    use onward_core::store::{ErasureConfirmation, ErasureGround, ErasureOutcome, ErasureRequest};
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (config, store) = config.existing_store().await.expect("a store");
    let desk = Desk::new(&config).expect("an organisation");
    let request = ErasureRequest {
        id: uuid::Uuid::new_v4(),
        ground: ErasureGround::WrongPerson,
        reason: "case 17".to_owned(),
        by: "Ada".to_owned(),
        at: now(),
    };
    let id = request.id;
    let patient = patient.parse().expect("a test number");
    assert_eq!(store.request_erasure(&patient, request, Vec::new()).await, Ok(true));
    let pending = store.pending_erasures().await.expect("readable");
    let keys = pending.into_iter().find(|pending| pending.request.id == id).expect("waits").keys;
    let audit = vec![desk.row(AuditWord::Erase, format!("erased; keys: {}", keys.join(" ")))];
    let confirmation = ErasureConfirmation { id, by: "Bea".to_owned(), keys, only_from: None, at: now(), audit };
    let outcome = store.confirm_erasure(confirmation).await.expect("committed");
    assert!(matches!(outcome, ErasureOutcome::Erased { .. }), "{outcome:?}");
}

async fn packed(folder: &TempDir, name: &str, further: &[&str]) -> (Result<Exit, Exit>, serde_json::Value, String) {
    let out = folder.path().join(name);
    let arguments = [&WINDOW[..], further, &["--out", out.to_str().expect("UTF-8"), "--json"]].concat();
    let (outcome, told) = breach(folder, &arguments).await;
    let exposures = std::fs::read_to_string(out.join("exposures.csv")).unwrap_or_default();
    (outcome, serde_json::from_str(&told).unwrap_or_default(), exposures)
}

#[tokio::test]
async fn people_who_were_erased_since_are_counted_where_they_belong() {
    let folder = place().await;
    for patient in ["9990000018", "9990000042"] {
        erase(&folder, patient).await;
    }
    // One whose copy a home opened, and one of whom nothing says to whom the copy went: its row is in no store here.
    let (outcome, told, exposures) = packed(&folder, "home", &["--recipient", "VMH01"]).await;
    assert_eq!(outcome, Ok(Exit::Done), "not nobody: {told}");
    assert_eq!((&told["people"], &told["erased_people"], &told["exposures"]), (&1.into(), &1.into(), &2.into()));
    assert!(exposures.contains("rowan-house") && !exposures.contains("99900000"), "{exposures}");
    let (_, told, _) = packed(&folder, "client", &["--client", "rowan-house"]).await;
    assert_eq!((&told["people"], &told["erased_people"]), (&1.into(), &1.into()));
    let (_, told, _) = packed(&folder, "all", &[]).await;
    assert_eq!((&told["people"], &told["erased_people"], &told["exposures"]), (&3.into(), &2.into(), &4.into()));
    assert_eq!(packed(&folder, "other", &["--recipient", "VMH09"]).await.0, Err(Exit::No));
}

#[tokio::test]
async fn a_person_is_known_by_account_and_reveals_and_archives_count() {
    use onward_core::UserId;
    use onward_core::people::{Role, User};
    let folder = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let user = |email: &str, subject: Option<Subject>| User {
        id: UserId::random(),
        // Two people of one name.
        name: "Pat Moore".to_owned(),
        email: email.to_owned(),
        role: Role::InformationGovernance,
        organisations: vec![ods("R9Z")],
        subject,
        disabled: false,
    };
    let subject = Subject { issuer: "https://idp.example".to_owned(), subject: "pat".to_owned() };
    let (one, two) = (user("pat@one.example", Some(subject)), user("pat@two.example", None));
    for person in [&one, &two] {
        store.put_user(person.clone(), None, Vec::new()).await.expect("committed");
    }
    let agent = |user: &User| Agent::person(user, None);
    let rows = vec![
        row(AuditWord::Reveal, 20, agent(&one), "9990000018", None),
        row(AuditWord::SubjectAccess, 21, agent(&one), "9990000026", None),
        row(AuditWord::Reveal, 22, agent(&two), "9990000034", None),
    ];
    store.audit(rows).await.expect("committed");
    let id = one.id.to_string();
    for (name, whom) in [("mail", "pat@one.example"), ("id", &id), ("subject", "https://idp.example#pat")] {
        let (outcome, told, exposures) = packed(&folder, name, &["--user", whom]).await;
        assert_eq!((outcome, &told["people"]), (Ok(Exit::Done), &2.into()), "{whom}: {told}");
        assert!(exposures.contains("reveal") && exposures.contains("subject-access"), "{exposures}");
        assert!(!exposures.contains("9990000034"), "another person of that name: {exposures}");
    }
    let gone = UserId::random().to_string();
    assert_eq!(packed(&folder, "gone", &["--user", &gone]).await.0, Err(Exit::No), "nobody saw anything");
    assert_eq!(packed(&folder, "nobody", &["--user", "nobody@one.example"]).await.0, Err(Exit::No));
}

/// Whoever has a file of the log knows about everybody in it.
#[tokio::test]
async fn an_export_exposes_everybody_whose_entries_it_carried() {
    let folder = place().await;
    erase(&folder, "9990000034").await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let carried = |organisation: &str, before| {
        let carried = Carried { organisation: Some(ods(organisation)), from: None, until: Some(at(40)), before };
        let asked = format!("audit/exports/17?{}", carried.told());
        let agent = Agent::named("Ada Byte", Some(ods(organisation)));
        let entry = AuditEntry { query: Some(asked), ..AuditEntry::new(AuditWord::Query, at(50), agent, "export") };
        Journal::new(&ods("R9Z"), "https://gateway.example").row(&entry)
    };
    // Of the home: entries 0 to 2, about two people. Of the other hospital: entry 3, about the one who was erased since.
    store.audit(vec![carried("VMH01", 3), carried("R9Y", 100)]).await.expect("committed");
    let (_, told, exposures) = packed(&folder, "home", &["--recipient", "VMH01"]).await;
    assert_eq!((&told["people"], &told["exposures"]), (&3.into(), &5.into()), "{exposures}");
    let of_export: Vec<&str> = exposures.lines().filter(|line| line.contains("entries of the audit log")).collect();
    let names = ["9990000018", "9990000026"];
    assert!(
        of_export.len() == 2 && names.iter().zip(&of_export).all(|(name, line)| line.contains(name)),
        "{exposures}"
    );
    let (_, told, _) = packed(&folder, "hospital", &["--recipient", "R9Y"]).await;
    assert_eq!((&told["people"], &told["erased_people"], &told["exposures"]), (&1.into(), &1.into(), &2.into()));
}

/// What leaked went by the policy of then: its kept text tells what a copy held, and where there is none that is said.
#[tokio::test]
async fn a_copy_is_told_by_the_kept_policy_that_made_it() {
    let folder = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (config, store) = config.existing_store().await.expect("a store");
    let kind = onward_core::state::RecipientKind::CareHome;
    let now = &app::load_policies(&config).expect("built in")[&kind];
    let journal = Journal::new(&ods("R9Z"), "https://gateway.example");
    // Two starts, of which the first let more go.
    let text = crate::in_force::policies(&config).expect("readable")[&kind].clone();
    let wider = text
        .replace(&format!("version = \"{}\"", now.version), "version = \"2020-01-01\"")
        .replace("\"birthDate\"", "\"birthDate\", \"maritalStatus\"");
    for (minute, text) in [(1, wider), (15, text)] {
        let kept = PolicyInForce { kind, since: at(minute), text };
        let says = Start::told("one", "x", &[Named::of(&kept)], &[("section a".to_owned(), "b".to_owned())].into());
        let row = journal.row(&AuditEntry::new(AuditWord::Configure, at(minute), Agent::gateway(), says));
        store.put_in_force(vec![kept], vec![row]).await.expect("committed");
    }
    let read = |minute, recipient: &str, basis: &str| {
        journal.row(&AuditEntry {
            patient: Some("9990000018".parse().expect("a test number")),
            delivery: Some(onward_core::DeliveryId::random()),
            basis: Some(onward_core::audit::Basis::care(basis)),
            ..AuditEntry::new(AuditWord::Read, at(minute), Agent::named("pharmacy", Some(ods(recipient))), "detail")
        })
    };
    let of = |version: &str| now.basis().replace(&now.version, version);
    let rows = vec![
        read(20, "FX999", &now.basis()),
        read(21, "FX999", &of("2020-01-01")),
        read(22, "FX998", &of("2019-01-01")),
        // Before it was in force.
        read(14, "FX998", &now.basis()),
    ];
    store.audit(rows).await.expect("committed");
    let (outcome, _, exposures) = packed(&folder, "pharmacy", &["--recipient", "FX999"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let ends = |exposures: &str| {
        let ends = exposures.lines().map(|line| line.rsplitn(3, ',').take(2).map(str::to_owned).collect::<Vec<_>>());
        ends.collect::<Vec<_>>()
    };
    let in_force = format!("care-home {}", now.version);
    assert_eq!(
        ends(&exposures),
        [["policy_text", "policy"], ["its text is kept", &in_force], ["its text is kept", "care-home 2020-01-01"]]
    );
    let read = |pack: &str, name: &str| std::fs::read_to_string(folder.path().join(pack).join(name)).expect("there");
    let page = read("pharmacy", "index.html");
    for words in ["the disclosure policies that made them", "<b>0</b> times", "care-home 2020-01-01: its text is kept"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    let data = |pack: &str| {
        let summary: serde_json::Value = serde_json::from_str(&read(pack, "summary.json")).expect("JSON");
        summary["categories_of_data"][0]["data"].to_string()
    };
    assert!(data("pharmacy").contains("\"Patient.maritalStatus\""), "by the text of then: {}", data("pharmacy"));
    let (_, _, exposures) = packed(&folder, "others", &["--recipient", "FX998"]).await;
    assert_eq!(
        ends(&exposures)[1..],
        [["its text is not kept", &in_force], ["its text is not kept", "care-home 2019-01-01"]]
    );
    let page = read("others", "index.html");
    assert!(
        page.contains("<b>2</b> times") && page.contains("<b>care-home 2019-01-01: its text is not kept</b>"),
        "{page}"
    );
    assert!(!data("others").contains("maritalStatus") && data("others").contains("Patient.name"), "{}", data("others"));
    let (_, _, unnamed) = packed(&folder, "home", &["--recipient", "VMH01"]).await;
    assert!(unnamed.lines().skip(1).all(|line| line.ends_with(",,not named by the entry")), "{unnamed}");
}

/// A stolen backup holds everybody of its moment, whoever was erased since among them.
#[tokio::test]
async fn everybody_whom_the_store_held_at_a_moment_is_told() {
    let folder = place().await;
    let held = async |name: &str, at: Timestamp| {
        let (out, at) = (folder.path().join(name), at.to_string());
        let path = out.to_str().expect("UTF-8");
        let (outcome, told) =
            breach(&folder, &["pack", "--held", &at, "--reason", "stolen", "--out", path, "--json"]).await;
        let people = std::fs::read_to_string(out.join("people.csv")).unwrap_or_default();
        (outcome, serde_json::from_str::<serde_json::Value>(&told).unwrap_or_default(), people)
    };
    assert_eq!(held("too-early", Timestamp::UNIX_EPOCH).await.0, Err(Exit::No), "nothing had come");
    let then = now();
    erase(&folder, "9990000018").await;
    let (outcome, told, people) = held("then", then).await;
    assert_eq!(outcome, Ok(Exit::Done), "{told}");
    let counted = told["people"].as_u64().expect("a number");
    assert!(counted > 1 && people.lines().count() as u64 == counted + 1, "{told}: {people}");
    assert_eq!((told["erased_since"].as_u64(), told["erased_before"].as_u64()), (Some(1), Some(0)), "{told}");
    assert!(people.contains("9990000042") && !people.contains("9990000018"), "{people}");
    let (_, told, people) = held("now", now()).await;
    assert_eq!((told["people"].as_u64(), told["erased_before"].as_u64()), (Some(counted - 1), Some(1)), "{told}");
    assert!(!people.contains("erased"), "who had been erased cannot be read in it: {people}");
    let path = folder.path().join("then");
    assert_eq!(breach(&folder, &["check", path.to_str().expect("UTF-8")]).await.0, Ok(Exit::Done));
    let page = std::fs::read_to_string(path.join("index.html")).expect("there");
    assert!(page.contains("72 hours") && !page.contains("9990000042"), "the page itself names nobody: {page}");
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let log = store.audit_entries(0, 1_000).await.expect("readable");
    let about = log.iter().filter(|entry| entry.columns.patient.as_deref() == Some("9990000042"));
    let packs =
        about.filter(|entry| String::from_utf8_lossy(entry.event().unwrap_or_default()).contains("breach pack"));
    assert_eq!(packs.count(), 2, "each pack is told to everybody in it");
}

/// Anybody can ask about any number: where nothing is held, nobody's data was seen.
#[tokio::test]
async fn whom_somebody_only_asked_about_is_no_patient() {
    let folder = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let lead = || Agent { role: Some("information-governance"), ..Agent::named("Ines", Some(ods("R9Z"))) };
    store.audit(vec![row(AuditWord::Query, 6, lead(), "9990000050", None)]).await.expect("committed");
    let out = folder.path().join("pack");
    let arguments = [&WINDOW[..], &["--out", out.to_str().expect("UTF-8"), "--json"]].concat();
    let (outcome, told) = breach(&folder, &arguments).await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let counts = ["people", "only_asked_about", "erased_people"].map(|name| told[name].as_u64());
    assert_eq!((outcome, counts), (Ok(Exit::Done), [Some(3), Some(1), Some(0)]), "{told}");
    for name in ["people.csv", "exposures.csv"] {
        assert!(!std::fs::read_to_string(out.join(name)).expect("there").contains("9990000050"), "{name}");
    }
    let held = folder.path().join("held");
    let held = held.to_str().expect("UTF-8");
    let (_, told) =
        breach(&folder, &["pack", "--held", "2100-01-01", "--reason", "stolen", "--out", held, "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((told["people"].as_u64(), told["only_asked_about"].as_u64()), (Some(4), Some(1)), "{told}");
}
