//! A node without a state to trust takes that of a peer: the peer's newest snapshot, and its own log
//! behind it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::consensus::Consensus;
use super::network::{ControlRequest, ControlResponse};
use super::status::Role;
use crate::fsm::{FsmError, Quarantine};
use crate::storage::SnapshotFile;
use crate::types::{LogIndex, NodeId};

/// How long a peer may take to find its newest snapshot, and verify it.
const DONATE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a snapshot may take to arrive and to be restored before another peer is asked.
const REPAIR_DEADLINE: Duration = Duration::from_secs(120);

/// The repairs of this node so far.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Counts those that came to an end, good or bad.
    ended: watch::Sender<u64>,
    /// The newest snapshot that did not help: an older one will not either.
    useless: Mutex<Option<LogIndex>>,
}

/// Why a peer sends no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DonateError {
    #[error("its own state is not to be used")]
    Quarantined,
    #[error("node {0} is no member")]
    Stranger(NodeId),
    #[error("it has no snapshot that reaches far enough yet; it is taking one")]
    NotYet,
    #[error("it cannot read its snapshot: {0}")]
    Storage(String),
}

impl Consensus {
    /// Does what helps a quarantined node: it does not lead if another can, and gets another state.
    /// `donors` are the nodes that have a good one; if there are none, all are asked.
    pub(super) async fn recover(&self, quarantine: &Quarantine, donors: &[NodeId]) {
        let donors = match donors {
            [] => self.fit_members().await,
            donors => donors.to_vec(),
        };
        // If it does not come to that, the next round tries again.
        if self.role() == Role::Leader
            && !donors.is_empty()
            && let Ok(_one_at_a_time) = self.membership_changes.try_lock()
            && let Err(error) = self.hand_over_to_any(&donors).await
        {
            tracing::warn!(%error, "a leader in quarantine could not hand over");
        }
        if !quarantine.repairable {
            return;
        }
        for donor in donors {
            let mut ended = self.repairs.ended.subscribe();
            match self.ask_for_snapshot(donor).await {
                Ok(()) => {
                    // If nothing arrives in time, the next round asks again.
                    let _ = tokio::time::timeout(REPAIR_DEADLINE, ended.changed()).await;
                    if self.parts.fsm.quarantine().is_none() {
                        tracing::info!(donor, "this node's state was replaced and is good again");
                        return;
                    }
                }
                Err(reason) => tracing::info!(donor, %reason, "no snapshot was donated"),
            }
        }
    }

    async fn fit_members(&self) -> Vec<NodeId> {
        let leader = self.metrics().current_leader;
        let nodes = self.cluster_status().await.into_iter();
        let fit = nodes.filter_map(|node| {
            let stats = node.stats?;
            let is_fit = stats.fsm.quarantine.is_none() && stats.stopped.is_none();
            (is_fit && node.id != self.parts.local.id).then_some(node.id)
        });
        let mut fit: Vec<NodeId> = fit.collect();
        fit.sort_by_key(|id| Some(*id) != leader);
        fit
    }

    async fn ask_for_snapshot(&self, donor: NodeId) -> Result<(), String> {
        let metrics = self.metrics();
        let node = metrics.membership_config.membership().get_node(&donor);
        let node = node.ok_or_else(|| "it is no member any more".to_owned())?;
        let useless = *self.repairs.useless.lock();
        let request = ControlRequest::Donate {
            to: self.parts.local.id,
            least: metrics
                .purged
                .map(|id| id.index)
                .max(useless.map(|index| index + 1)),
        };
        let control = self.parts.network.control(donor, node);
        match control.call(request, DONATE_DEADLINE).await {
            Ok(ControlResponse::Donating) => Ok(()),
            Ok(_) => Err("it answered another question".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Starts to send this node's newest snapshot to a member that asked for it.
    pub(crate) async fn donate(
        self: &Arc<Self>,
        to: NodeId,
        least: Option<LogIndex>,
    ) -> Result<(), DonateError> {
        if self.parts.fsm.quarantine().is_some() {
            return Err(DonateError::Quarantined);
        }
        let metrics = self.metrics();
        let node = metrics.membership_config.membership().get_node(&to);
        let node = node.ok_or(DonateError::Stranger(to))?.clone();
        let store = self.parts.snapshots.clone();
        let newest = tokio::task::spawn_blocking(move || store.newest_good()).await;
        let newest = newest.map_err(|panic| DonateError::Storage(panic.to_string()))?;
        let newest = newest.map_err(|error| DonateError::Storage(error.to_string()))?;
        let reaches = |file: &SnapshotFile| file.meta().last_log_id.map(|id| id.index) >= least;
        let Some(file) = newest.filter(reaches) else {
            // A failure shows in this node's own log.
            let _ = self.parts.raft.trigger().snapshot().await;
            return Err(DonateError::NotYet);
        };
        let donor = Arc::clone(self);
        self.tasks().spawn("donate", async move {
            let deadline = donor.parts.snapshot_deadline;
            let network = &donor.parts.network;
            let sent = network.donate(to, &node, metrics.vote, &file, deadline);
            if let Err(error) = sent.await {
                tracing::warn!(to, %error, "a snapshot was not donated");
            }
        });
        Ok(())
    }

    /// Takes a snapshot that this node asked for.
    pub(crate) async fn repair(&self, file: SnapshotFile) -> Result<(), FsmError> {
        let covered = file.meta().last_log_id.map(|id| id.index);
        let repaired = self.try_repair(file).await;
        if repaired.is_err() {
            *self.repairs.useless.lock() = covered;
        }
        self.repairs.ended.send_modify(|ended| *ended += 1);
        repaired
    }

    async fn try_repair(&self, file: SnapshotFile) -> Result<(), FsmError> {
        if let Some(covered) = file.meta().last_log_id {
            // What the log has not brought yet cannot be taken from a snapshot behind its back.
            let caught_up = self.parts.fsm.wait_applied(covered.index);
            let waited = tokio::time::timeout(REPAIR_DEADLINE, caught_up).await;
            if !matches!(waited, Ok(Ok(()))) {
                let reason = "the log did not reach the donated snapshot in time";
                return Err(FsmError::Fault(reason.to_owned()));
            }
        }
        self.parts.fsm.repair(file).await
    }
}
