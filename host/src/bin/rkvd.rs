//! The rkv daemon: parse, start, wait for a signal, stop.

use std::io;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use rkv_host::check::{self, Verdict};
use rkv_host::cli::{CheckFlags, Flags, HealthFlags, Invocation};
use rkv_host::node::Node;
use rkv_host::telemetry::{self, LogFormat};
use tokio::signal::unix::{SignalKind, signal};

/// There was no check, for reasons that say nothing about the module. clap exits with the same.
const NO_CHECK: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let (done, failure) = match Invocation::parse() {
        Invocation::Run(flags) => {
            let done = run(*flags).map(|()| ExitCode::SUCCESS);
            (done, ExitCode::FAILURE)
        }
        Invocation::Check(flags) => (check(flags), ExitCode::from(NO_CHECK)),
        Invocation::Health(flags) => (health(flags), ExitCode::FAILURE),
    };
    done.unwrap_or_else(|error| {
        // Errors name their causes themselves.
        eprintln!("rkvd: error: {error}");
        failure
    })
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

fn run(flags: Flags) -> anyhow::Result<()> {
    telemetry::start(&flags.log, flags.log_format)?;
    let config = flags.into_config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start the async runtime: {error}"))?;
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
