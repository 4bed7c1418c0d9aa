//! `onward directory`: care homes, practices and pharmacies. An import is one version, whole or not at all, audited.

mod current;
mod mailboxes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand};
use onward_core::OdsCode;
use onward_core::audit::AuditWord;
use onward_core::directory::DirectoryEntry;
use onward_core::store::alerts::{AlertKind, about_organisation};
use onward_core::store::{ImportAudit, MovedAlong, Store};
use onward_gateway::readdressing::{came_to, moved_along};
use serde_json::{Value, json};

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, Desk};
use super::terminal::{Style, Terminal};
use crate::app;
use crate::directory_import::{self, Format, Lacking, Problem};

/// Care homes, GP practices and pharmacies.
#[derive(Debug, Subcommand)]
pub enum Directory {
    /// Imports TOML or CSV files as one version and tells what changed
    #[command(after_help = "Example:
  onward directory import care-homes.csv practices.toml

One problem in one file imports nothing; all problems are listed. Entries that the files do not name stay. Where an address changes and the
way does not, what is queued for it goes to the new one, what is being sent just then if that attempt comes to nothing, and what has failed
when it is sent again (`onward dead replay`). Where the way changes, what is queued stays with the former address, for it was made for that; both
are counted. MESH finds the mailbox of an
entry that receives by MESH and names none, by its ODS code and the workflows of what it gets; where it lists none that takes them all, or
several, that is a problem.")]
    Import(Files),
    /// Checks files without importing them
    #[command(after_help = "Example:
  onward directory check config/examples/directory.toml

It has MESH find mailboxes as an import does, and tells them.")]
    Check(Files),
    /// Lists all entries
    #[command(after_help = "Example:\n  onward directory list --json | jq -r .ods")]
    List(List),
    /// Shows one entry
    #[command(after_help = "Example:\n  onward directory show VMH01")]
    Show(Show),
    /// Asks MESH which mailboxes an organisation takes a workflow in, for its entry
    #[command(after_help = "Example:
  onward directory mailbox Y99001
  onward directory mailbox Y99001 --workflow TOC_FHIR_IP_DISCH

Exit code: 1 it takes the workflow nowhere.")]
    Mailbox(mailboxes::MailboxOf),
    /// Asks the Organisation Data Service whether entries are there still, as what, and who came after them
    #[command(after_help = "Example:
  onward directory current
  onward directory current Y99002 --json

A question a second; a busy ODS is asked again as it wishes. Exit code: 1 an entry needs attention. Nothing is changed: a running gateway asks
once a day, and sends nothing new to whom ODS calls closed.")]
    Current(current::Current),
}

/// Which files.
#[derive(Debug, Args)]
pub struct Files {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// TOML or CSV files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each entry
    #[arg(long)]
    json: bool,
}

/// Which entry.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// ODS code; for a home, any of its codes
    #[arg(value_name = "ODS")]
    ods: OdsCode,
}

/// Runs it.
///
/// # Errors
/// When a file, the configuration or the store cannot be used.
pub(super) async fn run(command: &Directory, terminal: &mut Terminal) -> Outcome {
    match command {
        Directory::Import(files) => import(files, terminal).await,
        Directory::Check(files) => check(files, terminal).await,
        Directory::List(list) => self::list(list, terminal).await,
        Directory::Show(show) => self::show(show, terminal).await,
        Directory::Mailbox(of) => mailboxes::run(of, terminal).await,
        Directory::Current(current) => current::run(current, terminal).await,
    }
}

/// What was read from all files together.
struct Reading {
    /// But for those of `lacking`.
    entries: Vec<DirectoryEntry>,
    /// File, place among all entries, entry without a mailbox.
    lacking: Vec<(String, usize, Lacking)>,
    /// File, whether it stops the import, problem.
    problems: Vec<(String, bool, Problem)>,
}

impl Reading {
    fn refused(&self) -> bool {
        self.problems.iter().any(|(_, stops, _)| *stops)
    }
}

/// Reads the files in order; a later one may refer to entries of an earlier one and of the store.
fn read(files: &[PathBuf], stored: &[DirectoryEntry]) -> Result<Reading, Failure> {
    let mut known = directory_import::kinds(stored);
    let mut reading = Reading { entries: Vec::new(), lacking: Vec::new(), problems: Vec::new() };
    let mut origin: BTreeMap<OdsCode, &Path> = BTreeMap::new();
    for path in files {
        let name = path.display().to_string();
        let format = Format::of(path)
            .ok_or_else(|| Failure::usage(format!("{name}: a directory file ends in .toml or .csv")))?;
        let read = directory_import::read(&input::text(path)?, format, &known, open::now());
        let (entries, lacking, stops, warnings) = match read {
            Ok(import) => (import.entries, import.lacking, Vec::new(), import.warnings),
            Err(refused) => (Vec::new(), Vec::new(), refused.problems, refused.warnings),
        };
        reading.problems.extend(stops.into_iter().map(|problem| (name.clone(), true, problem)));
        reading.problems.extend(warnings.into_iter().map(|problem| (name.clone(), false, problem)));
        for entry in entries.iter().chain(lacking.iter().map(Lacking::entry)) {
            if let Some(first) = origin.insert(entry.ods().clone(), path) {
                let message = format!("{} is in {} already", entry.ods(), first.display());
                reading.problems.push((name.clone(), true, Problem { line: 1, entry: String::new(), message }));
            }
        }
        known.extend(directory_import::kinds(&entries));
        known.extend(lacking.iter().map(|lacking| (lacking.entry().ods().clone(), lacking.entry().kind())));
        let before = reading.entries.len() + reading.lacking.len();
        reading.lacking.extend(lacking.into_iter().map(|each| (name.clone(), before + each.place, each)));
        reading.entries.extend(entries);
    }
    Ok(reading)
}

fn tell(reading: &Reading, terminal: &mut Terminal) {
    for (file, stops, problem) in &reading.problems {
        let word = if *stops { "error" } else { "warning" };
        terminal.note(format_args!("{word}: {file}: {problem}"));
    }
}

fn problems_json(reading: &Reading) -> Vec<Value> {
    let row = |(file, stops, problem): &(String, bool, Problem)| {
        let severity = if *stops { "error" } else { "warning" };
        json!({ "file": file, "severity": severity, "line": problem.line, "entry": problem.entry, "message": problem.message })
    };
    reading.problems.iter().map(row).collect()
}

async fn check(files: &Files, terminal: &mut Terminal) -> Outcome {
    // The store only widens what entries may refer to: a file can be checked without one.
    let config = files.config.load()?.config;
    let stored = match open::missing_store(&config) {
        Some(_) => Vec::new(),
        None => files.config.existing_store().await?.1.directory().await?,
    };
    let mut reading = read(&files.files, &stored)?;
    let found = mailboxes::find(&mut reading, &config, &stored).await?;
    let good = !reading.refused();
    if files.json {
        terminal.json(&json!({
            "valid": good, "entries": reading.entries.len(), "mailboxes": found, "problems": problems_json(&reading),
        }));
    } else {
        tell(&reading, terminal);
        mailboxes::tell(&found, terminal);
        let word = if good { terminal.paint(Style::Green, "good") } else { terminal.paint(Style::Red, "to be mended") };
        terminal.say(format_args!("{word}: entries that can be imported: {}", reading.entries.len()));
    }
    Ok(Exit::answer(good))
}

async fn import(files: &Files, terminal: &mut Terminal) -> Outcome {
    let (config, store) = files.config.store().await?;
    let desk = Desk::new(&config)?;
    let stored = store.directory().await?;
    let mut reading = read(&files.files, &stored)?;
    let found = mailboxes::find(&mut reading, &config, &stored).await?;
    if !files.json {
        tell(&reading, terminal);
        mailboxes::tell(&found, terminal);
    }
    if reading.refused() {
        if files.json {
            terminal.json(&json!({ "imported": false, "problems": problems_json(&reading) }));
        } else {
            terminal.say("nothing was imported");
        }
        return Ok(Exit::No);
    }
    // MESH may have taken its time: what homes have said meanwhile stays.
    let stored = store.directory().await?;
    let kept = directory_import::keep_own_words(&mut reading.entries, &stored);
    let heeds_ods = app::heeds_ods(&config);
    let counts = |ods: &OdsCode| heeds_ods && !config.ods.except.contains(ods);
    let open_again = directory_import::keep_word_of_ods(&mut reading.entries, &stored, counts);
    let changes = changes(&stored, &reading.entries);
    let names: Vec<_> =
        files.files.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
    let source = names.join(", ");
    let count = |word: &str| changes.iter().filter(|(what, _)| *what == word).count();
    let detail = format!(
        "directory import from {source}: {} added, {} changed, {} confirmed",
        count("added"),
        count("changed"),
        count("unchanged")
    );
    let (version, moved) = commit(store.as_ref(), &desk, reading.entries.clone(), &source, &detail).await?;
    for ods in &open_again {
        store.clear_alert(AlertKind::OrganisationClosed, about_organisation(ods), open::now()).await?;
    }
    for ods in directory_import::received_elsewhere(&reading.entries, &stored) {
        store.clear_alert(AlertKind::MailboxChanged, about_organisation(ods), open::now()).await?;
    }
    if files.json {
        let rows =
            changes.iter().map(|(what, entry)| json!({ "ods": entry.ods(), "kind": entry.kind(), "change": what }));
        let rows: Vec<_> = rows.collect();
        terminal.json(&json!({
            "imported": true, "version": version, "entries": rows, "kept": kept, "mailboxes": found,
            "queued": moved.iter().map(moved_json).collect::<Vec<_>>(), "problems": problems_json(&reading),
        }));
        return Ok(Exit::Done);
    }
    let row = |(what, entry): &(&str, &DirectoryEntry)| {
        [
            (*what).to_owned(),
            entry.kind().to_owned(),
            entry.ods().to_string(),
            entry.name().to_owned(),
            entry.expires().to_string(),
        ]
    };
    terminal.table(["change", "kind", "ODS", "name", "expires"], &changes.iter().map(row).collect::<Vec<_>>());
    for ods in &kept {
        terminal.say(format_args!(
            "{ods}: beds, weekends, capabilities and contact stay as the home has confirmed them later than the file's beds_updated"
        ));
    }
    for moved in &moved {
        terminal.say(came_to(moved));
        if moved.stay > 0 {
            terminal.note(format_args!(
                "{}: what stays with the former address cannot go to the new one as it is; where nobody receives it there, take it back \
                 (`onward recall`) and ask the hospital to send the discharge again, or ask for a redirect",
                moved.recipient
            ));
        }
    }
    terminal.say(format_args!("directory version {version}"));
    Ok(Exit::Done)
}

fn moved_json(moved: &MovedAlong) -> Value {
    let MovedAlong { recipient, from, to, copies, sending, stay } = moved;
    json!({
        "ods": recipient, "from": from.told(), "to": to.told(), "went_along": copies, "being_sent": sending,
        "stay_made_for_another_way": stay,
    })
}

/// The version, and what became of copies that waited for an address that changed.
async fn commit(
    store: &dyn Store,
    desk: &Desk,
    entries: Vec<DirectoryEntry>,
    source: &str,
    detail: &str,
) -> Result<(u64, Vec<MovedAlong>), Failure> {
    let (desk, row) = (desk.clone(), desk.row(AuditWord::Configure, detail));
    let told: Arc<Mutex<Vec<MovedAlong>>> = Arc::default();
    let kept = Arc::clone(&told);
    let audit = ImportAudit::new(move |moved| {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = moved.to_vec();
        let along = (!moved.is_empty()).then(|| desk.row(AuditWord::Configure, moved_along(moved)));
        [row.clone()].into_iter().chain(along).collect()
    });
    let version = store.import_directory(entries, source, open::now(), audit).await?;
    let moved = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((version, moved))
}

/// What each entry of an import means for what is stored.
fn changes<'e>(stored: &[DirectoryEntry], new: &'e [DirectoryEntry]) -> Vec<(&'static str, &'e DirectoryEntry)> {
    let before: BTreeMap<&OdsCode, &DirectoryEntry> = stored.iter().map(|entry| (entry.ods(), entry)).collect();
    let change = |entry: &DirectoryEntry| match before.get(entry.ods()) {
        None => "added",
        Some(old) if *old == entry => "unchanged",
        Some(_) => "changed",
    };
    new.iter().map(|entry| (change(entry), entry)).collect()
}

async fn list(list: &List, terminal: &mut Terminal) -> Outcome {
    let (_, store) = list.config.existing_store().await?;
    let entries = store.directory().await?;
    let today = open::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    if list.json {
        entries.iter().for_each(|entry| terminal.json(entry));
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        terminal.say("the directory is empty: see `onward directory import --help`");
        return Ok(Exit::Done);
    }
    let row = |entry: &DirectoryEntry| {
        let expired = if entry.expires() < today { " expired" } else { "" };
        let way = entry.endpoint().kind();
        let expires = format!("{}{expired}", entry.expires());
        [entry.kind().to_owned(), entry.ods().to_string(), entry.name().to_owned(), way.to_string(), expires]
    };
    terminal.table(["kind", "ODS", "name", "receives by", "expires"], &entries.iter().map(row).collect::<Vec<_>>());
    Ok(Exit::Done)
}

async fn show(show: &Show, terminal: &mut Terminal) -> Outcome {
    let (_, store) = show.config.existing_store().await?;
    let Some(entry) = store.directory_entry(&show.ods).await? else {
        return Err(Failure::no(format!("the directory has no entry {}", show.ods)));
    };
    if show.json {
        terminal.json(&entry);
    } else {
        let text = toml::to_string(&entry).map_err(Failure::fault)?;
        terminal.write(super::terminal::plain(&text).as_bytes());
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
