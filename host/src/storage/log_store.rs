//! The log: what openraft writes.

use std::io;
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use parking_lot::Mutex;
use redb::ReadableTable;
use tokio::sync::oneshot;

use super::log_reader;
use super::queue::{Done, Op};
use super::schema::{COMMITTED, LOG, PURGED, VOTE, decode_entry, weight};
use super::tail::Tail;
use super::writer::Writer;
use super::{Database, PurgeFloor, StorageError, WriterStats};
use crate::failpoint;
use crate::types::{Entry, LogId, LogIndex, TypeConfig, Vote};

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
    // First, so that it is dropped first: the thread ends before the database is let go.
    writer: Writer,
    pub(super) database: Database,
    pub(super) tail: Arc<Mutex<Tail>>,
    marks: Mutex<Marks>,
    pub(super) limits: LogLimits,
}

/// What openraft saved last, the vote only once it was durable.
#[derive(Debug, Default)]
struct Marks {
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl LogStore {
    /// Opens the log in `database` and starts its writer. At most one per database.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], [`StorageError::NewerFormat`], or what the disk says.
    pub fn open(database: &Database, limits: LogLimits) -> Result<Self, StorageError> {
        let marks = Marks {
            vote: database.read_meta(VOTE)?,
            committed: database.read_meta(COMMITTED)?,
        };
        let purged: Option<LogId> = database.read_meta(PURGED)?;
        let transaction = database.begin_read()?;
        let log = transaction
            .open_table(LOG)
            .map_err(StorageError::database("open the log table"))?;
        let read = StorageError::database("read the log");
        let (first, last) = match (log.first(), log.last()) {
            (Ok(first), Ok(last)) => (first, last),
            (Err(error), _) | (_, Err(error)) => return Err(read(error)),
        };
        let last = last
            .map(|(index, value)| decode_entry(index.value(), value.value()))
            .transpose()?;
        let position = last
            .as_ref()
            .map_or(0, |(entry, position)| position + weight(entry));
        // A purge that ran ahead of the log leaves entries behind that are older than itself.
        let last = last
            .map(|(entry, _)| entry.log_id)
            .filter(|last| Some(*last) > purged);
        // A purge is recorded first and carried out bit by bit: finish what was interrupted.
        let first = first.map(|(index, _)| index.value());
        let sweep = purged
            .map(|id| id.index)
            .filter(|upto| first.is_some_and(|i| i <= *upto));

        let tail = Tail::new(limits.tail_bytes, purged, last.or(purged), position);
        let tail = Arc::new(Mutex::new(tail));
        let writer = Writer::start(database.clone(), tail.clone(), limits.queue_bytes, sweep)?;
        let inner = Inner {
            writer,
            database: database.clone(),
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
