//! The rkv daemon: parse, start, wait for a signal, stop.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use rkv_host::cli::Flags;
use rkv_host::node::Node;
use rkv_host::telemetry;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Errors name their causes themselves.
            eprintln!("rkvd: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    telemetry::start(&flags.log)?;
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
