//! What the state machine's thread tells everyone, and its figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::checkpoint::{Claim, Doubt, Subject};
use super::host_state::{ActiveModule, Previous};
use super::keeping::Keeping;
use super::machine::Machine;
use crate::types::{LogIndex, Mark, ModuleId, NodeId, Reply};

/// Snapshots whose state's digest is remembered.
const MAX_STATE_MARKS: usize = 4;

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
    /// The digest of all entries up to the last one applied, with what came of them.
    pub digest: Option<Mark>,
    /// The sha256 of the module's bytes in this node's newest snapshot, if this process wrote it.
    pub state_digest: Option<Mark>,
    /// Why this node answers no query and takes no command, if so.
    pub quarantine: Option<String>,
    /// How often a peer's snapshot took the place of this node's state.
    pub repairs: u64,
    /// The last entries that this node's snapshots cover.
    pub snapshots: Vec<LogIndex>,
    /// The activation whose previous state this node can go back to.
    pub previous: Option<LogIndex>,
    /// Modules that this node has compiled.
    pub ready: Vec<ModuleId>,
    /// What the results of this node's engine depend on.
    pub fingerprint: ModuleId,
}

/// Why a node's state is not to be used, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// One line for people.
    pub reason: String,
    /// Whether a peer's snapshot can help.
    pub repairable: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<SharedState>);

#[derive(Debug, Default)]
struct SharedState {
    applied: watch::Sender<Option<LogIndex>>,
    snapshot_due: watch::Sender<Option<LogIndex>>,
    doubt: watch::Sender<Option<Doubt>>,
    retired: RwLock<BTreeSet<NodeId>>,
    active: RwLock<Option<ActiveModule>>,
    history: RwLock<Vec<ActiveModule>>,
    previous: RwLock<Option<Previous>>,
    /// The activation whose previous state is on its way to disk.
    keeping: RwLock<Option<LogIndex>>,
    modules: RwLock<BTreeMap<ModuleId, u64>>,
    quarantines: RwLock<Quarantines>,
    /// Whether there is one: every query asks.
    is_quarantined: AtomicBool,
    digest: RwLock<Option<Mark>>,
    mark: RwLock<Option<Mark>>,
    state_marks: RwLock<Vec<Mark>>,
    state_since: AtomicU64,
    memory: AtomicU64,
    memory_limit: AtomicU64,
    commands_so_far: AtomicU64,
    commands: AtomicU64,
    batches: AtomicU64,
    traps: AtomicU64,
    queries: AtomicU64,
    repairs: AtomicU64,
}

/// Why the state is not to be used.
#[derive(Debug, Default)]
struct Quarantines {
    /// The machine has no state.
    halted: Option<Quarantine>,
    /// The state is not what a majority has.
    diverged: Option<Quarantine>,
}

impl Shared {
    pub(super) fn publish(&self, machine: &Machine) {
        let (shared, host) = (&self.0, &machine.host);
        let memory = machine
            .instance
            .as_ref()
            .map_or(0, crate::wasm::Instance::memory_bytes);
        shared.memory.store(memory, Ordering::Relaxed);
        shared
            .commands_so_far
            .store(host.commands, Ordering::Relaxed);
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
            shared
                .state_since
                .store(host.state_since, Ordering::Relaxed);
            *shared.active.write() = host.active.clone();
            shared.history.write().clone_from(&host.history);
        }
        if *shared.previous.read() != host.previous {
            shared.previous.write().clone_from(&host.previous);
        }
        *shared.keeping.write() = machine.keeping.as_ref().and_then(Keeping::until);
        if *shared.modules.read() != host.modules {
            shared.modules.write().clone_from(&host.modules);
        }
        let halted = machine.halted.as_ref().map(|halt| Quarantine {
            reason: halt.reason.clone(),
            repairable: halt.repairable,
        });
        if shared.quarantines.read().halted != halted {
            self.change_quarantines(|quarantines| quarantines.halted = halted);
        }
        *shared.digest.write() = host.applied.map(|id| Mark {
            index: id.index,
            digest: host.digest,
        });
        *shared.mark.write() = host.marks.last().copied();
        if let Some(frozen) = &machine.frozen {
            let due = frozen.host.applied.map(|id| id.index);
            shared.snapshot_due.send_if_modified(|known| {
                let newer = due > *known;
                *known = due.max(*known);
                newer
            });
        }
        // Last: whoever sees the index must see what came with it.
        shared.applied.send_replace(host.applied.map(|id| id.index));
    }

    pub(super) fn count_applied(&self, replies: &[Reply]) {
        let commands = replies.iter().filter(|reply| **reply != Reply::Done);
        let traps = replies
            .iter()
            .filter(|reply| matches!(reply, Reply::Trapped(_)));
        let counters = &self.0;
        counters
            .commands
            .fetch_add(commands.count() as u64, Ordering::Relaxed);
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters
            .traps
            .fetch_add(traps.count() as u64, Ordering::Relaxed);
    }

    pub(super) fn count_queries(&self, queries: usize) {
        self.0.queries.fetch_add(queries as u64, Ordering::Relaxed);
    }

    pub(super) fn count_repair(&self) {
        self.0.repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks whether this node has what a leader says that it has.
    pub(super) fn check(&self, claim: Claim) {
        let (subject, theirs) = match claim {
            Claim::Differs(theirs) => (Subject::Outcomes, theirs),
            Claim::State(theirs) => match self.state_mark(theirs.index) {
                Some(ours) if ours != theirs => (Subject::State, theirs),
                _ => return,
            },
        };
        let index = theirs.index;
        tracing::error!(
            ?subject,
            index,
            "this node does not have what the leader has"
        );
        self.0.doubt.send_replace(Some(Doubt { subject, index }));
    }

    pub(super) fn doubts(&self) -> watch::Receiver<Option<Doubt>> {
        self.0.doubt.subscribe()
    }

    pub(super) fn snapshots_due(&self) -> watch::Receiver<Option<LogIndex>> {
        self.0.snapshot_due.subscribe()
    }

    pub(super) fn applied(&self) -> Option<LogIndex> {
        *self.0.applied.borrow()
    }

    pub(super) fn watch_applied(&self) -> watch::Receiver<Option<LogIndex>> {
        self.0.applied.subscribe()
    }

    /// Remembers the digest of the module's bytes in a snapshot.
    pub(super) fn mark_state(&self, mark: Mark) {
        let mut marks = self.0.state_marks.write();
        marks.push(mark);
        let surplus = marks.len().saturating_sub(MAX_STATE_MARKS);
        marks.drain(..surplus);
    }

    pub(super) fn state_mark(&self, index: LogIndex) -> Option<Mark> {
        let marks = self.0.state_marks.read();
        marks.iter().find(|mark| mark.index == index).copied()
    }

    pub(super) fn newest_state_mark(&self) -> Option<Mark> {
        self.0.state_marks.read().last().copied()
    }

    pub(super) fn newest_mark(&self) -> Option<Mark> {
        *self.0.mark.read()
    }

    pub(super) fn quarantine(&self) -> Option<Quarantine> {
        if !self.0.is_quarantined.load(Ordering::Acquire) {
            return None;
        }
        let quarantines = self.0.quarantines.read();
        let quarantine = quarantines.halted.as_ref();
        quarantine.or(quarantines.diverged.as_ref()).cloned()
    }

    pub(super) fn set_diverged(&self, diverged: Option<Quarantine>) {
        self.change_quarantines(|quarantines| quarantines.diverged = diverged);
        self.0.state_marks.write().clear();
    }

    fn change_quarantines(&self, change: impl FnOnce(&mut Quarantines)) {
        let mut quarantines = self.0.quarantines.write();
        change(&mut quarantines);
        let is_one = quarantines.halted.is_some() || quarantines.diverged.is_some();
        self.0.is_quarantined.store(is_one, Ordering::Release);
    }

    pub(super) fn is_retired(&self, id: NodeId) -> bool {
        self.0.retired.read().contains(&id)
    }

    pub(super) fn modules(&self) -> BTreeMap<ModuleId, u64> {
        self.0.modules.read().clone()
    }

    pub(super) fn active(&self) -> Option<ActiveModule> {
        self.0.active.read().clone()
    }

    pub(super) fn is_active(&self) -> bool {
        self.0.active.read().is_some()
    }

    pub(super) fn history(&self) -> Vec<ActiveModule> {
        self.0.history.read().clone()
    }

    /// The entry that put another module in the place of one before it.
    pub(super) fn last_switch(&self) -> Option<LogIndex> {
        let active = self.0.active.read();
        let switched = !self.0.history.read().is_empty();
        active
            .as_ref()
            .filter(|_| switched)
            .map(|active| active.since)
    }

    pub(super) fn previous(&self) -> Option<Previous> {
        self.0.previous.read().clone()
    }

    pub(super) fn is_keeping(&self, until: LogIndex) -> bool {
        *self.0.keeping.read() == Some(until)
    }

    pub(super) fn state_since(&self) -> LogIndex {
        self.0.state_since.load(Ordering::Relaxed)
    }

    pub(super) fn commands_so_far(&self) -> u64 {
        self.0.commands_so_far.load(Ordering::Relaxed)
    }

    pub(super) fn speaks(&self, protocol: &str) -> Option<bool> {
        let active = self.0.active.read();
        let protocols = &active.as_ref()?.description.protocols;
        Some(protocols.iter().any(|spoken| spoken == protocol))
    }

    /// Bytes of memory in use, and those that there may be.
    pub(super) fn memory(&self) -> (u64, u64) {
        let limit = self.0.memory_limit.load(Ordering::Relaxed);
        (self.0.memory.load(Ordering::Relaxed), limit)
    }

    /// The figures; what the thread does not know is left empty.
    pub(super) fn status(&self) -> FsmStatus {
        let shared = &self.0;
        let active = shared.active.read();
        let described = active.as_ref().map(|active| &active.description);
        let limits = active.as_ref().map(|active| &active.limits);
        FsmStatus {
            module: active.as_ref().map(|active| active.module),
            name: described.map(|described| described.name.clone()),
            version: described.map(|described| described.version.clone()),
            since: active.as_ref().map(|active| active.since),
            memory_bytes: shared.memory.load(Ordering::Relaxed),
            memory_limit_bytes: limits.map_or(0, |limits| limits.memory_bytes),
            commands: shared.commands.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            traps: shared.traps.load(Ordering::Relaxed),
            queries: shared.queries.load(Ordering::Relaxed),
            digest: *shared.digest.read(),
            state_digest: self.newest_state_mark(),
            quarantine: self.quarantine().map(|quarantine| quarantine.reason),
            repairs: shared.repairs.load(Ordering::Relaxed),
            snapshots: Vec::new(),
            previous: shared
                .previous
                .read()
                .as_ref()
                .map(|previous| previous.until),
            ready: Vec::new(),
            fingerprint: ModuleId([0; 32]),
        }
    }
}
