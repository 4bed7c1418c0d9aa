//! What the second person is told of an export before the press: what it holds, what is withheld by rule, whether anything is cut off,
//! and whether the log was checked, and how. What it holds is found out for one request at a time, and not anew for each look; only who
//! was shown it can grant.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use onward_core::store::StoreError;
use onward_core::{ApprovalId, OdsCode, Timestamp, UserId};
use onward_gateway::exporting::preview::{Counted, PREVIEW_MAX, WouldLeave};
use onward_gateway::exporting::{Export, ExportForm};
use onward_gateway::held::{Gone, Held, Identified};
use onward_ledger::SigningKeys;
use onward_transform::render::dates;

use super::super::components::Fact;
use super::archives::Archives;
use super::exports::file::archive_of;
use super::integrity::anchors;
use crate::app::App;
use crate::cli::sar::archive::Archive;
use crate::listener::sha256_hex;

/// For so long what a request would let out is not found out anew.
const KEPT: Duration = Duration::from_secs(60);
/// For so long after it was shown somebody can grant what they were shown.
const FRESH: SignedDuration = SignedDuration::from_mins(15);
/// The fact that is counted.
const HOLDS: &str = "It holds now";

/// What was found out lately: counts and words for pages, nothing of what a file would hold, and in memory alone. One request at a time
/// is found out, so that whoever looks often makes this process draw one archive and not many; nor is one drawn beside it that leaves.
pub(crate) struct Previews {
    known: Arc<Mutex<Vec<Known>>>,
    archives: Arc<Archives>,
    kept: Duration,
}

impl Previews {
    /// Of archives that are drawn one at a time by this.
    pub(crate) fn drawn_by(archives: Arc<Archives>) -> Self {
        Self { known: Arc::default(), archives, kept: KEPT }
    }

    /// What is known of a request, and since when; else what `find_out` finds, while nobody else finds anything out. It goes on, and what
    /// it finds is kept, where whoever looks goes away: the next look must not begin another beside it.
    async fn of(
        &self,
        request: ApprovalId,
        now: Timestamp,
        find_out: impl Future<Output = anyhow::Result<Preview>> + Send + 'static,
    ) -> anyhow::Result<(Preview, Timestamp)> {
        if let Some(known) = self.known_of(request, now) {
            return Ok(known);
        }
        let alone = self.archives.alone().await.context("others look at requests, and theirs take too long")?;
        // Whoever was waited for may have looked at the same.
        if let Some(known) = self.known_of(request, now) {
            return Ok(known);
        }
        let (known, kept) = (Arc::clone(&self.known), self.kept);
        let found = tokio::spawn(async move {
            let found = find_out.await;
            if let Ok(holds) = &found {
                keep(&known, Known { request, at: now, holds: holds.clone() });
                tokio::spawn(async move {
                    tokio::time::sleep(kept).await;
                    known.lock().expect(UNBROKEN).retain(|known| (known.request, known.at) != (request, now));
                });
            }
            drop(alone);
            found
        });
        Ok((found.await??, now))
    }

    fn known_of(&self, request: ApprovalId, now: Timestamp) -> Option<(Preview, Timestamp)> {
        let known = self.known.lock().expect(UNBROKEN);
        let recent = |known: &&Known| now.duration_since(known.at).unsigned_abs() < self.kept;
        let known = known.iter().filter(|known| known.request == request).find(recent)?;
        Some((known.holds.clone(), known.at))
    }
}

const UNBROKEN: &str = "nobody panics while holding it";

fn keep(known: &Mutex<Vec<Known>>, new: Known) {
    let mut known = known.lock().expect(UNBROKEN);
    known.retain(|known| known.request != new.request);
    known.push(new);
}

/// What was found out about one request.
struct Known {
    request: ApprovalId,
    at: Timestamp,
    holds: Preview,
}

/// What is said of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Preview {
    pub(super) facts: Vec<Fact>,
    /// What should make whoever decides stop and look.
    pub(super) warnings: Vec<String>,
    /// When it was counted, in words; empty where nothing was, and then nobody can grant it.
    pub(super) counted: String,
}

/// Of a request that is open. Whoever looks at it is audited before.
///
/// # Errors
/// When the store cannot be read, the archive cannot be made, or others' archives take too long.
pub(super) async fn of(
    app: &Arc<App>,
    organisation: &OdsCode,
    request: ApprovalId,
    export: &Export,
    now: Timestamp,
) -> anyhow::Result<Preview> {
    let Some(leaving) = app.gateway.would_leave(organisation, export).await? else {
        let erased = "The person was erased since: nothing would leave. It can be refused here, and not be granted.";
        return Ok(Preview { warnings: vec![erased.to_owned()], ..Preview::default() });
    };
    let found_out = found_out(Arc::clone(app), export.clone(), leaving);
    let (holds, at) = app.previews.of(request, now, found_out).await?;
    let mut preview = Preview { counted: dates::near_moment(at, now), ..holds };
    preview.log(app, organisation, now).await?;
    Ok(preview)
}

async fn found_out(app: Arc<App>, export: Export, leaving: WouldLeave) -> anyhow::Result<Preview> {
    let mut preview = Preview::default();
    match (export.form, &leaving.patient) {
        (ExportForm::Sar, Some(patient)) => {
            let held = app.gateway.record_leaving(&leaving).await?;
            let kept = Kept::of(&held);
            let identified = export.identified.unwrap_or(Identified::NumberAlone);
            preview.archive(&archive_of(&app, patient, held, identified).await?, &kept);
        }
        _ => preview.entries(&app.gateway.count_leaving(&leaving).await?, &export),
    }
    Ok(preview)
}

/// Says that this account was shown this of this request, and when, for the form that grants it: signed by the log's key, which all
/// gateways of a store share, so that any of them knows it again.
///
/// # Errors
/// When this process has no key of the log.
pub(super) fn seal(app: &App, request: ApprovalId, who: UserId, preview: &Preview) -> anyhow::Result<String> {
    let key = app.log_key.get().context("this process has no key of the log")?;
    sealed(key, request, who, preview, app.gateway.clock().now())
}

/// What such a seal of this request and account says was shown, for the log: when, what was counted, and the digest of all of it. `None`
/// when it is no such seal, or too long ago.
pub(super) fn was_shown(app: &App, request: ApprovalId, who: UserId, sealed: &str) -> Option<String> {
    opened(app.log_key.get()?, request, who, sealed, app.gateway.clock().now())
}

fn sealed(
    key: &SigningKeys,
    request: ApprovalId,
    who: UserId,
    preview: &Preview,
    at: Timestamp,
) -> anyhow::Result<String> {
    let lines = preview.facts.iter().flat_map(|fact| fact.lines.iter()).chain(&preview.warnings);
    let shown: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
    let holds = preview.facts.iter().find(|fact| fact.key == HOLDS).context("nothing was counted")?.lines.join("; ");
    let digest = sha256_hex(shown.as_bytes());
    let note = key.sign_statement(&format!("{}{at}\n{holds}\n{digest}\n", shown_to(request, who)))?;
    Ok(URL_SAFE_NO_PAD.encode(note))
}

fn opened(key: &SigningKeys, request: ApprovalId, who: UserId, sealed: &str, now: Timestamp) -> Option<String> {
    let note = String::from_utf8(URL_SAFE_NO_PAD.decode(sealed).ok()?).ok()?;
    let text = key.verifying_keys().verified_text(&note).ok()?;
    let mut lines = text.strip_prefix(&shown_to(request, who))?.lines();
    let (at, holds, digest) = (lines.next()?.parse::<Timestamp>().ok()?, lines.next()?, lines.next()?);
    // A gateway whose clock is ahead may have sealed it.
    let fresh = now.duration_since(at).abs() <= FRESH;
    fresh.then(|| format!("shown at {at}: {holds} (SHA-256 of all that was shown: {digest})"))
}

fn shown_to(request: ApprovalId, who: UserId) -> String {
    format!("onward export request as it was shown v2\n{request}\n{who}\n")
}

/// How much is held, and how much of it is no longer kept.
#[derive(Debug, Default)]
struct Kept {
    messages: usize,
    /// Messages that others sent.
    of_others: usize,
    copies: usize,
    gone: Gone,
    entries: usize,
    lists: usize,
    erased: usize,
}

impl Kept {
    fn of(held: &Held) -> Self {
        Self {
            messages: held.transfers.len(),
            of_others: held.of_others.len(),
            copies: held.transfers.iter().map(|each| each.transfer.copies().count()).sum(),
            gone: held.gone(),
            entries: held.entries.len(),
            lists: held.among_others.len(),
            erased: held.entries.iter().filter(|entry| entry.event.is_none()).count(),
        }
    }
}

impl Preview {
    /// Where it could not be made: nobody can know what they would grant.
    pub(super) fn failed() -> Self {
        let words = "What it would hold could not be found out: it can be refused here, and not be granted. Open this page again \
                     later, or tell whoever runs Onward.";
        Self { warnings: vec![words.to_owned()], ..Self::default() }
    }

    fn archive(&mut self, archive: &Archive, kept: &Kept) {
        let bytes: usize = archive.files.iter().map(|(_, bytes)| bytes.len()).sum();
        self.fact(
            HOLDS,
            vec![
                counted(kept.messages, "message", "messages"),
                counted(kept.copies, "copy that was sent", "copies that were sent"),
                format!("{} of the log about the person", counted(kept.entries, "entry", "entries")),
                format!(
                    "{} about lists and exports on which the person stood",
                    counted(kept.lists, "entry", "entries")
                ),
                format!(
                    "{}, {} kB: a page, the same as PDF, tables (CSV), entries (NDJSON), and a signed manifest",
                    counted(archive.files.len() + 1, "file", "files"),
                    bytes.div_ceil(1_000)
                ),
            ],
        );
        let rules = archive.by_rule.iter().map(|(rule, count)| format!("{count} × {}", rule.meaning()));
        let mut withheld: Vec<String> = rules.collect();
        if archive.unreadable > 0 {
            self.warnings.push(
                "Something could not be read, and is withheld as a whole: the archive does not hold everything."
                    .to_owned(),
            );
        }
        if withheld.is_empty() {
            withheld.push("Nothing".to_owned());
        }
        self.fact("Withheld by rule", withheld);
        let Gone { messages, copies, notices } = kept.gone;
        let gone = [(messages, "message", "messages"), (copies, "copy", "copies"), (notices, "notice", "notices")];
        let mut cut: Vec<String> = gone
            .into_iter()
            .filter(|(gone, ..)| *gone > 0)
            .map(|(gone, one, many)| {
                format!("{} no longer kept: that there was one is told, its content is gone", counted(gone, one, many))
            })
            .collect();
        if kept.erased > 0 {
            cut.push(format!("{} of the log erased", counted(kept.erased, "entry", "entries")));
        }
        if archive.unreadable > 0 {
            let unreadable = counted(archive.unreadable, "file or entry", "files or entries");
            cut.push(format!("{unreadable} withheld as a whole: it could not be read"));
        }
        if cut.is_empty() {
            cut.push("No: everything that your organisation holds about the person is in it".to_owned());
        }
        if kept.of_others > 0 {
            let messages = counted(kept.of_others, "message as it was sent", "messages as they were sent");
            cut.push(format!(
                "{messages}: kept by the hospital that sent it, and not part of what your organisation holds"
            ));
        }
        self.fact("Cut", cut);
        self.warnings.push(
            "A rule finds only the people whom the structure names. Look through the archive before it is handed out."
                .to_owned(),
        );
    }

    fn entries(&mut self, counted_entries: &Counted, export: &Export) {
        let Counted { entries, more, people, erased } = *counted_entries;
        let many = match more {
            true => {
                format!("More than {PREVIEW_MAX} entries of the log; the first {entries} are about {people} people")
            }
            false => {
                let people = counted(people, "person", "people");
                format!("{} of the log, about {people}", counted(entries as usize, "entry", "entries"))
            }
        };
        self.fact(HOLDS, vec![many]);
        let withheld = "Nothing: it names patients by NHS number, and whoever did something by name and account";
        self.fact("Withheld by rule", vec![withheld.to_owned()]);
        let mut cut = vec!["No: everything of the period leaves, however much it is".to_owned()];
        if erased > 0 {
            let left_out = if export.form == ExportForm::Ndjson { "left out" } else { "told without content" };
            cut.push(format!("{} erased: {left_out}", counted(erased as usize, "entry was", "entries were")));
        }
        self.fact("Cut", cut);
        if export.about.is_none() && people > 0 {
            self.warnings
                .push("It tells of everybody whose record was touched in the period, not of one person.".to_owned());
        }
    }

    /// Whether the log is whole is not known by looking at it.
    async fn log(&mut self, app: &App, organisation: &OdsCode, now: Timestamp) -> Result<(), StoreError> {
        let last = app.gateway.last_verification(organisation).await?;
        let mut lines = match last {
            None => {
                self.warnings.push("Nobody of your organisation has checked yet whether the log is whole.".to_owned());
                vec!["Not checked".to_owned()]
            }
            Some((words, whole, at)) => {
                let when = dates::near_moment(at, now);
                if !whole {
                    self.warnings.push(format!("The log was found {words}, {when}. Say so to whoever gets the file."));
                } else if words.starts_with("whole in itself") {
                    self.warnings.push("The last check of the log used no checkpoint.".to_owned());
                }
                vec![
                    format!("Last checked {when}: {words}"),
                    "By computing every entry’s place and hash anew from what is stored".to_owned(),
                    "What came after that was not checked".to_owned(),
                ]
            }
        };
        let anchors = anchors(app, now).await?;
        if anchors.is_empty() {
            lines.push("No witness outside vouches for it".to_owned());
        }
        lines.extend(anchors);
        self.fact("Whether the log is whole", lines);
        Ok(())
    }

    fn fact(&mut self, key: &'static str, lines: Vec<String>) {
        self.facts.push(Fact { key, lines });
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
