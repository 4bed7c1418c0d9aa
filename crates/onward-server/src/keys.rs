//! Key pairs of machine clients: ES384 for signing assertions, as PEM for their owner and JWK Set for us.

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey};
use onward_connect::strength::modulus_bits;

/// A new ES384 private key, PKCS #8 PEM.
///
/// # Errors
/// When the machine gives no randomness.
pub fn generate_pem() -> anyhow::Result<String> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("no key could be generated"))?;
    let text = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

/// The public half of an ES384 private key, as JWK with its RFC 7638 thumbprint as `kid`.
///
/// # Errors
/// When the PEM is no ES384 private key.
pub fn public_jwk(pem: &str) -> anyhow::Result<Jwk> {
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).context("the key is not an EC private key in PKCS #8 PEM")?;
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES384).context("the key is not a P-384 key")?;
    let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).context("the key has no thumbprint")?;
    jwk.common.key_id = Some(thumbprint);
    Ok(jwk)
}

/// The key set of a gateway that signs assertions for the NHS API platform with this RSA private key (RS512), under the
/// identifier by which the platform knows it.
///
/// # Errors
/// When the PEM is no RSA private key.
pub fn assertion_jwks(pem: &[u8], key_id: &str) -> anyhow::Result<String> {
    let key = EncodingKey::from_rsa_pem(pem).context("the key is not an RSA private key in PEM")?;
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS512).context("the key has no public half")?;
    jwk.common.key_id = Some(key_id.to_owned());
    jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
    jwks_json(jwk)
}

/// The RFC 7638 thumbprint of the public half of a private key, RSA or P-384, in PEM.
///
/// # Errors
/// When the PEM is neither.
pub fn thumbprint(pem: &[u8]) -> anyhow::Result<String> {
    let jwk = match EncodingKey::from_rsa_pem(pem) {
        Ok(key) => Jwk::from_encoding_key(&key, Algorithm::RS512),
        Err(_) => {
            let key =
                EncodingKey::from_ec_pem(pem).context("the key is neither an RSA nor an EC private key in PEM")?;
            Jwk::from_encoding_key(&key, Algorithm::ES384)
        }
    };
    let jwk = jwk.context("the key has no public half")?;
    jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).context("the key has no thumbprint")
}

/// A JWK Set of one key, as JSON.
///
/// # Errors
/// When the key cannot be written.
pub fn jwks_json(jwk: Jwk) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&JwkSet { keys: vec![jwk] })?)
}

/// Whether a key is none of RSA, or has so many bits.
#[must_use]
pub fn is_strong(key: &Jwk, rsa_bits_min: u32) -> bool {
    let AlgorithmParameters::RSA(rsa) = &key.algorithm else { return true };
    let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&rsa.n);
    modulus.is_ok_and(|modulus| modulus_bits(&modulus) >= rsa_bits_min)
}

/// Checks a JWK Set that a client hands in, and gives it back in our form.
///
/// # Errors
/// When it is no JWK Set, a key has no `kid`, a `kid` repeats, or a key is private.
pub fn checked_jwks(text: &str) -> anyhow::Result<String> {
    let value: serde_json::Value = serde_json::from_str(text).context("not JSON")?;
    let private =
        value["keys"].as_array().into_iter().flatten().any(|key| key.get("d").is_some() || key.get("k").is_some());
    anyhow::ensure!(!private, "the key set holds a private or symmetric key: hand in public keys only");
    let set: JwkSet = serde_json::from_value(value).context("not a JWK Set")?;
    anyhow::ensure!(!set.keys.is_empty(), "the key set is empty");
    let mut seen = std::collections::BTreeSet::new();
    for key in &set.keys {
        let id = key.common.key_id.as_deref().context("every key needs a kid")?;
        anyhow::ensure!(seen.insert(id), "the kid {id} is there twice");
    }
    Ok(serde_json::to_string(&set)?)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;

    use super::*;

    #[test]
    fn a_key_is_strong_by_its_bits_or_by_being_none_of_rsa() {
        let ours = public_jwk(&generate_pem().expect("a key")).expect("a JWK");
        assert!(is_strong(&ours, 3072));
        for (size, strong) in [(KeySize::Rsa2048, false), (KeySize::Rsa3072, true)] {
            let key = KeyPair::generate(size).expect("a key");
            let n = key.public_key().modulus().big_endian_without_leading_zero();
            let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(n);
            let jwk: Jwk =
                serde_json::from_value(serde_json::json!({ "kty": "RSA", "n": n, "e": "AQAB" })).expect("a JWK");
            assert_eq!((is_strong(&jwk, 2048), is_strong(&jwk, 3072)), (true, strong));
        }
        let none: Jwk =
            serde_json::from_value(serde_json::json!({ "kty": "RSA", "n": "!", "e": "AQAB" })).expect("a JWK");
        assert!(!is_strong(&none, 2048), "no key at all");
    }

    #[test]
    fn the_key_set_of_an_assertion_key_shows_its_public_half_only() {
        let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der = key.as_der().expect("PKCS #8");
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        let set = assertion_jwks(pem.as_bytes(), "onward-1").expect("a key set");
        let shown: serde_json::Value = serde_json::from_str(&set).expect("JSON");
        let key = &shown["keys"][0];
        assert_eq!((key["kty"].as_str(), key["kid"].as_str()), (Some("RSA"), Some("onward-1")), "{set}");
        assert_eq!((key["alg"].as_str(), key["use"].as_str()), (Some("RS512"), Some("sig")), "{set}");
        assert!(key["n"].is_string() && key["e"].is_string() && key.get("d").is_none(), "{set}");
        assert!(checked_jwks(&set).is_ok(), "a partner can take it");
        assert!(assertion_jwks(generate_pem().expect("a key").as_bytes(), "k").is_err(), "an EC key is none");
    }
}
