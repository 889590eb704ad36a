//! What many keys cost: memory, disk, and the time until a node serves them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::snapshot::{Pace, due_after, feel};
use super::store;
use crate::cli::ScaleArgs;
use crate::cluster::{Cluster, Launch};
use crate::node::Node;
use crate::table::{Table, millis, verdict};
use crate::usage;
use crate::wait;

/// Bytes of a key and its value.
const RECORD: u64 = 116;
/// Memory that a key may cost, all included, in bytes.
const MEMORY_BAR: f64 = 300.0;
/// A restart with a million keys.
const RESTART_BAR: Duration = Duration::from_secs(2);
/// Writers write for so long before the snapshot is due.
const BEFORE_SNAPSHOT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(600);

/// Fills one node, restarts it, and has another one join.
pub(crate) async fn scale(launch: &Launch, args: ScaleArgs) -> Result<Table> {
    let batches = args.keys.div_ceil(store::BATCH);
    let pace = Pace::Steady;
    let threshold = batches + pace.entries(BEFORE_SNAPSHOT);
    let mut cluster = Cluster::start(launch, 1, &due_after(threshold)).await?;
    let node = &cluster.nodes()[0];
    let empty = usage::resident(&[pid(node)?])?;
    let before = usage::written(node.data_dir())?;
    let begin = Instant::now();
    store::load(node, args.keys, &store::value(0)).await?;
    let loading = begin.elapsed();
    let felt = feel(node, threshold, pace).await?;
    let snapshot = size_of(&node.data_dir().join("snapshots"))?;
    let memory = usage::resident(&[pid(node)?])?.saturating_sub(empty);
    let written = usage::written(node.data_dir())?.zip(before);
    let log = size_of(&node.data_dir().join("log.wal"))?;
    let data = size_of(node.data_dir())?;

    cluster.node_mut(0).kill()?;
    let begin = Instant::now();
    cluster.node_mut(0).restart().await?;
    let node = &cluster.nodes()[0];
    wait::until("the node serves again", PATIENCE, async || {
        node.check_serving().await?;
        Ok(Some(()))
    })
    .await?;
    let restart = begin.elapsed();

    let begin = Instant::now();
    cluster.grow(&launch.daemon, &[], PATIENCE).await?;
    cluster.caught_up().await?;
    let join = begin.elapsed();

    let keys = args.keys as f64;
    let user = (args.keys * RECORD) as f64;
    let mut table = Table::new(
        format!(
            "scale: one node, {} keys of 16 bytes with values of 100",
            args.keys
        ),
        &["", "", ""],
    );
    let per_key = memory as f64 / keys;
    let bar = verdict(&format!("<= {MEMORY_BAR:.0}"), per_key <= MEMORY_BAR);
    table.row(&["memory per key", &format!("{per_key:.0} bytes"), &bar]);
    let rate = keys / loading.as_secs_f64();
    table.row(&[
        "load, 100 keys a batch",
        &seconds(loading),
        &format!("{rate:.0} keys/s"),
    ]);
    let [longest, before] = felt.longest();
    table.row(&["snapshot", &seconds(felt.duration()), &mebibytes(snapshot)]);
    table.row(&[
        "longest pause of a writer meanwhile",
        &millis(longest),
        &format!("{} before", millis(before)),
    ]);
    if let Some((after, before)) = written {
        let factor = format!("{:.2} per user byte", (after - before) as f64 / user);
        table.row(&["written to the disk", &mebibytes(after - before), &factor]);
    }
    table.row(&["log afterwards", &mebibytes(log)]);
    let factor = format!("{:.2} per user byte", data as f64 / user);
    table.row(&["data directory afterwards", &mebibytes(data), &factor]);
    let bar = if args.keys == 1_000_000 {
        verdict(
            &format!("< {} s", RESTART_BAR.as_secs()),
            restart < RESTART_BAR,
        )
    } else {
        String::new()
    };
    table.row(&["kill -9, restart, serves", &seconds(restart), &bar]);
    table.row(&["another node joins, has all", &seconds(join)]);
    Ok(table)
}

fn pid(node: &Node) -> Result<u32> {
    node.pid().context("the node has ended")
}

/// Bytes on disk of a file, or of all files below a folder.
fn size_of(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;

    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        // In units of 512 bytes, whatever the file system's blocks are: stat(2).
        return Ok(found.blocks() * 512);
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += size_of(&entry?.path())?;
    }
    Ok(sum)
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
