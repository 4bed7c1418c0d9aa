//! A partner's server that publishes one text over TLS, and counts how often it is fetched.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use onward_server::listener::{self, Tls};
use tokio::sync::watch;
use url::Url;

/// The server; it ends with this value.
pub struct Published {
    url: Url,
    text: Arc<Mutex<String>>,
    fetched: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
}

impl Published {
    /// Serves an empty text at `/keys`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(tls: Tls) -> Self {
        Self::on(tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port"), tls)
    }

    /// The same on this port.
    ///
    /// # Panics
    /// When it is not bound.
    #[must_use]
    pub fn on(bound: tokio::net::TcpListener, tls: Tls) -> Self {
        let (text, fetched) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&text), Arc::clone(&fetched));
        let keys = get(move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            told.lock().expect("whole").clone()
        });
        let url = format!("https://{}/keys", bound.local_addr().expect("bound")).parse().expect("a URL");
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listener::serve(
            bound,
            Some(Arc::new(tls)),
            Router::new().route("/keys", keys),
            listener::Patience::default(),
            stopped,
        ));
        Self { url, text, fetched, _stop: stop }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Publishes another text.
    ///
    /// # Panics
    /// When a reader of the text panicked.
    pub fn set(&self, text: &str) {
        text.clone_into(&mut self.text.lock().expect("whole"));
    }

    /// How often it was fetched.
    #[must_use]
    pub fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}
