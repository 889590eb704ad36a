//! A cluster of real processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use reqwest::Method;
use tempfile::TempDir;

use crate::client::Client;
use crate::loopback::Loopback;
use crate::node::{NodeProcess, NodeSpec};
use crate::proxy::Links;
use crate::report;
use crate::wait::{self, GENEROUS, check};

/// The environment variable that keeps data and logs of tests that pass, too.
const KEEP: &str = "RKV_TEST_KEEP";

/// A key that no test writes: reading it takes a leader with a quorum and a state machine.
const PROBE: &str = "/keys/-";

/// Nodes on an address and in a folder of their own. Dropping it ends every process; when that is
/// because a test failed, it prints their logs and keeps the folder.
#[derive(Debug)]
pub struct Cluster {
    // Before `folder`: processes end first, then their files go.
    nodes: BTreeMap<u64, NodeProcess>,
    /// The last id that was given. None is given twice, forgotten or not.
    newest: u64,
    folder: TempDir,
    loopback: Loopback,
    client: Client,
    flags: Vec<String>,
    links: Option<Links>,
    failpoints: Option<String>,
}

impl Cluster {
    /// A cluster of `size` voters with default flags, ready for requests.
    pub async fn start(size: u64) -> Self {
        Self::start_with(size, &[]).await
    }

    /// A cluster of `size` voters that all have these further flags, ready for requests.
    pub async fn start_with(size: u64, flags: &[&str]) -> Self {
        let mut cluster = Self::empty(flags);
        cluster.grow_to(size).await;
        cluster
    }

    /// A cluster without a node yet.
    ///
    /// # Panics
    ///
    /// When there is no room for temporary files.
    pub fn empty(flags: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("rkv-test-").tempdir();
        let mut loopback = Loopback::random();
        let unused = loopback.free().expect("a port on this address");
        Self {
            nodes: BTreeMap::new(),
            newest: 0,
            folder: folder.expect("a temporary folder"),
            loopback,
            client: Client::new(unused),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            links: None,
            failpoints: None,
        }
    }

    /// A cluster without a node yet, whose nodes will call each other through `links`.
    pub fn behind(links: Links, flags: &[&str]) -> Self {
        let mut cluster = Self::empty(flags);
        cluster.links = Some(links);
        cluster
    }

    /// Arms failpoints in the nodes that are prepared from now on.
    pub fn set_failpoints(&mut self, failpoints: Option<String>) {
        self.failpoints = failpoints;
    }

    /// Starts nodes, one after the other, until there are `size`.
    pub async fn grow_to(&mut self, size: u64) {
        while (self.nodes.len() as u64) < size {
            let id = self.prepare();
            self.node_mut(id).start();
            self.ready().await;
        }
    }

    /// Gives the next node its id, addresses and folder, without starting it. The first one founds
    /// the cluster, the others join those that are there.
    ///
    /// # Panics
    ///
    /// When the machine has no ports left.
    pub fn prepare(&mut self) -> u64 {
        self.newest += 1;
        let id = self.newest;
        let raft_addr = self.loopback.free().expect("a port on this address");
        let raft_advertise_addr = self.links.as_ref().map(|links| {
            let proxy = self.loopback.free().expect("a port on this address");
            links.open(id, proxy, raft_addr);
            proxy
        });
        let spec = NodeSpec {
            id,
            data_dir: self.data_dir(id),
            raft_addr,
            raft_advertise_addr,
            http_addr: self.loopback.free().expect("a port on this address"),
            join: self
                .nodes
                .values()
                .map(|node| node.spec().http_addr)
                .collect(),
            flags: self.flags.clone(),
            failpoints: self.failpoints.clone(),
        };
        let log = self.folder.path().join(format!("node-{id}.log"));
        self.nodes.insert(id, NodeProcess::new(spec, log));
        id
    }

    /// The folder of all nodes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory that a node has or will have.
    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }

    /// A node.
    ///
    /// # Panics
    ///
    /// When there is none with this id.
    pub fn node(&self, id: u64) -> &NodeProcess {
        self.nodes
            .get(&id)
            .unwrap_or_else(|| panic!("no node {id}"))
    }

    /// A node, to start or end it.
    ///
    /// # Panics
    ///
    /// When there is none with this id.
    pub fn node_mut(&mut self, id: u64) -> &mut NodeProcess {
        self.nodes
            .get_mut(&id)
            .unwrap_or_else(|| panic!("no node {id}"))
    }

    /// A client of one node.
    pub fn client(&self, id: u64) -> Client {
        self.client.at(self.node(id).spec().http_addr)
    }

    /// The ids of all nodes, running or not.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The ids of the nodes whose process is there.
    pub fn running(&mut self) -> Vec<u64> {
        let running = self
            .nodes
            .iter_mut()
            .filter_map(|(&id, node)| node.is_running().then_some(id));
        running.collect()
    }

    /// Forgets a node, for instance one that was removed; its process is ended, its files stay.
    pub fn forget(&mut self, id: u64) {
        self.nodes.remove(&id);
    }

    /// SIGKILL to these nodes in the same moment; returns when they are gone.
    pub fn kill_together(&mut self, ids: &[u64]) {
        for &id in ids {
            self.node_mut(id).start_kill();
        }
        for &id in ids {
            self.node_mut(id).kill9();
        }
    }

    /// Starts a node again and waits until the cluster is [ready](Self::ready).
    pub async fn restart(&mut self, id: u64) {
        self.node_mut(id).start();
        self.ready().await;
    }

    /// Waits until every running node is healthy, a voter, and serves linearizable reads, and all
    /// know the same leader.
    ///
    /// # Panics
    ///
    /// When that does not happen, or a node that was started has ended.
    pub async fn ready(&mut self) {
        self.leader().await;
        let running = self.running();
        wait::until(
            "all running nodes are voters that serve",
            GENEROUS,
            async || {
                self.all_run(&running)?;
                for &id in &running {
                    // A founder is healthy before its state machine is there, so ask that, too.
                    self.is_healthy(id).await?;
                    self.reads(id).await?;
                    let voters = self.client(id).stats().await.voters;
                    let all = running.iter().all(|id| voters.contains(id));
                    check(all, || format!("node {id} knows the voters {voters:?}"))?;
                }
                Ok(())
            },
        )
        .await;
    }

    /// Waits until all running nodes agree on a leader that is one of them and has a quorum, and
    /// returns it.
    ///
    /// # Panics
    ///
    /// When they do not, or a node that was started has ended.
    pub async fn leader(&mut self) -> u64 {
        let running = self.running();
        assert!(!running.is_empty(), "no node runs");
        wait::until("all running nodes know one leader", GENEROUS, async || {
            self.all_run(&running)?;
            let mut leaders = Vec::new();
            for &id in &running {
                let stats = self.client(id).try_send(Method::GET, "/stats", "").await;
                let stats: crate::views::Stats =
                    stats.map_err(|error| error.to_string())?.expect(200).json();
                let leads = stats.state == "Leader";
                // A node that leads says so in both fields, and nobody else does.
                check(leads == (stats.leader == Some(id)), || format!("{stats:?}"))?;
                leaders.push(stats.leader);
            }
            match leaders[0] {
                Some(leader)
                    if running.contains(&leader) && leaders.iter().all(|&l| l == Some(leader)) =>
                {
                    self.reads(leader).await.map(|()| leader)
                }
                _ => Err(format!("nodes {running:?} know the leaders {leaders:?}")),
            }
        })
        .await
    }

    /// A running node that does not lead.
    ///
    /// # Panics
    ///
    /// When only one node runs.
    pub async fn follower(&mut self) -> u64 {
        let leader = self.leader().await;
        let follower = self.running().into_iter().find(|&id| id != leader);
        follower.unwrap_or_else(|| panic!("only node {leader} runs"))
    }

    /// Waits until every running node has applied what the leader's log holds, and checks that
    /// their states are equal: the same keys with the same values.
    ///
    /// # Panics
    ///
    /// When a node does not catch up, or the states differ.
    pub async fn agree(&mut self) {
        self.agree_on_values(usize::MAX).await;
    }

    /// [`Self::agree`] for large states: all keys, and the values of so many of them at the most,
    /// spread over all.
    ///
    /// # Panics
    ///
    /// When a node does not catch up, or the states differ.
    pub async fn agree_on_values(&mut self, most: usize) {
        let leader = self.caught_up().await;
        let running = self.running();
        let expected = self.client(leader).stale_keys().await;
        for &id in &running {
            assert!(
                self.client(id).stale_keys().await == expected,
                "the keys of node {id} differ from those of leader {leader}"
            );
        }
        for key in expected
            .iter()
            .step_by(expected.len().div_ceil(most).max(1))
        {
            let value = self.client(leader).stale_value(key).await;
            for &id in &running {
                let here = self.client(id).stale_value(key).await;
                assert!(
                    here == value,
                    "'{key}' on node {id} differs from leader {leader}"
                );
            }
        }
    }

    /// Waits until every running node has applied the same entries, and checks that they computed
    /// the same.
    ///
    /// # Panics
    ///
    /// When they do not come to the same entry, or computed something else there.
    pub async fn equal_digests(&mut self) {
        let running = self.running();
        wait::until("the nodes are at one entry", GENEROUS, async || {
            let mut marks = Vec::new();
            for &id in &running {
                let stats = self.client(id).stats().await;
                check(stats.fsm.quarantine.is_none(), || format!("{stats:?}"))?;
                marks.push(stats.fsm.digest.ok_or("no digest yet")?);
            }
            let at_one = marks.iter().all(|mark| mark.index == marks[0].index);
            check(at_one, || format!("{marks:?}"))?;
            // Not an `Err`: it does not mend itself.
            assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
            Ok(())
        })
        .await;
    }

    /// Waits until every running node has applied what the leader's log holds, and returns the
    /// leader.
    ///
    /// # Panics
    ///
    /// When a node does not catch up.
    pub async fn caught_up(&mut self) -> u64 {
        let leader = self.leader().await;
        let running = self.running();
        let goal = self.client(leader).stats().await.last_log_index;
        for &id in &running {
            wait::until(
                &format!("node {id} has applied {goal:?}"),
                GENEROUS,
                async || {
                    let applied = self.client(id).stats().await.applied_index;
                    check(applied >= goal, || format!("applied {applied:?}"))
                },
            )
            .await;
        }
        leader
    }

    /// Leaves data directories and logs where they are.
    pub fn keep_files(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Prints the command lines, folders and logs of all nodes, as a failed test does.
    pub fn report(&self) {
        report::print(self.nodes.values());
    }

    async fn is_healthy(&self, id: u64) -> Result<(), String> {
        let answer = self.client(id).try_send(Method::GET, "/health", "").await;
        let answer = answer.map_err(|error| error.to_string())?;
        check(answer.status == 200, || answer.to_string())
    }

    /// Whether a node serves linearizable reads.
    async fn reads(&self, id: u64) -> Result<(), String> {
        let client = self.client(id);
        let mut answer = client.try_send(Method::GET, PROBE, "").await;
        if answer.as_ref().is_ok_and(|answer| answer.status == 501) {
            // No store: any question takes the same, also one that the module refuses.
            answer = client.try_send(Method::POST, "/fsm/query", "").await;
        }
        let answer = answer.map_err(|error| error.to_string())?;
        let served = [200, 404, 422].contains(&answer.status);
        check(served, || answer.to_string())
    }

    fn all_run(&mut self, ids: &[u64]) -> Result<(), String> {
        for &id in ids {
            // Not an `Err`: waiting on does not bring it back.
            assert!(
                self.node_mut(id).is_running(),
                "node {id} has ended by itself"
            );
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_together(&self.ids());
        let failed = thread::panicking();
        if failed {
            self.report();
        }
        if failed || std::env::var_os(KEEP).is_some() {
            self.keep_files();
        }
    }
}
