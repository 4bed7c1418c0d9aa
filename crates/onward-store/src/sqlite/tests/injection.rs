//! Faults 1, 2, 5, 6 and 7 at every call that touches a file: strace makes a call of a short run fail (EIO, ENOSPC) or kills the process
//! at it. Whatever happened, what was acknowledged is there afterwards, with its audit, and everything adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use onward_core::audit::AuditRow;
use onward_core::store::Checkup;
use uuid::Uuid;

use super::*;
use crate::contract::erasing::{confirm, request};
use crate::sealing::{KeyEncryption, KeyRing};

/// Set in the child: the folder of the store.
pub(super) const FOLDER: &str = "ONWARD_TEST_INJECTED";
/// Set in the child: it erases somebody, and takes one more message afterwards.
const ERASES: &str = "ONWARD_TEST_ERASES";
/// Set: every call is made to fail, and not one of a few.
pub(super) const EVERY: &str = "ONWARD_INJECT_EVERY_CALL";
/// Messages of a short run.
const MESSAGES: u32 = 3;
/// What a short run says: that each message was taken, and that its copy was sent.
const SAYS: usize = 2 * MESSAGES as usize;
/// Behind a transfer whose copy was sent.
const SENT: &str = " sent";
/// Calls that touch the store's files, as the bundled SQLite makes them.
const CALLS: [&str; 5] = ["openat", "pread64", "pwrite64", "fsync", "ftruncate"];
/// How many runs there are for each call and fault where not every call is made to fail.
const RUNS: usize = 3;

pub(super) fn keys_of(folder: &Path) -> Arc<dyn KeyEncryption> {
    let text = std::fs::read_to_string(folder.join("keys")).expect("the keys");
    Arc::new(KeyRing::from_text(&text).expect("a ring"))
}

fn at_zero() -> Arc<dyn Clock> {
    Arc::new(FixedClock)
}

/// Not a test of its own: the short run. Does nothing without its variable.
#[tokio::test]
#[ignore = "the process that strace watches"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let store = SqliteStore::open(&folder.join("onward.db"), keys_of(&folder), at_zero()).expect("opened");
    for n in 0..MESSAGES {
        let mut acceptance = acceptance(n);
        let id = acceptance.transfer.id;
        acceptance.audit = vec![AuditRow { transfer: Some(id), ..row(AuditWord::Accept) }];
        if store.accept(acceptance).await == Ok(Accepted::New) {
            println!("\nacknowledged {id}");
        }
    }
    for lease in store.claim(Claim::due(at(0), at(30), MESSAGES)).await.unwrap_or_default() {
        let (delivery, transfer) = (lease.delivery.id, lease.delivery.transfer);
        let outcome = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
        let audit = vec![AuditRow { transfer: Some(transfer), delivery: Some(delivery), ..row(AuditWord::Disclose) }];
        let end = AttemptEnd { delivery, token: lease.token, outcome, at: at(1), audit };
        if store.complete(vec![end]).await == Ok(vec![true]) {
            println!("\nacknowledged {transfer}{SENT}");
        }
    }
    if std::env::var_os(ERASES).is_some() {
        let (store, id): (Shared, _) = (Arc::new(store), Uuid::new_v4());
        let asked = store.request_erasure(&patient(0), request(id), vec![row(AuditWord::Erase)]).await;
        assert_eq!(asked, Ok(true));
        confirm(&store, id, "Bea").await;
        assert_eq!(store.accept(acceptance(MESSAGES)).await, Ok(Accepted::New));
    }
}

/// A run under strace.
struct Run {
    acknowledged: Vec<String>,
    /// How often it made each call.
    calls: BTreeMap<String, usize>,
    /// How often it wrote or synced after a call for the store's file, or its log, had failed.
    afterwards: usize,
}

fn run(folder: &Path, inject: Option<&str>) -> Run {
    run_with(folder, inject, None)
}

/// The same with this variable set.
fn run_with(folder: &Path, inject: Option<&str>, set: Option<&str>) -> Run {
    let trace = folder.join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-e", &format!("trace={}", CALLS.join(",")), "-P"]);
    command.arg(folder.join("onward.db")).arg("-P").arg(folder.join("onward.db-wal"));
    command.arg("-P").arg(folder).arg("-o").arg(&trace);
    if let Some(inject) = inject {
        command.args(["-e", &format!("inject={inject}")]);
    }
    let output = command
        .arg(std::env::current_exe().expect("this program"))
        .args(child_arguments())
        .env(FOLDER, folder)
        .envs(set.map(|name| (name, "1")))
        .stderr(Stdio::null())
        .output()
        .expect("strace runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let acknowledged = told.lines().filter_map(|line| line.strip_prefix("acknowledged ")).map(str::to_owned).collect();
    let (mut calls, mut failed, mut afterwards) = (BTreeMap::new(), false, 0);
    // By thread: a call that another one's line interrupts is told in two.
    let mut begun = BTreeMap::<String, String>::new();
    let mut emptied = false;
    for line in std::fs::read_to_string(&trace).unwrap_or_default().lines() {
        // SQLite takes the first page of a file that is no store yet back to nothing by itself, and syncs that: there is nothing in it of
        // which a second sync could tell a lie.
        let counts = line.contains(" pwrite64(") || line.contains(" fsync(") && !emptied;
        afterwards += usize::from(failed && counts);
        emptied = line.contains(" ftruncate(") && line.contains("/onward.db>, 0)");
        let thread = line.split(' ').next().unwrap_or_default();
        if line.contains("(INJECTED)") {
            let call = if line.contains(" resumed>") { begun.get(thread).map_or("", String::as_str) } else { line };
            // Of folders SQLite passes a failed sync over.
            failed |= call.contains("/onward.db");
        } else if line.contains("<unfinished ") {
            begun.insert(thread.to_owned(), line.to_owned());
        }
        if let Some(name) = CALLS.into_iter().find(|name| line.contains(&format!(" {name}("))) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    Run { acknowledged, calls, afterwards }
}

/// What makes this program the short run.
pub(super) fn child_arguments() -> [&'static str; 5] {
    ["--exact", "sqlite::tests::injection::child", "--ignored", "--nocapture", "--test-threads=1"]
}

/// A new folder with keys.
pub(super) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let ring = KeyRing::with_new_key(None, "first").expect("randomness").to_string();
    std::fs::write(folder.path().join("keys"), ring.as_str()).expect("written");
    folder
}

/// Whether strace may watch processes here; not every container lets it.
///
/// # Panics
/// When it may not, and `ONWARD_REQUIRE_STRACE` says that it must.
pub(super) fn can_watch() -> bool {
    let run = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let watches = run.is_ok_and(|status| status.success());
    let required = std::env::var_os("ONWARD_REQUIRE_STRACE").is_some();
    assert!(watches || !required, "strace may not watch processes, and ONWARD_REQUIRE_STRACE forbids skipping");
    if !watches {
        eprintln!("SKIPPED: strace is not here, or may not watch processes");
    }
    watches
}

/// What [`adds_up`] says of a store that gives something else than what was stored.
pub(super) const SERVED_WRONG: &str = "something else is served than what was acknowledged";

/// Whether a store opens, has what was acknowledged as it was sent, and adds up; else what is wrong.
pub(super) async fn adds_up(folder: &Path, acknowledged: &[String]) -> Result<(), String> {
    let store = SqliteStore::open(&folder.join("onward.db"), keys_of(folder), at_zero());
    let store = store.map_err(|error| format!("it does not open: {error}"))?;
    let mut taken = BTreeSet::new();
    for said in acknowledged {
        let id = said.strip_suffix(SENT).unwrap_or(said);
        taken.insert(id);
        let told = |error: StoreError| error.to_string();
        let lost = || format!("{id} was acknowledged and is lost");
        let transfer = id.parse().expect("an identifier");
        let found = store.transfer(transfer).await.map_err(told)?.ok_or_else(lost)?;
        let number = found.message_id.strip_prefix("message-").and_then(|number| number.parse().ok());
        let sent = number.filter(|number| *number < MESSAGES).map(acceptance).ok_or(SERVED_WRONG)?;
        let original = store.original(transfer).await.map_err(told)?.ok_or_else(lost)?;
        let mut same = original.body == sent.transfer.body && found.deliveries.len() == sent.deliveries.len();
        for (copy, new) in found.deliveries.iter().zip(&sent.deliveries) {
            same &= store.rendition(copy.id).await.map_err(told)?.ok_or_else(lost)?.body == new.body;
        }
        if !same {
            return Err(SERVED_WRONG.to_owned());
        }
        if said.ends_with(SENT) && found.deliveries[0].state != DeliveryState::AwaitingCollection {
            return Err(format!("{id} was sent, and waits to be sent again"));
        }
    }
    let Checkup { accepted, flaws, .. } = store.checkup().await.map_err(|error| error.to_string())?;
    let whole = flaws.is_empty() && accepted >= taken.len() as u64;
    whole.then_some(()).ok_or_else(|| format!("{accepted} accepted, {flaws:?}"))
}

#[tokio::test]
async fn faults_001_002_005_006_007_no_call_that_fails_loses_what_was_acknowledged() {
    if !can_watch() {
        return;
    }
    let whole = folder();
    let Run { acknowledged, calls, .. } = run(whole.path(), None);
    assert_eq!(acknowledged.len(), SAYS, "an undisturbed run takes and sends everything: {calls:?}");
    assert_eq!(adds_up(whole.path(), &acknowledged).await, Ok(()), "undisturbed");
    assert!(calls["pwrite64"] > 10 && calls["fsync"] >= MESSAGES as usize, "{calls:?}");
    let every = std::env::var_os(EVERY).is_some();
    let mut disturbed = 0;
    for (call, count) in calls {
        let stride = if every { 1 } else { count.div_ceil(RUNS) };
        for when in (1..=count).step_by(stride) {
            for fault in ["error=EIO", "error=ENOSPC", "signal=KILL"] {
                let inject = format!("{call}:{fault}:when={when}");
                let place = folder();
                let Run { acknowledged, afterwards, .. } = run(place.path(), Some(&inject));
                if call == "fsync" && fault == "error=EIO" {
                    // The kernel may have dropped the pages by then: a second sync would tell of success.
                    assert_eq!(afterwards, 0, "{inject}: nothing is written or synced after a sync that failed");
                }
                disturbed += usize::from(acknowledged.len() < SAYS);
                assert_eq!(adds_up(place.path(), &acknowledged).await, Ok(()), "{inject}");
            }
        }
    }
    assert!(disturbed > 5, "faults were felt: {disturbed}");
}

/// An erasure carries the log over and cuts it, on a connection of its own. Where a sync of that fails, nothing goes on: the next one would
/// tell of success.
#[tokio::test]
async fn fault_006_a_sync_that_fails_while_the_log_is_cut_is_the_last() {
    if !can_watch() {
        return;
    }
    let before = run(folder().path(), None).calls["fsync"];
    let all = run_with(folder().path(), None, Some(ERASES)).calls["fsync"];
    assert!(all > before + 2, "the request, the erasure, the log and its end, and a message: {before} of {all}");
    for when in before..=all {
        let inject = format!("fsync:error=EIO:when={when}");
        let place = folder();
        let Run { afterwards, .. } = run_with(place.path(), Some(&inject), Some(ERASES));
        assert_eq!(afterwards, 0, "{inject}: nothing is written or synced after a sync that failed");
    }
}
