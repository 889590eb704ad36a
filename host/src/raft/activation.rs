//! Switching the state machine of the cluster, and back. All of it runs on the leader.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::consensus::Consensus;
use super::modules::ModuleCallError;
use super::status::NodeStatus;
use crate::clock;
use crate::types::{Activation, Limits, LogIndex, ModuleId, NodeId, Proposal, StateSource};

/// How long a switch waits for voters that answer and are not ready for it.
const READY_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at them.
const READY_POLL: Duration = Duration::from_millis(50);

/// What a module is to start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWith {
    /// The state of the module before it.
    State,
    /// Nothing.
    Nothing,
    /// The state kept from before the last activation.
    Previous,
    /// The newest snapshot that every voter has, and the commands behind it.
    Snapshot,
}

/// A wish to switch the state machine.
#[derive(Debug, Clone)]
pub struct ActivateRequest {
    /// The module that is to become active.
    pub module: ModuleId,
    /// The module that has to be active before.
    pub expect: Option<ModuleId>,
    /// Its limits; `None` keeps those of the active module.
    pub limits: Option<Limits>,
    /// What it starts with.
    pub start: StartWith,
}

/// What came of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Switched {
    /// The module that is active now.
    pub module: ModuleId,
    /// The entry that activated it; `None` if another has been activated since.
    pub index: Option<LogIndex>,
    /// Commands whose effect its state does not have.
    pub dropped_commands: u64,
}

impl Consensus {
    /// Makes a module the state machine, on every node at the same log index.
    pub async fn activate_module(
        &self,
        request: ActivateRequest,
    ) -> Result<Switched, ModuleCallError> {
        self.expect_leader()?;
        let module = request.module;
        let fsm = &self.parts.fsm;
        if !fsm.modules().contains_key(&module) {
            return Err(ModuleCallError::Unknown(module));
        }
        let needs_state = matches!(request.start, StartWith::State | StartWith::Previous);
        if needs_state && let Some(quarantine) = fsm.quarantine() {
            return Err(ModuleCallError::Conflict(format!(
                "the leader's state is not to be used ({}): activate with from=snapshot, or with \
                 state=reset",
                quarantine.reason
            )));
        }
        let fingerprint = fsm.registry().fingerprint();
        let voters = self.voters_ready_for(&request, fingerprint).await?;
        let state = match request.start {
            StartWith::State => StateSource::Migrate,
            StartWith::Nothing => StateSource::Reset,
            StartWith::Previous => StateSource::Previous,
            StartWith::Snapshot => {
                StateSource::Snapshot(self.base(&request, fingerprint, &voters).await?)
            }
        };
        let skip = match state {
            StateSource::Snapshot(base) => fsm.traps_behind(base).await?,
            _ => Vec::new(),
        };
        let limits = request.limits.or(fsm.active().map(|active| active.limits));
        let activation = Activation {
            module,
            time_ms: clock::now_ms(),
            limits: limits.unwrap_or(Limits::DEFAULT),
            fingerprint,
            expect: request.expect,
            state,
            // A leader without a state has none to keep.
            keep_previous: fsm.quarantine().is_none() && !matches!(state, StateSource::Snapshot(_)),
            skip,
        };
        let dropped_commands = self.carry_out(Proposal::Activate(activation)).await?;
        let active = fsm.active().filter(|active| active.module == module);
        Ok(Switched {
            module,
            index: active.map(|active| active.since),
            dropped_commands,
        })
    }

    /// Goes back to the module before the active one: with the state of today, which it has to be
    /// able to restore, or with the state that it had.
    pub async fn roll_back(&self, start: StartWith) -> Result<Switched, ModuleCallError> {
        let before = self.parts.fsm.history().pop().ok_or_else(|| {
            ModuleCallError::Conflict("no module was active before this one".to_owned())
        })?;
        let request = ActivateRequest {
            module: before.module,
            expect: self.active_module(),
            limits: Some(before.limits),
            start,
        };
        self.activate_module(request).await
    }

    /// What the voters say of themselves, once all of them are ready for the switch. A voter that
    /// answers is given a moment to become so: it may be compiling, or a few entries behind.
    async fn voters_ready_for(
        &self,
        request: &ActivateRequest,
        fingerprint: [u8; 32],
    ) -> Result<Vec<NodeStatus>, ModuleCallError> {
        let previous = match request.start {
            StartWith::Previous => Some(self.previous_until()?),
            _ => None,
        };
        let is_ready = |node: &NodeStatus| {
            node.fsm.ready.contains(&request.module)
                && node.fsm.fingerprint == ModuleId(fingerprint)
                && (previous.is_none() || node.fsm.previous == previous)
        };
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            let metrics = self.metrics();
            let membership = metrics.membership_config.membership();
            let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
            let (mut ready, mut missing, mut hopeless) = (Vec::new(), Vec::new(), false);
            for node in self.cluster_status().await {
                match node.stats {
                    _ if !voters.contains(&node.id) => {}
                    Some(stats) if is_ready(&stats) => ready.push(stats),
                    stats => {
                        hopeless |= stats.is_none();
                        missing.push(node.id);
                    }
                }
            }
            if missing.is_empty() {
                return Ok(ready);
            }
            if hopeless || Instant::now() >= deadline {
                return Err(ModuleCallError::NotReady(missing));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    fn previous_until(&self) -> Result<LogIndex, ModuleCallError> {
        let previous = self.parts.fsm.previous().ok_or_else(|| {
            let reason = "no state was kept from before the last activation";
            ModuleCallError::Conflict(reason.to_owned())
        })?;
        Ok(previous.until)
    }

    /// The snapshot to start from. If there is none that every voter has, they are asked to take one:
    /// the module may have kept them from it at the last checkpoint.
    async fn base(
        &self,
        request: &ActivateRequest,
        fingerprint: [u8; 32],
        voters: &[NodeStatus],
    ) -> Result<LogIndex, ModuleCallError> {
        if let Ok(base) = self.common_snapshot(voters) {
            return Ok(base);
        }
        self.propose_checkpoint(true).await?;
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            let voters = self.voters_ready_for(request, fingerprint).await?;
            match self.common_snapshot(&voters) {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(READY_POLL).await,
                found => return found,
            }
        }
    }

    /// The newest snapshot that every voter has, of a state that today's came from.
    fn common_snapshot(&self, voters: &[NodeStatus]) -> Result<LogIndex, ModuleCallError> {
        let since = self.parts.fsm.state_since();
        let mut common = voters
            .iter()
            .map(|node| node.fsm.snapshots.iter().copied().collect::<BTreeSet<_>>())
            .reduce(|left, right| &left & &right)
            .unwrap_or_default();
        common.retain(|index| *index >= since);
        common.pop_last().ok_or_else(|| {
            ModuleCallError::Conflict(format!(
                "no snapshot since log index {since}, where today's state began, is on every \
                 voter's disk, and none could be taken now: use state=reset"
            ))
        })
    }
}
