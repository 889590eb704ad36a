//! The log: what openraft writes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use parking_lot::Mutex;
use redb::StorageBackend;
use tokio::sync::oneshot;

use super::data_dir::FORGOTTEN;
use super::files::{Files, sync_names};
use super::log_reader;
use super::queue::{Done, Op};
use super::schema::weight;
use super::tail::Tail;
use super::wal::{Marks, Wal, WalReader, backend};
use super::writer::Writer;
use super::{DataDir, Database, PurgeFloor, StorageError, WriterStats};
use crate::failpoint;
use crate::metrics::LogMetrics;
use crate::types::{Entry, LogId, LogIndex, TypeConfig, Vote};

/// Bytes by which the log's file grows, and in which its space is used again.
pub(super) const EXTENT_BYTES: u64 = 4 << 20;

/// The file of a log, not yet read.
#[derive(Debug)]
pub struct LogFile {
    backend: Box<dyn StorageBackend>,
    path: PathBuf,
}

impl LogFile {
    /// Opens the log's file of a data directory, whose database is open already. Makes it if the
    /// node is new.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] when the node is not new, or what the disk says.
    pub fn open(dir: &DataDir, database: &Database) -> Result<Self, StorageError> {
        Self::open_in(&*dir.files, &dir.log(), database)
    }

    pub(super) fn open_in(
        files: &dyn Files,
        path: &Path,
        database: &Database,
    ) -> Result<Self, StorageError> {
        if !path.try_exists().map_err(StorageError::io("find", path))? {
            if database.identity()?.is_some() {
                let reason = format!("it is gone, and {FORGOTTEN}");
                return Err(StorageError::damaged(path.display(), reason));
            }
            Wal::create(files, path, EXTENT_BYTES, None)?;
        }
        // The file's name must be on disk before anything in it is relied upon, also when it was
        // there: who gave it may have been killed before this.
        sync_names(files, path.parent().unwrap_or(Path::new(".")))?;
        Ok(Self {
            path: path.to_owned(),
            ..Self::with_backend(backend(path)?)
        })
    }

    /// A log on any storage: tests lose unsynced writes with it, or fail on command.
    pub fn with_backend(backend: impl StorageBackend) -> Self {
        Self {
            backend: Box::new(backend),
            path: PathBuf::from("log.wal"),
        }
    }
}

/// How much memory the log may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of recent entries that are kept in memory once they are on disk. Followers that lag
    /// by less than this, and the state machine, are served without touching the disk.
    pub tail_bytes: u64,
    /// Bytes of entries that may wait for the disk. From then on appends wait.
    pub queue_bytes: u64,
    /// Bytes of entries per read, so also per AppendEntries message. One entry always fits.
    pub read_bytes: u64,
}

impl LogLimits {
    /// 64 MiB, 64 MiB, 1 MiB.
    pub const DEFAULT: Self = Self {
        tail_bytes: 64 << 20,
        queue_bytes: 64 << 20,
        read_bytes: 1 << 20,
    };
}

impl Default for LogLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The Raft log of this node, with its vote and its indexes.
///
/// Clones share one log; openraft writes through one of them and reads through others. Appends
/// return when the entries are readable and report when they are durable; a thread of its own puts
/// all that waits into one commit. A failed write closes the log for good ([`StorageError::Latched`]).
#[derive(Debug, Clone)]
pub struct LogStore {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    writer: Writer,
    pub(super) wal: WalReader,
    pub(super) tail: Arc<Mutex<Tail>>,
    marks: Mutex<Marks>,
    pub(super) limits: LogLimits,
}

impl LogStore {
    /// Opens the log in `file` and starts its writer. At most one per file.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], [`StorageError::NewerFormat`], or what the disk says.
    pub fn open(file: LogFile, limits: LogLimits) -> Result<Self, StorageError> {
        let wal = Wal::open(file.backend, file.path)?;
        let (marks, reader) = (wal.marks(), wal.reader());
        let (last, position) = match reader.stored().last()? {
            Some((entry, position)) => (Some(entry.log_id), position + weight(&entry)),
            None => (marks.purged, 0),
        };
        let tail = Tail::new(limits.tail_bytes, marks.purged, last, position);
        let tail = Arc::new(Mutex::new(tail));
        let writer = Writer::start(wal, tail.clone(), limits.queue_bytes)?;
        let inner = Inner {
            writer,
            wal: reader,
            tail,
            marks: Mutex::new(marks),
            limits,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Sets what purges have to leave on disk, and purges at once what they no longer have to.
    ///
    /// # Errors
    /// [`StorageError::Latched`] or [`StorageError::Closed`].
    pub fn set_purge_floor(&self, floor: PurgeFloor) -> Result<(), StorageError> {
        let upto = self.inner.tail.lock().set_floor(floor);
        upto.map_or(Ok(()), |upto| self.push(Op::Purge { upto }))
    }

    /// Bytes of entries behind `index`, or of the whole log for `None`: payloads plus a fixed
    /// share for each entry. Never too low; entries that were cut off again may still count.
    ///
    /// Reads one entry from the disk when `index` is far behind.
    ///
    /// # Errors
    /// What the disk says.
    pub fn bytes_after(&self, index: Option<LogIndex>) -> Result<u64, StorageError> {
        let answer = self.inner.tail.lock().bytes_after(index);
        log_reader::resolve_bytes_after(&self.inner, answer)
    }

    /// Figures of the writer.
    pub fn stats(&self) -> WriterStats {
        self.inner.writer.stats()
    }

    /// The writer's recorder.
    pub fn metrics(&self) -> &LogMetrics {
        self.inner.writer.metrics()
    }

    /// How long the commit that runs now has been running. `None` when there is none.
    pub fn running(&self) -> Option<Duration> {
        self.inner.writer.running()
    }

    /// The failure that closed the log for good.
    pub fn failure(&self) -> Option<Arc<StorageError>> {
        self.inner.writer.queue().failure()
    }

    /// Writes all that is queued and ends the writer thread. Blocks for a commit or two. Reading
    /// still works afterwards; writing is [`StorageError::Closed`].
    ///
    /// # Errors
    /// [`StorageError::Latched`] when a write failed, now or before.
    pub fn close(&self) -> Result<(), StorageError> {
        self.inner.writer.close()
    }

    /// The last vote that is on disk.
    pub(super) fn vote(&self) -> Option<Vote> {
        self.inner.marks.lock().vote
    }

    fn push(&self, op: Op) -> Result<(), StorageError> {
        self.inner.writer.queue().push(op)
    }

    /// Queues the operation and returns once it is durable.
    async fn durable(&self, op: impl FnOnce(Done) -> Op) -> Result<(), StorageError> {
        let (reply, done) = oneshot::channel();
        self.push(op(Done::Reply(reply)))?;
        // The writer answers everything that it takes from the queue, or is no longer there.
        done.await.unwrap_or(Err(StorageError::Closed))
    }

    async fn append_entries(
        &self,
        entries: Vec<Entry>,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), StorageError> {
        if entries.is_empty() {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.inner.writer.queue().room().await;
        let appended = self.inner.tail.lock().append(&entries)?;
        let done = if failpoint::is_armed("append-not-awaited") {
            callback.io_completed(Ok(()));
            Done::Reply(oneshot::channel().0)
        } else {
            Done::Flushed(callback)
        };
        self.push(Op::Append {
            entries,
            position: appended.position,
            weight: appended.weight,
            ticket: appended.ticket,
            done,
        })
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(self.inner.tail.lock().state())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        if !failpoint::is_armed("vote-not-saved") {
            self.durable(|done| Op::Vote { vote, done }).await?;
        }
        self.inner.marks.lock().vote = Some(vote);
        Ok(())
    }

    /// Rides on the next transaction: an fsync of its own would double the cost of a write, for an
    /// id that may be older than the truth anyway.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.inner.writer.queue().note_committed(committed)?;
        self.inner.marks.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.inner.marks.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        Ok(self.append_entries(entries, callback).await?)
    }

    async fn truncate_after(&mut self, after: Option<LogId>) -> Result<(), io::Error> {
        let from = self
            .inner
            .tail
            .lock()
            .truncate(after)
            .map_err(io::Error::from)?;
        match from {
            Some(from) => Ok(self.durable(|done| Op::Truncate { from, done }).await?),
            None => Ok(()),
        }
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let upto = self.inner.tail.lock().purge(upto);
        upto.map_or(Ok(()), |upto| Ok(self.push(Op::Purge { upto })?))
    }
}

#[cfg(test)]
mod tests;
