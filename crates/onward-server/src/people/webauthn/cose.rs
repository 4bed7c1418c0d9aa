//! Public keys as authenticators write them (RFC 9052 §7, RFC 9053, RFC 8230), of the three algorithms that are asked for.

use super::Refused;
use super::cbor::{Item, map, member, read};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use onward_connect::strength::modulus_bits;

/// COSE algorithms, the preferred first: ES256, EdDSA, RS256.
pub(super) const ALGORITHMS: [i64; 3] = [-7, -8, RS256];
/// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8812 §2).
pub(super) const RS256: i64 = -257;

const KEY_TYPE: i64 = 1;
const ALGORITHM: i64 = 3;
const CURVE: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
const MODULUS: i64 = -1;
const EXPONENT: i64 = -2;

pub(super) enum PublicKey {
    /// ES256 or EdDSA.
    Parsed(ParsedPublicKey),
    /// RS256.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl PublicKey {
    /// # Errors
    /// When it is no key of an algorithm that was asked for, or of RSA with fewer bits than these.
    pub(super) fn read(mut cose_key: &[u8], rsa_bits_min: u32) -> Result<Self, Refused> {
        let key = map(read(&mut cose_key)?)?;
        let number = |name: i64| member(&key, &Item::Number(name)).and_then(Item::number);
        let bytes = |name: i64| member(&key, &Item::Number(name)).and_then(Item::bytes);
        let of_32 = |name: i64| bytes(name).filter(|bytes| bytes.len() == 32).ok_or(Refused::Key);
        if !cose_key.is_empty() {
            return Err(Refused::Key);
        }
        match (number(KEY_TYPE), number(ALGORITHM)) {
            (Some(2), Some(-7)) if number(CURVE) == Some(1) => {
                let point = [&[4], of_32(X)?, of_32(Y)?].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map(Self::Parsed).map_err(|_| Refused::Key)
            }
            (Some(1), Some(-8)) if number(CURVE) == Some(6) => {
                ParsedPublicKey::new(&ED25519, of_32(X)?).map(Self::Parsed).map_err(|_| Refused::Key)
            }
            (Some(3), Some(RS256)) => {
                let (n, e) = bytes(MODULUS).zip(bytes(EXPONENT)).ok_or(Refused::Key)?;
                if modulus_bits(n) < rsa_bits_min {
                    return Err(Refused::Key);
                }
                // The library judges the exponent when it verifies; a key that it refuses opens nothing.
                Ok(Self::Rsa(RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() }))
            }
            _ => Err(Refused::Key),
        }
    }

    /// # Errors
    /// When it is not this key's signature.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let verified = match self {
            Self::Parsed(key) => key.verify_sig(signed, signature),
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature),
        };
        verified.map_err(|_| Refused::Signature)
    }
}
