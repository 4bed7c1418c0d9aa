//! The two domain-separated hashes of RFC 6962 section 2.1.

use aws_lc_rs::digest;

/// A SHA-256 digest: of a leaf, of an inner node or of a whole tree.
pub type Hash = [u8; 32];

/// The longest entry, in bytes, that an entry bundle can frame (C2SP tlog-tiles, "Log entries": 16-bit lengths).
/// The writer of the log enforces it; hashing works for any length.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// The hash of one entry: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0x00], entry])
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[0x01], left, right])
}

/// The root of a tree without leaves: the SHA-256 of nothing.
pub fn empty_root() -> Hash {
    sha256(&[])
}

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}
