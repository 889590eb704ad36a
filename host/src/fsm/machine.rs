//! The state machine itself: the module's instance and the host's state, moved by log entries.
//!
//! Single-threaded: the worker owns it. A command that traps fails by itself, as if it had never
//! run ([`rebuild`](super::rebuild)); what could differ between nodes costs this node its state
//! ([`halt`](super::halt)).

use openraft::EntryPayload;
use sha2::{Digest, Sha256};

use super::checkpoint::{Claim, FrozenState};
use super::error::FsmError;
use super::events::Events;
use super::halt::Halt;
use super::host_state::HostState;
use super::in_place::Pace;
use super::keeping::Keeping;
use super::registry::Registry;
use crate::failpoint;
use crate::metrics::FsmMetrics;
use crate::storage::{Database, LogStore, PurgeFloor, SnapshotStore, TrapLedger};
use crate::types::{
    ClusterId, Entry, Limits, LogIndex, ModuleId, Proposal, Reply, StoredMembership, TrapKind,
};
use crate::wasm::{Fault, Instance};

/// What a machine is assembled from.
#[derive(Debug)]
pub struct MachineParts {
    /// The modules.
    pub registry: Registry,
    /// The snapshots to rebuild from.
    pub snapshots: SnapshotStore,
    /// The log to replay after a rebuild.
    pub log: LogStore,
    /// The commands that a replay leaves out.
    pub traps: TrapLedger,
    /// Knows the cluster, from which seeds are derived.
    pub database: Database,
}

/// The module's instance and the host's state.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) parts: MachineParts,
    pub(super) host: HostState,
    pub(super) instance: Option<Instance>,
    pub(super) pace: Pace,
    /// A call in place has spoilt the instance, which was not rebuilt yet.
    pub(super) is_broken: bool,
    pub(super) events: Events,
    pub(super) metrics: FsmMetrics,
    /// Why there is no state, if so.
    pub(super) halted: Option<Halt>,
    /// Raised whenever the instance is replaced: open snapshot cursors belong to an older one.
    pub(super) generation: u64,
    /// The state at the last checkpoint that asked for a snapshot, until somebody writes it.
    pub(super) frozen: Option<FrozenState>,
    /// What a leader computed, where this node has to look whether it did too.
    pub(super) claims: Vec<Claim>,
    /// The state from before the last activation, while it is being written.
    pub(super) keeping: Option<Keeping>,
    pub(super) cluster: Option<ClusterId>,
    /// The seed that was computed last, with its index: queries ask for that of the applied one.
    pub(super) last_seed: Option<(LogIndex, u64)>,
}

impl Machine {
    pub(super) fn new(parts: MachineParts, events: Events, metrics: FsmMetrics) -> Self {
        Self {
            parts,
            host: HostState::default(),
            instance: None,
            pace: Pace::default(),
            is_broken: false,
            events,
            metrics,
            halted: None,
            generation: 0,
            frozen: None,
            claims: Vec::new(),
            keeping: None,
            cluster: None,
            last_seed: None,
        }
    }

    /// Applies entries that follow the last one applied, in order. Answers one reply each. An error
    /// means that the node has to stop.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, FsmError> {
        self.mend()?;
        if let Some(ended) = self.keeping.take_if(|keeping| keeping.until().is_none()) {
            ended.finish()?;
        }
        let mut replies = Vec::with_capacity(entries.len());
        for run in runs(entries) {
            match self.apply_run(run) {
                Ok(applied) => replies.extend(applied),
                Err(error) if error.costs_the_state_only() => {
                    self.halt(error);
                    replies.extend(self.follow(run)?);
                }
                Err(error) => return Err(error),
            }
            self.freeze_if_asked(run)?;
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
                let index = first.log_id.index;
                tracing::warn!(index, entries = run.len(), %fault, "a fault in apply");
                self.recover(run, index, fault)
            }
        }
    }

    fn recover(
        &mut self,
        run: &[Entry],
        index: LogIndex,
        fault: Fault,
    ) -> Result<Vec<Reply>, FsmError> {
        match fault {
            Fault::Trap(_) | Fault::Memory if run.len() > 1 => {
                // The batch had the fuel of one entry: each fails exactly if it fails alone.
                self.rebuild()?;
                let mut replies = Vec::with_capacity(run.len());
                for entry in run {
                    replies.extend(self.apply_run(std::slice::from_ref(entry))?);
                }
                Ok(replies)
            }
            Fault::Trap(kind) => self.leave_out(run, index, kind),
            Fault::Memory => {
                self.rebuild()?;
                match self.step(run) {
                    Err(StepError::Fault(Fault::Memory)) => {}
                    // With room enough it fails by itself, as it does where there was room.
                    Err(StepError::Fault(Fault::Trap(kind))) => {
                        return self.leave_out(run, index, kind);
                    }
                    done => return done.map_err(StepError::into_stop),
                }
                // Heaps differ between nodes, but not the one of an instance that holds nothing but
                // the state before this entry: what fails there fails everywhere.
                self.rebuild()?;
                self.compact()?;
                match self.step(run) {
                    Err(StepError::Fault(Fault::Memory)) => {
                        self.leave_out(run, index, TrapKind::OutOfMemory)
                    }
                    Err(StepError::Fault(Fault::Trap(kind))) => self.leave_out(run, index, kind),
                    done => done.map_err(StepError::into_stop),
                }
            }
            fault => Err(FsmError::Fault(fault.to_string())),
        }
    }

    /// Goes back to before the entry, and on without it: it leaves nothing but its index and its
    /// time behind.
    fn leave_out(
        &mut self,
        run: &[Entry],
        index: LogIndex,
        kind: TrapKind,
    ) -> Result<Vec<Reply>, FsmError> {
        self.note_trap(self.active_since(), index, kind)?;
        self.rebuild()?;
        self.step(run).map_err(StepError::into_stop)
    }

    pub(super) fn note_trap(
        &mut self,
        since: LogIndex,
        index: LogIndex,
        kind: TrapKind,
    ) -> Result<(), FsmError> {
        let covered = match self.parts.snapshots.purge_floor() {
            PurgeFloor::Upto(covered) => Some(covered.index),
            PurgeFloor::Nothing | PurgeFloor::Unlimited => None,
        };
        Ok(self.parts.traps.add(since, index, kind, covered)?)
    }

    /// The activation of the active module.
    pub(super) fn active_since(&self) -> LogIndex {
        self.host.active.as_ref().map_or(0, |active| active.since)
    }

    /// Applies one run without recovering. On an error nothing but the clock has moved, and the
    /// instance may be unusable.
    pub(super) fn step(&mut self, run: &[Entry]) -> Result<Vec<Reply>, StepError> {
        if self.halted.is_some() {
            return self.follow(run).map_err(StepError::Stop);
        }
        let replies = match run {
            [entry] if !is_command(entry) => vec![self.step_host(entry)?],
            commands => self.step_commands(commands)?,
        };
        self.passed(run);
        if let Some(last) = run.last() {
            self.events.advance(last.log_id.index);
        }
        Ok(replies)
    }

    /// Moves the applied index behind a run.
    pub(super) fn passed(&mut self, run: &[Entry]) {
        if let Some(last) = run.last() {
            self.host.applied = Some(last.log_id);
        }
    }

    fn step_host(&mut self, entry: &Entry) -> Result<Reply, StepError> {
        let index = entry.log_id.index;
        let reply = match &entry.payload {
            EntryPayload::Normal(Proposal::Activate(activation)) => {
                self.activate(activation, index)?
            }
            _ => self.step_bookkeeping(entry)?,
        };
        self.host.fold(index, &reply, &[]);
        if let EntryPayload::Normal(Proposal::Checkpoint(checkpoint)) = &entry.payload {
            self.compare(checkpoint);
            self.host.mark(index);
        }
        Ok(reply)
    }

    /// The host's part of an entry, which needs no state of the module's.
    pub(super) fn step_bookkeeping(&mut self, entry: &Entry) -> Result<Reply, FsmError> {
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                self.host.set_membership(stored);
            }
            EntryPayload::Normal(proposal) => match proposal {
                Proposal::Command { .. }
                | Proposal::NamedCommand { .. }
                | Proposal::Activate(_)
                | Proposal::Checkpoint(_) => {}
                Proposal::ModuleChunk {
                    module,
                    offset,
                    bytes,
                } => {
                    failpoint::crash_at("module-chunk");
                    let max = self.parts.registry.max_bytes();
                    if let Err(reason) = self.host.add_chunk(*module, *offset, bytes, max) {
                        return Ok(Reply::Rejected(reason));
                    }
                }
                Proposal::ModuleCommit { module, size } => {
                    return self.commit_module(*module, *size);
                }
                Proposal::RemoveModule { module } => return self.remove_module(*module),
                Proposal::DropPrevious => {
                    self.host.previous = None;
                    self.keeping = None;
                    self.parts.snapshots.drop_previous()?;
                }
            },
        }
        Ok(Reply::Done)
    }

    fn commit_module(&mut self, module: ModuleId, size: u64) -> Result<Reply, FsmError> {
        let bytes = self.host.uploads.remove(&module).unwrap_or_default();
        if bytes.len() as u64 != size || Sha256::digest(&bytes)[..] != module.0 {
            return Ok(Reply::Rejected(format!(
                "the pieces of module {module} do not make it up"
            )));
        }
        failpoint::crash_at("module-before-store");
        self.parts.registry.put(&bytes)?;
        failpoint::crash_at("module-after-store");
        self.parts.registry.prepare(module);
        self.host.modules.insert(module, size);
        Ok(Reply::Done)
    }

    /// Forgets a module that nothing needs: neither the state machine, nor a rollback.
    fn remove_module(&mut self, module: ModuleId) -> Result<Reply, FsmError> {
        if self.host.needs(module) {
            return Ok(Reply::Rejected(format!(
                "module {module} is active, or is what a rollback goes back to"
            )));
        }
        if self.host.modules.remove(&module).is_some() {
            self.parts.registry.remove(module)?;
        }
        Ok(Reply::Done)
    }

    /// A new instance, with an empty state. The inner error is the module's own fault.
    pub(super) fn instantiate(
        &self,
        module: ModuleId,
        limits: &Limits,
        fingerprint: [u8; 32],
    ) -> Result<Result<Instance, Fault>, FsmError> {
        if fingerprint != self.parts.registry.fingerprint() {
            return Err(FsmError::Fingerprint { module });
        }
        Ok(self.parts.registry.load(module)?.instantiate(limits))
    }

    /// Answers the old one.
    pub(super) fn replace_instance(&mut self, instance: Option<Instance>) -> Option<Instance> {
        self.frozen = None;
        self.generation += 1;
        self.pace = Pace::default();
        self.is_broken = false;
        std::mem::replace(&mut self.instance, instance)
    }
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

pub(super) fn is_command(entry: &Entry) -> bool {
    matches!(&entry.payload, EntryPayload::Normal(proposal) if proposal.command().is_some())
}
