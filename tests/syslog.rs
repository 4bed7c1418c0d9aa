//! The audit log by syslog over TLS, to a receiver that is slow, dies and comes back.

use std::sync::Arc;

use onward_server::config::Config;
use onward_tests::balp;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::monitoring::operations;

type Stream = BufReader<TlsStream<tokio::net::TcpStream>>;

/// TLS as a receiver speaks it, with a certificate of the world's authority.
fn acceptor(world: &World) -> TlsAcceptor {
    let read = |name: &str| std::fs::read(world.folder().join(name)).expect("readable");
    let chain = read("server.pem");
    let chain = CertificateDer::pem_slice_iter(&chain).map(|each| each.expect("PEM"));
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> Stream {
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        // One that its sender has given up meanwhile is none.
        if let Ok(stream) = acceptor.accept(tcp).await {
            return BufReader::new(stream);
        }
    }
}

/// The next message, by its length (RFC 5425 section 4.3).
async fn next(stream: &mut Stream) -> String {
    let mut length = 0_usize;
    loop {
        match stream.read_u8().await.expect("a length") {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit.checked_sub(b'0').expect("a digit")),
        }
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.expect("as long as it says");
    String::from_utf8(message).expect("UTF-8")
}

/// The number of the entry that a message tells of.
fn number(message: &str) -> u64 {
    let rest = message.split(" entry=\"").nth(1).expect("it says which");
    rest.split('"').next().and_then(|digits| digits.parse().ok()).expect("a number")
}

async fn discharge(world: &World) {
    let (status, response, _) = post_xml(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_reaches_the_receiver_in_order_and_names_no_patient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut world = World::start_reaching_loopback_with(&format!("[audit]\nsyslog_address = \"{address}\"\n")).await;
    let tls = acceptor(&world);
    // Nobody has answered yet, and nobody waits for that.
    discharge(&world).await;
    let mut stream = accept(&listener, &tls).await;
    let entries = world.gateway().store().audit_size().await.expect("readable");
    let mut heard = Vec::new();
    while (heard.len() as u64) < entries {
        let message = next(&mut stream).await;
        assert!(message.starts_with("<1") && message.contains(" onward - "), "{message}");
        assert_eq!(number(&message), heard.len() as u64, "in order, none left out");
        heard.push(message);
    }
    let all = heard.join("\n");
    let store = world.gateway().store();
    let patients: Vec<String> = store
        .audit_entries(0, 10_000)
        .await
        .expect("readable")
        .into_iter()
        .filter_map(|entry| entry.columns.patient)
        .collect();
    assert!(!patients.is_empty() && patients.iter().all(|number| !all.contains(number.as_str())), "{all}");
    assert!(all.contains("what=\"accept\"") && all.contains("what=\"sign-in\""), "{all}");
    while !operations(&world, "metrics").await.1.contains("\nonward_audit_syslog_backlog_entries 0\n") {
        tokio::task::yield_now().await;
    }

    balp::judge(world.gateway().store().as_ref(), 0).await;

    // The receiver dies; what happens meanwhile waits in the store, and the gateway says so.
    drop(stream);
    let entries = world.gateway().store().audit_size().await.expect("readable");
    discharge(&world).await;
    let metrics = |line: &'static str| {
        let world = &world;
        async move { operations(world, "metrics").await.1.lines().any(|own| own == line) }
    };
    while metrics("onward_audit_syslog_backlog_entries 0").await {
        tokio::task::yield_now().await;
    }
    world.stop().await;
    world.restart().await;
    let mut stream = accept(&listener, &tls).await;
    let more = world.gateway().store().audit_size().await.expect("readable");
    let first = number(&next(&mut stream).await);
    assert!(first > 0 && first <= entries, "it goes on where it was, after a restart too: {first} of {entries}");
    let mut last = first;
    while last + 1 < more {
        let found = number(&next(&mut stream).await);
        assert_eq!(found, last + 1);
        last = found;
    }
}

#[test]
fn whole_events_are_forwarded_only_where_the_operator_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[audit]\nsyslog_address = \"siem.example:6514\"\nsyslog_content = \"event\"\n")
        .expect("written");
    let loaded = Config::load_from(Some(&file), []).expect("a configuration");
    let told: Vec<String> =
        loaded.check().iter().map(|finding| format!("{}: {}", finding.key, finding.message)).collect();
    assert!(told.iter().any(|told| told.starts_with("audit.syslog_content: NHS numbers leave")), "{told:?}");
    assert!(told.iter().any(|told| told.starts_with("audit.syslog_address: host siem.example is not on")), "{told:?}");
}
