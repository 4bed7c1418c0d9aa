//! The page and the manifests agree: a crate uses what ARCHITECTURE.md says, and nothing else of ours.

use std::collections::{BTreeMap, BTreeSet};

fn root() -> std::path::PathBuf {
    std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_crate_table_is_what_the_manifests_say() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| onward-")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let uses = match cells[2] {
            "–" => BTreeSet::new(),
            list => list.split(',').map(|name| format!("onward-{}", name.trim())).collect(),
        };
        told.insert(cells[1].to_owned(), uses);
    }
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates")).expect("crates") {
        let manifest = entry.expect("an entry").path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        let value: toml::Table = text.parse().expect("a manifest");
        let name = value["package"]["name"].as_str().expect("a name").to_owned();
        let uses = value["dependencies"].as_table().into_iter().flat_map(|table| table.keys());
        found.insert(name, uses.filter(|key| key.starts_with("onward-")).cloned().collect::<BTreeSet<_>>());
    }
    assert_eq!(told, found, "ARCHITECTURE.md and the manifests differ");
}

#[test]
fn no_file_mentions_the_numbers_of_real_people() {
    // Test numbers begin with 999; the numbers of the NHS's own published examples are used where a test needs them.
    let published = [
        "9000000009",
        "9000000017",
        "9000000025",
        "9000000033",
        "9912003888",
        "9658218881",
        "9657702070",
        "9658218997",
        "9476719931",
    ];
    let mut pending = vec![root().join("fixtures"), root().join("config")];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for word in text.split(|c: char| !c.is_ascii_digit()).filter(|word| word.len() == 10) {
                if word.parse::<onward_core::NhsNumber>().is_ok() {
                    let allowed = word.starts_with("999") || published.contains(&word) || word.starts_with("0");
                    assert!(allowed, "{} holds a number that could be a person's", path.display());
                }
            }
        }
    }
}

/// What SECURITY.md calls a proof is there: a capability test, a crate, or a module with tests.
#[test]
fn every_proof_that_security_names_exists() {
    let root = root();
    let text = std::fs::read_to_string(root.join("SECURITY.md")).expect("readable");
    let crates: Vec<std::path::PathBuf> = std::fs::read_dir(root.join("crates"))
        .expect("readable")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2);
    let proofs: Vec<&str> = rows
        .filter_map(|row| row.rsplit(" | ").next())
        .flat_map(|proofs| proofs.split('`').skip(1).step_by(2))
        .filter(|proof| !proof.contains(' '))
        .collect();
    assert!(proofs.len() > 20, "the table is read: {proofs:?}");
    for proof in proofs {
        let module = proof.replace("::", "/");
        let there = root.join(proof).exists()
            || root.join("tests").join(format!("{module}.rs")).is_file()
            || root.join("crates").join(proof).is_dir()
            || crates.iter().any(|each| {
                ["src", "src/tests", "src/sqlite"].iter().any(|folder| {
                    let at = each.join(folder).join(&module);
                    at.with_extension("rs").is_file() || at.is_dir()
                })
            });
        assert!(there, "SECURITY.md names {proof}, which is nowhere");
    }
}
