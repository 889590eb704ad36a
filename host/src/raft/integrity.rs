//! Nodes compare what they computed, at checkpoints that the leader proposes. One that differs from a
//! majority answers nobody, and takes its state from a node of that majority.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::consensus::Consensus;
use super::network::{ControlRequest, ControlResponse};
use super::propose_error::ProposeError;
use super::status::Role;
use crate::fsm::{Doubt, FsmError, Quarantine, Subject};
use crate::types::{Checkpoint, LogIndex, NodeId, Proposal, StateDigest};

/// How long a peer may take to say what it computed.
const DIGEST_DEADLINE: Duration = Duration::from_secs(1);

/// Checkpoints after the last command: one that covers it, and one that brings what the leader wrote
/// down there.
const CHECKPOINTS_AFTER_A_COMMAND: u8 = 2;

/// What comparing with the other voters showed.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The majority has what this node has, or nobody has anything else.
    Same,
    /// The majority, or the leader of a cluster that has none, has something else: who has it.
    Differs(Vec<NodeId>),
    /// Nodes differ, and nobody can tell who is right.
    Undecided,
}

/// What a leader has proposed and looked into so far.
#[derive(Debug, Default)]
struct Progress {
    commands: u64,
    state: Option<LogIndex>,
    due: u8,
    /// The activation for whose module a repair did not bring equal snapshots.
    not_canonical: Option<LogIndex>,
    repaired_state_of: Option<LogIndex>,
}

impl Consensus {
    /// Proposes a checkpoint: nodes compare themselves with this one, and take a snapshot of the same
    /// state if they are asked to.
    pub(crate) async fn propose_checkpoint(&self, snapshot: bool) -> Result<(), ProposeError> {
        let fsm = &self.parts.fsm;
        let fit = fsm.quarantine().is_none();
        let checkpoint = Checkpoint {
            outcomes: fsm.newest_mark().filter(|_| fit),
            state: fsm.newest_state_mark().filter(|_| fit),
            snapshot,
        };
        self.propose_entry(Proposal::Checkpoint(checkpoint)).await?;
        Ok(())
    }

    /// Compares, proposes checkpoints as the leader, and repairs this node's state when need be.
    /// Never ends.
    pub(crate) async fn keep_integrity(self: Arc<Self>, interval: Duration) {
        let mut doubts = self.parts.fsm.doubts();
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut progress = Progress::default();
        loop {
            let doubt = tokio::select! {
                _ = tick.tick() => None,
                changed = doubts.changed() => match changed {
                    Ok(()) => *doubts.borrow_and_update(),
                    Err(_) => return,
                },
            };
            if let Some(quarantine) = self.parts.fsm.quarantine() {
                self.recover(&quarantine, &[]).await;
            } else if let Some(doubt) = doubt {
                self.settle(doubt, &mut progress).await;
            } else if self.role() == Role::Leader {
                self.lead_integrity(&mut progress).await;
            }
        }
    }

    async fn lead_integrity(&self, progress: &mut Progress) {
        let fsm = &self.parts.fsm;
        let commands = fsm.commands_so_far();
        let state = fsm.newest_state_mark().map(|mark| mark.index);
        if commands != progress.commands {
            progress.due = CHECKPOINTS_AFTER_A_COMMAND;
        } else if state != progress.state {
            progress.due = progress.due.max(1);
        }
        (progress.commands, progress.state) = (commands, state);
        if progress.due == 0 {
            return;
        }
        // The others compare themselves with this node; who compares this one with them?
        if let Some(mark) = fsm.newest_mark() {
            let (subject, index) = (Subject::Outcomes, mark.index);
            self.settle(Doubt { subject, index }, progress).await;
        }
        if let Some(index) = state {
            let subject = Subject::State;
            self.settle(Doubt { subject, index }, progress).await;
        }
        if fsm.quarantine().is_some() {
            return;
        }
        match self.propose_checkpoint(false).await {
            Ok(()) => progress.due -= 1,
            Err(error) => tracing::debug!(%error, "no checkpoint"),
        }
    }

    /// Finds out who is right, and does what follows for this node.
    async fn settle(&self, doubt: Doubt, progress: &mut Progress) {
        let Doubt { subject, index } = doubt;
        let since = self.parts.fsm.active().map(|active| active.since);
        if subject == Subject::State && progress.not_canonical == since {
            return;
        }
        match self.compare(subject, index).await {
            Verdict::Same => {}
            Verdict::Undecided => tracing::error!(
                ?subject,
                index,
                "the nodes differ, and no majority tells which of them is right: compare `fsm` of \
                 /stats?scope=cluster, and replace the nodes that are wrong"
            ),
            Verdict::Differs(_)
                if subject == Subject::State && progress.repaired_state_of == since =>
            {
                // Its own restore gives other bytes: that is the module's fault, not this node's.
                tracing::error!(index, "the active module's snapshots are not canonical");
                progress.not_canonical = since;
            }
            Verdict::Differs(donors) => {
                if subject == Subject::State {
                    progress.repaired_state_of = since;
                }
                let what = match subject {
                    Subject::Outcomes => "outcomes",
                    Subject::State => "snapshot",
                };
                let quarantine = Quarantine {
                    reason: format!(
                        "its {what} up to log index {index} differ from those of nodes {donors:?}; \
                         it is taking its state from one of them"
                    ),
                    repairable: true,
                };
                tracing::error!(reason = quarantine.reason, "this node is quarantined");
                self.parts.fsm.set_diverged(Some(quarantine.clone()));
                self.recover(&quarantine, &donors).await;
            }
        }
    }

    async fn compare(&self, subject: Subject, index: LogIndex) -> Verdict {
        let metrics = self.metrics();
        let own = self.parts.local.id;
        let Ok(Some(mine)) = self.digest(subject, index).await else {
            return Verdict::Same;
        };
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let asked = voters.iter().filter(|id| **id != own).map(async |id| {
            let node = membership.get_node(id)?;
            let control = self.parts.network.control(*id, node);
            let request = ControlRequest::Digest { subject, index };
            match control.call(request, DIGEST_DEADLINE).await {
                Ok(ControlResponse::Digest(digest)) => digest.map(|digest| (*id, digest)),
                _ => None,
            }
        });
        let answers = futures::future::join_all(asked).await;
        let leader = metrics.current_leader;
        judge(mine, answers.into_iter().flatten(), voters.len(), leader)
    }

    /// What this node computed; `None` when it does not know.
    pub(crate) async fn digest(
        &self,
        subject: Subject,
        index: LogIndex,
    ) -> Result<Option<StateDigest>, FsmError> {
        let fsm = &self.parts.fsm;
        if fsm.quarantine().is_some() {
            return Ok(None);
        }
        match subject {
            Subject::Outcomes => fsm.digest(index).await,
            Subject::State => Ok(fsm.state_digest(index)),
        }
    }
}

/// Counts: `others` are the voters' answers, as far as they gave any.
fn judge(
    mine: StateDigest,
    others: impl Iterator<Item = (NodeId, StateDigest)>,
    voters: usize,
    leader: Option<NodeId>,
) -> Verdict {
    let mut holders: BTreeMap<StateDigest, Vec<NodeId>> = BTreeMap::new();
    for (id, digest) in others {
        holders.entry(digest).or_default().push(id);
    }
    let agreeing = 1 + holders.remove(&mine).map_or(0, |ids| ids.len());
    if holders.is_empty() || 2 * agreeing > voters {
        return Verdict::Same;
    }
    let largest = holders.values().max_by_key(|ids| ids.len());
    let majority = largest.filter(|ids| 2 * ids.len() > voters);
    // Two nodes have no majority: the leader is right, as everybody's clients were told so.
    let led = || {
        holders
            .values()
            .find(|ids| leader.is_some_and(|id| ids.contains(&id)))
    };
    match majority.or_else(|| led().filter(|_| voters == 2)) {
        Some(donors) => Verdict::Differs(donors.clone()),
        None => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StateDigest = StateDigest([1; 32]);
    const B: StateDigest = StateDigest([2; 32]);
    const C: StateDigest = StateDigest([3; 32]);

    fn verdict(others: &[(NodeId, StateDigest)], voters: usize, leader: NodeId) -> Verdict {
        judge(A, others.iter().copied(), voters, Some(leader))
    }

    #[test]
    fn the_majority_is_right_whoever_leads() {
        assert_eq!(verdict(&[(2, A), (3, A)], 3, 1), Verdict::Same);
        assert_eq!(verdict(&[(2, A), (3, B)], 3, 3), Verdict::Same);
        for leader in [1, 2, 3] {
            let differs = Verdict::Differs(vec![2, 3]);
            assert_eq!(verdict(&[(2, B), (3, B)], 3, leader), differs);
        }
    }

    #[test]
    fn who_does_not_answer_does_not_count() {
        assert_eq!(verdict(&[], 3, 2), Verdict::Same);
        assert_eq!(verdict(&[(2, B)], 3, 2), Verdict::Undecided);
        assert_eq!(verdict(&[(2, B), (3, C)], 3, 2), Verdict::Undecided);
    }

    #[test]
    fn of_two_the_leader_is_right() {
        assert_eq!(verdict(&[(2, B)], 2, 2), Verdict::Differs(vec![2]));
        assert_eq!(verdict(&[(2, B)], 2, 1), Verdict::Undecided);
    }
}
