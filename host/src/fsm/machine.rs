//! The state machine itself: the module's instance and the host's state, moved by log entries.
//!
//! Single-threaded: the worker owns it. A command that traps fails by itself, as if it had never
//! run ([`rebuild`](super::rebuild)); whatever could differ between nodes stops this node before
//! its applied index moves.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::EntryPayload;
use sha2::{Digest, Sha256};

use super::events::{EmittedEvent, Events};
use super::host_state::HostState;
use super::registry::Registry;
use crate::storage::{Database, LogStore, SnapshotStore};
use crate::types::{
    ClusterId, Entry, Failure, Limits, LogIndex, ModuleId, Proposal, Reply, StoredMembership,
    TrapKind,
};
use crate::wasm::{ApplyEntry, Context, Fault, Instance, ModuleError};

/// Why this node cannot go on applying. Never part of replicated state.
#[derive(Debug, thiserror::Error)]
pub enum FsmError {
    /// The cluster runs the module on another engine.
    #[error(
        "module {module} was activated for another engine than this build has: run the version of \
         rkvd that the other nodes run"
    )]
    Fingerprint {
        /// The module.
        module: ModuleId,
    },
    /// A module that the log or a snapshot counts on is not on disk.
    #[error("module {module} is not in this node's module store")]
    NoModule {
        /// The module.
        module: ModuleId,
    },
    /// A module that was accepted once is accepted no more.
    #[error("cannot load module {module}: {source}")]
    Module {
        /// The module.
        module: ModuleId,
        /// What is wrong with it.
        source: ModuleError,
    },
    /// A fault that another node may not have had.
    #[error("the state machine failed on this node: {0}")]
    Fault(String),
    /// The module failed while its snapshot was taken. The instance was rebuilt.
    #[error("the module failed while its snapshot was taken: {0}")]
    Snapshot(Fault),
    /// An entry arrived at a node that belongs to no cluster.
    #[error("this data directory has log entries and no cluster")]
    NoCluster,
    /// The guest's memory ran out, and a compact rebuild did not help.
    #[error(
        "the module ran out of memory at log index {0} even after a rebuild from a snapshot: \
         activate it with a larger memory limit"
    )]
    Memory(LogIndex),
    /// What the state machine needs is not on disk.
    #[error(transparent)]
    Storage(#[from] crate::storage::StorageError),
    /// Entries that were applied before cannot be read again.
    #[error("entry {0} is needed to rebuild the state machine and is not in the log")]
    MissingEntry(LogIndex),
    /// The snapshot does not fit its module.
    #[error("module {module} refuses the snapshot at {path}: {reason}")]
    Restore {
        /// The module.
        module: ModuleId,
        /// The snapshot file.
        path: String,
        /// What it says.
        reason: String,
    },
}

/// What a machine is assembled from.
#[derive(Debug)]
pub struct MachineParts {
    /// The modules.
    pub registry: Registry,
    /// The snapshots to rebuild from.
    pub snapshots: SnapshotStore,
    /// The log to replay after a rebuild.
    pub log: LogStore,
    /// Knows the cluster, from which seeds are derived.
    pub database: Database,
}

/// The module's instance and the host's state.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) parts: MachineParts,
    pub(super) host: HostState,
    pub(super) instance: Option<Instance>,
    pub(super) events: Events,
    /// Commands that trapped, by index: a replay skips them.
    pub(super) trapped: BTreeMap<LogIndex, TrapKind>,
    /// Raised whenever the instance is replaced: open snapshot cursors belong to an older one.
    pub(super) generation: u64,
    cluster: Option<ClusterId>,
}

/// A command with all that it may depend on.
struct Command {
    context: Context,
    bytes: Bytes,
}

impl Machine {
    pub(super) fn new(parts: MachineParts, events: Events) -> Self {
        Self {
            parts,
            host: HostState::default(),
            instance: None,
            events,
            trapped: BTreeMap::new(),
            generation: 0,
            cluster: None,
        }
    }

    /// Applies entries that follow the last one applied, in order. Answers one reply each.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, FsmError> {
        let mut replies = Vec::with_capacity(entries.len());
        for run in runs(entries) {
            replies.extend(self.apply_run(run)?);
        }
        Ok(replies)
    }

    /// Applies one run of commands or one other entry, and recovers from faults that are the
    /// command's own.
    fn apply_run(&mut self, run: &[Entry]) -> Result<Vec<Reply>, FsmError> {
        let clock_ms = self.host.clock_ms;
        match self.step(run) {
            Ok(replies) => Ok(replies),
            Err(StepError::Stop(error)) => Err(error),
            Err(StepError::Fault(fault)) => {
                self.host.clock_ms = clock_ms;
                let Some(first) = run.first() else {
                    return Ok(Vec::new());
                };
                tracing::warn!(index = first.log_id.index, entries = run.len(), %fault, "a fault in apply");
                self.recover(run, fault)
            }
        }
    }

    fn recover(&mut self, run: &[Entry], fault: Fault) -> Result<Vec<Reply>, FsmError> {
        let first = run[0].log_id.index;
        match fault {
            Fault::Trap(kind) if run.len() == 1 => {
                self.trapped.insert(first, kind);
                self.rebuild()?;
                // Now it is skipped, and leaves nothing but its index and its time behind.
                self.step(run).map_err(StepError::into_stop)
            }
            Fault::Trap(_) => {
                // The batch had the fuel of one entry: each fails exactly if it fails alone.
                self.rebuild()?;
                let mut replies = Vec::with_capacity(run.len());
                for entry in run {
                    replies.extend(self.apply_run(std::slice::from_ref(entry))?);
                }
                Ok(replies)
            }
            Fault::Memory => {
                self.rebuild()?;
                self.step(run).map_err(|error| match error {
                    StepError::Fault(Fault::Memory) => FsmError::Memory(first),
                    error => error.into_stop(),
                })
            }
            fault => Err(FsmError::Fault(fault.to_string())),
        }
    }

    /// Applies one run without recovering. On an error nothing but the clock has moved, and the
    /// instance may be unusable.
    pub(super) fn step(&mut self, run: &[Entry]) -> Result<Vec<Reply>, StepError> {
        let replies = match run {
            [entry] if !is_command(entry) => vec![self.step_host(entry)?],
            commands => self.step_commands(commands)?,
        };
        if let Some(last) = run.last() {
            self.host.applied = Some(last.log_id);
            self.events.advance(last.log_id.index);
        }
        Ok(replies)
    }

    fn step_host(&mut self, entry: &Entry) -> Result<Reply, StepError> {
        let index = entry.log_id.index;
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                self.host.set_membership(stored);
            }
            EntryPayload::Normal(Proposal::Command { .. }) => {}
            EntryPayload::Normal(Proposal::ModuleChunk {
                module,
                offset,
                bytes,
            }) => {
                let max = self.parts.registry.max_bytes();
                if let Err(reason) = self.host.add_chunk(*module, *offset, bytes, max) {
                    return Ok(Reply::Rejected(reason));
                }
            }
            EntryPayload::Normal(Proposal::ModuleCommit { module, size }) => {
                return self.commit_module(*module, *size);
            }
            EntryPayload::Normal(Proposal::Activate(activation)) => {
                return self.activate(activation, index);
            }
            EntryPayload::Normal(Proposal::RemoveModule { module }) => {
                return self.remove_module(*module);
            }
        }
        Ok(Reply::Done)
    }

    fn commit_module(&mut self, module: ModuleId, size: u64) -> Result<Reply, StepError> {
        let bytes = self.host.uploads.remove(&module).unwrap_or_default();
        if bytes.len() as u64 != size || Sha256::digest(&bytes)[..] != module.0 {
            return Ok(Reply::Rejected(format!(
                "the pieces of module {module} do not make it up"
            )));
        }
        self.parts.registry.put(&bytes).map_err(FsmError::from)?;
        self.parts.registry.prepare(module);
        self.host.modules.insert(module, size);
        Ok(Reply::Done)
    }

    /// Forgets a module that nothing needs: neither the state machine, nor a rollback.
    fn remove_module(&mut self, module: ModuleId) -> Result<Reply, StepError> {
        if self.host.needs(module) {
            return Ok(Reply::Rejected(format!(
                "module {module} is active, or is what a rollback goes back to"
            )));
        }
        if self.host.modules.remove(&module).is_some() {
            self.parts.registry.remove(module).map_err(FsmError::from)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn instantiate(
        &self,
        module: ModuleId,
        limits: &Limits,
        fingerprint: [u8; 32],
    ) -> Result<Instance, FsmError> {
        if fingerprint != self.parts.registry.fingerprint() {
            return Err(FsmError::Fingerprint { module });
        }
        let loaded = self.parts.registry.load(module)?;
        loaded
            .instantiate(limits)
            .map_err(|fault| FsmError::Fault(fault.to_string()))
    }

    pub(super) fn replace_instance(&mut self, instance: Option<Instance>) {
        self.instance = instance;
        self.generation += 1;
    }

    fn step_commands(&mut self, run: &[Entry]) -> Result<Vec<Reply>, StepError> {
        if self.instance.is_none() {
            return Ok(vec![Reply::NoModule; run.len()]);
        }
        let mut commands = Vec::with_capacity(run.len());
        for entry in run {
            commands.extend(self.command(entry)?);
        }
        let runs: Vec<ApplyEntry<'_>> = commands
            .iter()
            .filter(|command| !self.trapped.contains_key(&command.context.index))
            .map(|command| ApplyEntry {
                context: command.context,
                command: &command.bytes,
            })
            .collect();
        let outcomes = match &mut self.instance {
            Some(instance) if !runs.is_empty() => {
                instance.apply(&runs).map_err(StepError::Fault)?
            }
            _ => Vec::new(),
        };
        let mut outcomes = outcomes.into_iter();
        let mut emitted = Vec::new();
        let reply = |command: &Command| match self.trapped.get(&command.context.index) {
            Some(kind) => Some(Reply::Trapped(*kind)),
            None => outcomes.next().map(|outcome| match outcome {
                Ok(outcome) => {
                    emitted.extend(EmittedEvent::of(&command.context, outcome.events));
                    Reply::Response(Bytes::from(outcome.response))
                }
                Err(failure) => Reply::Refused(failure),
            }),
        };
        // The instance answers one outcome per entry, or faults.
        let replies = commands.iter().map_while(reply).collect();
        self.events.push(emitted);
        Ok(replies)
    }

    fn command(&mut self, entry: &Entry) -> Result<Option<Command>, FsmError> {
        let EntryPayload::Normal(Proposal::Command { time_ms, command }) = &entry.payload else {
            return Ok(None);
        };
        let time_ms = self.host.advance_clock(*time_ms);
        let context = self.context(
            entry.log_id.index,
            **entry.log_id.committed_leader_id(),
            time_ms,
        )?;
        Ok(Some(Command {
            context,
            bytes: command.clone(),
        }))
    }

    fn context(&mut self, index: LogIndex, term: u64, time_ms: u64) -> Result<Context, FsmError> {
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => {
                // Entries arrive only after the cluster was founded or joined.
                let cluster = self
                    .parts
                    .database
                    .identity()?
                    .and_then(|identity| identity.cluster);
                *self.cluster.insert(cluster.ok_or(FsmError::NoCluster)?)
            }
        };
        Ok(Context {
            index,
            term,
            time_ms,
            seed: seed(cluster, index),
        })
    }

    /// Asks the module. A fault costs the instance, which is rebuilt: nobody's state.
    pub(super) fn query(
        &mut self,
        queries: &[&[u8]],
    ) -> Result<Option<Vec<QueryAnswer>>, FsmError> {
        let applied = self.host.applied;
        let index = applied.map_or(0, |id| id.index);
        let term = applied.map_or(0, |id| **id.committed_leader_id());
        let now = self.context(index, term, self.host.clock_ms)?;
        let Some(instance) = &mut self.instance else {
            return Ok(None);
        };
        match (instance.query(now, queries), queries) {
            (Ok(answers), _) => {
                let answer = |answer: Result<_, _>| answer.map_err(QueryFault::Refused);
                Ok(Some(answers.into_iter().map(answer).collect()))
            }
            (Err(fault), [_]) => {
                tracing::warn!(%fault, "a query failed");
                self.rebuild()?;
                match fault {
                    Fault::Trap(kind) => Ok(Some(vec![Err(QueryFault::Trapped(kind))])),
                    Fault::Memory => {
                        Ok(Some(vec![Err(QueryFault::Trapped(TrapKind::Unreachable))]))
                    }
                    fault => Err(FsmError::Fault(fault.to_string())),
                }
            }
            (Err(fault), _) => {
                tracing::warn!(%fault, queries = queries.len(), "a batch of queries failed");
                self.rebuild()?;
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    answers.extend(self.query(std::slice::from_ref(query))?.unwrap_or_default());
                }
                Ok(Some(answers))
            }
        }
    }
}

/// What came of one query.
pub(super) type QueryAnswer = Result<Vec<u8>, QueryFault>;

/// Why one query has no answer.
#[derive(Debug)]
pub(super) enum QueryFault {
    Refused(Failure),
    Trapped(TrapKind),
}

/// Why a run of entries was not applied.
#[derive(Debug)]
pub(super) enum StepError {
    /// The module faulted: recovering may be possible.
    Fault(Fault),
    /// This node must stop.
    Stop(FsmError),
}

impl StepError {
    pub(super) fn into_stop(self) -> FsmError {
        match self {
            Self::Fault(fault) => FsmError::Fault(fault.to_string()),
            Self::Stop(error) => error,
        }
    }
}

impl From<FsmError> for StepError {
    fn from(error: FsmError) -> Self {
        Self::Stop(error)
    }
}

/// Cuts entries into what one step takes: commands that follow each other, or one other entry.
pub(super) fn runs(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|left, right| is_command(left) && is_command(right))
}

fn is_command(entry: &Entry) -> bool {
    matches!(
        entry.payload,
        EntryPayload::Normal(Proposal::Command { .. })
    )
}

/// Eight bytes of sha256 over the cluster and the index: equal on all nodes, unlike anything that a
/// client can choose.
fn seed(cluster: ClusterId, index: LogIndex) -> u64 {
    let digest = Sha256::new()
        .chain_update(cluster.0)
        .chain_update(index.to_le_bytes())
        .finalize();
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(seed)
}
