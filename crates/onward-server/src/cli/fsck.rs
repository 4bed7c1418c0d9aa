//! `onward fsck`: whether everything in the store adds up, and whether it is the store that signed what was kept elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

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
    terminal.progress(format_args!("reading the store"));
    let mut checkup = store.checkup().await?;
    if let Some(folder) = &config.audit.checkpoint_folder {
        checkup.flaws.extend(against(folder, store.as_ref()).await?);
    }
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

/// What the folder says against the store. One that cannot be read says something as well: nobody knows whether commits are lost.
async fn against(folder: &Path, store: &dyn Store) -> Result<Option<Flaw>, Failure> {
    // Read before the store's own: one that is made meanwhile is among those as well.
    match kept_in(folder) {
        Ok(kept) => foreign(store, kept).await,
        Err(error) => {
            let rule = "audit.checkpoint_folder can be read, so that a store that lost commits is found out";
            Ok(Some(Flaw { rule, count: 1, example: format!("{}: {error}", folder.display()) }))
        }
    }
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
    let checkpoints = store.checkpoints().await?;
    let own: HashSet<&str> = checkpoints.iter().map(|own| signed(&own.note)).collect();
    kept.retain(|_, text| !own.contains(text.as_str()));
    let rule =
        "every checkpoint of audit.checkpoint_folder was made by this store, so that no commit before it is lost";
    Ok(kept.first_key_value().map(|(first, _)| Flaw { rule, count: kept.len() as u64, example: first.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hold::tests::{DISCHARGE, accepted, json, onward};

    #[tokio::test]
    async fn a_folder_that_cannot_be_read_is_told_and_loses_no_report() {
        let (folder, _app, _) = accepted(DISCHARGE).await;
        // A folder in the place of a checkpoint is unreadable to whoever runs this.
        std::fs::create_dir_all(folder.path().join("kept/checkpoint-1.txt")).expect("made");
        let config = folder.path().join("gateway.toml");
        let text = std::fs::read_to_string(&config).expect("readable");
        std::fs::write(&config, format!("{text}[audit]\ncheckpoint_folder = \"kept\"\n")).expect("written");
        let (outcome, out) = onward(folder.path(), "fsck --json").await;
        let checkup = json(&out);
        assert_eq!((outcome, checkup["accepted"].as_u64()), (Ok(Exit::No), Some(1)), "{out}");
        let flaws = checkup["flaws"].as_array().expect("told");
        assert_eq!(flaws.len(), 1, "{out}");
        let rule = flaws[0]["rule"].as_str().expect("a rule");
        assert!(rule.starts_with("audit.checkpoint_folder can be read"), "{out}");
    }
}
