//! Data at rest on PostgreSQL: nothing plain in any table, keys that must be there, keys that change, people who are erased, and
//! databases from before.

use onward_core::audit::AuditWord;
use onward_core::store::{AuditContent, Claim, ErasureOutcome, NewHold};
use uuid::Uuid;

use super::*;
use crate::contract::erasing::{WROTE, confirm, erase_every, fill, request};
use crate::contract::sealing::{CANARY, ring, telling, without_old, write_everything};
use crate::contract::{hold, row};
use crate::sealing::{KeyEncryption, KeyFault, KeyRing};

/// Every row of every table as text, bytes in hexadecimal.
fn dump(cluster: &Cluster, url: &str) -> String {
    let tables = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind = 'r'";
    let tables = cluster.tamper(url, tables);
    assert!(tables.iter().any(|table| table.starts_with("message_bodies_")), "partitions too: {tables:?}");
    let rows = |table: &String| cluster.tamper(url, &format!("SELECT t::text FROM {table} t"));
    tables.iter().flat_map(rows).collect::<Vec<_>>().join("\n")
}

/// Whether a dump holds this text, as text, as bytes or in base64.
fn holds(dump: &str, text: &str) -> bool {
    dump.contains(text) || dump.contains(&hex::encode(text))
}

#[tokio::test]
async fn no_table_holds_anything_plain_about_a_person() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    let mut held = telling(1);
    let reason = format!("seen: {CANARY}");
    held.hold = Some(NewHold { detail: reason.clone(), ..hold() });
    let transfer = held.transfer.id;
    assert_eq!(store.accept(held).await, Ok(Accepted::New));
    assert_eq!(store.accept(telling(2)).await, Ok(Accepted::New));
    let number = patient(1);
    let dump = dump(cluster, &url);
    for text in [CANARY, number.expose()] {
        assert!(!holds(&dump, text), "{text}");
    }
    assert!(holds(&dump, "VM1AB"), "the search finds what is there");
    assert_eq!(store.holds().await.expect("readable")[0].hold.detail, reason);
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!((read.patient.as_ref(), read.reply.sender_reference.as_deref()), (Some(&number), Some(CANARY)));

    // Of another row it does not open.
    cluster.tamper(
        &url,
        &format!("UPDATE message_bodies SET body = (SELECT body FROM message_bodies WHERE transfer <> '{transfer}')"),
    );
    assert_eq!(store.original(transfer).await.map(drop), Err(StoreError::Corrupt("message_bodies.body".to_owned())));
    cluster.tamper(&url, "UPDATE transfers SET patient = 'nobody'");
    assert_eq!(store.transfer(transfer).await.map(drop), Err(StoreError::Corrupt("transfers.patient".to_owned())));
    cluster.tamper(&url, "DELETE FROM data_keys WHERE kind = 'person'");
    assert_eq!(store.original(transfer).await.map(drop), Err(StoreError::Corrupt("data_keys.id".to_owned())));
}

#[tokio::test]
async fn fifty_of_a_thousand_people_are_erased() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    let transfers = fill(&store, 1_000).await;
    let wrapped = "SELECT encode(wrapped, 'hex') FROM data_keys WHERE kind = 'person' AND wrapped IS NOT NULL";
    let before = cluster.tamper(&url, wrapped);
    let remains =
        "the write-ahead log and its archives keep the destroyed keys, wrapped, until PostgreSQL recycles them";
    erase_every(&store, &transfers, 20, Some(remains)).await;
    let left: BTreeSet<String> = cluster.tamper(&url, wrapped).into_iter().collect();
    let destroyed: Vec<String> = before.into_iter().filter(|key| !left.contains(key)).collect();
    assert_eq!((destroyed.len(), left.len()), (50, 950));
    let dump = dump(cluster, &url);
    for text in destroyed.iter().map(String::as_str).chain([CANARY, patient(0).expose()]) {
        assert!(!holds(&dump, text), "neither of the erased nor of the others");
    }
    // The file of the table, too: rows that were changed are not left in it.
    let file = file_of_the_keys(cluster, &url);
    assert!(destroyed.iter().all(|key| !file.contains(key)), "the file keeps a destroyed key");
    assert!(left.iter().all(|key| file.contains(key)), "the search finds the keys that are there");
}

/// The file of the table of keys, in hexadecimal.
fn file_of_the_keys(cluster: &Cluster, url: &str) -> String {
    cluster.tamper(url, "CHECKPOINT");
    cluster.tamper(url, "SELECT encode(pg_read_binary_file(pg_relation_filepath('data_keys')), 'hex')").concat()
}

#[tokio::test]
async fn an_erasure_tells_when_an_older_reader_keeps_its_key_in_the_file() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    fill(&store, 2).await;
    let wrapped = "SELECT encode(wrapped, 'hex') FROM data_keys WHERE kind = 'person' AND wrapped IS NOT NULL";
    let keys = cluster.tamper(&url, wrapped);
    let erase = async |n: u32| {
        let id = Uuid::new_v4();
        let asked = store.request_erasure(&patient(n), request(id), vec![row(AuditWord::Erase)]).await;
        assert_eq!(asked, Ok(true));
        match confirm(&store, id, "Bea").await {
            ErasureOutcome::Erased { remains, .. } => remains.expect("PostgreSQL always keeps something"),
            other => panic!("{other:?}"),
        }
    };
    let mut config: tokio_postgres::Config = url.parse().expect("an address");
    config.password(cluster::PASSWORD);
    let (reader, connection) = config.connect(tokio_postgres::NoTls).await.expect("connects");
    let connection = tokio::spawn(connection);
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.expect("reads");
    assert!(erase(0).await.starts_with("the table data_keys could not be written anew"));
    assert!(keys.iter().all(|key| file_of_the_keys(cluster, &url).contains(key)), "it is there and was told");
    drop(reader);
    connection.await.expect("ends").expect("without a fault");
    assert!(erase(1).await.starts_with("the write-ahead log and its archives"));
    assert!(keys.iter().all(|key| !file_of_the_keys(cluster, &url).contains(key)), "the next one clears both");
}

async fn open_with(url: &str, keys: Arc<dyn KeyEncryption>) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(&settings(url), keys, Arc::new(FixedClock)).await
}

#[tokio::test]
async fn faults_033_and_034_a_missing_or_wrong_key_opens_nothing() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let old = KeyRing::with_new_key(None, "old").expect("a ring");
    let both = KeyRing::with_new_key(Some(&old), "new").expect("a ring");
    let new_only = without_old(&both);
    let store = open_with(&url, ring(&old)).await.expect("opens");
    for n in 0..7 {
        assert_eq!(store.accept(telling(n)).await, Ok(Accepted::New));
    }
    let refused = open_with(&url, ring(&new_only)).await.map(drop);
    assert!(matches!(&refused, Err(OpenError::Keys(KeyFault::Missing(id))) if id == "old"), "{refused:?}");
    let other = KeyRing::with_new_key(None, "old").expect("a ring");
    let refused = open_with(&url, ring(&other)).await.map(drop);
    assert!(matches!(&refused, Err(OpenError::Keys(KeyFault::Wrong(id))) if id == "old"), "{refused:?}");

    let rotating = open_with(&url, ring(&both)).await.expect("opens beside");
    assert_eq!(rotating.rewrap_keys(4, Vec::new()).await, Ok(4), "a batch");
    let early = open_with(&url, ring(&new_only)).await.map(drop);
    assert!(matches!(&early, Err(OpenError::Keys(KeyFault::Missing(id))) if id == "old"), "removed too early");
    assert_eq!(rotating.rewrap_keys(100, Vec::new()).await, Ok(5));
    assert_eq!(rotating.rewrap_keys(100, Vec::new()).await, Ok(0));
    let after = open_with(&url, ring(&new_only)).await.expect("the old key may go");
    assert_eq!(after.subject_record(&patient(3)).await.expect("readable").len(), 1);
}

/// A database of the schema before sealing, with everything plain.
fn plain_database(cluster: &Cluster, url: &str) {
    for step in &super::super::open::MIGRATIONS[..6] {
        cluster.tamper(url, step.sql);
    }
    cluster.tamper(url, "CREATE TABLE onward_schema (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)");
    cluster.tamper(url, "INSERT INTO onward_schema VALUES (1, 6)");
    let number = patient(1);
    let number = number.expose();
    let reply = serde_json::to_string(&telling(1).transfer.reply).expect("JSON");
    let event = format!("{{\"agent\":[{{\"name\":\"ward\"}}],\"about\":\"{number}\"}}");
    let leaf = hex::encode(onward_ledger::leaf_hash(event.as_bytes()));
    let (transfer, nameless) = ("5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10", "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f11");
    let blob = format!("'{CANARY}'::bytea");
    let delivery = "7e0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10";
    let declined = "7e0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f11";
    let zeros = format!("'\\x{}'::bytea", "00".repeat(32));
    cluster.tamper(
        url,
        &format!(
            "CREATE TABLE message_bodies_202601 PARTITION OF message_bodies FOR VALUES IN (202601);
             CREATE TABLE rendition_bodies_202601 PARTITION OF rendition_bodies FOR VALUES IN (202601);
             INSERT INTO transfers (id, sender, client_id, message_id, event, received, patient, reply, changed, not_sent,
                 body_sha256, response) VALUES
                 ('{transfer}', 'RXH', 'ward', 'm', 'e', 1768500000000000, '{number}', '{reply}', 0, NULL, {zeros}, {blob}),
                 ('{nameless}', 'RXH', 'ward', 'n', 'e', 1768500000000000, NULL, '{reply}', 0, '{CANARY}', {zeros}, {blob});
             INSERT INTO message_bodies VALUES ('{transfer}', 202601, 'text/plain', {blob});
             INSERT INTO holds (id, transfer, reason, detail, owner, due, opened) VALUES
                 ('9e0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10', '{nameless}', 'nhs-number-missing', '{CANARY}', 'team', 0, 0);
             INSERT INTO deliveries (id, sequence, transfer, month, lane, sender, patient, kind, recipient, recipient_name,
                 transport, endpoint, state, version, attempts, next_attempt, body_bytes, acknowledgement_awaited, basis, created,
                 changed, disclosure) VALUES ('{delivery}', 1, '{transfer}', 202601, '{number}', 'RXH', '{number}', 'care-home',
                 'VM1AB', 'Home', 'inbox', '{{\"transport\":\"inbox\"}}', 'queued', 1, 0, 0, 9, TRUE, 'care', 0, 0, '{CANARY}');
             INSERT INTO deliveries (id, sequence, transfer, month, lane, sender, patient, kind, recipient, recipient_name,
                 transport, endpoint, state, version, attempts, body_bytes, acknowledgement_awaited, basis, created, changed,
                 disclosure, reason, replay) SELECT '{declined}', 2, transfer, month, lane, sender, patient, kind, recipient,
                 recipient_name, transport, endpoint, 'rejected', 1, 1, 9, TRUE, basis, 1, 1, disclosure, '{CANARY}', '{CANARY}'
                 FROM deliveries WHERE id = '{delivery}';
             INSERT INTO delivery_history (delivery, version, state, at, reason) VALUES
                 ('{declined}', 1, 'rejected', 0, '{CANARY}');
             UPDATE transfers SET ended = 'withdrawn', ended_reason = '{CANARY}' WHERE id = '{transfer}';
             INSERT INTO approvals VALUES ('{declined}', 'redirect', '{{\"transfer\":\"{transfer}\"}}', 'R9Z', 'u', 'Ada',
                 '{CANARY}', 0, 9, NULL, NULL, NULL, NULL);
             INSERT INTO rendition_bodies (delivery, month, media_type, body, html, card) VALUES
                 ('{delivery}', 202601, 'text/plain', {blob}, {blob}, {blob});
             INSERT INTO recipient_steps (delivery, step, kind, at, account, name, text) VALUES
                 ('{delivery}', 0, 'queried', 5, 'u', 'Ada', '{CANARY}');
             INSERT INTO users VALUES ('{transfer}', 'Ada', 'a@example.org', 'care-home', '[]', NULL, NULL, FALSE);
             INSERT INTO passwords VALUES ('{transfer}', 'h', {blob}, 0);
             UPDATE log_head SET audit_next = 1, delivery_next = 3;
             INSERT INTO audit_log (position, id, recorded, word, agent, patient, leaf, event)
                 VALUES (0, 'a', 7, 'accept', 'ward', '{number}', '\\x{leaf}', convert_to('{event}', 'UTF8'))"
        ),
    );
}

#[tokio::test]
async fn a_database_from_before_is_sealed_when_it_is_opened() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    plain_database(cluster, &url);
    let number = patient(1);
    assert!(holds(&dump(cluster, &url), CANARY) && holds(&dump(cluster, &url), number.expose()));
    let store = node(&url, LeaseClock::Caller).await;
    let sealed = dump(cluster, &url);
    for text in [CANARY, number.expose()] {
        assert!(!holds(&sealed, text), "{text} stayed behind");
    }
    let record = store.subject_record(&number).await.expect("readable");
    assert_eq!(record.len(), 1);
    assert_eq!(record[0].original.as_ref().map(|original| original.body.as_slice()), Some(CANARY.as_bytes()));
    assert_eq!(record[0].renditions[0].html.as_deref(), Some(CANARY.as_bytes()));
    assert_eq!(store.holds().await.expect("readable")[0].hold.detail, CANARY);
    let copy = record[0].renditions[0].delivery;
    assert_eq!(store.card(copy).await.expect("readable").as_deref(), Some(CANARY.as_bytes()));
    assert_eq!(store.steps(copy).await.expect("readable")[0].text.as_deref(), Some(CANARY));
    let entries = store.audit_entries(0, 10).await.expect("readable");
    let event = entries[0].content.event().expect("there").to_vec();
    assert_eq!(entries[0].leaf, onward_ledger::leaf_hash(&event), "an old entry keeps its leaf");
    assert_eq!(entries[0].content, AuditContent::Open { event, opening: None });
    assert_eq!(entries[0].columns.patient.as_deref(), Some(number.expose()));
    let lease = store.claim(Claim::due(at(0), at(30), 9)).await.expect("claimable").remove(0);
    assert_eq!(lease.delivery.patient, Some(number));
    assert_eq!(record[0].renditions[0].body, CANARY.as_bytes());
}

/// What a node of the previous program writes about a person into a database of this schema.
const PREVIOUS: &str = "UPDATE deliveries SET reason = '{w}', words = NULL WHERE words IS NOT NULL;
    UPDATE deliveries SET replay = '{w}', replay_words = NULL WHERE replay_words IS NOT NULL;
    UPDATE delivery_history SET reason = '{w}', words = NULL WHERE words IS NOT NULL;
    UPDATE transfers SET ended_reason = '{w}', ended_words = NULL WHERE ended_words IS NOT NULL;
    UPDATE approvals SET reason = '{w}', words = NULL WHERE words IS NOT NULL";
/// The files of the tables that hold what people write, in hexadecimal.
fn files_of_words(cluster: &Cluster, url: &str) -> String {
    cluster.tamper(url, "CHECKPOINT");
    let tables = ["deliveries", "delivery_history", "transfers", "approvals", "erasures", "legal_holds"];
    let read = |table| format!("SELECT encode(pg_read_binary_file(pg_relation_filepath('{table}')), 'hex')");
    tables.map(|table| cluster.tamper(url, &read(table)).concat()).concat()
}

#[tokio::test]
async fn what_people_wrote_about_a_person_stands_in_no_table() {
    let Some(((cluster, url), store)) = fresh_shared().await else { return };
    let written = write_everything(&store, 1).await;
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(1), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    let (all, wrote) = (vec![Some(WROTE.to_owned()); 7], hex::encode(WROTE));
    for text in [WROTE, "case 17"] {
        assert!(!holds(&dump(cluster, &url), text), "{text}");
    }
    assert!(!files_of_words(cluster, &url).contains(&wrote));
    assert!(files_of_words(cluster, &url).contains(&hex::encode("Ada Wells")), "the search finds what is there");

    cluster.tamper(&url, &PREVIOUS.replace("{w}", WROTE));
    assert_eq!(written.read(&store).await, all, "what the previous program writes is read");
    let next: Shared = Arc::new(node(&url, LeaseClock::Database).await);
    assert!(!holds(&dump(cluster, &url), WROTE), "and sealed by the next that starts");
    assert_eq!(written.read(&next).await, all);

    let erased = confirm(&next, id, "Bea").await;
    assert!(matches!(erased, ErasureOutcome::Erased { transfers: 4, .. }), "{erased:?}");
    assert_eq!(written.read(&next).await, vec![Some("erased".to_owned()); 7]);
}

#[tokio::test]
async fn a_store_opens_beside_a_data_key_whose_keys_name_is_damaged() {
    let Some(cluster) = cluster::shared() else { return };
    let url = cluster.database();
    let store: Shared = Arc::new(node(&url, LeaseClock::Caller).await);
    let (one, two) = (accept_new(&store, acceptance(1)).await, accept_new(&store, acceptance(2)).await);
    let person = format!("SELECT patient FROM deliveries WHERE id = '{one}'");
    cluster.tamper(&url, &format!("UPDATE data_keys SET kek = 'firsu' WHERE patient = ({person})"));
    let store = node(&url, LeaseClock::Caller).await;
    assert_eq!(store.delivery(one).await.map(drop), Err(StoreError::Corrupt("data_keys.kek".to_owned())));
    assert!(store.delivery(two).await.expect("readable").is_some());
}
