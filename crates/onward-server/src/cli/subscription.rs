//! `onward subscription`: whose systems are called when a Task changes, and the end of what troubles somebody.

use clap::{Args, Subcommand};
use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::store::subscriptions::Subscription;
use onward_gateway::holds::Decider;
use onward_gateway::subscriptions::TurnedOff;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, Desk, minute};
use super::terminal::{Style, Terminal};

/// Systems that asked to be called.
#[derive(Debug, Subcommand)]
pub enum SubscriptionCommand {
    /// Lists every client's subscriptions, with why the last call failed. Of the address only the host is shown: its owner wrote the rest
    #[command(after_help = "Examples:
  onward subscription list
  onward subscription list --json | jq -r 'select(.status == \"error\") | [.client, .error] | @tsv'")]
    List(List),
    /// Turns a subscription off: nobody is called for it any more
    #[command(after_help = "Example:
  onward subscription off ID --reason 'their host is being moved' --by 'Ada Wells'

Its owner sees that it is off, and can ask for it again. To keep it off, take the address out of [delivery] hooks, or disable the
client: that turns off all that it has. Exit code 1: there is no such subscription, or it is off already.")]
    Off(Off),
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Which, and why.
#[derive(Debug, Args)]
pub struct Off {
    #[command(flatten)]
    config: ConfigArgs,
    /// Why, for the audit log; no patient data
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who decides, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The subscription
    #[arg(value_name = "ID")]
    id: Uuid,
}

/// Runs it.
///
/// # Errors
/// When configuration or store cannot be used, or there is nothing to turn off.
pub(super) async fn run(command: &SubscriptionCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        SubscriptionCommand::List(list) => self::list(list, terminal).await,
        SubscriptionCommand::Off(off) => self::off(off, terminal).await,
    }
}

async fn list(list: &List, terminal: &mut Terminal) -> Outcome {
    let (config, store) = list.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let asked = "subscription list";
    // First the entry about the look, then what it shows.
    let entry = AuditEntry { query: Some(asked.to_owned()), ..desk.entry(AuditWord::Query, asked) };
    store.audit(vec![desk.row_of(&entry)]).await?;
    let all = store.subscriptions(None).await?;
    let row = |each: &Subscription| {
        [
            each.id.to_string(),
            each.client_id.clone(),
            each.status.to_string(),
            minute(each.changed),
            host(each),
            each.criteria.clone(),
            each.failures.to_string(),
            each.error.clone().unwrap_or_default(),
        ]
    };
    let headings = ["subscription", "client", "status", "since", "host", "criteria", "failures", "why"];
    terminal.list(&all, list.json.then_some(shown), "no system has subscribed", headings, row);
    Ok(Exit::Done)
}

async fn off(off: &Off, terminal: &mut Terminal) -> Outcome {
    let app = off.config.app().await?;
    let agent = open::operator(&app.gateway.settings().own_ods);
    let decider = Decider { agent, by: &off.by, reason: &off.reason, act: true, request_id: None };
    let id = off.id;
    let done = match app.gateway.turn_off_subscription(id, &decider).await? {
        TurnedOff::Done(done) => done,
        TurnedOff::Already => return Err(Failure::no(format!("subscription {id} is off already"))),
        TurnedOff::NotFound => {
            return Err(Failure::no(format!("there is no subscription {id}: `onward subscription list` shows all")));
        }
    };
    if off.json {
        terminal.json(&shown(&done));
    } else {
        let word = terminal.paint(Style::Green, "off");
        terminal.say(format_args!("{word}: subscription {id} of {}", done.client_id));
    }
    Ok(Exit::Done)
}

fn host(subscription: &Subscription) -> String {
    let url = Url::parse(&subscription.endpoint).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

fn shown(each: &Subscription) -> Value {
    json!({
        "id": each.id, "client": each.client_id, "status": each.status, "changed": each.changed, "created": each.created,
        "host": host(each), "criteria": each.criteria, "end": each.ends, "failures": each.failures, "error": each.error,
    })
}

#[cfg(test)]
mod tests;
