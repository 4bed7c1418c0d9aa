//! One question to PDS: for whom it is asked, and whether it left this machine.

use std::sync::atomic::{AtomicBool, Ordering};

/// For whom PDS is asked, which decides whose turn is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// A client's message, by the client's identifier.
    Client(String),
    /// People who decide about holds, all of them together.
    Person,
    /// The gateway itself, which looks again at what waits.
    Gateway,
}

/// A question, which may become several requests.
#[derive(Debug)]
pub struct Question {
    asker: Asker,
    left: AtomicBool,
}

impl Question {
    /// One that has not left.
    #[must_use]
    pub const fn of(asker: Asker) -> Self {
        Self { asker, left: AtomicBool::new(false) }
    }

    /// For whom it is asked.
    #[must_use]
    pub const fn asker(&self) -> &Asker {
        &self.asker
    }

    /// It leaves this machine. Whoever asks says so before: what was not said to leave is told as not asked.
    pub fn leaves(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Whether any of it has left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}
