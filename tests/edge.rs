//! The HTTP edge against trust.md §6, with exact bytes over TLS: what libraries let through and we do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onward_tests::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

async fn connect(world: &World) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(world.folder().join("ca.pem")).expect("readable");
    roots.add(ca).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", world.base().port().expect("a port"))).await.expect("connected");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake")
}

/// Everything that the server says until it closes.
async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    // A close without TLS's farewell is a close.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(world: &World, request: &str) -> (u16, String) {
    let mut stream = connect(world).await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = rest(&mut stream).await;
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_heads_get_their_status() {
    let world = World::start().await;
    let host = format!("127.0.0.1:{}", world.base().port().expect("a port"));
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let metadata = "/fhir/R4/metadata";
    let rows: Vec<(&str, String, u16)> = vec![
        ("a right one", get(metadata, &host), 200),
        ("the host without its port", get(metadata, "127.0.0.1"), 200),
        ("010 no Host", format!("GET {metadata} HTTP/1.1\r\nConnection: close\r\n\r\n"), 400),
        (
            "011 two Hosts",
            format!("GET {metadata} HTTP/1.1\r\nHost: {host}\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n"),
            400,
        ),
        ("012 foreign Host", get(metadata, "elsewhere.example"), 421),
        ("012 our host as a part of another", get(metadata, "127.0.0.1.elsewhere.example"), 421),
        ("012 foreign host in the target", get(&format!("http://elsewhere.example{metadata}"), &host), 421),
        ("012 no host at all", get(metadata, "a b"), 400),
        ("015 large header", get(metadata, &format!("{host}\r\nX-Padding: {}", "x".repeat(64_000))), 431),
        ("016 long target", get(&format!("{metadata}?{}", "x".repeat(9_000)), &host), 414),
        ("016 70 KB target", get(&format!("{metadata}?{}", "x".repeat(70_000)), &host), 414),
        ("019 TRACE", get(metadata, &host).replacen("GET", "TRACE", 1), 405),
        ("030 dots", get("/fhir/R4/Task/%2e%2e%2f%2e%2e%2fetc", &host), 401),
        ("a path that is no text", get("/fhir/R4/Task/%ff", &host), 400),
        ("062 token in the URL", get("/fhir/R4/Task?access_token=abc", &host), 400),
        ("a HEAD of a copy is no reading", get("/fhir/R4/Bundle/x", &host).replacen("GET", "HEAD", 1), 405),
    ];
    for (name, request, expected) in rows {
        let (status, answer) = ask(&world, &request).await;
        assert_eq!(status, expected, "{name}: {}", &answer[..answer.len().min(300)]);
        if status >= 400 && !matches!(status, 405) && !name.starts_with("016 70") {
            assert!(answer.contains("OperationOutcome"), "{name}: {answer}");
        }
    }
}

/// Row 21, and the same where only a part of HTTP/2's preface comes: hyper would wait for the rest for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed() {
    let world = World::start().await;
    let silent = async {
        let mut stream = connect(&world).await;
        rest(&mut stream).await
    };
    let half = async {
        let mut stream = connect(&world).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n").await.expect("written");
        rest(&mut stream).await
    };
    let slow_head = async {
        let mut stream = connect(&world).await;
        stream.write_all(b"GET /fhir/R4/metadata HTTP/1.1\r\nHost:").await.expect("written");
        rest(&mut stream).await
    };
    let started = Instant::now();
    let all = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(silent, half, slow_head) }).await;
    let (silent, half, _) = all.expect("all three are closed");
    assert!(started.elapsed() >= Duration::from_secs(2), "nobody is cut off at once");
    assert_eq!((silent.as_str(), half.as_str()), ("", ""));
}

/// Row 21, second half. The token endpoint stands for all: it reads a body from anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_gets_408_and_an_oversize_one_413() {
    let world = World::start().await;
    let host = format!("127.0.0.1:{}", world.base().port().expect("a port"));
    let post = |length: usize, start: &str| {
        format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{start}"
        )
    };
    let (slow, large) = (post(1_000, "grant_type="), post(70_000, ""));
    let both = async { tokio::join!(ask(&world, &slow), ask(&world, &large)) };
    let (slow, large) = tokio::time::timeout(Duration::from_secs(120), both).await.expect("answered");
    assert_eq!(slow.0, 408, "{}", slow.1);
    assert_eq!(large.0, 413, "{}", large.1);
    let chunked = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x11170)
    );
    assert_eq!(ask(&world, &chunked).await.0, 413, "also without a length");
}

/// The sender writes all before it reads anything: it must still find the answer, not a reset connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_a_sender_that_is_still_writing() {
    let world = World::start().await;
    let host = format!("127.0.0.1:{}", world.base().port().expect("a port"));
    let mut stream = connect(&world).await;
    let nobodys = format!(
        "POST /fhir/R4/$process-message HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/fhir+xml\r\nContent-Length: 9000000\r\n\r\n"
    );
    stream.write_all(nobodys.as_bytes()).await.expect("written");
    for _ in 0..90 {
        stream.write_all(&[b' '; 100_000]).await.expect("nobody cuts the sender off");
    }
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("OperationOutcome"), "{answer}");
    let mut stream = connect(&world).await;
    let large = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9000000\r\n\r\n"
    );
    stream.write_all(large.as_bytes()).await.expect("written");
    for _ in 0..90 {
        stream.write_all(&[b'a'; 100_000]).await.expect("nobody cuts the sender off");
    }
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("20015"), "{answer}");
}
