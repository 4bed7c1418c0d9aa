//! Fault 17: what passes, a deadlock or a serialization failure, is tried again a few times; and then it is refused, with nothing left.

use std::time::Duration;

use super::locking::holding;
use super::upgrading::{bring, later, version};
use super::*;
use crate::postgres::open::{MIGRATIONS, UPGRADE, Upgrade};

/// Somebody else's connections to a database.
pub(super) async fn others(url: &str) -> PostgresStore {
    node(url, LeaseClock::Database).await
}

/// Returns when so many wait for locks in this database.
pub(super) async fn until_waiting(cluster: &Cluster, url: &str, count: usize) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while cluster.tamper(url, waiting) != [count.to_string()] {
        tokio::task::yield_now().await;
    }
}

/// A deadlock that the store closes, so that PostgreSQL finds it in the store's wait and ends the store's transaction: one other holds the
/// last lock of all and waits for a copy that the store holds; the store gets what it waited for, and asks for that lock.
#[tokio::test]
async fn fault_017_a_deadlock_is_tried_again() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    for n in 0..2 {
        accept_new(&store, acceptance(n)).await;
    }
    let mut leases = claim(&store, 0).await;
    // Ends lock copies in this order.
    leases.sort_by_key(|lease| lease.delivery.id.0);
    let [first, second] = [0, 1].map(|n| leases[n].delivery.id);
    let others = others(&url).await;
    let gate = others.shared.writes.get().await.expect("a connection");
    let rival = others.shared.writes.get().await.expect("a connection");
    let held = format!(
        "SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT 1 FROM deliveries WHERE id = '{second}' FOR UPDATE"
    );
    gate.batch_execute(&held).await.expect("held");
    // It does not give in, as long as it takes.
    let held = "SET deadlock_timeout = '10min'; SET lock_timeout = 0; SET statement_timeout = 0;
        SET idle_in_transaction_session_timeout = 0; BEGIN; UPDATE log_head SET id = id";
    rival.batch_execute(held).await.expect("held");
    let ends = leases.iter().map(|lease| AttemptEnd {
        delivery: lease.delivery.id,
        token: lease.token,
        outcome: AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
        at: at(1),
        audit: vec![row(AuditWord::Disclose)],
    });
    let (ends, ending) = (ends.collect(), Arc::clone(&store));
    let ending = tokio::spawn(async move { ending.complete(ends).await });
    until_waiting(cluster, &url, 1).await;
    let rival = tokio::spawn(async move {
        let taken = format!("UPDATE deliveries SET changed = changed WHERE id = '{first}'; COMMIT");
        rival.batch_execute(&taken).await
    });
    until_waiting(cluster, &url, 2).await;
    gate.batch_execute("COMMIT").await.expect("released");
    rival.await.expect("it ran").expect("the other one was ended, and that is the store's");
    assert_eq!(ending.await.expect("it ran"), Ok(vec![true; 2]));
    let database = url.rsplit('/').next().expect("a name");
    let found = format!("{database}:ERROR:  deadlock detected");
    assert_eq!(cluster.log().matches(&found).count(), 1, "{}", cluster.log());
    for lease in leases {
        let copy = store.delivery(lease.delivery.id).await.expect("readable").expect("there");
        assert_eq!((copy.state, copy.attempts), (DeliveryState::Sent, 1));
    }
    assert_eq!(log(&store).await.len(), 4, "each end is told once");
}

/// Has the database refuse so many changes of this table as [`refuse`] tells it. A sequence counts, which no rollback takes back.
fn refusing(cluster: &Cluster, url: &str, table: &str) {
    cluster.tamper(
        url,
        &format!(
            "CREATE SEQUENCE tries;
             CREATE TABLE refusals (state TEXT, times BIGINT);
             INSERT INTO refusals VALUES ('', 0);
             CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE told refusals;
             BEGIN
                 SELECT * INTO told FROM refusals;
                 IF nextval('tries') <= told.times THEN RAISE EXCEPTION 'as told' USING ERRCODE = told.state; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuses BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuses()"
        ),
    );
}

fn refuse(cluster: &Cluster, url: &str, state: &str, times: u32) {
    let told = format!("UPDATE refusals SET state = '{state}', times = {times}; SELECT setval('tries', 1, false)");
    cluster.tamper(url, &told);
}

fn tries(cluster: &Cluster, url: &str) -> String {
    cluster.tamper(url, "SELECT last_value FROM tries").remove(0)
}

/// Under the isolation that the writers ask for PostgreSQL itself has no serialization failures; engines that speak its protocol do. The
/// database refuses as it is told to.
#[tokio::test]
async fn fault_017_a_serialization_failure_is_tried_again_a_few_times_and_then_refused() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    refusing(cluster, &url, "log_head");
    let refuse = |state: &str, times: u32| refuse(cluster, &url, state, times);
    let tries = || tries(cluster, &url);
    let mut accepted = 0;
    for state in ["40001", "40P01", "55P03"] {
        for (times, counted, is_taken) in [(1, "2", true), (4, "5", true), (1_000, "5", false)] {
            let message = acceptance(accepted);
            refuse(state, times);
            let answer = store.accept(message.clone()).await;
            assert_eq!(tries(), counted, "{state}, {times} times: {answer:?}");
            if !is_taken {
                // Whoever asks over HTTP gets 503 with Retry-After, and posts again.
                assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{state}: {answer:?}");
                assert!(
                    store.transfer(message.transfer.id).await.expect("readable").is_none(),
                    "nothing is left of it"
                );
                refuse("", 0);
                assert_eq!(store.accept(message).await, Ok(Accepted::New));
            } else {
                assert_eq!(answer, Ok(Accepted::New), "{state}, {times} times");
            }
            accepted += 1;
        }
    }
    refuse("22012", 1_000);
    let answer = store.accept(acceptance(accepted)).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(tries(), "1", "what does not pass is not tried again");
    refuse("", 0);
    assert_eq!(log(&store).await.len(), accepted as usize, "what was tried again is told once");
}

#[tokio::test]
async fn fault_017_a_step_of_the_schema_is_tried_again_a_few_times_and_then_refused() {
    let Some((cluster, url, [node, _])) = two_nodes().await else { return };
    refusing(cluster, &url, "onward_schema");
    let mut steps = later(&[]);
    let known = MIGRATIONS.len();
    for state in ["40001", "40P01", "55P03"] {
        let found = steps.len();
        steps.extend(later(&[("SELECT 1", known)]).pop());
        let upgrade = Upgrade { steps: &steps, pause: Duration::ZERO, ..UPGRADE };
        refuse(cluster, &url, state, 1_000);
        let refused = bring(&url, upgrade).await.expect_err("refused each time");
        assert!(matches!(refused, OpenError::Hindered { tries, .. } if tries == UPGRADE.tries), "{state}: {refused}");
        let text = refused.to_string();
        assert!(text.contains(state) && text.contains("run `onward migrate` again at a quiet hour"), "{text}");
        assert_eq!(tries(cluster, &url), UPGRADE.tries.to_string(), "{state}");
        assert_eq!(version(cluster, &url), found, "nothing of it is done");
        assert_eq!(node.ready().await, Ok(()), "what serves goes on");
        refuse(cluster, &url, state, 2);
        bring(&url, upgrade).await.expect("brought forward");
        assert_eq!(tries(cluster, &url), "3", "{state}");
        assert_eq!(version(cluster, &url), found + 1);
    }
    steps.extend(later(&[("SELECT 1", known)]).pop());
    refuse(cluster, &url, "22012", 1_000);
    let refused = bring(&url, Upgrade { steps: &steps, ..UPGRADE }).await;
    assert!(matches!(refused, Err(OpenError::Postgres(_))), "{refused:?}");
    assert_eq!(tries(cluster, &url), "1", "what does not pass is not tried again");
}

/// Somebody reads the whole of a table, as a backup does, and a step that changes it gives way and comes again.
#[tokio::test]
async fn fault_017_a_step_of_the_schema_waits_for_who_reads_the_table() {
    let Some((cluster, url, _)) = two_nodes().await else { return };
    let others = others(&url).await;
    let gate = holding(&others, "LOCK TABLE deliveries IN ACCESS SHARE MODE").await;
    let at = url.clone();
    let brought = tokio::spawn(async move {
        let steps = later(&[("ALTER TABLE deliveries ADD COLUMN of_the_next BIGINT", MIGRATIONS.len())]);
        let pause = Duration::from_millis(1);
        bring(&at, Upgrade { steps: &steps, lock_timeout: "20ms", tries: u32::MAX, pause }).await
    });
    let database = url.rsplit('/').next().expect("a name");
    let gave_way = format!("{database}:ERROR:  canceling statement due to lock timeout");
    while cluster.log().matches(&gave_way).count() < 2 {
        assert!(!brought.is_finished(), "it does not wait");
        tokio::task::yield_now().await;
    }
    assert_eq!(version(cluster, &url), MIGRATIONS.len());
    gate.batch_execute("COMMIT").await.expect("released");
    brought.await.expect("it ran").expect("brought forward");
    assert_eq!(version(cluster, &url), MIGRATIONS.len() + 1);
}

/// A deadlock in the first transaction that touches such a row: what counts them is no part of any transaction.
fn deadlock_once(cluster: &Cluster, url: &str, before: &str) {
    cluster.tamper(
        url,
        &format!(
            "CREATE SEQUENCE touched; CREATE FUNCTION deadlocks_once() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN IF nextval('touched') = 1 THEN RAISE EXCEPTION 'as told' USING ERRCODE = '40P01'; END IF;
                 RETURN NEW; END $$;
             CREATE TRIGGER deadlocks_once BEFORE {before} FOR EACH ROW EXECUTE FUNCTION deadlocks_once()"
        ),
    );
}

#[tokio::test]
async fn fault_017_a_month_is_made_and_plain_words_are_sealed_although_the_first_try_is_ended() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    deadlock_once(cluster, &url, "INSERT ON months");
    let mut message = acceptance(1);
    message.transfer.received = "2031-05-06T07:08:09Z".parse().expect("a moment");
    let copy = accept_new(&store, message).await;
    assert_eq!(cluster.tamper(&url, "SELECT last_value >= 2 FROM touched"), ["t"], "it was ended once");

    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    let sealed = accept_new(&store, acceptance(1)).await;
    assert_ne!(copy, sealed);
    cluster.tamper(&url, &format!("UPDATE deliveries SET replay = 'plain words' WHERE id = '{sealed}'"));
    deadlock_once(cluster, &url, "UPDATE ON deliveries");
    let next = node(&url, LeaseClock::Database).await;
    assert_eq!(cluster.tamper(&url, "SELECT last_value FROM touched"), ["2"], "it was ended once");
    let read = next.delivery(sealed).await.expect("readable").expect("there");
    assert_eq!(read.replay.as_deref(), Some("plain words"));
    assert_eq!(cluster.tamper(&url, "SELECT replay FROM deliveries"), ["replay"]);
}
