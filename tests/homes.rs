//! The directory on the page and by FHIR: a home keeps its own entry, a hospital finds homes, and how old a number is can be seen.

use onward_connect::http::Method;
use onward_core::directory::{CareHome, DirectoryEntry};
use onward_core::people::Role;
use onward_tests::browser;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

async fn entry(world: &World, ods: &str) -> CareHome {
    let found = world.gateway().store().directory_entry(&ods.parse().expect("a code")).await.expect("readable");
    match found {
        Some(DirectoryEntry::CareHome(home)) => home,
        other => panic!("{ods} is no home: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_keeps_its_own_entry_and_a_hospital_finds_it() {
    let world = World::start().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let ward = browser::person(&world, "ward@northmoor.example", Role::WardCoordinator, &["R9Z"]).await;
    let page = home.browser.get("/directory").await;
    for words in ["Rowan House Care Home", "Never confirmed", "nhsuk-tag--grey", "Still correct", "Tracheostomy"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(!page.text.contains("Elm Court"), "another home's");
    let keep = async |ods: &str, more: &[(&str, &str)]| {
        let stands = home.browser.get("/directory").await.field("stands").expect("a form").to_owned();
        let fields = [
            ("ods", ods),
            ("form", "1"),
            ("stands", &stands),
            ("contact", "Night <b>manager</b>"),
            ("hours", "08:00 to 20:00"),
            ("accepts", "1"),
            ("total-with", "10"),
            ("total-without", "20"),
            ("free-without", "3"),
            ("tracheostomy", "1"),
            ("tracheostomy-without", "2"),
            ("type-dementia-maximum", "12"),
            ("type-dementia-occupied", "10"),
            ("type-dementia-vacant", "2"),
            ("type-nursing-maximum", "10"),
            // An empty unit that takes nobody in: more vacant beds than are free.
            ("type-nursing-vacant", "4"),
            ("type-nursing-closed", "1"),
        ];
        let fields: Vec<_> =
            more.iter().chain(fields.iter().filter(|field| more.iter().all(|own| own.0 != field.0))).copied().collect();
        home.browser.post("/directory/entry", &fields).await
    };
    assert_eq!(ward.browser.get("/directory?need=nonsense").await.status, 400);
    for (field, value, error) in [
        ("free-without", "21", "There cannot be more free beds than beds"),
        ("free-without", "-1", "Write a number of beds"),
        ("tracheostomy-without", "21", "Tracheostomy: there cannot be more beds"),
        ("tracheostomy", "0", "Tracheostomy: tick it, or take the beds away"),
        ("type-dementia-maximum", "31", "Dementia: there cannot be more beds than the home has"),
        ("type-dementia-occupied", "11", "Dementia: occupied and vacant beds are more than there can be"),
        ("type-nursing-maximum", "19", "Nursing: with it the types have 31 beds together, and the home has 30"),
        ("type-nursing-closed", "0", "Nursing: there cannot be more vacant beds than free beds of the home: 4 of 3"),
        ("type-short-stay-vacant", "x", "Write a number of beds"),
    ] {
        let page = keep("VMH01", &[(field, value)]).await;
        assert!(page.status == 422 && page.text.contains(error), "{field} {value}: {}", page.text);
        assert!(page.text.contains("08:00 to 20:00"), "what was written stays in the form");
    }
    let page = keep("VMH01", &[("type-nursing-closed", "0"), ("type-nursing-vacant", "2")]).await;
    let error = "Nursing: with it the types have 4 vacant beds together, and the home has 3 free";
    assert!(page.status == 422 && page.text.contains(error), "{}", page.text);
    assert_eq!(entry(&world, "VMH01").await.beds_updated, None, "nothing was kept");
    assert_eq!(keep("VMH02", &[]).await.status, 404, "another home's entry");
    assert_eq!(keep("VMH01", &[]).await.location(), Some("/directory?done=kept"));
    let kept = entry(&world, "VMH01").await;
    assert_eq!((kept.beds_available.without_nursing, kept.capabilities.tracheostomy.beds.without_nursing), (3, 2));
    assert_eq!(kept.covering_practice.as_str(), "Y99001", "what is not the home's own to change stays");
    assert!(kept.accepts_discharges_at_weekends && !kept.assesses_at_weekends);

    let found = async |query: &str| {
        let page = ward.browser.get(&format!("/directory?{query}")).await;
        assert_eq!(page.status, 200);
        (page.text.contains("Rowan House"), page.text.contains("Elm Court"), page.text)
    };
    for (query, rowan, elm) in [
        ("", true, true),
        ("need=tracheostomy", true, false),
        ("need=palliative-care", false, false),
        ("locality=NORTHMOOR", true, true),
        ("locality=nm1+1ab", false, true),
        ("weekend=1", true, false),
        ("vacancy=free-bed", true, false),
        ("vacancy=free-bed-with-nursing", false, false),
        ("vacancy=vacant-dementia", true, false),
        ("vacancy=vacant-nursing", false, false),
        ("vacancy=vacant-short-stay", false, false),
        ("vacancy=free-bed-without-nursing&need=tracheostomy&weekend=1&locality=north", true, false),
    ] {
        let (has_rowan, has_elm, _) = found(query).await;
        assert_eq!((has_rowan, has_elm), (rowan, elm), "{query}");
    }
    let (.., text) = found("").await;
    assert!(text.contains("Confirmed today at") && text.contains("&#60;b&#62;manager"), "{text}");

    // A number that nobody confirmed for a day is grey until somebody says that it still holds.
    let mut old = kept.clone();
    old.beds_updated = kept.beds_updated.map(|at| at - jiff::SignedDuration::from_hours(25));
    let at = old.beds_updated.expect("told");
    let row = world.configured("time passes");
    let store = world.gateway().store();
    store.import_directory(vec![DirectoryEntry::CareHome(old)], "test", at, vec![row].into()).await.expect("imported");
    assert!(found("").await.2.contains("Over 24 hours old: confirmed"));
    for words in ["Dementia: 2 of 12 vacant, 10 occupied", "Nursing: 4 of 10 vacant, 0 occupied, closed to admission"] {
        assert!(found("").await.2.contains(words), "{words}: {}", found("").await.2);
    }
    assert!(!found("").await.2.contains("Mental health:"), "of which the home tells nothing");
    let stands = home.browser.get("/directory").await.field("stands").expect("a form").to_owned();
    let confirmed = home.browser.post("/directory/confirm", &[("ods", "VMH01"), ("stands", &stands)]).await;
    assert_eq!(confirmed.location(), Some("/directory?done=confirmed"));
    assert!(found("").await.2.contains("Confirmed today at"));
    assert_eq!(entry(&world, "VMH01").await.beds_available.without_nursing, 3);
    let log = store.audit_entries(0, 100_000).await.expect("readable");
    let told: Vec<_> = log.iter().filter(|entry| entry.columns.word == "configure").collect();
    let by_home = told.iter().filter(|entry| entry.columns.agent.as_deref() == Some("Person home"));
    assert_eq!(by_home.count(), 2, "each change has its author");
    let denied = log.iter().filter(|entry| entry.columns.word == "deny");
    assert_eq!(denied.count(), 1, "who wanted to change another home's");
    // A home that closes is found, and by no vacancy.
    assert_eq!(keep("VMH01", &[("closed", "1")]).await.status, 303);
    let (has_rowan, _, text) = found("").await;
    assert!(has_rowan && text.contains("Closed to admissions"));
    assert!(!found("vacancy=free-bed").await.0 && !found("vacancy=vacant-dementia").await.0);
}

/// The directory with what a home can do.
fn capable(text: &str, home: &str, capabilities: &str) -> String {
    let line = format!("name = \"{home}\"\n");
    assert!(text.contains(&line), "{home} is in the directory");
    text.replace(&line, &format!("{line}capabilities = {{ {capabilities} }}\n"))
}

const DIRECTORY: &str = include_str!("support/directory.toml");

async fn found(session: &Session, path: &str) -> (u16, Value) {
    let reply = session.get(path).await.expect("an answer");
    (reply.status.as_u16(), reply.json().expect("JSON"))
}

fn codes(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries.map(|entry| entry["resource"]["id"].as_str().expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hospitals_system_finds_homes_by_fhir() {
    let world = World::start().await;
    let text = capable(DIRECTORY, "Elm Court", "tracheostomy = { offered = true, beds = { with_nursing = 2 } }");
    let text = text.replace("uprn = \"100012345679\"\n", "uprn = \"100012345679\"\ncqc_location = \"1-999000034\"\naccepts_discharges_at_weekends = true\n\
        beds_by_type = { dementia = { maximum = 4, occupied = 3, vacant = 1 }, short_stay = { maximum = 2, vacant = 1, closed = true } }\n\
        beds_total = { with_nursing = 9 }\nbeds_available = { with_nursing = 2 }\nbeds_updated = \"2026-11-01T09:00:00Z\"\n");
    world.import_directory(&text).await;
    let hospital = world.hospital().await;
    let service = "fhir/R4/HealthcareService";
    for (query, expected) in [
        ("", &["VMH01", "VMH02"][..]),
        ("?characteristic=tracheostomy", &["VMH02"]),
        ("?characteristic=https://onward.example/CodeSystem/care-home-characteristic|tracheostomy", &["VMH02"]),
        ("?characteristic=tracheostomy,assesses-at-weekends", &["VMH02"]),
        ("?characteristic=tracheostomy&characteristic=assesses-at-weekends", &[]),
        ("?characteristic=accepts-discharges-at-weekends&characteristic=free-bed-with-nursing", &["VMH02"]),
        ("?characteristic=free-bed-without-nursing", &[]),
        ("?characteristic=vacant-dementia", &["VMH02"]),
        ("?characteristic=vacant-short-stay", &[]),
        ("?characteristic=vacant-short-stay,vacant-dementia&characteristic=tracheostomy", &["VMH02"]),
        ("?location.address-city=north", &["VMH01", "VMH02"]),
        ("?location.address-postalcode=NM1%201AB", &["VMH02"]),
        ("?location.address=road", &[]),
        ("?location.address:contains=road", &["VMH02"]),
        ("?name=rowan", &["VMH01"]),
        ("?identifier=VMH00", &["VMH01"]),
        ("?identifier=https://fhir.nhs.uk/Id/ods-organization-code%7CVMH02", &["VMH02"]),
        ("?identifier=https://www.cqc.org.uk/location%7C1-999000034", &["VMH02"]),
        ("?identifier=https://www.cqc.org.uk/location%7C1-999000035", &[]),
        ("?identifier=https://www.cqc.org.uk/location%7C", &[]),
    ] {
        let (status, bundle) = found(&hospital, &format!("{service}{query}")).await;
        assert_eq!((status, codes(&bundle)), (200, expected.to_vec()), "{query}: {bundle}");
        assert_eq!(bundle["total"], expected.len());
    }
    for query in
        ["?characteristic=x", "?unknown=1", "?identifier=urn:x|VMH01", "?_count=x", "?name=a&name=b", "?address=x"]
    {
        assert_eq!(found(&hospital, &format!("{service}{query}")).await.0, 400, "{query}");
    }
    let (_, first) = found(&hospital, "fhir/R4/Location?_count=1&address-city=Northmoor").await;
    let next = first["link"].as_array().into_iter().flatten().find(|link| link["relation"] == "next").expect("a page");
    let next = next["url"].as_str().and_then(|url| url.strip_prefix(world.base().as_str())).expect("on this server");
    let (_, second) = found(&hospital, next).await;
    assert_eq!((codes(&first), codes(&second)), (vec!["VMH01"], vec!["VMH02"]));
    let one = &second["entry"][0]["resource"];
    assert_eq!((&one["address"]["postalCode"], &one["status"]), (&"NM1 1AB".into(), &"active".into()));
    let (status, service) = found(&hospital, "fhir/R4/HealthcareService/VMH02").await;
    assert_eq!(status, 200, "{service}");
    assert_eq!(
        found(
            &hospital,
            service["location"][0]["reference"].as_str().map(|to| format!("fhir/R4/{to}")).as_deref().expect("a link")
        )
        .await
        .1,
        *one
    );
    assert_eq!(
        found(&hospital, "fhir/R4/HealthcareService/VMH00").await.0,
        404,
        "another code of a home is no identifier of it"
    );
    assert_eq!(service["characteristic"][0]["text"], "2 with nursing, 0 without");
    let of_type = service["characteristic"].as_array().into_iter().flatten();
    let of_type =
        of_type.filter(|each| each["coding"][0]["code"].as_str().is_some_and(|code| code.starts_with("vacant-")));
    let texts: Vec<_> = of_type.map(|each| each["text"].clone()).collect();
    assert_eq!(texts, ["1 of 4 vacant, 3 occupied"], "closed beds are not vacant: {service:#}");
    let by_type = "Dementia: 1 of 4 vacant, 3 occupied. Short stay: 1 of 2 vacant, 0 occupied, closed to admission.";
    for told in [&service["comment"], &one["description"]] {
        assert!(told.as_str().is_some_and(|told| told.contains(by_type)), "{told}");
    }
    assert_eq!(
        (&service["identifier"][1]["value"], &one["identifier"][1]["value"]),
        (&"1-999000034".into(), &"1-999000034".into())
    );
    let ward = browser::person(&world, "ward@northmoor.example", Role::WardCoordinator, &["R9Z"]).await;
    assert!(ward.browser.get("/directory").await.text.contains("CQC location 1-999000034"));
    // Both are what FHIR R4 says they are.
    for resource in [&service, one] {
        let headers = [("content-type", "application/fhir+json")];
        let judged = hospital.call(Method::POST, "fhir/R4/Bundle/$validate", &headers, resource.to_string()).await;
        let judged = judged.expect("an answer").json().expect("JSON");
        let issues = judged["issue"].as_array().into_iter().flatten();
        let wrong: Vec<_> = issues.filter(|issue| issue["severity"] == "error").collect();
        assert!(wrong.is_empty() && judged["resourceType"] == "OperationOutcome", "{wrong:#?} {resource:#}");
    }
}

/// A message in which one of the person's conditions has this code and these words, in its display and its note, and stands so.
fn coded(text: String, code: &str, display: &str, status: &str) -> String {
    let (before, after) = text.split_once("<code value=\"49436004\"/>").expect("a condition of the fixture");
    let (start, rest) = before.rsplit_once("<clinicalStatus value=\"active\"/>").expect("how it stands");
    let after = after.replacen("\"Atrial fibrillation\"", &format!("\"{display}\""), 1);
    let after = after.replacen("\"Known since 2019; rate controlled\"", &format!("\"{display}\""), 1);
    format!("{start}<clinicalStatus value=\"{status}\"/>{rest}<code value=\"{code}\"/>{after}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_that_the_home_does_not_offer_is_told_to_the_ward() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let said = |text: String| text.replace("<p>Mrs Holroyd", "<p>Tracheostomy in place. Mrs Holroyd");
    assert_ne!(said(fresh(message::EDISCHARGE_ITK3)), fresh(message::EDISCHARGE_ITK3), "the fixture says more now");
    let warned = async |text: String| {
        let (status, response, _) = post_xml(&hospital, text).await;
        assert_eq!(status, 200, "{response}");
        response.to_string().contains("does not offer: ring the home")
    };
    assert!(!warned(said(fresh(message::EDISCHARGE_ITK3))).await, "a home that has told nothing is not judged");
    world.import_directory(&capable(DIRECTORY, "Rowan House Care Home", "palliative_care = { offered = true }")).await;
    assert!(warned(said(fresh(message::EDISCHARGE_ITK3))).await);
    assert!(!warned(fresh(message::EDISCHARGE_ITK3)).await, "a person without that need");
    let denied = fresh(message::EDISCHARGE_ITK3).replace("<p>Mrs Holroyd", "<p>No tracheostomy. Mrs Holroyd");
    assert!(!warned(denied).await);
    // A code says so without words, and words without a code, unless what they tell of is over.
    for (code, display, status, expected) in [
        ("129121000", "Tracheostomy tube", "active", true),
        ("129121000", "Tracheostomy tube", "resolved", false),
        ("129121000", "Atrial fibrillation", "active", true),
        ("73211009", "Tracheostomy tube", "active", true),
        ("73211009", "Tracheostomy tube", "inactive", false),
        ("73211009", "Diabetes mellitus", "active", false),
    ] {
        let text = coded(fresh(message::EDISCHARGE_ITK3), code, display, status);
        assert!(text.matches(&format!("\"{display}\"")).count() >= 2, "in its display and its note");
        assert_eq!(warned(text).await, expected, "{code} {display} {status}");
    }
    world.import_directory(&capable(DIRECTORY, "Rowan House Care Home", "tracheostomy = { offered = true }")).await;
    assert!(!warned(said(fresh(message::EDISCHARGE_ITK3))).await, "a home that can");
}
