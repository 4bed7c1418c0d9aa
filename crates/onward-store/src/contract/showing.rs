//! Lists and exports, which name nobody and are found by whom they showed.

use onward_core::TransferId;
use onward_core::audit::{AuditQuery, AuditRow, AuditWord, ENTRIES, Lists, VERIFICATION, export_subject};
use uuid::Uuid;

use super::erasing::{confirm, request, settled};
use super::{Shared, accept_new, acceptance, at, ods, patient, row};

fn list(second: i64, shown: &[String]) -> AuditRow {
    AuditRow { recorded: at(second), organisation: Some(ods("VM1AB")), shown: shown.to_vec(), ..row(AuditWord::Query) }
}

fn of(lists: Lists) -> AuditQuery {
    AuditQuery { lists: Some(lists), limit: 100, ..AuditQuery::default() }
}

async fn found(store: &Shared, query: AuditQuery) -> Vec<i64> {
    let entries = store.search_audit(query).await.expect("readable");
    entries.iter().map(|entry| entry.recorded.as_second() - at(0).as_second()).collect()
}

/// A copy about the first person and a transfer about the second, and lists that showed them after so many seconds: the copy after
/// 1, both after 2, the transfer after 3, and an export after 4.
async fn lists(store: &Shared) {
    let copy = accept_new(store, acceptance(1)).await.to_string();
    let second = acceptance(2);
    let transfer = second.transfer.id.to_string();
    accept_new(store, second).await;
    let rows = vec![
        list(1, &[copy.clone(), TransferId::random().to_string()]),
        // What stands twice on a list is on it once.
        list(2, &[transfer.clone(), copy.clone(), copy]),
        list(3, &[transfer]),
        AuditRow { organisation: None, ..list(4, &[ENTRIES.to_owned()]) },
        list(5, &[]),
        list(6, &[VERIFICATION.to_owned()]),
    ];
    store.audit(rows).await.expect("committed");
}

pub(crate) async fn lists_are_found_by_whom_they_showed(store: Shared) {
    lists(&store).await;
    let first = of(Lists::Of(patient(1)));
    assert_eq!(found(&store, first.clone()).await, [2, 1], "the newest first, each once");
    assert_eq!(found(&store, of(Lists::Of(patient(2)))).await, [3, 2]);
    assert!(found(&store, of(Lists::Of(patient(3)))).await.is_empty());
    assert_eq!(found(&store, of(Lists::Exports)).await, [4]);
    assert_eq!(found(&store, of(Lists::Verifications)).await, [6]);
    assert!(found(&store, of(Lists::Unkept)).await.is_empty(), "everything that this binary writes is found");
    let whose = |code: &str| AuditQuery { organisation: Some(ods(code)), ..first.clone() };
    assert_eq!(found(&store, whose("VM1AB")).await, [2, 1]);
    assert!(found(&store, whose("RYJ")).await.is_empty(), "nobody finds another organisation's lists");
    assert_eq!(found(&store, AuditQuery { from: Some(at(2)), ..first.clone() }).await, [2]);
    assert_eq!(found(&store, AuditQuery { limit: 1, ..first.clone() }).await, [2]);
    let newest = store.search_audit(AuditQuery { limit: 1, ..first.clone() }).await.expect("readable");
    let after = newest.first().map(|entry| (entry.recorded, entry.index));
    assert_eq!(found(&store, AuditQuery { after, ..first }).await, [1]);
}

/// Both entries of an export are found by its identifier, whoever asks for exports or lists finds what they found before.
pub(crate) async fn an_export_is_found_by_its_identifier(store: Shared) {
    lists(&store).await;
    let [own, other] = [Uuid::new_v4(), Uuid::new_v4()];
    let end = |second, id| AuditRow { word: AuditWord::Export, ..list(second, &[export_subject(id)]) };
    let about =
        AuditRow { word: AuditWord::SubjectAccess, patient: Some(patient(1)), ..list(10, &[export_subject(other)]) };
    let beginning = list(7, &[ENTRIES.to_owned(), export_subject(own)]);
    store.audit(vec![beginning, end(8, own), about, end(11, other)]).await.expect("committed");
    let own = of(Lists::Export(own));
    assert_eq!(found(&store, own.clone()).await, [8, 7]);
    assert_eq!(found(&store, of(Lists::Export(other))).await, [11, 10]);
    assert!(found(&store, of(Lists::Export(Uuid::new_v4()))).await.is_empty());
    assert_eq!(found(&store, AuditQuery { words: vec![AuditWord::Export], ..own.clone() }).await, [8]);
    assert!(found(&store, AuditQuery { organisation: Some(ods("RYJ")), ..own }).await.is_empty());
    assert_eq!(found(&store, of(Lists::Exports)).await, [7, 4], "an end is no list");
    assert_eq!(found(&store, of(Lists::Of(patient(1)))).await, [2, 1]);
    assert_eq!(found(&store, of(Lists::Verifications)).await, [6]);
}

pub(crate) async fn what_a_list_showed_stands_beside_its_entry(store: Shared) {
    lists(&store).await;
    let entries = store.audit_entries(0, 100).await.expect("readable");
    let counts: Vec<_> = entries.iter().map(|entry| entry.columns.shown.as_ref().map(Vec::len)).collect();
    assert_eq!(counts, [Some(0), Some(0), Some(2), Some(2), Some(1), Some(1), Some(0), Some(1)]);
    assert_eq!(entries[5].columns.shown, Some(vec![ENTRIES.to_owned()]));
}

/// Whoever counts whom a breach reached must not lose those who were erased since.
pub(crate) async fn an_erased_person_is_still_told_apart(store: Shared) {
    for n in [1, 2] {
        settled(&store, n).await;
    }
    let all = AuditQuery { words: vec![AuditWord::Accept], limit: 10, ..AuditQuery::default() };
    let before = store.search_audit(all.clone()).await.expect("readable");
    let id = Uuid::new_v4();
    assert_eq!(store.request_erasure(&patient(1), request(id), vec![row(AuditWord::Erase)]).await, Ok(true));
    confirm(&store, id, "Bea").await;
    let after = store.search_audit(all).await.expect("readable");
    let names = |found: &[onward_core::audit::FoundAudit]| -> Vec<_> {
        found.iter().map(|entry| (entry.pseudonym.clone(), entry.agent.clone())).collect()
    };
    assert_eq!(names(&before), names(&after), "who acted and, by pseudonym, about whom stays");
    assert!(after.iter().all(|entry| entry.pseudonym.is_some()) && after[0].pseudonym != after[1].pseudonym);
    assert_eq!(after.iter().filter(|entry| entry.patient.is_none()).count(), 1);
}
