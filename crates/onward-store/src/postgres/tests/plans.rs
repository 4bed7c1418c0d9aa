//! By which indexes PostgreSQL finds what is asked for often, or among much.

use futures_util::FutureExt as _;
use onward_core::audit::AuditQuery;

use tokio_postgres::types::Type;

use super::super::columns::numbered;
use super::super::work::Work;
use super::super::{DIALECT, audit, dispatch, session};
use super::*;
use crate::contract::whole_message;
use crate::sealing::Keychain;
use crate::stored::micros;

/// A start asks for them: with a plan that knows no parameter they are found by an index of their own.
#[tokio::test]
async fn rare_words_of_the_log_are_found_by_their_indexes() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let store = node(&url, LeaseClock::Database).await;
    cluster.tamper(
        &url,
        "INSERT INTO audit_log (position, id, recorded, word, leaf, event)
         SELECT n, 'e' || n, n, CASE n % 1000 WHEN 7 THEN 'configure' WHEN 8 THEN 'alarm' ELSE 'read' END, '', ''
         FROM generate_series(0, 19999) n;
         ANALYZE audit_log",
    );
    let keys = Keychain::new(Arc::clone(&store.shared.vault));
    for (word, index) in [(AuditWord::Configure, "audit_log_configured"), (AuditWord::Alarm, "audit_log_alarms")] {
        let first = AuditQuery { words: vec![word], limit: 1_000, ..AuditQuery::default() };
        for query in [AuditQuery { after: Some((at(9), 9)), ..first.clone() }, first] {
            let (sql, values) = crate::query::audit(&query, &keys, &DIALECT);
            let given = vec!["9"; values.len()].join(", ");
            let plan = cluster.tamper(
                &url,
                &format!(
                    "SET plan_cache_mode = force_generic_plan; PREPARE asked AS {}; EXPLAIN EXECUTE asked({given})",
                    numbered(&sql)
                ),
            );
            let plan = plan.join("\n");
            assert!(plan.contains(index) && !plan.contains("Sort"), "{word}: {plan}");
        }
    }
}

/// Every index is written for every message: whoever adds one knows what it costs.
#[tokio::test]
async fn a_fresh_message_enters_few_indexes() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    assert_eq!(store.accept(whole_message(1)).await, Ok(Accepted::New));
    for (table, expected) in [("deliveries", 46), ("audit_log", 145)] {
        let indexes = format!(
            "SELECT indexrelid::regclass, coalesce(pg_get_expr(indpred, indrelid), 'true') FROM pg_index
             WHERE indrelid = '{table}'::regclass ORDER BY 1"
        );
        let mut entries = Vec::new();
        for line in cluster.tamper(&url, &indexes) {
            let (name, which) = line.split_once('|').expect("two columns");
            let count = cluster.tamper(&url, &format!("SELECT count(*) FROM {table} WHERE {which}"));
            let count: u64 = count[0].parse().expect("a number");
            entries.extend((count > 0).then_some((name.to_owned(), count)));
        }
        assert_eq!(entries.iter().map(|(_, count)| count).sum::<u64>(), expected, "{entries:?}");
    }
}

/// Every node asks every ten seconds: what is history is not read again and again.
#[tokio::test]
async fn what_needs_a_person_is_found_by_indexes_that_leave_history_out() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let store: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    accept_new(&store, acceptance(1)).await;
    cluster.tamper(
        &url,
        "INSERT INTO transfers SELECT copy.* FROM transfers t, generate_series(1, 20000) n,
             LATERAL jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'message_id', n, 'header_id', n,
                 'document_id', n, 'received', t.received - n * 10000000000, 'expected', t.received - n * 10000000000
                     + CASE n % 100 WHEN 7 THEN 30 ELSE 1 END * 86400000000)) copy;
         INSERT INTO deliveries SELECT copy.* FROM deliveries d,
             (SELECT id, received, row_number() OVER () AS n FROM transfers) t,
             LATERAL jsonb_populate_record(d, jsonb_build_object('id', gen_random_uuid(), 'sequence', 1000 + t.n, 'transfer', t.id,
                 'kind', CASE t.n % 3 WHEN 0 THEN 'care-home' ELSE 'covering-practice' END, 'created', t.received,
                 'changed', t.received, 'notice_of', CASE t.n % 50 WHEN 1 THEN d.id END,
                 'opened', CASE t.n % 5 WHEN 0 THEN NULL ELSE t.received END, 'next_attempt', NULL,
                 'state', CASE t.n % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'sent' WHEN 2 THEN 'rejected' ELSE 'received' END)) copy;
         ANALYZE deliveries; ANALYZE holds; ANALYZE transfers; ANALYZE alerts",
    );
    let bounds = crate::query::alerts::bounds(at(0), &crate::contract::alerting::deadlines());
    let given = bounds.map(|bound| bound.to_string()).join(", ");
    let asked = crate::query::alerts::concerns(&DIALECT);
    let plan = cluster.tamper(
        &url,
        &format!("SET plan_cache_mode = force_generic_plan; PREPARE asked AS {asked}; EXPLAIN EXECUTE asked({given})"),
    );
    let plan = plan.join("\n");
    for index in [
        "deliveries_failed",
        "deliveries_unanswered",
        "deliveries_unprocessed",
        "deliveries_figures",
        "deliveries_unopened",
        "deliveries_notices",
        "transfers_far_ahead",
    ] {
        assert!(plan.contains(index), "{index}: {plan}");
    }
    assert!(!plan.contains("Seq Scan on deliveries"), "{plan}");
    assert!(plan.matches("changed > (").count() >= 3, "each leaves history out: {plan}");
    for bound in ["Index Cond: ((created > (", "Index Cond: ((expected > ("] {
        assert!(plan.contains(bound), "{bound}: {plan}");
    }
}

/// A list behind NOT IN is looked through for each row once it is long: with 42,000 messages no rule ended in time.
#[tokio::test]
async fn fsck_looks_nothing_up_for_each_row_and_has_the_time_that_it_takes() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let store = node(&url, LeaseClock::Database).await;
    cluster.tamper(
        &url,
        "INSERT INTO transfers (id, sender, client_id, message_id, event, received, reply, changed, body_sha256, response)
         SELECT gen_random_uuid(), 'RXH', 'c', n, 'e', n, '', n, '', '' FROM generate_series(1, 20000) n;
         INSERT INTO deliveries (id, sequence, transfer, month, lane, sender, kind, recipient, recipient_name, transport, endpoint,
             state, version, attempts, body_bytes, acknowledgement_awaited, basis, created, changed, disclosure)
         SELECT gen_random_uuid(), t.received * 2 + n, t.id, 202003, 'l', 'RXH', 'care-home', 'VM1AB', '', 'inbox', '{}',
             'awaiting-collection', 1, 1, 0, true, '', 0, 0, '' FROM transfers t, generate_series(0, 1) n;
         INSERT INTO audit_log (position, id, recorded, word, transfer, leaf, event)
         SELECT received - 1, id, 0, 'accept', id, '', '' FROM transfers;
         INSERT INTO audit_log (position, id, recorded, word, delivery, leaf, event)
         SELECT 19998 + sequence, id, 0, 'disclose', id, '', '' FROM deliveries;
         ANALYZE transfers; ANALYZE deliveries; ANALYZE audit_log",
    );
    use crate::checkup::{RULES, SIZES, transfers};
    let transfers = transfers();
    let whole = ["places", "sizes", "sizes", "sizes"].into_iter().zip([transfers.as_str()].into_iter().chain(SIZES));
    for (rule, sql) in RULES.iter().chain(super::super::checkup::OWN).copied().chain(whole) {
        let plan = cluster.tamper(&url, &format!("EXPLAIN {sql}")).join("\n");
        assert!(plan.contains("rows=") && !plan.contains("SubPlan"), "{rule}: {plan}");
    }
    let after = store
        .read((), |c, ()| {
            async move {
                super::super::checkup::run(c).await?;
                let row = super::super::session::first(c, "SHOW statement_timeout", &[]).await?.expect("a setting");
                Ok(row.get::<_, String>(0))
            }
            .boxed()
        })
        .await;
    assert_eq!(after.as_deref(), Ok("1h"), "what is checked may take as long as it takes");
}

#[tokio::test]
async fn what_stays_of_a_month_is_found_by_what_makes_it_stay() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    node(&url, LeaseClock::Database).await;
    cluster.tamper(
        &url,
        "INSERT INTO transfers (id, sender, client_id, message_id, event, received, patient, reply, changed, body_sha256, response)
         SELECT gen_random_uuid(), 'RXH', 'c', n, 'e', n, n, '', n, '', '' FROM generate_series(1, 20000) n;
         INSERT INTO deliveries (id, sequence, transfer, month, lane, sender, patient, kind, recipient, recipient_name, transport,
             endpoint, state, version, attempts, body_bytes, acknowledgement_awaited, basis, created, changed, disclosure)
         SELECT gen_random_uuid(), received, id, 202003, 'l', 'RXH', patient, 'care-home', 'VM1AB', '', 'inbox', '{}',
             CASE received % 500 WHEN 1 THEN 'queued' WHEN 2 THEN 'awaiting-collection' ELSE 'received' END,
             1, 1, 0, true, '', received, 0, '' FROM transfers;
         CREATE TABLE message_bodies_202003 PARTITION OF message_bodies FOR VALUES IN (202003);
         CREATE TABLE rendition_bodies_202003 PARTITION OF rendition_bodies FOR VALUES IN (202003);
         INSERT INTO message_bodies (transfer, month, media_type, body) SELECT id, 202003, '', '' FROM transfers;
         INSERT INTO rendition_bodies (delivery, month, media_type, body) SELECT id, 202003, '', '' FROM deliveries;
         INSERT INTO legal_holds (id, patient, reason, placed_by, placed) VALUES (gen_random_uuid(), '7', '', 'Cy', 0);
         ANALYZE",
    );
    for class in BodyClass::ALL {
        let asked = super::super::purge::months(*class, super::super::purge::Which::Before).replace("$1", "202004");
        let plan = cluster.tamper(&url, &format!("EXPLAIN {asked}")).join("\n");
        let scanned =
            ["SubPlan", "Seq Scan on transfers", "Seq Scan on deliveries"].iter().find(|text| plan.contains(**text));
        assert_eq!(scanned, None, "{class}: {plan}");
        let counted = cluster.tamper(&url, &asked);
        assert_eq!(counted.len(), 1, "{counted:?}");
        let kept = match class {
            BodyClass::Messages => "1",
            BodyClass::Renditions => "81",
        };
        assert!(counted[0].ends_with(kept), "{class}: {counted:?}");
    }
}

/// A queue that was empty when the tables were last counted, and has a backlog now: what is next is found from its beginning, and whether
/// something older waits is looked up.
#[tokio::test]
async fn a_backlog_is_not_gone_through_for_each_claim() {
    let Some(cluster) = cluster::shared() else { return };
    let url = migrated(cluster);
    let store = node(&url, LeaseClock::Database).await;
    cluster.tamper(&url, "ALTER TABLE deliveries SET (autovacuum_enabled = off)");
    assert_eq!(store.accept(acceptance(1)).await, Ok(Accepted::New));
    let more = |state: &str, from: u32| {
        let sql = format!(
            "INSERT INTO deliveries SELECT copy.* FROM deliveries d, generate_series({from}, {from} + 5000) n,
                 LATERAL jsonb_populate_record(d, jsonb_build_object('id', gen_random_uuid(), 'sequence', 10000 + n, 'lane', 'l' || n,
                     'state', '{state}')) copy
             WHERE d.sequence = (SELECT min(sequence) FROM deliveries)"
        );
        cluster.tamper(&url, &sql);
    };
    more("received", 0);
    cluster.tamper(&url, "ANALYZE deliveries");
    more("queued", 10_000);
    let work = Work::begin(&store.shared).await.expect("begun");
    let none: Vec<String> = Vec::new();
    let (now, limit, only) = (micros(at(9)), 8_i64, None::<String>);
    let given: [session::Given<'_>; 5] = [
        (&now, Type::INT8),
        (&limit, Type::INT8),
        (&only, Type::TEXT),
        (&none, Type::TEXT_ARRAY),
        (&none, Type::TEXT_ARRAY),
    ];
    for (asked, given, index) in [
        (dispatch::due_sql(), &given[..], "deliveries_due"),
        (dispatch::placeable_sql(), &given[..2], "deliveries_placing"),
    ] {
        let plan = dispatch::in_order(&work, &format!("EXPLAIN {asked}"), given).await.expect("explained");
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Sort") && !plan.contains("Bitmap"), "{index}: {plan}");
        assert!(plan.contains("Index Cond: ((recipient = d.recipient) AND (lane = d.lane)"), "{index}: {plan}");
        let sorts = session::first(work.client(), "SHOW enable_sort", &[]).await.expect("shown").expect("a setting");
        assert_eq!(sorts.get::<_, String>(0), "on", "for this alone");
    }
}

/// Everybody waits for whoever has the log's head.
#[tokio::test]
async fn the_log_is_not_gone_through_for_each_message() {
    let Some(cluster) = cluster::shared() else { return };
    let url = migrated(cluster);
    let store = node(&url, LeaseClock::Database).await;
    cluster.tamper(
        &url,
        "ALTER TABLE audit_log SET (autovacuum_enabled = off);
         INSERT INTO audit_log (position, id, recorded, word, transfer, leaf, event)
         SELECT n, 'e' || n, n, 'read', gen_random_uuid(), '', '' FROM generate_series(0, 4999) n",
    );
    let writer = store.shared.writes.get().await.expect("a connection");
    let one = vec![TransferId::random().to_string()];
    let plan = session::planned(&writer, &format!("EXPLAIN {}", audit::BEFORE), &[(&one, Type::TEXT_ARRAY)]).await;
    let plan: Vec<String> = plan.expect("explained").iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("audit_log_transfer") && !plan.contains("Seq Scan on audit_log"), "{plan}");
}
