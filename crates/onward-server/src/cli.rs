//! The command line: what is asked for, who does it, and with which exit code it ends.
//!
//! Results go to standard output, everything else to standard error. Commands hold no rules of their own: they call
//! the crates that do, on the same store and with the same audit as the server.

mod account;
mod alerts;
pub(crate) mod audit;
mod bench;
mod breach;
mod client;
mod convert;
mod directory;
mod erase;
mod exit;
mod explain;
mod fsck;
mod hold;
mod input;
mod keys;
mod logging;
mod open;
pub(crate) mod operations;
mod output;
mod pause;
mod policy;
mod recall;
mod reconcile;
mod report;
mod retention;
mod ropa;
pub(crate) mod sar;
mod send;
mod settings;
pub(crate) mod signed_folder;
mod status;
mod subscription;
mod terminal;
mod user;
mod validate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use exit::Exit;

use crate::config::LogFormat;
use crate::demo::{self, DemoOptions};
use exit::Outcome;
use terminal::Terminal;

/// Onward carries a hospital discharge to the care home, the GP practices and the pharmacy.
#[derive(Debug, Parser)]
#[command(name = "onward", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Begin with:
  onward demo                     a whole neighbourhood on this machine
  onward explain discharge.xml    what would happen to one message, and why

Exit codes: 0 did it, 1 the answer is no (invalid, mismatch, not found),
2 wrong usage or configuration, 3 a fault (I/O, network, store).")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(Demo),
    Serve(operations::Serve),
    Validate(validate::Validate),
    Explain(explain::Explain),
    Convert(convert::Convert),
    Send(send::Send),
    Status(status::Status),
    /// Transfers that wait for a person
    #[command(subcommand)]
    Hold(hold::Hold),
    /// Deliveries that failed for good
    #[command(subcommand)]
    Dead(hold::Dead),
    Pause(pause::PauseCommand),
    Resume(pause::ResumeCommand),
    Recall(recall::Recall),
    Report(report::Report),
    Reconcile(reconcile::Reconcile),
    Bench(bench::Bench),
    Ropa(ropa::Ropa),
    Fsck(fsck::Fsck),
    Alerts(alerts::Alerts),
    /// Care homes, GP practices and pharmacies
    #[command(subcommand)]
    Directory(directory::Directory),
    /// Machine clients and their keys
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Client systems that asked to be called when a Task changes
    #[command(subcommand)]
    Subscription(subscription::SubscriptionCommand),
    /// The keys under which the store's data lies
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// People who sign in
    #[command(subcommand)]
    User(user::UserCommand),
    /// The erasure of a person, which two people decide
    #[command(subcommand)]
    Erase(erase::Erase),
    /// Orders that forbid to erase anything about a person
    #[command(subcommand)]
    LegalHold(erase::LegalHoldCommand),
    /// What is removed when its time is over: a plan first, then its run
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// The audit log: verify, export, prove, who saw a patient
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Subject access: everything about one person as one signed folder
    #[command(subcommand)]
    Sar(sar::Sar),
    /// After a breach: what happened to whose records, as one signed folder
    #[command(subcommand)]
    Breach(breach::Breach),
    /// Who may receive what, and is it what was agreed
    #[command(subcommand)]
    Policy(policy::Policy),
    /// The configuration: defaults, check, what is in force
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    Migrate(operations::Migrate),
    Healthcheck(operations::Healthcheck),
}

/// Runs a whole neighbourhood on this machine: gateway, hospital, care home, two practices, pharmacy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward demo
  onward demo --once --json | jq -r '.[] | [.recipient, .state] | @tsv'
  onward demo --dir world --once && onward audit verify --config world/gateway.toml")]
pub struct Demo {
    /// Keep the world here: gateway.toml, database, keys
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End after the last acknowledgement
    #[arg(long)]
    once: bool,
    /// Nothing on standard output but the outcome, as JSON
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Does what was asked for, on the process's own outputs, and says how it ended.
    #[must_use]
    pub fn run(self) -> Exit {
        account::Account::remember();
        let mut terminal = Terminal::of_process();
        let prepared = match &self.command {
            Command::Serve(command) => match operations::prepare(command) {
                Ok(prepared) => Some(prepared),
                Err(failure) => {
                    terminal.error(&failure.error);
                    return failure.exit;
                }
            },
            _ => None,
        };
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal.error(&anyhow::Error::from(error).context("starting the runtime"));
                return Exit::Fault;
            }
        };
        runtime.block_on(self.run_on(prepared, &mut terminal))
    }

    async fn run_on(&self, prepared: Option<operations::Prepared>, terminal: &mut Terminal) -> Exit {
        let outcome = match prepared {
            Some(prepared) => operations::serve(prepared).await,
            None => self.command.run(terminal).await,
        };
        let exit = match outcome {
            Ok(exit) => exit,
            Err(failure) => {
                terminal.error(&failure.error);
                failure.exit
            }
        };
        match terminal.finish() {
            Ok(()) => exit,
            Err(error) => {
                terminal.error(&anyhow::Error::from(error).context("writing the result"));
                Exit::Fault
            }
        }
    }
}

impl Command {
    async fn run(&self, terminal: &mut Terminal) -> Outcome {
        if !matches!(self, Self::Serve(_)) {
            logging::start(LogFormat::Text, logging::QUIET, None)?;
        }
        match self {
            Self::Demo(command) => {
                let Demo { dir, once, json } = command;
                demo::run(DemoOptions { dir: dir.clone(), once: *once, json: *json }).await?;
                Ok(Exit::Done)
            }
            Self::Serve(command) => operations::serve(operations::prepare(command)?).await,
            Self::Validate(command) => validate::run(command, terminal),
            Self::Explain(command) => explain::run(command, terminal).await,
            Self::Convert(command) => convert::run(command, terminal),
            Self::Send(command) => send::run(command, terminal).await,
            Self::Status(command) => status::run(command, terminal).await,
            Self::Hold(command) => hold::hold(command, terminal).await,
            Self::Dead(command) => hold::dead(command, terminal).await,
            Self::Pause(command) => pause::pause(command, terminal).await,
            Self::Resume(command) => pause::resume(command, terminal).await,
            Self::Recall(command) => recall::run(command, terminal).await,
            Self::Ropa(command) => ropa::run(command, terminal),
            Self::Report(command) => report::run(command, terminal).await,
            Self::Reconcile(command) => reconcile::run(command, terminal).await,
            Self::Bench(command) => bench::run(command, terminal).await,
            Self::Fsck(command) => fsck::run(command, terminal).await,
            Self::Alerts(command) => alerts::run(command, terminal).await,
            Self::Directory(command) => directory::run(command, terminal).await,
            Self::Client(command) => client::run(command, terminal).await,
            Self::Subscription(command) => subscription::run(command, terminal).await,
            Self::Keys(command) => keys::run(command, terminal).await,
            Self::User(command) => user::run(command, terminal).await,
            Self::Erase(command) => erase::erase(command, terminal).await,
            Self::LegalHold(command) => erase::legal_hold(command, terminal).await,
            Self::Retention(command) => retention::run(command, terminal).await,
            Self::Audit(command) => audit::run(command, terminal).await,
            Self::Sar(command) => sar::run(command, terminal).await,
            Self::Breach(command) => breach::run(command, terminal).await,
            Self::Policy(command) => policy::run(command, terminal).await,
            Self::Config(command) => settings::run(command, terminal),
            Self::Migrate(command) => operations::migrate(command, terminal).await,
            Self::Healthcheck(command) => operations::healthcheck(command, terminal).await,
        }
    }
}

#[cfg(test)]
mod tests;
