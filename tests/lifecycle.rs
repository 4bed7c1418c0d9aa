//! What was sent is corrected: later versions, withdrawals, recalls. Everyone who got the earlier one hears of it.

use onward_connect::http::Method;
use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, EndReason, HoldReason, RecipientKind};
use onward_core::store::{Accepted, DeliveryRecord, Ended, Pause, TransferRecord};
use onward_core::{Clock as _, DeliveryId, NhsNumber, OdsCode, SystemClock, TransferId};
use onward_gateway::accept::Submission;
use onward_gateway::holds::{Choice, Decider, Released};
use onward_gateway::lifecycle::not_taken;
use onward_server::session::Reply;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::pharmacy::{Answers, Pharmacy};
use onward_tests::world::{World, accepted, post_xml};
use serde_json::{Value, json};

/// A discharge as text, and the identifier of its document's set.
pub(crate) struct Version {
    pub(crate) text: String,
    set: String,
}

impl Version {
    pub(crate) fn first() -> Self {
        Self::of(fresh(message::EDISCHARGE_ITK3))
    }

    fn of(text: String) -> Self {
        let composition = text.find("<Composition").expect("a document");
        let identifier = composition + text[composition..].find("<identifier>").expect("an identifier");
        let value = identifier + text[identifier..].find("<value value=\"").expect("a value") + 14;
        Self { set: text[value..value + 36].to_owned(), text }
    }

    /// Another discharge that replaces this one.
    pub(crate) fn next(&self) -> Self {
        let text = fresh(message::EDISCHARGE_ITK3);
        let relation = format!(
            "<relatesTo><code value=\"replaces\"/><targetIdentifier><system value=\"https://tools.ietf.org/html/rfc4122\"/>\
             <value value=\"{}\"/></targetIdentifier></relatesTo><section>",
            self.set
        );
        assert!(text.contains("<section>"), "the fixture has sections");
        Self::of(text.replacen("<section>", &relation, 1))
    }

    /// The same for another home.
    pub(crate) fn for_home(self, ods: &str) -> Self {
        Self { text: self.text.replace("VMH01", ods), set: self.set }
    }
}

pub(crate) async fn posted(hospital: &Session, version: &Version) -> TransferId {
    accepted(hospital, version.text.clone()).await
}

pub(crate) async fn record(world: &World, id: TransferId) -> TransferRecord {
    world.gateway().store().transfer(id).await.expect("readable").expect("there")
}

/// Sends a discharge and gives the home's copy, wherever that is by now.
pub(crate) async fn copy_of(world: &World, hospital: &Session, message: String) -> DeliveryId {
    let transfer = record(world, accepted(hospital, message).await).await;
    transfer.deliveries.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id
}

/// The home's copy, once it lies in the inbox.
pub(crate) async fn arrived(world: &World, id: TransferId) -> DeliveryRecord {
    loop {
        let transfer = record(world, id).await;
        let copy = transfer.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").clone();
        if copy.state != DeliveryState::Queued {
            return copy;
        }
        tokio::task::yield_now().await;
    }
}

async fn get(session: &Session, path: &str, accept: &str) -> Reply {
    session.call(Method::GET, path, &[("accept", accept)], Vec::new()).await.expect("an answer")
}

pub(crate) async fn task(session: &Session, id: impl std::fmt::Display) -> Value {
    get(session, &format!("fhir/R4/Task/{id}"), "application/fhir+json").await.json().expect("JSON")
}

/// Moves a Task against the version that it has.
pub(crate) async fn put(session: &Session, id: impl std::fmt::Display, status: &str, reason: Option<&str>) -> Reply {
    let path = format!("fhir/R4/Task/{id}");
    let mut body = json!({ "resourceType": "Task", "status": status, "intent": "order" });
    if let Some(reason) = reason {
        body["statusReason"] = json!({ "text": reason });
    }
    loop {
        let tag = session.get(&path).await.expect("an answer").headers["etag"].to_str().expect("text").to_owned();
        let headers = [("content-type", "application/fhir+json"), ("if-match", tag.as_str())];
        let reply = session.call(Method::PUT, &path, &headers, body.to_string()).await.expect("an answer");
        // Other copies are on their way meanwhile, and each step of theirs is a new version: look again, as clients do.
        if reply.status != 412 {
            return reply;
        }
    }
}

async fn requested(session: &Session) -> Vec<Value> {
    let bundle = get(session, "fhir/R4/Task?status=requested", "application/fhir+json").await.json().expect("JSON");
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_the_place_of_the_old_one_everywhere() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let old_copy = arrived(&world, old).await;
    let path = format!("fhir/R4/Bundle/{}", old_copy.id);
    assert_eq!(get(&home, &path, "text/html").await.status, 200, "the home reads the first version");

    let new = posted(&hospital, &first.next()).await;
    let new_copy = arrived(&world, new).await;
    let shown = task(&home, old_copy.id).await;
    assert_eq!(
        (shown["status"].as_str(), shown["businessStatus"]["text"].as_str()),
        (Some("cancelled"), Some("superseded"))
    );
    assert_eq!(shown["statusReason"]["text"], "version 2 replaces version 1: stop using version 1");
    assert_eq!(shown["output"][0]["valueReference"]["reference"], format!("Task/{}", new_copy.id));
    let page = get(&home, &path, "text/html").await;
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    assert!(text.contains("Stop using this version") && text.contains("stop using version 1"), "the old page says so");
    assert_eq!(page.headers["onward-superseded-by"], new_copy.id.to_string().as_str());
    let page = get(&home, &format!("fhir/R4/Bundle/{}", new_copy.id), "text/html").await;
    assert!(!page.headers.contains_key("onward-superseded-by"));
    assert!(String::from_utf8_lossy(&page.body).contains("This replaces an earlier summary"));
    assert_eq!(put(&home, old_copy.id, "accepted", None).await.status, 422, "nobody works from the old one");

    let shown = task(&hospital, old).await;
    assert_eq!(
        (shown["status"].as_str(), shown["businessStatus"]["text"].as_str()),
        (Some("cancelled"), Some("superseded"))
    );
    assert!(
        shown["output"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|out| out["valueReference"]["reference"] == format!("Task/{new}"))
    );
    assert_eq!(task(&hospital, new).await["input"][0]["valueReference"]["reference"], format!("Task/{old}"));
    let transfer = record(&world, old).await;
    assert!(transfer.copies().all(|copy| copy.ended.is_some()), "every recipient's copy ended");
    assert!(transfer.deliveries.iter().all(|copy| copy.notice.is_none()), "the new version tells them");
    let entries = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    assert_eq!(entries.iter().filter(|entry| entry.columns.word == "withdraw").count(), 5);

    // Only the newest version can be replaced.
    let (status, outcome, _) = post_xml(&hospital, first.next().text).await;
    assert_eq!(
        (status, outcome["issue"][0]["details"]["coding"][0]["code"].as_str()),
        (422, Some("20014")),
        "{outcome}"
    );
    assert_eq!(arrived(&world, new).await.ended, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_comes_first_waits_for_what_it_replaces() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let first = Version::first();
    let second = first.next();
    let new = posted(&hospital, &second).await;
    let shown = task(&hospital, new).await;
    assert_eq!(shown["status"], "on-hold");
    assert!(shown["businessStatus"]["text"].as_str().expect("text").starts_with("held: replacement"), "{shown}");
    assert!(requested(&home).await.is_empty());
    let old = posted(&hospital, &first).await;
    let copy = arrived(&world, new).await;
    let transfer = record(&world, new).await;
    assert_eq!((transfer.replaces, transfer.version, transfer.hold.is_some()), (Some(old), 2, false));
    assert!(record(&world, old).await.copies().all(|copy| copy.ended.is_some()));
    loop {
        let open = requested(&home).await;
        if !open.is_empty() {
            assert_eq!(open.len(), 1, "only the new version is to be worked on: {open:?}");
            assert_eq!(open[0]["id"], copy.id.to_string());
            break;
        }
        tokio::task::yield_now().await;
    }
}

fn decider(reason: &str) -> Decider<'_> {
    let agent = onward_core::audit::Agent::named("operator", None);
    Decider { agent, by: "Ada Wells", reason, act: true, request_id: None }
}

/// The copies that the home is to work on, by Task.
async fn open_at(home: &Session) -> Vec<String> {
    requested(home).await.iter().map(|task| task["id"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_is_refused_is_told_with_the_version_that_may_still_be_in_use() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let old_copy = arrived(&world, old).await;
    let new_copy = arrived(&world, posted(&hospital, &first.next()).await).await;
    let told = async || {
        let found = not_taken(world.gateway().store().as_ref(), &record(&world, old).await).await.expect("readable");
        found.into_iter().map(|(earlier, later)| (earlier, later.id, later.state)).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [], "nobody has refused anything");
    assert_eq!(put(&home, new_copy.id, "rejected", Some("it is about somebody else")).await.status, 200);
    assert_eq!(told().await, [(old_copy.id, new_copy.id, DeliveryState::Rejected)]);
    assert_eq!(
        put(&hospital, record(&world, old).await.replaced_by.expect("replaced"), "cancelled", Some("wrong"))
            .await
            .status,
        200
    );
    assert_eq!(told().await, [], "it is taken back, and so is the earlier one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_what_replaced_it_goes_to_nobody() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    // A person sent the second version as the first.
    let first = Version::first();
    let new = posted(&hospital, &first.next()).await;
    let hold = record(&world, new).await.hold.expect("held").id;
    let choice = Choice::Release { agreed_recipients: std::collections::BTreeSet::new() };
    // Whoever saw another reason when they decided has not decided about this one.
    let seen = (HoldReason::DirectoryUnavailable, choice.clone());
    let released = world.gateway().release_for(hold, seen.0, seen.1, &decider("PDS answers again")).await;
    let Ok(Released::StillHeld(cause)) = released else { panic!("{released:?}") };
    assert_eq!((cause.reason, record(&world, new).await.copies().count()), (HoldReason::Replacement, 0));
    let released = world.gateway().release(hold, choice, &decider("the first will not come")).await;
    assert!(matches!(released, Ok(Released::Queued(_))), "{released:?}");
    let copy = arrived(&world, new).await;
    let old = posted(&hospital, &first).await;
    let transfer = record(&world, old).await;
    assert_eq!(transfer.ended.as_ref().map(|(why, _)| *why), Some(EndReason::Superseded));
    assert_eq!((transfer.copies().count(), transfer.replaced_by), (0, Some(new)));
    assert_eq!((record(&world, new).await.replaces, record(&world, new).await.version), (Some(old), 2));
    let shown = task(&hospital, old).await;
    assert_eq!(
        (shown["status"].as_str(), shown["businessStatus"]["text"].as_str()),
        (Some("cancelled"), Some("superseded"))
    );
    assert!(shown["statusReason"]["text"].as_str().expect("text").contains("goes to nobody"), "{shown}");
    assert_eq!(open_at(&home).await, [copy.id.to_string()], "the newest stays the only one");
    let (_, again, _) = post_xml(&hospital, first.text.clone()).await;
    assert!(again.to_string().contains("goes to nobody"), "the answer says so: {again}");

    // A second version that waits is replaced by a third before the first comes.
    let first = Version::first();
    let second = first.next();
    let waited = posted(&hospital, &second).await;
    let third = posted(&hospital, &second.next()).await;
    arrived(&world, third).await;
    let old = posted(&hospital, &first).await;
    let transfer = record(&world, old).await;
    assert_eq!((transfer.copies().count(), transfer.replaced_by), (0, Some(waited)));
    assert_eq!(record(&world, third).await.version, 3);

    // One that was closed makes what comes after it void.
    let first = Version::first();
    let new = posted(&hospital, &first.next()).await;
    let hold = record(&world, new).await.hold.expect("held").id;
    world.gateway().close(hold, &decider("written for somebody else")).await.expect("committed");
    let old = posted(&hospital, &first).await;
    let transfer = record(&world, old).await;
    assert_eq!((transfer.ended.as_ref().map(|(why, _)| *why), transfer.copies().count()), (Some(EndReason::Void), 0));
    let checkup = world.gateway().store().checkup().await.expect("readable");
    assert_eq!(checkup.flaws, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_nobody_joined_is_joined_by_the_next_look() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let first = Version::first();
    let new = posted(&hospital, &first.next()).await;
    let waiting = record(&world, new).await;
    assert!(waiting.hold.is_some(), "it waits");
    // As another node would that is killed between its commit and the join.
    let (gateway, store) = (world.gateway(), world.gateway().store());
    let client = store.client(&waiting.client_id).await.expect("readable").expect("registered");
    let submission = Submission {
        client,
        body: first.text.clone().into(),
        media_type: "application/fhir+xml".to_owned(),
        request_id: None,
    };
    let acceptance = gateway.acceptance_of(&submission).await.expect("acceptable");
    let old = acceptance.transfer.id;
    assert_eq!(store.accept(acceptance).await, Ok(Accepted::New));
    gateway.alert_once().await.expect("looked");
    loop {
        let joined = record(&world, new).await;
        if joined.hold.is_none() {
            assert_eq!((joined.replaces, joined.version), (Some(old), 2));
            break;
        }
        // The server looks as well, and may be the one that joins them.
        tokio::task::yield_now().await;
    }
    assert!(record(&world, old).await.copies().all(|copy| copy.ended.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_stays_held_is_in_line_with_what_it_replaces() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let first = Version::first();
    let new = posted(&hospital, &first.next().for_home("VMH99")).await;
    let hold = record(&world, new).await.hold.expect("held");
    assert_eq!(hold.reason, HoldReason::CareHomeUnknown, "not for want of the first");
    let old = posted(&hospital, &first).await;
    let used = arrived(&world, old).await;
    let (was, is) = (record(&world, old).await, record(&world, new).await);
    assert_eq!((was.replaced_by, was.ended), (Some(new), None));
    assert_eq!((is.replaces, is.version, is.hold.map(|hold| hold.id)), (Some(old), 2, Some(hold.id)));
    assert_eq!(used.ended, None, "the home uses the first until the second can go on");
    // Withdrawn, it leaves nobody with what it was to replace.
    assert_eq!(put(&hospital, new, "cancelled", Some("written for somebody else")).await.status, 200);
    for id in [old, new] {
        assert_eq!(record(&world, id).await.ended.map(|(why, _)| why), Some(EndReason::Withdrawn));
    }
    assert!(record(&world, old).await.copies().all(|copy| !copy.is_readable()));
    assert_eq!(world.gateway().store().checkup().await.expect("readable").flaws, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_leaves_nobody_two_versions_behind() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let first = Version::first();
    let second = first.next();
    let third = second.next();
    let oldest = posted(&hospital, &first).await;
    let old_copy = arrived(&world, oldest).await;
    let sent = posted(&hospital, &third).await;
    let hold = record(&world, sent).await.hold.expect("held").id;
    let choice = Choice::Release { agreed_recipients: std::collections::BTreeSet::new() };
    let released = world.gateway().release(hold, choice, &decider("the second will not come")).await;
    assert!(matches!(released, Ok(Released::Queued(_))), "{released:?}");
    let copy = arrived(&world, sent).await;
    let held = posted(&hospital, &third.next().for_home("VMH99")).await;
    assert!(record(&world, held).await.hold.is_some());
    let late = posted(&hospital, &second).await;
    assert_eq!(record(&world, late).await.ended.map(|(why, _)| why), Some(EndReason::Superseded));
    // The third is used while the fourth is held; nothing before it is.
    let ended = record(&world, oldest).await.copies().find(|copy| copy.id == old_copy.id).expect("there").ended;
    assert_eq!(ended, Some(Ended { why: EndReason::Superseded, by: Some(copy.id) }));
    assert_eq!(arrived(&world, sent).await.ended, None);
    assert!(record(&world, held).await.hold.is_some());
    assert_eq!(world.gateway().store().checkup().await.expect("readable").flaws, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_reaches_whoever_may_have_it() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let id = posted(&hospital, &Version::first()).await;
    let copy = arrived(&world, id).await;
    let path = format!("fhir/R4/Bundle/{}", copy.id);
    assert_eq!(get(&home, &path, "application/fhir+json").await.status, 200);
    assert_eq!(put(&hospital, id, "cancelled", None).await.status, 422, "a reason is needed");
    assert_eq!(put(&hospital, id, "completed", Some("done")).await.status, 422);
    assert_eq!(put(&hospital, copy.id, "cancelled", Some("mine")).await.status, 403, "the copy is the home's to move");
    let stranger = world.client("southmoor-epr", "R9Y", onward_core::client::Role::Sender).await;
    let headers = [("content-type", "application/fhir+json"), ("if-match", "W/\"1\"")];
    let foreign = stranger.call(Method::PUT, &format!("fhir/R4/Task/{id}"), &headers, "{}").await.expect("an answer");
    assert_eq!(foreign.status, 404);
    let done = put(&hospital, id, "cancelled", Some("written for somebody else")).await;
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    let done = done.json().expect("JSON");
    assert_eq!(
        (done["status"].as_str(), done["businessStatus"]["text"].as_str()),
        (Some("cancelled"), Some("withdrawn"))
    );
    assert_eq!(put(&hospital, id, "cancelled", Some("again")).await.status, 422, "it has ended");

    assert_eq!(get(&home, &path, "text/html").await.status, 404, "nobody reads it any more");
    assert_eq!(task(&home, copy.id).await["status"], "cancelled");
    // The home read it, so it is told; nobody else has opened a copy.
    let notices: Vec<_> =
        record(&world, id).await.deliveries.into_iter().filter(|copy| copy.notice.is_some()).collect();
    assert_eq!(notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [RecipientKind::CareHome]);
    let notice = notices[0].id;
    let page = get(&home, &format!("fhir/R4/Bundle/{notice}"), "text/html").await;
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    assert!(text.contains("The hospital has withdrawn it") && text.contains("written for somebody else"), "{text}");
    let bundle = get(&home, &format!("fhir/R4/Bundle/{notice}"), "application/fhir+json").await.json().expect("JSON");
    assert_eq!(bundle["entry"][0]["resource"]["status"], "cancelled");
    assert_eq!(bundle["entry"][0]["resource"]["identifier"][0]["value"], copy.id.to_string());
    assert_eq!(put(&home, notice, "accepted", None).await.status, 200, "they confirm that they stopped");
    assert_eq!(task(&hospital, id).await["status"], "cancelled");
    let checkup = world.gateway().store().checkup().await.expect("readable");
    assert_eq!((checkup.flaws, checkup.ended), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_reaches_whoever_has_an_earlier_version() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    for held in [false, true] {
        let first = Version::first();
        let old = posted(&hospital, &first).await;
        let copy = arrived(&world, old).await;
        let path = format!("fhir/R4/Bundle/{}", copy.id);
        assert_eq!(get(&home, &path, "text/html").await.status, 200, "the home reads the first version");
        let second = first.next();
        // One that names somebody whom PDS knows by another name is held.
        let second = if held { Version::of(second.text.replace("9990000018", "9990000050")) } else { second };
        let new = posted(&hospital, &second).await;
        if held {
            assert_eq!(task(&hospital, new).await["status"], "on-hold");
        } else {
            assert_eq!(arrived(&world, new).await.opened, None, "nobody opened it");
        }
        let done = put(&hospital, new, "cancelled", Some("written for somebody else")).await;
        assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
        assert_eq!(get(&home, &path, "text/html").await.status, 404, "nobody works from the earlier one");
        assert_eq!(task(&home, copy.id).await["businessStatus"]["text"], "withdrawn");
        assert_eq!(task(&hospital, old).await["status"], "cancelled");
        let told = [old, new].map(|id| record(&world, id));
        let mut notices = Vec::new();
        for told in told {
            notices.extend(
                told.await.deliveries.into_iter().filter_map(|copy| Some((copy.id, copy.kind, copy.notice?.of))),
            );
        }
        assert_eq!(notices.len(), 1, "who has it is told once, and nobody else: {notices:?}");
        assert_eq!((notices[0].1, notices[0].2), (RecipientKind::CareHome, copy.id));
        let page = get(&home, &format!("fhir/R4/Bundle/{}", notices[0].0), "text/html").await;
        assert!(String::from_utf8_lossy(&page.body).contains("The hospital has withdrawn it"), "{}", page.status);
        let checkup = world.gateway().store().checkup().await.expect("readable");
        assert_eq!(checkup.flaws, vec![]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_cannot_be_processed_makes_both_null_and_void() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let copy = arrived(&world, old).await;
    let path = format!("fhir/R4/Bundle/{}", copy.id);
    assert_eq!(get(&home, &path, "text/html").await.status, 200);
    // It names somebody whom PDS knows by another name.
    let second = first.next();
    let new = posted(&hospital, &Version::of(second.text.replace("9990000018", "9990000050"))).await;
    assert_eq!(task(&hospital, new).await["status"], "on-hold");
    assert_eq!(get(&home, &path, "text/html").await.status, 200, "the first stays in use until somebody decides");
    assert!(task(&hospital, old).await["businessStatus"]["text"].as_str().expect("text").contains("later version"));
    let hold = record(&world, new).await.hold.expect("held").id;
    world.gateway().close(hold, &decider("the number is another person's")).await.expect("committed");
    assert_eq!(get(&home, &path, "text/html").await.status, 404);
    let shown = task(&home, copy.id).await;
    assert_eq!(shown["businessStatus"]["text"], "null-and-void");
    assert_eq!(task(&hospital, old).await["status"], "cancelled");
    assert!(record(&world, old).await.deliveries.iter().any(|copy| copy.notice.is_some()), "the home is told");
}

async fn paused(world: &World, pharmacy: &OdsCode) {
    let pause = Pause {
        recipient: Some(pharmacy.clone()),
        reason: "it moves".to_owned(),
        by: "Ada Wells".to_owned(),
        since: SystemClock.now(),
    };
    assert_eq!(world.gateway().store().pause(pause, Vec::new()).await, Ok(true));
}

/// What somebody was told of these versions: by what, of which, and about whom.
async fn notices(world: &World, versions: &[TransferId]) -> Vec<(RecipientKind, TransferId, Option<NhsNumber>)> {
    let mut notices = Vec::new();
    for version in versions {
        let told = record(world, *version).await.deliveries.into_iter().filter(|copy| copy.notice.is_some());
        notices.extend(told.map(|copy| (copy.kind, *version, copy.patient)));
    }
    notices.sort_by_key(|(kind, ..)| kind.as_str());
    notices
}

/// The newer version waits while the directory changes, and goes along.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_version_at_a_former_address_hears_that_it_was_replaced() {
    let world = World::start_reaching_loopback().await;
    let former = Pharmacy::start(&world, Answers::Takes).await;
    let (hospital, store) = (world.hospital().await, world.gateway().store());
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    // A referral and a nomination, which are known to have come.
    let kinds = [RecipientKind::PharmacyNomination, RecipientKind::PharmacyReferral];
    let is_on_its_way = |copy: &DeliveryRecord| kinds.contains(&copy.kind) && copy.state == DeliveryState::Queued;
    while record(&world, old).await.copies().any(is_on_its_way) {
        tokio::task::yield_now().await;
    }
    let pharmacy: OdsCode = "FZZ01".parse().expect("a code");
    paused(&world, &pharmacy).await;
    let new = posted(&hospital, &first.next()).await;
    // Twice; and it is looked at in between, and after.
    let passing = Pharmacy::start(&world, Answers::Takes).await;
    world.gateway().look_once().await.expect("committed");
    let present = Pharmacy::start(&world, Answers::Takes).await;
    for _ in 0..2 {
        world.gateway().look_once().await.expect("committed");
    }
    let patient = record(&world, old).await.patient;
    assert!(patient.is_some());
    assert_eq!(notices(&world, &[old, new]).await, kinds.map(|kind| (kind, old, patient.clone())), "each once");
    assert_eq!(store.resume(Some(&pharmacy), Vec::new()).await, Ok(true));
    present.until(|came| came.len() == 2).await;
    let came = former.until(|came| came.len() == 4).await;
    for notice in &came[2..] {
        let text = String::from_utf8_lossy(&notice.body);
        assert!(text.contains("version 2 replaces version 1: stop using version 1"), "{} bytes", text.len());
    }
    assert_eq!((passing.came().len(), present.came().len()), (0, 2));
    let entries = store.audit_entries(0, 10_000).await.expect("readable");
    let withdrawn = entries.iter().filter(|entry| entry.columns.word == AuditWord::Withdraw.as_str());
    let events = withdrawn.map(|entry| String::from_utf8_lossy(entry.content.event().expect("there")).into_owned());
    assert_eq!(events.filter(|event| event.contains("the newer one goes elsewhere")).count(), 2);
}

/// A mistyped address, mended: what nobody is known to have there is told without a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_address_where_a_version_may_never_have_come_is_not_told_about_whom() {
    let world = World::start_reaching_loopback().await;
    let former = Pharmacy::start(&world, Answers::Refuses).await;
    let (hospital, store) = (world.hospital().await, world.gateway().store());
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let kinds = [RecipientKind::PharmacyNomination, RecipientKind::PharmacyReferral];
    let pushed = |copy: &&DeliveryRecord| kinds.contains(&copy.kind);
    while record(&world, old).await.copies().filter(pushed).any(|copy| copy.attempts == 0) {
        tokio::task::yield_now().await;
    }
    let pharmacy: OdsCode = "FZZ01".parse().expect("a code");
    paused(&world, &pharmacy).await;
    let new = posted(&hospital, &first.next()).await;
    let _present = Pharmacy::start(&world, Answers::Takes).await;
    // As long as an attempt runs nobody knows what comes of it.
    while notices(&world, &[old, new]).await.len() < 2 {
        world.gateway().look_once().await.expect("committed");
    }
    assert_eq!(notices(&world, &[old, new]).await, kinds.map(|kind| (kind, old, None)));
    former.does(Answers::Takes);
    assert_eq!(store.resume(Some(&pharmacy), Vec::new()).await, Ok(true));
    for notice in former.until(|came| came.len() == 2).await {
        let text = String::from_utf8_lossy(&notice.body);
        assert!(text.contains("stop using version 1") && !text.contains("99900"), "{} bytes", text.len());
    }
}
