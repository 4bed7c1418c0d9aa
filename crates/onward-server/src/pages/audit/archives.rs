//! Subject access archives take a processor and memory, so both have a bound: one is drawn at a time, for looks at a request as for files,
//! and few are on their way. Nobody keeps a place for ever: what is not read in time is let go of, and the connection breaks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// So long somebody waits for those before them, each of whom may have an archive drawn.
const WAIT: Duration = Duration::from_secs(30);
/// Archives that are on their way at once, the one that is drawn for a file included.
const AT_ONCE: usize = 4;
/// In so long an archive must have been read: 100 MB at a little more than a megabit a second.
const READ_WITHIN: Duration = Duration::from_secs(600);
/// What leaves of it at a time, in bytes. A part is a copy: a connection that stands still keeps that alone.
const PART: usize = 65_536;

/// The bounds of one process.
pub(crate) struct Archives {
    drawing: Arc<tokio::sync::Mutex<()>>,
    places: Arc<Semaphore>,
}

impl Default for Archives {
    fn default() -> Self {
        Self { drawing: Arc::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Archives {
    /// Held by whoever has one drawn; `None` when it takes those before them too long.
    pub(super) async fn alone(&self) -> Option<OwnedMutexGuard<()>> {
        tokio::time::timeout(WAIT, Arc::clone(&self.drawing).lock_owned()).await.ok()
    }

    /// A place for one that is to leave, before it is drawn; `None` when none becomes free in time.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = tokio::time::timeout(WAIT, Arc::clone(&self.places).acquire_owned()).await.ok()?;
        Some(place.expect("it is never closed"))
    }
}

/// What was not read in time.
#[derive(Debug, thiserror::Error)]
#[error("the archive was not read in time")]
struct NotRead;

/// An archive that leaves part by part. When it was read, when whoever reads it has gone, or when its time is over, it is gone from memory
/// and its place is free.
pub(super) fn leaving(archive: Vec<u8>, place: OwnedSemaphorePermit) -> Body {
    within(READ_WITHIN, archive, place)
}

fn within(time: Duration, archive: Vec<u8>, place: OwnedSemaphorePermit) -> Body {
    let kept = Arc::new(Mutex::new(Some((archive, place))));
    let left = Arc::downgrade(&kept);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        if let Some(kept) = left.upgrade() {
            kept.lock().expect(UNBROKEN).take();
        }
    });
    Body::from_stream(stream::try_unfold((kept, 0), |(kept, at)| async move {
        let part = match &*kept.lock().expect(UNBROKEN) {
            Some((archive, _)) => archive[at..].chunks(PART).next().map(<[u8]>::to_vec),
            None => {
                tracing::warn!("an archive was not read in time");
                return Err(NotRead);
            }
        };
        Ok(part.map(|part| {
            let next = at + part.len();
            (part, (kept, next))
        }))
    }))
}

const UNBROKEN: &str = "nobody panics while holding it";

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn few_are_on_their_way_and_whoever_comes_next_waits() {
        let archives = Archives::default();
        let mut places = Vec::new();
        for _ in 0..AT_ONCE {
            places.push(archives.place().await.expect("free"));
        }
        let mut next = Box::pin(archives.place());
        let waits = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending()));
        assert!(waits.await, "no more than fit");
        drop(places.pop());
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn one_is_drawn_at_a_time() {
        let archives = Archives::default();
        let alone = archives.alone().await.expect("free");
        let mut next = Box::pin(archives.alone());
        let waits = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(alone);
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn an_archive_leaves_whole_and_then_its_place_is_free() {
        let archives = Archives::default();
        let bytes: Vec<u8> = (0..=255).cycle().take(2 * PART + 7).collect();
        let mut parts = leaving(bytes.clone(), archives.place().await.expect("free")).into_data_stream();
        let mut read = Vec::new();
        while let Some(part) = parts.next().await {
            assert_eq!(archives.places.available_permits(), AT_ONCE - 1);
            let part = part.expect("in time");
            assert!(part.len() <= PART);
            read.extend_from_slice(&part);
        }
        drop(parts);
        assert_eq!((read == bytes, archives.places.available_permits()), (true, AT_ONCE));
        let let_go = leaving(bytes, archives.place().await.expect("free"));
        drop(let_go);
        assert_eq!(archives.places.available_permits(), AT_ONCE, "whoever goes away keeps no place");
    }

    #[tokio::test]
    async fn who_does_not_read_in_time_loses_it_and_keeps_no_place() {
        let archives = Archives::default();
        let place = archives.place().await.expect("free");
        let mut parts = within(Duration::from_millis(1), vec![0; 3 * PART], place).into_data_stream();
        let free = async {
            while archives.places.available_permits() < AT_ONCE {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(WAIT, free).await.expect("nobody reads it");
        assert!(parts.next().await.expect("told").is_err(), "a part is not taken for the whole");
    }
}
