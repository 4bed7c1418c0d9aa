//! Log lines to standard error, in the shape that the configuration asks for.

use onward_core::TRACES;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use super::exit::Failure;
use crate::config::{LogFormat, Traces};
use crate::traces::{self, Ended};

/// What commands other than `serve` log.
pub(super) const QUIET: &str = "warn";

/// Starts logging for the process, and tracing where that is asked for; gives what is to be exported.
///
/// # Errors
/// When the filter is none.
pub(super) fn start(format: LogFormat, filter: &str, traced: Option<&Traces>) -> Result<Option<Ended>, Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::usage(format!("log.filter: {error}")))?;
    // What is told as a trace is no part of a line.
    let filter = filter.and(filter_fn(|of| of.target() != TRACES));
    let lines = match format {
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().with_filter(filter).boxed(),
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            let ansi = std::io::stderr().is_terminal();
            fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_filter(filter).boxed()
        }
    };
    let (spans, ended) = traced.map(traces::start).unzip();
    // Several commands of one process share the first one's log.
    let _started_before = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(ended)
}
