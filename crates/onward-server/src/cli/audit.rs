//! `onward audit`: the log recomputed from what is stored, and its entries for others.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use onward_core::audit::AuditWord;
use onward_core::store::Store;
use onward_ledger::{
    Checkpoint, FirstMismatch, LogVerifier, SigningKey, StoredEntry, Verified, VerifyingKey, WITHOUT_A_WITNESS,
};
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{ConfigArgs, Desk};
use super::terminal::{Style, Terminal};
use crate::config::Config;

/// Entries read at once.
const PAGE: u32 = 1_000;

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Recomputes the log and names the first entry that does not fit
    #[command(after_help = "Examples:
  onward audit verify --config gateway.toml
  onward audit verify --checkpoint kept-elsewhere.txt --verifier onward-log.pub

Exit code: 0 the log is whole, 1 an entry or a checkpoint does not fit.")]
    Verify(Verify),
    /// Prints every entry as a FHIR R4 AuditEvent, one a line; the export is itself audited
    #[command(after_help = "Example:\n  onward audit export --config gateway.toml | gzip > audit.ndjson.gz")]
    Export(Export),
}

/// Against what.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    config: ConfigArgs,
    /// A checkpoint that somebody else kept: the log must agree with it, too
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The log's public key, where the signing key is out of reach
    #[arg(long, value_name = "FILE")]
    verifier: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// From where.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs it.
///
/// # Errors
/// When configuration, keys or store cannot be used.
pub(super) async fn run(command: &Audit, terminal: &mut Terminal) -> Outcome {
    match command {
        Audit::Verify(verify) => self::verify(verify, terminal).await,
        Audit::Export(export) => self::export(export, terminal).await,
    }
}

async fn verify(verify: &Verify, terminal: &mut Terminal) -> Outcome {
    let (config, store) = verify.config.existing_store()?;
    // Read before the entries: a log that grows meanwhile still covers it.
    let stored = store.latest_checkpoint().await?;
    let mut notes: Vec<(String, String)> =
        stored.into_iter().map(|stored| ("the stored checkpoint".to_owned(), stored.note)).collect();
    for path in &verify.checkpoint {
        notes.push((path.display().to_string(), input::text(path)?));
    }
    let mut checkpoints = Vec::new();
    if !notes.is_empty() {
        let key = verifying_key(&config, verify.verifier.as_deref())?;
        for (name, note) in &notes {
            match key.open(note) {
                Ok(checkpoint) => checkpoints.push(checkpoint),
                Err(error) => return Ok(tell_no(verify.json, &format!("{name}: {error}"), None, terminal)),
            }
        }
    }
    let count = checkpoints.len();
    match walk(store.as_ref(), checkpoints, terminal).await? {
        Ok(verified) => Ok(tell_whole(verify.json, &verified, count, terminal)),
        Err(mismatch) => Ok(tell_no(verify.json, &mismatch.to_string(), Some(mismatch.index), terminal)),
    }
}

async fn walk(
    store: &dyn Store,
    checkpoints: Vec<Checkpoint>,
    terminal: &mut Terminal,
) -> Result<Result<Verified, FirstMismatch>, Failure> {
    let mut verifier = LogVerifier::new(checkpoints);
    let mut next = 0;
    loop {
        let page = store.audit_entries(next, PAGE).await?;
        for entry in &page {
            let stored = StoredEntry { index: entry.index, entry: entry.event.as_slice(), leaf_hash: entry.leaf };
            if let Err(mismatch) = verifier.push(&stored) {
                return Ok(Err(mismatch));
            }
        }
        next = page.last().map_or(next, |last| last.index + 1);
        terminal.progress(format_args!("{next} entries fit so far"));
        if page.len() < PAGE as usize {
            return Ok(verifier.finish());
        }
    }
}

fn verifying_key(config: &Config, verifier: Option<&Path>) -> Result<VerifyingKey, Failure> {
    if let Some(path) = verifier {
        let key = VerifyingKey::from_text(input::text(path)?.trim());
        return key
            .with_context(|| format!("{} is not a log's public key", path.display()))
            .map_err(Failure::configuration);
    }
    let path = &config.audit.signing_key_file;
    let text = std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Failure::usage(format!(
            "audit.signing_key_file {path} cannot be read ({error}): name the log's public key with --verifier"
        ))
    })?;
    let key = SigningKey::from_secret_text(text.trim())
        .with_context(|| format!("{} is not the audit log's key", path.display()))
        .map_err(Failure::configuration)?;
    Ok(key.verifying_key().clone())
}

fn tell_whole(json: bool, verified: &Verified, checkpoints: usize, terminal: &mut Terminal) -> Exit {
    let root = hex::encode(verified.root);
    if json {
        terminal.json(&json!({
            "whole": true, "entries": verified.size, "covered": verified.covered, "checkpoints": checkpoints,
            "root": root, "limits": WITHOUT_A_WITNESS,
        }));
        return Exit::Done;
    }
    let word = terminal.paint(Style::Green, "whole");
    terminal.say(format_args!(
        "{word}: {} entries fit, {} of them under {}",
        verified.size,
        verified.covered,
        super::validate::counted(checkpoints, "signed checkpoint")
    ));
    terminal.say(format_args!("root {root}"));
    terminal.paragraph(0, WITHOUT_A_WITNESS);
    Exit::Done
}

fn tell_no(json: bool, why: &str, index: Option<u64>, terminal: &mut Terminal) -> Exit {
    if json {
        terminal.json(&json!({ "whole": false, "entry": index, "mismatch": why }));
    } else {
        let word = terminal.paint(Style::Red, "does not fit");
        terminal.say(format_args!("{word}: {}", super::terminal::plain(why)));
    }
    Exit::No
}

async fn export(export: &Export, terminal: &mut Terminal) -> Outcome {
    let (config, store) = export.config.existing_store()?;
    // Reading the log is disclosure: first the entry about it, then the bytes.
    let desk = Desk::new(&config)?;
    store.audit(vec![desk.row(AuditWord::Query, "export of the whole audit log")]).await?;
    let mut next = 0;
    while !terminal.reader_gone() {
        let page = store.audit_entries(next, PAGE).await?;
        for entry in &page {
            terminal.write(&entry.event);
            terminal.write(b"\n");
        }
        next = page.last().map_or(next, |last| last.index + 1);
        terminal.progress(format_args!("{next} entries"));
        if page.len() < PAGE as usize {
            break;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
