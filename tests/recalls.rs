//! What went to whom it was not for: every version of it goes back, and nothing goes out again to whom it was taken back from.

use clap::Parser as _;
use onward_core::audit::Agent;
use onward_core::state::{EndReason, HoldReason, RecipientKind};
use onward_core::store::{DeliveryRecord, TransferRecord, Verdict};
use onward_core::{ApprovalId, Clock as _, SystemClock};
use onward_gateway::attend::Attendant;
use onward_gateway::holds::{Choice, Decider, Released};
use onward_gateway::lifecycle::TakenBack;
use onward_gateway::redirect::{Asked, Redirect, Redirected};
use onward_server::cli::{Cli, Exit};
use onward_tests::leaks::Session;
use onward_tests::world::World;
use serde_json::Value;

use crate::lifecycle::{Version, arrived, posted, record};

const DIRECTORY: &str = include_str!("support/directory.toml");

fn back() -> TakenBack<'static> {
    TakenBack { agent: Agent::named("operator", None), by: Some("Ada"), reason: "wrong place", request_id: None }
}

fn decider() -> Decider<'static> {
    let agent = Agent::named("operator", None);
    Decider { agent, by: "Ada", reason: "the ward rang", act: true, request_id: None }
}

fn to_home(ods: &str) -> Choice {
    Choice::Reroute { care_home: Some(ods.parse().expect("a code")), registered_practice: None }
}

fn copy(transfer: &TransferRecord, kind: RecipientKind) -> DeliveryRecord {
    transfer.copies().find(|copy| copy.kind == kind && copy.ended.is_none()).expect("a copy").clone()
}

fn has(transfer: &TransferRecord, ods: &str) -> bool {
    transfer.copies().any(|copy| copy.ended.is_none() && copy.recipient.as_str() == ods)
}

fn recalled(transfer: &TransferRecord, copy: &DeliveryRecord) -> bool {
    let now = transfer.copies().find(|now| now.id == copy.id).expect("there");
    now.ended.is_some_and(|ended| ended.why == EndReason::Recalled) && !now.is_readable()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_takes_every_version_from_the_same_recipient() {
    let world = World::start().await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let old_copy = arrived(&world, old).await;
    let status = async |copy: &DeliveryRecord| {
        home.get(&format!("fhir/R4/Bundle/{}", copy.id)).await.expect("an answer").status.as_u16()
    };
    assert_eq!(status(&old_copy).await, 200, "the home reads the first version");
    let new = posted(&hospital, &first.next()).await;
    let new_copy = arrived(&world, new).await;

    let pack = world.folder().join("incident");
    let (id, out) = (new_copy.id.to_string(), pack.display().to_string());
    let config = world.config_file.to_str().expect("UTF-8");
    let words = ["onward", "recall", &id, "--by", "Ada", "--reason", "wrong home", "--yes", "--json"];
    let words = [&words[..], &["--out", &out, "--config", config]].concat();
    let cli = Cli::try_parse_from(words).expect("parses");
    assert_eq!(tokio::task::spawn_blocking(|| cli.run()).await.expect("it ran"), Exit::Done);
    assert_eq!((status(&new_copy).await, status(&old_copy).await), (404, 404), "neither can be read any more");
    let (was, is) = (record(&world, old).await, record(&world, new).await);
    assert!(recalled(&was, &old_copy) && recalled(&is, &new_copy));
    assert!(
        was.deliveries.iter().any(|copy| copy.notice.is_some_and(|notice| notice.of == old_copy.id)),
        "the home had read it, and is told"
    );
    assert!(was.hold.is_none() && is.hold.is_some(), "the newest goes on");
    for other in is.copies().filter(|copy| copy.id != new_copy.id) {
        assert!(other.ended.is_none(), "{}: whoever rightly has it keeps it", other.kind);
    }
    let summary: Value =
        serde_json::from_slice(&std::fs::read(pack.join("summary.json")).expect("written")).expect("JSON");
    let told: Vec<_> = summary["deliveries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["version"].as_u64(), row["recalled"].as_bool(), row["readings"].as_array().map(Vec::len)))
        .collect();
    assert_eq!(told, [(Some(2), Some(true), Some(0)), (Some(1), Some(true), Some(1))], "who read which: {summary}");

    // The other way round: whoever names the first takes the second back, too.
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let old_copy = arrived(&world, old).await;
    let new = posted(&hospital, &first.next()).await;
    let new_copy = arrived(&world, new).await;
    let done = world.gateway().recall(old, Some(old_copy.id), &back(), true).await.expect("committed");
    assert_eq!(done.iter().map(|recalled| recalled.copy.id).collect::<Vec<_>>(), [old_copy.id, new_copy.id]);
    assert_eq!((status(&new_copy).await, status(&old_copy).await), (404, 404));
    assert!(record(&world, new).await.hold.is_some());
    assert!(world.gateway().store().checkup().await.expect("readable").flaws.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recalled_under_an_open_hold_does_not_go_out_there_again() {
    let world = World::start().await;
    let (hospital, gateway) = (world.hospital().await, world.gateway());
    let id = posted(&hospital, &Version::first()).await;
    let home = arrived(&world, id).await;
    let practice = copy(&record(&world, id).await, RecipientKind::CoveringPractice);
    assert_eq!(gateway.recall(id, Some(practice.id), &back(), true).await.expect("committed").len(), 1);
    let first = record(&world, id).await.hold.expect("held");
    assert_eq!(first.reason, HoldReason::CoveringPracticeUnknown);
    assert_eq!(gateway.recall(id, Some(home.id), &back(), true).await.expect("committed").len(), 1);
    let hold = record(&world, id).await.hold.expect("held");
    assert_eq!((hold.id, hold.reason), (first.id, HoldReason::CareHomeConflict), "a home is to be named now");
    assert!(hold.detail.contains("VMH01") && hold.detail.contains("Y99001"), "{}", hold.detail);

    // The practice is mended in the directory, and somebody lets it go on.
    let covered = |ods: &str| format!("covering_practice = \"{ods}\"");
    world.import_directory(&DIRECTORY.replace(&covered("Y99001"), &covered("Y99002"))).await;
    let go_on = || Choice::Release { agreed_recipients: std::collections::BTreeSet::new() };
    let released = gateway.release(hold.id, go_on(), &decider()).await.expect("committed");
    assert!(matches!(&released, Released::StillHeld(cause) if cause.reason == HoldReason::CareHomeConflict));
    assert!(!has(&record(&world, id).await, "VMH01"), "it was just recalled from there");
    let released = gateway.release(hold.id, to_home("VMH02"), &decider()).await.expect("committed");
    assert!(matches!(released, Released::Queued(_)), "{released:?}");
    let moved = record(&world, id).await;
    assert!(has(&moved, "VMH02") && !has(&moved, "VMH01"));

    // That home was wrong as well: what the message says is still known to be.
    let second = copy(&moved, RecipientKind::CareHome);
    assert_eq!(gateway.recall(id, Some(second.id), &back(), true).await.expect("committed").len(), 1);
    let hold = record(&world, id).await.hold.expect("held again");
    let released = gateway.release(hold.id, go_on(), &decider()).await.expect("committed");
    assert!(matches!(released, Released::StillHeld(_)), "{released:?}");
    let now = record(&world, id).await;
    assert!(!has(&now, "VMH01") && !has(&now, "VMH02"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_version_does_not_go_to_the_practice_that_the_directory_names_wrongly() {
    let world = World::start().await;
    let (hospital, gateway) = (world.hospital().await, world.gateway());
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    arrived(&world, old).await;
    let wrong = copy(&record(&world, old).await, RecipientKind::CoveringPractice);
    assert_eq!(gateway.recall(old, Some(wrong.id), &back(), true).await.expect("committed").len(), 1);
    let new = posted(&hospital, &first.next()).await;
    let hold = record(&world, new).await.hold.expect("held: the directory is as it was");
    assert_eq!((hold.reason, record(&world, new).await.copies().count()), (HoldReason::CoveringPracticeUnknown, 0));
    let covered = |ods: &str| format!("covering_practice = \"{ods}\"");
    world.import_directory(&DIRECTORY.replace(&covered("Y99001"), &covered("Y99002"))).await;
    let go_on = Choice::Release { agreed_recipients: std::collections::BTreeSet::new() };
    let released = gateway.release(hold.id, go_on, &decider()).await.expect("committed");
    assert!(matches!(released, Released::Queued(_)), "{released:?}");
    let now = record(&world, new).await;
    assert!(!has(&now, "Y99001") && has(&now, "VMH01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_closed_stays_closed_when_the_earlier_version_is_recalled() {
    let world = World::start().await;
    let (hospital, gateway) = (world.hospital().await, world.gateway());
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let copy = arrived(&world, old).await;
    let new = posted(&hospital, &first.next().for_home("VMH99")).await;
    let hold = record(&world, new).await.hold.expect("held: nobody knows that home").id;
    gateway.close(hold, &decider()).await.expect("committed");
    let done = gateway.recall(old, Some(copy.id), &back(), true).await.expect("committed");
    assert_eq!(done.iter().map(|recalled| recalled.copy.id).collect::<Vec<_>>(), [copy.id]);
    assert!(recalled(&record(&world, old).await, &copy));
    let closed = record(&world, new).await;
    assert!(closed.hold.is_none() && closed.not_sent.is_some(), "nobody is asked again");
    assert!(gateway.store().checkup().await.expect("readable").flaws.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_version_does_not_go_where_an_earlier_one_was_recalled_from() {
    let world = World::start().await;
    let (hospital, gateway) = (world.hospital().await, world.gateway());
    let first = Version::first();
    let old = posted(&hospital, &first).await;
    let wrong = arrived(&world, old).await;
    assert_eq!(gateway.recall(old, Some(wrong.id), &back(), true).await.expect("committed").len(), 1);
    // The hospital corrects a dose, and names the same home again.
    let second = first.next();
    let new = posted(&hospital, &second).await;
    let (was, is) = (record(&world, old).await, record(&world, new).await);
    assert_eq!((was.hold, was.replaced_by), (None, Some(new)));
    // The practice and the pharmacy rightly have theirs until the correction goes out.
    assert_eq!(was.ended, None);
    let flaws = async || gateway.store().checkup().await.expect("readable").flaws;
    assert_eq!(flaws().await, vec![]);
    let hold = is.hold.clone().expect("held");
    assert_eq!((hold.reason, is.copies().count()), (HoldReason::CareHomeConflict, 0));
    assert!(hold.detail.contains("recalled from VMH01"), "{}", hold.detail);
    let go_on = Choice::Release { agreed_recipients: std::collections::BTreeSet::new() };
    let released = gateway.release(hold.id, go_on, &decider()).await.expect("committed");
    assert!(matches!(released, Released::StillHeld(_)), "{released:?}");
    let released = gateway.release(hold.id, to_home("VMH02"), &decider()).await.expect("committed");
    assert!(matches!(released, Released::Queued(_)), "{released:?}");
    let moved = record(&world, new).await;
    assert!(has(&moved, "VMH02") && !has(&moved, "VMH01"));
    arrived(&world, new).await;

    // The same home for the third: the ward says that it is right after all, and it stays so for the fourth.
    let third = second.next();
    let new = posted(&hospital, &third).await;
    let hold = record(&world, new).await.hold.expect("held: the first was recalled from there");
    let released = gateway.release(hold.id, to_home("VMH01"), &decider()).await.expect("committed");
    assert!(matches!(released, Released::Queued(_)), "{released:?}");
    arrived(&world, new).await;
    let new = posted(&hospital, &third.next()).await;
    let is = record(&world, new).await;
    assert!(is.hold.is_none() && has(&is, "VMH01"));
    assert_eq!(flaws().await, vec![]);
}

pub(crate) fn operator(name: &str) -> Attendant {
    Attendant {
        user: name.to_owned(),
        name: format!("Person {name}"),
        organisations: Vec::new(),
        agent: Agent::named(name, None),
        request_id: None,
    }
}

/// Opens a copy once it lies in the inbox; where it is read.
async fn opened(reader: &Session, copy: &DeliveryRecord) -> String {
    let page = format!("fhir/R4/Bundle/{}", copy.id);
    while reader.get(&page).await.expect("an answer").status != 200 {
        tokio::task::yield_now().await;
    }
    page
}

/// Somebody asks for the home's copy to go to the other home.
async fn asked(world: &World, home: &DeliveryRecord) -> ApprovalId {
    let redirect = Redirect {
        transfer: home.transfer,
        delivery: Some(home.id),
        care_home: Some("VMH02".parse().expect("a code")),
        registered_practice: None,
    };
    let asked = world.gateway().ask_redirect(&operator("ada"), &redirect, "the ward rang").await.expect("kept");
    let Asked::Kept(id) = asked else { panic!("{asked:?}") };
    id
}

/// The home's copy goes to the other home after two people said so; what they were shown to be taken back besides.
async fn redirected(world: &World, home: &DeliveryRecord) -> Vec<(RecipientKind, String)> {
    let (gateway, id) = (world.gateway(), asked(world, home).await);
    let wish = gateway.look_at_wish(&operator("ben"), id).await.expect("audited").expect("there");
    let done = gateway.decide_redirect(&operator("ben"), id, true).await.expect("committed");
    assert!(matches!(done, Redirected::Granted(Released::Queued(_))), "{done:?}");
    wish.also.iter().map(|copy| (copy.kind, copy.recipient.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_back_what_followed_from_the_wrong_home() {
    let world = World::start().await;
    let (rowan, elm) = DIRECTORY.split_once("ods = \"VMH02\"").expect("two homes");
    let elm = elm.replacen("covering_practice = \"Y99001\"", "covering_practice = \"Y99002\"", 1);
    let elm = elm.replacen("delivering_pharmacy = \"FZZ01\"", "delivering_pharmacy = \"FZZ02\"", 1);
    world.import_directory(&format!("{rowan}ods = \"VMH02\"{elm}")).await;
    let hospital = world.hospital().await;
    let practice = world.client("beck-lane", "Y99001", onward_core::client::Role::Practice).await;
    let id = posted(&hospital, &Version::first()).await;
    let home = arrived(&world, id).await;
    let before = record(&world, id).await;
    let covering = copy(&before, RecipientKind::CoveringPractice);
    let page = opened(&practice, &covering).await;
    let also = redirected(&world, &home).await;
    for (kind, ods) in [(RecipientKind::CoveringPractice, "Y99001"), (RecipientKind::PharmacyReferral, "FZZ01")] {
        assert!(also.contains(&(kind, ods.to_owned())), "whoever decides is shown it: {also:?}");
        assert!(recalled(&record(&world, id).await, &copy(&before, kind)), "{kind}");
    }
    assert_eq!(practice.get(&page).await.expect("an answer").status, 404, "the practice reads it no more");
    let now = record(&world, id).await;
    assert!(
        now.deliveries.iter().any(|copy| copy.notice.is_some_and(|notice| notice.of == covering.id)),
        "and is told"
    );
    assert!(has(&now, "VMH02") && has(&now, "FZZ02") && !has(&now, "VMH01") && !has(&now, "FZZ01"));
    let registered = copy(&before, RecipientKind::RegisteredPractice);
    assert_eq!(
        copy(&now, RecipientKind::RegisteredPractice).id,
        registered.id,
        "the person's own practice keeps theirs"
    );
    assert!(world.gateway().store().checkup().await.expect("readable").flaws.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_serves_both_homes_gets_a_copy_that_names_the_right_one() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let id = posted(&hospital, &Version::first()).await;
    let home = arrived(&world, id).await;
    let before = record(&world, id).await;
    let practice = world.client("beck-lane", "Y99001", onward_core::client::Role::Practice).await;
    let read = copy(&before, RecipientKind::CoveringPractice);
    opened(&practice, &read).await;
    assert_eq!(redirected(&world, &home).await, [], "nobody loses theirs");
    let now = record(&world, id).await;
    let told = now.deliveries.iter().find_map(|copy| copy.notice.filter(|notice| notice.of == read.id));
    assert_eq!(told.map(|notice| notice.why), Some(EndReason::Superseded), "who has read it is told to stop using it");
    for kind in [RecipientKind::CoveringPractice, RecipientKind::PharmacyReferral] {
        let (old, new) = (copy(&before, kind), copy(&now, kind));
        assert_eq!(old.recipient, new.recipient);
        let ended = now.copies().find(|copy| copy.id == old.id).expect("there").ended.expect("it ended");
        assert_eq!((ended.why, ended.by), (EndReason::Superseded, Some(new.id)), "{kind}");
        let body = world.gateway().store().rendition(new.id).await.expect("readable").expect("kept").body;
        let text = String::from_utf8(body).expect("text");
        assert!(text.contains("Elm Court"), "{kind}: where they live now");
    }
    assert!(world.gateway().store().checkup().await.expect("readable").flaws.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_was_granted_before_its_node_died_is_carried_out() {
    let world = World::start().await;
    let (hospital, gateway) = (world.hospital().await, world.gateway());
    let id = posted(&hospital, &Version::first()).await;
    let home = arrived(&world, id).await;
    let request = asked(&world, &home).await;
    // The grant was committed, and nothing after it.
    let at = SystemClock.now() - jiff::SignedDuration::from_mins(2);
    let verdict = Verdict { by: "ben".to_owned(), name: "Person ben".to_owned(), at, granted: true };
    let row = world.configured("a redirect granted");
    assert!(gateway.store().decide_approval(request, verdict, vec![row]).await.expect("committed"));
    // The world's own node looks as well, and does it once.
    while !has(&record(&world, id).await, "VMH02") {
        gateway.alert_once().await.expect("looked");
    }
    gateway.alert_once().await.expect("looked");
    let now = record(&world, id).await;
    assert!(recalled(&now, &home) && now.hold.is_none());
    assert_eq!(now.copies().filter(|copy| copy.recipient.as_str() == "VMH02").count(), 1);
}
