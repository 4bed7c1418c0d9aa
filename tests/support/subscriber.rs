//! A client system's rest-hook (FHIR R4 Subscription, section 2.46.7.1): takes the POST that says that something has changed, and
//! answers as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use onward_server::listener::{self, Tls};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::leaks;

/// Paths beneath this one never answer.
pub const HANGING: &str = "/hooks/hanging/";

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Called {
    /// Method and path.
    pub line: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Called {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.line.split_once(' ').map_or("", |(_, path)| path)
    }

    /// A header that is there once, as text; empty where it is not.
    ///
    /// # Panics
    /// When it came twice.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        assert!(self.headers.get_all(name).iter().count() <= 1, "{name} came twice");
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Clone, Default)]
struct Kept {
    called: watch::Sender<Vec<Called>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

/// The rest-hook; it ends with this value.
pub struct Subscriber {
    kept: Kept,
    port: u16,
    _stop: watch::Sender<bool>,
}

impl Subscriber {
    /// A place for one, known before the gateway that calls it.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn bound() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a port")
    }

    /// Serves there; it answers 200 until it is told otherwise.
    ///
    /// # Panics
    /// When it is not bound.
    #[must_use]
    pub fn start(bound: TcpListener, tls: Tls) -> Self {
        let kept = Kept::default();
        let port = bound.local_addr().expect("bound").port();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().fallback(take).with_state(kept.clone());
        tokio::spawn(listener::serve(bound, Some(Arc::new(tls)), router, listener::Patience::default(), stopped));
        Self { kept, port, _stop: stop }
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// What it answers to the next calls; then 200 again.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn answer(&self, statuses: &[u16]) {
        *self.kept.answers.lock().expect("whole") = statuses.iter().rev().copied().collect();
    }

    /// The calls so far.
    #[must_use]
    pub fn called(&self) -> Vec<Called> {
        self.kept.called.borrow().clone()
    }

    /// Returns when the calls so far are so.
    pub async fn until(&self, so: impl Fn(&[Called]) -> bool) {
        self.kept.called.subscribe().wait_for(|called| so(called)).await.expect("the calls are kept here");
    }
}

async fn take(State(kept): State<Kept>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let called = Called { line: format!("{method} {}", uri.path()), headers, body };
    leaks::look("call of a subscription", &format!("{called:?}"));
    kept.called.send_modify(|all| all.push(called));
    if uri.path().starts_with(HANGING) {
        return std::future::pending().await;
    }
    let status = kept.answers.lock().expect("whole").pop().unwrap_or(200);
    let status = StatusCode::from_u16(status).expect("a status");
    // A redirect leads somewhere, and an error says more than it should.
    (status, [(header::LOCATION, "/hooks/elsewhere")], "NHS 9990000018 of the partner's stack trace").into_response()
}
