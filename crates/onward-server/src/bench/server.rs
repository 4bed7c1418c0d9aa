//! The child process that is measured.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::Command;

/// It must serve within this.
const START: Duration = Duration::from_secs(120);
/// Linux tells CPU time in hundredths of a second, whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What a process serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `onward serve`.
    Gateway,
    /// The same listener and TLS, with nothing behind: every body is read and answered with 202.
    Answer,
}

/// The process.
pub(super) struct Child(tokio::process::Child);

impl Child {
    pub(super) async fn start(mut command: Command, port: u16, what: &str) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn();
        let mut child = Self(child.with_context(|| format!("starting {what}"))?);
        let started = Instant::now();
        loop {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(child);
            }
            if let Some(status) = child.0.try_wait()? {
                anyhow::bail!("{what} ended before it served: {status}");
            }
            anyhow::ensure!(started.elapsed() < START, "{what} does not serve");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// CPU time that it has used so far.
    pub(super) fn cpu(&self) -> Duration {
        let ticks = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()?)).ok()?;
            // The name, in brackets, may hold blanks (proc(5)); user and system time are fields 14 and 15.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
            let mut next = || fields.next()?.parse::<u32>().ok();
            next()?.checked_add(next()?)
        };
        TICK * ticks().unwrap_or(0)
    }

    /// The most memory that it ever had, bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        let peak = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()?)).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        peak().unwrap_or(0) * 1024
    }

    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }
}
