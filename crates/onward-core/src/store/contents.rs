//! What bytes that were sent carried, element by element.

/// The names of elements that some bytes carried: no value, nothing of a person. Kept once, however many copies carried the same,
/// and named in audit entries by its digest. An entry's digest is sealed with it, so that an erasure leaves lists of nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// SHA-256 of `names`, as the entries that name it have it.
    pub sha256: [u8; 32],
    /// One name a line, sorted, each once.
    pub names: String,
}
