//! `onward bench`: what this machine takes in and sends on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::process::Command;
use url::Url;

use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::bench::{self, BenchOptions, Report, Role};
use crate::config::Config;

/// Measures what this machine takes in and sends on: a real gateway with TLS and sign-in in a process of its own, and in the same run
/// what it must at least do. Everything is fictitious, in a temporary folder, and removed at the end; a PostgreSQL
/// database is left full.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward bench
  onward bench --seconds 60 --clients 64 --sizes 60 --json
  onward bench --postgres postgres://bench@localhost/bench     # a database of its own: it is left full

Each load: messages accepted a second, half and 99 in 100 of the answers, CPU time of the gateway for a message, and how often that is
what its parts cost, which are measured one by one, with all cores busy as under load: the same TLS server answering 202 without doing anything, preparing the message
(reading, judging, converting, rendering), and the raw store doing the same transaction with the same group commit; with `--nginx`
also how often it is what nginx spends between two TLS connections. One message in
ten carries a PDF of 1 MB. Clients share the machine with the gateway: compare CPU times and ratios, not rates.")]
pub struct Bench {
    /// How long each load lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Clients side by side, a load each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u16).range(1..=512))]
    clients: Vec<u16>,
    /// Sizes of messages, kB, a load each; the smallest message there is has about 50
    #[arg(long, value_delimiter = ',', default_value = "20,60,200", value_parser = clap::value_parser!(u16).range(1..=4_000))]
    sizes: Vec<u16>,
    /// Measure PostgreSQL as well: a database of its own
    #[arg(long, value_name = "URL")]
    postgres: Option<Url>,
    /// File with its password
    #[arg(long, value_name = "FILE", requires = "postgres")]
    postgres_password_file: Option<PathBuf>,
    /// Take a database that does not sync, for trying this out
    #[arg(long, requires = "postgres")]
    postgres_fsync_off: bool,
    /// Measure nginx, which must be installed, handing the same messages on from TLS to TLS
    #[arg(long)]
    nginx: bool,
    /// One JSON object for each store
    #[arg(long)]
    json: bool,
    /// Only answer, as the yardstick does, on this configuration
    #[arg(long, value_name = "FILE", hide = true)]
    answer: Option<PathBuf>,
}

/// What glibc's allocator is told by (mallopt(3), ld.so(8)).
const ALLOCATOR: [&str; 5] =
    ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"];

/// Runs it.
///
/// # Errors
/// When a process does not start, a message is not taken, or a store cannot be read.
pub(super) async fn run(command: &Bench, terminal: &mut Terminal) -> Outcome {
    if let Some(file) = &command.answer {
        bench::answer::serve(&Config::load_from(Some(file), std::iter::empty())?.config).await?;
        return Ok(Exit::Done);
    }
    let options = BenchOptions {
        time: Duration::from_secs(command.seconds),
        clients: command.clients.iter().map(|clients| usize::from(*clients)).collect(),
        sizes_kb: once(&command.sizes),
        postgres: command.postgres.clone(),
        postgres_password: command.postgres_password_file.clone(),
        postgres_fsync_off: command.postgres_fsync_off,
        nginx: command.nginx,
    };
    let program = std::env::current_exe().map_err(Failure::fault)?;
    let start = |role: Role, config: &Path| {
        let mut command = Command::new(&program);
        match role {
            Role::Gateway => command.args(["serve", "--config"]),
            Role::Answer => command.args(["bench", "--answer"]),
        };
        command.arg(config).env_clear();
        // So that it is measured as it is going to be run.
        command.envs(std::env::vars_os().filter(|(name, _)| ALLOCATOR.iter().any(|each| name == each)));
        command
    };
    let reports = bench::run(&options, &start, |what| terminal.progress(what)).await?;
    for report in &reports {
        if command.json {
            terminal.json(&report.json());
        } else {
            show(report, terminal);
        }
    }
    let whole = reports.iter().all(|report| report.delivered.left == 0 && report.checked.flaws.is_empty());
    if !whole {
        terminal.note("some copies had not left when time was over, or something does not add up");
    }
    Ok(Exit::answer(whole))
}

/// Each once, in the order in which they were asked for.
fn once(sizes: &[u16]) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    sizes.iter().map(|size| usize::from(*size)).filter(|size| seen.insert(*size)).collect()
}

fn show(report: &Report, terminal: &mut Terminal) {
    let build =
        if cfg!(debug_assertions) { "; an unoptimised build: the figures say nothing about a release" } else { "" };
    terminal.say(format_args!("{}{build}", report.store));
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let rows: Vec<_> = report
        .loads
        .iter()
        .map(|load| {
            let measured = &load.measured;
            [
                format!("{}", load.kilobytes),
                load.clients.to_string(),
                measured.count.to_string(),
                format!("{:.1}", measured.rate()),
                ms(measured.median),
                ms(measured.p99),
                format!("{:.3}", measured.cpu_ms()),
                report.of_parts(load).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                report.of_nginx(load).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            ]
        })
        .collect();
    terminal.table(
        ["kB", "clients", "accepted", "a second", "p50 ms", "p99 ms", "CPU ms each", "of its parts", "of nginx's"],
        &rows,
    );
    let again: usize = report.loads.iter().map(|load| load.measured.again).sum();
    if again > 0 {
        terminal.say(format_args!("the server was busy: clients were told to come again (503) {again} times, and did"));
    }
    let rows: Vec<_> = report
        .parts
        .iter()
        .map(|parts| {
            [
                parts.kilobytes.to_string(),
                format!("{:.3}", parts.answer.cpu_ms()),
                format!("{:.3}", parts.prepare.as_secs_f64() * 1e3),
                format!("{:.3}", parts.store.as_secs_f64() * 1e3),
                format!("{:.3}", parts.floor_ms()),
                format!("{:.1}", f64::from(parts.transactions) / parts.elapsed.as_secs_f64()),
            ]
        })
        .collect();
    terminal.table(["kB", "TLS CPU ms", "prepare CPU ms", "store CPU ms", "together", "store a second"], &rows);
    let delivered = &report.delivered;
    terminal.say(format_args!(
        "deliveries: {} copies left in {:.1} s, {:.1} a second, {:.3} CPU ms each{}; {} pushed over TLS, the others into inboxes",
        delivered.copies,
        delivered.time.as_secs_f64(),
        delivered.rate(),
        delivered.cpu_ms(),
        report.delivery_of_nginx().map(|ratio| format!(" ({ratio:.2} of nginx's)")).unwrap_or_default(),
        delivered.pushed
    ));
    let checked = &report.checked;
    terminal.say(format_args!(
        "fsck: {} messages in {:.2} s, {:.1} s for 100,000; {} rule(s) broken",
        checked.messages,
        checked.time.as_secs_f64(),
        checked.seconds_for_100_000(),
        checked.flaws.len()
    ));
    terminal.say(format_args!("memory: {} MB at most", report.peak_bytes / 1_000_000));
}
