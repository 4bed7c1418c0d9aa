//! Slow senders hold connections; whoever works goes on (trust.md §2, N2).

use std::time::{Duration, Instant};

use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::process::Process;
use onward_tests::wire::Wire;
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

/// How many of a minute's slow connections there are at once, from two addresses, so that neither has its share used up.
const THOUSAND: usize = 1_000;

/// One peer that says a byte a second, and comes back whenever it is cut off; how often it came.
async fn drip(wire: Wire, host: String, body: bool, until: Instant) -> usize {
    let part = if body {
        format!("POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n")
    } else {
        format!("GET /fhir/R4/metadata HTTP/1.1\r\nHost: {host}\r\nX-Slow: ")
    };
    let mut times = 0;
    while Instant::now() < until {
        let Ok(mut stream) = wire.connect().await else { continue };
        times += 1;
        let mut left = stream.write_all(part.as_bytes()).await.is_ok();
        while left && Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            left = stream.write_all(b"a").await.is_ok() && stream.flush().await.is_ok();
        }
    }
    times
}

/// How long each of a hospital's messages took, for so long one after the other.
async fn measured(hospital: &Session, long: Duration) -> Vec<Duration> {
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < long {
        let started = Instant::now();
        let (status, response, _) = post_xml(hospital, fresh(message::EDISCHARGE_ITK3)).await;
        assert_eq!(status, 200, "{response}");
        took.push(started.elapsed());
    }
    took.sort();
    took
}

/// trust.md §2, N2, at full size: `cargo test -p onward-tests slow::a_minute -- --ignored --nocapture`, on a machine that
/// does nothing else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of a thousand connections, for a quiet machine"]
async fn a_minute_of_a_thousand_slow_connections() {
    let mut world = World::start().await;
    let hospital = world.hospital().await;
    let mut process = Process::take_over(&mut world).await;
    let host = format!("127.0.0.1:{}", world.port());
    measured(&hospital, Duration::from_secs(5)).await;
    let quiet = measured(&hospital, Duration::from_secs(30)).await;
    let until = Instant::now() + Duration::from_secs(65);
    let slow: Vec<_> = (0..THOUSAND)
        .map(|at| {
            let wire = world.wire().from([127, 0, 0, 2 + u8::try_from(at % 2).expect("small")]);
            tokio::spawn(drip(wire, host.clone(), at % 4 < 2, until))
        })
        .collect();
    let busy = measured(&hospital, Duration::from_secs(60)).await;
    let mut opened = 0;
    for peer in slow {
        opened += peer.await.expect("it ends");
    }
    let p99 = |took: &[Duration]| took[(took.len() * 99).div_ceil(100) - 1];
    let ratio = p99(&busy).as_secs_f64() / p99(&quiet).as_secs_f64();
    println!("quiet: {} messages, p50 {:?}, p99 {:?}", quiet.len(), quiet[quiet.len() / 2], p99(&quiet));
    println!(
        "beside {THOUSAND} slow connections ({opened} opened): {} messages, no error, p50 {:?}, p99 {:?}",
        busy.len(),
        busy[busy.len() / 2],
        p99(&busy)
    );
    println!("ratio of p99: {ratio:.2}");
    assert!(process.runs() && opened >= THOUSAND);
}
