use futures_util::StreamExt as _;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::store::ApprovalKind;
use onward_core::{Clock as _, OdsCode, SystemClock, UserId};
use onward_gateway::attend::Attendant;
use onward_gateway::exporting::{AskedExport, Export, Word};
use onward_gateway::sent::{Sent, Taken, sent};
use tempfile::TempDir;

use super::*;
use crate::app::{Tenure, build, open_store};
use crate::config::Config;

const PEOPLE: &str = include_str!("../../../../../../../config/examples/pds-stand-in.toml");
/// Entries of the organisation that are there beside those of the exports: more than are read at once.
const ENTRIES: usize = 1_500;
/// Entries that are read at once.
const PAGE: usize = 1_000;
const NO_END: &str = "CREATE TRIGGER no_end BEFORE INSERT ON audit_log WHEN NEW.word = 'export'
                      BEGIN SELECT RAISE(ABORT, 'no end'); END";

fn own() -> OdsCode {
    "R9Z".parse().expect("a code")
}

fn lead(name: &str) -> Attendant {
    Attendant {
        user: UserId::random().to_string(),
        name: name.to_owned(),
        organisations: vec![own()],
        agent: Agent::named(name, Some(own())),
        request_id: None,
    }
}

async fn place() -> (TempDir, Arc<App>) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n\
                [pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n";
    for (name, text) in [("gateway.toml", text), ("people.toml", PEOPLE)] {
        std::fs::write(folder.path().join(name), text).expect("writable");
    }
    crate::store_keys::add_key(&folder.path().join("store.key"), SystemClock.now()).expect("a key");
    let config = Config::load(Some(&folder.path().join("gateway.toml"))).expect("a configuration").config;
    let store = open_store(&config, Tenure::Command).await.expect("a store");
    let app = Arc::new(build(&config, store).expect("wired"));
    let row = |number| {
        let agent = Agent::named("northmoor-epr", Some(own()));
        let entry = AuditEntry::new(AuditWord::DryRun, app.gateway.clock().now(), agent, format!("entry {number}"));
        app.gateway.journal().row(&entry)
    };
    let rows = (0..ENTRIES).map(row).collect();
    app.gateway.store().audit(rows).await.expect("committed");
    (folder, app)
}

/// One lead asks, another grants, and the first fetches.
async fn granted(app: &App, form: ExportForm, from: Option<Timestamp>) -> Exported {
    let (ada, ben, own) = (lead("Ada"), lead("Ben"), own());
    let inquiry =
        |who| Inquiry { who, organisation: &own, reason: "a regulator asks", asked: "audit/exports".to_owned() };
    let export = Export { form, from, until: None, about: None, identified: None };
    assert_eq!(app.gateway.ask_export(&inquiry(&ada), export, None, None).await, Ok(AskedExport::Kept));
    let (store, now) = (app.gateway.store(), app.gateway.clock().now());
    let open = store.approvals(ApprovalKind::Export, Some(&own), now).await.expect("readable");
    let id = open.iter().find(|approval| approval.verdict.is_none()).expect("kept").id;
    assert_eq!(app.gateway.decide_export(&inquiry(&ben), id, Word::Granted { shown: "shown" }).await, Ok(true));
    app.gateway.fetch_export(&inquiry(&ada), id).await.expect("readable").expect("granted")
}

/// What leaves, and whether it ended as a whole file does.
async fn left(app: &Arc<App>, exported: Exported, writing: Writing) -> (String, bool) {
    app.gateway.begin_export(&exported).await.expect("committed");
    let mut parts = pages(Arc::clone(app), exported, writing).into_data_stream();
    let mut text = Vec::new();
    let mut whole = true;
    while let Some(part) = parts.next().await {
        match part {
            Ok(bytes) => text.extend_from_slice(&bytes),
            Err(_) => whole = false,
        }
    }
    (String::from_utf8(text).expect("UTF-8"), whole)
}

async fn matrix(app: &App) -> Sent {
    sent(app.gateway.store().as_ref(), &[], (None, None), |_| ()).await.expect("readable")
}

fn files(matrix: &Sent) -> u64 {
    matrix.taken.iter().filter(|((taken, ..), _)| *taken == Taken::Log).map(|(_, files)| files.copies).sum()
}

/// Without the entry of the end the last part stays here, however far the file went, and the log tells that it began.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_part_leaves_after_the_end_is_in_the_log() {
    let (folder, app) = place().await;
    let file = rusqlite::Connection::open(folder.path().join("onward.db")).expect("opens");
    for (form, writing, head) in [(ExportForm::Csv, TABLE, 1), (ExportForm::Ndjson, LINES, 0)] {
        let before = matrix(&app).await;
        file.execute_batch(NO_END).expect("runs");
        let (text, whole) = left(&app, granted(&app, form, None).await, writing).await;
        // Its own beginning is read first, and is no part of it.
        assert_eq!((text.lines().count(), whole), (head + PAGE - 1, false), "{form:?}: the last part has not left");
        let exported = granted(&app, form, Some(app.gateway.clock().now())).await;
        let (text, whole) = left(&app, exported, writing).await;
        assert_eq!((text.lines().count(), whole), (head, false), "{form:?}: there is one part, and it has not left");
        file.execute_batch("DROP TRIGGER no_end").expect("runs");
        let broken = matrix(&app).await;
        assert_eq!((broken.unended.len(), files(&broken)), (before.unended.len() + 2, files(&before)), "{form:?}");
        assert_eq!(broken.unrecorded, before.unrecorded, "{form:?}");

        // Whoever lets go after the first part has that, and the log has no end.
        let exported = granted(&app, form, None).await;
        app.gateway.begin_export(&exported).await.expect("committed");
        let mut parts = pages(Arc::clone(&app), exported, writing).into_data_stream();
        assert!(parts.next().await.is_some_and(|part| part.is_ok()));
        drop(parts);
        let let_go = matrix(&app).await;
        assert_eq!((let_go.unended.len(), files(&let_go)), (broken.unended.len() + 1, files(&broken)), "{form:?}");

        let exported = granted(&app, form, None).await;
        let held = usize::try_from(exported.carried.before).expect("few");
        let (text, whole) = left(&app, exported, writing).await;
        assert!(whole && text.lines().count() == head + held, "{form:?}: {} of {held}", text.lines().count());
        let ended = matrix(&app).await;
        assert_eq!((&ended.unended, files(&ended)), (&let_go.unended, files(&let_go) + 1), "{form:?}");
        assert!(ended.faults.is_empty(), "{:?}", ended.faults);
    }
}
