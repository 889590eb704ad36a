//! The cluster as a nemesis sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::views::Stats;
use rkv_tests::wait::{GENEROUS, try_until};
use rkv_tests::{Client, Cluster, Fate, Links, SmallDisk};
use tokio::time::{Instant, sleep, timeout};

use super::Fault;
use crate::checker::Moment;
use crate::observer::stats;
use crate::run::Run;

/// Within this time after everything was put in order, a write must succeed.
pub(super) const LIVENESS: Duration = Duration::from_secs(10);

/// How long one try of that write may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries of anything.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// How long a fault is let be, in milliseconds: from less than an election timeout to several.
const HOLD_MS: std::ops::Range<u64> = 300..2_500;

/// How long the cluster is left in peace between two faults, in milliseconds.
const PEACE_MS: std::ops::Range<u64> = 50..600;

/// A fault, and when it was on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) fault: Fault,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

/// What was done, for the sums at the end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) kills: usize,
    pub(crate) partitions: usize,
    pub(crate) membership_changes: usize,
    pub(crate) activations: usize,
    /// The longest time from order to the first write.
    pub(crate) slowest_recovery: Duration,
}

impl Tally {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.partitions += other.partitions;
        self.membership_changes += other.membership_changes;
        self.activations += other.activations;
        self.slowest_recovery = self.slowest_recovery.max(other.slowest_recovery);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} partitions, {} membership changes, {} activations; with all in order \
             again, the first write took {:.1?} at the most",
            self.kills,
            self.partitions,
            self.membership_changes,
            self.activations,
            self.slowest_recovery
        )
    }
}

/// A write that changes nothing that is checked.
pub(crate) type Probe = fn(u64) -> (&'static str, Bytes);

/// A cluster, and all that is needed to harm and to heal it.
#[derive(Debug)]
pub(crate) struct Arena {
    // Before `disk`: its processes end first.
    pub(crate) cluster: Cluster,
    pub(super) links: Links,
    pub(super) run: Arc<Run>,
    pub(super) random: fastrand::Rng,
    pub(super) tally: Tally,
    /// The module to switch to, if the cluster's state can go there.
    pub(super) module: Option<Bytes>,
    /// The node that has a disk of its own, and that disk.
    pub(super) disk: Option<(u64, SmallDisk)>,
    /// Nodes that a nemesis has ended.
    down: BTreeSet<u64>,
    /// What is armed in all nodes, all the time.
    failpoints: Option<String>,
    probe: Probe,
    probes: u64,
}

impl Arena {
    pub(crate) fn new(
        cluster: Cluster,
        links: Links,
        run: Arc<Run>,
        random: fastrand::Rng,
        probe: Probe,
    ) -> Self {
        let arena = Self {
            cluster,
            links,
            run,
            random,
            tally: Tally::default(),
            module: None,
            disk: None,
            down: BTreeSet::new(),
            failpoints: None,
            probe,
            probes: 0,
        };
        for id in arena.cluster.ids() {
            arena.run.note_start(id);
        }
        arena.publish_members();
        arena
    }

    pub(crate) fn with_module(mut self, module: Bytes) -> Self {
        self.module = Some(module);
        self
    }

    pub(crate) fn with_disk(mut self, disk: Option<(u64, SmallDisk)>) -> Self {
        self.disk = disk;
        self
    }

    pub(crate) fn with_failpoints(mut self, failpoints: Option<String>) -> Self {
        self.failpoints = failpoints;
        self
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Brings a fault about and puts everything in order again. `None`: it is not possible here.
    pub(crate) async fn suffer(&mut self, fault: Fault) -> Option<Window> {
        let from = self.run.now();
        let happened = match fault {
            Fault::IsolateLeader => self.isolate_leader().await,
            Fault::IsolateFollower => self.isolate_follower().await,
            Fault::Halves => self.halves().await,
            Fault::OneWay => self.one_way().await,
            Fault::Bridge => self.bridge().await,
            Fault::Delay => self.delay().await,
            Fault::Throttle => self.throttle().await,
            Fault::Reset => self.reset().await,
            Fault::KillLeader => self.kill_leader().await,
            Fault::KillFollower => self.kill_follower().await,
            Fault::KillMajority => self.kill_majority().await,
            Fault::KillAll => self.kill_all().await,
            Fault::IsolateAndKill => self.isolate_and_kill().await,
            Fault::Failpoint => self.failpoint().await,
            Fault::PauseLeader => self.pause_leader().await,
            Fault::PauseFollower => self.pause_follower().await,
            Fault::Restart => self.restart_follower().await,
            Fault::HandOver => self.hand_over().await,
            Fault::AddNode => self.add_node().await,
            Fault::RemoveNode => self.remove_node().await,
            Fault::ReplaceNode => self.replace_node().await,
            Fault::SwitchModule => self.switch_module().await,
            Fault::FullDisk => self.full_disk().await,
        };
        self.put_in_order().await;
        happened.then(|| Window {
            fault,
            from,
            to: self.run.now(),
        })
    }

    /// Heals all links, starts all nodes, and sees whether the cluster serves.
    pub(crate) async fn put_in_order(&mut self) {
        self.links.heal();
        for id in std::mem::take(&mut self.down) {
            self.start(id);
        }
        let ordered = Instant::now();
        loop {
            self.all_run();
            if self.run.is_over() || self.write_probe().await {
                break;
            }
            if ordered.elapsed() > LIVENESS {
                let seen = self.figures().await;
                self.run.violation(format!(
                    "no write succeeded within {LIVENESS:?} after all was put in order: {seen:#?}"
                ));
                break;
            }
            sleep(PAUSE).await;
        }
        self.tally.slowest_recovery = self.tally.slowest_recovery.max(ordered.elapsed());
        let peace = self.random.u64(PEACE_MS);
        sleep(Duration::from_millis(peace)).await;
    }

    /// Waits for what must come about in the end.
    pub(super) async fn expect<T>(
        &mut self,
        what: &str,
        mut probe: impl AsyncFnMut(&mut Self) -> Result<T, String>,
    ) -> Option<T> {
        let run = Arc::clone(&self.run);
        let came = try_until(what, GENEROUS, async || {
            // When the run is over for another reason, what is missing is no news.
            if run.is_over() {
                return Ok(None);
            }
            probe(self).await.map(Some)
        });
        came.await.unwrap_or_else(|in_vain| {
            run.violation(in_vain);
            None
        })
    }

    /// Lets a fault be for a while.
    pub(super) async fn hold(&mut self) {
        let hold = self.draw_hold();
        sleep(hold).await;
    }

    /// For how long.
    pub(super) fn draw_hold(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(HOLD_MS))
    }

    pub(super) fn ids(&self) -> BTreeSet<u64> {
        self.cluster.ids().into_iter().collect()
    }

    pub(super) fn any_of(&mut self, ids: &BTreeSet<u64>) -> u64 {
        let nth = self.random.usize(..ids.len().max(1));
        *ids.iter().nth(nth).expect("a cluster has nodes")
    }

    /// Some of the nodes, at least one and not all.
    pub(super) fn some(&mut self) -> BTreeSet<u64> {
        let mut ids: Vec<_> = self.ids().into_iter().collect();
        self.random.shuffle(&mut ids);
        let count = self.random.usize(1..ids.len().max(2));
        ids.into_iter().take(count).collect()
    }

    pub(super) fn without(&self, ids: &BTreeSet<u64>) -> BTreeSet<u64> {
        self.ids().difference(ids).copied().collect()
    }

    /// Who leads, by its own word; any node while nobody does.
    pub(super) async fn leader(&mut self) -> u64 {
        let leaders = self.figures().await.into_iter().filter(|stats| {
            // Two may say so for a moment: the newer one is right.
            stats.state == "Leader"
        });
        match leaders.max_by_key(|stats| stats.term) {
            Some(stats) => stats.id,
            None => self.any_of(&self.ids()),
        }
    }

    pub(super) async fn follower(&mut self) -> u64 {
        let leader = BTreeSet::from([self.leader().await]);
        self.any_of(&self.without(&leader))
    }

    /// What the members say of themselves, those that say anything.
    pub(super) async fn figures(&self) -> Vec<Stats> {
        let mut figures = Vec::new();
        for address in self.run.members().into_values() {
            figures.extend(stats(&Client::new(address)).await);
        }
        figures
    }

    pub(super) fn kill(&mut self, id: u64) {
        self.kill_together(&[id]);
    }

    pub(super) fn kill_together(&mut self, ids: &[u64]) {
        self.cluster.kill_together(ids);
        self.tally.kills += ids.len();
        self.down.extend(ids);
    }

    /// Notes that a nemesis has ended a node, which is to be started again.
    pub(super) fn note_down(&mut self, id: u64) {
        self.down.insert(id);
    }

    pub(super) fn start(&mut self, id: u64) {
        self.start_armed(id, self.failpoints.clone());
    }

    /// Starts a node that may end by itself. Whoever does that ends it in any case.
    pub(super) fn start_armed(&mut self, id: u64, failpoints: Option<String>) {
        self.down.remove(&id);
        self.run.note_start(id);
        let node = self.cluster.node_mut(id);
        node.spec_mut().failpoints = failpoints;
        node.start();
    }

    /// Removes a node from the cluster that the harness knows; its process is ended.
    pub(super) fn forget(&mut self, id: u64) {
        self.down.remove(&id);
        self.cluster.forget(id);
        self.publish_members();
    }

    pub(super) fn publish_members(&self) {
        let ids = self.cluster.ids().into_iter();
        let members = ids.map(|id| (id, self.cluster.node(id).spec().http_addr));
        self.run.set_members(members.collect());
    }

    /// A client of any member.
    pub(super) fn any_client(&mut self) -> Client {
        Client::new(self.run.any_member(&mut self.random))
    }

    /// Nodes end when a nemesis ends them, and for nothing else.
    fn all_run(&mut self) {
        for id in self.cluster.ids() {
            if !self.down.contains(&id) && !self.cluster.node_mut(id).is_running() {
                self.down.insert(id);
                self.run.violation(format!("node {id} has ended by itself"));
            }
        }
    }

    async fn write_probe(&mut self) -> bool {
        self.probes += 1;
        let (path, body) = (self.probe)(self.probes);
        let client = self.any_client();
        let answer = timeout(PROBE_PATIENCE, client.try_follow(Method::POST, path, body));
        answer
            .await
            .is_ok_and(|answer| Fate::of(&answer) == Fate::Acknowledged)
    }
}
