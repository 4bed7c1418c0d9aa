//! A watch over what the gateways of this process say outside of contents: lines of logs at every level, refusals and headers as clients
//! meet them, spans, calls of subscriptions, and what the operations listener answers. No person of the fixtures may be in it, whichever
//! test makes them say so (trust.md §4, A6).

use std::io::{self, Write};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, Once};

use axum::body::Bytes;
use onward_connect::http::Method;
use onward_server::session::Reply;
use regex::RegexSet;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Numbers, names and addresses of the people in the fixtures and in the stand-in of PDS.
const CANARIES: &[&str] = &[
    "9990000018",
    "9990000026",
    "9990000034",
    "9990000042",
    "9990000050",
    "9990000069",
    "9990000035",
    "Holroyd",
    "Ashworth",
    "Lindley",
    "Marsden",
    "Margaret",
    "Bramble",
    "1944-03-08",
    "8March1944",
];

/// What was found, in the process.
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many lines of logs were looked at.
static LINES: AtomicUsize = AtomicUsize::new(0);

/// How many lines of this process's logs have been looked at.
#[must_use]
pub fn lines_seen() -> usize {
    LINES.load(Ordering::Relaxed)
}

/// The canaries, however they are spaced and in whatever case. Every line of every log goes through this, at every level.
static WRITTEN: LazyLock<RegexSet> = LazyLock::new(|| {
    let spaced = |canary: &str| {
        canary.chars().map(|c| regex::escape(c.encode_utf8(&mut [0; 4]))).collect::<Vec<_>>().join(r"\s*")
    };
    RegexSet::new(CANARIES.iter().map(|canary| format!("(?i){}", spaced(canary)))).expect("the canaries are patterns")
});

/// The canaries of this text, however they are spaced and in whatever case, each with where it was found.
#[must_use]
pub fn canaries_in(place: &str, text: &str) -> Vec<String> {
    let told = |found: usize| format!("{place}: {}: {}", CANARIES[found], text.chars().take(400).collect::<String>());
    WRITTEN.matches(text).iter().map(told).collect()
}

/// Looks at a text that may name nobody.
///
/// # Panics
/// When a watcher panicked.
pub fn look(place: &str, text: &str) {
    let found = canaries_in(place, text);
    if !found.is_empty() {
        FOUND.lock().expect("whole").extend(found);
    }
}

/// Looks at an answer: all of a refusal, and the headers of any.
pub fn look_at_answer(place: &str, reply: &Reply) {
    for (name, value) in &reply.headers {
        look(&format!("{place}: {name}"), &String::from_utf8_lossy(value.as_bytes()));
    }
    if reply.status.is_client_error() || reply.status.is_server_error() {
        look(&format!("{place}: {}", reply.status), &String::from_utf8_lossy(&reply.body));
    }
}

/// Fails the test that ends when anything was found until now, in whichever test that was.
///
/// # Panics
/// Then.
pub fn nothing_found() {
    let found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !found.is_empty() && !std::thread::panicking() {
        panic!("patient data outside of contents, {} times:\n{}", found.len(), found[..found.len().min(20)].join("\n"));
    }
}

/// Logs everything of this process to the watch; what a person would see by default goes to standard error as well.
pub fn watch_logs() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let everything = fmt::layer().with_writer(|| Lines).with_ansi(false).with_filter(filter_fn(|_| true));
        let shown = fmt::layer().with_writer(io::stderr).with_ansi(false).with_filter(EnvFilter::new("info"));
        tracing_subscriber::registry().with(everything).with(shown).init();
    });
}

/// One event is written at once.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        look("log", &String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's session whose answers are looked at.
pub struct Session(onward_server::session::Session);

impl Session {
    /// The watched session.
    #[must_use]
    pub fn new(session: onward_server::session::Session) -> Self {
        Self(session)
    }

    /// As [`onward_server::session::Session::call`].
    ///
    /// # Errors
    /// As there.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let reply = self.0.call(method.clone(), path, headers, body).await?;
        look_at_answer(method.as_str(), &reply);
        Ok(reply)
    }

    /// As [`onward_server::session::Session::get`].
    ///
    /// # Errors
    /// As there.
    pub async fn get(&self, path: &str) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let reply = self.0.get(path).await?;
        look_at_answer("GET", &reply);
        Ok(reply)
    }
}

impl Deref for Session {
    type Target = onward_server::session::Session;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
