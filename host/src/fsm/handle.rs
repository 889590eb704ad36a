//! The state machine as the rest of the node sees it.

use std::collections::BTreeMap;
use std::sync::Weak;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::backup::Provenance;
use super::checkpoint::Doubt;
use super::error::FsmError;
use super::events::Events;
use super::host_state::{ActiveModule, Previous};
use super::in_place::Access;
use super::registry::Registry;
use super::shared::{FsmStatus, Quarantine, Shared};
use super::snapshot::SnapshotBuilder;
use super::worker::{Answer, Answers, Applicable, Applied, Job, Worker, slices};
use crate::metrics::FsmMetrics;
use crate::storage::{SnapshotFile, SnapshotStore};
use crate::types::{Failure, LogIndex, Mark, ModuleId, NodeId, StateDigest, TrapKind};

/// Commands are refused above this share of the module's memory limit: what is left is for the
/// entries that are in the log already.
const SOFT_MEMORY_PERCENT: u64 = 90;

/// Why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The thread has ended, or cannot go on.
    #[error("the state machine has stopped: {0}")]
    Stopped(String),
    /// This node's state is not to be trusted, or not there. Other nodes may answer.
    #[error("this node's state is not to be used: {0}")]
    Quarantined(String),
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

/// Talks to the state machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FsmHandle {
    access: Access,
    shared: Shared,
    registry: Registry,
    snapshots: SnapshotStore,
    events: Events,
    metrics: FsmMetrics,
    pulse: Weak<()>,
}

impl FsmHandle {
    pub(super) fn new(
        access: Access,
        shared: Shared,
        registry: Registry,
        snapshots: SnapshotStore,
        events: Events,
        metrics: FsmMetrics,
        pulse: Weak<()>,
    ) -> Self {
        Self {
            access,
            shared,
            registry,
            snapshots,
            events,
            metrics,
            pulse,
        }
    }

    /// Has the thread do a job.
    pub(super) fn submit(&self, job: Job) -> Result<(), FsmError> {
        self.access.submit(job)
    }

    /// Has the thread do a job and waits for its answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, FsmError> {
        let (answer, answered) = oneshot::channel();
        self.submit(job(answer))?;
        answered.await.map_err(|_| FsmError::Ended)?
    }

    /// Asks the module on the state as it is: an answer for each query, or what befell them all.
    pub async fn query(&self, queries: Vec<Bytes>) -> Answers {
        if let Some(answers) = self.query_in_place(&slices(&queries))? {
            return Ok(answers);
        }
        let (answer, answered) = oneshot::channel();
        let ended = || QueryError::Stopped("its thread has ended".to_owned());
        self.submit(Job::Query { queries, answer })
            .map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// As [`Self::query`], on the calling thread; `None` if that is not the place for it now.
    pub fn query_in_place(
        &self,
        queries: &[&[u8]],
    ) -> Result<Option<Vec<Result<Bytes, QueryError>>>, QueryError> {
        if let Some(quarantine) = self.shared.quarantine() {
            return Err(QueryError::Quarantined(quarantine.reason));
        }
        let asked = |worker: &mut Worker| worker.query_in_place(queries);
        Ok(self.access.in_place(asked).flatten())
    }

    /// Applies entries that follow the last one applied.
    pub(super) async fn apply(
        &self,
        mut entries: Vec<Applicable>,
    ) -> Result<Vec<Applied>, FsmError> {
        // Taken out only if the machine is used.
        let apply = |worker: &mut Worker| worker.apply_in_place(std::mem::take(&mut entries));
        match self.access.in_place(apply) {
            Some(Ok(applied)) => return Ok(applied),
            Some(Err(left)) => entries = left,
            None => {}
        }
        self.ask(|done| Job::Apply { entries, done }).await
    }

    /// Waits until the entry at `index` is applied.
    pub async fn wait_applied(&self, index: LogIndex) -> Result<(), QueryError> {
        let mut applied = self.shared.watch_applied();
        let reached = applied.wait_for(|applied| applied.is_some_and(|applied| applied >= index));
        match reached.await {
            Ok(_) => Ok(()),
            Err(_) => Err(QueryError::Stopped("its thread has ended".to_owned())),
        }
    }

    /// Whether a module is active.
    pub fn is_active(&self) -> bool {
        self.shared.is_active()
    }

    /// Waits until a module is active.
    pub async fn wait_active(&self) {
        let mut applied = self.shared.watch_applied();
        // An error means that the thread has ended: there is nothing to wait for.
        let _ = applied.wait_for(|_| self.shared.is_active()).await;
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogIndex> {
        self.shared.applied()
    }

    /// Whether a node of this id was removed.
    pub fn is_retired(&self, id: NodeId) -> bool {
        self.shared.is_retired(id)
    }

    /// The modules on this node.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether the thread is there.
    pub fn is_alive(&self) -> bool {
        self.pulse.strong_count() > 0
    }

    /// The thread's recorder.
    pub fn metrics(&self) -> &FsmMetrics {
        &self.metrics
    }

    /// What commands have emitted.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Modules whose bytes every node has, with their sizes.
    pub fn modules(&self) -> BTreeMap<ModuleId, u64> {
        self.shared.modules()
    }

    /// The modules that were active before, the latest last.
    pub fn history(&self) -> Vec<ActiveModule> {
        self.shared.history()
    }

    /// The active module.
    pub fn active(&self) -> Option<ActiveModule> {
        self.shared.active()
    }

    /// The entry that put another module in the place of one before it.
    pub fn last_switch(&self) -> Option<LogIndex> {
        self.shared.last_switch()
    }

    /// The state that was kept from before the last activation.
    pub fn previous(&self) -> Option<Previous> {
        self.shared.previous()
    }

    /// Commands since the cluster began.
    pub fn commands_so_far(&self) -> u64 {
        self.shared.commands_so_far()
    }

    /// The last activation that did not carry the state over.
    pub fn state_since(&self) -> LogIndex {
        self.shared.state_since()
    }

    /// Whether the active module speaks a protocol; `None` while there is no module.
    pub fn speaks(&self, protocol: &str) -> Option<bool> {
        self.shared.speaks(protocol)
    }

    /// Bytes of memory in use, and bytes above which commands should be refused.
    pub fn memory(&self) -> (u64, u64) {
        let (used, limit) = self.shared.memory();
        (used, limit / 100 * SOFT_MEMORY_PERCENT)
    }

    /// Why this node's state is not to be used, if so.
    pub fn quarantine(&self) -> Option<Quarantine> {
        self.shared.quarantine()
    }

    /// Notes that a majority has another state than this node, or that this is over.
    pub fn set_diverged(&self, diverged: Option<Quarantine>) {
        self.shared.set_diverged(diverged);
    }

    /// Changes when this node has something else than the leader.
    pub fn doubts(&self) -> watch::Receiver<Option<Doubt>> {
        self.shared.doubts()
    }

    /// Changes when a checkpoint asks for a snapshot.
    pub fn snapshots_due(&self) -> watch::Receiver<Option<LogIndex>> {
        self.shared.snapshots_due()
    }

    /// The newest checkpoint.
    pub fn newest_mark(&self) -> Option<Mark> {
        self.shared.newest_mark()
    }

    /// The newest snapshot that this process wrote, with the digest of the module's bytes.
    pub fn newest_state_mark(&self) -> Option<Mark> {
        self.shared.newest_state_mark()
    }

    /// The digest of the module's bytes in the snapshot at `index`, if this process wrote it.
    pub fn state_digest(&self, index: LogIndex) -> Option<StateDigest> {
        self.shared.state_mark(index).map(|mark| mark.digest)
    }

    /// The digest of all outcomes at a checkpoint, if it is remembered.
    ///
    /// # Errors
    /// When the thread has ended.
    pub async fn digest(&self, index: LogIndex) -> Result<Option<StateDigest>, FsmError> {
        self.ask(|answer| Job::Digest { index, answer }).await
    }

    /// The entries behind `index` that some module trapped on, on this node.
    ///
    /// # Errors
    /// When the thread has ended.
    pub async fn traps_behind(&self, index: LogIndex) -> Result<Vec<LogIndex>, FsmError> {
        self.ask(|answer| Job::Traps { index, answer }).await
    }

    /// Puts a peer's snapshot in the place of this node's state, and replays the log behind it.
    ///
    /// # Errors
    /// Why this node still has no state to trust.
    pub async fn repair(&self, file: SnapshotFile) -> Result<(), FsmError> {
        self.ask(|done| Job::Repair { file, done }).await?;
        self.shared.set_diverged(None);
        self.shared.count_repair();
        Ok(())
    }

    /// Writes the present state to a file that is gone when nobody reads it any more.
    ///
    /// # Errors
    /// Why there is none: this node's state, or its disk.
    pub async fn backup(&self, provenance: Provenance) -> Result<SnapshotFile, FsmError> {
        let (snapshots, registry) = (self.snapshots.clone(), self.registry.clone());
        let builder = SnapshotBuilder::new(self.clone(), snapshots, registry);
        builder.build_backup(provenance).await
    }

    /// Remembers the digest of the module's bytes in a snapshot.
    pub(super) fn mark_state(&self, mark: Mark) {
        self.shared.mark_state(mark);
    }

    /// The figures.
    pub fn status(&self) -> FsmStatus {
        let status = self.shared.status();
        let is_here = |until: &LogIndex| {
            self.shared.is_keeping(*until) || matches!(self.snapshots.previous(*until), Ok(Some(_)))
        };
        FsmStatus {
            previous: status.previous.filter(is_here),
            snapshots: self.snapshots.indexes(),
            ready: self.registry.ready(),
            fingerprint: ModuleId(self.registry.fingerprint()),
            ..status
        }
    }
}
