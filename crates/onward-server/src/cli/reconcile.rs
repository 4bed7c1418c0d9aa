//! `onward reconcile`: the hospital's own list of discharges against what was received, delivered and read.

mod list;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;
use onward_core::{NhsNumber, OdsCode, Timestamp};
use onward_gateway::reconcile::{Discharge, Progress, Reconciled};
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, minute};
use super::terminal::{Style, Terminal, plain};
use crate::spreadsheet;

/// Discharges that are looked up, and audited, at once, where one person has no more.
const BATCH: usize = 500;

/// Compares the hospital's own list of discharges with what was received, delivered and read. What is missing is the worklist.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward reconcile november.csv --sender R9Z
  onward reconcile november.csv --sender R9Z --csv > work.csv

The list is CSV (UTF-8; comma, semicolon or tab) with a heading: nhs_number, discharged (2026-11-18 or 18/11/2026, with a time if you
have one) and, if you like, reference, your own name for it. Discharges of a person are matched with the messages about them, the nearest
in time first and each message once. A message counts by the discharge that its document tells, which may be 48 hours from the list's;
where it tells none, by when it came. The worklist names lines and references, and no person; each person whose discharge was found is in the audit log.

States: not-received, held, not-sent, withdrawn, failed, not-delivered (waits, or was sent and nothing says that it arrived), declined,
not-read, closed (a copy did not arrive, and a person took care of it in another way), read; what was taken back from somebody, or replaced, does not count. Besides, unreadable for a row that is no
discharge, unlisted for a message that came in the list's time and that no row stands for.
Exit code: 0 every discharge was received, and delivered and read or closed by a person, 1 there is work.")]
pub struct Reconcile {
    #[command(flatten)]
    config: ConfigArgs,
    /// The list
    #[arg(value_name = "DISCHARGES.csv")]
    file: PathBuf,
    /// The hospital whose list it is
    #[arg(long, value_name = "ODS")]
    sender: OdsCode,
    /// A message may come so many hours after its discharge
    #[arg(long, value_name = "HOURS", default_value_t = 72)]
    within_hours: u32,
    /// What was read or closed, too
    #[arg(long)]
    all: bool,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
    /// CSV, for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// One line of the worklist.
#[derive(Debug, Serialize)]
struct Work {
    line: Option<u64>,
    reference: String,
    state: &'static str,
    detail: String,
    transfer: Option<String>,
    received: Option<Timestamp>,
}

impl Work {
    fn of(line: Option<u64>, reference: String, state: &'static str, found: Reconciled) -> Self {
        let Reconciled { detail, transfer, received, .. } = found;
        Self { line, reference, state, detail, transfer: transfer.map(|id| id.to_string()), received }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.line.map(|line| line.to_string()).unwrap_or_default(),
            self.reference.clone(),
            self.state.to_owned(),
            self.detail.clone(),
            self.transfer.clone().unwrap_or_default(),
            self.received.map(minute).unwrap_or_default(),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// When the list cannot be used, or the store cannot be read or commit.
pub(super) async fn run(command: &Reconcile, terminal: &mut Terminal) -> Outcome {
    let rows = list::read(&input::bytes(&command.file)?)
        .map_err(|problem| Failure::usage(format!("{}: {problem}", command.file.display())))?;
    if rows.is_empty() {
        return Err(Failure::usage(format!("{}: a heading and no discharge", command.file.display())));
    }
    let app = command.config.app().await?;
    let within = SignedDuration::from_hours(i64::from(command.within_hours));
    let agent = open::operator(&app.gateway.settings().own_ods);
    let mut reconciliation = app.gateway.reconcile(command.sender.clone(), within, agent);
    let (mut work, mut counts) = (Vec::new(), BTreeMap::<&str, u64>::new());
    let total = rows.len();
    let discharges: Vec<&Discharge> = rows.iter().filter_map(|row| row.discharge.as_ref().ok()).collect();
    let from = discharges.iter().map(|discharge| discharge.from).min().unwrap_or(Timestamp::MAX);
    let until = discharges.iter().map(|discharge| discharge.until).max().unwrap_or(Timestamp::MIN);
    let mut found: Vec<Option<Reconciled>> = vec![None; total];
    let mut done = total - discharges.len();
    for batch in batches(&rows) {
        let discharges: Vec<Discharge> = batch.iter().filter_map(|at| rows[*at].discharge.clone().ok()).collect();
        for (at, one) in batch.iter().zip(reconciliation.find(&discharges).await?) {
            found[*at] = Some(one);
        }
        done += batch.len();
        terminal.progress(format_args!("{done} of {total} discharges"));
    }
    for (row, found) in rows.into_iter().zip(found) {
        let (line, reference) = (Some(row.line), row.reference);
        let item = match (row.discharge, found) {
            (Err(problem), _) => {
                let detail = problem.to_owned();
                Work { line, reference, state: "unreadable", detail, transfer: None, received: None }
            }
            (Ok(_), found) => {
                let found = found.expect("one answer for each discharge");
                Work::of(line, reference, found.progress.as_str(), found)
            }
        };
        *counts.entry(item.state).or_default() += 1;
        if command.all || is_work(item.state) {
            work.push(item);
        }
    }
    let unlisted = if from <= until { reconciliation.unlisted(from, until).await? } else { Vec::new() };
    for found in unlisted {
        *counts.entry("unlisted").or_default() += 1;
        let detail = match found.detail.is_empty() {
            true => found.progress.as_str().to_owned(),
            false => format!("{}: {}", found.progress.as_str(), found.detail),
        };
        work.push(Work::of(None, String::new(), "unlisted", Reconciled { detail, ..found }));
    }
    let summary: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let summary = summary.join(", ");
    reconciliation.conclude(&summary).await?;
    print(command, &work, terminal);
    let gap = counts.keys().any(|state| is_work(state));
    let word = if gap { terminal.paint(Style::Yellow, "work") } else { terminal.paint(Style::Green, "whole") };
    terminal.note(format_args!("{word}: {total} discharges: {summary}"));
    Ok(Exit::answer(!gap))
}

/// Whether somebody has to do something about a row in this state.
fn is_work(state: &str) -> bool {
    ![Progress::Closed, Progress::Read].iter().any(|done| done.as_str() == state)
}

/// The places of the rows with a discharge, in batches that no person's rows are parted by.
fn batches(rows: &[list::Row]) -> Vec<Vec<usize>> {
    let mut people: BTreeMap<&NhsNumber, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        if let Ok(discharge) = &row.discharge {
            people.entry(&discharge.patient).or_default().push(at);
        }
    }
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for theirs in people.into_values() {
        match batches.last_mut() {
            Some(batch) if batch.len() + theirs.len() <= BATCH => batch.extend(theirs),
            _ => batches.push(theirs),
        }
    }
    batches
}

fn print(command: &Reconcile, work: &[Work], terminal: &mut Terminal) {
    const HEADINGS: [&str; 6] = ["line", "reference", "state", "detail", "transfer", "received"];
    if command.json {
        work.iter().for_each(|item| terminal.json(item));
    } else if command.csv {
        terminal.write(&spreadsheet::csv(HEADINGS, work.iter().map(Work::cells)));
    } else if !work.is_empty() {
        let rows: Vec<_> = work.iter().map(|item| item.cells().map(|cell| plain(&cell))).collect();
        terminal.table(HEADINGS, &rows);
    }
}
