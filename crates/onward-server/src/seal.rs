//! Sealed values for URLs that we make: they show nothing, serve only the client that they were made for, and only until
//! the gateway restarts.

use anyhow::Context as _;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The key of this process.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// A new random key.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| anyhow::anyhow!("no randomness for the seal"))?;
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).context("the seal's key")?))
    }

    /// The text, sealed for this client; `None` when the library fails.
    #[must_use]
    pub fn seal(&self, client_id: &str, text: &str) -> Option<String> {
        let mut bytes = text.as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(client_id.as_bytes()), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// Reads it back; `None` when it was not sealed here for this client.
    #[must_use]
    pub fn open(&self, client_id: &str, sealed: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = rest.to_vec();
        let aad = Aad::from(client_id.as_bytes());
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut bytes).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_shows_nothing_and_serves_its_client_only() {
        let seal = Seal::new().expect("randomness");
        let sealed = seal.seal("home", "a person").expect("sealed");
        assert_eq!(seal.open("home", &sealed).as_deref(), Some("a person"));
        assert_eq!(seal.open("other", &sealed), None);
        assert_eq!(Seal::new().expect("randomness").open("home", &sealed), None, "another process");
        assert_ne!(seal.seal("home", "a person").expect("sealed"), sealed, "the same does not look the same");
        for none in ["", "AAAA", "*", &"A".repeat(200)] {
            assert_eq!(seal.open("home", none), None);
        }
    }
}
