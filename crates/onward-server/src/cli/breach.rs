//! `onward breach`: after something went wrong, what an IG lead must know within 72 hours (UK GDPR Article 33): whose records, who
//! saw them, when, which kinds of data, and what was done; as one signed folder, itself audited.

mod pack;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use onward_core::audit::{AuditEntry, AuditQuery, AuditWord, FoundAudit};
use onward_core::store::Store;
use onward_core::{DeliveryId, NhsNumber, OdsCode, Timestamp};
use onward_gateway::explore::{everything, shown_on};
use serde_json::json;

use super::audit::{Source, Told, entries_that_fit, key_of};
use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{ConfigArgs, Desk, now};
use super::signed_folder;
use super::terminal::{Style, Terminal, plain};
use crate::app;
use crate::listener::sha256_hex;
use pack::{Pack, Window};

/// Words of entries by which a person's data may have reached somebody. An attempt that failed may have arrived, and one that
/// was begun and never ended as well.
const EXPOSURES: [AuditWord; 9] = [
    AuditWord::Read,
    AuditWord::ReadTask,
    AuditWord::Query,
    AuditWord::Intend,
    AuditWord::Disclose,
    AuditWord::AttemptFailed,
    AuditWord::DeliveryFailed,
    AuditWord::SubjectAccess,
    AuditWord::Reveal,
];
/// Words of entries that may tell of containment: copies taken back, decisions, clients, people and recipients that were stopped.
const ACTIONS: [AuditWord; 3] = [AuditWord::Withdraw, AuditWord::Release, AuditWord::Configure];

/// After a breach.
#[derive(Debug, Subcommand)]
pub enum Breach {
    /// Writes what happened in a window, to whose records and by whom, into a new folder
    #[command(after_help = "Examples:
  onward breach pack --from 2026-11-18T09:00:00Z --to 2026-11-18T17:00:00Z --client rowan-house \\
      --reason 'key published by mistake' --out breach-2026-11-18
  onward breach pack --from 2026-11-18 --to 2026-11-19 --user ada@rowan.example --reason 'account taken over' --out breach

The folder holds index.html (the counts, the kinds of data, what was done, and the facts that Article 33 wants and no log knows),
people.csv (whose records: handle it as they are), exposures.csv (who saw them, when), actions.csv, summary.json, and a
manifest of SHA-256 hashes signed by the audit log's key. Whoever is in people.csv gets an audit entry about this pack.
Exit code 1: nothing of the kind happened in the window.")]
    Pack(Command),
    /// Checks a folder against its manifest and the manifest's signature
    #[command(after_help = "Example:\n  onward breach check breach-2026-11-18 --verifier onward-log.pub

Exit code: 0 it is as it was written, 1 a file was changed, added or removed.")]
    Check(Check),
}

/// What, and where to.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").args(["client", "recipient", "user"])))]
pub struct Command {
    #[command(flatten)]
    config: ConfigArgs,
    /// Beginning of the window: a moment (RFC 3339), or a day
    #[arg(long, value_name = "T", value_parser = input::moment)]
    from: Timestamp,
    /// End of the window, not itself in it
    #[arg(long, value_name = "T", value_parser = input::moment)]
    to: Timestamp,
    /// Only what this machine client did
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only what this organisation saw or was sent
    #[arg(long, value_name = "ODS")]
    recipient: Option<OdsCode>,
    /// Only what this person did
    #[arg(long, value_name = "ADDRESS")]
    user: Option<String>,
    /// What is thought to have happened, in a sentence, without patient data
    #[arg(long)]
    reason: String,
    /// A folder that is not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Which folder.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    source: Source,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// By whom, or to whom.
enum Whom {
    Anybody,
    /// An agent's name in the log, and what it is called on the page.
    Agent(String, String),
    Organisation(OdsCode),
}

/// Runs it.
///
/// # Errors
/// When configuration, key, store or folder cannot be used.
pub(super) async fn run(command: &Breach, terminal: &mut Terminal) -> Outcome {
    match command {
        Breach::Pack(command) => write(command, terminal).await,
        Breach::Check(command) => check(command, terminal),
    }
}

async fn write(command: &Command, terminal: &mut Terminal) -> Outcome {
    if command.from >= command.to {
        return Err(Failure::usage("--from must be before --to"));
    }
    let (config, store) = command.config.existing_store().await?;
    let (desk, key) = (Desk::new(&config)?, signed_folder::signing_key(&config)?);
    if command.out.exists() {
        return Err(Failure::usage(format!("{} is there already", command.out.display())));
    }
    let policies: Vec<_> = app::load_policies(&config).map_err(Failure::configuration)?.into_values().collect();
    let whom = whom(command, store.as_ref()).await?;
    let (exposures, erased) = exposures(store.as_ref(), command, &whom).await?;
    let window = Window {
        from: command.from,
        to: command.to,
        made: now(),
        whom: whom.words(),
        reason: command.reason.clone(),
        erased,
    };
    if exposures.is_empty() {
        return Err(Failure::no("nobody's data was seen or sent in this window by whom you name"));
    }
    let actions = entries_that_fit(store.as_ref(), query(command.from, None, &ACTIONS)).await?;
    let kinds = kinds(store.as_ref(), &exposures).await?;
    let pack = Pack::of(&window, &config, &exposures, &actions, &kinds, &policies);
    let manifest = key.sign_statement(&pack.manifest()).map_err(Failure::fault)?;
    // First the entries about it, one for each person whose records it lists; without them no byte is written.
    let entry = |patient: Option<NhsNumber>| {
        let detail = format!("breach pack: {}", command.reason);
        let content_sha256 = Some(sha256_hex(manifest.as_bytes()));
        desk.row_of(&AuditEntry { patient, content_sha256, ..desk.entry(AuditWord::Query, detail) })
    };
    let rows =
        std::iter::once(entry(None)).chain(pack.people.iter().map(|person| entry(Some(person.clone())))).collect();
    store.audit(rows).await?;
    signed_folder::write(&command.out, &[], &pack.files, &manifest)?;
    let (people, seen) = (pack.people.len(), exposures.len());
    if command.json {
        terminal.json(&json!({ "folder": command.out, "people": people, "exposures": seen, "actions": actions.len() }));
    } else {
        let word = terminal.paint(Style::Green, "written");
        let folder = command.out.display();
        terminal.say(format_args!("{word}: {folder}: records of {people} people, {seen} times seen or sent"));
        terminal.say("index.html lists the facts of Article 33 that only people know: fill them in within 72 hours");
    }
    Ok(Exit::Done)
}

async fn whom(command: &Command, store: &dyn Store) -> Result<Whom, Failure> {
    if let Some(id) = &command.client {
        return match store.client(id).await? {
            Some(client) => {
                Ok(Whom::Agent(client.id.clone(), format!("the machine client {} of {}", client.id, client.ods)))
            }
            None => Err(Failure::no(format!("there is no client {id}: `onward client list`"))),
        };
    }
    if let Some(address) = &command.user {
        return match store.user_by_email(&address.trim().to_lowercase()).await? {
            Some(user) => Ok(Whom::Agent(user.name.clone(), format!("the person {}", user.name))),
            None => Err(Failure::no("there is nobody of this address: `onward user list`")),
        };
    }
    Ok(command.recipient.clone().map_or(Whom::Anybody, Whom::Organisation))
}

impl Whom {
    fn words(&self) -> String {
        match self {
            Self::Anybody => "anybody".to_owned(),
            Self::Agent(_, words) => words.clone(),
            Self::Organisation(ods) => format!("the organisation {ods}"),
        }
    }
}

fn query(from: Timestamp, until: Option<Timestamp>, words: &[AuditWord]) -> AuditQuery {
    AuditQuery { from: Some(from), until, words: words.to_vec(), ..everything(None) }
}

/// What was seen or sent about people in the window, the oldest first; and how many entries are about people who were erased.
async fn exposures(
    store: &dyn Store,
    command: &Command,
    whom: &Whom,
) -> Result<(Vec<(FoundAudit, Told)>, usize), Failure> {
    let mut wanted = query(command.from, Some(command.to), &EXPOSURES);
    match whom {
        // Whom an entry went to is read from the entry itself.
        Whom::Anybody | Whom::Organisation(_) => {}
        Whom::Agent(name, _) => wanted.agent = Some(name.clone()),
    }
    let found = entries_that_fit(store, wanted).await?;
    let erased = found.iter().filter(|entry| entry.event.is_none()).count();
    let on_lists = on_lists(store, &found).await?;
    let fits = |entry: &FoundAudit, told: &Told| match whom {
        Whom::Anybody => true,
        Whom::Agent(name, _) => told.actor.name == *name,
        Whom::Organisation(ods) => told.got(entry.word).organisation.as_deref() == Some(ods.as_str()),
    };
    let told = found.into_iter().filter(|entry| entry.patient.is_some()).filter_map(|entry| {
        let told = Told::read(entry.event.as_deref()?)?;
        fits(&entry, &told).then_some((entry, told))
    });
    let on_lists = on_lists.into_iter().filter(|(entry, told)| fits(entry, told));
    let mut all: Vec<_> = told.chain(on_lists).collect();
    all.sort_by_key(|(entry, _)| (entry.recorded, entry.index));
    Ok((all, erased))
}

/// Those who stood on a list that somebody looked at, each as an exposure of its own: the entry keeps which copies it showed.
async fn on_lists(store: &dyn Store, found: &[FoundAudit]) -> Result<Vec<(FoundAudit, Told)>, Failure> {
    let mut patients: BTreeMap<DeliveryId, Option<NhsNumber>> = BTreeMap::new();
    let mut exposed = Vec::new();
    for entry in found {
        let shown = shown_on(entry);
        if shown.is_empty() {
            continue;
        }
        let Some(told) = entry.event.as_deref().and_then(Told::read) else { continue };
        for id in shown {
            let patient = match patients.get(&id) {
                Some(patient) => patient.clone(),
                None => {
                    let patient = store.delivery(id).await?.and_then(|copy| copy.patient);
                    patients.insert(id, patient.clone());
                    patient
                }
            };
            if patient.is_some() {
                let told = Told { subject: Some(format!("Task/{id}")), ..told.clone() };
                exposed.push((FoundAudit { patient, ..entry.clone() }, told));
            }
        }
    }
    Ok(exposed)
}

/// As what copies that were seen or sent are made: their policies say which data they hold.
async fn kinds(
    store: &dyn Store,
    exposures: &[(FoundAudit, Told)],
) -> Result<BTreeSet<onward_core::state::RecipientKind>, Failure> {
    let copies: BTreeSet<&str> =
        exposures.iter().filter_map(|(_, told)| told.subject.as_deref()?.split_once('/').map(|(_, id)| id)).collect();
    let mut kinds = BTreeSet::new();
    for id in copies {
        if let Ok(id) = id.parse()
            && let Some(copy) = store.delivery(id).await?
        {
            kinds.insert(copy.kind);
        }
    }
    Ok(kinds)
}

fn check(command: &Check, terminal: &mut Terminal) -> Outcome {
    let key = key_of(&command.config, &command.source)?;
    let manifest = input::text(&command.folder.join(signed_folder::MANIFEST))?;
    let problem = match key.verified_text(&manifest) {
        Ok(text) => signed_folder::mismatch(&command.folder, text, pack::TITLE, &[])?,
        Err(error) => Some(format!("the manifest: {error}")),
    };
    let whole = problem.is_none();
    if command.json {
        terminal.json(&json!({ "whole": whole, "mismatch": problem }));
    } else {
        let (style, word) = if whole { (Style::Green, "as it was written") } else { (Style::Red, "does not fit") };
        let word = terminal.paint(style, word);
        terminal.say(format_args!("{word}{}", problem.map(|why| format!(": {}", plain(&why))).unwrap_or_default()));
    }
    Ok(Exit::answer(whole))
}

#[cfg(test)]
mod tests;
