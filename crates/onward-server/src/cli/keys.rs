//! `onward keys`: the keys under which the store's data keys lie.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use onward_connect::secret::Secret;
use onward_connect::webhook;
use onward_core::audit::AuditWord;
use onward_core::store::KeyUsage;
use onward_store::sealing::KeyEncryption as _;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::open::{ConfigArgs, Desk, missing_store, now, store_if_any};
use super::output::new_file;
use super::signed_folder;
use super::terminal::{Style, Terminal};
use super::validate::counted;
use crate::store_keys;

/// Data keys that are wrapped in one transaction.
const BATCH: u32 = 500;

/// The store's keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a key and puts it, as the current one, into the file that [keys] names
    #[command(after_help = "Example:
  onward keys new --config gateway.toml

Keep a copy of the file away from the database and its backups: without it nobody can read the store. A running gateway
takes the new key when it first meets it; `onward keys rotate` puts everything under it. The audit log keeps that it was made; of the
first one, made before there is a store, the gateway's first start does.")]
    New(Which),
    /// Lists the keys and how many data keys each wraps
    #[command(after_help = "Example:\n  onward keys list --json | jq -r '.[] | select(.data_keys == 0) | .key'")]
    List(Which),
    /// Wraps every data key anew, under the current key; a running gateway goes on, and a rotation that was stopped resumes
    #[command(after_help = "Example:
  onward keys new && onward keys rotate && onward keys list

A key that wraps nothing any more may leave the file once no backup from before the rotation need be restored.")]
    Rotate(Which),
    /// Changes the key that signs the audit log: a new one signs beside the old one, which `--retire` then destroys
    #[command(after_help = "Example:
  onward keys log                                   # makes a new key; restart the gateways: both sign
  onward audit key --out onward-log.pub             # for auditors and witnesses, who then trust both
  onward keys log --retire                          # destroys the old one; restart the gateways

Gateways on one database share the file: copy it to each before its restart. A retired key's public half stays in the file: it
vouches for the checkpoints from before, and for nothing larger, and for archives, packs and certificates whenever it signed them.
After a theft, retire it at once and take its line out of the file and of auditors' copies.")]
    Log(LogKey),
    /// Makes a key that signs what is posted to others' systems (Ed25519, Standard Webhooks), or reads one that is there, and shows the
    /// public key that the receiver checks with
    #[command(after_help = "Example:
  onward keys webhook home-new.key

Give the receiver the public key, name the file in [delivery] push or alerts.webhook_key_files beside the old one, and take the
old one out when the receiver has changed: until then both sign.")]
    Webhook(WebhookKey),
}

/// Which file.
#[derive(Debug, Args)]
pub struct WebhookKey {
    /// The key's file; made, readable by its owner alone, where there is none
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Which step.
#[derive(Debug, Args)]
pub struct LogKey {
    #[command(flatten)]
    which: Which,
    /// Destroy every key but the newest, which must have signed the newest checkpoint
    #[arg(long)]
    retire: bool,
}

/// Of which gateway.
#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When configuration, keys or store cannot be used.
pub(super) async fn run(command: &KeysCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        KeysCommand::New(which) => new(which, terminal).await,
        KeysCommand::List(which) => list(which, terminal).await,
        KeysCommand::Rotate(which) => rotate(which, terminal).await,
        KeysCommand::Log(key) => log_key(key, terminal).await,
        KeysCommand::Webhook(key) => webhook_key(key, terminal),
    }
}

async fn new(which: &Which, terminal: &mut Terminal) -> Outcome {
    let config = which.config.load()?.config;
    let keys = &config.keys;
    if !keys.command.is_empty() {
        return Err(Failure::usage("keys.command gives the keys: make the new one where that command has them from"));
    }
    if let Some(name) = &keys.environment {
        let told = format!("keys.environment gives the keys: put the new one into {name}, or unset it to make a file");
        return Err(Failure::usage(told));
    }
    let name = store_keys::key_name(now()).map_err(Failure::fault)?;
    // The first key comes before any store: of that one the gateway's first start leaves the entry.
    let store = if keys.file.exists() { store_if_any(&config).await? } else { None };
    if let Some(store) = store {
        // First the entry: a change that then fails is tried again, one without an entry would be a gap.
        let detail = format!("the store gets the further key {name}, which wraps from its first use on");
        store.audit(vec![Desk::new(&config)?.row(AuditWord::Configure, detail)]).await?;
    }
    store_keys::add_key_named(&keys.file, &name).map_err(Failure::configuration)?;
    if which.json {
        terminal.json(&json!({ "key": name, "file": keys.file }));
        return Ok(Exit::Done);
    }
    let word = terminal.paint(Style::Green, "made");
    terminal.say(format_args!("{word}: key {name}, the current one in {}", keys.file.display()));
    terminal
        .say("keep a copy of that file away from the database and its backups: without it nobody can read the store");
    Ok(Exit::Done)
}

async fn log_key(command: &LogKey, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.which.config.existing_store().await?;
    let mut keys = signed_folder::signing_key(&config)?;
    let newest = store.latest_checkpoint().await?;
    let (detail, told) = if command.retire {
        if keys.in_force() == 1 {
            return Err(Failure::no("one key signs the log: `onward keys log` makes the next"));
        }
        // Who trusts the new key alone must find a checkpoint by it that covers what the old one vouched for.
        let covered = newest.filter(|newest| keys.verifying_keys().newest().open(&newest.note).is_ok());
        let Some(covered) = covered else {
            return Err(Failure::no(
                "the newest checkpoint is not signed by the new key yet: restart every gateway, and wait for the next checkpoint, \
                 which is made when something is entered in the log",
            ));
        };
        let retired = keys.retire(covered.size);
        (format!("{retired} key(s) of the audit log retired at {} entries", covered.size), "retired")
    } else {
        if keys.in_force() > 1 {
            return Err(Failure::no(
                "a new key signs beside the old one already: `onward keys log --retire` ends that",
            ));
        }
        let added = keys.add().map_err(Failure::fault)?;
        (format!("the audit log gets the further key {added}"), "made")
    };
    let desk = Desk::new(&config)?;
    // First the entry: a change that then fails is tried again, one without an entry would be a gap.
    store.audit(vec![desk.row(AuditWord::Configure, detail)]).await?;
    let path = &config.audit.signing_key_file;
    let text = keys.to_secret_text().map_err(Failure::fault)?;
    store_keys::replace(path, text.as_bytes())?;
    let public = keys.verifying_keys();
    if command.which.json {
        terminal.json(&json!({ "file": path, "done": told, "keys": public.to_string().lines().collect::<Vec<_>>() }));
        return Ok(Exit::Done);
    }
    let word = terminal.paint(Style::Green, told);
    terminal.say(format_args!("{word}: {} in force in {}", counted(keys.in_force(), "key"), path.display()));
    terminal.say(public);
    terminal.say("restart every gateway, with this file; give the public keys to auditors and witnesses");
    Ok(Exit::Done)
}

fn webhook_key(key: &WebhookKey, terminal: &mut Terminal) -> Outcome {
    let made = !key.file.exists();
    if made {
        // Before the file: without randomness none is left empty.
        let secret = webhook::new_key().map_err(Failure::fault)?;
        let mut file = new_file(&key.file)?;
        writeln!(file, "{}", secret.expose()).and_then(|()| file.sync_all()).map_err(Failure::fault)?;
    }
    let secret = Secret::from_file(&key.file).map_err(|error| {
        Failure::fault(anyhow::Error::from(error).context(format!("reading {}", key.file.display())))
    })?;
    let public =
        webhook::public_key(&secret).map_err(|error| Failure::no(format!("{}: {error}", key.file.display())))?;
    if key.json {
        terminal.json(&json!({ "file": key.file, "made": made, "public_key": public }));
        return Ok(Exit::Done);
    }
    if made {
        let word = terminal.paint(Style::Green, "made");
        terminal.say(format_args!("{word}: {}", key.file.display()));
    }
    match public {
        Some(public) => terminal.say(public),
        None => terminal.say("a shared secret: the receiver has the same file's text"),
    }
    Ok(Exit::Done)
}

async fn list(which: &Which, terminal: &mut Terminal) -> Outcome {
    let config = which.config.load()?.config;
    let ring = store_keys::ring(&config.keys)?;
    let current = ring.current().map_err(Failure::fault)?;
    let used: Vec<KeyUsage> = match missing_store(&config) {
        Some(_) => Vec::new(),
        None => which.config.existing_store().await?.1.key_usage().await?,
    };
    let mut keys: BTreeMap<String, u64> = ring.names().into_iter().map(|name| (name, 0)).collect();
    keys.extend(used.into_iter().map(|key| (key.id, key.data_keys)));
    if which.json {
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, wraps)| json!({ "key": name, "current": *name == current, "data_keys": wraps }))
            .collect();
        terminal.json(&keys);
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|(name, wraps)| {
            let state = match (*name == current, wraps) {
                (true, _) => "current",
                (false, 0) => "wraps nothing",
                (false, _) => "needed: `onward keys rotate`",
            };
            [name.clone(), wraps.to_string(), state.to_owned()]
        })
        .collect();
    terminal.table(["key", "data keys", "state"], &rows);
    Ok(Exit::Done)
}

async fn rotate(which: &Which, terminal: &mut Terminal) -> Outcome {
    let (config, store) = which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let current = store_keys::ring(&config.keys)?.current().map_err(Failure::fault)?;
    let mut wrapped = 0;
    loop {
        // The last call, which finds nothing left, commits the row.
        let row = desk.row(AuditWord::Configure, format!("{wrapped} data keys wrapped anew under the key {current}"));
        let batch = store.rewrap_keys(BATCH, vec![row]).await?;
        if batch == 0 {
            break;
        }
        wrapped += batch;
        terminal.progress(format_args!("{wrapped} data keys"));
    }
    if which.json {
        terminal.json(&json!({ "key": current, "wrapped": wrapped }));
    } else {
        let word = terminal.paint(Style::Green, "done");
        let count = usize::try_from(wrapped).unwrap_or(usize::MAX);
        terminal.say(format_args!("{word}: {} wrapped anew, all under {current}", counted(count, "data key")));
    }
    Ok(Exit::Done)
}
