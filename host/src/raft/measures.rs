//! What `/metrics` tells of a node below its HTTP server.

use std::time::Duration;

use openraft::{Instant as _, RaftMetrics};

use super::consensus::Consensus;
use super::health::lag;
use super::status::{NodeStatus, Role};
use crate::metrics::Page;
use crate::types::{NodeId, TypeConfig};

/// A peer as its leader sees it.
struct Follower {
    id: NodeId,
    /// Entries that it does not have yet, as far as it has told.
    lag: u64,
    /// How long it has not answered.
    silence: Option<Duration>,
}

impl Consensus {
    /// Writes down this node's figures. Looks at the disk, a little.
    pub fn measure(&self, page: &mut Page) {
        let metrics = self.metrics();
        let status = self.status();
        self.measure_raft(&metrics, &status, page);
        self.measure_log(page);
        self.measure_fsm(&status, page);
        self.measure_snapshots(page);
    }

    fn measure_raft(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
        status: &NodeStatus,
        page: &mut Page,
    ) {
        page.gauge("rkv_raft_term", "The term.", status.term as f64);
        page.flag(
            "rkv_raft_is_leader",
            "Whether this node leads.",
            status.state == Role::Leader,
        );
        page.flag(
            "rkv_raft_has_leader",
            "Whether this node knows a leader.",
            status.leader.is_some(),
        );
        page.flag(
            "rkv_raft_is_voter",
            "Whether this node votes.",
            status.voters.contains(&status.id),
        );
        page.gauge(
            "rkv_raft_voters",
            "Members that vote.",
            status.voters.len() as f64,
        );
        page.gauge(
            "rkv_raft_learners",
            "Members that do not.",
            status.learners.len() as f64,
        );
        page.flag(
            "rkv_raft_stopped",
            "Whether an error has stopped this node.",
            status.stopped.is_some(),
        );
        for (name, help, index) in [
            (
                "rkv_raft_last_log_index",
                "The last entry in the log.",
                status.last_log_index,
            ),
            (
                "rkv_raft_committed_index",
                "The last entry known to be committed.",
                status.committed_index,
            ),
            (
                "rkv_raft_applied_index",
                "The last entry applied.",
                status.applied_index,
            ),
            (
                "rkv_raft_snapshot_index",
                "The last entry that the newest snapshot covers.",
                status.snapshot_index,
            ),
            (
                "rkv_raft_purged_index",
                "The last entry purged from the log.",
                status.purged_index,
            ),
        ] {
            page.index(name, help, index);
        }
        self.measure_followers(metrics, page);
        page.gauge(
            "rkv_raft_proposals_pending",
            "Proposals made here that are under way.",
            self.proposals_pending() as f64,
        );
        self.recorder().write(page);
    }

    fn measure_followers(&self, metrics: &RaftMetrics<TypeConfig>, page: &mut Page) {
        let followers = self.followers(metrics);
        let labels: Vec<_> = followers
            .iter()
            .map(|follower| follower.id.to_string())
            .collect();
        let labels: Vec<_> = labels.iter().map(|id| [("peer", id.as_str())]).collect();
        let rows = || labels.iter().map(|label| &label[..]).zip(&followers);
        page.gauges(
            "rkv_raft_peer_lag_entries",
            "Entries that a peer does not have yet, told by the leader.",
            rows().map(|(label, follower)| (label, follower.lag as f64)),
        );
        page.gauges(
            "rkv_raft_peer_silence_seconds",
            "Time since a peer last answered, told by the leader.",
            rows().filter_map(|(label, follower)| Some((label, follower.silence?.as_secs_f64()))),
        );
        let ids: Vec<NodeId> = followers.iter().map(|follower| follower.id).collect();
        let network = self.parts.network.metrics();
        network.write_round_trips(&ids, page);
    }

    /// The members that this node replicates to, if it leads.
    fn followers(&self, metrics: &RaftMetrics<TypeConfig>) -> Vec<Follower> {
        let Some(replication) = &metrics.replication else {
            return Vec::new();
        };
        let silence = |id: &NodeId| {
            let answered = metrics.heartbeat.as_ref()?.get(id)?.as_ref()?;
            Some(answered.elapsed())
        };
        let others = replication
            .iter()
            .filter(|(id, _)| **id != self.parts.local.id);
        let follower = |(id, matched): (&NodeId, &Option<crate::types::LogId>)| Follower {
            id: *id,
            lag: lag(metrics.last_log_index, matched.map(|matched| matched.index)),
            silence: silence(id),
        };
        others.map(follower).collect()
    }

    fn measure_log(&self, page: &mut Page) {
        let log = &self.parts.log;
        log.metrics().write(page);
        let running = log.running().unwrap_or_default();
        page.gauge(
            "rkv_log_running_commit_seconds",
            "How long the commit that runs now has been running.",
            running.as_secs_f64(),
        );
        page.flag(
            "rkv_log_failed",
            "Whether a write to the log has failed, after which none is tried.",
            log.failure().is_some(),
        );
    }

    fn measure_fsm(&self, status: &NodeStatus, page: &mut Page) {
        let fsm = &status.fsm;
        self.parts.fsm.metrics().write(page);
        for (name, help, count) in [
            ("rkv_fsm_commands_total", "Commands applied.", fsm.commands),
            ("rkv_fsm_queries_total", "Queries answered.", fsm.queries),
            ("rkv_fsm_traps_total", "Commands that trapped.", fsm.traps),
            (
                "rkv_fsm_repairs_total",
                "How often a peer's snapshot took the place of this node's state.",
                fsm.repairs,
            ),
        ] {
            page.counter(name, help, count as f64);
        }
        page.gauge(
            "rkv_fsm_memory_bytes",
            "Linear memory of the module.",
            fsm.memory_bytes as f64,
        );
        page.gauge(
            "rkv_fsm_memory_limit_bytes",
            "Linear memory that the module may have; commands are refused above nine tenths.",
            fsm.memory_limit_bytes as f64,
        );
        page.flag(
            "rkv_fsm_quarantined",
            "Whether this node's state is not to be used.",
            fsm.quarantine.is_some(),
        );
        if let Some(module) = fsm.module {
            let sha256 = module.to_string();
            let labels = [
                ("name", fsm.name.as_deref().unwrap_or_default()),
                ("version", fsm.version.as_deref().unwrap_or_default()),
                ("sha256", sha256.as_str()),
            ];
            page.gauges(
                "rkv_fsm_module_info",
                "The active module.",
                [(&labels[..], 1.0)],
            );
        }
    }

    fn measure_snapshots(&self, page: &mut Page) {
        self.parts.fsm.metrics().write_snapshots(page);
        self.parts.network.metrics().write_snapshots(page);
        let sizes = self.parts.snapshots.sizes();
        page.gauge(
            "rkv_snapshots_kept",
            "Snapshots on disk.",
            sizes.len() as f64,
        );
        if let Some(newest) = sizes.last() {
            page.gauge(
                "rkv_snapshot_bytes",
                "Size of the newest snapshot.",
                *newest as f64,
            );
        }
    }
}
