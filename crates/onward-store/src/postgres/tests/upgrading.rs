//! Fault 37: an upgrade is killed at any of its statements, and resumes; and nodes of the program before go on beside it.

use std::collections::BTreeMap;

use onward_core::store::{DeliveryQuery, Renewal, Resend, Schema};

use super::*;
use crate::contract::hold;
use crate::postgres::connect;
use crate::postgres::open::{self, CLOSED_SINCE, MIGRATIONS, RECORDED, UPGRADE, Upgrade};
use crate::schema::{Migration, assert_in_order};

/// The version of the schema that this database has.
pub(super) fn version(cluster: &Cluster, url: &str) -> usize {
    cluster.tamper(url, "SELECT version FROM onward_schema").remove(0).parse().expect("a number")
}

/// The program that takes these steps comes to this database.
pub(super) async fn bring(url: &str, upgrade: Upgrade<'_>) -> Result<(), OpenError> {
    let pool = connect::pool(&settings(url), 1).expect("an address");
    open::migrate(&pool, upgrade, &keys(), at(0)).await
}

/// What a later program knows: these steps after this program's own, each with the oldest program that can serve on it.
pub(super) fn later(steps: &[(&'static str, usize)]) -> Vec<Migration> {
    let later = steps.iter().map(|(sql, oldest)| Migration::new(sql, *oldest));
    MIGRATIONS.iter().copied().chain(later).collect()
}

/// The version, and the oldest program.
fn recorded(cluster: &Cluster, url: &str) -> Vec<String> {
    cluster.tamper(url, "SELECT version, oldest FROM onward_schema, onward_programs")
}

/// The server ends the upgrade's connection after a statement that changes the schema, or before the one that says that a step is done: for
/// the database that is what a kill of the node is. Each start comes one statement further, and the last one through.
#[tokio::test]
async fn fault_037_an_upgrade_that_is_killed_at_any_statement_resumes() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    cluster.tamper(&url, MIGRATIONS[0].sql);
    cluster.tamper(
        &url,
        "CREATE TABLE onward_schema (id BIGINT PRIMARY KEY, version BIGINT NOT NULL);
         INSERT INTO onward_schema VALUES (1, 1);
         CREATE SEQUENCE statements;
         CREATE TABLE survived (count BIGINT);
         INSERT INTO survived VALUES (0);
         CREATE FUNCTION ended() RETURNS boolean LANGUAGE sql AS $$
             SELECT CASE WHEN nextval('statements') > count THEN pg_terminate_backend(pg_backend_pid()) END FROM survived
         $$;
         CREATE FUNCTION end_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM ended(); RETURN NULL; END $$;
         CREATE FUNCTION end_change() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM ended(); END $$;
         CREATE TRIGGER ends BEFORE UPDATE ON onward_schema FOR EACH STATEMENT EXECUTE FUNCTION end_statement();
         CREATE EVENT TRIGGER ends ON ddl_command_end EXECUTE FUNCTION end_change()",
    );
    let (mut at_version, mut survives, mut kills) = (1, 0, 0);
    loop {
        let told = format!("UPDATE survived SET count = {survives}; SELECT setval('statements', 1, false)");
        cluster.tamper(&url, &told);
        match PostgresStore::open(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop) {
            Ok(()) => break,
            Err(OpenError::Postgres(_)) => kills += 1,
            Err(other) => panic!("version {at_version}, after {survives}: {other}"),
        }
        // Of a step all is there or nothing.
        let found = version(cluster, &url);
        assert!(found == at_version || found == at_version + 1, "{at_version}, then {found}");
        survives = if found == at_version { survives + 1 } else { 0 };
        at_version = found;
    }
    assert_eq!(version(cluster, &url), MIGRATIONS.len());
    assert!(kills > 3 * MIGRATIONS.len(), "killed {kills} times");
    cluster.tamper(&url, "DROP EVENT TRIGGER ends; DROP TRIGGER ends ON onward_schema");
    let store: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    assert_eq!(store.accept(told(1)).await, Ok(Accepted::New));
    assert_eq!(store.checkup().await.expect("readable").flaws, []);
    assert_eq!(store.users().await, Ok(Vec::new()), "the later steps are there");
}

/// What the statements of a program rest on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// Columns with their types, by table.
    columns: BTreeMap<String, BTreeSet<String>>,
    /// Columns that an INSERT may leave out.
    optional: BTreeSet<String>,
    /// What a row must be: unique keys and conditions, by table, each after the columns that it is about.
    demands: BTreeMap<String, BTreeSet<String>>,
}

impl Shape {
    fn of(cluster: &Cluster, url: &str) -> Self {
        let lines = cluster.tamper(
            url,
            "SELECT 'column', c.table_name, c.column_name || ' ' || c.data_type FROM information_schema.columns c
                 WHERE table_schema = current_schema()
             UNION ALL SELECT 'optional', table_name, column_name FROM information_schema.columns
                 WHERE table_schema = current_schema() AND (is_nullable = 'YES' OR column_default IS NOT NULL)
             UNION ALL SELECT 'demand', conrelid::regclass::text, concat((SELECT string_agg(attname, ' ') FROM pg_attribute
                     WHERE attrelid = conrelid AND attnum = ANY (conkey)), ': ', replace(pg_get_constraintdef(oid), E'\\n', ' '))
                 FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0
             UNION ALL SELECT 'demand', indrelid::regclass::text, concat((SELECT string_agg(attname, ' ') FROM pg_attribute
                     WHERE attrelid = indrelid AND attnum = ANY (indkey)), ': ', regexp_replace(pg_get_indexdef(indexrelid), '^.* USING', 'UNIQUE'))
                 FROM pg_index WHERE indisunique
                     AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)",
        );
        let mut shape = Self::default();
        for line in lines {
            let [what, table, rest] = line.splitn(3, '|').collect::<Vec<_>>().try_into().expect("three columns");
            let (table, rest) = (table.to_owned(), rest.to_owned());
            let _ = match what {
                "column" => shape.columns.entry(table).or_default().insert(rest),
                "optional" => shape.optional.insert(format!("{table}.{rest}")),
                _ => shape.demands.entry(table).or_default().insert(rest),
            };
        }
        shape
    }

    /// What a program that was made for this shape misses in another, or would break there.
    fn lost_in(&self, next: &Self) -> Vec<String> {
        let mut lost = Vec::new();
        for (table, columns) in &self.columns {
            let Some(there) = next.columns.get(table) else {
                lost.push(format!("table {table}"));
                continue;
            };
            lost.extend(columns.difference(there).map(|column| format!("{table}: {column} is gone or another")));
            let name = |column: &String| format!("{table}.{}", column.split(' ').next().unwrap_or_default());
            let added = there.difference(columns).map(name);
            lost.extend(added.filter(|name| !next.optional.contains(name)).map(|name| format!("{name} is demanded")));
            let none = BTreeSet::new();
            let (before, after) = [self, next].map(|shape| shape.demands.get(table).unwrap_or(&none)).into();
            // What is about new columns alone holds of rows that leave them out.
            let known: BTreeSet<&str> = columns.iter().filter_map(|column| column.split(' ').next()).collect();
            let concerns = |demand: &&String| {
                let about = demand.split(": ").next().unwrap_or_default();
                about.is_empty() || about.split(' ').any(|column| known.contains(column))
            };
            lost.extend(after.difference(before).filter(concerns).map(|demand| format!("{table}: {demand} is new")));
        }
        lost.extend(self.optional.difference(&next.optional).map(|name| format!("{name} is optional no more")));
        lost
    }
}

#[test]
fn the_steps_tell_who_can_serve_on_them() {
    assert_in_order(MIGRATIONS);
}

/// A node whose program is one step older than the schema starts on it and serves, where the step lets it; where it does not, no node of it
/// starts any more, and those that run go on until they end.
#[tokio::test]
async fn fault_037_a_node_starts_on_a_newer_schema_that_lets_it_serve_and_on_no_other() {
    let Some((cluster, url, nodes)) = two_nodes().await else { return };
    let known = MIGRATIONS.len();
    let adds = "ALTER TABLE deliveries ADD COLUMN of_the_next BIGINT; CREATE TABLE of_the_next (id BIGINT)";
    let next = later(&[(adds, known)]);
    bring(&url, Upgrade { steps: &next, ..UPGRADE }).await.expect("brought forward");
    let begins: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    walk(&[Arc::clone(&begins), Arc::clone(&nodes[1])], 0).await;
    assert_eq!(
        begins.schema().await,
        Ok(Schema { stored: known + 1, known, oldest_program: Some(known), waits_for: CLOSED_SINCE })
    );
    assert_eq!(version(cluster, &url), known + 1, "nothing is taken back");

    let after_next = later(&[(adds, known), ("CREATE TABLE of_that_after (id BIGINT)", known + 1)]);
    bring(&url, Upgrade { steps: &after_next, ..UPGRADE }).await.expect("brought forward");
    let refused =
        PostgresStore::open(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop).expect_err("newer");
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    for told in [
        format!("schema version {}", known + 2),
        format!("knows version {} at least", known + 1),
        format!("versions up to {known}: use the newer program, or go back with the backup"),
    ] {
        assert!(refused.to_string().contains(&told), "{refused}");
    }
    walk(&nodes, 100).await;
}

#[tokio::test]
async fn the_oldest_program_is_recorded_from_the_step_on_that_makes_room_for_it() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    bring(&url, Upgrade { steps: &MIGRATIONS[..RECORDED], ..UPGRADE }).await.expect("made");
    assert_eq!(cluster.tamper(&url, "SELECT to_regclass('onward_programs') IS NULL"), ["t"]);
    assert_eq!(version(cluster, &url), RECORDED);
    let store = node(&url, LeaseClock::Database).await;
    assert_eq!(recorded(cluster, &url), [format!("{}|{CLOSED_SINCE}", MIGRATIONS.len())], "nobody has used it yet");
    assert_eq!(store.accept(acceptance(1)).await, Ok(Accepted::New));
    // A later program's database that does not tell lets nobody serve who does not know it.
    cluster.tamper(&url, "DELETE FROM onward_programs; UPDATE onward_schema SET version = version + 1");
    let refused = PostgresStore::open(&settings(&url), keys(), Arc::new(FixedClock)).await.map(drop);
    let found = MIGRATIONS.len() + 1;
    assert!(matches!(refused, Err(OpenError::Newer { oldest, .. }) if oldest == found), "{refused:?}");
}

#[tokio::test]
async fn a_step_that_fails_changes_neither_the_version_nor_the_oldest_program() {
    let Some((cluster, url, _)) = two_nodes().await else { return };
    let before = recorded(cluster, &url);
    let found = MIGRATIONS.len() + 1;
    let next = later(&[("CREATE TABLE of_the_next (id BIGINT)", found)]);
    cluster.tamper(
        &url,
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as told'; END $$;
         CREATE TRIGGER fails BEFORE UPDATE ON onward_schema FOR EACH STATEMENT EXECUTE FUNCTION fails()",
    );
    let failed = bring(&url, Upgrade { steps: &next, ..UPGRADE }).await;
    assert!(matches!(failed, Err(OpenError::Postgres(_))), "{failed:?}");
    assert_eq!(recorded(cluster, &url), before);
    cluster.tamper(&url, "DROP TRIGGER fails ON onward_schema");
    bring(&url, Upgrade { steps: &next, ..UPGRADE }).await.expect("brought forward");
    assert_eq!(recorded(cluster, &url), [format!("{found}|{found}")]);
}

/// N-1: while one node after the other is replaced, those of the program before go on. Every step leaves them every table and column that
/// their statements name, demands no column of them that they do not know, and nothing else of a row than before. So do all steps together
/// that follow one, and a program may start again on what they leave.
#[tokio::test]
async fn fault_037_no_step_takes_away_what_the_program_before_needs() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let mut before = Shape::default();
    for (version, step) in (1..).zip(MIGRATIONS) {
        cluster.tamper(&url, step.sql);
        let after = Shape::of(cluster, &url);
        assert_eq!(before.lost_in(&after), Vec::<String>::new(), "the step to version {version}");
        before = after;
    }
    assert!(before.columns.len() > 30 && before.demands.len() > 20, "{before:?}");
    // What would break it is found.
    for step in [
        "ALTER TABLE deliveries DROP COLUMN workflow",
        "ALTER TABLE deliveries ALTER COLUMN version TYPE NUMERIC",
        "ALTER TABLE transfers ADD COLUMN demanded BIGINT NOT NULL",
        "ALTER TABLE holds ALTER COLUMN closed SET NOT NULL",
        "CREATE UNIQUE INDEX one_copy ON deliveries (transfer)",
        "ALTER TABLE pauses ADD CHECK (reason <> '')",
        "ALTER TABLE attempts RENAME TO tries",
    ] {
        let found = cluster.database();
        let steps: Vec<_> = MIGRATIONS.iter().map(|step| step.sql).collect();
        cluster.tamper(&found, &format!("{};\n{step}", steps.join(";\n")));
        assert!(!before.lost_in(&Shape::of(cluster, &found)).is_empty(), "{step}");
    }
}

/// The same while they run: what a node has prepared it goes on with when a later program has added a column to every table.
#[tokio::test]
async fn fault_037_nodes_go_on_with_what_they_have_prepared_while_the_schema_grows() {
    let Some((cluster, url, nodes)) = two_nodes().await else { return };
    walk(&nodes, 0).await;
    let grown = cluster.tamper(
        &url,
        "DO $$ DECLARE found RECORD; BEGIN
             FOR found IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
                 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             LOOP
                 EXECUTE format('ALTER TABLE %s ADD COLUMN of_the_next BIGINT, ADD COLUMN given BIGINT NOT NULL DEFAULT 7', found.name);
             END LOOP;
         END $$;
         SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'of_the_next'",
    );
    assert!(grown[0].parse::<usize>().expect("a number") > 30, "{grown:?}");
    walk(&nodes, 100).await;
    // And a node that starts then.
    walk(&[Arc::new(node(&url, LeaseClock::Database).await), Arc::clone(&nodes[1])], 200).await;
}

/// What nodes do all day, each of them: accept, send, fail, read, hold, pause, tell.
async fn walk(nodes: &[Shared; 2], from: u32) {
    for (node, from) in nodes.iter().zip([from, from + 50]) {
        let mut held = acceptance(from);
        held.deliveries.clear();
        held.hold = Some(hold());
        let transfer = held.transfer.id;
        assert_eq!(node.accept(held).await, Ok(Accepted::New));
        assert!(node.transfer(transfer).await.expect("readable").expect("there").hold.is_some());
        for n in 1..4 {
            accept_new(node, acceptance(from + n)).await;
        }
        assert!(matches!(node.accept(acceptance(from + 1)).await, Ok(Accepted::Repeat { .. })));
        let leases = claim(node, 0).await;
        assert_eq!(leases.len(), 3);
        let held = leases.iter().map(|lease| (lease.delivery.id, lease.token)).collect();
        let renewal = Renewal { now: at(1), lease_until: at(31), held };
        assert_eq!(node.renew(renewal).await, Ok(vec![true; 3]));
        assert!(end(node, &leases[0]).await && end(node, &leases[1]).await);
        let failed = AttemptEnd {
            delivery: leases[2].delivery.id,
            token: leases[2].token,
            outcome: AttemptOutcome::Failed { reason: "410".to_owned() },
            at: at(1),
            audit: vec![row(AuditWord::DeliveryFailed)],
        };
        assert_eq!(node.complete(vec![failed]).await, Ok(vec![true]));
        let copy = leases[0].delivery.id;
        let read = node.open_rendition(copy, at(2), None, vec![row(AuditWord::Read)]).await;
        assert!(read.expect("readable").is_some());
        let again = node
            .requeue(
                leases[2].delivery.id,
                Resend::Retry.into(),
                "Ada Wells",
                "mended",
                at(3),
                vec![row(AuditWord::Release)],
            )
            .await;
        assert_eq!(again, Ok(true));
        let leases = claim(node, 4).await;
        assert!(end(node, &leases[0]).await);
        assert!(
            !node.deliveries(DeliveryQuery { limit: 100, ..Default::default() }).await.expect("readable").is_empty()
        );
        assert!(node.figures(at(5)).await.expect("readable").deliveries.iter().any(|figure| figure.count > 0));
        let size = node.audit_entries(0, 1_000).await.expect("readable").len() as u64;
        let checkpoint = StoredCheckpoint { size, note: format!("checkpoint {size}\n") };
        assert_eq!(node.put_checkpoint(checkpoint).await, Ok(true));
        assert_eq!(node.ready().await, Ok(()));
    }
}
