//! The whole neighbourhood, twice in one folder.

use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::DeliveryQuery;

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
