//! Opening a connection to a peer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::connect::ConnectError;
use super::frame::{Connection, connection};
use super::handshake::{HandshakeError, Hello, Lane, Welcome, greet};
use crate::raft::local::Local;
use crate::types::{InstanceId, NodeId};

/// How long a TCP connection may take to come about, name resolution included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// A silent peer is probed after this long, and given up after three probes without an answer.
const KEEPALIVE_TIME: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: NodeId,
    /// `host:port`, resolved at each dial.
    pub(crate) addr: String,
    /// The data directory that must answer; `None` when it is not known yet.
    pub(crate) instance: Option<InstanceId>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{addr}: {source}")]
    Socket { addr: String, source: io::Error },
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("this node belongs to no cluster yet")]
    NoCluster,
}

/// Connects to `target` on `lane` and shakes hands.
pub(crate) async fn dial(
    local: &Arc<Local>,
    target: &Target,
    lane: Lane,
) -> Result<(Connection<TcpStream>, Welcome), DialError> {
    let cluster = local.cluster().ok_or(DialError::NoCluster)?;
    let connecting = local.connector.connect(&target.addr, CONNECT_DEADLINE);
    let stream = connecting.await?;
    tune(&stream).map_err(|source| DialError::Socket {
        addr: target.addr.clone(),
        source,
    })?;
    let mut connection = connection(stream);
    let hello = Hello {
        cluster,
        from: local.id,
        from_instance: local.instance,
        to: target.id,
        to_instance: target.instance,
        lane,
    };
    let welcome = greet(&mut connection, hello, &target.addr).await?;
    Ok((connection, welcome))
}

/// Small messages at once, and dead peers noticed, whether they are silent or take nothing more.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(
        KEEPALIVE_TIME + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES,
    ))
}
