//! Whose it is, and who may (trust.md §8).

use onward_connect::http::Method;
use onward_core::client::Role;
use onward_server::session::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

/// What a recipient would send to accept.
const ACCEPTED: &str = r#"{"resourceType":"Task","status":"accepted","intent":"order"}"#;

async fn status(session: &Session, method: Method, path: &str) -> u16 {
    let headers = [("content-type", "application/fhir+json"), ("if-match", "W/\"1\"")];
    session.call(method, path, &headers, ACCEPTED).await.expect("an answer").status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_has_its_functions_and_foreign_copies_do_not_exist() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let (_, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let transfer = response["entry"]
        .as_array()
        .and_then(|entries| entries.iter().find(|entry| entry["resource"]["resourceType"] == "Task"))
        .and_then(|entry| entry["resource"]["id"].as_str())
        .expect("a Task")
        .to_owned();
    let record =
        world.gateway().store().transfer(transfer.parse().expect("an id")).await.expect("readable").expect("there");
    let copy = |kind: &str| {
        record.deliveries.iter().find(|copy| copy.kind.as_str() == kind).map(|copy| copy.id.to_string()).expect("there")
    };
    while world
        .gateway()
        .store()
        .delivery(copy("care-home").parse().expect("an id"))
        .await
        .expect("readable")
        .expect("there")
        .state
        == onward_core::state::DeliveryState::Queued
    {
        tokio::task::yield_now().await;
    }
    let home = world.care_home().await;
    let other_home = world.client("elm-court", "VMH02", Role::CareHome).await;
    let practice = world.client("beck-lane", "Y99001", Role::Practice).await;
    let pharmacy = world.client("station-road", "FZZ01", Role::Pharmacy).await;
    let governance = world.client("ig", "R9Z", Role::InformationGovernance).await;
    let operator = world.client("ops", "Y99900", Role::Operator).await;
    let other_hospital = world.client("southmoor-epr", "R9Y", Role::Sender).await;

    let transfer_path = format!("fhir/R4/Task/{transfer}");
    let home_task = format!("fhir/R4/Task/{}", copy("care-home"));
    let home_bundle = format!("fhir/R4/Bundle/{}", copy("care-home"));
    let rows: [(&str, &Session, Method, &str, u16); 21] = [
        ("status of own submission", &hospital, Method::GET, &transfer_path, 200),
        ("own organisation's IG lead", &governance, Method::GET, &transfer_path, 200),
        ("operator", &operator, Method::GET, &transfer_path, 200),
        ("another hospital", &other_hospital, Method::GET, &transfer_path, 404),
        ("a recipient is not the sender", &home, Method::GET, &transfer_path, 404),
        ("another home's Task", &other_home, Method::GET, &home_task, 404),
        ("another home's copy", &other_home, Method::GET, &home_bundle, 404),
        ("another home acknowledges", &other_home, Method::PUT, &home_task, 404),
        ("a practice reads the home's copy", &practice, Method::GET, &home_bundle, 404),
        ("a pharmacy reads the home's copy", &pharmacy, Method::GET, &home_bundle, 404),
        ("own copy", &home, Method::GET, &home_bundle, 200),
        ("a sender reads a copy", &hospital, Method::GET, &home_bundle, 403),
        ("an IG lead reads a copy", &governance, Method::GET, &home_bundle, 403),
        ("an operator reads a copy", &operator, Method::GET, &home_bundle, 403),
        ("a sender acknowledges", &hospital, Method::PUT, &home_task, 403),
        ("an operator acknowledges", &operator, Method::PUT, &home_task, 403),
        ("a home submits", &home, Method::POST, "fhir/R4/$process-message", 403),
        ("a practice submits", &practice, Method::POST, "fhir/R4/$process-message", 403),
        ("an operator submits", &operator, Method::POST, "fhir/R4/$process-message", 403),
        ("an unknown place", &home, Method::GET, "fhir/R4/Patient/1", 404),
        ("a wrong method", &home, Method::DELETE, &home_task, 405),
    ];
    for (name, session, method, path, expected) in rows {
        assert_eq!(status(session, method, path).await, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_home_never_learns_that_anothers_resident_exists() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let other_home = world.client("elm-court", "VMH02", Role::CareHome).await;
    let none = other_home.get("fhir/R4/Task").await.expect("an answer");
    let other = other_home.get("fhir/R4/Task?owner=VMH01").await.expect("an answer");
    let nobody = other_home.get("fhir/R4/Task?owner=VMH99").await.expect("an answer");
    assert_eq!(none.json().expect("JSON").get("entry"), None);
    let shown = |reply: &onward_server::session::Reply| {
        let mut bundle = reply.json().expect("JSON");
        bundle.as_object_mut().expect("a Bundle").remove("link");
        bundle
    };
    assert_eq!(shown(&other), shown(&nobody), "a home that exists and one that does not look the same");
    assert_eq!(other.json().expect("JSON").get("entry"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_nothing() {
    let world = World::start().await;
    let http = world.http();
    for (method, path) in [
        (Method::POST, "fhir/R4/$process-message"),
        (Method::POST, "fhir/R4/$explain"),
        (Method::POST, "fhir/R4/Bundle/$validate"),
        (Method::GET, "fhir/R4/Task"),
        (Method::GET, "fhir/R4/Task/3f2b0c9e-0000-4000-8000-000000000000"),
        (Method::PUT, "fhir/R4/Task/3f2b0c9e-0000-4000-8000-000000000000"),
        (Method::GET, "fhir/R4/Bundle/3f2b0c9e-0000-4000-8000-000000000000"),
    ] {
        let url = world.base().join(path).expect("a URL");
        let answer = http.send(method, url, onward_connect::http::HeaderMap::new(), "").await.expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_client_is_out_at_once() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    assert_eq!(status(&hospital, Method::GET, "fhir/R4/Task").await, 200);
    let store = world.gateway().store();
    let mut client = store.client("northmoor-epr").await.expect("readable").expect("there");
    client.disabled = true;
    store.put_client(client, Vec::new()).await.expect("stored");
    assert_eq!(status(&hospital, Method::GET, "fhir/R4/Task").await, 401);
}
