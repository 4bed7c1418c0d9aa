//! Results that may go into a file instead of standard output: readable by their owner only, never over another file, and under the name
//! that was asked for only when they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use uuid::Uuid;

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
        Ok(Sink { file: self.out.as_deref().map(Part::open).transpose()? })
    }
}

/// Where the parts go.
pub(super) struct Sink {
    file: Option<Part>,
}

/// A file that is not whole yet, beside the name that it is to get. Where it does not get it, it is removed.
struct Part {
    file: File,
    part: PathBuf,
    whole: PathBuf,
}

impl Part {
    fn open(whole: &Path) -> Result<Self, Failure> {
        let told = format!("making {}", whole.display());
        whole.file_name().ok_or_else(|| Failure::usage(format!("{} names no file", whole.display())))?;
        if fs::symlink_metadata(whole).is_ok() {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(anyhow::Error::new(taken).context(told).into());
        }
        let part = whole.with_file_name(format!(".{}.part", Uuid::new_v4()));
        Ok(Self { file: new_file(&part)?, part, whole: whole.to_owned() })
    }

    fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        // A rename would take the place of a file that has come meanwhile; a second name does not.
        match fs::hard_link(&self.part, &self.whole) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // Not every file system gives second names.
            Err(_) if fs::symlink_metadata(&self.whole).is_ok() => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(_) => fs::rename(&self.part, &self.whole)?,
            // Where this fails it is tried once more on the way out.
            Ok(()) => drop(fs::remove_file(&self.part)),
        }
        let folder = self.whole.parent().filter(|folder| !folder.as_os_str().is_empty());
        // The file is there, whole, and the log says that it left: a folder that may not be read, or that cannot be synced, makes nothing
        // of that untrue.
        if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Where it has got its name there is none any more.
        let _ = fs::remove_file(&self.part);
    }
}

impl Sink {
    /// Writes one part.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&mut self, bytes: &[u8], terminal: &mut Terminal) -> Result<(), Failure> {
        match &mut self.file {
            Some(Part { file, whole, .. }) => {
                Ok(file.write_all(bytes).with_context(|| format!("writing {}", whole.display()))?)
            }
            None => {
                terminal.write(bytes);
                Ok(())
            }
        }
    }

    /// Ends it: what was written is on disk, and has its name.
    ///
    /// # Errors
    /// When it cannot be made durable, or another file has the name by now.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Some(part) = self.file else { return Ok(()) };
        let told = format!("writing {}", part.whole.display());
        Ok(part.finish().context(told)?)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::terminal::capture;

    /// The names in a folder, each with its mode.
    fn files(folder: &Path) -> Vec<(String, u32)> {
        let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable"));
        let mode = |entry: &fs::DirEntry| entry.metadata().expect("there").permissions().mode() & 0o777;
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), mode(&entry))).collect()
    }

    fn output(folder: &Path) -> Output {
        Output { out: Some(folder.join("log.ndjson")) }
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut terminal, ..) = capture::terminal();
        let mut sink = output(folder.path()).open().expect("opened");
        sink.write(b"one\n", &mut terminal).expect("written");
        let [(part, 0o600)] = &files(folder.path())[..] else { panic!("one file, its owner's") };
        assert!(part.starts_with('.') && part.ends_with(".part"), "{part}");
        sink.write(b"two\n", &mut terminal).expect("written");
        sink.finish().expect("whole");
        assert_eq!(files(folder.path()), [("log.ndjson".to_owned(), 0o600)]);
        assert_eq!(fs::read(folder.path().join("log.ndjson")).expect("there"), b"one\ntwo\n");
        assert!(output(folder.path()).open().is_err(), "it is there");
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut terminal, ..) = capture::terminal();
        let mut sink = output(folder.path()).open().expect("opened");
        sink.write(b"one\n", &mut terminal).expect("written");
        let part = sink.file.as_mut().expect("a file");
        // From here on nothing can be written.
        part.file = File::open(&part.part).expect("readable");
        assert!(sink.write(b"two\n", &mut terminal).is_err());
        drop(sink);
        assert!(files(folder.path()).is_empty());

        let mut sink = output(folder.path()).open().expect("opened");
        sink.write(b"one\n", &mut terminal).expect("written");
        fs::remove_dir_all(folder.path()).expect("removed");
        assert!(sink.finish().is_err(), "its folder is gone");
        assert!(output(folder.path()).open().is_err());
    }

    #[test]
    fn a_file_that_came_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut terminal, ..) = capture::terminal();
        let mut sink = output(folder.path()).open().expect("opened");
        sink.write(b"one\n", &mut terminal).expect("written");
        fs::write(folder.path().join("log.ndjson"), "another's").expect("written");
        assert!(sink.finish().is_err());
        assert_eq!(fs::read(folder.path().join("log.ndjson")).expect("there"), b"another's");
        assert_eq!(files(folder.path()).len(), 1);
    }
}
