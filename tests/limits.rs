//! One client that runs away leaves the others their share, and strangers cannot fill the audit log.

use onward_connect::http::{HeaderMap, Method};
use onward_core::client::Role;
use onward_tests::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_too_often_waits_and_nobody_else() {
    // One request every ten seconds, and what ten seconds save up.
    let world = World::start_limited("client_requests_per_minute = 6\n").await;
    let eager = world.client("eager", "VMH01", Role::CareHome).await;
    let patient = world.client("patient", "VMH02", Role::CareHome).await;
    eager.token().await.expect("signing in is the first");
    let mut refused = None;
    // A machine so slow that each of these takes ten seconds has nothing to refuse.
    for _ in 0..20 {
        let reply = eager.get("fhir/R4/Task").await.expect("an answer");
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        assert_eq!(reply.status, 200);
    }
    let refused = refused.expect("it asks too often");
    let wait: u32 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=11).contains(&wait), "{wait}");
    assert_eq!(refused.json().expect("JSON")["issue"][0]["code"], "throttled");
    assert_eq!(patient.get("fhir/R4/Task").await.expect("an answer").status, 200, "the other has its own share");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_sign_ins_are_told_and_do_not_fill_the_log() {
    let mut world = World::start().await;
    let http = world.http();
    let url = world.base().join("oauth2/token").expect("a URL");
    let before = world.gateway().store().audit_entries(0, 100_000).await.expect("readable").len();
    for at in 0..200 {
        let body = if at == 100 { "grant_type=password" } else { "grant_type=client_credentials" };
        let answer = http.send(Method::POST, url.clone(), HeaderMap::new(), body).await.expect("an answer");
        assert_eq!(answer.status(), 400, "each is refused");
    }
    // What is counted is written at the end at the latest.
    world.restart().await;
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let told: Vec<String> = entries[before..]
        .iter()
        .map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned())
        .collect();
    let refusals: Vec<&String> = told.iter().filter(|event| event.contains("token refused")).collect();
    assert!(refusals.len() < 20, "{} entries of 200 refusals", refusals.len());
    assert!(refusals.iter().any(|event| event.contains("grant_type must be")), "each kind is told: {refusals:?}");
    // Alone or together, none is lost.
    let counted: usize = refusals
        .iter()
        .map(|event| {
            let more = event.split("token refused ").nth(1).and_then(|rest| rest.split(" more times").next());
            more.and_then(|number| number.parse().ok()).unwrap_or(1)
        })
        .sum();
    assert_eq!(counted, 200, "{refusals:?}");
}
