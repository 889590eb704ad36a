//! A snapshot that is being written.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::StorageError;
use super::files::{publish, remove};
use super::snapshot_file::{SnapshotFile, stem};
use super::snapshot_format::{Header, Trailer, encode_chunk};
use super::snapshot_store::{Folder, SNAPSHOT_EXTENSION, TEMP_EXTENSION};
use crate::types::SnapshotMeta;

/// Bytes written between two syncs. Without them the system hoards a snapshot in memory and writes
/// it out at the end, and every commit to the log that is made meanwhile waits behind it.
pub(super) const SYNC_BYTES: u64 = 1 << 20;

/// Writes a snapshot file. Nobody sees it before [`SnapshotWriter::finish`]; dropped before that,
/// it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotWriter {
    folder: Arc<Folder>,
    temp: PathBuf,
    dest: PathBuf,
    file: File,
    sha256: Sha256,
    chunks: u64,
    bytes: u64,
    unsynced: u64,
    /// The chunk that is being written. Kept for its memory.
    buffer: Vec<u8>,
}

impl SnapshotWriter {
    pub(super) fn begin(
        folder: Arc<Folder>,
        meta: SnapshotMeta,
        head: Vec<u8>,
    ) -> Result<Self, StorageError> {
        let stem = stem(meta.last_log_id);
        let temp = folder.path(&format!("{stem}.{}", folder.next_write()), TEMP_EXTENSION);
        let dest = folder.path(&stem, SNAPSHOT_EXTENSION);
        let header = Header { meta, head }.encode()?;
        let file = folder
            .files
            .append(&temp)
            .map_err(StorageError::io("create", &temp))?;
        let mut writer = Self {
            folder,
            temp,
            dest,
            file,
            sha256: Sha256::new(),
            chunks: 0,
            bytes: 0,
            unsynced: 0,
            buffer: header,
        };
        writer.write_buffer()?;
        Ok(writer)
    }

    /// Appends a chunk of 1 to [`MAX_CHUNK_BYTES`](super::MAX_CHUNK_BYTES) bytes.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for another size; [`StorageError::Io`], such as a full disk, after
    /// which the writer is of no more use.
    pub fn write_chunk(&mut self, content: &[u8]) -> Result<(), StorageError> {
        encode_chunk(self.chunks, content, &mut self.buffer)?;
        self.write_buffer()?;
        self.chunks += 1;
        self.bytes += content.len() as u64;
        Ok(())
    }

    /// Completes the file, puts it on disk under its name, and deletes snapshots that are one too
    /// many. One with the same last log id is replaced.
    ///
    /// # Errors
    /// [`StorageError::Io`]: the snapshots are as they were before.
    pub fn finish(mut self) -> Result<SnapshotFile, StorageError> {
        let sha256 = std::mem::take(&mut self.sha256).finalize().into();
        let trailer = Trailer {
            chunks: self.chunks,
            bytes: self.bytes,
            sha256,
        };
        self.folder
            .files
            .write(&self.file, &trailer.encode())
            .map_err(StorageError::io("write", &self.temp))?;
        publish(&*self.folder.files, &self.file, &self.temp, &self.dest)?;
        let snapshot = SnapshotFile::open(&self.dest)?;
        snapshot.mark_verified();
        self.folder.adopt(snapshot.clone());
        Ok(snapshot)
    }

    fn write_buffer(&mut self) -> Result<(), StorageError> {
        self.folder
            .files
            .write(&self.file, &self.buffer)
            .map_err(StorageError::io("write", &self.temp))?;
        self.sha256.update(&self.buffer);
        self.unsynced += self.buffer.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.folder
                .files
                .sync(&self.file)
                .map_err(StorageError::io("sync", &self.temp))?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // Gone already when it was published. What cannot be deleted now is at the next start.
        let _ = remove(&self.temp);
    }
}
