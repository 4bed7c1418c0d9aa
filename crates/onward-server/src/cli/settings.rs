//! `onward config`: the defaults, what is in force and where it comes from, and whether it can work here.

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::open::ConfigArgs;
use super::terminal::{Style, Terminal};
use super::validate::counted;
use crate::config::{self, Severity};

/// The gateway's configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints the commented defaults, every key with its meaning
    #[command(after_help = "Example:\n  onward config default > gateway.toml")]
    Default,
    /// Says whether the configuration can work on this machine; nothing is connected to
    #[command(after_help = "Example:\n  onward config check --config gateway.toml\n\nExit code 2: with an error.")]
    Check(Show),
    /// Prints every key in force with its origin
    #[command(after_help = "Example:\n  onward config show --json | jq -r '.[] | select(.source != \"default\")'")]
    Show(Show),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    config: ConfigArgs,
    /// JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When the configuration is none.
pub(super) fn run(command: &ConfigCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        ConfigCommand::Default => {
            terminal.write(config::DEFAULTS.as_bytes());
            Ok(Exit::Done)
        }
        ConfigCommand::Check(check) => self::check(check, terminal),
        ConfigCommand::Show(show) => self::show(show, terminal),
    }
}

fn check(check: &Show, terminal: &mut Terminal) -> Outcome {
    let findings = check.config.load()?.check();
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if check.json {
        terminal.json(&json!({ "valid": errors == 0, "findings": findings }));
    } else {
        for finding in &findings {
            let (word, style) = match finding.severity {
                Severity::Error => ("error  ", Style::Red),
                Severity::Warning => ("warning", Style::Yellow),
            };
            let (word, key) = (terminal.paint(style, word), terminal.paint(Style::Bold, finding.key));
            terminal.say(format_args!("{word}  {key}"));
            terminal.paragraph(9, &finding.message);
        }
        let warnings = counted(findings.len() - errors, "warning");
        terminal.say(format_args!("{}, {warnings}", counted(errors, "error")));
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::Usage })
}

fn show(show: &Show, terminal: &mut Terminal) -> Outcome {
    let loaded = show.config.load()?;
    if show.json {
        terminal.json(&loaded.settings);
        return Ok(Exit::Done);
    }
    let rows: Vec<_> =
        loaded.settings.into_iter().map(|setting| [setting.key, setting.value, setting.source]).collect();
    terminal.table(["key", "value", "from"], &rows);
    Ok(Exit::Done)
}
