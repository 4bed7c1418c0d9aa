//! `onward policy`: who may receive what, and whether that is what was agreed.

mod expectations;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use onward_core::state::RecipientKind;
use onward_transform::disclose::{Cell, MatrixRow, matrix};
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::open::ConfigArgs;
use super::terminal::Terminal;
use crate::app;

/// Disclosure policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Prints element by recipient, computed from the policies in force
    #[command(after_help = "Examples:
  onward policy matrix
  onward policy matrix --csv > matrix.csv

Elements without a row go to nobody but recipients of the identical document.")]
    Matrix(Matrix),
    /// Compares the policies in force with the expectations beside them; fails on every difference
    #[command(after_help = "Examples:
  onward policy test
  onward policy test --config gateway.toml --json | jq -r 'select(.change == \"newly disclosed\") | .element'

Expectations are a matrix that somebody agreed to: expectations.csv in the folder of the policies. A policy that newly
discloses anything to anyone fails until the expectation says so; one that discloses less fails as well, because an
expectation that allows more than the policy would let a later widening pass. After agreement, write them anew:
  onward policy matrix --csv > config/disclosure/expectations.csv

Exit code: 0 as expected, 1 something differs.")]
    Test(Test),
}

/// Against what.
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    config: ConfigArgs,
    /// Other expectations than those beside the policies
    #[arg(long, value_name = "FILE")]
    expectations: Option<PathBuf>,
    /// One line of JSON for each difference
    #[arg(long)]
    json: bool,
}

/// In which form.
#[derive(Debug, Args)]
pub struct Matrix {
    #[command(flatten)]
    config: ConfigArgs,
    /// Comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// One line of JSON for each element
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When a policy cannot be used.
pub(super) fn run(command: &Policy, terminal: &mut Terminal) -> Outcome {
    match command {
        Policy::Matrix(command) => print(command, terminal),
        Policy::Test(command) => expectations::test(command, terminal),
    }
}

fn print(command: &Matrix, terminal: &mut Terminal) -> Outcome {
    let config = command.config.load()?.config;
    let policies: Vec<_> = app::load_policies(&config).map_err(Failure::configuration)?.into_values().collect();
    let rows = matrix(&policies);
    let kinds: Vec<RecipientKind> = policies.iter().map(|policy| policy.recipient).collect();
    if command.json {
        for row in &rows {
            let cells: serde_json::Map<_, _> =
                row.cells.iter().map(|(kind, cell)| (kind.to_string(), json!(cell.as_str()))).collect();
            terminal.json(&json!({ "element": row.element, "recipients": cells }));
        }
    } else if command.csv {
        terminal.write(&csv(&kinds, &rows)?);
    } else {
        let kinds: [RecipientKind; 5] = kinds
            .try_into()
            .map_err(|_| Failure::fault(anyhow::anyhow!("there is one policy for each of the five recipient kinds")))?;
        let [a, b, c, d, e] = kinds.map(RecipientKind::as_str);
        terminal.table(["element", a, b, c, d, e], &rows.iter().map(table_row).collect::<Vec<_>>());
    }
    Ok(Exit::Done)
}

fn table_row(row: &MatrixRow) -> [String; 6] {
    let mut cells = row.cells.iter().map(|(_, cell)| match cell {
        // The eye should find what goes out.
        Cell::No => "-".to_owned(),
        cell => cell.as_str().to_owned(),
    });
    std::array::from_fn(|at| if at == 0 { row.element.clone() } else { cells.next().unwrap_or_default() })
}

fn csv(kinds: &[RecipientKind], rows: &[MatrixRow]) -> Result<Vec<u8>, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let heading = std::iter::once("element").chain(kinds.iter().map(|kind| kind.as_str()));
    writer.write_record(heading).map_err(Failure::fault)?;
    for row in rows {
        let cells = std::iter::once(row.element.as_str()).chain(row.cells.iter().map(|(_, cell)| cell.as_str()));
        writer.write_record(cells).map_err(Failure::fault)?;
    }
    writer.into_inner().map_err(|error| Failure::fault(error.into_error()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::terminal::capture;
    use crate::cli::{Cli, Command};

    fn printed(arguments: &[&str]) -> String {
        let cli = Cli::try_parse_from(["onward", "policy", "matrix"].iter().chain(arguments)).expect("parses");
        let Command::Policy(command) = cli.command else { panic!("another command") };
        let (mut terminal, out, _) = capture::terminal();
        assert_eq!(run(&command, &mut terminal).expect("the built-in policies"), Exit::Done);
        out.text()
    }

    #[test]
    fn three_forms_tell_the_same() {
        let table = printed(&[]);
        let csv = printed(&["--csv"]);
        let json: Vec<serde_json::Value> =
            printed(&["--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(table.starts_with("element") && table.contains("pharmacy-referral"));
        assert_eq!(table.lines().count(), json.len() + 1);
        assert_eq!(csv::Reader::from_reader(csv.as_bytes()).records().count(), json.len());
        assert!(json.len() > 50, "{} rows", json.len());
        for row in &json {
            assert_eq!(row["recipients"].as_object().map(serde_json::Map::len), Some(5));
            assert_eq!(row["recipients"]["registered-practice"], "identical", "the legal document goes whole");
        }
    }
}
