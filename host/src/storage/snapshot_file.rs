//! A finished snapshot, open for reading.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StorageError;
use super::snapshot_format::{
    CHUNK_HEAD_BYTES, Header, PREFIX_BYTES, TRAILER_BYTES, Trailer, check_chunk, chunk_length,
};
use crate::types::{LogId, SnapshotMeta};

/// Bytes of a read when a whole file is hashed.
const HASH_BYTES: usize = 256 << 10;

/// Which snapshot file a transfer is about. Equal ids mean equal bytes, on any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The last entry that the snapshot covers.
    pub last_log_id: Option<LogId>,
    /// Bytes of the file.
    pub size: u64,
    /// sha256 of the file without its last 64 bytes, which repeat it.
    pub checksum: [u8; 32],
}

impl fmt::Display for SnapshotId {
    /// Part of file names: sorts by index, holds no separator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-", stem(self.last_log_id), self.size)?;
        self.checksum
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The name of a snapshot file, without its extension.
pub(super) fn stem(last_log_id: Option<LogId>) -> String {
    match last_log_id {
        Some(LogId { leader_id, index }) => format!("{index:020}-{:020}", *leader_id),
        None => "empty".into(),
    }
}

/// A snapshot file. Clones share the open file, which stays readable when the store deletes or
/// replaces it: a transfer or a restore that is under way is not disturbed.
#[derive(Clone)]
pub struct SnapshotFile {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    file: File,
    size: u64,
    header: Header,
    trailer: Trailer,
    /// Where the chunks begin.
    body: u64,
    /// Every chunk was read once since this process started.
    verified: AtomicBool,
}

impl SnapshotFile {
    /// Opens a file and checks its header and trailer, not its chunks.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] when it is no whole snapshot, [`StorageError::NewerFormat`], or
    /// what the file system says.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let what = path.display().to_string();
        let open = || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().map_err(StorageError::io("open", path))?;
        if size < (PREFIX_BYTES + TRAILER_BYTES) as u64 {
            return Err(StorageError::damaged(
                what,
                format!("{size} bytes are too few"),
            ));
        }
        let mut prefix = [0; PREFIX_BYTES];
        read_exact_at(&file, path, &mut prefix, 0)?;
        let length = Header::length(&what, &prefix)?;
        let body = (PREFIX_BYTES + length) as u64;
        let trailer_at = size - TRAILER_BYTES as u64;
        if body > trailer_at {
            return Err(StorageError::damaged(what, "its header is cut off"));
        }
        let mut header = vec![0; length];
        read_exact_at(&file, path, &mut header, PREFIX_BYTES as u64)?;
        let header = Header::decode(&what, &prefix, &header)?;
        let mut trailer = [0; TRAILER_BYTES];
        read_exact_at(&file, path, &mut trailer, trailer_at)?;
        let trailer = Trailer::decode(&what, &trailer)?;
        let path = path.to_path_buf();
        let verified = AtomicBool::new(false);
        let inner = Inner {
            path,
            file,
            size,
            header,
            trailer,
            body,
            verified,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Last log id and membership that the snapshot covers.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.inner.header.meta
    }

    /// What the state machine put at the head of the snapshot.
    pub fn head(&self) -> &[u8] {
        &self.inner.header.head
    }

    /// Where the file was when it was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// Bytes of all chunks together, without what the format adds.
    pub fn content_bytes(&self) -> u64 {
        self.inner.trailer.bytes
    }

    /// What a transfer of this file is called.
    pub fn id(&self) -> SnapshotId {
        SnapshotId {
            last_log_id: self.meta().last_log_id,
            size: self.inner.size,
            checksum: self.inner.trailer.sha256,
        }
    }

    /// The chunks in order, each checked. The last item is an error if the file is damaged, so a
    /// reader that acts on chunks as they come must be able to drop what it did.
    pub fn chunks(&self) -> Chunks {
        Chunks {
            snapshot: self.clone(),
            offset: self.inner.body,
            number: 0,
            bytes: 0,
            done: false,
        }
    }

    /// Reads raw bytes of the file, for a transfer: fills `buffer` unless the file ends before, and
    /// returns how many bytes it got.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .inner
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StorageError::io("read", self.path())(error)),
            }
        }
        Ok(filled)
    }

    /// Reads all chunks, unless this process did before.
    pub(super) fn verify(&self) -> Result<(), StorageError> {
        if !self.inner.verified.load(Ordering::Relaxed) {
            self.chunks().try_for_each(|chunk| chunk.map(drop))?;
            self.mark_verified();
        }
        Ok(())
    }

    pub(super) fn mark_verified(&self) {
        self.inner.verified.store(true, Ordering::Relaxed);
    }

    /// Compares the sha256, which takes seconds for a gigabyte. `on_read` is told of bytes as they
    /// are read.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], or what the file system says.
    pub fn verify_checksum(&self, mut on_read: impl FnMut(u64)) -> Result<(), StorageError> {
        let mut sha256 = Sha256::new();
        let mut buffer = vec![0; HASH_BYTES];
        let mut offset = 0;
        let mut left = self.inner.size - TRAILER_BYTES as u64;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(HASH_BYTES, |left| left.min(HASH_BYTES));
            read_exact_at(&self.inner.file, self.path(), &mut buffer[..wanted], offset)?;
            sha256.update(&buffer[..wanted]);
            offset += wanted as u64;
            left -= wanted as u64;
            on_read(wanted as u64);
        }
        if <[u8; 32]>::from(sha256.finalize()) != self.inner.trailer.sha256 {
            return Err(StorageError::damaged(
                self.path().display(),
                "its sha256 does not match",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("path", &self.inner.path)
            .field("size", &self.inner.size)
            .finish_non_exhaustive()
    }
}

/// The chunks of a [`SnapshotFile`]. Holds one in memory at a time.
#[derive(Debug)]
pub struct Chunks {
    snapshot: SnapshotFile,
    offset: u64,
    /// Chunks and bytes of content that were given out.
    number: u64,
    bytes: u64,
    done: bool,
}

impl Chunks {
    fn read(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        let Inner {
            path,
            file,
            size,
            trailer,
            ..
        } = &*self.snapshot.inner;
        let what = path.display().to_string();
        let left = (size - TRAILER_BYTES as u64).saturating_sub(self.offset);
        if left == 0 {
            if (self.number, self.bytes) != (trailer.chunks, trailer.bytes) {
                return Err(StorageError::damaged(what, "chunks are missing"));
            }
            return Ok(None);
        }
        let mut head = [0; CHUNK_HEAD_BYTES];
        read_exact_at(file, path, &mut head, self.offset)?;
        let length = chunk_length(&what, &head)?;
        if length == 0 || (CHUNK_HEAD_BYTES + length) as u64 > left {
            return Err(StorageError::damaged(what, "its chunks do not fit in it"));
        }
        let mut content = vec![0; length];
        read_exact_at(
            file,
            path,
            &mut content,
            self.offset + CHUNK_HEAD_BYTES as u64,
        )?;
        check_chunk(&what, self.number, &head, &content)?;
        self.offset += (CHUNK_HEAD_BYTES + length) as u64;
        self.number += 1;
        self.bytes += length as u64;
        Ok(Some(content))
    }
}

impl Iterator for Chunks {
    type Item = Result<Vec<u8>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let chunk = self.read().transpose();
        self.done = !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

/// A file that ends too early is damaged; every other error is the file system's.
fn read_exact_at(
    file: &File,
    path: &Path,
    buffer: &mut [u8],
    offset: u64,
) -> Result<(), StorageError> {
    file.read_exact_at(buffer, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StorageError::damaged(path.display(), "it is cut short")
            }
            _ => StorageError::io("read", path)(error),
        })
}
