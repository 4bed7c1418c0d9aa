//! Directory import: TOML or CSV text becomes directory entries, or the list of everything that is wrong with it.
//!
//! All or nothing: a file with one problem imports nothing, and every problem is listed at once with its line.
//! It refuses fields that nobody reads, entries that have expired, and two entries with one ODS code. Of a MESH endpoint the mailbox may be
//! left out: who imports has MESH find it.
//!
//! TOML: `[[care_home]]`, `[[practice]]` and `[[pharmacy]]` with the fields of [`onward_core::directory`]; see
//! `config/examples/directory.toml`. CSV: one row per entry, a header row, and the columns of [`csv_columns`]; lists
//! are separated by semicolons; an empty cell is a field that is not given; see `config/examples/directory.csv`.

mod checks;
mod csv_rows;
mod record;
mod toml_records;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use onward_core::directory::{DirectoryEntry, Endpoint};
use onward_core::{MeshMailboxId, OdsCode, Timestamp};
use serde::Serialize;

pub use csv_rows::{Column, csv_columns};
use record::WHOLE;

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `[[care_home]]` …
    Toml,
    /// Header row, one entry per row.
    Csv,
}

impl Format {
    /// By the file's extension.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "toml" => Some(Self::Toml),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// One thing to mend, or to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: usize,
    /// Which entry (`care home VMH01`, `pharmacy 3`); empty when it concerns the whole file.
    pub entry: String,
    /// What is wrong, what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.entry.is_empty() {
            write!(f, "{}: ", self.entry)?;
        }
        f.write_str(&self.message)
    }
}

/// A file without problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The entries, in the order of the file, but for those of `lacking`.
    pub entries: Vec<DirectoryEntry>,
    /// Entries that receive by MESH and name no mailbox, in the order of the file.
    pub lacking: Vec<Lacking>,
    /// What is legal but probably not meant.
    pub warnings: Vec<Problem>,
}

/// An entry that receives by MESH and names no mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// How many entries of the file come before it.
    pub place: usize,
    /// Its mailbox stands for none.
    entry: DirectoryEntry,
    /// Its problems begin so.
    begin: Problem,
}

impl Lacking {
    /// The entry, whose mailbox is none to send to.
    #[must_use]
    pub fn entry(&self) -> &DirectoryEntry {
        &self.entry
    }

    /// Why it cannot be imported.
    #[must_use]
    pub fn problem(&self, why: &str) -> Problem {
        Problem { message: format!("{}{why}", self.begin.message), ..self.begin.clone() }
    }

    /// The whole entry.
    #[must_use]
    pub fn with(self, mailbox: MeshMailboxId) -> DirectoryEntry {
        let workflow = match self.entry.endpoint() {
            Endpoint::Mesh { workflow, .. } => workflow.clone(),
            _ => None,
        };
        self.entry.with_endpoint(Endpoint::Mesh { mailbox, workflow })
    }
}

/// A file that imports nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ImportRefused {
    /// Everything to mend, by line.
    pub problems: Vec<Problem>,
    /// What is legal but probably not meant.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for ImportRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Kinds of the entries that the store holds already, for [`read`].
#[must_use]
pub fn kinds(entries: &[DirectoryEntry]) -> BTreeMap<OdsCode, &'static str> {
    entries.iter().map(|entry| (entry.ods().clone(), entry.kind())).collect()
}

/// What a home has said of itself later than the file's `beds_updated` stays as it says: an import takes back nothing that is
/// newer than itself. Gives the homes of which that is so.
pub fn keep_own_words(entries: &mut [DirectoryEntry], stored: &[DirectoryEntry]) -> Vec<OdsCode> {
    let mut kept = Vec::new();
    for entry in entries {
        let DirectoryEntry::CareHome(home) = entry else { continue };
        let before = stored.iter().find_map(|stored| match stored {
            DirectoryEntry::CareHome(before) if before.ods == home.ods => Some(before),
            _ => None,
        });
        let Some(before) = before.filter(|before| before.beds_updated > home.beds_updated) else { continue };
        if before.own_word() != home.own_word() {
            kept.push(home.ods.clone());
        }
        home.set_own_word(before.own_word());
        home.beds_updated = before.beds_updated;
    }
    kept
}

/// What ODS says of the end of an organisation stays where `counts` says that its word counts: a file tells nothing about it. Gives the
/// codes of those that are not held to be closed any more.
pub fn keep_word_of_ods(
    entries: &mut [DirectoryEntry],
    stored: &[DirectoryEntry],
    counts: impl Fn(&OdsCode) -> bool,
) -> Vec<OdsCode> {
    let mut dropped = Vec::new();
    for entry in entries {
        let before = stored.iter().find(|stored| stored.ods() == entry.ods());
        let Some((before, end)) = before.and_then(|before| Some((before, before.ods_end()?))) else { continue };
        if before.kind() == entry.kind() && counts(entry.ods()) {
            *entry = entry.clone().with_ods_end(Some(end.clone()));
        } else {
            dropped.push(entry.ods().clone());
        }
    }
    dropped
}

/// The codes of those that received in another way before.
pub fn received_elsewhere<'e>(
    entries: &'e [DirectoryEntry],
    stored: &'e [DirectoryEntry],
) -> impl Iterator<Item = &'e OdsCode> {
    let differs = |before: &DirectoryEntry, entry: &DirectoryEntry| {
        before.ods() == entry.ods() && before.endpoint() != entry.endpoint()
    };
    entries.iter().filter(move |entry| stored.iter().any(|before| differs(before, entry))).map(DirectoryEntry::ods)
}

/// Reads a file. `stored` are the entries that the store holds already ([`kinds`]), to which new ones may refer.
///
/// # Errors
/// [`ImportRefused`] with every problem of every entry.
pub fn read(
    text: &str,
    format: Format,
    stored: &BTreeMap<OdsCode, &'static str>,
    now: Timestamp,
) -> Result<Import, ImportRefused> {
    // Spreadsheets begin their files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let records = match format {
        Format::Toml => toml_records::read(text, &mut problems),
        Format::Csv => csv_rows::read(text, &mut problems),
    };
    let mut entries = Vec::new();
    for record in records {
        let mut reading = record.read();
        problems.append(&mut reading.problems);
        let Some(entry) = reading.entry.take() else { continue };
        checks::entry(&record, &reading, &entry, now, &mut problems, &mut warnings);
        entries.push((record, reading, entry));
    }
    checks::together(&entries, stored, &mut problems, &mut warnings);
    problems.sort();
    warnings.sort();
    if problems.is_empty() && entries.is_empty() {
        problems.push(Problem { line: 1, entry: String::new(), message: "the file holds no entry".to_owned() });
    }
    if problems.is_empty() {
        let mut import = Import { entries: Vec::new(), lacking: Vec::new(), warnings };
        for (place, (record, _, entry)) in entries.into_iter().enumerate() {
            if record.lacks_mailbox() {
                let begin = record.problem(WHOLE, "");
                import.lacking.push(Lacking { place, entry, begin });
            } else {
                import.entries.push(entry);
            }
        }
        Ok(import)
    } else {
        Err(ImportRefused { problems, warnings })
    }
}

#[cfg(test)]
mod tests;
