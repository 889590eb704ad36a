//! The snapshot lane: a file, from the byte that the receiver is missing, with bounded memory.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite};

use super::frame::{self, Connection, decode_message, invalid_data};
use super::message::{SnapshotOffer, SnapshotPart, SnapshotReply};
use crate::fsm::StateMachine;
use crate::storage::{IncomingSnapshot, SnapshotFile, SnapshotId, SnapshotStore};
use crate::types::{TypeConfig, Vote};

/// The size of the pieces that a snapshot travels in, in bytes.
const PART_BYTES: usize = 1 << 20;

/// How often the receiver says that it is still verifying or installing. Below every sender's
/// deadline for a sign of life.
const INSTALLING_INTERVAL: Duration = Duration::from_millis(500);

/// Sends `file`, and returns once the peer installed it. `deadline` is for each sign of life: a part
/// that the peer takes, or a word that it is still installing.
pub(super) async fn send<S>(
    connection: &mut Connection<S>,
    vote: Vote,
    file: &SnapshotFile,
    deadline: Duration,
) -> io::Result<SnapshotResponse<TypeConfig>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id = file.id();
    let offer =
        SnapshotOffer { vote, last_log_id: id.last_log_id, size: id.size, checksum: id.checksum };
    within(deadline, frame::send(connection, &offer)).await?;
    let offset = match reply(connection, deadline).await? {
        SnapshotReply::Resume(offset) if offset <= id.size => offset,
        SnapshotReply::Installed(response) => return Ok(response),
        SnapshotReply::Failed(reason) => return Err(io::Error::other(reason)),
        other => return Err(invalid_data(format!("unexpected answer to an offer: {other:?}"))),
    };
    tracing::info!(snapshot = %id, offset, size = id.size, "sending a snapshot");

    let mut source = File::open(file.path()).await?;
    source.seek(io::SeekFrom::Start(offset)).await?;
    let mut rest = id.size - offset;
    while rest > 0 {
        let part = rest.min(PART_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(part).unwrap_or(PART_BYTES)];
        source.read_exact(&mut bytes).await?;
        within(deadline, frame::send(connection, &SnapshotPart::Bytes(Bytes::from(bytes)))).await?;
        rest -= part;
    }
    within(deadline, frame::send(connection, &SnapshotPart::End)).await?;
    loop {
        match reply(connection, deadline).await? {
            SnapshotReply::Installing => {}
            SnapshotReply::Installed(response) => return Ok(response),
            SnapshotReply::Failed(reason) => return Err(io::Error::other(reason)),
            SnapshotReply::Resume(_) => {
                return Err(invalid_data("an offset behind the end of a snapshot".to_owned()));
            }
        }
    }
}

async fn reply<S>(connection: &mut Connection<S>, deadline: Duration) -> io::Result<SnapshotReply>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = within(deadline, async {
        connection.next().await.ok_or(io::ErrorKind::UnexpectedEof)?
    });
    decode_message(&frame.await?)
}

async fn within<T>(
    deadline: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(deadline, step)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no sign of life")))
}

/// Receives one snapshot and installs it. What arrived stays on disk if the connection breaks, and
/// the next offer of the same file goes on from there.
pub(super) async fn receive<S>(
    connection: &mut Connection<S>,
    raft: &openraft::Raft<TypeConfig, StateMachine>,
    store: &SnapshotStore,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = connection.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
    let offer: SnapshotOffer = decode_message(&frame)?;
    let id = SnapshotId {
        last_log_id: offer.last_log_id,
        size: offer.size,
        checksum: offer.checksum,
    };
    let incoming = open(store, id).await?;
    let offset = incoming.offset();
    tracing::info!(snapshot = %id, offset, size = id.size, "receiving a snapshot");
    frame::send(connection, &SnapshotReply::Resume(offset)).await?;
    let incoming = receive_parts(connection, incoming).await?;

    let install = install(raft, offer.vote, incoming);
    tokio::pin!(install);
    let mut still_installing = tokio::time::interval(INSTALLING_INTERVAL);
    loop {
        tokio::select! {
            outcome = &mut install => {
                let message = match outcome {
                    Ok(response) => SnapshotReply::Installed(response),
                    Err(error) => {
                        tracing::warn!(snapshot = %id, %error, "cannot install a snapshot");
                        SnapshotReply::Failed(error.to_string())
                    }
                };
                return frame::send(connection, &message).await;
            }
            _ = still_installing.tick() => frame::send(connection, &SnapshotReply::Installing).await?,
        }
    }
}

async fn open(store: &SnapshotStore, id: SnapshotId) -> io::Result<IncomingSnapshot> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.incoming(id)).await?.map_err(io::Error::other)
}

async fn receive_parts<S>(
    connection: &mut Connection<S>,
    mut incoming: IncomingSnapshot,
) -> io::Result<IncomingSnapshot>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let frame = connection.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
        let bytes = match decode_message(&frame)? {
            SnapshotPart::Bytes(bytes) => bytes,
            SnapshotPart::End => return Ok(incoming),
        };
        incoming = tokio::task::spawn_blocking(move || {
            incoming.write(&bytes).map(|()| incoming).map_err(io::Error::other)
        })
        .await??;
    }
}

async fn install(
    raft: &openraft::Raft<TypeConfig, StateMachine>,
    vote: Vote,
    incoming: IncomingSnapshot,
) -> io::Result<SnapshotResponse<TypeConfig>> {
    let verified = tokio::task::spawn_blocking(move || incoming.finish()).await?;
    let file = verified.map_err(io::Error::other)?;
    let snapshot = Snapshot { meta: file.meta().clone(), snapshot: file };
    raft.install_full_snapshot(vote, snapshot).await.map_err(io::Error::other)
}
