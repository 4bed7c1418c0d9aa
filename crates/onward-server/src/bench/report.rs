//! What was measured, and how the whole compares with its parts.

use std::time::Duration;

use onward_core::store::Flaw;
use serde_json::{Value, json};

/// One load.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Messages taken.
    pub count: usize,
    /// In this time.
    pub time: Duration,
    /// Half of the answers took no longer.
    pub median: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// CPU time of the server.
    pub cpu: Duration,
    /// So many answers were 503, and their clients came again.
    pub again: usize,
}

impl Measured {
    pub(super) fn new(mut waits: Vec<Duration>, time: Duration, cpu: Duration) -> Self {
        waits.sort_unstable();
        let at = |hundredths: usize| waits.get((waits.len() * hundredths / 100).min(waits.len().saturating_sub(1)));
        let (median, p99) = (at(50).copied().unwrap_or_default(), at(99).copied().unwrap_or_default());
        Self { count: waits.len(), time, median, p99, cpu, again: 0 }
    }

    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        ratio(self.count, self.time.as_secs_f64())
    }

    /// CPU milliseconds of the server for a message.
    #[must_use]
    pub fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / to_f64(self.count.max(1))
    }
}

/// A load with what it was.
#[derive(Debug, Clone)]
pub struct Load {
    /// Size of a message without PDF, thousands of bytes.
    pub kilobytes: usize,
    /// Clients side by side.
    pub clients: usize,
    /// What was measured.
    pub measured: Measured,
}

/// The yardsticks for messages of one size.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Size of a message without PDF, thousands of bytes.
    pub kilobytes: usize,
    /// The same TLS server, which only answers.
    pub answer: Measured,
    /// nginx before it.
    pub proxied: Option<Measured>,
    /// CPU time of preparing a message.
    pub prepare: Duration,
    /// CPU time of a transaction of the raw store.
    pub store: Duration,
    /// Transactions of the raw store.
    pub transactions: u32,
    /// In this time.
    pub elapsed: Duration,
}

impl Parts {
    /// What a message must at least cost, CPU milliseconds.
    #[must_use]
    pub fn floor_ms(&self) -> f64 {
        self.answer.cpu_ms() + (self.prepare + self.store).as_secs_f64() * 1e3
    }
}

/// Copies that left.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// How many.
    pub copies: u64,
    /// How many were still queued when patience ended.
    pub left: u64,
    /// In this time.
    pub time: Duration,
    /// CPU time of the server.
    pub cpu: Duration,
    /// Those among them, and attempts before, that were pushed over TLS; the others were placed in inboxes.
    pub pushed: u64,
}

/// `fsck` over everything that was taken in.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Messages in the store.
    pub messages: u64,
    /// How long it took.
    pub time: Duration,
    /// What does not add up.
    pub flaws: Vec<Flaw>,
}

impl Checked {
    /// Seconds for 100,000 messages, as these took.
    #[must_use]
    pub fn seconds_for_100_000(&self) -> f64 {
        self.time.as_secs_f64() * 1e5 / to_f64(usize::try_from(self.messages).unwrap_or(usize::MAX).max(1))
    }
}

/// One store.
#[derive(Debug, Clone)]
pub struct Report {
    /// `sqlite` or `postgresql`.
    pub store: &'static str,
    /// The loads.
    pub loads: Vec<Load>,
    /// The yardsticks by size.
    pub parts: Vec<Parts>,
    /// Deliveries.
    pub delivered: Delivered,
    /// The most memory that the server ever had, bytes.
    pub peak_bytes: u64,
    /// Whether everything adds up afterwards.
    pub checked: Checked,
}

impl Report {
    /// How often a load costs what its parts cost, in CPU time.
    #[must_use]
    pub fn of_parts(&self, load: &Load) -> Option<f64> {
        let parts = self.parts.iter().find(|parts| parts.kilobytes == load.kilobytes)?;
        Some(load.measured.cpu_ms() / parts.floor_ms().max(f64::MIN_POSITIVE))
    }

    /// How often a load costs what nginx spends on handing the same messages on, in CPU time; `None` where that was not measured.
    #[must_use]
    pub fn of_nginx(&self, load: &Load) -> Option<f64> {
        let parts = self.parts.iter().find(|parts| parts.kilobytes == load.kilobytes)?;
        Some(load.measured.cpu_ms() / parts.proxied.as_ref()?.cpu_ms().max(f64::MIN_POSITIVE))
    }

    /// How often a delivery costs what nginx spends on handing a message on, in CPU time; of all sizes as they were accepted. `None` where that was
    /// not measured.
    #[must_use]
    pub fn delivery_of_nginx(&self) -> Option<f64> {
        let (mut spent, mut count) = (0.0, 0.0);
        for load in &self.loads {
            let parts = self.parts.iter().find(|parts| parts.kilobytes == load.kilobytes)?;
            let accepted = to_f64(load.measured.count);
            spent += parts.proxied.as_ref()?.cpu_ms() * accepted;
            count += accepted;
        }
        Some(self.delivered.cpu_ms() * count / f64::max(spent, f64::MIN_POSITIVE))
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let loads = self.loads.iter().map(|load| {
            let Measured { count, time, median, p99, again, .. } = &load.measured;
            json!({
                "kilobytes": load.kilobytes, "clients": load.clients, "accepted": count, "seconds": time.as_secs_f64(),
                "come_again": again, "accepted_per_second": load.measured.rate(), "p50_ms": ms(*median), "p99_ms": ms(*p99),
                "cpu_ms": load.measured.cpu_ms(), "of_parts": self.of_parts(load), "of_nginx": self.of_nginx(load),
            })
        });
        let parts = self.parts.iter().map(|parts| {
            json!({
                "kilobytes": parts.kilobytes, "answer_cpu_ms": parts.answer.cpu_ms(), "answers_per_second": parts.answer.rate(),
                "prepare_cpu_ms": ms(parts.prepare), "store_cpu_ms": ms(parts.store),
                "store_per_second": f64::from(parts.transactions) / parts.elapsed.as_secs_f64(), "floor_cpu_ms": parts.floor_ms(),
                "nginx_cpu_ms": parts.proxied.as_ref().map(Measured::cpu_ms),
            })
        });
        let Delivered { copies, left, time, cpu, pushed } = &self.delivered;
        json!({
            "store": self.store, "loads": loads.collect::<Vec<_>>(), "parts": parts.collect::<Vec<_>>(),
            "deliveries": {
                "copies": copies, "left": left, "seconds": time.as_secs_f64(), "per_second": self.delivered.rate(),
                "cpu_ms": self.delivered.cpu_ms(), "of_nginx": self.delivery_of_nginx(), "pushed": pushed,
            },
            "peak_bytes": self.peak_bytes, "deliveries_cpu_seconds": cpu.as_secs_f64(),
            "fsck": {
                "messages": self.checked.messages, "seconds": self.checked.time.as_secs_f64(),
                "seconds_for_100000": self.checked.seconds_for_100_000(), "flaws": self.checked.flaws.len(),
            },
        })
    }
}

impl Delivered {
    /// Copies a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        ratio(usize::try_from(self.copies).unwrap_or(usize::MAX), self.time.as_secs_f64())
    }

    /// CPU milliseconds of the server for a copy.
    #[must_use]
    pub fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / to_f64(usize::try_from(self.copies).unwrap_or(usize::MAX).max(1))
    }
}

fn ratio(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { to_f64(count) / seconds } else { 0.0 }
}

/// Counts of a benchmark are far below what a float holds exactly.
fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_waited() {
        let waits = (1..=200).map(Duration::from_millis).collect();
        let measured = Measured::new(waits, Duration::from_secs(4), Duration::from_secs(1));
        assert_eq!((measured.median, measured.p99), (Duration::from_millis(101), Duration::from_millis(199)));
        assert!((measured.rate() - 50.0).abs() < 1e-9 && (measured.cpu_ms() - 5.0).abs() < 1e-9);
        let none = Measured::new(Vec::new(), Duration::ZERO, Duration::ZERO);
        assert_eq!((none.count, none.median), (0, Duration::ZERO));
        assert!(none.rate().abs() < 1e-9);
    }
}
