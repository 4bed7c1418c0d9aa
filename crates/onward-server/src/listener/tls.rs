//! TLS of the public listener: rustls on aws-lc-rs, TLS 1.3 and the ECDHE-GCM suites of 1.2; client certificates with
//! revocation lists; files that are read again when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use onward_connect::strength::{private_key_bits, tls_provider};
use onward_gateway::starts::Parts;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::sha256_hex;
use crate::in_force::{CLIENT_AUTHORITIES, CLIENT_LISTS, SERVER_CERTIFICATE, fingerprints};

/// How often the files are looked at: a change is in force within 5 seconds (trust.md §2, N5).
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What TLS is made of, PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of client certificates; none: clients show no certificate.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of these authorities. With this file a certificate is refused when it is revoked, when no list
    /// tells about it, and when the list is past its `nextUpdate` (RFC 5280 §5.1.2.5).
    pub client_crl: Option<PathBuf>,
    /// The smallest RSA key that is taken, of ours, of clients and of their authorities, bits.
    pub rsa_bits_min: u32,
}

/// TLS as the files say it at present.
pub struct Tls {
    files: TlsFiles,
    current: watch::Sender<Current>,
}

/// One state of the files.
#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Fingerprints of certificate, authorities and lists, as the audit log tells them.
    told: Parts,
    /// SHA-256 of each file.
    digests: [Option<String>; 4],
}

/// The bytes of the four files; the key's are wiped when dropped, and the others with them.
struct Contents([Option<Zeroizing<Vec<u8>>>; 4]);

impl Contents {
    fn digests(&self) -> [Option<String>; 4] {
        self.0.each_ref().map(|file| file.as_deref().map(|bytes| sha256_hex(bytes)))
    }
}

impl TlsFiles {
    fn read(&self) -> anyhow::Result<Contents> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map(Zeroizing::new).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Contents([
            Some(read(&self.certificate)?),
            Some(read(&self.key)?),
            self.client_ca.as_ref().map(read).transpose()?,
            self.client_crl.as_ref().map(read).transpose()?,
        ]))
    }

    fn build(&self, contents: &Contents) -> anyhow::Result<Current> {
        let Contents(files) = contents;
        let [certificate, key, client_ca, client_crl] = files.each_ref().map(|file| file.as_deref().map(Vec::as_slice));
        let told = told(certificate.unwrap_or_default(), client_ca, client_crl)?;
        let chain: Vec<CertificateDer<'static>> = pem(certificate.unwrap_or_default())
            .with_context(|| format!("the certificate {}", self.certificate.display()))?;
        if let Some(bits) = private_key_bits(key.unwrap_or_default()) {
            anyhow::ensure!(
                bits >= self.rsa_bits_min,
                "the key {} has {bits} bits, RSA keys must have {} (identity.rsa_bits_min)",
                self.key.display(),
                self.rsa_bits_min
            );
        }
        let key = PrivateKeyDer::from_pem_slice(key.unwrap_or_default())
            .with_context(|| format!("the key {}", self.key.display()))?;
        let provider = Arc::new(provider(self.rsa_bits_min));
        let clients = match client_ca {
            None => None,
            Some(roots) => Some(client_verifier(roots, client_crl, &provider)?),
        };
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = match &clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        }
        .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if clients.is_some() {
            // A resumed session would bring back a certificate without asking whether it is revoked by now.
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Current { config: Arc::new(config), clients, told, digests: contents.digests() })
    }
}

fn told(certificate: &[u8], client_ca: Option<&[u8]>, client_crl: Option<&[u8]>) -> anyhow::Result<Parts> {
    let mut told = Parts::new();
    told.insert(SERVER_CERTIFICATE.to_owned(), fingerprints::<CertificateDer<'_>>(certificate)?);
    if let Some(pem) = client_ca {
        told.insert(CLIENT_AUTHORITIES.to_owned(), fingerprints::<CertificateDer<'_>>(pem)?);
    }
    if let Some(pem) = client_crl {
        told.insert(CLIENT_LISTS.to_owned(), fingerprints::<CertificateRevocationListDer<'_>>(pem)?);
    }
    Ok(told)
}

fn client_verifier(
    roots_pem: &[u8],
    crl_pem: Option<&[u8]>,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in pem::<CertificateDer<'static>>(roots_pem).context("the authorities of client certificates")? {
        roots.add(root)?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(crl) = crl_pem {
        let lists: Vec<CertificateRevocationListDer<'static>> = pem(crl).context("the revocation lists")?;
        anyhow::ensure!(!lists.is_empty(), "the file of revocation lists holds none");
        // Without the second call rustls takes a list of any age.
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    Ok(builder.allow_unauthenticated().build()?)
}

fn pem<T: PemObject>(text: &[u8]) -> anyhow::Result<Vec<T>> {
    Ok(T::pem_slice_iter(text).collect::<Result<_, _>>()?)
}

/// aws-lc-rs with the suites that NHS partners and browsers share: all of TLS 1.3, ECDHE-GCM of TLS 1.2.
fn provider(rsa_bits_min: u32) -> CryptoProvider {
    use rustls::crypto::aws_lc_rs::cipher_suite as suite;
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        ..tls_provider(rsa_bits_min)
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read or used, or the key does not belong to the certificate.
    pub fn open(files: TlsFiles) -> anyhow::Result<Self> {
        let current = files.build(&files.read()?)?;
        Ok(Self { files, current: watch::Sender::new(current) })
    }

    /// Reads the files again; true when they have changed and are in force. New connections use them; open ones go on,
    /// but for those whose client certificate is not good any more.
    ///
    /// # Errors
    /// As [`Tls::open`]; what was in force before stays so.
    pub fn reload(&self) -> anyhow::Result<bool> {
        let contents = self.files.read()?;
        if contents.digests() == self.current.borrow().digests {
            return Ok(false);
        }
        self.current.send_replace(self.files.build(&contents)?);
        Ok(true)
    }

    /// Looks at the files until `stop` turns true.
    pub async fn reload_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            match self.reload() {
                Ok(true) => tracing::info!("certificate, key or revocation lists are read again"),
                Ok(false) => {}
                // Each fault once: a renewal writes its files one after the other.
                Err(error) if told != format!("{error:#}") => {
                    told = format!("{error:#}");
                    tracing::error!(fault = told, "the changed TLS files cannot be used; the old ones stay in force");
                    continue;
                }
                Err(_) => continue,
            }
            told.clear();
        }
    }

    /// The fingerprints of the files that are in force, as the audit log tells them.
    #[must_use]
    pub fn told(&self) -> Parts {
        self.current.borrow().told.clone()
    }

    /// The exchanges from now on.
    #[must_use]
    pub fn exchanges(&self) -> Exchanges {
        Exchanges(self.current.subscribe())
    }

    /// For a new connection.
    pub(super) fn guard(&self) -> Guard {
        Guard(self.current.subscribe())
    }
}

/// Exchanges of the files.
pub struct Exchanges(watch::Receiver<Current>);

impl Exchanges {
    /// Waits for the next one, and gives the fingerprints of what is in force since; of several that have passed the last. `None` when
    /// there will be none any more.
    pub async fn next(&mut self) -> Option<Parts> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().told.clone())
    }
}

/// The files as they are for one connection, and every later change of them.
pub(super) struct Guard(watch::Receiver<Current>);

impl Guard {
    /// What the connection is served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow().config)
    }

    /// A watch over the certificate chain that the client has shown.
    pub(super) fn watch(self, chain: &[CertificateDer<'_>]) -> Trust {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Trust { chain, current: self.0 }
    }
}

/// A client's certificate chain, judged again whenever the files change.
pub(super) struct Trust {
    chain: Vec<CertificateDer<'static>>,
    current: watch::Receiver<Current>,
}

impl Trust {
    /// Returns when the chain is not good any more.
    pub(super) async fn lost(&mut self) {
        while self.current.changed().await.is_ok() {
            if !self.holds() {
                return;
            }
        }
        std::future::pending().await
    }

    fn holds(&mut self) -> bool {
        let current = self.current.borrow_and_update();
        let Some((leaf, rest)) = self.chain.split_first() else { return false };
        current
            .clients
            .as_ref()
            .is_some_and(|verifier| verifier.verify_client_cert(leaf, rest, UnixTime::now()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, RsaKeySize};

    use super::*;

    fn rsa(size: RsaKeySize) -> KeyPair {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("a key")
    }

    #[test]
    fn rsa_keys_have_as_many_bits_as_are_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let params = || CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        for (name, key) in [("small", rsa(RsaKeySize::_2048)), ("large", rsa(RsaKeySize::_3072))] {
            std::fs::write(at(&format!("{name}.pem")), params().self_signed(&key).expect("signed").pem())
                .expect("written");
            std::fs::write(at(&format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        let mut authority = params();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, rsa(RsaKeySize::_2048)).expect("an authority");
        std::fs::write(at("ca.pem"), authority.pem()).expect("written");
        let client = params().signed_by(&KeyPair::generate().expect("a key"), &authority).expect("a certificate");
        let files = |name: &str, rsa_bits_min| TlsFiles {
            certificate: at(&format!("{name}.pem")),
            key: at(&format!("{name}.key")),
            client_ca: Some(at("ca.pem")),
            client_crl: None,
            rsa_bits_min,
        };
        let refused = Tls::open(files("small", 3072)).map(drop).expect_err("our own is too small").to_string();
        assert!(refused.contains("2048 bits") && refused.contains("identity.rsa_bits_min"), "{refused}");
        for (name, bits_min, taken) in [("small", 2048, true), ("large", 2048, true), ("large", 3072, false)] {
            let tls = Tls::open(files(name, bits_min)).expect("our own is large enough");
            let clients = tls.current.borrow().clients.clone().expect("asked for");
            let judged = clients.verify_client_cert(client.der(), &[], UnixTime::now());
            assert_eq!(
                judged.is_ok(),
                taken,
                "a client whose authority has 2,048 bits, where {bits_min} are asked for"
            );
        }
    }
}
