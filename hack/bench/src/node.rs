//! One `rkvd` process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Connection, Response};
use crate::stats::Stats;
use crate::wait;

/// Log lines of a node that are shown when it fails.
const TAIL_LINES: usize = 15;

/// How a node is started, the same each time.
#[derive(Debug)]
pub(crate) struct NodeSpec {
    pub(crate) id: u64,
    pub(crate) daemon: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) log_file: PathBuf,
    pub(crate) raft_addr: SocketAddr,
    pub(crate) http_addr: SocketAddr,
    /// HTTP address of the member to join; `None` for the first node.
    pub(crate) join: Option<SocketAddr>,
    pub(crate) flags: Vec<String>,
}

/// A node, running or not. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Node {
    spec: NodeSpec,
    process: Option<Child>,
}

impl Node {
    /// Starts the process, and waits until it answers.
    pub(crate) async fn start(spec: NodeSpec) -> Result<Self> {
        let mut node = Self {
            spec,
            process: None,
        };
        node.restart().await?;
        Ok(node)
    }

    /// Starts the process again after [`Node::kill`] or [`Node::terminate`].
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let spec = &self.spec;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&spec.log_file)?;
        let mut command = Command::new(&spec.daemon);
        command
            .args(["--id", &spec.id.to_string()])
            .arg("--data-dir")
            .arg(&spec.data_dir)
            .args(["--raft-addr", &spec.raft_addr.to_string()])
            .args(["--server-addr", &spec.http_addr.to_string()])
            .args(&spec.flags);
        if let Some(member) = spec.join {
            command.args(["--join", &member.to_string()]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command.spawn().with_context(|| {
            format!(
                "cannot start {}: build it with `cargo build --release -p rkv-host`",
                spec.daemon.display()
            )
        })?;
        self.process = Some(process);
        self.wait_until_healthy().await
    }

    async fn wait_until_healthy(&mut self) -> Result<()> {
        let what = format!("node {} is healthy", self.spec.id);
        let healthy = wait::until(&what, Duration::from_secs(60), async || {
            if let Some(status) = self.exited()? {
                return Ok(Some(Err(status)));
            }
            let response = self.get("/health").await?;
            ensure!(
                response.status == 200,
                "GET /health answered {}",
                response.summary()
            );
            Ok(Some(Ok(())))
        });
        match healthy.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("node {} ended: {status}{}", self.spec.id, self.log_tail()),
            Err(error) => bail!("{error:#}{}", self.log_tail()),
        }
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let process = self.process.as_mut().context("the node is not running")?;
        Ok(process.try_wait()?)
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.spec.log_file).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("; the end of its log:\n{}", tail.join("\n"))
    }

    pub(crate) fn id(&self) -> u64 {
        self.spec.id
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.spec.data_dir
    }

    /// The process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.spec.http_addr
    }

    /// Opens a connection for requests to this node.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(self.spec.http_addr).await;
        connection.with_context(|| format!("cannot connect to node {}", self.spec.id))
    }

    async fn get(&self, path: &str) -> Result<Response> {
        Ok(self.connect().await?.get(path).await?)
    }

    /// The node's figures, read over a connection of their own.
    pub(crate) async fn stats(&self) -> Result<Stats> {
        let response = self.get("/stats").await?;
        ensure!(
            response.status == 200,
            "GET /stats answered {}",
            response.summary()
        );
        serde_json::from_slice(&response.body).context("GET /stats is not as expected")
    }

    /// An error unless the node has a leader and a state machine: a linearizable read needs both.
    pub(crate) async fn check_serving(&self) -> Result<()> {
        let response = self.get("/keys/bench").await?;
        ensure!(
            matches!(response.status, 200 | 404),
            "a read answered {}",
            response.summary()
        );
        Ok(())
    }

    /// SIGKILL, which nothing can be prepared for. Returns once the process is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGTERM. Returns at once: [`Node::wait_for_exit`] waits for the end.
    pub(crate) fn terminate(&self) -> Result<()> {
        let process = self.process.as_ref().context("the node is not running")?;
        // The standard library sends no SIGTERM, and a crate for it would be the only new one.
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$1\"", "sh", &process.id().to_string()])
            .status()?;
        ensure!(
            sent.success(),
            "cannot send SIGTERM to node {}",
            self.spec.id
        );
        Ok(())
    }

    /// Waits for the end of the process, which must be an orderly one.
    pub(crate) async fn wait_for_exit(&mut self) -> Result<()> {
        let what = format!("node {} has ended", self.spec.id);
        let ended = wait::until(&what, Duration::from_secs(30), async || self.exited());
        let status = ended.await?;
        self.process = None;
        ensure!(
            status.success(),
            "node {} ended badly: {status}{}",
            self.spec.id,
            self.log_tail()
        );
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A process that cannot be killed is one that has ended already.
        let _ = self.kill();
    }
}
