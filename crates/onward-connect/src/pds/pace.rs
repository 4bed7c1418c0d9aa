//! How fast PDS is asked, in which order, and when not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onward_core::directory::Asker;
use tokio::sync::Notify;
use tokio::time::Instant;

/// However long PDS asks for, it is asked again after this.
const REST_MAX: Duration = Duration::from_secs(3600);
/// While both wait, the gateway's own questions have one turn after so many of the others'.
const OTHERS: usize = 4;

/// The questions of one process take turns, so far apart that no second has more of them than PDS allows; and none goes before PDS, which was
/// busy, wants to be asked again.
///
/// Of those that wait clients take turns, however many questions each has; people who decide are as one client. What the gateway asks by
/// itself has a fifth of the turns while others wait, no less and no more.
pub(super) struct Pace {
    between: Duration,
    line: Mutex<Line>,
}

/// Where a question stands: the gateway's own apart, the others by round, in which each client has one, and by when they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    own: bool,
    round: u64,
    came: u64,
}

struct Waiting {
    asker: Asker,
    /// Told when it is the next one.
    woken: Arc<Notify>,
}

#[derive(Default)]
struct Line {
    /// The next turn is no earlier.
    next: Option<Instant>,
    /// PDS rests until then.
    rests: Option<Instant>,
    waiting: BTreeMap<Key, Waiting>,
    /// The latest round that a turn was had in.
    round: u64,
    came: u64,
    /// Turns of others since the gateway's own last, as far as they count.
    others: usize,
}

/// Of a question that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is its turn, which is taken.
    Now,
    /// It is the next one, then at the earliest.
    At(Instant),
    /// Others are before it.
    Later,
}

/// A place in the line, which is left when this is dropped.
pub(super) struct Place<'p> {
    pace: &'p Pace,
    key: Key,
    woken: Arc<Notify>,
}

impl Pace {
    /// At most so many questions a second.
    pub(super) fn of(per_second: u32) -> Self {
        Self { between: Duration::from_secs(1) / per_second.max(1), line: Mutex::default() }
    }

    /// Waits for a turn; gives for how long, and `None` when there is none in this time, which is told at once where it can be.
    pub(super) async fn turn(&self, asker: &Asker, patience: Duration) -> Option<Duration> {
        let came = Instant::now();
        let until = came + patience;
        let place = self.join(came, asker, patience)?;
        let mut waited = Duration::ZERO;
        loop {
            let now = Instant::now();
            let wake = match self.look(now, &place) {
                Look::Now => return Some(waited),
                Look::At(at) if at <= until => at,
                // PDS, which somebody else's question found busy meanwhile, asks for longer.
                Look::At(_) => return None,
                Look::Later if now >= until => return None,
                Look::Later => until,
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = place.woken.notified() => {}
            }
            waited = came.elapsed();
        }
    }

    /// A place in the line; none where, by those who wait at `now`, its turn would come later than `patience` allows.
    pub(super) fn join(&self, now: Instant, asker: &Asker, patience: Duration) -> Option<Place<'_>> {
        let mut line = self.line();
        let key = line.key(asker);
        let ahead = u32::try_from(line.ahead(key)).unwrap_or(u32::MAX);
        let at = line.earliest(now).checked_add(self.between.saturating_mul(ahead))?;
        if at.duration_since(now) > patience {
            return None;
        }
        line.came += 1;
        let woken = Arc::new(Notify::new());
        line.waiting.insert(key, Waiting { asker: asker.clone(), woken: Arc::clone(&woken) });
        Some(Place { pace: self, key, woken })
    }

    /// How a question stands at `now`.
    pub(super) fn look(&self, now: Instant, place: &Place<'_>) -> Look {
        let mut line = self.line();
        if line.first() != Some(place.key) {
            return Look::Later;
        }
        let at = line.earliest(now);
        if at > now {
            return Look::At(at);
        }
        line.waiting.remove(&place.key);
        line.others = if place.key.own { 0 } else { OTHERS.min(line.others + 1) };
        line.round = line.round.max(place.key.round);
        line.next = Some(now + self.between);
        line.wake_first();
        Look::Now
    }

    /// PDS does not want to be asked at `now`.
    #[cfg(test)]
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.line().rests.is_some_and(|until| until > now)
    }

    /// PDS asks at `now` for so much time. What it asked for before holds as well.
    pub(super) fn rest(&self, now: Instant, wish: Duration) {
        let mut line = self.line();
        line.rests = line.rests.max(Some(now + wish.min(REST_MAX)));
        // Who cannot wait for so long goes, and lets the next one see.
        line.wake_first();
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.pace.line();
        if line.waiting.remove(&self.key).is_some() {
            line.wake_first();
        }
    }
}

impl Line {
    fn earliest(&self, now: Instant) -> Instant {
        [self.next, self.rests].into_iter().flatten().fold(now, Instant::max)
    }

    /// Where a question that comes now stands: a round after its client's last, none of which has been.
    fn key(&self, asker: &Asker) -> Key {
        let own = *asker == Asker::Gateway;
        let last = self.waiting.iter().rev().find(|(_, waiting)| waiting.asker == *asker).map(|(key, _)| key.round);
        let round = if own { 0 } else { last.map_or(self.round, |last| last.max(self.round)) + 1 };
        Key { own, round, came: self.came }
    }

    /// How many turns others have before it.
    fn ahead(&self, key: Key) -> usize {
        let (own, of_others): (Vec<Key>, Vec<Key>) = self.waiting.keys().partition(|key| key.own);
        let before = |keys: &[Key]| keys.iter().filter(|other| **other < key).count();
        match key.own {
            true => before(&own) + of_others.len().min(OTHERS - self.others + OTHERS * before(&own)),
            false => before(&of_others) + own.len().min((self.others + before(&of_others)) / OTHERS),
        }
    }

    /// Whose turn is next.
    fn first(&self) -> Option<Key> {
        let of_others = self.waiting.keys().next().copied().filter(|key| !key.own);
        let own = self.waiting.range(OWN..).next().map(|(key, _)| *key);
        match (of_others, own) {
            (Some(_), Some(own)) if self.others >= OTHERS => Some(own),
            (None, own) => own,
            (of_others, _) => of_others,
        }
    }

    fn wake_first(&self) {
        if let Some(first) = self.first().and_then(|key| self.waiting.get(&key)) {
            first.woken.notify_one();
        }
    }
}

/// No place of the gateway's own is before this, and none of others' behind.
const OWN: Key = Key { own: true, round: 0, came: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn client(name: &str) -> Asker {
        Asker::Client(name.to_owned())
    }

    /// Who waits, by name, as many as find a place at `now`.
    fn join<'p>(pace: &'p Pace, now: Instant, name: &'static str, count: usize) -> Vec<(&'static str, Place<'p>)> {
        let asker = if name == "own" { Asker::Gateway } else { client(name) };
        (0..count).filter_map(|_| Some((name, pace.join(now, &asker, millis(10_000))?))).collect()
    }

    /// Lets so many have their turns, as they come, from `now` on; gives their names and moments.
    fn serve(
        pace: &Pace,
        waiting: &mut Vec<(&'static str, Place<'_>)>,
        mut now: Instant,
        count: usize,
    ) -> Vec<(&'static str, Instant)> {
        let mut served = Vec::new();
        while served.len() < count.min(served.len() + waiting.len()) {
            let mut wake = None;
            let turn = waiting.iter().position(|(_, place)| match pace.look(now, place) {
                Look::Now => true,
                Look::At(at) => {
                    wake = Some(at);
                    false
                }
                Look::Later => false,
            });
            match (turn, wake) {
                (Some(turn), _) => served.push((waiting.remove(turn).0, now)),
                (None, at) => now = at.expect("one of those who wait is the next"),
            }
        }
        served
    }

    #[test]
    fn no_second_has_more_questions_than_it_may_and_idle_time_is_not_saved_up() {
        let (pace, start) = (Pace::of(5), Instant::now());
        for now in [start, start + millis(600_000)] {
            let served = serve(&pace, &mut join(&pace, now, "a", 12), now, 12);
            let at: Vec<_> = served.iter().map(|(_, at)| at.duration_since(now).as_millis()).collect();
            assert_eq!(at, (0..12).map(|n| n * 200).collect::<Vec<u128>>());
        }
        assert_eq!(Pace::of(0).between, millis(1000), "never none at all");
    }

    #[test]
    fn who_cannot_wait_for_a_turn_has_no_place() {
        let (pace, now) = (Pace::of(2), Instant::now());
        let first = pace.join(now, &client("a"), Duration::ZERO).expect("it is free");
        assert_eq!(pace.look(now, &first), Look::Now);
        assert!(pace.join(now, &client("a"), millis(499)).is_none());
        let second = pace.join(now, &client("a"), millis(500)).expect("it is free still");
        assert_eq!(pace.look(now, &second), Look::At(now + millis(500)));
        assert!(pace.join(now, &client("a"), millis(999)).is_none(), "one is before it");
        drop(second);
        assert!(pace.join(now, &client("a"), millis(500)).is_some(), "who left is before nobody");
    }

    #[test]
    fn one_client_that_has_all_places_takes_nobody_elses_turn() {
        let (pace, now) = (Pace::of(5), Instant::now());
        let mut waiting = join(&pace, now, "flood", 1_000);
        assert_eq!(waiting.len(), 51, "as many as have a turn within ten seconds");
        for name in ["a", "b", "c"] {
            let came = join(&pace, now, name, 2);
            assert_eq!(came.len(), 2, "{name}");
            waiting.extend(came);
        }
        assert!(join(&pace, now, "flood", 1).is_empty());
        let names: Vec<_> = serve(&pace, &mut waiting, now, 9).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["flood", "a", "b", "c", "flood", "a", "b", "c", "flood"]);
        // Who comes one at a time waits for one of each of the others.
        let at = now + millis(9 * 200);
        waiting.extend(join(&pace, at, "a", 1));
        let names: Vec<_> = serve(&pace, &mut waiting, at, 3).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["flood", "a", "flood"]);
    }

    #[test]
    fn two_that_flood_have_the_same() {
        let (pace, now) = (Pace::of(5), Instant::now());
        let mut waiting = join(&pace, now, "a", 100);
        waiting.extend(join(&pace, now, "b", 100));
        let served = serve(&pace, &mut waiting, now, 40);
        assert_eq!(served.iter().filter(|(name, _)| *name == "b").count(), 20);
    }

    #[test]
    fn the_gateways_own_questions_have_a_fifth_no_less_and_no_more() {
        let (pace, now) = (Pace::of(5), Instant::now());
        let mut waiting = join(&pace, now, "a", 30);
        waiting.extend(join(&pace, now, "b", 30));
        waiting.extend(join(&pace, now, "own", 1_000));
        assert_eq!(waiting.iter().filter(|(name, _)| *name == "own").count(), 10, "ten seconds have so many");
        let served = serve(&pace, &mut waiting, now, 50);
        let own: Vec<_> = served.iter().map(|(name, _)| *name == "own").collect();
        assert!(own.chunks(5).all(|five| five == [false, false, false, false, true]), "{own:?}");
        // They take whatever nobody else wants, and then nobody waits for more than one of them.
        waiting.retain(|(name, _)| *name == "own");
        let at = now + millis(10_000);
        waiting.extend(join(&pace, at, "own", 20));
        assert!(serve(&pace, &mut waiting, at, 3).iter().all(|(name, _)| *name == "own"));
        waiting.extend(join(&pace, at + millis(600), "a", 1));
        assert_eq!(serve(&pace, &mut waiting, at + millis(600), 1)[0].0, "a");
    }

    #[test]
    fn what_pds_asked_for_of_one_question_holds_for_all_and_an_hour_at_most() {
        let (pace, now) = (Pace::of(10), Instant::now());
        pace.rest(now, millis(5_000));
        pace.rest(now, millis(1_000));
        assert!(pace.join(now, &client("a"), millis(4_999)).is_none());
        let first = pace.join(now, &client("a"), millis(5_000)).expect("patient");
        assert_eq!(pace.look(now, &first), Look::At(now + millis(5_000)));
        assert!(pace.join(now, &client("b"), millis(5_099)).is_none(), "not all at once then");
        assert!(pace.rests(now + millis(4_999)) && !pace.rests(now + millis(5_000)));
        pace.rest(now, Duration::MAX);
        assert!(pace.rests(now + REST_MAX - millis(1)) && !pace.rests(now + REST_MAX));
    }

    #[tokio::test]
    async fn who_gives_up_lets_the_next_one_go_at_once() {
        let pace = Pace::of(1_000_000);
        let (now, flood) = (Instant::now(), client("flood"));
        let first = pace.join(now, &flood, REST_MAX).expect("patient");
        let asker = client("a");
        let turn = pace.turn(&asker, REST_MAX);
        let gives_up = async {
            while pace.line().waiting.len() < 2 {
                tokio::task::yield_now().await;
            }
            drop(first);
        };
        assert!(tokio::join!(turn, gives_up).0.is_some());
        assert!(pace.line().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_cannot_wait_as_long_as_pds_asks_for_is_told_at_once() {
        let (pace, asker) = (Pace::of(1), client("a"));
        assert_eq!(pace.turn(&asker, Duration::ZERO).await, Some(Duration::ZERO));
        assert_eq!(pace.turn(&asker, Duration::ZERO).await, None);
        let rests = async { pace.rest(Instant::now(), REST_MAX) };
        let (minute, own) = (millis(60_000), Asker::Gateway);
        let (one, other, ()) = tokio::join!(pace.turn(&asker, minute), pace.turn(&own, minute), rests);
        assert_eq!((one, other), (None, None));
        assert!(pace.line().waiting.is_empty(), "who has no turn keeps no place");
    }
}
