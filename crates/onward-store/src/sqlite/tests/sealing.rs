//! Data at rest: nothing plain in any file, keys that must be there, keys that change, and stores from before.

use onward_core::state::RecipientKind;
use onward_core::store::{AuditContent, NewDelivery};

use super::*;
use crate::contract::sealing::{CANARY, ring, telling, without_old};
use crate::contract::{delivery, hold};
use crate::sealing::{KeyFault, KeyRing};

/// Whether a file of the folder holds this text.
pub(super) fn is_in_a_file(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).expect("readable").any(|file| {
        let bytes = std::fs::read(file.expect("a file").path()).expect("readable");
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[tokio::test]
async fn no_file_holds_anything_plain_about_a_person() {
    let (folder, store) = fresh();
    let mut held = telling(1);
    let reason = format!("seen: {CANARY}");
    held.hold = Some(onward_core::store::NewHold { detail: reason.clone(), ..hold() });
    let transfer = held.transfer.id;
    assert_eq!(store.accept(held).await, Ok(Accepted::New));
    assert_eq!(store.accept(telling(2)).await, Ok(Accepted::New));
    let number = patient(1);
    for text in [CANARY, number.expose()] {
        assert!(!is_in_a_file(folder.path(), text), "in the log of the database");
    }
    assert_eq!(store.holds().await.expect("readable")[0].hold.detail, reason);
    let read = store.transfer(transfer).await.expect("readable").expect("there");
    assert_eq!((read.patient.as_ref(), read.reply.sender_reference.as_deref()), (Some(&number), Some(CANARY)));
    drop(store);
    for text in [CANARY, number.expose()] {
        assert!(!is_in_a_file(folder.path(), text), "in the database");
    }
    assert!(is_in_a_file(folder.path(), "VM1AB"), "the search finds what is there");
}

#[tokio::test]
async fn what_is_moved_to_another_row_does_not_open() {
    let (folder, store) = fresh();
    let (one, mut two) = (telling(1), telling(2));
    two.transfer.patient.clone_from(&one.transfer.patient);
    let ids = [one.transfer.id, two.transfer.id];
    for message in [one, two] {
        assert_eq!(store.accept(message).await, Ok(Accepted::New));
    }
    // Of one person, and under one key: only the row differs.
    tamper(
        &folder,
        &format!(
            "UPDATE message_bodies SET body = (SELECT body FROM message_bodies WHERE transfer = '{}') WHERE transfer = '{}'",
            ids[0], ids[1]
        ),
    );
    assert!(store.original(ids[0]).await.expect("readable").is_some());
    let moved = store.original(ids[1]).await.map(drop);
    assert_eq!(moved, Err(StoreError::Corrupt("message_bodies.body".to_owned())));
    tamper(&folder, "UPDATE data_keys SET patient = 'somebody else'");
    let unknown = store.transfer(ids[0]).await.map(drop);
    assert_eq!(unknown, Err(StoreError::Corrupt("transfers.patient".to_owned())));
    tamper(&folder, "DELETE FROM data_keys WHERE kind = 'person'");
    assert_eq!(store.original(ids[0]).await.map(drop), Err(StoreError::Corrupt("data_keys.id".to_owned())));
}

#[tokio::test]
async fn faults_033_and_034_a_missing_or_wrong_key_opens_nothing() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    let old = KeyRing::with_new_key(None, "old").expect("a ring");
    let both = KeyRing::with_new_key(Some(&old), "new").expect("a ring");
    let new_only = without_old(&both);
    let open = |text: &str| SqliteStore::open(&path, ring(text), Arc::new(FixedClock));
    let told = |text: &str| match open(text).map(drop) {
        Err(OpenError::Keys(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let store = open(&old).expect("opens");
    for n in 0..7 {
        assert_eq!(store.accept(telling(n)).await, Ok(Accepted::New));
    }
    drop(store);
    assert_eq!(told(&new_only), KeyFault::Missing("old".to_owned()));
    let other = KeyRing::with_new_key(None, "old").expect("a ring");
    assert_eq!(told(&other), KeyFault::Wrong("old".to_owned()));

    // A server that runs with the old key only goes on while an operator wraps everything anew.
    let shared = Arc::new(std::sync::Mutex::new(old.to_string()));
    let file = Arc::clone(&shared);
    let source = move || Ok(file.lock().expect("unpoisoned").clone().into());
    let running = KeyRing::open(source).expect("a ring");
    let server = SqliteStore::open(&path, Arc::new(running), Arc::new(FixedClock)).expect("opens");
    *shared.lock().expect("unpoisoned") = both.to_string();
    let command = SqliteStore::open_shared(&path, ring(&both), Arc::new(FixedClock)).expect("opens beside");
    assert_eq!(command.rewrap_keys(4, Vec::new()).await, Ok(4), "a batch");
    let early = SqliteStore::open_shared(&path, ring(&new_only), Arc::new(FixedClock)).map(drop);
    assert!(matches!(early, Err(OpenError::Keys(KeyFault::Missing(id))) if id == "old"), "removed too early");
    drop(command);
    // Killed after one batch; the next command goes on.
    let command = SqliteStore::open_shared(&path, ring(&both), Arc::new(FixedClock)).expect("opens beside");
    assert_eq!(command.rewrap_keys(100, Vec::new()).await, Ok(5));
    assert_eq!(command.rewrap_keys(100, Vec::new()).await, Ok(0));
    let read = server.subject_record(&patient(3)).await.expect("readable while it runs");
    assert_eq!(read[0].original.as_ref().map(|original| original.body.len()), Some(CANARY.len() + 13));
    assert_eq!(server.accept(telling(50)).await, Ok(Accepted::New));
    drop((server, command));
    let after = open(&new_only).expect("the old key may go");
    assert_eq!(after.subject_record(&patient(50)).await.expect("readable").len(), 1);
}

/// A store of the schema before sealing, with everything plain.
fn plain_store(path: &Path) {
    let connection = Connection::open(path).expect("opens");
    for step in &super::super::open::MIGRATIONS[..7] {
        connection.execute_batch(step.sql).expect("runs");
    }
    let number = patient(1);
    let number = number.expose();
    let reply = serde_json::to_string(&telling(1).transfer.reply).expect("JSON");
    let event = format!("{{\"agent\":[{{\"name\":\"ward\"}}],\"about\":\"{number}\"}}");
    let leaf = hex::encode(onward_ledger::leaf_hash(event.as_bytes()));
    let transfer = "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10";
    let nameless = "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f11";
    let blob = format!("CAST('{CANARY}' AS BLOB)");
    let delivery = "7e0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10";
    let declined = "7e0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f11";
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = 0x4F4E5744; PRAGMA user_version = 7;
             INSERT INTO transfers (id, sender, client_id, message_id, event, received, patient, reply, changed, not_sent,
                 body_sha256, response) VALUES
                 ('{transfer}', 'RXH', 'ward', 'm', 'e', 0, '{number}', '{reply}', 0, NULL, zeroblob(32), {blob}),
                 ('{nameless}', 'RXH', 'ward', 'n', 'e', 0, NULL, '{reply}', 0, '{CANARY}', zeroblob(32), {blob});
             INSERT INTO message_bodies VALUES ('{transfer}', 202601, 'text/plain', {blob});
             INSERT INTO holds (id, transfer, reason, detail, owner, due, opened) VALUES
                 ('9e0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10', '{nameless}', 'nhs-number-missing', '{CANARY}', 'team', 0, 0);
             INSERT INTO deliveries (id, transfer, lane, sender, patient, kind, recipient, recipient_name, endpoint, state,
                 version, attempts, next_attempt, body_bytes, acknowledgement_awaited, basis, created, changed, disclosure)
                 VALUES ('{delivery}', '{transfer}', '{number}', 'RXH', '{number}', 'care-home', 'VM1AB', 'Home',
                 '{{\"transport\":\"inbox\"}}', 'queued', 1, 0, 0, 9, 1, 'care', 0, 0, '{CANARY}');
             INSERT INTO deliveries (id, transfer, lane, sender, patient, kind, recipient, recipient_name, endpoint, state,
                 version, attempts, body_bytes, acknowledgement_awaited, basis, created, changed, disclosure, reason, replay)
                 SELECT '{declined}', transfer, lane, sender, patient, kind, recipient, recipient_name, endpoint, 'rejected', 1, 1,
                 9, 1, basis, 1, 1, disclosure, '{CANARY}', '{CANARY}' FROM deliveries WHERE id = '{delivery}';
             INSERT INTO delivery_history (delivery, version, state, at, reason) VALUES
                 ('{declined}', 1, 'rejected', 0, '{CANARY}');
             UPDATE transfers SET ended = 'withdrawn', ended_reason = '{CANARY}' WHERE id = '{transfer}';
             INSERT INTO approvals VALUES ('{declined}', 'redirect', '{{\"transfer\":\"{transfer}\"}}', 'R9Z', 'u', 'Ada',
                 '{CANARY}', 0, 9, NULL, NULL, NULL, NULL);
             INSERT INTO rendition_bodies (delivery, month, media_type, body, html, card) VALUES
                 ('{delivery}', 202601, 'text/plain', {blob}, {blob}, {blob});
             INSERT INTO recipient_steps (delivery, kind, at, user, name, text) VALUES
                 ('{delivery}', 'queried', 5, 'u', 'Ada', '{CANARY}');
             INSERT INTO users (id, name, email, role, organisations, disabled) VALUES
                 ('u', 'Ada', 'a@example.org', 'care-home', '[]', 0);
             INSERT INTO passwords VALUES ('u', 'h', {blob}, 0);
             INSERT INTO audit_log (position, id, recorded, word, agent, patient, leaf, event)
                 VALUES (0, 'a', 7, 'accept', 'ward', '{number}', x'{leaf}', CAST('{event}' AS BLOB));"
        ))
        .expect("runs");
}

#[tokio::test]
async fn a_store_from_before_is_sealed_when_it_is_opened() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("onward.db");
    plain_store(&path);
    let number = patient(1);
    assert!(is_in_a_file(folder.path(), CANARY) && is_in_a_file(folder.path(), number.expose()));
    let store = open(&path).expect("is brought forward");
    for text in [CANARY, number.expose()] {
        assert!(!is_in_a_file(folder.path(), text), "{text} stayed behind");
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
    assert_eq!(entries[0].entry, Some(event.clone()));
    assert_eq!(entries[0].content, AuditContent::Open { event, opening: None });
    assert_eq!(entries[0].columns.patient.as_deref(), Some(number.expose()));
    let lease = store.claim(Claim::due(at(0), at(30), 9)).await.expect("claimable").remove(0);
    assert_eq!(lease.delivery.patient, Some(number));
    assert_eq!(record[0].renditions[0].body, CANARY.as_bytes());
}

/// What sealing adds to accepting messages: the time of accepting them, and of sealing the same bytes once more by itself.
/// `cargo test -p onward-store what_sealing_costs -- --ignored --nocapture`
#[tokio::test]
#[ignore = "it measures, and judges nothing"]
async fn what_sealing_costs() {
    const MESSAGES: u32 = 300;
    let (_folder, store) = fresh();
    let vault = Arc::clone(&store.vault);
    let (mut accepting, mut sealing) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    for n in 0..MESSAGES {
        let mut message = telling(n);
        message.transfer.body = noise(100_000);
        let copy = delivery(RecipientKind::CareHome, "VM1AB");
        let copies = (0..5).map(|_| NewDelivery {
            id: DeliveryId::random(),
            body: noise(60_000),
            html: Some(noise(40_000)),
            ..copy.clone()
        });
        message.deliveries = copies.collect();
        let started = std::time::Instant::now();
        let (_, key) = vault.new_key().expect("a key");
        let place = crate::rows::of_message("one");
        let mut parts = vec![message.transfer.body.as_slice(), &message.transfer.response, b"{}"];
        for copy in &message.deliveries {
            parts.extend([copy.body.as_slice(), copy.html.as_deref().unwrap_or_default(), copy.disclosure.as_bytes()]);
        }
        parts.extend(message.audit.iter().map(|row| row.event.as_slice()));
        let sealed: usize = parts.into_iter().map(|part| key.seal(place, part).expect("sealed").len()).sum();
        sealing += started.elapsed();
        assert!(sealed > 600_000);
        let started = std::time::Instant::now();
        assert_eq!(store.accept(message).await, Ok(Accepted::New));
        accepting += started.elapsed();
    }
    let share = sealing.as_secs_f64() / accepting.as_secs_f64();
    let with = accepting.as_secs_f64() / (accepting - sealing).as_secs_f64();
    println!(
        "{MESSAGES} messages of 600 kB: accepted in {accepting:?}, sealing alone {sealing:?}: {share:.3} of it, ratio {with:.3}"
    );
}
