//! Whose it is, and who may (trust.md §8).

mod matrix;

use onward_connect::http::{HeaderMap, Method};
use onward_core::audit::Agent;
use onward_core::client::Role;
use onward_core::people;
use onward_gateway::lifecycle::TakenBack;
use onward_server::api::Access;
use onward_server::auth::table::{may, person_may};
use onward_tests::browser::{self, Browser};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

/// What a recipient would send to accept.
const ACCEPTED: &str = r#"{"resourceType":"Task","status":"accepted","intent":"order"}"#;

/// What a sender would send to withdraw.
const CANCELLED: &str =
    r#"{"resourceType":"Task","status":"cancelled","intent":"order","statusReason":{"text":"wrong ward"}}"#;

/// A subscription that calls nobody.
const SUBSCRIPTION: &str = r#"{"resourceType":"Subscription","status":"off","reason":"a test","criteria":"Task",
    "channel":{"type":"rest-hook","endpoint":"https://127.0.0.1:9/hooks/x"}}"#;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    /// A message of the hospital.
    OwnMessage,
    /// A message that names another hospital as its sender.
    ForeignMessage,
    /// A form without a person.
    Form,
    /// Nothing in particular.
    None,
    /// The hospital's transfer.
    OwnTransfer,
    /// The hospital's transfer, to be taken back.
    WithdrawnTransfer,
    /// Another hospital's transfer.
    ForeignTransfer,
    /// The copy that is addressed to the caller; for those who receive nothing, the care home's.
    OwnCopy,
    /// A copy that is addressed to none of the callers.
    ForeignCopy,
    /// The copy that was addressed to the caller, and recalled; for those who receive nothing, the care home's.
    RecalledCopy,
    /// A hold of the hospital's transfer.
    Hold,
    /// A home's entry of the directory.
    Home,
    /// A subscription to be made.
    NewSubscription,
    /// The caller's own subscription; for those who may have none, the care home's.
    OwnSubscription,
    /// Another client's subscription.
    ForeignSubscription,
    /// No such thing.
    Missing,
}

/// One row of the matrix: statuses of sender, care home, practice, pharmacy, information governance, operator.
type Row = (&'static str, &'static str, &'static str, Object, [u16; 6]);

/// trust.md §8 for the roles and functions that exist; `tests/matrix.csv` says of each of its cells which row shows it, and why where the
/// answer differs.
const MATRIX: &[Row] = &[
    ("submit", "POST", "/fhir/R4/$process-message", Object::OwnMessage, [200, 403, 403, 403, 403, 403]),
    ("submit for another", "POST", "/fhir/R4/$process-message", Object::ForeignMessage, [403, 403, 403, 403, 403, 403]),
    ("dry run", "POST", "/fhir/R4/$explain", Object::OwnMessage, [200, 403, 403, 403, 403, 200]),
    ("validate", "POST", "/fhir/R4/Bundle/$validate", Object::OwnMessage, [200, 403, 403, 403, 403, 200]),
    ("status of own submission", "GET", "/fhir/R4/Task/{id}", Object::OwnTransfer, [200, 404, 404, 404, 200, 200]),
    ("status of another's", "GET", "/fhir/R4/Task/{id}", Object::ForeignTransfer, [404, 404, 404, 404, 404, 200]),
    ("status of nothing", "GET", "/fhir/R4/Task/{id}", Object::Missing, [404, 404, 404, 404, 404, 404]),
    // A sender lists its own submissions (interface.md), the inbox is its recipients'; IG leads and operators have neither.
    ("list", "GET", "/fhir/R4/Task", Object::None, [200, 200, 200, 200, 403, 403]),
    ("list by form", "POST", "/fhir/R4/Task/_search", Object::Form, [200, 200, 200, 200, 403, 403]),
    ("Task of a copy", "GET", "/fhir/R4/Task/{id}", Object::OwnCopy, [200, 200, 200, 200, 200, 200]),
    ("Task of another's copy", "GET", "/fhir/R4/Task/{id}", Object::ForeignCopy, [404, 404, 404, 404, 404, 200]),
    ("read", "GET", "/fhir/R4/Bundle/{id}", Object::OwnCopy, [403, 200, 200, 200, 403, 403]),
    ("read another's", "GET", "/fhir/R4/Bundle/{id}", Object::ForeignCopy, [403, 404, 404, 404, 403, 403]),
    // trust.md §8 "Read after entitlement ended or re-nomination".
    ("read after its recall", "GET", "/fhir/R4/Bundle/{id}", Object::RecalledCopy, [403, 404, 404, 404, 403, 403]),
    ("read nothing", "GET", "/fhir/R4/Bundle/{id}", Object::Missing, [403, 404, 404, 404, 403, 403]),
    ("withdraw another's", "PUT", "/fhir/R4/Task/{id}", Object::ForeignTransfer, [404, 404, 404, 404, 403, 403]),
    ("acknowledge another's", "PUT", "/fhir/R4/Task/{id}", Object::ForeignCopy, [404, 404, 404, 404, 403, 403]),
    ("acknowledge", "PUT", "/fhir/R4/Task/{id}", Object::OwnCopy, [403, 200, 200, 200, 403, 403]),
    // trust.md §8 "Withdraw/replace own"; to a recipient there is no such Task.
    ("withdraw", "PUT", "/fhir/R4/Task/{id}", Object::WithdrawnTransfer, [200, 404, 404, 404, 403, 403]),
    ("audit search", "GET", "/fhir/R4/AuditEvent", Object::None, [403, 403, 403, 403, 200, 403]),
    ("homes", "GET", "/fhir/R4/HealthcareService", Object::None, [200, 403, 403, 403, 403, 200]),
    ("a home", "GET", "/fhir/R4/HealthcareService/{id}", Object::Home, [200, 403, 403, 403, 403, 200]),
    ("no home", "GET", "/fhir/R4/HealthcareService/{id}", Object::Missing, [404, 403, 403, 403, 403, 404]),
    ("places of homes", "GET", "/fhir/R4/Location", Object::None, [200, 403, 403, 403, 403, 200]),
    ("place of a home", "GET", "/fhir/R4/Location/{id}", Object::Home, [200, 403, 403, 403, 403, 200]),
    ("subscribe", "POST", "/fhir/R4/Subscription", Object::NewSubscription, [201, 201, 201, 201, 403, 403]),
    ("subscriptions", "GET", "/fhir/R4/Subscription", Object::None, [200, 200, 200, 200, 403, 403]),
    ("subscription", "GET", "/fhir/R4/Subscription/{id}", Object::OwnSubscription, [200, 200, 200, 200, 403, 403]),
    ("another's", "GET", "/fhir/R4/Subscription/{id}", Object::ForeignSubscription, [404, 404, 404, 404, 403, 403]),
    ("change", "PUT", "/fhir/R4/Subscription/{id}", Object::OwnSubscription, [200, 200, 200, 200, 403, 403]),
    (
        "change another's",
        "PUT",
        "/fhir/R4/Subscription/{id}",
        Object::ForeignSubscription,
        [404, 404, 404, 404, 403, 403],
    ),
    (
        "end another's",
        "DELETE",
        "/fhir/R4/Subscription/{id}",
        Object::ForeignSubscription,
        [404, 404, 404, 404, 403, 403],
    ),
    ("end", "DELETE", "/fhir/R4/Subscription/{id}", Object::OwnSubscription, [204, 204, 204, 204, 403, 403]),
    ("audit search by form", "POST", "/fhir/R4/AuditEvent/_search", Object::Form, [403, 403, 403, 403, 200, 403]),
];

/// The clients of the matrix, in its order, with the copy that is theirs.
struct Callers {
    clients: Vec<(Session, String)>,
    own: String,
    foreign: String,
    foreign_copy: String,
    /// One for each client, in their order.
    recalled: Vec<String>,
    hold: String,
    /// One of each client, in their order; then that of another client.
    subscriptions: Vec<String>,
}

impl Callers {
    async fn in_world(world: &World) -> Self {
        let hospital = world.hospital().await;
        let other = world.client("southmoor-epr", "R9Y", Role::Sender).await;
        let own = submitted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
        let foreign = submitted(&other, for_others(&fresh(message::EDISCHARGE_ITK3))).await;
        let held = submitted(&hospital, fresh(message::RESTRICTED_ITK3)).await.parse().expect("an id");
        let held = world.gateway().store().transfer(held).await.expect("readable").expect("there");
        let hold = held.hold.expect("held").id.to_string();
        let copy = async |transfer: &str, kind: &str| delivered(world, transfer, kind).await;
        let for_home = copy(&own, "care-home").await;
        let foreign_copy = copy(&foreign, "care-home").await;
        let other_own = submitted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
        let mut recalled = Vec::new();
        for kind in ["care-home", "care-home", "covering-practice", "pharmacy-referral", "care-home", "care-home"] {
            recalled.push(copy(&other_own, kind).await);
        }
        recall(world, &other_own).await;
        let practice = world.client("beck-lane", "Y99001", Role::Practice).await;
        let pharmacy = world.client("station-road", "FZZ01", Role::Pharmacy).await;
        let clients = vec![
            (hospital, for_home.clone()),
            (world.care_home().await, for_home.clone()),
            (practice, copy(&own, "covering-practice").await),
            (pharmacy, copy(&own, "pharmacy-referral").await),
            (world.client("ig", "R9Z", Role::InformationGovernance).await, for_home.clone()),
            (world.client("ops", "Y99900", Role::Operator).await, for_home),
        ];
        let sessions =
            [&clients[0].0, &clients[1].0, &clients[2].0, &clients[3].0, &clients[1].0, &clients[1].0, &other];
        let mut subscriptions = Vec::new();
        for session in sessions {
            subscriptions.push(subscribed(session).await);
        }
        Self { clients, own, foreign, foreign_copy, recalled, hold, subscriptions }
    }

    /// Path and body of a row for a caller.
    fn request(&self, path: &str, object: Object, at: usize) -> (String, String) {
        let id = match object {
            Object::OwnTransfer | Object::WithdrawnTransfer => self.own.as_str(),
            Object::ForeignTransfer => self.foreign.as_str(),
            Object::OwnCopy => self.clients[at].1.as_str(),
            Object::ForeignCopy => self.foreign_copy.as_str(),
            Object::RecalledCopy => self.recalled[at].as_str(),
            Object::Hold => self.hold.as_str(),
            Object::Home => "VMH01",
            Object::OwnSubscription => self.subscriptions[at].as_str(),
            Object::ForeignSubscription => self.subscriptions.last().expect("another's").as_str(),
            Object::OwnMessage
            | Object::ForeignMessage
            | Object::NewSubscription
            | Object::None
            | Object::Missing
            | Object::Form => "3f2b0c9e-0000-4000-8000-000000000000",
        };
        let body = match object {
            Object::OwnMessage => fresh(message::EDISCHARGE_ITK3),
            Object::ForeignMessage => for_others(&fresh(message::EDISCHARGE_ITK3)),
            Object::Form => "_count=1".to_owned(),
            Object::WithdrawnTransfer => CANCELLED.to_owned(),
            Object::NewSubscription | Object::OwnSubscription | Object::ForeignSubscription => SUBSCRIPTION.to_owned(),
            _ => ACCEPTED.to_owned(),
        };
        (path.replace("{id}", id).replace("{number}", "1").trim_start_matches('/').to_owned(), body)
    }
}

/// Takes all copies of a transfer back: they went to whom they are not for.
async fn recall(world: &World, transfer: &str) {
    let back =
        TakenBack { agent: Agent::named("ops", None), by: Some("Ada"), reason: "wrong places", request_id: None };
    let transfer = transfer.parse().expect("an id");
    let recalled = world.gateway().recall(transfer, None, &back, true).await.expect("committed");
    assert!(recalled.len() >= 4, "every copy: {}", recalled.len());
}

/// Makes a subscription that calls nobody.
async fn subscribed(session: &Session) -> String {
    let headers = [("content-type", "application/fhir+json")];
    let reply = session.call(Method::POST, "fhir/R4/Subscription", &headers, SUBSCRIPTION).await.expect("an answer");
    assert_eq!(reply.status, 201);
    reply.json().expect("JSON")["id"].as_str().expect("an id").to_owned()
}

/// A world in which all who may subscribe have an address.
async fn world() -> World {
    World::start_with_hooks(9, &["R9Z", "R9Y", "VMH01", "Y99001", "FZZ01"]).await
}

/// A message of the other hospital, for the other home.
fn for_others(message: &str) -> String {
    message.replace("\"R9Z\"", "\"R9Y\"").replace("\"VMH01\"", "\"VMH02\"")
}

async fn submitted(session: &Session, message: String) -> String {
    let (status, response, reply) = post_xml(session, message).await;
    assert_eq!(status, 200, "{response}");
    let location = reply.headers["location"].to_str().expect("text");
    location.rsplit('/').next().expect("an id").to_owned()
}

/// The copy of this kind, once it can be read.
async fn delivered(world: &World, transfer: &str, kind: &str) -> String {
    let store = world.gateway().store();
    loop {
        let record = store.transfer(transfer.parse().expect("an id")).await.expect("readable").expect("there");
        let copy = record.deliveries.iter().find(|copy| copy.kind.as_str() == kind).expect("there");
        if copy.state != onward_core::state::DeliveryState::Queued {
            return copy.id.to_string();
        }
        tokio::task::yield_now().await;
    }
}

async fn call(session: &Session, method: &str, path: &str, body: String) -> u16 {
    let version = match method {
        "PUT" => session.get(path).await.expect("an answer").headers.get("etag").cloned(),
        _ => None,
    };
    let version = version.and_then(|tag| tag.to_str().ok().map(str::to_owned)).unwrap_or("W/\"1\"".to_owned());
    let kind = match body.chars().next() {
        Some('{') => "application/fhir+json",
        Some('<') => "application/fhir+xml",
        _ => "application/x-www-form-urlencoded",
    };
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let headers = [("content-type", kind), ("if-match", version.as_str())];
    session.call(method, path, &headers, body).await.expect("an answer").status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_has_its_functions_and_foreign_objects_do_not_exist() {
    let world = world().await;
    let callers = Callers::in_world(&world).await;
    let mut wrong = Vec::new();
    for (action, method, path, object, expected) in MATRIX {
        for (at, ((session, _), expected)) in callers.clients.iter().zip(expected).enumerate() {
            let (path, body) = callers.request(path, *object, at);
            let status = call(session, method, &path, body).await;
            println!("{action}: {} {status}", session.client_id());
            if status != *expected {
                wrong.push(format!("{action} by {}: expected {expected}, got {status}", session.client_id()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A route that the matrix does not know has been forgotten there, or should not exist.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_in_the_matrix_and_needs_a_token() {
    let world = world().await;
    let callers = Callers::in_world(&world).await;
    let http = world.http();
    let routes = onward_server::api::routes();
    for route in &routes {
        let row = MATRIX.iter().find(|row| row.1 == route.method && row.2 == route.path);
        let open = [
            ("GET", "/fhir/R4/metadata"),
            ("GET", "/.well-known/smart-configuration"),
            ("GET", "/.well-known/jwks.json"),
            ("POST", "/oauth2/token"),
            ("POST", "/sign-in/logout/{id}"),
            ("GET", "/assets/{name}"),
        ];
        match route.access {
            Access::Visitor | Access::SignedIn | Access::Page(_) | Access::Fresh(_) => {}
            Access::Open => assert!(open.contains(&(route.method, route.path)), "{route:?} is open to everybody"),
            Access::Function(action) => {
                let (_, _, _, object, _) = row.unwrap_or_else(|| panic!("{route:?} is not in the matrix"));
                let (path, body) = callers.request(route.path, *object, 1);
                let url = world.base().join(&path).expect("a URL");
                let method = Method::from_bytes(route.method.as_bytes()).expect("a method");
                let answer = http.send(method, url, HeaderMap::new(), body).await.expect("an answer");
                assert_eq!(answer.status(), 401, "{route:?} without a token");
                // The table in code says of every role what the matrix does: 403 where it lacks the function.
                for (role, at) in ROLES.into_iter().zip(0..) {
                    let rows = MATRIX.iter().filter(|row| (row.1, row.2) == (route.method, route.path));
                    let lacks = rows.map(|row| row.4[at]).all(|status| status == 403);
                    assert_eq!(may(role, action), !lacks, "{role} {action:?}");
                }
            }
        }
    }
    for (action, method, path, ..) in MATRIX {
        assert!(routes.iter().any(|route| (route.method, route.path) == (*method, *path)), "{action} has no route");
    }
}

/// One row for people: statuses of care-home user, ward coordinator, information governance, operator.
type PageRow = (&'static str, &'static str, &'static str, Object, [u16; 4]);

/// trust.md §8 for people: column U, and I and A where a person acts. A page that shows where to go instead answers 303.
const PAGES: &[PageRow] = &[
    ("start page", "GET", "/", Object::None, [200, 200, 200, 200]),
    ("arrivals", "GET", "/inbox", Object::None, [200, 403, 403, 403]),
    ("what is new, by no page", "GET", "/inbox/news", Object::None, [400, 403, 403, 403]),
    ("open", "GET", "/transfers/{id}", Object::OwnCopy, [200, 403, 403, 403]),
    ("open another's", "GET", "/transfers/{id}", Object::ForeignCopy, [404, 403, 403, 403]),
    // The page of what was taken back says to stop.
    ("open what was recalled", "GET", "/transfers/{id}", Object::RecalledCopy, [200, 403, 403, 403]),
    ("open nothing", "GET", "/transfers/{id}", Object::Missing, [404, 403, 403, 403]),
    ("print", "GET", "/transfers/{id}/print", Object::OwnCopy, [200, 403, 403, 403]),
    ("print another's", "GET", "/transfers/{id}/print", Object::ForeignCopy, [404, 403, 403, 403]),
    ("PDF", "GET", "/transfers/{id}/pdf", Object::OwnCopy, [200, 403, 403, 403]),
    ("PDF of another's", "GET", "/transfers/{id}/pdf", Object::ForeignCopy, [404, 403, 403, 403]),
    ("file", "GET", "/transfers/{id}/files/{number}", Object::OwnCopy, [200, 403, 403, 403]),
    ("file of another's", "GET", "/transfers/{id}/files/{number}", Object::ForeignCopy, [404, 403, 403, 403]),
    ("question", "GET", "/transfers/{id}/query", Object::OwnCopy, [200, 403, 403, 403]),
    ("ask about another's", "GET", "/transfers/{id}/query", Object::ForeignCopy, [404, 403, 403, 403]),
    ("ask without words", "POST", "/transfers/{id}/query", Object::OwnCopy, [422, 403, 403, 403]),
    ("refusal", "GET", "/transfers/{id}/decline", Object::OwnCopy, [200, 403, 403, 403]),
    ("decline without words", "POST", "/transfers/{id}/decline", Object::OwnCopy, [422, 403, 403, 403]),
    ("acknowledge another's", "POST", "/transfers/{id}/acknowledge", Object::ForeignCopy, [404, 403, 403, 403]),
    ("acknowledge", "POST", "/transfers/{id}/acknowledge", Object::OwnCopy, [303, 403, 403, 403]),
    ("arrival of another's", "POST", "/transfers/{id}/arrive", Object::ForeignCopy, [404, 403, 403, 403]),
    ("arrival", "POST", "/transfers/{id}/arrive", Object::OwnCopy, [303, 403, 403, 403]),
    ("72 hours", "GET", "/transfers/{id}/checklist", Object::OwnCopy, [200, 403, 403, 403]),
    ("another's 72 hours", "GET", "/transfers/{id}/checklist", Object::ForeignCopy, [404, 403, 403, 403]),
    ("tick nothing", "POST", "/transfers/{id}/checklist", Object::OwnCopy, [400, 403, 403, 403]),
    ("finish what is open", "POST", "/transfers/{id}/finish", Object::OwnCopy, [409, 403, 403, 403]),
    ("finish another's", "POST", "/transfers/{id}/finish", Object::ForeignCopy, [404, 403, 403, 403]),
    ("nobody came", "POST", "/transfers/{id}/visit", Object::OwnCopy, [422, 403, 403, 403]),
    ("visit to another's", "POST", "/transfers/{id}/visit", Object::ForeignCopy, [404, 403, 403, 403]),
    ("leaving", "GET", "/transfers/{id}/leave", Object::OwnCopy, [200, 403, 403, 403]),
    ("leaving of another's", "GET", "/transfers/{id}/leave", Object::ForeignCopy, [404, 403, 403, 403]),
    ("leave for nowhere", "POST", "/transfers/{id}/leave", Object::OwnCopy, [422, 403, 403, 403]),
    ("board", "GET", "/operations", Object::None, [403, 403, 403, 200]),
    ("counts", "GET", "/operations/totals", Object::None, [403, 403, 403, 200]),
    ("pause nobody", "POST", "/operations/pause", Object::None, [403, 403, 403, 422]),
    ("resume for no reason", "POST", "/operations/resume", Object::None, [403, 403, 403, 422]),
    ("retry all", "GET", "/operations/retry", Object::None, [403, 403, 403, 400]),
    ("retry all at once", "POST", "/operations/retry", Object::None, [403, 403, 403, 400]),
    ("no decision about many", "GET", "/operations/bulks/{id}", Object::Missing, [403, 403, 403, 404]),
    ("stop nothing", "POST", "/operations/bulks/{id}/cancel", Object::Missing, [403, 403, 403, 404]),
    ("no repeat", "GET", "/operations/replays/{id}", Object::Missing, [403, 403, 403, 404]),
    ("repeat what arrived", "GET", "/operations/deliveries/{id}/replay", Object::OwnCopy, [403, 403, 403, 409]),
    ("repeat nothing", "GET", "/operations/deliveries/{id}/replay", Object::Missing, [403, 403, 403, 404]),
    ("a delivery", "GET", "/operations/deliveries/{id}", Object::OwnCopy, [403, 403, 403, 200]),
    ("no delivery", "GET", "/operations/deliveries/{id}", Object::Missing, [403, 403, 403, 404]),
    ("send again", "POST", "/operations/deliveries/{id}/resend", Object::OwnCopy, [403, 403, 403, 400]),
    ("close for no reason", "POST", "/operations/deliveries/{id}/close", Object::OwnCopy, [403, 403, 403, 422]),
    ("redirect to nobody", "POST", "/operations/deliveries/{id}/redirect", Object::OwnCopy, [403, 403, 403, 422]),
    ("reveal for no reason", "POST", "/operations/deliveries/{id}/reveal", Object::OwnCopy, [403, 403, 403, 422]),
    ("a hold", "GET", "/operations/holds/{id}", Object::Hold, [403, 403, 403, 200]),
    ("no hold", "GET", "/operations/holds/{id}", Object::Missing, [403, 403, 403, 404]),
    ("release for no reason", "POST", "/operations/holds/{id}/release", Object::Hold, [403, 403, 403, 422]),
    ("close for no reason", "POST", "/operations/holds/{id}/close", Object::Hold, [403, 403, 403, 422]),
    ("reroute to nobody", "POST", "/operations/holds/{id}/redirect", Object::Hold, [403, 403, 403, 422]),
    ("reveal of a hold", "POST", "/operations/holds/{id}/reveal", Object::Hold, [403, 403, 403, 422]),
    ("no request", "GET", "/operations/approvals/{id}", Object::Missing, [403, 403, 403, 404]),
    ("reveal of a request", "POST", "/operations/approvals/{id}/reveal", Object::Missing, [403, 403, 403, 404]),
    ("no verdict", "POST", "/operations/approvals/{id}", Object::Missing, [403, 403, 403, 400]),
    ("audit", "GET", "/audit", Object::None, [403, 403, 200, 403]),
    ("audit search for no reason", "POST", "/audit/search", Object::None, [403, 403, 422, 403]),
    ("no entry", "POST", "/audit/entry", Object::None, [403, 403, 400, 403]),
    ("integrity", "GET", "/audit/integrity", Object::None, [403, 403, 200, 403]),
    ("verification", "POST", "/audit/integrity", Object::None, [403, 403, 200, 403]),
    ("exports", "GET", "/audit/exports", Object::None, [403, 403, 200, 403]),
    ("export for no reason", "POST", "/audit/exports", Object::None, [403, 403, 422, 403]),
    ("no export", "GET", "/audit/exports/{id}", Object::Missing, [403, 403, 404, 403]),
    ("reveal of an export", "POST", "/audit/exports/{id}/reveal", Object::Missing, [403, 403, 404, 403]),
    ("no verdict on an export", "POST", "/audit/exports/{id}", Object::Missing, [403, 403, 400, 403]),
    ("no file", "GET", "/audit/exports/{id}/file", Object::Missing, [403, 403, 404, 403]),
    // trust.md §8 "Erase/legal hold": a form's answer leads on, 303, where the matrix has 202.
    ("erasures and holds", "GET", "/audit/rights", Object::None, [403, 403, 200, 403]),
    ("erase nobody", "POST", "/audit/rights/erasures", Object::None, [403, 403, 422, 403]),
    ("confirm nothing", "POST", "/audit/rights/erasures/{id}", Object::Missing, [403, 403, 422, 403]),
    ("refuse without a reason", "POST", "/audit/rights/erasures/{id}/refuse", Object::Missing, [403, 403, 422, 403]),
    ("hold nobody", "POST", "/audit/rights/holds", Object::None, [403, 403, 422, 403]),
    ("lift without a reason", "POST", "/audit/rights/holds/{id}", Object::Missing, [403, 403, 422, 403]),
    ("directory", "GET", "/directory", Object::None, [200, 200, 403, 200]),
    ("no entry confirmed", "POST", "/directory/confirm", Object::None, [400, 403, 403, 403]),
    ("no entry kept", "POST", "/directory/entry", Object::None, [400, 403, 403, 403]),
    ("own account", "GET", "/account", Object::None, [200, 200, 200, 200]),
    ("no password", "POST", "/account/password", Object::None, [400, 400, 400, 400]),
    ("new passkey", "POST", "/account/passkey/challenge", Object::None, [200, 200, 200, 200]),
    ("no passkey", "POST", "/account/passkey", Object::None, [400, 400, 400, 400]),
    ("passkey of nobody", "POST", "/account/passkey/remove", Object::None, [400, 400, 400, 400]),
    ("no session", "POST", "/account/sessions", Object::None, [400, 400, 400, 400]),
    ("until when", "GET", "/session", Object::None, [200, 200, 200, 200]),
    ("stay signed in", "POST", "/session", Object::None, [303, 303, 303, 303]),
    ("sign out", "POST", "/sign-out", Object::None, [303, 303, 303, 303]),
];

/// Pages that need no sign-in.
const VISITED: &[(&str, &str)] = &[
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/passkey.js"),
    ("POST", "/sign-in/passkey/challenge"),
    ("POST", "/sign-in/passkey"),
    ("GET", "/invitation/{token}"),
    ("POST", "/invitation/{token}"),
    ("POST", "/invitation/{token}/passkey/challenge"),
    ("POST", "/invitation/{token}/passkey"),
    ("GET", "/sign-in/with/{issuer}"),
    ("GET", "/sign-in/return"),
];

/// The columns of [`PAGES`].
const PEOPLE: [people::Role; 4] = [
    people::Role::CareHomeUser,
    people::Role::WardCoordinator,
    people::Role::InformationGovernance,
    people::Role::Operator,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_asks_for_a_session_and_for_the_role() {
    let world = world().await;
    let callers = Callers::in_world(&world).await;
    let stranger = Browser::new(&world);
    let mut wrong = Vec::new();
    for (role, at) in PEOPLE.into_iter().zip(0..) {
        let ods = if role == people::Role::CareHomeUser { "VMH01" } else { "R9Z" };
        let person = browser::person(&world, &format!("{role}@rowan.example"), role, &[ods]).await;
        for (action, method, path, object, expected) in PAGES {
            let (path, _) = callers.request(path, *object, 1);
            let path = format!("/{path}");
            let page = person.browser.send(method, &path, &[], String::new()).await;
            if page.status != expected[at] {
                wrong.push(format!("{action} by {role}: expected {}, got {}", expected[at], page.status));
            }
            let page = stranger.send(method, &path, &[], String::new()).await;
            let asked = page.location().is_some_and(|to| to.starts_with("/sign-in"));
            assert_eq!((page.status, asked), (303, true), "{action} without a session");
            let machine = call(&callers.clients[1].0, method, &path[1..], String::new()).await;
            assert!(matches!(machine, 303 | 403), "{action} with a token: {machine}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_matrix() {
    let routes = onward_server::api::routes();
    for route in &routes {
        let mut rows = PAGES.iter().filter(|row| (row.1, row.2) == (route.method, route.path)).peekable();
        match route.access {
            Access::Open | Access::Function(_) => assert!(rows.next().is_none(), "{route:?} is no page"),
            Access::Visitor => assert!(VISITED.contains(&(route.method, route.path)), "{route:?} is open to everybody"),
            Access::SignedIn => assert!(rows.all(|row| !row.4.contains(&403)), "{route:?} is for every role"),
            Access::Page(action) | Access::Fresh(action) => {
                assert!(rows.peek().is_some(), "{route:?} is not in the matrix");
                let rows: Vec<_> = rows.collect();
                for (role, at) in PEOPLE.into_iter().zip(0..) {
                    let lacks = rows.iter().all(|row| row.4[at] == 403);
                    assert_eq!(person_may(role, action), !lacks, "{role} {action:?}");
                }
            }
        }
    }
    let known = |method: &str, path: &str| routes.iter().any(|route| (route.method, route.path) == (method, path));
    for (action, method, path, ..) in PAGES {
        assert!(known(method, path), "{action} has no route");
    }
    for (method, path) in VISITED {
        assert!(known(method, path), "{method} {path} is no route");
    }
}

/// The columns of the matrix.
const ROLES: [Role; 6] =
    [Role::Sender, Role::CareHome, Role::Practice, Role::Pharmacy, Role::InformationGovernance, Role::Operator];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_said_so() {
    let world = World::start().await;
    let home = world.care_home().await;
    let task = "fhir/R4/Task/3f2b0c9e-0000-4000-8000-000000000000";
    for (method, path, expected) in [("GET", "fhir/R4/Patient/1", 404), ("DELETE", task, 405), ("PATCH", task, 405)] {
        assert_eq!(call(&home, method, path, ACCEPTED.to_owned()).await, expected, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_home_never_learns_that_anothers_resident_exists() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let other_home = world.client("elm-court", "VMH02", Role::CareHome).await;
    let none = other_home.get("fhir/R4/Task").await.expect("an answer");
    let other = other_home.get("fhir/R4/Task?owner=VMH01").await.expect("an answer");
    let nobody = other_home.get("fhir/R4/Task?owner=VMH99").await.expect("an answer");
    assert_eq!(none.json().expect("JSON").get("entry"), None);
    let shown = |reply: &onward_server::session::Reply| {
        let mut bundle = reply.json().expect("JSON");
        bundle.as_object_mut().expect("a Bundle").remove("link");
        bundle
    };
    assert_eq!(shown(&other), shown(&nobody), "a home that exists and one that does not look the same");
    assert_eq!(other.json().expect("JSON").get("entry"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_client_is_out_at_once() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    assert_eq!(call(&hospital, "GET", "fhir/R4/Task", String::new()).await, 200);
    let store = world.gateway().store();
    let mut client = store.client("northmoor-epr").await.expect("readable").expect("there");
    client.disabled = true;
    store.put_client(client, Vec::new()).await.expect("stored");
    assert_eq!(call(&hospital, "GET", "fhir/R4/Task", String::new()).await, 401);
}
