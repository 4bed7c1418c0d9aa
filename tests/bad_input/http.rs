//! Rows 1 to 33: HTTP/1.1 with exact bytes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use onward_tests::message;
use onward_tests::wire::{Heard, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Ground;
use onward_tests::signer::form;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const METADATA: &str = "/fhir/R4/metadata";

pub(super) async fn rows(ground: &mut Ground) {
    framing(ground).await;
    heads(ground).await;
    time(ground).await;
    bodies(ground).await;
}

/// Where one message ends and the next begins.
async fn framing(ground: &mut Ground) {
    let wire = ground.wire();
    let smuggled = ground.get(METADATA);
    let one = |heard: &Heard| format!("{} answer, status {}", heard.answers(), heard.status());
    // RFC 9112 §6.1: chunked wins, and the connection is closed. Keep-alive is asked for, so that closing is ours.
    let both = String::from_utf8(ground.post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"))
        .expect("text")
        .replace("Connection: close\r\n", "");
    let heard = wire.say(format!("{both}{smuggled}").as_bytes()).await;
    ground
        .row(1, "Content-Length and Transfer-Encoding, then a smuggled request", "1 answer, status 400", one(&heard))
        .await;

    for (number, name, headers) in [
        (2, "Transfer-Encoding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        (2, "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n"),
        (2, "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        (3, "two Content-Lengths that differ", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        (3, "Content-Length: 5, 6", "Content-Length: 5, 6\r\n"),
        (4, "Content-Length: +5", "Content-Length: +5\r\n"),
        (5, "Transfer-Encoding: xchunked", "Transfer-Encoding: xchunked\r\n"),
        (8, "a folded header", "X-Folded: a\r\n b\r\n"),
        (9, "a space before the colon", "X-Spaced : a\r\n"),
        (13, "NUL in a header", "X-Null: a\0b\r\n"),
        (18, "a chunk's size beyond 64 bits", "Transfer-Encoding: chunked\r\n"),
    ] {
        let body = if number == 18 { "10000000000000000\r\nabc\r\n0\r\n\r\n" } else { "0\r\n\r\n" };
        let heard = wire.say(&ground.post(headers, body)).await;
        ground.status(number, name, 400, &heard).await;
    }
    let old =
        format!("POST /oauth2/token HTTP/1.0\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ground.host);
    let heard = wire.say(old.as_bytes()).await;
    ground.status(6, "Transfer-Encoding in HTTP/1.0", 400, &heard).await;

    // RFC 9112 §2.2 allows a bare LF to end a line of the head; it must mean the same to everybody.
    let bare = format!("GET {METADATA} HTTP/1.1\nHost: {}\nConnection: close\n\n{smuggled}", ground.host);
    let heard = wire.say(bare.as_bytes()).await;
    ground.row(7, "bare LF in the head", "1 answer, status 200", one(&heard)).await;
    let heard = wire.say(&ground.post("Transfer-Encoding: chunked\r\n", "1\na\n0\n\n")).await;
    ground.status(7, "bare LF in chunks (RFC 9112 §7.1)", 400, &heard).await;

    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1024 * 1024));
    let heard = wire.say(&ground.post("Transfer-Encoding: chunked\r\n", &extension)).await;
    ground.status(17, "a chunk extension of 1 MB", 400, &heard).await;
}

async fn heads(ground: &mut Ground) {
    let wire = ground.wire();
    let (host, right) = (ground.host.clone(), ground.get(METADATA));
    let with_host = |named: &str| right.replacen(&host, named, 1);
    let with = |line: &str| right.replacen("\r\nConnection", &format!("\r\n{line}\r\nConnection"), 1);
    let targeted = |target: &str| right.replacen(METADATA, target, 1);
    let many: String = (0..101).map(|at| format!("X-Row-{at}: a\r\n")).collect();
    let rows: Vec<(u16, &str, u16, String)> = vec![
        (10, "no Host", 400, format!("GET {METADATA} HTTP/1.1\r\nConnection: close\r\n\r\n")),
        (11, "two Hosts", 400, with("Host: elsewhere.example")),
        (11, "the same Host twice", 400, with(&format!("Host: {host}"))),
        (12, "a foreign Host", 421, with_host("elsewhere.example")),
        (12, "our host as a part of another", 421, with_host("127.0.0.1.elsewhere.example")),
        (12, "a foreign host in the target", 421, targeted(&format!("http://elsewhere.example{METADATA}"))),
        (12, "a Host that is no host", 400, with_host("a b")),
        (12, "our Host without its port is ours", 200, with_host("127.0.0.1")),
        (14, "101 headers", 431, with(many.trim_end())),
        (15, "a header of 64 KB", 431, with(&format!("X-Padding: {}", "x".repeat(64_000)))),
        (16, "a target of 9 KB", 414, targeted(&format!("{METADATA}?{}", "x".repeat(9_000)))),
        (16, "a target of 70 KB", 414, targeted(&format!("{METADATA}?{}", "x".repeat(70_000)))),
        (19, "TRACE", 405, right.replacen("GET", "TRACE", 1)),
        (19, "HEAD of a copy would be a reading", 405, targeted("/fhir/R4/Bundle/x").replacen("GET", "HEAD", 1)),
        (30, "a target that is no text", 400, targeted("/fhir/R4/Task/%ff")),
        (33, "ANSI escape in X-Request-Id", 400, with("X-Request-Id: a\u{1b}[31mb")),
        (33, "C1 control in X-Request-Id", 400, with("X-Request-Id: a\u{9b}31mb")),
        (33, "a long X-Request-Id", 400, with(&format!("X-Request-Id: {}", "a".repeat(129)))),
    ];
    for (number, name, expected, request) in rows {
        let heard = wire.say(request.as_bytes()).await;
        ground.status(number, name, expected, &heard).await;
        // Below 1 KB nothing of the head was too much to answer in our own form.
        if expected >= 400 && expected != 405 && heard.bytes.len() > 300 {
            assert!(heard.text().contains("OperationOutcome"), "{name}: {}", heard.text());
        }
    }
    let token = ground.home.token().await.expect("signed in");
    let dots = with(&format!("Authorization: Bearer {token}")).replacen(
        METADATA,
        "/fhir/R4/Task/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        1,
    );
    let heard = wire.say(dots.as_bytes()).await;
    ground.status(30, "%2e%2e%2f", 404, &heard).await;

    let plain = wire.say_plain(right.as_bytes()).await;
    let spoke = String::from_utf8_lossy(&plain).contains("HTTP/");
    ground.row(28, "plain HTTP", "closed", if spoke { "an answer in HTTP" } else { "closed" }).await;

    let claimed = "X-Forwarded-Client-Cert: Hash=00\r\nX-Client-Cert: x\r\nX-SSL-Client-Verify: SUCCESS\r\n";
    let heard = wire.say(with(claimed.trim_end()).replacen(METADATA, "/fhir/R4/Task", 1).as_bytes()).await;
    ground.status(29, "claimed certificate without a token", 401, &heard).await;
    let assertion = form(&ground.bound.right());
    let signing_in = format!("{FORM}{claimed}X-Forwarded-For: 127.0.0.1\r\nContent-Length: {}\r\n", assertion.len());
    let heard = wire.say(&ground.post(&signing_in, &assertion)).await;
    ground.status(29, "claimed certificate of a bound client", 401, &heard).await;
    let shown = Wire::with_certificate(ground.world.folder(), ground.world.port(), &ground.certificates.right);
    let assertion = form(&ground.bound.right());
    let signing_in = format!("{FORM}Content-Length: {}\r\n", assertion.len());
    let heard = shown.say(&ground.post(&signing_in, &assertion)).await;
    ground.status(29, "the certificate itself is taken", 200, &heard).await;
    let text = heard.text();
    let token = text.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let stolen = with(&format!("Authorization: Bearer {token}")).replacen(METADATA, "/fhir/R4/Task", 1);
    let heard = wire.say(stolen.as_bytes()).await;
    ground.status(29, "its token without the certificate (RFC 8705 §3)", 401, &heard).await;
    let heard = shown.say(stolen.as_bytes()).await;
    ground.status(29, "its token with the certificate", 200, &heard).await;
}

/// Rows 20 and 21. Each waits for the server's timers, so they wait together; how long those are is checked where they
/// stand, since a busy machine proves nothing.
async fn time(ground: &mut Ground) {
    let wire = ground.wire();
    let slow_body = ground.post(&format!("{FORM}Content-Length: 1000\r\n"), "grant_type=");
    let head = format!("GET {METADATA} HTTP/1.1\r\nHost:");
    // hyper would wait for the rest of HTTP/2's preface for ever.
    let (slow_head, silent, half, slow_body) =
        tokio::join!(wire.say(head.as_bytes()), wire.say(b""), wire.say(b"PRI * HTTP/2.0\r\n"), wire.say(&slow_body));
    for (number, name, heard) in
        [(20, "a slow head", slow_head), (21, "a silent connection", silent), (21, "half of HTTP/2's preface", half)]
    {
        let got = if heard.bytes.is_empty() { "closed".to_owned() } else { heard.text() };
        ground.row(number, name, "closed", got).await;
    }
    ground.status(21, "a slow body", 408, &slow_body).await;
}

/// Rows 20 and 21 by peers that are never silent: a byte a second. Their time runs from the beginning and not from the last byte.
pub(super) async fn drips(wire: Wire, head: String, body: Vec<u8>) -> [(u16, &'static str, String); 2] {
    let (head, body) = tokio::join!(drip(&wire, head.as_bytes()), drip(&wire, &body));
    let status = Heard { bytes: body.into_bytes(), alert: None }.status().to_string();
    [(20, "a head of a byte a second", head), (21, "a body of a byte a second", status)]
}

/// What is heard on a connection that is closed before its peer has said a byte a second for three minutes.
async fn drip(wire: &Wire, first: &[u8]) -> String {
    let (mut read, mut write) = tokio::io::split(wire.connect().await.expect("a handshake"));
    let saying = async {
        let mut taken = write.write_all(first).await.is_ok();
        for _ in 0..180 {
            taken = taken && write.write_all(b"a").await.is_ok() && write.flush().await.is_ok();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    let mut heard = Vec::new();
    tokio::select! {
        _ = read.read_to_end(&mut heard) => {}
        () = saying => return "still open after three minutes".to_owned(),
    }
    if heard.is_empty() { "closed".to_owned() } else { String::from_utf8_lossy(&heard).into_owned() }
}

/// What the two peers of [`drips`] begin with.
pub(super) fn dripped(ground: &Ground) -> (String, Vec<u8>) {
    let head = format!("GET {METADATA} HTTP/1.1\r\nHost: {}\r\nX-Slow: ", ground.host);
    (head, ground.post(&format!("{FORM}Content-Length: 1000\r\n"), "grant_type="))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

async fn bodies(ground: &mut Ground) {
    let fhir = "Content-Type: application/fhir+json\r\n";
    let coded = |coding: &str| format!("{fhir}Content-Encoding: {coding}\r\n");
    let bomb = gzip(&vec![b' '; 50 * 1024 * 1024]);
    assert!(bomb.len() < 60_000, "a bomb is small: {}", bomb.len());
    let heard = ground.message(&coded("gzip"), &bomb).await;
    ground.status(22, "a gzip bomb", 413, &heard).await;
    let right = gzip(message::fresh(message::EDISCHARGE_R4).as_bytes());
    let heard = ground.message(&coded("gzip"), &right).await;
    ground.status(22, "a message in gzip is taken", 200, &heard).await;
    let heard = ground.message(&coded("gzip"), &right[..right.len() / 2]).await;
    ground.status(22, "half a gzip", 400, &heard).await;
    let twice = gzip(&right);
    for coding in ["gzip, gzip", "gzip\r\nContent-Encoding: gzip", "br", "deflate", "identity", ""] {
        let heard = ground.message(&coded(coding), &twice).await;
        ground.status(23, &format!("Content-Encoding: {}", coding.escape_debug()), 415, &heard).await;
    }

    let heard = ground.message(fhir, &vec![b' '; 5 * 1024 * 1024 + 1]).await;
    ground.status(24, "a message of 5 MB and a byte", 413, &heard).await;
    let wire = ground.wire();
    let said = ground.post(&format!("{FORM}Content-Length: 70000\r\n"), "");
    let heard = wire.say(&said).await;
    ground.status(24, "a form that says it has 70 KB", 413, &heard).await;
    let chunked = format!("11170\r\n{}\r\n0\r\n\r\n", "x".repeat(0x11170));
    let heard = wire.say(&ground.post(&format!("{FORM}Transfer-Encoding: chunked\r\n"), &chunked)).await;
    ground.status(24, "a form of 70 KB in chunks", 413, &heard).await;

    let text = message::fresh(message::EDISCHARGE_R4);
    for (number, kind) in [
        (31, "text/plain"),
        (31, "application/octet-stream"),
        (31, "multipart/form-data; boundary=a"),
        (32, "application/fhir+json; charset=utf-16"),
        (32, "application/fhir+json; charset=\"ISO-8859-1\""),
    ] {
        let heard = ground.message(&format!("Content-Type: {kind}\r\n"), text.as_bytes()).await;
        ground.status(number, kind, 415, &heard).await;
    }
}
