//! openraft's view of the network: a factory, and a client per peer.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;

use super::append::{self, AppendConnection};
use super::control::{CallError, ControlLane};
use super::dial::{DialError, Target, dial};
use super::handshake::Lane;
use super::message::{ControlRequest, ControlResponse, Purpose, SnapshotOffer};
use super::transfer;
use crate::metrics::{NetworkMetrics, RoundTrip};
use crate::raft::local::Local;
use crate::storage::SnapshotFile;
use crate::types::{InstanceId, NodeId, NodeInfo, TypeConfig, Vote};

/// Waits before a peer that could not be reached is tried again: doubled up to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// Makes clients, and shares the control lane of each peer among them.
#[derive(Debug, Clone)]
pub struct Network {
    local: Arc<Local>,
    control: Arc<Mutex<HashMap<NodeId, Arc<ControlLane>>>>,
    metrics: NetworkMetrics,
}

impl Network {
    /// The network as `local` sees it.
    pub fn new(local: Arc<Local>) -> Self {
        Self {
            local,
            control: Arc::default(),
            metrics: NetworkMetrics::default(),
        }
    }

    pub(crate) fn metrics(&self) -> &NetworkMetrics {
        &self.metrics
    }

    /// The control lane to a peer, which from now on is called at the address of `node`. Clients
    /// made earlier follow: openraft keeps them when only an address of the membership changes.
    pub(crate) fn control(&self, id: NodeId, node: &NodeInfo) -> Arc<ControlLane> {
        let target = target(id, node);
        let mut lanes = self.control.lock();
        if let Some(lane) = lanes.get(&id) {
            lane.retarget(target);
            return Arc::clone(lane);
        }
        let lane = Arc::new(ControlLane::new(Arc::clone(&self.local), target));
        lanes.insert(id, Arc::clone(&lane));
        lane
    }

    /// Sends a snapshot to a peer that asked for one. `deadline` is for each sign of life.
    pub(crate) async fn donate(
        &self,
        id: NodeId,
        node: &NodeInfo,
        vote: Vote,
        file: &SnapshotFile,
        deadline: Duration,
    ) -> io::Result<()> {
        let target = target(id, node);
        let dialled = dial(&self.local, &target, Lane::Snapshot).await;
        let (mut connection, _) = dialled.map_err(io::Error::other)?;
        let offer = SnapshotOffer {
            vote,
            id: file.id(),
            purpose: Purpose::Repair,
        };
        transfer::send(&mut connection, offer, file, deadline).await?;
        self.metrics.snapshots_sent.inc();
        Ok(())
    }

    fn client(&self, id: NodeId, node: &NodeInfo, streams_on: Lane) -> Peer {
        let control = self.control(id, node);
        Peer {
            local: Arc::clone(&self.local),
            control,
            streams_on,
            metrics: self.metrics.clone(),
            round_trip: self.metrics.round_trip(id),
            append: None,
        }
    }
}

fn target(id: NodeId, node: &NodeInfo) -> Target {
    // A membership that a test or an operator's file made may know no instance.
    let instance = Some(node.instance).filter(|instance| *instance != InstanceId::default());
    Target {
        id,
        addr: node.raft_addr.clone(),
        instance,
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &NodeInfo) -> Peer {
        self.client(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &NodeInfo) -> Peer {
        self.client(target, node, Lane::Control)
    }
}

/// A client of one peer.
#[derive(Debug)]
pub struct Peer {
    local: Arc<Local>,
    control: Arc<ControlLane>,
    /// The append lane for replication, the control lane for heartbeats.
    streams_on: Lane,
    metrics: NetworkMetrics,
    /// Times heartbeats.
    round_trip: RoundTrip,
    append: Option<AppendConnection>,
}

impl Peer {
    async fn call(
        &self,
        request: ControlRequest,
        deadline: Duration,
        action: RPCTypes,
    ) -> Result<ControlResponse, RPCError<TypeConfig>> {
        self.control
            .call(request, deadline)
            .await
            .map_err(|error| match error {
                CallError::Dial(error) => unreachable_peer(&error),
                CallError::Deadline { .. } => Timeout {
                    action,
                    id: self.local.id,
                    target: self.control.target().id,
                    timeout: deadline,
                }
                .into(),
                error @ (CallError::Io { .. } | CallError::Failed { .. }) => {
                    NetworkError::new(&error).into()
                }
            })
    }
}

fn unreachable_peer(error: &DialError) -> RPCError<TypeConfig> {
    Unreachable::new(error).into()
}

fn wrong_answer() -> RPCError<TypeConfig> {
    NetworkError::from_string("the peer answered another question").into()
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Option<SnapshotFile>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = ControlRequest::Heartbeat(rpc);
        let started = Instant::now();
        match self
            .call(request, option.hard_ttl(), RPCTypes::AppendEntries)
            .await?
        {
            ControlResponse::Heartbeat(answer) => {
                self.round_trip.note(started);
                Ok(answer)
            }
            _ => Err(wrong_answer()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        if self.streams_on == Lane::Control {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let connection = match self.append.take() {
                Some(connection) => connection,
                None => {
                    let dialled = dial(&self.local, &self.control.target(), Lane::Append).await;
                    let (connection, _) = dialled.map_err(|error| unreachable_peer(&error))?;
                    AppendConnection::new(connection)
                }
            };
            let target = self.control.target().id;
            Ok(append::stream(
                &mut self.append,
                connection,
                input,
                self.local.id,
                target,
            ))
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self
            .call(ControlRequest::Vote(rpc), option.hard_ttl(), RPCTypes::Vote)
            .await?
        {
            ControlResponse::Vote(answer) => Ok(answer),
            _ => Err(wrong_answer()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self
            .call(
                ControlRequest::PreVote(rpc),
                option.hard_ttl(),
                RPCTypes::Vote,
            )
            .await?
        {
            ControlResponse::Vote(answer) => Ok(answer),
            _ => Err(wrong_answer()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Some(file) = snapshot.snapshot else {
            return Err(NetworkError::from_string("there is no snapshot to send").into());
        };
        let (mut connection, _) = dial(&self.local, &self.control.target(), Lane::Snapshot)
            .await
            .map_err(|error| unreachable_peer(&error))?;
        let offer = SnapshotOffer {
            vote,
            id: file.id(),
            purpose: Purpose::CatchUp,
        };
        let send = transfer::send(&mut connection, offer, &file, option.hard_ttl());
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = send => {
                self.metrics.snapshots_sent.inc_by(u64::from(sent.is_ok()));
                sent.map_err(|error| NetworkError::new(&error).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = ControlRequest::TransferLeader(req);
        match self
            .call(request, option.hard_ttl(), RPCTypes::TransferLeader)
            .await?
        {
            ControlResponse::TransferLeader(answer) => Ok(answer),
            _ => Err(wrong_answer()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits = std::iter::successors(Some(FIRST_BACKOFF), |wait| {
            Some((*wait * 2).min(LAST_BACKOFF))
        });
        Some(Backoff::new(waits))
    }
}
