//! Somebody leaves the home: both practices, the pharmacy and the hospital are told, once, and no more than they need.

use onward_core::client::Role as ClientRole;
use onward_core::people::Role;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::DeliveryRecord;
use onward_core::{Clock as _, SystemClock, TransferId};
use onward_gateway::lifecycle::TakenBack;
use onward_tests::browser::{self, Person};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, accepted};
use serde_json::Value;

use crate::lifecycle::Version;

/// A discharge, once every copy lies in its inbox: the transfer and the home's copy.
async fn sent(world: &World, hospital: &Session) -> (TransferId, DeliveryRecord) {
    let id = accepted(hospital, fresh(message::EDISCHARGE_ITK3)).await;
    loop {
        let record = world.gateway().store().transfer(id).await.expect("readable").expect("there");
        if record.deliveries.iter().all(|copy| copy.state != DeliveryState::Queued) {
            let home = record.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").clone();
            return (id, home);
        }
        tokio::task::yield_now().await;
    }
}

/// The home has the person, and then has not.
pub(crate) async fn leave(home: &Person, copy: &DeliveryRecord, to: &str) {
    let path = format!("/transfers/{}", copy.id);
    assert_eq!(home.browser.get(&path).await.status, 200);
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    let form = [("to", to), ("on", today.as_str()), ("words", "Her daughter fetches her")];
    let early = home.browser.post(&format!("{path}/leave"), &form).await;
    assert_eq!(early.status, 409, "nobody leaves who has not arrived: {}", early.text);
    assert_eq!(home.browser.post(&format!("{path}/arrive"), &[]).await.status, 303);
    let hours = home.browser.get(&format!("{path}/checklist")).await;
    assert!(hours.status == 200 && hours.text.contains("There is a problem"), "{}", hours.text);
    assert!(!hours.text.contains(" checked"), "no outcome is chosen beforehand: {}", hours.text);
    let fields = [("item", "identity"), ("reason", "two bands")];
    let page = home.browser.post(&format!("{path}/checklist"), &fields).await;
    assert!(page.status == 422 && page.text.contains("Say whether it does not apply"), "{}", page.text);
    assert!(page.text.contains("two bands") && !page.text.contains(" checked"), "what was written stays");
    for (wrong, error) in [
        (("to", "the moon"), "Say where the person went"),
        (("on", ""), "Say on which day"),
        (("on", "2999-01-01"), "The day is today or before"),
        (("on", "2020-01-01"), "The day is today or before"),
    ] {
        let form: Vec<_> = form.iter().map(|field| if field.0 == wrong.0 { wrong } else { *field }).collect();
        let page = home.browser.post(&format!("{path}/leave"), &form).await;
        assert!(page.status == 422 && page.text.contains(error), "{wrong:?}: {}", page.text);
        assert!(page.text.contains("Her daughter"), "what was written stays");
        assert!(page.text.contains("HOLROYD"), "nobody says for good that somebody left without seeing who");
    }
    let page = home.browser.post(&format!("{path}/leave"), &form).await;
    assert_eq!(page.location(), Some(path.as_str()), "{}", page.text);
    assert_eq!(home.browser.post(&format!("{path}/leave"), &form).await.status, 303, "twice is once");
    let page = home.browser.get(&path).await;
    assert!(page.text.contains("Left the home") && !page.text.contains(&format!("{path}/leave")), "{}", page.text);
}

/// The notices that this client finds: its Task and its page.
async fn told(session: &Session) -> Vec<(Value, String)> {
    let mut found = Vec::new();
    let tasks = session.get("fhir/R4/Task").await.expect("an answer").json().expect("JSON");
    for entry in tasks["entry"].as_array().into_iter().flatten() {
        let task = entry["resource"].clone();
        if task["input"][0]["type"]["text"] == "ends with the stay" {
            let path = format!("fhir/R4/Bundle/{}", task["id"].as_str().expect("an id"));
            let headers = [("accept", "text/html")];
            let page = session.call(onward_connect::http::Method::GET, &path, &headers, "").await.expect("an answer");
            found.push((task, String::from_utf8(page.body.to_vec()).expect("text")));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn practices_pharmacy_and_hospital_hear_that_somebody_leaves() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let others = [
        (world.client("beck-lane", "Y99001", ClientRole::Practice).await, "End the temporary registration"),
        (world.client("hillside", "Y99002", ClientRole::Practice).await, "Plan the next contact"),
        (world.client("station-road", "FZZ01", ClientRole::Pharmacy).await, "Deliver nothing more"),
    ];
    let (transfer, copy) = sent(&world, &hospital).await;
    leave(&home, &copy, "own-home").await;
    for (session, step) in &others {
        let notices = loop {
            let notices = told(session).await;
            if !notices.is_empty() {
                break notices;
            }
            tokio::task::yield_now().await;
        };
        let [(task, page)] = notices.as_slice() else { panic!("{} notices", notices.len()) };
        assert!(task["businessStatus"]["text"].as_str().is_some_and(|text| text.contains("left-home")), "{task}");
        for words in
            ["The person has left the care home", "To their own home, on", "Rowan House Care Home told so", step]
        {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(page.contains("999 000 0018"), "about whom");
        assert!(!page.contains("daughter") && !page.contains("Holroyd"), "the home's own words are for the hospital");
    }
    let task = hospital.get(&format!("fhir/R4/Task/{}", copy.id)).await.expect("an answer").json().expect("JSON");
    let outputs: Vec<String> = task["output"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let left = outputs.iter().find(|output| output.contains("left by Person home")).expect("the hospital sees it");
    assert!(left.contains("To their own home") && left.contains("Her daughter fetches her"), "{left}");
    // The copies themselves stay as they are: nothing is taken back by it.
    let record = world.gateway().store().transfer(transfer).await.expect("readable").expect("there");
    assert!(record.copies().all(|copy| copy.ended.is_none()));
    assert_eq!(record.deliveries.iter().filter(|copy| copy.notice.is_some()).count(), 3, "the pharmacy hears it once");
    assert!(world.gateway().store().checkup().await.expect("readable").flaws.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_to_plan_with_the_dead_nor_told_of_who_was_not_theirs() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let registered = world.client("hillside", "Y99002", ClientRole::Practice).await;
    let (transfer, copy) = sent(&world, &hospital).await;
    let record = world.gateway().store().transfer(transfer).await.expect("readable").expect("there");
    let covering = record.copies().find(|copy| copy.kind == RecipientKind::CoveringPractice).expect("a copy");
    let back = TakenBack {
        agent: onward_core::audit::Agent::named("operator", None),
        by: Some("Ops"),
        reason: "wrong practice",
        request_id: None,
    };
    let recalled = world.gateway().recall(transfer, Some(covering.id), &back, true).await.expect("committed");
    assert_eq!(recalled.len(), 1);
    leave(&home, &copy, "died").await;
    let notices = loop {
        let notices = told(&registered).await;
        if !notices.is_empty() {
            break notices;
        }
        tokio::task::yield_now().await;
    };
    let page = &notices[0].1;
    assert!(page.contains("The person died, on") && !page.contains("Plan the next contact"), "{page}");
    let record = world.gateway().store().transfer(transfer).await.expect("readable").expect("there");
    let of_leaving = |copy: &&DeliveryRecord| {
        copy.notice.is_some_and(|notice| notice.why == onward_core::state::EndReason::LeftHome)
    };
    let told: Vec<_> = record.deliveries.iter().filter(of_leaving).map(|copy| copy.recipient.as_str()).collect();
    assert!(
        !told.contains(&"Y99001") && told.contains(&"Y99002"),
        "who should not have had it hears no more: {told:?}"
    );
}

/// The home told with the first version that the person has left. Whoever gets the second one must not care for a stay that is over.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_a_later_version_hears_of_a_leaving_told_before() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let first = Version::first();
    let id = accepted(&hospital, first.text.clone()).await;
    let record = async |id| world.gateway().store().transfer(id).await.expect("readable").expect("there");
    let of_home = async |id| {
        let record = record(id).await;
        record.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").clone()
    };
    leave(&home, &of_home(id).await, "hospital").await;
    let second = accepted(&hospital, first.next().text).await;
    let told = record(second).await;
    let notices: Vec<_> = told.deliveries.iter().filter_map(|copy| copy.notice.map(|notice| (copy, notice))).collect();
    let others: std::collections::BTreeSet<_> =
        told.copies().filter(|copy| copy.kind != RecipientKind::CareHome).map(|copy| copy.recipient.clone()).collect();
    assert_eq!(others.len(), 3, "two practices and a pharmacy: {others:?}");
    assert_eq!(
        notices.iter().map(|(copy, _)| copy.recipient.clone()).collect::<std::collections::BTreeSet<_>>(),
        others
    );
    assert_eq!(notices.len(), 3, "each hears it once");
    for (copy, notice) in &notices {
        assert_eq!(notice.why, onward_core::state::EndReason::LeftHome);
        let of = told.copies().find(|own| own.id == notice.of).expect("of a copy of this version");
        assert_eq!(of.recipient, copy.recipient);
        let page = world.gateway().store().rendition(copy.id).await.expect("readable").expect("kept").html;
        let page = String::from_utf8(page.expect("a page")).expect("text");
        assert!(page.contains("To hospital, on") && page.contains("Rowan House Care Home told so"), "{page}");
        assert!(!page.contains("daughter"), "the home's own words are for the hospital: {page}");
    }
    assert!(of_home(second).await.notice.is_none());
    assert!(world.gateway().store().checkup().await.expect("readable").flaws.is_empty());
    // Nobody has left whom nobody told of.
    let other = Version::first();
    accepted(&hospital, other.text.clone()).await;
    let third = record(accepted(&hospital, other.next().text).await).await;
    assert!(third.deliveries.iter().all(|copy| copy.notice.is_none()));
}
