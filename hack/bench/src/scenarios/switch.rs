//! What a writer feels when the state machine is switched, and whether it keeps its word.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::modules;
use super::steps::{Steps, promises};
use super::store;
use super::writers::Writers;
use crate::cli::LoadArgs;
use crate::cluster::{Cluster, Launch};
use crate::table::Table;

const NODES: u64 = 3;
/// Up to so many keys are a small state.
const SMALL: u64 = 10_000;

/// The longest pause that a writer may feel.
fn bar(keys: u64) -> Duration {
    Duration::from_millis(if keys <= SMALL { 100 } else { 2000 })
}

/// Uploads, activates and rolls back under load, `rounds` times, and writes for as long without a
/// switch after each.
pub(crate) async fn switch(launch: &Launch, args: LoadArgs) -> Result<Table> {
    let component = modules::build_kv_v2(&launch.target)?;
    let cluster = Cluster::start(launch, NODES, &[]).await?;
    let leader = &cluster.nodes()[cluster.leader().await?];
    store::load(leader, args.keys, &store::value(0)).await?;
    cluster.caught_up().await?;
    let mut writers = Writers::connect(leader, args.writers, args.keys).await?;

    let [mut upload, mut activate, mut roll_back, mut nothing] = <[Steps; 4]>::default();
    for round in 0..args.rounds {
        let bytes = modules::variant(&component, round);
        let uploaded = upload.step(&cluster, &mut writers, async {
            let start = Instant::now();
            let module = modules::upload(leader, &bytes).await?;
            Ok((start.elapsed(), module))
        });
        let target = format!("/fsm/activate?module={}", uploaded.await?);
        let before = activate.duration() + roll_back.duration();
        for (steps, target) in [(&mut activate, &*target), (&mut roll_back, "/fsm/rollback")] {
            let switch = async { Ok((modules::switch(leader, target).await?, ())) };
            steps.step(&cluster, &mut writers, switch).await?;
        }
        let switching = activate.duration() + roll_back.duration() - before;
        nothing.pause(&cluster, &mut writers, switching).await?;
    }

    let mut table = Table::new(
        format!(
            "switch: {NODES} nodes, {} keys, guest memory {} MB, {} writers, {} rounds",
            args.keys,
            leader.stats().await?.fsm.memory_bytes / 1_000_000,
            args.writers,
            args.rounds
        ),
        &Steps::HEADERS,
    );
    table.row(&upload.cells("upload, compiled everywhere"));
    for (name, steps) in [("activate kv-v2", &activate), ("roll back", &roll_back)] {
        table.row(&steps.cells_with_bar(name, bar(args.keys)));
    }
    table.row(&nothing.cells("no switch, for as long"));
    table.row(&promises([&upload, &activate, &roll_back, &nothing]));
    Ok(table)
}
