//! The world's own certificate authority, and the one server certificate that it ever signs.
//!
//! The authority's key is dropped as soon as it has signed: whoever trusts the world trusts nobody else by it.

use anyhow::Context as _;
use jiff::tz::TimeZone;
use onward_core::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Years that a world lasts.
const YEARS: i16 = 10;

/// PEM texts.
pub(crate) struct Issued {
    /// The authority's certificate.
    pub(crate) authority: String,
    /// The certificate of every server of the world.
    pub(crate) certificate: String,
    /// Its private key.
    pub(crate) key: String,
}

/// A new authority with a certificate for `localhost` and `127.0.0.1`.
///
/// # Errors
/// When the machine gives no randomness.
pub(crate) fn issue(now: Timestamp) -> anyhow::Result<Issued> {
    let mut authority = params(&[], "Onward demo authority", now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer_key = KeyPair::generate().context("making the authority's key")?;
    let authority_pem = authority.self_signed(&issuer_key)?.pem();
    let issuer = Issuer::new(authority, issuer_key);

    let mut server = params(&["localhost", "127.0.0.1"], "Onward demo", now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().context("making the servers' key")?;
    let certificate = server.signed_by(&key, &issuer)?.pem();
    Ok(Issued { authority: authority_pem, certificate, key: key.serialize_pem() })
}

fn params(names: &[&str], common_name: &str, now: Timestamp) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // A day's slack for machines whose clock was wrong when the world was made; the 28th is in every month.
    let year = now.to_zoned(TimeZone::UTC).year();
    params.not_before = date_time_ymd(i32::from(year) - 1, 12, 28);
    params.not_after = date_time_ymd(i32::from(year + YEARS), 12, 28);
    Ok(params)
}
