//! Folders of evidence: files for their owner alone, and a list of their hashes that the audit log's key has signed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use onward_ledger::SigningKeys;

use super::exit::Failure;
use super::output;
use crate::config::Config;
use crate::listener::sha256_hex;

/// The signed list of files.
pub(crate) const MANIFEST: &str = "manifest.txt";

/// The key that signs the audit log.
///
/// # Errors
/// When it cannot be read.
pub(super) fn signing_key(config: &Config) -> Result<SigningKeys, Failure> {
    let path = &config.audit.signing_key_file;
    let text = std::fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .with_context(|| format!("reading {}", path.display()))?;
    SigningKeys::from_secret_text(text.trim())
        .with_context(|| format!("{} is not the audit log's key", path.display()))
        .map_err(Failure::configuration)
}

/// One line for each file, as `sha256sum` writes and checks them, beneath the title. The title holds spaces, so that the list
/// can never be taken for a checkpoint of the log.
pub(super) fn manifest(title: &str, files: &[(String, Vec<u8>)]) -> String {
    let lines = files.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256_hex(bytes)));
    format!("{title}\n{}", lines.collect::<String>())
}

/// Writes a folder that is not there yet, with folders inside it.
///
/// # Errors
/// When it is there, or cannot be written.
pub(super) fn write(out: &Path, folders: &[&str], files: &[(String, Vec<u8>)], manifest: &str) -> Result<(), Failure> {
    std::fs::create_dir(out).with_context(|| format!("making {}", out.display()))?;
    for folder in folders {
        std::fs::create_dir(out.join(folder))?;
    }
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    for (name, bytes) in files.chain([(MANIFEST, manifest.as_bytes())]) {
        let mut file = output::new_file(&out.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

/// How a folder differs from the list that was signed; `None` when it does not.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn mismatch(
    folder: &Path,
    manifest: &str,
    title: &str,
    folders: &[&str],
) -> Result<Option<String>, Failure> {
    let mut lines = manifest.lines();
    if lines.next() != Some(title) {
        return Ok(Some("what was signed is no manifest of such a folder".to_owned()));
    }
    let mut listed = BTreeSet::from([MANIFEST.to_owned()]);
    for line in lines {
        let Some((hash, name)) = line.split_once("  ").filter(|(_, name)| is_inside(name)) else {
            return Ok(Some("a line of the manifest is none".to_owned()));
        };
        let Ok(bytes) = std::fs::read(folder.join(name)) else { return Ok(Some(format!("{name} is missing"))) };
        if sha256_hex(&bytes) != hash {
            return Ok(Some(format!("{name} was changed")));
        }
        listed.insert(name.to_owned());
    }
    for place in [""].iter().chain(folders) {
        for file in std::fs::read_dir(folder.join(place))? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let name = if place.is_empty() { name } else { format!("{place}/{name}") };
            if !folders.contains(&name.as_str()) && !listed.contains(&name) {
                return Ok(Some(format!("{name} was added")));
            }
        }
    }
    Ok(None)
}

/// A list from outside must not lead out of the folder.
fn is_inside(name: &str) -> bool {
    !name.starts_with('/') && name.split('/').all(|part| !part.is_empty() && part != "..")
}
