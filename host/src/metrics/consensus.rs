//! What the node sees of consensus.

use prometheus::IntCounter;

use super::{Page, counter};

/// Recorder of consensus. Clones share it.
#[derive(Debug, Clone)]
pub struct ConsensusMetrics {
    /// Leaders that came after another one, the first included.
    pub leader_changes: IntCounter,
    /// Proposals of this node that were not acknowledged, redirects left out.
    pub failed_proposals: IntCounter,
}

impl Default for ConsensusMetrics {
    fn default() -> Self {
        Self {
            leader_changes: counter(
                "rkv_raft_leader_changes_total",
                "Changes of the leader that this node has seen.",
            ),
            failed_proposals: counter(
                "rkv_raft_proposals_failed_total",
                "Proposals made here that were not acknowledged, without those for another leader.",
            ),
        }
    }
}

impl ConsensusMetrics {
    /// Writes down what was recorded.
    pub fn write(&self, page: &mut Page) {
        page.record(&self.leader_changes);
        page.record(&self.failed_proposals);
    }
}
