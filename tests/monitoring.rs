//! What operations and partners' machines read: metrics on the operations listener, the public keys on the public one.

use std::io::{Read as _, Write as _};

use clap::Parser as _;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HeaderMap, HttpClient, HttpConfig, Method};
use onward_server::cli::{Cli, Exit};
use onward_server::serve::Running;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, load, post_xml};

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
async fn operations_speak_tls_wherever_others_could_listen() {
    let mut world = World::start().await;
    world.stop().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let file = world.config_file.clone();
    let text = std::fs::read_to_string(&file).expect("readable");
    let open = text.replace("operations_listen = \"127.0.0.1:0\"", &format!("operations_listen = \"0.0.0.0:{port}\""));
    assert_ne!(open, text);
    std::fs::write(&file, &open).expect("written");
    world.restart().await;
    let healthcheck = async || {
        let cli = Cli::try_parse_from(["onward", "healthcheck", "--config", file.to_str().expect("UTF-8")]);
        tokio::task::spawn_blocking(|| cli.expect("parses").run()).await.expect("it ran")
    };
    assert_eq!(healthcheck().await, Exit::Done);

    let mut plain = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // A reset is as good as a close: what counts is that nothing is told.
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("onward_"), "metrics in the clear");

    world.stop().await;
    assert_eq!(healthcheck().await, Exit::Fault, "nobody listens");

    // And without TLS it does not start there at all.
    let bare: String = open.lines().filter(|line| !line.starts_with("tls_")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, bare).expect("written");
    let refused = Running::start(&load(&file), None).await.map(drop).expect_err("refused");
    assert!(refused.to_string().contains("operations listener"), "{refused:#}");
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
