//! One node of a cluster.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::binary::{rkvd, rkvd_failpoints};
use crate::client::Client;
use crate::process::{Exit, Process};

/// The prefix of the daemon's environment variables.
const ENV_PREFIX: &str = "RKV_";

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// `--id`.
    pub id: u64,
    /// `--data-dir`.
    pub data_dir: PathBuf,
    /// `--raft-addr`.
    pub raft_addr: SocketAddr,
    /// `--raft-advertise-addr`, where peers are to call it somewhere else.
    pub raft_advertise_addr: Option<SocketAddr>,
    /// `--server-addr`.
    pub http_addr: SocketAddr,
    /// `--join`, once each.
    pub join: Vec<SocketAddr>,
    /// Further flags, as they are.
    pub flags: Vec<String>,
    /// Failpoints to arm, as `FAILPOINTS` takes them: the node then runs `rkvd-failpoints`.
    pub failpoints: Option<String>,
}

impl NodeSpec {
    /// The command line, without the program.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            "--id".into(),
            self.id.to_string().into(),
            "--data-dir".into(),
            self.data_dir.clone().into(),
            "--raft-addr".into(),
            self.raft_addr.to_string().into(),
            "--server-addr".into(),
            self.http_addr.to_string().into(),
        ];
        if let Some(address) = self.raft_advertise_addr {
            arguments.extend(["--raft-advertise-addr".into(), address.to_string().into()]);
        }
        for address in &self.join {
            arguments.extend(["--join".into(), address.to_string().into()]);
        }
        arguments.extend(self.flags.iter().map(Into::into));
        arguments
    }

    /// Where its peers call it, which is also how the membership knows it.
    pub fn peer_addr(&self) -> SocketAddr {
        self.raft_advertise_addr.unwrap_or(self.raft_addr)
    }

    /// The daemon with this command line, and nothing from the environment of the tests.
    pub fn command(&self) -> Command {
        let mut command = Self::bare_command_with(self.failpoints.as_deref());
        command.args(self.arguments());
        command
    }

    /// The daemon without arguments, and nothing from the environment of the tests.
    pub fn bare_command() -> Command {
        Self::bare_command_of(&rkvd())
    }

    /// [`Self::bare_command`]; with failpoints, it is `rkvd-failpoints`.
    pub fn bare_command_with(failpoints: Option<&str>) -> Command {
        let Some(failpoints) = failpoints else {
            return Self::bare_command();
        };
        let mut command = Self::bare_command_of(&rkvd_failpoints());
        command.env("FAILPOINTS", failpoints);
        command
    }

    fn bare_command_of(daemon: &Path) -> Command {
        let mut command = Command::new(daemon);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with(ENV_PREFIX) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// A node that can be started, ended and started again with all that it had.
#[derive(Debug)]
pub struct NodeProcess {
    spec: NodeSpec,
    log: PathBuf,
    process: Option<Process>,
}

impl NodeProcess {
    /// A node that is not started yet, whose output goes to the file `log`.
    pub fn new(spec: NodeSpec, log: PathBuf) -> Self {
        Self {
            spec,
            log,
            process: None,
        }
    }

    /// What it is started with.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// What it is started with the next time.
    pub fn spec_mut(&mut self) -> &mut NodeSpec {
        &mut self.spec
    }

    /// The file with the output of all its runs.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// A client of this node.
    pub fn client(&self) -> Client {
        Client::new(self.spec.http_addr)
    }

    /// Starts it, and returns at once.
    ///
    /// # Panics
    ///
    /// When it runs already, or the daemon cannot be executed.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "node {} runs already", self.spec.id);
        let process = Process::spawn(self.spec.command(), &self.log)
            .unwrap_or_else(|error| panic!("start node {}: {error}", self.spec.id));
        self.process = Some(process);
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// SIGKILL; returns at once. [`Self::kill9`] is to follow.
    pub fn start_kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.start_kill();
        }
    }

    /// SIGKILL; returns when it is gone. A node that is not there stays so.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// SIGTERM; returns at once.
    pub fn terminate(&self) {
        self.started().terminate();
    }

    /// SIGSTOP; returns when all of it has stopped.
    pub fn pause(&self) {
        self.started().pause();
    }

    /// SIGCONT; returns at once.
    pub fn resume(&self) {
        self.started().resume();
    }

    /// Waits until it ends by itself.
    pub async fn exit(&mut self, within: Duration) -> Exit {
        let id = self.spec.id;
        let mut process = self
            .process
            .take()
            .unwrap_or_else(|| panic!("node {id} was not started"));
        process.exit(within).await
    }

    /// Memory of its process, in bytes: what is resident now.
    pub fn resident_bytes(&self) -> u64 {
        self.started().figure("VmRSS") << 10
    }

    /// Files and sockets that its process has open.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn open_files(&self) -> usize {
        self.started().open_files()
    }

    /// Memory that its process has reserved, in bytes, used or not.
    pub fn virtual_bytes(&self) -> u64 {
        self.started().figure("VmSize") << 10
    }

    /// What the current run has written.
    pub fn log(&self) -> String {
        self.started().log()
    }

    fn started(&self) -> &Process {
        self.process
            .as_ref()
            .unwrap_or_else(|| panic!("node {} was not started", self.spec.id))
    }
}
