//! Notifications by e-mail: SMTP with STARTTLS, which is required (RFC 3207). No patient data comes this way.
//!
//! It connects only to the configured host, and only to addresses that the egress list allows for it; the server's
//! certificate must be for that host. Nothing is sent, and nobody signs in, in the clear. STARTTLS is made here and not by
//! the library, which would read on in what came in the clear (RFC 3207 §6).

mod stream;

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use onward_core::store::alerts::Channel;
use onward_core::transport::{Notifier, SendError, Telling};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::egress::Egress;
use crate::http::{HttpConfig, HttpSetupError, distrust, tls};
use crate::secret::Secret;
use stream::Greeted;

/// An answer of the server before TLS is read up to this, bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// The whole exchange takes so many times the longest wait for one answer at most.
const ANSWERS: u32 = 8;
/// Answers that say of this recipient or this e-mail that it will never be taken (RFC 5321 §4.2.3, RFC 7504). Of others, such as a
/// refused password, a person can take care meanwhile.
const PERMANENT: [&str; 6] = ["501", "550", "551", "552", "553", "556"];

/// Where e-mail is handed over.
pub struct SmtpConfig {
    /// Host of the mail server, as its certificate names it.
    pub host: String,
    /// Its port for submission (587).
    pub port: u16,
    /// From whom: an address, or a name with the address in angle brackets.
    pub from: String,
    /// User and password, where the server asks for them.
    pub credentials: Option<(String, Secret)>,
}

/// A mail server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SmtpSetupError {
    /// The sender's address is none.
    #[error("the address that notifications come from is no e-mail address")]
    From,
    /// The host is neither a name nor an address.
    #[error("the mail server's host is neither a name nor an address")]
    Host,
    /// No root is trusted, or a certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] HttpSetupError),
}

/// The mail transport.
pub struct Smtp {
    host: String,
    port: u16,
    server: ServerName<'static>,
    connector: TlsConnector,
    egress: Egress,
    from: Mailbox,
    hello: ClientId,
    credentials: Option<Credentials>,
    /// Longest wait for one answer.
    timeout: Duration,
}

/// Whether a text is an e-mail address that something can be sent to.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

impl Smtp {
    /// A mail transport with the rules and roots of `http`; nothing is connected to yet.
    ///
    /// # Errors
    /// See [`SmtpSetupError`].
    pub fn new(config: SmtpConfig, http: &HttpConfig) -> Result<Self, SmtpSetupError> {
        let mut tls = tls(http)?;
        tls.alpn_protocols.clear();
        let from: Mailbox = config.from.parse().map_err(|_| SmtpSetupError::From)?;
        Ok(Self {
            server: ServerName::try_from(config.host.clone()).map_err(|_| SmtpSetupError::Host)?,
            host: config.host,
            port: config.port,
            connector: TlsConnector::from(Arc::new(tls)),
            egress: Egress::new(http.egress.iter().cloned()),
            hello: ClientId::Domain(from.email.domain().to_owned()),
            from,
            credentials: config
                .credentials
                .map(|(user, password)| Credentials::new(user, password.expose().to_owned())),
            timeout: http.total_timeout,
        })
    }

    /// The addresses of the host, if it may have them: those that were judged are those connected to.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|_| transient("no connection: the mail server's name does not resolve"))?
            .collect::<Vec<_>>();
        let addresses: Vec<_> = found.iter().map(SocketAddr::ip).collect();
        self.egress
            .check_addresses(&self.host, &addresses)
            .map_err(|refusal| transient(&format!("not sent: {refusal}")))?;
        Ok(found)
    }

    fn message(&self, telling: &Telling) -> Result<Message, SendError> {
        let permanent = |reason: &str| SendError::Permanent { reason: reason.to_owned() };
        let to: Mailbox = telling.address.parse().map_err(|_| permanent("what should be an e-mail address is none"))?;
        Message::builder()
            .from(self.from.clone())
            .to(to)
            // The same in every attempt, so that repeats are seen to be some (RFC 5322 §3.6.4).
            .message_id(Some(format!("<{}@{}>", telling.id, self.from.email.domain())))
            .subject(telling.subject.as_str())
            .header(ContentType::TEXT_PLAIN)
            .body(telling.text.clone())
            .map_err(|_| permanent("the e-mail cannot be written"))
    }

    async fn hand_over(&self, message: &Message) -> Result<(), SendError> {
        let mut connection = self.connect().await?;
        let outcome = self.converse(&mut connection, message).await;
        // What was taken is taken, whether the farewell succeeds or not.
        let _ = connection.quit().await;
        outcome
    }

    async fn converse(&self, connection: &mut AsyncSmtpConnection, message: &Message) -> Result<(), SendError> {
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await.map_err(|error| {
                let answer = error
                    .status()
                    .map_or_else(|| "offers no way to sign in".to_owned(), |code| format!("answered {code}"));
                transient(&format!("the mail server {answer}: user and password were not taken"))
            })?;
        }
        connection.send(message.envelope(), &message.formatted()).await.map(drop).map_err(|error| fault(&error))
    }

    /// A connection under TLS.
    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let addresses = self.addresses().await?;
        let tcp = timeout(self.timeout, TcpStream::connect(&addresses[..]))
            .await
            .map_err(|_| transient("no connection: the mail server does not answer in time"))?
            .map_err(|_| transient("no connection: the mail server's address refuses"))?;
        let tcp = self.start_tls(tcp).await?;
        let tls = timeout(self.timeout, self.connector.connect(self.server.clone(), tcp))
            .await
            .map_err(|_| transient("no connection: the mail server does not go on with TLS"))?
            .map_err(|error| {
                let own = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let reason = own.and_then(distrust);
                let told = |reason| transient(&format!("no trust between us and the mail server: {reason}"));
                reason.map_or_else(|| transient("no connection: TLS with the mail server fails"), told)
            })?;
        AsyncSmtpConnection::connect_with_transport(Box::new(Greeted(tls, stream::GREETING)), &self.hello)
            .await
            .map_err(|error| fault(&error))
    }

    /// The dialogue up to STARTTLS. Whatever else comes in the clear ends it: it may be somebody in between.
    async fn start_tls(&self, tcp: TcpStream) -> Result<TcpStream, SendError> {
        let mut reader = BufReader::new(tcp);
        self.expect(&mut reader, "220").await?;
        self.say(&mut reader, &format!("EHLO {}\r\n", self.hello)).await?;
        let offers = self.expect(&mut reader, "250").await?;
        if !offers.iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
            return Err(transient("the mail server offers no STARTTLS: nothing is sent in the clear"));
        }
        self.say(&mut reader, "STARTTLS\r\n").await?;
        self.expect(&mut reader, "220").await?;
        if !reader.buffer().is_empty() {
            return Err(transient("the mail server speaks on in the clear after STARTTLS: somebody may be in between"));
        }
        Ok(reader.into_inner())
    }

    async fn say(&self, reader: &mut BufReader<TcpStream>, line: &str) -> Result<(), SendError> {
        timeout(self.timeout, reader.get_mut().write_all(line.as_bytes()))
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| transient("the connection to the mail server ended"))
    }

    /// The texts of an answer with this code.
    async fn expect(&self, reader: &mut BufReader<TcpStream>, code: &str) -> Result<Vec<String>, SendError> {
        let lines = timeout(self.timeout, answer(reader))
            .await
            .map_err(|_| transient("the mail server does not answer in time"))?
            .ok_or_else(|| transient("the connection to the mail server ended, or it does not speak SMTP"))?;
        let (given, _) = lines.first().cloned().unwrap_or_default();
        if given != code {
            return Err(transient(&format!("the mail server answered {given} before TLS")));
        }
        Ok(lines.into_iter().map(|(_, text)| text).collect())
    }
}

/// The lines of an answer, each as code and text (RFC 5321 §4.2.1); none where it is no answer.
async fn answer(reader: &mut BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut lines = Vec::new();
    let mut reader = reader.take(ANSWER_BYTES_MAX);
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).await.ok()?;
        let line = String::from_utf8(line).ok()?;
        let line = line.strip_suffix('\n')?.trim_end_matches('\r');
        let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
        lines.push((code.to_owned(), line.get(4..).unwrap_or_default().to_owned()));
        if line.as_bytes().get(3) != Some(&b'-') {
            return Some(lines);
        }
    }
}

#[async_trait]
impl Notifier for Smtp {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    async fn tell(&self, telling: &Telling) -> Result<(), SendError> {
        let message = self.message(telling)?;
        // The library has no clock: a server that answers by drops must not hold the caller.
        match timeout(self.timeout * ANSWERS, self.hand_over(&message)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(transient("the mail server does not answer in time")),
        }
    }
}

/// What an error of the dialogue means. The server's own words may repeat the address: they are left out.
fn fault(error: &SmtpError) -> SendError {
    if let Some(code) = error.status() {
        let (code, reason) = (code.to_string(), format!("the mail server answered {code}"));
        let permanent = PERMANENT.contains(&code.as_str());
        return if permanent { SendError::Permanent { reason } } else { transient(&reason) };
    }
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(reason) = current.downcast_ref::<rustls::Error>().and_then(distrust) {
            return transient(&format!("no trust between us and the mail server: {reason}"));
        }
        cause = match current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => current.source(),
        };
    }
    transient("the connection to the mail server ended")
}

fn transient(reason: &str) -> SendError {
    SendError::Transient { reason: reason.to_owned(), retry_after_seconds: None }
}

#[cfg(test)]
mod tests;
