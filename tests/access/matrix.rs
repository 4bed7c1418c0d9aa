//! The authorization matrix of the specification as a file (`tests/matrix.csv`), one line for each action and role: what §8 says, which row
//! of the tables shows it, what is answered here, and why where that differs. The file drives the tables; where the specification is
//! beside the project, it drives the file.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::people::Role;
use onward_server::api::Access;
use onward_tests::{browser, shared};

use super::{Callers, MATRIX, PAGES, world};

/// The columns of §8: sender, care home's system, care-home user, practice, pharmacy, IG lead, operator.
const ROLES: [&str; 7] = ["S", "H", "U", "G", "P", "I", "A"];

#[derive(Debug)]
struct Line {
    clause: String,
    action: String,
    role: String,
    answer: String,
    /// `machine`, `page`, or nothing where no route serves it.
    table: String,
    row: String,
    here: Option<u16>,
    why: String,
}

impl Line {
    /// The answer of §8 without its marks for a fresh sign-in and a second person.
    fn said(&self) -> u16 {
        self.answer.trim_end_matches(['*', '†']).parse().expect("a status")
    }
}

fn lines() -> Vec<Line> {
    let mut reader = csv::Reader::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/matrix.csv")).expect("the matrix");
    let line = |record: csv::StringRecord| {
        let text = |at: usize| record[at].to_owned();
        Line {
            clause: text(0),
            action: text(1),
            role: text(2),
            answer: text(3),
            table: text(4),
            row: text(5),
            here: Some(text(6)).filter(|here| !here.is_empty()).map(|here| here.parse().expect("a status")),
            why: text(7),
        }
    };
    reader.records().map(|record| line(record.expect("eight columns"))).collect()
}

#[test]
fn every_cell_of_the_specification_is_shown_or_explained() {
    let lines = lines();
    let mut cells: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in &lines {
        cells.entry(&line.clause).or_default().push(&line.role);
        // A reason stands where one is needed, and nowhere else.
        assert_eq!(line.here == Some(line.said()), line.why.is_empty(), "{line:?}");
        let machine = MATRIX.iter().find(|row| row.0 == line.row);
        let page = PAGES.iter().find(|row| row.0 == line.row);
        let shown = match (line.table.as_str(), line.role.as_str()) {
            // `a_session_is_no_token_and_a_token_no_session` asks for these.
            ("machine", "U") => machine.map(|_| 401),
            ("page", "S" | "H" | "G" | "P") => page.map(|_| 303),
            ("machine", role) => {
                let at = ["S", "H", "G", "P", "I", "A"].iter().position(|each| *each == role).expect("a role");
                machine.map(|row| row.4[at])
            }
            ("page", role) => {
                let at = ["U", "", "I", "A"].iter().position(|each| *each == role).expect("a role");
                page.map(|row| row.4[at])
            }
            (table, _) => {
                assert!(table.is_empty() && line.row.is_empty(), "{line:?}");
                None
            }
        };
        assert_eq!(shown, line.here, "{line:?}");
    }
    assert_eq!(cells.len(), 17, "the actions of §8");
    assert!(cells.values().all(|roles| roles[..] == ROLES), "each with each role: {cells:?}");
    // What no route serves must not have become one.
    let unserved: BTreeSet<_> = lines.iter().filter(|line| line.here.is_none()).map(|line| &line.action).collect();
    assert_eq!(unserved.into_iter().collect::<Vec<_>>(), ["Clients, keys"]);
    let routes = onward_server::api::routes();
    for route in routes.iter().filter(|route| route.access != Access::Open) {
        let names: Vec<&str> = route.path.split('/').collect();
        assert!(!names.contains(&"clients") && !names.contains(&"keys"), "{route:?} needs its rows");
    }
}

/// The cells of people where only systems are served, and of systems where only people are.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_no_token_and_a_token_no_session() {
    let world = world().await;
    let callers = Callers::in_world(&world).await;
    let person = browser::person(&world, "user@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let mut asked = 0;
    for line in lines() {
        let at = ["S", "H", "G", "P"].iter().position(|role| *role == line.role);
        let status = match (line.table.as_str(), line.role.as_str(), at) {
            ("machine", "U", _) => {
                let row = MATRIX.iter().find(|row| row.0 == line.row).expect("its row");
                let (path, body) = callers.request(row.2, row.3, 1);
                let kind = if body.starts_with('{') { "application/fhir+json" } else { "application/fhir+xml" };
                let headers = [("content-type", kind), ("if-match", "W/\"1\""), ("accept", "application/fhir+json")];
                person.browser.send(row.1, &format!("/{path}"), &headers, body).await.status
            }
            ("page", _, Some(at)) => {
                let row = PAGES.iter().find(|row| row.0 == line.row).expect("its row");
                let (path, _) = callers.request(row.2, row.3, 1);
                // A page's own header beside the token: the token must be what does not count.
                let token = format!("Bearer {}", callers.clients[at].0.token().await.expect("signed in"));
                let stranger = browser::Browser::new(&world);
                let headers = [("authorization", token.as_str())];
                stranger.send(row.1, &format!("/{path}"), &headers, String::new()).await.status
            }
            _ => continue,
        };
        asked += 1;
        assert_eq!(Some(status), line.here, "{line:?}");
    }
    assert!(asked > 15, "{asked} cells");
}

/// Where the specification is beside the project, the file says what it says.
#[test]
fn the_file_is_the_specification() {
    let Some(path) = shared::page("trust.md") else { return };
    let text = std::fs::read_to_string(path).expect("readable");
    let section = text.split("\n## ").find(|section| section.starts_with("8.")).expect("§8");
    let table: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(table[0][1..], ROLES);
    let said = table[2..].iter().enumerate().flat_map(|(at, row)| {
        let cells = row[1..].iter().zip(ROLES);
        cells.map(move |(answer, role)| (format!("8.{}", at + 1), row[0], role, *answer))
    });
    let lines = lines();
    let ours = lines.iter().map(|line| (line.clause.clone(), &*line.action, &*line.role, &*line.answer));
    assert_eq!(ours.collect::<Vec<_>>(), said.collect::<Vec<_>>());
}
