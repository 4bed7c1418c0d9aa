//! The lease machine against a model of itself: random acceptances, claims, renewals, ends, second ends, requeues, and clocks that jump both
//! ways. What the model says may be claimed is what is claimed, in that order, and an end counts when the model says so.

use onward_core::DeliveryId;
use onward_core::audit::AuditWord;
use onward_core::state::DeliveryState;
use onward_core::store::{AttemptEnd, AttemptOutcome, Lease, Renewal, Resend};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{Shared, accept_new, acceptance, at, patient, row};

/// Steps of one run.
const STEPS: usize = 600;

#[derive(Debug, Clone)]
enum Step {
    Accept {
        person: u32,
    },
    Claim {
        limit: u32,
        seconds: i64,
    },
    End {
        which: prop::sample::Index,
        outcome: Outcome,
    },
    Renew {
        which: prop::sample::Index,
        seconds: i64,
    },
    Requeue {
        which: prop::sample::Index,
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
    prop_oneof![
        3 => (0..4_u32).prop_map(|person| Step::Accept { person }),
        4 => (0..4_u32, 1..40_i64).prop_map(|(limit, seconds)| Step::Claim { limit, seconds }),
        5 => (any::<prop::sample::Index>(), outcome).prop_map(|(which, outcome)| Step::End { which, outcome }),
        2 => (any::<prop::sample::Index>(), 1..40_i64).prop_map(|(which, seconds)| Step::Renew { which, seconds }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Requeue { which }),
        2 => (-40..60_i64).prop_map(|seconds| Step::Clock { seconds }),
        1 => prop_oneof![Just(-3600_i64), Just(0), Just(0), Just(3600)].prop_map(|ahead| Step::Set { ahead }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Sent,
    Failed,
}

/// A copy as the model has it; in the order of acceptance.
#[derive(Debug)]
struct Copy {
    id: DeliveryId,
    person: u32,
    stage: Stage,
    due: i64,
    lease: Option<(u64, i64)>,
}

#[derive(Default)]
struct Model {
    now: i64,
    ahead: i64,
    copies: Vec<Copy>,
    leases: Vec<Lease>,
}

impl Model {
    /// What may be claimed now, the longest due first.
    fn claimable(&self, limit: usize) -> Vec<usize> {
        let older_waits = |n: usize| {
            self.copies[..n].iter().any(|copy| copy.stage == Stage::Queued && copy.person == self.copies[n].person)
        };
        let mut found: Vec<usize> = (0..self.copies.len())
            .filter(|&n| {
                let copy = &self.copies[n];
                copy.stage == Stage::Queued
                    && copy.due <= self.now
                    && copy.lease.is_none_or(|(_, until)| until <= self.now)
                    && !older_waits(n)
            })
            .collect();
        found.sort_by_key(|&n| (self.copies[n].due, n));
        found.truncate(limit);
        found
    }

    async fn run(&mut self, store: &Shared, n: u32, step: Step) {
        match step {
            Step::Accept { person } => {
                let mut message = acceptance(n);
                message.transfer.patient = Some(patient(person));
                message.transfer.received = at(self.now);
                let id = accept_new(store, message).await;
                self.copies.push(Copy { id, person, stage: Stage::Queued, due: self.now, lease: None });
            }
            Step::Claim { limit, seconds } => self.claim(store, limit, seconds).await,
            Step::End { which, outcome } if !self.leases.is_empty() => {
                let lease = which.get(&self.leases).clone();
                self.end(store, &lease, outcome).await;
            }
            Step::Renew { which, seconds } if !self.leases.is_empty() => {
                let lease = which.get(&self.leases);
                let until = self.now + seconds;
                let held = vec![(lease.delivery.id, lease.token)];
                let renewed = store.renew(Renewal { now: at(self.now), lease_until: at(until), held }).await;
                let copy = self.copies.iter_mut().find(|copy| copy.id == lease.delivery.id).expect("accepted");
                let counts = copy.lease.is_some_and(|(token, _)| token == lease.token);
                assert_eq!(renewed, Ok(vec![counts]));
                if counts {
                    copy.lease = Some((lease.token, until));
                }
            }
            Step::Requeue { which } if !self.copies.is_empty() => {
                let copy = which.index(self.copies.len());
                let copy = &mut self.copies[copy];
                let again = store
                    .requeue(copy.id, Resend::Replay, "Ada Wells", "again", at(self.now), vec![row(AuditWord::Release)])
                    .await;
                // What failed, and what was sent and may not have come.
                assert_eq!(again, Ok(copy.stage != Stage::Queued));
                if copy.stage != Stage::Queued {
                    (copy.stage, copy.due) = (Stage::Queued, self.now);
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

    async fn claim(&mut self, store: &Shared, limit: u32, seconds: i64) {
        let until = self.now + seconds;
        let claimed =
            store.claim(onward_core::store::Claim::due(at(self.now), at(until), limit)).await.expect("claimable");
        let expected = self.claimable(limit as usize);
        let ids: Vec<_> = expected.iter().map(|&n| self.copies[n].id).collect();
        assert_eq!(claimed.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), ids);
        for (n, lease) in expected.into_iter().zip(claimed) {
            self.copies[n].lease = Some((lease.token, until));
            self.leases.push(lease);
        }
    }

    async fn end(&mut self, store: &Shared, lease: &Lease, outcome: Outcome) {
        let due = match outcome {
            Outcome::Retry { seconds } => self.now + seconds,
            Outcome::Sent | Outcome::Failed => self.now,
        };
        let end = AttemptEnd {
            delivery: lease.delivery.id,
            token: lease.token,
            outcome: match outcome {
                Outcome::Sent => AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
                Outcome::Retry { .. } => AttemptOutcome::Retry { at: at(due), reason: "503".to_owned() },
                Outcome::Failed => AttemptOutcome::Failed { reason: "410".to_owned() },
            },
            at: at(self.now),
            audit: vec![row(AuditWord::Disclose)],
        };
        let copy = self.copies.iter_mut().find(|copy| copy.id == lease.delivery.id).expect("accepted");
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
        }
    }
}

pub(crate) async fn leases_follow_their_model(store: Shared) {
    let steps =
        prop::collection::vec(step(), STEPS).new_tree(&mut TestRunner::deterministic()).expect("steps").current();
    let mut model = Model::default();
    for (n, step) in (0..).zip(steps) {
        println!("{n} at {}: {step:?}", model.now);
        model.run(&store, n, step).await;
    }
    assert!(model.leases.len() > 30, "the run was worth it: {}", model.leases.len());
}
