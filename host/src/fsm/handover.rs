//! What a new module takes over from the old one, and what is to be kept of that.

use std::ops::ControlFlow;

use super::activation::Successor;
use super::error::FsmError;
use super::host_state::Previous;
use super::keeping::Keeping;
use super::machine::{Machine, StepError};
use super::restore::{fill, own_fault};
use super::section::CHUNK_BYTES;
use crate::storage::StorageError;
use crate::types::{Activation, Description, Failure, LogIndex, TrapKind};
use crate::wasm::{Fault, Instance};

impl Machine {
    /// The old module's state goes into the new one.
    pub(super) fn migrate(
        &mut self,
        activation: &Activation,
        index: LogIndex,
        mut instance: Instance,
    ) -> Result<Result<Successor, Failure>, StepError> {
        if let Some(kind) = self.parts.traps.get(self.active_since(), index) {
            return Ok(Err(unreadable(kind)));
        }
        let Some(active) = self.host.active.clone() else {
            return Ok(Ok(Successor {
                instance,
                previous: None,
                dropped: 0,
            }));
        };
        match self.pour(&mut instance, &active.description)? {
            Poured::Done(bytes) => Ok(Ok(Successor {
                instance,
                previous: self.previous_of(activation, index, bytes),
                dropped: 0,
            })),
            Poured::Refused(refusal) => Ok(Err(refusal)),
            Poured::Unreadable(kind) => {
                self.note_trap(self.active_since(), index, kind)?;
                self.rebuild()?;
                Ok(Err(unreadable(kind)))
            }
        }
    }

    /// The state from before the last activation goes into the module that it belongs to.
    pub(super) fn go_back(
        &mut self,
        activation: &Activation,
        index: LogIndex,
        mut instance: Instance,
    ) -> Result<Result<Successor, Failure>, StepError> {
        // That it is there was checked with everything else.
        let Some(previous) = self.host.previous.clone() else {
            return Err(FsmError::NoPrevious(index).into());
        };
        if let Some(keeping) = self.keeping.take() {
            keeping.finish()?;
        }
        let gone = FsmError::NoPrevious(previous.until);
        let file = self.parts.snapshots.previous(previous.until);
        let file = file.map_err(FsmError::from)?.ok_or(gone)?;
        match fill(&mut instance, &previous.active.description, file.chunks()) {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return Ok(Err(refusal)),
            Err(FsmError::Storage(StorageError::Damaged { .. })) => {
                return Err(FsmError::NoPrevious(previous.until).into());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Ok(Successor {
            instance,
            previous: self.measure_previous(activation, index)?,
            dropped: self.host.commands - previous.commands,
        }))
    }

    /// What is to be kept of the module that is about to be replaced. `None` if nobody asked for
    /// that, or if the module cannot be asked: then that is why it is replaced.
    pub(super) fn measure_previous(
        &mut self,
        activation: &Activation,
        index: LogIndex,
    ) -> Result<Option<Previous>, StepError> {
        if !activation.keep_previous {
            return Ok(None);
        }
        let mut bytes = 0;
        let read = self.read_out(|chunk| {
            bytes += chunk.len() as u64;
            Ok(ControlFlow::Continue(()))
        })?;
        match read {
            Ok(()) => Ok(self.previous_of(activation, index, bytes)),
            Err(kind) => {
                tracing::warn!(%kind, "the state before the activation cannot be kept");
                Ok(None)
            }
        }
    }

    fn previous_of(
        &self,
        activation: &Activation,
        index: LogIndex,
        bytes: u64,
    ) -> Option<Previous> {
        if !activation.keep_previous || self.instance.is_none() {
            return None;
        }
        Some(Previous {
            active: self.host.active.clone()?,
            until: index,
            bytes,
            commands: self.host.commands,
        })
    }

    /// Has the state of the instance that was replaced at `index` written to disk, unless this is a
    /// replay and it was.
    pub(super) fn keep(&mut self, old: Option<Instance>, index: LogIndex) -> Result<(), FsmError> {
        // One at a time: the older one is of no use any more.
        self.keeping = None;
        let snapshots = &self.parts.snapshots;
        let Some(old) = old.filter(|_| !matches!(snapshots.previous(index), Ok(Some(_)))) else {
            return Ok(());
        };
        self.keeping = Some(Keeping::start(old, snapshots.clone(), index)?);
        Ok(())
    }

    /// Reads the state of the active module, up to its end or to where `take` breaks off. The inner
    /// error is how the module trapped.
    fn read_out(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<ControlFlow<()>, FsmError>,
    ) -> Result<Result<(), TrapKind>, FsmError> {
        let Some(old) = &mut self.instance else {
            return Ok(Ok(()));
        };
        let mut read = || -> Result<Result<(), Fault>, FsmError> {
            let snapshot = match old.open_snapshot() {
                Ok(snapshot) => snapshot,
                Err(fault) => return Ok(Err(fault)),
            };
            loop {
                match old.read_snapshot(&snapshot, CHUNK_BYTES) {
                    Ok(chunk) if !chunk.is_empty() => {
                        if take(&chunk)?.is_continue() {
                            continue;
                        }
                    }
                    Ok(_) => {}
                    Err(fault) => return Ok(Err(fault)),
                }
                // If the old module stays in charge, it must not keep the frozen state alive.
                return Ok(old.close_snapshot(snapshot));
            }
        };
        match read()? {
            Ok(()) => Ok(Ok(())),
            Err(Fault::Trap(kind)) => Ok(Err(kind)),
            Err(Fault::Memory) => Ok(Err(TrapKind::OutOfMemory)),
            Err(fault) => Err(FsmError::Fault(fault.to_string())),
        }
    }

    /// Puts the state into a new instance of the same module, whose heap then holds nothing else.
    pub(super) fn compact(&mut self) -> Result<(), FsmError> {
        let Some(active) = self.host.active.clone() else {
            return Ok(());
        };
        let instance = self.instantiate(active.module, &active.limits, active.fingerprint)?;
        let failed = |reason: String| FsmError::Fault(format!("it cannot be compacted: {reason}"));
        let mut instance = instance.map_err(|fault| failed(fault.to_string()))?;
        match self.pour(&mut instance, &active.description)? {
            Poured::Done(_) => {
                self.replace_instance(Some(instance));
                Ok(())
            }
            Poured::Refused(refusal) => Err(failed(refusal.message)),
            Poured::Unreadable(kind) => Err(failed(kind.to_string())),
        }
    }

    /// Puts the state of the active module into `instance`.
    fn pour(&mut self, instance: &mut Instance, saved: &Description) -> Result<Poured, FsmError> {
        let restore = match instance.begin_restore(saved) {
            Ok(restore) => restore,
            Err(fault) => return Ok(Poured::Refused(own_fault(fault)?)),
        };
        let (mut refusal, mut bytes) = (None, 0);
        let read = self.read_out(|chunk| {
            bytes += chunk.len() as u64;
            refusal = own(instance.restore_chunk(&restore, chunk))?;
            Ok(match refusal {
                None => ControlFlow::Continue(()),
                Some(_) => ControlFlow::Break(()),
            })
        })?;
        if let Err(kind) = read {
            return Ok(Poured::Unreadable(kind));
        }
        if refusal.is_none() {
            refusal = own(instance.finish_restore(restore))?;
        }
        Ok(refusal.map_or(Poured::Done(bytes), Poured::Refused))
    }
}

/// What came of putting a state into another instance.
enum Poured {
    /// That many bytes.
    Done(u64),
    /// By the one that was to take it.
    Refused(Failure),
    /// The one that has it trapped.
    Unreadable(TrapKind),
}

/// The new instance's own refusal, or its own fault, if there is one.
fn own(written: Result<Result<(), Failure>, Fault>) -> Result<Option<Failure>, FsmError> {
    match written {
        Ok(written) => Ok(written.err()),
        Err(fault) => own_fault(fault).map(Some),
    }
}

/// The answer when the old module traps while it is asked for its state.
fn unreadable(kind: TrapKind) -> Failure {
    Failure {
        code: 0,
        message: format!(
            "the active module failed when it was asked for its state ({kind}): activate with \
             from=snapshot, which does not ask it, or with state=reset"
        ),
    }
}
