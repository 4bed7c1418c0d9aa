//! TLS connections on which a test writes the very bytes that it wants, where a client library would be too polite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

use crate::authority::Identity;

/// No exchange of the tests takes this long on a working server, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to connect to one gateway.
#[derive(Clone)]
pub struct Wire {
    /// Our own end, where it matters.
    from: Option<[u8; 4]>,
    port: u16,
    config: ClientConfig,
}

/// What came back on one connection, up to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The TLS alert that ended it, if any.
    pub alert: Option<String>,
}

impl Heard {
    /// The bytes as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// HTTP/1.1 status of the first answer; 0 when there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        let text = self.text();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// How many HTTP/1.1 answers there are.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.text().matches("HTTP/1.1 ").count()
    }
}

impl Wire {
    /// Connects to this port and trusts the authority in this folder.
    ///
    /// # Panics
    /// When the authority's certificate cannot be read.
    #[must_use]
    pub fn new(folder: &Path, port: u16) -> Self {
        Self { from: None, port, config: builder(folder).with_no_client_auth() }
    }

    /// The same with a client certificate.
    ///
    /// # Panics
    /// When it cannot be used.
    #[must_use]
    pub fn with_certificate(folder: &Path, port: u16, identity: &Identity) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
        let config = builder(folder).with_client_auth_cert(chain, key).expect("a client certificate");
        Self { from: None, port, config }
    }

    /// The same from another address of this machine.
    #[must_use]
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.from = Some(address);
        self
    }

    /// The same for HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.config.alpn_protocols = vec![b"h2".to_vec()];
        self
    }

    /// The same, sending early data where the server lets it.
    #[must_use]
    pub fn early_data(mut self) -> Self {
        self.config.enable_early_data = true;
        self
    }

    /// A connection after its handshake.
    ///
    /// # Errors
    /// When TLS fails.
    ///
    /// # Panics
    /// When there is no TCP connection.
    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Bound, a port that was used a moment ago cannot be used again: only where the address matters.
        if let Some(from) = self.from {
            socket.bind((from, 0).into()).expect("an address of this machine");
        }
        let tcp = socket.connect(([127, 0, 0, 1], self.port).into()).await.expect("connected");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(Arc::new(self.config.clone())).connect(name, tcp).await
    }

    /// Writes these bytes and reads to the end of the connection. A peer that closes before all is written is heard
    /// all the same.
    ///
    /// # Panics
    /// When the server neither answers to the end nor closes.
    pub async fn say(&self, bytes: &[u8]) -> Heard {
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(error) => return Heard { bytes: Vec::new(), alert: alert(&error) },
        };
        let (mut read, mut write) = tokio::io::split(stream);
        let writing = async {
            let _ = write.write_all(bytes).await;
            let _ = write.flush().await;
        };
        let reading = async {
            let mut heard = Vec::new();
            // A close without TLS's farewell is a close.
            let ended = read.read_to_end(&mut heard).await;
            Heard { bytes: heard, alert: ended.err().as_ref().and_then(alert) }
        };
        let both = async { tokio::join!(writing, reading).1 };
        tokio::time::timeout(PATIENCE, both).await.expect("an end of the connection")
    }

    /// Writes these bytes without TLS and reads to the end.
    ///
    /// # Panics
    /// When the server does not close.
    pub async fn say_plain(&self, bytes: &[u8]) -> Vec<u8> {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        tcp.write_all(bytes).await.expect("written");
        let mut heard = Vec::new();
        let reading = async {
            let _ = tcp.read_to_end(&mut heard).await;
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("an end of the connection");
        heard
    }
}

/// The alert of the peer that ended a connection.
#[must_use]
pub fn alert(error: &std::io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(format!("{alert:?}")),
        _ => None,
    }
}

fn builder(folder: &Path) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).expect("readable")).expect("a root");
    ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
}
