//! The first entries of a new cluster: its membership, then its module.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{InitializeError, RaftError};
use sha2::{Digest, Sha256};

use super::assemble::StartError;
use crate::clock;
use crate::config::{Config, MAX_MODULE_BYTES};
use crate::raft::{Consensus, ProposeError, ReadError};
use crate::types::{Activation, Limits, MODULE_CHUNK_BYTES, ModuleId, Proposal, Reply};
use crate::wasm::Engine;

const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Writes the membership of a cluster of one, unless there is one already.
pub(super) async fn initialize(consensus: &Consensus) -> Result<(), StartError> {
    let local = consensus.local();
    let members = BTreeMap::from([(local.id, local.info())]);
    match consensus.raft().initialize(members).await {
        Ok(()) => {
            tracing::info!(cluster = ?local.cluster(), "founded a cluster");
            Ok(())
        }
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(StartError::Raft(error.to_string())),
    }
}

/// The module that a new cluster starts with: the file of `--fsm`, or the bundled one.
pub(super) async fn first_module(config: &Config, engine: &Engine) -> Result<Bytes, StartError> {
    let Some(path) = &config.fsm else {
        return Ok(Bytes::from_static(crate::bundled::KV));
    };
    let failed = |reason: String| StartError::Module {
        path: path.display().to_string(),
        reason,
    };
    let bytes = tokio::fs::read(path)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let engine = engine.clone();
    let max_bytes = usize::try_from(MAX_MODULE_BYTES).unwrap_or(usize::MAX);
    let checked =
        tokio::task::spawn_blocking(move || engine.load(&bytes, max_bytes).map(|_| bytes)).await;
    let loaded = checked.map_err(|panic| failed(panic.to_string()))?;
    loaded
        .map(Bytes::from)
        .map_err(|error| failed(error.to_string()))
}

/// Why the first module is not active yet.
#[derive(Debug, thiserror::Error)]
enum FoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error("the first module was not accepted: {0:?}")]
    Rejected(Reply),
}

/// Proposes the first module until one is active. Repeating it is harmless: the module store is
/// content-addressed, and a second activation of the same module only restores its own state.
pub(super) async fn activate_first(consensus: &Consensus, engine: &Engine, module: Bytes) {
    loop {
        match try_activate(consensus, engine, &module).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the cluster has no module yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn try_activate(
    consensus: &Consensus,
    engine: &Engine,
    bytes: &Bytes,
) -> Result<(), FoundError> {
    // Behind this index, what this node sees is what the cluster decided.
    consensus.catch_up().await?;
    if consensus.active_module().is_some() {
        return Ok(());
    }
    let module = ModuleId(Sha256::digest(bytes).into());
    for (piece, start) in bytes
        .chunks(MODULE_CHUNK_BYTES)
        .zip((0..).step_by(MODULE_CHUNK_BYTES))
    {
        let bytes = bytes.slice_ref(piece);
        accepted(
            consensus,
            Proposal::ModuleChunk {
                module,
                offset: start,
                bytes,
            },
        )
        .await?;
    }
    accepted(
        consensus,
        Proposal::ModuleCommit {
            module,
            size: bytes.len() as u64,
        },
    )
    .await?;
    let activation = Activation {
        module,
        time_ms: clock::now_ms(),
        limits: Limits::DEFAULT,
        fingerprint: engine.fingerprint(),
    };
    accepted(consensus, Proposal::Activate(activation)).await
}

async fn accepted(consensus: &Consensus, proposal: Proposal) -> Result<(), FoundError> {
    match consensus.propose_entry(proposal).await? {
        Reply::Done => Ok(()),
        reply => Err(FoundError::Rejected(reply)),
    }
}
