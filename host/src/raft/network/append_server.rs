//! The append lane, on the accepting side: a session after the other, answered in order.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::SplitStream;
use futures::{Sink, SinkExt, Stream, StreamExt};
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{self, Connection, decode_message};
use super::message::{Append, AppendResponse, Envelope};
use crate::raft::consensus::Consensus;
use crate::types::TypeConfig;

/// Answers that leave together, of a dozen bytes each.
const MAX_TOGETHER: usize = 64;

/// The reading half of an append connection, which the streams of successive sessions share.
struct Requests<S> {
    frames: SplitStream<Connection<S>>,
    /// A request of the next session, read by the one before it.
    ahead: Option<Envelope<Append>>,
    /// What the last session ended with: nothing that comes after it is to be trusted.
    broken: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Requests<S> {
    async fn peek(&mut self) -> io::Result<Option<&Envelope<Append>>> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if self.ahead.is_none() {
            self.ahead = match self.frames.next().await {
                Some(frame) => Some(decode_message(&frame?)?),
                None => None,
            };
        }
        Ok(self.ahead.as_ref())
    }

    /// The next request of `session`; `None` when the session or the connection is over.
    async fn next(&mut self, session: u64) -> Option<Envelope<Append>> {
        match self.peek().await {
            Ok(Some(append)) if append.message.session == session => self.ahead.take(),
            Ok(_) => None,
            Err(error) => {
                self.broken = Some(error);
                None
            }
        }
    }
}

/// Feeds requests to openraft as they arrive and answers in their order, session after session.
pub(super) async fn serve_appends<S>(
    connection: Connection<S>,
    consensus: &Consensus,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut answers, frames) = connection.split();
    let requests = Arc::new(tokio::sync::Mutex::new(Requests {
        frames,
        ahead: None,
        broken: None,
    }));
    loop {
        let session = match requests.lock().await.peek().await? {
            Some(append) => append.message.session,
            None => return Ok(()),
        };
        let ids = Arc::new(Mutex::new(VecDeque::new()));
        let stream = session_stream(session, Arc::clone(&requests), Arc::clone(&ids));
        let results = consensus.raft().stream_append(stream);
        answer(results, &ids, &mut answers).await?;
    }
}

/// Answers by the ids of the requests, in their order. Answers that are there together, as those are
/// that waited for the same commit of the log, leave together, and wake the leader once.
async fn answer<K>(
    results: impl Stream<Item = Result<StreamAppendResult<TypeConfig>, Fatal<TypeConfig>>>,
    ids: &Mutex<VecDeque<u64>>,
    answers: &mut K,
) -> io::Result<()>
where
    K: Sink<Bytes, Error = io::Error> + Unpin,
{
    let mut results = std::pin::pin!(results.ready_chunks(MAX_TOGETHER));
    while let Some(ready) = results.next().await {
        for result in ready {
            let id = ids.lock().pop_front();
            let Some(id) = id else {
                return Err(io::Error::other("an answer without a request"));
            };
            let message: AppendResponse = result.map_err(|fatal| fatal.to_string());
            frame::feed(answers, &Envelope { id, message }).await?;
        }
        answers.flush().await?;
    }
    Ok(())
}

fn session_stream<S>(
    session: u64,
    requests: Arc<tokio::sync::Mutex<Requests<S>>>,
    ids: Arc<Mutex<VecDeque<u64>>>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    futures::stream::unfold((requests, ids), move |(requests, ids)| async move {
        let append = requests.lock().await.next(session).await?;
        ids.lock().push_back(append.id);
        Some((append.message.request, (requests, ids)))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::sync::mpsc;

    use super::*;
    use crate::types::LogId;

    /// Notes what is fed, and how much had been at each flush.
    #[derive(Default)]
    struct Wire {
        fed: Vec<Bytes>,
        flushed: Vec<usize>,
    }

    impl Sink<Bytes> for Wire {
        type Error = io::Error;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(mut self: Pin<&mut Self>, frame: Bytes) -> io::Result<()> {
            self.fed.push(frame);
            Ok(())
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let fed = self.fed.len();
            self.flushed.push(fed);
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn matching(index: u64) -> Option<LogId> {
        Some(LogId::new_term_index(1, index))
    }

    #[tokio::test]
    async fn answers_that_are_there_together_leave_together_and_in_order() {
        let ids = Mutex::new(VecDeque::from([7, 8, 9]));
        let (sender, mut results) = mpsc::channel(8);
        let results = futures::stream::poll_fn(move |context| results.poll_recv(context));
        let mut wire = Wire::default();
        for index in [1, 2] {
            sender.try_send(Ok(Ok(matching(index)))).unwrap();
        }
        let later = async move {
            tokio::task::yield_now().await;
            sender.try_send(Ok(Ok(matching(3)))).unwrap();
        };
        let (answered, ()) = tokio::join!(answer(results, &ids, &mut wire), later);
        answered.unwrap();
        assert_eq!(wire.flushed, [2, 3]);
        for (frame, (id, index)) in wire.fed.iter().zip([(7, 1), (8, 2), (9, 3)]) {
            let answer: Envelope<AppendResponse> = decode_message(frame).unwrap();
            assert_eq!(answer.id, id);
            assert!(matches!(answer.message, Ok(Ok(last)) if last == matching(index)));
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_asked_for_is_an_error() {
        let results = futures::stream::iter([Ok(Ok(matching(1)))]);
        let (ids, mut wire) = (Mutex::default(), Wire::default());
        assert!(answer(results, &ids, &mut wire).await.is_err());
    }
}
