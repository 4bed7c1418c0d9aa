//! `onward audit who`: who saw a patient, as what, when, and on what ground. Asking is itself audited.

use clap::Args;
use onward_core::Timestamp;
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::people::Strength;
use onward_core::store::Store;
use onward_gateway::explore::everything;
use onward_gateway::sightings::{self, Sighting};
use serde::Serialize;

use super::event::Told;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::input::{self, Typed};
use crate::cli::open::{ConfigArgs, Desk, minute};
use crate::cli::terminal::Terminal;

/// What an entry tells that is about a list.
const ON_LIST: &str = "query, on a list";
/// What an entry tells that is about an export of the log.
const IN_EXPORT: &str = "query, in an export";

/// About whom.
#[derive(Debug, Args)]
pub struct Who {
    #[command(flatten)]
    config: ConfigArgs,
    /// The person; `-` reads the number from standard input, so that it stands in no process list
    #[arg(long, value_name = "N")]
    nhs_number: Typed,
    /// Only what was recorded at or after this moment (RFC 3339) or day
    #[arg(long, value_name = "T", value_parser = input::moment)]
    since: Option<Timestamp>,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
}

/// One look at a person's data, or one delivery of it.
#[derive(Serialize)]
struct Seen {
    #[serde(skip)]
    at: Timestamp,
    when: String,
    who: String,
    role: Option<String>,
    /// How a person signed in.
    strength: Option<Strength>,
    organisation: Option<String>,
    /// The address that the request came from.
    address: Option<String>,
    what: &'static str,
    success: bool,
    basis: Option<String>,
    subject: Option<String>,
    detail: String,
    entry: u64,
    event: String,
}

pub(super) async fn run(who: &Who, terminal: &mut Terminal) -> Outcome {
    let patient = input::nhs_number(who.nhs_number.text())?;
    let (config, store) = who.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let within = AuditQuery { from: who.since, ..everything(None) };
    let about = AuditQuery { patient: Some(patient.clone()), ..within.clone() };
    let about = sightings::all(store.as_ref(), about).await?.into_iter().map(|entry| (entry, None));
    let among_others = sightings::sightings(store.as_ref(), &patient, &within).await?;
    let among_others = among_others.into_iter().map(|(entry, sighting)| (entry, Some(sighting)));
    let mut entries: Vec<_> = about.chain(among_others).collect();
    entries.sort_by_key(|(entry, _)| (entry.recorded, entry.index));
    // First the entry about the look, then what it shows.
    store.audit(vec![desk.row_about(AuditWord::Query, "audit who", Some(patient))]).await?;
    let seen: Vec<Seen> = entries.iter().filter_map(|(entry, sighting)| seen(entry, *sighting)).collect();
    let erased = entries.iter().filter(|(entry, _)| entry.event.is_none()).count();
    if erased > 0 {
        terminal.note(format!("{erased} entries about this person were erased and are not shown"));
    }
    if seen.len() + erased != entries.len() {
        terminal.note("warning: some entries are not readable AuditEvents: `onward audit verify` names the first");
    }
    if who.json {
        seen.iter().for_each(|row| terminal.json(row));
    } else if seen.is_empty() {
        terminal.say("nobody: the log has no entry about this person");
    } else {
        let rows: Vec<_> = seen.iter().map(table_row).collect();
        terminal.table(["when", "who", "role", "organisation", "what", "basis", "entry"], &rows);
    }
    Ok(Exit::answer(!seen.is_empty()))
}

/// Everything that a query finds, the oldest first.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn all(store: &dyn Store, query: AuditQuery) -> Result<Vec<FoundAudit>, Failure> {
    let mut found = sightings::all(store, query).await?;
    found.reverse();
    Ok(found)
}

fn seen(entry: &FoundAudit, sighting: Option<Sighting>) -> Option<Seen> {
    let told = Told::read(entry.event.as_deref()?)?;
    let got = told.got(entry.word);
    Some(Seen {
        at: entry.recorded,
        when: entry.recorded.to_string(),
        who: got.called(),
        role: got.role.clone(),
        strength: got.strength,
        organisation: got.organisation.clone(),
        address: got.address.clone(),
        what: match sighting {
            None => entry.word.as_str(),
            Some(Sighting::List) => ON_LIST,
            Some(Sighting::Export) => IN_EXPORT,
        },
        success: told.success,
        entry: entry.index,
        basis: told.basis,
        subject: told.subject,
        detail: told.detail,
        event: told.id,
    })
}

fn table_row(row: &Seen) -> [String; 7] {
    let strength = row.strength.map(|strength| format!("({strength})"));
    [
        minute(row.at),
        row.who.clone(),
        row.role.clone().into_iter().chain(strength).collect::<Vec<_>>().join(" "),
        row.organisation.clone().unwrap_or_default(),
        if row.success { row.what.to_owned() } else { format!("{} (failed)", row.what) },
        row.basis.clone().unwrap_or_default(),
        row.entry.to_string(),
    ]
}
