//! The raft port, byte by byte, for what no node of the cluster ever sends.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::connection::Ended;

const MAGIC: [u8; 4] = *b"rkvR";

/// What comes before the body of a greeting: magic and version, which is one byte.
const GREETING_BYTES: usize = MAGIC.len() + 1;

/// The longest frame that an answer of interest has.
const MAX_FRAME_BYTES: usize = 4 << 10;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaftLane {
    /// Votes, heartbeats, figures.
    Control = 0,
    /// Replication.
    Append = 1,
    /// Snapshots.
    Snapshot = 2,
}

/// What the dialling side says of itself and of whom it wants. Ids are below 128, so that each is one
/// byte.
#[derive(Debug, Clone)]
pub struct RaftHello {
    /// The version of the protocol.
    pub version: u8,
    /// The cluster.
    pub cluster: [u8; 16],
    /// The node that it claims to be.
    pub from: u8,
    /// The data directory that it claims to have.
    pub from_instance: [u8; 16],
    /// The node that it wants.
    pub to: u8,
    /// What the connection is for.
    pub lane: RaftLane,
}

impl RaftHello {
    /// A greeting to this node from one that nobody knows, in a cluster that is not there.
    pub fn to(node: u64) -> Self {
        Self {
            version: 1,
            cluster: [0; 16],
            from: 77,
            from_instance: [7; 16],
            to: u8::try_from(node).expect("an id of one byte"),
            lane: RaftLane::Control,
        }
    }

    /// The frame that says so.
    pub fn frame(&self) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        body.push(self.version);
        body.extend(self.cluster);
        body.push(self.from);
        body.extend(self.from_instance);
        // Whatever data directory the node has.
        body.extend([self.to, 0, self.lane as u8]);
        frame(&body)
    }
}

/// What a greeting is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeted {
    /// Come in: this is the data directory that answers.
    Welcome([u8; 16]),
    /// Not here: the cluster that it is.
    OtherCluster([u8; 16]),
    /// Not here, for another reason.
    Refused,
}

/// Bytes with their length before them.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short frame");
    [&length.to_be_bytes()[..], body].concat()
}

/// One connection to the raft port of a node.
#[derive(Debug)]
pub struct RaftSocket {
    stream: TcpStream,
}

impl RaftSocket {
    /// Connects from an address of this machine.
    ///
    /// # Panics
    ///
    /// When the node does not accept.
    pub async fn open(from: IpAddr, to: SocketAddr) -> Self {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            socket.connect(to).await
        };
        let stream = connect.await;
        let stream = stream.unwrap_or_else(|error| panic!("connect {from} to {to}: {error}"));
        Self { stream }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// [`Ended::Closed`] when the node takes no more.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let sent = self.stream.write_all(bytes).await;
        sent.map_err(|_| Ended::Closed)
    }

    /// Says hello and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Ended`] when there is none within the time.
    pub async fn greet(&mut self, hello: &RaftHello, within: Duration) -> Result<Greeted, Ended> {
        self.send(&hello.frame()).await?;
        let answer = timeout(within, self.read_frame());
        let answer = answer.await.map_err(|_| Ended::StillOpen)??;
        let body = &answer[GREETING_BYTES..];
        let sixteen = |at: usize| body[at..at + 16].try_into().expect("sixteen bytes");
        Ok(match body {
            // The node's id, then its data directory.
            [0, _, ..] => Greeted::Welcome(sixteen(2)),
            [1, 1, ..] => Greeted::OtherCluster(sixteen(2)),
            _ => Greeted::Refused,
        })
    }

    async fn read_frame(&mut self) -> Result<Vec<u8>, Ended> {
        let length = self.stream.read_u32().await.map_err(|_| Ended::Closed)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        assert!(length <= MAX_FRAME_BYTES, "a frame of {length} bytes");
        let mut body = vec![0; length];
        let read = self.stream.read_exact(&mut body).await;
        read.map_err(|_| Ended::Closed)?;
        Ok(body)
    }

    /// Waits until the node closes the connection, whatever it says before.
    ///
    /// # Errors
    ///
    /// [`Ended::StillOpen`] when it does not within the time.
    pub async fn closed(&mut self, within: Duration) -> Result<(), Ended> {
        let mut said = [0; 4096];
        let read_all = async { while let Ok(1..) = self.stream.read(&mut said).await {} };
        let closed = timeout(within, read_all).await;
        closed.map_err(|_| Ended::StillOpen)
    }

    /// Whether the node has closed the connection by now.
    pub fn is_closed(&self) -> bool {
        let mut said = [0; 1];
        match self.stream.try_read(&mut said) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
