//! The table of OWASP ASVS 5.0.0 (`tests/asvs.csv`) is whole, and what it names as proof is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use onward_tests::sources;
use onward_tests::world::World;

/// Requirements of level 1 and of level 2 in each chapter of the standard, V1 to V17.
const CHAPTERS: [(usize, usize); 17] = [
    (8, 19),
    (4, 7),
    (8, 11),
    (2, 8),
    (4, 5),
    (13, 22),
    (6, 12),
    (4, 3),
    (4, 3),
    (5, 24),
    (3, 11),
    (3, 6),
    (1, 12),
    (2, 7),
    (3, 10),
    (0, 16),
    (0, 7),
];
/// Requirements of level 3 that trust.md §5 adopts.
const ADOPTED: [&str; 10] =
    ["V4.2.2", "V4.2.3", "V4.2.4", "V4.2.5", "V6.3.8", "V8.3.2", "V10.3.5", "V10.4.14", "V10.4.16", "V12.1.4"];
const VERDICTS: [&str; 4] = ["pass", "n/a", "operator", "not yet"];

struct Row {
    number: String,
    level: String,
    verdict: String,
    proofs: Vec<String>,
    words: String,
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn table() -> Vec<Row> {
    let mut reader = csv::Reader::from_path(root().join("tests/asvs.csv")).expect("the table");
    let row = |record: csv::StringRecord| Row {
        number: record[0].to_owned(),
        level: record[1].to_owned(),
        verdict: record[2].to_owned(),
        proofs: record[3].split("; ").filter(|proof| !proof.is_empty()).map(str::to_owned).collect(),
        words: record[4].to_owned(),
    };
    reader.records().map(|record| row(record.expect("five columns"))).collect()
}

fn number(row: &Row) -> Vec<usize> {
    row.number.trim_start_matches('V').split('.').map(|part| part.parse().expect("a number")).collect()
}

#[test]
fn every_requirement_has_its_verdict() {
    let table = table();
    let numbers: Vec<_> = table.iter().map(number).collect();
    assert!(numbers.is_sorted(), "in the order of the standard");
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "each once");
    for (at, (first, second)) in CHAPTERS.iter().enumerate() {
        let of = |level| table.iter().filter(|row| row.level == level && number(row)[0] == at + 1).count();
        assert_eq!((of("1"), of("2")), (*first, *second), "chapter V{}", at + 1);
    }
    let third: Vec<_> = table.iter().filter(|row| row.level == "3").map(|row| row.number.as_str()).collect();
    assert_eq!(third, ADOPTED);
    for row in &table {
        assert!(VERDICTS.contains(&row.verdict.as_str()), "{}: {}", row.number, row.verdict);
        assert!(!row.words.is_empty(), "{} says nothing", row.number);
        let proven = matches!(row.verdict.as_str(), "pass" | "operator");
        assert_eq!(proven, !row.proofs.is_empty(), "{}: {} and its proof", row.number, row.verdict);
    }
}

/// `bad_input#N` is a row of the corpus that is sent; `FILE#TEXT` a text that stands in a file, such as a test's name.
#[test]
fn every_proof_exists() {
    let root = root();
    for row in table() {
        for proof in &row.proofs {
            let (place, text) = proof.split_once('#').unwrap_or((proof, ""));
            let there = match place {
                "bad_input" => {
                    let number: u16 = text.parse().expect("a row");
                    (1..=113).contains(&number)
                }
                _ => named(&root, place, text),
            };
            assert!(there, "{} names {proof}, which is nowhere", row.number);
        }
    }
}

/// A name of a function means its definition: to be mentioned somewhere proves nothing.
fn named(root: &Path, place: &str, text: &str) -> bool {
    let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if place.ends_with(".rs") && is_name && text.contains('_') {
        return sources::defines(place, text);
    }
    std::fs::read_to_string(root.join(place)).is_ok_and(|content| content.contains(text))
}

#[test]
fn the_summary_says_what_the_table_says() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).expect("readable");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let table = table();
    for row in &table {
        *counts.entry((&row.level, &row.verdict)).or_default() += 1;
    }
    for level in ["1", "2", "3"] {
        let cells: Vec<String> = VERDICTS
            .iter()
            .map(|verdict| counts.get(&(level, *verdict)).copied().unwrap_or_default().to_string())
            .collect();
        let line = format!("| {level} | {} |", cells.join(" | "));
        assert!(text.contains(&line), "SECURITY.md should say: {line}");
    }
}

/// V1.2.4: no statement is made of a text that comes from outside. A quote around an interpolation would be a value.
#[test]
fn values_never_become_sql() {
    let sources = sources::of(&root().join("crates/onward-store/src"));
    let statements: usize = sources.iter().map(|(_, text)| text.matches("SELECT ").count()).sum();
    assert!(statements > 20, "the statements are read");
    for (path, text) in sources {
        for quoted in ["'{", "\\\"{", "}'"] {
            assert!(!text.contains(quoted), "{} puts a value between quotes: bind it", path.display());
        }
    }
}

/// V1.2.5: no shell is started, whatever a configuration names.
#[test]
fn no_shell_is_started() {
    let sources = sources::of_all_crates();
    assert!(sources.len() > 100, "the crates are read");
    for (path, text) in sources {
        for shell in ["Command::new(\"sh", "Command::new(\"/bin/", "Command::new(\"bash", ".arg(\"-c\")", "[\"-c\""] {
            assert!(!text.contains(shell), "{} starts a shell", path.display());
        }
    }
}

/// V6.3.2: nobody is there who was not registered.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_knows_nobody() {
    let world = World::start().await;
    assert_eq!(world.gateway().store().clients().await.expect("readable"), Vec::new());
    assert_eq!(world.gateway().store().users().await.expect("readable"), Vec::new());
}
