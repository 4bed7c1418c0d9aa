//! Key-encryption keys: the port behind which they lie, and a ring of them that is read from a text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::cipher::{Cipher, Secret, fresh};
use super::{KeyFault, Redacted};

/// Wraps and unwraps data keys. A key ring in memory does it; a key-management service that never gives its keys away
/// can do it as well. Calls may block.
pub trait KeyEncryption: Send + Sync + 'static {
    /// The name of the key that wraps from now on.
    ///
    /// # Errors
    /// When it cannot be known.
    fn current(&self) -> Result<String, KeyFault>;

    /// Wraps a data key under the current key; gives that key's name and the wrapped bytes. `name` is authenticated with it.
    ///
    /// # Errors
    /// When nothing can be wrapped.
    fn wrap(&self, name: &[u8], secret: &Zeroizing<[u8; 32]>) -> Result<(String, Vec<u8>), KeyFault>;

    /// Unwraps a data key that the key `id` wrapped.
    ///
    /// # Errors
    /// [`KeyFault::Missing`] when there is no key `id`, [`KeyFault::Misnamed`] when there is none and another one opens it,
    /// [`KeyFault::Wrong`] when it is another one.
    fn unwrap(&self, id: &str, name: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFault>;

    /// Unwraps a data key by whichever key wrapped it; none where no key did.
    fn unwrap_by_any(&self, name: &[u8], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>>;
}

/// The text is no key ring. No text carries a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RingError(pub String);

/// Where a ring's text comes from: a file, a command.
type Source = Box<dyn Fn() -> Result<Zeroizing<String>, RingError> + Send + Sync>;

/// Several keys by name, one of them current. It is read again when the store names a key that it does not have, so that
/// a running server goes on while an operator adds a key and wraps the data keys anew.
pub struct KeyRing {
    source: Source,
    keys: RwLock<Keys>,
}

struct Keys {
    current: String,
    ciphers: BTreeMap<String, Cipher>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    current: String,
    keys: BTreeMap<String, String>,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.keys.values_mut().for_each(|key| key.zeroize());
    }
}

impl KeyRing {
    /// Reads the ring.
    ///
    /// # Errors
    /// When the source fails, or what it gives is no ring.
    pub fn open(
        source: impl Fn() -> Result<Zeroizing<String>, RingError> + Send + Sync + 'static,
    ) -> Result<Self, RingError> {
        let keys = RwLock::new(Keys::read(&source()?)?);
        Ok(Self { source: Box::new(source), keys })
    }

    /// The ring of a text that stays as it is.
    ///
    /// # Errors
    /// When the text is no ring.
    pub fn from_text(text: &str) -> Result<Self, RingError> {
        let text = Zeroizing::new(text.to_owned());
        Self::open(move || Ok(text.clone()))
    }

    /// The text of a ring with a new random key as its current one, beside the keys that `text` has.
    ///
    /// # Errors
    /// When `text` is no ring, has a key of that name, or the machine gives no randomness.
    pub fn with_new_key(text: Option<&str>, name: &str) -> Result<Zeroizing<String>, RingError> {
        check_name(name)?;
        let old = match text {
            Some(text) => {
                Keys::read(text)?;
                Some(parsed(text)?)
            }
            None => None,
        };
        let fault = |_| RingError("the machine gives no randomness".to_owned());
        let secret = Zeroizing::new(STANDARD.encode(fresh().map_err(fault)?.as_slice()));
        let mut ring = Zeroizing::new(String::with_capacity(4096));
        ring.push_str(
            "# Keys that wrap the store's data keys (`onward keys`). Whoever has this file and the database can\n",
        );
        ring.push_str(
            "# read everything; without it nobody can. Keep a copy away from the database and from its backups.\n",
        );
        ring.push_str(&format!("current = {name:?}\n\n[keys]\n"));
        for (id, key) in old.iter().flat_map(|old| &old.keys) {
            if id == name {
                return Err(RingError(format!("there is a key `{name}` already")));
            }
            ring.push_str(&Zeroizing::new(format!("{id} = {key:?}\n")));
        }
        ring.push_str(&Zeroizing::new(format!("{name} = {:?}\n", *secret)));
        Ok(ring)
    }

    /// The names of all keys.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.read().ciphers.keys().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload(&self) -> Result<(), RingError> {
        let keys = Keys::read(&(self.source)()?)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

impl Keys {
    fn read(text: &str) -> Result<Self, RingError> {
        let text = parsed(text)?;
        let mut ciphers = BTreeMap::new();
        for (name, key) in &text.keys {
            check_name(name)?;
            let wrong = |what: &str| RingError(format!("the key `{name}` {what}"));
            let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| wrong("is not base64"))?);
            let secret: Secret =
                Zeroizing::new(bytes.as_slice().try_into().map_err(|_| wrong("has not 32 bytes (256 bits)"))?);
            if secret.iter().collect::<std::collections::BTreeSet<_>>().len() < 8 {
                return Err(wrong("is no random key: make one with `onward keys new`"));
            }
            ciphers.insert(name.clone(), Cipher::new(&secret).map_err(|_| wrong("cannot be used"))?);
        }
        if !ciphers.contains_key(&text.current) {
            return Err(RingError(format!("`current` names the key `{}`, which is not under [keys]", text.current)));
        }
        Ok(Self { current: text.current.clone(), ciphers })
    }
}

fn parsed(text: &str) -> Result<Text, RingError> {
    // The parser's own message would quote the line, and with it a key.
    toml::from_str(text)
        .map_err(|_| RingError("expected `current = \"NAME\"` and a table [keys] of NAME = \"BASE64\"".to_owned()))
}

fn check_name(name: &str) -> Result<(), RingError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(RingError("a key's name is 1 to 64 letters, digits, `-` and `_`".to_owned()))
}

impl KeyEncryption for KeyRing {
    fn current(&self) -> Result<String, KeyFault> {
        Ok(self.read().current.clone())
    }

    fn wrap(&self, name: &[u8], secret: &Zeroizing<[u8; 32]>) -> Result<(String, Vec<u8>), KeyFault> {
        let keys = self.read();
        let cipher = keys.ciphers.get(&keys.current).ok_or_else(|| KeyFault::Missing(keys.current.clone()))?;
        Ok((keys.current.clone(), cipher.seal(&[], name, secret.as_slice())?))
    }

    fn unwrap(&self, id: &str, name: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
        if !self.read().ciphers.contains_key(id) {
            self.reload()?;
        }
        let keys = self.read();
        let Some(cipher) = keys.ciphers.get(id) else {
            drop(keys);
            // Only what it was wrapped by opens it: then no key is missing, and the name is damaged.
            let misnamed = self.unwrap_by_any(name, wrapped).is_some();
            return Err(if misnamed { KeyFault::Misnamed } else { KeyFault::Missing(id.to_owned()) });
        };
        let plain = cipher.open(0, name, wrapped).map_err(|_| KeyFault::Wrong(id.to_owned()))?;
        plain.as_slice().try_into().map(Zeroizing::new).map_err(|_| KeyFault::Wrong(id.to_owned()))
    }

    fn unwrap_by_any(&self, name: &[u8], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let keys = self.read();
        let plain = keys.ciphers.values().find_map(|cipher| cipher.open(0, name, wrapped).ok())?;
        plain.as_slice().try_into().map(Zeroizing::new).ok()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("current", &self.read().current).field("keys", &Redacted).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn ring(text: &str) -> KeyRing {
        KeyRing::from_text(text).expect("a ring")
    }

    #[test]
    fn a_key_unwraps_what_it_wrapped_under_its_name() {
        let text = KeyRing::with_new_key(None, "first").expect("a ring");
        let keys = ring(&text);
        let secret = fresh().expect("randomness");
        let (id, wrapped) = keys.wrap(b"name", &secret).expect("wrapped");
        assert_eq!(id, "first");
        assert_eq!(keys.unwrap("first", b"name", &wrapped), Ok(secret));
        assert_eq!(keys.unwrap("first", b"other", &wrapped), Err(KeyFault::Wrong("first".to_owned())));
        assert_eq!(keys.unwrap("firsu", b"name", &wrapped), Err(KeyFault::Misnamed), "a flipped bit of its name");
        let foreign = ring(&KeyRing::with_new_key(None, "second").expect("a ring"));
        let (_, unknown) = foreign.wrap(b"name", &fresh().expect("randomness")).expect("wrapped");
        assert_eq!(keys.unwrap("second", b"name", &unknown), Err(KeyFault::Missing("second".to_owned())));
        let other = ring(&KeyRing::with_new_key(None, "first").expect("a ring"));
        assert_eq!(other.unwrap("first", b"name", &wrapped), Err(KeyFault::Wrong("first".to_owned())));
    }

    #[test]
    fn a_new_key_joins_the_ring_and_a_running_ring_learns_it() {
        let shared = Arc::new(Mutex::new(KeyRing::with_new_key(None, "old").expect("a ring")));
        let source = Arc::clone(&shared);
        let running = KeyRing::open(move || Ok(source.lock().expect("unpoisoned").clone())).expect("a ring");
        let text = KeyRing::with_new_key(Some(&shared.lock().expect("unpoisoned")), "new").expect("a ring");
        assert!(KeyRing::with_new_key(Some(&text), "new").is_err(), "no key is replaced");
        *shared.lock().expect("unpoisoned") = text.clone();
        let operator = ring(&text);
        assert_eq!(operator.names(), ["new", "old"]);
        let secret = fresh().expect("randomness");
        let (id, wrapped) = operator.wrap(b"n", &secret).expect("wrapped");
        assert_eq!((id.as_str(), running.current()), ("new", Ok("old".to_owned())));
        assert_eq!(running.unwrap("new", b"n", &wrapped), Ok(secret), "read again, without a restart");
        assert_eq!(running.current(), Ok("new".to_owned()));
    }

    #[test]
    fn what_is_no_ring_is_refused_without_repeating_it() {
        let zero = STANDARD.encode([0; 32]);
        let same = STANDARD.encode(b"passwordpasswordpasswordpassword".map(|byte| byte & 0x63));
        let short = STANDARD.encode([7; 16]);
        for (text, told) in [
            ("secret-value".to_owned(), "expected `current"),
            (format!("current = \"a\"\n[keys]\na = \"{zero}\""), "no random key"),
            (format!("current = \"a\"\n[keys]\na = \"{same}\""), "no random key"),
            (format!("current = \"a\"\n[keys]\na = \"{short}\""), "32 bytes"),
            ("current = \"a\"\n[keys]\na = \"secret-value\"".to_owned(), "base64"),
            ("current = \"a\"\n[keys]\n".to_owned(), "not under [keys]"),
            ("current = \"a\"\n[keys]\n\"a b\" = \"secret-value\"".to_owned(), "name"),
        ] {
            let error = KeyRing::from_text(&text).map(drop).expect_err("refused").to_string();
            assert!(error.contains(told) && !error.contains("secret-value"), "{error}");
        }
        assert_eq!(
            format!("{:?}", ring(&KeyRing::with_new_key(None, "a").expect("a ring"))).matches("redacted").count(),
            1
        );
    }
}
