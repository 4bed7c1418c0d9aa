//! `onward pause` and `onward resume`: nothing is sent to a recipient, or to anybody, until a person says so.

use clap::Args;
use onward_core::OdsCode;
use onward_core::store::Pause;
use onward_gateway::holds::Decider;
use onward_gateway::operate::Pausing;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, minute};
use super::terminal::{Style, Terminal};
use crate::app::App;

/// Whom it is about, who says so, and why.
#[derive(Debug, Args)]
struct Whom {
    #[command(flatten)]
    config: ConfigArgs,
    /// The recipient; for a home, any of its codes
    #[arg(value_name = "ODS", required_unless_present = "all", conflicts_with = "all")]
    recipient: Option<OdsCode>,
    /// Everybody
    #[arg(long)]
    all: bool,
    /// Why, for the audit log and for whoever looks; no patient data
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who decides, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Sends nothing more to a recipient, or to anybody, until `resume`. Messages are still taken in and wait; nothing is
/// discarded. It is read before every attempt, so that it holds at once, also for a gateway that is running.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward pause VMH01 --reason 'the home moves its system' --by 'Ada Wells'
  onward pause --all --reason 'wrong directory imported' --by 'Ada Wells'

`onward status` without an identifier, and the metric onward_paused_recipients, show what is paused. Exit code 1: it is paused already,
or neither the directory nor any delivery knows the code.")]
pub struct PauseCommand {
    #[command(flatten)]
    whom: Whom,
}

/// Ends a pause: what waits is sent in the order in which it came.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  onward resume VMH01 --reason 'the new system is up' --by 'Ada Wells'")]
pub struct ResumeCommand {
    #[command(flatten)]
    whom: Whom,
}

/// Runs `onward pause`.
///
/// # Errors
/// When it is paused already, or the store cannot commit.
pub(super) async fn pause(command: &PauseCommand, terminal: &mut Terminal) -> Outcome {
    let whom = &command.whom;
    let app = whom.config.app().await?;
    match app.gateway.pause(whom.recipient.as_ref(), &decider(&app, whom)).await? {
        Pausing::Done(recipient) => told(whom, recipient.as_ref(), "paused", terminal),
        Pausing::Already(recipient) => Err(Failure::no(format!("{} is paused already", named(recipient.as_ref())))),
        Pausing::Unknown => Err(unknown(whom, "paused")),
    }
}

/// Runs `onward resume`.
///
/// # Errors
/// When it is not paused, or the store cannot commit.
pub(super) async fn resume(command: &ResumeCommand, terminal: &mut Terminal) -> Outcome {
    let whom = &command.whom;
    let app = whom.config.app().await?;
    match app.gateway.resume(whom.recipient.as_ref(), &decider(&app, whom)).await? {
        Pausing::Done(recipient) => told(whom, recipient.as_ref(), "resumed", terminal),
        Pausing::Already(recipient) => Err(Failure::no(format!("{} is not paused", named(recipient.as_ref())))),
        Pausing::Unknown => Err(unknown(whom, "resumed")),
    }
}

fn unknown(whom: &Whom, what: &str) -> Failure {
    Failure::no(format!(
        "neither the directory nor any delivery knows {}: nothing was {what} (`onward directory list` shows who is known)",
        named(whom.recipient.as_ref())
    ))
}

fn decider<'w>(app: &App, whom: &'w Whom) -> Decider<'w> {
    let agent = open::operator(&app.gateway.settings().own_ods);
    Decider { agent, by: &whom.by, reason: &whom.reason, act: true, request_id: None }
}

fn named(recipient: Option<&OdsCode>) -> String {
    recipient.map_or_else(|| "everybody".to_owned(), ToString::to_string)
}

fn told(whom: &Whom, recipient: Option<&OdsCode>, what: &str, terminal: &mut Terminal) -> Outcome {
    if whom.json {
        terminal.json(&json!({ "state": what, "recipient": recipient, "asked": whom.recipient, "all": whom.all }));
    } else {
        let word = terminal.paint(Style::Green, what);
        let other = whom.recipient.as_ref().filter(|asked| recipient != Some(asked));
        let other = other.map(|asked| format!(" ({asked} is another code of it)")).unwrap_or_default();
        terminal.say(format_args!("{word}: {}{other}", named(recipient)));
    }
    Ok(Exit::Done)
}

/// Shows what is paused.
pub(super) fn show(pauses: &[Pause], terminal: &mut Terminal) {
    let row = |pause: &Pause| {
        let whom = pause.recipient.as_ref().map_or_else(|| "everybody".to_owned(), ToString::to_string);
        [whom, minute(pause.since), pause.by.clone(), pause.reason.clone()]
    };
    terminal.table(["paused", "since", "by", "reason"], &pauses.iter().map(row).collect::<Vec<_>>());
}
