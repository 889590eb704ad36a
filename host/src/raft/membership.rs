//! Adding and removing nodes. All of it runs on the leader, one change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, ServerState};
use tokio::time::Instant;

use super::consensus::Consensus;
use super::network::{DialError, HandshakeError, Lane, Target, dial};
use super::propose_error::ProposeError;
use crate::types::{NodeId, NodeInfo, TypeConfig};

/// A learner this close to the leader's log, in entries, is promoted: it will not hold commits up
/// for long.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// How long a request waits for a learner to catch up. A larger state takes several requests.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(20);

const CATCH_UP_POLL: Duration = Duration::from_millis(50);

/// Why the membership was not changed as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MembershipError {
    /// The change contradicts what the cluster or the node says. Nothing was changed.
    #[error("{0}")]
    Conflict(String),
    /// No such member.
    #[error("node {0} is not a member of this cluster")]
    Unknown(NodeId),
    /// Another change is under way. Nothing was changed.
    #[error("another membership change is under way")]
    Busy,
    /// The node is a learner and not yet near the leader's log.
    #[error("node {0} is still catching up; it is promoted when this request is repeated")]
    CatchingUp(NodeId),
    /// The change could not be proposed, or its outcome is unknown.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

type WriteError = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

impl Consensus {
    /// Makes the node at `raft_addr` a voter: as a learner first, then promoted once it has caught
    /// up. Done already is done. The node is dialled first, and must answer as `id`.
    pub async fn add_node(&self, id: NodeId, raft_addr: String) -> Result<(), MembershipError> {
        let _one_at_a_time = self.lead_membership_change().await?;
        if self.parts.fsm.is_retired(id) {
            return Err(MembershipError::Conflict(format!(
                "node {id} was removed from this cluster, and an id is never used twice: start the \
                 node with a new --id and an empty data directory"
            )));
        }
        let info = self.probe(id, raft_addr).await?;
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        match membership.get_node(&id) {
            Some(known) if known.instance != info.instance => {
                return Err(MembershipError::Conflict(format!(
                    "node {id} is a member with another data directory, whose votes and log are \
                     gone if that was wiped: remove node {id}, then start this one with a new --id"
                )));
            }
            Some(known) if *known == info => {}
            Some(_) => {
                let nodes = BTreeMap::from([(id, info)]);
                self.change(ChangeMembers::SetNodes(nodes)).await?;
            }
            None => {
                let added = self.parts.raft.add_learner(id, info, false);
                self.within_deadline(added).await?;
            }
        }
        if membership.voter_ids().any(|voter| voter == id) {
            return Ok(());
        }
        self.wait_caught_up(id).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])))
            .await
    }

    /// Removes a member for good: its id is retired.
    pub async fn remove_node(&self, id: NodeId, raft_addr: &str) -> Result<(), MembershipError> {
        let _one_at_a_time = self.lead_membership_change().await?;
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let node = membership
            .get_node(&id)
            .ok_or(MembershipError::Unknown(id))?;
        if node.raft_addr != raft_addr {
            return Err(MembershipError::Conflict(format!(
                "node {id} has the raft address {}, not {raft_addr}",
                node.raft_addr
            )));
        }
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let ids = BTreeSet::from([id]);
        if !voters.contains(&id) {
            return self.change(ChangeMembers::RemoveNodes(ids)).await;
        }
        if voters.len() == 1 {
            return Err(MembershipError::Conflict(format!(
                "node {id} is the only voter: a cluster without voters cannot come back"
            )));
        }
        self.change(ChangeMembers::RemoveVoters(ids)).await
    }

    async fn lead_membership_change(
        &self,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, MembershipError> {
        let metrics = self.metrics();
        if metrics.state != ServerState::Leader {
            return Err(match self.leader_of(&metrics) {
                Some((id, node)) if id != self.parts.local.id => {
                    ProposeError::NotLeader { id, node }
                }
                _ => ProposeError::NoLeader,
            }
            .into());
        }
        let timeout = self.parts.limits.request_timeout;
        let turn = tokio::time::timeout(timeout, self.membership_changes.lock()).await;
        turn.map_err(|_| MembershipError::Busy)
    }

    /// Asks the node at `raft_addr` who it is, and invites it if it waits for a cluster.
    async fn probe(&self, id: NodeId, raft_addr: String) -> Result<NodeInfo, MembershipError> {
        if id == self.parts.local.id {
            let info = self.parts.local.info();
            if info.raft_addr == raft_addr {
                return Ok(info);
            }
        }
        let target = Target {
            id,
            addr: raft_addr.clone(),
            instance: None,
        };
        let dialled = dial(&self.parts.local, &target, Lane::Invite).await;
        let (_, welcome) = dialled.map_err(|error| {
            MembershipError::Conflict(match error {
                DialError::Handshake(HandshakeError::Refused { addr, refusal }) => {
                    format!("the node at {addr} cannot become node {id} of this cluster: {refusal}")
                }
                error => format!("node {id} does not answer: {error}"),
            })
        })?;
        Ok(NodeInfo {
            raft_addr,
            http_addr: welcome.http_addr,
            instance: welcome.instance,
        })
    }

    async fn wait_caught_up(&self, id: NodeId) -> Result<(), MembershipError> {
        let deadline = Instant::now() + CATCH_UP_DEADLINE;
        loop {
            let metrics = self.metrics();
            let Some(replication) = &metrics.replication else {
                return Err(ProposeError::NoLeader.into());
            };
            let matched = replication.get(&id).and_then(|matched| matched.as_ref());
            let last = metrics.last_log_index.unwrap_or(0);
            if matched.is_some_and(|matched| matched.index + CAUGHT_UP_ENTRIES >= last) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(MembershipError::CatchingUp(id));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    async fn change(&self, change: ChangeMembers<NodeId, NodeInfo>) -> Result<(), MembershipError> {
        self.within_deadline(self.parts.raft.change_membership(change, false))
            .await
    }

    async fn within_deadline(
        &self,
        change: impl Future<Output = Result<ClientWriteResponse<TypeConfig>, WriteError>>,
    ) -> Result<(), MembershipError> {
        let timeout = self.parts.limits.request_timeout;
        match tokio::time::timeout(timeout, change).await {
            Err(_) => {
                Err(ProposeError::Unknown(format!("not committed within {timeout:?}")).into())
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_),
            )))) => Err(MembershipError::Busy),
            Ok(Err(error)) => Err(self.write_error(error).into()),
        }
    }
}
