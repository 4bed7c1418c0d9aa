//! Evidence for others: a proof of one entry, the newest checkpoint, the log's public key, and the check of a proof
//! without the log.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use onward_core::audit::{AuditEntry, AuditRow, AuditWord, Basis};
use onward_core::store::{Store, StoredAudit};
use onward_gateway::made::{EVIDENCE, Made};
use onward_ledger::{Checkpoint, Hash, LogProof, inclusion_proof, leaf_hash, root_of, with_cosignatures};
use serde_json::{Value, json};

use super::line::Line;
use super::{PAGE, Source, cosigned, verifying_key};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::input;
use crate::cli::open::{ConfigArgs, Desk};
use crate::cli::output::Output;
use crate::cli::terminal::{Style, Terminal, plain};
use crate::config::Config;
use crate::witnessing::newest_note;

/// Of what.
#[derive(Debug, Args)]
pub struct Prove {
    #[command(flatten)]
    config: ConfigArgs,
    /// The entry: its number in the log, from 0, or its AuditEvent's id
    #[arg(value_name = "ENTRY")]
    entry: String,
    /// Leave the entry itself out: the proof then names no person, and is checked with an entry from elsewhere
    #[arg(long)]
    hash_only: bool,
    /// Prove against this checkpoint, which somebody else kept, instead of the newest one
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
}

/// Which proof.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// The proof
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The entry, where the proof does not carry it: one line of `onward audit export --evidence`
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Where to.
#[derive(Debug, Args)]
pub struct Newest {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: Output,
}

/// Which entry is wanted.
enum Wanted {
    Index(u64),
    Id(String),
}

/// The leaves that a checkpoint covers, and the wanted entry among them.
struct Found {
    leaves: Vec<Hash>,
    entry: Option<StoredAudit>,
}

pub(super) async fn prove(prove: &Prove, terminal: &mut Terminal) -> Outcome {
    let wanted = match prove.entry.parse() {
        Ok(index) => Wanted::Index(index),
        Err(_) => Wanted::Id(prove.entry.to_ascii_lowercase()),
    };
    let (config, store) = prove.config.existing_store().await?;
    let key = verifying_key(&config, &prove.source)?;
    let note = match &prove.checkpoint {
        Some(path) => input::text(path)?,
        None => best(store.as_ref(), &wanted).await?,
    };
    let keys = cosigned::keys(&config, &prove.source)?;
    let mut stated = cosigned::Stated::new(&keys);
    stated.take(&note).map_err(|error| Failure::no(format!("a cosignature: {error}")))?;
    let checkpoint = key.open(&note).map_err(|error| Failure::no(format!("the checkpoint: {error}")))?;
    let Found { leaves, entry } = covered(store.as_ref(), &checkpoint, &wanted, terminal).await?;
    if leaves.len() as u64 != checkpoint.size || root_of(&leaves) != checkpoint.root {
        return Err(Failure::no("the log is not the one that was signed: `onward audit verify` says where it differs"));
    }
    let Some(stored) = entry else {
        return Err(Failure::no(format!(
            "the checkpoint covers {} entries, and {} is none of them: a new entry is covered within seconds while the \
             gateway serves",
            checkpoint.size, prove.entry
        )));
    };
    let index = stored.index;
    let path = inclusion_proof(&leaves, index, checkpoint.size).map_err(Failure::fault)?;
    let patient = stored.event().and_then(super::event::patient);
    let extra = if prove.hash_only { None } else { Some(Line::of(&stored)?.to_bytes()) };
    let proof = LogProof { index, path, note, extra }.to_text();
    // Handing out an entry is a reading of it: first the entries about that, then the bytes.
    let desk = Desk::new(&config)?;
    let detail = format!("proof of entry {index} under a checkpoint of {}", checkpoint.size);
    let mut rows = vec![desk.row_about(AuditWord::Query, detail.clone(), patient)];
    if !prove.hash_only {
        let mut made = Made::default();
        made.bytes(proof.as_bytes());
        rows.push(handed_out(&desk, &detail, made, [stored.event()]));
    }
    store.audit(rows).await?;
    prove.output.write(proof.as_bytes(), terminal)?;
    match stated.all().map(|(name, ..)| name.to_owned()).collect::<Vec<_>>() {
        names if names.is_empty() => terminal.note("note: no witness has cosigned the checkpoint that vouches for it"),
        names => terminal.note(format_args!("the checkpoint is cosigned by {}", plain(&names.join(", ")))),
    }
    Ok(Exit::Done)
}

/// The entry of these entries that leave with their proofs. `made` knows the bytes, and whatever else they carry.
pub(in crate::cli) fn handed_out<'e>(
    desk: &Desk,
    what: &str,
    mut made: Made,
    events: impl IntoIterator<Item = Option<&'e [u8]>>,
) -> AuditRow {
    made.named("what the log hashes");
    events.into_iter().flatten().for_each(|event| made.event(event));
    let (sha256, contents) = made.finish();
    desk.row_of(&AuditEntry {
        basis: Some(Basis::accountability()),
        content_sha256: Some(sha256),
        contents: Some(contents),
        ..desk.entry(AuditWord::Export, format!("{EVIDENCE}: {what}"))
    })
}

/// The newest checkpoint that a witness has cosigned, where it covers the entry; else the newest.
async fn best(store: &dyn Store, wanted: &Wanted) -> Result<String, Failure> {
    let cosignatures = store.latest_cosignatures().await?;
    let largest = cosignatures.iter().map(|kept| kept.size).max().unwrap_or(0);
    match wanted {
        Wanted::Index(index) if *index < largest => {}
        _ => return newest(store).await,
    }
    let Some(own) = store.checkpoints_of(vec![largest]).await?.pop() else { return newest(store).await };
    let lines = cosignatures.iter().filter(|kept| kept.size == largest).map(|kept| kept.line.as_str());
    Ok(with_cosignatures(&own.note, lines))
}

async fn newest(store: &dyn Store) -> Result<String, Failure> {
    let none = || Failure::no("there is no checkpoint yet: a serving gateway signs one within seconds of new entries");
    Ok(newest_note(store).await?.ok_or_else(none)?.1)
}

async fn covered(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    wanted: &Wanted,
    terminal: &mut Terminal,
) -> Result<Found, Failure> {
    let mut found = Found { leaves: Vec::new(), entry: None };
    loop {
        let next = found.leaves.len() as u64;
        let page = store.audit_entries(next, PAGE).await?;
        let last = page.len() < PAGE as usize;
        for stored in page {
            if found.leaves.len() as u64 == checkpoint.size {
                return Ok(found);
            }
            let is_wanted = match wanted {
                Wanted::Index(index) => stored.index == *index,
                Wanted::Id(id) => stored.columns.id == *id,
            };
            // What is proven is what the bytes are now, whatever hash is stored beside them.
            found.leaves.push(stored.entry.as_deref().map_or(stored.leaf, leaf_hash));
            if is_wanted {
                found.entry = Some(stored);
            }
        }
        terminal.progress(format_args!("{} entries read", found.leaves.len()));
        if last {
            return Ok(found);
        }
    }
}

/// Proofs of these entries, entry included, under the newest checkpoint; those that it does not cover yet are left out.
pub(in crate::cli) async fn proofs(
    store: &dyn Store,
    config: &Config,
    wanted: &BTreeSet<u64>,
    terminal: &mut Terminal,
) -> Result<Vec<LogProof>, Failure> {
    let Some(stored) = store.latest_checkpoint().await? else { return Ok(Vec::new()) };
    let key = verifying_key(config, &Source::default())?;
    let checkpoint = key.open(&stored.note).map_err(|error| Failure::no(format!("the checkpoint: {error}")))?;
    let mut leaves: Vec<Hash> = Vec::new();
    let mut entries = Vec::new();
    while (leaves.len() as u64) < checkpoint.size {
        let page = store.audit_entries(leaves.len() as u64, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for stored in page {
            if leaves.len() as u64 == checkpoint.size {
                break;
            }
            leaves.push(stored.entry.as_deref().map_or(stored.leaf, leaf_hash));
            if wanted.contains(&stored.index) {
                entries.push((stored.index, Line::of(&stored)?));
            }
        }
        terminal.progress(format_args!("{} entries read", leaves.len()));
    }
    if leaves.len() as u64 != checkpoint.size || root_of(&leaves) != checkpoint.root {
        return Err(Failure::no("the log is not the one that was signed: `onward audit verify` says where it differs"));
    }
    let lines = store.latest_cosignatures().await?;
    let lines = lines.iter().filter(|kept| kept.size == checkpoint.size).map(|kept| kept.line.as_str());
    let note = with_cosignatures(&stored.note, lines);
    let proof = |(index, line): (u64, Line)| {
        let path = inclusion_proof(&leaves, index, checkpoint.size).map_err(Failure::fault)?;
        Ok(LogProof { index, path, note: note.clone(), extra: Some(line.to_bytes()) })
    };
    entries.into_iter().map(proof).collect()
}

pub(super) fn check(check: &Check, terminal: &mut Terminal) -> Outcome {
    let key = super::key_of(&check.config, &check.source)?;
    let witnesses = cosigned::named(&check.source)?;
    let mut stated = cosigned::Stated::new(&witnesses);
    let text = input::text(&check.proof)?;
    let given = check.entry.as_deref().map(std::fs::read).transpose()?;
    let proven = LogProof::from_text(&text).map_err(|error| error.to_string()).and_then(|proof| {
        let carried = proof.extra.as_deref().map(Line::read).transpose()?;
        let line = match (given.as_deref().map(Line::read).transpose()?, carried) {
            (Some(given), Some(carried)) if given.leaf()? != carried.leaf()? => {
                return Err("the proof carries another entry than the one given".to_owned());
            }
            (Some(line), _) | (None, Some(line)) => line,
            (None, None) => return Err("the proof carries no entry, and none was given".to_owned()),
        };
        let checkpoint = proof.verify(&key, &line.leaf()?).map_err(|error| error.to_string())?;
        stated.take(&proof.note).map_err(|error| format!("a cosignature: {error}"))?;
        // Whoever names a witness wants its word.
        match stated.all().count() {
            count if count == witnesses.len() => Ok((checkpoint, proof.index, line)),
            _ => Err("a witness that was named has not cosigned the checkpoint".to_owned()),
        }
    });
    let (checkpoint, index, line) = match proven {
        Ok(proven) => proven,
        Err(why) => {
            if check.json {
                terminal.json(&json!({ "proven": false, "mismatch": why }));
            } else {
                let word = terminal.paint(Style::Red, "not proven");
                terminal.say(format_args!("{word}: {}", plain(&why)));
            }
            return Ok(Exit::No);
        }
    };
    if check.json {
        let event: Value = line.event().and_then(|event| serde_json::from_str(event).ok()).unwrap_or_default();
        terminal.json(&json!({
            "proven": true, "entry": index, "size": checkpoint.size, "log": checkpoint.origin,
            "root": hex::encode(checkpoint.root), "cosigned": stated.json(), "event": event,
        }));
        return Ok(Exit::Done);
    }
    let word = terminal.paint(Style::Green, "proven");
    let (size, log) = (checkpoint.size, plain(&checkpoint.origin));
    terminal.say(format_args!("{word}: the entry is number {index} of the {size} that {log} signed"));
    for (name, _, at) in stated.all() {
        terminal.say(format_args!("cosigned by {} at {at}", plain(name)));
    }
    Ok(Exit::Done)
}

pub(super) async fn checkpoint(command: &Newest, terminal: &mut Terminal) -> Outcome {
    let (_, store) = command.config.existing_store().await?;
    command.output.write(newest(store.as_ref()).await?.as_bytes(), terminal)?;
    Ok(Exit::Done)
}

pub(super) fn key(command: &Newest, terminal: &mut Terminal) -> Outcome {
    let config = command.config.load()?.config;
    let key = verifying_key(&config, &Source::default())?;
    command.output.write(format!("{key}\n").as_bytes(), terminal)?;
    Ok(Exit::Done)
}
