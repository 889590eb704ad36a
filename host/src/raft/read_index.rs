//! Read indexes (Raft thesis §6.4): of this node if it leads, else of the leader.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ForwardToLeader, LinearizableReadError, RaftError};
use openraft::{ReadPolicy, ServerState};

use super::network::{CallError, ControlRequest, ControlResponse, Network};
use crate::failpoint;
use crate::fsm::StateMachine;
use crate::types::{LogIndex, TypeConfig};

/// Why a linearizable read was not served. Nothing was changed: all of them can be repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No leader is known.
    #[error("no leader is known to this node")]
    NoLeader,
    /// The leader could not confirm that it still leads.
    #[error("the leader cannot reach a quorum: {0}")]
    NoQuorum(String),
    /// The round, or catching up with it, took too long.
    #[error("no confirmed read index within {0:?}")]
    Deadline(Duration),
    /// Too many queries wait here already.
    #[error("too many queries are waiting on this node")]
    Overloaded,
    /// The node no longer takes part.
    #[error("this node has stopped: {0}")]
    Stopped(String),
    /// This node's state is not to be trusted, or not there. Other nodes may answer.
    #[error("this node's state is not to be used: {0}")]
    Quarantined(String),
    /// No module is active yet.
    #[error("no state machine module is active yet")]
    NoModule,
    /// The module refused the query.
    #[error("the module refused the query: {} (code {})", .0.message, .0.code)]
    Refused(crate::types::Failure),
    /// The query trapped; nobody's state was touched.
    #[error("the query failed: {0}")]
    Trapped(crate::types::TrapKind),
}

/// Asks for read indexes.
#[derive(Debug, Clone)]
pub(super) struct ReadBarrier {
    raft: openraft::Raft<TypeConfig, StateMachine>,
    network: Network,
    /// How long a round may take, and then this node, to apply what a read has to see.
    pub(super) deadline: Duration,
}

impl ReadBarrier {
    pub(super) fn new(
        raft: openraft::Raft<TypeConfig, StateMachine>,
        network: Network,
        deadline: Duration,
    ) -> Self {
        Self {
            raft,
            network,
            deadline,
        }
    }

    /// An index such that a state that has applied it reflects every write acknowledged before
    /// this call.
    pub(super) async fn index(&self) -> Result<LogIndex, ReadError> {
        // Boxed: it is large, and every request that may have to wait for one holds it in place.
        let round = Box::pin(self.round());
        tokio::time::timeout(self.deadline, round)
            .await
            .unwrap_or(Err(ReadError::Deadline(self.deadline)))
    }

    async fn round(&self) -> Result<LogIndex, ReadError> {
        match self.index_as_leader().await {
            Err(RoundError::NotLeader(forward)) => self.ask_leader(*forward).await,
            Err(RoundError::Read(error)) => Err(error),
            Ok(index) => Ok(index),
        }
    }

    /// The read index if this node leads.
    pub(super) async fn index_as_leader(&self) -> Result<LogIndex, RoundError> {
        // A leader that does not ask whether it still is one.
        if failpoint::is_armed("read-not-confirmed") {
            let metrics = self.raft.metrics().borrow_watched().clone();
            if let (ServerState::Leader, Some(applied)) = (metrics.state, metrics.last_applied) {
                return Ok(applied.index);
            }
        }
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        match linearizer {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(RoundError::NotLeader(Box::new(forward)))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(missing))) => {
                Err(ReadError::NoQuorum(missing.to_string()).into())
            }
            Err(RaftError::Fatal(fatal)) => Err(ReadError::Stopped(fatal.to_string()).into()),
        }
    }

    async fn ask_leader(
        &self,
        forward: ForwardToLeader<TypeConfig>,
    ) -> Result<LogIndex, ReadError> {
        let (Some(id), Some(node)) = (forward.leader_id, forward.leader_node) else {
            return Err(ReadError::NoLeader);
        };
        let control = self.network.control(id, &node);
        match control.call(ControlRequest::ReadIndex, self.deadline).await {
            Ok(ControlResponse::ReadIndex(index)) => Ok(index),
            Ok(_) => Err(ReadError::NoQuorum(
                "the leader answered another question".to_owned(),
            )),
            Err(CallError::Deadline { deadline, .. }) => Err(ReadError::Deadline(deadline)),
            Err(error) => Err(ReadError::NoQuorum(error.to_string())),
        }
    }
}

/// Why a node has no read index of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("this node does not lead")]
    NotLeader(Box<ForwardToLeader<TypeConfig>>),
    #[error(transparent)]
    Read(#[from] ReadError),
}
