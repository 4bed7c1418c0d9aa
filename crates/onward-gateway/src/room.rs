//! Room for large messages that are taken in at once: together they have a bound, so that memory has one.
//!
//! Nobody waits in it for anything but processors and our own store: what PDS and the scanner say of a large message is asked outside
//! ([`crate::beforehand`]), so that a partner that is slow holds nobody's room.

use std::time::Duration;

use onward_core::store::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Large messages that are taken in at once have so many kilobytes together. Each takes about ten times its size in memory until it is
/// committed: its copies and their pages. More would not be faster, as reading and rendering wait for processors.
const KILOBYTES_AT_ONCE: u32 = 4_000;
/// Smaller ones need no room: a hundred of them together are not much, and they never wait for large ones.
const LARGE_KILOBYTES: u32 = 256;
/// How long a large one waits for room, before it is read and again before its copies are made: whoever sends it is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The room.
pub(crate) struct Room {
    kilobytes: Semaphore,
    wait_max: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Self::with_patience(WAIT_MAX)
    }
}

impl Room {
    fn with_patience(wait_max: Duration) -> Self {
        Self { kilobytes: Semaphore::new(KILOBYTES_AT_ONCE as usize), wait_max }
    }

    /// Whether a message of so many bytes needs room.
    pub(crate) fn is_needed_for(bytes: usize) -> bool {
        kilobytes(bytes) >= LARGE_KILOBYTES
    }

    /// Room for a large message, in the order in which they came; the largest has it alone.
    ///
    /// # Errors
    /// When there is none in time.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, StoreError> {
        if !Self::is_needed_for(bytes) {
            return Ok(None);
        }
        let room = self.kilobytes.acquire_many(kilobytes(bytes).min(KILOBYTES_AT_ONCE));
        match tokio::time::timeout(self.wait_max, room).await {
            Ok(room) => Ok(Some(room.expect("it is never closed"))),
            Err(_) => {
                Err(StoreError::Unavailable("too many large messages are being taken in: send it again".to_owned()))
            }
        }
    }

    /// Kilobytes of large messages that are in it.
    pub(crate) fn taken(&self) -> u64 {
        (KILOBYTES_AT_ONCE as usize - self.kilobytes.available_permits()) as u64
    }
}

fn kilobytes(bytes: usize) -> u32 {
    u32::try_from(bytes / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_messages_share_a_bound_and_small_ones_need_no_room() {
        let room = Room::with_patience(Duration::from_millis(50));
        let first = room.enter(1_900_000).await.expect("room");
        let second = room.enter(2_000_000).await.expect("room");
        assert!(first.is_some() && second.is_some());
        assert_eq!(room.taken(), 3_900);
        assert!(matches!(room.enter(300_000).await, Err(StoreError::Unavailable(_))), "503, not a heap that grows");
        assert_eq!(room.enter(255_999).await.map(|room| room.is_none()), Ok(true), "and it does not wait");
        drop(first);
        assert!(room.enter(300_000).await.is_ok());
    }

    #[tokio::test]
    async fn the_largest_has_it_alone_and_whoever_came_first_goes_first() {
        let room = Room::with_patience(Duration::from_secs(60));
        let inside = room.enter(1_000_000).await.expect("room");
        let mut alone = Box::pin(room.enter(50_000_000));
        let mut later = Box::pin(room.enter(300_000));
        let pending = std::future::poll_fn(|cx| {
            let (alone, later) = (alone.as_mut().poll(cx), later.as_mut().poll(cx));
            std::task::Poll::Ready(alone.is_pending() && later.is_pending())
        });
        assert!(pending.await, "what would fit waits behind what came before it");
        drop(inside);
        let alone = alone.await.expect("room");
        assert_eq!(room.taken(), u64::from(KILOBYTES_AT_ONCE));
        drop(alone);
        assert!(later.await.is_ok());
        assert_eq!(room.taken(), 0);
    }
}
