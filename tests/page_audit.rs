//! Every page and outcome leaves exactly the audit events of a table, as `audit` says for the API.

use onward_core::people::Role;
use onward_tests::balp;
use onward_tests::browser::{self, Browser, PASSWORD, Person};
use onward_tests::world::World;
use serde_json::Value;

use crate::audit::{of_request, refuse_audit, told};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// A browser without a session.
    Stranger,
    /// A person of the care home.
    HomeUser,
    /// An operator.
    Operator,
}
use Who::{HomeUser, Operator, Stranger};

/// Route, what stands for `{…}` in it, method, who, form, status, events.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Who,
    &'static [(&'static str, &'static str)],
    u16,
    &'static [&'static str],
);

const SIGN_IN: &str = "/sign-in";
const INVITATION: &str = "/invitation/{token}";
const HOME: &str = "home@rowan.example";

/// In this order. `{used}` in a field is the code that set the account of the person of the home up, `{next}` that of the next step.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("/", "", "GET", HomeUser, &[], 200, &[]),
    ("/", "", "GET", Operator, &[], 200, &[]),
    ("/", "", "GET", Stranger, &[], 303, &[]),
    (SIGN_IN, "", "GET", Stranger, &[], 200, &[]),
    (SIGN_IN, "", "POST", Stranger, &[("email", "nobody@rowan.example"), ("password", PASSWORD), ("code", "000000")], 401,
        &["110113 E8 - unauthenticated>onward"]),
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("password", "wrong wrong wrong"), ("code", "{next}")], 401,
        &["110113 E8 - Person home>onward"]),
    // The code that set the account up.
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("password", PASSWORD), ("code", "{used}")], 401,
        &["110113 E8 - Person home>onward"]),
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("email", HOME)], 400, &[]),
    (SIGN_IN, "", "POST", Stranger, &[("email", HOME), ("password", PASSWORD), ("code", "{next}")], 303,
        &["110114/110122 E0 - Person home>onward"]),
    ("/sign-out", "", "POST", HomeUser, &[], 303, &["110114/110123 E0 - Person home>onward"]),
    ("/sign-out", "", "POST", HomeUser, &[], 303, &[]),
    (INVITATION, "unknown", "GET", Stranger, &[], 404, &[]),
    (INVITATION, "unknown", "POST", Stranger, &[("password", PASSWORD)], 404, &[]),
    (INVITATION, "{own}", "GET", Stranger, &[], 200, &[]),
    (INVITATION, "{own}", "POST", Stranger, &[("form", "{form}"), ("password", "short"), ("code", "{own}")], 422, &[]),
    (INVITATION, "{own}", "POST", Stranger,
        &[("form", "{form}"), ("password", PASSWORD), ("again", PASSWORD), ("code", "{own}")], 303,
        &["110114/110122 E0 - Person new>onward"]),
    (INVITATION, "{own}", "GET", Stranger, &[], 404, &[]),
];

/// Whether the table has a row for this route.
pub(crate) fn has_row(method: &str, path: &str) -> bool {
    TABLE.iter().any(|row| (row.0, row.2) == (path, method))
}

async fn events(world: &World) -> Vec<Value> {
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    entries.iter().map(|entry| serde_json::from_slice(&entry.event).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_outcome_leaves_exactly_its_events() {
    let world = World::start().await;
    let observer = world.gateway().settings().base_url.clone();
    let home = browser::person(&world, HOME, Role::CareHomeUser, &["VMH01"]).await;
    let operator = browser::person(&world, "ops@onward.example", Role::Operator, &["Y99900"]).await;
    let (newcomer, path) = browser::invited(&world, "new@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let token = path.trim_start_matches("/invitation/").to_owned();
    // What the last page of the invitation holds.
    let (mut form, mut key) = (String::new(), home.key.clone());
    let mut differing = Vec::new();
    for (number, (route, rest, method, who, fields, status, expected)) in TABLE.iter().enumerate() {
        let stranger = Browser::new(&world);
        let asking = match who {
            Stranger => &stranger,
            HomeUser => &home.browser,
            Operator => &operator.browser,
        };
        let request_id = format!("row-{number}");
        asking.set_request_id(&request_id);
        let own =
            Person { user: newcomer.clone(), browser: Browser::new(&world), key: key.clone(), used: String::new() };
        let fields: Vec<(&str, String)> = fields
            .iter()
            .map(|(name, value)| {
                let value = match *value {
                    "{used}" => home.used.clone(),
                    "{next}" => home.code(1),
                    "{own}" => own.code(0),
                    "{form}" => form.clone(),
                    value => value.to_owned(),
                };
                (*name, value)
            })
            .collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = route.replace("{token}", &rest.replace("{own}", &token));
        let page = match *method {
            "POST" => asking.post(&path, &fields).await,
            method => asking.send(method, &path, &[], String::new()).await,
        };
        if let (Some(next_form), Some(next_key)) = (page.field("form"), page.key()) {
            (form, key) = (next_form.to_owned(), next_key.to_owned());
        }
        let name = format!("{number}: {method} {route} {rest}");
        if page.status != *status {
            differing.push(format!("{name}: status {}, not {status}: {}", page.status, page.text));
        }
        let log = events(&world).await;
        let found: Vec<String> =
            log.iter().filter(|event| of_request(event, &request_id)).map(|event| told(event, &observer)).collect();
        if found != *expected {
            differing.push(format!("{name}: {found:#?}, not {expected:#?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    for event in events(&world).await {
        let problems = balp::problems(&event);
        assert!(problems.is_empty(), "{problems:?} in {event:#}");
    }
}

/// Where nothing can be audited nobody signs in, and what is asked for is not done.
#[tokio::test(flavor = "multi_thread")]
async fn fault_040_no_audit_no_session() {
    let world = World::start().await;
    let home = browser::person(&world, HOME, Role::CareHomeUser, &["VMH01"]).await;
    refuse_audit(&world, true);
    let stranger = Browser::new(&world);
    assert_eq!(home.sign_in(&stranger).await.status, 503);
    assert_eq!(stranger.cookie("__Host-sid"), None);
    assert_eq!(home.browser.post("/sign-out", &[]).await.status, 503);
    refuse_audit(&world, false);
    assert_eq!(home.browser.get("/").await.status, 200, "still signed in");
    assert_eq!(home.sign_in(&stranger).await.status, 303, "the code was not used up");
}
