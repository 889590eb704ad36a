//! A cluster, its clients, and what goes wrong around them.

use std::sync::Arc;
use std::time::Duration;

use rkv_tests::{Cluster, Links, SmallDisk};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use crate::failover::Failovers;
use crate::history::Request;
use crate::nemesis::{Arena, Fault, Probe, Tally, Window};
use crate::observer::observe;
use crate::run::{Run, Violation};

/// Nodes at the beginning.
const NODES: u64 = 3;

/// Snapshots and purged logs all the time, and a node that gives up before its clients do.
const FLAGS: [&str; 6] = [
    "--snapshot-entries",
    "200",
    "--keep-entries",
    "20",
    "--request-timeout-ms",
    "2000",
];

/// Room for a node at rest; what is left of it a nemesis takes.
const DISK_MIB: u32 = 256;

/// What a scenario is run with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) clients: u32,
    /// What is armed in all nodes, all the time.
    pub(crate) failpoints: Option<String>,
    /// The only fault, instead of all of them.
    pub(crate) only: Option<Fault>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) windows: Vec<Window>,
    pub(crate) requests: Vec<Request>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) tally: Tally,
    pub(crate) failovers: Failovers,
    /// With its logs and data. `None` after a panic, which has printed them.
    pub(crate) cluster: Option<Cluster>,
}

impl Report {
    /// Of a run that came to a sudden end.
    fn of_panic(message: String) -> Self {
        Self {
            windows: Vec::new(),
            requests: Vec::new(),
            violations: vec![Violation {
                at: 0,
                what: message,
            }],
            tally: Tally::default(),
            failovers: Failovers::default(),
            cluster: None,
        }
    }

    /// Prints all that is needed to understand it, and keeps the files.
    pub(crate) fn show(self) {
        if let Some(mut cluster) = self.cluster {
            cluster.keep_files();
            cluster.report();
        }
    }
}

/// Runs a scenario to its end, be that a panic: the harness panics where it waits in vain.
pub(crate) async fn play(scenario: impl Future<Output = Report> + 'static) -> Report {
    let thread = LocalSet::new();
    let played = thread.spawn_local(scenario);
    let report = thread.run_until(played).await;
    report.unwrap_or_else(|panic| Report::of_panic(panic.to_string()))
}

/// A cluster that was just founded, behind proxies.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) links: Links,
    pub(crate) disk: Option<(u64, SmallDisk)>,
}

impl Stage {
    /// Starts the nodes; the last one has a disk of its own, where that can be.
    pub(crate) async fn set(options: &Options, flags: &[&str]) -> Self {
        let links = Links::default();
        let flags = [&FLAGS[..], flags].concat();
        let mut cluster = Cluster::behind(links.clone(), &flags);
        cluster.set_failpoints(options.failpoints.clone());
        let disk = SmallDisk::mount(&cluster.data_dir(NODES), DISK_MIB);
        cluster.grow_to(NODES).await;
        Self {
            cluster,
            links,
            disk: disk.map(|disk| (NODES, disk)),
        }
    }

    pub(crate) fn arena(self, run: &Arc<Run>, options: &Options, probe: Probe) -> Arena {
        let random = fastrand::Rng::with_seed(options.seed);
        let arena = Arena::new(self.cluster, self.links, Arc::clone(run), random, probe);
        let arena = arena.with_failpoints(options.failpoints.clone());
        arena.with_disk(self.disk)
    }
}

/// One fault after the other until the time is up, beside the `tasks`. Then everybody is told to
/// stop, and waited for.
pub(crate) async fn torment(
    arena: &mut Arena,
    run: &Arc<Run>,
    options: &Options,
    mut tasks: JoinSet<()>,
) -> Vec<Window> {
    tasks.spawn(observe(Arc::clone(run)));
    let mut order = fastrand::Rng::with_seed(options.seed);
    let end = Instant::now() + options.duration;
    let mut windows = Vec::new();
    let mut round = Vec::new();
    while Instant::now() < end && !run.is_over() {
        let fault = match (options.only, round.pop()) {
            (Some(fault), _) | (None, Some(fault)) => fault,
            (None, None) => {
                round = Fault::round(&mut order);
                continue;
            }
        };
        windows.extend(arena.suffer(fault).await);
        // A task that is done before all are told to stop has met what must not be.
        while let Some(ended) = tasks.try_join_next() {
            if let Err(panic) = ended {
                run.violation(format!("a client or observer: {panic}"));
            }
        }
    }
    arena.put_in_order().await;
    run.stop();
    while let Some(ended) = tasks.join_next().await {
        if let Err(panic) = ended {
            run.violation(format!("a client or observer: {panic}"));
        }
    }
    windows
}
