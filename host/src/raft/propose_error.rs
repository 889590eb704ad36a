//! What becomes of a proposal that is not acknowledged.

use crate::types::{Failure, NodeId, NodeInfo, TrapKind};

/// What became of a proposal that was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads. Nothing was proposed.
    #[error("node {id} leads")]
    NotLeader {
        /// The leader.
        id: NodeId,
        /// Its addresses.
        node: NodeInfo,
    },
    /// No leader is known. Nothing was proposed.
    #[error("no leader is known to this node")]
    NoLeader,
    /// This leader has not heard from a quorum lately. Nothing was proposed.
    #[error("the leader has lost its quorum")]
    NoQuorum,
    /// Too much is in flight here. Nothing was proposed.
    #[error("{limit} proposals are in flight on this node already")]
    Overloaded {
        /// The bound on proposals in flight.
        limit: usize,
    },
    /// The state machine's memory is nearly used up. Nothing was proposed.
    #[error("the state machine uses {used} of {limit} bytes of memory")]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes above which commands are refused.
        limit: u64,
    },
    /// Nobody knows whether the command will be applied.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// This node no longer takes part. Nothing was proposed.
    #[error("this node has stopped: {0}")]
    Stopped(String),
    /// This leader's state is not to be trusted, or not there. Nothing was proposed.
    #[error("the leader's state is not to be used: {0}")]
    Quarantined(String),
    /// The module refused the command, on every node alike.
    #[error("the module refused the command: {} (code {})", .0.message, .0.code)]
    Refused(Failure),
    /// The command trapped: it is as if it had never run.
    #[error("the command failed: {0}")]
    Trapped(TrapKind),
    /// No module is active yet; the command had no effect.
    #[error("no state machine module is active yet")]
    NoModule,
    /// A host entry that could not be carried out, on every node alike.
    #[error("{0}")]
    Rejected(String),
}
