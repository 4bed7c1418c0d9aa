//! The lease machine against a model of itself: random acceptances, claims, placings, renewals, ends, second ends, requeues, pauses, and clocks that
//! jump both ways. What the model says may be claimed is what is claimed, in that order, an end counts when the model says so, and nothing
//! leaves while something older of its lane has not. Where they differ, the steps are shrunk to the few that show it.
//!
//! The runs are the same every time. `ONWARD_LEASE_RUNS=500` makes so many others, which takes a while.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim, Lease, Pause, Placing, Renewal, Resend, Telling};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Shared, accept_new, acceptance, at, delivery, ods, patient, row};

/// Runs where nobody asks for more.
const RUNS: u32 = 24;
/// Steps of the longest run.
const STEPS: usize = 150;
/// When whatever a run has left behind is due, and nobody's any more.
const LATER: i64 = 100_000_000;
/// Who may receive what is accepted: the copies of one person to one of them, as one kind, are a lane.
const RECIPIENTS: [(RecipientKind, &str); 3] = [
    (RecipientKind::CareHome, "VM1AB"),
    (RecipientKind::CareHome, "VM2CD"),
    (RecipientKind::CoveringPractice, "VM1AB"),
];

#[derive(Debug, Clone)]
enum Step {
    /// With a copy for each of these of [`RECIPIENTS`].
    Accept {
        person: u32,
        recipients: Vec<usize>,
    },
    Claim {
        limit: u32,
        seconds: i64,
    },
    Place {
        limit: u32,
    },
    /// Of any lease there ever was, or of one of the latest three.
    End {
        which: prop::sample::Index,
        latest: bool,
        outcome: Outcome,
    },
    Renew {
        which: prop::sample::Index,
        seconds: i64,
    },
    Requeue {
        which: prop::sample::Index,
    },
    Pause {
        recipient: usize,
        paused: bool,
    },
    Clock {
        seconds: i64,
    },
    /// As when somebody sets it by hand: so far ahead of what it was without that.
    Set {
        ahead: i64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Sent,
    Retry { seconds: i64 },
    Failed,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        2 => Just(Outcome::Sent),
        2 => (0..60_i64).prop_map(|seconds| Outcome::Retry { seconds }),
        1 => Just(Outcome::Failed),
    ];
    let recipients = prop::sample::subsequence(vec![0, 1, 2], 1..=RECIPIENTS.len());
    prop_oneof![
        3 => (0..3_u32, recipients).prop_map(|(person, recipients)| Step::Accept { person, recipients }),
        5 => (0..5_u32, 1..40_i64).prop_map(|(limit, seconds)| Step::Claim { limit, seconds }),
        2 => (0..4_u32).prop_map(|limit| Step::Place { limit }),
        6 => (any::<prop::sample::Index>(), any::<bool>(), outcome)
            .prop_map(|(which, latest, outcome)| Step::End { which, latest, outcome }),
        2 => (any::<prop::sample::Index>(), 1..40_i64).prop_map(|(which, seconds)| Step::Renew { which, seconds }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Requeue { which }),
        1 => (0..2_usize, prop::bool::weighted(0.3)).prop_map(|(recipient, paused)| Step::Pause { recipient, paused }),
        2 => (-40..60_i64).prop_map(|seconds| Step::Clock { seconds }),
        1 => prop_oneof![Just(-3600_i64), Just(0), Just(0), Just(3600)].prop_map(|ahead| Step::Set { ahead }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Sent,
    /// In an inbox: from there nothing is sent again.
    Placed,
    Failed,
}

/// A copy as the model has it; in the order of acceptance.
#[derive(Debug)]
struct Copy {
    id: DeliveryId,
    person: u32,
    /// Of [`RECIPIENTS`].
    recipient: usize,
    stage: Stage,
    due: i64,
    lease: Option<(u64, i64)>,
}

impl Copy {
    fn lane(&self) -> (u32, usize) {
        (self.person, self.recipient)
    }
}

#[derive(Default)]
struct Model {
    now: i64,
    ahead: i64,
    copies: Vec<Copy>,
    leases: Vec<Lease>,
    paused: BTreeSet<&'static str>,
}

/// What runs came to, so that none of it is nothing.
#[derive(Debug, Default)]
struct Seen {
    claimed: usize,
    placed: usize,
    ended: usize,
    fenced: usize,
    held_back: usize,
    inversions: usize,
}

impl Model {
    fn older_waits(&self, n: usize) -> bool {
        self.copies[..n].iter().any(|copy| copy.stage == Stage::Queued && copy.lane() == self.copies[n].lane())
    }

    /// Whether a copy could be claimed now if its lane were its own.
    fn is_due(&self, n: usize) -> bool {
        let copy = &self.copies[n];
        copy.stage == Stage::Queued
            && copy.due <= self.now
            && copy.lease.is_none_or(|(_, until)| until <= self.now)
            && !self.paused.contains(RECIPIENTS[copy.recipient].1)
    }

    /// What may be claimed now, the longest due first.
    fn claimable(&self, limit: usize) -> Vec<usize> {
        let mut found: Vec<usize> =
            (0..self.copies.len()).filter(|&n| self.is_due(n) && !self.older_waits(n)).collect();
        found.sort_by_key(|&n| (self.copies[n].due, n));
        found.truncate(limit);
        found
    }

    fn place(&self, id: DeliveryId) -> usize {
        self.copies.iter().position(|copy| copy.id == id).expect("accepted")
    }

    async fn run(&mut self, store: &Shared, n: u32, step: Step, seen: &mut Seen) {
        match step {
            Step::Accept { person, recipients } => {
                let mut message = acceptance(n);
                message.transfer.patient = Some(patient(person));
                message.transfer.received = at(self.now);
                message.deliveries =
                    recipients.iter().map(|&to| delivery(RECIPIENTS[to].0, RECIPIENTS[to].1)).collect();
                let ids: Vec<_> = message.deliveries.iter().map(|copy| copy.id).collect();
                accept_new(store, message).await;
                for (id, recipient) in ids.into_iter().zip(recipients) {
                    let stage = Stage::Queued;
                    self.copies.push(Copy { id, person, recipient, stage, due: self.now, lease: None });
                }
            }
            Step::Claim { limit, seconds } => self.claim(store, limit, seconds, seen).await,
            Step::Place { limit } => self.place_in_inboxes(store, limit, seen).await,
            Step::End { which, latest, outcome } if !self.leases.is_empty() => {
                let from = if latest { self.leases.len().saturating_sub(3) } else { 0 };
                let lease = which.get(&self.leases[from..]).clone();
                self.end(store, &lease, outcome, seen).await;
            }
            Step::Renew { which, seconds } if !self.leases.is_empty() => {
                let lease = which.get(&self.leases);
                let until = self.now + seconds;
                let held = vec![(lease.delivery.id, lease.token)];
                let renewed = store.renew(Renewal { now: at(self.now), lease_until: at(until), held }).await;
                let (token, place) = (lease.token, self.place(lease.delivery.id));
                let copy = &mut self.copies[place];
                let counts = copy.lease.is_some_and(|(own, _)| own == token);
                assert_eq!(renewed, Ok(vec![counts]));
                if counts {
                    copy.lease = Some((token, until));
                }
            }
            Step::Requeue { which } if !self.copies.is_empty() => {
                let place = which.index(self.copies.len());
                let copy = &mut self.copies[place];
                let again = store
                    .requeue(
                        copy.id,
                        Resend::Replay.into(),
                        "Ada Wells",
                        "again",
                        at(self.now),
                        vec![row(AuditWord::Release)],
                    )
                    .await;
                // What failed, and what was sent and may not have come.
                let goes_again = matches!(copy.stage, Stage::Sent | Stage::Failed);
                assert_eq!(again, Ok(goes_again));
                if goes_again {
                    (copy.stage, copy.due) = (Stage::Queued, self.now);
                }
            }
            Step::Pause { recipient, paused } => {
                let code = RECIPIENTS[recipient].1;
                pause(store, code, paused, self.now).await;
                if paused {
                    self.paused.insert(code);
                } else {
                    self.paused.remove(code);
                }
            }
            Step::Clock { seconds } => self.now += seconds,
            Step::Set { ahead } => {
                self.now += ahead - self.ahead;
                self.ahead = ahead;
            }
            Step::End { .. } | Step::Renew { .. } | Step::Requeue { .. } => {}
        }
    }

    async fn claim(&mut self, store: &Shared, limit: u32, seconds: i64, seen: &mut Seen) {
        let until = self.now + seconds;
        let claimed = store.claim(Claim::due(at(self.now), at(until), limit)).await.expect("claimable");
        // Told from what was claimed alone, whatever the model expects.
        seen.inversions += claimed.iter().filter(|lease| self.older_waits(self.place(lease.delivery.id))).count();
        seen.held_back += (0..self.copies.len()).filter(|&n| self.is_due(n) && self.older_waits(n)).count();
        let expected = self.claimable(limit as usize);
        let ids: Vec<_> = expected.iter().map(|&n| self.copies[n].id).collect();
        assert_eq!(claimed.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), ids);
        seen.claimed += claimed.len();
        for (n, lease) in expected.into_iter().zip(claimed) {
            self.copies[n].lease = Some((lease.token, until));
            self.leases.push(lease);
        }
    }

    async fn place_in_inboxes(&mut self, store: &Shared, limit: u32, seen: &mut Seen) {
        let told = Telling::new(|_| vec![row(AuditWord::Disclose)]);
        let placed = store.place(Placing { now: at(self.now), limit, told }).await.expect("placeable");
        let expected = self.claimable(limit as usize);
        let ids: Vec<_> = expected.iter().map(|&n| self.copies[n].id).collect();
        assert_eq!(placed.iter().map(|copy| copy.id).collect::<Vec<_>>(), ids);
        seen.placed += placed.len();
        for n in expected {
            (self.copies[n].stage, self.copies[n].lease) = (Stage::Placed, None);
        }
    }

    async fn end(&mut self, store: &Shared, lease: &Lease, outcome: Outcome, seen: &mut Seen) {
        let due = match outcome {
            Outcome::Retry { seconds } => self.now + seconds,
            Outcome::Sent | Outcome::Failed => self.now,
        };
        let end = AttemptEnd {
            outcome: match outcome {
                Outcome::Sent => AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
                Outcome::Retry { .. } => AttemptOutcome::Retry { at: at(due), reason: "503".to_owned() },
                Outcome::Failed => AttemptOutcome::Failed { reason: "410".to_owned() },
            },
            at: at(self.now),
            ..sent(lease)
        };
        let place = self.place(lease.delivery.id);
        let copy = &mut self.copies[place];
        let counts = copy.lease.is_some_and(|(token, _)| token == lease.token);
        assert_eq!(store.complete(vec![end]).await, Ok(vec![counts]));
        if counts {
            copy.lease = None;
            copy.due = due;
            copy.stage = match outcome {
                Outcome::Sent => Stage::Sent,
                Outcome::Retry { .. } => Stage::Queued,
                Outcome::Failed => Stage::Failed,
            };
            seen.ended += 1;
        } else {
            seen.fenced += 1;
        }
    }
}

fn sent(lease: &Lease) -> AttemptEnd {
    AttemptEnd {
        delivery: lease.delivery.id,
        token: lease.token,
        outcome: AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
        at: at(LATER),
        audit: vec![row(AuditWord::Disclose)],
    }
}

/// Pauses a recipient or resumes it, if it is not so yet.
async fn pause(store: &Shared, code: &str, paused: bool, now: i64) {
    let (code, audit) = (ods(code), vec![row(AuditWord::Configure)]);
    let changed = match paused {
        false => store.resume(Some(&code), audit).await,
        true => {
            let (reason, by) = ("the home moves".to_owned(), "Ada Wells".to_owned());
            store.pause(Pause { recipient: Some(code), reason, by, since: at(now) }, audit).await
        }
    };
    assert!(changed.is_ok(), "{changed:?}");
}

/// Sends whatever another run has left, so that each begins with nothing queued.
async fn leave_nothing(store: &Shared) {
    for (_, code) in RECIPIENTS {
        pause(store, code, false, LATER).await;
    }
    loop {
        let left = store.claim(Claim::due(at(LATER), at(LATER + 1), 1_000)).await.expect("claimable");
        if left.is_empty() {
            return;
        }
        let ends: Vec<_> = left.iter().map(sent).collect();
        assert_eq!(store.complete(ends).await, Ok(vec![true; left.len()]));
    }
}

/// How many runs, and the chance that they follow.
fn runner() -> TestRunner {
    let config = |cases| Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    match std::env::var_os("ONWARD_LEASE_RUNS") {
        None => TestRunner::new_with_rng(config(RUNS), TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(text) => TestRunner::new(config(text.to_str().and_then(|text| text.parse().ok()).expect("a number"))),
    }
}

pub(crate) async fn leases_follow_their_model(store: Shared) {
    let handle = tokio::runtime::Handle::current();
    let checked = tokio::task::spawn_blocking(move || {
        let (number, seen) = (AtomicU32::new(0), RefCell::new(Seen::default()));
        let steps = prop::collection::vec(step(), 1..=STEPS);
        let outcome = runner().run(&steps, |steps| {
            let mut so_far = seen.take();
            handle.block_on(async {
                leave_nothing(&store).await;
                let mut model = Model::default();
                for step in steps {
                    // Each message of all runs has its own number, by which it is known.
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    model.run(&store, n, step, &mut so_far).await;
                }
            });
            *seen.borrow_mut() = so_far;
            Ok(())
        });
        (outcome.map_err(|found| found.to_string()), seen.into_inner())
    });
    let (outcome, seen) = checked.await.expect("it ran");
    println!("{seen:?}");
    outcome.unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(seen.inversions, 0);
    let worth = [seen.claimed, seen.placed, seen.ended, seen.fenced, seen.held_back];
    assert!(worth.into_iter().all(|count| count > 50), "the runs were worth it: {seen:?}");
}
