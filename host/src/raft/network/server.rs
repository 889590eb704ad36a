//! The accepting side: turns strangers away, and serves each lane.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::admission::{PeerPlace, Peers, Stranger, Strangers};
use super::append_server::serve_appends;
use super::complaints::Complaints;
use super::dial::tune;
use super::frame::{self, Connection, decode_message};
use super::handshake::{Hello, Lane, Refusal, Welcome, receive};
use super::message::{ControlRequest, ControlResponse, Envelope};
use super::transfer;
use crate::raft::consensus::Consensus;
use crate::storage::Origin;
use crate::tasks::Tasks;

/// How long to wait after a failed accept: it is the process that ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the raft protocol on `listener` until the tasks are cancelled.
pub(crate) async fn serve(listener: TcpListener, consensus: Arc<Consensus>, tasks: Tasks) {
    let door = Arc::new(Door {
        consensus,
        strangers: Strangers::default(),
        peers: Arc::default(),
        complaints: Complaints::new(),
    });
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a raft connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let stranger = door.strangers.enter(peer.ip());
        let door = Arc::clone(&door);
        tasks.spawn("raft-connection", async move {
            if let Err(error) = door.serve_connection(stream, stranger, peer.ip()).await
                && !is_hang_up(&error)
            {
                door.complaints.note(peer.ip(), &error);
            }
        });
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Where connections come in.
struct Door {
    consensus: Arc<Consensus>,
    strangers: Strangers,
    peers: Arc<Peers>,
    complaints: Complaints,
}

impl Door {
    async fn serve_connection(
        &self,
        stream: TcpStream,
        stranger: Stranger,
        peer: IpAddr,
    ) -> io::Result<()> {
        tune(&stream)?;
        let mut connection = frame::connection(stream);
        let mut place = None;
        let greeted = receive(&mut connection, async |hello: &Hello| {
            let welcome = admit(hello, &self.consensus).await?;
            place = Some(self.place_for(hello)?);
            Ok(welcome)
        });
        let greeted = tokio::select! {
            greeted = greeted => greeted?,
            () = stranger.shown_out() => {
                let text = "it made room for newer connections before its handshake was done";
                return Err(io::Error::other(text));
            }
        };
        drop(stranger);
        let hello = match greeted {
            Ok(hello) => hello,
            Err(refusal) => {
                self.complaints.note(peer, &refusal);
                return Ok(());
            }
        };
        let consensus = &self.consensus;
        match hello.lane {
            Lane::Control => serve_control(connection, consensus).await,
            Lane::Append => serve_appends(connection, consensus).await,
            Lane::Snapshot => transfer::receive(&mut connection, consensus).await,
            Lane::Invite => Ok(()),
        }
    }

    fn place_for(&self, hello: &Hello) -> Result<PeerPlace, Refusal> {
        let is_member = self.consensus.instance_of(hello.from).is_some();
        let place = self.peers.enter(is_member.then_some(hello.from));
        place.map_err(|limit| {
            let whose = if is_member {
                format!("node {}", hello.from)
            } else {
                "nodes that are no members, as far as is known here,".to_owned()
            };
            Refusal::Other(format!("{whose} hold {limit} connections already"))
        })
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
