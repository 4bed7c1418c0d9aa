//! `onward policy test`: the matrix of the policies in force against the matrix that was agreed to.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use onward_core::state::RecipientKind;
use onward_transform::disclose::{MatrixRow, Policy, matrix};
use serde::Serialize;

use super::Test;
use crate::app;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::input;
use crate::cli::terminal::{Style, Terminal, plain};

/// The expectations of the compiled-in policies.
const BUILT_IN: &str = include_str!("../../../../../config/disclosure/expectations.csv");
/// Their name beside other policies.
const FILE: &str = "expectations.csv";

/// Element, recipient: what goes.
type Matrix = BTreeMap<(String, String), String>;

/// One cell that is not as expected.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Difference {
    change: Change,
    element: String,
    recipient: String,
    expected: String,
    found: String,
}

/// In which direction. The worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    #[serde(rename = "newly disclosed")]
    Wider,
    #[serde(rename = "otherwise disclosed")]
    Other,
    #[serde(rename = "no longer disclosed")]
    Narrower,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Self::Wider => "newly disclosed",
            Self::Other => "otherwise disclosed",
            Self::Narrower => "no longer disclosed",
        }
    }
}

/// Runs it.
///
/// # Errors
/// When a policy or the expectations cannot be used.
pub(super) fn test(command: &Test, terminal: &mut Terminal) -> Outcome {
    let config = command.config.load()?.config;
    let policies: Vec<_> = app::load_policies(&config).map_err(Failure::configuration)?.into_values().collect();
    let text = match (&command.expectations, &config.disclosure.folder) {
        (Some(path), _) => input::text(path)?,
        (None, Some(folder)) if !folder.join(FILE).exists() => {
            return Err(Failure::usage(format!(
                "there are no expectations beside the policies: `onward policy matrix --csv > {}` writes them",
                folder.join(FILE).display()
            )));
        }
        (None, Some(folder)) => input::text(&folder.join(FILE))?,
        (None, None) => BUILT_IN.to_owned(),
    };
    let expected = read(&text).context("the expectations").map_err(Failure::configuration)?;
    let found = differences(&expected, &policies);
    tell(command.json, &found, expected.len(), terminal);
    Ok(Exit::answer(found.is_empty()))
}

fn tell(json: bool, found: &[Difference], cells: usize, terminal: &mut Terminal) {
    if json {
        found.iter().for_each(|difference| terminal.json(difference));
    } else if found.is_empty() {
        let word = terminal.paint(Style::Green, "as expected");
        terminal.say(format_args!("{word}: {cells} cells of element and recipient"));
    } else {
        for difference in found {
            let style = if difference.change == Change::Narrower { Style::Bold } else { Style::Red };
            let word = terminal.paint(style, difference.change.as_str());
            let Difference { element, recipient, expected, found, .. } = difference;
            let line = format!("{element} to {recipient}: {found}, where {expected} was expected");
            terminal.say(format_args!("{word}: {}", plain(&line)));
        }
    }
}

fn read(text: &str) -> anyhow::Result<Matrix> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let kinds: Vec<String> = reader.headers()?.iter().skip(1).map(str::to_owned).collect();
    for kind in &kinds {
        anyhow::ensure!(kind.parse::<RecipientKind>().is_ok(), "{kind} is no kind of recipient");
    }
    let mut cells = Matrix::new();
    for record in reader.records() {
        let record = record?;
        let element = record.get(0).unwrap_or_default().to_owned();
        for (kind, cell) in kinds.iter().zip(record.iter().skip(1)) {
            anyhow::ensure!(rank(cell).is_some(), "{element}: {cell:?} is no word of the matrix");
            let before = cells.insert((element.clone(), kind.clone()), cell.to_owned());
            anyhow::ensure!(before.is_none(), "{element} has two rows");
        }
    }
    anyhow::ensure!(!cells.is_empty(), "the matrix is empty");
    Ok(cells)
}

/// How much goes; `None` for a word that the matrix does not have.
fn rank(cell: &str) -> Option<u8> {
    match cell {
        "no" => Some(0),
        "partly" | "entries only" | "only whole" => Some(1),
        "yes" => Some(2),
        "identical" => Some(3),
        _ => None,
    }
}

/// Every cell that differs. What one side has no row for goes to nobody but recipients of the identical document.
fn differences(expected: &Matrix, policies: &[Policy]) -> Vec<Difference> {
    let mut found = Matrix::new();
    for MatrixRow { element, cells } in matrix(policies) {
        for (kind, cell) in cells {
            found.insert((element.clone(), kind.to_string()), cell.as_str().to_owned());
        }
    }
    let absent = |matrix: &Matrix, kind: &str| {
        let whole = matrix.iter().any(|((_, of), cell)| of == kind && cell == "identical");
        if whole { "identical".to_owned() } else { "no".to_owned() }
    };
    let places: BTreeSet<&(String, String)> = expected.keys().chain(found.keys()).collect();
    let mut differing: Vec<Difference> = places
        .into_iter()
        .filter_map(|place| {
            let before = expected.get(place).cloned().unwrap_or_else(|| absent(expected, &place.1));
            let now = found.get(place).cloned().unwrap_or_else(|| absent(&found, &place.1));
            let change = match rank(&now).cmp(&rank(&before)) {
                _ if now == before => return None,
                std::cmp::Ordering::Greater => Change::Wider,
                std::cmp::Ordering::Equal => Change::Other,
                std::cmp::Ordering::Less => Change::Narrower,
            };
            let (element, recipient) = place.clone();
            Some(Difference { change, element, recipient, expected: before, found: now })
        })
        .collect();
    differing.sort();
    differing
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::terminal::capture;
    use crate::cli::{Cli, Command};

    async fn policy(arguments: &[&str]) -> (Result<Exit, Exit>, String) {
        let cli = Cli::try_parse_from(["onward", "policy"].iter().chain(arguments)).expect("parses");
        let Command::Policy(command) = cli.command else { panic!("another command") };
        let (mut terminal, out, _) = capture::terminal();
        let outcome = super::super::run(&command, &mut terminal).await.map_err(|failure| failure.exit);
        (outcome, out.text())
    }

    /// A folder with a configuration and the project's policies, to be changed.
    fn place() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let policies = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/disclosure");
        for file in std::fs::read_dir(policies).expect("policies") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
        }
        let config = folder.path().join("gateway.toml");
        std::fs::write(&config, "[disclosure]\nfolder = \".\"\n").expect("written");
        let config = config.to_str().expect("UTF-8").to_owned();
        (folder, config)
    }

    fn edit(folder: &tempfile::TempDir, file: &str, from: &str, to: &str) {
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{file} has {from}");
        std::fs::write(path, text.replacen(from, to, 1)).expect("written");
    }

    /// What CI relies on: a change of a policy fails here until somebody writes the expectation anew.
    #[tokio::test]
    async fn the_policies_of_the_project_are_as_expected() {
        let (outcome, out) = policy(&["test"]).await;
        assert_eq!(outcome, Ok(Exit::Done), "{out}");
        assert!(out.starts_with("as expected: "), "{out}");
        let (_, csv) = policy(&["matrix", "--csv"]).await;
        assert_eq!(csv, BUILT_IN, "expectations.csv is what `onward policy matrix --csv` prints");
    }

    #[tokio::test]
    async fn an_element_more_for_anyone_fails_and_is_named() {
        let (folder, config) = place();
        assert_eq!(policy(&["test", "--config", &config]).await.0, Ok(Exit::Done));
        let condition = r#"Condition = ["clinicalStatus", "verificationStatus", "code", "subject"]"#;
        edit(&folder, "pharmacy-nomination.toml", "[elements]", &format!("[elements]\n{condition}"));
        let (outcome, out) = policy(&["test", "--config", &config, "--json"]).await;
        assert_eq!(outcome, Ok(Exit::No), "{out}");
        let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(
            rows.iter().all(|row| row["change"] == "newly disclosed" && row["recipient"] == "pharmacy-nomination"),
            "{out}"
        );
        assert!(rows.iter().any(|row| row["element"].as_str().is_some_and(|e| e.starts_with("Condition."))), "{out}");
    }

    #[tokio::test]
    async fn an_element_less_fails_too_and_stale_files_are_refused() {
        let (folder, config) = place();
        edit(&folder, "expectations.csv", ",no", ",yes");
        let (outcome, out) = policy(&["test", "--config", &config]).await;
        assert_eq!(outcome, Ok(Exit::No));
        assert!(out.starts_with("no longer disclosed: "), "{out}");
        edit(&folder, "expectations.csv", ",yes", ",perhaps");
        assert_eq!(policy(&["test", "--config", &config]).await.0, Err(Exit::Usage));
        std::fs::remove_file(folder.path().join("expectations.csv")).expect("there");
        assert_eq!(policy(&["test", "--config", &config]).await.0, Err(Exit::Usage));
        let elsewhere = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/disclosure/expectations.csv");
        assert_eq!(policy(&["test", "--config", &config, "--expectations", elsewhere]).await.0, Ok(Exit::Done));
    }
}
