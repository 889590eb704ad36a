//! The state machine as the rest of the node sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::events::Events;
use super::host_state::{ActiveModule, HostState};
use super::machine::FsmError;
use super::registry::Registry;
use super::worker::{Answer, Job, count};
use crate::types::{Failure, LogIndex, ModuleId, NodeId, Reply, TrapKind};

/// Queries that may wait for the thread. More are refused: their answers would come too late.
const MAX_WAITING_QUERIES: usize = 16_384;

/// Commands are refused above this share of the module's memory limit: what is left is for the
/// entries that are in the log already.
const SOFT_MEMORY_PERCENT: u64 = 90;

/// Why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// Too many queries wait already.
    #[error("too many queries are waiting")]
    Overloaded,
    /// The thread has ended, or cannot go on.
    #[error("the state machine has stopped: {0}")]
    Stopped(String),
    /// No module is active.
    #[error("no module is active")]
    NoModule,
    /// The module refused the query.
    #[error("refused: {}", .0.message)]
    Refused(Failure),
    /// The query trapped.
    #[error("trapped: {0}")]
    Trapped(TrapKind),
}

/// The state machine's figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsmStatus {
    /// The active module.
    pub module: Option<ModuleId>,
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The entry that activated it.
    pub since: Option<LogIndex>,
    /// Bytes of its linear memory.
    pub memory_bytes: u64,
    /// Bytes that it may have.
    pub memory_limit_bytes: u64,
    /// Commands applied since this process started.
    pub commands: u64,
    /// Calls into the module that applied them.
    pub batches: u64,
    /// Commands that trapped.
    pub traps: u64,
    /// Queries answered.
    pub queries: u64,
    /// Modules that this node has compiled.
    pub ready: Vec<ModuleId>,
    /// What the results of this node's engine depend on.
    pub fingerprint: ModuleId,
}

/// What the thread tells everyone.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<SharedState>);

#[derive(Debug)]
struct SharedState {
    applied: watch::Sender<Option<LogIndex>>,
    retired: RwLock<BTreeSet<NodeId>>,
    active: RwLock<Option<ActiveModule>>,
    history: RwLock<Vec<ActiveModule>>,
    modules: RwLock<BTreeMap<ModuleId, u64>>,
    memory: AtomicU64,
    memory_limit: AtomicU64,
    commands: AtomicU64,
    batches: AtomicU64,
    traps: AtomicU64,
    queries: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self(Arc::new(SharedState {
            applied: watch::Sender::new(None),
            retired: RwLock::default(),
            active: RwLock::default(),
            history: RwLock::default(),
            modules: RwLock::default(),
            memory: AtomicU64::new(0),
            memory_limit: AtomicU64::new(u64::MAX),
            commands: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            queries: AtomicU64::new(0),
        }))
    }

    pub(super) fn publish(&self, host: &HostState, memory_bytes: u64) {
        let shared = &self.0;
        shared.memory.store(memory_bytes, Ordering::Relaxed);
        if shared.retired.read().len() != host.retired.len() {
            *shared.retired.write() = host.retired.clone();
        }
        let since = |active: &Option<ActiveModule>| active.as_ref().map(|active| active.since);
        if since(&shared.active.read()) != since(&host.active) {
            let limit = host
                .active
                .as_ref()
                .map_or(u64::MAX, |active| active.limits.memory_bytes);
            shared.memory_limit.store(limit, Ordering::Relaxed);
            *shared.active.write() = host.active.clone();
            shared.history.write().clone_from(&host.history);
        }
        if *shared.modules.read() != host.modules {
            shared.modules.write().clone_from(&host.modules);
        }
        // Last: whoever sees the index must see what came with it.
        shared.applied.send_replace(host.applied.map(|id| id.index));
    }

    pub(super) fn count_applied(&self, replies: &[Reply]) {
        let (commands, traps) = count(replies);
        self.0.commands.fetch_add(commands, Ordering::Relaxed);
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        self.0.traps.fetch_add(traps, Ordering::Relaxed);
    }

    pub(super) fn count_queries(&self, queries: usize) {
        self.0.queries.fetch_add(queries as u64, Ordering::Relaxed);
    }
}

/// Talks to the state machine's thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FsmHandle {
    jobs: Sender<Job>,
    shared: Shared,
    registry: Registry,
    events: Events,
    waiting_queries: Arc<AtomicUsize>,
}

impl FsmHandle {
    pub(super) fn new(
        jobs: Sender<Job>,
        shared: Shared,
        registry: Registry,
        events: Events,
    ) -> Self {
        Self {
            jobs,
            shared,
            registry,
            events,
            waiting_queries: Arc::default(),
        }
    }

    /// Has the thread do a job.
    pub(super) fn submit(&self, job: Job) -> Result<(), FsmError> {
        self.jobs.send(job).map_err(|_| stopped())
    }

    /// Has the thread do a job and waits for its answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, FsmError> {
        let (answer, answered) = oneshot::channel();
        self.submit(job(answer))?;
        answered.await.map_err(|_| stopped())?
    }

    /// Asks the module on the state as it is.
    pub async fn query(&self, query: Bytes) -> Result<Bytes, QueryError> {
        let _waiting = Waiting::enter(&self.waiting_queries).ok_or(QueryError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        let ended = || QueryError::Stopped("its thread has ended".to_owned());
        self.jobs
            .send(Job::Query { query, answer })
            .map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Waits until the entry at `index` is applied.
    pub async fn wait_applied(&self, index: LogIndex) -> Result<(), QueryError> {
        let mut applied = self.shared.0.applied.subscribe();
        let reached = applied.wait_for(|applied| applied.is_some_and(|applied| applied >= index));
        match reached.await {
            Ok(_) => Ok(()),
            Err(_) => Err(QueryError::Stopped("its thread has ended".to_owned())),
        }
    }

    /// Waits until a module is active.
    pub async fn wait_active(&self) {
        if self.shared.0.active.read().is_some() {
            return;
        }
        let mut applied = self.shared.0.applied.subscribe();
        // An error means that the thread has ended: there is nothing to wait for.
        let _ = applied
            .wait_for(|_| self.shared.0.active.read().is_some())
            .await;
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogIndex> {
        *self.shared.0.applied.borrow()
    }

    /// Whether a node of this id was removed.
    pub fn is_retired(&self, id: NodeId) -> bool {
        self.shared.0.retired.read().contains(&id)
    }

    /// The modules on this node.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What commands have emitted.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Modules whose bytes every node has, with their sizes.
    pub fn modules(&self) -> BTreeMap<ModuleId, u64> {
        self.shared.0.modules.read().clone()
    }

    /// The modules that were active before, the latest last.
    pub fn history(&self) -> Vec<ActiveModule> {
        self.shared.0.history.read().clone()
    }

    /// The active module.
    pub fn active(&self) -> Option<ActiveModule> {
        self.shared.0.active.read().clone()
    }

    /// Whether the active module speaks a protocol; `None` while there is no module.
    pub fn speaks(&self, protocol: &str) -> Option<bool> {
        let active = self.shared.0.active.read();
        let protocols = &active.as_ref()?.description.protocols;
        Some(protocols.iter().any(|spoken| spoken == protocol))
    }

    /// Bytes of memory in use, and bytes above which commands should be refused.
    pub fn memory(&self) -> (u64, u64) {
        let limit = self.shared.0.memory_limit.load(Ordering::Relaxed);
        (
            self.shared.0.memory.load(Ordering::Relaxed),
            limit / 100 * SOFT_MEMORY_PERCENT,
        )
    }

    /// The figures.
    pub fn status(&self) -> FsmStatus {
        let shared = &self.shared.0;
        let active = shared.active.read();
        let described = active.as_ref().map(|active| &active.description);
        FsmStatus {
            module: active.as_ref().map(|active| active.module),
            name: described.map(|described| described.name.clone()),
            version: described.map(|described| described.version.clone()),
            since: active.as_ref().map(|active| active.since),
            memory_bytes: shared.memory.load(Ordering::Relaxed),
            memory_limit_bytes: active
                .as_ref()
                .map_or(0, |active| active.limits.memory_bytes),
            commands: shared.commands.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            traps: shared.traps.load(Ordering::Relaxed),
            queries: shared.queries.load(Ordering::Relaxed),
            ready: self.registry.ready(),
            fingerprint: ModuleId(self.registry.fingerprint()),
        }
    }
}

fn stopped() -> FsmError {
    FsmError::Fault("its thread has ended".to_owned())
}

/// Counts a query while it waits, whatever becomes of its future.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING_QUERIES).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
