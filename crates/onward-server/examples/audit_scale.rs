//! How the audit log answers at scale, and what it costs: `cargo run --release --example audit_scale [ENTRIES]` (a million by
//! default) fills a store with synthetic entries and prints how long "who saw this patient", the entries of a breach pack and what each
//! start reads take beside a scan of the whole log. It fails where one takes a larger share of that scan than it may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditRow, AuditWord, Basis};
use onward_core::directory::Endpoint;
use onward_core::state::RecipientKind;
use onward_core::store::{Acceptance, Held, NewDelivery, NewTransfer, ReplyWanted, Store};
use onward_core::{DeliveryId, NhsNumber, OdsCode, SystemClock, Timestamp, TransferId};
use onward_gateway::configured::Configured;
use onward_gateway::journal::Journal;
use onward_gateway::sightings::{Carried, sightings};
use onward_gateway::starts::{Start, digest};
use onward_store::sealing::KeyRing;
use onward_store::sqlite::SqliteStore;

/// Entries written in one commit.
const BATCH: u64 = 1_000;
/// People among whom the entries are spread.
const PEOPLE: u64 = 50_000;
/// Whom is asked about.
const PERSON: u64 = 4_321;

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

/// Every tenth look is at a list of twenty copies, every five-hundredth list shows the person's; and now and then the log is exported.
fn looked(number: u64, copy: DeliveryId) -> Option<String> {
    if number > 0 && number.is_multiple_of(10_000) {
        let carried = Carried { organisation: None, from: None, until: None, before: number };
        return Some(format!("audit/export?{}", carried.told()));
    }
    let own = number.is_multiple_of(5_000).then_some(copy);
    let others = std::iter::repeat_with(DeliveryId::random).take(19).chain([own.unwrap_or_else(DeliveryId::random)]);
    let shown: Vec<String> = others.map(|id| id.to_string()).collect();
    number.is_multiple_of(10).then(|| format!("inbox?show=open&shown={}", shown.join(",")))
}

/// A message about the person, with one copy.
async fn accepted(store: &SqliteStore) -> DeliveryId {
    let (transfer, copy) = (TransferId::random(), DeliveryId::random());
    let row = |word| AuditRow {
        id: TransferId::random().to_string(),
        recorded: at(0),
        word,
        transfer: Some(transfer),
        delivery: None,
        agent: "ward".to_owned(),
        organisation: Some(ods("R9Z")),
        patient: Some(person(PERSON)),
        success: true,
        shown: Vec::new(),
        contents: None,
        event: b"{}".to_vec(),
    };
    let acceptance = Acceptance {
        transfer: NewTransfer {
            id: transfer,
            sender: ods("R9Z"),
            client_id: "ward".to_owned(),
            message_id: "message".to_owned(),
            document_id: None,
            document_set_id: None,
            dated: None,
            version: 1,
            replaces: None,
            awaits: None,
            event: "ITK003D".to_owned(),
            received: at(0),
            expected: None,
            patient: Some(person(PERSON)),
            care_home: None,
            reply: ReplyWanted {
                infrastructure: false,
                business: false,
                mailbox: None,
                header_id: "header".to_owned(),
                sender_reference: None,
                workflow: None,
            },
            media_type: "application/fhir+json".to_owned(),
            body: b"{}".to_vec(),
            body_sha256: [0; 32],
            response: b"{}".to_vec(),
        },
        deliveries: vec![NewDelivery {
            id: copy,
            kind: RecipientKind::CareHome,
            recipient: ods("VM001"),
            recipient_name: "Home".to_owned(),
            endpoint: Endpoint::Inbox {},
            directory: None,
            media_type: "application/fhir+json".to_owned(),
            body: b"{}".to_vec(),
            html: None,
            card: None,
            correlation_id: None,
            workflow: None,
            basis: "direct care".to_owned(),
            disclosure: "{}".to_owned(),
            acknowledgement_awaited: true,
            notice: None,
        }],
        hold: None,
        late: None,
        endings: Vec::new(),
        audit: vec![row(AuditWord::Accept)],
        audit_if_repeat: row(AuditWord::Duplicate),
        audit_if_conflict: row(AuditWord::Refuse),
        held: Held::default(),
    };
    store.accept(acceptance).await.expect("committed");
    copy
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

/// The share of a scan that a question about one person, and what a start reads, may take: measured once about a person, 0.00013 of a
/// million entries. What does not go by an index takes all of it.
const OF_A_PERSON: f64 = 0.05;
/// The same of a question about a part of the log, which grows with the part: measured once, 0.05.
const OF_A_PART: f64 = 0.5;

/// Prints it, and says so where it took a larger share of a scan than it may.
fn told(what: &str, found: usize, took: Duration, (whole, may): (Duration, f64)) -> Option<String> {
    let share = took.as_secs_f64() / whole.as_secs_f64();
    println!("{what:<44} {found:>8} entries  {:>10.2} ms  {share:.6} of a scan", took.as_secs_f64() * 1e3);
    (share > may).then(|| format!("{what}: {share:.4} of a scan, more than {may}"))
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
    let copy = accepted(&store).await;
    for first in (0..entries).step_by(usize::try_from(BATCH).expect("small")) {
        let rows = (first..entries.min(first + BATCH)).map(|number| {
            if number % 5_000 == 1 {
                let parts = [("section store".to_owned(), digest(&number.to_string()))].into();
                let told = Start::told("one", "section store changed", &[], &parts);
                let entry = AuditEntry::new(AuditWord::Configure, at(number * 10), Agent::gateway(), told);
                return journal.row(&entry);
            }
            let agent = Agent::named(&format!("home-{}", number % 500), Some(ods(&format!("VM{:03}", number % 500))));
            if let Some(query) = looked(number, copy) {
                let entry = AuditEntry::new(AuditWord::Query, at(number * 10), agent, "list or export");
                return journal.row(&AuditEntry { query: Some(query), ..entry });
            }
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
    let mut slow = Vec::from_iter(told("a scan of the whole log", found, whole, (whole, 1.0)));
    let middle = at(entries * 5);
    let hour = Some(middle + SignedDuration::from_hours(1));
    let cases = [
        ("who saw this patient", OF_A_PERSON, AuditQuery { patient: Some(person(PERSON)), ..query() }),
        (
            "the same since the middle",
            OF_A_PERSON,
            AuditQuery { patient: Some(person(PERSON)), from: Some(middle), ..query() },
        ),
        ("breach: everybody, an hour", OF_A_PART, AuditQuery { from: Some(middle), until: hour, ..query() }),
        (
            "breach: one client, a day",
            OF_A_PART,
            AuditQuery {
                agent: Some("home-77".to_owned()),
                from: Some(middle),
                until: Some(middle + SignedDuration::from_hours(24)),
                words: vec![AuditWord::Read, AuditWord::ReadTask],
                ..query()
            },
        ),
        ("breach: one organisation, everything", OF_A_PART, AuditQuery { organisation: Some(ods("VM077")), ..query() }),
    ];
    for (what, may, wanted) in cases {
        let begun = Instant::now();
        let found = all(&store, wanted).await;
        slow.extend(told(what, found, begun.elapsed(), (whole, may)));
    }
    let begun = Instant::now();
    let about = all(&store, AuditQuery { patient: Some(person(PERSON)), ..query() }).await;
    let among_others = sightings(&store, &person(PERSON), &query()).await.expect("readable").len();
    let took = begun.elapsed();
    slow.extend(told("who saw this patient, with lists and exports", about + among_others, took, (whole, OF_A_PERSON)));
    let begun = Instant::now();
    let starts = Configured::of(&store).await.expect("readable").starts.all.len();
    let took = begun.elapsed();
    assert_eq!(starts as u64, entries.saturating_sub(1).div_ceil(5_000), "every start that was told");
    slow.extend(told("what a start reads", starts, took, (whole, OF_A_PERSON)));
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}
