//! Group commit: one thread, one write and one fsync for all that waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::queue::{Batch, Op, Queue, fail_op};
use super::schema::weight;
use super::tail::Tail;
use super::wal::{Frame, Wal};
use super::writer_stats::{Counters, Written};
use super::{StorageError, WriterStats};
use crate::failpoint;
use crate::metrics::LogMetrics;
use crate::types::Entry;

/// Memory for the next frame that is kept from the last, in bytes.
const FRAME_BYTES: usize = 1 << 20;

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
    /// Starts the thread.
    pub(super) fn start(
        wal: Wal,
        tail: Arc<Mutex<Tail>>,
        queue_bytes: u64,
    ) -> Result<Self, StorageError> {
        let queue = Arc::new(Queue::new(queue_bytes));
        let counters = Arc::new(Counters::new());
        let worker = Worker {
            wal,
            tail,
            queue: queue.clone(),
            counters: counters.clone(),
            frame: Frame::default(),
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

    pub(super) fn metrics(&self) -> &LogMetrics {
        self.counters.metrics()
    }

    /// How long the commit that runs now has been running.
    pub(super) fn running(&self) -> Option<Duration> {
        self.counters.running()
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
    wal: Wal,
    tail: Arc<Mutex<Tail>>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    /// What is being written. Kept for its memory.
    frame: Frame,
}

impl Worker {
    fn run(mut self) {
        while let Some(batch) = self.queue.next() {
            self.counters.commit_starts();
            // A panic is a failed write like any other: unwinding past the callbacks would leave
            // openraft waiting for ever.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.write(&batch)));
            let outcome = outcome.unwrap_or_else(|_| {
                Err(StorageError::damaged("log.wal", "writing to it panicked"))
            });
            match outcome {
                Ok(written) => {
                    self.counters.commit_ended(&written);
                    self.complete(batch);
                }
                Err(error) => {
                    self.counters.commit_failed();
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
        let mut written = Written::default();
        self.frame.clear(FRAME_BYTES);
        for op in &batch.ops {
            match op {
                Op::Append {
                    entries, position, ..
                } => {
                    written.bytes += self.append(entries, *position)?;
                    written.entries += entries.len() as u64;
                }
                Op::Vote { vote, .. } => self.frame.vote(vote)?,
                Op::Truncate { from, .. } => self.frame.truncate(*from),
                Op::Purge { upto } => self.frame.purge(upto)?,
            }
        }
        if let Some(committed) = &batch.committed {
            self.frame.committed(committed)?;
        }
        failpoint::crash_at("log-before-commit");
        if failpoint::is_armed("log-write-fails") {
            return Err(StorageError::Refused("a test wants it to fail".into()));
        }
        // The fsync. A vote or an entry that is acknowledged before it could be lost with the
        // power, and this node would vote twice in a term, or deny an entry that a quorum counted.
        if !self.frame.is_empty() {
            written.sync = Some(self.wal.commit(&mut self.frame)?);
        }
        failpoint::crash_at("log-after-commit");
        Ok(written)
    }

    fn append(&mut self, entries: &[Entry], mut position: u64) -> Result<u64, StorageError> {
        let mut bytes = 0;
        for entry in entries {
            bytes += self.frame.entry(entry, position)?;
            position += weight(entry);
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
