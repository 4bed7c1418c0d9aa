//! PDS as its specification describes it: what we ask and what the stub answers are held against the published document, and so are the
//! requests that a busy PDS sees.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::civil::date;
use onward_core::NhsNumber;
use onward_core::directory::{
    Asker, Demographics, Directory as _, DirectoryError, Gender, Likeness, Match, Question, Sensitivity,
};
use onward_tests::openapi::{Exchange, OpenApi};
use onward_tests::pds::{Busy, Pds, person, restricted};
use onward_tests::shared;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

const DOCUMENT: &str = "personal-demographics.yaml";

fn specification() -> Option<OpenApi> {
    shared::data("pds/specification").map(|folder| OpenApi::open(folder, DOCUMENT))
}

fn asked() -> Question {
    Question::of(Asker::Person)
}

fn number(text: &str) -> NhsNumber {
    text.parse().expect("a test number")
}

/// Two people of one name and birthday, one whose record is restricted, and one alone.
async fn service() -> Pds {
    let service = Pds::start([
        person("9990000018", "Holroyd", "Margaret", "1944-03-08"),
        restricted(person("9990000026", "Ashworth", "Thomas", "1948-09-21")),
        person("9990000034", "Booth", "Irene", "1941-12-02"),
        restricted(person("9990000042", "Booth", "Irene", "1941-12-02")),
    ])
    .await;
    service.supersedes("9990000050", "9990000018");
    service
}

fn demographics(family: &str, given: &str, born: jiff::civil::Date) -> Demographics {
    Demographics::new(family, given, born).expect("whole")
}

#[tokio::test]
async fn what_we_ask_and_what_the_stub_answers_is_as_published() {
    let service = service().await;
    let client = service.client();
    let ask = async |text: &str| client.patient(&number(text), &asked()).await.expect("answered");
    let found = ask("9990000018").await.expect("a person");
    assert_eq!(found.registered_practice.map(String::from).as_deref(), Some("Y99002"));
    assert_eq!(found.nominated_pharmacy.map(String::from).as_deref(), Some("FZZ02"));
    assert_eq!(ask("9990000050").await.expect("a person").nhs_number.expose(), "9990000018", "superseded");
    let sensitive = ask("9990000026").await.expect("a person");
    assert_eq!(sensitive.sensitivity, Sensitivity::Restricted);
    assert_eq!((sensitive.registered_practice, sensitive.nominated_pharmacy), (None, None));
    assert_eq!(ask("9990000069").await, None);

    let find = async |who: &Demographics, likeness| client.find(who, likeness, &asked()).await.expect("answered");
    let holroyd = demographics("Holroyd", "Margaret", date(1944, 3, 8));
    let Match::One(one) = find(&holroyd, Likeness::Exact).await else { panic!("one") };
    assert_eq!((one.nhs_number.expose(), one.nominated_pharmacy), ("9990000018", None), "a search has no pharmacy");
    let misspelt = demographics("Holroid", "Margaret", date(1944, 3, 8));
    assert_eq!(find(&misspelt, Likeness::Exact).await, Match::Nobody);
    assert!(matches!(find(&misspelt, Likeness::Alike).await, Match::One(_)));
    let booth = demographics("Booth", "Irene", date(1941, 12, 2));
    assert_eq!(find(&booth, Likeness::Exact).await, Match::Several, "nobody is picked");
    let at_home = booth.narrowed(Some(Gender::Female), Some("NM4 2TX"));
    let Match::One(one) = find(&at_home, Likeness::Exact).await else {
        panic!("by postcode nobody restricted is found")
    };
    assert_eq!(one.nhs_number.expose(), "9990000034");
    let sensitive = demographics("Ashworth", "Thomas", date(1948, 9, 21));
    let Match::One(one) = find(&sensitive, Likeness::Exact).await else { panic!("one") };
    assert_eq!((one.sensitivity, one.registered_practice), (Sensitivity::Restricted, None));

    service.is_busy(&[Busy::TooMany(0)]);
    assert!(ask("9990000018").await.is_some(), "asked again");

    let exchanges = service.exchanges();
    assert_eq!(exchanges.len(), 12);
    let Some(specification) = specification() else { return };
    for exchange in &exchanges {
        let problems = specification.problems(exchange);
        assert!(problems.is_empty(), "{} {}: {problems:#?}", exchange.path, exchange.status);
    }
}

/// A repeat is the same request: PDS would count, and audit, another one.
#[tokio::test]
async fn a_busy_pds_is_asked_the_same_once_more() {
    let asked_by = |exchange: &Exchange, name: &str| {
        exchange.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone()).expect("sent")
    };
    for busy in [Busy::TooMany(0), Busy::Unavailable(0)] {
        let service = service().await;
        let client = service.client();
        service.is_busy(&[busy]);
        let who = demographics("Holroyd", "Margaret", date(1944, 3, 8));
        assert!(matches!(client.find(&who, Likeness::Exact, &asked()).await, Ok(Match::One(_))));
        let exchanges = service.exchanges();
        let [first, second] = exchanges.as_slice() else { panic!("asked {} times", exchanges.len()) };
        assert_eq!(asked_by(first, "x-request-id"), asked_by(second, "x-request-id"));
        assert_eq!(first.query, second.query);
        service.is_busy(&[busy, busy]);
        assert!(matches!(client.find(&who, Likeness::Exact, &asked()).await, Err(DirectoryError::Unavailable(_))));
        assert_eq!(service.exchanges().len(), 4, "and then left alone");
        let Some(specification) = specification() else { continue };
        let problems: Vec<String> =
            service.exchanges().iter().flat_map(|exchange| specification.problems(exchange)).collect();
        // The document lists 503 for changes alone; the platform answers so to everything.
        let unlisted = if matches!(busy, Busy::Unavailable(_)) { 3 } else { 0 };
        assert_eq!(problems, vec!["no answer has the status 503"; unlisted]);
    }
}

/// What a subscriber of everything has seen.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The address of a search is the person.
#[tokio::test]
async fn no_line_and_no_error_tells_who_was_searched_for() {
    let lines = Lines::default();
    let writer = lines.clone();
    let everything = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone());
    let listening = everything.finish().set_default();
    tracing::trace!("this line is kept");
    let service = service().await;
    let client = service.client();
    let who = demographics("Holroyd", "Margaret", date(1944, 3, 8)).narrowed(None, Some("NM4 2TX"));
    let mut told = vec![format!("{who:?} {:?}", client.find(&who, Likeness::Exact, &asked()).await)];
    service.is_busy(&[Busy::Unavailable(3_600)]);
    told.push(format!("{:?}", client.find(&who, Likeness::Exact, &asked()).await.expect_err("busy")));
    service.is_busy(&[Busy::TooMany(3_600)]);
    told.push(format!("{:?}", client.patient(&number("9990000018"), &asked()).await.expect_err("busy")));
    drop(listening);
    let lines = String::from_utf8(lines.0.lock().expect("whole").clone()).expect("text");
    assert!(lines.contains("this line is kept"));
    for text in told.iter().chain([&lines]) {
        for part in ["Holroyd", "Margaret", "1944-03", "NM4", "9990000018", "birthdate", "Patient?"] {
            assert!(!text.contains(part), "{part} is told: {text}");
        }
    }
}

/// The comparison is worth something only if it finds what is wrong.
#[tokio::test]
async fn what_is_not_as_published_is_found() {
    let Some(specification) = specification() else { return };
    let service = service().await;
    let client = service.client();
    client.patient(&number("9990000018"), &asked()).await.expect("answered").expect("a person");
    client
        .find(&demographics("Holroyd", "Margaret", date(1944, 3, 8)), Likeness::Exact, &asked())
        .await
        .expect("answered");
    let exchanges = service.exchanges();
    let [retrieved, searched] = exchanges.as_slice() else { panic!("two") };
    type Change = fn(&mut Exchange);
    let of_retrieval: [(&str, Change); 7] = [
        ("no X-Request-ID", |of| of.headers.retain(|(name, _)| name != "x-request-id")),
        ("X-Request-ID is no UUID", |of| {
            of.headers.retain(|(name, _)| name != "x-request-id");
            of.headers.push(("x-request-id".to_owned(), "1".to_owned()));
        }),
        ("a field that no Patient has", |of| of.body["active"] = true.into()),
        ("no number", |of| drop(of.body.as_object_mut().expect("a Patient").remove("id"))),
        ("two practices", |of| {
            let practice = of.body["generalPractitioner"][0].clone();
            of.body["generalPractitioner"].as_array_mut().expect("a list").push(practice);
        }),
        ("another media type", |of| {
            of.answered = vec![("content-type".to_owned(), "application/json".to_owned())];
        }),
        ("a parameter", |of| of.query.push(("family".to_owned(), "Holroyd".to_owned()))),
    ];
    let of_search: [(&str, Change); 5] = [
        ("an unknown parameter", |of| of.query.push(("name".to_owned(), "Holroyd".to_owned()))),
        ("two family names", |of| of.query.push(("family".to_owned(), "Booth".to_owned()))),
        ("a gender that is none", |of| of.query.push(("gender".to_owned(), "f".to_owned()))),
        ("as many as half a person", |of| {
            of.query.retain(|(name, _)| name != "_max-results");
            of.query.push(("_max-results".to_owned(), "0.5".to_owned()));
        }),
        ("a score of two", |of| of.body["entry"][0]["search"]["score"] = json!(2)),
    ];
    let all =
        of_retrieval.map(|change| (retrieved, change)).into_iter().chain(of_search.map(|change| (searched, change)));
    for (exchange, (what, change)) in all {
        assert_eq!(specification.problems(exchange), Vec::<String>::new(), "before: {what}");
        let mut changed = exchange.clone();
        change(&mut changed);
        assert_eq!(specification.problems(&changed).len(), 1, "{what}: {:?}", specification.problems(&changed));
    }
}

/// The NHS's own examples are as its document says: the judge reads it as they do.
#[test]
fn the_published_examples_are_as_published() {
    let (Some(specification), Some(mocks)) = (specification(), shared::data("pds/mocks")) else { return };
    let read = |path: PathBuf| -> Value {
        let text = std::fs::read_to_string(&path).expect("readable");
        serde_json::from_str(&text).expect("JSON")
    };
    for (file, schema) in [
        ("Patient.json", "Patient.yaml"),
        ("Patient-Jayne-Smyth.json", "Patient.yaml"),
        ("Sensitive_Patient.json", "Patient.yaml"),
        ("Minimal_Patient.json", "Patient.yaml"),
        ("PatientSearch.json", "PatientSearch.yaml"),
        ("Sensitive_PatientSearch.json", "PatientSearch.yaml"),
        ("Minimal_PatientSearch.json", "PatientSearch.yaml"),
    ] {
        let why = specification.judge(&format!("components/schemas/{schema}#"), &read(mocks.join(file)));
        assert_eq!(why, None, "{file}");
    }
}
