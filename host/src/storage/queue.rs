//! What waits for the log writer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::StorageError;
use crate::types::{Entry, LogId, LogIndex, TypeConfig, Vote};

/// Weight of entries that one commit takes. Bounds the memory and the time of a commit.
const BATCH_BYTES: u64 = 8 << 20;
/// Operations that one commit takes.
const BATCH_OPS: usize = 4096;

/// How often the committed id is written. A restart that finds it older by this much has that much
/// more to hear from its leader before it serves.
const COMMITTED_INTERVAL: Duration = Duration::from_millis(100);

/// One change of the log on disk. Done in the order of the queue.
pub(super) enum Op {
    Append {
        entries: Vec<Entry>,
        position: u64,
        weight: u64,
        ticket: u64,
        done: Done,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    Truncate {
        from: LogIndex,
        done: Done,
    },
    Purge {
        upto: LogId,
    },
}

/// Whom to tell that an operation is durable, or will never be.
pub(super) enum Done {
    Flushed(IOFlushed<TypeConfig>),
    Reply(oneshot::Sender<Result<(), StorageError>>),
}

impl Done {
    pub(super) fn complete(self, result: Result<(), StorageError>) {
        match self {
            Self::Flushed(callback) => callback.io_completed(result.map_err(Into::into)),
            // Who asked may have gone away, such as a raft core that is being shut down.
            Self::Reply(reply) => drop(reply.send(result)),
        }
    }
}

/// What goes into one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ops: Vec<Op>,
    /// The newest committed id, when every operation that came before it is in this batch or in an
    /// earlier one: on disk it may never be ahead of the log.
    pub(super) committed: Option<LogId>,
}

/// The queue between the callers and the writer thread.
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer sleeps here.
    work: Condvar,
    /// Appends wait here while the queue is full.
    room: Notify,
    /// Weight of queued entries from which appends wait.
    limit: u64,
}

#[derive(Default)]
struct State {
    ops: VecDeque<Op>,
    weight: u64,
    committed: Option<LogId>,
    /// When a batch last took a committed id along.
    committed_at: Option<Instant>,
    closing: bool,
    failure: Option<Arc<StorageError>>,
}

impl State {
    fn committed_is_due(&mut self) -> bool {
        let due = |at: Instant| self.closing || at.elapsed() >= COMMITTED_INTERVAL;
        let due = self.committed.is_some() && self.committed_at.is_none_or(due);
        if due {
            self.committed_at = Some(Instant::now());
        }
        due
    }

    fn refusal(&self) -> Option<StorageError> {
        match &self.failure {
            Some(first) => Some(StorageError::Latched(first.clone())),
            None => self.closing.then_some(StorageError::Closed),
        }
    }
}

impl Queue {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Notify::new(),
            limit,
        }
    }

    /// Returns once the queue is not full, or takes nothing any more.
    pub(super) async fn room(&self) {
        loop {
            // Made before the look: a notice that comes between the two is not lost.
            let notice = self.room.notified();
            {
                let state = self.state.lock();
                if state.weight < self.limit || state.refusal().is_some() {
                    return;
                }
            }
            notice.await;
        }
    }

    /// Queues `op`.
    ///
    /// # Errors
    /// [`StorageError::Latched`] or [`StorageError::Closed`]: `op` is dropped, its caller told by
    /// this error only.
    pub(super) fn push(&self, op: Op) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal() {
            return Err(refusal);
        }
        state.weight += op_weight(&op);
        state.ops.push_back(op);
        drop(state);
        // Costs a system call only if the writer sleeps.
        self.work.notify_one();
        Ok(())
    }

    /// Remembers `committed` for the next commit, without causing one.
    pub(super) fn note_committed(&self, committed: Option<LogId>) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal() {
            return Err(refusal);
        }
        state.committed = committed;
        Ok(())
    }

    /// What to write next. Waits for it. `None` once the queue is closed and everything was taken.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        while state.ops.is_empty() && !state.closing {
            self.work.wait(&mut state);
        }
        if state.ops.is_empty() && state.closing && state.committed.is_none() {
            return None;
        }
        let was_full = state.weight >= self.limit;
        let mut batch = Batch::default();
        let mut left = BATCH_BYTES;
        while batch.ops.len() < BATCH_OPS {
            let Some(next) = state.ops.front() else { break };
            let weight = op_weight(next);
            if weight > left && !batch.ops.is_empty() {
                break;
            }
            left = left.saturating_sub(weight);
            state.weight -= weight;
            batch.ops.extend(state.ops.pop_front());
        }
        if state.ops.is_empty() && state.committed_is_due() {
            batch.committed = state.committed.take();
        }
        drop(state);
        if was_full {
            self.room.notify_waiters();
        }
        Some(batch)
    }

    /// Takes nothing more; what is queued is still written.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Latches: `first` fails everything that is queued, and whatever comes later.
    pub(super) fn fail(&self, first: Arc<StorageError>) {
        let mut state = self.state.lock();
        state.failure = Some(first.clone());
        state.weight = 0;
        let ops = std::mem::take(&mut state.ops);
        drop(state);
        self.room.notify_waiters();
        for op in ops {
            fail_op(op, &first);
        }
    }

    /// The failure that latched the queue.
    pub(super) fn failure(&self) -> Option<Arc<StorageError>> {
        self.state.lock().failure.clone()
    }
}

impl fmt::Debug for Queue {
    /// Lengths only: a log line never prints a user's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Queue")
            .field("ops", &state.ops.len())
            .field("weight", &state.weight)
            .field("failure", &state.failure)
            .finish_non_exhaustive()
    }
}

/// Tells the caller of `op` that it will never be durable.
pub(super) fn fail_op(op: Op, first: &Arc<StorageError>) {
    match op {
        Op::Append { done, .. } | Op::Vote { done, .. } | Op::Truncate { done, .. } => {
            done.complete(Err(StorageError::Latched(first.clone())));
        }
        Op::Purge { .. } => {}
    }
}

fn op_weight(op: &Op) -> u64 {
    match op {
        Op::Append { weight, .. } => *weight,
        Op::Vote { .. } | Op::Truncate { .. } | Op::Purge { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: LogIndex) -> LogId {
        LogId::new_term_index(1, index)
    }

    fn append(index: LogIndex, weight: u64) -> Op {
        let done = Done::Flushed(IOFlushed::noop());
        Op::Append {
            entries: Vec::new(),
            position: 0,
            weight,
            ticket: index,
            done,
        }
    }

    /// A leader commits by its followers' disks, so an id may be committed before the entry is in
    /// this node's log. On disk it would point behind the log, and the node would not start.
    #[test]
    fn a_committed_id_waits_for_all_that_was_queued_before_it() {
        let queue = Queue::new(u64::MAX);
        for index in 0..=BATCH_OPS as u64 {
            queue.push(append(index, 1)).unwrap();
        }
        queue.note_committed(Some(id(7))).unwrap();
        let first = queue.next().unwrap();
        assert_eq!((first.ops.len(), first.committed), (BATCH_OPS, None));
        let second = queue.next().unwrap();
        assert_eq!((second.ops.len(), second.committed), (1, Some(id(7))));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_takes_at_least_one_operation() {
        let queue = Queue::new(u64::MAX);
        for weight in [BATCH_BYTES * 3, BATCH_BYTES / 2, BATCH_BYTES / 2, 1] {
            queue.push(append(0, weight)).unwrap();
        }
        let sizes = [(); 3].map(|()| queue.next().unwrap().ops.len());
        assert_eq!(sizes, [1, 2, 1]);
    }

    #[test]
    fn what_is_queued_when_the_queue_closes_is_still_taken() {
        let queue = Queue::new(u64::MAX);
        queue.push(append(0, 1)).unwrap();
        queue.note_committed(Some(id(0))).unwrap();
        queue.close();
        assert!(matches!(
            queue.push(append(1, 1)),
            Err(StorageError::Closed)
        ));
        let last = queue.next().unwrap();
        assert_eq!((last.ops.len(), last.committed), (1, Some(id(0))));
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_failure_is_told_to_all_that_is_queued_and_all_that_comes() {
        let queue = Queue::new(u64::MAX);
        let (reply, mut done) = oneshot::channel();
        queue
            .push(Op::Truncate {
                from: 0,
                done: Done::Reply(reply),
            })
            .unwrap();
        queue.fail(Arc::new(StorageError::Closed));
        assert!(matches!(
            done.try_recv().unwrap(),
            Err(StorageError::Latched(_))
        ));
        assert!(matches!(
            queue.push(append(0, 1)),
            Err(StorageError::Latched(_))
        ));
        assert!(queue.failure().is_some());
    }
}
