//! Backups: this node's state in one file, at a point that reflects every write acknowledged before.

use std::io;

use bytes::Bytes;

use super::consensus::Consensus;
use super::read_index::ReadError;
use crate::clock;
use crate::fsm::{FsmError, Provenance};
use crate::storage::SnapshotFile;
use crate::types::{ClusterId, LogIndex};

/// Why there is no backup. Nothing was changed: all of it can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The point of the backup could not be confirmed, or this node's state is not to be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// This node could not write it.
    #[error("the backup cannot be written: {0}")]
    Node(FsmError),
}

/// A backup that is on this node's disk until it is dropped. Clones share it.
#[derive(Debug, Clone)]
pub struct BackupFile {
    file: SnapshotFile,
    cluster: ClusterId,
}

impl Consensus {
    /// Writes a backup of this node's state: as it is if `is_stale`, otherwise no older than any write
    /// that was acknowledged before.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn backup(&self, is_stale: bool) -> Result<BackupFile, BackupError> {
        if !is_stale {
            self.catch_up().await?;
        }
        // A node without a cluster has no state either.
        let cluster = self.parts.local.cluster().ok_or(ReadError::NoModule)?;
        let provenance = Provenance {
            cluster,
            node: self.parts.local.id,
            time_ms: clock::now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let file = match self.parts.fsm.backup(provenance).await {
            Ok(file) => file,
            Err(FsmError::Quarantined(reason)) => return Err(ReadError::Quarantined(reason).into()),
            Err(error) => return Err(BackupError::Node(error)),
        };
        tracing::info!(backup = %file.id(), "wrote a backup");
        Ok(BackupFile { file, cluster })
    }
}

impl BackupFile {
    /// The last entry that it covers.
    pub fn index(&self) -> Option<LogIndex> {
        self.file.meta().last_log_id.map(|id| id.index)
    }

    /// The cluster that it is of.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// Reads up to `bytes` from `offset` on.
    ///
    /// # Errors
    /// What the disk says, or that there is nothing there.
    pub async fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let file = self.file.clone();
        let read = move || {
            let mut buffer = vec![0; bytes];
            let filled = file.read_at(offset, &mut buffer)?;
            buffer.truncate(filled);
            Ok::<_, io::Error>(Bytes::from(buffer))
        };
        let piece = tokio::task::spawn_blocking(read).await??;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(piece)
    }
}
