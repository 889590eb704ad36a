//! The first entries of a new cluster: its membership, then its module.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{InitializeError, RaftError};

use super::assemble::StartError;
use crate::config::Config;
use crate::raft::{ActivateRequest, Consensus, ModuleCallError, ReadError, Role, StartWith};

/// Between two looks whether this node leads.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

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
pub(super) async fn first_module(
    config: &Config,
    consensus: &Consensus,
) -> Result<Bytes, StartError> {
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
    let bytes = Bytes::from(bytes);
    let checked = consensus.check_module(bytes.clone()).await;
    checked.map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

/// Why the first module is not active yet.
#[derive(Debug, thiserror::Error)]
enum FoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Module(#[from] ModuleCallError),
}

/// Makes the first module active, unless one is.
pub(super) async fn activate_first(consensus: &Consensus, module: Bytes) {
    loop {
        tokio::time::sleep(RETRY_PAUSE).await;
        if consensus.role() != Role::Leader {
            continue;
        }
        match try_activate(consensus, &module).await {
            Ok(()) => return,
            // It is being compiled.
            Err(FoundError::Module(ModuleCallError::NotReady(_))) => {}
            Err(error) => tracing::warn!(%error, "the cluster has no module yet"),
        }
    }
}

async fn try_activate(consensus: &Consensus, bytes: &Bytes) -> Result<(), FoundError> {
    // Behind this index, what this node sees is what the cluster decided.
    consensus.catch_up().await?;
    if consensus.active_module().is_some() {
        return Ok(());
    }
    let (info, _) = consensus.upload_module(bytes.clone()).await?;
    let request = ActivateRequest {
        module: info.module,
        expect: None,
        limits: None,
        start: StartWith::Nothing,
    };
    consensus.activate_module(request).await?;
    Ok(())
}
