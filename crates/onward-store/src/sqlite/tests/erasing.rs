//! Fifty of a thousand people erased: no file keeps a key of theirs, every proof holds, everybody else can be read.

use std::collections::HashSet;

use onward_core::audit::AuditRow;
use onward_core::store::{AuditContent, ErasureOutcome};
use onward_ledger::{inclusion_proof, leaf_hash, root_of, verify_inclusion};
use uuid::Uuid;

use super::*;
use crate::contract::erasing::{confirm, request};

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
    let mut tasks = JoinSet::new();
    for n in 0..PEOPLE {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut message = acceptance(n);
            message.deliveries.clear();
            message.audit = vec![AuditRow { patient: message.transfer.patient.clone(), ..row(AuditWord::Accept) }];
            let transfer = message.transfer.id;
            assert_eq!(store.accept(message).await, Ok(Accepted::New));
            (n, transfer)
        });
    }
    let transfers = tasks.join_all().await;
    let shared: Shared = Arc::clone(&store) as Shared;
    let before = log(&shared).await;
    let all = wrapped(&folder, "1");
    assert_eq!(all.len(), PEOPLE as usize * 7, "60 bytes are seven parts, and none repeats");

    let step = PEOPLE / ERASED;
    for n in (0..PEOPLE).step_by(step as usize) {
        let id = Uuid::new_v4();
        assert_eq!(shared.request_erasure(&patient(n), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
        let outcome = confirm(&shared, id, "Bea").await;
        let erased = ErasureOutcome::Erased { transfers: 1, entries: 1, remains: None };
        assert_eq!(outcome, erased, "{n}");
    }

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

    let after = log(&shared).await;
    let leaves: Vec<_> = after.iter().map(|entry| entry.leaf).collect();
    let root = root_of(&leaves);
    let gone = after.iter().filter(|entry| entry.content == AuditContent::Erased).count();
    assert_eq!(gone, ERASED as usize);
    for (at, entry) in after.iter().enumerate() {
        let leaf = leaf_hash(entry.entry.as_deref().expect("a header"));
        if entry.content == AuditContent::Erased || at % 97 == 0 {
            let (index, size) = (at as u64, leaves.len() as u64);
            let path = inclusion_proof(&leaves, index, size).expect("in the log");
            assert_eq!(verify_inclusion(&leaf, index, size, &path, &root), Ok(()), "entry {at}");
        }
        assert_eq!(leaf, entry.leaf);
    }
    assert!(before.iter().zip(&after).all(|(old, new)| old.leaf == new.leaf));
    for (n, transfer) in transfers {
        let original = shared.original(transfer).await;
        match n % step {
            0 => assert_eq!(original.map(drop), Err(StoreError::Erased), "{n}"),
            _ => assert!(original.expect("readable").is_some(), "{n}"),
        }
    }
}
