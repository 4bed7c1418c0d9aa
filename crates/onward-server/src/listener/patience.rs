//! How long a connection may stay: without requests, in all, and while its peer does not take what it asked for. HTTP/2 asks for more than
//! hyper's timers give: a peer that answers every ping keeps a connection for ever, and one that opens no window keeps an answer.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::config::Server;

/// Writes of fewer bytes are pings, settings and windows, and no content.
const EARNEST_BYTES: usize = 1024;

/// How long a connection may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without a request; then an orderly end.
    pub idle: Duration,
    /// In all; then an orderly end, for which what is under way gets half a minute.
    pub age: Duration,
    /// While the peer takes nothing of what is to be written; then it is cut off.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), age: Duration::from_secs(3_600), stall: Duration::from_secs(30) }
    }
}

impl Patience {
    /// As configured.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Self {
            idle: seconds(server.connection_idle_seconds),
            age: seconds(server.connection_seconds_max),
            stall: seconds(server.write_stall_seconds),
        }
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Idle,
    Old,
    Stalled,
}

/// What goes on on one connection.
pub(super) struct Pulse {
    pub(super) patience: Patience,
    began: Instant,
    beats: Mutex<Beats>,
}

struct Beats {
    /// The exchanges under way, and since when each has had something that the peer does not fetch.
    open: HashMap<u64, Option<Instant>>,
    next: u64,
    /// When an exchange began or ended.
    last: Instant,
    /// When content was last written.
    written: Instant,
    /// Since when the connection takes no bytes.
    blocked: Option<Instant>,
}

impl Pulse {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        let now = Instant::now();
        let beats = Beats { open: HashMap::new(), next: 0, last: now, written: now, blocked: None };
        Arc::new(Self { patience, began: now, beats: Mutex::new(beats) })
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().expect("no holder of it panics")
    }

    /// A request has come; it is under way until the exchange is dropped.
    pub(super) fn exchange(self: &Arc<Self>) -> Exchange {
        let mut beats = self.beats();
        let id = beats.next;
        beats.next += 1;
        beats.last = Instant::now();
        beats.open.insert(id, None);
        Exchange { id, pulse: Arc::clone(self) }
    }

    /// What became of a write or flush of so many bytes.
    pub(super) fn wrote<T>(&self, polled: &Poll<std::io::Result<T>>, bytes: usize) {
        let mut beats = self.beats();
        match polled {
            Poll::Pending => {
                beats.blocked.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => {
                beats.blocked = None;
                if bytes >= EARNEST_BYTES {
                    beats.written = Instant::now();
                }
            }
        }
    }

    /// Why the connection has to end now, if it has to.
    fn over(&self, now: Instant) -> Option<Over> {
        let Patience { idle, age, stall } = self.patience;
        let long = |since: Instant, span: Duration| now.duration_since(since) >= span;
        let beats = self.beats();
        let unfetched = beats.open.values().flatten().min().is_some_and(|since| long(*since, stall));
        if beats.blocked.is_some_and(|since| long(since, stall)) || (unfetched && long(beats.written, stall)) {
            return Some(Over::Stalled);
        }
        if long(self.began, age) {
            return Some(Over::Old);
        }
        (beats.open.is_empty() && long(beats.last.max(beats.written), idle)).then_some(Over::Idle)
    }

    /// Comes back when the connection has to end; a quarter of the shorter span late at most.
    pub(super) async fn ends(&self) -> Over {
        let mut look =
            tokio::time::interval((self.patience.idle.min(self.patience.stall) / 4).max(Duration::from_millis(1)));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = look.tick().await;
            if let Some(over) = self.over(now) {
                return over;
            }
        }
    }
}

/// One request and its answer.
pub(super) struct Exchange {
    id: u64,
    pulse: Arc<Pulse>,
}

impl Exchange {
    /// Whether the peer has to fetch something, from now on.
    fn has_to_fetch(&self, it_has: bool) {
        self.pulse.beats().open.insert(self.id, it_has.then(Instant::now));
    }

    /// The answer, watched until it has gone.
    pub(super) fn watch(self, body: Body) -> Watched {
        self.has_to_fetch(true);
        Watched { body, exchange: self }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut beats = self.pulse.beats();
        beats.open.remove(&self.id);
        beats.last = Instant::now();
    }
}

/// The body of an answer. It is asked for its next part when the peer can take one.
pub(super) struct Watched {
    body: Body,
    exchange: Exchange,
}

impl HttpBody for Watched {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // What has to be waited for is ours.
        self.exchange.has_to_fetch(matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
