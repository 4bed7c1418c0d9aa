//! HTTP/2 by hand, by a peer that answers every ping, so that nothing but patience ends its connections.

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// No test waits for it.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(400);
/// More than any window that a peer of these tests opens.
const ANSWER: usize = 200_000;

struct Peer {
    stream: TcpStream,
    next: u32,
    _stop: watch::Sender<bool>,
}

/// What a peer hears.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// So many bytes of content, and whether they are the last.
    Content(usize, bool),
    /// GOAWAY with this reason.
    Leaving(u32),
    /// The end of the connection.
    End,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

impl Peer {
    /// One whose streams have this window.
    async fn connect(patience: Patience, window: u32) -> Self {
        let app = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/long", get(|| async { vec![b'x'; ANSWER] }))
            .route("/never", get(|| async { std::future::pending::<()>().await }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(crate::listener::serve(listener, None, app, patience, stopped));
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()).await.expect("written");
        Self { stream, next: 1, _stop: stop }
    }

    async fn ask(&mut self, path: &str) {
        let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        let block: Vec<u8> =
            fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
        let head = frame(HEADERS, END_STREAM | END_HEADERS, self.next, &block);
        self.next += 2;
        // A server that leaves may have closed already: what it said is heard all the same.
        drop(self.stream.write_all(&head).await);
    }

    /// The next thing that matters; pings are answered by the way.
    async fn hear(&mut self) -> Heard {
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return Heard::End;
            }
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return Heard::End;
            }
            match (head[3], head[4]) {
                (DATA, flags) => return Heard::Content(length, flags & END_STREAM != 0),
                (GOAWAY, _) => {
                    return Heard::Leaving(u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
                }
                (PING, 0) => drop(self.stream.write_all(&frame(PING, ACK, 0, &payload)).await),
                _ => {}
            }
        }
    }

    /// Everything up to the end of the connection, within a minute.
    async fn until_the_end(&mut self) -> Vec<Heard> {
        let all = async {
            let mut all = Vec::new();
            loop {
                all.push(self.hear().await);
                if all.last() == Some(&Heard::End) {
                    return all;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("an end of the connection")
    }
}

#[tokio::test]
async fn a_connection_without_requests_ends_in_order() {
    let patience = Patience { idle: SHORT, age: LONG, stall: LONG };
    let mut peer = Peer::connect(patience, 65_535).await;
    peer.ask("/").await;
    let heard = peer.until_the_end().await;
    assert_eq!(heard.first(), Some(&Heard::Content(4, true)), "{heard:?}");
    assert!(heard.contains(&Heard::Leaving(0)), "{heard:?}");
}

#[tokio::test]
async fn a_connection_that_waits_for_us_is_not_idle() {
    let patience = Patience { idle: SHORT * 2, age: SHORT * 8, stall: SHORT * 2 };
    let mut peer = Peer::connect(patience, 65_535).await;
    let asked = Instant::now();
    peer.ask("/never").await;
    assert_eq!(peer.hear().await, Heard::Leaving(0));
    assert!(asked.elapsed() >= SHORT * 4, "age ended it, and neither of the others");
}

#[tokio::test]
async fn a_connection_in_use_ends_when_it_is_old() {
    let patience = Patience { idle: LONG, age: SHORT, stall: SHORT };
    let mut peer = Peer::connect(patience, 65_535).await;
    let used = async {
        let mut answers = 0;
        loop {
            peer.ask("/").await;
            match peer.hear().await {
                Heard::Content(4, true) => answers += 1,
                other => return (answers, other),
            }
        }
    };
    let (answers, then) = tokio::time::timeout(Duration::from_secs(60), used).await.expect("an end");
    assert!(answers > 0);
    assert_eq!(then, Heard::Leaving(0));
    assert_eq!(peer.until_the_end().await.last(), Some(&Heard::End));
}

#[tokio::test]
async fn whoever_opens_no_window_or_reads_nothing_is_cut_off() {
    // What is in the protocol's own buffer is no exchange any more: then it is for want of requests.
    for (window, idle) in [(0, LONG), (10, SHORT)] {
        let mut peer = Peer::connect(Patience { idle, age: LONG, stall: SHORT }, window).await;
        peer.ask("/long").await;
        let heard = peer.until_the_end().await;
        assert!(!heard.iter().any(|heard| matches!(heard, Heard::Content(_, true))), "{window}: {heard:?}");
    }
}

#[tokio::test]
async fn whoever_takes_what_they_asked_for_gets_all_of_it() {
    let patience = Patience { idle: SHORT, age: LONG, stall: SHORT };
    let mut peer = Peer::connect(patience, 1_000_000).await;
    // The window of the connection, beside that of its streams.
    let more = frame(8, 0, 0, &1_000_000_u32.to_be_bytes());
    peer.stream.write_all(&more).await.expect("written");
    peer.ask("/long").await;
    let heard = peer.until_the_end().await;
    let sizes = heard.iter().map(|heard| if let Heard::Content(size, _) = heard { *size } else { 0 });
    assert_eq!(sizes.sum::<usize>(), ANSWER, "{heard:?}");
    assert!(heard.contains(&Heard::Leaving(0)), "{heard:?}");
}
