//! The tamper-evident log: leaf and node hashes, the tree's right edge, tiles, proofs, signed checkpoints and the walk
//! that names the first entry that does not fit (RFC 6962 and 9162 section 2.1, C2SP tlog-tiles, tlog-checkpoint,
//! tlog-proof, tlog-cosignature, tlog-witness and signed-note). `verify/verify.py` checks the same again without any of this code.
//!
//! It refuses to read or write anything, to know what an entry means, to encrypt, and to claim what mathematics cannot:
//! whoever holds the database and the signing key can cut the log back to any earlier state and sign again, and nothing
//! here notices. Only a checkpoint that somebody else keeps (a witness) shows such a cut; see [`WITHOUT_A_WITNESS`].

mod checkpoint;
mod cosignature;
mod evidence;
mod hash;
mod log_keys;
mod note;
mod proof;
mod tile;
mod tree;
mod verify;
mod witness;

#[cfg(test)]
mod vectors;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{Cosigned, CosigningKey, WitnessKey, with_cosignatures};
pub use evidence::{LogProof, NotProven, ProofFormError};
pub use hash::{ENTRY_BYTES_MAX, Hash, empty_root, leaf_hash, node_hash};
pub use log_keys::{SigningKeys, VerifyingKeys};
pub use note::{KeyError, NoteError, SigningKey, VerifyingKey};
pub use proof::{
    CannotProve, ProofMismatch, consistency_from_edge, consistency_proof, inclusion_proof, root_of, verify_consistency,
    verify_inclusion,
};
pub use tile::{TILE_WIDTH, Tile, tiles_to_write};
pub use tree::{EdgeMismatch, Tree};
pub use verify::{FirstMismatch, LogVerifier, Mismatch, StoredEntry, Verified, WITHOUT_A_WITNESS, verify_log};
pub use witness::{NotCosigned, Seen, Submission, SubmissionFormError, judge};
