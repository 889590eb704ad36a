//! A cluster of `rkvd` processes on loopback, gone with its data when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::node::{Node, NodeSpec};
use crate::wait;

/// Time for an election, a join or a catch-up, with much to spare.
const SETTLE: Duration = Duration::from_secs(60);

/// What all clusters are started from.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The `rkvd` to measure.
    pub(crate) daemon: PathBuf,
    /// The same with the bundled store compiled in.
    pub(crate) native: PathBuf,
    /// Where the data directories are made, in a temporary folder.
    pub(crate) dir: PathBuf,
    /// Cargo's target folder, for what is built on demand.
    pub(crate) target: PathBuf,
}

impl Launch {
    /// Makes a temporary folder on the measured disk.
    pub(crate) fn temp_dir(&self) -> Result<TempDir> {
        let made = tempfile::Builder::new()
            .prefix("rkv-bench-")
            .tempdir_in(&self.dir);
        made.with_context(|| format!("cannot make a folder in {}", self.dir.display()))
    }
}

/// Running nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Before the folder, so that the processes end before their files go.
    nodes: Vec<Node>,
    dir: TempDir,
}

impl Cluster {
    /// Starts `size` nodes with `flags`, and waits until all are voters and serve.
    pub(crate) async fn start(launch: &Launch, size: u64, flags: &[String]) -> Result<Self> {
        Self::start_of(&launch.daemon, launch, size, flags).await
    }

    /// The same with another build of the daemon.
    pub(crate) async fn start_of(
        daemon: &Path,
        launch: &Launch,
        size: u64,
        flags: &[String],
    ) -> Result<Self> {
        let dir = launch.temp_dir()?;
        let mut cluster = Self {
            nodes: Vec::new(),
            dir,
        };
        for _ in 0..size {
            cluster.grow(daemon, flags, SETTLE).await?;
        }
        Ok(cluster)
    }

    /// Starts another node, and waits until it is a voter and all serve.
    pub(crate) async fn grow(
        &mut self,
        daemon: &Path,
        flags: &[String],
        limit: Duration,
    ) -> Result<()> {
        let id = self.nodes.len() as u64 + 1;
        let spec = self.spec(id, daemon, flags)?;
        self.nodes.push(Node::start(spec).await?);
        let what = format!("nodes 1 to {id} are voters and serve");
        wait::until(&what, limit, async || {
            for node in &self.nodes {
                node.check_serving().await?;
            }
            let voters = self.nodes[0].stats().await?.voters;
            Ok((voters.len() as u64 == id).then_some(()))
        })
        .await
    }

    fn spec(&self, id: u64, daemon: &Path, flags: &[String]) -> Result<NodeSpec> {
        let dir = self.dir.path();
        let [raft_addr, http_addr] = free_addresses()?;
        Ok(NodeSpec {
            id,
            daemon: daemon.to_owned(),
            data_dir: dir.join(id.to_string()),
            log_file: dir.join(format!("{id}.log")),
            raft_addr,
            http_addr,
            join: self.nodes.first().map(Node::http_addr),
            flags: flags.to_vec(),
        })
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn node_mut(&mut self, position: usize) -> &mut Node {
        &mut self.nodes[position]
    }

    /// Waits until a node says that it leads; its position among [`Cluster::nodes`].
    pub(crate) async fn leader(&self) -> Result<usize> {
        wait::until("a node leads", SETTLE, async || {
            for (position, node) in self.nodes.iter().enumerate() {
                if node.stats().await?.state == "Leader" {
                    return Ok(Some(position));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Waits until every node has applied what the leader has committed by now.
    pub(crate) async fn caught_up(&self) -> Result<()> {
        let target = self.nodes[self.leader().await?]
            .stats()
            .await?
            .committed_index;
        for node in &self.nodes {
            let what = format!("node {} has caught up", node.id());
            wait::until(&what, SETTLE, async || {
                Ok((node.stats().await?.applied_index >= target).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until every node has applied the same entries, and compares what came of them.
    pub(crate) async fn digests_are_equal(&self) -> Result<bool> {
        wait::until("all nodes are at one entry", SETTLE, async || {
            let mut marks = Vec::new();
            for node in &self.nodes {
                marks.extend(node.stats().await?.fsm.digest);
            }
            let at_one = marks.len() == self.nodes.len()
                && marks.iter().all(|mark| mark.index == marks[0].index);
            Ok(at_one.then(|| marks.iter().all(|mark| *mark == marks[0])))
        })
        .await
    }
}

/// Two loopback addresses that were free a moment ago.
pub(crate) fn free_addresses() -> Result<[SocketAddr; 2]> {
    // An own address of 127/8 rather than 127.0.0.1, where the client side of any connection could
    // take the port of a node that is down for a moment.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, high.max(1), middle, low.clamp(1, 254));
    let raft = TcpListener::bind((ip, 0))?;
    let http = TcpListener::bind((ip, 0))?;
    Ok([raft.local_addr()?, http.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_addresses_differ_and_can_be_bound() {
        let [raft, http] = free_addresses().unwrap();
        assert_ne!(raft, http);
        TcpListener::bind(raft).unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_ends_is_reported_with_its_last_words() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let daemon = dir.path().join("rkvd");
        std::fs::write(
            &daemon,
            "#!/bin/sh\necho 'rkvd: error: no such flag' >&2\nexit 2\n",
        )
        .unwrap();
        std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launch = Launch {
            daemon,
            native: PathBuf::new(),
            dir: dir.path().to_owned(),
            target: dir.path().to_owned(),
        };
        let error = Cluster::start(&launch, 1, &[])
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("node 1 ended: exit status: 2"), "{error}");
        assert!(error.ends_with("rkvd: error: no such flag"), "{error}");
    }
}
