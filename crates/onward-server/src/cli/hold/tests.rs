use std::path::Path;

use clap::Parser as _;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::state::RecipientKind;
use onward_core::store::{AttemptEnd, AttemptOutcome};
use onward_gateway::accept::{Receipt, Submission};
use tempfile::TempDir;

use super::*;
use crate::app::App;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command, directory};

const PEOPLE: &str = include_str!("../../../../../config/examples/pds-stand-in.toml");
const DIRECTORY: &str = include_str!("../../../../../config/examples/directory.toml");
const DISCHARGE: &str = include_str!("../../../../../fixtures/messages/edischarge-itk3.xml");
const RESTRICTED: &str = include_str!("../../../../../fixtures/messages/restricted-itk3.xml");

/// Runs a command on the gateway of this folder.
async fn onward(folder: &Path, line: &str) -> (Result<Exit, Exit>, String) {
    let config = folder.join("gateway.toml").display().to_string();
    let words = ["onward"].into_iter().chain(line.split_whitespace()).map(str::to_owned);
    let cli = Cli::try_parse_from(words.chain(["--config".to_owned(), config])).expect("parses");
    let (mut terminal, out, _) = capture::terminal();
    let outcome = match &cli.command {
        Command::Hold(command) => hold(command, &mut terminal).await,
        Command::Dead(command) => dead(command, &mut terminal).await,
        Command::Status(command) => status::run(command, &mut terminal).await,
        Command::Directory(command) => directory::run(command, &mut terminal).await,
        _ => unreachable!("the tests of this module name four commands"),
    };
    (outcome.map_err(|failure| failure.exit), out.text())
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).expect("one line of JSON")
}

/// A gateway with the example directory that has accepted this message.
async fn accepted(message: &'static str) -> (TempDir, App, Receipt) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n\
                  [pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
    for (name, text) in [("gateway.toml", config), ("people.toml", PEOPLE), ("directory.toml", DIRECTORY)] {
        std::fs::write(folder.path().join(name), text).expect("writable");
    }
    let import = format!("directory import {}", folder.path().join("directory.toml").display());
    assert_eq!(onward(folder.path(), &import).await.0, Ok(Exit::Done));
    let app = ConfigArgs { config: Some(folder.path().join("gateway.toml")) }.app().expect("wired");
    let client = Client {
        id: "northmoor-epr".to_owned(),
        ods: "R9Z".parse().expect("a code"),
        role: Role::Sender,
        jwks: r#"{"keys":[]}"#.to_owned(),
        certificate_sha256: None,
        mesh_mailbox: None,
        nhs_number_policy: NhsNumberPolicy::Refuse,
        disabled: false,
    };
    app.gateway.store().put_client(client.clone(), Vec::new()).await.expect("committed");
    let submission =
        Submission { client, body: message.into(), media_type: "application/fhir+xml".to_owned(), request_id: None };
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

#[tokio::test]
async fn a_hold_stays_while_its_reason_does() {
    let (folder, _, receipt) = accepted(RESTRICTED).await;
    let (_, out) = onward(folder.path(), "hold list --json").await;
    let held = json(&out);
    assert_eq!(
        (held["reason"].as_str(), held["transfer"].as_str()),
        (Some("restricted-patient"), Some(receipt.transfer.to_string().as_str()))
    );
    let release = format!("hold release --json --reason looked-at {}", held["hold"].as_str().expect("an identifier"));
    let (outcome, out) = onward(folder.path(), &release).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::No), Some("still-held")));
    let mended = PEOPLE
        .replace("sensitivity = \"restricted\"", "sensitivity = \"unrestricted\"\nregistered_practice = \"Y99002\"");
    std::fs::write(folder.path().join("people.toml"), mended).expect("writable");
    let (outcome, out) = onward(folder.path(), &release).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("released")), "{out}");
    assert!(onward(folder.path(), "hold list").await.1.contains("no transfer is held"));
    assert_eq!(json(&onward(folder.path(), &release).await.1)["state"], "not-found");
}

#[tokio::test]
async fn a_failed_delivery_is_replayed_only_after_a_preview_and_a_yes() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let now = open::now();
    let leases = store.claim(now, now, 1).await.expect("claimed");
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
    let last = String::from_utf8(entries.last().expect("there").event.clone()).expect("JSON");
    assert!(last.contains("replay of a failed copy: mended") && last.contains("operator"), "{last}");
}
