//! `onward alerts`: what needs a person now, who was told, and whom to ring.

use clap::Args;
use onward_core::TransferId;
use onward_core::store::alerts::{Alert, Concern, NotificationState, Told};
use onward_gateway::holds::Decider;
use onward_gateway::shown::Shown;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, Desk, minute};
use super::terminal::Terminal;

/// Lists what needs a person now, with whom to ring: homes that have not opened what they must before the person comes,
/// deliveries that failed or were not processed, people whom a home, a practice or a pharmacy declined, notices that nobody has opened, copies that wait too long to be sent, discharges that are held when the person comes, holds whose time is over, receipts and acknowledgements that are missing, subscriptions that were given up, background work that falls again and again, our own mailbox that cannot be read, or has a message that cannot be collected or whose sender hears nothing of its refusal, organisations of the directory that have closed or that MESH lists under another mailbox, transfers that are in use although a newer version came, which was refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward alerts
  onward alerts --json | jq -r 'select(.kind == \"unread-before-arrival\") | .ring[]'
  onward alerts --over 7e1f4c52-2d4b-4e39-8b0c-3a1d9f6e5b20 --by 'Ada Wells' --reason 'the ward keeps the first version'

What next: ring whom `ring` names. `onward status TRANSFER` tells more of what is about a transfer, `onward hold list` and
`onward dead list` what waits for your decision, `onward directory current` and `onward directory mailbox ODS` what is known of
an organisation, `onward subscription list` why a system is not called, /readyz and the log what of the gateway falls. An alert
is over when its cause is: nobody ends it by hand. But a `replacement-refused` is over when another version takes the transfer's place, when
the transfer is withdrawn, or when you say so with --over: only the hospital knows whether it still wants to replace it.

Exit code: 0 there is nothing, 1 there is; with --over 0 it is ended, 1 there is none about this transfer.")]
pub struct Alerts {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ends the alert that a newer version of this transfer was refused
    #[arg(long, value_name = "TRANSFER", requires_all = ["by", "reason"])]
    over: Option<uuid::Uuid>,
    /// Who says so, by name
    #[arg(long, value_name = "NAME", requires = "over", value_parser = input::whom)]
    by: Option<String>,
    /// Why, for the audit log; no patient data
    #[arg(long, value_name = "REASON", requires = "over", value_parser = input::reason)]
    reason: Option<String>,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When the store cannot be read, or the look cannot be audited.
pub(super) async fn run(command: &Alerts, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let app = open::build(&config, store)?;
    if let (Some(transfer), Some(by), Some(reason)) = (command.over, &command.by, &command.reason) {
        let decider = Decider { agent: desk.operator(), by, reason, act: true, request_id: None };
        let over = app.gateway.end_outdated(TransferId(transfer), &decider).await?;
        if !over {
            return Err(Failure::no(format!(
                "nobody was told that a newer version of {transfer} was refused, or that is over"
            )));
        }
        match command.json {
            true => terminal.json(&json!({ "over": true, "transfer": transfer })),
            false => terminal.say(format_args!("over: {transfer}")),
        }
        return Ok(Exit::Done);
    }
    let mut alerts = app.gateway.store().alerts().await?;
    alerts.retain(|alert| alert.concern.kind.is_trouble());
    let mut shown = Shown::default();
    for Concern { delivery, transfer, .. } in alerts.iter().map(|alert| &alert.concern) {
        match delivery {
            Some(copy) => shown.copies.push(*copy),
            None => shown.transfers.extend(*transfer),
        }
    }
    // First the entry about the look, then what it shows.
    app.gateway.store().audit(desk.rows_listed("alerts", &shown)).await?;
    let mut rows = Vec::new();
    for alert in alerts {
        let ring = app.gateway.numbers(&alert.concern).await?;
        if command.json {
            terminal.json(&as_json(&alert, &ring));
        }
        let concern = &alert.concern;
        rows.push([
            concern.kind.to_string(),
            concern.step.to_string(),
            minute(concern.since),
            Some(concern.subject())
                .filter(|id| !id.is_nil())
                .map(|id| id.to_string())
                .or_else(|| concern.work.clone())
                .unwrap_or_default(),
            concern
                .recipient
                .as_ref()
                .or((!concern.kind.is_of_transfer()).then_some(&concern.sender))
                .map(ToString::to_string)
                .unwrap_or_default(),
            alert.told.iter().map(told).collect::<Vec<_>>().join(", "),
            ring.join(", "),
        ]);
    }
    if !command.json {
        if rows.is_empty() {
            terminal.say("nothing needs a person");
        } else {
            terminal.table(["what", "step", "since", "about", "organisation", "told", "ring"], &rows);
        }
    }
    Ok(Exit::answer(rows.is_empty()))
}

fn told(told: &Told) -> String {
    match told.state {
        NotificationState::Sent => format!("{} by {}", told.contacted, told.channel),
        state => format!("{} by {}: {state}", told.contacted, told.channel),
    }
}

fn as_json(alert: &Alert, ring: &[String]) -> serde_json::Value {
    let concern = &alert.concern;
    let told = alert.told.iter();
    let told: Vec<_> =
        told.map(|told| json!({ "who": told.contacted, "channel": told.channel, "state": told.state })).collect();
    json!({
        "kind": concern.kind, "step": concern.step, "since": concern.since, "raised": alert.raised,
        "transfer": concern.transfer, "delivery": concern.delivery, "hold": concern.hold,
        "subscription": concern.subscription, "work": concern.work,
        "sender": concern.sender, "recipient": concern.recipient, "told": told, "ring": ring,
    })
}
