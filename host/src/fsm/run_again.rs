//! The way out when the active module is broken: a snapshot of an earlier state goes into another
//! module, and the commands behind it are run on that one.

use super::activation::Successor;
use super::error::FsmError;
use super::machine::{Machine, StepError};
use super::rebuild::REPLAY_BATCH;
use super::restore::{head, own_fault};
use crate::storage::{SnapshotFile, StorageError};
use crate::types::{Activation, Entry, Failure, LogIndex, TrapKind};
use crate::wasm::{ApplyEntry, Fault, Instance};

/// The state before `index`, as the new module computes it.
struct Course<'a> {
    activation: &'a Activation,
    index: LogIndex,
    base: LogIndex,
}

impl Machine {
    /// Restores the snapshot at `base` into `instance` and runs the commands after it once more.
    /// What they answered their clients stays; only the state is computed anew.
    pub(super) fn run_again(
        &mut self,
        activation: &Activation,
        index: LogIndex,
        base: LogIndex,
        instance: Instance,
    ) -> Result<Result<Successor, Failure>, StepError> {
        let file = match self.parts.snapshots.at(base) {
            Ok(Some(file)) => file,
            Ok(None) | Err(StorageError::Damaged { .. }) => {
                return Err(FsmError::NoSnapshot(base).into());
            }
            Err(error) => return Err(FsmError::from(error).into()),
        };
        let course = Course {
            activation,
            index,
            base,
        };
        let (mut instance, mut batch) = (instance, REPLAY_BATCH);
        loop {
            if let Err(refusal) = self.start_over(&file, &mut instance)? {
                return Ok(Err(refusal));
            }
            match self.run_course(&course, &file, &mut instance, batch)? {
                Ok(()) => break,
                Err((entry, kind)) if batch == 1 => self.note_trap(index, entry, kind)?,
                Err(_) => batch = 1,
            }
            instance = match self.instantiate(
                activation.module,
                &activation.limits,
                activation.fingerprint,
            )? {
                Ok(instance) => instance,
                Err(fault) => return Ok(Err(own_fault(fault)?)),
            };
        }
        Ok(Ok(Successor {
            instance,
            previous: None,
            dropped: 0,
        }))
    }

    fn start_over(
        &self,
        file: &SnapshotFile,
        instance: &mut Instance,
    ) -> Result<Result<(), Failure>, FsmError> {
        match head(file)?.active {
            Some(active) => self.restore_into(file, &active.description, instance),
            None => Ok(Ok(())),
        }
    }

    /// The inner error is the command that trapped, the first of its batch.
    fn run_course(
        &mut self,
        course: &Course<'_>,
        file: &SnapshotFile,
        instance: &mut Instance,
        batch: usize,
    ) -> Result<Result<(), (LogIndex, TrapKind)>, FsmError> {
        let mut clock_ms = head(file)?.clock_ms;
        let mut next = course.base + 1;
        while next < course.index {
            let entries = self.parts.log.read_blocking(next, course.index)?;
            let last = entries.last().ok_or(FsmError::MissingEntry(next))?;
            next = last.log_id.index + 1;
            for some in entries.chunks(batch) {
                if let Err(trap) = self.run_some(course, some, &mut clock_ms, instance)? {
                    return Ok(Err(trap));
                }
            }
        }
        Ok(Ok(()))
    }

    fn run_some(
        &mut self,
        course: &Course<'_>,
        entries: &[Entry],
        clock_ms: &mut u64,
        instance: &mut Instance,
    ) -> Result<Result<(), (LogIndex, TrapKind)>, FsmError> {
        let mut commands = Vec::with_capacity(entries.len());
        for entry in entries {
            commands.extend(self.command(entry, clock_ms)?);
        }
        commands.retain(|command| {
            let index = command.context.index;
            let trapped_now = self.parts.traps.get(course.index, index).is_some();
            !trapped_now && course.activation.skip.binary_search(&index).is_err()
        });
        let runs: Vec<ApplyEntry<'_>> = commands
            .iter()
            .map(|command| ApplyEntry {
                context: command.context,
                command: &command.bytes,
            })
            .collect();
        let Some(first) = runs.first().map(|run| run.context.index) else {
            return Ok(Ok(()));
        };
        match instance.apply(&runs) {
            Ok(_) if !instance.memory_refused() => Ok(Ok(())),
            Ok(_) | Err(Fault::Memory) => Ok(Err((first, TrapKind::OutOfMemory))),
            Err(Fault::Trap(kind)) => Ok(Err((first, kind))),
            Err(fault) => Err(FsmError::Fault(fault.to_string())),
        }
    }
}
