//! The Organisation Data Service as its ORD API answers (version 2-0-0): one organisation by its code, lists of one written alone, 404 for
//! codes that it does not know, and 429 with `Retry-After` for whoever asks too much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::civil::Date;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::ods::OdsClient;
use onward_core::SystemClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Default)]
struct Kept {
    organisations: BTreeMap<String, Value>,
    /// Seconds that whoever asks next is told to wait, each once.
    busy: VecDeque<u32>,
    /// Codes at which it breaks.
    broken: BTreeSet<String>,
    asked: Vec<String>,
}

/// The service; it ends with this value.
pub struct Ods {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Drop for Ods {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Ods {
    /// Serves on loopback, and knows nobody.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let router =
            Router::new().route("/ORD/2-0-0/organisations/{code}", get(organisation)).with_state(Arc::clone(&kept));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { address, kept, serving }
    }

    /// A client of it.
    ///
    /// # Panics
    /// When none can be made.
    #[must_use]
    pub fn client(&self) -> OdsClient {
        let http = HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            allow_plain_loopback: true,
            total_timeout: std::time::Duration::from_secs(60),
            ..HttpConfig::default()
        };
        let base = format!("http://{}/ORD/2-0-0", self.address).parse().expect("a URL");
        OdsClient::new(HttpClient::new(&http).expect("a client"), base, Arc::new(SystemClock))
    }

    /// It knows this organisation, which is there.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn stands(&self, code: &str, role: &str) {
        self.keeps(code, role, None, None);
    }

    /// It knows this organisation, whose last day this is, and who comes after it.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn ends(&self, code: &str, role: &str, last_day: Date, successor: &str) {
        self.keeps(code, role, Some(last_day), Some(successor));
    }

    fn keeps(&self, code: &str, role: &str, last_day: Option<Date>, successor: Option<&str>) {
        let mut dates = json!({ "Type": "Operational", "Start": "2011-01-01" });
        if let Some(last_day) = last_day {
            dates["End"] = last_day.to_string().into();
        }
        let mut organisation = json!({
            "Name": "ORGANISATION", "Date": dates, "OrgId": { "extension": code }, "Status": "Active",
            "Roles": { "Role": { "id": role, "primaryRole": true, "Status": "Active" } }
        });
        if let Some(successor) = successor {
            organisation["Succs"] =
                json!({ "Succ": { "Type": "Successor", "Target": { "OrgId": { "extension": successor } } } });
        }
        let mut kept = self.kept.lock().expect("whole");
        kept.organisations.insert(code.to_owned(), json!({ "Organisation": organisation }));
    }

    /// Whoever asks next is told to wait so many seconds, each once.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn is_busy(&self, seconds: &[u32]) {
        self.kept.lock().expect("whole").busy.extend(seconds);
    }

    /// It answers 500 about these, and about no others.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn breaks_at(&self, codes: &[&str]) {
        self.kept.lock().expect("whole").broken = codes.iter().map(ToString::to_string).collect();
    }

    /// The codes that were asked about since this was last called, those that were answered with 429 included.
    ///
    /// # Panics
    /// When a request panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().expect("whole").asked)
    }
}

async fn organisation(State(kept): State<Arc<Mutex<Kept>>>, Path(code): Path<String>) -> Response {
    let mut kept = kept.lock().expect("whole");
    kept.asked.push(code.clone());
    if let Some(seconds) = kept.busy.pop_front() {
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response();
    }
    if kept.broken.contains(&code) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match kept.organisations.get(&code) {
        Some(found) => Json(found.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "errorCode": 404, "errorText": "Not found" }))).into_response(),
    }
}
