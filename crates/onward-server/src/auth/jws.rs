//! A JWT that somebody else has signed: an identity provider, an issuer of access tokens. Its signature is checked by one key of a known
//! set, its JSON names nothing twice; what it claims is for the caller to judge by a strict structure of its own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::unique::Unique;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A token whose signature fits.
pub(crate) struct Signed<'a> {
    /// `typ`, in lower case and without `application/` (RFC 7515 §4.1.9).
    pub(crate) kind: Option<String>,
    payload: &'a str,
}

impl Signed<'_> {
    /// Its claims, if they are of these kinds.
    pub(crate) fn claims<T: DeserializeOwned>(&self) -> Option<T> {
        decode(self.payload)
    }
}

/// Checks the signature of a compact JWT by one of these keys.
///
/// # Errors
/// Why it is not taken; never with its values.
pub(crate) fn signed<'a>(token: &'a str, keys: &JwkSet) -> Result<Signed<'a>, &'static str> {
    let (signed, signature) = token.rsplit_once('.').ok_or("not a JWT")?;
    let (header, payload) = signed.split_once('.').ok_or("not a JWT")?;
    let header: Header = self::header(header).ok_or("the JWT header cannot be read")?;
    if header.crit.is_some() {
        return Err("crit is not understood");
    }
    let algorithm = algorithm(&header.alg).ok_or("alg is none that is taken")?;
    let named = |key: &&Jwk| header.kid.is_none() || key.common.key_id == header.kid;
    let mut fitting = keys.keys.iter().filter(named).filter(|key| suits(key, algorithm));
    let (Some(key), None) = (fitting.next(), fitting.next()) else {
        return Err("the token names no one key of the issuer's");
    };
    let decoding = DecodingKey::from_jwk(key).map_err(|_| "the issuer's key cannot be used")?;
    if !matches!(jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &decoding, algorithm), Ok(true)) {
        return Err("the signature does not fit");
    }
    let kind = header.typ.map(|typ| typ.to_ascii_lowercase());
    let kind = kind.map(|typ| typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ));
    Ok(Signed { kind, payload })
}

/// `iss` of a token that nobody has checked: it says which keys to check it with, and no more.
pub(crate) fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let payload = token.split('.').nth(1)?;
    decode::<Claims>(payload).map(|claims| claims.iss)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "RS384" => Some(Algorithm::RS384),
        "RS512" => Some(Algorithm::RS512),
        "PS256" => Some(Algorithm::PS256),
        "ES256" => Some(Algorithm::ES256),
        "ES384" => Some(Algorithm::ES384),
        _ => None,
    }
}

/// Whether a key is one of those that this algorithm signs with.
pub(super) fn suits(key: &Jwk, algorithm: Algorithm) -> bool {
    match (&key.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(parameters), Algorithm::ES256) => parameters.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(parameters), Algorithm::ES384) => parameters.curve == EllipticCurve::P384,
        (AlgorithmParameters::RSA(_), other) => !matches!(other, Algorithm::ES256 | Algorithm::ES384),
        _ => false,
    }
}

/// A JOSE header. No header parameter takes null (RFC 7515 §4.1), which serde would read as none: `crit` that is null would pass.
pub(super) fn header<T: DeserializeOwned>(part: &str) -> Option<T> {
    let members: serde_json::Map<String, Value> = decode(part)?;
    let whole = members.values().all(|value| !value.is_null());
    whole.then(|| serde_json::from_value(Value::Object(members)).ok()).flatten()
}

/// JSON in which nothing stands twice.
pub(super) fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice::<Unique>(&json).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_no_null() {
        let read = |json: &str| header::<Header>(&URL_SAFE_NO_PAD.encode(json)).is_some();
        for good in [r#"{"alg":"ES384"}"#, r#"{"alg":"ES384","kid":"1","typ":"at+jwt","x":{"y":null}}"#] {
            assert!(read(good), "{good}");
        }
        for bad in [
            r#"{"alg":"ES384","crit":null}"#,
            r#"{"alg":"ES384","kid":null}"#,
            r#"{"alg":"ES384","typ":null}"#,
            r#"{"alg":"ES384","x":null}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"ES384","kid":"1","kid":"2"}"#,
            "null",
            "[]",
        ] {
            assert!(!read(bad), "{bad}");
        }
    }
}
