//! MESH as its published API answers (`mesh-api.yaml` 2.0.0), without Python and without the network: the stand-in of the demo's
//! neighbourhood, with the mailboxes, password and key of the NHS's own sandbox. [`crate::mesh_sandbox`] is that sandbox.

use std::net::SocketAddr;
use std::sync::Arc;

use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::mesh::{MeshClient, MeshConfig};
use onward_connect::secret::Secret;
use onward_core::SystemClock;
use onward_server::demo::mesh_stand_in::{Exchange, Listing, router};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::mesh_sandbox::{PASSWORD, SHARED_KEY};

const MAILBOXES: [&str; 3] = ["X26ABC1", "X26ABC2", "X26ABC3"];

/// The exchange; it ends with this value.
pub struct Mesh {
    address: SocketAddr,
    exchange: Arc<Exchange>,
    serving: JoinHandle<()>,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Mesh {
    /// Serves on loopback; of these mailboxes it is known by which organisation and workflow they receive.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start(listings: Vec<Listing>) -> Self {
        let secret = |text: &str| Secret::new(text.to_owned());
        let passwords = MAILBOXES.map(|mailbox| (mailbox.to_owned(), secret(PASSWORD)));
        let exchange = Exchange::new(passwords.into(), secret(SHARED_KEY), Arc::new(SystemClock));
        let exchange = Arc::new(exchange.with_listings(listings));
        let router = router(Arc::clone(&exchange));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { address, exchange, serving }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// A mailbox by our own client, which sends in parts of so many bytes, each compressed.
    ///
    /// # Panics
    /// When the name is not one of a mailbox.
    #[must_use]
    pub fn mailbox(&self, mailbox: &str, chunk_bytes: usize) -> MeshClient {
        let http = HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            allow_plain_loopback: true,
            ..HttpConfig::default()
        };
        let secret = |text: &str| Secret::new(text.to_owned());
        let (url, mailbox) = (self.url().parse().expect("a URL"), mailbox.parse().expect("a mailbox"));
        let config = MeshConfig {
            chunk_bytes,
            compress: true,
            ..MeshConfig::new(url, mailbox, secret(PASSWORD), secret(SHARED_KEY))
        };
        MeshClient::new(config, HttpClient::new(&http).expect("a client"), Arc::new(SystemClock))
    }

    /// In how many parts a message travels.
    #[must_use]
    pub fn parts_of(&self, id: &str) -> Option<usize> {
        self.exchange.parts_of(id)
    }

    /// Reports to its sender that nobody collected a message.
    ///
    /// # Panics
    /// When there is no such message to be collected.
    pub fn undelivered(&self, id: &str) {
        assert!(self.exchange.undelivered(id), "it waits");
    }
}
