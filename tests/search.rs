//! `GET Task?…` (interface.md; FHIR R4 Search): what each party finds, and by which parameters.

use onward_core::client::Role;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

const ODS: &str = "https://fhir.nhs.uk/Id/ods-organization-code";
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

async fn bundle(session: &Session, query: &str) -> Value {
    let reply = session.get(&format!("fhir/R4/Task?{query}")).await.expect("an answer");
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, 200, "{query}: {body}");
    reply.json().expect("JSON")
}

fn tasks(bundle: &Value) -> Vec<&Value> {
    bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]).collect()
}

async fn found(session: &Session, query: &str) -> Vec<String> {
    let bundle = bundle(session, query).await;
    tasks(&bundle).iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().into_iter().flatten();
    links.into_iter().find(|link| link["relation"] == relation).and_then(|link| link["url"].as_str()).map(str::to_owned)
}

/// The transfer's identifier of an accepted message.
async fn sent(session: &Session, message: &str) -> String {
    let (status, response, reply) = post_xml(session, fresh(message)).await;
    assert_eq!(status, 200, "{response}");
    reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_finds_its_transfers_and_what_is_held() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let delivered = sent(&hospital, message::EDISCHARGE_ITK3).await;
    let held = sent(&hospital, message::RESTRICTED_ITK3).await;
    assert_eq!(found(&hospital, "").await.len(), 7, "two transfers and five copies");
    assert_eq!(found(&hospital, "status=on-hold").await, [held.as_str()]);
    let on_hold = bundle(&hospital, "status=on-hold").await;
    assert!(
        tasks(&on_hold)[0]["businessStatus"]["text"].as_str().is_some_and(|text| text.contains("restricted-patient"))
    );
    let copies = bundle(&hospital, &format!("part-of=Task/{delivered}")).await;
    assert_eq!(tasks(&copies).len(), 5);
    for copy in tasks(&copies) {
        assert_eq!(copy["partOf"][0]["reference"], format!("Task/{delivered}"));
    }
    assert!(found(&hospital, &format!("part-of={held}")).await.is_empty());
    let ours = found(&hospital, &format!("owner:identifier={ODS}|Y99900")).await;
    assert_eq!(ours.len(), 2, "the transfers' own Tasks are the gateway's");
    assert!(ours.contains(&delivered) && ours.contains(&held));
    let homes = bundle(&hospital, "owner=VMH01").await;
    assert_eq!(tasks(&homes).len(), 1);
    assert_eq!(found(&hospital, "status=requested,on-hold,received,in-progress&owner=VMH02").await.len(), 0);

    let stranger = world.client("southmoor-epr", "R9Y", Role::Sender).await;
    for query in ["", "status=on-hold", "owner=VMH01", &format!("part-of={delivered}")] {
        assert!(found(&stranger, query).await.is_empty(), "{query}: another hospital's are not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_takes_what_fhir_takes() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    sent(&hospital, message::EDISCHARGE_ITK3).await;
    let all = bundle(&hospital, "").await;
    let number = tasks(&all)[0]["for"]["identifier"]["value"].as_str().expect("a person").to_owned();
    for (query, expected) in [
        ("_lastUpdated=ge2020-01-01", 6),
        ("_lastUpdated=gt2020", 6),
        ("_lastUpdated=sa2020-01", 6),
        ("_lastUpdated=ge2020-01-01T00:00:00Z", 6),
        ("_lastUpdated=ge2020-01-01T00:00:00%2B01:00", 6),
        ("_lastUpdated=lt2020-01-01", 0),
        ("_lastUpdated=le2020", 0),
        ("_lastUpdated=eb2020-01", 0),
        ("_lastUpdated=eq2020", 0),
        ("_lastUpdated=2020", 0),
        ("_lastUpdated=ne2020", 6),
        ("_lastUpdated=ge2020&_lastUpdated=lt2100", 6),
        ("_lastUpdated=ge2020&_lastUpdated=lt2021", 0),
        ("owner:identifier=https://fhir.nhs.uk/Id/ods-organization-code|VMH01", 1),
        ("owner:identifier=VMH01", 1),
    ] {
        assert_eq!(found(&hospital, query).await.len(), expected, "{query}");
    }
    for query in [format!("patient={number}"), format!("patient:identifier={NHS_NUMBER}|{number}")] {
        let bundle = bundle(&hospital, &format!("{query}&_count=2")).await;
        assert_eq!(tasks(&bundle).len(), 2, "by the person");
        for relation in ["self", "next"] {
            let url = link(&bundle, relation).expect("a link");
            assert!(!url.contains(&number), "no URL of ours names a person: {relation}");
            let path = url.strip_prefix(world.base().as_str()).expect("on this server");
            let page = hospital.get(path).await.expect("an answer").json().expect("JSON");
            assert_eq!(tasks(&page).len(), 2, "{relation}");
            assert_eq!(tasks(&page) == tasks(&bundle), relation == "self", "{relation}");
        }
    }
    for query in [
        "status=open",
        "_lastUpdated=ap2020",
        "_lastUpdated=yesterday",
        "owner:identifier=https://example.org|VMH01",
        "owner=VMH01&owner=VMH02",
        "patient=1234567890",
        "part-of=Bundle/1",
        "part-of=Encounter/3f2b0c9e-0000-4000-8000-000000000000",
        "_count=few",
        "code=x",
        "_cursor=x",
        "_patient=x",
    ] {
        let reply = hospital.get(&format!("fhir/R4/Task?{query}")).await.expect("an answer");
        assert_eq!(reply.status, 400, "{query}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("1234567890"), "an error does not repeat a number");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_nothing_tells_the_total_and_every_page_tells_itself() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    sent(&hospital, message::EDISCHARGE_ITK3).await;
    let counted = bundle(&hospital, "_count=0").await;
    assert_eq!((counted["total"].as_u64(), counted.get("entry")), (Some(6), None));
    let first = bundle(&hospital, "_count=4&status=requested,in-progress,received").await;
    let own = link(&first, "self").expect("a self link");
    assert!(own.contains("_count=4") && own.contains("status=requested"), "{own}");
    let next = link(&first, "next").expect("a second page");
    let path = next.strip_prefix(world.base().as_str()).expect("on this server");
    let second = hospital.get(path).await.expect("an answer").json().expect("JSON");
    assert_eq!((tasks(&first).len(), tasks(&second).len()), (4, 2));
    assert_eq!(link(&second, "self"), Some(next), "a page names itself as it was asked for");
    assert_eq!(link(&second, "next"), None);
}

/// trust.md §8: "List inbox, addressed" is 403 for IG leads and operators; "Status of own submission" and "Status of
/// another's submission" they see by the identifier. A sender's 403 in that row is about the inbox: its own search finds
/// what it sent (interface.md, `GET Task?…`), and reading a copy stays closed to it.
#[tokio::test(flavor = "multi_thread")]
async fn governance_and_operators_see_a_state_by_its_identifier_only() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let transfer = sent(&hospital, message::EDISCHARGE_ITK3).await;
    let all = bundle(&hospital, "").await;
    let number = tasks(&all)[0]["for"]["identifier"]["value"].as_str().expect("a person").to_owned();
    let copy = found(&hospital, "owner=VMH01").await.remove(0);
    let governance = world.client("ig", "R9Z", Role::InformationGovernance).await;
    let operator = world.client("ops", "Y99900", Role::Operator).await;
    for session in [&governance, &operator] {
        assert_eq!(session.get("fhir/R4/Task").await.expect("an answer").status, 403);
    }
    for id in [&transfer, &copy] {
        let path = format!("fhir/R4/Task/{id}");
        let shown = governance.get(&path).await.expect("an answer");
        assert!(String::from_utf8_lossy(&shown.body).contains(&number), "an IG lead works for the person");
        let shown = operator.get(&path).await.expect("an answer");
        assert_eq!(shown.status, 200);
        assert!(!String::from_utf8_lossy(&shown.body).contains(&number), "an operator sees no person");
    }
}

/// By a form no NHS number stands in an address, and none in the links of what is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_by_form_finds_the_same_and_names_nobody_in_an_address() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    sent(&hospital, message::EDISCHARGE_ITK3).await;
    sent(&hospital, message::EDISCHARGE_ITK3).await;
    let posted = async |query: &str, form: String| {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let path = format!("fhir/R4/Task/_search{query}");
        let reply = hospital.call(onward_connect::http::Method::POST, &path, &headers, form).await.expect("an answer");
        (reply.status.as_u16(), reply.json().expect("JSON"))
    };
    let all = bundle(&hospital, "").await;
    let number = tasks(&all)
        .iter()
        .find_map(|task| task["for"]["identifier"]["value"].as_str())
        .expect("a Task names its person")
        .to_owned();
    let (status, first) = posted("?_count=3", format!("patient={NHS_NUMBER}|{number}")).await;
    assert_eq!((status, tasks(&first).len()), (200, 3), "{first}");
    let mut seen: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        seen.extend(tasks(&page).iter().map(|task| task["id"].as_str().expect("an id").to_owned()));
        for relation in ["self", "next"] {
            assert!(!link(&page, relation).unwrap_or_default().contains(&number), "{relation}");
        }
        let Some(next) = link(&page, "next") else { break };
        let query = next.split_once('?').expect("a query").1.to_owned();
        page = bundle(&hospital, &query).await;
    }
    seen.sort();
    let mut by_address = found(&hospital, &format!("patient={NHS_NUMBER}|{number}")).await;
    by_address.sort();
    assert_eq!(seen, by_address);
    let (status, refused) = posted("", "patient=9990000018&patient=9990000018".to_owned()).await;
    assert_eq!((status, &refused["resourceType"]), (400, &serde_json::json!("OperationOutcome")));
    assert_eq!(posted("", "x".repeat(9 * 1024)).await.0, 413);
}

/// Addresses stand in the logs of whatever lies between: where the operator says so, none names a person.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_may_take_no_person_in_an_address() {
    let world = World::start_limited("patients_in_addresses = false\n").await;
    let hospital = world.hospital().await;
    let lead = world.client("ig", "R9Z", Role::InformationGovernance).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let post = onward_connect::http::Method::POST;
    for (session, resource) in [(&hospital, "Task"), (&lead, "AuditEvent")] {
        for query in ["patient=9990000018", "_count=1&pat%69ent=9990000018", "patient:identifier=9990000018"] {
            let reply = session.get(&format!("fhir/R4/{resource}?{query}")).await.expect("an answer");
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!(reply.status, 400, "{resource}: {text}");
            assert!(text.contains("send the search to _search") && !text.contains("9990000018"), "{resource}: {text}");
            let path = format!("fhir/R4/{resource}/_search?{query}");
            let reply = session.call(post.clone(), &path, &form, "_count=1").await.expect("an answer");
            assert_eq!(reply.status, 400, "{resource}: a form does not help an address");
        }
        let reply = session.get(&format!("fhir/R4/{resource}?_count=1")).await.expect("an answer");
        assert_eq!(reply.status, 200, "{resource}: a search for nobody");
        let path = format!("fhir/R4/{resource}/_search");
        let reply = session.call(post.clone(), &path, &form, "patient=9990000018").await.expect("an answer");
        assert_eq!(reply.status, 200, "{resource}: a search by form");
    }
}
