use onward_core::DeliveryId;
use onward_core::state::DeliveryState;
use onward_core::store::{NewDelivery, Transition};
use onward_gateway::collect::Form;

use super::*;
use crate::app::App;
use crate::cli::hold::tests::{DISCHARGE, accepted, onward};
use crate::cli::recall::tests::home;
use crate::serve;

const SENT: &str = "policy matrix --sent --json";

/// The rows for one element to care homes: copies with it, of them beyond the policy.
fn to_homes(out: &str, element: &str) -> Option<(u64, u64)> {
    let rows = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let mut rows = rows.filter(|row| row["kind"] == "care-home" && row["element"] == element);
    let row = rows.next()?;
    Some((row["copies"].as_u64().expect("a number"), row["beyond"].as_u64().expect("a number")))
}

/// Queues a copy like this one, by the same policy, with one element more: as a mistake of the transform would make it.
async fn planted(app: &App, like: DeliveryId) -> DeliveryId {
    let store = app.gateway.store();
    let record = store.delivery(like).await.expect("readable").expect("there");
    let rendition = store.rendition(like).await.expect("readable").expect("there");
    let mut body: serde_json::Value = serde_json::from_slice(&rendition.body).expect("JSON");
    for entry in body["entry"].as_array_mut().expect("entries") {
        if entry["resource"]["resourceType"] == "Patient" {
            entry["resource"]["maritalStatus"] = json!({ "text": "CANARY" });
        }
    }
    let id = DeliveryId::random();
    let copy = NewDelivery {
        id,
        kind: record.kind,
        recipient: record.recipient.clone(),
        recipient_name: record.recipient_name.clone(),
        endpoint: record.endpoint.clone(),
        media_type: rendition.media_type,
        body: body.to_string().into_bytes(),
        html: rendition.html,
        card: None,
        correlation_id: None,
        workflow: None,
        basis: record.basis.clone(),
        disclosure: "{}".to_owned(),
        acknowledgement_awaited: true,
        notice: None,
    };
    let change = Transition {
        delivery: like,
        expected_version: record.version,
        state: DeliveryState::Accepted,
        code: None,
        reason: None,
        at: app.gateway.clock().now(),
        responses: vec![copy],
        audit: Vec::new(),
    };
    assert_eq!(store.transition(change).await, Ok(true));
    id
}

#[tokio::test]
async fn what_was_sent_is_told_from_the_bytes_and_a_mistake_is_seen() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (gateway, store) = (&app.gateway, app.gateway.store());
    let (outcome, out) = onward(folder.path(), SENT).await;
    assert_eq!((outcome, out.as_str()), (Ok(Exit::Done), ""), "nothing was sent yet");
    gateway.dispatch_due().await.expect("sent");
    let (outcome, out) = onward(folder.path(), SENT).await;
    assert_eq!(outcome, Ok(Exit::Done));
    assert!(out.contains("\"kind\":\"covering-practice\"") && !out.contains("\"kind\":\"care-home\""), "{out}");

    // The inbox's copy counts when it is read, once however often and in whatever form.
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
    for form in [Form::Page, Form::Document, Form::Document] {
        gateway.open(&home(), copy, form, None).await.expect("audited").expect("the home reads it");
    }
    let (outcome, out) = onward(folder.path(), SENT).await;
    assert_eq!(outcome, Ok(Exit::Done), "{out}");
    for element in
        ["Patient.name", "section medications-and-medical-devices", "page section allergies-and-adverse-reaction"]
    {
        assert_eq!(to_homes(&out, element), Some((1, 0)), "{element}: {out}");
    }
    assert_eq!(to_homes(&out, "section safeguarding"), None);
    let nhs_number = transfer.patient.as_ref().expect("known").expose();
    assert!(!out.contains(nhs_number), "names of elements only");

    let second = planted(&app, copy).await;
    gateway.open(&home(), second, Form::Document, None).await.expect("audited").expect("the home reads it");
    let (outcome, out) = onward(folder.path(), SENT).await;
    assert_eq!((outcome, to_homes(&out, "Patient.maritalStatus")), (Ok(Exit::No), Some((1, 1))), "{out}");
    assert_eq!(to_homes(&out, "Patient.name"), Some((2, 0)));
    let (outcome, table) = onward(folder.path(), "policy matrix --sent").await;
    assert!(outcome == Ok(Exit::No) && table.contains("Patient.maritalStatus") && table.contains("1!"), "{table}");
    let (_, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert!(
        dpia.contains("- beyond the policy: Patient.maritalStatus went to VMH01 as care-home in 1 copies"),
        "{dpia}"
    );
    let (_, csv) = onward(folder.path(), "policy matrix --sent --csv").await;
    assert_eq!(csv.lines().count(), out.lines().count() + 1);
    assert!(csv.contains("Patient.maritalStatus,care-home,VMH01,1,1,2"), "{csv}");
    let (outcome, none) = onward(folder.path(), &format!("{SENT} --until 2020-01-01")).await;
    assert_eq!((outcome, none.as_str()), (Ok(Exit::Done), ""), "the time is kept to");
    assert_eq!(
        onward(folder.path(), &format!("{SENT} --from 2020-01-02 --until 2020-01-01")).await.0,
        Err(Exit::Usage)
    );
}

#[tokio::test]
async fn a_list_that_is_not_what_its_entry_names_is_found() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    app.gateway.dispatch_due().await.expect("sent");
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute_batch("CREATE TABLE kept AS SELECT * FROM contents").expect("runs");
    for change in [
        "DELETE FROM contents WHERE sha256 = (SELECT max(sha256) FROM contents)",
        "UPDATE contents SET names = replace(names, 'Patient.name' || char(10), '')",
        "UPDATE contents SET names = names || 'Patient.photo' || char(10)",
    ] {
        assert!(file.execute(change, []).expect("runs") > 0, "{change}");
        let (outcome, out) = onward(folder.path(), SENT).await;
        assert_eq!(outcome, Ok(Exit::No), "{change}: {out}");
        let (outcome, out) = onward(folder.path(), "audit verify").await;
        assert!(outcome == Ok(Exit::No) && out.contains("the list of what was sent"), "{change}: {out}");
        file.execute_batch("DELETE FROM contents; INSERT INTO contents SELECT * FROM kept").expect("runs");
        assert_eq!(onward(folder.path(), SENT).await.0, Ok(Exit::Done));
        assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::Done));
    }
}

/// A later version that lets more go does not excuse a copy that an earlier one made; nor does a text that somebody changed in the store.
#[tokio::test]
async fn a_copy_is_held_against_the_policy_of_its_time() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (gateway, store) = (&app.gateway, app.gateway.store());
    let config_file = folder.path().join("gateway.toml");
    let starts = async || {
        let config = crate::config::Config::load(Some(&config_file)).expect("a configuration").config;
        let (parts, policies) = (in_force::parts(&config), in_force::policies(&config));
        in_force::note(gateway, "one", &parts.expect("readable"), &policies.expect("readable")).await
    };
    assert_eq!(starts().await, Ok(true));
    assert_eq!(starts().await, Ok(false), "the same again");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
    let second = planted(&app, copy).await;
    gateway.open(&home(), second, Form::Document, None).await.expect("audited").expect("the home reads it");
    let beyond = async || {
        let (outcome, out) = onward(folder.path(), SENT).await;
        (outcome, to_homes(&out, "Patient.maritalStatus"))
    };
    assert_eq!(beyond().await, (Ok(Exit::No), Some((1, 1))));

    let config = crate::config::Config::load(Some(&config_file)).expect("a configuration").config;
    let policies = folder.path().join("disclosure");
    std::fs::create_dir(&policies).expect("a folder");
    for (kind, text) in in_force::policies(&config).expect("readable") {
        let text = match kind {
            RecipientKind::CareHome => text
                .replace("version = \"2026-11-26\"", "version = \"later\"")
                .replace("\"birthDate\"", "\"birthDate\", \"maritalStatus\""),
            _ => text,
        };
        std::fs::write(policies.join(format!("{kind}.toml")), text).expect("written");
    }
    let text = std::fs::read_to_string(&config_file).expect("readable");
    std::fs::write(&config_file, text + "\n[disclosure]\nfolder = \"disclosure\"\n").expect("written");
    assert_eq!(starts().await, Ok(true));
    assert_eq!(store.policies_in_force().await.map(|kept| kept.len()), Ok(6), "five, and the later one");
    assert_eq!(beyond().await, (Ok(Exit::No), Some((1, 1))), "its own policy did not let it go");
    let (_, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert!(!dpia.contains("made by no policy"), "it is held against its own: {dpia}");

    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    let widened = "UPDATE policies SET text = replace(text, '\"birthDate\"', '\"birthDate\", \"maritalStatus\"')
        WHERE kind = 'care-home' AND text NOT LIKE '%later%'";
    assert_eq!(file.execute(widened, []), Ok(1));
    let (outcome, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert_eq!(outcome, Ok(Exit::No));
    assert!(dpia.contains("not linked: the policy for care-home that is kept since"), "{dpia}");
}

/// What somebody who answers for the log took away stands in the matrix, too.
#[tokio::test]
async fn files_that_were_handed_out_are_told_from_their_bytes() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let record = app.gateway.store().transfer(receipt.transfer).await.expect("readable").expect("there");
    let patient = record.patient.expect("known").expose().to_owned();
    let place = |name: &str| folder.path().join(name).display().to_string();
    app.gateway.dispatch_due().await.expect("sent");
    serve::signing_key(&folder.path().join("audit-signing.key"), &{
        crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config
    })
    .expect("a key");
    for line in [
        format!("audit export --out {}", place("log")),
        format!("audit export --evidence --out {}", place("evidence")),
        format!("sar export --nhs-number {patient} --out {}", place("archive")),
        format!("breach pack --from 2020-01-01 --to 2100-01-01 --reason r --out {}", place("pack")),
    ] {
        assert_eq!(onward(folder.path(), &line).await.0, Ok(Exit::Done), "{line}");
    }
    let (outcome, out) = onward(folder.path(), SENT).await;
    assert_eq!(outcome, Ok(Exit::Done), "{out}");
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (kind, element, files, of) in [
        ("log-export", "envelope AuditEvent.recorded", 2, 2),
        ("log-export", "what the log hashes", 1, 2),
        ("subject-access", "index.html heading Messages", 1, 1),
        ("subject-access", "section medications-and-medical-devices", 1, 1),
        ("breach-pack", "people.csv column nhs_number", 1, 1),
    ] {
        let found = rows.iter().find(|row| row["kind"] == kind && row["element"] == element);
        let found = found.unwrap_or_else(|| panic!("{kind} {element}: {out}"));
        assert_eq!((&found["copies"], &found["of"]), (&files.into(), &of.into()), "{found}");
        assert_eq!((&found["organisation"], &found["role"]), (&"R9Z".into(), &"operator".into()), "{found}");
    }
    assert!(!out.contains(&patient) && !out.contains("Holroyd"), "names of elements only");
    let (_, table) = onward(folder.path(), "policy matrix --sent").await;
    assert!(table.contains("handed out") && table.contains("breach-pack"), "{table}");
    let (_, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert!(dpia.contains("| subject-access | R9Z (operator) | 1 |") && !dpia.contains("never ended"), "{dpia}");
    // An export of which only the beginning was told.
    let desk = Desk::new(
        &crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config,
    );
    let desk = desk.expect("an organisation");
    let begun = onward_core::audit::AuditEntry {
        query: Some("audit/export?exported=*&before=1".to_owned()),
        ..desk.entry(AuditWord::Query, "export of the whole audit log")
    };
    app.gateway.store().audit(vec![desk.row_of(&begun)]).await.expect("committed");
    let (_, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert!(dpia.contains("1 exports of the log began and never ended"), "{dpia}");
}
