//! What files carry that are made here for whoever asks: exports of the log, subject access archives, breach packs. Read from the bytes
//! that were made, as [`crate::contents`] does for copies.
//!
//! Names only: elements of FHIR, columns and keys of tables of ours, headings of pages of ours. Nothing that somebody else wrote stands
//! among them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit, Lists};
use onward_core::store::{Contents, Store, StoreError};
use onward_transform::disclose::carried;
use serde_json::Value;
use uuid::Uuid;

use crate::contents::listed;
use crate::explore;
use crate::sightings::all;

/// How the entry begins that tells of a handed out part of the log.
pub const OF_LOG: &str = "entries of the log";
/// How the entry of a breach pack begins.
pub const BREACH_PACK: &str = "breach pack";
/// How the entry begins of entries that were handed out with their proofs.
pub const EVIDENCE: &str = "evidence from the log";

/// Before and after the identifier of an export, in its entries.
const EXPORT: &str = "export ";
const BEGINS: &str = " begins: ";
const ENDS: &str = " ends: ";

/// How begins what is said of an export of the log's entries about one person, which are no subject access archive.
pub(crate) const OF_A_PERSON: [&str; 2] = ["export as CSV fetched", "export as NDJSON fetched"];

/// Whether an entry of [`AuditWord::SubjectAccess`] that says this is about entries of the log that left, about one person.
#[must_use]
pub fn is_of_entries(told: &str) -> bool {
    let what = match Half::read(told) {
        Some(Half::Beginning(_)) => told.split_once(BEGINS).map_or(told, |(_, what)| what),
        _ => told,
    };
    OF_A_PERSON.iter().any(|begins| what.starts_with(begins))
}

/// The entries of the export of this identifier among those that a query finds, the newest first: its beginning, and its end where it has
/// one.
pub(crate) async fn halves(store: &dyn Store, query: &AuditQuery, id: Uuid) -> Result<Vec<FoundAudit>, StoreError> {
    let named = AuditQuery { lists: Some(Lists::Export(id)), ..query.clone() };
    let mut found = all(store, named).await?;
    found.retain(|entry| is_half(entry, id));
    if found.is_empty() {
        found = earlier_halves(store, query, id).await?;
    }
    found.sort_by_key(|entry| Reverse((entry.recorded, entry.index)));
    Ok(found)
}

/// Those of an earlier program, which are found by nothing but what they say.
async fn earlier_halves(store: &dyn Store, query: &AuditQuery, id: Uuid) -> Result<Vec<FoundAudit>, StoreError> {
    let is_wanted = |word: &AuditWord| query.words.is_empty() || query.words.contains(word);
    let mut found = Vec::new();
    let words: Vec<_> = [AuditWord::SubjectAccess, AuditWord::Export].into_iter().filter(is_wanted).collect();
    if !words.is_empty() {
        found = all(store, AuditQuery { words, ..query.clone() }).await?;
    }
    if is_wanted(&AuditWord::Query) {
        // Beginnings that name nobody.
        let lists = AuditQuery { lists: Some(Lists::Exports), words: Vec::new(), ..query.clone() };
        found.extend(all(store, lists).await?);
    }
    found.retain(|entry| is_half(entry, id));
    Ok(found)
}

fn is_half(entry: &FoundAudit, id: Uuid) -> bool {
    match explore::told(entry).as_deref().and_then(Half::read) {
        Some(Half::Beginning(own) | Half::End(own)) => own == id,
        None => false,
    }
}

/// Which half of an export that is read while it leaves an entry tells. Both name it by an identifier that no other export has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Nothing has left yet.
    Beginning(Uuid),
    /// All was read, and what has not left leaves now.
    End(Uuid),
}

impl Half {
    /// What the entry says, of this export.
    #[must_use]
    pub fn told(self, what: &str) -> String {
        match self {
            Self::Beginning(id) => format!("{EXPORT}{id}{BEGINS}{what}"),
            Self::End(id) => format!("{OF_LOG}: {EXPORT}{id}{ENDS}{what}"),
        }
    }

    /// Of what an entry says; `None` where it names no export. What a person wrote stands behind it.
    #[must_use]
    pub fn read(told: &str) -> Option<Self> {
        let after = |told: &str, word: &str| {
            let (id, rest) = told.strip_prefix(EXPORT)?.split_once(' ')?;
            rest.starts_with(word.trim_start()).then(|| id.parse().ok()).flatten()
        };
        match told.strip_prefix(OF_LOG).and_then(|rest| rest.strip_prefix(": ")) {
            Some(rest) => after(rest, ENDS).map(Self::End),
            None => after(told, BEGINS).map(Self::Beginning),
        }
    }
}

/// What was made of a file so far.
pub struct Made {
    names: BTreeSet<String>,
    digest: Context,
}

impl Default for Made {
    fn default() -> Self {
        Self { names: BTreeSet::new(), digest: Context::new(&SHA256) }
    }
}

impl Made {
    /// These bytes go into the file.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// An AuditEvent, JSON, is in it.
    pub fn event(&mut self, event: &[u8]) {
        self.names.extend(carried("application/fhir+json", event));
    }

    /// Something that has a name of ours is in it.
    pub fn named(&mut self, name: impl Into<String>) {
        self.names.insert(name.into());
    }

    /// A file of a folder is in it, by what its path says that it is.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        let text = || String::from_utf8_lossy(bytes);
        let is_document = path.starts_with("messages/") || path.starts_with("copies/");
        match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "xml" if is_document => self.names.extend(carried("application/fhir+xml", bytes)),
            "json" if is_document => self.names.extend(carried("application/fhir+json", bytes)),
            "ndjson" => {
                bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| self.event(line))
            }
            "csv" => {
                let text = text();
                let columns = text.lines().next().unwrap_or_default().split(',');
                self.names.extend(columns.map(|column| format!("{path} column {column}")));
            }
            "html" => {
                let text = text();
                let headings = text.split("<h2>").skip(1).filter_map(|rest| Some(rest.split_once("</h2>")?.0));
                self.names.extend(headings.map(|heading| format!("{path} heading {heading}")));
            }
            "json" => {
                let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
                keys(&value, path, &mut self.names);
            }
            _ => self.named(path),
        }
    }

    /// The SHA-256 of the bytes, hexadecimal, and what they carry.
    #[must_use]
    pub fn finish(self) -> (String, Arc<Contents>) {
        (hex::encode(self.digest.finish()), Arc::new(listed(&self.names)))
    }
}

/// The keys of a record of ours, each by its path; what was decided or asked for is kept as it came, and its keys are nobody's names
/// of ours.
fn keys(value: &Value, path: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, below) in object {
                let path = format!("{path} {key}");
                if !matches!(key.as_str(), "decided" | "what") {
                    keys(below, &path, names);
                }
                names.insert(path);
            }
        }
        Value::Array(all) => all.iter().for_each(|each| keys(each, path, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_an_export_read_back_and_nothing_else_does() {
        let id = Uuid::new_v4();
        for half in [Half::Beginning(id), Half::End(id)] {
            assert_eq!(Half::read(&half.told("as CSV: a reason")), Some(half));
        }
        let as_earlier = format!("{OF_LOG}: export as CSV fetched: export {id} ends: x");
        let asked = format!("export as CSV asked for: export {id} begins: x");
        let crossed = format!("{OF_LOG}: export {id} begins: x");
        for told in [as_earlier.as_str(), &asked, &crossed, "export x begins: y", "export of the whole audit log", ""] {
            assert_eq!(Half::read(told), None, "{told}");
        }
    }

    #[test]
    fn entries_about_one_person_are_told_from_a_subject_access_archive() {
        let id = Uuid::new_v4();
        let reason = "x begins: export as CSV fetched";
        for (what, is_entries) in [
            ("export as CSV fetched, of the first 3 entries of the log", true),
            ("export as NDJSON fetched, of the first 3 entries of the log", true),
            ("export as subject access fetched, of the first 3 entries of the log", false),
            ("9 files, by the hash of their manifest", false),
        ] {
            let told = format!("{what}: {reason}");
            assert_eq!(is_of_entries(&told), is_entries, "{told}");
            assert_eq!(is_of_entries(&Half::Beginning(id).told(&told)), is_entries, "{told}");
        }
    }

    #[test]
    fn names_are_ours_and_no_value_is_among_them() {
        let mut made = Made::default();
        made.event(br#"{"resourceType":"AuditEvent","outcomeDesc":"CANARY"}"#);
        for (path, bytes) in [
            ("people.csv", &b"nhs_number,times\n9990000018,CANARY\n"[..]),
            ("index.html", b"<h1>CANARY</h1><h2>Messages</h2><p>CANARY</p>"),
            ("messages/CANARY.xml", b"<Patient xmlns=\"http://hl7.org/fhir\"><gender value=\"CANARY\"/></Patient>"),
            ("record.json", br#"{"holds":[{"detail":"CANARY","decided":{"CANARY":1}}]}"#),
            ("audit.ndjson", b"{\"resourceType\":\"AuditEvent\",\"recorded\":\"CANARY\"}\n"),
            ("manifest.txt", b"CANARY"),
        ] {
            made.file(path, bytes);
        }
        made.bytes(b"abc");
        let (sha256, contents) = made.finish();
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(crate::contents::fits(&contents));
        let names: Vec<&str> = contents.names.lines().collect();
        assert_eq!(
            names,
            [
                "envelope AuditEvent.outcomeDesc",
                "envelope AuditEvent.recorded",
                "envelope Patient.gender",
                "index.html heading Messages",
                "manifest.txt",
                "people.csv column nhs_number",
                "people.csv column times",
                "record.json holds",
                "record.json holds decided",
                "record.json holds detail",
            ]
        );
    }
}
