//! What somebody has who fetched an export about one person: an archive of everything, or entries of the log.

use onward_gateway::made::Half;

use super::*;

#[tokio::test]
async fn entries_about_one_person_are_no_subject_access_archive() {
    let folder = place().await;
    let config = ConfigArgs { config: Some(folder.path().join("gateway.toml")) };
    let (_, store) = config.existing_store().await.expect("a store");
    let fetched = |minute, patient: &str, told: &str| {
        let agent = Agent::named("Ada Byte", Some(ods("VMH09")));
        Journal::new(&ods("R9Z"), "https://gateway.example").row(&AuditEntry {
            patient: Some(patient.parse().expect("a test number")),
            ..AuditEntry::new(AuditWord::SubjectAccess, at(minute), agent, told)
        })
    };
    let as_csv =
        Half::Beginning(uuid::Uuid::new_v4()).told("export as CSV fetched, of the first 3 entries of the log: r");
    let rows = vec![
        fetched(20, "9990000034", &as_csv),
        fetched(21, "9990000018", "export as NDJSON fetched, of the first 3 entries of the log: r"),
        fetched(22, "9990000026", "export as subject access fetched, of the first 3 entries of the log: r"),
        fetched(23, "9990000026", "9 files, by the hash of their manifest"),
    ];
    let named = |row: &AuditRow| String::from_utf8_lossy(&row.event).contains("audit entries about one person");
    assert_eq!(rows.iter().map(named).collect::<Vec<_>>(), [true, true, false, false], "the events say so, too");
    store.audit(rows).await.expect("committed");
    let extents = |exposures: &str| -> Vec<&'static str> {
        let said = |line: &str| {
            let all = ["subject access archive, or entries", "subject access archive", "entries of the audit log"];
            all.into_iter().find(|words| line.contains(words)).expect("an extent")
        };
        exposures.lines().skip(1).map(said).collect()
    };
    let (outcome, _, exposures) = packed(&folder, "before", &["--recipient", "VMH09"]).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let (entries, archive) = ("entries of the audit log", "subject access archive");
    assert_eq!(extents(&exposures), [entries, entries, archive, archive], "{exposures}");
    erase(&folder, "9990000034").await;
    let (_, _, exposures) = packed(&folder, "after", &["--recipient", "VMH09"]).await;
    let unknown = "subject access archive, or entries";
    assert_eq!(extents(&exposures), [unknown, entries, archive, archive], "nobody can tell any more: {exposures}");
}
