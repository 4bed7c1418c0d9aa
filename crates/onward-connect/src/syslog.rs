//! Syslog over TLS (RFC 5425): one connection, each message behind its length. What a message says is the caller's.
//!
//! The protocol has no acknowledgement: a batch counts as taken when it was written and the receiver has kept the
//! connection open for a moment after that. What is on its way when a connection breaks is sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::egress::{Egress, EgressRefusal};
use crate::http::{HttpConfig, HttpSetupError, tls};

/// How long the connection must outlive a batch.
const SETTLE: Duration = Duration::from_millis(200);

/// Where the receiver is, and how it is reached.
#[derive(Clone)]
pub struct SyslogClient {
    host: String,
    port: u16,
    server: ServerName<'static>,
    connector: TlsConnector,
    egress: Arc<Egress>,
    connect_timeout: Duration,
    total_timeout: Duration,
}

/// Why a batch was not taken. Carries nothing of what was sent.
#[derive(Debug, thiserror::Error)]
pub enum SyslogFault {
    /// The egress rules forbid it.
    #[error("not sent: {0}")]
    Egress(#[from] EgressRefusal),
    /// No connection, or no TLS.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// The connection ended, or took nothing any more.
    #[error("the connection ended while entries were sent: {0}")]
    Interrupted(String),
}

/// A connection that is open.
pub struct SyslogConnection {
    stream: TlsStream<TcpStream>,
    total_timeout: Duration,
}

impl SyslogClient {
    /// A client of the receiver at `host` and `port`, with the rules, roots and certificate of `config`.
    ///
    /// # Errors
    /// When a certificate or key cannot be used, no root is trusted, or the host is no name.
    pub fn new(host: &str, port: u16, config: &HttpConfig) -> Result<Self, HttpSetupError> {
        let mut tls = tls(config)?;
        tls.alpn_protocols.clear();
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| HttpSetupError::Client(format!("{host} is neither a name nor an address")))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            server,
            connector: TlsConnector::from(Arc::new(tls)),
            egress: Arc::new(Egress::new(config.egress.iter().cloned())),
            connect_timeout: config.connect_timeout,
            total_timeout: config.total_timeout,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// See [`SyslogFault`].
    pub async fn connect(&self) -> Result<SyslogConnection, SyslogFault> {
        let not = |error: &dyn std::fmt::Display| SyslogFault::NotConnected(error.to_string());
        let connecting = async {
            let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(|error| not(&error))?;
            let addresses: Vec<SocketAddr> = found.collect();
            // Judged after the name was resolved, as every address that we connect to.
            let ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
            self.egress.check_addresses(&self.host, &ips)?;
            let tcp = TcpStream::connect(&addresses[..]).await.map_err(|error| not(&error))?;
            self.connector.connect(self.server.clone(), tcp).await.map_err(|error| not(&error))
        };
        let stream = timeout(self.connect_timeout, connecting).await.map_err(|_| not(&"it takes too long"))??;
        Ok(SyslogConnection { stream, total_timeout: self.total_timeout })
    }
}

impl SyslogConnection {
    /// Sends messages, and returns when the receiver seems to have taken them.
    ///
    /// # Errors
    /// [`SyslogFault::Interrupted`]; the connection is then of no more use.
    pub async fn send(&mut self, messages: &[String]) -> Result<(), SyslogFault> {
        let broken = |error: &dyn std::fmt::Display| SyslogFault::Interrupted(error.to_string());
        let mut batch = Vec::new();
        for message in messages {
            // RFC 5425 section 4.3: MSG-LEN SP SYSLOG-MSG, the length in octets.
            batch.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
        }
        let writing = async {
            self.stream.write_all(&batch).await?;
            self.stream.flush().await
        };
        timeout(self.total_timeout, writing)
            .await
            .map_err(|_| broken(&"it takes too long"))?
            .map_err(|error| broken(&error))?;
        let mut said = [0; 64];
        match timeout(SETTLE, self.stream.read(&mut said)).await {
            // Silence: the receiver has nothing to say, and is there.
            Err(_) => Ok(()),
            Ok(Ok(0)) => Err(broken(&"the receiver closed it")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(broken(&error)),
        }
    }
}
