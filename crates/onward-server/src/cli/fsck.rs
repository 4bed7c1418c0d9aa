//! `onward fsck`: whether everything in the store adds up, and whether it is the store that signed what was kept elsewhere.

use std::collections::HashSet;
use std::fs::ReadDir;
use std::path::Path;

use clap::Args;
use onward_core::store::{Flaw, Store};

use super::exit::{Exit, Failure, Outcome};
use super::open::ConfigArgs;
use super::terminal::{Style, Terminal, plain};

/// Checkpoints of the folder that are compared at once, so that years of them take no more memory than these.
const AT_ONCE: usize = 1_000;

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

/// What the folder says against the store: checkpoints that this store has never made, so that commits before them are lost or it is another
/// store. A folder that cannot be read says something as well: nobody knows whether commits are lost.
async fn against(folder: &Path, store: &dyn Store) -> Result<Vec<Flaw>, Failure> {
    let (mut count, mut first): (u64, Option<String>) = (0, None);
    let (mut files, mut flaws) = (None, Vec::new());
    loop {
        // Read before the store's own: one that is made meanwhile is among those as well.
        let kept = match next_of(folder, &mut files) {
            Ok(kept) => kept,
            Err(error) => {
                let rule = "audit.checkpoint_folder can be read, so that a store that lost commits is found out";
                flaws.push(Flaw { rule, count: 1, example: format!("{}: {error}", folder.display()) });
                break;
            }
        };
        if kept.is_empty() {
            break;
        }
        let own = store.checkpoints_of(kept.iter().filter_map(|(_, text)| size_of(text)).collect()).await?;
        let own: HashSet<&str> = own.iter().map(|own| signed(&own.note)).collect();
        for (name, _) in kept.into_iter().filter(|(_, text)| !own.contains(text.as_str())) {
            count += 1;
            first = Some(first.map_or(name.clone(), |first| first.min(name)));
        }
    }
    let rule =
        "every checkpoint of audit.checkpoint_folder was made by this store, so that no commit before it is lost";
    flaws.extend(first.map(|example| Flaw { rule, count, example }));
    Ok(flaws)
}

/// The next checkpoints of the folder with their names, each without its signatures; none when these were all.
fn next_of(folder: &Path, files: &mut Option<ReadDir>) -> std::io::Result<Vec<(String, String)>> {
    let files = match files {
        Some(files) => files,
        None => files.insert(std::fs::read_dir(folder)?),
    };
    let mut kept = Vec::new();
    for file in files {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.starts_with("checkpoint-") && name.ends_with(".txt") {
            let note = std::fs::read_to_string(folder.join(&name))?;
            kept.push((name, signed(&note).to_owned()));
        }
        if kept.len() == AT_ONCE {
            break;
        }
    }
    Ok(kept)
}

/// What a note's signatures are about.
fn signed(note: &str) -> &str {
    note.split_once("\n\n").map_or(note, |(text, _)| text)
}

/// How many entries a checkpoint is about: its second line (C2SP tlog-checkpoint).
fn size_of(signed: &str) -> Option<u64> {
    signed.lines().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use onward_core::audit::StoredCheckpoint;

    use super::*;
    use crate::cli::hold::tests::{DISCHARGE, accepted, json, onward};

    /// Makes `kept` the folder of checkpoints of the gateway in this folder.
    fn configure(folder: &Path) {
        let config = folder.join("gateway.toml");
        let text = std::fs::read_to_string(&config).expect("readable");
        std::fs::write(&config, format!("{text}[audit]\ncheckpoint_folder = \"kept\"\n")).expect("written");
    }

    #[tokio::test]
    async fn every_checkpoint_of_the_folder_is_compared_however_many_they_are() {
        let (folder, app, _) = accepted(DISCHARGE).await;
        configure(folder.path());
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).expect("made");
        let note = |size: u64, root: &str, by: &str| format!("onward/R9Z\n{size}\n{root}\n\n\u{2014} {by} c2lnbmVk\n");
        for size in [0, 1] {
            let own = StoredCheckpoint { size, note: note(size, "own", "onward/R9Z") };
            assert_eq!(app.gateway.store().put_checkpoint(own).await, Ok(true));
        }
        // Who has cosigned it since makes no other checkpoint of it.
        let write = |name: &str, text: &str| std::fs::write(kept.join(name), text).expect("written");
        write("checkpoint-1.txt", &note(1, "own", "witness.example"));
        let (outcome, out) = onward(folder.path(), "fsck --json").await;
        assert_eq!((outcome, json(&out)["flaws"].as_array().map(Vec::len)), (Ok(Exit::Done), Some(0)), "{out}");
        // Of the same size and another root, of a size that is not there, and not a checkpoint at all.
        for n in 0..AT_ONCE {
            write(&format!("checkpoint-b{n:04}.txt"), &note(n as u64 % 3, "another", "onward/R9Z"));
        }
        write("checkpoint-c.txt", "torn");
        let (outcome, out) = onward(folder.path(), "fsck --json").await;
        let flaws = &json(&out)["flaws"];
        assert_eq!((outcome, flaws.as_array().map(Vec::len)), (Ok(Exit::No), Some(1)), "{out}");
        let found = (flaws[0]["count"].as_u64(), flaws[0]["example"].as_str());
        assert_eq!(found, (Some(AT_ONCE as u64 + 1), Some("checkpoint-b0000.txt")), "{out}");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_read_is_told_and_loses_no_report() {
        let (folder, _app, _) = accepted(DISCHARGE).await;
        // A folder in the place of a checkpoint is unreadable to whoever runs this.
        std::fs::create_dir_all(folder.path().join("kept/checkpoint-1.txt")).expect("made");
        configure(folder.path());
        let (outcome, out) = onward(folder.path(), "fsck --json").await;
        let checkup = json(&out);
        assert_eq!((outcome, checkup["accepted"].as_u64()), (Ok(Exit::No), Some(1)), "{out}");
        let flaws = checkup["flaws"].as_array().expect("told");
        assert_eq!(flaws.len(), 1, "{out}");
        let rule = flaws[0]["rule"].as_str().expect("a rule");
        assert!(rule.starts_with("audit.checkpoint_folder can be read"), "{out}");
    }
}
