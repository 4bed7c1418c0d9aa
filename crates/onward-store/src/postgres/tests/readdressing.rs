//! An import of the directory on one node, and copies that another node queues, or is to send again, at the same moment: whichever commits first, none
//! of them keeps an address that the import took away.

use onward_core::state::RecipientKind;

use super::locking::{deadlocks, holding};
use super::passing::{others, until_waiting};
use super::*;
use crate::contract::readdressing::{copy, goes_to, https, pharmacy};

/// An import of this address, begun on this node.
fn importing(store: &Shared, address: &str) -> tokio::task::JoinHandle<Result<u64, StoreError>> {
    let (store, entry) = (Arc::clone(store), pharmacy(https(address)));
    tokio::spawn(async move { store.import_directory(vec![entry], "homes.csv", at(1), Vec::new().into()).await })
}

/// Whoever waits for the places waits for the first in line.
const PLACES: &str = "SELECT 1 FROM log_head FOR UPDATE";

#[tokio::test]
async fn a_copy_that_is_queued_while_an_address_changes_does_not_keep_the_former_one() {
    for import_first in [true, false] {
        let Some((cluster, url, [imports, accepts])) = two_nodes().await else { return };
        importing(&imports, "old").await.expect("it ran").expect("imported");
        let read = accepts.read_directory(&"FA123".parse().expect("a code")).await.expect("readable").version;
        let mut message = acceptance(1);
        let queued = copy(RecipientKind::PharmacyReferral, "FA123", https("old"));
        let id = queued.id;
        message.deliveries = vec![onward_core::store::NewDelivery { directory: Some(read), ..queued }];
        let gate = holding(&others(&url).await, PLACES).await;
        let accepting = || {
            let (store, message) = (Arc::clone(&accepts), message.clone());
            tokio::spawn(async move { store.accept(message).await })
        };
        let (importing, accepting) = if import_first {
            let importing = importing(&imports, "new");
            until_waiting(cluster, &url, 1).await;
            (importing, accepting())
        } else {
            let accepting = accepting();
            until_waiting(cluster, &url, 1).await;
            (importing(&imports, "new"), accepting)
        };
        until_waiting(cluster, &url, 2).await;
        gate.batch_execute("COMMIT").await.expect("released");
        assert_eq!(importing.await.expect("it ran"), Ok(2));
        match accepting.await.expect("it ran") {
            Ok(_) => assert_eq!(goes_to(&accepts, id).await, https("new"), "{import_first}"),
            refused => assert_eq!(refused, Err(StoreError::Overtaken), "{import_first}"),
        }
        assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
    }
}

#[tokio::test]
async fn an_attempt_that_ends_while_the_address_changes_is_followed_by_one_to_the_new_one() {
    for import_first in [true, false] {
        let Some((cluster, url, [imports, sends])) = two_nodes().await else { return };
        importing(&imports, "old").await.expect("it ran").expect("imported");
        let mut message = acceptance(1);
        message.deliveries = vec![copy(RecipientKind::PharmacyReferral, "FA123", https("old"))];
        let id = accept_new(&sends, message).await;
        let lease = claim(&sends, 0).await.remove(0);
        let gate = holding(&others(&url).await, PLACES).await;
        let ending = || {
            let end = AttemptEnd {
                delivery: id,
                token: lease.token,
                outcome: AttemptOutcome::Retry { at: at(5), reason: "503".to_owned() },
                at: at(1),
                audit: vec![row(AuditWord::AttemptFailed)],
            };
            let store = Arc::clone(&sends);
            tokio::spawn(async move { store.complete(vec![end]).await })
        };
        let (importing, ending) = if import_first {
            let importing = importing(&imports, "new");
            until_waiting(cluster, &url, 1).await;
            (importing, ending())
        } else {
            let ending = ending();
            until_waiting(cluster, &url, 1).await;
            (importing(&imports, "new"), ending)
        };
        until_waiting(cluster, &url, 2).await;
        gate.batch_execute("COMMIT").await.expect("released");
        assert_eq!(importing.await.expect("it ran"), Ok(2));
        assert_eq!(ending.await.expect("it ran"), Ok(vec![true]));
        assert_eq!(goes_to(&sends, id).await, https("new"), "{import_first}");
        assert_eq!(deadlocks(cluster, &url), 0, "{}", cluster.log());
    }
}
