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

/// The reason that was seen.
#[derive(Debug, Args)]
struct Seen {
    /// Why it is held, as `onward hold list` prints it: where that has become another reason, nothing is decided. Needed with --yes
    /// where it would be sent despite the reason
    #[arg(long, value_name = "REASON", value_parser = hold_reason)]
    held_for: Option<HoldReason>,
}

/// Let it go on.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    decision: Decision,
    #[command(flatten)]
    seen: Seen,
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
    #[command(flatten)]
    seen: Seen,
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

fn hold_reason(text: &str) -> Result<HoldReason, String> {
    let why = |_| "expected the reason of a hold as `onward hold list` prints it, such as care-home-unknown".to_owned();
    text.parse().map_err(why)
}

/// Runs `onward hold release`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn release(command: &Release, terminal: &mut Terminal) -> Outcome {
    let agreed_recipients: BTreeSet<_> = command.recipients_agreed_with_ward.iter().copied().collect();
    let choice = Choice::Release { agreed_recipients };
    decide(&command.decision, Some(choice), command.seen.held_for, terminal).await
}

/// Runs `onward hold reroute`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn reroute(command: &Reroute, terminal: &mut Terminal) -> Outcome {
    let (care_home, registered_practice) = (command.care_home.clone(), command.registered_practice.clone());
    let choice = Choice::Reroute { care_home, registered_practice };
    decide(&command.decision, Some(choice), command.seen.held_for, terminal).await
}

/// Runs `onward hold close`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn close(command: &Decision, terminal: &mut Terminal) -> Outcome {
    decide(command, None, None, terminal).await
}

/// Without a choice the transfer ends. What would be sent despite its reason is only shown to whoever did not say that reason: it may have
/// become one that they have not seen, such as that the person has died.
async fn decide(
    decision: &Decision,
    choice: Option<Choice>,
    held_for: Option<HoldReason>,
    terminal: &mut Terminal,
) -> Outcome {
    let (config, store) = decision.config.existing_store().await?;
    let app = open::build(&config, store)?;
    let reason = app.gateway.store().open_hold(decision.id).await?.map(|held| held.hold.reason);
    let despite = choice.as_ref().zip(reason).is_some_and(|(choice, reason)| choice.sends_despite(reason));
    let act = decision.yes && (!despite || held_for.is_some());
    if act && choice.is_some() {
        // What it queues is made by the policies of this configuration, which no start may have put in force.
        let policies = in_force::policies(&config).map_err(Failure::configuration)?;
        in_force::note_policies(&app.gateway, &in_force::node(), &policies).await?;
    }
    let agent = open::operator(&app.gateway.settings().own_ods);
    let decider = Decider { agent, by: &decision.by, reason: &decision.reason, act, request_id: None };
    let released = match (reason, choice) {
        (None, _) => Released::NotFound,
        // About the reason that was shown a moment ago, where none was said.
        (Some(reason), Some(choice)) => {
            app.gateway.release_for(decision.id, held_for.unwrap_or(reason), choice, &decider).await?
        }
        (Some(_), None) => app.gateway.close(decision.id, &decider).await?,
    };
    // It was shown, and nothing was done.
    let is_unconfirmed = decision.yes && matches!(released, Released::WouldQueue(_));
    let (state, text) = words(decision, held_for, reason, &released);
    let copies: &[Planned] = match &released {
        Released::Queued(copies) | Released::WouldQueue(copies) => copies,
        _ => &[],
    };
    let is_well = matches!(
        released,
        Released::Queued(_) | Released::Closed { .. } | Released::WouldQueue(_) | Released::WouldClose { .. }
    );
    let done = is_well && !is_unconfirmed;
    if decision.json {
        let deliveries: Vec<Value> = copies.iter().map(|copy| planned(copy, act)).collect();
        let (hold, held_for) = (decision.id, reason);
        terminal.json(&json!({
            "hold": hold, "held_for": held_for, "state": state, "detail": text, "deliveries": deliveries,
        }));
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

/// What became of it, and in words, of a hold that was held for `reason`, and that who decides has seen held for `held_for`.
fn words(
    decision: &Decision,
    held_for: Option<HoldReason>,
    reason: Option<HoldReason>,
    released: &Released,
) -> (&'static str, String) {
    let told = |response: bool| match response {
        true => "the hospital gets a negative ITK3 response, and sees it in the Task",
        false => "the hospital asked for no ITK3 response; it sees it in the Task",
    };
    let held = reason.map(HoldReason::as_str).unwrap_or_default();
    match released {
        Released::Queued(copies) => ("released", format!("{} deliveries are queued", copies.len())),
        Released::Closed { response } => ("closed", format!("nothing is sent; {}", told(*response))),
        Released::WouldQueue(copies) => {
            let (count, does) = (copies.len(), format!("--held-for {held} --yes does it"));
            match decision.yes {
                true => (
                    "not-confirmed",
                    format!("it is held for {held}, despite which {count} deliveries would be queued; {does}"),
                ),
                false => ("preview", format!("it is held for {held}, and {count} deliveries would be queued; {does}")),
            }
        }
        Released::WouldClose { response } => {
            let told = told(*response);
            ("preview", format!("it is held for {held}, and nothing would be sent; {told}; --yes does it"))
        }
        Released::NotFound => ("not-found", format!("there is no open hold {}", decision.id)),
        Released::NotDecidable(why) => ("not-decidable", why.to_string()),
        Released::StillHeld(cause) => {
            let text = match held_for.filter(|seen| *seen != cause.reason) {
                Some(seen) if Some(seen) == reason && !decision.yes => {
                    let does = format!("--held-for {seen} --yes does that");
                    format!("it would then be held for {}: {}; {does}", cause.reason, cause.detail)
                }
                Some(seen) => {
                    let nothing = if Some(seen) == reason { "" } else { "nothing was decided; " };
                    format!("{nothing}it is held for {} now, not for {seen}: {}", cause.reason, cause.detail)
                }
                None => format!("{}: {}", cause.reason, cause.detail),
            };
            ("still-held", text)
        }
        Released::Refused(why) => ("refused", format!("the message would be refused now: {why}")),
    }
}

/// A preview has no identifiers: the copies are made anew when it is done.
fn planned(copy: &Planned, queued: bool) -> Value {
    json!({
        "delivery": queued.then_some(copy.id), "recipient": copy.kind.as_str(), "ods": copy.recipient,
        "name": copy.name, "transport": copy.transport.as_str(),
    })
}
