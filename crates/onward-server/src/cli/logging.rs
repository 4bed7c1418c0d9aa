//! Log lines to standard error, in the shape that the configuration asks for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::exit::Failure;
use crate::config::LogFormat;

/// What commands other than `serve` log.
pub(super) const QUIET: &str = "warn";

/// Starts logging for the process.
///
/// # Errors
/// When the filter is none.
pub(super) fn start(format: LogFormat, filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::usage(format!("log.filter: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Several commands of one process share the first one's log.
    let _started_before = match format {
        LogFormat::Json => lines.json().finish().try_init(),
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()
        }
    };
    Ok(())
}
