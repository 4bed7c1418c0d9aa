//! `private_key_jwt` client assertions (RFC 7523, SMART Backend Services, NHS API platform), checked by our
//! own strict structures. The JWT library verifies signatures and nothing else: with its defaults it lets
//! arrays, floats, missing claims and far expiries through.

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use onward_core::Timestamp;
use serde::Deserialize;

use super::jws;

/// The longest life of an assertion, seconds (NHS API platform: five minutes).
const LIFE_SECONDS_MAX: i64 = 300;
/// Clocks may differ by this much, seconds.
const LEEWAY_SECONDS: i64 = 10;
/// The longest `jti` that we keep, bytes.
const JTI_BYTES_MAX: usize = 128;

/// Why an assertion was refused. The texts name the claim, never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// The request is malformed: HTTP 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// The client or its key is not known, or the signature does not fit: HTTP 401.
    #[error("{0}")]
    NotTrusted(&'static str),
}

/// An assertion whose form is right and whose signature is not checked yet. It has no `Debug`: whoever reads it in a log
/// could use it.
pub struct Assertion<'a> {
    signed: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    key_id: String,
    /// `iss` and `sub`.
    pub client_id: String,
    /// Single-use identifier.
    pub jti: String,
    /// `exp`.
    pub expires: Timestamp,
}

#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
    jku: Option<serde_json::Value>,
    x5u: Option<serde_json::Value>,
    jwk: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// Any JSON or none: a number, a list or nothing is a wrong audience (401 at the NHS), not a malformed claim.
    #[serde(default)]
    aud: serde_json::Value,
    exp: i64,
    jti: String,
    nbf: Option<i64>,
    iat: Option<i64>,
}

impl<'a> Assertion<'a> {
    /// Reads an assertion meant for `audience` (our token URL) at the moment `now`.
    ///
    /// # Errors
    /// [`AssertionError`], by the statuses of the NHS API platform.
    pub fn read(jwt: &'a str, audience: &str, now: Timestamp) -> Result<Self, AssertionError> {
        use AssertionError::{Malformed, NotTrusted};
        let (signed, signature) = jwt.rsplit_once('.').ok_or(Malformed("client_assertion is not a JWT"))?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed("client_assertion is not a JWT"))?;
        let header: Header = jws::header(header).ok_or(Malformed("the JWT header cannot be read"))?;
        let algorithm = match header.alg.as_deref() {
            Some("RS512") => Algorithm::RS512,
            Some("RS384") => Algorithm::RS384,
            Some("ES384") => Algorithm::ES384,
            _ => return Err(Malformed("alg must be RS512, RS384 or ES384")),
        };
        let key_id = header.kid.ok_or(Malformed("kid is missing"))?;
        // Media types compare without case (RFC 7515 §4.1.9), as at the NHS.
        if !header.typ.is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")) {
            return Err(Malformed("typ must be JWT"));
        }
        if header.crit.is_some() {
            return Err(Malformed("crit is not understood"));
        }
        if header.jku.is_some() || header.x5u.is_some() || header.jwk.is_some() {
            return Err(NotTrusted("keys are registered, not named by the assertion"));
        }
        let claims: Claims = jws::decode(payload)
            .ok_or(Malformed("iss, sub and jti must be single strings and exp, nbf and iat integers"))?;
        if claims.iss != claims.sub || claims.iss.is_empty() {
            return Err(Malformed("iss and sub must both be the client id"));
        }
        if claims.aud.as_str() != Some(audience) {
            return Err(NotTrusted("aud must be this server's token URL"));
        }
        let now_seconds = now.as_second();
        if claims.exp <= now_seconds - LEEWAY_SECONDS {
            return Err(Malformed("exp has passed"));
        }
        if claims.exp > now_seconds + LIFE_SECONDS_MAX + LEEWAY_SECONDS {
            return Err(Malformed("exp must be at most 5 minutes ahead"));
        }
        if [claims.nbf, claims.iat].into_iter().flatten().any(|at| at > now_seconds + LEEWAY_SECONDS) {
            return Err(Malformed("nbf and iat must not lie ahead"));
        }
        if claims.jti.is_empty() || claims.jti.len() > JTI_BYTES_MAX {
            return Err(Malformed("jti must have 1 to 128 bytes"));
        }
        let expires = Timestamp::from_second(claims.exp).map_err(|_| Malformed("exp is out of range"))?;
        Ok(Self { signed, signature, algorithm, key_id, client_id: claims.iss, jti: claims.jti, expires })
    }

    /// Checks the signature with the client's key of that `kid`, and gives that key.
    ///
    /// # Errors
    /// [`AssertionError::NotTrusted`] when the key is not there or does not fit.
    pub fn verify<'k>(&self, keys: &'k JwkSet) -> Result<&'k Jwk, AssertionError> {
        use AssertionError::NotTrusted;
        let mut fitting = keys.keys.iter().filter(|key| key.common.key_id.as_deref() == Some(self.key_id.as_str()));
        let (Some(key), None) = (fitting.next(), fitting.next()) else {
            return Err(NotTrusted("kid is not one registered key of the client, or that is a small RSA key"));
        };
        if !jws::suits(key, self.algorithm) {
            return Err(NotTrusted("alg does not suit the registered key"));
        }
        let decoding = DecodingKey::from_jwk(key).map_err(|_| NotTrusted("the registered key cannot be used"))?;
        match jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), &decoding, self.algorithm) {
            Ok(true) => Ok(key),
            _ => Err(NotTrusted("the signature does not fit")),
        }
    }
}
