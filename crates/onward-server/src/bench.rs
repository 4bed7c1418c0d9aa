//! `onward bench`: what this machine takes in and sends on, for sizing. A real server with TLS and sign-in runs in a child process;
//! what it must at least do is measured in the same run: the same TLS server that only answers, preparing a message, and the raw
//! store doing the same transactions. Everything is on this machine and fictitious, and is removed at the end;
//! a PostgreSQL database is left full.

pub(crate) mod answer;
mod load;
mod messages;
mod parts;
mod proxy;
mod report;
mod server;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::Command;
use url::Url;

pub use report::{Checked, Delivered, Load, Measured, Parts, Report};
pub use server::Role;

use messages::Messages;
use server::Child;
use world::World;

/// How long what is queued may take to leave, beyond the seconds that were asked for.
const DRAIN: Duration = Duration::from_secs(60);

/// Yardsticks and parts are measured no longer than this: it makes them no truer, and a load of an hour would take four.
const YARDSTICK: Duration = Duration::from_secs(10);

/// What was asked for.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// How long each load lasts.
    pub time: Duration,
    /// Clients side by side, a load each.
    pub clients: Vec<usize>,
    /// Sizes of messages, thousands of bytes, a load each.
    pub sizes_kb: Vec<usize>,
    /// A database to run on as well; everything in it is the benchmark's.
    pub postgres: Option<Url>,
    /// The password for it.
    pub postgres_password: Option<std::path::PathBuf>,
    /// The database does not sync: for trying the benchmark out.
    pub postgres_fsync_off: bool,
    /// Measure what nginx, which must be installed, spends on handing the same messages on.
    pub nginx: bool,
}

/// How a process is started that serves a configuration.
pub type Program<'p> = &'p (dyn Fn(Role, &Path) -> Command + Sync);

/// Runs it; `tell` hears what is going on.
///
/// # Errors
/// When a process does not start, a message is not taken, or a store cannot be read.
pub async fn run(
    options: &BenchOptions,
    program: Program<'_>,
    mut tell: impl FnMut(String),
) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for postgres in std::iter::once(None).chain(options.postgres.as_ref().map(Some)) {
        let name = if postgres.is_some() { "postgresql" } else { "sqlite" };
        let world = World::new(postgres, options).await.context("furnishing the benchmark's world")?;
        reports.push(on(&world, name, options, program, &mut tell).await?);
    }
    Ok(reports)
}

async fn on(
    world: &World,
    store: &'static str,
    options: &BenchOptions,
    program: Program<'_>,
    tell: &mut impl FnMut(String),
) -> anyhow::Result<Report> {
    let messages: Vec<Arc<Messages>> =
        options.sizes_kb.iter().map(|size| Messages::of(*size).map(Arc::new)).collect::<Result<_, _>>()?;
    let yardstick = options.time.min(YARDSTICK);
    tell(format!("{store}: the same TLS server that only answers"));
    let (mut answers, mut proxied) = (Vec::new(), Vec::new());
    let child =
        Child::start(program(Role::Answer, &world.config_file), world.port, "the server that only answers").await?;
    for messages in &messages {
        answers.push(load::run(world, world.port, &child, false, messages, 1, yardstick).await?);
    }
    if options.nginx {
        tell(format!("{store}: nginx before it"));
        let port = world::free_ports().await?.0;
        let nginx = Child::start(proxy::command(world.folder(), port, world.port)?, port, "nginx").await?;
        for messages in &messages {
            proxied.push(load::run(world, port, &nginx, false, messages, 1, yardstick).await?);
        }
        nginx.end().await?;
    }
    child.end().await?;

    let child = Child::start(program(Role::Gateway, &world.config_file), world.port, "the gateway").await?;
    world.pause().await?;
    let mut loads = Vec::new();
    for messages in &messages {
        for clients in &options.clients {
            tell(format!("{store}: {} kB from {clients} clients", messages.kilobytes()));
            let measured = load::run(world, world.port, &child, true, messages, *clients, options.time).await?;
            loads.push(Load { kilobytes: messages.kilobytes(), clients: *clients, measured });
        }
    }
    tell(format!("{store}: deliveries"));
    let delivered = deliver(world, &child, options.time + DRAIN).await?;
    let peak_bytes = child.peak_bytes();
    child.end().await?;

    let mut parts = Vec::new();
    let mut proxied = proxied.into_iter();
    for (messages, answer) in messages.iter().zip(answers) {
        tell(format!("{store}: the parts of {} kB, one by one", messages.kilobytes()));
        parts.push(parts::of(world, messages, answer, proxied.next(), yardstick).await?);
    }
    tell(format!("{store}: whether everything adds up"));
    let started = Instant::now();
    let checkup = world.store().await?.checkup().await?;
    let checked = Checked { messages: checkup.accepted, time: started.elapsed(), flaws: checkup.flaws };
    Ok(Report { store, loads, parts, delivered, peak_bytes, checked })
}

/// Lets everything leave that waits, and measures that.
async fn deliver(world: &World, child: &Child, patience: Duration) -> anyhow::Result<Delivered> {
    let store = world.store().await?;
    let queued = || async {
        let figures = store.figures(world::now()).await?;
        let queued =
            figures.deliveries.iter().filter(|figure| figure.state == onward_core::state::DeliveryState::Queued);
        anyhow::Ok(queued.map(|figure| figure.count).sum::<u64>())
    };
    let before = queued().await?;
    let (cpu, started) = (child.cpu(), Instant::now());
    store.resume(None, Vec::new()).await?;
    let mut left = before;
    let mut asking = Duration::ZERO;
    while left > 0 && started.elapsed() < patience {
        // What asks is no part of the load, and must not become one.
        tokio::time::sleep(asking.mul_f64(4.0).max(Duration::from_millis(50))).await;
        let asked = Instant::now();
        left = queued().await?;
        asking = asked.elapsed();
    }
    let (copies, time) = (before - left, started.elapsed());
    let cpu = child.cpu().saturating_sub(cpu);
    Ok(Delivered { copies, left, time, cpu, pushed: world.pushed() })
}
