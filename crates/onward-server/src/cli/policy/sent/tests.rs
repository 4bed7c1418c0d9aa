use std::path::Path;

use onward_core::audit::{Agent, AuditEntry, Basis};
use onward_core::state::DeliveryState;
use onward_core::store::{NewDelivery, StoreError, Transition};
use onward_core::{DeliveryId, UserId};
use onward_gateway::attend::Attendant;
use onward_gateway::collect::Form;
use onward_gateway::explore::Inquiry;
use onward_gateway::exporting::{AskedExport, Export, ExportForm, Word};
use onward_gateway::made::{Half, Made};
use onward_gateway::verify::{Signed, walk};
use uuid::Uuid;

use super::*;
use crate::app::App;
use crate::cli::breach::tests::erase;
use crate::cli::hold::tests::{DISCHARGE, accepted, onward};
use crate::cli::recall::tests::home;
use crate::{in_force, serve};

mod planted;

const SENT: &str = "policy matrix --sent --json";

/// What a gateway notes at its start, with the configuration of this folder.
async fn started(folder: &Path, app: &App) -> bool {
    let config = crate::config::Config::load(Some(&folder.join("gateway.toml"))).expect("a configuration").config;
    let (parts, policies) = (in_force::parts(&config).expect("readable"), in_force::policies(&config));
    in_force::note(&app.gateway, "one", &parts, &policies.expect("readable")).await.expect("committed")
}

/// Puts a later policy for care homes in place of the built-in one, which lets one element more go.
fn widen(folder: &Path) {
    let config_file = folder.join("gateway.toml");
    let config = crate::config::Config::load(Some(&config_file)).expect("a configuration").config;
    let policies = folder.join("disclosure");
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
}

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
        directory: None,
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

    assert!(started(folder.path(), &app).await);
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

/// A later version that lets more go does not excuse a copy that an earlier one made; nor does what somebody changed in the store.
#[tokio::test]
async fn a_copy_is_held_against_the_policy_of_its_time() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (gateway, store) = (&app.gateway, app.gateway.store());
    let starts = async || started(folder.path(), &app).await;
    assert!(starts().await);
    assert!(!starts().await, "the same again");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
    let second = planted(&app, copy).await;
    gateway.open(&home(), second, Form::Document, None).await.expect("audited").expect("the home reads it");
    let beyond = async || {
        let (outcome, out) = onward(folder.path(), SENT).await;
        (outcome, to_homes(&out, "Patient.maritalStatus"))
    };
    assert_eq!(beyond().await, (Ok(Exit::No), Some((1, 1))));

    widen(folder.path());
    assert!(starts().await);
    assert_eq!(store.policies_in_force().await.map(|kept| kept.len()), Ok(6), "five, and the later one");
    assert_eq!(beyond().await, (Ok(Exit::No), Some((1, 1))), "its own policy did not let it go");
    let (_, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert!(!dpia.contains("made by no policy"), "it is held against its own: {dpia}");

    // Of what left before the first of its name was kept, whatever a later text lets go says nothing.
    gateway.open(&home(), copy, Form::Document, None).await.expect("audited").expect("the home reads it");
    let (_, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert!(
        dpia.contains("1 copies were made by no policy (notices), or before the policy that they name was kept"),
        "{dpia}"
    );
    assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::Done));

    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute_batch("CREATE TABLE kept AS SELECT * FROM policies").expect("runs");
    let first = "kind = 'care-home' AND text NOT LIKE '%\"later\"%'";
    let later = "kind = 'care-home' AND text LIKE '%\"later\"%'";
    for (change, told) in [
        (
            format!(
                "UPDATE policies SET text = replace(text, '\"birthDate\"', '\"birthDate\", \"maritalStatus\"') WHERE {first}"
            ),
            "is not the one that entry",
        ),
        (
            format!("UPDATE policies SET text = (SELECT text FROM kept WHERE {first}) WHERE {later}"),
            "is not the one that entry",
        ),
        (format!("DELETE FROM policies WHERE {first}"), "is not kept any more"),
        (format!("DELETE FROM policies WHERE {later}"), "is not kept any more"),
        (
            format!("UPDATE policies SET since = since - 1000000 WHERE {later}"),
            "is none that a start put in force then",
        ),
        (
            format!(
                "INSERT INTO policies (kind, since, text) SELECT kind, since + 60000000, text FROM kept WHERE {first}"
            ),
            "is none that a start put in force then",
        ),
        (
            format!(
                "UPDATE policies SET since = (SELECT since FROM kept WHERE {later}) WHERE kind = 'pharmacy-referral'"
            ),
            "is none that a start put in force then",
        ),
        (
            format!("UPDATE policies SET kind = 'registered-practice' WHERE {later}"),
            "is none that a start put in force then",
        ),
        (format!("UPDATE policies SET kind = 'nobody' WHERE {later}"), "a kept policy is unreadable"),
    ] {
        assert_eq!(file.execute(&change, []), Ok(1), "{change}");
        let (outcome, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
        assert_eq!(outcome, Ok(Exit::No), "{change}");
        assert!(dpia.contains("- not linked: ") && dpia.contains(told), "{change}: {dpia}");
        let (outcome, out) = onward(folder.path(), "audit verify").await;
        assert!(outcome == Ok(Exit::No) && out.contains("does not fit: entry "), "{change}: {out}");
        file.execute_batch("DELETE FROM policies; INSERT INTO policies SELECT * FROM kept").expect("runs");
        assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::Done), "{change}");
    }
    // A start after somebody took the newest away keeps it anew, and what is missing stays told.
    file.execute(&format!("DELETE FROM policies WHERE {later}"), []).expect("runs");
    assert!(starts().await);
    let (outcome, out) = onward(folder.path(), "audit verify").await;
    assert!(outcome == Ok(Exit::No) && out.contains("is not kept any more"), "{out}");
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
    assert!(dpia.contains("| subject-access | R9Z (operator) | 1 |") && !dpia.contains("have no end"), "{dpia}");
}

/// A start that puts policies in force while the log is read is no misfit, and the same row without one is.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_the_log_is_read_fits() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let starts = |_| {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(started(folder.path(), &app)));
    };
    let walked = walk(store.as_ref(), Signed::default(), starts).await.expect("readable");
    assert!(walked.is_ok(), "{walked:?}");
    assert_eq!(store.policies_in_force().await.map(|kept| kept.len()), Ok(5), "while it was read");
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute("UPDATE policies SET since = since + 1 WHERE kind = 'care-home'", []).expect("runs");
    let walked = walk(store.as_ref(), Signed::default(), |_| ()).await.expect("readable");
    assert!(walked.is_err_and(|misfit| misfit.why.contains("the policy for care-home")));
}

/// What cannot be told of any more does not leave whole.
#[tokio::test]
async fn an_export_about_somebody_who_is_erased_meanwhile_breaks_off() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let (gateway, own) = (&app.gateway, "R9Z".parse::<OdsCode>().expect("a code"));
    let patient = gateway.store().transfer(receipt.transfer).await.expect("readable").expect("there").patient;
    let lead = |name: &str| Attendant {
        user: UserId::random().to_string(),
        name: name.to_owned(),
        organisations: vec![own.clone()],
        agent: Agent::named(name, Some(own.clone())),
        request_id: None,
    };
    let (ada, ben) = (lead("Ada"), lead("Ben"));
    let inquiry = |who| Inquiry { who, organisation: &own, reason: "r", asked: "audit/exports".to_owned() };
    let export = Export { form: ExportForm::Csv, from: None, until: None, about: None, identified: None };
    assert_eq!(gateway.ask_export(&inquiry(&ada), export, patient.as_ref(), None).await, Ok(AskedExport::Kept));
    let id = gateway.exports(&own).await.expect("readable").first().expect("kept").id;
    let word = Word::Granted { shown: "shown" };
    assert_eq!(gateway.decide_export(&inquiry(&ben), id, word).await, Ok(true));
    let exported = gateway.fetch_export(&inquiry(&ada), id).await.expect("readable").expect("granted");
    gateway.begin_export(&exported).await.expect("committed");
    // Nobody is erased whose copies are on their way.
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    file.execute("UPDATE deliveries SET state = 'accepted' WHERE state = 'queued'", []).expect("runs");
    erase(&folder, patient.expect("known").expose()).await;
    assert_eq!(gateway.end_export(&exported, Made::default()).await, Err(StoreError::Erased));
    let found = sent(gateway.store().as_ref(), &[], (None, None), |_| ()).await.expect("readable");
    assert!(found.faults.is_empty() && found.taken.is_empty(), "{:?}", found.faults);
}

/// Halves of an export belong together by what they name, wherever the edge of a period lies between them.
#[tokio::test]
async fn exports_are_paired_by_their_identifier_across_the_edge_of_a_period() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let patient = store.transfer(receipt.transfer).await.expect("readable").expect("there").patient;
    let config =
        crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config;
    let desk = Desk::new(&config).expect("an organisation");
    let at = |minute: &str| format!("2026-03-01T10:{minute}:00Z").parse::<Timestamp>().expect("a moment");
    let whole = |detail: String| AuditEntry {
        query: Some("audit/export?exported=*&before=1".to_owned()),
        ..desk.entry(AuditWord::Query, detail)
    };
    let about = |word, detail: String| AuditEntry {
        patient: patient.clone(),
        basis: Some(Basis::accountability()),
        ..desk.entry(word, detail)
    };
    let ended = |entry: AuditEntry| {
        let mut made = Made::default();
        made.event(br#"{"resourceType":"AuditEvent","recorded":"x"}"#);
        let (sha256, contents) = made.finish();
        AuditEntry { content_sha256: Some(sha256), contents: Some(contents), ..entry }
    };
    let [across, cut, own, stray, short, erased] = std::array::from_fn(|_| Uuid::new_v4());
    let end = |id| desk.entry(AuditWord::Export, Half::End(id).told("export of the whole audit log"));
    let entries = [
        ("10", whole(Half::Beginning(across).told("export of the whole audit log"))),
        ("11", whole(Half::Beginning(cut).told("export of the whole audit log"))),
        ("12", about(AuditWord::SubjectAccess, Half::Beginning(own).told("export as CSV fetched: why"))),
        // As an earlier program wrote them.
        ("13", whole("export of the whole audit log".to_owned())),
        (
            "14",
            about(
                AuditWord::SubjectAccess,
                "export as NDJSON fetched, of the first 3 entries of the log: y".to_owned(),
            ),
        ),
        ("15", whole(Half::Beginning(short).told("export of the whole audit log"))),
        ("16", ended(end(short))),
        ("40", ended(end(across))),
        ("41", ended(end(stray))),
        ("42", ended(end(short))),
        // The person was erased before it ended, and its beginning with them.
        ("43", ended(about(AuditWord::Export, Half::End(erased).told("export as CSV fetched: why")))),
    ];
    let first = store.audit_size().await.expect("readable");
    let rows = entries.into_iter().map(|(minute, entry)| AuditEntry { recorded: at(minute), ..entry });
    store.audit(rows.map(|entry| desk.row_of(&entry)).collect()).await.expect("committed");

    let read = async |from, until| sent(store.as_ref(), &[], (from, until), |_| ()).await.expect("readable");
    let files = |found: &Sent| found.taken.values().map(|files| files.copies).sum::<u64>();
    let edge = Some(at("30"));
    let before = read(None, edge).await;
    assert_eq!(before.unended, [first + 1, first + 2], "what was cut off, about one person too");
    assert_eq!((before.ended_elsewhere, before.unpaired, files(&before)), (1, 2, 1));
    assert!(before.unrecorded == 0 && before.faults.is_empty(), "{:?}", before.faults);
    let after = read(edge, Some(at("41"))).await;
    assert_eq!((after.unended.len(), after.ended_elsewhere, files(&after)), (0, 0, 1), "it began before");
    assert!(after.faults.is_empty(), "{:?}", after.faults);
    let strange = read(edge, None).await;
    assert_eq!(strange.faults, [format!("entry {}: the end of export {stray}, which never began", first + 8)]);
    let all = read(None, None).await;
    assert_eq!(all.unended, before.unended);
    assert_eq!((before.begun_unread.len(), all.begun_unread.as_slice()), (0, [first + 10].as_slice()), "no fault");
    assert_eq!((all.ended_elsewhere, all.unpaired), (0, 2));
    assert!(all.faults.contains(&format!("entry {}: a second end of export {short}", first + 9)), "{:?}", all.faults);
    let (outcome, dpia) = onward(folder.path(), "policy matrix --sent --format dpia").await;
    assert_eq!(outcome, Ok(Exit::No), "a fault");
    for words in [
        format!("2 exports began and have no end (entries {}, {})", first + 1, first + 2),
        "2 exports began before their entries had identifiers".to_owned(),
        format!("not linked: entry {}: the end of export", first + 8),
        format!(
            "1 exports about one person ended, and no beginning of them can be read (entries {}): either the person was erased while it left, \
             or it never had one\n",
            first + 10
        ),
    ] {
        assert!(dpia.contains(&format!("- {words}")), "{words}: {dpia}");
    }
}
