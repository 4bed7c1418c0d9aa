//! The port to whatever looks for malware in attachments.

use async_trait::async_trait;
use bytes::Bytes;

/// What was found in some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// Nothing.
    Clean,
    /// Malware, by its name in the scanner's signatures.
    Malware(String),
}

/// Why nobody knows. Texts never carry what was scanned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the malware scanner gives no answer: {0}")]
pub struct NotScanned(pub String);

/// A malware scanner.
#[async_trait]
pub trait Scanner: Send + Sync + 'static {
    /// Looks through some bytes, as a file that a recipient would open.
    ///
    /// # Errors
    /// [`NotScanned`], when there is no answer: what was not looked through is not taken in.
    async fn scan(&self, bytes: Bytes) -> Result<Scanned, NotScanned>;
}
