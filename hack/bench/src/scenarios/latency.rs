//! One client's durable PUT against the disk's own write and fdatasync.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::blocks::{Blocks, time_for};
use super::load;
use crate::cluster::{Cluster, Launch};
use crate::samples::Samples;
use crate::table::{Table, verdict};

/// Disk and node take turns this often, so that the noise of the machine meets both alike.
const BLOCKS: u32 = 10;
/// A bare write is one page, the least that a durable write can cost.
const PAGE: [u8; 4096] = [0xa5; 4096];
/// Pages of the file that is overwritten.
const OVERWRITTEN_PAGES: u64 = 1024;
/// PUTs before the first that counts.
const WARM_UP: u64 = 200;
/// A PUT may take this many times the bare append.
const BAR: f64 = 1.4;

/// Measures for `duration`, a third of it each way to write.
pub(crate) async fn latency(launch: &Launch, duration: Duration) -> Result<Table> {
    let dir = launch.temp_dir()?;
    let growing = File::create(dir.path().join("growing"))?;
    let allocated = File::create(dir.path().join("allocated"))?;
    for page in 0..OVERWRITTEN_PAGES {
        allocated.write_all_at(&PAGE, page * PAGE.len() as u64)?;
    }
    allocated.sync_all()?;
    let cluster = Cluster::start(launch, 1, &[]).await?;
    let mut connection = cluster.nodes()[0].connect().await?;
    for count in 0..WARM_UP {
        load::put(&mut connection, 0, count).await?;
    }

    let block = duration / (3 * BLOCKS);
    let mut appends = 0..;
    let mut overwrites = (0..OVERWRITTEN_PAGES).cycle();
    let [mut append, mut overwrite, mut node] = <[Blocks; 3]>::default();
    for _ in 0..BLOCKS {
        append.push(&write_for(block, &growing, &mut appends)?);
        overwrite.push(&write_for(block, &allocated, &mut overwrites)?);
        node.push(
            &time_for(block, async |count| {
                load::put(&mut connection, 0, count).await.map(drop)
            })
            .await?,
        );
    }

    let mut table = Table::new(
        format!(
            "latency: one node, one client, values of {} bytes",
            load::VALUE.len()
        ),
        &["", "p50", "p99", "operations"],
    );
    table.row(&append.cells("bare 4 KiB append + fdatasync"));
    table.row(&overwrite.cells("bare 4 KiB overwrite + fdatasync"));
    table.row(&node.cells("acknowledged PUT"));
    let [p50, p99] = node.ratios(&append);
    let verdict = verdict(&format!("p50 <= {BAR}"), p50 <= BAR);
    table.row(&[
        "ratio to the append",
        &format!("{p50:.2}"),
        &format!("{p99:.2}"),
        &verdict,
    ]);
    let [p50, p99] = node.ratios(&overwrite);
    table.row(&[
        "ratio to the overwrite",
        &format!("{p50:.2}"),
        &format!("{p99:.2}"),
    ]);
    Ok(table)
}

/// Writes durably to the next of `pages`, again and again. A page behind the file's end makes the
/// file system log the new length too, one within it does not.
fn write_for(
    duration: Duration,
    file: &File,
    pages: &mut impl Iterator<Item = u64>,
) -> Result<Samples> {
    let begun = Instant::now();
    let mut samples = Samples::default();
    while begun.elapsed() < duration
        && let Some(page) = pages.next()
    {
        let start = Instant::now();
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
        file.sync_data()?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}
