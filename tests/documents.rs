//! Every official document and message is accepted, held or refused, and the table says which and why.

use onward_core::client::{NhsNumberPolicy, Role};
use onward_fhir::Message;
use onward_fhir::read::{self, Limits};
use onward_tests::message::fresh;
use onward_tests::shared;
use onward_tests::world::{World, post};
use serde_json::Value;

/// What must become of a file under a policy that holds unusable NHS numbers.
enum Expected {
    /// 200 and a hold with this reason.
    Held(&'static str),
    /// 422 with an error of this rule.
    Refused(&'static str),
}

use Expected::{Held, Refused};

/// Event of the envelope, and what must become of the document. The official examples carry NHS numbers whose check
/// digit does not fit, so that none of them may reach anybody: a person must trace the number first.
const DOCUMENTS: [(&str, &str, Expected); 7] = [
    ("ITK-EDIS-Example-1.xml", "ITK003D", Held("nhs-number-invalid")),
    ("ITK-EC-Document-Bundle-1-Example-1.xml", "ITK005D", Held("nhs-number-invalid")),
    ("ITK-MH-Document-Bundle-Example-1.xml", "ITK004D", Held("nhs-number-invalid")),
    ("ITK-OPL-Document-Bundle-1-Example-1.xml", "ITK006D", Held("nhs-number-invalid")),
    // The one example whose number could be a person's; the PDS of the tests does not know it.
    ("ITK-OPL-Document-Bundle-1-Example-2.xml", "ITK006D", Held("patient-not-found")),
    ("ITK-OPL-Document-Bundle-1-Example-3.xml", "ITK006D", Held("nhs-number-invalid")),
    // A message of another service, not a document.
    ("ITK-EMS-PDSBirthNotification-MessageBundle-Example-1.xml", "", Refused("header-event")),
];

/// The same for the R4 examples.
const R4: [(&str, Expected); 4] = [
    // Wraps the STU3 document, whose NHS number has no valid check digit either.
    ("document-message-TOC.json", Held("nhs-number-invalid")),
    // Booking and referral: another event.
    ("bars-process-message.json", Refused("header-event")),
    ("Bundle-message-encounter.json", Refused("header-event")),
    ("Bundle-message-patient.json", Refused("header-event")),
];

/// The organisation that the message says it is from, so that the right client posts it.
fn sender_of(media_type: &str, body: &str) -> String {
    let read = if media_type.contains("json") { read::json } else { read::xml };
    let tree = read(body, &Limits::default()).expect("readable");
    let message = Message::read(tree.root()).expect("a message");
    message.sender_ods.unwrap_or("R9Z").to_owned()
}

async fn check(world: &World, name: &str, media_type: &str, body: String, expected: &Expected) {
    let sender = &sender_of(media_type, &body);
    let client = format!("epr-{}", sender.to_lowercase());
    let session = world.client_with(&client, sender, Role::Sender, NhsNumberPolicy::Hold, None).await;
    let (status, response, _) = post(&session, media_type, body).await;
    match expected {
        Held(reason) => {
            assert_eq!(status, 200, "{name}: {response:#}");
            let task = response["entry"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|entry| entry["resource"]["resourceType"] == "Task")
                .expect("a Task");
            assert_eq!(task["resource"]["status"], "on-hold", "{name}");
            let holds = world.gateway().store().holds().await.expect("readable");
            let id = task["resource"]["id"].as_str().expect("an id");
            let hold = holds.iter().find(|held| held.transfer.to_string() == id).expect("a hold");
            assert_eq!(hold.hold.reason.as_str(), *reason, "{name}: {}", hold.hold.detail);
        }
        Refused(rule) => {
            assert_eq!(status, 422, "{name}: {response:#}");
            let issues = response["issue"].as_array().expect("issues");
            let told = issues.iter().any(|issue: &Value| {
                issue["severity"] == "error" && issue["diagnostics"].as_str().is_some_and(|text| text.contains(rule))
            });
            assert!(told, "{name}: {response:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_official_itk3_document_has_its_outcome() {
    let files = shared::files("itk3-examples", "xml");
    if files.is_empty() {
        return;
    }
    let world = World::start().await;
    let read = |name: &str| {
        let path = files.iter().find(|path| path.ends_with(name)).unwrap_or_else(|| panic!("{name} is missing"));
        std::fs::read_to_string(path).expect("readable")
    };
    let shell = read("ITK-SendPayload-Payload-Removed-Example-1.xml");
    for (name, event, expected) in &DOCUMENTS {
        let document = read(name);
        let body = if event.is_empty() { document } else { wrap(&shell, &document, event) };
        check(&world, name, "application/fhir+xml", fresh(&body), expected).await;
    }
    let known: Vec<&str> = DOCUMENTS.iter().map(|(name, ..)| *name).collect();
    for path in &files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if known.contains(&name) || name.starts_with("ITK-SendPayload") {
            continue;
        }
        // Responses are for the mailbox; posted, they are no discharge.
        assert!(name.starts_with("ITK-Response-"), "{name} has no row in the table");
        let body = fresh(&read(name));
        // This one has no handling extension at all, as a receiver that could not read the header would answer.
        let bare = name == "ITK-Response-20009-Example-2.xml";
        let told = if bare { "itk3-header-handling" } else { "no transfer-of-care document" };
        check(&world, name, "application/fhir+xml", body, &Refused(told)).await;
    }
    check(&world, "the empty shell", "application/fhir+xml", fresh(&shell), &Refused("document")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_refusing_policy_the_same_documents_are_refused_by_the_number() {
    let files = shared::files("itk3-examples", "xml");
    if files.is_empty() {
        return;
    }
    let world = World::start().await;
    let hospital = world.hospital().await;
    let read = |name: &str| {
        std::fs::read_to_string(files.iter().find(|path| path.ends_with(name)).expect("there")).expect("readable")
    };
    let shell = read("ITK-SendPayload-Payload-Removed-Example-1.xml");
    let body = fresh(&wrap(&shell, &read("ITK-EDIS-Example-1.xml"), "ITK003D"));
    let (status, response, _) = post(&hospital, "application/fhir+xml", body).await;
    assert_eq!(status, 422);
    let text = response.to_string();
    assert!(text.contains("nhs-number"), "{response:#}");
    assert!(!text.contains("1352465790"), "the number itself is never repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_official_r4_message_has_its_outcome() {
    let files = shared::files("r4-examples", "json");
    if files.is_empty() {
        return;
    }
    let world = World::start().await;
    for (name, expected) in &R4 {
        let path = files.iter().find(|path| path.ends_with(name)).unwrap_or_else(|| panic!("{name} is missing"));
        let body = std::fs::read_to_string(path).expect("readable");
        check(&world, name, "application/fhir+json", body, expected).await;
    }
}

/// The document in the official empty envelope, under the event of its kind.
fn wrap(shell: &str, document: &str, event: &str) -> String {
    let start = document.find("<Bundle").expect("a Bundle");
    let (open, close) =
        (shell.rfind("<Bundle>").expect("the empty payload"), shell.rfind("</Bundle>").expect("the end"));
    let payload_end = shell[..close].rfind("</Bundle>").expect("the end of the payload") + "</Bundle>".len();
    format!("{}{}{}", &shell[..open], &document[start..], &shell[payload_end..]).replacen("ITK003D", event, 1)
}
