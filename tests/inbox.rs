//! A care home reads its arrival, acknowledges it, and the hospital sees that.

use onward_connect::http::Method;
use onward_core::client::Role;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::{Value, json};

use crate::lifecycle::{copy_of, put};

/// Waits until the dispatcher has placed the copies.
async fn arrivals(home: &onward_tests::leaks::Session, query: &str) -> Vec<Value> {
    for _ in 0..5_000 {
        let bundle = home.get(&format!("fhir/R4/Task?{query}")).await.expect("an answer").json().expect("JSON");
        let found: Vec<Value> =
            bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect();
        if found.iter().any(|task| task["businessStatus"]["text"] == "awaiting-collection")
            || query.contains("received")
        {
            return found;
        }
        tokio::task::yield_now().await;
    }
    panic!("nothing arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_care_home_reads_and_accepts_and_the_hospital_knows() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = world.care_home().await;
    let (status, _, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200);
    let location = reply.headers["location"].to_str().expect("text").to_owned();
    let tasks = arrivals(&home, "owner=VMH01&status=requested").await;
    assert_eq!(tasks.len(), 1, "only its own copy: {tasks:?}");
    let id = tasks[0]["id"].as_str().expect("an id").to_owned();

    let page = home
        .call(Method::GET, &format!("fhir/R4/Bundle/{id}"), &[("accept", "text/html")], Vec::new())
        .await
        .expect("an answer");
    assert_eq!(page.status, 200);
    let html = std::str::from_utf8(&page.body).expect("text");
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("</html>"));
    assert!(page.headers["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));

    let bundle = home.get(&format!("fhir/R4/Bundle/{id}")).await.expect("an answer").json().expect("JSON");
    assert_eq!(bundle["resourceType"], "Bundle");
    assert_eq!(bundle["type"], "document");

    let task = home.get(&format!("fhir/R4/Task/{id}")).await.expect("an answer");
    let tag = task.headers["etag"].to_str().expect("text").to_owned();
    let mut body = task.json().expect("JSON");
    assert_eq!(body["status"], "received", "opening it was told");
    body["status"] = "accepted".into();
    let put = |tag: String, body: Value| {
        let (home, id) = (&home, &id);
        async move {
            let headers = [("content-type", "application/fhir+json"), ("if-match", tag.as_str())];
            home.call(Method::PUT, &format!("fhir/R4/Task/{id}"), &headers, body.to_string()).await.expect("an answer")
        }
    };
    assert_eq!(put("W/\"99\"".to_owned(), body.clone()).await.status, 412);
    let done = put(tag.clone(), body.clone()).await;
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    assert_eq!(put(tag, body.clone()).await.status, 412, "an old version moves nothing");

    let path = location.strip_prefix(world.base().as_str()).expect("on this server");
    let transfer = hospital.get(path).await.expect("an answer").json().expect("JSON");
    let outputs = transfer["output"].as_array().expect("one per copy").len();
    assert_eq!(outputs, 5);
    let copy = hospital.get(&format!("fhir/R4/Task/{id}")).await.expect("an answer").json().expect("JSON");
    assert_eq!(copy["status"], "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_needs_a_reason_and_a_task_moves_forward_only() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = world.care_home().await;
    post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let tasks = arrivals(&home, "status=requested").await;
    let id = tasks[0]["id"].as_str().expect("an id").to_owned();
    let version = tasks[0]["meta"]["versionId"].as_str().expect("a version").to_owned();
    let put = |version: String, body: Value| {
        let (home, id) = (&home, &id);
        async move {
            let tag = format!("W/\"{version}\"");
            let headers = [("content-type", "application/fhir+json"), ("if-match", tag.as_str())];
            home.call(Method::PUT, &format!("fhir/R4/Task/{id}"), &headers, body.to_string()).await.expect("an answer")
        }
    };
    let rejected = json!({ "resourceType": "Task", "id": id, "status": "rejected", "intent": "order" });
    assert_eq!(put(version.clone(), rejected.clone()).await.status, 422);
    let requested = json!({ "resourceType": "Task", "id": id, "status": "requested", "intent": "order" });
    assert_eq!(put(version.clone(), requested).await.status, 422);
    let system = "https://fhir.nhs.uk/STU3/CodeSystem/ITK-ResponseCodes-1";
    let mut unknown = rejected.clone();
    unknown["statusReason"] = json!({ "coding": [{ "system": system, "code": "39999" }] });
    assert_eq!(put(version.clone(), unknown).await.status, 422, "no such code");
    let mut with_reason = rejected;
    with_reason["statusReason"] =
        json!({ "coding": [{ "system": system, "code": "30003" }], "text": "no nursing bed is free" });
    let done = put(version, with_reason).await;
    assert_eq!(done.status, 200);
    let done = done.json().expect("JSON");
    assert_eq!(done["statusReason"]["text"], "no nursing bed is free");
    assert_eq!(done["statusReason"]["coding"][0]["code"], "30003");
    let next = done["meta"]["versionId"].as_str().expect("a version").to_owned();
    let accepted = json!({ "resourceType": "Task", "id": id, "status": "accepted", "intent": "order" });
    assert_eq!(put(next, accepted).await.status, 422, "a refused copy cannot be accepted afterwards");
    let unmatched = home
        .call(Method::PUT, &format!("fhir/R4/Task/{id}"), &[("content-type", "application/fhir+json")], "{}")
        .await
        .expect("an answer");
    assert_eq!(unmatched.status, 428);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_tasks_follow_one_another_without_gap_or_repeat() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = world.client("rowan-house", "VMH01", Role::CareHome).await;
    for _ in 0..7 {
        let (status, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
        assert_eq!(status, 200, "{response}");
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut path = "fhir/R4/Task?_count=3".to_owned();
    let mut pages = 0;
    loop {
        let bundle = home.get(&path).await.expect("an answer").json().expect("JSON");
        pages += 1;
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            assert!(seen.insert(entry["resource"]["id"].as_str().expect("an id").to_owned()), "no repeat");
        }
        let next = bundle["link"].as_array().into_iter().flatten().find(|link| link["relation"] == "next");
        match next {
            Some(link) => {
                let url = link["url"].as_str().expect("a URL");
                path = url.strip_prefix(world.base().as_str()).expect("on this server").to_owned();
            }
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_recipients_to_change_is_refused() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = world.care_home().await;
    post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let tasks = arrivals(&home, "status=requested").await;
    let id = tasks[0]["id"].as_str().expect("an id").to_owned();
    let tag = format!("W/\"{}\"", tasks[0]["meta"]["versionId"].as_str().expect("a version"));
    let put = |body: Value| {
        let (home, id, tag) = (&home, &id, &tag);
        async move {
            let headers = [("content-type", "application/fhir+json"), ("if-match", tag.as_str())];
            home.call(Method::PUT, &format!("fhir/R4/Task/{id}"), &headers, body.to_string()).await.expect("an answer")
        }
    };
    let mut accepted = tasks[0].clone();
    accepted["status"] = "accepted".into();
    for (element, value) in [
        ("owner", json!({ "identifier": { "value": "VMH02" } })),
        ("owner", json!({ "reference": "Organization/1" })),
        ("for", json!({ "identifier": { "value": "somebody else" } })),
        ("partOf", json!([{ "reference": "Task/3f2b0c9e-0000-4000-8000-000000000000" }])),
        ("focus", json!({ "reference": "Bundle/1" })),
        ("requester", json!({ "identifier": { "value": "R9Y" } })),
        ("identifier", json!([{ "value": "mine" }])),
    ] {
        let mut body = accepted.clone();
        body[element] = value;
        let reply = put(body).await;
        assert_eq!(reply.status, 422, "{element}");
        let outcome = reply.json().expect("JSON");
        assert_eq!(outcome["issue"][0]["expression"][0], format!("Task.{element}"), "{outcome}");
    }
    let owner = accepted["owner"]["identifier"]["value"].clone();
    accepted["owner"] = json!({ "identifier": { "value": owner } });
    assert_eq!(put(accepted).await.status, 200, "the rest may be sent back, whole or in part");
}

/// A home's own system takes over nobody who has not arrived, as its page does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_completes_nothing_before_the_arrival() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let copy = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    for (status, expected) in
        [("completed", 422), ("accepted", 200), ("completed", 422), ("in-progress", 200), ("completed", 200)]
    {
        let reply = put(&home, copy, status, None).await;
        assert_eq!(reply.status, expected, "{status}: {:?}", reply.json());
    }
    let store = world.gateway().store();
    let state = store.delivery(copy).await.expect("readable").expect("there").state;
    assert_eq!(state, onward_core::state::DeliveryState::Completed);
}
