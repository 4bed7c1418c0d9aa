//! The tables of a subject access archive, for its page and for spreadsheets: plain cells, third parties taken out before.

use onward_core::state::RecipientKind;
use onward_core::store::{DeliveryRecord, SubjectTransfer};
use onward_gateway::held::Held;

use super::archive::Withheld;
use super::page::Told;
use crate::cli::audit::Told as Event;
use crate::cli::open::minute;
use crate::spreadsheet;

/// Where they stand in the archive.
pub(super) const FOLDER: &str = "tables";

/// What stands in place of a file that is no longer there.
const GONE: &str = "no longer kept";
/// What stands in place of a message of which the organisation holds copies alone.
pub(super) const OF_OTHERS: &str = "not held here: it belongs to whoever sent it";

/// One table.
pub(super) struct Table {
    /// Name of its file, without ending.
    pub(super) name: &'static str,
    pub(super) headings: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
    /// The last cell of each row names a file of the archive, or says why there is none.
    pub(super) files: bool,
}

impl Table {
    /// As CSV that no spreadsheet takes for formulas.
    pub(super) fn csv(&self) -> (String, Vec<u8>) {
        let head = self.headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
        let rows = std::iter::once(head).chain(self.rows.iter().cloned());
        (format!("{FOLDER}/{}.csv", self.name), spreadsheet::lines(rows))
    }
}

/// The messages.
pub(super) fn messages(held: &Held, withheld: &[Withheld]) -> Table {
    let rows = held.transfers.iter().map(|each| {
        let transfer = &each.transfer;
        let media_type = each.original.as_ref().map(|original| original.media_type.as_str());
        let state = transfer.hold.as_ref().map_or("", |_| "waits for a decision");
        let message = match held.of_others.contains(&transfer.id) {
            true => OF_OTHERS.to_owned(),
            false => file(media_type, "messages", transfer.id, withheld),
        };
        vec![minute(transfer.received), transfer.sender.to_string(), transfer.event.clone(), state.to_owned(), message]
    });
    let headings = &["received", "from", "kind", "state", "message"];
    Table { name: "messages", headings, rows: rows.collect(), files: true }
}

/// Their copies.
pub(super) fn copies(transfers: &[SubjectTransfer], withheld: &[Withheld]) -> Table {
    let rows = transfers.iter().flat_map(|each| {
        each.transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender).map(|copy| {
            let media_type = each.renditions.iter().find(|body| body.delivery == copy.id).map(|body| &*body.media_type);
            copy_row(copy, file(media_type, "copies", copy.id, withheld))
        })
    });
    let headings = &["sent on", "to", "as", "state", "first opened", "on what ground", "copy"];
    Table { name: "copies", headings, rows: rows.collect(), files: true }
}

fn copy_row(copy: &DeliveryRecord, file: String) -> Vec<String> {
    vec![
        minute(copy.created),
        format!("{} ({})", copy.recipient_name, copy.recipient),
        copy.kind.to_string(),
        copy.state.to_string(),
        copy.opened.map(minute).unwrap_or_default(),
        copy.basis.clone(),
        file,
    ]
}

fn file(media_type: Option<&str>, folder: &str, id: impl std::fmt::Display, withheld: &[Withheld]) -> String {
    let Some(media_type) = media_type else { return GONE.to_owned() };
    let ending = if media_type.contains("json") { "json" } else { "xml" };
    let file = format!("{folder}/{id}.{ending}");
    match withheld.iter().any(|each| each.file == file && each.whole) {
        true => "withheld".to_owned(),
        false => file,
    }
}

/// What people wrote and decided.
pub(super) fn written(told: &Told<'_>) -> Table {
    let rows = told.rows.iter();
    let rows = rows.map(|row| vec![minute(row.at), row.who.clone(), row.what.clone(), row.text.clone()]);
    Table { name: "written", headings: &["when", "who", "what", "in words"], rows: rows.collect(), files: false }
}

/// Who did what, by the entries of the log.
pub(super) fn deeds(told: &Told<'_>) -> Table {
    let rows = told.log.iter().filter_map(|entry| {
        let told = Event::read(entry.event.as_bytes())?;
        let party = |name: &str, organisation: Option<&str>| match organisation {
            Some(code) if code != name => format!("{name} ({code})"),
            _ => name.to_owned(),
        };
        Some(vec![
            minute(entry.recorded),
            party(&told.actor.name, told.actor.organisation.as_deref()),
            party(&told.other.name, told.other.organisation.as_deref()),
            told.detail,
            told.basis.unwrap_or_default(),
        ])
    });
    let headings = &["when", "who", "with whom", "what", "on what ground"];
    Table { name: "log", headings, rows: rows.collect(), files: false }
}

/// Every place from which something was withheld.
pub(super) fn withheld(withheld: &[Withheld]) -> Table {
    let rows = withheld.iter().flat_map(|each| {
        let entry = each.entry.map(|entry| entry.to_string()).unwrap_or_default();
        let whole = each.whole.then(|| {
            vec![
                each.file.clone(),
                entry.clone(),
                "all of it".to_owned(),
                String::new(),
                "it could not be read".to_owned(),
            ]
        });
        let places = each.redactions.iter().map(move |place| {
            let (rule, meaning) = (place.rule.as_str().to_owned(), place.rule.meaning().to_owned());
            vec![each.file.clone(), entry.clone(), place.path.clone(), rule, meaning]
        });
        whole.into_iter().chain(places.collect::<Vec<_>>())
    });
    let headings = &["file", "entry of the log", "place", "rule", "what it is"];
    Table { name: "withheld", headings, rows: rows.collect(), files: false }
}
