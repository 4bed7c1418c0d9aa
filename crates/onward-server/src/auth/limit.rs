//! How much one client may ask for: so many requests a minute, and so many at once. Each has its own share, so that one
//! that runs away leaves the others theirs. Only registered clients are counted, so that strangers cannot fill the memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

use crate::config::Config;

/// What a client did not use of the last seconds it may use at once.
const BURST: SignedDuration = SignedDuration::from_secs(10);

/// What is left to each client.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Between two requests of a client that asks evenly.
    interval: SignedDuration,
    at_once: u32,
    clients: Arc<Mutex<HashMap<String, Share>>>,
}

#[derive(Debug)]
struct Share {
    /// The moment up to which the share is used (the generic cell rate algorithm of ATM's traffic control).
    used_up_to: Timestamp,
    open: u32,
}

/// One request that is being answered, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    client: String,
    clients: Arc<Mutex<HashMap<String, Share>>>,
}

/// The client has used its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// When to ask again.
    pub(crate) retry_after_seconds: i64,
}

impl Limits {
    /// As configured.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        let server = &config.server;
        Self::of(server.client_requests_per_minute, server.client_requests_at_once)
    }

    fn of(per_minute: u32, at_once: u32) -> Self {
        let interval = SignedDuration::from_nanos(60_000_000_000 / i64::from(per_minute.max(1)));
        Self { interval, at_once: at_once.max(1), clients: Arc::default() }
    }

    /// Takes one request of a client's share.
    ///
    /// # Errors
    /// [`TooMany`], with the wait.
    pub(crate) fn take(&self, client: &str, now: Timestamp) -> Result<Turn, TooMany> {
        let mut clients = self.clients.lock().expect("no holder of it panics");
        let share = clients.entry(client.to_owned()).or_insert(Share { used_up_to: now, open: 0 });
        let used_up_to = share.used_up_to.max(now);
        let ahead = used_up_to.duration_since(now);
        if ahead > BURST {
            return Err(TooMany { retry_after_seconds: (ahead - BURST).as_secs() + 1 });
        }
        if share.open >= self.at_once {
            return Err(TooMany { retry_after_seconds: 1 });
        }
        share.used_up_to = used_up_to.checked_add(self.interval).unwrap_or(used_up_to);
        share.open += 1;
        Ok(Turn { client: client.to_owned(), clients: Arc::clone(&self.clients) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut clients = self.clients.lock().expect("no holder of it panics");
        if let Some(share) = clients.get_mut(&self.client) {
            share.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_795_000_000_000 + milliseconds).expect("in range")
    }

    #[test]
    fn a_client_has_its_rate_and_what_it_saved_up() {
        let limits = Limits::of(60, 10_000);
        let taken = (0..100).filter(|_| limits.take("one", at(0)).is_ok()).count();
        assert_eq!(taken, 11, "ten seconds' worth, and the one that is due");
        assert_eq!(limits.take("one", at(0)).expect_err("used"), TooMany { retry_after_seconds: 2 });
        assert!(limits.take("other", at(0)).is_ok(), "each has its own");
        assert!(limits.take("one", at(1_000)).is_ok());
        assert!(limits.take("one", at(1_500)).is_err(), "one a second");
        let later = (0..100).filter(|_| limits.take("one", at(3_600_000)).is_ok()).count();
        assert_eq!(later, 11, "an hour's silence saves up no more");
        assert!(limits.take("one", at(3_500_000)).is_err(), "a clock that goes back gives nothing");
    }

    #[test]
    fn a_client_has_so_many_at_once() {
        let limits = Limits::of(6_000, 2);
        let (first, second) = (limits.take("one", at(0)), limits.take("one", at(0)));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(limits.take("one", at(0)).expect_err("two are open"), TooMany { retry_after_seconds: 1 });
        assert!(limits.take("other", at(0)).is_ok());
        drop(first);
        assert!(limits.take("one", at(0)).is_ok(), "what is answered counts no more");
    }
}
