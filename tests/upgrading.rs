//! An upgrade and its end: what waits for it, who is shut out, and what one letter for several recipients comes to.

use onward_connect::http::Method;
use onward_core::store::DeliveryQuery;
use onward_server::cli::Exit;
use onward_tests::message;
use onward_tests::process::Process;
use onward_tests::world::{World, accepted};

use crate::proof::command;

/// A discharge with a letter of 60 kB that does not compress, and the letter as its copies carry it.
fn with_letter() -> (String, String) {
    let mut state = 7_u64;
    let mut next = || {
        // Knuth's multiplier; the upper bits look like chance.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + u8::try_from(state >> 58).expect("six bits"))
    };
    let tail: String = (0..60_000).map(|_| next()).collect();
    let message = message::with_attached(&format!("\n%{tail}\n"));
    let attached = message.split_once("<Binary").and_then(|(_, rest)| rest.split_once("<content value=\""));
    let letter = attached.and_then(|(_, rest)| rest.split_once('"')).expect("an attachment").0.to_owned();
    (message, letter)
}

/// The home's copies, as it reads each: the document and the page. And how many bytes the store keeps of all copies and parts.
async fn read(world: &World) -> (Vec<String>, i64) {
    let home = world.care_home().await;
    let query =
        DeliveryQuery { recipient: Some("VMH01".parse().expect("a code")), limit: 10, ..DeliveryQuery::default() };
    let mut copies = Vec::new();
    for copy in world.gateway().store().deliveries(query).await.expect("readable") {
        for media_type in ["application/fhir+json", "text/html"] {
            let path = format!("fhir/R4/Bundle/{}", copy.id);
            let reply = home.call(Method::GET, &path, &[("accept", media_type)], Vec::new()).await.expect("an answer");
            assert_eq!(reply.status, 200, "{media_type}");
            copies.push(String::from_utf8(reply.body.to_vec()).expect("text"));
        }
    }
    let bytes = world.asked(
        "SELECT (SELECT sum(length(body) + coalesce(length(html), 0)) FROM rendition_bodies)
             + (SELECT coalesce(sum(length(body)), 0) FROM rendition_parts)",
    );
    (copies, bytes)
}

async fn until_nothing_is_queued(world: &World) {
    let states = vec![onward_core::state::DeliveryState::Queued];
    let query = DeliveryQuery { states, include_responses: true, limit: 1, ..DeliveryQuery::default() };
    while !world.gateway().store().deliveries(query.clone()).await.expect("readable").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_stored_once_when_the_upgrade_is_finished_and_everybody_reads_it_before_and_after() {
    let mut world = World::start().await;
    world.tamper("UPDATE onward_programs SET oldest = 25");
    world.restart().await;
    let hospital = world.hospital().await;
    let (message, letter) = with_letter();
    accepted(&hospital, message).await;
    until_nothing_is_queued(&world).await;
    let (copies, whole) = read(&world).await;
    assert_eq!(copies.len(), 2);
    assert!(
        copies.iter().all(|copy| copy.contains(&letter)),
        "the home reads the letter in the document and on the page"
    );
    assert_eq!(world.asked("SELECT count(*) FROM rendition_parts"), 0);

    assert_eq!(command(&world, &["migrate", "--finish"]).await, Exit::No, "a preview");
    assert_eq!(command(&world, &["migrate", "--finish", "--yes"]).await, Exit::No, "a gateway serves");
    world.stop().await;
    assert_eq!(world.asked("SELECT oldest FROM onward_programs"), 25, "nothing has changed");
    assert_eq!(command(&world, &["migrate", "--finish", "--yes", "--json"]).await, Exit::Done);
    assert_eq!(command(&world, &["migrate", "--finish", "--yes"]).await, Exit::Done, "it was finished before");
    world.restart().await;
    assert_eq!(world.logged("are shut out of the store").await, 1, "an entry says so, and one only");

    let hospital = world.hospital().await;
    accepted(&hospital, with_letter().0).await;
    until_nothing_is_queued(&world).await;
    let (copies, both) = read(&world).await;
    assert_eq!(copies.len(), 4);
    assert!(copies.iter().all(|copy| copy.contains(&letter)));
    assert_eq!(world.asked("SELECT count(*) FROM rendition_parts"), 1, "all its copies have the one letter");
    assert!(both < whole + whole / 2, "{whole} bytes before, {} since", both - whole);
    assert_eq!(command(&world, &["fsck"]).await, Exit::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_ends_when_a_later_program_shuts_it_out() {
    let mut world = World::start().await;
    let mut process = Process::take_over(&mut world).await;
    // A later step lets it serve, and one after that does not.
    world.tamper("PRAGMA user_version = 1000");
    world.tamper("UPDATE onward_programs SET oldest = 1000");
    assert!(!process.stopped().await, "whoever supervises it learns that it cannot go on");
    assert!(process.log().contains("start the newer program"), "{}", process.log());
    assert!(Process::refused(&world, &[]).await.contains("knows version 1000 at least"));
}
