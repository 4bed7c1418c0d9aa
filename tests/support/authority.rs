//! An authority of client certificates, with its revocation list, and the one of servers.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// What a client certificate is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Right,
    /// Past its end.
    Expired,
    /// For servers only.
    ForServers,
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When the machine gives no randomness.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Its own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A client certificate with this serial number.
    ///
    /// # Panics
    /// When the machine gives no randomness.
    #[must_use]
    pub fn issue(&self, serial: u64, kind: Kind) -> Identity {
        let mut params = params("a client");
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![match kind {
            Kind::ForServers => ExtendedKeyUsagePurpose::ServerAuth,
            Kind::Right | Kind::Expired => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if kind == Kind::Expired {
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// A revocation list, PEM, good until the first day of this year.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn crl(&self, revoked: &[u64], until: i32) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 2, 1),
            reason_code: None,
            invalidity_date: None,
        };
        CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .expect("signed")
        .pem()
        .expect("PEM")
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params
}

/// Makes an authority of servers, whose certificate this folder has as `ca.pem`.
pub(crate) fn write_authority(folder: &Path) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&key).expect("a CA").pem()).expect("written");
    Issuer::new(authority, key)
}

/// Gives the server of this folder a certificate and a key, `server.pem` and `server.key`.
pub(crate) fn write_certificate(folder: &Path, issuer: &Issuer<'_, KeyPair>) {
    use std::os::unix::fs::PermissionsExt as _;
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
    let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
    std::fs::write(folder.join("server.pem"), certificate.pem()).expect("written");
    let key_file = folder.join("server.key");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).expect("permitted");
}
