//! The whole neighbourhood, twice in one folder, and what else a person may post to it.

use onward_core::DeliveryId;
use onward_core::directory::Endpoint;
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::DeliveryQuery;
use onward_core::transport::{Outbound, Transport as _};
use tokio::sync::mpsc;

use super::partners::Post;
use super::people::{HOSPITAL_MAILBOX, REGISTERED_MAILBOX};
use super::*;

async fn played(dir: &std::path::Path) -> (Vec<Row>, u64) {
    let world = Arc::new(World::open(Some(dir)).expect("a world"));
    let mut neighbourhood = Neighbourhood::start(&world).await.expect("started");
    let store = Arc::clone(neighbourhood.gateway.app.gateway.store());
    let mut narrator = Narrator::new(true, world, Arc::clone(&store));
    let rows = play(&mut neighbourhood, &mut narrator).await.expect("played");
    let query = DeliveryQuery { include_responses: true, limit: 1000, ..DeliveryQuery::default() };
    let copies = store.deliveries(query).await.expect("listed");
    assert!(copies.iter().all(|copy| copy.attempts == 1), "every copy left once");
    neighbourhood.stop().await.expect("stopped");
    (rows, copies.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_deliveries_a_hold_and_a_refusal_twice_in_one_world() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("world");
    let (rows, copies) = played(&dir).await;
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.recipient, row.ods.as_ref().map(ToString::to_string), row.transport, row.state, row.bytes > 0))
        .collect();
    let delivered =
        |kind, ods: &str, transport| (Some(kind), Some(ods.to_owned()), Some(transport), Outcome::Acknowledged, true);
    assert_eq!(
        seen,
        [
            delivered(RecipientKind::CareHome, "VMH01", TransportKind::Inbox),
            delivered(RecipientKind::CoveringPractice, "Y99001", TransportKind::Mesh),
            delivered(RecipientKind::RegisteredPractice, "Y99002", TransportKind::Mesh),
            delivered(RecipientKind::PharmacyReferral, "FZZ01", TransportKind::Https),
            delivered(RecipientKind::PharmacyNomination, "FZZ01", TransportKind::Https),
            (None, None, None, Outcome::Held, false),
            (None, None, None, Outcome::Refused, false),
        ]
    );
    assert_eq!(rows[5].reason.as_deref(), Some("restricted-patient"));
    assert!(rows[6].reason.as_deref().is_some_and(|reason| reason.len() > 20), "{:?}", rows[6].reason);
    let pages = std::fs::read_dir(dir.join("arrived")).expect("a folder").filter_map(Result::ok);
    let names: Vec<String> = pages.map(|page| page.file_name().to_string_lossy().into_owned()).collect();
    for (start, end) in [
        ("care-home-", ".html"),
        ("care-home-", ".json"),
        ("covering-practice-", ".xml"),
        ("covering-practice-", ".html"),
        ("registered-practice-", ".xml"),
        ("pharmacy-", ".json"),
        ("hospital-response-20013-", ".xml"),
        ("hospital-response-30001-", ".xml"),
    ] {
        assert!(names.iter().any(|name| name.starts_with(start) && name.ends_with(end)), "{start}…{end}: {names:?}");
    }

    let (again, copies_after) = played(&dir).await;
    assert_eq!(again.len(), rows.len());
    assert!(again.iter().zip(&rows).all(|(new, old)| new.message != old.message && new.state == old.state));
    assert_eq!(copies_after, 2 * copies, "the second run's messages are messages of their own");
}

const R4: &str = include_str!("../../../../fixtures/messages/edischarge-r4.json");
const WRAPPED: &str = include_str!("../../../../fixtures/messages/documentreference-r4.json");

/// What no practice can read is answered with 10009 and does not block what comes behind it: an R4 message, an R4
/// message around an STU3 document, and an ITK3 message, of which every copy arrives and is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_message_reaches_everybody_behind_an_unreadable_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("world");
    let world = Arc::new(World::open(Some(&dir)).expect("a world"));
    let mut neighbourhood = Neighbourhood::start(&world).await.expect("started");
    let mut narrator = Narrator::new(true, Arc::clone(&world), Arc::clone(neighbourhood.gateway.app.gateway.store()));
    let deadline = Instant::now() + PATIENCE;

    let (tell, _events) = mpsc::unbounded_channel();
    let mailbox = Post::new(&world, &tell, "a test").mailbox(&neighbourhood.mesh_url, HOSPITAL_MAILBOX).expect("open");
    let json = Posting::fresh(R4).expect("a message");
    let mut unreadable = Vec::new();
    for body in ["neither XML nor JSON", json.text.as_str()] {
        let delivery = DeliveryId::random();
        let mailbox_of_practice = REGISTERED_MAILBOX.parse().expect("a mailbox");
        let workflow = Some("TOC_FHIR_IP_DISCH".parse().expect("a workflow"));
        let outbound = Outbound {
            delivery,
            attempt: 1,
            recipient: "Y99002".parse().expect("an ODS code"),
            kind: RecipientKind::RegisteredPractice,
            endpoint: Endpoint::Mesh { mailbox: mailbox_of_practice, workflow },
            media_type: "application/fhir+xml".to_owned(),
            body: body.to_owned().into(),
            workflow: None,
            replay: false,
            addressee: None,
        };
        mailbox.send(&outbound).await.expect("sent");
        unreadable.push(delivery.to_string());
    }
    unreadable[1] = json.header_id;
    while !unreadable.iter().all(|name| narrator.has_response(name, 10009)) {
        tokio::select! {
            Some(event) = neighbourhood.events.recv() => narrator.hear(event).await.expect("heard"),
            () = tokio::time::sleep_until(deadline) => panic!("an unreadable message is not answered"),
        }
    }

    for (original, codes) in [(R4, &[][..]), (WRAPPED, &[]), (DISCHARGE, &[20013, 30001])] {
        let posting = Posting::fresh(original).expect("a message");
        let Answer::Accepted(transfer) = neighbourhood.hospital.submit(&posting).await.expect("answered") else {
            panic!("{} is refused", posting.message_id)
        };
        let deadline = Instant::now() + PATIENCE;
        let rows = followed(&mut neighbourhood, &mut narrator, transfer, &posting, codes, deadline).await;
        assert_eq!(rows.expect("acknowledged").len(), 5);
    }
    let arrived = std::fs::read_dir(dir.join("arrived")).expect("a folder").filter_map(Result::ok);
    let at_practice = arrived.filter(|file| file.file_name().to_string_lossy().starts_with("registered-practice-"));
    assert_eq!(at_practice.count(), 3);
    neighbourhood.stop().await.expect("stopped");
}
