//! The one HTTP client: rustls with aws-lc-rs, no redirects, no proxies from the environment, no silent repeats,
//! bounded waiting, bounded answers, and no connection outside the egress list.
//!
//! It refuses to say more of an answer than its status: bodies and URLs never enter a fault.

mod any;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use onward_core::transport::SendError;
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError};
use url::Url;

use self::any::AnyCertificate;
use crate::egress::{Egress, EgressHost, EgressRefusal, GuardedResolver, Lookup};
use crate::secret::Secret;
use crate::strength::{RSA_BITS_MIN, tls_provider};

/// A certificate that we show to the partner.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The chain, leaf first, PEM.
    pub chain_pem: Vec<u8>,
    /// Its private key, PEM.
    pub key_pem: Secret,
}

/// How the client connects, whom it trusts and how long it waits.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Hosts that may be connected to; nothing else is.
    pub egress: Vec<EgressHost>,
    /// Longest wait for TCP and TLS.
    pub connect_timeout: Duration,
    /// Longest wait for the whole exchange, the answer's body included (trust.md, fault 24).
    pub total_timeout: Duration,
    /// Largest answer that is read, bytes.
    pub response_bytes_max: usize,
    /// Plain `http:` to loopback address literals, for sandboxes and tests.
    pub allow_plain_loopback: bool,
    /// Trust the operating system's roots.
    pub system_roots: bool,
    /// Further trusted roots, PEM, one or many.
    pub extra_roots_pem: Vec<u8>,
    /// Our own certificate, where the partner wants one.
    pub client_certificate: Option<ClientCertificate>,
    /// Takes whatever certificate is shown: for a listener of our own on this machine, which is asked for its state alone.
    pub any_certificate: bool,
    /// The smallest RSA key that the partner and its authorities may have, bits ([`crate::strength`]).
    pub rsa_bits_min: u32,
}

impl Default for HttpConfig {
    /// No host, 5 s to connect, 10 s in all, answers up to 1 MiB, the operating system's roots, RSA keys from 2,048 bits.
    fn default() -> Self {
        Self {
            egress: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(10),
            response_bytes_max: 1024 * 1024,
            allow_plain_loopback: false,
            system_roots: true,
            extra_roots_pem: Vec::new(),
            client_certificate: None,
            any_certificate: false,
            rsa_bits_min: RSA_BITS_MIN,
        }
    }
}

/// The client cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// A PEM file holds no certificate, a broken one, or one that is no root.
    #[error("a trusted root certificate cannot be used: {0}")]
    Roots(String),
    /// Without a root nothing can be trusted.
    #[error("no trusted root certificate: neither the operating system nor the configuration gives one")]
    NoRoots,
    /// Our own certificate or key.
    #[error("the client certificate cannot be used: {0}")]
    ClientCertificate(String),
    /// TLS or the client library.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
}

/// Why there is no answer. Carries neither URL nor body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpFault {
    /// The egress rules forbid it; nothing was sent.
    #[error("not sent: {0}")]
    Egress(#[from] EgressRefusal),
    /// One side does not trust the other's certificate (trust.md, fault 28); nothing was taken.
    #[error("no trust between us and the partner: {0}")]
    Trust(&'static str),
    /// No connection; nothing was sent.
    #[error("no connection: {0}")]
    NotConnected(&'static str),
    /// The connection stood, then the answer failed: the partner may have taken the request.
    #[error("no whole answer: {0}")]
    Interrupted(&'static str),
    /// The answer is larger than allowed.
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
}

impl HttpFault {
    /// What the fault means for something that was being sent.
    #[must_use]
    pub fn of_send(self) -> SendError {
        let reason = self.to_string();
        match self {
            Self::Egress(_) | Self::Trust(_) => SendError::Permanent { reason },
            Self::NotConnected(_) => SendError::Transient { reason, retry_after_seconds: None },
            Self::Interrupted(_) | Self::TooLarge { .. } => SendError::Unknown { reason },
        }
    }

    /// What the fault means for a call that can be repeated without harm.
    #[must_use]
    pub fn of_repeatable(self) -> SendError {
        let reason = self.to_string();
        match self {
            Self::Egress(_) | Self::Trust(_) | Self::TooLarge { .. } => SendError::Permanent { reason },
            Self::NotConnected(_) | Self::Interrupted(_) => SendError::Transient { reason, retry_after_seconds: None },
        }
    }
}

/// The client. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    egress: Arc<Egress>,
    allow_plain_loopback: bool,
    response_bytes_max: usize,
}

impl HttpClient {
    /// Builds the client.
    ///
    /// # Errors
    /// When a certificate or key cannot be used, or no root is trusted.
    pub fn new(config: &HttpConfig) -> Result<Self, HttpSetupError> {
        Self::with_lookup(config, Lookup::System)
    }

    pub(crate) fn with_lookup(config: &HttpConfig, lookup: Lookup) -> Result<Self, HttpSetupError> {
        let egress = Arc::new(Egress::new(config.egress.iter().cloned()));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(config)?)
            .https_only(!config.allow_plain_loopback)
            .dns_resolver(GuardedResolver { egress: Arc::clone(&egress), lookup })
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A repeat is the dispatcher's decision, with its own attempt and audit row.
            .retry(reqwest::retry::never())
            .referer(false)
            // An answer that inflates itself would pass the bound; who wants gzip decodes it with a bound.
            .no_gzip()
            .connect_timeout(config.connect_timeout)
            .timeout(config.total_timeout)
            .pool_idle_timeout(Duration::from_secs(15))
            .pool_max_idle_per_host(8)
            .user_agent(concat!("Onward/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HttpSetupError::Client(error.to_string()))?;
        Ok(Self {
            client,
            egress,
            allow_plain_loopback: config.allow_plain_loopback,
            response_bytes_max: config.response_bytes_max,
        })
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// # Errors
    /// See [`HttpFault`]. Any status is an answer, not a fault.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<Answer, HttpFault> {
        self.egress.check_url(&url, self.allow_plain_loopback)?;
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        let body = body.into();
        if !body.is_empty() || matches!(*request.method(), Method::POST | Method::PUT) {
            *request.body_mut() = Some(body.into());
        }
        let response = self.client.execute(request).await.map_err(|error| fault(&error))?;
        Ok(Answer { response, bytes_max: self.response_bytes_max })
    }
}

/// The head of an answer; its body is read on demand, up to the bound. Its `Debug` leaves the URL out, which may name a
/// person.
pub struct Answer {
    response: reqwest::Response,
    bytes_max: usize,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.response.status()).finish_non_exhaustive()
    }
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// One header, when it is visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the body up to the client's bound.
    ///
    /// # Errors
    /// [`HttpFault::TooLarge`] past the bound, [`HttpFault::Interrupted`] when it ends early.
    pub async fn bytes(self) -> Result<Bytes, HttpFault> {
        let bytes_max = self.bytes_max;
        self.bytes_up_to(bytes_max).await
    }

    /// Reads the body up to `bytes_max`, whatever the client's own bound.
    ///
    /// # Errors
    /// As [`Answer::bytes`].
    pub async fn bytes_up_to(mut self, bytes_max: usize) -> Result<Bytes, HttpFault> {
        let told = self.response.content_length().unwrap_or(0);
        if told > bytes_max as u64 {
            return Err(HttpFault::TooLarge { bytes_max });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.response.chunk().await.map_err(|error| fault(&error))? {
            if chunk.len() > bytes_max - body.len() {
                return Err(HttpFault::TooLarge { bytes_max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Seconds that the partner asks us to wait ([`retry_after_seconds`]).
    #[must_use]
    pub fn retry_after_seconds(&self, now: Timestamp) -> Option<u64> {
        retry_after_seconds(self.headers(), now)
    }
}

/// `Retry-After` (RFC 9110 §10.2.3) in seconds from `now`: a number, or an HTTP date; a past date is 0.
#[must_use]
pub fn retry_after_seconds(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(u64::try_from(date.as_second().saturating_sub(now.as_second())).unwrap_or(0))
}

/// TLS as the client speaks it.
pub(crate) fn tls(config: &HttpConfig) -> Result<rustls::ClientConfig, HttpSetupError> {
    let provider = Arc::new(tls_provider(config.rsa_bits_min));
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpSetupError::Client(error.to_string()))?;
    let builder = match config.any_certificate {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        false => builder.with_root_certificates(roots(config)?),
    };
    let mut tls = match &config.client_certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let refused = |error: &dyn StdError| HttpSetupError::ClientCertificate(error.to_string());
            let chain = CertificateDer::pem_slice_iter(&certificate.chain_pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| refused(&error))?;
            let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.expose().as_bytes())
                .map_err(|error| refused(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| refused(&error))?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn roots(config: &HttpConfig) -> Result<rustls::RootCertStore, HttpSetupError> {
    let mut store = rustls::RootCertStore::empty();
    if config.system_roots {
        // A single unreadable file of the operating system must not stop the gateway.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if !config.extra_roots_pem.is_empty() {
        let before = store.len();
        for certificate in CertificateDer::pem_slice_iter(&config.extra_roots_pem) {
            let certificate = certificate.map_err(|error| HttpSetupError::Roots(error.to_string()))?;
            store.add(certificate).map_err(|error| HttpSetupError::Roots(error.to_string()))?;
        }
        if store.len() == before {
            return Err(HttpSetupError::Roots("the file holds no certificate".to_owned()));
        }
    }
    // A sandbox in the clear needs none; everyone else would only find out at the first delivery.
    if store.is_empty() && !config.allow_plain_loopback { Err(HttpSetupError::NoRoots) } else { Ok(store) }
}

/// Sorts a client error by what the partner can have seen. The texts are ours: the library's would carry the URL.
fn fault(error: &reqwest::Error) -> HttpFault {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref::<EgressRefusal>() {
            return HttpFault::Egress(refusal.clone());
        }
        if let Some(reason) = current.downcast_ref::<rustls::Error>().and_then(distrust) {
            return HttpFault::Trust(reason);
        }
        // `io::Error::source` would skip the error that it wraps.
        cause = match current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        };
    }
    if error.is_connect() {
        let reason = match (error.is_timeout(), error.is_dns()) {
            (true, _) => "the partner's address does not answer in time",
            (_, true) => "the partner's name does not resolve",
            _ => "the partner's address refuses, or TLS fails",
        };
        return HttpFault::NotConnected(reason);
    }
    if error.is_builder() {
        return HttpFault::NotConnected("the request cannot be built");
    }
    HttpFault::Interrupted(if error.is_timeout() {
        "the partner does not answer in time"
    } else {
        "the connection ended before the answer did"
    })
}

/// The TLS errors that only a person can mend.
pub(crate) fn distrust(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(reason) => Some(match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the partner's certificate expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the partner's certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the partner's certificate is for another name"
            }
            CertificateError::UnknownIssuer => "the partner's certificate comes from an issuer that we do not trust",
            CertificateError::Revoked => "the partner's certificate is revoked",
            CertificateError::BadSignature => {
                "a signature of the partner's certificate does not fit, or is by a smaller RSA key than is taken"
            }
            _ => "the partner's certificate is not valid",
        }),
        rustls::Error::NoCertificatesPresented => Some("the partner shows no certificate"),
        rustls::Error::PeerIncompatible(_) => Some("the partner offers no TLS version or suite that we accept"),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => Some("the partner wants a client certificate"),
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => Some("the partner does not accept our client certificate"),
            AlertDescription::UnrecognisedName => Some("the partner does not know the name that we ask for"),
            AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::HandshakeFailure => Some("the partner accepts no TLS version or suite that we offer"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
