//! How a letter that several recipients get lies in the file.

use super::*;
use crate::contract::letters::{accepted, letter, read, two, with_letter};
use crate::schema::Migration;
use crate::sqlite::open::{self, CLOSED_SINCE, MIGRATIONS, PARTS_SINCE};
use onward_core::store::Finish;

fn number(folder: &TempDir, sql: &str) -> i64 {
    let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
    connection.query_row(sql, [], |row| row.get(0)).expect("readable")
}

const PARTS: &str = "SELECT count(*) FROM rendition_parts";

#[tokio::test]
async fn it_is_kept_once_and_goes_with_the_last_copy() {
    let (folder, store) = fresh();
    let store: Shared = store;
    let [(transfer, copy), _] = two(&store).await;
    assert_eq!(number(&folder, PARTS), 2, "one of each transfer");
    assert_eq!(
        number(&folder, "SELECT count(DISTINCT digest) FROM rendition_parts"),
        2,
        "nobody sees that they are the same"
    );
    let rest = number(&folder, "SELECT sum(length(body) + length(html)) FROM rendition_bodies");
    assert!(usize::try_from(rest).expect("small") < letter().len() / 8, "{rest} bytes of the copies");
    assert!(!sealing::is_in_a_file(folder.path(), &letter()[..64]));
    let corrupt = async || store.rendition(copy).await.map(drop);

    // That of the other transfer does not open in this one's place.
    tamper(
        &folder,
        &format!(
            "UPDATE rendition_parts SET body = (SELECT body FROM rendition_parts WHERE transfer <> '{transfer}') WHERE transfer = '{transfer}'"
        ),
    );
    assert_eq!(corrupt().await, Err(StoreError::Corrupt("rendition_parts.body".to_owned())));
    tamper(&folder, &format!("DELETE FROM rendition_parts WHERE transfer = '{transfer}'"));
    assert_eq!(corrupt().await, Err(StoreError::Corrupt("rendition_parts.digest".to_owned())));
}

#[tokio::test]
async fn purged_copies_leave_no_part_behind() {
    let (folder, store) = fresh();
    let store: Shared = store;
    crate::contract::letters::a_letter_stays_as_long_as_a_copy_of_it(Arc::clone(&store)).await;
    assert_eq!(number(&folder, PARTS), 1, "that of the young copies");
}

#[tokio::test]
async fn it_is_kept_whole_while_an_older_program_may_serve() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    let bring = |steps: &[Migration]| {
        let mut connection = Connection::open(&path).expect("opens");
        open::migrate(&mut connection, steps, &keys(), at(0)).expect("brought forward");
    };
    bring(&MIGRATIONS[..28]);
    tamper(
        &folder,
        "INSERT INTO audit_log (position, id, recorded, word, leaf, event) VALUES (0, 'a', 0, 'configure', zeroblob(32), x'00')",
    );
    let store: Shared = Arc::new(super::open(&path).expect("opens"));
    let oldest = async || store.schema().await.map(|schema| (schema.oldest_program, schema.is_finished()));
    assert_eq!(oldest().await, Ok((Some(25), false)));
    let whole = accepted(&store, with_letter(1)).await;
    assert_eq!(number(&folder, PARTS), 0);
    // A command knows that a gateway serves, and not which.
    let command = SqliteStore::open_shared(&path, keys(), Arc::new(FixedClock)).expect("opens beside");
    assert_eq!(command.finish_upgrade(Vec::new()).await, Ok(Finish::Served));
    drop(command);
    let entries = store.audit_size().await.expect("readable");
    assert_eq!(store.finish_upgrade(vec![row(AuditWord::Configure)]).await, Ok(Finish::Done));
    assert_eq!(store.finish_upgrade(vec![row(AuditWord::Configure)]).await, Ok(Finish::Already));
    assert_eq!(store.audit_size().await.expect("readable"), entries + 1, "an entry says so, and one only");
    assert_eq!(oldest().await, Ok((Some(CLOSED_SINCE), true)));
    let parted = accepted(&store, with_letter(2)).await;
    assert_eq!(number(&folder, PARTS), 1);
    read(&store, &[whole, parted].concat()).await;
    // A node that remembers it makes it so again, where the database has lost it.
    tamper(&folder, "UPDATE onward_programs SET oldest = 25");
    accepted(&store, with_letter(3)).await;
    assert_eq!(oldest().await, Ok((Some(PARTS_SINCE), false)));
    drop(store);
    // A later step that asks for less does not let an older program in again.
    let later: Vec<_> = MIGRATIONS.iter().copied().chain([Migration::new("SELECT 1", 25)]).collect();
    bring(&later);
    assert_eq!(number(&folder, "SELECT oldest FROM onward_programs"), i64::try_from(PARTS_SINCE).expect("few"));
    let store = super::open(&path).expect("this program may serve");
    assert_eq!(store.finish_upgrade(Vec::new()).await, Ok(Finish::Newer), "a newer program's");
}
