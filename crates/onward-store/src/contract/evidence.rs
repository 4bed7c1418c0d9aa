//! What leaves the gateway to prove its audit log.

use onward_core::audit::{AuditWord, StoredCheckpoint};
use onward_core::store::evidence::StoredCosignature;

use super::{Shared, at, at_once, row};

fn cosignature(size: u64, witness: &str, line: &str) -> StoredCosignature {
    StoredCosignature { size, witness: witness.to_owned(), line: format!("\u{2014} {witness} {line}\n"), at: at(5) }
}

pub(crate) async fn cosignatures_are_kept_by_checkpoint_and_witness(store: Shared) {
    assert_eq!(store.latest_cosignatures().await, Ok(Vec::new()));
    assert!(store.put_cosignature(cosignature(3, "one", "AAAA")).await.is_err(), "of a checkpoint that is not there");
    for size in [3, 7] {
        let checkpoint = StoredCheckpoint { size, note: format!("note {size}\n") };
        assert_eq!(store.put_checkpoint(checkpoint).await, Ok(true));
    }
    for (size, witness, line) in [(7, "two", "BBBB"), (3, "one", "CCCC"), (3, "two", "DDDD"), (7, "two", "EEEE")] {
        store.put_cosignature(cosignature(size, witness, line)).await.expect("committed");
    }
    let latest = [cosignature(3, "one", "CCCC"), cosignature(7, "two", "EEEE")];
    assert_eq!(store.latest_cosignatures().await, Ok(latest.to_vec()), "the later of the same witness and checkpoint");
    let all = vec![latest[0].clone(), cosignature(3, "two", "DDDD"), latest[1].clone()];
    assert_eq!(store.cosignatures().await, Ok(all));
}

pub(crate) async fn the_log_is_forwarded_by_one_at_a_time(store: Shared) {
    assert_eq!(store.audit_size().await, Ok(0));
    store.audit((0..3).map(|_| row(AuditWord::Query)).collect()).await.expect("committed");
    assert_eq!(store.audit_size().await, Ok(3));
    let takers = at_once(&store, 20, |store, n| async move {
        store.take_forwarding("siem", n as u64 + 1, at(0), at(10), 2).await.expect("committed").map(|from| (n, from))
    })
    .await;
    let taken: Vec<_> = takers.into_iter().flatten().collect();
    let [(winner, 2)] = taken[..] else { panic!("one of many takes it where it was told to begin: {taken:?}") };
    let winner = winner as u64 + 1;
    assert_eq!(store.forwarded("siem", winner + 1, 3).await, Ok(false), "not its own");
    assert_eq!(store.forwarded("siem", winner, 3).await, Ok(true));
    assert_eq!(store.take_forwarding("siem", winner, at(5), at(15), 0).await, Ok(Some(3)), "it goes on");
    assert_eq!(store.take_forwarding("siem", 99, at(14), at(24), 0).await, Ok(None));
    assert_eq!(store.take_forwarding("siem", 99, at(15), at(25), 0).await, Ok(Some(3)), "its time was over");
    assert_eq!(store.forwarded("siem", winner, 4).await, Ok(false), "it comes too late");
    assert_eq!(store.take_forwarding("archive", 7, at(0), at(10), 0).await, Ok(Some(0)), "each sink for itself");
    assert_eq!(store.forwarding().await, Ok(vec![("archive".to_owned(), 0), ("siem".to_owned(), 3)]));
}
