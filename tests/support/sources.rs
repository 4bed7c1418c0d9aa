//! The sources of the crates, for tests about what must never stand in them.

use std::path::{Path, PathBuf};

/// Rust sources of a folder of a crate, tests and contract suites left out.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn of(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.file_stem().is_some_and(|name| name == "tests" || name == "contract") {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                found.push((path, text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()));
            }
        }
    }
    found.sort();
    found
}

/// Whether a file of the project, by its path from the root, defines this function. A mention of the name elsewhere proves nothing.
#[must_use]
pub fn defines(file: &str, function: &str) -> bool {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(file);
    std::fs::read_to_string(path).is_ok_and(|content| content.contains(&format!("fn {function}(")))
}

/// The same of every crate.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn of_all_crates() -> Vec<(PathBuf, String)> {
    let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates")).expect("crates");
    crates.flat_map(|each| of(&each.expect("a crate").path().join("src"))).collect()
}
