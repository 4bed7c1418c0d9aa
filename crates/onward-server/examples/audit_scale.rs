//! How the audit log answers at scale, and what it costs: `cargo run --release --example audit_scale [ENTRIES]` (a million by
//! default) fills a store with synthetic entries and prints how long "who saw this patient" and the entries of a breach pack take
//! beside a scan of the whole log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord, Basis};
use onward_core::store::Store;
use onward_core::{DeliveryId, NhsNumber, OdsCode, SystemClock, Timestamp};
use onward_gateway::journal::Journal;
use onward_store::sealing::KeyRing;
use onward_store::sqlite::SqliteStore;

/// Entries written in one commit.
const BATCH: u64 = 1_000;
/// People among whom the entries are spread.
const PEOPLE: u64 = 50_000;

fn ods(code: &str) -> OdsCode {
    code.parse().expect("an ODS code")
}

/// A person of the test range.
fn person(number: u64) -> NhsNumber {
    (0..10).find_map(|check| format!("999{number:06}{check}").parse().ok()).unwrap_or_else(|| person(number + 1))
}

fn at(second: u64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a moment");
    start + SignedDuration::from_secs(i64::try_from(second).expect("small"))
}

fn query() -> AuditQuery {
    AuditQuery { limit: 1_000, ..AuditQuery::default() }
}

async fn all(store: &dyn Store, wanted: AuditQuery) -> usize {
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.search_audit(AuditQuery { after, ..wanted.clone() }).await.expect("readable");
        found += page.len();
        match page.last() {
            Some(last) if page.len() == 1_000 => after = Some((last.recorded, last.index)),
            _ => return found,
        }
    }
}

async fn scan(store: &dyn Store) -> usize {
    let mut found: usize = 0;
    loop {
        let page = store.audit_entries(found as u64, 1_000).await.expect("readable");
        found += page.len();
        if page.len() < 1_000 {
            return found;
        }
    }
}

fn told(what: &str, found: usize, took: Duration, whole: Duration) {
    let share = took.as_secs_f64() / whole.as_secs_f64();
    println!("{what:<44} {found:>8} entries  {:>10.2} ms  {share:.6} of a scan", took.as_secs_f64() * 1e3);
}

#[tokio::main]
async fn main() {
    let entries: u64 = std::env::args().nth(1).map_or(1_000_000, |count| count.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let ring = KeyRing::with_new_key(None, "scale").expect("a key");
    let keys = Arc::new(KeyRing::from_text(&ring).expect("a ring"));
    let store = SqliteStore::open(&folder.path().join("scale.db"), keys, Arc::new(SystemClock)).expect("a store");
    let journal = Journal::new(&ods("R9Z"), "https://gateway.example");
    let words = [AuditWord::Read, AuditWord::Disclose, AuditWord::ReadTask, AuditWord::Acknowledge];
    for first in (0..entries).step_by(usize::try_from(BATCH).expect("small")) {
        let rows = (first..entries.min(first + BATCH)).map(|number| {
            let agent = Agent::named(&format!("home-{}", number % 500), Some(ods(&format!("VM{:03}", number % 500))));
            journal.row(&AuditEntry {
                delivery: Some(DeliveryId::random()),
                recipient: Some(ods("VMH01")),
                // Spread, so that one person's entries lie far apart.
                patient: Some(person(number.wrapping_mul(7_919) % PEOPLE)),
                basis: Some(Basis::care("direct care")),
                ..AuditEntry::new(words[usize::try_from(number % 4).expect("small")], at(number * 10), agent, "detail")
            })
        });
        store.audit(rows.collect()).await.expect("committed");
    }
    println!("{entries} entries");
    let begun = Instant::now();
    let found = scan(&store).await;
    let whole = begun.elapsed();
    told("a scan of the whole log", found, whole, whole);
    let middle = at(entries * 5);
    let hour = Some(middle + SignedDuration::from_hours(1));
    let cases = [
        ("who saw this patient", AuditQuery { patient: Some(person(4_321)), ..query() }),
        ("the same since the middle", AuditQuery { patient: Some(person(4_321)), from: Some(middle), ..query() }),
        ("breach: everybody, an hour", AuditQuery { from: Some(middle), until: hour, ..query() }),
        (
            "breach: one client, a day",
            AuditQuery {
                agent: Some("home-77".to_owned()),
                from: Some(middle),
                until: Some(middle + SignedDuration::from_hours(24)),
                words: vec![AuditWord::Read, AuditWord::ReadTask],
                ..query()
            },
        ),
        ("breach: one organisation, everything", AuditQuery { organisation: Some(ods("VM077")), ..query() }),
    ];
    for (what, wanted) in cases {
        let begun = Instant::now();
        let found = all(&store, wanted).await;
        told(what, found, begun.elapsed(), whole);
    }
}
