//! Group commit: one thread, one transaction and one fsync for all that waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redb::ReadableTable;

use super::database::{Database, open_meta, put_meta};
use super::queue::{Batch, Op, Queue, fail_op};
use super::schema::{COMMITTED, LOG, PURGED, VOTE, encode_entry, weight};
use super::tail::Tail;
use super::writer_stats::Counters;
use super::{StorageError, WriterStats};
use crate::failpoint;
use crate::types::{Entry, LogIndex};

/// Purged entries that one transaction deletes, so that a long purge slows commits, not stops them.
const SWEEP_ENTRIES: u64 = 1024;

/// The handle of the thread `rkv-log-writer`, which owns the write side of the log.
///
/// Encoding is left to the thread: the caller is openraft's core task, one for the whole node.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread. `sweep` is the last purged index, when entries up to it are still stored.
    pub(super) fn start(
        database: Database,
        tail: Arc<Mutex<Tail>>,
        queue_bytes: u64,
        sweep: Option<LogIndex>,
    ) -> Result<Self, StorageError> {
        let queue = Arc::new(Queue::new(queue_bytes));
        let counters = Arc::new(Counters::new());
        let worker = Worker {
            database,
            tail,
            queue: queue.clone(),
            counters: counters.clone(),
            sweep,
            buffer: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("rkv-log-writer".into())
            .spawn(move || worker.run())
            .map_err(|error| {
                StorageError::Refused(format!("the system gives no thread: {error}"))
            })?;
        Ok(Self {
            queue,
            counters,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn stats(&self) -> WriterStats {
        self.counters.read()
    }

    /// Writes all that is queued and ends the thread. Blocks until then. May be called again.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        self.queue.close();
        if let Some(thread) = self.thread.lock().take() {
            // The thread catches the panics of its transactions, and has latched the queue then.
            let _ = thread.join();
        }
        self.queue
            .failure()
            .map_or(Ok(()), |first| Err(StorageError::Latched(first)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody is left to be told; the failure was logged when it happened.
        let _ = self.close();
    }
}

struct Worker {
    database: Database,
    tail: Arc<Mutex<Tail>>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    /// Entries up to this index are purged, and some may still be stored.
    sweep: Option<LogIndex>,
    /// The entry that is being written. Kept for its memory.
    buffer: Vec<u8>,
}

impl Worker {
    fn run(mut self) {
        while let Some(batch) = self.queue.next(self.sweep.is_some()) {
            self.counters.commit_starts();
            // redb may panic on a damaged file. That is a failed write like any other: unwinding
            // past the callbacks would leave openraft waiting for ever.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.write(&batch)));
            let outcome = outcome.unwrap_or_else(|_| {
                Err(StorageError::damaged("log.redb", "writing to it panicked"))
            });
            match outcome {
                Ok(Written { entries, bytes }) => {
                    self.counters.commit_ended(entries, bytes);
                    self.complete(batch);
                }
                Err(error) => {
                    tracing::error!(%error, "writing the log failed: this node must stop");
                    let first = Arc::new(error);
                    for op in batch.ops {
                        fail_op(op, &first);
                    }
                    return self.queue.fail(first);
                }
            }
        }
    }

    /// Puts the batch on disk, all of it or nothing.
    fn write(&mut self, batch: &Batch) -> Result<Written, StorageError> {
        let transaction = self.database.begin_write()?;
        let mut written = Written::default();
        {
            let mut meta = open_meta(&transaction)?;
            let mut log = transaction
                .open_table(LOG)
                .map_err(StorageError::database("open the log table"))?;
            for op in &batch.ops {
                match op {
                    Op::Append {
                        entries, position, ..
                    } => {
                        written.bytes += self.insert(&mut log, entries, *position)?;
                        written.entries += entries.len() as u64;
                    }
                    Op::Vote { vote, .. } => put_meta(&mut meta, VOTE, vote)?,
                    Op::Truncate { from, .. } => log
                        .retain_in(*from.., |_, _| false)
                        .map_err(StorageError::database("truncate the log"))?,
                    Op::Purge { upto } => {
                        // The id first, the entries as time allows: what is below the id counts as
                        // gone from here on, also after a crash.
                        put_meta(&mut meta, PURGED, upto)?;
                        self.sweep = Some(upto.index);
                    }
                }
            }
            if let Some(upto) = self.sweep {
                self.sweep = sweep(&mut log, upto)?;
            }
            if let Some(committed) = &batch.committed {
                put_meta(&mut meta, COMMITTED, committed)?;
            }
        }
        failpoint::crash_at("log-before-commit");
        if failpoint::is_armed("log-write-fails") {
            return Err(StorageError::Refused("a test wants it to fail".into()));
        }
        // The fsync. A vote or an entry that is acknowledged before it could be lost with the
        // power, and this node would vote twice in a term, or deny an entry that a quorum counted.
        transaction
            .commit()
            .map_err(StorageError::database("commit to the log"))?;
        failpoint::crash_at("log-after-commit");
        Ok(written)
    }

    fn insert(
        &mut self,
        log: &mut LogTable<'_>,
        entries: &[Entry],
        mut position: u64,
    ) -> Result<u64, StorageError> {
        let mut bytes = 0;
        for entry in entries {
            encode_entry(entry, position, &mut self.buffer)?;
            position += weight(entry);
            bytes += self.buffer.len() as u64;
            log.insert(entry.log_id.index, self.buffer.as_slice())
                .map_err(StorageError::database("append to the log"))?;
        }
        Ok(bytes)
    }

    /// Tells the callers, in order, then lets go of entries that the disk now has.
    fn complete(&self, batch: Batch) {
        let mut durable = None;
        for op in batch.ops {
            match op {
                Op::Append { ticket, done, .. } => {
                    durable = Some(ticket);
                    done.complete(Ok(()));
                }
                Op::Vote { done, .. } | Op::Truncate { done, .. } => done.complete(Ok(())),
                Op::Purge { .. } => {}
            }
        }
        if let Some(ticket) = durable {
            self.tail.lock().mark_durable(ticket);
        }
    }
}

#[derive(Default)]
struct Written {
    entries: u64,
    bytes: u64,
}

type LogTable<'a> = redb::Table<'a, LogIndex, &'static [u8]>;

/// Deletes some of the entries up to `upto`. Returns `upto` while there are more.
fn sweep(log: &mut LogTable<'_>, upto: LogIndex) -> Result<Option<LogIndex>, StorageError> {
    let first = log
        .first()
        .map_err(StorageError::database("read the log"))?;
    let Some(first) = first
        .map(|(index, _)| index.value())
        .filter(|first| *first <= upto)
    else {
        return Ok(None);
    };
    let end = upto.min(first.saturating_add(SWEEP_ENTRIES - 1));
    log.retain_in(first..=end, |_, _| false)
        .map_err(StorageError::database("purge the log"))?;
    Ok((end < upto).then_some(upto))
}
