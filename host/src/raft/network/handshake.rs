//! The first frame in each direction of a connection: who speaks to whom, in which version.
//!
//! A peer of another cluster, of an unknown version, or with another data directory than the
//! membership knows is turned away with a reason, on both sides' logs.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{Connection, MAX_HANDSHAKE_BYTES, decode_message, invalid_data, send};
use crate::types::{ClusterId, InstanceId, NodeId};

/// Raised when an older peer could misread a message. The rule of the greeting itself
/// (`magic`, `version` first) never changes.
pub(crate) const PROTOCOL_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"rkvR";

/// How long a connection may take to say who it is, on both sides.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// How long the dialling side may be silent at first. It speaks as soon as it is connected, and until
/// then it is a stranger who takes another's place.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);

/// What a connection is for. Each lane has connections of its own, so that a snapshot or a large
/// append never delays a vote or a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lane {
    Control,
    Append,
    Snapshot,
    /// Asks who the peer is and invites it into the cluster if it waits for one.
    Invite,
}

impl Lane {
    /// The longest frame, in bytes. What is beyond is a peer that lies, and is refused before it is
    /// read.
    pub(super) fn max_frame_bytes(self) -> usize {
        match self {
            // Votes, heartbeats without entries, figures.
            Self::Control => 1 << 20,
            // An entry is at most the largest HTTP body, 32 MiB, and rides with at most 1 MiB of
            // others.
            Self::Append => 64 << 20,
            // Parts of 1 MiB.
            Self::Snapshot => 2 << 20,
            Self::Invite => MAX_HANDSHAKE_BYTES,
        }
    }
}

/// The dialling side's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: ClusterId,
    pub(crate) from: NodeId,
    pub(crate) from_instance: InstanceId,
    pub(crate) to: NodeId,
    /// The data directory that the membership knows for `to`; `None` on the invite lane.
    pub(crate) to_instance: Option<InstanceId>,
    pub(crate) lane: Lane,
}

/// The accepting side's answer: who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) id: NodeId,
    pub(crate) instance: InstanceId,
    pub(crate) raft_addr: String,
    pub(crate) http_addr: String,
}

/// Why a peer turned a connection away. Each is final for this pair of nodes until an operator
/// changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it speaks version {theirs} of the raft protocol, this node {ours}")]
    Version { ours: u16, theirs: u16 },
    #[error("it belongs to cluster {0}")]
    OtherCluster(ClusterId),
    #[error("it is node {0}")]
    OtherNode(NodeId),
    #[error(
        "its data directory is not the one that the cluster knows for node {0}: a wiped node must \
         come back under a new id"
    )]
    OtherInstance(NodeId),
    #[error("it waits for an invitation into a cluster")]
    NotInvited,
    #[error("node {0} was removed from the cluster: a removed node comes back under a new id")]
    Retired(NodeId),
    #[error("{0}")]
    Other(String),
}

/// Why a handshake did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("turned away by {addr}: {refusal}")]
    Refused { addr: String, refusal: Refusal },
    #[error("no answer from {addr} within {HANDSHAKE_DEADLINE:?}")]
    Deadline { addr: String },
    #[error("{addr}: {source}")]
    Io { addr: String, source: io::Error },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Greeting<B> {
    magic: [u8; 4],
    version: u16,
    body: B,
}

pub(super) fn greeting<B>(body: B) -> Greeting<B> {
    Greeting {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        body,
    }
}

/// Says hello and waits for the welcome.
pub(crate) async fn greet<S>(
    connection: &mut Connection<S>,
    hello: Hello,
    addr: &str,
) -> Result<Welcome, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lane = hello.lane;
    let exchange = async {
        send(connection, &greeting(hello)).await?;
        read_greeting::<S, Result<Welcome, Refusal>>(connection).await
    };
    let io = |source| HandshakeError::Io {
        addr: addr.to_owned(),
        source,
    };
    let refused = |refusal| HandshakeError::Refused {
        addr: addr.to_owned(),
        refusal,
    };
    match tokio::time::timeout(HANDSHAKE_DEADLINE, exchange).await {
        Err(_) => Err(HandshakeError::Deadline {
            addr: addr.to_owned(),
        }),
        Ok(Err(source)) => Err(io(source)),
        Ok(Ok(Err(version))) => Err(refused(version)),
        Ok(Ok(Ok(Err(refusal)))) => Err(refused(refusal)),
        Ok(Ok(Ok(Ok(welcome)))) => {
            connection.codec_mut().set_max_bytes(lane.max_frame_bytes());
            Ok(welcome)
        }
    }
}

/// Reads a hello and answers with what `decide` says of it.
pub(crate) async fn receive<S, F>(
    connection: &mut Connection<S>,
    decide: F,
) -> io::Result<Result<Hello, Refusal>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: AsyncFnOnce(&Hello) -> Result<Welcome, Refusal>,
{
    let exchange = async {
        let hello = read_greeting::<S, Hello>(connection);
        let hello = tokio::time::timeout(HELLO_DEADLINE, hello)
            .await
            .map_err(|_| overdue("no handshake", HELLO_DEADLINE))?;
        let decision = match hello? {
            Ok(hello) => decide(&hello).await.map(|welcome| (hello, welcome)),
            Err(version) => Err(version),
        };
        let (outcome, body) = match decision {
            Ok((hello, welcome)) => (Ok(hello), Ok(welcome)),
            Err(refusal) => (Err(refusal.clone()), Err(refusal)),
        };
        send(connection, &greeting(body)).await?;
        Ok::<_, io::Error>(outcome)
    };
    let outcome = tokio::time::timeout(HANDSHAKE_DEADLINE, exchange)
        .await
        .map_err(|_| overdue("the handshake was not finished", HANDSHAKE_DEADLINE))??;
    if let Ok(hello) = &outcome {
        let max_bytes = hello.lane.max_frame_bytes();
        connection.codec_mut().set_max_bytes(max_bytes);
    }
    Ok(outcome)
}

fn overdue(what: &str, deadline: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{what} within {deadline:?}"),
    )
}

async fn read_greeting<S, B>(connection: &mut Connection<S>) -> io::Result<Result<B, Refusal>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: serde::de::DeserializeOwned,
{
    let frame = connection.next().await;
    decode_greeting(&frame.ok_or(io::ErrorKind::UnexpectedEof)??)
}

pub(super) fn decode_greeting<B>(frame: &[u8]) -> io::Result<Result<B, Refusal>>
where
    B: serde::de::DeserializeOwned,
{
    // The prefix is read by itself: what follows in another version is not ours to decode.
    let (prefix, _) = postcard::take_from_bytes::<([u8; 4], u16)>(frame)
        .map_err(|_| invalid_data("not an rkv raft connection".to_owned()))?;
    let (magic, version) = prefix;
    if magic != MAGIC {
        return Err(invalid_data("not an rkv raft connection".to_owned()));
    }
    if version != PROTOCOL_VERSION {
        return Ok(Err(Refusal::Version {
            ours: PROTOCOL_VERSION,
            theirs: version,
        }));
    }
    decode_message::<Greeting<B>>(frame).map(|greeting| Ok(greeting.body))
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::super::frame::connection;
    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster: ClusterId([1; 16]),
            from: 1,
            from_instance: InstanceId([2; 16]),
            to: 2,
            to_instance: None,
            lane: Lane::Control,
        }
    }

    fn pair() -> (Connection<DuplexStream>, Connection<DuplexStream>) {
        let (left, right) = tokio::io::duplex(1 << 16);
        (connection(left), connection(right))
    }

    #[tokio::test]
    async fn both_sides_learn_who_the_other_is() {
        let (mut dialler, mut acceptor) = pair();
        let welcome = Welcome {
            id: 2,
            instance: InstanceId([3; 16]),
            raft_addr: "a:1".to_owned(),
            http_addr: "a:2".to_owned(),
        };
        let answer = welcome.clone();
        let (greeted, received) = tokio::join!(
            greet(&mut dialler, hello(), "peer"),
            receive(&mut acceptor, async |_: &Hello| Ok(answer)),
        );
        assert_eq!(greeted.unwrap(), welcome);
        assert_eq!(received.unwrap().unwrap(), hello());
    }

    #[tokio::test]
    async fn a_refusal_reaches_the_dialler_with_its_reason() {
        let (mut dialler, mut acceptor) = pair();
        let (greeted, received) = tokio::join!(
            greet(&mut dialler, hello(), "peer"),
            receive(&mut acceptor, async |_: &Hello| Err(Refusal::OtherNode(7))),
        );
        assert_eq!(
            greeted.unwrap_err().to_string(),
            "turned away by peer: it is node 7"
        );
        assert_eq!(received.unwrap(), Err(Refusal::OtherNode(7)));
    }

    #[tokio::test]
    async fn an_unknown_version_is_refused_without_reading_further() {
        let (mut dialler, mut acceptor) = pair();
        let speak = async {
            let greeting = Greeting {
                magic: MAGIC,
                version: 99,
                body: "of another shape",
            };
            send(&mut dialler, &greeting).await.unwrap();
            read_greeting::<_, Result<Welcome, Refusal>>(&mut dialler)
                .await
                .unwrap()
                .unwrap()
        };
        let (answer, received) = tokio::join!(
            speak,
            receive(&mut acceptor, async |_: &Hello| unreachable!())
        );
        let refusal = Refusal::Version {
            ours: PROTOCOL_VERSION,
            theirs: 99,
        };
        assert_eq!(received.unwrap(), Err(refusal.clone()));
        assert_eq!(answer, Err(refusal));
    }

    #[tokio::test]
    async fn half_a_hello_is_given_up_soon() {
        use tokio::io::AsyncWriteExt;

        let (mut dialler, acceptor) = tokio::io::duplex(1 << 10);
        dialler.write_all(&[0, 0, 0, 60, b'r', b'k']).await.unwrap();
        let mut acceptor = connection(acceptor);
        let received = receive(&mut acceptor, async |_: &Hello| unreachable!()).await;
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn another_protocol_is_an_error_not_a_refusal() {
        let (mut dialler, mut acceptor) = pair();
        send(&mut dialler, &"GET / HTTP/1.1").await.unwrap();
        let received = receive(&mut acceptor, async |_: &Hello| unreachable!()).await;
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
