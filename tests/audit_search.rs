//! An information-governance lead searches the audit entries of the own organisation.

use std::collections::BTreeSet;

use onward_connect::http::Method;
use onward_core::client::Role;
use onward_core::people::Role as UserRole;
use onward_server::cli::Exit;
use onward_tests::browser;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

const PATIENT: &str = "https://fhir.nhs.uk/Id/nhs-number|";

async fn search(session: &Session, query: &str) -> Value {
    let reply = session.get(&format!("fhir/R4/AuditEvent?{query}")).await.expect("an answer");
    assert_eq!(reply.status, 200, "{query}");
    reply.json().expect("JSON")
}

async fn post_search(session: &Session, form: &str) -> Value {
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/fhir+json")];
    let reply =
        session.call(Method::POST, "fhir/R4/AuditEvent/_search", &headers, form.to_owned()).await.expect("an answer");
    assert_eq!(reply.status, 200, "{form}");
    reply.json().expect("JSON")
}

fn found(bundle: &Value) -> Vec<&Value> {
    bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]).collect()
}

fn words(bundle: &Value) -> BTreeSet<String> {
    let word =
        |event: &&Value| event["outcomeDesc"].as_str().and_then(|text| text.split(':').next()).map(str::to_owned);
    found(bundle).iter().filter_map(word).collect()
}

/// A world in which the hospital discharged somebody and the home read it; the person's number, transfer and copy.
async fn read_discharge(world: &World) -> (String, String, String) {
    let hospital = world.hospital().await;
    let (status, _, reply) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200);
    let transfer = reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").to_owned();
    let store = world.gateway().store();
    let record = store.transfer(transfer.parse().expect("an id")).await.expect("readable").expect("there");
    let copy = record.deliveries.iter().find(|copy| copy.kind.as_str() == "care-home").expect("a copy").id;
    let home = world.care_home().await;
    loop {
        let reply = home.get(&format!("fhir/R4/Bundle/{copy}")).await.expect("an answer");
        if reply.status == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
    (record.patient.expect("traced").expose().to_owned(), transfer, copy.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_finds_who_saw_a_patient_of_the_own_organisation_only() {
    let world = World::start().await;
    let (patient, transfer, copy) = read_discharge(&world).await;
    let lead = world.client("ig", "R9Z", Role::InformationGovernance).await;
    let about = post_search(&lead, &format!("patient={}", urlencoded(&format!("{PATIENT}{patient}")))).await;
    let told = words(&about);
    for word in ["accept", "directory-lookup", "disclose", "read"] {
        assert!(told.contains(word), "{word} is not among {told:?}");
    }
    assert_eq!(about["type"], "searchset");
    // By GET it is the same, and our own links do not repeat the number.
    let by_get = search(&lead, &format!("patient={patient}&_count=2")).await;
    assert_eq!(found(&by_get).len(), 2);
    assert!(!by_get["link"].to_string().contains(&patient), "{}", by_get["link"]);

    let home_lead = world.client("home-ig", "VMH01", Role::InformationGovernance).await;
    let seen = post_search(&home_lead, &format!("patient={patient}")).await;
    assert!(words(&seen).contains("read") && !words(&seen).contains("accept"), "{:?}", words(&seen));
    let stranger = world.client("other-ig", "R9Y", Role::InformationGovernance).await;
    for query in [format!("patient={patient}"), format!("entity=Task/{transfer}"), format!("entity=Bundle/{copy}")] {
        let none = search(&stranger, &query).await;
        assert!(found(&none).is_empty(), "{query}: {none:#}");
    }
    let own = search(&stranger, "").await;
    assert!(found(&own).iter().all(|event| event["agent"].to_string().contains("R9Y")), "{own:#}");
}

/// A list of arrivals shows people whom its entry does not name, and an export carries entries about people whom its own does not.
#[tokio::test(flavor = "multi_thread")]
async fn lists_and_exports_that_showed_the_person_are_found_page_by_page() {
    let world = World::start().await;
    let (patient, ..) = read_discharge(&world).await;
    let reader = browser::person(&world, "home@rowan.example", UserRole::CareHomeUser, &["VMH01"]).await;
    for _ in 0..3 {
        assert_eq!(reader.browser.get("/inbox").await.status, 200);
    }
    // The command is of the gateway's own organisation, whose lead finds its export.
    let own = world.gateway().settings().own_ods.to_string();
    let out = world.folder().join("log.ndjson").display().to_string();
    assert_eq!(crate::proof::onward(&world, &["export", "--out", &out]).await, Exit::Done);
    let home_lead = world.client("home-ig", "VMH01", Role::InformationGovernance).await;
    let own_lead = world.client("own-ig", &own, Role::InformationGovernance).await;
    let lists = |bundle: &Value| {
        let listed = |event: &&&Value| {
            !event["entity"].to_string().contains(&patient) && event["subtype"][0]["code"] == "search"
        };
        found(bundle).iter().filter(listed).count()
    };
    let whole = post_search(&home_lead, &format!("patient={patient}")).await;
    assert_eq!(lists(&whole), 3, "{whole:#}");
    assert_eq!(lists(&post_search(&own_lead, &format!("patient={patient}")).await), 1, "the export");
    assert_eq!(
        lists(&post_search(&own_lead, "patient=9990000026").await),
        0,
        "which carried nothing about another person"
    );
    assert_eq!(lists(&post_search(&home_lead, "patient=9990000026").await), 0);
    let stranger = world.client("other-ig", "R9Y", Role::InformationGovernance).await;
    assert_eq!(lists(&post_search(&stranger, &format!("patient={patient}")).await), 0, "other organisations' lists");
    let narrowed = post_search(&home_lead, &format!("patient={patient}&type=110106")).await;
    assert_eq!(lists(&narrowed), 0, "what narrows narrows lists, too: {narrowed:#}");

    let id = |event: &&Value| event["id"].as_str().expect("an id").to_owned();
    let form = format!("patient={patient}&agent=https://fhir.nhs.uk/Id/ods-organization-code%7CVMH01&date=lt2100");
    let expected: Vec<String> = found(&post_search(&home_lead, &form).await).iter().map(id).collect();
    let mut page = post_search(&home_lead, &format!("{form}&_count=1")).await;
    let mut seen = Vec::new();
    loop {
        seen.extend(found(&page).iter().map(id));
        let links = page["link"].as_array().into_iter().flatten();
        let next = links.filter(|link| link["relation"] == "next").find_map(|link| link["url"].as_str());
        let Some(next) = next else { break };
        let path = next.strip_prefix(world.base().as_str()).expect("on this server").to_owned();
        page = home_lead.get(&path).await.expect("an answer").json().expect("JSON");
    }
    // Each search is an entry of the same organisation: the first page of the second walk is about the first search.
    assert_eq!(seen.iter().filter(|id| expected.contains(id)).count(), expected.len(), "{seen:?} {expected:?}");
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "nothing comes twice");
}

fn urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_narrows_and_what_is_not_understood_is_refused() {
    let world = World::start().await;
    let (_, transfer, copy) = read_discharge(&world).await;
    let lead = world.client("ig", "R9Z", Role::InformationGovernance).await;
    let all = found(&search(&lead, "").await).len();
    for (query, expected) in [
        ("agent=rowan-house".to_owned(), ["read"].as_slice()),
        ("agent=https://fhir.nhs.uk/Id/ods-organization-code%7CVMH01".to_owned(), &["read"]),
        (format!("entity=Bundle/{copy}&type=110106"), &["disclose"]),
        (format!("entity=Task/{transfer}&type=create"), &["accept"]),
        ("type=http://dicom.nema.org/resources/ontology/DCM%7C110114&agent=northmoor-epr".to_owned(), &["sign-in"]),
        ("date=ge2020-01-01&date=lt2021-01-01".to_owned(), &[]),
    ] {
        let answer = search(&lead, &query).await;
        let told = words(&answer);
        assert_eq!(told, expected.iter().map(|word| (*word).to_owned()).collect(), "{query}");
        assert!(found(&answer).len() < all, "{query}");
    }
    assert!(found(&search(&lead, "date=ge2020-01-01").await).len() >= all);
    for query in [
        "patient=1",
        "patient=https://other%7C9990000018",
        "agent=x%7Cy",
        "entity=Patient/1",
        "export=17",
        "date=then",
        "type=nothing",
        "_count=many",
        "sort=date",
        "_cursor=AAAA",
        "agent=a&agent=b",
    ] {
        let reply = lead.get(&format!("fhir/R4/AuditEvent?{query}")).await.expect("an answer");
        assert_eq!(reply.status, 400, "{query}");
        assert_eq!(reply.json().expect("JSON")["resourceType"], "OperationOutcome", "{query}");
    }
}

/// Both halves of an export, by the identifier that they name.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_found_by_its_identifier() {
    let world = World::start().await;
    let own = world.gateway().settings().own_ods.to_string();
    let lead = world.client("own-ig", &own, Role::InformationGovernance).await;
    for name in ["one.ndjson", "two.ndjson"] {
        let out = world.folder().join(name).display().to_string();
        assert_eq!(crate::proof::onward(&world, &["export", "--out", &out]).await, Exit::Done);
    }
    let said = |bundle: &Value| -> Vec<String> {
        found(bundle).iter().map(|event| event["outcomeDesc"].as_str().expect("said").to_owned()).collect()
    };
    let begins = |said: &String| Some(said.strip_prefix("query: export ")?.split_once(" begins: ")?.0.to_owned());
    let ids: Vec<String> = said(&search(&lead, "type=rest").await).iter().filter_map(begins).collect();
    assert_eq!(ids.len(), 2);
    let what = "export of the whole audit log";
    for id in &ids {
        let halves = [
            format!("export: entries of the log: export {id} ends: {what}"),
            format!("query: export {id} begins: {what}"),
        ];
        let answer = search(&lead, &format!("export={id}&_count=1")).await;
        assert_eq!(said(&answer), halves, "on one page");
        assert!(!answer["link"].to_string().contains("_cursor"), "{}", answer["link"]);
        assert_eq!(said(&post_search(&lead, &format!("export={id}&type=110106")).await), halves[..1]);
        assert_eq!(said(&search(&lead, &format!("export={id}&type=rest")).await), halves[1..]);
        assert!(found(&search(&lead, &format!("export={id}&date=lt2021-01-01")).await).is_empty());
        let stranger = world.client(&format!("other-{id}"), "R9Y", Role::InformationGovernance).await;
        assert!(found(&search(&stranger, &format!("export={id}")).await).is_empty(), "another organisation's");
    }
    let none = search(&lead, "export=5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10").await;
    assert!(found(&none).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let world = World::start().await;
    let (patient, ..) = read_discharge(&world).await;
    let lead = world.client("ig", "R9Z", Role::InformationGovernance).await;
    // Fixed first: looking adds entries.
    let form = format!("patient={patient}&type=rest,110106&agent=onward");
    let whole = post_search(&lead, &form).await;
    let id = |event: &&Value| event["id"].as_str().expect("an id").to_owned();
    let expected: Vec<String> = found(&whole).iter().map(id).collect();
    assert!(expected.len() > 3, "{whole:#}");
    let mut page = post_search(&lead, &format!("{form}&_count=2")).await;
    let mut seen: Vec<String> = Vec::new();
    loop {
        assert!(found(&page).len() <= 2);
        seen.extend(found(&page).iter().map(id));
        let links = page["link"].as_array().into_iter().flatten();
        let next = links.filter(|link| link["relation"] == "next").find_map(|link| link["url"].as_str());
        let Some(next) = next else { break };
        assert!(!next.contains(&patient), "{next}");
        let path = next.strip_prefix(world.base().as_str()).expect("on this server").to_owned();
        let stranger = world.client("other-ig", "R9Y", Role::InformationGovernance).await;
        assert_eq!(stranger.get(&path).await.expect("an answer").status, 400, "a cursor is its client's own");
        page = lead.get(&path).await.expect("an answer").json().expect("JSON");
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_itself_found_with_its_raw_query() {
    use base64::Engine as _;
    let world = World::start().await;
    let (patient, ..) = read_discharge(&world).await;
    let lead = world.client("ig", "R9Z", Role::InformationGovernance).await;
    post_search(&lead, &format!("patient={patient}")).await;
    let looks = post_search(&lead, &format!("patient={patient}&agent=ig")).await;
    let raw = |event: &&Value| {
        let entities = event["entity"].as_array().into_iter().flatten();
        let query = entities.filter_map(|entity| entity["query"].as_str()).next().expect("a query");
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(query).expect("base64")).expect("text")
    };
    let asked: Vec<String> = found(&looks).iter().map(raw).collect();
    assert_eq!(asked, [format!("AuditEvent?patient={patient}")]);
}
