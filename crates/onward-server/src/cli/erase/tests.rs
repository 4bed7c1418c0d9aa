use clap::Parser as _;
use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::{Timestamp, TransferId};
use onward_gateway::journal::Journal;
use onward_ledger::SigningKeys;
use tempfile::TempDir;

use crate::cli::terminal::capture;
use crate::cli::{Cli, Exit};

const PERSON: &str = "9990000018";
const OTHER: &str = "9990000026";

/// A gateway's folder whose log has entries about two people.
async fn place() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gateway.toml"), "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n")
        .expect("writable");
    crate::store_keys::add_key(&folder.path().join("store.key"), crate::cli::open::now()).expect("a key");
    let key = SigningKeys::generate("onward/R9Z").expect("a key").to_secret_text().expect("text");
    std::fs::write(folder.path().join("audit-signing.key"), key.as_bytes()).expect("writable");
    let config = crate::cli::open::ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.store().await.expect("a store");
    let journal = Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
    for number in [PERSON, OTHER, PERSON] {
        let entry = AuditEntry {
            patient: Some(number.parse().expect("a test number")),
            transfer: Some(TransferId::random()),
            ..AuditEntry::new(
                AuditWord::Accept,
                Timestamp::UNIX_EPOCH,
                crate::cli::open::operator(&"R9Z".parse().expect("a code")),
                "in",
            )
        };
        store.audit(vec![journal.row(&entry)]).await.expect("committed");
    }
    folder
}

async fn onward(folder: &TempDir, line: &str) -> (Exit, String) {
    let config = folder.path().join("gateway.toml").display().to_string();
    let words = ["onward"].into_iter().chain(line.split_whitespace()).chain(["--config", &config]);
    let cli = Cli::try_parse_from(words).expect("parses");
    let (mut terminal, out, err) = capture::terminal();
    let exit = cli.run_on(None, &mut terminal).await;
    (exit, out.text() + &err.text())
}

/// The identifier in an answer.
fn id(json: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    value[name].as_str().expect("an identifier").to_owned()
}

#[tokio::test]
async fn two_people_erase_a_third_and_the_log_stays_whole() {
    let folder = place().await;
    let (exit, said) = onward(&folder, &format!("erase request --nhs-number {PERSON} --reason r --by Ada")).await;
    assert_eq!(exit, Exit::No, "{said}");
    assert!(said.contains("17(3)(c)"), "care's records are not erased on request: {said}");
    let ask = format!("erase request --nhs-number {PERSON} --ground wrong-person --reason case-17 --by Ada --json");
    let (exit, said) = onward(&folder, &ask).await;
    assert_eq!(exit, Exit::Done, "{said}");
    let request = id(&said, "request");
    let (_, list) = onward(&folder, "erase list --json").await;
    assert!(list.contains(&request) && !list.contains(PERSON), "{list}");

    let (exit, said) = onward(&folder, &format!("erase confirm {request} --by Ada --yes")).await;
    assert!(exit == Exit::No && said.contains("somebody else"), "{said}");
    let (_, said) = onward(&folder, "erase list").await;
    assert!(said.contains("until"), "{said}");
    let (exit, said) = onward(&folder, &format!("erase refuse {} --reason r --by Bea", uuid::Uuid::new_v4())).await;
    assert!(exit == Exit::No && said.contains("no such request"), "{said}");
    let again = id(&onward(&folder, &ask).await.1, "request");
    assert_eq!(onward(&folder, &format!("erase refuse {again} --reason theirs --by Bea")).await.0, Exit::Done);
    let (exit, said) = onward(&folder, &format!("erase confirm {again} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("no such request"), "{said}");
    let hold = format!("legal-hold add --nhs-number {PERSON} --reason inquest --by Cy --json");
    let hold = id(&onward(&folder, &hold).await.1, "hold");
    let (exit, said) = onward(&folder, &format!("erase confirm {request} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("legal hold"), "{said}");
    let (exit, said) = onward(&folder, &format!("legal-hold lift {hold} --reason closed --by CY")).await;
    assert!(exit == Exit::No && said.contains("somebody else"), "{said}");
    let (_, events) = onward(&folder, "audit export").await;
    assert!(
        events.contains(&onward_gateway::erasing::not_lifted(hold.parse().expect("an identifier"), "CY")),
        "{events}"
    );
    let (exit, said) = onward(&folder, &format!("erase confirm {request} --by Bea --yes")).await;
    assert!(exit == Exit::No && said.contains("legal hold"), "it stands: {said}");
    assert_eq!(onward(&folder, &format!("legal-hold lift {hold} --reason closed --by Dot")).await.0, Exit::Done);
    let (exit, said) = onward(&folder, &format!("erase confirm {request} --by Bea")).await;
    assert!(
        exit == Exit::No && said.contains("wrong-person: case-17"),
        "without --yes nothing but what was asked: {said}"
    );
    let named = format!("erase request --nhs-number {PERSON} --ground wrong-person --reason {PERSON} --by Ada");
    let words = ["onward"].into_iter().chain(named.split_whitespace());
    assert!(Cli::try_parse_from(words).is_err(), "the reason stays, so it names nobody");
    let (exit, said) = onward(&folder, &format!("erase confirm {request} --by Bea --yes --json")).await;
    assert_eq!(exit, Exit::Done, "{said}");
    assert!(said.contains("\"remains\":null"), "{said}");

    let (exit, said) = onward(&folder, "audit verify --json").await;
    let told: serde_json::Value = serde_json::from_str(said.trim()).expect("JSON");
    assert_eq!((exit, told["whole"].as_bool()), (Exit::Done, Some(true)), "{said}");
    // Two before, and the two requests and the legal hold, which were about the person as well.
    assert_eq!(told["erased"].as_u64(), Some(5), "{said}");
    let (_, who) = onward(&folder, &format!("audit who --nhs-number {PERSON}")).await;
    assert!(who.contains("erased"), "{who}");
    assert_eq!(onward(&folder, &format!("audit who --nhs-number {OTHER}")).await.0, Exit::Done);
    let (_, events) = onward(&folder, "audit export").await;
    assert!(events.contains("requested by Ada and confirmed by Bea"), "the erasure itself is kept: {events}");
    let erasures = || events.lines().filter(|line| line.contains("confirmed by Bea"));
    assert!(
        erasures().all(|line| !line.contains(PERSON) && !line.contains("case-17")),
        "no words stay in the log for good"
    );
    let (_, evidence) = onward(&folder, "audit export --evidence").await;
    assert_eq!(evidence.lines().filter(|line| !line.contains("\"event\"")).count(), 5, "{evidence}");
}

/// Two people are two accounts: the account of the first is found by how the entry of the request begins.
#[tokio::test]
async fn the_account_that_asked_is_found_in_the_log() {
    let folder = place().await;
    let ask = format!("erase request --nhs-number {PERSON} --ground wrong-person --reason case-17 --by Ada --json");
    let request = id(&onward(&folder, &ask).await.1, "request").parse().expect("an identifier");
    let config = crate::cli::open::ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let entries = store.audit_entries(0, 100).await.expect("readable");
    let begins = |entry: &&onward_core::store::StoredAudit| {
        let told = crate::cli::audit::Told::read(entry.event().unwrap_or_default());
        told.is_some_and(|told| {
            told.detail.starts_with(&format!("erase: {}", onward_gateway::erasing::requested(request)))
        })
    };
    assert_eq!(entries.iter().filter(begins).count(), 1, "the command writes what is looked for");

    let (other, account) = (uuid::Uuid::new_v4(), "ada, uid 1001, signed in");
    let ods = "R9Z".parse().expect("a code");
    let agent = onward_core::audit::Agent::operator(&ods, Some(account.to_owned()));
    let detail = format!("{}Ada: wrong-person, case-18", onward_gateway::erasing::requested(other));
    let entry = AuditEntry::new(AuditWord::Erase, crate::cli::open::now(), agent, detail);
    store.audit(vec![Journal::new(&ods, "https://gateway.example").row(&entry)]).await.expect("committed");
    let asked = |id| onward_core::store::ErasureRequest {
        id,
        ground: onward_core::store::ErasureGround::WrongPerson,
        reason: "r".to_owned(),
        by: "Ada".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    let found = super::account_that_asked(store.as_ref(), &asked(other)).await.ok().flatten();
    assert_eq!(found.as_deref(), Some(account));
    assert_eq!(super::account_that_asked(store.as_ref(), &asked(uuid::Uuid::new_v4())).await.ok().flatten(), None);
}
