//! A new instance in the place of one that faulted: newest snapshot, then the log behind it,
//! without the commands that trapped.

use super::host_state::HostState;
use super::machine::{FsmError, Machine, StepError, runs};
use super::section::Section;
use crate::storage::{SnapshotFile, StorageError};
use crate::types::{Entry, Failure, LogId, LogIndex, TrapKind};
use crate::wasm::{Fault, Instance, Restore};

/// Entries that one replay batch holds. Small enough for the fuel of one entry to suffice.
const REPLAY_BATCH: usize = 256;

/// What a snapshot file holds.
pub(super) struct Restored {
    pub(super) host: HostState,
    pub(super) instance: Option<Instance>,
}

impl Machine {
    /// Brings the state back to that of the last entry applied, on a new instance.
    pub(super) fn rebuild(&mut self) -> Result<(), FsmError> {
        let Some(target) = self.host.applied else {
            self.replace_instance(None);
            return Ok(());
        };
        tracing::info!(index = target.index, "rebuilding the state machine");
        let mut batch = REPLAY_BATCH;
        loop {
            match self.try_rebuild(target, batch)? {
                Replay::Done => return Ok(()),
                // Alone, it is the command's own fault: the next attempt skips it.
                Replay::Trapped(index, kind) if batch == 1 => {
                    self.trapped.insert(index, kind);
                }
                Replay::Trapped(..) => batch = 1,
            }
        }
    }

    fn try_rebuild(&mut self, target: LogId, batch: usize) -> Result<Replay, FsmError> {
        let restored = match self.parts.snapshots.newest_good()? {
            Some(file) => self.read_snapshot_file(&file)?,
            None => Restored {
                host: HostState::default(),
                instance: None,
            },
        };
        self.host = restored.host;
        self.replace_instance(restored.instance);
        let mut next = self.host.applied.map_or(0, |id| id.index + 1);
        while next <= target.index {
            let entries = self.parts.log.read_blocking(next, target.index + 1)?;
            let last = entries.last().ok_or(FsmError::MissingEntry(next))?;
            next = last.log_id.index + 1;
            if let Replay::Trapped(index, kind) = self.replay(&entries, batch)? {
                return Ok(Replay::Trapped(index, kind));
            }
        }
        Ok(Replay::Done)
    }

    fn replay(&mut self, entries: &[Entry], batch: usize) -> Result<Replay, FsmError> {
        for run in runs(entries).flat_map(|run| run.chunks(batch)) {
            match self.step(run) {
                Ok(_) => {}
                Err(StepError::Fault(Fault::Trap(kind))) => {
                    return Ok(Replay::Trapped(run[0].log_id.index, kind));
                }
                Err(error) => return Err(error.into_stop()),
            }
        }
        Ok(Replay::Done)
    }

    /// Replaces the state by that of a snapshot file.
    pub(super) fn install(&mut self, file: &SnapshotFile) -> Result<(), FsmError> {
        let restored = self.read_snapshot_file(file)?;
        self.host = restored.host;
        if let Some(applied) = self.host.applied {
            self.events.jump(applied.index);
        }
        self.replace_instance(restored.instance);
        for module in self.host.modules.keys() {
            self.parts.registry.prepare(*module);
        }
        Ok(())
    }

    /// Reads a snapshot file into a new instance; the current one is not touched.
    fn read_snapshot_file(&self, file: &SnapshotFile) -> Result<Restored, FsmError> {
        let mut host = HostState::decode(file)?;
        host.applied = file.meta().last_log_id;
        host.membership = file.meta().last_membership.clone();
        let mut modules: Vec<u8> = Vec::new();
        let mut module_of = None;
        let mut restoring = None;
        for chunk in file.chunks() {
            let chunk = chunk?;
            match Section::decode(&chunk).ok_or_else(|| damaged(file, "an unknown section"))? {
                Section::Module(module, bytes) => {
                    if module_of != Some(module) {
                        self.store_module(&mut modules)?;
                        module_of = Some(module);
                    }
                    modules.extend_from_slice(bytes);
                }
                Section::Upload(module, bytes) => {
                    host.uploads
                        .entry(module)
                        .or_default()
                        .extend_from_slice(bytes);
                }
                Section::State(bytes) => {
                    self.store_module(&mut modules)?;
                    if restoring.is_none() {
                        restoring = self.begin_restore(&host)?;
                    }
                    if let Some((instance, restore)) = &mut restoring {
                        let written = instance.restore_chunk(restore, bytes);
                        check_restored(&host, file, written)?;
                    }
                }
            }
        }
        self.store_module(&mut modules)?;
        if restoring.is_none() {
            restoring = self.begin_restore(&host)?;
        }
        let instance = match restoring {
            None => None,
            Some((mut instance, restore)) => {
                let finished = instance.finish_restore(restore);
                check_restored(&host, file, finished)?;
                Some(instance)
            }
        };
        Ok(Restored { host, instance })
    }

    fn store_module(&self, bytes: &mut Vec<u8>) -> Result<(), FsmError> {
        if !bytes.is_empty() {
            self.parts.registry.put(bytes)?;
            bytes.clear();
        }
        Ok(())
    }

    fn begin_restore(&self, host: &HostState) -> Result<Option<(Instance, Restore)>, FsmError> {
        let Some(active) = &host.active else {
            return Ok(None);
        };
        let mut instance = self.instantiate(active.module, &active.limits, active.fingerprint)?;
        let begun = instance.begin_restore(&active.description);
        let restore = begun.map_err(|fault| FsmError::Fault(fault.to_string()))?;
        Ok(Some((instance, restore)))
    }
}

pub(super) fn damaged(file: &SnapshotFile, reason: &str) -> FsmError {
    let what = file.path().display().to_string();
    StorageError::Damaged {
        what,
        reason: reason.to_owned(),
    }
    .into()
}

fn check_restored(
    host: &HostState,
    file: &SnapshotFile,
    outcome: Result<Result<(), Failure>, Fault>,
) -> Result<(), FsmError> {
    let reason = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failure)) => failure.message,
        Err(fault) => fault.to_string(),
    };
    match &host.active {
        Some(active) => Err(FsmError::Restore {
            module: active.module,
            path: file.path().display().to_string(),
            reason,
        }),
        None => Err(FsmError::Fault(reason)),
    }
}

/// How far a replay came.
enum Replay {
    Done,
    /// A command trapped that had not trapped before: the first of its batch, and how.
    Trapped(LogIndex, TrapKind),
}
