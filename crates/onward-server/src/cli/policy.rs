//! `onward policy`: who may receive what, and whether that is what was agreed.

mod expectations;
mod sent;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use onward_core::Timestamp;
use onward_core::state::RecipientKind;
use onward_transform::disclose::{Cell, MatrixRow, matrix};
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::ConfigArgs;
use super::terminal::Terminal;
use crate::{app, spreadsheet};

/// Disclosure policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Prints element by recipient: from the policies in force, or from what was sent
    #[command(after_help = "Examples:
  onward policy matrix
  onward policy matrix --csv > matrix.csv
  onward policy matrix --sent --from 2026-11-01 --until 2026-12-01 --config gateway.toml
  onward policy matrix --sent --format dpia --config gateway.toml > disclosed.md

Elements without a row go to nobody but recipients of the identical document.

With --sent: what the bytes carried that were sent and read, from the entries of the audit log. In how many copies each element
went, by kind of recipient (--csv, --json: by organisation too). `envelope` is what stands around the hospital's document, `page`
what a page for people shows. Each list is held against the digest in its entry; whether the entries are whole says
`onward audit verify`. An exclamation mark, and exit code 1: something went that the policy lets go to nobody of that kind, or a
list is not what its entry says.")]
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
    /// From what was sent instead of the policies
    #[arg(long)]
    sent: bool,
    /// What was recorded from this moment (RFC 3339) or day on
    #[arg(long, value_name = "T", value_parser = input::moment, requires = "sent")]
    from: Option<Timestamp>,
    /// And before this one
    #[arg(long, value_name = "T", value_parser = input::moment, requires = "sent")]
    until: Option<Timestamp>,
    /// A table, comma-separated values, one line of JSON for each element, or (with --sent) Markdown for an impact assessment
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format csv
    #[arg(long, conflicts_with_all = ["json", "format"])]
    csv: bool,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How a matrix is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
    Dpia,
}

impl Matrix {
    fn format(&self) -> Format {
        match (self.csv, self.json) {
            (true, _) => Format::Csv,
            (_, true) => Format::Json,
            _ => self.format,
        }
    }
}

/// Runs it.
///
/// # Errors
/// When a policy cannot be used.
pub(super) async fn run(command: &Policy, terminal: &mut Terminal) -> Outcome {
    match command {
        Policy::Matrix(command) if command.sent => sent::print(command, terminal).await,
        Policy::Matrix(command) => print(command, terminal),
        Policy::Test(command) => expectations::test(command, terminal),
    }
}

fn print(command: &Matrix, terminal: &mut Terminal) -> Outcome {
    let format = command.format();
    if format == Format::Dpia {
        return Err(Failure::usage(
            "--format dpia tells what was sent: add --sent; `onward ropa --dpia` tells what may be",
        ));
    }
    let config = command.config.load()?.config;
    let policies: Vec<_> = app::load_policies(&config).map_err(Failure::configuration)?.into_values().collect();
    let rows = matrix(&policies);
    let kinds: Vec<RecipientKind> = policies.iter().map(|policy| policy.recipient).collect();
    if format == Format::Json {
        for row in &rows {
            let cells: serde_json::Map<_, _> =
                row.cells.iter().map(|(kind, cell)| (kind.to_string(), json!(cell.as_str()))).collect();
            terminal.json(&json!({ "element": row.element, "recipients": cells }));
        }
    } else if format == Format::Csv {
        terminal.write(&csv(&kinds, &rows));
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

fn csv(kinds: &[RecipientKind], rows: &[MatrixRow]) -> Vec<u8> {
    let heading = std::iter::once("element").chain(kinds.iter().map(|kind| kind.as_str()));
    let heading: Vec<String> = heading.map(str::to_owned).collect();
    let rows = rows.iter().map(|row| {
        let cells = std::iter::once(row.element.as_str()).chain(row.cells.iter().map(|(_, cell)| cell.as_str()));
        cells.map(str::to_owned).collect()
    });
    spreadsheet::lines(std::iter::once(heading).chain(rows))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::terminal::capture;
    use crate::cli::{Cli, Command};

    async fn printed(arguments: &[&str]) -> String {
        let cli = Cli::try_parse_from(["onward", "policy", "matrix"].iter().chain(arguments)).expect("parses");
        let Command::Policy(command) = cli.command else { panic!("another command") };
        let (mut terminal, out, _) = capture::terminal();
        assert_eq!(run(&command, &mut terminal).await.expect("the built-in policies"), Exit::Done);
        out.text()
    }

    #[tokio::test]
    async fn three_forms_tell_the_same() {
        let table = printed(&[]).await;
        let csv = printed(&["--csv"]).await;
        assert_eq!(csv, printed(&["--format", "csv"]).await);
        let json: Vec<serde_json::Value> =
            printed(&["--json"]).await.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
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
