//! One node at a time reads our mailbox, as often as MESH allows: "MUST poll … a maximum of once every five minutes", unless more messages
//! wait (MESH API, Check an inbox). Whose turn it is stands in the store; a node that dies leaves it to another.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onward_core::store::StoreError;
use onward_core::transport::Mailbox;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Seen;
use crate::Gateway;
use crate::again::by_chance;
use crate::rounds;

/// Under this name the store keeps whose turn it is, and the second in which the mailbox was listed last.
const TURN: &str = "mesh-inbox";
/// A turn outlasts the time between two looks by this at most.
const SLACK: Duration = Duration::from_secs(60);
/// A node that has not the turn asks for it so often.
const ASKS: Duration = Duration::from_secs(30);

/// What this process knows of its turn.
pub(super) struct Turn {
    holder: u64,
    every: Duration,
    /// It had the turn when it asked last.
    ours: bool,
    asked: Instant,
}

impl Turn {
    fn lasts(&self) -> SignedDuration {
        SignedDuration::try_from(self.every + self.every.min(SLACK)).unwrap_or(SignedDuration::MAX)
    }

    /// What is left of the time between two looks, whoever made the last one.
    fn rest(&self, listed: Option<Timestamp>, now: Timestamp) -> Duration {
        let age = listed.map_or(SignedDuration::MAX, |listed| now.duration_since(listed));
        self.every.saturating_sub(age.max(SignedDuration::ZERO).unsigned_abs())
    }
}

impl Gateway {
    /// Looks into the mailbox every `every`, while it is this node's turn, until `stop` turns true; at once again while more waits there than
    /// MESH lists. Returns at once without a mailbox.
    pub async fn poll_mailbox_until(self: Arc<Self>, every: Duration, mut stop: watch::Receiver<bool>) {
        let Some(mailbox) = self.mailbox.clone() else { return };
        let mut turn = Turn { holder: by_chance(u64::MAX), every, ours: false, asked: Instant::now() };
        while !*stop.borrow() {
            let wait = self.look_in_turn(mailbox.as_ref(), &mut turn, &stop).await.unwrap_or_else(|error| {
                tracing::error!(%error, "whose turn it is to read the MESH mailbox could not be kept");
                every.min(ASKS)
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        if turn.ours {
            let now = self.clock.now();
            // Whoever comes next need not wait until our time is over.
            if let Err(error) = self.store.take_forwarding(TURN, turn.holder, now, now, 0).await {
                tracing::error!(%error, "the turn to read the MESH mailbox could not be given up");
            }
        }
    }

    /// A look, where it is our turn and time; how long to wait for the next.
    async fn look_in_turn(
        &self,
        mailbox: &dyn Mailbox,
        turn: &mut Turn,
        stop: &watch::Receiver<bool>,
    ) -> Result<Duration, StoreError> {
        let had_it = turn.ours;
        let Some(last) = self.take_turn(turn).await? else {
            let rounds = self.store.forwarding().await?;
            let last = rounds.into_iter().find(|(name, _)| name == TURN).and_then(|(_, second)| rounds::moment(second));
            self.looks.of_another(last);
            return Ok(turn.every.min(ASKS));
        };
        if !had_it {
            let last = rounds::moment(last);
            self.looks.of_another(last);
            let rest = turn.rest(last, self.clock.now());
            if !rest.is_zero() {
                return Ok(rest);
            }
        }
        match self.look_into(mailbox, Some((&mut *turn, stop))).await {
            Ok(Seen { done, more }) => {
                if done > 0 {
                    tracing::info!(count = done, "messages collected from MESH");
                }
                let second = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
                self.store.forwarded(TURN, turn.holder, second).await?;
                Ok(if more && turn.ours { Duration::ZERO } else { turn.every })
            }
            Err(error) => {
                tracing::error!(%error, "the MESH mailbox could not be read");
                Ok(turn.every)
            }
        }
    }

    /// Takes the turn, or keeps it; the second in which the mailbox was listed last.
    async fn take_turn(&self, turn: &mut Turn) -> Result<Option<u64>, StoreError> {
        let now = self.clock.now();
        turn.asked = Instant::now();
        let taken = self.store.take_forwarding(TURN, turn.holder, now, now + turn.lasts(), 0).await?;
        turn.ours = taken.is_some();
        Ok(taken)
    }

    /// Whether a look may go on; one that finds much lasts longer than a turn.
    pub(super) async fn keeps_turn(&self, turn: &mut Turn) -> bool {
        if turn.asked.elapsed() < turn.every / 2 {
            return true;
        }
        // What cannot be asked changes nothing: whatever is dealt with twice has one effect.
        self.take_turn(turn).await.map_or(true, |taken| taken.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_outlasts_a_look_and_whoever_takes_it_over_waits_for_the_rest() {
        let mut turn = Turn { holder: 1, every: Duration::from_secs(300), ours: false, asked: Instant::now() };
        assert_eq!(turn.lasts(), SignedDuration::from_secs(360));
        let (start, seconds) = (Timestamp::UNIX_EPOCH, Duration::from_secs);
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        assert_eq!(turn.rest(None, start), Duration::ZERO, "nobody has looked yet");
        assert_eq!([0, 100, 300, 900].map(|age| turn.rest(Some(start), after(age))), [300, 200, 0, 0].map(seconds));
        assert_eq!(turn.rest(Some(after(60)), start), seconds(300), "a clock that goes before waits no longer");
        turn.every = Duration::from_secs(1);
        assert_eq!(turn.lasts(), SignedDuration::from_secs(2));
    }
}
