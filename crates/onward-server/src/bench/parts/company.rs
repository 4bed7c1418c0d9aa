//! Work beside what is measured, so that no core is idle; what it costs itself is known and taken off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::ClockId;

use super::cpu_of;

/// Threads that keep all cores but one busy.
pub(super) struct Company {
    threads: Vec<(Arc<AtomicU64>, JoinHandle<()>)>,
    leave: Arc<AtomicBool>,
}

impl Company {
    /// They read these messages again and again.
    pub(super) fn of(messages: &[Bytes]) -> Self {
        let leave = Arc::new(AtomicBool::new(false));
        let threads = (1..cores()).map(|_| {
            let (spent, leave, messages) = (Arc::new(AtomicU64::new(0)), Arc::clone(&leave), messages.to_vec());
            let tells = Arc::clone(&spent);
            let thread = std::thread::spawn(move || {
                for message in messages.iter().cycle() {
                    if leave.load(Ordering::Relaxed) {
                        return;
                    }
                    let _ = std::hint::black_box(serde_json::from_slice::<serde_json::Value>(message));
                    let nanos = cpu_of(ClockId::ThreadCPUTime).as_nanos();
                    tells.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            });
            (spent, thread)
        });
        Self { threads: threads.collect(), leave }
    }

    /// Their CPU time so far, but for the message that each is reading.
    pub(super) fn spent(&self) -> Duration {
        self.threads.iter().map(|(spent, _)| Duration::from_nanos(spent.load(Ordering::Relaxed))).sum()
    }

    /// Ends them.
    pub(super) fn leave(self) {
        self.leave.store(true, Ordering::Relaxed);
        for (_, thread) in self.threads {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
