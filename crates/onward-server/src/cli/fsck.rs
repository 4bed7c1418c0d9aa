//! `onward fsck`: whether everything in the store adds up.

use clap::Args;

use super::exit::{Exit, Outcome};
use super::open::ConfigArgs;
use super::terminal::{Style, Terminal, plain};

/// Accounts for every accepted message and checks every rule that the store's rows must keep among themselves. It reads
/// in one snapshot and changes nothing; a gateway may be serving meanwhile. The audit log's hashes are for `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  onward fsck --config gateway.toml && onward audit verify --config gateway.toml

Exit code: 0 everything adds up, 1 something does not, by name.")]
pub struct Fsck {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn run(command: &Fsck, terminal: &mut Terminal) -> Outcome {
    let (_, store) = command.config.existing_store().await?;
    terminal.progress(format_args!("reading the store"));
    let checkup = store.checkup().await?;
    let whole = checkup.flaws.is_empty();
    if command.json {
        terminal.json(&checkup);
        return Ok(Exit::answer(whole));
    }
    let (style, word) = if whole { (Style::Green, "adds up") } else { (Style::Red, "does not add up") };
    let word = terminal.paint(style, word);
    terminal.say(format_args!(
        "{word}: {} accepted = {} delivered + {} pending + {} parked + {} ended; {} copies, {} audit entries",
        checkup.accepted,
        checkup.delivered,
        checkup.pending,
        checkup.parked,
        checkup.ended,
        checkup.copies,
        checkup.audit
    ));
    for flaw in &checkup.flaws {
        let broken = terminal.paint(Style::Red, "broken");
        terminal.say(format_args!("{broken}: {} ({} times, first {})", flaw.rule, flaw.count, plain(&flaw.example)));
    }
    Ok(Exit::answer(whole))
}
