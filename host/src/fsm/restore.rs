//! From a snapshot file to a state.

use super::error::FsmError;
use super::host_state::{ActiveModule, HostState};
use super::machine::Machine;
use super::section::Section;
use crate::storage::{SnapshotFile, SnapshotWriter, StorageError};
use crate::types::{Description, Failure, ModuleId};
use crate::wasm::{Fault, Instance, Restore};

/// What a snapshot file holds.
pub(super) struct Restored {
    pub(super) host: HostState,
    /// Why there is none, if the module cannot be brought back to life.
    pub(super) instance: Result<Option<Instance>, FsmError>,
}

impl Restored {
    pub(super) fn empty() -> Self {
        Self {
            host: HostState::default(),
            instance: Ok(None),
        }
    }
}

impl Machine {
    /// Reads a snapshot file into a new instance; the current one is not touched. Modules and the
    /// state from before the last activation are put on disk on the way.
    pub(super) fn restore(&self, file: &SnapshotFile) -> Result<Restored, FsmError> {
        let mut host = head(file)?;
        let mut modules = ModulesOnTheWay::default();
        let mut previous = self.missing_previous(&host)?;
        let mut state = Filling::NotBegun;
        for chunk in file.chunks() {
            let chunk = chunk?;
            match Section::decode(&chunk).ok_or_else(|| damaged(file, "an unknown section"))? {
                Section::Module(module, bytes) => modules.add(self, module, bytes)?,
                Section::Upload(module, bytes) => {
                    let upload = host.uploads.entry(module).or_default();
                    upload.extend_from_slice(bytes);
                }
                Section::Previous(bytes) => {
                    if let Some(previous) = &mut previous {
                        previous.write_chunk(bytes)?;
                    }
                }
                Section::Provenance(_) => {}
                Section::State(bytes) => {
                    modules.finish(self)?;
                    state = state.begun(self, &host, file)?.add(bytes, &host, file);
                }
            }
        }
        modules.finish(self)?;
        if let (Some(file), Some(previous)) = (previous, &host.previous) {
            // The node that wrote the snapshot may not have had it.
            if file.content_bytes() == previous.bytes {
                file.finish()?;
            }
        }
        let instance = state.begun(self, &host, file)?.finish(&host, file);
        Ok(Restored { host, instance })
    }

    /// Reads the module's part of a snapshot file into an instance of any module. The inner error is
    /// that module's.
    pub(super) fn restore_into(
        &self,
        file: &SnapshotFile,
        saved: &Description,
        instance: &mut Instance,
    ) -> Result<Result<(), Failure>, FsmError> {
        let state = file.chunks().filter_map(|chunk| match chunk {
            Ok(chunk) => match Section::decode(&chunk) {
                Some(Section::State(bytes)) => Some(Ok(bytes.to_vec())),
                _ => None,
            },
            Err(error) => Some(Err(error)),
        });
        fill(instance, saved, state)
    }

    /// The state from before the last activation is kept once, and not anew at every rebuild.
    fn missing_previous(&self, host: &HostState) -> Result<Option<SnapshotWriter>, FsmError> {
        let Some(previous) = &host.previous else {
            return Ok(None);
        };
        let snapshots = &self.parts.snapshots;
        if snapshots.previous(previous.until)?.is_some() {
            return Ok(None);
        }
        Ok(Some(snapshots.begin_previous(previous.until)?))
    }
}

/// The host's part of a snapshot file.
pub(super) fn head(file: &SnapshotFile) -> Result<HostState, FsmError> {
    let mut host = HostState::decode(file)?;
    host.applied = file.meta().last_log_id;
    host.membership = file.meta().last_membership.clone();
    Ok(host)
}

/// Pours a saved state into an instance. The inner error is the module's refusal or trap, which is
/// the same wherever a new instance is given the same bytes.
pub(super) fn fill(
    instance: &mut Instance,
    saved: &Description,
    chunks: impl Iterator<Item = Result<Vec<u8>, StorageError>>,
) -> Result<Result<(), Failure>, FsmError> {
    let poured = || -> Result<Result<(), Failure>, PourError> {
        let restore = instance.begin_restore(saved)?;
        for chunk in chunks {
            let written = instance.restore_chunk(&restore, &chunk?)?;
            if written.is_err() {
                return Ok(written);
            }
        }
        Ok(instance.finish_restore(restore)?)
    };
    match poured() {
        Ok(outcome) => Ok(outcome),
        Err(PourError::Storage(error)) => Err(error.into()),
        Err(PourError::Fault(fault)) => own_fault(fault).map(Err),
    }
}

/// What a fault in a new instance is to whoever wanted it: the module's own, the same on every node,
/// or this node's.
pub(super) fn own_fault(fault: Fault) -> Result<Failure, FsmError> {
    match fault {
        Fault::Trap(_) | Fault::Memory => Ok(Failure {
            code: 0,
            message: fault.to_string(),
        }),
        Fault::Node(_) | Fault::Poisoned => Err(FsmError::Fault(fault.to_string())),
    }
}

enum PourError {
    Fault(Fault),
    Storage(StorageError),
}

impl From<Fault> for PourError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StorageError> for PourError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The state that is being restored into the module that wrote it.
enum Filling {
    NotBegun,
    /// There is no module.
    Nothing,
    Going(Box<Instance>, Restore),
    /// The module cannot take its own state back.
    Failed(FsmError),
}

impl Filling {
    /// Begins, if nothing has yet. Modules are on disk by then.
    fn begun(
        self,
        machine: &Machine,
        host: &HostState,
        file: &SnapshotFile,
    ) -> Result<Self, FsmError> {
        let (Self::NotBegun, Some(active)) = (&self, &host.active) else {
            let begun = matches!(self, Self::NotBegun);
            return Ok(if begun { Self::Nothing } else { self });
        };
        match machine.begin_restore(active, file) {
            Ok((instance, restore)) => Ok(Self::Going(Box::new(instance), restore)),
            Err(error) if error.costs_the_state_only() => Ok(Self::Failed(error)),
            Err(error) => Err(error),
        }
    }

    fn add(self, bytes: &[u8], host: &HostState, file: &SnapshotFile) -> Self {
        match self {
            Self::Going(mut instance, restore) => {
                let written = instance.restore_chunk(&restore, bytes);
                match outcome(written, host, file) {
                    Ok(()) => Self::Going(instance, restore),
                    Err(error) => Self::Failed(error),
                }
            }
            other => other,
        }
    }

    fn finish(self, host: &HostState, file: &SnapshotFile) -> Result<Option<Instance>, FsmError> {
        match self {
            Self::NotBegun | Self::Nothing => Ok(None),
            Self::Failed(error) => Err(error),
            Self::Going(mut instance, restore) => {
                outcome(instance.finish_restore(restore), host, file)?;
                Ok(Some(*instance))
            }
        }
    }
}

impl Machine {
    fn begin_restore(
        &self,
        active: &ActiveModule,
        file: &SnapshotFile,
    ) -> Result<(Instance, Restore), FsmError> {
        let refused = |fault: Fault| refuses(active.module, file, fault.to_string());
        let instance = self.instantiate(active.module, &active.limits, active.fingerprint)?;
        let mut instance = instance.map_err(refused)?;
        let restore = instance
            .begin_restore(&active.description)
            .map_err(refused)?;
        Ok((instance, restore))
    }
}

fn outcome(
    written: Result<Result<(), Failure>, Fault>,
    host: &HostState,
    file: &SnapshotFile,
) -> Result<(), FsmError> {
    let reason = match written {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failure)) => failure.message,
        Err(fault) => fault.to_string(),
    };
    let module = host.active.as_ref().map(|active| active.module);
    Err(refuses(module.unwrap_or(ModuleId([0; 32])), file, reason))
}

fn refuses(module: ModuleId, file: &SnapshotFile, reason: String) -> FsmError {
    FsmError::Restore {
        module,
        path: file.path().display().to_string(),
        reason,
    }
}

fn damaged(file: &SnapshotFile, reason: &str) -> FsmError {
    let what = file.path().display().to_string();
    StorageError::Damaged {
        what,
        reason: reason.to_owned(),
    }
    .into()
}

/// Modules whose bytes come chunk by chunk.
#[derive(Default)]
struct ModulesOnTheWay {
    module: Option<ModuleId>,
    bytes: Vec<u8>,
}

impl ModulesOnTheWay {
    fn add(&mut self, machine: &Machine, module: ModuleId, bytes: &[u8]) -> Result<(), FsmError> {
        if self.module != Some(module) {
            self.finish(machine)?;
            self.module = Some(module);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, machine: &Machine) -> Result<(), FsmError> {
        if !self.bytes.is_empty() {
            machine.parts.registry.put(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}
