//! By which indexes SQLite finds what is asked for often, or among much.

use onward_core::audit::{AuditQuery, AuditWord, Lists};
use onward_core::store::DeliveryQuery;

use super::super::DIALECT;
use super::*;
use crate::contract::ods;
use crate::sealing::Keychain;

#[tokio::test]
async fn claims_and_lists_use_their_indexes() {
    let (_folder, store) = fresh();
    let plan = |sql: String| {
        store.writer.run(move |c| {
            let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let lines = statement.query_map([], |row| row.get::<_, String>("detail"))?;
            Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
        })
    };
    let asked = [("?1", "0"), ("?2", "9"), ("?3", "NULL"), ("?4", "NULL"), ("?5", "'[\"a\"]'")];
    let claim =
        asked.iter().fold(super::super::dispatch::DUE.to_owned(), |sql, (mark, value)| sql.replace(mark, value));
    let claim = plan(claim).await.expect("explained");
    assert!(
        claim.contains("deliveries_due") && claim.contains("deliveries_lane") && claim.contains("deliveries_leased"),
        "{claim}"
    );
    let overdue = crate::query::overdue("IN (SELECT value FROM json_each($2))");
    let overdue = overdue.replace("$1", "0").replace("$2", "'[]'").replace("$3", "9");
    let overdue = plan(overdue).await.expect("explained");
    assert!(overdue.contains("deliveries_stuck (created<?)"), "{overdue}");
    let retraced = crate::query::retracing::waiting().replace("$1", "0").replace("$2", "9");
    let retraced = plan(retraced).await.expect("explained");
    assert!(retraced.contains("deliveries_retraceable (changed>?)"), "{retraced}");
    let query = DeliveryQuery {
        recipient: Some(ods("VM1AB")),
        after: Some((at(0), DeliveryId::random())),
        ..Default::default()
    };
    let keys = Keychain::new(Arc::clone(&store.vault));
    let (conditions, values) = crate::query::deliveries(&query, &keys);
    assert_eq!(conditions.matches('?').count(), values.len());
    let list = format!("SELECT * FROM deliveries WHERE {conditions} ORDER BY created, id").replace('?', "'0'");
    let list = plan(list).await.expect("explained");
    assert!(list.contains("deliveries_recipient"), "{list}");
    let tasks = onward_core::store::TaskQuery {
        transfers: true,
        copies: true,
        sender: Some(ods("RXH")),
        after: Some((at(0), DeliveryId::random().0)),
        ..Default::default()
    };
    let (arms, values) = crate::query::tasks(&tasks, &keys, &DIALECT);
    let tasks = format!("{} ORDER BY created, id", arms.join(" UNION ALL "));
    assert_eq!(tasks.matches('?').count(), values.len());
    let tasks = plan(tasks.replace('?', "'0'")).await.expect("explained");
    assert!(tasks.contains("transfers_sender") && tasks.contains("deliveries_sender"), "{tasks}");
    assert!(!tasks.contains("TEMP B-TREE"), "each arm is in order: {tasks}");
    let figures = plan(super::super::figures::sql().replace("?1", "0")).await.expect("explained");
    let mut concerns = crate::query::alerts::concerns(&DIALECT);
    for (n, bound) in (1..).zip(crate::query::alerts::bounds(at(0), &crate::contract::alerting::deadlines())) {
        concerns = concerns.replace(&format!("?{n}"), &bound.to_string());
    }
    let concerns = plan(concerns).await.expect("explained");
    for range in [
        "deliveries_failed (changed>?)",
        "deliveries_unreceived (changed>? AND changed<?)",
        "deliveries_unacknowledged (changed>? AND changed<?)",
        "deliveries_unopened (created>? AND created<?)",
        "transfers_far_ahead (expected>? AND expected<?)",
        "deliveries_notices (created>? AND created<?)",
        "deliveries_figures (<expr>=? AND state=? AND created>?)",
        "deliveries_stuck (created<?)",
        "holds_open (due>? AND due<?)",
    ] {
        assert!(concerns.contains(range), "{range}: {concerns}");
    }
    for index in ["deliveries_figures", "audit_log_refused", "holds_open", "deliveries_unreceived"] {
        assert!(figures.contains(index), "{index}: {figures}");
    }
    assert!(!figures.contains("TEMP B-TREE"), "{figures}");
    let scans = figures.lines().filter(|line| line.contains("SCAN deliveries"));
    assert_eq!(scans.count(), 1, "only what counts every copy reads every copy's index: {figures}");
    for plan in [claim, overdue, list, tasks, concerns] {
        assert!(!plan.contains("SCAN older") && !plan.contains("SCAN deliveries"), "{plan}");
        assert!(!plan.lines().any(|line| line.trim() == "SCAN d"), "{plan}");
    }
}

/// The events are most of a store: reading them for every rule took a minute and a half for 100,000 messages.
#[tokio::test]
async fn fsck_reads_no_entry_of_the_log() {
    let (_folder, store) = fresh();
    let mut asked = 0;
    let sizes = crate::checkup::SIZES.map(|sql| ("sizes", sql));
    for (rule, sql) in crate::checkup::RULES.iter().copied().chain(sizes).filter(|(_, sql)| sql.contains("audit_log")) {
        let explained = store.writer.run(move |c| {
            let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN SELECT count(*) FROM ({sql}) f"))?;
            let lines = statement.query_map([], |row| row.get::<_, String>("detail"))?;
            Ok(lines.collect::<Result<Vec<_>, _>>()?)
        });
        let plan = explained.await.expect("explained");
        let mut reads = plan.iter().filter(|line| line.contains("audit_log")).peekable();
        assert!(reads.peek().is_some() && reads.all(|line| line.contains("COVERING INDEX")), "{rule}: {plan:?}");
        asked += 1;
    }
    assert_eq!(asked, 9);
}

#[tokio::test]
async fn audit_searches_use_their_indexes() {
    let (_folder, store) = fresh();
    let all = AuditQuery {
        from: Some(at(0)),
        until: Some(at(9)),
        words: vec![AuditWord::Read],
        after: Some((at(5), 3)),
        limit: 10,
        ..AuditQuery::default()
    };
    for (name, query, index) in [
        ("who saw a person", AuditQuery { patient: Some(patient(1)), ..all.clone() }, "audit_log_patient"),
        ("own", AuditQuery { organisation: Some(ods("RXH")), ..all.clone() }, "SEARCH p USING PRIMARY KEY"),
        (
            "own about a person",
            AuditQuery { organisation: Some(ods("RXH")), patient: Some(patient(1)), ..all.clone() },
            "audit_log_patient",
        ),
        (
            "own about a copy",
            AuditQuery { organisation: Some(ods("RXH")), entity: Some("id".to_owned()), ..all.clone() },
            "audit_log_delivery",
        ),
        (
            "lists with a person",
            AuditQuery { words: Vec::new(), lists: Some(Lists::Of(patient(1))), ..all.clone() },
            "SEARCH s USING PRIMARY KEY",
        ),
        (
            "own lists with a person",
            AuditQuery { organisation: Some(ods("RXH")), lists: Some(Lists::Of(patient(1))), ..all.clone() },
            "deliveries_patient",
        ),
        ("exports", AuditQuery { lists: Some(Lists::Exports), ..all.clone() }, "SEARCH s USING PRIMARY KEY"),
        (
            "own entries of an export",
            AuditQuery {
                organisation: Some(ods("RXH")),
                words: Vec::new(),
                lists: Some(Lists::Export(uuid::Uuid::nil())),
                ..all.clone()
            },
            "SEARCH s USING PRIMARY KEY",
        ),
        (
            "own verifications",
            AuditQuery { organisation: Some(ods("RXH")), lists: Some(Lists::Verifications), ..all.clone() },
            "SEARCH s USING PRIMARY KEY",
        ),
        ("lists of before", AuditQuery { lists: Some(Lists::Unkept), ..all.clone() }, "audit_log_unkept"),
        ("configured", AuditQuery { words: vec![AuditWord::Configure], ..all.clone() }, "audit_log_configured"),
        ("alarms", AuditQuery { words: vec![AuditWord::Alarm], ..all.clone() }, "audit_log_alarms"),
    ] {
        let plan = audit_plan(&store, query).await;
        assert!(plan.contains(index) && !plan.contains("SCAN"), "{name}: {plan}");
    }
    // From the first to the last of an index that holds nothing else.
    for (word, index) in [(AuditWord::Configure, "audit_log_configured"), (AuditWord::Alarm, "audit_log_alarms")] {
        let plan = audit_plan(&store, AuditQuery { words: vec![word], limit: 10, ..AuditQuery::default() }).await;
        assert!(plan.contains(&format!("USING INDEX {index}")) && !plan.contains("TEMP B-TREE"), "{word}: {plan}");
    }
}

/// How SQLite answers a search of the log.
async fn audit_plan(store: &SqliteStore, query: AuditQuery) -> String {
    let plan = store.write(move |c| {
        let (sql, values) = crate::query::audit(&query, c.keys(), &DIALECT);
        let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let lines = statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>("detail"))?;
        Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
    });
    plan.await.expect("explained")
}

#[tokio::test]
async fn everything_about_a_person_is_found_by_an_index() {
    let (_folder, store) = fresh();
    let plan = store.writer.run(|c| {
        let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {}", super::super::transfers::ABOUT))?;
        let lines = statement.query_map(["9"], |row| row.get::<_, String>("detail"))?;
        Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
    });
    let plan = plan.await.expect("explained");
    assert!(plan.contains("transfers_patient") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
}
