//! The rkv daemon: parse, start, wait for a signal, stop.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use rkv_host::check::{self, Verdict};
use rkv_host::cli::{CheckFlags, HealthFlags, Invocation, Settings, UsageError};
use rkv_host::config::Config;
use rkv_host::node::{self, Node};
use rkv_host::recovery::{self, Outcome, RecoveryError};
use rkv_host::telemetry::{self, LogFormat};
use tokio::signal::unix::{SignalKind, signal};

/// What was asked for makes no sense or was not done, and nothing was changed. clap exits with the same.
const NOT_DONE: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let (done, failure) = match Invocation::read() {
        // Prints help to standard output, and what is wrong to standard error.
        Err(UsageError::CommandLine(error)) => error.exit(),
        Err(UsageError::File(error)) => (Err(error.into()), ExitCode::from(NOT_DONE)),
        Ok(Invocation::Run(settings)) => start(*settings),
        Ok(Invocation::Config(settings)) => (describe(*settings), ExitCode::from(NOT_DONE)),
        Ok(Invocation::Health(flags)) => (health(flags), ExitCode::FAILURE),
        Ok(Invocation::Check(flags)) => (check(flags), ExitCode::from(NOT_DONE)),
        Ok(Invocation::Restore(flags)) => {
            let done = recovery::restore(&flags.into_options(), &mut io::stdout());
            recovered(done)
        }
        Ok(Invocation::Recover(flags)) => {
            let done = recovery::recover(&flags.data_dir, flags.yes, &mut io::stdout());
            recovered(done)
        }
        Ok(Invocation::Verify(flags)) => {
            recovered(recovery::verify(&flags.data_dir, &mut io::stdout()))
        }
    };
    done.unwrap_or_else(|error| {
        // Errors name their causes themselves.
        eprintln!("rkvd: error: {error}");
        failure
    })
}

fn recovered(done: Result<Outcome, RecoveryError>) -> (anyhow::Result<ExitCode>, ExitCode) {
    let done = done.map(|outcome| match outcome {
        Outcome::Good => ExitCode::SUCCESS,
        Outcome::Damaged => ExitCode::FAILURE,
        Outcome::Open => ExitCode::from(NOT_DONE),
    });
    (done.map_err(Into::into), ExitCode::from(NOT_DONE))
}

fn check(flags: CheckFlags) -> anyhow::Result<ExitCode> {
    telemetry::start(&flags.log, LogFormat::Auto)?;
    match check::run(&flags.into_options(), &mut io::stdout())? {
        Verdict::Good => Ok(ExitCode::SUCCESS),
        Verdict::Bad => Ok(ExitCode::FAILURE),
    }
}

fn health(flags: HealthFlags) -> anyhow::Result<ExitCode> {
    let probe = flags.into_probe()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start the async runtime: {error}"))?;
    println!("{}", runtime.block_on(probe.ask())?);
    Ok(ExitCode::SUCCESS)
}

fn describe(settings: Settings) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(settings.describe()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn start(settings: Settings) -> (anyhow::Result<ExitCode>, ExitCode) {
    let (log, format) = settings.logging();
    match settings.into_config() {
        Ok(config) => {
            let done = run(config, &log, format).map(|()| ExitCode::SUCCESS);
            (done, ExitCode::FAILURE)
        }
        Err(error) => (Err(error.into()), ExitCode::from(NOT_DONE)),
    }
}

fn run(config: Config, log: &str, format: LogFormat) -> anyhow::Result<()> {
    telemetry::start(log, format)?;
    let runtime =
        node::runtime().map_err(|error| anyhow!("cannot start the async runtime: {error}"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut node = tokio::select! {
            node = Node::start(config) => node?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let ended = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            refused = node.refused() => Err(refused),
        };
        node.shutdown().await;
        Ok(ended?)
    })
}
