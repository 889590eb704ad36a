//! A new instance in the place of one that faulted: newest snapshot, then the log behind it,
//! without the commands that trapped.

use std::time::Instant;

use super::error::FsmError;
use super::machine::{Machine, StepError, runs};
use super::restore::Restored;
use crate::storage::{PurgeFloor, SnapshotFile};
use crate::types::{Entry, LogId, LogIndex, TrapKind};
use crate::wasm::Fault;

/// Entries that one replay batch holds. Small enough for the fuel of one entry to suffice.
pub(super) const REPLAY_BATCH: usize = 256;

impl Machine {
    /// Brings the state back to that of the last entry applied, on a new instance. If there is no
    /// state to be had, the machine is halted, at that entry.
    pub(super) fn rebuild(&mut self) -> Result<(), FsmError> {
        let Some(target) = self.host.applied else {
            self.replace_instance(None);
            return Ok(());
        };
        let index = target.index;
        tracing::info!(index, "rebuilding the state machine");
        let started = Instant::now();
        let mut batch = REPLAY_BATCH;
        loop {
            match self.try_rebuild(target, batch)? {
                Replay::Done => {
                    tracing::info!(index, elapsed = ?started.elapsed(), "rebuilt the state machine");
                    return Ok(());
                }
                // Alone, it is the command's own fault: the next attempt skips it.
                Replay::Trapped(index, kind) if batch == 1 => {
                    self.note_trap(self.active_since(), index, kind)?;
                }
                Replay::Trapped(..) | Replay::Memory => batch = 1,
            }
        }
    }

    fn try_rebuild(&mut self, target: LogId, batch: usize) -> Result<Replay, FsmError> {
        self.halted = None;
        self.keeping = None;
        let restored = match self.parts.snapshots.newest_good()? {
            Some(file) => self.restore(&file)?,
            None => Restored::empty(),
        };
        self.take(restored);
        let mut next = self.host.applied.map_or(0, |id| id.index + 1);
        while next <= target.index {
            let entries = self.parts.log.read_blocking(next, target.index + 1)?;
            let last = entries.last().ok_or(FsmError::MissingEntry(next))?;
            next = last.log_id.index + 1;
            match self.replay(&entries, batch)? {
                Replay::Done => {}
                stopped => return Ok(stopped),
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
                // One command at a time needs less.
                Err(StepError::Fault(Fault::Memory)) if run.len() > 1 => return Ok(Replay::Memory),
                Err(error) => {
                    let error = error.into_stop();
                    if !error.costs_the_state_only() {
                        return Err(error);
                    }
                    self.halt(error);
                    self.follow(run)?;
                }
            }
        }
        Ok(Replay::Done)
    }

    /// Replaces the state by that of a snapshot file.
    pub(super) fn install(&mut self, file: &SnapshotFile) -> Result<(), FsmError> {
        self.keeping = None;
        let restored = self.restore(file)?;
        self.halted = None;
        self.take(restored);
        if let Some(applied) = self.host.applied {
            self.events.jump(applied.index);
        }
        for module in self.host.modules.keys() {
            self.parts.registry.prepare(*module);
        }
        Ok(())
    }

    /// Takes a peer's snapshot in the place of all that this node computed, and goes on from there
    /// by the log.
    pub(super) fn repair(&mut self, file: SnapshotFile) -> Result<(), FsmError> {
        if file.meta().last_log_id > self.host.applied {
            return Err(FsmError::Fault(
                "the peer's snapshot is ahead of this node's log".to_owned(),
            ));
        }
        self.keeping = None;
        // The log must keep what is behind the peer's snapshot: until now it had to reach back to the
        // older of those that go. The next snapshot sets the floor anew.
        self.parts.log.set_purge_floor(PurgeFloor::Nothing)?;
        let next = file.meta().last_log_id.map_or(0, |id| id.index + 1);
        let missing = self.parts.log.read_blocking(next, next + 1)?.is_empty();
        if missing && file.meta().last_log_id < self.host.applied {
            return Err(FsmError::Fault(
                "this node's log does not reach back to the peer's snapshot any more".to_owned(),
            ));
        }
        self.parts.snapshots.replace_by(&file, self.host.applied)?;
        self.claims.clear();
        self.rebuild()?;
        match &self.halted {
            None => Ok(()),
            Some(halt) => Err(FsmError::Quarantined(halt.reason.clone())),
        }
    }

    fn take(&mut self, restored: Restored) {
        self.host = restored.host;
        match restored.instance {
            Ok(instance) => drop(self.replace_instance(instance)),
            Err(error) => self.halt(error),
        }
    }
}

/// How far a replay came.
enum Replay {
    Done,
    /// A command trapped that had not trapped before: the first of its batch, and how.
    Trapped(LogIndex, TrapKind),
    /// A batch found too little memory.
    Memory,
}
