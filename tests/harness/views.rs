//! The JSON that the documentation promises, as a client of another language would write it down.
//!
//! Fields that are `null` in some states are still required: a renamed one fails.

use serde::{Deserialize, Deserializer};

fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// An error body (RFC 9457) with rkv's extensions.
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// A stable word for programs.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// `unknown` or `not_applied`, where the request was a write.
    pub outcome: Option<String>,
    /// The bound that the request passed, where it did.
    pub limit: Option<u64>,
}

/// One element of `GET /servers`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// The node's id.
    pub id: u64,
    /// Where its peers reach it.
    pub addr: String,
    /// Where clients reach it.
    pub http_addr: String,
    /// `voter` or `learner`.
    pub role: String,
    /// Whether it leads, as far as the asked node knows.
    pub leader: bool,
}

/// `GET /stats`.
#[derive(Debug, Clone, Deserialize)]
pub struct Stats {
    /// The node's id.
    pub id: u64,
    /// `Leader`, `Follower`, `Candidate` or `Learner`.
    pub state: String,
    /// Its current term.
    pub term: u64,
    /// The leader that it knows.
    #[serde(deserialize_with = "present")]
    pub leader: Option<u64>,
    /// Index of the newest entry in its log.
    #[serde(deserialize_with = "present")]
    pub last_log_index: Option<u64>,
    /// Index up to which it knows the log to be committed.
    #[serde(deserialize_with = "present")]
    pub committed_index: Option<u64>,
    /// Index of the newest entry that its state machine has applied.
    #[serde(deserialize_with = "present")]
    pub applied_index: Option<u64>,
    /// Index of the newest entry in its newest snapshot.
    #[serde(deserialize_with = "present")]
    pub snapshot_index: Option<u64>,
    /// Index of the newest entry that its log no longer holds.
    #[serde(deserialize_with = "present")]
    pub purged_index: Option<u64>,
    /// The ids that vote.
    pub voters: Vec<u64>,
    /// The ids that only listen.
    pub learners: Vec<u64>,
    /// Its state machine.
    pub fsm: FsmStats,
}

/// The state machine in [`Stats`].
#[derive(Debug, Clone, Deserialize)]
pub struct FsmStats {
    /// The digest of all outcomes up to the newest applied entry.
    #[serde(deserialize_with = "present")]
    pub digest: Option<Mark>,
    /// The digest of the module's bytes in the newest snapshot.
    #[serde(deserialize_with = "present")]
    pub state_digest: Option<Mark>,
    /// Why the node's state is not to be used.
    #[serde(deserialize_with = "present")]
    pub quarantine: Option<String>,
    /// How often a peer's state took the place of its own.
    pub repairs: u64,
    /// Linear memory of the instance, in bytes.
    pub memory_bytes: u64,
    /// Commands that trapped since it started.
    pub traps: u64,
    /// The last entries of its snapshots.
    pub snapshots: Vec<u64>,
}

/// A digest with the last entry that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The entry.
    pub index: u64,
    /// 64 hexadecimal digits.
    pub digest: String,
}

/// `GET /stats?scope=cluster`.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterStats {
    /// Every node of the membership.
    pub nodes: Vec<NodeStats>,
}

/// One node in [`ClusterStats`].
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStats {
    /// The node's id.
    pub id: u64,
    /// Whether it answered.
    pub reachable: bool,
    /// What it answered.
    #[serde(deserialize_with = "present")]
    pub stats: Option<Stats>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_an_error_even_where_null_is_not() {
        let null = r#"{"id":1,"reachable":false,"stats":null}"#;
        assert!(serde_json::from_str::<NodeStats>(null).is_ok());
        let renamed = r#"{"id":1,"reachable":false,"figures":null}"#;
        assert!(serde_json::from_str::<NodeStats>(renamed).is_err());
    }
}
