//! What a log sends to a witness, and whether the witness may cosign it (C2SP tlog-witness, `add-checkpoint`). Pure: whoever
//! runs a witness keeps what was seen durable before a cosignature leaves, and does both as one step.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::proof::verify_consistency;

/// A log sends no longer proof.
const PROOF_MAX: usize = 63;

/// The body of an `add-checkpoint` request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The size of the checkpoint that the witness is thought to have seen last; 0 for none.
    pub old: u64,
    /// Shows that the new tree begins with the old one; empty from 0.
    pub proof: Vec<Hash>,
    /// The new checkpoint, signed by the log.
    pub note: String,
}

/// A body that is no submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionFormError {
    /// The first line is not `old` and a decimal number.
    #[error("the first line is not the old size")]
    Old,
    /// A line of the proof is not the base64 of 32 bytes, or there are more than 63.
    #[error("the proof is not a list of at most {PROOF_MAX} hashes")]
    Proof,
    /// The empty line and the checkpoint are missing.
    #[error("the checkpoint is missing")]
    Checkpoint,
}

/// What a witness has seen of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Entries of the largest checkpoint cosigned.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    /// The old size is larger than the checkpoint's (400).
    #[error("the old size is larger than the checkpoint")]
    Reversed,
    /// The witness has seen another size last (409, with that size): an honest log submits again from there, and one that
    /// is now smaller was cut back.
    #[error("the largest checkpoint seen has {size} entries")]
    OtherSize {
        /// Entries of the largest checkpoint seen.
        size: u64,
    },
    /// The witness has seen another root for this very size (409): the log has two histories.
    #[error("another root was seen for {size} entries")]
    OtherRoot {
        /// Entries of both.
        size: u64,
    },
    /// The proof does not show that the new tree begins with the one seen (422).
    #[error("the checkpoint does not grow out of the one seen before")]
    Inconsistent,
}

impl Submission {
    /// The body.
    pub fn to_text(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old, self.note)
    }

    /// Reads a body. Nothing is checked yet.
    ///
    /// # Errors
    /// When it has not exactly the lines that [`Submission::to_text`] writes.
    pub fn from_text(text: &str) -> Result<Self, SubmissionFormError> {
        let (head, note) = text.split_once("\n\n").ok_or(SubmissionFormError::Checkpoint)?;
        let mut lines = head.split('\n');
        let digits = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(SubmissionFormError::Old)?;
        let old: u64 = digits.parse().map_err(|_| SubmissionFormError::Old)?;
        // `parse` takes a leading plus sign and leading zeros.
        if old.to_string() != digits {
            return Err(SubmissionFormError::Old);
        }
        let mut proof = Vec::new();
        for line in lines {
            let hash = STANDARD.decode(line).map_err(|_| SubmissionFormError::Proof)?;
            proof.push(hash.try_into().map_err(|_| SubmissionFormError::Proof)?);
            if proof.len() > PROOF_MAX {
                return Err(SubmissionFormError::Proof);
            }
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }
}

/// Whether a witness that has seen this of the log (nothing: `None`) may cosign the checkpoint that the submission's note
/// holds, whose signature was checked before.
///
/// # Errors
/// See [`NotCosigned`].
pub fn judge(submission: &Submission, checkpoint: &Checkpoint, seen: Option<&Seen>) -> Result<(), NotCosigned> {
    if submission.old > checkpoint.size {
        return Err(NotCosigned::Reversed);
    }
    let size = seen.map_or(0, |seen| seen.size);
    if submission.old != size {
        return Err(NotCosigned::OtherSize { size });
    }
    let Some(seen) = seen else {
        return if submission.proof.is_empty() { Ok(()) } else { Err(NotCosigned::Inconsistent) };
    };
    if seen.size == checkpoint.size && seen.root != checkpoint.root {
        return Err(NotCosigned::OtherRoot { size });
    }
    verify_consistency(seen.size, &seen.root, checkpoint.size, &checkpoint.root, &submission.proof)
        .map_err(|_| NotCosigned::Inconsistent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{SigningKey, consistency_proof, leaf_hash, root_of};

    fn leaves(count: u64, from: &str) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(format!("{from} {number}").as_bytes())).collect()
    }

    fn checkpoint(leaves: &[Hash]) -> Checkpoint {
        Checkpoint { origin: "onward/R9Z".to_owned(), size: leaves.len() as u64, root: root_of(leaves) }
    }

    fn seen(leaves: &[Hash]) -> Seen {
        Seen { size: leaves.len() as u64, root: root_of(leaves) }
    }

    fn submission(leaves: &[Hash], old: u64) -> Submission {
        let new = leaves.len() as u64;
        Submission { old, proof: consistency_proof(leaves, old, new).unwrap_or_default(), note: String::new() }
    }

    #[test]
    fn the_published_request_is_read_and_written_back() {
        let body = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
             jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\nexample.com/behind-the-sofa\n20852163\n\
             CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgt\n";
        let read = Submission::from_text(body).unwrap();
        assert_eq!((read.old, read.proof.len()), (20_852_014, 2));
        assert!(read.note.starts_with("example.com/behind-the-sofa\n20852163\n"));
        assert_eq!(read.to_text(), body);
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let hash = STANDARD.encode([7; 32]);
        let cases = [
            ("old 1\nAAAA".to_owned(), SubmissionFormError::Checkpoint),
            ("new 1\n\nnote".to_owned(), SubmissionFormError::Old),
            ("old 01\n\nnote".to_owned(), SubmissionFormError::Old),
            ("old +1\n\nnote".to_owned(), SubmissionFormError::Old),
            ("old \n\nnote".to_owned(), SubmissionFormError::Old),
            ("old 1\nAAAA\n\nnote".to_owned(), SubmissionFormError::Proof),
            (format!("old 1\n{}\nnote", format!("{hash}\n").repeat(64)), SubmissionFormError::Proof),
        ];
        for (body, error) in cases {
            assert_eq!(Submission::from_text(&body), Err(error), "{body}");
        }
    }

    #[test]
    fn a_log_that_was_cut_back_or_has_two_histories_is_refused() {
        let long = leaves(20, "entry");
        let witnessed = seen(&long);
        let cut = &long[..12];
        assert_eq!(
            judge(&submission(cut, 0), &checkpoint(cut), Some(&witnessed)),
            Err(NotCosigned::OtherSize { size: 20 })
        );
        assert_eq!(judge(&submission(cut, 20), &checkpoint(cut), Some(&witnessed)), Err(NotCosigned::Reversed));
        let other = leaves(20, "other");
        let same_size = Submission { old: 20, proof: Vec::new(), note: String::new() };
        assert_eq!(judge(&same_size, &checkpoint(&other), Some(&witnessed)), Err(NotCosigned::OtherRoot { size: 20 }));
        // Cut back, and grown past what was seen.
        let grown = [cut, &leaves(20, "after")[..]].concat();
        assert_eq!(
            judge(&submission(&grown, 20), &checkpoint(&grown), Some(&witnessed)),
            Err(NotCosigned::Inconsistent)
        );
        assert_eq!(judge(&same_size, &checkpoint(&long), Some(&witnessed)), Ok(()), "seen before: cosigned again");
        let padded = Submission { old: 0, proof: vec![[1; 32]], note: String::new() };
        assert_eq!(judge(&padded, &checkpoint(&long), None), Err(NotCosigned::Inconsistent));
    }

    proptest! {
        #[test]
        fn what_grows_is_cosigned_and_a_rewritten_past_never(new in 1_u64..90, old in 0_u64..90, place in any::<prop::sample::Index>()) {
            let old = old.min(new);
            let honest = leaves(new, "entry");
            let before = (old > 0).then(|| seen(&honest[..usize::try_from(old).unwrap()]));
            prop_assert_eq!(judge(&submission(&honest, old), &checkpoint(&honest), before.as_ref()), Ok(()));
            if old > 0 {
                let mut rewritten = honest.clone();
                rewritten[place.index(usize::try_from(old).unwrap())] = leaf_hash(b"rewritten");
                let judged = judge(&submission(&rewritten, old), &checkpoint(&rewritten), before.as_ref());
                prop_assert!(judged.is_err());
            }
        }

        #[test]
        fn every_submission_survives_its_text(old: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..8)) {
            let key = SigningKey::generate("onward/R9Z").unwrap();
            let note = key.sign(&checkpoint(&leaves(3, "entry"))).unwrap();
            let made = Submission { old, proof: hashes, note };
            prop_assert_eq!(Submission::from_text(&made.to_text()).unwrap(), made);
        }
    }
}
