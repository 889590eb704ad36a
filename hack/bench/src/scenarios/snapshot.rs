//! What a writer feels of a snapshot of a large state.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;

use super::load;
use crate::cli::SnapshotArgs;
use crate::client::Connection;
use crate::cluster::{Cluster, Launch};
use crate::node::Node;
use crate::samples::Samples;
use crate::table::{Table, millis, verdict};

/// A value of the large state.
const VALUE_BYTES: usize = 10 << 10;
/// Values in one request: half a megabyte of JSON, far from the body limit.
const BATCH: u64 = 50;
/// The paced writer's rate.
const WRITES_PER_SECOND: u32 = 200;
/// Interval of looking at the node's figures: the precision of the snapshot's begin and end.
const LOOK: Duration = Duration::from_millis(20);
/// A snapshot that has not come or gone by then failed.
const LIMIT: Duration = Duration::from_secs(90);
/// Writes may wait this long while a snapshot is taken.
const BAR: Duration = Duration::from_millis(100);

/// A write of the paced writer.
struct Write {
    due: Instant,
    took: Duration,
}

/// A span of time and what the writer felt in it.
struct Phase {
    begin: Instant,
    end: Instant,
}

impl Phase {
    /// Latencies of the writes that were under way in this phase.
    fn of(&self, writes: &[Write]) -> Samples {
        let under_way =
            |write: &&Write| write.due <= self.end && write.due + write.took >= self.begin;
        writes
            .iter()
            .filter(under_way)
            .map(|write| write.took)
            .collect()
    }

    fn cells(&self, name: &str, writes: &[Write]) -> [String; 5] {
        let samples = self.of(writes);
        let duration = format!("{:.1} s", (self.end - self.begin).as_secs_f64());
        let [p50, p99, longest] = [50, 99, 100].map(|percent| millis(samples.percentile(percent)));
        [name.to_owned(), duration, p50, p99, longest]
    }
}

/// Fills a cluster, then writes at a steady pace for about `duration`, after which the number of
/// entries triggers the snapshot; and to its end.
pub(crate) async fn snapshot(
    launch: &Launch,
    duration: Duration,
    args: SnapshotArgs,
) -> Result<Table> {
    let batches = (args.size.megabytes * 1_000_000).div_ceil(BATCH * VALUE_BYTES as u64);
    let paced = u64::from(WRITES_PER_SECOND) * duration.as_secs();
    let threshold = batches + paced;
    let flags = [
        format!("--snapshot-entries={threshold}"),
        // Out of reach: only the number of entries decides.
        format!("--snapshot-bytes={}", 1_u64 << 40),
    ];
    let cluster = Cluster::start(launch, args.nodes, &flags).await?;
    let leader = &cluster.nodes()[cluster.leader().await?];
    fill(&mut leader.connect().await?, batches).await?;
    cluster.caught_up().await?;
    let taken = leader.stats().await?.snapshot_index;
    let memory = leader.stats().await?.fsm.memory_bytes;

    let (stop, stopped) = watch::channel(false);
    let begin = Instant::now();
    let writer = write_at_pace(leader.connect().await?, stopped);
    let watcher = async {
        let snapshot = watch_snapshot(leader, threshold, taken).await;
        // The writer may have ended already, for an error of its own.
        let _ = stop.send(true);
        snapshot
    };
    let (writes, snapshot) = tokio::join!(writer, watcher);
    let (writes, snapshot) = (writes?, snapshot?);
    let before = Phase {
        begin,
        end: snapshot.begin,
    };

    let mut table = Table::new(
        format!(
            "snapshot: {} node(s), {} MB in values of 10 KiB, guest memory {} MB, {WRITES_PER_SECOND} writes/s",
            args.nodes,
            batches * BATCH * VALUE_BYTES as u64 / 1_000_000,
            memory / 1_000_000
        ),
        &["writer", "duration", "p50", "p99", "longest pause"],
    );
    table.row(&before.cells("before the snapshot", &writes));
    table.row(&snapshot.cells("during it", &writes));
    let longest = snapshot.of(&writes).max();
    let ratio = longest.as_secs_f64() / before.of(&writes).max().as_secs_f64();
    let verdict = verdict(&format!("< {} ms", BAR.as_millis()), longest < BAR);
    table.row(&["ratio", "", "", "", &format!("{ratio:.2}"), &verdict]);
    Ok(table)
}

async fn fill(connection: &mut Connection, batches: u64) -> Result<()> {
    let value = "x".repeat(VALUE_BYTES);
    for batch in 0..batches {
        let pairs: serde_json::Map<_, _> = (batch * BATCH..(batch + 1) * BATCH)
            .map(|key| (format!("state-{key:08}"), value.as_str().into()))
            .collect();
        let response = connection
            .post("/keys", &serde_json::to_vec(&pairs)?)
            .await?;
        ensure!(
            response.status == 200,
            "POST /keys answered {}",
            response.summary()
        );
    }
    Ok(())
}

/// Waits for the snapshot that `threshold` entries trigger, after the one that is `taken`.
async fn watch_snapshot(node: &Node, threshold: u64, taken: Option<u64>) -> Result<Phase> {
    let deadline = Instant::now() + LIMIT;
    let mut begin = None;
    let mut looked = Instant::now();
    loop {
        let look = Instant::now();
        let stats = node.stats().await?;
        if begin.is_none() && stats.entries_behind_snapshot() >= threshold {
            // Some time between this look and the one before.
            begin = Some(looked);
        }
        if stats.snapshot_index != taken {
            let begin = begin.unwrap_or(looked);
            return Ok(Phase {
                begin,
                end: Instant::now(),
            });
        }
        ensure!(
            Instant::now() < deadline,
            "no snapshot in {} s, {} entries behind the last one",
            LIMIT.as_secs(),
            stats.entries_behind_snapshot()
        );
        looked = look;
        tokio::time::sleep(LOOK).await;
    }
}

/// Writes at a steady pace until `stopped`. A write that had to wait for the one before counts from
/// when it was due, so that a pause is felt by all that it delayed.
async fn write_at_pace(
    mut connection: Connection,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    let mut next = Instant::now();
    for count in 0.. {
        if *stopped.borrow() {
            break;
        }
        let late = Instant::now() > next;
        tokio::time::sleep_until(next.into()).await;
        // The timer wakes up to 1 ms late, which is not the node's fault.
        let due = if late { next } else { Instant::now() };
        load::put(&mut connection, 0, count)
            .await
            .context("the paced writer failed")?;
        writes.push(Write {
            due,
            took: due.elapsed(),
        });
        next += Duration::from_secs(1) / WRITES_PER_SECOND;
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_counts_the_writes_that_were_under_way_in_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let write = |due, took| Write {
            due: at(due),
            took: Duration::from_millis(took),
        };
        let writes = [
            write(0, 5),
            write(5, 10),
            write(12, 3),
            write(19, 50),
            write(30, 99),
        ];
        let phase = Phase {
            begin: at(10),
            end: at(20),
        };
        assert_eq!(phase.of(&writes).len(), 3);
        assert_eq!(phase.of(&writes).max(), Duration::from_millis(50));
    }
}
