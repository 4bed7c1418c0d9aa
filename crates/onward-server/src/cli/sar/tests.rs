use clap::Parser as _;
use onward_core::audit::Agent;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::DeliveryQuery;
use tempfile::TempDir;

use onward_ledger::SigningKeys;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

const DISCHARGE: &str = include_str!("../../../../../fixtures/messages/edischarge-itk3.xml");
const DIRECTORY: &str = include_str!("../../../../../config/examples/directory.toml");
const FAMILY: &str = r#"{"resourceType":"Bundle","type":"document","entry":[
    {"resource":{"resourceType":"Patient","id":"mother","birthDate":"1921-01-02"}},
    {"resource":{"resourceType":"Composition","subject":{"reference":"Patient/own"}}},
    {"resource":{"resourceType":"Patient","id":"own","birthDate":"1944-03-08"}}]}"#;
const PEOPLE: &str = include_str!("../../../../../config/examples/pds-stand-in.toml");

async fn onward(folder: &TempDir, words: &[&str]) -> (Result<Exit, Exit>, String) {
    let config = folder.path().join("gateway.toml");
    let words = [&["onward", "sar"], words, &["--config", config.to_str().expect("UTF-8")]].concat();
    let Command::Sar(command) = Cli::try_parse_from(words).expect("parses").command else { panic!("another") };
    let (mut terminal, out, _) = capture::terminal();
    let outcome = run(&command, &mut terminal).await.map_err(|failure| failure.exit);
    terminal.finish().expect("written");
    (outcome, out.text())
}

/// A gateway's folder into which one discharge was taken; the person's number.
async fn place() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "[identity]\nods = \"Y99900\"\nname = \"Onward & friends\"\n[pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
    std::fs::write(folder.path().join("gateway.toml"), toml).expect("written");
    std::fs::write(folder.path().join("people.toml"), PEOPLE).expect("written");
    crate::store_keys::add_key(&folder.path().join("store.key"), now()).expect("a key");
    let key = SigningKeys::generate("onward/Y99900").expect("a key");
    std::fs::write(folder.path().join("audit-signing.key"), key.to_secret_text().expect("text").as_bytes())
        .expect("written");
    std::fs::write(folder.path().join("log.pub"), key.verifying_keys().to_string()).expect("written");
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (config, store) = config.store().await.expect("a store");
    let app = crate::cli::open::build(&config, store).expect("wired");
    let none = std::collections::BTreeMap::new();
    let import = crate::directory_import::read(DIRECTORY, crate::directory_import::Format::Toml, &none, now());
    let store = app.gateway.store();
    store
        .import_directory(import.expect("the example is right").entries, "test", now(), Vec::new().into())
        .await
        .expect("stored");
    let client = onward_core::client::Client {
        id: "northmoor-epr".to_owned(),
        ods: "R9Z".parse().expect("a code"),
        role: onward_core::client::Role::Sender,
        jwks: "{\"keys\":[]}".to_owned(),
        certificate_sha256: None,
        mesh_mailbox: None,
        nhs_number_policy: onward_core::client::NhsNumberPolicy::Refuse,
        disabled: false,
        under: None,
    };
    let submission = onward_gateway::accept::Submission {
        client,
        body: DISCHARGE.into(),
        media_type: "application/fhir+xml".to_owned(),
        request_id: None,
    };
    let receipt = app.gateway.accept(submission).await.expect("accepted");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    assert!(transfer.deliveries.iter().any(|copy| copy.kind == RecipientKind::CareHome), "it is not held");
    (folder, transfer.patient.expect("traced").expose().to_owned())
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("UTF-8").to_owned()
}

/// Somebody looks at a list with the person and somebody else, and another at one without the person; gives the other copy.
async fn looked_at_a_list(folder: &TempDir, patient: &str) -> String {
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let record = store.subject_record(&patient.parse().expect("a number")).await.expect("readable");
    let own = record[0].transfer.deliveries[0].id;
    let other = onward_core::DeliveryId::random().to_string();
    let journal = onward_gateway::journal::Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
    let list = |who: &str, shown: String| {
        journal.row(&AuditEntry {
            query: Some(format!("inbox?show=open&shown={shown}")),
            ..AuditEntry::new(AuditWord::Query, now(), Agent::named(who, None), "list of arrivals")
        })
    };
    let rows = vec![list("Pat Moore", format!("{own},{other}")), list("Sam Reed", other.clone())];
    store.audit(rows).await.expect("committed");
    other
}

#[tokio::test]
async fn the_archive_holds_everything_and_is_audited_and_signed() {
    let (folder, patient) = place().await;
    let out = path(&folder, "subject-access");
    let looked = looked_at_a_list(&folder, &patient).await;
    let (outcome, said) = onward(&folder, &["export", "--nhs-number", &patient, "--out", &out, "--json"]).await;
    assert_eq!(outcome, Ok(Exit::Done), "{said}");
    assert!(!said.contains(&patient), "the answer does not repeat the number");
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(told["messages"], 1);
    let archive = folder.path().join("subject-access");
    let names = |folder: &str| std::fs::read_dir(archive.join(folder)).expect("readable").count();
    assert_eq!((names("messages"), names("copies")), (1, 5));
    let page = std::fs::read_to_string(archive.join("index.html")).expect("readable");
    assert!(
        page.contains(&patient) && page.contains("Onward &amp; friends") && page.contains("northmoor-epr"),
        "{page}"
    );
    for copy in std::fs::read_dir(archive.join("copies")).expect("readable") {
        let name = copy.expect("a file").file_name().into_string().expect("UTF-8");
        assert!(page.contains(&format!("copies/{name}")), "{name} is linked");
    }
    let pdf = std::fs::read(archive.join("summary.pdf")).expect("readable");
    assert!(pdf.starts_with(b"%PDF-1.") && pdf.windows(7).any(|word| word == b"pdfuaid"), "the page to print, tagged");
    let copies = std::fs::read_to_string(archive.join("tables/copies.csv")).expect("readable");
    assert!(copies.starts_with("sent on,to,as,state,") && copies.lines().count() == 6, "{copies}");
    let manifest = std::fs::read_to_string(archive.join("manifest.txt")).expect("readable");
    for name in [
        "summary.pdf",
        "tables/messages.csv",
        "tables/copies.csv",
        "tables/written.csv",
        "tables/log.csv",
        "tables/withheld.csv",
    ] {
        let bytes = std::fs::read(archive.join(name)).expect("readable");
        assert!(manifest.contains(&format!("{}  {name}\n", sha256_hex(&bytes))), "{name}: {manifest}");
    }
    assert!(page.contains("Pat Moore"), "who looked at a list on which the person stood: {page}");
    assert!(!page.contains(&looked) && !page.contains("Sam Reed"), "nothing of others who stood on it");
    let log = std::fs::read_to_string(archive.join("audit.ndjson")).expect("readable");
    assert!(!log.contains(&looked));
    assert!(log.lines().count() >= 2 && log.lines().all(|line| line.contains(&patient)), "{log}");

    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let entries = store.audit_entries(0, 1_000).await.expect("readable");
    let last = String::from_utf8(entries.last().expect("entries").event().expect("kept").to_vec()).expect("JSON");
    let manifest = std::fs::read(archive.join("manifest.txt")).expect("readable");
    assert!(last.contains("subject-access") && last.contains(&sha256_hex(&manifest)), "{last}");
    assert!(last.contains("PrivacyDisclosure.Source") && last.contains("Article 15"), "{last}");
    let query = DeliveryQuery { limit: 100, ..DeliveryQuery::default() };
    let copies = store.deliveries(query).await.expect("readable");
    assert!(
        copies.iter().all(|copy| copy.opened.is_none() && copy.state == DeliveryState::Queued),
        "nothing was opened"
    );

    let again = onward(&folder, &["export", "--nhs-number", &patient, "--out", &out]).await;
    assert_eq!(again.0, Err(Exit::Usage), "nothing is overwritten");
    let nobody = path(&folder, "nobody");
    assert_eq!(onward(&folder, &["export", "--nhs-number", "9990000034", "--out", &nobody]).await.0, Err(Exit::No));
    assert!(!folder.path().join("nobody").exists());
}

#[tokio::test]
async fn what_is_about_others_is_withheld_and_listed() {
    let (folder, patient) = place().await;
    let out = path(&folder, "subject-access");
    assert_eq!(onward(&folder, &["export", "--nhs-number", &patient, "--out", &out]).await.0, Ok(Exit::Done));
    let archive = folder.path().join("subject-access");
    let list: serde_json::Value =
        serde_json::from_slice(&std::fs::read(archive.join("withheld.json")).expect("readable")).expect("JSON");
    let rows = list.as_array().expect("a list");
    assert!(rows.iter().all(|row| row["whole"] == false), "every file could be read: {list:#}");
    let message = std::fs::read_dir(archive.join("messages")).expect("readable").next().expect("one").expect("a file");
    let text = std::fs::read_to_string(message.path()).expect("readable");
    assert!(DISCHARGE.contains("<contact>") && !text.contains("<contact>"), "next of kin are withheld");
    assert!(rows.iter().any(|row| row["withheld"].to_string().contains("\"contact\"")), "{list:#}");
}

/// A relative whom one document names is somebody else in every other, too.
#[tokio::test]
async fn a_document_is_cleared_of_whom_another_names() {
    let (folder, patient) = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let number = patient.parse().expect("a number");
    let mut transfers = store.subject_record(&number).await.expect("readable");
    let mut second = transfers[0].clone();
    second.renditions.truncate(1);
    second.renditions[0].delivery = onward_core::DeliveryId::random();
    second.renditions[0].media_type = "application/fhir+json".to_owned();
    second.renditions[0].body =
        br#"{"resourceType":"Composition","status":"final","title":"Ring Zebedee Quill first"}"#.to_vec();
    second.original = None;
    let mut first = second.clone();
    first.renditions[0].delivery = onward_core::DeliveryId::random();
    first.renditions[0].body =
        br#"{"resourceType":"Patient","contact":[{"name":{"family":"Quill","given":["Zebedee"]}}]}"#.to_vec();
    transfers.extend([first, second]);
    let held = onward_gateway::held::Held { transfers, ..Default::default() };
    let archive = Archive::of(&number, "gateway", now(), &held, Identified::NumberAlone).expect("a page and its PDF");
    for (name, bytes) in &archive.files {
        assert!(!String::from_utf8_lossy(bytes).contains("Zebedee"), "{name}");
    }
}

/// What an organisation never held is not gone, and a notice that is there stands for no copy that is not.
#[tokio::test]
async fn what_is_gone_is_told_apart_from_what_is_the_senders() {
    use onward_core::state::EndReason;
    use onward_core::store::Notice;
    use onward_gateway::held::{Gone, Held};
    let (folder, patient) = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let number = patient.parse().expect("a number");
    let whole = held_about(store.as_ref(), &number, None).await.expect("readable");
    assert!(whole.of_others.is_empty() && whole.gone() == Gone::default());
    let copies = &whole.transfers[0].transfer.deliveries;
    let home = &copies.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").recipient;
    let mut held = held_about(store.as_ref(), &number, Some(home)).await.expect("readable");
    let messages = |held: &Held| {
        let archive =
            Archive::of(&number, "gateway", now(), held, Identified::NumberAlone).expect("a page and its PDF");
        let (_, bytes) = archive.files.into_iter().find(|(name, _)| name == "tables/messages.csv").expect("there");
        String::from_utf8(bytes).expect("UTF-8")
    };
    assert_eq!((held.of_others.len(), held.gone()), (1, Gone::default()));
    let table = messages(&held);
    assert!(table.contains(tables::OF_OTHERS) && !table.contains("no longer kept"), "{table}");

    let each = &mut held.transfers[0];
    let mut notice = each.transfer.deliveries[0].clone();
    notice.notice = Some(Notice { of: notice.id, why: EndReason::Recalled });
    notice.id = onward_core::DeliveryId::random();
    each.renditions.truncate(1);
    each.renditions[0].delivery = notice.id;
    each.transfer.deliveries.truncate(1);
    each.transfer.deliveries.push(notice);
    assert_eq!(held.gone(), Gone { copies: 1, ..Gone::default() });
    held.transfers[0].renditions.clear();
    assert_eq!(held.gone(), Gone { copies: 1, notices: 1, messages: 0 });
    held.of_others.clear();
    assert_eq!(held.gone().messages, 1);
    assert!(messages(&held).contains("no longer kept"));
}

/// What people wrote is the person's; who oversees the gateway, accounts, and who else stood on a list are not.
#[tokio::test]
async fn what_people_wrote_is_told_and_the_log_is_cleared_of_others() {
    use onward_core::store::{CheckOutcome, Step, StepKind};
    let (folder, patient) = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (config, store) = config.existing_store().await.expect("a store");
    let number: onward_core::NhsNumber = patient.parse().expect("a number");
    let record = store.subject_record(&number).await.expect("readable");
    let home = record[0].transfer.deliveries.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy");
    let step = |text: &str| Step {
        delivery: home.id,
        kind: StepKind::Checked,
        at: now(),
        user: "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10".to_owned(),
        name: "Pat Moore".to_owned(),
        item: Some("medicines".to_owned()),
        outcome: Some(CheckOutcome::Problem),
        text: Some(text.to_owned()),
    };
    store.take_step(step("no insulin came"), None, Vec::new(), Vec::new()).await.expect("committed");
    store.take_step(step("Ada Byte said wait"), None, Vec::new(), Vec::new()).await.expect("committed");
    store.take_step(step("=HYPERLINK(\"https://x.example\")"), None, Vec::new(), Vec::new()).await.expect("committed");
    let desk = Desk::new(&config).expect("an organisation");
    let lead = Agent {
        role: Some("information-governance"),
        user: Some(onward_core::UserId::random()),
        account: Some("ada, uid 1001, signed in".to_owned()),
        ..Agent::named("Ada Byte", Some("R9Z".parse().expect("a code")))
    };
    let reveal = AuditEntry {
        agent: lead,
        patient: Some(number.clone()),
        basis: Some(Basis::accountability()),
        ..desk.entry(AuditWord::Reveal, "whom it is about was shown: complaint 12")
    };
    let hold = desk.row_about(AuditWord::Configure, "legal hold 17 placed by Cy: inquest", Some(number));
    store.audit(vec![desk.row_of(&reveal), hold]).await.expect("committed");
    let other = looked_at_a_list(&folder, &patient).await;

    let out = path(&folder, "subject-access");
    assert_eq!(onward(&folder, &["export", "--nhs-number", &patient, "--out", &out]).await.0, Ok(Exit::Done));
    let archive = folder.path().join("subject-access");
    let read = |name: &str| std::fs::read_to_string(archive.join(name)).expect("there");
    let (page, json, log, lists) =
        (read("index.html"), read("record.json"), read("audit.ndjson"), read("lists.ndjson"));
    let (written, deeds) = (read("tables/written.csv"), read("tables/log.csv"));
    assert!(written.contains("\"'=HYPERLINK(\"\"https") && !written.contains(",\"=HYPERLINK"), "no formula: {written}");
    assert!(deeds.contains("complaint 12") && read("tables/withheld.csv").contains(",staff,"), "{deeds}");
    for text in [&page, &json, &written] {
        assert!(text.contains("no insulin came") && text.contains("Pat Moore") && text.contains("medicines"), "{text}");
    }
    assert!(
        log.contains("complaint 12") && log.contains("information-governance") && page.contains("legal hold"),
        "{log}"
    );
    assert!(lists.lines().count() == 1 && lists.contains("Pat Moore"), "{lists}");
    for gone in ["Ada Byte", "uid 1001", "inquest", "urn:uuid:", "5d0f5c0e", &other, "c2hvd249"] {
        let texts = [
            ("page", &page),
            ("record", &json),
            ("log", &log),
            ("lists", &lists),
            ("written", &written),
            ("deeds", &deeds),
        ];
        for (name, text) in texts {
            let shown = gone == "urn:uuid:" && matches!(name, "page" | "deeds");
            assert!(!text.contains(gone) || shown, "{gone} in {name}: {text}");
        }
    }
    let list: serde_json::Value = serde_json::from_str(&read("withheld.json")).expect("JSON");
    let rows = list.as_array().expect("rows");
    let has = |file: &str, rule: &str| {
        let mut own = rows.iter().filter(|row| row["file"] == file);
        own.any(|row| row["withheld"].to_string().contains(&format!("\"{rule}\"")))
    };
    for (file, rule) in [
        ("audit.ndjson", "staff"),
        ("audit.ndjson", "account"),
        ("audit.ndjson", "legal-hold"),
        ("lists.ndjson", "others-on-list"),
        ("record.json", "account"),
        ("record.json", "mention"),
    ] {
        assert!(has(file, rule), "{file} {rule}: {list:#}");
    }
    assert!(rows.iter().all(|row| row["whole"] == false), "{list:#}");
}

#[tokio::test]
async fn every_change_of_the_folder_is_found() {
    let (folder, patient) = place().await;
    let out = path(&folder, "subject-access");
    assert_eq!(onward(&folder, &["export", "--nhs-number", &patient, "--out", &out]).await.0, Ok(Exit::Done));
    let public = path(&folder, "log.pub");
    let check = ["check", &out, "--verifier", &public];
    assert_eq!(onward(&folder, &check).await, (Ok(Exit::Done), "as it was written\n".to_owned()));
    let archive = folder.path().join("subject-access");
    for (name, change) in [("index.html", "changed"), ("audit.ndjson", "missing"), ("copies/more.json", "added")] {
        let file = archive.join(name);
        let before = std::fs::read(&file).ok();
        match change {
            "missing" => std::fs::remove_file(&file).expect("removed"),
            _ => std::fs::write(&file, "other").expect("written"),
        }
        let (outcome, said) = onward(&folder, &check).await;
        assert_eq!(outcome, Ok(Exit::No), "{name}");
        assert!(said.contains(name) && said.contains(change), "{said}");
        match before {
            Some(bytes) => std::fs::write(&file, bytes).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
    }
    let manifest = archive.join("manifest.txt");
    let signed = std::fs::read_to_string(&manifest).expect("readable");
    for (from, to) in [("index.html", "index.htm"), ("\u{2014} onward", "\u{2014} other"), ("v1", "v2")] {
        std::fs::write(&manifest, signed.replacen(from, to, 1)).expect("written");
        assert_eq!(onward(&folder, &check).await.0, Ok(Exit::No), "{from}");
    }
    std::fs::write(&manifest, &signed).expect("written");
    assert_eq!(onward(&folder, &check).await.0, Ok(Exit::Done));
}

/// Anybody can ask about any number. The questions are about whoever has it; nothing else is.
#[tokio::test]
async fn questions_alone_are_told_as_such() {
    let (folder, _) = place().await;
    let out = path(&folder, "subject-access");
    let number = "9990000034";
    let export = ["export", "--nhs-number", number, "--out", &out, "--json"];
    assert_eq!(onward(&folder, &export).await.0, Err(Exit::No));
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (config, store) = config.existing_store().await.expect("a store");
    let desk = Desk::new(&config).expect("an organisation");
    let asked = desk.row_about(AuditWord::Query, "audit who", number.parse().ok());
    store.audit(vec![asked]).await.expect("committed");
    let (outcome, said) = onward(&folder, &export).await;
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (outcome, &told["only_questions"], &told["entries"]),
        (Ok(Exit::Done), &true.into(), &1.into()),
        "{said}"
    );
    let read = |name: &str| std::fs::read_to_string(folder.path().join("subject-access").join(name)).expect("there");
    let page = read("index.html");
    assert!(
        page.contains("holds no message, no copy and nothing else") && !page.contains("carried messages about you")
    );
    assert!(page.contains("audit who") && read("audit.ndjson").lines().count() == 1, "{page}");
    assert!(read("record.json").contains("\"only_questions\": true"));
}

#[tokio::test]
async fn a_second_identifier_is_held_against_what_is_held() {
    let (folder, patient) = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let export = async |born: &[&str], out: &str| {
        let out = path(&folder, out);
        let words = [&["export", "--nhs-number", &patient, "--out", &out, "--json"], born].concat();
        onward(&folder, &words).await
    };
    let size = store.audit_size().await.expect("readable");
    let (outcome, said) = export(&["--born", "1944-08-03"], "wrong").await;
    assert_eq!((outcome, said.as_str()), (Err(Exit::No), ""));
    assert!(!folder.path().join("wrong").exists(), "nothing is written");
    let new = store.audit_entries(size, 10).await.expect("readable");
    let [refused] = &new[..] else { panic!("one entry: {}", new.len()) };
    let event = String::from_utf8_lossy(refused.event().expect("kept")).into_owned();
    assert!(
        event.contains(ANOTHER_PERSON) && event.contains("\"outcome\":\"8\"") && event.contains(&patient),
        "{event}"
    );
    assert!(!event.contains("1944"), "no date is kept: {event}");
    assert_eq!(export(&["--born", "the 8th"], "no-day").await.0, Err(Exit::Usage));
    for (born, out, word, says) in [
        (&["--born", "1944-03-08"][..], "two", "number-and-birth", "Two identifiers were checked"),
        (&[], "one", "number-alone", "One identifier was checked"),
    ] {
        let (outcome, said) = export(born, out).await;
        assert!(outcome == Ok(Exit::Done) && said.contains(&format!("\"identified\":\"{word}\"")), "{said}");
        let page = std::fs::read_to_string(folder.path().join(out).join("index.html")).expect("there");
        assert!(page.contains(says), "{page}");
    }

    // What says less than a day, and nothing at all, agree with as much as they say.
    let mut transfers = store.subject_record(&patient.parse().expect("a number")).await.expect("readable");
    transfers[0].renditions.clear();
    let day = "1944-03-08".parse().ok();
    for (says, identified) in [
        (r#"{"resourceType":"Patient","birthDate":"1944-03-08"}"#, Some(Identified::NumberAndBirth)),
        (r#"{"resourceType":"Patient","birthDate":"1944-03"}"#, Some(Identified::NumberAndPartOfBirth)),
        (r#"{"resourceType":"Patient","birthDate":"1944"}"#, Some(Identified::NumberAndPartOfBirth)),
        (r#"{"resourceType":"Patient","birthDate":"1944-04"}"#, None),
        (r#"{"resourceType":"Patient","birthDate":"1944-03-0"}"#, None),
        (r#"{"resourceType":"Patient","birthDate":"1945"}"#, None),
        (r#"{"resourceType":"Patient"}"#, Some(Identified::NothingToCompare)),
        // Somebody else's date stands before the subject's.
        (FAMILY, Some(Identified::NumberAndBirth)),
        (&FAMILY.replace("Patient/own", "Patient/none"), Some(Identified::NothingToCompare)),
        (&FAMILY.replace("Composition", "Basic"), Some(Identified::NothingToCompare)),
    ] {
        transfers[0].original.as_mut().expect("kept").body = says.as_bytes().to_vec();
        let held = onward_gateway::held::Held { transfers: transfers.clone(), ..Default::default() };
        assert_eq!(held.identified(day), identified, "{says}");
    }
}
