//! The systems under load, behind one face.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};

use super::constant::Constant;
use super::etcd::Etcd;
use super::wrk::{Load, Operation, Outcome};
use crate::cluster::{Cluster, Launch};
use crate::scenarios::load::VALUE;
use crate::scenarios::store;
use crate::usage;

/// Which system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    Rkv,
    /// rkv without WebAssembly: the bundled store compiled in.
    Native,
    /// By its JSON gateway.
    Etcd,
    /// By its older HTTP interface, on the same nodes.
    EtcdV2,
    /// axum, answering a constant.
    Constant,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rkv => "rkv",
            Self::Native => "native",
            Self::Etcd => "etcd",
            Self::EtcdV2 => "etcd-v2",
            Self::Constant => "axum",
        })
    }
}

/// A running system.
#[derive(Debug)]
pub(crate) enum Subject {
    Rkv(Cluster),
    Native(Cluster),
    Etcd(Rc<Etcd>),
    EtcdV2(Rc<Etcd>),
    Constant(Constant),
}

/// One measured run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    /// CPU seconds of all nodes for a thousand requests.
    pub(crate) cpu: f64,
    /// Memory of all nodes afterwards, in bytes.
    pub(crate) resident: u64,
}

impl Subject {
    /// Starts all systems with `nodes` nodes each and 64 bytes under each of `keys` keys.
    pub(crate) async fn start_all(launch: &Launch, nodes: u64, keys: u64) -> Result<Vec<Self>> {
        let rkv = filled(&launch.daemon, launch, nodes, keys).await?;
        let native = filled(&launch.native, launch, nodes, keys).await?;
        let etcd = Rc::new(Etcd::start(launch, nodes).await?);
        etcd.fill(keys, VALUE).await?;
        Ok(vec![
            Self::Rkv(rkv),
            Self::Native(native),
            Self::Etcd(Rc::clone(&etcd)),
            Self::EtcdV2(etcd),
            Self::Constant(Constant::start()?),
        ])
    }

    pub(crate) fn system(&self) -> System {
        match self {
            Self::Rkv(_) => System::Rkv,
            Self::Native(_) => System::Native,
            Self::Etcd(_) => System::Etcd,
            Self::EtcdV2(_) => System::EtcdV2,
            Self::Constant(_) => System::Constant,
        }
    }

    /// Whether the system can be asked for this at all.
    pub(crate) fn serves(&self, operation: Operation) -> bool {
        match self {
            Self::Rkv(_) | Self::Native(_) | Self::Etcd(_) | Self::EtcdV2(_) => true,
            Self::Constant(_) => operation == Operation::Stale,
        }
    }

    /// Loads the leader and measures. An error if it does not lead any more at the end: then some
    /// of the answers were redirects.
    pub(crate) async fn measure(&self, mut load: Load) -> Result<Measured> {
        let pids = self.pids()?;
        load.system = match self {
            Self::Rkv(_) | Self::Native(_) | Self::Constant(_) => "rkv",
            Self::Etcd(_) => "etcd",
            Self::EtcdV2(_) => "etcd-v2",
        };
        let target = self.target().await?;
        let before = usage::cpu(&pids)?;
        let outcome = load.run(target).await?;
        let cpu = usage::cpu(&pids)? - before;
        anyhow::ensure!(
            self.target().await? == target,
            "{} changed its leader under load",
            self.system()
        );
        Ok(Measured {
            outcome,
            cpu: cpu.as_secs_f64() * 1e3 / outcome.requests as f64,
            resident: usage::resident(&pids)?,
        })
    }

    async fn target(&self) -> Result<SocketAddr> {
        match self {
            Self::Rkv(cluster) | Self::Native(cluster) => {
                Ok(cluster.nodes()[cluster.leader().await?].http_addr())
            }
            Self::Etcd(etcd) | Self::EtcdV2(etcd) => etcd.leader().await,
            Self::Constant(constant) => Ok(constant.address()),
        }
    }

    fn pids(&self) -> Result<Vec<u32>> {
        match self {
            Self::Rkv(cluster) | Self::Native(cluster) => {
                let pids = cluster.nodes().iter().map(|node| node.pid());
                pids.collect::<Option<_>>().context("a node has ended")
            }
            Self::Etcd(etcd) | Self::EtcdV2(etcd) => Ok(etcd.pids()),
            Self::Constant(constant) => Ok(vec![constant.pid()]),
        }
    }
}

async fn filled(daemon: &Path, launch: &Launch, nodes: u64, keys: u64) -> Result<Cluster> {
    let cluster = Cluster::start_of(daemon, launch, nodes, &[]).await?;
    let leader = &cluster.nodes()[cluster.leader().await?];
    store::load(leader, keys, std::str::from_utf8(VALUE)?).await?;
    Ok(cluster)
}
