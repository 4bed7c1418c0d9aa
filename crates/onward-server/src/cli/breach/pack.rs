//! The files of a breach pack.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::audit::FoundAudit;
use onward_core::{NhsNumber, Timestamp};
use serde_json::json;

use super::applied::{Applied, Policies};
use super::exposure::{Exposure, Extent, Whose};
use crate::cli::audit::Told;
use crate::cli::exit::Failure;
use crate::cli::open::{minute, short};
use crate::cli::sar::page::{STYLE, escape, table};
use crate::cli::signed_folder;
use crate::config::Config;
use crate::spreadsheet::csv;

/// First line of the manifest.
pub(super) const TITLE: &str = "onward breach pack manifest v1";

/// What the kinds of data of a copy rest on.
const BY_POLICIES: &str = "Kinds of data in copies are told by the disclosure policies that made them, as they are kept since a gateway put them \
     in force, and by those in force when this pack was made where the text of then is not kept.";

/// What UK GDPR Article 33(3) to (5) and 34 want and no log knows.
pub(super) const OPEN_FACTS: [(&str, &str); 10] = [
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
    /// Numbers that somebody asked about and of whom nothing is held.
    pub(super) asked_about: usize,
}

/// The files, and whose records they list.
pub(super) struct Pack {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) people: Vec<NhsNumber>,
    /// People whose records it counts and who were erased since.
    pub(super) erased: usize,
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
        exposures: &[Exposure],
        actions: &[FoundAudit],
        policies: &Policies,
    ) -> Result<Self, Failure> {
        let concerned = concerned(exposures);
        let seen = seen(exposures, policies);
        let people = concerned.keys().filter_map(|whose| whose.number().map(str::parse));
        let people: Vec<NhsNumber> = people.collect::<Result<_, _>>().map_err(Failure::fault)?;
        let erased = concerned.len() - people.len();
        let categories = seen.iter().map(Seen::json);
        let summary = json!({
            "window": { "from": window.from, "to": window.to }, "made": window.made, "by": window.whom,
            "reason": window.reason, "controller": { "ods": config.identity.ods, "name": config.identity.name },
            "people": concerned.len(), "erased_people": erased, "only_asked_about": window.asked_about, "exposures": exposures.len(),
            "categories_of_data": categories.collect::<Vec<_>>(), "categories_by": BY_POLICIES, "actions": actions.len(),
            "to_be_filled_in": OPEN_FACTS.map(|(article, fact)| json!({ "article": article, "fact": fact })),
        });
        let mut files = vec![
            ("people.csv".to_owned(), people_csv(&concerned)),
            ("exposures.csv".to_owned(), exposures_csv(exposures, policies)),
            ("actions.csv".to_owned(), actions_csv(actions)),
            ("summary.json".to_owned(), serde_json::to_vec_pretty(&summary).expect("texts and numbers are JSON")),
            (
                "index.html".to_owned(),
                page(window, config, exposures, actions, (concerned.len(), erased), &seen).into_bytes(),
            ),
        ];
        files.sort();
        Ok(Self { files, people, erased })
    }

    /// The list of its files.
    pub(super) fn manifest(&self) -> String {
        signed_folder::manifest(TITLE, &self.files)
    }
}

fn concerned(exposures: &[Exposure]) -> BTreeMap<&Whose, Concerned> {
    let mut people: BTreeMap<&Whose, Concerned> = BTreeMap::new();
    for each in exposures {
        let new = || Concerned { times: 0, first: each.recorded, last: each.recorded, organisations: BTreeSet::new() };
        let person = people.entry(&each.whose).or_insert_with(new);
        person.times += 1;
        person.last = each.recorded;
        person.organisations.extend(each.organisation.clone());
    }
    people
}

/// What was seen in one way.
struct Seen {
    words: String,
    times: usize,
    people: usize,
    data: Vec<String>,
    /// How often by each policy, of copies.
    policies: BTreeMap<Applied, usize>,
}

impl Seen {
    fn json(&self) -> serde_json::Value {
        let policies = self
            .policies
            .iter()
            .map(|(policy, times)| json!({ "policy": policy.named(), "standing": policy.standing(), "times": times }));
        let policies = policies.collect::<Vec<_>>();
        json!({
            "seen": self.words, "times": self.times, "people": self.people, "data": self.data, "policies": policies,
        })
    }
}

fn seen(exposures: &[Exposure], policies: &Policies) -> Vec<Seen> {
    let mut ways: BTreeMap<Extent, Vec<&Exposure>> = BTreeMap::new();
    for each in exposures {
        ways.entry(each.extent).or_default().push(each);
    }
    let seen = |(extent, own): (Extent, Vec<&Exposure>)| {
        let mut by_policy: BTreeMap<Applied, usize> = BTreeMap::new();
        for applied in own.iter().filter_map(|each| Applied::of(each, policies)) {
            *by_policy.entry(applied).or_default() += 1;
        }
        Seen {
            words: extent.words(),
            times: own.len(),
            people: own.iter().map(|each| &each.whose).collect::<BTreeSet<_>>().len(),
            data: extent.data(&Applied::policies(by_policy.keys(), policies)),
            policies: by_policy,
        }
    };
    ways.into_iter().map(seen).collect()
}

/// As a table names somebody; people who were erased by the beginning of their pseudonym, so that they are told apart.
fn named(whose: &Whose) -> String {
    match whose {
        Whose::Person(number) => number.clone(),
        Whose::Erased(pseudonym) => format!("erased {}", short(pseudonym)),
    }
}

fn people_csv(concerned: &BTreeMap<&Whose, Concerned>) -> Vec<u8> {
    let rows = concerned.iter().map(|(whose, person)| {
        let organisations = person.organisations.iter().cloned().collect::<Vec<_>>().join(" ");
        let (first, last) = (person.first.to_string(), person.last.to_string());
        [named(whose), person.times.to_string(), first, last, organisations]
    });
    csv(["nhs_number", "times", "first", "last", "organisations"], rows)
}

fn exposures_csv(exposures: &[Exposure], policies: &Policies) -> Vec<u8> {
    let rows = exposures.iter().map(|each| {
        let applied = Applied::of(each, policies);
        let policy = applied.as_ref().and_then(Applied::named).unwrap_or_default();
        let succeeded = match each.succeeded {
            Some(true) => "yes",
            Some(false) => "not known to have succeeded",
            None => "erased",
        };
        [
            each.recorded.to_string(),
            each.what.to_string(),
            each.who.clone(),
            each.role.clone().unwrap_or_default(),
            each.organisation.clone().unwrap_or_default(),
            named(&each.whose),
            each.extent.words(),
            each.object.clone().unwrap_or_default(),
            succeeded.to_owned(),
            each.basis.clone().unwrap_or_default(),
            each.entry.to_string(),
            policy.to_owned(),
            applied.as_ref().map_or("", Applied::standing).to_owned(),
        ]
    });
    let headings = [
        "when",
        "what",
        "who",
        "role",
        "organisation",
        "nhs_number",
        "seen",
        "object",
        "succeeded",
        "basis",
        "entry",
        "policy",
        "policy_text",
    ];
    csv(headings, rows)
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
    exposures: &[Exposure],
    actions: &[FoundAudit],
    (people, erased): (usize, usize),
    seen: &[Seen],
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
         arrived. Of these people {erased} were erased since: they are counted here and nobody can name them any more. Another {} \
         numbers were asked about, of whom nothing is held: they are counted nowhere else.</p>",
        people,
        exposures.len(),
        window.asked_about,
    ));
    let mut by_whom: BTreeMap<(&str, &str), (usize, BTreeSet<&Whose>)> = BTreeMap::new();
    for each in exposures {
        let own = by_whom.entry((&each.who, each.organisation.as_deref().unwrap_or_default())).or_default();
        own.0 += 1;
        own.1.insert(&each.whose);
    }
    html.push_str("<h2>Who saw them</h2>");
    let rows = by_whom.into_iter().map(|((name, organisation), (times, people))| {
        [escape(name), escape(organisation), times.to_string(), people.len().to_string()]
    });
    html.push_str(&table(["who", "organisation", "times", "people"], rows));
    html.push_str(&kinds_of_data(seen));
    html.push_str("<h2>What was done since the window began</h2>");
    let rows = actions.iter().filter_map(action).map(|row| row.map(|cell| escape(&cell)));
    html.push_str(&table(["when", "what", "by", "detail", "entry"], rows));
    html.push_str("<h2>To be filled in</h2>");
    let rows = OPEN_FACTS.iter().map(|(article, fact)| [escape(article), escape(fact), "&nbsp;".to_owned()]);
    html.push_str(&table(["where", "fact", "answer"], rows));
    html.push_str("<p><code>manifest.txt</code> lists the SHA-256 of every file and is signed by the audit log's key: <code>onward \
                   breach check FOLDER --verifier KEY</code>.</p></body></html>\n");
    html
}

fn kinds_of_data(seen: &[Seen]) -> String {
    let differs = seen.iter().flat_map(|kind| &kind.policies);
    let differs: usize =
        differs.filter(|(policy, _)| !matches!(policy, Applied::Kept(..))).map(|(_, times)| times).sum();
    let mut html = format!(
        "<h2>Kinds of data</h2><p>What may have been seen. {BY_POLICIES} <b>{differs}</b> times the entry names a policy whose \
         text is not kept, or none: what left then must be looked up in the policy of that time. Special category data concerning health throughout \
         (UK GDPR Article 9).</p>"
    );
    let rows = seen.iter().map(|kind| {
        let data = kind.data.iter().map(|element| escape(element)).collect::<Vec<_>>().join("<br>");
        let policy = |(policy, times): (&Applied, &usize)| {
            let (named, standing) = (policy.named().unwrap_or("policy"), policy.standing());
            match policy {
                Applied::Kept(..) => format!("{}: {standing}, {times} times", escape(named)),
                _ => format!("<b>{}: {standing}</b>, {times} times", escape(named)),
            }
        };
        let policies = kind.policies.iter().map(policy).collect::<Vec<_>>().join("<br>");
        [escape(&kind.words), kind.times.to_string(), kind.people.to_string(), policies, data]
    });
    html.push_str(&table(["seen as", "times", "people", "policy of the entries", "data, by the policies"], rows));
    html
}
