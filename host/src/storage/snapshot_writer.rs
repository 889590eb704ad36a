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
use crate::failpoint;
use crate::types::{LogIndex, SnapshotMeta};

/// Bytes written between two syncs. Without them the system hoards a snapshot in memory and writes
/// it out at the end, and every commit to the log that is made meanwhile waits behind it. Few in tests, so that they
/// meet such a sync.
pub(super) const SYNC_BYTES: u64 = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// What becomes of a finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is one of the snapshots to start from.
    Snapshot,
    /// It is the state from before an activation.
    Previous,
    /// It is read by whoever had it written, and is gone with that.
    Passing,
}

impl Kind {
    fn before_publish(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot-before-publish",
            Self::Previous => "previous-before-publish",
            Self::Passing => "backup-before-download",
        }
    }

    fn after_publish(self) -> &'static str {
        match self {
            Self::Previous => "previous-after-publish",
            Self::Snapshot | Self::Passing => "snapshot-after-publish",
        }
    }
}

/// Writes a snapshot file. Nobody sees it before [`SnapshotWriter::finish`]; dropped before that,
/// it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotWriter {
    folder: Arc<Folder>,
    temp: PathBuf,
    dest: PathBuf,
    kind: Kind,
    file: File,
    sha256: Sha256,
    chunks: u64,
    bytes: u64,
    unsynced: u64,
    /// The chunk that is being written. Kept for its memory.
    buffer: Vec<u8>,
    /// [`Folder::replacements`] when the snapshot was begun.
    replacements: u64,
}

impl SnapshotWriter {
    pub(super) fn begin(
        folder: Arc<Folder>,
        meta: SnapshotMeta,
        head: Vec<u8>,
    ) -> Result<Self, StorageError> {
        let dest = folder.path(&stem(meta.last_log_id), SNAPSHOT_EXTENSION);
        Self::create(folder, dest, Kind::Snapshot, Header { meta, head })
    }

    /// Starts the file of the state that an activation at `until` leaves behind.
    pub(super) fn begin_previous(
        folder: Arc<Folder>,
        until: LogIndex,
    ) -> Result<Self, StorageError> {
        let dest = folder.previous_path(until);
        let header = Header {
            meta: SnapshotMeta::default(),
            head: Vec::new(),
        };
        Self::create(folder, dest, Kind::Previous, header)
    }

    /// Starts a file that is no snapshot of this node's.
    pub(super) fn begin_passing(
        folder: Arc<Folder>,
        meta: SnapshotMeta,
        head: Vec<u8>,
    ) -> Result<Self, StorageError> {
        // A name that it will not have; the temporary one is derived from it.
        let dest = folder.path(&stem(meta.last_log_id), SNAPSHOT_EXTENSION);
        Self::create(folder, dest, Kind::Passing, Header { meta, head })
    }

    fn create(
        folder: Arc<Folder>,
        dest: PathBuf,
        kind: Kind,
        header: Header,
    ) -> Result<Self, StorageError> {
        let temp = dest.with_extension(format!("{}.{TEMP_EXTENSION}", folder.next_write()));
        let header = header.encode()?;
        let replacements = *folder.replacements.lock();
        let file = folder
            .files
            .append(&temp)
            .map_err(StorageError::io("create", &temp))?;
        let mut writer = Self {
            folder,
            temp,
            dest,
            kind,
            file,
            sha256: Sha256::new(),
            chunks: 0,
            bytes: 0,
            unsynced: 0,
            buffer: header,
            replacements,
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

    /// Bytes of all chunks so far, without what the format adds.
    pub fn content_bytes(&self) -> u64 {
        self.bytes
    }

    /// Completes the file, puts it on disk under its name, and deletes those of its kind that are
    /// one too many. One with the same last log id is replaced. One that passes through has no name
    /// from now on, and stays readable while it is open.
    ///
    /// # Errors
    /// [`StorageError::Superseded`] or [`StorageError::Io`]: the snapshots are as they were before.
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
        failpoint::crash_at(self.kind.before_publish());
        let folder = Arc::clone(&self.folder);
        let replacements = folder.replacements.lock();
        if *replacements != self.replacements {
            return Err(StorageError::Superseded);
        }
        if self.kind == Kind::Passing {
            let file = SnapshotFile::open(&self.temp)?;
            file.mark_verified();
            return Ok(file);
        }
        publish(&*self.folder.files, &self.file, &self.temp, &self.dest)?;
        failpoint::crash_at(self.kind.after_publish());
        let snapshot = SnapshotFile::open(&self.dest)?;
        snapshot.mark_verified();
        match self.kind {
            Kind::Snapshot => self.folder.adopt(snapshot.clone()),
            Kind::Previous => self.folder.remove_previous_except(&self.dest)?,
            Kind::Passing => {}
        }
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
        // Gone already when it was published; what passes through needs no name. What cannot be deleted
        // now is at the next start.
        let _ = remove(&*self.folder.files, &self.temp);
    }
}
