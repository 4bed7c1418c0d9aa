//! PDS as its specification describes it (`personal-demographics.yaml`), for people who do not exist: retrieval by NHS number, and the search
//! that an application may make. What it answers, and what it is asked, is kept and can be held against the specification.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::pds::{PdsClient, PdsConfig};
use onward_core::{NhsNumber, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::openapi::Exchange;

/// Parameters of a search.
const SEARCHED_BY: [&str; 15] = [
    "_fuzzy-match",
    "_exact-match",
    "_history",
    "_max-results",
    "family",
    "given",
    "gender",
    "birthdate",
    "death-date",
    "address-postalcode",
    "address-postcode",
    "general-practitioner",
    "email",
    "phone",
    "managing-organization",
];
/// What PDS leaves out about somebody who is restricted.
const WITHHELD: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];
const PHARMACY: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy";

/// What it does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// 429, with these seconds in `Retry-After`.
    TooMany(u32),
    /// 503, likewise.
    Unavailable(u32),
}

#[derive(Default)]
struct Kept {
    people: BTreeMap<String, Value>,
    /// Numbers that lead to another record.
    superseded: BTreeMap<String, String>,
    busy: VecDeque<Busy>,
    exchanges: Vec<Exchange>,
}

/// The service; it ends with this value.
pub struct Pds {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Drop for Pds {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Somebody with a practice and a pharmacy.
#[must_use]
pub fn person(number: &str, family: &str, given: &str, born: &str) -> Value {
    let practice = json!({ "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "Y99002",
        "period": { "start": "2020-01-01" } });
    json!({
        "resourceType": "Patient",
        "id": number,
        "identifier": [{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": number }],
        "meta": { "versionId": "2", "security": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "U", "display": "unrestricted"
        }] },
        "name": [{ "id": "1", "use": "usual", "period": { "start": "2020-01-01" }, "given": [given], "family": family }],
        "gender": "female",
        "birthDate": born,
        "address": [{ "id": "2", "use": "home", "period": { "start": "2020-01-01" }, "line": ["14 Bramble Close"],
            "postalCode": "NM4 2TX" }],
        "generalPractitioner": [{ "id": "3", "type": "Organization", "identifier": practice }],
        "extension": [{ "url": PHARMACY, "valueReference": { "identifier": {
            "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "FZZ02" } } }]
    })
}

/// The same person, whose record is restricted.
#[must_use]
pub fn restricted(mut person: Value) -> Value {
    person["meta"]["security"][0]["code"] = "R".into();
    person["meta"]["security"][0]["display"] = "restricted".into();
    person
}

impl Pds {
    /// Serves these people on loopback.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start(people: impl IntoIterator<Item = Value>) -> Self {
        let by_number = |person: Value| (person["id"].as_str().expect("a number").to_owned(), person);
        let people = people.into_iter().map(by_number).collect();
        let kept = Arc::new(Mutex::new(Kept { people, ..Kept::default() }));
        let router = Router::new()
            .route("/personal-demographics/FHIR/R4/Patient/{id}", get(retrieve))
            .route("/personal-demographics/FHIR/R4/Patient", get(search))
            .with_state(Arc::clone(&kept));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { address, kept, serving }
    }

    /// A client of it, without sign-in, as PDS's sandbox asks for none.
    ///
    /// # Panics
    /// When none can be made.
    #[must_use]
    pub fn client(&self) -> PdsClient {
        let http = HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            allow_plain_loopback: true,
            total_timeout: std::time::Duration::from_secs(60),
            ..HttpConfig::default()
        };
        let config = PdsConfig {
            base_url: format!("http://{}/personal-demographics/FHIR/R4", self.address).parse().expect("a URL"),
            end_user_organisation: Some("Y99900".parse().expect("a code")),
            retry_wait_max: std::time::Duration::from_secs(5),
            requests_per_second: 100,
        };
        PdsClient::new(config, HttpClient::new(&http).expect("a client"), None, Arc::new(SystemClock))
    }

    /// The next requests find it busy so; then it answers.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn is_busy(&self, with: &[Busy]) {
        self.kept.lock().expect("whole").busy.extend(with);
    }

    /// The record of one number leads to another's.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn supersedes(&self, old: &str, new: &str) {
        self.kept.lock().expect("whole").superseded.insert(old.to_owned(), new.to_owned());
    }

    /// What was asked and answered so far.
    ///
    /// # Panics
    /// When a request panicked.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.kept.lock().expect("whole").exchanges.clone()
    }
}

type Shared = State<Arc<Mutex<Kept>>>;
/// Status, `Retry-After`, body.
type Told = (StatusCode, Option<u32>, Value);

async fn retrieve(State(kept): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut kept = kept.lock().expect("whole");
    let told = refused(&mut kept, &headers).unwrap_or_else(|| retrieved(&kept, &id));
    tell(&mut kept, "/Patient/{id}", vec![("id", id)], Vec::new(), &headers, told)
}

fn retrieved(kept: &Kept, id: &str) -> Told {
    if id.parse::<NhsNumber>().is_err() {
        return outcome(StatusCode::BAD_REQUEST, "value", "INVALID_RESOURCE_ID");
    }
    let current = kept.superseded.get(id).map_or(id, String::as_str);
    match kept.people.get(current) {
        Some(person) => (StatusCode::OK, None, shown(person)),
        None => outcome(StatusCode::NOT_FOUND, "not-found", "RESOURCE_NOT_FOUND"),
    }
}

async fn search(State(kept): Shared, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect::<Vec<_>>();
    let mut kept = kept.lock().expect("whole");
    let told = refused(&mut kept, &headers).unwrap_or_else(|| searched(&kept, &query));
    tell(&mut kept, "/Patient", Vec::new(), query, &headers, told)
}

fn searched(kept: &Kept, query: &[(String, String)]) -> Told {
    let first = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if query.is_empty() {
        return outcome(StatusCode::BAD_REQUEST, "not-supported", "UNSUPPORTED_SERVICE");
    }
    if query.iter().any(|(name, _)| !SEARCHED_BY.contains(&name.as_str())) {
        return outcome(StatusCode::BAD_REQUEST, "structure", "ADDITIONAL_PROPERTIES");
    }
    if first("_max-results").is_some_and(|count| count != "1") {
        return outcome(StatusCode::FORBIDDEN, "forbidden", "INVALID_VALUE");
    }
    let (Some(family), Some(born)) = (first("family"), first("birthdate").and_then(|text| text.strip_prefix("eq")))
    else {
        return outcome(StatusCode::BAD_REQUEST, "required", "INVALID_SEARCH_DATA");
    };
    let (fuzzy, exact) = (first("_fuzzy-match") == Some("true"), first("_exact-match") == Some("true"));
    if fuzzy && first("given").is_none() {
        return outcome(StatusCode::BAD_REQUEST, "required", "INVALID_SEARCH_DATA");
    }
    let agrees = |ours: &Value, theirs: &str| {
        let ours = ours.as_str().unwrap_or_default();
        ours.eq_ignore_ascii_case(theirs) || fuzzy && soundex(ours) == soundex(theirs)
    };
    let postcode = |text: &str| text.replace(' ', "").to_ascii_uppercase();
    let fits = |person: &&Value| {
        let name = &person["name"][0];
        let by_home = first("address-postalcode");
        agrees(&name["family"], family)
            && first("given").is_none_or(|given| agrees(&name["given"][0], given))
            && person["birthDate"] == born
            && first("gender").is_none_or(|gender| person["gender"] == gender)
            && by_home.is_none_or(|code| {
                let ours = person["address"][0]["postalCode"].as_str().unwrap_or_default();
                postcode(ours) == postcode(code) && !is_restricted(person)
            })
    };
    let found: Vec<&Value> = kept.people.values().filter(fits).collect();
    if found.len() > 1 {
        return outcome(StatusCode::OK, "multiple-matches", "TOO_MANY_MATCHES");
    }
    let entry = |person: &&Value| {
        let mut resource = shown(person);
        let fields = resource.as_object_mut().expect("a Patient");
        // A search tells of death and of no pharmacy.
        fields.remove("extension");
        let url =
            format!("https://api.service.nhs.uk/personal-demographics/FHIR/R4/Patient/{}", person["id"].as_str()?);
        Some(json!({ "fullUrl": url, "search": { "score": if exact { 1.0 } else { 0.8 } }, "resource": resource }))
    };
    let entries: Vec<Value> = found.iter().filter_map(entry).collect();
    let bundle = json!({ "resourceType": "Bundle", "type": "searchset", "timestamp": "2026-11-28T12:00:00+00:00",
        "total": entries.len(), "entry": entries });
    (StatusCode::OK, None, bundle)
}

fn is_restricted(person: &Value) -> bool {
    person["meta"]["security"][0]["code"] == "R"
}

/// As it leaves PDS.
fn shown(person: &Value) -> Value {
    let mut told = person.clone();
    if is_restricted(person) {
        let fields = told.as_object_mut().expect("a Patient");
        fields.retain(|name, _| !WITHHELD.contains(&name.as_str()) && name != "extension");
    }
    told
}

/// Why a request is not looked at; what it lacks, or that PDS is busy.
fn refused(kept: &mut Kept, headers: &HeaderMap) -> Option<Told> {
    let id = headers.get("x-request-id").map(|value| value.to_str().unwrap_or_default());
    match id {
        None => return Some(outcome(StatusCode::BAD_REQUEST, "required", "MISSING_VALUE")),
        Some(id) if Uuid::parse_str(id).is_err() => {
            return Some(outcome(StatusCode::BAD_REQUEST, "value", "INVALID_VALUE"));
        }
        Some(_) => {}
    }
    let (status, seconds) = match kept.busy.pop_front()? {
        Busy::TooMany(seconds) => (StatusCode::TOO_MANY_REQUESTS, seconds),
        Busy::Unavailable(seconds) => (StatusCode::SERVICE_UNAVAILABLE, seconds),
    };
    let code = if status == StatusCode::TOO_MANY_REQUESTS { "TOO_MANY_REQUESTS" } else { "UNABLE_TO_CALL_SERVICE" };
    let (_, _, body) = outcome(status, "throttled", code);
    Some((status, Some(seconds), body))
}

fn outcome(status: StatusCode, issue: &str, code: &str) -> Told {
    let coding =
        json!({ "system": "https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode", "version": "1", "code": code });
    let issue = json!([{ "severity": "error", "code": issue, "details": { "coding": [coding] } }]);
    (status, None, json!({ "resourceType": "OperationOutcome", "issue": issue }))
}

fn tell(
    kept: &mut Kept,
    path: &'static str,
    in_path: Vec<(&'static str, String)>,
    query: Vec<(String, String)>,
    headers: &HeaderMap,
    (status, retry_after, body): Told,
) -> Response {
    let mut answered = HeaderMap::new();
    answered.insert(header::CONTENT_TYPE, "application/fhir+json".parse().expect("a value"));
    for name in ["x-request-id", "x-correlation-id"] {
        if let Some(value) = headers.get(name) {
            answered.insert(name, value.clone());
        }
    }
    if let Some(seconds) = retry_after {
        answered.insert(header::RETRY_AFTER, seconds.into());
    }
    let pairs = |headers: &HeaderMap| {
        let pair = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
        };
        headers.iter().map(pair).collect::<Vec<_>>()
    };
    kept.exchanges.push(Exchange {
        path,
        in_path,
        query,
        headers: pairs(headers),
        status: status.as_u16(),
        answered: pairs(&answered),
        body: body.clone(),
    });
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().extend(answered);
    response
}

/// American Soundex, by which PDS finds what sounds alike: the first letter and three digits.
fn soundex(name: &str) -> String {
    let digit = |letter: char| match letter.to_ascii_uppercase() {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        'H' | 'W' => '-',
        _ => '0',
    };
    let letters: Vec<char> = name.chars().filter(char::is_ascii_alphabetic).collect();
    let Some(first) = letters.first() else { return String::new() };
    let mut code = first.to_ascii_uppercase().to_string();
    let mut before = digit(*first);
    for letter in &letters[1..] {
        let this = digit(*letter);
        if this == '-' {
            continue;
        }
        if this != '0' && this != before {
            code.push(this);
        }
        before = this;
    }
    code.truncate(4);
    format!("{code:0<4}")
}
