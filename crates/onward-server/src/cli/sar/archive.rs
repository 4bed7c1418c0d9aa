//! The files of a subject access archive, and their manifest.

use onward_core::audit::FoundAudit;
use onward_core::store::SubjectTransfer;
use onward_core::{NhsNumber, Timestamp};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Release, Tree, message, write};
use onward_gateway::held::{Held, Identified};
use onward_transform::pdf::PdfError;
use onward_transform::redact::{
    Others, Redaction, Rule, entry_without_third_parties, overseers, without_third_parties,
};
use serde_json::json;

use super::page::{self, Tables, Told};
use super::record::Record;
use super::tables;
use crate::cli::signed_folder;

/// Folders inside the archive.
pub(super) const FOLDERS: [&str; 3] = ["messages", "copies", tables::FOLDER];
/// The entries of the audit log about the person, a line each.
const LOG: &str = "audit.ndjson";
/// Those about lists on which the person stood, and exports that carried entries about them.
const LISTS: &str = "lists.ndjson";
/// What is kept beside messages, copies and entries.
const RECORD: &str = "record.json";
/// First line of the list.
pub(super) const TITLE: &str = "onward subject access manifest v1";

/// Everything about one person.
pub(crate) struct Archive {
    /// Path and bytes of every file but the manifest.
    pub files: Vec<(String, Vec<u8>)>,
    /// Places where something was withheld.
    pub withheld: usize,
    /// The same by rule, those alone that took something.
    pub by_rule: Vec<(Rule, usize)>,
    /// Files and entries that could not be read, and are withheld as a whole.
    pub unreadable: usize,
}

/// What was withheld from one file, or from one entry in it.
pub(super) struct Withheld {
    /// The file.
    pub(super) file: String,
    /// The entry's place in the audit log.
    pub(super) entry: Option<u64>,
    /// All of it: it cannot be read, or not be written without loss.
    pub(super) whole: bool,
    /// The places.
    pub(super) redactions: Vec<Redaction>,
}

impl Withheld {
    fn json(&self) -> serde_json::Value {
        let places = self.redactions.iter().map(|place| json!({ "path": place.path, "rule": place.rule.as_str() }));
        let places = places.collect::<Vec<_>>();
        let mut row = json!({ "file": self.file, "whole": self.whole, "withheld": places });
        if let Some(entry) = self.entry {
            row["entry"] = entry.into();
        }
        row
    }
}

impl Archive {
    /// Makes it. Nothing is written yet.
    ///
    /// # Errors
    /// When its page cannot be written as PDF.
    pub(crate) fn of(
        patient: &NhsNumber,
        gateway: &str,
        at: Timestamp,
        held: &Held,
        identified: Identified,
    ) -> Result<Self, PdfError> {
        let documents: Vec<Document<'_>> = held.transfers.iter().flat_map(documents).collect();
        let mut others = Others::of(documents.iter().filter_map(|each| each.tree.as_ref()).map(Tree::root));
        let (mut files, mut withheld) = (Vec::new(), Vec::new());
        // By the people of all documents, and before staff join them: in documents those stay.
        for document in documents {
            let redacted = document.tree.as_ref().and_then(|tree| document.written(tree, &others));
            // What cannot be read cannot be cleared of others: it is named and held back.
            let (text, redactions) = redacted.unzip();
            let redactions = redactions.unwrap_or_default();
            if text.is_none() || !redactions.is_empty() {
                withheld.push(Withheld { file: document.file.clone(), entry: None, whole: text.is_none(), redactions });
            }
            files.extend(text.map(|text| (document.file, text.into_bytes())));
        }
        let among_others = held.among_others.iter().map(|(entry, _)| (entry, true));
        let mut entries: Vec<_> = held.entries.iter().map(|entry| (entry, false)).chain(among_others).collect();
        entries.sort_by_key(|(entry, _)| (entry.recorded, entry.index));
        for event in entries.iter().filter_map(|(entry, _)| entry.event.as_deref()) {
            if let Ok(tree) = read::bytes(event, read::Format::Json, &Limits::default()) {
                overseers(tree.root()).for_each(|name| others.add_staff(name));
            }
        }
        let (log, own, lists) = log(&entries, &others, &mut withheld);
        files.extend([(LOG.to_owned(), own), (LISTS.to_owned(), lists)]);
        let mut record = Record::of(&held.transfers, &others);
        record.json["only_questions"] = held.is_only_questions().into();
        record.json["identified"] = serde_json::to_value(identified).expect("a word is JSON");
        files.push((RECORD.to_owned(), serde_json::to_vec_pretty(&record.json).expect("texts and numbers are JSON")));
        if !record.redactions.is_empty() {
            let (file, redactions) = (RECORD.to_owned(), record.redactions);
            withheld.push(Withheld { file, entry: None, whole: false, redactions });
        }
        let rows: Vec<_> = withheld.iter().map(Withheld::json).collect();
        let list = serde_json::to_vec_pretty(&rows).expect("strings and booleans are JSON");
        files.push(("withheld.json".to_owned(), list));
        let told = Told { log: &log, rows: &record.rows };
        let tables = Tables {
            messages: tables::messages(held, &withheld),
            copies: tables::copies(&held.transfers, &withheld),
            written: tables::written(&told),
            deeds: tables::deeds(&told),
        };
        let places = tables::withheld(&withheld);
        let shown = [&tables.messages, &tables.copies, &tables.written, &tables.deeds, &places];
        files.extend(shown.map(tables::Table::csv));
        let page = page::summary((patient, identified), gateway, at, held, &tables, &withheld);
        files.push(("summary.pdf".to_owned(), page::pdf(&page, at)?));
        files.push(("index.html".to_owned(), page.into_bytes()));
        files.sort();
        let count = |each: &Withheld| each.redactions.len().max(1);
        let of_rule = |rule: Rule| {
            let rules = withheld.iter().flat_map(|each| &each.redactions);
            (rule, rules.filter(|place| place.rule == rule).count())
        };
        Ok(Self {
            files,
            withheld: withheld.iter().map(count).sum(),
            by_rule: Rule::ALL.into_iter().map(of_rule).filter(|(_, count)| *count > 0).collect(),
            unreadable: withheld.iter().filter(|each| each.whole).count(),
        })
    }

    /// The list of its files.
    pub(crate) fn manifest(&self) -> String {
        signed_folder::manifest(TITLE, &self.files)
    }
}

/// A message or a copy.
struct Document<'d> {
    file: String,
    /// `None`: it cannot be read.
    tree: Option<Tree<'d>>,
    format: Option<read::Format>,
}

fn documents(each: &SubjectTransfer) -> impl Iterator<Item = Document<'_>> {
    let document = |folder: &str, id: String, media_type: &str, body| {
        let ending = if media_type.contains("json") { "json" } else { "xml" };
        let format = read::sniff(body);
        let tree = format.and_then(|format| read::bytes(body, format, &Limits::default()).ok());
        Document { file: format!("{folder}/{id}.{ending}"), tree, format }
    };
    let original = each.original.iter();
    let original = original
        .map(move |own| document("messages", each.transfer.id.to_string(), &own.media_type, own.body.as_slice()));
    original.chain(
        each.renditions
            .iter()
            .map(move |copy| document("copies", copy.delivery.to_string(), &copy.media_type, copy.body.as_slice())),
    )
}

impl Document<'_> {
    /// Without third parties, in the format it came in; `None` when it cannot be written whole.
    fn written(&self, tree: &Tree<'_>, others: &Others) -> Option<(String, Vec<Redaction>)> {
        let release = message::release_of(tree.root());
        let clean = without_third_parties(tree.root(), others);
        let written = match self.format? {
            read::Format::Json => write::json_pretty(clean.tree.root(), release),
            read::Format::Xml => write::xml(clean.tree.root(), release),
        };
        written.losses.is_empty().then_some((written.text, clean.redactions))
    }
}

/// An entry of the log as it is handed out.
pub(super) struct Entry {
    pub(super) recorded: Timestamp,
    pub(super) event: String,
}

/// The entries without third parties; as lines those about the person, and those about lists and exports. Places are listed by entry.
fn log(
    entries: &[(&FoundAudit, bool)],
    others: &Others,
    withheld: &mut Vec<Withheld>,
) -> (Vec<Entry>, Vec<u8>, Vec<u8>) {
    let (mut log, mut own, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, among_others) in entries {
        let (file, lines) = if *among_others { (LISTS, &mut lists) } else { (LOG, &mut own) };
        let Some(event) = entry.event.as_deref() else { continue };
        let clean = read::bytes(event, read::Format::Json, &Limits::default()).ok().and_then(|tree| {
            let clean = entry_without_third_parties(tree.root(), others, *among_others);
            let written = write::json(clean.tree.root(), Release::R4);
            written.losses.is_empty().then_some((written.text, clean.redactions))
        });
        let whole = clean.is_none();
        let (text, redactions) = clean.unzip();
        let redactions = redactions.unwrap_or_default();
        if whole || !redactions.is_empty() {
            withheld.push(Withheld { file: file.to_owned(), entry: Some(entry.index), whole, redactions });
        }
        if let Some(event) = text {
            lines.extend_from_slice(event.as_bytes());
            lines.push(b'\n');
            log.push(Entry { recorded: entry.recorded, event });
        }
    }
    (log, own, lists)
}
