//! `onward report`: what commissioners must be told about discharges, counted from what is here; small numbers suppressed.

mod chart;
mod figures;
mod suppress;

use std::path::PathBuf;

use clap::Args;
use onward_core::Timestamp;
use onward_core::audit::AuditWord;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{ConfigArgs, Desk, minute, now};
use super::output;
use super::sar::page::{STYLE, escape};
use super::terminal::{Style, Terminal};
use figures::Figures;

/// Counts discharges for commissioners: CSV and charts, each chart with its table.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  onward report --from 2026-11-01 --to 2026-12-01 --out november --config gateway.toml

The folder holds a .csv and a .svg for each of: transfers by hospital, care home, pathway and day; time from message to each door;
unread when the person arrived; holds by reason; and index.html with all of them.

Numbers from 1 to 4 are printed as *. So that no total minus the others reveals one, further numbers of the same table are
printed as * until at least two are, and until what they add up to leaves each of them any value from 1 to 5; where there are
none left, one row stands for all of them, and the total goes if it is small itself. Who had read it is told by the arrival that the
home recorded; apart from these, by when the message expected the person. Times are given only where at least five copies count. Days are those of London.
Exit code 1: nothing came in this time.")]
pub struct Report {
    #[command(flatten)]
    config: ConfigArgs,
    /// Messages that came from this moment (RFC 3339) or day on
    #[arg(long, value_name = "T", value_parser = input::moment)]
    from: Timestamp,
    /// And before this one
    #[arg(long, value_name = "T", value_parser = input::moment)]
    to: Timestamp,
    /// A folder that is not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When configuration, store or folder cannot be used.
pub(super) async fn run(command: &Report, terminal: &mut Terminal) -> Outcome {
    use std::io::Write as _;
    if command.from >= command.to {
        return Err(Failure::usage("--from must be before --to"));
    }
    let (config, store) = command.config.existing_store().await?;
    if command.out.exists() {
        return Err(Failure::usage(format!("{} is there already", command.out.display())));
    }
    let transfers = store.reported(command.from, command.to).await?;
    if transfers.is_empty() {
        return Err(Failure::no("nothing came in this time"));
    }
    let figures = Figures::of(&transfers, now());
    let detail = format!("report of transfers from {} to {}", command.from, command.to);
    store.audit(vec![Desk::new(&config)?.row(AuditWord::Query, detail)]).await?;
    std::fs::create_dir(&command.out)?;
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\">");
    page.push_str(&format!(
        "<title>Discharges</title><style>{STYLE}svg{{max-width:100%;height:auto}}</style></head><body><h1>Discharges, {}</h1>\
         <p>Messages that came from {} to {}. Numbers from 1 to 4, and those that would reveal one, are shown as *.</p>",
        escape(&config.identity.name),
        escape(&minute(command.from)),
        escape(&minute(command.to))
    ));
    let tables = figures.tables();
    for table in &tables {
        let svg = chart::svg(table);
        page.push_str(&format!("<h2>{}</h2>{svg}{}", escape(table.title), table.html()));
        for (ending, bytes) in [("csv", table.csv()), ("svg", svg.into_bytes())] {
            output::new_file(&command.out.join(format!("{}.{ending}", table.name)))?.write_all(&bytes)?;
        }
    }
    page.push_str("</body></html>\n");
    output::new_file(&command.out.join("index.html"))?.write_all(page.as_bytes())?;
    if command.json {
        let names: Vec<_> = tables.iter().map(|table| table.name).collect();
        terminal.json(&json!({ "folder": command.out, "tables": names }));
    } else {
        let word = terminal.paint(Style::Green, "written");
        terminal.say(format_args!("{word}: {}: {} tables", command.out.display(), tables.len()));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
