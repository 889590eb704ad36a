//! The figures of a node and of the cluster, as `/stats` and `/servers` show them.

use serde::{Deserialize, Serialize};

use crate::fsm::FsmStatus;
use crate::storage::WriterStats;
use crate::types::{LogIndex, NodeId};

/// What a node is to the cluster right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Proposes entries.
    Leader,
    /// Votes, and follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Receives entries and does not vote: not yet promoted, or no member at all.
    Learner,
}

impl Role {
    /// The word that `/state` answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "Leader",
            Self::Follower => "Follower",
            Self::Candidate => "Candidate",
            Self::Learner => "Learner",
        }
    }
}

/// One node's own view. Indexes are `None` before the first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node that says this.
    pub id: NodeId,
    /// What it is.
    pub state: Role,
    /// Its term.
    pub term: u64,
    /// The leader that it knows.
    pub leader: Option<NodeId>,
    /// The last entry in its log.
    pub last_log_index: Option<LogIndex>,
    /// The last entry that it knows to be committed.
    pub committed_index: Option<LogIndex>,
    /// The last entry that its state machine applied.
    pub applied_index: Option<LogIndex>,
    /// The last entry that its newest snapshot covers.
    pub snapshot_index: Option<LogIndex>,
    /// The last entry that was purged from its log.
    pub purged_index: Option<LogIndex>,
    /// The members that vote.
    pub voters: Vec<NodeId>,
    /// The members that do not.
    pub learners: Vec<NodeId>,
    /// Why the node stopped taking part, if it did.
    pub stopped: Option<String>,
    /// Its state machine.
    pub fsm: FsmStatus,
    /// Its log writer.
    pub log: LogStatus,
}

/// A log writer's figures, since its process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Durable commits, each with one fsync.
    pub commits: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of those entries.
    pub bytes: u64,
    /// Microseconds spent in commits.
    pub commit_us: u64,
    /// Microseconds of the longest commit.
    pub commit_max_us: u64,
}

impl From<WriterStats> for LogStatus {
    fn from(stats: WriterStats) -> Self {
        let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            commits: stats.commits,
            entries: stats.entries,
            bytes: stats.bytes,
            commit_us: us(stats.commit_time),
            commit_max_us: us(stats.commit_time_max),
        }
    }
}

/// A node as another one reached it, or did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The node.
    pub id: NodeId,
    /// Whether it answered.
    pub reachable: bool,
    /// What it answered.
    pub stats: Option<NodeStatus>,
}

/// A member, as the membership has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The member.
    pub id: NodeId,
    /// Where peers reach it.
    pub addr: String,
    /// Where clients reach it.
    pub http_addr: String,
    /// `voter` or `learner`.
    pub role: String,
    /// Whether it leads, as far as the answering node knows.
    pub leader: bool,
}
