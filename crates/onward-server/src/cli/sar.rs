//! `onward sar`: subject access. Everything about one person as one signed folder, third parties withheld by rule; the
//! export is itself audited before the first byte is written.

pub(crate) mod archive;
pub(super) mod page;
mod record;
mod tables;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use onward_core::audit::{AuditEntry, AuditWord, Basis};
use onward_gateway::held::{ANOTHER_PERSON, Identified, held_about};
use onward_gateway::made::Made;
use serde_json::json;

use super::audit::{self, Source};
use super::exit::{Exit, Failure, Outcome};
use super::input::{self, Typed};
use super::open::{ConfigArgs, Desk, now};
use super::signed_folder;
use super::terminal::{Style, Terminal, plain};
use crate::listener::sha256_hex;
use archive::Archive;

/// Subject access.
#[derive(Debug, Subcommand)]
pub enum Sar {
    /// Writes every message, copy, reading and change about one person into a new folder
    #[command(after_help = "Example:
  onward sar export --nhs-number 9990000018 --born 1944-03-08 --out subject-access --config gateway.toml

The folder holds index.html for people, the same as summary.pdf, its tables as CSV (tables/), the messages and copies, record.json
with states, waits, decisions and what people wrote, the audit entries, those about lists on which the person stood and exports that
carried them, what was withheld by which rule, and a manifest of SHA-256 hashes signed by the audit log's key. Look through it before
it is handed out: people whom only a text names are not found, and attached files are withheld until somebody has checked them.
Give --born: the archive says whether one identifier or two were checked. Where nothing is held but that somebody asked about the
number, the archive says so, and holds the questions.
Exit code 1: there is nothing about this person, or another date of birth is held.")]
    Export(Export),
    /// Checks a folder against its manifest and the manifest's signature
    #[command(after_help = "Example:\n  onward sar check subject-access --verifier onward-log.pub

Exit code: 0 it is as it was written, 1 a file was changed, added or removed.")]
    Check(Check),
}

/// About whom, and where to.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    config: ConfigArgs,
    /// The person; `-` reads the number from standard input, so that it stands in no process list
    #[arg(long, value_name = "N")]
    nhs_number: Typed,
    /// The date of birth that the person gives, as a second identifier: it must be the one of the newest document. `-` reads it from
    /// standard input, after the number where that is read there too
    #[arg(long, value_name = "YYYY-MM-DD")]
    born: Option<Typed>,
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
pub(super) async fn run(command: &Sar, terminal: &mut Terminal) -> Outcome {
    match command {
        Sar::Export(command) => export(command, terminal).await,
        Sar::Check(command) => check(command, terminal),
    }
}

async fn export(command: &Export, terminal: &mut Terminal) -> Outcome {
    let patient = input::nhs_number(command.nhs_number.text())?;
    let born = command.born.as_ref().map(|born| input::day(born.text())).transpose()?;
    let (config, store) = command.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let key = signed_folder::signing_key(&config)?;
    if command.out.exists() {
        return Err(Failure::usage(format!("{} is there already", command.out.display())));
    }
    let held = held_about(store.as_ref(), &patient, None).await?;
    if held.transfers.is_empty() && held.entries.iter().all(|entry| entry.event.is_none()) {
        return Err(Failure::no("there is nothing about this person: not in messages, and not in the audit log"));
    }
    let Some(identified) = held.identified(born) else {
        let detail = format!("subject access {ANOTHER_PERSON}");
        let entry = AuditEntry { success: false, patient: Some(patient), ..desk.entry(AuditWord::Query, detail) };
        store.audit(vec![desk.row_of(&entry)]).await?;
        return Err(Failure::no("the date of birth is not the one that is held about the person of this number"));
    };
    let archive = Archive::of(&patient, &config.identity.name, now(), &held, identified).map_err(Failure::fault)?;
    let manifest = key.sign_statement(&archive.manifest()).map_err(Failure::fault)?;
    let mut made = Made::default();
    archive.files.iter().for_each(|(path, bytes)| made.file(path, bytes));
    // Whoever reads the log later finds which archive it was, and what it carried; without the entry no byte is written.
    let entry = AuditEntry {
        patient: Some(patient),
        basis: Some(Basis::subject_access()),
        content_sha256: Some(sha256_hex(manifest.as_bytes())),
        contents: Some(made.finish().1),
        ..desk.entry(AuditWord::SubjectAccess, format!("{} files, by the hash of their manifest", archive.files.len()))
    };
    store.audit(vec![desk.row_of(&entry)]).await?;
    signed_folder::write(&command.out, &archive::FOLDERS, &archive.files, &manifest)?;
    let (messages, entries, withheld) = (held.transfers.len(), held.entries.len(), archive.withheld);
    if command.json {
        terminal.json(&json!({
            "folder": command.out, "messages": messages, "entries": entries, "files": archive.files.len(),
            "withheld": withheld, "only_questions": held.is_only_questions(), "identified": identified,
        }));
    } else {
        let word = terminal.paint(Style::Green, "written");
        terminal.say(format_args!(
            "{word}: {} with {messages} messages and {entries} audit entries; {withheld} places withheld",
            command.out.display()
        ));
        if held.is_only_questions() {
            terminal.say("nothing is held about a person of this number: the archive tells who asked about it");
        }
        match identified {
            Identified::NumberAndBirth => {}
            Identified::NumberAndPartOfBirth => terminal
                .note("the newest document says less than a day of birth: the number and that much were checked"),
            Identified::NothingToCompare => {
                terminal.note("no document that is kept says a date of birth: the number alone was checked")
            }
            Identified::NumberAlone => {
                terminal.note("one identifier was checked, the number: give --born as a second one")
            }
        }
        terminal.say("look through it before it is handed out: a rule finds only the people that the structure names");
    }
    Ok(Exit::Done)
}

fn check(command: &Check, terminal: &mut Terminal) -> Outcome {
    let key = audit::key_of(&command.config, &command.source)?;
    let manifest = input::text(&command.folder.join(signed_folder::MANIFEST))?;
    let problem = match key.verified_text(&manifest) {
        Ok(text) => signed_folder::mismatch(&command.folder, text, archive::TITLE, &archive::FOLDERS)?,
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
