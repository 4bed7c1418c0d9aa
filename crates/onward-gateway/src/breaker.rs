//! One circuit breaker for each endpoint: one that does not answer is left alone for a while instead of costing every
//! copy an attempt. Nothing is discarded; the copies wait, and one of them probes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use onward_core::directory::Endpoint;

/// Consecutive failures that open it.
const OPENS_AFTER: u32 = 5;
/// How long it waits before one copy may try again.
const PROBE_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How often what waits for it is looked at, whatever time it has asked for.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// The breakers of all endpoints, as this process has seen them.
#[derive(Debug, Default)]
pub struct Breakers(Mutex<BTreeMap<String, Breaker>>);

#[derive(Debug)]
struct Breaker {
    endpoint: Endpoint,
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Timestamp,
    probe: Timestamp,
    /// How long the next probe is away at most, whatever becomes of the clock.
    wait: SignedDuration,
    look: Timestamp,
}

impl Open {
    /// Whether it is time, which it then is again after a while. A clock that was set back must not put it off by as much.
    fn is_time(next: &mut Timestamp, within: SignedDuration, now: Timestamp, every: SignedDuration) -> bool {
        *next = (*next).min(now + within);
        let due = *next <= now;
        if due {
            *next = now + every;
        }
        due
    }
}

/// An endpoint that does not answer at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEndpoint {
    /// Which.
    pub endpoint: Endpoint,
    /// Since when.
    pub since: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// When one copy tries again.
    pub probe: Timestamp,
}

impl Breakers {
    /// Endpoints to which nothing is sent now.
    #[must_use]
    pub fn open(&self) -> Vec<OpenEndpoint> {
        self.lock().values().filter_map(Breaker::told).collect()
    }

    /// Endpoints that one copy may try now; the next time is another wait away.
    pub fn take_probes(&self, now: Timestamp) -> Vec<Endpoint> {
        let mut due = Vec::new();
        for breaker in self.lock().values_mut() {
            let Some(open) = breaker.open.as_mut() else { continue };
            if Open::is_time(&mut open.probe, open.wait, now, PROBE_AFTER) {
                open.wait = PROBE_AFTER;
                due.push(breaker.endpoint.clone());
            }
        }
        due
    }

    /// Endpoints that do not answer, and whose waiting copies have not been looked at for a while: they may have waited long enough.
    pub fn take_looks(&self, now: Timestamp) -> Vec<Endpoint> {
        let mut due = Vec::new();
        for breaker in self.lock().values_mut() {
            let Some(open) = breaker.open.as_mut() else { continue };
            if Open::is_time(&mut open.look, LOOK_EVERY, now, LOOK_EVERY) {
                due.push(breaker.endpoint.clone());
            }
        }
        due
    }

    /// Forgets endpoints that are not used any more.
    pub fn keep(&self, used: impl Fn(&Endpoint) -> bool) {
        self.lock().retain(|_, breaker| used(&breaker.endpoint));
    }

    /// It answered, whatever it said; whether it was open.
    pub fn answered(&self, endpoint: &Endpoint) -> bool {
        self.lock().remove(&key(endpoint)).is_some_and(|breaker| breaker.open.is_some())
    }

    /// It did not answer, or asked for time; whether that opened it.
    pub fn failed(&self, endpoint: &Endpoint, now: Timestamp, wait: Option<SignedDuration>) -> bool {
        let mut breakers = self.lock();
        let breaker = breakers.entry(key(endpoint)).or_insert_with(|| Breaker {
            endpoint: endpoint.clone(),
            failures: 0,
            open: None,
        });
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.failures < OPENS_AFTER {
            return false;
        }
        let opens = breaker.open.is_none();
        let (since, look) = breaker.open.map_or((now, now + LOOK_EVERY), |open| (open.since, open.look));
        let wait = wait.map_or(PROBE_AFTER, |wait| wait.max(PROBE_AFTER));
        breaker.open = Some(Open { since, probe: now + wait, wait, look });
        opens
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Breaker>> {
        // Each change is whole: a thread that panicked has left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    fn told(&self) -> Option<OpenEndpoint> {
        let Open { since, probe, .. } = self.open?;
        Some(OpenEndpoint { endpoint: self.endpoint.clone(), since, failures: self.failures, probe })
    }
}

fn key(endpoint: &Endpoint) -> String {
    serde_json::to_string(endpoint).expect("an endpoint is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).expect("in range")
    }

    fn endpoint(host: &str) -> Endpoint {
        Endpoint::Https { url: format!("https://{host}/in") }
    }

    #[test]
    fn fault_023_five_failures_in_a_row_open_it_and_one_probe_in_thirty_seconds_closes_it() {
        let breakers = Breakers::default();
        let (one, other) = (endpoint("one.example"), endpoint("other.example"));
        for n in 0..4 {
            assert!(!breakers.failed(&one, at(n), None));
        }
        assert!(!breakers.answered(&one), "it was not open");
        for n in 0..4 {
            assert!(!breakers.failed(&one, at(n), None), "an answer begins the count anew");
        }
        assert!(breakers.open().is_empty());
        assert!(breakers.failed(&one, at(10), None), "the fifth opens it");
        assert!(!breakers.failed(&one, at(10), None), "it opens once");
        breakers.failed(&other, at(10), None);
        assert_eq!(breakers.open().iter().map(|open| &open.endpoint).collect::<Vec<_>>(), [&one]);
        assert!(breakers.take_probes(at(39)).is_empty());
        assert_eq!(breakers.take_probes(at(40)), std::slice::from_ref(&one));
        assert!(breakers.take_probes(at(41)).is_empty(), "one probe at a time");
        assert_eq!(breakers.take_looks(at(40)), std::slice::from_ref(&one));
        breakers.failed(&one, at(42), Some(SignedDuration::from_secs(300)));
        assert!(breakers.take_probes(at(300)).is_empty(), "it asked for five minutes");
        assert!(breakers.take_looks(at(69)).is_empty());
        assert_eq!(
            breakers.take_looks(at(70)),
            std::slice::from_ref(&one),
            "and what waits for it is looked at meanwhile"
        );
        assert_eq!(breakers.take_probes(at(342)), std::slice::from_ref(&one));
        assert_eq!(breakers.open()[0].since, at(10));
        breakers.keep(|endpoint| *endpoint != other);
        assert_eq!(breakers.open().len(), 1, "only what is not used is forgotten");
        assert!(breakers.answered(&one));
        assert!(breakers.open().is_empty());
        for n in 0..5 {
            breakers.failed(&one, at(400 + n), None);
        }
        breakers.keep(|endpoint| *endpoint == other);
        assert!(breakers.open().is_empty() && breakers.take_probes(at(900)).is_empty());
    }

    #[test]
    fn fault_021_a_clock_that_is_set_back_puts_off_no_probe_and_no_look() {
        let breakers = Breakers::default();
        let one = endpoint("one.example");
        for _ in 0..5 {
            breakers.failed(&one, at(3_600), None);
        }
        assert!(breakers.take_probes(at(0)).is_empty() && breakers.take_looks(at(0)).is_empty());
        assert!(breakers.take_probes(at(29)).is_empty() && breakers.take_looks(at(29)).is_empty());
        assert_eq!(breakers.take_probes(at(30)), std::slice::from_ref(&one));
        assert_eq!(breakers.take_looks(at(30)), std::slice::from_ref(&one));
        // What it asked for is kept.
        breakers.failed(&one, at(3_600), Some(SignedDuration::from_secs(300)));
        assert!(breakers.take_probes(at(0)).is_empty() && breakers.take_probes(at(299)).is_empty());
        assert_eq!(breakers.take_probes(at(300)), std::slice::from_ref(&one));
    }
}
