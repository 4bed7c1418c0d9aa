//! `fixtures/convert/<case>.json`, STU3, beside `<case>.expected.json`, R4.

use std::path::{Path, PathBuf};

use onward_fhir::{Release, write};

use super::{convert, read, silently_lost, strangers};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/convert");

fn cases() -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(FOLDER)
        .expect("the fixtures are part of the project")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| !path.to_string_lossy().ends_with(".expected.json"))
        .collect();
    found.sort();
    found
}

/// With `ONWARD_WRITE_FIXTURES` set the expected files are written anew, for a person to read in the diff.
fn expected(path: &Path, actual: &str) -> String {
    let beside = path.with_extension("expected.json");
    if std::env::var_os("ONWARD_WRITE_FIXTURES").is_some() {
        std::fs::write(&beside, actual).expect("a writable folder");
    }
    std::fs::read_to_string(&beside).unwrap_or_default()
}

#[test]
fn fixtures_come_out_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 20, "the fixtures are there: {}", cases.len());
    for path in cases {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let source = read(&text);
        let (target, notes) = convert(&source);
        let actual = write::json_pretty(target.root(), Release::R4);
        assert!(actual.losses.is_empty(), "{}: {:?}", path.display(), actual.losses);
        assert_eq!(strangers(target.root()), Vec::<String>::new(), "{}", path.display());
        let lost = silently_lost(source.root(), target.root(), &notes);
        assert_eq!(lost, Vec::<String>::new(), "{}", path.display());
        assert_eq!(expected(&path, &actual.text).trim_end(), actual.text.trim_end(), "{}", path.display());
    }
}
