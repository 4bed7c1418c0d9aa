//! What our profiles of audit events say: everything that we write conforms to them, and they let nothing go that they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onward_core::audit::{Agent, AuditEntry, AuditWord, Basis};
use onward_core::client::Role as ClientRole;
use onward_core::people::Role;
use onward_core::store::Contents;
use onward_core::{Clock as _, DeliveryId, SystemClock, TransferId};
use onward_gateway::journal::Journal;
use onward_server::cli::Exit;
use onward_tests::balp;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, accepted};
use serde_json::Value;

/// The event of an entry about something of everything.
fn event(word: AuditWord, change: impl FnOnce(&mut AuditEntry)) -> Value {
    let role = Some(ClientRole::Practice.as_str());
    let account = Some("ada, uid 1001, signed in".to_owned());
    let agent = Agent { role, account, ..Agent::named("ward", Some("R9Z".parse().expect("a code"))) };
    let mut entry = AuditEntry {
        transfer: Some(TransferId::random()),
        delivery: Some(DeliveryId::random()),
        recipient: Some("VMH01".parse().expect("a code")),
        patient: Some("9990000018".parse().expect("a test number")),
        basis: Some(Basis::care("direct care")),
        content_sha256: Some("5e".repeat(32)),
        contents: Some(Arc::new(Contents { sha256: [0x5e; 32], names: String::new() })),
        request_id: Some("request".to_owned()),
        query: Some("Task?status=requested".to_owned()),
        ..AuditEntry::new(word, SystemClock.now(), agent, "detail")
    };
    change(&mut entry);
    let journal = Journal::new(&"Y99900".parse().expect("a code"), "https://gateway.example");
    serde_json::from_slice(&journal.row(&entry).event).expect("JSON")
}

/// Also for what only MESH, the dispatcher or the command line write.
#[test]
fn every_word_has_the_shape_of_balp() {
    let mut met = BTreeSet::new();
    for &word in AuditWord::ALL {
        for bits in 0..16_u32 {
            let (with_copy, about, success) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
            // The gateway alone sends, and asks PDS.
            let sends = [
                AuditWord::DirectoryLookup,
                AuditWord::Intend,
                AuditWord::Disclose,
                AuditWord::AttemptFailed,
                AuditWord::DeliveryFailed,
                AuditWord::Respond,
            ];
            let client = bits & 8 > 0 && !sends.contains(&word);
            let event = event(word, |entry| {
                // Refusals and denials are never successes.
                entry.success = success && !matches!(word, AuditWord::Refuse | AuditWord::Deny);
                entry.delivery = entry.delivery.filter(|_| with_copy);
                entry.patient = entry.patient.take().filter(|_| about);
                if !client {
                    entry.agent = Agent::gateway();
                }
            });
            let problems = balp::problems(&event);
            assert!(problems.is_empty(), "{word}: {problems:#?} in {event:#}");
            met.insert(balp::counterpart(&event));
        }
    }
    assert_eq!(met.len(), 14, "every profile is met, and no other: {met:?}");
}

#[test]
fn every_role_is_one_of_the_code_system() {
    let roles = ClientRole::ALL.iter().map(|role| role.as_str()).chain(Role::ALL.iter().map(|role| role.as_str()));
    for role in roles {
        let event = event(AuditWord::ReadTask, |entry| entry.agent.role = Some(role));
        assert_eq!(balp::problems(&event), Vec::<String>::new(), "{role}");
    }
    let event = event(AuditWord::ReadTask, |entry| entry.agent.role = Some("janitor"));
    assert!(!balp::problems(&event).is_empty());
}

/// An event of each profile.
fn one_of_each() -> BTreeMap<&'static str, Value> {
    let without_person = |entry: &mut AuditEntry| entry.patient = None;
    let of_gateway = |entry: &mut AuditEntry| entry.agent = Agent::gateway();
    let events = [
        event(AuditWord::Accept, |_| ()),
        event(AuditWord::Accept, without_person),
        event(AuditWord::Read, |_| ()),
        event(AuditWord::Read, without_person),
        event(AuditWord::Acknowledge, |_| ()),
        event(AuditWord::Acknowledge, without_person),
        event(AuditWord::Query, |_| ()),
        event(AuditWord::Query, without_person),
        event(AuditWord::Disclose, of_gateway),
        event(AuditWord::AttemptFailed, |entry| {
            of_gateway(entry);
            without_person(entry);
        }),
        event(AuditWord::Read, |entry| entry.success = false),
        event(AuditWord::Deny, |entry| entry.success = false),
        event(AuditWord::SignIn, |_| ()),
        event(AuditWord::Configure, |_| ()),
    ];
    events.into_iter().map(|event| (balp::counterpart(&event), event)).collect()
}

/// Each place of an event: a pointer to it, and its name, in which agents and entities go by their type.
fn places(at: &Value, pointer: &str, name: &str, found: &mut Vec<(String, String)>) {
    if !pointer.is_empty() {
        found.push((pointer.to_owned(), name.to_owned()));
    }
    match at {
        Value::Object(fields) => {
            for (field, value) in fields {
                places(value, &format!("{pointer}/{field}"), &format!("{name}.{field}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let kind = &item["type"];
                let kind = kind["code"].as_str().or(kind["coding"][0]["code"].as_str());
                let name = match kind {
                    Some(kind) => format!("{name}[{kind}]"),
                    None => name.to_owned(),
                };
                places(item, &format!("{pointer}/{index}"), &name, found);
            }
        }
        _ => {}
    }
}

fn without(event: &Value, pointer: &str) -> Value {
    let mut event = event.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a place in something");
    match event.pointer_mut(parent).expect("there") {
        Value::Object(fields) => {
            fields.remove(key);
        }
        Value::Array(items) => {
            items.remove(key.parse().expect("an index"));
        }
        _ => unreachable!("a place is in an object or an array"),
    }
    event
}

fn altered(event: &Value, pointer: &str) -> Option<Value> {
    let mut event = event.clone();
    let value = event.pointer_mut(pointer).expect("there");
    *value = match value {
        Value::String(_) => "altered".into(),
        Value::Bool(flag) => (!*flag).into(),
        _ => return None,
    };
    Some(event)
}

/// What may be missing wherever it is.
const OPTIONAL: &[&str] = &[
    ".agent[110152].altId",
    ".agent[110153].altId",
    ".agent[110152].role",
    ".agent[110153].role",
    ".agent[110152].who.identifier",
    ".agent[110153].who.identifier",
    ".agent[110152].who.type",
    ".agent[110153].who.type",
    ".entity[1].what.type",
    ".entity[2].detail",
    ".entity[Task]",
    ".entity[XrequestId]",
];

/// What may be missing from an event that claims no profile of IHE.
const OPTIONAL_WITHOUT_CLAIM: &[&str] = &[".entity", ".entity[1]", ".entity[2]"];

/// What may be any text.
const FREE: &[&str] = &[
    ".agent[110152].altId",
    ".agent[110153].altId",
    ".agent[110152].network.address",
    ".agent[110153].network.address",
    ".agent[110152].who.identifier.value",
    ".agent[110153].who.identifier.value",
    ".entity[XrequestId].what.identifier.value",
    ".purposeOfEvent.text",
];

/// How a code is shown is nobody's promise.
fn is_display(name: &str) -> bool {
    [".type.display", ".coding.display", ".role.display"].iter().any(|end| name.ends_with(end))
        || name == ".subtype.display"
}

#[test]
fn what_a_profile_wants_cannot_be_left_out_or_changed() {
    let events = one_of_each();
    assert_eq!(events.len(), 14, "{:?}", events.keys());
    let mut passed = Vec::new();
    for (profile, event) in &events {
        assert_eq!(balp::judged_by(event, profile), Vec::<String>::new(), "{profile}");
        let mut all = Vec::new();
        places(event, "", "", &mut all);
        assert!(all.len() > 50, "{profile}");
        for (pointer, name) in all.iter().filter(|(_, name)| !is_display(name)) {
            let optional = OPTIONAL.contains(&name.as_str())
                || (event["meta"].is_null() && OPTIONAL_WITHOUT_CLAIM.contains(&name.as_str()))
                || (name == ".purposeOfEvent" && *profile != "audit-disclosure");
            if !optional && balp::judged_by(&without(event, pointer), profile).is_empty() {
                passed.push(format!("{profile} without {name}"));
            }
            let is_free = FREE.contains(&name.as_str());
            if !is_free && altered(event, pointer).is_some_and(|event| balp::judged_by(&event, profile).is_empty()) {
                passed.push(format!("{profile} with another {name}"));
            }
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));
}

/// A code shown by other words than its code system's is an error to validators that know the code system, which ours does not.
#[test]
fn codes_are_shown_as_their_code_systems_do() {
    const DISPLAYS: &[(&str, &str)] = &[
        ("http://dicom.nema.org/resources/ontology/DCM#110100", "Application Activity"),
        ("http://dicom.nema.org/resources/ontology/DCM#110106", "Export"),
        ("http://dicom.nema.org/resources/ontology/DCM#110113", "Security Alert"),
        ("http://dicom.nema.org/resources/ontology/DCM#110114", "User Authentication"),
        ("http://dicom.nema.org/resources/ontology/DCM#110122", "Login"),
        ("http://dicom.nema.org/resources/ontology/DCM#110152", "Destination Role ID"),
        ("http://dicom.nema.org/resources/ontology/DCM#110153", "Source Role ID"),
        ("http://terminology.hl7.org/CodeSystem/audit-entity-type#1", "Person"),
        ("http://terminology.hl7.org/CodeSystem/audit-entity-type#2", "System Object"),
        ("http://terminology.hl7.org/CodeSystem/audit-event-type#rest", "RESTful Operation"),
        ("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle#disclose", "Disclose Record Lifecycle Event"),
        ("http://terminology.hl7.org/CodeSystem/object-role#1", "Patient"),
        ("http://terminology.hl7.org/CodeSystem/object-role#20", "Job"),
        ("http://terminology.hl7.org/CodeSystem/object-role#24", "Query"),
        ("http://terminology.hl7.org/CodeSystem/object-role#4", "Domain Resource"),
        ("http://terminology.hl7.org/CodeSystem/security-source-type#4", "Application Server"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActReason#HOPERAT", "healthcare operations"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActReason#TREAT", "treatment"),
    ];
    fn shown(at: &Value, found: &mut BTreeSet<(String, String)>) {
        if let (Some(system), Some(code), Some(display)) =
            (at["system"].as_str(), at["code"].as_str(), at["display"].as_str())
        {
            found.insert((format!("{system}#{code}"), display.to_owned()));
        }
        match at {
            Value::Object(fields) => fields.values().for_each(|value| shown(value, found)),
            Value::Array(items) => items.iter().for_each(|value| shown(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    one_of_each().values().for_each(|event| shown(event, &mut found));
    let by_operator = event(AuditWord::ReadTask, |entry| {
        entry.agent.role = Some(Role::Operator.as_str());
        entry.basis = None;
    });
    shown(&by_operator, &mut found);
    let wanted: BTreeSet<_> =
        DISPLAYS.iter().map(|(code, display)| ((*code).to_owned(), (*display).to_owned())).collect();
    assert_eq!(found, wanted);
}

/// What a rule over more than one element is for.
#[test]
fn what_does_not_belong_together_is_told() {
    let events = one_of_each();
    let add = |event: &mut Value, entity: Value| event["entity"].as_array_mut().expect("entities").push(entity);
    type Change = fn(&mut Value);
    let cases: &[(&str, &str, Change)] = &[
        ("audit-patient-read", "onw-audit-4", |event| event["agent"].as_array_mut().expect("agents").reverse()),
        ("audit-patient-read", "onw-audit-2", |event| event["agent"][1]["requestor"] = true.into()),
        ("audit-disclosure", "onw-audit-6", |event| event["agent"][0]["who"] = event["agent"][1]["who"].clone()),
        ("audit-failure", "onw-audit-1", |event| event["outcome"] = "0".into()),
        ("audit-failure", "onw-audit-7", |event| event["subtype"][0]["code"] = "update".into()),
        ("audit-patient-create", "AuditEvent.entity.name", |event| event["entity"][0]["name"] = "somebody".into()),
        ("audit-patient-query", "AuditEvent.entity:person.what.display", |event| {
            event["entity"][0]["what"]["display"] = "somebody".into();
        }),
        ("audit-patient-update", "AuditEvent.text", |event| {
            event["text"] = serde_json::json!({ "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>" });
        }),
    ];
    for (profile, told, change) in cases {
        let mut event = events[profile].clone();
        change(&mut event);
        let problems = balp::judged_by(&event, profile);
        assert!(problems.iter().any(|problem| problem.contains(told)), "{profile} {told}: {problems:#?}");
    }
    // The called system as who asked. In a disclosure the source stands first, whoever asked for it.
    for (profile, event) in &events {
        if ["audit-disclosure", "audit-transmission"].contains(profile) {
            continue;
        }
        let mut event = event.clone();
        for (agent, asked) in [(0, false), (1, true)] {
            event["agent"][agent]["requestor"] = asked.into();
        }
        assert!(!balp::judged_by(&event, profile).is_empty(), "{profile}: the called system asked");
    }
    // A second person, a second object, and what is none of the kinds that an entry knows.
    for kind in ["1", "2", "4"] {
        let system = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
        for (profile, event) in &events {
            let mut event = event.clone();
            add(&mut event, serde_json::json!({ "type": { "system": system, "code": kind }, "role": { "code": "1" } }));
            assert!(!balp::judged_by(&event, profile).is_empty(), "{profile} {kind}");
        }
    }
}

/// What commands write beside a running gateway; also looks of operators at lists and at one transfer.
#[tokio::test(flavor = "multi_thread")]
async fn what_commands_write_has_the_shape_of_balp() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let mut ids = Vec::new();
    for message in [message::EDISCHARGE_ITK3, message::RESTRICTED_ITK3] {
        ids.push(accepted(&hospital, fresh(message)).await.to_string());
    }
    let store = world.gateway().store();
    let began = balp::judge(store.as_ref(), 0).await;
    let folder = |name: &str| world.folder().join(name).to_str().expect("UTF-8").to_owned();
    let (archive, pack, log) = (folder("archive"), folder("pack"), folder("log.ndjson"));
    let commands: [&[&str]; 15] = [
        &["status", &ids[0]],
        &["hold", "list"],
        &["dead", "list"],
        &["alerts"],
        &["audit", "who", "--nhs-number", "9990000018"],
        &["audit", "export", "--out", &log],
        &["sar", "export", "--nhs-number", "9990000018", "--out", &archive],
        &["breach", "pack", "--from", "2020-01-01", "--to", "2100-01-01", "--reason", "a test", "--out", &pack],
        &["legal-hold", "add", "--nhs-number", "9990000018", "--reason", "a test", "--by", "Cy"],
        &["legal-hold", "list"],
        &[
            "erase",
            "request",
            "--nhs-number",
            "9990000018",
            "--ground",
            "wrong-person",
            "--reason",
            "a test",
            "--by",
            "Ada",
        ],
        &["erase", "list"],
        &["pause", "--all", "--reason", "a test", "--by", "Cy"],
        &["resume", "--all", "--reason", "a test", "--by", "Cy"],
        &["client", "list"],
    ];
    for words in commands {
        let exit = crate::proof::command(&world, words).await;
        assert!(matches!(exit, Exit::Done | Exit::No), "{words:?}: {exit:?}");
    }
    // Not every command leaves an entry, and the running gateway's own come on top.
    let ended = balp::judge(store.as_ref(), began).await;
    assert!(ended >= began + 12, "the commands left {} entries", ended - began);
}
