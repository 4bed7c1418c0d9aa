//! What is held because PDS could not be asked is looked at again: nobody has to notice that PDS answers again. In the same rhythm PDS is
//! asked again about whom their own practice does not have ([`Gateway::retrace`]).

use std::sync::Arc;
use std::time::Duration;

use onward_core::state::HoldReason;
use onward_core::store::StoreError;
use tokio::sync::watch;

use crate::Gateway;
use crate::holds::Released;

/// Shortest time between two looks, seconds. As much again at most is added by chance, so that nodes do not ask together.
const EVERY_SECONDS: u64 = 120;
/// Transfers that are looked at in one go.
const AT_ONCE: usize = 50;
/// After so many in a row that PDS gives no answer about, it is left alone till the next look.
const IN_VAIN: usize = 3;

impl Gateway {
    /// Looks again every few minutes until `stop` turns true, and a second later while all that are looked at in one go move on: a long
    /// outage leaves hundreds. One question at a time: what comes meanwhile has its turns between.
    pub async fn ask_again_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut goes_on = false;
        loop {
            let wait = match goes_on {
                true => Duration::from_secs(1),
                false => Duration::from_secs(EVERY_SECONDS + by_chance(EVERY_SECONDS)),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let asked = self.ask_again(&stop).await;
            goes_on = matches!(asked, Ok(AT_ONCE..));
            match asked {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "held transfers went on: PDS answers again"),
                Err(error) => tracing::error!(%error, "transfers that wait for PDS could not be looked at again"),
            }
            if let Err(error) = self.retrace(&stop).await {
                tracing::error!(%error, "copies that a practice has no person for could not be looked for");
            }
        }
    }

    /// One look; gives how many transfers PDS gave an answer about. It begins at any of them: one about whom PDS never gives an answer is
    /// not in the way of the others.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn ask_again(&self, stop: &watch::Receiver<bool>) -> Result<usize, StoreError> {
        let mut waiting = self.store.holds().await?;
        waiting.retain(|held| held.hold.reason == HoldReason::DirectoryUnavailable);
        let first = usize::try_from(by_chance(waiting.len() as u64)).unwrap_or_default();
        waiting.rotate_left(first);
        let (mut answered, mut in_vain) = (0, 0);
        for held in waiting.iter().take(AT_ONCE) {
            if *stop.borrow() || in_vain == IN_VAIN {
                break;
            }
            let looked = match self.look_again(held.hold.id, "PDS is asked again").await {
                // The others go on all the same.
                Err(StoreError::Corrupt(place)) => {
                    tracing::error!(hold = %held.hold.id, place, "what waits for PDS is unreadable");
                    continue;
                }
                looked => looked?,
            };
            match looked {
                Released::StillHeld(cause) if cause.reason == HoldReason::DirectoryUnavailable => in_vain += 1,
                // It waits as before: whoever counted it would look at it again at once, and again.
                Released::Refused(_) => in_vain = 0,
                _ => (answered, in_vain) = (answered + 1, 0),
            }
        }
        Ok(answered)
    }
}

/// A number below `bound`; 0 where there is none.
pub(crate) fn by_chance(bound: u64) -> u64 {
    let (chance, _) = uuid::Uuid::new_v4().as_u64_pair();
    chance.checked_rem(bound).unwrap_or_default()
}
