//! Who saw what: a Task names a person, so looking at one is audited; what is refused is audited too.

use onward_connect::http::Method;
use onward_core::client::Role;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

async fn events(world: &World) -> Vec<Value> {
    let entries = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    entries.iter().map(|entry| serde_json::from_slice(entry.event().expect("kept")).expect("JSON")).collect()
}

/// Events of this client whose description has this text, and that name a person.
fn about_a_person(events: &[Value], client: &str, text: &str) -> usize {
    let named = |event: &&Value| event["agent"].to_string().contains(client);
    let said = |event: &&Value| event["outcomeDesc"].as_str().is_some_and(|desc| desc.contains(text));
    let person = |event: &&Value| event["entity"].to_string().contains("https://fhir.nhs.uk/Id/nhs-number");
    events.iter().filter(named).filter(said).filter(person).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_task_is_audited_with_the_person_it_names() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let (_, _, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let location = reply.headers["location"].to_str().expect("text").to_owned();
    let path = location.strip_prefix(world.base().as_str()).expect("on this server");
    assert_eq!(hospital.get(path).await.expect("an answer").status, 200);
    assert_eq!(about_a_person(&events(&world).await, "northmoor-epr", "Task read"), 1);

    let home = world.care_home().await;
    let found = home.get("fhir/R4/Task").await.expect("an answer").json().expect("JSON");
    assert_eq!(found["entry"].as_array().map(Vec::len), Some(1));
    assert_eq!(about_a_person(&events(&world).await, "rowan-house", "Task search"), 1);

    let stranger = world.client("southmoor-epr", "R9Y", Role::Sender).await;
    assert_eq!(stranger.get(path).await.expect("an answer").status, 404);
    let denied = events(&world).await.iter().any(|event| {
        event["agent"].to_string().contains("southmoor-epr")
            && event["outcomeDesc"].as_str().is_some_and(|desc| desc.starts_with("deny"))
    });
    assert!(denied, "a refused look is audited");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_homes_inbox_stays_empty_whatever_else_is_asked() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let home = world.care_home().await;
    for query in ["", "&status=requested,received", "&_lastUpdated=ge2020-01-01T00:00:00Z"] {
        let path = format!("fhir/R4/Task?owner=VMH02{query}");
        let found = home.get(&path).await.expect("an answer").json().expect("JSON");
        assert_eq!(found.get("entry"), None, "{query}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_place_of_a_session_is_not_logged_in_the_url() {
    let world = World::start().await;
    let home = world.care_home().await;
    let reply = home.call(Method::GET, "fhir/R4/Task?access_token=x", &[], Vec::new()).await.expect("an answer");
    assert_eq!(reply.status, 400);
}

/// A dry run asks PDS about a person like any other run: who asked and about whom is committed before the answer leaves.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_is_audited_with_the_person_that_pds_was_asked_about() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    for message in [message::EDISCHARGE_ITK3, message::RESTRICTED_ITK3] {
        let before = about_a_person(&events(&world).await, "", "directory-lookup: PDS asked");
        let headers = [("content-type", "application/fhir+xml"), ("x-request-id", "explain-1")];
        let reply = hospital.call(Method::POST, "fhir/R4/$explain", &headers, fresh(message)).await.expect("an answer");
        assert_eq!(reply.status, 200);
        let after = events(&world).await;
        assert_eq!(about_a_person(&after, "", "directory-lookup: PDS asked"), before + 1);
        let asked = |event: &&Value| event["outcomeDesc"].as_str().is_some_and(|desc| desc.starts_with("dry-run"));
        assert!(after.iter().filter(asked).any(|event| event["agent"].to_string().contains("northmoor-epr")));
        let named: Vec<_> = after.iter().filter(|event| event.to_string().contains("explain-1")).collect();
        assert!(named.len() >= 3, "the asking, the look-up and the showing belong to one request");
        assert_eq!(
            about_a_person(&after, "northmoor-epr", "reveal: what PDS"),
            before + 1,
            "who was shown what PDS says"
        );
    }
    assert!(world.gateway().store().holds().await.expect("readable").is_empty(), "nothing else is stored");
}
