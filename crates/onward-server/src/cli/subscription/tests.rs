use clap::Parser as _;
use onward_core::Timestamp;
use onward_core::audit::AuditWord;
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription, SubscriptionStatus};
use tempfile::TempDir;
use uuid::Uuid;

use crate::cli::terminal::capture;
use crate::cli::{Cli, Exit};

async fn onward(folder: &TempDir, words: &[&str]) -> (Exit, String) {
    let config = folder.path().join("gateway.toml").display().to_string();
    let words = [&["onward", "subscription"], words, &["--config", config.as_str()]].concat();
    let cli = Cli::try_parse_from(words).expect("parses");
    let (mut terminal, out, err) = capture::terminal();
    let exit = cli.run_on(None, &mut terminal).await;
    (exit, out.text() + &err.text())
}

#[tokio::test]
async fn an_operator_sees_subscriptions_without_their_paths_and_turns_one_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n\
                [pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
    std::fs::write(folder.path().join("people.toml"), "").expect("writable");
    std::fs::write(folder.path().join("gateway.toml"), toml).expect("writable");
    crate::store_keys::add_key(&folder.path().join("store.key"), crate::cli::open::now()).expect("a key");
    let config = crate::cli::open::ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.store().await.expect("a store");
    assert!(onward(&folder, &["list"]).await.1.contains("no system has subscribed"));
    let own = Subscription {
        id: Uuid::new_v4(),
        client_id: "rowan-house".to_owned(),
        criteria: "Task?status=requested".to_owned(),
        endpoint: "https://record.home.example/hooks/Holroyd".to_owned(),
        ends: None,
        status: SubscriptionStatus::Active,
        error: None,
        version: 1,
        created: Timestamp::UNIX_EPOCH,
        changed: Timestamp::UNIX_EPOCH,
        told: 0,
        failures: 0,
        next_call: Some(Timestamp::UNIX_EPOCH),
        failing_since: None,
    };
    assert_eq!(store.add_subscription(own.clone(), 1, Vec::new()).await, Ok(true));
    let (now, why) = (Timestamp::UNIX_EPOCH, "the partner answered 503");
    let token = store.take_call(own.id, 0, now, now).await.expect("committed").expect("due");
    let outcome = CallOutcome::Again { at: now, reason: why.to_owned() };
    let end = CallEnd { id: own.id, token, at: now, outcome, audit: Vec::new() };
    assert_eq!(store.end_call(end).await, Ok(true));
    for line in [&["list"][..], &["list", "--json"]] {
        let (exit, said) = onward(&folder, line).await;
        assert_eq!(exit, Exit::Done, "{said}");
        for part in ["rowan-house", "active", "record.home.example", why] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("Holroyd"), "{said}");
    }
    let id = own.id.to_string();
    let off = ["off", id.as_str(), "--reason", "their host is moved", "--by", "Ada Wells"];
    let (exit, said) = onward(&folder, &off).await;
    assert_eq!(exit, Exit::Done, "{said}");
    let now = store.subscription(own.id).await.expect("readable").expect("there");
    assert_eq!((now.status, now.next_call, now.version), (SubscriptionStatus::Off, None, 3));
    assert!(now.error.is_some_and(|why| why.contains("whoever runs the gateway")), "its owner learns why");
    assert_eq!(store.live_subscriptions().await, Ok(Vec::new()));
    let (exit, said) = onward(&folder, &off).await;
    assert!(exit == Exit::No && said.contains("off already"), "{said}");
    let nobody = Uuid::new_v4().to_string();
    let (exit, said) = onward(&folder, &["off", &nobody, "--reason", "moved", "--by", "Ada Wells"]).await;
    assert!(exit == Exit::No && said.contains("no subscription"), "{said}");
    // Three looks and one deed, each with its account, and nothing for what was not done.
    let entries = store.audit_entries(0, 100).await.expect("readable");
    let words: Vec<&str> = entries.iter().map(|entry| entry.columns.word.as_str()).collect();
    let looks = words.iter().filter(|word| **word == AuditWord::Query.as_str()).count();
    assert_eq!((looks, entries.len()), (3, 4), "{words:?}");
    let event = String::from_utf8_lossy(entries[3].event().expect("kept")).into_owned();
    assert!(event.contains(&format!("subscription {id} turned off by Ada Wells: their host is moved")), "{event}");
}
