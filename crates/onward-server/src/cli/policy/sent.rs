//! `onward policy matrix --sent`: element by recipient from what was sent, with the proof that each list is what its entry names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use onward_core::audit::AuditWord;
use onward_core::state::RecipientKind;
use onward_core::{OdsCode, Timestamp};
use onward_gateway::sent::{Received, Sent, Taken, sent};
use onward_gateway::starts::policies_in_force;
use serde_json::json;

use super::{Format, Matrix};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::open::{Desk, minute};
use crate::cli::terminal::{Style, Terminal};
use crate::spreadsheet;

/// The five kinds, as the columns of a table have them.
const KINDS: [RecipientKind; 5] = [
    RecipientKind::CareHome,
    RecipientKind::CoveringPractice,
    RecipientKind::RegisteredPractice,
    RecipientKind::PharmacyReferral,
    RecipientKind::PharmacyNomination,
];

/// Of one kind, and within it of one element: copies, and those of them that went beyond the policy.
type Cells = BTreeMap<String, BTreeMap<RecipientKind, (u64, u64)>>;

/// Runs it.
///
/// # Errors
/// When configuration, policies or store cannot be used.
pub(super) async fn print(command: &Matrix, terminal: &mut Terminal) -> Outcome {
    if let (Some(from), Some(until)) = (command.from, command.until)
        && from >= until
    {
        return Err(Failure::usage("--from must be before --until"));
    }
    let (config, store) = command.config.existing_store().await?;
    let (policies, faults) = policies_in_force(store.as_ref()).await?;
    let period = period(command.from, command.until);
    let mut found = sent(store.as_ref(), &policies, (command.from, command.until), |read| {
        terminal.progress(format_args!("{read} entries"));
    })
    .await?;
    found.faults.extend(faults);
    let detail = format!("matrix of what was sent, {period}");
    store.audit(vec![Desk::new(&config)?.row(AuditWord::Query, detail)]).await?;
    match command.format() {
        Format::Table => table(&found, terminal),
        Format::Csv => terminal.write(&csv(&found)),
        Format::Json => json_lines(&found, terminal),
        Format::Dpia => terminal.write(dpia(&config.identity.name, &period, &found).as_bytes()),
    }
    for note in notes(&found) {
        terminal.note(note);
    }
    Ok(Exit::answer(found.faults.is_empty() && found.recipients.values().all(|to| to.beyond.is_empty())))
}

fn period(from: Option<Timestamp>, until: Option<Timestamp>) -> String {
    let from = from.map_or_else(|| "from the beginning".to_owned(), |at| format!("from {}", minute(at)));
    let until = until.map_or_else(|| "until now".to_owned(), |at| format!("until {}", minute(at)));
    format!("{from} {until}")
}

/// What the numbers are made of, and what is wrong with them: the same sentences in each form.
fn notes(found: &Sent) -> Vec<String> {
    let mut notes = vec![format!(
        "{} entries name what was sent, and each list is what its entry says; {} entries were written before lists were kept; {} \
         are about people who were erased",
        found.linked, found.unrecorded, found.erased
    )];
    let unjudged: u64 = found.recipients.values().map(|to| to.unjudged).sum();
    if unjudged > 0 {
        notes.push(format!(
            "{unjudged} copies were made by no policy (notices), or before the policy that they name was kept: they are counted, and held \
             against none"
        ));
    }
    for ((kind, ods), to) in &found.recipients {
        for (element, copies) in &to.beyond {
            notes.push(format!(
                "beyond the policy: {element} went to {ods} as {kind} in {copies} copies, and the policy for {kind} does not name it"
            ));
        }
    }
    if !found.unended.is_empty() {
        notes.push(format!(
            "{} exports began and have no end (entries {}): what went of them is not known, at most all but the last part",
            found.unended.len(),
            places(&found.unended)
        ));
    }
    if found.ended_elsewhere > 0 {
        notes.push(format!(
            "{} exports began in this time and ended in another, where they are counted",
            found.ended_elsewhere
        ));
    }
    if !found.begun_unread.is_empty() {
        notes.push(format!(
            "{} exports about one person ended, and no beginning of them can be read (entries {}): either the person \
             was erased while it left, or it never had one",
            found.begun_unread.len(),
            places(&found.begun_unread)
        ));
    }
    if found.unpaired > 0 {
        notes.push(format!(
            "{} exports began before their entries had identifiers: which of them ended is not told",
            found.unpaired
        ));
    }
    notes.extend(found.faults.iter().map(|fault| format!("not linked: {fault}")));
    notes
}

fn places(of: &[u64]) -> String {
    of.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn by_kind(found: &Sent) -> Cells {
    let mut cells = Cells::new();
    for ((kind, _), to) in &found.recipients {
        for (element, copies) in &to.elements {
            let cell = cells.entry(element.clone()).or_default().entry(*kind).or_default();
            cell.0 += copies;
            cell.1 += to.beyond.get(element).copied().unwrap_or_default();
        }
    }
    cells
}

fn copies_of(found: &Sent, kind: RecipientKind) -> u64 {
    found.recipients.iter().filter(|((of, _), _)| *of == kind).map(|(_, to)| to.copies).sum()
}

fn cell(of: Option<&(u64, u64)>) -> String {
    match of {
        None => "-".to_owned(),
        Some((copies, 0)) => copies.to_string(),
        Some((copies, _)) => format!("{copies}!"),
    }
}

fn table(found: &Sent, terminal: &mut Terminal) {
    if found.recipients.is_empty() {
        terminal.say("nothing was sent");
    } else {
        sent_table(found, terminal);
    }
    if !found.taken.is_empty() {
        let count = |of: &dyn Fn(&Received) -> u64| {
            Taken::ALL.map(|taken| {
                let own = found.taken.iter().filter(|((of, ..), _)| *of == taken);
                own.map(|(_, files)| of(files)).sum::<u64>()
            })
        };
        let row = |name: &str, counts: [u64; 4]| {
            let [a, b, c, d] = counts.map(|count| if count == 0 { "-".to_owned() } else { count.to_string() });
            [name.to_owned(), a, b, c, d]
        };
        let elements: BTreeSet<&String> = found.taken.values().flat_map(|files| files.elements.keys()).collect();
        let mut rows = vec![row("files", count(&|files| files.copies))];
        rows.extend(
            elements
                .into_iter()
                .map(|element| row(element, count(&|files| files.elements.get(element).copied().unwrap_or_default()))),
        );
        let [a, b, c, d] = Taken::ALL.map(Taken::as_str);
        terminal.table(["handed out", a, b, c, d], &rows);
    }
}

fn sent_table(found: &Sent, terminal: &mut Terminal) {
    let row = |name: &str, cells: [String; 5]| {
        let [a, b, c, d, e] = cells;
        [name.to_owned(), a, b, c, d, e]
    };
    let mut rows = vec![row("copies", KINDS.map(|kind| copies_of(found, kind).to_string()))];
    for (element, cells) in by_kind(found) {
        rows.push(row(&element, KINDS.map(|kind| cell(cells.get(&kind)))));
    }
    let [a, b, c, d, e] = KINDS.map(RecipientKind::as_str);
    terminal.table(["element", a, b, c, d, e], &rows);
    if found.recipients.values().any(|to| !to.beyond.is_empty()) {
        let word = terminal.paint(Style::Red, "!");
        terminal.say(format_args!("{word} beyond the policy"));
    }
}

/// One row for each element and organisation.
fn rows(found: &Sent) -> impl Iterator<Item = (&str, RecipientKind, &OdsCode, u64, u64, &Received)> {
    found.recipients.iter().flat_map(|((kind, ods), to)| {
        to.elements.iter().map(move |(element, copies)| {
            (element.as_str(), *kind, ods, *copies, to.beyond.get(element).copied().unwrap_or_default(), to)
        })
    })
}

fn csv(found: &Sent) -> Vec<u8> {
    let to_recipients = rows(found).map(|(element, kind, ods, copies, beyond, to)| {
        let [copies, beyond, all] = [copies, beyond, to.copies].map(|number| number.to_string());
        [element.to_owned(), kind.to_string(), ods.to_string(), copies, beyond, all, String::new()]
    });
    let taken = found.taken.iter().flat_map(|((taken, organisation, role), files)| {
        files.elements.iter().map(move |(element, with)| {
            let (with, all) = (with.to_string(), files.copies.to_string());
            let [organisation, role] = [organisation, role].map(ToString::to_string);
            [element.clone(), taken.as_str().to_owned(), organisation, with, "0".to_owned(), all, role]
        })
    });
    let headings = ["element", "kind", "organisation", "copies with it", "of them beyond the policy", "copies", "role"];
    spreadsheet::csv(headings, to_recipients.chain(taken))
}

fn json_lines(found: &Sent, terminal: &mut Terminal) {
    for (element, kind, ods, copies, beyond, to) in rows(found) {
        terminal.json(&json!({
            "element": element, "kind": kind, "organisation": ods, "copies": copies, "beyond": beyond, "of": to.copies,
        }));
    }
    for ((taken, organisation, role), files) in &found.taken {
        for (element, with) in &files.elements {
            terminal.json(&json!({
                "element": element, "kind": taken.as_str(), "organisation": organisation, "role": role, "copies": with,
                "beyond": 0, "of": files.copies,
            }));
        }
    }
}

/// Article 35(7)(a): what was disclosed, to whom, for the appendix of an impact assessment.
fn dpia(gateway: &str, period: &str, found: &Sent) -> String {
    let mut text = format!(
        "# What was disclosed\n\nGateway of {gateway}, {period}. Written by `onward policy matrix --sent --format dpia` from the bytes that \
         were sent and read.\n\n"
    );
    for note in notes(found) {
        let _ = writeln!(text, "- {note}");
    }
    text.push_str("\n## Recipients\n\n| kind | organisation | copies |\n|---|---|---|\n");
    for ((kind, ods), to) in &found.recipients {
        let _ = writeln!(text, "| {kind} | {ods} | {} |", to.copies);
    }
    for ((taken, organisation, role), files) in &found.taken {
        let _ = writeln!(text, "| {} | {organisation} ({role}) | {} |", taken.as_str(), files.copies);
    }
    let used: BTreeSet<RecipientKind> = found.recipients.keys().map(|(kind, _)| *kind).collect();
    text.push_str("\n## Element by recipient\n\nIn how many copies each went.\n\n| element |");
    used.iter().for_each(|kind| {
        let _ = write!(text, " {kind} |");
    });
    text.push_str("\n|---|");
    used.iter().for_each(|_| text.push_str("---|"));
    text.push('\n');
    for (element, cells) in by_kind(found) {
        let _ = write!(text, "| {} |", element.replace('|', "\\|"));
        for kind in &used {
            let _ = write!(text, " {} |", cell(cells.get(kind)));
        }
        text.push('\n');
    }
    if !found.taken.is_empty() {
        text.push_str("\n## Files that were handed out\n\n| what it carried | for what | to | files with it |\n|---|---|---|---|\n");
    }
    for ((taken, organisation, role), files) in &found.taken {
        for (element, with) in &files.elements {
            let _ = writeln!(
                text,
                "| {} | {} | {organisation} ({role}) | {with} |",
                element.replace('|', "\\|"),
                taken.as_str()
            );
        }
    }
    text
}

#[cfg(test)]
mod tests;
