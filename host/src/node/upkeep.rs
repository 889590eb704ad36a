//! What a running node does by itself: snapshots when the log has grown.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::config::SnapshotPolicy;
use crate::raft::Consensus;

/// The least time between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Triggers a snapshot whenever the log behind the newest one passes the policy's entries or bytes.
pub(super) async fn take_snapshots(consensus: Arc<Consensus>, policy: SnapshotPolicy) {
    let mut metrics = consensus.raft().metrics();
    let mut tried = None;
    while metrics.changed().await.is_ok() {
        let (applied, snapshot) = {
            let metrics = metrics.borrow_watched();
            let index = |id: &Option<crate::types::LogId>| id.as_ref().map(|id| id.index);
            (index(&metrics.last_applied), index(&metrics.snapshot))
        };
        let covered = snapshot.max(tried).map_or(0, |index| index + 1);
        let behind = applied.map_or(0, |applied| (applied + 1).saturating_sub(covered));
        if behind >= policy.entries || consensus.log_bytes_from(covered) >= policy.bytes {
            if consensus.raft().trigger().snapshot().await.is_err() {
                return;
            }
            tried = applied;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
