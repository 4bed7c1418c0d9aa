//! The page of a subject access archive for the person who asked, and the same as PDF.

use onward_core::{NhsNumber, Timestamp};
use onward_gateway::held::{Held, Identified};
use onward_transform::pdf::{PdfError, of_page};
use onward_transform::redact::Rule;

use super::archive::{Entry, Withheld};
use super::record::Row;
use super::tables::Table;
use crate::cli::open::minute;

/// Title of the page; it says nothing about anybody.
const TITLE: &str = "What we hold about you";

pub(in crate::cli) const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{border:1px solid #999;padding:.3rem .5rem;\
    text-align:left;vertical-align:top}th{background:#eee}code{word-break:break-all}";

/// What is told beside messages and copies, third parties taken out.
pub(super) struct Told<'t> {
    pub(super) log: &'t [Entry],
    pub(super) rows: &'t [Row],
}

/// The tables that the page shows.
pub(super) struct Tables {
    pub(super) messages: Table,
    pub(super) copies: Table,
    pub(super) written: Table,
    pub(super) deeds: Table,
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
    tables: &Tables,
    withheld: &[Withheld],
) -> String {
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\">");
    html.push_str(&format!("<title>{TITLE}</title><style>{STYLE}</style></head><body><main>"));
    html.push_str(&format!(
        "<h1>What {} holds about you</h1><section class=\"banner\" aria-label=\"Person\"><p>NHS number {}</p></section>\
         <p>Written on {}. {}</p><p>{}</p>",
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
    for (title, table) in [
        ("Messages", &tables.messages),
        ("Copies", &tables.copies),
        ("What people wrote and decided", &tables.written),
        ("Who did what with your data", &tables.deeds),
    ] {
        html.push_str(&format!("<h2>{title}</h2>"));
        html.push_str(&shown(table));
    }
    html.push_str(
        "<h2>What was withheld</h2><p>Data about other people is not shown, nor what the gateway is kept safe by. \
         Whoever cares for you is named, and whoever runs or oversees the gateway is told by role. ",
    );
    html.push_str(
        "<code>withheld.json</code> and <code>tables/withheld.csv</code> list every place with its rule:</p><ul>",
    );
    for rule in Rule::ALL {
        let places = withheld.iter().flat_map(|each| &each.redactions).filter(|place| place.rule == rule).count();
        html.push_str(&format!("<li>{places} × {} (<code>{}</code>)</li>", escape(rule.meaning()), rule.as_str()));
    }
    let whole = withheld.iter().filter(|each| each.whole).count();
    html.push_str(&format!("<li>{whole} × a whole file or entry that could not be read</li></ul>"));
    html.push_str(
        "<h2>How to check this folder</h2><p><code>manifest.txt</code> lists the SHA-256 of every file and is signed by the \
         key of the audit log: <code>onward sar check FOLDER --verifier KEY</code>. <code>summary.pdf</code> is this page to \
         print, and <code>tables</code> holds its tables for a spreadsheet. Each line of \
         <code>audit.ndjson</code> is one entry of that log about you, each of <code>lists.ndjson</code> one about a list on which \
         you stood or an export in which you were, without what was withheld. <code>record.json</code> holds what else is kept: \
         states, waits, decisions, what people wrote, and who was told.</p></main></body></html>\n",
    );
    html
}

/// The same page as PDF (PDF/UA-1). A sheet of paper leads nowhere, so that each file stands there by its name.
///
/// # Errors
/// When it does not meet PDF/UA-1.
pub(super) fn pdf(summary: &str, at: Timestamp) -> Result<Vec<u8>, PdfError> {
    let mut plain = String::with_capacity(summary.len());
    let mut rest = summary;
    while let Some((before, from)) = rest.split_once("<a href=\"") {
        plain.push_str(before);
        rest = from.split_once("\">").map_or("", |(_, text)| text);
    }
    plain.push_str(rest);
    of_page(&plain.replace("</a>", ""), &format!("{TITLE}. Written on {}.", minute(at)))
}

/// A table, third parties taken out before.
fn shown(table: &Table) -> String {
    let cell = |(place, cell): (usize, &String)| match table.files
        && place + 1 == table.headings.len()
        && cell.contains('/')
    {
        true => format!("<a href=\"{0}\">{0}</a>", escape(cell)),
        false => escape(cell),
    };
    rows_under(table.headings, table.rows.iter().map(|row| row.iter().enumerate().map(cell).collect()))
}

/// A table of cells that are markup.
pub(in crate::cli) fn table<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    rows_under(&headings, rows.map(Vec::from))
}

fn rows_under(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = String::from("<table><thead><tr>");
    for heading in headings {
        html.push_str(&format!("<th scope=\"col\">{}</th>", escape(heading)));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            html.push_str(&format!("<td>{cell}</td>"));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
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
