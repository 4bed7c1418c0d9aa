//! What a start tells of the configuration: what is other than before, and what no command left.

use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord};
use onward_core::client::{Client, Role};
use onward_core::state::RecipientKind;
use onward_core::{Clock as _, SystemClock};
use onward_gateway::registered;
use onward_gateway::verify::{Signed, walk};
use onward_server::{app, in_force, store_keys};
use onward_tests::world::{World, load};
use serde_json::Value;

/// What a start puts in force is told once, and again when it is something else; which part, never with which value.
#[tokio::test]
async fn a_start_with_another_configuration_is_told() {
    let mut world = World::start().await;
    assert_eq!(starts(&world).await.len(), 1);
    world.restart().await;
    assert_eq!(starts(&world).await.len(), 1, "the same again");
    let first = in_force::parts(&load(&world.config_file)).expect("readable");
    // Policies with a comment more, one of them with an element more; and one setting.
    let policies = world.folder().join("disclosure");
    std::fs::create_dir(&policies).expect("a folder");
    for (kind, _, text) in app::policy_texts(&load(&world.config_file)).expect("readable") {
        let text = match kind.as_str() {
            "pharmacy-nomination" => text.replace("\"birthDate\"", "\"birthDate\", \"address\""),
            _ => format!("# A comment more.\n{text}"),
        };
        std::fs::write(policies.join(format!("{kind}.toml")), text).expect("written");
    }
    let mut text = std::fs::read_to_string(&world.config_file).expect("readable");
    text.push_str("\n[disclosure]\nfolder = \"disclosure\"\n[retention]\nalerts_days = 4321\n");
    std::fs::write(&world.config_file, text).expect("written");
    world.restart().await;
    let second = in_force::parts(&load(&world.config_file)).expect("readable");
    let told = starts(&world).await;
    assert_eq!(told.len(), 2, "{told:?}");
    let (changes, rest) = told[1].split_once("; policies: ").expect("said");
    let of = |part: &str| format!("{part} changed ({} to {})", first[part], second[part]);
    let expected = ["policy pharmacy-nomination", "section disclosure", "section retention"].map(of).join(", ");
    assert!(changes.ends_with(&format!(": {expected}")), "{changes}");
    let (named, all) = rest.split_once("; in force: ").expect("said");
    assert!(!changes.contains("4321") && !all.contains("4321"), "no value: {}", told[1]);

    // The policies of both starts are kept, each once however many comments it gets.
    let kept = world.gateway().store().policies_in_force().await.expect("readable");
    let of = |kind: RecipientKind| kept.iter().filter(|policy| policy.kind == kind).collect::<Vec<_>>();
    let nomination = of(RecipientKind::PharmacyNomination);
    assert_eq!((nomination.len(), of(RecipientKind::CareHome).len()), (2, 1));
    assert!(
        !nomination[0].text.contains("\"birthDate\", \"address\"")
            && nomination[1].text.contains("\"birthDate\", \"address\"")
    );
    // The entry names those in force: for whom, which version, since when, and the digest of the text.
    let versions = app::load_policies(&load(&world.config_file)).expect("readable");
    let in_force = kept.iter().filter(|policy| *policy != nomination[0]);
    let mut expected: Vec<String> = in_force
        .map(|policy| {
            let sha256 = onward_server::listener::sha256_hex(policy.text.as_bytes());
            format!("{} {} {} {sha256}", policy.kind, versions[&policy.kind].version, policy.since)
        })
        .collect();
    expected.sort();
    let mut named: Vec<&str> = named.split(", ").collect();
    named.sort_unstable();
    assert_eq!(named, expected);

    // Each node is held against its own last start, a new one against that of any node.
    let policies = in_force::policies(&load(&world.config_file)).expect("readable");
    for (node, parts, is_told) in [
        ("two", &second, false),
        ("two", &first, true),
        ("two", &first, false),
        ("two", &second, true),
        ("three", &first, true),
    ] {
        assert_eq!(in_force::note(world.gateway(), node, parts, &policies).await, Ok(is_told), "{node}");
    }
    world.restart().await;
    assert_eq!(starts(&world).await.len(), 5, "this node has what it had");
}

/// A file of keys changes without the store: by hand, or before there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_which_keys_are_others_than_before() {
    let mut world = World::start().await;
    let before = in_force::parts(&load(&world.config_file)).expect("readable");
    let key = store_keys::add_key(&world.folder().join("store.key"), SystemClock.now()).expect("made");
    let hook = world.folder().join("hook.key");
    std::fs::write(&hook, onward_connect::webhook::new_key().expect("randomness").expose()).expect("written");
    let mut text = std::fs::read_to_string(&world.config_file).expect("readable");
    text.push_str("\n[[delivery.push]]\nhost = \"home.example\"\nsigning_key_files = [\"hook.key\"]\n");
    std::fs::write(&world.config_file, text).expect("written");
    world.restart().await;
    let newest = starts(&world).await.pop().expect("told");
    let changes = newest.split_once("; policies: ").expect("said").0;
    assert!(
        changes.contains(&format!("key of the store changed ({} to {key})", before["key of the store"])),
        "{changes}"
    );
    assert!(changes.contains("keys of posts is new (") && !changes.contains("keys of the log"), "{changes}");

    std::fs::write(&hook, onward_connect::webhook::new_key().expect("randomness").expose()).expect("written");
    world.restart().await;
    let newest = starts(&world).await.pop().expect("told");
    let changes = newest.split_once("; policies: ").expect("said").0;
    assert!(changes.contains(": keys of posts changed (") && !changes.contains("section"), "{changes}");

    // While nothing runs: an exchange under way is told by itself.
    world.stop().await;
    world.renew_certificate();
    world.restart().await;
    let newest = starts(&world).await.pop().expect("told");
    let changes = newest.split_once("; policies: ").expect("said").0;
    assert!(changes.ends_with(')') && changes.contains(": certificate of the server changed ("), "{changes}");
    assert!(!changes.contains("keys of posts") && !changes.contains("section"), "{changes}");
}

/// Who writes a registration into the database changes it without a command.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_no_command_left_is_told() {
    let mut world = World::start().await;
    world.signer("northmoor-epr", "R9Z", Role::Sender, None).await;
    world.restart().await;
    assert!(starts(&world).await.pop().expect("told").contains(": clients changed ("), "a command did");
    let misfit = async |world: &World| {
        let walked = walk(world.gateway().store().as_ref(), Signed::default(), |_| ()).await.expect("readable");
        walked.err().map(|misfit| misfit.why).unwrap_or_default()
    };
    let put = async |world: &World, client: Client| {
        world.gateway().store().put_client(client, Vec::new()).await.expect("stored");
    };
    assert_eq!(misfit(&world).await, "");
    let client = world.gateway().store().client("northmoor-epr").await.expect("readable").expect("registered");
    let raised = Client { role: Role::Operator, ..client.clone() };
    // Who plants a client also says whose it is.
    let planted = Client { id: "planted".to_owned(), ods: "ZZZ99".parse().expect("a code"), ..client.clone() };
    for (number, (strange, expected)) in (1..).zip([
        (raised.clone(), "the registration of client northmoor-epr ("),
        (planted.clone(), "the registration of client planted ("),
    ]) {
        put(&world, strange).await;
        let why = misfit(&world).await;
        assert!(why.contains(expected), "{why}");
        for _ in 0..2 {
            world.restart().await;
            let alarms = said(&world, "alarm: the registration ").await;
            assert!(alarms.len() == number && alarms[number - 1].contains(expected), "told once: {alarms:?}");
            assert_eq!(said(&world, OVER).await.len(), number - 1, "what was before is over");
        }
        assert!(starts(&world).await.pop().expect("told").contains(": clients changed ("), "by the next start");
        put(&world, client.clone()).await;
    }
    // Whoever finds such a client ends it by a command.
    let ended = Client { disabled: true, ..planted };
    let (agent, did) = (Agent::named(Agent::OPERATOR, None), registered::told(&ended, "disabled"));
    let row = AuditEntry::new(AuditWord::Configure, SystemClock.now(), agent, did);
    let store = world.gateway().store();
    store.put_client(ended, vec![world.gateway().journal().row(&row)]).await.expect("stored");
    assert_eq!(misfit(&world).await, "");

    // The same as at first, put there again, is another event.
    world.restart().await;
    put(&world, raised).await;
    world.restart().await;
    let alarms = said(&world, "alarm: the registration ").await;
    assert_eq!((alarms.len(), said(&world, OVER).await.len()), (3, 2), "{alarms:?}");
    assert_eq!(alarms[2], alarms[0]);
    // The leads of the client's organisation find them, as the API asks for it, and those of the gateway's own all of them.
    for (code, expected) in [("R9Z", 3), ("ZZZ99", 2), ("Y99900", 5), ("R9Y", 0)] {
        let lead = Client { ods: code.parse().expect("a code"), role: Role::InformationGovernance, ..client.clone() };
        let query = AuditQuery { words: vec![AuditWord::Alarm], limit: 100, ..AuditQuery::default() };
        let page = world.gateway().search_audit(&lead, query, None, "AuditEvent?type=110100", None).await;
        assert_eq!(page.expect("audited").entries.len(), expected, "{code}");
    }
    put(&world, client).await;
    assert_eq!(misfit(&world).await, "", "they are filed where they belong");
}

/// How an entry begins that tells that what an alarm told is over.
const OVER: &str = "alarm: no longer so: ";

/// What the entries of starts say, the oldest first.
async fn starts(world: &World) -> Vec<String> {
    said(world, "configure: start of node ").await
}

/// What entries say that begin so, the oldest first; what is said in one moment under several organisations, once.
async fn said(world: &World, begins: &str) -> Vec<String> {
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let events = entries.iter().filter_map(|entry| serde_json::from_slice::<Value>(entry.event()?).ok());
    let text = |of: &Value| of.as_str().map(str::to_owned);
    let told = events.filter_map(|event| Some((text(&event["recorded"])?, text(&event["outcomeDesc"])?)));
    let mut told: Vec<(String, String)> = told.filter(|(_, said)| said.starts_with(begins)).collect();
    told.dedup();
    told.into_iter().map(|(_, said)| said).collect()
}
