//! One entry's proof as a file that is checked offline (C2SP tlog-proof): its index, the hashes up to the root, the signed
//! checkpoint that vouches for the root, and room for the entry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Checkpoint;
use crate::hash::{ENTRY_BYTES_MAX, Hash};
use crate::log_keys::VerifyingKeys;
use crate::note::NoteError;
use crate::proof::verify_inclusion;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 entries has no longer path.
const PATH_MAX: usize = 64;
/// An entry with what it commits to, both as text in JSON.
const EXTRA_BYTES_MAX: usize = 4 * ENTRY_BYTES_MAX;

/// A `.tlog-proof` file.
#[derive(Clone, PartialEq, Eq)]
pub struct LogProof {
    /// The entry's index, from 0.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Hash>,
    /// The checkpoint note, cosignatures included, verbatim.
    pub note: String,
    /// The format's `extra` line: the entry, in a form that the log's readers agree on; none where the verifier has it from
    /// elsewhere. It is not trusted: what it says is proven only when [`LogProof::verify`] accepts its hash.
    pub extra: Option<Vec<u8>>,
}

/// A file that is no proof of the form that this log writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFormError {
    /// The first line names another format.
    #[error("the first line is not {FIRST_LINE}")]
    FirstLine,
    /// `extra` is not base64 or longer than an entry with its content can be.
    #[error("the extra line is not the base64 of an entry")]
    Extra,
    /// `index` is missing or not a decimal number without leading zeros.
    #[error("the index line is missing or no decimal number")]
    Index,
    /// A hash is not the base64 of 32 bytes, or there are more than any tree needs.
    #[error("the path is not a list of hashes")]
    Path,
    /// The empty line and the checkpoint are missing.
    #[error("the checkpoint is missing")]
    Checkpoint,
}

/// The proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The checkpoint is not this log's.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The hashes do not lead from this leaf at this index to the signed root.
    #[error("the entry is not at this index of the signed log")]
    NotIncluded,
}

impl LogProof {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", STANDARD.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a file. Nothing is proven yet.
    ///
    /// # Errors
    /// When it has not exactly the lines that [`LogProof::to_text`] writes.
    pub fn from_text(text: &str) -> Result<Self, ProofFormError> {
        let (head, note) = text.split_once("\n\n").ok_or(ProofFormError::Checkpoint)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(ProofFormError::FirstLine);
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).and_then(|line| line.strip_prefix("extra "));
        let extra = extra.map(|encoded| STANDARD.decode(encoded)).transpose().map_err(|_| ProofFormError::Extra)?;
        if extra.as_ref().is_some_and(|extra| extra.len() > EXTRA_BYTES_MAX) {
            return Err(ProofFormError::Extra);
        }
        let digits = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(ProofFormError::Index)?;
        let index: u64 = digits.parse().map_err(|_| ProofFormError::Index)?;
        // `parse` takes a leading plus sign and leading zeros.
        if index.to_string() != digits {
            return Err(ProofFormError::Index);
        }
        let mut path = Vec::new();
        for line in lines {
            let hash = STANDARD.decode(line).map_err(|_| ProofFormError::Path)?;
            path.push(hash.try_into().map_err(|_| ProofFormError::Path)?);
            if path.len() > PATH_MAX {
                return Err(ProofFormError::Path);
            }
        }
        Ok(Self { index, path, note: note.to_owned(), extra })
    }

    /// Checks everything: the checkpoint's signature by `key`, and that `leaf`, the hash of the entry, stands at the index of
    /// the signed tree. Returns the checkpoint that vouches for it.
    ///
    /// # Errors
    /// See [`NotProven`].
    pub fn verify(&self, key: &VerifyingKeys, leaf: &Hash) -> Result<Checkpoint, NotProven> {
        let checkpoint = key.open(&self.note)?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.path, &checkpoint.root)
            .map_err(|_| NotProven::NotIncluded)?;
        Ok(checkpoint)
    }
}

impl std::fmt::Debug for LogProof {
    /// Without the entry, which may name a person.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogProof").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{SigningKeys, Tree, inclusion_proof, leaf_hash};

    const ORIGIN: &str = "onward.example/audit";

    fn log(size: u64) -> (SigningKeys, Vec<Vec<u8>>, String) {
        let key = SigningKeys::generate(ORIGIN).unwrap();
        let entries: Vec<Vec<u8>> = (0..size).map(|index| format!("entry {index}").into_bytes()).collect();
        let mut tree = Tree::new();
        for entry in &entries {
            tree.push(leaf_hash(entry));
        }
        let note = key.sign(&Checkpoint::of_tree(ORIGIN, &tree).unwrap()).unwrap();
        (key, entries, note)
    }

    fn proof(entries: &[Vec<u8>], index: u64, note: &str) -> LogProof {
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let path = inclusion_proof(&leaves, index, leaves.len() as u64).unwrap();
        LogProof { index, path, note: note.to_owned(), extra: Some(entries[usize::try_from(index).unwrap()].clone()) }
    }

    #[test]
    fn the_layout_is_that_of_the_specification() {
        let (_, entries, note) = log(3);
        let text = proof(&entries, 0, &note).to_text();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[..3], ["c2sp.org/tlog-proof@v1", "extra ZW50cnkgMA==", "index 0"]);
        assert_eq!(lines[5..7], ["", ORIGIN]);
        let bare = LogProof { extra: None, ..proof(&entries, 0, &note) };
        assert_eq!(bare.to_text().split('\n').nth(1), Some("index 0"));
        assert!(!format!("{bare:?}").contains("entry"));
    }

    #[test]
    fn only_the_entry_of_the_place_is_proven_and_only_by_the_logs_key() {
        let (key, entries, note) = log(5);
        let whole = proof(&entries, 4, &note);
        let leaf = leaf_hash(&entries[4]);
        assert!(whole.verify(key.verifying_keys(), &leaf).is_ok());
        assert_eq!(whole.verify(key.verifying_keys(), &leaf_hash(b"other")), Err(NotProven::NotIncluded));
        let other = SigningKeys::generate(ORIGIN).unwrap();
        assert_eq!(
            whole.verify(other.verifying_keys(), &leaf),
            Err(NotProven::Checkpoint(NoteError::NotSigned)),
            "another key of the same name vouches for nothing"
        );
    }

    #[test]
    fn malformed_files_are_refused() {
        let (_, entries, note) = log(3);
        let text = proof(&entries, 1, &note).to_text();
        for (from, to, error) in [
            ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v2\n", ProofFormError::FirstLine),
            ("extra Z", "extra *", ProofFormError::Extra),
            ("index 1", "index 01", ProofFormError::Index),
            ("index 1", "index +1", ProofFormError::Index),
            ("index 1\n", "", ProofFormError::Index),
            ("index 1\n", "index 1\nAAAA\n", ProofFormError::Path),
            ("\n\n", "\n", ProofFormError::Path),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text, "{from}");
            assert_eq!(LogProof::from_text(&broken), Err(error), "{from:?} to {to:?}");
        }
        assert_eq!(LogProof::from_text(""), Err(ProofFormError::Checkpoint));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_proves(size in 1_u64..40, at in any::<prop::sample::Index>()) {
            let (key, entries, note) = log(size);
            let made = proof(&entries, at.index(entries.len()) as u64, &note);
            let read = LogProof::from_text(&made.to_text()).unwrap();
            prop_assert_eq!(&read, &made);
            let leaf = leaf_hash(read.extra.as_deref().unwrap());
            prop_assert_eq!(read.verify(key.verifying_keys(), &leaf).unwrap().size, size);
        }

        #[test]
        fn no_changed_byte_still_proves(at in any::<prop::sample::Index>(), bit in 0_u32..7) {
            let (key, entries, note) = log(11);
            let made = proof(&entries, 6, &note);
            let mut bytes = made.to_text().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let proven = String::from_utf8(bytes)
                .ok()
                .and_then(|text| LogProof::from_text(&text).ok())
                .is_some_and(|read| {
                    let leaf = leaf_hash(read.extra.as_deref().unwrap_or_default());
                    read.verify(key.verifying_keys(), &leaf).is_ok()
                });
            prop_assert!(!proven);
        }
    }
}
