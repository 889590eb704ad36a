//! What a writer feels of a snapshot of a large state.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
/// The rate of all writers together, if they have one.
const WRITES_PER_SECOND: u32 = 200;
/// Writers that take turns, each on its own connection. One alone would fall behind its pace for
/// good once writes take 5 ms, and the figures would tell of its queue rather than of the node.
const WRITERS: u32 = 8;
/// Interval of looking at the node's figures: the precision of the snapshot's begin and end.
const LOOK: Duration = Duration::from_millis(20);
/// A snapshot that has not come or gone by then failed.
const LIMIT: Duration = Duration::from_secs(90);
/// Writes may wait this long while a snapshot is taken.
const BAR: Duration = Duration::from_millis(50);

/// Entries that writers without a pace write before the snapshot comes.
const UNPACED_ENTRIES: u64 = 100_000;
/// The share of their throughput that they keep meanwhile.
const THROUGHPUT_BAR: f64 = 0.5;

/// A write, and what a client feels of it.
struct Write {
    due: Instant,
    /// From when it was due to its acknowledgement.
    took: Duration,
}

/// A span of time and what the writers felt in it.
pub(super) struct Phase {
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

    /// Writes acknowledged in this phase, a second.
    fn per_second(&self, writes: &[Write]) -> f64 {
        let acknowledged = writes.iter().filter(|write| {
            let at = write.due + write.took;
            self.begin <= at && at <= self.end
        });
        acknowledged.count() as f64 / self.duration().as_secs_f64()
    }

    fn duration(&self) -> Duration {
        self.end - self.begin
    }

    fn cells(&self, name: &str, writes: &[Write]) -> [String; 6] {
        let samples = self.of(writes);
        let duration = format!("{:.1} s", self.duration().as_secs_f64());
        let rate = format!("{:.0}", self.per_second(writes));
        let [p50, p99, longest] = [50, 99, 100].map(|percent| millis(samples.percentile(percent)));
        [name.to_owned(), duration, rate, p50, p99, longest]
    }
}

/// What writers felt of one snapshot.
pub(super) struct Felt {
    writes: Vec<Write>,
    before: Phase,
    during: Phase,
}

impl Felt {
    /// How long the snapshot took.
    pub(super) fn duration(&self) -> Duration {
        self.during.duration()
    }

    /// The longest time that a write took meanwhile, and before.
    pub(super) fn longest(&self) -> [Duration; 2] {
        [&self.during, &self.before].map(|phase| phase.of(&self.writes).max())
    }

    /// Writes a second meanwhile over those before.
    fn throughput(&self) -> f64 {
        self.during.per_second(&self.writes) / self.before.per_second(&self.writes)
    }
}

/// The flags of nodes that take a snapshot after so many entries, and for no other reason.
pub(super) fn due_after(entries: u64) -> [String; 2] {
    [
        format!("--snapshot-entries={entries}"),
        format!("--snapshot-bytes={}", 1_u64 << 40),
    ]
}

/// Fills a cluster, then writes until the number of entries triggers the snapshot, at a steady pace after
/// about `duration`; and to its end.
pub(crate) async fn snapshot(
    launch: &Launch,
    duration: Duration,
    args: SnapshotArgs,
) -> Result<Table> {
    let batches = (args.size.megabytes * 1_000_000).div_ceil(BATCH * VALUE_BYTES as u64);
    let pace = if args.unpaced {
        Pace::None
    } else {
        Pace::Steady
    };
    let threshold = batches + pace.entries(duration);
    let cluster = Cluster::start(launch, args.nodes, &due_after(threshold)).await?;
    let leader = &cluster.nodes()[cluster.leader().await?];
    fill(&mut leader.connect().await?, batches).await?;
    cluster.caught_up().await?;
    let memory = leader.stats().await?.fsm.memory_bytes;
    let felt = feel(leader, threshold, pace).await?;

    let mut table = Table::new(
        format!(
            "snapshot: {} node(s), {} MB in values of 10 KiB, guest memory {} MB, {}",
            args.nodes,
            batches * BATCH * VALUE_BYTES as u64 / 1_000_000,
            memory / 1_000_000,
            match pace {
                Pace::Steady => format!("{WRITES_PER_SECOND} writes/s"),
                Pace::None => format!("{WRITERS} clients without a pause"),
            }
        ),
        &[
            "writers",
            "duration",
            "writes/s",
            "p50",
            "p99",
            "longest pause",
        ],
    );
    table.row(&felt.before.cells("before the snapshot", &felt.writes));
    table.row(&felt.during.cells("during it", &felt.writes));
    let [longest, before] = felt.longest();
    let pause_ratio = longest.as_secs_f64() / before.as_secs_f64();
    let throughput = felt.throughput();
    let bar = match pace {
        Pace::Steady => verdict(&format!("< {} ms", BAR.as_millis()), longest < BAR),
        Pace::None => verdict(
            &format!("writes/s >= {THROUGHPUT_BAR}"),
            throughput >= THROUGHPUT_BAR,
        ),
    };
    table.row(&[
        "ratio",
        "",
        &format!("{throughput:.2}"),
        "",
        "",
        &format!("{pause_ratio:.2}"),
        &bar,
    ]);
    Ok(table)
}

/// How fast writers write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// At [`WRITES_PER_SECOND`].
    Steady,
    /// As fast as they are answered.
    None,
}

impl Pace {
    /// Entries before the snapshot comes.
    pub(super) fn entries(self, duration: Duration) -> u64 {
        match self {
            Self::Steady => u64::from(WRITES_PER_SECOND) * duration.as_secs(),
            Self::None => UNPACED_ENTRIES,
        }
    }
}

/// Writes to a leader until `threshold` entries have triggered a snapshot, and to its end.
pub(super) async fn feel(leader: &Node, threshold: u64, pace: Pace) -> Result<Felt> {
    let taken = leader.stats().await?.snapshot_index;
    let (stop, stopped) = watch::channel(false);
    let begin = Instant::now();
    let mut writers = write_from(leader, pace, &stopped).await?;
    let during = tokio::select! {
        snapshot = watch_snapshot(leader, threshold, taken) => snapshot?,
        Some(ended) = writers.join_next() => {
            ended??;
            bail!("a writer ended before the snapshot");
        }
    };
    stop.send(true).context("all writers have ended")?;
    let mut writes = Vec::new();
    while let Some(writer) = writers.join_next().await {
        writes.append(&mut writer??);
    }
    let before = Phase {
        begin,
        end: during.begin,
    };
    Ok(Felt {
        writes,
        before,
        during,
    })
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

/// Starts the writers, one after the other within a turn.
async fn write_from(
    node: &Node,
    pace: Pace,
    stopped: &watch::Receiver<bool>,
) -> Result<JoinSet<Result<Vec<Write>>>> {
    let pause = Duration::from_secs(1) / WRITES_PER_SECOND;
    let begin = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let connection = node.connect().await?;
        let stopped = stopped.clone();
        match pace {
            Pace::Steady => {
                let first = begin + pause * writer;
                let interval = pause * WRITERS;
                writers.spawn(write_at_pace(connection, writer, first, interval, stopped))
            }
            Pace::None => writers.spawn(write_on(connection, writer, stopped)),
        };
    }
    Ok(writers)
}

/// Writes every `interval` until `stopped`. A write that had to wait for the one before counts from
/// when it was due, so that a pause is felt by all that it delayed.
async fn write_at_pace(
    mut connection: Connection,
    writer: u32,
    first: Instant,
    interval: Duration,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    let mut next = first;
    for count in 0.. {
        let late = Instant::now() > next;
        tokio::time::sleep_until(next.into()).await;
        if *stopped.borrow() {
            break;
        }
        // The timer wakes up to 1 ms late, which is not the node's fault.
        let due = if late { next } else { Instant::now() };
        let put = load::put(&mut connection, writer as usize, count).await;
        put.context("a paced writer failed")?;
        writes.push(Write {
            due,
            took: due.elapsed(),
        });
        next += interval;
    }
    Ok(writes)
}

/// Writes again as soon as it is answered, until `stopped`.
async fn write_on(
    mut connection: Connection,
    writer: u32,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for count in 0.. {
        if *stopped.borrow() {
            break;
        }
        let due = Instant::now();
        let took = load::put(&mut connection, writer as usize, count).await?;
        writes.push(Write { due, took });
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
        // Acknowledged at 15 and at 15 within 10 ms.
        assert!((phase.per_second(&writes) - 200.0).abs() < 1e-9);
    }
}
