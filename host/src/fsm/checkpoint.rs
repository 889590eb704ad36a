//! Checkpoints: points of the log at which nodes compare what they computed, and take snapshots of
//! one and the same state.

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use super::error::FsmError;
use super::host_state::HostState;
use super::keeping::PreviousState;
use super::machine::Machine;
use crate::types::{Checkpoint, Entry, LogIndex, Mark, Proposal};
use crate::wasm::Snapshot;

/// What a checkpoint says of the leader.
#[derive(Debug, Clone, Copy)]
pub(super) enum Claim {
    /// Its outcomes, which are not this node's.
    Differs(Mark),
    /// The module's bytes in its snapshot.
    State(Mark),
}

/// What two nodes compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// The digest of all outcomes up to a checkpoint.
    Outcomes,
    /// The digest of the module's bytes in a snapshot.
    State,
}

/// What this node has otherwise than the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// What was compared.
    pub subject: Subject,
    /// The checkpoint or the snapshot.
    pub index: LogIndex,
}

/// The state at one index, not yet read.
#[derive(Debug)]
pub(super) struct FrozenState {
    pub(super) generation: u64,
    /// `None`: the snapshot of a state without a module.
    pub(super) cursor: Option<Snapshot>,
    pub(super) host: HostState,
    /// The state from before the last activation.
    pub(super) previous: PreviousState,
}

impl Machine {
    /// Compares what the leader had at an earlier checkpoint with what this node had there.
    pub(super) fn compare(&mut self, checkpoint: &Checkpoint) {
        if let Some(theirs) = checkpoint.outcomes {
            let ours = self.host.marked(theirs.index);
            if ours.is_some_and(|ours| ours != theirs.digest) {
                self.claims.push(Claim::Differs(theirs));
            }
        }
        self.claims.extend(checkpoint.state.map(Claim::State));
    }

    /// Freezes the state behind a checkpoint that asks for a snapshot, before anything else changes
    /// it.
    pub(super) fn freeze_if_asked(&mut self, run: &[Entry]) -> Result<(), FsmError> {
        let asked = matches!(
            run.last().map(|entry| &entry.payload),
            Some(EntryPayload::Normal(Proposal::Checkpoint(checkpoint))) if checkpoint.snapshot
        );
        if !asked || self.halted.is_some() {
            return Ok(());
        }
        match self.freeze() {
            Ok(frozen) => {
                if let Some(older) = self.frozen.replace(frozen) {
                    self.let_go(older.generation, older.cursor)?;
                }
                Ok(())
            }
            // The log stays longer.
            Err(error) if error.costs_the_state_only() => {
                tracing::error!(%error, "there will be no snapshot of this checkpoint");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Freezes the state as it is.
    pub(super) fn freeze(&mut self) -> Result<FrozenState, FsmError> {
        if let Some(halt) = &self.halted {
            return Err(FsmError::Quarantined(halt.reason.clone()));
        }
        self.mend()?;
        let cursor = match self
            .instance
            .as_mut()
            .map(|instance| instance.open_snapshot())
        {
            None => None,
            Some(Ok(cursor)) => Some(cursor),
            Some(Err(fault)) => {
                self.rebuild()?;
                return Err(FsmError::Snapshot(fault));
            }
        };
        let previous = self.previous_state()?;
        Ok(FrozenState {
            generation: self.generation,
            cursor,
            host: self.host.clone(),
            previous,
        })
    }

    fn previous_state(&self) -> Result<PreviousState, FsmError> {
        let Some(previous) = &self.host.previous else {
            return Ok(PreviousState::Nothing);
        };
        if let Some(keeping) = &self.keeping {
            return Ok(keeping.awaited());
        }
        let file = self.parts.snapshots.previous(previous.until)?;
        Ok(file.map_or(PreviousState::Nothing, PreviousState::Kept))
    }

    /// The state that waits to be written, unless a newer one was written meanwhile.
    pub(super) fn take_frozen(&mut self) -> Result<Option<FrozenState>, FsmError> {
        let Some(frozen) = self.frozen.take() else {
            return Ok(None);
        };
        let index = frozen.host.applied.map(|id| id.index);
        if index > self.parts.snapshots.indexes().last().copied() {
            return Ok(Some(frozen));
        }
        self.let_go(frozen.generation, frozen.cursor)?;
        Ok(None)
    }

    /// Lets the module forget a frozen state.
    pub(super) fn let_go(
        &mut self,
        generation: u64,
        cursor: Option<Snapshot>,
    ) -> Result<(), FsmError> {
        let (Some(cursor), Some(instance)) = (cursor, &mut self.instance) else {
            return Ok(());
        };
        if generation != self.generation {
            return Ok(());
        }
        match instance.close_snapshot(cursor) {
            Ok(()) => Ok(()),
            Err(fault) => {
                tracing::warn!(%fault, "a fault while closing a snapshot");
                self.rebuild()
            }
        }
    }
}
