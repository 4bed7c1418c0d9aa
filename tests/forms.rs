//! In which form an answer comes: `Accept` with its weights, `_format`, and 406 before anything is done.

use onward_connect::http::Method;
use onward_core::client::Role;
use onward_core::state::RecipientKind;
use onward_server::listener::sha256_hex;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn accept_is_weighed_and_what_cannot_be_given_is_refused() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = world.care_home().await;
    let registered = world.client("hillside", "Y99002", Role::Practice).await;
    let (_, _, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let id = reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").to_owned();
    let record = world.gateway().store().transfer(id.parse().expect("an id")).await.expect("readable").expect("there");
    let copy = |kind| record.deliveries.iter().find(|copy| copy.kind == kind).expect("a copy").id;
    let home_copy = format!("fhir/R4/Bundle/{}", copy(RecipientKind::CareHome));
    let original = format!("fhir/R4/Bundle/{}", copy(RecipientKind::RegisteredPractice));
    let (json, xml) = ("application/fhir+json", "application/fhir+xml");
    let rows = [
        (&home, "fhir/R4/Task", "application/fhir+xml;q=0.1, application/fhir+json;q=0.9", Some(json)),
        (&home, "fhir/R4/Task", "application/fhir+json;q=0.1, application/fhir+xml;q=0.9", Some(xml)),
        (&home, "fhir/R4/Task", "image/png", None),
        (&home, "fhir/R4/Task", "text/html", None),
        (&home, "fhir/R4/Task", "text/html, */*;q=0.1", Some(json)),
        (&home, "fhir/R4/Task?_format=xml", json, Some(xml)),
        (&home, "fhir/R4/Task?_format=ttl", json, None),
        (&home, &home_copy, xml, Some(xml)),
        (&home, &home_copy, json, Some(json)),
        (&home, &home_copy, "text/html", Some("text/html; charset=utf-8")),
        (&home, &home_copy, "application/pdf", Some("application/pdf")),
        (&registered, &original, "application/pdf", None),
        (&registered, &original, json, Some(json)),
        (&registered, &original, xml, Some(xml)),
    ];
    for (session, path, accept, expected) in rows {
        let reply = session.call(Method::GET, path, &[("accept", accept)], Vec::new()).await.expect("an answer");
        match expected {
            Some(kind) => {
                assert_eq!(reply.status, 200, "{path} {accept}");
                assert!(reply.headers["content-type"].to_str().expect("text").starts_with(kind), "{path} {accept}");
                let first = reply.body.iter().find(|byte| !byte.is_ascii_whitespace());
                assert_eq!(first == Some(&b'{'), kind == json, "{path} {accept}: the body is what its type says");
                if path.contains("/Bundle/") {
                    let log = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
                    let read = log.iter().rev().find(|entry| entry.columns.word == "read").expect("an entry");
                    let event: Value = serde_json::from_slice(read.event().expect("kept")).expect("JSON");
                    let details = event["entity"].as_array().into_iter().flatten();
                    let mut details = details.filter_map(|entity| entity["detail"].as_array()).flatten();
                    let digest = details.find(|detail| detail["type"] == "sha256").expect("a digest");
                    assert_eq!(
                        digest["valueString"],
                        sha256_hex(&reply.body),
                        "{accept}: of the bytes that were shown"
                    );
                }
            }
            None => assert_eq!(reply.status, 406, "{path} {accept}"),
        }
    }
    let before = world.gateway().store().audit_entries(0, 10_000).await.expect("readable").len();
    let headers = [("content-type", xml), ("accept", "image/png")];
    let body = fresh(message::EDISCHARGE_ITK3);
    let reply = hospital.call(Method::POST, "fhir/R4/$process-message", &headers, body).await.expect("an answer");
    assert_eq!(reply.status, 406);
    let after = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    let since =
        after.iter().skip(before).map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned());
    assert!(!since.into_iter().any(|event| event.contains("accept: event")), "nothing was taken in");
}
