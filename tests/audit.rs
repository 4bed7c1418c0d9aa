//! Every route and outcome leaves exactly the audit events of a table, each as IHE BALP shapes it; and where nothing can
//! be audited, nothing about a person leaves.

mod scene;

use onward_server::api::Access;
use onward_tests::balp;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

use self::scene::Scene;
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
