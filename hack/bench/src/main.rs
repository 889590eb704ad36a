//! `rkv-bench`: starts release builds of `rkvd` on loopback and measures them against the bars that
//! the project has set itself. `README.md` beside it tells what each figure means.
//!
//! One thread carries the whole load, because the nodes need the machine's cores.

mod cli;
mod client;
mod cluster;
mod compare;
mod grpc;
#[path = "../../../host/build/guest.rs"]
mod guest_build;
mod node;
mod process;
mod response;
mod samples;
mod scenarios;
mod stats;
mod table;
mod usage;
mod wait;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cli::{Cli, LoadArgs, Scenario, SnapshotArgs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rkv-bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    // Leaving by return, so that the nodes are ended and their data removed.
    tokio::select! {
        measured = measure(&cli) => measured,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

async fn measure(cli: &Cli) -> Result<()> {
    let scenarios = match cli.scenario.clone() {
        Scenario::All(size) => vec![
            Scenario::Latency,
            Scenario::Batching,
            Scenario::Snapshot(SnapshotArgs::of(1, size)),
            Scenario::Snapshot(SnapshotArgs::of(3, size)),
            Scenario::Failover,
            Scenario::Switch(LoadArgs::with_keys(10_000)),
            Scenario::Switch(LoadArgs::with_keys(1_000_000)),
            Scenario::Trap(LoadArgs::with_keys(1_000_000)),
        ],
        Scenario::Constant => {
            return tokio::task::spawn_blocking(compare::serve_constant).await?;
        }
        one => vec![one],
    };
    let launch = cli.launch()?;
    let seconds = cli.seconds();
    for scenario in scenarios {
        let run = async {
            match &scenario {
                Scenario::Latency => scenarios::latency(&launch, seconds).await,
                Scenario::OneClient => scenarios::one_client(&launch, seconds).await,
                Scenario::Batching => scenarios::batching(&launch, seconds).await,
                Scenario::Snapshot(args) => scenarios::snapshot(&launch, seconds, *args).await,
                Scenario::Failover => scenarios::failover(&launch).await,
                Scenario::Switch(args) => scenarios::switch(&launch, *args).await,
                Scenario::Trap(args) => scenarios::trap(&launch, *args).await,
                Scenario::Scale(args) => scenarios::scale(&launch, *args).await,
                Scenario::Compare(args) => compare::compare(&launch, seconds, args).await,
                Scenario::All(_) | Scenario::Constant => bail!("no scenario of its own"),
            }
        };
        let limit = scenario.limit(seconds);
        let table = tokio::time::timeout(limit, run)
            .await
            .with_context(|| format!("given up after {} s", limit.as_secs()))??;
        println!("{table}");
    }
    Ok(())
}
