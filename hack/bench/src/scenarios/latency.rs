//! One client's durable PUT against the disk's own append and fdatasync.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::load;
use crate::client::Connection;
use crate::cluster::{Cluster, Launch};
use crate::samples::Samples;
use crate::table::{Table, millis, verdict};

/// Disk and node take turns this often, so that the noise of the machine meets both alike.
const BLOCKS: u32 = 10;
/// A bare append is one page, the least that a durable write can cost.
const PAGE: [u8; 4096] = [0xa5; 4096];
/// PUTs before the first that counts.
const WARM_UP: u64 = 200;
/// A PUT may take this many times the bare append.
const BAR: f64 = 1.5;

/// Medians over the blocks of each block's percentiles.
#[derive(Default)]
struct Blocks {
    p50: Samples,
    p99: Samples,
    operations: usize,
}

impl Blocks {
    fn push(&mut self, block: &Samples) {
        self.p50.push(block.median());
        self.p99.push(block.percentile(99));
        self.operations += block.len();
    }

    fn cells(&self, name: &str) -> [String; 4] {
        let [p50, p99] = [&self.p50, &self.p99].map(|samples| millis(samples.median()));
        [name.to_owned(), p50, p99, self.operations.to_string()]
    }
}

/// Measures for `duration`, one half of it the disk and one half a cluster of one.
pub(crate) async fn latency(launch: &Launch, duration: Duration) -> Result<Table> {
    let dir = launch.temp_dir()?;
    let mut file = File::create(dir.path().join("appends"))?;
    let cluster = Cluster::start(launch, 1, &[]).await?;
    let mut connection = cluster.nodes()[0].connect().await?;
    for count in 0..WARM_UP {
        load::put(&mut connection, 0, count).await?;
    }

    let block = duration / (2 * BLOCKS);
    let (mut disk, mut node) = (Blocks::default(), Blocks::default());
    for _ in 0..BLOCKS {
        disk.push(&append_for(block, &mut file)?);
        node.push(&put_for(block, &mut connection).await?);
    }

    let mut table = Table::new(
        format!(
            "latency: one node, one client, values of {} bytes",
            load::VALUE.len()
        ),
        &["", "p50", "p99", "operations"],
    );
    table.row(&disk.cells("bare 4 KiB append + fdatasync"));
    table.row(&node.cells("acknowledged PUT"));
    let ratio =
        |node: &Samples, disk: &Samples| node.median().as_secs_f64() / disk.median().as_secs_f64();
    let (p50, p99) = (ratio(&node.p50, &disk.p50), ratio(&node.p99, &disk.p99));
    let verdict = verdict(&format!("p50 <= {BAR}"), p50 <= BAR);
    table.row(&[
        "ratio",
        &format!("{p50:.2}"),
        &format!("{p99:.2}"),
        &verdict,
    ]);
    Ok(table)
}

fn append_for(duration: Duration, file: &mut File) -> Result<Samples> {
    let begun = Instant::now();
    let mut samples = Samples::default();
    while begun.elapsed() < duration {
        let start = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}

async fn put_for(duration: Duration, connection: &mut Connection) -> Result<Samples> {
    let begun = Instant::now();
    let mut samples = Samples::default();
    for count in 0.. {
        if begun.elapsed() >= duration {
            break;
        }
        samples.push(load::put(connection, 0, count).await?);
    }
    Ok(samples)
}
