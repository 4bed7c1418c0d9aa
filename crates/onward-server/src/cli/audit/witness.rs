//! `onward audit witness`: a witness of other organisations' logs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use onward_connect::strength::RSA_BITS_MIN;
use onward_ledger::{CosigningKey, VerifyingKeys};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::input;
use crate::cli::output::new_file;
use crate::cli::terminal::Terminal;
use crate::listener::{self, Patience, Tls, TlsFiles};
use crate::witnessing::witness::{self, Witness as Running};

/// Of which logs, and where.
#[derive(Debug, Args)]
pub struct Witness {
    /// The witness's secret key; made, readable by its owner alone, when there is none yet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The name of a key that is made: a host name, or a URL without its scheme
    #[arg(long)]
    name: Option<String>,
    /// Print the public key, and end
    #[arg(long)]
    show_key: bool,
    /// Where what was seen is kept: size and root of each log
    #[arg(long, value_name = "FILE", required_unless_present = "show_key")]
    state: Option<PathBuf>,
    /// Public key of a log that is witnessed
    #[arg(long, value_name = "FILE", required_unless_present = "show_key")]
    log: Vec<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    listen: SocketAddr,
    /// Certificate chain, PEM; without one, plain HTTP on loopback only
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// Runs it until SIGTERM or SIGINT.
///
/// # Errors
/// When a file cannot be used or the address not be listened on.
pub(super) async fn run(command: &Witness, terminal: &mut Terminal) -> Outcome {
    let key = key(&command.key, command.name.as_deref())?;
    if command.show_key {
        terminal.say(key.witness_key());
        return Ok(Exit::Done);
    }
    let state = command.state.as_deref().ok_or_else(|| Failure::usage("--state names the file of what was seen"))?;
    let logs = command.log.iter().map(|path| log_key(path)).collect::<Result<Vec<_>, _>>()?;
    let files = command.tls_certificate.clone().zip(command.tls_key.clone());
    if files.is_none() && !command.listen.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "{} is no loopback address, so it needs --tls-certificate and --tls-key",
            command.listen
        )));
    }
    let tls = files
        .map(|(certificate, key)| {
            Tls::open(TlsFiles { certificate, key, client_ca: None, client_crl: None, rsa_bits_min: RSA_BITS_MIN })
        })
        .transpose()
        .map_err(Failure::configuration)?
        .map(Arc::new);
    let running = Running::open(key, logs, state)?;
    let listener =
        TcpListener::bind(command.listen).await.with_context(|| format!("listening on {}", command.listen))?;
    terminal.note(format_args!("witness {} listens on {}", running.key().witness_key().name(), listener.local_addr()?));
    let (stop, stopped) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(tls) = &tls {
        tasks.spawn(Arc::clone(tls).reload_until(stopped.clone()));
    }
    tasks.spawn(listener::serve(listener, tls, witness::router(Arc::new(running)), Patience::default(), stopped));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let _ = stop.send(true);
    while tasks.join_next().await.is_some() {}
    Ok(Exit::Done)
}

fn key(path: &Path, name: Option<&str>) -> Result<CosigningKey, Failure> {
    use std::io::Write as _;
    if path.exists() {
        let text = zeroize::Zeroizing::new(input::text(path)?);
        return CosigningKey::from_secret_text(text.trim())
            .with_context(|| format!("{} is no witness's key", path.display()))
            .map_err(Failure::configuration);
    }
    let name = name.ok_or_else(|| {
        Failure::usage(format!("there is no key at {} yet: --name says what it shall be called", path.display()))
    })?;
    let key = CosigningKey::generate(name).map_err(|error| Failure::usage(format!("--name: {error}")))?;
    let mut file = new_file(path)?;
    let text = key.to_secret_text().map_err(Failure::fault)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(key)
}

fn log_key(path: &Path) -> Result<VerifyingKeys, Failure> {
    VerifyingKeys::from_text(input::text(path)?.trim())
        .with_context(|| format!("{} is not a log's public key (`onward audit key`)", path.display()))
        .map_err(Failure::configuration)
}
