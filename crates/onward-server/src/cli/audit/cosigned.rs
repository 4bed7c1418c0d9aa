//! What witnesses have said about the log: in the store, in files that somebody kept, and when they are asked.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use onward_core::SystemClock;
use onward_core::store::Store;
use onward_ledger::{Checkpoint, Cosigned, NoteError, Verified, VerifyingKeys, WITHOUT_A_WITNESS, WitnessKey};
use serde_json::{Value, json};

use super::Source;
use crate::cli::exit::{Exit, Failure};
use crate::cli::input;
use crate::cli::open::build;
use crate::cli::terminal::{Style, Terminal, plain};
use crate::cli::validate::counted;
use crate::config::Config;
use crate::witnessing::Verdict;

/// The witnesses' keys: those of the configuration, and of `--witness`.
///
/// # Errors
/// When a file holds none.
pub(super) fn keys(config: &Config, source: &Source) -> Result<Vec<WitnessKey>, Failure> {
    let mut keys: Vec<WitnessKey> = config.audit.witness.iter().map(|witness| witness.key.clone()).collect();
    for key in named(source)? {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The witnesses' keys of `--witness` alone.
///
/// # Errors
/// When a file holds none.
pub(super) fn named(source: &Source) -> Result<Vec<WitnessKey>, Failure> {
    let read = |path: &std::path::PathBuf| {
        WitnessKey::from_text(input::text(path)?.trim())
            .with_context(|| format!("{} is not a witness's public key", path.display()))
            .map_err(Failure::configuration)
    };
    source.witness.iter().map(read).collect()
}

/// The furthest that each witness has gone.
pub(super) struct Stated<'k> {
    furthest: Vec<(&'k WitnessKey, Option<Cosigned>)>,
}

impl<'k> Stated<'k> {
    pub(super) fn new(keys: &'k [WitnessKey]) -> Self {
        Self { furthest: keys.iter().map(|key| (key, None)).collect() }
    }

    /// Checks what the witnesses say in this note.
    ///
    /// # Errors
    /// When a line claims to be a witness's and is not.
    pub(super) fn take(&mut self, note: &str) -> Result<(), NoteError> {
        for (key, furthest) in &mut self.furthest {
            if let Some(cosigned) = key.open(note)?
                && furthest.as_ref().is_none_or(|known| known.checkpoint.size <= cosigned.checkpoint.size)
            {
                *furthest = Some(cosigned);
            }
        }
        Ok(())
    }

    /// Those who have said something.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Checkpoint, String)> {
        self.furthest.iter().filter_map(|(key, cosigned)| {
            let Cosigned { checkpoint, seconds } = cosigned.as_ref()?;
            let at = i64::try_from(*seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            Some((key.name(), checkpoint, at.map_or_else(|| seconds.to_string(), |at| at.to_string())))
        })
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        self.all()
            .map(|(name, checkpoint, at)| json!({ "witness": name, "entries": checkpoint.size, "at": at }))
            .collect()
    }
}

/// What a witness answers when it is asked.
pub(super) struct Asked {
    witness: String,
    /// Entries that it vouches for now, or what it has seen instead; `Err` when it does not say.
    answer: Result<Verdict, String>,
}

/// Asks the configured witnesses about the newest checkpoint.
///
/// # Errors
/// When the configuration cannot be used.
pub(super) async fn ask(config: &Config, store: &Arc<dyn Store>, log: &VerifyingKeys) -> Result<Vec<Asked>, Failure> {
    if config.audit.witness.is_empty() {
        return Err(Failure::usage("there is nobody to ask: no [[audit.witness]] is configured"));
    }
    let app = build(config, Arc::clone(store))?;
    let told = app.witnessing.ask(store.as_ref(), &SystemClock, log).await;
    let asked = |(witness, answer): (String, Result<Verdict, _>)| Asked {
        witness,
        answer: answer.map_err(|error: crate::witnessing::NoVerdict| error.to_string()),
    };
    Ok(told.into_iter().map(asked).collect())
}

/// A log whose entries, checkpoints and cosignatures fit.
pub(super) struct Whole<'k> {
    pub(super) verified: Verified,
    /// Entries whose content was erased.
    pub(super) erased: u64,
    /// Checkpoints compared.
    pub(super) count: usize,
    /// Those that somebody else kept among them.
    pub(super) kept: usize,
    pub(super) stated: Stated<'k>,
    pub(super) asked: Option<Vec<Asked>>,
    /// Why the log has no entry of this verification.
    pub(super) unkept: Option<String>,
}

impl Whole<'_> {
    /// A witness that was asked has seen another log.
    pub(super) fn is_contradicted(&self) -> bool {
        self.asked.iter().flatten().any(|asked| matches!(asked.answer, Ok(Verdict::Mismatch { .. })))
    }

    /// The most entries that a witness who was asked has seen of another log; 0 where none has.
    pub(super) fn seen_by_others(&self) -> u64 {
        let seen = self.asked.iter().flatten().map(|asked| match asked.answer {
            Ok(Verdict::Mismatch { seen, .. }) => seen,
            Ok(Verdict::Cosigned(_)) | Err(_) => 0,
        });
        seen.max().unwrap_or(0)
    }

    /// What is said about it, and how that ends: a witness that has seen another log is a no.
    pub(super) fn tell(&self, json: bool, terminal: &mut Terminal) -> Exit {
        let asked = || self.asked.iter().flatten();
        let whole = !self.is_contradicted();
        let vouched = asked().any(|asked| matches!(asked.answer, Ok(Verdict::Cosigned(_))));
        if json {
            self.print_json(vouched, whole, terminal);
        } else {
            self.print(vouched, whole, terminal);
        }
        Exit::answer(whole)
    }

    fn print_json(&self, vouched: bool, whole: bool, terminal: &mut Terminal) {
        let asked: Option<Vec<Value>> = self.asked.as_ref().map(|asked| {
            let told = |asked: &Asked| match &asked.answer {
                Ok(Verdict::Cosigned(entries)) => json!({ "witness": asked.witness, "vouches_for": entries }),
                Ok(Verdict::Mismatch { how, .. }) => json!({ "witness": asked.witness, "mismatch": how }),
                Err(fault) => json!({ "witness": asked.witness, "fault": fault }),
            };
            asked.iter().map(told).collect()
        });
        terminal.json(&json!({
            "whole": whole, "entries": self.verified.size, "covered": self.verified.covered,
            "erased": self.erased, "checkpoints": self.count,
            "kept_elsewhere": self.kept, "cosigned": self.stated.json(), "asked": asked,
            "root": hex::encode(self.verified.root), "limits": self.limits(vouched),
            "logged": self.unkept.is_none(), "not_logged": self.unkept,
        }));
    }

    fn print(&self, vouched: bool, whole: bool, terminal: &mut Terminal) {
        let Verified { size, covered, root } = &self.verified;
        let word = if whole { terminal.paint(Style::Green, "whole") } else { terminal.paint(Style::Red, "not whole") };
        terminal.say(format_args!(
            "{word}: {size} entries fit, {covered} of them under {}",
            counted(self.count, "signed checkpoint")
        ));
        if self.erased > 0 {
            terminal.say(format_args!(
                "{} of them are about people who were erased: their headers fit, and nobody can read what they said",
                self.erased
            ));
        }
        terminal.say(format_args!("root {}", hex::encode(root)));
        for (name, checkpoint, at) in self.stated.all() {
            terminal.say(format_args!("cosigned by {}: {} entries, at {at}", plain(name), checkpoint.size));
        }
        if self.stated.all().next().is_none() {
            terminal.say("cosigned by nobody");
        }
        for Asked { witness, answer } in self.asked.iter().flatten() {
            let witness = plain(witness);
            match answer {
                Ok(Verdict::Cosigned(entries)) => {
                    terminal.say(format_args!(
                        "{witness} was asked: it has seen nothing else, and vouches for {entries} entries"
                    ));
                }
                Ok(Verdict::Mismatch { how, .. }) => {
                    let word = terminal.paint(Style::Red, "another history");
                    terminal.say(format_args!("{witness} was asked: {word}: {}", plain(how)));
                }
                Err(fault) => terminal.say(format_args!("{witness} was asked and does not say: {}", plain(fault))),
            }
        }
        if self.kept == 0 && !vouched {
            terminal.say("no checkpoint that was kept elsewhere was compared: --checkpoint FILE, --ask-witnesses");
        }
        if let Some(limits) = self.limits(vouched) {
            terminal.paragraph(0, limits);
        }
        super::say_unkept(self.unkept.as_deref(), terminal);
    }

    /// What this verification cannot show.
    fn limits(&self, vouched: bool) -> Option<&'static str> {
        const ASK_THEM: &str = "That nothing was cut off is not proven yet: who can cut the log back can remove the cosignatures \
             that are stored with it. A witness that is asked (--ask-witnesses), or a checkpoint that somebody else kept, shows it.";
        match (vouched || self.kept > 0, self.stated.all().next().is_some()) {
            (true, _) => None,
            (false, true) => Some(ASK_THEM),
            (false, false) => Some(WITHOUT_A_WITNESS),
        }
    }
}
