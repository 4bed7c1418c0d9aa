//! Results that may go into a file instead of standard output: readable by their owner only, never over another file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::exit::Failure;
use super::terminal::Terminal;

/// `--out`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Output {
    /// Write here instead of standard output; a file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl Output {
    /// Writes a whole result.
    ///
    /// # Errors
    /// When the file is there or cannot be written.
    pub(super) fn write(&self, bytes: &[u8], terminal: &mut Terminal) -> Result<(), Failure> {
        let mut sink = self.open()?;
        sink.write(bytes, terminal)?;
        sink.finish()
    }

    /// Opens it for a result that comes in parts.
    ///
    /// # Errors
    /// When the file is there or cannot be made.
    pub(super) fn open(&self) -> Result<Sink, Failure> {
        let file = self.out.as_deref().map(|path| Ok::<_, Failure>((new_file(path)?, path.to_owned()))).transpose()?;
        Ok(Sink { file })
    }
}

/// Where the parts go.
pub(super) struct Sink {
    file: Option<(File, PathBuf)>,
}

impl Sink {
    /// Writes one part.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&mut self, bytes: &[u8], terminal: &mut Terminal) -> Result<(), Failure> {
        match &mut self.file {
            Some((file, path)) => Ok(file.write_all(bytes).with_context(|| format!("writing {}", path.display()))?),
            None => {
                terminal.write(bytes);
                Ok(())
            }
        }
    }

    /// Ends it: what was written is on disk.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.file {
            Some((file, path)) => Ok(file.sync_all().with_context(|| format!("writing {}", path.display()))?),
            None => Ok(()),
        }
    }
}

/// A new file for its owner only: evidence and exports name people.
///
/// # Errors
/// When it is there already or cannot be made.
pub(super) fn new_file(path: &Path) -> Result<File, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(made.with_context(|| format!("making {}", path.display()))?)
}
