use std::path::Path;

use clap::Parser as _;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::state::RecipientKind;
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim};
use onward_gateway::accept::{Receipt, Submission};
use tempfile::TempDir;

use super::*;
use crate::app::App;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command, directory};

const PEOPLE: &str = include_str!("../../../../../config/examples/pds-stand-in.toml");
const DIRECTORY: &str = include_str!("../../../../../config/examples/directory.toml");
pub(in crate::cli) const DISCHARGE: &str = include_str!("../../../../../fixtures/messages/edischarge-itk3.xml");
const RESTRICTED: &str = include_str!("../../../../../fixtures/messages/restricted-itk3.xml");

/// Runs a command on the gateway of this folder.
pub(in crate::cli) async fn onward(folder: &Path, line: &str) -> (Result<Exit, Exit>, String) {
    let config = folder.join("gateway.toml").display().to_string();
    let words = ["onward"].into_iter().chain(line.split_whitespace()).map(str::to_owned);
    let cli = Cli::try_parse_from(words.chain(["--config".to_owned(), config])).expect("parses");
    let (mut terminal, out, _) = capture::terminal();
    let outcome = match &cli.command {
        Command::Hold(command) => hold(command, &mut terminal).await,
        Command::Dead(command) => dead(command, &mut terminal).await,
        Command::Alerts(command) => crate::cli::alerts::run(command, &mut terminal).await,
        Command::Status(command) => status::run(command, &mut terminal).await,
        Command::Directory(command) => directory::run(command, &mut terminal).await,
        Command::Pause(command) => crate::cli::pause::pause(command, &mut terminal).await,
        Command::Resume(command) => crate::cli::pause::resume(command, &mut terminal).await,
        Command::Recall(command) => crate::cli::recall::run(command, &mut terminal).await,
        Command::Policy(command) => crate::cli::policy::run(command, &mut terminal).await,
        Command::Audit(command) => crate::cli::audit::run(command, &mut terminal).await,
        Command::Sar(command) => crate::cli::sar::run(command, &mut terminal).await,
        Command::Breach(command) => crate::cli::breach::run(command, &mut terminal).await,
        Command::Fsck(command) => crate::cli::fsck::run(command, &mut terminal).await,
        _ => unreachable!("the tests of these modules name these commands"),
    };
    (outcome.map_err(|failure| failure.exit), out.text())
}

pub(in crate::cli) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).expect("one line of JSON")
}

/// A gateway with the example directory that has accepted this message.
pub(in crate::cli) async fn accepted(message: &str) -> (TempDir, App, Receipt) {
    accepted_from(message, None).await
}

/// The same, from a hospital that has a mailbox.
async fn accepted_from(message: &str, mailbox: Option<&str>) -> (TempDir, App, Receipt) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n\
                  [pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
    for (name, text) in [("gateway.toml", config), ("people.toml", PEOPLE), ("directory.toml", DIRECTORY)] {
        std::fs::write(folder.path().join(name), text).expect("writable");
    }
    crate::store_keys::add_key(&folder.path().join("store.key"), crate::cli::open::now()).expect("a key");
    let import = format!("directory import {}", folder.path().join("directory.toml").display());
    assert_eq!(onward(folder.path(), &import).await.0, Ok(Exit::Done));
    let app = ConfigArgs { config: Some(folder.path().join("gateway.toml")) }.app().await.expect("wired");
    let client = Client {
        id: "northmoor-epr".to_owned(),
        ods: "R9Z".parse().expect("a code"),
        role: Role::Sender,
        jwks: r#"{"keys":[]}"#.to_owned(),
        certificate_sha256: None,
        mesh_mailbox: mailbox.map(str::to_owned),
        nhs_number_policy: NhsNumberPolicy::Refuse,
        disabled: false,
        under: None,
    };
    app.gateway.store().put_client(client.clone(), Vec::new()).await.expect("committed");
    let body = message.to_owned().into();
    let submission = Submission { client, body, media_type: "application/fhir+xml".to_owned(), request_id: None };
    let receipt = app.gateway.accept(submission).await.expect("accepted");
    (folder, app, receipt)
}

#[tokio::test]
async fn an_import_tells_what_changed_and_changes_nothing_when_refused() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let file = folder.path().join("directory.toml");
    let import = format!("directory import --json {}", file.display());
    let (outcome, out) = onward(folder.path(), &import).await;
    assert_eq!(outcome, Ok(Exit::Done));
    assert!(json(&out)["entries"].as_array().expect("a list").iter().all(|row| row["change"] == "unchanged"), "{out}");
    std::fs::write(&file, DIRECTORY.replace("Old Town Pharmacy", "New Town Pharmacy")).expect("writable");
    let (_, out) = onward(folder.path(), &import).await;
    let changed: Vec<_> = json(&out)["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row["change"] == "changed")
        .cloned()
        .collect();
    assert_eq!((changed.len(), changed[0]["ods"].as_str()), (1, Some("FZZ02")), "{out}");
    std::fs::write(&file, DIRECTORY.replace("expires = \"2099-12-31\"", "expires = \"2001-12-31\"")).expect("writable");
    let before = app.gateway.store().directory().await.expect("readable");
    let (outcome, out) = onward(folder.path(), &import).await;
    assert_eq!((outcome, json(&out)["imported"].as_bool()), (Ok(Exit::No), Some(false)));
    assert_eq!(app.gateway.store().directory().await.expect("readable"), before);
    let check = format!("directory check --json {}", file.display());
    assert_eq!(onward(folder.path(), &check).await.0, Ok(Exit::No));
    assert_eq!(
        onward(folder.path(), "directory show VMH00").await.0,
        Ok(Exit::Done),
        "a home is found by its other code"
    );
    assert_eq!(onward(folder.path(), "directory show Y99999").await.0, Err(Exit::No));
}

#[tokio::test]
async fn status_finds_a_transfer_by_its_own_or_a_deliverys_identifier() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (outcome, out) = onward(folder.path(), &format!("status --json {}", receipt.transfer)).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let shown = json(&out);
    let kinds: Vec<_> =
        shown["deliveries"].as_array().expect("a list").iter().map(|row| row["recipient"].clone()).collect();
    for kind in RecipientKind::ALL.iter().filter(|kind| **kind != RecipientKind::Sender) {
        assert!(kinds.contains(&kind.as_str().into()), "{kind} is missing: {out}");
    }
    let transfer = app.gateway.store().transfer(receipt.transfer).await.expect("readable").expect("there");
    let number = transfer.patient.expect("known").expose().to_owned();
    assert!(!out.contains(&number), "no patient data in a status");
    let delivery = shown["deliveries"][0]["delivery"].as_str().expect("an identifier");
    let (outcome, table) = onward(folder.path(), &format!("status {delivery}")).await;
    assert_eq!(outcome, Ok(Exit::Done));
    assert!(table.contains(&receipt.transfer.to_string()) && table.contains(delivery) && !table.contains(&number));
    assert_eq!(onward(folder.path(), "status 00000000-0000-4000-8000-000000000000").await.0, Err(Exit::No));
}

/// Each command that shows something of a person's leaves an entry by which that is found, though it names nobody.
#[tokio::test]
async fn what_the_commands_show_is_in_the_log() {
    let (folder, app, receipt) = accepted(RESTRICTED).await;
    let store = app.gateway.store();
    let patient = store.transfer(receipt.transfer).await.expect("readable").expect("there").patient.expect("traced");
    let newest = async || {
        let mut log = store.audit_entries(0, 10_000).await.expect("readable");
        let entry = log.pop().expect("an entry");
        (entry.columns.word, entry.columns.agent, entry.columns.patient, entry.columns.transfer)
    };
    let on_lists = async || {
        let all = onward_gateway::explore::everything(None);
        onward_gateway::sightings::sightings(store.as_ref(), &patient, &all).await.expect("readable").len()
    };
    let operator = || Some("operator".to_owned());
    assert_eq!(on_lists().await, 0);
    assert_eq!(onward(folder.path(), "hold list").await.0, Ok(Exit::Done));
    assert_eq!(newest().await, ("query".to_owned(), operator(), None, None));
    assert_eq!(on_lists().await, 1);
    assert_eq!(onward(folder.path(), "dead list --json").await.0, Ok(Exit::Done));
    assert_eq!(newest().await.0, "query");
    assert_eq!(onward(folder.path(), "alerts").await.0, Ok(Exit::Done));
    assert_eq!((newest().await.0.as_str(), on_lists().await), ("query", 1), "neither showed anything");
    assert_eq!(onward(folder.path(), &format!("status {}", receipt.transfer)).await.0, Ok(Exit::Done));
    let (word, agent, about, transfer) = newest().await;
    assert_eq!((word.as_str(), agent, transfer), ("read-task", operator(), Some(receipt.transfer.to_string())));
    assert_eq!(about.as_deref(), Some(patient.expose()));
    // What is overdue is an alert.
    let hour_ago = app.gateway.clock().now() - jiff::SignedDuration::from_hours(1);
    let database = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    database.execute("UPDATE holds SET due = ?", [hour_ago.as_microsecond()]).expect("runs");
    drop(database);
    app.gateway.alert_once().await.expect("looked");
    let raised = newest().await;
    assert_eq!(
        (raised.0.as_str(), raised.2.as_deref()),
        ("notify", Some(patient.expose())),
        "an alert is about somebody"
    );
    assert_eq!(onward(folder.path(), "alerts").await.0, Ok(Exit::No));
    assert_eq!(on_lists().await, 2);
}

#[tokio::test]
async fn a_hold_stays_while_its_reason_does() {
    let (folder, app, receipt) = accepted(RESTRICTED).await;
    let (_, out) = onward(folder.path(), "hold list --json").await;
    let held = json(&out);
    assert_eq!(
        (held["reason"].as_str(), held["transfer"].as_str()),
        (Some("restricted-patient"), Some(receipt.transfer.to_string().as_str()))
    );
    let kept = async || app.gateway.store().policies_in_force().await.map(|kept| kept.len());
    let preview = format!("hold release --reason looked-at --by Ada {}", held["hold"].as_str().expect("an identifier"));
    assert_eq!(onward(folder.path(), &preview).await.0, Ok(Exit::No));
    assert_eq!(kept().await, Ok(0), "nothing is made by a preview");
    let release = format!(
        "hold release --json --reason looked-at --by Ada --yes {}",
        held["hold"].as_str().expect("an identifier")
    );
    let (outcome, out) = onward(folder.path(), &release).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::No), Some("still-held")));
    let mended = PEOPLE
        .replace("sensitivity = \"restricted\"", "sensitivity = \"unrestricted\"\nregistered_practice = \"Y99002\"");
    std::fs::write(folder.path().join("people.toml"), mended).expect("writable");
    let (outcome, out) = onward(folder.path(), &release).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("released")), "{out}");
    assert_eq!(kept().await, Ok(5), "once: what made the copies is kept");
    let policies = app.gateway.store().policies_in_force().await.expect("readable");
    let transfer = app.gateway.store().transfer(receipt.transfer).await.expect("readable").expect("there");
    let is_kept = |copy: &DeliveryRecord| policies.iter().any(|own| own.kind == copy.kind && own.since <= copy.created);
    assert!(transfer.copies().count() > 0 && transfer.copies().all(is_kept), "{policies:?}");
    assert!(onward(folder.path(), "hold list").await.1.contains("no transfer is held"));
    assert_eq!(json(&onward(folder.path(), &release).await.1)["state"], "not-found");
}

#[tokio::test]
async fn a_failed_delivery_is_replayed_only_after_a_preview_and_a_yes() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let now = open::now();
    let leases = store.claim(Claim::due(now, now, 1)).await.expect("claimed");
    let failed = leases[0].delivery.id;
    let outcome = AttemptOutcome::Failed { reason: "mailbox unknown".to_owned() };
    let end = AttemptEnd { delivery: failed, token: leases[0].token, outcome, at: now, audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await.expect("committed"), [true]);
    let listed = json(&onward(folder.path(), "dead list --json").await.1);
    assert_eq!(
        (listed["delivery"].as_str(), listed["reason"].as_str()),
        (Some(failed.to_string().as_str()), Some("mailbox unknown"))
    );
    let replay = format!("dead replay --json --reason mended {failed}");
    let (outcome, out) = onward(folder.path(), &replay).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("preview")));
    assert_eq!(store.delivery(failed).await.expect("readable").expect("there").state, DeliveryState::Failed);
    let (outcome, out) = onward(folder.path(), &format!("{replay} --yes")).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("queued")));
    assert_eq!(store.delivery(failed).await.expect("readable").expect("there").state, DeliveryState::Queued);
    assert_eq!(onward(folder.path(), &format!("{replay} --yes")).await.0, Err(Exit::No), "it is not failed any more");
    let entries = store.audit_entries(0, 1_000).await.expect("readable");
    let last = String::from_utf8(entries.last().expect("there").event().expect("kept").to_vec()).expect("JSON");
    assert!(last.contains("replay of a failed copy: mended") && last.contains("operator"), "{last}");
}

#[tokio::test]
async fn a_failed_delivery_is_closed_only_after_a_preview_and_a_yes_and_can_still_be_replayed() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let now = open::now();
    let leases = store.claim(Claim::due(now, now, 1)).await.expect("claimed");
    let failed = leases[0].delivery.id;
    let run = async |line: String| onward(folder.path(), &line).await;
    let close = format!("dead close --json --reason read-out --by Ada {failed}");
    assert_eq!(run(format!("{close} --yes")).await.0, Err(Exit::No), "it has not failed");
    let outcome = AttemptOutcome::Failed { reason: "mailbox unknown".to_owned() };
    let end = AttemptEnd { delivery: failed, token: leases[0].token, outcome, at: now, audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await.expect("committed"), [true]);
    let (outcome, out) = run(close.clone()).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("preview")));
    for preview in ["close --by Ada", "replay"] {
        let (_, out) = run(format!("dead {preview} --reason read-out {failed}")).await;
        assert!(out.contains("failed after 1 attempt: mailbox unknown"), "{preview}: {out}");
    }
    assert!(!store.delivery(failed).await.expect("readable").expect("there").closed);
    let (outcome, out) = run(format!("{close} --yes")).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("closed")));
    assert!(run("dead list".to_owned()).await.1.contains("no delivery has failed"));
    assert_eq!(run(format!("{close} --yes")).await.0, Err(Exit::No), "once");
    let entries = store.audit_entries(0, 1_000).await.expect("readable");
    let words = "handed over otherwise by Ada, a failed copy: read-out";
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(words);
    assert_eq!(entries.iter().filter(|entry| entry.event().is_some_and(said)).count(), 1);
    // Who, when and why stay with it.
    let told = json(&run(format!("status --json {}", receipt.transfer)).await.1);
    let closed = &told["closed"][0];
    assert_eq!((closed["by"].as_str(), closed["reason"].as_str()), (Some("Ada"), Some("read-out")), "{told}");
    assert_eq!((closed["holds"].as_bool(), told["status"].as_str()), (Some(true), Some("failed")));
    let page = run(format!("status {failed}")).await.1;
    assert!(page.contains("failed, closed") && page.contains("in another way by Ada"), "{page}");
    let (_, out) = run("status --json".to_owned()).await;
    assert_eq!(json(&out)["closed"], 1);
    // The hospital sees that it did not arrive, and nothing of what was written.
    let copy = store.delivery(failed).await.expect("readable").expect("there");
    let hospital = store.client("northmoor-epr").await.expect("readable").expect("there");
    let task = app.gateway.delivery_task(&copy, &[], &[], &hospital);
    assert!(task.contains("a person took care of it in another way") && !task.contains("read-out"), "{task}");
    let (outcome, out) = run(format!("dead replay --json --reason asked --yes {failed}")).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("queued")));
    let told = json(&run(format!("status --json {}", receipt.transfer)).await.1);
    assert_eq!(told["closed"][0]["holds"], false, "history");
}

#[tokio::test]
async fn what_is_sent_again_goes_to_the_address_of_the_directory_as_it_is_now() {
    const OLD: &str = "https://dms.station-road-pharmacy.example/onward";
    const NEW: &str = "https://new.station-road-pharmacy.example/onward";
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let now = open::now();
    let leases = store.claim(Claim::due(now, now, 20)).await.expect("claimed");
    let lease = leases.iter().find(|lease| lease.delivery.kind == RecipientKind::PharmacyReferral).expect("leased");
    let failed = lease.delivery.id;
    let outcome = AttemptOutcome::Failed { reason: "404".to_owned() };
    let end = AttemptEnd { delivery: failed, token: lease.token, outcome, at: now, audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await.expect("committed"), [true]);
    let import = async |from: &str, to: &str| {
        let file = folder.path().join("directory.toml");
        std::fs::write(&file, changed(DIRECTORY, from, to)).expect("writable");
        let (outcome, out) = onward(folder.path(), &format!("directory import {}", file.display())).await;
        assert_eq!(outcome, Ok(Exit::Done));
        out
    };
    let audited = async |words: &str| {
        let entries = store.audit_entries(0, 1_000).await.expect("readable");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(words);
        entries.iter().filter(|entry| entry.event().is_some_and(said)).count()
    };
    let replay = format!("dead replay --json --reason mended {failed}");
    assert_eq!(json(&onward(folder.path(), &replay).await.1)["address"], OLD);
    // What waits for the same pharmacy goes along; the leases above have run out.
    let along = format!("FZZ01 receives at {NEW} and not at {OLD}: 1 queued copy to go there");
    let told = import(OLD, NEW).await;
    assert!(told.contains(&along), "{told}");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let nomination = transfer.copies().find(|copy| copy.kind == RecipientKind::PharmacyNomination).expect("a copy");
    assert_eq!(nomination.endpoint.told(), NEW);
    assert_eq!(audited(&along).await, 1);
    let (outcome, out) = onward(folder.path(), &replay).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("preview")));
    assert_eq!((json(&out)["address"].as_str(), json(&out)["address_before"].as_str()), (Some(NEW), Some(OLD)));
    // It receives in another way: the copy was not made for that.
    let stays = format!(
        "FZZ01 receives at MESH mailbox FZZ01OT1 and not at {NEW}: 1 queued copy to go to the former address still, made for another way"
    );
    let told =
        import(&format!("transport = \"https\", url = \"{OLD}\""), "transport = \"mesh\", mailbox = \"FZZ01OT1\"")
            .await;
    assert!(told.contains(&stays), "{told}");
    assert_eq!(audited(&stays).await, 1);
    for yes in ["", " --yes"] {
        assert_eq!(onward(folder.path(), &format!("{replay}{yes}")).await.0, Err(Exit::No), "{yes}");
    }
    assert_eq!(store.delivery(failed).await.expect("readable").expect("there").state, DeliveryState::Failed);
    import(OLD, NEW).await;
    assert_eq!(onward(folder.path(), &format!("{replay} --yes")).await.0, Ok(Exit::Done));
    let again = store.delivery(failed).await.expect("readable").expect("there");
    assert_eq!((again.state, again.endpoint.told().as_str()), (DeliveryState::Queued, NEW));
    assert_eq!(audited(&format!("replay of a failed copy, now to {NEW} and not to {OLD}: mended")).await, 1);
}

/// The example with one text replaced wherever it stands; it must be there.
pub(in crate::cli) fn changed(message: &str, from: &str, to: &str) -> String {
    assert!(message.contains(from), "{from}");
    message.replace(from, to)
}

/// The one open hold: its identifier and its reason.
async fn open_hold(folder: &Path) -> (String, String) {
    let held = json(&onward(folder, "hold list --json").await.1);
    let text = |name: &str| held[name].as_str().expect("text").to_owned();
    (text("hold"), text("reason"))
}

/// Runs a decision and gives its exit, its state and the kinds of the copies.
async fn decide(folder: &Path, line: &str) -> (Result<Exit, Exit>, String, Vec<String>) {
    let (outcome, out) = onward(folder, &format!("hold {line} --json --reason decided-so --by Ada")).await;
    let shown = json(&out);
    let kinds = shown["deliveries"].as_array().expect("a list");
    let kinds = kinds.iter().map(|copy| copy["recipient"].as_str().expect("a kind").to_owned()).collect();
    (outcome, shown["state"].as_str().expect("a state").to_owned(), kinds)
}

async fn audited(app: &App, text: &str) -> bool {
    let entries = app.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    entries.iter().any(|entry| String::from_utf8_lossy(entry.event().expect("kept")).contains(text))
}

#[tokio::test]
async fn a_person_names_the_home_that_the_message_leaves_open() {
    let message = changed(DISCHARGE, "VMH01", "VZZ98");
    let (folder, app, receipt) = accepted(&message).await;
    let (id, reason) = open_hold(folder.path()).await;
    assert_eq!(reason, "care-home-unknown");
    let (outcome, state, _) = decide(folder.path(), &format!("release {id} --yes")).await;
    assert_eq!((outcome, state.as_str()), (Ok(Exit::No), "still-held"), "nobody has decided anything");
    assert!(audited(&app, "care-home-unknown not released, still held: care-home-unknown, by Ada: decided-so").await);
    let (outcome, state, _) = decide(folder.path(), &format!("reroute {id} --care-home VZZ99 --yes")).await;
    assert_eq!((outcome, state.as_str()), (Ok(Exit::No), "still-held"), "such a home is not in the directory");
    let (_, state, _) = decide(folder.path(), &format!("reroute {id} --registered-practice Y99002 --yes")).await;
    assert_eq!(state, "not-decidable", "it is the home that is not known");
    let (_, state, kinds) = decide(folder.path(), &format!("reroute {id} --care-home VMH01")).await;
    assert_eq!((state.as_str(), kinds.len()), ("preview", 5));
    assert_eq!(open_hold(folder.path()).await.0, id, "a preview changes nothing");
    let (outcome, state, kinds) = decide(folder.path(), &format!("reroute {id} --care-home VMH01 --yes")).await;
    assert_eq!((outcome, state.as_str(), kinds.len()), (Ok(Exit::Done), "released", 5));
    assert!(audited(&app, "released, 5 copies, by Ada, care home VMH01: decided-so").await);
    let transfer = app.gateway.store().transfer(receipt.transfer).await.expect("readable").expect("there");
    assert_eq!(transfer.care_home.as_ref().map(onward_core::OdsCode::as_str), Some("VMH01"));
    assert!(transfer.deliveries.iter().any(|copy| copy.recipient.as_str() == "VMH01"));
}

#[tokio::test]
async fn a_hold_that_changes_its_reason_changes_its_owner_and_keeps_what_was_decided() {
    let message = changed(DISCHARGE, "VMH01", "VZZ98");
    let (folder, app, _) = accepted(&message).await;
    let (id, _) = open_hold(folder.path()).await;
    let conflict = changed(PEOPLE, "registered_practice = \"Y99002\"", "registered_practice = \"Y99001\"");
    std::fs::write(folder.path().join("people.toml"), conflict).expect("writable");
    let (_, state, _) = decide(folder.path(), &format!("reroute {id} --care-home VMH01 --yes")).await;
    assert_eq!(state, "still-held");
    let held = app.gateway.store().holds().await.expect("readable").remove(0);
    let (owner, within) = app.gateway.settings().hold_policy(held.hold.reason);
    assert_eq!((held.hold.reason.as_str(), &held.hold.owner), ("registered-practice-conflict", &owner));
    assert!(held.hold.due > open::now() && held.hold.due <= open::now() + within, "its time begins anew");
    let (outcome, state, _) = decide(folder.path(), &format!("reroute {id} --registered-practice Y99002 --yes")).await;
    assert_eq!((outcome, state.as_str()), (Ok(Exit::Done), "released"), "the home stays decided");
}

#[tokio::test]
async fn what_a_person_may_send_despite_its_reason_is_sent() {
    let elsewhere = changed(DISCHARGE, "<code value=\"85\"/>", "<code value=\"19\"/>");
    let (folder, app, _) = accepted(&elsewhere).await;
    let (id, reason) = open_hold(folder.path()).await;
    assert_eq!(reason, "not-a-care-home-discharge");
    let (outcome, state, kinds) = decide(folder.path(), &format!("release {id} --yes")).await;
    assert_eq!(
        (outcome, state.as_str(), kinds.len()),
        (Ok(Exit::No), "not-confirmed", 5),
        "nobody said that they saw it"
    );
    let named = format!("reroute {id} --care-home VMH01 --yes");
    assert_eq!(decide(folder.path(), &named).await.1, "not-confirmed", "naming a home sends it despite that as well");
    assert_eq!(open_hold(folder.path()).await, (id.clone(), reason.clone()), "nothing has changed");
    assert!(app.gateway.store().policies_in_force().await.expect("readable").is_empty(), "and nothing was made");
    let (outcome, state, kinds) = decide(folder.path(), &format!("release {id} --held-for {reason} --yes")).await;
    assert_eq!((outcome, state.as_str(), kinds.len()), (Ok(Exit::Done), "released", 5));
}

#[tokio::test]
async fn nothing_is_decided_about_a_reason_that_has_become_another() {
    let message = changed(DISCHARGE, "VMH01", "VZZ98");
    let (folder, app, _) = accepted(&message).await;
    let (id, seen) = open_hold(folder.path()).await;
    let preview =
        onward(folder.path(), &format!("hold reroute {id} --care-home VMH01 --reason looked-at --by Ada")).await;
    assert_eq!(preview.0, Ok(Exit::Done));
    assert!(
        preview.1.contains("held for care-home-unknown") && preview.1.contains("--held-for care-home-unknown --yes"),
        "{}",
        preview.1
    );
    // Somebody else names the home, and it is found that the person is to go somewhere else altogether.
    let elsewhere = "UPDATE holds SET reason = 'not-a-care-home-discharge'";
    rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens").execute(elsewhere, []).expect("runs");
    let decision = format!("hold reroute {id} --care-home VMH01 --held-for {seen} --reason decided-so --by Ada --json");
    for line in [decision.clone(), format!("{decision} --yes")] {
        let (outcome, out) = onward(folder.path(), &line).await;
        let shown = json(&out);
        assert_eq!((outcome, shown["state"].as_str()), (Ok(Exit::No), Some("still-held")), "{out}");
        assert_eq!(shown["held_for"], "not-a-care-home-discharge");
        let why = shown["detail"].as_str().expect("text");
        let told = "nothing was decided; it is held for not-a-care-home-discharge now, not for care-home-unknown: ";
        assert!(why.starts_with(told), "{why}");
    }
    let held = app.gateway.store().holds().await.expect("readable").remove(0);
    assert_eq!((held.hold.id.to_string(), held.decided.as_str()), (id.clone(), "{}"), "no decision is kept");
    assert!(
        audited(
            &app,
            "not-a-care-home-discharge not released, still held: not-a-care-home-discharge, by Ada: decided-so"
        )
        .await
    );
    let (outcome, state, _) = decide(folder.path(), &format!("release {id} --held-for {seen} --yes")).await;
    assert_eq!((outcome, state.as_str()), (Ok(Exit::No), "still-held"));
}

#[tokio::test]
async fn a_restricted_persons_transfer_goes_to_whom_the_ward_agreed_and_nobody_else() {
    let (folder, app, _) = accepted(RESTRICTED).await;
    let (id, _) = open_hold(folder.path()).await;
    let agreed =
        |kinds: &str| format!("release {id} --held-for restricted-patient --recipients-agreed-with-ward {kinds} --yes");
    let unseen = format!("release {id} --recipients-agreed-with-ward care-home --yes");
    assert_eq!(decide(folder.path(), &unseen).await.1, "not-confirmed");
    for kinds in ["registered-practice", "care-home,pharmacy-nomination"] {
        let (_, state, _) = decide(folder.path(), &agreed(kinds)).await;
        assert_eq!(state, "not-decidable", "{kinds}");
    }
    let (_, state, _) = decide(folder.path(), &format!("reroute {id} --care-home VMH01 --yes")).await;
    assert_eq!(state, "not-decidable", "naming parties does not open a restricted record");
    let (outcome, state, kinds) = decide(folder.path(), &agreed("care-home")).await;
    assert_eq!(
        (outcome, state.as_str(), kinds.as_slice()),
        (Ok(Exit::Done), "released", ["care-home".to_owned()].as_slice())
    );
    assert!(audited(&app, "agreed with the ward to go to care-home").await);
}

#[tokio::test]
async fn a_closed_hold_ends_the_transfer_and_tells_the_hospital() {
    let (folder, app, receipt) = accepted_from(RESTRICTED, Some("R9ZOT001")).await;
    let (id, _) = open_hold(folder.path()).await;
    let (_, state, _) = decide(folder.path(), &format!("close {id}")).await;
    assert_eq!((state.as_str(), open_hold(folder.path()).await.0), ("preview", id.clone()));
    let (outcome, state, _) = decide(folder.path(), &format!("close {id} --yes")).await;
    assert_eq!((outcome, state.as_str()), (Ok(Exit::Done), "closed"));
    let store = app.gateway.store();
    assert!(store.holds().await.expect("readable").is_empty());
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let client = store.client("northmoor-epr").await.expect("readable").expect("there");
    let task = json(&app.gateway.transfer_task(&transfer, &client));
    assert_eq!(task["status"], "failed");
    assert!(task["statusReason"]["text"].as_str().is_some_and(|text| text.contains("decided-so")), "{task}");
    let mut told = false;
    // The acceptance's own response goes first.
    for _ in 0..2 {
        for lease in store.claim(Claim::due(open::now(), open::now(), 10)).await.expect("claimed") {
            let rendition = store.rendition(lease.delivery.id).await.expect("readable").expect("there");
            told |= String::from_utf8_lossy(&rendition.body).contains("value=\"30002\"");
            let outcome = AttemptOutcome::Sent { state: DeliveryState::Completed, reference: None };
            let (delivery, token) = (lease.delivery.id, lease.token);
            let end = AttemptEnd { delivery, token, outcome, at: open::now(), audit: Vec::new() };
            store.complete(vec![end]).await.expect("committed");
        }
    }
    assert!(told, "the negative response that it asked for");
    let shown = json(&onward(folder.path(), &format!("status --json {}", receipt.transfer)).await.1);
    assert!(shown["not_sent"].as_str().is_some_and(|text| text.contains("decided-so")), "{shown}");
    assert!(audited(&app, "closed by Ada, nothing is sent: decided-so").await);
    assert_eq!(decide(folder.path(), &format!("close {id} --yes")).await.1, "not-found");
}

/// One flipped bit must not hide from operators what else waits for them, nor that it is there.
#[tokio::test]
async fn a_list_ends_with_what_cannot_be_read_and_shows_the_rest() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let damage = |sql: &str| {
        let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
        file.execute_batch(sql).expect("runs");
    };
    let transfer = app.gateway.store().transfer(receipt.transfer).await.expect("readable").expect("there");
    let copies: Vec<_> = transfer.copies().map(|copy| copy.id).collect();
    damage("UPDATE deliveries SET state = 'failed', next_attempt = NULL, reason = '410'");
    damage(&format!("UPDATE deliveries SET endpoint = 'secret-word' WHERE id = '{}'", copies[0]));
    let (outcome, out) = onward(folder.path(), "dead list").await;
    assert_eq!(outcome, Ok(Exit::Done));
    let last = format!("1 copy cannot be read: {} (deliveries.endpoint)", copies[0]);
    assert_eq!(out.lines().last(), Some(last.as_str()), "{out}");
    assert!(copies[1..].iter().all(|copy| out.contains(&copy.to_string())) && !out.contains("secret-word"), "{out}");
    let (_, out) = onward(folder.path(), "dead list --json").await;
    assert_eq!(out.lines().map(json).count(), copies.len() - 1, "each line is a copy: {out}");
    // Whole pages of what cannot be read end no list.
    let mut in_order: Vec<_> = transfer.copies().map(|copy| (copy.created, copy.id)).collect();
    in_order.sort();
    for (_, id) in &in_order[..in_order.len() - 1] {
        damage(&format!("UPDATE deliveries SET endpoint = 'secret-word' WHERE id = '{id}'"));
    }
    for page_rows in [1, 2, 3] {
        let found = all_failed(app.gateway.store().as_ref(), page_rows).await.expect("readable");
        let read: Vec<_> = found.iter().map(|copy| copy.id).collect();
        assert_eq!(
            (read, found.damaged.len()),
            (vec![in_order[in_order.len() - 1].1], in_order.len() - 1),
            "{page_rows}"
        );
    }

    let (folder, ..) = accepted(&changed(DISCHARGE, "VMH01", "VZZ98")).await;
    let (id, _) = open_hold(folder.path()).await;
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute_batch("UPDATE holds SET due = 9223372036854775807").expect("runs");
    let (_, out) = onward(folder.path(), "hold list").await;
    assert_eq!(out, format!("nothing that can be read is held\n1 hold cannot be read: {id} (holds.due)\n"));
}
