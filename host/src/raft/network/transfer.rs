//! The snapshot lane: a file, from the byte that the receiver is missing, with bounded memory.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{self, Connection, decode_message, invalid_data};
use super::message::{Purpose, SnapshotOffer, SnapshotPart, SnapshotReply};
use crate::failpoint;
use crate::raft::consensus::Consensus;
use crate::storage::{IncomingSnapshot, SnapshotFile, SnapshotId, SnapshotStore, StorageError};
use crate::types::TypeConfig;

/// The size of the pieces that a snapshot travels in, in bytes.
const PART_BYTES: usize = 1 << 20;

/// How often the receiver says that it is still verifying or installing. Below every sender's
/// deadline for a sign of life.
const INSTALLING_INTERVAL: Duration = Duration::from_millis(500);

/// How long the sender may be silent, at each step: it has only to read 1 MiB from its disk.
const SENDER_DEADLINE: Duration = Duration::from_secs(30);

/// Sends `file`, which is what `offer` offers, and returns once the peer installed it. `deadline` is for each sign of life: a part
/// that the peer takes, or a word that it is still installing.
pub(super) async fn send<S>(
    connection: &mut Connection<S>,
    offer: SnapshotOffer,
    file: &SnapshotFile,
    deadline: Duration,
) -> io::Result<SnapshotResponse<TypeConfig>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id = offer.id;
    within(deadline, frame::send(connection, &offer)).await?;
    let offset = match reply(connection, deadline).await? {
        SnapshotReply::Resume(offset) if offset <= id.size => offset,
        SnapshotReply::Installed(response) => return Ok(response),
        SnapshotReply::Failed(reason) => return Err(io::Error::other(reason)),
        other => {
            return Err(invalid_data(format!(
                "unexpected answer to an offer: {other:?}"
            )));
        }
    };
    tracing::info!(snapshot = %id, offset, size = id.size, "sending a snapshot");

    let mut sent = offset;
    while sent < id.size {
        failpoint::crash_at("snapshot-send");
        let part = read_part(file.clone(), sent).await?;
        sent += part.len() as u64;
        within(
            deadline,
            frame::send(connection, &SnapshotPart::Bytes(part)),
        )
        .await?;
    }
    within(deadline, frame::send(connection, &SnapshotPart::End)).await?;
    loop {
        match reply(connection, deadline).await? {
            SnapshotReply::Installing => {}
            SnapshotReply::Installed(response) => return Ok(response),
            SnapshotReply::Failed(reason) => return Err(io::Error::other(reason)),
            SnapshotReply::Resume(_) => {
                return Err(invalid_data(
                    "an offset behind the end of a snapshot".to_owned(),
                ));
            }
        }
    }
}

async fn read_part(file: SnapshotFile, offset: u64) -> io::Result<Bytes> {
    let read = move || {
        let mut part = vec![0; PART_BYTES];
        let filled = file.read_at(offset, &mut part)?;
        part.truncate(filled);
        Ok(Bytes::from(part))
    };
    let part = tokio::task::spawn_blocking(read)
        .await?
        .map_err(|error: StorageError| io::Error::other(error))?;
    if part.is_empty() {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(part)
    }
}

async fn reply<S>(connection: &mut Connection<S>, deadline: Duration) -> io::Result<SnapshotReply>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    decode_message(&next_frame(connection, deadline).await?)
}

async fn next_frame<S>(connection: &mut Connection<S>, deadline: Duration) -> io::Result<BytesMut>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let next = async {
        let frame = connection.next().await;
        frame.ok_or(io::ErrorKind::UnexpectedEof)?
    };
    within(deadline, next).await
}

async fn within<T>(deadline: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(deadline, step)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no sign of life")))
}

/// Receives one snapshot and installs it. What arrived stays on disk if the connection breaks, and
/// the next offer of the same file goes on from there.
pub(super) async fn receive<S>(
    connection: &mut Connection<S>,
    consensus: &Consensus,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offer: SnapshotOffer = decode_message(&next_frame(connection, SENDER_DEADLINE).await?)?;
    let id = offer.id;
    if offer.purpose == Purpose::Repair && consensus.quarantine().is_none() {
        let reason = "this node's state needs no repair any more".to_owned();
        return frame::send(connection, &SnapshotReply::Failed(reason)).await;
    }
    let incoming = open(consensus.snapshots(), id).await?;
    let offset = incoming.offset();
    tracing::info!(snapshot = %id, offset, size = id.size, "receiving a snapshot");
    frame::send(connection, &SnapshotReply::Resume(offset)).await?;
    let incoming = receive_parts(connection, incoming).await?;

    let install = install(consensus, &offer, incoming);
    tokio::pin!(install);
    let mut still_installing = tokio::time::interval(INSTALLING_INTERVAL);
    loop {
        tokio::select! {
            outcome = &mut install => {
                let message = match outcome {
                    Ok(response) => {
                        consensus.network().metrics().snapshots_received.inc();
                        SnapshotReply::Installed(response)
                    }
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
    tokio::task::spawn_blocking(move || store.incoming(id))
        .await?
        .map_err(io::Error::other)
}

async fn receive_parts<S>(
    connection: &mut Connection<S>,
    mut incoming: IncomingSnapshot,
) -> io::Result<IncomingSnapshot>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let frame = next_frame(connection, SENDER_DEADLINE).await?;
        failpoint::crash_at("snapshot-receive");
        let bytes = match decode_message(&frame)? {
            SnapshotPart::Bytes(bytes) => bytes,
            SnapshotPart::End => return Ok(incoming),
        };
        incoming = tokio::task::spawn_blocking(move || {
            incoming
                .write_at_end(&bytes)
                .map(|()| incoming)
                .map_err(io::Error::other)
        })
        .await??;
    }
}

async fn install(
    consensus: &Consensus,
    offer: &SnapshotOffer,
    incoming: IncomingSnapshot,
) -> io::Result<SnapshotResponse<TypeConfig>> {
    failpoint::crash_at("snapshot-received");
    let verified = tokio::task::spawn_blocking(move || incoming.finish()).await?;
    let file = verified.map_err(io::Error::other)?;
    let store = consensus.snapshots();
    if offer.purpose == Purpose::Repair {
        let repaired = consensus.repair(file.clone()).await;
        store.discard(&file).map_err(io::Error::other)?;
        return repaired
            .map(|()| SnapshotResponse::new(offer.vote))
            .map_err(io::Error::other);
    }
    let snapshot = Snapshot {
        meta: file.meta().clone(),
        snapshot: Some(file.clone()),
    };
    let installed = consensus
        .raft()
        .install_full_snapshot(offer.vote, snapshot)
        .await
        .map_err(io::Error::other);
    // Rejected, or behind the log already: nobody keeps it.
    store.discard(&file).map_err(io::Error::other)?;
    installed
}
