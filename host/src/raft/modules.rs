//! Modules through the log: upload, try, list, forget. All of it runs on the leader.

use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::consensus::Consensus;
use super::propose_error::ProposeError;
use crate::fsm::{ActiveModule, DryRun, FsmError, Previous};
use crate::types::{
    Description, Failure, Limits, MODULE_CHUNK_BYTES, ModuleId, NodeId, Proposal, Reply,
};

/// What is known of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Its sha256.
    pub module: ModuleId,
    /// Bytes.
    pub size: u64,
    /// What it says of itself; `None` while it is being compiled here.
    pub description: Option<Description>,
    /// Milliseconds that compiling and checking it took; `None` where it was not done just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compile_ms: Option<u64>,
}

/// Why a call about modules did not succeed. Nothing was changed, unless the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ModuleCallError {
    /// The bytes are not a state machine.
    #[error("{0}")]
    Invalid(String),
    /// No such module.
    #[error("module {0} was not uploaded")]
    Unknown(ModuleId),
    /// Some voters cannot run the module yet.
    #[error("nodes {0:?} are not ready for it yet (still compiling, or behind), or do not answer")]
    NotReady(Vec<NodeId>),
    /// The change contradicts what the cluster says.
    #[error("{0}")]
    Conflict(String),
    /// The new module refused the state of the old one, which stays active everywhere.
    #[error("the module refuses the present state: {} (code {})", .0.message, .0.code)]
    Refused(Failure),
    /// This node's disk.
    #[error(transparent)]
    Node(#[from] FsmError),
    /// The change could not be proposed, or its outcome is unknown.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

impl Consensus {
    /// Checks that bytes are a state machine, on this node.
    pub async fn check_module(&self, bytes: Bytes) -> Result<ModuleInfo, ModuleCallError> {
        let registry = self.parts.fsm.registry().clone();
        let started = Instant::now();
        let checked = tokio::task::spawn_blocking(move || registry.check(&bytes)).await;
        let checked = checked.map_err(|panic| ModuleCallError::Invalid(panic.to_string()))?;
        let module = checked.map_err(|error| ModuleCallError::Invalid(error.to_string()))?;
        Ok(ModuleInfo {
            module: module.id(),
            size: module.size() as u64,
            description: Some(module.description().clone()),
            compile_ms: Some(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
        })
    }

    /// Brings a module to every node. The second value tells whether it was new.
    pub async fn upload_module(&self, bytes: Bytes) -> Result<(ModuleInfo, bool), ModuleCallError> {
        let _one_at_a_time = self.module_changes.lock().await;
        let info = self.check_module(bytes.clone()).await?;
        let module = info.module;
        if self.parts.fsm.modules().contains_key(&module) {
            return Ok((info, false));
        }
        // In pieces, one after the other: writes and heartbeats go in between.
        let offsets = (0..).step_by(MODULE_CHUNK_BYTES);
        for (piece, offset) in bytes.chunks(MODULE_CHUNK_BYTES).zip(offsets) {
            let bytes = bytes.slice_ref(piece);
            self.carry_out(Proposal::ModuleChunk {
                module,
                offset,
                bytes,
            })
            .await?;
        }
        self.carry_out(Proposal::ModuleCommit {
            module,
            size: info.size,
        })
        .await?;
        Ok((info, true))
    }

    /// Tries a module on a copy of this node's state.
    pub async fn dry_run(&self, module: ModuleId) -> Result<DryRun, ModuleCallError> {
        if !self.parts.fsm.modules().contains_key(&module) {
            return Err(ModuleCallError::Unknown(module));
        }
        let active = self.parts.fsm.active();
        let limits = active.map_or(Limits::DEFAULT, |active| active.limits);
        Ok(self.parts.fsm.dry_run(module, limits).await?)
    }

    /// Forgets a module on every node.
    pub async fn remove_module(&self, module: ModuleId) -> Result<(), ModuleCallError> {
        self.expect_leader()?;
        if !self.parts.fsm.modules().contains_key(&module) {
            return Err(ModuleCallError::Unknown(module));
        }
        self.carry_out(Proposal::RemoveModule { module }).await?;
        Ok(())
    }

    /// Forgets the state that was kept from before the last activation, on every node.
    pub async fn drop_previous(&self) -> Result<(), ModuleCallError> {
        self.expect_leader()?;
        self.carry_out(Proposal::DropPrevious).await?;
        Ok(())
    }

    /// The modules that were uploaded.
    pub fn modules(&self) -> Vec<ModuleInfo> {
        let registry = self.parts.fsm.registry();
        let info = |(module, size)| ModuleInfo {
            module,
            size,
            description: registry.description(module),
            compile_ms: None,
        };
        self.parts.fsm.modules().into_iter().map(info).collect()
    }

    /// A module's bytes, from this node's disk.
    pub async fn module_bytes(&self, module: ModuleId) -> Result<Bytes, ModuleCallError> {
        let registry = self.parts.fsm.registry().clone();
        let read = tokio::task::spawn_blocking(move || registry.bytes(module)).await;
        let read = read.map_err(|panic| FsmError::Fault(panic.to_string()))?;
        let bytes = read.map_err(FsmError::from)?;
        bytes
            .map(Bytes::from)
            .ok_or(ModuleCallError::Unknown(module))
    }

    /// Commands since the cluster began.
    pub fn commands_so_far(&self) -> u64 {
        self.parts.fsm.commands_so_far()
    }

    /// The state that was kept from before the last activation.
    pub fn previous(&self) -> Option<Previous> {
        self.parts.fsm.previous()
    }

    /// The state machine, and those before it, the latest last.
    pub fn active_and_history(&self) -> (Option<ActiveModule>, Vec<ActiveModule>) {
        (self.parts.fsm.active(), self.parts.fsm.history())
    }

    /// The engine that this node runs modules on.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.parts.fsm.registry().fingerprint()
    }

    pub(super) async fn carry_out(&self, proposal: Proposal) -> Result<u64, ModuleCallError> {
        match self.propose_entry(proposal).await? {
            Reply::Refused(failure) => Err(ModuleCallError::Refused(failure)),
            Reply::Rejected(reason) => Err(ModuleCallError::Conflict(reason)),
            Reply::Unapplied(reason) => Err(ProposeError::Unknown(reason).into()),
            Reply::Done => Ok(0),
            Reply::Activated { dropped } => Ok(dropped),
            Reply::Response(_) | Reply::Trapped(_) | Reply::NoModule => {
                Err(ProposeError::Unknown("the reply of another entry".to_owned()).into())
            }
        }
    }
}
