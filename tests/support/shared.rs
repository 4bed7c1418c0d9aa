//! Real NHS and HL7 files, and the specification, beside the project. A test that needs them says so when they are absent.

use std::path::PathBuf;

/// The folder, or `None` after a loud word. Panics where skipping is forbidden (CI).
#[must_use]
pub fn data(folder: &str) -> Option<PathBuf> {
    place("data", folder)
}

/// A page of the specification; as [`data`].
#[must_use]
pub fn page(name: &str) -> Option<PathBuf> {
    place("design", name)
}

fn place(kind: &str, name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")).join(kind).join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "{} is missing", path.display());
    eprintln!("SKIPPED: {} is not there, so nothing was checked against it", path.display());
    None
}

/// All files of a folder with this ending, by name.
#[must_use]
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let Some(path) = data(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .expect("the folder is readable")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no .{ending} file");
    files
}
