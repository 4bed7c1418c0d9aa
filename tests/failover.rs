//! An older database takes the place of the one that was: a standby that had not everything yet, a backup. What is missing is told by
//! what was kept elsewhere, the hospital's journal closes the gap, and what goes out again is known where it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onward_core::TransferId;
use onward_core::state::{DeliveryState, TransportKind};
use onward_core::store::DeliveryQuery;
use onward_server::cli::Exit;
use onward_tests::message::{self, fresh};
use onward_tests::pharmacy::{Answers, Pharmacy};
use onward_tests::postgres::Cluster;
use onward_tests::world::{World, accepted};

use crate::proof::{command, onward};

/// Checkpoints go into this folder, soon.
fn kept_in(folder: &Path) -> String {
    format!("[audit]\ncheckpoint_seconds = 1\nship_seconds = 1\ncheckpoint_folder = \"{}\"\n", folder.display())
}

/// The newest checkpoint of the folder, and how many entries it tells of.
fn newest(folder: &Path) -> Option<(u64, String)> {
    let files = std::fs::read_dir(folder).expect("readable").map(|file| file.expect("a file").path());
    let file = files.filter(|file| file.extension().is_some_and(|end| end == "txt")).max()?;
    let size = file.file_stem()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
    Some((size, file.to_str()?.to_owned()))
}

/// Waits until everything that the log holds now is under a checkpoint there.
async fn until_kept(world: &World, folder: &Path) {
    let entries = world.gateway().store().audit_size().await.expect("readable");
    while newest(folder).is_none_or(|(size, _)| size < entries) {
        tokio::task::yield_now().await;
    }
}

/// That the store adds up by itself, and that `fsck` tells all the same that commits are missing.
async fn the_gap_is_told(world: &World, kept: &Path) {
    assert_eq!(command(world, &["fsck"]).await, Exit::No, "fsck knows of a newer checkpoint");
    assert_eq!(onward(world, &["verify"]).await, Exit::Done, "by itself a shorter log is whole");
    let (_, newest) = newest(kept).expect("it was kept");
    assert_eq!(onward(world, &["verify", "--checkpoint", &newest]).await, Exit::No);
}

async fn is_there(world: &World, id: TransferId) -> bool {
    world.gateway().store().transfer(id).await.expect("readable").is_some()
}

async fn until_nothing_is_queued(world: &World) {
    let states = vec![DeliveryState::Queued];
    let query = DeliveryQuery { states, include_responses: true, limit: 1, ..DeliveryQuery::default() };
    while !world.gateway().store().deliveries(query.clone()).await.expect("readable").is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Fault 18: a standby is promoted that had not got the newest commits.
#[tokio::test(flavor = "multi_thread")]
async fn fault_018_fsck_flags_a_failover_that_lost_the_tail() {
    let Some(primary) = Cluster::start("") else { return };
    let kept = tempfile::tempdir().expect("a folder");
    let mut world = World::start_on_postgres_with(&primary.database(), &kept_in(kept.path())).await;
    let hospital = world.hospital().await;
    let before = accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    until_nothing_is_queued(&world).await;
    let standby = primary.standby();
    primary.wait_for_standby(true);
    // Its end waits for the standby, and with it everything before.
    let waited_for = accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    primary.wait_for_standby(false);
    standby.cut_off();
    let mut tail = Vec::new();
    for _ in 0..3 {
        let body = fresh(message::EDISCHARGE_ITK3);
        tail.push((accepted(&hospital, body.clone()).await, body));
    }
    until_kept(&world, kept.path()).await;
    world.stop().await;
    assert_eq!(command(&world, &["fsck"]).await, Exit::Done, "nothing is lost yet");
    let (old, new) = (primary.address(), standby.address());
    drop(primary);
    standby.promote();
    let config = std::fs::read_to_string(&world.config_file).expect("readable");
    std::fs::write(&world.config_file, config.replace(&old, &new)).expect("written");

    the_gap_is_told(&world, kept.path()).await;
    world.restart().await;
    assert!(is_there(&world, before).await && is_there(&world, waited_for).await);
    for (lost, body) in tail {
        assert!(!is_there(&world, lost).await, "the standby never had it");
        // The hospital's journal says that it was acknowledged, and it is not there: the same bytes are taken as if for the first time.
        let again = accepted(&hospital, body).await;
        assert!(is_there(&world, again).await);
    }
    until_nothing_is_queued(&world).await;
    assert_eq!(world.gateway().store().checkup().await.expect("readable").flaws, [], "by itself it adds up");
    world.stop().await;
    assert_eq!(command(&world, &["fsck"]).await, Exit::No, "it is another history, however long it grows");
}

/// The copies that the pharmacy is pushed of these messages.
async fn pushed(world: &World, transfers: &[TransferId]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for id in transfers {
        let transfer = world.gateway().store().transfer(*id).await.expect("readable").expect("there");
        let pushed = transfer.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https);
        found.extend(pushed.map(|copy| copy.id.to_string()));
    }
    found
}

/// Fault 38: a backup is put back. What was queued in it goes out again, once, and to whoever has it already under the identifier that they
/// know; what had left by then does not go out again; and that commits are missing is told.
#[tokio::test(flavor = "multi_thread")]
async fn fault_038_a_backup_that_is_restored_repeats_only_what_was_queued_and_tells_the_gap() {
    let kept = tempfile::tempdir().expect("a folder");
    let retry = "[retry.https]\nfirst_seconds = 1\nlongest_seconds = 1\n";
    let mut world = World::start_reaching_loopback_with(&format!("{}{retry}", kept_in(kept.path()))).await;
    let pharmacy = Pharmacy::start(&world, Answers::Takes).await;
    let hospital = world.hospital().await;
    let post = async |count: usize| {
        let mut posted = Vec::new();
        for _ in 0..count {
            let body = fresh(message::EDISCHARGE_ITK3);
            posted.push((accepted(&hospital, body.clone()).await, body));
        }
        posted
    };
    let ids = |posted: &[(TransferId, String)]| posted.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let delivered = post(2).await;
    until_nothing_is_queued(&world).await;
    pharmacy.does(Answers::Refuses);
    let queued = post(3).await;
    let queued_copies = pushed(&world, &ids(&queued)).await;
    let delivered_copies = pushed(&world, &ids(&delivered)).await;
    assert_eq!((queued_copies.len(), delivered_copies.len()), (6, 4));
    world.stop().await;
    let database = world.folder().join("onward.db");
    let backup = std::fs::read(&database).expect("readable");

    world.restart().await;
    pharmacy.does(Answers::Takes);
    let after = post(2).await;
    until_nothing_is_queued(&world).await;
    until_kept(&world, kept.path()).await;
    world.stop().await;
    let first = pharmacy.has();
    let order: Vec<String> = pharmacy.came().into_iter().map(|came| came.delivery).collect();
    assert_eq!((first.len(), order.len()), (14, 14), "each copy once");

    for name in ["onward.db-wal", "onward.db-shm"] {
        let _ = std::fs::remove_file(world.folder().join(name));
    }
    std::fs::write(&database, backup).expect("written");
    the_gap_is_told(&world, kept.path()).await;
    world.restart().await;
    until_nothing_is_queued(&world).await;
    let again = pharmacy.came().split_off(order.len());
    let repeated: BTreeSet<String> = again.iter().map(|came| came.delivery.clone()).collect();
    assert_eq!(
        (again.len(), &repeated),
        (queued_copies.len(), &queued_copies),
        "what was queued, once each, and nothing else"
    );
    assert!(again.iter().all(|came| first[&came.delivery] == came.body), "known there, to the byte");
    // The copies of one kind are one lane, which keeps its order as the first time: nothing comes all at once.
    let (referrals, nominations) = lanes(&world, &ids(&queued)).await;
    for lane in [referrals, nominations] {
        let in_order = |ids: &mut dyn Iterator<Item = String>| ids.filter(|id| lane.contains(id)).collect::<Vec<_>>();
        assert_eq!(in_order(&mut again.iter().map(|came| came.delivery.clone())), lane);
        assert_eq!(in_order(&mut order.iter().cloned()), lane);
    }
    for (id, body) in after {
        assert!(!is_there(&world, id).await, "it came after the backup");
        let again = accepted(&hospital, body).await;
        assert!(is_there(&world, again).await, "the hospital's journal closes the gap");
    }
    assert_eq!(world.gateway().store().checkup().await.expect("readable").flaws, []);
}

/// The pushed copies of these messages by kind, in the order of acceptance.
async fn lanes(world: &World, transfers: &[TransferId]) -> (Vec<String>, Vec<String>) {
    let mut lanes = BTreeMap::<_, Vec<String>>::new();
    for id in transfers {
        let transfer = world.gateway().store().transfer(*id).await.expect("readable").expect("there");
        for copy in transfer.copies().filter(|copy| copy.endpoint.kind() == TransportKind::Https) {
            lanes.entry(copy.kind).or_default().push(copy.id.to_string());
        }
    }
    let mut lanes = lanes.into_values();
    (lanes.next().expect("a lane"), lanes.next().expect("another"))
}
