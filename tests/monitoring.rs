//! What operations and partners' machines read: metrics on the operations listener, the public keys on the public one.

use onward_connect::egress::EgressHost;
use onward_connect::http::{HeaderMap, HttpClient, HttpConfig, Method};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

/// Status and text of a page of the operations listener.
pub(crate) async fn operations(world: &World, path: &str) -> (u16, String) {
    let http = HttpClient::new(&HttpConfig {
        egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
        allow_plain_loopback: true,
        ..HttpConfig::default()
    })
    .expect("a client");
    let address = world.running.as_ref().expect("it runs").operations_address;
    let url = url::Url::parse(&format!("http://{address}/{path}")).expect("a URL");
    let answer = http.send(Method::GET, url, HeaderMap::new(), "").await.expect("an answer");
    let status = answer.status().as_u16();
    (status, String::from_utf8_lossy(&answer.bytes().await.expect("a body")).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened_and_name_nobody() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    for message in [message::EDISCHARGE_ITK3, message::RESTRICTED_ITK3, message::REFUSED_ITK3] {
        post_xml(&hospital, fresh(message)).await;
    }
    let (status, page) = operations(&world, "metrics").await;
    assert_eq!(status, 200);
    for line in [
        "onward_messages_accepted_total 2",
        "onward_messages_refused_total 1",
        "onward_messages_held_total 1",
        "onward_holds_open 1",
        "onward_holds_overdue 0",
    ] {
        assert!(page.lines().any(|own| own == line), "{line}: {page}");
    }
    let copies = page.lines().filter(|line| line.starts_with("onward_deliveries{"));
    let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
    assert_eq!(copies.filter_map(count).sum::<u64>(), 5, "{page}");
    for held in world.gateway().store().holds().await.expect("readable") {
        let transfer = world.gateway().store().transfer(held.transfer).await.expect("readable").expect("there");
        let number = transfer.patient.expect("known");
        assert!(!page.contains(number.expose()) && !page.contains(&held.transfer.to_string()), "{page}");
    }
    let public = hospital.get("metrics").await.expect("an answer");
    assert_eq!(public.status, 404, "not on the public listener");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_is_public_and_empty_while_nothing_is_signed() {
    let world = World::start().await;
    let url = world.base().join(".well-known/jwks.json").expect("a URL");
    let answer = world.http().send(Method::GET, url, HeaderMap::new(), "").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let set: serde_json::Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    assert_eq!(set, serde_json::json!({ "keys": [] }));
}
