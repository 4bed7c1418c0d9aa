//! The files of a FHIR package (`.tgz`: tar in gzip), read in memory and within bounds. Nothing is written anywhere, so a name
//! can do no harm; one that would leave its folder is refused all the same, for its maker is not to be trusted.

use std::io::{self, Read};

use super::package::PackageLimits;

/// Why an archive is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Not gzip, not tar, or cut short.
    #[error("it is not a whole gzip of tar: {0}")]
    Corrupt(io::Error),
    /// More files than [`PackageLimits::files`].
    #[error("it holds more than {0} files")]
    TooManyFiles(usize),
    /// A file larger than [`PackageLimits::file_bytes`].
    #[error("one of its files is larger than {0} bytes")]
    FileTooLarge(u64),
    /// Decompressed, more than [`PackageLimits::total_bytes`].
    #[error("decompressed it is larger than {0} bytes")]
    TooLarge(u64),
    /// A name that is absolute, climbs, or is not UTF-8; or a link.
    #[error("it holds a link, or a name that leaves its folder or is not UTF-8")]
    UnsafeName,
}

/// Calls `each` with the name and bytes of every JSON or XML file.
pub(super) fn files(
    packed: &[u8],
    limits: &PackageLimits,
    mut each: impl FnMut(&str, Vec<u8>),
) -> Result<(), ArchiveError> {
    // One byte more than is allowed, so that reaching the bound is told from ending at it.
    let bounded = flate2::bufread::MultiGzDecoder::new(packed).take(limits.total_bytes + 1);
    let mut counted = Counted { reader: bounded, bytes: 0 };
    let outcome = walk(&mut counted, limits, &mut each);
    if counted.bytes > limits.total_bytes { Err(ArchiveError::TooLarge(limits.total_bytes)) } else { outcome }
}

fn walk(
    reader: &mut impl Read,
    limits: &PackageLimits,
    each: &mut impl FnMut(&str, Vec<u8>),
) -> Result<(), ArchiveError> {
    let mut archive = tar::Archive::new(reader);
    for (position, entry) in archive.entries().map_err(ArchiveError::Corrupt)?.enumerate() {
        if position >= limits.files {
            return Err(ArchiveError::TooManyFiles(limits.files));
        }
        let mut entry = entry.map_err(ArchiveError::Corrupt)?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        let path = entry.path_bytes();
        let name = std::str::from_utf8(&path).map_err(|_| ArchiveError::UnsafeName)?.to_owned();
        if !kind.is_file() || !stays_below(&name) {
            return Err(ArchiveError::UnsafeName);
        }
        if entry.size() > limits.file_bytes {
            return Err(ArchiveError::FileTooLarge(limits.file_bytes));
        }
        if !super::package::is_candidate(&name) {
            continue;
        }
        // The size that a header claims is not what is reserved for it.
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(ArchiveError::Corrupt)?;
        each(&name, bytes);
    }
    // What follows the end of the archive is bounded, and checked by gzip, like what stands before it.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(ArchiveError::Corrupt)?;
    Ok(())
}

fn stays_below(name: &str) -> bool {
    !name.starts_with('/') && !name.contains(['\\', ':', '\0']) && name.split('/').all(|step| step != "..")
}

struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
