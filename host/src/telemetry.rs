//! Logging: to standard error, for people on a terminal and as JSON elsewhere.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

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

/// Takes a text for a filter if it can be parsed as one: a parser of flags.
///
/// # Errors
/// What is wrong with it.
pub fn filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

/// Starts logging what `filter` lets through.
///
/// # Errors
/// When it cannot be parsed.
pub fn start(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let parsed = EnvFilter::try_new(filter)?;
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
