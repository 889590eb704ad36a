//! What other writers feel of a command that traps.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::modules;
use super::steps::{Steps, promises};
use super::store;
use super::writers::Writers;
use crate::cli::LoadArgs;
use crate::client::Connection;
use crate::cluster::{Cluster, Launch};
use crate::table::Table;

const NODES: u64 = 3;
/// Fuel of an entry, and so of the 256 writes that a rebuild runs at a time, which need a third of
/// it or less.
const FUEL: u64 = 3_000_000;
/// Values that cost more than twice that to copy.
const LARGE_VALUES: u64 = 100;
const LARGE_VALUE_BYTES: usize = 70_000;
const BAR: Duration = Duration::from_millis(2000);

/// Has a command run out of fuel, `rounds` times, and writes for as long without after each.
pub(crate) async fn trap(launch: &Launch, args: LoadArgs) -> Result<Table> {
    let cluster = Cluster::start(launch, NODES, &[]).await?;
    let leader = &cluster.nodes()[cluster.leader().await?];
    store::load(leader, args.keys, &store::value(0)).await?;
    let module = modules::active(leader).await?;
    modules::switch(
        leader,
        &format!("/fsm/activate?module={module}&fuel={FUEL}"),
    )
    .await?;
    cluster.caught_up().await?;
    let mut writers = Writers::connect(leader, args.writers, args.keys).await?;
    let mut connection = leader.connect().await?;
    let command = large_command()?;

    let [mut trapping, mut nothing] = <[Steps; 2]>::default();
    let mut behind = Vec::new();
    let traps = leader.stats().await?.fsm.traps;
    for _ in 0..args.rounds {
        let before = trapping.duration();
        let work = async {
            behind.push(leader.stats().await?.entries_behind_snapshot());
            Ok((run_out_of_fuel(&mut connection, &command).await?, ()))
        };
        trapping.step(&cluster, &mut writers, work).await?;
        let duration = trapping.duration() - before;
        nothing.pause(&cluster, &mut writers, duration).await?;
    }
    let traps = leader.stats().await?.fsm.traps - traps;
    ensure!(traps == args.rounds, "{traps} commands trapped");

    let mut table = Table::new(
        format!(
            "trap: {NODES} nodes, {} keys, guest memory {} MB, {} writers, {} rounds, {} to {} log \
             entries behind the snapshot",
            args.keys,
            leader.stats().await?.fsm.memory_bytes / 1_000_000,
            args.writers,
            args.rounds,
            behind.iter().min().unwrap_or(&0),
            behind.iter().max().unwrap_or(&0),
        ),
        &Steps::HEADERS,
    );
    table.row(&trapping.cells_with_bar("a command that traps", BAR));
    table.row(&nothing.cells("no trap, for as long"));
    table.row(&promises([&trapping, &nothing]));
    Ok(table)
}

/// A batch of values that are too large for the fuel of one entry.
fn large_command() -> Result<Vec<u8>> {
    let value = "x".repeat(LARGE_VALUE_BYTES);
    let pairs: serde_json::Map<_, _> = (0..LARGE_VALUES)
        .map(|number| (format!("large-{number}"), value.as_str().into()))
        .collect();
    Ok(serde_json::to_vec(&pairs)?)
}

async fn run_out_of_fuel(connection: &mut Connection, command: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    let response = connection.post("/keys", command).await?;
    let took = start.elapsed();
    let trapped = response.status == 422 && response.summary().contains("\"trapped\"");
    ensure!(
        trapped,
        "a command without fuel answered {}",
        response.summary()
    );
    Ok(took)
}
