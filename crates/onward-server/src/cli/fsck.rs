//! `onward fsck`: whether everything in the store adds up, and whether it is the store that signed what was kept elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use onward_core::store::{Flaw, Store};

use super::exit::{Exit, Failure, Outcome};
use super::open::ConfigArgs;
use super::terminal::{Style, Terminal, plain};

/// Accounts for every accepted message and checks every rule that the store's rows must keep among themselves. It reads
/// in one snapshot and changes nothing; a gateway may be serving meanwhile. A store that lost its newest commits, by a failover or an
/// older backup, adds up by itself: it is found out by the checkpoints of `audit.checkpoint_folder`. The audit log's hashes are for
/// `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  onward fsck --config gateway.toml && onward audit verify --config gateway.toml

Where audit.checkpoint_folder names a folder, every checkpoint there must be one that this store made. After an older backup or a
standby that was behind has taken its place, those that tell of what is missing stay broken rules until somebody moves them away.

Exit code: 0 everything adds up, 1 something does not, by name.")]
pub struct Fsck {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn run(command: &Fsck, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    // Read before the store: one that is made meanwhile is in the store as well.
    let kept = match &config.audit.checkpoint_folder {
        Some(folder) => kept_in(folder)
            .with_context(|| format!("reading audit.checkpoint_folder {}", folder.display()))
            .map_err(Failure::fault)?,
        None => BTreeMap::new(),
    };
    terminal.progress(format_args!("reading the store"));
    let mut checkup = store.checkup().await?;
    checkup.flaws.extend(foreign(store.as_ref(), kept).await?);
    let whole = checkup.flaws.is_empty();
    if command.json {
        terminal.json(&checkup);
        return Ok(Exit::answer(whole));
    }
    let (style, word) = if whole { (Style::Green, "adds up") } else { (Style::Red, "does not add up") };
    let word = terminal.paint(style, word);
    terminal.say(format_args!(
        "{word}: {} accepted = {} delivered + {} pending + {} parked + {} ended; {} copies, {} audit entries",
        checkup.accepted,
        checkup.delivered,
        checkup.pending,
        checkup.parked,
        checkup.ended,
        checkup.copies,
        checkup.audit
    ));
    for flaw in &checkup.flaws {
        let broken = terminal.paint(Style::Red, "broken");
        terminal.say(format_args!("{broken}: {} ({} times, first {})", flaw.rule, flaw.count, plain(&flaw.example)));
    }
    Ok(Exit::answer(whole))
}

/// The checkpoints of the folder by name, each without its signatures.
fn kept_in(folder: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut kept = BTreeMap::new();
    for file in std::fs::read_dir(folder)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.starts_with("checkpoint-") && name.ends_with(".txt") {
            let note = std::fs::read_to_string(folder.join(&name))?;
            kept.insert(name, signed(&note).to_owned());
        }
    }
    Ok(kept)
}

/// What a note's signatures are about.
fn signed(note: &str) -> &str {
    note.split_once("\n\n").map_or(note, |(text, _)| text)
}

/// Checkpoints that this store has never made: commits before them are lost, or it is another store.
async fn foreign(store: &dyn Store, mut kept: BTreeMap<String, String>) -> Result<Option<Flaw>, Failure> {
    if kept.is_empty() {
        return Ok(None);
    }
    let own: HashSet<String> = store.checkpoints().await?.iter().map(|own| signed(&own.note).to_owned()).collect();
    kept.retain(|_, text| !own.contains(text));
    let rule =
        "every checkpoint of audit.checkpoint_folder was made by this store, so that no commit before it is lost";
    Ok(kept.first_key_value().map(|(first, _)| Flaw { rule, count: kept.len() as u64, example: first.clone() }))
}
