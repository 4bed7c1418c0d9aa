//! Cosignatures: a witness's timestamped statement that a checkpoint is the largest that it has seen of a log, and
//! grows out of those before (C2SP tlog-cosignature, Ed25519: `cosignature/v1`).

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::checkpoint::Checkpoint;
use crate::note::{
    KeyError, NoteError, SECRET_PREFIX, SIGNATURE_PREFIX, is_key_name, key_id, parts_of_key, parts_of_note,
    parts_of_signature, secret_text,
};

/// The signature type of Ed25519 cosignatures.
const COSIGNATURE_TYPE: u8 = 0x04;
/// A timestamp, and an Ed25519 signature.
const TIMED_SIGNATURE_BYTES: usize = 8 + 64;

/// A witness's secret key with its name. `Debug` shows only what is public. It signs no log's checkpoints: the domains
/// of both kinds of signature are apart, and so must the keys be.
pub struct CosigningKey {
    pair: Ed25519KeyPair,
    public: WitnessKey,
}

/// What verifies a witness's cosignatures. `Display` writes, and [`WitnessKey::from_text`] reads, `name+keyid+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// What a witness has stated about a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The checkpoint under the cosignature.
    pub checkpoint: Checkpoint,
    /// When, in seconds since 1970 by the witness's clock.
    pub seconds: u64,
}

impl CosigningKey {
    /// Makes a new key of this name from the operating system's randomness.
    ///
    /// # Errors
    /// When the name cannot name a key or no randomness is to be had.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        Self::from_pair(name, Ed25519KeyPair::generate().map_err(|_| KeyError::Library)?)
    }

    /// Reads the secret text that [`CosigningKey::to_secret_text`] wrote; one newline at the end is allowed.
    ///
    /// # Errors
    /// When the text is no such key or its parts do not belong together.
    pub fn from_secret_text(text: &str) -> Result<Self, KeyError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let rest = text.strip_prefix(SECRET_PREFIX).ok_or(KeyError::Form)?;
        let (name, id, key) = parts_of_key(rest, COSIGNATURE_TYPE)?;
        let seed = Zeroizing::new(key);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| KeyError::Library)?;
        let key = Self::from_pair(name, pair)?;
        if key.public.id == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// The key as text, `PRIVATE+KEY+name+keyid+base64`.
    ///
    /// # Errors
    /// When the cryptographic library does not hand out the seed.
    pub fn to_secret_text(&self) -> Result<Zeroizing<String>, KeyError> {
        secret_text(&self.pair, &self.public.name, self.public.id, COSIGNATURE_TYPE)
    }

    /// The public half.
    pub fn witness_key(&self) -> &WitnessKey {
        &self.public
    }

    /// The signature line, newline included, that states that this is the largest checkpoint seen at this time (seconds
    /// since 1970). The caller has judged it ([`crate::judge`]) and made that durable before it hands the line out.
    ///
    /// # Errors
    /// When the library fails, or the time is one that no verifier takes.
    pub fn cosign(&self, checkpoint: &Checkpoint, seconds: u64) -> Result<String, NoteError> {
        if i64::try_from(seconds).is_err() {
            return Err(NoteError::Form);
        }
        let message = message(&checkpoint.to_text(), seconds);
        let signature = self.pair.try_sign(message.as_bytes()).map_err(|_| NoteError::Library)?;
        let WitnessKey { name, id, .. } = &self.public;
        let encoded = STANDARD.encode([&id[..], &seconds.to_be_bytes(), signature.as_ref()].concat());
        Ok(format!("{SIGNATURE_PREFIX}{name} {encoded}\n"))
    }

    fn from_pair(name: &str, pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Library)?;
        let public = WitnessKey::new(name, public)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for CosigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CosigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl WitnessKey {
    /// The key of this name and public half.
    ///
    /// # Errors
    /// When the name cannot name a key.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, COSIGNATURE_TYPE, &public), public })
    }

    /// Reads the form that `Display` writes.
    ///
    /// # Errors
    /// When the text is no such key or its parts do not belong together.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = parts_of_key(text, COSIGNATURE_TYPE)?;
        let key = Self::new(name, public)?;
        if key.id == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What this witness states in a note; `None` when it says nothing there. The log's own signature is checked by
    /// [`crate::VerifyingKey::open`], not here.
    ///
    /// # Errors
    /// When the note is malformed, or a line claims to be this witness's and is not.
    pub fn open(&self, note: &str) -> Result<Option<Cosigned>, NoteError> {
        let (text, signatures) = parts_of_note(note)?;
        let verifier = UnparsedPublicKey::new(&ED25519, &self.public);
        let mut newest: Option<u64> = None;
        for line in signatures.split('\n') {
            let (name, id, timed) = parts_of_signature(line).ok_or(NoteError::Form)?;
            if name != self.name || id != self.id {
                continue;
            }
            if timed.len() != TIMED_SIGNATURE_BYTES {
                return Err(NoteError::BadSignature);
            }
            let (seconds, signature) = timed.split_first_chunk::<8>().ok_or(NoteError::BadSignature)?;
            let seconds = u64::from_be_bytes(*seconds);
            let fits =
                i64::try_from(seconds).is_ok() && verifier.verify(message(text, seconds).as_bytes(), signature).is_ok();
            if !fits {
                return Err(NoteError::BadSignature);
            }
            newest = newest.max(Some(seconds));
        }
        let Some(seconds) = newest else { return Ok(None) };
        Ok(Some(Cosigned { checkpoint: Checkpoint::from_text(text)?, seconds }))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = STANDARD.encode([&[COSIGNATURE_TYPE][..], &self.public].concat());
        write!(formatter, "{}+{:08x}+{encoded}", self.name, u32::from_be_bytes(self.id))
    }
}

/// A note with further signature lines, each ended by a newline.
pub fn with_cosignatures<'l>(note: &str, lines: impl IntoIterator<Item = &'l str>) -> String {
    lines.into_iter().fold(note.to_owned(), |whole, line| whole + line)
}

/// What is signed: two lines of our own domain before the note's text.
fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{SigningKey, Tree, leaf_hash};

    /// The example of tlog-cosignature: its witness's line, and the log's own under a text of three lines.
    const PUBLISHED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
         \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
         \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn signed() -> (CosigningKey, Checkpoint, String) {
        let log = SigningKey::generate("onward/R9Z").unwrap();
        let mut tree = Tree::new();
        tree.push(leaf_hash(b"entry"));
        let checkpoint = Checkpoint::of_tree("onward/R9Z", &tree).unwrap();
        let note = log.sign(&checkpoint).unwrap();
        (CosigningKey::generate("witness.example/w1").unwrap(), checkpoint, note)
    }

    #[test]
    fn the_published_line_has_the_form_that_is_read_here() {
        let (_, lines) = parts_of_note(PUBLISHED).unwrap();
        let (name, id, timed) = parts_of_signature(lines.split('\n').nth(1).unwrap()).unwrap();
        assert_eq!((name, hex::encode(id)), ("witness.example.com/w1", "8d66cf3f".to_owned()));
        assert_eq!(timed.len(), TIMED_SIGNATURE_BYTES);
        assert_eq!(
            u64::from_be_bytes(timed[..8].try_into().unwrap()),
            1_679_315_147,
            "the time that the example shows"
        );
    }

    #[test]
    fn what_is_cosigned_is_as_the_specification_writes_it() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(message(text, 1_679_315_147), format!("cosignature/v1\ntime 1679315147\n{text}"));
    }

    #[test]
    fn a_cosignature_is_told_with_its_time_and_does_not_disturb_the_log() {
        let (witness, checkpoint, note) = signed();
        assert_eq!(witness.witness_key().open(&note), Ok(None));
        let whole = with_cosignatures(&note, [witness.cosign(&checkpoint, 1_795_000_000).unwrap().as_str()]);
        let stated = witness.witness_key().open(&whole).unwrap().expect("cosigned");
        assert_eq!(stated, Cosigned { checkpoint: checkpoint.clone(), seconds: 1_795_000_000 });
        let again = with_cosignatures(&whole, [witness.cosign(&checkpoint, 1_795_000_009).unwrap().as_str()]);
        assert_eq!(witness.witness_key().open(&again).unwrap().expect("cosigned").seconds, 1_795_000_009);
        let other = CosigningKey::generate("witness.example/w1").unwrap();
        assert_eq!(other.witness_key().open(&whole), Ok(None), "another key of the same name");
        assert_eq!(witness.cosign(&checkpoint, u64::MAX), Err(NoteError::Form));
    }

    #[test]
    fn a_key_survives_its_text_and_is_no_log_key() {
        let key = CosigningKey::generate("witness.example/w1").unwrap();
        let public = key.witness_key().to_string();
        assert_eq!(&WitnessKey::from_text(&public).unwrap(), key.witness_key());
        let again = CosigningKey::from_secret_text(&key.to_secret_text().unwrap()).unwrap();
        assert_eq!(again.witness_key(), key.witness_key());
        assert!(crate::VerifyingKey::from_text(&public).is_err());
        assert!(SigningKey::from_secret_text(&key.to_secret_text().unwrap()).is_err());
        assert_eq!(WitnessKey::from_text(&public.replace("/w1", "/w2")), Err(KeyError::Id));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    proptest! {
        #[test]
        fn no_changed_byte_is_still_cosigned(at in any::<prop::sample::Index>(), bit in 0_u32..7) {
            let (witness, checkpoint, note) = signed();
            let whole = with_cosignatures(&note, [witness.cosign(&checkpoint, 1_795_000_000).unwrap().as_str()]);
            let mut bytes = whole.clone().into_bytes();
            // Not the log's own signature line: that one is checked by the log's key.
            let own = whole.find('\u{2014}').unwrap();
            let line = own + whole[own..].find('\n').unwrap();
            let at = at.index(bytes.len());
            prop_assume!(at < own.saturating_sub(1) || at > line);
            bytes[at] ^= 1 << bit;
            let stated = String::from_utf8(bytes).ok().and_then(|text| witness.witness_key().open(&text).ok().flatten());
            prop_assert_eq!(stated, None);
        }
    }
}
