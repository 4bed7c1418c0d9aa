//! The clock seam: everything that asks the time asks this trait, so that tests can turn it.

use jiff::Timestamp;

/// Where the present moment comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one owner of the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
