//! One client that runs away leaves the others their share, and strangers cannot fill the audit log.

use aws_lc_rs::digest::{SHA256, digest};
use onward_connect::http::{HeaderMap, Method};
use onward_core::audit::under;
use onward_core::client::{Client, Role};
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

/// What a refused or accepted token leaves names it, by what opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn void_and_unknown_tokens_are_told_and_do_not_fill_the_log() {
    let mut world = World::start().await;
    let hospital = world.hospital().await;
    let token = hospital.token().await.expect("signed in");
    assert_eq!(hospital.get("fhir/R4/Task").await.expect("an answer").status, 200);
    let name = under::token(digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("32 bytes"));
    assert_eq!(world.logged(&name).await, 2, "the sign-in and the search");
    let store = world.gateway().store();
    let client = store.client("northmoor-epr").await.expect("readable").expect("there");
    store.put_client(Client { disabled: true, ..client }, Vec::new()).await.expect("stored");
    let http = world.http();
    let url = world.base().join("fhir/R4/Task").expect("a URL");
    let ask = async |token: Option<String>| {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        }
        http.send(Method::GET, url.clone(), headers, "").await.expect("an answer").status()
    };
    assert_eq!(ask(Some(token.clone())).await, 401);
    assert_eq!(world.logged(&name).await, 3, "a void token is told");
    for n in 0..200 {
        assert_eq!(ask(Some(format!("guess-{n}"))).await, 401);
    }
    let before = world.logged("token refused").await;
    assert_eq!(ask(None).await, 401);
    assert_eq!(world.logged("token refused").await, before, "who shows none touches nothing");
    assert!(before < 5, "{before} entries of 201 refusals");
    assert_eq!(world.logged(&token).await + world.logged("guess-").await, 0, "no token is kept");
    // What is counted is written at the end at the latest.
    world.restart().await;
    assert_eq!(world.logged("token refused 200 more times").await, 1);
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
