//! A hospital posts; the answer follows the commit; repeats get the first answer.

use onward_core::audit::Agent;
use onward_core::client::Role;
use onward_core::state::RecipientKind;
use onward_fhir::read::{self, Limits};
use onward_fhir::{Release, write};
use onward_gateway::holds::{Choice, Decider};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post, post_xml};
use serde_json::Value;

fn outcome(response: &Value) -> &Value {
    response["entry"]
        .as_array()
        .and_then(|entries| entries.iter().find(|entry| entry["resource"]["resourceType"] == "OperationOutcome"))
        .map_or(response, |entry| &entry["resource"])
}

fn task(response: &Value) -> &Value {
    response["entry"]
        .as_array()
        .and_then(|entries| entries.iter().find(|entry| entry["resource"]["resourceType"] == "Task"))
        .map(|entry| &entry["resource"])
        .expect("the response carries the transfer's Task")
}

/// All the ways of interface 1 to 3 lead to five copies.
#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_message_becomes_five_copies() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let xml = fresh(message::EDISCHARGE_ITK3);
    let other = fresh(message::EDISCHARGE_ITK3);
    let tree = read::xml(&other, &Limits::default()).expect("readable");
    let as_json = write::json(tree.root(), Release::Stu3);
    assert!(as_json.losses.is_empty(), "the fixture is carried whole");
    let messages = [
        ("ITK3 XML", "application/fhir+xml", xml),
        ("ITK3 JSON", "application/fhir+json", as_json.text),
        ("R4 document", "application/fhir+json", fresh(message::EDISCHARGE_R4)),
        ("R4 DocumentReference", "application/fhir+json", message::DOCUMENT_REFERENCE_R4.to_owned()),
    ];
    for (name, media_type, body) in messages {
        let (status, response, reply) = post(&hospital, media_type, body).await;
        assert_eq!(status, 200, "{name}: {response}");
        let location = reply.headers["location"].to_str().expect("text").to_owned();
        let id = task(&response)["id"].as_str().expect("an id").to_owned();
        assert!(location.ends_with(&id), "{name}");
        let copies = copies(&world, &id).await;
        let kinds: Vec<&str> = copies.iter().map(|copy| copy.kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["care-home", "covering-practice", "registered-practice", "pharmacy-referral", "pharmacy-nomination"],
            "{name}: {response}"
        );
    }
}

async fn copies(world: &World, transfer: &str) -> Vec<onward_core::store::DeliveryRecord> {
    let transfer =
        world.gateway().store().transfer(transfer.parse().expect("an id")).await.expect("readable").expect("there");
    let mut copies: Vec<_> =
        transfer.deliveries.into_iter().filter(|copy| copy.kind != RecipientKind::Sender).collect();
    copies.sort_by_key(|copy| copy.kind);
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_and_other_bytes_a_conflict() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let body = fresh(message::EDISCHARGE_ITK3);
    let (status, first, reply) = post_xml(&hospital, body.clone()).await;
    assert_eq!(status, 200);
    assert!(reply.headers.get("onward-duplicate").is_none());
    let (status, second, reply) = post_xml(&hospital, body.clone()).await;
    assert_eq!(status, 200);
    assert_eq!(reply.headers["onward-duplicate"], "true");
    assert_eq!(first, second, "the same answer, to the letter");
    let changed = body.replacen("N0048213", "N0048214", 1);
    assert_ne!(changed, body);
    let (status, conflict, _) = post_xml(&hospital, changed).await;
    assert_eq!(status, 409);
    assert_eq!(outcome(&conflict)["issue"][0]["details"]["coding"][0]["code"], "20007", "{conflict}");
    assert_eq!(world.logged("directory-lookup: PDS asked").await, 3, "PDS was asked for each, whatever came of it");
}

/// standards.md §2: a message is a duplicate by the identifier of its Bundle or of its header, and answers name the header.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_was_used_before_is_a_conflict_whatever_the_bundle_is_called() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let first = fresh(message::EDISCHARGE_ITK3);
    let second = fresh(message::EDISCHARGE_ITK3);
    assert_eq!(post_xml(&hospital, first.clone()).await.0, 200);
    let header = |text: &str| {
        let tree = read::xml(text, &Limits::default()).expect("readable");
        let message = onward_fhir::Message::read(tree.root()).expect("a message");
        message.header_id.expect("an id").to_owned()
    };
    let reused = second.replace(&header(&second), &header(&first));
    let (status, conflict, _) = post_xml(&hospital, reused).await;
    assert_eq!(status, 409, "{conflict}");
    assert_eq!(outcome(&conflict)["issue"][0]["details"]["coding"][0]["code"], "20007", "{conflict}");
    assert_eq!(post_xml(&hospital, second).await.0, 200, "under its own header it is another message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_person_is_held_and_nothing_is_sent() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let (status, response, _) = post_xml(&hospital, fresh(message::RESTRICTED_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    assert_eq!(task(&response)["status"], "on-hold");
    let id = task(&response)["id"].as_str().expect("an id");
    assert!(copies(&world, id).await.is_empty());
    let holds = world.gateway().store().holds().await.expect("readable");
    assert_eq!(holds.len(), 1);
    assert_eq!(holds[0].hold.reason.as_str(), "restricted-patient");
    assert_eq!(holds[0].hold.owner, "information governance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_errors_is_refused_with_all_of_them_explained() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let body = fresh(message::REFUSED_ITK3);
    let (status, response, _) = post_xml(&hospital, body.clone()).await;
    assert_eq!(status, 422, "{response}");
    let issues = response["issue"].as_array().expect("issues");
    let errors = issues.iter().filter(|issue| issue["severity"] == "error").count();
    assert!(errors >= 3, "several causes are told at once: {response}");
    for issue in issues.iter().filter(|issue| issue["severity"] == "error") {
        assert!(issue["diagnostics"].as_str().is_some_and(|text| text.len() > 20), "{issue}");
        assert!(issue["expression"][0].is_string(), "{issue}");
    }
    let store = world.gateway().store();
    assert!(store.holds().await.expect("readable").is_empty());
    let tree = read::xml(&body, &Limits::default()).expect("readable");
    let identifier = tree.root().text_at("identifier.value").expect("an identifier");
    let log = store.audit_entries(0, 1_000).await.expect("readable");
    let told = log.iter().any(|entry| {
        let event = String::from_utf8_lossy(entry.event().expect("kept"));
        event.contains("refuse: ") && event.contains(identifier) && event.contains("urn:sha256:")
    });
    assert!(told, "a refusal can be found again by the message's identifier and its hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_and_foreign_bodies_get_their_status() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let cases: [(&str, &str, &[u8], u16); 6] = [
        ("cut XML", "application/fhir+xml", b"<Bundle xmlns=\"http://hl7.org/fhir\">", 400),
        (
            "entity",
            "application/fhir+xml",
            b"<!DOCTYPE a [<!ENTITY b \"c\">]><Bundle xmlns=\"http://hl7.org/fhir\"/>",
            400,
        ),
        ("cut JSON", "application/fhir+json", b"{\"resourceType\":\"Bundle\"", 400),
        ("not a message", "application/fhir+json", b"{\"resourceType\":\"Patient\"}", 422),
        ("text", "text/plain", b"hello", 415),
        ("UTF-16", "application/fhir+xml; charset=utf-16", b"<Bundle/>", 415),
    ];
    for (name, media_type, body, expected) in cases {
        let (status, response, _) = post(&hospital, media_type, body).await;
        assert_eq!(status, expected, "{name}: {response}");
        assert_eq!(response["resourceType"], "OperationOutcome", "{name}");
    }
    let huge = vec![b' '; 6 * 1024 * 1024];
    let (status, response, _) = post(&hospital, "application/fhir+xml", huge).await;
    assert_eq!(status, 413, "{response}");
    let (status, _, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "the server is well after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_another_organisation_is_forbidden() {
    let world = World::start().await;
    let other = world.client("southmoor-epr", "R9Y", Role::Sender).await;
    let (status, response, _) = post_xml(&other, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 403, "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_as_xml_when_asked() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let headers =
        [("content-type", "application/fhir+xml"), ("accept", "application/fhir+xml"), ("x-correlation-id", "abc-1")];
    let body = fresh(message::EDISCHARGE_ITK3);
    let reply = hospital
        .call(onward_connect::http::Method::POST, "fhir/R4/$process-message?async=false", &headers, body)
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["x-correlation-id"], "abc-1");
    let text = std::str::from_utf8(&reply.body).expect("text");
    let tree = read::xml(text, &Limits::default()).expect("FHIR XML");
    assert_eq!(tree.root().text("type"), Some("message"));
    assert_eq!(tree.root().text_at("entry.resource.response.code"), Some("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn async_answers_202_with_the_place_to_look() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let reply = hospital
        .call(
            onward_connect::http::Method::POST,
            "fhir/R4/$process-message?async=true",
            &[("content-type", "application/fhir+xml")],
            fresh(message::EDISCHARGE_ITK3),
        )
        .await
        .expect("an answer");
    assert_eq!(reply.status, 202);
    let place = reply.headers["content-location"].to_str().expect("text");
    let path = place.strip_prefix(world.base().as_str()).expect("on this server");
    let task = hospital.get(path).await.expect("an answer");
    assert_eq!(task.status, 200);
    assert_eq!(task.json().expect("JSON")["resourceType"], "Task");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operations_name_may_be_written_percent_encoded() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    for path in ["fhir/R4/%24process-message", "fhir/R4/%24explain", "fhir/R4/Bundle/%24validate"] {
        let headers = [("content-type", "application/fhir+xml"), ("accept", "application/fhir+json")];
        let body = fresh(message::EDISCHARGE_ITK3);
        let reply = hospital.call(onward_connect::http::Method::POST, path, &headers, body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{path}");
    }
}

/// R4 `$validate` takes the resource itself or `Parameters` with a parameter `resource`: the findings are the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_within_parameters_is_judged_like_the_bare_one() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let validate = |body: String| {
        let hospital = &hospital;
        async move {
            let headers = [("content-type", "application/fhir+xml"), ("accept", "application/fhir+json")];
            let path = "fhir/R4/Bundle/$validate";
            let reply =
                hospital.call(onward_connect::http::Method::POST, path, &headers, body).await.expect("an answer");
            (reply.status.as_u16(), reply.json().expect("JSON"))
        }
    };
    let rules = |outcome: &Value| -> Vec<(String, String)> {
        let issues = outcome["issue"].as_array().expect("issues");
        issues.iter().map(|issue| (issue["severity"].to_string(), issue["diagnostics"].to_string())).collect()
    };
    let bare = fresh(message::REFUSED_ITK3);
    let inner = &bare[bare.find("<Bundle").expect("a Bundle")..];
    let wrapped = format!(
        "<Parameters xmlns=\"http://hl7.org/fhir\"><parameter><name value=\"resource\"/><resource>{inner}</resource></parameter></Parameters>"
    );
    let (status, of_wrapped) = validate(wrapped.clone()).await;
    assert_eq!(status, 200);
    let (_, of_bare) = validate(bare).await;
    let errors = |rules: &[(String, String)]| rules.iter().filter(|(severity, _)| severity.contains("error")).count();
    assert!(errors(&rules(&of_bare)) >= 3, "{of_bare}");
    assert_eq!(errors(&rules(&of_wrapped)), errors(&rules(&of_bare)), "{of_wrapped}");
    let (status, outcome) = validate(wrapped.replacen("\"resource\"", "\"mode\"", 1)).await;
    assert_eq!(status, 422, "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_a_page_for_who_asks_for_one() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    for (accept, media_type) in [
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "application/fhir+json"),
        ("application/fhir+json, text/html;q=0.5", "application/fhir+json"),
    ] {
        let headers = [("content-type", "application/fhir+xml"), ("accept", accept)];
        let body = fresh(message::REFUSED_ITK3);
        let path = "fhir/R4/Bundle/$validate";
        let reply = hospital.call(onward_connect::http::Method::POST, path, &headers, body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{accept}");
        assert_eq!(reply.headers["content-type"], media_type, "{accept}");
        if accept == "text/html" {
            let page = String::from_utf8(reply.body.to_vec()).expect("text");
            assert!(page.contains("The message: invalid") && page.contains("<mark>"), "{page}");
            assert!(page.contains("line ") && !page.contains("<script>"), "{page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_claimed_must_be_the_contents() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    for (media_type, message, expected) in [
        ("application/fhir+xml; fhirVersion=4.0", message::EDISCHARGE_ITK3, 415),
        ("application/fhir+xml; fhirVersion=3.0", message::EDISCHARGE_ITK3, 200),
        ("application/fhir+json; fhirVersion=3.0", message::EDISCHARGE_R4, 415),
        ("application/fhir+json; fhirVersion=5.0", message::EDISCHARGE_R4, 415),
        ("application/fhir+json; charset=utf-8; fhirVersion=4.0", message::EDISCHARGE_R4, 200),
    ] {
        let (status, response, _) = post(&hospital, media_type, fresh(message)).await;
        assert_eq!(status, expected, "{media_type}: {response}");
    }
}

/// The R4 fixture with `change` made to its document: the Composition and the entries.
fn r4_with(change: impl FnOnce(&mut Value, &mut Vec<Value>)) -> String {
    let mut message: Value = serde_json::from_str(&fresh(message::EDISCHARGE_R4)).expect("JSON");
    let entries = message["entry"].as_array_mut().expect("entries");
    let document =
        entries.iter_mut().find(|entry| entry["resource"]["resourceType"] == "Bundle").expect("the document");
    let inside = document["resource"]["entry"].as_array_mut().expect("entries");
    let mut composition = inside.remove(0);
    change(&mut composition["resource"], inside);
    inside.insert(0, composition);
    message.to_string()
}

fn has_title(section: &Value, title: &str) -> bool {
    section["title"] == title
}

/// An allergy that the home's policy would cut out is not sent as a shorter list of allergies: a person decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_a_gap_in_its_allergies_is_held() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let url = format!("urn:uuid:{}", uuid::Uuid::new_v4());
    let body = r4_with(|composition, entries| {
        let subject = composition["subject"].clone();
        entries.push(serde_json::json!({"fullUrl": url, "resource": {
            "resourceType": "ClinicalImpression", "status": "completed", "subject": subject,
            "summary": "Reacts to latex",
        }}));
        let sections = composition["section"].as_array_mut().expect("sections");
        let allergies = sections.iter_mut().find(|section| has_title(section, "Allergies and adverse reactions"));
        let entries = allergies.expect("allergies")["entry"].as_array_mut().expect("entries");
        entries.push(serde_json::json!({"reference": url}));
    });
    let (status, response, _) = post(&hospital, "application/fhir+json", body).await;
    assert_eq!(status, 200, "{response:#}");
    assert_eq!(task(&response)["status"], "on-hold", "{response:#}");
    assert!(copies(&world, task(&response)["id"].as_str().expect("an id")).await.is_empty());
    let holds = world.gateway().store().holds().await.expect("readable");
    let hold = &holds[0].hold;
    assert_eq!((hold.reason.as_str(), hold.owner.as_str()), ("disclosure-gap", "discharge team"));
    for told in ["care-home", "Allergies and adverse reactions", "ClinicalImpression is not named"] {
        assert!(hold.detail.contains(told), "{told}: {}", hold.detail);
    }
    assert!(!hold.detail.contains("latex"));
}

/// The hospital records that the person does not want the home to know: nobody gets a copy before somebody has asked the ward, and
/// the home never does.
#[tokio::test(flavor = "multi_thread")]
async fn an_objection_to_sharing_is_honoured() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let body = |ods: &str| {
        let url = format!("urn:uuid:{}", uuid::Uuid::new_v4());
        let system = |name: &str| format!("http://terminology.hl7.org/CodeSystem/{name}");
        r4_with(|composition, entries| {
            entries.push(serde_json::json!({"fullUrl": url, "resource": {
                "resourceType": "Consent", "status": "active",
                "scope": {"coding": [{"system": system("consentscope"), "code": "patient-privacy"}]},
                "category": [{"coding": [{"system": system("v3-ActCode"), "code": "INFA"}]}],
                "patient": composition["subject"], "policyRule": {"text": "as the person said on the ward"},
                "provision": {"type": "deny", "actor": [{
                    "role": {"coding": [{"system": system("v3-ParticipationType"), "code": "IRCP"}]},
                    "reference": {"identifier": {
                        "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": ods,
                    }},
                }]},
            }}));
            let sections = composition["section"].as_array_mut().expect("sections");
            let legal = sections.iter_mut().find(|section| has_title(section, "Legal information")).expect("there");
            match legal["entry"].as_array_mut() {
                Some(entries) => entries.push(serde_json::json!({"reference": url})),
                None => legal["entry"] = serde_json::json!([{"reference": url}]),
            }
        })
    };
    let (status, response, _) = post(&hospital, "application/fhir+json", body("VMH02")).await;
    assert_eq!(status, 200, "{response:#}");
    let id = task(&response)["id"].as_str().expect("an id").to_owned();
    let unconcerned = copies(&world, &id).await;
    assert_eq!(unconcerned.len(), 5, "the objection is to another home: {response:#}");
    assert!(unconcerned.iter().all(|copy| copy.basis.contains("implied consent")), "{unconcerned:?}");

    let (status, response, _) = post(&hospital, "application/fhir+json", body("VMH01")).await;
    assert_eq!((status, task(&response)["status"].as_str()), (200, Some("on-hold")), "{response:#}");
    let id = task(&response)["id"].as_str().expect("an id").to_owned();
    assert!(copies(&world, &id).await.is_empty(), "nothing leaves");
    let held = world.gateway().store().holds().await.expect("readable").remove(0);
    assert_eq!((held.hold.reason.as_str(), held.hold.owner.as_str()), ("objection", "information governance"));
    assert!(held.hold.detail.contains("care-home VMH01"), "{}", held.hold.detail);
    for (agreed, still_held) in [
        (&[][..], true),
        (&[RecipientKind::CareHome], true),
        (&[RecipientKind::CareHome, RecipientKind::RegisteredPractice], false),
    ] {
        let agent = Agent::named("operator", None);
        let decider = Decider { agent, by: "Ada", reason: "asked the ward", act: true, request_id: None };
        let choice = Choice::Release { agreed_recipients: agreed.iter().copied().collect() };
        world.gateway().release(held.hold.id, choice, &decider).await.expect("decided");
        let holds = world.gateway().store().holds().await.expect("readable");
        assert_eq!(!holds.is_empty(), still_held, "{agreed:?}");
    }
    let agreed = copies(&world, &id).await;
    let kinds: Vec<RecipientKind> = agreed.iter().map(|copy| copy.kind).collect();
    assert_eq!(kinds, [RecipientKind::RegisteredPractice], "the home never gets it");
    let basis = &agreed[0].basis;
    assert!(basis.contains("agreed with the ward: consent is not implied"), "{basis}");
    assert!(!basis.contains("implied consent") && basis.contains("policy registered-practice"), "{basis}");
}

/// Without medicines there is nothing to refer to the pharmacy; the others are not kept waiting for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_discharge_without_medicines_makes_no_referral() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let body = r4_with(|composition, entries| {
        let sections = composition["section"].as_array_mut().expect("sections");
        sections.retain(|section| !has_title(section, "Medications and medical devices"));
        entries.retain(|entry| {
            let resource = &entry["resource"];
            let kind = resource["resourceType"].as_str().expect("a type");
            let text = resource.to_string();
            !(kind.starts_with("Medication") || kind == "List" && text.contains("edication"))
        });
    });
    let (status, response, _) = post(&hospital, "application/fhir+json", body).await;
    assert_eq!(status, 200, "{response:#}");
    let copies = copies(&world, task(&response)["id"].as_str().expect("an id")).await;
    let kinds: Vec<&str> = copies.iter().map(|copy| copy.kind.as_str()).collect();
    assert_eq!(kinds, ["care-home", "covering-practice", "registered-practice", "pharmacy-nomination"], "{response:#}");
}

/// FHIR's own definitions judge an R4 message on its way in: a code that no value set knows is told, or refused where the
/// operator says so, and never passed over.
#[tokio::test(flavor = "multi_thread")]
async fn profiles_warn_or_refuse_as_configured() {
    let wrong = |message: &str| fresh(message).replacen("\"gender\": \"female\"", "\"gender\": \"lady\"", 1);
    for (world, status) in [(World::start().await, 200), (World::start_strict().await, 422)] {
        let hospital = world.hospital().await;
        let (found, response, _) = post(&hospital, "application/fhir+json", wrong(message::EDISCHARGE_R4)).await;
        assert_eq!(found, status, "{response}");
        let told = response.to_string();
        assert!(told.contains("gender") && told.contains("administrative-gender"), "{told}");
        let (found, response, _) = post(&hospital, "application/fhir+json", fresh(message::EDISCHARGE_R4)).await;
        assert_eq!(found, 200, "the fixture itself is right: {response}");
    }
}
