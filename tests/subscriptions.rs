//! Client systems are called when a Task of theirs changes (FHIR R4 Subscription, rest-hook), and told nothing by the call.

use std::time::{Duration, Instant};

use onward_connect::http::Method;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Role;
use onward_core::store::alerts::AlertKind;
use onward_core::store::subscriptions::SubscriptionStatus;
use onward_server::session::Reply;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::subscriber::{Called, HANGING, Subscriber};
use onward_tests::world::{World, post_xml};
use serde_json::{Value, json};

const PATH: &str = "fhir/R4/Subscription";
/// Generous: the machine is busy with other tests.
const WAIT: Duration = Duration::from_secs(60);

/// A world whose homes may be called at `/hooks/` of a subscriber, and that subscriber.
async fn world() -> (World, Subscriber) {
    let bound = Subscriber::bound().await;
    let port = bound.local_addr().expect("bound").port();
    let world = World::start_with_hooks(port, &["VMH01", "R9Z"]).await;
    let subscriber = Subscriber::start(bound, world.tls());
    (world, subscriber)
}

fn subscription(endpoint: &str) -> Value {
    json!({
        "resourceType": "Subscription", "status": "requested", "reason": "the home's own record",
        "criteria": "Task?status=requested,received",
        "channel": { "type": "rest-hook", "endpoint": endpoint },
    })
}

async fn send(session: &Session, method: Method, path: &str, version: Option<&str>, body: &Value) -> Reply {
    let mut headers = vec![("content-type", "application/fhir+json")];
    headers.extend(version.map(|version| ("if-match", version)));
    session.call(method, path, &headers, body.to_string()).await.expect("an answer")
}

async fn made(session: &Session, body: &Value) -> String {
    let reply = send(session, Method::POST, PATH, None, body).await;
    assert_eq!(reply.status, 201, "{:?}", String::from_utf8_lossy(&reply.body));
    let shown = reply.json().expect("JSON");
    let id = shown["id"].as_str().expect("an id").to_owned();
    assert!(reply.headers["location"].to_str().expect("text").ends_with(&format!("/{PATH}/{id}")));
    id
}

async fn read(session: &Session, id: &str) -> (Value, String) {
    let reply = session.get(&format!("{PATH}/{id}")).await.expect("an answer");
    assert_eq!(reply.status, 200);
    let version = reply.headers["etag"].to_str().expect("text").to_owned();
    (reply.json().expect("JSON"), version)
}

/// Waits until the subscription looks so.
async fn until(session: &Session, id: &str, so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (shown, _) = read(session, id).await;
        if so(&shown) {
            return shown;
        }
        assert!(begun.elapsed() < WAIT, "it stays {shown}");
        tokio::task::yield_now().await;
    }
}

async fn until_called(subscriber: &Subscriber, times: usize) {
    until_called_at(subscriber, "/", times).await;
}

/// Waits until an address that begins so was called so often.
async fn until_called_at(subscriber: &Subscriber, path: &str, times: usize) {
    let so = |called: &[Called]| called.iter().filter(|each| each.path().starts_with(path)).count() >= times;
    let waited = tokio::time::timeout(WAIT, subscriber.until(so)).await;
    assert!(waited.is_ok(), "{path} was not called {times} times: {:?}", lines(subscriber));
}

fn lines(subscriber: &Subscriber) -> Vec<String> {
    subscriber.called().into_iter().map(|each| each.line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_called_when_something_comes_and_told_nothing_by_the_call() {
    let (world, subscriber) = world().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    let active = until(&home, &id, |shown| shown["status"] == "active").await;
    assert_eq!(active.get("error"), None);
    assert_eq!(active["reason"], "not kept", "what people write is not kept");
    assert_eq!(subscriber.called().len(), 1, "the address is called before anything is told");

    let (status, ..) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200);
    until_called(&subscriber, 2).await;
    for (called, number) in subscriber.called().iter().zip(0..) {
        assert_eq!(called.line, "POST /hooks/tasks");
        assert!(called.body.is_empty(), "R4 rest-hook without payload");
        assert_eq!(called.header("onward-subscription"), id);
        assert_eq!(called.header("authorization"), "Bearer the home's token", "what [delivery] push says");
        let link = format!("<{}fhir/R4/Task?status=requested,received>; rel=\"related\"", world.base());
        assert_eq!(called.header("link"), link);
        for (name, value) in &called.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains("9990000018") && !value.contains("Holroyd"), "{number}: {name}");
        }
    }
    let [first, second] = [0, 1].map(|at| subscriber.called()[at].header("idempotency-key").to_owned());
    assert_ne!(first, second, "two calls");
    // Whoever is called asks, and finds.
    let found = home.get("fhir/R4/Task?status=requested,received").await.expect("an answer").json().expect("JSON");
    assert_eq!(found["entry"].as_array().map(Vec::len), Some(1), "{found}");
    // The calls are audited, and that the subscription was made.
    // What came of a call is told when it has come: after the peer has heard it.
    let called = format!("notify: subscription {id} called");
    while world.logged(&called).await < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.logged(&called).await, 2);
    assert_eq!(world.logged(&format!("configure: subscription {id} made")).await, 1);
    // What is over is not called.
    assert_eq!(send(&home, Method::DELETE, &format!("{PATH}/{id}"), None, &Value::Null).await.status, 204);
    post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(world.gateway().call_subscribers().await, Ok(0));
    assert_eq!(subscriber.called().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_is_called_when_a_home_answers_and_not_before() {
    let (world, subscriber) = world().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let mut body = subscription(&subscriber.url("/hooks/answers"));
    body["criteria"] = json!("Task?status=accepted&owner=VMH01");
    let id = made(&hospital, &body).await;
    until(&hospital, &id, |shown| shown["status"] == "active").await;
    let (_, _, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let transfer = reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").to_owned();
    let begun = Instant::now();
    let copy = loop {
        let listed = home.get("fhir/R4/Task").await.expect("an answer").json().expect("JSON");
        if let Some(copy) = listed["entry"][0]["resource"]["id"].as_str() {
            break copy.to_owned();
        }
        assert!(begun.elapsed() < WAIT);
    };
    assert_eq!(world.gateway().call_subscribers().await, Ok(0), "a Task that waits does not fit");
    let task = home.get(&format!("fhir/R4/Task/{copy}")).await.expect("an answer");
    let version = task.headers["etag"].to_str().expect("text").to_owned();
    let accepted = json!({ "resourceType": "Task", "status": "accepted", "intent": "order" });
    let moved = send(&home, Method::PUT, &format!("fhir/R4/Task/{copy}"), Some(&version), &accepted).await;
    assert_eq!(moved.status, 200);
    until_called(&subscriber, 2).await;
    assert_eq!(subscriber.called()[1].line, "POST /hooks/answers");
    assert!(!subscriber.called()[1].header("link").contains(&transfer), "not even which one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_told_tried_again_and_given_up_when_the_address_is_gone() {
    let (world, subscriber) = world().await;
    let home = world.care_home().await;
    // Answers that may pass, when a server, a token or a route is mended: tried again, under the same identifier. A redirect is never
    // followed.
    subscriber.answer(&[302, 401]);
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    until(&home, &id, |shown| shown["status"] == "active").await;
    let called = subscriber.called();
    assert_eq!(called.len(), 3);
    let key = called[0].header("idempotency-key");
    assert!(called.iter().all(|each| each.header("idempotency-key") == key), "a repeat is seen to be one");
    assert_eq!(["1", "2", "3"], [0, 1, 2].map(|at: usize| called[at].header("onward-attempt")));
    // The one answer that needs its owner.
    subscriber.answer(&[410]);
    let (mut body, version) = read(&home, &id).await;
    body["status"] = json!("requested");
    let path = format!("{PATH}/{id}");
    assert_eq!(send(&home, Method::PUT, &path, Some(&version), &body).await.status, 200);
    let failed = until(&home, &id, |shown| shown["status"] == "error").await;
    let error = failed["error"].as_str().expect("why");
    assert!(error.contains("410") && !error.contains("9990000018"), "{error}");
    assert_eq!(subscriber.called().len(), 4, "nothing follows");
    // Whoever runs the gateway is told, by what names nobody, until its owner asks again.
    let open = || world.gateway().store().alert_counts();
    let begun = Instant::now();
    while open().await != Ok(vec![(AlertKind::SubscriptionFailed, 1)]) {
        world.gateway().alert_once().await.expect("it looks");
        assert!(begun.elapsed() < WAIT, "{:?}", open().await);
    }
    assert!(world.logged("notify: subscription-failed (step 1)").await > 0);
    assert!(subscriber.called().iter().all(|each| each.line == "POST /hooks/tasks"));
    // Its owner asks again, and again it may be called; off is off.
    let (mut body, version) = read(&home, &id).await;
    body["status"] = json!("off");
    let off = send(&home, Method::PUT, &format!("{PATH}/{id}"), Some(&version), &body).await;
    world.gateway().alert_once().await.expect("it looks");
    assert_eq!(open().await, Ok(Vec::new()), "off is no trouble");
    assert_eq!((off.status.as_u16(), off.json().expect("JSON")["status"].as_str()), (200, Some("off")));
    assert_eq!(world.gateway().call_subscribers().await, Ok(0));
    let stale = send(&home, Method::PUT, &format!("{PATH}/{id}"), Some(&version), &body).await;
    assert_eq!(stale.status, 412);
    assert_eq!(send(&home, Method::PUT, &format!("{PATH}/{id}"), None, &body).await.status, 428);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_when_its_time_is_over() {
    let (world, subscriber) = world().await;
    let home = world.care_home().await;
    let mut body = subscription(&subscriber.url("/hooks/tasks"));
    let soon = world.gateway().clock().now() + jiff::SignedDuration::from_secs(2);
    body["end"] = json!(soon.to_string());
    let id = made(&home, &body).await;
    let over = until(&home, &id, |shown| shown["status"] == "off").await;
    let told = over["end"].as_str().and_then(|end| end.parse::<jiff::Timestamp>().ok());
    assert_eq!(told.map(jiff::Timestamp::as_microsecond), Some(soon.as_microsecond()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_subscription_of_ours_is_refused_and_calls_nobody() {
    let (world, subscriber) = world().await;
    let home = world.care_home().await;
    let right = subscription(&subscriber.url("/hooks/tasks"));
    let with = |pointer: &str, value: Value| {
        let mut body = right.clone();
        match body.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => body[pointer.trim_start_matches('/')] = value,
        }
        body
    };
    let at = |path: &str| subscriber.url(path);
    let mut hostile = vec![
        (with("/resourceType", json!("Task")), 400),
        (with("/status", json!("active")), 422),
        (with("/status", json!("error")), 422),
        (with("/reason", json!(" ")), 422),
        (with("/reason", json!("for 999 000 0018")), 422),
        (with("/reason", json!("x".repeat(257))), 422),
        (with("/criteria", json!("Task?patient=9990000018")), 422),
        (with("/criteria", json!("Observation?code=1")), 422),
        (with("/criteria", json!("Task?owner=VMH02")), 422),
        (with("/end", json!("2020-01-01T00:00:00Z")), 422),
        (with("/end", json!("soon")), 422),
        (with("/contact", json!([{ "system": "phone", "value": "01632 960100" }])), 422),
        (with("/channel/type", json!("email")), 422),
        (with("/channel/type", json!("websocket")), 422),
        (with("/extension", json!([{ "url": "urn:x", "valueString": "x" }])), 422),
        (with("/channel", json!({ "type": "rest-hook" })), 422),
    ];
    let channel = |more: Value| {
        let mut channel = right["channel"].clone();
        channel.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        with("/channel", channel)
    };
    hostile.push((channel(json!({ "payload": "application/fhir+json" })), 422));
    hostile.push((channel(json!({ "header": ["Authorization: Bearer stolen"] })), 422));
    for endpoint in [
        "/hooks",
        "/hooks/../admin",
        "/hooks/%2e%2e/admin",
        "/hooks/..\\admin",
        "/hooks/..%2fadmin",
        "/hooks/..%2Fadmin",
        "/hooks/..%5cadmin",
        "/hooks/%2E%2E%5Cadmin",
        "/hooks/..%252fadmin",
        "/hooks/..;/admin",
        "/hooks/./tasks",
        "/hooks/a/%2E/tasks",
        "/hooks/x?token=1",
        "/hooks/x#fragment",
        "/hooks/9990000018",
        "/hooks/999%200000/018",
        "/other/",
    ]
    .map(at)
    .into_iter()
    .chain(
        [
            "https://169.254.169.254/hooks/",
            "https://unlisted.example/hooks/",
            "http://127.0.0.1/hooks/",
            "https://127.0.0.1/hooks/",
            "https://user:secret@127.0.0.1/hooks/",
            "not a URL",
            "file:///etc/passwd",
            "",
        ]
        .map(str::to_owned),
    ) {
        hostile.push((channel(json!({ "endpoint": endpoint })), 422));
    }
    for (body, status) in hostile {
        let reply = send(&home, Method::POST, PATH, None, &body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, status, "{body}: {text}");
        assert!(!text.contains("9990000018") && !text.contains("stolen"), "{text}");
    }
    // An organisation that has no address of its own names none, another's least of all.
    let other = world.client("elm-court", "VMH02", Role::CareHome).await;
    assert_eq!(send(&other, Method::POST, PATH, None, &right).await.status, 422);
    let mut off = right.clone();
    off["status"] = json!("off");
    for _ in 0..20 {
        made(&home, &off).await;
    }
    assert_eq!(send(&home, Method::POST, PATH, None, &off).await.status, 422, "twenty are enough");
    let listed = home.get(&format!("{PATH}?status=off")).await.expect("an answer").json().expect("JSON");
    assert_eq!((listed["total"].as_u64(), listed["entry"].as_array().map(Vec::len)), (Some(20), Some(20)));
    let none = home.get(&format!("{PATH}?status=active")).await.expect("an answer").json().expect("JSON");
    assert_eq!(none["total"], 0);
    assert_eq!(home.get(&format!("{PATH}?url=x")).await.expect("an answer").status, 400);
    for format in ["_format=Holroyd", "_format=json&_format=Holroyd", "_format=json;Holroyd"] {
        assert_eq!(home.get(&format!("{PATH}?{format}")).await.expect("an answer").status, 406, "{format}");
    }
    assert_eq!(world.logged("Holroyd").await, 0, "what means nothing here is not carried into the log");
    assert_eq!(subscriber.called().len(), 0, "nobody was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_subscription_does_not_exist() {
    let (world, subscriber) = world().await;
    let home = world.care_home().await;
    let mut body = subscription(&subscriber.url("/hooks/tasks"));
    body["status"] = json!("off");
    let id = made(&home, &body).await;
    // The same organisation's other system has its own.
    let sibling = world.client("rowan-house-2", "VMH01", Role::CareHome).await;
    let path = format!("{PATH}/{id}");
    for session in [&sibling, &world.client("elm-court", "VMH02", Role::CareHome).await] {
        assert_eq!(session.get(&path).await.expect("an answer").status, 404);
        assert_eq!(send(session, Method::PUT, &path, Some("W/\"1\""), &body).await.status, 404);
        assert_eq!(send(session, Method::DELETE, &path, None, &Value::Null).await.status, 404);
        let listed = session.get(PATH).await.expect("an answer").json().expect("JSON");
        assert_eq!(listed["total"], 0);
    }
    assert_eq!(read(&home, &id).await.0["status"], "off", "and nobody has touched it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_on_every_path_delays_nobody_else() {
    let (world, subscriber) = world().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    for path in 0..20 {
        made(&hospital, &subscription(&subscriber.url(&format!("{HANGING}{path}")))).await;
    }
    let hanging = || subscriber.called().iter().filter(|each| each.line.contains(HANGING)).count();
    until_called_at(&subscriber, HANGING, 4).await;
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    until(&home, &id, |shown| shown["status"] == "active").await;
    // Each ends after ten seconds: had the good one waited for all twenty, several rounds would have been begun by now.
    assert!(hanging() <= 8, "{} calls to what hangs came first", hanging());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_read_is_told_and_silences_nobody() {
    let (world, subscriber) = world().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    // No Task comes to stand so: each is called a second time only because a copy cannot be read.
    for (session, path) in [(&hospital, "/hooks/answers"), (&home, "/hooks/tasks")] {
        let mut body = subscription(&subscriber.url(path));
        body["criteria"] = json!("Task?status=rejected");
        let id = made(session, &body).await;
        until(session, &id, |shown| shown["status"] == "active").await;
    }
    let spoil = "UPDATE deliveries SET state = 'unheard of' WHERE id = NEW.id";
    world.tamper(&format!(
        "CREATE TRIGGER spoilt AFTER UPDATE OF state ON deliveries WHEN NEW.state = 'awaiting-collection' BEGIN {spoil}; END"
    ));
    assert_eq!(post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await.0, 200);
    for path in ["/hooks/answers", "/hooks/tasks"] {
        until_called_at(&subscriber, path, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_disabled_is_not_called_any_more() {
    let (world, subscriber) = world().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    until(&home, &id, |shown| shown["status"] == "active").await;
    world.tamper("UPDATE clients SET disabled = 1 WHERE ods = 'VMH01'");
    assert_eq!(post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await.0, 200);
    let begun = Instant::now();
    let off = loop {
        let own =
            world.gateway().store().subscription(id.parse().expect("an id")).await.expect("readable").expect("kept");
        if own.status == SubscriptionStatus::Off {
            break own;
        }
        assert!(begun.elapsed() < WAIT, "it stays {}", own.status);
        tokio::task::yield_now().await;
    };
    assert_eq!(off.error.as_deref(), Some("its client may not sign in any more"));
    assert_eq!(world.logged(&format!("configure: subscription {id}: its client may not sign in")).await, 1);
    assert_eq!(world.gateway().call_subscribers().await, Ok(0));
    assert_eq!(subscriber.called().len(), 1, "only the call before it was disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_listed_any_more_is_not_called_and_its_owner_learns_why() {
    let (mut world, subscriber) = world().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    until(&home, &id, |shown| shown["status"] == "active").await;
    let text = std::fs::read_to_string(&world.config_file).expect("readable");
    let without = text.replace("/hooks/\"", "/others/\"");
    assert_ne!(text, without);
    std::fs::write(&world.config_file, without).expect("written");
    world.restart().await;
    assert_eq!(post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await.0, 200);
    let failed = until(&home, &id, |shown| shown["status"] == "error").await;
    assert!(failed["error"].as_str().is_some_and(|why| why.contains("[delivery] hooks")), "{failed}");
    assert_eq!(subscriber.called().len(), 1);
}

/// A call that fails five times opens the breaker of its place; who is not called any more does not answer for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_answer_is_forgotten_with_its_subscription() {
    let (world, subscriber) = world().await;
    let home = world.care_home().await;
    subscriber.answer(&[503; 20]);
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    until_called(&subscriber, 5).await;
    let begun = Instant::now();
    while world.gateway().hook_breakers().open().is_empty() {
        assert!(begun.elapsed() < WAIT);
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&home, Method::DELETE, &format!("{PATH}/{id}"), None, &Value::Null).await.status, 204);
    while !world.gateway().hook_breakers().open().is_empty() {
        assert!(begun.elapsed() < WAIT, "it is open for ever");
        tokio::task::yield_now().await;
    }
}

/// Entries that concern nobody are looked through once: the store keeps how far, so that a restart does not begin at the last call.
#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_nobody_is_not_looked_through_again_after_a_restart() {
    let (world, subscriber) = world().await;
    let home = world.care_home().await;
    let id = made(&home, &subscription(&subscriber.url("/hooks/tasks"))).await;
    until(&home, &id, |shown| shown["status"] == "active").await;
    let store = world.gateway().store();
    let told = async || store.subscription(id.parse().expect("an id")).await.expect("readable").expect("kept").told;
    let (before, desk) = (told().await, Agent::gateway());
    let entry = AuditEntry::new(AuditWord::Configure, world.gateway().clock().now(), desk, "nothing to tell");
    for _ in 0..20 {
        let rows = (0..500).map(|_| world.gateway().journal().row(&entry)).collect();
        store.audit(rows).await.expect("committed");
    }
    let begun = Instant::now();
    while told().await < before + 10_000 {
        assert!(begun.elapsed() < WAIT, "{} of {}", told().await, store.audit_size().await.expect("readable"));
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&home, &id).await.0["meta"]["versionId"], "2", "its owner sees nothing of it");
    assert_eq!(subscriber.called().len(), 1);
}
