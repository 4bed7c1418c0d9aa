//! The page of a subject access archive for the person who asked.

use onward_core::state::RecipientKind;
use onward_core::store::DeliveryRecord;
use onward_core::{NhsNumber, Timestamp};
use onward_gateway::held::{Held, Identified};
use onward_transform::redact::Rule;

use super::archive::{Entry, Withheld};
use super::record::Row;
use crate::cli::audit::Told as Event;
use crate::cli::open::minute;

pub(in crate::cli) const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{border:1px solid #999;padding:.3rem .5rem;\
    text-align:left;vertical-align:top}th{background:#eee}code{word-break:break-all}";

/// What the page tells beside messages and copies, third parties taken out.
pub(super) struct Told<'t> {
    pub(super) log: &'t [Entry],
    pub(super) rows: &'t [Row],
    pub(super) withheld: &'t [Withheld],
}

const HELD: &str = "This gateway carried messages about you from a hospital to those who care for you. Below is each message, who \
    received a copy, and who looked at what.";
const NOTHING_HELD: &str = "<strong>This gateway holds no message, no copy and nothing else about a person of this number.</strong> \
    Its audit log keeps that somebody asked about the number, or ordered something for it: below is who, when and why.";

/// The whole page: it runs nothing and fetches nothing.
pub(super) fn summary(
    (patient, identified): (&NhsNumber, Identified),
    gateway: &str,
    at: Timestamp,
    held: &Held,
    told: &Told<'_>,
) -> String {
    let (withheld, transfers) = (told.withheld, &held.transfers);
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\">");
    html.push_str(&format!("<title>What we hold about you</title><style>{STYLE}</style></head><body>"));
    html.push_str(&format!(
        "<h1>What {} holds about you</h1><p>NHS number {}. Written on {}. {}</p><p>{}</p>",
        escape(gateway),
        escape(patient.expose()),
        escape(&minute(at)),
        match held.is_only_questions() {
            true => NOTHING_HELD,
            false => HELD,
        },
        match identified {
            Identified::NumberAndBirth => "Two identifiers were checked before this was written: NHS number and date of birth.",
            Identified::NumberAndPartOfBirth => {
                "The NHS number was checked before this was written, and of the date of birth as much as is kept: the year, or the month and the year."
            }
            Identified::NothingToCompare => {
                "One identifier was checked before this was written, the NHS number: nothing that is kept says a date of birth."
            }
            Identified::NumberAlone => "One identifier was checked before this was written: the NHS number.",
        }
    ));
    let erased = held.entries.iter().filter(|entry| entry.event.is_none()).count();
    if erased > 0 {
        html.push_str(&format!(
            "<p>What {erased} entries of the audit log said about this number was erased, and nobody can read it any more.</p>"
        ));
    }
    html.push_str("<h2>Messages</h2>");
    let rows = transfers.iter().map(|each| {
        let transfer = &each.transfer;
        let file = link(
            each.original.as_ref().map(|original| original.media_type.as_str()),
            "messages",
            transfer.id,
            withheld,
        );
        let held = transfer.hold.as_ref().map_or("", |_| "waits for a decision");
        [
            escape(&minute(transfer.received)),
            escape(transfer.sender.as_str()),
            escape(&transfer.event),
            held.into(),
            file,
        ]
    });
    html.push_str(&table(["received", "from", "kind", "state", "message"], rows));
    html.push_str("<h2>Copies</h2>");
    let rows = transfers.iter().flat_map(|each| {
        each.transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender).map(|copy| {
            let media_type = each.renditions.iter().find(|body| body.delivery == copy.id).map(|body| &*body.media_type);
            copy_row(copy, link(media_type, "copies", copy.id, withheld))
        })
    });
    html.push_str(&table(["sent on", "to", "as", "state", "first opened", "on what ground", "copy"], rows));
    html.push_str("<h2>What people wrote and decided</h2>");
    let rows = told.rows.iter();
    let rows = rows.map(|row| [escape(&minute(row.at)), escape(&row.who), escape(&row.what), escape(&row.text)]);
    html.push_str(&table(["when", "who", "what", "in words"], rows));
    html.push_str("<h2>Who did what with your data</h2>");
    let rows = told.log.iter().filter_map(|entry| {
        let told = Event::read(entry.event.as_bytes())?;
        let party = |name: &str, organisation: Option<&str>| match organisation {
            Some(code) if code != name => escape(&format!("{name} ({code})")),
            _ => escape(name),
        };
        Some([
            escape(&minute(entry.recorded)),
            party(&told.actor.name, told.actor.organisation.as_deref()),
            party(&told.other.name, told.other.organisation.as_deref()),
            escape(&told.detail),
            escape(told.basis.as_deref().unwrap_or_default()),
        ])
    });
    html.push_str(&table(["when", "who", "with whom", "what", "on what ground"], rows));
    html.push_str(
        "<h2>What was withheld</h2><p>Data about other people is not shown, nor what the gateway is kept safe by. \
         Whoever cares for you is named, and whoever runs or oversees the gateway is told by role. ",
    );
    html.push_str("<code>withheld.json</code> lists every place with its rule:</p><ul>");
    for rule in Rule::ALL {
        let places = withheld.iter().flat_map(|each| &each.redactions).filter(|place| place.rule == rule).count();
        html.push_str(&format!(
            "<li>{places} &times; {} (<code>{}</code>)</li>",
            escape(rule.meaning()),
            rule.as_str()
        ));
    }
    let whole = withheld.iter().filter(|each| each.whole).count();
    html.push_str(&format!("<li>{whole} &times; a whole file or entry that could not be read</li></ul>"));
    html.push_str(
        "<h2>How to check this folder</h2><p><code>manifest.txt</code> lists the SHA-256 of every file and is signed by the \
         key of the audit log: <code>onward sar check FOLDER --verifier KEY</code>. Each line of \
         <code>audit.ndjson</code> is one entry of that log about you, each of <code>lists.ndjson</code> one about a list on which \
         you stood or an export in which you were, without what was withheld. <code>record.json</code> holds what else is kept: \
         states, waits, decisions, what people wrote, and who was told.</p></body></html>\n",
    );
    html
}

fn copy_row(copy: &DeliveryRecord, file: String) -> [String; 7] {
    [
        escape(&minute(copy.created)),
        escape(&format!("{} ({})", copy.recipient_name, copy.recipient)),
        escape(copy.kind.as_str()),
        escape(copy.state.as_str()),
        copy.opened.map(|at| escape(&minute(at))).unwrap_or_default(),
        escape(&copy.basis),
        file,
    ]
}

fn link(media_type: Option<&str>, folder: &str, id: impl std::fmt::Display, withheld: &[Withheld]) -> String {
    let Some(media_type) = media_type else { return "no longer kept".to_owned() };
    let ending = if media_type.contains("json") { "json" } else { "xml" };
    let file = format!("{folder}/{id}.{ending}");
    if withheld.iter().any(|each| each.file == file && each.whole) {
        return "withheld".to_owned();
    }
    format!("<a href=\"{0}\">{0}</a>", escape(&file))
}

pub(in crate::cli) fn table<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut html = String::from("<table><tr>");
    for heading in headings {
        html.push_str(&format!("<th>{}</th>", escape(heading)));
    }
    html.push_str("</tr>");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            html.push_str(&format!("<td>{cell}</td>"));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table>");
    html
}

pub(in crate::cli) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
