//! What auditing costs of accepting: `cargo run --release -p onward-tests --example audit_cost [MESSAGES]` (2,048 by default).
//!
//! The same message goes through the whole of accepting (reading, judging, converting, identifying, rendering, the commit),
//! several at a time, by turns as the gateway does it and with the audit entries taken out before the commit, and without the one that is
//! committed before PDS is asked. The gateway knows no accepting without audit: taking them out is done here. That they were written as AuditEvents is measured by itself and
//! taken off the other side's time as if nothing else had run meanwhile, so that the ratio is rather too high than too low. It fails where
//! auditing takes more than it may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::{Client, Role};
use onward_core::store::Accepted;
use onward_core::{Clock as _, SystemClock, TransferId};
use onward_gateway::Gateway;
use onward_gateway::accept::Submission;
use onward_server::app::{self, Tenure};
use onward_tests::message::{self, fresh};
use onward_tests::world::{self, World};
use tokio::task::JoinSet;

/// The share of what could be accepted that auditing may take; last measured: 17.6 to 18.9 %.
const MAY_TAKE: f64 = 0.20;
/// Messages accepted side by side.
const AT_ONCE: u32 = 16;
/// Rounds before it counts.
const WARMING: u32 = 2;
/// Times that an entry is written, to know what that takes.
const WRITTEN: u32 = 2_000;

/// Accepts a round of messages; how long it took.
async fn round(gateway: &Arc<Gateway>, client: &Client, audited: bool) -> Duration {
    let mut tasks = JoinSet::new();
    let bodies: Vec<String> = (0..AT_ONCE).map(|_| fresh(message::EDISCHARGE_ITK3)).collect();
    let begun = Instant::now();
    for body in bodies {
        let (gateway, client) = (Arc::clone(gateway), client.clone());
        tasks.spawn(async move {
            let media_type = "application/fhir+xml".to_owned();
            let submission = Submission { client, body: body.into(), media_type, request_id: Some("r".to_owned()) };
            if audited {
                assert!(!gateway.accept(submission).await.expect("accepted").duplicate);
            } else {
                let mut acceptance = gateway.acceptance_of(&submission).await.expect("acceptable");
                acceptance.audit.clear();
                assert_eq!(gateway.store().accept(acceptance).await.expect("accepted"), Accepted::New);
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed()
}

/// How long the entries of one message take to be written as AuditEvents.
fn writing(gateway: &Gateway, client: &Client) -> Duration {
    let words = [AuditWord::Accept, AuditWord::Duplicate, AuditWord::Refuse];
    let begun = Instant::now();
    for _ in 0..WRITTEN {
        for word in words {
            let entry = AuditEntry {
                transfer: Some(TransferId::random()),
                patient: Some("9990000018".parse().expect("a test number")),
                content_sha256: Some("5e".repeat(32)),
                request_id: Some("r".to_owned()),
                ..AuditEntry::new(
                    word,
                    SystemClock.now(),
                    Agent::client(client),
                    "a detail as long as they usually are",
                )
            };
            std::hint::black_box(gateway.journal().row(&entry));
        }
    }
    begun.elapsed() / WRITTEN
}

#[tokio::main]
async fn main() {
    let messages: u32 = std::env::args().nth(1).map_or(2_048, |count| count.parse().expect("a number"));
    let mut world = World::start().await;
    world.client("northmoor-epr", "R9Z", Role::Sender).await;
    // No listeners, and nobody who sends copies meanwhile.
    world.stop().await;
    let config = world::load(&world.config_file);
    let store = app::open_store(&config, Tenure::Server).await.expect("a store");
    let gateway = app::build(&config, store).expect("a gateway").gateway;
    let client = gateway.store().client("northmoor-epr").await.expect("readable").expect("registered");

    let mut took = [Duration::ZERO; 2];
    let rounds = messages.div_ceil(AT_ONCE);
    for number in 0..WARMING + rounds {
        // By turns, so that whatever slows the machine slows both; each goes first as often as the other.
        for audited in [number % 2 == 0, number % 2 == 1] {
            let round = round(&gateway, &client, audited).await;
            if number >= WARMING {
                took[usize::from(audited)] += round;
            }
        }
    }
    let accepted = rounds * AT_ONCE;
    let written = writing(&gateway, &client);
    let [without, with] = took;
    let bare = without.checked_sub(written * accepted).expect("writing entries is a part of the whole");
    let rate = |time: Duration| f64::from(accepted) / time.as_secs_f64();
    println!("{accepted} messages each way, {AT_ONCE} at once");
    println!("audited           {:>8.1} a second", rate(with));
    println!("without entries   {:>8.1} a second", rate(without));
    println!("writing AuditEvents takes {written:?} a message; without that too {:.1} a second", rate(bare));
    let share = 1.0 - rate(with) / rate(bare);
    println!("auditing takes {:.1} % of what could be accepted", 100.0 * share);
    assert!(share <= MAY_TAKE, "auditing takes more than {:.0} %", 100.0 * MAY_TAKE);
}
