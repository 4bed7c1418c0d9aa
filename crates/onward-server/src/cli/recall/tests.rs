use onward_core::audit::Agent;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::state::RecipientKind;
use onward_core::store::Pause;
use onward_gateway::arrivals::Listing;
use onward_gateway::attend::Attendant;
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
    // Later, once the home has read the notice, the folder is written again: it is no preview, and has that reading.
    let (_, out) = onward(folder.path(), &recall).await;
    let shown_later = json(&out);
    assert_eq!(
        (shown_later["state"].as_str(), &shown_later["deliveries"][0]["may_have_it"]),
        (Some("recalled"), &true.into())
    );
    assert_eq!(shown_later["notices"][0]["readings"].as_array().map(Vec::len), Some(2), "{out}");
    let reading = &shown_later["notices"][0]["readings"][0]["entry"];
    assert!(shown_later["audit_entries"].as_array().expect("a list").contains(reading), "{out}");
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
async fn a_home_that_saw_the_person_on_its_list_is_told_of_the_recall() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (gateway, store) = (&app.gateway, app.gateway.store());
    gateway.dispatch_due().await.expect("sent");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
    let recall = format!("recall --json --by Ada --reason wrong-home {copy}");
    let shown = json(&onward(folder.path(), &recall).await.1);
    assert_eq!(shown["deliveries"][0]["may_have_it"], false, "nobody has seen it");
    let who = Attendant {
        user: "bea".to_owned(),
        name: "Bea Lang".to_owned(),
        organisations: vec!["VMH01".parse().expect("a code")],
        agent: Agent::named("Bea Lang", None),
        request_id: None,
    };
    let listing = Listing {
        open_only: true,
        since: onward_core::Timestamp::MIN,
        whole: true,
        limit: 100,
        asked: "inbox?show=open".to_owned(),
    };
    let listed = gateway.arrivals(&who, listing, |_| true).await.expect("audited");
    assert_eq!(listed.arrivals.iter().map(|arrival| arrival.copy.id).collect::<Vec<_>>(), [copy]);
    let shown = json(&onward(folder.path(), &recall).await.1);
    assert_eq!((shown["state"].as_str(), &shown["deliveries"][0]["may_have_it"]), (Some("preview"), &true.into()));
    let list = &shown["deliveries"][0]["listed"][0];
    assert_eq!(list["who"], "Bea Lang");
    assert!(shown["audit_entries"].as_array().expect("a list").contains(&list["entry"]), "{shown}");
    for line in [format!("{recall} --yes"), recall] {
        let shown = json(&onward(folder.path(), &line).await.1);
        assert_eq!((shown["state"].as_str(), &shown["deliveries"][0]["may_have_it"]), (Some("recalled"), &true.into()));
        assert_eq!(shown["notices"][0]["of"], copy.to_string(), "{shown}");
    }
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
    // A home is paused by the code that its copies carry, whichever of its codes is typed; nobody's code pauses nobody.
    let (outcome, out) = onward(folder.path(), "pause --json VMH00 --by Ben --reason asked").await;
    assert_eq!((outcome, json(&out)["recipient"].as_str()), (Ok(Exit::Done), Some("VMH01")), "{out}");
    assert_eq!(onward(folder.path(), "pause VMH01 --by Ben --reason asked").await.0, Err(Exit::No), "it is already");
    for line in ["pause", "resume"] {
        assert_eq!(onward(folder.path(), &format!("{line} VMH99 --by Ben --reason asked")).await.0, Err(Exit::No));
    }
    let pauses = async || {
        let pauses = app.gateway.store().pauses().await.expect("readable");
        pauses.into_iter().filter_map(|pause| Some(pause.recipient?.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(pauses().await, ["VMH01"]);
    let resumed = onward(folder.path(), "resume VMH00 --by Ben --reason asked").await;
    assert!(resumed.0 == Ok(Exit::Done) && resumed.1.contains("VMH01 (VMH00 is another code of it)"), "{}", resumed.1);
    // One of before, which does nothing, can be lifted.
    let nobodys =
        Pause { recipient: "VMH99".parse().ok(), reason: "asked".to_owned(), by: "Ben".to_owned(), since: open::now() };
    assert_eq!(app.gateway.store().pause(nobodys, Vec::new()).await, Ok(true));
    assert_eq!(onward(folder.path(), "resume VMH99 --by Ben --reason asked").await.0, Ok(Exit::Done));
    assert_eq!(pauses().await, [""; 0]);
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
