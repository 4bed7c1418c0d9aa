//! Slow senders hold connections; whoever works goes on (trust.md §2, N2).

use std::time::{Duration, Instant};

use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use tokio::io::AsyncWriteExt as _;

/// Connections that send a part of a head or of a body and then nothing.
const SLOW: usize = 200;
/// Messages of the hospital meanwhile.
const MESSAGES: usize = 10;

async fn slowest(world: &World) -> Duration {
    let hospital = world.hospital().await;
    let mut slowest = Duration::ZERO;
    for _ in 0..MESSAGES {
        let started = Instant::now();
        let (status, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
        assert_eq!(status, 200, "{response}");
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_stop_nobody() {
    let world = World::start().await;
    let quiet = slowest(&world).await;
    let wire = world.wire();
    let host = format!("127.0.0.1:{}", world.port());
    let mut open = Vec::new();
    for at in 0..SLOW {
        let mut stream = wire.connect().await.expect("a handshake");
        let part = if at % 2 == 0 {
            format!("POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\ngrant_type=")
        } else {
            format!("GET /fhir/R4/metadata HTTP/1.1\r\nHost: {host}\r\nX-Slow: ")
        };
        stream.write_all(part.as_bytes()).await.expect("written");
        stream.flush().await.expect("written");
        open.push(stream);
    }
    let busy = slowest(&world).await;
    // How long it takes is for people to read: a busy machine proves nothing.
    println!("slowest of {MESSAGES} messages: {quiet:?} alone, {busy:?} beside {} slow connections", open.len());
}
