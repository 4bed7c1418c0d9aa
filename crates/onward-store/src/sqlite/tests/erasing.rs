//! Fifty of a thousand people erased: no file keeps a key of theirs or a word about anybody, every proof holds, everybody else can be
//! read.

use std::collections::HashSet;

use super::sealing::is_in_a_file;
use super::*;
use crate::contract::erasing::{WROTE, confirm, erase_every, fill, request};
use crate::contract::sealing::{CANARY, write_everything};

const PEOPLE: u32 = 1_000;
const ERASED: u32 = 50;
/// Parts of a key that are looked for.
const PART: usize = 8;

/// What wraps the keys of people, part by part.
fn wrapped(folder: &TempDir, condition: &str) -> HashSet<[u8; PART]> {
    let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
    let sql = format!("SELECT wrapped FROM data_keys WHERE kind = 'person' AND {condition}");
    let mut statement = connection.prepare(&sql).expect("prepares");
    let keys = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("runs");
    let parts = |key: Vec<u8>| key.as_chunks::<PART>().0.to_vec();
    keys.flat_map(|key| parts(key.expect("readable"))).collect()
}

/// How many of the parts stand in a file.
fn found(path: &Path, parts: &HashSet<[u8; PART]>) -> usize {
    let bytes = std::fs::read(path).expect("readable");
    bytes.array_windows::<PART>().filter(|window| parts.contains(*window)).count()
}

#[tokio::test]
async fn fifty_of_a_thousand_people_are_erased() {
    let (folder, store) = fresh();
    let shared: Shared = store;
    let transfers = fill(&shared, PEOPLE).await;
    let all = wrapped(&folder, "1");
    assert_eq!(all.len(), PEOPLE as usize * 7, "60 bytes are seven parts, and none repeats");
    erase_every(&shared, &transfers, (PEOPLE / ERASED) as usize, None).await;

    let left = wrapped(&folder, "wrapped IS NOT NULL");
    let destroyed: HashSet<_> = all.difference(&left).copied().collect();
    assert_eq!(destroyed.len(), ERASED as usize * 7);
    let backup = folder.path().join("backup.db");
    let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
    connection.execute("VACUUM INTO ?", [backup.to_str().expect("UTF-8")]).expect("copied");
    drop(connection);
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).expect("readable") {
        let path = file.expect("a file").path();
        assert_eq!(found(&path, &destroyed), 0, "{} keeps a destroyed key", path.display());
        files += 1;
    }
    assert!(files >= 4, "database, log, index of the log, lock, backup");
    assert!(found(&backup, &left) >= left.len(), "the search finds the keys that are there");
    let erased = patient(0);
    for text in [CANARY, erased.expose()] {
        assert!(!is_in_a_file(folder.path(), text), "neither of the erased nor of the others");
    }
}

/// Every reason plain, as the schemas before kept it.
const PLAIN: &str = "UPDATE deliveries SET reason = '{w}', words = NULL WHERE words IS NOT NULL;
    UPDATE deliveries SET replay = '{w}', replay_words = NULL WHERE replay_words IS NOT NULL;
    UPDATE delivery_history SET reason = '{w}', words = NULL WHERE words IS NOT NULL;
    UPDATE transfers SET ended_reason = '{w}', ended_words = NULL WHERE ended_words IS NOT NULL;
    UPDATE approvals SET reason = '{w}', words = NULL WHERE words IS NOT NULL;
    UPDATE erasures SET reason = '{w}'; UPDATE legal_holds SET reason = '{w}';";

#[tokio::test]
async fn what_people_wrote_about_a_person_stands_in_no_file() {
    let (folder, store) = fresh();
    let shared: Shared = store;
    let written = write_everything(&shared, 1).await;
    let id = uuid::Uuid::new_v4();
    assert_eq!(shared.request_erasure(&patient(1), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    for text in [WROTE, "case 17"] {
        assert!(!is_in_a_file(folder.path(), text), "in the log of the database: {text}");
    }
    assert_eq!(written.read(&shared).await, vec![Some(WROTE.to_owned()); 7], "and is read");
    drop(shared);
    assert!(!is_in_a_file(folder.path(), WROTE), "in the database");

    tamper(&folder, &PLAIN.replace("{w}", WROTE));
    assert!(is_in_a_file(folder.path(), WROTE), "the search finds what is there");
    // What the step of the schema does; `sealing` opens a whole store from before.
    let connection = Connection::open(folder.path().join("onward.db")).expect("opens");
    assert!(super::super::migrate::seal_words(&connection, &keys(), at(0)).expect("sealed"));
    connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").expect("runs");
    drop(connection);
    let shared: Shared = Arc::new(open(&folder.path().join("onward.db")).expect("opens"));
    assert!(!is_in_a_file(folder.path(), WROTE), "what was plain does not stay behind");
    assert_eq!(written.read(&shared).await, vec![Some(WROTE.to_owned()); 7]);
    assert_eq!(shared.pending_erasures().await.expect("readable")[0].request.reason, WROTE);
    let erased = confirm(&shared, id, "Bea").await;
    assert!(matches!(erased, onward_core::store::ErasureOutcome::Erased { transfers: 4, .. }), "{erased:?}");
    assert_eq!(written.read(&shared).await, vec![Some("erased".to_owned()); 7]);
    assert!(!is_in_a_file(folder.path(), WROTE));
}
