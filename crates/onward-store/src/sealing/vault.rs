//! Data keys as rows: made, wrapped, unwrapped. An engine reads and writes the rows; what they mean is here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use onward_core::{NhsNumber, TransferId};
use uuid::Uuid;

use super::cipher::{DataKey, KeyId, Secret, fresh};
use super::{KeyEncryption, KeyFault, Place, Redacted};

/// What a data key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Hashing names for searches. One in a store, for ever.
    Index,
    /// What concerns no person. One in a store, for ever.
    Gateway,
    /// One person.
    Person,
    /// A transfer whose person is not known.
    Transfer,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Gateway => "gateway",
            Self::Person => "person",
            Self::Transfer => "transfer",
        }
    }
}

/// A data key as it is kept: `data_keys`.
#[derive(Clone)]
pub(crate) struct DataKeyRow {
    pub(crate) id: KeyId,
    pub(crate) kek: String,
    /// `None` once it is destroyed.
    pub(crate) wrapped: Option<Vec<u8>>,
}

/// The keys of an open store: those that wrap, and the one that hashes.
pub(crate) struct Vault {
    encryption: Arc<dyn KeyEncryption>,
    index: hmac::Key,
    gateway: KeyId,
}

impl Vault {
    /// The two rows that every store begins with: index and gateway.
    pub(crate) fn beginning(encryption: &dyn KeyEncryption) -> Result<[DataKeyRow; 2], KeyFault> {
        Ok([new_row(encryption)?.0, new_row(encryption)?.0])
    }

    /// Opens the store's keys with its two first rows.
    ///
    /// # Errors
    /// When the key-encryption key is missing or another one.
    pub(crate) fn open(
        encryption: Arc<dyn KeyEncryption>,
        index: &DataKeyRow,
        gateway: &DataKeyRow,
    ) -> Result<Self, KeyFault> {
        let index = unwrapped(encryption.as_ref(), index)?.ok_or(KeyFault::DoesNotOpen)?;
        unwrapped(encryption.as_ref(), gateway)?.ok_or(KeyFault::DoesNotOpen)?;
        let index = hmac::Key::new(hmac::HMAC_SHA256, index.as_slice());
        Ok(Self { encryption, index, gateway: gateway.id })
    }

    /// The data key of what concerns no person.
    pub(crate) fn gateway(&self) -> KeyId {
        self.gateway
    }

    /// By what a person is found: HMAC-SHA-256 of the number, hexadecimal. A plain hash of a number of ten digits is no
    /// secret.
    pub(crate) fn index(&self, number: &NhsNumber) -> String {
        hex::encode(self.digest("nhs-number", number.expose().as_bytes()))
    }

    /// The keyed form of a digest of content: equal contents are found, guessed ones are not confirmed.
    pub(crate) fn keyed(&self, digest: &[u8; 32]) -> [u8; 32] {
        self.digest("content", digest)
    }

    /// By what a part of a transfer's copies is found. Another one in another transfer, so that it does not tell that two people were sent the
    /// same; their lengths may.
    pub(crate) fn part(&self, transfer: TransferId, content: &[u8]) -> [u8; 32] {
        self.digest(&format!("part of {transfer}"), content)
    }

    fn digest(&self, what: &str, value: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.index);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(value);
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// A new data key and its row.
    pub(crate) fn new_key(&self) -> Result<(DataKeyRow, DataKey), KeyFault> {
        let (row, secret) = new_row(self.encryption.as_ref())?;
        let key = DataKey::new(row.id, &secret)?;
        Ok((row, key))
    }

    /// The data key of a row; `None` when it was destroyed.
    pub(crate) fn unwrap(&self, row: &DataKeyRow) -> Result<Option<DataKey>, KeyFault> {
        unwrapped(self.encryption.as_ref(), row)?.map(|secret| DataKey::new(row.id, &secret)).transpose()
    }

    /// That the key-encryption key of a row is there, and is the right one. A row whose name of it is damaged depends on none by that name.
    pub(crate) fn stands_by(&self, row: &DataKeyRow) -> Result<(), KeyFault> {
        match self.unwrap(row) {
            Err(KeyFault::Misnamed) => {
                tracing::error!(id = %row.id, place = "data_keys.kek", "a data key of the store is damaged");
                Ok(())
            }
            unwrapped => unwrapped.map(drop),
        }
    }

    /// The row under the current key-encryption key; `None` when it is destroyed. One that is damaged stays so, with a word in the log. One whose name of the key
    /// that wrapped it is damaged is whole again by that: whoever retires that key must not lose it.
    pub(crate) fn rewrapped(&self, row: &DataKeyRow) -> Result<Option<DataKeyRow>, KeyFault> {
        let secret = match unwrapped(self.encryption.as_ref(), row) {
            Err(KeyFault::Misnamed) => {
                tracing::error!(id = %row.id, place = "data_keys.kek", "a data key of the store was damaged, and is wrapped anew");
                row.wrapped.as_deref().and_then(|wrapped| self.encryption.unwrap_by_any(&name(row.id), wrapped))
            }
            Err(fault @ KeyFault::Wrong(_)) => {
                tracing::error!(id = %row.id, %fault, "a data key of the store is damaged, and stays so");
                // Under the current key's name, so that none that is retired is asked for on its account.
                return Ok(Some(DataKeyRow { kek: self.encryption.current()?, ..row.clone() }));
            }
            secret => secret?,
        };
        let Some(secret) = secret else { return Ok(None) };
        let (kek, wrapped) = self.encryption.wrap(&name(row.id), &secret)?;
        Ok(Some(DataKeyRow { id: row.id, kek, wrapped: Some(wrapped) }))
    }

    /// The name of the key that wraps from now on.
    pub(crate) fn current(&self) -> Result<String, KeyFault> {
        self.encryption.current()
    }

    /// A person's number, sealed beside the person's data key.
    pub(crate) fn sealed_number(key: &DataKey, id: KeyId, number: &NhsNumber) -> Result<Vec<u8>, KeyFault> {
        key.seal(Place::new("data_keys", "number", &id.to_string()), number.expose().as_bytes())
    }

    /// Reads it back, and that it is the number by which the row is found.
    pub(crate) fn number(&self, key: &DataKey, id: KeyId, sealed: &[u8], index: &str) -> Option<NhsNumber> {
        let plain = key.open(Place::new("data_keys", "number", &id.to_string()), sealed).ok()?;
        let number: NhsNumber = std::str::from_utf8(&plain).ok()?.parse().ok()?;
        (self.index(&number) == index).then_some(number)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("keys", &Redacted).finish()
    }
}

/// What is authenticated with a wrapped key: it unwraps as itself only.
fn name(id: KeyId) -> Vec<u8> {
    format!("data_keys\0wrapped\0{id}").into_bytes()
}

fn new_row(encryption: &dyn KeyEncryption) -> Result<(DataKeyRow, Secret), KeyFault> {
    let secret = fresh()?;
    let id = KeyId(Uuid::new_v4());
    let (kek, wrapped) = encryption.wrap(&name(id), &secret)?;
    Ok((DataKeyRow { id, kek, wrapped: Some(wrapped) }, secret))
}

fn unwrapped(encryption: &dyn KeyEncryption, row: &DataKeyRow) -> Result<Option<Secret>, KeyFault> {
    let Some(wrapped) = &row.wrapped else { return Ok(None) };
    encryption.unwrap(&row.kek, &name(row.id), wrapped).map(Some)
}
