//! The accepting side: turns strangers away, and serves each lane.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::dial::tune;
use super::frame::{self, Connection, decode_message};
use super::handshake::{Hello, Lane, Refusal, Welcome, receive};
use super::message::{Append, AppendResponse, ControlRequest, ControlResponse, Envelope};
use super::transfer;
use crate::raft::consensus::Consensus;
use crate::storage::Origin;
use crate::tasks::Tasks;
use crate::types::TypeConfig;

/// Connections that are served at once. A cluster of nine nodes needs about fifty.
const MAX_CONNECTIONS: usize = 512;

/// How long to wait after a failed accept: it is the process that ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the same reason for turning a connection away is logged.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Serves the raft protocol on `listener` until the tasks are cancelled.
pub(crate) async fn serve(listener: TcpListener, consensus: Arc<Consensus>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let refusals = Arc::new(Refusals::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a raft connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!("a raft connection was closed: {MAX_CONNECTIONS} are open already");
            continue;
        };
        let (consensus, refusals) = (Arc::clone(&consensus), Arc::clone(&refusals));
        tasks.spawn("raft-connection", async move {
            let peer = stream.peer_addr();
            if let Err(error) = serve_connection(stream, &consensus, &refusals).await
                && !is_hang_up(&error)
            {
                tracing::warn!(?peer, %error, "a raft connection broke");
            }
            drop(slot);
        });
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Logs why connections are turned away, and not ten times a second: a peer with the wrong address
/// never stops asking.
#[derive(Debug, Default)]
struct Refusals {
    last: Mutex<Option<(String, Instant)>>,
}

impl Refusals {
    fn note(&self, peer: IpAddr, refusal: &Refusal) {
        let text = format!("{peer}: {refusal}");
        let mut last = self.last.lock();
        let said = |(before, at): &(String, Instant)| {
            *before == text && at.elapsed() < REFUSAL_LOG_INTERVAL
        };
        if !last.as_ref().is_some_and(said) {
            tracing::warn!(%peer, %refusal, "turned a raft connection away");
            *last = Some((text, Instant::now()));
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    consensus: &Arc<Consensus>,
    refusals: &Refusals,
) -> io::Result<()> {
    tune(&stream)?;
    let peer = stream.peer_addr()?;
    let mut connection = frame::connection(stream);
    let greeted = receive(&mut connection, async |hello: &Hello| {
        admit(hello, consensus).await
    });
    let hello = match greeted.await? {
        Ok(hello) => hello,
        Err(refusal) => {
            refusals.note(peer.ip(), &refusal);
            return Ok(());
        }
    };
    match hello.lane {
        Lane::Control => serve_control(connection, consensus).await,
        Lane::Append => serve_appends(connection, consensus).await,
        Lane::Snapshot => transfer::receive(&mut connection, consensus).await,
        Lane::Invite => Ok(()),
    }
}

/// Decides who may talk to this node, and lets it be invited into its first cluster.
async fn admit(hello: &Hello, consensus: &Consensus) -> Result<Welcome, Refusal> {
    let local = consensus.local();
    if hello.to != local.id {
        return Err(Refusal::OtherNode(local.id));
    }
    if hello
        .to_instance
        .is_some_and(|instance| instance != local.instance)
    {
        return Err(Refusal::OtherInstance(local.id));
    }
    match local.cluster() {
        Some(cluster) if cluster != hello.cluster => return Err(Refusal::OtherCluster(cluster)),
        Some(_) => {}
        None if hello.lane != Lane::Invite || consensus.origin() != Origin::Join => {
            return Err(Refusal::NotInvited);
        }
        None => {
            let adopted = local.adopt_cluster(hello.cluster).await;
            adopted.map_err(|error| Refusal::Other(error.to_string()))?;
            tracing::info!(cluster = %hello.cluster, by = hello.from, "invited into a cluster");
        }
    }
    if consensus.is_retired(hello.from) {
        return Err(Refusal::Retired(hello.from));
    }
    // A node with a wiped disk may not vote, ask for votes or lead under its old id.
    let known = consensus.instance_of(hello.from);
    if known.is_some_and(|instance| instance != hello.from_instance) {
        return Err(Refusal::OtherInstance(hello.from));
    }
    Ok(Welcome {
        id: local.id,
        instance: local.instance,
        raft_addr: local.raft_addr.clone(),
        http_addr: local.http_addr.clone(),
    })
}

async fn serve_control<S>(
    mut connection: Connection<S>,
    consensus: &Arc<Consensus>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(frame) = connection.next().await {
        let request: Envelope<ControlRequest> = decode_message(&frame?)?;
        let message = answer(request.message, consensus).await;
        frame::send(
            &mut connection,
            &Envelope {
                id: request.id,
                message,
            },
        )
        .await?;
    }
    Ok(())
}

async fn answer(request: ControlRequest, consensus: &Arc<Consensus>) -> ControlResponse {
    let raft = consensus.raft();
    let answered = match request {
        ControlRequest::Vote(vote) => raft
            .vote(vote)
            .await
            .map(ControlResponse::Vote)
            .map_err(|error| error.to_string()),
        ControlRequest::PreVote(vote) => raft
            .pre_vote(vote)
            .await
            .map(ControlResponse::Vote)
            .map_err(|error| error.to_string()),
        ControlRequest::Heartbeat(append) => {
            consensus.hear_leader();
            raft.append_entries(append)
                .await
                .map(ControlResponse::Heartbeat)
                .map_err(|error| error.to_string())
        }
        ControlRequest::TransferLeader(transfer) => raft
            .handle_transfer_leader(transfer)
            .await
            .map(ControlResponse::TransferLeader)
            .map_err(|error| error.to_string()),
        ControlRequest::ReadIndex => consensus
            .read_index_as_leader()
            .await
            .map(ControlResponse::ReadIndex)
            .map_err(|error| error.to_string()),
        ControlRequest::Digest { subject, index } => consensus
            .digest(subject, index)
            .await
            .map(ControlResponse::Digest)
            .map_err(|error| error.to_string()),
        ControlRequest::Donate { to, least } => consensus
            .donate(to, least)
            .await
            .map(|()| ControlResponse::Donating)
            .map_err(|error| error.to_string()),
        ControlRequest::Status => Ok(ControlResponse::Status(Box::new(consensus.status()))),
    };
    answered.unwrap_or_else(ControlResponse::Failed)
}

/// The reading half of an append connection, which the streams of successive sessions share.
struct Requests<S> {
    frames: SplitStream<Connection<S>>,
    /// A request of the next session, read by the one before it.
    ahead: Option<Envelope<Append>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Requests<S> {
    async fn peek(&mut self) -> io::Result<Option<&Envelope<Append>>> {
        if self.ahead.is_none() {
            self.ahead = match self.frames.next().await {
                Some(frame) => Some(decode_message(&frame?)?),
                None => None,
            };
        }
        Ok(self.ahead.as_ref())
    }

    /// The next request of `session`; `None` when the session or the connection is over.
    async fn next(&mut self, session: u64) -> io::Result<Option<Envelope<Append>>> {
        let of_session = self
            .peek()
            .await?
            .is_some_and(|append| append.message.session == session);
        Ok(if of_session { self.ahead.take() } else { None })
    }
}

/// Feeds requests to openraft as they arrive and answers in their order, session after session.
async fn serve_appends<S>(connection: Connection<S>, consensus: &Consensus) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut answers, frames) = connection.split();
    let requests = Arc::new(tokio::sync::Mutex::new(Requests {
        frames,
        ahead: None,
    }));
    loop {
        let session = match requests.lock().await.peek().await? {
            Some(append) => append.message.session,
            None => return Ok(()),
        };
        serve_session(session, &requests, &mut answers, consensus).await?;
    }
}

async fn serve_session<S>(
    session: u64,
    requests: &Arc<tokio::sync::Mutex<Requests<S>>>,
    answers: &mut SplitSink<Connection<S>, Bytes>,
    consensus: &Consensus,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ids = Arc::new(Mutex::new(VecDeque::new()));
    let stream = session_stream(session, Arc::clone(requests), Arc::clone(&ids));
    let mut results = std::pin::pin!(consensus.raft().stream_append(stream));
    while let Some(result) = results.next().await {
        let id = ids.lock().pop_front();
        let Some(id) = id else {
            return Err(io::Error::other("an answer without a request"));
        };
        let message: AppendResponse = result.map_err(|fatal| fatal.to_string());
        frame::send(answers, &Envelope { id, message }).await?;
    }
    Ok(())
}

fn session_stream<S>(
    session: u64,
    requests: Arc<tokio::sync::Mutex<Requests<S>>>,
    ids: Arc<Mutex<VecDeque<u64>>>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    futures::stream::unfold((requests, ids), move |(requests, ids)| async move {
        let next = requests.lock().await.next(session).await;
        match next {
            Ok(Some(append)) => {
                ids.lock().push_back(append.id);
                Some((append.message.request, (requests, ids)))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "an append connection broke");
                None
            }
        }
    })
}
