//! What a running node does by itself: it follows its peers' addresses, and takes snapshots when the
//! log has grown.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::config::SnapshotPolicy;
use crate::raft::{Consensus, Role};
use crate::types::LogIndex;

/// The least time between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Has peers called at the addresses that the membership has for them, and counts the leaders.
pub(super) async fn follow_cluster(consensus: Arc<Consensus>) {
    // Not all metrics, which change with every write.
    let mut metrics = consensus.raft().server_metrics();
    let mut followed = None;
    let mut leader = None;
    while metrics.changed().await.is_ok() {
        let (current, membership) = {
            let metrics = metrics.borrow_watched();
            (metrics.current_leader, metrics.membership_config.clone())
        };
        if current.is_some() && current != leader {
            leader = current;
            consensus.recorder().leader_changes.inc();
        }
        if followed.as_ref() != Some(membership.log_id()) {
            followed = Some(*membership.log_id());
            for (id, node) in membership.nodes() {
                consensus.know_address(*id, node);
            }
        }
    }
}

/// Takes snapshots: at the checkpoints that ask for them, which the leader proposes whenever the log
/// behind its newest one passes the policy's entries or bytes, and after a switch of the state
/// machine. A node whose log grows to twice as much takes one by itself.
pub(super) async fn take_snapshots(consensus: Arc<Consensus>, policy: SnapshotPolicy) {
    let mut metrics = consensus.raft().metrics();
    let mut due = consensus.snapshots_due();
    let mut kept = None;
    let mut tried = None;
    while metrics.changed().await.is_ok() {
        let (applied, snapshot) = {
            let metrics = metrics.borrow_watched();
            let index = |id: &Option<crate::types::LogId>| id.as_ref().map(|id| id.index);
            (index(&metrics.last_applied), index(&metrics.snapshot))
        };
        if kept != snapshot {
            // Two snapshots are kept, and the log behind the older one: the newer may rot.
            let floor = consensus.snapshots().purge_floor();
            if let Err(error) = consensus.log().set_purge_floor(floor) {
                tracing::warn!(%error, "cannot purge the log");
            }
            kept = snapshot;
        }
        let covered = snapshot.max(tried);
        let own_accord = SnapshotPolicy {
            entries: policy.entries.saturating_mul(2),
            bytes: policy.bytes.saturating_mul(2),
            ..policy
        };
        // Otherwise each rebuild and each start would go through the switch again.
        let switched = consensus.last_switch() > covered;
        if consensus.role() == Role::Leader
            && (switched || is_due(&consensus, &policy, applied, covered))
        {
            tried = applied;
            if let Err(error) = consensus.propose_checkpoint(true).await {
                tracing::debug!(%error, "no checkpoint with a snapshot");
            }
        }
        if due.has_changed().unwrap_or(false) || is_due(&consensus, &own_accord, applied, covered) {
            due.mark_unchanged();
            if consensus.raft().trigger().snapshot().await.is_err() {
                return;
            }
            tried = applied;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn is_due(
    consensus: &Consensus,
    policy: &SnapshotPolicy,
    applied: Option<LogIndex>,
    covered: Option<LogIndex>,
) -> bool {
    let next = |index: Option<LogIndex>| index.map_or(0, |index| index + 1);
    if next(applied).saturating_sub(next(covered)) >= policy.entries {
        return true;
    }
    match consensus.log().bytes_after(covered) {
        Ok(bytes) => applied > covered && bytes >= policy.bytes,
        Err(error) => {
            tracing::warn!(%error, "cannot tell how long the log is");
            false
        }
    }
}
