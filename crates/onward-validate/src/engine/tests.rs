//! Proof: the official cases, UK Core's examples, mutations of valid ones, and hostile input.

mod hostile;
mod locations;
mod mutations;
mod official;
mod own_package;
mod profiles;
mod service;
mod uk_core;

use std::path::{Path, PathBuf};

use onward_fhir::Tree;
use onward_fhir::read::{self, Limits, ReadError};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// A folder of the shared data; says loudly when it is absent.
fn folder(name: &str) -> Option<PathBuf> {
    let path = Path::new(DATA).join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
    eprintln!("SKIPPED: {name} of the shared data is absent");
    None
}

/// VERDICTS.md says this, wherever its lines break.
pub(crate) fn page_says(sentence: &str) {
    let page: Vec<&str> = include_str!("../../VERDICTS.md").split_whitespace().collect();
    assert!(page.join(" ").contains(sentence), "VERDICTS.md does not say {sentence:?}");
}

fn tree(text: &str) -> Result<Tree<'_>, ReadError> {
    match text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        true => read::json(text, &Limits::default()),
        false => read::xml(text, &Limits::default()),
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}
