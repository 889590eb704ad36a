//! Reads, served many at a time.
//!
//! A read costs little beside what it takes to have it served: a ReadIndex round, a hop to the state
//! machine's thread and back. So reads that wait together share all of that. Linearizable and stale
//! ones have a queue each: the latter wait for nobody, and not at all if the state machine is free.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::gather::gather;
use super::read_index::{ReadBarrier, ReadError};
use crate::fsm::{FsmHandle, QueryError};
use crate::tasks::Tasks;

/// Reads that may wait in a queue. More are refused: their answers would come too late.
const MAX_WAITING: usize = 16_384;

/// Reads that are served together.
const BATCH: usize = 256;

/// A query, and whoever waits for its answer.
#[derive(Debug)]
struct Read {
    query: Bytes,
    answer: oneshot::Sender<Result<Bytes, ReadError>>,
}

/// The two queues of reads.
#[derive(Debug)]
pub(super) struct Reads {
    fsm: FsmHandle,
    linearizable: mpsc::Sender<Read>,
    stale: mpsc::Sender<Read>,
}

impl Reads {
    /// Serves reads for as long as `tasks` run.
    pub(super) fn start(server: ReadServer, tasks: &Tasks) -> Self {
        let fsm = server.fsm.clone();
        let (linearizable, waiting) = mpsc::channel(MAX_WAITING);
        tasks.spawn("reads", server.clone().serve_linearizable(waiting));
        let (stale, waiting) = mpsc::channel(MAX_WAITING);
        tasks.spawn("stale-reads", server.serve_stale(waiting));
        Self {
            fsm,
            linearizable,
            stale,
        }
    }

    /// Asks the module, on a state that reflects every write acknowledged before this call.
    pub(super) fn linearizable(
        &self,
        query: Bytes,
    ) -> impl Future<Output = Result<Bytes, ReadError>> {
        read(&self.linearizable, query)
    }

    /// Asks the module on this node's state as it is.
    pub(super) async fn stale(&self, query: Bytes) -> Result<Bytes, ReadError> {
        match self.at_once(&query) {
            Some(answer) => answer,
            None => read(&self.stale, query).await,
        }
    }

    /// As [`Self::stale`], if the state machine is free.
    pub(super) fn at_once(&self, query: &[u8]) -> Option<Result<Bytes, ReadError>> {
        match self.fsm.query_in_place(&[query]) {
            Ok(answers) => Some(answers?.pop()?.map_err(ReadError::from)),
            Err(error) => Some(Err(error.into())),
        }
    }
}

/// Queues a read, and waits for its answer. The query is in the queue then, and not in the future.
fn read(
    queue: &mpsc::Sender<Read>,
    query: Bytes,
) -> impl Future<Output = Result<Bytes, ReadError>> + use<> {
    let stopped = || ReadError::Stopped("it is shutting down".to_owned());
    let (answer, answered) = oneshot::channel();
    let queued = queue.try_send(Read { query, answer });
    let refused = queued.err().map(|error| match error {
        mpsc::error::TrySendError::Full(_) => ReadError::Overloaded,
        mpsc::error::TrySendError::Closed(_) => stopped(),
    });
    async move {
        match refused {
            Some(refused) => Err(refused),
            None => answered.await.map_err(|_| stopped())?,
        }
    }
}

/// What serving a read takes.
#[derive(Debug, Clone)]
pub(super) struct ReadServer {
    pub(super) barrier: ReadBarrier,
    pub(super) fsm: FsmHandle,
}

impl ReadServer {
    /// Waits until this node's state reflects every write acknowledged before this call.
    pub(super) async fn catch_up(&self) -> Result<(), ReadError> {
        let index = self.barrier.index().await?;
        if self.fsm.applied() >= Some(index) {
            return Ok(());
        }
        let deadline = self.barrier.deadline;
        tokio::time::timeout(deadline, self.fsm.wait_applied(index))
            .await
            .map_err(|_| ReadError::Deadline(deadline))?
            .map_err(ReadError::from)
    }

    async fn serve_linearizable(self, queue: mpsc::Receiver<Read>) {
        let mut batches = Batches::of(queue);
        while let Some(batch) = batches.next().await {
            // Only reads that have arrived share the round: its index may miss a write that was
            // acknowledged while it ran.
            match self.catch_up().await {
                Ok(()) => self.serve(batch).await,
                Err(error) => refuse(batch, &error),
            }
        }
    }

    async fn serve_stale(self, queue: mpsc::Receiver<Read>) {
        let mut batches = Batches::of(queue);
        while let Some(batch) = batches.next().await {
            self.serve(batch).await;
        }
    }

    async fn serve(&self, batch: Vec<Read>) {
        let (queries, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|read| (read.query, read.answer))
            .unzip();
        let given = match self.fsm.query(queries).await {
            Ok(given) => given,
            Err(error) => vec![Err(error); answers.len()],
        };
        for (answer, given) in answers.into_iter().zip(given) {
            // A reader that is gone needs no answer.
            let _ = answer.send(given.map_err(ReadError::from));
        }
    }
}

/// What waits in a queue, cut into batches.
#[derive(Debug)]
struct Batches {
    queue: mpsc::Receiver<Read>,
    /// Whether the last batch had more than one read. A client that is alone would wait for nobody,
    /// and each turn of waiting wakes another worker.
    had_company: bool,
}

impl Batches {
    fn of(queue: mpsc::Receiver<Read>) -> Self {
        Self {
            queue,
            had_company: false,
        }
    }

    /// The reads that wait, at least one; `None` when there will be none.
    async fn next(&mut self) -> Option<Vec<Read>> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            batch.push(self.queue.recv().await?);
            if self.had_company {
                gather(&self.queue).await;
            }
            while batch.len() < BATCH
                && let Ok(read) = self.queue.try_recv()
            {
                batch.push(read);
            }
            self.had_company = batch.len() > 1;
            // Nothing is asked for a reader that has gone.
            batch.retain(|read| !read.answer.is_closed());
        }
        Some(batch)
    }
}

fn refuse(batch: Vec<Read>, error: &ReadError) {
    for read in batch {
        let _ = read.answer.send(Err(error.clone()));
    }
}

impl From<QueryError> for ReadError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Stopped(reason) => Self::Stopped(reason),
            QueryError::Quarantined(reason) => Self::Quarantined(reason),
            QueryError::NoModule => Self::NoModule,
            QueryError::Refused(failure) => Self::Refused(failure),
            QueryError::Trapped(kind) => Self::Trapped(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// A queue that so many reads have joined, and who waits for their answers.
    fn waiting(reads: usize) -> (Batches, Vec<oneshot::Receiver<Result<Bytes, ReadError>>>) {
        let (sender, queue) = mpsc::channel(MAX_WAITING);
        let join = |_| {
            let (answer, answered) = oneshot::channel();
            let query = Bytes::new();
            sender.try_send(Read { query, answer }).unwrap();
            answered
        };
        (Batches::of(queue), (0..reads).map(join).collect())
    }

    #[tokio::test]
    async fn reads_that_wait_are_served_together_up_to_a_bound() {
        let (mut batches, _waiting) = waiting(BATCH + 1);
        assert_eq!(batches.next().await.unwrap().len(), BATCH);
        assert_eq!(batches.next().await.unwrap().len(), 1);
        assert!(batches.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_left_out() {
        let (mut batches, mut waiting) = waiting(3);
        waiting.remove(1);
        assert_eq!(batches.next().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn only_who_had_company_waits_for_it() {
        let (mut batches, _waiting) = waiting(BATCH + 1);
        assert!(batches.next().now_or_never().is_some());
        assert!(batches.next().now_or_never().is_none());
        let (mut batches, _waiting) = waiting(1);
        assert!(batches.next().now_or_never().is_some());
    }
}
