//! By which indexes SQLite finds what is asked for often, or among much.

use onward_core::audit::{AuditQuery, AuditWord, Lists};
use onward_core::directory::Endpoint;
use onward_core::store::{DeliveryQuery, StuckQuery};

use super::super::DIALECT;
use super::*;
use crate::contract::{ods, whole_message};
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
    let claim = asked.iter().fold(super::super::dispatch::due_sql(), |sql, (mark, value)| sql.replace(mark, value));
    let claim = plan(claim).await.expect("explained");
    assert!(
        claim.contains("deliveries_due") && claim.contains("deliveries_queue") && claim.contains("deliveries_leased"),
        "{claim}"
    );
    let placing = super::super::dispatch::placeable_sql().replace("?1", "0").replace("?2", "9");
    let placing = plan(placing).await.expect("explained");
    assert!(
        placing.contains("deliveries_placing")
            && placing.contains("deliveries_queue")
            && !placing.contains("TEMP B-TREE"),
        "{placing}"
    );
    let overdue = crate::query::overdue(&DIALECT, "IN (SELECT value FROM json_each($2))");
    let overdue = overdue.replace("$1", "0").replace("$2", "'[]'").replace("$3", "9");
    let overdue = plan(overdue).await.expect("explained");
    assert!(overdue.contains("deliveries_figures (<expr>=? AND state=? AND created<?)"), "{overdue}");
    let retraced = crate::query::retracing::waiting().replace("$1", "0").replace("$2", "9");
    let retraced = plan(retraced).await.expect("explained");
    assert!(retraced.contains("deliveries_retraceable (changed>?)"), "{retraced}");
    let query = DeliveryQuery {
        recipient: Some(ods("VM1AB")),
        after: Some((at(0), DeliveryId::random())),
        ..Default::default()
    };
    let keys = Keychain::new(Arc::clone(&store.vault));
    let (list, values) = crate::query::deliveries(&query, &keys);
    assert_eq!(list.matches('?').count(), values.len());
    let list = plan(list.replace('?', "'0'")).await.expect("explained");
    assert!(list.contains("deliveries_recipient"), "{list}");
    let query = DeliveryQuery { dead: true, after: Some((at(0), DeliveryId::random())), ..Default::default() };
    let (dead, values) = crate::query::deliveries(&query, &keys);
    assert_eq!(dead.matches('?').count(), values.len());
    let dead = plan(dead.replace('?', "'0'")).await.expect("explained");
    for index in ["deliveries_dead ((created,id)>(?,?))", "deliveries_unprocessed ((created,id)>(?,?))"] {
        assert!(dead.contains(index) && !dead.contains("TEMP B-TREE"), "each page is read in order: {dead}");
    }
    let backlog = plan(crate::query::backlog()).await.expect("explained");
    let (stuck, _) = crate::query::stuck(&StuckQuery { limit: 50, ..Default::default() });
    let stuck = plan(stuck.replace('?', "'0'")).await.expect("explained");
    for board in [&backlog, &stuck] {
        assert!(board.contains("SCAN d USING INDEX deliveries_due") && board.contains("alerts_open"), "{board}");
    }
    assert!(stuck.contains("SCAN d USING INDEX deliveries_dead"), "{stuck}");
    let settle = plan(crate::query::alerts::settle().replace("$1", "9")).await.expect("explained");
    assert!(settle.contains("SEARCH w USING INDEX deliveries_queue (recipient=?)"), "{settle}");
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
        "deliveries_unanswered (state=? AND kind=? AND changed>? AND changed<?)",
        "deliveries_unprocessed (created>?)",
        "deliveries_unopened (created>? AND created<?)",
        "transfers_far_ahead (expected>? AND expected<?)",
        "deliveries_notices (created>? AND created<?)",
        "deliveries_figures (<expr>=? AND state=? AND created>?)",
        "deliveries_figures (<expr>=? AND state=? AND created<?)",
        "holds_open (due>? AND due<?)",
    ] {
        assert!(concerns.contains(range), "{range}: {concerns}");
    }
    let unread = ["deliveries_unanswered (state=? AND kind=? AND changed>?)", "deliveries_unopened (created>?)"];
    for index in ["deliveries_figures", "audit_log_refused", "holds_open"].into_iter().chain(unread) {
        assert!(figures.contains(index), "{index}: {figures}");
    }
    assert!(!figures.contains("TEMP B-TREE"), "{figures}");
    let scans = figures.lines().filter(|line| line.contains("SCAN deliveries"));
    assert_eq!(scans.count(), 1, "only what counts every copy reads every copy's index: {figures}");
    assert!(!figures.contains("SCAN d "), "{figures}");
    for plan in [claim, overdue, list, dead, tasks, concerns] {
        assert!(!plan.contains("SCAN older") && !plan.contains("SCAN deliveries"), "{plan}");
        assert!(!plan.lines().any(|line| line.trim() == "SCAN d"), "{plan}");
    }
}

/// Every index is written for every message: whoever adds one knows what it costs.
#[test]
fn the_looks_name_whatever_a_copy_goes_by() {
    let url = "https://practice.example/".to_owned();
    let endpoints = [
        Endpoint::Inbox {},
        Endpoint::Https { url: url.clone() },
        Endpoint::ProcessMessage { url },
        Endpoint::Mesh { mailbox: "X26OT900".parse().expect("a mailbox"), workflow: None },
        Endpoint::GpRouting { workflow: None },
    ];
    let named: Vec<&str> = DIALECT.any_transport.split('\'').skip(1).step_by(2).collect();
    let mut tags = vec!["$.transport".to_owned()];
    for endpoint in &endpoints {
        // Who adds one has to name it above and in the list.
        match endpoint {
            Endpoint::Inbox {}
            | Endpoint::Https { .. }
            | Endpoint::ProcessMessage { .. }
            | Endpoint::Mesh { .. }
            | Endpoint::GpRouting { .. } => {}
        }
        let written = serde_json::to_value(endpoint).expect("it can be written");
        tags.push(written["transport"].as_str().expect("a word").to_owned());
    }
    assert_eq!(named, tags);
}

#[tokio::test]
async fn a_fresh_message_enters_few_indexes() {
    let (folder, store) = fresh();
    assert_eq!(store.accept(whole_message(1)).await, Ok(Accepted::New));
    let file = Connection::open(folder.path().join("onward.db")).expect("opens");
    let entries = |table: &str| {
        let named = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? ORDER BY name";
        let mut statement = file.prepare(named).expect("prepared");
        let indexes = statement.query_map([table], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)));
        let mut entries = Vec::new();
        for index in indexes.expect("readable") {
            let (name, sql): (String, _) = index.expect("readable");
            let which = sql.as_deref().and_then(|sql| sql.split_once(" WHERE "));
            let which = which.map_or("TRUE", |(_, which)| which);
            let count = format!("SELECT count(*) FROM {table} WHERE {which}");
            let count: i64 = file.query_row(&count, [], |row| row.get(0)).expect("counted");
            entries.extend((count > 0).then_some((name, count)));
        }
        entries
    };
    let sum = |entries: &[(String, i64)]| entries.iter().map(|(_, count)| count).sum::<i64>();
    let (copies, log) = (entries("deliveries"), entries("audit_log"));
    assert_eq!(sum(&copies), 46, "{copies:?}");
    assert_eq!(sum(&log), 95, "{log:?}");
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
