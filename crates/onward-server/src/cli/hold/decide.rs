//! `onward hold release`, `reroute` and `close`: a preview first, the act with `--yes`.

use std::collections::BTreeSet;

use clap::Args;
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::{HoldId, OdsCode};
use onward_gateway::decision::Decided;
use onward_gateway::holds::{Choice, Decider, Planned, Released};
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::input;
use crate::cli::open::{self, ConfigArgs};
use crate::cli::terminal::{Style, Terminal, plain};
use crate::in_force;

/// Which hold, who decides, and why.
#[derive(Debug, Args)]
pub struct Decision {
    #[command(flatten)]
    config: ConfigArgs,
    /// Why, for the audit log, and for the hospital when nothing is sent; no patient data
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who decides, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The hold
    #[arg(value_name = "ID")]
    id: HoldId,
}

/// Let it go on.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    decision: Decision,
    /// For a person who is restricted or objects to sharing: who may receive, as agreed with the ward; of a restricted one care-home,
    /// covering-practice and pharmacy-referral
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    recipients_agreed_with_ward: Vec<RecipientKind>,
}

/// Let it go on to named parties.
#[derive(Debug, Args)]
pub struct Reroute {
    #[command(flatten)]
    decision: Decision,
    /// The home that the person goes to
    #[arg(long, value_name = "ODS", required_unless_present = "registered_practice")]
    care_home: Option<OdsCode>,
    /// The person's own practice
    #[arg(long, value_name = "ODS")]
    registered_practice: Option<OdsCode>,
}

fn kind(text: &str) -> Result<RecipientKind, String> {
    text.parse().map_err(|_| {
        let kinds = Decided::agreeable(HoldReason::Objection);
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        format!("expected one of {}", kinds.join(", "))
    })
}

/// Runs `onward hold release`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn release(command: &Release, terminal: &mut Terminal) -> Outcome {
    let agreed_recipients: BTreeSet<_> = command.recipients_agreed_with_ward.iter().copied().collect();
    decide(&command.decision, Some(Choice::Release { agreed_recipients }), terminal).await
}

/// Runs `onward hold reroute`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn reroute(command: &Reroute, terminal: &mut Terminal) -> Outcome {
    let (care_home, registered_practice) = (command.care_home.clone(), command.registered_practice.clone());
    decide(&command.decision, Some(Choice::Reroute { care_home, registered_practice }), terminal).await
}

/// Runs `onward hold close`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn close(command: &Decision, terminal: &mut Terminal) -> Outcome {
    decide(command, None, terminal).await
}

/// `None` ends the transfer.
async fn decide(decision: &Decision, choice: Option<Choice>, terminal: &mut Terminal) -> Outcome {
    let (config, store) = decision.config.existing_store().await?;
    let app = open::build(&config, store)?;
    if decision.yes && choice.is_some() {
        // What it queues is made by the policies of this configuration, which no start may have put in force.
        let policies = in_force::policies(&config).map_err(Failure::configuration)?;
        in_force::note_policies(&app.gateway, &in_force::node(), &policies).await?;
    }
    let agent = open::operator(&app.gateway.settings().own_ods);
    let decider = Decider { agent, by: &decision.by, reason: &decision.reason, act: decision.yes, request_id: None };
    let released = match choice {
        Some(choice) => app.gateway.release(decision.id, choice, &decider).await?,
        None => app.gateway.close(decision.id, &decider).await?,
    };
    let told = |response: bool| match response {
        true => "the hospital gets a negative ITK3 response, and sees it in the Task",
        false => "the hospital asked for no ITK3 response; it sees it in the Task",
    };
    let (state, text) = match &released {
        Released::Queued(copies) => ("released", format!("{} deliveries are queued", copies.len())),
        Released::Closed { response } => ("closed", format!("nothing is sent; {}", told(*response))),
        Released::WouldQueue(copies) => {
            ("preview", format!("{} deliveries would be queued; --yes does it", copies.len()))
        }
        Released::WouldClose { response } => {
            ("preview", format!("nothing would be sent; {}; --yes does it", told(*response)))
        }
        Released::NotFound => ("not-found", format!("there is no open hold {}", decision.id)),
        Released::NotDecidable(why) => ("not-decidable", why.to_string()),
        Released::StillHeld(cause) => ("still-held", format!("{}: {}", cause.reason, cause.detail)),
        Released::Refused(why) => ("refused", format!("the message would be refused now: {why}")),
    };
    let copies: &[Planned] = match &released {
        Released::Queued(copies) | Released::WouldQueue(copies) => copies,
        _ => &[],
    };
    let done = matches!(
        released,
        Released::Queued(_) | Released::Closed { .. } | Released::WouldQueue(_) | Released::WouldClose { .. }
    );
    if decision.json {
        let deliveries: Vec<Value> = copies.iter().map(|copy| planned(copy, decision.yes)).collect();
        terminal.json(&json!({ "hold": decision.id, "state": state, "detail": text, "deliveries": deliveries }));
        return Ok(Exit::answer(done));
    }
    let word = terminal.paint(if done { Style::Green } else { Style::Red }, state);
    terminal.say(format_args!("{word}: {}", plain(&text)));
    if !copies.is_empty() {
        let row = |copy: &Planned| {
            [copy.kind.to_string(), copy.recipient.to_string(), copy.name.clone(), copy.transport.to_string()]
        };
        terminal.table(["recipient", "ODS", "name", "by"], &copies.iter().map(row).collect::<Vec<_>>());
    }
    Ok(Exit::answer(done))
}

/// A preview has no identifiers: the copies are made anew when it is done.
fn planned(copy: &Planned, queued: bool) -> Value {
    json!({
        "delivery": queued.then_some(copy.id), "recipient": copy.kind.as_str(), "ods": copy.recipient,
        "name": copy.name, "transport": copy.transport.as_str(),
    })
}
