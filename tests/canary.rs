//! No patient data where it does not belong (trust.md §4, A6): not in the log of a gateway that logs everything, not in
//! what it answers when something is wrong, not in the addresses that it makes.

use std::time::{Duration, Instant};

use onward_connect::http::Method;
use onward_core::client::{NhsNumberPolicy, Role};
use onward_core::people;
use onward_core::{Clock as _, SystemClock};
use onward_server::session::Reply;
use onward_tests::browser::{self, Browser, Page};
use onward_tests::leaks::{Session, canaries_in, lines_seen};
use onward_tests::message::{self, fresh};
use onward_tests::process::Process;
use onward_tests::world::{self, World};

/// What has been seen outside of contents.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    /// Notes what of an answer may hold no patient data: all of a refusal, and the addresses of any.
    fn note(&mut self, name: &str, reply: &Reply) -> u16 {
        for (header, value) in &reply.headers {
            self.0.push((format!("{name}: {header}"), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
        if reply.status.is_client_error() || reply.status.is_server_error() {
            self.0.push((format!("{name}: body"), String::from_utf8_lossy(&reply.body).into_owned()));
        }
        reply.status.as_u16()
    }
}

impl Seen {
    /// Notes what of a page may hold no patient data: the addresses that it leads to, and all of it where nobody is named.
    fn page(&mut self, name: &str, page: &Page, nameless: bool) {
        assert!(page.status < 400, "{name}: {}", page.text);
        for (header, value) in &page.headers {
            self.0.push((format!("{name}: {header}"), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
        for link in page.text.split(" href=\"").skip(1).chain(page.text.split(" action=\"").skip(1)) {
            self.0.push((format!("{name}: link"), link.split('"').next().unwrap_or_default().to_owned()));
        }
        let title = page.text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        self.0.push((format!("{name}: title"), title.unwrap_or_default().to_owned()));
        if nameless {
            self.0.push((format!("{name}: body"), page.text.clone()));
        }
    }
}

/// Everybody's pages: those of operators, of the explorer and of the directory name nobody; the home's own do.
async fn walk_pages(seen: &mut Seen, [home, operator, lead, ward]: [&Browser; 4]) {
    let begun = Instant::now();
    while !operator.get("/operations?queue=dead").await.text.contains("href=\"/operations/deliveries/") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the copy for Elm Court did not fail");
        tokio::task::yield_now().await;
    }
    for path in ["/operations", "/operations?queue=dead", "/operations/totals", "/directory"] {
        seen.page(path, &operator.get(path).await, true);
    }
    let board = operator.get("/operations").await;
    let links: Vec<&str> =
        board.text.split("href=\"/operations/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let inner = links.iter().filter(|link| link.starts_with("deliveries/") || link.starts_with("holds/"));
    let (mut walked, mut previews, mut closed) = (0, 0, 0);
    for link in inner {
        let page = operator.get(&format!("/operations/{link}")).await;
        seen.page(link, &page, true);
        if page.text.contains("/replay\"") {
            let preview = operator.get(&format!("/operations/{link}/replay")).await;
            seen.page("preview of a repeat", &preview, true);
            previews += 1;
        }
        if let Some(version) = page.text.split("name=\"version\" value=\"").nth(1).filter(|_| closed == 0) {
            let version = version.split('"').next().unwrap_or_default();
            for (version, reason, status) in [(version, "", 422), ("0", "read out", 409), (version, "read out", 303)] {
                let fields = [("version", version), ("reason", reason)];
                let answer = operator.post(&format!("/operations/{link}/close"), &fields).await;
                assert_eq!(answer.status, status, "{}", answer.text);
                seen.0.push((format!("close: {status}"), answer.text));
            }
            seen.page("closed", &operator.get(&format!("/operations/{link}")).await, true);
            closed += 1;
        }
        walked += 1;
    }
    assert_eq!(closed, 1, "a copy that failed was closed");
    assert!(
        walked > previews && previews > 0,
        "a copy has failed, and a transfer is held: {walked} pages, {previews} previews"
    );
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    let fields = [("from", today.as_str()), ("until", today.as_str()), ("reason", "complaint 12")];
    for path in ["/audit", "/audit/integrity", "/audit/exports", "/audit/rights"] {
        seen.page(path, &lead.get(path).await, true);
    }
    for tab in ["events", "disclosures"] {
        let page = lead.post("/audit/search", &[&fields[..], &[("tab", tab)]].concat()).await;
        seen.page(tab, &page, true);
    }
    // The number is the question: it comes back in its field, and stands nowhere else.
    let who = lead.post("/audit/search", &[&fields[..], &[("tab", "who"), ("patient", "9990000018")]].concat()).await;
    seen.page("who", &who, false);
    seen.page("directory", &ward.get("/directory?locality=northmoor").await, true);
    let inbox = home.get("/inbox").await;
    seen.page("inbox", &inbox, false);
    seen.page("news", &home.get("/inbox/news?seen=0").await, true);
    let record =
        inbox.text.split("href=\"/transfers/").nth(1).and_then(|rest| rest.split('"').next()).expect("a record");
    for part in ["", "/print", "/query", "/decline", "/checklist", "/leave"] {
        seen.page(part, &home.get(&format!("/transfers/{record}{part}")).await, false);
    }
}

async fn post(seen: &mut Seen, session: &Session, name: &str, kind: &str, body: impl Into<Vec<u8>>) -> u16 {
    let headers = [("content-type", kind), ("accept", "application/fhir+json")];
    let reply = session.call(Method::POST, "fhir/R4/$process-message", &headers, body.into()).await;
    let reply = reply.expect("an answer");
    seen.note(name, &reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_patient_data_in_logs_errors_and_addresses() {
    let mut world = World::start_talkative().await;
    let hospital = world.client_with("northmoor-epr", "R9Z", Role::Sender, NhsNumberPolicy::Refuse, None).await;
    let lenient = world.client_with("northmoor-old", "R9Z", Role::Sender, NhsNumberPolicy::Hold, None).await;
    let home = world.care_home().await;
    let others = [
        world.client("beck-lane", "Y99001", Role::Practice).await,
        world.client("hillside", "Y99002", Role::Practice).await,
        world.client("station-road", "FZZ01", Role::Pharmacy).await,
    ];
    let people = [
        browser::person(&world, "home@rowan.example", people::Role::CareHomeUser, &["VMH01"]).await,
        browser::person(&world, "ops@onward.example", people::Role::Operator, &["Y99900"]).await,
        browser::person(&world, "ig@northmoor.example", people::Role::InformationGovernance, &["R9Z"]).await,
        browser::person(&world, "ward@northmoor.example", people::Role::WardCoordinator, &["R9Z"]).await,
    ];
    let process = Process::take_over(&mut world).await;
    let mut seen = Seen::default();
    let (xml, json) = ("application/fhir+xml", "application/fhir+json");

    let right = fresh(message::EDISCHARGE_ITK3);
    assert_eq!(post(&mut seen, &hospital, "accepted", xml, right.clone()).await, 200);
    assert_eq!(post(&mut seen, &hospital, "again", xml, right.clone()).await, 200);
    let changed = right.replace("14 Bramble Close", "15 Bramble Close");
    assert_eq!(post(&mut seen, &hospital, "changed", xml, changed).await, 409);
    assert_eq!(post(&mut seen, &hospital, "R4", json, fresh(message::EDISCHARGE_R4)).await, 200);
    assert_eq!(post(&mut seen, &hospital, "Binary", json, fresh(message::DOCUMENT_REFERENCE_R4)).await, 200);
    assert_eq!(post(&mut seen, &hospital, "held", xml, fresh(message::RESTRICTED_ITK3)).await, 200);
    let stuck = fresh(message::EDISCHARGE_ITK3).replace("\"VMH01\"", "\"VMH02\"");
    assert_eq!(post(&mut seen, &hospital, "not delivered", xml, stuck).await, 200);
    assert_eq!(post(&mut seen, &hospital, "refused", xml, fresh(message::REFUSED_ITK3)).await, 422);
    post(&mut seen, &lenient, "held or refused", xml, fresh(message::REFUSED_ITK3)).await;
    // Broken in the middle of what identifies a person, and in each way that a value can be wrong.
    for (name, from, to) in [
        ("cut", "<family value=\"Holroyd\"/>", "<family value=\"Holroyd\""),
        ("unknown element", "<family value=\"Holroyd\"/>", "<Holroyd value=\"Holroyd\"/>"),
        ("unknown attribute", "<family value=\"Holroyd\"/>", "<family Holroyd=\"Holroyd\"/>"),
        ("bad date", "1944-03-08", "1944-03-08T"),
        ("bad code", "<gender value=\"", "<gender value=\"Holroyd  9990000018 "),
        ("number of another shape", "\"9990000018\"", "\"999 000 0018\""),
        ("invisible", "\"9990000018\"", "\"9990000018\u{200b}\""),
        ("entity", "\"Holroyd\"", "\"&Holroyd;\""),
        ("script", "<p>Mrs Holroyd", "<script>Holroyd</script><p Holroyd=\"Holroyd\">Mrs Holroyd"),
    ] {
        let text = fresh(message::EDISCHARGE_ITK3);
        assert!(text.contains(from), "{name}");
        let status = post(&mut seen, &hospital, name, xml, text.replace(from, to)).await;
        assert!(status == 400 || status == 422, "{name}: {status}");
        // Findings are told in full, whether they refuse or not.
        let path = "fhir/R4/Bundle/$validate";
        let reply = hospital.call(Method::POST, path, &[("content-type", xml)], text.replace(from, to)).await;
        let reply = reply.expect("an answer");
        seen.note(name, &reply);
        seen.0.push((format!("{name}: findings"), String::from_utf8_lossy(&reply.body).into_owned()));
    }
    let text = fresh(message::EDISCHARGE_R4).replacen(
        "\"type\": \"message\",",
        "\"unknownMember\": \"Holroyd 9990000018\",",
        1,
    );
    assert_eq!(post(&mut seen, &hospital, "unknown member", json, text).await, 422);

    // The recipients read, look for the person, and answer; a reason tells more than it should.
    for session in [&home, &others[0], &others[1], &others[2]] {
        let mut listed = serde_json::Value::Null;
        let all_there = |listed: &serde_json::Value| listed["entry"].as_array().is_some_and(|all| all.len() >= 3);
        for _ in 0..10_000 {
            if all_there(&listed) {
                break;
            }
            let reply = session.get("fhir/R4/Task?patient=9990000018&status=requested,received").await;
            listed = reply.expect("an answer").json().expect("JSON");
        }
        assert!(all_there(&listed), "three messages have arrived: {listed}");
        for (at, entry) in listed["entry"].as_array().into_iter().flatten().enumerate() {
            let id = entry["resource"]["id"].as_str().expect("an id");
            let copy = session.get(&format!("fhir/R4/Bundle/{id}")).await.expect("an answer");
            assert_eq!(seen.note("copy", &copy), 200);
            let task = session.get(&format!("fhir/R4/Task/{id}")).await.expect("an answer");
            let version = task.headers["etag"].to_str().expect("text").to_owned();
            let answer = if at == 0 {
                r#"{"resourceType":"Task","status":"rejected","intent":"order","statusReason":{"text":"Mrs Holroyd, 9990000018, is not known"}}"#
            } else {
                r#"{"resourceType":"Task","status":"accepted","intent":"order"}"#
            };
            let headers = [("content-type", json), ("if-match", version.as_str())];
            let moved = session.call(Method::PUT, &format!("fhir/R4/Task/{id}"), &headers, answer).await;
            assert_eq!(seen.note("answered", &moved.expect("an answer")), 200);
        }
    }
    for path in ["fhir/R4/Task?patient=9990000019", "fhir/R4/Task?patient=Holroyd", "fhir/R4/Patient/9990000018"] {
        let reply = home.get(path).await.expect("an answer");
        assert!(seen.note("a wrong question", &reply) >= 400, "{path}");
    }

    // Subscriptions name no patient, whatever their owner writes.
    let body = |criteria: &str, endpoint: &str| {
        let channel = format!(r#"{{"type":"rest-hook","endpoint":"{endpoint}"}}"#);
        format!(
            r#"{{"resourceType":"Subscription","status":"requested","reason":"Mrs Holroyd","criteria":"{criteria}","channel":{channel}}}"#
        )
    };
    for (criteria, endpoint) in [
        ("Task?patient=9990000018", "https://home.example/hooks/x"),
        ("Task?status=Holroyd", "https://home.example/hooks/x"),
        ("Task", "https://home.example/9990000018"),
        ("Task", "Holroyd"),
    ] {
        let headers = [("content-type", json)];
        let made = home.call(Method::POST, "fhir/R4/Subscription", &headers, body(criteria, endpoint)).await;
        assert_eq!(seen.note("subscription", &made.expect("an answer")), 422, "{criteria}");
    }
    // One is taken, and its call fails: neither the reason nor the address, which names somebody, is told anywhere.
    let named = body("Task?status=requested", "https://127.0.0.1:1/hooks/Holroyd");
    let made = home.call(Method::POST, "fhir/R4/Subscription", &[("content-type", json)], named).await;
    let made = made.expect("an answer");
    assert_eq!(seen.note("subscription", &made), 201);
    let id = made.json().expect("JSON")["id"].as_str().expect("an id").to_owned();
    let begun = Instant::now();
    loop {
        let shown = home.get(&format!("fhir/R4/Subscription/{id}")).await.expect("an answer").json().expect("JSON");
        if let Some(error) = shown["error"].as_str() {
            seen.0.push(("subscription: error".to_owned(), error.to_owned()));
            assert_eq!(shown["reason"], "not kept");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not called: {}", shown["status"]);
        tokio::task::yield_now().await;
    }

    walk_pages(&mut seen, people.each_ref().map(|person| &person.browser)).await;
    for path in ["/metrics", "/readyz", "/healthz"] {
        seen.0.push((format!("operations: {path}"), process.operations(path).await));
    }
    let log = process.log();
    assert!(log.contains("TRACE") && log.contains("request"), "everything is logged");
    assert!(log.lines().count() > 1_000, "everything is logged: {} lines", log.lines().count());
    seen.0.extend(log.lines().map(|line| ("log".to_owned(), line.to_owned())));
    let mut found = Vec::new();
    for (place, text) in &seen.0 {
        found.extend(canaries_in(place, text));
    }
    println!("{} texts, {} of them lines of the log", seen.0.len(), log.lines().count());
    assert!(found.is_empty(), "{} times:\n{}", found.len(), found[..found.len().min(20)].join("\n"));
}

#[tokio::test]
async fn the_logs_of_every_world_are_looked_at_whole() {
    let world = World::start().await;
    let before = lines_seen();
    let (status, response, _) = world::post_xml(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    // The default of the product says nothing of an ordinary message.
    assert!(
        lines_seen() > before + 100,
        "what libraries say is looked at too: {} lines of all tests of this process",
        lines_seen() - before
    );
}

#[test]
fn a_name_in_a_line_of_the_log_is_seen() {
    assert_eq!(canaries_in("log", "gave it to Mrs HOLROYD, 999 000 0018").len(), 2);
    assert!(canaries_in("log", "gave it to VMH01").is_empty());
}
