//! The files of a subject access archive, and their manifest.

use onward_core::{NhsNumber, Timestamp};
use onward_fhir::read::{self, Limits};
use onward_fhir::{message, write};
use onward_gateway::explore::Held;
use onward_transform::redact::{Redaction, without_third_parties};
use serde_json::json;

use super::page;
use crate::cli::signed_folder;

/// Folders inside the archive.
pub(super) const FOLDERS: [&str; 2] = ["messages", "copies"];
/// First line of the list.
pub(super) const TITLE: &str = "onward subject access manifest v1";

/// Everything about one person.
pub(crate) struct Archive {
    /// Path and bytes of every file but the manifest.
    pub files: Vec<(String, Vec<u8>)>,
    /// Places where something was withheld.
    pub withheld: usize,
}

/// What was withheld from one file.
pub(super) struct Withheld {
    /// The file.
    pub file: String,
    /// The places.
    pub redactions: Vec<Redaction>,
}

impl Archive {
    /// Makes it. Nothing is written yet.
    pub(crate) fn of(patient: &NhsNumber, gateway: &str, at: Timestamp, held: &Held) -> Self {
        let mut files = Vec::new();
        let mut withheld = Vec::new();
        let mut add = |folder: &str, id: String, media_type: &str, body: &[u8]| {
            let ending = if media_type.contains("json") { "json" } else { "xml" };
            let file = format!("{folder}/{id}.{ending}");
            match redacted(body) {
                Some((text, redactions)) => {
                    files.push((file.clone(), text.into_bytes()));
                    if !redactions.is_empty() {
                        withheld.push(Withheld { file, redactions });
                    }
                }
                // What cannot be read cannot be cleared of others: it is named and held back.
                None => withheld.push(Withheld { file, redactions: Vec::new() }),
            }
        };
        for each in &held.transfers {
            if let Some(original) = &each.original {
                add("messages", each.transfer.id.to_string(), &original.media_type, &original.body);
            }
            for copy in &each.renditions {
                add("copies", copy.delivery.to_string(), &copy.media_type, &copy.body);
            }
        }
        let mut lines = Vec::new();
        for event in held.entries.iter().filter_map(|entry| entry.event.as_deref()) {
            lines.extend_from_slice(event);
            lines.push(b'\n');
        }
        files.push(("audit.ndjson".to_owned(), lines));
        let rows: Vec<_> = withheld
            .iter()
            .map(|each| {
                let places: Vec<_> = each
                    .redactions
                    .iter()
                    .map(|place| json!({ "path": place.path, "rule": place.rule.as_str() }))
                    .collect();
                json!({ "file": each.file, "whole": places.is_empty(), "withheld": places })
            })
            .collect();
        let list = serde_json::to_vec_pretty(&rows).expect("strings and booleans are JSON");
        files.push(("withheld.json".to_owned(), list));
        let page = page::summary(patient, gateway, at, held, &withheld);
        files.push(("index.html".to_owned(), page.into_bytes()));
        files.sort();
        let count = |each: &Withheld| each.redactions.len().max(1);
        Self { files, withheld: withheld.iter().map(count).sum() }
    }

    /// The list of its files.
    pub(crate) fn manifest(&self) -> String {
        signed_folder::manifest(TITLE, &self.files)
    }
}

/// The document without third parties, in the format it came in; `None` when it cannot be read or written whole.
fn redacted(body: &[u8]) -> Option<(String, Vec<Redaction>)> {
    let format = read::sniff(body)?;
    let tree = read::bytes(body, format, &Limits::default()).ok()?;
    let release = message::release_of(tree.root());
    let clean = without_third_parties(tree.root());
    let written = match format {
        read::Format::Json => write::json_pretty(clean.tree.root(), release),
        read::Format::Xml => write::xml(clean.tree.root(), release),
    };
    written.losses.is_empty().then_some((written.text, clean.redactions))
}
