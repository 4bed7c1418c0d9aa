use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::state::RecipientKind;
use onward_gateway::collect::Form;
use onward_ledger::{SigningKeys, Tree};

use super::*;
use crate::cli::hold::tests::{DISCHARGE, accepted, json, onward};

pub(in crate::cli) fn home() -> Client {
    Client {
        id: "rowan-house".to_owned(),
        ods: "VMH01".parse().expect("a code"),
        role: Role::CareHome,
        jwks: r#"{"keys":[]}"#.to_owned(),
        certificate_sha256: None,
        mesh_mailbox: None,
        nhs_number_policy: NhsNumberPolicy::Refuse,
        disabled: false,
        under: None,
    }
}

#[tokio::test]
async fn what_went_to_the_wrong_home_is_taken_back_told_and_sent_on() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (gateway, store) = (&app.gateway, app.gateway.store());
    gateway.dispatch_due().await.expect("sent");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let patient = transfer.patient.clone().expect("known").expose().to_owned();
    let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").clone();
    gateway.open(&home(), copy.id, Form::Document, None).await.expect("audited").expect("the home reads it");

    let recall = format!("recall --json --by Ada --reason wrong-home {}", copy.id);
    let (outcome, out) = onward(folder.path(), &recall).await;
    let shown = json(&out);
    assert_eq!((outcome, shown["state"].as_str()), (Ok(Exit::Done), Some("preview")), "{out}");
    assert_eq!(shown["deliveries"][0]["readings"][0]["who"], "rowan-house");
    assert!(
        gateway.open(&home(), copy.id, Form::Document, None).await.expect("audited").is_some(),
        "a preview takes nothing back"
    );

    // A serving gateway signs checkpoints; here it is done by hand, before and after.
    let key = SigningKeys::generate("onward/R9Z").expect("a key");
    std::fs::write(folder.path().join("audit-signing.key"), key.to_secret_text().expect("text")).expect("written");
    gateway.checkpoint(&key, &mut Tree::new()).await.expect("signed");
    let pack = folder.path().join("incident");
    let (outcome, out) = onward(folder.path(), &format!("{recall} --yes --out {}", pack.display())).await;
    let shown = json(&out);
    assert_eq!((outcome, shown["state"].as_str()), (Ok(Exit::Done), Some("recalled")), "{out}");
    assert_eq!(
        (shown["deliveries"][0]["recalled"].as_bool(), shown["deliveries"][0]["may_have_it"].as_bool()),
        (Some(true), Some(true))
    );
    assert!(!out.contains(&patient), "no patient data on the screen");
    assert!(
        gateway.open(&home(), copy.id, Form::Document, None).await.expect("audited").is_none(),
        "nobody reads it any more"
    );
    let entries = std::fs::read_to_string(pack.join("audit.ndjson")).expect("written");
    assert!(entries.contains("recalled, by Ada") && entries.contains(&copy.id.to_string()));
    let proofs = std::fs::read_dir(&pack)
        .expect("a folder")
        .filter(|file| file.as_ref().expect("an entry").file_name().to_string_lossy().ends_with(".tlog-proof"));
    assert!(proofs.count() >= 2, "the placing and the reading are proven");
    let (_, matrix) = onward(folder.path(), "policy matrix --sent --csv").await;
    for element in ["what the log hashes", "envelope AuditEvent.recorded", "summary.json deliveries"] {
        assert!(matrix.contains(&format!("{element},evidence,R9Z,1,0,1,operator")), "{element}: {matrix}");
    }

    let now = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let notice = now.deliveries.iter().find(|copy| copy.notice.is_some()).expect("the home is told");
    for form in [Form::Document, Form::Page] {
        let told = gateway.open(&home(), notice.id, form, None).await.expect("audited").expect("theirs");
        let text = String::from_utf8(told.made.expect("made").bytes).expect("text");
        assert!(!text.contains(&patient) && !text.contains("Holroyd"), "not about whom it was");
    }
    // A directory in which the right home is, too.
    let two_homes = include_str!("../../../../../tests/support/directory.toml");
    std::fs::write(folder.path().join("two-homes.toml"), two_homes).expect("written");
    let import = format!("directory import {}", folder.path().join("two-homes.toml").display());
    assert_eq!(onward(folder.path(), &import).await.0, Ok(Exit::Done));
    // It goes to the right home, and nobody else gets a second copy.
    let hold = shown["hold"].as_str().expect("a hold to send it on by");
    let reroute = format!("hold reroute --json --care-home VMH02 --by Ada --reason ward --yes {hold}");
    let (outcome, out) = onward(folder.path(), &reroute).await;
    assert_eq!((outcome, json(&out)["state"].as_str()), (Ok(Exit::Done), Some("released")), "{out}");
    let homes: Vec<_> = json(&out)["deliveries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            (
                row["recipient"].as_str().unwrap_or_default().to_owned(),
                row["ods"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    assert!(homes.contains(&("care-home".to_owned(), "VMH02".to_owned())), "{homes:?}");
    assert!(!homes.iter().any(|(kind, _)| kind == "registered-practice"), "that one has its copy: {homes:?}");
    assert_eq!(
        onward(folder.path(), "recall --by Ada --reason x 00000000-0000-4000-8000-000000000000").await.0,
        Err(Exit::No)
    );
}

#[tokio::test]
async fn a_pause_is_named_and_audited_and_fsck_counts_what_waits() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let pause = "pause --all --by Ada --reason moving";
    assert_eq!(onward(folder.path(), pause).await.0, Ok(Exit::Done));
    assert_eq!(onward(folder.path(), pause).await.0, Err(Exit::No), "it is paused already");
    app.gateway.dispatch_due().await.expect("sent");
    let status = onward(folder.path(), "status").await.1;
    assert!(status.contains("everybody") && status.contains("moving") && status.contains("Ada"), "{status}");
    let (outcome, out) = onward(folder.path(), "fsck --json").await;
    let checkup = json(&out);
    assert_eq!(
        (outcome, checkup["accepted"].as_u64(), checkup["pending"].as_u64()),
        (Ok(Exit::Done), Some(1), Some(1)),
        "{out}"
    );
    assert_eq!(onward(folder.path(), "resume --all --by Ada --reason moved").await.0, Ok(Exit::Done));
    assert_eq!(onward(folder.path(), "resume --all --by Ada --reason moved").await.0, Err(Exit::No));
    app.gateway.dispatch_due().await.expect("sent");
    let checkup = json(&onward(folder.path(), "fsck --json").await.1);
    assert_eq!((checkup["pending"].as_u64(), checkup["parked"].as_u64()), (Some(0), Some(1)), "no MESH is set up here");
    let entries = app.gateway.store().audit_entries(0, 1_000).await.expect("readable");
    let told =
        entries.iter().filter(|entry| String::from_utf8_lossy(entry.event().expect("kept")).contains("by Ada: mov"));
    assert_eq!(told.count(), 2);
}
