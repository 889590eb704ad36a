//! Switching the state machine at a log index: the new module takes over the old one's state.

use super::host_state::ActiveModule;
use super::machine::{FsmError, Machine, StepError};
use super::section::CHUNK_BYTES;
use crate::types::{Activation, Description, Failure, LogIndex, Reply, StateSource};
use crate::wasm::{Fault, Instance, Snapshot};

impl Machine {
    /// Makes a module the state machine: the first one empty, a later one from the state of the one
    /// before. If the new one refuses that state, the old one stays, on every node alike.
    pub(super) fn activate(
        &mut self,
        activation: &Activation,
        index: LogIndex,
    ) -> Result<Reply, StepError> {
        let module = activation.module;
        if !self.host.modules.contains_key(&module) {
            return Ok(Reply::Rejected(format!("module {module} was not uploaded")));
        }
        let active = self.host.active.as_ref().map(|active| active.module);
        if let Some(expected) = activation.expect
            && active != Some(expected)
        {
            let found = active.map_or("none".to_owned(), |active| active.to_string());
            return Ok(Reply::Rejected(format!(
                "module {expected} was expected to be active, and it is {found}"
            )));
        }
        let mut next = self.instantiate(
            activation.module,
            &activation.limits,
            activation.fingerprint,
        )?;
        let description = next.describe().map_err(StepError::Fault)?;
        if let (StateSource::Migrate, Some(old), Some(active)) =
            (activation.state, &mut self.instance, &self.host.active)
            && let Err(refusal) = migrate(old, &active.description, &mut next)?
        {
            return Ok(Reply::Refused(refusal));
        }
        self.host.advance_clock(activation.time_ms);
        let next_active = ActiveModule::new(activation, description, index);
        self.host.activate(next_active);
        self.replace_instance(Some(next));
        tracing::info!(%module, index, "activated a module");
        Ok(Reply::Done)
    }
}

/// Feeds the snapshot of `old` to `next`. The inner error is the new module's refusal.
fn migrate(
    old: &mut Instance,
    saved: &Description,
    next: &mut Instance,
) -> Result<Result<(), Failure>, StepError> {
    let snapshot = old.open_snapshot().map_err(StepError::Fault)?;
    let restored = pour(old, &snapshot, saved, next);
    // A refusal leaves the old module in charge: it must not keep the frozen state alive.
    let closed = old.close_snapshot(snapshot).map_err(StepError::Fault);
    match restored {
        Ok(outcome) => closed.map(|()| outcome),
        Err(PourError::Old(fault)) => Err(StepError::Fault(fault)),
        // The same bytes go into the same module on every node, so the same trap comes out.
        Err(PourError::New(Fault::Trap(kind))) => closed.map(|()| {
            Err(Failure {
                code: 0,
                message: kind.to_string(),
            })
        }),
        Err(PourError::New(fault)) => Err(FsmError::Fault(fault.to_string()).into()),
    }
}

/// Whose fault ended a migration.
enum PourError {
    Old(Fault),
    New(Fault),
}

fn pour(
    old: &mut Instance,
    snapshot: &Snapshot,
    saved: &Description,
    next: &mut Instance,
) -> Result<Result<(), Failure>, PourError> {
    let restore = next.begin_restore(saved).map_err(PourError::New)?;
    loop {
        let chunk = old
            .read_snapshot(snapshot, CHUNK_BYTES)
            .map_err(PourError::Old)?;
        if chunk.is_empty() {
            return next.finish_restore(restore).map_err(PourError::New);
        }
        if let Err(refusal) = next
            .restore_chunk(&restore, &chunk)
            .map_err(PourError::New)?
        {
            return Ok(Err(refusal));
        }
    }
}
