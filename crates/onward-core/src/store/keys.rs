//! Which key-encryption keys the store depends on.

/// One key-encryption key and what it wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsage {
    /// Its name.
    pub id: String,
    /// It wraps new data keys.
    pub current: bool,
    /// Data keys that it wraps.
    pub data_keys: u64,
}
