//! A running node.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::assemble::{Layers, StartError, assemble, serve_raft};
use super::join::{JoinError, Standing, join, standing};
use super::{descriptors, found, upkeep};
use crate::api::Server;
use crate::config::Config;
use crate::raft::Consensus;
use crate::storage::{DataDir, LogStore, Origin};
use crate::tasks::Tasks;

/// How long each step of a shutdown may take before the next one begins.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// How long a start waits for the first module.
const MODULE_DEADLINE: Duration = Duration::from_secs(5);

/// A node that takes part in its cluster and serves clients.
#[derive(Debug)]
pub struct Node {
    consensus: Arc<Consensus>,
    tasks: Tasks,
    stop_http: CancellationToken,
    http: tokio::task::JoinHandle<()>,
    log: LogStore,
    fsm_thread: JoinHandle<()>,
    data_dir: DataDir,
    refused: oneshot::Receiver<JoinError>,
}

impl Node {
    /// Starts a node: founds a cluster, joins one, or goes on where it was. Returns once the node
    /// is a member and serves.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let http_connections = descriptors::http_connections();
        let layers = assemble(&config).await?;
        let Layers {
            consensus,
            tasks,
            log,
            fsm_thread,
            raft_listener,
            http_listener,
            data_dir,
        } = layers;
        serve_raft(raft_listener, &consensus, &tasks);
        let server = Server::new(
            Arc::clone(&consensus),
            config.limits.clone(),
            http_connections,
        );
        let stop_http = server.stop();
        let (stop_streams, stopping) = (server.stop_streams(), Arc::clone(&consensus));
        tasks.spawn("event-streams", async move {
            // Nothing is applied any more, so there is nothing to wait for.
            stopping.wait_stopped().await;
            stop_streams.cancel();
        });
        #[allow(
            clippy::disallowed_methods,
            reason = "it drains when the tasks still run"
        )]
        let http = tokio::spawn(server.serve(http_listener, DRAIN_DEADLINE));
        let snapshots = upkeep::take_snapshots(Arc::clone(&consensus), config.snapshots.clone());
        tasks.spawn("snapshots", snapshots);
        let integrity = Arc::clone(&consensus).keep_integrity(config.checkpoint_interval);
        tasks.spawn("integrity", integrity);
        tasks.spawn("cluster", upkeep::follow_cluster(Arc::clone(&consensus)));
        let (refusal, refused) = oneshot::channel();

        if consensus.origin() == Origin::Bootstrap {
            let module = found::first_module(&config, &consensus).await?;
            found::initialize(&consensus).await?;
            let founder = Arc::clone(&consensus);
            tasks.spawn("first-module", async move {
                found::activate_first(&founder, module).await;
            });
        }
        consensus.elect_if_alone().await;
        match standing(&consensus) {
            Standing::Member => {}
            Standing::Stranger if consensus.origin() == Origin::Bootstrap => {}
            Standing::Stranger => join(&consensus, &config.join).await?,
            Standing::Moved(members) => {
                let mut targets = config.join.clone();
                targets.extend(members.into_iter().map(|member| member.http_addr));
                // If it leads, or is alone, it is its own to tell.
                targets.push(consensus.local().http_addr.clone());
                let mover = Arc::clone(&consensus);
                tasks.spawn("rejoin", async move {
                    if let Err(error) = join(&mover, &targets).await {
                        // Nobody waits when the node is already going down.
                        let _ = refusal.send(error);
                    }
                });
            }
        }
        // So that a client that waits for this node does not meet it without a state machine. A
        // restarted node may have to wait for its peers, and serves what it can meanwhile.
        let active = tokio::time::timeout(MODULE_DEADLINE, consensus.wait_active()).await;
        if active.is_err() {
            tracing::warn!("no module is active here yet: waiting for the cluster");
        }
        let local = consensus.local();
        tracing::info!(
            id = local.id, raft_addr = %local.raft_addr, server_addr = %local.http_addr, "ready"
        );
        Ok(Self {
            consensus,
            tasks,
            stop_http,
            http,
            log,
            fsm_thread,
            data_dir,
            refused,
        })
    }

    /// Waits for the cluster to refuse this node. For most nodes that never happens: only a node
    /// that came back at another address has to ask.
    pub async fn refused(&mut self) -> JoinError {
        match (&mut self.refused).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes the node down:
    ///
    /// 1. hands leadership over, while everything still serves;
    /// 2. stops accepting HTTP, and finishes the requests under way;
    /// 3. stops raft: nothing is proposed, appended or applied any more;
    /// 4. stops serving peers, and background tasks;
    /// 5. writes out what the log still holds in memory;
    /// 6. ends the state machine's thread;
    /// 7. releases the data directory.
    pub async fn shutdown(self) {
        tracing::info!("shutting down");
        self.consensus.hand_over_in_haste(HAND_OVER_DEADLINE).await;
        self.stop_http.cancel();
        if let Err(panic) = self.http.await {
            tracing::error!(%panic, "the HTTP server ended early");
        }
        if let Err(error) = self.consensus.raft().shutdown().await {
            tracing::error!(%error, "raft did not stop in order");
        }
        let running = self.tasks.stop(STOP_DEADLINE).await;
        if running > 0 {
            tracing::warn!(running, "tasks were still running at the end");
        }
        let log = self.log;
        let closed = tokio::task::spawn_blocking(move || log.close()).await;
        if let Ok(Err(error)) = closed {
            tracing::error!(%error, "the log was not closed in order");
        }
        drop(self.consensus);
        let fsm_thread = self.fsm_thread;
        let joined = tokio::task::spawn_blocking(move || fsm_thread.join());
        if tokio::time::timeout(STOP_DEADLINE, joined).await.is_err() {
            tracing::warn!("the state machine's thread was still running at the end");
        }
        drop(self.data_dir);
        tracing::info!("stopped");
    }
}
