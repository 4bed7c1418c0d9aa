//! `onward audit`: the log recomputed from what is stored, its entries for others, and evidence that is checked offline.

mod cosigned;
pub(crate) mod event;
pub(super) mod evidence;
mod line;
mod who;
mod witness;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use onward_core::audit::{AuditEntry, AuditWord, Basis};
use onward_core::store::Store;
use onward_gateway::made::{Half, Made};
use onward_gateway::sightings::Carried;
use onward_gateway::verify::{self, Signed, Unsigned, walk};
use onward_ledger::{SigningKeys, Verified, VerifyingKeys};
use serde_json::json;
use uuid::Uuid;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{ConfigArgs, Desk, now};
use super::output::Output;
use super::terminal::{Style, Terminal};
use crate::config::Config;
use line::Line;

/// Entries read at once.
const PAGE: u32 = 1_000;

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Recomputes the log and names the first entry that does not fit; the verdict is itself audited, unless the log was cut back
    #[command(after_help = "Examples:
  onward audit verify --config gateway.toml
  onward audit verify --checkpoint kept-elsewhere.txt --verifier onward-log.pub
  onward audit verify --ask-witnesses

Exit code: 0 the log is whole, 1 an entry, a checkpoint or a cosignature does not fit, or a witness has seen another log.")]
    Verify(Verify),
    /// Prints every entry as a FHIR R4 AuditEvent, one a line; the export is itself audited
    #[command(after_help = "Examples:
  onward audit export --config gateway.toml | gzip > audit.ndjson.gz
  onward audit export --evidence --out log.ndjson    # for verify.py: what the log hashes, with the event that it stands for

Entries about erased people have no event: only --evidence lists them. What is recorded while it runs is not in it, the entries about
the export itself neither. The last line is written when the log holds that the export ended, and not where it cannot; a file gets its name after that, and until then is
a hidden one beside it, which is removed where the export fails. Everybody about whom an entry left is told of the export: `onward audit who`, `sar`, `breach`.")]
    Export(Export),
    /// Who saw a patient: who, as what, when, and on what ground; asking is itself audited
    #[command(after_help = "Examples:
  onward audit who --nhs-number 9990000018 --config gateway.toml
  onward audit who --nhs-number 9990000018 --since 2026-11-01
  echo 9990000018 | onward audit who --nhs-number - --json | jq -r '[.when, .who, .what] | @tsv'

Exit code 1: the log has no entry about this person.")]
    Who(who::Who),
    /// Proves that one entry is in the log: a file (C2SP tlog-proof) that anybody checks offline
    #[command(after_help = "Examples:
  onward audit prove 17 --config gateway.toml --out entry-17.tlog-proof
  onward audit prove 5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10 --hash-only > entry.tlog-proof

The proof carries the entry, which may name a person, unless --hash-only is given; making it is audited.
Exit code 1: no checkpoint covers such an entry, or the log is not the one that was signed.")]
    Prove(evidence::Prove),
    /// Checks a proof without the log
    #[command(after_help = "Example:
  onward audit check entry-17.tlog-proof --verifier onward-log.pub

Exit code: 0 proven, 1 not proven. `verify.py` of the source code does the same without Onward.")]
    Check(evidence::Check),
    /// Prints the newest signed checkpoint, to be kept where the gateway's operator cannot change it
    #[command(after_help = "Example:\n  onward audit checkpoint --config gateway.toml > kept-elsewhere.txt")]
    Checkpoint(evidence::Newest),
    /// Runs a witness of other organisations' logs: it cosigns only checkpoints that grow out of those it has seen
    #[command(after_help = "Examples:
  onward audit witness --name witness.example.nhs.uk --key witness.key --show-key
  onward audit witness --key witness.key --state seen.txt --log onward-log.pub \\
      --listen 0.0.0.0:8444 --tls-certificate chain.pem --tls-key key.pem

It needs no configuration, no database and no data: only the public keys of the logs (`onward audit key`). The gateway that
it witnesses names it in [[audit.witness]]. Plain HTTP is served on loopback only, for a proxy that speaks TLS in front. Keep
its state file: a witness that forgets what it has seen would cosign a log that was cut back.")]
    Witness(witness::Witness),
    /// Prints the log's public key, with which others check checkpoints and proofs
    #[command(after_help = "Example:\n  onward audit key --config gateway.toml > onward-log.pub")]
    Key(evidence::Newest),
}

pub(super) use event::Told;
pub(super) use who::all as entries_that_fit;

/// Whose signature is expected.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Source {
    /// The log's public key, where the signing key is out of reach
    #[arg(long, value_name = "FILE")]
    verifier: Option<PathBuf>,
    /// Public key of a witness, beside those of the configuration: its cosignatures are checked
    #[arg(long, value_name = "FILE")]
    witness: Vec<PathBuf>,
}

/// Against what.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    config: ConfigArgs,
    /// A checkpoint that somebody else kept: the log must agree with it, too
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Ask the configured witnesses whether the log holds what they have seen: a log that was cut back does not
    #[arg(long)]
    ask_witnesses: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// From where.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    config: ConfigArgs,
    /// Instead of events, the entries as the log hashes them, each with its event and the key of its commitment
    #[arg(long)]
    evidence: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
///
/// # Errors
/// When configuration, keys or store cannot be used.
pub(super) async fn run(command: &Audit, terminal: &mut Terminal) -> Outcome {
    match command {
        Audit::Verify(verify) => self::verify(verify, terminal).await,
        Audit::Export(export) => self::export(export, terminal).await,
        Audit::Who(who) => who::run(who, terminal).await,
        Audit::Prove(prove) => evidence::prove(prove, terminal).await,
        Audit::Check(check) => evidence::check(check, terminal),
        Audit::Witness(command) => witness::run(command, terminal).await,
        Audit::Checkpoint(command) => evidence::checkpoint(command, terminal).await,
        Audit::Key(command) => evidence::key(command, terminal),
    }
}

async fn verify(verify: &Verify, terminal: &mut Terminal) -> Outcome {
    let (config, store) = verify.config.existing_store().await?;
    // Read before the entries: a log that grows meanwhile still covers them. Each narrows down where a rewritten log differs.
    let latest = store.latest_checkpoint().await?.map(|latest| latest.size);
    let vouched = store.latest_cosignatures().await?;
    // Whatever vouches for it: where in doubt, nothing is added to a log that may have been cut back.
    let mut furthest = vouched.iter().map(|kept| kept.size).chain(latest).max().unwrap_or(0);
    let mut notes = Vec::new();
    for path in &verify.checkpoint {
        notes.push((path.display().to_string(), input::text(path)?));
    }
    let witnesses = cosigned::keys(&config, &verify.source)?;
    let mut stated = cosigned::Stated::new(&witnesses);
    let key = match (latest, notes.as_slice()) {
        (None, []) => None,
        _ => Some(verifying_key(&config, &verify.source)?),
    };
    let mut checkpoints = Signed::default();
    if let Some(key) = &key {
        let stored = Signed::stored(store.as_ref(), key, |note| stated.take(note)).await?;
        let opened = match stored {
            Ok(stored) => {
                checkpoints = stored;
                notes.iter().try_for_each(|(name, note)| {
                    let opened = key.open(note).and_then(|checkpoint| stated.take(note).map(|()| checkpoint));
                    checkpoints.keep(opened.map_err(|error| format!("{name}: {error}"))?);
                    Ok::<_, String>(())
                })
            }
            Err(Unsigned { size, furthest: said, error }) => {
                furthest = furthest.max(said);
                Err(format!("the stored checkpoint of {size}: {error}"))
            }
        };
        furthest = furthest.max(checkpoints.furthest());
        if let Err(why) = opened {
            let unkept = keep(&config, store.as_ref(), furthest, Err("a checkpoint has no good signature"), true);
            return Ok(tell_no(verify.json, &why, None, unkept.await, terminal));
        }
    }
    let count = checkpoints.count();
    let kept = verify.checkpoint.len();
    let walked = walk(store.as_ref(), checkpoints, |next| terminal.progress(format_args!("{next} entries fit so far")));
    let (verified, erased) = match walked.await? {
        Ok(whole) => whole,
        Err(misfit) => {
            let unkept = keep(&config, store.as_ref(), furthest, Err(&misfit.told()), count > 0).await;
            return Ok(tell_no(verify.json, &misfit.why, Some(misfit.index), unkept, terminal));
        }
    };
    let asked = match verify.ask_witnesses {
        true => Some(cosigned::ask(&config, &store, &verifying_key(&config, &verify.source)?).await?),
        false => None,
    };
    let mut whole = cosigned::Whole { verified, erased, count, kept, stated, asked, unkept: None };
    let outcome = match whole.is_contradicted() {
        true => Err(verify::ANOTHER_LOG),
        false => Ok(&whole.verified),
    };
    let furthest = furthest.max(whole.seen_by_others());
    whole.unkept = keep(&config, store.as_ref(), furthest, outcome, count > 0).await;
    Ok(whole.tell(verify.json, terminal))
}

/// Keeps the verdict as an entry, as the page does, of a broken log too; gives why it is not kept, and the verdict stands. `furthest` is
/// the largest number of entries that any checkpoint tells of.
async fn keep(
    config: &Config,
    store: &dyn Store,
    furthest: u64,
    outcome: Result<&Verified, &str>,
    signed: bool,
) -> Option<String> {
    let kept = async {
        let held = store.audit_size().await?;
        if verify::is_cut_back(furthest, held) {
            return Ok(Some(format!(
                "the log has {held} entries and had {furthest}; an entry now would stand where others are missing, and hide that"
            )));
        }
        let desk = Desk::new(config)?;
        let entry = verify::entry(desk.operator(), now(), outcome, signed);
        store.audit(vec![desk.row_of(&entry)]).await?;
        Ok::<_, Failure>(None)
    };
    kept.await.unwrap_or_else(|failure| Some(super::terminal::plain(&format!("{:#}", failure.error))))
}

/// Says that the log has no entry of a verification, and why.
fn say_unkept(why: Option<&str>, terminal: &mut Terminal) {
    if let Some(why) = why {
        terminal.say(format_args!("no entry of this verification was kept: {why}"));
    }
}

/// The named public key, else that of the configured signing key.
fn verifying_key(config: &Config, source: &Source) -> Result<VerifyingKeys, Failure> {
    if source.verifier.is_some() {
        return named_key(source);
    }
    let path = &config.audit.signing_key_file;
    let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new).map_err(|error| {
        let path = path.display();
        Failure::usage(format!(
            "audit.signing_key_file {path} cannot be read ({error}): name the log's public key with --verifier"
        ))
    })?;
    let key = SigningKeys::from_secret_text(text.trim())
        .with_context(|| format!("{} is not the audit log's key", path.display()))
        .map_err(Failure::configuration)?;
    Ok(key.verifying_keys().clone())
}

/// The key to check with: `--verifier`, else that of the configuration, which is read only then.
pub(super) fn key_of(config: &ConfigArgs, source: &Source) -> Result<VerifyingKeys, Failure> {
    match source.verifier {
        Some(_) => named_key(source),
        None => verifying_key(&config.load()?.config, source),
    }
}

/// The key of `--verifier`.
fn named_key(source: &Source) -> Result<VerifyingKeys, Failure> {
    let path = source.verifier.as_deref().ok_or_else(|| Failure::usage("--verifier names the log's public key"))?;
    VerifyingKeys::from_text(input::text(path)?.trim())
        .with_context(|| format!("{} is not a log's public key", path.display()))
        .map_err(Failure::configuration)
}

fn tell_no(json: bool, why: &str, index: Option<u64>, unkept: Option<String>, terminal: &mut Terminal) -> Exit {
    if json {
        terminal.json(&json!({
            "whole": false, "entry": index, "mismatch": why, "logged": unkept.is_none(), "not_logged": unkept,
        }));
    } else {
        let word = terminal.paint(Style::Red, "does not fit");
        terminal.say(format_args!("{word}: {}", super::terminal::plain(why)));
        say_unkept(unkept.as_deref(), terminal);
    }
    Exit::No
}

async fn export(export: &Export, terminal: &mut Terminal) -> Outcome {
    let (config, store) = export.config.existing_store().await?;
    // Reading the log is disclosure to whoever gets the file: first the entry about it, which says what is carried, then the bytes.
    let desk = Desk::new(&config)?;
    let carried = Carried { organisation: None, from: None, until: None, before: store.audit_size().await? };
    let (id, what) = (Uuid::new_v4(), "export of the whole audit log");
    let entry = AuditEntry {
        query: Some(format!("audit/export?{}", carried.told_of(id))),
        ..desk.entry(AuditWord::Query, Half::Beginning(id).told(what))
    };
    store.audit(vec![desk.row_of(&entry)]).await?;
    let mut sink = export.output.open()?;
    let mut made = Made::default();
    let (mut next, mut left_out) = (0, 0);
    // Stays here until the end is committed: who ends this program before has not all of it.
    let mut last_line = Vec::new();
    while !terminal.reader_gone() && next < carried.before {
        let page = store.audit_entries(next, page_until(carried.before, next)).await?;
        for entry in &page {
            let mut line = match (export.evidence, entry.event()) {
                (true, _) => Line::of(entry)?.to_bytes(),
                (false, Some(event)) => event.to_vec(),
                (false, None) => {
                    left_out += 1;
                    continue;
                }
            };
            line.push(b'\n');
            if export.evidence {
                made.named("what the log hashes");
            }
            entry.event().into_iter().for_each(|event| made.event(event));
            made.bytes(&line);
            sink.write(&std::mem::replace(&mut last_line, line), terminal)?;
        }
        next = page.last().map_or(next, |last| last.index + 1);
        terminal.progress(format_args!("{next} entries"));
        if page.is_empty() {
            break;
        }
    }
    let (sha256, contents) = made.finish();
    let entry = AuditEntry {
        success: !terminal.reader_gone(),
        basis: Some(Basis::accountability()),
        content_sha256: Some(sha256),
        contents: Some(contents),
        ..desk.entry(AuditWord::Export, Half::End(id).told(what))
    };
    store.audit(vec![desk.row_of(&entry)]).await?;
    sink.write(&last_line, terminal)?;
    sink.finish()?;
    if left_out > 0 {
        terminal.note(format!("{left_out} entries about erased people have no event: --evidence lists them"));
    }
    Ok(Exit::Done)
}

/// The number of entries that may be read at once where so many are wanted in all.
fn page_until(before: u64, next: u64) -> u32 {
    u32::try_from(before - next).map_or(PAGE, |left| left.min(PAGE))
}

#[cfg(test)]
mod paged;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod tests;
