//! Whose data directory this is.

use serde::{Deserialize, Serialize};

use super::StorageError;
use crate::types::{ClusterId, InstanceId, NodeId};

/// Whom a data directory belongs to. Written once, and completed once by the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node's number.
    pub node_id: NodeId,
    /// The name of this very directory: see [`InstanceId`].
    pub instance: InstanceId,
    /// The cluster, once it is known. A joining node learns it from its first peer.
    pub cluster: Option<ClusterId>,
    /// How the node came to be.
    pub origin: Origin,
}

/// How a node came to be. Decides what a node with an empty log does at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// It founded the cluster, so an interrupted bootstrap is taken up again.
    Bootstrap,
    /// It joined, so it waits to be added and must never found a cluster of its own.
    Join,
}

/// Sixteen bytes that nobody else draws: the name of a cluster, of a data directory, or of a file.
///
/// # Errors
/// [`StorageError::Refused`] when the system gives none.
pub fn random_bytes() -> Result<[u8; 16], StorageError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        StorageError::Refused(format!("the system gives no random bytes: {error}"))
    })?;
    Ok(bytes)
}
