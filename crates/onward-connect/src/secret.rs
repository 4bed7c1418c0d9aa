//! Passwords, keys and tokens: wiped when dropped, never printed.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Largest secret file: a chain of keys in PEM is far smaller.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret text. Prints redacted and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret that is already in memory.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Reads a secret from its file; line ends at the end of the file are not part of it.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, is empty, or is larger than 64 KiB.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path)?;
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the secret file is larger than 64 KiB"));
        }
        let end = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(end);
        if text.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the secret file is empty"));
        }
        Ok(Self(text))
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_loses_its_line_end_and_prints_redacted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "pass word\r\n").expect("written");
        let secret = Secret::from_file(&path).expect("read");
        assert_eq!(secret.expose(), "pass word");
        assert!(!format!("{secret:?}").contains("pass"));
    }

    #[test]
    fn empty_large_and_absent_files_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("secret");
        assert!(Secret::from_file(&path).is_err());
        std::fs::write(&path, "\n").expect("written");
        assert!(Secret::from_file(&path).is_err());
        std::fs::write(&path, "x".repeat(65 * 1024)).expect("written");
        assert!(Secret::from_file(&path).is_err());
    }
}
