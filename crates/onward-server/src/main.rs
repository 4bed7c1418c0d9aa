//! The binary `onward`: reads the command line, does what it says, ends with its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use onward_server::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
