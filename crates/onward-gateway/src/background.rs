//! How the background work of this process stands. Work that falls by a fault of ours (a panic) begins again by itself; what falls again and
//! again is a person's business, for nobody looks at `/readyz` at night.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use onward_core::Clock;
use onward_core::store::StoreError;
use onward_core::store::alerts::{AlertKind, Concern};
use uuid::Uuid;

use crate::Gateway;

/// One kind of work that falls so often …
const FALLS: usize = 3;
/// … within this is a person's business, until it has not fallen for as long. Some work looks no more often than every ten minutes.
const WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// The background work of this process.
pub struct Background {
    clock: Arc<dyn Clock>,
    began: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    work: BTreeMap<&'static str, Work>,
    /// This process raised the alert that is open, as far as it knows.
    has_raised: bool,
    /// It has looked for one that an earlier process left open.
    has_inherited: bool,
}

#[derive(Default)]
struct Work {
    faults: u64,
    is_down: bool,
    /// When it fell, the last [`FALLS`] times.
    lately: VecDeque<Timestamp>,
    /// Since when it falls again and again.
    troubled: Option<Timestamp>,
}

impl Work {
    fn fell(&mut self, now: Timestamp) {
        (self.faults, self.is_down) = (self.faults + 1, true);
        self.lately.push_back(now);
        if self.lately.len() > FALLS {
            self.lately.pop_front();
        }
        if let Some(first) = self.lately.front()
            && self.lately.len() == FALLS
            && now.duration_since(*first) <= WITHIN
        {
            self.troubled.get_or_insert(*first);
        }
    }

    fn has_stood(&self, now: Timestamp) -> bool {
        !self.is_down && self.lately.back().is_none_or(|last| now.duration_since(*last) >= WITHIN)
    }
}

/// One kind of work, how often it has fallen since the start, and whether it is down.
pub type Fallen = (&'static str, u64, bool);

impl Background {
    /// That of a process which begins now.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { began: clock.now(), clock, state: Mutex::default() }
    }

    /// This kind of work begins, or begins again.
    pub fn begins(&self, name: &'static str) {
        self.lock().work.entry(name).or_default().is_down = false;
    }

    /// It fell, and is down until it begins again.
    pub fn fell(&self, name: &'static str) {
        let now = self.clock.now();
        self.lock().work.entry(name).or_default().fell(now);
    }

    /// All kinds that were begun.
    #[must_use]
    pub fn standing(&self) -> Vec<Fallen> {
        self.lock().work.iter().map(|(name, work)| (*name, work.faults, work.is_down)).collect()
    }

    /// Those that wait to begin again.
    #[must_use]
    pub fn down(&self) -> Vec<&'static str> {
        self.lock().work.iter().filter(|(_, work)| work.is_down).map(|(name, _)| *name).collect()
    }

    /// Since when some kind of work has fallen again and again; none where all that did has stood for [`WITHIN`].
    fn troubled_since(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        for work in state.work.values_mut().filter(|work| work.has_stood(now)) {
            work.troubled = None;
        }
        state.work.values().filter_map(|work| work.troubled).min()
    }

    /// What falls again and again here, and how often it has since the start.
    fn troubled(&self) -> Vec<String> {
        let state = self.lock();
        let troubled = state.work.iter().filter(|(_, work)| work.troubled.is_some());
        troubled.map(|(name, work)| format!("{name} ({} times)", work.faults)).collect()
    }

    /// An alert that was raised before this moment is this process's to clear: its own; and once, when it has stood for [`WITHIN`] since its
    /// start, what was raised before that, for the process that raised it may be the one that this takes the place of. Where it was
    /// another node's, that raises it again within the hour.
    fn clears_before(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        if state.has_raised {
            return Some(Timestamp::MAX);
        }
        let is_time = !state.has_inherited && now.duration_since(self.began) >= WITHIN;
        (is_time && state.work.values().all(|work| work.has_stood(now))).then_some(self.began)
    }

    fn raised(&self) {
        self.lock().has_raised = true;
    }

    fn cleared(&self) {
        let mut state = self.lock();
        (state.has_raised, state.has_inherited) = (false, true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole: a thread that panicked has left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    /// How the background work of this process stands.
    #[must_use]
    pub fn background(&self) -> &Arc<Background> {
        &self.background
    }

    /// Raises that work of this process falls again and again, once, or clears that; whether it is new.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(crate) async fn watch_background(&self, now: Timestamp) -> Result<bool, StoreError> {
        let kind = AlertKind::BackgroundFallen;
        let Some(since) = self.background.troubled_since(now) else {
            let Some(before) = self.background.clears_before(now) else { return Ok(false) };
            let open = self.store.alerts().await?;
            if open.iter().any(|alert| alert.concern.kind == kind && alert.raised < before)
                && self.store.clear_alert(kind, Uuid::nil(), now).await?
            {
                self.lately.over(kind, Uuid::nil());
                tracing::info!("background work has stood for an hour");
            }
            self.background.cleared();
            return Ok(false);
        };
        let work = Some(self.background.troubled().join(", "));
        let new = self.raise(Concern { work, ..self.own(kind, None, since) }).await?;
        if new {
            self.background.raised();
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that the test turns.
    struct Turned(Mutex<Timestamp>);

    impl Turned {
        fn later(&self, minutes: i64) -> Timestamp {
            let mut now = self.0.lock().expect("whole");
            *now += SignedDuration::from_mins(minutes);
            *now
        }
    }

    impl Clock for Turned {
        fn now(&self) -> Timestamp {
            *self.0.lock().expect("whole")
        }
    }

    fn background() -> (Background, Arc<Turned>) {
        let clock = Arc::new(Turned(Mutex::new(Timestamp::UNIX_EPOCH)));
        (Background::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    #[test]
    fn what_falls_three_times_within_an_hour_is_trouble_until_it_has_stood_for_one() {
        let (background, clock) = background();
        background.begins("dispatcher");
        background.begins("alerts");
        let falls = |name, after: i64| {
            let now = clock.later(after);
            background.fell(name);
            background.begins(name);
            background.troubled_since(now)
        };
        assert_eq!(falls("dispatcher", 0), None);
        assert_eq!(falls("dispatcher", 31), None);
        assert_eq!(falls("alerts", 0), None, "each kind by itself");
        assert_eq!(falls("dispatcher", 30), None, "three times, but not within an hour");
        let second = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(31);
        assert_eq!(falls("dispatcher", 29), Some(second));
        assert_eq!(background.troubled(), ["dispatcher (4 times)"]);
        assert_eq!(falls("dispatcher", 59), Some(second), "it falls on, if more rarely");
        assert_eq!(background.troubled_since(clock.later(59)), Some(second));
        assert_eq!(background.troubled_since(clock.later(1)), None);
        assert!(background.troubled().is_empty());
        assert_eq!(background.standing(), [("alerts", 1, false), ("dispatcher", 5, false)]);
    }

    #[test]
    fn what_is_down_does_not_stand() {
        let (background, clock) = background();
        for _ in 0..FALLS {
            background.fell("dispatcher");
        }
        assert_eq!(background.down(), ["dispatcher"]);
        assert!(background.troubled_since(clock.later(60)).is_some());
        background.begins("dispatcher");
        assert!(background.down().is_empty());
        assert_eq!(background.troubled_since(clock.now()), None);
    }

    #[test]
    fn a_process_clears_what_it_raised_and_once_what_was_raised_before_it_began() {
        let (background, clock) = background();
        let began = clock.now();
        assert_eq!(background.clears_before(clock.later(59)), None, "it has not stood for an hour");
        background.fell("dispatcher");
        background.begins("dispatcher");
        assert_eq!(background.clears_before(clock.later(59)), None);
        assert_eq!(background.clears_before(clock.later(1)), Some(began));
        background.cleared();
        assert_eq!(background.clears_before(clock.now()), None, "what comes later is another node's");
        background.raised();
        assert_eq!(background.clears_before(clock.now()), Some(Timestamp::MAX));
        background.cleared();
        assert_eq!(background.clears_before(clock.now()), None);
    }
}
