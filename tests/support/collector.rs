//! A collector of traces (OTLP over HTTP, protobuf): keeps what is posted to `/v1/traces`, and answers as it is told.

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use onward_server::listener;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::leaks;

/// One export as it came.
#[derive(Debug, Clone)]
pub struct Export {
    /// Headers.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: Bytes,
}

impl Export {
    /// What it is by the schema of OTLP.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn decoded(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(self.plain().as_slice()).expect("OTLP")
    }

    /// The bytes, unpacked where they came in gzip.
    ///
    /// # Panics
    /// When they are not what they are said to be.
    #[must_use]
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = self.body.to_vec();
        if self.headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
            plain.clear();
            flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut plain).expect("gzip");
        }
        plain
    }
}

#[derive(Clone, Default)]
struct Kept {
    exports: watch::Sender<Vec<Export>>,
    answers: Arc<Mutex<Vec<u16>>>,
    silent: watch::Sender<bool>,
}

/// The collector; it ends with this value.
pub struct Collector {
    kept: Kept,
    port: u16,
    _stop: watch::Sender<bool>,
}

impl Collector {
    /// Listens on loopback, in the clear.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let bound = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = bound.local_addr().expect("bound").port();
        let kept = Kept::default();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().route("/v1/traces", post(take)).with_state(kept.clone());
        tokio::spawn(listener::serve(bound, None, router, listener::Patience::default(), stopped));
        Self { kept, port, _stop: stop }
    }

    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it answers to the next exports, which it does not keep; then it takes them.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn answer(&self, statuses: &[u16]) {
        *self.kept.answers.lock().expect("whole") = statuses.iter().rev().copied().collect();
    }

    /// From now on it takes what comes and never answers.
    pub fn fall_silent(&self) {
        self.kept.silent.send_replace(true);
    }

    /// The exports so far.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.kept.exports.borrow().clone()
    }

    /// Returns when the exports so far are so.
    pub async fn until(&self, so: impl Fn(&[Export]) -> bool) {
        self.kept.exports.subscribe().wait_for(|exports| so(exports)).await.expect("the exports are kept here");
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.exports())
    }
}

/// The spans of these exports.
#[must_use]
pub fn spans(exports: &[Export]) -> Vec<Span> {
    let all = exports.iter().flat_map(|export| export.decoded().resource_spans);
    all.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

async fn take(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(status) = kept.answers.lock().expect("whole").pop() {
        return StatusCode::from_u16(status).expect("a status");
    }
    let export = Export { headers, body };
    leaks::look("traces", &String::from_utf8_lossy(&export.plain()));
    kept.exports.send_modify(|exports| exports.push(export));
    if *kept.silent.borrow() {
        return std::future::pending().await;
    }
    StatusCode::OK
}
