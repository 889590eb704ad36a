//! What `/stats`, `/servers` and `/state` show, gathered.

use std::time::Duration;

use openraft::{RaftMetrics, ServerState};

use super::consensus::Consensus;
use super::network::{CallError, ControlRequest, ControlResponse};
use super::status::{ClusterStatus, NodeStatus, Role, ServerStatus};
use crate::types::{NodeId, NodeInfo, TypeConfig};

/// How long another node may take to tell its figures.
const STATUS_DEADLINE: Duration = Duration::from_secs(1);

impl Consensus {
    /// This node's figures.
    pub fn status(&self) -> NodeStatus {
        let metrics: RaftMetrics<TypeConfig> = self.metrics();
        let index = |id: &Option<crate::types::LogId>| id.as_ref().map(|id| id.index);
        let membership = metrics.membership_config.membership();
        NodeStatus {
            id: metrics.id,
            state: role(&metrics),
            term: metrics.current_term,
            leader: self.leader_of(&metrics).map(|(id, _)| id),
            last_log_index: metrics.last_log_index,
            committed_index: index(&metrics.local_committed),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            stopped: metrics
                .running_state
                .as_ref()
                .err()
                .map(ToString::to_string),
            fsm: self.parts.fsm.status(),
            log: self.parts.log.stats().into(),
        }
    }

    /// Every member's figures; members that do not answer are marked so.
    pub async fn cluster_status(&self) -> Vec<ClusterStatus> {
        let metrics = self.metrics();
        let nodes = metrics
            .membership_config
            .nodes()
            .map(|(id, node)| (*id, node.clone()));
        let ask = nodes.map(async |(id, node)| {
            let stats = self.status_of(id, &node).await;
            ClusterStatus {
                id,
                reachable: stats.is_ok(),
                stats: stats.ok(),
            }
        });
        futures::future::join_all(ask).await
    }

    pub(super) async fn status_of(
        &self,
        id: NodeId,
        node: &NodeInfo,
    ) -> Result<NodeStatus, CallError> {
        if id == self.parts.local.id {
            return Ok(self.status());
        }
        let control = self.parts.network.control(id, node);
        match control
            .call(ControlRequest::Status, STATUS_DEADLINE)
            .await?
        {
            ControlResponse::Status(status) => Ok(*status),
            _ => Err(CallError::Failed {
                addr: node.raft_addr.clone(),
                reason: "it answered another question".to_owned(),
            }),
        }
    }

    /// Every member, as the membership has it.
    pub fn servers(&self) -> Vec<ServerStatus> {
        let metrics = self.metrics();
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let leader = self.leader_of(&metrics).map(|(id, _)| id);
        let server = |(id, node): (&NodeId, &NodeInfo)| ServerStatus {
            id: *id,
            addr: node.raft_addr.clone(),
            http_addr: node.http_addr.clone(),
            role: if voters.contains(id) {
                "voter"
            } else {
                "learner"
            }
            .to_owned(),
            leader: leader == Some(*id),
        };
        metrics.membership_config.nodes().map(server).collect()
    }

    /// What this node is right now.
    pub fn role(&self) -> Role {
        role(&self.metrics())
    }
}

fn role(metrics: &RaftMetrics<TypeConfig>) -> Role {
    match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    }
}
