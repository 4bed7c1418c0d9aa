//! Sealed cursors: the link to the next page carries the whole search without showing it, so that no NHS number stands
//! in a URL that we make. A cursor serves the client that it was made for, until the gateway restarts.

use anyhow::Context as _;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onward_core::Timestamp;
use serde::{Deserialize, Serialize};

/// The key of this process.
pub struct Cursors(RandomizedNonceKey);

/// Where a page begins, and what was asked for. Its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The search as it first came.
    pub search: String,
    /// When the last entry of the page before was recorded.
    pub recorded: Timestamp,
    /// Its index.
    pub index: u64,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Cursors {
    /// A new random key.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| anyhow::anyhow!("no randomness for the cursors' key"))?;
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, &key).context("the cursors' key")?))
    }

    /// The text of a cursor for this client; `None` when the library fails.
    #[must_use]
    pub fn seal(&self, client_id: &str, cursor: &Cursor) -> Option<String> {
        let mut bytes = serde_json::to_vec(cursor).ok()?;
        let nonce = self.0.seal_in_place_append_tag(Aad::from(client_id.as_bytes()), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// Reads the text of a cursor back; `None` when it was not made here for this client.
    #[must_use]
    pub fn open(&self, client_id: &str, text: &str) -> Option<Cursor> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = rest.to_vec();
        let aad = Aad::from(client_id.as_bytes());
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut bytes).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_shows_nothing_and_serves_its_client_only() {
        let cursors = Cursors::new().expect("randomness");
        let cursor = Cursor {
            search: "patient=9990000018".to_owned(),
            recorded: Timestamp::from_second(1_795_000_000).expect("in range"),
            index: 7,
        };
        let text = cursors.seal("ig", &cursor).expect("sealed");
        assert_eq!(cursors.open("ig", &text), Some(cursor.clone()));
        assert_eq!(cursors.open("other", &text), None);
        assert_eq!(Cursors::new().expect("randomness").open("ig", &text), None, "another process");
        assert_ne!(cursors.seal("ig", &cursor).expect("sealed"), text, "the same search does not look the same");
        let mut changed = text.into_bytes();
        changed[20] ^= 1;
        assert_eq!(cursors.open("ig", std::str::from_utf8(&changed).expect("ASCII")), None);
        for none in ["", "AAAA", "*", &"A".repeat(200)] {
            assert_eq!(cursors.open("ig", none), None);
        }
    }
}
