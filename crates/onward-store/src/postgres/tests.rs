//! The contract on PostgreSQL, and what is PostgreSQL's own: several nodes, lost connections, leases by the database's clock.

#[expect(unreachable_pub, reason = "the file belongs to the support crate too")]
#[path = "../../../../tests/support/postgres.rs"]
mod cluster;
mod encrypted;
mod failover;
mod letters;
mod locking;
mod passing;
mod plans;
mod readdressing;
mod sealing;
mod silence;
mod upgrading;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use onward_core::audit::{AuditRow, AuditWord, StoredCheckpoint};
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::Store;
use onward_core::store::retention::{BodyClass, Purged};
use onward_core::store::subscriptions::{CallEnd, CallOutcome, Subscription};
use onward_core::store::{Acceptance, Accepted, AttemptEnd, AttemptOutcome, Flaw, Lease, Resend, StoreError};
use onward_core::{Clock, DeliveryId, TransferId};

use super::{LeaseClock, OpenError, PostgresSettings, PostgresStore};
use crate::contract::damaged::Damage;
use crate::contract::subscribing::subscription;
use crate::contract::{Shared, accept_new, acceptance, at, keys, log, patient, row};
use cluster::Cluster;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        at(0)
    }
}

fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        url: url.parse().expect("a URL"),
        password: Some(cluster::PASSWORD.to_owned().into()),
        ca_pem: None,
        client_pem: None,
        tls: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        fsync_off_allowed: true,
    }
}

async fn node(url: &str, clock: LeaseClock) -> PostgresStore {
    PostgresStore::open_with(&settings(url), keys(), Arc::new(FixedClock), clock).await.expect("opens")
}

/// A database of its own on the shared server, with every table: a copy of one that was migrated, once, because two hundred migrations from
/// nothing take a quarter of the time of all the store's tests.
fn migrated(cluster: &Cluster) -> String {
    static MIGRATED: OnceLock<String> = OnceLock::new();
    let template = MIGRATED.get_or_init(|| {
        let url = cluster.database();
        let opened = url.clone();
        // On a runtime that ends with it, and every connection too: a database that somebody is connected to is not copied.
        let made = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { drop(node(&opened, LeaseClock::Caller).await) });
        });
        made.join().expect("migrated");
        url.rsplit('/').next().expect("a database's name").to_owned()
    });
    cluster.database_like(template)
}

/// A database of its own; the guard is its server and address.
async fn fresh_shared() -> Option<((&'static Cluster, String), Shared)> {
    let cluster = cluster::shared()?;
    let url = migrated(cluster);
    let store: Shared = Arc::new(node(&url, LeaseClock::Caller).await);
    Some(((cluster, url), store))
}

mod contract {
    crate::contract::every_contract!(super::fresh_shared);
}

impl Damage for (&Cluster, String) {
    fn damage(&self, sql: &str) {
        self.0.tamper(&self.1, sql);
    }
}

/// Two nodes on a database of their own, leases by the database's clock.
async fn two_nodes() -> Option<(&'static Cluster, String, [Shared; 2])> {
    let cluster = cluster::shared()?;
    let url = migrated(cluster);
    let first = node(&url, LeaseClock::Database).await;
    let second = node(&url, LeaseClock::Database).await;
    Some((cluster, url, [Arc::new(first), Arc::new(second)]))
}

/// A message whose acceptance is told of it, so that `fsck` finds it.
fn told(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.audit = vec![AuditRow { transfer: Some(message.transfer.id), ..row(AuditWord::Accept) }];
    message
}

async fn claim(store: &Shared, now: i64) -> Vec<Lease> {
    store.claim(onward_core::store::Claim::due(at(now), at(now + 30), 100)).await.expect("claimable")
}

async fn end(store: &Shared, lease: &Lease) -> bool {
    let end = AttemptEnd {
        delivery: lease.delivery.id,
        token: lease.token,
        outcome: AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
        at: at(1),
        audit: vec![row(AuditWord::Disclose)],
    };
    store.complete(vec![end]).await.expect("committed")[0]
}

/// As if the time of every lease were over.
fn expire_leases(cluster: &Cluster, url: &str) {
    cluster.tamper(url, "UPDATE deliveries SET lease_until = 0 WHERE lease_token IS NOT NULL");
}

#[tokio::test]
async fn fault_013_of_two_sequencers_one_wins() {
    let Some((_, _, nodes)) = two_nodes().await else { return };
    for size in [1, 2, 3] {
        let wins = ["one", "other"].map(|view| StoredCheckpoint { size, note: format!("{view} {size}\n") });
        let [first, second] = wins;
        let (first, second) = tokio::join!(nodes[0].put_checkpoint(first), nodes[1].put_checkpoint(second));
        assert_eq!([first, second].into_iter().filter(|won| *won == Ok(true)).count(), 1);
    }
    assert_eq!(nodes[0].checkpoints(None, 9).await.expect("readable").len(), 3);
    let smaller = StoredCheckpoint { size: 2, note: "late\n".to_owned() };
    assert_eq!(nodes[1].put_checkpoint(smaller).await, Ok(false));
}

#[tokio::test]
async fn fault_016_who_gets_no_connection_hears_so_in_time_and_later_gets_one() {
    let Some(cluster) = cluster::shared() else { return };
    let store = node(&cluster.database(), LeaseClock::Database).await;
    let mut held = Vec::new();
    while held.len() < store.shared.writes.status().max_size {
        held.push(store.shared.writes.get().await.expect("a free connection"));
    }
    // A wait that has no end would hang here; whoever asks over HTTP gets 503 with Retry-After.
    let refused = store.audit(vec![row(AuditWord::Query)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.pauses().await, Ok(Vec::new()), "reading goes on");
    drop(held);
    assert_eq!(store.audit(vec![row(AuditWord::Query)]).await, Ok(()));
    assert_eq!(store.audit_entries(0, 10).await.expect("readable").len(), 1, "what was refused is not there");
}

#[tokio::test]
async fn nodes_write_one_log_without_gaps() {
    let Some((_, _, nodes)) = two_nodes().await else { return };
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..120 {
        let store = Arc::clone(&nodes[n as usize % 2]);
        tasks.spawn(async move {
            let mut message = acceptance(n);
            // Every tenth fails, and may take no place.
            if n % 10 == 0 {
                message.deliveries.push(message.deliveries[0].clone());
            }
            store.accept(message).await.is_ok()
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|accepted| *accepted).count(), 108);
    assert_eq!(log(&nodes[1]).await.len(), 108);
}

#[tokio::test]
async fn fault_019_a_dead_nodes_lease_passes_on_and_fault_020_its_late_end_is_fenced_off() {
    let Some((cluster, url, [paused, heir])) = two_nodes().await else { return };
    let id = accept_new(&paused, acceptance(1)).await;
    let late = claim(&paused, 0).await.remove(0);
    assert!(claim(&heir, 0).await.is_empty(), "it is leased");
    expire_leases(cluster, &url);
    let taken = claim(&heir, 0).await.remove(0);
    assert_eq!((taken.delivery.id, taken.attempt), (id, 2));
    assert!(!end(&paused, &late).await, "the paused node resumes too late");
    assert!(end(&heir, &taken).await);
    assert_eq!(log(&heir).await.len(), 2, "what does not count has no audit");
}

#[tokio::test]
async fn fault_021_a_node_with_a_wrong_clock_steals_no_lease() {
    let Some((_, _, [right, ahead])) = two_nodes().await else { return };
    accept_new(&right, acceptance(1)).await;
    let lease = claim(&right, 0).await.remove(0);
    for hours in [1, 24, 24 * 365] {
        assert!(claim(&ahead, hours * 3600).await.is_empty(), "{hours} hours ahead");
    }
    assert!(end(&right, &lease).await);
}

/// Neither its back-off nor what it has taken in follows the clock of the node that wrote it.
#[tokio::test]
async fn fault_021_what_a_node_with_a_wrong_clock_keeps_is_due_by_the_databases() {
    let Some((cluster, url, [right, ahead])) = two_nodes().await else { return };
    let years = |years: i64| years * 365 * 24 * 3_600;
    let mut message = acceptance(1);
    message.transfer.received = at(years(1));
    let id = accept_new(&ahead, message).await;
    let lease = claim(&right, 0).await.pop().expect("what a node ahead has taken in is due at once");
    assert_eq!(lease.delivery.id, id);
    let (now, hour) = (years(1), 3_600);
    let busy = AttemptEnd {
        delivery: id,
        token: lease.token,
        outcome: AttemptOutcome::Retry { at: at(now + hour), reason: "busy".to_owned() },
        at: at(now),
        audit: vec![row(AuditWord::AttemptFailed)],
    };
    assert_eq!(ahead.complete(vec![busy]).await, Ok(vec![true]));
    for wrong in [0, years(1), years(2)] {
        assert!(claim(&right, wrong).await.is_empty() && claim(&ahead, wrong).await.is_empty(), "it waits an hour");
    }
    let passes = |seconds: i64| {
        let micros = seconds * 1_000_000;
        cluster.tamper(&url, &format!("UPDATE deliveries SET next_attempt = next_attempt - {micros}"));
    };
    passes(hour);
    let lease = claim(&right, 0).await.pop().expect("an hour has passed");
    // A person who sends it again at the node that is ahead does so now.
    let busy = AttemptEnd {
        delivery: id,
        token: lease.token,
        outcome: AttemptOutcome::Retry { at: at(hour), reason: "busy".to_owned() },
        at: at(0),
        audit: vec![row(AuditWord::AttemptFailed)],
    };
    assert_eq!(right.complete(vec![busy]).await, Ok(vec![true]));
    let again =
        ahead.requeue(id, Resend::Retry.into(), "Ada Wells", "mended", at(now), vec![row(AuditWord::Release)]).await;
    assert_eq!(again, Ok(true));
    assert_eq!(claim(&right, 0).await.len(), 1);
}

/// What one node alone does at a time is so by the database's clock as well: forwarding, calls, tellings.
#[tokio::test]
async fn fault_021_a_node_with_a_wrong_clock_takes_no_turn_of_others() {
    let Some((_, _, [right, ahead])) = two_nodes().await else { return };
    let years = |years: i64| at(years * 365 * 24 * 3_600);
    let (now, wrong) = (at(0), years(1));
    assert_eq!(right.take_forwarding("syslog", 1, now, at(60), 5).await, Ok(Some(5)));
    assert_eq!(ahead.take_forwarding("syslog", 2, wrong, years(2), 5).await, Ok(None));
    assert_eq!(right.take_forwarding("syslog", 1, now, now, 5).await, Ok(Some(5)), "it lets go");
    assert!(ahead.take_forwarding("syslog", 2, wrong, wrong, 5).await.expect("committed").is_some());
    let own = subscription("ward-system");
    let asked = Subscription { changed: wrong, next_call: Some(wrong), ..own.clone() };
    assert_eq!(ahead.add_subscription(asked, 9, Vec::new()).await, Ok(true));
    let token = right.take_call(own.id, own.told, now, at(60)).await.expect("committed").expect("due at once");
    assert_eq!(ahead.take_call(own.id, own.told, wrong, years(2)).await, Ok(None), "somebody is calling");
    let outcome = CallOutcome::Again { at: at(3_600), reason: "busy".to_owned() };
    let end = CallEnd { id: own.id, token, at: now, outcome, audit: Vec::new() };
    assert_eq!(right.end_call(end).await, Ok(true));
    assert_eq!(ahead.take_call(own.id, own.told, wrong, years(2)).await, Ok(None), "it waits an hour");
}

#[tokio::test]
async fn fault_015_a_restart_of_postgresql_loses_nothing() {
    let Some(cluster) = Cluster::start("") else { return };
    let url = cluster.database();
    let store: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    let mut accepted = Vec::new();
    for n in 0..20 {
        let message = acceptance(n);
        accepted.push(message.transfer.id);
        assert_eq!(store.accept(message).await, Ok(Accepted::New));
        if n % 8 == 7 {
            cluster.restart();
        }
    }
    for id in accepted {
        assert!(store.transfer(id).await.expect("readable").is_some());
    }
    assert_eq!(log(&store).await.len(), 20);
    assert_eq!(store.ready().await, Ok(()));
    drop(cluster);
    assert!(matches!(store.accept(acceptance(99)).await, Err(StoreError::Unavailable(_))), "503, not a hang");
    assert!(matches!(store.transfer(TransferId::random()).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn fault_018_a_database_that_can_lose_commits_is_refused() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let strict = PostgresSettings { fsync_off_allowed: false, ..settings(&url) };
    let refused = PostgresStore::open(&strict, keys(), Arc::new(FixedClock)).await.map(drop);
    assert!(matches!(refused, Err(OpenError::NotDurable { setting: "fsync", .. })), "{refused:?}");
    // The role's own default does not count: every connection asks for itself.
    cluster.tamper(&url, "ALTER ROLE onward SET synchronous_commit = off");
    let opened = PostgresStore::open(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop);
    cluster.tamper(&url, "ALTER ROLE onward RESET synchronous_commit");
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn nodes_that_start_at_once_make_one_store() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let absent = PostgresStore::open_existing(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop);
    assert!(matches!(absent, Err(OpenError::Absent)), "looking makes no store: {absent:?}");
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let settings = settings(&url);
        starting.spawn(async move { PostgresStore::open(&settings, keys(), Arc::new(FixedClock)).await.map(drop) });
    }
    for opened in starting.join_all().await {
        assert!(opened.is_ok(), "{opened:?}");
    }
    let version = cluster.tamper(&url, "SELECT version FROM onward_schema");
    assert_eq!(version, [super::open::MIGRATIONS.len().to_string()]);
    cluster.tamper(&url, "UPDATE onward_schema SET version = 1000; UPDATE onward_programs SET oldest = 999");
    let newer = PostgresStore::open(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop);
    assert!(matches!(newer, Err(OpenError::Newer { found: 1000, oldest: 999, .. })), "{newer:?}");
}

#[tokio::test]
async fn a_checkup_misses_what_the_log_names_and_what_was_counted() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    let lost = crate::contract::lifecycle::losses(&store).await;
    let own = [
        (
            "DELETE FROM audit_log WHERE position = (SELECT max(position) FROM audit_log)",
            "the audit log ends where its next entry goes",
        ),
        ("UPDATE log_head SET delivery_next = 1", "no copy stands where the next one goes, or behind"),
        ("UPDATE log_head SET held = 1", "there are as many holds as were counted"),
        ("UPDATE checkpoint_head SET size = 2", "the newest checkpoint is there"),
        ("UPDATE message_bodies SET transfer = gen_random_uuid()", "every message belongs to a transfer"),
        ("UPDATE deliveries SET month = 190001", "all content belongs to a copy of its month"),
    ];
    let own = own.map(|(damage, rule)| (damage.to_owned(), vec![rule]));
    let mut damages: Vec<_> = own.into_iter().chain(lost).collect();
    damages.last_mut().expect("a transfer's loss").1.push("there are as many transfers as were counted");
    let mut before = store.checkup().await.expect("readable").flaws;
    for (damage, rules) in damages {
        cluster.tamper(&url, &damage);
        let flaws = store.checkup().await.expect("readable").flaws;
        for rule in rules {
            let tells = |flaws: &[Flaw]| flaws.iter().any(|flaw| flaw.rule == rule);
            assert!(!tells(&before) && tells(&flaws), "{rule}: {before:?}, {flaws:?}");
        }
        before = flaws;
    }
}

#[tokio::test]
async fn tables_of_others_are_left_alone() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    cluster.tamper(&url, "CREATE TABLE deliveries (theirs TEXT)");
    let refused = PostgresStore::open(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop);
    assert!(matches!(refused, Err(OpenError::Foreign)), "{refused:?}");
    assert_eq!(
        cluster.tamper(&url, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'transfers'"),
        ["0"]
    );
}

/// A message of March 2020.
fn long_ago(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.transfer.received = "2020-03-31T23:59:59Z".parse().expect("a moment");
    message
}

#[tokio::test]
async fn a_month_is_dropped_and_what_must_stay_is_moved() {
    let Some((cluster, url, [store, other])) = two_nodes().await else { return };
    let [gone, kept] = [11, 12].map(long_ago);
    let transfer = gone.transfer.id;
    let (gone, kept) = (accept_new(&store, gone).await, accept_new(&store, kept).await);
    store.open_rendition(gone, at(1), None, vec![row(AuditWord::Read)]).await.expect("committed").expect("there");
    let file = |table: &str| {
        cluster.tamper(&url, &format!("SELECT coalesce(to_regclass('{table}_202003')::oid::text, 'none')")).remove(0)
    };
    let purge = async |class| store.purge_month(class, 202_003, 0, vec![row(AuditWord::Erase)]).await;
    assert!(store.original(transfer).await.expect("readable").is_some());
    assert_eq!(purge(BodyClass::Messages).await, Ok(Purged { removed: 2, kept: 0, dropped: true, more: None }));
    assert_eq!(file("message_bodies"), "none");
    let before = file("rendition_bodies");
    assert_eq!(purge(BodyClass::Renditions).await, Ok(Purged { removed: 1, kept: 1, dropped: false, more: None }));
    let after = file("rendition_bodies");
    assert!(after != before && after != "none", "another file holds what stays: {before}, {after}");
    assert_eq!(purge(BodyClass::Renditions).await, Ok(Purged { removed: 0, kept: 1, dropped: false, more: None }));
    assert_eq!(file("rendition_bodies"), after, "nothing was due");
    assert!(store.original(transfer).await.expect("readable").is_none());
    assert!(store.transfer(transfer).await.expect("readable").is_some(), "the record stays");
    let read = store.open_rendition(gone, at(1), None, vec![row(AuditWord::Read)]).await;
    assert!(read.expect("readable").is_none());
    assert!(other.open_rendition(kept, at(1), None, Vec::new()).await.expect("readable").is_some());
    // Moved once, it can be dropped as any other.
    assert_eq!(purge(BodyClass::Renditions).await, Ok(Purged { removed: 1, kept: 0, dropped: true, more: None }));
    assert_eq!(file("rendition_bodies"), "none");
    // A node that does not know of the drop makes the month anew when it needs it.
    for (node, n) in [(&store, 2), (&other, 3)] {
        let mut late = acceptance(n);
        late.transfer.received = "2020-03-01T00:00:00Z".parse().expect("a moment");
        assert_eq!(node.accept(late).await, Ok(Accepted::New));
    }
}

#[tokio::test]
async fn a_legal_hold_that_is_placed_while_a_month_goes_holds() {
    let Some((cluster, url, [store, other])) = two_nodes().await else { return };
    let message = long_ago(1);
    let transfer = message.transfer.id;
    let copy = accept_new(&store, message).await;
    store.open_rendition(copy, at(1), None, Vec::new()).await.expect("committed").expect("there");
    let holder = node(&url, LeaseClock::Database).await;
    let holder = holder.shared.writes.get().await.expect("a connection");
    let placing = format!(
        "BEGIN; INSERT INTO legal_holds (id, patient, reason, placed_by, placed)
         SELECT gen_random_uuid(), patient, '', 'Cy', 0 FROM transfers WHERE id = '{transfer}'"
    );
    holder.batch_execute(&placing).await.expect("placed");
    let purge =
        tokio::spawn(
            async move { store.purge_month(BodyClass::Renditions, 202_003, 0, vec![row(AuditWord::Erase)]).await },
        );
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
         WHERE d.datname = current_database() AND NOT granted AND relation = 'legal_holds'::regclass";
    while !purge.is_finished() && cluster.tamper(&url, waits) == ["0"] {
        tokio::task::yield_now().await;
    }
    holder.batch_execute("COMMIT").await.expect("committed");
    assert_eq!(purge.await.expect("it ran"), Ok(Purged { removed: 0, kept: 1, dropped: false, more: None }));
    assert!(other.rendition(copy).await.expect("readable").is_some());
}

#[tokio::test]
async fn fault_031_an_unreadable_copy_parks_itself_only() {
    let Some((cluster, url, [store, _])) = two_nodes().await else { return };
    let poisoned = accept_new(&store, acceptance(1)).await;
    let mut pushed = acceptance(2);
    pushed.deliveries[0].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
    let bodiless = accept_new(&store, pushed).await;
    let healthy = accept_new(&store, acceptance(3)).await;
    cluster.tamper(&url, &format!("UPDATE deliveries SET workflow = '' WHERE id = '{poisoned}'"));
    cluster.tamper(&url, &format!("DELETE FROM rendition_bodies WHERE delivery = '{bodiless}'"));
    let leases = claim(&store, 0).await;
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [healthy]);
    for (id, place) in [(poisoned, "deliveries.workflow"), (bodiless, "rendition_bodies.delivery")] {
        let copy = store.delivery(id).await.expect("readable").expect("there");
        assert_eq!(copy.state, DeliveryState::Failed);
        assert_eq!(copy.reason.as_deref(), Some(format!("unreadable in the store: {place}").as_str()));
    }
}

/// Three nodes take in 120 messages of six people and send them, side by side. Every lane leaves in its order, and nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_keep_their_order_across_nodes() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let mut nodes: Vec<Shared> = Vec::new();
    for _ in 0..3 {
        nodes.push(Arc::new(node(&url, LeaseClock::Database).await));
    }
    let mut order: Vec<Vec<DeliveryId>> = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for person in 0..6 {
        let nodes = nodes.clone();
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..20_u32 {
                let mut message = acceptance(person * 100 + n);
                message.transfer.patient = Some(patient(person));
                // Each is acknowledged before the next is sent, by whichever node.
                ids.push(accept_new(&nodes[n as usize % 3], message).await);
            }
            ids
        });
    }
    let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut workers = tokio::task::JoinSet::new();
    for store in nodes.clone() {
        let sent = Arc::clone(&sent);
        workers.spawn(async move {
            while sent.lock().expect("whole").len() < 120 {
                for lease in store.claim(onward_core::store::Claim::due(at(0), at(30), 4)).await.expect("claimable") {
                    sent.lock().expect("whole").push(lease.delivery.id);
                    assert!(end(&store, &lease).await);
                }
            }
        });
    }
    while let Some(ids) = tasks.join_next().await {
        order.push(ids.expect("accepted"));
    }
    workers.join_all().await;
    let sent = sent.lock().expect("whole").clone();
    assert_eq!((sent.len(), sent.iter().collect::<BTreeSet<_>>().len()), (120, 120), "nothing twice");
    for lane in order {
        let left: Vec<_> = sent.iter().copied().filter(|id| lane.contains(id)).collect();
        assert_eq!(left, lane);
    }
    assert_eq!(log(&nodes[0]).await.len(), 240);
}

#[test]
fn the_looks_name_every_transport() {
    let named: Vec<&str> = super::DIALECT.any_transport.split('\'').skip(1).step_by(2).collect();
    assert_eq!(named, onward_core::state::TransportKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
}
