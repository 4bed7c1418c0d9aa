//! `onward breach`: after something went wrong, what an IG lead must know within 72 hours (UK GDPR Article 33): whose records, who
//! saw them, when, which kinds of data, and what was done; as one signed folder, itself audited.

mod applied;
mod exposure;
mod held;
mod pack;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use onward_core::audit::{AuditEntry, AuditQuery, AuditWord, Basis};
use onward_core::people::Subject;
use onward_core::store::Store;
use onward_core::{NhsNumber, OdsCode, Timestamp, UserId};
use onward_gateway::explore::everything;
use onward_gateway::held::is_only_asked_about;
use onward_gateway::made::{BREACH_PACK, Made};
use onward_gateway::starts::policies_in_force;
use serde_json::json;

use super::audit::{Source, entries_that_fit, key_of};
use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{ConfigArgs, Desk, now};
use super::signed_folder;
use super::terminal::{Style, Terminal, plain};
use crate::app;
use crate::listener::sha256_hex;
use applied::Policies;
use exposure::{Exposure, Whom, exposures};
use pack::{Pack, Window};

/// Entries about a pack that are written in one commit.
const PEOPLE_AT_ONCE: usize = 1_000;

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
  onward breach pack --held 2026-11-18T03:00:00Z --reason 'backup of that night stolen, with its key' --out breach

The folder holds index.html (the counts, the kinds of data, what was done, and the facts that Article 33 wants and no log knows),
people.csv (whose records: handle it as they are), exposures.csv (who saw them, when), actions.csv, summary.json, and a
manifest of SHA-256 hashes signed by the audit log's key. Whoever is in people.csv gets an audit entry about this pack. Lists
on which people stood and exports that carried entries about them count, and so do people who were erased since: nobody can name
them, and of whoever saw them the log has kept the name alone.

With --held, for a database or a backup that was stolen: everybody about whom the store held something at that moment, with counts of
messages, copies and audit entries. Who was erased since is counted, because the backup holds them; who had been erased before is
counted apart, because it cannot be read in it. What is removed as rows leaves no trace and is not counted.
Exit code 1: nothing of the kind happened in the window, or nothing was held.")]
    Pack(Command),
    /// Checks a folder against its manifest and the manifest's signature
    #[command(after_help = "Example:\n  onward breach check breach-2026-11-18 --verifier onward-log.pub

Exit code: 0 it is as it was written, 1 a file was changed, added or removed.")]
    Check(Check),
}

/// What, and where to.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").args(["client", "recipient", "user"]).conflicts_with("held")))]
pub struct Command {
    #[command(flatten)]
    config: ConfigArgs,
    /// Beginning of the window: a moment (RFC 3339), or a day
    #[arg(long, value_name = "T", value_parser = input::moment, required_unless_present = "held", conflicts_with = "held")]
    from: Option<Timestamp>,
    /// End of the window, not itself in it
    #[arg(long, value_name = "T", value_parser = input::moment, required_unless_present = "held", conflicts_with = "held")]
    to: Option<Timestamp>,
    /// Instead of a window: everybody whose data the store held at this moment
    #[arg(long, value_name = "T", value_parser = input::moment)]
    held: Option<Timestamp>,
    /// Only what this machine client saw
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only what this organisation saw or was sent
    #[arg(long, value_name = "ODS")]
    recipient: Option<OdsCode>,
    /// Only what this person saw: an address, an account's identifier (it outlives the account), or ISSUER#SUBJECT of an identity provider
    #[arg(long, value_name = "PERSON")]
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

/// Runs it.
///
/// # Errors
/// When configuration, key, store or folder cannot be used.
pub(super) async fn run(command: &Breach, terminal: &mut Terminal) -> Outcome {
    match command {
        Breach::Pack(command) => match (command.held, command.from, command.to) {
            (Some(at), ..) => held::write(command, at, terminal).await,
            (None, Some(from), Some(to)) => write(command, from, to, terminal).await,
            (None, ..) => Err(Failure::usage("name a window with --from and --to, or a moment with --held")),
        },
        Breach::Check(command) => check(command, terminal),
    }
}

async fn write(command: &Command, from: Timestamp, to: Timestamp, terminal: &mut Terminal) -> Outcome {
    if from >= to {
        return Err(Failure::usage("--from must be before --to"));
    }
    let (config, store) = command.config.existing_store().await?;
    let (desk, key) = (Desk::new(&config)?, signed_folder::signing_key(&config)?);
    if command.out.exists() {
        return Err(Failure::usage(format!("{} is there already", command.out.display())));
    }
    let (kept, faults) = policies_in_force(store.as_ref()).await?;
    let now_in_force = app::load_policies(&config).map_err(Failure::configuration)?;
    let policies = Policies { kept, now: now_in_force.into_values().collect() };
    for fault in faults {
        terminal.note(format!("{fault}: it tells nothing of what copies held"));
    }
    let (whom, words) = whom(command, store.as_ref()).await?;
    let mut exposures = exposures(store.as_ref(), from, to, &whom).await?;
    let asked_about = only_asked_about(store.as_ref(), &exposures).await?;
    exposures.retain(|each| each.whose.number().is_none_or(|number| !asked_about.contains(number)));
    if exposures.is_empty() {
        return Err(Failure::no("nobody's data was seen or sent in this window by whom you name"));
    }
    let asked_about = asked_about.len();
    let window = Window { from, to, made: now(), whom: words, reason: command.reason.clone(), asked_about };
    let contained = AuditQuery { from: Some(from), words: ACTIONS.to_vec(), ..everything(None) };
    let actions = entries_that_fit(store.as_ref(), contained).await?;
    let pack = Pack::of(&window, &config, &exposures, &actions, &policies)?;
    let manifest = key.sign_statement(&pack.manifest()).map_err(Failure::fault)?;
    leave_entries(store.as_ref(), &desk, &command.reason, (&manifest, &pack.files), &pack.people).await?;
    signed_folder::write(&command.out, &[], &pack.files, &manifest)?;
    let (people, erased, seen) = (pack.people.len() + pack.erased, pack.erased, exposures.len());
    if command.json {
        terminal.json(&json!({
            "folder": command.out, "people": people, "erased_people": erased, "only_asked_about": asked_about, "exposures": seen,
            "actions": actions.len(),
        }));
    } else {
        let word = terminal.paint(Style::Green, "written");
        let folder = command.out.display();
        terminal.say(format_args!("{word}: {folder}: records of {people} people, {seen} times seen or sent"));
        if erased > 0 {
            terminal
                .say(format_args!("{erased} of them were erased since: they are counted, and nobody can name them"));
        }
        if asked_about > 0 {
            terminal.say(format_args!(
                "{asked_about} numbers more were asked about, of whom nothing is held: they are not counted"
            ));
        }
        terminal.say("index.html lists the facts of Article 33 that only people know: fill them in within 72 hours");
    }
    Ok(Exit::Done)
}

/// The numbers among these of whom nothing is held but that somebody asked: nobody's data was seen by that.
async fn only_asked_about(store: &dyn Store, exposures: &[Exposure]) -> Result<BTreeSet<String>, Failure> {
    let seen: BTreeSet<&str> = exposures.iter().filter_map(|each| each.whose.number()).collect();
    let mut found = BTreeSet::new();
    for number in seen {
        let patient = number.parse().map_err(Failure::fault)?;
        if is_only_asked_about(store, &patient).await? {
            found.insert(number.to_owned());
        }
    }
    Ok(found)
}

/// First the entries about a pack, one for each person whose records it lists; without them no byte is written.
async fn leave_entries(
    store: &dyn Store,
    desk: &Desk,
    reason: &str,
    (manifest, files): (&str, &[(String, Vec<u8>)]),
    people: &[NhsNumber],
) -> Result<(), Failure> {
    let mut made = Made::default();
    files.iter().for_each(|(path, bytes)| made.file(path, bytes));
    let detail = format!("{BREACH_PACK}: {reason}");
    let pack = AuditEntry {
        basis: Some(Basis::accountability()),
        content_sha256: Some(sha256_hex(manifest.as_bytes())),
        contents: Some(made.finish().1),
        ..desk.entry(AuditWord::Export, detail.clone())
    };
    store.audit(vec![desk.row_of(&pack)]).await?;
    for people in people.chunks(PEOPLE_AT_ONCE) {
        let about = |person: &NhsNumber| desk.row_about(AuditWord::Query, detail.clone(), Some(person.clone()));
        store.audit(people.iter().map(about).collect()).await?;
    }
    Ok(())
}

/// Whom the pack is about, and in words for its page.
async fn whom(command: &Command, store: &dyn Store) -> Result<(Whom, String), Failure> {
    if let Some(id) = &command.client {
        let client = store.client(id).await?;
        let client = client.ok_or_else(|| Failure::no(format!("there is no client {id}: `onward client list`")))?;
        return Ok((Whom::Client(client.id.clone()), format!("the machine client {} of {}", client.id, client.ods)));
    }
    if let Some(named) = &command.user {
        return person(named.trim(), store).await;
    }
    Ok(match &command.recipient {
        Some(ods) => (Whom::Organisation(ods.clone()), format!("the organisation {ods}")),
        None => (Whom::Anybody, "anybody".to_owned()),
    })
}

/// By account, by an identity provider's issuer and subject, or by address.
async fn person(named: &str, store: &dyn Store) -> Result<(Whom, String), Failure> {
    let id = named.parse::<UserId>().ok();
    let found = match (id, named.split_once('#')) {
        (Some(id), _) => store.user(id).await?,
        (None, Some((issuer, subject))) => {
            let subject = Subject { issuer: issuer.to_owned(), subject: subject.to_owned() };
            store.user_by_subject(&subject).await?
        }
        (None, None) => store.user_by_email(&named.to_lowercase()).await?,
    };
    match (found, id) {
        (Some(user), _) => {
            let words = format!("the person {} (account {})", user.name, user.id);
            Ok((Whom::Person(user.id, Some(user.name)), words))
        }
        // The log outlives the account.
        (None, Some(id)) => Ok((Whom::Person(id, None), format!("the account {id}, which is no longer there"))),
        (None, None) => Err(Failure::no("there is nobody of this address or subject: `onward user list`")),
    }
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
pub(super) mod tests;
