//! Certificate, key and revocation lists change while requests go on (trust.md §2, N5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use onward_connect::strength::RSA_BITS_MIN;
use onward_server::in_force;
use onward_tests::authority::{Authority, Kind};
use onward_tests::wire::Wire;
use onward_tests::world::{World, load};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// One request on an open connection; its status, `None` when the connection has ended.
async fn ask(stream: &mut BufReader<TlsStream<TcpStream>>, port: u16) -> Option<u16> {
    let request = format!("GET /fhir/R4/metadata HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if status.is_none() {
            status = line.get(9..12).and_then(|status| status.parse().ok());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    status
}

/// What never comes must not keep the other tests waiting; how soon it comes is not judged here.
async fn patiently(change: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(120), change).await.expect("the change is in force");
}

async fn certificate(wire: &Wire) -> Vec<u8> {
    let stream = wire.connect().await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_drops_no_request() {
    let world = World::start().await;
    let (wire, port) = (world.wire(), world.port());
    let old = certificate(&wire).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for keeps in [true, true, false, false] {
        let (wire, stop, served) = (wire.clone(), Arc::clone(&stop), Arc::clone(&served));
        clients.spawn(async move {
            let mut stream = BufReader::new(wire.connect().await.expect("a handshake"));
            while !stop.load(Ordering::Relaxed) {
                if !keeps {
                    stream = BufReader::new(wire.connect().await.expect("a handshake"));
                }
                assert_eq!(ask(&mut stream, port).await, Some(200), "a request is dropped");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for renewal in 0..3 {
        let before = certificate(&wire).await;
        world.renew_certificate();
        patiently(async {
            while certificate(&wire).await == before {
                tokio::task::yield_now().await;
            }
            let seen = served.load(Ordering::Relaxed);
            while served.load(Ordering::Relaxed) < seen + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        println!("renewal {renewal}: {} requests so far", served.load(Ordering::Relaxed));
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("no request is dropped");
    }
    assert_ne!(certificate(&wire).await, old);
}

/// What the entries of starts and exchanges say, the oldest first.
async fn told(world: &World) -> Vec<String> {
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let events = entries.iter().filter_map(|entry| serde_json::from_slice::<serde_json::Value>(entry.event()?).ok());
    let said = events.filter_map(|event| event["outcomeDesc"].as_str().map(str::to_owned));
    said.filter(|said| said.starts_with("configure: start of node ")).collect()
}

/// By fingerprints, at the exchange; the next start has nothing more to tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_while_it_runs_is_an_entry() {
    let mut world = World::start().await;
    let part = "certificate of the server";
    let before = in_force::parts(&load(&world.config_file)).expect("readable");
    assert_eq!(told(&world).await.len(), 1);
    world.renew_certificate();
    patiently(async {
        while told(&world).await.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let after = in_force::parts(&load(&world.config_file)).expect("readable");
    let newest = told(&world).await.pop().expect("told");
    let (changes, rest) = newest.split_once("; policies: ").expect("said");
    let expected = format!(": while it runs, {part} changed ({} to {})", before[part], after[part]);
    assert!(changes.ends_with(&expected), "{changes}");
    let (_, all) = rest.split_once("; in force: ").expect("said");
    assert!(all.contains(&format!("section server {}", after["section server"])), "the rest stays: {all}");

    // The same certificate, written otherwise.
    let pem = std::fs::read_to_string(world.folder().join("server.pem")).expect("readable");
    std::fs::write(world.folder().join("server.pem"), format!("Its new certificate.\n{pem}")).expect("written");
    let files = load(&world.config_file).tls().expect("over TLS");
    let same = onward_server::listener::Tls::open(files).expect("usable").told();
    assert_eq!(in_force::note_exchange(world.gateway(), &in_force::node(), &same).await, Ok(false));
    world.restart().await;
    assert_eq!(told(&world).await.len(), 2, "nothing else is in force than before");
}

/// Half a renewal is none: what was in force stays.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_change_nothing() {
    use onward_server::listener::{Tls, TlsFiles};
    let world = World::start().await;
    let at = |name: &str| world.folder().join(name);
    let files = TlsFiles {
        certificate: at("server.pem"),
        key: at("server.key"),
        client_ca: None,
        client_crl: None,
        rsa_bits_min: RSA_BITS_MIN,
    };
    let tls = Tls::open(files).expect("right files");
    assert!(!tls.reload().expect("readable"), "nothing has changed");
    let (certificate, key) =
        (std::fs::read(at("server.pem")).expect("there"), std::fs::read(at("server.key")).expect("there"));
    world.renew_certificate();
    let renewed = std::fs::read(at("server.pem")).expect("there");
    std::fs::write(at("server.pem"), &certificate).expect("written");
    assert!(tls.reload().is_err(), "the new key does not belong to the old certificate");
    std::fs::write(at("server.pem"), "no certificate").expect("written");
    assert!(tls.reload().is_err());
    std::fs::write(at("server.pem"), &renewed).expect("written");
    assert!(tls.reload().expect("a whole renewal"));
    std::fs::write(at("server.pem"), certificate).expect("written");
    std::fs::write(at("server.key"), key).expect("written");
    assert!(tls.reload().expect("and back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_out_also_where_it_is_connected() {
    let authority = Authority::new("An authority");
    let world = World::start_with_client_authorities(authority.certificate(), &authority.crl(&[], 2099)).await;
    let port = world.port();
    let [revoked, kept] = [1, 2].map(|serial| authority.issue(serial, Kind::Right));
    let wire = |identity| Wire::with_certificate(world.folder(), port, identity);
    let mut of_revoked = BufReader::new(wire(&revoked).connect().await.expect("a handshake"));
    let mut of_kept = BufReader::new(wire(&kept).connect().await.expect("a handshake"));
    assert_eq!(ask(&mut of_revoked, port).await, Some(200));
    assert_eq!(ask(&mut of_kept, port).await, Some(200));
    std::fs::write(world.folder().join("client-crl.pem"), authority.crl(&[1], 2099)).expect("written");
    patiently(async {
        while ask(&mut of_revoked, port).await.is_some() {
            tokio::task::yield_now().await;
        }
        while told(&world).await.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let newest = told(&world).await.pop().expect("told");
    assert!(newest.contains(": while it runs, revocation lists of clients changed ("), "{newest}");
    let request = format!("GET /fhir/R4/metadata HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    assert_eq!(wire(&revoked).say(request.as_bytes()).await.alert.as_deref(), Some("CertificateRevoked"));
    assert_eq!(ask(&mut of_kept, port).await, Some(200), "others go on");
    assert_eq!(wire(&kept).say(request.as_bytes()).await.status(), 200);
}

/// A way to the server that lets the client's greeting through and holds what follows until it is told.
async fn stalling(port: u16) -> (u16, Arc<tokio::sync::Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("bound").port();
    let released = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&released);
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut greeting = vec![0; 16 * 1024];
        let count = from_client.read(&mut greeting).await.expect("a greeting");
        to_server.write_all(&greeting[..count]).await.expect("passed on");
        gate.notified().await;
        // The server may have given up meanwhile.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    (own, released)
}

/// Whoever begins a handshake before a list and ends it after is judged by the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_lasts_over_a_revocation_is_judged_by_it() {
    let authority = Authority::new("An authority");
    let world = World::start_with_client_authorities(authority.certificate(), &authority.crl(&[], 2099)).await;
    let port = world.port();
    let revoked = authority.issue(1, Kind::Right);
    let (stalled, released) = stalling(port).await;
    let slow = Wire::with_certificate(world.folder(), stalled, &revoked);
    let slow = tokio::spawn(async move {
        let Ok(stream) = slow.connect().await else { return };
        let mut stream = BufReader::new(stream);
        while ask(&mut stream, port).await.is_some() {
            tokio::task::yield_now().await;
        }
    });
    std::fs::write(world.folder().join("client-crl.pem"), authority.crl(&[1], 2099)).expect("written");
    let request = format!("GET /fhir/R4/metadata HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    patiently(async {
        let another = Wire::with_certificate(world.folder(), port, &revoked);
        while another.say(request.as_bytes()).await.alert.as_deref() != Some("CertificateRevoked") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    released.notify_one();
    // A request may be answered while the connection is judged; it is not kept.
    patiently(async { slow.await.expect("it ends") }).await;
}
