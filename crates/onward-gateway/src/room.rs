//! Room for large messages that are taken in at once: together they have a bound, so that memory has one.
//!
//! Before them is the place of bodies: whoever has been read, or is being read, waits in it for its turn, and others are not read meanwhile. Their
//! senders keep their bytes. A sender that takes its time has its place for a few seconds, and then none.
//!
//! There are two rooms. In the first nobody waits for anything but processors and our own store: what PDS and the scanner say of a large
//! message is asked outside ([`crate::beforehand`]), so that a partner that is slow holds nobody's room. The second bounds those whose
//! decoded attachments the scanner has: a scanner that is slow holds up those alone whom it is asked about.

use std::time::Duration;

use std::sync::Arc;

use onward_core::store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Large messages that are taken in at once have so many kilobytes together for each processor, from two to eight of them. Each takes about ten
/// times its size in memory until its copies and their pages are packed. More would not be faster, as reading and rendering wait for processors.
const KILOBYTES_OF_A_PROCESSOR: u32 = 1_500;
/// The share of its room that a message keeps while it waits for its commit, packed: about twice its size in memory.
const PACKED: usize = 5;
/// Large messages that are with the scanner at once have so many kilobytes together; what is decoded of one is up to a third more than its
/// bytes. Since most of them wait there, they are more than are made copies of at once.
const KILOBYTES_SCANNED_AT_ONCE: u32 = 16_000;
/// The bodies of large messages that are read, or wait for their first turn, have so many kilobytes together: enough for the next ones to be there
/// when there is room. Without it all that many senders send at once would wait in memory.
const KILOBYTES_OF_BODIES: u32 = 6_000;
/// Smaller ones need no room: a hundred of them together are not much, and they never wait for large ones.
const LARGE_KILOBYTES: u32 = 256;
/// How long a large one waits for room, before it is read and again before its copies are made: whoever sends it is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Where the body of a large message waits for its turn. It ends with this value.
#[derive(Debug, Default)]
pub struct Place(Option<OwnedSemaphorePermit>);

impl Place {
    pub(crate) fn of(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(permit)
    }

    /// Gives it to whoever comes next.
    pub fn leave(&mut self) {
        self.0 = None;
    }
}

/// A room.
pub(crate) struct Room {
    kilobytes: Arc<Semaphore>,
    bound: u32,
    wait_max: Duration,
}

impl Room {
    /// The room in which messages are read and their copies made.
    pub(crate) fn of_makers() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
        Self::with_patience(KILOBYTES_OF_A_PROCESSOR * u32::try_from(processors).unwrap_or(2), WAIT_MAX)
    }

    /// The room of those that are with the scanner.
    pub(crate) fn of_scanning() -> Self {
        Self::with_patience(KILOBYTES_SCANNED_AT_ONCE, WAIT_MAX)
    }

    /// The room of bodies that wait for the others.
    pub(crate) fn of_bodies() -> Self {
        Self::with_patience(KILOBYTES_OF_BODIES, WAIT_MAX)
    }

    fn with_patience(bound: u32, wait_max: Duration) -> Self {
        Self { kilobytes: Arc::new(Semaphore::new(bound as usize)), bound, wait_max }
    }

    /// Whether a message of so many bytes needs room.
    pub(crate) fn is_needed_for(bytes: usize) -> bool {
        kilobytes(bytes) >= LARGE_KILOBYTES
    }

    /// Room for a large message, in the order in which they came; the largest has it alone.
    ///
    /// # Errors
    /// When there is none in time.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, StoreError> {
        if !Self::is_needed_for(bytes) {
            return Ok(None);
        }
        let room = Arc::clone(&self.kilobytes).acquire_many_owned(kilobytes(bytes).min(self.bound));
        match tokio::time::timeout(self.wait_max, room).await {
            Ok(room) => Ok(Some(room.expect("it is never closed"))),
            Err(_) => {
                Err(StoreError::Unavailable("too many large messages are being taken in: send it again".to_owned()))
            }
        }
    }

    /// Takes out of a message's room what it needs no longer once it is packed.
    pub(crate) fn until_packed(room: &mut OwnedSemaphorePermit) -> Option<OwnedSemaphorePermit> {
        room.split(room.num_permits() - room.num_permits() / PACKED)
    }

    /// Kilobytes of large messages that are in it.
    pub(crate) fn taken(&self) -> u64 {
        (self.bound as usize - self.kilobytes.available_permits()) as u64
    }
}

fn kilobytes(bytes: usize) -> u32 {
    u32::try_from(bytes / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u32 = 4_000;

    #[tokio::test]
    async fn large_messages_share_a_bound_and_small_ones_need_no_room() {
        let room = Room::with_patience(BOUND, Duration::from_millis(50));
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
    async fn what_waits_for_its_commit_leaves_room_for_others() {
        let room = Room::with_patience(BOUND, Duration::from_millis(50));
        let mut first = room.enter(4_000_000).await.expect("room").expect("it is large");
        let making = Room::until_packed(&mut first);
        assert_eq!(room.taken(), 4_000, "nothing is free while it is made");
        drop(making);
        assert_eq!(room.taken(), 800);
        let second = room.enter(3_200_000).await.expect("room");
        assert!(
            matches!(room.enter(300_000).await, Err(StoreError::Unavailable(_))),
            "what waits has its bound as well"
        );
        drop((first, second));
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test]
    async fn those_with_the_scanner_have_a_bound_of_their_own() {
        let (makers, scanning) = (Room::of_makers(), Room::of_scanning());
        let first = scanning.enter(15_900_000).await.expect("room");
        let mut second = Box::pin(scanning.enter(300_000));
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending()));
        assert!(waits.await, "no more is decoded than fits");
        assert!(scanning.taken() <= u64::from(KILOBYTES_SCANNED_AT_ONCE));
        assert!(makers.enter(4_000_000).await.is_ok(), "and nobody's reading waits for the scanner");
        drop(first);
        assert!(second.await.is_ok());
        assert_eq!(scanning.taken(), 0);
    }

    #[tokio::test]
    async fn the_largest_has_it_alone_and_whoever_came_first_goes_first() {
        let room = Room::with_patience(BOUND, Duration::from_secs(60));
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
        assert_eq!(room.taken(), u64::from(BOUND));
        drop(alone);
        assert!(later.await.is_ok());
        assert_eq!(room.taken(), 0);
    }
}
