//! Data at rest: what is sealed, under which key, and how keys are kept. Shared by every engine.
//!
//! Three layers of keys. A *key-encryption key* (KEK) is held outside of the store; see [`KeyEncryption`]. *Data keys* are
//! rows of `data_keys`, each wrapped by a KEK: one for a person, one for a transfer whose person is not known, one for what
//! concerns the gateway itself, and one with which names are hashed for searches. A sealed value names its data key, so
//! that no further column is needed, and is bound to its table, column and row: moved anywhere else it does not open. It is
//! compressed before where that saves something; lengths tell no more than they did, and nobody can try guesses against them.
//! What the copies of a transfer carry alike is sealed once, under the same key as they are (`parting`).
//! Destroying a data key erases everything that was sealed under it, in backups too that do not hold the key.
//!
//! Nonces are random (96 bits, made by the library's one type for it). A data key seals far fewer than 2^32 values, the
//! bound of NIST SP 800-38D section 8.3: a person's are thousands, and the gateway's own grow with denied requests.

mod cipher;
mod entry;
mod keychain;
mod packing;
mod parting;
mod ring;
mod vault;

use std::fmt;

pub(crate) use cipher::{DataKey, KeyId, Packed, key_of, key_of_text};
pub(crate) use entry::{Sealed, opened, sealed_entry};
pub(crate) use keychain::{Keychain, Unread, Wanted};
pub(crate) use parting::{Digest, Parting, PartsOf, has_parts};
pub use ring::{KeyEncryption, KeyRing, RingError};
pub(crate) use vault::{DataKeyRow, Kind, Vault};

/// Where a sealed value lives; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    /// The row's identifier.
    pub(crate) row: &'a str,
}

impl<'a> Place<'a> {
    pub(crate) fn new(table: &'static str, column: &'static str, row: &'a str) -> Self {
        Self { table, column, row }
    }

    /// Unambiguous: names and identifiers hold no zero byte.
    fn associated_data(&self) -> Vec<u8> {
        [self.table, self.column, self.row].join("\0").into_bytes()
    }
}

/// Why a value or key could not be sealed or opened. Texts never carry a value or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The store needs a key-encryption key that is not at hand (trust.md §7, faults 33 and 34).
    #[error(
        "the key-encryption key `{0}` is missing, and data keys of the store are wrapped by it: put it back into [keys]"
    )]
    Missing(String),
    /// A key of this name is there, but it is another key.
    #[error(
        "the key-encryption key `{0}` is not the one that wrapped the store's data keys: restore the right key file"
    )]
    Wrong(String),
    /// What names the key that wrapped a data key is not what was written: another one of the ring unwraps it.
    #[error(
        "a data key of the store names another key-encryption key than the one that wrapped it: its row is damaged"
    )]
    Misnamed,
    /// The keys cannot be read.
    #[error("the key-encryption keys cannot be had: {0}")]
    Source(#[from] RingError),
    /// The library or the machine's randomness failed.
    #[error("nothing can be sealed: the cryptographic library failed")]
    Library,
    /// The value is not what was sealed there under this key.
    #[error("a sealed value does not open")]
    DoesNotOpen,
}

/// Redacts whatever is wrapped.
struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}
