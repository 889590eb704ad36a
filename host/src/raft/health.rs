//! What `/livez` and `/readyz` look at. Everything is known already: a probe touches neither the disk
//! nor a peer, so that it is as cheap as it is frequent.

use std::time::{Duration, Instant};

use openraft::{RaftMetrics, ServerState};

use super::consensus::Consensus;
use crate::types::{LogIndex, TypeConfig};

/// Entries that the state machine may be behind what is committed: etcd's bound, above which it takes
/// no more requests. Some tenths of a second of the highest rates that were measured.
const MAX_APPLY_LAG: u64 = 5_000;

/// How long a commit of the log may take before a restart is worth trying. A disk that is only slow is
/// not mended by one, and a node that restarts has all the more to read from it.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// One condition of a node that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// No error has stopped it.
    Running,
    /// The thread that runs the state machine is there.
    FsmThread,
    /// The log's thread gets on.
    LogWriter,
    /// It knows a leader, or is one.
    Leader,
    /// It has heard from a quorum if it leads, else from its leader.
    Quorum,
    /// Its state machine is not far behind what is committed.
    Applied,
    /// The log can be written, and does not wait for the disk.
    Disk,
    /// There is a state machine.
    Module,
    /// Its state is that of the majority.
    Digest,
    /// It votes.
    Voter,
}

impl Check {
    /// What a restart could mend.
    pub const LIVE: &'static [Self] = &[Self::Running, Self::FsmThread, Self::LogWriter];

    /// What clients may expect of a node.
    pub const READY: &'static [Self] = &[
        Self::Running,
        Self::FsmThread,
        Self::LogWriter,
        Self::Leader,
        Self::Quorum,
        Self::Applied,
        Self::Disk,
        Self::Module,
        Self::Digest,
        Self::Voter,
    ];

    /// Its name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::FsmThread => "fsm_thread",
            Self::LogWriter => "log_writer",
            Self::Leader => "leader",
            Self::Quorum => "quorum",
            Self::Applied => "applied",
            Self::Disk => "disk",
            Self::Module => "module",
            Self::Digest => "digest",
            Self::Voter => "voter",
        }
    }
}

impl Consensus {
    /// Whether a condition holds now.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn check(&self, check: Check) -> Result<(), String> {
        match check {
            Check::Running => self.stopped().map_or(Ok(()), Err),
            Check::FsmThread if self.parts.fsm.is_alive() => Ok(()),
            Check::FsmThread => Err("the state machine's thread has ended".to_owned()),
            Check::LogWriter => self.expect_commits_within(STUCK_AFTER),
            Check::Leader => match self.leader_of(&self.metrics()) {
                Some(_) => Ok(()),
                None => Err("no leader is known".to_owned()),
            },
            Check::Quorum => self.expect_contact(&self.metrics()),
            Check::Applied => self.expect_applied(&self.metrics()),
            Check::Disk => match self.parts.log.failure() {
                Some(first) => Err(format!("the log cannot be written any more: {first}")),
                None => self.expect_commits_within(self.parts.quorum_deadline),
            },
            Check::Module if self.active_module().is_some() => Ok(()),
            Check::Module => Err("no module is active yet".to_owned()),
            Check::Digest => self.quarantine().map_or(Ok(()), Err),
            Check::Voter => self.expect_vote(&self.metrics()),
        }
    }

    fn expect_commits_within(&self, bound: Duration) -> Result<(), String> {
        match self.parts.log.running() {
            Some(running) if running > bound => Err(format!(
                "a commit of the log has been waiting for the disk for {} ms",
                running.as_millis()
            )),
            _ => Ok(()),
        }
    }

    fn expect_contact(&self, metrics: &RaftMetrics<TypeConfig>) -> Result<(), String> {
        if metrics.state == ServerState::Leader {
            return if self.has_quorum() {
                Ok(())
            } else {
                Err("this node leads and no quorum answers it".to_owned())
            };
        }
        let silence = self.leader_silence();
        if silence <= self.parts.quorum_deadline {
            return Ok(());
        }
        let ms = silence.as_millis();
        Err(format!("no leader has been heard of for {ms} ms"))
    }

    fn expect_applied(&self, metrics: &RaftMetrics<TypeConfig>) -> Result<(), String> {
        let committed = metrics.cluster_committed.max(metrics.local_committed);
        let lag = lag(committed.map(|id| id.index), self.parts.fsm.applied());
        if lag > MAX_APPLY_LAG {
            let text = format!("{lag} committed entries are not applied here yet");
            return Err(text);
        }
        Ok(())
    }

    fn expect_vote(&self, metrics: &RaftMetrics<TypeConfig>) -> Result<(), String> {
        let membership = metrics.membership_config.membership();
        if membership.voter_ids().any(|id| id == self.parts.local.id) {
            return Ok(());
        }
        Err("this node does not vote: it was not promoted yet, or is no member".to_owned())
    }

    /// How long no leader has sent anything here.
    fn leader_silence(&self) -> Duration {
        Instant::now().saturating_duration_since(*self.heard_leader.lock())
    }
}

/// Entries behind `to` up to `from`.
pub(super) fn lag(from: Option<LogIndex>, to: Option<LogIndex>) -> u64 {
    let next = |index: Option<LogIndex>| index.map_or(0, |index| index + 1);
    next(from).saturating_sub(next(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_ready_is_alive_too() {
        assert!(Check::LIVE.iter().all(|live| Check::READY.contains(live)));
    }

    #[test]
    fn the_lag_counts_entries_from_the_first_on() {
        assert_eq!(lag(None, None), 0);
        assert_eq!(lag(Some(0), None), 1);
        assert_eq!(lag(Some(7), Some(5)), 2);
        assert_eq!(lag(Some(5), Some(7)), 0);
    }
}
