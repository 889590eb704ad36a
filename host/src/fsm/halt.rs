//! A node that lost its state: it follows the log, so that its cluster keeps the quorum, and takes a
//! new state from wherever one comes.
//!
//! A halted machine runs no command and answers no query. Its host's state moves on, except for what
//! an activation does, of which it cannot know the outcome.

use openraft::EntryPayload;

use super::error::FsmError;
use super::machine::{Machine, StepError};
use crate::types::{Activation, Entry, LogIndex, Proposal, Reply, StateSource};

/// Why, and for how long, there is no state.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    pub(super) reason: String,
    /// Another state of the same module may be better: a peer's, say.
    pub(super) repairable: bool,
    /// The state machine was switched meanwhile, perhaps: only a snapshot can tell.
    pub(super) passed_activation: bool,
}

impl Machine {
    /// Goes on without a state.
    pub(super) fn halt(&mut self, error: FsmError) {
        tracing::error!(%error, "the state machine has halted: this node follows the log without it");
        let repairable = !matches!(error, FsmError::Fingerprint { .. });
        self.halted = Some(Halt {
            reason: error.to_string(),
            repairable,
            passed_activation: false,
        });
        self.replace_instance(None);
    }

    /// Lets a run of entries pass by a machine without a state.
    pub(super) fn follow(&mut self, run: &[Entry]) -> Result<Vec<Reply>, FsmError> {
        let mut replies = Vec::with_capacity(run.len());
        for entry in run {
            let reply = match &entry.payload {
                EntryPayload::Normal(Proposal::Activate(activation)) => {
                    self.try_to_resume(activation, entry.log_id.index)?
                }
                EntryPayload::Normal(
                    Proposal::Command { time_ms, .. } | Proposal::NamedCommand { time_ms, .. },
                ) => {
                    self.host.advance_clock(*time_ms);
                    self.host.commands += 1;
                    self.unapplied()
                }
                _ => self.step_bookkeeping(entry)?,
            };
            replies.push(reply);
        }
        self.passed(run);
        Ok(replies)
    }

    fn unapplied(&self) -> Reply {
        let reason = self.halted.as_ref().map(|halt| halt.reason.clone());
        Reply::Unapplied(reason.unwrap_or_default())
    }

    /// Two activations need nothing of the state that is lost.
    fn try_to_resume(
        &mut self,
        activation: &Activation,
        index: LogIndex,
    ) -> Result<Reply, FsmError> {
        let needs_no_state = match activation.state {
            StateSource::Snapshot(_) => true,
            StateSource::Reset => !activation.keep_previous,
            StateSource::Migrate | StateSource::Previous => false,
        };
        let knows_the_past = self
            .halted
            .as_ref()
            .is_some_and(|halt| !halt.passed_activation);
        if needs_no_state && knows_the_past {
            match self.activate(activation, index) {
                Ok(reply @ Reply::Activated { .. }) => {
                    tracing::info!(index, "the state machine goes on");
                    self.halted = None;
                    self.host.fold(index, &reply, &[]);
                    // What was emitted meanwhile is not known here.
                    self.events.jump(index);
                    return Ok(reply);
                }
                Ok(reply) => return Ok(reply),
                Err(StepError::Stop(error)) if !error.costs_the_state_only() => return Err(error),
                Err(error) => tracing::error!(error = %error.into_stop(), "still halted"),
            }
        }
        if let Some(halt) = &mut self.halted {
            halt.passed_activation = true;
        }
        Ok(self.unapplied())
    }
}
