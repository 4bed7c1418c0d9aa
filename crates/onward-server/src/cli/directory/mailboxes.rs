//! Mailboxes that MESH finds: `onward directory mailbox`, and those of entries that an import finds without.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use onward_connect::mesh::FoundMailbox;
use onward_core::directory::{DirectoryEntry, Endpoint};
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

/// Between two questions of an import.
const PACE: Duration = Duration::from_millis(200);

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
    /// What is to be sent there; without it, all that its entry in the directory gets, beside the entry's own mailbox
    #[arg(long, value_name = "ID")]
    workflow: Option<WorkflowId>,
}

/// Runs it.
///
/// # Errors
/// When the configuration cannot be used, MESH cannot be asked, or the directory has no such entry.
pub(super) async fn run(of: &MailboxOf, terminal: &mut Terminal) -> Outcome {
    let (config, own, workflows) = match &of.workflow {
        Some(workflow) => (of.config.load()?.config, None, BTreeSet::from([workflow.clone()])),
        None => {
            let (config, store) = of.config.existing_store().await?;
            let Some(entry) = store.directory_entry(&of.ods).await? else {
                return Err(Failure::no(format!("the directory has no entry {}: name the --workflow", of.ods)));
            };
            let workflows = mailboxes::workflows(&config.load_routes()?.routes, &entry);
            let Endpoint::Mesh { mailbox, .. } = entry.endpoint().clone() else {
                return Err(Failure::no(format!("{} does not receive by a MESH mailbox: name the --workflow", of.ods)));
            };
            if workflows.is_empty() {
                return Err(Failure::no(format!("what {} gets has no usual workflow: name the --workflow", of.ods)));
            }
            (config, Some(mailbox), workflows)
        }
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mesh = app::mesh(&config, &clock).map_err(Failure::configuration)?;
    let mut listed = Vec::new();
    for workflow in workflows {
        let found = mesh.lookup(&of.ods, &workflow).await.map_err(Failure::fault)?;
        listed.push((workflow, found));
    }
    let is_listed = |found: &[FoundMailbox]| match &own {
        Some(own) => found.iter().any(|each| each.mailbox_id == *own),
        None => !found.is_empty(),
    };
    let good = listed.iter().all(|(_, found)| is_listed(found));
    let all = listed.iter().flat_map(|(workflow, found)| found.iter().map(move |each| (workflow, each)));
    if of.json {
        all.for_each(|(workflow, each)| {
            terminal.json(&json!({ "workflow": workflow, "mailbox": each.mailbox_id, "name": each.mailbox_name }));
        });
        return Ok(Exit::answer(good));
    }
    let row = |(workflow, each): (&WorkflowId, &FoundMailbox)| {
        [workflow.to_string(), each.mailbox_id.to_string(), plain(&each.mailbox_name)]
    };
    let rows: Vec<_> = all.map(row).collect();
    if !rows.is_empty() {
        terminal.table(["workflow", "mailbox", "name"], &rows);
    }
    for (workflow, found) in listed.iter().filter(|(_, found)| !is_listed(found)) {
        match (&own, found.is_empty()) {
            (_, true) => terminal.say(format_args!("{} takes {workflow} in no mailbox", of.ods)),
            (Some(own), false) => {
                terminal.say(format_args!("{} takes {workflow} not in {own}, which its entry has", of.ods))
            }
            (None, false) => {}
        }
    }
    if let Some(own) = own.filter(|_| good) {
        terminal.say(format_args!("{own}, which its entry has, takes all of this"));
    }
    Ok(Exit::answer(good))
}

/// A mailbox that MESH found for an entry.
#[derive(Serialize)]
pub(super) struct Found {
    ods: OdsCode,
    mailbox: MeshMailboxId,
}

/// Has MESH find the mailboxes that entries lack, and puts those entries in their places; where one cannot be had, that is a problem of the
/// reading. A reading with problems asks nobody. Nor is anybody asked about whom a person does not believe MESH, and no mailbox takes the place of
/// another that the directory has: a person may have decided on that.
///
/// # Errors
/// When the configuration cannot be used, or MESH cannot be asked.
pub(super) async fn find(
    reading: &mut Reading,
    config: &Config,
    stored: &[DirectoryEntry],
) -> Result<Vec<Found>, Failure> {
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
    let before = |ods: &OdsCode| {
        let entry = stored.iter().find(|entry| entry.ods() == ods)?;
        let Endpoint::Mesh { mailbox, .. } = entry.endpoint() else { return None };
        Some(mailbox)
    };
    for (file, place, each) in lacking {
        if config.mesh.look_except.contains(each.entry().ods()) {
            let why = "names no mailbox, and by [mesh] look_except MESH is not believed about it: name it";
            reading.problems.push((file, true, each.problem(why)));
            continue;
        }
        let answer = mailboxes::find(&mesh, &routes, each.entry(), PACE).await.map_err(|error| {
            let entry = each.problem("names no mailbox, and MESH could not be asked for it: nothing was imported");
            Failure::fault(anyhow::Error::new(error).context(format!("{file}: {entry}")))
        })?;
        match answer {
            Ok(mailbox) if before(each.entry().ods()).is_some_and(|before| *before != mailbox) => {
                let before = before(each.entry().ods()).map_or("", MeshMailboxId::as_str);
                let why = format!(
                    "names no mailbox: the directory has {before}, and MESH lists {mailbox}: name the right one"
                );
                reading.problems.push((file, true, each.problem(&why)));
            }
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
