//! Who this node is to its peers.

use std::sync::OnceLock;

use super::network::Connector;
use crate::storage::{Database, Identity, StorageError, random_bytes};
use crate::types::{ClusterId, InstanceId, NodeId, NodeInfo};

/// This node's names and addresses. The cluster is unknown until it was bootstrapped or joined.
#[derive(Debug)]
pub struct Local {
    /// This node's id.
    pub id: NodeId,
    /// This node's data directory.
    pub instance: InstanceId,
    /// Where peers reach this node.
    pub raft_addr: String,
    /// Where clients reach this node.
    pub http_addr: String,
    /// How it calls them.
    pub(crate) connector: Connector,
    cluster: OnceLock<ClusterId>,
    database: Database,
}

impl Local {
    /// The node that `database` belongs to, reached at these addresses.
    pub fn new(
        database: Database,
        identity: &Identity,
        raft_addr: String,
        http_addr: String,
    ) -> Self {
        let cluster = identity.cluster.map(OnceLock::from).unwrap_or_default();
        let (id, instance) = (identity.node_id, identity.instance);
        Self {
            id,
            instance,
            raft_addr,
            http_addr,
            connector: Connector::default(),
            cluster,
            database,
        }
    }

    /// The cluster that this node belongs to, once it does.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster.get().copied()
    }

    /// Joins a cluster for good: durable before it returns.
    pub(crate) async fn adopt_cluster(&self, cluster: ClusterId) -> Result<(), StorageError> {
        let database = self.database.clone();
        let adopted = tokio::task::spawn_blocking(move || database.adopt_cluster(cluster)).await;
        adopted.map_err(|panic| StorageError::Refused(panic.to_string()))??;
        self.cluster.get_or_init(|| cluster);
        Ok(())
    }

    /// Draws the id of a new cluster and joins it.
    pub(crate) async fn found_cluster(&self) -> Result<(), StorageError> {
        self.adopt_cluster(ClusterId(random_bytes()?)).await
    }

    /// What the membership says of this node.
    pub fn info(&self) -> NodeInfo {
        NodeInfo {
            raft_addr: self.raft_addr.clone(),
            http_addr: self.http_addr.clone(),
            instance: self.instance,
        }
    }
}
