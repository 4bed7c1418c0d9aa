//! Every route and outcome leaves exactly the audit events of a table, each as IHE BALP shapes it; and where nothing can
//! be audited, nothing about a person leaves.

use onward_connect::http::{HeaderMap, HeaderValue, Method};
use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord};
use onward_core::client::{Client, Role};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::{Clock as _, DeliveryId, SystemClock, TransferId};
use onward_gateway::registered;
use onward_gateway::verify::walk;
use onward_server::api::Access;
use onward_server::{app, in_force, store_keys};
use onward_tests::balp;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, load, post_xml};
use serde_json::Value;

use crate::page_audit;

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Hospital,
    OtherHospital,
    Home,
    OtherHome,
    Governance,
    Operator,
    Nobody,
}
use Caller::{Governance, Home, Hospital, Nobody, Operator, OtherHome, OtherHospital};

/// What is sent.
#[derive(Clone, Copy)]
enum Sent {
    /// Nothing.
    Empty,
    /// The discharge of the table's transfer.
    Discharge,
    /// The same with another byte.
    Altered,
    /// A message of a fixture, with identifiers of its own.
    Fresh(&'static str),
    /// This text as this media type.
    Text(&'static str, &'static str),
    /// The Task in this status, against this version.
    Task(&'static str, Option<&'static str>),
    /// A sign-in.
    SignIn,
    /// The same assertion once more.
    SignInAgain,
    /// What is no assertion.
    Forged,
}
use Sent::{Altered, Discharge, Empty, Forged, Fresh, SignIn, SignInAgain, Task, Text};

const PROCESS: &str = "/fhir/R4/$process-message";
const EXPLAIN: &str = "/fhir/R4/$explain";
const VALIDATE: &str = "/fhir/R4/Bundle/$validate";
const BUNDLE: &str = "/fhir/R4/Bundle/{id}";
const TASKS: &str = "/fhir/R4/Task";
const TASK_SEARCH: &str = "/fhir/R4/Task/_search";
const TASK: &str = "/fhir/R4/Task/{id}";
const AUDIT: &str = "/fhir/R4/AuditEvent";
const AUDIT_SEARCH: &str = "/fhir/R4/AuditEvent/_search";
const HOMES: &str = "/fhir/R4/HealthcareService";
const HOME: &str = "/fhir/R4/HealthcareService/{id}";
const PLACES: &str = "/fhir/R4/Location";
const PLACE: &str = "/fhir/R4/Location/{id}";
const SUBSCRIPTIONS: &str = "/fhir/R4/Subscription";
const SUBSCRIPTION: &str = "/fhir/R4/Subscription/{id}";
const TOKEN: &str = "/oauth2/token";

const XML: &str = "application/fhir+xml";
const JSON: &str = "application/fhir+json";
const OFF: &str = r#"{"resourceType":"Subscription","status":"off","reason":"a test","criteria":"Task",
    "channel":{"type":"rest-hook","endpoint":"https://127.0.0.1:9/hooks/x"}}"#;
const FORM: &str = "application/x-www-form-urlencoded";
const UNKNOWN: &str = "/3f2b0c9e-0000-4000-8000-000000000000";

const HOSPITAL_DENIED: &str = "110113 E8 - northmoor-epr>onward";
const STRANGER_DENIED: &str = "110113 E8 - southmoor-epr>onward";
const HOME_DENIED: &str = "110113 E8 - rowan-house>onward";
const OTHER_HOME_DENIED: &str = "110113 E8 - elm-court>onward";
const ACCEPTED: &str = "rest/create C0 PatientCreate northmoor-epr>onward patient";
const TRACED: &str = "rest/read R0 PatientRead onward>Personal Demographics Service patient";
const SHOWN: &str = "110106/disclose R0 PrivacyDisclosure.Source onward>northmoor-epr patient";
const WITHDRAWN: &str = "rest/update U0 PatientUpdate northmoor-epr>onward patient";
const TRIED: &str = "110100 E0 - northmoor-epr>onward";

/// Route, what stands after it (`{t}` the transfer, `{c}` the home's copy), method, caller, body, status, events.
type Row = (&'static str, &'static str, &'static str, Caller, Sent, u16, &'static [&'static str]);

/// In this order: later rows rest on what earlier ones did.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    (TOKEN, "", "POST", Hospital, SignIn, 200, &["110114/110122 E0 - northmoor-epr>onward"]),
    (TOKEN, "", "POST", Hospital, SignInAgain, 400, &["110113 E8 - unauthenticated>onward"]),
    (TOKEN, "", "POST", Nobody, Forged, 400, &["110113 E8 - unauthenticated>onward"]),
    (PROCESS, "", "POST", Hospital, Discharge, 200, &[ACCEPTED, TRACED]),
    // PDS is asked before it is known that the message came before.
    (PROCESS, "", "POST", Hospital, Discharge, 200, &[ACCEPTED, TRACED]),
    (PROCESS, "", "POST", Hospital, Altered, 409, &["110113 E8 - northmoor-epr>onward patient", TRACED]),
    (PROCESS, "", "POST", Hospital, Fresh(message::RESTRICTED_ITK3), 200,
        &[ACCEPTED, "rest/create C0 PatientCreate onward>onward patient", TRACED]),
    (PROCESS, "", "POST", Hospital, Fresh(message::REFUSED_ITK3), 422, &[HOSPITAL_DENIED]),
    (PROCESS, "", "POST", Hospital, Text(XML, "<Bundle"), 400, &[HOSPITAL_DENIED]),
    (PROCESS, "", "POST", Hospital, Text("text/plain", "hello"), 415, &[]),
    (PROCESS, "?response-url=x", "POST", Hospital, Empty, 400, &[]),
    (PROCESS, "", "POST", OtherHospital, Fresh(message::EDISCHARGE_ITK3), 403,
        &["110113 E8 - southmoor-epr>onward patient"]),
    (PROCESS, "", "POST", Home, Fresh(message::EDISCHARGE_ITK3), 403, &[HOME_DENIED]),
    // Nobody was known and nothing was touched: strangers cannot fill the log.
    (PROCESS, "", "POST", Nobody, Fresh(message::EDISCHARGE_ITK3), 401, &[]),
    (EXPLAIN, "", "POST", Hospital, Fresh(message::EDISCHARGE_ITK3), 200, &[TRIED, TRACED, SHOWN]),
    (EXPLAIN, "", "POST", Home, Fresh(message::EDISCHARGE_ITK3), 403, &[HOME_DENIED]),
    (VALIDATE, "", "POST", Hospital, Fresh(message::EDISCHARGE_ITK3), 200, &[TRIED]),
    (VALIDATE, "", "POST", Home, Fresh(message::EDISCHARGE_ITK3), 403, &[HOME_DENIED]),
    (TASK, "/{t}", "GET", Hospital, Empty, 200, &["rest/read R0 PatientRead northmoor-epr>onward patient"]),
    (TASK, "/{t}", "GET", Governance, Empty, 200, &["rest/read R0 PatientRead ig>onward patient"]),
    (TASK, "/{t}", "GET", OtherHospital, Empty, 404, &[STRANGER_DENIED]),
    (TASK, "/{c}", "GET", Home, Empty, 200, &["rest/read R0 PatientRead rowan-house>onward patient"]),
    (TASK, "/{c}", "GET", OtherHome, Empty, 404, &[OTHER_HOME_DENIED]),
    (TASK, UNKNOWN, "GET", Hospital, Empty, 404, &[]),
    (TASK, "/{t}", "GET", Nobody, Empty, 401, &[]),
    (TASKS, "?status=requested", "GET", Home, Empty, 200, &["rest/search E0 PatientQuery rowan-house>onward patient"]),
    (TASKS, "", "GET", OtherHome, Empty, 200, &["rest/search E0 Query elm-court>onward"]),
    (TASKS, "?unknown=1", "GET", Home, Empty, 400, &[]),
    (TASKS, "", "GET", Nobody, Empty, 401, &[]),
    (BUNDLE, "/{c}", "GET", Home, Empty, 200, &["rest/read R0 PatientRead rowan-house>onward patient"]),
    (BUNDLE, "/{c}", "GET", OtherHome, Empty, 404, &[OTHER_HOME_DENIED]),
    (BUNDLE, "/{c}", "GET", Hospital, Empty, 403, &[HOSPITAL_DENIED]),
    (BUNDLE, "/{c}", "GET", Operator, Empty, 403, &["110113 E8 - ops>onward"]),
    (BUNDLE, "/{c}", "HEAD", Home, Empty, 405, &[]),
    (BUNDLE, UNKNOWN, "GET", Home, Empty, 404, &[]),
    (BUNDLE, "/{c}", "GET", Nobody, Empty, 401, &[]),
    (TASK, "/{c}", "PUT", Home, Task("accepted", None), 428, &[]),
    (TASK, "/{c}", "PUT", Home, Task("accepted", Some("W/\"99\"")), 412, &[]),
    (TASK, "/{c}", "PUT", OtherHome, Task("accepted", Some("W/\"99\"")), 404, &[OTHER_HOME_DENIED]),
    (TASK, "/{c}", "PUT", Hospital, Task("accepted", Some("W/\"99\"")), 403, &[HOSPITAL_DENIED]),
    (TASK, "/{c}", "PUT", Home, Task("accepted", Some("{v}")), 200,
        &["rest/update U0 PatientUpdate rowan-house>onward patient"]),
    (AUDIT, "?_count=5", "GET", Governance, Empty, 200, &["rest/search E0 PatientQuery ig>onward patient"]),
    (AUDIT, "?date=lt2020", "GET", Governance, Empty, 200, &["rest/search E0 Query ig>onward"]),
    (AUDIT, "?unknown=1", "GET", Governance, Empty, 400, &[]),
    (AUDIT, "", "GET", Hospital, Empty, 403, &[HOSPITAL_DENIED]),
    (AUDIT, "", "GET", Home, Empty, 403, &[HOME_DENIED]),
    (AUDIT, "", "GET", Operator, Empty, 403, &["110113 E8 - ops>onward"]),
    (AUDIT, "", "GET", Nobody, Empty, 401, &[]),
    (AUDIT_SEARCH, "", "POST", Governance, Text(FORM, "type=110113&date=ge2020"), 200,
        &["rest/search E0 PatientQuery ig>onward patient"]),
    (AUDIT_SEARCH, "", "POST", Governance, Text("text/plain", "type=110113"), 415, &[]),
    (AUDIT_SEARCH, "", "POST", Operator, Text(FORM, ""), 403, &["110113 E8 - ops>onward"]),
    (AUDIT_SEARCH, "", "POST", Nobody, Text(FORM, ""), 401, &[]),
    (HOMES, "?characteristic=tracheostomy", "GET", Hospital, Empty, 200, &["rest/search E0 Query northmoor-epr>onward"]),
    (HOMES, "?unknown=1", "GET", Hospital, Empty, 400, &[]),
    (HOMES, "", "GET", Home, Empty, 403, &[HOME_DENIED]),
    (HOMES, "", "GET", Nobody, Empty, 401, &[]),
    (HOME, "/VMH01", "GET", Operator, Empty, 200, &["rest/search E0 Query ops>onward"]),
    (HOME, "/VMH09", "GET", Hospital, Empty, 404, &["rest/search E0 Query northmoor-epr>onward"]),
    (PLACES, "?address-city=Northmoor", "GET", Hospital, Empty, 200, &["rest/search E0 Query northmoor-epr>onward"]),
    (PLACE, "/VMH01", "GET", Hospital, Empty, 200, &["rest/search E0 Query northmoor-epr>onward"]),
    (PLACE, "/VMH01", "GET", Governance, Empty, 403, &["110113 E8 - ig>onward"]),
    (SUBSCRIPTIONS, "", "POST", Home, Text(JSON, OFF), 201, &["110100 E0 - rowan-house>onward"]),
    (SUBSCRIPTIONS, "", "POST", OtherHome, Text(JSON, OFF), 422, &[]),
    (SUBSCRIPTIONS, "", "POST", Home, Text(JSON, "{"), 400, &[]),
    (SUBSCRIPTIONS, "", "POST", Operator, Text(JSON, OFF), 403, &["110113 E8 - ops>onward"]),
    (SUBSCRIPTIONS, "", "POST", Nobody, Text(JSON, OFF), 401, &[]),
    (SUBSCRIPTIONS, "", "GET", Home, Empty, 200, &["rest/search E0 Query rowan-house>onward"]),
    (SUBSCRIPTIONS, "?unknown=1", "GET", Home, Empty, 400, &[]),
    (SUBSCRIPTION, "/{s}", "GET", Home, Empty, 200, &["rest/search E0 Query rowan-house>onward"]),
    (SUBSCRIPTION, "/{s}", "GET", OtherHome, Empty, 404, &[OTHER_HOME_DENIED]),
    (SUBSCRIPTION, UNKNOWN, "GET", Home, Empty, 404, &[]),
    (SUBSCRIPTION, "/{s}", "PUT", OtherHome, Text(JSON, OFF), 428, &[]),
    (SUBSCRIPTION, "/{s}", "DELETE", OtherHome, Empty, 404, &[OTHER_HOME_DENIED]),
    (SUBSCRIPTION, "/{s}", "DELETE", Home, Empty, 204, &["110100 E0 - rowan-house>onward"]),
    (SUBSCRIPTION, "/{s}", "DELETE", Home, Empty, 404, &[]),
    (SUBSCRIPTION, "/{s}", "DELETE", Nobody, Empty, 401, &[]),
    ("/sign-in/logout/{id}", "/none", "POST", Nobody, Text(FORM, ""), 404, &[]),
    (TASK, "/{t}", "PUT", OtherHospital, Task("cancelled", Some("W/\"99\"")), 404, &[STRANGER_DENIED]),
    (TASK, "/{t}", "PUT", Hospital, Task("cancelled", Some("W/\"99\"")), 412, &[]),
    // The transfer, and each of its five copies.
    (TASK, "/{t}", "PUT", Hospital, Task("cancelled", Some("{t}")), 200, &[WITHDRAWN; 6]),
    (BUNDLE, "/{c}", "GET", Home, Empty, 404, &[]),
    ("/fhir/R4/metadata", "", "GET", Nobody, Empty, 200, &[]),
    ("/.well-known/smart-configuration", "", "GET", Nobody, Empty, 200, &[]),
    ("/.well-known/jwks.json", "", "GET", Nobody, Empty, 200, &[]),
    ("/assets/{name}", "", "GET", Nobody, Empty, 404, &[]),
    ("/fhir/R4/Patient", "", "GET", Home, Empty, 404, &[]),
    (TASK_SEARCH, "", "POST", Home, Text(FORM, "status=requested"), 200,
        &["rest/search E0 PatientQuery rowan-house>onward patient"]),
    (TASK_SEARCH, "", "POST", OtherHome, Text("text/plain", "status=requested"), 415, &[]),
    (TASK_SEARCH, "", "POST", Nobody, Text(FORM, ""), 401, &[]),
    (TASKS, "", "DELETE", Home, Empty, 405, &[]),
];

/// Those who call, the transfer and the home's copy.
struct Scene {
    world: World,
    sessions: Vec<(Caller, Session)>,
    discharge: String,
    assertion: String,
    transfer: Option<TransferId>,
    copy: Option<DeliveryId>,
    subscription: Option<String>,
}

impl Scene {
    async fn start() -> Self {
        let world = World::start_with_hooks(9, &["VMH01"]).await;
        let sessions = vec![
            (Hospital, world.hospital().await),
            (OtherHospital, world.client("southmoor-epr", "R9Y", Role::Sender).await),
            (Home, world.care_home().await),
            (OtherHome, world.client("elm-court", "VMH02", Role::CareHome).await),
            (Governance, world.client("ig", "R9Z", Role::InformationGovernance).await),
            (Operator, world.client("ops", "Y99900", Role::Operator).await),
        ];
        let assertion = sessions[0].1.assertion().expect("signed");
        let discharge = fresh(message::EDISCHARGE_ITK3);
        Self { world, sessions, discharge, assertion, transfer: None, copy: None, subscription: None }
    }

    fn session(&self, caller: Caller) -> Option<&Session> {
        self.sessions.iter().find(|(who, _)| *who == caller).map(|(_, session)| session)
    }

    async fn body(&self, sent: Sent) -> (&'static str, Option<String>, String) {
        let form = |assertion: &str| {
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .append_pair("client_assertion", assertion)
                .finish()
        };
        match sent {
            Empty => ("application/fhir+json", None, String::new()),
            Discharge => (XML, None, self.discharge.clone()),
            Altered => (XML, None, format!("{}\n", self.discharge)),
            Fresh(text) => (XML, None, fresh(text)),
            Text(kind, text) => (kind, None, text.to_owned()),
            Task(status, tag) => {
                let tag = match tag {
                    Some("{v}") => Some(format!("W/\"{}\"", self.record().await.1)),
                    Some("{t}") => {
                        let gateway = self.world.gateway();
                        let id = self.transfer.expect("the discharge was accepted");
                        let transfer = gateway.store().transfer(id).await.expect("readable").expect("there");
                        Some(format!("W/\"{}\"", gateway.transfer_version(&transfer)))
                    }
                    tag => tag.map(str::to_owned),
                };
                let why = match status {
                    "cancelled" => r#","statusReason":{"text":"wrong ward"}"#,
                    _ => "",
                };
                let task = format!(r#"{{"resourceType":"Task","status":"{status}","intent":"order"{why}}}"#);
                ("application/fhir+json", tag, task)
            }
            SignIn | SignInAgain => (FORM, None, form(&self.assertion)),
            Forged => (FORM, None, form("none")),
        }
    }

    /// State and version of the home's copy.
    async fn record(&self) -> (DeliveryState, u64) {
        let copy = self.copy.expect("the discharge was accepted");
        let record = self.world.gateway().store().delivery(copy).await.expect("readable").expect("there");
        (record.state, record.version)
    }

    /// Sends one row's request; status and body.
    async fn send(&self, row: &Row, request_id: &str) -> (u16, Vec<u8>) {
        let (route, rest, method, caller, sent, ..) = *row;
        let id = |id: Option<String>| id.unwrap_or_default();
        let rest = rest
            .replace("{t}", &id(self.transfer.map(|id| id.to_string())))
            .replace("{c}", &id(self.copy.map(|id| id.to_string())))
            .replace("{s}", &id(self.subscription.clone()));
        let path = format!("{}{rest}", route.trim_end_matches("/{id}").trim_start_matches('/'));
        let method: Method = method.parse().expect("a method");
        let (kind, tag, body) = self.body(sent).await;
        let mut headers = vec![("content-type", kind), ("x-request-id", request_id)];
        if let Some(tag) = &tag {
            headers.push(("if-match", tag));
        }
        if let (Some(session), false) = (self.session(caller), route == TOKEN) {
            let reply = session.call(method, &path, &headers, body).await.expect("an answer");
            return (reply.status.as_u16(), reply.body.to_vec());
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let url = self.world.base().join(&path).expect("a URL");
        let answer = self.world.http().send(method, url, map, body).await.expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
    }

    async fn events(&self) -> Vec<Value> {
        let entries = self.world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
        entries.iter().map(|entry| serde_json::from_slice(entry.event().expect("kept")).expect("JSON")).collect()
    }

    /// Remembers transfer and copy of an accepted discharge, once the copy lies in the home's inbox.
    async fn remember(&mut self, response: &[u8]) {
        let response: Value = serde_json::from_slice(response).expect("JSON");
        let task = response["entry"].as_array().into_iter().flatten().find(|e| e["resource"]["resourceType"] == "Task");
        let id: TransferId =
            task.and_then(|task| task["resource"]["id"].as_str()).expect("a Task").parse().expect("an id");
        let record = self.world.gateway().store().transfer(id).await.expect("readable").expect("there");
        let copy = record.deliveries.iter().find(|copy| copy.kind.as_str() == "care-home").expect("a copy");
        (self.transfer, self.copy) = (Some(id), Some(copy.id));
        while self.record().await.0 == DeliveryState::Queued {
            tokio::task::yield_now().await;
        }
    }
}

/// An event in the table's words.
pub(crate) fn told(event: &Value, observer: &str) -> String {
    let name = |at: usize| match event["agent"][at]["name"].as_str() {
        Some(name) if name == observer => "onward".to_owned(),
        name => name.unwrap_or("?").to_owned(),
    };
    let subtype = event["subtype"][0]["code"].as_str().map(|code| format!("/{code}")).unwrap_or_default();
    let about = event["entity"].as_array().into_iter().flatten().any(|entity| entity["role"]["code"] == "1");
    format!(
        "{}{subtype} {}{} {} {}>{}{}",
        event["type"]["code"].as_str().unwrap_or("?"),
        event["action"].as_str().unwrap_or("?"),
        event["outcome"].as_str().unwrap_or("?"),
        balp::profile(event).unwrap_or("-"),
        name(0),
        name(1),
        if about { " patient" } else { "" }
    )
}

pub(crate) fn of_request(event: &Value, request_id: &str) -> bool {
    let mut entities = event["entity"].as_array().into_iter().flatten();
    entities.any(|entity| entity["type"]["code"] == "XrequestId" && entity["what"]["identifier"]["value"] == request_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_outcome_leaves_exactly_its_events() {
    let mut scene = Scene::start().await;
    let observer = scene.world.gateway().settings().base_url.clone();
    let mut differing = Vec::new();
    for (number, row) in TABLE.iter().enumerate() {
        let (route, rest, method, _, sent, status, expected) = *row;
        let request_id = format!("row-{number}");
        let name = format!("{number}: {method} {route}{rest}");
        let (answered, body) = scene.send(row, &request_id).await;
        if answered != status {
            differing.push(format!("{name}: status {answered}, not {status}"));
        }
        if matches!(sent, Discharge) && scene.transfer.is_none() {
            scene.remember(&body).await;
        }
        if status == 201 {
            let made: Value = serde_json::from_slice(&body).expect("JSON");
            scene.subscription = made["id"].as_str().map(str::to_owned);
        }
        let log = scene.events().await;
        let mut found: Vec<String> =
            log.iter().filter(|event| of_request(event, &request_id)).map(|event| told(event, &observer)).collect();
        let mut expected: Vec<String> = expected.iter().map(|&event| event.to_owned()).collect();
        found.sort();
        expected.sort();
        if found != expected {
            differing.push(format!("{name}: {found:#?}, not {expected:#?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    for event in scene.events().await {
        let problems = balp::problems(&event);
        assert!(problems.is_empty(), "{problems:?} in {event:#}");
    }
}

#[test]
fn no_route_is_missing_from_the_table() {
    for route in onward_server::api::routes() {
        let in_table = match route.access {
            Access::Open | Access::Function(_) => TABLE.iter().any(|row| (row.0, row.2) == (route.path, route.method)),
            Access::Visitor | Access::SignedIn | Access::Page(_) | Access::Fresh(_) => {
                page_audit::has_row(route.method, route.path)
            }
        };
        assert!(in_table, "{} {} has no row", route.method, route.path);
    }
}

/// Breaks the audit log of a running gateway, in its own database: every insert into it fails, and with it the
/// transaction.
pub(crate) fn refuse_audit(world: &World, refuse: bool) {
    let sql = if refuse {
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'no audit'); END"
    } else {
        "DROP TRIGGER no_audit"
    };
    world.tamper(sql);
}

/// From which address a request came is told by the entries of what it did, not only by those of what the listener refused.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_requests_tell_the_address_that_asked() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    onward_tests::world::accepted(&hospital, onward_tests::message::fresh(onward_tests::message::EDISCHARGE_ITK3))
        .await;
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let events: Vec<Value> = entries.iter().filter_map(|entry| serde_json::from_slice(entry.event()?).ok()).collect();
    for word in ["sign-in: ", "accept: "] {
        let said = |event: &&Value| event["outcomeDesc"].as_str().is_some_and(|said| said.starts_with(word));
        let agents = events.iter().filter(said).flat_map(|event| event["agent"].as_array().expect("agents"));
        let mut networks = agents.map(|agent| &agent["network"]);
        let expected = serde_json::json!({ "address": "127.0.0.1", "type": "2" });
        assert!(networks.any(|network| *network == expected), "{word}");
    }
}

/// What a start puts in force is told once, and again when it is something else; which part, never with which value.
#[tokio::test]
async fn a_start_with_another_configuration_is_told() {
    let mut world = World::start().await;
    assert_eq!(starts(&world).await.len(), 1);
    world.restart().await;
    assert_eq!(starts(&world).await.len(), 1, "the same again");
    let first = in_force::parts(&load(&world.config_file)).expect("readable");
    // Policies with a comment more, one of them with an element more; and one setting.
    let policies = world.folder().join("disclosure");
    std::fs::create_dir(&policies).expect("a folder");
    for (kind, _, text) in app::policy_texts(&load(&world.config_file)).expect("readable") {
        let text = match kind.as_str() {
            "pharmacy-nomination" => text.replace("\"birthDate\"", "\"birthDate\", \"address\""),
            _ => format!("# A comment more.\n{text}"),
        };
        std::fs::write(policies.join(format!("{kind}.toml")), text).expect("written");
    }
    let mut text = std::fs::read_to_string(&world.config_file).expect("readable");
    text.push_str("\n[disclosure]\nfolder = \"disclosure\"\n[retention]\nalerts_days = 4321\n");
    std::fs::write(&world.config_file, text).expect("written");
    world.restart().await;
    let second = in_force::parts(&load(&world.config_file)).expect("readable");
    let told = starts(&world).await;
    assert_eq!(told.len(), 2, "{told:?}");
    let (changes, rest) = told[1].split_once("; policies: ").expect("said");
    let of = |part: &str| format!("{part} changed ({} to {})", first[part], second[part]);
    let expected = ["policy pharmacy-nomination", "section disclosure", "section retention"].map(of).join(", ");
    assert!(changes.ends_with(&format!(": {expected}")), "{changes}");
    let (named, all) = rest.split_once("; in force: ").expect("said");
    assert!(!changes.contains("4321") && !all.contains("4321"), "no value: {}", told[1]);

    // The policies of both starts are kept, each once however many comments it gets.
    let kept = world.gateway().store().policies_in_force().await.expect("readable");
    let of = |kind: RecipientKind| kept.iter().filter(|policy| policy.kind == kind).collect::<Vec<_>>();
    let nomination = of(RecipientKind::PharmacyNomination);
    assert_eq!((nomination.len(), of(RecipientKind::CareHome).len()), (2, 1));
    assert!(
        !nomination[0].text.contains("\"birthDate\", \"address\"")
            && nomination[1].text.contains("\"birthDate\", \"address\"")
    );
    // The entry names those in force: for whom, which version, since when, and the digest of the text.
    let versions = app::load_policies(&load(&world.config_file)).expect("readable");
    let in_force = kept.iter().filter(|policy| *policy != nomination[0]);
    let mut expected: Vec<String> = in_force
        .map(|policy| {
            let sha256 = onward_server::listener::sha256_hex(policy.text.as_bytes());
            format!("{} {} {} {sha256}", policy.kind, versions[&policy.kind].version, policy.since)
        })
        .collect();
    expected.sort();
    let mut named: Vec<&str> = named.split(", ").collect();
    named.sort_unstable();
    assert_eq!(named, expected);

    // Each node is held against its own last start, a new one against that of any node.
    let policies = in_force::policies(&load(&world.config_file)).expect("readable");
    for (node, parts, is_told) in [
        ("two", &second, false),
        ("two", &first, true),
        ("two", &first, false),
        ("two", &second, true),
        ("three", &first, true),
    ] {
        assert_eq!(in_force::note(world.gateway(), node, parts, &policies).await, Ok(is_told), "{node}");
    }
    world.restart().await;
    assert_eq!(starts(&world).await.len(), 5, "this node has what it had");
}

/// A file of keys changes without the store: by hand, or before there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_which_keys_are_others_than_before() {
    let mut world = World::start().await;
    let before = in_force::parts(&load(&world.config_file)).expect("readable");
    let key = store_keys::add_key(&world.folder().join("store.key"), SystemClock.now()).expect("made");
    let hook = world.folder().join("hook.key");
    std::fs::write(&hook, onward_connect::webhook::new_key().expect("randomness").expose()).expect("written");
    let mut text = std::fs::read_to_string(&world.config_file).expect("readable");
    text.push_str("\n[[delivery.push]]\nhost = \"home.example\"\nsigning_key_files = [\"hook.key\"]\n");
    std::fs::write(&world.config_file, text).expect("written");
    world.restart().await;
    let newest = starts(&world).await.pop().expect("told");
    let changes = newest.split_once("; policies: ").expect("said").0;
    assert!(
        changes.contains(&format!("key of the store changed ({} to {key})", before["key of the store"])),
        "{changes}"
    );
    assert!(changes.contains("keys of posts is new (") && !changes.contains("keys of the log"), "{changes}");

    std::fs::write(&hook, onward_connect::webhook::new_key().expect("randomness").expose()).expect("written");
    world.restart().await;
    let newest = starts(&world).await.pop().expect("told");
    let changes = newest.split_once("; policies: ").expect("said").0;
    assert!(changes.contains(": keys of posts changed (") && !changes.contains("section"), "{changes}");

    // While nothing runs: an exchange under way is told by itself.
    world.stop().await;
    world.renew_certificate();
    world.restart().await;
    let newest = starts(&world).await.pop().expect("told");
    let changes = newest.split_once("; policies: ").expect("said").0;
    assert!(changes.ends_with(')') && changes.contains(": certificate of the server changed ("), "{changes}");
    assert!(!changes.contains("keys of posts") && !changes.contains("section"), "{changes}");
}

/// Who writes a registration into the database changes it without a command.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_no_command_left_is_told() {
    let mut world = World::start().await;
    world.signer("northmoor-epr", "R9Z", Role::Sender, None).await;
    world.restart().await;
    assert!(starts(&world).await.pop().expect("told").contains(": clients changed ("), "a command did");
    let misfit = async |world: &World| {
        let walked = walk(world.gateway().store().as_ref(), Vec::new(), |_| ()).await.expect("readable");
        walked.err().map(|misfit| misfit.why).unwrap_or_default()
    };
    let put = async |world: &World, client: Client| {
        world.gateway().store().put_client(client, Vec::new()).await.expect("stored");
    };
    assert_eq!(misfit(&world).await, "");
    let client = world.gateway().store().client("northmoor-epr").await.expect("readable").expect("registered");
    let raised = Client { role: Role::Operator, ..client.clone() };
    // Who plants a client also says whose it is.
    let planted = Client { id: "planted".to_owned(), ods: "ZZZ99".parse().expect("a code"), ..client.clone() };
    for (number, (strange, expected)) in (1..).zip([
        (raised.clone(), "the registration of client northmoor-epr ("),
        (planted.clone(), "the registration of client planted ("),
    ]) {
        put(&world, strange).await;
        let why = misfit(&world).await;
        assert!(why.contains(expected), "{why}");
        for _ in 0..2 {
            world.restart().await;
            let alarms = said(&world, "alarm: the registration ").await;
            assert!(alarms.len() == number && alarms[number - 1].contains(expected), "told once: {alarms:?}");
            assert_eq!(said(&world, OVER).await.len(), number - 1, "what was before is over");
        }
        assert!(starts(&world).await.pop().expect("told").contains(": clients changed ("), "by the next start");
        put(&world, client.clone()).await;
    }
    // Whoever finds such a client ends it by a command.
    let ended = Client { disabled: true, ..planted };
    let (agent, did) = (Agent::named(Agent::OPERATOR, None), registered::told(&ended, "disabled"));
    let row = AuditEntry::new(AuditWord::Configure, SystemClock.now(), agent, did);
    let store = world.gateway().store();
    store.put_client(ended, vec![world.gateway().journal().row(&row)]).await.expect("stored");
    assert_eq!(misfit(&world).await, "");

    // The same as at first, put there again, is another event.
    world.restart().await;
    put(&world, raised).await;
    world.restart().await;
    let alarms = said(&world, "alarm: the registration ").await;
    assert_eq!((alarms.len(), said(&world, OVER).await.len()), (3, 2), "{alarms:?}");
    assert_eq!(alarms[2], alarms[0]);
    // The leads of the client's organisation find them, as the API asks for it, and those of the gateway's own all of them.
    for (code, expected) in [("R9Z", 3), ("ZZZ99", 2), ("Y99900", 5), ("R9Y", 0)] {
        let lead = Client { ods: code.parse().expect("a code"), role: Role::InformationGovernance, ..client.clone() };
        let query = AuditQuery { words: vec![AuditWord::Alarm], limit: 100, ..AuditQuery::default() };
        let page = world.gateway().search_audit(&lead, query, None, "AuditEvent?type=110100", None).await;
        assert_eq!(page.expect("audited").entries.len(), expected, "{code}");
    }
    put(&world, client).await;
    assert_eq!(misfit(&world).await, "", "they are filed where they belong");
}

/// How an entry begins that tells that what an alarm told is over.
const OVER: &str = "alarm: no longer so: ";

/// What the entries of starts say, the oldest first.
async fn starts(world: &World) -> Vec<String> {
    said(world, "configure: start of node ").await
}

/// What entries say that begin so, the oldest first; what is said in one moment under several organisations, once.
async fn said(world: &World, begins: &str) -> Vec<String> {
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let events = entries.iter().filter_map(|entry| serde_json::from_slice::<Value>(entry.event()?).ok());
    let text = |of: &Value| of.as_str().map(str::to_owned);
    let told = events.filter_map(|event| Some((text(&event["recorded"])?, text(&event["outcomeDesc"])?)));
    let mut told: Vec<(String, String)> = told.filter(|(_, said)| said.starts_with(begins)).collect();
    told.dedup();
    told.into_iter().map(|(_, said)| said).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_040_no_audit_no_bytes() {
    let mut scene = Scene::start().await;
    let (status, _, reply) = post_xml(scene.session(Hospital).expect("there"), scene.discharge.clone()).await;
    assert_eq!(status, 200);
    scene.remember(&reply.body).await;
    // Everybody signs in while that can be audited.
    for (_, session) in &scene.sessions {
        session.get("fhir/R4/Task?status=requested").await.expect("an answer");
    }
    let store = scene.world.gateway().store();
    let transfer = store.transfer(scene.transfer.expect("accepted")).await.expect("readable").expect("there");
    let patient = transfer.patient.expect("traced").expose().to_owned();
    let before = (scene.record().await, scene.events().await.len());

    refuse_audit(&scene.world, true);
    let new = fresh(message::EDISCHARGE_ITK3);
    let text: &'static str = Box::leak(new.into_boxed_str());
    let rows: &[Row] = &[
        (BUNDLE, "/{c}", "GET", Home, Empty, 503, &[]),
        (BUNDLE, "/{c}", "GET", OtherHome, Empty, 503, &[]),
        (TASK, "/{c}", "GET", Home, Empty, 503, &[]),
        (TASK, "/{t}", "GET", Hospital, Empty, 503, &[]),
        (TASKS, "", "GET", Home, Empty, 503, &[]),
        (TASK, "/{c}", "PUT", Home, Task("accepted", Some("{v}")), 503, &[]),
        (AUDIT, "", "GET", Governance, Empty, 503, &[]),
        (AUDIT_SEARCH, "", "POST", Governance, Text(FORM, "type=rest"), 503, &[]),
        (AUDIT, "", "GET", Home, Empty, 503, &[]),
        (PROCESS, "", "POST", Hospital, Text(XML, text), 503, &[]),
        (PROCESS, "", "POST", Hospital, Fresh(message::REFUSED_ITK3), 503, &[]),
        (EXPLAIN, "", "POST", Hospital, Fresh(message::EDISCHARGE_ITK3), 503, &[]),
        (VALIDATE, "", "POST", Hospital, Fresh(message::EDISCHARGE_ITK3), 503, &[]),
        (TOKEN, "", "POST", Hospital, SignIn, 503, &[]),
        (TOKEN, "", "POST", Nobody, Forged, 503, &[]),
    ];
    for row in rows {
        let (status, body) = scene.send(row, "no-audit").await;
        assert_eq!(status, 503, "{} {}", row.2, row.0);
        let body = String::from_utf8_lossy(&body);
        for canary in [patient.as_str(), "AuditEvent", "access_token", "Composition", "\"Patient\""] {
            assert!(!body.contains(canary), "{} {}: {canary}", row.2, row.0);
        }
    }
    assert_eq!((scene.record().await, scene.events().await.len()), before, "nothing moved and nothing was opened");

    refuse_audit(&scene.world, false);
    let (status, body) = scene.send(&rows[0], "audit").await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("Composition"), "the canary sings when it may");
    let (status, _) = scene.send(&rows[9], "audit").await;
    assert_eq!(status, 200, "what was refused meanwhile left no trace that would make it a repeat");
}
