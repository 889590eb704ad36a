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
    /// The node cannot lead now. Nothing was changed.
    #[error("{0}")]
    Unfit(String),
    /// Without the node too few voters would answer. Nothing was changed.
    #[error(
        "without node {id} the cluster could not commit anything: of the voters that would be left, \
         {silent:?} do not answer. Start or remove them first; force=true tries it all the same, and \
         nothing is committed until enough of them answer"
    )]
    CostsQuorum {
        /// The node that was to be removed.
        id: NodeId,
        /// The voters that do not answer.
        silent: Vec<NodeId>,
    },
    /// Another change is under way. Nothing was changed.
    #[error("another membership change or hand-over is under way")]
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

    /// Removes a member for good: its id is retired. A leader hands over first, and the removal is up
    /// to the next one. What would cost the quorum is refused unless it is forced.
    pub async fn remove_node(
        &self,
        id: NodeId,
        raft_addr: &str,
        force: bool,
    ) -> Result<(), MembershipError> {
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
        let own = self.parts.local.id;
        let rest: BTreeSet<NodeId> = voters.difference(&ids).copied().collect();
        if !force {
            self.expect_quorum_without(id, &rest).await?;
        }
        if id == own {
            match self.hand_over_to_any(&self.heirs(&metrics)).await {
                Ok(now) => {
                    let id = now.leader;
                    let node = membership.get_node(&id);
                    let node = node.ok_or(MembershipError::Unknown(id))?.clone();
                    return Err(ProposeError::NotLeader { id, node }.into());
                }
                // It can still commit its own removal, and a new leader is found by a timeout.
                Err(MembershipError::Unfit(_)) if force => {}
                Err(error) => return Err(error),
            }
        }
        self.change(ChangeMembers::RemoveVoters(ids)).await
    }

    async fn expect_quorum_without(
        &self,
        id: NodeId,
        rest: &BTreeSet<NodeId>,
    ) -> Result<(), MembershipError> {
        let own = BTreeSet::from([self.parts.local.id]);
        let peers: BTreeSet<NodeId> = rest.difference(&own).copied().collect();
        let answering = self.answering(&peers).await;
        let silent: Vec<NodeId> = peers.difference(&answering).copied().collect();
        if (rest.len() - silent.len()) * 2 > rest.len() {
            return Ok(());
        }
        Err(MembershipError::CostsQuorum { id, silent })
    }

    /// The turn to change the membership or the leader, of a node that leads.
    pub(super) async fn lead_membership_change(
        &self,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, MembershipError> {
        let timeout = self.parts.limits.request_timeout;
        let turn = tokio::time::timeout(timeout, self.membership_changes.lock()).await;
        let turn = turn.map_err(|_| MembershipError::Busy)?;
        // Asked when it is its turn: the one before may have been a hand-over.
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
        Ok(turn)
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
