//! A collector of traces (OTLP over HTTP, protobuf): keeps what is posted to `/v1/traces`, and answers as it is told.

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
        ExportTraceServiceRequest::decode(self.body.clone()).expect("OTLP")
    }
}

#[derive(Clone, Default)]
struct Kept {
    exports: Arc<Mutex<Vec<Export>>>,
    answers: Arc<Mutex<Vec<u16>>>,
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
        tokio::spawn(listener::serve(bound, None, router, stopped));
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

    /// The exports so far.
    ///
    /// # Panics
    /// When a request panicked.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.kept.exports.lock().expect("whole").clone()
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let all = self.exports().into_iter().flat_map(|export| export.decoded().resource_spans);
        all.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

async fn take(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(status) = kept.answers.lock().expect("whole").pop() {
        return StatusCode::from_u16(status).expect("a status");
    }
    leaks::look("traces", &String::from_utf8_lossy(&body));
    kept.exports.lock().expect("whole").push(Export { headers, body });
    StatusCode::OK
}
