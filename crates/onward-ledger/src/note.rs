//! Signed notes: the key that signs checkpoints, the key that others verify with, and the lines that carry the
//! signatures (C2SP signed-note, Ed25519 only; secret keys in the text form of Go's `sumdb/note`).

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::sha256;

/// The signature type of plain Ed25519.
const ED25519_TYPE: u8 = 0x01;
pub(crate) const SECRET_PREFIX: &str = "PRIVATE+KEY+";
pub(crate) const SIGNATURE_PREFIX: &str = "\u{2014} ";
/// Room for the checkpoint, 16 post-quantum signatures of 5 kB, which every verifier must accept, and some more.
const NOTE_BYTES_MAX: usize = 256 * 1024;

/// The log's secret key with its name. `Debug` shows only what is public.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// What verifies a log's signatures: the key's name, which is the log's origin, and its public half. `Display` writes,
/// and [`VerifyingKey::from_text`] reads, the form `name+keyid+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// Why a key cannot be made or read. Never holds any part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is empty or has a character that signed-note forbids.
    #[error("the key's name is empty or holds spaces, control characters or a plus sign")]
    Name,
    /// The text does not have the parts of a key.
    #[error("this is no Ed25519 key in signed-note form")]
    Form,
    /// The key id does not follow from the name and the public key: one of them was altered.
    #[error("the key id does not belong to this name and key")]
    Id,
    /// Keys of several logs, where those of one are expected.
    #[error("the keys have different names: they belong to different logs")]
    Names,
    /// The cryptographic library failed.
    #[error("the cryptographic library refused the key")]
    Library,
}

/// Why a note is not this log's checkpoint, or cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The note has no text and signatures of the form in signed-note.
    #[error("this is not a signed note")]
    Form,
    /// The note exceeds what any honest log and its witnesses write.
    #[error("the note is longer than {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// No line is signed by this key.
    #[error("the note is not signed by this key")]
    NotSigned,
    /// Only a retired key signed it, and that one was retired when the log was smaller.
    #[error("the note is signed only by a key that had been retired before")]
    Retired,
    /// A line claims to be signed by this key and is not.
    #[error("the signature does not fit the text")]
    BadSignature,
    /// The checkpoint names another log than the key.
    #[error("the checkpoint belongs to another log")]
    OtherLog,
    /// The signed text is no checkpoint.
    #[error("the note holds no checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The cryptographic library failed.
    #[error("the cryptographic library could not sign")]
    Library,
}

impl SigningKey {
    /// Makes a new key for the log of this name from the operating system's randomness.
    ///
    /// # Errors
    /// When the name cannot name a key or no randomness is to be had.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        Self::from_pair(name, Ed25519KeyPair::generate().map_err(|_| KeyError::Library)?)
    }

    /// Reads the secret text that [`SigningKey::to_secret_text`] wrote; one newline at the end of a key file is allowed.
    ///
    /// # Errors
    /// When the text is no such key or its parts do not belong together.
    pub fn from_secret_text(text: &str) -> Result<Self, KeyError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let rest = text.strip_prefix(SECRET_PREFIX).ok_or(KeyError::Form)?;
        let (name, id, key) = parts_of_key(rest, ED25519_TYPE)?;
        let seed = Zeroizing::new(key);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| KeyError::Library)?;
        let key = Self::from_pair(name, pair)?;
        if key.public.id == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// The key as text, `PRIVATE+KEY+name+keyid+base64`. Whoever has it can sign any history: keep it apart from the
    /// database that holds the log.
    ///
    /// # Errors
    /// When the cryptographic library does not hand out the seed.
    pub fn to_secret_text(&self) -> Result<Zeroizing<String>, KeyError> {
        secret_text(&self.pair, &self.public.name, self.public.id, ED25519_TYPE)
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs a checkpoint and returns the note. The caller sees to it that no two checkpoints of this key contradict each
    /// other (tlog-checkpoint, "Signatures"): one sequencer, and a head that moves by compare-and-swap.
    ///
    /// # Errors
    /// When the checkpoint belongs to another log than the key, or signing fails.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<String, NoteError> {
        if checkpoint.origin != self.public.name {
            return Err(NoteError::OtherLog);
        }
        self.sign_text(&checkpoint.to_text())
    }

    /// Signs a statement that is no checkpoint, such as the list of files of an archive. The text is one or more lines, none
    /// of them empty, each ended by a newline.
    ///
    /// # Errors
    /// When the text has another form, or could be taken for a checkpoint: one key must not say two things in one voice.
    pub fn sign_statement(&self, text: &str) -> Result<String, NoteError> {
        let lines = text.strip_suffix('\n').ok_or(NoteError::Form)?;
        let whole = lines.split('\n').all(|line| !line.is_empty() && !line.bytes().any(|byte| byte < 0x20));
        if !whole || Checkpoint::from_text(text).is_ok() {
            return Err(NoteError::Form);
        }
        self.sign_text(text)
    }

    fn sign_text(&self, text: &str) -> Result<String, NoteError> {
        let signature = self.pair.try_sign(text.as_bytes()).map_err(|_| NoteError::Library)?;
        let VerifyingKey { name, id, .. } = &self.public;
        let encoded = STANDARD.encode([&id[..], signature.as_ref()].concat());
        Ok(format!("{text}\n{SIGNATURE_PREFIX}{name} {encoded}\n"))
    }

    fn from_pair(name: &str, pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Library)?;
        let public = VerifyingKey::new(name, public)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// The key of this name and public half.
    ///
    /// # Errors
    /// When the name cannot name a key.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, ED25519_TYPE, &public), public })
    }

    /// Reads the form that `Display` writes.
    ///
    /// # Errors
    /// When the text is no such key or its parts do not belong together.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = parts_of_key(text, ED25519_TYPE)?;
        let key = Self::new(name, public)?;
        if key.id == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// The key's name, which is the origin of the log that it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Checks a note's signature by this key and returns the checkpoint that it vouches for. Signatures of other keys,
    /// such as witnesses, are passed over.
    ///
    /// # Errors
    /// When the note is malformed, is not signed by this key, was altered, or speaks for another log.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let text = self.verified_text(note)?;
        let checkpoint = Checkpoint::from_text(text)?;
        if checkpoint.origin == self.name { Ok(checkpoint) } else { Err(NoteError::OtherLog) }
    }

    /// Checks a note's signature by this key and returns the text that it stands under.
    ///
    /// # Errors
    /// When the note is malformed, is not signed by this key, or was altered.
    pub fn verified_text<'note>(&self, note: &'note str) -> Result<&'note str, NoteError> {
        let (text, signatures) = parts_of_note(note)?;
        let verifier = UnparsedPublicKey::new(&ED25519, &self.public);
        let mut signed = false;
        for line in signatures.split('\n') {
            let (name, id, signature) = parts_of_signature(line).ok_or(NoteError::Form)?;
            if name == self.name && id == self.id {
                verifier.verify(text.as_bytes(), &signature).map_err(|_| NoteError::BadSignature)?;
                signed = true;
            }
        }
        if signed { Ok(text) } else { Err(NoteError::NotSigned) }
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = STANDARD.encode([&[ED25519_TYPE][..], &self.public].concat());
        write!(formatter, "{}+{:08x}+{encoded}", self.name, u32::from_be_bytes(self.id))
    }
}

/// Whether signed-note allows this name for a key (section "Format").
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|letter| letter.is_whitespace() || letter == '+' || letter < ' ')
}

/// The text of a note and its signature lines, without the last newline of these.
pub(crate) fn parts_of_note(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLong);
    }
    if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(NoteError::Form);
    }
    // The last empty line separates; the text keeps its own final newline.
    let separator = note.rfind("\n\n").ok_or(NoteError::Form)?;
    let (text, signatures) = (&note[..=separator], &note[separator + 2..]);
    Ok((text, signatures.strip_suffix('\n').ok_or(NoteError::Form)?))
}

/// The id of a key of this name and signature type.
pub(crate) fn key_id(name: &str, kind: u8, public: &[u8; 32]) -> [u8; 4] {
    let digest = sha256(&[name.as_bytes(), b"\n", &[kind], public]);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A secret key of this signature type as text.
pub(crate) fn secret_text(
    pair: &Ed25519KeyPair,
    name: &str,
    id: [u8; 4],
    kind: u8,
) -> Result<Zeroizing<String>, KeyError> {
    let seed = pair.seed().map_err(|_| KeyError::Library)?;
    let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::Library)?;
    let mut typed = Zeroizing::new(vec![kind]);
    typed.extend_from_slice(seed.as_ref());
    let encoded = Zeroizing::new(STANDARD.encode(&typed[..]));
    let id = u32::from_be_bytes(id);
    Ok(Zeroizing::new(format!("{SECRET_PREFIX}{name}+{id:08x}+{}", *encoded)))
}

/// Name, id and 32 key bytes of `name+keyid+base64`. The base64 may itself hold plus signs; a name may not.
pub(crate) fn parts_of_key(text: &str, expected: u8) -> Result<(&str, [u8; 4], [u8; 32]), KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Form)?;
    let (id, encoded) = rest.split_once('+').ok_or(KeyError::Form)?;
    let number = u32::from_str_radix(id, 16).map_err(|_| KeyError::Form)?;
    // Lower case, eight digits, no sign: exactly one text for each key.
    if format!("{number:08x}") != id {
        return Err(KeyError::Form);
    }
    let typed = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| KeyError::Form)?);
    let (&kind, key) = typed.split_first().ok_or(KeyError::Form)?;
    if kind != expected {
        return Err(KeyError::Form);
    }
    Ok((name, number.to_be_bytes(), key.try_into().map_err(|_| KeyError::Form)?))
}

/// Name, key id and signature of a signature line.
pub(crate) fn parts_of_signature(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    if !is_key_name(name) {
        return None;
    }
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    if signature.is_empty() { None } else { Some((name, *id, signature.to_vec())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Tree;

    // Published key, text and signature of Go's golang.org/x/mod/sumdb/note: a different implementation.
    const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const LINE: &str =
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const WITNESS_LINE: &str =
        "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

    const ORIGIN: &str = "onward.example/audit";

    fn signed() -> (SigningKey, Checkpoint, String) {
        let key = SigningKey::generate(ORIGIN).unwrap();
        let mut tree = Tree::new();
        tree.push(crate::leaf_hash(b"entry"));
        let checkpoint = Checkpoint::of_tree(ORIGIN, &tree).unwrap();
        let note = key.sign(&checkpoint).unwrap();
        (key, checkpoint, note)
    }

    #[test]
    fn a_statement_is_signed_and_never_taken_for_a_checkpoint() {
        let (key, checkpoint, _) = signed();
        let statement = "list of files v1\nab  index.html\n";
        let note = key.sign_statement(statement).unwrap();
        assert_eq!(key.verifying_key().verified_text(&note), Ok(statement));
        assert!(key.verifying_key().open(&note).is_err());
        for text in [checkpoint.to_text().as_str(), "", "a", "a\n\nb\n", "\n", "a\rb\n"] {
            assert_eq!(key.sign_statement(text), Err(NoteError::Form), "{text:?}");
        }
    }

    #[test]
    fn the_published_note_is_signed_byte_for_byte() {
        let key = SigningKey::from_secret_text(SECRET).unwrap();
        assert_eq!(key.verifying_key().to_string(), PUBLIC);
        assert_eq!(key.to_secret_text().unwrap().as_str(), SECRET);
        assert_eq!(key.sign_text(TEXT).unwrap(), format!("{TEXT}\n{LINE}"));
    }

    #[test]
    fn the_published_note_is_verified_with_and_without_a_second_signature() {
        let key = VerifyingKey::from_text(PUBLIC).unwrap();
        for lines in [LINE.to_owned(), format!("{LINE}{WITNESS_LINE}"), format!("{WITNESS_LINE}{LINE}")] {
            assert_eq!(key.verified_text(&format!("{TEXT}\n{lines}")), Ok(TEXT));
        }
        // Genuine, but about no tree.
        assert_eq!(key.open(&format!("{TEXT}\n{LINE}")), Err(NoteError::Checkpoint(CheckpointError::Lines)),);
    }

    #[test]
    fn keys_with_any_part_missing_or_altered_are_refused() {
        for text in [SECRET, PUBLIC] {
            let read = |text: &str| {
                if text.starts_with(SECRET_PREFIX) {
                    SigningKey::from_secret_text(text).map(|_| ())
                } else {
                    VerifyingKey::from_text(text).map(|_| ())
                }
            };
            read(text).unwrap();
            for end in 0..text.len() {
                assert!(read(&text[..end]).is_err(), "cut at {end}");
            }
            let name_starts = text.find("Peter").unwrap();
            for place in name_starts..text.len() {
                let mut altered = text.as_bytes().to_vec();
                altered[place] ^= 1;
                assert!(read(std::str::from_utf8(&altered).unwrap()).is_err(), "altered at {place}");
            }
        }
        // Published refusals: a wrong length and an unknown type, each with its matching key id.
        for text in [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert_eq!(VerifyingKey::from_text(text), Err(KeyError::Form));
        }
        assert!(VerifyingKey::from_text(&PUBLIC.replace("c74f20a3", "C74F20A3")).is_err());
        assert_eq!(SigningKey::generate("two words").map(|_| ()), Err(KeyError::Name));
    }

    #[test]
    fn a_checkpoint_survives_signing_and_the_key_survives_storage() {
        let (key, checkpoint, note) = signed();
        assert_eq!(key.verifying_key().open(&note), Ok(checkpoint.clone()));
        let again = SigningKey::from_secret_text(&format!("{}\n", *key.to_secret_text().unwrap())).unwrap();
        assert_eq!(again.sign(&checkpoint).unwrap(), note);
        let public = VerifyingKey::from_text(&key.verifying_key().to_string()).unwrap();
        assert_eq!(public.open(&note), Ok(checkpoint));
        assert_eq!(public.name(), ORIGIN);
    }

    #[test]
    fn another_key_another_log_and_unsigned_text_are_refused() {
        let (key, checkpoint, note) = signed();
        let impostor = SigningKey::generate(ORIGIN).unwrap();
        assert_eq!(impostor.verifying_key().open(&note), Err(NoteError::NotSigned));
        let elsewhere = SigningKey::generate("other.example/audit").unwrap();
        assert_eq!(elsewhere.sign(&checkpoint), Err(NoteError::OtherLog));
        let foreign = elsewhere.sign_text(&checkpoint.to_text()).unwrap();
        assert_eq!(elsewhere.verifying_key().open(&foreign), Err(NoteError::OtherLog));

        let public = key.verifying_key();
        let text = checkpoint.to_text();
        let line = &note[text.len() + 1..];
        for bad in [String::new(), text.clone(), format!("{text}\n"), note.trim_end().to_owned(), format!("{note}\n")] {
            assert_eq!(public.open(&bad), Err(NoteError::Form), "{bad:?}");
        }
        assert_eq!(public.open(&format!("{text}\n- {}", &line["— ".len()..])), Err(NoteError::Form));
        assert_eq!(public.open(&note.replace('\n', "\r\n")), Err(NoteError::Form));
        assert_eq!(public.open(&format!("{text}\n{}", line.repeat(2_500))), Err(NoteError::TooLong));
        // The second line claims this key and lies: the whole note falls.
        let (.., mut blob) = parts_of_signature(line.trim_end()).unwrap();
        blob[0] ^= 1;
        let lie = STANDARD.encode([&public.id[..], &blob].concat());
        assert_eq!(public.open(&format!("{note}— {ORIGIN} {lie}\n")), Err(NoteError::BadSignature));
    }

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let key = SigningKey::from_secret_text(SECRET).unwrap();
        let shown = format!("{key:?}");
        let seed = STANDARD.decode(SECRET.rsplit_once("a3+").unwrap().1).unwrap();
        assert!(shown.contains("PeterNeumann"));
        assert!(!shown.contains(&format!("{:?}", &seed[1..]).trim_matches(['[', ']']).to_owned()));
        assert!(!shown.contains(&hex::encode(&seed[1..])));
    }

    proptest! {
        #[test]
        fn a_note_altered_in_any_bit_is_refused(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let (key, _, note) = signed();
            let mut altered = note.clone().into_bytes();
            let place = place.index(altered.len());
            altered[place] ^= 1 << bit;
            if let Ok(altered) = String::from_utf8(altered) {
                prop_assert!(key.verifying_key().open(&altered).is_err());
            }
        }

        #[test]
        fn hostile_text_never_panics(note in "(\\PC|\n|— |\\+){0,200}") {
            let key = VerifyingKey::from_text(PUBLIC).unwrap();
            prop_assert!(key.open(&note).is_err());
            let _ = VerifyingKey::from_text(&note);
            let _ = SigningKey::from_secret_text(&format!("{SECRET_PREFIX}{note}"));
        }
    }
}
