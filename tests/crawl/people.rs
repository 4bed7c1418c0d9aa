//! The same for people: everybody follows every link that a page shows them, tries every address that they could guess, and leads take out
//! whatever their organisation lets them.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::client::Role as ClientRole;
use onward_core::people::Role;
use onward_core::state::RecipientKind;
use onward_core::store::{ApprovalKind, DeliveryRecord};
use onward_core::{Clock as _, OdsCode, SystemClock};
use onward_tests::browser::{self, Person};
use onward_tests::world::World;

use super::{MESSAGES, canaries, documents};

/// How often one path is followed with other queries: lists link to themselves in every order and filter.
const QUERIES_MAX: usize = 40;

/// Who, as what, for whom.
const PEOPLE: [(&str, Role, &[&str]); 9] = [
    ("rowan", Role::CareHomeUser, &["VMH01"]),
    ("elm", Role::CareHomeUser, &["VMH02"]),
    ("both", Role::CareHomeUser, &["VMH01", "VMH02"]),
    // The right organisation in the wrong role: nothing is addressed to a home of this code.
    ("practice", Role::CareHomeUser, &["Y99001"]),
    ("ward", Role::WardCoordinator, &["R9Z"]),
    ("lead", Role::InformationGovernance, &["R9Z"]),
    ("lead-south", Role::InformationGovernance, &["R9Y"]),
    ("lead-home", Role::InformationGovernance, &["VMH01"]),
    ("ops", Role::Operator, &["Y99900"]),
];

/// What somebody has come to see.
#[derive(Debug, Default)]
struct Seen {
    pages: usize,
    /// Copies whose page was opened.
    opened: BTreeSet<String>,
    /// Copies that were printed or saved.
    taken: BTreeSet<String>,
    /// Copies and transfers that any page names.
    named: BTreeSet<String>,
    /// Documents whose content was seen.
    canaries: BTreeSet<usize>,
}

fn acts_for(person: &Person, ods: &str) -> bool {
    person.user.organisations.iter().any(|own| own.as_str() == ods)
}

/// Whether the copy is one of this person's home.
fn is_theirs(person: &Person, copy: &DeliveryRecord) -> bool {
    person.user.role == Role::CareHomeUser
        && copy.kind == RecipientKind::CareHome
        && acts_for(person, copy.recipient.as_str())
}

/// Where a page leads: links, and what it loads.
fn links(text: &str) -> Vec<String> {
    let of = |attribute: &str| {
        let parts: Vec<_> = text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        parts.into_iter().map(|link| link.replace("&#38;", "&").replace("&amp;", "&")).collect::<Vec<_>>()
    };
    let all = [of(" href=\""), of(" src=\"")].concat();
    all.into_iter().filter(|link| link.starts_with('/')).collect()
}

/// Follows everything from the start page, and tries every guess besides.
async fn crawl(person: &Person, copies: &[DeliveryRecord], transfers: &[String]) -> Seen {
    let mut seen = Seen::default();
    let mut ways = vec!["/".to_owned(), "/inbox?show=recent".to_owned(), "/directory".to_owned()];
    let ids: Vec<String> = copies.iter().map(|copy| copy.id.to_string()).chain(transfers.iter().cloned()).collect();
    for id in &ids {
        ways.extend(
            ["", "/print", "/pdf", "/files/1", "/query", "/checklist"].map(|part| format!("/transfers/{id}{part}")),
        );
        ways.push(format!("/operations/deliveries/{id}"));
        ways.push(format!("/operations/holds/{id}"));
        // A session is no token.
        ways.push(format!("/fhir/R4/Bundle/{id}"));
        ways.push(format!("/fhir/R4/Task/{id}"));
    }
    let mut been = BTreeSet::new();
    let mut queries: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(path) = ways.pop() {
        if !been.insert(path.clone()) {
            continue;
        }
        let known = queries.entry(path.split('?').next().unwrap_or_default().to_owned()).or_default();
        *known += 1;
        if *known > QUERIES_MAX {
            continue;
        }
        let page = match path.starts_with("/fhir/") {
            true => {
                let json = [("accept", "application/fhir+json")];
                let page = person.browser.send("GET", &path, &json, String::new()).await;
                assert_eq!(page.status, 401, "{path}");
                page
            }
            false => person.browser.get(&path).await,
        };
        if page.status == 200 {
            seen.pages += 1;
            ways.extend(links(&page.text));
        } else {
            assert!(matches!(page.status, 303 | 400 | 401 | 403 | 404), "{path}: {}", page.status);
        }
        seen.canaries.extend(canaries(&page.text));
        if let Some(rest) = path.strip_prefix("/transfers/")
            && page.status == 200
        {
            let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
            if part.is_empty() { &mut seen.opened } else { &mut seen.taken }.insert(id.to_owned());
        }
        // An address that was asked for is repeated nowhere but in itself.
        seen.named.extend(ids.iter().filter(|id| !path.contains(*id) && page.text.contains(*id)).cloned());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_person_sees_exactly_what_they_are_entitled_to() {
    let world = World::start().await;
    let hospitals = [world.hospital().await, world.client("southmoor-epr", "R9Y", ClientRole::Sender).await];
    let (transfers, copies) = documents(&world, hospitals.each_ref()).await;
    let mut pages = 0;
    for (name, role, ods) in PEOPLE {
        let person = browser::person(&world, &format!("{name}@people.example"), role, ods).await;
        let seen = crawl(&person, &copies, &transfers).await;
        pages += seen.pages;
        assert!(seen.pages > 5, "{name} came to {} pages", seen.pages);
        let ids = |wanted: &dyn Fn(&DeliveryRecord) -> bool| -> BTreeSet<String> {
            copies.iter().filter(|copy| wanted(copy)).map(|copy| copy.id.to_string()).collect()
        };
        let theirs = ids(&|copy| is_theirs(&person, copy));
        assert_eq!(seen.opened, theirs, "copies that {name} opened");
        assert_eq!(seen.taken, theirs, "copies that {name} printed");
        let documents: BTreeSet<usize> = match role {
            Role::CareHomeUser => (0..MESSAGES.len()).filter(|at| ods.contains(&MESSAGES[*at].1)).collect(),
            _ => BTreeSet::new(),
        };
        assert_eq!(seen.canaries, documents, "contents that {name} saw");
        // Operators follow every copy, and read none.
        if role != Role::Operator {
            let whole = copies.iter().filter(|copy| is_theirs(&person, copy)).map(|copy| copy.transfer.to_string());
            let known: BTreeSet<String> = whole.chain(theirs).collect();
            let learnt: Vec<_> = seen.named.difference(&known).collect();
            assert!(learnt.is_empty(), "{name} learns of {learnt:?}");
        }
    }
    println!("{pages} pages of {} people", PEOPLE.len());
}

/// All about one person, for whom the messages of all organisations are: each organisation's leads take out its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_export_holds_exactly_what_the_organisation_has() {
    let world = World::start().await;
    let hospitals = [world.hospital().await, world.client("southmoor-epr", "R9Y", ClientRole::Sender).await];
    documents(&world, hospitals.each_ref()).await;
    let today = SystemClock.now();
    let day = |hours: i64| (today + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%d").to_string();
    let (from, until) = (day(-24), day(24));
    for ods in ["R9Z", "R9Y", "VMH01", "VMH02"] {
        let lead = async |name: &str| {
            let email = format!("{name}-{}@ig.example", ods.to_ascii_lowercase());
            browser::person(&world, &email, Role::InformationGovernance, &[ods]).await
        };
        let (asks, grants) = (lead("ada").await, lead("ben").await);
        for form in ["sar", "csv", "ndjson"] {
            let fields = [
                ("form", form),
                ("organisation", ods),
                ("from", &from),
                ("until", &until),
                ("patient", "9990000018"),
                ("born", "1944-03-08"),
                ("reason", "case 17"),
            ];
            let asked = asks.browser.post("/audit/exports", &fields).await;
            assert_eq!(asked.location(), Some("/audit/exports?done=asked"), "{ods} {form}: {}", asked.text);
            let own: OdsCode = ods.parse().expect("a code");
            let open = world.gateway().store().approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await;
            let open = open.expect("readable").into_iter().find(|approval| approval.verdict.is_none());
            let path = format!("/audit/exports/{}", open.expect("kept").id);
            let shown = grants.browser.get(&path).await;
            let grant = [("verdict", "grant"), ("shown", shown.field("shown").expect("a seal"))];
            assert_eq!(grants.browser.post(&path, &grant).await.status, 303);
            let file = asks.browser.get(&format!("{path}/file")).await;
            assert_eq!(file.status, 200, "{ods} {form}");
            let documents: BTreeSet<usize> = match form {
                "sar" => (0..MESSAGES.len()).filter(|at| [MESSAGES[*at].0, MESSAGES[*at].1].contains(&ods)).collect(),
                // Who did what to whose record, and nothing of the record.
                _ => BTreeSet::new(),
            };
            assert_eq!(canaries(&file.text), documents, "{ods} {form}");
        }
    }
}
