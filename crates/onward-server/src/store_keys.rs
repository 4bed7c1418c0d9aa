//! Where the store's key-encryption keys come from: a file for its owner only, a command that prints such a file, or a variable of the
//! environment that holds it.
//!
//! A key as a value in the configuration is not offered: that is printed. A variable is inherited: it goes with no command, so that a
//! gateway that has its keys from there starts no program. The kernel keeps it where it was for as long as the process lives: a process that
//! takes it shows its environment to root alone.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::Timestamp;
use onward_store::sealing::{KeyEncryption, KeyRing, RingError};
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, Keys};
use crate::hardening;

/// A ring of many keys is far smaller.
const BYTES_MAX: u64 = 64 * 1024;
/// A key-management service that takes longer is down.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// The keys that the configuration names.
///
/// # Errors
/// When they cannot be had, or the file is open to others.
pub fn open(keys: &Keys) -> anyhow::Result<Arc<dyn KeyEncryption>> {
    Ok(Arc::new(ring(keys)?))
}

/// The same as a ring.
///
/// # Errors
/// As [`open`].
pub fn ring(keys: &Keys) -> Result<KeyRing, ConfigError> {
    let told = |error: RingError| ConfigError { problems: vec![format!("[keys] {error}")] };
    match (keys.environment.clone(), keys.command.split_first()) {
        (Some(_), Some(_)) => {
            let both = "`environment` and `command` are both set: a command would inherit the keys. Take one of them";
            Err(told(RingError(both.to_owned())))
        }
        (Some(name), None) => {
            // Not on every system; nothing else could be done about it there.
            let _ = hardening::hide();
            let held = move || {
                let missing = || RingError(format!("the environment has no variable {name} that is text"));
                held(&name, Config::secret_variable(&name).ok_or_else(missing)?)
            };
            KeyRing::open(held).map_err(told)
        }
        (None, Some((program, arguments))) => {
            let (program, arguments) = (program.clone(), arguments.to_vec());
            KeyRing::open(move || printed(&program, &arguments)).map_err(told)
        }
        (None, None) => {
            let path = keys.file.clone();
            KeyRing::open(move || read(&path)).map_err(told)
        }
    }
}

/// What a variable holds, as the text of a key file. Such a text has several lines; base64 has one.
fn held(name: &str, value: Zeroizing<String>) -> Result<Zeroizing<String>, RingError> {
    let value = match value.trim().contains('\n') {
        true => return Ok(value),
        false => Zeroizing::new(value.trim().to_owned()),
    };
    let expected = || RingError(format!("variable {name}: expected a key file, or a line of base64 of one"));
    let bytes = Zeroizing::new(BASE64.decode(value.as_bytes()).map_err(|_| expected())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| expected())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The text of a key file that nobody else can reach.
fn read(path: &Path) -> Result<Zeroizing<String>, RingError> {
    let named = |what: String| RingError(format!("file {}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => named(
            "is not there. A new gateway gets its first key by `onward keys new`; of a gateway that ran before, restore \
             the file: without it nobody can read the store"
                .to_owned(),
        ),
        _ => named(format!("cannot be read: {error}")),
    })?;
    let mode = file.metadata().map_err(|error| named(error.to_string()))?.mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(named(format!(
            "others than its owner can reach it (mode {mode:o}): run chmod 600 {}",
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 <= BYTES_MAX => Ok(text),
        Ok(_) => Err(named("is larger than 64 KiB".to_owned())),
        Err(error) => Err(named(format!("cannot be read: {error}"))),
    }
}

/// What the command prints.
fn printed(program: &str, arguments: &[String]) -> Result<Zeroizing<String>, RingError> {
    let named = |what: String| RingError(format!("command {program}: {what}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| named(format!("cannot be run: {error}")))?;
    let output = child.stdout.take().expect("piped");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        let read = output.take(BYTES_MAX).read_to_string(&mut text);
        // Whoever waited may have gone.
        drop(tell.send(read.map(|_| text)));
    });
    match told.recv_timeout(COMMAND_TIMEOUT) {
        Ok(Ok(text)) => match child.wait() {
            Ok(status) if status.success() => Ok(text),
            Ok(status) => Err(named(format!("ended with {status}"))),
            Err(error) => Err(named(error.to_string())),
        },
        Ok(Err(error)) => Err(ended(&mut child, named(error.to_string()))),
        Err(_) => Err(ended(&mut child, named(format!("printed nothing within {} s", COMMAND_TIMEOUT.as_secs())))),
    }
}

fn ended(child: &mut Child, error: RingError) -> RingError {
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
    error
}

/// Puts a new random key into the file, as its current one, beside those that are there; gives its name.
///
/// # Errors
/// When the file cannot be used or written.
pub fn add_key(path: &Path, now: Timestamp) -> anyhow::Result<String> {
    let name = key_name(now)?;
    add_key_named(path, &name)?;
    Ok(name)
}

/// A name for a new key, which tells when it was made.
///
/// # Errors
/// When the machine gives no randomness.
pub(crate) fn key_name(now: Timestamp) -> anyhow::Result<String> {
    let mut suffix = [0; 2];
    getrandom::fill(&mut suffix).map_err(|_| anyhow::anyhow!("the machine gives no randomness"))?;
    Ok(format!("{}-{}", now.strftime("%Y-%m-%d"), hex::encode(suffix)))
}

/// As [`add_key`], under this name.
///
/// # Errors
/// When the file cannot be used or written, or has a key of that name.
pub(crate) fn add_key_named(path: &Path, name: &str) -> anyhow::Result<()> {
    let old = if path.exists() { Some(read(path)?) } else { None };
    let ring = KeyRing::with_new_key(old.as_ref().map(|text| text.as_str()), name)?;
    replace(path, ring.as_bytes())
}

/// Writes a file of keys for its owner alone, whole or not at all: a torn one would lose the store, or the log's key.
///
/// # Errors
/// When it cannot be written; then the old one is still there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let told = || format!("writing {}", path.display());
    let mut part = PathBuf::from(path).into_os_string();
    part.push(".part");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&part).with_context(told)?;
    file.write_all(content).with_context(told)?;
    file.sync_all().with_context(told)?;
    std::fs::rename(&part, path).with_context(told)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(told)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn keys(file: &Path, command: &[&str]) -> Keys {
        Keys {
            file: file.to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            environment: None,
        }
    }

    #[test]
    fn a_file_is_made_for_its_owner_and_refused_when_others_can_reach_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.key");
        let missing = ring(&keys(&path, &[])).map(drop).expect_err("refused").to_string();
        assert!(missing.contains("onward keys new"), "{missing}");
        let now = "2026-11-26T10:00:00Z".parse().expect("a moment");
        let first = add_key(&path, now).expect("made");
        let second = add_key(&path, now).expect("added");
        assert!(first.starts_with("2026-11-26-") && first != second);
        let opened = ring(&keys(&path, &[])).expect("opens");
        assert_eq!(opened.current(), Ok(second));
        assert_eq!(opened.names().len(), 2);
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permitted");
            let refused = ring(&keys(&path, &[])).map(drop).expect_err("refused").to_string();
            assert!(refused.contains("chmod 600"), "{mode:o}: {refused}");
        }
    }

    #[test]
    fn a_variable_holds_the_file_or_a_line_of_it() {
        let ring = KeyRing::with_new_key(None, "first").expect("a ring");
        let line = Zeroizing::new(BASE64.encode(ring.as_bytes()));
        for value in [ring.to_string(), line.to_string(), format!(" {}\n", *line)] {
            let text = held("V", Zeroizing::new(value)).expect("a file");
            assert_eq!(*text, *ring);
        }
        for wrong in ["", "secret-value", "c2VjcmV0LXZhbHVl!", "/////w=="] {
            let error = held("V", Zeroizing::new(wrong.to_owned())).and_then(|text| KeyRing::from_text(&text));
            let error = error.map(drop).expect_err("refused").to_string();
            assert!(error.contains("expected") && !error.contains("secret-value"), "{error}");
        }
        let both = Keys { environment: Some("V".to_owned()), ..keys(Path::new("nowhere"), &["cat", "x"]) };
        assert!(super::ring(&both).map(drop).expect_err("refused").to_string().contains("would inherit"));
        let missing =
            Keys { environment: Some("ONWARD_NO_SUCH_VARIABLE".to_owned()), ..keys(Path::new("nowhere"), &[]) };
        assert!(super::ring(&missing).map(drop).expect_err("refused").to_string().contains("has no variable"));
    }

    #[test]
    fn a_command_gives_the_keys_or_says_why_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.key");
        let name = add_key(&path, "2026-11-26T10:00:00Z".parse().expect("a moment")).expect("made");
        let file = path.to_str().expect("UTF-8");
        let opened = ring(&keys(Path::new("nowhere"), &["cat", file])).expect("opens");
        assert_eq!(opened.current(), Ok(name));
        for command in [&["no-such-program"][..], &["false"], &["echo", "nothing"]] {
            assert!(ring(&keys(Path::new("nowhere"), command)).is_err(), "{command:?}");
        }
    }
}
