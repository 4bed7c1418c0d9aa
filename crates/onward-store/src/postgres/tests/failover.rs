//! Fault 18: the standby takes the primary's place. What commits waited for the standby is there; what they did not wait for may be lost.

use super::*;

#[tokio::test]
async fn fault_018_a_failover_keeps_what_the_standby_was_waited_for_and_loses_the_tail_that_it_was_not() {
    let Some(primary) = Cluster::start("") else { return };
    let url = primary.database();
    let store: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    let standby = primary.standby();
    let accept = async |numbers: std::ops::Range<u32>| {
        let mut acknowledged = Vec::new();
        for n in numbers {
            let message = told(n);
            acknowledged.push(message.transfer.id);
            assert_eq!(store.accept(message).await, Ok(Accepted::New));
        }
        acknowledged
    };
    primary.wait_for_standby(true);
    let waited_for = accept(0..5).await;
    primary.wait_for_standby(false);
    standby.cut_off();
    let tail = accept(5..8).await;
    // A copy of the primary is not written to, whoever names it.
    let follows = url.replace(&primary.address(), &standby.address());
    let refused = PostgresStore::open(&settings(&follows), keys(), Arc::new(FixedClock)).await.map(drop);
    assert!(matches!(refused, Err(OpenError::Postgres(_))), "{refused:?}");
    drop(primary);
    standby.promote();
    let heir: Shared = Arc::new(node(&follows, LeaseClock::Database).await);
    for id in waited_for {
        assert!(heir.transfer(id).await.expect("readable").is_some(), "it was waited for");
    }
    for id in tail {
        assert!(heir.transfer(id).await.expect("readable").is_none(), "it never came to the standby");
    }
    // By itself it adds up: only who holds something from before can tell.
    assert_eq!(heir.checkup().await.expect("readable").flaws, []);
    assert_eq!(log(&heir).await.len(), 5);
    // The clients post again.
    for n in 5..8 {
        assert_eq!(heir.accept(told(n)).await, Ok(Accepted::New));
    }
}
