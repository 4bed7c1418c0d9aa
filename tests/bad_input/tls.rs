//! Rows 34 to 41: handshakes that must fail.

use onward_tests::authority::Identity;
use onward_tests::wire::Wire;
use onward_tests::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Ground;

/// Of TLS 1.2, with CBC only.
const CBC: &[u16] = &[0xc027, 0xc028, 0xc013, 0xc014, 0x003c, 0x002f];
/// ECDHE-RSA and ECDHE-ECDSA with AES-256-GCM.
const GCM: &[u16] = &[0xc030, 0xc02c];

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
}

/// A ClientHello of TLS 1.2 or older in its record (RFC 5246 §7.4.1.2): it offers no later version.
fn client_hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| [kind.to_be_bytes().to_vec(), sized(body)].concat();
    let groups = sized(&[0x00, 0x1d, 0x00, 0x17]);
    // ECDSA and RSA with SHA-256 and SHA-384.
    let signatures = sized(&[0x04, 0x03, 0x05, 0x03, 0x08, 0x04, 0x04, 0x01]);
    // Point formats: uncompressed. Extended master secret.
    let extensions =
        [extension(10, &groups), extension(13, &signatures), extension(11, &[1, 0]), extension(23, &[])].concat();
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body = [version.to_vec(), vec![7; 32], vec![0], sized(&suites), vec![1, 0], sized(&extensions)].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let handshake = [&[1], &length[1..], &body].concat();
    [vec![22, 3, 1], sized(&handshake)].concat()
}

/// The first record of the answer: the alert's number (RFC 5246 §7.2), or what else it is.
async fn answer(port: u16, hello: &[u8]) -> String {
    let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    tcp.write_all(hello).await.expect("written");
    let mut head = [0; 5];
    if tcp.read_exact(&mut head).await.is_err() {
        return "closed".to_owned();
    }
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    tcp.read_exact(&mut body).await.expect("a whole record");
    match (head[0], body.as_slice()) {
        (21, [2, alert]) => format!("alert {alert}"),
        (22, [2, ..]) => "ServerHello".to_owned(),
        (kind, _) => format!("record {kind}"),
    }
}

pub(super) async fn rows(ground: &mut Ground) {
    let port = ground.world.port();
    let got = answer(port, &client_hello([3, 2], GCM)).await;
    ground.row(34, "TLS 1.1", "alert 70", got).await;
    let got = answer(port, &client_hello([3, 1], GCM)).await;
    ground.row(34, "TLS 1.0", "alert 70", got).await;
    let got = answer(port, &client_hello([3, 3], CBC)).await;
    ground.row(35, "TLS 1.2 with CBC only", "alert 40", got).await;
    let got = answer(port, &client_hello([3, 3], GCM)).await;
    ground.row(35, "the same hello with GCM is taken", "ServerHello", got).await;

    let request = ground.get("/fhir/R4/metadata");
    let folder = ground.world.folder().to_owned();
    let shows = async |identity: &Identity| {
        let heard = Wire::with_certificate(&folder, port, identity).say(request.as_bytes()).await;
        heard.alert.clone().unwrap_or_else(|| heard.status().to_string())
    };
    let certificates = &ground.certificates;
    // rustls tells a list that is too old as OpenSSL does: with unknown_ca.
    let rows = [
        (36, "an expired certificate", "CertificateExpired", shows(&certificates.expired).await),
        (37, "a revoked certificate", "CertificateRevoked", shows(&certificates.revoked).await),
        (38, "a certificate of a foreign authority", "UnknownCA", shows(&certificates.foreign).await),
        (39, "a certificate for servers", "UnsupportedCertificate", shows(&certificates.for_servers).await),
        (
            40,
            "a certificate under a list past its nextUpdate",
            "UnknownCA",
            shows(&certificates.under_stale_list).await,
        ),
        (40, "a certificate under a list in its time is taken", "200", shows(&certificates.right).await),
    ];
    for (number, name, expected, got) in rows {
        ground.row(number, name, expected, got).await;
    }

    // RFC 8446 §4.6.1: a server that gives no ticket for early data gets none; an alert is for those who send it
    // all the same, which takes a broken client. So the row is: no ticket allows it.
    let early = async |wire: Wire, request: &str| {
        let wire = wire.early_data();
        let first = wire.say(request.as_bytes()).await.status();
        let mut second = wire.connect().await.expect("a handshake");
        let offered = second.get_mut().1.early_data().is_some();
        format!("{first}, early data {}", if offered { "allowed" } else { "not allowed" })
    };
    let got = early(ground.wire(), &request).await;
    ground.row(41, "0-RTT", "200, early data not allowed", got).await;
    let plain = World::start().await;
    let request = request.replacen(&ground.host, "127.0.0.1", 1);
    let got = early(plain.wire(), &request).await;
    ground.row(41, "0-RTT without client certificates", "200, early data not allowed", got).await;
}
