//! AES-256-GCM over one value. The library makes every nonce; nobody else can give one.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::packing::{pack_behind, unpack};
use super::{KeyFault, Place, Redacted};

/// The form of sealed values: version, data key, nonce, ciphertext, tag.
const PLAIN: u8 = 1;
/// The same of a value that was compressed before. The version is authenticated like the rest of the head.
const PACKED: u8 = 2;
/// The same two of a text whose parts are kept elsewhere (`parting`).
const PARTED: u8 = 3;
const PARTED_AND_PACKED: u8 = 4;
const HEAD: usize = 1 + 16;
const TAG: usize = 16;

/// The name of a data key. It says nothing about whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(pub(crate) Uuid);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 256 bits that are wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// New random bits.
pub(crate) fn fresh() -> Result<Secret, KeyFault> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| KeyFault::Library)?;
    Ok(bytes)
}

/// An AES-256-GCM key that makes its own nonces.
pub(crate) struct Cipher(RandomizedNonceKey);

impl Cipher {
    pub(crate) fn new(secret: &Secret) -> Result<Self, KeyFault> {
        RandomizedNonceKey::new(&AES_256_GCM, secret.as_slice()).map(Self).map_err(|_| KeyFault::Library)
    }

    /// `head`, nonce, ciphertext and tag; the head is authenticated with the associated data.
    pub(crate) fn seal(&self, head: &[u8], associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let mut sealed = Vec::with_capacity(head.len() + NONCE_LEN + plain.len() + TAG);
        sealed.extend_from_slice(head);
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(plain);
        self.seal_in_place(head.len(), associated, sealed)
    }

    /// The same where it stands: behind a head of this length and room for the nonce.
    fn seal_in_place(&self, head: usize, associated: &[u8], mut sealed: Vec<u8>) -> Result<Vec<u8>, KeyFault> {
        let (front, body) = sealed.split_at_mut(head + NONCE_LEN);
        let (head, room) = front.split_at_mut(head);
        let aad = Aad::from([&*head, associated].concat());
        let (nonce, tag) = self.0.seal_in_place_separate_tag(aad, body).map_err(|_| KeyFault::Library)?;
        room.copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// What was sealed behind a head of this length.
    pub(crate) fn open(&self, head: usize, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let (head, rest) = sealed.split_at_checked(head).ok_or(KeyFault::DoesNotOpen)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(KeyFault::DoesNotOpen)?;
        let mut body = Zeroizing::new(body.to_vec());
        let aad = Aad::from([head, associated].concat());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, aad, &mut body).map_err(|_| KeyFault::DoesNotOpen)?.len();
        body.truncate(length);
        Ok(body)
    }
}

/// A value made ready to be sealed under whichever key: compressed where that makes it smaller.
pub(crate) struct Packed {
    behind_room: Vec<u8>,
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.behind_room.zeroize();
    }
}

impl Packed {
    pub(crate) fn of(plain: &[u8]) -> Self {
        Self::as_either(PLAIN, PACKED, plain)
    }

    /// Of what is left of a text whose parts were taken out.
    pub(crate) fn of_rest(rest: &[u8]) -> Self {
        Self::as_either(PARTED, PARTED_AND_PACKED, rest)
    }

    fn as_either(as_it_is: u8, packed: u8, plain: &[u8]) -> Self {
        let mut room = [0; HEAD + NONCE_LEN];
        room[0] = packed;
        let behind_room = pack_behind(&room, plain, TAG).unwrap_or_else(|| {
            room[0] = as_it_is;
            let mut value = Vec::with_capacity(room.len() + plain.len() + TAG);
            value.extend_from_slice(&room);
            value.extend_from_slice(plain);
            value
        });
        Self { behind_room }
    }

    /// How many there are to be sealed.
    pub(crate) fn bytes(&self) -> usize {
        self.behind_room.len()
    }
}

/// A data key, unwrapped for as long as one business transaction lasts.
pub(crate) struct DataKey {
    id: KeyId,
    cipher: Cipher,
}

impl DataKey {
    pub(crate) fn new(id: KeyId, secret: &Secret) -> Result<Self, KeyFault> {
        Ok(Self { id, cipher: Cipher::new(secret)? })
    }

    /// The value, sealed for its place; compressed where that makes it smaller.
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyFault> {
        self.seal_in_place(place, std::mem::take(&mut Packed::of(plain).behind_room))
    }

    /// The same of what was made ready before.
    pub(crate) fn seal_packed(&self, place: Place<'_>, packed: &Packed) -> Result<Vec<u8>, KeyFault> {
        let mut own = Vec::with_capacity(packed.behind_room.len() + TAG);
        own.extend_from_slice(&packed.behind_room);
        self.seal_in_place(place, own)
    }

    /// Of what stands behind room for head and nonce, with its form in the first byte.
    fn seal_in_place(&self, place: Place<'_>, mut value: Vec<u8>) -> Result<Vec<u8>, KeyFault> {
        value[1..HEAD].copy_from_slice(self.id.0.as_bytes());
        self.cipher.seal_in_place(HEAD, &place.associated_data(), value)
    }

    /// The value that was sealed for this place; of a text whose parts were taken out ([`is_parted`]) what is left of it.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyFault> {
        if key_of(sealed) != Some(self.id) {
            return Err(KeyFault::DoesNotOpen);
        }
        let mut value = self.cipher.open(HEAD, &place.associated_data(), sealed)?;
        match sealed.first() {
            Some(&PACKED | &PARTED_AND_PACKED) => unpack(&value).ok_or(KeyFault::DoesNotOpen),
            _ => Ok(std::mem::take(&mut *value)),
        }
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).field("key", &Redacted).finish()
    }
}

/// The data key under which a value is sealed; `None` when it is no sealed value.
pub(crate) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    let (head, rest) = sealed.split_at_checked(HEAD)?;
    let id = Uuid::from_slice(head.get(1..)?).ok()?;
    (matches!(head[0], PLAIN | PACKED | PARTED | PARTED_AND_PACKED) && rest.len() >= NONCE_LEN + TAG)
        .then_some(KeyId(id))
}

/// Whether parts were taken out of what is sealed.
pub(crate) fn is_parted(sealed: &[u8]) -> bool {
    matches!(sealed.first(), Some(&PARTED | &PARTED_AND_PACKED))
}

/// The data key of a sealed value in a column of text.
pub(crate) fn key_of_text(sealed: &str) -> Option<KeyId> {
    key_of(&STANDARD.decode(sealed).ok()?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key() -> DataKey {
        DataKey::new(KeyId(Uuid::new_v4()), &fresh().expect("randomness")).expect("a key")
    }

    fn at(row: &str) -> Place<'_> {
        Place::new("message_bodies", "body", row)
    }

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let key = key();
        let sealed = key.seal(at("a"), b"what was sent").expect("sealed");
        assert!(!sealed.windows(4).any(|part| part == b"what"));
        assert_eq!(key.open(at("a"), &sealed).as_deref(), Ok(b"what was sent".as_slice()));
        for elsewhere in
            [at("b"), Place::new("message_bodies", "html", "a"), Place::new("rendition_bodies", "body", "a")]
        {
            assert_eq!(key.open(elsewhere, &sealed), Err(KeyFault::DoesNotOpen), "{elsewhere:?}");
        }
        let other = DataKey::new(key.id, &fresh().expect("randomness")).expect("a key");
        assert_eq!(other.open(at("a"), &sealed), Err(KeyFault::DoesNotOpen), "another key of the same name");
        assert_eq!(key.open(at("a"), b"short"), Err(KeyFault::DoesNotOpen));
        assert_eq!(key.open(at("a"), &[]), Err(KeyFault::DoesNotOpen));
    }

    #[test]
    fn a_compressed_value_is_smaller_and_opens_as_it_was() {
        let key = key();
        let plain = "what was sent, ".repeat(1000);
        let sealed = key.seal(at("a"), plain.as_bytes()).expect("sealed");
        assert_eq!(sealed[0], PACKED);
        assert!(sealed.len() < plain.len() / 10, "{}", sealed.len());
        assert_eq!(key_of(&sealed), Some(key.id));
        assert_eq!(key.open(at("a"), &sealed).as_deref(), Ok(plain.as_bytes()));
        assert_eq!(key.open(at("b"), &sealed), Err(KeyFault::DoesNotOpen));
        let mut as_it_is = sealed.clone();
        as_it_is[0] = PLAIN;
        assert_eq!(key.open(at("a"), &as_it_is), Err(KeyFault::DoesNotOpen), "the form is authenticated");
    }

    #[test]
    fn values_sealed_before_they_were_compressed_open() {
        let key = key();
        let plain = b"what was sent, ".repeat(1000);
        let mut head = [PLAIN; HEAD];
        head[1..].copy_from_slice(key.id.0.as_bytes());
        let sealed = key.cipher.seal(&head, &at("a").associated_data(), &plain).expect("sealed");
        assert_eq!(key.open(at("a"), &sealed), Ok(plain));
    }

    #[test]
    fn no_changed_bit_opens() {
        let key = key();
        let sealed = key.seal(at("a"), b"what was sent").expect("sealed");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(at("a"), &changed), Err(KeyFault::DoesNotOpen), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(key.open(at("a"), &sealed[..cut]), Err(KeyFault::DoesNotOpen), "cut to {cut}");
        }
    }

    #[test]
    fn no_nonce_is_used_twice() {
        let key = key();
        let count = 100_000;
        let nonces: HashSet<[u8; NONCE_LEN]> = (0..count)
            .map(|_| {
                let sealed = key.seal(at("a"), b"").expect("sealed");
                *sealed[HEAD..].first_chunk().expect("a nonce")
            })
            .collect();
        assert_eq!(nonces.len(), count);
        assert!(!nonces.contains(&[0; NONCE_LEN]), "the library wrote one each time");
    }

    #[test]
    fn keys_print_redacted() {
        assert!(format!("{:?}", key()).ends_with("key: redacted }"));
    }
}
