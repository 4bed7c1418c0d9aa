//! A partner on loopback for tests: answers each connection as the script says and keeps what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::egress::EgressHost;
use crate::http::HttpConfig;

/// What the partner does with one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Takes the request and never answers.
    Hang,
    /// Takes the request and closes.
    Close,
}

impl Reply {
    /// An answer with this status line tail (`200 OK`), header lines and body.
    pub(crate) fn new(status: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
        for header in headers {
            bytes.push_str(header);
            bytes.push_str("\r\n");
        }
        bytes.push_str("\r\n");
        Self::Raw([bytes.as_bytes(), body].concat())
    }
}

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The only value of a header; panics when it came twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "{name} came twice");
        first.map(|(_, value)| value.as_str())
    }
}

/// The partner.
pub(crate) struct Partner {
    address: SocketAddr,
    hangs: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Partner {
    /// Starts it; the n-th request gets the n-th reply, later ones the last.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        Self::serve(replies, None).await
    }

    /// As [`Partner::start`], over TLS.
    pub(crate) async fn start_tls(replies: Vec<Reply>, tls: rustls::ServerConfig) -> Self {
        Self::serve(replies, Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn serve(replies: Vec<Reply>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let hangs = replies.iter().any(|reply| matches!(reply, Reply::Hang));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, kept, tls) = (replies.clone(), Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &replies, &kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &replies, &kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, hangs, seen }
    }

    /// [`loopback_config`], which gives up on a partner that never answers after [`IMPATIENCE`].
    pub(crate) fn config(&self) -> HttpConfig {
        let config = loopback_config();
        if self.hangs { HttpConfig { total_timeout: IMPATIENCE, ..config } } else { config }
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

/// A configuration that reaches loopback in the clear. Its waits only keep a broken test from hanging: a machine that is
/// busy elsewhere must not turn an answer into a timeout.
pub(crate) fn loopback_config() -> HttpConfig {
    HttpConfig {
        egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
        allow_plain_loopback: true,
        connect_timeout: std::time::Duration::from_secs(60),
        total_timeout: std::time::Duration::from_secs(60),
        ..HttpConfig::default()
    }
}

/// Waits for a partner that never answers: long enough that the request has reached it, short enough to sit through.
pub(crate) const IMPATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, replies: &[Reply], kept: &Mutex<Vec<Seen>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let number = {
        let mut kept = kept.lock().expect("not poisoned");
        kept.push(request);
        kept.len() - 1
    };
    match replies.get(number).or(replies.last()) {
        Some(Reply::Raw(bytes)) => {
            // The client may hang up in the middle of an answer that it refuses.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        Some(Reply::Hang) => std::future::pending().await,
        Some(Reply::Close) | None => {}
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).expect("heads are ASCII");
    let mut lines = text.split("\r\n").map(str::to_owned);
    let line = lines.next().expect("a request line");
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()))).collect();
    let length: usize = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().expect("a number"));
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, headers, body })
}
