//! Policies that somebody puts straight into the database, and starts of one moment.

use onward_core::audit::AuditQuery;
use onward_gateway::starts::{Named, POLICY, Start, digest};
use onward_gateway::verify::Signed;
use onward_transform::disclose::Policy;

use super::*;
use crate::in_force::By;

/// What the alarms of the log say.
async fn alarms(app: &App) -> Vec<String> {
    said(app, AuditWord::Alarm).await
}

/// What the entries with this word say, the oldest first.
async fn said(app: &App, word: AuditWord) -> Vec<String> {
    let entries = app.gateway.store().audit_entries(0, 10_000).await.expect("readable");
    let own = entries.iter().filter(|entry| entry.columns.word == word.as_str());
    let events = own.map(|entry| serde_json::from_slice::<serde_json::Value>(entry.event().expect("kept")));
    events.map(|event| event.expect("JSON")["outcomeDesc"].as_str().expect("said").to_owned()).collect()
}

fn database(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("onward.db")).expect("opens")
}

/// What has been put there before a start counts for nothing, is told once, and taken away again leaves a whole log.
#[tokio::test]
async fn a_planted_policy_is_told_by_each_start_and_signed_for_by_none() {
    let (folder, app, receipt) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    assert!(started(folder.path(), &app).await);
    let copy = {
        let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
        let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
        planted(&app, copy).await
    };
    // The very policy that is to come into force later, under the name of the one that is in force.
    let file = database(folder.path());
    let plant = "INSERT INTO policies (kind, since, text) SELECT kind, since + 1,
         replace(text, '\"birthDate\"', '\"birthDate\", \"maritalStatus\"') FROM policies WHERE kind = 'care-home'";
    assert_eq!(file.execute(plant, []), Ok(1));
    app.gateway.open(&home(), copy, Form::Document, None).await.expect("audited").expect("the home reads it");

    assert!(!started(folder.path(), &app).await, "what is in force is what was");
    let told = alarms(&app).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("alarm: the policy for care-home that is kept since ")
            && told[0].ends_with(" was put in force by no start: it counts for nothing"),
        "{told:?}"
    );
    widen(folder.path());
    assert!(started(folder.path(), &app).await, "another one is in force");
    assert!(!started(folder.path(), &app).await);
    let config =
        crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config;
    let policies = in_force::policies(&config).expect("readable");
    assert_eq!(in_force::note_policies(&app.gateway, "one", &policies).await, Ok(false), "a command");
    assert_eq!(alarms(&app).await, told, "told once");
    assert_eq!(
        store.policies_in_force().await.map(|kept| kept.len()),
        Ok(7),
        "five, the planted one and the later one"
    );
    let starts = said(&app, AuditWord::Configure).await;
    let newest = starts.iter().rfind(|said| said.contains("start of node ")).expect("started");
    let named =
        newest.split_once("; policies: ").and_then(|(_, rest)| rest.split_once("; in force: ")).expect("said").0;
    assert_eq!(named.split(", ").count(), 5, "the planted one is not named: {named}");

    for line in ["policy matrix --sent --format dpia", "audit verify"] {
        let (outcome, out) = onward(folder.path(), line).await;
        assert!(outcome == Ok(Exit::No) && out.contains("it was planted or changed in the store"), "{line}: {out}");
    }
    let beyond = async || {
        let (outcome, out) = onward(folder.path(), SENT).await;
        (outcome, to_homes(&out, "Patient.maritalStatus"))
    };
    assert_eq!(beyond().await, (Ok(Exit::No), Some((1, 1))), "it excuses nothing");
    let aside = "CREATE TABLE aside AS SELECT * FROM policies WHERE since - 1 IN (SELECT since FROM policies)";
    file.execute_batch(aside).expect("runs");
    assert_eq!(file.execute("DELETE FROM policies WHERE since - 1 IN (SELECT since FROM policies)", []), Ok(1));
    assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::Done), "nobody has signed for it");
    assert_eq!(beyond().await, (Ok(Exit::No), Some((1, 1))));

    // A start that does not find it says so; put there again it is another event.
    let over = told[0].replacen("alarm: ", "alarm: no longer so: ", 1);
    for _ in 0..2 {
        assert!(!started(folder.path(), &app).await, "what is in force is what was");
        assert_eq!(alarms(&app).await, [told[0].clone(), over.clone()], "that it is over is told once");
    }
    assert_eq!(file.execute("INSERT INTO policies SELECT * FROM aside", []), Ok(1));
    for _ in 0..2 {
        assert!(!started(folder.path(), &app).await);
        assert_eq!(alarms(&app).await, [told[0].clone(), over.clone(), told[0].clone()], "told again, once");
    }
    let found = async |code: &str| {
        let organisation = Some(code.parse().expect("a code"));
        let query = AuditQuery { organisation, words: vec![AuditWord::Alarm], limit: 10, ..AuditQuery::default() };
        store.search_audit(query).await.expect("readable").len()
    };
    let own = app.gateway.settings().own_ods.to_string();
    assert_eq!((found(&own).await, found("ZZZ99").await), (3, 0), "they are the gateway's own organisation's");
    assert_eq!(file.execute("DELETE FROM policies WHERE since - 1 IN (SELECT since FROM policies)", []), Ok(1));
    let (outcome, out) = onward(folder.path(), "audit verify").await;
    assert_eq!(outcome, Ok(Exit::Done), "filed where they belong: {out}");
}

/// One damaged entry keeps no gateway from starting, and nothing from being told.
#[tokio::test]
async fn a_damaged_alarm_is_not_in_the_way_of_a_start() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    assert!(started(folder.path(), &app).await);
    let file = database(folder.path());
    let plant = "INSERT INTO policies (kind, since, text)
         SELECT kind, since + 1, text FROM policies WHERE kind = 'care-home'";
    assert_eq!(file.execute(plant, []), Ok(1));
    assert!(!started(folder.path(), &app).await);
    let damage = "UPDATE audit_log SET event = zeroblob(length(event)) WHERE word = 'alarm'";
    assert_eq!(file.execute(damage, []), Ok(1));
    for told in 2..4 {
        assert!(!started(folder.path(), &app).await, "what is in force is what was");
        let count = file.query_row("SELECT count(*) FROM audit_log WHERE word = 'alarm'", [], |row| row.get(0));
        assert_eq!(count, Ok(told), "told anew, as nobody knows what was told");
    }
    let (outcome, out) = onward(folder.path(), "audit verify").await;
    assert!(outcome == Ok(Exit::No), "{out}");
}

#[tokio::test]
async fn a_policy_that_was_planted_before_the_first_start_counts_for_nothing() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let file = database(folder.path());
    let config =
        crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config;
    // Word for word what is going to be in force.
    let text = in_force::policies(&config).expect("readable")[&RecipientKind::CareHome].clone();
    let plant = "INSERT INTO policies (kind, since, text) VALUES ('care-home', 5, ?)";
    assert_eq!(file.execute(plant, [text]), Ok(1));
    assert!(started(folder.path(), &app).await);
    assert_eq!(app.gateway.store().policies_in_force().await.map(|kept| kept.len()), Ok(6), "its own beside it");
    assert_eq!(alarms(&app).await.len(), 1);
    assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::No));
    assert_eq!(file.execute("DELETE FROM policies WHERE since = 5", []), Ok(1));
    assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::Done));
}

/// A program before this one named whatever was kept when it started.
#[tokio::test]
async fn a_planted_policy_that_an_earlier_program_named_is_told_all_the_same() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    assert!(started(folder.path(), &app).await);
    let plant =
        "INSERT INTO policies (kind, since, text) SELECT kind, 4070908800000000, text || '# later' FROM policies
         WHERE kind = 'care-home'";
    assert_eq!(database(folder.path()).execute(plant, []), Ok(1));
    let (store, gateway) = (app.gateway.store(), &app.gateway);
    let kept = store.policies_in_force().await.expect("readable");
    let named: Vec<Named> = kept.iter().map(Named::of).collect();
    let config =
        crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config;
    let parts = in_force::parts(&config).expect("readable");
    let told = Start::told("one", "something changed", &named, &parts);
    let entry = AuditEntry::new(AuditWord::Configure, gateway.clock().now(), Agent::gateway(), told);
    store.audit(vec![gateway.journal().row(&entry)]).await.expect("committed");
    started(folder.path(), &app).await;
    assert_eq!(alarms(&app).await.len(), 1);
    widen(folder.path());
    assert!(started(folder.path(), &app).await, "what comes into force is not judged by it");
    assert_eq!(store.policies_in_force().await.map(|now| now.len()), Ok(kept.len() + 1));
    assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::No));
}

/// A destroyed key hides what starts said, so that their policies cannot fit: the key is what is told.
#[tokio::test]
async fn a_key_that_nothing_explains_is_told_before_what_it_hides() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    assert!(started(folder.path(), &app).await);
    let file = database(folder.path());
    file.execute("UPDATE policies SET since = since + 1 WHERE kind = 'care-home'", []).expect("runs");
    let walk = async || {
        let walked = onward_gateway::verify::walk(app.gateway.store().as_ref(), Signed::default(), |_| ()).await;
        walked.expect("readable").expect_err("a misfit").why
    };
    assert!(walk().await.contains("the policy for care-home"));
    let destroy = "UPDATE data_keys SET wrapped = NULL, number = NULL, destroyed = 1 WHERE kind = 'gateway'";
    assert_eq!(file.execute(destroy, []), Ok(1));
    let why = walk().await;
    assert!(why.contains("its key was destroyed, and the log has no erasure that names the key"), "{why}");
}

/// Nodes that start in one microsecond, each with another policy, get microseconds of their own.
#[tokio::test(flavor = "multi_thread")]
async fn policies_of_one_moment_are_all_kept() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let config =
        crate::config::Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config;
    let (parts, policies) = (in_force::parts(&config).expect("readable"), in_force::policies(&config));
    let (policies, at) = (policies.expect("readable"), app.gateway.clock().now());
    let home = RecipientKind::CareHome;
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (gateway, mut parts, mut policies) = (app.gateway.clone(), parts.clone(), policies.clone());
        let text = policies[&home].replace("version = \"2026-11-26\"", &format!("version = \"of {number}\""));
        parts.insert(format!("{POLICY}{home}"), digest(&Policy::says(&text).expect("TOML")));
        policies.insert(home, text);
        starts.spawn(async move {
            in_force::note_at(&gateway, at, &format!("node-{number}"), By::Start(&parts), &policies).await
        });
    }
    assert_eq!(starts.join_all().await, vec![Ok(true); 6]);
    let kept = app.gateway.store().policies_in_force().await.expect("readable");
    let own = || kept.iter().filter(|policy| policy.kind == home);
    let texts: BTreeSet<&str> = own().map(|policy| policy.text.as_str()).collect();
    let moments: BTreeSet<Timestamp> = own().map(|policy| policy.since).collect();
    assert_eq!((own().count(), texts.len(), moments.len()), (6, 6, 6), "none in another's place");
    assert_eq!(kept.len(), 6 + 4, "what they share is kept once");
    assert_eq!(onward(folder.path(), "audit verify").await.0, Ok(Exit::Done));
}
