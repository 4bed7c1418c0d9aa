//! How large RSA keys must be: of certificates in either direction, of whoever signs tokens, and of our own.
//!
//! NHS services take, and authorities issue, 2,048 bits, which resist like a symmetric key of 112 bits; 3,072 bits resist like one of 128
//! (NIST SP 800-57 part 1, table 2). Everything else that is taken has 128 bits or more.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm, alg_id};

/// The smallest RSA key that is taken whatever the configuration says, bits: aws-lc refuses smaller ones.
pub const RSA_BITS_MIN: u32 = 2048;
/// The largest that aws-lc takes, bits.
pub const RSA_BITS_MAX: u32 = 8192;

/// What TLS is made of, with no signature taken from an RSA key below so many bits: neither a certificate's, nor an authority's, nor that
/// of a revocation list.
///
/// # Panics
/// Never: nobody panics while the lists are made.
#[must_use]
pub fn tls_provider(rsa_bits_min: u32) -> CryptoProvider {
    // rustls keeps them for as long as the process lives: one list for each bound that is asked for.
    static MADE: Mutex<BTreeMap<u32, WebPkiSupportedAlgorithms>> = Mutex::new(BTreeMap::new());
    let known = default_provider();
    if rsa_bits_min <= RSA_BITS_MIN {
        return known;
    }
    let mut made = MADE.lock().expect("no holder of it panics");
    let algorithms =
        made.entry(rsa_bits_min).or_insert_with(|| bounded(known.signature_verification_algorithms, rsa_bits_min));
    CryptoProvider { signature_verification_algorithms: *algorithms, ..known }
}

fn bounded(known: WebPkiSupportedAlgorithms, bits_min: u32) -> WebPkiSupportedAlgorithms {
    let all = |algorithms: &[Algorithm]| -> &'static [Algorithm] {
        algorithms.iter().map(|algorithm| Bounded::over(*algorithm, bits_min)).collect::<Vec<_>>().leak()
    };
    let mapping: Vec<_> = known.mapping.iter().map(|(scheme, algorithms)| (*scheme, all(algorithms))).collect();
    WebPkiSupportedAlgorithms { all: all(known.all), mapping: mapping.leak() }
}

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// An RSA algorithm that smaller keys cannot use.
#[derive(Debug)]
struct Bounded {
    inner: Algorithm,
    bits_min: u32,
}

impl Bounded {
    fn over(inner: Algorithm, bits_min: u32) -> Algorithm {
        match inner.public_key_alg_id() == alg_id::RSA_ENCRYPTION {
            true => Box::leak(Box::new(Self { inner, bits_min })),
            false => inner,
        }
    }
}

impl SignatureVerificationAlgorithm for Bounded {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        match public_key_bits(public_key) {
            Some(bits) if bits >= self.bits_min => self.inner.verify_signature(public_key, message, signature),
            _ => Err(InvalidSignature),
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

/// Bits of a modulus, big-endian.
#[must_use]
pub fn modulus_bits(modulus: &[u8]) -> u32 {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = &modulus[zeros..];
    let first = significant.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(significant.len() * 8).unwrap_or(u32::MAX) - first
}

/// Bits of an `RSAPublicKey` (RFC 8017, A.1.1): a sequence of modulus and exponent; none where it is not one.
fn public_key_bits(der: &[u8]) -> Option<u32> {
    let sequence = element(der, 0x30)?;
    element(sequence, 0x02).map(modulus_bits)
}

/// What the first element holds, when it has this tag (X.690 §8.1).
fn element(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.get(..length)).flatten()
}

/// Bits of an RSA private key, PEM (PKCS#8 or PKCS#1); none of a text that holds no RSA key that could be used.
#[must_use]
pub fn private_key_bits(pem: &[u8]) -> Option<u32> {
    let key = match PrivateKeyDer::from_pem_slice(pem).ok()? {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        _ => return None,
    };
    public_key_bits(key.ok()?.public_key().as_ref())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;

    use super::*;

    fn pem(key: &KeyPair) -> String {
        use base64::Engine as _;
        let text = base64::prelude::BASE64_STANDARD.encode(key.as_der().expect("PKCS #8").as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn a_key_has_the_bits_of_its_modulus() {
        assert_eq!(modulus_bits(&[]), 0);
        assert_eq!(modulus_bits(&[0, 0]), 0);
        assert_eq!(modulus_bits(&[0, 0x80, 0]), 16);
        assert_eq!(modulus_bits(&[0x7f, 0xff]), 15);
        for (size, bits) in [(KeySize::Rsa2048, 2048), (KeySize::Rsa3072, 3072)] {
            let key = KeyPair::generate(size).expect("a key");
            assert_eq!(public_key_bits(key.public_key().as_ref()), Some(bits));
            assert_eq!(private_key_bits(pem(&key).as_bytes()), Some(bits));
        }
        let ec = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        assert_eq!(private_key_bits(ec.as_bytes()), None);
        assert_eq!(private_key_bits(b"a password"), None);
        for broken in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 0x02],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x02, 0x02, 0x05],
            &[0x04, 0x00],
        ] {
            assert_eq!(public_key_bits(broken), None, "{broken:x?}");
        }
    }

    #[test]
    fn signatures_of_smaller_keys_are_none() {
        let signed = |key: &KeyPair| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"text", &mut signature).expect("signed");
            signature
        };
        let by = |provider: &CryptoProvider, key: &KeyPair| {
            let algorithms = provider.signature_verification_algorithms;
            let fits = |algorithm: &&Algorithm| algorithm.signature_alg_id() == alg_id::RSA_PKCS1_SHA256;
            let mapped = algorithms.mapping.iter().flat_map(|(_, algorithms)| algorithms.iter());
            let found: Vec<_> = algorithms.all.iter().chain(mapped).filter(fits).collect();
            assert!(found.len() >= 2, "in the list and under its scheme");
            let signature = signed(key);
            let taken =
                found.iter().map(|found| found.verify_signature(key.public_key().as_ref(), b"text", &signature));
            let taken: Vec<bool> = taken.map(|taken| taken.is_ok()).collect();
            assert!(taken.iter().all(|each| *each == taken[0]));
            taken[0]
        };
        let [small, large] = [KeySize::Rsa2048, KeySize::Rsa3072].map(|size| KeyPair::generate(size).expect("a key"));
        let (default, strong) = (tls_provider(RSA_BITS_MIN), tls_provider(3072));
        assert!(by(&default, &small) && by(&default, &large) && by(&strong, &large));
        assert!(!by(&strong, &small));
        let count = |provider: &CryptoProvider| provider.signature_verification_algorithms.all.len();
        assert_eq!(count(&default), count(&strong), "keys of other kinds are taken as before");
        assert_eq!(
            strong.signature_verification_algorithms.all.as_ptr(),
            tls_provider(3072).signature_verification_algorithms.all.as_ptr()
        );
    }
}
