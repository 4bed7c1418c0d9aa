//! `onward dead close`: a person handed a delivery over in another way. A preview first, the act with `--yes`.

use clap::Args;
use onward_core::DeliveryId;
use onward_gateway::holds::Decider;
use onward_gateway::operate::Closing;
use serde_json::json;

use super::tried;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::input;
use crate::cli::open::{self, ConfigArgs, Desk};
use crate::cli::status;
use crate::cli::terminal::{Style, Terminal, plain};

/// Which delivery, who took care of it, and how.
#[derive(Debug, Args)]
pub struct Close {
    #[command(flatten)]
    config: ConfigArgs,
    /// How it was handed over, and why, for the audit log; no patient data
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who took care of it, by name
    #[arg(long, value_name = "NAME", value_parser = input::whom)]
    by: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The delivery
    #[arg(value_name = "ID")]
    id: DeliveryId,
}

/// Runs it.
///
/// # Errors
/// When configuration or store cannot be used, or the delivery waits for no decision.
pub(super) async fn run(close: &Close, terminal: &mut Terminal) -> Outcome {
    let (config, store) = close.config.existing_store().await?;
    let Some(record) = store.delivery(close.id).await? else {
        return Err(Failure::no(format!("there is no delivery {}", close.id)));
    };
    if record.closed {
        return Err(Failure::no("the delivery is closed already: `onward status` tells by whom".to_owned()));
    }
    if !record.is_dead() {
        let why = "only one that failed, or was not processed, is closed";
        return Err(Failure::no(format!("the delivery is {}: {why}", record.state)));
    }
    if !close.yes {
        let (transfer, patient) = (record.transfer, record.patient.clone());
        let row = Desk::new(&config)?.row_seen("dead close, a preview", transfer, Some(record.id), patient);
        store.audit(vec![row]).await?;
    }
    if !store.schema().await?.is_finished() {
        return Err(Failure::no(Closing::UNFINISHED));
    }
    let done = close.yes && {
        let app = open::build(&config, store)?;
        let agent = open::operator(&app.gateway.settings().own_ods);
        let decider = Decider { agent, by: &close.by, reason: &close.reason, act: true, request_id: None };
        app.gateway.close_copy(close.id, record.version, &decider).await? == Closing::Done
    };
    let record = super::without_their_words(record);
    let state = match (close.yes, done) {
        (false, _) => "preview",
        (true, true) => "closed",
        (true, false) => "changed-meanwhile",
    };
    if close.json {
        terminal.json(&json!({ "state": state, "delivery": status::delivery(&record) }));
        return Ok(Exit::answer(!close.yes || done));
    }
    let whom =
        format!("{} {} ({}) by {}", record.kind, record.recipient_name, record.recipient, record.endpoint.kind());
    let bold = terminal.paint(Style::Bold, record.id);
    terminal.say(format_args!("{bold}  {}", plain(&whom)));
    terminal.paragraph(2, &tried(&record));
    terminal.say(match state {
        "preview" => {
            "a preview: nothing was closed; --yes closes it, and the hospital sees that it did not arrive electronically and that a person took care"
        }
        "closed" => "closed: the hospital sees that it did not arrive electronically and that a person took care",
        _ => "not closed: its state changed meanwhile",
    });
    Ok(Exit::answer(!close.yes || done))
}
