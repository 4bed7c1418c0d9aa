//! Mailboxes that MESH finds: `onward directory mailbox`, and those of entries that an import finds without.

use std::sync::Arc;

use clap::Args;
use onward_connect::mesh::FoundMailbox;
use onward_core::{Clock, MeshMailboxId, OdsCode, SystemClock, WorkflowId};
use onward_gateway::mailboxes;
use serde::Serialize;
use serde_json::json;

use super::super::exit::{Exit, Failure, Outcome};
use super::super::open::ConfigArgs;
use super::super::terminal::{Terminal, plain};
use super::Reading;
use crate::app;
use crate::config::Config;
use crate::directory_import::Lacking;

/// Whose mailbox.
#[derive(Debug, Args)]
pub struct MailboxOf {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
    /// The organisation
    #[arg(value_name = "ODS")]
    ods: OdsCode,
    /// What is to be sent there
    #[arg(long, value_name = "ID")]
    workflow: WorkflowId,
}

/// Runs it.
///
/// # Errors
/// When the configuration cannot be used, or MESH cannot be asked.
pub(super) async fn run(of: &MailboxOf, terminal: &mut Terminal) -> Outcome {
    let config = of.config.load()?.config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mesh = app::mesh(&config, &clock).map_err(Failure::configuration)?;
    let found = mesh.lookup(&of.ods, &of.workflow).await.map_err(Failure::fault)?;
    if of.json {
        found.iter().for_each(|each| terminal.json(&json!({ "mailbox": each.mailbox_id, "name": each.mailbox_name })));
    } else if found.is_empty() {
        terminal.say(format_args!("{} takes {} in no mailbox", of.ods, of.workflow));
    } else {
        let row = |each: &FoundMailbox| [each.mailbox_id.to_string(), plain(&each.mailbox_name)];
        terminal.table(["mailbox", "name"], &found.iter().map(row).collect::<Vec<_>>());
    }
    Ok(Exit::answer(!found.is_empty()))
}

/// A mailbox that MESH found for an entry.
#[derive(Serialize)]
pub(super) struct Found {
    ods: OdsCode,
    mailbox: MeshMailboxId,
}

/// Has MESH find the mailboxes that entries lack, and puts those entries in their places; where one cannot be had, that is a problem of the
/// reading. A reading with problems asks nobody.
///
/// # Errors
/// When the configuration cannot be used, or MESH cannot be asked.
pub(super) async fn find(reading: &mut Reading, config: &Config) -> Result<Vec<Found>, Failure> {
    if reading.refused() || reading.lacking.is_empty() {
        return Ok(Vec::new());
    }
    let lacking = std::mem::take(&mut reading.lacking);
    if !config.mesh.enabled {
        let why = "names no mailbox, and without [mesh] nobody can be asked for it: name it";
        reading.problems.extend(lacking.into_iter().map(|(file, _, each)| (file, true, each.problem(why))));
        return Ok(Vec::new());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mesh = app::mesh(config, &clock).map_err(Failure::configuration)?;
    let routes = config.load_routes()?.routes;
    let mut found = Vec::new();
    for (file, place, each) in lacking {
        let answer = mailboxes::find(&mesh, &routes, each.entry()).await.map_err(|error| {
            let entry = each.problem("names no mailbox, and MESH could not be asked for it: nothing was imported");
            Failure::fault(anyhow::Error::new(error).context(format!("{file}: {entry}")))
        })?;
        match answer {
            Ok(mailbox) => found.push((place, mailbox, each)),
            Err(why) => reading.problems.push((file, true, each.problem(&why))),
        }
    }
    if reading.refused() {
        return Ok(Vec::new());
    }
    let place = |(place, mailbox, each): (usize, MeshMailboxId, Lacking)| {
        let ods = each.entry().ods().clone();
        // In the order of their places: all before this one are there.
        reading.entries.insert(place, each.with(mailbox.clone()));
        Found { ods, mailbox }
    };
    Ok(found.into_iter().map(place).collect())
}

/// Tells what was found.
pub(super) fn tell(found: &[Found], terminal: &mut Terminal) {
    for Found { ods, mailbox } in found {
        terminal.say(format_args!("{ods}: MESH lists mailbox {mailbox} for what it gets"));
    }
}
