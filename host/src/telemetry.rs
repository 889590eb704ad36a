//! Logging: to standard error, for people on a terminal and as JSON elsewhere.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people on a terminal, as JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A filter that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("--log {filter}: {source}")]
pub struct FilterError {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging what `filter` lets through.
pub fn start(filter: &str, format: LogFormat) -> Result<(), FilterError> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| FilterError {
        filter: filter.to_owned(),
        source,
    })?;
    let is_terminal = std::io::stderr().is_terminal();
    let logger = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr);
    let is_human = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if is_human {
        logger.init();
    } else {
        logger.json().flatten_event(true).init();
    }
    Ok(())
}
