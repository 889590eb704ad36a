//! A snapshot that is being received.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::StorageError;
use super::files::{publish, remove};
use super::snapshot_file::{SnapshotFile, SnapshotId};
use super::snapshot_store::{Folder, PARTIAL_EXTENSION, RECEIVED_EXTENSION};
use super::snapshot_writer::SYNC_BYTES;

/// Receives a snapshot file from a peer. What arrived stays on disk when the value is dropped or
/// the process dies, and the next transfer of the same file goes on from there.
#[derive(Debug)]
pub struct IncomingSnapshot {
    folder: Arc<Folder>,
    id: SnapshotId,
    partial: PathBuf,
    file: File,
    offset: u64,
    unsynced: u64,
    /// Which transfer this is: a later one takes the file over, and this one must stop.
    transfer: u64,
}

impl IncomingSnapshot {
    pub(super) fn begin(folder: Arc<Folder>, id: SnapshotId) -> Result<Self, StorageError> {
        let partial = folder.path(&id.to_string(), PARTIAL_EXTENSION);
        let mut current = folder.transfer.lock();
        folder.remove_partials_except(&partial)?;
        let file = folder
            .files
            .append(&partial)
            .map_err(StorageError::io("create", &partial))?;
        let mut offset = file
            .metadata()
            .map_err(StorageError::io("inspect", &partial))?
            .len();
        if offset > id.size {
            folder
                .files
                .cut(&file, 0)
                .map_err(StorageError::io("truncate", &partial))?;
            offset = 0;
        }
        *current += 1;
        let transfer = *current;
        drop(current);
        Ok(Self {
            folder,
            id,
            partial,
            file,
            offset,
            unsynced: 0,
            transfer,
        })
    }

    /// Bytes that are here. The sender goes on from this offset of its file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends bytes that follow those that are here.
    ///
    /// # Errors
    /// [`StorageError::Refused`] when they are more than the file has, or when a later transfer took
    /// over; [`StorageError::Io`], such as a full disk.
    pub fn write_at_end(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.id.size {
            return Err(StorageError::Refused(format!(
                "the snapshot has {} bytes and the sender sent {end}",
                self.id.size
            )));
        }
        // Held while writing: two transfers must not append to one file.
        let current = self.folder.transfer.lock();
        self.check_current(*current)?;
        let written = self.folder.files.write(&self.file, bytes);
        if let Err(error) = written {
            // Some of the bytes may be there. Cut them off, so that the offset stays true.
            self.folder
                .files
                .cut(&self.file, self.offset)
                .map_err(StorageError::io("truncate", &self.partial))?;
            return Err(StorageError::io("write", &self.partial)(error));
        }
        self.offset = end;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            let synced = self.folder.files.sync(&self.file);
            if let Err(error) = synced {
                self.give_up();
                return Err(StorageError::io("sync", &self.partial)(error));
            }
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Checks every byte. The file is not one of the kept snapshots yet: openraft has to decide
    /// first whether it installs it, and to cut off log entries that contradict it. Otherwise a
    /// crash in between would leave a log that does not fit its snapshot.
    ///
    /// [`SnapshotStore::keep`](super::SnapshotStore::keep) or
    /// [`SnapshotStore::discard`](super::SnapshotStore::discard) comes next.
    ///
    /// # Errors
    /// [`StorageError::Refused`] when bytes are missing or a later transfer took over.
    /// [`StorageError::Damaged`] or [`StorageError::NewerFormat`] when it is not what was
    /// announced: all of it is deleted, and a new transfer starts from nothing.
    pub fn finish(self) -> Result<SnapshotFile, StorageError> {
        if self.offset < self.id.size {
            return Err(StorageError::Refused(format!(
                "the snapshot has {} bytes and only {} arrived",
                self.id.size, self.offset
            )));
        }
        let current = self.folder.transfer.lock();
        self.check_current(*current)?;
        if let Err(error) = self.verify() {
            if !matches!(error, StorageError::Io { .. }) {
                remove(&*self.folder.files, &self.partial)?;
            }
            return Err(error);
        }
        // Under a name of its own: the next transfer deletes partial files.
        let received = self.folder.path(&self.id.to_string(), RECEIVED_EXTENSION);
        let published = publish(&*self.folder.files, &self.file, &self.partial, &received);
        if published.is_err() {
            self.give_up();
        }
        published?;
        let snapshot = SnapshotFile::open(&received)?;
        snapshot.mark_verified();
        Ok(snapshot)
    }

    fn verify(&self) -> Result<(), StorageError> {
        let received = SnapshotFile::open(&self.partial)?;
        if received.id() != self.id {
            let what = self.partial.display();
            return Err(StorageError::damaged(
                what,
                "it is another snapshot than announced",
            ));
        }
        received.verify_checksum(|_| ())?;
        received.verify()
    }

    /// Deletes what arrived, after a sync that failed. A later one would succeed without what this one
    /// lost, and a resumed transfer would be taken for whole until the power fails.
    fn give_up(&self) {
        if let Err(error) = remove(&*self.folder.files, &self.partial) {
            tracing::error!(%error, "a snapshot that may not be whole on disk stays: delete it");
        }
    }

    fn check_current(&self, current: u64) -> Result<(), StorageError> {
        if current == self.transfer {
            return Ok(());
        }
        Err(StorageError::Refused(
            "a later transfer of a snapshot took over".into(),
        ))
    }
}
