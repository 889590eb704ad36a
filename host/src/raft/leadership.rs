//! Handing leadership to another voter: asked for, before the leader is removed, in quarantine, and at
//! shutdown.
//!
//! openraft has no way back: from the moment it is told, the leader neither takes writes nor sends
//! heartbeats, and whatever becomes of the heir, an election follows. So a hand-over that is not urgent
//! begins only once the heir has answered, and has nearly all of the log.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::type_config::alias::InstantOf;
use openraft::{Instant as _, RaftMetrics};
use serde::Serialize;
use tokio::time::Instant;

use super::consensus::Consensus;
use super::membership::MembershipError;
use super::propose_error::ProposeError;
use super::status::Role;
use crate::types::{LogIndex, NodeId, TypeConfig};

/// An heir this close to the leader's log, in entries, has the rest within milliseconds.
const NEARLY_EQUAL_ENTRIES: u64 = 100;

const POLL: Duration = Duration::from_millis(10);

/// Who leads after a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Leadership {
    /// The leader.
    pub leader: NodeId,
    /// Its term.
    pub term: u64,
}

impl Consensus {
    /// Has voter `to` lead. Done already is done.
    pub async fn hand_over_to(&self, to: NodeId) -> Result<Leadership, MembershipError> {
        let _one_at_a_time = self.lead_membership_change().await?;
        if !self.has_quorum() {
            return Err(ProposeError::NoQuorum.into());
        }
        let metrics = self.metrics();
        if to == self.parts.local.id {
            let term = metrics.current_term;
            return Ok(Leadership { leader: to, term });
        }
        let membership = metrics.membership_config.membership();
        if membership.get_node(&to).is_none() {
            return Err(MembershipError::Unknown(to));
        }
        self.expect_fit(to).await?;
        self.hand_over(to).await
    }

    /// Hands leadership to the first of `heirs` that is fit for it, or says why the last one is not.
    pub(super) async fn hand_over_to_any(
        &self,
        heirs: &[NodeId],
    ) -> Result<Leadership, MembershipError> {
        let mut refused = MembershipError::Unfit("no other node votes".to_owned());
        for heir in heirs {
            match self.expect_fit(*heir).await {
                Ok(()) => return self.hand_over(*heir).await,
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Hands leadership to the voter that seems best, without asking first: for a leader that is
    /// going down.
    pub(crate) async fn hand_over_in_haste(&self, deadline: Duration) {
        if self.role() != Role::Leader {
            return;
        }
        if let Some(heir) = self.heirs(&self.metrics()).first()
            && let Err(error) = self.transfer(*heir, deadline).await
        {
            tracing::warn!(heir, %error, "leadership was not taken over");
        }
    }

    /// The other voters, those heard from lately first, then by how much of the log they have.
    pub(super) fn heirs(&self, metrics: &RaftMetrics<TypeConfig>) -> Vec<NodeId> {
        let lately = |id: &NodeId| {
            let acked = metrics.heartbeat.as_ref()?.get(id)?.as_ref()?;
            Some(acked.elapsed() < self.parts.quorum_deadline)
        };
        let voters = metrics.membership_config.membership().voter_ids();
        let mut heirs: Vec<NodeId> = voters.filter(|id| *id != self.parts.local.id).collect();
        heirs.sort_by_key(|id| {
            let rank = (lately(id).unwrap_or(false), matched(metrics, *id));
            std::cmp::Reverse(rank)
        });
        heirs
    }

    /// Which of `peers` answer this leader now: only what was sent after this call counts, so that a
    /// node that has just died is not taken for alive.
    pub(super) async fn answering(&self, peers: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let since = InstantOf::<TypeConfig>::now();
        if self.parts.raft.trigger().heartbeat().await.is_err() {
            return BTreeSet::new();
        }
        loop {
            let metrics = self.metrics();
            let acked = metrics.heartbeat.unwrap_or_default();
            let answers = |id: &&NodeId| {
                let sent = acked.get(*id).and_then(Option::as_ref);
                sent.is_some_and(|sent| **sent >= since)
            };
            let answering: BTreeSet<NodeId> = peers.iter().filter(answers).copied().collect();
            if answering.len() == peers.len() || since.elapsed() >= self.parts.quorum_deadline {
                return answering;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether a node could take leadership over at once.
    async fn expect_fit(&self, id: NodeId) -> Result<(), MembershipError> {
        let unfit = |reason: String| MembershipError::Unfit(format!("node {id} {reason}"));
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let node = membership.get_node(&id);
        let node = node.ok_or(MembershipError::Unknown(id))?;
        if !membership.voter_ids().any(|voter| voter == id) {
            return Err(unfit(
                "is a learner, and only a voter can lead: POST /nodes promotes it".to_owned(),
            ));
        }
        if self.answering(&BTreeSet::from([id])).await.is_empty() {
            return Err(unfit("does not answer".to_owned()));
        }
        let status = self.status_of(id, node).await;
        let status = status.map_err(|error| unfit(format!("does not answer: {error}")))?;
        if let Some(reason) = status.stopped.or(status.fsm.quarantine) {
            return Err(unfit(format!("is not well: {reason}")));
        }
        let deadline = Instant::now() + self.parts.limits.request_timeout;
        loop {
            let metrics = self.metrics();
            let behind = metrics
                .last_log_index
                .unwrap_or(0)
                .saturating_sub(matched(&metrics, id).unwrap_or(0));
            if behind <= NEARLY_EQUAL_ENTRIES {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(unfit(format!("is {behind} entries behind the log")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Hands leadership to a node that is fit for it, and waits until whoever leads then takes writes.
    async fn hand_over(&self, to: NodeId) -> Result<Leadership, MembershipError> {
        let now = self.transfer(to, self.parts.limits.request_timeout).await?;
        self.wait_until_it_leads(now).await;
        if now.leader == to {
            return Ok(now);
        }
        match self.leader_of(&self.metrics()) {
            Some((id, node)) if id != self.parts.local.id => {
                Err(ProposeError::NotLeader { id, node }.into())
            }
            _ => Err(MembershipError::Unfit(format!(
                "node {to} did not win the election; node {} leads on",
                self.parts.local.id
            ))),
        }
    }

    /// Waits until the new leader takes writes. Its followers hear of it a little before: openraft sends
    /// what a new leader has to say before it publishes that there is one.
    async fn wait_until_it_leads(&self, now: Leadership) {
        let deadline = Instant::now() + self.parts.quorum_deadline;
        while Instant::now() < deadline {
            let Some((id, node)) = self.leader_of(&self.metrics()) else {
                return;
            };
            if id != now.leader {
                return;
            }
            match self.status_of(id, &node).await {
                Ok(status) if status.leader != Some(id) => tokio::time::sleep(POLL).await,
                // Whoever does not answer has leadership all the same.
                _ => return,
            }
        }
    }

    /// Tells openraft, and waits for who leads then: `to`, or who else won the election.
    async fn transfer(
        &self,
        to: NodeId,
        deadline: Duration,
    ) -> Result<Leadership, MembershipError> {
        let mut metrics = self.parts.raft.metrics();
        let before = metrics.borrow_watched().current_term;
        let stopped = |error: String| MembershipError::from(ProposeError::Unknown(error));
        let told = self.parts.raft.trigger().transfer_leader(to).await;
        told.map_err(|error| stopped(error.to_string()))?;
        let succeeded = async {
            loop {
                let (leader, term) = {
                    let metrics = metrics.borrow_watched();
                    (metrics.current_leader, metrics.current_term)
                };
                if let Some(leader) = leader
                    && term > before
                {
                    return Ok::<_, MembershipError>(Leadership { leader, term });
                }
                let changed = metrics.changed().await;
                changed.map_err(|_| stopped("this node is shutting down".to_owned()))?;
            }
        };
        let succeeded = tokio::time::timeout(deadline, succeeded).await;
        let now = succeeded.map_err(|_| {
            stopped(format!(
                "node {to} was told to lead, and this node has not heard of a new leader within \
                 {deadline:?}: GET /servers tells who leads"
            ))
        })??;
        // It was its vote or its heartbeat that told.
        self.hear_leader();
        tracing::info!(
            to,
            leader = now.leader,
            term = now.term,
            "a hand-over has ended"
        );
        Ok(now)
    }
}

fn matched(metrics: &RaftMetrics<TypeConfig>, id: NodeId) -> Option<LogIndex> {
    let matched = metrics.replication.as_ref()?.get(&id)?.as_ref()?;
    Some(matched.index)
}
