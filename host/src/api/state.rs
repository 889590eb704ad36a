//! What every handler works with, and the router over all of them.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::redirect::Failed;
use super::request::{Bodies, MAX_BODIES_BYTES, is_stale};
use super::routes::Routes;
use super::traffic::Traffic;
use super::{
    activation, backup, events, fsm, health, key, keys, leadership, metrics, modules, nodes, status,
};
use crate::config::RequestLimits;
use crate::metrics::HttpMetrics;
use crate::raft::{
    BackupError, BackupFile, ClusterStatus, Consensus, DryRun, ProposeError, ReadError,
};
use crate::request_id::{self, RequestIds};
use crate::types::ModuleId;

/// Requests at once that ask every node for its figures. Each takes a connection to each peer for a moment,
/// and the peers keep so many for this node: a flood of them must leave room for heartbeats.
const MAX_CLUSTER_FIGURES: usize = 32;

/// Dry runs at once. Each holds a copy of the state, in a second instance.
const MAX_DRY_RUNS: usize = 1;

/// Scrapes at once.
pub(super) const MAX_SCRAPES: usize = 1;

/// Backups at once, from their making to the last byte that a client reads. Each is a file of the size
/// of the state.
const MAX_BACKUPS: usize = 1;

/// What every handler works with.
#[derive(Debug)]
pub(crate) struct ApiState {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) limits: RequestLimits,
    pub(super) bodies: Bodies,
    cluster_figures: Semaphore,
    dry_runs: Arc<Semaphore>,
    backups: Arc<Semaphore>,
    /// A permit for each client that may listen to events.
    pub(super) listeners: Arc<Semaphore>,
    /// Ends the answers that would never end by themselves.
    pub(super) stop_streams: CancellationToken,
    /// A permit for each scrape at once.
    pub(super) scrapes: Arc<Semaphore>,
    pub(super) http: Arc<HttpMetrics>,
}

impl ApiState {
    pub(super) fn new(
        consensus: Arc<Consensus>,
        limits: RequestLimits,
        stop_streams: CancellationToken,
        http: Arc<HttpMetrics>,
    ) -> Self {
        Self {
            consensus,
            bodies: Bodies::new(limits.body_timeout, MAX_BODIES_BYTES),
            listeners: Arc::new(Semaphore::new(limits.max_event_listeners)),
            limits,
            cluster_figures: Semaphore::new(MAX_CLUSTER_FIGURES),
            dry_runs: Arc::new(Semaphore::new(MAX_DRY_RUNS)),
            backups: Arc::new(Semaphore::new(MAX_BACKUPS)),
            stop_streams,
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
            http,
        }
    }

    /// Every member's figures.
    pub(super) async fn cluster_status(&self) -> Result<Vec<ClusterStatus>, Problem> {
        let _permit = self.cluster_figures.try_acquire().map_err(|_| {
            let detail = "as many requests ask for the figures of all nodes as this node serves";
            Problem::overloaded(detail, MAX_CLUSTER_FIGURES)
        })?;
        Ok(self.consensus.cluster_status().await)
    }

    /// Tries a module on a copy of the state, also when the client hangs up: who asked for a copy has
    /// to give it back.
    pub(super) async fn dry_run(&self, module: ModuleId) -> Result<DryRun, Failed> {
        let permit = Arc::clone(&self.dry_runs).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Problem::overloaded("another dry run is under way on this node", MAX_DRY_RUNS)
        })?;
        let consensus = Arc::clone(&self.consensus);
        let work = async move {
            let _permit = permit;
            consensus.dry_run(module).await
        };
        self.finish("dry-run", work).await
    }

    /// Writes a backup, which counts as under way while the permit is held. As with a dry run, the
    /// frozen state is given back even if the client hangs up.
    pub(super) async fn backup(
        &self,
        is_stale: bool,
    ) -> Result<(BackupFile, OwnedSemaphorePermit), Failed> {
        let permit = Arc::clone(&self.backups).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Problem::overloaded("another backup is under way on this node", MAX_BACKUPS)
        })?;
        let consensus = Arc::clone(&self.consensus);
        let work = async move {
            let backup = consensus.backup(is_stale).await?;
            Ok::<_, BackupError>((backup, permit))
        };
        self.finish("backup", work).await
    }

    /// Waits for the first module of a new node, which takes a moment, rather than turn away the
    /// client that came with it.
    pub(super) async fn expect_module(&self) -> Result<(), Failed> {
        if self.consensus.is_active() {
            return Ok(());
        }
        let active = Box::pin(self.consensus.wait_active());
        match tokio::time::timeout(self.limits.request_timeout, active).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ReadError::NoModule.into()),
        }
    }

    /// Does work that goes on when the client that asked for it hangs up.
    pub(super) async fn finish<T, E>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, Failed>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let work = request_id::carry(work);
        match self.consensus.tasks().run(name, work).await {
            Some(done) => Ok(done?),
            None => Err(ProposeError::Unknown("this node is shutting down".to_owned()).into()),
        }
    }

    /// Asks the module with the consistency that the request asks for.
    pub(super) async fn ask(
        &self,
        parameters: Option<&str>,
        query: Bytes,
    ) -> Result<Bytes, Failed> {
        match is_stale(parameters)? {
            false => Ok(self.consensus.query(query).await?),
            true => Ok(self.consensus.query_stale(query).await?),
        }
    }
}

/// All routes, and the recorder of what comes to them.
pub(super) fn routes(ids: RequestIds) -> (Router<Arc<ApiState>>, Traffic) {
    let (router, traffic) = Routes::new()
        .merge(key::routes())
        .merge(keys::routes())
        .merge(nodes::routes())
        .merge(leadership::routes())
        .merge(fsm::routes())
        .merge(events::routes())
        .merge(modules::routes())
        .merge(activation::routes())
        .merge(status::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(backup::routes())
        .finish(ids);
    let router = router
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method);
    (router, traffic)
}

async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "Not found", detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} does not take {method}; see the Allow header",
        uri.path()
    );
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method not allowed",
        detail,
    )
}
