//! The calls that the node makes into consensus: propose, query, and look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResponse;
use openraft::{Instant as _, RaftMetrics, ServerState};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::Level;

use super::local::Local;
use super::network::Network;
use super::proposals::Proposals;
use super::propose_error::ProposeError;
use super::read_index::{ReadBarrier, ReadError, RoundError};
use super::reads::{ReadServer, Reads};
use super::repair::Repairs;
use crate::clock;
use crate::config::RequestLimits;
use crate::failpoint;
use crate::fsm::{Events, FsmHandle, StateMachine};
use crate::metrics::ConsensusMetrics;
use crate::request_id;
use crate::storage::{LogStore, Origin, SnapshotStore};
use crate::tasks::Tasks;
use crate::types::{InstanceId, LogIndex, ModuleId, NodeId, NodeInfo, Proposal, Reply, TypeConfig};

/// How long a leader waits for its quorum that is told not to.
const HASTY_TIMEOUT: Duration = Duration::from_millis(5);

/// What [`Consensus`] is assembled from.
#[derive(Debug)]
pub struct ConsensusParts {
    /// The running Raft.
    pub raft: openraft::Raft<TypeConfig, StateMachine>,
    /// This node.
    pub local: Arc<Local>,
    /// How this node came into its cluster.
    pub origin: Origin,
    /// The way to the peers.
    pub network: Network,
    /// The state machine.
    pub fsm: FsmHandle,
    /// The log.
    pub log: LogStore,
    /// The snapshots.
    pub snapshots: SnapshotStore,
    /// Bounds of requests.
    pub limits: RequestLimits,
    /// After this long without a word from a quorum, a leader refuses proposals.
    pub quorum_deadline: Duration,
    /// How long the receiver of a snapshot may show no sign of life.
    pub snapshot_deadline: Duration,
    /// Where background work runs.
    pub tasks: Tasks,
}

/// This node's part in consensus.
#[derive(Debug)]
pub struct Consensus {
    pub(super) parts: ConsensusParts,
    proposals: Proposals,
    reads: Reads,
    read_server: ReadServer,
    in_flight: Semaphore,
    /// When a leader last sent something here. openraft remembers a leader until it hears of the
    /// next, and clients should not be sent to one that is gone.
    pub(super) heard_leader: Mutex<Instant>,
    recorder: ConsensusMetrics,
    pub(super) repairs: Repairs,
    /// Held through a membership change: openraft takes one at a time.
    pub(super) membership_changes: tokio::sync::Mutex<()>,
    /// Held through an upload: its pieces follow each other.
    pub(super) module_changes: tokio::sync::Mutex<()>,
}

impl Consensus {
    /// Puts the parts together.
    pub fn new(parts: ConsensusParts) -> Self {
        let barrier = ReadBarrier::new(
            parts.raft.clone(),
            parts.network.clone(),
            parts.limits.request_timeout,
        );
        let read_server = ReadServer {
            barrier,
            fsm: parts.fsm.clone(),
        };
        let reads = Reads::start(read_server.clone(), &parts.tasks);
        let limit = parts.limits.max_in_flight;
        let proposals = Proposals::start(parts.raft.clone(), limit, &parts.tasks);
        let in_flight = Semaphore::new(limit);
        Self {
            parts,
            proposals,
            reads,
            read_server,
            in_flight,
            heard_leader: Mutex::new(Instant::now()),
            recorder: ConsensusMetrics::default(),
            repairs: Repairs::default(),
            membership_changes: tokio::sync::Mutex::default(),
            module_changes: tokio::sync::Mutex::default(),
        }
    }

    /// Proposes a command for the module and waits until it is applied here.
    pub async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        if let Some(quarantine) = self.parts.fsm.quarantine() {
            return Err(ProposeError::Quarantined(quarantine.reason));
        }
        let (used, limit) = self.parts.fsm.memory();
        if used > limit {
            return Err(ProposeError::Full { used, limit });
        }
        let time_ms = clock::now_ms();
        let proposal = match request_id::given() {
            None => Proposal::Command { time_ms, command },
            Some(request_id) => Proposal::NamedCommand {
                time_ms,
                command,
                request_id,
            },
        };
        match self.propose_entry(proposal).await? {
            Reply::Response(response) => Ok(response),
            Reply::Refused(failure) => Err(ProposeError::Refused(failure)),
            Reply::Trapped(kind) => Err(ProposeError::Trapped(kind)),
            Reply::NoModule => Err(ProposeError::NoModule),
            Reply::Rejected(reason) => Err(ProposeError::Rejected(reason)),
            Reply::Unapplied(reason) => Err(ProposeError::Unknown(reason)),
            Reply::Done | Reply::Activated { .. } => {
                Err(ProposeError::Unknown("the reply was lost".to_owned()))
            }
        }
    }

    /// Proposes an entry of any kind, and waits until it is applied here.
    pub(crate) async fn propose_entry(&self, proposal: Proposal) -> Result<Reply, ProposeError> {
        let proposed = self.write(proposal).await;
        if let Err(error) = &proposed
            && !matches!(error, ProposeError::NotLeader { .. })
        {
            self.recorder.failed_proposals.inc();
        }
        proposed
    }

    async fn write(&self, proposal: Proposal) -> Result<Reply, ProposeError> {
        let limit = self.parts.limits.max_in_flight;
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return Err(ProposeError::Overloaded { limit });
        };
        if !self.has_quorum() {
            return Err(ProposeError::NoQuorum);
        }
        let hasty = failpoint::is_armed("quorum-not-awaited");
        let timeout = if hasty {
            HASTY_TIMEOUT
        } else {
            self.parts.limits.request_timeout
        };
        match tokio::time::timeout(timeout, self.write_entry(proposal)).await {
            Ok(Ok(response)) => {
                let index = response.log_id.index;
                if tracing::enabled!(Level::DEBUG)
                    && let Some(request_id) = request_id::current()
                {
                    tracing::debug!(%request_id, index, "a request's entry is applied here");
                }
                Ok(response.data)
            }
            Ok(Err(error)) => Err(error),
            // An acknowledgement of what no quorum may have.
            Err(_) if hasty => Ok(Reply::Response(Bytes::new())),
            Err(_) => Err(ProposeError::Unknown(format!(
                "not applied within {timeout:?}"
            ))),
        }
    }

    async fn write_entry(
        &self,
        proposal: Proposal,
    ) -> Result<ClientWriteResponse<TypeConfig>, ProposeError> {
        let (responder, applied) = ProgressResponder::complete_only();
        let is_alone = self.proposals_pending() <= 1;
        self.proposals
            .hand_over(proposal, responder, is_alone)
            .await;
        match applied.await {
            Ok(written) => written.map_err(|error| self.write_error(RaftError::APIError(error))),
            // It was dropped, and may be in the log.
            Err(_) => {
                let reason = self.stopped();
                let reason = reason.unwrap_or_else(|| "raft gave no answer".to_owned());
                Err(ProposeError::Unknown(reason))
            }
        }
    }

    pub(super) fn write_error(
        &self,
        error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
    ) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
                // A leader that is handing over, or that was removed, names itself.
                match self.leader_of(&self.metrics()) {
                    Some((id, node)) if id != self.parts.local.id => {
                        ProposeError::NotLeader { id, node }
                    }
                    _ => ProposeError::NoLeader,
                }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ProposeError::Unknown(
                "the leader changed before the entry was committed".to_owned(),
            ),
            RaftError::APIError(
                error @ (ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)),
            ) => ProposeError::Rejected(error.to_string()),
            // The core stopped while it held the proposal: it may be in the log.
            RaftError::Fatal(fatal) => ProposeError::Unknown(fatal.to_string()),
        }
    }

    /// Asks the module, on a state that reflects every write acknowledged before this call.
    pub fn query(&self, query: Bytes) -> impl Future<Output = Result<Bytes, ReadError>> {
        self.reads.linearizable(query)
    }

    /// Waits until this node's state reflects every write acknowledged before this call.
    pub async fn catch_up(&self) -> Result<(), ReadError> {
        self.read_server.catch_up().await
    }

    /// Asks the module on this node's state as it is.
    pub fn query_stale(&self, query: Bytes) -> impl Future<Output = Result<Bytes, ReadError>> {
        self.reads.stale(query)
    }

    /// As [`Self::query_stale`], if the answer is at hand.
    pub fn query_at_once(&self, query: &[u8]) -> Option<Result<Bytes, ReadError>> {
        self.reads.at_once(query)
    }

    /// A read index, if this node leads.
    pub(crate) async fn read_index_as_leader(&self) -> Result<LogIndex, ReadError> {
        self.read_server
            .barrier
            .index_as_leader()
            .await
            .map_err(|error| match error {
                RoundError::NotLeader(_) => ReadError::NoLeader,
                RoundError::Read(error) => error,
            })
    }

    /// Refuses early what only the leader can do, before a body is read for nothing.
    pub fn expect_leader(&self) -> Result<(), ProposeError> {
        let metrics = self.parts.raft.metrics();
        let metrics = metrics.borrow_watched();
        if let Err(fatal) = &metrics.running_state {
            return Err(ProposeError::Stopped(fatal.to_string()));
        }
        match self.leader_of(&metrics) {
            Some((id, _)) if id == self.parts.local.id => Ok(()),
            Some((id, node)) => Err(ProposeError::NotLeader { id, node }),
            None => Err(ProposeError::NoLeader),
        }
    }

    /// The leader, unless it has not been heard of for an election timeout.
    pub(super) fn leader_of(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
    ) -> Option<(NodeId, NodeInfo)> {
        let id = metrics.current_leader?;
        let silent = self.heard_leader.lock().elapsed() > self.parts.quorum_deadline;
        if id != self.parts.local.id && silent {
            return None;
        }
        let membership = metrics.membership_config.membership();
        Some((id, membership.get_node(&id)?.clone()))
    }

    /// Has a peer called at this address from now on.
    pub(crate) fn know_address(&self, id: NodeId, node: &NodeInfo) {
        self.parts.network.control(id, node);
    }

    /// Stands for election at once if no other node votes: there is nobody to wait for.
    pub(crate) async fn elect_if_alone(&self) {
        let metrics = self.metrics();
        let own = self.parts.local.id;
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        if voters == [own] && self.parts.raft.trigger().elect(false).await.is_err() {
            tracing::debug!("raft stopped before it could elect");
        }
    }

    /// Notes that a leader sent something.
    pub(crate) fn hear_leader(&self) {
        *self.heard_leader.lock() = Instant::now();
    }

    /// Whether a module is the state machine, on this node.
    pub fn is_active(&self) -> bool {
        self.parts.fsm.is_active()
    }

    /// Waits until a module is the state machine, on this node.
    pub async fn wait_active(&self) {
        self.parts.fsm.wait_active().await;
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.parts.local.id
    }

    /// The module that is the state machine, on this node.
    pub fn active_module(&self) -> Option<ModuleId> {
        self.parts.fsm.active().map(|active| active.module)
    }

    /// Whether the active module speaks a protocol; `None` while there is no module.
    pub fn speaks(&self, protocol: &str) -> Option<bool> {
        self.parts.fsm.speaks(protocol)
    }

    /// What commands have emitted, as far as this node has applied them.
    pub fn events(&self) -> &Events {
        self.parts.fsm.events()
    }

    /// Where work runs that must outlive the request that began it.
    pub fn tasks(&self) -> &Tasks {
        &self.parts.tasks
    }

    /// What it counts.
    pub(crate) fn recorder(&self) -> &ConsensusMetrics {
        &self.recorder
    }

    /// Proposals of this node that are under way.
    pub(super) fn proposals_pending(&self) -> usize {
        let limit = self.parts.limits.max_in_flight;
        limit.saturating_sub(self.in_flight.available_permits())
    }

    pub(crate) fn network(&self) -> &Network {
        &self.parts.network
    }

    pub(crate) fn log(&self) -> &LogStore {
        &self.parts.log
    }

    /// Whether this node, if it leads, has heard from a quorum lately.
    pub(super) fn has_quorum(&self) -> bool {
        let metrics = self.parts.raft.metrics();
        let metrics = metrics.borrow_watched();
        let acked = metrics.last_quorum_acked.as_ref();
        acked.is_none_or(|acked| acked.elapsed() < self.parts.quorum_deadline)
            || metrics.state != ServerState::Leader
            || metrics.membership_config.membership().voter_ids().count() < 2
    }

    /// The error that stopped this node, if one did.
    pub fn stopped(&self) -> Option<String> {
        let metrics = self.parts.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string)
    }

    /// The entry that put another module in the place of one before it.
    pub(crate) fn last_switch(&self) -> Option<LogIndex> {
        self.parts.fsm.last_switch()
    }

    /// Changes when a checkpoint asks for a snapshot.
    pub(crate) fn snapshots_due(&self) -> tokio::sync::watch::Receiver<Option<LogIndex>> {
        self.parts.fsm.snapshots_due()
    }

    /// Why this node's state is not to be used, if so.
    pub fn quarantine(&self) -> Option<String> {
        let quarantine = self.parts.fsm.quarantine();
        quarantine.map(|quarantine| quarantine.reason)
    }

    /// Waits until an error stops this node, or it is shut down.
    pub async fn wait_stopped(&self) {
        // Changes seldom, and is closed when raft's core ends.
        let mut server = self.parts.raft.server_metrics();
        while self.stopped().is_none() {
            if server.changed().await.is_err() {
                return;
            }
        }
    }

    /// The data directory that the membership knows for a node.
    pub(crate) fn instance_of(&self, id: NodeId) -> Option<InstanceId> {
        let metrics = self.metrics();
        let node = metrics.membership_config.membership().get_node(&id);
        node.map(|node| node.instance)
            .filter(|instance| *instance != InstanceId::default())
    }

    /// Whether a node of this id was removed from the cluster.
    pub(crate) fn is_retired(&self, id: NodeId) -> bool {
        self.parts.fsm.is_retired(id)
    }

    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.parts.raft.metrics().borrow_watched().clone()
    }

    pub(crate) fn raft(&self) -> &openraft::Raft<TypeConfig, StateMachine> {
        &self.parts.raft
    }

    pub(crate) fn local(&self) -> &Arc<Local> {
        &self.parts.local
    }

    pub(crate) fn origin(&self) -> Origin {
        self.parts.origin
    }

    pub(crate) fn snapshots(&self) -> &SnapshotStore {
        &self.parts.snapshots
    }
}
