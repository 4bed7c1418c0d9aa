//! The files of a breach pack.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::audit::FoundAudit;
use onward_core::state::RecipientKind;
use onward_core::{NhsNumber, Timestamp};
use onward_transform::disclose::{Cell, Policy, matrix};
use serde_json::json;

use crate::cli::audit::Told;
use crate::cli::open::minute;
use crate::cli::sar::page::{STYLE, escape, table};
use crate::cli::signed_folder;
use crate::config::Config;
use crate::spreadsheet::csv;

/// First line of the manifest.
pub(super) const TITLE: &str = "onward breach pack manifest v1";

/// What UK GDPR Article 33(3) to (5) and 34 want and no log knows.
const OPEN_FACTS: [(&str, &str); 10] = [
    ("Art 33(1)", "When did the controller become aware? The 72 hours run from then."),
    ("Art 33(3)(a)", "The nature of the breach: confidentiality, integrity or availability, and how it came about."),
    ("Art 33(3)(b)", "Name and contact details of the data protection officer, or of another contact."),
    ("Art 33(3)(c)", "The likely consequences for the people concerned."),
    ("Art 33(3)(d)", "Measures proposed beside those listed here, and measures to mitigate its effects."),
    ("Art 33(2)", "Which other controllers (hospital, home, practices, pharmacy) were told, and when."),
    ("Art 33(1)", "If it is reported after 72 hours: why."),
    (
        "Art 33(1)",
        "Whether it is unlikely to result in a risk, who decided that, and on what ground, if it is not reported.",
    ),
    ("Art 34", "Whether the people concerned are told, by whom, when, or why not."),
    (
        "NHS",
        "The reference of the report in the Data Security and Protection Toolkit; Caldicott Guardian told; clinical safety officer told.",
    ),
];

/// What the pack is about.
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) made: Timestamp,
    pub(super) whom: String,
    pub(super) reason: String,
    /// Entries in the window about people who were erased since: nobody can tell whom, to whom, or by whom.
    pub(super) erased: usize,
}

/// The files, and whose records they list.
pub(super) struct Pack {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) people: Vec<NhsNumber>,
}

/// How often one person's data was seen or sent.
struct Concerned {
    times: usize,
    first: Timestamp,
    last: Timestamp,
    organisations: BTreeSet<String>,
}

impl Pack {
    /// Makes it. Nothing is written yet.
    pub(super) fn of(
        window: &Window,
        config: &Config,
        exposures: &[(FoundAudit, Told)],
        actions: &[FoundAudit],
        kinds: &BTreeSet<RecipientKind>,
        policies: &[Policy],
    ) -> Self {
        let concerned = concerned(exposures);
        let categories = categories(kinds, policies);
        let summary = json!({
            "window": { "from": window.from, "to": window.to }, "made": window.made, "by": window.whom,
            "reason": window.reason, "controller": { "ods": config.identity.ods, "name": config.identity.name },
            "people": concerned.len(), "exposures": exposures.len(), "of_erased_people": window.erased, "copies_of_kind": kinds,
            "categories_of_data": categories, "actions": actions.len(),
            "to_be_filled_in": OPEN_FACTS.map(|(article, fact)| json!({ "article": article, "fact": fact })),
        });
        let mut files = vec![
            ("people.csv".to_owned(), people_csv(&concerned)),
            ("exposures.csv".to_owned(), exposures_csv(exposures)),
            ("actions.csv".to_owned(), actions_csv(actions)),
            ("summary.json".to_owned(), serde_json::to_vec_pretty(&summary).expect("texts and numbers are JSON")),
            ("index.html".to_owned(), page(window, config, exposures, actions, &concerned, &categories).into_bytes()),
        ];
        files.sort();
        Self { files, people: concerned.into_keys().map(|Ordered(number)| number).collect() }
    }

    /// The list of its files.
    pub(super) fn manifest(&self) -> String {
        signed_folder::manifest(TITLE, &self.files)
    }
}

/// A number that sorts.
#[derive(Clone, PartialEq, Eq)]
struct Ordered(NhsNumber);

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.expose().cmp(other.0.expose())
    }
}

fn concerned(exposures: &[(FoundAudit, Told)]) -> BTreeMap<Ordered, Concerned> {
    let mut people: BTreeMap<Ordered, Concerned> = BTreeMap::new();
    for (entry, told) in exposures {
        let Some(patient) = entry.patient.clone() else { continue };
        let new =
            || Concerned { times: 0, first: entry.recorded, last: entry.recorded, organisations: BTreeSet::new() };
        let person = people.entry(Ordered(patient)).or_insert_with(new);
        person.times += 1;
        person.last = entry.recorded;
        person.organisations.extend(told.got(entry.word).organisation.clone());
    }
    people
}

/// The elements that copies of these kinds may hold, by the policies in force; the identical document holds whatever came.
fn categories(kinds: &BTreeSet<RecipientKind>, policies: &[Policy]) -> Vec<String> {
    let disclosed = |cell: &(RecipientKind, Cell)| kinds.contains(&cell.0) && cell.1 != Cell::No;
    let rows = matrix(policies).into_iter().filter(|row| row.cells.iter().any(disclosed));
    rows.map(|row| row.element).collect()
}

fn people_csv(concerned: &BTreeMap<Ordered, Concerned>) -> Vec<u8> {
    let rows = concerned.iter().map(|(number, person)| {
        let organisations = person.organisations.iter().cloned().collect::<Vec<_>>().join(" ");
        let (first, last) = (person.first.to_string(), person.last.to_string());
        [number.0.expose().to_owned(), person.times.to_string(), first, last, organisations]
    });
    csv(["nhs_number", "times", "first", "last", "organisations"], rows)
}

fn exposures_csv(exposures: &[(FoundAudit, Told)]) -> Vec<u8> {
    let rows = exposures.iter().map(|(entry, told)| {
        let who = told.got(entry.word);
        [
            entry.recorded.to_string(),
            entry.word.to_string(),
            who.name.clone(),
            who.role.clone().unwrap_or_default(),
            who.organisation.clone().unwrap_or_default(),
            entry.patient.as_ref().map(|number| number.expose().to_owned()).unwrap_or_default(),
            told.subject.clone().unwrap_or_default(),
            if told.success { "yes" } else { "not known to have succeeded" }.to_owned(),
            told.basis.clone().unwrap_or_default(),
            entry.index.to_string(),
        ]
    });
    csv(["when", "what", "who", "role", "organisation", "nhs_number", "object", "succeeded", "basis", "entry"], rows)
}

fn actions_csv(actions: &[FoundAudit]) -> Vec<u8> {
    csv(["when", "what", "by", "detail", "entry"], actions.iter().filter_map(action))
}

fn action(entry: &FoundAudit) -> Option<[String; 5]> {
    let told = Told::read(entry.event.as_deref()?)?;
    let (when, what) = (entry.recorded.to_string(), entry.word.to_string());
    Some([when, what, told.actor.name, told.detail, entry.index.to_string()])
}

fn page(
    window: &Window,
    config: &Config,
    exposures: &[(FoundAudit, Told)],
    actions: &[FoundAudit],
    concerned: &BTreeMap<Ordered, Concerned>,
    categories: &[String],
) -> String {
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\">");
    html.push_str(&format!("<title>Breach pack</title><style>{STYLE}</style></head><body><h1>Breach pack</h1>"));
    html.push_str(&format!(
        "<p>{} ({}). Window: {} to {}. Looked for: {}. Written on {}. What is thought to have happened: {}</p>",
        escape(&config.identity.name),
        escape(config.identity.ods.as_ref().map_or("", |ods| ods.as_str())),
        escape(&minute(window.from)),
        escape(&minute(window.to)),
        escape(&window.whom),
        escape(&minute(window.made)),
        escape(&window.reason),
    ));
    html.push_str(&format!(
        "<h2>How many</h2><p>Records of <b>{}</b> people, seen or sent <b>{}</b> times. <code>people.csv</code> lists whose, \
         <code>exposures.csv</code> each time. An attempt that failed, or of which nobody knows the end, counts: it may have \
         arrived. Entries about people who were erased since, which nobody can read any more: {}.</p>",
        concerned.len(),
        exposures.len(),
        window.erased
    ));
    let mut by_whom: BTreeMap<(String, String), (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (entry, told) in exposures {
        let who = told.got(entry.word);
        let own = by_whom.entry((who.name.clone(), who.organisation.clone().unwrap_or_default())).or_default();
        own.0 += 1;
        own.1.extend(entry.patient.as_ref().map(|number| number.expose()));
    }
    html.push_str("<h2>Who saw them</h2>");
    let rows = by_whom.into_iter().map(|((name, organisation), (times, people))| {
        [escape(&name), escape(&organisation), times.to_string(), people.len().to_string()]
    });
    html.push_str(&table(["who", "organisation", "times", "people"], rows));
    html.push_str(
        "<h2>Kinds of data</h2><p>What the copies may hold by the disclosure policies in force, and special category \
                   data concerning health throughout (UK GDPR Article 9):</p><ul>",
    );
    categories.iter().for_each(|element| html.push_str(&format!("<li>{}</li>", escape(element))));
    html.push_str("</ul><h2>What was done since the window began</h2>");
    let rows = actions.iter().filter_map(action).map(|row| row.map(|cell| escape(&cell)));
    html.push_str(&table(["when", "what", "by", "detail", "entry"], rows));
    html.push_str("<h2>To be filled in</h2>");
    let rows = OPEN_FACTS.iter().map(|(article, fact)| [escape(article), escape(fact), "&nbsp;".to_owned()]);
    html.push_str(&table(["where", "fact", "answer"], rows));
    html.push_str("<p><code>manifest.txt</code> lists the SHA-256 of every file and is signed by the audit log's key: <code>onward \
                   breach check FOLDER --verifier KEY</code>.</p></body></html>\n");
    html
}
