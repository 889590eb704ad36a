//! Switching the state machine at a log index.

use std::time::Instant;

use super::error::FsmError;
use super::host_state::{ActiveModule, Previous};
use super::machine::{Machine, StepError};
use super::restore::own_fault;
use crate::failpoint;
use crate::types::{Activation, Failure, LogIndex, Reply, StateSource};
use crate::wasm::Instance;

/// A module that is to take over, with its state, and what it leaves behind.
pub(super) struct Successor {
    pub(super) instance: Instance,
    pub(super) previous: Option<Previous>,
    /// Commands whose effect its state does not have.
    pub(super) dropped: u64,
}

impl Machine {
    /// Makes a module the state machine, on every node alike, or leaves the old one in charge, on
    /// every node alike.
    pub(super) fn activate(
        &mut self,
        activation: &Activation,
        index: LogIndex,
    ) -> Result<Reply, StepError> {
        if let Some(reason) = self.objection(activation) {
            return Ok(Reply::Rejected(reason));
        }
        failpoint::crash_at("activate-before");
        let started = Instant::now();
        let instance = match self.newcomer(activation)? {
            Ok(instance) => instance,
            Err(refusal) => return Ok(Reply::Refused(refusal)),
        };
        let successor = match activation.state {
            StateSource::Migrate => self.migrate(activation, index, instance)?,
            StateSource::Reset => Ok(Successor {
                instance,
                previous: self.measure_previous(activation, index)?,
                dropped: 0,
            }),
            StateSource::Previous => self.go_back(activation, index, instance)?,
            StateSource::Snapshot(base) => self.run_again(activation, index, base, instance)?,
        };
        failpoint::crash_at("activate-with-state");
        let successor = match successor {
            Ok(successor) => successor,
            Err(refusal) => return Ok(Reply::Refused(refusal)),
        };
        let reply = self.take_over(activation, index, successor)?;
        tracing::info!(
            module = %activation.module,
            index,
            state = ?activation.state,
            elapsed = ?started.elapsed(),
            "activated a module"
        );
        Ok(reply)
    }

    /// What is wrong with an activation before any module is asked.
    fn objection(&self, activation: &Activation) -> Option<String> {
        let module = activation.module;
        if !self.host.modules.contains_key(&module) {
            return Some(format!("module {module} was not uploaded"));
        }
        let active = self.host.active.as_ref().map(|active| active.module);
        if let Some(expected) = activation.expect
            && active != Some(expected)
        {
            let found = active.map_or("none".to_owned(), |active| active.to_string());
            return Some(format!(
                "module {expected} was expected to be active, and it is {found}"
            ));
        }
        match (activation.state, &self.host.previous) {
            (StateSource::Previous, Some(previous)) if previous.active.module == module => None,
            (StateSource::Previous, _) => Some(format!(
                "no state of module {module} was kept from before the last activation"
            )),
            (StateSource::Snapshot(base), _) if base < self.host.state_since => Some(format!(
                "the snapshot at log index {base} is older than the state that began at {}",
                self.host.state_since
            )),
            _ => None,
        }
    }

    /// An empty instance of the module, which still says of itself what it said at its upload.
    fn newcomer(&self, activation: &Activation) -> Result<Result<Instance, Failure>, FsmError> {
        let (module, limits) = (activation.module, &activation.limits);
        let mut instance = match self.instantiate(module, limits, activation.fingerprint)? {
            Ok(instance) => instance,
            Err(fault) => return own_fault(fault).map(Err),
        };
        match instance.describe() {
            Ok(now) if now == *self.parts.registry.load(module)?.description() => Ok(Ok(instance)),
            Ok(_) => Ok(Err(Failure {
                code: 0,
                message: "the module describes itself otherwise than at its upload".to_owned(),
            })),
            Err(fault) => own_fault(fault).map(Err),
        }
    }

    fn take_over(
        &mut self,
        activation: &Activation,
        index: LogIndex,
        successor: Successor,
    ) -> Result<Reply, StepError> {
        let module = activation.module;
        let loaded = self.parts.registry.load(module)?;
        let next = ActiveModule::new(activation, loaded.description().clone(), index);
        let keeps = successor.previous.is_some();
        if !keeps {
            self.keeping = None;
            self.parts
                .snapshots
                .drop_previous()
                .map_err(FsmError::from)?;
        }
        self.host.advance_clock(activation.time_ms);
        self.host
            .activate(next, activation.state, successor.previous);
        if !activation.keep_previous || matches!(activation.state, StateSource::Snapshot(_)) {
            // Nodes without a state may be among those that go on from here.
            self.host.restart_digest(index, module);
        }
        let old = self.replace_instance(Some(successor.instance));
        if keeps {
            self.keep(old, index)?;
        }
        failpoint::crash_at("activate-after");
        let dropped = successor.dropped;
        Ok(Reply::Activated { dropped })
    }
}
