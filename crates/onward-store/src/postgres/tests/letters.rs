//! How a letter that several recipients get lies in the database.

use super::upgrading::bring;
use super::*;
use crate::contract::letters::{accepted, letter, read, two, with_letter};
use crate::postgres::open::{CLOSED_SINCE, MIGRATIONS, PARTS_SINCE, UPGRADE, Upgrade};
use crate::schema::Migration;
use onward_core::store::Finish;

const PARTS: &str = "SELECT count(*) FROM rendition_parts";

#[tokio::test]
async fn it_is_kept_once() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    let number = |sql: &str| cluster.tamper(&url, sql).remove(0).parse::<usize>().expect("a number");
    let [(transfer, copy), _] = two(&store).await;
    assert_eq!(number(PARTS), 2, "one of each transfer");
    assert_eq!(number("SELECT count(DISTINCT digest) FROM rendition_parts"), 2, "nobody sees that they are the same");
    let rest = number("SELECT sum(length(body) + length(html)) FROM rendition_bodies");
    assert!(rest < letter().len() / 8, "{rest} bytes of the copies");
    let corrupt = async || store.rendition(copy).await.map(drop);
    cluster.tamper(
        &url,
        &format!("UPDATE rendition_parts SET body = (SELECT body FROM rendition_parts WHERE transfer <> '{transfer}') WHERE transfer = '{transfer}'"),
    );
    assert_eq!(corrupt().await, Err(StoreError::Corrupt("rendition_parts.body".to_owned())));
    cluster.tamper(&url, &format!("DELETE FROM rendition_parts WHERE transfer = '{transfer}'"));
    assert_eq!(corrupt().await, Err(StoreError::Corrupt("rendition_parts.digest".to_owned())));
}

#[tokio::test]
async fn purged_copies_leave_no_part_behind() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    crate::contract::letters::a_letter_stays_as_long_as_a_copy_of_it(Arc::clone(&store)).await;
    assert_eq!(cluster.tamper(&url, PARTS), ["1"], "that of the young copies");
    let tables = cluster.tamper(&url, "SELECT relname FROM pg_class WHERE relname LIKE 'rendition%202003%'");
    assert_eq!(tables, [""; 0], "the month is dropped");
}

#[tokio::test]
async fn it_is_kept_whole_while_an_older_program_may_serve() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let upgrade = |steps| Upgrade { steps, ..UPGRADE };
    bring(&url, upgrade(&MIGRATIONS[..28])).await.expect("made");
    cluster.tamper(
        &url,
        "INSERT INTO audit_log (position, id, recorded, word, leaf, event) VALUES (0, 'a', 0, 'configure', '', '')",
    );
    cluster.tamper(&url, "UPDATE log_head SET audit_next = 1");
    let store: Shared = Arc::new(node(&url, LeaseClock::Caller).await);
    let oldest = async || store.schema().await.map(|schema| (schema.oldest_program, schema.is_finished()));
    assert_eq!(oldest().await, Ok((Some(23), false)));
    let whole = accepted(&store, with_letter(1)).await;
    assert_eq!(cluster.tamper(&url, PARTS), ["0"]);
    // A program of before tells no number.
    let before =
        PostgresSettings { url: format!("{url}?application_name=onward").parse().expect("a URL"), ..settings(&url) };
    let before = PostgresStore::open(&before, keys(), Arc::new(FixedClock)).await.expect("opens");
    before.figures(at(0)).await.expect("it has a connection");
    assert_eq!(store.finish_upgrade(Vec::new()).await, Ok(Finish::Served));
    drop(before);
    let entries = store.audit_size().await.expect("readable");
    let finish = loop {
        // The server ends a connection in its own time.
        match store.finish_upgrade(vec![row(AuditWord::Configure)]).await.expect("answers") {
            Finish::Served => tokio::task::yield_now().await,
            finish => break finish,
        }
    };
    assert_eq!(finish, Finish::Done);
    assert_eq!(store.finish_upgrade(vec![row(AuditWord::Configure)]).await, Ok(Finish::Already));
    assert_eq!(store.audit_size().await.expect("readable"), entries + 1, "an entry says so, and one only");
    assert_eq!(oldest().await, Ok((Some(CLOSED_SINCE), true)));
    let parted = accepted(&store, with_letter(2)).await;
    assert_eq!(cluster.tamper(&url, PARTS), ["1"]);
    read(&store, &[whole, parted].concat()).await;
    // A node that remembers it makes it so again, where a failover has lost it.
    cluster.tamper(&url, "UPDATE onward_programs SET oldest = 23");
    accepted(&store, with_letter(3)).await;
    assert_eq!(oldest().await, Ok((Some(PARTS_SINCE), false)));
    // A later step that asks for less does not let an older program in again.
    let later: Vec<_> = MIGRATIONS.iter().copied().chain([Migration::new("SELECT 1", 23)]).collect();
    bring(&url, upgrade(&later)).await.expect("brought forward");
    assert_eq!(cluster.tamper(&url, "SELECT oldest FROM onward_programs"), [PARTS_SINCE.to_string()]);
    assert_eq!(store.finish_upgrade(Vec::new()).await, Ok(Finish::Newer), "a newer program's");
}
